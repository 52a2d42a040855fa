"""Pictures -> batches. Decoding and resizing are the device's own function, once per picture.

What augmentation sees is the already resized picture, kept in memory as bytes; each epoch then costs one affine
resampling and one colour map per picture (`augment.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..edge_runtime import preprocess
from ..edge_runtime.errors import ImageError
from ..edge_runtime.preprocess import InputSpec
from . import sampling
from .augment import Augmentation, apply, draw
from .engine import tf


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures. pixels: uint8 [n, height, width, 3]. aspects: float32 [n], width / height of the originals."""

    pixels: npt.NDArray[np.uint8]
    aspects: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pixels)

    def take(self, rows: npt.NDArray[Any]) -> Pictures:
        return Pictures(self.pixels[rows], self.aspects[rows])


def load(
    paths: Sequence[str], spec: InputSpec, *, on_progress: Callable[[int], None] | None = None
) -> tuple[Pictures, dict[int, str]]:
    """Decodes and resizes every picture, on all cores.

    Returns the pictures, and position -> message for those that cannot be read (their pixels are zero).
    on_progress: called with the number done, every 100 pictures.
    """
    pixels = np.zeros((len(paths), spec.height, spec.width, 3), np.uint8)
    aspects = np.ones(len(paths), np.float32)
    failures: dict[int, str] = {}

    def load_one(position: int) -> None:
        if not paths[position]:
            failures[position] = "no image file of that id"
            return
        try:
            upright = preprocess.decode(paths[position], spec)
        except ImageError as error:
            failures[position] = str(error)
            return
        pixels[position] = preprocess.resize(upright, spec)
        aspects[position] = upright.width / upright.height

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes outside Python's lock
        for done, _ in enumerate(pool.map(load_one, range(len(paths))), 1):
            if on_progress and (done % 100 == 0 or done == len(paths)):
                on_progress(done)
    return Pictures(pixels, aspects), dict(sorted(failures.items()))


def training_batches(
    pictures: Pictures,
    targets: npt.NDArray[np.float32],
    spec: InputSpec,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    balance: str = "none",
    mixup: float = 0.0,
) -> Any:
    """One epoch, shuffled and augmented: a tf.data.Dataset of (float32 [b, height, width, 3], float32 [b, classes]).

    targets: one-hot, float32 [n, classes]. balance: see sampling.py. mixup: alpha of the Beta distribution, from which
    the share of another picture of the batch is drawn (Zhang et al., "mixup", arXiv 1710.09412); 0 mixes none. Order
    and augmentation follow from (seed, epoch) alone. A last batch that is not full is left out (other pictures each
    epoch), so that BatchNormalization never sees a handful.
    """
    if len(targets) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures but {len(targets)} targets")
    generator = np.random.default_rng([seed, 3, epoch])
    order = sampling.epoch_rows(targets.argmax(axis=1), balance, generator)
    drawn = draw(augmentation, pictures.aspects[order], (spec.height, spec.width), generator)
    share = generator.beta(mixup, mixup, len(order)).astype(np.float32) if mixup else np.ones(len(order), np.float32)

    def augmented(rows: Any, target: Any, share: Any, *columns: Any) -> tuple[Any, Any]:
        images = apply(augmentation, _gather(pictures.pixels, rows), columns, spec)
        if not mixup:
            return images, target
        kept = share[:, None]
        other = tf.roll(target, 1, axis=0)
        mixed = kept[..., None, None] * images + (1 - kept[..., None, None]) * tf.roll(images, 1, axis=0)
        return mixed, kept * target + (1 - kept) * other

    columns = (order, targets[order].astype(np.float32), share, *drawn.columns())
    batches = tf.data.Dataset.from_tensor_slices(columns).batch(batch_size, drop_remainder=len(order) >= batch_size)
    return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def plain_batches(pictures: Pictures, spec: InputSpec, *, batch_size: int = 64) -> Any:
    """The pictures in their order, not augmented, exactly as the device feeds them: float32 [b, height, width, 3]."""

    def normalized(rows: Any) -> Any:
        return preprocess.normalize(pictures.pixels[rows], spec)

    def batch(rows: Any) -> Any:
        images = tf.numpy_function(normalized, [rows], tf.float32)
        return tf.ensure_shape(images, [None, spec.height, spec.width, 3])

    rows = tf.data.Dataset.range(len(pictures)).batch(batch_size)
    return rows.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def _gather(pixels: npt.NDArray[np.uint8], rows: Any) -> Any:
    # Through NumPy and not tf.gather: TensorFlow would copy the whole array, and a memory-mapped one stays on disk.
    images = tf.numpy_function(lambda positions: pixels[positions], [rows], tf.uint8)
    return tf.ensure_shape(images, [None, *pixels.shape[1:]])
