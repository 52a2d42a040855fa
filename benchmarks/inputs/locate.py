"""Where the pictures are that a table names: one set of rules for every command that reads a table.

    path with a folder   that file, from the table's folder or absolute; never another one of the same name
    bare name or id      a file beside the table, else the one below its folder that has the name, else its stem
    with --images        all of them below that folder: by as much of the path's end as fits; by the name alone only
                         where neither the table nor the folder has that name twice

Where several files fit there is no guess but an error; copies of one file are not ambiguity. A path may come from
Windows, and may be written with other capitals or another Unicode normalization than on this disk.
"""

# ruff: noqa: PTH113, PTH117, PTH118, PTH119, PTH121, PTH122, PTH123, PTH202
# Called for hundreds of thousands of names; pathlib is slow.

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...edge_runtime import pictures
from ...edge_runtime.containers import SEPARATOR, split_path
from ...edge_runtime.errors import DataError, UsageError

SEEN_IMAGES = ("seen_images.csv", "taught.csv")  # earlier runs have the second name
RUN_TABLES = ("split.csv", "predictions.csv", *SEEN_IMAGES)

_ENDS = 1 << 14  # bytes of each end of two files that are compared


def folder_of(table: str | os.PathLike[str]) -> Path:
    """Where the relative paths of a table start: at its folder, but those of a run's tables at the run's data.

    A run's config.yaml names the data as seen from the run, so that both move together.
    """
    folder = Path(table).parent
    config = folder / "config.yaml"
    if Path(table).name not in RUN_TABLES or not config.is_file():
        return folder
    from . import documents  # only beside a run's table

    try:
        return folder / str(documents.read_yaml(config)["data"]["pictures"])
    except (DataError, KeyError, TypeError):
        return folder  # of before, when the paths were absolute


def relative_to(paths: Sequence[str], folder: str | os.PathLike[str]) -> list[str]:
    """The paths as they are in a run's table: seen from `folder`, with "/"; "" stays.

    A picture in an HDF5 file keeps its member.
    """
    start = os.path.realpath(folder)
    known: dict[str, str] = {"": ""}
    seen: list[str] = []
    for path in paths:
        file, member = split_path(path)
        where, name = os.path.split(file)
        if file and where not in known:
            known[where] = os.path.relpath(os.path.realpath(where or "."), start).replace(os.sep, "/")
        short = "/".join(part for part in (known[where] if file else "", name) if part not in ("", "."))
        seen.append(short + SEPARATOR + member if member else short)
    return seen


def located(
    names: Sequence[str],
    folder: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    table: object,
    among: Sequence[str] | None = None,
) -> list[str]:
    """The path of each picture that a table names, as text, absolute where `folder` is; "" where there is none.

    Args:
        names: As they are in the table; "" is none.
        folder: Where relative paths start: the table's folder.
        images: The folder in which the pictures are now (--images).
        table: What the table is called in a message.
        among: All names of the table, where `names` are only some of them.

    Raises:
        UsageError: Where `images` is not a folder.
        DataError: Where several files fit a name (the message names two), or two names lead to the same file.
    """
    if images is not None and not Path(images).is_dir():
        raise UsageError(f"--images {images}: no such folder")
    finder = Finder(images if images is not None else folder, table)
    if images is None:
        found = [finder.by_table(name) for name in names]
    else:
        times = Counter(_last(name) for name in set(among if among is not None else names))
        found = [finder.moved(name, sole=times[_last(name)] == 1) for name in names]
    name_of: dict[str, str] = {}
    for name, path in zip(names, found, strict=True):
        if path and name_of.setdefault(os.path.normpath(path), name) != name:
            raise DataError(f"{table}: '{name_of[os.path.normpath(path)]}' and '{name}' are the same file, {path}")
    return found


def sole_names(image_ids: Sequence[str]) -> set[str]:
    """Those of the ids that end in a file name, whatever its suffix, that no other one ends in."""
    times = Counter(_last_stem(image_id) for image_id in image_ids)
    return {image_id for image_id in image_ids if times[_last_stem(image_id)] == 1}


