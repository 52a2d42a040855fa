"""What a model file refuses, and its sets of possible classes (`refusals.figures`), as sections of any report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

from ..stats.refusals import WAYS
from . import charts
from .document import Block, Charts, Notes, Results, Section, Table, Text

OF_ALL = "Every other figure of accuracy here is of all images, whether refused or not."
"""Beside the share refused: or refusing the hard images would look like answering better."""

OF_SINGLE = "Intervals of shares refused and of coverage are Wilson's, of single images."
"""Beside intervals that are from resamples of whole lesions."""

_CAUTION = (
    "Such coverage holds for images like those of the validation part, on which the sets were fitted, and for no "
    "others: from another clinic or camera it can be anything."
)
_WAYS = {"assessed": "left out", "referred": "referred", "lost": "lost"}
_WAYS_SAID = (
    "At the frozen thresholds refused images are left out; or referred, for somebody looks at the patient; or lost, "
    "for nobody does: a malignant one is missed, and another is not cleared either."
)


class Shown(NamedTuple):
    """A model in a report. name: "" where it is the only one. show: the results. at: where in them its figures are.

    aside: whether its own tables are for the page and Markdown alone, as a reference's.
    """

    name: str
    show: Results
    at: Sequence[str | int]
    aside: bool = False

    def has(self, key: str) -> bool:
        return key in self.show.at(*self.at)

    @property
    def begin(self) -> str:
        return f"{self.name}: " if self.name else ""

    def said(self, sentence: str, *path: str | int) -> Text:
        """A sentence about this model, with figures as `Results.text` has them."""
        if not self.name:
            return self.text(f"{sentence[:1].upper()}{sentence[1:]}", *path)
        return (self.begin, self.text(sentence, *path))  # a name is not looked into

    def figures(self, *path: str | int) -> Any:
        return self.show.at(*self.at, *path)

    def share(self, *path: str | int, value: str = "share", interval: str = "interval") -> Text:
        """With its interval."""
        found = self.show(*self.at, *path, value, form=".1%")
        return (found, self.show.interval(*self.at, *path, interval, form=".1%"))

    def counted(self, *path: str | int) -> Text:
        return self.show(*self.at, *path, form=",")

    def text(self, template: str, *path: str | int) -> Text:
        return self.show.text(template, (*self.at, *path))


def headlines(columns: Sequence[Shown]) -> list[tuple[Text, ...]]:
    """Rows for the table of a summary, with a cell per column; none where no file has limits or sets.

    Args:
        columns: Of the table, all of them.
    """
    rows: list[tuple[Text, ...]] = []
    if any(one.has("assessment") for one in columns):
        rows.append(("refused", *(one.share("assessment") if one.has("assessment") else "-" for one in columns)))
        if any(map(_malignant, columns)):
            cells = [one.share("assessment", "malignant") if _malignant(one) else "-" for one in columns]
            rows.append(("refused, malignant", *cells))
    if any(one.has("possible") for one in columns):
        cells = [one.share("possible", value="coverage") if one.has("possible") else "-" for one in columns]
        rows.append(("coverage of possible classes", *cells))
    return rows


def sections(columns: Sequence[Shown]) -> list[Section]:
    """ "Refused images" and "Possible classes", of the models whose files have them; none where no file has.

    Args:
        columns: The models, in the order of the report.
    """
    refusing = [one for one in columns if one.has("assessment")]
    setting = [one for one in columns if one.has("possible")]
    found: list[Section] = []
    if refusing:
        notes = [*map(_refuses, refusing), OF_ALL, _WAYS_SAID, OF_SINGLE]
        tables = [_refused(refusing), _reasons(refusing), *_thresholds(refusing), *_by_group(refusing)]
        found.append(Section("assessment", "Refused images", [Notes(notes), *tables]))
    if setting:
        notes = [*map(_covers, setting), *(note for one in setting for note in _below(one)), _CAUTION]
        notes += [] if refusing else [OF_SINGLE]
        codes = [code for code, row in setting[0].figures("possible", "per_class").items() if row["n"]]
        bars = [
            (one.name or "coverage", kind, [_coverage_of(one, code) for code in codes])
            for one, kind in zip(setting, cycle(charts.KINDS), strict=False)
        ]
        drawn = Charts([charts.bars("Coverage per class", codes, bars)])
        found.append(Section("possible", "Possible classes", [Notes(notes), drawn, *_sets(setting, codes)]))
    return found


def plain_words(one: Shown) -> list[Text]:
    """Sentences for a reader who is no engineer; none where the file has neither.

    Args:
        one: The model.
    """
    lines: list[Text] = []
    if one.has("assessment"):
        of = ", and {malignant/share:.1%} of those of malignant lesions" if _malignant(one) else ""
        said = f"**It refuses** {{share:.1%}} of the pictures as no picture that it can assess{of}. "
        lines.append(one.text(said + "The figures here are of all pictures, those included.", "assessment"))
    if one.has("possible"):
        said = (
            "**Which classes it calls possible:** the right one is among them for {coverage:.1%} of the pictures, of "
            "{mean_size:.2f} on average. With pictures from another clinic or camera that can be anything."
        )
        lines.append(one.text(said, "possible"))
    return lines


def _malignant(one: Shown) -> Mapping[str, Any] | None:
    """None as well where no image is of such a class."""
    found = one.figures("assessment", "malignant") if one.has("assessment") else None
    return found if found and found["n"] else None


def _refuses(one: Shown) -> Text:
    of = "; none is of a class known to be malignant."
    if _malignant(one):
        of = "; of the {malignant/n:,} of malignant classes {malignant/refused:,}, {malignant/share:.1%}."
    return one.said("{refused:,} of {n:,} images refused, {share:.1%}" + of, "assessment")


def _heads(columns: Sequence[Shown]) -> list[str]:
    return ["refused", "share"] if len(columns) == 1 else [one.name for one in columns]


def _cells(columns: Sequence[Shown], *path: str | int) -> list[Text]:
    """Below `_heads`: of several models the share alone, or a terminal would be too narrow for two."""
    if len(columns) == 1:
        return [columns[0].counted(*path, "refused"), columns[0].share(*path)]
    return [one.share(*path) for one in columns]


def _refused(columns: Sequence[Shown]) -> Table:
    first = columns[0]
    malignant: list[str] = (_malignant(first) or {"classes": []})["classes"]
    places: list[tuple[Text, tuple[str, ...]]] = [("all images", ())]
    places += [("all malignant", ("malignant",))] if malignant else []
    places += [
        (f"{code}, malignant" if code in malignant else code, ("per_class", code))
        for code, row in first.figures("assessment", "per_class").items()
        if row["n"]
    ]
    rows: list[Sequence[Text]] = [
        (name, first.counted("assessment", *path, "n"), *_cells(columns, "assessment", *path)) for name, path in places
    ]
    return Table(("", "images", *_heads(columns)), rows, "Share refused")


def _reasons(columns: Sequence[Shown]) -> Table:
    """A file need not have the reasons of another."""
    places = [{row["reason"]: i for i, row in enumerate(one.figures("assessment", "reasons"))} for one in columns]
    texts = {row["reason"]: row["text"] for one in columns for row in one.figures("assessment", "reasons")}
    rows: list[Sequence[Text]] = []
    for code, text in texts.items():
        cells: list[Text] = []
        for one, place in zip(columns, places, strict=True):
            cells += _cells([one], "assessment", "reasons", place[code]) if code in place else ["-", "-"]
        rows.append((text, *(cells if len(columns) == 1 else cells[1::2])))
    return Table(("reason", *_heads(columns)), rows, "Why; an image can have several reasons")


def _thresholds(columns: Sequence[Shown]) -> list[Block]:
    tables: list[Block] = []
    for one in columns:
        rows: list[Sequence[Text]] = []
        for i, _ in enumerate(one.figures("assessment", "operating_points")):
            at = ("assessment", "operating_points", i)
            for way in WAYS:
                cells = [one.text(f"{{{key}:~}}", *at, way) for key in ("sensitivity", "specificity")]
                rows.append((one.text("{target}-{wanted:.2f}", *at), _WAYS[way], *cells))
        if rows:
            caption = one.said("at frozen thresholds, refused images counted in three ways")
            tables.append(Table(("threshold", "refused are", "sensitivity", "specificity"), rows, caption, one.aside))
    return tables


def _by_group(columns: Sequence[Shown]) -> list[Block]:
    tables: list[Block] = []
    heads = _heads(columns)
    for attribute, groups in columns[0].figures("assessment", "subgroups").items():
        rows: list[Sequence[Text]] = []
        for i, row in enumerate(groups):
            at = ("assessment", "subgroups", attribute, i)
            cells = _cells(columns, *at) if not row["too_few"] else ["too few images", *[""] * (len(heads) - 1)]
            rows.append((row["group"], columns[0].counted(*at, "n"), *cells))
        name = attribute.replace("_", " ")
        tables.append(Table((name, "images", *heads), rows, f"Share refused, by {name}", detail=True))
    return tables


def _covers(one: Shown) -> Text:
    return one.said(
        "the file promises that for {promised:.0%} of each class's images the true class is among those that it calls "
        "possible. A set has {mean_size:.2f} classes on average, one alone for {singleton_share:.1%} of the images.",
        "possible",
    )


def _below(one: Shown) -> list[Text]:
    """A class's name is not looked into either."""
    short = ", ".join(one.figures("possible", "below"))
    return [(one.said("less than promised, beyond chance: "), f"{short}.")] if short else []


