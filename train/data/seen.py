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


def shown_in(known: pd.DataFrame, rows: pd.DataFrame, *which: pd.Series) -> list[npt.NDArray[np.bool_]]:
    """For each `which`, bool [n]: whether each of `rows` is among `known[which]`, or is of a patient or lesion that is.

    Both have the columns image_id, path and group, and perhaps group_kind and lesion. Patients and lesions are told by
    their ids, where both sides name them. Pictures are told by `same_pictures`.
    """
    known, rows = with_group_kinds(known), with_group_kinds(rows)
    same = same_pictures(known, rows)
    # What near-duplicates were joined to goes by the id of a picture, which means something for these pictures alone.
    named = (rows["group_kind"] != UNKNOWN).to_numpy() | np.array([bool(places) for places in same], bool)
    found: list[npt.NDArray[np.bool_]] = []
    for mask in which:
        before, inside = known.loc[mask], mask.to_numpy()
        shown = np.array([inside[places].any() for places in same], bool)
        for column, comparable in (("group", named), ("lesion", True)):
            if column in before and column in rows:
                shown |= (rows[column].isin(set(before[column])) & (rows[column] != "")).to_numpy() & comparable
        found.append(shown)
    return found


def same_pictures(known: pd.DataFrame, rows: pd.DataFrame) -> list[list[int]]:
    """For each of `rows`, which of `known` it is: their positions. Both: columns image_id and path.

    By the id and, where both files are there, the size of the file, for folders of different origin use the same
    names; or by the bytes of the file, whatever it is called. Files of one size are read, no others.
    """
    paths, sizes = list(known["path"]), [_size(path) for path in known["path"]]
    of_id: dict[str, list[int]] = {}
    of_size: dict[int, list[int]] = {}
    for place, image_id in enumerate(known["image_id"]):
        of_id.setdefault(image_id, []).append(place)
        if not split_path(paths[place])[1]:
            of_size.setdefault(sizes[place], []).append(place)
    digests: dict[int, bytes | None] = {}  # of `known`, each read once
    found: list[list[int]] = []
    for image_id, path in zip(rows["image_id"], rows["path"], strict=True):
        size = _size(path)
        same = [place for place in of_id.get(image_id, ()) if min(size, sizes[place]) < 0 or size == sizes[place]]
        others = [] if size < 0 or split_path(path)[1] else [k for k in of_size.get(size, ()) if k not in same]
        own = digest(path) if others else None
        for place in others if own else []:
            if place not in digests:
                digests[place] = digest(paths[place])
            same += [place] if digests[place] == own else []
        found.append(same)
    return found


def _size(path: str) -> int:
    """Bytes of the file, or of the file that it is within; -1 where it is not there."""
    try:
        return Path(split_path(path)[0]).stat().st_size if path else -1
    except OSError:
        return -1
