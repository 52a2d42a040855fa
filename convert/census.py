"""The operators of a .tflite and what each computes in: the proof that a file called int8 is one."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from ..edge_runtime.errors import ConversionError
from . import flatbuffer

_FLOATS = ("float16", "float32", "float64", "bfloat16")
_BOUNDARIES = ("QUANTIZE", "DEQUANTIZE")


@dataclass(frozen=True)
class Row:
    """One operator, in the order of execution.

    inputs, outputs: dtypes of its tensors, those of the weights included. weight_scales: how many scales its weights
    have: 1 is per tensor, more is per channel, 0 is without weights or not quantized. computes_in: "float" where an
    input or output is floating point, else "integer"; "boundary" for QUANTIZE and DEQUANTIZE, which only convert.
    output: name of its first output tensor.
    """

    position: int
    operator: str
    computes_in: str
    inputs: str
    outputs: str
    weight_scales: int
    output: str


def take_census(network: bytes) -> list[Row]:
    """Every operator of the network, over all subgraphs."""
    model = flatbuffer.read(network)
    rows: list[Row] = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = flatbuffer.OPERATOR_NAMES[model.operatorCodes[operator.opcodeIndex].builtinCode]
            inputs = [graph.tensors[i] for i in operator.inputs if i >= 0]
            outputs = [graph.tensors[i] for i in operator.outputs]
            types = [[flatbuffer.TENSOR_TYPES[tensor.type] for tensor in tensors] for tensors in (inputs, outputs)]
            in_float = any(dtype in _FLOATS for dtype in (*types[0], *types[1]))
            scales = [
                len(tensor.quantization.scale)
                for tensor in inputs[1:]
                if _is_constant(model, tensor)
                and tensor.quantization is not None
                and tensor.quantization.scale is not None
            ]
            rows.append(
                Row(
                    position=len(rows),
                    operator=name,
                    computes_in="boundary" if name in _BOUNDARIES else "float" if in_float else "integer",
                    inputs=" ".join(types[0]),
                    outputs=" ".join(types[1]),
                    weight_scales=scales[0] if scales else 0,
                    output=outputs[0].name.decode() if outputs else "",
                )
            )
    return rows


def float_operators(rows: Sequence[Row]) -> list[Row]:
    """Those that compute in float; QUANTIZE and DEQUANTIZE, which only convert, are not among them."""
    return [row for row in rows if row.computes_in == "float"]


def assert_int8(network: bytes) -> None:
    """Raises ConversionError, with the list, where more than one final softmax over the logits computes in float.

    A conversion between float and int8 may stand at the input and before that softmax only.
    """
    rows = take_census(network)
    last = len(rows) - 1
    allowed = {last} if rows and rows[last].operator == "SOFTMAX" else set[int]()
    wrong = [row for row in float_operators(rows) if row.position not in allowed]
    wrong += [
        row
        for row in rows
        if row.computes_in == "boundary"
        and any(dtype in _FLOATS for dtype in (row.inputs, row.outputs))
        and not (row.operator == "QUANTIZE" and row.position == 0)
        and not (row.operator == "DEQUANTIZE" and row.position in (last, last - 1))
    ]
    if wrong:
        listed = ", ".join(f"{row.operator} -> {row.output}" for row in sorted(wrong, key=lambda row: row.position))
        raise ConversionError(f"{len(wrong)} operators of the int8 file compute in float: {listed}")


def to_csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _is_constant(model: object, tensor: object) -> bool:
    data = model.buffers[tensor.buffer].data  # type: ignore[attr-defined]
    return data is not None and len(data) > 0
