"""The labelled images that accuracy is measured on: from a csv (`split.csv` of a run is one) or from class folders."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..edge_runtime import files, pictures
from ..edge_runtime.containers import is_there
from ..edge_runtime.errors import DataError, UsageError
from .locate import located

PARTS = ("train", "val", "test")
COLUMNS = ("path", "image_id", "group", "label", "split")
METADATA = ("age", "sex", "site", "diameter_mm", "image_type")  # patient.FIELDS, without NumPy


@dataclass(frozen=True)
class Case:
    """One labelled image. group: images that belong together (the lesion). split: "" where there is none.

    metadata: what the csv says of the fields of `patient.FIELDS`, as it stands there.
    """

    path: Path
    image_id: str
    group: str
    label: str
    split: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str], compare=False)


def read_cases(
    data: str | Path, *, split: str | None = None, images: str | Path | None = None, known_labels: Sequence[str]
) -> list[Case]:
    """The cases of `data`, in its order; every image exists.

    data: a csv with the columns path and label (image_id, group, split and those of METADATA are optional; relative
    paths start at the csv's folder), or a folder `<label>/*.jpg`, or `train|val|test/<label>/*.jpg`. split: the part
    that is wanted, or "all"; by default "test" where the data has parts, else everything. images: the folder where the
    images of a csv lie now (`locate.py` has the rules). known_labels: the model's.

    Without the column group, or where it is empty, every image is its own group.

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
    known = set(known_labels)
    for case in cases:
        if case.label not in known:
            raise DataError(
                f"{data}: label '{case.label}' of {case.image_id} is not among the model's: {', '.join(known_labels)}"
            )
    if not data.is_dir():
        cases = _located(data, cases, Path(images) if images is not None else None, every)
    missing = [case.path for case in cases if not is_there(case.path)]
    if missing:
        raise DataError(
            f"{data}: {len(missing)} of {len(cases)} images are missing: {_first(missing)}"
            + ("" if images else "; --images DIR says where they lie now")
        )
    return cases


def write_cases(path: str | Path, cases: Iterable[Case]) -> None:
    """Writes a csv with COLUMNS that `read_cases` reads, in one step. Paths are written as they are."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((str(case.path), case.image_id, case.group, case.label, case.split) for case in cases)
    files.write(path, text.getvalue())


def _from_csv(path: Path) -> list[Case]:
    cases: list[Case] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            found = [name.strip() for name in reader.fieldnames or []]
            missing = [name for name in ("path", "label") if name not in found]
            if missing:
                raise DataError(f"{path} has no column {', '.join(missing)}; found: {', '.join(found) or 'none'}")
            reader.fieldnames = found
            for row in reader:
                name, label = row["path"].strip(), row["label"].strip()
                if not name or not label:
                    raise DataError(f"{path}, line {reader.line_num}: path or label is empty")
                cases.append(
                    Case(
                        path=Path(name),
                        image_id=row.get("image_id", "").strip() or PurePosixPath(name).stem,
                        group=row.get("group", "").strip() or name,
                        label=label,
                        split=row.get("split", "").strip(),
                        metadata={name: row[name].strip() for name in METADATA if name in row},
                    )
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as csv: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    if not cases:
        raise DataError(f"{path} has no rows")
    return cases


def _from_folders(root: Path) -> list[Case]:
    # A folder named test holds a part where it has class folders in it; else test is a class.
    parts = [part for part in PARTS if (root / part).is_dir() and any(map(Path.is_dir, (root / part).iterdir()))]
    cases: list[Case] = []
    for split, folder in [(part, root / part) for part in parts] or [("", root)]:
        for label in sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")):
            for path in sorted(label.iterdir()):
                if pictures.is_picture(str(path)):
                    name = path.relative_to(root).as_posix()
                    cases.append(Case(path, image_id=name, group=name, label=label.name, split=split))
    if not cases:
        raise DataError(
            f"{root} holds no labelled images: expected <label>/*.jpg, train|val|test/<label>/*.jpg, or name a csv"
        )
    return cases


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
    found = located(names, data.parent, images=images, table=data, among=[str(case.path) for case in among])
    return [
        replace(case, path=Path(path or data.parent / name))
        for case, path, name in zip(cases, found, names, strict=True)
    ]


def _first(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
