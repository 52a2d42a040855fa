"""Several trainings over one data set, each with another test part: `skin-edge train --folds`.

    RUN/folds.yaml  folds.csv  fold-1/ ... fold-K/  metrics.json  predictions.csv

Every fold-i is a run folder like any other. A picture is tested once, by a network that has not seen its group.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from ..benchmarks.inputs import documents
from ..benchmarks.report.document import HEADLINES, Document, Notes, Section, Table, Text, number, ranged
from ..benchmarks.stats import few, group_kinds, metrics
from ..edge_runtime import files
from ..edge_runtime.errors import DataError, OutputExistsError, UsageError
from . import preflight
from .data import further, grouping, splits
from .data.clean import check
from .data.tables import EXTRA_COLUMNS
from .data.tables import read as read_table
from .data.tables import text as table_text
from .job import read_pictures, train
from .plan import Fold, TrainPlan, of_prepared
from .prepare import Prepared, Report, prepare, without_unreadable
from .recipes import kinds
from .request import TrainSettings, check_resumable
from .runs import run_folder


def cross_validate(settings: TrainSettings, k: int, report: Report) -> dict[str, Any]:
    """Trains k times and writes RUN; returns what its metrics.json holds (see `pooled`).

    With settings.resume the folds that have ended stay, the one that was begun goes on, and the rest follow. Raises
    UsageError for a split that is neither by group nor random, and what `job.train` raises.
    """
    settings = _checked(settings)
    with files.alone_in(settings.out, "skin-edge train --folds", resume=settings.resume):
        _check_output(settings.out, settings)
        preflight.check_folders(settings.cache, settings.tensorboard)
        prepared, begun = _prepared(settings, k, report)
        if begun:
            files.remove_leftovers(settings.out)
            settings = replace(settings, overwrite=False)
        if not begun or not all((_fold(settings.out, i) / "metrics.json").is_file() for i in range(1, k + 1)):
            _train_folds(prepared, begun, settings, k, report)
        return _write_results(settings.out, k, settings)


def plan(settings: TrainSettings, k: int, report: Report) -> TrainPlan:
    """Of the first fold; the others differ in their split alone. Writes nothing; raises as `cross_validate`."""
    settings = _checked(settings)
    prepared, _ = _prepared(settings, k, report)
    first = prepared.frame.assign(split=_parts(prepared.frame, settings, k)[0])
    fold = Fold(replace(prepared, frame=first), None, {}, 1, k)
    return replace(of_prepared(settings, fold.prepared), fold=fold)


def _checked(settings: TrainSettings) -> TrainSettings:
    settings = replace(settings, split=settings.split or settings.recipe.split)
    if settings.split not in ("lesion", "random"):
        raise UsageError(f"--folds makes its own parts: --split {settings.split} cannot be combined with it")
    if settings.distribute:
        raise UsageError("--folds cannot be combined with --distribute: train the folds on one device")
    for flag, runs in settings.earlier.items():
        if runs:
            raise UsageError(
                f"--folds cannot be combined with {flag}: an earlier run would have seen what a fold tests"
            )
    check(settings.clean)
    return settings


def _prepared(settings: TrainSettings, k: int, report: Report) -> tuple[Prepared, dict[str, Any] | None]:
    """What takes part, without a split, and folds.yaml where the folds have been begun."""
    out = settings.out
    _check_output(out, settings)
    begun = read(out) if settings.resume and is_cross_validation(out) else None
    if begun:
        _check_begun(out, begun[0], settings, k)
    if settings.split == "random":
        report("--split random: the folds are made by image, pictures of one lesion may be in training and test")
    preflight.check_call(settings.recipe.weights)
    prepared = prepare(replace(settings, near_duplicates=False) if begun else settings, report, split=False)
    if begun:
        prepared = _as_begun(prepared, *begun, out)
    _parts(prepared.frame, settings, k)  # too few groups are said before pictures are read
    return prepared, begun[0] if begun else None


def is_cross_validation(folder: Path) -> bool:
    """Whether it holds what `cross_validate` writes first."""
    try:
        read(folder)
    except (DataError, UsageError):
        return False
    return True


def read(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """folds.yaml and folds.csv (image_id, group, label, fold; all text). Raises DataError where they are damaged."""
    begun = documents.read_yaml(folder / "folds.yaml")
    if problem := kinds.incomplete(begun, {"folds": int, "near_duplicates": {}}, "folds.yaml"):
        raise DataError(f"{folder / 'folds.yaml'} is damaged: {problem}")
    columns = ["image_id", "group", "label", "fold"]
    table: Any = read_table(folder / "folds.csv", columns)[columns]
    return begun, table


def _fold(out: Path, number: int) -> Path:
    return out / f"fold-{number}"


def _check_output(out: Path, settings: TrainSettings) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if settings.resume or settings.overwrite:
        if not is_cross_validation(out):
            flag = "--overwrite does not replace it" if settings.overwrite else "--resume cannot continue it"
            raise UsageError(f"{out} was not written by train --folds, so {flag}: choose another --out")
        if settings.overwrite:
            files.check_replaceable(out, [settings.data, *settings.also])
    else:
        raise OutputExistsError(out, "continue with --resume, replace it with --overwrite, or choose another --out")


def _check_begun(out: Path, begun: Mapping[str, Any], settings: TrainSettings, k: int) -> None:
    if begun["folds"] != k:
        raise UsageError(f"{out} was started with --folds {begun['folds']}: repeat that, or choose another --out")
    if (out / "metrics.json").is_file():
        raise UsageError(f"{out} is complete: nothing to resume (a longer training needs another --out)")
    if run_folder.is_run(_fold(out, 1)):
        check_resumable(run_folder.read(_fold(out, 1)), settings, {})


def _as_begun(prepared: Prepared, begun: Mapping[str, Any], table: pd.DataFrame, out: Path) -> Prepared:
    """With the rows and the connected groups of folds.csv, for which near-duplicates need not be looked for again."""
    rows = prepared.frame.set_index("image_id", drop=False)
    if not table["image_id"].isin(rows.index).all():
        raise DataError(f"the images of {out} have changed or gone since it was started: it cannot be resumed")
    frame = rows.loc[table["image_id"]].reset_index(drop=True).assign(group=table["group"])
    return replace(prepared, frame=frame, near_duplicates=dict(begun["near_duplicates"]))


def _parts(frame: pd.DataFrame, settings: TrainSettings, k: int) -> list[pd.Series]:
    _, validation, test = settings.recipe.fractions
    by_group = settings.split == "lesion"
    share = validation / (1 - test)
    return further.parts_of(
        frame, lambda rows: splits.folds(rows, k, settings.seed, validation=share, by_group=by_group)
    )


def _train_folds(
    prepared: Prepared, begun: Mapping[str, Any] | None, settings: TrainSettings, k: int, report: Report
) -> None:
    report("starting TensorFlow ...")
    from .engine import keras

    out, frame = settings.out, prepared.frame
    if not begun:
        preflight.check_network(settings.recipe)
    pictures, failures = read_pictures(frame, settings, report)
    skipped: dict[str, str] = dict(begun["skipped"]) if begun else {}
    if failures:
        if begun:
            raise DataError(f"the images of {out} have changed or gone since it was started: it cannot be resumed")
        frame, kept, skipped = without_unreadable(frame, failures, settings, report)
        pictures = pictures.take(np.asarray(kept))
    parts = _parts(frame, settings, k)
    if not begun:
        _begin(out, frame, parts, {"near_duplicates": prepared.near_duplicates, "skipped": skipped})
    for i, split in enumerate(parts, 1):
        folder = _fold(out, i)
        if (folder / "metrics.json").is_file():
            report(f"fold {i} of {k} is already complete")
            continue
        report(f"fold {i} of {k}")
        keras.backend.clear_session()  # layers are named as in a training of its own
        fold = Fold(replace(prepared, frame=frame.assign(split=split)), pictures, skipped, i, k)
        train(replace(settings, out=folder, resume=run_folder.is_run(folder), overwrite=False), report, fold)


def _begin(out: Path, frame: pd.DataFrame, parts: list[pd.Series], begun: Mapping[str, Any]) -> None:
    tested = sum((number * (split == "test").astype(int) for number, split in enumerate(parts, 1)), 0)
    with files.replacing_folder(out) as new:
        table = frame[["image_id", "group", "label"]].assign(fold=tested)
        files.write(new / "folds.csv", table_text(table))
        files.write(new / "folds.yaml", yaml.safe_dump({"folds": len(parts), **begun}, sort_keys=False))


def pooled(tables: list[pd.DataFrame], codes: tuple[str, ...]) -> dict[str, Any]:
    """The figures of all test parts together, and their mean and range over the folds, JSON-ready.

    Args:
        tables: Of each fold, its test rows: label, group, group_kind, and p_<code> for each of `codes`.

    Returns:
        pooled: `metrics.evaluate` of all rows; its intervals come from a bootstrap over groups, and say nothing of how
        far other trainings would differ. macro_auc there ranks probabilities of different networks against each other.
        over_folds: of metrics.HEADLINES, mean, lowest and highest, over the folds in which the figure is defined.
    """
    positions = {code: position for position, code in enumerate(codes)}
    columns = [f"p_{code}" for code in codes]

    def evaluated(table: pd.DataFrame, bootstrap: int) -> dict[str, Any]:
        targets = table["label"].map(positions).to_numpy("int64")
        groups = grouping.groups_of(table)
        return metrics.evaluate(targets, table[columns].to_numpy(float), codes, groups, bootstrap=bootstrap)

    each = [evaluated(table, 0) for table in tables]
    over_folds: dict[str, Any] = {}
    for name in metrics.HEADLINES:
        values = [figures[name] for figures in each if figures[name] is not None]
        over_folds[name] = {
            "mean": float(np.mean(values)) if values else None,
            "lowest": min(values, default=None),
            "highest": max(values, default=None),
            "folds": [figures[name] for figures in each],
        }
    return {"folds": len(tables), "pooled": evaluated(pd.concat(tables), 1000), "over_folds": over_folds}


def _write_results(out: Path, k: int, settings: TrainSettings) -> dict[str, Any]:
    runs = [run_folder.read(_fold(out, i)) for i in range(1, k + 1)]
    tables: list[pd.DataFrame] = []
    for i, run in enumerate(runs, 1):
        columns = ("image_id", "group", "label", "split", "predicted")
        extra = ("path", *EXTRA_COLUMNS)
        table = read_table(run.folder / "predictions.csv", columns, extra, numbers="p_")
        tables.append(grouping.with_group_kinds(table.loc[table["split"] == "test"]).assign(fold=i))
    results = pooled(tables, tuple(label.code for label in runs[0].labels))
    each = [_figures(run.folder / "metrics.json") for run in runs]
    leaked = [found["split"]["leaked_share_of_test"] for found in each]
    results["split"] = {
        "kind": settings.split,
        "near_duplicates": each[0]["split"]["near_duplicates"],
        "leaked_share_of_test": None if None in leaked else leaked,
        **grouping.groups_in(pd.concat(tables)),
    }
    results["training"] = {"hours": round(sum(found["training"]["hours"] for found in each), 3)}
    files.write(out / "predictions.csv", table_text(pd.concat(tables)))
    files.write(out / "metrics.json", json.dumps(results, indent=2) + "\n")
    return results


_OF_A_FOLD: dict[str, Any] = {
    "split": {"near_duplicates": ({}, bool, None), "leaked_share_of_test": (float, None)},
    "training": {"hours": float},
}


def _figures(path: Path) -> dict[str, Any]:
    found = documents.read_json(path)
    if problem := kinds.incomplete(found, _OF_A_FOLD, "metrics"):
        raise DataError(f"{path} is damaged: {problem}")
    return found


def document(results: Mapping[str, Any], out: Path) -> Document:
    """results: what `cross_validate` returned."""
    together, split = results["pooled"], results["split"]
    rows: list[tuple[Text, ...]] = []
    for key, title in HEADLINES.items():
        over = results["over_folds"][key]
        rows.append(
            (
                title,
                ranged(together[key], together["intervals"][key]),
                number(over["mean"]),
                "-" if over["lowest"] is None else (number(over["lowest"]), " to ", number(over["highest"])),
            )
        )
    rows.append((f"always '{together['majority_class']}'", number(together["majority_class_baseline"]), "", ""))
    classes = [
        (code, str(row["n"]), *(number(row[key]) for key in ("sensitivity", "specificity", "auc")))
        for code, row in together["per_class"].items()
    ]
    said = [
        few.of_classes(together["per_class"]),
        group_kinds.intervals(together["groups"]),
        *group_kinds.leaks(split, lambda name: f"{min(split[name]):.2%} to {max(split[name]):.2%}"),
    ]
    blocks = [
        Table(("", "all tests together", "mean over folds", "range"), rows),
        Table(("per class", "images", "sensitivity", "specificity", "AUC"), classes),
        Notes([f"{sentence}." for sentence in said if sentence]),
    ]
    folds = results["folds"]
    subtitle = f"{folds} folds: {together['n']} images of {group_kinds.counted(together['groups'])}, each tested once"
    after = [f"written to {out}: metrics.json, predictions.csv, fold-1 to fold-{folds}"]
    return Document("", subtitle, [Section("figures", "", blocks)], "skin-edge train", after)
