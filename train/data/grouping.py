"""Which pictures belong together: the patient, else the lesion, else the near-duplicates; near-duplicates join groups.

A frame that went through `connect` has two columns: `group`, after the near-duplicates have joined groups, and
`named_group`, what the data set itself says. `group_kind` says of what (`benchmarks/stats/group_kinds.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from ...benchmarks.stats import group_kinds
from ...benchmarks.stats.group_kinds import UNKNOWN, Groups, known
from ...edge_runtime.wording import counted
from . import duplicates, splits

MOST_BY_DEFAULT = 50_000
"""Pictures; of more, near-duplicates are looked for only where that is asked for: it decodes every one of them."""

_SHOWN = 10  # pairs on the terminal

Report = Callable[[str], None]


def connect(
    frame: pd.DataFrame, wanted: bool | None, split: str, report: Report
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The frame with its groups connected, and what was done: {"on"} and, where on, {"pairs", "groups_connected"}.

    Args:
        frame: Columns image_id, group and path.
        wanted: None looks for near-duplicates where `split` is by group and there are at most MOST_BY_DEFAULT pictures.
            Pictures that cannot be read connect nothing. A connected group goes by its smallest id.
        split: The kind of the split, or a csv.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
    """
    frame = frame.assign(named_group=frame["group"])
    n = len(frame)
    if wanted is None and split == "lesion" and n > MOST_BY_DEFAULT:
        report(
            f"near-duplicates are not looked for among {n} images: --near-duplicates does, and decodes all once more"
        )
    if not (wanted if wanted is not None else split == "lesion" and n <= MOST_BY_DEFAULT):
        return frame, {"on": False}
    prints = duplicates.fingerprints(
        list(frame["path"]), lambda done: report(f"\rlooking for near-duplicates: {done}/{n}")
    )
    groups = list(frame["group"])
    pairs = duplicates.near_pairs(prints, groups)
    together = duplicates.connected(groups, [(i, j) for i, j, _ in pairs])
    joined = len(set(groups)) - len(set(together))
    unions = len({union for group, union in zip(groups, together, strict=True) if group != union})
    report("\r")
    if pairs:
        connect = counted(len(pairs), "pair connects", "pairs connect")
        report(f"near-duplicates: {connect} {joined + unions} groups to {unions}")
    else:
        report("near-duplicates: none")
    ids = list(frame["image_id"])
    for i, j, score in pairs[:_SHOWN]:
        report(f"  {ids[i]} {ids[j]}: correlation {score:.2f}, groups {groups[i]} and {groups[j]}")
    if len(pairs) > _SHOWN:
        report(f"  and {len(pairs) - _SHOWN} more (skin-edge data --out lists them)")
    return frame.assign(group=together), {"on": True, "pairs": len(pairs), "groups_connected": joined}


def leakage(frame: pd.DataFrame) -> dict[str, float | None]:
    """What of the test part (0..1) leaks from training, by the data set's groups and by the connected ones.

    The first is None where the data set names no groups, and is of the pictures that have one where it does for some.

    Args:
        frame: Columns group, named_group, group_kind and split.
    """
    named = frame.assign(group=frame["named_group"])
    return {
        "leaked_share_of_test": splits.leaked_share(named.loc[named["group_kind"] != UNKNOWN]),
        "leaked_share_of_test_with_near_duplicates": splits.leaked_share(frame),
    }


def groups_of(rows: pd.DataFrame) -> Groups:
    """What is known of the groups of some rows, for figures and sentences.

    Args:
        rows: Columns group and group_kind.
    """
    return Groups(rows["group"].to_numpy(str), rows["group_kind"].to_numpy(str))


def groups_in(rows: pd.DataFrame) -> dict[str, Any]:
    """{"groups", "groups_known"}: what is known of the groups of the rows that are measured."""
    described = groups_of(rows).described()
    return {"groups": described, "groups_known": known(described)}


def with_group_kinds(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with the column group_kind whole: of group_kinds.KINDS, and told from the other columns where it is blank.

    Args:
        rows: Columns group and image_id, perhaps patient, lesion and group_kind; a csv of a user, or of an older run.
    """

    def column(name: str) -> list[str]:
        return [str(value) for value in rows[name].fillna("")] if name in rows else []

    told = group_kinds.kinds_of(column("group"), column("image_id"), column("patient"), column("lesion"))
    said = column(group_kinds.COLUMN) or [""] * len(rows)
    kinds = [one if one in group_kinds.KINDS else other for one, other in zip(said, told, strict=True)]
    return rows.assign(**{group_kinds.COLUMN: kinds})
