"""What augmentation draws and what it does to pixels."""

from __future__ import annotations

import numpy as np
import pytest

from skin_edge.edge_runtime.preprocess import InputSpec, normalize
from skin_edge.train.pipeline.augment import Augmentation, apply, draw

SPEC = InputSpec(24, 32)
SQUARE = np.full(2000, 1.0, np.float32)


def drawn(augmentation, aspects=SQUARE, size=(24, 32), seed=0):
    return draw(augmentation, np.asarray(aspects, np.float32), size, np.random.default_rng(seed))


def image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8)


def transformed(picture, augmentation, seed=0, aspect=32 / 24):
    one = drawn(augmentation, [aspect], seed=seed)
    return apply(augmentation, picture, one, SPEC)


def test_no_augmentation_is_the_devices_tensor_to_the_bit():
    assert np.array_equal(transformed(image(), Augmentation()), normalize(image(), SPEC))


def test_flips_mirror_exactly():
    seen = set()
    for seed in range(40):
        flipped = transformed(image(), Augmentation(flip_horizontal=True, flip_vertical=True), seed)
        for rows in (1, -1):
            for columns in (1, -1):
                if np.allclose(flipped, normalize(image()[:, ::rows, ::columns], SPEC), atol=1e-5):
                    seen.add((rows, columns))
    assert seen == {(1, 1), (1, -1), (-1, 1), (-1, -1)}


@pytest.mark.parametrize("seed", range(5))
def test_the_resampling_is_bilinear_and_mirrors_beyond_the_border(seed):
    """Beside SciPy's, on a smooth picture: 1/32 of a pixel and whole levels are all that may differ."""
    from scipy import ndimage

    y, x = np.mgrid[:24, :32]
    smooth = 127 + 80 * np.stack([np.sin(x / 5 + y / 9), np.cos(x / 7), np.sin(y / 6)], axis=-1)
    picture = smooth.round().astype(np.uint8)[None]
    moving = Augmentation(180, 0.3, 0.2, True, True)
    matrix = drawn(moving, [32 / 24], seed=seed).transforms[0]
    from_x, from_y = np.tensordot(matrix, np.stack([x, y, np.ones_like(x)]), axes=1)
    expected = [
        ndimage.map_coordinates(picture[0, ..., c] * 1.0, [from_y, from_x], order=1, mode="reflect") for c in (0, 1, 2)
    ]
    answer = (transformed(picture, moving, seed)[0] + 1) * 127.5
    assert np.abs(answer - np.stack(expected, axis=-1)).max() < 1.5


def test_the_same_seed_draws_the_same_and_another_does_not():
    everything = Augmentation(30, 0.3, 0.12, True, True, 0.2, 0.2)
    first, again, other = drawn(everything), drawn(everything), drawn(everything, seed=1)
    assert np.array_equal(first.transforms, again.transforms)
    assert np.array_equal(first.colours, again.colours)
    assert not np.array_equal(first.transforms, other.transforms)


