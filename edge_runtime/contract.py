"""The contract: `metadata.json` inside a .tflite, everything an app must know to feed it and to read its answer.

Normative text: docs/contract.md. Published schema: docs/contract.schema.json (JSON Schema 2020-12), versions 2 to 6.
Version 4 says every step to the bit, names its thresholds and says what they decide; version 3 was 2 with a second
input, `metadata` (`patient.py`), which 4 may have; 5 is 4 with logits for an output; 6 is either of these with limits
beyond which a picture cannot be assessed (`assessment.py`) or sets of possible classes. Rules for readers:

- a reader reads its own format_version and every older one, which `upgraded` brings to the present form;
- a newer format_version is refused: it may ask for what this reader does not do;
- within a version fields may be added, and a field that a reader does not know is information and is ignored;
- except in `preprocessing` and `metadata`: what the reader does not do exactly so is refused.

The seal holds network, labels and contract together. It is the SHA-256 of the network's bytes (all before the zip
archive), then those of labels.txt, then those of metadata.json with the seal's own 64 digits written as zeros.
labels.txt holds the labels' codes in their order, one a line.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from . import assessment
from .errors import ModelFileError
from .labels import Label
from .preprocess import EARLIER, MAX_PIXELS, InputSpec

if TYPE_CHECKING:
    from .patient import Encoding

FORMAT = "skin-edge-model"
FORMAT_VERSION = 6
"""The newest that is read. Written is 4; 5 for a network that leaves the softmax to the port (`LOGITS`); 6 for either
with `assessment` or `possible`, which a reader of 4 and 5 would answer in spite of."""

PROBABILITIES, LOGITS = "probabilities", "logits"
"""Names of the first output."""

ACTIVATION_MAP = "class_activation_map"

DECISIONS = {
    "score": "sum of the probabilities of a threshold's classes, in the order of labels, float64",
    "refer": "score >= threshold",
    "below": "score < threshold",
    "borderline": "|score - threshold| < borderline_within",
    "ties": "the first label",
}
"""What `thresholds` mean. The same in every file; a reader that finds something else must refuse it."""

LIMITS = {"max_pixels": MAX_PIXELS}

GOLDEN: dict[str, Any] = {"engine": "LiteRT with XNNPACK, one thread", "within": 1e-6, "other_kernels_within": 0.04}
"""What golden probabilities are made with, and how near another implementation has to come to them. Kernels that round
otherwise move an int8 logit by a step: a probability by up to 0.034 with the packaged model."""

UNCHANGED, QUANTIZED, NORMALIZED = INPUT_BYTES = ("unchanged", "quantized", "normalized")
"""What becomes of a picture's bytes: they are the tensor; they are quantized after the normalization; that alone."""

CONTRACT_FILE = "metadata.json"
LABELS_FILE = "labels.txt"

_DEEPEST = 32  # levels of objects and lists in one another; the contract has five
_LONGEST_LABEL = 1000  # characters

NO_SEAL = "0" * 64
_SEAL = re.compile("[0-9a-f]{64}")


def parse(raw: bytes) -> dict[str, Any]:
    """metadata.json's bytes -> the contract in the present form.

    Raises ModelFileError where it is not a contract of a version that this reader knows.
    """
    try:
        parsed: Any = json.loads(raw.decode(), parse_constant=_no_constant, parse_int=_integer)
        _check_values(parsed)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its {CONTRACT_FILE} is not usable JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ModelFileError(f"its {CONTRACT_FILE} is not a JSON object")
    contract: dict[str, Any] = parsed  # pyright: ignore[reportUnknownVariableType]
    version = contract.get("format_version")
    if contract.get("format") != FORMAT or type(version) is not int or not 1 <= version <= FORMAT_VERSION:
        raise ModelFileError(
            f"its {CONTRACT_FILE} is of format {contract.get('format')!r} version {version!r}; this version of "
            f"skin-edge reads {FORMAT!r} up to version {FORMAT_VERSION}: update skin-edge, or convert the model again"
        )
    return upgraded(contract)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _integer(digits: str) -> int:
    if len(digits) > 20:  # no field has as many, and a million of them take minutes to convert
        raise ValueError("a number has too many digits")
    return int(digits)


