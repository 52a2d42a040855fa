"""Engines from settings to a JSON-ready result: docs/engines.schema.json."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from ...edge_runtime import contract as contracts
from ...edge_runtime import files, packaged
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import PlatformError, UsageError
from ...edge_runtime.labels import Label
from ...edge_runtime.quantization import Quantization, dequantize
from ..inputs.cases import Case, read_cases
from ..inputs.classes import is_table_of_labels, read_labels
from ..inputs.columns import PATH_LABEL_GROUP, Columns
from ..measure.caveats import caveats
from ..measure.latency import summarize
from ..measure.machine import describe_machine
from ..stats import metrics
from . import catalogue, process, verdict
from .prepare import Prepared, prepare

FORMAT, FORMAT_VERSION = "skin-edge-engines", 1
NOT_HERE = "not available"
TIMEOUT_S = 120.0

Say = Callable[[str, int, int], None]


@dataclass(frozen=True)
class EngineSettings:
    """What is measured.

    Attributes:
        engines: Names, as `catalogue.named` takes them.
        model: A .tflite, None: the packaged one.
        data, split, images, columns: As `cases.read_cases` takes them.
        num_threads: Of engines that have the option.
        repeats: Answers to each golden picture, at least 2.
        timeout_s: The longest time without an answer.
        folder: With the engines' environments.
        mean, std, labels: Of a file that others made.
    """

    engines: Sequence[str]
    model: Path | None = None
    data: Path | None = None
    split: str | None = None
    images: Path | None = None
    columns: Columns = PATH_LABEL_GROUP
    num_threads: int = 1
    repeats: int = verdict.REPEATS
    timeout_s: float = TIMEOUT_S
    folder: Path = catalogue.FOLDER
    mean: float | None = None
    std: float | None = None
    labels: Path | None = None


def run_engines(settings: EngineSettings, progress: Say | None = None) -> dict[str, Any]:
    """Everything measured and judged, JSON-ready.

    Args:
        progress: Told (what answers, how many pictures, of how many).

    Raises:
        UsageError, ModelFileError or DataError: With one line where an input does not serve, before anything is
            measured. Whatever an engine does is a result.
    """
    engines = catalogue.named(settings.engines)
    path = packaged.path_of(settings.model)
    if settings.data is None and (settings.split or settings.images or settings.columns != PATH_LABEL_GROUP):
        raise UsageError("--split, --images and the columns' names go with --data, which is not given")
    of_data: Sequence[Label] = ()
    if settings.labels and is_table_of_labels(settings.labels):
        if settings.data is None:
            raise UsageError(f"--labels {settings.labels} names the classes of --data, which is not given")
        of_data, settings = read_labels(settings.labels), replace(settings, labels=None)
    input_options: dict[str, Any] = {"mean": settings.mean, "std": settings.std, "labels": settings.labels}
    with SkinClassifier(path, **input_options) as classifier:
        cases: list[Case] = []
        if settings.data is not None:
            cases = read_cases(
                settings.data,
                split=settings.split,
                images=settings.images,
                known_labels=[label.code for label in classifier.labels],
                columns=settings.columns,
                labels=of_data,
            )
        machine = describe_machine(classifier.interpreter.engine)
        with files.temporary_folder() as folder:
            prepared = prepare(classifier, _plain(path, input_options), cases, folder, _counting(progress, "reference"))
            results = [
                measured(catalogue.find(engine, settings.folder), classifier, prepared, settings, progress)
                for engine in engines
            ]
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": {
                "path": str(path),
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "name": classifier.contract.get("name"),
                "precision": classifier.contract.get("precision"),
            },
            "machine": machine,
            "num_threads": settings.num_threads,
            "reference": f"{classifier.interpreter.engine}, XNNPACK, one thread, in the measuring process",
            "thresholds": [
                {"name": one.name, "threshold": one.value, "borderline_within": one.within}
                for one in thresholds(classifier)
            ],
            "golden_within": prepared.within,
            "pictures": {
                "golden": prepared.golden,
                "repeats": settings.repeats,
                "labelled": len(prepared.cases),
                "data": None if settings.data is None else str(settings.data),
                "split": ", ".join(sorted({case.split for case in cases} - {""})) or None,
                "failed": list(prepared.failed),
            },
            "engines": results,
            "warnings": caveats({"machine": machine}, None),
            "gate": None,
        }


def _plain(path: Path, input_options: Mapping[str, Any]) -> SkinClassifier | None:
    """Without XNNPACK, where this installation can choose."""
    try:
        return SkinClassifier(path, delegate="none", **input_options)
    except PlatformError:
        return None


def thresholds(classifier: SkinClassifier) -> list[verdict.Threshold]:
    """The file's, in its order."""
    codes = [label.code for label in classifier.labels]
    return [
        verdict.Threshold(
            contracts.threshold_name(row),
            tuple(i for i, code in enumerate(codes) if code in row["classes"]),
            float(row["threshold"]),
            None if row.get("borderline_within") is None else float(row["borderline_within"]),
        )
        for row in classifier.contract.get("thresholds", ())
    ]


