"""Figures from so few images that they say little, and the sentence that is beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FEW = 10
"""A sensitivity of 0.9 that 9 images gave has a 95% interval (`metrics.wilson`) from about 0.56 to 0.98."""


def of_classes(per_class: Mapping[str, Mapping[str, Any]]) -> str:
    """Which figures of a result are of fewer than FEW images.

    Args:
        per_class: Of `metrics.evaluate`.

    Returns:
        A sentence without full stop; "" where none has few.
    """
    return sentence({code: row["n"] for code, row in per_class.items()})


def of_points(points: Sequence[Mapping[str, Any]]) -> str:
    """As `of_classes`.

    Args:
        points: Rows with target, n_positive and n_negative, of `metrics.at_threshold`.
    """
    sides = (("n_positive", "{}"), ("n_negative", "not {}"))
    return sentence({form.format(row["target"]): row[key] for key, form in sides for row in points})


def sentence(counts: Mapping[str, int]) -> str:
    """The sentence that says which figures are of few images.

    Args:
        counts: What a figure is about -> its images.
    """
    few = [f"{name} ({n})" for name, n in counts.items() if 0 < n < FEW]
    return f"Fewer than {FEW} images, so the figures say little: {', '.join(few)}" if few else ""
