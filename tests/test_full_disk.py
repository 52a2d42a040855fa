"""A disk that is full, as a limit on the size of files: one line says what, where and what to do; what was there stays.

The system says "File too large" then, which ends a command as "No space left on device" does.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from skin_edge.edge_runtime import files
from skin_edge.edge_runtime.errors import UnwritableError

from . import miniatures
from .test_files import killed, started

SMALL = "--recipe quickstart --set image_size=[32,32] --set batch_size=8 --set epochs=1"

# Command -> the largest file that can be written. What it is asked beforehand, one of 4096 bytes, always can.
QUICK = {
    "evaluate MODEL DATA --out out": 6000,
    "evaluate MODEL DATA --out old --overwrite": 6000,
    "bench MODEL --data DATA --num-runs 2 --html old.html": 5000,
    "bench MODEL --data DATA --num-runs 2 --markdown x.md --result-json old.json --html x.html": 5000,
    "bundle --out out": 100_000,
    "bundle --out out.zip": 100_000,
    "predict DATA/mel/0.png --assess-anything --heatmap out": 100,
    "data DATA --out out": 6000,
    "verify BUNDLE ANSWERS": 100_000,
}
SLOW = {
    f"train DATA --out out {SMALL}": 50_000,
    f"tune DATA --out out --trials 1 {SMALL}": 50_000,
    f"tune DATA --out out --trials 1 {SMALL} ": 20_000,
    "convert RUN --int8 --ptq --out out --representative 20 ": 5000,  # the unpacked weights
    "quickstart --out out": 6000,
}


def limited(most, *arguments, where):
    """The command where no file can have more than `most` bytes."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    (where / "temporary").mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "skin_edge.edge_runtime", *map(str, arguments)],
        capture_output=True, text=True, cwd=where, preexec_fn=limit,
        env=os.environ | {"TMPDIR": str(where / "temporary")},
    )  # fmt: skip
    assert list((where / "temporary").iterdir()) == []
    (where / "temporary").rmdir()
    return done


def ends_in_one_line(line, words, most, where):
    (where / "old.html").write_text("old"), (where / "old.json").write_text("old")
    before = state(where)
    done = limited(most, *(words.get(word, word) for word in line.split()), where=where)
    said = done.stderr.splitlines()
    assert done.returncode == 1, done.stderr
    assert [text.startswith("error: ") for text in said].count(True) == 1 and said[-1].startswith("error: ")
    assert "cannot be written (File too large): make room" in said[-1] or "; make room" in said[-1]
    return before


