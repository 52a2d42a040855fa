"""A front end inside the file: a network that takes a larger picture and antialiases it by itself.

For apps that hand over a picture of one size whatever a model file asks for, resized without antialiasing (MediaPipe
Tasks, TFLite Support's ResizeOp): at a few times the network's own size that loses little, and the front end does the
rest. It is the triangle filter of docs/contract.md, section 5, for a whole factor: two depthwise convolutions, first
along x, then along y, with the filter's integers as int8 weights, and a multiplication that makes up for what is
outside of the picture at its border. XNNPACK has kernels for all three. Not one integer of the network changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.errors import ConversionError, UsageError
from . import flatbuffer
from .flatbuffer import schema

MOST = 8
"""The largest factor: of a network of 160 pixels it asks for 1280, as large as cameras' previews are."""

_WANTED = (480, 640)  # what phones hand over, and `auto` comes near to
_LARGEST = 4096  # pixels along a side, `InputSpec`'s


def size_of(text: str, height: int, width: int) -> tuple[int, int]:
    """What --front says, "480x640" or "auto" -> (height, width) of the picture that the file takes.

    Args:
        height, width: Of the network's own input.

    Raises:
        UsageError: Naming the nearest size, for one that is not a whole multiple of the network's along both axes, from
            1 to MOST times; and for that of the network itself.
    """
    own = (height, width)
    if text == "auto":
        return _nearest(_WANTED, own)
    try:
        wanted = tuple(int(number) for number in text.lower().split("x"))
    except ValueError:
        wanted = ()
    if len(wanted) != 2 or not all(1 <= length <= _LARGEST for length in wanted):
        raise UsageError(f"--front {text}: HEIGHTxWIDTH in pixels, such as 480x640, or auto")
    nearest = _nearest(wanted, own)
    if nearest != wanted:
        raise UsageError(
            f"--front {text}: height and width must be 1 to {MOST} times the network's own, {height} and {width}, and "
            f"one of them more than that; the nearest is {nearest[0]}x{nearest[1]}"
        )
    return nearest


