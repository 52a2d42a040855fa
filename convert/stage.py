"""What every way to quantize starts from: the run, its float network, and the pictures that calibrate and compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..benchmarks.stats import metrics
from ..benchmarks.stats.calibration import logits_of
from ..edge_runtime.errors import DataError
from ..edge_runtime.preprocess import FULL, SCALED, InputSpec
from ..train.data import patients
from ..train.runs.run_folder import Run
from . import checks, confidence
from .quantize import representative
from .settings import ConvertSettings
from .tflite import answers

Report = Callable[[str], None]
Floats = npt.NDArray[np.floating[Any]]
Logits = npt.NDArray[np.float64]

_CHECKED = 32  # training pictures on which the float files are compared


@dataclass(frozen=True)
class Shift:
    """The logit shift for rare classes.

    Attributes:
        logits: What is added, [classes].
        candidates: What was chosen from, and how each did on the validation part.
    """

    tau: float
    logits: Logits
    candidates: list[dict[str, Any]]


@dataclass(frozen=True)
class Stage:
    """A run, ready to be quantized.

    Attributes:
        spec: How the file's pictures are prepared.
        model: Keras', as the run has it.
        float_file: The same as a .tflite.
        folded: Its head folded, the shift applied, with logits as output.
        network: `folded`, with its activation map where that is asked for.
        representative: Rows of the training part.
        calibration: Their inputs, [n, ...] each.
        validation: `batches.Pictures`, truth: int64 [n] positions of their labels, float_scores: the model's answers,
            [n, classes].
    """

    settings: ConvertSettings
    run: Run
    report: Report
    spec: InputSpec
    model: Any
    float_file: bytes
    folded: Any
    network: Any
    shift: Shift
    representative: pd.DataFrame
    calibration: Sequence[npt.NDArray[np.float32]]
    validation: Any
    truth: npt.NDArray[np.int64]
    float_scores: Floats

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(label.code for label in self.run.labels)

    @property
    def vectors(self) -> npt.NDArray[np.float32] | None:
        """What is known of the validation part's patients."""
        return self.validation.patients.vectors if self.validation.patients else None

    @property
    def wanted(self) -> Logits:
        """Logits of the float network with the shift, on the validation part: [n, classes]."""
        return logits_of(self.float_scores) + self.shift.logits

    @property
    def float_balanced_accuracy(self) -> float:
        return self.balanced_accuracy(self.wanted)

    def balanced_accuracy(self, scores: Any) -> float:
        """Of logits or probabilities on the validation part."""
        return float(metrics.evaluate(self.truth, scores, self.codes, bootstrap=0)["balanced_accuracy"])

    def answers(self, network: bytes, *, softmax: bool = False) -> npt.NDArray[np.float32]:
        """Of a .tflite on the validation part: [n, classes]. softmax: see `answers.answers`."""
        pixels = self.validation.pixels
        return answers.answers(network, self.spec, pixels, self.vectors, self.report, softmax=softmax)

    def pictures(self, part: str, name: str) -> Any:
        """`batches.Pictures` of a part of the run.

        Args:
            name: For people.
        """
        return self.pictures_of(self.run.part(part), name)

    def pictures_of(self, rows: pd.DataFrame, name: str) -> Any:
        """`batches.Pictures` of some rows of the run.

        Args:
            rows: Of its split.
            name: For people.
        """
        return _pictures(self.run, self.spec, rows, name, self.report)


def load(settings: ConvertSettings, run: Run, report: Report) -> Stage:
    """Reads pictures and weights, and makes the float files.

    Raises DataError where a picture cannot be read, ConversionError where the float file or the folded head answers
    otherwise than the model.
    """
    from ..train import engine
    from ..train.pipeline.batches import plain_batches
    from .quantize.fold import fold_head
    from .quantize.heatmap import with_map
    from .tflite import to_tflite

    engine.start(run.seed, mixed_precision=False)
    model = run.model()
    spec = spec_for(run, settings)
    chosen, calibration = _calibration(run, spec, settings, report)
    first = [array[:_CHECKED] for array in calibration]
    validation = _pictures(run, spec, run.part("val"), "validation", report)
    truth = run.targets(run.part("val"))
    float_scores = model.predict(plain_batches(validation, spec), verbose=0)
    report("converting the float model")
    float_file = to_tflite.float32_tflite(model)
    checks.check_float(float_file, first, model)
    folded = fold_head(model)
    checks.check_fold(folded, first, model)
    shift = _shift(run, settings, logits_of(float_scores), truth)
    if shift.tau:
        folded = confidence.shift_head(folded, shift.logits)
    return Stage(
        settings,
        run,
        report,
        spec,
        model,
        float_file,
        folded,
        network=with_map(folded) if settings.cam else folded,
        shift=shift,
        representative=chosen,
        calibration=calibration,
        validation=validation,
        truth=truth,
        float_scores=float_scores,
    )


def spec_for(run: Run, settings: ConvertSettings) -> InputSpec:
    """How the file's pictures are prepared: as the run's; a run of before contract 4 has them decoded in full."""
    scaled = settings.scaled_decode or run.input_spec.decoding == SCALED
    return replace(run.input_spec, decoding=SCALED if scaled else FULL)


def _pictures(run: Run, spec: InputSpec, rows: pd.DataFrame, name: str, report: Report) -> Any:
    from ..train.pipeline.batches import load as load_pictures

    pictures, failures = load_pictures(
        list(rows["path"]), spec, on_progress=lambda n: report(f"\rreading {name} images: {n}/{len(rows)}")
    )
    if failures:
        first = next(iter(failures.values()))
        raise DataError(f"{len(failures)} {name} images of {run.folder} cannot be read, the first: {first}")
    report("\r")
    encoding = run.encoding
    known = patients.encoded(encoding, rows, run.recipe.metadata_dropout) if encoding else None
    return replace(pictures, patients=known)


def _calibration(
    run: Run, spec: InputSpec, settings: ConvertSettings, report: Report
) -> tuple[pd.DataFrame, list[npt.NDArray[np.float32]]]:
    """The rows that calibrate, and the network's inputs for them."""
    from ..train.pipeline.batches import inputs_of

    chosen = representative.choose_representative(run, settings.representative)
    if len(chosen) < representative.ENOUGH:
        report(
            f"warning: {len(chosen)} representative images; fewer than {representative.ENOUGH} give unreliable ranges"
        )
    pictures = _pictures(run, spec, chosen, "representative", report)
    if pictures.patients:
        pictures = replace(pictures, patients=pictures.patients.with_gaps(run.seed))
    return chosen, inputs_of(pictures, spec)


def _shift(run: Run, settings: ConvertSettings, logits: Logits, truth: npt.NDArray[np.int64]) -> Shift:
    counts = np.bincount(run.targets(run.part("train")), minlength=len(run.labels))
    candidates = confidence.tradeoff(logits, truth, counts) if settings.tau != 0 else []
    tau = confidence.choose_tau(candidates) if settings.tau is None else settings.tau
    return Shift(tau, confidence.shift_for(tau, counts), candidates)
