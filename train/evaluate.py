"""A run or a .tflite on pictures it has not been measured on: `skin-edge evaluate`. Nothing is chosen on them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..benchmarks.inputs import class_folders, documents
from ..benchmarks.inputs.cases import METADATA
from ..benchmarks.inputs.columns import PATH_LABEL_GROUP, Columns, canonical
from ..benchmarks.inputs.locate import folder_of, located
from ..benchmarks.report.markdown import markdown
from ..benchmarks.report.page import page
from ..benchmarks.stats import group_kinds, operating_points
from ..benchmarks.stats.subgroups import ATTRIBUTES
from ..edge_runtime import csv_files, files, preprocess, training_pictures
from ..edge_runtime.errors import DataError, OutputExistsError, SkinEdgeError, UsageError
from ..edge_runtime.labels import Label
from .data import grouping, patients, seen, tables, tasks
from .data.layouts import is_isic_export, read_dataset
from .data.named_groups import groups_of
from .recipes import kinds
from .reports import report, run_report
from .reports.run_results import predictions
from .runs import run_folder
from .runs.reading import Reading, as_trained
from .runs.run_folder import Run

FOUND_OUT = Reading()

CANNOT_ASSESS = "cannot assess"

_MOST_NAMED = 20  # of the pictures that cannot be assessed, on the page; predictions.csv names them all

Report = Callable[[str], None]


@dataclass(frozen=True)
class NewData:
    """rows: path, image_id, group, label, split ("" without parts), and what there is of ATTRIBUTES and METADATA.

    pictures: where the paths that are written start.
    """

    name: str
    license: str
    part: str
    rows: pd.DataFrame
    pictures: Path


def evaluate(
    model: Path, data: Path, part: str | None, report_line: Report, told: Reading = FOUND_OUT
) -> tuple[dict[str, Any], pd.DataFrame, Path]:
    """(what metrics.json holds, what predictions.csv holds, where their paths start) of `model` on `data`.

    A picture that cannot be assessed is counted as that. A label that the model does not know is counted, and its
    pictures are answered, but in no figure. Thresholds and temperature are those of the run's validation part or of the
    file's contract.

    Args:
        model: A run folder, whose Keras model answers, or a .tflite.
        data: A csv with path and label (split.csv of a run is one), or a folder in a known layout.
        part: A part of the data, or "all"; None means test where there are parts.
        report_line: Called with each line of progress; one that begins with a carriage return replaces the one before.
        told: How the data is to be read; what it leaves open is as a run was trained.

    Raises:
        UsageError: Where model or data does not exist.
        DataError: Where nothing can be measured.
    """
    run = run_folder.read(model) if model.is_dir() else None
    table = data
    if run and data.exists():
        told, table, lines = as_trained(told, run, data)
        for line in lines:
            report_line(line)
    chosen = read(table, part, told, report_line)
    rows = chosen.rows
    if run:
        labels, frozen, about = run.labels, _frozen(run), _about_run(run)
        answers, errors = _by_keras(run, rows, report_line)
        known = run_folder.learned_from(run)
        leaked, chose = (float(seen.shown_in(known, rows, known["split"] == of).mean()) for of in ("train", "val"))
        named = [(of["group_kind"] != group_kinds.UNKNOWN).any() for of in (known, rows)]
        checked, by_hash = {"pictures": True, "groups": all(map(bool, named))}, None
    else:
        labels, frozen, about, answers, errors, by_hash = _by_tflite(model, rows, report_line)
        leaked, chose = _shares(by_hash, len(rows))
        checked = {"pictures": leaked is not None, "groups": False}
    codes = tuple(label.code for label in labels)
    meant, lines = tasks.as_classes(rows, codes, told.task, told.labels)
    for line in lines:
        report_line(line)
    rows = rows.assign(label=meant)
    known = rows["label"].isin(codes).to_numpy()
    assessed = np.array([position not in errors for position in range(len(rows))])
    unknown = {str(label): int(n) for label, n in rows.loc[~known, "label"].value_counts().sort_index().items()}
    used = known & assessed
    if not known.any():
        raise DataError(f"{data}: none of its labels ({', '.join(unknown)}) is among the model's: {', '.join(codes)}")
    if not used.any():
        first = next(errors[int(position)] for position in np.flatnonzero(known))
        raise DataError(f"{data}: none of its {int(known.sum())} pictures can be assessed; the first: {first}")

    measured = rows.loc[used].reset_index(drop=True)
    report_line("computing figures and intervals")
    figures = report.on_part(measured, answers[used], labels, frozen)
    evaluated = rows.assign(split="evaluated")
    results: dict[str, Any] = {
        "title": f"{about['name']} on {data.resolve().name}",
        "subtitle": f"skin-edge evaluate, {about['kind']}, {chosen.part}",
        "model": about,
        **report.of_labels(labels),
        "data": {
            "name": f"{chosen.name}, {chosen.part}, {len(rows)} images",
            "license": chosen.license,
            **report.counts(evaluated, labels, ["evaluated"]),
            "unknown_labels": unknown,
        },
        "split": {
            "kind": chosen.part,
            "leaked_share_of_test": leaked,
            "share_that_chose_thresholds": chose,
            "checked": checked,
            "seen_by_hash": by_hash,
            **grouping.groups_in(measured),
        },
        "cannot_assess": cannot_assess(measured, answers[used], rows.loc[known & ~assessed], codes)
        | {
            "first": [
                {"image_id": str(rows["image_id"].iloc[position]), "error": errors[position]}
                for position in [i for i in sorted(errors) if known[i]][:_MOST_NAMED]
            ]
        },
        "frozen": frozen,
        "test": figures,
        "mistakes": report.mistakes(measured, answers[used], labels),
    }
    answered = predictions(rows.reset_index(drop=True), np.nan_to_num(answers), codes, chosen.pictures)
    columns = [f"p_{code}" for code in codes]
    answered[columns] = answered[columns].astype("float64").where(pd.Series(assessed), np.nan)
    answered.loc[~assessed, "predicted"] = CANNOT_ASSESS
    answered["error"] = [errors.get(position, "") for position in range(len(rows))]
    return results, answered, chosen.pictures


def write(
    out: Path, results: Mapping[str, Any], table: pd.DataFrame, *, overwrite: bool, pictures: Path | None = None
) -> None:
    """Writes `out`, a folder with predictions.csv, report.html, figures.md and metrics.json, whole or not at all.

    Args:
        out: The folder to create.
        results: What metrics.json holds.
        table: What predictions.csv holds.
        overwrite: Whether what is there is replaced.
        pictures: Where the paths that metrics.json names start; None writes them as they are.

    Raises:
        OutputExistsError: Where something is there and may not be replaced.
        UsageError: Where it is not an evaluation.
    """
    check_replaceable(out) if overwrite else check_free(out)
    with files.replacing_folder(out) as folder:
        files.write(folder / "predictions.csv", tables.text(table, float_format="%.6g"))
        document = run_report.document(results)
        files.write(folder / "report.html", page(document))
        files.write(folder / "figures.md", markdown(document))
        results = report.with_relative_paths(results, pictures)
        files.write(folder / "metrics.json", json.dumps(results, indent=2, allow_nan=False) + "\n")


def check_free(out: Path) -> None:
    """Raises OutputExistsError where `out` holds something: nothing of a run is written over."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(out)


