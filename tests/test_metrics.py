from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from skin_edge.benchmarks.stats import metrics
from skin_edge.edge_runtime.errors import DataError

ABC = ("a", "b", "c")


def one_hot(predicted, classes=3):
    return np.eye(classes)[list(predicted)]


def drawn(seed, n=120, classes=4, groups=45, levels=None):
    """(y_true, probabilities, groups) of a classifier that is right more often than not; `levels` makes ties."""
    generator = np.random.default_rng(seed)
    y_true = generator.choice(classes, n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    scores = np.exp(generator.normal(size=(n, classes)) + 1.5 * np.eye(classes)[y_true])
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    if levels:
        probabilities = np.floor(probabilities * levels) / levels
    return y_true, probabilities, np.array([f"lesion{g}" for g in generator.integers(groups, size=n)])


def slow_figures(y_true, probabilities):
    """HEADLINES by scikit-learn, one resample at a time."""
    present = np.unique(y_true)
    predicted = probabilities.argmax(axis=1)
    aucs = [sk.roc_auc_score(y_true == i, probabilities[:, i]) for i in present] if len(present) > 1 else [np.nan]
    return {
        "accuracy": np.mean(predicted == y_true),
        "balanced_accuracy": np.mean([np.mean(predicted[y_true == i] == i) for i in present]),
        "macro_f1": sk.f1_score(y_true, predicted, labels=present, average="macro", zero_division=0),
        "macro_auc": np.mean(aucs),
    }


def test_a_case_worked_by_hand():
    y_true = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    predicted = [0, 0, 0, 1, 1, 2, 2, 0]
    figures = metrics.evaluate(y_true, one_hot(predicted), ABC, np.array(list("ppqrsttu")), bootstrap=0)
    assert figures["confusion_matrix"] == [[3, 1, 0], [0, 1, 1], [1, 0, 1]]
    assert (figures["n"], figures["n_groups"]) == (8, 6)
    assert figures["accuracy"] == 5 / 8
    assert (figures["majority_class"], figures["majority_class_baseline"]) == ("a", 0.5)
    assert figures["balanced_accuracy"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
    assert figures["macro_f1"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)  # precision equals recall here
    # One-hot scores: AUC is (sensitivity + specificity) / 2.
    aucs = [(3 / 4 + 3 / 4) / 2, (1 / 2 + 5 / 6) / 2, (1 / 2 + 5 / 6) / 2]
    assert figures["macro_auc"] == pytest.approx(np.mean(aucs))
    assert figures["per_class"]["b"] == pytest.approx(
        {"n": 2, "sensitivity": 1 / 2, "specificity": 5 / 6, "precision": 1 / 2, "auc": aucs[1]}
    )
    assert "intervals" not in figures


def test_top_k_counts_the_truth_among_the_k_best():
    probabilities = np.array([[0.4, 0.3, 0.2, 0.1]] * 4)
    figures = metrics.evaluate(np.array([0, 1, 2, 3]), probabilities, "abcd", bootstrap=0)
    assert [figures[key] for key in ("accuracy", "top_2_accuracy", "top_3_accuracy")] == [0.25, 0.5, 0.75]


def test_a_perfect_and_a_constant_classifier():
    y_true = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2])
    perfect = metrics.evaluate(y_true, one_hot(y_true), ABC, bootstrap=200)
    assert [perfect[name] for name in metrics.HEADLINES] == [1, 1, 1, 1]
    assert perfect["intervals"] == {name: [1, 1] for name in metrics.HEADLINES}
    constant = metrics.evaluate(y_true, one_hot([0] * 10), ABC, bootstrap=0)
    assert constant["accuracy"] == constant["majority_class_baseline"] == 0.6
    assert constant["balanced_accuracy"] == pytest.approx(1 / 3)
    assert constant["macro_auc"] == 0.5
    assert constant["per_class"]["b"]["precision"] is None


