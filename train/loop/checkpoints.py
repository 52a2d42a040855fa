"""Checkpoints: after every epoch all that the next one needs, in a folder that appears whole or not at all.

    checkpoints/epoch-0007/   state.json, weights and optimizer (tf.train.Checkpoint)

The latest epoch is here, and the one that is kept.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...benchmarks.inputs import documents
from ...edge_runtime import files
from ...edge_runtime.errors import DataError, UnwritableError, UsageError
from ..data.tables import HISTORY_COLUMNS
from ..engine import tf
from ..recipes import kinds

_KINDS: dict[str, Any] = {
    **dict.fromkeys(("epoch", "best_epoch", "plateau_wait", "images"), int),
    **dict.fromkeys(("learning_rate", "best_score", "plateau_loss", "seconds"), float),
    "history": [{"*": float}],
}


@dataclass
class State:
    """Where a training stands after `epoch` whole epochs.

    Attributes:
        best_epoch: The one that is kept.
        best_score: Its own (higher is better).
        plateau_loss, plateau_wait: The lowest validation loss so far and the epochs since.
        seconds: Spent training.
        history: One row per epoch, as in history.csv.
    """

    epoch: int = 0
    learning_rate: float = 0.0
    best_epoch: int = 0
    best_score: float = float("-inf")
    plateau_loss: float = float("inf")
    plateau_wait: int = 0
    seconds: float = 0.0
    images: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def latest_epoch(folder: Path) -> int:
    """The latest whole epoch, 0 where there is none."""
    return max(_epochs(folder), default=0)


def save(folder: Path, state: State, **objects: Any) -> None:
    """Writes the checkpoint of `state.epoch`, then removes those that are neither the latest nor kept.

    Args:
        objects: What has variables: model, optimizer and, where there is one, average.

    Raises:
        UnwritableError: Where the disk is full; what was there stays.
    """
    target = _folder_of(folder, state.epoch)
    temporary = folder / ".writing"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        try:
            tf.train.Checkpoint(**objects).write(str(temporary / "weights"))
        except tf.errors.OpError as error:  # TensorFlow's own writer; the reason is behind the last ";"
            reason = str(error.message).splitlines()[0].rpartition(";")[2].partition(" [Op:")[0].strip()
            raise UnwritableError(target, reason) from None
        files.write(temporary / "state.json", json.dumps(asdict(state)))
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # where the disk is full, this makes room
    for old in _epochs(folder):
        if old not in (state.epoch, state.best_epoch):
            shutil.rmtree(_folder_of(folder, old))


def restore_latest(folder: Path, model: Any, optimizer: Any, **others: Any) -> State | None:
    """Restores what `save` wrote after the latest whole epoch; None where there is no checkpoint.

    Args:
        folder: The run.
        model: The network, restored in place.
        optimizer: Its optimizer, restored in place.
        others: Further objects that the checkpoint holds, by name.
    """
    epochs = _epochs(folder)
    if not epochs:
        return None
    latest = _folder_of(folder, epochs[-1])
    state = read_state(latest / "state.json")
    if state.epoch != epochs[-1]:
        raise DataError(f"{latest} cannot be restored: its state.json is of epoch {state.epoch}")
    try:
        optimizer.build(model.trainable_variables)
        tf.train.Checkpoint(model=model, optimizer=optimizer, **others).read(str(latest / "weights")).assert_consumed()
    except _UNREADABLE as error:
        raise _damaged(latest, error) from None
    return state


def read_state(path: Path) -> State:
    """A state.json that `save` wrote. Raises DataError where it cannot have been written so."""
    try:
        content = documents.read_json(path)
    except UsageError as error:
        raise DataError(f"{path.parent} cannot be restored: {error}") from None
    problem = kinds.incomplete(content, _KINDS, "state")
    if not problem and (odd := sorted(set(content) - set(_KINDS))):
        problem = f"state.{odd[0]} is not a field of it"
    if not problem:
        problem = _out_of_range(State(**content))
    if problem:
        raise DataError(
            f"{path} is damaged: {problem}; the training cannot continue from it: start again with --overwrite"
        )
    return State(**content)


def _out_of_range(state: State) -> str:
    """What is wrong with the numbers, "" for nothing."""
    # Comparisons hold for whole numbers of any length, and not for NaN.
    infinite = {"best_score": float("-inf"), "plateau_loss": float("inf")}  # before the first one
    for name in (
        "epoch",
        "best_epoch",
        "plateau_wait",
        "images",
        "learning_rate",
        "best_score",
        "plateau_loss",
        "seconds",
    ):
        value, signed = getattr(state, name), name in infinite
        if value != infinite.get(name) and not (-1e15 if signed else 0) <= value <= 1e15:
            return f"state.{name} is out of range"
    if not 1 <= state.best_epoch <= state.epoch or len(state.history) != state.epoch:
        return "state.epoch, state.best_epoch and the rows of state.history do not agree"
    for number, row in enumerate(state.history, 1):
        if set(row) != set(HISTORY_COLUMNS) or row["epoch"] != number:
            return f"row {number} of state.history must be of epoch {number} and hold {', '.join(HISTORY_COLUMNS)}"
        if not all(-1e15 <= value <= 1e15 for value in row.values()):
            return f"row {number} of state.history holds a number that is out of range"
    return ""


def restore_best(folder: Path, state: State, **objects: Any) -> None:
    """Loads the kept epoch's weights and average. Raises DataError where they are damaged or gone."""
    best = _folder_of(folder, state.best_epoch)
    try:
        read = tf.train.Checkpoint(**objects).read(str(best / "weights"))
        read.expect_partial().assert_existing_objects_matched()
    except _UNREADABLE as error:
        raise _damaged(best, error) from None


_UNREADABLE = (OSError, ValueError, TypeError, AssertionError, tf.errors.OpError)


def _damaged(checkpoint: Path, error: Exception) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{checkpoint} cannot be restored: {reason}")


def _folder_of(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}"


def _epochs(folder: Path) -> list[int]:
    found = (re.fullmatch(r"epoch-([0-9]{4,9})", path.name) for path in folder.glob("epoch-*"))
    return sorted(int(match[1]) for match in found if match)
