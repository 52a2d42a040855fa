"""Pictures over several processes: the answers in the order of the pictures, whoever is faster, and whoever dies.

A picture whose process dies is tried once more, alone, while nothing else runs: memory that others took is free then,
and no innocent one is suspected. What dies again is reported and not tried a third time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from .answering import Answer
from .sources import Picture

_FIRST = 4  # pictures that are handed over at once, before it is known how long they take
_MOST = 64  # the same at most
_SECONDS = 0.25  # of work in what is handed over: more would leave processes idle at the end, less would cost time


@dataclass(frozen=True)
class Report:
    """What a pool says of a piece of work.

    Attributes:
        key: Of the piece.
        answers: The next ones.
        ended: Whether no more come: all were given, or its process died.
    """

    key: int
    answers: Sequence[Answer] = ()
    ended: bool = False


class Pool(Protocol):
    """Processes that answer."""

    @property
    def places(self) -> int:
        """How many pieces of work it takes at once."""
        ...

    def submit(self, key: int, pictures: Sequence[Picture]) -> None:
        """Begins a piece of work.

        Args:
            key: What its reports call it.
            pictures: One or more.
        """
        ...

    def reports(self) -> Iterable[Report]:
        """Waits until there is something to report."""
        ...


@dataclass
class _Chunk:
    pictures: list[Picture]
    answers: list[Answer | None]
    given: int = 0  # of the answers, how many have been passed on


@dataclass
class _Work:
    chunk: _Chunk
    places: deque[int] = field(default_factory=deque[int])  # of its pictures, those that are not answered
    alone: bool = False


def in_order(
    pool: Pool, pictures: Iterable[Picture], died: Callable[[Picture], Answer], *, most: int = _MOST
) -> Iterator[list[Answer]]:
    """The answers of the pictures, in their order, a few at a time.

    No more pictures are taken than a few times what the pool has in hand, so one that takes long holds the others up.

    Args:
        pool: Nobody else uses it meanwhile.
        pictures: May be endless.
        died: Makes the Answer of a picture whose process died twice.
        most: Pictures that are handed over at once; the first ones are fewer, and so are those that take long.
    """
    rest = iter(pictures)
    waiting, suspects = deque[_Chunk](), deque[tuple[_Chunk, int]]()
    in_hand: dict[int, _Work] = {}
    keys, more = itertools.count(), True
    begun, answered = monotonic(), 0

    def begin(work: _Work) -> None:
        key = next(keys)
        in_hand[key] = work
        pool.submit(key, [work.chunk.pictures[place] for place in work.places])

    while True:
        while more and not suspects and len(in_hand) < pool.places and len(waiting) < 4 * pool.places:
            rate = answered / max(monotonic() - begun, 1e-3) / pool.places
            taken = list(itertools.islice(rest, max(min(_FIRST, most), min(most, round(rate * _SECONDS)))))
            if not taken:
                more = False
                break
            waiting.append(_Chunk(taken, [None] * len(taken)))
            begin(_Work(waiting[-1], deque(range(len(taken)))))
        if suspects and not in_hand:
            suspect, place = suspects.popleft()
            begin(_Work(suspect, deque([place]), alone=True))
        if not in_hand:
            return
        for report in pool.reports():
            work = in_hand[report.key]
            answered += len(report.answers)
            for answer in report.answers:
                work.chunk.answers[work.places.popleft()] = answer
            if not report.ended:
                continue
            del in_hand[report.key]
            for place in work.places:  # its process died
                if work.alone:
                    work.chunk.answers[place] = died(work.chunk.pictures[place])
                else:
                    suspects.append((work.chunk, place))
        while waiting:
            first = waiting[0]
            ready = list[Answer]()
            for answer in first.answers[first.given :]:
                if answer is None:
                    break
                ready.append(answer)
            first.given += len(ready)
            if ready:
                yield ready
            if first.given < len(first.pictures):
                break
            waiting.popleft()
