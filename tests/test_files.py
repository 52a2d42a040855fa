"""Outputs appear whole or not at all, whoever else writes, whatever is killed; what cannot be written is said first."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from skin_edge.edge_runtime import files, locks
from skin_edge.edge_runtime.errors import UnwritableError, UsageError

WRITER = """
import sys, time
from pathlib import Path
from skin_edge.edge_runtime import files
folder, word, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
print("begun", flush=True)
with files.replacing_folder(folder) as new:
    for name in range(20):
        (new / str(name)).write_text(word)
        time.sleep(pause)
"""

HOLDER = """
import sys, time
from skin_edge.edge_runtime import locks
with locks.locked(sys.argv[1], "skin-edge train"):
    print("held", flush=True)
    time.sleep(60)
"""


def started(script, *arguments):
    return subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def held(folder):
    process = started(HOLDER, folder)
    assert process.stdout.readline() == "held\n"
    return process


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def hidden(folder):
    return sorted(path.name for path in folder.glob(".*"))


NOT_EXCHANGING = {
    "library without renameat2": lambda: object(),
    "system without the library": mock.Mock(side_effect=OSError("no such library")),
    "system that loads none by no name": mock.Mock(side_effect=TypeError("bad argument type: None")),
    "kernel without renameat2": lambda: mock.Mock(renameat2=refusing(errno.ENOSYS)),
    "file system without exchange": lambda: mock.Mock(renameat2=refusing(errno.EINVAL)),
}


def refusing(number):
    def renameat2(*_):
        ctypes.set_errno(number)
        return -1

    return renameat2


@pytest.fixture(params=["exchange", *NOT_EXCHANGING])
def way(request, monkeypatch):
    """How a folder takes another's place; macOS, some kernels and some file systems cannot exchange two."""
    if request.param in NOT_EXCHANGING:
        library = NOT_EXCHANGING[request.param]
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library())
    return request.param


def write_folder(folder, word):
    with files.replacing_folder(folder) as new:
        (new / "a").write_text(word)
        (new / "b").mkdir()
        (new / "b" / "c").write_text(word)


def test_a_folder_is_replaced_whole(tmp_path, way):
    for word in ("one", "two", "three"):
        write_folder(tmp_path / "out", word)
        assert (tmp_path / "out" / "a").read_text() == (tmp_path / "out" / "b" / "c").read_text() == word
    assert hidden(tmp_path) == []


def test_what_fails_half_way_leaves_what_was_there(tmp_path, way):
    write_folder(tmp_path / "out", "old")
    with pytest.raises(ZeroDivisionError), files.replacing_folder(tmp_path / "out") as new:
        (new / "a").write_text("new")
        raise ZeroDivisionError
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert hidden(tmp_path) == []


def test_the_ways_differ(tmp_path, monkeypatch, way):
    """By renames alone, the old folder has a name of its own for a moment; exchanged, it never has."""
    for name in ("out", "other"):
        write_folder(tmp_path / name, "old")
    if way == "exchange" and not files._exchange(tmp_path / "out", tmp_path / "other"):
        pytest.skip("this system or file system cannot exchange two folders")
    rename, moved = Path.rename, []
    monkeypatch.setattr(Path, "rename", lambda self, target: (moved.append(self.name), rename(self, target))[1])
    write_folder(tmp_path / "out", "new")
    assert moved[:1] == ([] if way == "exchange" else ["out"])


KILLED_BETWEEN_TWO_RENAMES = """
import os, signal, sys
from pathlib import Path
from skin_edge.edge_runtime import files
files._exchange = lambda one, other: False
rename = Path.rename
def last(self, target):
    rename(self, target)
    os.kill(os.getpid(), signal.SIGKILL)
with files.replacing_folder(sys.argv[1]) as new:
    (new / "a").write_text("killed")
    Path.rename = last
"""


