"""A running average of the weights: what is validated and kept, while training goes on with the raw ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ..engine import keras, tf


class WeightAverage(tf.Module):
    """The exponential moving average of a model's trained weights (Polyak and Juditsky, 1992).

    After step t: average = d * average + (1 - d) * weights, with d = min(decay, (1 + t) / (10 + t)), so that the first
    steps are forgotten soon. BatchNormalization's statistics are moving averages already and stay what they are.
    """

    def __init__(self, model: Any, decay: float):
        super().__init__()
        self._model = model.trainable_variables
        self._decay = decay
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.averages = [tf.Variable(weight, trainable=False) for weight in self._model]

    @tf.function
    def update(self) -> None:
        """To be called after every training step."""
        steps = tf.cast(self.steps.assign_add(1), tf.float32)
        decay = tf.minimum(self._decay, (1 + steps) / (10 + steps))
        for average, weight in zip(self.averages, self._model, strict=True):
            average.assign_sub((1 - decay) * (average - tf.cast(weight, average.dtype)))

    def put(self) -> None:
        """Overwrites the model's weights with the averages."""
        for average, weight in zip(self.averages, self._model, strict=True):
            weight.assign(average)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model has the averages."""
        raw = [weight.numpy() for weight in self._model]
        self.put()
        try:
            yield
        finally:
            for weight, value in zip(self._model, raw, strict=True):
                weight.assign(value)


class UpdateAverage(keras.callbacks.Callback):
    def __init__(self, average: WeightAverage):
        super().__init__()
        self._average = average

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._average.update()
