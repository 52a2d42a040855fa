"""Pictures -> batches. Decoding and resizing are the device's own function, once per picture.

What augmentation sees is the already resized picture, kept as bytes in memory or on disk (`cache.py`); each epoch then
costs one affine resampling and one colour map per picture (`augment.py`), on threads that run ahead of the training.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache as cache_of
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime import files, locks, preprocess
from ...edge_runtime.errors import DataError, ImageError
from ...edge_runtime.preprocess import InputSpec
from .. import streams
from ..data.patients import Patients
from ..engine import tf
from ..streams import Stream
from . import cache, conditions, degradation, sampling
from .augment import Augmentation, apply, draw
from .sampling import WHOLE, Shard

_CHUNK = 1024
_THREADS = min(os.cpu_count() or 1, 8)


_Batch = tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures, in memory or on disk.

    Attributes:
        source: uint8 [m, height, width, 3], an array or a cache.PixelFile.
        rows: int64 [n], which of them these are.
        aspects: float32 [n], width / height of the originals.
        patients: What the network is told beside them, where it is.
    """

    source: npt.NDArray[np.uint8] | cache.PixelFile
    rows: npt.NDArray[np.int64]
    aspects: npt.NDArray[np.float32]
    patients: Patients | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """All of them, in memory."""
        return self.source[self.rows]

    def gather(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return self.source[self.rows[positions]]

    def take(self, positions: npt.NDArray[np.int64]) -> Pictures:
        """Some of them; the pixels are not copied."""
        patients = self.patients.take(positions) if self.patients else None
        return Pictures(self.source, self.rows[positions], self.aspects[positions], patients)


@dataclass(frozen=True)
class SeenByTeachers:
    """The pictures that a training's teachers look at: those of the training, prepared for the largest of them.

    Attributes:
        pictures: In the same order.
        spec: How they are prepared; where it is the training's own, the same pixels serve both.
    """

    pictures: Pictures
    spec: InputSpec


def load(
    paths: Sequence[str],
    spec: InputSpec,
    *,
    on_progress: Callable[[int], None] | None = None,
    cache_folder: Path | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> tuple[Pictures, dict[int, str]]:
    """Decodes and resizes every picture, on all cores.

    Args:
        paths: Of the image files.
        spec: How the images are prepared.
        on_progress: Called with the number done, every 100 pictures.
        cache_folder: Keeps them on disk, and finds them there the next time (see cache.py); None keeps them in memory.
        on_wait: Called with who is filling the same cache, for which this waits.

    Returns:
        The pictures, and position -> message for those that cannot be read (their pixels are zero).

    Raises:
        UsageError: Where they do not fit into memory, or where the folder cannot be written.
    """
    if cache_folder is None:
        cache.check_memory(len(paths), spec)
        pixels = np.zeros((len(paths), spec.height, spec.width, 3), np.uint8)
        aspects, failures = _decode(paths, spec, pixels, on_progress)
        return Pictures(pixels, np.arange(len(paths)), aspects), failures
    folder, shape = cache_folder / cache.key(paths, spec), (len(paths), spec.height, spec.width, 3)
    found = cache.read(folder, shape)
    if found is None:
        files.check_writable(folder)
        with locks.locked(folder, "skin-edge", on_wait or (lambda holder: None)):
            found = cache.read(folder, shape)  # another training may have filled it meanwhile
            if found is None:
                with files.replacing_folder(folder) as new:
                    pixels = cache.PixelFile.create(new / "pixels.npy", shape)
                    aspects, failures = _decode(paths, spec, pixels, on_progress)
                    positions, messages = np.fromiter(failures, np.int64), np.asarray(list(failures.values()), str)
                    np.savez(new / "index.npz", aspects=aspects, positions=positions, messages=messages)
                found = cache.read(folder, shape)
    if found is None:
        raise DataError(f"{folder} was changed by another program: choose another --cache")
    pixels, aspects, failures = found
    return Pictures(pixels, np.arange(len(paths)), aspects), failures


def _decode(
    paths: Sequence[str],
    spec: InputSpec,
    pixels: npt.NDArray[np.uint8] | cache.PixelFile,
    on_progress: Callable[[int], None] | None,
) -> tuple[npt.NDArray[np.float32], dict[int, str]]:
    """Fills `pixels`; (aspects, failures)."""
    aspects = np.ones(len(paths), np.float32)
    failures: dict[int, str] = {}

    def decode_one(position: int) -> None:
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
        for start in range(0, len(paths), _CHUNK):  # a task for each of 400,000 pictures at once would take 1 GB
            stop = min(start + _CHUNK, len(paths))
            for done, _ in enumerate(pool.map(decode_one, range(start, stop)), start + 1):
                if on_progress and (done % 100 == 0 or done == len(paths)):
                    on_progress(done)
    return aspects, dict(sorted(failures.items()))


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
    shard: Shard = WHOLE,
    teachers: SeenByTeachers | None = None,
    most: int | None = None,
) -> Any:
    """One epoch, shuffled and augmented: a tf.data.Dataset of (float32 [b, height, width, 3], float32 [b, classes]).

    Where patients are known, ((images, float32 [b, length]), targets), with feature dropout drawn from (seed, epoch).

    Args:
        pictures: The decoded images.
        targets: One-hot, float32 [n, classes].
        spec: How the images are prepared.
        augmentation: How they are varied.
        batch_size: Images per step.
        seed: Random seed, 0 to 2**32 - 1.
        epoch: Number of the epoch, from 1.
        balance: See sampling.py.
        mixup: Alpha of the Beta distribution, from which the share of another picture of the batch is drawn (Zhang et
            al., "mixup", arXiv 1710.09412); 0 mixes none. Order and augmentation follow from (seed, epoch) alone. A
            last batch that is not full is left out (other pictures each epoch), so that BatchNormalization never sees a
            handful.
        shard: Which parts of each batch are made, one after the other; the parts of all shards are, in their order, the
            batch that one device sees.
        teachers: What they see comes third, after the targets: the images before they lost anything (see
            degradation.py), at the size that is named there.
        most: No more than the first so many batches of the epoch, at least 1; None is all. (tf.data's `take` would
            leave pixels in memory: see `_Ahead`.)

    Raises:
        DataError: Where a batch that is not full would have to be shared.
    """
    if len(targets) != len(pictures):
        raise ValueError(f"{len(pictures)} pictures but {len(targets)} targets")
    order = sampling.epoch_rows(targets.argmax(axis=1), balance, streams.generator(seed, Stream.ORDER, epoch))
    batches = len(order) // batch_size or 1
    if most is not None:
        batches = min(batches, most)
    if shard.replicas > 1 and len(order) < batch_size:
        raise DataError(f"an epoch shows {len(order)} images, less than one batch: lower --batch-size")
    made = _BatchMaker(pictures, targets, spec, augmentation, batch_size, seed, epoch, order, mixup, shard, teachers)
    ahead = _Ahead(made, batches * shard.count)
    patients = pictures.patients
    picture = (spec.height, spec.width, 3)
    given = [picture, patients.vectors.shape[1:]] if patients else [picture]
    seen = [(teachers.spec.height, teachers.spec.width, 3)] if teachers else []
    shapes = [*given, targets.shape[1:], *seen]

    def batch_of(number: Any) -> Any:
        arrays = tf.numpy_function(lambda batch: ahead(int(batch)), [number], [tf.float32] * len(shapes))
        known = [tf.ensure_shape(array, [None, *shape]) for array, shape in zip(arrays, shapes, strict=True)]
        inputs, others = known[: len(given)], known[len(given) :]
        return (inputs[0] if len(inputs) == 1 else tuple(inputs)), *others

    return tf.data.Dataset.range(batches * shard.count).map(batch_of).prefetch(2)


@dataclass(frozen=True)
class _BatchMaker:
    """The batches of an epoch, made when they are asked for; all but `order` is as `training_batches` has it.

    Attributes:
        order: int64 [m], which pictures the epoch shows, one after the other.
    """

    pictures: Pictures
    targets: npt.NDArray[np.float32]
    spec: InputSpec
    augmentation: Augmentation
    batch_size: int
    seed: int
    epoch: int
    order: npt.NDArray[np.int64]
    mixup: float
    shard: Shard
    teachers: SeenByTeachers | None

    def __call__(self, number: int) -> _Batch:
        """The part of a batch that is called so, counted over all batches: images, metadata where patients are known,
        targets, and what teachers see where there are any."""
        batch, part_of_it = divmod(number, self.shard.count)
        rows = self.order[batch * self.batch_size : (batch + 1) * self.batch_size]
        part = self.batch_size // self.shard.replicas
        # Drawn is for the whole batch, made is this part of it.
        own = np.arange(len(rows))[(self.shard.first + part_of_it) * part :][:part]
        # mixup: every picture is mixed with the one before it, the first of a batch with the last (-1).
        used = np.concatenate([own[:1] - 1, own]) if self.mixup else own
        # Batch by batch: what is drawn for 400,000 pictures would be 40 MB.
        generator = self._generator(Stream.AUGMENTATION, batch)
        whole = self._augmented(self.pictures, self.spec, rows, used, generator)
        arrays = [self._degraded(whole, len(rows), used, batch), self.targets[rows[used]].astype(np.float32)]
        if self.teachers:
            if self.teachers.spec != self.spec:  # the same draw in pixels of another size
                again = self._generator(Stream.AUGMENTATION, batch)
                whole = self._augmented(self.teachers.pictures, self.teachers.spec, rows, used, again)
            arrays.append(whole)
        if patients := self.pictures.patients:  # a generator of its own: pictures are the same without metadata
            dropping = self._generator(Stream.METADATA_DROPOUT, batch)
            arrays.insert(1, patients.dropped(rows, dropping)[used])
        if not self.mixup:
            return tuple(arrays)
        kept = generator.beta(self.mixup, self.mixup, len(rows)).astype(np.float32)[own]
        return tuple(_mixed(array, kept) for array in arrays)

    def _generator(self, stream: Stream, batch: int) -> np.random.Generator:
        return streams.generator(self.seed, stream, self.epoch, batch)

    def _augmented(
        self,
        pictures: Pictures,
        spec: InputSpec,
        rows: npt.NDArray[np.int64],
        used: npt.NDArray[np.int64],
        generator: np.random.Generator,
    ) -> npt.NDArray[np.float32]:
        """The images of a batch that are used, as `augment.apply` makes them.

        Args:
            pictures: Of one size.
            spec: How they are prepared.
            rows: int64 [n], the pictures of the batch.
            used: Positions in it.
            generator: The source of randomness.
        """
        one = draw(self.augmentation, self.pictures.aspects[rows], (spec.height, spec.width), generator)
        return apply(self.augmentation, pictures.gather(rows[used]), one.take(used), spec)

    def _degraded(
        self, images: npt.NDArray[np.float32], n: int, used: npt.NDArray[np.int64], batch: int
    ) -> npt.NDArray[np.float32]:
        """What is left of them: the same array where nothing is lost.

        Args:
            images: Of a batch, those that are used.
            n: Images in the batch.
            used: Positions in it.
            batch: Its number.
        """
        if not self.augmentation.degrades:
            return images
        # A generator of its own: what augmentation draws is the same without it.
        generator = self._generator(Stream.DEGRADATION, batch)
        losses = degradation.draw(self.augmentation, n, generator).take(used)
        taken = conditions.draw(self.augmentation, n, generator).take(used) if self.augmentation.retakes else None
        return degradation.degrade(images, losses, self.spec, taken)


def _mixed(array: npt.NDArray[np.float32], kept: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Each row but the first mixed with the one before it: [n + 1, ...] -> [n, ...]. kept: float32 [n]."""
    share = kept.reshape(-1, *[1] * (array.ndim - 1))
    return (share * array[1:] + (1 - share) * array[:-1]).astype(np.float32)


class _Ahead:
    """Batches by number, 0 first and one after the other, made on threads before they are asked for.

    tf.data would do as much, but not with deterministic operations: whatever calls Python then waits for its turn, and
    the training for it.
    """

    def __init__(self, make: Callable[[int], _Batch], batches: int):
        self._make, self._batches = make, batches
        self._made: dict[int, Future[_Batch]] = {}

    def __call__(self, number: int) -> _Batch:
        """One thread at a time."""
        for coming in range(number, min(number + _THREADS + 2, self._batches)):
            if coming not in self._made:
                self._made[coming] = _pool().submit(self._make, coming)
        # TensorFlow keeps what it calls, and so this object, to the end of the process: no pixels may stay in it.
        return self._made.pop(number).result()


@cache_of
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS)


def plain_batches(pictures: Pictures, spec: InputSpec, *, batch_size: int = 64) -> Any:
    """The pictures in their order, not augmented, exactly as the device feeds them: float32 [b, height, width, 3].

    Where patients are known, ((images, float32 [b, length]),): a tuple of one, for Keras takes a pair as inputs and
    targets.
    """
    vectors = tf.constant(pictures.patients.vectors) if pictures.patients else None

    def normalized(rows: Any) -> Any:
        return preprocess.normalize(pictures.gather(rows), spec)

    def batch(rows: Any) -> Any:
        images = tf.numpy_function(normalized, [rows], tf.float32)
        images = tf.ensure_shape(images, [None, spec.height, spec.width, 3])
        return images if vectors is None else ((images, tf.gather(vectors, rows)),)

    rows = tf.data.Dataset.range(len(pictures)).batch(batch_size)
    return rows.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(2)


def inputs_of(pictures: Pictures, spec: InputSpec) -> list[npt.NDArray[np.float32]]:
    """What `plain_batches` holds, whole: the images and, where patients are known, their vectors."""
    batches = [tf.nest.flatten(batch) for batch in plain_batches(pictures, spec).as_numpy_iterator()]
    return [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
