"""The contract: `metadata.json` inside a .tflite, everything an app must know to feed it and to read its answer.

Published schema: docs/contract.schema.json (JSON Schema 2020-12), format_version 2. Rules for readers:

- a reader reads its own format_version and every older one, which `upgraded` brings to the present form;
- a newer format_version is refused: it may ask for what this reader does not do;
- within a version fields may be added, and a field that a reader does not know is information and is ignored;
- except in `preprocessing`: a step that the reader does not do exactly so is refused.

The seal holds network, labels and contract together. It is the SHA-256 of the network's bytes (all before the zip
archive), then those of labels.txt, then those of metadata.json with the seal's own 64 digits written as zeros.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

from .errors import ModelFileError
from .labels import Label
from .preprocess import InputSpec

FORMAT = "skin-edge-model"
FORMAT_VERSION = 2

CONTRACT_FILE = "metadata.json"
LABELS_FILE = "labels.txt"

NO_SEAL = "0" * 64
_SEAL = re.compile(rb'"seal": "([0-9a-f]{64})"')


def parse(raw: bytes) -> dict[str, Any]:
    """metadata.json's bytes -> the contract in the present form.

    Raises ModelFileError where it is no contract of a version that this reader knows.
    """
    try:
        parsed: Any = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"its {CONTRACT_FILE} is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ModelFileError(f"its {CONTRACT_FILE} is not a JSON object")
    contract: dict[str, Any] = parsed  # pyright: ignore[reportUnknownVariableType]
    version = contract.get("format_version")
    if contract.get("format") != FORMAT or not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise ModelFileError(
            f"its {CONTRACT_FILE} is of format {contract.get('format')!r} version {version!r}; this skin-edge reads "
            f"{FORMAT!r} up to version {FORMAT_VERSION}: update skin-edge, or convert the model anew"
        )
    contract = upgraded(contract)
    if not isinstance(contract.get("outputs", []), list):
        raise ModelFileError(f"its {CONTRACT_FILE} does not list the outputs")
    return contract


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def upgraded(contract: Mapping[str, Any]) -> dict[str, Any]:
    """An older version in the present form; one of the present version as it is.

    1 -> 2: `input` said the preprocessing in words and could mean one thing only, `output` was a single one, and a
    CRC-32 of the network stood for the seal.
    """
    if contract["format_version"] == FORMAT_VERSION:
        return dict(contract)
    fields: Any = contract.get("input")
    if not isinstance(fields, dict):
        raise ModelFileError(f"its {CONTRACT_FILE} does not describe the input")
    try:
        height, width = int(fields["height"]), int(fields["width"])  # pyright: ignore[reportUnknownArgumentType]
        mean, std = (tuple(map(float, fields[name])) for name in ("mean", "std"))  # pyright: ignore[reportUnknownArgumentType]
        spec = InputSpec(height, width, mean, std)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelFileError(f"its description of the input is not usable: {error!r}") from None
    newer = {name: value for name, value in contract.items() if name != "output"}
    return newer | {"preprocessing": spec.to_steps(), "outputs": [contract.get("output", {})]}


def labels_of(contract: Mapping[str, Any]) -> tuple[Label, ...]:
    """The classes in the order of the output. Raises ModelFileError where they are not usable."""
    try:
        labels = tuple(
            Label(str(entry["code"]), str(entry["name"]), entry.get("malignant")) for entry in contract["labels"]
        )
    except (KeyError, TypeError, AttributeError):
        raise ModelFileError(f"its {CONTRACT_FILE} does not list the labels") from None
    if any(label.malignant not in (None, True, False) for label in labels):
        raise ModelFileError(f"its {CONTRACT_FILE} has a label that is malignant neither true nor false")
    if len({label.code for label in labels}) != len(labels) or not labels:
        raise ModelFileError(f"its {CONTRACT_FILE} lists no labels, or one twice")
    if not all(label.code.isprintable() and label.name.isprintable() for label in labels):
        raise ModelFileError(f"its {CONTRACT_FILE} has labels with control characters")
    return labels


def labels_text(labels: tuple[Label, ...]) -> str:
    """labels.txt: one code per line, in the order of the output."""
    return "".join(f"{label.code}\n" for label in labels)


def sealed(contract: Mapping[str, Any], network: bytes, labels: str) -> str:
    """The contract as the text of metadata.json, sealed with the network and labels.txt."""
    text = json.dumps({**contract, "seal": NO_SEAL}, indent=2, ensure_ascii=False) + "\n"
    digest = seal_of(network, labels.encode(), text.encode())
    return text.replace(f'"seal": "{NO_SEAL}"', f'"seal": "{digest}"')


def seal_of(network: bytes | memoryview[int], labels: bytes, contract: bytes) -> str:
    """The 64 hexadecimal digits that belong there, whatever stands there now."""
    import hashlib  # loads OpenSSL: not for `--help`

    found = _SEAL.search(contract)
    blank = contract if found is None else contract[: found.start(1)] + NO_SEAL.encode() + contract[found.end(1) :]
    digest = hashlib.sha256(network)
    digest.update(labels)
    digest.update(blank)
    return digest.hexdigest()


def check_seal(contract: Mapping[str, Any], network: memoryview[int], labels: bytes, raw: bytes) -> None:
    """Raises ModelFileError where network, labels or contract are not those that were sealed together.

    A flipped byte in the weights would run and answer wrongly: nothing else would notice.
    """
    if contract["format_version"] == 1:
        if zlib.crc32(network) != contract.get("network_crc32", zlib.crc32(network)):
            raise ModelFileError("its network is not the one that its contract describes (CRC-32): copy it anew")
        return
    seal = contract.get("seal")
    if not isinstance(seal, str) or seal_of(network, labels, raw) != seal:
        raise ModelFileError(
            "its weights, labels or contract are not those that were sealed together (SHA-256), so its answers cannot "
            "be trusted: copy it anew, or convert again"
        )
