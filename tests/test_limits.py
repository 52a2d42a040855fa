"""Strangers' pictures: what decoding one would cost is estimated from its headers, and refused where it is too much."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image, features

from skin_edge.edge_runtime import limits
from skin_edge.edge_runtime.errors import ImageError
from skin_edge.edge_runtime.preprocess import InputSpec, decode, file_bytes, to_pixels
from studies.hostile import costly
from studies.hostile.costly import chunk, encoded, png, scans, segment, tiff, tiff_tags

SPEC = InputSpec(24, 32)


def webp(width, height):
    """Claims to be so large; a still one without loss."""
    content = bytearray(encoded(Image.new("RGB", (64, 64)), "WEBP", lossless=True))
    struct.pack_into("<I", content, 21, (width - 1) | (height - 1) << 14)
    return bytes(content)


def jpeg_with(between):
    content = encoded(Image.new("RGB", (16, 16)), "JPEG")
    return content[:2] + between + content[2:]


def tiff_of(width=64, height=64, data=b"", big=False, **changed):
    tags = tiff_tags(width, height, offset=8, length=64 * 64) | {int(k[1:]): v for k, v in changed.items()}
    return tiff([(tag, *value) for tag, value in tags.items() if value], data or bytes(64 * 64), big)


def tiled(width, height, tile_width, tile_height):
    return tiff_of(
        width,
        height,
        t273=None,
        t278=None,
        t279=None,
        t322=(4, 1, tile_width),
        t323=(4, 1, tile_height),
        t324=(4, 1, 8),
    )


def jpeg2000(at, code, value, mark=b"\xff\x51"):
    content = bytearray(encoded(Image.new("RGB", (300, 200)), "JPEG2000"))
    struct.pack_into(code, content, content.index(mark) + at, value)
    return bytes(content)


def rle(width, height, bits=8):
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 1 if bits == 8 else 2, 4, 0, 0, 0, 0)
    palette = bytes(4 << bits)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + len(palette)) + header + palette + b"\0\2\xff\xff" * 100


def gif_with(between):
    content = encoded(Image.new("L", (8, 8)), "GIF")
    at = 13 + (3 << (content[10] & 7) + 1)
    return content[:at] + between + content[at:]


def exif(count, length):
    entries = b"".join(struct.pack("<HHII", i, 7, length // 2, 0) for i in range(count))
    return (b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries).ljust(length, b"\0")


REFUSED = {
    "webp of 100 megapixels": (lambda: webp(16_383, 6100), "over the limit of 40000000"),
    "jpeg of many scans": (lambda: scans(64, 64, 1000), "progressive JPEG of 101"),
    "jpeg of many large scans": (lambda: scans(4800, 4800, 95), "progressive JPEG of 96"),
    "jpeg of many segments": (lambda: jpeg_with(segment(0xE5, b"") * 2100), "before its first scan"),
    "jpeg of much between": (lambda: jpeg_with(b"\xff" * 100_000), "before its first scan"),
    "jpeg of much junk": (lambda: jpeg_with(segment(0xE5, b"") + b"\0" * 100_000), "before its first scan"),
    "arithmetic jpeg": (lambda: scans(5000, 5000, 2).replace(b"\xff\xc2", b"\xff\xca"), "arithmetic"),
    "png of many chunks": (lambda: png(8, 8, *[chunk(b"tEXt", b"a\0b")] * 10_100), "beside its pixels"),
    "png of much beside": (lambda: png(8, 8, *[chunk(b"prVt", bytes(2**20))] * 70), "beside its pixels"),
    "png of a long row": (lambda: png(70_000, 8), "65535 a side"),
    "png of much text": (lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + costly.zlib.compress(bytes(10**7)))), "damaged"),
    "tiff of one tile": (lambda: tiled(64, 64, 26_736, 26_736), "tiles of 26736x26736"),
    "tiff of a long tile": (lambda: tiled(64, 64, 2**30, 16), "tiles of"),
    "tiff of small tiles": (lambda: tiled(9000, 9000, 16, 16), "tiles or strips"),
    "tiff of padded tiles": (lambda: tiled(9000, 1, 16, 26_736), "tiles of"),
    "tiff of many strips": (lambda: tiff_of(t273=(4, 300_000, 8), data=bytes(2**21)), "300000 values in tag 273"),
    "tiff of many tags": (
        lambda: tiff_of(**{f"t{40_000 + i}": (7, 1, 0) for i in range(5000)}),
        "5009 tags, over the limit",
    ),
    "tiff of shared tags": (
        lambda: tiff_of(**{f"t{40_000 + i}": (7, 2**20, 8) for i in range(600)}, data=bytes(2**21)),
        "bytes in its tags",
    ),
    "big tiff of shared tags": (
        lambda: tiff_of(**{f"t{40_000 + i}": (7, 2**20, 8) for i in range(600)}, data=bytes(2**21), big=True),
        "bytes in its tags",
    ),
    "tiff of rationals": (lambda: tiff_of(t282=(5, 100_000, 8), data=bytes(2**20)), "100000 values in tag 282"),
    "tiff of a large profile": (
        lambda: tiff_of(t34675=(7, 17 * 2**20, 8), data=bytes(18 * 2**20)),
        "ICC profile of 17825792 bytes",
    ),
    "gif of many blocks": (lambda: gif_with(b"!\xfe" + b"\1x" * 11_000 + b"\0"), "before its picture"),
    "bmp of runs": (lambda: rle(4000, 4000), "over the limit of 10000000"),
    "bmp of a long row": (lambda: rle(2**31 - 1, 1), "over the limit"),
    "exif of many tags": (lambda: encoded(Image.new("RGB", (8, 8)), "PNG", exif=exif(4200, 2**20)), "4200 tags"),
    "exif of shared tags": (lambda: encoded(Image.new("RGB", (8, 8)), "WEBP", exif=exif(300, 2**20)), "in its tags"),
    "exif of many bytes": (lambda: encoded(Image.new("RGB", (8, 8)), "PNG", exif=exif(1, 5 * 2**20)), "EXIF block"),
}
if features.check("jpg_2000"):
    REFUSED |= {
        "jpeg 2000 of 62 megapixels": (lambda: jpeg2000(6, ">II".replace("II", "Q"), 7900 << 32 | 7900), "over the"),
        "jpeg 2000 of many tiles": (lambda: jpeg2000(22, ">Q", 1 << 32 | 1), "tiles"),
        "jpeg 2000 of many layers": (lambda: jpeg2000(6, ">H", 65_535, b"\xff\x52"), "65535 layers"),
        "jpeg 2000 of many levels": (lambda: jpeg2000(9, ">B", 32, b"\xff\x52"), "32 levels"),
    }
if features.check("avif"):
    REFUSED |= {
        "avif that claims much": (lambda: costly.forged_avif(64, 64, (20_000, 20_000)), "over the limit of 40000000"),
        "avif that claims little": (lambda: costly.forged_avif(6400, 6400, (64, 64)), "6400x6400"),
    }


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_cost_too_much_is_refused(name):
    make, says = REFUSED[name]
    with pytest.raises(ImageError, match=says) as caught:
        decode(make(), SPEC)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 300


GOOD = {
    "jpeg of several scans": lambda: scans(64, 64, 40),
    "jpeg of segments": lambda: jpeg_with(segment(0xE5, b"x" * 60_000) * 30 + b"\xff" * 50),
    "mpo": lambda: encoded(
        Image.new("RGB", (64, 64)), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))]
    ),
    "png of many chunks": lambda: png(8, 8, *[chunk(b"tEXt", b"a\0b")] * 3000),
    "tiff": lambda: tiff_of(),
    "big tiff": lambda: tiff_of(big=True, t273=(4, 1, 16)),
    "tiff of all rows in a strip": lambda: tiff_of(t278=(4, 1, 2**32 - 1)),
    "tiff of tiles": lambda: tiled(64, 64, 64, 64),
    "tiff of a layer": lambda: tiff_of(t37724=(7, 2**20, 8), data=bytes(2**21)),
    "gif of blocks": lambda: gif_with(b"!\xfe" + b"\xff" + b"x" * 255 + b"\0"),
    "bmp of runs": lambda: rle(64, 64),
    "a damaged exif": lambda: encoded(Image.new("RGB", (8, 8)), "PNG", exif=b"II*\0\x08\0\0\0\xff\x0f" + b"\7" * 99),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_is_large_but_good_is_decoded(name):
    assert decode(GOOD[name](), SPEC).mode == "RGB"


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif(tmp_path):
    picture = Image.linear_gradient("L").convert("RGB")
    orientation = Image.Exif()
    orientation[0x0112] = 6
    path = tmp_path / "picture.avif"
    path.write_bytes(encoded(picture, "AVIF", quality=95, exif=orientation))
    turned = np.asarray(picture.transpose(Image.Transpose.ROTATE_270), int)
    assert np.abs(np.asarray(decode(path), int) - turned).mean() < 2


def test_heic_says_what_is_missing():
    content = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match=r"skin-edge\[heic\]|damaged"):
        decode(content)


# ---- Files that are none.


def test_a_pipe_and_a_device_are_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", "/dev/zero", "/dev/stdin" if sys.stdin is None else "/dev/null"):
        with pytest.raises(ImageError, match="a pipe, socket or device, not an image"):
            decode(path)
    with pytest.raises(ImageError, match="a folder"):
        file_bytes(tmp_path)


@pytest.mark.parametrize("path", ["x" * 300 + ".jpg", "zero\0byte.jpg", "absent/x.jpg"])
def test_a_path_that_cannot_be(path):
    with pytest.raises(ImageError) as caught:
        decode(path)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_a_file_without_permission(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)  # root may read everything
    with pytest.raises(ImageError, match="permission denied"):
        decode(tmp_path / "closed.jpg")


def test_file_objects_and_what_is_none(tmp_path):
    picture = np.full((8, 8, 3), 90, np.uint8)
    content = encoded(Image.fromarray(picture), "PNG")
    (tmp_path / "picture.png").write_bytes(content)
    with (tmp_path / "picture.png").open("rb") as file:
        assert np.array_equal(np.asarray(decode(file)), picture)
    assert np.array_equal(np.asarray(decode(io.BytesIO(content))), picture)
    with pytest.raises(ImageError, match="mode 'rb'"):
        decode(io.StringIO("text"))
    for thing in (None, 5, [], object()):
        with pytest.raises(ImageError, match=f"{type(thing).__name__} is not an image"):
            decode(thing)


# ---- Members of HDF5 files.


@pytest.mark.parametrize("kind", costly.HDF5_KINDS)
def test_members_of_hdf5_files(kind, tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "pictures.hdf5"
    path.write_bytes(costly.hdf5(kind))
    says = {
        "claimed": "34359738368 bytes, over the limit",
        "chunk": "1073741824 bytes, over the limit",
        "bomb": "unpacks to more than its 1000 bytes",
        "numbers": "not a row of bytes",
        "group": "a group of members",
        "link": "is a link",
        "soft": "is a link",
        "external": "refers to other files",
        "virtual": "refers to other files",
    }
    if kind in says:
        with pytest.raises(ImageError, match=says[kind]):
            decode(f"{path}::picture")
    else:
        assert decode(f"{path}::picture").size == (17, 17)
        path.write_bytes(costly.hdf5("group"))  # replaced while it is kept open
        with pytest.raises(ImageError, match="a group of members"):
            decode(f"{path}::picture")


def test_hdf5_without_h5py_and_what_is_no_hdf5(tmp_path, monkeypatch):
    path = tmp_path / "pictures.hdf5"
    with pytest.raises(ImageError, match="no such file"):
        decode(f"{path}::picture")
    path.write_bytes(b"text")
    with pytest.raises(ImageError, match="cannot be read"):
        decode(f"{path}::picture")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImageError, match="needs h5py"):
        decode(f"{path}::picture")


# ---- Memory.


def test_large_pictures_wait_for_room(monkeypatch):
    """Two threads that decode pictures of 40 megabytes each, where 50 is the limit: one after the other."""
    monkeypatch.setattr(limits, "MEMORY", 50_000_000)
    monkeypatch.setattr(limits, "_UNCOUNTED", 1)
    taken = []
    content = png(2000, 2000)
    load = Image.Image.load

    def noted(image):
        taken.append(limits._state.taken)
        return load(image)

    monkeypatch.setattr(Image.Image, "load", noted)
    threads = [threading.Thread(target=to_pixels, args=(content, SPEC)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 0 < max(taken) <= 50_000_000 and limits._state.taken == 0


def test_room_is_given_back_when_decoding_fails():
    content = png(5000, 5000)
    with pytest.raises(ImageError):
        to_pixels(content[:-5000], SPEC)
    assert limits._state.taken == 0


LARGEST = """
import sys, json, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from skin_edge.benchmarks.measure.memory import peak_resident_bytes
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.errors import ImageError
classifier = SkinClassifier()
content = sys.stdin.buffer.read()
classifier.predict(content[:0] or __import__("numpy").zeros((9, 9, 3), "uint8"))
start = time.process_time()
try:
    classifier.predict(content)
    answered = True
