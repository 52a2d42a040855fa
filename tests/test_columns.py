"""What the commands print for people keeps to 80 columns, whatever pictures and settings are called.

`predict` has one line for each picture where a program reads it, and as many as it takes on a terminal.
"""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from skin_edge.edge_runtime import console
from skin_edge.edge_runtime.cli import run
from skin_edge.train.reports import tune_results

from . import miniatures

WIDE = "色素痣と黒色腫" * 6


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Class folders whose pictures have long names of wide letters."""
    folder = miniatures.class_folders(tmp_path_factory.mktemp("columns") / "data", 5, ("mel", "nv", "bkl"))
    for path in sorted(folder.rglob("*.png")):
        path.rename(path.with_name(f"{WIDE} {path.stem}.png"))
    (folder / "nv" / f"{WIDE} broken.png").write_bytes(b"no picture")
    return folder


QUICK = "--num-runs 1 --warmup-runs 0 --cold-starts 0"


@pytest.mark.parametrize("line", [
    "info MODEL",
    "evaluate MODEL DATA",
    f"bench MODEL {QUICK}",
    f"bench MODEL --reference FLOAT --data GOOD {QUICK}",
    f"bench MODEL FLOAT --reference FLOAT --data GOOD {QUICK}",
    "data DATA",
])  # fmt: skip
def test_what_is_printed_keeps_to_80_columns(line, data, tiny_int8, tiny_float32, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(tiny_int8, "int8.tflite")
    shutil.copy(tiny_float32, "float.tflite")
    shutil.copytree(data, "data")
    shutil.copytree(data, "good", ignore=shutil.ignore_patterns("*broken*"))
    words = {"MODEL": "int8.tflite", "FLOAT": "float.tflite", "DATA": "data", "GOOD": "good"}
    assert run([words.get(word, word) for word in line.split()]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown and [one for one in shown if console.columns_of(one) > console.WIDTH] == []


def test_the_summary_of_a_search_keeps_to_80_columns(tmp_path):
    name = WIDE
    trial = {
        "trial": 12, "state": "complete", "value": 0.5, "settings": {name: f"{WIDE} {WIDE}"}, "defaults": False,
        "error": None, "epochs": 3, "seconds": 1.0, "curve": [0.4, 0.5],
    }  # fmt: skip
    result = {
        "best": trial, "defaults": trial, "gain": 0.0, "figure": "balanced_accuracy", "trials": [trial] * 20,
        "train": "skin-edge train", "study": WIDE, "recipe": {"name": WIDE, WIDE: f"{WIDE} {WIDE}"}, "seed": 42,
        "importances": {name: 0.5},
        "images": {"train": 20, "val": 5, "test": 5}, "search": {name: {"one_of": [f"{WIDE} {WIDE}"]}},
    }  # fmt: skip
    lines = str(tune_results.text(result, tmp_path)).splitlines()
    assert [one for one in lines if console.columns_of(one) > console.WIDTH and str(tmp_path) not in one] == []
    assert any(WIDE[:5] in one for one in lines)


def on_a_terminal(*words, columns=80):
    """The lines that a command prints on a terminal."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    child, terminal = pty.fork()
    if not child:
        fcntl.ioctl(
            1, termios.TIOCSWINSZ, (24).to_bytes(2, sys.byteorder) + columns.to_bytes(2, sys.byteorder) + bytes(4)
        )
        os.execv(sys.executable, [sys.executable, "-m", "skin_edge.edge_runtime", *map(str, words)])
    shown = b""
    try:
        while part := os.read(terminal, 65536):
            shown += part
    except OSError:  # Linux: the other end is closed
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return shown.decode().replace("\r\n", "\n").splitlines()


def test_answers_and_reports_wrap_on_a_terminal(picture, tmp_path):
    # Drawn pictures show no lesion.
    shown = on_a_terminal("predict", "--assess-anything", picture(), picture(name="second picture.jpg"))
    path, *answer = shown[1:4]
    assert path.endswith("picture.jpg") or "picture.jpg  " in path
    assert [one for one in shown if len(one) > 80 and str(tmp_path) not in one] == []
    assert sum("threshold" in one or "refer" in one for one in shown) == 2 and any(
        one.startswith("    ") for one in answer
    )
    assert len(on_a_terminal("predict", "--assess-anything", picture(), columns=600)) == 3


def test_what_is_reported_wraps_on_a_terminal_alone(monkeypatch, capsys):
    line = "a report of many words " * 8
    console.report(line)
    assert capsys.readouterr().err == line + "\n"
    monkeypatch.setattr(console, "is_terminal", lambda stream: True)
    console.report(line)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 80 and lines[1].startswith("  many")
    console.say_parts(["name", *["0123456789"] * 8, "x" * 90])
    assert capsys.readouterr().out.splitlines() == [
        "name" + "  0123456789" * 6, "    0123456789  0123456789", "    " + "x" * 90
    ]  # fmt: skip
