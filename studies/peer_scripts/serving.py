"""What every peer script does with its pictures: a path per line on stdin, an answer per line on stdout.

An answer is {"ms": from the path to the probabilities, "label": the most probable class, "peak_bytes": the most memory
this process ever had resident, or null}. A peer script runs in an environment of its own, without skin_edge, and gets
one argument: JSON with "model" (the file that it loads), "num_threads", "size" (of the input, [width, height]),
"labels" (codes in the order of the network's output), "mean" and "std" (per channel; a float network's input is
(pixel - mean) / std) and "workers" (the folder with the adapters of `bench --engine`).
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any


def settings() -> dict[str, Any]:
    """The argument."""
    return json.loads(sys.argv[1])


def engine(name: str, options: dict[str, Any]) -> Any:
    """The `Engine` that an adapter of benchmarks/engines/workers makes of the argument's model."""
    given = settings()
    sys.path.append(given["workers"])
    return importlib.import_module(name).load({**given, "options": options})


def serve(classify: Callable[[str], str]) -> None:
    """Answers until stdin ends. classify: the path of an image -> the label of its most probable class."""
    for line in sys.stdin:
        path = line.rstrip("\n")
        start = perf_counter()
        label = classify(path)
        milliseconds = (perf_counter() - start) * 1000
        print(json.dumps({"ms": milliseconds, "label": label, "peak_bytes": peak_bytes()}), flush=True)


def peak_bytes() -> int | None:
    """As benchmarks/measure/memory.py, which a peer's environment lacks; nothing is imported that would count."""
    # VmHWM belongs to this program. ru_maxrss survives exec: it would hold the peak of the parent that forked.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
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
