"""What the layouts share: reading a table by its columns' names, finding images, and one frame for all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ...benchmarks.inputs.locate import Finder
from ...benchmarks.stats import group_kinds
from ...edge_runtime import csv_files
from ...edge_runtime.containers import SEPARATOR
from ...edge_runtime.errors import DataError
from .tables import EXTRA_COLUMNS

NUMBERS = ("age", "diameter_mm")
TEXTS = tuple(name for name in EXTRA_COLUMNS if name not in NUMBERS)

# What people write for "not known" in a column of numbers.
_NO_NUMBER = frozenset({"", "unknown", "unk", "na", "n/a", "nan", "none", "null"})


def find_table(root: Path, *names: str) -> Path | None:
    """The first of the files that is in `root` or, as ISIC's archives unpack, in a folder in it."""
    for name in names:
        for candidate in (root / name, *sorted(root.glob(f"*/{name}"))):
            if candidate.is_file():
                return candidate
    return None


def header(path: Path) -> list[str]:
    """The columns of a table. Raises DataError where it cannot be read."""
    return csv_files.read(path, most=0).columns


def read_table(
    path: Path, needed: Mapping[str, str], optional: Mapping[str, str] | None = None, *, may_be_empty: bool = False
) -> pd.DataFrame:
    """A table's columns, renamed, all text without spaces around it; other columns are not even kept.

    Args:
        path: A csv file.
        needed, optional: Column in the file -> column here. A needed column has a value in every row; an optional one
            that is missing is left out. `csv_files.read` says what a table may look like.
        may_be_empty: Whether it may have no rows.

    Raises:
        DataError: Where the file cannot be read, or where a needed column or value or any row is missing.
    """
    wanted = {**(optional or {}), **needed}
    table = csv_files.read(path, lambda name: name in wanted)
    frame = pd.DataFrame(table.rows, columns=table.columns, dtype=str)
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        found = ", ".join(header(path))
        raise DataError(f"{path} has no column {', '.join(missing)}; needed: {', '.join(needed)}; found: {found}")
    if frame.empty and not may_be_empty:
        raise DataError(f"{path} has no rows below its header")
    blank = np.flatnonzero((frame[list(needed)] == "").any(axis=1).to_numpy())
    if len(blank):
        raise DataError(f"{path} line {table.lines[blank[0]]}: one of {', '.join(needed)} is blank")
    return frame.rename(columns=wanted)


