"""Small networks below the head, trained from random weights: what published systems built themselves.

Each is one flat functional model, RGB in [-1, 1] -> features, as a backbone of `backbones.py` is. Where a system fed
[0, 1] or z-scores, a fixed first layer makes exactly those: the initial weights and the learning rate were chosen for
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.errors import UnknownNameError, UsageError
from ..engine import keras
from ..recipes.recipe import METADATA_ONLY
from . import backbones
from .backbones import ADAPT_LAYER, FIXED_PREFIX, Pixels

UNIT = Pixels((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
"""[0, 1]."""

Z_SCORE = Pixels((159.9, 159.9, 159.9), (46.4, 46.4, 46.4))
"""Mean and standard deviation over all bytes of HAM10000 at 100x125 px; a test measures them."""

GRID = 4
"""`handmade` describes the picture in so many rows and columns of cells."""

_LEAST_SIDE = 72  # below, a quarter of the picture has no GRID cells of four pixels


@dataclass(frozen=True)
class Convolutions:
    """Blocks of [convolution 3x3, ReLU] -> [BatchNormalization] -> max pooling by 2 -> dropout.

    Attributes:
        filters, dropouts: Of each block; a dropout of 0 is none.
        convolutions: In a block.
    """

    filters: tuple[int, ...]
    dropouts: tuple[float, ...]
    convolutions: int = 1
    batch_norm: bool = False

    def __call__(self, features: Any) -> Any:
        """[b, height, width, 3] -> [b, height / 2^blocks, width / 2^blocks, last of filters], rounded down."""
        layers = keras.layers
        for block, (filters, dropout) in enumerate(zip(self.filters, self.dropouts, strict=True), 1):
            for number in range(1, self.convolutions + 1):
                name = f"block{block}_conv{number}"
                if self.batch_norm:
                    features = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=name)(features)
                    features = layers.BatchNormalization(name=f"{name}_bn")(features)
                    features = layers.ReLU(name=f"{name}_relu")(features)
                else:
                    features = layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(features)
            features = layers.MaxPooling2D(2, name=f"block{block}_pool")(features)
            if dropout:
                features = layers.Dropout(dropout, name=f"block{block}_dropout", rng_type="stateful")(features)
        return features


@dataclass(frozen=True)
class Residuals:
    """A convolution 3x3, then blocks of two whose answer is added to what came in: He et al., arXiv 1512.03385.

    Attributes:
        filters: Of each block. Each but the first halves height and width, and a convolution 1x1 brings what came in to
            its size.
    """

    filters: tuple[int, ...]

    def __call__(self, features: Any) -> Any:
        """[b, height, width, 3] -> [b, height / 2^k, width / 2^k, last of filters], k + 1 blocks, rounded up."""
        layers = keras.layers

        def convolved(features: Any, name: str, filters: int, side: int, strides: int) -> Any:
            convolution = layers.Conv2D(filters, side, strides, padding="same", use_bias=False, name=name)
            return layers.BatchNormalization(name=f"{name}_bn")(convolution(features))

        features = layers.ReLU(name="stem_relu")(convolved(features, "stem", self.filters[0], 3, 1))
        for block, filters in enumerate(self.filters, 1):
            name, strides = f"block{block}", 1 if block == 1 else 2
            shortcut = features if block == 1 else convolved(features, f"{name}_shortcut", filters, 1, strides)
            features = layers.ReLU(name=f"{name}_relu1")(convolved(features, f"{name}_conv1", filters, 3, strides))
            features = layers.Add(name=f"{name}_add")([shortcut, convolved(features, f"{name}_conv2", filters, 3, 1)])
            features = layers.ReLU(name=f"{name}_relu2")(features)
        return features


def nothing(image: Any) -> Any:
    """Ones, [b, height, width, 1], whatever the picture holds: the mean of red, green and blue, plus 8, capped at 6.

    A model file has an image input by contract, so the network must have one. Neither weights nor answers are zeros:
    those would have no int8 scale.
    """
    mean = _fixed(keras.layers.Conv2D, "mean", np.full((1, 1, 3, 1), 1 / 3), np.array([8.0]), filters=1)(image)
    six = keras.layers.ReLU(6.0, name="six")(mean)
    return _fixed_convolution("one", np.full((1, 1, 1, 1), 1 / 6))(six)


def handmade(image: Any) -> Any:
    """Colour and texture by fixed formulas, averaged over the cells of a grid: [b, GRID, GRID, 32].

    Everything is a convolution with fixed weights, so that a device computes it in int8. Of each cell the means of:

    - max(0, x - t) for each channel and t = -1, -0.5, 0, 0.5: with t = -1 the mean colour, together the integrated
      histogram (12);
    - red - green and blue - luma, each sign by itself: colours beside grey (4);
    - the Sobel gradient of luma along x and y, its second difference along both diagonals, each sign by itself, at full
      size and at a quarter (16).

    Each mean has a gain that brings it near 1, for the features share one int8 scale.
    Raises UsageError for a side below 72 pixels.
    """
    height, width = image.shape[1:3]
    if min(height, width) < _LEAST_SIDE:
        raise UsageError(f"handmade features need pictures of {_LEAST_SIDE}x{_LEAST_SIDE} pixels, not {height}x{width}")
    colour = np.zeros((1, 1, 3, 16))
    colour[0, 0, :, :12] = np.repeat(np.eye(3), 4, axis=1)
    thresholds = np.array([-1.0, -0.5, 0.0, 0.5])
    opponents = np.array([[1.0, -1.0, 0.0], np.array([0.0, 0.0, 1.0]) - _LUMA])
    colour[0, 0, :, 12:] = np.concatenate([opponents, -opponents]).T
    bias = np.concatenate([np.tile(-thresholds, 3), np.zeros(4)])
    quarter = _fixed(keras.layers.DepthwiseConv2D, "quarter", np.full((4, 4, 3, 1), 1 / 16), strides=4)(image)
    cells = [
        _cells("colour", _fixed_convolution("colour", colour, bias)(image), 1.0),
        _cells("texture", _fixed_convolution("texture", _texture())(image), 16.0),
        _cells("coarse_texture", _fixed_convolution("coarse_texture", _texture())(quarter), 4.0),
    ]
    return keras.layers.Concatenate(name="features")(cells)


_LUMA = np.array([0.2126, 0.7152, 0.0722])  # Rec. 709


def _texture() -> npt.NDArray[np.float64]:
    """float [3, 3, 3, 8]."""
    sobel = np.outer([1, 2, 1], [-1, 0, 1]) / 8
    diagonal = np.diag([1.0, -2.0, 1.0]) / 4
    kernels = np.stack([sobel, sobel.T, diagonal, diagonal[:, ::-1]], axis=-1)
    both = np.concatenate([kernels, -kernels], axis=-1)
    return both[:, :, None, :] * _LUMA[None, None, :, None]


def _fixed_convolution(name: str, kernel: npt.NDArray[Any], bias: npt.NDArray[Any] | None = None) -> Any:
    bias = np.zeros(kernel.shape[-1]) if bias is None else bias
    return _fixed(keras.layers.Conv2D, name, kernel, bias, filters=kernel.shape[-1], activation="relu")


def _cells(name: str, maps: Any, gain: float) -> Any:
    """Means over GRID x GRID cells, times gain. No average pooling: in int8 that keeps its input's coarser scale."""
    height, width = maps.shape[1] // GRID, maps.shape[2] // GRID
    kernel = np.full((height, width, maps.shape[3], 1), gain / (height * width))
    return _fixed(keras.layers.DepthwiseConv2D, f"{name}_cells", kernel, strides=(height, width))(maps)