def _check_values(value: Any, depth: int = 0) -> None:
    """Raises ValueError for what JSON can say and no program can print or compute with."""
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # raises it for half of a surrogate pair
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number is too large")
    elif isinstance(value, (dict, list)):
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        if isinstance(value, dict):
            _check_values(list(value), depth)  # pyright: ignore[reportUnknownArgumentType]
        items: Any = value.values() if isinstance(value, dict) else value  # pyright: ignore[reportUnknownVariableType]
        for item in items:
            _check_values(item, depth + 1)


def upgraded(contract: Mapping[str, Any]) -> dict[str, Any]:
    """Version 1 in the form of 2; 2 to 6 as they are.

    1 -> 2: `input` said the preprocessing in words and could mean one thing only, `output` was a single one, and a
    CRC-32 of the network stood for the seal.
    """
    if contract["format_version"] > 1:
        return dict(contract)
    fields: Any = contract.get("input")
    if not isinstance(fields, dict):
        raise ModelFileError(f"its {CONTRACT_FILE} does not describe the input")
    try:
        height, width = int(fields["height"]), int(fields["width"])  # pyright: ignore[reportUnknownArgumentType]
        mean, std = (tuple(map(float, fields[name])) for name in ("mean", "std"))  # pyright: ignore[reportUnknownArgumentType]
        spec = InputSpec(height, width, mean, std, EARLIER)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"its description of the input is not usable: {error!r}") from None
    newer = {name: value for name, value in contract.items() if name not in ("output", "calibration", "thresholds")}
    return newer | {"preprocessing": spec.to_steps(), "outputs": [contract.get("output", {})]}


def encoding_of(contract: Mapping[str, Any]) -> Encoding | None:
    """How the network wants its metadata; None where it takes a picture alone.

    Raises ModelFileError where the file does not describe it.
    """
    version = contract["format_version"]
    if version < 3 or (version > 3 and "metadata" not in contract):
        return None
    from . import patient  # most models do without

    described = _object(contract, "metadata")
    _require(isinstance(described.get("dtype"), str) and isinstance(described.get("shape"), list), "metadata")
    return patient.from_list(described.get("fields"))


def spec_of(contract: Mapping[str, Any]) -> InputSpec:
    """How the network wants its picture. Raises ModelFileError where the steps are not those of the version."""
    spec = InputSpec.from_steps(contract.get("preprocessing"))
    if (spec.decoding == EARLIER) != (contract["format_version"] < 4):
        raise ModelFileError("its preprocessing is not that of its format_version")
    return spec


def scores_of(contract: Mapping[str, Any]) -> str:
    """What the first output holds: PROBABILITIES or LOGITS."""
    outputs: Sequence[Mapping[str, Any]] = contract.get("outputs") or [{}]
    return LOGITS if outputs[0].get("name") == LOGITS else PROBABILITIES


def threshold_name(row: Mapping[str, Any]) -> str:
    """ "mel-0.95": a threshold's target and the sensitivity that it was chosen for."""
    return str(row.get("name") or f"{row['target']}-{row['chosen_for_sensitivity']:.2f}")


def additions(contract: Mapping[str, Any], borderline: Sequence[float], input_bytes: str) -> dict[str, Any]:
    """The contract in version 4, 5 with logits for an output, 6 with an assessment or sets of possible classes: what is
    the same in every file of it, and names for its thresholds.

    Args:
        contract: With `preprocessing` in the form of 4.
        borderline: Of each threshold, how near to it a score is borderline.
        input_bytes: Of INPUT_BYTES.
    """
    thresholds: list[Mapping[str, Any]] = contract["thresholds"]
    return {
        **contract,
        "format_version": 6
        if {"assessment", "possible"} & contract.keys()
        else 5
        if scores_of(contract) == LOGITS
        else 4,
        "input": {**contract["input"], "bytes": input_bytes},
        "thresholds": [
            {"name": threshold_name(row), **row, "borderline_within": within}
            for row, within in zip(thresholds, borderline, strict=True)
        ],
        "decisions": DECISIONS,
        "limits": LIMITS,
        "golden": GOLDEN,
    }


