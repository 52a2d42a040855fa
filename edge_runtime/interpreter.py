"""The TFLite interpreter, behind one small class. The only file that touches LiteRT.

ai-edge-litert where it is installed, else tflite-runtime, else TensorFlow's own tf.lite.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ModelFileError, PlatformError, UsageError
from .quantization import Quantization
from .quiet import quiet

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Tensor:
    """An input or output of the network. shape as in the file, the batch first; dtype a NumPy scalar type."""

    name: str
    shape: tuple[int, ...]
    dtype: type[Any]
    quantization: Quantization
    index: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the name: shape, dtype and, where it is quantized, scale and zero_point."""
        fields: dict[str, Any] = {"shape": list(self.shape), "dtype": self.dtype.__name__}
        if self.quantization.is_quantized:
            fields |= {"scale": self.quantization.scale, "zero_point": self.quantization.zero_point}
        return fields


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

    Args:
        model: The bytes of a .tflite file.
        num_threads: Threads of the interpreter, at least 1.
        delegate: "xnnpack", the engine's own default; "none", its plain kernels; or the path of an external delegate's
            shared library, such as libedgetpu.so.1.

    Raises:
        ModelFileError: Where LiteRT refuses the file.
        PlatformError: Where no interpreter is installed.
        UsageError: Where the delegate cannot be loaded or refuses the network.
    """

    def __init__(self, model: bytes, num_threads: int = 1, delegate: str = "xnnpack"):
        self._arguments = model, num_threads, delegate
        self._interpreter = self._made()
        self.inputs = tuple(map(_tensor, self._interpreter.get_input_details()))
        self.outputs = tuple(map(_tensor, self._interpreter.get_output_details()))
        self._forked = False
        _alive.add(self)

    def _made(self) -> Any:
        model, num_threads, delegate = self._arguments
        self.engine, engine_class = load_engine()
        external = delegate not in ("xnnpack", "none")
        with quiet():  # LiteRT announces its delegate
            options = _delegate_options(delegate, importlib.import_module(engine_class.__module__))
            try:
                interpreter = engine_class(model_content=model, num_threads=num_threads, **options)
                interpreter.allocate_tensors()
            except (ValueError, RuntimeError, TypeError, MemoryError) as error:
                if external:
                    raise UsageError(
                        f"the delegate {delegate} does not run this network: {_first_line(error)}"
                    ) from None
                raise ModelFileError(f"the network is damaged or truncated: {_first_line(error)}") from None
        return interpreter

    def forget(self) -> None:
        """In the child of a fork: the engine's threads are not there, and its memory may be that of half an answer.

        The next call makes the engine again. The old one is never released, which would wait for its threads.
        """
        if self._interpreter is not None:
            _abandoned.append(self._interpreter)
            self._forked = True

    def invoke(self, *values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], ...]:
        """One array per input, in its shape and dtype -> a copy of every output.

        Raises ModelFileError where the network cannot be run, UsageError after `close`.
        """
        interpreter = self._interpreter
        if interpreter is None:
            raise UsageError("the classifier is closed: create a new one")
        if self._forked:
            interpreter = self._interpreter = self._made()
            self._forked = False
        try:
            for tensor, value in zip(self.inputs, values, strict=True):
                interpreter.set_tensor(tensor.index, value)
            interpreter.invoke()
            return tuple(interpreter.get_tensor(tensor.index) for tensor in self.outputs)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise ModelFileError(f"the network cannot be run: {_first_line(error)}") from None

    def close(self) -> None:
        """Releases the network's memory. Closing twice is allowed."""
        self._interpreter = None


_alive: weakref.WeakSet[Interpreter] = weakref.WeakSet()
_abandoned: list[Any] = []


def _forget() -> None:
    import ctypes

    for interpreter in list(_alive):
        interpreter.forget()
    for engine in _abandoned:  # not released when the process ends either
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)


def _delegate_options(delegate: str, engine: Any) -> dict[str, Any]:
    """What the engine's Interpreter takes for a delegate. engine: its module."""
    if delegate == "xnnpack":
        return {}
    try:
        if delegate == "none":
            return {"experimental_op_resolver_type": engine.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        load = engine.load_delegate
    except AttributeError:
        raise PlatformError(
            f"{engine.__name__} cannot choose its delegate: leave it at xnnpack, or pip install ai-edge-litert"
        ) from None
    import ctypes

    file = Path(delegate)
    # The system's loader looks for a bare name in its own folders only, not in the current one.
    path = str(file.resolve()) if file.exists() else delegate
    try:
        # Opened here first: what LiteRT's Delegate cannot open, its finalizer prints a traceback of.
        library = ctypes.CDLL(path)
        if not (
            hasattr(library, "tflite_plugin_create_delegate") and hasattr(library, "tflite_plugin_destroy_delegate")
        ):
            raise UsageError(f"{delegate} is not a TFLite delegate: it has no tflite_plugin_create_delegate")
        return {"experimental_delegates": [load(path)]}
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"the delegate {delegate} cannot be loaded: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= 300 else f"{line[:300]} ..."  # LiteRT repeats itself


def _tensor(details: dict[str, Any]) -> Tensor:
    scale, zero_point = details["quantization"]
    return Tensor(
        name=str(details["name"]),
        shape=tuple(int(n) for n in details["shape"]),
        dtype=np.dtype(details["dtype"]).type,
        quantization=Quantization(float(scale), int(zero_point)),
        index=int(details["index"]),
    )
