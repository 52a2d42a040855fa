"""The picture that latency and memory are measured with."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...edge_runtime.preprocess import decode, file_bytes


@dataclass(frozen=True)
class Picture:
    """The image whose predictions are timed.

    Attributes:
        content: The bytes of an image file.
        source: Its path, or "generated".
        width, height: Pixels as stored.
    """

    content: bytes = field(repr=False)
    source: str
    width: int
    height: int
    format: str

    @property
    def description(self) -> str:
        """For example "600x450 JPEG, 45.1 kB"."""
        return f"{self.width}x{self.height} {self.format}, {len(self.content) / 1000:.1f} kB"


def read_picture(path: str | Path) -> Picture:
    """Reads an image file. Raises ImageError where `preprocess.decode` refuses it."""
    decode(path)
    return _described(file_bytes(path), str(path))


def generated_picture() -> Picture:
    """A 600x450 JPEG of a dark blob on smooth skin, the size of a HAM10000 picture; the same bytes at every call.

    (The same for one version of Pillow's JPEG encoder.) It stands for a picture's cost, not for a lesion.
    """
    y, x = np.mgrid[0:450, 0:600]
    angle = np.arctan2(y - 230, x - 310)
    radius = np.hypot(y - 230, x - 310) / (110 + 14 * np.sin(3 * angle) + 8 * np.sin(7 * angle))
    blob = (1 / (1 + np.exp(12 * (radius - 1))))[..., None]
    light = (1 - 0.15 * np.hypot(y - 225, x - 300) / 375)[..., None]
    # Grain with neighbours alike, as in a photograph: without it the JPEG would be smaller and decode faster.
    grain = np.random.default_rng(0).normal(0, 12, (225, 300)).repeat(2, axis=0).repeat(2, axis=1)[..., None]
    pixels = light * ((1 - blob) * (222, 172, 150) + blob * (112, 68, 52)) + grain
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return _described(buffer.getvalue(), "generated")


def _described(content: bytes, source: str) -> Picture:
    image: Image.Image = Image.open(io.BytesIO(content))
    width, height = image.size
    return Picture(content, source, width, height, image.format or "image")
