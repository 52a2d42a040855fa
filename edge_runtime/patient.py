"""What is known of the patient and the lesion beside the picture -> the network's second input.

The one definition: training encodes the columns of a data set with it and the device what an app gives, so the two
cannot differ. A field that is not known is all zeros, whatever the reason: blank, left out, or a word for it.

| field | becomes |
|---|---|
| a number | clip((value - mean) / std, -3, 3) / 3, and 1 as a sign that it is known |
| a category | 1 in the place of its word, 0 in those of the others |

All values are in [-1, 1], so one scale of the int8 network serves them all. mean, std and the words are those of the
training part.

0 counts as not known: data sets write it so (the children of age 0 of HAM10000 have adults' lesions).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import MetadataError, ModelFileError

if TYPE_CHECKING:
    import numpy.typing as npt

CLIP = 3.0  # standard deviations

NUMBERS = {"age": ("years", 120.0), "diameter_mm": ("mm", 500.0)}
"""Numbers that can be fields: the unit, and what a value is never above."""

FIELDS = ("age", "sex", "site", "diameter_mm", "image_type")
"""All that can be fields, in the order in which they are encoded; those that are not NUMBERS are categories."""

BLANKS = frozenset({"", "unknown", "unk", "na", "n/a", "nan", "none", "null"})
"""What people write for "not known"; case does not matter."""


@dataclass(frozen=True)
class Number:
    """A field that holds a number.

    Attributes:
        mean, std: Of the known values of the training part, in the unit of NUMBERS; std is above 0.
    """

    name: str
    mean: float
    std: float

    @property
    def size(self) -> int:
        return 2

    @property
    def known(self) -> str:
        """What may be given, for people."""
        unit, largest = NUMBERS[self.name]
        return f"a number above 0, at most {largest:g} {unit}"

    def parsed(self, given: object) -> float | None:
        """The number, None where it is not known. Raises MetadataError where it is none, or impossible."""
        return number(self.name, given)

    def put(self, value: Any, into: npt.NDArray[np.float32]) -> None:
        into[0] = min(max((value - self.mean) / self.std, -CLIP), CLIP) / CLIP
        into[1] = 1.0

    def to_dict(self) -> dict[str, Any]:
        unit, largest = NUMBERS[self.name]
        return {
            "name": self.name,
            "kind": "number",
            "unit": unit,
            "maximum": largest,
            "mean": self.mean,
            "std": self.std,
            "clip": CLIP,
        }


@dataclass(frozen=True)
class Category:
    """A field that holds one of some words.

    Attributes:
        words: In lower case, those that the training part holds.
    """

    name: str
    words: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.words)

    @property
    def known(self) -> str:
        return ", ".join(self.words)

    def parsed(self, given: object) -> str | None:
        """The word, None where it is not known. Raises MetadataError where it is not one of `words`."""
        word = text(self.name, given)
        if word is not None and word not in self.words:
            raise MetadataError(
                f"cannot assess: unsupported {self.name} {_quoted(given)}; expected one of {self.known}"
            )
        return word

    def put(self, value: Any, into: npt.NDArray[np.float32]) -> None:
        into[self.words.index(value)] = 1.0

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "kind": "category", "categories": list(self.words)}


@dataclass(frozen=True)
class Encoding:
    """How a network wants its metadata.

    Attributes:
        fields: In the order of the vector, each with its own columns.
    """

    fields: tuple[Number | Category, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @cached_property
    def length(self) -> int:
        """Of the vector."""
        return sum(field.size for field in self.fields)

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        """int64 [length]: the position in `fields` that each number of the vector belongs to."""
        return np.repeat(np.arange(len(self.fields)), [field.size for field in self.fields])

    def encode(self, metadata: Mapping[str, object] | None) -> npt.NDArray[np.float32]:
        """Field -> value, in any order -> float32 [length] in [-1, 1]. None, and an empty mapping, know nothing.

        A value of None, "" or one of BLANKS is not known; so is the number 0. Numbers may be given as text. Case and
        blanks around a word do not matter.

        Raises MetadataError, one line that names what is known, for a field or a word that is not among the model's,
        and for a number that cannot be (age 200, NaN): the case cannot be assessed, and nothing is assumed.
        """
        vector = np.zeros(self.length, np.float32)
        if not metadata:
            return vector
        for name in metadata:
            if name not in self.names:
                raise MetadataError(
                    f"cannot assess: unknown metadata {_quoted(name)}; this model knows: {', '.join(self.names)}"
                )
        start = 0
        for field in self.fields:
            value = field.parsed(metadata.get(field.name))
            if value is not None:
                field.put(value, vector[start : start + field.size])
            start += field.size
        return vector

    def of_row(self, row: Mapping[str, object]) -> npt.NDArray[np.float32]:
        """As `encode`, for a row of a data set: other columns are passed over, and so is a word that is not known.

        The training part decides which words there are, so the other parts may hold more; NaN is blank.
        Raises MetadataError where a number is none, or impossible.
        """
        given = {field.name: row.get(field.name) for field in self.fields}
        for field in self.fields:
            value = given[field.name]
            blank = isinstance(value, float) and math.isnan(value)
            if blank or (isinstance(field, Category) and text(field.name, value) not in field.words):
                given[field.name] = None
        return self.encode(given)

    def to_list(self) -> list[dict[str, Any]]:
        """JSON- and YAML-ready; `from_list` reads it."""
        return [field.to_dict() for field in self.fields]


def from_list(written: Any) -> Encoding:
    """`Encoding.to_list`'s, checked, for it may come from a file. Raises ModelFileError where it is malformed."""
    if not isinstance(written, list) or not written:
        raise _malformed("no list of fields")
    entries: list[Any] = written  # pyright: ignore[reportUnknownVariableType]
    fields = tuple(_field(entry) for entry in entries)
    if len({field.name for field in fields}) != len(fields):
        raise _malformed("a field occurs twice")
    return Encoding(fields)


