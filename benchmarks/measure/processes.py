"""What one process cannot tell of itself: its own start, and how far another one of the same model is from it.

`python -m skin_edge.benchmarks.measure.processes MODEL RUNS WARMUP THREADS TOLD < IMAGE` is one of those processes.
"""

from __future__ import annotations

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from ...edge_runtime import console
from .latency import load_timed, measure_latency
from .memory import ROOT

_TIMEOUT_S = 600

# What a program on the device does that starts for one picture.
_COLD_START = """
import sys
from skin_edge.edge_runtime.classifier import SkinClassifier
SkinClassifier(sys.argv[1]{input_options}).predict(sys.stdin.buffer.read())
"""


def measure_cold_start(
    model: Path, image_bytes: bytes, starts: int, input_options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Milliseconds from the start of Python to its end, with one prediction of `image_bytes` between.

    Args:
        model: A .tflite file.
        image_bytes: The bytes of an image file.
        starts: Number of processes to start, at least 0.
        input_options: Mean, std and labels of a file that others made, as SkinClassifier takes them.

    Returns:
        {"median_ms", "runs_ms", "measured"}. Python's modules and the model come from the disk cache, except perhaps at
        the first start. median_ms is None where a process cannot be started; `measured` says why.
    """
    script = _COLD_START.format(
        input_options="".join(f", {name}={value!r}" for name, value in (input_options or {}).items())
    )
    runs: list[float] = []
    for _ in range(starts):
        start = perf_counter()
        done = _run([sys.executable, "-c", script, str(model.resolve())], image_bytes)
        if isinstance(done, str):
            return {"median_ms": None, "runs_ms": [], "measured": f"not measured, {done}"}
        runs.append((perf_counter() - start) * 1000)
    return {"median_ms": statistics.median(runs), "runs_ms": runs, "measured": "whole processes, warm disk cache"}


def measure_spread(
    model: Path,
    image_bytes: bytes,
    processes: int,
    num_runs: int,
    warmup_runs: int,
    num_threads: int,
    input_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The median latency in each of `processes` processes, one after the other.

    Where code and data come to be in memory changes from process to process, and with it the time: repeated runs in one
    process do not see that. Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!", ASPLOS
    2009.

    Args:
        model: A .tflite file.
        image_bytes: The bytes of an image file.
        processes: Number of processes.
        num_runs: Number of timed predictions, at least 1.
        warmup_runs: Number of untimed predictions before them, at least 0.
        num_threads: Threads of the interpreter, 1 to 256.
        input_options: Mean, std and labels of a file that others made, as SkinClassifier takes them.

    Returns:
        {"medians_ms", "invoke_medians_ms", "median_ms", "spread", "measured"}; median_ms is the median of the medians,
        spread is (largest - smallest) / median_ms; both None where nothing could be measured.
    """
    arguments = [
        str(model.resolve()),
        str(num_runs),
        str(warmup_runs),
        str(num_threads),
        json.dumps(input_options or {}),
    ]
    medians: list[float] = []
    invokes: list[float] = []
    measured = "one after the other"
    for _ in range(processes):
        done = _run([sys.executable, "-m", __name__, *arguments], image_bytes)
        if isinstance(done, str):
            measured = f"not measured, {done}"
            break
        figures = json.loads(done)
        medians.append(figures["median_ms"])
        invokes.append(figures["stages"]["invoke"]["median_ms"])
    middle = statistics.median(medians) if medians else None
    return {
        "medians_ms": medians,
        "invoke_medians_ms": invokes,
        "median_ms": middle,
        "spread": (max(medians) - min(medians)) / middle if middle else None,
        "measured": measured,
    }


def signal_name(number: int) -> str:
    """Such as "SIGSEGV"; "signal 34" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_line(text: str) -> str:
    """The last line that is not empty, at most 300 characters of it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _run(command: list[str], image_bytes: bytes) -> bytes | str:
    """stdout, or why there is none."""
    try:
        done = subprocess.run(command, input=image_bytes, capture_output=True, timeout=_TIMEOUT_S, check=True, cwd=ROOT)
    except (OSError, subprocess.SubprocessError) as error:
        return f"a process could not be started or failed ({type(error).__name__})"
    return done.stdout


def _main(model: str, num_runs: str, warmup_runs: str, num_threads: str, input_options: str) -> None:
    classifier, _ = load_timed(model, int(num_threads), json.loads(input_options))
    console.say_json(measure_latency(classifier, sys.stdin.buffer.read(), int(num_runs), int(warmup_runs)), indent=None)


if __name__ == "__main__":
    _main(*sys.argv[1:6])
