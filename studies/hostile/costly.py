"""Pictures that are small files and made to cost memory or time: each aims at one thing that a decoder repeats or
allocates because a header says so. `edge_runtime/limits.py` says what is refused."""

from __future__ import annotations

import importlib
import importlib.util
import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms, features

_ORIENTED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # EXIF: turned by 90 degrees


def encoded(image: Image.Image, form: str, **arguments: Any) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **arguments)
    return buffer.getvalue()


@lru_cache(maxsize=3)
def profile(space: str) -> bytes:
    """An ICC profile; that of sRGB does not say so, or it would be skipped."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()  # pyright: ignore
    return made.replace(b"sRGB", b"none").replace("sRGB".encode("utf-16-be"), "none".encode("utf-16-be"))


@lru_cache(maxsize=64)
def _flat(form: str, mode: str, width: int, height: int, adorned: bool) -> bytes:
    """One colour: the smallest file of its size, with an ICC profile and an orientation."""
    image = Image.new(mode, (width, height), (200, 150, 120, 128)[: len(mode)])
    fast: dict[str, Any] = {"WEBP": {"lossless": True, "quality": 0, "method": 0}, "AVIF": {"speed": 10}}.get(form, {})
    blocks = {"icc_profile": profile("sRGB"), "exif": b"Exif\0\0" + _ORIENTED} if adorned else {}
    return encoded(image, form, **fast, **blocks)


def _side(rng: random.Random, most: int) -> int:
    """Mostly small: a case near the limits takes seconds, and one in fifty is enough of them."""
    return rng.choice((most, most // 2)) if rng.random() < 0.02 else rng.choice((1, 17, 64, 300, 700))


def large(rng: random.Random, form: str) -> bytes:
    """A well-formed file around the limits of its format, or, much more often, a small one."""
    most = {"JPEG": 10_100, "WEBP": 6_400, "JPEG2000": 6_400, "AVIF": 6_400, "GIF": 10_100}[form]
    mode = rng.choice(("RGB", "RGBA")) if form in ("WEBP", "JPEG2000", "AVIF") else "L" if form == "GIF" else "RGB"
    return _flat(
        form, mode, _side(rng, most), _side(rng, most), rng.random() < 0.5 and form in ("JPEG", "WEBP", "AVIF")
    )


# ---------------------------------------------------------------------------------------------------------------- JPEG


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def scans(width: int, height: int, count: int, refining: bool = False, components: int = 3) -> bytes:
    """A progressive JPEG with `count` further scans, each of which says that nothing changes, in a few bytes."""
    blocks = -(-width // 8) * -(-height // 8)
    ids = [bytes((i + 1, 0)) for i in range(components)]
    run = int(("0" + "1" * 14) * -(-blocks // 32767) + "1" * 16, 2)  # the longest run of blocks without a change
    bits = 15 * -(-blocks // 32767) + 16
    data = (run >> bits % 8).to_bytes(bits // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"".join(bytes((i + 1, 0x11, 0)) for i in range(components))
    parts = [
        b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64),
        segment(0xC2, struct.pack(">BHHB", 8, height, width, components) + frame),
        segment(0xC4, b"\x00\1" + bytes(15) + b"\0") + segment(0xC4, b"\x10\1" + bytes(15) + b"\xe0"),
        segment(0xDA, bytes((components,)) + b"".join(ids) + b"\0\0\0") + bytes(blocks * components // 8 + 1),
    ]
    for i in range(count):
        parts.append(segment(0xDA, b"\1" + ids[i % components] + bytes((1, 63, 16 * refining))) + data)
    return b"".join(parts) + b"\xff\xd9"


def _scans(rng: random.Random) -> bytes:
    count, side = rng.choice(((2, 16), (50, 300), (99, 100), (101, 16), (3000, 16), (20, 40), (10, 1)))
    if rng.random() < 0.01:
        count, side = rng.choice(((99, 4400), (20, 9000), (1000, 1000)))
    return scans(side, rng.choice((side, 8)), count, rng.random() < 0.5, rng.choice((1, 3)))


def _segments(rng: random.Random) -> bytes:
    """Many segments, or much between them, before the first scan."""
    start, rest = _flat("JPEG", "RGB", 17, 17, False)[:2], _flat("JPEG", "RGB", 17, 17, False)[2:]
    count = rng.choice((10, 1900, 2100, 30_000))
    filling = rng.choice(
        (segment(rng.randrange(0xE0, 0xF0), b""), segment(0xFE, b"x" * 200), b"\xff", b"\0", b"\xff\0")
    )
    return start + filling * count + rest


def _hostile_exif(rng: random.Random) -> bytes:
    """Tags that lie over each other."""
    length = rng.choice((100, 10_000, 65_000, 1_000_000))
    count = min(rng.choice((1, 10, 300, 4000, 5000)), (length - 8) // 12)
    entries = b"".join(struct.pack("<HHII", i, rng.choice((2, 7, 4, 5)), length // 8, 0) for i in range(count))
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries + bytes(4)
    return block + bytes(max(0, length - len(block)))


def _exif(rng: random.Random) -> bytes:
    """An EXIF block that is large once it is read, in each format that takes one."""
    block = _hostile_exif(rng)
    form = rng.choice(("JPEG", "WEBP", "PNG"))
    if form == "JPEG":
        return encoded(Image.new("RGB", (16, 16)), form, exif=b"Exif\0\0" + block[:65_000])
    return encoded(Image.new("RGB", (16, 16)), form, exif=block)


# ----------------------------------------------------------------------------------------------------------------- PNG


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG, with its checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *others: bytes, bits: int = 8, colour: int = 0, interlaced: bool = False) -> bytes:
    """A grey or other PNG of zeros. others: chunks between header and pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    passes = ((8, 8), (8, 8), (4, 8), (4, 4), (2, 4), (2, 2), (1, 2)) if interlaced else ((1, 1),)  # Adam7, rounded up
    length = sum(-(-height // down) * (1 + (-(-width // across) * channels * bits + 7) // 8) for across, down in passes)
    packer = zlib.compressobj(1)
    zeros = bytes(2**20)
    data = b"".join(packer.compress(zeros) for _ in range(length >> 20)) + packer.compress(bytes(length & 2**20 - 1))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *others,
            chunk(b"IDAT", data + packer.flush()),
            chunk(b"IEND", b""),
        )
    )


