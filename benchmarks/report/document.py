"""What a report says, apart from how it is printed: sections of notes, tables, charts and pictures.

A report is made once from its figures. `terminal`, `markdown` and `page` print it; each of them escapes all texts in
its own language, so that a text here is what somebody wrote, unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from .charts import Chart

HEADLINES = {
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "macro_auc": "macro AUC",
}
"""What `metrics.HEADLINES` are called in every report, in this order."""


@dataclass(frozen=True)
class Figure:
    """A number. form: how it is printed (format specification). path: where it is in the results (JSON pointer,
    RFC 6901, without the first slash), "" where that is not said. missing: what is printed for None.
    """

    value: float | None
    form: str = ".3f"
    path: str = ""
    missing: str = "-"

    def __str__(self) -> str:
        return self.missing if self.value is None else format(self.value, self.form)


@dataclass(frozen=True)
class Span:
    """A text that looks different. kind: "strong"; "good", "bad", "soft"; "whole", never broken over two lines."""

    text: Text
    kind: str


Text: TypeAlias = "str | Figure | Span | tuple[Text, ...]"


@dataclass(frozen=True)
class Notes:
    """Sentences, or names of numbered columns. detail: for the page and Markdown, not for the terminal."""

    lines: Sequence[Text]
    numbered: bool = False
    detail: bool = False


@dataclass(frozen=True)
class Table:
    """columns: titles. rows: one cell per column, the first of which names the row. detail: as of `Notes`.

    most: rows on the terminal; more: what it says of the others. shares: 0..1 per cell but the first, its shade.
    words: the cells are sentences, though all of a column may begin with a number.
    """

    columns: Sequence[Text]
    rows: Sequence[Sequence[Text]]
    caption: Text = ""
    detail: bool = False
    most: int | None = None
    more: str = "all are on the page"
    shares: Sequence[Sequence[float]] = ()
    words: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Whether a column holds numbers and nothing else, per column."""
        if self.words:
            return [False for _ in self.columns]
        cells = [[plain(cell) for cell in column] for column in zip(*self.rows, strict=True)]
        found = [all(not text or text[0] in "+-0123456789" for text in column) for column in cells]
        return [bool(i) and one for i, one in enumerate(found)] or [False for _ in self.columns]


@dataclass(frozen=True)
class Charts:
    """Charts beside each other, for the page alone. small: many of them."""

    charts: Sequence[Chart]
    small: bool = False


@dataclass(frozen=True)
class Picture:
    """path: of the file, read when the page is printed. name: its first line. lines: below it."""

    path: str
    name: str
    lines: Sequence[Text]
    alternative: str


@dataclass(frozen=True)
class Pictures:
    """A sheet of pictures, for the page alone. title: above them."""

    pictures: Sequence[Picture]
    title: Text = ""
    more: str = ""


@dataclass(frozen=True)
class Code:
    """Lines for a shell, or of a program, to be copied as they are."""

    lines: Sequence[str]


Block: TypeAlias = "Notes | Table | Charts | Pictures | Code"


@dataclass(frozen=True)
class Section:
    """name: for links. detail: as of `Notes`."""

    name: str
    title: Text
    blocks: Sequence[Block]
    detail: bool = False


@dataclass(frozen=True)
class Document:
    """program: what made it, "skin-edge bench" say. after: what stands below all sections, on the terminal alone."""

    title: str
    subtitle: str
    sections: Sequence[Section]
    program: str
    after: Sequence[str] = ()


def plain(text: Text) -> str:
    """The text alone."""
    if isinstance(text, tuple):
        return "".join(map(plain, text))
    return plain(text.text) if isinstance(text, Span) else str(text)


def facts(rows: Iterable[tuple[Text, Text]]) -> Table:
    """A table of (name, value) rows without a header; further values of one name have the name ""."""
    return Table(("", ""), list(rows), words=True)


def strong(text: Text) -> Span:
    return Span(text, "strong")


def number(value: float | None, form: str = ".3f", missing: str = "-") -> Text:
    return Figure(value, form, missing=missing)


def ranged(value: float | None, bounds: Sequence[float] | None, form: str = ".3f", missing: str = "-") -> Text:
    """A figure and, where there is one, its interval: "0.812 (0.780 to 0.841)".

    Args:
        value: The figure; None where it is undefined.
        bounds: (low, high) of its interval; None without.
        form: Format specification.
        missing: What is written for an undefined figure.
    """
    if value is None or bounds is None:
        return number(value, form, missing)
    return (
        number(value, form),
        " ",
        Span(("(", number(bounds[0], form), " to ", number(bounds[1], form), ")"), "whole"),
    )


class Results:
    """Makes texts of results in JSON, each figure with its place in them. missing: what is printed for None."""

    def __init__(self, results: Mapping[str, Any], missing: str = "not defined"):
        self.results, self.missing = results, missing

    def at(self, *path: str | int) -> Any:
        value: Any = self.results
        for key in path:
            value = value[int(key) if isinstance(value, list) else key]
        return value

    def __call__(self, *path: str | int, form: str = ".3f") -> Figure:
        pointer = "/".join(str(key).replace("~", "~0").replace("/", "~1") for key in path)
        return Figure(self.at(*path), form, pointer, self.missing)

    def interval(self, *path: str | int, form: str = ".3f") -> Text:
        """ " (low to high)"; "" where there is none."""
        if self.at(*path) is None:
            return ""
        low, high = (self(*path, end, form=form) for end in (0, 1))
        return (" ", Span(("(", low, " to ", high, ")"), "whole"))

    def ranged(self, part: Sequence[str | int], name: str, form: str = ".3f") -> Text:
        """A figure of a part, and its interval from the part's "intervals"."""
        return (self(*part, name, form=form), self.interval(*part, "intervals", name, form=form))

    def text(self, template: str, /, at: Sequence[str | int] = (), **words: Text) -> Text:
        """A sentence. at: the place in the results that its fields start from.

        "{n:,}" in it is what stands there under "n", a figure in that form or a word; "{auc:~.2f}" is the figure with
        its interval; "{name}" is words["name"]. "**" before and after a part of the sentence makes it `strong`. The
        words are not looked into.
        """
        pieces: list[Text] = []
        for part, bold in _parts(template):
            literal, *found = _FIELD.split(part)
            inside: list[Text] = [literal]
            for name, form, rest in zip(found[::3], found[1::3], found[2::3], strict=True):
                inside += [words[name] if name in words else self._field((*at, *name.split("/")), form or ""), rest]
            shown = tuple(one for one in inside if one != "")
            pieces += [strong(shown)] if bold else shown
        return pieces[0] if len(pieces) == 1 else tuple(pieces)

    def cells(self, at: Sequence[str | int], *templates: str) -> list[Text]:
        """`text` of each template: the cells of a row."""
        return [self.text(template, at) for template in templates]

    def _field(self, path: Sequence[str | int], form: str) -> Text:
        if isinstance(word := self.at(*path), str):
            return word
        if form.startswith("~"):
            return self.ranged(path[:-1], str(path[-1]), form[1:] or ".3f")
        return self(*path, form=form or ".3f")


_FIELD = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")


def _parts(template: str) -> list[tuple[str, bool]]:
    return [(part, bool(i % 2)) for i, part in enumerate(template.split("**")) if part]
