"""Several models side by side, as `bench.run_benches` measured them: a table for the terminal, at most 80 columns.

One row is one model, so that there may be any number of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER
from ..stats import few, group_kinds, metrics
from .terminal import (
    NO_ACCURACY,
    WIDTH,
    described,
    endurance_lines,
    few_lines,
    fit,
    flipped_lines,
    gate_title,
    hanging,
    joined,
    machine_lines,
    port_lines,
    preprocessing_lines,
    row_of,
    shown_classes,
    spread_text,
    sweep_lines,
    tail,
    warning_lines,
    with_interval,
    wrapped,
)

# Of each model; with several of them the terminal would scroll away what stands side by side.
_MOST_FLIPPED = 5

_NAME = 16  # columns

_Result = Mapping[str, Any]


def names(result: _Result) -> list[str]:
    """A short name for each model, no two alike: what their paths differ in."""
    paths = [str(one["model"]["path"]).replace("\\", "/").removesuffix(".tflite") for one in result["models"]]
    parts = [[part for part in path.split("/") if part not in ("", ".")] for path in paths]
    while all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    short = ["/".join(one) for one in parts]
    return short if len(set(short)) == len(short) and "reference" not in short else paths


def rows(result: _Result) -> list[tuple[str, _Result]]:
    """(name, figures): the reference where it is none of the models, then the models."""
    models = list(zip(names(result), result["models"], strict=True))
    return models if result["reference"]["is_first_model"] else [("reference", result["reference"]), *models]


def compared(result: _Result) -> list[tuple[str, _Result]]:
    """(name, accuracy) of each model that was compared with the reference in accuracy."""
    models = zip(names(result), result["models"], strict=True)
    return [(name, one["accuracy"]) for name, one in models if one["accuracy"] and one["accuracy"]["reference"]]


def recalibration(result: _Result) -> str:
    """What was done to the reference before the comparison; "" for nothing."""
    said = any(accuracy.get("recalibrated") for _, accuracy in compared(result))
    return "for the differences the reference has each model's logit shift and temperature" if said else ""


def warnings(result: _Result) -> list[_Result]:
    """Those of all models, each once."""
    return list({warning["what"]: warning for one in result["models"] for warning in one["warnings"]}.values())


def operating_points(accuracy: _Result) -> dict[str, _Result]:
    """Name of a frozen threshold -> what it gives."""
    return {
        f"{row['target']} for {row['chosen_for_sensitivity']:.2f}": row for row in accuracy["operating_points"]["model"]
    }


def table(result: _Result) -> console.Page:
    """result: what `bench.run_benches` returned."""
    found = warnings(result)
    sections = [
        _files(result),
        machine_lines(result["machine"]),
        _device(result),
        *([warning_lines(found)] if found else []),
        *_accuracy(result),
        *_of_each(result),
        *([_gate(result)] if result["gate"] else []),
        [DISCLAIMER],
    ]
    return joined(sections)


def _files(result: _Result) -> list[str]:
    lines = ["models, compared with " + ("the first" if result["reference"]["is_first_model"] else "the reference")]
    for name, one in rows(result):
        lines += [f"  {tail(name, WIDTH - 2)}", f"    {described(one['model'])}"]
    return lines


def _device(result: _Result) -> list[str]:
    latency = result["models"][0]["latency"]
    threads = latency["num_threads"]
    lines = [
        f"on this machine: {latency['num_runs']} runs after {latency['warmup_runs']} to warm up, {threads} "
        f"thread{'s' if threads > 1 else ''}; image: {latency['image']}",
        row_of("  image from", tail(latency["image_source"], WIDTH - 16)),
        f"{'':{_NAME}}{'MB':^24}{'milliseconds':^32}{'to the':>8}",
        f"{'':{_NAME}}{'file':>8}{'arena':>8}{'peak':>8}{'cold':>8}{'median':>8}{'p95':>8}{'invoke':>8}{'ref.':>8}",
    ]
    for name, one in rows(result):
        peak, cold, ratios = one.get("memory"), one.get("cold_start"), one.get("ratios")
        timings = one["latency"]
        cells = [
            f"{one['size']['file_bytes'] / 1e6:.3f}",
            f"{one['network']['arena_bytes'] / 1e6:.3f}",
            "-" if not peak or peak["peak_bytes"] is None else f"{peak['peak_bytes'] / 1e6:.1f}",
            "-" if not cold or cold["median_ms"] is None else f"{cold['median_ms']:.0f}",
            *(f"{value:.2f}" for value in (timings["median_ms"], timings["p95_ms"])),
            f"{timings['stages']['invoke']['median_ms']:.2f}",
            "-" if not ratios else f"{ratios['median_ms']:.2f}",
        ]
        lines.append(_line(name, cells, 8))
    lines += wrapped("peak: resident memory of Python, load and one prediction; arena: at least; ref.: median latency")
    return lines


def _accuracy(result: _Result) -> list[list[str]]:
    first = result["models"][0]["accuracy"]
    if first is None:
        return [[NO_ACCURACY]]
    model = first["model"]
    part = f", {result['data']['split']} part" if result["data"]["split"] else ""
    lines = [
        f"accuracy on {model['n']} images of {tail(result['data']['path'], 40)}{part}",
        f"{'  95% intervals':{_NAME}}{'balanced accuracy':>21}{'accuracy':>21}{'macro AUC':>21}",
    ]
    for name, one in rows(result):
        figures = one["accuracy"]["model"]
        cells = [with_interval(figures, key) for key in ("balanced_accuracy", "accuracy", "macro_auc")]
        lines.append(_line(name, cells, 21))
    always = f"always '{model['majority_class']}': accuracy {model['majority_class_baseline']:.3f}"
    lines += wrapped(f"{always}; {group_kinds.intervals(model['groups'])}")
    for name, one in rows(result):
        for sentence in group_kinds.seen_before({**one["accuracy"], "reference": None}):
            lines += wrapped(f"{tail(name, _NAME)}: {sentence}")
    if first["failed"]:
        failed = first["failed"]
        lines.append(f"  cannot assess {len(failed)} of {model['n'] + len(failed)} images, left out of all; the first:")
        lines += wrapped(failed[0]["error"])
    return [lines, *_parity(result), *_per_class(result), *_thresholds(result)]


def _parity(result: _Result) -> list[list[str]]:
    both = compared(result)
    if not both:
        return []
    lines = [
        "model minus reference, paired, with 95% interval",
        f"{'':{_NAME}}{'balanced accuracy':>32}{'macro AUC':>32}",
    ]
    for name, accuracy in both:
        rows = [accuracy["difference"][key] for key in ("balanced_accuracy", "macro_auc")]
        lines.append(_line(name, [_difference(row) for row in rows], 32))
    if recalibration(result):
        lines += wrapped(recalibration(result))
    lines.append("")
    lines.append(f"{'same top class':{_NAME}}{'95% interval':>26}{'flipped':>10}{'McNemar p':>12}{'non-inferior':>16}")
    for name, accuracy in both:
        low, high = metrics.wilson(accuracy["agreement"], accuracy["model"]["n"])
        shown = accuracy["non_inferiority"]["shown"]
        same = f"{accuracy['agreement']:.2%} ({low:.2%}-{high:.2%})"
        said = "undefined" if shown is None else "yes" if shown else "not shown"
        flipped, p_value = len(accuracy["flipped"]), accuracy["mcnemar"]["p_value"]
        cells = f"{same:>26}{flipped:>10}{p_value:>12.2g}{said:>16}"
        lines.append(f"  {console.pad(tail(name, _NAME - 3), _NAME - 2)}{cells}")
    margin = both[0][1]["non_inferiority"]["margin"]
    lines += wrapped(f"non-inferior: the lower end of the difference in balanced accuracy is above {-margin:g}")
    flips = [(name, accuracy["flipped"]) for name, accuracy in both if accuracy["flipped"]]
    return [
        lines,
        *([f"{tail(name, WIDTH)}, against the reference", *flipped_lines(f, _MOST_FLIPPED)] for name, f in flips),
    ]


def _per_class(result: _Result) -> list[list[str]]:
    codes = list(shown_classes(result["models"][0]["accuracy"]["model"]))

    def sensitivity(one: _Result, code: str) -> str:
        value = one["accuracy"]["model"]["per_class"][code]["sensitivity"]
        return "-" if value is None else f"{value:.3f}"

    said = few_lines(few.of_classes(result["models"][0]["accuracy"]["model"]["per_class"]))
    return [[*_blocks(result, "sensitivity", codes, 8, sensitivity), *said]]


def _thresholds(result: _Result) -> list[list[str]]:
    targets = dict.fromkeys(target for _, one in rows(result) for target in operating_points(one["accuracy"]))
    if not targets:
        return []

    def pair(one: _Result, target: str) -> str:
        row = operating_points(one["accuracy"]).get(target)
        if row is None:
            return "-"
        return "/".join("-" if row[key] is None else f"{row[key]:.3f}" for key in ("sensitivity", "specificity"))

    title = "at each file's own frozen thresholds: sensitivity/specificity"
    return [[title, *_blocks(result, "", list(targets), 20, pair)]]


def _of_each(result: _Result) -> list[list[str]]:
    """What was asked for beyond the table above, model by model."""
    sections: list[list[str]] = []
    for name, one in zip(names(result), result["models"], strict=True):
        lines: list[str] = []
        if one["processes"]:
            lines += hanging("  processes", spread_text(one["processes"]))
        if one["sweep"]:
            lines += sweep_lines(one["sweep"])
        if one["sustained"]:
            lines += endurance_lines(one["sustained"])
        if one["ports"]:
            lines += port_lines(one["ports"])
        if one["preprocessing"]:
            lines += preprocessing_lines(one["preprocessing"])
        if lines:
            sections.append([tail(name, WIDTH), *lines])
    return sections


def _gate(result: _Result) -> list[str]:
    gate = result["gate"]
    lines = [gate_title(gate)]
    for name, one in zip(names(result), gate["models"], strict=True):
        held = sum(row["passed"] for row in one["limits"])
        said = (
            f"{held} of {len(one['limits'])} limits held" if one["limits"] else "is the reference: no limit is for it"
        )
        lines.append(f"  {'ok  ' if one['passed'] else 'FAIL'}  {tail(name, 34)}: {said}")
        for row in one["limits"]:
            if not row["passed"] or row["within_noise"]:
                lines += console.wrap(row["says"], first=" " * 8, rest=" " * 8)
    return lines


def _blocks(
    result: _Result, title: str, columns: Sequence[str], width: int, cell: Callable[[_Result, str], str]
) -> list[str]:
    """A table of all models, as many columns at a time as fit."""
    lines: list[str] = []
    at_once = (WIDTH - _NAME) // width
    for start in range(0, len(columns), at_once):
        block = columns[start : start + at_once]
        lines.append(f"{title:{_NAME}}" + "".join(console.pad(fit(column, width - 1), width, ">") for column in block))
        lines += [_line(name, [cell(one, column) for column in block], width) for name, one in rows(result)]
    return lines


def _line(name: str, cells: Sequence[str], width: int) -> str:
    # The end of a long name is what it differs in from its neighbours.
    return f"  {console.pad(tail(name, _NAME - 3), _NAME - 2)}" + "".join(f"{cell:>{width}}" for cell in cells)


def _difference(row: _Result) -> str:
    if row["difference"] is None or row["interval"] is None:
        return "-"
    low, high = row["interval"]
    return f"{row['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
