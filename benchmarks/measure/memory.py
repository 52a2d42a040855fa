"""Peak resident memory of loading a model and predicting once.

`python -m skin_edge.benchmarks.measure.memory MODEL TOLD < IMAGE`, TOLD being JSON: see `measure_memory`.

In a process of its own, because a peak never falls: in this one it would hold whatever ran before.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...edge_runtime import console
from ...edge_runtime.classifier import SkinClassifier

_TIMEOUT_S = 300

# `python -m` imports from the current folder first, and that may hold a stranger's json.py.
ROOT = Path(sys.executable).anchor


def measure_memory(
    model: str | Path, image_bytes: bytes, input_options: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """{"peak_bytes": int or None where this system does not tell, "measured": how}.

    Args:
        input_options: Mean, std and labels of a file that others made, as SkinClassifier takes them, JSON-ready. Where
            a child process cannot be started or fails, this process is measured, and `measured` says so.
    """
    command = [sys.executable, "-m", __name__, str(Path(model).resolve()), json.dumps(input_options or {})]
    try:
        done = subprocess.run(command, input=image_bytes, capture_output=True, timeout=_TIMEOUT_S, check=True, cwd=ROOT)
        return {"peak_bytes": json.loads(done.stdout)["peak_bytes"], "measured": "in a process of its own"}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
        reason = type(error).__name__
    SkinClassifier(model, **(input_options or {})).predict(image_bytes)
    return {
        "peak_bytes": peak_resident_bytes(),
        "measured": f"in bench's own process, so with all that ran before (no child process: {reason})",
    }


def peak_resident_bytes(root: Path = Path("/")) -> int | None:
    """The most memory this process ever had resident, in bytes; None where the system does not tell."""
    # VmHWM belongs to this program. ru_maxrss survives exec: it would hold the peak of the parent that forked.
    try:
        for line in (root / "proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kibibytes elsewhere


def _main(model: str, input_options: str) -> None:
    SkinClassifier(model, **json.loads(input_options)).predict(sys.stdin.buffer.read())
    console.say_json({"peak_bytes": peak_resident_bytes()}, indent=None)


if __name__ == "__main__":
    _main(*sys.argv[1:3])
