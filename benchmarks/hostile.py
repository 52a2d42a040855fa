"""Hostile input, measured: mutated images and mutated model files, thousands of each.

    python -m skin_edge.benchmarks.hostile [MODEL...] [--images 10000] [--models 2000] [--seed 42] [--json] [--out DIR]
    python -m skin_edge.benchmarks.hostile --case model-17 --out DIR

Every case must end in an answer or in one clear line (a SkinEdgeError). Bad is any other exception, a crash of the
process, a hang, more than 1 GiB of memory, an answer that is not finite or does not fit the labels, and a message of
several lines or with control characters.

A case is made from (seed, number) alone, so that it can be made again: with the same version of Pillow and the same
seed models, which are the packaged one and each MODEL. The cases run one after the other in a child process. Where it
dies or hangs, the case it was given last is to blame, and a new child goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

import numpy as np
from PIL import Image, ImageCms, features

from ..edge_runtime import contract as contracts
from ..edge_runtime import files
from ..edge_runtime.classifier import DEFAULT_MODEL, Prediction, SkinClassifier
from ..edge_runtime.errors import ModelFileError, SkinEdgeError, UsageError
from ..edge_runtime.model_file import read_model_file, with_archive
from .machine import describe_machine
from .memory import ROOT, peak_resident_bytes

BAD = ("traceback", "crash", "hang", "memory", "answer", "message")
OUTCOMES = ("answered", "refused", *BAD)

TIME_LIMIT_S = 20.0
_START_LIMIT_S = 300.0
MEMORY_LIMIT = 2**30  # resident bytes
_ADDRESS_LIMIT = 4 * 2**30  # of the child, so that a huge allocation fails there and does not take the machine along
_LONGEST_MESSAGE = 1000
_CASES_PER_CHILD = 500  # what one case leaves in memory must not be counted for thousands that follow

_MODEL_NAME, _PICTURE_NAME = "case.tflite", "plain.png"


_T = TypeVar("_T")


class Case(NamedTuple):
    """What a worker is given. kind: "image" or "model"."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}"


class Hostile(NamedTuple):
    """A case as bytes. form: the image format, or how the model file is sealed. suffix: of the file's name."""

    form: str
    mutation: str
    suffix: str
    content: bytes


@dataclass(frozen=True)
class Result:
    """How a case ended. outcome: one of OUTCOMES. milliseconds: without making the case. peak_bytes: the most memory
    resident in the child meanwhile, None where the system does not tell."""

    case: str
    form: str
    mutation: str
    outcome: str
    detail: str
    milliseconds: float
    peak_bytes: int | None


# ---------------------------------------------------------------------------------------------- mutations of any bytes

_Field = tuple[int, str]  # where a number stands and its struct code, byte order included
_EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_REALS = (0.0, -1.0, 1e-45, 1e38, -1e38, math.inf, -math.inf, math.nan)


class _Mutant:
    """Bytes that are changed in place. draw: gives a position worth changing."""

    def __init__(self, content: bytes, rng: random.Random, draw: Callable[[], int] | None = None):
        self.data = bytearray(content)
        self.rng = rng
        self.draw = draw or self._anywhere

    def _anywhere(self) -> int:
        """Half of the time among the first 300 bytes: headers stand there."""
        end = len(self.data)
        return self.rng.randrange(min(end, 300) if self.rng.random() < 0.5 else end)

    def bits(self) -> None:
        for _ in range(self.rng.choice((1, 1, 2, 4, 16))):
            self.data[self.draw()] ^= 1 << self.rng.randrange(8)

    def bytes(self) -> None:
        for _ in range(self.rng.choice((1, 2, 8, 32))):
            self.data[self.draw()] = self.rng.choice((0, 1, 0x7F, 0x80, 0xFF, self.rng.randrange(256)))

    def truncate(self) -> None:
        del self.data[self.draw() :]

    def insert(self) -> None:
        at, length = self.draw(), self.rng.choice((1, 2, 4, 16, 100))
        source = self.draw()
        piece = self.data[source : source + length] if self.rng.random() < 0.5 else self.rng.randbytes(length)
        self.data[at:at] = piece

    def delete(self) -> None:
        at = self.draw()
        del self.data[at : at + self.rng.choice((1, 2, 4, 16, 100))]

    def splice(self, other: bytes) -> None:
        self.data[self.draw() :] = other[self.rng.randrange(len(other)) :]

    def word(self) -> None:
        code = self.rng.choice("<>") + self.rng.choice("BHI")
        self.set_numbers([(self.draw(), code)])

    def set_numbers(self, fields: Sequence[_Field]) -> None:
        """One to three of the fields, each to an extreme or to a value near its own."""
        for at, code in self.rng.sample(fields, min(len(fields), self.rng.choice((1, 1, 2, 3)))):
            size = struct.calcsize(code)
            if not 0 <= at <= len(self.data) - size:
                continue
            if code[-1] in "fd":
                struct.pack_into(code, self.data, at, self.rng.choice((*_REALS, self.rng.uniform(-1000, 1000))))
                continue
            (present,) = struct.unpack_from(code.upper(), self.data, at)
            near = present + self.rng.choice((-2, -1, 1, 2)), present * 2, self.rng.randrange(300)
            value = self.rng.choice((*_EXTREMES, *near)) & (1 << 8 * size) - 1
            struct.pack_into(code.upper(), self.data, at, value)


