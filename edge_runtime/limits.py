"""What decoding a stranger's picture may cost, and what is refused before it is decoded.

A picture takes at most MEMORY beside the process itself, which stays below 1 GiB, and at most 5 s on one core of a
desktop computer. Both are estimated from its headers, for what a small file makes a decoder allocate or repeat has no
other bound. Several threads that decode share MEMORY: a large picture waits until there is room (`Room`).

| what | at most | why |
|---|---|---|
| file or bytes | 512 MiB (MAX_FILE_BYTES) | Pillow or a decoder may read all of it |
| a side | 65,535 pixels | decoders keep whole rows |
| pixels, RGB, grey or palette | 100 megapixels | 4 bytes each as RGB, twice while it is turned upright |
| pixels of other modes: alpha, CMYK, 16 bit, LAB | 40 megapixels | further copies on the way to RGB |
| bytes while decoding (`needed`) | 768 MiB (MEMORY) | by mode, decoder, orientation and ICC profile |
| JPEG: scans | 100; scans x pixels 2e9 | each scan passes over all blocks |
| JPEG, arithmetic coding: scans x pixels | 2e7 | 40 times slower than Huffman codes, and from no data at all |
| JPEG: before the first scan | 2,000 segments, 32 MiB, 64 KiB between them | read one by one in Python |
| PNG: chunks | 200,000; beside the pixels 10,000 and 64 MiB | as above |
| WebP | 64 MiB; 40 megapixels | 20 bytes a pixel: its decoder keeps two canvases |
| TIFF: tags | 4,096; 1,000 rationals, 200,000 numbers or 256 MiB in one; 512 MiB in all | may be over each other |
| TIFF: tiles or strips | 200,000; 128 MiB each; padded no more than 100 megapixels | 1,000 times the picture, else |
| GIF: blocks before the picture | 10,000 | read one by one in Python |
| BMP, run lengths | 10 megapixels, 20 MiB | decoded in Python |
| JPEG 2000 | 24 MiB; 4 components, 4,096 tiles, 100 layers, 12 levels | 0.16 s a megabyte, structures for each |
| JPEG 2000: precincts | no smaller than 64 pixels; no coding styles in tiles | as above |
| AVIF, HEIC | 48 MiB; 40 megapixels, of the file's claims and of the coded picture (AVIF) | as above |
| ICC profile | 16 MiB | its tables are resampled |
| EXIF block | 4 MiB, 4,096 tags, 64 MiB in its tags | may all are over each other |
| frames, pages | the first one alone | the others are not decoded |
| HDF5 member | `containers.py` | |
"""

from __future__ import annotations

import io
import os
import re
import stat
import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .errors import ImageError

if TYPE_CHECKING:
    from types import TracebackType

MAX_FILE_BYTES = 512 * 2**20
MAX_PROFILE_BYTES = 16 * 2**20
MAX_SIDE = 65_535

# 100 megapixels: above any phone, below what 1 GiB of memory can decode. A larger picture is refused from its
# header, before its pixels are decoded.
MAX_PIXELS = 100_000_000

# Other modes need up to three times the memory on their way to RGB, some decoders five times.
MAX_PIXELS_OTHER_MODES = 40_000_000

MEMORY = 768 * 2**20  # bytes that decoding may take, over all threads

_MOST_SCANS = 100
_MOST_SCANNED_PIXELS = 2_000_000_000
_MOST_ARITHMETIC_PIXELS = 20_000_000
_MOST_SEGMENTS = 2000
_MOST_HEADER_BYTES = 32 * 2**20
_MOST_JUNK = 2**16


class Demand(NamedTuple):
    """What a format's decoder takes beside the picture that it makes.

    Attributes:
        decoding: Bytes until the pixels are there.
        held: Bytes as long as the opened file lives.
        turns: Whether the decoder itself turns the picture upright.
    """

    decoding: int = 0
    held: int = 0
    turns: bool = False


