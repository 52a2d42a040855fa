"""What the pictures of a class look like, many on one sheet; and near-duplicates side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ...edge_runtime import files, preprocess
from ...edge_runtime.errors import ImageError
from ..streams import Stream, generator

PER_CLASS = 24
MOST_PAIRS = 40

_COLUMNS = 6
_WIDTH, _HEIGHT, _CAPTION = 200, 160, 16  # pixels of a cell, its caption below


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
    """RGB, (path, caption) row by row, six in a row: upright, whole, in their proportions.

    The cell of a picture that cannot be read says so.
    """
    rows = max(1, -(-len(cells) // _COLUMNS))
    whole = Image.new("RGB", (_COLUMNS * _WIDTH, rows * (_HEIGHT + _CAPTION)), "white")
    drawing, font = ImageDraw.Draw(whole), ImageFont.load_default()
    for position, (path, caption) in enumerate(cells):
        x, y = position % _COLUMNS * _WIDTH, position // _COLUMNS * (_HEIGHT + _CAPTION)
        try:
            picture = preprocess.decode(path)
            scale = min((_WIDTH - 4) / picture.width, (_HEIGHT - 4) / picture.height)
            size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
            whole.paste(picture, (x + (_WIDTH - size[0]) // 2, y + (_HEIGHT - size[1]) // 2))
        except ImageError:
            drawing.text((x + 4, y + _HEIGHT // 2), "cannot be read", "black", font=font)
        drawing.text((x + 4, y + _HEIGHT), caption.encode("ascii", "replace").decode(), "black", font=font)
    return whole


def name_of(label: str) -> str:
    """The file of a class's sheet; what a label may hold and a file's name may not becomes "_"."""
    return f"class-{re.sub(r'[^A-Za-z0-9._-]', '_', label)}.png"


def save(image: Image.Image, path: Path) -> None:
    """As PNG, with pixels and nothing else: no EXIF, no names of files."""
    with files.replacing(path) as temporary:
        image.save(temporary, "PNG")