def test_rotation_and_zoom_stay_within_their_limits_and_use_them():
    size = (32, 32)
    matrices = drawn(Augmentation(rotation=30, zoom=0.3), size=size).transforms[:, :, :2]
    magnification = 1 / np.sqrt(np.linalg.det(matrices))
    angle = np.rad2deg(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 0.7 <= magnification.min() < 0.72
    assert 1.28 < magnification.max() <= 1.3
    assert -30 <= angle.min() < -29
    assert 29 < angle.max() <= 30


def test_the_shift_is_a_share_of_the_side():
    moved = drawn(Augmentation(shift=0.12)).transforms
    assert np.abs(moved[:, 0, 2]).max() == pytest.approx(0.12 * 32, rel=0.01)
    assert np.abs(moved[:, 1, 2]).max() == pytest.approx(0.12 * 24, rel=0.01)


@pytest.mark.parametrize("aspect", [4 / 3, 1.0, 0.5])
def test_a_turned_circle_of_the_original_stays_that_circle(aspect):
    """The squashed picture shows it as an ellipse; a rotation by any angle must leave that ellipse as it is."""
    one = drawn(Augmentation(rotation=180), [aspect] * 50)
    around = np.linspace(0, 2 * np.pi, 100)
    x, y = 15.5 + 8 * np.cos(around) * 32 / (24 * aspect), 11.5 + 8 * np.sin(around)
    for (a0, a1, a2), (b0, b1, b2) in one.transforms:
        moved_x, moved_y = a0 * x + a1 * y + a2, b0 * x + b1 * y + b2
        radius = np.hypot((moved_x - 15.5) * 24 * aspect / 32, moved_y - 11.5)
        assert np.allclose(radius, 8, atol=1e-3)


def test_brightness_and_contrast_are_clipped_to_bytes():
    colour = Augmentation(brightness=0.2, contrast=0.2)
    one = drawn(colour, [1.0])
    gain, offset = one.colours[0, 0, 0], one.colours[0, 3, 0]
    expected = np.clip(image() * gain + offset, 0, 255) / 127.5 - 1
    assert np.allclose(transformed(image(), colour, aspect=1.0), expected, atol=1e-5)
    many = drawn(colour).colours
    gains, offsets = many[:, 0, 0], many[:, 3, 0]
    assert 0.8 <= gains.min() < 0.81
    assert 1.19 < gains.max() <= 1.2
    middle = 127.5 * gains + offsets - 127.5  # what happens to mid-grey is the brightness alone
    assert np.abs(middle).max() == pytest.approx(51, rel=0.01)


def test_channel_gains_act_on_each_channel_alone():
    light = Augmentation(channel_gain=0.15)
    gains = np.diagonal(drawn(light).colours[:, :3], axis1=1, axis2=2)
    assert np.allclose(drawn(light).colours[:, :3], gains[:, :, None] * np.eye(3))
    assert 0.85 <= gains.min() < 0.86
    assert 1.14 < gains.max() <= 1.15
    assert abs(np.corrcoef(gains.T)[0, 1]) < 0.1
    one = np.diagonal(drawn(light, [1.0]).colours[0, :3])
    expected = np.clip(image() * one, 0, 255) / 127.5 - 1
    assert np.allclose(transformed(image(), light, aspect=1.0), expected, atol=1e-5)


def test_saturation_keeps_grey_and_luma_and_reaches_grey():
    full = Augmentation(saturation=1.0)
    colours = drawn(full).colours[:, :3]
    luma = np.asarray([0.2126, 0.7152, 0.0722])
    assert np.allclose(colours.sum(axis=1), 1, atol=1e-6)  # grey stays
    assert np.allclose(colours @ luma, luma, atol=1e-6)
    spread = np.ptp(np.asarray([200.0, 60, 20]) @ colours, axis=1)
    assert spread.min() < 2
    assert spread.max() > 350
    one = drawn(full, [1.0]).colours[0]
    expected = np.clip(image().astype(np.float64) @ one[:3], 0, 255) / 127.5 - 1
    assert np.allclose(transformed(image(), full, aspect=1.0), expected, atol=1e-4)


def test_sharpness_scales_the_difference_to_the_mean_of_nine():
    sharp = Augmentation(sharpness=0.8)
    one = drawn(sharp, [1.0]).sharpness[0]
    pixels = image()[0].astype(np.float64)
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="symmetric")
    around = [padded[y : y + 24, x : x + 32] for y in range(3) for x in range(3)]
    expected = np.clip(pixels + one * (pixels - np.mean(around, axis=0)), 0, 255) / 127.5 - 1
    assert np.allclose(transformed(image(), sharp, aspect=1.0)[0], expected, atol=1e-4)
    assert 0.79 < drawn(sharp).sharpness.max() <= 0.8


def test_cutout_greys_one_rectangle_of_the_side_drawn():
    cut = Augmentation(cutout=0.5)
    seen = []
    for seed in range(30):
        before, after = normalize(image(), SPEC), transformed(image(), cut, seed)
        changed = (before != after).any(axis=(0, 3))
        assert np.allclose(after[0][changed], 0, atol=1e-6)
        if changed.any():
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.95  # chance greys stay
            seen.append(len(columns) / 32)
    assert max(seen) <= 0.55
    assert len(seen) > 20


def test_the_aspect_changes_by_at_most_its_factor_and_leaves_the_area():
    matrices = drawn(Augmentation(aspect=0.5), size=(32, 32)).transforms[:, :, :2]
    stretch = matrices[:, 1, 1] / matrices[:, 0, 0]
    assert 0.66 < stretch.min() < 0.7 and 1.45 < stretch.max() < 1.51
    assert np.allclose(np.linalg.det(matrices), 1) and abs(np.log(stretch).mean()) < 0.02
