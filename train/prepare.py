"""What takes part in a training: the data set read and cleaned, its classes, groups and split. No TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ..edge_runtime import csv_files
from ..edge_runtime.errors import DataError, ImageError, UsageError
from ..edge_runtime.preprocess import load_decoder
from ..edge_runtime.wording import counted
from .data import duplicates, further, grouping, inventory, patients, splits, tasks
from .data.clean import clean, dropped_by
from .data.layouts import Dataset, read_dataset
from .request import TrainSettings

Report = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """What takes part in a training, before a picture is decoded for it.

    Attributes:
        frame: The data set's columns, `named_group` and, but for folds, `split`.
        dropped, sides: What `clean` and `tasks.for_task` said.
        near_duplicates: What `grouping.connect` did.
        unused: Files, by why (`inventory.unused`).
        copies: How many files are there twice, and what of it is wrong.
    """

    dataset: Dataset
    frame: pd.DataFrame
    dropped: dict[str, int]
    sides: list[dict[str, Any]]
    near_duplicates: dict[str, Any]
    unused: dict[str, list[str]]
    copies: dict[str, int]


def read(settings: TrainSettings) -> Dataset:
    """The data set as its files have it."""
    return read_dataset(
        settings.data,
        settings.layout,
        settings.columns,
        settings.images,
        settings.group_from,
        also=settings.also,
    )


def prepare(settings: TrainSettings, report: Report, *, split: bool = True) -> Prepared:
    """Reads the data set, leaves rows out, names the classes, connects groups and, unless told not to, splits."""
    dataset = read(settings)
    asked, settings = settings.split, with_split(settings, dataset)
    if settings.split == "official" and not asked:
        report(f"split: the folders train, val and test of {dataset.root} (--split lesion splits train/ alone)")
    found = inventory.unused(dataset)
    if found:
        report(f"not used: {counted(sum(map(len, found.values())), 'file')} below {dataset.root}")
    for line in inventory.lines(found):
        report(f"  {line}")
    kept, dropped = _cleaned(dataset, settings, report)
    taken = {name: f"--clean {rule}" for name, rule in dropped_by(dataset.frame, settings.clean).items()}
    dataset, sides = tasks.for_task(
        replace(dataset, frame=kept),
        settings.task,
        settings.labels,
        drop=settings.drop_classes,
        min_images=settings.min_images,
    )
    if dataset.left_out:
        left_out = set(kept["image_id"]) - set(dataset.frame["image_id"])
        taken |= dict.fromkeys(left_out, "--drop-class or --min-images")
    for line in (*dataset.notes, *(["benign or malignant:"] if sides else []), *tasks.described(sides)):
        report(line)
    frame, near = choose(dataset, settings, report, taken, split=split)
    return Prepared(dataset, frame, dropped, sides, near, found, _copies(frame, report))


def with_fields(settings: TrainSettings, dataset: Dataset) -> TrainSettings:
    """The settings with the fields of metadata that the data set has by name, and with its kind of split."""
    told = patients.found_in(settings.recipe.metadata, dataset.frame, f"{dataset.root} ({dataset.layout})")
    return with_split(replace(settings, recipe=replace(settings.recipe, metadata=told)), dataset)


def with_split(settings: TrainSettings, dataset: Dataset) -> TrainSettings:
    """The settings with the kind of split that the data set has where none is named."""
    return replace(settings, split=settings.split or dataset.split_kind(settings.recipe.split))


def choose(
    dataset: Dataset, settings: TrainSettings, report: Report, taken: Mapping[str, str], *, split: bool = True
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows that take part, grouped and with their split, and what near-duplicates did (`grouping.connect`).

    Of the data set's own rows all of it is found; the further pictures of those that take part join them at the end.

    Args:
        dataset: The data set.
        settings: The resolved request.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
        taken: image_id -> the flag that left it out.
        split: False leaves the split out.
    """
    kind = settings.split or dataset.split_kind(settings.recipe.split)
    fractions, seed, from_file = settings.recipe.fractions, settings.seed, kind not in splits.KINDS
    if kind == "official":
        frame = _official(dataset, settings)
    elif from_file:
        frame = _of_file(dataset, kind, taken, report)
    else:
        frame = _of_training(dataset, report)
    if settings.limit is not None and kind != "official":
        frame = splits.stratified_sample(frame, settings.limit, seed)
    if kind == "lesion" and split:
        splits.split_frame(frame, fractions, seed)  # what is wrong with it is said before pictures are compared
    frame, near = grouping.connect(frame, settings.near_duplicates, kind, report)
    if split and not from_file:
        if kind == "official":
            parts = splits.official_split(frame, fractions, seed)
        elif kind == "random":
            parts = splits.split_frame(frame, fractions, seed, by_group=False)
        else:
            parts = splits.connected_split(frame, fractions, seed)
        frame = frame.assign(split=parts)
    return further.joined(frame, dataset.further), near


def _cleaned(dataset: Dataset, settings: TrainSettings, report: Report) -> tuple[pd.DataFrame, dict[str, int]]:
    """The rows that the rules leave, and rule -> how many it took."""
    kept, dropped = clean(dataset.frame, settings.clean)
    for rule, count in dropped.items():
        report(f"--clean {rule} leaves out {counted(count, 'image')}")
    if gone := sorted(set(dataset.frame["label"]) - set(kept["label"])):
        raise DataError(f"--clean leaves no image of class {', '.join(gone)}")
    if not settings.skip_unreadable:
        _check_there(further.joined(kept, dataset.further), dataset.layout)
    return kept, dropped


