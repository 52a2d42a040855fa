"""LiteRT's CompiledModel. options: accelerators, of "CPU", "GPU" and "NPU"."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import importlib.metadata
from functools import reduce
from operator import or_
from typing import Any

import numpy as np
import protocol
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.cpu_options import CpuOptions
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import Options


def load(job: dict[str, Any]) -> protocol.Engine:
    accelerators = reduce(or_, (HardwareAccelerator[name] for name in job["options"]["accelerators"]))
    model = CompiledModel.from_file(
        job["model"],
        options=Options(hardware_accelerators=accelerators, cpu_options=CpuOptions(num_threads=job["num_threads"])),
    )
    key, signature = next(iter(model.get_signature_list().items()))
    details = model.get_output_tensor_details(key)
    outputs = [(name, tuple(details[name]["shape"]), np.dtype(details[name]["dtype"])) for name in signature["outputs"]]
    sources, targets = model.create_input_buffers(0), model.create_output_buffers(0)

    def invoke(values: list[Any]) -> list[Any]:
        for source, value in zip(sources, values, strict=True):
            source.write(value)
        model.run_by_index(0, sources, targets)
        read = zip(targets, outputs, strict=True)
        return [target.read(int(np.prod(shape)), dtype.type).reshape(shape) for target, (_, shape, dtype) in read]

    return protocol.Engine(
        invoke,
        [protocol.output(name, np.empty(shape, dtype)) for name, shape, dtype in outputs],
        f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}",
        _executed(job["options"]["accelerators"], model),
    )


def _executed(accelerators: list[str], model: CompiledModel) -> dict[str, Any] | None:
    if accelerators == ["CPU"]:
        return None  # is_fully_accelerated answers False then, whatever XNNPACK took
    return protocol.executed("+".join(accelerators), "is_fully_accelerated", whole=model.is_fully_accelerated())


if __name__ == "__main__":
    protocol.serve(load)
