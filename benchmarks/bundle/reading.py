"""Reading a bundle and an app's answers. Both may be damaged or a stranger's: sizes are bounded and every field has its
form, or one line says what is wrong. All faults are UsageErrors, since the exit code 1 of `verify` means "within
tolerance".
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import zipfile
import zlib
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...edge_runtime import assessment, files
from ...edge_runtime import contract as contracts
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import ModelFileError, UsageError
from .hand_over import SUMS

Record = Mapping[str, Any]

MODEL = "model.tflite"
_GOLDEN = "golden/"
_LINES = "golden/golden.jsonl"

_MOST_BYTES = 2**30  # of what is read of a bundle, unpacked, and of answers
_MOST_FILES = 100_000
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack without a bound
_ENCRYPTED = 1


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read.

    Attributes:
        path: Where it was read, for messages.
        files: Path within it -> content, of what is needed to check answers: the model and golden/.
        golden: File -> its line of golden.jsonl.
    """

    path: Path
    files: Mapping[str, bytes]
    golden: Mapping[str, Record]


def read_bundle(path: Path) -> Bundle:
    """Reads a folder or a zip of `skin-edge bundle`. Raises UsageError where it is none, damaged, changed or too large.

    Nothing is unpacked to the disk, and names lead nowhere: they are keys only.
    """
    try:
        found = _zip(path) if path.is_file() else _folder(path)
    except OSError as error:
        raise UsageError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None
    try:
        pairs = [line.split("  ", 1) for line in found[SUMS].decode().splitlines()]
        sums = {name: digest for digest, name in pairs}
        lines = [json.loads(line) for line in found[_LINES].splitlines()]
        golden = {str(line["file"]): line for line in lines}
    except (KeyError, ValueError, TypeError, RecursionError):
        raise UsageError(f"{path} is not a bundle of 'skin-edge bundle', or a damaged one") from None
    for name in (MODEL, *(name for name in sums if name.startswith(_GOLDEN)), *(_GOLDEN + name for name in golden)):
        if hashlib.sha256(found.get(name, b"")).hexdigest() != sums.get(name):
            raise UsageError(f"{path}: {name} is not the one that {SUMS} names: make the bundle again")
    return Bundle(path, found, golden)


@contextlib.contextmanager
def classifier_of(bundle: Bundle) -> Generator[SkinClassifier, None, None]:
    """The bundle's model. Raises UsageError where it is none, or golden lines are not its answers in form."""
    with files.temporary_folder() as folder:
        path = folder / MODEL
        path.write_bytes(bundle.files[MODEL])
        try:
            classifier = SkinClassifier(path)
        except ModelFileError as error:
            raise UsageError(str(error).replace(str(path), f"{bundle.path}: {MODEL}")) from None
        with classifier:
            if classifier.contract.get("format_version", 0) < 4:
                raise UsageError(f"{bundle.path}: {MODEL} has no contract of format 4: make the bundle again")
            for name, line in bundle.golden.items():
                if fault := _golden_fault(line, bundle.files, classifier):
                    raise UsageError(f"{bundle.path}: {_LINES}: {name}: {fault}: make the bundle again")
            yield classifier


