"""Pictures that are no files of their own: members of an HDF5 file, named "train-image.hdf5::ISIC_0015670".

ISIC 2024 (SLICE-3D) comes so: a data set per picture, its value the bytes of a JPEG. Wherever a picture's path is
taken, in a split.csv too, this form may stand; `preprocess.decode` opens it.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from .errors import ImageError

SEPARATOR = "::"
SUFFIXES = (".hdf5", ".h5")


def split_path(path: str) -> tuple[str, str]:
    """(file, member): member is "" where the path is that of a file."""
    file, separator, member = path.rpartition(SEPARATOR)
    return (file, member) if separator and file.lower().endswith(SUFFIXES) else (path, "")


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether the file is there; whether it has the member shows when it is opened."""
    return os.path.isfile(split_path(os.fspath(path))[0])  # noqa: PTH113 (called for every picture of a data set)


def open_picture(path: str) -> str | bytes:
    """What `preprocess.decode` can open: the path itself, or the bytes of the member that it names.

    Raises ImageError where the HDF5 file cannot be read or has no such member.
    """
    file, member = split_path(path)
    if not member:
        return path
    try:
        return bytes(_opened(file)[member][()])
    except KeyError:
        raise ImageError(f"{file} has no member {member}") from None
    except (OSError, TypeError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


@functools.lru_cache(maxsize=2)
def _opened(file: str) -> Any:
    # Kept open: opening costs as much as reading many pictures. h5py itself lets one thread in at a time.
    import h5py  # pyright: ignore[reportMissingTypeStubs]  # only where such a path is met: not in the device install

    return h5py.File(file, "r")
