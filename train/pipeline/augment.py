"""Augmentation: what one picture may become in one epoch.

All randomness is drawn here with NumPy, a batch at a time, from a generator that is seeded by (seed, epoch, batch).
So an epoch can be repeated exactly, after a crash too, and what was drawn can be tested without pixels.
`apply` then does one affine resampling and one colour map per picture with OpenCV, outside Python's lock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from ...edge_runtime.preprocess import InputSpec

cv2.setNumThreads(1)  # whole batches are shared among threads: its own would only stand in the training step's way

# Rec. 709 luma of linear RGB, as the W3C's `saturate` filter takes it.
_LUMA = np.asarray([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True)
class Augmentation:
    """Limits of the uniform draws; all zero means none.

    And what three of four pictures lose (`degradation.py`), as if they came from a file of another size:

    Attributes:
        rotation: Degrees, either way (180 is any angle).
        zoom: The picture's scale is 1 - zoom .. 1 + zoom.
        aspect: Its width / height becomes up to 1 + aspect times as much or as little, as that of another frame would
            when it is squashed to the same size.
        shift: Of height and width.
        brightness: Added, in parts of 255.
        contrast: Factor 1 - contrast .. 1 + contrast around mid-grey.
        channel_gain: A factor 1 - channel_gain .. 1 + channel_gain for each of red, green and blue, as another light
            source or sensor would make it.
        saturation: 1 - saturation .. 1 + saturation, 0 being grey.
        sharpness: Of a picture's difference to its 3x3 mean, that much more or less (-1 is the mean itself), as another
            resampling or lens would leave it.
        cutout: The side of a square that is set to mid-grey, in parts of the picture's, 0 .. cutout. Pixels from beyond
            the border are the picture mirrored.
        resolution: That file has 1 - resolution .. 1 + resolution of the picture's size.
        compression: It is JPEG of quality 100 down to 100 * (1 - compression).
        noise: Gaussian, of a standard deviation of 0 .. noise levels of 0..255.

    And how one picture in three was taken (`conditions.py`), each drawn independently:

    Attributes:
        light: Stops that exposure (up to half as much too bright), falloff to one side and vignetting cost, 0 .. light.
        temperature: Mired by which the white balance is off, 0 .. temperature to either side.
        frame: The field of view is round, of a radius of 1 .. 1 - frame of half the diagonal, and black around.
        blur: By a lens or a movement, 0 .. blur of the side.
        hairs: 1 .. hairs of them lie over the picture.
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
    resolution: float = 0.0
    compression: float = 0.0
    noise: float = 0.0
    aspect: float = 0.0
    light: float = 0.0
    temperature: float = 0.0
    frame: float = 0.0
    blur: float = 0.0
    hairs: int = 0

    @property
    def degrades(self) -> bool:
        """Whether the student sees a picture that its teachers do not see."""
        return bool(self.resolution or self.compression or self.noise) or self.retakes

    @property
    def retakes(self) -> bool:
        """Whether a picture is shown as another clinic would have taken it."""
        return bool(self.light or self.temperature or self.frame or self.blur or self.hairs)


_Drawn = TypeVar("_Drawn", bound="PerPicture")


class PerPicture:
    """What was drawn for n pictures: a dataclass of arrays whose first axis is the picture."""

    def take(self: _Drawn, positions: npt.NDArray[np.int64]) -> _Drawn:
        """What was drawn for some of the pictures."""
        return type(self)(*(array[positions] for array in vars(self).values()))


@dataclass(frozen=True)
class Draw(PerPicture):
    """Where each picture comes from, its colours, its sharpness and what is cut out.

    Attributes:
        transforms: float64 [n, 2, 3], times an output pixel's (x, y, 1) is where it comes from.
        colours: float32 [n, 4, 3], a pixel's (red, green, blue, 1) times this is its new (red, green, blue), in 0..255.
        sharpness: float32 [n].
        boxes: float32 [n, 4], top, left, bottom, right of what is cut out, in pixels.
    """

    transforms: npt.NDArray[np.float64]
    colours: npt.NDArray[np.float32]
    sharpness: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]


