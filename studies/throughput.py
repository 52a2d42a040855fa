"""Does the input pipeline keep up with the training step? What else would, and what does determinism cost?

    python -m studies.throughput DATA --image-size 160
    python -m studies.throughput --memory 10000 400000

Images per second, with deterministic operations and without, each in a process of its own. In it the sides take turns
epoch by epoch, five times; the best of five counts, for what else a machine does only slows it down.

- reading: decoding and resizing, once per training
- step: training steps on batches that lie ready in memory, augmented beforehand
- training: the same steps of the same model through this project's pipeline
- pipeline: this project's augmentation alone
- Keras generator, Keras layers: the same limits of rotation, zoom, shift and flips through ImageDataGenerator and
  through a chain of preprocessing layers in tf.data, from the same resized pictures in memory, alone

--memory makes so many JPEGs of 64x48 px in a temporary folder, reads them into a cache on disk and runs one epoch of
the pipeline at 64 px; peak resident memory of each, in a process of its own.
"""

# TensorFlow and pandas have no types that strict rules would bear.
# pyright: basic

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from skin_edge.benchmarks.measure.memory import peak_resident_bytes
from skin_edge.edge_runtime import console
from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.train.data import splits
from skin_edge.train.data.layouts import read_dataset
from skin_edge.train.engine import keras, tf
from skin_edge.train.models import heads
from skin_edge.train.pipeline import batches as pipeline
from skin_edge.train.pipeline.augment import Augmentation
from skin_edge.train.recipes import published

from . import CHECKOUT

_IMAGES = 960
_ROUNDS = 5
_NAMES = {
    "reading": "reading",
    "step": "training step, data ready in memory",
    "training": "training",
    "pipeline": "input alone",
    "Keras generator": "input alone, Keras generator",
    "Keras layers": "input alone, Keras layers",
}


def measure(data: str, image_size: int, deterministic: bool) -> dict[str, float]:
    """Images per second: the keys of _NAMES -> rate."""
    keras.utils.set_random_seed(42)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    dataset = read_dataset(data)
    frame = splits.stratified_sample(dataset.frame, _IMAGES, 42)
    codes = [label.code for label in dataset.labels]
    one_hot = np.eye(len(codes), dtype=np.float32)[[codes.index(label) for label in frame["label"]]]
    recipe = replace(published.get(published.DEFAULT), image_size=(image_size, image_size), weights="none")
    spec, size, augmentation = recipe.input_spec, recipe.batch_size, recipe.augmentation
    start = perf_counter()
    pictures, _ = pipeline.load(list(frame["path"]), spec)
    reading = len(frame) / (perf_counter() - start)

    def batches(epoch: int) -> Any:
        return pipeline.training_batches(pictures, one_hot, spec, augmentation, batch_size=size, seed=42, epoch=epoch)

    model = heads.classifier(recipe, len(codes))
    model.compile(keras.optimizers.Adam(recipe.learning_rate), "categorical_crossentropy")
    ready = [np.concatenate(column) for column in zip(*batches(1).as_numpy_iterator(), strict=True)]
    stored = tf.data.Dataset.from_tensor_slices(tuple(ready)).batch(size).cache().prefetch(2)
    chain = _layers(pictures.pixels, one_hot, augmentation, size)
    epochs: dict[str, Callable[[int], object]] = {
        "step": lambda epoch: model.fit(stored, verbose=0),
        "training": lambda epoch: model.fit(batches(epoch), verbose=0),
        "pipeline": lambda epoch: _exhaust(batches(epoch)),
        "Keras generator": lambda epoch: _exhaust(_generator(pictures.pixels, one_hot, augmentation, size)),
        "Keras layers": lambda epoch: _exhaust(chain),
    }
    seconds = dict.fromkeys(epochs, float("inf"))
    for number in range(1 + _ROUNDS):
        for name, epoch_of in epochs.items():
            start = perf_counter()
            epoch_of(number)
            if number:  # the first traces the graph
                seconds[name] = min(seconds[name], perf_counter() - start)
    return {"reading": reading, **{name: len(ready[0]) / least for name, least in seconds.items()}}


def _exhaust(batches: Any) -> None:
    for _ in batches:
        pass


