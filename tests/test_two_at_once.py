"""Two commands at one folder, and commands that are killed: the second is told, and outputs are whole or not there."""

from __future__ import annotations

import json
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime import locks
from skin_edge.edge_runtime.cli import run

from . import miniatures
from .miniatures import MOBILENET, one_line

COMMAND = [sys.executable, "-m", "skin_edge.edge_runtime.cli"]


def started(*arguments):
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    "command", ["train DATA --out OUT", "train DATA --out OUT --resume", "train DATA --out OUT --folds 3",
                "tune DATA --out OUT", "data DATA --out OUT", "evaluate MODEL DATA --out OUT"],
)  # fmt: skip
def test_the_second_is_told_who_holds_the_folder(tmp_path, tiny_int8, capsys, command):
    data = miniatures.class_folders(tmp_path / "data")
    words = {"DATA": str(data), "OUT": str(tmp_path / "out"), "MODEL": str(tiny_int8)}
    with locks.locked(tmp_path / "out", "skin-edge train"):
        assert run([words.get(word, word) for word in command.split()]) == 2
    assert f"skin-edge train is writing {tmp_path / 'out'} (process " in one_line(capsys)
    assert not (tmp_path / "out").exists()


def killed_at_random(out, arguments, seconds, times, is_whole):
    """Runs and kills; returns how often the output was there, whole, after a kill."""
    found = 0
    for number in range(times):
        process = started(*arguments)
        time.sleep(random.Random(number).uniform(0.2, 1.1) * seconds)
        process.kill()
        process.communicate()
        if out.exists():
            assert is_whole(out)
            found += 1
    assert run([*map(str, arguments)]) == 0  # what was left behind blocks nothing
    assert is_whole(out)
    assert not [path.name for path in out.parent.iterdir() if path.name.startswith(f".{out.name}")]
    return found


def is_evaluation(out):
    table, figures = pd.read_csv(out / "predictions.csv"), json.loads((out / "metrics.json").read_text())
    return {path.name for path in out.iterdir()} == {
        "predictions.csv",
        "metrics.json",
        "report.html",
        "figures.md",
    } and (len(table) == figures["data"]["images"]["evaluated"])


@pytest.mark.slow
def test_a_killed_evaluation_is_whole_or_not_there(tiny_int8, tmp_path):
    data = miniatures.class_folders(tmp_path / "data", images=10, codes=("mel", "nv", "bcc"))
    arguments = ["evaluate", tiny_int8, data, "--out", tmp_path / "out", "--overwrite"]
    begun = time.monotonic()
    assert started(*arguments).wait() == 0
    killed_at_random(tmp_path / "out", arguments, time.monotonic() - begun, 20, is_evaluation)


@pytest.mark.slow
def test_a_killed_inspection_is_whole_or_not_there(tmp_path):
    data = miniatures.class_folders(tmp_path / "data", images=10)
    arguments = ["data", data, "--out", tmp_path / "out"]
    begun = time.monotonic()
    assert started(*arguments).wait() == 0
    seconds = time.monotonic() - begun
    for number in range(10):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        process = started(*arguments)
        time.sleep(random.Random(number).uniform(0.2, 1.1) * seconds)
        process.kill()
        process.communicate()
        if (tmp_path / "out").exists():
            assert {"data.json", "duplicates.csv", "class-mel.png"} & {p.name for p in (tmp_path / "out").iterdir()}
            assert json.loads((tmp_path / "out" / "data.json").read_text())["images"] == 20


@pytest.mark.slow
def test_a_killed_conversion_is_whole_or_not_there(tiny_run, tmp_path):
    out = tmp_path / "int8"
    arguments = ["convert", tiny_run, "--int8", "--ptq", "--out", out, "--overwrite"]
    begun = time.monotonic()
    assert started(*arguments).wait() == 0
    names = {path.name for path in out.iterdir()}
    killed_at_random(
        out, arguments, time.monotonic() - begun, 10, lambda folder: {p.name for p in folder.iterdir()} == names
    )


@pytest.mark.slow
def test_a_killed_search_goes_on(ham, tmp_path):
    out = tmp_path / "out"
    arguments = ["tune", ham, "--out", out, "--recipe", "quickstart", "--set", "epochs=1", "--trials", "2"]
    for number in range(10):
        process = started(*arguments, *(["--resume"] if out.exists() else []))
        time.sleep(random.Random(number).uniform(1, 12))
        process.kill()
        process.communicate()
    process = started(*arguments, "--resume")
    said = process.communicate()[1]
    assert process.returncode == 0 or "--trials" in said, said
    assert json.loads((out / "tune.json").read_text())["best"] is not None


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_says_how_it_goes_on(ham, tmp_path, number, code):
    out = tmp_path / "the run"
    arguments = ["train", ham, "--out", out, *MOBILENET, "--epochs", "500", "--set", "early_stopping=500"]
    process = started(*arguments)
    deadline = time.monotonic() + 120
    while not (out / "checkpoints" / "epoch-0002").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate()[1]
    assert process.returncode == code
    line = said.splitlines()[-1].removeprefix("error: interrupted; to continue: ")
    assert shlex.split(line) == ["skin-edge", *map(str, arguments), "--resume"]
    assert "Traceback" not in said
    assert not list(tmp_path.rglob(".*"))
    ended = [word if word != "500" else "3" for word in shlex.split(line)[1:]]
    assert (
        "was started with other settings (epochs)"
        in subprocess.run([*COMMAND, *ended], capture_output=True, text=True).stderr
    )


@pytest.mark.slow
def test_two_trainings_fill_one_cache_once(ham, tmp_path):
    common = ["train", ham, *MOBILENET, "--epochs", "1", "--cache", tmp_path / "cache"]
    pair = [started(*common, "--out", tmp_path / name) for name in "ab"]
    said = [process.communicate()[1] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], said
    caches = list((tmp_path / "cache").iterdir())
    assert len(caches) == 1
    assert np.load(caches[0] / "pixels.npy").reshape(63, -1).max(axis=1).min() > 0
    assert (tmp_path / "a" / "predictions.csv").read_bytes() == (tmp_path / "b" / "predictions.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("resume", [False, True])
def test_two_trainings_of_one_run(ham, tiny_run, tmp_path, resume):
    out = tmp_path / "run"
    if resume:
        shutil.copytree(tiny_run, out)
        (out / "metrics.json").unlink()
    arguments = ["train", ham, "--out", out, *MOBILENET, "--epochs", "3", *(["--resume"] if resume else [])]
    pair = [started(*arguments) for _ in range(2)]
    said = [process.communicate()[1] for process in pair]
    assert sorted(process.returncode for process in pair) == [0, 2], said
    assert not any("Traceback" in text for text in said)
    assert (out / "predictions.csv").read_bytes() == (tiny_run / "predictions.csv").read_bytes()
