"""The hand-over itself: a folder or a zip with everything in it, the same bytes for the same input."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...edge_runtime import __version__, assessment, console, files, info, packaged
from ...edge_runtime import pictures as pictures_of
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.contract import CONTRACT_FILE, LABELS_FILE
from ...edge_runtime.errors import DataError, ImageError, OutputExistsError, UsageError
from ...edge_runtime.model_file import ModelFile, read_model_file
from ...edge_runtime.preprocess import decode
from . import golden, integration, micro, pictures

# In a checkout docs/ and ports/ are beside the packages; in an installed one they are folders of data beside them.
_ROOT = Path(__file__).parents[2]
_PORT_FILES = {".h", ".c", ".js", ".mjs", ".ts", ".kt", ".kts", ".swift", ".md", ".html", ".modulemap", ".json", ".txt"}
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"}

SUMS = "SHA256SUMS"

_MOST_OWN_BYTES = 2**29  # half of what `reading` takes, unpacked
_MOST_TEXT_BYTES = 2**20


def name_of(file: ModelFile) -> str:
    """skin-edge-<name>-<version>, the folder within a zip: letters, digits, dots and hyphens."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", str(file.contract.get("name", file.path.stem))).strip("-")
    name = name.removeprefix("skin-edge-")
    return f"skin-edge-{name}-{__version__}"


def contents(model: Path, own: Path | None = None, *, for_micro: bool = False) -> tuple[str, dict[str, bytes]]:
    """(name of the bundle, path within it -> content), in a fixed order.

    Args:
        model: A .tflite of contract format 4 or newer.
        own: A folder of pictures that become golden ones too.
        for_micro: With what `micro.contents` has for microcontrollers.

    Raises:
        UsageError: For a file of another format or of others.
        DataError: Where a picture of `own` cannot be read or a file that must be refused is answered.
    """
    file = read_model_file(model)
    if file.contract.get("format_version", 0) < 4:
        raise UsageError(
            f"{model} has no contract of format 4, which a port can follow: convert its run again, or see "
            "python -m skin_edge.convert.renew --help"
        )
    with SkinClassifier(model) as classifier:
        described = info.describe(classifier, file)
        found = golden_pictures(classifier, own)
    network_and_archive = {
        "model.tflite": file.content,
        CONTRACT_FILE: _member(file, CONTRACT_FILE),
        LABELS_FILE: _member(file, LABELS_FILE),
    }
    made: dict[str, bytes] = {
        **documents(file, described),
        "contract.schema.json": _document("contract.schema.json"),
        "INTEGRATION.md": integration.text(file, described, found.lines).encode(),
        **network_and_archive,
        "golden/golden.jsonl": b"".join(json.dumps(line).encode() + b"\n" for line in found.lines),
        **{f"golden/{name}": content for name, content in found.files.items()},
        **ports(),
    }
    if for_micro:
        uprights = {name: decode(content, file.input_spec).tobytes() for name, content in found.good.items()}
        for_c = micro.contents(file, found.lines, found.inputs, uprights)
        made |= {f"micro/{name}": content for name, content in for_c.items()}
    sums = "".join(f"{golden.digest(content)}  {name}\n" for name, content in sorted(made.items()))
    return name_of(file), {SUMS: sums.encode(), **made}


@dataclass(frozen=True)
class Golden:
    """The golden pictures of a model.

    Attributes:
        lines: Of golden.jsonl.
        good: Name within golden/ -> content of the pictures that can be read; where the file has limits, some of them
            cannot be assessed.
        broken: The same of those that are refused.
        inputs: The same of what the network is given for each picture of `good`.
    """

    lines: list[dict[str, Any]]
    good: Mapping[str, bytes]
    broken: Mapping[str, bytes]
    inputs: Mapping[str, bytes]

    @property
    def files(self) -> dict[str, bytes]:
        """Name within golden/ -> content, of all but golden.jsonl."""
        return {**self.good, **self.broken, **self.inputs}


