"""The pictures that a command line names: files, folders, patterns that no shell expanded, and "-"."""

# ruff: noqa: PTH112, PTH122, PTH207
# Text in, the same text out; and a name with a zero byte is to be reported as any other.

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from . import console, pictures
from .errors import UsageError
from .limits import MAX_FILE_BYTES

STDIN = "-"

_SHOWN = 5  # suffixes of what is not used


@dataclass(frozen=True)
class Named:
    """The images that the arguments of `predict` stand for.

    Attributes:
        images: Paths as they are to be opened, each once where a folder or pattern named it, and "-" for stdin.
        unused: Suffix or reason -> how many files of folders and patterns are not pictures.
    """

    images: tuple[str, ...]
    unused: Counter[str]


def find(arguments: Sequence[str]) -> Named:
    """Folders become the pictures below them, patterns ("*.jpg", "**/*.png") what they match; the rest stays as it is.

    A name that is a file is that file, whatever letters it has; one that nothing matches stays, so that it is reported
    as missing. Raises UsageError where a folder holds no picture, or "-" a terminal, DataError where a folder cannot be
    listed.
    """
    images, unused = list[str](), dict[str, str]()
    used = set[str]()
    for argument in arguments:
        here = list(each(argument, unused.__setitem__))
        if here == [argument]:
            images.append(argument)
            continue
        images += [path for path in here if path not in used]
        used.update(here)
    check_stdin(images)
    return Named(tuple(images), Counter(unused.values()))


def each(argument: str, on_unused: Callable[[str, str], None]) -> Iterator[str]:
    """The images that one argument stands for, one by one; the argument itself where it is no folder and no pattern.

    Args:
        argument: As `find` takes it.
        on_unused: Called with path and suffix or reason of what is not a picture.

    Raises UsageError, after the last one, where there is none; DataError where a folder cannot be listed.
    """
    several = None if argument == STDIN else _files(argument)
    if several is None:
        yield argument
        return
    found, others = False, Counter[str]()
    for path, hidden in several:
        if not hidden and pictures.is_picture(path):
            found = True
            yield path
        else:
            why = "hidden" if hidden else os.path.splitext(path)[1].lower() or "no suffix"
            others[why] += not found  # for the message alone
            on_unused(path, why)
    if not found:
        raise UsageError(f"{argument} holds no pictures: {described(others) or 'it is empty'}")


def check_stdin(images: Sequence[str]) -> None:
    """Raises UsageError where "-" stands among them twice, or for a terminal."""
    if images.count(STDIN) > 1:
        raise UsageError("'-' is standard input, which holds one picture: name it once")
    if STDIN in images and (sys.stdin is None or console.is_terminal(sys.stdin)):  # pyright: ignore[reportUnnecessaryComparison]
        raise UsageError("'-' reads a picture from standard input: skin-edge predict - < photo.jpg")


def described(unused: Counter[str]) -> str:
    """Such as "12 files are not used (.csv 8, hidden 4)"; "" where there are none."""
    if not unused:
        return ""
    commonest = sorted(unused.items(), key=lambda row: (-row[1], row[0]))[:_SHOWN]
    kinds = ", ".join(f"{kind} {count}" for kind, count in commonest)
    total = sum(unused.values())
    more = ", ..." if len(unused) > _SHOWN else ""
    return f"{total} file{' is' if total == 1 else 's are'} not used ({kinds}{more})"


def read_stdin() -> bytes:
    """The picture that standard input holds; of one that is too large, more than may be read."""
    return sys.stdin.buffer.read(MAX_FILE_BYTES + 1)


def _files(argument: str) -> Iterable[tuple[str, bool]] | None:
    """(path, whether it is hidden) of all that a folder or pattern names; None where the argument is neither."""
    if os.path.isdir(argument):
        return pictures.walk(argument)
    if not glob.has_magic(argument) or os.path.lexists(argument):
        return None
    try:
        matches = sorted(glob.glob(argument, recursive=True))
    except ValueError:  # a zero byte
        return None
    return _of_matches(matches, enter="**" not in argument) if matches else None


def _of_matches(matches: Sequence[str], *, enter: bool) -> Iterator[tuple[str, bool]]:
    """enter: whether a folder stands for what is below it, as where the shell has expanded; "**" names that itself."""
    for path in matches:
        if not os.path.isdir(path):
            yield path, False
        elif enter:
            yield from pictures.walk(path)
