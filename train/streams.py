"""Every use of randomness has a stream of its own: what one draws never changes what another draws."""

from __future__ import annotations

from enum import IntEnum, unique

import numpy as np


@unique
class Stream(IntEnum):
    """The numbers are part of what a seed means: a new use gets a new number, an old one is never given away."""

    SPLIT = 1
    SUBSET = 2
    ORDER = 3
    AUGMENTATION = 4
    DROPOUT = 5
    BALANCED_VALIDATION = 7
    FOLDS = 8
    DEGRADATION = 9
    CONTACT_SHEET = 10
    TRIAL = 11
    FOLD_VALIDATION = 12
    METADATA_DROPOUT = 13
    METADATA_GAPS = 14
    REPRESENTATIVE = 15
    ASSESSED_PICTURES = 16
    DRAWN_OUTLIERS = 17
    EMPTY_CORNERS = 18
    DEGRADED_OUTLIERS = 19


def generator(seed: int, stream: Stream, *position: int) -> np.random.Generator:
    """The generator of a stream;

    Args:
        position: Which epoch, batch, fold or trial, where the stream draws several times.
    """
    return np.random.default_rng([seed, stream, *position])


def number(seed: int, stream: Stream, *position: int) -> int:
    """A well-mixed seed, 0..2^63-1, for a generator that is not NumPy's."""
    state = np.random.SeedSequence([seed, stream, *position]).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))
