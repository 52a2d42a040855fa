"""Two results of `skin-edge bench`, side by side: `skin-edge bench --compare A B`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..edge_runtime import console
from ..edge_runtime.classifier import DISCLAIMER
from ..edge_runtime.errors import DataError, UsageError
from .inputs import documents

# What makes a machine another one. Not its software: the same board before and after an update is worth comparing.
IDENTITY = ("board", "cpu", "cores", "architecture", "memory_gib")

_RATIOS = (
    ("file, bytes", ("size", "file_bytes")),
    ("network, bytes", ("size", "network_bytes")),
    ("arena, bytes (estimate)", ("network", "arena_bytes")),
    ("peak memory, bytes", ("memory", "peak_bytes")),
    ("median, ms", ("latency", "median_ms")),
    ("  decode, ms", ("latency", "stages", "decode", "median_ms")),
    ("  preprocess, ms", ("latency", "stages", "preprocess", "median_ms")),
    ("  invoke, ms", ("latency", "stages", "invoke", "median_ms")),
    ("95th percentile, ms", ("latency", "p95_ms")),
    ("load, ms", ("latency", "init_ms")),
    ("cold start, ms", ("cold_start", "median_ms")),
)

_DIFFERENCES = (
    ("balanced accuracy", ("accuracy", "model", "balanced_accuracy")),
    ("accuracy", ("accuracy", "model", "accuracy")),
    ("macro F1", ("accuracy", "model", "macro_f1")),
    ("macro AUC", ("accuracy", "model", "macro_auc")),
    ("ECE", ("accuracy", "model", "calibration", "ece")),
    ("Brier score", ("accuracy", "model", "calibration", "brier")),
    ("agreement with reference", ("accuracy", "agreement")),
)

HOW = (
    "'skin-edge bench MODEL --result-json FILE.json' writes one, 'skin-edge bench --compare BEFORE.json AFTER.json' "
    "compares two"
)

_Result = Mapping[str, Any]


def read_result(path: str | Path) -> dict[str, Any]:
    """What `bench --result-json` wrote. Raises UsageError where there is no such file, DataError where it is none."""
    path = Path(path)
    if path.suffix.lower() == ".tflite" and path.is_file():
        raise UsageError(f"{path} is a model, and --compare takes what was measured of one: {HOW}")
    try:
        result: Any = documents.read_json(path)
    except (UsageError, DataError) as error:
        raise type(error)(f"{error}; {HOW}") from None
    if isinstance(result, dict) and isinstance(result.get("models"), list):  # pyright: ignore[reportUnknownMemberType]
        raise DataError(
            f"{path} is of several models, which stand side by side already: measure the one you mean alone"
        )
    sections = ("model", "machine", "size", "latency", "memory")
    if not isinstance(result, dict) or not all(isinstance(result.get(key), dict) for key in sections):  # pyright: ignore[reportUnknownMemberType]
        raise DataError(f"{path} is no result of 'skin-edge bench --result-json': {HOW}")
    return result  # pyright: ignore[reportUnknownVariableType]


def compare(a: _Result, b: _Result, *, different_machines: bool = False) -> dict[str, Any]:
    """b against a, JSON-ready.

    Returns {"a", "b": model and time, "different_machines": the fields of IDENTITY that differ, "unlike": what else
    differs and bears on the figures, "ratios": [{name, a, b, ratio}] with ratio b / a, "differences": [{name, a, b,
    difference}] with b - a}. A figure that one of the two lacks is None, and so is what would follow from it. The
    differences of accuracy are unpaired: a result does not hold the answers for each image.

    Raises UsageError where the two are of different machines and `different_machines` does not allow it.
    """
    ours, theirs = _identity(a), _identity(b)
    differing = {key: [ours[key], theirs[key]] for key in IDENTITY if ours[key] != theirs[key]}
    if differing and not different_machines:
        said = "; ".join(f"{key} {one} and {other}" for key, (one, other) in differing.items())
        raise UsageError(f"the two were measured on different machines ({said}): allow it with --different-machines")
    ratios: list[dict[str, Any]] = []
    for name, keys in _RATIOS:
        one, other = _number(a, keys), _number(b, keys)
        ratios.append({"name": name, "a": one, "b": other, "ratio": other / one if one and other is not None else None})
    differences: list[dict[str, Any]] = []
    for name, keys in _DIFFERENCES:
        one, other = _number(a, keys), _number(b, keys)
        difference = None if one is None or other is None else other - one
        differences.append({"name": name, "a": one, "b": other, "difference": difference})
    return {
        "a": _about(a),
        "b": _about(b),
        "different_machines": differing,
        "unlike": _unlike(a, b),
        "ratios": ratios,
        "differences": differences,
    }


def text(comparison: _Result) -> console.Page:
    """The comparison as a table of at most 80 columns."""
    lines: list[str] = []
    for who in ("a", "b"):
        about = comparison[who]
        lines.append(f"{who}  {console.tail(about['path'], 50)} ({about['precision'] or 'precision unknown'})")
        lines.append(f"   measured {about['measured_at']}")
    if comparison["different_machines"]:
        lines += ["", "DIFFERENT MACHINES: a ratio is one of machines as much as of models"]
        lines += [_unlike_line(key, pair) for key, pair in comparison["different_machines"].items()]
    if comparison["unlike"]:
        lines += ["", "measured in different ways"]
        lines += [_unlike_line(key, pair) for key, pair in comparison["unlike"].items()]
    lines += ["", f"{'':28}{'a':>16}{'b':>16}{'b / a':>12}"]
    for row in comparison["ratios"]:
        if row["a"] is None and row["b"] is None:
            continue
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3f}"
        lines.append(f"  {row['name']:26}{_amount(row['a']):>16}{_amount(row['b']):>16}{ratio:>12}")
    if any(row["a"] is not None or row["b"] is not None for row in comparison["differences"]):
        lines += ["", f"{'':28}{'a':>16}{'b':>16}{'b - a':>12}"]
        for row in comparison["differences"]:
            cells = [("-" if row[who] is None else f"{row[who]:.4f}") for who in ("a", "b")]
            difference = "-" if row["difference"] is None else f"{row['difference']:+.4f}"
            lines.append(f"  {row['name']:26}{cells[0]:>16}{cells[1]:>16}{difference:>12}")
        lines.append("  not paired: 'bench B --reference A --data ...' gives the intervals")
    return console.page([*lines, "", DISCLAIMER])


def _identity(result: _Result) -> dict[str, Any]:
    machine = dict(result["machine"])
    memory = _number(result, ("machine", "memory_bytes"))
    # The kernel keeps some of the memory, another one a little more.
    machine["memory_gib"] = round(memory / 2**30) if memory else None
    return {key: machine.get(key) for key in IDENTITY}


def _unlike(a: _Result, b: _Result) -> dict[str, list[Any]]:
    ways: dict[str, Sequence[str]] = {
        "threads": ("latency", "num_threads"),
        "image": ("latency", "image"),
        "governor": ("machine", "governor"),
        "throttled": ("machine", "throttled"),
        "os": ("machine", "os"),
        "kernel": ("machine", "kernel"),
        "python": ("machine", "python"),
        "skin-edge": ("machine", "skin_edge"),
        "data": ("data", "path"),
        "split": ("data", "split"),
        "images": ("accuracy", "model", "n"),
    }
    found = {name: [_at(a, keys), _at(b, keys)] for name, keys in ways.items()}
    told = [_at(result, ("machine", "versions")) for result in (a, b)]
    versions: list[dict[str, Any]] = [one if isinstance(one, dict) else {} for one in told]
    found |= {name: [version.get(name) for version in versions] for name in sorted({*versions[0], *versions[1]})}
    return {name: pair for name, pair in found.items() if pair[0] != pair[1]}


def _at(result: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not isinstance(result, Mapping):
            return None
        result = result.get(key)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return result  # pyright: ignore[reportUnknownVariableType]


def _number(result: _Result, keys: Sequence[str]) -> float | None:
    value = _at(result, keys)
    # Of an edited file it may be anything; the comparison holds for whole numbers of any length, and not for NaN.
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and -1e15 <= value <= 1e15
    return value if is_number else None


def _about(result: _Result) -> dict[str, Any]:
    model = result["model"]
    keys = ("path", "sha256", "name", "precision", "input")
    return {key: model.get(key) for key in keys} | {"measured_at": result.get("measured_at")}


def _unlike_line(name: str, pair: Sequence[Any]) -> str:
    return f"  {name:14}{console.cell(pair[0], 30, '>')} | {console.fit(pair[1], 30)}"


def _amount(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) else f"{value:.2f}"