def check_replaceable(out: Path) -> None:
    """Raises UsageError where `out` is anything but a folder that `evaluate` wrote, or an empty one."""
    ours = {"predictions.csv", "report.html", "figures.md", "metrics.json"}
    there = [path.name for path in out.iterdir()] if out.is_dir() else [out.name] if out.exists() else []
    if any(name not in ours and not files.is_leftover(name) for name in there):
        raise UsageError(
            f"{out} holds files that are not of an evaluation, so --overwrite does not replace it: choose another --out"
        )


def read(data: Path, part: str | None, told: Reading = FOUND_OUT, say: Report = lambda line: None) -> NewData:
    """The pictures of `data` that are to be measured; see `evaluate`.

    Args:
        data: As `evaluate` takes it.
        part: As `evaluate` takes it.
        told: As `evaluate` takes it.
        say: Called with what the user should know.
    """
    if not data.exists():
        raise UsageError(f"no such file or folder: {data}")
    if data.is_file() and _is_plain(data, told):
        rows, name, terms = _from_csv(data, told.columns, told.images), data.name, report.license_of("")
        config = data.parent / "config.yaml"
        if config.is_file() and run_folder.is_run(data.parent):
            terms = report.license_of(str(run_folder.read(data.parent).config.layout))
    else:
        dataset = read_dataset(data, told.layout, told.columns, told.images, prefer=told.likely_layout)
        rows, name, terms = dataset.frame, dataset.layout, report.license_of(dataset.layout)
        rows = rows.assign(split=rows["official"])
    rows = grouping.with_group_kinds(rows)
    rows = _grouped(rows, data.resolve() if data.is_dir() else data.resolve().parent, told, say)
    there = [str(value) for value in rows["split"].unique() if value]
    wanted = part or ("test" if there else "all")
    if wanted != "all":
        rows = rows.loc[rows["split"] == wanted]
        if not len(rows):
            raise DataError(
                f"{data} has no picture in part '{wanted}'; parts there: {', '.join(there) or 'none'} "
                "(--split-part all takes every picture)"
            )
    known = dict.fromkeys((*ATTRIBUTES, *METADATA, *tables.EXTRA_COLUMNS))
    columns = [*run_folder.SPLIT_COLUMNS, *(c for c in known if c in rows.columns)]
    # Where the paths start that are written of them: at the pictures.
    start = told.images or (data if data.is_dir() else folder_of(data))
    described = "every picture" if wanted == "all" else f"part {wanted}"
    return NewData(name, terms, described, rows.loc[:, columns].fillna("").astype(str).reset_index(drop=True), start)


