"""The operators of a .tflite and what each computes in: the proof that a file called int8 is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from ...edge_runtime import csv_files
from ...edge_runtime.errors import ConversionError
from ...edge_runtime.network import FLOATS, Network


@dataclass(frozen=True)
class Row:
    """One operator, in the order of execution.

    Attributes:
        computes_in: "float" where an input or output is floating point, else "integer"; "boundary" for QUANTIZE and
            DEQUANTIZE, which only convert.
        inputs, outputs: Dtypes of its tensors, those of the weights included.
        weight_scales: How many scales its weights have: 1 is per tensor, more is per channel, 0 is without weights or
            not quantized.
        output: Name of its first output tensor.
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
    rows: list[Row] = []
    for operator in Network(network).operators:
        scales = [len(tensor.scales) for tensor in operator.inputs[1:] if tensor.is_constant]
        rows.append(
            Row(
                position=len(rows),
                operator=operator.name,
                computes_in=operator.computes_in,
                inputs=" ".join(tensor.dtype for tensor in operator.inputs),
                outputs=" ".join(tensor.dtype for tensor in operator.outputs),
                weight_scales=scales[0] if scales else 0,
                output=operator.outputs[0].name if operator.outputs else "",
            )
        )
    return rows


def float_operators(rows: Sequence[Row]) -> list[Row]:
    """Those that compute in float; QUANTIZE and DEQUANTIZE, which only convert, are not among them."""
    return [row for row in rows if row.computes_in == "float"]


def assert_int8(network: bytes) -> None:
    """Raises ConversionError, with the list, where more than one final softmax over the logits computes in float.

    A conversion between float and int8 may stand at the inputs, at the outputs and before that softmax only.
    """
    parsed = Network(network)
    sources, targets = parsed.inputs, list(parsed.outputs)
    for operator in parsed.operators:
        if operator.name == "SOFTMAX" and operator.outputs[0] in parsed.outputs:
            targets.append(operator.inputs[0])
    wrong = [
        operator
        for operator in parsed.operators
        if (
            operator.computes_in == "float"
            and not (operator.name == "SOFTMAX" and operator.outputs[0] in parsed.outputs)
        )
        or (
            operator.computes_in == "boundary"
            and any(tensor.dtype in FLOATS for tensor in (*operator.inputs, *operator.outputs))
            and not (operator.name == "QUANTIZE" and operator.inputs[0] in sources)
            and not (operator.name == "DEQUANTIZE" and operator.outputs[0] in targets)
        )
    ]
    if wrong:
        listed = ", ".join(f"{operator.name} -> {operator.outputs[0].name}" for operator in wrong)
        raise ConversionError(f"{len(wrong)} operators of the int8 file compute in float: {listed}")


def assert_no_float(network: bytes) -> None:
    """Raises ConversionError where any operator takes or gives floating point, conversions included."""
    wrong = [row for row in take_census(network) if any(name in f"{row.inputs} {row.outputs}" for name in FLOATS)]
    if wrong:
        listed = ", ".join(f"{row.operator} -> {row.output}" for row in wrong)
        raise ConversionError(
            f"{len(wrong)} operators are not in integers, which a microcontroller's file is: {listed}"
        )


def to_csv(rows: Sequence[Row]) -> str:
    return csv_files.text([field.name for field in fields(Row)], (list(asdict(row).values()) for row in rows))
