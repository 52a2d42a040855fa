"""Camera frames in every layout, against the formulas of ITU-R BT.601 in floating point."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from skin_edge.edge_runtime import ImageError, SkinClassifier
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.frames import LAYOUTS, to_rgb


@pytest.fixture
def rgb():
    """uint8 [6, 8, 3], every corner another colour."""
    return np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


@pytest.fixture
def planes():
    """Y [12, 16], U and V [6, 8]: random over all bytes, so beyond what RGB can show as well."""
    generator = np.random.default_rng(1)
    return tuple(generator.integers(0, 256, shape, np.uint8) for shape in ((12, 16), (6, 8), (6, 8)))


def i420(y, u, v):
    return np.concatenate([y.ravel(), u.ravel(), v.ravel()]).reshape(-1, y.shape[1])


def semi_planar(y, first, second):
    return np.concatenate([y.ravel(), np.stack([first, second], axis=-1).ravel()]).reshape(-1, y.shape[1])


def bt601(y, u, v, full_range=True):
    """R = Y + 1.402 Cr and so on (BT.601 with Kr = 0.299, Kb = 0.114), clipped; float [height, width, 3]."""
    y, u, v = (plane.astype(float) for plane in (y, u.repeat(2, 0).repeat(2, 1), v.repeat(2, 0).repeat(2, 1)))
    if full_range:
        cb, cr = u - 128, v - 128
    else:
        y, cb, cr = (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    kr, kb = 0.299, 0.114
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255)


def test_packed_layouts(rgb):
    bgr = rgb[..., ::-1]
    padding = np.zeros((6, 8, 1), np.uint8)
    frames = {
        "rgb": rgb,
        "bgr": bgr,
        "rgba": np.concatenate([rgb, padding], axis=-1),
        "bgra": np.concatenate([bgr, padding], axis=-1),
        "RGB888": bgr,  # picamera2's names say the opposite of the array's order
        "BGR888": rgb,
        "XRGB8888": np.concatenate([bgr, padding], axis=-1),
        "XBGR8888": np.concatenate([rgb, padding], axis=-1),
    }
    for layout, frame in frames.items():
        converted = to_rgb(frame, layout)
        assert np.array_equal(converted, rgb), layout
        assert converted.dtype == np.uint8 and converted.flags.c_contiguous
        assert not np.shares_memory(converted, frame), "a camera reuses its buffer"
    assert np.array_equal(to_rgb(rgb[..., 0], "grey"), rgb[..., :1].repeat(3, axis=2))


@pytest.mark.parametrize("full_range", [True, False])
def test_yuv_layouts_are_bt601(planes, full_range):
    # What is beyond the limited range counts as its end before the conversion; the formula would clip after it.
    y, u, v = (
        planes if full_range else (plane.clip(16, top) for plane, top in zip(planes, (235, 240, 240), strict=True))
    )
    expected = bt601(y, u, v, full_range)
    frames = {
        "yuv420": i420(y, u, v),
        "YUV420": i420(y, u, v),
        "nv12": semi_planar(y, u, v),
        "nv21": semi_planar(y, v, u),
    }
    for layout, frame in frames.items():
        converted = to_rgb(frame, layout, full_range=full_range)
        assert converted.shape == (12, 16, 3) and converted.dtype == np.uint8
        # Rounded down by Pillow. Limited range is rounded once more, in luma and in chroma (times at most 1.772).
        assert np.abs(converted - expected).max() <= (1.01 if full_range else 2.5), layout
        assert abs((converted - expected).mean()) <= 0.6, layout


def test_limited_range_is_stretched_to_black_and_white():
    neutral = np.full((1, 1), 128, np.uint8)
    for level, shown in ((16, 0), (235, 255), (5, 0), (250, 255)):
        frame = i420(np.full((2, 2), level, np.uint8), neutral, neutral)
        assert (to_rgb(frame, "yuv420", full_range=False) == shown).all()
        assert (to_rgb(frame, "yuv420") == level).all()


def test_what_a_jpeg_encoder_would_write_comes_back():
    """There and back through Pillow's JFIF conversion, on a picture whose chroma is constant in 2x2 pixels."""
    original = np.random.default_rng(2).integers(0, 256, (6, 8, 3), np.uint8).repeat(2, 0).repeat(2, 1)
    y, u, v = np.moveaxis(np.asarray(Image.fromarray(original).convert("YCbCr")), -1, 0)
    converted = to_rgb(i420(y, u[::2, ::2], v[::2, ::2]), "yuv420")
    assert np.abs(converted.astype(int) - original).max() <= 3  # both ways are rounded down


