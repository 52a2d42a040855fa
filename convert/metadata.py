"""metadata.json: what the converted file says of itself. It lies beside the .tflite and inside it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..edge_runtime.classifier import DISCLAIMER
from ..edge_runtime.interpreter import Interpreter, Tensor
from ..edge_runtime.model_file import FORMAT, FORMAT_VERSION, with_archive
from ..train.run_folder import Run
from ..train.synthetic import SYNTHETIC

# Data whose terms the weights inherit, recognised by their image ids, for others may use the same layout.
_HAM10000_IDS = range(24306, 34321)  # ISIC_0024306 to ISIC_0034320
_HAM10000_LICENSE = "CC BY-NC 4.0: trained on HAM10000 (Tschandl et al. 2018, doi:10.7910/DVN/DBW86T)"


def describe(network: bytes, run: Run, *, precision: str, quantization: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a network without an archive.

    precision: "int8" or "float32". quantization: how it was quantized, JSON-ready.
    """
    interpreter = Interpreter(network)
    image_ids = [str(image_id) for image_id in run.split["image_id"]]
    synthetic = all(image_id.startswith(SYNTHETIC) for image_id in image_ids)
    ham10000 = all(
        image_id.startswith("ISIC_") and image_id[5:].isdigit() and int(image_id[5:]) in _HAM10000_IDS
        for image_id in image_ids
    )
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "name": f"{run.recipe.name}, {precision}" + (", trained on synthetic images" if synthetic else ""),
        "precision": precision,
        "input": {**run.input_spec.to_dict(), **_tensor(interpreter.inputs[0])},
        "output": {"values": "one probability per label, in the order of labels", **_tensor(interpreter.outputs[0])},
        "labels": [label._asdict() for label in run.labels],
        "quantization": dict(quantization),
        "provenance": {
            "recipe": run.recipe.name,
            "seed": run.seed,
            "split": run.config["split"],
            "data": {key: value for key, value in run.config["data"].items() if key != "folder"},
            "versions": _versions(),
        },
        "license": _HAM10000_LICENSE if ham10000 else "that of the data it was trained on",
        "notice": ("Trained on synthetic images: says nothing about real skin. " if synthetic else "") + DISCLAIMER,
        "network_crc32": zlib.crc32(network),
        "network_sha256": hashlib.sha256(network).hexdigest(),
    }


def packed(network: bytes, metadata: Mapping[str, Any]) -> bytes:
    """The network with labels.txt and metadata.json inside."""
    return with_archive(network, {"labels.txt": labels_text(metadata["labels"]), "metadata.json": as_json(metadata)})


def labels_text(labels: Sequence[Mapping[str, Any]]) -> str:
    return "".join(f"{label['code']}\n" for label in labels)


def as_json(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"


def _tensor(tensor: Tensor) -> dict[str, Any]:
    fields: dict[str, Any] = {"shape": list(tensor.shape), "dtype": np.dtype(tensor.dtype).name}
    if tensor.quantization.is_quantized:
        fields |= {"scale": tensor.quantization.scale, "zero_point": tensor.quantization.zero_point}
    return fields


def _versions() -> dict[str, str]:
    names = (
        "skin-edge",
        "tensorflow",
        "tf-keras",
        "tensorflow-model-optimization",
        "ai-edge-litert",
        "numpy",
        "pillow",
    )
    return {name: importlib.metadata.version(name) for name in names}
