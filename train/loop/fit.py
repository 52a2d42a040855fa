"""The epochs: train one, validate, adapt the learning rate, keep the best or the last, write a checkpoint.

tf_keras makes the steps. The loop around it is here because everything it decides (plateau, kept epoch, early stopping)
has to be in the checkpoint, so that a killed training goes on as if nothing had happened.
"""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ...benchmarks.stats import metrics
from ...edge_runtime import files
from ...edge_runtime.errors import DataError
from ..data.tables import HISTORY_COLUMNS
from ..engine import keras
from ..models.heads import choose_trained, seed_dropout
from ..pipeline import sampling
from ..pipeline.batches import Pictures, SeenByTeachers, training_batches
from ..pipeline.sampling import WHOLE, Shard
from ..recipes.recipe import Recipe
from ..recipes.schedules import factor
from ..streams import Stream, generator
from . import checkpoints, losses, statistics
from .averaging import UpdateAverage, WeightAverage
from .distribution import SINGLE_DEVICE, SingleDevice
from .tensorboard import write_scalars

MIN_LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Teaching:
    """How the targets of a training come from other networks too.

    Attributes:
        blend_targets: Replaces the targets of an epoch's batches, in which what the teachers see comes third
            (`distillation.Teachers.blend_targets`).
        seen: What they see.
    """

    blend_targets: Callable[[Any], Any]
    seen: SeenByTeachers


class DivergedError(DataError):
    """An answer is not a number: the settings do not train this network."""


def fit(
    model: Any,
    recipe: Recipe,
    training: tuple[Pictures, npt.NDArray[np.int64]],
    validation: tuple[Pictures, npt.NDArray[np.int64]],
    labels: tuple[str, ...],
    *,
    folder: Path,
    seed: int,
    report: Callable[[str], None],
    xla: bool = False,
    tensorboard: Path | None = None,
    on_epoch: Callable[[Mapping[str, float]], None] | None = None,
    together: SingleDevice = SINGLE_DEVICE,
    teaching: Teaching | None = None,
) -> checkpoints.State:
    """Trains `model` in place until the recipe says stop and leaves the kept epoch's weights in it.

    Args:
        model: The network, trained in place.
        recipe: How it is trained.
        training, validation: Pictures and int64 [n] label positions.
        labels: The codes of the classes.
        folder: The run's; checkpoints/ and history.csv are written there, and a checkpoint that is there already is
            gone on from.
        seed: Random seed, 0 to 2**32 - 1.
        report: Called with one line per epoch, and with a line that begins with a carriage return within an epoch.
        xla: Steps are compiled by XLA.
        tensorboard: A folder for the history as scalars.
        on_epoch: Called with the row of history.csv when an epoch's checkpoint is written, and first with those of the
            epochs that a checkpoint held; what it raises ends the training.
        together: The devices or machines that train; `model` was made in its scope.
        teaching: What replaces the targets by what teachers say.

    Raises:
        DivergedError: Where an answer is not a number.
    """
    if recipe.balance_validation:
        # One draw for the whole training: the epochs are compared with each other.
        rows = sampling.epoch_rows(validation[1], "undersample", generator(seed, Stream.BALANCED_VALIDATION))
        validation = validation[0].take(rows), validation[1][rows]
    kept = folder / "checkpoints"
    trainer = _Trainer(model, recipe, training, labels, seed, together, report, teaching=teaching, xla=xla)
    # What the latest checkpoint holds; the loop below goes on to the other phase.
    trainer.enter(head_only=0 < recipe.head_epochs >= checkpoints.latest_epoch(kept))
    with together.scope():
        restored = checkpoints.restore_latest(kept, **trainer.phase.objects)
    state = restored or checkpoints.State(learning_rate=recipe.learning_rate)
    if state.epoch:
        report(f"continuing after epoch {state.epoch}")
        _write_history(folder, state)
        if on_epoch:
            for row in state.history:
                on_epoch(row)
    report("per epoch: loss, validation loss, balanced accuracy (* kept), speed, time left")
    while state.epoch < recipe.epochs and state.epoch - state.best_epoch < recipe.early_stopping:
        start = perf_counter()
        row, steps, seconds = trainer.epoch(state.epoch + 1, state.learning_rate, validation)
        state.epoch += 1
        state.seconds += perf_counter() - start
        state.images += steps * recipe.batch_size
        state.history.append({name: round(float(value), 6) for name, value in row.items()})
        _adapt(state, recipe, row)
        checkpoints.save(kept, state, **trainer.phase.objects)
        _write_history(folder, state)
        if tensorboard:
            write_scalars(tensorboard, state.history[-1:])
        report(_line(state, recipe, row, steps * recipe.batch_size / seconds))
        if on_epoch:
            on_epoch(state.history[-1])
    trainer.enter(head_only=state.best_epoch <= recipe.head_epochs)
    checkpoints.restore_best(kept, state, **trainer.phase.kept)
    if trainer.phase.average:
        trainer.phase.average.put()
    return state


