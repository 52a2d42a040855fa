"""What stands in the network of a .tflite: operators, tensors and metadata, read from the flatbuffer.

A small reader of its own: the device install has no schema library, and a stranger's file must end in one clear line
whatever its bytes are. Field numbers follow TFLite's schema.fbs (version 3).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import ModelFileError

if TYPE_CHECKING:
    import numpy.typing as npt

IDENTIFIER = b"TFL3"  # at byte 4 of every TFLite flatbuffer

FLOATS = ("float16", "float32", "float64", "bfloat16")
BOUNDARIES = ("QUANTIZE", "DEQUANTIZE")

# Position = code in the schema, enum TensorType.
_TYPE_NAMES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
"""
_TENSOR_TYPES = _TYPE_NAMES.split()

_MAX_ITEMS = 1_000_000  # in one vector: no classifier comes near, and a damaged length ends here

_LEAVE_OUT = ("LSTM", "RNN", "SVDF")  # operators whose first two inputs are not all needed

_INT32 = (-(2**31), 2**31 - 1)
_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}

_MAX_ACTIVATIONS = 512 * 2**20  # bytes alive at once
_WIDTHS = {"int8": 1, "uint8": 1, "bool": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2}  # else 4 and more


class Table:
    """A flatbuffer table at `position` of `data`. Every read is checked against the ends of the data.

    Raises ModelFileError where an offset leads out of it.
    """

    def __init__(self, data: bytes | memoryview[int], position: int):
        self._data = data
        self._position = position
        fields = position - _unpack("<i", data, position)[0]
        if fields < 0:
            raise _damaged()
        fields_size, size = _unpack("<HH", data, fields)
        self._offsets = _unpack(f"<{max(fields_size - 4, 0) // 2}H", data, fields + 4)
        if max(self._offsets, default=0) >= size:
            raise _damaged()  # LiteRT would read a field behind the table's end

    @classmethod
    def root(cls, data: bytes | memoryview[int]) -> Table:
        return cls(data, _unpack("<I", data, 0)[0])

    def number(self, field: int, code: str, default: int | float = 0) -> Any:
        """code: of `struct` (b int8, B uint8, i int32, I uint32, q int64, f float32)."""
        position = self._field(field)
        return default if position is None else self._number(f"<{code}", position)

    def text(self, field: int) -> str:
        return bytes(self.raw(field)).decode("utf-8", "replace")

    def raw(self, field: int) -> memoryview[int]:
        """The bytes of a string or of a vector of bytes; empty where it is absent."""
        start, length = self._vector(field)
        return memoryview(self._data)[start : self._checked(start, length)]

    def numbers(self, field: int, code: str) -> tuple[Any, ...]:
        start, length = self._vector(field)
        self._checked(start, length * struct.calcsize(f"<{code}"))
        return struct.unpack_from(f"<{length}{code}", self._data, start)

    def array(self, field: int, dtype: str) -> npt.NDArray[Any]:
        """As `numbers`, for long vectors: not one Python object per number. dtype: of NumPy, such as "<f4"."""
        start, length = self._vector(field)
        self._checked(start, length * np.dtype(dtype).itemsize)
        return np.frombuffer(self._data, dtype, length, start)

    def table(self, field: int) -> Table | None:
        position = self._field(field)
        return None if position is None else self._at_offset(position)

    def tables(self, field: int) -> list[Table]:
        start, length = self._vector(field)
        self._checked(start, length * 4)
        return [self._at_offset(start + 4 * i) for i in range(length)]

    def _vector(self, field: int) -> tuple[int, int]:
        position = self._field(field)
        if position is None:
            return 0, 0
        start = position + self._number("<I", position)
        length = self._number("<I", start)
        if length > max(_MAX_ITEMS, len(self._data)):
            raise _damaged()
        return start + 4, length

    def _at_offset(self, position: int) -> Table:
        return Table(self._data, position + self._number("<I", position))

    def _field(self, field: int) -> int | None:
        offset = self._offsets[field] if field < len(self._offsets) else 0
        return self._position + offset if offset else None

    def _number(self, code: str, position: int) -> Any:
        return _unpack(code, self._data, position)[0]

    def _checked(self, start: int, length: int) -> int:
        if start + length > len(self._data):
            raise _damaged()
        return start + length


