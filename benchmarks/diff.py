"""Two results of `skin-edge bench`, side by side: `skin-edge bench --compare A B`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..edge_runtime.errors import DataError, UsageError
from .inputs import documents
from .report.document import HEADLINES, Document, Notes, Section, Table, Text, number

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
    *((title, ("accuracy", "model", key)) for key, title in HEADLINES.items()),
    ("ECE", ("accuracy", "model", "calibration", "ece")),
    ("Brier score", ("accuracy", "model", "calibration", "brier")),
    ("agreement with reference", ("accuracy", "agreement")),
    *(
        (f"{title}, strengths 1 and 2", ("robustness", "means", "1 and 2", key))
        for key, title in (
            ("macro_auc", HEADLINES["macro_auc"]),
            ("balanced_accuracy", HEADLINES["balanced_accuracy"]),
            ("agreement_or_refused", "same class or refused"),
            ("refused", "refused"),
        )
    ),
)

# Only where one of the two has them: of a file with limits of assessment, or sets of possible classes.
_OF_SOME = (
    ("refused", ("accuracy", "model", "assessment", "share")),
    ("refused, malignant", ("accuracy", "model", "assessment", "malignant", "share")),
    ("coverage of possible classes", ("accuracy", "model", "possible", "coverage")),
    ("mean size of their set", ("accuracy", "model", "possible", "mean_size")),
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
        raise DataError(f"{path} is not a result of 'skin-edge bench --result-json': {HOW}")
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
    for name, keys in (*_DIFFERENCES, *_OF_SOME):
        one, other = _number(a, keys), _number(b, keys)
        if one is other is None and (name, keys) in _OF_SOME:
            continue
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


def document(comparison: _Result) -> Document:
    """The comparison as a document."""
    notes = [
        f"{side}: {comparison[side]['path']} ({comparison[side]['precision'] or 'precision unknown'}), "
        f"measured {comparison[side]['measured_at']}"
        for side in ("a", "b")
    ]
    sections = [Section("results", "", [Notes(notes)])]
    for key, title in (
        ("different_machines", "DIFFERENT MACHINES: a ratio is one of machines as much as of models"),
        ("unlike", "Measured in different ways"),
    ):
        rows = [(name, *map(str, pair)) for name, pair in comparison[key].items()]
        sections += [Section(key, title, [Table(("", "a", "b"), rows)])] if rows else []
    ratios = [
        (row["name"], _amount(row["a"]), _amount(row["b"]), number(row["ratio"]))
        for row in _known(comparison["ratios"])
    ]
    differences = [
        (row["name"], number(row["a"], ".4f"), number(row["b"], ".4f"), number(row["difference"], "+.4f"))
        for row in _known(comparison["differences"])
    ]
    sections.append(Section("ratios", "Size and time", [Table(("", "a", "b", "b / a"), ratios)]))
    if differences:
        unpaired = Notes(["Not paired: 'bench B --reference A --data ...' gives the intervals."])
        sections.append(Section("accuracy", "Accuracy", [Table(("", "a", "b", "b - a"), differences), unpaired]))
    return Document("", "", sections, "skin-edge bench --compare")


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
        "suite of distortions": ("robustness", "suite"),
        "seed of distortions": ("robustness", "seed"),
        "distorted images": ("robustness", "n"),
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


def _known(rows: Sequence[_Result]) -> list[_Result]:
    return [row for row in rows if row["a"] is not None or row["b"] is not None]


def _amount(value: float | None) -> Text:
    return number(value, ",.0f" if value is None or value == int(value) else ".2f")
