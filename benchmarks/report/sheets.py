"""Pictures in rows with lines below each, as one picture: a look at them finds what no count does."""

from __future__ import annotations

import io
from collections.abc import Iterable

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT, _LINE = 200, 160, 16  # pixels of a cell, and of each line below it


def sheet(cells: Iterable[tuple[Image.Image | None, str]], columns: int = 6, lines: int = 1) -> Image.Image:
    """RGB, (picture, caption) row by row: whole, in their proportions.

    The cell of a picture that is None says that it cannot be read.

    Args:
        cells: The pictures are taken one by one, and only what is shown of them is kept. Captions end in their cell.
        columns: Cells in a row.
        lines: Of the longest caption.
    """
    drawn = [_cell(picture, caption, lines) for picture, caption in cells]
    width, height = _WIDTH, _HEIGHT + lines * _LINE
    whole = Image.new("RGB", (columns * width, max(1, -(-len(drawn) // columns)) * height), "white")
    for position, cell in enumerate(drawn):
        whole.paste(cell, (position % columns * width, position // columns * height))
    return whole


def png(image: Image.Image) -> bytes:
    """A file with pixels and nothing else: no EXIF, no names of files."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _cell(picture: Image.Image | None, caption: str, lines: int) -> Image.Image:
    cell = Image.new("RGB", (_WIDTH, _HEIGHT + lines * _LINE), "white")
    drawing, font = ImageDraw.Draw(cell), ImageFont.load_default()
    if picture is None:
        drawing.text((4, _HEIGHT // 2), "cannot be read", "black", font=font)
    else:
        scale = min((_WIDTH - 4) / picture.width, (_HEIGHT - 4) / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        cell.paste(picture, ((_WIDTH - size[0]) // 2, (_HEIGHT - size[1]) // 2))
    for number, line in enumerate(caption.split("\n")):
        shown = line.encode("ascii", "replace").decode()
        drawing.text((4, _HEIGHT + number * _LINE), shown, "black", font=font)
    return cell
