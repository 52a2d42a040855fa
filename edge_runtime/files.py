"""Writing so that a killed process leaves the old file or the new one, never half of one, and two writers never mix.

Every writer has temporary names of its own beside what it writes, and holds a lock on them while it lives:

    .NAME.<16 hexadecimal digits>.tmp.SUFFIX   a file
    .NAME.<16 hexadecimal digits>.writing      a folder
    .NAME.<16 hexadecimal digits>.old          what a folder held before, where the system cannot exchange two

The next writer of NAME removes those that nobody holds, and nothing else. What is needed for a while only lies in such
a folder too, `.skin-edge.<...>.writing` where the system keeps temporary files (TMPDIR).
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import BinaryIO

from . import stopping
from .errors import UnwritableError, UsageError
from .locks import locked, try_lock

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ELSEWHERE = ": make room or fix it, or write elsewhere"
_TEMPORARY = ": make room there, or name another folder in TMPDIR"
_TRIES = 100  # to put a folder in its place, where others do the same

_FILE = re.compile(r"\.[0-9a-f]{16}\.tmp(\.[^.]*)?$")
_FILE_BEFORE = re.compile(r"\.[0-9]+\.tmp(\.[^.]*)?$")
"""What earlier versions left, which held no locks."""
_FOLDER = re.compile(r"\.[0-9a-f]{16}\.(writing|old)$")

_made: set[tuple[int, Path]] = set()
"""(process, path) of temporary files and folders that are there or are about to be made."""

_cleared: set[tuple[Path, str]] = set()
"""(folder, start of the names) that this process has cleared: not again for each of thousands of files."""


@contextlib.contextmanager
def replacing(path: str | Path) -> Generator[Path, None, None]:
    """Gives a temporary path in the same folder and the same suffix, renamed to `path` when the block ends well.

    Raises UnwritableError where it cannot be written, UsageError where `path` is there and is not a file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a device, say, which a rename would replace
        raise UsageError(f"{path} is not a file: name another")
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear(path.parent, _start(path.stem), _FILE)
        temporary, descriptor = _new_file(path)
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
        finally:
            _remove(temporary)
            os.close(descriptor)