# -------------------------------------------------------------------------------------------------------------- images

_SUFFIXES = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "BMP": ".bmp",
    "GIF": ".gif",
    "JPEG2000": ".jp2",
}
_ANY = ("bits", "bytes", "truncate", "insert", "delete", "splice", "word", "header", "length", "alien")
IMAGE_MUTATIONS = {
    "JPEG": (*_ANY, "exif", "icc"),
    "PNG": (*_ANY, "exif", "icc", "checksum", "bomb"),
    "WEBP": (*_ANY, "exif", "icc"),
    "TIFF": (*_ANY, "icc"),
    "BMP": _ANY,
    "GIF": _ANY,
    "JPEG2000": _ANY,
}


def image_case(seed: int, number: int) -> Hostile:
    """The mutated image `number` of `seed`. Formats and kinds of mutation take turns, so all of them occur."""
    pictures = _pictures()
    form = list(pictures)[number % len(pictures)]
    turn = number // len(pictures)
    mutations = IMAGE_MUTATIONS[form]
    mutation = mutations[turn % len(mutations)]
    rng = random.Random(f"{seed} image {number}")
    return Hostile(form, mutation, _SUFFIXES[form], _mutated_image(form, mutation, rng))


def _mutated_image(form: str, mutation: str, rng: random.Random) -> bytes:
    if mutation == "alien":
        return rng.choice(_aliens(rng))
    if mutation == "bomb":
        return _bomb(rng)
    if mutation in ("exif", "icc"):
        garbage = _Mutant(_exif() if mutation == "exif" else _profile(rng.choice(("sRGB", "LAB", "XYZ"))), rng)
        rng.choice((garbage.bits, garbage.bytes, garbage.truncate, garbage.word, garbage.insert))()
        blocks = {("exif" if mutation == "exif" else "icc_profile"): bytes(garbage.data)}
        return _encoded(_plain(rng.choice(("RGB", "L")), (48, 36)), form, **blocks)
    seeds = _pictures()[form]
    mutant = _Mutant(rng.choice(seeds), rng)
    if mutation == "splice":
        other = form if rng.random() < 0.5 else rng.choice(list(_pictures()))
        mutant.splice(rng.choice(_pictures()[other]))
    elif mutation == "header":
        mutant.set_numbers(_header_fields(form, mutant.data))
    elif mutation == "length":
        mutant.set_numbers(_length_fields(form, mutant.data))
    elif mutation == "checksum":
        chunks = list(_png_chunks(mutant.data))
        at, length = rng.choice([chunk for chunk in chunks if chunk[1]])
        mutant.draw = lambda: at + 8 + rng.randrange(min(length, 40) if rng.random() < 0.5 else length)
        rng.choice((mutant.bits, mutant.bytes, mutant.word))()
    else:
        getattr(mutant, mutation)()
    if form == "PNG" and (mutation in ("header", "checksum") or rng.random() < 0.5):
        _mend_checksums(mutant.data)
    return bytes(mutant.data)


def _plain(mode: str, size: tuple[int, int]) -> Image.Image:
    """A generated picture: a gradient with a dark spot and noise."""
    noise = np.random.default_rng(sum(size)).integers(0, 40, (size[1], size[0], 3))
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    skin = np.array([215, 170, 150]) - 90 * (x**2 + y**2 < 0.3)[..., None] - 20 * x[..., None]
    image = Image.fromarray(np.maximum(skin - noise, 0).astype(np.uint8))
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.linear_gradient("L").resize(size))
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    return image if image.mode == mode else image.convert(mode)


def _encoded(image: Image.Image, form: str, **arguments: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **arguments)
    return buffer.getvalue()


