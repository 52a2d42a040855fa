"""--group-from: groups for data that names none, from the pictures' names or from a csv."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pandas as pd

from ...benchmarks.stats.group_kinds import COLUMN, GIVEN, UNKNOWN
from ...edge_runtime import csv_files
from ...edge_runtime.errors import DataError, UsageError


def groups_of(frame: pd.DataFrame, root: Path, group_from: str) -> tuple[pd.DataFrame, list[str]]:
    """Columns group and group_kind of every picture, and a line for each thing that is to be known of them.

    Args:
        frame: Columns path and image_id.
        root: The data set's folder.
        group_from: A csv with the columns image (its id, its path below `root`, or its file name) and group; or a
            regular expression with one group in parentheses, which is looked for in the path below `root`. A picture
            that neither of them knows is a group of its own.

    Raises:
        UsageError: Where it is neither.
        DataError: Where it says nothing of any picture, or two things of one.
    """
    names = [_below(path, image_id, root) for path, image_id in zip(frame["path"], frame["image_id"], strict=True)]
    is_table = Path(group_from).suffix.lower() in (".csv", ".tsv", ".tab") or Path(group_from).is_file()
    group_of = _from_table(Path(group_from)) if is_table else _from_pattern(group_from)
    found = [group_of(image_id, name) for image_id, name in zip(frame["image_id"], names, strict=True)]
    without = [name for name, group in zip(names, found, strict=True) if not group]
    if len(without) == len(found):
        raise DataError(f"--group-from {group_from} gives no picture a group, such as {names[0]}")
    notes = [f"--group-from: {len(set(found) - {''})} groups"]
    if without:
        notes.append(f"{len(without)} pictures have no group by --group-from, such as {without[0]}: each is its own")
    groups = [group or image_id for group, image_id in zip(found, frame["image_id"], strict=True)]
    kinds = [GIVEN if group else UNKNOWN for group in found]
    return pd.DataFrame({"group": groups, COLUMN: kinds}, frame.index, dtype=object), notes


def _below(path: str, image_id: str, root: Path) -> str:
    inside = path.startswith(f"{root}{os.sep}")
    return path[len(str(root)) + 1 :].replace(os.sep, "/") if inside else path or image_id


def _from_pattern(pattern: str) -> Callable[[str, str], str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"--group-from {pattern} is not a file, and no regular expression: {error}") from None
    if compiled.groups != 1:
        raise UsageError(
            f"--group-from {pattern}: one group in parentheses is the patient or lesion, such as '(p[0-9]+)_'"
        )

    def group(image_id: str, name: str) -> str:
        match = compiled.search(name)
        return (match[1] or "").strip() if match else ""

    return group


def _from_table(path: Path) -> Callable[[str, str], str]:
    if not path.is_file():
        raise UsageError(f"--group-from {path}: no such file")
    table = csv_files.read(path)
    image = next((name for name in ("image", "image_id", "path") if name in table.columns), None)
    if image is None or "group" not in table.columns:
        raise DataError(f"{path} needs the columns image and group; found: {', '.join(table.columns)}")
    at, group_at = table.columns.index(image), table.columns.index("group")
    said: dict[str, str] = {}
    for row, line in zip(table.rows, table.lines, strict=True):
        name = row[at].replace("\\", "/")
        if said.setdefault(name, row[group_at]) != row[group_at]:
            raise DataError(f"{path} line {line}: {row[at]} is in group {said[name]} already")

    def group(image_id: str, name: str) -> str:
        file = PurePosixPath(name)
        return next((said[key] for key in (image_id, name, file.name, file.stem) if key in said), "")

    return group
