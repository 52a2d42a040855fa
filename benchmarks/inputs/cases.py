"""The labelled images that accuracy is measured on: from a csv (`split.csv` of a run is one) or from class folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ...edge_runtime import csv_files, files
from ...edge_runtime.containers import is_there
from ...edge_runtime.errors import DataError, UsageError
from ...edge_runtime.labels import same_label
from ..stats.group_kinds import COLUMN, KINDS, UNKNOWN, Groups, kinds_of
from . import class_folders
from .locate import folder_of, located

PARTS = ("train", "val", "test")
COLUMNS = ("path", "image_id", "group", "label", "split", "group_kind")
METADATA = ("age", "sex", "site", "diameter_mm", "image_type")  # patient.FIELDS, without NumPy


@dataclass(frozen=True)
class Case:
    """One labelled image. group: images that belong together, of `group_kind` (group_kinds.KINDS). split: "" for none.

    metadata: what the csv says of the fields of `patient.FIELDS`, as it stands there.
    """

    path: Path
    image_id: str
    group: str
    label: str
    split: str
    group_kind: str = field(default=UNKNOWN, compare=False)
    metadata: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)


def read_cases(
    data: str | Path, *, split: str | None = None, images: str | Path | None = None, known_labels: Sequence[str]
) -> list[Case]:
    """The cases of `data`, in its order; every image exists.

    data: a csv with the columns path and label (image_id, group, split and those of METADATA are optional; relative
    paths start at the csv's folder, those of a run's split.csv at the run's data), or class folders
    (`class_folders.py`). split: the part that is wanted, or "all"; by default "test" where the data has parts, else
    everything. images: the folder where the images of a csv lie now (`locate.py` has the rules). known_labels: the
    model's; a label of the same meaning is read
    as that (`labels.same_label`).

    Without the column group, or where it is empty, every image is its own group, and nothing is known of lesions.

    Raises UsageError where `data` or `images` does not exist; DataError where a column, the part or an image is
    missing, where there are no images, or where a label is not among `known_labels`.
    """
    data = Path(data)
    if data.is_dir():
        if images is not None:
            raise UsageError(f"--images goes with a csv, but {data} is a folder")
        cases = _from_folders(data)
    elif data.is_file():
        cases = _from_csv(data)
    else:
        raise UsageError(f"no such file or folder: {data}")
    every, cases = cases, _part(data, cases, split)
    meant = {label: same_label(label, known_labels) for label in {case.label for case in cases}}
    for case in cases:
        if meant[case.label] is None:
            raise DataError(
                f"{data}: label '{case.label}' of {case.image_id} is not among the model's: {', '.join(known_labels)}"
            )
    cases = [replace(case, label=meant[case.label] or case.label) for case in cases]
    if not data.is_dir():
        cases = _located(data, cases, Path(images) if images is not None else None, every)
    missing = [case.path for case in cases if not is_there(case.path)]
    if missing:
        raise DataError(
            f"{data}: {len(missing)} of {len(cases)} images are missing: {_first(missing)}"
            + ("" if images else "; --images DIR says where they lie now")
        )
    return cases


def groups_of(cases: Sequence[Case]) -> Groups:
    """What is known of their groups, for figures and sentences."""
    import numpy as np  # not for reading alone

    return Groups(np.array([case.group for case in cases]), np.array([case.group_kind for case in cases]))


def write_cases(path: str | Path, cases: Iterable[Case]) -> None:
    """Writes a csv with COLUMNS that `read_cases` reads, in one step. Paths are written as they are."""
    rows = [(str(case.path), case.image_id, case.group, case.label, case.split, case.group_kind) for case in cases]
    files.write(path, csv_files.text(COLUMNS, rows))


def _from_csv(path: Path) -> list[Case]:
    table = csv_files.read(path)
    missing = [name for name in ("path", "label") if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; found: {', '.join(table.columns) or 'none'}")
    cases: list[Case] = []
    said: dict[str, list[str]] = {"group": [], "patient": [], "lesion": []}
    for cells, line in zip(table.rows, table.lines, strict=True):
        row = dict(zip(table.columns, cells, strict=True))
        name = row["path"]
        if not name or not row["label"]:
            raise DataError(f"{path}, line {line}: path or label is empty")
        for column, values in said.items():
            values.append(row.get(column, ""))
        cases.append(
            Case(
                path=Path(name),
                image_id=row.get("image_id") or PurePosixPath(name).stem,
                group=row.get("group") or name,
                label=row["label"],
                split=row.get("split", ""),
                group_kind=row.get(COLUMN, ""),
                metadata={name: row[name] for name in METADATA if name in row},
            )
        )
    if not cases:
        raise DataError(f"{path} has no rows")
    class_folders.check_labels([case.label for case in cases], f"{path}, column label")
    told = kinds_of(said["group"], [case.image_id for case in cases], said["patient"], said["lesion"])
    return [
        replace(case, group_kind=case.group_kind if case.group_kind in KINDS else kind)
        for case, kind in zip(cases, told, strict=True)
    ]


def _from_folders(root: Path) -> list[Case]:
    found = class_folders.read(root).pictures
    if not found:
        raise DataError(
            f"{root} holds no labelled images: expected <label>/*.jpg, train|val|test/<label>/*.jpg, or name a csv"
        )
    return [Case(Path(one.path), image_id=one.name, group=one.name, label=one.label, split=one.part) for one in found]


def _part(data: Path, cases: list[Case], split: str | None) -> list[Case]:
    counts = Counter(case.split for case in cases)
    counts.pop("", None)
    if split == "all" or (split is None and not counts):
        return cases
    wanted = split or "test"
    chosen = [case for case in cases if case.split == wanted]
    if not chosen:
        there = ", ".join(f"{name} ({count})" for name, count in counts.items()) or "none"
        raise DataError(f"{data} has no case in split '{wanted}'; splits there: {there} (--split all takes every case)")
    return chosen


def _located(data: Path, cases: list[Case], images: Path | None, among: Sequence[Case]) -> list[Case]:
    names = [str(case.path) for case in cases]
    start = folder_of(data)
    found = located(names, start, images=images, table=data, among=[str(case.path) for case in among])
    return [
        replace(case, path=Path(path or start / name)) for case, path, name in zip(cases, found, names, strict=True)
    ]


def _first(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
