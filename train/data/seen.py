"""Which pictures a model has seen in training: the same picture, or another one of the same patient or lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...benchmarks.stats.group_kinds import UNKNOWN
from ...edge_runtime.containers import split_path
from ...edge_runtime.training_pictures import digest
from .grouping import with_group_kinds


def shown_in(known: pd.DataFrame, rows: pd.DataFrame, which: pd.Series) -> npt.NDArray[np.bool_]:
    """bool [n]: whether each of `rows` is among `known[which]`, or is of a patient or lesion that is.

    Both have the columns image_id, path and group, and perhaps group_kind and lesion. Patients and lesions are told by
    their ids, where both sides name them. Pictures are told by `same_pictures`.
    """
    known, rows = with_group_kinds(known), with_group_kinds(rows)
    before = known.loc[which]
    found = same_pictures(before, rows)
    # What near-duplicates were joined to goes by the id of a picture, which means something for these pictures alone.
    named = (rows["group_kind"] != UNKNOWN).to_numpy() | same_pictures(known, rows)
    for column, comparable in (("group", named), ("lesion", True)):
        if column in before and column in rows:
            found |= (rows[column].isin(set(before[column])) & (rows[column] != "")).to_numpy() & comparable
    return found


def same_pictures(known: pd.DataFrame, rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """bool [n]: whether each of `rows` is one of `known`. Both: columns image_id and path.

    By the id and, where both files are there, the size of the file, for folders of different origin use the same
    names; or by the bytes of the file, whatever it is called. Files of one size are read, no others.
    """
    paths = dict(zip(known["image_id"], known["path"], strict=True))
    by_size: dict[int, list[str]] = {}
    for path in known["path"]:
        if not split_path(path)[1]:
            by_size.setdefault(_size(path), []).append(path)
    digests: dict[int, set[bytes]] = {}
    found = np.zeros(len(rows), bool)
    for position, (image_id, path) in enumerate(zip(rows["image_id"], rows["path"], strict=True)):
        size = _size(path)
        found[position] = image_id in paths and (
            min(size, _size(paths[image_id])) < 0 or size == _size(paths[image_id])
        )
        if found[position] or size < 0 or size not in by_size or split_path(path)[1]:
            continue
        if size not in digests:
            digests[size] = {one for other in by_size[size] if (one := digest(other))}
        found[position] = digest(path) in digests[size]
    return found


def _size(path: str) -> int:
    """Bytes of the file, or of the file that it is within; -1 where it is not there."""
    try:
        return Path(split_path(path)[0]).stat().st_size if path else -1
    except OSError:
        return -1
