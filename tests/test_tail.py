from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from skin_edge.benchmarks.inputs.cases import read_cases
from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.errors import DataError, UnknownNameError
from studies import tail

from .miniatures import COLOURS, class_folders


def brute_force(positive, scores):
    """FIGURES by trying every threshold."""
    sensitivity, specificity = [], []
    for threshold in [*np.unique(scores), np.inf]:
        sensitivity.append((scores[positive] >= threshold).mean())
        specificity.append((scores[~positive] < threshold).mean())
    return {
        "auc": roc_auc_score(positive, scores),
        "sensitivity_at_95_specificity": max(
            a for a, b in zip(sensitivity, specificity, strict=True) if b >= 0.95 - 1e-9
        ),
        "specificity_at_95_sensitivity": max(
            b for a, b in zip(sensitivity, specificity, strict=True) if a >= 0.95 - 1e-9
        ),
    }


@pytest.mark.parametrize("levels", [3, 12, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_figures_against_every_threshold_with_ties_and_weights(seed, levels):
    generator = np.random.default_rng(seed)
    positive = generator.random(60) < 0.4
    scores = np.floor((generator.random(60) + positive) / 2 * levels).astype(np.float32) / levels
    weights = generator.integers(0, 4, (6, 60)).astype(float)
    figures = tail.figures(positive, scores, weights)
    for row, counts in enumerate(weights.astype(int)):
        expected = brute_force(np.repeat(positive, counts), np.repeat(scores, counts))
        assert {name: values[row] for name, values in figures.items()} == pytest.approx(expected)


def test_figures_worked_by_hand():
    # 20 negatives at 0.0 .. 0.19, but the two lowest tied with the lowest positive.
    negatives = np.arange(20) / 100
    negatives[1] = 0
    scores = np.r_[negatives, 0.0, 0.185, 0.5]
    positive = np.arange(23) >= 20
    figures = tail.figures(positive, scores, np.ones((1, 23)))
    # 0.185 keeps 19 of 20 negatives out. All three positives: the threshold 0.0, which takes everything.
    assert figures["sensitivity_at_95_specificity"] == pytest.approx([2 / 3])
    assert figures["specificity_at_95_sensitivity"] == [0]
    assert figures["auc"] == pytest.approx([(1 + 19 + 20) / 60])


def test_one_score_for_all_separates_nothing():
    figures = tail.figures(np.arange(10) < 4, np.zeros(10), np.ones((1, 10)))
    assert {name: values[0] for name, values in figures.items()} == {
        "auc": 0.5,
        "sensitivity_at_95_specificity": 0,
        "specificity_at_95_sensitivity": 0,
    }


def test_a_resample_of_one_kind_is_undefined():
    figures = tail.figures(np.array([True, False]), np.array([0.9, 0.1]), np.array([[1.0, 0], [0, 2], [1, 1]]))
    for values in figures.values():
        assert np.isnan(values).tolist() == [True, True, False]


def test_resolution_counts_ties():
    scores = np.array([0, 1, 0, 3, 255, 0, 1, 3], np.float32) / 256
    assert tail.resolution(scores) == {"distinct_scores": 4, "lowest_score": 0, "tied_at_lowest": 3 / 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # Other pictures than those the models have learned, or every figure would be 1.
    return class_folders(tmp_path_factory.mktemp("tail") / "data", images=4, codes=tuple(COLOURS))


@pytest.fixture(scope="module")
def result(folder, tiny_int8, tiny_float32):
    models = [SkinClassifier(tiny_float32), SkinClassifier(tiny_int8)]
    return tail.compare(models, read_cases(folder, known_labels=list(COLOURS)), "mel", bootstrap=50)


def test_models_are_compared_on_their_own_answers(result, folder, tiny_int8, tiny_float32):
    assert (result["n"], result["n_target"], result["n_groups"]) == (28, 4, None)
    for path, measured in zip((tiny_float32, tiny_int8), result["models"], strict=True):
        classifier = SkinClassifier(path)
        found = [(file.parent.name == "mel", classifier.predict(file)) for file in sorted(folder.rglob("*.png"))]
        scores = np.array([prediction.probabilities["mel"] for _, prediction in found])
        positive = np.array([is_target for is_target, _ in found])
        assert measured["distinct_scores"] == len(set(scores))
        assert measured["tied_at_lowest"] == np.mean(scores == scores.min())
        expected = brute_force(positive, scores)
        assert {name: measured[name]["value"] for name in tail.FIGURES} == pytest.approx(expected)
        assert [point["threshold"] for point in measured["at_threshold"]] == list(tail.THRESHOLDS)
        for point in measured["at_threshold"]:
            found_at = scores >= point["threshold"]
            assert point["sensitivity"] == found_at[positive].mean()
            assert point["specificity"] == (~found_at)[~positive].mean()


def test_the_same_resamples_for_all(folder, tiny_int8):
    models = [SkinClassifier(tiny_int8), SkinClassifier(tiny_int8)]
    first, second = tail.compare(models, read_cases(folder, known_labels=list(COLOURS)), "nv", bootstrap=30)["models"]
    for name in tail.FIGURES:
        assert first[name]["interval"] == second[name]["interval"]
        assert (second[name]["difference"], second[name]["difference_interval"]) == (0, [0, 0])


def test_resamples_repeat_for_a_seed():
    generator = np.random.default_rng(0)
    positive = np.arange(60) % 3 == 0
    scores = generator.random(60) + 0.2 * positive
    first, again, other = (tail._resampled(positive, scores, np.arange(60), 150, seed)["auc"] for seed in (1, 1, 2))
    assert len(np.unique(first)) > 100
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_interval_draws_whole_groups():
    positive = np.repeat(np.arange(40) % 2 == 0, 10)
    scores = np.repeat(np.random.default_rng(0).random(40), 10) + 0.3 * positive
    width = {}
    for name, groups in (("images", np.arange(400)), ("groups", np.repeat(np.arange(40), 10))):
        draws = tail._resampled(positive, scores, groups, 400, 1)["auc"]
        assert len(draws) == 400
        width[name] = np.ptp(np.percentile(draws, [2.5, 97.5]))
    # Ten copies of each image are a tenth of the information: the interval is wider by the root of ten.
    assert width["groups"] == pytest.approx(np.sqrt(10) * width["images"], rel=0.3)


def test_the_table_fits_a_terminal(result):
    lines = tail.table(result).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("2 minus 1") for line in lines) == 1


def test_what_has_no_roc_is_refused(folder, tiny_int8):
    models = [SkinClassifier(tiny_int8)]
    cases = read_cases(folder, known_labels=list(COLOURS))
    with pytest.raises(UnknownNameError, match="known: akiec, bcc"):
        tail.target_scores(models, cases, "melanoma")
    with pytest.raises(DataError, match="0 of 4"):
        tail.compare(models, [case for case in cases if case.label == "nv"], "mel")


def test_the_command(folder, tiny_int8, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tail", str(tiny_int8), "--data", str(folder), "--json"])
    tail.main()
    assert json.loads(capsys.readouterr().out)["models"][0]["path"] == str(tiny_int8)
    monkeypatch.setattr(sys, "argv", ["tail", str(tiny_int8), "--data", str(folder / "nowhere")])
    with pytest.raises(SystemExit) as ended:
        tail.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: no such file or folder")
