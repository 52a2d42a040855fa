"""A data set's columns about patient and lesion -> the vectors of `edge_runtime/patient.py`, for training.

Blanks can say the label: a clinic may note the age of the patients it operates on and not of the others, so a network
that sees blanks learns who they were. What is done about it: a blank, a word for it and a dropped value are the same
zeros; feature dropout makes most of the blanks that the network sees blanks of any patient, and so trains it for an app
that does not know everything; and metrics.json says what is left of the figures with nothing known. What is not done:
the share of blanks per class is not made equal. Of 8,499 pictures of HAM10000 72 have no age (43 blank, 29 of age 0; 53
of them nevi, 2 melanomas) and 193 no site (160 nevi, 10 melanomas): nevi more often than their share, but few. Columns
that follow from the diagnosis are refused by name (`leaks.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime import patient
from ...edge_runtime.errors import DataError, MetadataError, UnknownNameError, UsageError
from ...edge_runtime.patient import BLANKS, FIELDS, NUMBERS, Category, Encoding, Number
from .. import streams
from .leaks import check_features

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"
"""In the place of names: every field that the data set says something about."""


def names_of(text: str) -> tuple[str, ...]:
    """What a user writes, "age,sex", "all" or "none", as a recipe's `metadata`. Raises as `checked`."""
    names = tuple(name.strip() for name in text.strip(" []()").split(",") if name.strip())
    return () if names == ("none",) else checked(names)


def checked(names: Iterable[str]) -> tuple[str, ...]:
    """The names in the order of FIELDS, once each. Raises UsageError for a leaking one, UnknownNameError for others."""
    names = tuple(names)
    if names == (ALL,):
        return names
    check_features(names)
    for name in names:
        if name not in FIELDS:
            raise UnknownNameError("metadata", name, (*FIELDS, ALL))
    return tuple(name for name in FIELDS if name in names)


def found_in(names: tuple[str, ...], frame: pd.DataFrame, data: str) -> tuple[str, ...]:
    """`names` with ALL resolved.

    Args:
        frame: The columns FIELDS, numbers or text.
        data: What it is called in a message.

    Raises:
        UsageError: Where a field, or with ALL every field, is blank for all pictures.
    """
    if not names:
        return names
    there = tuple(name for name in FIELDS if name in frame and bool(_is_known(frame[name], name).any()))
    if names == (ALL,):
        if not there:
            raise UsageError(f"--metadata: {data} has none of {', '.join(FIELDS)}: leave it out")
        return there
    missing = [name for name in names if name not in there]
    if missing:
        raise UsageError(
            f"--metadata {','.join(names)}: {data} does not say {', '.join(missing)}; it has: "
            f"{', '.join(there) or 'none of what can be asked for'}"
        )
    return names


def fitted(names: tuple[str, ...], training: pd.DataFrame) -> Encoding:
    """The encoding with the means, deviations and words of the training part, and of nothing else.

    Args:
        training: The rows of the training part.

    Raises:
        DataError: Where a field is blank in all of them, or a number is impossible. Means and deviations are rounded to
            six digits behind the point, as they are written.
    """
    fields: list[Number | Category] = []
    for name in names:
        known = [value for value in _parsed(training, name) if value is not None]
        if not known:
            raise DataError(f"{name} is blank for all training images: leave it out of --metadata")
        if name in NUMBERS:
            values = np.array(known, np.float64)
            std = round(float(values.std()), 6)
            fields.append(Number(name, round(float(values.mean()), 6), std if std > 0 else 1.0))
        else:
            fields.append(Category(name, tuple(sorted({str(word) for word in known}))))
    return Encoding(tuple(fields))


def missing_counts(names: tuple[str, ...], rows: pd.DataFrame) -> dict[str, int]:
    """How many rows do not say each field."""
    return {name: sum(value is None for value in _parsed(rows, name)) for name in names}


def _parsed(rows: pd.DataFrame, name: str) -> list[Any]:
    parse = patient.number if name in NUMBERS else patient.text
    parsed: list[Any] = []
    for value, image_id in zip(rows[name].tolist(), rows["image_id"].tolist(), strict=True):
        try:
            parsed.append(parse(name, None if value != value else value))
        except MetadataError as error:
            raise DataError(f"{image_id}: {str(error).removeprefix('cannot assess: ')}") from None
    return parsed


def _is_known(column: pd.Series, name: str) -> pd.Series:
    if column.dtype == object or name not in NUMBERS:
        return ~column.fillna("").astype(str).str.strip().str.lower().isin([*BLANKS, "0", "0.0"])
    return column.notna() & (column != 0)


@dataclass(frozen=True)
class Patients:
    """What is known of the patients of n pictures.

    Attributes:
        vectors: float32 [n, length], `Encoding.encode`'s.
        field_of: int64 [length], the field of each column.
        dropout: Of `dropped`, 0..1.
    """

    vectors: npt.NDArray[np.float32]
    field_of: npt.NDArray[np.int64]
    dropout: float

    def take(self, positions: npt.NDArray[np.int64]) -> Patients:
        return replace(self, vectors=self.vectors[positions])

    def with_all_missing(self) -> Patients:
        """The same with nothing known."""
        return replace(self, vectors=np.zeros_like(self.vectors))

    def with_gaps(self, seed: int) -> Patients:
        """The same after one draw of `dropped`: for calibration, which should see what the device will."""
        everyone = np.arange(len(self.vectors))
        return replace(self, vectors=self.dropped(everyone, streams.generator(seed, streams.Stream.METADATA_GAPS)))

    def dropped(self, positions: npt.NDArray[np.int64], generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """Feature dropout: float32 [m, length] for m positions, in which fields are blank that are known.

        Each field of each picture with probability `dropout`, and besides all fields of a picture with the same.
        """
        drawn = generator.random((len(positions), int(self.field_of.max()) + 2)) >= self.dropout
        kept = drawn[:, 1:] & drawn[:, :1]
        return self.vectors[positions] * kept[:, self.field_of].astype(np.float32)


def encoded(encoding: Encoding, rows: pd.DataFrame, dropout: float) -> Patients:
    """The vectors of a split's rows, by the device's own function. Raises DataError where a number is impossible."""
    vectors = np.zeros((len(rows), encoding.length), np.float32)
    columns = [rows[name].tolist() for name in encoding.names]
    for position, values in enumerate(zip(*columns, strict=True)):
        try:
            vectors[position] = encoding.of_row(dict(zip(encoding.names, values, strict=True)))
        except MetadataError as error:
            message = str(error).removeprefix("cannot assess: ")
            raise DataError(f"{rows['image_id'].iloc[position]}: {message}") from None
    return Patients(vectors, encoding.columns, dropout)
