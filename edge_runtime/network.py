"""What is in the network of a .tflite: operators, tensors and metadata, read from the flatbuffer.

A small reader of its own: the device install has no schema library, and a stranger's file must end in one clear line
whatever its bytes are. Field numbers follow TFLite's schema.fbs (version 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from .errors import ModelFileError
from .flatbuffer import Table, damaged

IDENTIFIER = b"TFL3"  # at byte 4 of every TFLite flatbuffer

FLOATS = ("float16", "float32", "float64", "bfloat16")
BOUNDARIES = ("QUANTIZE", "DEQUANTIZE")

# Position = code in the schema, enum TensorType.
_TYPE_NAMES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
uint16 int4 bfloat16 int2 uint4 float8_e4m3fn float8_e5m2
"""
_TENSOR_TYPES = _TYPE_NAMES.split()


class GraphTensor(NamedTuple):
    """A tensor of the graph.

    Attributes:
        shape: -1 where it is not fixed.
        scales: None where it is not quantized, several where it is per channel.
        is_constant: Its values are in the file (weights).
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    is_constant: bool


class Operator(NamedTuple):
    """One operator, in the order of execution.

    Attributes:
        inputs, outputs: Its tensors, weights included.
        version: Of its form, as the converter wrote it; an interpreter has an operator up to some version.
    """

    name: str
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    version: int = 1

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

    Args:
        content: The file's bytes.

    Raises:
        ModelFileError: Where they are not TFLite flatbuffer; reading a damaged one may raise it later.
    """

    def __init__(self, content: bytes | memoryview[int]):
        if len(content) < 8 or bytes(content[4:8]) != IDENTIFIER:
            raise ModelFileError(f"not a TFLite model (no {IDENTIFIER.decode()} at byte 4)")
        self._content = content
        # Each part is read a few times at most: see `flatbuffer.Source`.
        self._root = Table.root(content, budget=16 * len(content))

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
                raise damaged()
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
        codes = [(operator_name(code), int(code.number(2, "i", 1))) for code in self._root.tables(1)]
        graphs: list[tuple[Operator, ...]] = []
        for graph in self._root.tables(2):
            operators: list[Operator] = []
            tensors = self._tensors(graph)
            for entry in graph.tables(3):
                code: int = entry.number(0, "I")
                if code >= len(codes):
                    raise damaged()
                name, version = codes[code]
                inputs, outputs = (tuple(_picked(tensors, entry.numbers(field, "i"))) for field in (1, 2))
                operators.append(Operator(name, inputs, outputs, version))
            graphs.append(tuple(operators))
        return graphs

    def check(self) -> None:
        """Raises ModelFileError for a network that LiteRT might die or hang of; see `network_check`."""
        from .network_check import check

        check(self._content)

    @cached_property
    def _constant(self) -> list[bool]:
        """Per buffer of the file, whether it holds values."""
        return [len(buffer.raw(0)) > 0 or buffer.number(1, "Q") > 1 for buffer in self._root.tables(4)]

    def _ends(self, field: int) -> tuple[GraphTensor, ...]:
        graphs = self._root.tables(2)
        if not graphs:
            raise damaged()
        return tuple(_picked(self._tensors(graphs[0]), graphs[0].numbers(field, "i")))

    def _tensors(self, graph: Table) -> list[GraphTensor]:
        return [_tensor(entry, self._constant) for entry in graph.tables(0)]


def _tensor(entry: Table, constant: list[bool]) -> GraphTensor:
    quantization = entry.table(4)
    return GraphTensor(
        name=entry.text(3),
        shape=entry.numbers(7, "i") or entry.numbers(0, "i"),
        dtype=dtype_of(entry),
        scales=quantization.numbers(2, "f") if quantization else (),
        zero_points=quantization.numbers(3, "q") if quantization else (),
        is_constant=_is_constant(entry, constant),
    )


def dtype_of(entry: Table) -> str:
    dtype: int = entry.number(1, "b")
    if not 0 <= dtype < len(_TENSOR_TYPES):
        raise damaged()
    return _TENSOR_TYPES[dtype]


def _is_constant(entry: Table, constant: list[bool]) -> bool:
    buffer: int = entry.number(2, "I")
    return buffer < len(constant) and constant[buffer]


def operator_name(code: Table) -> str:
    from .operator_names import BUILTIN_OPERATORS

    # Codes above 127 did not fit the first field, so the larger of the two counts.
    number: int = max(code.number(0, "b"), code.number(3, "i"))
    name = BUILTIN_OPERATORS[number] if 0 <= number < len(BUILTIN_OPERATORS) else f"BUILTIN_{number}"
    return f"CUSTOM {code.text(1)}" if name == "CUSTOM" else name


def _picked(tensors: list[GraphTensor], positions: tuple[int, ...]) -> Iterator[GraphTensor]:
    for position in positions:
        if position >= len(tensors):
            raise damaged()
        if position >= 0:  # -1 stands for an input that is left out
            yield tensors[position]
