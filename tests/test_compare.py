from __future__ import annotations

import copy
import json

import pytest

from skin_edge.edge_runtime.classifier import DISCLAIMER
from skin_edge.edge_runtime.cli import run

from . import miniatures
from .miniatures import one_line


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(int8, float32): two results of bench in JSON, of this machine, with accuracy."""
    from .conftest import GOLDEN

    folder = tmp_path_factory.mktemp("results")
    data = miniatures.class_folders(folder / "data", 2, tuple(miniatures.COLOURS))
    paths = []
    for name in ("tiny_int8", "tiny_float32"):
        paths.append(folder / f"{name}.json")
        arguments = ["bench", GOLDEN / f"{name}.tflite", "--data", data, "--num-runs", 3, "--result-json", paths[-1]]
        arguments += ["--cold-starts", 1]
        assert run(list(map(str, arguments))) == 0
    return tuple(paths)


def compare(*arguments):
    return run(["bench", "--compare", *map(str, arguments)])


def changed(path, target, change):
    result = json.loads(path.read_text())
    change(result)
    target.write_text(json.dumps(result))
    return target


def test_ratios_and_differences(results, capsys):
    capsys.readouterr()
    assert compare(*results, "--json") == 0
    captured = capsys.readouterr()
    comparison = json.loads(captured.out)
    a, b = (json.loads(path.read_text()) for path in results)
    ratios = {row["name"].strip(): row for row in comparison["ratios"]}
    assert ratios["file, bytes"]["ratio"] == b["size"]["file_bytes"] / a["size"]["file_bytes"]
    assert ratios["median, ms"]["ratio"] == b["latency"]["median_ms"] / a["latency"]["median_ms"]
    for stage in ("decode", "preprocess", "invoke"):
        medians = [one["latency"]["stages"][stage]["median_ms"] for one in (a, b)]
        assert ratios[f"{stage}, ms"]["ratio"] == medians[1] / medians[0]
    assert ratios["peak memory, bytes"]["ratio"] == b["memory"]["peak_bytes"] / a["memory"]["peak_bytes"]
    differences = {row["name"]: row for row in comparison["differences"]}
    brier = [one["accuracy"]["model"]["calibration"]["brier"] for one in (a, b)]
    assert differences["Brier score"]["difference"] == brier[1] - brier[0]
    assert differences["agreement with reference"]["difference"] is None
    assert comparison["different_machines"] == {}
    assert captured.err == DISCLAIMER + "\n"


def test_the_table(results, tmp_path, capsys):
    def more_threads(result):
        result["latency"]["num_threads"] = 4
        result["model"]["path"] = "/folder" * 20

    capsys.readouterr()
    assert compare(results[0], changed(results[1], tmp_path / "b.json", more_threads)) == 0
    out = capsys.readouterr().out
    assert "Measured in different ways" in out and "threads" in out and "DIFFERENT MACHINES" not in out
    assert "balanced accuracy" in out and "Not paired" in out and out.endswith(DISCLAIMER + "\n")
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("field", "value"), [("board", "Raspberry Pi 9"), ("cpu", "Z80"), ("cores", 99), ("memory_bytes", 2**40)]
)
def test_different_machines_are_refused_unless_allowed(field, value, results, tmp_path, capsys):
    other = changed(results[1], tmp_path / "other.json", lambda result: result["machine"].update({field: value}))
    capsys.readouterr()
    assert compare(results[0], other) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert "different machines" in captured.err and "--different-machines" in captured.err
    assert compare(results[0], other, "--different-machines") == 0
    assert "DIFFERENT MACHINES" in capsys.readouterr().out
    assert compare(results[0], other, "--different-machines", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["different_machines"]) == 1


def test_another_kernel_on_the_same_machine_is_said_not_refused(results, tmp_path, capsys):
    def update(result):
        result["machine"]["kernel"] = "99.0"
        result["machine"]["memory_bytes"] += 1000
        result["machine"]["versions"]["numpy"] = "0.1"

    capsys.readouterr()
    assert compare(results[0], changed(results[0], tmp_path / "b.json", update), "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["unlike"]) == {"kernel", "numpy"}


def test_an_older_result_without_the_newer_figures(results, tmp_path, capsys):
    def age(result):
        for key in set(result) - {"model", "machine", "size", "latency", "memory", "measured_at"}:
            del result[key]
        result["memory"]["peak_bytes"] = None

    old = changed(results[0], tmp_path / "old.json", age)
    for pair in ((old, results[1]), (results[1], old), (old, copy.copy(old))):
        assert compare(*pair) == 0
    assert "balanced accuracy" not in capsys.readouterr().out.split("measured")[-1]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (None, 2, "no such file"),
        ("{", 1, "is not JSON"),
        ("[1]", 1, "is not a result"),
        ('{"model": {}}', 1, "not a result"),
    ],
)
def test_what_is_no_result(content, code, message, results, tmp_path, capsys):
    path = tmp_path / "x.json"
    if content:
        path.write_text(content)
    capsys.readouterr()
    assert compare(results[0], path) == code
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and len(err.splitlines()) == 1


def test_compare_measures_nothing(results, tiny_int8, capsys):
    capsys.readouterr()
    assert compare(*results, tiny_int8) == 2
    assert "--compare takes two results, not 3" in capsys.readouterr().err
    assert compare(*results, "--cold-starts", 3) == 2
    assert "--compare measures nothing: leave --cold-starts out" in capsys.readouterr().err
    assert run(["bench", "--different-machines"]) == 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_compare_with_another_number_of_results_says_how(count, capsys):
    assert run(["bench", "--compare", *["a.json"] * count]) == 2
    assert "bench --compare BEFORE.json AFTER.json" in one_line(capsys)


def test_compare_of_what_is_no_result_says_how(tiny_int8, tmp_path, capsys):
    (tmp_path / "text.json").write_text("not JSON")
    for file, code in ((tiny_int8, 2), (tmp_path / "gone.json", 2), (tmp_path / "text.json", 1), (tmp_path, 2)):
        assert run(["bench", "--compare", str(file), str(file)]) == code
        said = one_line(capsys)
        assert str(file) in said and "bench MODEL --result-json FILE.json" in said
