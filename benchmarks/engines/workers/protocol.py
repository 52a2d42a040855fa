"""What every worker in Python does with its inputs. It runs in any environment with NumPy, without skin-edge.

A worker gets one argument: the path of a JSON file, the job, with

    model        the .tflite
    num_threads  of the engine, where it can be told
    inputs       one entry per input of the network: {file, dtype, shape}, the file holding rows of `shape`
    pixels       the same pictures for engines that take pictures: {file, dtype, shape}, uint8 [height, width, 3]
    sequence     which row to answer, step after step
    out          the folder that it writes to
    options      what the engine's name was given: of a delegate its path and its options

It writes facts.json once it is loaded (see `Engine.facts`; with load_ms), and after each step a row of outputs.bin (the
raw bytes of all outputs, one after the other) and of milliseconds.bin (float64): a crash leaves what was answered. At
the end done.json says peak_bytes, the most memory this process ever had resident, or null. What it cannot do it says
in error.json: {stage: "load" or "answer", message}. Another language does the same (litertjs.mjs).
"""

# pyright: basic
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np


@dataclass
class Engine:
    """A loaded network: the call shape of every engine.

    invoke: one array per input, [1, ...] -> one array per output, in the file's order. outputs: {name, dtype, shape,
    scale, zero_point} each, as the engine sees them (scale 0: not quantized). version: of the engine.
    executed: what runs the operators (see `executed`), None where the engine does not tell. takes: "tensors", or
    "pixels" for one that prepares a picture itself.
    """

    invoke: Callable[[list[Any]], list[Any]]
    outputs: list[dict[str, Any]]
    version: str
    executed: dict[str, Any] | None = None
    takes: str = "tensors"

    @property
    def facts(self) -> dict[str, Any]:
        return {"outputs": self.outputs, "version": self.version, "executed": self.executed}


def serve(load: Callable[[dict[str, Any]], Engine]) -> None:
    """Does the job that this process was given. load: of the job."""
    job = json.loads(Path(sys.argv[1]).read_text())
    out, stage = Path(job["out"]), "load"
    try:
        start = perf_counter()
        engine = load(job)
        load_ms = (perf_counter() - start) * 1000
        write(out / "facts.json", {**engine.facts, "load_ms": load_ms, "runs_in": f"Python {sys.version.split()[0]}"})
        stage = "answer"
        _answer(engine, job, out)
    except Exception as error:  # whatever an engine raises is the result
        message = (str(error).strip() or type(error).__name__)[:2000]
        write(out / "error.json", {"stage": stage, "message": message})
        sys.exit(1)
    write(out / "done.json", {"peak_bytes": peak_bytes()})


def _answer(engine: Engine, job: dict[str, Any], out: Path) -> None:
    described = [job["pixels"]] if engine.takes == "pixels" else job["inputs"]
    with (out / "outputs.bin").open("wb", 0) as answers, (out / "milliseconds.bin").open("wb", 0) as times:
        for row in job["sequence"]:
            values = [row_of(one, row) for one in described]
            start = perf_counter()
            outputs = engine.invoke(values)
            milliseconds = (perf_counter() - start) * 1000
            answers.write(b"".join(np.ascontiguousarray(output).tobytes() for output in outputs))
            times.write(np.float64(milliseconds).tobytes())


def row_of(described: dict[str, Any], row: int) -> Any:
    """The array [1, ...] of a row of an entry {file, dtype, shape}.

    Read, not mapped: pages of a mapped file would count as this process's memory, the more the more pictures there are.
    """
    dtype, shape = np.dtype(described["dtype"]), described["shape"]
    count = int(np.prod(shape))
    return np.fromfile(described["file"], dtype, count, offset=row * count * dtype.itemsize).reshape(1, *shape)


def output(name: str, array: Any, quantization: tuple[float, int] = (0.0, 0)) -> dict[str, Any]:
    """An entry of `Engine.outputs`. array: anything with dtype and shape."""
    scale, zero_point = quantization
    return {
        "name": name,
        "dtype": str(np.dtype(array.dtype)),
        "shape": [int(n) for n in array.shape],
        "scale": float(scale),
        "zero_point": int(zero_point),
    }


def executed(
    delegate: str | None,
    source: str,
    *,
    whole: bool | None = None,
    operators: int | None = None,
    delegated: int | None = None,
    partitions: int | None = None,
    left: dict[str, int] | None = None,
) -> dict[str, Any]:
    """What runs the operators; None is not known.

    Args:
        delegate: The delegate or accelerator that took some operators; None where none did.
        source: How this is known.
        whole: Whether it took all.
        operators: Number of operators of the network.
        delegated: How many of them it took.
        partitions: In how many partitions it took them.
        left: Name -> count of the others.
    """
    return {
        "delegate": delegate,
        "whole": whole,
        "operators": operators,
        "delegated": delegated,
        "partitions": partitions,
        "left": left,
        "source": source,
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)


def peak_bytes() -> int | None:
    # VmHWM belongs to this program. ru_maxrss survives exec: it would hold the peak of the parent that forked.
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
