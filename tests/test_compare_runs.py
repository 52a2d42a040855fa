"""`skin-edge compare`: runs side by side."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skin_edge.benchmarks.stats import metrics
from skin_edge.edge_runtime.classifier import DISCLAIMER
from skin_edge.edge_runtime.cli import run

from .miniatures import one_line

CODES = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]


def compare(*arguments):
    return run(["compare", *map(str, arguments)])


@pytest.fixture
def two(measured_run, tmp_path):
    """A run and one whose test answers are better: half of the errors are mended."""
    other = shutil.copytree(measured_run, tmp_path / "other")
    table = pd.read_csv(other / "predictions.csv")
    wrong = table.index[(table["split"] == "test") & (table["predicted"] != table["label"])]
    for row in wrong[: max(1, len(wrong) // 2)]:
        table.loc[row, [f"p_{code}" for code in CODES]] = [float(code == table["label"][row]) for code in CODES]
        table.loc[row, "predicted"] = table["label"][row]
    table.iloc[::-1].to_csv(other / "predictions.csv", index=False)  # the order of the rows says nothing
    return measured_run, other


def scores(folder):
    table = pd.read_csv(folder / "predictions.csv").query("split == 'test'").sort_values("image_id")
    return table["label"].map(CODES.index).to_numpy(), table[[f"p_{code}" for code in CODES]].to_numpy(), table["group"]


def test_figures_and_paired_differences_are_those_of_the_predictions(two, capsys):
    assert compare(*two, "--json") == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    y_true, a, groups = scores(two[0])
    _, b, _ = scores(two[1])
    for one, p in zip(found["runs"], (a, b), strict=True):
        alone = metrics.evaluate(y_true, p, CODES, groups.to_numpy(str))
        for name in ("balanced_accuracy", "accuracy", "macro_auc"):
            assert one["figures"][name]["value"] == pytest.approx(alone[name])
            assert one["figures"][name]["interval"] == pytest.approx(alone["intervals"][name])
        assert one["figures"]["sensitivity_mel"]["value"] == alone["per_class"]["mel"]["sensitivity"]
        assert one["figures"]["ece"]["value"] == pytest.approx(metrics.calibration(y_true, p)["ece"])
        assert one["majority_class_baseline"] == alone["majority_class_baseline"]
    paired = metrics.paired_interval(y_true, a, b, groups.to_numpy(str))
    for name in ("balanced_accuracy", "accuracy", "macro_auc"):
        row = found["paired"][0]["differences"][name]
        assert row["difference"] == pytest.approx(paired[name]["difference"])
        assert row["interval"] == pytest.approx(paired[name]["interval"])
    assert found["paired"][0]["differences"]["accuracy"]["difference"] > 0
    assert found["paired"][0]["mcnemar"]["only_first_right"] == 0
    assert found["warnings"] == []


def test_who_still_chooses_compares_the_validation_parts(two, capsys):
    assert compare(*two, "--part", "validation", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    rows = pd.read_csv(two[0] / "predictions.csv").query("split == 'val'")
    assert found["part"] == "validation"
    assert found["runs"][0]["n"] == len(rows)
    assert found["runs"][0]["figures"]["accuracy"]["value"] == pytest.approx(
        (rows["predicted"] == rows["label"]).mean()
    )
    assert found["paired"][0]["differences"]["accuracy"]["difference"] == 0  # only test answers were mended
    assert compare(*two, "--part", "validation") == 0
    out = capsys.readouterr().out
    assert "validation images" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_table_fits_a_terminal(two, measured_run, tmp_path, capsys):
    assert compare(*two) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    for said in (
        "balanced accuracy",
        "always the commonest",
        "AUC malignant",
        "sensitivity mel",
        "ECE",
        "paired",
        DISCLAIMER,
    ):
        assert said in out
    many = [shutil.copytree(measured_run, tmp_path / f"run-with-a-long-name-{'x' * 30}-{i}") for i in range(7)]
    assert compare(*many) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_other_test_images_are_refused_or_shown_apart(two, capsys):
    table = pd.read_csv(two[1] / "predictions.csv")
    test = table.index[table["split"] == "test"]
    table.drop(index=test[:2]).to_csv(two[1] / "predictions.csv", index=False)
    assert compare(*two) == 2
    assert f"{len(test) - 2} in common" in one_line(capsys)
    assert compare(*two, "--different-data") == 0
    shown = capsys.readouterr()
    assert "NOT THE SAME TEST IMAGES" in shown.out
    assert "minus 1, paired" not in shown.out
    assert "other test images" in shown.err


def test_other_labels_of_the_same_images_are_refused(two, capsys):
    table = pd.read_csv(two[1] / "predictions.csv")
    first = table.index[table["split"] == "test"][0]
    table.loc[first, "label"] = "nv" if table["label"][first] != "nv" else "mel"
    table.to_csv(two[1] / "predictions.csv", index=False)
    assert compare(*two) == 2
    assert "other labels" in one_line(capsys)


def test_an_evaluation_stands_beside_a_run(tiny_run, tmp_path, capsys):
    assert run(["evaluate", str(tiny_run), str(tiny_run / "split.csv"), "--out", str(tmp_path / "same")]) == 0
    capsys.readouterr()
    assert compare(tiny_run, tmp_path / "same", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["paired"][0]["differences"]["balanced_accuracy"] == {"difference": 0, "interval": [0, 0]}


def test_files(two, tmp_path, capsys):
    for suffix in ("html", "png", "csv"):
        assert compare(*two, "--out", tmp_path / f"out.{suffix}") == 0
    page = (tmp_path / "out.html").read_text()
    assert DISCLAIMER in page and "<svg" in page and "src=" not in page
    with Image.open(tmp_path / "out.png") as picture:
        assert np.asarray(picture).std() > 5
    capsys.readouterr()
    assert compare(*two, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = {(row["run"], row["figure"]): row for row in csv.DictReader(file)}
    for one in found["runs"]:
        for key, figure in one["figures"].items():
            assert float(rows[one["name"], key]["value"]) == figure["value"]
            assert f"{figure['value']:.3f}" in page
    assert compare(*two, "--out", tmp_path / "out.csv") == 2
    assert "exists already" in one_line(capsys)
    assert compare(*two, "--out", tmp_path / "out.pdf") == 2
    assert "must end in" in one_line(capsys)


def test_one_run_or_no_run_is_said(measured_run, tmp_path, capsys):
    assert compare(measured_run) == 2
    assert "two runs or more" in one_line(capsys)
    assert compare(measured_run, tmp_path) == 1
    assert "has no predictions.csv" in one_line(capsys)
