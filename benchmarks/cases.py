"""The labelled images that accuracy is measured on: from a csv (`split.csv` of a run is one) or from class folders."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..edge_runtime import files
from ..edge_runtime.containers import is_there
from ..edge_runtime.errors import DataError, UsageError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
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
    images of a csv lie now; looked for there by path, by file name, then in the folders below. known_labels: the
    model's.

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
    cases = _part(data, cases, split)
    known = set(known_labels)
    for case in cases:
        if case.label not in known:
            raise DataError(
                f"{data}: label '{case.label}' of {case.image_id} is not among the model's: {', '.join(known_labels)}"
            )
    if images is not None:
        cases = _moved(cases, Path(images))
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
                        # Joined to an absolute path, the folder falls away.
                        path=path.parent / name,
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
                if path.suffix.lower() in IMAGE_SUFFIXES:
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


def _moved(cases: list[Case], root: Path) -> list[Case]:
    if not root.is_dir():
        raise UsageError(f"--images {root}: no such folder")
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(root.rglob("*")):
        by_name[path.name].append(path)
    return [replace(case, path=_find(case.path, root, by_name)) for case in cases]


def _find(path: Path, root: Path, by_name: Mapping[str, list[Path]]) -> Path:
    # The csv may come from Windows. Of an absolute path the end may still fit: .../HAM10000_images_part_1/x.jpg.
    parts = [part for part in str(path).replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        candidate = root.joinpath(*parts[start:])
        if candidate.is_file():
            return candidate
    candidates = by_name.get(parts[-1], [])
    if len(candidates) > 1:
        raise DataError(f"{len(candidates)} files under {root} are named {parts[-1]}: {_first(candidates)}")
    return candidates[0] if candidates else root / parts[-1]


def _first(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
