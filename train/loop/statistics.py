"""BatchNormalization's statistics, computed anew with the weights as they are.

Moving averages are of weights that training has left behind. In a network of fifty BatchNormalizations, or where the
average of the weights is validated and not the weights, that is another network. Izmailov et al., "Averaging Weights
Leads to Wider Optima and Better Generalization", arXiv 1803.05407, section 3.2, compute them in one more pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine import keras, tf


def renew(model: Any, batches: Any) -> None:
    """Gives every BatchNormalization that adapts the mean over batches of what it sees in them.

    Args:
        model: The network; its weights stay as they are.
        batches: Of the training, a tf.data.Dataset of tuples whose first member the network takes.
    """
    adapting = [
        layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not adapting:
        return
    momenta = [layer.momentum for layer in adapting]
    moving = [variable for layer in adapting for variable in (layer.moving_mean, layer.moving_variance)]
    seen = tf.function(lambda images: model(images, training=True))
    sums = [np.zeros(variable.shape, np.float64) for variable in moving]
    count = 0
    try:
        for layer in adapting:
            layer.momentum = 0.0  # what a batch leaves behind is its own statistics
        for batch in batches:
            seen(batch[0])
            count += 1
            for total, variable in zip(sums, moving, strict=True):
                total += variable.numpy()
    finally:
        for layer, momentum in zip(adapting, momenta, strict=True):
            layer.momentum = momentum
    for total, variable in zip(sums, moving, strict=True):
        variable.assign(total / count)
