"""Figures of a classifier, and their intervals by a bootstrap over groups.

One implementation in NumPy, `weighted_figures`, gives a figure and its resamples: 1,000 resamples cost what one matrix
product costs, and the device needs no scikit-learn, which is the oracle of the tests.

Pictures of one lesion are not independent observations, so the bootstrap draws whole groups (lesions) with replacement:
Field and Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69 (2007). Intervals are percentile intervals.

Everywhere: y_true is int [n], the position of the label; probabilities are float [n, classes] (any scores that rank
serve); groups are [n] of anything that sorts, lesion ids say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.errors import DataError
from . import group_kinds

Truth = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float64]

HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")

# How much balanced accuracy a model may lose to its reference and still count as no worse, where nothing else is said.
NON_INFERIORITY_MARGIN = 0.03

CALIBRATION_BINS = 15

# Resamples are weighed in blocks of at most this many numbers, so that a board with 512 MB can do it.
_BLOCK = 1_000_000


def evaluate(
    y_true: Truth,
    probabilities: Scores,
    labels: Sequence[str],
    groups: group_kinds.Groups | npt.NDArray[Any] | None = None,
    *,
    bootstrap: int = 1000,
    seed: int = 42,
) -> dict[str, Any]:
    """All figures, JSON-ready, 0..1; None where one is undefined (the AUC of a class without images, say).

    Args:
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1.
        labels: The codes in the order of the columns of `probabilities`.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.

    Returns:
        Means over classes are over the classes that have images. top_2_accuracy and top_3_accuracy are there where the
        model has more classes than that. confusion_matrix: rows are the truth. intervals: [low, high] at 95% for each
        of HEADLINES, from `bootstrap` resamples (none where that is 0) of whole groups, or of images where `groups` is
        None. groups: `Groups.described`, and n_groups, how many of them are named: None where none is.

    Raises:
        DataError: Where there are no images.
    """
    if not len(y_true):
        raise DataError("there are no images to measure accuracy on")
    classes = len(labels)
    figures = {
        name: values[0] for name, values in weighted_figures(y_true, probabilities, np.ones((1, len(y_true)))).items()
    }
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (y_true, probabilities.argmax(axis=1)), 1)
    counts, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    majority = int(counts.argmax())
    grouped = group_kinds.of(groups, len(y_true))
    described = grouped.described()
    result: dict[str, Any] = {
        "n": len(y_true),
        "n_groups": described["n"],
        "groups": described,
        "accuracy": float(figures["accuracy"]),
        "majority_class": labels[majority],
        "majority_class_baseline": float(counts[majority] / len(y_true)),
        **{name: defined(figures[name]) for name in ("balanced_accuracy", "macro_f1", "macro_auc")},
    }
    for k in (2, 3):
        if k < classes:
            top = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
            result[f"top_{k}_accuracy"] = float((top == y_true[:, None]).any(axis=1).mean())
    result["per_class"] = {
        code: {
            "n": int(counts[i]),
            "sensitivity": defined(figures["class_sensitivity"][i]),
            "specificity": defined(figures["class_specificity"][i]),
            "precision": float(confusion[i, i] / predicted[i]) if predicted[i] else None,
            "auc": defined(figures["class_auc"][i]),
        }
        for i, code in enumerate(labels)
    }
    result["confusion_matrix"] = confusion.tolist()
    if bootstrap:
        draws = resampled(y_true, [probabilities], grouped.drawn, bootstrap=bootstrap, seed=seed)[0]
        result["intervals"] = {name: interval(draws[name]) for name in HEADLINES}
        result["intervals_over"] = "images" if grouped.drawn is None else "groups"
    return result


def agreement(probs_a: Scores, probs_b: Scores) -> float:
    """The share (0..1) of images to which both give the same top class."""
    return float((probs_a.argmax(axis=1) == probs_b.argmax(axis=1)).mean())


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95% interval of a share (0..1) of `n` independent images; not of zero width where the share is 0 or 1.

    Wilson, J. Am. Stat. Assoc. 22 (1927). Where several images are of one lesion, it is somewhat too narrow.
    """
    z = 1.959964
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def calibration(y_true: Truth, probabilities: Scores) -> dict[str, Any]:
    """How far the probabilities can be taken at their word: {"ece", "brier", "bins"}. Lower is better.

    ece: expected calibration error, 0..1, over CALIBRATION_BINS equal-width bins of the top class's probability, each
    open below and closed above: the mean distance of accuracy and confidence, weighted by images. Guo et al., "On
    Calibration of Modern Neural Networks", ICML 2017, equation 3. brier: sum over classes of the squared distance to
    the one-hot truth, mean over images, 0..2: Brier, Monthly Weather Review 78 (1950). bins: {low, high, n, confidence,
    accuracy} of each bin that holds images.

    Args:
        probabilities: Rows that sum to 1.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == y_true
    edges, bin_of = calibration_bins(confidence)
    bins: list[dict[str, Any]] = []
    for i in np.unique(bin_of):
        inside = bin_of == i
        bins.append(
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "n": int(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(right[inside].mean()),
            }
        )
    distance = probabilities.astype(np.float64) - np.eye(probabilities.shape[1])[y_true]
    return {
        "ece": sum(row["n"] * abs(row["accuracy"] - row["confidence"]) for row in bins) / len(y_true),
        "brier": float((distance**2).sum(axis=1).mean()),
        "bins": bins,
    }


def calibration_bins(confidence: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """(CALIBRATION_BINS + 1 edges, the bin of each confidence, 0..1): open below, closed above; 0 is in the first."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    return edges, np.asarray(np.searchsorted(edges[1:-1], confidence, side="left"), np.intp)