def test_a_process_killed_between_the_two_renames_costs_nothing(tmp_path):
    out = tmp_path / "out"
    write_folder(out, "old")
    for _ in range(2):  # the second one finds what the first one left
        dead = started(KILLED_BETWEEN_TWO_RENAMES, out)
        assert dead.wait() == -signal.SIGKILL
        dead.stdout.close()
        assert not out.exists()
        assert [name.rpartition(".")[2] for name in hidden(tmp_path)] in (["old", "writing"], ["writing", "old"])
    files.recover(out)
    assert (out / "a").read_text() == (out / "b" / "c").read_text() == "old"
    write_folder(out, "new")
    assert (out / "a").read_text() == "new"
    assert hidden(tmp_path) == []


def test_of_several_old_folders_the_last_one_is_brought_back(tmp_path):
    for number, digit in enumerate("b0a"):
        folder = tmp_path / f".out.{digit * 16}.old"
        folder.mkdir()
        (folder / "a").write_text(str(number))
        os.utime(folder, (number, number))
    files.recover(tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == "2"


@pytest.mark.parametrize("renames", [1, 2])
def test_a_crash_at_a_rename_is_mended_by_the_next_call(tmp_path, monkeypatch, renames):
    """Between the two renames there is no folder; after them the old one is still there."""
    write_folder(tmp_path / "out", "old")
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    rename, done = Path.rename, []

    def crash_after(self, target):
        rename(self, target)
        done.append(self)
        if len(done) == renames:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", crash_after)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # a killed process cleans nothing
        with pytest.raises(KeyboardInterrupt):
            write_folder(tmp_path / "out", "new")
    assert (tmp_path / "out").exists() == (renames == 2)
    files.recover(tmp_path / "out")
    assert (tmp_path / "out" / "a").read_text() == ("old" if renames == 1 else "new")
    write_folder(tmp_path / "out", "newer")
    assert (tmp_path / "out" / "a").read_text() == "newer"
    assert hidden(tmp_path) == []


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path, monkeypatch):
    write_folder(tmp_path / "out", "old")
    monkeypatch.setattr(files, "_exchange", lambda one, other: False)
    rename = Path.rename

    def refuse(self, target):
        if self.name.endswith(".writing"):
            raise OSError(errno.EIO, "broken")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UnwritableError, match="out cannot be written"):
        write_folder(tmp_path / "out", "new")
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert hidden(tmp_path) == []


