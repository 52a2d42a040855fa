"""Thresholds: chosen once, on the validation part, and then measured on other pictures as they are.

The score of a target is the sum of the probabilities of its classes; score >= threshold counts as found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.labels import Label
from . import metrics

# (what was asked for, how much of it)
ASKED = (("sensitivity", 0.90), ("sensitivity", 0.95), ("specificity", 0.80))

_MELANOMA = frozenset({"mel", "melanoma"})


def melanoma(labels: Sequence[Label]) -> str | None:
    """The code of the model's class for melanoma, if it has one."""
    return next((label.code for label in labels if label.code.lower() in _MELANOMA), None)


def targets(labels: Sequence[Label]) -> dict[str, list[str]]:
    """What a threshold can look for: "malignant" and melanoma -> the codes of its classes.

    "malignant" is left out where for one of the classes nobody said whether it is, or where all are or none is.
    """
    found: dict[str, list[str]] = {}
    malignant = [label.code for label in labels if label.malignant]
    if all(label.malignant is not None for label in labels) and 0 < len(malignant) < len(labels):
        found["malignant"] = malignant
    code = melanoma(labels)
    if code is not None:
        found[code] = [code]
    return found


def score(probabilities: metrics.Scores, codes: Sequence[str], classes: Sequence[str]) -> metrics.Floats:
    """[n, classes of the model] -> [n]: the sum over `classes`."""
    return probabilities[:, [codes.index(code) for code in classes]].astype(np.float64).sum(axis=1)


def is_target(y_true: metrics.Truth, codes: Sequence[str], classes: Sequence[str]) -> npt.NDArray[np.bool_]:
    """bool [n]: whether the truth is one of `classes`."""
    return np.isin(y_true, [codes.index(code) for code in classes])


def freeze(
    y_true: metrics.Truth, probabilities: metrics.Scores, labels: Sequence[Label], on: str
) -> list[dict[str, Any]]:
    """A threshold for each target and each of ASKED. Call it with validation pictures only.

    Args:
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1.
        labels: The classes, in the order of the columns.
        on: Which pictures these are, in words. JSON-ready rows: {target, classes, chosen_for, wanted, threshold, on,
            found: {n_positive, n_negative, sensitivity, specificity} on these pictures}. No row for a target without a
            positive or without a negative.
    """
    codes = [label.code for label in labels]
    rows: list[dict[str, Any]] = []
    for target, classes in targets(labels).items():
        positive, scores = is_target(y_true, codes, classes), score(probabilities, codes, classes)
        if not 0 < positive.sum() < len(positive):
            continue
        for kind, wanted in ASKED:
            choose = metrics.threshold_for_sensitivity if kind == "sensitivity" else threshold_for_specificity
            threshold = choose(positive, scores, wanted)
            rows.append(
                {
                    "target": target,
                    "classes": classes,
                    "chosen_for": kind,
                    "wanted": wanted,
                    "threshold": threshold,
                    "on": on,
                    "found": metrics.at_threshold(positive, scores, threshold),
                }
            )
    return rows


def from_contract(thresholds: Sequence[Mapping[str, Any]], labels: Sequence[Label]) -> list[dict[str, Any]]:
    """The thresholds in a .tflite's contract as rows of `freeze`, of the targets that are reported.

    The contract names a single malignant class by its code; whatever that is, it is the target "malignant".
    """
    wanted = targets(labels)
    return [
        {
            "target": target,
            "classes": list(row["classes"]),
            "chosen_for": "sensitivity",
            "wanted": row["chosen_for_sensitivity"],
            "threshold": row["threshold"],
            "on": row.get("on", "unknown pictures"),
            "found": {key: row.get(key) for key in ("n_positive", "n_negative", "sensitivity", "specificity")},
        }
        for row in thresholds
        for target, classes in wanted.items()
        if sorted(row["classes"]) == sorted(classes) and (row["target"] == target or row["target"] not in wanted)
    ]