def measured(
    found: catalogue.Found,
    classifier: SkinClassifier,
    prepared: Prepared,
    settings: EngineSettings,
    progress: Say | None,
) -> dict[str, Any]:
    """One engine's entry of the result.

    Args:
        found: The engine.
        classifier: The reference.
        prepared: Of this classifier.
        settings: What is measured.
        progress: Called with (engine and step, done, in all); None reports nothing.
    """
    engine = found.engine
    entry: dict[str, Any] = {
        "name": engine.name,
        "about": engine.about,
        "version": None,
        "runs_in": None,
        "status": NOT_HERE,
        "detail": found.missing,
        "install": found.install or None,
        "executed": None,
        "load_ms": None,
        "first_ms": None,
        "steady": None,
        "peak_bytes": None,
        "sound": None,
        "repeats": None,
        "pattern": None,
        "golden": None,
        "labelled": None,
        "verdict": None,
    }
    if found.command is None:
        return entry
    sequence = prepared.sequence(settings.repeats)
    job = {
        "model": str(classifier.path.resolve()),
        "num_threads": settings.num_threads,
        "inputs": list(prepared.inputs),
        "pixels": prepared.pixels,
        "sequence": sequence,
        "classes": prepared.reference.shape[1],
        "outputs": len(classifier.interpreter.outputs),
        "options": dict(found.options),
    }
    with files.temporary_folder() as folder:
        outcome = process.run(
            found.command, job, folder, timeout_s=settings.timeout_s, progress=_counting(progress, engine.name)
        )
    entry |= {
        "version": outcome.facts.get("version"),
        "runs_in": outcome.facts.get("runs_in"),
        "status": outcome.status,
        "detail": outcome.detail,
        "executed": outcome.facts.get("executed"),
        "load_ms": outcome.facts.get("load_ms"),
        "peak_bytes": outcome.peak_bytes,
    }
    entry |= _figures(outcome, classifier, prepared, np.array(sequence))
    entry["verdict"] = verdict.judge(entry, engine.accelerator, prepared.within)
    return entry


def _figures(outcome: process.Outcome, classifier: SkinClassifier, prepared: Prepared, sequence: Any) -> dict[str, Any]:
    """Time, and what the answers are worth; {} where there is none."""
    count = len(outcome.milliseconds)
    if not count:
        return {}
    times = outcome.milliseconds
    found: dict[str, Any] = {"first_ms": float(times[0])}
    if count > 1:
        found["steady"] = summarize(times[1:].tolist()) | {"num_runs": count - 1}
    scores = _scores(outcome, classifier)
    if scores is None:
        return {**found, "status": process.FAILED, "detail": "its output is not the file's"}
    rows = sequence[:count]
    answers = verdict.Answers(rows, scores, prepared.reference, prepared.golden)
    limits = thresholds(classifier)
    found |= {
        "sound": verdict.sound(answers),
        "repeats": verdict.repeats(answers),
        "pattern": verdict.pattern(answers, prepared.within),
        "golden": verdict.agreement(answers, limits, rows < prepared.golden),
    }
    if prepared.cases:
        labelled = rows >= prepared.golden
        codes = [label.code for label in classifier.labels]
        truth = np.array([codes.index(case.label) for case in prepared.cases])[rows[labelled] - prepared.golden]
        found["labelled"] = verdict.agreement(answers, limits, labelled) | _accuracy(truth, scores[labelled], codes)
    return found


def _accuracy(truth: Any, scores: verdict.Floats, codes: Sequence[str]) -> dict[str, Any]:
    finite = np.isfinite(scores).all(axis=1)
    if not finite.any():
        return {"accuracy": None, "balanced_accuracy": None}
    figures = metrics.evaluate(truth[finite], scores[finite].astype(np.float32), codes, bootstrap=0)
    return {name: figures[name] for name in ("accuracy", "balanced_accuracy")}


def _scores(outcome: process.Outcome, classifier: SkinClassifier) -> verdict.Floats | None:
    """float64 [answers, classes]; None where the engine's output cannot be that of the file.

    An engine may name the outputs as the signature does, in another order; else the first one is meant.
    """
    described: Sequence[Mapping[str, Any]] = outcome.facts["outputs"]
    names = [str(one["name"]) for one in described]
    wanted = [str(one["name"]) for one in classifier.contract.get("outputs", ())][:1]
    position = names.index(wanted[0]) if wanted and wanted[0] in names else 0
    values, own = outcome.outputs[position], classifier.interpreter.outputs[0]
    if values[0].size != int(np.prod(own.shape)):
        return None
    if values.dtype.kind in "iu":
        said = Quantization(float(described[position]["scale"]), int(described[position]["zero_point"]))
        values = dequantize(values, said if said.is_quantized else own.quantization)
    flat = np.reshape(values, (len(values), -1)).astype(np.float32)
    with np.errstate(all="ignore"):  # what an engine answers may be anything
        return np.stack([classifier.to_probabilities(row) for row in flat]).astype(np.float64)


def _counting(progress: Say | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
