"""Every figure that has an interval, over the same resamples of whole lesions, so that any two compare paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from . import metrics
from .operating_points import is_target, score

# Where the figure is in the dictionary of `describe.describe`: ("per_class", "mel", "sensitivity").
Path = tuple[str, ...]

CLASS_FIGURES = ("sensitivity", "specificity", "auc")


def draws(
    y_true: metrics.Truth,
    probabilities: metrics.Scores,
    codes: Sequence[str],
    targets: Mapping[str, Sequence[str]],
    groups: npt.NDArray[Any] | None,
    *,
    bootstrap: int,
    seed: int,
) -> dict[Path, metrics.Floats]:
    """Path -> the figure in each resample, [bootstrap] (one, of the images as they are, where that is 0).

    The HEADLINES, each class's CLASS_FIGURES, the AUC of each target, ECE and Brier score. NaN where a resample has no
    image that a figure is about.

    Args:
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1.
        codes: The codes of the classes, in the order of the columns.
        targets: Name -> codes, as `operating_points.targets` gives them.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
    """
    gathered: dict[Path, list[metrics.Floats]] = {}

    def keep(path: Path, values: metrics.Floats) -> None:
        gathered.setdefault(path, []).append(values)

    aims = {
        name: (is_target(y_true, codes, classes), score(probabilities, codes, classes))
        for name, classes in targets.items()
    }
    errors = _calibration_errors(y_true, probabilities)
    for weights in metrics.image_weights(len(y_true), groups, bootstrap, seed):
        figures = metrics.weighted_figures(y_true, probabilities, weights)
        for name in metrics.HEADLINES:
            keep((name,), figures[name])
        for i, code in enumerate(codes):
            for name in CLASS_FIGURES:
                keep(("per_class", code, name), figures[f"class_{name}"][:, i])
        for name, (positive, scores) in aims.items():
            keep(("targets", name, "auc"), metrics.weighted_auc(positive, scores, weights))
        sums = np.matmul(weights, errors)
        total = weights.sum(axis=1)
        keep(("calibration", "ece"), np.abs(sums[:, :-1]).sum(axis=1) / total)
        keep(("calibration", "brier"), sums[:, -1] / total)
    return {path: np.concatenate(parts) for path, parts in gathered.items()}


def _calibration_errors(y_true: metrics.Truth, probabilities: metrics.Scores) -> metrics.Floats:
    """[n, bins + 1]: right minus confidence in the column of the image's bin, and last its Brier score."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == y_true
    bin_of = metrics.calibration_bins(confidence)[1]
    table = np.zeros((len(y_true), metrics.CALIBRATION_BINS + 1))
    table[np.arange(len(y_true)), bin_of] = right - confidence
    distance = probabilities.astype(np.float64) - np.eye(probabilities.shape[1])[y_true]
    table[:, -1] = (distance**2).sum(axis=1)
    return table