def _chunks(rng: random.Random) -> bytes:
    """Chunks that are many, or unpack to much."""
    bomb = zlib.compress(bytes(rng.choice((1000, 900_000, 1_100_000, 60_000_000))))
    kind = rng.randrange(6)
    others = (
        [chunk(b"iCCP", b"x\0\0" + bomb)],
        [chunk(b"zTXt", b"x\0\0" + bomb)] * rng.choice((1, 5, 90)),
        [chunk(b"iTXt", b"x\0\1\0\0\0" + bomb)] * rng.choice((1, 5, 90)),
        [chunk(b"tEXt", b"x\0y")] * rng.choice((10, 9000, 11_000)),
        [chunk(b"prVt", bytes(100_000))] * rng.choice((1, 10)),
        [chunk(b"acTL", struct.pack(">II", rng.choice((0, 1, 2, 2**31 - 1)), 0)), chunk(b"fcTL", bytes(26))],
    )[kind]
    return png(17, 17, *others)


def _apng(rng: random.Random) -> bytes:
    """Frames of which only the first is to be read."""
    frames = [Image.new("RGB", (32, 32), (i, 0, 0)) for i in range(rng.choice((2, 20)))]
    return encoded(frames[0], rng.choice(("PNG", "GIF", "WEBP", "TIFF")), save_all=True, append_images=frames[1:])


# ---------------------------------------------------------------------------------------------------------------- TIFF


def tiff(
    tags: Sequence[tuple[int, int, int, int]], data: bytes = b"", big: bool = False, next_directory: int = 0
) -> bytes:
    """A little-endian TIFF. tags: (tag, type, count, value or offset), sorted here; data: behind the directory."""
    entry = "<HHQQ" if big else "<HHII"
    head = b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II*\0\x08\0\0\0"
    body = struct.pack("<Q" if big else "<H", len(tags)) + b"".join(struct.pack(entry, *tag) for tag in sorted(tags))
    return head + body + struct.pack("<Q" if big else "<I", next_directory) + data


def tiff_tags(
    width: int, height: int, compression: int = 1, offset: int = 0, length: int = 0
) -> dict[int, tuple[int, ...]]:
    """Tag -> (type, count, value) of a grey picture of one strip."""
    values = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: offset, 277: 1, 278: height, 279: length}
    return {tag: (4, 1, value) for tag, value in values.items()}


