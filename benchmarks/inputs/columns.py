"""Which columns of a table are the picture, its label and its group: those that are named, or a known data set's.

Known by their headers: HAM10000's metadata, ISIC's ground truths of 2018 to 2020, an export of isic-cli, PAD-UFES-20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ...edge_runtime import csv_files
from ...edge_runtime.errors import DataError
from ...edge_runtime.labels import ISIC_DIAGNOSES
from .classes import SIDES


@dataclass(frozen=True)
class Columns:
    """Which columns of a csv hold the picture, its label and its group; None takes path, label and group."""

    image: str | None = None
    label: str | None = None
    group: str | None = None

    def flags(self) -> str:
        """As a user writes them."""
        return " ".join(f"--{f.name}-column {getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name))


PATH_LABEL_GROUP = Columns()

OF_A_RUN = ("path", "image_id", "group", "label", "split")
"""A table with all of these is a run's, or was made from one."""

_ISIC = {
    "lesion_id": "lesion",
    "patient_id": "patient",
    "age_approx": "age",
    "anatom_site_general": "site",
    "clin_size_long_diam_mm": "diameter_mm",
}
# Of the tables that data sets come with: its picture and its label, and what a csv here calls the others.
_KNOWN: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("image_id", "dx", {"lesion_id": "lesion", "localization": "site"}),
    ("img_id", "diagnostic", {"lesion_id": "lesion", "patient_id": "patient", "gender": "sex", "region": "site"}),
    ("image_name", "target", {**_ISIC, "anatom_site_general_challenge": "site"}),
    *(("isic_id", label, _ISIC) for label in ("target", "diagnosis")),
)
_LEVELS = ("diagnosis", *(f"diagnosis_{level}" for level in range(2, 6)))
_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "AK", "BKL", "DF", "VASC", "SCC", "UNK")  # of 2018 and 2019, one-hot
_MALIGNANT = {"1": "1", "1.0": "1", "malignant": "1", "0": "0", "0.0": "0", "benign": "0"}


def is_known(names: Sequence[str]) -> bool:
    """Whether a header is that of a table that a known data set comes with."""
    return not {"path", "label"} <= set(names) and (_known(names) is not None or _is_one_hot(names))


def canonical(table: csv_files.Table, path: Path, columns: Columns = PATH_LABEL_GROUP) -> csv_files.Table:
    """The table with its picture in the column path, its label in label and its group, where it has one, in group.

    Args:
        columns: As the user names them. Without any, the columns have these names already, or those of a known data
            set. Where the picture's column is another than path, image_id is its text. A column malignant has "1" and
            "0" where it had "1.0" and "0.0". Other columns stay as they are.

    Raises:
        DataError: Where a column is not there, or a known data set's row has not one label.
    """
    names = table.columns
    for name in (columns.image, columns.label, columns.group):
        if name and name not in names:
            raise DataError(f"{path} has no column {name}; found: {shown(names)}")
    if columns == PATH_LABEL_GROUP and is_known(names):
        return _of_known(table, path)
    wanted = {(columns.image or "path"): "path", (columns.label or "label"): "label"}
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; found: {shown(names)} (--image-column and --label-column name "
            "others)"
        )
    if len(wanted) < 2:
        raise DataError(f"{path}: one column cannot be both the picture and its label")
    if columns.group:
        wanted[columns.group] = "group"
    taken = {name: at for at, name in enumerate(names) if name not in wanted and name not in wanted.values()}
    at = taken | {new: names.index(old) for old, new in wanted.items()}
    if columns.image not in (None, "path"):
        at["image_id"] = at["path"]
    one = _taken(table, at)
    if "malignant" in one.columns:
        place = one.columns.index("malignant")
        for row in one.rows:
            row[place] = {"1.0": "1", "0.0": "0"}.get(row[place], row[place])
    return one


def shown(names: Sequence[str]) -> str:
    return (", ".join(names[:20]) + (", ..." if len(names) > 20 else "")) or "none"


def _taken(table: csv_files.Table, at: Mapping[str, int]) -> csv_files.Table:
    rows = [[row[position] for position in at.values()] for row in table.rows]
    return replace(table, columns=list(at), rows=rows)


def _known(names: Sequence[str]) -> tuple[str, str, Mapping[str, str]] | None:
    for image, label, others in _KNOWN:
        if image in names and (label in names or (label == "diagnosis" and "diagnosis_1" in names)):
            return image, label, others
    return None


def _is_one_hot(names: Sequence[str]) -> bool:
    return "image" in names and set(_CLASSES[:3]) <= set(names)


def _of_known(table: csv_files.Table, path: Path) -> csv_files.Table:
    names = table.columns
    found = _known(names)
    image, label, others = found or ("image", "", {"lesion_id": "lesion"})
    at = {name: position for position, name in enumerate(names) if name not in (image, "label", "path", "malignant")}
    at |= {new: at.pop(old) for old, new in others.items() if old in at}
    one = _taken(table, {**at, "path": names.index(image), "image_id": names.index(image)})
    labels = [_label(dict(zip(names, row, strict=True)), label) for row in table.rows]
    for said, line in zip(labels, table.lines, strict=True):
        if said is None:
            raise DataError(f"{path}, line {line}: not exactly one of its classes is 1")
    own = next((name for name in ("target", "diagnosis_1", "benign_malignant") if name in names), None)
    targets = [_MALIGNANT.get(row[names.index(own)].lower(), "") if own else "" for row in table.rows]
    rows = [[*row, said or "", target] for row, said, target in zip(one.rows, labels, targets, strict=True)]
    return replace(one, columns=[*one.columns, "label", "malignant"], rows=rows)


def _label(row: Mapping[str, str], column: str) -> str | None:
    """A row's diagnosis, "" where it has none; None where it has several."""
    if column == "target":
        diagnosis = row.get("diagnosis", "").lower()
        side = {"1": SIDES[1], "1.0": SIDES[1], "0": SIDES[0], "0.0": SIDES[0]}.get(row["target"], "")
        return ISIC_DIAGNOSES.get(diagnosis, side)
    if column == "diagnosis":
        code = words = ""
        for level in _LEVELS:
            text = row.get(level, "").lower()
            code = ISIC_DIAGNOSES.get(text, code)
            if text and level not in _LEVELS[3:]:  # diagnosis_3 is the usual depth
                words = text
        return code or words.replace("unknown", "")
    if column:
        return row[column]
    ones = [name for name in _CLASSES if row.get(name) in ("1", "1.0")]
    return ones[0].replace("UNK", "") if len(ones) == 1 else None