def labels_of(contract: Mapping[str, Any]) -> tuple[Label, ...]:
    """The classes in the order of the output. Raises ModelFileError where they are not usable."""
    try:
        entries: list[dict[str, Any]] = contract["labels"]
        labels = tuple(Label(entry["code"], entry["name"], entry.get("malignant")) for entry in entries)
    except (KeyError, TypeError, AttributeError):
        raise ModelFileError(f"its {CONTRACT_FILE} does not list the labels") from None
    if not all(
        isinstance(text, str)  # pyright: ignore[reportUnnecessaryIsInstance] (a stranger's JSON)
        and len(text) <= _LONGEST_LABEL
        and label.code
        for label in labels
        for text in label[:2]
    ):
        raise ModelFileError(f"its {CONTRACT_FILE} has labels that are not text of at most {_LONGEST_LABEL} characters")
    if len({label.code for label in labels}) != len(labels) or not labels:
        raise ModelFileError(f"its {CONTRACT_FILE} lists no labels, or one twice")
    if not all(label.code.isprintable() and label.name.isprintable() for label in labels):
        raise ModelFileError(f"its {CONTRACT_FILE} has labels with control characters")
    return labels


def check(contract: Mapping[str, Any]) -> None:
    """Raises ModelFileError where a field that this package reads is not of the form that the schema gives it.

    A sealed contract may still have been written by another program.
    """
    codes = {label.code for label in labels_of(contract)}
    for label in _objects(contract, "labels"):
        _require(label.get("malignant") is None or isinstance(label.get("malignant"), bool), "labels")
    outputs = _objects(contract, "outputs")
    _check_outputs(outputs, contract["format_version"])
    if contract["format_version"] >= 6:
        _check_assessment(contract, len(codes))
    for row in _objects(contract, "thresholds"):
        classes: Any = row.get("classes")
        _require(isinstance(classes, list) and bool(classes) and codes.issuperset(map(str, classes)), "thresholds")  # pyright: ignore[reportUnknownArgumentType]
        for name in ("chosen_for_sensitivity", "threshold", "sensitivity", "specificity", "n_positive"):
            _require(_is_number(row.get(name)), "thresholds")
        _require(isinstance(row.get("target"), str), "thresholds")
    if contract["format_version"] >= 4:
        _check_decisions(contract)
    if "front" in contract:
        _check_front(contract)
    calibration = _object(contract, "calibration")
    if calibration:
        shift: Any = calibration.get("logit_shift")
        temperature = calibration.get("temperature")
        _require(_is_number(temperature) and float(temperature or 0) > 0, "calibration")
        _require(isinstance(shift, list), "calibration")
        numbers: list[Any] = shift
        _require(len(numbers) == len(codes) and all(map(_is_number, numbers)), "calibration")
        _require(_is_number(calibration.get("logit_shift_tau", 0)), "calibration")
    _object(contract, "quantization")
    provenance = _object(contract, "provenance")
    for name in ("data", "versions"):
        _object(provenance, name)


def _check_outputs(outputs: Sequence[Mapping[str, Any]], version: int) -> None:
    """The first has the answer; of the others each name may be there once."""
    names = [output.get("name") for output in outputs]
    _require(bool(names) and len(set(names)) == len(names), "outputs")
    if version < 6:
        _require(len(names) <= 2 and (names[0] == LOGITS) == (version == 5), "outputs")
    else:
        _require(names[0] in (PROBABILITIES, LOGITS), "outputs")
        _require({ACTIVATION_MAP, assessment.OUTLIER_SCORE}.issuperset(names[1:]), "outputs")


def _check_assessment(contract: Mapping[str, Any], classes: int) -> None:
    """What version 6 has beside the earlier ones."""
    names = [output["name"] for output in contract["outputs"]]
    needs_score = any(check.feature == assessment.OUTLIER_SCORE for check in assessment.checks_of(contract))
    _require(not needs_score or assessment.OUTLIER_SCORE in names, "assessment")
    if "possible" in contract:
        possible = _object(contract, "possible")
        listed: Any = possible.get("thresholds")
        _require(_is_number(possible.get("coverage")) and isinstance(listed, list), "possible")
        limits: list[Any] = listed  # pyright: ignore[reportUnknownVariableType]
        _require(len(limits) == classes and all(map(_is_number, limits)), "possible")


