"""Quantization-aware training: the float network learns to live with int8 before it becomes int8.

Simulated quantization as in Jacob et al., CVPR 2018 (tfmot's); distillation from the float network as in Hinton et al.,
"Distilling the Knowledge in a Neural Network" (2015). Two things differ from tfmot's defaults:

- depthwise kernels have one scale per channel, as the device's kernels have; tfmot simulates one scale for all, which
  costs MobileNet most of what quantization costs it;
- every range starts where the float network's activations are, not at [-6, 6], so that even epoch 0 is a good network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow_model_optimization as tfmot
from scipy.special import log_softmax
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_configs

from ...edge_runtime.errors import UsageError
from ...train.engine import keras, tf
from ...train.models.backbones import is_fixed
from .heatmap import CAM_LAYER, copy_weights

_quantization: Any = tfmot.quantization.keras

# Softens both answers before they are compared, so that the small probabilities weigh too: a trained network is nearly
# certain of its training pictures, and its first class alone would teach little about the pictures it is not sure of.
TEMPERATURE = 4.0

_LEAST_INPUT_SCALE = 1e-3  # of an activation in front of a convolution; those of a MobileNet are 0.0235 (6 / 255)


class PerChannelDepthwise(_quantization.quantizers.LastValueQuantizer):
    """8 bits, symmetric, one scale per channel of a depthwise kernel [height, width, channels, multiplier]."""

    def __init__(self) -> None:
        super().__init__(num_bits=8, per_axis=True, symmetric=True, narrow_range=True)

    def build(self, tensor_shape: Any, name: str, layer: Any) -> Any:
        return super().build(tf.TensorShape(_as_convolution(tensor_shape)), name, layer)

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        # tfmot takes the channels from the last axis, of a convolution's kernel.
        flat = tf.reshape(inputs, _as_convolution(inputs.shape))
        return tf.reshape(super().__call__(flat, training, weights, **kwargs), inputs.shape)

    def get_config(self) -> dict[str, Any]:
        return {}


class DepthwiseConfig(_quantization.QuantizeConfig):
    """A depthwise convolution before a BatchNormalization: only its kernel is quantized."""

    def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
        return [(layer.depthwise_kernel, PerChannelDepthwise())]

    def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
        return []

    def set_quantize_weights(self, layer: Any, quantize_weights: Any) -> None:
        layer.depthwise_kernel = quantize_weights[0]

    def set_quantize_activations(self, layer: Any, quantize_activations: Any) -> None:
        pass

    def get_output_quantizers(self, layer: Any) -> list[Any]:
        return []

    def get_config(self) -> dict[str, Any]:
        return {}


Arrays = npt.NDArray[np.float32] | Sequence[npt.NDArray[np.float32]]
"""Of a network's only input, or one per input."""


def quantization_aware(folded: Any, calibration: Arrays) -> Any:
    """A copy of a float network with simulated int8, its ranges set, its BatchNormalization in inference mode.

    Args:
        folded: float32 [b, height, width, 3] -> logits [b, classes], without a BatchNormalization in its head; perhaps
            with a class activation map (`heatmap.with_map`), or with metadata in [-1, 1] as a second input.
        calibration: float32 [n, height, width, 3] in [-1, 1], training pictures; with metadata that of their patients
            too.

    Raises:
        UsageError: Where tfmot cannot quantize the network.
    """

    def annotated(layer: Any) -> Any:
        if isinstance(layer, keras.layers.InputLayer):
            return layer
        if _before_batch_norm(layer):
            return _quantization.quantize_annotate_layer(layer, DepthwiseConfig())
        if isinstance(layer, keras.layers.BatchNormalization) and _before_batch_norm(_source(layer)):
            nothing = default_8bit_quantize_configs.NoOpQuantizeConfig()  # it folds into the convolution
            return _quantization.quantize_annotate_layer(layer, nothing)
        return _quantization.quantize_annotate_layer(layer)

    keras.backend.reset_uids()  # else the file's names would depend on what else this process has quantized
    try:
        with _quantization.quantize_scope(
            {"DepthwiseConfig": DepthwiseConfig, "PerChannelDepthwise": PerChannelDepthwise}
        ):
            clone = keras.models.clone_model(folded, clone_function=annotated)
            quantized = _quantization.quantize_apply(clone)
    except Exception as error:  # tfmot and Keras' cloning raise whatever they meet in a network they do not know
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"'{folded.name}' does not support quantization-aware training ({reason}); use post-training quantization: "
            "--ptq"
        ) from None
    for layer in quantized.layers:
        inner = getattr(layer, "layer", layer)
        # One follows the logits, others are fixed.
        layer.trainable = inner.name != CAM_LAYER and not is_fixed(inner.name)
        if isinstance(inner, keras.layers.BatchNormalization):
            inner.trainable = False
    # Once as in training: the weights' quantizers take their ranges from the weights. Then the activations'.
    quantized(_rows(calibration, 0, 1), training=True)
    _set_ranges(quantized, folded, calibration)
    return quantized


