"""A run or a .tflite on pictures it has not been measured on: `skin-edge evaluate`. Nothing is chosen on them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..benchmarks.inputs import class_folders, documents
from ..benchmarks.inputs.cases import METADATA
from ..benchmarks.inputs.classes import remedy
from ..benchmarks.inputs.columns import PATH_LABEL_GROUP, Columns, canonical
from ..benchmarks.inputs.locate import folder_of, located
from ..benchmarks.report.markdown import markdown
from ..benchmarks.report.page import page
from ..benchmarks.stats import group_kinds, operating_points, refusals
from ..benchmarks.stats.subgroups import ATTRIBUTES
from ..edge_runtime import csv_files, files, preprocess, training_pictures
from ..edge_runtime.errors import DataError, OutputExistsError, SkinEdgeError, UsageError
from ..edge_runtime.labels import Label
from ..edge_runtime.wording import counted
from .data import grouping, patients, seen, tables, tasks
from .data.layouts import is_isic_export, read_dataset
from .data.named_groups import groups_of
from .recipes import kinds
from .reports import report, run_report
from .reports.run_results import predictions
from .runs import run_folder
from .runs.reading import Reading, as_trained
from .runs.run_folder import Run

if TYPE_CHECKING:
    from ..edge_runtime.classifier import Prediction, SkinClassifier

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


@dataclass(frozen=True)
class _Answered:
    """What a model answered. frozen: its thresholds and temperature. about: which model it is.

    probabilities: float32 [n, classes], NaN where a picture cannot be assessed; errors: position -> why. seen: which of
    the pictures it knows from its training, as metrics.json has it. said: what a file says of those without an error,
    in their order; None of a run.
    """

    labels: Sequence[Label]
    frozen: dict[str, Any]
    about: dict[str, Any]
    probabilities: npt.NDArray[np.float32]
    errors: Mapping[int, str]
    seen: dict[str, Any]
    said: refusals.Said | None = None

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(label.code for label in self.labels)


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
    new = read(table, part, told, report_line)
    answered = _by_keras(run, new.rows, report_line) if run else _by_tflite(model, new.rows, report_line)
    meant, lines = tasks.as_classes(new.rows, answered.codes, told.task, told.labels)
    for line in lines:
        report_line(line)
    new = replace(new, rows=new.rows.assign(label=meant))
    _check_measurable(data, new.rows, answered)
    report_line("computing figures and intervals")
    return _results(data, new, answered), _predictions(new, answered), new.pictures


def _check_measurable(data: Path, rows: pd.DataFrame, answered: _Answered) -> None:
    """Raises DataError where no picture has both an answer and a label that the model knows."""
    known = np.flatnonzero(rows["label"].isin(answered.codes))
    if not len(known):
        there = sorted(set(rows["label"]))
        raise DataError(
            f"{data}: none of its labels ({', '.join(there)}) is among the model's: {', '.join(answered.codes)}"
            + remedy(there, answered.codes)
        )
    if all(position in answered.errors for position in known):
        first = answered.errors[int(known[0])]
        raise DataError(f"{data}: none of its {len(known)} pictures can be assessed; the first: {first}")


def _results(data: Path, new: NewData, answered: _Answered) -> dict[str, Any]:
    """What metrics.json holds."""
    rows, labels = new.rows, answered.labels
    known, assessed = rows["label"].isin(answered.codes).to_numpy(), _assessed(answered)
    used = known & assessed
    measured, answers = rows.loc[used].reset_index(drop=True), answered.probabilities[used]
    failed = rows.loc[known & ~assessed]
    said = answered.said and answered.said.take(known[assessed])
    unknown = rows.loc[~known, "label"].value_counts().sort_index()
    return {
        "title": f"{answered.about['name']} on {data.resolve().name}",
        "subtitle": f"skin-edge evaluate, {answered.about['kind']}, {new.part}",
        "model": answered.about,
        **report.of_labels(labels),
        "data": {
            "name": f"{new.name}, {new.part}, {counted(len(rows), 'image')}",
            "license": new.license,
            **report.counts(rows.assign(split="evaluated"), labels, ["evaluated"]),
            "unknown_labels": {str(label): int(n) for label, n in unknown.items()},
        },
        "split": {"kind": new.part, **answered.seen, **grouping.groups_in(measured)},
        "cannot_assess": {
            **cannot_assess(measured, answers, failed, answered.codes),
            "first": [
                {"image_id": str(rows["image_id"].iloc[position]), "error": answered.errors[position]}
                for position in map(int, np.flatnonzero(known & ~assessed)[:_MOST_NAMED])
            ],
        },
        "frozen": answered.frozen,
        "test": report.on_part(measured, answers, labels, answered.frozen, said=said),
        "mistakes": report.mistakes(measured, answers, labels),
    }


def _predictions(new: NewData, answered: _Answered) -> pd.DataFrame:
    """What predictions.csv holds: every picture, with the reason of each that cannot be assessed."""
    assessed = _assessed(answered)
    table = predictions(new.rows, np.nan_to_num(answered.probabilities), answered.codes, new.pictures)
    columns = [f"p_{code}" for code in answered.codes]
    table[columns] = table[columns].astype("float64").where(pd.Series(assessed), np.nan)
    table.loc[~assessed, "predicted"] = CANNOT_ASSESS
    table["error"] = [answered.errors.get(position, "") for position in range(len(table))]
    return table.assign(**_said(answered, assessed))


def _said(answered: _Answered, assessed: npt.NDArray[np.bool_]) -> dict[str, list[str]]:
    """Columns of predictions.csv with what a file says beside the probabilities: codes, with spaces between them."""
    said, found = answered.said, dict[str, list[str]]()
    names = [code for code, _ in said.names] if said else []
    for column, codes, marks in (
        ("reasons", names, said and said.reasons),
        ("possible", answered.codes, said and said.possible),
    ):
        if marks is not None:
            rows = iter(marks)
            found[column] = [
                " ".join(code for code, marked in zip(codes, next(rows), strict=True) if marked) if one else ""
                for one in assessed
            ]
    return found


def _assessed(answered: _Answered) -> npt.NDArray[np.bool_]:
    return np.array([position not in answered.errors for position in range(len(answered.probabilities))], bool)


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


def _by_keras(run: Run, rows: pd.DataFrame, say: Report) -> _Answered:
    frozen, seen_before, model = _frozen(run), _seen_by_run(run, rows), run.model()
    from .pipeline.batches import load, plain_batches

    paths = list(rows["path"])
    pictures, errors = load(paths, run.input_spec, on_progress=lambda n: say(f"\rreading images: {n}/{len(paths)}"))
    say("\r")
    if run.encoding:
        told = rows.reindex(columns=["image_id", *run.encoding.names], fill_value="")
        pictures = replace(pictures, patients=patients.encoded(run.encoding, told, 0.0))
    with files.temporary_folder():  # TensorFlow leaves generated code where temporary files are
        answers = np.asarray(model.predict(plain_batches(pictures, run.input_spec), verbose=0), np.float32)
    for position in np.flatnonzero(~np.isfinite(answers).all(axis=1)):
        errors.setdefault(int(position), "cannot assess: the network's output has a value that is not finite")
    answers[list(errors)] = np.nan
    about = {"kind": "the Keras model of a run", "name": run.folder.resolve().name, "sha256": None}
    return _Answered(run.labels, frozen, about, answers, errors, seen_before)


def _seen_by_run(run: Run, rows: pd.DataFrame) -> dict[str, Any]:
    known = run_folder.learned_from(run)
    fitted, chose = seen.shown_in(known, rows, known["split"] == "train", known["split"] == "val")
    named = all((of["group_kind"] != group_kinds.UNKNOWN).any() for of in (known, rows))
    return {
        "leaked_share_of_test": float(fitted.mean()),
        "share_that_chose_thresholds": float(chose.mean()),
        "checked": {"pictures": True, "groups": bool(named)},
        "seen_by_hash": None,
    }


def _told(classifier: SkinClassifier, rows: pd.DataFrame) -> Iterator[Prediction | SkinEdgeError]:
    """The answers of a model that takes metadata; a word that training never saw is blank, as in its own parts."""
    for row in rows.to_dict("records"):
        try:
            pixels = preprocess.to_pixels(row["path"], classifier.input_spec)
            yield classifier.predict_pixels(pixels, classifier.row_to_vector(row))[0]
        except SkinEdgeError as error:
            yield error


def _by_tflite(path: Path, rows: pd.DataFrame, say: Report) -> _Answered:
    from ..benchmarks.accuracy import answered
    from ..edge_runtime.classifier import SkinClassifier

    paths = list(rows["path"])
    with SkinClassifier(path) as classifier:
        labels, contract = classifier.labels, classifier.contract
        named = zip(paths, rows["image_id"], strict=True)
        by_hash = training_pictures.seen(contract, training_pictures.marks([contract], named))
        answers = np.full((len(paths), len(labels)), np.nan, np.float32)
        errors: dict[int, str] = {}
        predictions: list[Prediction] = []
        # "" is not a file: it ends in an error as any missing one does, but with the reason.
        given = _told(classifier, rows) if classifier.encoding else classifier.predict_many(paths)
        for position, answer in enumerate(given):
            if isinstance(answer, SkinEdgeError):
                errors[position] = str(answer) if paths[position] else "no image file of that id"
            else:
                answers[position] = [answer.probabilities[label.code] for label in labels]
                predictions.append(answer)
            if (position + 1) % 100 == 0:
                say(f"\rclassifying: {position + 1}/{len(paths)}")
        say("\r")
        said = answered.said(classifier, predictions)
    about = {"kind": "a .tflite", "name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    by_file = _seen_by_file(by_hash, len(paths))
    return _Answered(labels, _frozen_in(contract, labels), about, answers, errors, by_file, said)


def _frozen_in(contract: Mapping[str, Any], labels: Sequence[Label]) -> dict[str, Any]:
    """What was frozen when the file was made."""
    thresholds: Any = contract.get("thresholds") or []
    calibration: Any = contract.get("calibration") or {}
    return {
        "on": str(thresholds[0].get("on", "")) if thresholds else "",
        "temperature": None,  # what the file needs is in its last layer already
        "temperature_in_the_file": calibration.get("temperature") if isinstance(calibration, dict) else None,
        "operating_points": operating_points.from_contract(thresholds, labels),
    }


def _seen_by_file(by_hash: Mapping[str, Any] | None, n: int) -> dict[str, Any]:
    """by_hash: what `training_pictures.seen` says of `n` pictures. What chance may have found is none."""
    fitted = chose = None
    if by_hash and by_hash["compared"]:
        fitted, chose = (sum(training_pictures.seen_in(by_hash[part])) / n for part in training_pictures.PARTS)
    return {
        "leaked_share_of_test": fitted,
        "share_that_chose_thresholds": chose,
        "checked": {"pictures": fitted is not None, "groups": False},
        "seen_by_hash": by_hash,
    }
