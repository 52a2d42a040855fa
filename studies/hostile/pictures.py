"""Hostile pictures: mutated files, and files that are well-formed and made to cost memory or time."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms, features

from .mutations import Field, Hostile, Mutant

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
        garbage = Mutant(_exif() if mutation == "exif" else _profile(rng.choice(("sRGB", "LAB", "XYZ"))), rng)
        rng.choice((garbage.bits, garbage.bytes, garbage.truncate, garbage.word, garbage.insert))()
        blocks = {("exif" if mutation == "exif" else "icc_profile"): bytes(garbage.data)}
        return _encoded(plain(rng.choice(("RGB", "L")), (48, 36)), form, **blocks)
    seeds = _pictures()[form]
    mutant = Mutant(rng.choice(seeds), rng)
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


def plain(mode: str, size: tuple[int, int]) -> Image.Image:
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
    rgb, grey, large = plain("RGB", (61, 47)), plain("L", (40, 40)), plain("RGB", (180, 140))
    rgba, palette, cmyk = plain("RGBA", (33, 50)), rgb.convert("P"), plain("CMYK", (48, 32))
    frames = [plain("RGB", (32, 32)).rotate(90 * i) for i in range(1, 4)]
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
            _encoded(plain("I;16", (30, 30)), "PNG"),
            _encoded(plain("LA", (30, 30)), "PNG", dpi=(72, 72)),
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
            _encoded(plain("I;16", (30, 30)), "TIFF"),
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


def _header_fields(form: str, data: bytes | bytearray) -> list[Field]:
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


def _length_fields(form: str, data: bytes | bytearray) -> list[Field]:
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
