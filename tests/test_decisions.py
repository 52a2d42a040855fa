"""What the file's thresholds say of a picture, and contract format 4, which says what they mean."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skin_edge.benchmarks.stats import borderline
from skin_edge.edge_runtime import SkinClassifier, contract, preprocess
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ModelFileError, PredictionError
from skin_edge.edge_runtime.model_file import read_model_file

from . import miniatures


def row(target, classes, threshold, sensitivity=0.9, within=0.05):
    return {
        "name": f"{target}-{sensitivity:.2f}",
        "target": target,
        "classes": classes,
        "chosen_for_sensitivity": sensitivity,
        "threshold": threshold,
        "borderline_within": within,
        "on": "drawn pictures",
        "n_positive": 10,
        "n_negative": 20,
        "sensitivity": 0.9,
        "specificity": 0.8,
    }


ROWS = [row("malignant", ["mel", "akiec", "bcc"], 0.5), row("mel", ["mel"], 0.2), row("mel", ["mel"], 0.1, 0.95, 0.01)]


def in_format_4(described, thresholds=tuple(ROWS)):
    """Makes the contract of `miniatures`' tiny models one of format 4."""
    spec = replace(preprocess.InputSpec.from_steps(described["preprocessing"]), decoding="full")
    described |= {"preprocessing": spec.to_steps(), "input": {"shape": [1, 32, 32, 3], "dtype": "uint8"}}
    described["thresholds"] = [dict(one) for one in thresholds]
    within = [one["borderline_within"] for one in thresholds]
    described |= contract.additions(described, within, contract.UNCHANGED)


@pytest.fixture
def model(tiny_int8, tmp_path):
    return miniatures.resealed(tiny_int8, tmp_path / "tiny4.tflite", in_format_4)


def test_a_score_is_the_sum_over_its_classes_and_refers_from_the_threshold_on(model):
    classifier = SkinClassifier(model)
    codes = [label.code for label in classifier.labels]
    values = np.zeros(7, np.float32)
    values[codes.index("mel")], values[codes.index("bcc")], values[codes.index("nv")] = 0.2, 0.32, 0.48
    malignant, mel, low = classifier.decide(values)
    assert malignant.name == "malignant-0.90" and malignant.decision == "refer" and malignant.borderline
    assert malignant.score == float(np.float32(0.32)) + float(np.float32(0.2)), "float64, in the order of the labels"
    assert mel.decision == "refer" and mel.score >= mel.threshold == 0.2
    assert low.name == "mel-0.95" and not low.borderline
    values[codes.index("mel")] = np.nextafter(np.float32(0.2), np.float32(0))
    assert [one.decision for one in classifier.decide(values)] == ["refer", "below", "refer"]


