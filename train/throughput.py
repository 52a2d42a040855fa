"""Does the input pipeline keep up with the training step? What do deterministic operations cost?

    python -m skin_edge.train.throughput DATA --image-size 160

Images per second of reading, of the pipeline alone, and of whole training steps with and without deterministic
operations (each in a process of its own: TensorFlow cannot turn them off again), all on one machine in one call. The
two take turns, three times; the best of three counts, for what else a machine does only slows it down.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import perf_counter

import numpy as np

from ..edge_runtime.preprocess import InputSpec
from . import heads, pipeline, recipes, splits
from .engine import keras, tf
from .layouts import read_dataset

_IMAGES = 960
_EPOCHS = 3
_ROUNDS = 3


def measure(data: str, image_size: int, deterministic: bool) -> dict[str, float]:
    """Images per second: {"reading", "pipeline", "training"}; medians over epochs of about 960 images."""
    keras.utils.set_random_seed(42)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    dataset = read_dataset(data)
    frame = splits.stratified_taste(dataset.frame, _IMAGES, 42)
    codes = [label.code for label in dataset.labels]
    one_hot = np.eye(len(codes), dtype=np.float32)[[codes.index(label) for label in frame["label"]]]
    recipe = replace(recipes.get(recipes.DEFAULT), image_size=(image_size, image_size), weights="none")
    spec = InputSpec(*recipe.image_size)
    start = perf_counter()
    pictures, _ = pipeline.load(list(frame["path"]), spec)
    reading = len(frame) / (perf_counter() - start)

    def batches(epoch: int) -> object:
        size, augmentation = recipe.batch_size, recipe.augmentation
        return pipeline.training_batches(pictures, one_hot, spec, augmentation, batch_size=size, seed=42, epoch=epoch)

    def exhaust(epoch: int) -> None:
        for _ in batches(epoch):  # type: ignore[attr-defined]
            pass

    model = heads.classifier(recipe, len(codes))
    model.compile(keras.optimizers.Adam(recipe.learning_rate), "categorical_crossentropy")
    return {
        "reading": reading,
        "pipeline": _rate(exhaust, len(frame)),
        "training": _rate(lambda epoch: model.fit(batches(epoch), verbose=0), len(frame)),
    }


def _rate(epoch_of: Callable[[int], object], images: int) -> float:
    epoch_of(0)  # traces the graph
    seconds: list[float] = []
    for epoch in range(1, _EPOCHS + 1):
        start = perf_counter()
        epoch_of(epoch)
        seconds.append(perf_counter() - start)
    return images // 32 * 32 / median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m skin_edge.train.throughput", description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--only", choices=["deterministic", "free"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(measure(arguments.data, arguments.image_size, arguments.only == "deterministic")))
        return
    rates: dict[str, dict[str, float]] = {"deterministic": {}, "free": {}}
    for _ in range(_ROUNDS):
        for kind, best in rates.items():
            command = [sys.executable, "-m", "skin_edge.train.throughput", arguments.data, "--only", kind]
            command += ["--image-size", str(arguments.image_size)]
            row = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
            best.update({name: max(rate, best.get(name, 0.0)) for name, rate in row.items()})
    print(f"images per second at {arguments.image_size} px on {os.cpu_count()} cores, batches of 32")
    for kind, row in rates.items():
        print(f"{kind:16}" + "  ".join(f"{name} {rate:.0f}" for name, rate in row.items()))
    ours = rates["deterministic"]
    print(f"the pipeline alone is {ours['pipeline'] / ours['training']:.1f} times as fast as training")
    print(f"deterministic training takes {rates['free']['training'] / ours['training']:.3f} of the time")


if __name__ == "__main__":
    main()
