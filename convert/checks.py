"""Whether each file answers as what it was made of: the float file, the folded head, the simulation, the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..benchmarks.stats.calibration import softmax
from ..benchmarks.stats.metrics import wilson
from ..edge_runtime.errors import ConversionError
from ..edge_runtime.network import Network

Report = Callable[[str], None]

# The float .tflite against the Keras model, and the folded head against the unfolded: largest difference of a
# probability that arithmetic in another order may make.
FLOAT_TOLERANCE = 1e-4
FOLD_TOLERANCE = 1e-5

# Largest share of validation images with another top class in the int8 file than in the simulation that was trained.
# Classes whose logits are within TIE of each other, in steps of the int8 logits, may change places: rounding does that,
# and a network that has learned little has many such. A fault of the conversion, such as a bias that overflows, moves
# logits by more.
MOST_FLIPPED = 0.05
TIE = 4


def check_float(network: bytes, inputs: Sequence[npt.NDArray[np.float32]], model: Any) -> None:
    from ..edge_runtime.interpreter import Interpreter

    interpreter = Interpreter(network)
    answers = np.concatenate([interpreter.invoke(*(one[None] for one in row))[0] for row in zip(*inputs, strict=True)])
    difference = float(np.abs(answers - model.predict(list(inputs), verbose=0)).max())
    if not difference <= FLOAT_TOLERANCE:
        raise ConversionError(
            f"the float32 .tflite differs from the Keras model by {difference:.1e} on {len(answers)} training images; "
            f"at most {FLOAT_TOLERANCE:.0e} is rounding"
        )


def check_fold(folded: Any, inputs: Sequence[npt.NDArray[np.float32]], model: Any) -> None:
    probabilities = softmax(folded.predict(list(inputs), verbose=0).astype(np.float64))
    difference = float(np.abs(probabilities - model.predict(list(inputs), verbose=0)).max())
    if not difference <= FOLD_TOLERANCE:
        raise ConversionError(
            f"folding the head's BatchNormalization changed a probability by {difference:.1e}; "
            f"at most {FOLD_TOLERANCE:.0e} is rounding"
        )


def check_simulation(
    simulated: npt.NDArray[np.float32], answers: npt.NDArray[np.float32], step: float, report: Report
) -> None:
    """Raises ConversionError where more of the answers differ than rounding and chance explain; says what is noise.

    Args:
        simulated, answers: Logits [n, classes].
        step: Between two neighbouring logits of the file.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
    """
    chosen = np.take_along_axis(simulated, answers.argmax(axis=1)[:, None], axis=1)[:, 0]
    flipped = int((simulated.max(axis=1) - chosen > TIE * step).sum())
    if flipped <= max(2, MOST_FLIPPED * len(answers)):
        return
    low, high = wilson(flipped / len(answers), len(answers))
    if low > MOST_FLIPPED:
        raise ConversionError(
            f"the int8 file gives another top class than its simulation in training for {flipped} of {len(answers)} "
            f"validation images (95% interval {low:.1%} to {high:.1%}), by more than {TIE} steps of its logits; at "
            f"most {MOST_FLIPPED:.0%} is rounding"
        )
    report(
        f"warning: the int8 file gives another top class than its simulation for {flipped} of {len(answers)} "
        f"validation images (95% interval {low:.1%} to {high:.1%}), which is within noise of the "
        f"{MOST_FLIPPED:.0%} that rounding does: more validation images would tell"
    )


def check_device(path: Path, pictures: Any, rows: Any, expected: npt.NDArray[np.float32]) -> None:
    """The finished file, read and fed as a device does, answers as the network did.

    Args:
        path: The .tflite file.
        pictures, rows: Of the validation part, of which the first as many as `expected` are asked.
        expected: float32 [n, classes], what the network answered.
    """
    from ..edge_runtime.classifier import SkinClassifier

    classifier = SkinClassifier(path)
    known = rows.to_dict("records")
    answers = np.stack(
        [
            classifier.invoke(classifier.to_tensor(pictures[position]), classifier.row_to_vector(known[position]))
            for position in range(len(expected))
        ]
    )
    difference = float(np.abs(answers - expected).max())
    if not difference <= 1e-6:
        raise ConversionError(f"the finished {path.name} answers otherwise than its network, by {difference:.1e}")


def logit_step(network: bytes) -> float:
    """The scale of the int8 logits, a quantized network's first output or what is dequantized into it."""
    parsed = Network(network)
    logits = parsed.outputs[0]
    for operator in parsed.operators:
        if operator.name == "DEQUANTIZE" and operator.outputs[0] == logits:
            logits = operator.inputs[0]
    return logits.scales[0]
