"""The pictures that are to be answered, one by one: of a hundred thousand, no list is held.

A picture is known by its name as the user gave it, and is answered once, however often it is named.
"""

# ruff: noqa: PTH113, PTH118, PTH120, PTH122
# Names of files stay text as they are given: a byte that is not text in one, or "..", has to survive.

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import csv_files, named_pictures
from ..errors import DataError, UsageError

_LONGEST_NAME = 1 << 16  # bytes of a line of a list


@dataclass(frozen=True)
class Picture:
    """One picture to be answered.

    Attributes:
        name: As the user gave it.
        path: What is opened; or the bytes of its file, of one that has none (standard input).
        metadata: Of the patient, as `SkinClassifier.predict` takes it.
        beside: What else its record says of it, behind its name.
    """

    name: str
    path: str | bytes
    metadata: Mapping[str, str] | None = None
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class Source:
    """Pictures that can be gone through.

    Attributes:
        pictures: Begins anew with each call, where `again`.
        again: Whether more than one call gives them: standard input is read once.
        unused: Suffix or reason -> how many files are not pictures, of all that was gone through last.
        folders: That the pictures are below.
    """

    pictures: Callable[[], Iterator[Picture]]
    again: bool
    unused: Counter[str]
    folders: tuple[str, ...] = ()

    def check_folders(self) -> None:
        """Raises DataError where one has gone or is empty, as that of network storage that is away.

        Its pictures would all be refused, and that would be their answer.
        """
        for folder in self.folders:
            try:
                with os.scandir(folder) as entries:
                    if next(entries, None) is not None:
                        continue
                why = "it is empty now"
            except OSError as error:
                why = error.strerror or str(error)
            raise DataError(f"{folder} has gone meanwhile ({why}): bring it back and continue with --resume")


class Names:
    """The names that were met. Of each a hash of 16 bytes is kept, about 90 bytes of memory.

    Attributes:
        hashes: Those.
    """

    def __init__(self) -> None:
        self.hashes = set[bytes]()

    def __len__(self) -> int:
        return len(self.hashes)

    def common(self, other: Names) -> int:
        """How many are in both."""
        return len(self.hashes & other.hashes)

    def __contains__(self, name: str) -> bool:
        return _hash(name) in self.hashes

    def add(self, name: str) -> bool:
        """Whether it is new."""
        before = len(self.hashes)
        self.hashes.add(_hash(name))
        return len(self.hashes) > before


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def named(arguments: Sequence[str], metadata: Mapping[str, str] | None = None) -> Source:
    """Of the arguments of a command line: files, folders, patterns and "-", as `named_pictures.find` takes them.

    Args:
        arguments: As given.
        metadata: The same for all.
    """
    unused = Counter[str]()

    def count(_: str, why: str) -> None:
        unused[why] += 1

    def pictures() -> Iterator[Picture]:
        unused.clear()
        named_pictures.check_stdin([argument for argument in arguments if argument == named_pictures.STDIN])
        for argument in arguments:
            for path in named_pictures.each(argument, count):
                yield Picture(path, path, metadata)

    return Source(pictures, True, unused, tuple(filter(os.path.isdir, arguments)))


def content_of_stdin(picture: Picture) -> Picture:
    """With the bytes of standard input, where the picture is that."""
    if picture.path != named_pictures.STDIN:
        return picture
    return replace(picture, path=named_pictures.read_stdin())


def listed(
    path: str,
    *,
    image_column: str | None = None,
    metadata: Mapping[str, str] | None = None,
    metadata_columns: Mapping[str, str] | None = None,
) -> Source:
    """Of a list: a text file with a name on each line, or a csv. Names are relative to the folder that the list is in.

    Args:
        path: Of the list; "-" reads standard input, whose names are relative to the current folder.
        image_column: Of a csv; None takes "image" where the list is named .csv or .tsv, else reads lines.
        metadata: The same for all.
        metadata_columns: Field of the model -> column of the csv.

    Raises, while it is gone through, DataError for a list that cannot be read.
    """
    is_csv = image_column is not None or os.path.splitext(path)[1].lower() in (".csv", ".tsv")
    if metadata_columns and not is_csv:
        raise UsageError("--metadata-column names columns of a csv: give one to --list")
    if path != "-" and not os.path.isfile(path):
        what = "is not a file" if os.path.lexists(path) else "is not there"
        raise UsageError(f"--list {path} {what}: name a text file or csv")
    folder = "" if path == "-" else os.path.dirname(path)

    def pictures() -> Iterator[Picture]:
        if is_csv:
            rows = _of_csv(path, image_column or "image", metadata_columns or {})
        else:
            rows = ((name, None) for name in _of_lines(path))
        for name, own in rows:
            yield Picture(name, os.path.join(folder, name), {**(metadata or {}), **own} if own else metadata)

    return Source(pictures, path != "-", Counter(), (folder or ".",))


def _of_lines(path: str) -> Iterator[str]:
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            number = 0
            while line := file.readline(_LONGEST_NAME):
                number += 1
                if number == 1:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if b"\0" in line or len(line) == _LONGEST_NAME:
                    raise DataError(
                        f"{path} line {number} is no name of a file: a list is text with a name on each line"
                    )
                if name := line.rstrip(b"\r\n"):
                    yield os.fsdecode(name)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def _of_csv(path: str, image: str, fields: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str] | None]]:
    wanted = {image, *fields.values()}
    if path == "-":
        text = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
        rows = csv_files.rows_of(text, "standard input", wanted.__contains__)
    else:
        rows = csv_files.stream(path, wanted.__contains__)
    shown = "standard input" if path == "-" else path
    _, columns = next(rows)
    if missing := sorted(wanted - set(columns)):
        option = "--image-column" if missing[0] == image else "--metadata-column"
        raise DataError(f"{shown} has no column '{missing[0]}': name one with {option}")
    places = {field: columns.index(column) for field, column in fields.items()}
    of_names: dict[bytes, int] = {}
    for line, row in rows:
        name = row[columns.index(image)]
        if not name:
            raise DataError(f"{shown} line {line} names no image in the column '{image}'")
        if places and (first := of_names.setdefault(_hash(name), line)) != line:  # with another patient's data, perhaps
            raise DataError(f"{shown} line {line} names {name} again, after line {first}")
        yield name, {field: row[place] for field, place in places.items()} or None
