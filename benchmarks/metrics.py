"""Figures of a classifier: point estimates by scikit-learn, intervals by a bootstrap over groups.

Pictures of one lesion are no independent observations, so the bootstrap draws whole groups (lesions) with replacement:
Field and Welsh, "Bootstrapping clustered data", J. R. Statist. Soc. B 69 (2007). Intervals are percentile intervals.

Everywhere: truth is int [n], the position of the label; probabilities are float [n, classes] (any scores that rank
serve); groups are [n] of anything hashable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Truth = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.floating[Any]]

HEADLINES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auc")


def evaluate(
    truth: Truth,
    probabilities: Scores,
    labels: Sequence[str],
    groups: npt.NDArray[Any] | None = None,
    *,
    bootstrap: int = 1000,
    seed: int = 42,
) -> dict[str, Any]:
    """All figures, JSON-ready; None where one is undefined (a class without images, say).

    intervals: [low, high] at 95% for each of HEADLINES, from `bootstrap` resamples (none where that is 0) of whole
    groups, or of images where `groups` is None.
    """
    from sklearn import metrics as sk

    classes = len(labels)
    predicted = probabilities.argmax(axis=1)
    confusion = np.asarray(sk.confusion_matrix(truth, predicted, labels=range(classes)))
    figures = _from_confusion(confusion[None].astype(np.float64))
    aucs = [_auc(sk, truth == position, probabilities[:, position]) for position in range(classes)]
    counts = confusion.sum(axis=1)
    majority = int(counts.argmax())
    result: dict[str, Any] = {
        "n": len(truth),
        "n_groups": len(truth) if groups is None else len(np.unique(groups)),
        "accuracy": float(figures["accuracy"][0]),
        "majority_class": labels[majority],
        "majority_class_baseline": float(counts[majority] / max(len(truth), 1)),
        "balanced_accuracy": float(figures["balanced_accuracy"][0]),
        "macro_f1": float(figures["macro_f1"][0]),
        "macro_auc": _mean([auc for auc in aucs if auc is not None]),
    }
    for k in (2, 3):
        if k < classes:
            top = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
            result[f"top_{k}_accuracy"] = float((top == truth[:, None]).any(axis=1).mean())
    result["per_class"] = {
        code: {"n": int(counts[i]), **_class_figures(confusion, i), "auc": aucs[i]} for i, code in enumerate(labels)
    }
    result["confusion_matrix"] = confusion.tolist()
    if bootstrap:
        draws = resampled(truth, [probabilities], groups, bootstrap=bootstrap, seed=seed)[0]
        result["intervals"] = {name: interval(draws[name]) for name in HEADLINES}
        result["intervals_over"] = "images" if groups is None else "groups"
    return result


def agreement(first: Scores, second: Scores) -> float:
    """The share (0..1) of images to which both give the same top class."""
    return float((first.argmax(axis=1) == second.argmax(axis=1)).mean())


def paired_difference(
    truth: Truth,
    first: Scores,
    second: Scores,
    groups: npt.NDArray[Any] | None = None,
    *,
    bootstrap: int = 1000,
    seed: int = 42,
) -> dict[str, dict[str, Any]]:
    """second minus first, with the interval from the same resamples for both: {figure: {difference, interval}}."""
    before, after = resampled(truth, [first, second], groups, bootstrap=bootstrap, seed=seed)
    points = [resampled(truth, [scores], groups, bootstrap=0, seed=seed)[0] for scores in (first, second)]
    return {
        name: {
            "difference": float(points[1][name][0] - points[0][name][0]),
            "interval": interval(after[name] - before[name]),
        }
        for name in HEADLINES
    }


def interval(draws: npt.NDArray[np.float64]) -> list[float]:
    """[2.5th, 97.5th] percentile."""
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return [float(low), float(high)]


def resampled(
    truth: Truth,
    models: Sequence[Scores],
    groups: npt.NDArray[Any] | None,
    *,
    bootstrap: int,
    seed: int,
) -> list[dict[str, npt.NDArray[np.float64]]]:
    """Per model, HEADLINES over `bootstrap` resamples of whole groups, the same resamples for all models.

    bootstrap 0 gives one "resample": the images as they are. A class that a resample lacks is left out of its means.
    """
    n, classes = models[0].shape
    members = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    size = int(members.max()) + 1
    generator = np.random.default_rng(seed)
    if bootstrap:
        group_weights = generator.multinomial(size, np.full(size, 1 / size), bootstrap).astype(np.float64)
    else:
        group_weights = np.ones((1, size))
    weights = group_weights[:, members]
    cells_of = np.eye(classes * classes)
    results: list[dict[str, npt.NDArray[np.float64]]] = []
    for scores in models:
        cell = truth * classes + scores.argmax(axis=1)
        confusions = (weights @ cells_of[cell]).reshape(-1, classes, classes)
        figures = _from_confusion(confusions)
        aucs = np.stack([weighted_auc(truth == i, scores[:, i], weights) for i in range(classes)])
        present = np.isfinite(aucs)
        figures["macro_auc"] = np.where(present, aucs, 0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
        results.append(figures)
    return results


def weighted_auc(
    positive: npt.NDArray[np.bool_], scores: Scores, weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Area under the ROC curve per row of weights: the share of (positive, negative) pairs in order, ties half.

    positive: bool [n]. scores: [n]. weights: [resamples, n], at least 0. Returns [resamples], NaN where a resample has
    no positive or no negative.
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


def _from_confusion(confusions: npt.NDArray[np.float64]) -> dict[str, npt.NDArray[np.float64]]:
    """accuracy, balanced accuracy and macro F1 of [resamples, truth, predicted]; means over the classes present."""
    hits = np.diagonal(confusions, axis1=1, axis2=2)
    actual, predicted = confusions.sum(axis=2), confusions.sum(axis=1)
    present = actual > 0
    recall = hits / np.maximum(actual, 1e-300)
    f1 = 2 * hits / np.maximum(actual + predicted, 1e-300)
    classes = np.maximum(present.sum(axis=1), 1)
    return {
        "accuracy": hits.sum(axis=1) / np.maximum(actual.sum(axis=1), 1e-300),
        "balanced_accuracy": np.where(present, recall, 0).sum(axis=1) / classes,
        "macro_f1": np.where(present, f1, 0).sum(axis=1) / classes,
    }


def _class_figures(confusion: npt.NDArray[np.int64], i: int) -> dict[str, float | None]:
    hits, actual, predicted = confusion[i, i], confusion[i].sum(), confusion[:, i].sum()
    others = confusion.sum() - actual
    return {
        "sensitivity": float(hits / actual) if actual else None,
        "specificity": float(1 - (predicted - hits) / others) if others else None,
        "precision": float(hits / predicted) if predicted else None,
    }


def _auc(sk: Any, positive: npt.NDArray[np.bool_], scores: Scores) -> float | None:
    return float(sk.roc_auc_score(positive, scores)) if 0 < positive.sum() < len(positive) else None


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
