"""What a .tflite file says of itself.

skin-edge appends two files to the network as a zip archive, which every TFLite interpreter ignores and every zip
tool opens: `labels.txt` and the contract, `metadata.json`. So one file is enough for an app.

A file that others made is read by its standard TFLite metadata, where it has some, and else by its tensors alone.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import contract as contracts
from . import packaged
from .archive import Archive
from .contract import CONTRACT_FILE, LABELS_FILE
from .errors import ModelFileError
from .labels import HAM10000, Label, label_for
from .network import IDENTIFIER, GraphTensor, Network
from .preprocess import InputSpec

if TYPE_CHECKING:
    import io

    from .patient import Encoding
    from .tflite_metadata import TfliteMetadata

MAX_BYTES = 256 * 2**20
"""Of a model file: the largest backbone in float32, InceptionResNetV2, takes 208 MiB."""

MAX_CLASSES = 100_000
_MAX_LABELS = 16 * 2**20  # bytes of a labels file
_LONGEST_LABEL = 1000  # characters

# The beginning of an archive whose end may be cut off.
_ENTRY = re.compile(rb"PK\x03\x04.{26}(?:labels\.txt|metadata\.json)", re.DOTALL)

# Operators that leave values as they are: behind a softmax they say nothing of what comes out.
_KEEPING_VALUES = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CAST")

# The contract's two headers in an archive. Where one flipped bit hides it from the zip reader, the other still tells
# that the file is not a stranger's, whose seal nobody would look for.
_CONTRACT = re.compile(rb"PK(?:\x03\x04.{26}|\x01\x02.{42})metadata\.json", re.DOTALL)


@dataclass(frozen=True)
class ModelFile:
    """A .tflite file and how to feed it.

    Attributes:
        content: The whole file, archive included.
        network_length: How many of its bytes are the network.
        scores: What the (first) output holds: "probabilities"; "logits", a softmax away from them; or, for a single
            value, "probability" or "logit" of the second of two classes.
        contract: What `skin-edge convert` wrote, empty for a file that others made.
        encoding: Of the patient's metadata, None where the network takes a picture alone.
    """

    path: Path
    content: bytes = field(repr=False)
    network_length: int
    input_spec: InputSpec
    labels: tuple[Label, ...]
    scores: str
    contract: Mapping[str, Any]
    encoding: Encoding | None = None

    @property
    def network(self) -> Network:
        return Network(memoryview(self.content)[: self.network_length])


def read_model_file(
    path: str | os.PathLike[str],
    *,
    mean: float | None = None,
    std: float | None = None,
    labels_file: str | os.PathLike[str] | None = None,
) -> ModelFile:
    """Reads and checks a .tflite file.

    Args:
        path: The .tflite file, or the name of a packaged model (`packaged.path_of`).
        mean, std, labels_file: For a file that others made and that does not say it itself: the real input is (pixel -
            mean) / std with pixels in 0..255, and a text file with one label per line.

    Raises:
        ModelFileError: Where it is missing, is not a TFLite file, is not what was sealed, or is not an image classifier
            with three colour channels of a fixed size.
    """
    path = packaged.path_of(path)
    content = _read(path)
    try:
        if content[4:8] != IDENTIFIER:
            raise ModelFileError(f"it is not a TFLite model (no {IDENTIFIER.decode()} at byte 4)")
        archive = Archive(content)
        raw = archive.read(CONTRACT_FILE, stored_only=True)
        told = mean is not None or std is not None or labels_file is not None
        network = Network(memoryview(content)[: archive.start])
        if raw is None:
            return _foreign(path, content, archive, network, mean, std, labels_file)
        if told:
            raise ModelFileError("its contract describes its input already: leave mean, std and labels out")
        contract = contracts.parse(raw)
        listed = archive.read(LABELS_FILE, stored_only=True) or b""
        contracts.check_seal(contract, memoryview(content)[: archive.start], listed, raw)
        contracts.check(contract)
        network.check()  # sealed by whom? A minute's work makes a hostile network look whole
        spec, labels = contracts.spec_of(contract), contracts.labels_of(contract)
        encoding = contracts.encoding_of(contract)
        if contract["format_version"] > 1 and contracts.labels_text(labels).encode() != listed:
            raise ModelFileError(f"its {LABELS_FILE} names other labels than its contract")
    except ModelFileError as error:
        message = str(error)  # it may quote the file, which may hold anything of any length
        raise ModelFileError(f"{path}: {message if len(message) <= 400 else message[:400] + ' ...'}") from None
    return ModelFile(path, content, archive.start, spec, labels, contracts.scores_of(contract), contract, encoding)


def is_network(path: str | Path) -> bool:
    """Whether a file begins as a TFLite network does. False for one that cannot be read."""
    try:
        with _opened(Path(path)) as file:
            return file.read(8)[4:] == IDENTIFIER
    except OSError:
        return False


def left_out(path: str | Path) -> frozenset[str]:
    """What a file may be told because it carries no contract: "labels", and "mean" and "std" where it takes floats.

    Empty for a file of skin-edge, and for one that cannot be read: `read_model_file` says why.
    """
    try:
        content = _read(Path(path))
        archive = Archive(content)
        if content[4:8] != IDENTIFIER or archive.read(CONTRACT_FILE) is not None:
            return frozenset()
        inputs = Network(memoryview(content)[: archive.start]).inputs
    except ModelFileError:
        return frozenset()
    floats = any(tensor.dtype.startswith("float") for tensor in inputs)
    return frozenset({"labels", "mean", "std"} if floats else {"labels"})


def network_length(content: bytes) -> int:
    """How many bytes of a .tflite file are the network: all, or those before the archive."""
    return Archive(content).start


def tflite_metadata(network: Network) -> TfliteMetadata | None:
    """The network's standard TFLite metadata, where it has some."""
    from .tflite_metadata import BUFFER_NAME, parse  # only others' files are read by it

    raw = network.metadata.get(BUFFER_NAME)
    return parse(raw) if raw else None


