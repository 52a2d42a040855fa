from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from skin_edge.convert.commands.summary import story
from skin_edge.convert.quickstart import Quickstart
from skin_edge.edge_runtime.classifier import DISCLAIMER, Prediction
from skin_edge.edge_runtime.cli import run

from .miniatures import one_line


@pytest.mark.slow
def test_the_whole_job_in_minutes(tmp_path, capsys):
    out = tmp_path / "quickstart"
    assert run(["quickstart", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "synthetic" in told and told.endswith(DISCLAIMER + "\n")
    assert max(len(line) for line in told.splitlines() if str(tmp_path) not in line) <= 80
    minutes = float(told.split("Done in ")[1].split()[0])
    assert minutes < 5

    assert (
        run(["bench", str(out / "int8" / "model_int8.tflite"), "--data", str(out / "run" / "split.csv"), "--json"]) == 0
    )
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    assert accuracy["model"]["balanced_accuracy"] >= 0.6
    assert accuracy["model"]["n"] > 100


def test_an_output_that_exists_is_not_touched(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert run(["quickstart", "--out", str(tmp_path)]) == 2
    assert "exists already" in one_line(capsys)


def test_the_guide_shows_what_is_printed():
    out = Path("quickstart")
    test = {
        "n": 137,
        "per_class": dict.fromkeys(("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")),
        "balanced_accuracy": 0.913,
        "accuracy": 0.912,
        "majority_class": "akiec",
        "majority_class_baseline": 0.146,
    }
    accuracy = {
        "model": {"balanced_accuracy": 0.927},
        "reference": {"balanced_accuracy": 0.913},
        "difference": {"balanced_accuracy": {"interval": [-0.013, 0.048]}},
        "agreement": 0.964,
    }
    done = Quickstart(
        seconds=1.6 * 60,
        images=658,
        lesions=490,
        data=out / "synthetic",
        run=out / "run",
        model=out / "int8/model_int8.tflite",
        metrics={"test": test},
        conversion={"bytes": {"model_int8.tflite": 288_000, "model_float32.tflite": 877_000}},
        bench={"accuracy": accuracy, "latency": {"median_ms": 0.7}, "ratios": {"median_ms": 0.93}},
        image=out / "SYNTHETIC_00003.jpg",
        truth="akiec",
        prediction=Prediction("akiec", {"akiec": 0.968, "bcc": 0.029, "bkl": 0.002}, 0.1, 0.1),
    )
    guide = (Path(__file__).parents[1] / "docs/training.md").read_text(encoding="utf-8")
    said = str(story(done))
    assert textwrap.indent(said, "    ") in guide
    assert max(map(len, said.splitlines())) <= 80
