"""What a model is to tell apart: the diagnoses, malignant from benign, or both; and classes of one's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...benchmarks.inputs.classes import SIDES, TASKS, class_of, read_labels
from ...edge_runtime.errors import DataError, UnknownNameError, UsageError
from ...edge_runtime.labels import BENIGN_MALIGNANT, Label, is_precancerous, label_for, same_label
from ...edge_runtime.wording import counted
from .layouts import Dataset

_MOST_SHOWN = 12  # classes in a message


@dataclass(frozen=True)
class OwnLabels:
    """Classes of a user's own, and the file that they came from, or other words for it."""

    labels: tuple[Label, ...]
    source: str


def for_task(
    dataset: Dataset, task: str, own: OwnLabels | Path | None = None, *, drop: Sequence[str] = (), min_images: int = 0
) -> tuple[Dataset, list[dict[str, Any]]]:
    """The data set with the labels of the task, and how each diagnosis became one (empty for diagnoses).

    Args:
        dataset: The data set.
        task: "diagnosis": the classes are those of `own` (or of that csv), in its order, else the layout's.
            "malignant": benign and malignant, by the data set's own target, else by `own`, else by the table of
            diagnoses. "malignant-classes": so too, and each malignant diagnosis is a class of its own. Rows that belong
            to no class are left out, which a note says.
        own: The user's own classes, or a csv of them; None without.
        drop: Labels that are left out first.
        min_images: Classes with fewer are left out last; `Dataset.left_out` counts both.

    Raises:
        UnknownNameError: For another task.
        DataError: Where a label is not in `own`, one of its classes has no image, most images have no diagnosis, a
            diagnosis is on neither side, or there are too few classes or images.
    """
    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    if isinstance(own, Path):
        own = OwnLabels(read_labels(own), str(own))
    if own is not None:
        dataset = _with_labels(dataset, own)
    dataset = without_classes(dataset, drop)
    mapping: list[dict[str, Any]] = []
    if task == "diagnosis":
        dataset = _diagnosis(dataset)
    else:
        dataset, mapping = _malignant(dataset, own, split_further=task == "malignant-classes")
    dataset = without_classes(dataset, min_images=min_images)
    if len(dataset.labels) < 2:
        only = ", ".join(label.code for label in dataset.labels)
        raise DataError(f"{dataset.root} holds one class only ({only}): a classifier needs two or more")
    if len(dataset.frame) < 3 * len(dataset.labels):
        raise DataError(
            f"{dataset.root} holds {len(dataset.frame)} images for {len(dataset.labels)} classes: training, validation "
            "and test need one of each class at least"
        )
    return dataset, mapping


def without_classes(dataset: Dataset, names: Sequence[str] = (), *, min_images: int = 0) -> Dataset:
    """The data set without the classes of these names, and without those that have fewer than `min_images` pictures.

    Raises UsageError where a name is not a class of it.
    """
    counts: dict[str, int] = dataset.frame["label"].value_counts().to_dict()
    there = sorted({str(label) for label in counts if label} | {label.code for label in dataset.labels})
    gone: set[str] = set()
    for name in names:
        code = same_label(name, there)
        if code is None:
            raise UsageError(f"--drop-class {name}: no such class; there are {', '.join(there)}")
        gone.add(code)
    gone |= {label.code for label in dataset.labels if 0 < counts.get(label.code, 0) < min_images}
    if not gone:
        return dataset
    left_out = {code: counts.get(code, 0) for code in sorted(gone)}
    named = ", ".join(f"{code} ({counted(count, 'image')})" for code, count in left_out.items())
    rows = dataset.frame["label"].isin(list(gone))
    return replace(
        dataset,
        frame=dataset.frame.loc[~rows].reset_index(drop=True),
        passed_over={**dataset.passed_over, **dict.fromkeys(dataset.frame.loc[rows, "path"], "class left out")},
        labels=tuple(label for label in dataset.labels if label.code not in gone),
        notes=(*dataset.notes, f"classes left out: {named}"),
        left_out={**dataset.left_out, **left_out},
    )


