"""The network's own `outlier_score`: a linear head on the mean of one of its layers, put into the finished .tflite.

The layer's values at every position times the head's weights is a 1x1 convolution to one channel; its mean over the
positions is the score. In an int8 network both are int8, of kinds that every engine has. Not one integer of what was
there changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.assessment import OUTLIER_SCORE
from ...edge_runtime.errors import ConversionError
from ..tflite import flatbuffer
from ..tflite.flatbuffer import schema

Floats = npt.NDArray[np.float64]

_MOST = 6  # layers that are compared
_POSITIONS = (9, 1600)  # of a layer: fewer have lost what a texture is, more cost more than they tell
_CHANNELS = 8  # at least


@dataclass(frozen=True)
class Head:
    """Linear in a layer's values.

    Attributes:
        tensor: The layer's index in the network.
        weights: [channels].
        bias: Added.
        low, high: What single positions give: the range of an int8 head.
    """

    tensor: int
    weights: Floats
    bias: float
    low: float
    high: float


def layers(network: bytes) -> list[int]:
    """Indices of the tensors that a head may sit on, [1, rows, columns, channels], in their order, at most 6.

    None in a network without such layers, and none in int16, which no engine runs fast.

    Args:
        network: A .tflite.
    """
    model = flatbuffer.read(network)
    graph = model.subgraphs[0]
    ends = {int(output) for output in graph.outputs}
    found: list[int] = []
    for operator in graph.operators:
        position = int(operator.outputs[0])
        tensor = graph.tensors[position]
        shape = [] if tensor.shape is None else [int(length) for length in tensor.shape]
        if (
            flatbuffer.operator_name(model, operator) in ("CONV_2D", "ADD")
            and tensor.type in (schema.TensorType.INT8, schema.TensorType.FLOAT32)
            and len(shape) == 4
            and _POSITIONS[0] <= shape[1] * shape[2] <= _POSITIONS[1]
            and shape[3] >= _CHANNELS
            and position not in ends
        ):
            found.append(position)
    chosen = np.unique(np.linspace(0, len(found) - 1, min(_MOST, len(found))).round().astype(int)) if found else []
    return [found[int(position)] for position in chosen]


def name_of(network: bytes, tensor: int) -> str:
    """A layer's name, for people.

    Args:
        network: The .tflite.
        tensor: One of `layers`.
    """
    name = flatbuffer.read(network).subgraphs[0].tensors[tensor].name.decode("utf-8", "replace")
    return name.split(";")[0].removeprefix("model/")


def with_outputs(network: bytes, tensors: Sequence[int]) -> bytes:
    """The network with these layers as further outputs, to see them.

    Args:
        network: The .tflite.
        tensors: Of `layers`.
    """
    model = flatbuffer.read(network)
    graph = model.subgraphs[0]
    graph.outputs = np.array([*graph.outputs, *tensors], np.int32)
    model.signatureDefs = []
    return flatbuffer.write(model)


def attach(network: bytes, head: Head, sources: Sequence[str], targets: Sequence[str]) -> bytes:
    """The network with a further output, `outlier_score` [1, 1] in float32.

    Args:
        network: A .tflite.
        head: Of one of its layers.
        sources, targets: The names of its inputs and of its outputs, without the new one.

    Raises:
        ConversionError: Where the layer has other channels than the head.
    """
    model = flatbuffer.read(network)
    graph = model.subgraphs[0]
    layer = graph.tensors[head.tensor]
    if int(layer.shape[3]) != len(head.weights):
        raise ConversionError(f"a head of {len(head.weights)} channels does not fit a layer of {int(layer.shape[3])}")
    in_integers = layer.type == schema.TensorType.INT8
    before = len(graph.operators)
    each = _convolved(model, head, layer) if in_integers else _convolved_in_float(model, head)
    score = _mean(model, each, "outlier_score_int8" if in_integers else OUTLIER_SCORE)
    if in_integers:
        score = _dequantized(model, score)
    # Right behind the layer, whose memory is free again then.
    added, graph.operators = graph.operators[before:], graph.operators[:before]
    at = next(i for i, operator in enumerate(graph.operators) if head.tensor in operator.outputs)
    graph.operators[at + 1 : at + 1] = added
    graph.outputs = np.array([*graph.outputs, score], np.int32)
    flatbuffer.name_ends(model, sources, [*targets, OUTLIER_SCORE])
    return flatbuffer.write(model)


def _convolved(model: Any, head: Head, layer: Any) -> int:
    source = float(layer.quantization.scale[0])
    scale = float(np.abs(head.weights).max()) / 127 or 1.0
    weights = np.rint(head.weights / scale).astype(np.int8).reshape(1, 1, 1, -1)
    step = source * scale
    bias = np.array([np.clip(round(head.bias / step), -(2**31), 2**31 - 1)], np.int32)
    types = schema.TensorType
    low, high = min(head.low, 0.0), max(head.high, 0.0)
    own = max(high - low, 1e-6) / 255
    target = flatbuffer.tensor(model, "outlier/position", _one_channel(layer), types.INT8)
    flatbuffer.quantize(model, target, [own], round(-128 - low / own))
    kernel = flatbuffer.constant(model, "outlier/weights", weights, types.INT8, [scale])
    added = flatbuffer.constant(model, "outlier/bias", bias, types.INT32, [step])
    _convolve(model, head.tensor, kernel, added, target, version=3)
    return target


def _convolved_in_float(model: Any, head: Head) -> int:
    layer, types = model.subgraphs[0].tensors[head.tensor], schema.TensorType
    weights = head.weights.astype(np.float32).reshape(1, 1, 1, -1)
    target = flatbuffer.tensor(model, "outlier/position", _one_channel(layer), types.FLOAT32)
    kernel = flatbuffer.constant(model, "outlier/weights", weights, types.FLOAT32)
    added = flatbuffer.constant(model, "outlier/bias", np.array([head.bias], np.float32), types.FLOAT32)
    _convolve(model, head.tensor, kernel, added, target, version=1)
    return target


def _one_channel(layer: Any) -> list[int]:
    return [1, int(layer.shape[1]), int(layer.shape[2]), 1]


def _convolve(model: Any, source: int, kernel: int, bias: int, target: int, version: int) -> None:
    options = schema.Conv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    inputs = [source, kernel, bias]
    flatbuffer.append(model, "CONV_2D", version, inputs, target, "Conv2DOptions", options)


def _mean(model: Any, source: int, name: str) -> int:
    values = model.subgraphs[0].tensors[source]
    target = flatbuffer.tensor(model, name, [1, 1], values.type)
    model.subgraphs[0].tensors[target].quantization = values.quantization
    axes = flatbuffer.constant(model, "outlier/axes", np.array([1, 2], np.int32), schema.TensorType.INT32)
    options = schema.ReducerOptionsT()
    options.keepDims = False
    version = 2 if values.type == schema.TensorType.INT8 else 1
    flatbuffer.append(model, "MEAN", version, [source, axes], target, "ReducerOptions", options)
    return target


def _dequantized(model: Any, source: int) -> int:
    target = flatbuffer.tensor(model, OUTLIER_SCORE, [1, 1], schema.TensorType.FLOAT32)
    flatbuffer.append(model, "DEQUANTIZE", 2, [source], target, "DequantizeOptions", schema.DequantizeOptionsT())
    return target
