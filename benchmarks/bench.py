"""One benchmark from settings to a JSON-ready result. `skin-edge bench` and the quickstart call it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..edge_runtime.classifier import DEFAULT_MODEL, SkinClassifier
from ..edge_runtime.errors import ImageError, UsageError
from . import parity, sensitivity
from .cases import Case, read_cases
from .caveats import caveats
from .latency import load_timed, measure_latency, sweep_threads
from .machine import describe_machine, swapped_pages, temperature_c, throttled
from .memory import measure_memory
from .metrics import NON_INFERIORITY_MARGIN
from .picture import Picture, generated_picture, read_picture
from .processes import measure_cold_start, measure_spread
from .size import measure_network, measure_size
from .sustained import measure_sustained


@dataclass(frozen=True)
class BenchSettings:
    """What is measured.

    model: a .tflite of 'skin-edge convert'; None is the packaged one. reference: its float twin. data, split, images:
    as `cases.read_cases` takes them; without data no accuracy is measured. image: what latency and memory are measured
    with; by default the first image of the data, else a generated one. processes: how many more
    processes the latency is measured in; none where 1. cold_starts: how many whole processes are timed. sweep: whether
    the latency is measured over threads. duration_s: of the sustained run, none where 0. preprocessing: whether the
    sensitivity to the app's preprocessing is measured; it needs data. margin: of non-inferiority, in balanced accuracy.
    """

    model: Path | None = None
    reference: Path | None = None
    data: Path | None = None
    split: str | None = None
    images: Path | None = None
    image: Path | None = None
    num_runs: int = 50
    warmup_runs: int = 5
    num_threads: int = 1
    processes: int = 1
    cold_starts: int = 5
    sweep: bool = False
    duration_s: float = 0
    preprocessing: bool = False
    margin: float = NON_INFERIORITY_MARGIN


def run_bench(settings: BenchSettings, progress: parity.Progress | None = None) -> dict[str, Any]:
    """Measures; returns everything, JSON-ready.

    Keys: measured_at (UTC), model, machine, size, network (`measure_network`), memory, latency, cold_start
    (`measure_cold_start`), processes (`measure_spread`), sweep (`sweep_threads`), sustained (`measure_sustained`),
    reference (model, size, network, latency), ratios (model to reference), data, accuracy (`parity.compare`),
    preprocessing (`sensitivity.measure`), warnings (`caveats`), gate (None; `gate.judge` fills it). What was not asked
    for is None. Bytes, milliseconds, 0..1.

    Raises UsageError, ModelFileError, ImageError or DataError with one line where an input does not serve, and
    ModuleNotFoundError where scikit-learn is missing and `data` is given: all before anything is measured.
    """
    if settings.data is None and (settings.split or settings.images):
        raise UsageError("--split and --images go with --data, which is not given")
    if settings.data is None and settings.preprocessing:
        raise UsageError("--preprocessing measures accuracy: it goes with --data, which is not given")
    if settings.model is None and not DEFAULT_MODEL.is_file():
        raise UsageError("no MODEL given, and this installation holds no packaged model")
    if settings.data is not None:
        import sklearn  # noqa: F401  # pyright: ignore[reportMissingTypeStubs, reportUnusedImport]

    classifier, init_ms = load_timed(settings.model, settings.num_threads)
    reference = load_timed(settings.reference, settings.num_threads) if settings.reference else None
    if reference:
        parity.check_labels(reference[0], classifier)
    cases: list[Case] = []
    if settings.data is not None:
        cases = read_cases(
            settings.data,
            split=settings.split,
            images=settings.images,
            known_labels=[label.code for label in classifier.labels],
        )
    picture = _picture(settings.image, cases)

    def latency(fresh: SkinClassifier, init_ms: float) -> dict[str, Any]:
        measured = measure_latency(fresh, picture.content, settings.num_runs, settings.warmup_runs)
        return {
            "init_ms": init_ms,
            **measured,
            "num_threads": settings.num_threads,
            "image": picture.description,
            "image_source": picture.source,
        }

    swapped_before = swapped_pages()
    machine = describe_machine(classifier.interpreter.engine)
    result: dict[str, Any] = {
        "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "model": _described(classifier),
        "machine": machine,
        "size": measure_size(classifier.path),
        "network": measure_network(classifier.path),
        "memory": measure_memory(classifier.path, picture.content),
        "latency": latency(classifier, init_ms),
        "cold_start": None,
        "processes": None,
        "sweep": None,
        "sustained": None,
        "reference": None,
        "ratios": None,
        "data": None,
        "accuracy": None,
        "preprocessing": None,
        "gate": None,
    }
    if settings.cold_starts:
        result["cold_start"] = measure_cold_start(classifier.path, picture.content, settings.cold_starts)
    if settings.processes > 1:
        result["processes"] = measure_spread(
            classifier.path,
            picture.content,
            settings.processes,
            settings.num_runs,
            settings.warmup_runs,
            settings.num_threads,
        )
    if settings.sweep:
        result["sweep"] = sweep_threads(
            classifier.path, picture.content, machine["cores"] or 1, settings.num_runs, settings.warmup_runs
        )
    if reference is not None:
        twin: dict[str, Any] = {
            "model": _described(reference[0]),
            "size": measure_size(reference[0].path),
            "network": measure_network(reference[0].path),
            "latency": latency(*reference),
        }
        result["reference"] = twin
        result["ratios"] = {
            "file_bytes": result["size"]["file_bytes"] / twin["size"]["file_bytes"],
            "median_ms": result["latency"]["median_ms"] / twin["latency"]["median_ms"],
            "invoke_median_ms": (
                result["latency"]["stages"]["invoke"]["median_ms"] / twin["latency"]["stages"]["invoke"]["median_ms"]
            ),
        }
    if settings.duration_s:
        result["sustained"] = measure_sustained(classifier, picture.content, settings.duration_s)
    machine["temperature_after_c"] = temperature_c()
    machine["throttled_after"] = throttled()
    swapped_after = swapped_pages()
    swapped = None if swapped_before is None or swapped_after is None else swapped_after - swapped_before
    result["warnings"] = caveats(result, swapped)
    if settings.data is not None:
        result["data"] = {"path": str(settings.data), "split": ", ".join(sorted({case.split for case in cases} - {""}))}
        result["accuracy"] = parity.compare(
            reference[0] if reference else None, classifier, cases, margin=settings.margin, progress=progress
        )
        if settings.preprocessing:
            result["preprocessing"] = sensitivity.measure(classifier, cases, progress=progress)
    return result


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