def one_hot(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """A challenge's ground truth, `image` and a column of 0 and 1 per class, as columns image_id and label.

    Args:
        columns: Class's column -> code. Their order in the file does not matter; those of classes that the file does
            not have are passed over.

    Raises:
        DataError: Where a row does not have exactly one 1.
    """
    frame = read_table(path, {"image": "image_id"}, {column: column for column in columns})
    there = [column for column in columns if column in frame.columns]
    if len(there) < 2:
        raise DataError(f"{path} has none or one of the columns {', '.join(columns)}; found: {', '.join(header(path))}")
    truth = frame[there].apply(lambda values: pd.to_numeric(values, errors="coerce")).to_numpy(np.float64)
    odd = np.flatnonzero(~(np.isin(truth, (0, 1)).all(axis=1) & (truth.sum(axis=1) == 1)))
    if len(odd):
        raise DataError(f"{path}: {frame['image_id'].iloc[odd[0]]} has not exactly one 1 among {', '.join(there)}")
    codes = np.array([columns[column] for column in there], dtype=object)
    return pd.DataFrame({"image_id": frame["image_id"], "label": codes[truth.argmax(axis=1)]})


def joined(frame: pd.DataFrame, other: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`frame` with the columns of `other`, by image_id; blank for images that `other`, read from `path`, leaves out."""
    check_unique(other["image_id"], path)
    return frame.merge(other, on="image_id", how="left").fillna("")


def check_unique(image_ids: pd.Series, where: Path) -> None:
    """Raises DataError where an image_id occurs twice."""
    twice = list(image_ids[image_ids.duplicated()])
    if twice:
        raise DataError(f"{where}: image_id {twice[0]} occurs twice ({len(twice)} such rows)")


def check_labels(frame: pd.DataFrame, column: str, known: Iterable[str], path: Path) -> None:
    """Raises DataError where a label is not among `known`.

    Args:
        frame: Columns image_id and label.
        column: What the file calls it.
        known: The labels that may occur.
        path: The table, for the message.
    """
    unknown = frame.loc[~frame["label"].isin(list(known))]
    if len(unknown):
        row = unknown.iloc[0]
        raise DataError(f"{path}: {column} '{row['label']}' of {row['image_id']} is not one of {', '.join(known)}")


def paths_by_id(image_ids: pd.Series, root: Path, table: Path, *, lost_ending: str = "") -> list[str]:
    """The image of each id, at any depth below `root`, "" where there is none.

    Args:
        image_ids: The ids that the table names.
        root: The folder to look in.
        table: The table, for the message.
        lost_ending: Of ids, which the file's name may do without.

    Raises:
        DataError: Where not one image is below `root`, or where several different ones have an id's name.
    """
    finder = Finder(root, table)
    if finder.is_empty:
        raise DataError(
            f"{table} is there, but no image is in {root} or a folder in it: --images FOLDER says where they are"
        )
    return [finder.by_id(image_id) or finder.by_id(image_id.removesuffix(lost_ending)) for image_id in image_ids]


def members_by_id(image_ids: pd.Series, container: Path) -> list[str]:
    """The same from an HDF5 file that holds one picture per id (`edge_runtime/containers.py`).

    Where it holds as many as there are ids, its members' names are not listed (401,059 take seconds): one that is
    missing all the same shows when it is opened.
    """
    import h5py

    try:
        with h5py.File(container, "r") as file:
            members = None if len(file) == len(image_ids) else set(file.keys())
    except OSError as error:
        raise DataError(f"{container} cannot be read as HDF5: {str(error).splitlines()[0]}") from None
    start = f"{container}{SEPARATOR}"
    return [start + name if members is None or name in members else "" for name in image_ids.tolist()]


def finished(frame: pd.DataFrame, table: Path, *, pairs: Iterable[tuple[str, str]] = ()) -> pd.DataFrame:
    """The frame that every layout gives: path, image_id, group, label, EXTRA_COLUMNS and official (see `Dataset`).

    Args:
        frame: Path, image_id, label and what the layout has of the others, as text. group, where it has one, names the
            pictures that belong together itself.
        pairs: image_ids of the same picture under two names, which go together.

    Raises:
        DataError: Where an image_id occurs twice or an age or a diameter is not a number.
    """
    check_unique(frame["image_id"], table)
    blank = pd.Series("", index=frame.index)

    def column(name: str) -> pd.Series:
        return frame[name] if name in frame else blank  # noqa: SIM401 (`get` has no type)

    whole = pd.DataFrame({name: column(name) for name in ("path", "image_id", "label", *TEXTS, "official")})
    for name in ("sex", "site"):
        whole[name] = whole[name].map({value: value.lower() for value in whole[name].unique()})  # one object each
    for name in NUMBERS:
        whole[name] = numbers(column(name), name, frame["image_id"], table)
    given = column("group")
    whole["group"] = given.where(given != "", _groups(whole, pairs))
    whole[group_kinds.COLUMN] = _kinds(whole, given)
    return whole.loc[:, ["path", "image_id", "group", "label", *EXTRA_COLUMNS, "official"]].reset_index(drop=True)


def numbers(values: pd.Series, name: str, image_ids: pd.Series, table: Path) -> pd.Series:
    """Text as float64, NaN where it is blank or says that it is not known.

    Args:
        values: Text, "" where not known.
        name: Of the column, for the message.
        image_ids: Of the same rows, for the message.
        table: The table, for the message.

    Raises:
        DataError: For other text.
    """
    if pd.api.types.is_float_dtype(values):
        return values
    parsed = pd.Series(pd.to_numeric(values, errors="coerce"), index=values.index, dtype="float64")
    odd = np.flatnonzero(parsed.isna() & ~values.str.strip().str.lower().isin(_NO_NUMBER))
    if len(odd):
        raise DataError(f"{table}: {name} '{values.iloc[odd[0]]}' of {image_ids.iloc[odd[0]]} is not a number")
    return parsed


def _kinds(frame: pd.DataFrame, given: pd.Series) -> pd.Series:
    """What each picture's group is: as the table says in group_kind (a split.csv does), else what it was made of."""
    kind = pd.Series(group_kinds.UNKNOWN, index=frame.index)
    kind = kind.mask(frame["lesion"] != "", group_kinds.LESION).mask(frame["patient"] != "", group_kinds.PATIENT)
    kind = kind.mask(given != "", group_kinds.GIVEN)
    return frame[group_kinds.COLUMN].where(frame[group_kinds.COLUMN].isin(group_kinds.KINDS), kind)


def _groups(frame: pd.DataFrame, pairs: Iterable[tuple[str, str]]) -> pd.Series:
    """The patient, else the lesion, else the image; and what is linked by a lesion or a pair is one group.

    A lesion whose patient only some of its rows name would else are in two groups.
    """
    group = frame["patient"].where(
        frame["patient"] != "", frame["lesion"].where(frame["lesion"] != "", frame["image_id"])
    )
    by_lesion = frame["lesion"] != ""
    first = group[by_lesion].groupby(frame["lesion"][by_lesion]).transform("first")
    differs = first != group[by_lesion]
    links = list(zip(first[differs], group[by_lesion][differs], strict=True))
    pairs = list(pairs)
    if pairs:
        group_of = dict(zip(frame["image_id"], group, strict=True))
        links += [(group_of[one], group_of[other]) for one, other in pairs]
    if not links:
        return group
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    for one, other in links:
        low, high = sorted((root(one), root(other)))
        if low != high:
            parent[high] = low
    return group.map({name: root(name) for name in {name for link in links for name in link}}).fillna(group)


def truth_of(
    values: pd.Series, meaning: Mapping[str, str], column: str, image_ids: pd.Series, table: Path
) -> pd.Series:
    """A data set's own target as "1", "0" or "".

    Args:
        values: Text of the column.
        meaning: Lower-case value -> one of them; else DataError.
        column: Its name, for the message.
        image_ids: Of the same rows, for the message.
        table: The table, for the message.
    """
    found = values.str.strip().str.lower().map(dict(meaning))
    odd = np.flatnonzero(found.isna())
    if len(odd):
        raise DataError(
            f"{table}: {column} '{values.iloc[odd[0]]}' of {image_ids.iloc[odd[0]]} is not one of "
            f"{', '.join(value or 'blank' for value in meaning)}"
        )
    return found
