"""How long one picture takes on this machine, stage by stage, after warm-up and with its spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ...edge_runtime import preprocess
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.interpreter import load_engine

STAGES = ("decode", "preprocess", "invoke")

# With fewer runs the 99th percentile is one of the two slowest runs: noise.
RUNS_FOR_P99 = 200


def load_timed(
    model: str | Path | None, num_threads: int = 1, input_options: Mapping[str, Any] | None = None
) -> tuple[SkinClassifier, float]:
    """(the classifier, init_ms): reading the file and building the interpreter, without importing Python modules.

    Args:
        input_options: Mean, std and labels of a file that others made, as SkinClassifier takes them.

    Raises:
        ModelFileError: As SkinClassifier does.
    """
    load_engine()
    start = perf_counter()
    classifier = SkinClassifier(model, num_threads=num_threads, **(input_options or {}))
    return classifier, (perf_counter() - start) * 1000


def measure_latency(
    classifier: SkinClassifier, image_bytes: bytes, num_runs: int = 50, warmup_runs: int = 5
) -> dict[str, Any]:
    """Milliseconds for one picture from the bytes of its file to probabilities.

    Args:
        classifier: Fresh, so that warmup_first_ms is the network's first run (None with warmup_runs=0).
        image_bytes: The bytes of an image file.
        num_runs: At least 1.
        warmup_runs: Number of untimed predictions before them, at least 0.

    Returns:
        runs_ms: each timed run, in order.
        `summarize` of the whole and, under "stages", of decode (bytes -> upright RGB), preprocess (resize, quantize)
        and invoke (the network);.

    Raises:
        ImageError: Where `image_bytes` is not an image.
    """
    if num_runs < 1 or warmup_runs < 0:
        raise ValueError(f"num_runs must be at least 1 and warmup_runs at least 0, not {num_runs} and {warmup_runs}")
    warmup = [timed_run(classifier, image_bytes) for _ in range(warmup_runs)]
    runs = np.array([timed_run(classifier, image_bytes) for _ in range(num_runs)])  # [runs, stages]
    whole: list[float] = runs.sum(axis=1).tolist()
    return {
        "warmup_first_ms": sum(warmup[0]) if warmup else None,
        **summarize(whole),
        "stages": {stage: summarize(runs[:, i].tolist()) for i, stage in enumerate(STAGES)},
        "num_runs": num_runs,
        "warmup_runs": warmup_runs,
        "runs_ms": whole,
    }


def sweep_threads(
    model: Path,
    image_bytes: bytes,
    cores: int,
    num_runs: int,
    warmup_runs: int,
    input_options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The latency with 1, 2, 4, ... threads and with as many as there are cores.

    Each a fresh interpreter: {num_threads, median_ms, p95_ms, invoke_median_ms}.

    Args:
        model: A .tflite file.
        image_bytes: The bytes of an image file.
        cores: Number of CPU cores of the machine.
        num_runs: Number of timed predictions, at least 1.
        warmup_runs: Number of untimed predictions before them, at least 0.
        input_options: As in `load_timed`.

    Raises:
        ModelFileError: As SkinClassifier does.
    """
    counts = sorted({1, cores} | {2**power for power in range(9) if 2**power < cores})
    rows: list[dict[str, Any]] = []
    for count in counts:
        classifier, _ = load_timed(model, count, input_options)
        measured = measure_latency(classifier, image_bytes, num_runs, warmup_runs)
        rows.append(
            {
                "num_threads": count,
                "median_ms": measured["median_ms"],
                "p95_ms": measured["p95_ms"],
                "invoke_median_ms": measured["stages"]["invoke"]["median_ms"],
            }
        )
    return rows


def summarize(milliseconds: Sequence[float]) -> dict[str, float | None]:
    """median, mean, standard deviation (n - 1; 0 for one run) and percentiles; p99 is None under RUNS_FOR_P99 runs."""
    values = np.asarray(milliseconds, np.float64)
    p5, p50, p90, p95, p99 = (float(value) for value in np.percentile(values, [5, 50, 90, 95, 99]))
    return {
        "median_ms": p50,
        "avg_ms": float(values.mean()),
        "std_ms": float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        "p5_ms": p5,
        "p90_ms": p90,
        "p95_ms": p95,
        "p99_ms": p99 if len(values) >= RUNS_FOR_P99 else None,
    }


def timed_run(classifier: SkinClassifier, image_bytes: bytes) -> tuple[float, float, float]:
    """Milliseconds of STAGES for one prediction."""
    start = perf_counter()
    upright = preprocess.decode(image_bytes, classifier.input_spec)
    decoded = perf_counter()
    tensor = classifier.to_tensor(preprocess.resize(upright, classifier.input_spec))
    prepared = perf_counter()
    classifier.invoke(tensor)
    done = perf_counter()
    return (decoded - start) * 1000, (prepared - decoded) * 1000, (done - prepared) * 1000
