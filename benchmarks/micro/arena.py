"""The memory that TensorFlow Lite Micro takes for a network: measured with TFLite Micro itself.

Its interpreter ends the process on some networks, so it runs in one of its own.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from ...edge_runtime.errors import PredictionError, require
from ..measure.memory import ROOT
from ..measure.processes import signal_name

_TIMEOUT_S = 600
_MOST = 256 * 2**20  # bytes: no microcontroller has more
_STEP = 16  # bytes: TFLite Micro aligns the arena so
_KB = 1024

_TOTAL = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_PART = re.compile(r"\[RecordingMicroAllocator\] '(.+)' used (\d+) bytes")
_STAGE = "#stage "
_MAIN = f"from {__name__} import main; main()"


def measure_arena(content: bytes) -> dict[str, Any]:
    """What TFLite Micro allocates for a network, and whether it runs.

    Args:
        content: Of a .tflite file.

    Returns:
        JSON-ready: {"version", "runs", "why", "arena_bytes", "activations_bytes", "persistent_bytes", "parts", "less"}.
        arena_bytes: the smallest arena, a multiple of 16 bytes, in which the network was loaded and run.
        activations_bytes: of it for values between layers; persistent_bytes: for what stays, made of `parts`, name ->
        bytes. less: what TFLite Micro says where the arena is smaller by 1024 bytes. Where the network does not run
        these are None and why is TFLite Micro's reason, or how its process ended.

    Raises:
        MissingExtraError: Where it is not installed.
    """
    require("tflite_micro")
    command = [sys.executable, "-c", _MAIN]
    unknown = dict.fromkeys(("arena_bytes", "activations_bytes", "persistent_bytes", "parts", "less"))
    found: dict[str, Any] = {"version": version("tflite-micro"), "runs": False, "why": None, **unknown}
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_TIMEOUT_S, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return found | {"why": f"it ran for more than {_TIMEOUT_S} s"}
    stages = _stages(done.stderr.decode("utf-8", "replace"))
    if done.returncode < 0:
        name = signal_name(-done.returncode)
        said = _reason(stages[-1][1])
        return found | {"why": f"TFLite Micro's process died of {name}" + (f": {said}" if said else "")}
    if done.returncode:
        return found | {"why": _reason(stages[-1][1]) or f"its process ended with {done.returncode}"}
    log = dict(stages)
    totals = {name: int(size) for name, size in _TOTAL.findall(log["given"])}
    return found | {
        "runs": True,
        "arena_bytes": json.loads(done.stdout)["arena_bytes"],
        "activations_bytes": totals["head"],
        "persistent_bytes": totals["tail"],
        "parts": {name: int(size) for name, size in _PART.findall(log["given"])},
        "less": _reason(log["less"]),
    }


def answers(content: bytes, tensors: Sequence[bytes]) -> list[bytes]:
    """What TFLite Micro answers: the first output's bytes for each input tensor's.

    Args:
        content: Of a .tflite file with one input.
        tensors: Bytes of an input tensor each.

    Raises:
        PredictionError: Where it does not run.
        MissingExtraError: Where TFLite Micro is not installed.
    """
    require("tflite_micro")
    command = [sys.executable, "-c", f"from {__name__} import answer; answer({len(content)}, {len(tensors)})"]
    told = content + b"".join(tensors)
    done = subprocess.run(command, input=told, capture_output=True, timeout=_TIMEOUT_S, cwd=ROOT)
    if done.returncode:
        raise PredictionError(f"TFLite Micro does not run the network: {_reason(done.stderr.decode(errors='replace'))}")
    return [base64.b64decode(line) for line in done.stdout.splitlines()]


def _stages(log: str) -> list[tuple[str, str]]:
    """(stage, what was said in it). The first is the process's start."""
    pieces = ("start\n" + log).split(_STAGE)
    return [(name.strip(), said) for name, _, said in (piece.partition("\n") for piece in pieces)]


def _reason(said: str) -> str:
    """TFLite Micro's first lines, in one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    own = [line for line in lines if not line.startswith("[Recording")]
    return "; ".join(line.rstrip(".") for line in own[:3])


def _run(runtime: Any, content: bytes, size: int, inputs: int) -> Any:
    """Loads and runs the network once, on zeros. Raises RuntimeError where TFLite Micro refuses."""
    import numpy as np

    interpreter = runtime.Interpreter.from_bytes(content, arena_size=size)
    for i in range(inputs):
        details = interpreter.get_input_details(i)
        interpreter.set_input(np.zeros(details["shape"], details["dtype"]), i)
    interpreter.invoke()
    return interpreter


def answer(length: int, count: int) -> None:
    """The process of `answers`: a network of `length` bytes and `count` tensors on stdin."""
    import numpy as np

    from ...edge_runtime import console

    content, tensors = sys.stdin.buffer.read(length), sys.stdin.buffer.read()
    runtime: Any = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=_MOST)
    details = interpreter.get_input_details(0)
    for values in np.ndarray((count, *details["shape"]), details["dtype"], tensors):
        interpreter.set_input(values, 0)
        interpreter.invoke()
        console.say(base64.b64encode(interpreter.get_output(0).tobytes()).decode())


def main() -> None:
    """The process: a network on stdin, its arena as JSON on stdout, TFLite Micro's words by stage on stderr."""
    from ...edge_runtime import console
    from ...edge_runtime.network import Network

    content = sys.stdin.buffer.read()
    inputs = len(Network(content).inputs)
    runtime: Any = importlib.import_module("tflite_micro.python.tflite_micro.runtime")

    def stage(name: str) -> None:
        os.write(2, f"\n{_STAGE}{name}\n".encode())

    def fits(size: int) -> bool:
        """In a process of its own: where an arena is too small, TFLite Micro dies of some networks."""
        child = os.fork()
        if child:
            return os.waitpid(child, 0)[1] == 0
        try:
            runtime.Interpreter.from_bytes(content, arena_size=size)
        except RuntimeError:
            sys.exit(1)
        sys.exit(0)

    try:
        stage("any")
        _run(runtime, content, _MOST, inputs)
        stage("search")
        low, high = 0, _MOST // _STEP  # in steps; low does not fit, high does
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if fits(middle * _STEP) else (middle, high)
        stage("given")
        _run(runtime, content, high * _STEP, inputs).print_allocations()
    except (RuntimeError, ValueError) as error:
        os.write(2, f"{error}\n".encode())
        sys.exit(1)
    stage("less")
    if fits(max(high * _STEP - _KB, 0)):
        os.write(2, b"it fits 1024 bytes less as well\n")
        sys.exit(1)
    console.say_json({"arena_bytes": high * _STEP}, indent=None)