class _Trainer:
    """Trains a network one epoch at a time, in the phase that the epoch belongs to."""

    phase: _Phase

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        training: tuple[Pictures, npt.NDArray[np.int64]],
        labels: tuple[str, ...],
        seed: int,
        together: SingleDevice,
        report: Callable[[str], None],
        *,
        teaching: Teaching | None,
        xla: bool,
    ):
        self._model, self._recipe, self._labels, self._seed = model, recipe, labels, seed
        self._together, self._report, self._teaching, self._xla = together, report, teaching, xla
        self._pictures, self._positions = training
        self._one_hot = np.eye(len(labels), dtype=np.float32)[training[1]]

    def enter(self, *, head_only: bool) -> None:
        """Compiles the network for a phase, where it is not in it."""
        if getattr(self, "phase", None) is None or self.phase.head_only != head_only:
            self.phase = _Phase(
                self._model, self._recipe, self._positions, self._together, head_only=head_only, xla=self._xla
            )

    def epoch(
        self, epoch: int, learning_rate: float, validation: tuple[Pictures, npt.NDArray[np.int64]]
    ) -> tuple[dict[str, float], int, float]:
        """(the epoch's row of history.csv, its steps, the seconds that they took). Raises DivergedError."""
        model, recipe = self._model, self._recipe
        if self.phase.head_only and epoch > recipe.head_epochs:
            self.enter(head_only=False)
        phase = self.phase
        seed_dropout(model, self._seed, epoch)
        batches, steps = self._together.batches(partial(self._shard, epoch))
        if self._teaching:
            batches = self._teaching.blend_targets(batches)
        start = perf_counter()
        progress = _Progress(epoch, recipe, steps, self._report)
        callbacks = [progress, _SetLearningRate(phase.optimizer, recipe, learning_rate, (epoch - 1) * steps)]
        if phase.average:
            callbacks.append(UpdateAverage(phase.average))
        fitted = model.fit(
            batches, epochs=epoch, initial_epoch=epoch - 1, steps_per_epoch=steps, verbose=0, callbacks=callbacks
        )
        self._together.level(model)
        seconds = perf_counter() - start
        with phase.average.in_place() if phase.average else contextlib.nullcontext():
            if recipe.batch_norm_batches:  # they stay: a checkpoint has what is validated here
                statistics.renew(model, self._shard(epoch, WHOLE, recipe.batch_norm_batches))
            probabilities = self._together.predict(model, recipe, validation[0])
        if not np.isfinite(probabilities).all():
            raise DivergedError(
                f"the training diverged in epoch {epoch} (not a number): start again, lower --learning-rate"
            )
        row = {
            "epoch": epoch,
            "learning_rate": float(phase.optimizer.learning_rate.numpy()),
            "loss": fitted.history["loss"][0],
            "accuracy": fitted.history["accuracy"][0],
            **_validation_row(validation[1], probabilities, self._labels),
        }
        return row, steps, seconds

    def _shard(self, epoch: int, shard: Shard, most: int | None = None) -> Any:
        """The batches of an epoch, or of them what one process makes.

        most: Only the first so many, without what teachers see.
        """
        return training_batches(
            self._pictures,
            self._one_hot,
            self._recipe.input_spec,
            self._recipe.augmentation,
            batch_size=self._recipe.batch_size,
            seed=self._seed,
            epoch=epoch,
            balance=self._recipe.balance,
            mixup=self._recipe.mixup,
            shard=shard,
            teachers=self._teaching.seen if self._teaching and most is None else None,
            most=most,
        )


def _line(state: checkpoints.State, recipe: Recipe, row: Mapping[str, float], rate: float) -> str:
    """An epoch for the person who waits. rate: images per second of its steps."""
    epoch, remaining = state.epoch, recipe.epochs - state.epoch
    # Where the last epoch is kept, those before it are not worth a star, and none stops early.
    starred = state.best_epoch == epoch and (recipe.keep == "best" or not remaining)
    if recipe.keep == "best":
        remaining = min(remaining, recipe.early_stopping - (epoch - state.best_epoch))
    return (
        f"epoch {epoch}/{recipe.epochs}  loss {row['loss']:.3f}  val loss {row['val_loss']:.3f}  "
        f"balanced {row['val_balanced_accuracy']:.3f}{'*' if starred else ' '}  "
        f"{rate:.0f} images/s  {_duration(remaining * state.seconds / epoch)}"
    )


