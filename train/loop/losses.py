"""Losses: each a function of targets and probabilities, one place. All take soft targets, as mixup makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from ..engine import tf

FOCUS = 2.0
"""gamma of the focal loss, the value its authors found best."""


def cross_entropy(targets: Any, log_probabilities: Any, shares: Any) -> Any:
    return -targets * log_probabilities


def focal(targets: Any, log_probabilities: Any, shares: Any) -> Any:
    """-(1 - p)^2 log p: what is already right counts less. Lin et al., arXiv 1708.02002, without alpha."""
    return -targets * (1 - tf.exp(log_probabilities)) ** FOCUS * log_probabilities


def logit_adjusted(targets: Any, log_probabilities: Any, shares: Any) -> Any:
    """Cross-entropy of logits + log(share of the class), so that the logits themselves are for balanced classes.

    Menon et al., "Long-tail learning via logit adjustment", arXiv 2007.07314; `loss` raises the shares to the power of
    tau. A log-probability is a logit but for a constant, which the softmax does not see.
    """
    return -targets * tf.nn.log_softmax(log_probabilities + tf.math.log(shares))


_TERMS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "logit-adjusted": logit_adjusted,
}


def loss(
    name: str,
    *,
    shares: npt.NDArray[np.float64],
    weights: npt.NDArray[np.float32],
    label_smoothing: float = 0.0,
    tau: float = 1.0,
) -> Callable[[Any, Any], Any]:
    """(targets, probabilities), each float32 [b, classes] -> float32 [b], the loss of each picture.

    Args:
        name: Of recipe.LOSSES.
        shares, weights: Of each class, float [classes]: its share among the pictures shown, and what it counts.
        label_smoothing: The part of a target, 0..1, that is spread evenly over all classes (Szegedy et al., arXiv
            1512.00567).
        tau: How much of the shares the logit-adjusted loss takes out: 1 is for balanced classes, 0 is cross-entropy.
    """
    term = _TERMS[name]
    known = tf.constant(np.maximum(shares, 1e-7) ** tau, tf.float32)
    weighted = tf.constant(weights, tf.float32)

    def of(targets: Any, probabilities: Any) -> Any:
        smooth = targets * (1 - label_smoothing) + label_smoothing / len(weights)
        # As Keras clips: a softmax in float32 reaches 0.
        log_probabilities = tf.math.log(tf.clip_by_value(tf.cast(probabilities, tf.float32), 1e-7, 1.0))
        return tf.reduce_sum(weighted * term(smooth, log_probabilities, known), axis=-1)

    return of
