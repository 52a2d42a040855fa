"""One benchmark from settings to a JSON-ready result. `skin-edge bench` and the quickstart call it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..edge_runtime.classifier import SkinClassifier
from ..edge_runtime.errors import ImageError, UsageError
from ..edge_runtime.labels import Label
from ..edge_runtime.model_file import left_out
from .accuracy import parity
from .accuracy import preprocessing as sensitivity
from .accuracy.ports import Ports
from .inputs.cases import Case, read_cases
from .inputs.classes import is_table_of_labels, read_labels
from .inputs.columns import PATH_LABEL_GROUP, Columns
from .measure.caveats import caveats
from .measure.latency import load_timed, measure_latency, sweep_threads
from .measure.machine import describe_machine, swapped_pages, temperature_c, throttled
from .measure.memory import measure_memory
from .measure.picture import Picture, generated_picture, read_picture
from .measure.processes import measure_cold_start, measure_spread
from .measure.size import measure_network, measure_size
from .measure.sustained import measure_sustained
from .robustness.measure import PICTURES, measure_robustness
from .stats.metrics import NON_INFERIORITY_MARGIN


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    Attributes:
        model: A .tflite of 'skin-edge convert'; None is the packaged one.
        reference: float baseline.
        data, split, images, columns: As `cases.read_cases` takes them; without data no accuracy is measured.
        image: What latency and memory are measured with; by default the first image of the data, else a generated one.
        processes: How many more processes the latency is measured in; none where 1.
        cold_starts: How many whole processes are timed.
        sweep: Whether the latency is measured over threads.
        duration_s: Of the sustained run, none where 0.
        preprocessing: Whether the sensitivity to the app's preprocessing is measured; it needs data.
        robustness: Whether the suite of distortions is measured (`measure_robustness`); it needs data.
        robustness_pictures: On at most how many pictures.
        robustness_seed: Of their draw and of the suite.
        margin: Of non-inferiority, in balanced accuracy.
        mean, std, labels: Of models that others made, as SkinClassifier takes them, and the reference among them:
            labels go to every file without skin-edge's contract, mean and std to those of them that take floats. Where
            labels is a table (`classes.read_labels`), it says what the data's labels are instead.
    """

    model: Path | None = None
    reference: Path | None = None
    data: Path | None = None
    split: str | None = None
    images: Path | None = None
    columns: Columns = PATH_LABEL_GROUP
    image: Path | None = None
    num_runs: int = 50
    warmup_runs: int = 5
    num_threads: int = 1
    processes: int = 1
    cold_starts: int = 5
    sweep: bool = False
    duration_s: float = 0
    preprocessing: bool = False
    robustness: bool = False
    robustness_pictures: int = PICTURES
    robustness_seed: int = 42
    margin: float = NON_INFERIORITY_MARGIN
    mean: float | None = None
    std: float | None = None
    labels: Path | None = None


@dataclass(frozen=True, eq=False)
class _Opened:
    """A loaded model. input_options: the keywords of SkinClassifier that it was loaded with."""

    classifier: SkinClassifier
    init_ms: float
    input_options: Mapping[str, Any]


def run_bench(settings: BenchSettings, progress: parity.Progress | None = None) -> dict[str, Any]:
    """Measures; returns everything, JSON-ready.

    Keys: measured_at (UTC), model, machine, size, network (`measure_network`), memory, latency, cold_start
    (`measure_cold_start`), processes (`measure_spread`), sweep (`sweep_threads`), sustained (`measure_sustained`),
    reference (model, size, network, latency), ratios (model to reference), data, accuracy (`parity.compare`), ports
    (`ports.Ports.flips`: what other implementations change), preprocessing (`preprocessing.measure`), robustness
    (`measure_robustness`), warnings (`caveats`), gate (None; `gate.judge` fills it). What was not asked for is
    None. Bytes, milliseconds, 0..1.

    Raises UsageError, ModelFileError, ImageError or DataError with one line where an input does not serve, before
    anything is measured.
    """
    return _run([settings.model], settings, progress)[0][0]


def run_benches(
    models: Sequence[Path], settings: BenchSettings, progress: parity.Progress | None = None
) -> dict[str, Any]:
    """As `run_bench`, of two or more models instead of `settings.model`; all answer the same pictures.

    They are compared with settings.reference, and without one with the first of them. Keys: measured_at, machine, data;
    reference (model, size, network, latency, accuracy: its own figures; is_first_model);

    Args:
        models: What `run_bench` returns, in their order, where "reference" and "ratios" of the first are None if it is
            the reference; gate (None; `gate.judge_all` fills it).

    Raises:
        UsageError: Where a model is named twice, and else as `run_bench`.
    """
    seen: set[Path] = set()
    for model in models:
        if model.resolve() in seen:
            raise UsageError(f"{model} is named twice")
        seen.add(model.resolve())
    results, reference = _run(models, settings, progress)
    first = results[0]
    return {
        "measured_at": first["measured_at"],
        "machine": first["machine"],
        "data": first["data"],
        "reference": reference,
        "models": results,
        "gate": None,
    }


