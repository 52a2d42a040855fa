"""What a model file says beside its probabilities, measured: what it refuses, and its sets of possible classes.

A refused picture has an answer all the same, so every other figure is of all pictures: refusing the hard ones must not
make a model look better. What refusing costs is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.labels import Label
from . import group_kinds, metrics, subgroups
from .operating_points import is_target, score

Bools = npt.NDArray[np.bool_]

WAYS = ("assessed", "referred", "lost")
"""How a refused picture counts at a threshold. assessed: not at all. referred: as found, for somebody looks at the
patient. lost: as neither found nor cleared, whatever it shows, for nobody does."""


@dataclass(frozen=True, eq=False)
class Said:
    """What a file says of n pictures, all of which it has answered.

    Attributes:
        reasons: bool [n, reasons], why each is refused; None where the file has no limits of assessment.
        names: (code, in words) of each of the file's reasons.
        possible: bool [n, classes]; None where the file has no sets of possible classes.
        promised: The coverage that the file states, 0..1; None without such sets.
    """

    reasons: Bools | None
    names: Sequence[tuple[str, str]]
    possible: Bools | None
    promised: float | None

    @property
    def refused(self) -> Bools:
        """bool [n]; empty where the file has no limits."""
        return np.zeros(0, np.bool_) if self.reasons is None else np.asarray(self.reasons.any(axis=1), np.bool_)

    def take(self, rows: Bools) -> Said:
        """Of the pictures where the mask is True."""
        reasons, possible = (None if one is None else one[rows] for one in (self.reasons, self.possible))
        return Said(reasons, self.names, possible, self.promised)

    def in_order(self, columns: Sequence[int]) -> Said:
        """With the classes in another order."""
        possible = None if self.possible is None else self.possible[:, list(columns)]
        return Said(self.reasons, self.names, possible, self.promised)


def figures(
    said: Said,
    y_true: metrics.Truth,
    probabilities: metrics.Scores,
    labels: Sequence[Label],
    groups: group_kinds.Groups | npt.NDArray[Any] | None,
    *,
    points: Sequence[Mapping[str, Any]] = (),
    attributes: Mapping[str, Sequence[str]] | None = None,
    bootstrap: int = 1000,
    seed: int = 42,
) -> dict[str, Any]:
    """JSON-ready: "assessment" where the file has limits, "possible" where it has sets; 0..1, None where undefined.

    Args:
        said: Of the pictures.
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1, of refused pictures too.
        labels: The classes, in the order of the columns.
        groups: What is known of them; names alone are groups that were given, None makes every image its own.
        points: Frozen thresholds: {target, classes, chosen_for, wanted, threshold}.
        attributes: Name -> one text per image, such as age, sex and site.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.

    Returns:
        A share is {n, refused, share, interval}, of n images, with `metrics.wilson`'s interval, which is not of zero
        width where none is refused.

        assessment: the share of all images; malignant, with its classes, None where no class is known to be; per_class;
        subgroups, as `subgroups.subgroups` has them; reasons [{reason, text, ...}], of which an image can have several;
        operating_points, per threshold its sensitivity and specificity (`metrics.at_threshold`) in each of WAYS.

        possible: promised; n, covered (whose own class is in the set), coverage and its interval; singletons (sets of
        one), singleton_share and its interval; mean_size of a set and its interval, from resamples; per_class {n,
        covered, coverage, interval, mean_size}; below, the classes with less than what is promised in their whole
        interval. assessed: the same without refused images, where the file has limits; None where all are refused.
    """
    grouped = group_kinds.of(groups, len(y_true))
    refused = said.refused
    found: dict[str, Any] = {}
    if said.reasons is not None:
        codes = [label.code for label in labels]
        malignant = [label.code for label in labels if label.malignant]
        positive = is_target(y_true, codes, malignant)
        found["assessment"] = {
            **_refused(refused),
            "malignant": {"classes": malignant, **_refused(refused[positive])} if malignant else None,
            "per_class": {code: _refused(refused[y_true == i]) for i, code in enumerate(codes)},
            "subgroups": {
                name: _by_group(name, values, refused)
                for name, values in (attributes or {}).items()
                if name in subgroups.ATTRIBUTES
            },
            "reasons": [
                {"reason": code, "text": text, **_refused(said.reasons[:, i])}
                for i, (code, text) in enumerate(said.names)
            ],
            "operating_points": [
                {key: row[key] for key in ("target", "classes", "chosen_for", "wanted", "threshold")}
                | _in_each_way(
                    is_target(y_true, codes, row["classes"]),
                    score(probabilities, codes, row["classes"]),
                    row["threshold"],
                    refused,
                    grouped,
                    bootstrap,
                    seed,
                )
                for row in points
            ],
        }
    if said.possible is not None:
        sets, promised = said.possible, said.promised or 0.0
        found["possible"] = {
            "promised": promised,
            **_sets(sets, y_true, labels, grouped, promised, bootstrap, seed),
        }
        if said.reasons is not None:
            kept = ~refused
            found["possible"]["assessed"] = (
                _sets(sets[kept], y_true[kept], labels, grouped.take(kept), promised, bootstrap, seed)
                if kept.any()
                else None
            )
    return found


def _refused(refused: Bools) -> dict[str, Any]:
    count, share, interval = _share(refused)
    return {"n": len(refused), "refused": count, "share": share, "interval": interval}


def _share(hits: Bools) -> tuple[int, float | None, list[float] | None]:
    """(how many, their share, its interval)."""
    if not len(hits):
        return 0, None, None
    share = float(hits.mean())
    return int(hits.sum()), share, list(metrics.wilson(share, len(hits)))


def _by_group(attribute: str, values: Sequence[str], refused: Bools) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for group, chosen in subgroups.members(attribute, values):
        few = len(chosen) < subgroups.LEAST_IMAGES
        own = {"n": len(chosen)} if few else _refused(refused[chosen])
        rows.append({"group": group, **own, "too_few": few})
    return rows


def _in_each_way(
    positive: Bools,
    scores: metrics.Scores,
    threshold: float,
    refused: Bools,
    groups: group_kinds.Groups,
    bootstrap: int,
    seed: int,
) -> dict[str, dict[str, Any]]:
    """Way -> `metrics.at_threshold`."""

    def at(chosen: Bools, values: metrics.Scores) -> dict[str, Any]:
        if not chosen.any():  # there is nothing to draw from
            undefined = dict.fromkeys(("sensitivity", "specificity"))
            return {"n_positive": 0, "n_negative": 0, **undefined, "intervals": undefined}
        return metrics.at_threshold(
            positive[chosen],
            values[chosen],
            threshold,
            groups.take(chosen).drawn,
            bootstrap=bootstrap,
            seed=seed,
        )

    every = np.ones(len(refused), bool)
    found, not_found = np.inf, -np.inf
    return {
        "assessed": at(~refused, scores),
        "referred": at(every, np.where(refused, found, scores)),
        "lost": at(every, np.where(refused, np.where(positive, not_found, found), scores)),
    }


def _sets(
    possible: Bools,
    y_true: metrics.Truth,
    labels: Sequence[Label],
    groups: group_kinds.Groups,
    promised: float,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    covered, sizes = possible[np.arange(len(y_true)), y_true], possible.sum(axis=1)

    def coverage(chosen: Bools) -> dict[str, Any]:
        count, share, interval = _share(covered[chosen])
        return {"n": int(chosen.sum()), "covered": count, "coverage": share, "interval": interval}

    singletons, singleton_share, singleton_interval = _share(sizes == 1)
    own = {label.code: y_true == i for i, label in enumerate(labels)}
    per_class = {
        code: coverage(chosen) | {"mean_size": float(sizes[chosen].mean()) if chosen.any() else None}
        for code, chosen in own.items()
    }
    return {
        **coverage(np.ones(len(y_true), bool)),
        "singletons": singletons,
        "singleton_share": singleton_share,
        "singleton_interval": singleton_interval,
        "mean_size": float(sizes.mean()),
        "mean_size_interval": _mean_interval(sizes, groups, bootstrap, seed) if bootstrap else None,
        "per_class": per_class,
        "below": _below(per_class, promised),
    }


def _below(per_class: Mapping[str, Mapping[str, Any]], promised: float) -> list[str]:
    return [code for code, row in per_class.items() if row["interval"] and row["interval"][1] < promised]


def _mean_interval(
    values: npt.NDArray[Any], groups: group_kinds.Groups, bootstrap: int, seed: int
) -> list[float] | None:
    blocks = [
        np.matmul(weights, values) / weights.sum(axis=1)
        for weights in metrics.image_weights(len(values), groups.drawn, bootstrap, seed)
    ]
    return metrics.interval(np.concatenate(blocks))
