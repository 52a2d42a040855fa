"""The limits of an assessment: how far validation pictures can be degraded before the answers are no longer the same.

"Bad" means here: so bad that the model no longer agrees with itself. Pictures of the validation part are made worse
step by step, as other cameras and hands do (`benchmarks.robustness`); where the top class of fewer than AGREEMENT of
them is that of the picture as it was, the median of the feature is the limit. But no limit may be so strict that more
than a small share of the validation pictures, as they are, fails: then the limit lies where those few begin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.assessment import OUTLIER_SCORE

Floats = npt.NDArray[np.float64]

AGREEMENT = 0.9
"""Of the top classes with those of the pictures as they were: below it a degradation is too strong."""

REFUSED_BY_SCORE, REFUSED_BY_FEATURES = 0.008, 0.010
"""Share of the validation pictures that the outlier score may refuse, and that all limits of features together may."""

COVERAGE = 0.9
"""Of the sets of possible classes."""


@dataclass(frozen=True)
class Rule:
    """A limit to be found.

    Attributes:
        feature: Of `assessment.FEATURES`.
        side: "below" or "above": where a picture fails.
        reason, text, remedy: As in the contract.
        kinds: Of the degradations that say where it lies.
    """

    feature: str
    side: str
    reason: str
    text: str
    remedy: str
    kinds: tuple[str, ...]

    @property
    def name(self) -> str:
        """ "luma below": no two rules have the same."""
        return f"{self.feature} {self.side}"


_CAST = "colour_cast", "its colours are off", "white light, and the camera's white balance set to it"
_BRIGHT = "too_bright", "too bright", "less light, or a shorter exposure"

RULES = (
    Rule("luma", "below", "too_dark", "too dark", "more light", ("underexposed", "falloff")),
    Rule("luma", "above", *_BRIGHT, ("overexposed",)),
    Rule("clipped", "above", *_BRIGHT, ("overexposed",)),
    Rule("white", "above", "reflections", "reflections", "turn the light, or use gel or polarised light", ("glare",)),
    Rule("black", "above", "black_border", "too much black around it", "nearer, so that skin fills it", ("frame",)),
    Rule("red_green", "below", *_CAST, ("temperature",)),
    Rule("red_green", "above", *_CAST, ("temperature",)),
    Rule("blue_green", "below", *_CAST, ("temperature",)),
    Rule("blue_green", "above", *_CAST, ("temperature",)),
    Rule("contrast", "below", "empty", "there is nothing to see", "one lesion in the middle, in focus", ()),
    Rule(
        "detail",
        "below",
        "blurred",
        "blurred, or too few pixels",
        "hold still, focus, and send the camera's own file",
        ("defocus", "motion", "resolution", "jpeg"),
    ),
    Rule("detail", "above", "noisy", "too noisy", "more light", ("noise",)),
    Rule("ridges", "above", "hair", "hair over it", "move the hair aside, or shave it", ("hair",)),
)

NO_LESION = (
    "no_lesion",
    "it shows no picture of one lesion",
    "one lesion in the middle, filling a third of it or more",
)


def score_check(scores: Floats, moved: float) -> dict[str, Any]:
    """The limit of the outlier score.

    Args:
        scores: Of the validation pictures.
        moved: By how much other kernels move it.
    """
    reason, text, remedy = NO_LESION
    return {
        "feature": OUTLIER_SCORE,
        "above": float(_beyond(scores, REFUSED_BY_SCORE, "above")),
        "borderline_within": moved,
        "reason": reason,
        "text": text,
        "remedy": remedy,
    }


def feature_checks(features: Mapping[str, Floats], degraded: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """The limits of the features; none for a rule whose degradations the model stands.

    Args:
        features: Name -> values of the validation pictures as they are.
        degraded: `Rule.name` -> the values at which a rule's degradations become too strong, one per degradation;
            empty where they never do.
    """
    rules = [rule for rule in RULES if not rule.kinds or len(degraded[rule.name])]
    share = REFUSED_BY_FEATURES
    while True:
        limits = [_limit(rule, features[rule.feature], degraded.get(rule.name, np.empty(0)), share) for rule in rules]
        failing = np.zeros(len(next(iter(features.values()))), bool)
        for rule, limit in zip(rules, limits, strict=True):
            failing |= features[rule.feature] < limit if rule.side == "below" else features[rule.feature] > limit
        if failing.mean() <= REFUSED_BY_FEATURES or share < 1e-5:
            break
        share *= 0.8
    return [
        {
            "feature": rule.feature,
            rule.side: limit,
            "reason": rule.reason,
            "text": rule.text,
            "remedy": rule.remedy,
        }
        for rule, limit in zip(rules, limits, strict=True)
    ]


def anywhere(name: str, n: int) -> Floats:
    """n values that leave a limit where the pictures as they are end, for `feature_checks`.

    Args:
        name: `Rule.name`.
        n: None where it is 0: then there is no limit.
    """
    return np.full(n, np.inf if name.endswith("below") else -np.inf)


def _limit(rule: Rule, values: Floats, found: Floats, share: float) -> int:
    """What is told apart from the pictures as they are, and no stricter than where the answers change."""
    own = _beyond(values, share, rule.side)
    if not len(found):
        return int(own)
    return int(min(own, found.max()) if rule.side == "below" else max(own, found.min()))


def _beyond(values: Floats, share: float, side: str) -> float:
    """The strictest limit that at most `share` of the values break."""
    ordered = np.sort(values)
    most = int(share * len(ordered))
    return float(ordered[most] if side == "below" else ordered[len(ordered) - 1 - most])


def at_agreement(strengths: Sequence[float], agreement: Sequence[float], values: Sequence[Floats]) -> float | None:
    """The median of a feature where the agreement has fallen to AGREEMENT, interpolated; None where it never does.

    Args:
        strengths: Rising from 0.
        agreement: 0..1 at each.
        values: Of the feature at each, [pictures].
    """
    medians = [float(np.median(each)) for each in values]
    for position in range(1, len(strengths)):
        if agreement[position] < AGREEMENT:
            before, here = agreement[position - 1], agreement[position]
            part = (before - AGREEMENT) / (before - here) if before > here else 1.0
            return medians[position - 1] + min(max(part, 0.0), 1.0) * (medians[position] - medians[position - 1])
    return None


def possible(scores: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.int64], where: str) -> dict[str, Any]:
    """From which probability a class is possible: class-conditional conformal prediction.

    Of n pictures of a class, the threshold is the floor((1 - COVERAGE) (n + 1))-th smallest of their own class's
    probabilities: of another picture like these, the class is at least as probable with a chance of COVERAGE at least
    (Vovk 2012). With fewer than 9 pictures that is no number, and the class is always possible.

    Args:
        scores: Probabilities [n, classes] of the validation pictures.
        truth: int64 [n].
        where: Which pictures these are, in words.
    """
    thresholds: list[float] = []
    for position in range(scores.shape[1]):
        own = np.sort(scores[truth == position, position].astype(np.float64))
        rank = int((1 - COVERAGE) * (len(own) + 1) + 1e-9)
        thresholds.append(float(own[rank - 1]) if rank else 0.0)
    return {
        "coverage": COVERAGE,
        "thresholds": thresholds,
        "on": where,
        "holds_for": "pictures like these only; class by class, so for rare ones as well",
    }
