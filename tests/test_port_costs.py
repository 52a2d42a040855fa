"""What another correct implementation changes: measured by bench, judged by the gate, shown everywhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks import gate
from skin_edge.benchmarks.accuracy import ports
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import PlatformError

from . import miniatures
from .test_decisions import row

QUICK = ["--num-runs", "2", "--warmup-runs", "1", "--cold-starts", "0"]
LIMITS = "max_rounding_flips: 0.05\nmax_kernel_flips: 0.05\n"


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """Forty pictures that differ by a level here and there: half of one class, so that two are there."""
    folder = tmp_path_factory.mktemp("alike")
    base = np.asarray(miniatures.picture("mel", 1, (32, 32)), np.int16)
    for number in range(40):
        code = ("mel", "nv")[number % 2]
        (folder / code).mkdir(exist_ok=True)
        noise = np.random.default_rng(number).integers(-1, 2, base.shape)
        Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(folder / code / f"{number}.png")
    return folder


@pytest.fixture
def fragile(tiny_float32, alike, tmp_path):
    """A model with a threshold in the middle of the scores of pictures that are all but the same."""
    classifier = SkinClassifier(tiny_float32)
    scores = [classifier.predict(path).probabilities["mel"] for path in sorted(alike.glob("*/*.png"))]
    rows = [row("mel", ["mel"], float(np.median(scores))), row("mel", ["mel"], 1e-9, 0.95)]
    return miniatures.resealed(
        tiny_float32, tmp_path / "fragile.tflite", lambda described: described.update(thresholds=rows)
    )


@pytest.fixture
def limits(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text(LIMITS)
    return path


def test_a_fragile_threshold_fails_the_gate_and_is_named(fragile, alike, limits, tmp_path, capsys):
    files = {name: tmp_path / f"result.{name}" for name in ("json", "html", "md")}
    written = ["--result-json", files["json"], "--html", files["html"], "--markdown", files["md"]]
    arguments = ["bench", fragile, "--data", alike, "--gate", limits, *written, *QUICK]
    assert run([*map(str, arguments)]) == 3
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert any("max_rounding_flips 0.05" in line and "most in mel-0.90" in line for line in errors)
    assert "Answers of 40 images that change in another correct implementation" in " ".join(captured.out.split())
    assert max(map(len, captured.out.splitlines())) <= 80
    rows = {one["way"]: one for one in json.loads(files["json"].read_text())["ports"]}
    assert list(rows) == [ports.RANDOM, ports.LOWER, ports.KERNELS]
    assert max(rows[way]["decisions"]["mel-0.90"] for way in ports.ROUNDING) > 4
    assert all(one["n"] == 40 and one["decisions"]["mel-0.95"] == 0 for one in rows.values())
    for name in ("html", "md"):
        text = files[name].read_text()
        assert "Other implementations" in text and "decision mel-0.90" in text


def test_a_robust_model_passes_and_the_default_gate_looks(tiny_int8, tiny_float32, tmp_path, capsys):
    data = miniatures.class_folders(tmp_path / "data", 4, tuple(miniatures.COLOURS))
    arguments = ["bench", tiny_int8, "--reference", tiny_float32, "--data", data, "--gate", "default", *QUICK]
    assert run([*map(str, arguments)]) == 0
    out = capsys.readouterr().out
    assert "max_rounding_flips" in out and "max_kernel_flips" in out
    assert {"max_rounding_flips", "max_kernel_flips"} <= set(gate.DEFAULT)


def test_the_counts_are_those_of_the_answers(tiny_int8):
    classifier = SkinClassifier(tiny_int8)
    watch = ports.Ports(classifier)
    sure = np.eye(7, dtype=np.float32)
    for other in (0, 1, 1):
        watch.keep(sure[0], {ports.RANDOM: sure[other], ports.LOWER: sure[0], ports.KERNELS: sure[0]})
    random, lower, kernels = watch.flips()
    assert (random["n"], random["top_class"], lower["top_class"], kernels["top_class"]) == (3, 2, 0, 0)
    assert ports.largest([random, lower, kernels], ports.ROUNDING) == (2 / 3, "the top class", ports.RANDOM)
    assert ports.largest([random, lower, kernels], [ports.KERNELS]) == (0.0, "the top class", ports.KERNELS)


def test_inputs_are_rounded_otherwise_by_one_and_repeatably(tiny_int8):
    pixels = np.array([[[0, 1, 255]]], np.uint8)
    assert ports.lower(pixels).tolist() == [[[0, 0, 254]]]
    watch, picture = ports.Ports(SkinClassifier(tiny_int8)), np.full((32, 32, 3), 90, np.uint8)
    first, again = watch.answers(picture, None), watch.answers(picture, None)
    assert set(first) == {ports.RANDOM, ports.LOWER, ports.KERNELS}
    assert all((first[way] == again[way]).all() for way in first)


def test_kernels_that_cannot_be_chosen_break_their_limit(tiny_int8, monkeypatch):
    classifier = SkinClassifier(tiny_int8)

    def refuse(*arguments, **keywords):
        raise PlatformError("tflite_runtime cannot choose its delegate")

    monkeypatch.setattr(ports, "SkinClassifier", refuse)
    watch = ports.Ports(classifier)
    watch.keep(np.ones(7, np.float32), watch.answers(np.zeros((32, 32, 3), np.uint8), None))
    rows = watch.flips()
    assert rows[2]["top_class"] is None and "cannot choose" in rows[2]["measured"]
    judged = gate.judge({"ports": rows, "accuracy": None}, {"max_kernel_flips": 1.0}, "x")["limits"][0]
    assert not judged["passed"] and judged["value"] is None and "cannot choose its delegate" in judged["says"]
    nothing = gate.judge({"ports": None, "accuracy": None}, {"max_rounding_flips": 1.0}, "x")["limits"][0]
    assert not nothing["passed"] and "no --data was given" in nothing["says"]