def _check_there(frame: pd.DataFrame, layout: str) -> None:
    """Said before any picture is decoded. Raises DataError where a row has no picture, or no decoder."""
    missing = frame.loc[frame["path"] == "", "image_id"]
    if len(missing) and layout == "csv":  # ids of a data set are often more than its pictures: listed when all are read
        raise DataError(
            f"{len(missing)} of {len(frame)} pictures are not there, the first is {missing.iloc[0]}: --images FOLDER "
            "says where they are now, --skip-unreadable leaves them out"
        )
    for kind, suffixes in (("HEIF", (".heic", ".heif", ".hif")), ("AVIF", (".avif",))):
        newer = [path for path in frame["path"] if path.lower().endswith(suffixes)]
        if newer:
            try:
                load_decoder(kind, newer[0])
            except ImageError as error:
                raise DataError(f"{len(newer)} of {len(frame)} pictures cannot be read: {error}") from None


def _official(dataset: Dataset, settings: TrainSettings) -> pd.DataFrame:
    frame = dataset.frame
    if not dataset.has_official_parts:
        raise UsageError(f"--split official: {dataset.root} ({dataset.layout}) has no official test part")
    if settings.limit is None:
        return frame
    share = settings.limit / len(frame)
    samples = [
        splits.stratified_sample(rows, round(share * len(rows)), settings.seed) for _, rows in frame.groupby("official")
    ]
    return pd.concat(samples, ignore_index=True)


def _of_file(dataset: Dataset, path: str, taken: Mapping[str, str], report: Report) -> pd.DataFrame:
    frame = dataset.frame.assign(split=splits.read_split(path, dataset.frame, taken))
    named = [name for [name] in csv_files.read(path, lambda name: name == "image_id").rows]
    here = {*frame["image_id"], *taken}.union(*(map(one.image_id, one.paths) for one in dataset.further))
    if absent := [name for name in named if name not in here]:
        report(f"left out: {counted(len(absent), 'further picture')} that {path} names, such as {absent[0]} (--also)")
    for flag, count in Counter(taken[name] for name in named if name in taken).most_common():
        report(f"left out by {flag}: {counted(count, 'image')} that {path} names")
    left_out = int((frame["split"] == "").sum())
    if left_out:
        report(f"left out: {counted(left_out, 'image')} that {path} does not name")
    frame = frame.loc[frame["split"] != ""].reset_index(drop=True)
    if absent := [part for part in splits.PARTS if part not in set(frame["split"])]:
        raise DataError(f"--clean leaves no image of {', '.join(absent)} in {path}")
    return frame


def _of_training(dataset: Dataset, report: Report) -> pd.DataFrame:
    """What is split again: where the data set has a test part, its training part alone."""
    frame = dataset.frame
    if dataset.has_official_parts:
        held_out = frame["official"].isin(("val", "test"))
        report(
            f"{int(held_out.sum())} images of the official val and test parts are left out (--split official uses them)"
        )
        frame = frame.loc[~held_out].reset_index(drop=True)
        if not len(frame):
            raise DataError(f"{dataset.root} has no picture in a training part")
    elif (frame["official"] != "").any():
        report("the data has no test part: all its pictures are split again, whatever part they are in")
    return frame


def _copies(frame: pd.DataFrame, report: Report) -> dict[str, int]:
    """How many files are there twice ("sets"), under several labels, and in the test part as well as in training."""
    sets = duplicates.same_files(list(frame["path"]))
    several = [rows for rows in sets if len(set(frame["label"].iloc[rows])) > 1]
    leaked = [rows for rows in sets if "split" in frame and {"train", "test"} <= set(frame["split"].iloc[rows])]
    for found, what in ((several, "have several labels"), (leaked, "are in the test part as well as in training")):
        if found:
            one, other = (
                f"{frame['image_id'].iloc[row]} ({frame['label'].iloc[row]})" for row in (found[0][0], found[0][-1])
            )
            report(f"warning: {len(found)} pictures that are there twice {what}, the first: {one} and {other}")
    return {"sets": len(sets), "several_labels": len(several), "in_test_and_training": len(leaked)}


def without_unreadable(
    frame: pd.DataFrame, failures: Mapping[int, str], settings: TrainSettings, report: Report
) -> tuple[pd.DataFrame, list[int], dict[str, str]]:
    """The frame without the rows that cannot be read, the positions of those that stay, and image_id -> reason.

    Args:
        frame: The rows that take part.
        failures: Position -> reason.
        settings: The resolved request.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.

    Raises:
        DataError: Where they may not be skipped, or were all of a class in a part.
    """
    for position, reason in failures.items():
        report(f"  {frame['image_id'][position]}: {reason}")
    if not settings.skip_unreadable:
        raise DataError(
            f"{len(failures)} of {len(frame)} images cannot be read (listed above): fix them, or leave them out with "
            "--skip-unreadable"
        )
    skipped = {str(frame["image_id"][position]): reason for position, reason in failures.items()}
    kept = [position for position in range(len(frame)) if position not in failures]
    parts = [part for part in splits.PARTS if "split" in frame and (frame["split"] == part).any()]
    report(f"leaving out {counted(len(skipped), 'image')} that cannot be read: skipped.csv lists them")
    frame = frame.iloc[kept].reset_index(drop=True)
    for label in sorted(frame["label"].unique()) if parts else ():
        absent = [part for part in parts if not ((frame["label"] == label) & (frame["split"] == part)).any()]
        if absent:
            raise DataError(f"without the unreadable images, class '{label}' has none left in: {', '.join(absent)}")
    return frame, kept, skipped