def measure(
    frozen: Sequence[Mapping[str, Any]],
    y_true: metrics.Truth,
    probabilities: metrics.Scores,
    codes: Sequence[str],
    groups: npt.NDArray[Any] | None,
    *,
    bootstrap: int,
    seed: int,
) -> list[dict[str, Any]]:
    """What each frozen threshold gives on these pictures; nothing is chosen here.

    Each row of `frozen` with n_positive, n_negative, sensitivity, specificity and intervals added (None where
    undefined), and `roc`: the most that the ROC curve of these pictures has at what was wanted (for 90% sensitivity the
    highest specificity). That is what a threshold chosen on these pictures would have given, and so too good.

    Args:
        frozen: Rows of `freeze`, from other images.
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1.
        codes: The codes of the classes, in the order of the columns.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
    """
    rows: list[dict[str, Any]] = []
    for row in frozen:
        positive, scores = is_target(y_true, codes, row["classes"]), score(probabilities, codes, row["classes"])
        figures = metrics.at_threshold(positive, scores, row["threshold"], groups, bootstrap=bootstrap, seed=seed)
        best = on_roc(positive, scores, row["chosen_for"], row["wanted"])
        rows.append({**row, **figures, "roc": best})
    return rows


def on_roc(
    positive: npt.NDArray[np.bool_], scores: metrics.Scores, kind: str, wanted: float
) -> dict[str, float | None]:
    """{"sensitivity", "specificity"} at the point of the ROC curve that has at least `wanted` of `kind` and the most of
    the other; None where there is no curve.

    Args:
        positive: bool [n], whether the image has the condition.
        scores: float [n], larger for more probable.
        kind: "sensitivity" or "specificity".
        wanted: Its least value, 0..1.
    """
    if not 0 < positive.sum() < len(positive):
        return {"sensitivity": None, "specificity": None}
    fpr, tpr = roc(positive, scores)
    has, other = (tpr, 1 - fpr) if kind == "sensitivity" else (1 - fpr, tpr)
    enough = np.flatnonzero(has >= wanted - 1e-9)
    best = int(enough[np.lexsort((has[enough], other[enough]))[-1]])
    return {"sensitivity": float(tpr[best]), "specificity": float(1 - fpr[best])}


def roc(
    positive: npt.NDArray[np.bool_], scores: metrics.Scores, *, corners_only: bool = False
) -> tuple[metrics.Floats, metrics.Floats]:
    """(false positive rate, true positive rate) from (0, 0) to (1, 1), a point per score; both classes must be there.

    Args:
        positive: bool [n].
        scores: [n], found where score >= threshold. Fawcett, "An introduction to ROC analysis", Pattern Recognition
            Letters 27 (2006), algorithm 1.
        corners_only: Without the points on a straight line between others. For drawing: such a point can be the best
            one that still has the sensitivity that is wanted.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # of each run of equal scores
    true = np.cumsum(positive[order])[last]
    false = last + 1 - true
    if corners_only:
        turns = np.r_[True, (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0), True] if len(last) > 2 else slice(None)
        true, false = true[turns], false[turns]
    return np.r_[0, false] / false[-1], np.r_[0, true] / true[-1]


def threshold_for_specificity(positive: npt.NDArray[np.bool_], scores: metrics.Scores, specificity: float) -> float:
    """The lowest threshold at which at least `specificity` (0..1) of the negatives have score < threshold.

    Half-way up from the highest negative that is cleared to the next score, so that rounding does not move a case that
    is exactly on it.

    Args:
        positive: bool [n] with at least one False.
        scores: float [n].
    """
    negatives = np.sort(scores[~positive])
    wanted = int(np.ceil(specificity * len(negatives) - 1e-9))
    if wanted < 1:
        raise ValueError("there is no negative to be cleared, or none is wanted")
    highest_cleared = float(negatives[wanted - 1])
    above = scores[scores > highest_cleared]
    return (highest_cleared + float(above.min())) / 2 if len(above) else float(np.nextafter(highest_cleared, np.inf))