class OnDisk:
    """A `Source` that is a regular file, open for reading; `file` is for the decoder, and at its start.

    Raises OSError where it cannot be opened, and ImageError where it is not a regular file: a pipe or a device may have
    no end, or none to wait for.
    """

    def __init__(self, path: str):
        self.name = path
        flags = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
        descriptor = os.open(path, flags)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
            raise ImageError(f"{path} is {kind}, not an image")
        self.size = status.st_size
        self._raw = io.FileIO(descriptor, "rb")
        self._start, self._block = 0, self._raw.read(_BLOCK)
        self._raw.seek(0)
        self.file = io.BufferedReader(self._raw)

    def at(self, position: int, length: int) -> bytes:
        """As `Source.at`."""
        within = position - self._start
        if within < 0 or within + length > len(self._block):
            self._raw.seek(position)
            self._start, self._block, within = position, self._raw.read(max(length, _BLOCK)), 0
            self._raw.seek(0)
        return self._block[within : within + length]


_BLOCK = 4096


class InMemory:
    """A `Source` of bytes."""

    def __init__(self, content: bytes, name: str):
        self.name, self.size, self._content = name, len(content), content
        self.file = io.BytesIO(content)

    def at(self, position: int, length: int) -> bytes:
        """As `Source.at`."""
        return self._content[position : position + length]


class Source(Protocol):
    """A file that is looked at before it is decoded."""

    name: str
    size: int

    def at(self, position: int, length: int) -> bytes:
        """The bytes from `position` on; fewer at the end of the file."""
        ...


def pixels_within(width: int, height: int, name: str, limit: int = MAX_PIXELS) -> None:
    """Raises ImageError where a picture is larger than it may be, or empty.

    Args:
        width: In pixels.
        height: In pixels.
        name: Of the file, for the message.
        limit: Largest number of pixels.
    """
    if width <= 0 or height <= 0:
        raise ImageError(f"{name} has no pixels")
    if width * height > limit or max(width, height) > MAX_SIDE:
        over = f"{limit}" if width * height > limit else f"{MAX_SIDE} a side"
        raise ImageError(f"{name} has {width}x{height} pixels, over the limit of {over}: reduce it first")


def needed(size: tuple[int, int], mode: str, alpha: bool, demand: Demand, resized: int = 0) -> int:
    """The most bytes that a picture takes at once from its file to upright RGB, with an orientation and a profile.

    Args:
        size, mode: Of the picture as it is decoded.
        alpha: Whether it has transparency of any kind.
        demand: What the file's decoder needs.
        resized: Bytes that resizing takes on top.
    """
    pixels = size[0] * size[1]
    deep = mode.startswith("I;16")
    unit = 1 if mode in ("1", "L", "P") else 2 if deep else 4
    turned = pixels * unit * 2
    loaded = demand.decoding + demand.held + (turned if demand.turns else pixels * unit)
    return max(
        loaded,
        demand.held + turned,
        # To RGB: from RGBA it takes the alpha channel and a canvas, from deep samples NumPy's copies, else one copy.
        demand.held + pixels * (9 if alpha else 3 * unit + 1 if deep or mode in ("I", "F") else unit + 4),
        demand.held + pixels * 4 + resized,
    )


class Room:
    """The part of MEMORY that one picture takes while it is decoded and resized; a context manager.

    One picture takes room once, so that none waits for another while it holds what that one waits for.
    """

    def __init__(self) -> None:
        self._taken = 0

    def __enter__(self) -> Room:
        return self

    def take(self, count: int) -> None:
        """Waits until `count` bytes are free. Small pictures do not count: many more threads than cores have room."""
        if count < _UNCOUNTED:
            return
        with _state.free:
            while _state.taken and _state.taken + count > MEMORY:
                _state.free.wait()
            _state.taken += count
        self._taken = count

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._taken:
            with _state.free:
                _state.taken -= self._taken
                _state.free.notify_all()
            self._taken = 0


_UNCOUNTED = 32 * 2**20


