"""Makes tiny_float32.tflite and tiny_int8.tflite: `python tests/golden/make_tiny_models.py` (needs the train extra).

Two convolutions on 32x32 pixels, trained in seconds to tell the colours of tests/miniatures.py apart. They are
committed, so that the tests of the device floors run without TensorFlow; make them again only to change the network.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Iterator
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
import tf_keras

sys.path.insert(0, str(Path(__file__).parents[2]))
from skin_edge.edge_runtime import files
from skin_edge.edge_runtime.contract import CONTRACT_FILE, FORMAT, FORMAT_VERSION, LABELS_FILE, labels_text, sealed
from skin_edge.edge_runtime.labels import HAM10000
from skin_edge.edge_runtime.model_file import with_archive
from skin_edge.edge_runtime.preprocess import InputSpec, normalize, to_pixels
from tests.miniatures import picture

SPEC = InputSpec(32, 32)


def images_of(seeds: range) -> tuple[np.ndarray, np.ndarray]:
    """float32 [n, 32, 32, 3] and int [n]: one picture of every class per seed."""
    pictures = [(picture(label.code, seed), position) for seed in seeds for position, label in enumerate(HAM10000)]
    pixels = np.stack([to_pixels(image, SPEC) for image, _ in pictures])
    return normalize(pixels, SPEC), np.array([position for _, position in pictures])


def representative(images: np.ndarray) -> Iterator[list[np.ndarray]]:
    # Black and white: the range is then [-1, 1] whole, and the picture's bytes go into the tensor unchanged.
    yield [np.full((1, 32, 32, 3), -1, np.float32)]
    yield [np.full((1, 32, 32, 3), 1, np.float32)]
    for image in images:
        yield [image[None]]


def packed(network: bytes, precision: str) -> bytes:
    from skin_edge.convert.tflite.tflite_metadata import TensorText, attach

    network = attach(
        network,
        name=f"tiny, {precision}",
        description="Tells seven colours apart.",
        version="1",
        author="skin-edge",
        license="Apache-2.0",
        input_description="RGB picture",
        mean=SPEC.mean,
        std=SPEC.std,
        outputs=[TensorText("probabilities", "one per label")],
        labels_file=LABELS_FILE,
        other_files={CONTRACT_FILE: "the contract"},
    )
    contract = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": f"tiny, {precision}",
        "precision": precision,
        "preprocessing": SPEC.to_steps(),
        "outputs": [{"name": "probabilities"}],
        "labels": [label._asdict() for label in HAM10000],
        "provenance": {"versions": {name: importlib.metadata.version(name) for name in ("tensorflow", "tf-keras")}},
    }
    labels = labels_text(HAM10000)
    return with_archive(network, {LABELS_FILE: labels, CONTRACT_FILE: sealed(contract, network, labels)})


def main() -> None:
    tf_keras.utils.set_random_seed(42)
    tf.config.experimental.enable_op_determinism()
    images, targets = images_of(range(40))
    layers = tf_keras.layers
    model = tf_keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Conv2D(12, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(HAM10000), activation="softmax"),
        ]
    )
    model.compile(tf_keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", ["accuracy"])
    model.fit(images, targets, batch_size=32, epochs=20, verbose=2)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    float_network = converter.convert()
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: representative(images[:100])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    int8_network = converter.convert()
    for precision, network in (("float32", float_network), ("int8", int8_network)):
        content = packed(network, precision)
        files.write(Path(__file__).with_name(f"tiny_{precision}.tflite"), content)
        print(precision, len(content), "bytes")


if __name__ == "__main__":
    main()
