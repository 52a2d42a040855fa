"""What a training will do, told before TensorFlow is loaded: a fresh one, a resumed one, or one fold of several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd

from ..benchmarks.report.document import Document, Section, facts
from ..benchmarks.stats import group_kinds
from ..edge_runtime import files
from ..edge_runtime.errors import DataError, OutputExistsError, UsageError
from ..edge_runtime.labels import Label
from ..edge_runtime.patient import Encoding
from ..edge_runtime.wording import counted
from . import preflight, request
from .data import clean, further, grouping, inventory, patients, splits
from .data.layouts import Dataset
from .loop.distribution import Place
from .pipeline import sampling
from .prepare import Prepared, Report, prepare, read, with_fields
from .recipes import published
from .recipes.recipe import Recipe
from .recipes.run_config import RunConfig, seen_from
from .recipes.settings import TABLE
from .request import TrainSettings, check_resumable
from .runs import distillation, earlier_runs, run_folder
from .runs.run_folder import Run

_TIMED = ("backbone", "width", "image_size", "unfreeze", "hidden", "metadata", "distillation")
"""What of a recipe its hours depend on."""

_TIMED_EPOCHS, _TIMED_IMAGES = 30, 6500


ONE_PROCESS = Place()


@dataclass(frozen=True)
class Fold:
    """One of several trainings over the same pictures: what they share, so that nothing is done twice.

    Attributes:
        prepared: Its frame with the fold's split, without unreadable pictures.
        pictures: `batches.Pictures` of its rows.
        skipped: image_id -> reason.
        number, of: 1 of 5, say.
    """

    prepared: Prepared
    pictures: Any
    skipped: dict[str, str]
    number: int
    of: int


@dataclass(frozen=True)
class TrainPlan:
    """All that decides a training.

    Attributes:
        settings: With the fields of metadata and the kind of split that the data have.
        frame: The rows that take part, with their split.
        found: Of config.yaml, what reading the data found.
        unused: Files by why.
        teachers, start: The runs it learns from.
        skipped: image_id -> why it cannot be read.
        started: The run that is gone on with.
        place: Of this process among those that train.
    """

    settings: TrainSettings
    dataset: Dataset
    frame: pd.DataFrame
    labels: tuple[Label, ...]
    found: Mapping[str, Any] = field(default_factory=dict)
    unused: Mapping[str, list[str]] = field(default_factory=dict)
    teachers: tuple[Run, ...] = ()
    start: Run | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    started: Run | None = None
    fold: Fold | None = None
    place: Place = ONE_PROCESS

    @property
    def recipe(self) -> Recipe:
        return self.started.recipe if self.started else self.settings.recipe

    @property
    def codes(self) -> tuple[str, ...]:
        """Of the labels, in the network's order."""
        return tuple(label.code for label in self.labels)

    @property
    def encoding(self) -> Encoding | None:
        """Of the patients' metadata: the run's own, else fitted to the training part. None where there is none."""
        if self.started:
            return self.started.encoding
        told = self.recipe.metadata
        return patients.fitted(told, self.frame.loc[self.frame["split"] == "train"]) if told else None

    @property
    def near_duplicates(self) -> Mapping[str, Any]:
        """What `grouping.connect` did."""
        found = self.started.config.found if self.started else self.found
        return found.get("near_duplicates") or {"on": False}

    @property
    def leakage(self) -> dict[str, Any]:
        """What of the test part leaks from training, 0..1; None is not known.

        As it was when the run was begun: split.csv has the connected groups alone.
        """
        if self.started is None:
            leaked = grouping.leakage(self.frame)
        else:
            told = self.started.config.found.get("leakage")
            leaked = dict(told or {"leaked_share_of_test": splits.leaked_share(self.frame)})
        if not self.near_duplicates["on"]:
            leaked.pop("leaked_share_of_test_with_near_duplicates", None)
        if not grouping.groups_in(self.part("test"))["groups_known"]:  # an older run said 0 there
            leaked["leaked_share_of_test"] = None
        return leaked

    @property
    def steps(self) -> int:
        """Of one epoch."""
        positions = self.part("train")["label"].map({code: i for i, code in enumerate(self.codes)}).to_numpy("int64")
        return sampling.epoch_size(positions, self.recipe.balance) // self.recipe.batch_size or 1

    @property
    def hours(self) -> float | None:
        """Of all epochs on two CPU cores, by the recipe's measured hours; None where its network was changed."""
        own, known = self.recipe, published.RECIPES.get(self.recipe.name)
        if known is None or not known.hours or any(getattr(own, name) != getattr(known, name) for name in _TIMED):
            return None
        if self.teachers:
            return None
        images = self.steps * own.batch_size
        return known.hours * (own.epochs / _TIMED_EPOCHS) * (images / _TIMED_IMAGES)

    def part(self, name: str) -> pd.DataFrame:
        """The rows of "train", "val" or "test"."""
        return self.frame.loc[self.frame["split"] == name].reset_index(drop=True)

    def config(self, *, mixed_precision: bool, devices: int, machine: Mapping[str, Any]) -> RunConfig:
        """What RUN/config.yaml holds, of a run that is begun."""
        out, dataset, place = self.settings.out, self.dataset, self.place
        unreadable = {inventory.UNREADABLE: len(self.skipped)} if self.skipped else {}
        encoding, earlier = self.encoding, {"teachers": self.teachers, "start": (self.start,) if self.start else ()}
        learned = {name: earlier_runs.described(runs, out) for name, runs in earlier.items() if runs}
        found = {
            **self.found,
            "leakage": grouping.leakage(self.frame),
            "unused": {**inventory.counts(dict(self.unused)), **unreadable},
            **({"metadata": encoding.to_list()} if encoding else {}),
            **learned,
            **({"start": learned["start"][0]} if self.start else {}),
            **({"fold": {"number": self.fold.number, "of": self.fold.of}} if self.fold else {}),
            **({"distribute": {"kind": place.kind, "devices": devices}} if place.kind else {}),
            "machine": dict(machine),
        }
        data = {
            "path": seen_from(out, self.settings.data),
            "folder": seen_from(out, dataset.root),
            "pictures": str(dataset.images or dataset.root),  # becomes the way there from RUN
            "layout": dataset.layout,
            "images": len(self.frame),
            "fingerprint_sha256": run_folder.fingerprint(self.frame),
        }
        settings = replace(self.settings, mixed_precision=mixed_precision)
        return RunConfig(settings.recipe, self.labels, request.written(settings), data, found)

    def split_lines(self) -> list[str]:
        """Of the split and what leaks in it, for people."""
        counts = self.frame["split"].value_counts()
        lines = [
            f"{self.dataset.layout}: {counted(len(self.frame), 'image')}, {len(self.labels)} classes; "
            f"train {counts['train']}, val {counts['val']}, test {counts['test']}"
        ]
        leaked = {**self.leakage, **grouping.groups_in(self.part("test"))}
        first, *others = group_kinds.leaks(leaked, lambda name: f"{leaked[name]:.2%}")
        lines.append(first if leaked["groups_known"] else f"warning: {first} (--group-from names them)")
        lines += others
        if group_kinds.too_good(leaked):
            lines.append("warning: so the test figures are too good (--split lesion avoids that)")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: what `train --dry-run --json` prints."""
        told = request.written(self.settings)
        parts = {name: self.part(name) for name in splits.PARTS}
        return {
            "out": str(self.settings.out),
            "begun": "resumed" if self.started else f"fold 1 of {self.fold.of}" if self.fold else "fresh",
            "data": {"path": str(self.settings.data), "layout": self.dataset.layout, "images": len(self.frame)},
            "split": {
                "kind": self.settings.split,
                "images": {name: len(rows) for name, rows in parts.items()},
                "counts": {
                    code: {name: int((rows["label"] == code).sum()) for name, rows in parts.items()}
                    for code in self.codes
                },
                "near_duplicates": dict(self.near_duplicates),
                **self.leakage,
            },
            "settings": {row.name: told[row.name] for row in TABLE},
            "recipe": self.recipe.to_dict(),
            "steps_per_epoch": self.steps,
            "epochs_at_most": self.recipe.epochs,
            "hours_on_two_cpu_cores_at_most": self.hours,
        }


def make(settings: TrainSettings, report: Report, place: Place | None = None, fold: Fold | None = None) -> TrainPlan:
    """The plan of a training, from its settings and data. Writes nothing.

    Args:
        settings: The resolved request.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
        place: Where this process trains; None is one device.
        fold: The fold of a cross-validation; None is a single training.

    Returns:
        What is trained, on which images and how.
    """
    check_output(settings)
    clean.check(settings.clean)
    earlier = {flag: earlier_runs.read(folders, flag) for flag, folders in settings.earlier.items()}
    preflight.check_call(settings.recipe.weights)
    if settings.resume and run_folder.is_run(settings.out):
        plan = _resumed(settings, earlier, fold)
    elif fold:
        plan = of_prepared(settings, fold.prepared)
    else:
        plan = of_prepared(settings, prepare(settings, report))
    teachers, start = earlier["--teacher"], earlier["--start"]
    distillation.check_classes(teachers, plan.labels)
    for flag, runs in earlier.items():
        earlier_runs.check_unseen(runs, plan.frame, flag)
    skipped = dict(fold.skipped) if fold and not plan.started else {}
    first = start[0] if start else None
    return replace(plan, teachers=tuple(teachers), start=first, skipped=skipped, fold=fold, place=place or ONE_PROCESS)


def of_prepared(settings: TrainSettings, prepared: Prepared) -> TrainPlan:
    """A fresh training of rows that were read already."""
    found = {
        "benign_or_malignant": prepared.sides,
        "left_out": dict(prepared.dataset.left_out),
        "clean": prepared.dropped,
        "near_duplicates": prepared.near_duplicates,
        "copies": prepared.copies,
    }
    dataset = prepared.dataset
    return TrainPlan(
        with_fields(settings, dataset), dataset, prepared.frame, dataset.labels, found, unused=prepared.unused
    )


def _resumed(settings: TrainSettings, earlier: Mapping[str, list[Run]], fold: Fold | None) -> TrainPlan:
    out, started = settings.out, run_folder.read(settings.out)
    dataset = read(replace(settings, group_from=None))
    if settings.group_from:  # split.csv has them
        dataset = replace(dataset, has_groups=True)
    settings = with_fields(settings, dataset)
    check_resumable(started, settings, earlier)
    # DATA may be elsewhere now. Of an older run the paths are absolute: as they were, or below --images.
    older = None if started.pictures else settings.images
    started = run_folder.read(out, older, dataset.images or dataset.root)
    if (out / "metrics.json").is_file():
        raise UsageError(f"{out} is complete: nothing to resume (a longer training needs another --out)")
    if fold and list(started.split["image_id"]) != list(fold.prepared.frame["image_id"]):
        raise DataError(f"the images of {out} are not those of the other folds: it cannot be resumed")
    started = replace(started, split=further.relocated(started.split, dataset.further))
    return TrainPlan(settings, dataset, started.split, started.labels, started=started)


def check_output(settings: TrainSettings) -> None:
    """Raises OutputExistsError or UsageError where RUN is there and may not be replaced or gone on with."""
    out: Path = settings.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if (settings.overwrite or settings.resume) and not run_folder.is_run(out):
        flag = "--overwrite does not replace it" if settings.overwrite else "--resume cannot continue it"
        raise UsageError(f"{out} is not a run folder, so {flag}: choose another --out")
    if settings.overwrite:
        split = [settings.split] if settings.split and settings.split not in splits.KINDS else []
        files.check_replaceable(out, [settings.data, *settings.also, *split, *chain(*settings.earlier.values())])
    elif not settings.resume:
        raise OutputExistsError(out, "continue with --resume, replace it with --overwrite, or choose another --out")


def document(plan: TrainPlan) -> Document:
    told, recipe = plan.to_dict(), plan.recipe
    size = "x".join(map(str, recipe.image_size))
    trained = (
        "all layers" if recipe.unfreeze is None else f"the last {counted(recipe.unfreeze, 'layer')} of the backbone"
    )
    said = {
        "data": [f"{told['data']['path']} ({told['data']['layout']})"],
        "split": plan.split_lines(),
        "train/val/test": [f"{code} {'/'.join(map(str, n.values()))}" for code, n in told["split"]["counts"].items()],
        "settings": [f"{row.flag} {_shown(told['settings'][row.name])}" for row in TABLE],
        "recipe": [recipe.name],
        "network": [
            f"{recipe.backbone}, width {recipe.width:g}, {size} pixels, weights {recipe.weights}",
            f"trained: {trained} and the head",
        ],
        "training": [f"{recipe.loss}, learning rate {recipe.learning_rate:g} ({recipe.schedule})"],
        "steps": [
            f"{plan.steps} per epoch, of {counted(recipe.batch_size, 'image')} each; at most "
            f"{counted(recipe.epochs, 'epoch')}"
        ],
        "time": [_time(plan)],
    }
    rows = [("" if i else name, line) for name, lines in said.items() for i, line in enumerate(lines)]
    title = f"plan of {told['out']} ({told['begun']}); nothing is written"
    return Document("", title, [Section("plan", "", [facts(rows)])], "skin-edge train")


def _time(plan: TrainPlan) -> str:
    if plan.hours is None:
        return "not known: the recipe's hours are of another network"
    each = 3600 * plan.hours / plan.recipe.epochs
    in_all = f"{plan.hours:.1f} h" if plan.hours >= 1 else f"{max(60 * plan.hours, 1):.0f} min"
    return f"about {each:.0f} s per epoch on two CPU cores, {in_all} for all epochs"


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(one) for one in value) or "none"
    return str(value)
