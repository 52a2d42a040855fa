"""A comparison of runs as a document, picture or csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...benchmarks.report import charts
from ...benchmarks.report.document import (
    Charts,
    Document,
    Notes,
    Section,
    Span,
    Table,
    Text,
    number,
    ranged,
)
from ...benchmarks.report.page import page
from ...benchmarks.stats import few, group_kinds
from ...edge_runtime import console, csv_files, files
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.errors import OutputExistsError, UsageError
from . import drawn

SUFFIXES = (".html", ".png", ".csv")

_Comparison = Mapping[str, Any]


def check_output(out: Path, overwrite: bool) -> None:
    """Raises UsageError for a suffix that is not known, OutputExistsError where `out` is there already."""
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {out}: the name must end in {', '.join(SUFFIXES)}")
    if out.is_dir() or (out.exists() and not overwrite):
        raise OutputExistsError(out)


def write(comparison: _Comparison, out: Path) -> None:
    """Writes the form that the suffix of `out` names."""
    suffix = out.suffix.lower()
    if suffix == ".html":
        files.write(out, page(document(comparison)))
    elif suffix == ".csv":
        files.write(out, table(comparison))
    else:
        _draw(comparison, out)


def document(comparison: _Comparison) -> Document:
    """Runs are numbered: their names are too long for columns."""
    runs, figures, paired = comparison["runs"], comparison["figures"], comparison["paired"]
    numbers = [str(number) for number in range(1, len(runs) + 1)]
    names = [
        f"{run['name']}: {run['n']} {comparison['part']} images, {_groups(run)}"
        + (f", {run['cannot_assess']} cannot be assessed" if run["cannot_assess"] else "")
        for run in runs
    ]
    rows: list[tuple[Text, ...]] = [
        (figure["title"], *(ranged(**_row(run, figure)) for run in runs)) for figure in figures
    ]
    rows.append(("always the commonest class", *(number(run["majority_class_baseline"]) for run in runs)))
    warned = (
        [Notes([Span(one, "bad") for one in comparison["warnings"]], detail=True)] if comparison["warnings"] else []
    )
    plots = [
        charts.intervals(figure["title"], numbers, [tuple(_row(run, figure).values()) for run in runs])
        for figure in _plotted(comparison)
    ]
    in_brackets = Notes(
        [*(f"{said}." for said in _few(comparison)), f"In brackets: {'; '.join(_intervals(comparison))}."]
    )
    sections = [
        Section("figures", "Figures", [Notes(names, numbered=True), *warned, Table(("", *numbers), rows), in_brackets]),
        Section("plots", "Plots", [Charts(plots)]),
        Section("paired", "Paired differences", _paired(comparison) if paired else [Notes([Span(_NOT_PAIRED, "bad")])]),
    ]
    return Document("Runs side by side", "", sections, "skin-edge compare")


_NOT_PAIRED = "NOT THE SAME TEST IMAGES: no difference is computed, and none should be read from the columns above."


def _paired(comparison: _Comparison) -> list[Table]:
    paired = comparison["paired"]
    heads = [f"{number} minus 1, paired" for number in range(2, len(paired) + 2)]
    differences: list[tuple[Text, ...]] = [
        (
            figure["title"],
            *(
                ranged(row["difference"], row["interval"], "+.4f")
                for row in (pair["differences"][figure["key"]] for pair in paired)
            ),
        )
        for figure in comparison["figures"]
    ]
    tests = [pair["mcnemar"] for pair in paired]
    answers: list[tuple[Text, ...]] = [
        ("right only by 1", *(str(test["only_first_right"]) for test in tests)),
        ("right only by the other", *(str(test["only_this_right"]) for test in tests)),
        ("McNemar, p", *(number(test["p_value"], ".3g") for test in tests)),
    ]
    return [Table(("", *heads), [*differences, *answers])]


def _row(run: Mapping[str, Any], figure: Mapping[str, str]) -> dict[str, Any]:
    row = run["figures"][figure["key"]]
    return {"value": row["value"], "bounds": row["interval"]}


def _groups(run: Mapping[str, Any]) -> str:
    return f"{run['n_groups']} {group_kinds.unit(run['groups'])}" if run["n_groups"] is not None else "groups not known"


def _intervals(comparison: _Comparison) -> list[str]:
    """Over what they were drawn: one sentence where that is the same for all runs."""
    said = [group_kinds.intervals(run["groups"], str(comparison["bootstrap"])) for run in comparison["runs"]]
    if len(set(said)) == 1:
        return said[:1]
    return [f"{number}: {sentence}" for number, sentence in enumerate(said, 1)]


def _few(comparison: _Comparison) -> list[str]:
    """Which classes have too few images for their sensitivity to say much, of each run that has other counts."""
    said = {few.sentence(run["counts"]): number for number, run in reversed(list(enumerate(comparison["runs"], 1)))}
    told = sorted((number, sentence) for sentence, number in said.items() if sentence)
    return [sentence if len(said) == 1 else f"{number}: {sentence}" for number, sentence in told]


def table(comparison: _Comparison) -> str:
    """csv: one row per run and figure: run, figure, value, low, high, difference, difference_low, difference_high."""
    paired = {pair["name"]: pair["differences"] for pair in comparison["paired"]}
    columns = ("run", "figure", "value", "low", "high", "difference", "difference_low", "difference_high")
    rows: list[Sequence[object]] = []
    for run in comparison["runs"]:
        for figure in comparison["figures"]:
            row = run["figures"][figure["key"]]
            pair = paired.get(run["name"], {}).get(figure["key"], {"difference": None, "interval": None})
            cells = (row["value"], *(row["interval"] or ("", "")), pair["difference"], *(pair["interval"] or ("", "")))
            rows.append((run["name"], figure["key"], *("" if cell is None else cell for cell in cells)))
        rows.append((run["name"], "majority_class_baseline", run["majority_class_baseline"], *[""] * 5))
    return csv_files.text(columns, rows)


def _plotted(comparison: _Comparison) -> list[Mapping[str, str]]:
    """The figures on a scale from 0 to 1: all but the Brier score."""
    return [figure for figure in comparison["figures"] if figure["key"] != "brier"]


def _draw(comparison: _Comparison, out: Path) -> None:
    runs, shown = comparison["runs"], _plotted(comparison)
    with drawn.picture(out, 9, 1.6 + 0.32 * len(shown) * max(1, len(runs) / 2)) as picture:
        axis = picture.subplots()
        for number, run in enumerate(runs):
            offset = (number - (len(runs) - 1) / 2) * 0.7 / len(runs)
            colour = f"C{number % 10}"
            label = f"{number + 1}  {drawn.name(console.tail(run['name'], 50), 50)}"
            for i, figure in enumerate(shown):
                row = run["figures"][figure["key"]]
                if row["value"] is None:
                    continue
                if row["interval"]:
                    axis.plot(row["interval"], [i + offset] * 2, color=colour, linewidth=1.5)
                axis.plot(row["value"], i + offset, "o", color=colour, markersize=4, label=label)
                label = None
                if figure["key"] == "accuracy":
                    axis.plot(run["majority_class_baseline"], i + offset, "|", color=colour, markersize=9)
                axis.annotate(f"{row['value']:.3f}", (1.02, i + offset), fontsize=6, color=colour, va="center",
                              xycoords=("axes fraction", "data"))  # fmt: skip
        axis.set_yticks(range(len(shown)), [drawn.name(figure["title"]) for figure in shown], fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, 1)
        axis.grid(alpha=0.3, axis="x")
        notice = "" if comparison["paired"] else "NOT THE SAME TEST IMAGES. "
        axis.set_title(
            f"{notice}{'; '.join(_intervals(comparison))}\n| always the commonest class. {DISCLAIMER}", fontsize=7
        )
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08))
