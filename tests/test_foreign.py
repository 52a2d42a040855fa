"""Models that others made, in every command of the device: an answer, or one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.model_file import left_out, network_length

from . import miniatures

CODES = tuple(miniatures.COLOURS)
QUICK = ["--num-runs", "2", "--warmup-runs", "1"]

CLASSIFIERS = ("mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.5_160_quant", "tf2_mobilenet_v2_1.0_224_ptq")
REFUSED = {
    "keras_lstm_mnist_ptq": "it is not a classifier of colour pictures: its input is [1, 28, 28]",
    "model_invoking_error": "it is not a classifier of colour pictures: its input is [1, 3]",
}


@pytest.fixture
def foreign(data_root):
    folder = data_root / "foreign"
    if not folder.is_dir():
        pytest.skip("no folder foreign/ with models that others made")
    return folder


@pytest.fixture
def bare(tiny_int8, tiny_float32, tmp_path):
    """The networks of the tiny twins without a word about themselves, and their labels in a file."""
    for name, source in (("int8", tiny_int8), ("float32", tiny_float32)):
        content = source.read_bytes()
        flatbuffer = pytest.importorskip("skin_edge.convert.tflite.flatbuffer")
        model = flatbuffer.read(content[: network_length(content)])
        model.metadata = None
        (tmp_path / f"{name}.tflite").write_bytes(flatbuffer.write(model))
    (tmp_path / "labels.txt").write_text("\n".join(CODES))
    return tmp_path


def command(*arguments):
    return run([str(argument) for argument in arguments])


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_photograph_gets_an_answer(name, foreign, capsys):
    pictures = sorted([*foreign.glob("*.jpg"), *foreign.glob("*.bmp")])
    assert len(pictures) >= 10
    assert command("predict", foreign / f"{name}.tflite", *pictures, "--json") == 0
    rows = {row["file"].rpartition("/")[2]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert rows["bird.bmp"]["label"] == "chickadee" and rows["sunflower.bmp"]["label"] == "daisy"
    for row in rows.values():
        scores = np.array(list(row["probabilities"].values()))
        # Of 256 levels each: a thousand small ones are rounded away.
        assert len(scores) == 1001 and (scores >= 0).all() and 0.5 < scores.sum() < 1.05


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_info_and_bench_of_them(name, foreign, capsys):
    path = foreign / f"{name}.tflite"
    assert command("info", path) == 0
    out = capsys.readouterr().out
    assert "others" in out and "1001 in all" in out and max(map(len, out.splitlines())) < 140
    assert command("bench", path, *QUICK, "--cold-starts", 1, "--image", foreign / "bird.bmp") == 0
    out = capsys.readouterr().out
    assert "precision unknown" in out and "cold start" in out and max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(("name", "says"), REFUSED.items())
def test_what_is_no_picture_classifier_is_refused_by_every_command(name, says, foreign, capsys):
    path = foreign / f"{name}.tflite"
    for arguments in (["info", path], ["predict", path, foreign / "bird.bmp"], ["bench", path]):
        assert command(*arguments) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and f"error: {path}: {says}" in captured.err
        assert len([line for line in captured.err.splitlines() if line.startswith("error: ")]) == 1
        assert "Traceback" not in captured.err


def test_they_are_compared_on_labelled_photographs(foreign, tmp_path, capsys):
    """A thousand classes, four pictures: reports list the classes that have some."""
    truths = {
        "bird.bmp": "chickadee",
        "sunflower.bmp": "daisy",
        "hot_dog.jpg": "hotdog, hot dog, red hot",
        "missvickie_potato_chips.bmp": "packet",
    }
    for file, label in truths.items():
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(foreign / file, tmp_path / "data" / label)
    models = [foreign / f"{name}.tflite" for name in CLASSIFIERS]
    page = tmp_path / "page.html"
    arguments = ["--reference", models[2], "--data", tmp_path / "data", *QUICK, "--cold-starts", 0, "--html", page]
    assert command("bench", *models[:2], *arguments) == 0
    out = capsys.readouterr().out
    # By hand, from the answers above: 0.25 takes the hot dog for a gecko and the chips for a hamper.
    assert "50.00% (15.00% to 85.00%)" in out and "100.00%" in out
    assert max(map(len, out.splitlines())) <= 80
    assert page.stat().st_size < 3_000_000


def test_bench_is_told_what_the_files_leave_out(bare, tiny_int8, tiny_float32, tmp_path, capsys):
    data = miniatures.class_folders(tmp_path / "data", 3, CODES)
    told = ["--labels", bare / "labels.txt", "--mean", 127.5, "--std", 127.5]
    written = tmp_path / "result.json"
    every_process = ["--cold-starts", 1, "--processes", 2, "--sweep", "--result-json", written]
    pair = [bare / "int8.tflite", "--reference", bare / "float32.tflite", "--data", data]
    assert command("bench", *pair, *told, *QUICK, *every_process) == 0
    theirs = json.loads(written.read_text())
    assert theirs["memory"]["measured"] == "in a process of its own"
    assert theirs["cold_start"]["median_ms"] and len(theirs["processes"]["medians_ms"]) == 2
    pair = [tiny_int8, "--reference", tiny_float32, "--data", data]
    assert command("bench", *pair, *QUICK, "--cold-starts", 0, "--result-json", written) == 0
    ours = json.loads(written.read_text())
    for who in ("model", "reference"):
        assert theirs["accuracy"][who]["confusion_matrix"] == ours["accuracy"][who]["confusion_matrix"]
        assert theirs["accuracy"][who]["calibration"] == ours["accuracy"][who]["calibration"]
    # A wrong range, to the float model alone, changes its answers: it is really fed by what it was told.
    told[-1] = 1
    assert command("bench", bare / "float32.tflite", "--data", data, *told, *QUICK, "--result-json", written) == 0
    assert json.loads(written.read_text())["accuracy"]["model"]["calibration"] != ours["accuracy"]["reference"]
    capsys.readouterr()


def test_a_reference_with_a_contract_is_told_nothing(bare, tiny_float32, tmp_path, capsys):
    data = miniatures.class_folders(tmp_path / "data", 3, CODES)
    pair = [bare / "int8.tflite", "--reference", tiny_float32, "--data", data]
    assert command("bench", *pair, "--labels", bare / "labels.txt", *QUICK, "--cold-starts", 0) == 0
    assert "same top class" in capsys.readouterr().out


def test_what_no_file_needs_is_refused(bare, tiny_int8, capsys):
    labels = bare / "labels.txt"
    assert command("bench", tiny_int8, "--labels", labels) == 2
    assert "leave --labels out" in miniatures.one_line(capsys)
    assert command("bench", bare / "int8.tflite", "--labels", labels, "--mean", 0, "--std", 255) == 2
    assert "leave --mean, --std out" in miniatures.one_line(capsys)
    assert command("bench", bare / "float32.tflite") == 1
    assert "give mean and std" in miniatures.one_line(capsys)
    assert command("bench", bare / "gone.tflite", "--labels", labels) == 1
    assert "no such model" in miniatures.one_line(capsys)
    assert command("bench", bare / "int8.tflite", "--labels", bare / "gone.txt") == 1
    assert "gone.txt" in miniatures.one_line(capsys)


def test_what_a_file_leaves_out(bare, tiny_int8, tmp_path):
    assert left_out(tiny_int8) == left_out(tmp_path / "gone.tflite") == frozenset()
    assert left_out(bare / "int8.tflite") == {"labels"}
    assert left_out(bare / "float32.tflite") == {"labels", "mean", "std"}
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.png")
    assert left_out(tmp_path / "picture.png") == frozenset()
