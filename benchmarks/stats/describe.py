"""All that a report says of a model on some pictures, computed once: terminal, page and files only print it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.labels import Label
from . import group_kinds, metrics, operating_points, refusals, resamples
from .calibration import with_temperature
from .subgroups import subgroups

_CURVE_POINTS = 120  # of a ROC curve: more cannot be seen

COVERAGES = tuple(round(0.05 * step, 2) for step in range(1, 21))


def describe(
    y_true: metrics.Truth,
    probabilities: metrics.Scores,
    labels: Sequence[Label],
    groups: group_kinds.Groups | npt.NDArray[Any] | None,
    *,
    frozen: Sequence[Mapping[str, Any]] = (),
    temperature: float | None = None,
    attributes: Mapping[str, Sequence[str]] | None = None,
    said: refusals.Said | None = None,
    bootstrap: int = 1000,
    seed: int = 42,
) -> dict[str, Any]:
    """JSON-ready; 0..1 but the Brier score (0..2); None where a figure is undefined, never NaN.

    What `metrics.evaluate` gives, and: intervals, ece and brier per class; targets {malignant, mel: {classes, n, auc,
    interval}}; calibration, with intervals; recalibrated, the same after `temperature`; operating_points, what the
    thresholds in `frozen` (`operating_points.freeze`) give here; risk_coverage; roc, the curves, thinned for drawing;
    subgroups; absent_classes, labels of the model without an image here; and what `refusals.figures` gives.

    Args:
        y_true: int [n], the position of each image's label.
        probabilities: Rows that sum to 1.
        labels: The classes, in the order of the columns.
        groups: What is known of them; names alone are groups that were given, None makes every image its own.
        frozen: Rows of `freeze`, from other images (the validation part): nothing is chosen here.
        temperature: What the logits are divided by, from other images; None recalibrates nothing.
        attributes: Name -> one text per image, such as age, sex and site.
        said: What a model file says beside its probabilities; None of a run.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.

    Raises:
        DataError: Where there are no images.
    """
    codes = [label.code for label in labels]
    aims = operating_points.targets(labels)
    grouped = group_kinds.of(groups, len(y_true))
    result = metrics.evaluate(y_true, probabilities, codes, grouped, bootstrap=0)
    drawn = resamples.draws(y_true, probabilities, codes, aims, grouped.drawn, bootstrap=bootstrap, seed=seed)
    intervals = {path: metrics.interval(values) for path, values in drawn.items()}
    result["absent_classes"] = [code for code in codes if not result["per_class"][code]["n"]]
    result["intervals"] = {name: intervals[(name,)] for name in metrics.HEADLINES}
    result["intervals_over"] = "images" if grouped.drawn is None else "groups"
    result["bootstrap"] = bootstrap
    for i, code in enumerate(codes):
        row = result["per_class"][code]
        row["intervals"] = {
            name: intervals["per_class", code, name] if row[name] is not None else None
            for name in resamples.CLASS_FIGURES
        }
        row |= class_calibration(y_true == i, probabilities[:, i])
    result["targets"], result["roc"] = _one_against_others(y_true, probabilities, codes, aims, intervals)
    result["calibration"] = {
        **metrics.calibration(y_true, probabilities),
        "intervals": {name: intervals["calibration", name] for name in ("ece", "brier")},
    }
    if temperature is not None:
        result["recalibrated"] = {
            "temperature": temperature,
            **metrics.calibration(y_true, with_temperature(probabilities, temperature)),
        }
    result["operating_points"] = operating_points.measure(
        frozen, y_true, probabilities, codes, grouped.drawn, bootstrap=bootstrap, seed=seed
    )
    result["risk_coverage"] = risk_coverage(y_true, probabilities)
    result["subgroups"] = subgroups(
        y_true, probabilities, labels, grouped, attributes or {}, bootstrap=bootstrap, seed=seed
    )
    if said is not None:
        result |= refusals.figures(
            said,
            y_true,
            probabilities,
            labels,
            grouped,
            points=frozen,
            attributes=attributes,
            bootstrap=bootstrap,
            seed=seed,
        )
    return result


def _one_against_others(
    y_true: metrics.Truth,
    probabilities: metrics.Scores,
    codes: Sequence[str],
    aims: Mapping[str, Sequence[str]],
    intervals: Mapping[tuple[str, ...], Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(AUC of each of `aims`, ROC curve of each aim and class for which it is defined)."""
    areas: dict[str, Any] = {}
    curves: dict[str, Any] = {}
    for name, classes in [*aims.items(), *((code, [code]) for code in codes if code not in aims)]:
        positive, scores = _binary(y_true, probabilities, codes, classes)
        curve = roc_curve(positive, scores)
        if name in aims:
            auc = float(metrics.weighted_auc(positive, scores, np.ones((1, len(y_true))))[0])
            areas[name] = {
                "classes": classes,
                "n": int(positive.sum()),
                "auc": metrics.defined(auc),
                "interval": intervals["targets", name, "auc"] if curve else None,
            }
        if curve:
            curves[name] = curve
    return areas, curves