def _fixed(kind: Any, name: str, kernel: Any, bias: Any = None, **settings: Any) -> Any:
    def constant(values: Any) -> Any:
        # Initializers of Keras' own, so that a saved network loads without our code.
        return (
            keras.initializers.Zeros() if values is None else keras.initializers.Constant(np.asarray(values).tolist())
        )

    role = "depthwise" if kind is keras.layers.DepthwiseConv2D else "kernel"
    return kind(
        kernel_size=kernel.shape[:2],
        name=FIXED_PREFIX + name,
        trainable=False,
        bias_initializer=constant(bias),
        **{f"{role}_initializer": constant(kernel)},
        **settings,
    )


@dataclass(frozen=True)
class Network:
    """A network that starts from random weights.

    Attributes:
        features: From the adapted image to features.
        pixels: What the image is before; None is RGB in [-1, 1].
    """

    features: Callable[[Any], Any]
    pixels: Pixels | None


def _image_itself(image: Any) -> Any:
    return image


NETWORKS: dict[str, Network] = {
    "image": Network(_image_itself, Z_SCORE),
    "cnn3": Network(Convolutions((32, 32, 32), (0.15, 0.25, 0.34)), Z_SCORE),
    "cnn3-wide": Network(Convolutions((32, 64, 128), (0.0, 0.0, 0.0)), UNIT),
    "cnn4-dropout": Network(Convolutions((32, 64, 128, 128), (0.25, 0.25, 0.25, 0.25)), UNIT),
    "cnn5": Network(Convolutions((16, 32, 64, 128, 128), (0.2, 0.2, 0.2, 0.2, 0.2)), UNIT),
    "cnn4-batchnorm": Network(Convolutions((32, 64, 128, 128), (0.1, 0.1, 0.2, 0.2), batch_norm=True), UNIT),
    "residual": Network(Residuals((16, 32, 64, 128)), UNIT),
    "handmade": Network(handmade, None),
    METADATA_ONLY: Network(nothing, None),
}


def build(name: str, shape: tuple[int, int, int], width: float, weights: str) -> Any:
    """One of NETWORKS or of `backbones.BACKBONES`: float32 [b, height, width, 3], RGB in [-1, 1] -> features.

    Args:
        name: One of NETWORKS or of `backbones.BACKBONES`.
        shape: (height, width, 3) in pixels.
        width: Width multiplier, 1.0 where the network has none.
        weights: "none", or for a backbone "imagenet" or a file.

    Raises:
        UnknownNameError: For the name.
        UsageError: Where width, size or weights cannot be had.
        DataError: Where a file of weights is of another network.
    """
    if name not in NETWORKS:
        if name not in backbones.BACKBONES:
            raise UnknownNameError("backbone", name, (*backbones.BACKBONES, *NETWORKS))
        return backbones.build(name, shape, width, weights)
    if width != 1.0:
        raise UsageError(f"{name} has no width multiplier: --width must be 1.0, not {width}")
    if weights != "none":
        raise UsageError(f"{name} starts from random weights: --weights must be none, not {weights}")
    network = NETWORKS[name]
    image = features = keras.Input(shape)
    adapt = keras.layers.Conv2D(3, 1, name=ADAPT_LAYER, trainable=False) if network.pixels else None
    if adapt:
        features = adapt(image)
    try:
        model = keras.Model(image, network.features(features), name=name)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{name} at {shape[0]}x{shape[1]}: {reason}") from None
    if network.pixels:
        backbones.set_pixels(adapt, network.pixels)
    return model
