"""Further pictures of a data set's images (--also): another resolution, a crop, the photographs at full size.

They belong to an image as its lesion and its label do, and come in when all that decides about images has been decided:
rules, classes, samples, near-duplicates and parts are those of the same data without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...benchmarks.inputs.locate import Finder, same_file, sole_names
from ...benchmarks.stats.subgroups import PICTURE_SET, UNKNOWN, group_of
from ...edge_runtime.errors import DataError, UsageError
from ...edge_runtime.wording import counted

OWN = "own"
"""The `picture_set` of the data set's own pictures, where there are further ones."""


@dataclass(frozen=True)
class Further:
    """What one folder holds.

    Attributes:
        name: The last name of the folder.
        paths: image_id of the data set -> the further picture, in the order of the data set.
    """

    name: str
    paths: Mapping[str, str]

    def image_id(self, of: str) -> str:
        """What the further picture of an image is called."""
        return f"{of}@{self.name}"


def names(folders: Sequence[str | Path]) -> list[str]:
    """The last name of each folder, by which its pictures are called.

    Raises UsageError where two have one name, but for capitals, or one is called as the data set's own are.
    """
    paths = [Path(folder).absolute() for folder in folders]
    found = [(path.resolve() if path.name == ".." else path).name for path in paths]
    taken = {OWN: "the data set's own pictures", UNKNOWN: "pictures of which nothing is known", "": "nothing"}
    for folder, name in zip(folders, found, strict=True):
        key = group_of(PICTURE_SET, name)
        if key in taken:
            raise UsageError(
                f"--also {folder}: reports call {taken[key]} '{key}': rename the folder, or name a link to it"
            )
        taken[key] = f"those of {folder}"
    return found


def found(
    frame: pd.DataFrame, folders: Sequence[str | Path], data: str, lost_ending: str = ""
) -> tuple[tuple[Further, ...], list[str]]:
    """The further pictures in each folder, and a line for each that says how many.

    Args:
        frame: The data set's own rows; columns image_id and path.
        folders: At any depth below each, a picture is an image's by as much of the end of its id as fits.
        data: What the data set is called in a message.
        lost_ending: Of ids, which the file's name may do without.

    Raises:
        UsageError: Where there is no such folder, or as `names`.
        DataError: Where no picture in a folder is of an image, several different ones are of one, all of them are
            pictures that the data set or an earlier folder has already, one is of several images, or the id of one is
            another image's.
    """
    ids = frame["image_id"].tolist()
    sole, before = sole_names(ids), {one: [path] for one, path in zip(ids, frame["path"], strict=True)}
    result: list[Further] = []
    lines: list[str] = []
    for folder, name in zip(folders, names(folders), strict=True):
        if not Path(folder).is_dir():
            raise UsageError(f"--also {folder}: no such folder")
        finder = Finder(Path(folder).resolve(), f"--also {folder}", "name one of the folders below it")
        paths: dict[str, str] = {}
        image_of: dict[str, str] = {}
        copies = 0
        for one in ids:
            path = finder.of_image(one, sole=one in sole)
            if not path and lost_ending and one.endswith(lost_ending):
                path = finder.of_image(one.removesuffix(lost_ending), sole=one in sole)
            if path and any(same_file(path, other) for other in before[one] if other):
                copies += 1
            elif path and image_of.setdefault(path, one) != one:  # it would be in two parts of the split
                raise DataError(
                    f"--also {folder}: {path} is a picture of both {image_of[path]} and {one} by its name: give each "
                    "image its own there, with its suffix, or remove it"
                )
            elif path:
                paths[one] = path
                before[one].append(path)
        if not paths and copies:
            raise DataError(
                f"--also {folder}: all its pictures of {data} ({copies}) are those that are there already: name a "
                "folder of other pictures"
            )
        if not paths:
            raise DataError(
                f"--also {folder}: none of its {counted(finder.count, 'picture')} is called as an image of {data}, "
                f"such as {ids[0]}"
            )
        further = Further(name, paths)
        if taken := [one for one in paths if further.image_id(one) in before]:
            raise DataError(f"--also {folder}: {further.image_id(taken[0])} is an image of {data}: rename the folder")
        others = finder.count - len(paths) - copies
        line = f"--also {folder}: further pictures of {len(paths)} of {counted(len(ids), 'image')}"
        line += f"; {counted(copies, 'copy', 'copies')} of what is there already left out" if copies else ""
        lines.append(line + (f"; not used: {counted(others, 'other picture')} there" if others else ""))
        result.append(further)
    return tuple(result), lines


def joined(frame: pd.DataFrame, further: Iterable[Further]) -> pd.DataFrame:
    """The rows and, behind them, a row for each further picture of one of them: folder by folder, in their order.

    A further picture has all that its image's row says but image_id, path and picture_set.

    Args:
        frame: The data set's own rows, whatever columns they have.
    """
    further = list(further)
    if not further:
        return frame
    own = frame[PICTURE_SET] if PICTURE_SET in frame else pd.Series("", frame.index)
    tables = [frame.assign(**{PICTURE_SET: own.where(own != "", OWN)})]
    for one in further:
        rows = frame.loc[frame["image_id"].isin(list(one.paths))]
        named = {"image_id": rows["image_id"].map(one.image_id), "path": rows["image_id"].map(dict(one.paths))}
        tables.append(rows.assign(**named, **{PICTURE_SET: one.name}))
    return pd.concat(tables, ignore_index=True)


def image_ids(frame: pd.DataFrame) -> pd.Series:
    """The image that each row shows: of a further picture the data set's, else its own id.

    Args:
        frame: Columns image_id and, where there are further pictures, picture_set; of `joined`, or of a split.csv.
    """
    if PICTURE_SET not in frame:
        return frame["image_id"]
    both = zip(frame["image_id"], frame[PICTURE_SET], strict=True)
    return pd.Series([one.removesuffix(f"@{name}") if name else one for one, name in both], frame.index, dtype=object)


def parts_of(frame: pd.DataFrame, deal: Callable[[pd.DataFrame], Sequence[pd.Series]]) -> list[pd.Series]:
    """What `deal` says of one row of each image, said of every row of it."""
    ids = image_ids(frame)
    first = frame.loc[np.logical_not(ids.duplicated())]
    dealt = deal(first)
    return [ids.map(dict(zip(ids[first.index], parts, strict=True))) for parts in dealt]


def relocated(frame: pd.DataFrame, further: Iterable[Further]) -> pd.DataFrame:
    """The rows of a run with the paths of their further pictures as they are here.

    Args:
        frame: Columns image_id and path.
        further: Of the same data set.
    """
    here = {one.image_id(of): path for one in further for of, path in one.paths.items()}
    return frame.assign(path=frame["image_id"].map(here).fillna(frame["path"])) if here else frame
