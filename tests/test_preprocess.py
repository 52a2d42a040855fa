"""The preprocessing contract: every kind of picture that a phone, a scanner or a dermatoscope writes."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms, JpegImagePlugin

from skin_edge.edge_runtime import preprocess, resize
from skin_edge.edge_runtime.errors import ImageError, ModelFileError
from skin_edge.edge_runtime.preprocess import InputSpec, decode, normalize, to_pixels

from . import port_vectors

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


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_grey_is_compared_as_it_is_in_the_file(depth):
    """docs/contract.md, section 2; Pillow compares it with the samples brought to 8 bits."""
    width, height, top = 60, 40, 2**depth - 1
    for value in {0, 1, top}:
        content = port_vectors.png(width, height, depth, 0, depth, port_vectors.chunk(b"tRNS", bytes([0, value])))
        plain = np.asarray(decode(port_vectors.png(width, height, depth, 0, depth)))
        expected = np.where(plain == value * 255 // top, 255, plain)
        assert np.array_equal(np.asarray(decode(content)), expected) and (plain == value * 255 // top).any()


def test_a_png_with_two_orientations_or_a_spoilt_one_is_refused():
    whole = port_vectors.png(9, 5, 8, 2, 1, port_vectors.chunk(b"eXIf", port_vectors.exif(6)))
    twice = whole[:-12] + port_vectors.chunk(b"eXIf", port_vectors.exif(3)) + whole[-12:]
    assert decode(whole).size == (5, 9)
    with pytest.raises(ImageError, match="two chunks eXIf"):
        decode(twice)
    for name in (b"eXIf", b"IDAT"):
        with pytest.raises(ImageError, match=f"checksum of a chunk {name.decode()}"):
            decode(port_vectors.spoilt(whole, name))


def test_a_dark_16_bit_picture_stays_dark():
    dark = Image.fromarray(np.full((8, 8), 20 * 257, np.uint16))
    assert np.asarray(decode(encoded(dark))).max() == 20


def test_cmyk_becomes_rgb(scene):
    cmyk = Image.fromarray(scene).convert("CMYK")
    pixels = np.asarray(decode(encoded(cmyk, "TIFF")))
    assert np.abs(pixels.astype(int) - scene).max() <= 2


def exchanged_profile():
    """sRGB with red and green exchanged, under another name, or it would count as sRGB."""
    tags = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(tags[128:132], "big")
    for entry in range(count):
        at = 132 + 12 * entry
        name = bytes(tags[at : at + 4])
        if name in (b"rXYZ", b"gXYZ"):
            tags[at : at + 4] = b"gXYZ" if name == b"rXYZ" else b"rXYZ"
        if name == b"desc":
            offset, length = (int.from_bytes(tags[at + i : at + i + 4], "big") for i in (4, 8))
            tags[offset : offset + length] = bytes(tags[offset : offset + length]).replace(b"R\0G\0B", b"X\0Y\0Z")
            tags[offset : offset + length] = bytes(tags[offset : offset + length]).replace(b"sRGB", b"sXYZ")
    return bytes(tags)


def test_an_embedded_profile_is_applied(scene):
    """A profile with red and green exchanged: the colours must follow it."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(scene), icc_profile=srgb))), scene)
    profile = exchanged_profile()
    pixels = np.asarray(decode(encoded(Image.fromarray(scene), icc_profile=profile))).astype(int)
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
        (np.zeros((4, 4, 4), np.uint8), "not an image"),
        (np.zeros((0, 4, 3), np.uint8), "not an image"),
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


# ---- Large JPEGs, decoded at a fraction of their size.


def earlier(height, width):
    """As formats 1 to 3 of the contract have it: also where a side is not a multiple of the scale."""
    return InputSpec(height, width, decoding="earlier")


SMALL = earlier(24, 32)

UNDONE_BY = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90"}
UNDONE_BY |= {7: "TRANSVERSE", 8: "ROTATE_270"}


