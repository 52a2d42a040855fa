"""What lies over the skin: reflections, a ruler, hair, bubbles in the gel. `distortions.KINDS` names them.

Everything is drawn from the generator before the amount is looked at, so that more of it is the same and more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.floating[Any]]

MOST = 60
"""Hairs or bubbles: more are not drawn."""

_SPOTS = 6
_FINER = 4  # hairs are drawn on a grid that is so much finer
_HAIR = (40, 29, 24)
_PAPER, _INK = (232, 230, 222), (32, 32, 34)
_PERIOD = 0.03  # of a ruler's marks, of the shorter side


def plane(height: int, width: int) -> tuple[Plane, Plane]:
    """(y [height, 1], x [1, width]) of the pixels' middles, from the picture's middle, in units of its shorter side."""
    side = min(height, width)
    y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / side
    x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / side
    return y[:, None], x[None, :]


def bytes_of(values: Plane) -> Pixels:
    """Rounded and clipped to 0..255."""
    return np.minimum(np.maximum(np.rint(values), 0), 255).astype(np.uint8)


def clipped(values: Plane) -> Plane:
    """Clipped to 0..1."""
    return np.minimum(np.maximum(values, 0), 1).astype(np.float32)


def glare(pixels: Pixels, percent: float, draw: np.random.Generator) -> Pixels:
    """Spots of reflected light: saturated over `percent` of the picture, with a haze around."""
    height, width = pixels.shape[:2]
    y, x = plane(height, width)
    side = min(height, width)
    middle = draw.uniform(-0.4, 0.4, (_SPOTS, 2)) * (height / side, width / side)
    size, stretch, turn = draw.uniform(0.4, 1.6, _SPOTS), draw.uniform(1, 1.8, _SPOTS), draw.uniform(0, np.pi, _SPOTS)
    area = percent / 100 * height * width / side**2
    radius = np.maximum(size * np.sqrt(area / (np.pi * (size**2).sum())), 1e-6)
    left = np.ones((height, width), np.float32)
    for (down, across), r, s, angle in zip(middle, radius, stretch, turn, strict=True):
        dy, dx = y - np.float32(down), x - np.float32(across)
        along, aside = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
        beyond = np.maximum(np.hypot(along / s, aside * s) / r - 1, 0)
        left *= 1 - np.exp(-beyond * beyond * 6).astype(np.float32)
    return bytes_of(255 - (255 - pixels.astype(np.float32)) * left[..., None])


def ruler(pixels: Pixels, percent: float, draw: np.random.Generator) -> Pixels:
    """A paper ruler along one border, over `percent` of the shorter side."""
    turns, phase, tilt = int(draw.integers(4)), draw.uniform(0, 1), draw.uniform(-0.25, 0.25)
    turned = np.rot90(pixels, turns)
    height, width = turned.shape[:2]
    y, x = plane(height, width)
    pixel = 1 / min(height, width)
    wide = percent / 100 * (1 + tilt * x)
    depth = wide - (y.max() + pixel / 2 - y)  # from the ruler's edge towards the border of the picture
    paper = clipped(depth / pixel + 0.5)
    mark = x / _PERIOD + phase
    number = np.rint(mark)
    long = np.where(number % 10 == 0, 0.09, np.where(number % 5 == 0, 0.065, 0.04))
    off = np.abs(mark - number) * _PERIOD
    ink = clipped((0.2 * _PERIOD - off) / pixel + 0.5) * clipped((long - depth) / pixel + 0.5) * paper
    out = _laid_over(turned.astype(np.float32), 0.93 * paper, _PAPER)
    return np.ascontiguousarray(np.rot90(bytes_of(_laid_over(out, 0.9 * ink, _INK)), -turns))


def hair(pixels: Pixels, count: float, draw: np.random.Generator) -> Pixels:
    """`count` dark hairs over the picture, most in one direction; the last one as faint as the fraction says."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    common = draw.uniform(0, np.pi)
    middle = draw.uniform(0, 1, (MOST, 2)) * (width, height)
    angle = common + draw.normal(0, 0.5, MOST)
    half = draw.uniform(0.3, 0.75, MOST) * side
    bend = draw.normal(0, 0.12, MOST) * side
    thick = draw.uniform(0.005, 0.01, MOST) * side
    t = np.linspace(-1, 1, 17)
    mask = Image.new("L", (width * _FINER, height * _FINER))
    brush = ImageDraw.Draw(mask)
    covered = np.zeros((height, width), np.float32)
    for i in range(int(np.ceil(count))):
        if i == int(count):  # the last, of which there is a part
            covered = np.asarray(mask.reduce(_FINER), np.float32)
        aside = bend[i] * (1 - t * t)
        x = middle[i, 0] + half[i] * t * np.cos(angle[i]) - aside * np.sin(angle[i])
        y = middle[i, 1] + half[i] * t * np.sin(angle[i]) + aside * np.cos(angle[i])
        points = [(float(a), float(b)) for a, b in zip(x * _FINER, y * _FINER, strict=True)]
        brush.line(points, fill=255, width=max(1, round(float(thick[i]) * _FINER)), joint="curve")
    whole = np.asarray(mask.reduce(_FINER), np.float32)
    part = count % 1 or 1.0
    return bytes_of(_laid_over(pixels.astype(np.float32), 0.9 / 255 * (covered * (1 - part) + whole * part), _HAIR))


def bubbles(pixels: Pixels, count: float, draw: np.random.Generator) -> Pixels:
    """`count` bubbles of air: a dark rim, a brighter inside and a reflection each."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    middle = draw.uniform(0, 1, (MOST, 2)) * (height, width)
    radius = np.exp(draw.uniform(np.log(0.015), np.log(0.07), MOST)) * side
    light = draw.uniform(0, 2 * np.pi)
    out = pixels.astype(np.float32)
    for i in range(int(np.ceil(count))):
        opaque = min(1.0, count - i)
        r = max(float(radius[i]), 0.5)
        (down, across), reach = middle[i], 1.3 * r + 1
        top, bottom = max(int(down - reach), 0), min(int(down + reach) + 1, height)
        left, right = max(int(across - reach), 0), min(int(across + reach) + 1, width)
        dy = (np.arange(top, bottom)[:, None] + 0.5 - down) / r
        dx = (np.arange(left, right)[None, :] + 0.5 - across) / r
        distance = np.hypot(dy, dx)
        thin = max(0.1, 0.5 / r)
        rim = np.exp(-(((distance - 1) / thin) ** 2))
        inside = clipped((1 - distance) * r + 0.5)
        spot = np.hypot(dy - 0.55 * np.sin(light), dx - 0.55 * np.cos(light))
        shine = np.exp(-((spot / max(0.22, 0.6 / r)) ** 2))
        part = out[top:bottom, left:right]
        part = _laid_over(part, opaque * 0.18 * inside, (255, 255, 255))
        part = _laid_over(part, opaque * 0.5 * rim, (30, 22, 20))
        out[top:bottom, left:right] = _laid_over(part, opaque * 0.95 * shine, (255, 255, 255))
    return bytes_of(out)


def _laid_over(pixels: Plane, opaque: Plane, colour: tuple[int, int, int]) -> Plane:
    """opaque: [height, width], 0..1."""
    return pixels + opaque[..., None].astype(np.float32) * (np.array(colour, np.float32) - pixels)
