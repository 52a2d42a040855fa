"""How long does a recipe take here? The seconds of its training step, from random weights on pictures of noise.

    python -m studies.step_times mobilenet cnn-basic

Without names every recipe is measured. Hours are those of 30 epochs of 6,500 pictures, without validation and without
the reading of pictures; the first step, which traces the graph, does not count, the median of the next three does.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from statistics import median
from time import perf_counter

import numpy as np

from skin_edge.edge_runtime import console
from skin_edge.train.engine import keras, start
from skin_edge.train.models.heads import classifier
from skin_edge.train.recipes import published

_STEPS = 3
_PICTURES = 30 * 6500
_METADATA = 20  # numbers: about what age, sex and site of HAM10000 become


def step_seconds(name: str) -> float:
    """Of one training step of the recipe's batch size, with seven classes."""
    recipe = replace(published.get(name), weights="none")
    keras.backend.clear_session()
    length = _METADATA if recipe.metadata else 0
    model = classifier(recipe, 7, length)
    model.compile(keras.optimizers.Adam(recipe.learning_rate), "categorical_crossentropy")
    generator = np.random.default_rng(0)
    images = generator.uniform(-1, 1, (recipe.batch_size, *recipe.image_size, 3)).astype(np.float32)
    vectors = generator.uniform(-1, 1, (recipe.batch_size, length)).astype(np.float32)
    inputs = [images, vectors] if length else images
    targets = np.eye(7, dtype=np.float32)[generator.integers(0, 7, recipe.batch_size)]
    seconds: list[float] = []
    for _ in range(1 + _STEPS):
        begun = perf_counter()
        model.train_on_batch(inputs, targets)
        seconds.append(perf_counter() - begun)
    return median(seconds[1:])


def main() -> None:
    start(42, mixed_precision=False)
    console.say(f"{'recipe':<30} {'s/step':>8} {'images/s':>9} {'hours':>7}")
    for name in sys.argv[1:] or published.RECIPES:
        seconds = step_seconds(name)
        rate = published.get(name).batch_size / seconds
        console.say(f"{name:<30} {seconds:>8.3f} {rate:>9.1f} {_PICTURES / rate / 3600:>7.2f}")


if __name__ == "__main__":
    main()