def test_what_is_not_defined_is_none_and_json():
    y_true, probabilities, groups = drawn(1)
    some = y_true != 2
    figures = metrics.evaluate(y_true[some], probabilities[some], "abcd", groups[some], bootstrap=50)
    assert figures["per_class"]["c"]["sensitivity"] is figures["per_class"]["c"]["auc"] is None
    assert figures["balanced_accuracy"] == pytest.approx(
        np.mean([figures["per_class"][code]["sensitivity"] for code in "abd"])
    )
    one_class = metrics.evaluate(np.zeros(5, int), probabilities[:5], "abcd", bootstrap=50)
    assert one_class["macro_auc"] is one_class["intervals"]["macro_auc"] is None
    json.dumps([figures, one_class], allow_nan=False)
    same = metrics.paired_interval(np.zeros(5, int), probabilities[:5], probabilities[:5], bootstrap=50)
    assert same["macro_auc"] == {"difference": None, "interval": None}


def test_no_images_is_said():
    with pytest.raises(DataError, match="no images"):
        metrics.evaluate(np.zeros(0, int), np.zeros((0, 3)), ABC)


@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("clustered", [True, False])
def test_the_bootstrap_equals_a_slow_one_over_the_same_draws(clustered, levels):
    # Few images of four classes: in some resamples a class is gone.
    y_true, probabilities, groups = drawn(2, n=24, groups=9, levels=levels)
    names = np.unique(groups) if clustered else np.arange(len(y_true))
    images_of = [np.flatnonzero((groups if clustered else names) == name) for name in names]
    times = np.random.default_rng(7).multinomial(len(names), np.full(len(names), 1 / len(names)), 100)
    slow = []
    for row in times:
        chosen = np.concatenate([np.tile(images, count) for images, count in zip(images_of, row, strict=True)])
        slow.append(slow_figures(y_true[chosen], probabilities[chosen]))
    assert any(len(np.unique(y_true[np.isin(groups, names[row > 0])])) < 4 for row in times) or not clustered
    figures = metrics.evaluate(y_true, probabilities, "abcd", groups if clustered else None, bootstrap=100, seed=7)
    for name in metrics.HEADLINES:
        assert figures["intervals"][name] == pytest.approx(
            np.nanpercentile([one[name] for one in slow], [2.5, 97.5])
        ), name
    assert figures["intervals_over"] == ("groups" if clustered else "images")


def test_point_figures_are_the_resample_that_takes_every_image_once():
    y_true, probabilities, groups = drawn(3)
    figures = metrics.evaluate(y_true, probabilities, "abcd", bootstrap=0)
    once = metrics.resampled(y_true, [probabilities], groups, bootstrap=0, seed=0)[0]
    assert {name: once[name][0] for name in metrics.HEADLINES} == pytest.approx(
        {name: figures[name] for name in metrics.HEADLINES}
    )


def test_the_block_size_does_not_change_the_draws(monkeypatch):
    y_true, probabilities, groups = drawn(4)
    whole = metrics.evaluate(y_true, probabilities, "abcd", groups, bootstrap=100)
    monkeypatch.setattr(metrics, "_BLOCK", 7 * len(y_true))
    assert metrics.evaluate(y_true, probabilities, "abcd", groups, bootstrap=100) == whole


def test_copies_of_an_image_in_its_lesion_do_not_narrow_the_interval():
    y_true, probabilities, _ = drawn(5, n=60)
    lesions = np.array([f"{i:03}" for i in range(60)])
    single = metrics.evaluate(y_true, probabilities, "abcd", lesions, bootstrap=200)["intervals"]
    copied = [np.repeat(values, 4, axis=0) for values in (y_true, probabilities, lesions)]
    grouped = metrics.evaluate(copied[0], copied[1], "abcd", copied[2], bootstrap=200)["intervals"]
    naive = metrics.evaluate(copied[0], copied[1], "abcd", bootstrap=200)["intervals"]
    for name in metrics.HEADLINES:
        assert grouped[name] == pytest.approx(single[name])
        assert np.ptp(naive[name]) < 0.75 * np.ptp(grouped[name])