def _nearest(wanted: Sequence[int], own: Sequence[int]) -> tuple[int, int]:
    most = [min(MOST, _LARGEST // n) for n in own]
    factors = [min(m, max(1, round(length / n))) for m, length, n in zip(most, wanted, own, strict=True)]
    if max(factors) == 1:
        factors = [min(2, m) for m in most]
    return factors[0] * own[0], factors[1] * own[1]


def file_name(model_file: str, height: int, width: int) -> str:
    """model_int8.tflite -> model_int8_front480x640.tflite."""
    stem, _, suffix = model_file.rpartition(".")
    return f"{stem}_front{height}x{width}.{suffix}"


def described(network: bytes, height: int, width: int) -> dict[str, Any]:
    """The contract's field `front`, for information.

    Args:
        network: The one that `prepend` takes.
    """
    graph = flatbuffer.read(network).subgraphs[0]
    rows, columns = (int(length) for length in graph.tensors[graph.inputs[0]].shape[1:3])
    return {
        "input": [height, width],
        "network": [rows, columns],
        "filter": "triangle of contract.md, section 5, along x, then along y, inside the network",
        "for": "MediaPipe and others that resize by methods of their own",
    }


def triangle(factor: int) -> list[int]:
    """The filter's weights for n = factor N, in whole numbers: 1 3 5 7 7 5 3 1 for 4, 1 2 3 2 1 for 3."""
    if factor % 2:
        return [*range(1, factor + 1), *range(factor - 1, 0, -1)]
    rising = list(range(1, 2 * factor, 2))
    return [*rising, *reversed(rising)]


def prepend(network: bytes, height: int, width: int) -> bytes:
    """A .tflite that takes uint8 [1, h, w, 3] -> one that takes [1, height, width, 3], whose answer to a picture is
    that of the first to the picture reduced.

    Args:
        network: Without an archive; its first operator on the picture is QUANTIZE to int8.
        height, width: `size_of`'s.

    Raises:
        ConversionError: For a network of another kind.
    """
    model = flatbuffer.read(network)
    graph = model.subgraphs[0]
    types = schema.TensorType
    position = int(graph.inputs[0])
    image = graph.tensors[position]
    users = [operator for operator in graph.operators if position in operator.inputs]
    if (
        image.type != types.UINT8
        or len(users) != 1
        or flatbuffer.operator_name(model, users[0]) != "QUANTIZE"
        or graph.tensors[users[0].outputs[0]].type != types.INT8
    ):
        raise ConversionError("a front end goes before a network that takes uint8 and quantizes it to int8 first")
    quantize = users[0]
    own = int(quantize.outputs[0])
    rows, columns = (int(length) for length in image.shape[1:3])
    if height % rows or width % columns:
        raise ConversionError(f"a front end of {height}x{width} does not fit a network of {rows}x{columns}")

    def activation(name: str, shape: Sequence[int]) -> int:
        position = flatbuffer.tensor(model, f"front/{name}", shape, types.INT8)
        graph.tensors[position].quantization = graph.tensors[own].quantization
        return position

    factors = {"x": width // columns, "y": height // rows}
    image.shape = np.array([1, height, width, 3], np.int32)
    image.shapeSignature = None if image.shapeSignature is None else image.shape
    last = activation("image", (1, height, width, 3))
    quantize.outputs = np.array([last], np.int32)
    added: list[Any] = []
    for axis, shape in (("x", (1, height, columns, 3)), ("y", (1, rows, columns, 3))):
        if factors[axis] > 1:
            target = activation(axis, shape)
            added.append(_depthwise(model, last, target, axis, factors[axis]))
            last = target
    added.append(_multiplied(model, last, own, _border(rows, columns, factors)))
    at = next(i for i, operator in enumerate(graph.operators) if operator is quantize)
    graph.operators[at + 1 : at + 1] = added
    return flatbuffer.write(model)


def _border(rows: int, columns: int, factors: dict[str, int]) -> npt.NDArray[np.float64]:
    """[rows, columns]: 1 over the share of the filter's weights that is inside of the picture."""
    inside = [np.ones(rows), np.ones(columns)]
    for along, factor in zip(inside, (factors["y"], factors["x"]), strict=True):
        weights = triangle(factor)
        share = 1 - sum(weights[: factor // 2]) / sum(weights)
        along[0] *= share
        along[-1] *= share
    return 1 / np.outer(*inside)


def _depthwise(model: Any, source: int, target: int, axis: str, factor: int) -> Any:
    weights = np.array(triangle(factor), np.int8)
    # The contract rounds half a level up, kernels to even or away from 0, some in two steps. So that each gives the
    # contract's bytes, the sum is in units of which a level has many, and half of what tells two sums apart is added:
    # then none is near to the middle. For odd factors none is anyway.
    units = 2 ** int(np.log2(127 // weights.max()))
    weights = units * weights
    nudge = 0 if factor % 2 else units // 2
    shape = (1, 1, len(weights), 3) if axis == "x" else (1, len(weights), 1, 3)
    scale = 1 / float(weights.sum(dtype=np.int64))
    step = float(model.subgraphs[0].tensors[source].quantization.scale[0])
    types = schema.TensorType
    kernel = flatbuffer.constant(
        model, f"front/{axis}/weights", np.repeat(weights, 3).reshape(shape), types.INT8, [scale] * 3, 3
    )
    added = np.full(3, nudge, np.int32)
    bias = flatbuffer.constant(model, f"front/{axis}/bias", added, types.INT32, [step * scale] * 3, 0)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.SAME  # with real 0, which adds nothing
    options.strideH, options.strideW = (1, factor) if axis == "x" else (factor, 1)
    options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
    inputs = [source, kernel, bias]
    return flatbuffer.operator(model, "DEPTHWISE_CONV_2D", 3, inputs, target, "DepthwiseConv2DOptions", options)


def _multiplied(model: Any, source: int, target: int, factors: npt.NDArray[np.float64]) -> Any:
    """The picture times `factors`, [rows, columns]; where they are 1, not a byte changes."""
    values = np.unique(factors)
    # One is a whole number of steps, and so is every other factor as nearly as 7 bits allow.
    ones = range(int(127 / values.max()), 0, -1)
    one = min(ones, key=lambda n: float(np.abs(np.rint(values * n) / n / values - 1).max().round(6)))
    content = np.rint(factors * one).astype(np.int8)[None, :, :, None]
    constant = flatbuffer.constant(model, "front/border", content, schema.TensorType.INT8, [1 / one], 0)
    return flatbuffer.operator(model, "MUL", 2, [source, constant], target, "MulOptions", schema.MulOptionsT())
