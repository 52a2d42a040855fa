"""How far a score may move in another correct implementation: what makes a decision borderline.

Another implementation has other kernels, another JPEG decoder, a filter in floating point: level C of docs/contract.md.
Its answers are imitated on pictures at hand: bytes of the input moved by one, and LiteRT's plain kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating[Any]]

MOVED = 0.2
"""The share of an input's bytes that `moved` moves by one: the mean that level C allows."""

_QUANTILE = 99.0
_LEAST = 1e-6  # of a score and its complement, whose logit would be infinite


def moved(pixels: Pixels, seed: int = 0) -> Pixels:
    """uint8 [...] -> the same with a fifth of its bytes one up or down, drawn by `seed`, within 0..255."""
    generator = np.random.default_rng(seed)
    steps = generator.choice(np.array([-1, 0, 1], np.int16), pixels.shape, p=[MOVED / 2, 1 - MOVED, MOVED / 2])
    return np.minimum(np.maximum(pixels + steps, 0), 255).astype(np.uint8)


def within(threshold: float, scores: Floats, others: Sequence[Floats]) -> float:
    """So far from `threshold` a score still counts as borderline: 0..1, rounded up to 6 decimals.

    Args:
        scores: float [n], of one implementation.
        others: The same pictures' scores in others, at least one. The 99th percentile of how far the logit of a score
            moves, in that of them where it is largest, is laid on both sides of the threshold's; the larger side
            counts. Logits, because a score near 0 moves by far less than one in the middle.
    """
    distance = max(float(np.percentile(np.abs(_logit(other) - _logit(scores)), _QUANTILE)) for other in others)
    centre = float(_logit(np.asarray(threshold)))
    sides = [abs(1 / (1 + math.exp(-centre - side * distance)) - threshold) for side in (-1, 1)]
    return math.ceil(max(sides) * 1e6) / 1e6


def score(probabilities: Floats, columns: Sequence[int]) -> npt.NDArray[np.float64]:
    """float [n, classes] -> float64 [n]: the classes' probabilities added in their order, as decisions add them."""
    total = np.zeros(len(probabilities))
    for column in sorted(columns):
        total += probabilities[:, column].astype(np.float64)
    return total


def answers_of(invoke: Callable[[Pixels], Floats], pixels: Pixels) -> npt.NDArray[np.float64]:
    """float64 [n, classes]: `invoke`'s probabilities for uint8 [n, height, width, 3]."""
    return np.stack([invoke(picture) for picture in pixels]).astype(np.float64)


def _logit(scores: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    clipped = np.minimum(np.maximum(np.asarray(scores, np.float64), _LEAST), 1 - _LEAST)
    return np.log(clipped) - np.log1p(-clipped)
