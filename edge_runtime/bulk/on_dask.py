"""A pool of the workers of a Dask cluster: where one machine is not enough.

The model goes to each worker once, with a plugin that workers who join later get too. A picture's bytes are read here
and go with the work, unless the workers can open its path. Each worker needs skin-edge, of this version.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from logging import CRITICAL, getLogger
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, cast

import dask
import distributed

from .. import __version__, preprocess, stopping
from ..classifier import SkinClassifier
from ..errors import ImageError, SkinEdgeError, UsageError
from ..model_file import ModelFile
from . import answering
from .answering import Answer, Settings, as_line
from .ordered import Report
from .sources import Picture

if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE = 10  # seconds to reach the scheduler
_TRIES = 5  # of a piece of work whose connection to the scheduler was lost
_LOOK_SECONDS = 5.0  # how often the number of workers is looked at
_SAY_SECONDS = 60.0  # between two messages that no worker is there

WAIT_SECONDS = 600.0
"""Without a worker, after which it is over."""

_dask, _dask_config = cast("Any", distributed), cast("Any", dask).config

# Dask keeps the last 1000 messages to the scheduler for its developers, each with the bytes of pictures: a gigabyte.
_NO_LOG = {"distributed.admin.low-level-log-length": 0}


class Cluster:
    """The pool, a context manager.

    Args:
        address: Of the scheduler, such as "tcp://10.0.0.5:8786".
        model: The model's file.
        settings: For all.
        on_trouble: Called with a line where no worker is there.
        by_path: Whether the workers open the pictures' paths themselves.
        wait: Seconds without any worker, after which it is over.

    Raises:
        UsageError: Where no scheduler answers there.
    """

    def __init__(
        self,
        address: str,
        model: ModelFile,
        settings: Settings,
        on_trouble: Callable[[str], None],
        *,
        by_path: bool = False,
        wait: float = WAIT_SECONDS,
    ):
        for name in getLogger().manager.loggerDict:  # a lost worker is no error here, and what is one is one line
            if name.startswith("distributed"):
                getLogger(name).setLevel(CRITICAL + 1)
        self._address, self._settings, self._by_path = address, settings, by_path
        self._on_trouble, self._wait = on_trouble, wait
        self._alone_since: float | None = None
        self._said_alone = 0.0
        self._key = f"skin-edge-{os.urandom(8).hex()}"
        self._client: Any = None
        self._config = _dask_config.set(_NO_LOG)  # also for connections that are made again
        try:
            self._client = _dask.Client(address, timeout=_PATIENCE, set_as_default=False, name="skin-edge")
        except (OSError, ValueError, TypeError) as error:
            self._close()
            raise UsageError(f"--scheduler {address}: no Dask scheduler answers there ({_short(error)})") from None
        try:
            self._client.register_plugin(_Model(self._key, model, settings), name=self._key)
        except Exception as error:
            self._close()
            raise SkinEdgeError(f"the workers at {address} need skin-edge {__version__}: {_short(error)}") from None
        self._said = queue.SimpleQueue[tuple[int, Any]]()
        self._here: dict[int, tuple[Sequence[Picture], dict[int, Answer]]] = {}  # key -> place -> what is answered here
        self._lost = Counter[int]()  # key -> how often a connection was lost with it
        self._looked, self._places = -_LOOK_SECONDS, 2

    @property
    def places(self) -> int:
        """Two pieces of work for each thread of the workers, who come and go."""
        if monotonic() - self._looked > _LOOK_SECONDS:
            self._looked = monotonic()
            threads = sum(self._client.nthreads().values())
            self._places = max(2, 2 * threads)
            if threads:
                self._alone_since = None
            else:
                self._wait_for_workers()
        return self._places

    def _wait_for_workers(self) -> None:
        """Says how long none has been there. Raises SkinEdgeError where that is too long."""
        if self._alone_since is None:
            self._alone_since, self._said_alone = self._looked, self._looked - _SAY_SECONDS
        waited = self._looked - self._alone_since
        if waited >= self._wait:
            raise SkinEdgeError(
                f"{self._address} has had no worker for {self._wait:g} s: start one (dask worker {self._address}), "
                f"then {stopping.GOES_ON}"
            )
        if self._looked - self._said_alone >= _SAY_SECONDS:
            self._said_alone = self._looked
            since = f" for {waited:.0f} s" if waited else ""
            self._on_trouble(f"{self._address} has had no worker{since}: waiting for one, {self._wait:g} s in all")

    def submit(self, key: int, pictures: Sequence[Picture]) -> None:
        """As `ordered.Pool`."""
        contents, here = list[bytes | None](), dict[int, Answer]()
        for place, picture in enumerate(pictures):
            contents.append(None)
            if not self._by_path and not isinstance(picture.path, bytes):
                try:
                    contents[-1] = preprocess.file_bytes(picture.path)
                except ImageError as error:
                    here[place] = as_line(picture, error, self._settings)
        self._here[key] = pictures, here
        work = [(pictures[place], contents[place]) for place in range(len(pictures)) if place not in here]
        if not work:
            self._said.put((key, None))
            return
        future = self._client.submit(_answers, self._key, __version__, work, pure=False)

        def say(done: Any) -> None:
            self._said.put((key, done))

        future.add_done_callback(say)

    def reports(self) -> Iterator[Report]:
        """As `ordered.Pool`."""
        key, future = self._next()
        pictures, here = self._here.pop(key)
        error: Any = None
        if future is not None and future.status not in ("finished", "error"):  # cancelled, lost
            self._lost[key] += 1
            if self._lost[key] <= _TRIES and self._reached():
                self.submit(key, pictures)
                return
            error = SkinEdgeError("the scheduler has gone")
        elif future is not None and future.status == "error":
            error = future.exception()
        said = future.result() if future is not None and error is None else ()
        if isinstance(error, _dask.KilledWorker) or said == _NO_MEMORY:
            yield Report(key, ended=True)
        elif error is not None or isinstance(said, str):
            why = _short(error) if error is not None else said
            raise SkinEdgeError(f"the cluster at {self._address} cannot go on: {why}")
        else:
            away = iter(said)
            found = [here[place] if place in here else next(away) for place in range(len(pictures))]
            yield Report(key, found, ended=True)

    def _next(self) -> tuple[int, Any]:
        while True:
            try:  # a signal is seen between two
                return self._said.get(timeout=0.5)
            except queue.Empty:
                if self._client.status not in ("running", "connecting"):
                    raise SkinEdgeError(f"the scheduler at {self._address} has gone") from None
                _ = self.places  # looks whether somebody works at it

    def _reached(self) -> bool:
        """Whether the scheduler is there, or there again: a client that loses its connection makes a new one."""
        until = monotonic() + _PATIENCE
        while self._client.status != "running":
            if self._client.status != "connecting" or monotonic() > until:
                return False
            sleep(0.1)
        return True

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client.status == "running":
            with contextlib.suppress(Exception):  # it goes with the workers
                self._client.unregister_worker_plugin(self._key)
        self._close()

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
        self._config.__exit__(None, None, None)


class _Model(_dask.WorkerPlugin):
    """On a worker: the model, and from the first picture on its classifier."""

    def __init__(self, key: str, model: ModelFile, settings: Settings):
        self._key, self._model, self._settings = key, model, settings

    def setup(self, worker: Any) -> None:
        """Called by Dask where a worker is there, or joins."""
        _models[self._key] = _Answering(self._model, self._settings)

    def teardown(self, worker: Any) -> None:
        """Called by Dask where the batch is done."""
        _models.pop(self._key, None)


class _Answering:
    def __init__(self, model: ModelFile, settings: Settings):
        self._model, self.settings, self._lock = model, settings, threading.Lock()
        self._classifier: SkinClassifier | None = None

    @property
    def classifier(self) -> SkinClassifier:
        with self._lock:
            if self._classifier is None:
                self._classifier = answering.classifier_for(self._model, self.settings)
            return self._classifier


_models: dict[str, _Answering] = {}


_NO_MEMORY = "no memory"


def _answers(key: str, version: str, work: Sequence[tuple[Picture, bytes | None]]) -> list[Answer] | str:
    """On a worker. What goes wrong is said in words: an exception that cannot be sent would be waited for for ever."""
    if version != __version__:
        return f"a worker has skin-edge {__version__}, not {version}"
    try:
        model = _models[key]
        pictures, contents = [picture for picture, _ in work], [content for _, content in work]
        return list(answering.answer(model.classifier, pictures, model.settings, decoding=1, contents=contents))
    except MemoryError:
        return _NO_MEMORY
    except Exception as error:
        return f"{type(error).__name__} on a worker: {_short(error)}"


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
