"""One number that makes probabilities mean what they say.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .metrics import Floats, Scores, Truth

TEMPERATURES = (0.25, 8.0)  # ends of the search


def choose_temperature(probabilities: Scores, truth: Truth) -> float:
    """The temperature (0.25 to 8) with the smallest negative log-likelihood, by Brent's search on its logarithm.

    Args:
        probabilities: [n, classes]; their logarithms serve as logits, for a softmax leaves only a constant per row out.
            1.0 where every picture is answered right: the likelihood would then grow without end as the temperature
            falls.
    """
    if (probabilities.argmax(axis=1) == truth).all():
        return 1.0
    logits = logits_of(probabilities)
    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        peak = scaled.max(axis=1)
        return float((np.log(np.exp(scaled - peak[:, None]).sum(axis=1)) + peak - scaled[rows, truth]).mean())

    from scipy import optimize  # pyright: ignore[reportMissingTypeStubs]  # extra [train]

    minimize: Any = optimize.minimize_scalar  # pyright: ignore
    found = minimize(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded", options={"xatol": 1e-4})
    return round(float(np.exp(found.x)), 4)


def with_temperature(probabilities: Scores, temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities [n, classes] as they are when the logits behind them are divided by `temperature`."""
    return softmax(logits_of(probabilities) / temperature)


def softmax(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Logits [n, classes] -> probabilities of the same dtype."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def logits_of(probabilities: Scores) -> Floats:
    """Probabilities [n, classes] -> float64 logits, but for a constant per row, which a softmax leaves out again."""
    return np.log(np.maximum(probabilities.astype(np.float64), 1e-30))
