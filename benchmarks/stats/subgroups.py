"""The same model on parts of its pictures: by age, sex and site of the body, and by the kind of picture, where the data
says them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.labels import Label
from . import group_kinds, metrics, resamples
from .operating_points import melanoma, targets

PICTURE_SET = "picture_set"
"""The column that says which of several pictures of its image one is (`train --also`)."""

UNKNOWN = "unknown"

ATTRIBUTES = ("age", "sex", "site", PICTURE_SET)

# Fewer images than that say nothing about a group: one picture more or less would be five points and more.
LEAST_IMAGES = 20

_AGE_EDGES = (30, 50, 70)
_UNKNOWN = frozenset({"", UNKNOWN, "unk", "nan", "none", "na", "n/a"})


def age_group(age: str) -> str:
    """ "55.0" -> "50-69". Blank, no number, below 1 and above 120 are "unknown": some data sets write 0 for it."""
    try:
        years = float(age)
    except ValueError:
        return UNKNOWN
    if not math.isfinite(years) or not 1 <= years <= 120:
        return UNKNOWN
    for low, high in zip((0, *_AGE_EDGES), _AGE_EDGES, strict=False):
        if years < high:
            return f"{low}-{high - 1}" if low else f"under {high}"
    return f"{_AGE_EDGES[-1]} and over"


def group_of(attribute: str, value: str) -> str:
    """The subgroup that a value of a column belongs to."""
    if attribute == "age":
        return age_group(value)
    text = value.strip().lower()
    return UNKNOWN if text in _UNKNOWN else text


def subgroups(
    y_true: metrics.Truth,
    probabilities: metrics.Scores,
    labels: Sequence[Label],
    groups: group_kinds.Groups | npt.NDArray[Any] | None,
    attributes: Mapping[str, Sequence[str]],
    *,
    bootstrap: int,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Figures per subgroup, JSON-ready: {attribute: [{group, n, n_groups, too_few, ...}]}, the unknown last.

    Args:
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1.
        labels: The classes, in the order of the columns.
        groups: [n], the patient or lesion of each image, drawn as a whole; None makes every image its own group.
        attributes: Name -> one text per image; those outside ATTRIBUTES are ignored. Where `too_few` (under
            LEAST_IMAGES), there are no figures. Else accuracy, balanced_accuracy over the n_classes that the group has,
            melanoma {n, sensitivity, auc} and malignant {n, auc} where the model knows them, and `intervals` of all of
            these, with whole groups drawn; None where undefined.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.

    Returns:
        n_groups: how many are named; None where none is. Balanced accuracies of groups with other classes cannot be
        compared.
    """
    grouped = group_kinds.of(groups, len(y_true))
    return {
        name: [
            _figures(group, chosen, y_true, probabilities, labels, grouped, bootstrap, seed)
            for group, chosen in members(name, attributes[name])
        ]
        for name in ATTRIBUTES
        if name in attributes
    }


def members(attribute: str, values: Sequence[str]) -> list[tuple[str, npt.NDArray[np.intp]]]:
    """(subgroup, positions of its images) of one of ATTRIBUTES, the unknown last."""
    found = np.array([group_of(attribute, str(value)) for value in values])
    ages = [age_group(str(age)) for age in (1, *_AGE_EDGES)]

    def place(name: str) -> tuple[bool, int, str]:
        return name == UNKNOWN, ages.index(name) if name in ages else 0, name

    return [(name, np.flatnonzero(found == name)) for name in sorted(set(found.tolist()), key=place)]


def _figures(
    group: str,
    chosen: npt.NDArray[np.intp],
    y_true: metrics.Truth,
    probabilities: metrics.Scores,
    labels: Sequence[Label],
    groups: group_kinds.Groups,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    own_groups = groups.take(chosen)
    row: dict[str, Any] = {
        "group": group,
        "n": len(chosen),
        "n_groups": own_groups.described()["n"],
        "too_few": len(chosen) < LEAST_IMAGES,
    }
    if row["too_few"]:
        return row
    codes, truth, scores, aims = (
        [label.code for label in labels],
        y_true[chosen],
        probabilities[chosen],
        targets(labels),
    )

    def figures(times: int) -> dict[resamples.Path, metrics.Floats]:
        return resamples.draws(truth, scores, codes, aims, own_groups.drawn, bootstrap=times, seed=seed)

    points, drawn = figures(0), figures(bootstrap)
    row["n_classes"] = len(np.unique(truth))
    wanted: dict[str, resamples.Path] = {name: (name,) for name in ("accuracy", "balanced_accuracy")}
    code = melanoma(labels)
    if code is not None:
        row["n_melanoma"] = int((truth == codes.index(code)).sum())
        wanted["melanoma_sensitivity"] = ("per_class", code, "sensitivity")
        wanted["melanoma_auc"] = ("per_class", code, "auc")
    if "malignant" in aims:
        row["n_malignant"] = int(np.isin(truth, [codes.index(one) for one in aims["malignant"]]).sum())
        wanted["malignant_auc"] = ("targets", "malignant", "auc")
    row |= {name: metrics.defined(points[path][0]) for name, path in wanted.items()}
    row["intervals"] = {
        name: None if row[name] is None else metrics.interval(drawn[path]) for name, path in wanted.items()
    }
    return row
