"""What a suite of distortions costs, as blocks of a report: the means first, then each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...edge_runtime.wording import counted
from ..stats import few
from .document import Block, Notes, Span, Table, Text, number

_FIGURES = (
    ("macro_auc", "macro AUC", ".3f"),
    ("melanoma_auc", "melanoma AUC", ".3f"),
    ("malignant_auc", "malignant AUC", ".3f"),
    ("balanced_accuracy", "balanced accuracy", ".3f"),
    ("agreement", "same class", ".1%"),
    ("refused", "refused", ".1%"),
    ("agreement_or_refused", "same or refused", ".1%"),
)

_BY_KIND = ("macro_auc", "balanced_accuracy", "agreement", "refused", "agreement_or_refused")

_Result = Mapping[str, Any]


def blocks(found: _Result, begin: str = "") -> list[Block]:
    """What `measure_robustness` found.

    Args:
        found: Of one model.
        begin: What the first sentence and the captions begin with: "int8: " where there are several models, else "".
    """
    known = [(key, title, form) for key, title, form in _FIGURES if _is_known(found, key)]
    turned = [_turned(found, begin)] if found["positives"] else []
    refused = [_refused(found, begin)] if any(row["reasons"] for row in (found["clean"], *found["rows"])) else []
    tables = [_means(found, known, begin), *turned, _by_kind(found, known, begin), *refused]
    return [Notes(_notes(found, begin)), *tables, _all(found, known, begin), _kinds(found)]


def _is_known(found: _Result, key: str) -> bool:
    return any(row.get(key) is not None for row in (found["clean"], *found["rows"]))


def _notes(found: _Result, begin: str) -> list[Text]:
    kinds = len({row["kind"] for row in found["rows"]})
    which = "all images" if found["n"] + found["failed"] == found["of"] else f"of {found['of']}, of each class as many"
    notes: list[Text] = [
        f"{begin}{counted(found['n'], 'image')} ({which}; seed {found['seed']}) under {kinds} kinds of distortion, "
        f"suite {found['suite']}. Strength 1 is what happens every day, 2 a bad series, 3 beyond use.",
        "AUC, balanced accuracy and the same class are of all answers, whether refused or not.",
    ]
    if found["n"] + found["failed"] < found["of"]:
        notes.append("Each counts as many of its class as it stands for: the figures are estimates for all of them.")
    if not found["assesses"]:
        notes.append("The file has no limits of assessment, so it refuses nothing.")
    if found["reduced"]:
        notes.append(f"{counted(found['reduced'], 'image')} of more than 1.5 megapixels reduced to as many first.")
    if found["failed"]:
        notes.append(f"{counted(found['failed'], 'image')} could not be read and left out.")
    if said := few.sentence(found["positives"]):
        notes.append(f"{said}.")
    return notes


def _strengths(name: str) -> str:
    return f"strength{'s' if ' ' in name else ''} {name}"


def _cells(row: _Result, known: Sequence[tuple[str, str, str]]) -> list[Text]:
    return [number(row.get(key), form) for key, _, form in known]


def _means(found: _Result, known: Sequence[tuple[str, str, str]], begin: str) -> Table:
    intervals: _Result = found["clean"]["intervals"]
    ends = [
        Span("{:.3f} to {:.3f}".format(*bounds), "whole") if (bounds := intervals.get(key)) else "-"
        for key, _, _ in known
    ]
    rows: list[Sequence[Text]] = [("undistorted", *_cells(found["clean"], known))]
    rows += [("- 95% interval", *ends)] if intervals else []
    rows += [(_strengths(name), *_cells(row, known)) for name, row in found["means"].items()]
    return Table(("", *(title for _, title, _ in known)), rows, f"{begin}Mean over all kinds".strip())


def _turned(found: _Result, begin: str) -> Table:
    means = found["means"]
    rows = [
        (name, str(positives), *(number(row["turned"][name], ".1%") for row in means.values()))
        for name, positives in found["positives"].items()
    ]
    caption = f"{begin}Images of a threshold's classes that turn from refer to below and are not refused, mean"
    return Table(("threshold", "images", *map(_strengths, means)), rows, caption)


def _by_kind(found: _Result, known: Sequence[tuple[str, str, str]], begin: str) -> Table:
    """A row for each kind, of which a cell holds all strengths."""
    kinds: dict[str, list[_Result]] = {}
    for row in found["rows"]:
        kinds.setdefault(row["kind"], []).append(row)
    shown = [(key, title, ".2f" if form == ".3f" else ".0%") for key, title, form in known if key in _BY_KIND]
    rows: list[Sequence[Text]] = [
        (kind, *(_side_by_side([row[key] for row in of], form) for key, _, form in shown), _largest(of))
        for kind, of in kinds.items()
    ]
    columns = ("distortion", *(title for _, title, _ in shown), "most turned")
    if not found["positives"]:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    return Table(columns, rows, f"{begin}Each kind, at strengths 1 / 2 / 3; most turned: at one of the thresholds")


def _largest(rows: Sequence[_Result]) -> Text:
    shares = [[share for share in row["turned"].values() if share is not None] for row in rows]
    return _side_by_side([max(one, default=None) for one in shares], ".0%")


def _side_by_side(values: Sequence[float | None], form: str) -> Text:
    return Span(" / ".join(str(number(value, form)) for value in values), "whole")


def _all(found: _Result, known: Sequence[tuple[str, str, str]], begin: str) -> Table:
    names = list(found["positives"])
    rows = [
        (
            f"{row['kind']} {row['strength']}",
            *_cells(row, known),
            *(number(row["turned"][name], ".1%") for name in names),
        )
        for row in found["rows"]
    ]
    columns = ("distortion", *(title for _, title, _ in known), *(f"turned, {name}" for name in names))
    return Table(columns, rows, f"{begin}All figures", detail=True)


def _refused(found: _Result, begin: str) -> Table:
    """Whatever is refused at all, and why: an image may have several reasons."""
    rows = [
        (name, ", ".join(f"{reason.replace('_', ' ')} {share:.1%}" for reason, share in row["reasons"].items()))
        for name, row in (("undistorted", found["clean"]), *((_named(row), row) for row in found["rows"]))
        if row["reasons"]
    ]
    return Table(("distortion", "refused as"), rows, f"{begin}Reasons", detail=True, words=True)


def _named(row: _Result) -> str:
    return f"{row['kind']} {row['strength']}"


def _kinds(found: _Result) -> Table:
    kinds: dict[str, list[str]] = {}
    for row in found["rows"]:
        kinds.setdefault(row["kind"], [row["what"]]).append(row["parameter"])
    columns = ("distortion", "what it is", "strength 1", "2", "3")
    return Table(columns, [(kind, *said) for kind, said in kinds.items()], "The suite", detail=True, words=True)
