"""Keras -> the bytes of a .tflite: batch 1, one input "image", one output "probabilities", one signature."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..edge_runtime.errors import ConversionError
from ..edge_runtime.quiet import quiet
from ..train.engine import tf
from . import flatbuffer

IO_TYPES = {"uint8": tf.uint8, "int8": tf.int8, "float32": tf.float32}


def float32_tflite(model: Any) -> bytes:
    """The float network as it is. model: float32 [b, height, width, 3] -> probabilities float32 [b, classes]."""
    network = flatbuffer.read(_converted(_converter(model), "the float model"))
    flatbuffer.name_ends(network, "image", "probabilities")
    return flatbuffer.write(network)


def int8_tflite(model: Any, representative: npt.NDArray[np.float32] | None, io: str) -> bytes:
    """An int8 network: weights and activations in int8, the answer a softmax over the logits.

    model: float32 [b, height, width, 3] in [-1, 1] -> logits [b, classes]; one of quantization-aware training, or a
    float one. representative: for a float one, float32 [n, height, width, 3]: their minima and maxima set the ranges.
    io: dtype of the input. "uint8" and "float32" give float32 probabilities by a float softmax, so that small
    probabilities keep their order (in 8 bits they would be 0 or 1/256); "int8" gives int8 probabilities.

    Raises ConversionError where TensorFlow's converter fails.
    """
    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if representative is not None:
        converter.representative_dataset = lambda: _whole_range(representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = IO_TYPES[io]
    converter.inference_output_type = tf.int8 if io == "int8" else tf.float32
    network = flatbuffer.read(_converted(converter, "the quantized model"))
    flatbuffer.append_softmax(network)
    flatbuffer.name_ends(network, "image", "probabilities")
    return flatbuffer.write(network)


def _converter(model: Any) -> Any:
    shape = (1, *model.input_shape[1:])
    traced = tf.function(lambda image: model(image, training=False))
    concrete = traced.get_concrete_function(tf.TensorSpec(shape, tf.float32, name="image"))
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)


def _converted(converter: Any, name: str) -> bytes:
    try:
        with quiet():
            return converter.convert()
    except Exception as error:  # the converter raises whatever its passes meet
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(f"TensorFlow's converter fails on {name}: {first_line}") from None


def _whole_range(images: npt.NDArray[np.float32]) -> Iterator[list[npt.NDArray[np.float32]]]:
    """One by one; two pixels of the first are set to -1 and 1.

    The input's scale is then 2/255 whatever the pictures hold, and their bytes go in unchanged.
    """
    first = images[:1].copy()
    first[0, 0, 0], first[0, -1, -1] = -1, 1
    yield [first]
    for image in images[1:]:
        yield [image[None]]
