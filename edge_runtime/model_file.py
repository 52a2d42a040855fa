"""What a .tflite file says of itself.

skin-edge appends two files to the network as a zip archive, which every TFLite interpreter ignores and every zip
tool opens: `labels.txt` and `metadata.json`. So one file is enough for an app. The same two lie beside the file
that `skin-edge convert` writes; a network without the archive is read with them.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import ModelFileError
from .labels import Label
from .preprocess import InputSpec

FORMAT = "skin-edge-model"
FORMAT_VERSION = 1

_MAX_METADATA = 1_000_000  # bytes

_IDENTIFIER = b"TFL3"  # at byte 4 of every TFLite flatbuffer


@dataclass(frozen=True)
class ModelFile:
    """A .tflite file with its own description. `content` is the whole file, archive included."""

    path: Path
    content: bytes = field(repr=False)
    input_spec: InputSpec
    labels: tuple[Label, ...]
    metadata: Mapping[str, Any]


def read_model_file(path: str | Path) -> ModelFile:
    """Reads and checks a .tflite file.

    Raises ModelFileError where it is missing, is not a TFLite file, or says nothing of how to feed it.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"no such model: {path}") from None
    except IsADirectoryError:
        raise ModelFileError(f"{path} is a folder: name the .tflite file in it") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None
    if content[4:8] != _IDENTIFIER:
        raise ModelFileError(f"{path} is not a TFLite model (no {_IDENTIFIER.decode()} at byte 4)")
    metadata, length = _embedded(content)
    if metadata is None:
        metadata = _beside(path)
    if metadata is None:
        raise ModelFileError(
            f"{path} holds no metadata.json and none lies beside it, so nothing says how to feed it: was it "
            "truncated, or not made by 'skin-edge convert'?"
        )
    if metadata.get("format") != FORMAT or metadata.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: metadata.json is of format {metadata.get('format')!r} version "
            f"{metadata.get('format_version')!r}; this version reads {FORMAT!r} version {FORMAT_VERSION}"
        )
    expected = metadata.get("network_crc32")
    if expected is not None and zlib.crc32(memoryview(content)[:length]) != expected:
        # A flipped byte in the weights would run and answer wrongly: nothing else would notice. CRC-32 and not the
        # SHA-256 that is there too: it is for accidents, and hashlib would lengthen every start.
        raise ModelFileError(
            f"{path} is damaged: its network is not the one that metadata.json describes (CRC-32): copy it anew"
        )
    return ModelFile(path, content, _input_spec(metadata), _labels(path, metadata), metadata)


def is_network(path: str | Path) -> bool:
    """Whether a file begins as a TFLite network does. False for one that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            return file.read(8)[4:] == _IDENTIFIER
    except OSError:
        return False


def network_length(content: bytes) -> int:
    """How many bytes of a .tflite file are the network: all, or those before the archive."""
    return _embedded(content)[1]


def with_archive(network: bytes, files: Mapping[str, str]) -> bytes:
    """network followed by a zip archive of `files` (name -> text), the same bytes for the same content."""
    buffer = io.BytesIO(network)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            # A fixed date: the same model gives the same file. Stored, so that MediaPipe can map it.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


def _embedded(content: bytes) -> tuple[dict[str, Any] | None, int]:
    """(metadata.json of the archive or None, the number of bytes before the archive)."""
    length = len(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            length = min((entry.header_offset for entry in archive.infolist()), default=length)
            entry = archive.getinfo("metadata.json")
            # A stranger's file: nothing that unpacks to more than it is, nothing encrypted.
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 or entry.file_size > _MAX_METADATA:
                raise ModelFileError("the model's metadata.json is compressed, encrypted or too large")
            return _parse(archive.read(entry)), length
    except (zipfile.BadZipFile, KeyError):
        return None, length


def _beside(path: Path) -> dict[str, Any] | None:
    sidecar = path.with_name("metadata.json")
    return _parse(sidecar.read_bytes()) if sidecar.is_file() and sidecar.stat().st_size <= _MAX_METADATA else None


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        parsed: Any = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"the model's metadata.json is not JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise ModelFileError("the model's metadata.json is not a JSON object")
    return dict(parsed)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _input_spec(metadata: Mapping[str, Any]) -> InputSpec:
    fields = metadata.get("input")
    if not isinstance(fields, dict):
        raise ModelFileError("the model's metadata.json does not describe the input")
    return InputSpec.from_dict(fields)  # pyright: ignore[reportUnknownArgumentType]


def _labels(path: Path, metadata: Mapping[str, Any]) -> tuple[Label, ...]:
    try:
        labels = tuple(
            Label(str(entry["code"]), str(entry["name"]), entry.get("malignant")) for entry in metadata["labels"]
        )
    except (KeyError, TypeError, AttributeError):
        raise ModelFileError(f"{path}: metadata.json does not list the labels") from None
    if len({label.code for label in labels}) != len(labels) or not labels:
        raise ModelFileError(f"{path}: metadata.json lists no labels, or one twice")
    if not all(label.code.isprintable() and label.name.isprintable() for label in labels):
        raise ModelFileError(f"{path}: metadata.json has labels with control characters")
    return labels
