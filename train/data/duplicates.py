"""Pictures that are there twice: the same file, the same pixels, or nearly the same picture.

Nearly the same means both of these:

1. the 64-bit perceptual hashes (imagehash.phash, from the lowest 8x8 frequencies) differ in at most 8 bits;
2. the fine structure agrees: both pictures, squashed to 96x96 grey levels, keep only details of a few pixels, lose
   their corners (a dermatoscope's dark vignette looks alike in every picture), and are laid over each other at every
   shift of up to a third of their size. The correlation at the best shift is at least 0.72.

Found: copies that were saved again, resized, brightened, coloured otherwise, or moved a little. On HAM10000 (8,499
images at 200x150 px) four pairs of different lesion ids are found, and by eye all four show one lesion; the first
false pair by correlation alone has 0.79, but its hashes differ in 10 bits. The threshold was chosen on these pictures.
Missed: turned and mirrored copies, other zooms, larger shifts and other photographs of one lesion, and so most of the
18 pairs that others found in the full data by other means.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, combinations
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...edge_runtime import files, preprocess
from ...edge_runtime.errors import ImageError
from ...edge_runtime.training_pictures import digest

MOST_BITS = 8
LEAST_CORRELATION = 0.72
SIDE = 96

_SHIFT = 32  # pixels of SIDE
_BATCH = 256  # pairs at a time
_SPEAKERS = 4  # of the different pictures with one hash
_WORDS = ((0, 22), (22, 21), (43, 21))  # (first bit, bits) of a hash
_BITS = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)
_CHUNK = 1 << 20  # candidates at a time
_TASKS = 1024  # pictures that wait for a thread: all 400,000 at once would take 1 GB
_IN_MEMORY = 50_000  # pictures; more are in a temporary file


@dataclass(frozen=True)
class Fingerprints:
    """What was kept of each of n pictures. Rows of pictures that cannot be read hold zeros and are in `failures`.

    Attributes:
        hashes: uint64 [n].
        grey: uint8 [n, SIDE, SIDE].
        file_sha256, pixel_sha256: Hexadecimal, "" where unreadable.
        sizes: (width, height) upright.
        modes: Pillow's name of the stored mode.
        failures: Position -> reason.
    """

    hashes: npt.NDArray[np.uint64]
    grey: npt.NDArray[np.uint8]
    file_sha256: list[str]
    pixel_sha256: list[str]
    sizes: list[tuple[int, int]]
    modes: list[str]
    failures: dict[int, str]

    def first(self, n: int) -> Fingerprints:
        """Of the first n pictures."""
        failures = {position: reason for position, reason in self.failures.items() if position < n}
        files, pixels = self.file_sha256[:n], self.pixel_sha256[:n]
        return Fingerprints(self.hashes[:n], self.grey[:n], files, pixels, self.sizes[:n], self.modes[:n], failures)


def fingerprints(paths: Sequence[str], on_progress: Callable[[int], None] | None = None) -> Fingerprints:
    """Decodes every picture with the runtime's own reader. "" as a path is a file that is missing."""
    import imagehash

    n = len(paths)
    hashes = np.zeros(n, np.uint64)
    grey = _array(n)
    files, pixels, sizes, modes = [""] * n, [""] * n, [(0, 0)] * n, [""] * n
    failures: dict[int, str] = {}

    def one(position: int) -> None:
        path = paths[position]
        if not path:
            failures[position] = "no image file of that id"
            return
        content = b""
        try:
            content = preprocess.file_bytes(path)
            upright = preprocess.decode(content)
        except ImageError as error:
            failures[position] = str(error).replace(f"{len(content)} bytes", Path(path).name)
            return
        with Image.open(io.BytesIO(content)) as stored:
            modes[position] = stored.mode
        files[position] = hashlib.sha256(content).hexdigest()
        pixels[position] = hashlib.sha256(f"{upright.size}".encode() + upright.tobytes()).hexdigest()
        sizes[position] = upright.size
        level = upright.convert("L")
        hashes[position] = np.packbits(imagehash.phash(level).hash).view(np.uint64)[0]
        grey[position] = np.asarray(level.resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(cpu_count()) as pool:
        for start in range(0, n, _TASKS):
            for done, _ in enumerate(pool.map(one, range(start, min(start + _TASKS, n))), start + 1):
                if on_progress and (done % 100 == 0 or done == n):
                    on_progress(done)
    return Fingerprints(hashes, grey, files, pixels, sizes, modes, dict(sorted(failures.items())))


def same_files(paths: Sequence[str]) -> list[list[int]]:
    """The positions of files with the same bytes, a list per content, in order. Only files of equal size are read.

    Missing files, "" and members of HDF5 files are passed over.
    """
    of_size: dict[int, list[int]] = {}
    for position, path in enumerate(paths):
        with contextlib.suppress(OSError):
            if path:
                of_size.setdefault(Path(path).stat().st_size, []).append(position)
    found: dict[bytes, list[int]] = {}
    for position in chain.from_iterable(positions for positions in of_size.values() if len(positions) > 1):
        if content := digest(paths[position]):
            found.setdefault(content, []).append(position)
    return sorted(positions for positions in found.values() if len(positions) > 1)


def near_pairs(prints: Fingerprints, groups: Sequence[str]) -> list[tuple[int, int, float]]:
    """(i, j, correlation) with i < j of near-duplicates that are in different groups, in that order.

    It never compares all with all. Pictures without any structure (blank ones) are passed over. Of pictures that are
    the same at SIDE x SIDE each is paired with the first alone, and where more than _SPEAKERS different ones have one
    hash, the others are compared with these alone: what belongs together is still connected.
    """
    names = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    usable = np.ones(len(prints.hashes), bool)
    usable[list(prints.failures)] = False
    positions = np.flatnonzero(usable)
    hashes, bucket_of = np.unique(prints.hashes[positions], return_inverse=True)
    order = np.argsort(bucket_of, kind="stable")
    buckets = np.split(positions[order], np.cumsum(np.bincount(bucket_of, minlength=len(hashes)))[:-1])
    speakers = [bucket[:_SPEAKERS] for bucket in buckets]
    found: list[tuple[int, int, float]] = []

    def candidates() -> Iterator[npt.NDArray[np.intp]]:
        for position in [position for position, bucket in enumerate(buckets) if len(bucket) > 1]:
            different, same = _told_apart(prints.grey, buckets[position])
            found.extend((i, j, 1.0) for i, j in same if names[i] != names[j])
            speakers[position] = different[:_SPEAKERS]
            for k, speaker in enumerate(speakers[position]):
                yield np.stack(np.broadcast_arrays(speaker, different[k + 1 :]), axis=1)
        sizes = np.array([len(some) for some in speakers])
        for pairs in hash_neighbours(hashes):
            single = (sizes[pairs] == 1).all(axis=1)
            firsts = np.array([[speakers[a][0], speakers[b][0]] for a, b in pairs[single].tolist()], np.intp)
            yield firsts.reshape(-1, 2)
            for a, b in pairs[~single].tolist():
                yield np.stack(np.meshgrid(speakers[a], speakers[b]), axis=-1).reshape(-1, 2)

    for pairs in _in_batches(pairs[names[pairs[:, 0]] != names[pairs[:, 1]]] for pairs in candidates()):
        scores = correlation(prints.grey[pairs[:, 0]], prints.grey[pairs[:, 1]])
        close = zip(np.sort(pairs, axis=1).tolist(), scores.tolist(), strict=True)
        found += [(i, j, score) for (i, j), score in close if score >= LEAST_CORRELATION]
    return sorted(found)


def _told_apart(
    grey: npt.NDArray[np.uint8], positions: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], list[tuple[int, int]]]:
    """Of pictures with one hash: the different ones, and (first, other) of those that are the same. Blank ones go."""
    firsts: dict[bytes, int] = {}
    same: list[tuple[int, int]] = []
    for position in positions.tolist():
        picture = grey[position]
        if picture.min() == picture.max():
            continue
        first = firsts.setdefault(hashlib.sha256(picture.tobytes()).digest(), position)
        if first != position:
            same.append((first, position))
    return np.fromiter(firsts.values(), np.intp), same


