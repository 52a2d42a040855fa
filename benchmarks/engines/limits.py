"""Limits of a gate for engines: `bench --engine ... --gate`. The names that they share with a model's mean the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..gate import read_gate as read
from . import verdict

_Engine = Mapping[str, Any]

DEFAULT: dict[str, float] = {"max_refused": 0.0}
"""`--gate default`: no engine that was asked for must not be used."""


def _share(count: Callable[[Mapping[str, Any]], int]) -> Callable[[_Engine], float | None]:
    """The largest share of golden or labelled pictures."""

    def read_share(engine: _Engine) -> float | None:
        sets = [engine[name] for name in ("golden", "labelled") if engine[name] and engine[name]["pictures"]]
        return max((count(one) / one["pictures"] for one in sets), default=None)

    return read_share


def _flips(one: Mapping[str, Any]) -> int:
    counts = [row["flips"] for row in one["decisions"].values()]
    return max([one["pictures"] - one["same_top_class"], *counts])


def _agreement(engine: _Engine) -> float | None:
    missed = _share(lambda one: one["pictures"] - one["same_top_class"])(engine)
    return None if missed is None else 1 - missed


def _margin(engine: _Engine) -> float | None:
    found = engine["verdict"]
    if found is None or found["use"] == verdict.NO:
        return None
    return found["margin"] or 0.0


def _refused(engine: _Engine) -> float | None:
    return None if engine["verdict"] is None else float(engine["verdict"]["use"] == verdict.NO)


def _steady(figure: str) -> Callable[[_Engine], float | None]:
    return lambda engine: engine["steady"][figure] if engine["steady"] else None


def _peak_mb(engine: _Engine) -> float | None:
    return None if engine["peak_bytes"] is None else engine["peak_bytes"] / 1e6


# name -> (what the value is, how it is read, its unit, whether the limit is a largest one)
LIMITS: dict[str, tuple[str, Callable[[_Engine], float | None], str, bool]] = {
    "max_refused": ("the verdict that it must not be used (1)", _refused, "", True),
    "max_margin": ("the margin at the thresholds", _margin, "", True),
    "min_agreement": ("agreement with the reference", _agreement, "", False),
    "max_kernel_flips": ("the largest share of answers that change", _share(_flips), "", True),
    "max_median_ms": ("the median latency of the network", _steady("median_ms"), " ms", True),
    "max_p95_ms": ("the 95th percentile of its latency", _steady("p95_ms"), " ms", True),
    "max_load_ms": ("the time to load", lambda engine: engine["load_ms"], " ms", True),
    "max_peak_mb": ("the peak of memory", _peak_mb, " MB", True),
}


def read_gate(source: str) -> dict[str, float]:
    """As `gate.read_gate`, with the keys of LIMITS and this DEFAULT."""
    return read(source, LIMITS, DEFAULT)


def judge(
    result: Mapping[str, Any], limits: Mapping[str, float], source: str, named: Sequence[str] = ()
) -> dict[str, Any]:
    """Which limits hold, JSON-ready: {"source", "passed", "limits"}; of engines that are available, and of the `named`.

    A row is {engine, name, limit, value, passed, says}. What was not measured breaks its limit.

    Args:
        result: What the measurement returned.
        limits: Name -> limit.
        source: Where the limits come from, for the report.
        named: Engines that the user named.
    """
    rows: list[dict[str, Any]] = []
    for engine in result["engines"]:
        if engine["verdict"] is None and engine["name"] not in named:
            continue
        for name, limit in limits.items():
            about, find, unit, largest = LIMITS[name]
            value = find(engine)
            if value is None or not math.isfinite(value):
                passed, said = False, f"not measured, {engine['detail'] or engine['status']}"
            else:
                passed = value <= limit if largest else value >= limit
                said = f"{about} is {'within' if passed else 'above' if largest else 'below'} it with {value:.4g}{unit}"
                if name == "max_refused" and not passed:
                    said = "; ".join(engine["verdict"]["reasons"])
            rows.append(
                {
                    "engine": engine["name"],
                    "name": name,
                    "limit": limit,
                    "value": value,
                    "passed": passed,
                    "says": f"{engine['name']}: {name} {limit:g}: {said}",
                }
            )
    return {"source": source, "passed": all(row["passed"] for row in rows), "limits": rows}
