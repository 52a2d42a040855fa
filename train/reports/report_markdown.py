"""metrics.json of an evaluation as Markdown, for a model card or a wiki: figures.md. It computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...benchmarks.report.escapes import markdown_text
from ...benchmarks.report.markdown import blocks_of
from ...benchmarks.report.sections import Section, Table, few_notes, with_interval
from ...benchmarks.stats import few, group_kinds
from ...edge_runtime.classifier import DISCLAIMER

_HEADLINES = (("balanced_accuracy", "balanced accuracy"), ("accuracy", "accuracy"), ("macro_auc", "macro AUC"))

_SUBGROUPS = (
    ("balanced_accuracy", "balanced accuracy"),
    ("melanoma_sensitivity", "sensitivity, melanoma"),
    ("melanoma_auc", "AUC, melanoma"),
    ("malignant_auc", "AUC, malignant"),
)


def figures(results: Mapping[str, Any]) -> str:
    """results: what metrics.json of `skin-edge evaluate` holds."""
    test = results["test"]
    sections = [
        _headlines(results),
        _classes(test),
        _confusion(test),
        *([_thresholds(test)] if test["operating_points"] else []),
        *(_subgroups(attribute, groups, test["groups"]) for attribute, groups in test["subgroups"].items()),
    ]
    blocks = [f"# {markdown_text(results['title'])}", f"**{DISCLAIMER}**"]
    for section in sections:
        blocks += blocks_of(section)
    return "\n\n".join(blocks) + "\n"


def _headlines(results: Mapping[str, Any]) -> Section:
    test, missed = results["test"], results["cannot_assess"]
    rows = [(title, _with_interval(test, key)) for key, title in _HEADLINES]
    rows.append((f"accuracy of always answering {test['majority_class']}", _number(test["majority_class_baseline"])))
    for name, target in test["targets"].items():
        auc = {"auc": target["auc"], "intervals": {"auc": target["interval"]}}
        rows.append((f"AUC, {name} or not", _with_interval(auc, "auc")))
    rows += [
        (title, _with_interval(test["calibration"], key))
        for key, title in (("ece", "ECE, 15 bins"), ("brier", "Brier score (0 to 2)"))
    ]
    split = results["split"]
    notes = [
        f"{test['n']:,} images of {group_kinds.counted(test['groups'])}; {results['data']['name']}.",
        *(f"{said}." for said in group_kinds.leaks(split, lambda name: f"{split[name]:.1%}")),
        f"Of {results['model']['name']}"
        + (f", SHA-256 {results['model']['sha256']}." if "sha256" in results["model"] else "."),
        f"In brackets: {group_kinds.intervals(test['groups'], format(test['bootstrap'], ','))}. An ECE grows with "
        "resampling, so a small one can lie below its interval.",
    ]
    if missed["n"]:
        notes.append(
            f"{missed['n']} images could not be assessed and are in no figure; counted as wrong, the balanced accuracy "
            f"is {_number(missed['balanced_accuracy_counting_as_wrong'])}."
        )
    return Section("figures", "Figures", [Table(("", "measured"), rows)], notes)


def _classes(test: Mapping[str, Any]) -> Section:
    rows = [
        (
            code,
            f"{row['n']:,}",
            *(_with_interval(row, name) for name in ("sensitivity", "specificity")),
            _number(row["precision"]),
            _with_interval(row, "auc"),
        )
        for code, row in test["per_class"].items()
    ]
    columns = ("class", "images", "sensitivity", "specificity", "precision", "AUC")
    notes = few_notes(few.of_classes(test["per_class"]))
    return Section("classes", "Each class, where the most probable one is the answer", [Table(columns, rows)], notes)


def _confusion(test: Mapping[str, Any]) -> Section:
    codes = list(test["per_class"])
    rows = [
        (code, *(f"{count:,}" for count in counts))
        for code, counts in zip(codes, test["confusion_matrix"], strict=True)
    ]
    return Section("confusion", "Confusion matrix", [Table(("truth \\ answer", *codes), rows)])


def _thresholds(test: Mapping[str, Any]) -> Section:
    points = test["operating_points"]
    rows: list[tuple[str, ...]] = []
    for row in points:
        other = "specificity" if row["chosen_for"] == "sensitivity" else "sensitivity"
        rows.append(
            (
                f"{row['target']}, {row['wanted']:.0%} {row['chosen_for']}",
                f"{row['threshold']:.4f}",
                _with_interval(row, "sensitivity"),
                _with_interval(row, "specificity"),
                f"{other} {_number(row['roc'][other])}",
            )
        )
    notes = [
        f"Frozen on {points[0]['on']}, and measured here as they are. The last column is what the ROC of these very "
        "images has there, which no device can have.",
        *few_notes(few.of_points(points)),
    ]
    columns = ("target", "threshold", "sensitivity", "specificity", "own ROC")
    return Section("thresholds", "At frozen thresholds", [Table(columns, rows)], notes)


def _subgroups(attribute: str, groups: Sequence[Mapping[str, Any]], described: Mapping[str, Any]) -> Section:
    units = [group_kinds.unit(described)] if group_kinds.known(described) else []
    shown = [(key, title) for key, title in _SUBGROUPS if any(key in row for row in groups)]
    rows: list[tuple[str, ...]] = []
    for row in groups:
        cells = [_with_interval(row, key) for key, _ in shown]
        if row["too_few"]:
            cells = ["" if position else "too few images" for position in range(len(shown))]
        rows.append((row["group"], f"{row['n']:,}", *(_count(row["n_groups"]) for _ in units), *cells))
    columns = (attribute, "images", *units, *(title for _, title in shown))
    notes = ["Balanced accuracy is over the classes that a group has. Where intervals overlap, nothing has been shown."]
    if not shown:
        notes = ["Every group has too few images for a figure."]
    return Section(f"by-{attribute}", f"By {attribute}", [Table(columns, rows)], notes)


def _with_interval(row: Mapping[str, Any], key: str) -> str:
    return _number(None) if row.get(key) is None else with_interval(row, key)


def _count(value: int | None) -> str:
    return "not known" if value is None else f"{value:,}"


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.3f}"
