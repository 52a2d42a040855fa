"""What is looked at in files of each format before they are decoded; see `limits`, which looks at JPEGs itself.

Nothing here decides whether a file is whole: where it ends too early, the decoder says so.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .errors import ImageError
from .limits import MAX_PIXELS, MAX_PIXELS_OTHER_MODES, Demand, InMemory, Source, check_jpeg, pixels_within

_MIB = 2**20


def check(kind: str, source: Source) -> Demand:
    """What decoding a file of `kind` (`pictures.kind_of`) takes. Raises ImageError where that is over a limit."""
    return _CHECKS[kind](source)


def _number(source: Source, at: int, code: str) -> int:
    size = struct.calcsize(code)
    data = source.at(at, size)
    return struct.unpack(code, data)[0] if len(data) == size else 0


# ----------------------------------------------------------------------------------------------------------------- PNG

_MOST_CHUNKS = 200_000
_MOST_OTHER_CHUNKS = 10_000
_MOST_OTHER_BYTES = 64 * _MIB
# Chunks that the answer follows from and of which a file has one: decoders differ in which of two they take.
_ONCE = {b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"eXIf"}


def _check_png(source: Source) -> Demand:
    at, chunks, others, other_bytes = 8, 0, 0, 0
    seen: set[bytes] = set()
    while at + 8 <= source.size:
        head = source.at(at, 8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        chunks += 1
        if name != b"IDAT":
            others += 1
            other_bytes += length
            if name in _ONCE and name in seen:
                raise ImageError(f"{source.name} is damaged: it has two chunks {name.decode()}")
            seen.add(name)
        if (name == b"IDAT" or name in _ONCE) and at + 12 + length <= source.size and not _whole(source, at, length):
            raise ImageError(f"{source.name} is damaged: the checksum of a chunk {name.decode()} is wrong")
        if name == b"IEND":
            break
        at += 12 + length
        if at > source.size:
            break
        if chunks > _MOST_CHUNKS or others > _MOST_OTHER_CHUNKS or other_bytes > _MOST_OTHER_BYTES:
            raise ImageError(f"{source.name} has too much in it beside its pixels: save it again")
    return Demand()


def _whole(source: Source, at: int, length: int) -> bool:
    """Whether a chunk's checksum is right. Pillow does not look at that of the last pixels and what is behind them."""
    sum_, end = 0, at + 8 + length
    for start in range(at + 4, end, _MIB):
        sum_ = zlib.crc32(source.at(start, min(_MIB, end - start)), sum_)
    return sum_ == _number(source, end, ">I")


# ---------------------------------------------------------------------------------------------------------------- WebP

_MOST_WEBP_BYTES = 64 * _MIB


def _check_webp(source: Source) -> Demand:
    head = source.at(0, 30)
    kind, width, height = head[12:16], 0, 0
    if kind == b"VP8X" and len(head) == 30:
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and len(head) == 30:
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    if width and height:
        pixels_within(width, height, source.name, MAX_PIXELS_OTHER_MODES)
    _bytes_within(source, _MOST_WEBP_BYTES, "WebP")
    # Two canvases of 4 bytes a pixel stay; the picture's own 8 bytes and the answer's 4 pass.
    return Demand(decoding=8 * width * height + 2 * source.size, held=8 * width * height)


def _bytes_within(source: Source, limit: int, kind: str) -> None:
    if source.size > limit:
        raise ImageError(f"{source.name} has {source.size} bytes, over the limit of {limit} for {kind}: save it again")


# ---------------------------------------------------------------------------------------------------------------- TIFF

_MOST_TAGS = 4096
_MOST_NUMBERS = 200_000
_MOST_RATIONALS = 1000
_MOST_TAG_BYTES = 256 * _MIB
_MOST_PIECE = 128 * _MIB
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _ROWS, _PLANES = 256, 257, 258, 259, 277, 278, 284
_TILE_WIDTH, _TILE_HEIGHT, _ORIENTATION = 322, 323, 274
_FURTHER = (34665, 34853, 40965)  # directories of EXIF, which Pillow reads as well


