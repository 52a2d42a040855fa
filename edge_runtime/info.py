"""Everything a .tflite says of itself, ours or another's: what `skin-edge info` prints."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from . import assessment, console, packaged, training_pictures
from .classifier import DISCLAIMER, METADATA_INPUT, SkinClassifier
from .contract import possible_thresholds, threshold_name
from .interpreter import Tensor
from .model_file import ModelFile, read_model_file, tflite_metadata

_SHOWN_LABELS = 12

# Out of the card of a packaged model: its line of use, and rows of its table of figures.
_FOR = re.compile(r"^- For: (.+)$", re.MULTILINE)
_CARD_FIGURES = ("balanced accuracy", "macro AUC")


def describe(classifier: SkinClassifier, file: ModelFile) -> dict[str, Any]:
    """JSON-ready. kind: "skin-edge" or "foreign". seal: "verified", or "none" for a file that others made;
    of format 1, which had none, what is in its place.

    input: how to feed it, tensor and steps. metadata: the second input, tensor and fields (`patient.py`), None where
    the network takes a picture alone. outputs: tensors. scores: what the first output holds (`ModelFile`).
    operators: [{operator, types, count}], in the order of first use. contract, tflite_metadata: None where absent.
    """
    network = file.network
    metadata = tflite_metadata(network)
    counted = Counter((operator.name, operator.types, operator.computes_in) for operator in network.operators)
    tensors = classifier.interpreter
    return {
        "file": str(file.path),
        "bytes": len(file.content),
        "sha256": hashlib.sha256(file.content).hexdigest(),
        "kind": "skin-edge" if file.contract else "foreign",
        "seal": _seal(file),
        "input": {**_tensor(_image(tensors.inputs)), "preprocessing": file.input_spec.to_steps()},
        "metadata": _metadata(tensors.inputs, file),
        "outputs": [_tensor(tensor) for tensor in tensors.outputs],
        "scores": file.scores,
        "labels": [label._asdict() for label in file.labels],
        "operators": [
            {"operator": name, "types": types, "computes_in": computes_in, "count": count}
            for (name, types, computes_in), count in counted.items()
        ],
        "min_runtime_version": network.min_runtime_version,
        "tflite_metadata": asdict(metadata) if metadata else None,
        "contract": dict(file.contract) or None,
    }


def read(path: str | os.PathLike[str], **input_options: Any) -> dict[str, Any]:
    """`describe` of a file.

    Args:
        input_options: Mean, std, labels as SkinClassifier takes them.

    Raises ModelFileError.
    """
    classifier = SkinClassifier(path, **input_options)
    labels = {"labels_file" if name == "labels" else name: value for name, value in input_options.items()}
    return describe(classifier, read_model_file(classifier.path, **labels))


def family() -> list[dict[str, Any]]:
    """The packaged models of this installation, by size, JSON-ready.

    name: the word for it. file, bytes. width, height: of the input, pixels. card: its model card. Out of the card, and
    empty where it is of another file: for (what it is for) and figures (name -> value with its interval, as written).
    """
    members: list[dict[str, Any]] = []
    for name in packaged.there():
        file, card = read_model_file(name), packaged.card_of(name)
        said = card.read_text(encoding="utf-8") if card.is_file() else ""
        if hashlib.sha256(file.content).hexdigest() not in said:
            said = ""
        use = _FOR.search(said)
        rows = {figure: re.search(rf"^\| {figure} \| ([^|]+) \|$", said, re.MULTILINE) for figure in _CARD_FIGURES}
        members.append(
            {
                "name": name,
                "file": str(file.path),
                "bytes": len(file.content),
                "width": file.input_spec.width,
                "height": file.input_spec.height,
                "card": str(card) if card.is_file() else None,
                "for": use[1] if use else "",
                "figures": {figure: row[1] for figure, row in rows.items() if row},
            }
        )
    return members


def family_text(members: Sequence[Mapping[str, Any]]) -> console.Page:
    """For people: a table of `family`, in 80 columns."""
    figures = "".join(f"{figure:25}" for figure in _CARD_FIGURES)
    lines = [f"{'name':9}{'pixels':9}{'MB':6}{figures}".rstrip()]
    for member in members:
        values = "".join(f"{member['figures'].get(figure, 'not known'):25}" for figure in _CARD_FIGURES)
        pixels = f"{member['width']}x{member['height']}"
        lines.append(f"{member['name']:9}{pixels:9}{member['bytes'] / 1e6:<6.2f}{values}".rstrip())
        lines += console.wrap(member["for"], first=" " * 9, rest=" " * 9) if member["for"] else []
    lines += [f"card: {member['card']}" for member in members] or ["none in this installation"]
    return console.page([*lines, DISCLAIMER])


def text(info: Mapping[str, Any]) -> console.Page:
    """For people: at most 80 columns but for long names."""
    contract: Mapping[str, Any] = info["contract"] or {}
    metadata: Mapping[str, Any] = info["tflite_metadata"] or {}
    name, seal = str(contract.get("name") or metadata.get("name") or "not given"), str(info["seal"])
    rows: list[tuple[str, str]] = [
        ("file", f"{info['file']} ({info['bytes'] / 1e6:.2f} MB)"),
        ("name", name),
        ("made by", "skin-edge convert" if info["kind"] == "skin-edge" else "others"),
        ("seal", "verified: weights, labels and contract are unchanged" if info["seal"] == "verified" else seal),
        ("sha-256", str(info["sha256"])),
    ]
    if contract:
        rows.append(("format", f"{contract['format']} {contract['format_version']}"))
    rows += [
        ("runtime", f"TFLite {info['min_runtime_version'] or 'of any version'} or newer"),
        ("input", _tensor_text(info["input"])),
    ]
    rows += [("", f"{i}. {_step_text(step)}") for i, step in enumerate(info["input"]["preprocessing"], 1)]
    front = contract.get("front")
    if front:
        (height, width), own = front["input"], front["network"]
        said = f"{height}x{width} inside: for {front['for']}; reduces to {own[0]}x{own[1]}, antialiased"
        rows.append(("front end", said))
    if info["metadata"]:
        rows.append(("metadata", f"{_tensor_text(info['metadata'])}; fields that are not given count as unknown"))
        rows += [("", _field_text(field)) for field in info["metadata"]["fields"]]
    rows += [("output" if i == 0 else "", _tensor_text(output)) for i, output in enumerate(info["outputs"])]
    rows.append(("values", _SCORES[info["scores"]]))
    rows += _label_rows(info["labels"])
    rows += [
        ("operators" if i == 0 else "", f"{row['count']:3} {row['operator']}: {row['types']}")
        for i, row in enumerate(info["operators"])
    ]
    floating = sorted({row["operator"] for row in info["operators"] if row["computes_in"] == "float"})
    rows.append(("in float", ", ".join(floating) or "none"))
    rows += _contract_rows(contract)
    if not contract and metadata:
        rows += [(key, str(metadata[key])) for key in ("description", "version", "author", "license") if metadata[key]]
    if not contract:
        rows.append(("unknown", "data, split, calibration and intended use: not stated in the file"))
    return console.page([*(line for name, value in rows for line in _wrapped(name, value)), DISCLAIMER])


_SCORES = {
    "probabilities": "probabilities, used as they are",
    "logits": "logits; the runtime applies a softmax",
    "probability": "one probability, of the second of two classes",
    "logit": "one logit, of the second of two classes; the runtime applies a sigmoid",
}


def _seal(file: ModelFile) -> str:
    if not file.contract:
        return "none"
    if file.contract["format_version"] == 1:
        has_checksum = "network_crc32" in file.contract
        return f"{'CRC-32 of the network only' if has_checksum else 'none'} (format 1)"
    return "verified"  # a file that does not hold it is not read


def _image(inputs: Sequence[Tensor]) -> Tensor:
    return next(tensor for tensor in inputs if len(inputs) == 1 or tensor.name != METADATA_INPUT)


def _metadata(inputs: Sequence[Tensor], file: ModelFile) -> dict[str, Any] | None:
    if file.encoding is None:
        return None
    vector = next(tensor for tensor in inputs if tensor.name == METADATA_INPUT)
    return {**_tensor(vector), "fields": file.encoding.to_list()}


def _field_text(field: Mapping[str, Any]) -> str:
    if field["kind"] == "category":
        return f"{field['name']}: {', '.join(field['categories'])}"
    return (
        f"{field['name']}: a number, to {field['maximum']:g} {field['unit']} (in training {field['mean']:.1f}, "
        f"standard deviation {field['std']:.1f})"
    )


def _tensor(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, **tensor.to_dict()}


def _tensor_text(tensor: Mapping[str, Any]) -> str:
    scale = f", scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}" if "scale" in tensor else ""
    return f"{tensor['name']}: {tensor['dtype']} {tensor['shape']}{scale}"


def _step_text(step: Mapping[str, Any]) -> str:
    said = ", ".join(f"{key} {_plain(value)}" for key, value in step.items() if key != "step")
    return f"{step['step']}: {said}"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        numbers: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return f"{numbers[0]:g}" if len(set(numbers)) == 1 else " ".join(f"{number:g}" for number in numbers)
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _label_rows(labels: list[dict[str, Any]]) -> list[tuple[str, str]]:
    shown = labels if len(labels) <= _SHOWN_LABELS else labels[:_SHOWN_LABELS]
    rows = [("labels" if i == 0 else "", _label_text(i, label)) for i, label in enumerate(shown)]
    if len(labels) > len(shown):
        rows.append(("", f"... {len(labels)} in all; --json lists them"))
    return rows


def _label_text(position: int, label: Mapping[str, Any]) -> str:
    kind = {True: " (malignant)", False: ""}.get(label["malignant"], "")
    name = "" if label["name"] == label["code"] else f": {label['name']}"
    return f"{position} {label['code']}{name}{kind}"


def _contract_rows(contract: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for i, row in enumerate(contract.get("thresholds", [])):
        rows.append(
            (
                "thresholds" if i == 0 else "",
                f"{threshold_name(row)}: {row['target']} >= {row['threshold']:.4g}, sensitivity "
                f"{row['sensitivity']:.3f} (chosen for "
                f"{row['chosen_for_sensitivity']:.2f}), specificity {row['specificity']:.3f}, of {row['n_positive']}",
            )
        )
    if contract.get("thresholds"):
        rows.append(("", f"on {contract['thresholds'][0]['on']}; not guaranteed on other data"))
    rows += _assessment_rows(contract)
    calibration = contract.get("calibration")
    if calibration:
        shift = f", logit shift {calibration['logit_shift_tau']:g}" if calibration.get("logit_shift_tau") else ""
        rows.append(("calibration", f"temperature {calibration['temperature']:g}{shift}: {calibration['applied']}"))
    quantization = contract.get("quantization")
    if quantization:
        words = (f"{key.replace('_', ' ')}: {_said(value)}" for key, value in quantization.items() if value != [])
        rows.append(("quantized", "; ".join(words)))
    provenance: Mapping[str, Any] = contract.get("provenance") or {}
    if provenance.get("data"):
        data: Mapping[str, Any] = provenance["data"]
        rows.append(
            (
                "data",
                f"{data.get('layout')}, {data.get('images')} images, split by {provenance.get('split')}, "
                f"seed {provenance.get('seed')}, SHA-256 {str(data.get('fingerprint_sha256'))[:12]}...",
            )
        )
    if contract:
        rows.append(("trained on", _training_pictures(contract)))
    if provenance.get("versions"):
        rows.append(("versions", ", ".join(f"{name} {version}" for name, version in provenance["versions"].items())))
    rows += [(key.replace("_", " "), str(contract[key])) for key in ("intended_use", "license") if contract.get(key)]
    return rows


def _assessment_rows(contract: Mapping[str, Any]) -> list[tuple[str, str]]:
    """When a picture cannot be assessed, and from which probability a class is possible."""
    rows: list[tuple[str, str]] = []
    for i, check in enumerate(assessment.checks_of(contract)):
        reason, bounds = check.reason, (("below", check.below), ("above", check.above))
        limits = " or ".join(f"{check.feature} {word} {limit:.6g}" for word, limit in bounds if limit is not None)
        remedy = f" ({reason.remedy})" if reason.remedy else ""
        rows.append(("not assessed" if i == 0 else "", f"{reason.reason}: {limits}: {reason.text}{remedy}"))
    thresholds = possible_thresholds(contract)
    if thresholds:
        codes = [label["code"] for label in contract["labels"]]
        listed = ", ".join(
            f"{code} {limit:.3g}" for code, limit in list(zip(codes, thresholds, strict=True))[:_SHOWN_LABELS]
        )
        more = f", ... {len(codes)} in all; --json lists them" if len(codes) > _SHOWN_LABELS else ""
        coverage = contract["possible"]["coverage"]
        rows.append(("possible", f"a class from this probability on: {listed}{more}"))
        rows.append(
            ("", f"found so that {coverage:.0%} of each class have it in the set; not guaranteed on other data")
        )
    return rows


def _training_pictures(contract: Mapping[str, Any]) -> str:
    hashes, ids = training_pictures.hashes_of(contract), training_pictures.ids_of(contract)
    if hashes is None:
        return "not known (the file has no hashes of its training images)"
    said = f"training pictures: {len(hashes['train']):,} hashes, and {len(hashes['val']):,} of validation"
    return said + (f"; of public ids {len(ids['train']):,} and {len(ids['val']):,}" if ids else "")


def _said(value: Any) -> str:
    if isinstance(value, list):
        items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return ", ".join(map(str, items))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _wrapped(name: str, value: str) -> list[str]:
    return console.wrap(value, first=f"{name:13}", rest=" " * 15, whole=True)
