"""The integer resize of docs/contract.md, section 5, against the formula as it is there."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skin_edge.edge_runtime import resize


def formula(samples, target):
    """One axis, in Python's integers, word for word."""
    n, m = len(samples), 2 * max(len(samples), target)
    out = []
    for i in range(target):
        v = [max(0, m - abs((2 * x + 1) * target - (2 * i + 1) * n)) for x in range(n)]
        total = sum(v)
        k = [(v_x * 2**23 + total) // (2 * total) for v_x in v]
        out.append(min(255, max(0, (2**21 + sum(a * int(p) for a, p in zip(k, samples, strict=True))) >> 22)))
    return out


def both_passes(pixels, height, width):
    """The horizontal pass first; an axis whose size does not change is copied."""
    if pixels.shape[1] != width:
        rows = [[formula(row[:, c], width) for c in range(3)] for row in pixels]
        pixels = np.array(rows, np.uint8).transpose(0, 2, 1)
    if pixels.shape[0] != height:
        columns = [[formula(pixels[:, x, c], height) for c in range(3)] for x in range(width)]
        pixels = np.array(columns, np.uint8).transpose(2, 0, 1)
    return pixels


def drawn(height, width, seed, kind):
    generator = np.random.default_rng(seed)
    if kind == "noise":
        return generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "extremes":
        return generator.choice(np.array([0, 255], np.uint8), (height, width, 3))
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([(3 * x + y) % 256, (x + 5 * y) % 256, (7 * x) % 256], axis=-1).astype(np.uint8)


def test_a_large_picture_is_resized_in_bands_of_rows():
    """Where Pillow's rounding is not certain, by NumPy: the same bytes as one pass, without a copy of the picture."""
    pixels = drawn(700, 20_000, 4, "noise")
    image = Image.fromarray(pixels)
    tracemalloc.start()
    resized = resize.resize(image, 700, 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.nbytes
    for row in (0, 127, 128, 699):
        expected = np.array([formula(pixels[row, :, c], 64) for c in range(3)], np.uint8).T
        assert np.array_equal(resized[row], expected)


sizes = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, sizes, sizes, st.integers(0, 9), st.sampled_from(["noise", "extremes", "ramps"]))
def test_the_formula_for_any_size_and_picture(height, width, to_height, to_width, seed, kind):
    pixels = drawn(height, width, seed, kind)
    expected = both_passes(pixels, to_height, to_width)
    assert np.array_equal(resize.resize(Image.fromarray(pixels), to_height, to_width), expected)


@pytest.mark.parametrize(("length", "target"), [(600, 160), (450, 160), (1733, 224), (97, 160), (3024, 96), (161, 160)])
def test_the_formula_for_photographs_sizes(length, target):
    pixels = drawn(1, length, 1, "noise")
    expected = np.array([formula(pixels[0, :, c], target) for c in range(3)], np.uint8).T
    assert np.array_equal(resize.resize(Image.fromarray(pixels), 1, target)[0], expected)
    standing = Image.fromarray(pixels.swapaxes(0, 1))
    assert np.array_equal(resize.resize(standing, target, 1)[:, 0], expected)
    assert np.array_equal(resize.along_rows(pixels[0], target), expected), "without Pillow's C code"


def test_where_pillow_might_round_otherwise_numpy_computes(monkeypatch):
    """4096 samples to one: a coefficient may be exactly between two integers."""
    assert not resize._pillow_is_exact(4096, 1)
    assert resize._pillow_is_exact(12_000, 160) and resize._pillow_is_exact(9_000, 224)
    pixels = drawn(2, 4096, 3, "noise")
    expected = np.array([[formula(row[:, c], 1)[0] for c in range(3)] for row in pixels], np.uint8)
    assert np.array_equal(resize.resize(Image.fromarray(pixels), 2, 1)[:, 0], expected)
    small = drawn(30, 20, 4, "noise")
    with_pillow = resize.resize(Image.fromarray(small), 7, 9)
    monkeypatch.setattr(resize, "_pillow_is_exact", lambda length, target: False)
    assert np.array_equal(resize.resize(Image.fromarray(small), 7, 9), with_pillow)


def test_the_horizontal_pass_comes_first_for_tall_pictures_too():
    """Where Pillow 13 would begin with the vertical one."""
    pixels = drawn(60, 20, 5, "noise")
    expected = both_passes(pixels, 16, 16)
    vertical_first = both_passes(pixels.swapaxes(0, 1), 16, 16).swapaxes(0, 1)
    assert not np.array_equal(expected, vertical_first), "else this test would not tell them apart"
    assert np.array_equal(resize.resize(Image.fromarray(pixels), 16, 16), expected)


def test_weights_add_up_to_one_within_rounding():
    for length, target in ((600, 160), (7, 160), (160, 7), (1, 5), (5, 1)):
        for first, weights in resize.coefficients(length, target):
            assert first >= 0 and first + len(weights) <= length
            assert abs(int(weights.sum()) - 2**22) <= len(weights) and weights.min() >= 0
