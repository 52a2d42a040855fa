"""Answers in bulk by a Dask cluster: the file of a single machine, whichever worker dies."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skin_edge.edge_runtime.bulk import answering, sources
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.model_file import read_model_file

from . import miniatures
from .miniatures import one_line

distributed = pytest.importorskip("distributed")
on_dask = importlib.import_module("skin_edge.edge_runtime.bulk.on_dask")


# A worker that is given such a picture ends at once.
POISON = """
import os, signal
from skin_edge.edge_runtime import preprocess
if preprocess._read.__name__ != "poisoned":  # it is loaded more than once
    reads = preprocess._read
def poisoned(file):
    if "poison" in getattr(file, "name", ""):
        os.kill(os.getpid(), signal.SIGKILL)
    if "fault" in getattr(file, "name", ""):
        raise ZeroDivisionError("a fault")
    return reads(file)
preprocess._read = poisoned
"""


class Kept:
    """A process that is started again when it ends: on a starved machine workers can die before they have begun."""

    def __init__(self, command, **options):
        self._start = lambda: subprocess.Popen(command, **options)
        self._process, self._ended = self._start(), threading.Event()
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()

    @property
    def pid(self):
        return self._process.pid

    def _keep(self):
        while True:
            self._process.wait()
            if self._ended.wait(0.2):
                return
            self._process = self._start()

    def end(self):
        self._ended.set()
        self._process.terminate()
        self._thread.join(60)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def cluster(folder, *flags):
    """(address, process of the workers) of a scheduler and two worker processes with a thread each."""
    file = folder / "scheduler.json"
    environment = os.environ | {
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "120s",
        "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "120s",
    }
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    local = ["--no-dashboard", "--host", "127.0.0.1"]
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--scheduler-file", file, *local],
        **quiet,
    )
    workers = None
    try:
        wait(file.exists)
        wait(file.read_text)
        address = json.loads(file.read_text())["address"]
        workers = Kept(
            [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nworkers", "2", "--nthreads", "1",
             "--local-directory", folder / "workers", *local, *flags],
            **quiet,
        )  # fmt: skip
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            wait(lambda: len(client.nthreads()) == 2)
        yield address, workers
    finally:
        if workers:
            workers.end()
        scheduler.terminate()
        scheduler.wait(30)


def wait(condition, seconds=180):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def living(nannies):
    """The processes that answer: the children of the nannies."""
    threads = Path(f"/proc/{nannies}/task").glob("*/children")
    found = [one for thread in threads for one in thread.read_text().split()]
    return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dask") / "clinic"
    folder.mkdir()
    for number in range(600):
        miniatures.picture(list(miniatures.COLOURS)[number % 7], number, (16, 12)).save(folder / f"{number:03}.jpg")
    (folder / "100.jpg").write_bytes(b"no picture")
    (folder / "200.jpg").unlink()
    os.mkfifo(folder / "200.jpg")
    return folder


@pytest.mark.slow
def test_a_worker_dies_and_the_file_is_the_same(clinic, tiny_int8, tmp_path, capsys):
    alone, out = tmp_path / "alone.jsonl", tmp_path / "answers.jsonl"
    assert run(["predict", str(tiny_int8), str(clinic), "--out", str(alone)]) == 1
    with cluster(tmp_path) as (address, workers):
        command = [str(tiny_int8), str(clinic), "--out", str(out), "--scheduler", address]
        process = subprocess.Popen([sys.executable, "-m", "skin_edge.edge_runtime", "predict", *command])
        wait(lambda: out.exists() and out.stat().st_size)
        os.kill(living(workers.pid)[0], signal.SIGKILL)
        assert process.wait(300) == 1
        assert out.read_bytes() == alone.read_bytes()
        assert run(["predict", *command, "--overwrite", "--by-path"]) == 1
        assert out.read_bytes() == alone.read_bytes()
    capsys.readouterr()
    assert run(["predict", *command, "--overwrite"]) == 2
    assert "no Dask scheduler answers there" in one_line(capsys)


@pytest.mark.slow
def test_a_picture_that_ends_workers_is_reported(tiny_int8, picture, tmp_path, capsys):
    for number in range(60):
        picture("mel", number, f"in/{number:02}.jpg")
    picture("mel", 0, "in/30-poison.jpg")
    (tmp_path / "poison.py").write_text(POISON)
    out = tmp_path / "answers.jsonl"
    with cluster(tmp_path, "--preload", str(tmp_path / "poison.py")) as (address, _):
        assert run(["predict", str(tiny_int8), str(tmp_path / "in"), "--out", str(out), "--scheduler", address]) == 1
        picture("mel", 0, "in/61-fault.jpg")
        flags = ["--out", str(tmp_path / "fault.jsonl"), "--scheduler", address]
        capsys.readouterr()
        assert run(["predict", str(tiny_int8), str(tmp_path / "in" / "61-fault.jpg"), *flags]) == 1
        assert "cannot go on: ZeroDivisionError on a worker: a fault" in one_line(capsys)
        (tmp_path / "in" / "61-fault.jpg").unlink()
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [Path(one["file"]).name for one in records] == sorted(path.name for path in (tmp_path / "in").iterdir())
    (refused,) = [one for one in records if "error" in one]
    assert refused["error"].endswith(f"30-poison.jpg: {answering.DIED}")


@pytest.fixture
def local():
    """A scheduler in this process, with no worker."""
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as made:
        yield made


def test_without_a_worker_it_ends_and_says_so(local, tiny_int8, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(on_dask, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(on_dask, "_SAY_SECONDS", 0.5)
    address = local.scheduler_address
    command = ["predict", str(tiny_int8), str(picture("mel")), "--out", str(tmp_path / "a.jsonl")]
    assert run([*command, "--scheduler", address, "--wait", "1"]) == 1
    first, *again, last = capsys.readouterr().err.splitlines()
    assert first == f"{address} has had no worker: waiting for one, 1 s in all"
    assert all("for 1 s: waiting" in line or "for 0 s: waiting" in line for line in again) and len(again) < 3
    assert f"error: {address} has had no worker for 1 s: start one (dask worker {address}), then run the same" in last
    threading.Timer(1, local.scale, [1]).start()  # one comes in time
    assert run([*command, "--scheduler", address, "--wait", "60", "--resume"]) == 0
    assert "has had no worker:" in capsys.readouterr().err
    assert run([*command, "--wait", "60"]) == 2 and "--scheduler" in one_line(capsys)


def test_pictures_that_were_sent_are_not_kept(local, tiny_int8, picture):
    """Dask logs its last 1000 messages, and each holds pictures."""
    local.scale(1)
    model, settings = read_model_file(tiny_int8), answering.Settings()
    with on_dask.Cluster(local.scheduler_address, model, settings, print) as cluster:
        for number in range(3):
            path = str(picture("mel", number))
            cluster.submit(number, [sources.Picture(path, path)])
            (report,) = cluster.reports()
            assert report.ended and report.answers[0].assessed
        assert not cluster._client.scheduler_comm.recent_message_log and not cluster._here
        wait(lambda: len(cluster._client.futures) <= 1)  # the last one: a thread of Dask may have it still
