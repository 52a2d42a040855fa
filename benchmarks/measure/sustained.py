"""Does it stay as fast? Predictions one after the other for a while, with the heat that they make."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from ...edge_runtime.classifier import SkinClassifier
from .latency import summarize, timed_run
from .machine import frequency_mhz, temperature_c, throttled, throttling

SLICES = 20
_SHORTEST_SLICE_S = 0.5

# (seconds done, seconds in all)
Progress = Callable[[float, float], None]


def measure_sustained(
    classifier: SkinClassifier,
    image_bytes: bytes,
    seconds: float,
    *,
    root: Path = Path("/"),
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Predicts without pause for `seconds`; at most SLICES slices of equal length, each at least half a second.

    Args:
        classifier: The model.
        image_bytes: The bytes of an image file.
        seconds: Length of the run.
        root: Where proc/ and sys/ are.
        progress: Called with (seconds done, seconds in all); None reports nothing.

    Returns:
        {"seconds", "predictions", "slices", "slowdown", "sensors"}. A slice is {start_s, predictions, median_ms,
        p95_ms, temperature_c, frequency_mhz, throttled, flags} with the sensors read at its end; what this machine does
        not tell is None. slowdown: of the slices' medians. sensors: the names of those that answered.
    """
    length = max(_SHORTEST_SLICE_S, seconds / SLICES)
    slices: list[dict[str, Any]] = []
    begin = perf_counter()
    while not slices or perf_counter() - begin < seconds - length / 2:
        start = perf_counter() - begin
        until = begin + length * (len(slices) + 1)
        runs = [sum(timed_run(classifier, image_bytes))]
        while perf_counter() < until:
            runs.append(sum(timed_run(classifier, image_bytes)))
        figures = summarize(runs)
        word = throttled(root)
        slices.append(
            {
                "start_s": start,
                "predictions": len(runs),
                "median_ms": figures["median_ms"],
                "p95_ms": figures["p95_ms"],
                "temperature_c": temperature_c(root),
                "frequency_mhz": frequency_mhz(root),
                "throttled": word,
                "flags": throttling(word),
            }
        )
        if progress:
            progress(min(perf_counter() - begin, seconds), seconds)
    sensors = ("temperature_c", "frequency_mhz", "throttled")
    return {
        "seconds": perf_counter() - begin,
        "predictions": sum(row["predictions"] for row in slices),
        "slices": slices,
        "slowdown": slowdown([row["median_ms"] for row in slices]),
        "sensors": [name for name in sensors if any(row[name] is not None for row in slices)],
    }


def slowdown(medians_ms: Sequence[float]) -> float:
    """The median of the last quarter to that of the first: one disturbed slice says nothing about heat."""
    quarter = max(1, len(medians_ms) // 4)
    return statistics.median(medians_ms[-quarter:]) / statistics.median(medians_ms[:quarter])