@pytest.mark.parametrize("layout", ["yuv420", "nv12", "nv21"])
def test_a_stride_wider_than_the_picture(planes, layout):
    y, u, v = (np.pad(plane, ((0, 0), (0, plane.shape[1] // 2)), constant_values=77) for plane in planes)
    build = {"yuv420": i420, "nv12": semi_planar, "nv21": lambda y, u, v: semi_planar(y, v, u)}[layout]
    assert build(y, u, v).shape == (18, 24)
    assert np.array_equal(to_rgb(build(y, u, v), layout, width=16), to_rgb(build(*planes), layout))


@pytest.mark.parametrize("layout", ["rgb", "grey", "yuv420"])
def test_rotation_is_clockwise(layout):
    """A frame whose upper left corner is bright: a quarter clockwise brings it to the upper right."""
    picture = np.zeros((8, 12), np.uint8)
    picture[:2, :2] = 255
    neutral = np.full((4, 6), 128, np.uint8)
    frame = {"rgb": picture[..., None].repeat(3, axis=2), "grey": picture, "yuv420": i420(picture, neutral, neutral)}
    for rotation, shape, corner in (
        (0, (8, 12, 3), (0, 0)),
        (90, (12, 8, 3), (0, -1)),
        (180, (8, 12, 3), (-1, -1)),
        (270, (12, 8, 3), (-1, 0)),
    ):
        turned = to_rgb(frame[layout], layout, rotation)
        assert turned.shape == shape
        assert (turned[corner] == 255).all() and turned.astype(int).sum() == 255 * 4 * 3


def zeros(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("frame", "layout", "says"),
    [
        (zeros(4, 4, 3, dtype=np.float32), "rgb", r"float32 \[4, 4, 3\] is not a valid rgb frame"),
        (zeros(4, 4), "rgb", r"pass uint8 \[height, width, 3\]"),
        (zeros(4, 4, 4), "rgb", "not a valid rgb frame"),
        (zeros(4, 4, 3), "rgba", r"\[height, width, 4\]"),
        (zeros(4, 4, 3), "XRGB8888", r"\[height, width, 4\]"),
        (zeros(0, 4, 3), "rgb", "not a valid rgb frame"),
        (zeros(4, 4, 3), "grey", r"pass uint8 \[height, width\]"),
        (zeros(6, 5), "yuv420", "even height and width"),
        (zeros(7, 4), "nv21", "even height and width"),
        (zeros(8, 4), "nv12", "even height and width"),
        (zeros(6, 4, 1), "yuv420", "not a valid yuv420 frame"),
        (zeros(6, 4, dtype=np.uint16), "YUV420", "not a valid YUV420 frame"),
    ],
)
def test_a_frame_of_another_shape_is_refused(frame, layout, says):
    with pytest.raises(ImageError, match=says) as caught:
        to_rgb(frame, layout)
    assert "\n" not in str(caught.value)


def test_other_arguments_are_refused(rgb):
    with pytest.raises(UsageError, match=r"unknown layout 'yuyv' .*known: rgb, bgr"):
        to_rgb(rgb, "yuyv")
    with pytest.raises(UsageError, match="rotation must be"):
        to_rgb(rgb, "rgb", 45)
    for width in (0, 9):
        with pytest.raises(ImageError, match="rows of 8 pixels"):
            to_rgb(rgb, "rgb", width=width)


def test_the_layouts_are_listed():
    assert len(LAYOUTS) == len(set(LAYOUTS)) == 13


def test_a_frame_is_answered_as_its_picture(tiny_int8):
    picture = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    classifier = SkinClassifier(tiny_int8)
    expected = classifier.predict(picture).probabilities
    assert classifier.predict_frame(picture).probabilities == expected
    assert classifier.predict_frame(picture[..., ::-1], "RGB888").probabilities == expected
    assert classifier.predict_frame(np.rot90(picture), "rgb", 90).probabilities == expected
    y, u, v = np.moveaxis(np.asarray(Image.fromarray(picture).convert("YCbCr")), -1, 0)
    frame = i420(y, u[::2, ::2], v[::2, ::2])
    answer = classifier.predict_frame(frame, "YUV420", 180, width=60)
    assert answer.probabilities == classifier.predict(np.rot90(to_rgb(frame, "yuv420")[:, :60], 2)).probabilities
    assert answer.preprocess_ms > 0 and answer.inference_ms > 0
    with pytest.raises(ImageError):
        classifier.predict_frame(picture, "grey")
