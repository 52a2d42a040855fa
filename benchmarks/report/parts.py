"""A result, of one model or of several, as the parts of the HTML page and the Markdown file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..stats import few, group_kinds, metrics
from . import several
from .sections import (
    GATE_COLUMNS,
    NO_LABELLED_IMAGES,
    Section,
    Table,
    few_notes,
    gate_cells,
    gate_notes,
    machine_section,
    milliseconds,
    number,
    sections,
    verdict,
    with_interval,
)
from .terminal import gate_verdict, shown_classes

_Result = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """sections under one heading. title, name: "" where there is nothing to tell apart. result: for the charts."""

    title: str
    name: str
    sections: Sequence[Section]
    result: _Result | None


def parts(result: _Result) -> list[Part]:
    """result: what `bench.run_bench` or `bench.run_benches` returned."""
    if "models" not in result:
        return [Part("", "", sections(result), result)]
    found = [Part("", "", _side_by_side(result), None)]
    for position, (name, one) in enumerate(zip(several.names(result), result["models"], strict=True), 1):
        prefix = f"model-{position}"
        own = [replace(part, name=f"{prefix}-{part.name}") for part in sections(one) if part.name != "machine"]
        found.append(Part(name, prefix, own, one))
    return found


def heading(result: _Result) -> str:
    if "models" in result:
        return f"{len(result['models'])} models"
    return str(result["model"]["path"]).replace("\\", "/").rpartition("/")[2]


def _side_by_side(result: _Result) -> list[Section]:
    found = [_summary(result)]
    if result["gate"]:
        found.append(_gate(result))
    warnings = several.warnings(result)
    if warnings:
        rows = [(warning["what"], warning["remedy"]) for warning in warnings]
        found.append(Section("warnings", "The times are doubtful", [Table(("what", "remedy"), rows)]))
    if result["models"][0]["accuracy"]:
        found += [_accuracy(result), *_parity(result), _per_class(result), *_thresholds(result)]
    return [*found, _device(result), machine_section(result["machine"])]


def _summary(result: _Result) -> Section:
    measured = result["models"][0]["accuracy"] is not None
    columns = ["", "file", "median latency"]
    columns += ["balanced accuracy", "macro AUC", "same top class"] if measured else []
    columns += ["gate"] if result["gate"] else []
    gates = [one["passed"] for one in result["gate"]["models"]] if result["gate"] else []
    both = several.rows(result)
    rows: list[list[str]] = []
    for position, (name, one) in enumerate(both, len(result["models"]) - len(both)):
        row = [name, f"{one['size']['file_bytes'] / 1e6:.2f} MB", f"{one['latency']['median_ms']:.2f} ms"]
        if measured:
            figures = one["accuracy"]
            row += [with_interval(figures["model"], key) for key in ("balanced_accuracy", "macro_auc")]
            row.append(f"{figures['agreement']:.2%}" if figures["reference"] else "-")
        if result["gate"]:
            row.append("-" if position < 0 else "ok" if gates[position] else "FAIL")
        rows.append(row)
    whom = "the first" if result["reference"]["is_first_model"] else "the reference"
    notes = [f"{len(result['models'])} models, each compared with {whom}."]
    if result["gate"]:
        notes.append(f"Gate: {gate_verdict(result['gate'])}.")
    if not measured:
        notes.append(NO_LABELLED_IMAGES)
    notes += [f"{name}: {verdict(accuracy['non_inferiority'])}" for name, accuracy in several.compared(result)]
    return Section("summary", "In short", [Table(columns, rows)], notes)


def _gate(result: _Result) -> Section:
    gate = result["gate"]
    rows = [
        (name, *gate_cells(row))
        for name, one in zip(several.names(result), gate["models"], strict=True)
        for row in one["limits"]
    ]
    return Section("gate", f"Gate: {gate_verdict(gate)}", [Table(("model", *GATE_COLUMNS), rows)], gate_notes(gate))


def _accuracy(result: _Result) -> Section:
    first = result["models"][0]["accuracy"]
    keys = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "macro_f1": "macro F1"}
    keys["macro_auc"] = "macro AUC"
    rows = [
        (
            name,
            *(with_interval(one["accuracy"]["model"], key) for key in keys),
            *(number(one["accuracy"]["model"]["calibration"][key]) for key in ("ece", "brier")),
        )
        for name, one in several.rows(result)
    ]
    part = f", {result['data']['split']} part" if result["data"]["split"] else ""
    model = first["model"]
    notes = [
        f"{model['n']} images of {result['data']['path']}{part}, of {group_kinds.counted(model['groups'])}.",
        f"Accuracy of always '{model['majority_class']}': {model['majority_class_baseline']:.3f}.",
        f"{group_kinds.intervals(model['groups'])}.",
        *(
            f"{name}: {sentence}."
            for name, one in several.rows(result)
            for sentence in group_kinds.seen_before({**one["accuracy"], "reference": None})
        ),
    ]
    if first["failed"]:
        notes.append(f"{len(first['failed'])} more images cannot be assessed and are left out of all figures.")
    return Section("accuracy", "Accuracy", [Table(("", *keys.values(), "ECE, 15 bins", "Brier score"), rows)], notes)


def _parity(result: _Result) -> list[Section]:
    both = several.compared(result)
    if not both:
        return []
    keys = {"balanced_accuracy": "balanced accuracy", "accuracy": "accuracy", "macro_auc": "macro AUC"}
    differences: list[list[str]] = []
    answers: list[list[str]] = []
    for name, accuracy in both:
        cells: list[str] = []
        for key in keys:
            row = accuracy["difference"][key]
            bounds = row["interval"]
            known = row["difference"] is not None and bounds
            cells.append(f"{row['difference']:+.4f} ({bounds[0]:+.4f} to {bounds[1]:+.4f})" if known else "-")
        differences.append([name, *cells])
        low, high = metrics.wilson(accuracy["agreement"], accuracy["model"]["n"])
        test = accuracy["mcnemar"]
        answers.append(
            [
                name,
                f"{accuracy['agreement']:.2%} ({low:.2%} to {high:.2%})",
                str(len(accuracy["flipped"])),
                str(test["only_reference_right"]),
                str(test["only_model_right"]),
                f"{test['p_value']:.3g}",
            ]
        )
    tables = [
        Table(("model minus reference", *keys.values()), differences, "Differences, paired, with 95% interval"),
        Table(
            ("", "same top class", "flipped", "right only by the reference", "right only by the model", "McNemar's p"),
            answers,
            "Answers",
        ),
    ]
    said = several.recalibration(result)
    return [Section("parity", "Parity with the reference", tables, [f"{said[0].upper()}{said[1:]}."] if said else [])]


def _per_class(result: _Result) -> Section:
    both = several.rows(result)
    figures = {"sensitivity": "Sensitivity", "specificity": "Specificity", "auc": "AUC"}
    counts = shown_classes(result["models"][0]["accuracy"]["model"])
    tables = [
        Table(
            ("class", "images", *(name for name, _ in both)),
            [
                (code, str(row["n"]), *(number(one["accuracy"]["model"]["per_class"][code][key]) for _, one in both))
                for code, row in counts.items()
            ],
            title,
        )
        for key, title in figures.items()
    ]
    return Section("per-class", "Per class", tables, few_notes(few.of_classes(counts)))


def _thresholds(result: _Result) -> list[Section]:
    rows = [
        (
            f"{target}, {name}",
            f"{row['threshold']:.4g}",
            *(with_interval(row, k) for k in ("sensitivity", "specificity")),
        )
        for name, one in several.rows(result)
        for target, row in several.operating_points(one["accuracy"]).items()
    ]
    columns = ("chosen on other images", "threshold", "sensitivity", "specificity")
    return [Section("thresholds", "At frozen thresholds", [Table(columns, sorted(rows))])] if rows else []


def _device(result: _Result) -> Section:
    rows: list[Sequence[str]] = []
    for name, one in several.rows(result):
        memory, cold, ratios, timings = one.get("memory"), one.get("cold_start"), one.get("ratios"), one["latency"]
        rows.append(
            (
                name,
                f"{one['size']['file_bytes']:,}",
                f"{one['network']['arena_bytes']:,}",
                f"{memory['peak_bytes'] / 1e6:.1f}" if memory and memory["peak_bytes"] is not None else "-",
                milliseconds(cold["median_ms"]) if cold else "-",
                *(milliseconds(timings[key]) for key in ("init_ms", "median_ms", "p95_ms", "p99_ms")),
                *(milliseconds(row["median_ms"]) for row in timings["stages"].values()),
                f"{ratios['median_ms']:.2f}" if ratios else "-",
            )
        )
    columns = ("", "file, bytes", "tensor arena, at least, bytes", "peak memory, MB", "cold start, ms", "load, ms")
    columns += ("median, ms", "p95, ms", "p99, ms", "decode, ms", "preprocess, ms", "invoke, ms", "to the reference")
    latency = result["models"][0]["latency"]
    threads = latency["num_threads"]
    notes = [
        f"{latency['num_runs']} runs after {latency['warmup_runs']} to warm up, {threads} thread"
        f"{'s' if threads > 1 else ''}; image {latency['image']} from {latency['image_source']}.",
        "The models were measured one after the other, the reference once, beside the first that is compared with it.",
    ]
    return Section("device", "Size, memory and latency", [Table(columns, rows)], notes)