class _Phase:
    """The head alone, or all that the recipe trains: the compiled model, its optimizer and its average of weights."""

    def __init__(
        self,
        model: Any,
        recipe: Recipe,
        positions: npt.NDArray[np.int64],
        together: SingleDevice,
        *,
        head_only: bool,
        xla: bool,
    ):
        self.head_only = head_only
        choose_trained(model, recipe, head_only=head_only)
        with together.scope():
            self._compile(model, recipe, positions, xla)

    def _compile(self, model: Any, recipe: Recipe, positions: npt.NDArray[np.int64], xla: bool) -> None:
        self.optimizer = keras.optimizers.Adam(recipe.learning_rate, weight_decay=recipe.weight_decay or None)
        if keras.mixed_precision.global_policy().name == "mixed_float16":
            self.optimizer = keras.mixed_precision.LossScaleOptimizer(self.optimizer)
        classes = model.output_shape[-1]
        loss = losses.loss(
            recipe.loss,
            shares=sampling.shares(positions, classes, recipe.balance),
            weights=sampling.class_weights(positions, classes, recipe.balance),
            label_smoothing=recipe.label_smoothing,
            tau=recipe.logit_adjustment,
        )
        # What the first step would have to make first, so that it is traced once and not twice.
        self.optimizer.build(model.trainable_variables)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
        model.compile(optimizer=self.optimizer, loss=loss, metrics=[accuracy], jit_compile=xla)
        self.average = WeightAverage(model, recipe.ema) if recipe.ema else None
        self.kept = {"model": model} | ({"average": self.average} if self.average else {})
        self.objects = {**self.kept, "optimizer": self.optimizer}


def _adapt(state: checkpoints.State, recipe: Recipe, row: Mapping[str, float]) -> None:
    """The epoch to keep; and ReduceLROnPlateau on the validation loss, as Keras does it."""
    score = row[f"val_{recipe.best_by}"]
    if score > state.best_score or recipe.keep == "last":
        state.best_score, state.best_epoch = score, state.epoch
    if recipe.schedule != "plateau":
        return
    if row["val_loss"] < state.plateau_loss - 1e-4:
        state.plateau_loss, state.plateau_wait = row["val_loss"], 0
        return
    state.plateau_wait += 1
    if state.plateau_wait >= recipe.plateau_patience:
        state.learning_rate = max(state.learning_rate * recipe.plateau_factor, MIN_LEARNING_RATE)
        state.plateau_wait = 0


def _validation_row(
    truth: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], labels: tuple[str, ...]
) -> dict[str, float]:
    figures = metrics.evaluate(truth, probabilities, labels, bootstrap=0)
    likelihood = np.clip(probabilities[np.arange(len(truth)), truth].astype(np.float64), 1e-7, 1)
    return {
        "val_loss": float(-np.log(likelihood).mean()),
        "val_accuracy": figures["accuracy"],
        "val_balanced_accuracy": figures["balanced_accuracy"],
        "val_macro_auc": figures["macro_auc"],
    }


def _write_history(folder: Path, state: checkpoints.State) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=HISTORY_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in state.history)
    files.write(folder / "history.csv", text.getvalue())


class _SetLearningRate(keras.callbacks.Callback):
    """Sets it before every step. base: the rate at factor 1. before: the steps of the epochs before this one."""

    def __init__(self, optimizer: Any, recipe: Recipe, base: float, before: int):
        super().__init__()
        self._optimizer, self._recipe, self._base, self._before = optimizer, recipe, base, before

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        steps = self.params["steps"]
        now = factor(
            self._recipe.schedule,
            self._before + batch,
            self._recipe.epochs * steps,
            self._recipe.warmup_epochs * steps,
        )
        self._optimizer.learning_rate.assign(self._base * now)


class _Progress(keras.callbacks.Callback):
    """A line within the epoch, at most once a second."""

    def __init__(self, epoch: int, recipe: Recipe, steps: int, report: Callable[[str], None]):
        super().__init__()
        self._epoch, self._recipe, self._steps, self._report = epoch, recipe, steps, report
        self._start = self._last = perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        now = perf_counter()
        if now - self._last < 1:
            return
        self._last = now
        rate = (batch + 1) * self._recipe.batch_size / (now - self._start)
        left = (self._steps - batch - 1) * self._recipe.batch_size / rate
        self._report(
            f"\repoch {self._epoch}/{self._recipe.epochs}  step {batch + 1}/{self._steps}  {rate:.0f} images/s  "
            f"{_duration(left)} left in it"
        )


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{hours:.1f} h" if hours >= 1 else f"{minutes:.0f} min" if minutes >= 1 else f"{seconds:.0f} s"
