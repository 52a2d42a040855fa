"""Keeps what C++ libraries print about themselves off the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Generator

# Two threads at once would restore each other's silence; one may nest.
_lock = threading.RLock()


@contextlib.contextmanager
def quiet() -> Generator[None, None, None]:
    """Sends the process's stderr (file descriptor 2) nowhere meanwhile. Python exceptions still carry their message."""
    with _lock:
        try:
            if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]  (None under pythonw)
                sys.stderr.flush()
            kept = os.dup(2)
        except (OSError, ValueError):
            yield  # there is no stderr to keep clean
            return
        try:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 2)
            os.close(nothing)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


if hasattr(os, "register_at_fork"):  # not on Windows
    # A child would find the lock taken for ever, and its stderr gone.
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