def mcnemar(y_true: Truth, probs_a: Scores, probs_b: Scores) -> dict[str, Any]:
    """Is one of the two right more often? Exact test over the images that one has right and the other wrong.

    Returns {"only_a_right", "only_b_right", "p_value"}. p_value: two-sided, 2 P(X <= min) of Binomial(n, 1/2), at most
    1; 1 where the two never differ. McNemar, Psychometrika 12 (1947), in its exact form. It counts images as
    independent: where several are of one lesion, it is too sure of itself, and the paired interval is the better judge.
    """
    right_a, right_b = probs_a.argmax(axis=1) == y_true, probs_b.argmax(axis=1) == y_true
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n = only_a + only_b
    tail = sum(math.comb(n, k) for k in range(min(only_a, only_b) + 1))
    # Whole numbers until the last division: exact for any n.
    return {"only_a_right": only_a, "only_b_right": only_b, "p_value": min(1.0, 2 * tail / 2**n)}


def non_inferiority(difference: dict[str, Any], margin: float = NON_INFERIORITY_MARGIN) -> dict[str, Any]:
    """Is b no worse than a by `margin`? {"figure", "margin", "lower_end", "shown"}.

    Args:
        difference: What `paired_interval` returned.

    Returns:
        shown: whether the lower end of the paired 95% interval of b minus a in balanced accuracy is above -margin (a
        one-sided test at 2.5%); None where the interval is not defined. Not shown does not mean worse: there may be too
        few images. Piaggio et al., "Reporting of noninferiority and equivalence randomized trials", JAMA 308 (2012).
    """
    bounds = difference["balanced_accuracy"]["interval"]
    return {
        "figure": "balanced_accuracy",
        "margin": margin,
        "lower_end": bounds[0] if bounds else None,
        "shown": bounds[0] > -margin if bounds else None,
    }


def threshold_for_sensitivity(positive: npt.NDArray[np.bool_], scores: Scores, sensitivity: float) -> float:
    """The highest threshold at which at least `sensitivity` (0..1) of the positives have score >= threshold.

    Half-way down to the next lower score, so that rounding does not lose a case that is exactly on it.

    Args:
        positive: bool [n] with at least one True.
        scores: float [n].
    """
    wanted = int(np.ceil(sensitivity * positive.sum() - 1e-9))
    if wanted < 1:
        raise ValueError("there is no positive to be found, or none is wanted")
    lowest_kept = float(np.sort(scores[positive])[::-1][wanted - 1])
    below = scores[scores < lowest_kept]
    return (lowest_kept + float(below.max())) / 2 if len(below) else lowest_kept / 2