def test_what_is_not_ours_is_left_alone(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for name in (".out.old", ".out.writing", ".out.0123.old", ".other.0123456789abcdef.writing", ".out.tmp.html"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    (tmp_path / ".out.0123456789abcdef.writing").symlink_to(mine)
    (tmp_path / ".out.fedcba9876543210.old").symlink_to(mine)
    before = hidden(tmp_path)
    write_folder(tmp_path / "out", "new")
    files.write(tmp_path / "out.html", "page")
    shutil.rmtree(tmp_path / "out")
    files.recover(tmp_path / "out")
    assert not (tmp_path / "out").exists()  # a link is not a folder of ours
    assert hidden(tmp_path) == before
    assert (mine / "thesis.txt").exists()


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    out = tmp_path / "out"
    dead, alive = started(WRITER, out, "dead", 5), started(WRITER, out, "alive", 5)
    try:
        for process in (dead, alive):
            process.stdout.readline()
        deadline = time.monotonic() + 20
        while len(hidden(tmp_path)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(hidden(tmp_path)) == 2
        time.sleep(0.2)
        killed(dead)
        write_folder(out, "next")
        left = hidden(tmp_path)
        assert len(left) == 1
        assert (tmp_path / left[0] / "0").read_text() == "alive"
    finally:
        killed(alive)
    files.remove_leftovers(tmp_path)
    assert hidden(tmp_path) == []


def test_leftovers_below_a_folder_are_found_and_links_are_not_followed(tmp_path):
    (tmp_path / "run" / "deep").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    names = [".a.0123456789abcdef.tmp.csv", "deep/.b.0123456789abcdef.tmp", ".history.4711.tmp.csv"]
    for name in [f"run/{name}" for name in names] + ["elsewhere/.a.0123456789abcdef.tmp.csv", "run/.notes.tmp"]:
        (tmp_path / name).write_text("half")
    (tmp_path / "run" / "link").symlink_to(tmp_path / "elsewhere")
    files.remove_leftovers(tmp_path / "run")
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["elsewhere/.a.0123456789abcdef.tmp.csv", "run/.notes.tmp"]


def test_a_file_is_replaced_whole_with_the_permissions_of_a_new_one(tmp_path):
    path = tmp_path / "a.txt"
    files.write(path, "one")
    before = os.umask(0o022)
    try:
        files.write(path, "two")
    finally:
        os.umask(before)
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(ZeroDivisionError), files.replacing(path) as temporary:
        temporary.write_text("three")
        raise ZeroDivisionError
    assert path.read_text() == "two"
    files.write(tmp_path / ("n" * 200 + ".txt"), "long")
    assert hidden(tmp_path) == []


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/null")
    for name in ("pipe", "link"):
        with pytest.raises(UsageError, match="is not a file"):
            files.write(tmp_path / name, "x")
        with pytest.raises(UsageError, match="is not a file"):
            files.check_writable_file(tmp_path / name, "--html")


def test_of_several_files_all_are_written_or_none(tmp_path):
    files.write_all({tmp_path / "a": "old", tmp_path / "b": "old"})
    with pytest.raises(UnwritableError):
        files.write_all({tmp_path / "a": "new", tmp_path / "b": Unwritable("new")})
    assert content(tmp_path) == {"a": "old", "b": "old"}


class Unwritable(str):
    def encode(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES])
def test_what_cannot_be_written_is_said_in_one_line(tmp_path, code):
    with (
        pytest.raises(UnwritableError) as error,
        files.replacing_folder(tmp_path / "out") as new,
        files.replacing(new / "a.csv"),
    ):
        raise OSError(code, os.strerror(code), "whatever")
    assert str(error.value) == f"{tmp_path / 'out'} cannot be written ({os.strerror(code)}){files.ELSEWHERE}"
    assert error.value.exit_code == 1
    assert hidden(tmp_path) == []


def test_a_full_disk_is_said_before_the_work(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "write", full)
    for check in (files.check_writable, files.check_writable_file, files.check_writable_in):
        with pytest.raises(UsageError, match=r"cannot be written \(No space left on device"):
            check(tmp_path / "out")
    assert hidden(tmp_path) == []


def test_a_place_that_cannot_be_a_folder_is_said_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for path, says in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "file" / "out", "cannot be written"),
        (Path("/proc"), "is where a disk is mounted"),
        (Path("/proc/out"), "cannot be written"),
    ):
        with pytest.raises(UsageError, match=says):
            files.check_writable(path)


def test_one_writer_holds_a_folder_and_the_next_one_is_told_who(tmp_path):
    process = held(tmp_path / "run")
    try:
        with pytest.raises(UsageError) as error, locks.locked(tmp_path / "run", "skin-edge train"):
            pass
        assert f"skin-edge train is writing {tmp_path / 'run'} (process {process.pid} on " in str(error.value)
        assert ", since 20" in str(error.value)
    finally:
        killed(process)
    with locks.locked(tmp_path / "run", "skin-edge train"):  # what a killed process held is free
        assert hidden(tmp_path) == [".run.lock"]
    assert hidden(tmp_path) == []


def test_who_may_wait_goes_on_when_the_other_has_ended(tmp_path):
    process, waited = held(tmp_path / "run"), []

    def told(holder):
        waited.append(holder)
        killed(process)

    with locks.locked(tmp_path / "run", "skin-edge", told):
        assert len(waited) == 1
        assert f"process {process.pid}" in waited[0]


