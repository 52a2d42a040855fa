"""The class activation map as a second output, so that a device draws a heatmap without gradients.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016: behind global average pooling a dense
layer is a mean of 1x1 convolutions, so the same weights at every position say what each position adds to each logit.
"""

from __future__ import annotations

from typing import Any

from ...edge_runtime.errors import UsageError
from ...train.engine import keras
from .fold import LOGITS_LAYER

CAM_LAYER = "class_activation_map"


def with_map(folded: Any) -> Any:
    """A network with the outputs [logits [b, classes], map [b, rows, columns, classes]]; layers are shared.

    Args:
        folded: `fold.fold_head`'s: features [b, rows, columns, channels] -> global average pooling -> Dense. The mean
            of the map over its positions is the logits.

    Raises:
        UsageError: Where the head is another.
    """
    dense, pool = folded.layers[-1], folded.layers[-2]
    if not isinstance(dense, keras.layers.Dense) or not isinstance(pool, keras.layers.GlobalAveragePooling2D):
        raise UsageError(f"'{folded.name}' has no dense layer right behind a global average pooling: leave --cam out")
    convolution = keras.layers.Conv2D(dense.units, 1, name=CAM_LAYER)
    model = keras.Model(folded.input, [folded.output, convolution(pool.input)], name=folded.name)
    copy_weights(model)
    return model


def copy_weights(model: Any) -> None:
    """Gives the map the weights of the logits.

    Args:
        model: Plain, or with layers wrapped by tfmot.
    """
    dense, convolution = _layer(model, LOGITS_LAYER), _layer(model, CAM_LAYER)
    _kernel(convolution).assign(_kernel(dense)[None, None])
    _inner(convolution).bias.assign(_inner(dense).bias)
    if _inner(convolution) is not convolution:
        kernel, quantizer, ranges = convolution._weight_vars[0]
        quantizer(kernel, training=True, weights=ranges)  # takes the ranges from the new weights


def _layer(model: Any, name: str) -> Any:
    return next(layer for layer in model.layers if _inner(layer).name == name)


def _inner(layer: Any) -> Any:
    return getattr(layer, "layer", layer)


def _kernel(layer: Any) -> Any:
    # tfmot puts the quantized tensor in the kernel's place and keeps the variable itself.
    return layer.kernel if _inner(layer) is layer else layer._weight_vars[0][0]