def with_archive(network: bytes, files: Mapping[str, str]) -> bytes:
    """network followed by a zip archive of `files` (name -> text), the same bytes for the same content."""
    import io
    import zipfile  # a prediction does without: see `archive`

    buffer = io.BytesIO(network)
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            # A fixed date: the same model gives the same file. Stored, so that MediaPipe can map it.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), text)
    return buffer.getvalue()


def _read(path: Path) -> bytes:
    try:
        return _read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        raise ModelFileError(f"no such model: {path}") from None
    except IsADirectoryError:
        raise ModelFileError(f"{path} is a folder: name the .tflite file in it") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}") from None


def _read_regular(path: Path, limit: int) -> bytes:
    """A regular file's content: of a device or a pipe no byte is read. Raises OSError; EFBIG for more than `limit`."""
    with _opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"it is larger than the limit of {limit >> 20} MiB")
        content = file.read(size + 1)
    if len(content) > size:
        raise OSError(errno.EBUSY, "it is being written")
    return content


def _opened(path: Path) -> io.BufferedReader:
    # A pipe that nobody writes to would be waited for.
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        mode = os.fstat(file).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def _foreign(
    path: Path,
    content: bytes,
    archive: Archive,
    network: Network,
    mean: float | None,
    std: float | None,
    labels_file: str | os.PathLike[str] | None,
) -> ModelFile:
    described = tflite_metadata(network)
    is_cut = not archive.is_readable and _ENTRY.search(content)
    if is_cut or _CONTRACT.search(content) or (described and CONTRACT_FILE in described.files):
        raise ModelFileError("it is truncated or damaged: the end of its archive is missing. Copy it again")
    source, classes, scores = _ends(network)
    network.check()
    labels = _foreign_labels(described, archive, classes, labels_file)
    if scores in ("probability", "logit") and len(labels) == 1:
        labels = (Label(f"not {labels[0].code}", f"not {labels[0].name}"), *labels)
    spec = _foreign_spec(source, described, mean, std)
    return ModelFile(path, content, archive.start, spec, labels, scores, {})


