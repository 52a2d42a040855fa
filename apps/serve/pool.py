"""Classifiers that take turns: one for each request that is answered, and a queue of bounded length before them."""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Generator, Sequence, Sized
from time import monotonic

from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import SkinEdgeError


class BusyError(SkinEdgeError):
    """Too many requests wait, or one has waited too long.

    Args:
        seconds: After which it is worth asking again.
    """

    def __init__(self, seconds: float):
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(f"busy: too many requests are waiting; ask again in {self.retry_after} s")


class Pool:
    """Hands out one classifier to each request.

    A classifier holds its lock while its network runs, so as many as there are cores keep all of them busy, and no more
    pictures are decoded at the same time than that.

    Args:
        classifiers: All of the same model; at least one.
        waiting: How many requests may wait for one of them.

    Attributes:
        most_waiting: How many requests may wait.
        before: Requests that wait already before they have a thread in which to wait here.
    """

    def __init__(self, classifiers: Sequence[SkinClassifier], waiting: int):
        self.classifiers = tuple(classifiers)
        self._free: queue.SimpleQueue[SkinClassifier] = queue.SimpleQueue()
        for classifier in self.classifiers:
            self._free.put(classifier)
        self.most_waiting = waiting
        self._lock = threading.Lock()
        self._waiting = 0
        self.before: Sized = ()
        self._begun: dict[int, float] = {}  # id of a classifier -> when its request began
        self._mean_seconds = 0.05  # of a request, lately

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._waiting + len(self.before)

    def busy_error(self) -> BusyError:
        """For a request that does not even wait, or has waited too long."""
        return BusyError(self.waiting * self._mean_seconds / len(self.classifiers))

    @property
    def busy(self) -> int:
        """Requests that are being answered."""
        return len(self._begun)

    def longest_seconds(self) -> float:
        """How long the oldest request that is being answered has had its classifier."""
        with self._lock:
            return monotonic() - min(self._begun.values()) if self._begun else 0.0

    @contextlib.contextmanager
    def one(self, until: float) -> Generator[SkinClassifier, None, None]:
        """A classifier for one request alone.

        Args:
            until: When waiting is over, as `time.monotonic` counts.

        Raises:
            BusyError: Where the queue is full, or the time is over before one is free.
        """
        classifier = self._taken(until)
        start = monotonic()
        with self._lock:
            self._begun[id(classifier)] = start
        try:
            yield classifier
        finally:
            with self._lock:
                del self._begun[id(classifier)]
                self._mean_seconds += 0.1 * (monotonic() - start - self._mean_seconds)
            self._free.put(classifier)

    def _taken(self, until: float) -> SkinClassifier:
        with contextlib.suppress(queue.Empty):
            return self._free.get_nowait()
        with self._lock:
            if self._waiting >= self.most_waiting:
                raise self.busy_error()
            self._waiting += 1
        try:
            return self._free.get(timeout=max(0.0, until - monotonic()))
        except queue.Empty:
            raise self.busy_error() from None
        finally:
            with self._lock:
                self._waiting -= 1
