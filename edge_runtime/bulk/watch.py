"""Pictures that arrive in a folder, each answered once, when it is whole.

Whether one is whole, its size and time of change say: they have stayed the same for a while. Events of the system only
say where to look, so none that is lost costs a picture; the whole folder is gone through from time to time as well.
One that cannot be decoded may be one whose copying has stalled: it is tried again later, before that is its answer.
"""

# ruff: noqa: PTH112, PTH116, PTH118, PTH206
# As in `pictures`: names of files stay text, and there may be many.

from __future__ import annotations

import datetime
import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from .. import pictures
from ..errors import DataError
from .answering import Answer, Settings, died
from .answers_file import AnswersFile
from .ordered import Pool, in_order
from .sources import Picture

_AT_ONCE = 64  # pictures between two looks at the folder
_ALL_SECONDS = 60.0  # between two walks through all of it, where events say what is new
_TROUBLED_SECONDS = 5.0  # the same where they do not


def identity_of(record: Mapping[str, Any]) -> str:
    """Of a record's picture: its name, size and time of change."""
    return _identity(str(record["file"]), {"size": record["size"], "modified": record["modified"]})


def _identity(name: str, state: Mapping[str, Any]) -> str:
    return f"{name}\0{state['size']}\0{state['modified']}"


def state_of(path: str) -> dict[str, Any]:
    """What a record says of the file beside its name: bytes, and the time of change in UTC.

    To the nanosecond, as text: as a number it would not be exact in every language that reads JSON. Raises OSError
    where the file is not there.
    """
    status = os.stat(path)
    seconds, rest = divmod(status.st_mtime_ns, 10**9)
    moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
    return {"size": status.st_size, "modified": f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"}


@dataclass(frozen=True)
class Patience:
    """How long a picture is waited for.

    Attributes:
        settle: Seconds for which it has to stay as it is.
        refuse: The same for one that cannot be decoded, before that is its answer.
    """

    settle: float = 2.0
    refuse: float = 30.0


@dataclass
class _Waiting:
    state: dict[str, Any]
    since: float  # when it was first seen so, by `monotonic`
    refused: bool = False  # it could not be decoded in this state


class Watcher:
    """The pictures of a folder, as far as they are not answered.

    Args:
        folder: With all below it.
        pool: That answers.
        settings: Those of the pool.
        out: Is open, with `identity_of`.
        patience: How long a picture is waited for.
        on_answer: Called with each line that is in the file now.
        metadata: Of the patient, the same for all.
        by_age: Whether a file that has not been changed for long enough is not waited for once more.
    """

    def __init__(
        self,
        folder: str,
        pool: Pool,
        settings: Settings,
        out: AnswersFile,
        patience: Patience,
        on_answer: Callable[[Answer], None],
        *,
        metadata: Mapping[str, str] | None = None,
        by_age: bool = False,
    ):
        self._folder, self._pool, self._settings, self._out = folder, pool, settings, out
        self._patience, self._on_answer, self._by_age = patience, on_answer, by_age
        self._metadata = metadata
        self._waiting: dict[str, _Waiting] = {}

    @property
    def is_done(self) -> bool:
        """Whether no picture is waited for."""
        return not self._waiting

    def look(self, paths: Iterable[str] | None = None) -> None:
        """Takes in what is there: at these paths, folders with all below them; None is the whole folder.

        Raises DataError where a folder cannot be listed.
        """
        for path in [self._folder] if paths is None else paths:
            if paths is None or os.path.isdir(path):
                for below, hidden in pictures.walk(path):
                    if not hidden:
                        self._look_at(below)
            else:
                self._look_at(path)

    def _look_at(self, path: str) -> None:
        name = os.path.relpath(path, self._folder)
        if any(pictures.is_hidden(part) or part.startswith("~") for part in name.split(os.sep)):
            return  # hidden, or another program's temporary one
        try:
            state = state_of(path)
            if _identity(name, state) in self._out.seen or not pictures.is_picture(path):
                return
        except (OSError, ValueError):  # it has gone
            self._waiting.pop(name, None)
            return
        known = self._waiting.get(name)
        if known is None or known.state != state:
            self._waiting[name] = _Waiting(state, monotonic())

    def seconds(self) -> float:
        """Until a picture may be whole; infinity where none is waited for."""
        return max(0.0, min((self._due(one) for one in self._waiting.values()), default=float("inf")) - monotonic())

    def _due(self, waiting: _Waiting) -> float:
        return waiting.since + (self._patience.refuse if waiting.refused else self._patience.settle)

    def answer(self, stopped: Callable[[], bool]) -> None:
        """Answers what is whole.

        Args:
            stopped: Whether no other picture is to be begun.
        """
        now = monotonic()
        due = [name for name, waiting in self._waiting.items() if self._due(waiting) <= now]
        for start in range(0, len(due), _AT_ONCE):
            batch = [picture for name in due[start : start + _AT_ONCE] if (picture := self._whole(name))]
            begun = iter(batch)
            for answers in in_order(self._pool, _until(batch, stopped), lambda one: died(one, self._settings), most=1):
                for answer, picture in zip(answers, begun, strict=False):
                    self._take(picture, answer)
            if stopped():
                return

    def _whole(self, name: str) -> Picture | None:
        """The picture, where it is still as it was."""
        path = os.path.join(self._folder, name)
        self._look_at(path)
        waiting = self._waiting.get(name)
        if waiting is None or self._due(waiting) > monotonic():
            return None
        return Picture(name, path, self._metadata, waiting.state)

    def _take(self, picture: Picture, answer: Answer) -> None:
        """The line goes into the file, unless the file has changed while it was read, or may become a picture yet."""
        before = self._waiting[picture.name]
        self._look_at(str(picture.path))
        waiting = self._waiting.get(picture.name)
        if waiting is None or waiting is not before:
            return
        if not answer.assessed and not self._is_final(waiting):
            waiting.refused = True
            return
        self._out.append([answer])
        self._out.seen.add(_identity(picture.name, picture.beside))
        del self._waiting[picture.name]
        self._on_answer(answer)

    def _is_final(self, waiting: _Waiting) -> bool:
        if monotonic() - waiting.since >= self._patience.refuse:
            return True
        changed = datetime.datetime.fromisoformat(waiting.state["modified"][:19] + "+00:00").timestamp()
        return self._by_age and time.time() - changed > self._patience.refuse


def _until(batch: Sequence[Picture], stopped: Callable[[], bool]) -> Iterator[Picture]:
    for picture in batch:
        if stopped():
            return
        yield picture


class Signs:
    """What wakes the watcher up: paths that have changed, that events were lost, that it is to stop."""

    def __init__(self) -> None:
        self._said = queue.SimpleQueue[set[str] | str | None]()
        self._stop = threading.Event()

    def stop(self) -> None:
        """The watcher stops when what is in hand is done. For a signal's handler too."""
        self._stop.set()
        self._said.put(None)

    def stopped(self) -> bool:
        """Whether it is to stop."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> tuple[set[str], list[str]]:
        """(paths that have changed, what has ended the events), after at most so many seconds."""
        changed, ended = set[str](), list[str]()
        try:
            said = self._said.get(timeout=seconds)
            while True:
                if isinstance(said, str):
                    ended.append(said)
                elif said:
                    changed |= said
                said = self._said.get_nowait()
        except queue.Empty:
            return changed, ended

    @contextmanager
    def of(self, folder: str) -> Generator[None, None, None]:
        """Listens to the system's events meanwhile, on a thread."""
        import watchfiles

        def listen() -> None:
            try:
                for changes in watchfiles.watch(
                    folder, watch_filter=None, debounce=200, step=50, stop_event=ended, raise_interrupt=False
                ):
                    self._said.put({path for _, path in changes})
            except Exception as error:
                self._said.put(" ".join(str(error).split())[:200] or type(error).__name__)
            else:
                if not ended.is_set():
                    self._said.put("they have ended")

        ended = threading.Event()
        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(5)


def run(
    watcher: Watcher, signs: Signs, *, poll: float | None, once: bool = False, on_trouble: Callable[[str], None]
) -> None:
    """Answers what arrives until `signs` say stop.

    Args:
        watcher: Of the folder.
        signs: Within `signs.of(folder)`, where they are to be listened to.
        poll: Seconds between two walks through the folder; None where events say what is new.
        once: Whether to stop when all that is there is answered.
        on_trouble: Called with a line where the folder cannot be listed, or events have ended.
    """
    looked, every, listed = -float("inf"), poll or _ALL_SECONDS, True
    changed = set[str]()
    while not signs.stopped():
        try:
            if monotonic() - looked >= every:
                looked = monotonic()
                watcher.look()
            elif changed:
                watcher.look(changed)
            listed = True
        except DataError as error:  # a share that is away for a moment; or a folder that went while it was looked at
            if once:
                raise
            if listed:
                on_trouble(f"{error}: waiting for it")
            listed, every = False, min(every, _TROUBLED_SECONDS)  # what comes in its place gives no events
        watcher.answer(signs.stopped)
        if once and watcher.is_done:
            return
        wait = min(watcher.seconds(), looked + every - monotonic())
        changed, ended = signs.wait(max(0.01, wait))
        for why in ended:
            on_trouble(f"the system does not say what is new ({why}): looking every {_TROUBLED_SECONDS:g} s")
            every = min(every, _TROUBLED_SECONDS)
