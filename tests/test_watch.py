"""A watched folder: each picture is answered once, when it is whole, however often the watcher is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from skin_edge.edge_runtime.bulk import watch
from skin_edge.edge_runtime.cli import run

from . import miniatures
from .miniatures import one_line
from .test_bulk import until

COMMAND = [sys.executable, "-m", "skin_edge.edge_runtime", "watch"]
QUICK = ["--settle", "0.3", "--refuse-after", "1.5"]


@pytest.fixture
def inbox(tmp_path):
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def records(out):
    return [json.loads(line) for line in out.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def names(out):
    return Counter(record["file"] for record in records(out)) if out.exists() else Counter()


@contextmanager
def watching(model, folder, out, *flags):
    process = subprocess.Popen(
        [*COMMAND, model, folder, "--out", out, *QUICK, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def content(seed=0):
    import io

    file = io.BytesIO()
    miniatures.picture(list(miniatures.COLOURS)[seed % 7], seed, (16, 12)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("flags", [[], ["--poll", "0.2"]])
def test_what_arrives_is_answered_when_it_is_whole(flags, inbox, tiny_int8):
    if not flags:
        pytest.importorskip("watchfiles")
    (inbox / "early.jpg").write_bytes(content(4))
    os.mkfifo(inbox / "pipe.jpg")
    os.mkfifo(inbox / "pipe")
    (inbox / "loop").symlink_to(inbox)
    out = inbox / "answers.jsonl"
    with watching(tiny_int8, inbox, out, "--json", *flags) as process:
        until(lambda: names(out)["early.jpg"])
        (inbox / "broken.jpg").write_bytes(b"no picture")
        whole = content(1)
        with (inbox / "slow.jpg").open("wb") as file:
            for start in range(0, len(whole), 150):  # slower than --settle in the middle
                file.write(whole[start : start + 150])
                file.flush()
                time.sleep(0.6 if start == 300 else 0.05)
        (inbox / "part.jpg.part").write_bytes(content(2))
        (inbox / ".hidden.jpg").write_bytes(content(2))
        (inbox / "~temporary.jpg").write_bytes(content(2))
        (inbox.parent / "moved" / "deep").mkdir(parents=True)
        (inbox.parent / "moved" / "deep" / "a.jpg").write_bytes(content(3))
        (inbox.parent / "moved").rename(inbox / "moved")
        until(lambda: {"slow.jpg", "moved/deep/a.jpg", "broken.jpg", "pipe.jpg"} <= set(names(out)))
        assert "part.jpg" not in names(out)
        (inbox / "part.jpg.part").rename(inbox / "part.jpg")
        until(lambda: names(out)["part.jpg"])
        (inbox / "early.jpg").write_bytes(content(5))  # another picture by the same name
        until(lambda: names(out)["early.jpg"] == 2)
        for _ in range(3):  # one ends it, and more change nothing, also while it closes its processes
            process.send_signal(signal.SIGTERM)
            time.sleep(0.02)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert [json.loads(line) for line in said.splitlines()] == records(out)
    assert set(names(out)) == {"early.jpg", "slow.jpg", "moved/deep/a.jpg", "broken.jpg", "part.jpg", "pipe.jpg"}
    assert Counter(names(out).values()) == {1: 5, 2: 1}
    labels = {record["file"]: record.get("label", record.get("error")) for record in records(out)}
    assert labels["slow.jpg"] == "bcc" and labels["early.jpg"] == "nv"
    assert "is a pipe" in labels["pipe.jpg"] and "is not an image" in labels["broken.jpg"]
    before = out.read_bytes()
    assert run(["watch", str(tiny_int8), str(inbox), "--out", str(out), "--once", *QUICK]) == 0
    assert out.read_bytes() == before


def dropped(inbox, out, count, kills, command):
    """`count` pictures come slowly while the watcher is killed; one in 50 is broken. Returns the names."""
    chance = random.Random(7)
    expected = {f"{number % 3}/{number:03}.jpg" for number in range(count)}

    def drop():
        for name in sorted(expected, key=lambda name: name[2:]):
            path = inbox / name
            path.parent.mkdir(exist_ok=True)
            whole = content(int(path.stem))
            if int(path.stem) % 50 == 9:
                whole = b"broken" * 50
            if chance.random() < 0.5:
                (path.parent / f"{path.name}.tmp").write_bytes(whole)
                (path.parent / f"{path.name}.tmp").rename(path)
            else:
                with path.open("wb") as file:
                    file.write(whole[:200])
                    file.flush()
                    time.sleep(0.01)
                    file.write(whole[200:])
            time.sleep(0.01)

    thread = threading.Thread(target=drop)
    thread.start()
    for kill in range(kills):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        least = (kill + 1) * count // (kills + 2)
        until(lambda least=least: sum(names(out).values()) >= least, 120)
        process.kill()
        process.wait()
        if kill % 2:
            with out.open("ab") as file:
                file.write(b'{"file": "half a line')
    thread.join()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until(lambda: sum(names(out).values()) >= count, 120)
    process.terminate()
    assert process.wait(30) == 0
    return expected


def each_once(inbox, out, count, kills, model):
    expected = dropped(inbox, out, count, kills, [*COMMAND, model, inbox, "--out", out, *QUICK])
    assert names(out) == Counter(expected)
    refused = {record["file"] for record in records(out) if "error" in record}
    assert refused == {name for name in expected if int(name[2:5]) % 50 == 9}


def test_each_is_answered_once_although_it_is_killed(inbox, tiny_int8, tmp_path):
    pytest.importorskip("watchfiles")
    each_once(inbox, tmp_path / "answers.jsonl", 60, 2, tiny_int8)


@pytest.mark.slow
def test_five_hundred_are_answered_once_although_it_is_killed_five_times(inbox, tiny_int8, tmp_path):
    pytest.importorskip("watchfiles")
    each_once(inbox, tmp_path / "answers.jsonl", 500, 5, tiny_int8)


def test_once_says_by_its_exit_code_what_could_not_be_assessed(inbox, tiny_int8, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    command = ["watch", str(tiny_int8), str(inbox), "--out", str(out), "--once", "--settle", "0.1"]
    assert run(command) == 0  # nothing is there
    (inbox / "a.jpg").write_bytes(content())
    (inbox / "b.jpg").write_bytes(b"no picture")
    os.utime(inbox / "b.jpg", (0, 0))  # long ago: nobody is writing it
    capsys.readouterr()
    assert run(command) == 1
    assert "b.jpg  cannot assess: " in capsys.readouterr().err
    assert list(names(out)) == ["a.jpg", "b.jpg"]
    assert run(command) == 0  # nothing is new
    capsys.readouterr()
    assert run([*command, "--top-k", "1"]) == 2
    assert "with top k null, not 1" in one_line(capsys)


def test_a_folder_that_goes_away_is_waited_for(inbox, tiny_int8, tmp_path):
    out = tmp_path / "answers.jsonl"
    with watching(tiny_int8, inbox, out, "--poll", "0.2") as process:
        (inbox / "a.jpg").write_bytes(content())
        until(lambda: names(out)["a.jpg"])
        inbox.rename(tmp_path / "away")
        time.sleep(0.5)
        assert process.poll() is None
        (tmp_path / "away" / "b.jpg").write_bytes(content(1))
        (tmp_path / "away").rename(inbox)
        until(lambda: names(out)["b.jpg"])
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert said.count("cannot be listed: No such file or directory: waiting for it") == 1
    assert names(out) == {"a.jpg": 1, "b.jpg": 1}


WRONG = {
    "watch MODEL absent --out a.jsonl": "absent is not a folder",
    "watch MODEL inbox --out a.csv": "name a file that ends in .jsonl",
    "watch MODEL inbox other --out a.jsonl": "name one model, or none, and one folder",
    "watch MODEL inbox --out absent.txt/a.jsonl": "absent.txt/a.jsonl cannot be written",
    "watch MODEL inbox --out a.jsonl --metadata age=3": "takes no metadata",
    "watch MODEL inbox --out a.jsonl --operating-point x": "unknown operating point 'x'",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_one_line(line, inbox, tiny_int8, capsys, monkeypatch):
    monkeypatch.chdir(inbox.parent)
    Path("absent.txt").write_text("")
    assert run([str(tiny_int8) if word == "MODEL" else word for word in line.split()]) == 2
    assert WRONG[line] in one_line(capsys)


def test_without_watchfiles_it_says_what_to_install(inbox, tiny_int8, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert run(["watch", str(tiny_int8), str(inbox), "--out", str(tmp_path / "a.jsonl")]) == 1
    assert 'pip install "skin-edge[watch]"' in one_line(capsys)
    assert not (tmp_path / "a.jsonl").exists()


def test_the_time_of_change_is_exact(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"12")
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    assert watch.state_of(str(path)) == {"size": 2, "modified": "2023-11-14T22:13:20.123456789Z"}
    os.utime(path, ns=(0, -1_000_000_000))
    assert watch.state_of(str(path))["modified"] == "1969-12-31T23:59:59.000000000Z"


def test_signs_are_taken_together_and_stop_at_once():
    signs = watch.Signs()
    timer = threading.Timer(0.1, signs.stop)
    timer.start()
    assert signs.wait(30) == (set(), []) and signs.stopped()