def test_a_lock_lies_in_the_folder_where_nothing_can_be_written_beside_it(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    opened = os.open

    def refuse(path, *rest, **more):
        if Path(path).name == ".run.lock":
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(locks.os, "open", refuse)
    with (
        locks.locked(tmp_path / "run", "one"),
        pytest.raises(UsageError, match="one is writing"),
        locks.locked(tmp_path / "run", "two"),
    ):
        pass
    assert hidden(tmp_path / "run") == []
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UnwritableError, match="run cannot be written"), locks.locked(tmp_path / "run", "three"):
        pass


def test_where_the_system_cannot_lock_the_work_is_done_all_the_same(tmp_path, monkeypatch):
    import fcntl

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locks.locked(tmp_path / "run", "one"):
        write_folder(tmp_path / "run", "new")
    assert (tmp_path / "run" / "a").read_text() == "new"
    (tmp_path / ".run.0123456789abcdef.writing").mkdir()
    write_folder(tmp_path / "run", "newer")
    assert hidden(tmp_path) == [".run.0123456789abcdef.writing"]  # whether its writer lives is not known


def pairs_of_writers(tmp_path, count, kill):
    """Two writers of one folder, `count` times: what is left is of one of them, or of one before."""
    out, words = tmp_path / "out", set()
    for number in range(count):
        pair = [started(WRITER, out, f"{number}{which}", 0.001) for which in "ab"]
        words |= {f"{number}a", f"{number}b"}
        if kill:
            for process in pair:
                process.stdout.readline()
            time.sleep(random.Random(number).uniform(0, 0.05))
            killed(pair[number % 2])
        for process in pair:
            assert process.wait() == 0 or kill
            process.stdout.close()
        if out.exists():
            found = content(out)
            assert len(found) == 20
            assert len(set(found.values())) == 1
            assert set(found.values()) <= words
    write_folder(out, "last")
    assert hidden(tmp_path) == []


def test_two_writers_of_one_folder_do_not_mix(tmp_path):
    for kill in (False, True):
        (tmp_path / str(kill)).mkdir()
        pairs_of_writers(tmp_path / str(kill), 3, kill)


@pytest.mark.parametrize("what", ["a file", "a folder"])
def test_what_another_takes_for_a_dead_one_s_is_made_again(tmp_path, monkeypatch, what):
    """Between the making of a temporary name and its lock another writer may find it unlocked, and remove it."""
    taken, lock = [], files.try_lock

    def late(descriptor):
        if not taken:
            taken.extend(path for path in tmp_path.glob(".*"))
            shutil.rmtree(taken[0]) if taken[0].is_dir() else taken[0].unlink()
        return lock(descriptor)

    monkeypatch.setattr(files, "try_lock", late)
    write_folder(tmp_path / "out", "new") if what == "a folder" else files.write(tmp_path / "out", "new")
    assert len(taken) == 1
    assert (tmp_path / "out" / "a" if what == "a folder" else tmp_path / "out").read_text() == "new"
    assert hidden(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_forty_pairs_of_writers_do_not_mix(tmp_path, kill):
    pairs_of_writers(tmp_path, 40, kill)


@pytest.mark.parametrize("moment", ["before the block", "within its end"])
@pytest.mark.parametrize("kind", ["replacing", "replacing_folder", "temporary_folder"])
def test_a_signal_at_the_edge_of_the_block_leaves_nothing(tmp_path, kind, moment):
    """Between the making of a temporary name and the block that removes it, and while it is removed."""
    cut = "_is_ours" if moment == "before the block" else "_remove"
    made = "files.temporary_folder()" if kind == "temporary_folder" else f"files.{kind}('out')"
    (tmp_path / "temporary").mkdir()
    code = f"""
import tempfile
from skin_edge.edge_runtime import files
whole, calls = files.{cut}, []
def cut(*arguments):
    calls.append(arguments)
    if len(calls) == 1:
        raise KeyboardInterrupt
    return whole(*arguments)
files.{cut} = cut
try:
    with {made} as new:
        (new / "x" if new.is_dir() else new).write_text("x")
except KeyboardInterrupt:
    pass
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".")]
