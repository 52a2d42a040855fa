"""Arm's NPUs for microcontrollers (Ethos-U): what Arm's compiler Vela makes of a network, and estimates for it."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from ...edge_runtime import files
from ...edge_runtime.errors import UnknownNameError, require
from ...edge_runtime.model_file import network_length
from ...edge_runtime.network import Network
from ..measure.processes import last_line

NPUS = tuple(
    f"ethos-{family}-{macs}"
    for family, sizes in (
        ("u55", (32, 64, 128, 256)),
        ("u65", (256, 512)),
        ("u85", (128, 256, 512, 1024, 2048)),
    )
    for macs in sizes
)
"""Names of Vela's accelerators: family and multiply-accumulates a cycle."""

_TIMEOUT_S = 600
_COMMAND = "ethos-u"  # of the operator that stands for what the NPU computes

# "Warning (supported operators) operator: SOFTMAX, ofm: 'probabilities'", then "Reason: ..." up to an empty line.
_ON_CPU = re.compile(
    r"^Warning \(.*?operators\) operator: (?P<operator>\S+), ofm: '(?P<output>.*)'\n(?:Reason: )?(?P<why>(?:.+\n)*)",
    re.M,
)


def accelerator(name: str) -> str:
    """Vela's name of an NPU; "u55-128" is taken for "ethos-u55-128". Raises UnknownNameError."""
    full = name.lower() if name.lower().startswith("ethos-") else f"ethos-{name.lower()}"
    if full not in NPUS:
        raise UnknownNameError("NPU", full, NPUS)
    return full


def compile_for(content: bytes, name: str) -> tuple[dict[str, Any], bytes | None]:
    """Compiles a network for an NPU with Vela's own assumptions of system and memory.

    Args:
        content: Of a .tflite file.
        name: Of `NPUS`.

    Returns:
        (what Vela says, JSON-ready; the compiled .tflite, None where Vela refuses). Sizes are bytes; cycles and
        estimated_ms are of one inference, without what stays on the CPU, None where all of it does; operators_on_cpu
        holds {operator, output, why}. Where Vela refuses, compiles is False and why its reason.

    Raises:
        MissingExtraError: Where Vela is not installed.
    """
    require("ethosu")
    told: dict[str, Any] = {"npu": name, "vela": version("ethos-u-vela"), "compiles": False, "why": None}
    with files.temporary_folder() as folder:
        model = folder / "model.tflite"
        model.write_bytes(content)
        options = ["--accelerator-config", name, "--output-dir", str(folder)]
        command = [sys.executable, "-m", "ethosu.vela", str(model), *options]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, cwd=folder)
        except subprocess.TimeoutExpired:
            return told | {"why": f"it ran for more than {_TIMEOUT_S} s"}, None
        made = folder / "model_vela.tflite"
        if done.returncode or not made.is_file():
            why = last_line(done.stderr or done.stdout) or f"it ended with {done.returncode}"
            return told | {"why": why}, None
        compiled = made.read_bytes()
        (summary,) = folder.glob("model_summary_*.csv")
        with summary.open(newline="") as file:
            row = next(csv.DictReader(file))
    return told | {"compiles": True} | _figures(row, content, compiled, done.stdout), compiled


def _figures(row: Mapping[str, str], content: bytes, compiled: bytes, said: str) -> dict[str, Any]:
    before, after = _operators(content), _operators(compiled)
    on_npu = len(before) - sum(name != f"CUSTOM {_COMMAND}" for name in after)
    clock, cycles = float(row["core_clock"]), int(float(row["cycles_total"])) if on_npu else None
    reasons = [
        {"operator": found["operator"], "output": found["output"], "why": "; ".join(found["why"].splitlines())}
        for found in _ON_CPU.finditer(said)
    ]
    return {
        "system": row["system_config"],
        "memory_mode": row["memory_mode"],
        "clock_hz": clock,
        "sram_bytes": _bytes(row, "sram"),
        "dram_bytes": _bytes(row, "dram"),
        "on_chip_flash_bytes": _bytes(row, "on_chip_flash"),
        "off_chip_flash_bytes": _bytes(row, "off_chip_flash"),
        "compiled_bytes": len(compiled),
        "cycles": cycles,
        "estimated_ms": None if cycles is None else 1000 * cycles / clock,
        "operators": len(before),
        "operators_on_npu": on_npu,
        "operators_on_cpu": sorted(reasons, key=lambda one: (one["operator"], one["output"])),
    }


def _operators(content: bytes) -> Sequence[str]:
    network = Network(memoryview(content)[: network_length(content)])
    return [operator.name for operator in network.operators]


def _bytes(row: Mapping[str, str], memory: str) -> int:
    return round(1024 * float(row[f"{memory}_memory_used"]))