@lru_cache(maxsize=1)
def _pictures() -> dict[str, list[bytes]]:
    """Format -> well-formed files of it, in the modes and variants that cameras, phones and tools write."""
    exif, profile = _exif(), _profile("sRGB")
    rgb, grey, large = _plain("RGB", (61, 47)), _plain("L", (40, 40)), _plain("RGB", (180, 140))
    rgba, palette, cmyk = _plain("RGBA", (33, 50)), rgb.convert("P"), _plain("CMYK", (48, 32))
    frames = [_plain("RGB", (32, 32)).rotate(90 * i) for i in range(1, 4)]
    animated = {"save_all": True, "append_images": frames[1:]}
    found = {
        "JPEG": [
            _encoded(rgb, "JPEG", exif=exif, icc_profile=profile),
            _encoded(large, "JPEG", progressive=True, quality=95),
            _encoded(rgb, "JPEG", subsampling=0, optimize=True, restart_marker_rows=1),
            _encoded(grey, "JPEG"),
            _encoded(cmyk, "JPEG"),
        ],
        "PNG": [
            _encoded(rgb, "PNG", exif=exif, icc_profile=profile),
            _encoded(rgba, "PNG"),
            _encoded(palette, "PNG", transparency=3),
            _encoded(_plain("I;16", (30, 30)), "PNG"),
            _encoded(_plain("LA", (30, 30)), "PNG", dpi=(72, 72)),
            _encoded(rgb.convert("1"), "PNG"),
            _encoded(frames[0], "PNG", **animated),
        ],
        "WEBP": [
            _encoded(rgb, "WEBP", exif=exif, icc_profile=profile),
            _encoded(rgba, "WEBP", lossless=True),
            _encoded(rgba, "WEBP", quality=50),
            _encoded(frames[0], "WEBP", **animated),
        ],
        "TIFF": [
            _encoded(rgb, "TIFF", icc_profile=profile),
            _encoded(rgb, "TIFF", compression="tiff_lzw"),
            _encoded(large, "TIFF", compression="jpeg"),
            _encoded(grey, "TIFF", compression="tiff_adobe_deflate"),
            _encoded(_plain("I;16", (30, 30)), "TIFF"),
            _encoded(cmyk, "TIFF", compression="packbits"),
            _encoded(palette, "TIFF"),
            _encoded(rgb.convert("1"), "TIFF", compression="group4"),
            _encoded(grey.convert("F"), "TIFF"),
            _encoded(frames[0], "TIFF", **animated),
        ],
        "BMP": [_encoded(image, "BMP") for image in (rgb, grey, palette, rgba, rgb.convert("1"))],
        "GIF": [_encoded(palette, "GIF"), _encoded(rgba, "GIF"), _encoded(frames[0], "GIF", **animated)],
    }
    if features.check("jpg_2000"):
        found["JPEG2000"] = [_encoded(image, "JPEG2000") for image in (rgb, grey, rgba)]
    return found


@lru_cache(maxsize=1)
def _exif() -> bytes:
    """A block as a camera writes it: orientation, texts, a folder of its own and a place on earth."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0132] = 6, "a camera", "2020:02:02 20:20:20"
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x9000: b"0232", 0x927C: bytes(range(64))})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 3.5)})
    return exif.tobytes()


@lru_cache(maxsize=3)
def _profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # pyright: ignore


def _aliens(rng: random.Random) -> list[bytes]:
    """What is no picture, under a picture's name."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("picture.jpg", b"\0" * 1000)
    noise = rng.randbytes(rng.choice((1, 10, 1000)))
    magic = (
        b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\xff\xff\xff\x7fWEBPVP8X",
        b"II*\0\x08\0\0\0",
        b"MM\0*\0\0\0\x08",
        b"II+\0\x08\0\0\0",
        b"BM",
        b"GIF89a",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\xff\x4f\xff\x51",
    )
    others = (
        b"",
        b"\0" * 4096,
        noise,
        archive.getvalue(),
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(x) print flush quit\n",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>",
        b"%PDF-1.7\n",
        b"P6 60000 60000 255\n",
        b"\0\0\0\x1cftypheic\0\0\0\0mif1heic",
        b"\0\0\0\0TFL3" + noise,
        "Bild nicht gefunden\n".encode("utf-16"),
    )
    return [*others, *(start + noise for start in magic)]


