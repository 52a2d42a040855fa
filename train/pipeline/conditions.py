"""How another clinic would have taken the picture: other light, another field of view, blur, hair.

Like the losses of `degradation.py`, these change what the student sees and not what its teachers see: the lesion stays
the same, and so should the answer. Each applies to one picture in three, independently of the others, so that most have
one or two. `benchmarks/robustness` measures such changes by functions of its own, so that a network is not measured by
what it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...benchmarks.robustness.distortions import GAMMA, PER_MIRED
from .augment import Augmentation, PerPicture

_BEFALLS = 1 / 3
_POINTS = 9  # of a hair's curve
_FRACTION_BITS = 4  # OpenCV draws to 1/16 of a pixel
_BROWN = np.array([1.0, 0.75, 0.6])
_BLACK_EDGE = 0.015  # of half the diagonal, over which a field of view ends

_Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Conditions(PerPicture):
    """What each picture was taken with. float32 but for `seeds`.

    Attributes:
        gains: [n, 3], of red, green and blue, by exposure and colour temperature.
        falloffs: [n], stops that are lost from one side to the other.
        vignettes: [n], stops that are lost from the middle to the corners.
        angles: [n], radians: where the light comes from, and where the picture was moved.
        fields: [n], radius of the field of view in parts of half the diagonal; 0 is no frame.
        stretches: [n], width / height that the picture had, by which the field of view is round.
        blurs: [n], in parts of the side; 0 is none. moved: bool [n], a line of that length and not a disc.
        hairs: int32 [n]. seeds: int64 [n], of where they lie.
    """

    gains: _Array
    falloffs: _Array
    vignettes: _Array
    angles: _Array
    fields: _Array
    stretches: _Array
    blurs: _Array
    moved: npt.NDArray[np.bool_]
    hairs: npt.NDArray[np.int32]
    seeds: npt.NDArray[np.int64]


def draw(augmentation: Augmentation, n: int, generator: np.random.Generator) -> Conditions:
    """Draws for n pictures. With `light`, exposure, falloff and vignette are drawn independently."""
    befalls = generator.random((7, n)) < _BEFALLS
    exposure, falloff, vignette, mired, field, blur, hair = generator.uniform(0, 1, (7, n)) * befalls
    light, most = augmentation.light, augmentation.temperature
    # Too much light clips and cannot be undone, so there is half as much of it as of too little.
    stops = light * exposure * np.where(generator.random(n) < 0.5, 0.5, -1.0)
    warm = most * mired * np.where(generator.random(n) < 0.5, 1, -1)
    hairs = np.where(befalls[6] & (augmentation.hairs > 0), np.ceil(augmentation.hairs * hair), 0)
    return Conditions(
        np.exp((stops[:, None] * np.log(2) + warm[:, None] * PER_MIRED) / GAMMA).astype(np.float32),
        (light * falloff).astype(np.float32),
        (light * vignette).astype(np.float32),
        generator.uniform(0, 2 * np.pi, n).astype(np.float32),
        np.where(befalls[4] & (augmentation.frame > 0), 1 - augmentation.frame * field, 0).astype(np.float32),
        generator.uniform(1, 4 / 3, n).astype(np.float32),
        (augmentation.blur * blur).astype(np.float32),
        generator.random(n) < 0.5,
        hairs.astype(np.int32),
        generator.integers(0, 2**63, n, dtype=np.int64),
    )


def apply(pixels: _Array, drawn: Conditions, position: int) -> _Array:
    """One picture as it would have been taken: hair, light, the field of view, then blur.

    Args:
        pixels: float32 [height, width, 3], levels of 0..255.
        drawn: What was drawn.
        position: Of the picture in it.
    """
    if drawn.hairs[position]:
        pixels = _with_hair(pixels, int(drawn.hairs[position]), int(drawn.seeds[position]))
    pixels = pixels * _light(pixels.shape[:2], drawn, position)
    np.minimum(pixels, 255, out=pixels)
    if drawn.fields[position]:
        pixels *= _field(pixels.shape[:2], drawn.fields[position], drawn.stretches[position])
    if drawn.blurs[position]:
        pixels = _blurred(
            pixels, float(drawn.blurs[position]), float(drawn.angles[position]), moved=drawn.moved[position]
        )
    return pixels


def _plane(shape: tuple[int, ...]) -> tuple[_Array, _Array]:
    """(y [height, 1], x [1, width]), -1..1 from border to border."""
    height, width = shape[:2]
    y = (np.arange(height, dtype=np.float32) + 0.5) * (2 / height) - 1
    x = (np.arange(width, dtype=np.float32) + 0.5) * (2 / width) - 1
    return y[:, None], x[None, :]


def _light(shape: tuple[int, ...], drawn: Conditions, position: int) -> _Array:
    """What each value is multiplied by: float32 [1 or height, width, 3]."""
    # A whole row of them: NumPy is slow where three values are all that repeats.
    gains = np.tile(drawn.gains[position], shape[1]).reshape(1, shape[1], 3)
    falloff, vignette, angle = drawn.falloffs[position], drawn.vignettes[position], drawn.angles[position]
    if not (falloff or vignette):
        return gains
    y, x = _plane(shape)
    along = (np.cos(angle) * x + np.sin(angle) * y) / (2 * (abs(np.cos(angle)) + abs(np.sin(angle)))) + 0.5
    lost = falloff * along + vignette * (x * x + y * y) / 2
    return _in_colour(np.exp2(-lost / GAMMA)) * gains


def _in_colour(plane: npt.NDArray[Any]) -> _Array:
    """[height, width] -> float32 [height, width, 3], the same for red, green and blue."""
    return np.repeat(plane.astype(np.float32), 3, axis=1).reshape(*plane.shape, 3)


def _field(shape: tuple[int, ...], radius: float, stretch: float) -> _Array:
    """1 within a round field of view and 0 in the black around it: float32 [height, width, 3]."""
    y, x = _plane(shape)
    distance = np.hypot(x * stretch, y) / np.hypot(stretch, 1)
    return _in_colour(np.clip((radius - distance) / _BLACK_EDGE + 0.5, 0, 1))


def _blurred(pixels: _Array, extent: float, angle: float, *, moved: bool) -> _Array:
    """extent: the line's length or the disc's diameter in parts of the side."""
    pixel = extent * min(pixels.shape[:2])
    reach = int(np.ceil(pixel / 2))
    if not reach:
        return pixels
    at = np.arange(-reach, reach + 1, dtype=np.float32)
    y, x = at[:, None], at[None, :]
    if moved:
        along, aside = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        kernel = np.clip(pixel / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(aside), 0, 1)
    else:
        kernel = np.clip(pixel / 2 + 0.5 - np.hypot(x, y), 0, 1)
    return np.asarray(cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def _with_hair(pixels: _Array, count: int, seed: int) -> _Array:
    """`count` bent hairs, most in one direction and of one colour."""
    generator = np.random.default_rng(seed)
    height, width = pixels.shape[:2]
    side = min(height, width)
    common = generator.uniform(0, np.pi)
    dark = generator.uniform(20, 100) * _BROWN
    mask = np.zeros((height, width), np.uint8)
    t = np.linspace(-1, 1, _POINTS)
    for _ in range(count):
        angle, half = common + generator.normal(0, 0.5), generator.uniform(0.2, 0.7) * side
        aside = generator.normal(0, 0.15) * side * (1 - t * t)
        middle = generator.uniform(0, 1, 2) * (width, height)
        x = middle[0] + half * t * np.cos(angle) - aside * np.sin(angle)
        y = middle[1] + half * t * np.sin(angle) + aside * np.cos(angle)
        points = np.rint(np.stack([x, y], axis=1) * (1 << _FRACTION_BITS)).astype(np.int32)
        # One pixel wide and drawn the fainter the thinner it is.
        thick = generator.uniform(0.003, 0.011) * side
        strength = int(255 * min(thick, 1.0))
        cv2.polylines(mask, [points], False, strength, max(1, round(thick)), cv2.LINE_AA, _FRACTION_BITS)
    opaque = _in_colour(mask) * np.float32(0.9 / 255)
    colour = np.tile(dark.astype(np.float32), width).reshape(1, width, 3)
    return np.asarray(pixels + (colour - pixels) * opaque, np.float32)
