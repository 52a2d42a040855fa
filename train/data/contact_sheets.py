"""What the pictures of a class look like, many on one sheet; and near-duplicates side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image

from ...benchmarks.report import sheets
from ...edge_runtime import preprocess
from ...edge_runtime.errors import ImageError
from ..streams import Stream, generator

PER_CLASS = 24
MOST_PAIRS = 40


def class_sheet(frame: pd.DataFrame, label: str, seed: int) -> Image.Image:
    """PER_CLASS pictures of a class, drawn by `seed` alone.

    Args:
        frame: Path, image_id, label.
    """
    rows = frame.loc[frame["label"] == label].sort_values("image_id")
    chosen = np.sort(generator(seed, Stream.CONTACT_SHEET).permutation(len(rows))[:PER_CLASS])
    cells = list(rows.iloc[chosen][["path", "image_id"]].itertuples(index=False, name=None))
    return sheet(cells)


def sheet(cells: Sequence[tuple[str, str]]) -> Image.Image:
    """As `sheets.sheet`, upright, of (path, caption)."""
    return sheets.sheet((_decoded(path), caption) for path, caption in cells)


def _decoded(path: str) -> Image.Image | None:
    try:
        return preprocess.decode(path)
    except ImageError:
        return None


def name_of(label: str) -> str:
    """The file of a class's sheet; what a label may hold and a file's name may not becomes "_"."""
    return f"class-{re.sub(r'[^A-Za-z0-9._-]', '_', label)}.png"