def _tiff(rng: random.Random) -> bytes:
    """Tiles, strips, tags and directories that are larger or more than the picture."""
    side = _side(rng, 9900)
    data = zlib.compress(bytes(min(side * side, 2**20)))
    compression = rng.choice((1, 8, 8, 5, 32773, 7, 50000, 34925))
    tags = tiff_tags(side, side, compression, 8, len(data))
    kind = rng.choice(("tile", "strips", "rows", "tags", "values", "samples", "loop", "directories"))
    extremes = (1, 16, 64, 1024, 26_736, 65_535, 2**31 - 16, 2**32 - 16)
    if kind == "tile":
        for tag in (273, 278, 279):
            del tags[tag]
        tags |= {322: (4, 1, rng.choice(extremes)), 323: (4, 1, rng.choice(extremes)), 324: (4, 1, 8)}
        tags |= {325: (4, 1, len(data)), 277: (4, 1, rng.choice((1, 3)))}
    elif kind == "strips":
        tags |= {278: (4, 1, rng.choice((1, 2, 8))), 273: (4, rng.choice((side, 199_999, 2**20)), 8)}
        tags[279] = tags[273]
        data = bytes(2**20)
    elif kind == "rows":
        tags[278] = (4, 1, rng.choice(extremes))
    elif kind == "tags":
        tags |= {40_000 + i: (rng.choice((2, 7)), 2**20, 8) for i in range(rng.choice((3, 100, 4000, 4200)))}
        data = bytes(2**20 + 50_000)
    elif kind == "values":
        tags[rng.choice((258, 274, 282, 320, 338, 339, 34_675, 700))] = (rng.choice((3, 4, 5, 12)), 2**17, 8)
        data = bytes(2**20)
    elif kind == "samples":
        tags |= {277: (4, 1, rng.choice((1, 3, 4, 6, 2**16))), 258: (3, 1, rng.choice((1, 8, 16, 32, 64)))}
        tags |= {262: (4, 1, rng.choice((0, 1, 2, 3, 5, 6, 8))), 284: (4, 1, rng.choice((1, 2)))}
    elif kind == "directories":
        tags |= dict.fromkeys((330, 34665, 34853, 40965), (4, 1, 8))
    entries = [(tag, *value) for tag, value in tags.items()]
    if rng.random() < 0.1:
        entries[0] = (274, 3, 1, 6)
    return tiff([(a, b, c, d) for a, b, c, d in entries], data, rng.random() < 0.2, 8 if kind == "loop" else 0)


# ---------------------------------------------------------------------------------------------------------- GIF and BMP


def _gif(rng: random.Random) -> bytes:
    """Many blocks before the picture, or a picture beyond its canvas."""
    content = bytearray(_flat("GIF", "L", 32, 32, False))
    at = 13 + (3 << (content[10] & 7) + 1)
    if rng.random() < 0.5:
        blocks = rng.choice((b"\1x", b"\xff" + b"x" * 255)) * rng.choice((10, 9000, 11_000))
        content[at:at] = rng.choice((b"!\xfe", b"!\xff\x0bXMP DataXMP", b"!\x01")) + blocks + b"\0"
    else:
        frame = content.index(b",", at)
        struct.pack_into("<HHHH", content, frame + 1, *(rng.choice((0, 1, 31, 4000, 65_535)) for _ in range(4)))
    return bytes(content)


def _bmp(rng: random.Random) -> bytes:
    """Run lengths, which Pillow decodes in Python."""
    bits, kind = rng.choice(((8, 1), (4, 2)))
    width, height = _side(rng, 3100), rng.choice((1, 30, 700))
    if rng.random() < 0.2:
        width, height = rng.choice(((65_535, 1500), (2**31 - 1, 1), (10_000, 10_000)))
    run = rng.choice((b"\xff\1", b"\1\1", b"\0\2\xff\xff", b"\0\0", b"\0\xff" + b"x" * 256))
    data = run * rng.choice((1, 100, 20_000))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, kind, len(data), 0, 0, 0, 0)
    palette = bytes(4 << bits)
    start = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + palette + data


# ----------------------------------------------------------------------------------------------------------- JPEG 2000


def _jpeg2000(rng: random.Random) -> bytes:
    """Sizes, tiles, layers, levels and precincts that the headers claim."""
    content = bytearray(_flat("JPEG2000", rng.choice(("L", "RGB", "RGBA")), 300, 200, False))
    size = content.index(b"\xff\x51") + 6
    style = content.index(b"\xff\x52") + 4
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(5)
        if kind == 0:
            struct.pack_into(
                ">I", content, size + 4 * rng.randrange(8), rng.choice((0, 1, 64, 7900, 65_535, 2**31 - 1))
            )
        elif kind == 1:
            struct.pack_into(">H", content, style + 2, rng.choice((0, 1, 100, 101, 65_535)))
        elif kind == 2:
            content[style + 5] = rng.choice((0, 5, 12, 13, 32, 33))
        elif kind == 3:
            content[style] |= 1
        else:
            content[style + 6], content[style + 7] = rng.choice((0, 1, 4, 8)), rng.choice((0, 1, 4, 8))
    if rng.random() < 0.3:  # the box that names the size says the same
        box = content.find(b"ihdr") + 4
        width, height = struct.unpack_from(">II", content, size)
        struct.pack_into(">II", content, box, height, width)
    return bytes(content)


