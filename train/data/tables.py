"""Reading csv files of run folders and of people: the columns that are needed as text, or one line of what is wrong."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...benchmarks.stats.subgroups import PICTURE_SET
from ...edge_runtime import csv_files
from ...edge_runtime.errors import DataError, UsageError

# Of history.csv.
HISTORY_COLUMNS = (
    *("epoch", "learning_rate", "loss", "accuracy"),
    *("val_loss", "val_accuracy", "val_balanced_accuracy", "val_macro_auc"),
)

# What a data set says beside them (`layouts.Dataset`). split.csv carries those of them that hold anything, behind.
EXTRA_COLUMNS = (
    *("group_kind", "patient", "lesion", "age", "sex", "site", "diameter_mm", "image_type", "malignant"),
    PICTURE_SET,
)

_MOST_NUMBERS = 5000  # columns of numbers


def header(path: str | Path) -> list[str]:
    """The names in the first line. Raises UsageError where there is no such file, DataError where it is not csv."""
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            return next(csv.reader(file), [])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as csv: {error}") from None


def text(frame: pd.DataFrame, **how: Any) -> str:
    """The frame as csv without its index, as `read` reads it: no cell is a formula, and one with a carriage return is
    quoted too."""
    texts = [name for name in frame.columns if not pd.api.types.is_numeric_dtype(frame[name])]
    frame = frame.assign(**{name: [csv_files.safe(cell) for cell in frame[name]] for name in texts})
    written = frame.to_csv(index=False, lineterminator="\n", **how)
    if "\r" in written:
        written = frame.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC, **how)
    return written


def read(path: str | Path, needed: Sequence[str], optional: Collection[str] = (), *, numbers: str = "") -> pd.DataFrame:
    """Columns of a csv, all text; what is not named is not read.

    Args:
        path: The csv.
        needed: Columns that must be there.
        optional: Columns that are read where they exist.
        numbers: A prefix; all columns that begin with it are read too, as float64.

    Raises:
        UsageError: Where there is no such file.
        DataError: Where it is not csv, lacks a column, has one of them twice, or holds a text where a number belongs.
    """
    names = header(path)
    numeric = [name for name in names if numbers and name.startswith(numbers)]
    wanted = {*needed, *optional, *numeric}
    if len(numeric) > _MOST_NUMBERS:
        raise DataError(f"{path} has {len(numeric)} columns {numbers}...: more than {_MOST_NUMBERS} are not read")
    missing = [name for name in needed if name not in names]
    if missing:
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        raise DataError(f"{path} has no column {', '.join(missing)}; found: {shown or 'none'}")
    found = [name for name in names if name in wanted]
    twice = sorted({name for name in found if found.count(name) > 1}) if len(found) > len(set(found)) else []
    if twice:
        raise DataError(f"{path} has the column {', '.join(twice)} twice: which one should be used?")
    positions = [position for position, name in enumerate(names) if name in wanted]
    try:
        table = pd.read_csv(
            path,
            header=0,
            names=range(len(names)),
            usecols=positions,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            encoding_errors="surrogateescape",
            index_col=False,
        )
    except (ValueError, OSError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as csv: {str(error).splitlines()[0]}") from None
    table.columns = found
    for name in set(found) - set(numeric):
        table[name] = [csv_files.original(cell) for cell in table[name].fillna("")]
    if not numeric:
        return table
    try:
        values = table[numeric].replace("", "nan").astype("float64")
    except ValueError as error:
        raise DataError(f"{path}: a column {numbers}... holds what is not a number: {error}") from None
    return pd.concat([table.drop(columns=numeric), values], axis=1)
