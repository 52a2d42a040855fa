"""The preprocessing contract: every kind of picture that a phone, a scanner or a dermatoscope writes."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from skin_edge.edge_runtime import preprocess
from skin_edge.edge_runtime.errors import ImageError, ModelFileError
from skin_edge.edge_runtime.preprocess import InputSpec, decode, normalize, to_pixels

SPEC = InputSpec(24, 32)


def encoded(image, format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def scene():
    """uint8 [45, 60, 3]: a gradient with a bright upper left corner, so that every turn shows."""
    y, x = np.mgrid[0:45, 0:60]
    pixels = np.stack([2 * x + 60, 3 * y + 40, x + y + 30], axis=-1).astype(np.uint8)
    pixels[:10, :10] = (250, 240, 30)
    return pixels


def test_a_path_bytes_an_image_and_an_array_are_the_same(scene, tmp_path):
    content = encoded(Image.fromarray(scene))
    (tmp_path / "scene.png").write_bytes(content)
    expected = to_pixels(scene, SPEC)
    assert expected.shape == (24, 32, 3) and expected.dtype == np.uint8
    for image in (tmp_path / "scene.png", str(tmp_path / "scene.png"), content, Image.fromarray(scene)):
        assert np.array_equal(to_pixels(image, SPEC), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(scene, orientation):
    upright = Image.fromarray(scene)
    undo = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    stored = upright
    for step in undo.get(orientation, []):
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(np.asarray(decode(encoded(stored, exif=exif))), scene)


def test_grey_alpha_palette_and_16_bit(scene):
    grey = scene[..., 0]
    assert np.array_equal(np.asarray(decode(grey)), np.stack([grey] * 3, axis=-1))
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(grey)))), np.stack([grey] * 3, axis=-1))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(decode(encoded(deep))), np.stack([grey] * 3, axis=-1))
    palette = Image.fromarray(scene).quantize(16)
    assert np.array_equal(np.asarray(decode(encoded(palette))), np.asarray(palette.convert("RGB")))
    alpha = np.full((45, 60, 1), 255, np.uint8)
    alpha[:, :30] = 0
    half = np.asarray(decode(encoded(Image.fromarray(np.concatenate([scene, alpha], axis=-1)))))
    assert (half[:, :30] == 255).all(), "transparent is white"
    assert np.array_equal(half[:, 30:], scene[:, 30:])


def test_a_dark_16_bit_picture_stays_dark():
    dark = Image.fromarray(np.full((8, 8), 20 * 257, np.uint16))
    assert np.asarray(decode(encoded(dark))).max() == 20


def test_cmyk_becomes_rgb(scene):
    cmyk = Image.fromarray(scene).convert("CMYK")
    pixels = np.asarray(decode(encoded(cmyk, "TIFF")))
    assert np.abs(pixels.astype(int) - scene).max() <= 2


def test_an_embedded_profile_is_applied(scene):
    """A profile with red and green exchanged: the colours must follow it."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(scene), icc_profile=srgb))), scene)
    tags = bytearray(srgb)
    count = int.from_bytes(tags[128:132], "big")
    for entry in range(count):
        at = 132 + 12 * entry
        name = bytes(tags[at : at + 4])
        if name in (b"rXYZ", b"gXYZ"):
            tags[at : at + 4] = b"gXYZ" if name == b"rXYZ" else b"rXYZ"
        if name == b"desc":  # another name, or the profile counts as sRGB
            offset, length = (int.from_bytes(tags[at + i : at + i + 4], "big") for i in (4, 8))
            tags[offset : offset + length] = bytes(tags[offset : offset + length]).replace(b"R\0G\0B", b"X\0Y\0Z")
            tags[offset : offset + length] = bytes(tags[offset : offset + length]).replace(b"sRGB", b"sXYZ")
    pixels = np.asarray(decode(encoded(Image.fromarray(scene), icc_profile=bytes(tags)))).astype(int)
    exchanged = scene[..., [1, 0, 2]].astype(int)
    assert np.abs(pixels - exchanged).mean() < 4
    assert np.abs(pixels - scene).mean() > 10


def test_a_damaged_profile_counts_as_srgb(scene):
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(scene), icc_profile=b"no profile"))), scene)


def test_the_whole_image_is_squashed_with_an_antialiased_filter():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    pixels = to_pixels(stripes, InputSpec(16, 16))
    assert pixels.min() > 100 and pixels.max() < 155, "without antialiasing the stripes would alias to 0 or 255"
    wide = np.zeros((20, 80, 3), np.uint8)
    wide[:, :10] = 255  # at the edge: a crop would lose it
    assert to_pixels(wide, InputSpec(16, 16))[:, 0].min() > 200


def test_normalization_maps_the_bytes_to_minus_one_and_one():
    ramp = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
    real = normalize(ramp, InputSpec(32, 32))
    assert real.dtype == np.float32
    assert (real.min(), real.max()) == (-1, 1)
    assert np.allclose(real[:, 0, 0], np.arange(256) / 127.5 - 1, atol=1e-6)
    own = InputSpec(32, 32, (100.0, 120.0, 140.0), (50.0, 60.0, 70.0))
    assert np.allclose(normalize(ramp, own), (ramp - np.array(own.mean)) / np.array(own.std), atol=1e-5)


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (b"", "not an image"),
        (b"plain text", "not an image"),
        (np.zeros((4, 4, 3), np.float32), "float32"),
        (np.zeros((4, 4, 4), np.uint8), "no image"),
        (np.zeros((0, 4, 3), np.uint8), "no image"),
        ("absent.jpg", "no such image: absent.jpg"),
        (".", "is a folder"),
    ],
)
def test_what_is_no_image_is_refused(image, says):
    with pytest.raises(ImageError, match=says):
        decode(image)


def test_an_odd_exif_tag_does_not_cost_the_picture(scene):
    text = b"seventy-two\0"
    entries = struct.pack("<HHHIHHHHII", 2, 0x0112, 3, 1, 6, 0, 0x011A, 2, len(text), 38)  # XResolution is text
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + entries + struct.pack("<I", 0) + text
    stored = Image.fromarray(scene).transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(np.asarray(decode(encoded(stored, exif=exif))), scene)


def test_a_program_is_no_picture():
    """Pillow would run an EPS file with Ghostscript, whatever its name is."""
    content = encoded(Image.new("RGB", (4, 4)), "EPS")
    with pytest.raises(ImageError, match="not an image"):
        decode(content)
    with pytest.raises(ImageError, match="EPS"):
        decode(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_truncated_file_is_refused_and_not_filled_with_grey(scene, format, kept):
    content = encoded(Image.fromarray(np.tile(scene, (4, 4, 1))), format)
    with pytest.raises(ImageError):
        decode(content[: int(len(content) * kept)])


def test_too_many_pixels_are_refused_from_the_header(monkeypatch, scene):
    monkeypatch.setattr(preprocess, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="over the limit"):
        decode(encoded(Image.fromarray(scene)))
    with pytest.raises(ImageError, match="over the limit"):
        decode(scene)


def test_the_steps_survive_json():
    spec = InputSpec(160, 200, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert InputSpec.from_steps(json.loads(json.dumps(spec.to_steps()))) == spec
    for steps in (None, [], {}, [1], [{"step": "resize"}], "orient"):
        with pytest.raises(ModelFileError):
            InputSpec.from_steps(steps)
