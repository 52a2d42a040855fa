"""The resize of the contract (docs/contract.md, section 5): a triangle filter in integers, the horizontal pass first.

Pillow computes its coefficients in floating point and rounds them to the same 22 bits, but chooses the order of its two
passes by version and shape. One axis at a time it has no choice, and gives the formula's bytes wherever its rounding
is certain (`_pillow_is_exact`); elsewhere NumPy computes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

_BITS = 22
_BAND = 128  # rows


def resize(image: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """An upright RGB picture -> uint8 [height, width, 3].

    Args:
        image: Mode RGB.
        height, width: At least 1 pixel.
    """
    if image.width != width:
        image = _along(image, width, horizontal=True)
    if image.height != height:
        image = _along(image, height, horizontal=False)
    return np.asarray(image)


def coefficients(length: int, target: int) -> list[tuple[int, npt.NDArray[np.int32]]]:
    """For each of `target` samples the first of the `length` samples that it is made of, and their weights.

    Weights are in units of 2^-22: int32, above 0 but for rounding.
    """
    half = max(length, target)  # of the triangle's base, in units of 1 / (2 target) of a sample, is 2 half
    weights: list[tuple[int, npt.NDArray[np.int32]]] = []
    for position in range(target):
        centre = (2 * position + 1) * length
        first = max(0, (centre - 2 * half) // (2 * target))
        last = min(length, (centre + 2 * half) // (2 * target) + 2)
        x = np.arange(first, last, dtype=np.int64)
        v = np.maximum(0, 2 * half - np.abs((2 * x + 1) * target - centre))
        total = int(v.sum())
        k = (v * 2 ** (_BITS + 1) + total) // (2 * total)
        weights.append((first, k.astype(np.int32)))
    return weights


def along_rows(pixels: npt.NDArray[np.uint8], target: int) -> npt.NDArray[np.uint8]:
    """uint8 [n, ...] -> [target, ...]: one pass, along the first axis, by the formula itself.

    In doubles, which hold every sum: whole numbers of at most 255 x 2^22. Integers have no fast product in NumPy.
    """
    resized = np.empty((target, *pixels.shape[1:]), np.uint8)
    for position, (first, weights) in enumerate(coefficients(len(pixels), target)):
        part = pixels[first : first + len(weights)].astype(np.float64)
        total = np.tensordot(weights.astype(np.float64), part, 1) + 2.0 ** (_BITS - 1)
        resized[position] = np.minimum(np.maximum(np.floor(total * 2.0**-_BITS), 0), 255)
    return resized


def _along(image: Image.Image, target: int, *, horizontal: bool) -> Image.Image:
    length = image.width if horizontal else image.height
    if _pillow_is_exact(length, target):
        size = (target, image.height) if horizontal else (image.width, target)
        return image.resize(size, Image.Resampling.BILINEAR)
    if not horizontal:
        return Image.fromarray(along_rows(np.asarray(image), target))
    # By bands of rows: a picture at the limit of pixels takes hundreds of MB, and would be copied whole.
    resized = np.empty((image.height, target, 3), np.uint8)
    for top in range(0, image.height, _BAND):
        band = np.asarray(image.crop((0, top, image.width, min(top + _BAND, image.height))))
        resized[top : top + _BAND] = np.swapaxes(
            along_rows(np.ascontiguousarray(np.swapaxes(band, 0, 1)), target), 0, 1
        )
    return Image.fromarray(resized)


def _pillow_is_exact(length: int, target: int) -> bool:
    """Whether rounding Pillow's double-precision coefficients to 22 bits cannot but give the formula's.

    A coefficient is v 2^22 / V before it is rounded. It is exactly between two integers only where V is a multiple of
    2^23, and V is about 2 length^2 / target (2 target where the picture grows); any other is at least 1 / (2 V) away.
    Pillow's error is a few 2^-53 of 2^22 times the position, which stays below that while the product is.
    """
    return length * target < 2**25 and max(length, target) ** 2 < target * 2**21
