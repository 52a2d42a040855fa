"""Resized pictures on disk: decoded once, read by every later epoch and run, in memory that does not grow with them.

    FOLDER/<key>/pixels.npy   uint8 [n, height, width, 3]
    FOLDER/<key>/index.npz    aspects float32 [n], and positions and messages of the pictures that cannot be read

The key follows from what the pictures are (path, size and time of change of each file) and what is made of them. The
pixels are read and written by rows and not mapped: mapped pages would count as the training's memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.containers import split_path
from ...edge_runtime.contract import FORMAT_VERSION
from ...edge_runtime.errors import UsageError
from ...edge_runtime.preprocess import InputSpec

_VERSION = 2
"""Rises where what earlier versions kept must not be read: in 1, two trainings at once could make pictures black."""


class PixelFile:
    """A .npy file of uint8 [n, height, width, 3], read and written by rows like the array. Threads may share it."""

    def __init__(self, path: Path, *, writable: bool = False):
        with path.open("rb") as opened:
            np.lib.format.read_magic(opened)
            self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(opened)
            self._offset = opened.tell()
        self._descriptor = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
        self._row_bytes = int(np.prod(self.shape[1:]))

    @property
    def is_whole(self) -> bool:
        """Whether the file has the bytes of its rows."""
        return os.fstat(self._descriptor).st_size == self._offset + len(self) * self._row_bytes

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...]) -> PixelFile:
        """A new file; rows that are never written are zero."""
        with path.open("wb") as opened:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(opened, header)
            opened.truncate(opened.tell() + int(np.prod(shape)))
        return cls(path, writable=True)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        pixels = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for target, row in zip(pixels, rows, strict=True):
            got = os.preadv(self._descriptor, [memoryview(target)], self._at(row))
            if got != self._row_bytes:
                raise OSError(f"row {row} of the picture cache is cut short")
        return pixels

    def __setitem__(self, row: int, pixels: npt.NDArray[np.uint8]) -> None:
        left, at = memoryview(np.ascontiguousarray(pixels, np.uint8).tobytes()), self._at(row)
        while left:  # a disk that is nearly full takes a part, and says no to the rest
            done = os.pwrite(self._descriptor, left, at)
            left, at = left[done:], at + done

    def _at(self, row: int) -> int:
        return self._offset + int(row) * self._row_bytes

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def key(paths: Sequence[str], spec: InputSpec) -> str:
    """What a cache of these pictures is called: 24 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps([_VERSION, FORMAT_VERSION, spec.to_steps()]).encode())
    known: dict[str, str] = {}
    for path in paths:
        file, _ = split_path(path)  # a member of an HDF5 file changes with the file
        if file not in known:
            try:
                status = os.stat(file)  # noqa: PTH116 (called for every picture of a data set)
                known[file] = f"{status.st_size} {status.st_mtime_ns}"
            except OSError:
                known[file] = "-"
        digest.update(f"{path}\n{known[file]}\n".encode())
    return digest.hexdigest()[:24]


def read(folder: Path, shape: tuple[int, ...]) -> tuple[PixelFile, npt.NDArray[np.float32], dict[int, str]] | None:
    """The pixels, aspects and failures (position -> message) that are there; None where they are not there whole.

    Args:
        shape: (n, height, width, 3).
    """
    try:
        with np.load(folder / "index.npz", allow_pickle=False) as index:
            aspects = index["aspects"]
            failures = dict(zip(index["positions"].tolist(), index["messages"].tolist(), strict=True))
        pixels = PixelFile(folder / "pixels.npy")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    whole = pixels.shape == shape and pixels.dtype == np.uint8 and pixels.is_whole and aspects.shape == shape[:1]
    return (pixels, aspects, failures) if whole else None


def check_memory(count: int, spec: InputSpec) -> None:
    """Raises UsageError where so many pictures would not fit into this machine's memory beside the training."""
    needed = count * spec.height * spec.width * 3
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    if memory and needed > 0.6 * memory:
        raise UsageError(
            f"{count} pictures of {spec.height}x{spec.width} take {needed / 2**30:.0f} GiB, this machine has "
            f"{memory / 2**30:.0f}: keep them on disk with --cache FOLDER"
        )
