"""Distillation: the targets of a training are in part the answers of networks that were trained before it.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. The teachers answer the very
picture that the student sees, augmented as it is (Beyer et al., "Knowledge distillation: A good teacher is patient and
consistent", CVPR 2022), and where asked to, its mirror images too: what several networks and several views know goes
into one network and one view.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..edge_runtime.errors import DataError, UsageError
from ..edge_runtime.labels import Label
from . import run_folder, splits
from .run_folder import Run

_OWN_PARTS = {"test": ("train", "val"), "val": ("train",)}
"""What of a student's split no teacher may have seen, and in which of its own parts."""


def read(folders: Sequence[Path]) -> list[Run]:
    """The teachers' runs. Raises UsageError or DataError for a folder that is none, or was trained with metadata."""
    runs = [run_folder.read(folder) for folder in folders]
    for run in runs:
        if run.recipe.metadata:
            raise UsageError(f"--teacher {run.folder}: it takes metadata; a teacher sees the picture alone")
        if not (run.folder / "model.keras").is_file():
            raise DataError(f"--teacher {run.folder}: it has no model.keras: its training has not ended")
    return runs


def check(teachers: Sequence[Run], labels: Sequence[Label], frame: pd.DataFrame) -> None:
    """Raises UsageError where the classes differ, DataError where a teacher has learned from what tests the student.

    labels, frame: the student's; columns image_id, group and split.
    """
    codes = sorted(label.code for label in labels)
    for run in teachers:
        if sorted(label.code for label in run.labels) != codes:
            theirs = ", ".join(label.code for label in run.labels)
            raise UsageError(f"--teacher {run.folder} knows the classes {theirs}; this training has {', '.join(codes)}")
        known = run_folder.learned_from(run)
        for part, taught in _OWN_PARTS.items():
            own = (frame["split"] == part).to_numpy()
            both = splits.shown_in(known, frame, known["split"].isin(taught)) & own
            if both.any():
                name = {"test": "test", "val": "validation"}[part]
                raise DataError(
                    f"--teacher {run.folder} has learned from {both.sum()} of the {own.sum()} {name} images or "
                    "their lesions: train both with the same --split FILE"
                )


def taught(teachers: Sequence[Run]) -> pd.DataFrame:
    """What all of them, and their own teachers, have learned from: rows as in split.csv."""
    known = pd.concat([run_folder.learned_from(run) for run in teachers], ignore_index=True)
    return known.loc[known["split"] != "test"].drop_duplicates(["path", "split"])


def described(teachers: Sequence[Run]) -> list[dict[str, str]]:
    """For config.yaml: where each is, and the SHA-256 of its model."""
    return [
        {
            "run": str(run.folder),
            "recipe": run.recipe.name,
            "sha256": hashlib.sha256((run.folder / "model.keras").read_bytes()).hexdigest(),
        }
        for run in teachers
    ]


class Teachers:
    """Loaded teachers, which soften targets.

    share: of the teachers in a target, 0..1. views: 1, or 4 for the picture and its mirror images.
    """

    def __init__(self, runs: Sequence[Run], codes: Sequence[str], *, share: float, views: int):
        from .engine import tf

        self._share, self._views = share, views
        self._models: list[tuple[Any, tuple[int, int], list[int]]] = []
        for run in runs:
            own = [label.code for label in run.labels]
            model = run.model()
            model.trainable = False
            self._models.append((model, run.recipe.image_size, [own.index(code) for code in codes]))
        self._answer = tf.function(self.answer, reduce_retracing=True)  # traced once, not in every epoch

    def answer(self, images: Any) -> Any:
        """float32 [b, height, width, 3] in real input units -> the mean probabilities, float32 [b, classes]."""
        from .engine import tf

        seen = [images]
        if self._views == 4:
            mirrored = tf.reverse(images, [2])
            seen = [images, mirrored, tf.reverse(images, [1]), tf.reverse(mirrored, [1])]
        stacked = tf.concat(seen, axis=0)
        answers: list[Any] = []
        for model, size, order in self._models:
            resized = stacked
            if tuple(images.shape[1:3]) != tuple(size):
                resized = tf.image.resize(stacked, size, antialias=True)
            probabilities = tf.cast(model(resized, training=False), tf.float32)
            answers.append(tf.gather(probabilities, order, axis=1))
        mean = tf.add_n(answers) / len(answers)
        return tf.reduce_mean(tf.reshape(mean, [len(seen), -1, mean.shape[-1]]), axis=0)

    def soften(self, batches: Any) -> Any:
        """A dataset of (images, targets) -> the same with targets that are in part the teachers' answers."""
        share = np.float32(self._share)

        def soft(images: Any, targets: Any) -> tuple[Any, Any]:
            return images, (1 - share) * targets + share * self._answer(images)

        return batches.map(soft).prefetch(2)