def described(mapping: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each diagnosis: where it counts, how many images, who says so."""
    return [
        f"  {row['diagnosis'] or 'no diagnosis'}: {row['side']}, {counted(row['images'], 'image')}, "
        f"according to {row['source']}" + (f" ({row['remark']})" if row.get("remark") else "")
        for row in mapping
    ]


def _with_labels(dataset: Dataset, own: OwnLabels) -> Dataset:
    codes = [label.code for label in own.labels]
    found = dataset.frame["label"].map({label: same_label(label, codes) for label in dataset.frame["label"].unique()})
    strangers = dataset.frame.loc[found.isna() & (dataset.frame["label"] != "")]
    if len(strangers):
        row = strangers.iloc[0]
        raise DataError(f"label '{row['label']}' of {row['image_id']} is not in {own.source}: {', '.join(codes)}")
    return replace(dataset, frame=dataset.frame.assign(label=found.fillna("")), labels=own.labels)


def as_classes(
    rows: pd.DataFrame, codes: Sequence[str], task: str | None = None, own: Sequence[Label] = ()
) -> tuple[pd.Series, list[str]]:
    """The labels of pictures in a model's own words, and a line for each that is not one of them already.

    Args:
        rows: Columns label and, where the data set has a target of its own, malignant ("1", "0" or "").
        codes, task, own: As `classes.class_of` takes them. What means none of the model's classes stays.
    """
    targets = rows["malignant"] if "malignant" in rows else pd.Series("", rows.index)
    found: dict[tuple[str, str], str] = {}
    for label, target in {*zip(rows["label"], targets, strict=True)}:
        meant = class_of(label, codes, target=target, task=task, own=own)
        found[label, target] = label if meant is None else meant
    labels = [found[both] for both in zip(rows["label"], targets, strict=True)]
    counts = Counter(zip(rows["label"], labels, strict=True))
    sides = [code for code in codes if same_label(code, SIDES)]
    lines = [
        f"  {label or 'no diagnosis'}: counts as {meant}, {counted(count, 'image')}"
        + (" (holds precancerous keratoses)" if meant in sides and is_precancerous(label) else "")
        for (label, meant), count in sorted(counts.items())
        if label != meant
    ]
    return pd.Series(labels, rows.index, dtype=object), lines


def _diagnosis(dataset: Dataset) -> Dataset:
    frame = dataset.frame
    outside = ~frame["label"].isin([label.code for label in dataset.labels])
    if 2 * outside.sum() > len(frame):
        hint = "--task malignant uses the data set's target" if (frame["malignant"] != "").any() else "see --labels"
        raise DataError(
            f"{dataset.root}: {int(outside.sum())} of {len(frame)} images have no diagnosis that is a class: {hint}"
        )
    absent = [label.code for label in dataset.labels if not (frame["label"] == label.code).any()]
    if absent:
        raise DataError(f"{dataset.root} has no image of class '{absent[0]}': leave it out of --labels")
    if not outside.any():
        return dataset
    counts = frame.loc[outside, "label"].replace("", "none").value_counts()
    named = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:5])
    note = f"{int(outside.sum())} images whose diagnosis is not a class are left out: {named}" + (
        ", ..." if len(counts) > 5 else ""
    )
    return replace(dataset, frame=frame.loc[~outside].reset_index(drop=True), notes=(*dataset.notes, note))


def _malignant(
    dataset: Dataset, own_labels: OwnLabels | None, *, split_further: bool
) -> tuple[Dataset, list[dict[str, Any]]]:
    frame = dataset.frame
    classes = {label.code: label for label in dataset.labels}
    known = {code: _with_side(classes.get(code) or label_for(code)) for code in frame["label"].unique()}
    by_table = frame["label"].map(
        {code: "" if label.malignant is None else str(int(label.malignant)) for code, label in known.items()}
    )
    own = frame["malignant"] != ""
    target = frame["malignant"].where(own, by_table)
    nowhere = frame.loc[(target == "") & frame["label"].isin(list(classes))]
    if len(nowhere):
        raise DataError(_whether_malignant(nowhere["label"], [known[code] for code in classes if code in known]))
    table = f"--labels {Path(own_labels.source).name}" if own_labels else "the table of diagnoses"
    rows = pd.DataFrame(
        {
            "diagnosis": frame["label"],
            "side": target.map({"1": "malignant", "0": "benign", "": "left out"}),
            "source": own.map({True: "the data set's target", False: table}).where(target != "", "nobody"),
        }
    )
    counts = pd.DataFrame(rows.groupby(["diagnosis", "side", "source"], as_index=False).size())
    mapping: list[dict[str, Any]] = counts.rename(columns={"size": "images"}).to_dict("records")
    for row in mapping:
        row["images"] = int(row["images"])  # not NumPy's: it goes to YAML
        if is_precancerous(row["diagnosis"]):
            row["remark"] = f"holds precancerous keratoses, which count as {row['side']} here"
    left_out = target == ""
    notes = dataset.notes
    if left_out.any():
        notes = (*notes, f"{int(left_out.sum())} images that are not known to be benign or malignant are left out")
    side = target.map({"1": "malignant", "0": "benign"})
    # What is malignant by the target alone, such as a malignant "nevus", is not a diagnosis that could be a class.
    diagnosed = {
        code: label
        for code, label in known.items()
        if label.malignant and code in classes and same_label(code, SIDES) is None
    }
    if split_further:
        side = frame["label"].where((target == "1") & frame["label"].isin(list(diagnosed)), side)
    frame = frame.assign(label=side)
    present = set(frame["label"])
    labels = tuple(label for label in (*BENIGN_MALIGNANT, *diagnosed.values()) if label.code in present)
    return replace(dataset, frame=frame.loc[~left_out].reset_index(drop=True), labels=labels, notes=notes), mapping


def _with_side(label: Label) -> Label:
    """With what the table of diagnoses says, where nobody else says whether it is malignant."""
    return label if label.malignant is not None else label._replace(malignant=label_for(label.code).malignant)


def _whether_malignant(labels: pd.Series, classes: Sequence[Label]) -> str:
    """The error about labels of which it is not known whether they are malignant: it shows the file that would."""
    label = str(labels.iloc[0])
    shown = classes if len(classes) <= _MOST_SHOWN else [one for one in classes if one.code == label]
    sides = {True: "1", False: "0", None: "?"}
    lines = ["code,name,malignant", *(f"{one.code},{one.name},{sides[one.malignant]}" for one in shown)]
    file = " | ".join(lines) + (" | ..." if len(shown) < len(classes) else "")
    return (
        f"it is not known whether '{label}' ({int((labels == label).sum())} images) is malignant: write labels.csv "
        f"with the lines {file} (1 or 0 for each ?), and add --labels labels.csv"
    )