def _coverage_of(one: Shown, code: str) -> float | None:
    return one.figures("possible", "per_class", code)["coverage"]


def _sets(columns: Sequence[Shown], codes: Sequence[str]) -> list[Block]:
    """Coverage of all images, and without the refused ones where the file has limits."""
    tables: list[Block] = []
    for one in columns:
        places: list[tuple[Text, tuple[str, ...]]] = [("all", ()), *((c, ("per_class", c)) for c in codes)]
        parts: list[tuple[str, tuple[str, ...]]] = [("coverage", ("possible",))]
        if one.figures("possible").get("assessed"):
            parts.append(("coverage, not refused", ("possible", "assessed")))
        rows: list[Sequence[Text]] = [
            (
                name,
                one.counted("possible", *path, "n"),
                *(one.share(*part, *path, value="coverage") for _, part in parts),
                one.show(*one.at, "possible", *path, "mean_size", form=".2f"),
            )
            for name, path in places
        ]
        titles = ("class", "images", *(title for title, _ in parts), "mean size")
        tables.append(Table(titles, rows, one.said("how often the true class is in the set"), one.aside))
        tables.append(_size(one, [part for _, part in parts]))
    return tables


def _size(one: Shown, parts: Sequence[tuple[str, ...]]) -> Table:
    names = ("all images", "not refused")
    rows: list[Sequence[Text]] = [
        (
            name,
            one.counted(*part, "n"),
            (
                one.show(*one.at, *part, "mean_size", form=".2f"),
                one.show.interval(*one.at, *part, "mean_size_interval", form=".2f"),
            ),
            one.share(*part, value="singleton_share", interval="singleton_interval"),
        )
        for name, part in zip(names, parts, strict=False)
    ]
    return Table(("sets", "images", "mean size", "of one class"), rows, detail=True)
