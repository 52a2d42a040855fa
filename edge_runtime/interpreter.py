"""The TFLite interpreter, behind one small class. The only file that touches LiteRT.

ai-edge-litert where it is installed, else tflite-runtime, else TensorFlow's own tf.lite.
"""

from __future__ import annotations

import importlib
import platform
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ModelFileError, PlatformError
from .quantization import Quantization
from .quiet import quiet


@dataclass(frozen=True)
class Tensor:
    """An input or output of the network. shape as in the file, the batch first; dtype a NumPy scalar type."""

    name: str
    shape: tuple[int, ...]
    dtype: type[Any]
    quantization: Quantization
    index: int


def load_engine() -> tuple[str, Any]:
    """(distribution name, Interpreter class) of the first TFLite interpreter that is installed.

    Raises PlatformError where there is none.
    """
    for distribution, module in (
        ("ai-edge-litert", "ai_edge_litert.interpreter"),
        ("tflite-runtime", "tflite_runtime.interpreter"),
        ("tensorflow", "tensorflow.lite.python.interpreter"),
    ):
        try:
            return distribution, importlib.import_module(module).Interpreter
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            raise PlatformError(f"{distribution} is installed but does not load here: {error}") from None
    raise PlatformError(no_engine_message(platform.machine(), sys.maxsize > 2**32, sys.version_info[:2]))


def no_engine_message(machine: str, is_64_bit: bool, python: tuple[int, int]) -> str:
    """Why there is no interpreter on this machine and what to do, in one line."""
    if not is_64_bit or machine in ("armv6l", "armv7l"):
        return (
            f"no TFLite interpreter for 32-bit {machine} with Python {python[0]}.{python[1]}: use a 64-bit system, "
            "or Python 3.11 or older with tflite-runtime==2.14.0 and numpy<2"
        )
    return "no TFLite interpreter is installed: pip install ai-edge-litert"


class Interpreter:
    """A loaded network. Not safe for use from several threads at once.

    model: the bytes of a .tflite file. num_threads: threads of the interpreter, at least 1.
    Raises ModelFileError where LiteRT refuses the file, PlatformError where no interpreter is installed.
    """

    def __init__(self, model: bytes, num_threads: int = 1):
        self.engine, engine_class = load_engine()
        try:
            with quiet():  # LiteRT announces its delegate
                self._interpreter = engine_class(model_content=model, num_threads=num_threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError, TypeError) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelFileError(f"the network is damaged or truncated: {first_line}") from None
        self.inputs = tuple(map(_tensor, self._interpreter.get_input_details()))
        self.outputs = tuple(map(_tensor, self._interpreter.get_output_details()))

    def invoke(self, *values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        """One array per input, in its shape and dtype -> a copy of every output.

        Raises ModelFileError where the network cannot be run.
        """
        try:
            for tensor, value in zip(self.inputs, values, strict=True):
                self._interpreter.set_tensor(tensor.index, value)
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelFileError(f"the network cannot be run: {first_line}") from None
        return tuple(self._interpreter.get_tensor(tensor.index) for tensor in self.outputs)


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    return Tensor(
        name=str(details["name"]),
        shape=tuple(int(n) for n in details["shape"]),
        dtype=np.dtype(details["dtype"]).type,
        quantization=Quantization(float(scale), int(zero_point)),
        index=int(details["index"]),
    )
