"""Pictures in class folders: which folder is the class, which is a part, and which pictures are in neither.

    <class>/**/picture    the first folder below DATA is the class; the folders within it belong to it
    train|val|test/...    parts, with such folders in each; training, valid, validation and testing mean the same
    <folder>/<class>/...  where one folder holds everything, or where no first folder is a known diagnosis and all
                          second ones are, the classes are the folders one further down

Hidden folders, and what systems leave behind, are passed over.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import NamedTuple

from ...edge_runtime import pictures
from ...edge_runtime.errors import DataError
from ...edge_runtime.labels import has_control_characters, is_known

_PART_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_ORDER = {"train": 0, "val": 1, "test": 2, "": 3}


NO_TEXT = "name not in UTF-8"


class Picture(NamedTuple):
    """One picture.

    Attributes:
        path: Its file.
        name: The same below DATA, with "/".
        label: Its class.
        part: "" without parts.
    """

    path: str
    name: str
    label: str
    part: str


@dataclass(frozen=True)
class ClassFolders:
    """What `read` found.

    Attributes:
        passed_over: Path -> why, of the pictures in no class.
        notes: A line each, for a person.
    """

    pictures: list[Picture]
    passed_over: dict[str, str]
    notes: list[str]


def read(root: str | os.PathLike[str]) -> ClassFolders:
    """The pictures of class folders by part, class and name; none where there are no such folders.

    Raises DataError where a folder cannot be listed, or where two classes' names differ in case or spaces alone.
    """
    root = os.fspath(root)
    below: dict[str, tuple[str, ...]] = {}  # path -> the folders between `root` and it
    passed_over: dict[str, str] = {}
    for path, hidden in pictures.walk(root):
        if not hidden and pictures.is_picture(path):
            if is_text(path):
                below[path] = PurePath(os.path.relpath(path, root)).parts[:-1]
            else:
                passed_over[path] = NO_TEXT
    wrapped = _wrappers(list(below.values()))
    parts = {
        folders[wrapped]
        for folders in below.values()
        if len(folders) > wrapped + 1 and folders[wrapped].lower() in _PART_OF
    }
    inside = {path: folders[wrapped + bool(parts) :] for path, folders in below.items() if _in(folders, wrapped, parts)}
    level = _class_level([folders for folders in inside.values() if folders])
    found: list[Picture] = []
    for path, folders in below.items():
        if path not in inside:
            passed_over[path] = (
                f"outside {', '.join(sorted(parts, key=_by_order))}" if parts else "outside a class folder"
            )
        elif len(inside[path]) <= level:
            passed_over[path] = "outside a class folder"
        else:
            part = _PART_OF[folders[wrapped].lower()] if parts else ""
            label = unicodedata.normalize("NFC", inside[path][level])
            found.append(Picture(path, PurePath(os.path.relpath(path, root)).as_posix(), label, part))
    check_labels([picture.label for picture in found], f"{root}, class folders")
    found = [one._replace(label=one.label.strip()) for one in found]
    found.sort(key=lambda picture: (_ORDER[picture.part], picture.label, picture.name))
    return ClassFolders(found, passed_over, _notes(found, inside, level, parts))


def check_labels(labels: Sequence[str], where: str) -> None:
    """Raises DataError where two labels differ in case or spaces alone, or one holds control characters.

    Args:
        where: What holds them, for the message.
    """
    of_key: dict[str, str] = {}
    for label in sorted(set(labels)):
        if has_control_characters(label):
            raise DataError(f"{where}: label {label!r} holds control characters: give it another name")
        other = of_key.setdefault("".join(unicodedata.normalize("NFC", label).casefold().split()), label)
        if other != label:
            raise DataError(f"{where}: '{other}' and '{label}' differ in case or spaces alone: give both one name")


def is_text(name: str) -> bool:
    """Whether a file's name can be written in a table: Linux lets it be any bytes."""
    return name.isascii() or not any("\ud800" <= c <= "\udfff" for c in name)


def _wrappers(places: Sequence[tuple[str, ...]]) -> int:
    """How many folders are around everything: of pictures in a folder, the first ones in common, but for a class."""
    inside = [folders for folders in places if folders]
    around = 0
    while (
        inside
        and min(map(len, inside)) > around + 1
        and len({folders[around] for folders in inside}) == 1
        and not _is_class_or_part(inside[0][around])
    ):
        around += 1
    return around


def _is_class_or_part(name: str) -> bool:
    return is_known(name) or name.lower() in _PART_OF


def _in(folders: tuple[str, ...], wrapped: int, parts: set[str]) -> bool:
    return len(folders) > wrapped and (not parts or folders[wrapped] in parts)


def _class_level(places: Sequence[tuple[str, ...]]) -> int:
    """0 where the first folder is the class, else how many are around the classes; see the module."""
    level = 0
    while places and min(map(len, places)) > level + 1:
        here, deeper = ({folders[at] for folders in places} for at in (level, level + 1))
        if any(map(is_known, here)) or not (len(here) == 1 or all(map(is_known, deeper))):
            break
        level += 1
    return level


def _notes(found: Sequence[Picture], inside: dict[str, tuple[str, ...]], level: int, parts: set[str]) -> list[str]:
    notes: list[str] = []
    if level:
        notes.append("the classes are the folders " + ("" if level == 1 else f"{level} ") + "below the first")
    deeper = Counter(picture.label for picture in found if len(inside[picture.path]) > level + 1)
    if deeper:
        named = ", ".join(f"{label} {count}" for label, count in list(deeper.items())[:5])
        notes.append(
            f"{sum(deeper.values())} pictures are in folders within a class folder and count as its class: {named}"
            + (", ..." if len(deeper) > 5 else "")
        )
    named_alike = {name for name in parts if name not in _ORDER}
    if named_alike:
        notes.append("parts: " + ", ".join(f"{name}/ is {_PART_OF[name.lower()]}" for name in sorted(named_alike)))
    return notes


def _by_order(name: str) -> tuple[int, str]:
    return _ORDER[_PART_OF[name.lower()]], name