def golden_pictures(classifier: SkinClassifier, own: Path | None = None) -> Golden:
    """Draws them and has them answered, which takes seconds.

    Args:
        classifier: Of a file of contract format 4 or newer.
        own: A folder of pictures that become golden ones too.

    Raises:
        DataError: Where a picture of `own` cannot be read or a file that must be refused is answered.
    """
    spec, limit = classifier.input_spec, int(classifier.contract["limits"]["max_pixels"])
    good = {f"pictures/{name}": content for name, content in pictures.good(spec.height, spec.width).items()}
    if assessment.checks_of(classifier.contract):
        limited = {**pictures.fit(), **pictures.unfit(spec.height, spec.width)}
        good |= {f"pictures/{name}": content for name, content in limited.items()}
    good |= _own(own) if own else {}
    broken = {f"broken/{name}": content for name, content in pictures.broken(limit).items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what is then refused
            lines, inputs = golden.all_records(classifier, good, broken)
    except ImageError as error:
        raise DataError(f"a golden picture cannot be read: {error}") from None
    return Golden(lines, good, broken, inputs)


def documents(file: ModelFile, described: Mapping[str, Any]) -> dict[str, bytes]:
    """The texts that go with a file: its license, its card, the contract.

    Args:
        file: Of contract format 4 or newer.
        described: Of it, by `info.describe`.
    """
    return {
        "LICENSE.txt": _license(file),
        "MODEL_CARD.md": _card(file, info.text(described)),
        "CONTRACT.md": _document("contract.md"),
    }


def write(out: Path, name: str, made: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Writes a bundle to `out`, a folder, or a zip where it ends in .zip; whole or not at all.

    Args:
        out: A folder, or a file that ends in .zip.
        name: The bundle's top folder within a zip.
        made: Path within the bundle -> content.
        overwrite: Whether what is there is replaced.

    Raises:
        OutputExistsError: Where it is there and may not be replaced, or is not a bundle.
    """
    check(out, overwrite=overwrite)
    if _is_zip(out):
        files.write(out, zipped(name, made))
        return
    files.write_folder(out, made)


def check(out: Path, *, overwrite: bool) -> None:
    """That a bundle can be written to `out`, before the work.

    Args:
        out: As `write` takes it.
        overwrite: As `write` takes it.

    Raises:
        OutputExistsError: As `write` does.
        UnwritableError: Where nothing can be written.
    """
    if out.exists() and (not overwrite or not (out.is_file() if _is_zip(out) else (out / SUMS).is_file())):
        raise OutputExistsError(out)
    (files.check_writable_file if _is_zip(out) else files.check_writable)(out)


def _is_zip(out: Path) -> bool:
    return out.suffix.lower() == ".zip"


def zipped(name: str, made: Mapping[str, bytes]) -> bytes:
    """A zip of the folder `name`: fixed dates and attributes, so that the same content gives the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in sorted(made.items()):
            entry = zipfile.ZipInfo(f"{name}/{path}", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            stored = path.endswith((".jpg", ".png"))
            archive.writestr(entry, content, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED, 9)
    return buffer.getvalue()


def ports() -> dict[str, bytes]:
    """ports/... -> content of the ports' sources, sorted."""
    root = _ROOT / "ports"
    found = sorted(path for path in root.rglob("*") if path.suffix in _PORT_FILES and path.is_file())
    return {
        path.relative_to(_ROOT).as_posix(): path.read_bytes()
        for path in found
        if not any(part.startswith((".", "node_modules", "build", "micro")) for part in path.relative_to(root).parts)
    }


def _document(name: str) -> bytes:
    return (_ROOT / "docs" / name).read_bytes()


def _member(file: ModelFile, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(file.content)) as archive:
        return archive.read(name)


def _own(folder: Path) -> dict[str, bytes]:
    """The user's pictures. Raises UsageError for names that a list of sums cannot hold, and above what is read back."""
    if not folder.is_dir():
        raise UsageError(f"--pictures {folder} is not a folder")
    paths = sorted(path for path in folder.iterdir() if pictures_of.has_suffix(path.name) and path.is_file())
    if not paths:
        raise UsageError(f"--pictures {folder} holds no pictures ({', '.join(sorted(_PICTURES))})")
    for path in paths:
        if path.suffix.lower() not in _PICTURES:
            raise UsageError(
                f"{path}: golden pictures are {', '.join(sorted(_PICTURES))}, which more platforms can decode"
            )
        if console.escaped(path.name) != path.name:  # a line of the sums could not hold it
            raise UsageError(f"{path}: rename it; the names in a bundle are UTF-8 and have no control characters")
    total = sum(path.stat().st_size for path in paths)
    if total > _MOST_OWN_BYTES:
        size = f"{total / 2**20:,.0f} MiB in {len(paths)} files"
        raise UsageError(f"--pictures {folder}: {size}; a bundle takes {_MOST_OWN_BYTES >> 20}")
    return {f"pictures/own/{path.name}": path.read_bytes() for path in paths}


def _card(file: ModelFile, said: str) -> bytes:
    """The card beside the file where it is that of this very file, else what the file says of itself."""
    beside = _beside(file, packaged.card_of(packaged.member_of(file.path) or packaged.DEFAULT).name)
    if golden.digest(file.content).encode() in beside:
        return beside
    shown = "\n".join(line for line in said.splitlines() if not line.startswith("file "))
    head = "# Model card\n\nGenerated from the description in the file; nothing else was provided."
    return f"{head}\n\n```\n{shown}\n```\n".encode()


def _beside(file: ModelFile, name: str) -> bytes:
    """What a file beside the model holds; nothing where there is none or it is too large for a text."""
    path = file.path.with_name(name)
    if not path.is_file() or path.stat().st_size > _MOST_TEXT_BYTES:
        return b""
    return path.read_bytes()


def _license(file: ModelFile) -> bytes:
    beside = _beside(file, "LICENSE.txt")
    if beside and packaged.member_of(file.path):
        return beside
    return f"Model: {file.contract.get('license', 'not given')}\n\nPorts and golden pictures: Apache-2.0\n".encode()
