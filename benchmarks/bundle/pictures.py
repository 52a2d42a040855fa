"""Golden pictures: drawn lesions in every form that a phone or a dermatoscope writes, and files that must be refused.

Nothing here is of any data set. Pixels are computed in integers, so they are the same with every NumPy. PNG files are
written here; their compressed bytes depend on zlib's version. JPEG files are written by Pillow; their bytes depend on
the version of its libjpeg. On one machine everything repeats to the byte, and golden answers are made from the files
as they are.
"""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


@functools.cache
def good(height: int, width: int) -> Mapping[str, bytes]:
    """File name -> content of every picture that must be answered.

    Args:
        height, width: Of the network's input, pixels.
    """
    files = {
        "jpeg-444.jpg": _jpeg(lesion(450, 600, 1), subsampling=0, quality=92),
        "jpeg-420.jpg": _jpeg(lesion(768, 1024, 2), subsampling=2, quality=88),
        "jpeg-420-odd.jpg": _jpeg(lesion(451, 603, 3), subsampling=2, quality=90),
        "jpeg-422-progressive.jpg": _jpeg(lesion(480, 640, 4), subsampling=1, quality=90, progressive=True),
        "jpeg-low-quality.jpg": _jpeg(lesion(450, 600, 5), subsampling=2, quality=35),
        "input-size.png": _png(lesion(height, width, 6)),
        "enlarged.png": _png(lesion(61, 97, 7)),
        "portrait.jpg": _jpeg(lesion(600, 450, 8), subsampling=2, quality=90),
        "tall.png": _png(lesion(620, 200, 9)),
        "wide.png": _png(lesion(150, 700, 10)),
        "one-pixel.png": _png(lesion(1, 1, 11)),
        "grey.jpg": _jpeg(lesion(300, 400, 12)[..., 1]),
        "grey.png": _png(lesion(300, 400, 13)[..., 1]),
        "cmyk.jpg": _cmyk(lesion(300, 400, 14)),
        "alpha.png": _png(np.concatenate([lesion(240, 320, 15), _fade(240, 320)[..., None]], axis=-1)),
        "palette.png": _palette(lesion(240, 320, 16)),
        "transparent-grey.png": _transparent_grey(lesion(240, 320, 23)[..., 1]),
        "interlaced.png": _interlaced(lesion(243, 325, 24)),
        "grey-16.png": _png(_deep(lesion(240, 320, 17)[..., 1])),
        "rgb-16.png": _png(_deep(lesion(240, 320, 18))),
        "display-p3.jpg": _jpeg(lesion(450, 600, 19), subsampling=0, quality=92, icc_profile=display_p3()),
        "display-p3.png": _png(lesion(240, 320, 20), display_p3()),
        "checkerboard.png": _png(_checkerboard(480, 640)),
        "lines.png": _png(_lines(450, 600)),
        "12-megapixels.jpg": _jpeg(_grainy(lesion(750, 1000, 21).repeat(4, 0).repeat(4, 1)), subsampling=2, quality=80),
    }
    upright = lesion(240, 320, 22)
    upright[:60, :80] = (250, 240, 30)  # a corner, so that every turn shows
    for orientation in range(1, 9):
        turned = np.ascontiguousarray(stored(upright, orientation))
        files[f"exif-{orientation}.jpg"] = _jpeg(turned, subsampling=0, quality=95, exif=_exif(orientation))
    return files


@functools.cache
def fit() -> Mapping[str, bytes]:
    """File name -> content of pictures near enough to photographs for a file with limits to assess them."""
    files = {f"fit-{seed}.jpg": _jpeg(natural(240, 320, seed), subsampling=0, quality=92) for seed in _FIT}
    return {**files, "fit-portrait.png": _png(natural(280, 210, _FIT[0]))}


# Seeds: of these pictures the packaged model refers some, is unsure of one, and knows others.
_FIT = (2, 3, 4, 7, 10, 13, 22, 24)