def possible_thresholds(contract: Mapping[str, Any]) -> tuple[float, ...] | None:
    """Of each label, the probability from which it belongs to the set of possible classes; None without such sets."""
    if contract.get("format_version", 0) < 6 or "possible" not in contract:
        return None
    return tuple(map(float, contract["possible"]["thresholds"]))


def _check_front(contract: Mapping[str, Any]) -> None:
    front = _object(contract, "front")
    for name in ("input", "network"):
        size: Any = front.get(name)
        _require(isinstance(size, list) and list(map(type, size)) == [int, int], "front")  # pyright: ignore[reportUnknownArgumentType]
    _require(isinstance(front.get("for"), str), "front")


def _check_decisions(contract: Mapping[str, Any]) -> None:
    """What version 4 has beside the earlier ones."""
    _require(all(_object(contract, "decisions").get(name) == said for name, said in DECISIONS.items()), "decisions")
    _require(_is_number(_object(contract, "limits").get("max_pixels")), "limits")
    _require(_object(contract, "input").get("bytes") in INPUT_BYTES, "input")
    names = [row.get("name") for row in _objects(contract, "thresholds")]
    _require(all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names), "thresholds")
    for row in _objects(contract, "thresholds"):
        within = row.get("borderline_within")
        _require(_is_number(within) and float(within or 0) >= 0, "thresholds")


def _objects(contract: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found: Any = contract.get(name, [])
    _require(isinstance(found, list), name)
    entries: list[Any] = found
    _require(all(isinstance(entry, dict) for entry in entries), name)
    return entries


def _object(contract: Mapping[str, Any], name: str) -> dict[str, Any]:
    found: Any = contract.get(name, {})
    _require(isinstance(found, dict), name)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -1e300 < value < 1e300


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise ModelFileError(f"its {CONTRACT_FILE} has a malformed '{name}'")


def labels_text(labels: tuple[Label, ...]) -> str:
    """labels.txt: one code per line, in the order of the output."""
    return "".join(f"{label.code}\n" for label in labels)


def sealed(contract: Mapping[str, Any], network: bytes, labels: str) -> str:
    """The contract as the text of metadata.json, sealed with the network and labels.txt."""
    fields = {name: value for name, value in contract.items() if name != "seal"} | {"seal": NO_SEAL}
    text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
    digest = _digest(network, labels.encode(), text.encode())
    head, _, tail = text.rpartition(NO_SEAL)  # the last field
    return head + digest + tail


def _digest(network: bytes | memoryview[int], labels: bytes, blank_contract: bytes) -> str:
    import hashlib  # loads OpenSSL: not for `--help`

    digest = hashlib.sha256(network)
    digest.update(labels)
    digest.update(blank_contract)
    return digest.hexdigest()


def check_seal(contract: Mapping[str, Any], network: memoryview[int], labels: bytes, raw: bytes) -> None:
    """Raises ModelFileError where network, labels or contract are not those that were sealed together.

    A flipped byte in the weights would run and answer wrongly: nothing else would notice.

    Args:
        contract: The parsed contract.
        network: The bytes of the flatbuffer.
        labels: The bytes of labels.txt.
        raw: The bytes of the contract.
    """
    if contract["format_version"] == 1:
        if zlib.crc32(network) != contract.get("network_crc32", zlib.crc32(network)):
            raise ModelFileError("its network is not the one that its contract describes (CRC-32): copy it again")
        return
    seal = contract.get("seal")
    if (
        not isinstance(seal, str)
        or not _SEAL.fullmatch(seal)
        or _digest(network, labels, raw.replace(seal.encode(), NO_SEAL.encode())) != seal
    ):
        raise ModelFileError(
            "its weights, labels or contract do not match its seal (SHA-256), so its answers cannot "
            "be trusted: copy it again, or convert again"
        )
