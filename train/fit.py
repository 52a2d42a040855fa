"""The epochs: train one, validate, adapt the learning rate, keep the best, write a checkpoint.

tf_keras makes the steps. The loop around it is here because everything it decides (plateau, best epoch, early stopping)
has to be in the checkpoint, so that a killed training goes on as if nothing had happened.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from ..benchmarks import metrics
from ..edge_runtime import files
from ..edge_runtime.errors import DataError
from ..edge_runtime.preprocess import InputSpec
from . import checkpoints
from .engine import keras
from .heads import seed_dropout
from .pipeline import Pictures, plain_batches, training_batches
from .recipes import Recipe

MIN_LEARNING_RATE = 1e-6


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
) -> checkpoints.State:
    """Trains `model` in place until the recipe says stop and leaves the best epoch's weights in it.

    training, validation: pictures and int64 [n] label positions. folder: the run's; checkpoints/ and history.csv are
    written there, and a checkpoint that is there already is gone on from. report: called with one line per epoch, and
    with a line that begins with a carriage return within an epoch.
    """
    spec = InputSpec(*recipe.image_size)
    one_hot = np.eye(len(labels), dtype=np.float32)[training[1]]
    optimizer = keras.optimizers.Adam(recipe.learning_rate)
    if keras.mixed_precision.global_policy().name == "mixed_float16":
        optimizer = keras.mixed_precision.LossScaleOptimizer(optimizer)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy", metrics=["accuracy"])
    kept = folder / "checkpoints"
    state = checkpoints.restore_latest(kept, model, optimizer) or checkpoints.State(learning_rate=recipe.learning_rate)
    if state.epoch:
        report(f"going on after epoch {state.epoch}")
        _write_history(folder, state)
    report("per epoch: loss, validation loss, balanced accuracy (* best), speed, time left")

    while state.epoch < recipe.epochs and state.epoch - state.best_epoch < recipe.early_stopping:
        epoch = state.epoch + 1
        optimizer.learning_rate.assign(state.learning_rate)
        seed_dropout(model, seed, epoch)
        batches = training_batches(
            training[0],
            one_hot,
            spec,
            recipe.augmentation,
            batch_size=recipe.batch_size,
            seed=seed,
            epoch=epoch,
        )
        start = perf_counter()
        steps = len(batches)
        progress = _Progress(epoch, recipe, steps, report)
        fitted = model.fit(batches, epochs=epoch, initial_epoch=epoch - 1, verbose=0, callbacks=[progress])
        seconds = perf_counter() - start
        probabilities = model.predict(plain_batches(validation[0], spec), verbose=0)
        if not np.isfinite(probabilities).all():
            raise DataError(f"the training diverged in epoch {epoch} (not a number): start anew, lower --learning-rate")
        row = {
            "epoch": epoch,
            "learning_rate": state.learning_rate,
            "loss": fitted.history["loss"][0],
            "accuracy": fitted.history["accuracy"][0],
            **_validation_row(validation[1], probabilities, labels),
        }
        state.epoch = epoch
        state.seconds += perf_counter() - start
        state.images += steps * recipe.batch_size
        state.history.append({name: round(float(value), 6) for name, value in row.items()})
        _adapt(state, recipe, row)
        checkpoints.save(kept, state, model, optimizer)
        _write_history(folder, state)
        remaining = min(recipe.epochs - epoch, recipe.early_stopping - (epoch - state.best_epoch))
        report(
            f"epoch {epoch}/{recipe.epochs}  loss {row['loss']:.3f}  val loss {row['val_loss']:.3f}  "
            f"balanced {row['val_balanced_accuracy']:.3f}{'*' if state.best_epoch == epoch else ' '}  "
            f"{steps * recipe.batch_size / seconds:.0f} images/s  {_duration(remaining * state.seconds / epoch)}"
        )
    checkpoints.restore_best(kept, state, model)
    return state


def _adapt(state: checkpoints.State, recipe: Recipe, row: Mapping[str, float]) -> None:
    """ReduceLROnPlateau on the validation loss, as Keras does it; and the best epoch by the recipe's figure."""
    score = row[f"val_{recipe.best_by}"]
    if score > state.best_score:
        state.best_score, state.best_epoch = score, state.epoch
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
    writer = csv.DictWriter(text, fieldnames=list(state.history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "epoch": int(row["epoch"])} for row in state.history)
    files.write(folder / "history.csv", text.getvalue())


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