def at_threshold(
    positive: npt.NDArray[np.bool_],
    scores: Scores,
    threshold: float,
    groups: npt.NDArray[Any] | None = None,
    *,
    bootstrap: int = 0,
    seed: int = 42,
) -> dict[str, Any]:
    """Sensitivity and specificity (0..1, None where undefined) where score >= threshold counts as found.

    Args:
        positive: bool [n].
        scores: [n]. With `bootstrap` resamples, as `evaluate` has them, also "intervals".
        threshold: Of the scores.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
    """
    found = scores >= threshold
    positives, negatives = int(positive.sum()), int((~positive).sum())
    result: dict[str, Any] = {
        "n_positive": positives,
        "n_negative": negatives,
        "sensitivity": float(found[positive].mean()) if positives else None,
        "specificity": float((~found[~positive]).mean()) if negatives else None,
    }
    if bootstrap:
        columns = np.stack([positive, positive & found, ~positive, ~positive & ~found], axis=1).astype(np.float64)
        sums = np.concatenate(
            [np.matmul(weights, columns) for weights in image_weights(len(positive), groups, bootstrap, seed)]
        )
        result["intervals"] = {
            name: interval(np.where(sums[:, of] > 0, sums[:, hit] / np.maximum(sums[:, of], 1e-300), np.nan))
            for name, of, hit in (("sensitivity", 0, 1), ("specificity", 2, 3))
        }
    return result


def paired_interval(
    y_true: Truth,
    probs_a: Scores,
    probs_b: Scores,
    groups: npt.NDArray[Any] | None = None,
    *,
    bootstrap: int = 1000,
    seed: int = 42,
) -> dict[str, dict[str, Any]]:
    """b minus a, with the 95% interval from the same resamples for both: {figure: {difference, interval}}.

    figure: each of HEADLINES. None where a figure is undefined.

    Args:
        y_true: int [n], the position of each image's label.
        probs_a: float [n, classes] of the first model.
        probs_b: float [n, classes] of the second model, for the same images.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
    """
    points_a, points_b = resampled(y_true, [probs_a, probs_b], groups, bootstrap=0, seed=seed)
    draws_a, draws_b = resampled(y_true, [probs_a, probs_b], groups, bootstrap=bootstrap, seed=seed)
    result: dict[str, dict[str, Any]] = {}
    for name in HEADLINES:
        difference = float(points_b[name][0] - points_a[name][0])
        result[name] = {
            "difference": defined(difference),
            "interval": interval(draws_b[name] - draws_a[name]),
        }
    return result


def interval(draws: Floats) -> list[float] | None:
    """[2.5th, 97.5th] percentile of the draws that are defined; None where none is."""
    defined = draws[np.isfinite(draws)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, [2.5, 97.5])
    return [float(low), float(high)]


def defined(value: Any) -> float | None:
    """A number as JSON has it: None instead of NaN or infinity."""
    return float(value) if np.isfinite(value) else None


def resampled(
    y_true: Truth,
    models: Sequence[Scores],
    groups: npt.NDArray[Any] | None,
    *,
    bootstrap: int,
    seed: int,
) -> list[dict[str, Floats]]:
    """Per model, HEADLINES over `bootstrap` resamples of whole groups ([resamples] each), the same for all models.

    bootstrap 0 gives one "resample": the images as they are. A class that a resample lacks is left out of its means;
    macro_auc is NaN where no class has an AUC.

    Args:
        y_true: int [n], the position of each image's label.
        models: float [n, classes] of each model.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
    """
    blocks: list[list[dict[str, Floats]]] = [[] for _ in models]
    for weights in image_weights(len(y_true), groups, bootstrap, seed):
        for model, scores in zip(blocks, models, strict=True):
            model.append(weighted_figures(y_true, scores, weights))
    return [{name: np.concatenate([block[name] for block in model]) for name in HEADLINES} for model in blocks]


