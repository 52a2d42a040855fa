"""golden.jsonl: what every stage of docs/contract.md gives for a picture, made with the device's own runtime."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime import preprocess
from ...edge_runtime.classifier import Prediction, SkinClassifier
from ...edge_runtime.errors import DataError, ImageError


def record(classifier: SkinClassifier, name: str, content: bytes) -> tuple[dict[str, Any], npt.NDArray[np.uint8]]:
    """(a line of golden.jsonl, the input's bytes as uint8 [height, width, 3]).

    Args:
        classifier: Of a file of contract format 4 or newer, with XNNPACK and one thread.
        name: Of the picture within golden/.
        content: Of its file.

    Raises:
        ImageError: Where it cannot be decoded.
    """
    spec = classifier.input_spec
    upright = preprocess.decode(content, spec)
    pixels = preprocess.resize(upright, spec)
    prediction = classifier.predict(content)
    outputs = classifier.outputs(classifier.to_tensor(pixels))
    described = classifier.contract["outputs"]
    return {
        "file": name,
        "sha256": digest(content),
        "upright": {"width": upright.width, "height": upright.height, "sha256": digest(upright.tobytes())},
        "input": {"file": input_name(name), "sha256": digest(pixels.tobytes())},
        "outputs": [
            {
                "name": output["name"],
                "dtype": str(values.dtype),
                "shape": list(values.shape),
                "base64": base64.b64encode(values.tobytes()).decode(),
            }
            for output, values in zip(described, outputs, strict=True)
        ],
        "label": prediction.label,
        "probabilities": [prediction.probabilities[label.code] for label in classifier.labels],
        "decisions": [asdict(decision) for decision in prediction.decisions],
        **_assessed(prediction),
    }, pixels


def _assessed(prediction: Prediction) -> dict[str, Any]:
    """What a file of format 6 says beside the others: docs/contract.md, section 12."""
    said: dict[str, Any] = {}
    if prediction.features:  # the file has limits
        said["features"] = dict(prediction.features)
        said["assessable"] = prediction.assessable
        said["reasons"] = [reason.reason for reason in prediction.reasons]
    if prediction.possible is not None:
        said["possible"] = list(prediction.possible)
    return said


def refusal(classifier: SkinClassifier, name: str, content: bytes) -> dict[str, Any]:
    """The line of a file that must be refused. Raises DataError where it is answered."""
    try:
        classifier.predict(content)
    except ImageError:
        return {"file": name, "sha256": digest(content), "error": "cannot assess"}
    raise DataError(f"{name} should be refused and was answered: this installation decodes damaged files")


def input_name(name: str) -> str:
    """pictures/exif-6.jpg -> inputs/exif-6.jpg.rgb."""
    return f"inputs/{name.removeprefix('pictures/').replace('/', '-')}.rgb"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def all_records(
    classifier: SkinClassifier, good: Mapping[str, bytes], broken: Mapping[str, bytes]
) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """(the lines of golden.jsonl, name -> bytes of golden/inputs/).

    Args:
        good, broken: Name within golden/ -> content.
    """
    lines: list[dict[str, Any]] = []
    inputs: dict[str, bytes] = {}
    for name, content in good.items():
        line, pixels = record(classifier, name, content)
        lines.append(line)
        inputs[line["input"]["file"]] = pixels.tobytes()
    lines += [refusal(classifier, name, content) for name, content in broken.items()]
    return lines, inputs
