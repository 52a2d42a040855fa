"""Every step on synthetic images, through the same functions as the commands use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from ..benchmarks.bench import BenchSettings, run_bench
from ..benchmarks.inputs.cases import read_cases
from ..edge_runtime import files
from ..edge_runtime.classifier import Prediction, SkinClassifier
from ..edge_runtime.errors import OutputExistsError
from ..train.api import train
from ..train.data.synthetic import draw_dataset
from ..train.request import TrainRequest
from .job import convert
from .settings import ConvertSettings

Report = Callable[[str], None]


@dataclass(frozen=True)
class Quickstart:
    """What each step gave: metrics.json's content, convert's summary, bench's result, one prediction."""

    seconds: float
    images: int
    lesions: int
    data: Path
    run: Path
    model: Path
    metrics: dict[str, Any]
    conversion: dict[str, Any]
    bench: dict[str, Any]
    image: Path
    truth: str
    prediction: Prediction


def quickstart(out: Path, report: Report, seed: int = 42) -> Quickstart:
    """Draws a synthetic data set in `out`, trains, converts, benches and predicts.

    `out` appears whole or not at all. Raises OutputExistsError where it is not empty.
    """
    _check_output(out)
    # In a folder that takes its place when all of it is there: what is stopped half way does not stand in the next
    # one's way.
    with files.alone_in(out, "skin-edge quickstart"), files.replacing_folder(out) as folder:
        _check_output(out)
        done = _all_of_it(folder, report, seed)
    moved = {name: out / getattr(done, name).relative_to(folder) for name in ("data", "run", "model", "image")}
    return replace(done, **moved)


def _check_output(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputExistsError(out, "choose another --out, or remove it")


def _all_of_it(out: Path, report: Report, seed: int) -> Quickstart:
    start = perf_counter()
    report("1/5 drawing synthetic lesions")
    data, run, tflite = out / "synthetic", out / "run", out / "int8"
    draw_dataset(data, seed=seed)
    report("2/5 training (skin-edge train)")
    # Drawn lesions of one class look so alike that the rule for near-duplicates joins a pair or two of 658 wrongly.
    report("without the search for near-duplicates: synthetic lesions look more alike than photographs do")
    metrics = train(TrainRequest(data, run, "quickstart", seed=seed, near_duplicates=False), report)
    report("3/5 converting (skin-edge convert --int8)")
    conversion = convert(ConvertSettings(run, tflite), report)
    report("4/5 measuring (skin-edge bench)")
    model = tflite / "model_int8.tflite"
    bench = run_bench(
        BenchSettings(model, reference=tflite / "model_float32.tflite", data=run / "split.csv", cold_starts=0)
    )
    report("5/5 predicting (skin-edge predict)")
    classifier = SkinClassifier(model)
    cases = read_cases(run / "split.csv", split="all", known_labels=[label.code for label in classifier.labels])
    case = next(case for case in cases if case.split == "test")
    prediction = classifier.predict(case.path)
    return Quickstart(
        seconds=perf_counter() - start,
        images=len(cases),
        lesions=len({case.group for case in cases}),
        data=data,
        run=run,
        model=model,
        metrics=metrics,
        conversion=conversion,
        bench=bench,
        image=case.path,
        truth=case.label,
        prediction=prediction,
    )