def draw(
    augmentation: Augmentation,
    aspects: npt.NDArray[np.float32],
    size: tuple[int, int],
    generator: np.random.Generator,
) -> Draw:
    """Draws for every picture once.

    Args:
        augmentation: What is drawn, and how strong.
        aspects: float [n], width / height of each upright original. The network sees a squashed picture; rotation and
            zoom act on the picture as it was, so that a turned lesion keeps its shape.
        size: (height, width) in pixels.
        generator: The source of randomness.
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
    # Drawn last: without it, what is drawn is what older versions drew.
    stretch = np.sqrt((1 + augmentation.aspect) ** generator.uniform(-1, 1, n)) if augmentation.aspect else 1.0

    # How much longer, in the original, a pixel of the squashed picture is along x than along y.
    to_original = aspects * height / width
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    a0 = cos * flip_x / stretch
    a1 = -sin * flip_y / to_original * stretch
    b0 = sin * flip_x * to_original / stretch
    b1 = cos * flip_y * stretch
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    a2 = centre_x - a0 * centre_x - a1 * centre_y - shift_x * width
    b2 = centre_y - b0 * centre_x - b1 * centre_y - shift_y * height
    half = side / 2
    edges = (middle[0] - half) * height, (middle[1] - half) * width, (middle[0] + half) * height
    return Draw(
        np.stack([a0, a1, a2, b0, b1, b2], axis=1).reshape(n, 2, 3),
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


def apply(
    augmentation: Augmentation, images: npt.NDArray[np.uint8], drawn: Draw, spec: InputSpec
) -> npt.NDArray[np.float32]:
    """uint8 [b, height, width, 3] -> float32 of the same shape in real input units.

    Args:
        augmentation: The one that was drawn from: what it leaves out is not computed. Resampling is bilinear, to whole
            levels; OpenCV takes positions to 1/32 of a pixel.
        images: uint8 [b, height, width, 3], RGB.
        drawn: What `draw` drew for them.
        spec: How the images are prepared.
    """
    out = np.empty(images.shape, np.float32)
    mean, std = per_channel(spec.mean), per_channel(spec.std)
    levels = np.arange(256, dtype=np.float32)[:, None]
    for position, picture in enumerate(images):
        pixels = cv2.warpAffine(
            picture,
            drawn.transforms[position],
            (spec.width, spec.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        colours = drawn.colours[position]
        if augmentation.sharpness or augmentation.saturation:
            mapped = _sharpened(pixels, float(drawn.sharpness[position]))
            to_real(cv2.transform(mapped, np.ascontiguousarray(colours.T)), spec, out[position])
        elif augmentation.brightness or augmentation.contrast or augmentation.channel_gain:
            # Each channel by itself, and 256 levels: a table is all it takes.
            table = (np.clip(levels * np.diagonal(colours) + colours[3], 0, 255) - mean) / std
            cv2.LUT(pixels, table[:, None, :], dst=out[position])
        else:
            cv2.LUT(pixels, spec.real_table[:, None, :], dst=out[position])
        if augmentation.cutout:
            top, left, bottom, right = np.ceil(np.maximum(drawn.boxes[position], 0)).astype(int)
            out[position, top:bottom, left:right] = (127.5 - mean) / std
    return out


def per_channel(values: tuple[float, ...]) -> npt.NDArray[np.float32] | np.float32:
    """float32 [3], or one number where the channels agree: NumPy is several times as fast with it."""
    return np.float32(values[0]) if len(set(values)) == 1 else np.asarray(values, np.float32)


def to_real(levels: npt.NDArray[Any], spec: InputSpec, out: npt.NDArray[np.float32]) -> None:
    """Levels, clipped to 0..255, as the network's real input; of one shape [..., 3]."""
    np.maximum(levels, 0, out=out)
    np.minimum(out, 255, out=out)
    np.subtract(out, per_channel(spec.mean), out=out)
    np.divide(out, per_channel(spec.std), out=out)


def _sharpened(pixels: npt.NDArray[Any], amount: float) -> npt.NDArray[Any]:
    levels = pixels.astype(np.float32)
    if not amount:
        return levels
    return levels + amount * (levels - cv2.blur(levels, (3, 3), borderType=cv2.BORDER_REFLECT))
