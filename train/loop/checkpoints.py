"""Checkpoints: after every epoch all that the next one needs, in a folder that appears whole or not at all.

    checkpoints/epoch-0007/   state.json, weights and optimizer (tf.train.Checkpoint)

The latest epoch is here, and the one that is kept.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...edge_runtime import files
from ...edge_runtime.errors import DataError, UnwritableError
from ..engine import tf


@dataclass
class State:
    """Where a training stands after `epoch` whole epochs.

    history: one row per epoch, as in history.csv. best_epoch: the one that is kept. best_score: its own (higher is
    better). plateau_loss, plateau_wait: the lowest validation loss so far and the epochs since. seconds: spent
    training.
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

    objects: what has variables: model, optimizer and, where there is one, average.

    Raises UnwritableError where the disk is full; what was there stays.
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
    """Restores what `save` wrote after the latest whole epoch; None where there is no checkpoint."""
    epochs = _epochs(folder)
    if not epochs:
        return None
    latest = _folder_of(folder, epochs[-1])
    try:
        state = State(**json.loads((latest / "state.json").read_text()))
        optimizer.build(model.trainable_variables)
        tf.train.Checkpoint(model=model, optimizer=optimizer, **others).read(str(latest / "weights")).assert_consumed()
    except (OSError, ValueError, TypeError, AssertionError, tf.errors.OpError) as error:
        raise DataError(f"{latest} cannot be restored: {str(error).splitlines()[0]}") from None
    return state


def restore_best(folder: Path, state: State, **objects: Any) -> None:
    """Loads the kept epoch's weights into the model, and its average."""
    path = _folder_of(folder, state.best_epoch) / "weights"
    tf.train.Checkpoint(**objects).read(str(path)).expect_partial().assert_existing_objects_matched()


def _folder_of(folder: Path, epoch: int) -> Path:
    return folder / f"epoch-{epoch:04d}"


def _epochs(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("epoch-")) for path in folder.glob("epoch-[0-9]*"))
