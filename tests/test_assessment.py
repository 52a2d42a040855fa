"""Whether a picture can be assessed: the features in integers, the limits, and what a prediction says of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from skin_edge.edge_runtime import SkinClassifier, answers, assessment, info
from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime.errors import ModelFileError

from . import miniatures
from .test_decisions import in_format_4


def literally(pixels):
    """The definitions of contract.md, section 12, word by word."""
    height, width = pixels.shape[:2]
    rgb = [tuple(map(int, pixels[y, x])) for y in range(height) for x in range(width)]
    n = height * width
    red, green, blue = (sum(one[channel] for one in rgb) for channel in range(3))
    g = [[int(pixels[y, x, 1]) for x in range(width)] for y in range(height)]
    turned = [list(column) for column in zip(*g, strict=True)]

    def percentile(k):
        return next(v for v in range(256) if 100 * sum(one[1] <= v for one in rgb) >= k * n)

    def differences(rows, k):
        return sum(abs(row[x + k] - row[x]) for row in rows for x in range(len(row) - k))

    def detail(rows):
        return 1000 * differences(rows, 1) // (differences(rows, 4) + n // 8 + 1)

    def ridges(rows):
        return sum(
            row[x - 3] - row[x] > 20 and row[x + 3] - row[x] > 20 for row in rows for x in range(3, len(row) - 3)
        )

    return {
        "luma": (77 * red + 150 * green + 29 * blue) // n,
        "black": 10000 * sum(one[1] < 24 for one in rgb) // n,
        "white": 10000 * sum(min(one) >= 250 for one in rgb) // n,
        "clipped": 10000 * sum(max(one) >= 254 for one in rgb) // n,
        "red_green": 1000 * (red - green) // (red + green + blue + 1),
        "blue_green": 1000 * (blue - green) // (red + green + blue + 1),
        "contrast": percentile(95) - percentile(5),
        "detail": min(detail(g), detail(turned)),
        "ridges": 10000 * (ridges(g) + ridges(turned)) // n,
    }


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (9, 23), (40, 17), (96, 128)])
@pytest.mark.parametrize("kind", ["noise", "smooth", "extremes", "lines", "black", "white"])
def test_features_are_those_of_the_contract(size, kind):
    generator = np.random.default_rng(len(kind))
    shape = (*size, 3)
    y, x = np.mgrid[: size[0], : size[1]]
    pixels = {
        "noise": generator.integers(0, 256, shape),
        "smooth": np.stack([y * 3 + x, y + x * 2, 200 - y], axis=-1) % 256,
        "extremes": generator.choice([0, 23, 24, 249, 250, 253, 254, 255], shape),
        "lines": np.where(((x + y) % 7 == 0)[..., None], 60, 190) + generator.integers(-9, 9, shape),
        "black": np.zeros(shape),
        "white": np.full(shape, 255),
    }[kind].astype(np.uint8)
    assert assessment.measure(pixels) == literally(pixels)
    assert tuple(assessment.measure(pixels)) == assessment.FEATURES


def test_features_of_the_smallest_pictures_are_defined():
    for size in [(1, 1), (2, 2), (3, 8), (7, 4)]:
        pixels = np.arange(3 * size[0] * size[1], dtype=np.uint8).reshape(*size, 3)
        assert assessment.measure(pixels) == literally(pixels)


def check(feature, reason="why", **limits):
    return {"feature": feature, **limits, "reason": reason, "text": f"{feature} it is", "remedy": "another picture"}


def limited(*checks, possible=None):
    """What makes the contract of `miniatures`' tiny models one of format 6."""

    def change(described):
        in_format_4(described)
        described["assessment"] = {"version": 1, "checks": list(checks)}
        if possible is not None:
            described["possible"] = {"coverage": 0.9, "thresholds": possible}
        within = [row["borderline_within"] for row in described["thresholds"]]
        described |= contracts.additions(described, within, contracts.UNCHANGED)

    return change


@pytest.fixture
def made(tiny_int8, tmp_path):
    def make(*checks, **options):
        return SkinClassifier(miniatures.resealed(tiny_int8, tmp_path / "tiny6.tflite", limited(*checks, **options)))

    return make


BLACK, GREY = np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), 128, np.uint8)


def test_a_picture_beyond_a_limit_cannot_be_assessed_and_the_reasons_are_said_once(made):
    classifier = made(
        check("luma", "too_dark", below=5000),
        check("contrast", "empty", below=3),
        check("black", "too_dark", above=9000) | {"text": "luma it is"},
    )
    assert classifier.contract["format_version"] == 6
    refused = classifier.predict(BLACK)
    assert not refused.assessable
    assert [reason.reason for reason in refused.reasons] == ["too_dark", "empty"]
    assert refused.refusal == "cannot assess: luma it is (another picture); contrast it is (another picture)"
    assert sum(refused.probabilities.values()) == pytest.approx(1, abs=0.01)  # for measurements
    dim = classifier.predict(np.dstack([np.tile(np.arange(40, dtype=np.uint8) * 5, (40, 1))] * 3))
    assert dim.assessable
    assert dim.refusal == ""
    assert dim.features["luma"] > 5000


