"""TLS before waitress, which has none: each connection is decrypted here and passed on to a port of this machine alone.

asyncio does it in a thread of its own: a slow or silent client costs a few kilobytes, no thread. waitress closes idle
and late connections, and so do these.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from pathlib import Path

from ...edge_runtime.errors import UsageError

_BLOCK = 2**16
_HANDSHAKE_SECONDS = 10.0


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or 1.3 with a certificate.

    Args:
        certificate: PEM file, with the chain behind it.
        key: PEM file of its private key, not encrypted.

    Raises:
        UsageError: Where they cannot be read, or do not belong together.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    for option, path in (("--certificate", certificate), ("--key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise UsageError(f"{option} {path} cannot be read: {error.strerror}") from None
    try:
        made.load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or "not usable"
        raise UsageError(
            f"--certificate {certificate} and --key {key}: {reason}; both are PEM, the key without a passphrase"
        ) from None
    return made


class Front:
    """Accepts TLS connections and passes on what they say.

    Args:
        listening: The socket that clients reach.
        tls: Certificate and key.
        port: Of this machine's loopback address, where the plain requests go.
        connections: Most at the same time; further ones are closed at once.
    """

    def __init__(self, listening: socket.socket, tls: ssl.SSLContext, port: int, connections: int):
        self._listening, self._tls, self._port, self._most = listening, tls, port, connections
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)

    def start(self) -> None:
        """Accepts from now on, in a thread of its own."""
        self._server = self._loop.run_until_complete(self._listen())
        self._thread.start()

    def stop_accepting(self) -> None:
        """New clients are refused by the system; open connections go on. From any thread, or a signal's handler."""
        if self._server is not None:
            self._loop.call_soon_threadsafe(self._server.close)

    def finish(self, seconds: float) -> None:
        """Waits until open connections have passed on everything, then ends.

        Args:
            seconds: At most.
        """
        if not self._thread.is_alive():
            return
        ended = asyncio.run_coroutine_threadsafe(self._ended(seconds), self._loop)
        with contextlib.suppress(Exception):
            ended.result(seconds + 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(
            self._serve,
            sock=self._listening,
            ssl=self._tls,
            ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            limit=_BLOCK,
            backlog=1024,
        )

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda loop, told: None)  # of single connections: nothing to say
        self._loop.run_forever()

    async def _ended(self, seconds: float) -> None:
        if self._open:
            await asyncio.wait(self._open, timeout=seconds)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) <= self._most:
                await self._pass_on(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, requests = await asyncio.open_connection("127.0.0.1", self._port, limit=_BLOCK)
        there = asyncio.ensure_future(_copy(reader, requests))
        try:
            await _copy(answers, writer)  # to the end: waitress closes what is idle, late or done
        finally:
            there.cancel()
            requests.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await there


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(_BLOCK):
            writer.write(block)
            await writer.drain()
    if writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()
