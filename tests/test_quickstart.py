from __future__ import annotations

import json

import pytest

from skin_edge.edge_runtime.classifier import DISCLAIMER
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
