"""What the converted file says of itself: the contract (`edge_runtime/contract.py`) and standard TFLite metadata."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...edge_runtime import __version__
from ...edge_runtime.assessment import OUTLIER_SCORE
from ...edge_runtime.classifier import DISCLAIMER, METADATA_INPUT
from ...edge_runtime.contract import (
    CONTRACT_FILE,
    FORMAT,
    LABELS_FILE,
    NORMALIZED,
    QUANTIZED,
    UNCHANGED,
    additions,
    labels_text,
    sealed,
)
from ...edge_runtime.interpreter import Interpreter, Tensor
from ...edge_runtime.labels import Label
from ...edge_runtime.model_file import with_archive
from ...edge_runtime.network import Network
from ...edge_runtime.preprocess import InputSpec
from ...edge_runtime.quantization import byte_table
from ...train.data import further
from ...train.data.synthetic import SYNTHETIC
from ...train.recipes.recipe import METADATA_ONLY
from ...train.runs.run_folder import Run
from .tflite_metadata import TensorText, attach

# Data whose terms the weights inherit, recognised by their image ids, for others may use the same layout.
_HAM10000_IDS = range(24306, 34321)  # ISIC_0024306 to ISIC_0034320
_HAM10000_LICENSE = "CC BY-NC 4.0: trained on HAM10000 (Tschandl et al. 2018, doi:10.7910/DVN/DBW86T)"

_SAID_OF_DATA = ("layout", "images", "fingerprint_sha256")  # and not where it is on the machine that trained

_INTENDED_USE = (
    "Sorts {pictures} into the labels, in research and in the development of products. Not for diagnosis, not for "
    "photographs without a lesion"
)
ANSWERS_ANY = ": it answers those too, and confidently."
REFUSES = ": it refuses most of those, not all."

# How a layout's name begins -> what its pictures are. Of others, an isic-cli export among them, only the user knows.
_PICTURES = {
    "ham10000": "dermatoscopic photographs of single skin lesions",
    "isic2018": "dermatoscopic photographs of single skin lesions",
    "isic2019": "dermatoscopic photographs of single skin lesions",
    "isic2020": "dermatoscopic photographs of single skin lesions",
    "isic2024": "tiles of 3D total-body photographs, one skin lesion in each,",
    "pad-ufes-20": "clinical photographs of single skin lesions, taken with smartphones,",
}
_NOT_STATED = "photographs of skin lesions, of which kind (dermatoscopic, clinical) is not stated,"
_DRAWN = "drawn pictures, which are not photographs of skin,"

_METADATA_ALONE = (
    "Sorts patients into the labels by the metadata alone, in research into what a picture adds to them: one must be "
    "given, but it has no influence on the answer. Not for diagnosis."
)

_METADATA_TEXT = (
    f"What is known of the patient and the lesion, encoded as {CONTRACT_FILE} says; a field that is not known is zeros."
)

OUTPUTS = {
    "probabilities": "One probability per label, in the order of the labels, summing to 1.",
    "logits": "One logit per label, in the order of the labels: the softmax of contract.md, section 7, is the port's.",
    "class_activation_map": (
        "What each position of the picture adds to the logit of each label, [1, rows, columns, labels]; the mean over "
        "the positions is the logit. The positions cover the whole picture in equal parts."
    ),
    OUTLIER_SCORE: f"How unlike the pictures that the model was made for: {CONTRACT_FILE} has its limit.",
}


def packed(
    network: bytes, labels: tuple[Label, ...], spec: InputSpec, contract: Mapping[str, Any], author: str | None
) -> tuple[bytes, str]:
    """(the file with TFLite metadata, labels.txt and the sealed contract inside, the contract's text).

    Args:
        network: A .tflite without an archive, its outputs named as in the signature.
        labels: The classes, in the order of the output.
        spec: How its pictures are prepared.
        contract: `describe`'s of it.
        author: None takes skin-edge.
    """
    with_metadata = attach(
        network,
        name=contract["name"],
        description=contract["notice"],
        version=__version__,
        author=author or f"skin-edge {__version__}",
        license=contract["license"],
        input_description="RGB picture of one lesion: the whole picture, upright, stretched to this size (bilinear, "
        f"antialiased). Every step is in {CONTRACT_FILE}.",
        mean=spec.mean,
        std=spec.std,
        outputs=[TensorText(output["name"], output["values"]) for output in contract["outputs"]],
        labels_file=LABELS_FILE,
        others=[TensorText(METADATA_INPUT, _METADATA_TEXT)] if "metadata" in contract else [],
        other_files={CONTRACT_FILE: "The contract: preprocessing, labels, thresholds, provenance, seal (JSON)."},
    )
    codes = labels_text(labels)
    text = sealed(contract, with_metadata, codes)
    return with_archive(with_metadata, {LABELS_FILE: codes, CONTRACT_FILE: text}), text


def describe(
    network: bytes,
    run: Run,
    *,
    precision: str,
    quantization: Mapping[str, Any],
    calibration: Mapping[str, Any],
    thresholds: Sequence[Mapping[str, Any]],
    borderline: Sequence[float],
    spec: InputSpec,
    license: str | None,
    intended_use: str | None = None,
    training_pictures: Mapping[str, Any] | None = None,
    front: Mapping[str, Any] | None = None,
    assessment: Mapping[str, Any] | None = None,
    possible: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The contract of a network, not sealed yet. JSON-ready.

    Args:
        network: The .tflite.
        run: The run that it was converted from.
        precision: "int8", "mixed", "w8a16", "float16", "w8a32" or "float32".
        quantization: How it was made.
        calibration, thresholds: `confidence`'s.
        borderline: `borderline`'s, one per threshold.
        spec: How the network's pictures are prepared.
        license: None takes what the data's terms ask.
        intended_use: None takes what the run was told, else what is known of its data.
        training_pictures: `training_pictures.described`'s of the run.
        front: `front.described`'s of a network with a front end.
        assessment: `assessing.described`'s; None for a file that answers any picture.
        possible: `limits.possible`'s; None for a file without such sets.
    """
    interpreter, encoding = Interpreter(network), run.encoding
    parsed = Network(network)
    image_ids = further.image_ids(run.split).tolist()
    synthetic = all(image_id.startswith(SYNTHETIC) for image_id in image_ids)
    ham10000 = [
        image_id.startswith("ISIC_") and image_id[5:].isdigit() and int(image_id[5:]) in _HAM10000_IDS
        for image_id in image_ids
    ]
    inputs = {tensor.name: tensor.to_dict() for tensor in interpreter.inputs}
    described = {
        "format": FORMAT,
        "format_version": 0,  # `additions` says which
        "name": named(
            f"{run.recipe.name}, {precision}" + (", trained on synthetic images" if synthetic else ""), front
        ),
        "precision": precision,
        "intended_use": intended_use
        or run.config.settings["intended_use"]
        or _intended_use(run, synthetic=synthetic, ham10000=all(ham10000), refuses=bool(assessment)),
        "notice": ("Trained on synthetic images: says nothing about real skin. " if synthetic else "") + DISCLAIMER,
        "license": license or (_HAM10000_LICENSE if any(ham10000) else "that of the data it was trained on"),
        "preprocessing": spec.to_steps(),
        **({"front": dict(front)} if front else {}),
        "input": inputs["image"],
        **({"metadata": {**inputs[METADATA_INPUT], "fields": encoding.to_list()}} if encoding else {}),
        "outputs": [
            {"name": tensor.name, "values": OUTPUTS[tensor.name], **output.to_dict()}
            for tensor, output in zip(parsed.outputs, interpreter.outputs, strict=True)
        ],
        "labels": [label._asdict() for label in run.labels],
        "thresholds": [dict(row) for row in thresholds],
        **({"assessment": dict(assessment)} if assessment else {}),
        **({"possible": dict(possible)} if possible else {}),
        "calibration": {**calibration, "applied": "in the network's last layer; do not apply it again"},
        "quantization": dict(quantization),
        "min_runtime_version": parsed.min_runtime_version,
        "provenance": {
            "recipe": run.recipe.name,
            "seed": run.seed,
            "split": run.config.split,
            "data": {key: value for key, value in run.config.data.items() if key in _SAID_OF_DATA},
            "versions": _versions(),
            **({"training_pictures": dict(training_pictures)} if training_pictures else {}),
        },
    }
    return additions(described, borderline, input_bytes(_image(interpreter), spec))


def named(name: str, front: Mapping[str, Any] | None) -> str:
    """The name of a model, with its front end where it has one."""
    return f"{name}, front end {front['input'][0]}x{front['input'][1]}" if front else name


def _intended_use(run: Run, *, synthetic: bool, ham10000: bool, refuses: bool) -> str:
    """What the run's data was, as far as its layout says it; "not stated" of a user's own."""
    if run.recipe.backbone == METADATA_ONLY:
        return _METADATA_ALONE
    layout = "ham10000" if ham10000 else run.config.layout
    known = next((pictures for name, pictures in _PICTURES.items() if layout.startswith(name)), _NOT_STATED)
    return _INTENDED_USE.format(pictures=_DRAWN if synthetic else known) + (REFUSES if refuses else ANSWERS_ANY)


def input_bytes(tensor: Tensor, spec: InputSpec) -> str:
    """Of contract.INPUT_BYTES: what becomes of a picture's bytes on their way into the tensor."""
    if not tensor.quantization.is_quantized:
        return NORMALIZED
    table = byte_table(spec.real_table, tensor.quantization, tensor.dtype)
    same = table.dtype == np.uint8 and (table == np.arange(256)[:, None]).all()
    return UNCHANGED if same else QUANTIZED


def _image(interpreter: Interpreter) -> Tensor:
    return next(tensor for tensor in interpreter.inputs if tensor.name != METADATA_INPUT)


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
