"""What a network must be before LiteRT sees a byte of it.

LiteRT trusts a file: it follows offsets, calls subgraphs that call themselves, and allocates what a shape says. So
nothing is handed to it that is not understood here to the last field: one subgraph of the operators of image
classifiers (`operators`), shapes that follow from each other, and sums of memory and work within limits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from .errors import ModelFileError
from .flatbuffer import Table, damaged
from .network import dtype_of, operator_name
from .operators import RULES, WIDTHS, Step, Tensor, Unsupported, check_step

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_MEMORY = 768 * 2**20
"""Bytes: the file, its weights as LiteRT keeps them, the activations that are alive at once, workspace, and the inputs
and outputs once more, which are copied."""

MAX_WORK = 60_000_000_000
"""Multiply-accumulates of one picture, seconds of a slow core; InceptionResNetV2 takes 13e9. What has no fast kernel
counts as more of them."""

MAX_OPERATORS = 5_000
MAX_TENSORS = 20_000

_MAX_VALUES = 8  # inputs and outputs of the network
_MAX_ENTRIES = 256  # of metadata and signatures
_CONTROL = "model_control_dependencies"  # metadata that LiteRT orders the operators by

# Fields of the schema (schema.fbs, version 3) that are read here, by table.
_MODEL, _CODE, _GRAPH, _TENSOR, _QUANTIZATION, _OPERATOR, _BUFFER, _METADATA, _SIGNATURE, _ENTRY = (
    8, 4, 6, 10, 7, 14, 3, 2, 5, 2,
)  # fmt: skip

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_INT32 = (-(2**31), 2**31 - 1)


def check(content: bytes | memoryview[int]) -> None:
    """Raises ModelFileError, one line, for a network that is damaged, or that is not supported because ...

    Args:
        content: The flatbuffer.
    """
    root = Table.root(content, budget=2 * len(content))  # equal vectors may be shared: zero points are
    _only(root, _MODEL)
    root.string(3)
    root.numbers(5, "i")
    graphs = root.tables(2)
    if len(graphs) != 1:
        raise _unsupported(f"it has {len(graphs)} subgraphs, not one")
    graph = graphs[0]
    _only(graph, _GRAPH)
    graph.string(4)
    names = _operator_names(root)
    buffers = _buffers(root)
    tensors = _tensors(graph, buffers)
    _check_metadata(root, len(buffers), len(tensors))
    inputs, outputs = _ends(graph, 1), _ends(graph, 2)
    entries = graph.tables(3)
    if len(entries) > MAX_OPERATORS:
        raise _unsupported(f"it has {len(entries)} operators, over the limit of {MAX_OPERATORS}")

    ready = {position for position, tensor in enumerate(tensors) if tensor.is_constant}
    if ready.intersection(inputs) or len(set(inputs)) != len(inputs):
        raise _unsupported("one of its inputs is a constant, or is named twice")
    _take(inputs, tensors, None)
    ready.update(inputs)
    named = [tuple(inputs)]
    steps: list[Step] = []
    written: set[int] = set()
    for number, entry in enumerate(entries):
        step, taken, given = _step(entry, names, tensors, number)
        if not ready.issuperset(taken):
            raise ModelFileError("the network is damaged: an operator reads a tensor that does not exist")
        if ready.intersection(given) or len(set(given)) != len(given):
            raise ModelFileError("the network is damaged: an operator writes a tensor that exists already")
        try:
            check_step(step)
        except Unsupported as error:
            raise _unsupported(f"its operator {number}, {step.name}, {error}") from None
        ready.update(given)
        written.update(given)
        named.append((*taken, *given))
        steps.append(step)
    if not written.issuperset(outputs):
        raise ModelFileError("the network is damaged: an output is written by no operator")
    named.append(tuple(outputs))
    copied = sum(tensors[position].size for position in (*inputs, *outputs))
    _check_sums(len(content) + copied, tensors, steps, named)


def _only(table: Table, fields: int) -> None:
    if table.has_beyond(fields):
        raise _unsupported("it has fields that this version of skin-edge does not know")


def _unsupported(why: str) -> ModelFileError:
    return ModelFileError(f"the network is not supported, because {why}")


def _operator_names(root: Table) -> list[str]:
    codes = root.tables(1)
    if len(codes) > _MAX_ENTRIES:
        raise _unsupported(f"it has {len(codes)} kinds of operators")
    for code in codes:
        _only(code, _CODE)
        code.string(1)
        code.number(2, "i")
    return [operator_name(code) for code in codes]


def _buffers(root: Table) -> list[memoryview[int]]:
    buffers: list[memoryview[int]] = []
    for entry in root.tables(4):
        if entry.has_beyond(1) and (entry.has_beyond(_BUFFER) or entry.number(1, "Q") > 1):
            raise _unsupported("its weights are outside of the flatbuffer")
        buffers.append(entry.raw(0))
    return buffers


def _tensors(graph: Table, buffers: Sequence[memoryview[int]]) -> list[Tensor]:
    entries = graph.tables(0)
    if len(entries) > MAX_TENSORS:
        raise _unsupported(f"it has {len(entries)} tensors, over the limit of {MAX_TENSORS}")
    scales: list[npt.NDArray[np.float32]] = [np.ones(1, np.float32)]
    zero_points: dict[tuple[int, int], list[npt.NDArray[np.int64]]] = {}  # by the range of their type
    tensors = [_tensor(entry, buffers) for entry in entries]
    for tensor in tensors:
        if len(tensor.scales):
            scales.append(tensor.scales)  # pyright: ignore[reportArgumentType]
            zero_points.setdefault(_RANGES.get(tensor.dtype, _INT32), []).append(tensor.zero_points)  # pyright: ignore[reportArgumentType]
    # LiteRT aborts the process over ratios of scales that no quantization has.
    every = np.concatenate(scales)
    if not (np.isfinite(every).all() and every[every != 0].min() > 1e-30 and every.sum(dtype=np.float64) < 1e30):
        raise ModelFileError("the network is damaged: the scale of a tensor is invalid")
    for (low, high), arrays in zero_points.items():
        points = np.concatenate(arrays)
        if ((points < low) | (points > high)).any():
            raise ModelFileError("the network is damaged: a zero point is outside of its type's range")
    return tensors


def _tensor(entry: Table, buffers: Sequence[memoryview[int]]) -> Tensor:
    shape: tuple[int, ...] = entry.numbers(0, "i")
    signature: tuple[int, ...] = entry.numbers(7, "i")
    if len(shape) > 8 or any(length < 1 for length in shape):
        raise ModelFileError(f"the network is damaged: the shape of a tensor is invalid: {list(shape[:8])}")
    if signature and (
        len(signature) != len(shape) or any(a not in (-1, b) for a, b in zip(signature, shape, strict=True))
    ):
        raise ModelFileError("the network is damaged: a tensor has two shapes")
    entry.string(3)
    dtype = dtype_of(entry)
    if dtype not in WIDTHS:
        raise _unsupported(f"it has a tensor of {dtype}")
    if entry.has_beyond(5):
        if entry.number(5, "b"):
            raise _unsupported("it has variables")
        if entry.has(6):
            raise _unsupported("it has sparse weights")
        if entry.has(9) or entry.has_beyond(_TENSOR):
            raise _unsupported("it has tensors of a kind that this version of skin-edge does not know")
        entry.number(8, "b")
    position: int = entry.number(2, "I")
    if position >= len(buffers):
        raise ModelFileError("the network is damaged: a tensor has no buffer")
    content = buffers[position]
    tensor = Tensor(shape, dtype, content if len(content) else None)
    if -1 in signature:
        tensor.free = frozenset(axis for axis, length in enumerate(signature) if length == -1)
    if len(content) and len(content) != tensor.size:
        raise ModelFileError("the network is damaged: the values of a tensor are not as many as its shape says")
    quantization = entry.table(4)
    if quantization:
        _only(quantization, _QUANTIZATION)
        if quantization.number(4, "B") or quantization.has(5):
            raise _unsupported("it is quantized in a way that this version of skin-edge does not know")
        if quantization.has(0) or quantization.has(1):
            quantization.array(0, "<f4")
            quantization.array(1, "<f4")
        tensor.scales, tensor.zero_points = quantization.array(2, "<f4"), quantization.array(3, "<i8")
        tensor.axis = quantization.number(6, "i")
        if len(tensor.zero_points) not in (0, len(tensor.scales)):
            raise ModelFileError("the network is damaged: a tensor has another number of zero points than of scales")
        if len(tensor.scales) > 1 and not (0 <= tensor.axis < len(shape) and len(tensor.scales) == shape[tensor.axis]):
            raise ModelFileError("the network is damaged: a tensor has another number of scales than of channels")
    return tensor


def _ends(graph: Table, field: int) -> tuple[int, ...]:
    positions: tuple[int, ...] = graph.numbers(field, "i")
    if not 1 <= len(positions) <= _MAX_VALUES:
        raise _unsupported(f"it has {len(positions)} {'inputs' if field == 1 else 'outputs'}")
    return positions


def _take(positions: Sequence[int], tensors: Sequence[Tensor], left_out: int | None) -> list[Tensor | None]:
    """The tensors at `positions`, None for `left_out`."""
    if any(not 0 <= position < len(tensors) for position in positions if position != left_out):
        raise ModelFileError("the network is damaged: it names a tensor that does not exist")
    return [None if position == left_out else tensors[position] for position in positions]


def _step(
    entry: Table, names: Sequence[str], tensors: Sequence[Tensor], number: int
) -> tuple[Step, list[int], tuple[int, ...]]:
    """(the operator, the tensors it takes, those it writes)."""
    code: int = entry.number(0, "I")
    if code >= len(names):
        raise damaged()
    name = names[code]
    if entry.has_beyond(5) and (
        len(entry.raw(5))
        or entry.number(6, "b")
        or any(entry.raw(7))
        or entry.numbers(8, "i")
        or any(entry.has(field) for field in (9, 10, 11, 12))
        or entry.has_beyond(_OPERATOR)
    ):
        raise _unsupported(f"its operator {number}, {name}, has options that this version of skin-edge does not know")
    taken: tuple[int, ...] = entry.numbers(1, "i")
    given: tuple[int, ...] = entry.numbers(2, "i")
    options = entry.table(4)
    kind = entry.number(3, "B")
    rule = RULES.get(name)
    if rule and options:
        # Some converters write the options of an operator that has none, without a field.
        expected, fields = rule.options
        if options.has_beyond(fields if kind == expected else 0) or (kind != expected and fields):
            raise _unsupported(f"its operator {number}, {name}, has options of another kind")
    inputs, outputs = _take(taken, tensors, -1), _take(given, tensors, None)
    step = Step(name, inputs, [tensor for tensor in outputs if tensor], options)
    return step, [position for position in taken if position != -1], given


def _check_metadata(root: Table, buffers: int, tensors: int) -> None:
    entries, signatures = root.tables(6), root.tables(7)
    if len(entries) > _MAX_ENTRIES or len(signatures) > _MAX_ENTRIES:
        raise _unsupported("it has more metadata than a classifier needs")
    seen: set[str] = set()
    for entry in entries:
        _only(entry, _METADATA)
        name = entry.string(0)
        if name == _CONTROL:
            raise _unsupported("it has control dependencies")
        if name in seen or entry.number(1, "I") >= buffers:
            raise damaged()
        seen.add(name)
    for signature in signatures:
        _only(signature, _SIGNATURE)
        signature.string(2)
        for end in (*signature.tables(0), *signature.tables(1)):
            _only(end, _ENTRY)
            end.string(0)
            if end.number(1, "I") >= tensors:
                raise damaged()
        if not signature.has(2) or signature.has(3) or signature.number(4, "I"):
            raise damaged()


def _check_sums(held: int, tensors: Sequence[Tensor], steps: Sequence[Step], named: Sequence[tuple[int, ...]]) -> None:
    work = sum(step.work for step in steps)
    if work > MAX_WORK:
        raise _unsupported(f"a picture takes it {work:.1e} multiply-accumulates, over the limit of {MAX_WORK:.0e}")
    # As LiteRT keeps them: packed for the kernels, float16 as float32, twice.
    constants = sum(tensor.size * (4 if tensor.dtype == "float16" else 1) for tensor in tensors if tensor.content)
    sizes = [0 if tensor.is_constant else tensor.size for tensor in tensors]
    most = _most_alive(sizes, named, [0, *(step.workspace for step in steps), 0])
    memory = held + constants + most + sum(step.kept for step in steps)
    if memory > MAX_MEMORY:
        raise _unsupported(f"it takes {memory >> 20} MiB of memory, over the limit of {MAX_MEMORY >> 20} MiB")


def _most_alive(sizes: list[int], steps: Sequence[tuple[int, ...]], workspaces: Sequence[int]) -> int:
    """The most bytes alive at a step, of its workspace and of tensors that live from the first to the last step that
    names them."""
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for step, positions in enumerate(steps):
        for position in positions:
            first.setdefault(position, step)
            last[position] = step
    changes = [0] * (len(steps) + 1)
    for position, step in first.items():
        changes[step] += sizes[position]
        changes[last[position] + 1] -= sizes[position]
    return max(alive + space for alive, space in zip(accumulate(changes), (*workspaces, 0), strict=True))
