"""What a picture loses on its way to the network: as a smaller file, by JPEG, by a sensor's noise.

Augmentation (`augment.py`) shows another picture; this shows the same one, worse. Where there are teachers they see it
as it was before, so that the student learns to answer as if nothing had been lost: thumbnails have artefacts that a
camera's picture has not, and a network that has seen nothing else leans on them. Xie et al., "Self-training with Noisy
Student improves ImageNet classification", CVPR 2020, teach a noised student from a teacher that is not. (Not so in
quantization-aware training: there the float network sees what its copy sees.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...edge_runtime.preprocess import InputSpec
from . import conditions
from .augment import Augmentation, PerPicture, per_channel, to_real
from .conditions import Conditions

_BEFALLS = 0.75


@dataclass(frozen=True)
class Losses(PerPicture):
    """What each picture loses.

    Attributes:
        scales: float32 [n], of the size that a picture's file has, in parts of its own; 1 leaves it.
        cubic: bool [n], enlarged so and not bilinearly.
        qualities: int32 [n], of JPEG at that size, 1..100; 0 leaves it.
        noise: float32 [n], standard deviation in levels of 0..255.
        seeds: int64 [n], of the noise.
    """

    scales: npt.NDArray[np.float32]
    cubic: npt.NDArray[np.bool_]
    qualities: npt.NDArray[np.int32]
    noise: npt.NDArray[np.float32]
    seeds: npt.NDArray[np.int64]


def draw(augmentation: Augmentation, n: int, generator: np.random.Generator) -> Losses:
    """Draws for n pictures; each of the three befalls three of four, whatever else does."""
    befalls = generator.random((3, n)) < _BEFALLS
    lost = generator.uniform(0, 1, (3, n)) * befalls
    larger = generator.random(n) < 0.5
    qualities = np.maximum(np.rint(100 * (1 - augmentation.compression * lost[1])), 1)
    return Losses(
        (1 + augmentation.resolution * lost[0] * np.where(larger, 1, -1)).astype(np.float32),
        generator.random(n) < 0.5,
        np.where(befalls[1] & (augmentation.compression > 0), qualities, 0).astype(np.int32),
        (augmentation.noise * lost[2]).astype(np.float32),
        generator.integers(0, 2**63, n, dtype=np.int64),
    )


def degrade(
    images: npt.NDArray[np.float32], drawn: Losses, spec: InputSpec, taken: Conditions | None = None
) -> npt.NDArray[np.float32]:
    """The pictures worse; `images` are left as they are.

    Args:
        images: float32 [b, height, width, 3] in real input units.
        drawn: What each loses.
        spec: How the images are prepared.
        taken: Before that, how each is taken.
    """
    mean, std = per_channel(spec.mean), per_channel(spec.std)
    out = np.empty_like(images)
    for position, image in enumerate(images):
        pixels = image * std + mean
        if taken is not None:
            pixels = conditions.apply(pixels, taken, position)
        enlarging = cv2.INTER_CUBIC if drawn.cubic[position] else cv2.INTER_LINEAR
        file = max(round(spec.width * drawn.scales[position]), 1), max(round(spec.height * drawn.scales[position]), 1)
        pixels = _resized(pixels, file, enlarging)
        if drawn.qualities[position]:
            pixels = _compressed(pixels, int(drawn.qualities[position]))
        pixels = _resized(pixels, (spec.width, spec.height), enlarging)
        if drawn.noise[position]:
            noise = np.random.default_rng(drawn.seeds[position]).standard_normal(pixels.shape, np.float32)
            noise *= drawn.noise[position]
            pixels = np.add(pixels, noise, out=noise)
        to_real(pixels, spec, out[position])
    return out


def _resized(pixels: npt.NDArray[Any], size: tuple[int, int], enlarging: int) -> npt.NDArray[Any]:
    """size: (width, height). Reduced by the mean of the area."""
    width = pixels.shape[1]
    if size == pixels.shape[1::-1]:
        return pixels
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if size[0] < width else enlarging)


def _compressed(pixels: npt.NDArray[Any], quality: int) -> npt.NDArray[Any]:
    """As it comes back from a JPEG file of that quality, 1 to 100; its colours at half the resolution (4:2:0)."""
    rounded = cv2.cvtColor(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", rounded, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None  # OpenCV's own file
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.float32)
