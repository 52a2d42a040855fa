"""The figures of the report: by hand, against slow references, and against scikit-learn."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from sklearn import metrics as sk

from skin_edge.benchmarks.stats import describe, metrics, operating_points, resamples
from skin_edge.benchmarks.stats.calibration import choose_temperature, with_temperature
from skin_edge.benchmarks.stats.subgroups import age_group, subgroups
from skin_edge.edge_runtime.labels import Label

LABELS = (Label("bcc", "", True), Label("mel", "", True), Label("nv", "", False), Label("df", "", False))
CODES = [label.code for label in LABELS]


def drawn(seed, n=150, groups=60, classes=4):
    generator = np.random.default_rng(seed)
    y_true = generator.choice(classes, n, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    scores = np.exp(generator.normal(size=(n, classes)) + 1.3 * np.eye(classes)[y_true])
    lesions = np.array([f"lesion{g}" for g in generator.integers(groups, size=n)])
    return y_true, scores / scores.sum(axis=1, keepdims=True), lesions


def all_pairs(positive, scores):
    """AUC by its definition: every positive against every negative."""
    pairs = [
        1.0 if p > q else 0.5 if p == q else 0.0 for p, q in itertools.product(scores[positive], scores[~positive])
    ]
    return sum(pairs) / len(pairs)


def slow_ece(confidence, right):
    total = 0.0
    for i in range(15):
        inside = [k for k, c in enumerate(confidence) if i / 15 < c <= (i + 1) / 15]
        if inside:
            total += abs(sum(right[k] for k in inside) - sum(confidence[k] for k in inside)) / len(confidence)
    return total


def slow_figures(y_true, p):
    """Path -> figure of one resample, by loops and scikit-learn; absent where undefined."""
    predicted = p.argmax(axis=1)
    found = {
        ("accuracy",): float(np.mean(predicted == y_true)),
        ("calibration", "ece"): slow_ece(p.max(axis=1), predicted == y_true),
        ("calibration", "brier"): np.mean(
            [sum((p[k, i] - (y_true[k] == i)) ** 2 for i in range(4)) for k in range(len(p))]
        ),
    }
    for i, code in enumerate(CODES):
        positive = y_true == i
        if positive.any():
            found["per_class", code, "sensitivity"] = np.mean(predicted[positive] == i)
        if not positive.all():
            found["per_class", code, "specificity"] = np.mean(predicted[~positive] != i)
        if positive.any() and not positive.all():
            found["per_class", code, "auc"] = all_pairs(positive, p[:, i])
    sensitivities = [value for path, value in found.items() if path[-1] == "sensitivity"]
    found[("balanced_accuracy",)] = np.mean(sensitivities)
    malignant = y_true <= 1
    if malignant.any() and not malignant.all():
        found["targets", "malignant", "auc"] = all_pairs(malignant, p[:, 0] + p[:, 1])
    return found


def test_every_interval_equals_an_explicit_loop_over_the_same_draws():
    y_true, p, lesions = drawn(0, n=36, groups=14)
    names = np.unique(lesions)
    times = np.random.default_rng(5).multinomial(len(names), np.full(len(names), 1 / len(names)), 120)
    slow: dict[tuple[str, ...], list[float]] = {}
    for row in times:
        chosen = [k for name, count in zip(names, row, strict=True) for _ in range(count) for k in np.flatnonzero(lesions == name)]  # fmt: skip # noqa: E501
        for path, value in slow_figures(y_true[chosen], p[chosen]).items():
            slow.setdefault(path, []).append(value)
    fast = resamples.draws(y_true, p, CODES, operating_points.targets(LABELS), lesions, bootstrap=120, seed=5)
    for path, values in slow.items():
        assert fast[path][np.isfinite(fast[path])] == pytest.approx(values), path
    once = resamples.draws(y_true, p, CODES, operating_points.targets(LABELS), lesions, bootstrap=0, seed=5)
    assert {path: once[path][0] for path in slow_figures(y_true, p)} == pytest.approx(slow_figures(y_true, p))


def test_describe_agrees_with_the_figures_it_is_made_of_and_is_json():
    y_true, p, lesions = drawn(1)
    frozen = operating_points.freeze(*drawn(2)[:2], LABELS, "others")
    said = describe.describe(
        y_true, p, LABELS, lesions, frozen=frozen, temperature=1.7, attributes={"sex": ["male", ""] * 75}, bootstrap=50
    )
    json.dumps(said, allow_nan=False)
    plain = metrics.evaluate(y_true, p, CODES, lesions, bootstrap=50)
    assert {key: said[key] for key in ("n", "n_groups", "accuracy", "confusion_matrix", "intervals")} == {
        key: plain[key] for key in ("n", "n_groups", "accuracy", "confusion_matrix", "intervals")
    }
    assert said["targets"]["malignant"]["auc"] == pytest.approx(sk.roc_auc_score(y_true <= 1, p[:, :2].sum(axis=1)))
    assert said["targets"]["mel"]["auc"] == pytest.approx(said["per_class"]["mel"]["auc"])
    assert sum(row["brier"] for row in said["per_class"].values()) == pytest.approx(said["calibration"]["brier"])
    logits = np.log(p) / 1.7
    softened = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert said["recalibrated"]["ece"] == pytest.approx(slow_ece(softened.max(axis=1), p.argmax(axis=1) == y_true))
    for name, curve in said["roc"].items():
        auc = (said["targets"].get(name) or said["per_class"].get(name))["auc"]
        assert sk.auc(curve["fpr"], curve["tpr"]) == pytest.approx(auc, abs=0.01)
        assert (curve["fpr"][0], curve["tpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0, 0, 1, 1)


def test_a_class_without_images_is_none_everywhere_and_named():
    y_true, p, lesions = drawn(3)
    some = (y_true == 2) | (y_true == 3)
    said = describe.describe(y_true[some], p[some], LABELS, lesions[some], bootstrap=30)
    json.dumps(said, allow_nan=False)
    assert said["absent_classes"] == ["bcc", "mel"]
    assert said["targets"]["malignant"]["auc"] is said["targets"]["malignant"]["interval"] is None
    assert said["per_class"]["mel"]["intervals"]["auc"] is said["per_class"]["mel"]["intervals"]["sensitivity"] is None
    assert set(said["roc"]) == {"nv", "df"}


def test_operating_points_by_hand():
    labels = (Label("mel", "", True), Label("nv", "", False))
    scores = np.array([0.9, 0.8, 0.6, 0.3, 0.7, 0.5, 0.4, 0.2, 0.1, 0.05])
    y_true = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    p = np.stack([scores, 1 - scores], axis=1)
    rows = {
        (row["target"], row["chosen_for"], row["wanted"]): row
        for row in operating_points.freeze(y_true, p, labels, "here")
    }
    # All four positives are needed for 90%: below 0.3, half-way to 0.2.
    high = rows["mel", "sensitivity", 0.9]
    assert high["threshold"] == pytest.approx(0.25)
    assert high["found"] == {"n_positive": 4, "n_negative": 6, "sensitivity": 1.0, "specificity": 3 / 6}
    # 80% of six negatives are five: above 0.5, half-way to 0.6.
    specific = rows["mel", "specificity", 0.8]
    assert specific["threshold"] == pytest.approx(0.55)
    assert specific["found"]["sensitivity"] == 3 / 4
    # Elsewhere, frozen: no score moves the threshold.
    (other,) = operating_points.measure(
        [high], np.array([0, 0, 1, 1]), np.array([[0.24, 0.76], [0.26, 0.74], [0.1, 0.9], [0.3, 0.7]]), ["mel", "nv"],
        None, bootstrap=0, seed=0,
    )  # fmt: skip
    assert (other["threshold"], other["sensitivity"], other["specificity"]) == (high["threshold"], 0.5, 0.5)
    assert other["roc"] == {"sensitivity": 1.0, "specificity": 0.5}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("kind", "wanted"), operating_points.ASKED)
def test_frozen_thresholds_and_the_roc_equal_a_search_over_every_threshold(seed, kind, wanted):
    y_true, p, _ = drawn(seed, n=60)
    p = np.floor(p * 64) / 64  # ties, and sums that are exact
    positive, scores = y_true <= 1, p[:, 0] + p[:, 1]
    best = None
    for threshold in [*np.unique(scores), 2.0]:
        found = scores >= threshold
        point = {"sensitivity": found[positive].mean(), "specificity": (~found[~positive]).mean()}
        other = "specificity" if kind == "sensitivity" else "sensitivity"
        if point[kind] >= wanted - 1e-12 and (best is None or point[other] > best[other]):
            best = point
    assert best is not None
    ours = operating_points.on_roc(positive, scores, kind, wanted)
    assert ours[other] == pytest.approx(best[other])
    row = next(
        row
        for row in operating_points.freeze(y_true, p, LABELS, "")
        if (row["target"], row["chosen_for"], row["wanted"]) == ("malignant", kind, wanted)
    )
    assert row["found"][kind] >= wanted
    assert row["found"][other] == pytest.approx(best[other])


def test_what_nobody_called_malignant_or_not_gets_no_target():
    unsaid = (Label("a", "", True), Label("b", "", None), Label("mel", "", True))
    assert operating_points.targets(unsaid) == {"mel": ["mel"]}
    assert operating_points.targets((Label("x", ""), Label("y", ""))) == {}
    assert operating_points.targets(LABELS) == {"malignant": ["bcc", "mel"], "mel": ["mel"]}


def test_risk_coverage_by_hand_and_with_ties():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.6, 0.4]])
    said = describe.risk_coverage(np.array([0, 1, 0, 1]), p)
    assert said["aurc"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    by_coverage = {row["coverage"]: row for row in said["curve"]}
    assert (by_coverage[0.5]["risk"], by_coverage[0.5]["n"], by_coverage[0.5]["least_confidence"]) == (0.5, 2, 0.8)
    assert by_coverage[1.0]["risk"] == 0.5
    # Equally sure of all: whatever is refused, half of the answers are wrong.
    tied = describe.risk_coverage(np.array([0, 0, 1, 1]), np.tile([[0.7, 0.3]], (4, 1)))
    assert {row["risk"] for row in tied["curve"]} == {0.5}
    # A random order of the ties gives the same on average.
    generator = np.random.default_rng(0)
    y_true, p = generator.integers(2, size=12), np.repeat([[0.9, 0.1], [0.6, 0.4]], 6, axis=0)
    means = []
    for _ in range(4000):
        order = np.r_[generator.permutation(6), 6 + generator.permutation(6)]
        wrong = (y_true != 0)[order]
        means.append(np.mean(np.cumsum(wrong) / np.arange(1, 13)))
    assert describe.risk_coverage(y_true, p)["aurc"] == pytest.approx(np.mean(means), abs=0.005)


def test_the_temperature_softens_as_it_says():
    y_true, p, _ = drawn(4, n=400)
    sharp = with_temperature(p, 1 / 2.5)
    assert with_temperature(sharp, 2.5) == pytest.approx(p)
    assert choose_temperature(sharp, y_true) == pytest.approx(2.5 * choose_temperature(p, y_true), rel=0.01)
    assert (sharp.argmax(axis=1) == p.argmax(axis=1)).all()


def test_age_groups():
    ages = ["29.9", "30", "49", "50.0", "69", "70", "85", "0", "", "nan", "abc", "-3", "999", "inf"]
    assert [age_group(age) for age in ages] == [
        "under 30", "30-49", "30-49", "50-69", "50-69", "70 and over", "70 and over", *["unknown"] * 7,
    ]  # fmt: skip


def test_a_subgroup_is_the_same_model_on_its_images_alone():
    y_true, p, lesions = drawn(6, n=200)
    sex = np.random.default_rng(0).choice(["male", "Female", ""], 200, p=[0.5, 0.45, 0.05])
    age = ["60"] * 181 + ["20"] * 19
    found = subgroups(y_true, p, LABELS, lesions, {"sex": list(sex), "age": age, "shoe": [""] * 200}, bootstrap=40, seed=3)  # fmt: skip # noqa: E501
    assert set(found) == {"age", "sex"}
    assert [row["group"] for row in found["sex"]] == ["female", "male", "unknown"]
    assert [row["group"] for row in found["age"]] == ["under 30", "50-69"]
    young, old = found["age"]
    assert young == {"group": "under 30", "n": 19, "n_groups": young["n_groups"], "too_few": True}
    assert (old["n"], old["too_few"]) == (181, False)
    male = sex == "male"
    row = found["sex"][1]
    alone = metrics.evaluate(y_true[male], p[male], CODES, lesions[male], bootstrap=40, seed=3)
    assert row["n"] == male.sum()
    assert row["accuracy"] == pytest.approx(alone["accuracy"])
    assert row["intervals"]["balanced_accuracy"] == pytest.approx(alone["intervals"]["balanced_accuracy"])
    assert row["melanoma_sensitivity"] == pytest.approx(alone["per_class"]["mel"]["sensitivity"])
    assert row["malignant_auc"] == pytest.approx(all_pairs(y_true[male] <= 1, p[male, 0] + p[male, 1]))


def test_the_worst_mistakes_are_the_surest_and_melanomas_come_first():
    p = np.array([
        [0.1, 0.2, 0.6, 0.1],  # melanoma missed, 0.6
        [0.0, 0.1, 0.9, 0.0],  # melanoma missed, 0.9
        [0.0, 0.9, 0.1, 0.0],  # melanoma found
        [0.8, 0.1, 0.1, 0.0],  # nv called bcc
        [0.0, 0.7, 0.3, 0.0],  # nv called melanoma
    ])  # fmt: skip
    found = describe.mistakes(np.array([1, 1, 1, 2, 2]), p, LABELS, most=1)
    assert found["melanomas_missed"] == {
        "n": 2,
        "shown": [{"row": 1, "truth": "mel", "predicted": "nv", "confidence": 0.9, "p_truth": 0.1}],
    }
    assert (found["others"]["n"], found["others"]["shown"][0]["row"]) == (2, 3)
