"""The page's icon, as SVG and as PNG: a lesion between the corners of a viewfinder."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

_BACKGROUND, _CORNERS, _SKIN, _LESION, _CORE = "#0b5c73", "#ffffff", "#e9b999", "#7a4630", "#4a2417"
# In units of a square of 100: circles (x, y, radius, colour), and the viewfinder's corners as lines of three points.
_CIRCLES = ((50, 50, 27, _SKIN), (47, 48, 15, _LESION), (56, 54, 12, _LESION), (49, 52, 8, _CORE))
_EDGE, _LENGTH, _WIDTH = 18, 15, 5
_LINES = tuple(
    ((x, y + dy), (x, y), (x + dx, y))
    for x, dx in ((_EDGE, _LENGTH), (100 - _EDGE, -_LENGTH))
    for y, dy in ((_EDGE, _LENGTH), (100 - _EDGE, -_LENGTH))
)
_SUPERSAMPLED = 4


def svg() -> bytes:
    """The icon with round corners."""
    shapes = "".join(f'<circle cx="{x}" cy="{y}" r="{r}" fill="{colour}"/>' for x, y, r, colour in _CIRCLES)
    lines = "".join(f"M{a[0]} {a[1]}L{b[0]} {b[1]}L{c[0]} {c[1]}" for a, b, c in _LINES)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 100">'
        f'<rect width="100" height="100" rx="22" fill="{_BACKGROUND}"/>{shapes}'
        f'<path d="{lines}" fill="none" stroke="{_CORNERS}" stroke-width="{_WIDTH}" stroke-linecap="round" '
        'stroke-linejoin="round"/></svg>\n'
    ).encode()


def png(size: int, *, whole: bool = False) -> bytes:
    """The icon as PNG.

    Args:
        size: Pixels of a side.
        whole: Without round corners and a little smaller, for systems that cut their own shape out of it.
    """
    side = size * _SUPERSAMPLED
    scale = (0.8 if whole else 1.0) * side / 100
    shift = 0.1 * side if whole else 0.0
    image = Image.new("RGBA", (side, side), _BACKGROUND if whole else (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    if not whole:
        draw.rounded_rectangle((0, 0, side - 1, side - 1), 22 * scale, fill=_BACKGROUND)
    for x, y, radius, colour in _CIRCLES:
        _dot(draw, shift + x * scale, shift + y * scale, radius * scale, colour)
    for line in _LINES:
        points = [(shift + x * scale, shift + y * scale) for x, y in line]
        draw.line(points, fill=_CORNERS, width=round(_WIDTH * scale))
        for x, y in points:
            _dot(draw, x, y, _WIDTH * scale / 2, _CORNERS)
    buffer = io.BytesIO()
    image.resize((size, size), Image.Resampling.LANCZOS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: str) -> None:
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