def _is_plain(table: Path, told: Reading) -> bool:
    """Whether a file is read as a table of pictures and labels, and not as the layout that it is one of."""
    if told.layout is not None:
        return told.layout == "csv"
    if told.columns != PATH_LABEL_GROUP or table.suffix.lower() not in (".csv", ".tsv", ".tab", ".txt"):
        return True
    names = csv_files.read(table, most=0).columns
    return not (is_isic_export(names) and not {"path", "label"} <= set(names))


def cannot_assess(
    measured: pd.DataFrame, answers: npt.NDArray[np.floating[Any]], failed: pd.DataFrame, codes: Sequence[str]
) -> dict[str, Any]:
    """{"n", "share", "per_class", "accuracy_counting_as_wrong", "balanced_accuracy_counting_as_wrong"}.

    Args:
        measured, failed: Rows with a label of `codes`
        answers: Of `measured`. A picture without an answer found nothing: it counts as wrong in its class.
        codes: The codes of the classes, in the order of the columns.
    """
    labels = np.r_[measured["label"].to_numpy(str), failed["label"].to_numpy(str)]
    right = np.zeros(len(labels), bool)
    right[: len(measured)] = np.array(codes)[answers.argmax(axis=1)] == measured["label"].to_numpy(str)
    return {
        "n": len(failed),
        "share": len(failed) / len(labels),
        "per_class": {code: int((failed["label"] == code).sum()) for code in codes},
        "accuracy_counting_as_wrong": float(right.mean()),
        "balanced_accuracy_counting_as_wrong": float(np.mean([right[labels == code].mean() for code in set(labels)])),
    }


