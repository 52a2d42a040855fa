"""Augmentation: what one picture may become in one epoch.

All randomness is drawn here with NumPy, for a whole epoch at once, from a generator that is seeded by (seed, epoch).
So an epoch can be repeated exactly, after a crash too, and what was drawn can be tested without TensorFlow.
`apply` then does one affine resampling and one colour map per batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..edge_runtime.preprocess import InputSpec


@dataclass(frozen=True)
class Augmentation:
    """Limits of the uniform draws; all zero means none.

    rotation: degrees, either way (180 is any angle). zoom: the picture's scale is 1 - zoom .. 1 + zoom.
    shift: of height and width. brightness: added, in parts of 255. contrast: factor 1 - contrast .. 1 + contrast
    around mid-grey. Pixels from beyond the border are the picture mirrored.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: float = 0.0
    contrast: float = 0.0


@dataclass(frozen=True)
class Draw:
    """What was drawn for n pictures.

    transforms: float32 [n, 8], output pixel -> input pixel, as tf.raw_ops.ImageProjectiveTransformV3 takes them.
    gain, offset: float32 [n], pixel * gain + offset.
    """

    transforms: npt.NDArray[np.float32]
    gain: npt.NDArray[np.float32]
    offset: npt.NDArray[np.float32]


def draw(
    augmentation: Augmentation,
    aspects: npt.NDArray[np.float32],
    size: tuple[int, int],
    generator: np.random.Generator,
) -> Draw:
    """Draws for every picture once.

    aspects: float [n], width / height of each upright original. The network sees a squashed picture; rotation and
    zoom act on the picture as it was, so that a turned lesion keeps its shape. size: (height, width) in pixels.
    """
    n = len(aspects)
    height, width = size
    angle = np.deg2rad(generator.uniform(-augmentation.rotation, augmentation.rotation, n))
    scale = generator.uniform(1 - augmentation.zoom, 1 + augmentation.zoom, n)
    shift_x, shift_y = generator.uniform(-augmentation.shift, augmentation.shift, (2, n))
    flip_x = np.where(generator.random(n) < 0.5 * augmentation.flip_horizontal, -1.0, 1.0)
    flip_y = np.where(generator.random(n) < 0.5 * augmentation.flip_vertical, -1.0, 1.0)
    gain = 1 + generator.uniform(-augmentation.contrast, augmentation.contrast, n)
    added = 255 * generator.uniform(-augmentation.brightness, augmentation.brightness, n)

    # How much longer, in the original, a pixel of the squashed picture is along x than along y.
    to_original = aspects * height / width
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    a0 = cos * flip_x
    a1 = -sin * flip_y / to_original
    b0 = sin * flip_x * to_original
    b1 = cos * flip_y
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    a2 = centre_x - a0 * centre_x - a1 * centre_y - shift_x * width
    b2 = centre_y - b0 * centre_x - b1 * centre_y - shift_y * height
    zero = np.zeros(n)
    transforms = np.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)
    return Draw(
        transforms.astype(np.float32),
        gain.astype(np.float32),
        (127.5 * (1 - gain) + added).astype(np.float32),
    )


def apply(images: Any, transforms: Any, gain: Any, offset: Any, spec: InputSpec) -> Any:
    """uint8 [b, height, width, 3] and a Draw's rows -> float32 of the same shape in real input units."""
    from .engine import tf

    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=[spec.height, spec.width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    coloured = tf.clip_by_value(warped * gain[:, None, None, None] + offset[:, None, None, None], 0.0, 255.0)
    return (coloured - tf.constant(spec.mean, tf.float32)) / tf.constant(spec.std, tf.float32)