def detailed(kind, width=1280, height=960):
    """Pictures that are harder than a photograph: what a reduction could get wrong is detail."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    skin = np.stack(
        [200 - 60 * np.hypot(x - width / 2, y - height / 2) / width, 150 - 50 * np.sin(x / 70), 120 + y / 9]
    )
    skin = np.moveaxis(skin, 0, -1)
    if kind == "noise":
        pixels = skin + generator.normal(0, 60, (height, width, 3))
    elif kind == "hairs":
        pixels = np.where((((x * 0.97 + y * 0.26) % 37) < 3)[..., None], (40, 20, 20), skin)
    elif kind == "edges":
        pixels = np.where((((x * 0.97 + y * 0.26) % 97) < 48)[..., None], (30, 20, 20), (230, 200, 180))
    else:
        grain = generator.normal(0, 30, (height // 2, width // 2, 3)).repeat(2, axis=0).repeat(2, axis=1)
        pixels = skin + grain
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def differences(content, spec):
    """(mean, 99th percentile) of |scaled - full|, in units of the network's 8-bit input; the latter by Pillow alone."""
    full = Image.open(io.BytesIO(content)).convert("RGB").resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    difference = np.abs(to_pixels(content, spec).astype(int) - np.asarray(full))
    return difference.mean(), np.percentile(difference, 99)