def _from_csv(path: Path, columns: Columns, images: Path | None) -> pd.DataFrame:
    table = canonical(csv_files.read(path), path, columns)
    frame = pd.DataFrame(table.rows, columns=table.columns, dtype=str)
    blank = frame[(frame["label"] == "") & (frame["malignant"] == "" if "malignant" in frame.columns else True)]
    if len(blank):
        raise DataError(f"{path} line {table.lines[int(blank.index[0])]}: label is blank")
    if not len(frame):
        raise DataError(f"{path} has no rows")
    class_folders.check_labels(list(frame["label"]), f"{path}, column {columns.label or 'label'}")
    names = frame["path"]
    start = folder_of(path)
    found = located(list(names), start, images=images, table=path)
    # A picture that is not there cannot be assessed; its name says which one that is.
    frame["path"] = [there or (str(start / name) if name else "") for there, name in zip(found, names, strict=True)]
    frame = frame.assign(**{name: "" for name in ("image_id", "group", "split") if name not in frame.columns})
    frame["image_id"] = frame["image_id"].where(frame["image_id"] != "", names)
    for column in ("patient", "lesion"):
        if column in frame.columns:
            frame["group"] = frame["group"].where(frame["group"] != "", frame[column])
    frame["group"] = frame["group"].where(frame["group"] != "", names)
    return frame


def _grouped(rows: pd.DataFrame, root: Path, told: Reading, say: Report) -> pd.DataFrame:
    """`rows`, with the groups of --group-from, where they name none themselves."""
    named = (rows[group_kinds.COLUMN] != group_kinds.UNKNOWN).any()
    if named and told.group_from:
        raise UsageError(f"--group-from is for data without groups, and {root} names some")
    group_from = told.group_from or told.likely_group_from
    if named or not group_from:
        return rows
    try:
        groups, notes = groups_of(rows, root, group_from)
    except SkinEdgeError as error:
        if told.group_from:
            raise
        say(f"groups are not known, because the run's own option does not apply here: {error}")
        return rows
    for line in notes:
        say(line)
    return rows.assign(**{column: groups[column] for column in groups})


def _frozen(run: Run) -> dict[str, Any]:
    """What the run's validation part froze: from its metrics.json, or from predictions.csv of an older run."""
    figures, answers = run.folder / "metrics.json", run.folder / "predictions.csv"
    found = documents.read_json(figures) if figures.is_file() else {}
    if not isinstance(found, dict):
        raise DataError(f"{figures} holds no figures")
    if found.get("frozen"):
        return _checked(found["frozen"], figures, run.labels)
    if not answers.is_file():
        raise DataError(f"{run.folder} has no metrics.json and no predictions.csv: its training has not finished")
    columns = [f"p_{label.code}" for label in run.labels]
    table = tables.read(answers, ("label", "split", *columns), numbers="p_")
    rows = table.loc[table["split"] == "val"]
    codes = {label.code for label in run.labels}
    if not len(rows) or not set(rows["label"]) <= codes or not np.isfinite(rows[columns].to_numpy()).all():
        raise DataError(f"{answers} holds no whole validation part")
    scores = rows[columns].to_numpy(np.float64)
    return report.freeze(report.targets(rows, run.labels), scores, run.labels, f"{len(rows)} validation images")


_POINT = {"target": str, "classes": [str], "chosen_for": str, "wanted": float, "threshold": float, "found": {}}
_FROZEN = {"on": str, "temperature": (float, None), "operating_points": [_POINT]}


def _checked(frozen: Any, path: Path, labels: Sequence[Label]) -> dict[str, Any]:
    """What metrics.json says was frozen. Raises DataError where it cannot have been written so."""
    problem = kinds.problem(frozen, _FROZEN, "frozen")
    if not problem and not all(
        set(_POINT) <= set(row)
        and set(row["classes"]) <= {label.code for label in labels}
        and row["chosen_for"] in ("sensitivity", "specificity")
        and 0 < row["wanted"] <= 1
        and math.isfinite(row["threshold"])
        for row in frozen.get("operating_points", [{}])
    ):
        problem = "a threshold is incomplete, or for classes that the run does not have"
    temperature = None if problem else frozen.get("temperature")
    if problem or "on" not in frozen or not (temperature is None or 0 < temperature < 1e6):
        raise DataError(f"{path} is damaged: {problem or 'frozen.temperature or frozen.on'}")
    return frozen


def _about_run(run: Run) -> dict[str, Any]:
    return {"kind": "the Keras model of a run", "name": run.folder.resolve().name, "sha256": None}