def _in_batches(blocks: Iterable[npt.NDArray[np.intp]]) -> Iterator[npt.NDArray[np.intp]]:
    """The same rows [k, 2], _BATCH at a time."""
    waiting: list[npt.NDArray[np.intp]] = []
    for block in blocks:
        waiting.append(block)
        if sum(map(len, waiting)) >= _BATCH:
            rows = np.concatenate(waiting)
            whole = len(rows) - len(rows) % _BATCH
            for start in range(0, whole, _BATCH):
                yield rows[start : start + _BATCH]
            waiting = [rows[whole:]]
    rows = np.concatenate([np.zeros((0, 2), np.intp), *waiting])
    if len(rows):
        yield rows


def hash_neighbours(hashes: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.intp]]:
    """Blocks [k, 2] of all pairs i < j whose hashes differ in at most MOST_BITS bits, each pair once.

    Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): of three words one differs in at most two bits. Words
    of 21 bits are long enough that of 400,000 hashes few share one.
    """
    earlier: list[npt.NDArray[np.int64]] = []
    for shift, width in _WORDS:
        word = ((hashes >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)
        order = np.argsort(word, kind="stable")
        ordered = word[order]
        starts = np.zeros((1 << width) + 1, np.int64)
        np.cumsum(np.bincount(word, minlength=1 << width), out=starts[1:])
        singles = [1 << bit for bit in range(width)]
        for flip in [0, *singles, *(one | other for one, other in combinations(singles, 2))]:
            wanted = ordered ^ flip
            first, counts = starts[wanted], starts[wanted + 1] - starts[wanted]
            met = np.flatnonzero(counts)
            ends = np.cumsum(counts[met])
            start = 0
            while start < len(met):
                before = int(ends[start - 1]) if start else 0
                stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
                rows = met[start:stop]
                start = stop
                each = counts[rows]
                within = np.arange(int(each.sum())) - np.repeat(np.cumsum(each) - each, each)
                i, j = np.repeat(order[rows], each), order[np.repeat(first[rows], each) + within]
                i, j = i[i < j], j[i < j]
                keep = _differing_bits(hashes[i] ^ hashes[j]) <= MOST_BITS
                for other in earlier:  # a pair that an earlier word found already is not given again
                    keep &= _differing_bits((other[i] ^ other[j]).astype(np.uint64)) > 2
                if keep.any():
                    yield np.stack([i[keep], j[keep]], axis=1)
        earlier.append(word)


def _differing_bits(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.intp]:
    return _BITS[values.view(np.uint16).reshape(-1, 4)].sum(axis=1)


def correlation(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """float32 [k]: the highest correlation (-1..1) of fine structure at any shift; uint8 [k, SIDE, SIDE] each."""
    from scipy import fft

    padded = (SIDE + _SHIFT, SIDE + _SHIFT)
    spectra: list[Any] = [fft.rfft2(_structure(pictures), s=padded) for pictures in (one, other)]
    product: Any = fft.irfft2(spectra[0] * np.conj(spectra[1]), s=padded)
    shifts = np.r_[0 : _SHIFT + 1, -_SHIFT:0]
    return product[:, shifts][:, :, shifts].max(axis=(1, 2)).astype(np.float32)


def connected(groups: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[str]:
    """The group of every picture after each pair has joined two: a union goes by its smallest group id."""
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    for i, j in pairs:
        low, high = sorted((root(groups[i]), root(groups[j])))
        parent[high] = low
    return [root(group) for group in groups]


def _structure(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    levels = pictures.astype(np.float32)
    fine = gaussian_filter(levels, (0, 0.8, 0.8), mode="nearest") - gaussian_filter(
        levels, (0, 2.5, 2.5), mode="nearest"
    )
    # Clipped, for a hair or a scale bar would else be all that is compared.
    fine = np.clip(fine / (fine.std(axis=(1, 2), keepdims=True) + 1e-3), -2.5, 2.5)
    axis = np.linspace(-1, 1, SIDE)
    fine *= (1 / (1 + np.exp((np.hypot(axis[:, None], axis) - 0.9) * 25))).astype(np.float32)
    fine -= fine.mean(axis=(1, 2), keepdims=True)
    return fine / np.maximum(np.linalg.norm(fine, axis=(1, 2), keepdims=True), 1e-6)


def _array(n: int) -> npt.NDArray[np.uint8]:
    shape = (n, SIDE, SIDE)
    if n <= _IN_MEMORY:
        return np.zeros(shape, np.uint8)
    with files.temporary_file(n * SIDE * SIDE) as file:
        return np.memmap(file, np.uint8, "r+", shape=shape)
