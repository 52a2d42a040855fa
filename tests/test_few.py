"""A figure from a handful of images says so beside it, in every report; one from none is not known."""

from __future__ import annotations

import json

import pytest

from skin_edge.benchmarks.report import bench_report, markdown, page, terminal
from skin_edge.benchmarks.stats import few
from skin_edge.edge_runtime.cli import run

from . import miniatures

SAID = "Fewer than 10 images, so the figures say little: "


def test_the_sentence_names_what_has_few_and_not_what_has_none():
    assert few.sentence({"mel": 9, "nv": 10, "df": 0, "vasc": 1}) == f"{SAID}mel (9), vasc (1)"
    assert few.sentence({"nv": 10, "df": 0}) == ""
    points = [
        {"target": "mel", "n_positive": 3, "n_negative": 40},
        {"target": "mel", "n_positive": 3, "n_negative": 40},
    ]
    assert few.of_points(points) == f"{SAID}mel (3)"
    assert few.of_points([{"target": "mel", "n_positive": 30, "n_negative": 4}]) == f"{SAID}not mel (4)"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve nevi, two melanomas, and nothing else."""
    data = miniatures.class_folders(tmp_path_factory.mktemp("few") / "data", 12, ("nv",))
    return miniatures.class_folders(data, 2, ("mel",))


def test_a_benchmark(data, tiny_int8, tiny_float32, tmp_path, capsys):
    quick = ["--data", str(data), "--num-runs", "2", "--warmup-runs", "1", "--cold-starts", "0", "--json"]
    assert run(["bench", str(tiny_int8), *quick]) == 0
    one = json.loads(capsys.readouterr().out)
    assert run(["bench", str(tiny_int8), str(tiny_float32), *quick]) == 0
    two = json.loads(capsys.readouterr().out)
    assert one["accuracy"]["model"]["per_class"]["df"]["sensitivity"] is None
    for document in (bench_report.document(one), bench_report.document(two)):
        assert f"{SAID}mel (2)" in " ".join(terminal.text(document).split())
        assert f"{SAID}mel (2)." in page.page(document)
        assert f"{SAID}mel (2)." in markdown.markdown(document).replace("\\", "")


def test_an_evaluation(data, tiny_int8, tmp_path, capsys):
    assert run(["evaluate", str(tiny_int8), str(data), "--out", str(tmp_path / "out")]) == 0
    assert f"{SAID}mel (2)." in " ".join(capsys.readouterr().out.split())
    for name in ("report.html", "figures.md"):
        assert f"{SAID}mel (2)" in (tmp_path / "out" / name).read_text(), name


def test_a_training_and_a_comparison(measured_run, tmp_path, capsys):
    from skin_edge.train.reports import run_report

    results = json.loads((measured_run / "metrics.json").read_text())
    few_classes = few.of_classes(results["test"]["per_class"])
    assert few_classes, "the miniature has few images"
    assert few_classes in " ".join(run_report.trained(results, measured_run).split())
    assert few_classes in (measured_run / "report.html").read_text()
    assert run(["compare", str(measured_run), str(measured_run), "--out", str(tmp_path / "x.html")]) == 0
    assert few_classes in " ".join(capsys.readouterr().out.split())
    assert few_classes in (tmp_path / "x.html").read_text()