except ImageError as error:
    answered = str(error)
print(json.dumps([answered, time.process_time() - start, peak_resident_bytes()]))
"""


def flat(form, mode, width, height, **options):
    blocks = (
        {"icc_profile": costly.profile("sRGB"), "exif": b"Exif\0\0" + costly._ORIENTED}
        if options.pop("adorned", 1)
        else {}
    )
    return encoded(Image.new(mode, (width, height), (200, 150, 120, 90)[: len(mode)]), form, **options, **blocks)


LARGE = {
    "webp": lambda: flat("WEBP", "RGBA", 6324, 6324, lossless=True, quality=0, method=0),
    "webp, lossy": lambda: flat("WEBP", "RGB", 6324, 6324, quality=10, method=0),
    "png": lambda: flat("PNG", "RGB", 10_000, 10_000, compress_level=1),
    "png, alpha": lambda: flat("PNG", "RGBA", 6324, 6324, compress_level=1),
    "png, interlaced": lambda: png(9999, 9999, colour=2, interlaced=True),
    "png, 16 bit": lambda: png(6324, 6324, bits=16),
    "jpeg": lambda: flat("JPEG", "RGB", 10_000, 10_000, quality=50),
    "jpeg, progressive": lambda: flat("JPEG", "RGB", 8900, 8900, quality=50, progressive=True, subsampling=0),
    "jpeg, scans": lambda: scans(4400, 4400, 99, refining=True),
    "jpeg, cmyk": lambda: encoded(Image.new("CMYK", (6324, 6324)), "JPEG", progressive=True),
    "tiff": lambda: flat("TIFF", "RGB", 10_000, 10_000, compression="tiff_adobe_deflate"),
    "tiff, jpeg": lambda: flat("TIFF", "RGB", 10_000, 10_000, compression="jpeg"),
    "gif": lambda: encoded(Image.new("P", (10_000, 10_000)), "GIF"),
    "jpeg 2000": lambda: encoded(Image.new("RGB", (5600, 5600)), "JPEG2000"),
    "avif": lambda: flat("AVIF", "RGB", 6324, 6324, speed=10, subsampling="4:4:4"),
    "wide": lambda: png(65_535, 1500, colour=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_the_largest_pictures_take_less_than_a_gibibyte_and_five_seconds(name):
    done = subprocess.run([sys.executable, "-c", LARGEST], input=LARGE[name](), capture_output=True, timeout=300)
    answered, seconds, peak = json.loads(done.stdout)
    assert answered is True
    assert peak < 2**30 and seconds < 5, (peak / 2**20, seconds)