def train_quantized(
    quantized: Any,
    teacher: Any,
    batches: Callable[[int], Any],
    validate: Callable[[Any], dict[str, float]],
    *,
    epochs: int,
    learning_rate: float,
    distill: bool,
    report: Callable[[str], None],
) -> list[dict[str, float]]:
    """Trains in place; leaves the epoch with the best score in it, epoch 0 being the network before training.

    Args:
        quantized: -> logits, or [logits, class activation map], which then gets the weights that the logits have
            learned.
        teacher: The float network, logits as `quantized` has them. With distill its answers are the targets
            (cross-entropy at TEMPERATURE), without it the labels are.
        batches: Epoch (from 1) -> a Dataset of (inputs, one-hot).
        validate: Network -> "score", higher is better, "divergence" and "balanced_accuracy".
        epochs: Number of epochs.
        learning_rate: Of Adam at the start; it falls to zero along a cosine.
        distill: Whether the teacher's answers are the targets.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.

    Returns:
        One row per epoch: these three, "epoch" and, from 1 on, "loss".
    """
    report("quantization-aware training; on the validation part: divergence from float")
    row = {"epoch": 0, **validate(quantized)}
    best, kept = row["score"], quantized.get_weights()
    history: list[dict[str, float]] = [row]
    report(f"QAT epoch 0/{epochs}  {_measured(row)}")
    step = None
    for epoch in range(1, epochs + 1):
        data = batches(epoch)
        steps = len(data)
        if step is None:
            schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps * epochs)
            step = _training_step(quantized, teacher, keras.optimizers.Adam(schedule), distill)
        losses: list[Any] = []
        start = last = perf_counter()
        for number, (inputs, one_hot) in enumerate(data, 1):
            losses.append(step(inputs, one_hot))
            now = perf_counter()
            if now - last >= 1:
                last = now
                rate = number * len(one_hot) / (now - start)
                report(f"\rQAT epoch {epoch}/{epochs}  step {number}/{steps}  {rate:.0f} images/s")
        row = {"epoch": epoch, **validate(quantized), "loss": float(np.mean([float(loss) for loss in losses]))}
        history.append(row)
        better = row["score"] > best
        if better:
            best, kept = row["score"], quantized.get_weights()
        report(f"QAT epoch {epoch}/{epochs}  loss {row['loss']:.4f}  {_measured(row)}{' *' if better else ''}")
    quantized.set_weights(kept)
    if len(quantized.outputs) > 1:
        copy_weights(quantized)
    return history


def _measured(row: dict[str, float]) -> str:
    return f"divergence {row['divergence']:.4f}  balanced accuracy {row['balanced_accuracy']:.3f}"


def divergence(logits: npt.NDArray[np.floating], wanted: npt.NDArray[np.floating]) -> float:
    """The mean Kullback-Leibler divergence, in nats, of the probabilities in `logits` from those in `wanted`.

    Args:
        logits, wanted: [n, classes], but for a constant per row. 0 is the same answer everywhere.
    """
    log_p, log_q = log_softmax(wanted, axis=1), log_softmax(logits, axis=1)
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis=1).mean())


def _training_step(quantized: Any, teacher: Any, optimizer: Any, distill: bool) -> Callable[[Any, Any], Any]:
    variables = quantized.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(inputs: Any, one_hot: Any) -> Any:
        temperature = TEMPERATURE if distill else 1.0
        target = tf.nn.softmax(teacher(inputs, training=False) / temperature) if distill else one_hot
        entropy = -tf.reduce_sum(tf.math.xlogy(target, target), axis=-1)
        with tf.GradientTape() as tape:
            logits = tf.nest.flatten(quantized(inputs, training=True))[0] / temperature
            divergence = tf.nn.softmax_cross_entropy_with_logits(target, logits) - entropy
            loss = temperature**2 * tf.reduce_mean(divergence)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    return step


