"""The operators that a network may have: what each takes, and what comes out of it.

A whitelist. LiteRT knows some 200 operators and trusts the file: a stride of 0, an index outside of a tensor or an
option that nobody writes ends or hangs the process, or takes all memory. What image classifiers are made of is let
through where types, shapes and options fit each other; shapes are inferred here, not believed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from .flatbuffer import Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Shape = tuple[int, ...]

WIDTHS = {"float32": 4, "float16": 2, "int8": 1, "uint8": 1, "int16": 2, "int32": 4, "int64": 8, "bool": 1}
"""Bytes of the types that a tensor may have."""

QUANTIZED = ("int8", "uint8", "int16")

_MAX_RANK = 6
_MAX_BROADCAST_RANK = 4
_MAX_INPUTS = 512  # of one concatenation
_MAX_KNOWN = 1024  # numbers that say a shape, axes or positions
_MAX_STEP = 4096  # stride, dilation or window side: the largest picture
_SUM_SCALES = {
    "int8": 2.0**18,
    "uint8": 2.0**18,
    "int16": 2.0**13,
}  # an input's by the output's: twice that is an abort
_RELU = 3  # fused activations: 0 none, 1 ReLU, 2 ReLU from -1 to 1, 3 ReLU6; LiteRT does no other


class Unsupported(Exception):
    """Why an operator is not supported, as the end of the sentence "its operator 3, CONV_2D, ..."."""


class Tensor:
    """A tensor of the graph.

    Args:
        content: Its bytes where the file holds them.

    Returns:
        is_constant: those, and what DEQUANTIZE makes of them. known: its numbers where it says a shape, so that what is
        shaped by it can be inferred. scales, zero_points: empty where it is not quantized; axis: the one that has a
        scale per position. free: the axes whose length the run decides.
    """

    __slots__ = ("axis", "content", "dtype", "free", "is_constant", "known", "scales", "shape", "size", "zero_points")

    def __init__(self, shape: Shape, dtype: str, content: memoryview[int] | None):
        self.shape = shape
        self.dtype = dtype
        self.content = content
        self.is_constant = content is not None
        self.known: tuple[int, ...] | None = None
        self.scales: npt.NDArray[np.float32] | tuple[()] = ()
        self.zero_points: npt.NDArray[np.int64] | tuple[()] = ()
        self.axis = 0
        self.free: frozenset[int] = frozenset()
        self.size = math.prod(shape) * WIDTHS[dtype]

    def fit(self, shape: Shape) -> None:
        """Takes the shape that was inferred, where the file leaves those lengths to the run."""
        rank = len(self.shape)
        if rank != len(shape) or any(
            a != b for i, (a, b) in enumerate(zip(self.shape, shape, strict=True)) if i not in self.free
        ):
            raise Unsupported(f"makes {list(shape)}, but the file says {list(self.shape)}")
        self.shape = shape
        self.size = math.prod(shape) * WIDTHS[self.dtype]

    def numbers(self) -> tuple[int, ...] | None:
        """Its whole numbers, where they are known before the network runs."""
        if self.known is None and self.content is not None and self.dtype in ("int32", "int64"):
            count = math.prod(self.shape)
            if count <= _MAX_KNOWN:
                self.known = struct.unpack(f"<{count}{'i' if self.dtype == 'int32' else 'q'}", self.content)
        return self.known


class Step:
    """One operator with its tensors. None stands for an input that is left out.

    work: what it computes, in multiply-accumulates. kept: bytes that LiteRT may hold beside the tensors from its
    loading on; workspace: while it runs.
    """

    __slots__ = ("inputs", "kept", "name", "options", "outputs", "work", "workspace")

    def __init__(self, name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], options: Table | None):
        self.name = name
        self.inputs = inputs
        self.outputs = outputs
        self.options = options
        self.work = self.kept = self.workspace = 0

    def number(self, field: int, code: str, default: int | float = 0) -> int:
        return int(self.options.number(field, code, default) if self.options else default)

    def real(self, field: int) -> float:
        return self.options.number(field, "f") if self.options else 0.0

    def flag(self, field: int) -> bool:
        return bool(self.number(field, "b"))

    def size(self, field: int, what: str, default: int = 0) -> int:
        """An option that counts pixels or channels."""
        value = self.number(field, "i", default)
        require(1 <= value <= _MAX_STEP, f"has a {what} of {value}")
        return value

    def activation(self, field: int) -> None:
        value = self.number(field, "b")
        require(0 <= value <= _RELU, f"has an unknown activation, {value}")

    def input(self, position: int) -> Tensor:
        tensor = self.inputs[position] if position < len(self.inputs) else None
        if tensor is None:
            raise Unsupported("lacks an input")
        return tensor

    def known(self, position: int, what: str) -> tuple[int, ...]:
        numbers = self.input(position).numbers()
        if numbers is None:
            raise Unsupported(f"has {what} that is only known at run time")
        return numbers


def require(holds: bool, why: str) -> None:
    if not holds:
        raise Unsupported(why)


class Rule(NamedTuple):
    """What is required of one kind of operator.

    Attributes:
        types: Of inputs and outputs, such as "float32 float32 -> float32"; "x* -> x" stands for any number of one type.
        shapes: Step -> the shapes of its outputs.
        options: The code of its options in the schema's union and how many fields they have; 0 where there are none.
        counts: Whether numbers are computed, so that their scales matter.
    """

    types: frozenset[str]
    shapes: Callable[[Step], Sequence[Shape]]
    options: tuple[int, int] = (0, 0)
    counts: bool = True


# Shapes, operator by operator.


def _convolved(step: Step, window: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]) -> Shape:
    """(rows, columns) of what a window makes of the first input."""
    padding = step.number(0, "b")
    require(padding in (0, 1), f"has an unknown padding, {padding}")
    found: list[int] = []
    for length, side, stride, dilation in zip(step.input(0).shape[1:3], window, strides, dilations, strict=True):
        if padding == 0:  # SAME
            found.append(-(-length // stride))
        else:
            found.append(-(-(length - (side - 1) * dilation) // stride))
    require(min(found) >= 1, "has a window that is larger than its input")
    return tuple(found)


def _weighted(step: Step, channels_axis: int, rank: int, channels: int) -> tuple[Tensor, Tensor]:
    """(input, weights) of an operator with weights and a bias of `channels` numbers."""
    x, weights = step.input(0), step.input(1)
    require(weights.is_constant, "has weights that are not in the file")
    require(len(weights.shape) == rank, f"has weights of {len(weights.shape)} dimensions")
    if len(step.inputs) > 2 and (bias := step.inputs[2]) is not None:
        require(
            bias.is_constant and math.prod(bias.shape) == channels == bias.shape[-1], "has a bias that does not fit"
        )
    if weights.dtype in QUANTIZED:
        scales = len(weights.scales)
        axis_fits = scales == 1 or (weights.axis == channels_axis and scales == weights.shape[channels_axis])
        require(axis_fits and len(weights.zero_points) == scales, "has weights whose scales do not fit")
        # Weights in int8 are symmetric; those of uint8 have one scale.
        symmetric = weights.dtype == "uint8" or not bytes(weights.zero_points).strip(b"\0")
        require(symmetric and (weights.dtype == "int8" or scales == 1), "has weights with zero points that do not fit")
    return x, weights


def _slow(x: Tensor) -> int:
    return 3 if x.dtype == "int16" else 1  # plain kernels only


def _conv(step: Step) -> list[Shape]:
    weights = step.input(1)
    require(len(weights.shape) == 4, "has weights that do not fit")
    x, _ = _weighted(step, 0, 4, weights.shape[0])
    require(len(x.shape) == 4, f"takes {len(x.shape)} dimensions")
    step.activation(3)
    filters, rows, columns, channels = weights.shape
    require(x.shape[3] % channels == 0 and filters % (x.shape[3] // channels) == 0, "has weights that do not fit")
    strides = step.size(2, "stride"), step.size(1, "stride")
    dilations = step.size(5, "dilation", 1), step.size(4, "dilation", 1)
    out = _convolved(step, (rows, columns), strides, dilations)
    positions = x.shape[0] * math.prod(out) * rows * columns
    is_grouped = channels != x.shape[3]
    step.work = positions * filters * channels * (10 if is_grouped else _slow(x))
    if rows * columns > 1 or max(strides) > 1:
        step.kept = positions * 8  # pointers
        step.workspace = positions * channels * WIDTHS[x.dtype]
    return [(x.shape[0], *out, filters)]


def _depthwise(step: Step) -> list[Shape]:
    weights = step.input(1)
    require(len(weights.shape) == 4 and weights.shape[0] == 1, "has weights that do not fit")
    x, _ = _weighted(step, 3, 4, weights.shape[3])
    require(len(x.shape) == 4, f"takes {len(x.shape)} dimensions")
    step.activation(4)
    multiplier = step.size(3, "depth multiplier")
    require(weights.shape[3] == x.shape[3] * multiplier, "has weights that do not fit")
    strides = step.size(2, "stride"), step.size(1, "stride")
    dilations = step.size(6, "dilation", 1), step.size(5, "dilation", 1)
    out = _convolved(step, (weights.shape[1], weights.shape[2]), strides, dilations)
    positions = x.shape[0] * math.prod(out) * math.prod(weights.shape[1:3])
    step.work = positions * weights.shape[3] * 4
    step.kept = positions * 8
    return [(x.shape[0], *out, weights.shape[3])]


def _dense(step: Step) -> list[Shape]:
    weights = step.input(1)
    require(len(weights.shape) == 2, "has weights that do not fit")
    units, length = weights.shape
    x, _ = _weighted(step, 0, 2, units)
    step.activation(0)
    require(step.number(1, "b") == 0, "has shuffled weights")
    count = math.prod(x.shape)
    require(len(x.shape) >= 1 and count % length == 0, "has weights that do not fit")
    step.work = count * units * _slow(x)
    if step.flag(2):
        require(x.shape[len(x.shape) - 1] == length, "has weights that do not fit")
        return [(*x.shape[:-1], units)]
    return [(count // length, units)]


def _pool(step: Step) -> list[Shape]:
    x = step.input(0)
    require(len(x.shape) == 4, f"takes {len(x.shape)} dimensions")
    step.activation(5)
    window = step.size(4, "window"), step.size(3, "window")
    out = _convolved(step, window, (step.size(2, "stride"), step.size(1, "stride")), (1, 1))
    positions = x.shape[0] * math.prod(out) * math.prod(window)
    step.work, step.kept = positions * x.shape[3] * 4, positions * 8
    return [(x.shape[0], *out, x.shape[3])]


def _broadcast(a: Shape, b: Shape) -> Shape:
    require(max(len(a), len(b)) <= _MAX_BROADCAST_RANK or a == b, f"takes {max(len(a), len(b))} dimensions")
    pairs = list(zip_longest(reversed(a), reversed(b), fillvalue=1))
    require(all(m == n or 1 in (m, n) for m, n in pairs), f"takes shapes that do not fit, {list(a)} and {list(b)}")
    return tuple(max(pair) for pair in reversed(pairs))


def _binary(step: Step) -> list[Shape]:
    if step.options is not None and step.name in ("ADD", "SUB", "MUL", "DIV"):
        step.activation(0)
    a, b = step.input(0), step.input(1)
    require(not (a.is_constant and b.is_constant), "takes nothing but constants")
    return [_broadcast(a.shape, b.shape)]


def _same(step: Step) -> list[Shape]:
    return [step.input(0).shape]


def _leaky(step: Step) -> list[Shape]:
    require(abs(step.real(0)) <= 1000, "has an invalid slope")
    return _same(step)


def _prelu(step: Step) -> list[Shape]:
    x, slope = step.input(0), step.input(1)
    require(slope.is_constant and _broadcast(x.shape, slope.shape) == x.shape, "has slopes that do not fit")
    return [x.shape]


def _softmax(step: Step) -> list[Shape]:
    x = step.input(0)
    require(1 <= len(x.shape) <= 4, f"takes {len(x.shape)} dimensions")
    require(1 / 64 <= step.real(0) <= 64, f"has a beta of {step.real(0):g}")
    return [x.shape]


def _log_softmax(step: Step) -> list[Shape]:
    require(1 <= len(step.input(0).shape) <= 4, "takes too many dimensions")
    return _same(step)


def _l2_normalized(step: Step) -> list[Shape]:
    require(1 <= len(step.input(0).shape) <= 4 and step.number(0, "b") == 0, "takes too many dimensions")
    return _same(step)


def _reshape(step: Step) -> list[Shape]:
    x = step.input(0)
    if len(step.inputs) > 1:
        require(len(step.input(1).shape) == 1, "has a shape of another rank")
        wanted = step.known(1, "a shape")
    else:
        wanted = step.options.numbers(0, "i") if step.options else ()
    require(
        len(wanted) <= _MAX_RANK and wanted.count(-1) <= 1 and all(n == -1 or n >= 1 for n in wanted), "has no shape"
    )
    count, others = math.prod(x.shape), math.prod(n for n in wanted if n != -1)
    require(count % others == 0 and (-1 in wanted or count == others), "does not keep the number of values")
    return [tuple(count // others if n == -1 else n for n in wanted)]


def _axis(value: int, rank: int) -> int:
    require(-rank <= value < rank, f"names an axis, {value}, that does not exist")
    return value % rank


def _squeeze(step: Step) -> list[Shape]:
    shape = step.input(0).shape
    named = step.options.numbers(0, "i") if step.options else ()
    require(len(named) <= len(shape), "names too many axes")
    axes = {_axis(axis, len(shape)) for axis in named} or {i for i, n in enumerate(shape) if n == 1}
    require(all(shape[axis] == 1 for axis in axes), "leaves out an axis that is not of length 1")
    return [tuple(n for i, n in enumerate(shape) if i not in axes)]


def _expand(step: Step) -> list[Shape]:
    shape, axes = step.input(0).shape, step.known(1, "an axis")
    require(len(axes) == 1, "names no axis")
    axis = _axis(axes[0], len(shape) + 1)
    return [(*shape[:axis], 1, *shape[axis:])]


def _transpose(step: Step) -> list[Shape]:
    shape, order = step.input(0).shape, step.known(1, "an order")
    require(sorted(order) == list(range(len(shape))) and len(shape) <= 5, "has an invalid order")
    return [tuple(shape[axis] for axis in order)]


def _concatenation(step: Step) -> list[Shape]:
    require(1 <= len(step.inputs) <= _MAX_INPUTS and step.number(1, "b") == 0, "has inputs that do not fit")
    shapes = [step.input(i).shape for i in range(len(step.inputs))]
    first = shapes[0]
    require(1 <= len(first) <= 5, f"takes {len(first)} dimensions")
    axis = _axis(step.number(0, "i"), len(first))
    rest = (*first[:axis], *first[axis + 1 :])
    require(
        all(len(s) == len(first) and (*s[:axis], *s[axis + 1 :]) == rest for s in shapes), "has inputs that do not fit"
    )
    _joined(step, [n for i in range(len(shapes)) for n in (step.input(i).numbers() or ())])
    return [(*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])]


def _joined(step: Step, numbers: Sequence[int]) -> None:
    """Passes on what is known of shapes."""
    values = [step.input(i) for i in range(len(step.inputs))]
    if values[0].dtype == "int32":
        require(all(value.numbers() is not None and len(value.shape) <= 1 for value in values), "joins whole numbers")
        require(len(numbers) <= _MAX_KNOWN, "joins too many numbers")
        step.outputs[0].known = tuple(numbers)


def _pack(step: Step) -> list[Shape]:
    require(
        1 <= len(step.inputs) <= _MAX_INPUTS and step.number(0, "i") == len(step.inputs), "has inputs that do not fit"
    )
    shape = step.input(0).shape
    require(all(step.input(i).shape == shape for i in range(len(step.inputs))), "has inputs that do not fit")
    require(len(shape) <= 4, f"takes {len(shape)} dimensions")
    axis = _axis(step.number(1, "i"), len(shape) + 1)
    _joined(step, [n for i in range(len(step.inputs)) for n in (step.input(i).numbers() or ())])
    return [(*shape[:axis], len(step.inputs), *shape[axis:])]


def _unpack(step: Step) -> list[Shape]:
    shape = step.input(0).shape
    require(1 <= len(shape) <= 5, f"takes {len(shape)} dimensions")
    axis = _axis(step.number(1, "i"), len(shape))
    require(step.number(0, "i") == len(step.outputs) == shape[axis], "has outputs that do not fit")
    return [(*shape[:axis], *shape[axis + 1 :])] * len(step.outputs)


def _split(step: Step) -> list[Shape]:
    axes, shape = step.known(0, "an axis"), step.input(1).shape
    require(len(axes) == 1 and 1 <= len(shape) <= 4, "names no axis")
    axis, parts = _axis(axes[0], len(shape)), len(step.outputs)
    require(step.number(0, "i") == parts >= 1 and shape[axis] % parts == 0, "has outputs that do not fit")
    return [(*shape[:axis], shape[axis] // parts, *shape[axis + 1 :])] * parts


def _split_by_sizes(step: Step) -> list[Shape]:
    shape, sizes, axes = step.input(0).shape, step.known(1, "sizes"), step.known(2, "an axis")
    require(len(axes) == 1 and 1 <= len(shape) <= 4, "names no axis")
    axis = _axis(axes[0], len(shape))
    fits = step.number(0, "i") == len(step.outputs) == len(sizes) and min(sizes, default=0) >= 1
    require(fits and sum(sizes) == shape[axis], "has outputs that do not fit")
    return [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]


def _slice(step: Step) -> list[Shape]:
    shape, begins, sizes = step.input(0).shape, step.known(1, "a start"), step.known(2, "sizes")
    require(len(begins) == len(sizes) == len(shape) and 1 <= len(shape) <= 5, "has another number of axes")
    found = tuple(n - begin if size == -1 else size for n, begin, size in zip(shape, begins, sizes, strict=True))
    inside = all(
        begin >= 0 and size >= 1 and begin + size <= n for n, begin, size in zip(shape, begins, found, strict=True)
    )
    require(inside, "reaches outside of its input")
    return [found]


def _strided_slice(step: Step) -> list[Shape]:
    x = step.input(0)
    begins, ends, strides = (step.known(i, what) for i, what in ((1, "a start"), (2, "an end"), (3, "strides")))
    require(1 <= len(x.shape) <= 4 and len(begins) == len(ends) == len(strides) <= len(x.shape), "has other axes")
    begin_mask, end_mask, ellipsis, new_axes, shrunk = (step.number(i, "i") for i in range(5))
    require(not (ellipsis or new_axes or step.flag(5)), "has options that no classifier needs")
    found, ranges = list[int](), list[range]()
    for axis, length in enumerate(x.shape):
        if axis >= len(begins):
            found.append(length)
            continue
        begin, stride, bit = begins[axis], strides[axis], 1 << axis
        if shrunk & bit:
            index = 0 if begin_mask & bit else begin
            require(stride == 1 and -length <= index < length, "reaches outside of its input")
            ranges.append(range(index % length, index % length + 1))
            continue
        require(stride != 0 and abs(stride) <= _MAX_STEP, f"has a stride of {stride}")
        taken = slice(None if begin_mask & bit else begin, None if end_mask & bit else ends[axis], stride)
        ranges.append(range(*taken.indices(length)))
        require(len(ranges[-1]) >= 1, "takes nothing of its input")
        found.append(len(ranges[-1]))
    numbers = x.numbers()
    if x.dtype == "int32":
        require(numbers is not None and len(x.shape) == 1, "takes whole numbers")
        step.outputs[0].known = tuple((numbers or ())[i] for i in ranges[0])
    return [tuple(found)]


def _gather(step: Step) -> list[Shape]:
    shape, indices = step.input(0).shape, step.input(1)
    positions = step.known(1, "positions")
    require(1 <= len(shape) <= 4 and len(indices.shape) <= 1 and step.number(1, "i") == 0, "has other axes")
    axis = _axis(step.number(0, "i"), len(shape))
    require(all(0 <= position < shape[axis] for position in positions), "reaches outside of its input")
    if step.input(0).dtype == "int32":
        numbers = step.known(0, "whole numbers")
        require(len(shape) == 1, "takes whole numbers")
        step.outputs[0].known = tuple(numbers[position] for position in positions)
    return [(*shape[:axis], *indices.shape, *shape[axis + 1 :])]


def _shape(step: Step) -> list[Shape]:
    shape = step.input(0).shape
    require(step.number(0, "b") == 2, "gives its numbers in another type")  # int32
    step.outputs[0].known = shape
    return [(len(shape),)]


def _paddings(step: Step) -> list[tuple[int, int]]:
    shape, numbers = step.input(0).shape, step.known(1, "paddings")
    require(step.input(1).shape == (len(shape), 2) and len(shape) <= 4, "has other axes")
    require(all(0 <= n <= _MAX_STEP for n in numbers), "has invalid paddings")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _pad(step: Step) -> list[Shape]:
    paddings = _paddings(step)
    if step.name == "PADV2":
        value = step.input(2)
        require(value.is_constant and math.prod(value.shape) == 1, "has a value that does not fit")
    return [tuple(n + sum(pair) for n, pair in zip(step.input(0).shape, paddings, strict=True))]


def _mirror(step: Step) -> list[Shape]:
    mode, paddings, shape = step.number(0, "b"), _paddings(step), step.input(0).shape
    require(mode in (0, 1), f"has an unknown mode, {mode}")
    inside = all(max(pair) <= n - (mode == 0) for n, pair in zip(shape, paddings, strict=True))  # 0: REFLECT
    require(inside, "mirrors more than there is")
    return [tuple(n + sum(pair) for n, pair in zip(shape, paddings, strict=True))]


def _reduced(step: Step) -> list[Shape]:
    shape = step.input(0).shape
    named = step.known(1, "axes")
    require(1 <= len(shape) <= 4 and 1 <= len(named) <= len(shape), "names other axes than there are")
    axes = {_axis(axis, len(shape)) for axis in named}
    require(len(axes) == len(named), "names an axis twice")
    if step.flag(0):
        return [tuple(1 if i in axes else n for i, n in enumerate(shape))]
    return [tuple(n for i, n in enumerate(shape) if i not in axes)]


def _product(step: Step) -> list[Shape]:
    numbers = step.known(0, "whole numbers")
    require(len(step.input(0).shape) == 1 and not step.flag(0), "takes other whole numbers than a shape")
    product = math.prod(numbers)
    require(0 < product < 2**31, "makes too large a number")
    step.outputs[0].known = (product,)
    return _reduced(step)


def _dequantize(step: Step) -> list[Shape]:
    x = step.input(0)
    require(x.dtype != "float16" or x.is_constant, "takes float16 that is not in the file")
    if x.dtype != "float16" and len(x.scales) != 1:
        fits = x.is_constant and x.axis < len(x.shape) and len(x.scales) == len(x.zero_points) == x.shape[x.axis]
        require(fits, "has scales that do not fit")
    step.outputs[0].is_constant = x.is_constant
    return [x.shape]


def _resize(step: Step) -> list[Shape]:
    shape, sides = step.input(0).shape, step.known(1, "a size")
    require(len(shape) == 4 and len(sides) == 2 and all(1 <= side <= _MAX_STEP for side in sides), "has no size")
    first = 2 if step.name == "RESIZE_BILINEAR" else 0
    require(not (step.flag(first) and step.flag(first + 1)), "has options that contradict each other")
    return [(shape[0], *sides, shape[3])]


def _depth_to_space(step: Step) -> list[Shape]:
    shape, side = step.input(0).shape, step.size(0, "block")
    require(len(shape) == 4 and shape[3] % side**2 == 0, "has a block that does not fit")
    return [(shape[0], shape[1] * side, shape[2] * side, shape[3] // side**2)]


def _space_to_depth(step: Step) -> list[Shape]:
    shape, side = step.input(0).shape, step.size(0, "block")
    require(len(shape) == 4 and shape[1] % side == shape[2] % side == 0, "has a block that does not fit")
    return [(shape[0], shape[1] // side, shape[2] // side, shape[3] * side**2)]


_KERNEL_COLUMNS = 64
"""Of a float32 matrix product: at most (XNNPACK's kernels have 8 to 64)."""


def _matmul(step: Step) -> list[Shape]:
    a, b = step.input(0), step.input(1)
    require(2 <= len(a.shape) == len(b.shape) <= 4 and not a.is_constant, "takes shapes that do not fit")
    rows, inner = a.shape[-2:][:: -1 if step.flag(0) else 1]
    other, columns = b.shape[-2:][:: -1 if step.flag(1) else 1]
    require(inner == other, "takes shapes that do not fit")
    shape = (*_broadcast(a.shape[:-2], b.shape[:-2]), rows, columns)
    # XNNPACK packs each matrix of b: columns filled up to those of a kernel, and a row of biases.
    packed = 4 * math.prod(b.shape[:-2]) * (inner + 1) * -(-columns // _KERNEL_COLUMNS) * _KERNEL_COLUMNS
    step.work, step.workspace = math.prod(shape) * inner, a.size + packed
    return [shape]


# The table.


def _each(dtypes: Iterable[str], types: str) -> frozenset[str]:
    return frozenset(types.replace("x", dtype) for dtype in dtypes)


_F = ("float32",)
_NUMERIC = ("float32", "int8", "uint8", "int16")
_BYTES = ("float32", "int8", "uint8")
_UNARY = "x -> x"
_BINARY = "x x -> x"

# float32 with int8 weights: "hybrid", the weights are made for the activations' range.
_WITH_BIAS = frozenset(
    f"{x} {weights} {bias} -> {x}"
    for x, weights, biases in (
        ("float32", "float32", ("float32",)),
        ("float32", "int8", ("float32",)),
        ("int8", "int8", ("int32",)),
        ("uint8", "uint8", ("int32",)),
        ("int16", "int8", ("int64", "int32")),
    )
    for bias in biases
)
_WEIGHTED = _WITH_BIAS | frozenset(
    types.rpartition(" -> ")[0].rpartition(" ")[0] + left_out + " -> " + types.rpartition(" ")[2]
    for types in _WITH_BIAS
    for left_out in ("", " -")
)


def _numbers_too(types: frozenset[str], pattern: str) -> frozenset[str]:
    """With int32, in which networks for any number of pictures compute the shapes that they reshape to."""
    return types | _each(("int32",), pattern)


def _rules() -> dict[str, Rule]:
    unary, keeps = _each(_F, _UNARY), _each(_NUMERIC, _UNARY)
    binary = _each(_NUMERIC, _BINARY)
    by_numbers = _each(_NUMERIC, "x int32 -> x")
    rules = {
        "CONV_2D": Rule(_WEIGHTED, _conv, (1, 7)),
        "DEPTHWISE_CONV_2D": Rule(_WITH_BIAS, _depthwise, (2, 7)),
        "FULLY_CONNECTED": Rule(_WEIGHTED, _dense, (8, 5)),
        "AVERAGE_POOL_2D": Rule(keeps, _pool, (5, 6)),
        "MAX_POOL_2D": Rule(keeps, _pool, (5, 6)),
        "ADD": Rule(binary, _binary, (11, 2)),
        "SUB": Rule(binary, _binary, (28, 2)),
        "MUL": Rule(binary, _binary, (21, 1)),
        "DIV": Rule(_each(_F, _BINARY), _binary, (29, 1)),
        "MAXIMUM": Rule(binary, _binary, (39, 0)),
        "MINIMUM": Rule(binary, _binary, (39, 0)),
        "SQUARED_DIFFERENCE": Rule(_each(("float32", "int8"), _BINARY), _binary, (76, 0)),
        "POW": Rule(_each(_F, _BINARY), _binary, (56, 0)),
        "PRELU": Rule(_each(_BYTES, _BINARY), _prelu),
        "LEAKY_RELU": Rule(keeps, _leaky, (75, 1)),
        "SOFTMAX": Rule(keeps, _softmax, (9, 1)),
        "LOG_SOFTMAX": Rule(unary, _log_softmax, (36, 0)),
        "L2_NORMALIZATION": Rule(unary, _l2_normalized, (12, 1)),
        "RESHAPE": Rule(keeps | by_numbers, _reshape, (17, 1), counts=False),
        "SQUEEZE": Rule(keeps, _squeeze, (30, 1), counts=False),
        "EXPAND_DIMS": Rule(by_numbers, _expand, (52, 0), counts=False),
        "TRANSPOSE": Rule(by_numbers, _transpose, (26, 0), counts=False),
        "CONCATENATION": Rule(_numbers_too(_each(_NUMERIC, "x* -> x"), "x* -> x"), _concatenation, (10, 2)),
        "PACK": Rule(_numbers_too(_each(_NUMERIC, "x* -> x"), "x* -> x"), _pack, (59, 2), counts=False),
        "UNPACK": Rule(_each(_NUMERIC, "x -> x*"), _unpack, (64, 2), counts=False),
        "SPLIT": Rule(_each(_NUMERIC, "int32 x -> x*"), _split, (35, 1), counts=False),
        "SPLIT_V": Rule(_each(_NUMERIC, "x int32 int32 -> x*"), _split_by_sizes, (79, 1), counts=False),
        "SLICE": Rule(_each(_NUMERIC, "x int32 int32 -> x"), _slice, (48, 0), counts=False),
        "STRIDED_SLICE": Rule(
            _numbers_too(_each(_NUMERIC, "x int32 int32 int32 -> x"), "x int32 int32 int32 -> x"),
            _strided_slice,
            (32, 6),
            counts=False,
        ),
        "GATHER": Rule(_each((*_BYTES, "int32"), "x int32 -> x"), _gather, (23, 2), counts=False),
        "SHAPE": Rule(_each(_NUMERIC, "x -> int32"), _shape, (55, 1), counts=False),
        "PAD": Rule(by_numbers, _pad, (22, 0)),
        "PADV2": Rule(_each(_NUMERIC, "x int32 x -> x"), _pad, (43, 0)),
        "MIRROR_PAD": Rule(_each(_BYTES, "x int32 -> x"), _mirror, (77, 1)),
        "MEAN": Rule(by_numbers, _reduced, (27, 1)),
        "SUM": Rule(by_numbers, _reduced, (27, 1)),
        "REDUCE_MAX": Rule(by_numbers, _reduced, (27, 1)),
        "REDUCE_MIN": Rule(by_numbers, _reduced, (27, 1)),
        "REDUCE_PROD": Rule(_each(("int32",), "x int32 -> x"), _product, (27, 1)),
        "QUANTIZE": Rule(frozenset(f"{a} -> {b}" for a in _NUMERIC for b in QUANTIZED), _same, (89, 0)),
        "DEQUANTIZE": Rule(_each((*QUANTIZED, "float16"), "x -> float32"), _dequantize, (38, 0), counts=False),
        "CAST": Rule(frozenset(f"{a} -> {b}" for a in _BYTES for b in _BYTES), _same, (37, 2), counts=False),
        "RESIZE_BILINEAR": Rule(by_numbers, _resize, (15, 4)),
        "RESIZE_NEAREST_NEIGHBOR": Rule(by_numbers, _resize, (74, 2)),
        "DEPTH_TO_SPACE": Rule(_each(_BYTES, _UNARY), _depth_to_space, (94, 1)),
        "SPACE_TO_DEPTH": Rule(_each(_BYTES, _UNARY), _space_to_depth, (19, 1)),
        "BATCH_MATMUL": Rule(_each(_F, _BINARY), _matmul, (101, 3)),
    }
    rules["RSQRT"] = Rule(_each(("float32", "int8"), _UNARY), _same)
    # No options, or options without fields.
    for name, code in (
        ("RELU", 0),
        ("RELU6", 0),
        ("RELU_N1_TO_1", 0),
        ("LOGISTIC", 0),
        ("TANH", 0),
        ("HARD_SWISH", 91),
    ):
        rules[name] = Rule(keeps, _same, (code, 0))
    for name, code in (("ELU", 0), ("EXP", 33), ("ABS", 78), ("NEG", 42), ("SQRT", 0), ("SQUARE", 66)):
        rules[name] = Rule(unary, _same, (code, 0))
    rules["GELU"] = Rule(_each(("float32", "int8"), _UNARY), _same, (116, 1))
    return rules


RULES = _rules()


def check_step(step: Step) -> None:
    """Raises Unsupported where the operator is not one of RULES or does not fit them; sets work, kept and workspace."""
    rule = RULES.get(step.name)
    if rule is None:
        raise Unsupported("is not one that image classifiers need")
    types = _types(step.inputs, step.outputs)
    if types not in rule.types:
        require(_collapsed(types) in rule.types, f"takes {types}")
    if rule.counts:
        _check_scales(step)
    shapes = rule.shapes(step)
    require(len(shapes) == len(step.outputs), "has another number of outputs")
    count = 0
    for tensor, shape in zip(step.outputs, shapes, strict=True):
        if tensor.shape != shape:
            tensor.fit(shape)
        require(len(shape) <= _MAX_RANK, f"makes {len(shape)} dimensions")
        count += math.prod(shape)
    # A value costs some ten nanoseconds where there is no fast kernel, four times that in int16.
    per_value = 256 if step.outputs and step.outputs[0].dtype == "int16" else 64
    step.work += per_value * max(count, max((math.prod(t.shape) for t in step.inputs if t is not None), default=0))


def _types(inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> str:
    taken = " ".join("-" if tensor is None else tensor.dtype for tensor in inputs)
    return f"{taken} -> {' '.join([tensor.dtype for tensor in outputs])}"


def _collapsed(types: str) -> str:
    """ "int8 int8 int8 -> int8" as "int8* -> int8", and outputs alike."""
    taken, given = (side.split(" ") for side in types.split(" -> "))
    if len(given) == 1 and len(set(taken)) == 1:
        return f"{taken[0]}* -> {given[0]}"
    return f"{' '.join(taken)} -> {given[0]}*" if len(set(given)) == 1 else ""


def _check_scales(step: Step) -> None:
    """The quantized activations have one scale each, and a sum's is not much finer than those of its inputs."""
    scales: list[float] = []
    weights = step.input(1) if step.name in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED") else None
    for tensor in (*step.inputs, *step.outputs):
        if tensor is None or tensor is weights or tensor.dtype not in QUANTIZED:
            continue
        require(len(tensor.scales) == len(tensor.zero_points) == 1, "takes or makes integers without a scale")
        require(tensor.dtype != "int16" or all(point == 0 for point in tensor.zero_points), "has a zero point in int16")
        scales.extend(float(scale) for scale in tensor.scales)
    require(min(scales, default=1.0) > 0, "has a scale of 0")
    if scales and step.name in ("ADD", "SUB", "SQUARED_DIFFERENCE"):
        largest, most = max(scales[:-1]), _SUM_SCALES[step.outputs[0].dtype]
        if step.name == "SQUARED_DIFFERENCE":
            largest, most = largest**2, 2.0**11
        require(largest <= most * scales[-1], "has scales that no network needs")
