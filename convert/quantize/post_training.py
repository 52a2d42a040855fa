"""Post-training quantization of any Keras network: calibrated by extremes or by percentiles, in several precisions.

TensorFlow's converter only makes a float network whose activations carry the range they were seen in. The ranges that
are known better are set there, and its quantizer works with what then is in the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from ...edge_runtime.errors import ConversionError, UnknownNameError, UsageError
from ...edge_runtime.quiet import quiet
from ...train.engine import keras, tf
from ..tflite import flatbuffer
from ..tflite.to_tflite import IO_TYPES, converter_of, converting, order_ends
from .representative import CALIBRATED, PRECISIONS

# Their input and output share one scale in int8: a narrower range of the output would narrow the input's.
_SAME_SCALE = ("PAD", "PADV2", "MIRROR_PAD", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CONCATENATION")
_NAMES_LISTED = 8


@dataclass(frozen=True)
class Calibration:
    """How the range of an activation follows from its values on the representative samples.

    Attributes:
        kind: "minmax", the extremes; or "percentile": each tail loses at most 100 - percentile percent of the values,
            so 99.99 keeps what is between the 0.01th and the 99.99th. Zero stays inside, the real extremes are never
            exceeded otherwise, and an activation that would have no range left keeps its extremes.
        percentile: Above 50, up to 100.
    """

    kind: str = "minmax"
    percentile: float = 99.99

    def __post_init__(self) -> None:
        if self.kind not in ("minmax", "percentile"):
            raise UnknownNameError("calibration", self.kind, ("minmax", "percentile"))
        if not 50 < self.percentile <= 100:
            raise UsageError(f"a calibration percentile of {self.percentile:g}: it is above 50 and is at most 100")


def quantize(
    model: Any,
    representative: Sequence[npt.NDArray[np.float32]],
    *,
    precision: str,
    calibration: Calibration,
    io: str,
    keep_float: Sequence[str] = (),
    vectors: tuple[float, float] | None = None,
) -> bytes:
    """The bytes of a .tflite with batch 1. Inputs are in the order of model.inputs, outputs in that of model.outputs.

    Args:
        model: A functional tf_keras network, float32 inputs -> logits [b, classes] and whatever else, float32. Inputs
            of rank 4 are images [b, height, width, channels] in [-1, 1]; others are vectors in the range `vectors`, or,
            without one, in the range that is seen.
        representative: One float32 [n, ...] per input, the same n. Without a calibration they are not looked at.
        precision: "int8": weights int8 per channel, activations int8. "w8a16": activations int16. "float16": weights
            float16, computed in float32. "w8a32": weights of more than 1024 values int8, activations float32; the
            latter two calibrate nothing.
        calibration: How activation ranges are set: extremes, or percentiles.
        io: Dtype of the image input; its scale is 2/255 and no calibration changes that, so a picture's bytes go in as
            they are. "uint8" and "float32": other inputs and all outputs are float32; "int8": everything is int8.
            Precisions other than "int8" have "float32" only.
        keep_float: Patterns (fnmatch) of names of layers, those of nested models too, that compute in float; for
            "int8". Operators that only pass values on, such as padding and max pooling, may stay in int8 between two
            that are: that changes no value. Layers that TensorFlow fuses into one operator are kept together.
        vectors: (lowest, highest) of inputs that are not images; None takes the range that is seen.

    Raises:
        UsageError: Where these contradict each other or a pattern meets no layer or no operator.
        ConversionError: Where TensorFlow's converter fails or the image input's scale is not 2/255.
    """
    _check(model, representative, precision, calibration, io, keep_float)
    network = flatbuffer.read(_converted(model, representative, precision, calibration))
    if precision in CALIBRATED:
        graph = network.subgraphs[0]
        order_ends(network)
        if calibration.kind == "percentile":
            _clip_ranges(network, representative, calibration.percentile)
        for index in _images(graph):
            _set_range(graph.tensors[index], -1, 1)
        if vectors:
            for index in set(graph.inputs) - set(_images(graph)):
                _set_range(graph.tensors[index], *vectors)
        kept = _outputs_of_layers(network, model, keep_float)
        calibrated = flatbuffer.write(network)
        with converting("the calibrated model"):
            quantized = _int8(calibrated, io, kept) if precision == "int8" else _int16(calibrated)
        network = flatbuffer.read(quantized)
    order_ends(network)
    if precision == "int8":
        if io == "uint8":
            float_vectors(network)
        _check_scale(network, io)
    return flatbuffer.write(network)


def _check(
    model: Any,
    representative: Sequence[npt.NDArray[np.float32]],
    precision: str,
    calibration: Calibration,
    io: str,
    keep_float: Sequence[str],
) -> None:
    if precision not in PRECISIONS:
        raise UnknownNameError("precision", precision, PRECISIONS)
    if io not in IO_TYPES:
        raise UnknownNameError("input type", io, IO_TYPES)
    if precision != "int8" and io != "float32":
        raise UsageError(f"precision {precision} has a float32 input, not {io}: choose float32, or precision int8")
    if precision != "int8" and keep_float:
        raise UsageError(f"precision {precision} cannot keep single layers in float: choose precision int8")
    if precision not in CALIBRATED:
        if calibration.kind != "minmax":
            raise UsageError(f"precision {precision} has no calibration: leave the percentile out")
        return
    counts = [len(samples) for samples in representative]
    if len(counts) != len(model.inputs) or len(set(counts)) != 1 or counts[0] == 0:
        raise UsageError(
            f"representative samples {counts} for the {len(model.inputs)} inputs of {model.name}: "
            "every input needs the same number, at least one"
        )


def _converted(
    model: Any, representative: Sequence[npt.NDArray[np.float32]], precision: str, calibration: Calibration
) -> bytes:
    """float16, w8a32: the network. Else the float network whose activations carry minima and maxima."""
    converter = converter_of(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    elif precision in CALIBRATED:
        operators = tf.lite.OpsSet
        converter.target_spec.supported_ops = [
            operators.TFLITE_BUILTINS_INT8
            if precision == "int8"
            else operators.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        # Percentiles are observed by _clip_ranges, the extremes with them; one sample makes the fields for them.
        samples = representative if calibration.kind == "minmax" else [array[:1] for array in representative]
        converter.representative_dataset = lambda: (
            {f"input_{position}": sample for position, sample in enumerate(row)} for row in _one_by_one(samples)
        )
        converter._experimental_calibrate_only = True
    with converting("the float model"):
        return converter.convert()


def _int8(calibrated: bytes, io: str, kept: set[str]) -> bytes:
    from tensorflow.lite.python import convert  # train.engine has to load TensorFlow first

    quantizer: Any = convert
    return quantizer.mlir_quantize(
        calibrated,
        input_data_type=IO_TYPES[io],
        output_data_type=tf.int8 if io == "int8" else tf.float32,
        denylisted_nodes=kept,
    )


def _int16(calibrated: bytes) -> bytes:
    """By the quantizer that the converter takes for int16 too. Fed with no samples, it keeps the ranges it finds."""
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    float32, int16, int64 = (np.dtype(name).num for name in ("float32", "int16", "int64"))
    network = flatbuffer.read(calibrated)
    _unshare_constants(network)
    quantizer: Any = Calibrator(flatbuffer.write(network))._calibrator
    # no float operators; biases int64; per channel, in dense layers too
    network = flatbuffer.read(quantizer.QuantizeModel(float32, float32, False, int16, int64, False, False))
    # It would keep what the float network needed; int16 needs more.
    network.metadata = [entry for entry in network.metadata or [] if entry.name != b"min_runtime_version"]
    return flatbuffer.write(network)


def _unshare_constants(network: Any) -> None:
    """Gives every operator constants of its own.

    Equal biases are one tensor, and the quantizer for int16 would give it the scale of the first of its operators.
    """
    graph = network.subgraphs[0]
    taken: set[int] = set()  # buffers
    for operator in graph.operators:
        operator.inputs = np.array(operator.inputs)  # as read, it cannot be written
        for position, index in enumerate(operator.inputs):
            tensor = graph.tensors[index]
            data = network.buffers[tensor.buffer].data
            if index < 0 or data is None or not len(data):
                continue
            if tensor.buffer in taken:
                own = copy(tensor)
                own.buffer = len(network.buffers)
                network.buffers.append(copy(network.buffers[tensor.buffer]))
                operator.inputs[position] = len(graph.tensors)
                graph.tensors.append(own)
            taken.add(graph.tensors[operator.inputs[position]].buffer)


def _one_by_one(samples: Sequence[npt.NDArray[np.float32]]) -> Iterator[list[npt.NDArray[np.float32]]]:
    for row in zip(*samples, strict=True):
        yield [sample[None] for sample in row]


def _operators(network: Any) -> Iterator[tuple[str, Any]]:
    for operator in network.subgraphs[0].operators:
        yield flatbuffer.operator_name(network, operator), operator


def _images(graph: Any) -> list[int]:
    return [index for index in graph.inputs if len(graph.tensors[index].shape) == 4]


# Ranges.


def _clip_ranges(network: Any, representative: Sequence[npt.NDArray[np.float32]], percentile: float) -> None:
    """Sets the range of every calibrated activation to its percentiles, of inputs to their extremes."""
    graph = network.subgraphs[0]
    calibrated = [
        index
        for index, tensor in enumerate(graph.tensors)
        if tensor.quantization is not None and tensor.quantization.min is not None
    ]
    unclipped = {int(index) for index in graph.inputs}
    for name, operator in _operators(network):
        if name in _SAME_SCALE and unclipped.intersection(operator.inputs):
            unclipped.update(operator.outputs)
    for index, seen in _observe(network, calibrated, representative).items():
        low, high = (seen.low, seen.high) if index in unclipped else seen.percentiles(percentile)
        _set_range(graph.tensors[index], low, high)


def _set_range(tensor: Any, low: float, high: float) -> None:
    tensor.quantization.min = np.array([low], np.float32)
    tensor.quantization.max = np.array([high], np.float32)


class _Values:
    """Extremes and a histogram of float32 values, in 512 KiB however many they are.

    A bin is the upper 16 bits of a value, so its width is 1/128 of the value or less: bins fine enough for the bulk
    whatever outlier comes, which those between two extremes are not.
    """

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf
        self._counts = np.zeros(1 << 16, np.int64)

    def add(self, values: npt.NDArray[np.float32]) -> None:
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self._counts += np.bincount(values.ravel().view(np.uint32) >> 16, minlength=1 << 16)

    def percentiles(self, percentile: float) -> tuple[float, float]:
        """(low, high) as Calibration says; a percentile is rounded outwards to the edge of its bin."""
        negative, positive = self._counts[1 << 15 :], self._counts[: 1 << 15]
        ascending = np.concatenate([negative[::-1], positive])
        dropped = int(ascending.sum() * (1 - percentile / 100))
        low = -_outer_edge(ascending, dropped)
        high = _outer_edge(ascending[::-1], dropped)
        low, high = max(self.low, min(low, 0.0)), min(self.high, max(high, 0.0))
        return (low, high) if low < high else (self.low, self.high)


def _outer_edge(counts: npt.NDArray[np.int64], dropped: int) -> float:
    """Counts from the outermost bin inwards: the magnitude at the outer edge of the first that is not all dropped.

    0 where that bin holds zero or is on the other side of it.
    """
    position = int(np.searchsorted(np.cumsum(counts), dropped, side="right"))
    edge = (1 << 15) - position
    return float(np.array(edge << 16, np.uint32).view(np.float32)) if edge > 1 else 0.0


def _observe(
    network: Any, indices: Iterable[int], representative: Sequence[npt.NDArray[np.float32]]
) -> dict[int, _Values]:
    """What the tensors hold, over all samples. Delegates are off: they would leave tensors in between unwritten."""
    seen = {index: _Values() for index in indices}
    with quiet():
        interpreter = Interpreter(
            model_content=flatbuffer.write(network),
            num_threads=os.cpu_count(),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    for row in _one_by_one(representative):
        for index, sample in zip(network.subgraphs[0].inputs, row, strict=True):
            interpreter.set_tensor(int(index), sample)
        interpreter.invoke()
        for index, values in seen.items():
            values.add(interpreter.get_tensor(index))
    return seen


# Layers and operators.


def _outputs_of_layers(network: Any, model: Any, patterns: Sequence[str]) -> set[str]:
    """Names of the output tensors of the operators that come from layers which match a pattern.

    A tensor is named after the operations it computes, "model/layer/Relu;model/other_layer/Conv2D". A network's output
    has another name; it is known by its weights' names and by the layer that Keras says it is from.
    """
    layers = list(dict.fromkeys(_layer_names(model)))
    graph = network.subgraphs[0]
    origins = {
        int(index): _layers_of_output(output) for index, output in zip(graph.outputs, model.outputs, strict=True)
    }
    kept: set[str] = set()
    for pattern in patterns:
        matching = {name for name in layers if fnmatchcase(name, pattern)}
        if not matching:
            shown = ", ".join(layers[-_NAMES_LISTED:])
            raise UsageError(f"no layer of {model.name} matches '{pattern}'; its last {_NAMES_LISTED} layers: {shown}")
        found: set[str] = set()
        for _, operator in _operators(network):
            output = operator.outputs[0]
            named = [output] if output not in origins else operator.inputs[1:2]  # of those, only weights have a path
            paths = [graph.tensors[index].name.decode() for index in named if index >= 0]
            layers_of_it = {name for path in paths for single in path.split(";") for name in _on_path(single, layers)}
            if matching & (layers_of_it | origins.get(int(output), set())):
                found.add(graph.tensors[output].name.decode())
        if not found:
            raise UsageError(f"'{pattern}' matches only layers that compute nothing by themselves: {sorted(matching)}")
        kept |= found
    return kept


def _on_path(path: str, layers: Sequence[str]) -> Iterator[str]:
    """The layers whose names are whole components of a path, the outermost first; its last component is an operation.

    A name may be several components: of "block" and "block/add", "model/block/add/AddV2" is the longer.
    """
    parts = path.split("/")[:-1]
    while parts:
        ends = [end for end in range(len(parts), 0, -1) if "/".join(parts[:end]) in layers]
        if ends:
            yield "/".join(parts[: ends[0]])
        parts = parts[ends[0] if ends else 1 :]


def _layer_names(model: Any) -> Iterator[str]:
    for layer in model.layers:
        if not isinstance(layer, keras.layers.InputLayer):
            yield layer.name
        if isinstance(layer, keras.Model):
            yield from _layer_names(layer)


def _layers_of_output(output: Any) -> set[str]:
    layer, _, position = output._keras_history
    inner = _layers_of_output(layer.outputs[position]) if isinstance(layer, keras.Model) else set[str]()
    return {layer.name} | inner


# The ends of the int8 network.


def float_vectors(network: Any) -> None:
    """Inputs that are not images become float32; the quantizer gives all of them the image's uint8."""
    graph = network.subgraphs[0]
    for vector in set(graph.inputs) - set(_images(graph)):
        tensor = graph.tensors[vector]
        tensor.type, tensor.quantization = flatbuffer.schema.TensorType.FLOAT32, None
        for name, operator in list(_operators(network)):
            # QUANTIZE takes float32 as well as uint8; a DEQUANTIZE before an operator in float has nothing to do.
            if name == "DEQUANTIZE" and operator.inputs[0] == vector:
                graph.operators.remove(operator)
                for _, other in _operators(network):
                    other.inputs = np.where(other.inputs == operator.outputs[0], vector, other.inputs)


def _check_scale(network: Any, io: str) -> None:
    graph = network.subgraphs[0]
    for image in _images(graph):
        tensors = [graph.tensors[image]]
        if io == "float32":
            tensors = [
                graph.tensors[operator.outputs[0]]
                for name, operator in _operators(network)
                if name == "QUANTIZE" and operator.inputs[0] == image
            ]
        scales = [float(tensor.quantization.scale[0]) for tensor in tensors]
        if not np.allclose(scales, 2 / 255, rtol=1e-6):
            raise ConversionError(f"the scale of the image input is {scales}, not 2/255: something else shares it")