def read_answers(path: Path, golden: Mapping[str, Record], size: tuple[int, int], classes: int) -> dict[str, Record]:
    """file -> the app's line.

    Bytes become arrays under "pixels", probabilities become float64 arrays. A line may also name a file of
    golden/inputs, which the app's engine answered by itself.

    Args:
        path: A file with one JSON object per line.
        golden: File -> its golden answer.
        size, classes: Of the model.

    Raises:
        UsageError: Where it cannot be read or a line is not of the form.
    """
    try:
        content = _head(path, _MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{path} has more than {_MOST_BYTES >> 20} MiB: answers are a line for each golden picture")
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text: byte {error.start}") from None
    inputs = {str(line["input"]["file"]) for line in golden.values() if "input" in line}
    answers: dict[str, Record] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            answer: Any = json.loads(line)
        except (ValueError, RecursionError):
            raise UsageError(f"{where}: not JSON: one object a line") from None
        if not isinstance(answer, dict) or not isinstance(answer.get("file"), str):  # pyright: ignore[reportUnknownMemberType]
            raise UsageError(f'{where}: no object with a "file"')
        reported: dict[str, Any] = answer  # pyright: ignore[reportUnknownVariableType]
        name = str(reported["file"]).removeprefix(_GOLDEN)
        if name not in golden and name not in inputs:
            raise UsageError(
                f"{where}: {reported['file']!r} is not a file of golden/: take the bundle that the app was given"
            )
        if name in answers:
            raise UsageError(f"{where}: {name} is answered twice")
        try:
            answers[name] = _checked(reported, size, classes)
        except ValueError as error:
            raise UsageError(f"{where}: {error}") from None
    if not answers:
        raise UsageError(f"{path} has no answers")
    return answers


def is_number(value: object) -> bool:
    """Whether it is a finite number that a double can hold: JSON's whole numbers have no end."""
    return isinstance(value, (int, float)) and -1e308 < value < 1e308


def _checked(reported: Record, size: tuple[int, int], classes: int) -> Record:
    """A line, of an app or of golden.jsonl, whose fields have their form; raises ValueError else."""
    checked: dict[str, Any] = {
        key: reported[key] for key in ("file", "error", "label") if reported.get(key) is not None
    }
    if "label" in checked and not isinstance(checked["label"], str):
        raise ValueError("label is not text")
    for key, kind in (("upright", dict), ("input", dict), ("decisions", list)):
        if reported.get(key) is not None:
            if not isinstance(reported[key], kind) or (
                kind is list and not all(isinstance(one, dict) for one in reported[key])
            ):
                raise ValueError(f"{key} is not of the form of CONTRACT.md, section 9")
            checked[key] = reported[key]
    if reported.get("probabilities") is not None:
        try:
            values = np.asarray(reported["probabilities"], np.float64)
        except (TypeError, ValueError, OverflowError):
            values = np.zeros(0)
        if values.shape != (classes,):
            raise ValueError(f"probabilities are not {classes} numbers, in the order of labels.txt")
        checked["probabilities"] = values
    checked |= _assessed(reported)
    image = checked.pop("input", {})
    if isinstance(image.get("sha256"), str):
        checked["input_sha256"] = image["sha256"].lower()
    if image.get("base64") is not None:
        try:
            content = base64.b64decode(image["base64"], validate=True)
        except (binascii.Error, ValueError, TypeError):
            content = b""
        if len(content) != size[0] * size[1] * 3:
            raise ValueError(f"input.base64 is not {size[0] * size[1] * 3} bytes, RGB of {size[0]}x{size[1]}")
        checked["pixels"] = np.reshape(np.frombuffer(content, np.uint8), (*size, 3))
    return checked


def _assessed(reported: Record) -> dict[str, Any]:
    """The fields of CONTRACT.md, section 12, that a line has; raises ValueError where one has another form."""
    found: dict[str, Any] = {key: reported[key] for key in ("assessable", "features") if reported.get(key) is not None}
    for key in ("reasons", "possible"):
        if reported.get(key) is not None:
            found[key] = _codes(reported[key], key)
    if not isinstance(found.get("assessable", True), bool):
        raise ValueError("assessable is neither true nor false")
    measured: Any = found.get("features", {})
    if not isinstance(measured, dict) or not all(map(is_number, measured.values())):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        raise ValueError("features are not numbers by their names")
    return found


def _codes(listed: Any, key: str) -> list[str]:
    """Codes; `predict --json` has a reason as an object, with its text and remedy."""
    items: list[Any] = listed if isinstance(listed, list) else [None]  # pyright: ignore[reportUnknownVariableType]
    codes: list[Any] = [one.get("reason") if isinstance(one, dict) else one for one in items]  # pyright: ignore[reportUnknownMemberType]
    if not all(isinstance(code, str) for code in codes):
        raise ValueError(f"{key} are not codes as in CONTRACT.md, section 12")
    return codes


def _golden_fault(line: Record, found: Mapping[str, bytes], classifier: SkinClassifier) -> str:
    """What a line of golden.jsonl lacks of what `golden.record` writes for this model; "" where it has all."""
    if "error" in line:
        return ""
    spec, codes = classifier.input_spec, [label.code for label in classifier.labels]
    try:
        checked = _checked(line, (spec.height, spec.width), len(codes))
    except ValueError as error:
        return str(error)
    needed = {"upright", "probabilities", "label", "decisions", "input_sha256"}
    needed |= {"features", "assessable", "reasons"} if assessment.checks_of(classifier.contract) else set()
    needed |= {"possible"} if contracts.possible_thresholds(classifier.contract) else set()
    lacking = needed - checked.keys()
    if lacking:
        return f"it lacks {', '.join(sorted(lacking))}"
    if checked["label"] not in codes or not np.isfinite(checked["probabilities"]).all():
        return "its answer is not one of this model"
    pixels = found.get(f"{_GOLDEN}{line['input'].get('file')}", b"")
    if hashlib.sha256(pixels).hexdigest() != checked["input_sha256"] or len(pixels) != spec.height * spec.width * 3:
        return "its input is not the one of this model"
    features = checked.get("features", {})
    if any(check.feature not in features for check in assessment.checks_of(classifier.contract)):
        return "its features are not those of this model"
    names = [row["name"] for row in classifier.contract["thresholds"]]
    decided = [(one.get("name"), one.get("decision"), one.get("borderline")) for one in checked["decisions"]]
    right = all(decision in ("refer", "below") and isinstance(near, bool) for _, decision, near in decided)
    return "" if right and [name for name, *_ in decided] == names else "its decisions are not those of this model"


def _is_needed(name: str) -> bool:
    return name in (SUMS, MODEL) or name.startswith(_GOLDEN)


def _check_sizes(path: Path, sizes: Iterable[int]) -> None:
    sizes = list(sizes)
    if sum(sizes) > _MOST_BYTES or len(sizes) > _MOST_FILES:
        raise UsageError(f"{path} is larger than the limit of {_MOST_BYTES >> 20} MiB and {_MOST_FILES} files")


def _folder(path: Path) -> dict[str, bytes]:
    if not path.is_dir():
        raise UsageError(f"no such bundle: {path}")
    named = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    needed = {name: (file, file.stat().st_size) for name, file in named.items() if _is_needed(name)}
    _check_sizes(path, (size for _, size in needed.values()))
    return {name: _head(file, size) for name, (file, size) in needed.items()}


def _head(path: Path, most: int) -> bytes:
    """A file's first bytes: it may have grown, or never end."""
    with path.open("rb") as file:
        return file.read(most)


def _zip(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as archive:
            named = [(entry.filename.partition("/")[2], entry) for entry in archive.infolist()]
            needed = [(name, entry) for name, entry in named if _is_needed(name) and not entry.is_dir()]
            _check_sizes(path, (entry.file_size for _, entry in needed))
            if any(entry.compress_type not in _PACKED or entry.flag_bits & _ENCRYPTED for _, entry in needed):
                raise zipfile.BadZipFile
            return {name: _member(archive, entry) for name, entry in needed}
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError, EOFError, OSError) as error:
        if isinstance(error, OSError) and error.errno and error.filename:
            raise
        raise UsageError(f"{path} is not a zip of 'skin-edge bundle', or a damaged one") from None


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Its content; of one that unpacks to more than it claims no more than that."""
    with archive.open(entry) as member:
        content = member.read(entry.file_size)
        member.read(1)  # its checksum is compared at its end
    return content
