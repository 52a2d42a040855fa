"""Writing files so that a killed process leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator, Iterable
from pathlib import Path

from .errors import UsageError


@contextlib.contextmanager
def replacing(path: str | Path) -> Generator[Path, None, None]:
    """Gives a temporary path in the same folder and the same suffix, renamed to `path` when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: str | Path) -> None:
    """Removes what `replacing` left in a folder and below when its process was killed. Nobody else may be writing."""
    for leftover in Path(folder).glob("**/.*.tmp*"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(folder: str | Path) -> Generator[Path, None, None]:
    """Gives an empty temporary folder beside `folder`, which takes its place in one step when the block ends well.

    What `folder` held before stays until then, and goes then.
    """
    folder = Path(folder).resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = folder.with_name(f".{folder.name}.writing"), folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        old.replace(folder)  # an earlier process was killed between the two renames below
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists() and not _exchange(temporary, folder):
            folder.replace(old)  # the system cannot exchange; the next call mends a kill between this and the next line
        if not folder.exists():
            temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths in one step, where the system can: Linux, by renameat2. False where it cannot."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    at_current_folder, exchange = -100, 2
    return rename(at_current_folder, os.fsencode(one), at_current_folder, os.fsencode(other), exchange) == 0


def check_replaceable(folder: str | Path, keep: Iterable[str | Path]) -> None:
    """Raises UsageError where replacing `folder` would take the current folder or one of `keep` with it."""
    folder = Path(folder).resolve()
    for path in (Path.cwd(), *keep):
        if Path(path).resolve().is_relative_to(folder):
            raise UsageError(f"--overwrite would remove {path}, which lies in {folder}: choose another --out")


def check_writable(folder: str | Path) -> None:
    """Raises UsageError where `folder` cannot be made: said before the work whose result it would hold."""
    folder = Path(folder).resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent):
            pass
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}): choose another --out") from None


def write(path: str | Path, content: str | bytes) -> None:
    """Writes text (UTF-8; a file name's bytes that are no text as they are) or bytes to `path` in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
