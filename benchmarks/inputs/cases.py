"""The labelled images that accuracy is measured on: from a csv (`split.csv` of a run is one) or from class folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ...edge_runtime import csv_files, files
from ...edge_runtime.containers import is_there
from ...edge_runtime.errors import DataError, UsageError
from ...edge_runtime.labels import Label
from ..stats.group_kinds import COLUMN, KINDS, UNKNOWN, Groups, kinds_of
from . import class_folders
from .classes import class_of, remedy
from .columns import PATH_LABEL_GROUP, Columns, canonical, is_known
from .locate import folder_of, located

PARTS = ("train", "val", "test")
COLUMNS = ("path", "image_id", "group", "label", "split", "group_kind")
_WITHOUT_SUFFIX = ("HAM10000_metadata",)  # as Dataverse hands it out
METADATA = ("age", "sex", "site", "diameter_mm", "image_type")  # patient.FIELDS, without NumPy
CARRIED = (*METADATA, "picture_set")  # and subgroups.ATTRIBUTES, likewise


@dataclass(frozen=True)
class Case:
    """One labelled image.

    Attributes:
        group: Images that belong together, of `group_kind` (group_kinds.KINDS).
        split: "" for none.
        metadata: What the csv says of CARRIED, as it is there.
        malignant: The data set's own target, "1", "0" or "".
    """

    path: Path
    image_id: str
    group: str
    label: str
    split: str
    group_kind: str = field(default=UNKNOWN, compare=False)
    metadata: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)
    malignant: str = field(default="", compare=False)


def read_cases(
    data: str | Path,
    *,
    split: str | None = None,
    images: str | Path | None = None,
    known_labels: Sequence[str],
    columns: Columns = PATH_LABEL_GROUP,
    labels: Sequence[Label] = (),
) -> list[Case]:
    """The cases of `data`, in its order; every image exists.

    Where no column group, patient or lesion has a value, an image is its own group, and nothing is known of lesions.

    Args:
        data: A csv with the columns path and label (image_id, group, split and those of METADATA are optional; relative
            paths start at the csv's folder, those of a run's split.csv at the run's data), a table of a known data set
            or its folder (`columns.py`), or class folders (`class_folders.py`).
        split: The part that is wanted, or "all"; by default "test" where the data has parts, else everything.
        images: The folder where the images of a table are now (`locate.py` has the rules).
        known_labels: The model's; a label means one of them as `classes.class_of` says.
        columns: Of a csv.
        labels: What the user says of the data's labels (`classes.read_labels`).

    Raises:
        UsageError: Where `data` or `images` does not exist, or the columns of folders are named.
        DataError: Where a column, the part or an image is missing, where there are no images, or where a label is not
            among `known_labels`.
    """
    data = Path(data)
    table = known_table(data) if data.is_dir() and columns == PATH_LABEL_GROUP else None
    data = table or data
    if data.is_dir():
        if images is not None or columns != PATH_LABEL_GROUP:
            flag = "--images goes" if images is not None else f"{columns.flags()}: columns go"
            raise UsageError(f"{flag} with a csv, but {data} is a folder: name the csv")
        cases = _from_folders(data)
    elif data.is_file():
        cases = _from_csv(data, columns)
    else:
        raise UsageError(f"no such file or folder: {data}")
    every, cases = cases, _part(data, cases, split)
    said = {(case.label, case.malignant) for case in cases}
    meant = {both: class_of(both[0], known_labels, target=both[1], own=labels) for both in said}
    for case in cases:
        if meant[case.label, case.malignant] is None:
            raise DataError(
                f"{data}: label '{case.label}' of {case.image_id} is not among the model's: {', '.join(known_labels)}"
                + remedy([case.label], known_labels)
            )
    cases = [replace(case, label=meant[case.label, case.malignant] or case.label) for case in cases]
    if not data.is_dir():
        cases = _located(data, cases, Path(images) if images is not None else None, every)
    missing = [case.path for case in cases if not is_there(case.path)]
    if missing:
        raise DataError(
            f"{data}: {len(missing)} of {len(cases)} images are missing: {_first(missing)}"
            + ("" if images else "; --images DIR says where they are now")
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


def known_table(folder: Path) -> Path | None:
    """The one table of a known data set in a folder (`columns.py`), None where there is none.

    Raises DataError where there are several.
    """
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and (path.suffix.lower() in (".csv", ".tab", ".tsv") or path.name in _WITHOUT_SUFFIX):
            try:
                names = csv_files.read(path, most=0).columns
            except DataError:
                continue  # any file may be beside the pictures
            if is_known(names):
                found.append(path)
    if len(found) > 1:
        raise DataError(f"{folder} holds several tables of pictures ({_first(found)}): name one")
    return found[0] if found else None


def _from_csv(path: Path, columns: Columns) -> list[Case]:
    table = canonical(csv_files.read(path), path, columns)
    cases: list[Case] = []
    said: dict[str, list[str]] = {"group": [], "patient": [], "lesion": []}
    for cells, line in zip(table.rows, table.lines, strict=True):
        row = dict(zip(table.columns, cells, strict=True))
        name = row["path"]
        target = row.get("malignant", "")
        if not name or not (row["label"] or target):
            raise DataError(f"{path}, line {line}: path or label is empty")
        for column, values in said.items():
            values.append(row.get(column, ""))
        cases.append(
            Case(
                path=Path(name),
                image_id=row.get("image_id") or PurePosixPath(name).stem,
                group=row.get("group") or row.get("patient") or row.get("lesion") or name,
                label=row["label"],
                split=row.get("split", ""),
                group_kind=row.get(COLUMN, ""),
                metadata={name: row[name] for name in CARRIED if name in row},
                malignant=target,
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