@pytest.mark.parametrize("levels", [None, 4])
def test_weighted_auc_equals_scikit_learn(levels):
    y_true, probabilities, _ = drawn(6, levels=levels)
    weights = np.random.default_rng(0).poisson(1, (20, len(y_true))).astype(float)
    ours = metrics.weighted_auc(y_true == 1, probabilities[:, 1], weights)
    theirs = [sk.roc_auc_score(y_true == 1, probabilities[:, 1], sample_weight=row) for row in weights]
    assert ours == pytest.approx(theirs)
    assert np.isnan(metrics.weighted_auc(y_true == 1, probabilities[:, 1], (y_true == 1)[None].astype(float)))


@pytest.mark.parametrize("transform", [np.log, np.sqrt, lambda p: 3 * p - 7])
def test_auc_does_not_change_under_a_rising_map_of_the_scores(transform):
    y_true, probabilities, groups = drawn(7)
    plain = metrics.evaluate(y_true, probabilities, "abcd", groups, bootstrap=100)
    mapped = metrics.evaluate(y_true, transform(probabilities), "abcd", groups, bootstrap=100)
    assert mapped == plain


def test_the_order_of_the_images_does_not_matter():
    y_true, probabilities, groups = drawn(8)
    order = np.random.default_rng(0).permutation(len(y_true))
    plain = metrics.evaluate(y_true, probabilities, "abcd", groups, bootstrap=100)
    shuffled = metrics.evaluate(y_true[order], probabilities[order], "abcd", groups[order], bootstrap=100)
    assert shuffled["confusion_matrix"] == plain["confusion_matrix"]
    for name in metrics.HEADLINES:
        assert shuffled[name] == pytest.approx(plain[name])
        assert shuffled["intervals"][name] == pytest.approx(plain["intervals"][name])


def test_the_order_of_the_classes_does_not_matter():
    y_true, probabilities, groups = drawn(9)
    order = [2, 0, 3, 1]
    plain = metrics.evaluate(y_true, probabilities, "abcd", groups, bootstrap=100)
    moved = metrics.evaluate(np.argsort(order)[y_true], probabilities[:, order], "cadb", groups, bootstrap=100)
    for name in metrics.HEADLINES:
        assert moved[name] == pytest.approx(plain[name])
        assert moved["intervals"][name] == pytest.approx(plain["intervals"][name])
    assert moved["per_class"]["d"] == pytest.approx(plain["per_class"]["d"])
    assert moved["majority_class"] == plain["majority_class"] == "d"


def test_paired_difference_is_b_minus_a_with_the_same_draws():
    y_true, probs_a, groups = drawn(10)
    probs_b = drawn(10)[1].copy()
    wrong = np.flatnonzero(probs_a.argmax(axis=1) != y_true)[:6]
    probs_b[wrong] = np.eye(4)[y_true[wrong]]
    paired = metrics.paired_interval(y_true, probs_a, probs_b, groups, bootstrap=200)
    a, b = (metrics.evaluate(y_true, probs, "abcd", groups, bootstrap=0) for probs in (probs_a, probs_b))
    for name in metrics.HEADLINES:
        assert paired[name]["difference"] == pytest.approx(b[name] - a[name])
        assert paired[name]["interval"][0] <= paired[name]["difference"] <= paired[name]["interval"][1]
    # b is a with errors mended: no resample can put it below a, which unpaired draws would.
    assert paired["accuracy"]["interval"][0] >= 0
    reverse = metrics.paired_interval(y_true, probs_b, probs_a, groups, bootstrap=200)
    assert reverse["accuracy"]["interval"] == pytest.approx([-v for v in paired["accuracy"]["interval"][::-1]])
    itself = metrics.paired_interval(y_true, probs_a, probs_a, groups, bootstrap=200)
    assert all(row == {"difference": 0, "interval": [0, 0]} for row in itself.values())


