"""A pool of processes on this machine, each with a classifier of its own."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from ..classifier import Ahead
from ..errors import SkinEdgeError
from ..model_file import ModelFile
from . import answering
from .answering import Answer, Settings
from .ordered import Report
from .sources import Picture

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

_REPORT_SECONDS = 0.5  # answers are reported after so long, although their piece of work is not done
_STARTS = 3  # that may fail one after the other

_THERE, _READY, _DONE = "there", "ready", "done"


class Processes:
    """The pool, a context manager. A process that ends is replaced; one that does so while it starts ends the work.

    Args:
        count: Of processes.
        model: The model's file, as it was when the work began.
        settings: For all.
        on_death: Called with a line where a process died.
    """

    def __init__(self, count: int, model: ModelFile, settings: Settings, on_death: Callable[[str], None]):
        self._context = multiprocessing.get_context("spawn")  # a fork would take threads' locks along
        self._model, self._settings, self._on_death = model, settings, on_death
        self._decoding = 2 if count == 1 else 1
        self._failed_starts = 0
        self._workers = [self._new() for _ in range(count)]

    @property
    def places(self) -> int:
        """One in hand and one that waits at its door, of each."""
        return 2 * len(self._workers)

    def submit(self, key: int, pictures: Sequence[Picture]) -> None:
        """As `ordered.Pool`."""
        min(self._workers, key=lambda worker: len(worker.tasks)).give(key, list(pictures))

    def reports(self) -> Iterator[Report]:
        """As `ordered.Pool`."""
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in multiprocessing.connection.wait(list(by_connection)):
            worker = by_connection[connection]  # pyright: ignore[reportArgumentType]
            try:
                said: Any = worker.connection.recv()
            except (EOFError, OSError):
                yield from self._replace(worker)
                continue
            if said == _THERE:
                worker.send((self._model, self._settings, self._decoding))
            elif said == _READY:
                self._failed_starts = 0
                worker.begin()
            elif said == _DONE:
                yield Report(worker.tasks.popleft()[0], ended=True)
            elif isinstance(said, SkinEdgeError):
                raise said
            else:
                yield Report(worker.tasks[0][0], said)

    def _new(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _replace(self, dead: _Worker) -> Iterator[Report]:
        """Reported is the piece of work that it had in hand; what waited at its door goes to the next one."""
        said = dead.end(wait=True)
        started = dead.began
        self._failed_starts = 0 if started else self._failed_starts + 1
        if self._failed_starts >= _STARTS:
            raise SkinEdgeError(
                f"the processes end while they start ({said}): try fewer --jobs, there may be no memory"
            )
        if started:
            self._on_death(f"a process died ({said}): its pictures are tried once more, alone")
        replacement = self._new()
        self._workers[self._workers.index(dead)] = replacement
        tasks = list(dead.tasks)
        if started and tasks:
            yield Report(tasks.pop(0)[0], ended=True)
        for key, pictures in tasks:
            replacement.give(key, pictures)

    def __enter__(self) -> Processes:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.end(wait=kind is None)


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, process: Any, connection: Connection):
        self.process, self.connection = process, connection
        self.tasks = deque[tuple[int, list[Picture]]]()  # the first one is in hand
        self.began, self.ended = False, ""

    def give(self, key: int, pictures: list[Picture]) -> None:
        """Before it has begun they wait here: the model goes first, when it is there to take it."""
        self.tasks.append((key, pictures))
        if self.began:
            self.send(pictures)

    def begin(self) -> None:
        """It has built its classifier."""
        self.began = True
        for _, pictures in self.tasks:
            self.send(pictures)

    def send(self, what: object) -> None:
        with contextlib.suppress(OSError):  # it has died: `reports` will find out
            self.connection.send(what)

    def end(self, *, wait: bool) -> str:
        """Its connection is closed or it is dead; returns how it ended."""
        if self.ended:
            return self.ended
        self.process.join(_END_SECONDS if wait else 0)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        self.connection.close()
        code: int = self.process.exitcode or 0
        self.process.close()
        self.ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return self.ended


_END_SECONDS = 30.0


def _work(connection: Connection) -> None:
    """The process: answers what it is given until its parent closes the connection, or dies."""
    for number in (signal.SIGINT, signal.SIGTERM):  # of the terminal or of systemd, to all: the parent decides
        signal.signal(number, signal.SIG_IGN)
    try:
        connection.send(_THERE)
        model, settings, decoding = cast("tuple[ModelFile, Settings, int]", connection.recv())
        classifier = answering.classifier_for(model, settings)
        connection.send(_READY)
        with classifier.ahead(decoding) as ahead:
            _answer(connection, ahead, settings, decoding)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except MemoryError:  # as the system would end it a moment later; the traceback would say nothing more
        raise SystemExit(1) from None
    except SkinEdgeError as error:
        connection.send(SkinEdgeError(str(error)))


def _answer(connection: Connection, ahead: Ahead, settings: Settings, decoding: int) -> None:
    """Decodes on while the network answers, over the ends of pieces of work; None stands for such an end."""
    coming, decoded = deque[Picture | None](), deque[Picture | None]()
    answers, last = list[Answer](), monotonic()
    while True:
        while len(ahead) <= decoding and (coming or connection.poll(None if not decoded else 0)):
            if not coming:
                coming += [*cast("list[Picture]", connection.recv()), None]
            picture = coming.popleft()
            decoded.append(picture)
            if picture is not None:
                ahead.put(picture.path, picture.metadata)
        picture = decoded.popleft()
        if picture is not None:
            answers.append(answering.as_line(picture, ahead.get(), settings))
        if answers and (picture is None or monotonic() - last > _REPORT_SECONDS):
            connection.send(answers)
            answers, last = [], monotonic()
        if picture is None:
            connection.send(_DONE)
