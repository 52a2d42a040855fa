"""`SkinClassifier`: a .tflite file and a picture -> a `Prediction`."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from . import preprocess
from .errors import ModelFileError, PredictionError
from .interpreter import Interpreter, Tensor
from .model_file import read_model_file
from .preprocess import ImageLike
from .quantization import byte_table, dequantize

DISCLAIMER = "For research and product development. Not a medical device."

DEFAULT_MODEL = Path(__file__).with_name("models") / "skin_edge_default_int8.tflite"


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture.

    label: the code of the most probable class. probabilities: code -> 0..1 over all classes, largest first.
    preprocess_ms: decoding, resizing and quantizing. inference_ms: the network. Both in milliseconds.
    """

    label: str
    probabilities: dict[str, float]
    preprocess_ms: float
    inference_ms: float


class SkinClassifier:
    """Classifies pictures with a .tflite file that `skin-edge convert` wrote.

    model_path: the file; by default the packaged one. num_threads: threads of the interpreter, 1 to 256.
    One classifier may be called from several threads: they take turns at the network.

    Raises ModelFileError where the file is missing, damaged, or no image classifier with three colour channels.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None, num_threads: int = 1):
        if not 1 <= num_threads <= 256:  # LiteRT crashes the process where it cannot start as many
            raise ValueError(f"num_threads must be 1 to 256, not {num_threads}")
        file = read_model_file(os.fspath(model_path or DEFAULT_MODEL))
        self.path = file.path
        self.labels = file.labels
        self.input_spec = file.input_spec
        self.metadata = file.metadata
        try:
            self.interpreter = Interpreter(file.content, num_threads)
            self._input, self._output = _checked(self.interpreter, file.input_spec, len(file.labels))
        except ModelFileError as error:
            raise ModelFileError(f"{file.path}: {error}") from None
        self._codes = tuple(label.code for label in file.labels)
        table = byte_table(file.input_spec.real_table, self._input.quantization, self._input.dtype)
        self._table = table[:, 0] if (table == table[:, :1]).all() else table
        self._bytes_unchanged = self._table.dtype == np.uint8 and np.array_equal(self._table, np.arange(256))
        self._lock = threading.Lock()

    def predict(self, image: ImageLike) -> Prediction:
        """One picture -> its Prediction.

        image: a path, the bytes of a file, a Pillow image, or a uint8 array [height, width, 3] in RGB.
        Raises ImageError where it cannot be decoded and PredictionError where the network's answer is not
        finite: both mean "cannot assess", never "benign".
        """
        start = perf_counter()
        tensor = self.to_tensor(preprocess.to_pixels(image, self.input_spec))
        prepared = perf_counter()
        probabilities = self.invoke(tensor)
        done = perf_counter()
        order: list[int] = np.argsort(-probabilities, kind="stable").tolist()
        ranked = {self._codes[i]: float(probabilities[i]) for i in order}
        return Prediction(
            label=self._codes[order[0]],
            probabilities=ranked,
            preprocess_ms=(prepared - start) * 1000,
            inference_ms=(done - prepared) * 1000,
        )

    def to_tensor(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """uint8 [height, width, 3] -> the input tensor [1, height, width, 3] in the network's dtype."""
        if self._bytes_unchanged:
            return pixels[None]
        if self._table.ndim == 1:
            return self._table[pixels][None]
        return np.stack([self._table[pixels[..., channel], channel] for channel in range(3)], axis=-1)[None]

    def invoke(self, tensor: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The input tensor -> float32 [classes], probabilities in the order of `labels`.

        Raises PredictionError where one of them is not finite.
        """
        with self._lock:
            raw = self.interpreter.invoke(tensor)[0][0]
        scores = dequantize(raw, self._output.quantization) if self._output.quantization.is_quantized else raw
        if not np.isfinite(scores).all():
            raise PredictionError("cannot assess: the network answered with a value that is not finite")
        return scores


def _checked(interpreter: Interpreter, spec: preprocess.InputSpec, classes: int) -> tuple[Tensor, Tensor]:
    if len(interpreter.inputs) != 1 or len(interpreter.outputs) != 1:
        raise ModelFileError(
            f"the network has {len(interpreter.inputs)} inputs and {len(interpreter.outputs)} outputs, not one each"
        )
    source, target = interpreter.inputs[0], interpreter.outputs[0]
    if source.shape != (1, spec.height, spec.width, 3):
        raise ModelFileError(
            f"the input is {list(source.shape)}, but metadata.json says [1, {spec.height}, {spec.width}, 3]"
        )
    if target.shape != (1, classes):
        raise ModelFileError(f"the output is {list(target.shape)}, but metadata.json lists {classes} labels")
    for tensor in (source, target):
        if tensor.dtype not in (np.uint8, np.int8, np.float32):
            raise ModelFileError(f"tensor {tensor.name} is {np.dtype(tensor.dtype)}, not uint8, int8 or float32")
        if (tensor.dtype != np.float32) != tensor.quantization.is_quantized:
            raise ModelFileError(f"tensor {tensor.name} is {np.dtype(tensor.dtype)} but its scale does not fit that")
    return source, target