def test_predict_tells_every_decision_and_one_in_words(model, picture, capsys):
    path = str(picture("mel"))
    assert run(["predict", str(model), path, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in record["decisions"]] == ["malignant-0.90", "mel-0.90", "mel-0.95"]
    for one in record["decisions"]:
        assert one["decision"] == ("refer" if one["score"] >= one["threshold"] else "below")
        assert set(one) == {"name", "score", "threshold", "decision", "borderline"}
    assert run(["predict", str(model), path, "--operating-point", "mel-0.95"]) == 0
    shown = capsys.readouterr().out
    assert "refer (mel-0.95: " in shown and " >= 0.100)" in shown
    assert run(["predict", str(model), path]) == 0
    assert "(malignant-0.90: " in capsys.readouterr().out
    assert run(["predict", str(model), path, "--json", "--operating-point", "mel-0.95"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["decisions"]] == ["mel-0.95"]
    assert run(["predict", str(model), path, "--operating-point", "mel"]) == 2
    assert "malignant-0.90, mel-0.90, mel-0.95" in capsys.readouterr().err


def test_files_of_earlier_formats_decide_too_but_do_not_know_what_is_borderline(tiny_int8, tmp_path, picture):
    old = {key: value for key, value in ROWS[1].items() if key not in ("name", "borderline_within")}
    path = miniatures.resealed(tiny_int8, tmp_path / "old.tflite", lambda described: described.update(thresholds=[old]))
    (decision,) = SkinClassifier(path).predict(picture("mel")).decisions
    assert decision.name == "mel-0.90" and decision.borderline is None
    assert SkinClassifier(tiny_int8).predict(picture("mel")).decisions == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda described: described["decisions"].update(refer="score > threshold"), "decisions"),
        (lambda described: described.pop("decisions"), "decisions"),
        (lambda described: described["limits"].clear(), "limits"),
        (lambda described: described["input"].update(bytes="as you like"), "input"),
        (lambda described: described["input"].update(bytes="quantized"), "bytes go in quantized"),
        (lambda described: described["thresholds"][0].pop("name"), "thresholds"),
        (lambda described: described["thresholds"][0].update(name="mel-0.90"), "thresholds"),
        (lambda described: described["thresholds"][0].update(borderline_within=-0.1), "thresholds"),
        (lambda described: described["preprocessing"].pop(0), "preprocessing"),
        (lambda described: described.update(format_version=2), "not that of its format_version"),
        (lambda described: described.update(format_version=7), "version 7"),
    ],
)
def test_a_contract_of_format_4_that_this_reader_does_not_follow_is_refused(model, tmp_path, change, said):
    with pytest.raises(ModelFileError, match=said):
        SkinClassifier(miniatures.resealed(model, tmp_path / "changed.tflite", change))


def test_format_4_holds_the_published_schema(model):
    import jsonschema

    schema = json.loads((Path(__file__).parents[1] / "docs" / "contract.schema.json").read_text())
    described = {"precision": "int8", "intended_use": "", "notice": "", "license": "", "quantization": {"method": ""}}
    described |= read_model_file(model).contract
    described["calibration"] = {
        "temperature": 1,
        "logit_shift": [],
        "logit_shift_tau": 0,
        "found_on": "",
        "applied": "",
    }
    described["provenance"] = {"recipe": "", "seed": 1, "split": "", "data": {}, "versions": {}}
    described["provenance"]["data"] = {"layout": "", "images": 1, "fingerprint_sha256": "0" * 64}
    described["outputs"] = [{"name": "probabilities", "values": "", "shape": [1, 7], "dtype": "float32"}]
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(described)
    for broken in (
        {"preprocessing": described["preprocessing"][1:]},
        {"decisions": {}},
        {"thresholds": [{**ROWS[0], "name": 1}]},
        {"format_version": 2},
        {"input": {"shape": [1, 32, 32, 3], "dtype": "uint8"}},
    ):
        assert not validator.is_valid({**described, **broken}), broken


def test_an_answer_outside_0_to_1_is_no_answer(model, picture, monkeypatch):
    classifier = SkinClassifier(model)
    monkeypatch.setattr(classifier, "_to_probabilities", lambda scores: scores * 3)
    with pytest.raises(PredictionError, match=r"outside 0\.\.1"):
        classifier.predict(picture("mel"))


def test_what_is_borderline_follows_from_how_far_the_logits_move():
    scores = np.array([0.001, 0.02, 0.3, 0.9])
    logits = np.log(scores / (1 - scores))
    other = 1 / (1 + np.exp(-(logits + 0.5)))
    for threshold in (0.01, 0.5):
        centre = math.log(threshold / (1 - threshold))
        expected = max(abs(1 / (1 + math.exp(-centre - side * 0.5)) - threshold) for side in (-1, 1))
        assert borderline.within(threshold, scores, [scores, other]) == pytest.approx(expected, abs=2e-6)
    assert borderline.within(0.3, scores, [scores]) <= 1e-6


def test_moved_pictures_are_within_level_c():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 20, 20, 3), dtype=np.uint8)
    difference = np.abs(borderline.moved(pixels).astype(int) - pixels)
    assert difference.max() == 1 and 0.19 < difference.mean() <= 0.2
    assert np.array_equal(borderline.moved(pixels), borderline.moved(pixels))
