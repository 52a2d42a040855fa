"""The HTTP server: waitress, with a request refused before its body is read, and an orderly end.

waitress reads requests in one thread that waits for all connections at once, and hands them over when they are whole:
a slow client holds no thread. What it does not have is added here: a queue for pictures of bounded length, limits over
all connections, a time for a request to arrive, errors as JSON, and a stop that finishes what was begun.
"""

# waitress has no types that strict rules would bear.
# pyright: basic

from __future__ import annotations

import contextlib
import importlib
import json
import socket
import threading
from collections.abc import Callable
from logging import CRITICAL, WARNING, Handler, LogRecord, getLogger
from time import monotonic
from typing import Any

import flask

from ...edge_runtime import console
from ...edge_runtime.errors import UsageError
from .access import OPEN_PATHS
from .app import ANSWERS_POLICY, ARRIVED, BUSY, PREDICT, SECURITY_HEADERS, Service
from .limits import HEADER_BYTES, OTHER_THREADS, SIGN_IN_BYTES

_waitress: Any = importlib.import_module("waitress")
wasyncore: Any = importlib.import_module("waitress.wasyncore")
HTTPChannel: Any = importlib.import_module("waitress.channel").HTTPChannel
HTTPRequestParser: Any = importlib.import_module("waitress.parser").HTTPRequestParser
ThreadedTaskDispatcher: Any = importlib.import_module("waitress.task").ThreadedTaskDispatcher
WSGITask: Any = importlib.import_module("waitress.task").WSGITask
ErrorTask: Any = importlib.import_module("waitress.task").ErrorTask
Error: Any = importlib.import_module("waitress.utilities").Error

_LOOK_EVERY = 2**20  # bytes of a body, after which all that is held is added up
_DISCARDED = 2**27  # bytes that a refused client may still send before the connection is cut
_LINGER_SECONDS = 10.0


class _Refusal(Error):
    """An answer that needs no application."""

    def __init__(self, code: int, reason: str, message: str, **headers: str):
        super().__init__(message)
        self.code, self.reason = code, reason
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]


def _no_length() -> _Refusal:
    """Bodies in chunks are not taken: they say too late how long they are, and cost time to put together."""
    return _Refusal(411, "Length Required", "send Content-Length, not Transfer-Encoding")


class _Request(HTTPRequestParser):
    """A request that is refused as soon as its headers say enough, and not kept in memory then."""

    service: Service  # of the subclass that `Server` makes
    arrived = 0.0  # when it was whole
    refused_as_busy = False

    def __init__(self, adj: Any):
        super().__init__(adj)
        self.began = monotonic()
        self.looked_at = -_LOOK_EVERY

    def received(self, data: bytes) -> int:
        try:
            consumed = super().received(data)
        except ValueError:  # such as a length of thousands of digits
            self.error, self.completed = _Refusal(400, "Bad Request", "the headers cannot be read"), True
            return len(data)
        too_large = self.error is not None and self.error.code == 413  # without the token, that is not its matter
        if self.headers_finished and self.body_rcv is not None and (self.error is None or too_large):
            refusal = self._refusal()
            if refusal is not None:
                self.error, self.completed = refusal, True
        if self.completed:
            self.arrived = monotonic()
        if self.error is None:
            return consumed
        if self.error.code == 501:  # of an encoding beside chunked
            self.error = _no_length()
        self.expect_continue = False
        return len(data)  # what follows is the body of what was refused, no further request

    @property
    def is_predict(self) -> bool:
        """Whether pictures are to be answered: path and method as waitress hands them on."""
        if self.error is not None:  # it may have no path
            return False
        return ("/" + self.path.lstrip("/"), self.command.upper()) == (PREDICT, "POST")

    @property
    def held(self) -> int:
        """Bytes of the body that are in memory."""
        return self.body_bytes_received

    def _refusal(self) -> _Refusal | None:
        if self.looked_at < 0:
            self.looked_at = 0
            return self._refusal_of_headers()
        if self.held - self.looked_at >= _LOOK_EVERY:
            self.looked_at = self.held
            if self.total_held() > self.service.limits.held_bytes:
                return _Refusal(503, "Service Unavailable", "busy: too many bytes are arriving", Retry_After="5")
        return None

    def _refusal_of_headers(self) -> _Refusal | None:
        limits, access = self.service.limits, self.service.access
        if self.chunked:
            return _no_length()
        if self.path not in OPEN_PATHS and not access.admits(
            self.headers.get("AUTHORIZATION"), self.headers.get("COOKIE")
        ):
            return _Refusal(401, "Unauthorized", "token needed: Authorization: Bearer TOKEN", WWW_Authenticate="Bearer")
        most = SIGN_IN_BYTES if self.path in OPEN_PATHS else limits.request_bytes
        if self.content_length > most:
            return _Refusal(413, "Content Too Large", f"the request has more than {most} bytes")
        return None

    total_held: Callable[[], int]  # of the subclass that `Server` makes


