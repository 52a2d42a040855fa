"""Backbones: the networks below the head, most of keras.applications, each as one flat functional model.

Every one takes RGB in [-1, 1], so that a picture's bytes go into the int8 network unchanged. Where the published
weights expect other values, the network's first layer makes them: ADAPT_LAYER, a 1x1 convolution of three channels with
fixed weights. It is not a Rescaling, because tfmot can quantize a convolution and the device computes it as one
operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...edge_runtime.errors import UnknownNameError, UsageError
from ..engine import keras
from .efficientnet_lite import efficientnet_lite
from .weights import load_backbone

ADAPT_LAYER = "adapt_input"
"""Name of the fixed first layer. Who sets `trainable` over all layers leaves it False where `is_fixed` says so."""

FIXED_PREFIX = "fixed_"
"""Of the names of layers of networks.py that are formulas."""

_RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Pixels:
    """The values that a network expects instead of [-1, 1]: (p - mean) / deviation per channel, p in 0..255.

    Attributes:
        mean, deviation: Of red, green, blue.
        bgr: The channels go in as blue, green, red.
    """

    mean: _RGB
    deviation: _RGB
    bgr: bool = False


# The modes of keras.applications' `preprocess_input`: "caffe", "torch", and none.
CAFFE = Pixels((123.68, 116.779, 103.939), (1.0, 1.0, 1.0), bgr=True)
TORCH = Pixels((255 * 0.485, 255 * 0.456, 255 * 0.406), (255 * 0.229, 255 * 0.224, 255 * 0.225))
BYTES = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Backbone:
    """A pretrained network without its top.

    Attributes:
        application: The function of keras.applications.
        pixels: None where it takes RGB in [-1, 1] itself.
        has_width: It has a width multiplier (alpha).
    """

    application: Callable[..., Any]
    pixels: Pixels | None = None
    has_width: bool = False


_apps = keras.applications

BACKBONES: dict[str, Backbone] = {
    # Howard et al., "MobileNets", arXiv 1704.04861
    "mobilenet": Backbone(_apps.MobileNet, has_width=True),
    # Sandler et al., "MobileNetV2", arXiv 1801.04381
    "mobilenetv2": Backbone(_apps.MobileNetV2, has_width=True),
    # Howard et al., "Searching for MobileNetV3", arXiv 1905.02244
    "mobilenetv3small": Backbone(partial(_apps.MobileNetV3Small, include_preprocessing=False), has_width=True),
    "mobilenetv3large": Backbone(partial(_apps.MobileNetV3Large, include_preprocessing=False), has_width=True),
    # He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385
    "resnet50": Backbone(_apps.ResNet50, CAFFE),
    # Huang et al., "Densely Connected Convolutional Networks", arXiv 1608.06993
    "densenet121": Backbone(_apps.DenseNet121, TORCH),
    # Tan and Le, "EfficientNet", arXiv 1905.11946. Has a Rescaling and a Normalization inside: see `_as_normalized`
    "efficientnetb0": Backbone(_apps.EfficientNetB0, BYTES),
    "efficientnetb3": Backbone(_apps.EfficientNetB3, BYTES),
    "efficientnet-lite0": Backbone(partial(efficientnet_lite, width=1.0, depth=1.0)),
    "efficientnet-lite2": Backbone(partial(efficientnet_lite, width=1.1, depth=1.2)),
    # Tan and Le, "EfficientNetV2", arXiv 2104.00298
    "efficientnetv2b0": Backbone(partial(_apps.EfficientNetV2B0, include_preprocessing=False), TORCH),
    # Szegedy et al., "Inception-v4, Inception-ResNet", arXiv 1602.07261
    "inceptionresnetv2": Backbone(_apps.InceptionResNetV2),
}


def build(name: str, shape: tuple[int, int, int], width: float, weights: str) -> Any:
    """A backbone with its weights: float32 [b, height, width, 3], RGB in [-1, 1] -> features [b, h, w, channels].

    Args:
        name: One of BACKBONES.
        shape: (height, width, 3) in pixels.
        width: The width multiplier, 1.0 where the network has none.
        weights: "imagenet" (Keras downloads them), "none" (random) or a file of weights of Keras' own network without
            the top.

    Raises:
        UnknownNameError: For the name.
        UsageError: Where width, size or weights cannot be had.
        DataError: Where the file is of another network.
    """
    if name not in BACKBONES:
        raise UnknownNameError("backbone", name, BACKBONES)
    backbone = BACKBONES[name]
    if not backbone.has_width and width != 1.0:
        raise UsageError(f"{name} has no width multiplier: --width must be 1.0, not {width}")
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise UsageError(f"--weights {weights}: no such file; else 'imagenet' or 'none'")
    alpha = {"alpha": width} if backbone.has_width else {}
    application = partial(backbone.application, include_top=False, input_shape=shape, **alpha)
    try:
        network = application(weights="imagenet" if weights == "imagenet" else None)
    except ValueError as error:
        raise UsageError(f"{name} of width {width} at {shape[0]}x{shape[1]}: {_first_line(error)}") from None
    except Exception as error:
        if weights == "imagenet" and "URL fetch failure" in str(error):
            raise UsageError(
                f"the ImageNet weights of {name} cannot be downloaded here: name a file with --weights FILE, "
                "or start from random ones with --weights none"
            ) from None
        raise
    if weights not in ("imagenet", "none"):
        load_backbone(network, weights, f"{name} of width {width} without its top")
    return network if backbone.pixels is None else _adapted(application, network, backbone.pixels)


def _adapted(application: Callable[..., Any], network: Any, pixels: Pixels) -> Any:
    """The same network with a layer before it that makes `pixels` of [-1, 1].

    Built a second time instead of called on the layer's output: tfmot refuses models in models. The weights are loaded
    before, into the network that the files know, and copied here.
    """
    image = keras.Input(network.input_shape[1:])
    adapt = keras.layers.Conv2D(3, 1, name=ADAPT_LAYER, trainable=False)
    adapted = application(weights=None, input_tensor=adapt(image))
    targets = [layer for layer in adapted.layers if layer.weights and layer is not adapt]
    for source, target in zip((layer for layer in network.layers if layer.weights), targets, strict=True):
        if isinstance(source, keras.layers.Normalization):
            pixels = _as_normalized(source)  # and the target stays what a new one is: the identity
        else:
            target.set_weights(source.get_weights())
    set_pixels(adapt, pixels)
    return adapted


def set_pixels(adapt: Any, pixels: Pixels) -> None:
    """Gives the layer ADAPT_LAYER, a built Conv2D(3, 1), its weights."""
    # p = 127.5 (x + 1)
    deviation = np.array(pixels.deviation)
    kernel, bias = np.diag(127.5 / deviation), (127.5 - np.array(pixels.mean)) / deviation
    if pixels.bgr:
        kernel, bias = kernel[:, ::-1], bias[::-1]
    adapt.set_weights([kernel[None, None], bias])


def is_fixed(layer_name: str) -> bool:
    """Whether the layer is a formula that no training changes."""
    return layer_name == ADAPT_LAYER or layer_name.startswith(FIXED_PREFIX)


def _as_normalized(layer: Any) -> Pixels:
    """EfficientNet's own Normalization, which stands behind a division by 255, as pixels 255 times what it makes.

    It goes into ADAPT_LAYER because Keras keeps its numbers as constants beside its variables, and under mixed
    precision in float16. The published files have ImageNet's standard deviations where its variances belong; Keras
    divides by their root a second time, but only where it downloads the file itself (a comment in its efficientnet.py).
    """
    mean, variance = (values.astype(np.float64) for values in layer.get_weights()[:2])
    published = np.array(TORCH.deviation) / 255
    if np.allclose(variance, published, rtol=1e-2):  # bfloat16 has rounded them to 0.4%
        return Pixels(TORCH.mean, tuple(published))
    return Pixels(tuple(255 * mean), tuple(np.sqrt(variance)))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