def _rows(arrays: Arrays, start: int, stop: int) -> Any:
    return arrays[start:stop] if isinstance(arrays, np.ndarray) else [array[start:stop] for array in arrays]


def _set_ranges(quantized: Any, folded: Any, calibration: Arrays) -> None:
    """Minima and maxima of the float network's activations -> the simulated quantizers' variables."""
    wanted: list[tuple[Any, Any, Any]] = []  # (float layer's output, minimum, maximum)
    for layer in quantized.layers:
        variables = {variable.name.split("/")[-1].split(":")[0]: variable for variable in layer.variables}
        if isinstance(layer, _quantization.QuantizeWrapperV2):
            output = folded.get_layer(layer.layer.name).output
            for kind in ("output", "post_activation"):
                if f"{kind}_min" in variables:
                    wanted.append((output, variables[f"{kind}_min"], variables[f"{kind}_max"]))
        elif f"{layer.name}_min" in variables:  # tfmot's QuantizeLayer: an input itself, [-1, 1] by contract
            variables[f"{layer.name}_min"].assign(-1.0)
            variables[f"{layer.name}_max"].assign(1.0)
    probe = keras.Model(folded.input, [output for output, _, _ in wanted])

    @tf.function
    def extremes(images: Any) -> Any:
        outputs = probe(images, training=False)
        return tf.stack([[tf.reduce_min(output), tf.reduce_max(output)] for output in tf.nest.flatten(outputs)])

    count = len(calibration if isinstance(calibration, np.ndarray) else calibration[0])
    found = np.stack([extremes(_rows(calibration, i, i + 32)).numpy() for i in range(0, count, 32)])
    lows, highs = found[:, :, 0].min(axis=0), found[:, :, 1].max(axis=0)
    for (_, minimum, maximum), low, high in zip(wanted, lows, highs, strict=True):
        minimum.assign(min(low, 0.0))
        maximum.assign(max(high, 0.0))


def widen_dead_channels(quantized: Any) -> None:
    """Gives every channel of a convolution before a BatchNormalization a range that its bias can live with.

    A device's bias is an int32 in units of input scale times weight scale. Where a channel's weights are zero, as those
    of some channels of trained MobileNets are, so is their range, and the bias overflows: that channel's answer, a
    constant, would be another one. The simulation, whose biases are float, does not notice. Call it before converting.
    """
    for layer in quantized.layers:
        readers = [node.outbound_layer for node in layer.outbound_nodes]
        inner = [getattr(reader, "layer", reader) for reader in readers]
        if not getattr(layer, "_weight_vars", None) or len(inner) != 1:
            continue
        if not isinstance(inner[0], keras.layers.BatchNormalization):
            continue
        norm, (_, _, ranges) = inner[0], layer._weight_vars[0]
        factor = 1 / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
        factor = factor * (norm.gamma.numpy() if norm.scale else 1.0)
        bias = (norm.beta.numpy() if norm.center else 0.0) - norm.moving_mean.numpy() * factor
        own_bias = layer.layer.bias.numpy() if getattr(layer.layer, "use_bias", False) else 0.0
        bias = bias + own_bias * factor
        least = 127 * np.abs(bias) / (_LEAST_INPUT_SCALE * 2**30 * np.maximum(np.abs(factor), 1e-12))
        low, high = ranges["min_var"], ranges["max_var"]
        high.assign(np.maximum(high.numpy(), least))
        low.assign(np.minimum(low.numpy(), -least))


def _before_batch_norm(layer: Any) -> bool:
    """A depthwise convolution without activation whose only reader is a BatchNormalization."""
    readers = [node.outbound_layer for node in layer.outbound_nodes]
    return (
        isinstance(layer, keras.layers.DepthwiseConv2D)
        and layer.activation is keras.activations.linear
        and len(readers) > 0
        and all(isinstance(reader, keras.layers.BatchNormalization) for reader in readers)
    )


def _source(layer: Any) -> Any:
    return layer.input._keras_history.layer


def _as_convolution(shape: Any) -> list[int]:
    height, width, channels, multiplier = shape
    return [height, width, 1, channels * multiplier]
