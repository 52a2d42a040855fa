"""The ways to quantize, side by side, and the choice among them. Each is asked by `.quantize(stage)`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from ..edge_runtime.errors import ConversionError, GateError, UsageError
from ..edge_runtime.preprocess import InputSpec
from . import checks
from .quantize.representative import CALIBRATED
from .settings import ConvertSettings
from .stage import Stage

_AUTO_PERCENTILE = 99.99


@dataclass(frozen=True)
class Attempt:
    """A quantized network, its outputs being logits, and how it did on the validation part.

    Attributes:
        method: For the contract.
        history: An epoch a row, of quantization-aware training.
        drop: Of balanced accuracy against the float network, 0..1.
    """

    logits_network: bytes
    logits: npt.NDArray[np.float32]
    method: dict[str, Any]
    history: list[dict[str, float]]
    balanced_accuracy: float
    drop: float


class Strategy(Protocol):
    """One way to quantize.

    Attributes:
        effort: Its name for people.
    """

    effort: ClassVar[str]

    def quantize(self, stage: Stage) -> Attempt:
        """Raises UsageError or ConversionError where it cannot be done so."""
        ...


@dataclass(frozen=True)
class PostTraining:
    """Ranges from the activations of the representative pictures.

    Attributes:
        percentile: None is the extremes.
    """

    percentile: float | None = None
    effort: ClassVar[str] = "post-training"

    def quantize(self, stage: Stage) -> Attempt:
        from .quantize.post_training import Calibration, quantize

        settings, percentile = stage.settings, self.percentile
        stage.report(f"post-training quantization ({settings.name})")
        network = quantize(
            stage.network,
            stage.calibration,
            precision=settings.precision,
            calibration=Calibration() if percentile is None else Calibration("percentile", percentile),
            io=settings.io,
            keep_float=settings.keep_float,
            vectors=(-1, 1),  # by the encoding
        )
        described: dict[str, Any] = {"method": self.effort}
        if settings.precision in CALIBRATED:
            described["calibration"] = "min/max" if percentile is None else f"percentile {percentile:g}"
        return _attempt(stage, network, stage.answers(network), described, [])


@dataclass(frozen=True)
class QuantizationAware:
    """The network is trained on with the rounding of the device, towards the answers of the float network."""

    effort: ClassVar[str] = "quantization-aware training"

    def quantize(self, stage: Stage) -> Attempt:
        settings = stage.settings
        network, history, simulated = _trained(stage)
        logits = stage.answers(network)
        checks.check_simulation(simulated, logits, checks.logit_step(network), stage.report)
        described = {
            "method": self.effort,
            "epochs": settings.qat_epochs,
            "learning_rate": settings.qat_learning_rate,
            "distilled_from_the_float_model": settings.distill,
            "kept_epoch": max(history, key=lambda row: row["score"])["epoch"],
        }
        return _attempt(stage, network, logits, described, history)


def strategies(settings: ConvertSettings) -> list[Strategy]:
    """In the order in which they are tried, the smallest effort first."""
    if settings.method == "auto":
        percentile = _AUTO_PERCENTILE if settings.percentile is None else settings.percentile
        return [PostTraining(), PostTraining(percentile), QuantizationAware()]
    return [PostTraining(settings.percentile) if settings.method == "ptq" else QuantizationAware()]


def select(ways: Sequence[Strategy], stage: Stage) -> tuple[Attempt, list[dict[str, Any]]]:
    """The attempt that is kept, and a row for each that was made, with why. Raises GateError where none serves."""
    settings, report = stage.settings, stage.report
    limit = settings.limit
    tried: list[dict[str, Any]] = []
    attempts: list[tuple[Attempt, int]] = []  # and each one's row in `tried`
    for way in ways:
        try:
            made = way.quantize(stage)
        except (UsageError, ConversionError) as error:
            if settings.method != "auto":
                raise
            report(f"{way.effort} failed: {error}")
            failed = {"balanced_accuracy": None, "drop": None, "kept": False, "error": str(error)}
            tried.append({"effort": way.effort, **failed})
            continue
        attempts.append((made, len(tried)))
        name = made.method["method"] + (f", {made.method['calibration']}" if "calibration" in made.method else "")
        meets = limit is None or made.drop <= limit
        tried.append({"effort": name, "balanced_accuracy": made.balanced_accuracy, "drop": made.drop, "kept": meets})
        if limit is not None:
            report(f"{name}: balanced accuracy {made.balanced_accuracy:.3f}, float {stage.float_balanced_accuracy:.3f}")
            report(
                f"  {abs(made.drop) * 100:.1f} points {'lost' if made.drop > 0 else 'gained'}, at most "
                f"{limit * 100:g} may be lost: {'kept, the smallest effort that serves' if meets else 'not kept'}"
            )
        if meets:
            return made, tried
    return _best_that_worked(attempts, tried, stage)


def _best_that_worked(
    attempts: Sequence[tuple[Attempt, int]], tried: list[dict[str, Any]], stage: Stage
) -> tuple[Attempt, list[dict[str, Any]]]:
    """Where none stays within the limit: the best, if nobody asked for a limit and a way failed; else GateError."""
    if attempts and stage.settings.max_drop is None and any("error" in row for row in tried):
        kept, row = min(attempts, key=lambda one: one[0].drop)
        tried[row]["kept"] = True
        stage.report(
            f"{tried[row]['effort']} is kept, the best that worked: it loses {kept.drop * 100:.1f} points of balanced "
            "accuracy on the validation part; --max-drop makes a limit of that"
        )
        return kept, tried
    drops = ", ".join(
        f"{row['effort']} " + (f"failed ({row['error']})" if "error" in row else f"{row['drop'] * 100:.1f}")
        for row in tried
    )
    raise GateError(
        f"no conversion loses at most {(stage.settings.limit or 0) * 100:g} points of balanced accuracy (--max-drop) "
        f"on the validation part: {drops}; try more --qat-epochs, or --keep-float for the layers that "
        "'skin-edge debug-quantization' names"
    )


def _attempt(
    stage: Stage,
    network: bytes,
    logits: npt.NDArray[np.float32],
    described: dict[str, Any],
    history: list[dict[str, float]],
) -> Attempt:
    balanced = stage.balanced_accuracy(logits)
    return Attempt(network, logits, described, history, balanced, stage.float_balanced_accuracy - balanced)


def _trained(stage: Stage) -> tuple[bytes, list[dict[str, float]], npt.NDArray[np.float32]]:
    """(a .tflite whose first output is logits, the epochs, the simulation's logits on the validation part)."""
    from ..train.engine import tf
    from ..train.pipeline.batches import plain_batches
    from .quantize import post_training, qat
    from .tflite import flatbuffer, to_tflite

    settings, inputs, spec = stage.settings, stage.calibration, stage.run.input_spec
    alone = len(inputs) == 1
    quantized = qat.quantization_aware(stage.network, inputs[0] if alone else inputs)

    def answers_of(model: Any, spec: InputSpec = spec) -> npt.NDArray[np.float32]:
        return tf.nest.flatten(model.predict(plain_batches(stage.validation, spec), verbose=0))[0]

    def validate(model: Any) -> dict[str, float]:
        logits = answers_of(model)
        balanced, away = stage.balanced_accuracy(logits), qat.divergence(logits, stage.wanted)
        # What learns from the float network is as good as it is near to it; the balanced accuracy of a few hundred
        # pictures would choose by luck among epochs that differ in a handful of answers.
        score = -away if settings.distill else balanced
        return {"score": score, "divergence": away, "balanced_accuracy": balanced}

    history = qat.train_quantized(
        quantized,
        stage.folded,
        _batches(stage),
        validate,
        epochs=settings.qat_epochs,
        learning_rate=settings.qat_learning_rate,
        distill=settings.distill,
        report=stage.report,
    )
    qat.widen_dead_channels(quantized)
    network = to_tflite.trained_int8_tflite(quantized, settings.io)
    if settings.io == "uint8" and not alone:
        edited = flatbuffer.read(network)
        post_training.float_vectors(edited)
        network = flatbuffer.write(edited)
    return network, history, answers_of(quantized, _as_fed(network, spec))


def _batches(stage: Stage) -> Any:
    """Epoch -> its batches: the training's own distribution; a seed of its own, for other epochs than it has seen."""
    from ..train.pipeline.batches import training_batches

    run, pictures = stage.run, stage.pictures("train", "training")
    one_hot = np.eye(len(run.labels), dtype=np.float32)[run.targets(run.part("train"))]

    def batches(epoch: int) -> Any:
        return training_batches(
            pictures,
            one_hot,
            run.input_spec,
            run.recipe.augmentation,
            batch_size=run.recipe.batch_size,
            seed=run.seed + 1,
            epoch=epoch,
            balance=run.recipe.balance,
        )

    return batches


def _as_fed(network: bytes, spec: InputSpec) -> InputSpec:
    """The spec whose input values are those of the file's integers, where bytes go in unchanged (`byte_table`).

    They are half a step off the training's, which are between two integers: a simulation fed with those rounds some up
    and some down, by the noise of float32.
    """
    from ..edge_runtime.interpreter import Interpreter

    source = Interpreter(network).inputs[0]
    if not source.quantization.is_quantized:
        return spec
    zero = float(source.quantization.zero_point - np.iinfo(source.dtype).min)
    return replace(spec, mean=(zero,) * 3, std=(1 / source.quantization.scale,) * 3)