class _ErrorTask(ErrorTask):
    """waitress' own errors as this API gives them: JSON with one line."""

    def execute(self) -> None:
        error = self.request.error
        message = error.body if isinstance(error, _Refusal) else _plain(error)
        body = json.dumps({"error": message}).encode() + b"\n"
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [
            ("Content-Type", "application/json"),
            ("Content-Security-Policy", ANSWERS_POLICY),
            ("Cache-Control", "no-store"),
            *SECURITY_HEADERS.items(),
            *getattr(error, "headers", ()),
        ]
        self.request.service.metrics.request("refused", error.code, monotonic() - self.request.began)
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Task(WSGITask):
    """An answer whose headers and body go out together: half of the calls that let go of the interpreter's lock."""

    def get_environment(self) -> dict[str, Any]:
        request, seconds = self.request, self.request.service.limits.seconds
        busy = request.refused_as_busy or monotonic() - request.arrived > seconds
        return super().get_environment() | {ARRIVED: request.arrived, BUSY: busy}

    def write(self, data: bytes) -> None:
        if self.wrote_header or not self.complete or not data or self.content_length != len(data) or not self.has_body:
            super().write(data)
            return
        head = self.build_response_header()
        self.wrote_header, self.content_bytes_written = True, len(data)
        self.channel.write_soon(head + data)


def _plain(error: Any) -> str:
    """waitress' own text names what is wrong with a request in words that hold nothing of it."""
    return {413: "the request has too many bytes", 431: "the headers have too many bytes"}.get(
        error.code, f"{error.reason.lower()}: {error.body}" if error.code < 500 else error.reason.lower()
    )


class _Channel(HTTPChannel):
    """A connection. One that was refused while it still sent is read on for a while: else the system would reset it,
    and the client might never see why."""

    task_class = _Task
    error_task_class = _ErrorTask
    lingers_until = 0.0
    discarded = 0

    def handle_write(self) -> None:
        if not (self.close_when_flushed and self._was_refused) or self.will_close:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if self.will_close:
            self.handle_close()
        elif not self.total_outbufs_len:
            self.close_when_flushed = False
            self.lingers_until = monotonic() + _LINGER_SECONDS
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)

    def writable(self) -> bool:
        if self.requests and self.total_outbufs_len and not (self.will_close or self.close_when_flushed):
            # A worker is sending, and says when it is done. To ask the system whether it could be sent would be
            # answered at once, again and again, and take the interpreter's lock from the worker.
            if not self.outbuf_lock.acquire(False):
                return False
            self.outbuf_lock.release()
        return super().writable()

    _was_refused = False

    def received(self, data: bytes) -> bool:
        going = super().received(data)
        if any(request.error is not None for request in self.requests):
            self._was_refused = True
        return going

    def readable(self) -> bool:
        return bool(self.lingers_until) or super().readable()

    def handle_read(self) -> None:
        if not self.lingers_until:
            super().handle_read()
            return
        try:
            data = self.recv(2**16)
        except OSError:
            data = b""
        self.discarded += len(data)
        if not data or self.discarded > _DISCARDED:
            self.handle_close()

    @property
    def arriving_since(self) -> float | None:
        """When the request that is not yet whole began."""
        return self.request.began if self.request is not None else None

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request or of an answer is under way."""
        return not (self.requests or self.request is not None or self.total_outbufs_len or self.close_when_flushed)


class _Dispatcher:
    """The threads: one for each classifier, which goes from request to request without a hand-over, and a few for all
    that is not a picture. Requests that wait have no thread.

    Args:
        service: Its pool has a classifier for each of the first ones.
    """

    def __init__(self, service: Service):
        self._pool, self._seconds = service.pool, service.limits.seconds
        self._predicting, self._others = ThreadedTaskDispatcher(), ThreadedTaskDispatcher()
        self._predicting.set_thread_count(len(self._pool.classifiers))
        self._others.set_thread_count(OTHER_THREADS)
        self._pool.before = self._predicting.queue

    def add_task(self, channel: _Channel) -> None:
        """As waitress asks for it: the channel's first request is to be answered."""
        request, pool = channel.requests[0], self._pool
        if request.is_predict:
            before = len(self._predicting.queue) + pool.busy
            request.refused_as_busy = before >= len(pool.classifiers) + pool.most_waiting
        waits = request.is_predict and not request.refused_as_busy
        (self._predicting if waits else self._others).add_task(channel)

    def refuse_late(self, now: float) -> None:
        """Requests that have waited for too long are told so."""
        late = list[_Channel]()
        with self._predicting.lock:
            queue = self._predicting.queue
            while queue and now - queue[0].requests[0].arrived > self._seconds:
                late.append(queue.popleft())
        for channel in late:
            channel.requests[0].refused_as_busy = True
            self._others.add_task(channel)

    def shutdown(self) -> None:
        """What is not begun is not answered."""
        for threads in (self._predicting, self._others):
            threads.shutdown(cancel_pending=True, timeout=1)


