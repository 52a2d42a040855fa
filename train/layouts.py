"""The layouts in which people have labelled lesion pictures. One layout is one function.

Each function looks at a folder and returns None where the layout is another one, or a `Dataset`. Columns are
matched by name, never by position.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..edge_runtime.errors import DataError, UsageError
from ..edge_runtime.labels import HAM10000, Label, label_for

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures.

    frame: one row per picture: path (absolute, or "" where the file is missing), image_id, group, label.
    group: pictures that must stay together in a split: the lesion. labels: in the order of the model's classes.
    has_groups: False where the layout does not know lesions; every picture is then its own group.
    """

    root: Path
    layout: str
    frame: pd.DataFrame
    labels: tuple[Label, ...]
    has_groups: bool


def read_dataset(root: str | Path) -> Dataset:
    """Recognises the layout and reads it.

    Raises UsageError where there is no such folder; DataError where no layout fits (the message names the known
    ones), a column is missing, a label is not in the table, an id occurs twice, or there are too few classes.
    """
    root = Path(root)
    if not root.exists():
        raise UsageError(f"no such folder: {root}")
    if not root.is_dir():
        raise UsageError(f"{root} is a file: DATA is a folder")
    for read in LAYOUTS:
        dataset = read(root.resolve())
        if dataset is not None:
            _check(dataset)
            return dataset
    known = "; ".join((read.__doc__ or "").splitlines()[0].rstrip(".") for read in LAYOUTS)
    raise DataError(f"{root} is in no layout that is known. Known: {known}")


def ham10000_kaggle(root: Path) -> Dataset | None:
    """HAM10000 (Kaggle): HAM10000_metadata.csv beside HAM10000_images_part_1/ and _part_2/, or one image folder."""
    table = root / "HAM10000_metadata.csv"
    if not table.is_file():
        return None
    frame = _read_csv(table, ("lesion_id", "image_id", "dx"))
    files = _files_by_stem(root)
    if not files:
        raise DataError(f"{table} is there, but no image lies in {root} or a folder in it")
    codes = [label.code for label in HAM10000]
    unknown = frame.loc[~frame["dx"].isin(codes)]
    if len(unknown):
        row = unknown.iloc[0]
        raise DataError(f"{table}: dx '{row['dx']}' of {row['image_id']} is not one of {', '.join(codes)}")
    present = set(frame["dx"])
    return Dataset(
        root=root,
        layout="ham10000-kaggle",
        frame=pd.DataFrame(
            {
                "path": [files.get(image_id, "") for image_id in frame["image_id"]],
                "image_id": frame["image_id"],
                "group": frame["lesion_id"],
                "label": frame["dx"],
            }
        ),
        labels=tuple(label for label in HAM10000 if label.code in present),
        has_groups=True,
    )


def class_folders(root: Path) -> Dataset | None:
    """class folders: one folder per label with its images."""
    rows = [
        (str(path), f"{folder.name}/{path.name}", f"{folder.name}/{path.name}", folder.name)
        for folder in sorted(root.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    ]
    if not rows:
        return None
    frame = pd.DataFrame(rows, columns=["path", "image_id", "group", "label"])
    return Dataset(
        root=root,
        layout="class-folders",
        frame=frame,
        labels=tuple(label_for(code) for code in sorted(frame["label"].unique())),
        has_groups=False,
    )


LAYOUTS: tuple[Callable[[Path], Dataset | None], ...] = (ham10000_kaggle, class_folders)


def _read_csv(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as csv: {str(error).splitlines()[0]}") from None
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; needed: {', '.join(needed)}; found: {', '.join(frame.columns)}"
        )
    blank = frame[(frame[list(needed)] == "").any(axis=1)]
    if len(blank):
        # +2: the header is line 1.
        raise DataError(f"{path} line {int(blank.index[0]) + 2}: one of {', '.join(needed)} is blank")
    return frame


def _files_by_stem(root: Path) -> dict[str, str]:
    folders = [root, *sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))]
    return {
        path.stem: str(path)
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES
    }


def _check(dataset: Dataset) -> None:
    frame, root = dataset.frame, dataset.root
    twice = list(frame.loc[frame["image_id"].duplicated(), "image_id"])
    if twice:
        raise DataError(f"{root}: image_id {twice[0]} occurs twice ({len(twice)} such rows)")
    if len(dataset.labels) < 2:
        only = ", ".join(label.code for label in dataset.labels)
        raise DataError(f"{root} holds one class only ({only}): a classifier needs two or more")
    if len(frame) < 3 * len(dataset.labels):
        raise DataError(
            f"{root} holds {len(frame)} images for {len(dataset.labels)} classes: training, validation and test need "
            "one of each class at least"
        )
