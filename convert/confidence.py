"""Probabilities that mean what they say: a logit shift for rare classes and a temperature, both in the last layer.

The shift is post-hoc logit adjustment: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021. The
temperature is Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. Both are found on the validation part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..benchmarks.stats import metrics
from ..benchmarks.stats.borderline import score, within
from ..benchmarks.stats.calibration import choose_temperature, softmax, with_temperature
from ..edge_runtime.errors import ConversionError, DataError
from ..train.engine import keras
from .tflite import flatbuffer

Floats = npt.NDArray[np.float64]

TAUS = tuple(round(0.1 * step, 1) for step in range(16))  # candidates for the strength of the shift

SENSITIVITIES = (0.90, 0.95)  # at which thresholds are frozen


@dataclass(frozen=True)
class Calibration:
    """What the last layer holds beside what was trained: logits' = (logits - tau log(prior)) / temperature.

    Attributes:
        shift: -tau log(prior) per class, float64 [classes], all zero for tau 0. For information: the file applies it.
    """

    tau: float
    shift: tuple[float, ...]
    temperature: float

    def to_dict(self) -> dict[str, Any]:
        return {"temperature": self.temperature, "logit_shift": list(self.shift), "logit_shift_tau": self.tau}


def shift_for(tau: float, counts: npt.NDArray[np.integer[Any]]) -> Floats:
    """-tau log(prior), its mean zero.

    Args:
        counts: Training pictures per class.

    Raises:
        DataError: For a class without any.
    """
    if tau == 0:
        return np.zeros(len(counts))
    if not counts.all():
        raise DataError("a class has no training images, so its frequency is not known: leave --logit-shift out")
    prior = counts / counts.sum()
    shift = -tau * np.log(prior)
    return shift - shift.mean()


def tradeoff(
    logits: Floats, truth: npt.NDArray[np.int64], counts: npt.NDArray[np.integer[Any]]
) -> list[dict[str, float]]:
    """What each tau of TAUS makes of the pictures given: {tau, balanced_accuracy, accuracy, ece}, JSON-ready.

    Args:
        logits: float64 [n, classes].

    Returns:
        The ECE is computed with the temperature that suits the shifted logits best.

    Raises:
        DataError: For a class without training pictures.
    """
    codes = [str(position) for position in range(len(counts))]
    rows: list[dict[str, float]] = []
    for tau in TAUS:
        shifted = softmax(logits + shift_for(tau, counts))
        tempered = with_temperature(shifted, choose_temperature(shifted, truth))
        figures = metrics.evaluate(truth, tempered, codes, bootstrap=0)
        rows.append(
            {
                "tau": tau,
                "balanced_accuracy": figures["balanced_accuracy"],
                "accuracy": figures["accuracy"],
                "ece": metrics.calibration(truth, tempered)["ece"],
            }
        )
    return rows


def choose_tau(rows: Sequence[Mapping[str, float]]) -> float:
    """The tau of `tradeoff` with the best balanced accuracy; the smallest where several are best."""
    return max(rows, key=lambda row: row["balanced_accuracy"])["tau"]


def shift_head(folded: Any, shift: Floats) -> Any:
    """A copy of a folded network (`fold.fold_head`) whose logits are shifted. The layers before the head are shared."""
    dense = folded.layers[-1]
    shifted = keras.layers.Dense(dense.units, name=dense.name)
    copy = keras.Model(folded.input, shifted(dense.input), name=folded.name)
    kernel, bias = dense.get_weights()
    shifted.set_weights([kernel, (bias + shift).astype(np.float32)])
    return copy


def apply_temperature(network: bytes, temperature: float, shift: Sequence[float] | None = None) -> bytes:
    """A .tflite whose outputs are logits, or a softmax of them -> the same with (logits + shift) / temperature.

    Exact: weights, bias and output of every output's last layer are divided: where they are integers, their scales are,
    so that not one integer changes. Conversions (DEQUANTIZE) between the layer and the output are followed.

    Args:
        shift: One number per class, for float networks only.

    Raises:
        ConversionError: Where an output's last layer is neither dense nor a convolution.
    """
    model = flatbuffer.read(network)
    graph = model.subgraphs[0]
    producers = {int(output): operator for operator in graph.operators for output in operator.outputs}
    divided: set[Any] = set()
    for output in graph.outputs:
        position = int(output)
        if flatbuffer.operator_name(model, producers[position]) == "SOFTMAX":
            position = int(producers[position].inputs[0])
        while True:
            _divide(model, graph.tensors[position], temperature, divided)
            operator = producers[position]
            name = flatbuffer.operator_name(model, operator)
            if name not in ("QUANTIZE", "DEQUANTIZE", "RESHAPE"):
                break
            position = int(operator.inputs[0])
        if name not in ("FULLY_CONNECTED", "CONV_2D"):
            raise ConversionError(f"the last layer is {name}: a temperature cannot be folded into it")
        if shift is not None:
            _add(model, graph.tensors[operator.inputs[2]], shift)
        for position in operator.inputs[1:]:
            while position >= 0:
                _divide(model, graph.tensors[position], temperature, divided)
                source = producers.get(int(position))  # float16 weights pass a DEQUANTIZE first
                position = int(source.inputs[0]) if source is not None else -1
    return flatbuffer.write(model)


def thresholds(
    probabilities: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.int64], labels: Sequence[Any], data: str
) -> list[dict[str, Any]]:
    """Thresholds frozen on validation pictures, for every malignant class and for all of them together.

    The score is the (sum of the) probabilities of `classes`; score >= threshold counts as found. What the same
    threshold gives on other pictures is not promised.

    Args:
        probabilities: float [n, classes], 0..1.
        truth: int [n], the position of each image's label.
        labels: The classes, in the order of the columns.
        data: Which images these are, in words.
    """
    malignant = [position for position, label in enumerate(labels) if label.malignant]
    targets = {labels[position].code: [position] for position in malignant}
    if len(malignant) > 1:
        targets = {"malignant": malignant, **targets}
    rows: list[dict[str, Any]] = []
    for target, columns in targets.items():
        positive = np.isin(truth, columns)
        scores = probabilities[:, columns].astype(np.float64).sum(axis=1)
        if not 0 < positive.sum() < len(positive):
            continue
        for sensitivity in SENSITIVITIES:
            threshold = metrics.threshold_for_sensitivity(positive, scores, sensitivity)
            rows.append(
                {
                    "target": target,
                    "classes": [labels[position].code for position in columns],
                    "chosen_for_sensitivity": sensitivity,
                    "threshold": threshold,
                    "on": data,
                    **metrics.at_threshold(positive, scores, threshold),
                }
            )
    return rows


def borderline(
    rows: Sequence[Mapping[str, Any]],
    codes: Sequence[str],
    probabilities: npt.NDArray[np.floating[Any]],
    others: tuple[npt.NDArray[np.int64], Sequence[npt.NDArray[np.floating[Any]]]],
) -> list[float]:
    """How near to each threshold a score is borderline: `borderline.within` of the rows of `thresholds`.

    Args:
        rows: What `thresholds` returned.
        codes: The codes of the classes, in the order of the columns.
        probabilities: [n, classes] of the file itself.
        others: Positions among the n, and what other implementations answer there.
    """
    positions, answers = others
    distances: list[float] = []
    for row in rows:
        columns = [codes.index(code) for code in row["classes"]]
        scores = score(probabilities[positions], columns)
        distances.append(within(row["threshold"], scores, [score(other, columns) for other in answers]))
    return distances


def _divide(model: Any, tensor: Any, divisor: float, done: set[Any]) -> None:
    if id(tensor) in done:
        return
    done.add(id(tensor))
    quantization, schema = tensor.quantization, flatbuffer.schema
    if quantization is not None and quantization.scale is not None and len(quantization.scale):
        quantization.scale = (np.asarray(quantization.scale, np.float64) / divisor).astype(np.float32)
        return
    data = None if ("buffer", tensor.buffer) in done else model.buffers[tensor.buffer].data
    dtype = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}.get(tensor.type)
    if data is not None and len(data) and dtype is not None:
        values = np.frombuffer(bytes(data), dtype).astype(np.float64) / divisor
        done.add(("buffer", tensor.buffer))  # equal weights may share one
        model.buffers[tensor.buffer].data = np.frombuffer(values.astype(dtype).tobytes(), np.uint8)


def _add(model: Any, bias: Any, shift: Sequence[float]) -> None:
    if bias.type != flatbuffer.schema.TensorType.FLOAT32:
        raise ConversionError("a logit shift is added to a float network only")
    buffer = model.buffers[bias.buffer]
    values = np.frombuffer(bytes(buffer.data), np.float32) + np.asarray(shift, np.float32)
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
