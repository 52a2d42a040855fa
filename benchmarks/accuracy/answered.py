"""A model file's answers to some pictures, as arrays: what figures are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...edge_runtime import assessment
from ...edge_runtime.classifier import Prediction, SkinClassifier
from ..stats.refusals import Said

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Answered:
    """scores: float32 [images, classes], in the classifier's own order of classes."""

    classifier: SkinClassifier
    scores: Scores
    said: Said


def answered(classifier: SkinClassifier, answers: Sequence[tuple[Prediction, Scores]]) -> Answered:
    """answers: `predict_pixels`'s, of one picture or more."""
    scores = np.stack([scores for _, scores in answers])
    return Answered(classifier, scores, said(classifier, [prediction for prediction, _ in answers]))


def said(classifier: SkinClassifier, predictions: Sequence[Prediction]) -> Said:
    """What the file says beside the probabilities.

    Args:
        classifier: The file's.
        predictions: Its own.
    """
    names: dict[str, str] = {}
    for check in assessment.checks_of(classifier.contract):
        names.setdefault(check.reason.reason, check.reason.text)
    reasons = possible = promised = None
    if classifier.contract.get("assessment") is not None:
        failed = [{reason.reason for reason in one.reasons} for one in predictions]
        reasons = np.zeros((len(failed), len(names)), np.bool_)
        for row, one in zip(reasons, failed, strict=True):
            row[:] = [name in one for name in names]
    if "possible" in classifier.contract:
        sets = [one.possible or () for one in predictions]
        codes = [label.code for label in classifier.labels]
        possible = np.array([[code in one for code in codes] for one in sets], np.bool_)
        promised = float(classifier.contract["possible"]["coverage"])
    return Said(reasons, list(names.items()), possible, promised)
