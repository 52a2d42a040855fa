"""One batch: pictures in, a file of answers out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic

from .answering import Settings, died
from .answers_file import AnswersFile
from .ordered import Pool, in_order
from .sources import Names, Picture, Source, content_of_stdin

OnProgress = Callable[[int, "int | None", float], None]


@dataclass(frozen=True)
class Counted:
    """What a source holds.

    Attributes:
        names: Of its pictures; None of one that is read once.
        again: How often a name occurs that was there before.
    """

    names: Names | None
    again: int


def count(source: Source) -> Counted:
    """Reads a source that can be read twice through beforehand, so that its errors come before hours of work.

    Args:
        source: Is not opened where it can be read only once.
    """
    if not source.again:
        return Counted(None, 0)
    names, pictures = Names(), 0
    for picture in source.pictures():
        pictures += 1
        names.add(picture.name)
    return Counted(names, pictures - len(names))


def run(
    source: Source,
    pool: Pool,
    settings: Settings,
    out: AnswersFile,
    *,
    total: int | None = None,
    on_progress: OnProgress = lambda done, total, rate: None,
) -> None:
    """Answers what `out` has no answer of, and makes it whole.

    Args:
        source: The pictures, in the order of the file's lines.
        pool: That answers.
        settings: Those of the pool.
        out: Is open.
        total: How many pictures there are, where it is known.
        on_progress: Called with the pictures that are done, `total`, and pictures a second since the beginning.

    Raises DataError where a folder has gone.
    """
    begin, before = monotonic(), out.pictures
    for answers in in_order(pool, _new(source, out.seen), lambda picture: died(picture, settings)):
        if not all(answer.assessed for answer in answers):
            source.check_folders()
        out.append(answers)
        on_progress(out.pictures, total, (out.pictures - before) / max(monotonic() - begin, 1e-9))
    out.finish()


def _new(source: Source, seen: Names) -> Iterator[Picture]:
    return (content_of_stdin(picture) for picture in source.pictures() if seen.add(picture.name))