def _ends(network: Network) -> tuple[GraphTensor, int, str]:
    """(the input, number of classes, what the output holds). Raises ModelFileError for what is not an
    image classifier.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise ModelFileError(
            f"it is not an image classifier: {len(network.inputs)} inputs and {len(network.outputs)} outputs, not one "
            "each"
        )
    source, target = network.inputs[0], network.outputs[0]
    if len(source.shape) != 4 or source.shape[0] not in (1, -1) or source.shape[3] != 3:
        raise ModelFileError(
            f"it is not a classifier of colour pictures: its input is {list(source.shape)}, not [1, height, width, 3]"
        )
    if min(source.shape[1:3]) < 2:
        raise ModelFileError(f"its input {list(source.shape)} has no fixed height and width")
    if not target.shape or any(n not in (1, -1) for n in target.shape[:-1]) or target.shape[-1] < 1:
        raise ModelFileError(f"it is not an image classifier: its output is {list(target.shape)}, not [1, classes]")
    classes = target.shape[-1]
    if classes > MAX_CLASSES:
        raise ModelFileError(f"it has {classes} output values; at most {MAX_CLASSES} classes are supported")
    computing = [op.name for op in network.main_operators if op.name not in _KEEPING_VALUES]
    last = computing[-1] if computing else ""
    if classes == 1:
        return source, 1, "probability" if last == "LOGISTIC" else "logit"
    return source, classes, "probabilities" if last in ("SOFTMAX", "LOGISTIC") else "logits"


def _foreign_spec(
    source: GraphTensor, described: TfliteMetadata | None, mean: float | None, std: float | None
) -> InputSpec:
    height, width = source.shape[1:3]
    stated = described.inputs[0] if described and described.inputs else None
    if stated and stated.colour == "grey":
        raise ModelFileError("it expects grey images: its TFLite metadata says so")
    told = mean is not None or std is not None
    if source.dtype in ("uint8", "int8"):
        if told:
            raise ModelFileError(f"it takes {source.dtype}, a picture's bytes as they are: leave mean and std out")
        # The picture's bytes as they are (for int8: byte - 128), which is what every other reader feeds such a
        # network; where its metadata names a normalization, that and the tensor's scale say the same to a step.
        scale = source.scales[0] if source.scales and source.scales[0] > 0 else 1.0
        zero = (source.zero_points[0] if source.zero_points else 0) + (128 if source.dtype == "int8" else 0)
        return InputSpec(height, width, (float(zero),) * 3, (1 / scale,) * 3)
    if told:
        if mean is None or std is None:
            raise ModelFileError("mean and std go together")
        return InputSpec(height, width, (mean,) * 3, (std,) * 3)
    if stated and stated.mean and stated.std:
        means, stds = (values * 3 if len(values) == 1 else values for values in (stated.mean, stated.std))
        return InputSpec(height, width, means, stds)
    raise ModelFileError(
        "it takes float input and does not say in which range: give mean and std of (pixel - mean) / std, such as "
        "--mean 127.5 --std 127.5 for -1..1, --mean 0 --std 255 for 0..1, --mean 0 --std 1 for 0..255"
    )


def _foreign_labels(
    described: TfliteMetadata | None, archive: Archive, classes: int, labels_file: str | os.PathLike[str] | None
) -> tuple[Label, ...]:
    if labels_file is not None:
        try:
            raw: bytes | None = _read_regular(Path(labels_file), _MAX_LABELS)
        except OSError as error:
            raise ModelFileError(f"labels {labels_file}: {error.strerror}") from None
        named = str(labels_file)
    else:
        names = described.outputs[0].label_files if described and described.outputs else ()
        named = names[0] if names else ""
        raw = archive.read(named) if named else None
        if named and raw is None:
            raise ModelFileError(f"it is truncated: {named} is missing, which its TFLite metadata names")
    if raw is None:
        return tuple(Label(f"class {i}", f"class {i}") for i in range(classes))
    try:
        lines = [" ".join(line.split()) for line in raw.decode("utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise ModelFileError(f"{named} is not UTF-8 text: save it as such") from None
    if any(len(line) > _LONGEST_LABEL for line in lines):
        raise ModelFileError(f"{named} has a label of more than {_LONGEST_LABEL} characters")
    while lines and not lines[-1]:
        lines.pop()
    if len(lines) != classes and not (classes == 1 and len(lines) == 2):
        raise ModelFileError(f"{named} lists {len(lines)} labels, but the network has {classes} output values")
    seen: set[str] = set()
    codes: list[str] = []
    for position, line in enumerate(lines):
        text = "".join(c for c in line if c.isprintable())
        code = text if text and text not in seen else f"{text} ({position})".strip()  # ImageNet's list names two cranes
        seen.add(code)
        codes.append(code)
    known = {label.code for label in HAM10000}
    return tuple(label_for(code) if set(codes) <= known else Label(code, code) for code in codes)