def _run(
    models: Sequence[Path | None], settings: BenchSettings, progress: parity.Progress | None
) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """(each model's result, the reference's where there are several models)."""
    bench = _opened(models, settings)
    results: list[dict[str, Any]] = []
    baseline: dict[str, Any] | None = None
    for one in bench.models:
        result, baseline = _beside(one, bench, baseline)
        results.append(result)
    own = _accuracies(bench, results, progress)
    if not bench.several or baseline is None or bench.reference is None:
        return results, None
    return results, {**baseline, "accuracy": own, "is_first_model": bench.reference is bench.models[0]}


@dataclass(frozen=True, eq=False)
class _Bench:
    """What is measured: the models, what they are compared with, and the pictures that they answer.

    settings: without --labels where that is of the data's labels. machine: as it is before anything is measured; the
    load average of later models would be that of the earlier ones.
    """

    settings: BenchSettings
    models: Sequence[_Opened]
    reference: _Opened | None
    cases: Sequence[Case]
    picture: Picture
    machine: Mapping[str, Any]

    @property
    def several(self) -> bool:
        return len(self.models) > 1


def _opened(models: Sequence[Path | None], settings: BenchSettings) -> _Bench:
    """Loads the models and lists the pictures. Raises what `run_bench` raises."""
    _check(settings)
    of_data: tuple[Label, ...] = ()
    if settings.labels and is_table_of_labels(settings.labels):
        if settings.data is None:
            raise UsageError(f"--labels {settings.labels} describes the data's labels: it requires --data")
        of_data, settings = read_labels(settings.labels), replace(settings, labels=None)
    input_options = _input_options(settings, [model for model in (*models, settings.reference) if model])

    def load(path: Path | None) -> _Opened:
        keywords = input_options.get(path, {})
        return _Opened(*load_timed(path, settings.num_threads, keywords), keywords)

    opened = [load(model) for model in models]
    reference = load(settings.reference) if settings.reference else opened[0] if len(opened) > 1 else None
    if reference:
        for one in opened:
            parity.check_labels(reference.classifier, one.classifier)
    cases: list[Case] = []
    if settings.data is not None:
        cases = read_cases(
            settings.data,
            split=settings.split,
            images=settings.images,
            known_labels=[label.code for label in opened[0].classifier.labels],
            columns=settings.columns,
            labels=of_data,
        )
    machine = describe_machine(opened[0].classifier.interpreter.engine)
    return _Bench(settings, opened, reference, cases, _picture(settings.image, cases), machine)