def number(name: str, given: object) -> float | None:
    """One of NUMBERS, None where it is not known. Raises MetadataError where it is not a number, or impossible."""
    if isinstance(given, str):
        given = given.strip().lower()
        if given in BLANKS:
            return None
    elif given is None:
        return None
    try:
        if isinstance(given, bool):
            raise ValueError
        value = float(given)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    unit, largest = NUMBERS[name]
    if not 0 <= value <= largest:
        raise MetadataError(f"cannot assess: {name} {_quoted(given)} is not a number from 0 to {largest:g} {unit}")
    return value or None


def text(name: str, given: object) -> str | None:
    """A word in lower case, None where it is not known. Raises MetadataError where it is not text."""
    if given is None:
        return None
    if not isinstance(given, str):
        raise MetadataError(f"cannot assess: {name} {_quoted(given)} is not text")
    word = given.strip().lower()
    return None if word in BLANKS else word


def _field(entry: Any) -> Number | Category:
    if not isinstance(entry, dict):
        raise _malformed("a field is not an object")
    fields: dict[str, Any] = entry  # pyright: ignore[reportUnknownVariableType]
    name, kind = fields.get("name"), fields.get("kind")
    if name not in FIELDS or kind != ("number" if name in NUMBERS else "category"):
        raise _malformed(f"field {_quoted(name)} of kind {_quoted(kind)} is not known to this version of skin-edge")
    if kind == "number":
        field: Number | Category = Number(name, _finite(fields.get("mean")), _finite(fields.get("std")))
        if field.std <= 0:
            raise _malformed(f"the std of {name} is not above 0")
    else:
        field = Category(name, _words(name, fields.get("categories")))
    if field.to_dict() != fields:  # another clip, or a step that is not done here
        raise _malformed(f"the encoding of {name} is not supported by this version of skin-edge")
    return field


def _words(name: str, words: Any) -> tuple[str, ...]:
    if not isinstance(words, list) or not words:
        raise _malformed(f"{name} has no categories")
    listed: list[Any] = words  # pyright: ignore[reportUnknownVariableType]
    if not all(isinstance(word, str) and word.isprintable() and text(name, word) == word for word in listed):
        raise _malformed(f"a category of {name} is not a word in lower case")
    if len(set(listed)) != len(listed):
        raise _malformed(f"a category of {name} occurs twice")
    return tuple(listed)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -1e300 < value < 1e300:
        raise _malformed("a mean or std is not a number")
    return float(value)


def _malformed(why: str) -> ModelFileError:
    return ModelFileError(f"its description of the metadata is not usable: {why}")


def _quoted(given: object) -> str:
    said = "".join(letter for letter in str(given) if letter.isprintable())
    return f"'{said if len(said) <= 60 else said[:60] + '...'}'"


def parse_pairs(texts: Sequence[str]) -> dict[str, str]:
    """What a command line says: ("age=45,sex=female", "site=back") -> {"age": "45", ...}.

    Raises MetadataError where a part is not a NAME=VALUE, or a name occurs twice.
    """
    found: dict[str, str] = {}
    for part in (part for given in texts for part in given.split(",") if part.strip()):
        name, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not name:
            raise MetadataError(f"--metadata {_quoted(part)}: write NAME=VALUE, such as --metadata age=45,sex=female")
        if name in found:
            raise MetadataError(f"--metadata: {name} is given twice")
        found[name] = value
    return found