def weighted_auc(positive: npt.NDArray[np.bool_], scores: Scores, weights: Floats) -> Floats:
    """Area under the ROC curve per row of weights: the share of (positive, negative) pairs in order, ties half.

    Args:
        positive: bool [n].
        scores: [n].
        weights: [resamples, n], at least 0.

    Returns:
        [resamples], NaN where a resample has no positive or no negative. Equals the Mann-Whitney statistic: Hanley and
        McNeil, Radiology 143 (1982).
    """
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])  # of each run of equal scores
    sorted_weights = weights[:, order]
    is_positive = positive[order]
    positives = np.add.reduceat(sorted_weights * is_positive, starts, axis=1)
    negatives = np.add.reduceat(sorted_weights * ~is_positive, starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    ordered = (positives * (below + negatives / 2)).sum(axis=1)
    return np.where(pairs > 0, ordered / np.maximum(pairs, 1e-300), np.nan)


def image_weights(n: int, groups: npt.NDArray[Any] | None, bootstrap: int, seed: int) -> Iterator[Floats]:
    """How often each image is in each resample of whole groups: [resamples, n] in blocks, `bootstrap` rows in all.

    The same draws whatever the size of the blocks is, and for every figure that is computed from them: that is what
    makes differences paired. bootstrap 0 gives one row of ones: the images as they are.

    Args:
        n: Number of images.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
    """
    members: npt.NDArray[np.intp] = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    for weights in _group_weights(int(members.max()) + 1, bootstrap, seed, rows=max(1, _BLOCK // n)):
        yield weights[:, members]


def _group_weights(size: int, bootstrap: int, seed: int, *, rows: int) -> Iterator[Floats]:
    """How often each group is drawn: [at most `rows`, size] at a time, the same draws whatever `rows` is."""
    if not bootstrap:
        yield np.ones((1, size))
        return
    generator = np.random.default_rng(seed)
    for start in range(0, bootstrap, rows):
        yield generator.multinomial(size, np.full(size, 1 / size), min(rows, bootstrap - start)).astype(np.float64)


def weighted_figures(y_true: Truth, scores: Scores, weights: Floats) -> dict[str, Floats]:
    """Figures per row of weights: HEADLINES as [resamples], and class_sensitivity, class_specificity and class_auc as
    [resamples, classes].

    Args:
        weights: [resamples, n], at least 0. NaN where a resample has no image that a figure is about.
    """
    classes = scores.shape[1]
    is_true, is_predicted = np.eye(classes)[y_true], np.eye(classes)[scores.argmax(axis=1)]
    actual: Floats = np.matmul(weights, is_true)
    predicted: Floats = np.matmul(weights, is_predicted)
    hits: Floats = np.matmul(weights, is_true * is_predicted)
    present = actual > 0
    others = actual.sum(axis=1, keepdims=True) - actual
    sensitivity = hits / np.maximum(actual, 1e-300)
    aucs = np.stack([weighted_auc(y_true == i, scores[:, i], weights) for i in range(classes)], axis=1)
    return {
        "accuracy": hits.sum(axis=1) / actual.sum(axis=1),
        "balanced_accuracy": _mean_where(present, sensitivity),
        "macro_f1": _mean_where(present, 2 * hits / np.maximum(actual + predicted, 1e-300)),
        "macro_auc": _mean_where(np.isfinite(aucs), aucs),
        "class_sensitivity": np.where(present, sensitivity, np.nan),
        "class_specificity": np.where(others > 0, 1 - (predicted - hits) / np.maximum(others, 1e-300), np.nan),
        "class_auc": aucs,
    }


def _mean_where(present: npt.NDArray[np.bool_], values: Floats) -> Floats:
    """Row means of [resamples, classes] over what is present; NaN for a row without any."""
    count = present.sum(axis=1)
    return np.where(count > 0, np.where(present, values, 0).sum(axis=1) / np.maximum(count, 1), np.nan)
