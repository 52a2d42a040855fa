"""`skin-edge bundle`: what an app developer takes."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from skin_edge.benchmarks.bundle import hand_over, pictures
from skin_edge.edge_runtime import SkinClassifier, preprocess
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ImageError
from skin_edge.edge_runtime.model_file import read_model_file

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def lines(handover):
    return [json.loads(line) for line in (handover / "golden" / "golden.jsonl").read_text().splitlines()]


def test_everything_is_there_and_the_sums_hold(handover):
    for name in ("INTEGRATION.md", "MODEL_CARD.md", "LICENSE.txt", "labels.txt", "metadata.json"):
        assert (handover / name).stat().st_size, name
    assert (handover / "CONTRACT.md").read_bytes() == (ROOT / "docs" / "contract.md").read_bytes()
    assert (handover / "contract.schema.json").read_bytes() == (ROOT / "docs" / "contract.schema.json").read_bytes()
    assert (handover / "model.tflite").read_bytes() == DEFAULT_MODEL.read_bytes()
    assert "Model card: skin_edge_default" in (handover / "MODEL_CARD.md").read_text()
    sums = dict(reversed(line.split("  ")) for line in (handover / "SHA256SUMS").read_text().splitlines())
    there = {path.relative_to(handover).as_posix() for path in handover.rglob("*") if path.is_file()}
    assert set(sums) == there - {"SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((handover / name).read_bytes()).hexdigest() == digest, name


def test_golden_answers_are_those_of_the_runtime(handover, lines):
    with SkinClassifier(handover / "model.tflite") as classifier:
        for line in lines:
            content = (handover / "golden" / line["file"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == line["sha256"]
            if "error" in line:
                with pytest.raises(ImageError):
                    classifier.predict(content)
                continue
            upright = preprocess.decode(content)
            assert upright.size == (line["upright"]["width"], line["upright"]["height"])
            assert hashlib.sha256(upright.tobytes()).hexdigest() == line["upright"]["sha256"]
            pixels = (handover / "golden" / line["input"]["file"]).read_bytes()
            assert preprocess.to_pixels(content, classifier.input_spec).tobytes() == pixels
            prediction = classifier.predict(content)
            assert prediction.label == line["label"]
            assert list(prediction.probabilities.values()) == sorted(line["probabilities"], reverse=True)
            raw = np.frombuffer(base64.b64decode(line["outputs"][0]["base64"]), line["outputs"][0]["dtype"])
            assert np.abs(raw - line["probabilities"]).max() <= 1e-6
            assert [one["name"] for one in line["decisions"]] == list(classifier.operating_points)


def test_the_pictures_are_of_every_kind_and_answered_differently(lines):
    good = [line for line in lines if "error" not in line]
    assert len(good) >= 25 and len(lines) - len(good) >= 5
    assert {line["label"] for line in good} >= {"mel", "nv", "bkl", "vasc"}
    decided = {(one["decision"], one["borderline"]) for line in good for one in line["decisions"]}
    assert decided == {("refer", True), ("refer", False), ("below", True), ("below", False)}
    turned = {line["upright"]["sha256"] for line in good if "exif" in line["file"]}
    assert len({line["input"]["sha256"] for line in good}) >= len(good) - len(turned)
    by_name = {line["file"]: line for line in good}
    assert (
        by_name["pictures/input-size.png"]["upright"]["sha256"] == by_name["pictures/input-size.png"]["input"]["sha256"]
    )


def test_the_large_picture_is_drawn_in_little_memory():
    """`skin-edge serve` draws it where a visitor checks a device, on computers with 1 GB too."""
    tracemalloc.start()
    try:
        pictures._grainy(np.zeros((3000, 4000, 3), np.uint8))
        assert tracemalloc.get_traced_memory()[1] < 100e6  # 36 of it are the picture
    finally:
        tracemalloc.stop()


def test_a_turned_picture_is_the_upright_one(handover, lines):
    exif = [line for line in lines if line["file"].startswith("pictures/exif")]
    assert len(exif) == 8 and all(line["upright"]["width"] == 320 for line in exif)
    expected = pictures.lesion(240, 320, 22).astype(int)
    expected[:60, :80] = (250, 240, 30)
    for line in exif:
        upright = np.asarray(preprocess.decode(handover / "golden" / line["file"])).astype(int)
        assert np.abs(upright - expected).mean() < 3, line["file"]


def test_integration_has_the_models_own_numbers(handover):
    text = (handover / "INTEGRATION.md").read_text()
    contract = read_model_file(DEFAULT_MODEL).contract
    for row in contract["thresholds"]:
        assert (
            f"| {row['name']} |" in text and repr(row["threshold"]) in text and repr(row["borderline_within"]) in text
        )
    for i, label in enumerate(contract["labels"]):
        assert f"| {i} | {label['code']} | {label['name']} |" in text
    _, height, width, _ = contract["input"]["shape"]
    assert f"`uint8` [1, {height}, {width}, 3]" in text and f"{height} rows and {width} columns" in text
    for platform in ("Android", "iOS", "Web", "C and C++", "Python"):
        assert f"## {platform}" in text


def test_the_same_input_gives_the_same_zip(handover, tmp_path, capsys):
    assert run(["bundle", str(DEFAULT_MODEL), "--out", str(tmp_path / "a.zip")]) == 0
    script = "import sys; from skin_edge.edge_runtime.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", script, "bundle", "--out", str(tmp_path / "b.zip")]
    subprocess.run(command, check=True, capture_output=True)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        (folder,) = {name.split("/")[0] for name in archive.namelist()}
        assert folder == "skin-edge-default-int8-0.1.0"
        for path in handover.rglob("*"):
            if path.is_file():
                assert archive.read(f"{folder}/{path.relative_to(handover).as_posix()}") == path.read_bytes(), path


def test_own_pictures_become_golden_ones(tiny_int8, tmp_path, picture):
    from . import miniatures
    from .test_decisions import in_format_4

    model = miniatures.resealed(tiny_int8, tmp_path / "tiny4.tflite", in_format_4)
    picture("mel", name="own/a.jpg")
    out = tmp_path / "out"
    assert run(["bundle", str(model), "--out", str(out), "--pictures", str(tmp_path / "own")]) == 0
    names = [json.loads(line)["file"] for line in (out / "golden" / "golden.jsonl").read_text().splitlines()]
    assert "pictures/own/a.jpg" in names and (out / "golden" / "inputs" / "own-a.jpg.rgb").stat().st_size == 32 * 32 * 3
    assert "nothing else was provided" in (out / "MODEL_CARD.md").read_text()


def test_what_is_no_bundle_is_not_replaced(tiny_int8, tmp_path, capsys):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "letter.txt").write_text("mine")
    for flags in ([], ["--overwrite"]):
        assert run(["bundle", "--out", str(tmp_path / "there"), *flags]) == 2
        assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "there" / "letter.txt").read_text() == "mine"
    assert run(["bundle", str(tiny_int8), "--out", str(tmp_path / "new")]) == 2
    assert "format 4" in capsys.readouterr().err and not (tmp_path / "new").exists()
    assert run(["bundle", "--out", str(tmp_path / "new"), "--pictures", str(tmp_path / "nowhere")]) == 2


def test_what_is_no_bundle_is_named_before_the_work(tmp_path, monkeypatch, capsys):
    def work(*_, **__):
        raise AssertionError("the work began")

    monkeypatch.setattr(hand_over, "contents", work)
    (tmp_path / "there").mkdir()
    (tmp_path / "file.txt").write_text("mine")
    for out in (tmp_path / "there", tmp_path / "file.txt"):
        assert run(["bundle", "--out", str(out), "--overwrite"]) == 2
        assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [("a\nb.jpg", "rename it"), ("a\x1b.jpg", "rename it"), ("a.heic", "more platforms")],
)
def test_a_picture_that_a_bundle_cannot_name_is_refused(tmp_path, picture, capsys, name, said):
    """SHA256SUMS has a line for each file."""
    picture("mel", name="own/good.jpg")
    (tmp_path / "own" / name).write_bytes((tmp_path / "own" / "good.jpg").read_bytes())
    assert run(["bundle", "--out", str(tmp_path / "out"), "--pictures", str(tmp_path / "own")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and "\x1b" not in error
    assert not (tmp_path / "out").exists()


def test_own_pictures_that_could_not_be_read_back_are_refused(tmp_path, capsys):
    (tmp_path / "own").mkdir()
    for number in range(2):
        with (tmp_path / "own" / f"{number}.jpg").open("wb") as file:
            file.truncate(300 << 20)  # takes no room
    assert run(["bundle", "--out", str(tmp_path / "out"), "--pictures", str(tmp_path / "own")]) == 2
    assert "600 MiB in 2 files; a bundle takes 512" in capsys.readouterr().err


@pytest.mark.parametrize("card", [b"\xff\xfe no text", None])
def test_a_card_beside_the_model_that_is_no_text_is_not_taken(tiny_int8, tmp_path, card):
    from . import miniatures
    from .test_decisions import in_format_4

    model = miniatures.resealed(tiny_int8, tmp_path / "tiny4.tflite", in_format_4)
    beside = tmp_path / "MODEL_CARD.md"
    os.mkfifo(beside) if card is None else beside.write_bytes(card)  # which would be waited for forever
    _, made = hand_over.contents(model)
    assert b"nothing else was provided" in made["MODEL_CARD.md"]


def test_a_bundle_needs_no_more_than_the_device_install():
    loaded = "import skin_edge.benchmarks.bundle.hand_over, sys; print([m for m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    for heavy in ("sklearn", "tensorflow", "pandas", "yaml", "cv2", "scipy"):
        assert f"'{heavy}'" not in shown


def test_ports_are_taken_whole_and_without_what_a_build_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(hand_over, "_ROOT", tmp_path)
    assert hand_over.ports() == {}
    for name in ("c/skin_edge.h", "c/.cache/x.h", "js/node_modules/y.js", "js/skin_edge.mjs", "c/sample.o"):
        (tmp_path / "ports" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "ports" / name).write_text(name)
    assert hand_over.ports() == {"ports/c/skin_edge.h": b"c/skin_edge.h", "ports/js/skin_edge.mjs": b"js/skin_edge.mjs"}