def test_at_a_limit_a_picture_is_assessable(made):
    luma = made(check("luma", below=1)).predict(GREY).features["luma"]
    assert made(check("luma", below=luma)).predict(GREY).assessable
    assert made(check("luma", above=luma)).predict(GREY).assessable
    assert not made(check("luma", below=luma + 1)).predict(GREY).assessable
    assert not made(check("luma", above=luma - 1)).predict(GREY).assessable


def test_without_limits_nothing_is_measured(tiny_int8):
    prediction = SkinClassifier(tiny_int8).predict(GREY)
    assert (prediction.assessable, prediction.possible, dict(prediction.features)) == (True, None, {})


def test_the_possible_classes_are_those_from_their_thresholds_on_and_the_class_itself(made):
    prediction = made(possible=[2.0] * 7).predict(GREY)
    assert prediction.possible == (prediction.label,)
    values = [prediction.probabilities[label.code] for label in made(possible=[0.0] * 7).labels]
    classifier = made(possible=[value if position % 2 else 2.0 for position, value in enumerate(values)])
    wanted = {label.code for position, label in enumerate(classifier.labels) if position % 2} | {prediction.label}
    assert set(classifier.predict(GREY).possible) == wanted
    order = [label.code for label in classifier.labels]
    assert list(classifier.predict(GREY).possible) == sorted(wanted, key=order.index)


def test_the_record_of_a_refused_picture_has_no_class(made):
    classifier = made(check("luma", "too_dark", below=5000), possible=[0.1] * 7)
    refused = answers.record("a.jpg", classifier.predict(BLACK))
    assert refused == {
        "file": "a.jpg",
        "error": "cannot assess: luma it is (another picture)",
        "reasons": [{"reason": "too_dark", "text": "luma it is", "remedy": "another picture"}],
    }
    all_the_same = answers.record("a.jpg", classifier.predict(BLACK), assess_anything=True)
    assert all_the_same["assessable"] is False
    assert "label" in all_the_same
    good = answers.record("a.jpg", classifier.predict(GREY), times=False)
    assert (good["assessable"], good["reasons"]) == (True, [])
    assert isinstance(good["possible"], list)
    json.dumps([refused, all_the_same, good])


@pytest.mark.parametrize(
    "wrong",
    [
        {"version": 2, "checks": []},
        {"version": True, "checks": []},
        {"version": 1},
        {"version": 1, "checks": {}},
        {"version": 1, "checks": [[]]},
        {"version": 1, "checks": [check("sharpness", below=1)]},
        {"version": 1, "checks": [check("luma")]},
        {"version": 1, "checks": [check("luma", below="1")]},
        {"version": 1, "checks": [check("luma", below=True)]},
        {"version": 1, "checks": [check("luma", below=1) | {"text": 3}]},
        {"version": 1, "checks": [check("luma", below=1) | {"text": "\x1b[31m"}]},
        {"version": 1, "checks": [check("outlier_score", above=1)]},
        "none",
    ],
)
def test_an_assessment_that_this_reader_does_not_follow_is_refused(tiny_int8, tmp_path, wrong):
    def change(described):
        limited()(described)
        described["assessment"] = wrong

    path = miniatures.resealed(tiny_int8, tmp_path / "wrong.tflite", change)
    with pytest.raises(ModelFileError, match="assessment"):
        SkinClassifier(path)


@pytest.mark.parametrize(
    "wrong", [{"coverage": 0.9, "thresholds": [0.1]}, {"coverage": "0.9", "thresholds": [0.1] * 7}, {"coverage": 0.9}]
)
def test_malformed_sets_of_possible_classes_are_refused(tiny_int8, tmp_path, wrong):
    def change(described):
        limited(possible=[0.1] * 7)(described)
        described["possible"] = wrong

    path = miniatures.resealed(tiny_int8, tmp_path / "wrong.tflite", change)
    with pytest.raises(ModelFileError, match="possible"):
        SkinClassifier(path)


def test_info_shows_the_limits_in_words_and_the_sets(tiny_int8, tmp_path):
    checks = check("luma", "too_dark", below=5000), check("red_green", "cast", below=-40.5, above=300)
    change = limited(*checks, possible=[0.125] + [0.1] * 6)
    path = miniatures.resealed(tiny_int8, tmp_path / "tiny6.tflite", change)
    shown = " ".join(str(info.text(info.read(str(path)))).split())
    assert "not assessed too_dark: luma below 5000: luma it is (another picture)" in shown
    assert "cast: red_green below -40.5 or red_green above 300: red_green it is" in shown
    assert "possible a class from this probability on: akiec 0.125, bcc 0.1" in shown
    assert "90% of each class" in shown
    assert "possible" not in str(info.text(info.read(str(tiny_int8))))


def test_two_checks_with_one_reason_are_one_reason(made):
    twice = made(check("luma", "too_dark", below=5000), check("black", "too_dark", above=1))
    assert [reason.text for reason in twice.predict(BLACK).reasons] == ["luma it is"]
