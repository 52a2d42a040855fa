"""A drawn data set: blobs on skin in the HAM10000 layout, so that the whole job can be tried without any real picture.

Seven drawn kinds stand in for the seven diagnoses. They borrow a hint of each (colour, border, network, scale) and
nothing of the difficulty: results on them show that the program works, and say nothing about real lesions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...edge_runtime import csv_files, files
from ...edge_runtime.errors import OutputExistsError

Plane = npt.NDArray[np.float64]
Generator = np.random.Generator

# Every image_id begins with it; a model trained on nothing else says so of itself.
SYNTHETIC = "SYNTHETIC_"

README = """Synthetic skin lesions

Drawn by skin-edge ({lesions} lesions, {images} images, seed {seed}), in the layout of HAM10000's Kaggle edition.
They are not photographs and no patient's. Results on them show that the program works, and say nothing about
real lesions.
"""


@dataclass(frozen=True)
class _Kind:
    """How a drawn class looks.

    colour: RGB of the lesion, 0..1. radius: of the shorter side. ragged: how far the border leaves a circle, of the
    radius. edge: width of the border, of the radius. texture: (lesion's plane 0..1, generator) -> change of lightness.
    """

    colour: tuple[float, float, float]
    radius: float
    ragged: float
    edge: float
    texture: Callable[[_Lesion, Generator], Plane]


@dataclass(frozen=True)
class _Lesion:
    """Coordinates within one picture, in units of the lesion's radius from its centre. angle: radians."""

    x: Plane
    y: Plane
    distance: Plane
    angle: Plane


def draw_dataset(
    folder: str | Path, *, lesions_per_class: int = 70, size: tuple[int, int] = (200, 150), seed: int = 42
) -> Path:
    """Writes HAM10000_metadata.csv, an image folder and README.txt into `folder`; returns it.

    Args:
        folder: The folder to fill.
        lesions_per_class: Number of lesions of each class.
        size: (width, height) in pixels. Every third lesion has two pictures, so that a split has to keep them together.
            The same seed gives the same pictures.
        seed: Random seed, 0 to 2**32 - 1.

    Raises:
        OutputExistsError: Where `folder` is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError(folder, "choose another folder")
    images = folder / "HAM10000_images"
    images.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, ...]] = []
    for position, code in enumerate(_KINDS):
        for lesion in range(lesions_per_class):
            # Two pictures of a lesion share its shape and colour; the second is turned, moved and lit again.
            for shot in range(2 if lesion % 3 == 0 else 1):
                image_id = f"{SYNTHETIC}{len(rows):05d}"
                picture = _draw(code, size, [seed, position, lesion], shot)
                picture.save(images / f"{image_id}.jpg", "JPEG", quality=90)
                rows.append((f"SYN_{code}_{lesion:03d}", image_id, code, "synthetic", "", "unknown", "unknown"))
    columns = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
    text = README.format(lesions=lesions_per_class * len(_KINDS), images=len(rows), seed=seed)
    files.write(folder / "README.txt", text)
    files.write(folder / "HAM10000_metadata.csv", csv_files.text(columns, rows))
    return folder


def _draw(code: str, size: tuple[int, int], seed: list[int], shot: int) -> Image.Image:
    kind = _KINDS[code]
    lesion_draw = np.random.default_rng(seed)  # the lesion's own looks
    draw = np.random.default_rng([*seed, 1 + shot])  # this picture's
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)

    tone = lesion_draw.uniform(0.75, 1.0)
    skin = np.array([0.93, 0.76, 0.68]) * tone + draw.normal(0, 0.012, 3)
    radius = kind.radius * min(size) * lesion_draw.uniform(0.8, 1.25)
    waves = [(k, lesion_draw.normal(0, kind.ragged / k**0.5), lesion_draw.uniform(0, 6.3)) for k in range(2, 8)]
    stretch = lesion_draw.uniform(0.8, 1.0)
    colour = np.clip(np.array(kind.colour) + lesion_draw.normal(0, 0.045, 3), 0.02, 0.98)

    turn = draw.uniform(0, 2 * np.pi)
    x, y = x - width * draw.uniform(0.42, 0.58), y - height * draw.uniform(0.42, 0.58)
    x, y = (np.cos(turn) * x + np.sin(turn) * y) / radius, (np.cos(turn) * y - np.sin(turn) * x) / radius / stretch
    angle = np.arctan2(y, x)
    border = 1 + sum(amplitude * np.sin(k * angle + phase) for k, amplitude, phase in waves)
    lesion = _Lesion(x, y, np.hypot(x, y) / np.maximum(border, 0.2), angle)
    inside = 1 / (1 + np.exp(np.clip((lesion.distance - 1) / kind.edge, -30, 30)))

    coarse = _smooth_noise(draw, (height, width), 6)[..., None]
    pixels = skin * (1 + 0.05 * coarse) + np.zeros((height, width, 3))
    lesion_colour = colour * (1 + kind.texture(lesion, lesion_draw))[..., None]
    pixels = pixels * (1 - inside[..., None]) + np.clip(lesion_colour, 0, 1) * inside[..., None]
    _hairs(pixels, draw)
    pixels *= 1 - 0.12 * ((np.mgrid[0:height, 0:width][1] / width - draw.uniform(0, 1)) ** 2)[..., None]
    pixels = pixels * draw.uniform(0.92, 1.06) + draw.normal(0, 0.02, pixels.shape)
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def _hairs(pixels: npt.NDArray[np.float64], draw: Generator) -> None:
    height, width, _ = pixels.shape
    for _ in range(int(draw.integers(0, 4))):
        t = np.linspace(0, 1, 2 * (height + width))
        start, end, bend = draw.uniform(0, 1, 2), draw.uniform(0, 1, 2), draw.normal(0, 0.12, 2)
        x = (start[0] + (end[0] - start[0]) * t + bend[0] * np.sin(np.pi * t)) * (width - 1)
        y = (start[1] + (end[1] - start[1]) * t + bend[1] * np.sin(np.pi * t)) * (height - 1)
        keep = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        pixels[y[keep].astype(int), x[keep].astype(int)] *= 0.45


def _smooth_noise(draw: Generator, shape: tuple[int, ...], cells: int) -> Plane:
    """Noise around 0, about -1..1, with `cells` bumps over the shorter side."""
    height, width = shape
    step = max(1, min(shape) // cells)
    small = draw.normal(0, 0.5, (height // step + 2, width // step + 2)).astype(np.float32)
    resized = Image.fromarray(small, "F").resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, np.float64)


def _scaly(lesion: _Lesion, draw: Generator) -> Plane:
    return 0.35 * _smooth_noise(draw, lesion.x.shape, 22)


def _vessels(lesion: _Lesion, draw: Generator) -> Plane:
    """A pale, shiny centre and dark branches."""
    branches = np.abs(np.sin(2.5 * lesion.angle + 3 * _smooth_noise(draw, lesion.x.shape, 4))) < 0.16
    return 0.15 * (lesion.distance < 0.45) - 0.45 * (branches & (lesion.distance > 0.3))


def _cysts(lesion: _Lesion, draw: Generator) -> Plane:
    """Bright dots."""
    change = np.zeros_like(lesion.x)
    for _ in range(14):
        distance, angle, radius = draw.uniform(0, 0.85), draw.uniform(0, 6.3), draw.uniform(0.06, 0.12)
        change[np.hypot(lesion.x - distance * np.cos(angle), lesion.y - distance * np.sin(angle)) < radius] = 0.75
    return change


def _central_scar(lesion: _Lesion, draw: Generator) -> Plane:
    return 0.75 * np.exp(-((lesion.distance / 0.45) ** 2)) + 0.05 * _smooth_noise(draw, lesion.x.shape, 12)


def _many_colours(lesion: _Lesion, draw: Generator) -> Plane:
    return 0.9 * _smooth_noise(draw, lesion.x.shape, 5) - 0.15


def _network(lesion: _Lesion, draw: Generator) -> Plane:
    """A regular net of darker lines that fades outwards."""
    period = draw.uniform(17, 22)
    lines = np.maximum(np.cos(period * lesion.x), np.cos(period * lesion.y))
    return 0.28 * (0.5 - np.clip(lines, 0, 1)) * np.clip(1.1 - lesion.distance, 0, 1)


def _lacunae(lesion: _Lesion, draw: Generator) -> Plane:
    return 0.3 * np.sign(_smooth_noise(draw, lesion.x.shape, 9))


_KINDS = {
    "akiec": _Kind((0.80, 0.46, 0.42), radius=0.34, ragged=0.07, edge=0.22, texture=_scaly),
    "bcc": _Kind((0.84, 0.60, 0.60), radius=0.27, ragged=0.03, edge=0.08, texture=_vessels),
    "bkl": _Kind((0.56, 0.41, 0.28), radius=0.32, ragged=0.04, edge=0.03, texture=_cysts),
    "df": _Kind((0.62, 0.42, 0.32), radius=0.24, ragged=0.02, edge=0.20, texture=_central_scar),
    "mel": _Kind((0.30, 0.20, 0.19), radius=0.36, ragged=0.13, edge=0.05, texture=_many_colours),
    "nv": _Kind((0.47, 0.29, 0.20), radius=0.25, ragged=0.02, edge=0.07, texture=_network),
    "vasc": _Kind((0.62, 0.10, 0.18), radius=0.22, ragged=0.05, edge=0.04, texture=_lacunae),
}