class _Tag:
    """An entry of a directory: count, bytes of each value, and the first value where it is a whole number."""

    __slots__ = ("count", "first", "unit")

    def __init__(self, count: int, unit: int, first: int):
        self.count, self.unit, self.first = count, unit, first


def _tags(source: Source, start: int, order: str, big: bool, most_bytes: int, lazy: bool) -> dict[int, _Tag]:
    """The first directory. Raises ImageError where its values take more memory than a picture's may.

    lazy: whether the values are left as bytes until they are asked for, and those beyond the end left out.
    """
    name = source.name
    entry, count_at = (20, 8) if big else (12, 2)
    number = _number(source, start, order + ("Q" if big else "H"))
    if number > _MOST_TAGS:
        raise ImageError(f"{name} has {number} tags, over the limit of {_MOST_TAGS}: save it again")
    data = source.at(start + count_at, number * entry)
    inline = 8 if big else 4
    tags: dict[int, _Tag] = {}
    total = 0
    for at in range(0, len(data) - entry + 1, entry):
        tag, kind, count = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, at)
        unit = _TYPE_BYTES.get(kind, 0)
        value = data[at + entry - inline : at + entry]
        if unit * count > inline:
            position = int.from_bytes(value, "little" if order == "<" else "big")
            if not lazy or position + unit * count <= source.size:
                total += unit * count
            value = source.at(position, unit)
        plain = kind in (1, 2, 6, 7)
        most = most_bytes if plain else _MOST_RATIONALS if kind in (5, 10) else _MOST_NUMBERS
        if count > most and not lazy:
            raise ImageError(f"{name} has {count} values in tag {tag}, over the limit of {most}: save it again")
        first = int.from_bytes(value[:unit], "little" if order == "<" else "big") if unit and not plain else 0
        tags.setdefault(tag, _Tag(count, unit, first))
    if total > 2 * most_bytes:
        raise ImageError(f"{name} has {total} bytes in its tags, over the limit of {2 * most_bytes}: save it again")
    return tags


def directory_start(head: bytes) -> tuple[int, str, bool]:
    """Where the first directory of a TIFF starts, the byte order for `struct`, and whether it is a BigTIFF."""
    order = "<" if head[:2] == b"II" else ">"
    big = 43 in head[2:4]
    code, at = ("Q", 8) if big else ("I", 4)
    if len(head) < at + struct.calcsize(code):
        return 0, order, big
    return struct.unpack_from(order + code, head, at)[0], order, big


