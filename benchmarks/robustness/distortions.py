"""Pictures as other clinics, cameras and hands make them: the suite that robustness is measured with.

Strength 1 is what happens every day, 2 what one sees in a bad series, 3 beyond what anybody should send; between them a
parameter is interpolated, and at 0 the picture keeps its bytes. All lengths are in parts of the picture's shorter side,
so that a picture suffers the same at any size. Light is changed in linear light (a gamma of 2.2), as lamps and exposure
times do.

Every picture has a stream of random numbers of its own, by `seed_of`: where a hair lies depends neither on the other
pictures nor on the strength, so that a stronger distortion is the same one, and worse. NumPy and Pillow alone.

The suite is fixed: figures of different models and days are comparable as long as it is the same. What changes bytes
has to raise VERSION.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from ...edge_runtime.errors import UnknownNameError
from . import drawn
from .drawn import Pixels, Plane, bytes_of, clipped, plane

VERSION = 1
"""Of the suite."""

STRENGTHS = (1, 2, 3)
"""Of the suite; `distort` takes what is between them too."""

GAMMA = 2.2
_REFERENCE = 150
"""Pixels of the shorter side at which resolution, JPEG and grain are as said; at others the picture suffers alike."""
_GRAIN = 8  # levels: what is finer than a lesion and fainter than this is skin


@dataclass(frozen=True)
class Distortion:
    """One kind.

    Attributes:
        what: In words.
        parameter: How strong, with its unit; "{:g}" in it stands for the value.
        values: At strengths 1, 2 and 3.
        change: (pixels, value, generator) -> pixels of the same size.
        none: The value that changes nothing. From infinity, the reciprocal is interpolated.
    """

    what: str
    parameter: str
    values: tuple[float, float, float]
    change: Callable[[Pixels, float, np.random.Generator], Pixels]
    none: float = 0.0

    @property
    def levels(self) -> tuple[str, ...]:
        """The parameter at strengths 1, 2 and 3, in words."""
        return tuple(self.parameter.format(value) for value in self.values)

    def value(self, strength: float) -> float:
        """The parameter at a strength of 0 to 3."""
        if math.isinf(self.none):
            reciprocal = float(np.interp(strength, range(4), (0.0, *(1 / value for value in self.values))))
            return 1 / reciprocal if reciprocal else self.none
        return float(np.interp(strength, range(4), (self.none, *self.values)))


def distort(pixels: Pixels, kind: str, strength: float, seed: int) -> Pixels:
    """The picture, worse: of the same size whatever the kind, and a new array also where nothing changes.

    Args:
        pixels: uint8 [height, width, 3], RGB, upright, at its own size.
        kind: One of KINDS.
        strength: 0 (the same bytes) to 3.
        seed: At least 0. The same one gives the same bytes in every process, and the same hairs at every strength:
            `seed_of`.

    Raises:
        UnknownNameError: Where `kind` is none of KINDS.
        ValueError: For another strength, shape or type.
    """
    if kind not in KINDS:
        raise UnknownNameError("distortion", kind, KINDS)
    if not 0 <= strength <= STRENGTHS[-1]:
        raise ValueError(f"strength must be 0 to {STRENGTHS[-1]}, not {strength}")
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"a picture is uint8 [height, width, 3], not {pixels.dtype} {list(pixels.shape)}")
    if not strength:
        return np.array(pixels)
    found = KINDS[kind]
    return found.change(pixels, found.value(strength), np.random.default_rng(seed))


def seed_of(seed: int, kind: str, name: str) -> int:
    """The seed of one picture of a data set, 0 to 2**63 - 1, for every strength.

    Args:
        seed: Of the suite.
        kind: One of KINDS.
        name: Of the picture, such as its image id: it does not matter which others are measured.
    """
    content = f"{seed}\n{kind}\n{name}".encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big") >> 1


# Wien's approximation of a black body: what one mired does to the logarithm of red and blue, with green as it is.
# 14.388 / wavelength in nm, per mired, at 610, 550 and 465 nm.
PER_MIRED = np.array([14.388 / 550 - 14.388 / 610, 0, 14.388 / 550 - 14.388 / 465])


def _temperature(pixels: Pixels, mired: float, draw: np.random.Generator) -> Pixels:
    shift = mired if draw.random() < 0.5 else -mired
    return _lit(pixels, np.exp(PER_MIRED * shift))


def _falloff(pixels: Pixels, stops: float, draw: np.random.Generator) -> Pixels:
    y, x = plane(*pixels.shape[:2])
    angle = draw.uniform(0, 2 * np.pi)
    along = math.cos(angle) * x + math.sin(angle) * y
    along = (along - along.min()) / max(float(np.ptp(along)), 1e-6)
    return _lit(pixels, 2 ** (-stops * along)[..., None])


def _vignette(pixels: Pixels, stops: float, draw: np.random.Generator) -> Pixels:
    y, x = plane(*pixels.shape[:2])
    squared = x * x + y * y
    return _lit(pixels, 2 ** (-stops * squared / max(float(squared.max()), 1e-6))[..., None])


def _frame(pixels: Pixels, percent: float, draw: np.random.Generator) -> Pixels:
    y, x = plane(*pixels.shape[:2])
    half = math.hypot(pixels.shape[0], pixels.shape[1]) / 2 / min(pixels.shape[:2])
    down, across = draw.uniform(-0.04, 0.04, 2)
    # In float64 on purpose: NumPy 1 and 2 make something else of float32 and one of its own numbers.
    distance = np.hypot((y / half).astype(np.float64) - down, (x / half).astype(np.float64) - across)
    return bytes_of(pixels * clipped((percent / 100 - distance) / 0.015 + 0.5)[..., None])


def _exposed(pixels: Pixels, stops: float, draw: np.random.Generator) -> Pixels:
    return _lit(pixels, np.array(2**stops))


def _lit(pixels: Pixels, gain: Plane) -> Pixels:
    """gain: in linear light; what goes over 255 is lost."""
    return bytes_of(pixels * (gain ** (1 / GAMMA)).astype(np.float32))


def _scaled(pixels: Pixels, factor: float, draw: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    tall, wide = height / factor, width / factor
    around = _surrounded(pixels, max(0, math.ceil((tall - height) / 2)), max(0, math.ceil((wide - width) / 2)))
    top, left = (around.shape[0] - tall) / 2, (around.shape[1] - wide) / 2
    box = max(left, 0), max(top, 0), min(left + wide, around.shape[1]), min(top + tall, around.shape[0])
    return np.asarray(Image.fromarray(around).resize((width, height), Image.Resampling.BICUBIC, box=box))


def _surrounded(pixels: Pixels, rows: int, columns: int) -> Pixels:
    """With skin around: mirrored at the border and soon of one colour with its grain, for no other lesion is there."""
    if not rows and not columns:
        return pixels
    height, width = pixels.shape[:2]
    ring = max(1, min(height, width) // 20)
    borders = (pixels[:ring], pixels[-ring:], pixels[:, :ring], pixels[:, -ring:])
    skin = np.median(np.concatenate([np.reshape(border, (-1, 3)) for border in borders]), axis=0)
    mirrored = np.pad(pixels, ((rows, rows), (columns, columns), (0, 0)), mode="symmetric")
    outside = np.maximum(_beyond(height, rows)[:, None], _beyond(width, columns)[None, :])
    far = clipped(outside / (2 * ring))[..., None]
    smooth = np.asarray(Image.fromarray(mirrored).filter(ImageFilter.BoxBlur(ring / 2)), np.float32)
    grain = np.minimum(np.maximum(mirrored - smooth, -_GRAIN), _GRAIN)
    return bytes_of(mirrored * (1 - far) + (skin.astype(np.float32) + grain) * far)


def _beyond(length: int, more: int) -> npt.NDArray[np.intp]:
    """How far each of more + length + more pixels is from the middle part; 0 in it."""
    at = np.arange(-more, length + more)
    return np.maximum(np.maximum(-at, at - length + 1), 0)


def _defocus(pixels: Pixels, percent: float, draw: np.random.Generator) -> Pixels:
    radius = percent / 200 * min(pixels.shape[:2])
    count = max(256, int(24 * radius * radius))
    turn, out = np.arange(count) * (math.pi * (3 - math.sqrt(5))), np.sqrt((np.arange(count) + 0.5) / count)
    return _blurred(pixels, radius * out * np.sin(turn), radius * out * np.cos(turn))  # evenly over the disc


def _motion(pixels: Pixels, percent: float, draw: np.random.Generator) -> Pixels:
    angle, length = draw.uniform(0, np.pi), percent / 100 * min(pixels.shape[:2])
    count = max(16, int(8 * length))
    along = (np.arange(count) / (count - 1) - 0.5) * length
    return _blurred(pixels, along * math.sin(angle), along * math.cos(angle))


def _blurred(pixels: Pixels, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64]) -> Pixels:
    """The mean of the picture moved to each of the points (y, x), in pixels; mirrored at its borders."""
    reach = int(max(np.abs(y).max(), np.abs(x).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    for down in (0, 1):  # each point falls on the four pixels around it
        for across in (0, 1):
            share = np.abs(1 - down - (y - top)) * np.abs(1 - across - (x - left))
            np.add.at(kernel, (top + down + reach, left + across + reach), share / len(y))
    around = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
    size = _quick(around.shape[0]), _quick(around.shape[1])
    placed = np.zeros(size)
    placed[: kernel.shape[0], : kernel.shape[1]] = kernel
    response = np.fft.rfft2(placed)
    out = np.empty_like(pixels)
    for channel in range(3):
        blurred = np.fft.irfft2(np.fft.rfft2(around[..., channel], size) * response, size)
        out[..., channel] = bytes_of(blurred[2 * reach :, 2 * reach :][: pixels.shape[0], : pixels.shape[1]])
    return out


def _quick(length: int) -> int:
    """The next length that a fast Fourier transform takes apart into factors of 2, 3 and 5."""
    while True:
        left = length
        for factor in (2, 3, 5):
            while left % factor == 0:
                left //= factor
        if left == 1:
            return length
        length += 1


def _compressed(pixels: Pixels, quality: float, draw: np.random.Generator) -> Pixels:
    """What JPEG does at _REFERENCE pixels, added to a larger picture: its blocks would be smaller and harm it less."""
    picture = Image.fromarray(pixels)
    small = picture
    if min(picture.size) > _REFERENCE:
        factor = _REFERENCE / min(picture.size)
        size = round(picture.width * factor), round(picture.height * factor)
        small = picture.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", qtables=_tables(quality), subsampling="4:2:0")
    stored = Image.open(buffer).convert("RGB")
    if small is picture:
        return np.asarray(stored)
    before, after = (
        np.asarray(one.resize(picture.size, Image.Resampling.BICUBIC), np.float32) for one in (small, stored)
    )
    return bytes_of(pixels + after - before)


# ITU-T T.81 (JPEG), tables K.1 and K.2.
_LUMINANCE = """16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"""
_CHROMINANCE = """17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99"""


def _tables(quality: float) -> list[list[int]]:
    """libjpeg's of a quality, which there is a whole number."""
    percent = 5000 / quality if quality < 50 else 200 - 2 * quality
    tables = (np.array(table.split(), float) for table in (_LUMINANCE, _CHROMINANCE))
    return [
        np.minimum(np.maximum(np.floor(table * percent / 100 + 0.5), 1), 255).astype(int).tolist() for table in tables
    ]