def class_calibration(positive: npt.NDArray[np.bool_], scores: metrics.Scores) -> dict[str, float]:
    """{"ece", "brier"} of one class's probability, 0..1 each, over all images.

    ece: over CALIBRATION_BINS equal-width bins of the probability, the mean distance of its mean and the class's share,
    weighted by images: Nixon et al., "Measuring Calibration in Deep Learning", CVPR workshops 2019. brier: the mean
    squared distance to 0 or 1; over all classes they add up to the Brier score of `metrics.calibration`.
    """
    exact = np.asarray(scores, np.float64)
    bins = metrics.calibration_bins(exact)[1]
    gaps = np.bincount(bins, positive - exact, metrics.CALIBRATION_BINS)
    return {"ece": float(np.abs(gaps).sum() / len(exact)), "brier": float(np.mean((exact - positive) ** 2))}


def risk_coverage(y_true: metrics.Truth, probabilities: metrics.Scores) -> dict[str, Any]:
    """What refusing the least certain pictures buys: {"aurc", "curve": [{coverage, n, risk, least_confidence}]}.

    Pictures are answered in the order of their top probability, the surest first; risk is the share of wrong answers
    among the n that are answered. Where several are equally sure, each stands for their mean, so that their order does
    not matter. aurc: the mean risk over every n from 1 to all, lower is better. Geifman and El-Yaniv, "Selective
    Classification for Deep Neural Networks", NeurIPS 2017. curve: at each of COVERAGES, from the surest
    ceil(coverage * images).
    """
    confidence = probabilities.max(axis=1)
    wrong = (probabilities.argmax(axis=1) != y_true).astype(np.float64)
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    block = np.cumsum(np.r_[0, (np.diff(ranked) != 0).astype(np.intp)])  # of equal confidence
    mean_of_block = np.bincount(block, wrong[order]) / np.bincount(block)
    n = len(order)
    risk = np.cumsum(mean_of_block[block]) / np.arange(1, n + 1)
    kept = [max(1, int(np.ceil(coverage * n - 1e-9))) for coverage in COVERAGES]
    return {
        "aurc": float(risk.mean()),
        "curve": [
            {
                "coverage": coverage,
                "n": number,
                "risk": float(risk[number - 1]),
                "least_confidence": float(ranked[number - 1]),
            }
            for coverage, number in zip(COVERAGES, kept, strict=True)
        ],
    }


def roc_curve(positive: npt.NDArray[np.bool_], scores: metrics.Scores) -> dict[str, list[float]] | None:
    """{"fpr", "tpr"}: at most _CURVE_POINTS of the ROC curve, with both ends; None where one class is missing.

    For drawing: AUC and operating points are computed from all points.
    """
    if not 0 < positive.sum() < len(positive):
        return None
    fpr, tpr = operating_points.roc(positive, scores, corners_only=True)
    if len(fpr) <= _CURVE_POINTS:
        return {"fpr": [round(float(v), 5) for v in fpr], "tpr": [round(float(v), 5) for v in tpr]}
    # Equal steps along the curve's length, so that steep and flat ends are drawn alike well.
    length = np.concatenate([[0.0], np.cumsum(np.diff(fpr) + np.diff(tpr))])
    steps: metrics.Floats = np.linspace(0, float(length[-1]), _CURVE_POINTS, dtype=np.float64)
    nearest = np.asarray(np.searchsorted(length, steps - 1e-12), np.intp)
    kept = np.unique(np.minimum(nearest, len(length) - 1))
    return {"fpr": [round(float(v), 5) for v in fpr[kept]], "tpr": [round(float(v), 5) for v in tpr[kept]]}


def mistakes(
    y_true: metrics.Truth, probabilities: metrics.Scores, labels: Sequence[Label], *, most: int = 12
) -> dict[str, dict[str, Any]]:
    """The wrong answers of the highest confidence: {"melanomas_missed", "others": {"n", "shown": [{row, truth,
    predicted, confidence, p_truth}]}}.

    row: the position among the images. n counts all of them, `shown` holds at most `most`. A melanoma is missed where
    the most probable class is another one; without a class for melanoma all are among the others.

    Args:
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1.
        labels: The classes, in the order of the columns.
        most: Largest number of answers that are listed.
    """
    codes = [label.code for label in labels]
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = predicted != y_true
    code = operating_points.melanoma(labels)
    missed = wrong & (y_true == codes.index(code)) if code is not None else np.zeros(len(wrong), bool)
    result: dict[str, dict[str, Any]] = {}
    for name, chosen in (("melanomas_missed", missed), ("others", wrong & ~missed)):
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(-confidence[rows], kind="stable")]
        result[name] = {
            "n": len(rows),
            "shown": [
                {
                    "row": int(row),
                    "truth": codes[int(y_true[row])],
                    "predicted": codes[int(predicted[row])],
                    "confidence": float(confidence[row]),
                    "p_truth": float(probabilities[row, y_true[row]]),
                }
                for row in rows[:most]
            ],
        }
    return result


def _binary(
    y_true: metrics.Truth, probabilities: metrics.Scores, codes: Sequence[str], classes: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], metrics.Floats]:
    return (
        operating_points.is_target(y_true, codes, classes),
        operating_points.score(probabilities, codes, classes),
    )
