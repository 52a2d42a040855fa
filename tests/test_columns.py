"""What the commands print for people keeps to 80 columns, whatever pictures and settings are called.

`predict` alone does not: it has one line for each picture, for programs too.
"""

from __future__ import annotations

import shutil

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
