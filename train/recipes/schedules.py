"""Learning rates over the steps of a training."""

from __future__ import annotations

import math

SCHEDULES = ("plateau", "cosine")
"""plateau: halved (plateau_factor) where the validation loss no longer falls. cosine: down to 0 over all epochs."""


def factor(schedule: str, step: int, steps: int, warmup: int) -> float:
    """What the recipe's learning rate is multiplied with in `step` (from 0) of `steps`.

    The first `warmup` steps rise in a line to 1; then "plateau" stays there and "cosine" falls as half a cosine
    (Loshchilov and Hutter, "SGDR", arXiv 1608.03983, without restarts).

    Args:
        schedule: "plateau" or "cosine".
        step: Number of the step, from 0.
        steps: Number of steps in all.
        warmup: Number of steps that rise linearly.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "plateau":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
