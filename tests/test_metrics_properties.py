"""What must hold for any classifier on any images: hypothesis looks for one where it does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from skin_edge.benchmarks.stats import describe, metrics, operating_points, resamples
from skin_edge.edge_runtime.labels import Label

LABELS = (Label("mel", "", True), Label("bcc", "", True), Label("nv", "", False))
CODES = [label.code for label in LABELS]

quick = settings(max_examples=60, deadline=None)


@st.composite
def answers(draw, least=2, most=25):
    """(y_true, probabilities, lesions): coarse probabilities, so that ties are common."""
    n = draw(st.integers(least, most))
    y_true = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    weights = np.array(
        draw(st.lists(st.tuples(*[st.integers(0, 6)] * 3).filter(any), min_size=n, max_size=n)), np.float64
    )
    lesions = np.array(draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)))
    return y_true, weights / weights.sum(axis=1, keepdims=True), lesions


def described(y_true, p, lesions, labels=LABELS, bootstrap=20):
    frozen = [
        {"target": "mel", "classes": ["mel"], "chosen_for": "sensitivity", "wanted": 0.9, "threshold": 0.3, "on": ""}
    ]
    return describe.describe(y_true, p, labels, lesions, frozen=frozen, temperature=1.5, bootstrap=bootstrap)


def by_scikit_learn(y_true, p, weights):
    """What `weighted_figures` gives for one row of weights; what is undefined is NaN."""
    kept = weights > 0
    y_true, p, weights = y_true[kept], p[kept], weights[kept]
    predicted, present = p.argmax(axis=1), np.unique(y_true)

    def shares(positive, found):
        return sk.recall_score(positive, found, sample_weight=weights) if positive.any() else math.nan

    def auc(positive, scores):
        both = 0 < positive.sum() < len(positive)
        return sk.roc_auc_score(positive, scores, sample_weight=weights) if both else math.nan

    aucs = [auc(y_true == i, p[:, i]) for i in range(p.shape[1])]
    kinds = {"labels": present, "average": "macro", "zero_division": 0, "sample_weight": weights}
    return {
        "accuracy": sk.accuracy_score(y_true, predicted, sample_weight=weights),
        "balanced_accuracy": sk.recall_score(y_true, predicted, **kinds),
        "macro_f1": sk.f1_score(y_true, predicted, **kinds),
        "macro_auc": np.mean([value for value in aucs if value == value] or [math.nan]),
        "class_sensitivity": [shares(y_true == i, predicted == i) for i in range(p.shape[1])],
        "class_specificity": [shares(y_true != i, predicted != i) for i in range(p.shape[1])],
        "class_auc": aucs,
    }


how_often = st.one_of(st.integers(0, 4).map(float), st.floats(0.001, 1000))


@quick
@given(answers(), st.data())
def test_weighted_figures_are_scikit_learns(given_answers, data):
    """Over any weights, ties, classes without images, and one class alone."""
    y_true, p, _ = given_answers
    p = p.astype(data.draw(st.sampled_from([np.float64, np.float32])))
    rows = st.lists(how_often, min_size=len(y_true), max_size=len(y_true)).filter(any)
    weights = np.array(data.draw(st.lists(rows, min_size=1, max_size=3)))
    ours = metrics.weighted_figures(y_true, p, weights)
    for i, row in enumerate(weights):
        for name, value in by_scikit_learn(y_true, p, row).items():
            assert ours[name][i] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


@quick
@given(answers(least=1))
def test_the_figures_of_a_report_are_scikit_learns(given_answers):
    y_true, p, _ = given_answers
    said, predicted = metrics.evaluate(y_true, p, CODES, bootstrap=0), p.argmax(axis=1)
    matrix = sk.confusion_matrix(y_true, predicted, labels=range(3))
    assert said["confusion_matrix"] == matrix.tolist()
    expected = by_scikit_learn(y_true, p, np.ones(len(y_true)))
    for name in metrics.HEADLINES:
        value = math.nan if said[name] is None else said[name]
        assert value == pytest.approx(expected[name], rel=1e-12, nan_ok=True), name
    for i, code in enumerate(CODES):
        row = {name: math.nan if value is None else value for name, value in said["per_class"][code].items()}
        for name in ("sensitivity", "specificity", "auc"):
            assert row[name] == pytest.approx(expected[f"class_{name}"][i], rel=1e-12, nan_ok=True)
        precision = sk.precision_score(y_true == i, predicted == i, zero_division=np.nan)
        assert row["precision"] == pytest.approx(precision, rel=1e-12, nan_ok=True)
        brier = sk.brier_score_loss(y_true == i, p[:, i].clip(0, 1), pos_label=True)
        assert describe.class_calibration(y_true == i, p[:, i])["brier"] == pytest.approx(brier, rel=1e-12)


@quick
@given(answers(), st.booleans())
def test_the_roc_curve_is_scikit_learns(given_answers, corners_only):
    y_true, p, _ = given_answers
    positive = y_true == 0
    if 0 < positive.sum() < len(positive):
        ours = operating_points.roc(positive, p[:, 0], corners_only=corners_only)
        theirs = sk.roc_curve(positive, p[:, 0], drop_intermediate=corners_only)[:2]
        assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def numbers(value, path=()):
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from numbers(inside, (*path, key))
    elif isinstance(value, list):
        for i, inside in enumerate(value):
            yield from numbers(inside, (*path, i))
    elif isinstance(value, float):
        yield path, value


@quick
@given(answers(least=1))
def test_all_figures_are_finite_and_within_their_bounds(given_answers):
    for path, value in numbers(described(*given_answers)):
        assert math.isfinite(value), path
        highest = 2 if "brier" in path and "per_class" not in path else 1.5 if path[-1] == "temperature" else 1
        assert -1e-9 <= value <= highest + 1e-9, path


@quick
@given(answers(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(given_answers, random):
    y_true, p, lesions = given_answers
    order = list(range(len(y_true)))
    random.shuffle(order)
    before, after = described(y_true, p, lesions), described(y_true[order], p[order], lesions[order])
    assert dict(numbers(after)) == pytest.approx(dict(numbers(before)), abs=1e-5)


@quick
@given(answers(), st.permutations(range(3)))
def test_the_order_of_the_classes_does_not_matter(given_answers, order):
    y_true, p, lesions = given_answers
    p = p + np.array([1e-4, 2e-4, 3e-4])  # argmax takes the first of a tie, and which is first must not decide
    before = described(y_true, p, lesions)
    moved = described(np.argsort(order)[y_true], p[:, order], lesions, tuple(LABELS[i] for i in order))
    for one in (before, moved):
        for key in ("confusion_matrix", "majority_class"):  # in the order of the classes; of a tie
            del one[key]
    assert dict(numbers(moved)) == pytest.approx(dict(numbers(before)), abs=1e-5)


@quick
@given(answers(), st.sampled_from([np.sqrt, np.square, lambda s: 3 * s + 1, lambda s: np.expm1(s)]))
def test_a_rising_map_of_the_scores_leaves_the_roc_alone(given_answers, rising):
    y_true, p, _ = given_answers
    positive, scores = y_true == 0, np.round(p[:, 0], 6)  # equal stays equal, whatever the map rounds
    weights = np.random.default_rng(0).poisson(1, (5, len(scores))).astype(float)
    mapped = rising(scores)
    plain = metrics.weighted_auc(positive, scores, weights)
    assert metrics.weighted_auc(positive, mapped, weights) == pytest.approx(plain, nan_ok=True)
    assert describe.roc_curve(positive, mapped) == describe.roc_curve(positive, scores)
    for kind, wanted in operating_points.ASKED:
        on = operating_points.on_roc(positive, scores, kind, wanted)
        assert operating_points.on_roc(positive, mapped, kind, wanted) == on


@quick
@given(answers(), st.integers(2, 4))
def test_copies_of_an_image_within_its_lesion_change_neither_figure_nor_interval(given_answers, times):
    y_true, p, lesions = given_answers
    once = resamples.draws(y_true, p, CODES, {"mel": ["mel"]}, lesions, bootstrap=30, seed=1)
    copies = [np.repeat(values, times, axis=0) for values in (y_true, p, lesions)]
    more = resamples.draws(copies[0], copies[1], CODES, {"mel": ["mel"]}, copies[2], bootstrap=30, seed=1)
    for path, values in once.items():
        assert more[path] == pytest.approx(values, nan_ok=True), path


@quick
@given(answers())
def test_a_model_does_not_differ_from_itself_and_a_difference_turns_its_sign(given_answers):
    y_true, p, lesions = given_answers
    other = p[:, [1, 2, 0]]
    assert metrics.mcnemar(y_true, p, p)["p_value"] == 1
    forth = metrics.paired_interval(y_true, p, other, lesions, bootstrap=20)
    back = metrics.paired_interval(y_true, other, p, lesions, bootstrap=20)
    for name in metrics.HEADLINES:
        if forth[name]["difference"] is not None:
            assert back[name]["difference"] == pytest.approx(-forth[name]["difference"])
        if forth[name]["interval"] is not None:
            assert back[name]["interval"] == pytest.approx([-end for end in forth[name]["interval"][::-1]])


@quick
@given(answers(), st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]))
def test_a_frozen_threshold_keeps_its_promise_where_it_was_frozen(given_answers, wanted):
    y_true, p, _ = given_answers
    positive, scores = y_true == 0, p[:, 0]
    if 0 < positive.sum() < len(positive):
        low = metrics.threshold_for_sensitivity(positive, scores, wanted)
        assert metrics.at_threshold(positive, scores, low)["sensitivity"] >= wanted
        high = operating_points.threshold_for_specificity(positive, scores, wanted)
        assert metrics.at_threshold(positive, scores, high)["specificity"] >= wanted


@quick
@given(answers())
def test_refusing_nothing_leaves_the_error_rate(given_answers):
    y_true, p, _ = given_answers
    risk = describe.risk_coverage(y_true, p)["curve"][-1]["risk"]
    assert risk == pytest.approx(1 - metrics.evaluate(y_true, p, CODES, bootstrap=0)["accuracy"])