class _State:
    def __init__(self) -> None:
        self.free = threading.Condition()
        self.taken = 0


_state = _State()


def _forget() -> None:
    """In the child of a fork the threads that held room are gone, and the lock may be held by one of them."""
    global _state
    _state = _State()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)


# ---------------------------------------------------------------------------------------------------------------- JPEG

_MARKER = re.compile(rb"\xff([\x01-\xfe])")
_MARKER_IN_SCAN = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_NO_LENGTH = {0x01, 0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)}
_FRAMES = {*range(0xC0, 0xD0), 0xDE} - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = {0xC0, 0xC1}


def check_jpeg(source: Source) -> Demand:
    """Looks through the segments of a JPEG as Pillow will, and through its scans where there may be many."""
    position, junk, segments, frame, marker, in_scan = 2, 0, 0, b"", 0, b""
    kind = 0xC0
    while marker != 0xDA:
        found, skipped = _next_marker(source, position)
        junk, segments = junk + skipped, segments + 1
        if segments > _MOST_SEGMENTS or position > _MOST_HEADER_BYTES or junk > _MOST_JUNK:
            raise ImageError(f"{source.name} has too much before its first scan: save it again")
        if found is None:
            return Demand()  # Pillow says what is missing
        position, marker = found
        if marker in _NO_LENGTH:
            continue
        length = int.from_bytes(source.at(position, 2), "big")
        if marker in _FRAMES:
            frame, kind = source.at(position + 2, length - 2), marker
        if marker == 0xDA:
            in_scan = source.at(position + 2, 1)
        position += max(length, 2)
    if len(frame) < 6:
        return Demand()
    components, width, height = frame[5], int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")
    if kind in _SEQUENTIAL and in_scan == frame[5:6]:
        return Demand()  # one pass, a row of blocks at a time
    pixels_within(width, height, source.name)
    scans = _scans(source, position)
    if kind > 0xC8 and scans * width * height > _MOST_ARITHMETIC_PIXELS:
        raise ImageError(f"{source.name} is too large for a JPEG with arithmetic coding: save it again")
    if scans > _MOST_SCANS or scans * width * height > _MOST_SCANNED_PIXELS:
        raise ImageError(f"{source.name} is a progressive JPEG of {scans} or more scans: save it again")
    return Demand(decoding=_coefficients(frame, width, height, components))


def _next_marker(source: Source, position: int) -> tuple[tuple[int, int] | None, int]:
    """((position behind the next marker, the marker), bytes of no meaning before it)."""
    skipped = 0
    while skipped <= _MOST_JUNK:
        block = source.at(position, 64 if not skipped else 4096)
        found = _MARKER.search(block)
        if found:
            return (position + found.end(), found[1][0]), skipped + found.start()
        if len(block) < 2:
            return None, skipped
        skipped += len(block) - 1
        position += len(block) - 1
    return None, skipped


def _scans(source: Source, position: int) -> int:
    """How many scans there are; it stops to count at one too many."""
    content = source.at(position, source.size - position)
    scans, at, segments = 1, 0, 0
    while scans <= _MOST_SCANS and segments <= 100 * _MOST_SEGMENTS:
        found = _MARKER_IN_SCAN.search(content, at)
        if not found or found[1] == b"\xd9":
            return scans
        at = found.end()
        marker = found[1][0]
        segments += 1
        scans += marker == 0xDA
        if marker not in _NO_LENGTH:
            at += max(int.from_bytes(content[at : at + 2], "big"), 2)
    return _MOST_SCANS + 1


def _coefficients(frame: bytes, width: int, height: int, components: int) -> int:
    """Bytes of all coefficients at once, which several scans need."""
    factors = [divmod(frame[at], 16) for at in range(7, min(len(frame), 6 + 3 * components), 3)]
    across, down = max((f[0] for f in factors), default=1) or 1, max((f[1] for f in factors), default=1) or 1
    padded = (width + 8 * across) * (height + 8 * down)
    return sum(2 * padded * h * v // (across * down) for h, v in factors)
