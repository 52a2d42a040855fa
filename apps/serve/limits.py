"""What one request, and all of them together, may take. docs/serve.md has the table."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Limits:
    """Of the server; what a picture itself may be is the contract's (`edge_runtime/limits.py`).

    Attributes:
        workers: Requests that are answered at the same time, each by a classifier of its own.
        waiting: Requests that may wait for one of them; the next is answered 503.
        request_bytes: Of a request's body.
        pictures: In one request.
        seconds: From a request's arrival as a whole to its answer.
        receive_seconds: A request may take so long to arrive, however steadily it does.
        idle_seconds: A connection on which nothing happens is closed.
        held_bytes: Of all bodies that have arrived so far and are not answered.
        connections: Open at the same time; further ones wait in the system's queue.
        drain_seconds: After SIGTERM, for what was begun.
    """

    workers: int = field(default_factory=lambda: _cores())
    waiting: int = 32
    request_bytes: int = 64 * 2**20
    pictures: int = 16
    seconds: float = 30.0
    receive_seconds: float = 120.0
    idle_seconds: int = 30
    held_bytes: int = 256 * 2**20
    connections: int = 1000
    drain_seconds: float = 30.0

    def with_workers(self, workers: int | None) -> Limits:
        """The same with another number of workers; None: one for each core."""
        return replace(self, workers=workers or _cores())


OTHER_THREADS = 8
"""Threads beside those that answer pictures: for the page, /healthz and refusals, none of which takes long."""


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


HEADER_BYTES = 16 * 1024
"""Of a request's first line and headers."""

FIELD_BYTES = 512 * 1024
"""Of a field of a form that is no picture. Werkzeug holds its own blocks of 64 kB against it as well."""

SIGN_IN_BYTES = 4096
"""Of the body of a request that has no token yet."""