def _bomb(rng: random.Random) -> bytes:
    """A well-formed PNG of a few kilobytes and up to 120 megapixels, with all that makes decoding take memory."""
    colour, channels, bits = rng.choice(((0, 1, 8), (2, 3, 8), (3, 1, 8), (4, 2, 8), (6, 4, 8), (0, 1, 16), (3, 1, 1)))
    pixels = rng.choice((20e6, 39.9e6, 99.9e6, 121e6))  # around the limits of preprocess.py
    width = int(pixels**0.5 * rng.choice((0.5, 1, 2)))
    height = int(pixels / width)
    row = b"\0" * (1 + (width * channels * bits + 7) // 8)
    packer = zlib.compressobj(1)
    block = row * 64
    data = b"".join(packer.compress(block) for _ in range(height // 64)) + packer.compress(row * (height % 64))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    if rng.random() < 0.5:
        chunks.append((b"iCCP", b"profile\0\0" + zlib.compress(_profile("sRGB").replace(b"sRGB", b"none"))))
    if rng.random() < 0.5:
        chunks.append((b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"))
    if colour == 3:
        chunks.append((b"PLTE", bytes(range(6))))
    if rng.random() < 0.5 and colour in (0, 2, 3):
        chunks.append((b"tRNS", {0: b"\0\1", 2: b"\0\1\0\1\0\1", 3: b"\x80\xff"}[colour]))
    chunks += [(b"IDAT", data + packer.flush()), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(piece)) + name + piece + struct.pack(">I", zlib.crc32(name + piece))
        for name, piece in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _png_chunks(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(position, length of the content) of every whole chunk."""
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            return
        yield at, length
        at += 12 + length


def _mend_checksums(data: bytearray) -> None:
    for at, length in _png_chunks(data):
        struct.pack_into(">I", data, at + 8 + length, zlib.crc32(data[at + 4 : at + 8 + length]))


def _jpeg_segments(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """(position of the 0xFF, marker) of the segments before the scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        yield at, data[at + 1]
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def _header_fields(form: str, data: bytes | bytearray) -> list[_Field]:
    """Where width, height, depth, number of channels, compression and the like stand."""
    if form == "JPEG":
        frames = [at for at, marker in _jpeg_segments(data) if marker in (0xC0, 0xC1, 0xC2)]
        return [(at + i, code) for at in frames for i, code in ((4, ">B"), (5, ">H"), (7, ">H"), (9, ">B"), (11, ">B"))]
    if form == "TIFF":
        return [(at + 8, "<I") for at in _tiff_entries(data)]
    if form == "JPEG2000":
        box, size = data.find(b"ihdr"), data.find(b"\xff\x51")
        return [(box + 4, ">I"), (box + 8, ">I"), (box + 12, ">H"), *((size + 6 + 4 * i, ">I") for i in range(8))]
    if form == "GIF":
        frame = data.find(b"\x2c", 13 + 3 * 256)
        return [(6, "<H"), (8, "<H"), (10, "<B"), *((frame + i, "<H") for i in (1, 3, 5, 7)), (frame + 10, "<B")]
    return {
        "PNG": [(16, ">I"), (20, ">I"), (24, ">B"), (25, ">B"), (28, ">B")],
        "WEBP": [(20, "<I"), (24, "<I"), (27, "<H"), (26, "<H"), (28, "<H"), (21, "<I")],
        "BMP": [(14, "<I"), (18, "<I"), (22, "<I"), (26, "<H"), (28, "<H"), (30, "<I"), (34, "<I"), (46, "<I")],
    }[form]


def _length_fields(form: str, data: bytes | bytearray) -> list[_Field]:
    """Where lengths and offsets of chunks stand."""
    if form == "JPEG":
        return [(at + 2, ">H") for at, _ in _jpeg_segments(data)]
    if form == "PNG":
        return [(at, ">I") for at, _ in _png_chunks(data)]
    if form == "TIFF":
        return [(4, "<I"), (8, "<H"), *((at + 4, "<I") for at in _tiff_entries(data))]
    if form == "WEBP":
        return [(4, "<I"), (16, "<I"), *((at, "<I") for at in range(20, min(len(data), 80), 4))]
    if form == "JPEG2000":
        return [(at, ">I") for at in (0, 12, 32, 40)] + [(data.find(b"\xff\x51") + 2, ">H")]
    if form == "GIF":
        frame = data.find(b"\x2c", 13 + 3 * 256)
        return [(frame + 11, "<B"), (frame + 12 + data[frame + 11], "<B"), (13 + 3 * 256 + 2, "<B")]
    return [(2, "<I"), (10, "<I"), (14, "<I"), (34, "<I")]


def _tiff_entries(data: bytes | bytearray) -> list[int]:
    start = int.from_bytes(data[4:8], "little")
    return [start + 2 + 12 * i for i in range(int.from_bytes(data[start : start + 2], "little"))]


# -------------------------------------------------------------------------------------------------------------- models

_FORMS = ("damaged", "resealed", "foreign")
_PLACES = (
    "shape",
    "type",
    "buffer",
    "index",
    "ends",
    "quantization",
    "operator code",
    "options",
    "offset",
    "vtable",
    "length",
)
_STRUCTURE = ("bits", "bytes", "truncate", "insert", "delete", "splice", "word", "weights")
MODEL_MUTATIONS = (*_PLACES, *_STRUCTURE, "metadata", "contract", "archive")


def model_case(seed: int, number: int, models: Sequence[Path] = ()) -> Hostile:
    """The mutated model file `number` of `seed`; see `image_case`. models: further seeds beside the packaged one.

    Forms: "damaged" is a file whose seal is left as it was; "resealed" is sealed anew after the mutation, so that the
    network is reached; "foreign" has neither archive nor metadata, so that nothing but the network is there.
    """
    form = _FORMS[number % 3]
    mutation = MODEL_MUTATIONS[number // 3 % len(MODEL_MUTATIONS)]
    rng = random.Random(f"{seed} model {number}")
    paths = (DEFAULT_MODEL, *models)
    source = _model(paths[number // (3 * len(MODEL_MUTATIONS)) % len(paths)])
    if mutation == "contract" and form == "foreign":
        mutation = "metadata"
    if form == "foreign" and not (mutation == "metadata" and rng.random() < 0.5):
        # Not cut out, so that no offset moves: names that nobody looks for.
        bare = source.network.replace(b"TFLITE_METADATA", b"TFLITE_METADATX").replace(
            b"metadata.json", b"metadata.jsox"
        )
        source = source._replace(network=bare)
    network = _mutated_network(source, mutation, rng)
    if form == "foreign":
        mutant = _Mutant(
            with_archive(network, {"labels.txt": source.labels}) if mutation == "archive" else network, rng
        )
        if mutation == "archive":
            mutant.draw = lambda: rng.randrange(len(network), len(mutant.data))
            rng.choice((mutant.bits, mutant.bytes, mutant.word, mutant.truncate))()
        return Hostile(form, mutation, ".tflite", bytes(mutant.data))
    if form == "damaged":
        text = contracts.sealed(source.contract, source.network, source.labels)
        archive = {"labels.txt": source.labels, "metadata.json": text}
        if mutation == "contract":
            archive["metadata.json"] = _odd_contract(text, rng)
    else:
        contract = _hostile_contract(source.contract, rng) if mutation == "contract" else source.contract
        labels = source.labels
        archive = {"labels.txt": labels, "metadata.json": contracts.sealed(contract, network, labels)}
    mutant = _Mutant(with_archive(network, archive), rng)
    if mutation == "archive":
        mutant.draw = lambda: rng.randrange(len(network), len(mutant.data))
        rng.choice((mutant.bits, mutant.bytes, mutant.word, mutant.truncate, mutant.insert, mutant.delete))()
    return Hostile(form, mutation, ".tflite", bytes(mutant.data))


class _Model(NamedTuple):
    network: bytes
    contract: dict[str, Any]
    labels: str
    places: dict[str, list[_Field]]
    structure: list[tuple[int, int]]  # start and end of what is no weights
    metadata: tuple[int, int]


@lru_cache(maxsize=4)
def _model(path: Path) -> _Model:
    file = _read_told(path, read_model_file)
    contract = dict(file.contract) or {
        "format": contracts.FORMAT,
        "preprocessing": file.input_spec.to_steps(),
        "labels": [label._asdict() for label in file.labels],
    }
    contract["format_version"] = contracts.FORMAT_VERSION
    labels, network = contracts.labels_text(file.labels), file.content[: file.network_length]
    places, buffers, metadata = _walked(network)
    structure, at = list[tuple[int, int]](), 0
    for start, end in sorted((start, end) for start, end in buffers if end - start > 64 and start != metadata[0]):
        structure.append((at, start))
        at = max(at, end)
    structure.append((at, len(network)))
    return _Model(network, contract, labels, places, [span for span in structure if span[0] < span[1]], metadata)


def _mutated_network(source: _Model, mutation: str, rng: random.Random) -> bytes:
    if mutation in ("contract", "archive"):
        return source.network
    for _ in range(10):
        network = _network_once(source, mutation, rng)
        if network != source.network:  # a zero over a zero is no mutation
            return network
    return _network_once(source, "truncate", rng)


def _network_once(source: _Model, mutation: str, rng: random.Random) -> bytes:
    mutant = _Mutant(source.network, rng)
    if mutation in _PLACES:
        mutant.set_numbers(source.places[mutation])
    elif mutation == "weights":
        mutant.bits()
        mutant.draw = lambda: rng.randrange(len(source.network))
        mutant.bytes()
    elif mutation == "metadata":
        start, end = source.metadata
        mutant.draw = lambda: rng.randrange(start, end)
        rng.choice((mutant.bits, mutant.bytes, mutant.word))()
    else:
        spans = source.structure
        lengths = [end - start for start, end in spans]
        mutant.draw = lambda: min(rng.randrange(*rng.choices(spans, lengths)[0]), len(mutant.data) - 1)
        if mutation == "splice":
            mutant.splice(source.network)
        else:
            getattr(mutant, mutation)()
    return bytes(mutant.data)


def _hostile_contract(contract: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One or two values, anywhere in it, replaced by what nobody expects there, or left out."""
    changed: dict[str, Any] = json.loads(json.dumps(contract))
    odd: tuple[Any, ...] = (
        *(
            None,
            True,
            -1,
            0,
            1e308,
            2**70,
            "",
            "x\ny\x1b[2J",
            "\ud7ff",
            "x" * 100_000,
            [],
            {},
            [[]],
            {"step": "resize"},
        ),
        *(["a"] * 7, math.nan, math.inf, 4097, 160, 1.5),
    )
    for _ in range(rng.choice((1, 1, 2))):
        node: Any = changed
        while True:
            if not node:
                break
            key: Any = rng.choice(sorted(node)) if isinstance(node, dict) else rng.randrange(len(node))  # pyright: ignore
            if isinstance(node[key], (dict, list)) and rng.random() < 0.8:
                node = node[key]  # pyright: ignore[reportUnknownVariableType]
                continue
            if rng.random() < 0.2:
                del node[key]
            else:
                node[key] = rng.choice(odd)
            break
    return changed


def _odd_contract(text: str, rng: random.Random) -> str:
    """No contract at all: broken, deep or huge JSON."""
    return rng.choice(
        (
            "",
            "[",
            "[" * 100_000,
            "{}",
            "null",
            "7" * 10_000,
            text[: len(text) // 2],
            text * 2,
            f'{{"a": {text}}}',
            "\ud7ff",
        )
    )


def _walked(data: bytes) -> tuple[dict[str, list[_Field]], list[tuple[int, int]], tuple[int, int]]:
    """Where the numbers of a TFLite flatbuffer stand: (fields by kind, span of every buffer, span of the metadata).

    A reader of its own beside network.py, which has no use for positions. Field numbers: schema.fbs, version 3.
    """
    places: dict[str, list[_Field]] = {name: [] for name in _PLACES}

    def number(at: int, code: str = "<I") -> int:
        return struct.unpack_from(code, data, at)[0]

    def table(at: int) -> int:
        """Follows the offset at `at`, and notes it and the table's own fields."""
        position = at + number(at)
        vtable = position - number(position, "<i")
        places["offset"] += [(at, "<I"), (position, "<i")]
        places["vtable"] += [(vtable + i, "<H") for i in range(0, number(vtable, "<H"), 2)]
        return position

    def field(position: int, place: int) -> int | None:
        vtable = position - number(position, "<i")
        slot = 4 + 2 * place
        offset = number(vtable + slot, "<H") if slot < number(vtable, "<H") else 0
        return position + offset if offset else None

    def vector(position: int, place: int) -> tuple[int, int]:
        at = field(position, place)
        if at is None:
            return 0, 0
        start = at + number(at)
        places["offset"].append((at, "<I"))
        places["length"].append((start, "<I"))
        return start + 4, number(start)

    def tables(position: int, place: int) -> list[int]:
        start, length = vector(position, place)
        return [table(start + 4 * i) for i in range(length)]

    def note(kind: str, position: int, *wanted: tuple[int, str]) -> None:
        for place, code in wanted:
            at = field(position, place)
            places[kind] += [] if at is None else [(at, code)]

    def note_all(kind: str, position: int, place: int, code: str, most: int = 8) -> None:
        start, length = vector(position, place)
        size = struct.calcsize(code)
        places[kind] += [(start + size * i, code) for i in range(min(length, most))]

    root = table(0)
    for entry in tables(root, 1):
        note("operator code", entry, (0, "<b"), (2, "<i"), (3, "<i"))
    for graph in tables(root, 2):
        note_all("ends", graph, 1, "<i")
        note_all("ends", graph, 2, "<i")
        for tensor in tables(graph, 0):
            note_all("shape", tensor, 0, "<i")
            note_all("shape", tensor, 7, "<i")
            note("type", tensor, (1, "<b"))
            note("buffer", tensor, (2, "<I"))
            at = field(tensor, 4)
            if at is not None:
                quantization = table(at)
                note_all("quantization", quantization, 2, "<f")
                note_all("quantization", quantization, 3, "<q")
                note("quantization", quantization, (6, "<i"))
        for operator in tables(graph, 3):
            note("operator code", operator, (0, "<I"), (3, "<B"))
            note_all("index", operator, 1, "<i")
            note_all("index", operator, 2, "<i")
            at = field(operator, 4)
            if at is not None:
                options = table(at)
                size = number(options - number(options, "<i") + 2, "<H")
                places["options"] += [(options + i, "<i") for i in range(4, size, 4)]
    buffers = [(start, start + length) for start, length in (vector(entry, 0) for entry in tables(root, 4))]
    metadata = (0, 0)
    for entry in tables(root, 6):
        start, length = vector(entry, 0)
        index = field(entry, 1)
        if data[start : start + length] == b"TFLITE_METADATA":
            metadata = buffers[0 if index is None else number(index)]
    return places, buffers, metadata if metadata[1] else (0, min(len(data), 1000))


# -------------------------------------------------------------------------------------------------------- the children


def judge(call: Callable[[], tuple[Prediction, int, bool]]) -> tuple[str, str]:
    """(outcome, detail) of a call that returns a prediction, the number of classes, and whether its sum must be one."""
    try:
        prediction, classes, sums_to_one = call()
    except SkinEdgeError as error:
        message = str(error)
        is_clear = message.isprintable() and 0 < len(message) <= _LONGEST_MESSAGE
        return "refused" if is_clear else "message", f"{type(error).__name__}: {message[:_LONGEST_MESSAGE]}"
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]
    values = list(prediction.probabilities.values())
    if len(values) != classes or next(iter(prediction.probabilities), None) != prediction.label:
        return "answer", f"{len(values)} probabilities for {classes} labels"
    if not all(map(math.isfinite, values)) or (sums_to_one and abs(sum(values) - 1) > 1e-3):
        return "answer", f"probabilities {values[:10]}"
    if not all(code.isprintable() for code in prediction.probabilities):
        return "answer", "a label with control characters"
    return "answered", prediction.label[:100]


def _work(seed: int, folder: Path, models: Sequence[Path]) -> None:
    """The child: a line "KIND NUMBER" on stdin, a line of JSON on stdout for each, until stdin ends."""
    # LiteRT writes to stdout as well: the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    warnings.simplefilter("ignore")
    _limit_addresses()
    classifier = SkinClassifier()
    plain = folder / _PICTURE_NAME
    _plain("RGB", (64, 48)).save(plain)
    classifier.predict(plain)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        kind, number = line.split()
        made = _made(Case(kind, int(number)), seed, models)
        path = folder / f"case{made.suffix}"
        path.write_bytes(made.content)
        forgotten = _forget_peak()
        start = perf_counter()
        if kind == "image":
            outcome, detail = judge(lambda path=path: (classifier.predict(path), len(classifier.labels), True))
        else:
            outcome, detail = judge(lambda path=path: _load_and_predict(path, plain))
        milliseconds = (perf_counter() - start) * 1000
        peak = peak_resident_bytes() if forgotten else None
        answers.write(json.dumps([made.form, made.mutation, outcome, detail, milliseconds, peak]) + "\n")
        answers.flush()
        path.unlink()


def _load_and_predict(path: Path, picture: Path) -> tuple[Prediction, int, bool]:
    """As the command `predict MODEL IMAGE` does. What a stranger's network answers need not sum to one."""
    classifier = _read_told(path, SkinClassifier)
    return classifier.predict(picture), len(classifier.labels), False


def _read_told(path: Path, read: Callable[..., _T]) -> _T:
    """Reads a model; one that does not say in which range it takes floats is told so, as a user would do."""
    try:
        return read(path)
    except ModelFileError as error:
        if "--mean" not in str(error):
            raise
        return read(path, mean=127.5, std=127.5)


def _made(case: Case, seed: int, models: Sequence[Path]) -> Hostile:
    return image_case(seed, case.number) if case.kind == "image" else model_case(seed, case.number, models)


def _limit_addresses() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_LIMIT, _ADDRESS_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget_peak() -> bool:
    """Linux can set a process's peak back to what it has now; else no peak belongs to one case."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


class Worker:
    """A child process and what starts it again.

    command: it says "ready", then answers each line on its stdin by a line of JSON.
    """

    def __init__(self, command: Sequence[str], time_limit_s: float = TIME_LIMIT_S):
        self._command = list(command)
        self._time_limit_s = time_limit_s
        self._child: subprocess.Popen[str] | None = None
        self._answered = 0

    def run(self, case: Case) -> Result:
        """Runs a case. Where the child dies or does not answer in time, the result says so and the next call starts
        another one."""
        if self._answered >= _CASES_PER_CHILD:
            self.close()
        child = self._child = self._child or self._started()
        assert child.stdin is not None and child.stdout is not None
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            child.kill()

        timer = threading.Timer(self._time_limit_s, end)
        start = perf_counter()
        timer.start()
        try:
            child.stdin.write(f"{case.kind} {case.number}\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line.endswith("\n"):
            self._answered += 1
            form, mutation, outcome, detail, milliseconds, peak = json.loads(line)
            if outcome in ("answered", "refused") and peak is not None and peak > MEMORY_LIMIT:
                outcome, detail = "memory", f"{peak / 2**20:.0f} MiB; {outcome}: {detail}"
            return Result(str(case), form, mutation, outcome, detail, milliseconds, peak)
        code = child.wait()
        self.close()
        milliseconds = (perf_counter() - start) * 1000
        if is_late.is_set():
            return Result(str(case), "", "", "hang", f"no answer in {self._time_limit_s:g} s", milliseconds, None)
        return Result(str(case), "", "", "crash", _ending(code), milliseconds, None)

    def _started(self) -> subprocess.Popen[str]:
        """A child that has said "ready". One that dies before is found out by its first case.

        Starting is not in that case's time: on an emulated Raspberry Pi it alone takes longer than a case may.
        """
        child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
        )
        assert child.stdout is not None
        timer = threading.Timer(_START_LIMIT_S, child.kill)
        timer.start()
        child.stdout.readline()
        timer.cancel()
        return child

    def close(self) -> None:
        child, self._child, self._answered = self._child, None, 0
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(self._time_limit_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def _ending(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


# ---------------------------------------------------------------------------------------------------------- the report


def measure(
    images: int,
    models: int,
    seed: int = 42,
    *,
    seed_models: Sequence[Path] = (),
    time_limit_s: float = TIME_LIMIT_S,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Runs the cases and sums up, JSON-ready.

    per kind ("images", "models"): "outcomes" (outcome -> count), "table" (form -> mutation -> outcome -> count),
    "slowest" and "largest" (a Result each, None where nothing ran or the system does not tell). "bad": every bad
    Result. progress: called with the number of cases done.
    """
    start = perf_counter()
    cases = [Case("image", i) for i in range(images)] + [Case("model", i) for i in range(models)]
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="skin-edge-hostile-") as folder:
        command = [sys.executable, "-m", f"{__package__}.hostile", "--work", folder, "--seed", str(seed)]
        worker = Worker([*command, *(str(path.resolve()) for path in seed_models)], time_limit_s)
        try:
            for case in cases:
                result = worker.run(case)
                if not result.form:  # the child died before it could say what it was
                    made = _made(case, seed, seed_models)
                    result = replace(result, form=made.form, mutation=made.mutation)
                results.append(result)
                if progress:
                    progress(len(results))
        finally:
            worker.close()
    return {
        "seed": seed,
        "seed_models": [str(path) for path in (DEFAULT_MODEL, *seed_models)],
        "seconds": perf_counter() - start,
        "machine": describe_machine("ai-edge-litert"),
        "images": _summed([result for result in results if result.case.startswith("image")]),
        "models": _summed([result for result in results if result.case.startswith("model")]),
        "bad": [asdict(result) for result in results if result.outcome in BAD],
    }


def _summed(results: Sequence[Result]) -> dict[str, Any]:
    counts: dict[str, dict[str, Counter[str]]] = {}
    for result in results:
        counts.setdefault(result.form, {}).setdefault(result.mutation, Counter())[result.outcome] += 1
    measured = [result for result in results if result.peak_bytes is not None]
    return {
        "cases": len(results),
        "outcomes": dict(Counter(result.outcome for result in results)),
        "table": {form: {kind: dict(count) for kind, count in rows.items()} for form, rows in counts.items()},
        "slowest": asdict(max(results, key=lambda result: result.milliseconds)) if results else None,
        "largest": asdict(max(measured, key=lambda result: result.peak_bytes or 0)) if measured else None,
    }


def table(result: dict[str, Any]) -> str:
    """What `measure` returned, at most 80 columns."""
    lines: list[str] = []
    for name in ("images", "models"):
        part = result[name]
        if not part["cases"]:
            continue
        lines += [f"{part['cases']} {name}, seed {result['seed']}", ""]
        lines.append(f"{'':24}{'cases':>8}{'answered':>10}{'refused':>9}  bad")
        for form, rows in part["table"].items():
            for mutation, counts in (("", _total(rows.values())), *sorted(rows.items())):
                bad = ", ".join(f"{counts[outcome]} {outcome}" for outcome in BAD if counts.get(outcome))
                answered, refused = counts.get("answered", 0), counts.get("refused", 0)
                title = f"  {mutation}" if mutation else form
                lines.append(f"{title:24}{sum(counts.values()):>8}{answered:>10}{refused:>9}  {bad or '-'}")
        slowest, largest = part["slowest"], part["largest"]
        lines += ["", f"slowest   {slowest['milliseconds']:>8.0f} ms   {slowest['case']} ({_kind(slowest)})"]
        if largest:
            lines.append(f"largest   {largest['peak_bytes'] / 2**20:>8.0f} MiB  {largest['case']} ({_kind(largest)})")
        lines.append("")
    lines.append(f"{len(result['bad'])} bad cases in {result['seconds']:.0f} s" + (":" if result["bad"] else ""))
    for bad in result["bad"][:40]:
        lines.append(f"  {bad['case']:13}{bad['outcome']:10} {_kind(bad)}: {bad['detail']}"[:80].rstrip())
    if len(result["bad"]) > 40:
        lines.append(f"  and {len(result['bad']) - 40} more: --json lists them all")
    if result["bad"]:
        lines.append(f"one of them as a file: --seed {result['seed']} --case {result['bad'][0]['case']} --out DIR")
    return "\n".join(line[:80] for line in lines)


def _total(rows: Any) -> Counter[str]:
    return sum((Counter[str](counts) for counts in rows), Counter[str]())


def _kind(result: dict[str, Any]) -> str:
    return f"{result['form']}, {result['mutation']}"


def write_case(name: str, seed: int, folder: Path, models: Sequence[Path] = ()) -> Path:
    """Writes the case "image-N" or "model-N" into `folder` and returns its path."""
    kind, _, number = name.partition("-")
    if kind not in ("image", "model") or not number.isdecimal():
        raise UsageError(f"{name} is no case: it is image-NUMBER or model-NUMBER")
    made = _made(Case(kind, int(number)), seed, models)
    path = folder / f"{name}{made.suffix}"
    files.write(path, made.content)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m skin_edge.benchmarks.hostile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("seed_models", nargs="*", type=Path, metavar="MODEL", help="further models to mutate")
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--models", type=int, default=2000, metavar="N", help="default: 2000")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default: 42")
    parser.add_argument("--case", metavar="NAME", help="write this case (image-N or model-N) to --out and run nothing")
    parser.add_argument("--out", type=Path, metavar="DIR", help="for hostile.json and the bad cases' files")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        _work(arguments.seed, arguments.work, arguments.seed_models)
        return
    try:
        if arguments.case:
            print(write_case(arguments.case, arguments.seed, arguments.out or Path(), arguments.seed_models))
            return
        result = measure(
            arguments.images,
            arguments.models,
            arguments.seed,
            seed_models=arguments.seed_models,
            progress=_progress if sys.stderr.isatty() else None,
        )
        as_json = json.dumps(result, indent=2, allow_nan=False)
        if arguments.out:
            files.write(arguments.out / "hostile.json", as_json + "\n")
            for bad in result["bad"]:
                write_case(bad["case"], arguments.seed, arguments.out, arguments.seed_models)
    except SkinEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(as_json if arguments.json else table(result))
    sys.exit(1 if result["bad"] else 0)


def _progress(done: int) -> None:
    if done % 100 == 0:
        print(f"\r{done} cases", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