def _check_tiff(source: Source) -> Demand:
    start, order, big = directory_start(source.at(0, 16))
    tags = _tags(source, start, order, big, _MOST_TAG_BYTES, lazy=False)
    for tag in _FURTHER:
        if tag in tags:
            _tags(source, tags[tag].first, order, big, _MOST_EXIF_TAG_BYTES, lazy=True)

    def first(tag: int, default: int) -> int:
        return tags[tag].first if tag in tags else default

    width, height = first(_WIDTH, 0), first(_HEIGHT, 0)
    if not width or not height:
        return Demand()  # Pillow says what is missing
    pixels_within(width, height, source.name)
    samples = max(first(_SAMPLES, 1), 1)
    bytes_a_pixel = samples * max(-(-first(_BITS, 1) // 8), 1)
    tiled = _TILE_WIDTH in tags or _TILE_HEIGHT in tags
    across, down = (first(_TILE_WIDTH, 1), first(_TILE_HEIGHT, 1)) if tiled else (width, first(_ROWS, height))
    across, down = max(across, 1), max(down if tiled else min(down, height), 1)
    columns, rows = -(-width // across), -(-height // down)
    planes = samples if first(_PLANES, 1) == 2 else 1
    piece = across * down * max(bytes_a_pixel, 4)
    # A picture of one strip is common, and a decoder that fills its rows one by one takes no more than that strip.
    if (tiled and piece > _MOST_PIECE) or columns * across * rows * down > max(MAX_PIXELS, width * height):
        raise ImageError(f"{source.name} has tiles of {across}x{down} pixels, over the limit: save it again")
    if columns * rows * planes > _MOST_NUMBERS:
        raise ImageError(f"{source.name} has {columns * rows * planes} tiles or strips, over the limit: save it again")
    compressed = first(_COMPRESSION, 1) != 1
    turned = first(_ORIENTATION, 1) != 1
    return Demand(decoding=(piece + across * down * bytes_a_pixel) * compressed, turns=turned)


_MOST_EXIF_TAG_BYTES = 32 * _MIB
_MOST_EXIF_BYTES = 4 * _MIB


def check_exif(block: bytes, name: str) -> None:
    """Raises ImageError where reading the tags of an EXIF block takes more than they may."""
    if len(block) > _MOST_EXIF_BYTES:
        raise ImageError(f"{name} has an EXIF block of {len(block)} bytes, over the limit: save it again")
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    start, order, big = directory_start(block[:16])
    _tags(InMemory(block, name), start, order, big, _MOST_EXIF_TAG_BYTES, lazy=True)


# ---------------------------------------------------------------------------------------------------------- GIF and BMP

_MOST_BLOCKS = 10_000
_MOST_RUN_PIXELS = 10_000_000
_MOST_RUN_BYTES = 20 * _MIB


def _check_gif(source: Source) -> Demand:
    head = source.at(0, 13)
    if len(head) < 13:
        return Demand()
    pixels_within(max(head[6] + 256 * head[7], 1), max(head[8] + 256 * head[9], 1), source.name)
    at = 13 + (3 << (head[10] & 7) + 1 if head[10] & 0x80 else 0)
    within = False  # an extension, which is a row of blocks that ends with an empty one
    for _ in range(_MOST_BLOCKS):
        start = source.at(at, 1)
        if not start or (not within and start in b",;"):
            return Demand()
        if within:
            at += 1 + start[0]
            within = start[0] > 0
        else:  # what is not an extension Pillow passes over as well
            within = start == b"!"
            at += 2 if within else 1
    raise ImageError(f"{source.name} has too much before its picture: save it again")


def _check_bmp(source: Source) -> Demand:
    head = source.at(0, 34)
    if len(head) < 34 or int.from_bytes(head[14:18], "little") < 40:
        return Demand()
    if int.from_bytes(head[30:34], "little") not in (1, 2):
        return Demand()
    width, height = (abs(int.from_bytes(head[at : at + 4], "little", signed=True)) for at in (18, 22))
    if width and height:
        pixels_within(width, height, source.name, _MOST_RUN_PIXELS)
    _bytes_within(source, _MOST_RUN_BYTES, "BMP with run lengths")
    return Demand(decoding=2 * width * height + 256 * width)


# ----------------------------------------------------------------------------------------------------------- JPEG 2000

_MOST_JPEG2000_BYTES = 24 * _MIB
_MOST_TILES = 4096
_MOST_LAYERS = 100
_MOST_LEVELS = 12
_LEAST_PRECINCT = 6  # its side is 2 to the power of this


def _check_jpeg2000(source: Source) -> Demand:
    _bytes_within(source, _MOST_JPEG2000_BYTES, "JPEG 2000")
    at = 0 if source.at(0, 2) == b"\xff\x4f" else _codestream(source)
    if at is None or source.at(at + 2, 2) != b"\xff\x51":
        return Demand()  # Pillow says what is missing
    size = source.at(at + 4, 38)
    if len(size) < 38:
        return Demand()
    _, _, x1, y1, x0, y0, tile_width, tile_height, tile_x0, tile_y0, components = struct.unpack(">HH8IH", size)
    width, height = x1 - x0, y1 - y0
    pixels_within(width, height, source.name, MAX_PIXELS_OTHER_MODES)
    if x1 > 2**31 or y1 > 2**31 or not tile_width or not tile_height or not 1 <= components <= 4:
        raise ImageError(f"{source.name} is not a JPEG 2000 of 1 to 4 components")
    tiles = -(-(x1 - tile_x0) // tile_width) * -(-(y1 - tile_y0) // tile_height)
    if not 1 <= tiles <= _MOST_TILES:
        raise ImageError(f"{source.name} is not a JPEG 2000 of 1 to {_MOST_TILES} tiles: save it again")
    depths = source.at(at + 42, 3 * components)
    if any(depths[i + 1 : i + 3] != b"\1\1" for i in range(0, len(depths), 3)):
        components = max(components, 3)  # subsampled: brought to full size
    deep = any((depth & 0x7F) > 7 for depth in depths[::3])
    _check_markers(source, at + 2)
    # 4 bytes for each sample, those of a tile once more as they are coded, and blocks of at least 4x4 samples.
    tile = min(tile_width, width) * min(tile_height, height)
    return Demand(decoding=width * height * components * 4 + tile * components * ((2 if deep else 1) + 2))


def _codestream(source: Source) -> int | None:
    """Where the codestream of a JP2 file starts."""
    at = 0
    for _ in range(1000):
        head = source.at(at, 16)
        if len(head) < 8:
            return None
        length, start = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, start = int.from_bytes(head[8:16], "big"), 16
        if head[4:8] == b"jp2c":
            return at + start
        if length < start:
            return None
        at += length
    raise ImageError(f"{source.name} has too much before its picture: save it again")


def _check_markers(source: Source, at: int) -> None:
    """Walks the headers of the picture and of its tiles."""
    styles = 0
    for _ in range(20 * _MOST_TILES):
        head = source.at(at, 12)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xD9:
            return
        marker, length = head[1], int.from_bytes(head[2:4], "big")
        if marker == 0x90:  # start of a part of a tile, of `Psot` bytes; 0 is: to the end
            within, part = at + 2 + length, int.from_bytes(head[6:10], "big")
            _check_tile_header(source, within)
            if part < 14:
                return
            at += part
            continue
        if marker in (0x52, 0x53):
            styles += 1
            _check_style(source.at(at + 4, length - 2), marker, source.name)
        at += 2 + max(length, 2)
        if styles > 10:
            break
    else:
        raise ImageError(f"{source.name} has too many parts: save it again")
    if styles > 10:
        raise ImageError(f"{source.name} has too many coding styles: save it again")


def _check_tile_header(source: Source, at: int) -> None:
    for _ in range(100):
        head = source.at(at, 4)
        if len(head) < 4 or head[1] == 0x93:
            return
        if head[1] in (0x52, 0x53, 0x5F):
            raise ImageError(f"{source.name} has coding styles of single tiles: save it again")
        at += 2 + max(int.from_bytes(head[2:4], "big"), 2)


def _check_style(style: bytes, marker: int, name: str) -> None:
    """A COD or COC segment without marker and length; the number of components is below 257."""
    if len(style) < 6:
        return
    precincts = style[0] & 1
    if marker == 0x52:
        layers, style = int.from_bytes(style[2:4], "big"), style[5:]
        if layers > _MOST_LAYERS:
            raise ImageError(f"{name} has {layers} layers, over the limit of {_MOST_LAYERS}: save it again")
    else:
        precincts, style = style[1] & 1, style[2:]
    if style[0] > _MOST_LEVELS:
        raise ImageError(f"{name} has {style[0]} levels of resolution, over the limit of {_MOST_LEVELS}: save it again")
    if precincts and any(min(size & 15, size >> 4) < _LEAST_PRECINCT for size in style[5 + 1 : 6 + style[0]]):
        raise ImageError(f"{name} has precincts below {2**_LEAST_PRECINCT} pixels: save it again")


# ------------------------------------------------------------------------------------------------------- AVIF and HEIC

_MOST_HEIF_BYTES = 48 * _MIB
_MOST_BOXES = 10_000


def _check_heif(source: Source) -> Demand:
    _bytes_within(source, _MOST_HEIF_BYTES, "AVIF and HEIC")
    largest = 0
    for width, height in _heif_sizes(source):
        pixels_within(width, height, source.name, MAX_PIXELS_OTHER_MODES)
        largest = max(largest, width * height)
    # Planes of up to 2 bytes for each of 3 samples, with alpha, twice where pieces are put together; 4 to give back.
    return Demand(decoding=2 * source.size + 12 * largest, held=4 * largest)


def _boxes(source: Source, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start of the content, end) of each box."""
    for _ in range(_MOST_BOXES):
        head = source.at(at, 16)
        if at + 8 > end or len(head) < 8:
            return
        length, start = int.from_bytes(head[:4], "big"), at + 8
        if length == 1:
            length, start = int.from_bytes(head[8:16], "big"), at + 16
        if length == 0:
            length = end - at
        if at + length < start:
            return
        yield head[4:8], start, min(at + length, end)
        at += length
    raise ImageError(f"{source.name} has too many parts: save it again")


def _heif_sizes(source: Source) -> Iterator[tuple[int, int]]:
    """Every size that the file claims of a picture (box ispe), and those that AV1 says itself of those in the file."""
    for name, start, end in _boxes(source, 0, source.size):
        if name == b"moov":
            raise ImageError(f"{source.name} is a sequence of pictures: save its first one alone")
        if name != b"meta":
            continue
        for inner, inner_start, inner_end in _boxes(source, start + 4, end):
            if inner == b"iprp":
                for group, group_start, group_end in _boxes(source, inner_start, inner_end):
                    if group != b"ipco":
                        continue
                    for claim, at, _ in _boxes(source, group_start, group_end):
                        if claim == b"ispe":
                            yield _number(source, at + 4, ">I"), _number(source, at + 8, ">I")
            elif inner == b"iloc":
                for position, length in _places(source, inner_start):
                    yield from _av1_sizes(source.at(position, min(length, 4096)))


def _places(source: Source, at: int) -> Iterator[tuple[int, int]]:
    """(position, length) of each item's first piece in the file."""
    version = _number(source, at, ">B")
    sizes = _number(source, at + 4, ">H")
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    wide = version == 2
    count = _number(source, at + 6, ">I" if wide else ">H")
    at += 10 if wide else 8

    def read(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(source.at(at - size, size), "big")

    if count > _MOST_BOXES:
        raise ImageError(f"{source.name} has too many parts: save it again")
    for _ in range(count):
        read(4 if wide else 2)
        if version in (1, 2):
            read(2)
        read(2)
        base, extents = read(base_size), read(2)
        for extent in range(extents):
            if version in (1, 2):
                read(index_size)
            offset, length = read(offset_size), read(length_size)
            if extent == 0:
                yield base + offset, length or source.size
            if at > source.size:
                return


def _av1_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """The largest width and height that each sequence header of AV1 in `data` allows."""
    at = 0
    while at < len(data):
        head = data[at]
        kind = head >> 3 & 15
        at += 2 if head & 4 else 1
        if head & 0x81 or not head & 2:  # reserved bits, or of no stated length: no AV1, or the last
            length = len(data) - at
        else:
            length, shift = 0, 0
            while at < len(data) and shift < 56:
                byte = data[at]
                length |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
        if kind == 1:
            yield _sequence_size(data[at : at + min(length, 64)])
        if head & 0x81:
            return
        at += length


def _sequence_size(data: bytes) -> tuple[int, int]:
    """AV1's sequence_header_obu as far as the size; (1, 1) where it ends before, for then nothing is decoded."""
    bits, at = int.from_bytes(data, "big"), 0
    total = 8 * len(data)

    def read(count: int) -> int:
        nonlocal at
        at += count
        return bits >> (total - at) & (1 << count) - 1 if at <= total else 0

    read(4)  # profile, still picture
    if read(1):  # reduced header
        read(5)
    else:
        model = False
        if read(1):  # timing
            read(64)
            if read(1):  # equal intervals: a number of as many bits as zeros lead it
                zeros = 0
                while at < total and not read(1):
                    zeros += 1
                read(zeros)
            model = bool(read(1))
            if model:
                delay = read(5) + 1
                read(42)
        delays = read(1)
        for _ in range(read(5) + 1):
            read(12)
            if read(5) > 7:
                read(1)
            if model and read(1):
                read(2 * delay + 1)  # pyright: ignore[reportPossiblyUnboundVariable]
            if delays and read(1):
                read(4)
    width_bits, height_bits = read(4) + 1, read(4) + 1
    return read(width_bits) + 1, read(height_bits) + 1


_CHECKS = {
    "JPEG": check_jpeg,
    "PNG": _check_png,
    "WEBP": _check_webp,
    "TIFF": _check_tiff,
    "GIF": _check_gif,
    "BMP": _check_bmp,
    "JPEG2000": _check_jpeg2000,
    "AVIF": _check_heif,
    "HEIF": _check_heif,
}