@functools.cache
def unfit(height: int, width: int) -> Mapping[str, bytes]:
    """File name -> content of pictures that can be read and that a file with limits should refuse to assess.

    Args:
        height, width: Of the network's input, pixels.
    """
    photograph = lesion(180, 240, 41).astype(np.int64)
    y, x = np.mgrid[0:180, 0:240]
    hairs = ((7 * x + 3 * y) % 36 < 9) | ((2 * x - 9 * y) % 54 < 12)
    glare = np.maximum(0, 300 - ((x - 120) ** 2 + (y - 90) ** 2) // 22)
    return {
        "unfit-black.png": _png(np.zeros((120, 160, 3), np.uint8)),
        "unfit-white.png": _png(np.full((120, 160, 3), 255, np.uint8)),
        "unfit-noise.png": _png(_noisy(height, width)),
        "unfit-text.png": _png(_written(("CANNOT", "ASSESS", "THIS"))),
        "unfit-dark.jpg": _jpeg(_bytes(photograph // 12), quality=90),
        "unfit-bright.jpg": _jpeg(_bytes(photograph * 7 // 4 + 60), quality=90),
        "unfit-blurred.png": _png(_smooth(photograph)),
        "unfit-blue.jpg": _jpeg(_bytes(photograph * np.array([2, 5, 8]) // 7), quality=90),
        "unfit-hair.jpg": _jpeg(_bytes(photograph // (1 + 3 * hairs[..., None])), quality=60),
        "unfit-glare.jpg": _jpeg(_bytes(photograph + glare[..., None]), quality=90),
    }


def broken(max_pixels: int) -> dict[str, bytes]:
    """File name -> content of what must be refused.

    Args:
        max_pixels: Of the contract's limits.
    """
    jpeg = _jpeg(lesion(300, 400, 31), subsampling=2, quality=90)
    png = _png(lesion(200, 300, 32))
    side = int(max_pixels**0.5) + 100
    return {
        "truncated.jpg": jpeg[: len(jpeg) * 6 // 10],
        "truncated.png": png[: len(png) * 6 // 10],
        "wrong-checksum.png": _wrong_checksum(png),
        "headers-only.jpg": jpeg[: jpeg.index(b"\xff\xda")],
        "empty.jpg": b"",
        "text.jpg": b"This is not a picture, whatever its name says.\n",
        "over-the-limit.png": _png_file(side, side, 8, 2, zlib.compress(bytes(1000), 9)),
        "no-pixels.png": _png_file(0, 10, 8, 2, zlib.compress(b"", 9)),
    }


def lesion(height: int, width: int, seed: int) -> Pixels:
    """uint8 [height, width, 3]: skin, a dark lesion with an uneven border and colour, hairs, and a light vignette."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    u, v = ((2 * x + 1) * 512) // max(width, 1), ((2 * y + 1) * 512) // max(height, 1)  # 0..1023 along each side
    coarse, fine = _noise(u, v, 256, seed), _noise(u, v, 32, seed + 1000)
    centre_x, centre_y = 512 + _hash(seed, 1) % 120 - 60, 512 + _hash(seed, 2) % 120 - 60
    squared = (u - centre_x) ** 2 + ((v - centre_y) * (4 + seed % 3) // 4) ** 2
    radius = 210 + _hash(seed, 3) % 140 + (coarse - 128) * 5 // 4 + (fine - 128) // 4
    inside = np.minimum(np.maximum((radius**2 - squared) // (60 + 60 * (seed % 4)), 0), 255)  # a border, sharp or soft
    tone = np.array([224 - (seed * 5) % 24, 178 - (seed * 7) % 30, 160 - (seed * 3) % 30], np.int64)
    skin = tone + (fine[..., None] - 128) // 14 - ((u - 512) ** 2 + (v - 512) ** 2)[..., None] // 14000
    first, second = np.array(_INKS[seed % 7], np.int64), np.array(_INKS[(seed * 3 + 1) % 7], np.int64)
    spot = (first * coarse[..., None] + second * (255 - coarse[..., None])) // 255 + (fine[..., None] - 128) // 5
    pixels = (skin * (255 - inside[..., None]) + spot * inside[..., None]) // 255
    for hair in range(seed % 4):
        slope, start = _hash(seed, 10 + hair) % 5 - 2, _hash(seed, 20 + hair) % 1024
        away = np.abs(v - start - slope * (u - 512) // 3 - (u - 512) ** 2 // 2000)
        pixels[away < 4] //= 3
    grain = _hashes(x + y * width, seed)[..., None] % 7 - 3
    return _bytes(pixels + grain)


def natural(height: int, width: int, seed: int) -> Pixels:
    """uint8 [height, width, 3]: as `lesion`, but pink skin, a soft border and textures at the scales of photographs."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    u, v = ((2 * x + 1) * 512) // width, ((2 * y + 1) * 512) // height
    layers = [_noise(u, v, step, seed + 50 * step) - 128 for step in (256, 80, 36, 14)]
    centre_x, centre_y = 512 + _hash(seed, 31) % 160 - 80, 512 + _hash(seed, 32) % 160 - 80
    squared = (u - centre_x) ** 2 + ((v - centre_y) * (9 + _hash(seed, 33) % 4) // 11) ** 2
    radius, soft = 220 + _hash(seed, 34) % 170, 50 + _hash(seed, 35) % 40
    ragged = 2 + seed % 3
    reach = radius + ragged * layers[0] // 4 + ragged * layers[1] // 8
    inside = np.minimum(np.maximum((reach**2 - squared) * 255 // (4 * radius * soft) + 127, 0), 255)[..., None]
    tone = np.array([206 + _hash(seed, 36) % 24, 152 + _hash(seed, 37) % 22, 168 + _hash(seed, 38) % 16], np.int64)
    ink = np.array([100 + _hash(seed, 39) % 60, 55 + _hash(seed, 40) % 40, 60 + _hash(seed, 41) % 35], np.int64)
    skin = tone + (layers[0] // 20 + layers[2] // 20 + layers[3] // 16)[..., None]
    other = np.minimum(np.maximum(layers[1] + layers[2] // 2 + 40 * (seed % 4), 0), 255)[..., None]
    mixed = (ink * (255 - other) + np.array(_INKS[seed % 7], np.int64) * other) // 255
    spot = mixed + (layers[1] // 8 + layers[2] // 8 + layers[3] // 9)[..., None]
    grain = _hashes(x + y * width, seed + 60)[..., None] % 9 - 4
    return _bytes((skin * (255 - inside) + spot * inside) // 255 + grain)


def stored(upright: Pixels, orientation: int) -> Pixels:
    """The rows and columns that a file of this EXIF orientation, 1 to 8, holds of an upright picture."""
    pixels: Any = np.swapaxes(upright, 0, 1) if orientation > 4 else upright
    if orientation in (3, 4, 6, 7):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 7, 8) else pixels


@functools.cache
def display_p3() -> bytes:
    """An ICC profile of version 4: Display P3's primaries (adapted to D50) and sRGB's curve."""
    curve = b"para" + bytes(4) + struct.pack(">HH", 3, 0)
    curve += b"".join(_fixed(value) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    tags = {
        b"desc": _localized("Display P3"),
        b"cprt": _localized("public domain"),
        b"wtpt": _xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": _xyz(0.51512, 0.2412, -0.00105),
        b"gXYZ": _xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": _xyz(0.1571, 0.06657, 0.78407),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", start + len(body), bytes(4), 0x04000000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp")
    header += bytes(28) + b"".join(_fixed(value) for value in (0.9642, 1.0, 0.8249))
    return header.ljust(128, b"\0") + table + body


# What lesions are made of: browns, black, blue, red, pink, yellow, grey.
_INKS = ((120, 70, 48), (42, 32, 36), (72, 82, 112), (168, 38, 52), (206, 118, 120), (198, 160, 96), (120, 112, 118))


def _jpeg(pixels: Pixels, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def _cmyk(pixels: Pixels) -> bytes:
    """With black taken out of the colours, as printers do; Pillow writes Adobe's marker and inverted values."""
    black = 255 - pixels.max(axis=-1).astype(np.int64)
    ink = (255 - pixels.astype(np.int64) - black[..., None]) * 255 // np.maximum(255 - black, 1)[..., None]
    buffer = io.BytesIO()
    stack = np.concatenate([ink, black[..., None]], axis=-1).astype(np.uint8)
    Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), stack.tobytes()).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _exif(orientation: int) -> bytes:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def _png(pixels: npt.NDArray[Any], profile: bytes | None = None) -> bytes:
    """Grey, RGB or RGBA of 8 or 16 bits."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    depth, kind = 8 * pixels.dtype.itemsize, {1: 0, 3: 2, 4: 6}[channels]
    return _png_file(width, height, depth, kind, _rows(pixels), _profile_chunk(profile) if profile else b"")


def _palette(pixels: Pixels) -> bytes:
    """6 bits of colour as a palette of 64, two of them transparent to a part."""
    index = (pixels[..., 0] >> 6) * 16 + (pixels[..., 1] >> 6) * 4 + (pixels[..., 2] >> 6)
    levels = [(a * 85, b * 85, c * 85) for a in range(4) for b in range(4) for c in range(4)]
    most = int(np.bincount(index.ravel(), minlength=64).argmax())
    alphas = bytearray(b"\xff" * 64)
    alphas[most], alphas[0] = 128, 0
    chunks = _chunk(b"PLTE", bytes(value for level in levels for value in level)) + _chunk(b"tRNS", bytes(alphas))
    return _png_file(pixels.shape[1], pixels.shape[0], 8, 3, _rows(index.astype(np.uint8)), chunks)


def _rows(pixels: npt.NDArray[Any]) -> bytes:
    """Every row behind a 0, no filter; samples of 16 bits with the high byte first."""
    stored = pixels.astype(">u2") if pixels.dtype.itemsize == 2 else pixels
    return zlib.compress(b"".join(b"\0" + row.tobytes() for row in stored), 9)


def _transparent_grey(pixels: Pixels) -> bytes:
    """4 bits of grey, the commonest value transparent."""
    levels = pixels >> 4
    packed = (levels[:, ::2] << 4) | levels[:, 1::2]
    most = int(np.bincount(levels.ravel(), minlength=16).argmax())
    return _png_file(pixels.shape[1], pixels.shape[0], 4, 0, _rows(packed), _chunk(b"tRNS", struct.pack(">H", most)))


def _interlaced(pixels: Pixels) -> bytes:
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in passes for row in pixels[y::dy, x::dx]]
    return _png_file(pixels.shape[1], pixels.shape[0], 8, 2, zlib.compress(b"".join(rows), 9), interlace=1)


def _wrong_checksum(png: bytes) -> bytes:
    """Of the compressed pixels, which are whole."""
    end = png.index(b"IEND") - 4
    return png[: end - 1] + bytes([png[end - 1] ^ 1]) + png[end:]


def _png_file(
    width: int, height: int, depth: int, kind: int, data: bytes, between: bytes = b"", interlace: int = 0
) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + between + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _profile_chunk(profile: bytes) -> bytes:
    return _chunk(b"iCCP", b"Display P3\0\0" + zlib.compress(profile, 9))


def _deep(pixels: Pixels) -> npt.NDArray[np.uint16]:
    """16 bits whose low byte is not a copy of the high one."""
    deep = pixels.astype(np.uint16)
    return ((deep << 8) | ((deep * 37 + 101) & 255)).astype(np.uint16)


def _fade(height: int, width: int) -> Pixels:
    y, x = np.mgrid[0:height, 0:width]
    return _bytes((x * 510) // width - (y * 120) // height)


def _checkerboard(height: int, width: int) -> Pixels:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([((x + y) % 2) * 255, ((x + y) % 2) * 200 + 30, ((x // 2 + y) % 2) * 255], axis=-1).astype(np.uint8)


def _lines(height: int, width: int) -> Pixels:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(x % 3 == 0) * 255, (y % 3 == 0) * 255, ((x + 2 * y) % 5 == 0) * 255], axis=-1).astype(np.uint8)


def _noisy(height: int, width: int) -> Pixels:
    """Each channel 0 or 255: noise of full contrast that compresses."""
    at = np.reshape(np.arange(3 * height * width, dtype=np.int64), (height, width, 3))
    return ((_hashes(at, 42) & 1) * 255).astype(np.uint8)


_LETTERS = {  # rows of 5 pixels
    "A": (14, 17, 17, 31, 17, 17, 17),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "E": (31, 16, 16, 30, 16, 16, 31),
    "H": (17, 17, 17, 31, 17, 17, 17),
    "I": (14, 4, 4, 4, 4, 4, 14),
    "N": (17, 25, 21, 19, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
    "S": (15, 16, 16, 14, 1, 1, 30),
    "T": (31, 4, 4, 4, 4, 4, 4),
}


def _written(lines: tuple[str, ...], size: int = 8) -> Pixels:
    """Black letters on white, a pixel of a letter `size` pixels wide."""
    page = np.zeros((10 * len(lines), 6 * max(map(len, lines)) + 2), np.uint8)
    for row, line in enumerate(lines):
        for column, letter in enumerate(line):
            for y, bits in enumerate(_LETTERS[letter]):
                for x in range(5):
                    page[10 * row + 2 + y, 6 * column + 2 + x] = bits >> (4 - x) & 1
    grey = (255 - page.repeat(size, 0).repeat(size, 1) * 235).astype(np.uint8)
    return np.stack([grey, grey, grey], axis=-1)


def _smooth(pixels: npt.NDArray[np.int64], side: int = 15) -> Pixels:
    """Twice the means of `side` pixels along each axis, without the border: out of focus."""
    for axis in (0, 0, 1, 1):
        sums, n = pixels.cumsum(axis), pixels.shape[axis]
        pixels = (sums.take(range(side, n), axis) - sums.take(range(n - side), axis)) // side
    return _bytes(pixels)


def _grainy(pixels: Pixels) -> Pixels:
    """Sensor noise, which a filter without antialiasing lets through. In bands: all of it at once takes 0.5 GB."""
    rows, columns = pixels.shape[:2]
    made = np.empty_like(pixels)
    for start in range(0, rows, 100):
        band = pixels[start : start + 100]
        places = np.arange(start * columns, (start + len(band)) * columns, dtype=np.int64)
        at = np.reshape(places, (len(band), columns))
        noise = (_hashes(at, 77) % 19 + _hashes(at, 78) % 19 - 18).astype(np.int16)
        made[start : start + 100] = _bytes(band + noise[..., None])
    return made


def _noise(u: npt.NDArray[np.int64], v: npt.NDArray[np.int64], step: int, seed: int) -> npt.NDArray[np.int64]:
    """Smooth values 0..255: of a lattice of `step`, interpolated in integers."""
    column, row, right, down = u // step, v // step, u % step, v % step

    def at(dx: int, dy: int) -> npt.NDArray[np.int64]:
        return _hashes((column + dx) + 4096 * (row + dy), seed) % 256

    above = at(0, 0) * (step - right) + at(1, 0) * right
    below = at(0, 1) * (step - right) + at(1, 1) * right
    return (above * (step - down) + below * down) // (step * step)


def _hashes(values: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    """Integers 0..2^31-1 that look drawn: a multiplicative hash."""
    mixed = (values.astype(np.uint64) + np.uint64(seed * 7919 + 1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return (mixed >> np.uint64(33)).astype(np.int64)


def _bytes(values: npt.NDArray[Any]) -> Pixels:
    return np.minimum(np.maximum(values, 0), 255).astype(np.uint8)


def _hash(seed: int, number: int) -> int:
    return int(_hashes(np.array([number], np.int64), seed)[0])


def _fixed(value: float) -> bytes:
    """ICC's s15Fixed16Number."""
    return struct.pack(">i", round(value * 65536))


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + _fixed(x) + _fixed(y) + _fixed(z)


def _localized(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