def _generator(pixels: Any, one_hot: Any, augmentation: Augmentation, size: int) -> Any:
    generator = keras.preprocessing.image.ImageDataGenerator(
        rotation_range=augmentation.rotation,
        zoom_range=augmentation.zoom,
        width_shift_range=augmentation.shift,
        height_shift_range=augmentation.shift,
        horizontal_flip=augmentation.flip_horizontal,
        vertical_flip=augmentation.flip_vertical,
        fill_mode="reflect",
        preprocessing_function=lambda image: image / 127.5 - 1,
    )
    flow = generator.flow(pixels, one_hot, batch_size=size, seed=42)
    return (flow[batch] for batch in range(len(pixels) // size))


def _layers(pixels: Any, one_hot: Any, augmentation: Augmentation, size: int) -> Any:
    layers = keras.layers
    chain = keras.Sequential(
        [
            layers.RandomFlip("horizontal_and_vertical", seed=1),
            layers.RandomRotation(float(augmentation.rotation) / 360, fill_mode="reflect", seed=2),
            layers.RandomZoom(augmentation.zoom, fill_mode="reflect", seed=3),
            layers.RandomTranslation(augmentation.shift, augmentation.shift, fill_mode="reflect", seed=4),
            layers.Rescaling(1 / 127.5, offset=-1),
        ]
    )
    batches = tf.data.Dataset.from_tensor_slices((pixels, one_hot)).shuffle(len(pixels), seed=42)
    batches = batches.batch(size, drop_remainder=True)
    augmented = batches.map(
        lambda images, targets: (chain(tf.cast(images, tf.float32), training=True), targets),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return augmented.prefetch(2)


def memory(count: int) -> dict[str, float]:
    """Peak resident MB of reading `count` generated JPEGs into a cache on disk and of one epoch of the pipeline."""
    spec, generator = InputSpec(64, 64), np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        noise = generator.integers(0, 256, (100, 6, 8, 3), dtype=np.uint8)
        paths: list[str] = []
        for number in range(count):
            if number % 1000 == 0:
                (folder / f"{number // 1000}").mkdir()
            written = io.BytesIO()
            Image.fromarray(np.roll(noise[number % 100], number // 100, axis=1)).resize((64, 48)).save(written, "JPEG")
            paths.append(str(folder / f"{number // 1000}" / f"{number}.jpg"))
            Path(paths[-1]).write_bytes(written.getvalue())
        start = perf_counter()
        pictures, failures = pipeline.load(paths, spec, cache_folder=folder / "cache")
        reading = perf_counter() - start
        assert not failures
        targets = np.eye(2, dtype=np.float32)[np.arange(count) % 2]
        augmentation = published.get(published.DEFAULT).augmentation
        start, seen = perf_counter(), 0
        for images, _ in pipeline.training_batches(
            pictures, targets, spec, augmentation, batch_size=32, seed=42, epoch=1
        ):
            seen += len(images)
        epoch = perf_counter() - start
        return {
            "images": count,
            "seen": seen,
            "peak_mb": (peak_resident_bytes() or 0) / 1e6,
            "read_per_second": count / reading,
            "epoch_per_second": seen / epoch,
        }


def _called(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "studies.throughput", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=CHECKOUT).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m studies.throughput",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--memory", type=int, nargs="+", metavar="N")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only == "memory":
        console.say_json(memory(arguments.memory[0]), indent=None)
        return
    if arguments.only:
        console.say_json(measure(arguments.data, arguments.image_size, arguments.only == "deterministic"), indent=None)
        return
    if arguments.memory:
        for count in arguments.memory:
            row = _called("--memory", str(count), "--only", "memory")
            console.say(
                f"{count} images: peak {row['peak_mb']:.0f} MB, reading {row['read_per_second']:.0f}/s, "
                f"an epoch {row['epoch_per_second']:.0f}/s ({row['seen']:.0f} images)"
            )
        return
    if not arguments.data:
        parser.error("DATA or --memory is needed")
    rates = [
        _called(str(arguments.data.resolve()), "--only", kind, "--image-size", str(arguments.image_size))
        for kind in ("deterministic", "not deterministic")
    ]
    console.say(f"images per second at {arguments.image_size} px on {os.cpu_count()} cores, batches of 32")
    console.say(f"{'':<36} {'deterministic':>13} {'not':>8}")
    for key, name in _NAMES.items():
        console.say(f"{name:<36} {rates[0][key]:>13.0f} {rates[1][key]:>8.0f}")
    kept, gained = ([row[name] / row["step"] for row in rates] for name in ("training", "pipeline"))
    console.say(f"{'training / step':<36} {kept[0]:>13.3f} {kept[1]:>8.3f}")
    console.say(f"{'input alone / step':<36} {gained[0]:>13.1f} {gained[1]:>8.1f}")


if __name__ == "__main__":
    main()