def _beside(
    one: _Opened, bench: _Bench, baseline: dict[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """(a model's result but for its accuracy, the reference's size and speed).

    baseline: the latter, where it was measured: once, beside the first model that is compared with it.
    """
    settings, reference, swapped_before = bench.settings, bench.reference, swapped_pages()
    result = _measured(one, bench.picture, settings, bench.machine)
    if reference and reference is not one:
        baseline = baseline or {
            "model": _described(reference.classifier),
            "size": measure_size(reference.classifier.path),
            "network": measure_network(reference.classifier.path),
            "latency": _latency(reference, bench.picture, settings),
        }
        result["reference"] = baseline
        result["ratios"] = _ratios(result, baseline)
    elif bench.several:
        baseline = {key: result[key] for key in ("model", "size", "network", "latency")}
    if settings.duration_s:
        result["sustained"] = measure_sustained(one.classifier, bench.picture.content, settings.duration_s)
    result["machine"]["temperature_after_c"] = temperature_c()
    result["machine"]["throttled_after"] = throttled()
    swapped_after = swapped_pages()
    swapped = None if swapped_before is None or swapped_after is None else swapped_after - swapped_before
    result["warnings"] = caveats(result, swapped)
    return result, baseline


def _accuracies(
    bench: _Bench, results: Sequence[dict[str, Any]], progress: parity.Progress | None
) -> dict[str, Any] | None:
    """Adds what was measured on data to the results; returns the reference's own accuracy, None without data."""
    settings, reference = bench.settings, bench.reference
    if settings.data is None:
        return None
    asked = [one.classifier for one in bench.models]
    if bench.several and reference and reference not in bench.models:
        asked.append(reference.classifier)  # for its own figures
    watched = [Ports(one.classifier, one.input_options) for one in bench.models]
    accuracies = parity.compare_all(
        reference.classifier if reference else None,
        asked,
        bench.cases,
        margin=settings.margin,
        watched=watched,
        progress=progress,
    )
    for one, result, accuracy, watch in zip(bench.models, results, accuracies, watched, strict=False):
        parts = ", ".join(sorted({case.split for case in bench.cases} - {""}))
        result["data"] = {"path": str(settings.data), "split": parts}
        result["accuracy"] = accuracy
        result["ports"] = watch.flips()
        if settings.preprocessing:
            result["preprocessing"] = sensitivity.measure(one.classifier, bench.cases, progress=progress)
    if settings.robustness:
        found = measure_robustness(
            [one.classifier for one in bench.models],
            bench.cases,
            pictures=settings.robustness_pictures,
            seed=settings.robustness_seed,
            progress=progress,
        )
        for result, cost in zip(results, found, strict=True):
            result["robustness"] = cost
    return accuracies[asked.index(reference.classifier)] if bench.several and reference else None


def _measured(one: _Opened, picture: Picture, settings: BenchSettings, machine: Mapping[str, Any]) -> dict[str, Any]:
    """What a model is measured for by itself, under the keys of `run_bench`; the others are None."""
    path = one.classifier.path
    result: dict[str, Any] = {
        "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": _described(one.classifier),
        "machine": {**machine, "temperature_c": temperature_c(), "throttled": throttled()},
        "size": measure_size(path),
        "network": measure_network(path),
        "memory": measure_memory(path, picture.content, one.input_options),
        "latency": _latency(one, picture, settings),
        "cold_start": None,
        "processes": None,
        "sweep": None,
        "sustained": None,
        "reference": None,
        "ratios": None,
        "data": None,
        "accuracy": None,
        "ports": None,
        "preprocessing": None,
        "robustness": None,
        "gate": None,
    }
    runs = settings.num_runs, settings.warmup_runs
    if settings.cold_starts:
        result["cold_start"] = measure_cold_start(path, picture.content, settings.cold_starts, one.input_options)
    if settings.processes > 1:
        result["processes"] = measure_spread(
            path, picture.content, settings.processes, *runs, settings.num_threads, one.input_options
        )
    if settings.sweep:
        result["sweep"] = sweep_threads(path, picture.content, machine["cores"] or 1, *runs, one.input_options)
    return result


def _latency(one: _Opened, picture: Picture, settings: BenchSettings) -> dict[str, Any]:
    measured = measure_latency(one.classifier, picture.content, settings.num_runs, settings.warmup_runs)
    return {
        "init_ms": one.init_ms,
        **measured,
        "num_threads": settings.num_threads,
        "image": picture.description,
        "image_source": picture.source,
    }


def _ratios(result: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, float]:
    ours, theirs = result["latency"], baseline["latency"]
    return {
        "file_bytes": result["size"]["file_bytes"] / baseline["size"]["file_bytes"],
        "median_ms": ours["median_ms"] / theirs["median_ms"],
        "invoke_median_ms": ours["stages"]["invoke"]["median_ms"] / theirs["stages"]["invoke"]["median_ms"],
    }


def _input_options(settings: BenchSettings, paths: Sequence[Path]) -> dict[Path | None, dict[str, Any]]:
    """The options of each file out of `settings.mean`, std and labels: the keywords of SkinClassifier, JSON-ready.

    Raises UsageError for what no file needs.
    """
    labels = settings.labels and str(settings.labels.resolve())  # a child process works in another folder
    given = {"mean": settings.mean, "std": settings.std, "labels": labels}
    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return {}
    input_options: dict[Path | None, dict[str, Any]] = {
        path: {name: value for name, value in given.items() if name in left_out(path)} for path in paths
    }
    readable = [path for path in paths if path.is_file()]  # loading says why one is not
    idle = [f"--{name}" for name in given if not any(name in keywords for keywords in input_options.values())]
    if idle and len(readable) == len(paths):
        raise UsageError(
            f"leave {', '.join(idle)} out: every model here says so itself (--labels is for those without skin-edge's "
            "contract, or a csv code,name,malignant of the data's labels; --mean and --std for those that take floats)"
        )
    return input_options


def _check(settings: BenchSettings) -> None:
    if settings.data is None and (settings.split or settings.images or settings.columns != PATH_LABEL_GROUP):
        raise UsageError("--split, --images and the columns' names require --data")
    if settings.data is None and settings.preprocessing:
        raise UsageError("--preprocessing measures accuracy: it requires --data")
    if settings.data is None and settings.robustness:
        raise UsageError("--robustness measures accuracy: it requires --data")


def _picture(image: Path | None, cases: Sequence[Case]) -> Picture:
    if image is not None:
        return read_picture(image)
    for case in cases:
        try:
            return read_picture(case.path)
        except ImageError:
            continue  # parity lists it
    return generated_picture()


def _described(classifier: SkinClassifier) -> dict[str, Any]:
    return {
        "path": str(classifier.path),
        "sha256": hashlib.sha256(classifier.path.read_bytes()).hexdigest(),
        "name": classifier.contract.get("name"),
        "precision": classifier.contract.get("precision"),
        "input": f"{classifier.input_spec.width}x{classifier.input_spec.height}",
    }
