"""Pictures that are not files of their own: members of an HDF5 file, named "train-image.hdf5::ISIC_0015670".

ISIC 2024 (SLICE-3D) comes so: a data set per picture, its value the bytes of a JPEG. Wherever a picture's path is
taken, in a split.csv too, this form may stand; `preprocess.decode` opens it.
"""

from __future__ import annotations

import importlib
import math
import os
import stat
import threading
import zlib
from typing import Any

from .errors import ImageError, MissingExtraError

SEPARATOR = "::"
SUFFIXES = (".hdf5", ".h5")


def split_path(path: str) -> tuple[str, str]:
    """(file, member): member is "" where the path is that of a file."""
    file, separator, member = path.rpartition(SEPARATOR)
    return (file, member) if separator and file.lower().endswith(SUFFIXES) else (path, "")


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether the file is there; whether it has the member shows when it is opened."""
    return os.path.isfile(split_path(os.fspath(path))[0])  # noqa: PTH113 (called for every picture of a data set)


def open_member(path: str) -> bytes | None:
    """The bytes of the member that a path names; None where it is the path of a file.

    Raises ImageError where the HDF5 file cannot be read, has no such member, or one that is not a picture's bytes: a
    member may claim any size, refer to other files, and unpack to more than it is.
    """
    file, member = split_path(path)
    if not member:
        return None
    try:
        with _lock:  # HDF5 lets one thread in at a time anyhow
            return _member_bytes(_opened(file), member, path)
    except FileNotFoundError:
        raise ImageError(f"no such file: {file}") from None
    except ModuleNotFoundError:
        raise ImageError(f"{path} cannot be read: {MissingExtraError('h5py', 'train')}") from None
    except KeyError:
        raise ImageError(f"{file} has no member {member}") from None
    except (OSError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ImageError(f"{path} cannot be read: {said}") from None


MAX_MEMBER_BYTES = 64 * 2**20
"""Of one picture in an HDF5 file, as it is, as it is stored, and as it is unpacked."""

_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3  # HDF5's numbers of the filters that are allowed


def _library() -> Any:
    return importlib.import_module("h5py")  # only where such a path is met: not in the device install


def _member_bytes(group: Any, member: str, path: str) -> bytes:
    h5py = _library()

    names = [name for name in member.split("/") if name]
    for name in names:
        link = group.get(name, getlink=True)
        if link is None:
            raise KeyError(name)
        if not isinstance(link, h5py.HardLink):
            raise ImageError(f"{path} is a link: name what it refers to")
        group = group[name]
    data = group
    if not isinstance(data, h5py.Dataset):
        raise ImageError(f"{path} is a group of members, not an image")
    _check_data(data, path)
    return bytes(data[()])


def _check_data(data: Any, path: str) -> None:
    h5py = _library()
    if data.is_virtual or data.external:
        raise ImageError(f"{path} refers to other files, and is not an image of its own")
    if data.shape is None or len(data.shape) > 1:
        raise ImageError(f"{path} has {data.shape} values, and is not a row of bytes")
    if h5py.check_vlen_dtype(data.dtype) is not None or h5py.check_string_dtype(data.dtype) is not None:
        is_bytes = data.shape == () or data.dtype.kind == "S"
    else:
        is_bytes = (data.dtype.kind in "SV" and data.dtype.fields is None) or str(data.dtype) in ("uint8", "int8")
    if not is_bytes:
        raise ImageError(f"{path} has values of {data.dtype}, and is not a row of bytes")
    chunk = math.prod(data.chunks or ()) * data.dtype.itemsize
    most = max(data.size * data.dtype.itemsize, data.id.get_storage_size(), chunk)
    if most > MAX_MEMBER_BYTES:
        raise ImageError(f"{path} takes {most} bytes, over the limit of {MAX_MEMBER_BYTES}")
    if data.chunks:
        _check_chunks(data, chunk, path)


def _check_chunks(data: Any, size: int, path: str) -> None:
    """HDF5 unpacks a chunk to whatever it holds: each is unpacked here first, no further than it may be."""
    plist = data.id.get_create_plist()
    filters = [plist.get_filter(number)[0] for number in range(plist.get_nfilters())]
    if len(set(filters)) < len(filters) or not set(filters) <= {_DEFLATE, _SHUFFLE, _FLETCHER}:
        raise ImageError(f"{path} is packed by filters other than gzip: store it as it is")
    if data.id.get_num_chunks() > _MOST_CHUNKS:
        raise ImageError(f"{path} has more than {_MOST_CHUNKS} chunks: store it as it is")
    if _DEFLATE not in filters:
        return
    for number in range(data.id.get_num_chunks()):
        mask, packed = data.id.read_direct_chunk(data.id.get_chunk_info(number).chunk_offset)
        if mask:
            raise ImageError(f"{path} has a chunk that is packed otherwise than the rest: store it as it is")
        unpacker = zlib.decompressobj()
        if len(unpacker.decompress(packed, size + 5)) > size + 4:  # 4 for Fletcher's checksum
            raise ImageError(f"{path} has a chunk that unpacks to more than its {size} bytes")


_MOST_CHUNKS = 10_000
_lock = threading.RLock()


def _new_lock() -> None:
    """In the child of a fork: the thread that held it is gone."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_new_lock)


# Path -> (what changes with the file, the open file). Kept open, for opening costs as much as reading many pictures;
# an older one is closed before the next is opened, or HDF5 would take the one for the other.
_kept: dict[str, tuple[tuple[int, ...], Any]] = {}
_MOST_KEPT = 2


def _opened(path: str) -> Any:
    h5py = _library()

    status = os.stat(path)  # noqa: PTH116 (called for every picture of a data set)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path} is not a regular file")
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if path in _kept and _kept[path][0] == version:
        return _kept[path][1]
    if path in _kept or len(_kept) >= _MOST_KEPT:
        _kept.pop(path if path in _kept else next(iter(_kept)))[1].close()
    file = h5py.File(path, "r")
    _kept[path] = version, file
    return file