def state(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def there(tmp_path_factory, tiny_int8):
    from skin_edge.benchmarks.bundle import answers
    from skin_edge.edge_runtime.cli import run

    folder = tmp_path_factory.mktemp("there")
    data = miniatures.class_folders(folder / "data", images=20, codes=("mel", "nv", "bcc"))
    assert run(["bundle", "--out", str(folder / "b.zip")]) == 0
    command = [sys.executable, "-m", answers.__name__, str(folder / "b.zip")]
    (folder / "answers.jsonl").write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return {
        "MODEL": tiny_int8,
        "DATA": data,
        "DATA/mel/0.png": data / "mel" / "0.png",
        "BUNDLE": folder / "b.zip",
        "ANSWERS": folder / "answers.jsonl",
    }


@pytest.mark.parametrize("line", QUICK)
def test_a_command_says_so_and_leaves_what_was_there(line, there, tmp_path):
    if " old " in line:
        words = ["evaluate", there["MODEL"], there["DATA"], "--out", tmp_path / "old"]
        subprocess.run([sys.executable, "-m", "skin_edge.edge_runtime", *map(str, words)], check=True)
    before = ends_in_one_line(line, there, QUICK[line], tmp_path)
    after = state(tmp_path)
    made = sorted(path.name for path in after if path not in before)
    assert {path: after[path] for path in before} == before and made in ([], ["out"])
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("line", SLOW)
def test_a_training_a_search_and_a_conversion_say_so(line, there, learned_run, tmp_path):
    before = ends_in_one_line(line, there | {"RUN": learned_run}, SLOW[line], tmp_path)
    if not line.startswith(("train", "tune")):  # which go on with --resume
        assert state(tmp_path) == before
        return
    assert not list(tmp_path.rglob(".*"))
    if (tmp_path / "out").exists():
        words = [str(there.get(word, word)) for word in line.split()]
        subprocess.run([sys.executable, "-m", "skin_edge.edge_runtime", *words, "--resume"], cwd=tmp_path, check=True)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's place of temporary files, for this test."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_what_lies_in_a_temporary_folder_goes_with_it(temporary):
    with files.temporary_folder() as folder:
        assert folder.parent == temporary and folder.stat().st_mode & 0o777 == 0o700
        with tempfile.NamedTemporaryFile() as of_a_library:
            assert Path(of_a_library.name).parent == folder
    assert list(temporary.iterdir()) == [] and tempfile.gettempdir() == str(temporary)


def test_the_temporary_folder_of_a_killed_process_goes_next_time(temporary):
    script = (
        "import sys, tempfile, time; from skin_edge.edge_runtime import files\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "with files.temporary_folder() as folder:\n"
        "    (folder / 'a').write_text('a'); print('held', flush=True); time.sleep(60)\n"
    )
    process = started(script, temporary)
    assert process.stdout.readline() == "held\n"
    with files.temporary_folder():
        assert len(list(temporary.iterdir())) == 2  # that of the living stays
    killed(process)
    assert len(list(temporary.iterdir())) == 1
    with files.temporary_folder() as folder:
        assert list(temporary.iterdir()) == [folder]


class OfTensorFlow(Exception):
    __module__ = "tensorflow.python.framework.errors_impl"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OfTensorFlow(f"/tmp/x; {os.strerror(errno.ENOSPC)}\nmore")],
)
def test_no_room_for_temporary_files_is_no_fault_of_what_is_read(error, temporary):
    with pytest.raises(UnwritableError) as said, files.temporary_folder():
        raise error
    assert str(said.value).startswith(f"{temporary} cannot be written (No space left on device): make room there, or ")
    with pytest.raises(PermissionError), files.temporary_folder():
        raise PermissionError(errno.EACCES, "of a file that is read")


def test_a_mapped_file_has_its_room_before(temporary, monkeypatch):
    with files.temporary_file(3 << 20) as file:
        status = os.fstat(file.fileno())
        assert status.st_size == 3 << 20 and status.st_blocks * 512 >= 3 << 20
        assert file.read(10) == bytes(10)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(UnwritableError, match="make room there"), files.temporary_file(10):
        pass


def test_without_any_place_for_temporary_files(monkeypatch):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(UnwritableError, match="name another folder in TMPDIR"), files.temporary_folder():
        pass


def test_the_database_of_a_search_says_what_the_disk_says(tmp_path):
    pytest.importorskip("optuna")
    import sqlite3

    import optuna
    from sqlalchemy.exc import OperationalError

    from skin_edge.edge_runtime.errors import DataError
    from skin_edge.train import tune

    settings = tune.TuneSettings(miniatures.settings(tmp_path, tmp_path / "out"))

    def fails():
        try:
            raise sqlite3.OperationalError("database or disk is full")
        except sqlite3.OperationalError as error:
            raise OperationalError("UPDATE", None, error) from error

    for kind in (None, optuna.exceptions.StorageInternalError("at the commit")):
        for storage, wanted in ((None, UnwritableError), ("mysql://me:secret@host/x", DataError)):
            with pytest.raises(wanted) as said, tune._storing(tune.replace(settings, storage=storage)):
                try:
                    fails()
                except OperationalError as error:
                    if kind is None:
                        raise
                    raise kind from error
            assert "database or disk is full" in str(said.value) and "secret" not in str(said.value)
