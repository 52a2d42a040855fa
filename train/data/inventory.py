"""What of a data set's files is not used, and why: nobody should learn from a count that a third of it is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath

from ...edge_runtime import pictures
from ...edge_runtime.containers import split_path
from .layouts import Dataset

NO_ROW = "no row in the table"
UNREADABLE = "unreadable"

# Pictures, or what holds some, that nothing here decodes.
_OTHER_PICTURES = frozenset(
    {
        *(".dcm", ".dicom", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw", ".psd", ".svg"),
        *(".eps", ".pdf", ".ico", ".ppm", ".pgm", ".tga", ".jxl", ".nii", ".npy", ".npz", ".zip", ".tar", ".gz"),
        *(".rar", ".7z", ".tfrecord", ".tfrecords", ".mp4", ".mov", ".avi"),
    }
)

_SHOWN = 3  # names of a reason on the terminal


def unused(dataset: Dataset) -> dict[str, list[str]]:
    """Why -> the files below the data set's folder that no row of it uses, relative to that folder where they can be.

    The tables that it was read from count as used. Of a csv of pictures only the folders are looked at that hold some
    of them: it may be anywhere.
    """
    used = {split_path(path)[0] for path in dataset.frame["path"]} | {str(path) for path in dataset.tables}
    known = used.union(*(one.paths.values() for one in dataset.further))
    found: dict[str, list[str]] = {}
    for path, hidden in _files(dataset, used):
        if path not in known and os.path.normpath(path) not in known:
            reason = dataset.passed_over.get(path) or _reason(path, hidden)
            found.setdefault(reason, []).append(os.path.relpath(path, dataset.root))
    return {reason: found[reason] for reason in sorted(found, key=lambda reason: (-len(found[reason]), reason))}


def lines(found: Mapping[str, list[str]]) -> list[str]:
    """What `unused` found, a line per reason."""
    return [f"{len(names)} {reason}: {_examples(reason, names)}" for reason, names in found.items()]


def rows(found: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    """(file, why) of every one."""
    return [(name, reason) for reason, names in found.items() for name in names]


def counts(found: Mapping[str, list[str]]) -> dict[str, int]:
    """Why -> how many."""
    return {reason: len(names) for reason, names in found.items()}


def _examples(reason: str, names: list[str]) -> str:
    if reason in ("not a picture", "suffix not supported"):
        suffixes = Counter(PurePath(name).suffix.lower() or "(none)" for name in names)
        shown = [f"{suffix} {count}" for suffix, count in suffixes.most_common(_SHOWN)]
        return ", ".join(shown) + (", ..." if len(suffixes) > _SHOWN else "")
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _files(dataset: Dataset, used: set[str]) -> Iterator[tuple[str, bool]]:
    if dataset.layout not in ("csv", "isic-cli"):
        yield from pictures.walk(dataset.root)
        if dataset.images and not dataset.images.is_relative_to(dataset.root):
            yield from pictures.walk(dataset.images)
        return
    folders = {str(Path(path).parent) for path in used if path and path not in map(str, dataset.tables)}
    within = [str(folder) for folder in (dataset.root, dataset.images) if folder]
    top = os.path.commonpath(folders) if folders else ""
    if any(top == folder or top.startswith(folder + os.sep) for folder in within):
        yield from pictures.walk(top)
        return
    for folder in sorted(folders):  # on several disks, say: what is between them is not the data set's
        for path, hidden in pictures.walk(folder):
            if str(Path(path).parent) == folder:
                yield path, hidden


def _reason(path: str, hidden: bool) -> str:
    if hidden:
        return "hidden, or a system's"
    if not Path(path).exists():
        return "link to nothing"
    if pictures.is_picture(path):
        return NO_ROW
    if PurePath(path).suffix.lower() in _OTHER_PICTURES or pictures.kind_of_file(path):
        return "suffix not supported"
    return "not a picture"
