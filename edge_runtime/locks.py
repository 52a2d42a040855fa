"""Locks that the system gives back when their process dies (flock): one writer for a folder, and who it is."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Generator
from pathlib import Path

from .errors import UnwritableError, UsageError

_UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.EBADF)
"""Some network file systems lock nothing. Unique temporary names keep writers apart there too (files.py)."""


def try_lock(descriptor: int) -> bool | None:
    """Locks an open file or folder until it is closed, without waiting.

    Returns whether it is locked now, and None where the system cannot lock it.
    """
    try:
        import fcntl  # not on Windows
    except ImportError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return None
        raise
    return True


@contextlib.contextmanager
def locked(folder: str | Path, doing: str, on_wait: Callable[[str], None] | None = None) -> Generator[None, None, None]:
    """Holds `folder`, which need not exist, for the length of the block; a process that is killed gives it back.

    Args:
        doing: What for, such as "skin-edge train"; the next one who asks is told so.
        on_wait: Is called once with who holds it, and then this waits; None does not wait.

    Raises:
        UsageError: That says who holds it.
        UnwritableError: Where the lock cannot be written.
    """
    folder = Path(folder).resolve()
    import datetime  # with socket, more than all else here takes to load, and a device locks nothing
    import socket

    descriptor, path = _acquire(folder, on_wait)
    try:
        os.ftruncate(descriptor, 0)
        now = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        os.pwrite(descriptor, f"{os.getpid()}\n{socket.gethostname()}\n{now}\n{doing}\n".encode(), 0)
        yield
    finally:
        # Removed while it is held: whoever opened it meanwhile finds, with the lock, that it has gone.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(folder: Path, on_wait: Callable[[str], None] | None) -> tuple[int, Path]:
    while True:
        descriptor, path = _open(folder)
        try:
            got = try_lock(descriptor)
            if got is not False and _is_still(path, descriptor):
                return descriptor, path
            holder = "" if got is not False else _holder(descriptor, folder)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if got is not False:
            continue  # the one before has removed it between opening and locking
        if on_wait is None:
            raise UsageError(f"{holder}: wait for it, or choose another --out")
        on_wait(holder)
        on_wait = _quiet
        time.sleep(0.2)


def _quiet(_: str) -> None:
    pass


def _open(folder: Path) -> tuple[int, Path]:
    """The lock's file: beside the folder, or in it where nothing can be written beside it."""
    flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    paths = [folder.with_name(f".{folder.name[:80]}.lock"), folder / ".lock"]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return os.open(paths[0], flags, 0o666), paths[0]
    except OSError as error:
        with contextlib.suppress(OSError):
            return os.open(paths[1], flags, 0o666), paths[1]
        raise UnwritableError(folder, str(error.strerror), ": choose another --out") from None


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _holder(descriptor: int, folder: Path) -> str:
    try:
        pid, host, since, doing = os.pread(descriptor, 1000, 0).decode().splitlines()
    except (ValueError, OSError):  # it has locked and not yet said who it is
        return f"another process is writing {folder}"
    return f"{doing} is writing {folder} (process {pid} on {host}, since {since})"
