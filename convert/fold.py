"""The head's BatchNormalization folded into its Dense layer: exact, and what quantization needs.

tfmot refuses a BatchNormalization that follows no convolution, and a device should not compute one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..edge_runtime.errors import ConversionError
from ..train.engine import keras

LOGITS_LAYER = "logits"


def fold_head(model: Any) -> Any:
    """A network with the same answers, whose last layer is a Dense "logits" without softmax.

    model: features -> [BatchNormalization] -> [Dropout] -> Dense softmax, the last three in a row. It is left as it
    is; the new network shares the layers before the head with it. With the BatchNormalization's y = a x + b,
    W y + c = (W a) x + (W b + c): Jacob et al., CVPR 2018, section 3.2, there for convolutions.

    Raises ConversionError where the head is another.
    """
    *others, dense = model.layers
    if not isinstance(dense, keras.layers.Dense) or dense.activation is not keras.activations.softmax:
        raise ConversionError(f"the last layer, '{dense.name}', is no Dense with softmax: this head cannot be folded")
    kernel = dense.kernel.numpy().astype(np.float64)
    bias = dense.bias.numpy().astype(np.float64) if dense.use_bias else np.zeros(kernel.shape[1])
    features = dense.input
    for layer in reversed(others):
        if isinstance(layer, keras.layers.BatchNormalization):
            factor, offset = _affine(layer)
            kernel, bias = factor[:, None] * kernel, offset @ kernel + bias
        elif not isinstance(layer, keras.layers.Dropout):
            break
        features = layer.input
    logits = keras.layers.Dense(kernel.shape[1], name=LOGITS_LAYER)
    folded = keras.Model(model.input, logits(features), name=f"{model.name}_logits")
    logits.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])
    return folded


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
