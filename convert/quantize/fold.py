"""The head's BatchNormalization folded into the Dense layer behind it: exact, and what quantization needs.

tfmot refuses a BatchNormalization that follows no convolution, and a device should not compute one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...edge_runtime.errors import ConversionError
from ...train.engine import keras

LOGITS_LAYER = "logits"

_HEAD_LAYERS = (keras.layers.BatchNormalization, keras.layers.Dropout, keras.layers.Dense)


def fold_head(model: Any) -> Any:
    """A network with the same answers, whose last layer is a Dense "logits" without softmax.

    Args:
        model: Features -> any of BatchNormalization, Dropout and hidden Dense layers, in a row -> Dense softmax. It is
            left as it is; the new network shares the layers before the head with it. With the BatchNormalization's y =
            a x + b, W y + c = (W a) x + (W b + c): Jacob et al., CVPR 2018, section 3.2, there for convolutions.

    Raises:
        ConversionError: Where the head is another.
    """
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.softmax:
        raise ConversionError(f"the last layer, '{last.name}', is not a Dense with softmax: this head cannot be folded")
    head, tensor = [last], last.input
    while isinstance(source := tensor._keras_history.layer, _HEAD_LAYERS):
        head.insert(0, source)
        tensor = source.input
    factor, offset = 1.0, 0.0  # of the BatchNormalizations since the last Dense: y = factor x + offset
    for layer in head:
        if isinstance(layer, keras.layers.BatchNormalization):
            own_factor, own_offset = _affine(layer)
            factor, offset = factor * own_factor, offset * own_factor + own_offset
        elif isinstance(layer, keras.layers.Dense):
            tensor = _dense(layer, factor, offset, tensor, is_last=layer is last)
            factor, offset = 1.0, 0.0
    return keras.Model(model.input, tensor, name=f"{model.name}_logits")


def _dense(layer: Any, factor: Any, offset: Any, features: Any, *, is_last: bool) -> Any:
    """What the layer makes of factor * features + offset, without its softmax where it is the last."""
    kernel = layer.kernel.numpy().astype(np.float64)
    bias = layer.bias.numpy().astype(np.float64) if layer.use_bias else np.zeros(kernel.shape[1])
    bias = np.broadcast_to(offset, len(kernel)) @ kernel + bias
    kernel = np.broadcast_to(factor, len(kernel))[:, None] * kernel
    name, activation = (LOGITS_LAYER, None) if is_last else (layer.name, layer.activation)
    folded = keras.layers.Dense(kernel.shape[1], activation=activation, name=name)
    answers = folded(features)
    folded.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return answers


def _affine(layer: Any) -> tuple[Any, Any]:
    """(a, b) of a BatchNormalization in inference: y = a x + b, float64 [channels] each."""
    variance = layer.moving_variance.numpy().astype(np.float64)
    factor = 1 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        factor = factor * layer.gamma.numpy()
    offset = -layer.moving_mean.numpy() * factor
    if layer.center:
        offset = offset + layer.beta.numpy()
    return factor, offset