def _reduced(pixels: Pixels, shorter: float, draw: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    side = min(height, width)
    factor = min(1.0, shorter / _REFERENCE * min(side, _REFERENCE) / side)
    small = max(1, round(width * factor)), max(1, round(height * factor))
    picture = Image.fromarray(pixels).resize(small, Image.Resampling.BICUBIC)
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def _noise(pixels: Pixels, levels: float, draw: np.random.Generator) -> Pixels:
    height, width = pixels.shape[:2]
    grain = max(1.0, min(height, width) / _REFERENCE)
    size = math.ceil(height / grain), math.ceil(width / grain)
    out = pixels.astype(np.float32)
    for channel in range(3):
        field = draw.standard_normal(size, np.float32)
        if size != (height, width):
            field = np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))
            field = field / max(float(field.std()), 1e-6)
        out[..., channel] += np.float32(levels) * field
    return bytes_of(out)


_STOPS = "{:g} stops"

KINDS: dict[str, Distortion] = {
    "temperature": Distortion("white balance off, towards warm or cold", "{:g} mired", (25, 60, 120), _temperature),
    "falloff": Distortion("light from one side, darker towards the other", _STOPS, (0.7, 1.5, 3), _falloff),
    "vignette": Distortion("darker towards the corners", _STOPS, (0.7, 1.5, 3), _vignette),
    "frame": Distortion(
        "black around a round field of view", "radius {:g}% of half the diagonal", (88, 70, 50), _frame, none=110
    ),
    "underexposed": Distortion("too little light", _STOPS, (-0.7, -1.7, -3.5), _exposed),
    "overexposed": Distortion("too much light, clipped", "+{:g} stops", (0.3, 0.8, 1.6), _exposed),
    "glare": Distortion("spots of reflected light", "{:g}% saturated", (1, 4, 12), drawn.glare),
    "smaller": Distortion("from farther away", "scale {:g}", (0.9, 0.75, 0.6), _scaled, none=1),
    "larger": Distortion("from nearer by, borders cut off", "scale {:g}", (1.15, 1.35, 1.6), _scaled, none=1),
    "defocus": Distortion("out of focus", "circle of {:g}% of shorter side", (2, 4, 8), _defocus),
    "motion": Distortion("moved while exposed", "{:g}% of the shorter side", (2, 5, 10), _motion),
    "resolution": Distortion(
        "few pixels, enlarged again", "{:g} pixels on the shorter side", (100, 55, 28), _reduced, none=math.inf
    ),
    "jpeg": Distortion("compressed", "quality {:g} at 150 pixels", (40, 15, 5), _compressed, none=100),
    "noise": Distortion("a sensor's noise", "standard deviation {:g} of 255", (4, 10, 25), _noise),
    "ruler": Distortion("a ruler at one border", "{:g}% of the shorter side", (6, 15, 33), drawn.ruler),
    "hair": Distortion("hairs over the lesion", "{:g} hairs", (4, 15, 45), drawn.hair),
    "bubbles": Distortion("bubbles in the gel", "{:g} bubbles", (4, 15, 45), drawn.bubbles),
}
"""Name -> what it is."""