# ---------------------------------------------------------------------------------------------------------------- AVIF


def forged_avif(width: int, height: int, claim: tuple[int, int]) -> bytes:
    """An AVIF whose header claims another size than its picture has."""
    content = bytearray(_flat("AVIF", "RGB", width, height, False))
    struct.pack_into(">II", content, content.index(b"ispe") + 8, *claim)
    return bytes(content)


def _avif(rng: random.Random) -> bytes:
    if rng.random() < 0.01:
        return forged_avif(8000, 8000, rng.choice(((64, 64), (6000, 6000))))
    side = rng.choice((64, 300))
    return forged_avif(side, side, (rng.choice((1, 64, 6400, 2**31 - 1)), rng.choice((1, 64, 6400, 65_535))))


# ---------------------------------------------------------------------------------------------------------------- HDF5


def hdf5(kind: str) -> bytes:
    """A file whose member "picture" is a picture, or what `kind` says of it. Needs h5py."""
    h5py: Any = importlib.import_module("h5py")
    import numpy as np

    content = _flat("JPEG", "RGB", 17, 17, False)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write: Any = file.create_dataset
        if kind == "bytes":
            write("picture", data=np.void(content))
        elif kind == "gzip":
            write("picture", data=np.frombuffer(content, np.uint8), compression="gzip")
        elif kind == "claimed":
            write("picture", shape=(2**35,), dtype="u1", chunks=(2**16,))
        elif kind == "chunk":
            write("picture", shape=(10,), maxshape=(None,), dtype="u1", chunks=(2**30,))
        elif kind == "bomb":
            write("picture", shape=(1000,), dtype="u1", chunks=(1000,), compression="gzip")
            file["picture"].id.write_direct_chunk((0,), zlib.compress(bytes(200_000_000), 1))
        elif kind == "numbers":
            write("picture", data=np.zeros((100, 100)))
        elif kind == "group":
            file.create_group("picture")
        elif kind == "link":
            file["picture"] = h5py.ExternalLink("/etc/hostname", "/")
        elif kind == "soft":
            file["picture"] = h5py.SoftLink("/picture")
        elif kind == "external":
            write("picture", shape=(10,), dtype="u1", external=[("/etc/hostname", 0, 10)])
        else:
            layout = h5py.VirtualLayout(shape=(10,), dtype="u1")
            layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(10,))
            file.create_virtual_dataset("picture", layout)
    return buffer.getvalue()


HDF5_KINDS = (
    *("bytes", "gzip", "claimed", "chunk", "bomb", "numbers", "group", "link", "soft", "external", "virtual"),
)


@lru_cache(maxsize=len(HDF5_KINDS))
def _hdf5(kind: str) -> bytes:
    return hdf5(kind)


def _any_hdf5(rng: random.Random) -> bytes:
    return _hdf5(rng.choice(HDF5_KINDS))


def _makers() -> Iterator[tuple[str, str, Callable[[random.Random], bytes]]]:
    yield "scans", ".jpg", _scans
    yield "segments", ".jpg", _segments
    yield "large JPEG", ".jpg", lambda rng: large(rng, "JPEG")
    yield "exif tags", ".jpg", _exif
    yield "chunks", ".png", _chunks
    yield "frames", ".png", _apng
    yield "large WebP", ".webp", lambda rng: large(rng, "WEBP")
    yield "tiff", ".tif", _tiff
    yield "gif", ".gif", _gif
    yield "large GIF", ".gif", lambda rng: large(rng, "GIF")
    yield "run lengths", ".bmp", _bmp
    if features.check("jpg_2000"):
        yield "jpeg 2000", ".jp2", _jpeg2000
        yield "large JPEG 2000", ".jp2", lambda rng: large(rng, "JPEG2000")
    if features.check("avif"):
        yield "avif", ".avif", _avif
        yield "large AVIF", ".avif", lambda rng: large(rng, "AVIF")
    if importlib.util.find_spec("h5py"):
        yield "hdf5", ".hdf5", _any_hdf5


# What takes turns: name -> (suffix of the file, what makes one).
COSTLY = {name: (suffix, make) for name, suffix, make in _makers()}
