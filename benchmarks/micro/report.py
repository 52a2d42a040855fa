"""`skin-edge bench --micro` as a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..report.document import Code, Document, Figure, Notes, Results, Section, Table, Text, strong

_ARENA_NOTE = (
    "Measured with TFLite Micro's reference kernels on this 64-bit machine. On a 32-bit chip what stays is smaller, "
    "since pointers are; optimized kernels (CMSIS-NN) may want more between layers. arena_used_bytes() tells there."
)
_NPU_NOTE = "Vela's estimates for its own assumptions of clock and memory, without what stays on the CPU; not measured."


def document(result: Mapping[str, Any]) -> Document:
    """result: what `measure.measure` returned."""
    name = str(result["model"]["path"]).replace("\\", "/").rpartition("/")[2]
    sections = [_memory(result), _operators(result), *_npus(result["npus"])]
    return Document(name, f"TFLite Micro {result['tflite_micro']['version']}", sections, "skin-edge bench --micro")


def _memory(result: Mapping[str, Any]) -> Section:
    of = Results(result)
    rows: list[tuple[Text, Text]] = [
        ("flash: the file", _size(of("model", "bytes", form=",d"))),
        ("flash: the network alone", _size(of("model", "network_bytes", form=",d"))),
    ]
    if result["verdict"] != "runs":
        verdict = Notes([(strong("cannot run: "), result["why"])])
        return Section("memory", "", [verdict, Table(("", ""), rows)])
    rows = [
        ("arena", _size(of("tflite_micro", "arena_bytes", form=",d"))),
        ("  of it values between layers", _size(of("tflite_micro", "activations_bytes", form=",d"))),
        ("  of it what stays", _size(of("tflite_micro", "persistent_bytes", form=",d"))),
        *rows,
    ]
    less = f"With 1,024 bytes less: {result['tflite_micro']['less']}."
    return Section(
        "memory",
        "",
        [Notes([strong("runs")]), Table(("", ""), rows), Notes([less]), Notes([_ARENA_NOTE])],
    )


def _operators(result: Mapping[str, Any]) -> Section:
    rows = [(row["operator"], str(row["version"]), str(row["count"]), row["types"]) for row in result["operators"]]
    table = Table(("operator", "version", "number", "types"), rows)
    return Section("operators", "Operators", [table, *([Code(result["resolver"])] if result["resolver"] else [])])


def _npus(npus: Sequence[Mapping[str, Any]]) -> list[Section]:
    if not npus:
        return []
    compiled = [one for one in npus if one["compiles"]]
    rows: list[Sequence[Text]] = [
        (
            one["npu"],
            Figure(one["sram_bytes"], ",d"),
            Figure(one["dram_bytes"] + one["on_chip_flash_bytes"] + one["off_chip_flash_bytes"], ",d"),
            Figure(one["cycles"], ",d", missing="not known"),
            Figure(one["estimated_ms"], ".2f", missing="not known"),
            f"{one['operators_on_npu']} of {one['operators']}",
        )
        for one in compiled
    ]
    head = ("NPU", "SRAM, bytes", "flash or DRAM", "cycles", "ms", "on the NPU")
    lines: list[Text] = [(one["npu"], ": Vela cannot compile it: ", one["why"]) for one in npus if not one["compiles"]]
    blocks = [*([Table(head, rows)] if rows else []), *([Notes(lines)] if lines else []), Notes([_NPU_NOTE])]
    sections = [Section("npus", f"NPUs, Vela {npus[0]['vela']}", blocks)]
    on_cpu = [(one["operator"], ", ".join(who), one["why"]) for one, who in _fallbacks(compiled)]
    if on_cpu:
        table = Table(("operator", "NPU", "why"), on_cpu)
        sections.append(Section("on_cpu", "Operators that stay on the CPU", [table]))
    return sections


def _fallbacks(npus: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, str], list[str]]]:
    """(operator on the CPU, the NPUs for which it is there for that reason)."""
    found: dict[tuple[str, ...], tuple[Mapping[str, str], list[str]]] = {}
    for npu in npus:
        for one in npu["operators_on_cpu"]:
            first = {**one, "why": one["why"].partition("; ")[0]}  # what follows lists what the NPU would take
            found.setdefault(tuple(first.values()), (first, []))[1].append(npu["npu"])
    return list(found.values())


def _size(figure: Figure) -> Text:
    return (figure, " bytes")
