"""`skin-edge bench --micro`: one model, TensorFlow Lite Micro, and NPUs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...edge_runtime import __version__, model_file
from ...edge_runtime.network import GraphTensor, Network
from . import npu as npus
from . import operators
from .arena import measure_arena

FORMAT, FORMAT_VERSION = "skin-edge-micro", 1  # docs/engines.schema.json


def measure(model: Path, npu: Sequence[str] = ()) -> dict[str, Any]:
    """What a microcontroller needs for a model, JSON-ready; the same for the same file and packages.

    Args:
        model: Any .tflite file.
        npu: Names of NPUs (`npu.NPUS`).

    Raises:
        ModelFileError: For what is no network, or a damaged file of skin-edge.
        UnknownNameError: For an NPU that Vela does not know.
        MissingExtraError: Where TFLite Micro or, with an NPU, Vela is not installed.
    """
    names = [npus.accelerator(name) for name in npu]
    if not model_file.left_out(model):
        model_file.read_model_file(model)  # its seal, or why it cannot be read
    content = model.read_bytes()
    length = model_file.network_length(content)
    network = Network(memoryview(content)[:length])
    needed = operators.needed(network)
    arena = measure_arena(content)
    lacking = [] if arena["runs"] else operators.lacking(needed)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "skin_edge": __version__,
        "model": {
            "path": str(model),
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "network_bytes": length,
            "inputs": [_tensor(tensor) for tensor in network.inputs],
            "outputs": [_tensor(tensor) for tensor in network.outputs],
        },
        "verdict": "runs" if arena["runs"] else "cannot run",
        "why": None if arena["runs"] else _why(lacking, arena["why"]),
        "tflite_micro": arena,
        "operators": needed,
        "operators_lacking": lacking,
        "resolver": operators.resolver(needed) if not lacking else [],
        "npus": [npus.compile_for(content, name)[0] for name in names],
    }


def _why(lacking: Sequence[str], said: str) -> str:
    return f"TFLite Micro has no {', '.join(lacking)} ({said})" if lacking else said


def _tensor(tensor: GraphTensor) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)}
