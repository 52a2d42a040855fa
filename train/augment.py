"""Augmentation: what one picture may become in one epoch.

All randomness is drawn here with NumPy, a batch at a time, from a generator that is seeded by (seed, epoch, batch).
So an epoch can be repeated exactly, after a crash too, and what was drawn can be tested without TensorFlow.
`apply` then does one affine resampling and one colour map per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ..edge_runtime.preprocess import InputSpec

# Rec. 709 luma of linear RGB, as the W3C's `saturate` filter takes it.
_LUMA = np.asarray([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class Augmentation:
    """Limits of the uniform draws; all zero means none.

    rotation: degrees, either way (180 is any angle). zoom: the picture's scale is 1 - zoom .. 1 + zoom.
    shift: of height and width. brightness: added, in parts of 255. contrast: factor 1 - contrast .. 1 + contrast
    around mid-grey. channel_gain: a factor 1 - channel_gain .. 1 + channel_gain for each of red, green and blue, as
    another light source or sensor would make it. saturation: 1 - saturation .. 1 + saturation, 0 being grey.
    sharpness: of a picture's difference to its 3x3 mean, that much more or less (-1 is the mean itself), as another
    resampling or lens would leave it. cutout: the side of a square that is set to mid-grey, in parts of the picture's,
    0 .. cutout. Pixels from beyond the border are the picture mirrored.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    flip_horizontal: bool = False
    flip_vertical: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    channel_gain: float = 0.0
    saturation: float = 0.0
    sharpness: float = 0.0
    cutout: float = 0.0


@dataclass(frozen=True)
class Draw:
    """What was drawn for n pictures.

    transforms: float32 [n, 8], output pixel -> input pixel, as tf.raw_ops.ImageProjectiveTransformV3 takes them.
    colours: float32 [n, 4, 3], a pixel's (red, green, blue, 1) times this is its new (red, green, blue), in 0..255.
    sharpness: float32 [n]. boxes: float32 [n, 4], top, left, bottom, right of what is cut out, in pixels.
    """

    transforms: npt.NDArray[np.float32]
    colours: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]

    SHAPES: ClassVar = ([8], [4, 3], [], [4])
    """Of one row of each of `columns`."""

    def columns(self) -> tuple[npt.NDArray[np.float32], ...]:
        """One row per picture in each, in the order in which `apply` takes them."""
        return self.transforms, self.colours, self.sharpness, self.boxes


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
    contrast = 1 + generator.uniform(-augmentation.contrast, augmentation.contrast, n)
    brightness = 255 * generator.uniform(-augmentation.brightness, augmentation.brightness, n)
    gains = 1 + generator.uniform(-augmentation.channel_gain, augmentation.channel_gain, (n, 3))
    saturation = 1 + generator.uniform(-augmentation.saturation, augmentation.saturation, n)
    sharpness = generator.uniform(-augmentation.sharpness, augmentation.sharpness, n)
    side = generator.uniform(0, augmentation.cutout, n)
    middle = generator.uniform(0, 1, (2, n))

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
    half = side / 2
    edges = (middle[0] - half) * height, (middle[1] - half) * width, (middle[0] + half) * height
    return Draw(
        np.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1).astype(np.float32),
        _colours(contrast, brightness, gains, saturation),
        sharpness.astype(np.float32),
        np.stack([*edges, (middle[1] + half) * width], axis=1).astype(np.float32),
    )


def _colours(
    contrast: npt.NDArray[np.float64],
    brightness: npt.NDArray[np.float64],
    gains: npt.NDArray[np.float64],
    saturation: npt.NDArray[np.float64],
) -> npt.NDArray[np.float32]:
    """Light (gains), then saturation, then contrast and brightness, as one affine map: float32 [n, 4, 3]."""
    identity = np.eye(3)
    grey = np.tile(_LUMA[:, None], (1, 3))
    saturated = saturation[:, None, None] * identity + (1 - saturation)[:, None, None] * grey
    linear = gains[:, :, None] * saturated * contrast[:, None, None]
    offset = np.repeat((127.5 * (1 - contrast) + brightness)[:, None, None], 3, axis=2)
    return np.concatenate([linear, offset], axis=1).astype(np.float32)


def apply(augmentation: Augmentation, images: Any, columns: Sequence[Any], spec: InputSpec) -> Any:
    """uint8 [b, height, width, 3] and rows of `Draw.columns` -> float32 of the same shape in real input units.

    augmentation: the one that was drawn from: what it leaves out is not computed.
    """
    from .engine import tf

    transforms, colours, sharpness, boxes = columns
    pixels = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=[spec.height, spec.width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    if augmentation.sharpness:
        mean = tf.nn.avg_pool2d(pixels, 3, 1, "SAME")  # at the border over the pixels that are there
        pixels += sharpness[:, None, None, None] * (pixels - mean)
    if augmentation.saturation:
        flat = tf.reshape(pixels, [-1, spec.height * spec.width, 3])
        pixels = tf.reshape(tf.matmul(flat, colours[:, :3]), tf.shape(pixels))
    elif augmentation.contrast or augmentation.channel_gain:  # a diagonal map: three times as fast
        pixels *= tf.linalg.diag_part(colours[:, :3])[:, None, None, :]
    pixels = tf.clip_by_value(pixels + colours[:, 3][:, None, None, :], 0.0, 255.0)
    if augmentation.cutout:
        rows = tf.range(spec.height, dtype=tf.float32)[None, :]
        columns_ = tf.range(spec.width, dtype=tf.float32)[None, :]
        in_rows = (rows >= boxes[:, 0:1]) & (rows < boxes[:, 2:3])
        in_columns = (columns_ >= boxes[:, 1:2]) & (columns_ < boxes[:, 3:4])
        inside = in_rows[:, :, None] & in_columns[:, None, :]
        pixels = tf.where(inside[..., None], 127.5, pixels)
    return (pixels - tf.constant(spec.mean, tf.float32)) / tf.constant(spec.std, tf.float32)
