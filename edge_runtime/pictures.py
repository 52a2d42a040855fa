"""Which files are pictures, and all files below a folder. One list of suffixes for every command.

A file without a suffix is a picture where it begins like one. What can be decoded is `preprocess`' business.
"""

# ruff: noqa: PTH113, PTH116, PTH122, PTH123
# Called for hundreds of thousands of files; pathlib is slow.

from __future__ import annotations

import os
from collections.abc import Iterator

from .errors import DataError

SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif"),
        *(".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),  # JPEG 2000
        *(".heic", ".heif", ".hif", ".avif"),  # where a decoder is installed
    }
)

# What systems leave beside files; no class, no data.
_SYSTEM = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})

_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})

BEGINNING = 32
"""Bytes of a file that `kind_of` looks at."""


def kind_of(beginning: bytes) -> str:
    """What a file that begins so is: JPEG, PNG, WEBP, TIFF, BMP, GIF, JPEG2000, HEIF, AVIF, or "" for anything else.

    Args:
        beginning: The first BEGINNING bytes, or all of a shorter file.
    """
    for start, kind in _BEGINNINGS:
        if beginning.startswith(start):
            return kind
    if beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP":
        return "WEBP"
    if beginning[:2] == b"BM" and beginning[6:10] == b"\0\0\0\0":  # reserved: text may begin with BM as well
        return "BMP"
    if beginning[4:8] == b"ftyp":
        brands = {beginning[at : at + 4] for at in (8, *range(16, len(beginning), 4))}  # 12 to 15 is a version
        return "AVIF" if brands & _AVIF_BRANDS else "HEIF" if brands & _HEIF_BRANDS else ""
    return ""


def kind_of_file(path: str | os.PathLike[str]) -> str:
    """`kind_of` its beginning; "" where it cannot be read, or is no file: a pipe would be waited for."""
    try:
        if not os.path.isfile(path):
            return ""
        with open(path, "rb") as file:
            return kind_of(file.read(BEGINNING))
    except OSError:
        return ""


def has_suffix(name: str) -> bool:
    """Whether a file's name ends like a picture's; case does not matter."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def is_picture(path: str) -> bool:
    """Whether it is named like a picture or, without a suffix, begins like one."""
    suffix = os.path.splitext(path)[1].lower()
    return suffix in SUFFIXES or (not suffix and bool(kind_of_file(path)))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or what a system leaves behind (__MACOSX, Thumbs.db, ...)."""
    return name.startswith(".") or name.lower() in _SYSTEM


def walk(root: str | os.PathLike[str]) -> Iterator[tuple[str, bool]]:
    """(path, whether it is hidden) of every file below `root`, the shallower first, else by name.

    A hidden folder is given as one path and not entered. Links are followed; one that leads back to a folder that it
    is in is not. A link to nothing is given like a file. Raises DataError where a folder cannot be listed.
    """
    level: list[tuple[str, tuple[tuple[int, int], ...]]] = [(os.fspath(root), ())]
    while level:
        deeper: list[tuple[str, tuple[tuple[int, int], ...]]] = []
        for folder, above in level:
            try:
                status = os.stat(folder)
                within = (*above, (status.st_dev, status.st_ino))
                if within[-1] in above:
                    continue
                with os.scandir(folder) as scanned:
                    entries = sorted(scanned, key=lambda entry: entry.name)
                for entry in entries:
                    if is_hidden(entry.name):
                        yield entry.path, True
                    elif entry.is_dir():
                        deeper.append((entry.path, within))
                    else:
                        yield entry.path, False
            except OSError as error:
                raise DataError(f"{folder} cannot be listed: {error.strerror}") from None
        level = deeper
