"""EfficientNet-Lite, made to be quantized: EfficientNet with ReLU6 for swish and without squeeze-and-excite.

Tan and Le, "EfficientNet", arXiv 1905.11946; the Lite variants: tensorflow/tpu, models/official/efficientnet/lite. Stem
(32 channels) and head (1,280) have the same size in every variant. keras.applications does not have them, so there is
no download: weights come from a file. The order of the layers is that of the published checkpoints.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

from ..engine import keras


class Stage(NamedTuple):
    """A row of blocks of the same form.

    Attributes:
        repeats: Blocks.
        kernel, stride: Of the depthwise convolution.
        expansion: Of the channels inside a block.
    """

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)

_convolution = partial(keras.layers.Conv2D, padding="same", use_bias=False)
_batch_norm = partial(keras.layers.BatchNormalization, epsilon=1e-3)


def efficientnet_lite(
    *,
    width: float,
    depth: float,
    include_top: bool = False,
    weights: str | None = None,
    input_shape: tuple[int, int, int] | None = None,
    input_tensor: Any = None,
) -> Any:
    """The network, called as those of keras.applications are: float32 [b, h, w, 3] in [-1, 1] -> [b, h/32, w/32, 1280].

    Args:
        width, depth: Multipliers of channels and of repeats (Lite0: 1.0, 1.0; Lite2: 1.1, 1.2).
        include_top: Must be False.
        weights: None is random.
        input_shape: (height, width, 3) in pixels.
        input_tensor: A Keras tensor to build on; None makes an input.

    Raises:
        ValueError: For a top or for weights to be downloaded: there are none.
    """
    if include_top or weights is not None:
        raise ValueError(
            "its ImageNet weights have no download: name a file with --weights FILE, or start from random ones with "
            "--weights none"
        )
    source = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = _convolution(32, 3, strides=2, name="stem_conv")(source)
    x = keras.layers.ReLU(6.0, name="stem_relu")(_batch_norm(name="stem_bn")(x))
    number = 0
    for position, stage in enumerate(STAGES):
        fixed = position in (0, len(STAGES) - 1)
        for repeat in range(stage.repeats if fixed else math.ceil(stage.repeats * depth)):
            x = _block(x, f"b{number}", stage, _rounded(stage.channels * width), stage.stride if repeat == 0 else 1)
            number += 1
    x = _convolution(1280, 1, name="head_conv")(x)
    x = keras.layers.ReLU(6.0, name="head_relu")(_batch_norm(name="head_bn")(x))
    return keras.Model(source if input_tensor is None else keras.utils.get_source_inputs(input_tensor)[0], x)


def _block(x: Any, name: str, stage: Stage, channels: int, stride: int) -> Any:
    """An inverted bottleneck: expand, filter each channel, project; added to its input where the shapes agree."""
    before = x
    if stage.expansion != 1:
        x = _convolution(x.shape[-1] * stage.expansion, 1, name=f"{name}_expand")(x)
        x = keras.layers.ReLU(6.0, name=f"{name}_expand_relu")(_batch_norm(name=f"{name}_expand_bn")(x))
    x = keras.layers.DepthwiseConv2D(stage.kernel, stride, "same", use_bias=False, name=f"{name}_dw")(x)
    x = keras.layers.ReLU(6.0, name=f"{name}_dw_relu")(_batch_norm(name=f"{name}_dw_bn")(x))
    x = _batch_norm(name=f"{name}_project_bn")(_convolution(channels, 1, name=f"{name}_project")(x))
    if stride == 1 and before.shape[-1] == channels:
        x = keras.layers.Add(name=f"{name}_add")([before, x])
    return x


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but never a tenth less than asked for."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
