"""The representative dataset: which training pictures set the ranges of the quantized network."""

from __future__ import annotations

import pandas as pd

from ...edge_runtime.errors import DataError
from ...train import streams
from ...train.runs.run_folder import Run

PRECISIONS = ("int8", "w8a16", "float16", "w8a32")
CALIBRATED = ("int8", "w8a16")  # whose ranges come from pictures

ENOUGH = 100  # with fewer images the ranges are unreliable: warn


def choose_representative(run: Run, count: int) -> pd.DataFrame:
    """About `count` rows of the training part, seeded, every class by its share but at least five where it has them.

    Raises DataError where the run has no training images.
    """
    training = run.part("train")
    if training.empty:
        raise DataError(f"{run.folder / 'split.csv'} has no training images, so nothing can calibrate the ranges")
    generator = streams.generator(run.seed, streams.Stream.REPRESENTATIVE)
    chosen: list[int] = []
    for _, rows in training.groupby("label", sort=True):
        wanted = max(min(5, len(rows)), round(count * len(rows) / len(training)))
        chosen.extend(generator.permutation(rows.index.to_numpy())[:wanted])
    return training.loc[sorted(chosen)].reset_index(drop=True)