class Server:
    """Listens, answers, and ends in order.

    Args:
        application: What answers.
        service: Its limits and access are held here too, before a request is whole.
        listening: The socket, bound; the port may be 0.
        proxied: Whether a proxy on this machine says how it was reached (X-Forwarded-Proto, X-Forwarded-Host).
        url_scheme: "https" where TLS ends before this server.
    """

    def __init__(
        self,
        application: flask.Flask,
        service: Service,
        listening: socket.socket,
        *,
        proxied: bool = False,
        url_scheme: str = "http",
    ):
        self._limits = limits = service.limits
        self._map: dict[int, Any] = {}
        self._stopping = threading.Event()
        _quiet_logs()
        _raise_file_limit(limits.connections + 100)
        trusted: dict[str, Any] = (
            {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": {"x-forwarded-proto", "x-forwarded-host"}}
            if proxied
            else {}
        )
        self._server: Any = _waitress.create_server(
            application,
            map=self._map,
            _dispatcher=_Dispatcher(service),
            sockets=[listening],
            ident=None,
            url_scheme=url_scheme,
            recv_bytes=2**17,
            inbuf_overflow=2 * limits.request_bytes + 2**20,  # above what a request may have: never to the disk
            outbuf_overflow=2**40,
            connection_limit=limits.connections,
            cleanup_interval=5,
            channel_timeout=limits.idle_seconds,
            log_socket_errors=False,
            max_request_header_size=HEADER_BYTES,
            max_request_body_size=limits.request_bytes + 1,
            expose_tracebacks=False,
            **trusted,
        )
        parser = type("_OwnRequest", (_Request,), {"service": service, "total_held": lambda _: self._total_held()})
        self._server.channel_class = type("_OwnChannel", (_Channel,), {"parser_class": parser})
        self.port = int(self._server.effective_port)

    def run(self) -> None:
        """Answers until `stop`, then finishes what was begun, at most `Limits.drain_seconds` long."""
        looked = monotonic()
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1, use_poll=True, map=self._map, count=1)
            if monotonic() - looked > 1:
                looked = monotonic()
                self._close_late(looked)
                self._server.task_dispatcher.refuse_late(looked)
        self._drain()

    def stop(self) -> None:
        """Ends `run`. From any thread, or from a signal's handler."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._server.pull_trigger()

    def _channels(self) -> list[_Channel]:
        return list(self._server.active_channels.values())

    def _total_held(self) -> int:
        return sum(
            request.held
            for channel in self._channels()
            for request in (*channel.requests, channel.request)
            if request is not None
        )

    def _close_late(self, now: float) -> None:
        """Connections whose request takes too long to arrive, or that have been refused and do not leave."""
        for channel in self._channels():
            since = channel.arriving_since
            late = since is not None and now - since > self._limits.receive_seconds and not channel.requests
            if late or 0 < channel.lingers_until < now:
                channel.will_close = True

    def _drain(self) -> None:
        until = monotonic() + self._limits.drain_seconds
        wasyncore.dispatcher.close(self._server)  # the listening socket; a new client is refused by the system
        while monotonic() < until:
            channels = self._channels()
            for channel in channels:
                if channel.is_idle or channel.lingers_until:
                    channel.will_close = True
            if not channels:
                break
            wasyncore.loop(timeout=0.1, use_poll=True, map=self._map, count=1)
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._map, ignore_all=True)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket.

    Args:
        host: An address, or a name that resolves to one; "::" takes IPv4 too where the system can.
        port: 0 for any that is free.

    Raises:
        UsageError: Where it cannot be bound.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        both = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=1024, dualstack_ipv6=both)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"cannot listen on {host} port {port} ({reason}): choose another --host or --port") from None


def _quiet_logs() -> None:
    """waitress' warnings as one line each; what is wrong with a single connection is not worth one."""

    class _OneLine(Handler):
        def emit(self, record: LogRecord) -> None:
            kind = f" ({record.exc_info[0].__name__})" if record.exc_info and record.exc_info[0] else ""
            console.say(f"{record.levelname.lower()}: {record.msg.split('%')[0].strip()}{kind}", err=True)

    logger = getLogger("waitress")
    logger.handlers[:], logger.propagate = [_OneLine(WARNING)], False
    getLogger("waitress.queue").setLevel(CRITICAL)


def _raise_file_limit(wanted: int) -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard) if hard >= 0 else wanted, hard))
