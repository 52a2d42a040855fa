"""Keras -> the bytes of a .tflite with batch 1, its inputs and outputs in the model's order."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import numpy as np

from ...edge_runtime import files
from ...edge_runtime.classifier import METADATA_INPUT
from ...edge_runtime.errors import ConversionError, UnwritableError
from ...edge_runtime.quiet import quiet
from ...train.engine import tf
from . import flatbuffer

IO_TYPES = {"uint8": tf.uint8, "int8": tf.int8, "float32": tf.float32}


def float32_tflite(model: Any) -> bytes:
    """The float network as it is.

    Args:
        model: float32 [b, height, width, 3], and metadata where it takes some -> probabilities float32 [b, classes].
    """
    with converting("the float model"):
        network = flatbuffer.read(converter_of(model).convert())
    order_ends(network)
    flatbuffer.name_ends(network, input_names(model), ["probabilities"])
    return flatbuffer.write(network)


def trained_int8_tflite(model: Any, io: str) -> bytes:
    """A network of quantization-aware training in int8, weights and activations, by the ranges it has learned.

    Args:
        model: float32 [b, height, width, 3] in [-1, 1] and whatever else -> logits [b, classes] and whatever else.
        io: Dtype of the inputs; "uint8" and "float32" give float32 outputs, "int8" int8 ones.

    Raises:
        ConversionError: Where TensorFlow's converter fails.
    """
    converter = converter_of(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = IO_TYPES[io]
    converter.inference_output_type = tf.int8 if io == "int8" else tf.float32
    with converting("the quantized model"):
        network = flatbuffer.read(converter.convert())
    order_ends(network)
    return flatbuffer.write(network)


def input_names(model: Any) -> tuple[str, ...]:
    """Of a file's inputs, in the model's order: the picture first, metadata second."""
    return ("image", METADATA_INPUT)[: len(model.inputs)]


def converter_of(model: Any) -> Any:
    """A TFLiteConverter whose signature names the ends input_0, input_1, ... and output_0, ... in the model's order."""

    def answer(*inputs: Any) -> dict[str, Any]:
        outputs = tf.nest.flatten(model(list(inputs), training=False))
        return {f"output_{position}": output for position, output in enumerate(outputs)}

    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tf.float32, name=f"input_{position}")
        for position, tensor in enumerate(model.inputs)
    ]
    concrete = tf.function(answer).get_concrete_function(*specs)
    # The converter saves what it is given: of a Keras model it would trace every layer once more, for the same bytes.
    holder = tf.Module()
    holder.variables_of_the_model = list(model.variables)
    return tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)


def order_ends(network: Any) -> None:
    """Inputs and outputs as in the Keras model: the converter permutes them, its signature names them right."""
    graph, signature = network.subgraphs[0], network.signatureDefs[0]
    for entries in (signature.inputs, signature.outputs):
        entries.sort(key=lambda entry: int(entry.name.decode().rpartition("_")[2]))
    graph.inputs = np.array([entry.tensorIndex for entry in signature.inputs], np.int32)
    graph.outputs = np.array([entry.tensorIndex for entry in signature.outputs], np.int32)


@contextlib.contextmanager
def converting(name: str) -> Generator[None, None, None]:
    """Turns what TensorFlow's converter raises, whatever its passes meet, into a ConversionError of one line."""
    try:
        with quiet(), files.temporary_folder():
            yield
    except UnwritableError:
        raise
    except Exception as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(f"TensorFlow's converter fails on {name}: {first_line}") from None