class GraphTensor(NamedTuple):
    """A tensor of the graph. shape: -1 where it is not fixed. scales: none where it is not quantized, several where it
    is per channel. is_constant: its values stand in the file (weights)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    is_constant: bool


class Operator(NamedTuple):
    """One operator, in the order of execution. inputs and outputs: its tensors, weights included."""

    name: str
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]

    @property
    def computes_in(self) -> str:
        """ "boundary" for QUANTIZE and DEQUANTIZE, which only convert; else "float" where any tensor is floating point;
        else "integer"."""
        if self.name in BOUNDARIES:
            return "boundary"
        return "float" if any(tensor.dtype in FLOATS for tensor in (*self.inputs, *self.outputs)) else "integer"

    @property
    def types(self) -> str:
        """The dtypes of what goes in and comes out: "int8 int8 int32 -> int8"."""
        return " -> ".join(" ".join(tensor.dtype for tensor in tensors) for tensors in (self.inputs, self.outputs))


class Network:
    """The network of a .tflite file.

    content: the file's bytes. Raises ModelFileError where they are no TFLite flatbuffer; reading a damaged one may
    raise it later.
    """

    def __init__(self, content: bytes | memoryview[int]):
        if len(content) < 8 or bytes(content[4:8]) != IDENTIFIER:
            raise ModelFileError(f"not a TFLite model (no {IDENTIFIER.decode()} at byte 4)")
        self._root = Table.root(content)

    @property
    def description(self) -> str:
        return self._root.text(3)

    @cached_property
    def metadata(self) -> dict[str, bytes]:
        """Name -> content of the flatbuffer's metadata entries, such as TFLITE_METADATA."""
        buffers = self._root.tables(4)
        entries: dict[str, bytes] = {}
        for entry in self._root.tables(6):
            position: int = entry.number(1, "I")
            if position >= len(buffers):
                raise _damaged()
            entries[entry.text(0)] = bytes(buffers[position].raw(0))
        return entries

    @property
    def min_runtime_version(self) -> str | None:
        """The oldest TFLite that has every operator in the version used, where the converter wrote it."""
        raw = self.metadata.get("min_runtime_version")
        return raw.rstrip(b"\0").decode("ascii", "replace") if raw else None

    @cached_property
    def inputs(self) -> tuple[GraphTensor, ...]:
        return self._ends(1)

    @cached_property
    def outputs(self) -> tuple[GraphTensor, ...]:
        return self._ends(2)

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Those of every subgraph, one subgraph after the other."""
        return tuple(operator for graph in self._operators_by_graph for operator in graph)

    @property
    def main_operators(self) -> tuple[Operator, ...]:
        """Those of the subgraph that is run, without the branches and bodies that it may call."""
        return self._operators_by_graph[0] if self._operators_by_graph else ()

    @cached_property
    def _operators_by_graph(self) -> list[tuple[Operator, ...]]:
        names = [_operator_name(code) for code in self._root.tables(1)]
        graphs: list[tuple[Operator, ...]] = []
        for graph in self._root.tables(2):
            operators: list[Operator] = []
            tensors = self._tensors(graph)
            for entry in graph.tables(3):
                code: int = entry.number(0, "I")
                if code >= len(names):
                    raise _damaged()
                ends = [tuple(_picked(tensors, entry.numbers(field, "i"))) for field in (1, 2)]
                operators.append(Operator(names[code], *ends))
            graphs.append(tuple(operators))
        return graphs

    def check(self) -> None:
        """Raises ModelFileError for what LiteRT would not refuse but die of, or take all memory for: a millisecond.

        Every tensor that an operator takes is there and has its values by then: a constant, an input of the graph, or
        written before. What an operator cannot do without is not left out: XNNPACK reads it unasked. Shapes have at
        most 8 lengths, none below 0; zero points lie in the range of their type. The activations that are alive at
        once, each from the first to the last operator that names it, take at most 512 MiB.
        """
        names = [_operator_name(code) for code in self._root.tables(1)]
        for graph in self._root.tables(2):
            tensors = graph.tables(0)
            held = [_is_constant(entry, self._constant) for entry in tensors]
            sizes = [0 if constant else _size(entry) for entry, constant in zip(tensors, held, strict=True)]
            _check_quantization(tensors)
            inputs, outputs = graph.numbers(1, "i"), graph.numbers(2, "i")
            steps: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((), inputs)]
            for entry in graph.tables(3):
                code: int = entry.number(0, "I")
                if code >= len(names):
                    raise _damaged()
                needed = 0 if names[code].endswith(_LEAVE_OUT) else 2  # a bias, the third, may be left out
                entry.table(4)  # the options: read by LiteRT only, but their table must be one
                taken = entry.numbers(1, "i")
                taken = (*taken[:needed], *(position for position in taken[needed:] if position != -1))
                steps.append((taken, entry.numbers(2, "i")))
            steps.append((outputs, ()))
            ready = {i for i, entry in enumerate(tensors) if held[i] or entry.number(5, "B")}  # 5: a variable
            for taken, written in steps:
                if not ready.issuperset(taken) or not all(0 <= position < len(sizes) for position in written):
                    raise ModelFileError(
                        "the network is damaged: an operator takes or writes a tensor that is not there"
                    )
                ready.update(written)
            most = _most_alive(sizes, [(*taken, *written) for taken, written in steps])
            if most > _MAX_ACTIVATIONS:
                raise ModelFileError(
                    f"the network takes {most >> 20} MiB for its activations, over the limit of 512 MiB"
                )

    @cached_property
    def _constant(self) -> list[bool]:
        """Per buffer of the file, whether values stand in it."""
        return [len(buffer.raw(0)) > 0 or buffer.number(1, "Q") > 1 for buffer in self._root.tables(4)]

    def _ends(self, field: int) -> tuple[GraphTensor, ...]:
        graphs = self._root.tables(2)
        if not graphs:
            raise _damaged()
        return tuple(_picked(self._tensors(graphs[0]), graphs[0].numbers(field, "i")))

    def _tensors(self, graph: Table) -> list[GraphTensor]:
        return [_tensor(entry, self._constant) for entry in graph.tables(0)]


def _tensor(entry: Table, constant: list[bool]) -> GraphTensor:
    quantization = entry.table(4)
    return GraphTensor(
        name=entry.text(3),
        shape=entry.numbers(7, "i") or entry.numbers(0, "i"),
        dtype=_dtype(entry),
        scales=quantization.numbers(2, "f") if quantization else (),
        zero_points=quantization.numbers(3, "q") if quantization else (),
        is_constant=_is_constant(entry, constant),
    )


def _dtype(entry: Table) -> str:
    dtype: int = entry.number(1, "b")
    if not 0 <= dtype < len(_TENSOR_TYPES):
        raise _damaged()
    return _TENSOR_TYPES[dtype]


def _is_constant(entry: Table, constant: list[bool]) -> bool:
    buffer: int = entry.number(2, "I")
    return buffer < len(constant) and constant[buffer]


def _size(entry: Table) -> int:
    """Bytes of a tensor as its shape says."""
    shape = entry.numbers(0, "i")
    if max(len(shape), len(entry.numbers(7, "i"))) > 8 or any(length < 0 for length in shape):
        raise ModelFileError("the network is damaged: the shape of a tensor is none")
    return math.prod(shape) * _WIDTHS.get(_dtype(entry), 8 if _dtype(entry).endswith("64") else 4)


def _check_quantization(tensors: Sequence[Table]) -> None:
    scales: list[npt.NDArray[np.float32]] = [np.ones(1, np.float32)]
    zero_points: dict[tuple[int, int], list[npt.NDArray[np.int64]]] = {}  # by the range of their type
    for entry in tensors:
        quantization = entry.table(4)
        if quantization is not None:
            scales.append(quantization.array(2, "<f4"))
            zero_points.setdefault(_RANGES.get(_dtype(entry), _INT32), []).append(quantization.array(3, "<i8"))
    # LiteRT aborts the process over ratios of scales that no quantization has.
    every = np.concatenate(scales)
    if not (np.isfinite(every).all() and every[every != 0].min() > 1e-30 and every.sum(dtype=np.float64) < 1e30):
        raise ModelFileError("the network is damaged: the scale of a tensor is none")
    for (low, high), arrays in zero_points.items():
        points = np.concatenate(arrays)
        if ((points < low) | (points > high)).any():
            raise ModelFileError("the network is damaged: a zero point is outside of its type's range")


def _most_alive(sizes: list[int], steps: Sequence[tuple[int, ...]]) -> int:
    """The most bytes alive at a step, of tensors that live from the first to the last step that names them."""
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
    return max(accumulate(changes))


def _operator_name(code: Table) -> str:
    from .operator_names import BUILTIN_OPERATORS

    # Codes above 127 did not fit the first field, so the larger of the two counts.
    number: int = max(code.number(0, "b"), code.number(3, "i"))
    name = BUILTIN_OPERATORS[number] if 0 <= number < len(BUILTIN_OPERATORS) else f"BUILTIN_{number}"
    return f"CUSTOM {code.text(1)}" if name == "CUSTOM" else name


def _picked(tensors: list[GraphTensor], positions: tuple[int, ...]) -> Iterator[GraphTensor]:
    for position in positions:
        if position >= len(tensors):
            raise _damaged()
        if position >= 0:  # -1 stands for an input that is left out
            yield tensors[position]


def _unpack(code: str, data: bytes | memoryview[int], position: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(code, data, position)
    except struct.error:
        raise _damaged() from None


def _damaged() -> ModelFileError:
    return ModelFileError("the network is damaged or truncated: its flatbuffer leads out of the file")
