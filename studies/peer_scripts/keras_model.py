"""The float network in TensorFlow: decoded and resized by tf.image, the model called as a compiled function."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

from typing import Any

import serving
import tensorflow as tf
import tf_keras

given = serving.settings()
tf.config.set_visible_devices([], "GPU")  # the peers run on the processor
tf.config.threading.set_intra_op_parallelism_threads(given["num_threads"])
tf.config.threading.set_inter_op_parallelism_threads(1)
model: Any = tf_keras.models.load_model(given["model"], compile=False)
height, width = model.input_shape[1:3]
mean, std = tf.constant(given["mean"], tf.float32), tf.constant(given["std"], tf.float32)
labels = given["labels"]


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def probabilities(path: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    image = tf.image.resize(image, (height, width), "bilinear", antialias=True)
    return model(((image - mean) / std)[None], training=False)[0]


serving.serve(lambda path: labels[probabilities(tf.constant(path)).numpy().argmax()])