def _by_keras(run: Run, rows: pd.DataFrame, say: Report) -> tuple[npt.NDArray[np.float32], dict[int, str]]:
    """(answers [n, classes], position -> why it cannot be assessed); the answers of those are NaN."""
    model = run.model()
    from .pipeline.batches import load, plain_batches

    paths = list(rows["path"])
    pictures, errors = load(paths, run.input_spec, on_progress=lambda n: say(f"\rreading images: {n}/{len(paths)}"))
    say("\r")
    if run.encoding:
        told = rows.reindex(columns=["image_id", *run.encoding.names], fill_value="")
        pictures = replace(pictures, patients=patients.encoded(run.encoding, told, 0.0))
    answers = np.asarray(model.predict(plain_batches(pictures, run.input_spec), verbose=0), np.float32)
    for position in np.flatnonzero(~np.isfinite(answers).all(axis=1)):
        errors.setdefault(int(position), "cannot assess: the network's output has a value that is not finite")
    answers[list(errors)] = np.nan
    return answers, errors


def _told(classifier: Any, rows: pd.DataFrame) -> Iterator[npt.NDArray[np.float32] | SkinEdgeError]:
    """The answers of a model that takes metadata; a word that training never saw is blank, as in its own parts."""
    for row in rows.to_dict("records"):
        try:
            pixels = preprocess.to_pixels(row["path"], classifier.input_spec)
            yield classifier.invoke(classifier.to_tensor(pixels), classifier.row_to_vector(row))
        except SkinEdgeError as error:
            yield error


def _by_tflite(
    path: Path, rows: pd.DataFrame, say: Report
) -> tuple[
    Sequence[Label], dict[str, Any], dict[str, Any], npt.NDArray[np.float32], dict[int, str], dict[str, Any] | None
]:
    """(labels, frozen, about, answers, errors) as for a run, and what `training_pictures.seen` says."""
    from ..edge_runtime.classifier import SkinClassifier

    paths = list(rows["path"])
    with SkinClassifier(path) as classifier:
        labels, contract = classifier.labels, classifier.contract
        named = zip(paths, rows["image_id"], strict=True)
        by_hash = training_pictures.seen(contract, training_pictures.marks([contract], named))
        answers = np.full((len(paths), len(labels)), np.nan, np.float32)
        errors: dict[int, str] = {}
        # "" is not a file: it ends in an error as any missing one does, but with the reason.
        given = _told(classifier, rows) if classifier.encoding else classifier.predict_many(paths)
        for position, answer in enumerate(given):
            if isinstance(answer, SkinEdgeError):
                errors[position] = str(answer) if paths[position] else "no image file of that id"
            elif isinstance(answer, np.ndarray):
                answers[position] = answer
            else:
                answers[position] = [answer.probabilities[label.code] for label in labels]
            if (position + 1) % 100 == 0:
                say(f"\rclassifying: {position + 1}/{len(paths)}")
        say("\r")
    thresholds = contract.get("thresholds") or []
    calibration: Any = contract.get("calibration") or {}
    frozen = {
        "on": str(thresholds[0].get("on", "")) if thresholds else "",
        "temperature": None,  # what the file needs is in its last layer already
        "temperature_in_the_file": calibration.get("temperature") if isinstance(calibration, dict) else None,
        "operating_points": operating_points.from_contract(thresholds, labels),
    }
    about = {"kind": "a .tflite", "name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return labels, frozen, about, answers, errors, by_hash


def _shares(by_hash: Mapping[str, Any] | None, n: int) -> tuple[float | None, float | None]:
    """Of the pictures (0..1) that the weights were fitted to, and that chose the thresholds; None where not known.

    by_hash: what `training_pictures.seen` says of `n` pictures. What chance may have found is none.
    """
    if by_hash is None or not by_hash["compared"]:
        return None, None
    fitted, chose = (sum(training_pictures.seen_in(by_hash[part])) / n for part in training_pictures.PARTS)
    return fitted, chose
