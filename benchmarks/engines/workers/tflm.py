"""TFLite Micro's interpreter on this machine: the kernels that a microcontroller runs, in their portable form."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import protocol
from tflite_micro.python.tflite_micro import runtime

_LARGEST_ARENA = 256 * 2**20  # bytes


def load(job: dict[str, Any]) -> protocol.Engine:
    model = Path(job["model"]).read_bytes()
    arena = 4 * 2**20
    while True:
        try:
            interpreter = runtime.Interpreter.from_bytes(model, arena_size=arena)
            break
        except RuntimeError as error:
            if "allocate" not in str(error) or arena >= _LARGEST_ARENA:
                raise
            arena *= 4
    outputs: list[dict[str, Any]] = []
    # Its interpreter does not say how many outputs there are, and an index beyond them raises.
    for i in range(job["outputs"]):
        details = interpreter.get_output_details(i)
        found = details["quantization_parameters"]
        scales, zeros = found["scales"], found["zero_points"]
        quantization = (float(scales[0]), int(zeros[0])) if len(scales) else (0.0, 0)
        outputs.append(protocol.output(f"output {i}", _Shaped(details), quantization))

    def invoke(values: list[Any]) -> list[Any]:
        for i, value in enumerate(values):
            interpreter.set_input(value, i)
        interpreter.invoke()
        return [interpreter.get_output(i) for i in range(len(outputs))]

    return protocol.Engine(invoke, outputs, f"tflite-micro {importlib.metadata.version('tflite-micro')}")


class _Shaped:
    def __init__(self, details: dict[str, Any]):
        self.dtype, self.shape = details["dtype"], details["shape"]


if __name__ == "__main__":
    protocol.serve(load)
