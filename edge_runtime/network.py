"""What stands in the network of a .tflite: operators, tensors and metadata, read from the flatbuffer.

A small reader of its own: the device install has no schema library, and a stranger's file must end in one clear line
whatever its bytes are. Field numbers follow TFLite's schema.fbs (version 3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from .errors import ModelFileError

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


class Table:
    """A flatbuffer table at `position` of `data`. Every read is checked against the ends of the data.

    Raises ModelFileError where an offset leads out of it.
    """

    def __init__(self, data: bytes | memoryview[int], position: int):
        self._data = data
        self._position = position
        self._fields = position - self._number("<i", position)
        if self._fields < 0:
            raise _damaged()
        self._fields_size = self._number("<H", self._fields)

    @classmethod
    def root(cls, data: bytes | memoryview[int]) -> Table:
        return cls(data, int(_unpack("<I", data, 0)))

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
        slot = 4 + 2 * field
        if slot + 2 > self._fields_size:
            return None
        offset = self._number("<H", self._fields + slot)
        return self._position + offset if offset else None

    def _number(self, code: str, position: int) -> Any:
        return _unpack(code, self._data, position)

    def _checked(self, start: int, length: int) -> int:
        if start + length > len(self._data):
            raise _damaged()
        return start + length


@dataclass(frozen=True)
class GraphTensor:
    """A tensor of the graph. shape: -1 where it is not fixed. scales: none where it is not quantized, several where it
    is per channel. is_constant: its values stand in the file (weights)."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    is_constant: bool


@dataclass(frozen=True)
class Operator:
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

    def _ends(self, field: int) -> tuple[GraphTensor, ...]:
        graphs = self._root.tables(2)
        if not graphs:
            raise _damaged()
        return tuple(_picked(self._tensors(graphs[0]), graphs[0].numbers(field, "i")))

    def _tensors(self, graph: Table) -> list[GraphTensor]:
        constant = [len(buffer.raw(0)) > 0 or buffer.number(1, "Q") > 1 for buffer in self._root.tables(4)]
        return [_tensor(entry, constant) for entry in graph.tables(0)]


def _tensor(entry: Table, constant: list[bool]) -> GraphTensor:
    dtype: int = entry.number(1, "b")
    buffer: int = entry.number(2, "I")
    if not 0 <= dtype < len(_TENSOR_TYPES):
        raise _damaged()
    quantization = entry.table(4)
    return GraphTensor(
        name=entry.text(3),
        shape=entry.numbers(7, "i") or entry.numbers(0, "i"),
        dtype=_TENSOR_TYPES[dtype],
        scales=quantization.numbers(2, "f") if quantization else (),
        zero_points=quantization.numbers(3, "q") if quantization else (),
        is_constant=buffer < len(constant) and constant[buffer],
    )


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


def _unpack(code: str, data: bytes | memoryview[int], position: int) -> Any:
    try:
        return struct.unpack_from(code, data, position)[0]
    except struct.error:
        raise _damaged() from None


def _damaged() -> ModelFileError:
    return ModelFileError("the network is damaged or truncated: its flatbuffer leads out of the file")
