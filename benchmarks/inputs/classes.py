"""What the labels of data mean to a model: the same class, a side (benign or malignant), or nothing that it knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...edge_runtime import csv_files
from ...edge_runtime.errors import DataError, UsageError
from ...edge_runtime.labels import BENIGN_MALIGNANT, Label, has_control_characters, label_for, same_label

TASKS = ("diagnosis", "malignant", "malignant-classes")
"""What a model may be to tell apart: the diagnoses; malignant from benign; so too, with each malignant diagnosis a
class of its own."""

SIDES = tuple(label.code for label in BENIGN_MALIGNANT)

_TRUE_FALSE = {"1": True, "0": False, "": None}
_COLUMNS = ("code", "name", "malignant")


def read_labels(path: str | Path) -> tuple[Label, ...]:
    """The classes of a csv with the columns code, name and malignant (1, 0 or blank), in its order.

    A blank name is the code's. Raises UsageError where there is no such file; DataError where a column is missing, a
    code is blank or occurs twice, or malignant is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"--labels {path}: no such file")
    table = csv_files.read(path, lambda name: name in _COLUMNS)
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; a file of labels has code, name and malignant")
    labels: dict[str, Label] = {}
    for cells, line in zip(table.rows, table.lines, strict=True):
        code, name, malignant = (dict(zip(table.columns, cells, strict=True))[column].strip() for column in _COLUMNS)
        if not code:
            raise DataError(f"{path} line {line}: code is blank")
        if malignant not in _TRUE_FALSE:
            raise DataError(f"{path}: malignant '{malignant}' of {code} is not 1, 0 or blank")
        if code.lower() in labels:
            raise DataError(f"{path}: code {code} occurs twice")
        if has_control_characters(code + name):
            raise DataError(f"{path}: code {code!r} or name {name!r} holds control characters")
        labels[code.lower()] = Label(code, name or code, _TRUE_FALSE[malignant])
    return tuple(labels.values())


def is_table_of_labels(path: str | Path) -> bool:
    """Whether a file of labels is one for `read_labels`, and not a list of a model's labels, one a line."""
    try:
        return set(_COLUMNS) <= set(csv_files.read(path, most=0).columns)
    except DataError:
        return False


def task_of(codes: Sequence[str]) -> str:
    """Of TASKS, as a model's classes say it: not the first where benign and malignant are among them."""
    both = set(SIDES) <= {same_label(code, SIDES) for code in codes}
    return "diagnosis" if not both else "malignant" if len(codes) == 2 else "malignant-classes"


def remedy(labels: Iterable[str], codes: Sequence[str]) -> str:
    """The end of an error about labels that a model does not know; "" where there is nothing to add."""
    if task_of(codes) == "diagnosis" and any(same_label(label, SIDES) for label in labels):
        return "; this model answers diagnoses, so measure one that was trained on benign and malignant"
    return ""


def class_of(
    label: str, codes: Sequence[str], *, target: str = "", task: str | None = None, own: Sequence[Label] = ()
) -> str | None:
    """The one of a model's classes that a label of data means; None where it means none.

    The same label, or one of the same meaning (`labels.same_label`), is that class. Where the model tells malignant
    from benign, a diagnosis is on the side of the target, else of `own`, else of the table of diagnoses. Where each
    malignant diagnosis is a class of its own, it is that one.

    Args:
        label: The label, as the data has it.
        codes: The model's.
        target: The data set's own, "1", "0" or "".
        task: Of TASKS, the model's; None and "diagnosis" are what `task_of` says.
        own: What the user says of the data's labels (--labels).
    """
    said = {one.code: one for one in own}
    code = same_label(label, list(said))
    malignant = {"1": True, "0": False}.get(target)
    for known in (said[code] if code else None, label_for(label)):
        if malignant is None and known is not None:
            malignant = known.malignant
    meant = same_label(label, codes) or (same_label(code, codes) if code else None)
    task = task_of(codes) if task in (None, "diagnosis") else task
    if task == "diagnosis" or malignant is None or (task == "malignant" and meant is not None):
        return meant
    if malignant and meant is not None and same_label(meant, SIDES) is None:
        return meant
    return {same_label(code, SIDES): code for code in codes}.get(SIDES[malignant])