class Finder:
    """The pictures below a folder, by name. Its files are listed once, and only when a name has to be looked for.

    Args:
        folder: Where they are.
        table: What names them, for messages.
        remedy: What to do where several fit, for messages.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        table: object,
        remedy: str = "write its path in the table, or name the right folder with --images",
    ):
        self.folder = os.fspath(folder)
        self._table, self._remedy = table, remedy
        self._listed: dict[str, list[str]] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no picture is below the folder."""
        return not self._by_stem()

    @property
    def count(self) -> int:
        """How many pictures are below the folder."""
        return sum(map(len, self._by_stem().values()))

    def by_table(self, name: str) -> str:
        """The picture that a table beside the folder's files names, "" where it is not there; see the module."""
        if not name:
            return ""
        file, member = split_path(name)
        exact = self._file(file)
        if member or exact:
            return exact + SEPARATOR + member if exact and member else exact
        parts = _parts(file)
        if len(parts) == 1 and not os.path.isabs(file):
            return self.by_name(parts[0])
        if os.path.isabs(file) or ".." in Path(file.replace("\\", "/")).parts:
            return ""
        wanted = [_key(part) for part in parts]
        return self._one(name, [path for path in self._named(parts[-1]) if self._keys(path) == wanted])

    def by_name(self, name: str) -> str:
        """The one picture of that file name, else of that stem, at any depth; "" where there is none.

        Raises DataError where several different files fit.
        """
        return self._one(name, self._named(name)) or self.by_id(
            os.path.splitext(name)[0] if pictures.has_suffix(name) else name
        )

    def by_id(self, image_id: str) -> str:
        """The one picture whose name without suffix is `image_id`; as `by_name`."""
        there = self._by_stem().get(_key(image_id), [])
        exact = [path for path in there if os.path.splitext(os.path.basename(path))[0] == image_id]
        return self._one(image_id, exact or there)

    def of_image(self, image_id: str, *, sole: bool) -> str:
        """Another picture of an image, whatever its suffix: by as much of the id's end as fits; "" where there is none.

        Where several fit as well, the one with the id's own suffix.

        Args:
            image_id: A bare id, or a path below the data set's folder.
            sole: Whether no other id ends in the same name (`sole_names`); else the name alone does not tell.
        """
        parts = _parts(image_id)
        there = self._by_stem().get(_last_stem(image_id), [])
        if len(parts) < 2:
            exact = [path for path in there if image_id in (name := os.path.basename(path), os.path.splitext(name)[0])]
            return self.by_name(image_id) if sole else self._one(image_id, exact)
        wanted = [*map(_key, parts[:-1]), _last_stem(image_id)]
        fits = [_common_end(wanted, [*self._keys(path)[:-1], wanted[-1]]) for path in there]
        best = max(fits, default=0)
        fitting = [path for path, fit in zip(there, fits, strict=True) if fit == best > 1 - sole]
        return self._one(image_id, [path for path in fitting if os.path.basename(path) == parts[-1]] or fitting)

    def moved(self, name: str, *, sole: bool) -> str:
        """The picture of a table whose pictures are elsewhere now; "" where it is not there.

        Args:
            sole: Whether no other name in the table ends in the same file name; else the name alone does not tell.
        """
        file, member = split_path(name)
        parts = _parts(file)
        if not parts:
            return ""
        for start in range(len(parts) - (len(parts) > 1)):
            candidate = os.path.join(self.folder, *parts[start:])
            if os.path.isfile(candidate):
                return candidate + SEPARATOR + member if member else candidate
        if len(parts) == 1:
            return self.by_name(parts[0])
        wanted = [_key(part) for part in parts]
        there = self._named(parts[-1])
        fits = [_common_end(wanted, self._keys(path)) for path in there]
        best = max(fits, default=0)
        if best < 2:
            direct = os.path.join(self.folder, parts[-1])
            if not sole:
                return ""
            if os.path.isfile(direct):
                return direct
        return self._one(name, [path for path, fit in zip(there, fits, strict=True) if fit == best])

    def _file(self, name: str) -> str:
        for written in dict.fromkeys((name, name.replace("\\", "/"))):
            path = Path(self.folder, written)
            if path.is_file():
                return str(path)
        return ""

    def _named(self, name: str) -> list[str]:
        """The pictures of that file name; those that are written exactly so, where there are such."""
        stem = os.path.splitext(name)[0] if pictures.has_suffix(name) else name
        there = self._by_stem().get(_key(stem), [])
        exact = [path for path in there if os.path.basename(path) == name]
        return exact or [path for path in there if _key(os.path.basename(path)) == _key(name)]

    def _keys(self, path: str) -> list[str]:
        return [_key(part) for part in _parts(os.path.relpath(path, self.folder))]

    def _by_stem(self) -> dict[str, list[str]]:
        if self._listed is None:
            self._listed = {}
            for path, hidden in pictures.walk(self.folder):
                if not hidden and pictures.is_picture(path):
                    stem = os.path.splitext(os.path.basename(path))[0]
                    self._listed.setdefault(_key(stem), []).append(path)
        return self._listed

    def _one(self, name: str, paths: Sequence[str]) -> str:
        if not paths:
            return ""
        for other in paths[1:]:
            if not same_file(paths[0], other):
                raise DataError(
                    f"{self._table}: '{name}' is ambiguous: {paths[0]} and {other} both fit; {self._remedy}"
                )
        return paths[0]


def _last(name: str) -> str:
    return _key((_parts(name) or [""])[-1])


def _last_stem(name: str) -> str:
    last = (_parts(name) or [""])[-1]
    return _key(os.path.splitext(last)[0] if pictures.has_suffix(last) else last)


def _parts(name: str) -> list[str]:
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _key(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _common_end(one: Sequence[str], other: Sequence[str]) -> int:
    length = 0
    while length < min(len(one), len(other)) and one[-1 - length] == other[-1 - length]:
        length += 1
    return length


def same_file(one: str, other: str) -> bool:
    """Whether two files are copies: of one size, with the same beginning and end. (The Kaggle archive of HAM10000
    unpacks to two copies of each picture.)"""
    try:
        if os.path.samefile(one, other):
            return True
        size = os.path.getsize(one)
        return size == os.path.getsize(other) and _ends(one, size) == _ends(other, size)
    except OSError:
        return False


def _ends(path: str, size: int) -> tuple[bytes, bytes]:
    with open(path, "rb") as file:
        start = file.read(_ENDS)
        file.seek(max(0, size - _ENDS))
        return start, file.read(_ENDS)