@pytest.mark.parametrize("kind", ["noise", "hairs", "edges", "grain"])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_a_large_jpeg_decoded_small_is_the_same_picture(kind, subsampling):
    content = encoded(detailed(kind), "JPEG", quality=90, subsampling=subsampling)
    for size, scale in ((120, 2), (100, 2), (60, 4), (48, 4), (30, 8), (24, 8)):
        spec = earlier(size, size)
        assert decode(content, spec).size == (1280 // scale, 960 // scale)
        mean, p99 = differences(content, spec)
        assert mean <= 0.6 and p99 <= 2, (size, mean, p99)


def test_photographs_of_12_megapixels_decoded_small_are_the_same_pictures(data_root):
    paths = [*sorted((data_root / "data" / "fullsize").glob("*.jpg"))[::26], *(data_root / "foreign").glob("k*.jpg")]
    assert len(paths) >= 3
    for path in paths:
        large = Image.open(path).convert("RGB").resize((4000, 3000), Image.Resampling.LANCZOS)
        for subsampling in ("4:2:0", "4:4:4"):
            content = encoded(large, "JPEG", quality=90, subsampling=subsampling)
            for size, scale in ((160, 4), (224, 2)):
                assert decode(content, earlier(size, size)).size == (4000 // scale, 3000 // scale)
                mean, p99 = differences(content, earlier(size, size))
                assert mean <= 0.3 and p99 <= 2, (path.name, subsampling, size, mean, p99)


@pytest.mark.parametrize(
    ("size", "why"),
    [
        ((64, 48), "twice the network's picture"),
        ((255, 191), "less than eight times"),
        ((254, 254), "less than eight times"),
    ],
)
def test_other_jpegs_are_decoded_in_full_bit_for_bit(size, why):
    content = encoded(detailed("noise").resize(size), "JPEG", quality=90)
    assert decode(content, SMALL).size == size, why
    assert differences(content, SMALL) == (0, 0), why


@pytest.mark.parametrize("kind", ["noise", "hairs", "edges", "grain"])
def test_a_side_that_the_scale_does_not_divide_keeps_the_same_limits(kind):
    """And a scale that would leave more than one column or row of padding is not taken."""
    picture = detailed(kind)
    for (width, height), size, scale in (
        ((1279, 959), 119, 2),
        ((1279, 959), 29, 8),
        ((1276, 959), 30, 4),
        ((1273, 953), 30, 2),
        ((1271, 955), 40, 4),
        ((1280, 951), 16, 8),
    ):
        content = encoded(picture.crop((0, 0, width, height)), "JPEG", quality=90)
        spec = earlier(size, size)
        assert decode(content, spec).size == (-(-width // scale), -(-height // scale))
        mean, p99 = differences(content, spec)
        assert mean <= 0.6 and p99 <= 2, (width, height, size, mean, p99)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_padding_is_left_out_wherever_the_picture_is_turned_to(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(detailed("edges").crop((0, 0, 1279, 959)), "JPEG", quality=90, exif=exif)
    upright = decode(content, SMALL)
    assert upright.size == ((320, 240) if orientation < 5 else (240, 320))
    for other in (decode(content), decode(encoded(decode(content)))):  # full size; and by a file that is upright
        full = other.resize((SMALL.width, SMALL.height), Image.Resampling.BILINEAR)
        difference = np.abs(to_pixels(content, SMALL).astype(int) - np.asarray(full))
        assert difference.mean() <= 0.6 and np.percentile(difference, 99) <= 2
    # A cut-out of it is another picture, whose size no longer fits what was noted.
    cut = upright.crop((0, 0, 100, 80))
    assert np.array_equal(preprocess.resize(cut, SMALL), np.asarray(cut.resize((SMALL.width, SMALL.height), 2)))


def test_only_files_of_rgb_and_grey_jpegs_are_decoded_small(tmp_path):
    picture = detailed("hairs", 640, 480)
    cmyk = encoded(picture.convert("CMYK"), "JPEG")
    assert decode(cmyk, SMALL).size == decode(encoded(picture), SMALL).size == (640, 480)
    assert np.array_equal(to_pixels(encoded(picture), SMALL), to_pixels(picture, SMALL))
    (tmp_path / "picture.jpg").write_bytes(encoded(picture, "JPEG", quality=95))
    assert decode(tmp_path / "picture.jpg", SMALL).size == (320, 240) and decode(tmp_path / "picture.jpg").width == 640
    with Image.open(tmp_path / "picture.jpg") as opened:  # belongs to the caller, who may go on using it
        assert isinstance(opened, JpegImagePlugin.JpegImageFile)
        assert decode(opened, SMALL).size == opened.size == (640, 480)
    grey = encoded(picture.convert("L"), "JPEG", quality=95)
    assert decode(grey, SMALL).mode == "RGB" and decode(grey, SMALL).size == (320, 240)
    assert np.abs(to_pixels(grey, SMALL).astype(int) - to_pixels(picture.convert("L"), SMALL)).mean() < 1
    several = encoded(picture, "MPO", save_all=True, append_images=[picture], quality=95)
    assert decode(several, SMALL).size == (320, 240)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_jpeg_decoded_small_is_upright(orientation):
    upright = detailed("edges", 640, 480)
    upright.paste((250, 240, 30), (0, 0, 120, 90))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = upright.transpose(Image.Transpose[UNDONE_BY[orientation]])
    content = encoded(stored, "JPEG", exif=exif, quality=95, subsampling=0)
    assert decode(content, SMALL).size == (320, 240)
    assert np.abs(to_pixels(content, SMALL).astype(int) - to_pixels(upright, SMALL)).mean() < 1


def test_a_profile_holds_for_a_jpeg_decoded_small():
    content = encoded(detailed("grain"), "JPEG", quality=90, icc_profile=exchanged_profile())
    spec = earlier(48, 48)
    assert decode(content, spec).size == (320, 240)
    full = np.asarray(decode(content).resize((48, 48), Image.Resampling.BILINEAR)).astype(int)
    difference = np.abs(to_pixels(content, spec) - full)
    assert difference.mean() <= 0.6 and np.percentile(difference, 99) <= 2
    assert np.abs(full - to_pixels(detailed("grain"), spec)).mean() > 10, "else the profile was not applied at all"


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_truncated_jpeg_is_refused_at_a_fraction_of_its_size_as_well(kept):
    content = encoded(detailed("grain"), "JPEG")
    with pytest.raises(ImageError, match="truncated"):
        to_pixels(content[: int(len(content) * kept)], SMALL)


def test_the_limit_is_that_of_the_full_size(monkeypatch):
    content = encoded(detailed("hairs", 640, 480), "JPEG")
    monkeypatch.setattr(preprocess, "MAX_PIXELS", 640 * 480 - 1)
    with pytest.raises(ImageError, match="640x480"):
        to_pixels(content, SMALL)


def test_training_sees_the_devices_pixels_of_a_large_jpeg(tmp_path):
    from skin_edge.train.pipeline import batches

    path = tmp_path / "large.jpg"
    path.write_bytes(encoded(detailed("noise"), "JPEG", quality=90))
    spec = earlier(60, 60)
    pictures, failures = batches.load([str(path)], spec)
    assert not failures and pictures.aspects[0] == pytest.approx(1280 / 960)
    assert np.array_equal(pictures.pixels[0], to_pixels(path, spec))
    full = Image.open(path).resize((60, 60), Image.Resampling.BILINEAR)
    assert not np.array_equal(pictures.pixels[0], np.asarray(full)), "it was large enough to be decoded small"


@pytest.mark.slow
def test_a_large_jpeg_takes_a_fraction_of_the_time():
    from time import perf_counter

    content = encoded(detailed("grain", 4000, 3000), "JPEG", quality=90)
    spec = earlier(160, 160)

    def seconds(action):
        start = perf_counter()
        action()
        return perf_counter() - start

    full = min(seconds(lambda: preprocess.resize(decode(content), spec)) for _ in range(3))
    assert min(seconds(lambda: to_pixels(content, spec)) for _ in range(3)) <= 0.6 * full


def test_what_format_4_decodes_small_and_how_it_resizes():
    """In full by default; scaled only where the scale divides both sides; by the integer resize in either case."""
    content = encoded(detailed("grain"), "JPEG", quality=90)
    assert decode(content, InputSpec(24, 32)).size == (1280, 960)
    scaled = InputSpec(24, 32, decoding="scaled")
    small = decode(content, scaled)
    assert small.size == (320, 240)
    assert np.array_equal(to_pixels(content, scaled), resize.resize(small, 24, 32))
    uneven = encoded(detailed("grain").crop((0, 0, 1279, 959)), "JPEG", quality=90)
    assert decode(uneven, scaled).size == (1279, 959)
    assert decode(uneven, SMALL).size == (320, 240), "with up to one column or row of padding"
    tall = np.asarray(detailed("noise", 300, 450))
    exact, by_pillow = to_pixels(tall, InputSpec(160, 160)), to_pixels(tall, earlier(160, 160))
    assert np.array_equal(exact, resize.resize(Image.fromarray(tall), 160, 160))
    assert np.array_equal(by_pillow, np.asarray(Image.fromarray(tall).resize((160, 160), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize("decoding", ["full", "scaled", "earlier"])
def test_the_steps_say_how_large_jpegs_are_decoded(decoding):
    spec = InputSpec(48, 48, decoding=decoding)
    steps = json.loads(json.dumps(spec.to_steps()))
    assert InputSpec.from_steps(steps) == spec
    assert ("decode" in [step["step"] for step in steps]) == (decoding != "earlier")
    if decoding != "earlier":
        with pytest.raises(ModelFileError, match="does not support"):
            InputSpec.from_steps([{"step": "decode", "scaled": "as you like"}, *steps[1:]])
        with pytest.raises(ModelFileError, match="does not support"):
            InputSpec.from_steps([*steps[:4], {**steps[4], "passes": "vertical, then horizontal"}, steps[5]])


def test_a_jpeg_loads_no_other_formats_plugin(tmp_path):
    """Each costs a start of `predict` some milliseconds."""
    (tmp_path / "a.jpg").write_bytes(encoded(Image.new("RGB", (20, 20)), "JPEG"))
    code = "import sys; from skin_edge.edge_runtime.preprocess import decode; decode('a.jpg'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    plugins = {name for name in done.stdout.split() if name.startswith("PIL.") and name.endswith("Plugin")}
    assert plugins == {"PIL.JpegImagePlugin"}