def test_agreement():
    assert metrics.agreement(one_hot([0, 1, 2, 2]), one_hot([0, 1, 2, 1])) == 0.75


def test_calibration_equals_a_slow_count():
    y_true, probabilities, _ = drawn(11, n=400)
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y_true
    error = 0.0
    for i in range(15):
        inside = [k for k in range(400) if i / 15 < confidence[k] <= (i + 1) / 15]
        if inside:
            error += abs(sum(right[k] for k in inside) - sum(confidence[k] for k in inside)) / 400
    figures = metrics.calibration(y_true, probabilities)
    assert figures["ece"] == pytest.approx(error)
    assert figures["brier"] == pytest.approx(
        np.mean([sum((probabilities[k, i] - (y_true[k] == i)) ** 2 for i in range(4)) for k in range(400)])
    )
    assert sum(row["n"] for row in figures["bins"]) == 400
    json.dumps(figures, allow_nan=False)


def test_calibration_by_hand():
    # Three images of confidence 0.8, two of them right; one sure and right; one sure and wrong.
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [1, 0], [0, 1]], np.float32)
    figures = metrics.calibration(np.array([0, 0, 0, 0, 0]), probabilities)
    assert figures["ece"] == pytest.approx((3 * abs(2 / 3 - 0.8) + 2 * abs(1 / 2 - 1)) / 5)
    assert figures["brier"] == pytest.approx((0.08 + 0.08 + 1.28 + 0 + 2) / 5)
    assert [row["n"] for row in figures["bins"]] == [3, 2]
    perfect = metrics.calibration(np.array([0, 1]), np.eye(2))
    assert (perfect["ece"], perfect["brier"]) == (0, 0)


def test_mcnemar_equals_the_binomial_test_of_scipy():
    for seed in range(6):
        y_true, probs_a, _ = drawn(seed, n=150)
        probs_b = probs_a + np.random.default_rng(seed).normal(0, 0.15, probs_a.shape)
        test = metrics.mcnemar(y_true, probs_a, probs_b)
        right_a, right_b = probs_a.argmax(axis=1) == y_true, probs_b.argmax(axis=1) == y_true
        only_a, only_b = np.sum(right_a & ~right_b), np.sum(right_b & ~right_a)
        assert (test["only_a_right"], test["only_b_right"]) == (only_a, only_b) and only_a + only_b > 3
        assert test["p_value"] == pytest.approx(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)
    # 1 to 9: 2 (1 + 10) / 2^10.
    y_true = np.zeros(10, int)
    probs_a, probs_b = one_hot([0] + 9 * [1], 2), one_hot([1] + 9 * [0], 2)
    assert metrics.mcnemar(y_true, probs_a, probs_b) == {"only_a_right": 1, "only_b_right": 9, "p_value": 22 / 1024}
    assert metrics.mcnemar(y_true, probs_a, probs_a)["p_value"] == 1


def test_mcnemar_of_many_images_is_finite():
    y_true = np.zeros(6000, int)
    right_first = np.eye(2)[np.r_[np.zeros(2900, int), np.ones(3100, int)]]
    test = metrics.mcnemar(y_true, right_first, right_first[:, ::-1])
    assert test["p_value"] == pytest.approx(stats.binomtest(2900, 6000, 0.5).pvalue, rel=1e-6)


@pytest.mark.parametrize(("low", "shown"), [(-0.0299, True), (-0.03, False), (-0.04, False), (0.01, True)])
def test_non_inferiority_looks_at_the_lower_end(low, shown):
    verdict = metrics.non_inferiority({"balanced_accuracy": {"difference": 0.0, "interval": [low, 0.02]}}, 0.03)
    assert verdict == {"figure": "balanced_accuracy", "margin": 0.03, "lower_end": low, "shown": shown}
    undefined = metrics.non_inferiority({"balanced_accuracy": {"difference": None, "interval": None}})
    assert undefined["shown"] is None