@contextlib.contextmanager
def replacing_folder(folder: str | Path) -> Generator[Path, None, None]:
    """Gives an empty temporary folder beside `folder`, which takes its place in one step when the block ends well.

    What `folder` held before stays until then, and goes then. Where the system cannot exchange two folders in one step,
    a process that is killed between two leaves none; the next call, or `recover`, brings the old one back.

    Raises UnwritableError where it cannot be written.
    """
    folder = Path(folder).resolve()
    with telling(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover(folder)
        _clear(folder.parent, _start(folder.name), _FOLDER, again=True)
        temporary, descriptor = _new_folder(folder)
        try:
            yield temporary
            for written in _files_below(temporary):
                _sync(written)
            _put(temporary, folder)
        finally:
            _remove(temporary)
            if descriptor is not None:
                os.close(descriptor)


def recover(folder: str | Path) -> None:
    """Brings back what `folder` held, where a process was killed between taking it away and putting the new one."""
    folder = Path(folder).resolve()
    if os.path.lexists(folder):
        return
    names = re.compile(re.escape(_start(folder.name)) + r"\.[0-9a-f]{16}\.old")
    olds = [path for path in _own_entries(folder.parent) if names.fullmatch(path.name) and path.is_dir()]
    for old in sorted(olds, key=lambda path: path.stat().st_mtime_ns, reverse=True)[:1]:
        with contextlib.suppress(OSError):  # the other one has put it there, if it lives
            old.rename(folder)


@contextlib.contextmanager
def temporary_folder() -> Generator[Path, None, None]:
    """Gives an empty folder that nobody else can read and that goes when the block ends; a killed one's goes next time.

    What libraries put where the system keeps temporary files lies in it meanwhile.

    Raises UnwritableError where there is no room for it, or for what the block writes there.
    """
    import tempfile

    before = tempfile.tempdir
    with _room_for_temporary_files() as where:
        named = where / "skin-edge"
        _clear(where, _start(named.name), _FOLDER, again=True)
        folder, descriptor = _new_folder(named, 0o700)
        try:
            tempfile.tempdir = str(folder)
            yield folder
        finally:
            tempfile.tempdir = before
            _remove(folder)
            if descriptor is not None:
                os.close(descriptor)


@contextlib.contextmanager
def temporary_file(size: int = 0) -> Generator[BinaryIO, None, None]:
    """Gives an open file without a name, of `size` bytes that are zero and that the disk has room for.

    It goes when nobody has it open or mapped. Raises UnwritableError as `temporary_folder`.
    """
    import tempfile

    with _room_for_temporary_files(), tempfile.TemporaryFile() as file:
        # A file with holes that is mapped would kill the process where the disk has no room for one of them.
        if hasattr(os, "posix_fallocate") and size:
            os.posix_fallocate(file.fileno(), 0, size)
        for at in range(file.seek(0, os.SEEK_END), size, 1 << 20):
            file.write(bytes(min(1 << 20, size - at)))
        file.seek(0)
        yield file


@contextlib.contextmanager
def _room_for_temporary_files() -> Generator[Path, None, None]:
    import tempfile

    try:
        where = Path(tempfile.gettempdir())
    except FileNotFoundError:  # after it has tried to write
        first = os.environ.get("TMPDIR", "/tmp")
        raise UnwritableError(first, "nor can other places of temporary files", _TEMPORARY) from None
    try:
        yield where
    except Exception as error:
        reason = _full(error)
        if not reason:
            raise
        raise UnwritableError(where, reason, _TEMPORARY) from None


def _full(error: Exception) -> str:
    """How the system, or what TensorFlow has made of its error, says that a disk is full; "" where it does not."""
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno in _FULL else ""
    if type(error).__module__.startswith("tensorflow"):
        return next((os.strerror(code) for code in _FULL if os.strerror(code) in str(error)), "")
    return ""


def _put(temporary: Path, folder: Path) -> None:
    """The temporary folder takes the place of `folder`; what was there is at the temporary name then, or gone."""
    for _ in range(_TRIES):  # another writer of the same folder may come between any two lines
        if not os.path.lexists(folder):
            with contextlib.suppress(OSError):
                temporary.rename(folder)
                return
        elif _exchange(temporary, folder):
            return
        else:
            old = _beside(folder, "old")
            folder.rename(old)
            try:
                temporary.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    old.rename(folder)
                    raise
                shutil.rmtree(old, ignore_errors=True)
                continue
            shutil.rmtree(old, ignore_errors=True)
            return
    raise UnwritableError(folder, "other processes keep writing to it", ": choose another --out")


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two paths in one step, where the system can: Linux, by renameat2. False where it cannot."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    at_current_folder, exchange = -100, 2
    return rename(at_current_folder, os.fsencode(one), at_current_folder, os.fsencode(other), exchange) == 0


def remove_leftovers(folder: str | Path) -> None:
    """Removes what killed writers left in a folder and below; what a living one holds stays, and links lead nowhere."""
    for where, folders, names in os.walk(folder):
        for name in names:
            if is_leftover(name):
                _remove_if_dead(Path(where) / name)
        for name in list(folders):
            if name.startswith(".") and _FOLDER.search(name):
                _remove_if_dead(Path(where) / name)
                folders.remove(name)


def _clear(folder: Path, start: str, names: re.Pattern[str], *, again: bool = False) -> None:
    if not again and (folder, start) in _cleared:
        return
    _cleared.add((folder, start))
    for path in _own_entries(folder):
        if path.name.startswith(start + ".") and names.fullmatch(path.name, len(start)):
            _remove_if_dead(path)


def _own_entries(folder: Path) -> list[Path]:
    """Files and folders of this user, no links."""
    user = os.geteuid() if hasattr(os, "geteuid") else None
    found: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and not entry.is_symlink():
                with contextlib.suppress(OSError):
                    if user is None or entry.stat(follow_symlinks=False).st_uid == user:
                        found.append(Path(entry.path))
    return found


def _remove_if_dead(path: Path) -> None:
    """Removes a temporary file or folder that no living writer holds."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return
    try:
        if not try_lock(descriptor):
            return
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _start(name: str) -> str:
    """How its temporary names begin; a name may have 255 bytes, and theirs are longer."""
    return "." + name.encode(errors="surrogateescape")[:120].decode(errors="ignore")


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f"{_start(folder.name)}.{os.urandom(8).hex()}.{kind}")


def _new_file(path: Path) -> tuple[Path, int]:
    """A temporary file for `path`, open and locked."""
    while True:
        temporary = path.with_name(f"{_start(path.stem)}.{os.urandom(8).hex()}.tmp{path.suffix}")
        _made.add((os.getpid(), temporary))
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if _is_ours(temporary, descriptor):
            return temporary, descriptor
        os.close(descriptor)


def _new_folder(folder: Path, mode: int = 0o777) -> tuple[Path, int | None]:
    """A temporary folder for `folder`, open and locked; None where the system opens no folders."""
    while True:
        temporary = _beside(folder, "writing")
        _made.add((os.getpid(), temporary))
        temporary.mkdir(mode)
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # as below
            continue
        except OSError:
            return temporary, None
        if _is_ours(temporary, descriptor):
            return temporary, descriptor
        os.close(descriptor)


def _remove(temporary: Path) -> None:
    """What a library's thread still writes into a folder is waited for."""
    for _ in range(_TRIES):
        if not temporary.is_dir():
            temporary.unlink(missing_ok=True)
            _made.discard((os.getpid(), temporary))
            return
        shutil.rmtree(temporary, ignore_errors=True)
        if temporary.exists():
            time.sleep(0.01)


@atexit.register
def _remove_rest() -> None:
    """Those whose block a signal cut off before it began, or within its end."""
    for process, temporary in list(_made):
        if process == os.getpid():
            with contextlib.suppress(OSError):
                _remove(temporary)


def _is_ours(temporary: Path, descriptor: int) -> bool:
    """Locks it. False where another writer took it for a dead one's, between its making and this lock."""
    if try_lock(descriptor) is False:
        return False
    try:
        return os.path.samestat(temporary.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _files_below(folder: Path) -> list[Path]:
    return [Path(where) / name for where, _, names in os.walk(folder) for name in names]


def _sync(path: Path) -> None:
    """Onto the disk before it is renamed: else a power cut leaves the new name with nothing in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system has none
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def telling(path: str | Path, remedy: str | None = None) -> Generator[None, None, None]:
    """Makes an UnwritableError of an OSError that says that `path` cannot be written: no space, no permission, no disk.

    Args:
        remedy: What follows the reason, such as ": make room, and continue with --resume"; None leaves what it was, or
            is ELSEWHERE.
    """
    try:
        yield
    except UnwritableError as error:
        there = Path(str(error.path)).resolve()
        if not any(_FOLDER.search(part) for part in there.parts) and not there.is_relative_to(Path(path).resolve()):
            raise
        raise UnwritableError(path, error.reason, error.remedy if remedy is None else remedy) from None
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise UnwritableError(path, os.strerror(error.errno), remedy or ELSEWHERE) from None


@contextlib.contextmanager
def alone_in(folder: str | Path, doing: str, *, resume: bool | None = None) -> Generator[None, None, None]:
    """Holds `folder`, into which nobody else may write meanwhile; says before the work where it cannot be written.

    Args:
        doing: See `locks.locked`.
        resume: Whether this goes on with what is there; None where such work cannot be gone on with. Whatever stops
            work that can be says so.

    Raises:
        UsageError: Where another process holds it or it cannot be written.
    """
    if resume and Path(folder).is_dir():
        check_writable_in(folder)
    else:
        check_writable(folder)
    remedy = ELSEWHERE if resume is None else f"; make room or fix it, then {stopping.GOES_ON}"
    with (
        stopping.saying("" if resume is None else stopping.GOES_ON),
        locked(folder, doing),
        telling(folder, remedy),
    ):
        yield


def is_leftover(name: str) -> bool:
    """Whether a file of that name is what a killed writer left."""
    return name.startswith(".") and bool(_FILE.search(name) or _FILE_BEFORE.search(name))


def check_replaceable(folder: str | Path, keep: Iterable[str | Path]) -> None:
    """Raises UsageError where replacing `folder` would take the current folder or one of `keep` with it."""
    folder = Path(folder).resolve()
    for path in (Path.cwd(), *keep):
        if Path(path).resolve().is_relative_to(folder):
            raise UsageError(f"writing {folder} again would remove {path}, which is in it: choose another --out")


def check_writable(folder: str | Path) -> None:
    """Raises UsageError where `replacing_folder` could not write `folder`: said before the work that it would hold."""
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: choose another --out")
    if os.path.ismount(folder):
        raise UsageError(f"{folder} is where a disk is mounted, and cannot be replaced: choose a folder in it")
    _check_can_make(folder, "--out")


def check_writable_file(path: str | Path, option: str = "--out") -> None:
    """Raises UsageError where `replacing` could not write `path`.

    Args:
        option: Of the command, for the message.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder: name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {path} is not a file: name another")
    _check_can_make(path.resolve(), option)


def check_writable_in(folder: str | Path, option: str = "--out") -> None:
    """Raises UsageError where no file can be made in `folder`, which is made where it is not there."""
    folder = Path(folder).resolve()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{option} {folder} is a file: name a folder")
    _check_can_make(folder / "x", option, folder)


def _check_can_make(path: Path, option: str, named: Path | None = None) -> None:
    probe = path.with_name(f"{_start(path.stem)}.{os.urandom(8).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
            try:
                os.write(descriptor, bytes(4096))  # a full disk makes empty files
            finally:
                os.close(descriptor)
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"{named or path} cannot be written ({error.strerror}): choose another {option}") from None


def write(path: str | Path, content: str | bytes) -> None:
    """Writes text (UTF-8; a file name's bytes that are not text as they are) or bytes to `path` in one step."""
    write_all({Path(path): content})


def write_folder(folder: str | Path, contents: Mapping[str, bytes]) -> None:
    """Writes path within `folder` -> content, in the place of what the folder held: whole or not at all.

    Raises UnwritableError where it cannot be written.
    """
    with replacing_folder(folder) as temporary:
        for path, content in contents.items():
            target = temporary / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def write_all(contents: Mapping[Path, str | bytes]) -> None:
    """Writes several files as `write` does: where one cannot be written none is; then they are renamed one by one."""
    with contextlib.ExitStack() as stack:
        for path, content in contents.items():
            temporary = stack.enter_context(replacing(path))
            temporary.write_bytes(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
