"""`skin-edge bench A B ...`: several models side by side."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from skin_edge.benchmarks.accuracy import parity
from skin_edge.benchmarks.bench import BenchSettings, run_bench
from skin_edge.benchmarks.inputs.cases import read_cases
from skin_edge.benchmarks.report import bench_report
from skin_edge.benchmarks.stats import metrics
from skin_edge.edge_runtime.classifier import DISCLAIMER, SkinClassifier
from skin_edge.edge_runtime.cli import run

from . import miniatures
from .test_page import Outline

CODES = tuple(miniatures.COLOURS)
QUICK = ["--num-runs", "2", "--warmup-runs", "1", "--cold-starts", "0"]


def bench(*arguments):
    return run(["bench", *map(str, arguments), *QUICK])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return miniatures.class_folders(tmp_path_factory.mktemp("folders"), 5, CODES)


@pytest.fixture
def permuted(tiny_int8, tmp_path):
    """The int8 model with mel and nv exchanged, in a folder of its own under the same name."""

    def permute(contract):
        contract["labels"] = [contract["labels"][i] for i in (0, 1, 2, 3, 5, 4, 6)]

    (tmp_path / "permuted").mkdir()
    return miniatures.resealed(tiny_int8, tmp_path / "permuted" / tiny_int8.name, permute)


@pytest.fixture
def three(tiny_int8, permuted, tiny_int8_v1):
    return tiny_int8, permuted, tiny_int8_v1


def test_each_result_is_that_of_the_model_alone(three, tiny_float32, folders, capsys):
    assert bench(*three, "--reference", tiny_float32, "--data", folders, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert captured.err.endswith(DISCLAIMER + "\n")
    assert set(result) == {"measured_at", "machine", "data", "reference", "models", "gate"}
    assert [one["model"]["path"] for one in result["models"]] == [str(path) for path in three]
    for path, one in zip(three, result["models"], strict=True):
        alone = run_bench(BenchSettings(path, reference=tiny_float32, data=folders, num_runs=1, cold_starts=0))
        assert list(one) == list(alone)
        for key in ("model", "size", "network", "data", "accuracy"):
            assert one[key] == json.loads(json.dumps(alone[key])), key
        assert one["memory"]["measured"] == "in a process of its own"
        assert one["reference"]["latency"] == result["reference"]["latency"], "measured once"
    reference = run_bench(BenchSettings(tiny_float32, data=folders, num_runs=1, cold_starts=0))
    assert result["reference"]["accuracy"]["model"] == json.loads(json.dumps(reference["accuracy"]["model"]))
    assert result["reference"]["is_first_model"] is False
    # Exchanged labels: 10 of 35 pictures.
    assert [one["accuracy"]["agreement"] for one in result["models"]] == pytest.approx([1, 25 / 35, 1])


def test_without_a_reference_the_first_is_it(three, folders, capsys):
    assert bench(*three, "--data", folders, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["reference"]["is_first_model"] is True
    first, second, _ = result["models"]
    assert first["reference"] is first["ratios"] is first["accuracy"]["reference"] is None
    assert second["reference"]["model"] == first["model"]
    assert len(second["accuracy"]["flipped"]) == second["accuracy"]["mcnemar"]["only_reference_right"] == 10
    assert bench(*three) == 0
    out = capsys.readouterr().out
    assert "3 models, each compared with the first" in out and "(no --data), so accuracy was not measured" in " ".join(
        out.split()
    )


def test_the_gate_holds_for_every_model_and_names_the_one_that_fails(three, tiny_float32, folders, tmp_path, capsys):
    written = tmp_path / "result.json"
    arguments = [*three, "--reference", tiny_float32, "--data", folders, "--result-json", written]
    assert bench(*arguments, "--gate", "default") == 3
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert errors and all(line.startswith("error: gate: ") and f"permuted/{three[1].stem}: " in line for line in errors)
    assert any("min_agreement 0.98" in line and "most often mel to nv (5)" in line for line in errors)
    assert "Gate: FAILED" in captured.out and "The default limits" in captured.out
    gate = json.loads(written.read_text())["gate"]
    assert gate["passed"] is False and [one["passed"] for one in gate["models"]] == [True, False, True]
    assert bench(three[0], three[2], "--reference", tiny_float32, "--data", folders, "--gate", "default") == 0


def test_the_first_as_reference_is_held_to_the_limits_that_do_not_compare(three, folders, tmp_path, capsys):
    limits = tmp_path / "gate.yaml"
    limits.write_text("min_agreement: 0.9\nmax_file_mb: 0.000001\n")
    assert bench(three[0], three[2], "--data", folders, "--gate", limits, "--json") == 3
    captured = capsys.readouterr()
    judged = [[row["name"] for row in one["limits"]] for one in json.loads(captured.out)["gate"]["models"]]
    limits.write_text("min_agreement: 0.9\n")
    assert run(["bench", str(three[0]), str(three[2]), *QUICK, "--gate", str(limits)]) == 3  # no data
    assert "is the reference: no limit is for it" in capsys.readouterr().out
    assert judged == [["max_file_mb"], ["min_agreement", "max_file_mb"]]
    assert sum(line.startswith("error: gate: ") for line in captured.err.splitlines()) == 2


def test_the_terminal_stays_within_80_columns(three, tiny_float32, folders, capsys):
    arguments = ["--sweep", "--processes", 2, "--duration", 0.2, "--preprocessing", "--gate", "default"]
    assert bench(*three, "--reference", tiny_float32, "--data", folders, *arguments) == 3
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    gate = out[out.index("\nGate: FAILED") : out.index("\nAccuracy\n")].partition("\nThe times")[0].splitlines()
    assert len(gate) > 8 and not any(line.endswith("...") for line in gate), "a reason is not cut off"
    for said in ("model minus", "flipped: 10 from right to wrong", "sensitivity", "Sustained run", "processes"):
        assert said in out, said
    assert " ".join(out.split()).count("an app that prepares the picture otherwise") == 3
    assert out.endswith(DISCLAIMER + "\n")


def test_the_page_and_the_markdown_hold_every_model(three, tiny_float32, folders, tmp_path):
    page, text = tmp_path / "page.html", tmp_path / "report.md"
    arguments = [
        "--reference",
        tiny_float32,
        "--data",
        folders,
        "--gate",
        "default",
        "--html",
        page,
        "--markdown",
        text,
    ]
    assert bench(*three, *arguments) == 3
    outline = Outline(page.read_text())
    assert all(source.startswith(("data:image/jpeg;base64,", "#")) for source in outline.sources)
    ids = [piece.split('"')[0] for piece in page.read_text().split('<section id="')[1:]]
    assert len(ids) == len(set(ids)) and {"summary", "latency", "files"} <= set(ids)
    assert {source[1:] for source in outline.sources if source[0] == "#"} <= set(ids)
    assert "machine" in ids
    short = bench_report.names({"models": [{"model": {"path": str(path)}} for path in three]})
    assert all(f"Confusion matrix of {name}" in "".join(outline.texts) for name in short)
    markdown = text.read_text()
    for name in ("tiny\\_int8 |", "permuted/tiny\\_int8 |"):
        assert name in markdown
    assert "71.43% (54.95% to 83.67%)" in markdown and "71.43%" in " ".join(outline.texts)


def test_an_image_that_one_model_cannot_assess_counts_for_none(tiny_int8, tiny_float32, folders):
    class Sick(SkinClassifier):
        calls = 0

        def predict_pixels(self, pixels, vector=None):
            self.calls += 1
            if self.calls == 3:
                from skin_edge.edge_runtime.errors import PredictionError

                raise PredictionError("cannot assess: not finite")
            return super().predict_pixels(pixels, vector)

    cases = read_cases(folders, known_labels=CODES)
    models = [SkinClassifier(tiny_int8), Sick(tiny_int8)]
    both = parity.compare_all(SkinClassifier(tiny_float32), models, cases, bootstrap=20)
    assert [one["model"]["n"] for one in both] == [34, 34] and both[0] == both[1]
    assert [failure["image_id"] for failure in both[0]["failed"]] == [cases[2].image_id]


def test_wrong_use_is_one_line(tiny_int8, permuted, tmp_path, capsys):
    assert bench(tiny_int8, permuted, tiny_int8) == 2
    assert "is named twice" in miniatures.one_line(capsys)
    assert bench(tiny_int8, tmp_path / "gone.tflite") == 1
    assert "no such model" in miniatures.one_line(capsys)
    written = tmp_path / "several.json"
    assert bench(tiny_int8, permuted, "--result-json", written) == 0
    capsys.readouterr()
    assert run(["bench", "--compare", str(written), str(written)]) == 1
    assert "is of several models" in miniatures.one_line(capsys)


@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        (["runs/a/m.tflite", "runs/b/m.tflite"], ["a", "b"]),
        (["m.tflite", "d/m.tflite"], ["m", "d/m"]),
        (["x/one.tflite", "x/two.tflite"], ["one", "two"]),
        (["C:\\a\\m.tflite", "C:\\b\\m.tflite"], ["a", "b"]),
        (["a/reference.tflite", "a/other.tflite"], ["a/reference", "a/other"]),
        (["./a.tflite", "b"], ["a", "b"]),
    ],
)
def test_names_are_what_the_paths_differ_in(paths, wanted):
    assert bench_report.names({"models": [{"model": {"path": path}} for path in paths]}) == wanted


def test_the_interval_of_a_share():
    """Both ends solve |share - p| = z sqrt(p (1 - p) / n), which is how Wilson defined them."""
    for share, n in ((0.9859, 1706), (0.5, 10), (1.0, 20), (0.0, 3)):
        for end in metrics.wilson(share, n):
            assert abs(share - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), abs=1e-6)
    assert np.allclose(metrics.wilson(1682 / 1706, 1706), (0.9792, 0.9905), atol=5e-5)
