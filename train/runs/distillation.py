"""Distillation: the targets of a training are in part the answers of networks that were trained before it.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531. The teachers answer the very
picture that the student sees, augmented as it is (Beyer et al., "Knowledge distillation: A good teacher is patient and
consistent", CVPR 2022) but not degraded (`degradation.py`, `conditions.py`) and at the size that they were trained for,
and where asked to, its mirror images too: what several networks and several views know goes into one network and one
view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...edge_runtime.errors import UsageError
from ...edge_runtime.labels import Label
from .run_folder import Run


def check_classes(teachers: Sequence[Run], labels: Sequence[Label]) -> None:
    """Raises UsageError where a teacher knows other classes than the student's `labels`."""
    codes = sorted(label.code for label in labels)
    for run in teachers:
        if sorted(label.code for label in run.labels) != codes:
            theirs = ", ".join(label.code for label in run.labels)
            raise UsageError(f"--teacher {run.folder} knows the classes {theirs}; this training has {', '.join(codes)}")


class Teachers:
    """Loaded teachers, whose answers are blended into targets.

    Args:
        codes: The codes of the classes, in the order of the columns.
        share: Of the teachers in a target, 0..1.
        views: 1, or 4 for the picture and its mirror images.
    """

    def __init__(self, runs: Sequence[Run], codes: Sequence[str], *, share: float, views: int):
        from ..engine import tf

        self._share, self._views = share, views
        self._models: list[tuple[Any, tuple[int, int], list[int]]] = []
        for run in runs:
            own = [label.code for label in run.labels]
            model = run.model()
            model.trainable = False
            self._models.append((model, run.recipe.image_size, [own.index(code) for code in codes]))
        self._answer = tf.function(self.answer, reduce_retracing=True)  # traced once, not in every epoch

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of the largest of them: the others get its picture reduced."""
        return max((size for _, size, _ in self._models), key=lambda size: size[0] * size[1])

    def answer(self, images: Any) -> Any:
        """float32 [b, height, width, 3] in real input units -> the mean probabilities, float32 [b, classes]."""
        from ..engine import tf

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

    def blend_targets(self, batches: Any) -> Any:
        """(images, targets, the images that the teachers see) -> (images, targets that are in part their answers)."""
        share = np.float32(self._share)

        def soft(images: Any, targets: Any, seen: Any) -> tuple[Any, Any]:
            return images, (1 - share) * targets + share * self._answer(seen)

        return batches.map(soft).prefetch(2)
