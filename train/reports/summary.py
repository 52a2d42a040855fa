"""What a person reads on the terminal when a training has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...benchmarks.stats import few, group_kinds
from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER


def summary(metrics: Mapping[str, Any], out: Path, *, qat: bool = True) -> console.Page:
    """metrics: what metrics.json holds. qat: whether its network can be quantized by training. At most 80 columns."""
    lines = [f"{'':24}{'validation':>22}{'test':>24}"]
    parts = metrics["validation"], metrics["test"]
    lines.append(f"{'images':24}{parts[0]['n']:>22}{parts[1]['n']:>24}")
    for name, key in (
        ("balanced accuracy", "balanced_accuracy"),
        ("macro AUC", "macro_auc"),
        ("macro F1", "macro_f1"),
        ("accuracy", "accuracy"),
    ):
        cells = [_with_interval(part, key) for part in parts]
        lines.append(f"{name:24}{cells[0]:>22}{cells[1]:>24}")
    majority = [f"{part['majority_class_baseline']:.3f}" for part in parts]
    name = console.cell(f"  always '{parts[1]['majority_class']}'", 24)
    lines.append(f"{name}{majority[0]:>22}{majority[1]:>24}")
    lines.append("")
    codes = metrics["test"]["per_class"]
    width = console.column(codes, 24, console.WIDTH - 42)
    lines.append(f"{'test, per class':{width}}{'images':>8}{'sensitivity':>13}{'specificity':>13}{'AUC':>8}")
    for code, row in codes.items():
        cells = [_number(row[key]) for key in ("sensitivity", "specificity", "auc")]
        lines.append(f"{console.cell(code, width)}{row['n']:>8}{cells[0]:>13}{cells[1]:>13}{cells[2]:>8}")
    lines += _few(few.of_classes(codes))
    convert = console.command_line("skin-edge", "convert", out, "--int8", *([] if qat else ["--ptq"]))
    lines += ["", *_claims(metrics["test"], metrics["split"])]
    lines += ["", f"written to {out}; next:", f"  {convert}", DISCLAIMER]
    return console.page(lines)


def _few(sentence: str) -> list[str]:
    return console.wrap(f"{sentence}.", rest="  ") if sentence else []


def _claims(test: Mapping[str, Any], split: Mapping[str, Any]) -> list[str]:
    """Over what the intervals are, and what of the test part training has seen, as far as that is known."""
    lines = console.wrap(f"{group_kinds.intervals(test['groups'])}.")
    for sentence in group_kinds.leaks(split, lambda name: f"{split[name]:.2%}"):
        lines += console.wrap(f"{sentence}.")
    return lines + (["So the figures are too good."] if group_kinds.too_good(split) else [])


def _with_interval(part: Mapping[str, Any], key: str) -> str:
    bounds = part["intervals"][key]
    return _number(part[key]) + ("" if bounds is None else f" ({bounds[0]:.3f}-{bounds[1]:.3f})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def evaluation(results: Mapping[str, Any], out: Path | None) -> console.Page:
    """What a person reads when `skin-edge evaluate` has ended. results: its metrics.json. At most 80 columns."""
    test, failed = results["test"], results["cannot_assess"]
    lines = [
        console.fit(results["title"], console.WIDTH),
        f"{'images':30}{test['n']:>8}",
        f"{'cannot assess':30}{failed['n']:>8}",
    ]
    for label, n in results["data"]["unknown_labels"].items():
        lines.append(f"{'of unknown label, in no figure':30}{n:>8}  '{console.fit(label, 38)}'")
    leaked = results["split"]["leaked_share_of_test"]
    if leaked:
        lines.append(f"{'seen in training':30}{leaked:>8.1%}  the figures are too good")
    chose = results["split"]["share_that_chose_thresholds"]
    if chose:
        lines.append(f"{'chose epoch and thresholds':30}{chose:>8.1%}  the figures are too good")
    lines.append("")
    for name, key in (("balanced accuracy", "balanced_accuracy"), ("macro AUC", "macro_auc"), ("accuracy", "accuracy")):
        lines.append(f"{name:30}{_with_interval(test, key):>22}")
    lines.append(f"{console.cell(_always(test), 30)}{test['majority_class_baseline']:>22.3f}")
    if failed["n"]:
        lines.append(f"{'accuracy, unassessed as wrong':30}{failed['accuracy_counting_as_wrong']:>22.3f}")
    for name, target in test["targets"].items():
        lines.append(f"{console.cell(f'AUC, {name} or not', 30)}{_interval_of(target['auc'], target['interval']):>22}")
    lines.append(f"{'ECE':30}{_interval_of(test['calibration']['ece'], test['calibration']['intervals']['ece']):>22}")
    if test["absent_classes"]:
        lines += ["", *console.wrap(f"no image here, so not known: {', '.join(test['absent_classes'])}", rest="  ")]
    if test["operating_points"]:
        lines += ["", f"{'at thresholds frozen before':30}{'sensitivity':>22}{'specificity':>22}"]
        for row in test["operating_points"]:
            name = console.cell(f"{row['target']}, {row['wanted']:.0%} {row['chosen_for']}", 30)
            lines.append(f"{name}{_with_interval(row, 'sensitivity'):>22}{_with_interval(row, 'specificity'):>22}")
    few_of = [few.of_classes(test["per_class"]), few.of_points(test["operating_points"])]
    lines += ["", *(line for sentence in few_of for line in _few(sentence)), *_claims(test, results["split"])]
    written = [f"written to {out}: report.html, figures.md, metrics.json, predictions.csv"] if out else []
    return console.page([*lines, "", *written, DISCLAIMER])


def _always(part: Mapping[str, Any]) -> str:
    return f"  always '{part['majority_class']}'"


def _interval_of(value: float | None, bounds: Any) -> str:
    return _number(value) + ("" if value is None or bounds is None else f" ({bounds[0]:.3f}-{bounds[1]:.3f})")
