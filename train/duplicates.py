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

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..edge_runtime import preprocess
from ..edge_runtime.errors import ImageError

MOST_BITS = 8
LEAST_CORRELATION = 0.72
SIDE = 96

_SHIFT = 32  # pixels of SIDE
_BATCH = 256  # pairs at a time
_CHUNK = 1 << 20  # candidates at a time
_IN_MEMORY = 50_000  # pictures; more lie in a temporary file


@dataclass(frozen=True)
class Fingerprints:
    """What was kept of each of n pictures. Rows of pictures that cannot be read hold zeros and are in `failures`.

    hashes: uint64 [n]. grey: uint8 [n, SIDE, SIDE]. file_sha256, pixel_sha256: hexadecimal, "" where unreadable.
    sizes: (width, height) upright. modes: Pillow's name of the stored mode. failures: position -> reason.
    """

    hashes: npt.NDArray[np.uint64]
    grey: npt.NDArray[np.uint8]
    file_sha256: list[str]
    pixel_sha256: list[str]
    sizes: list[tuple[int, int]]
    modes: list[str]
    failures: dict[int, str]


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
            content = Path(path).read_bytes()
            upright = preprocess.decode(content)
        except ImageError as error:
            failures[position] = str(error).replace(f"{len(content)} bytes", Path(path).name)
            return
        except OSError as error:
            failures[position] = f"{Path(path).name} cannot be read: {error.strerror}"
            return
        with Image.open(path) as stored:
            modes[position] = stored.mode
        files[position] = hashlib.sha256(content).hexdigest()
        pixels[position] = hashlib.sha256(f"{upright.size}".encode() + upright.tobytes()).hexdigest()
        sizes[position] = upright.size
        level = upright.convert("L")
        hashes[position] = np.packbits(imagehash.phash(level).hash).view(np.uint64)[0]
        grey[position] = np.asarray(level.resize((SIDE, SIDE), Image.Resampling.BILINEAR))

    with ThreadPoolExecutor(cpu_count()) as pool:
        for done, _ in enumerate(pool.map(one, range(n)), 1):
            if on_progress and (done % 100 == 0 or done == n):
                on_progress(done)
    return Fingerprints(hashes, grey, files, pixels, sizes, modes, dict(sorted(failures.items())))


def near_pairs(prints: Fingerprints, groups: Sequence[str]) -> list[tuple[int, int, float]]:
    """(i, j, correlation) with i < j of near-duplicates that lie in different groups, in that order."""
    readable = np.ones(len(prints.hashes), bool)
    readable[list(prints.failures)] = False
    names = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    found: list[tuple[int, int, float]] = []
    for pairs in hash_neighbours(prints.hashes):
        i, j = pairs.T
        pairs = pairs[(names[i] != names[j]) & readable[i] & readable[j]]
        for start in range(0, len(pairs), _BATCH):
            batch = pairs[start : start + _BATCH]
            scores = correlation(prints.grey[batch[:, 0]], prints.grey[batch[:, 1]])
            close = zip(batch.tolist(), scores.tolist(), strict=True)
            found += [(a, b, score) for (a, b), score in close if score >= LEAST_CORRELATION]
    return sorted(found)


def hash_neighbours(hashes: npt.NDArray[np.uint64]) -> Iterator[npt.NDArray[np.intp]]:
    """Blocks [k, 2] of all pairs i < j whose hashes differ in at most MOST_BITS bits, each pair once.

    Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): of four 16-bit words one differs in at most two bits.
    """
    words = hashes.view(np.uint16).reshape(-1, 4)
    bits = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)
    flips = [0, *(1 << a for a in range(16)), *((1 << a) | (1 << b) for a, b in combinations(range(16), 2))]
    for word in range(4):
        order = np.argsort(words[:, word], kind="stable")
        ordered = words[order, word]
        for flip in flips:
            wanted = words[:, word] ^ np.uint16(flip)
            first, last = np.searchsorted(ordered, wanted), np.searchsorted(ordered, wanted, side="right")
            ends = np.cumsum(last - first)
            start = 0
            while start < len(hashes):
                before = int(ends[start - 1]) if start else 0
                stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
                counts = (last - first)[start:stop]
                i = np.repeat(np.arange(start, stop), counts)
                within = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
                j = order[np.repeat(first[start:stop], counts) + within]
                start = stop
                i, j = i[i < j], j[i < j]
                distances = bits[words[i] ^ words[j]]
                # A pair that an earlier word found already is not given again.
                keep = (distances.sum(axis=1) <= MOST_BITS) & (distances[:, :word] > 2).all(axis=1)
                if keep.any():
                    yield np.stack([i[keep], j[keep]], axis=1)


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
    return np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)
