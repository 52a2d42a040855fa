"""What a picture loses, and that teachers see it before."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from skin_edge.edge_runtime.preprocess import InputSpec, normalize
from skin_edge.train.pipeline import batches as pipeline
from skin_edge.train.pipeline import conditions
from skin_edge.train.pipeline.augment import Augmentation
from skin_edge.train.pipeline.degradation import Losses, degrade, draw

from . import miniatures

SPEC = InputSpec(24, 32)
ALL = Augmentation(resolution=0.6, compression=0.7, noise=4)


def drawn(augmentation, n=2000, seed=0):
    return draw(augmentation, n, np.random.default_rng(seed))


def losses(scale=1.0, cubic=False, quality=0, noise=0.0, seed=3):
    return Losses(
        np.asarray([scale], np.float32),
        np.asarray([cubic]),
        np.asarray([quality], np.int32),
        np.asarray([noise], np.float32),
        np.asarray([seed]),
    )


def smooth():
    y, x = np.mgrid[:24, :32]
    return np.stack([120 + 4 * x, 90 + 3 * y, 40 + x + y], axis=-1).clip(0, 255).astype(np.uint8)[None]


def test_each_loss_befalls_three_of_four_pictures_within_its_limits():
    one = drawn(ALL)
    for share in ((one.scales != 1).mean(), (one.qualities > 0).mean(), (one.noise > 0).mean()):
        assert 0.7 < share < 0.8
    assert 0.4 <= one.scales.min() < 0.42 and 1.58 < one.scales.max() <= 1.6
    assert 0.45 < one.cubic.mean() < 0.55
    assert 30 <= one.qualities[one.qualities > 0].min() < 32 and one.qualities.max() == 100
    assert 3.9 < one.noise.max() <= 4
    befallen = np.stack([one.scales != 1, one.qualities > 0, one.noise > 0])
    assert np.abs(np.corrcoef(befallen) - np.eye(3)).max() < 0.1  # each by itself
    assert len(np.unique(one.seeds)) == 2000


@pytest.mark.parametrize("name", ["resolution", "compression", "noise"])
def test_what_is_not_asked_for_is_not_drawn_and_changes_no_other_draw(name):
    with_all, without = drawn(ALL), drawn(replace(ALL, **{name: 0.0}))
    fields = {"resolution": "scales", "compression": "qualities", "noise": "noise"}
    for other, field in fields.items():
        same = np.array_equal(getattr(with_all, field), getattr(without, field))
        assert same == (other != name)
    nothing = {"resolution": 1, "compression": 0, "noise": 0}[name]
    assert (getattr(without, fields[name]) == nothing).all()
    qualities = drawn(Augmentation(compression=1.0)).qualities
    assert qualities[qualities > 0].min() == 1


def test_nothing_lost_is_the_same_picture():
    images = normalize(np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8), SPEC)
    assert np.allclose(degrade(images, losses(), SPEC), images, atol=1e-6)


@pytest.mark.parametrize("cubic", [False, True])
def test_a_reduced_picture_keeps_its_means_and_loses_what_is_fine(cubic):
    coarse = np.kron(np.random.default_rng(0).integers(60, 200, (1, 3, 4, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    checks = 40 * (np.indices((24, 32)).sum(axis=0) % 2 * 2 - 1)[None, ..., None]
    images = normalize((coarse + checks).astype(np.uint8), SPEC)
    after = degrade(images, losses(scale=0.5, cubic=cubic), SPEC)
    assert np.allclose(after.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.02)
    expected = normalize(coarse, SPEC)
    for rows in (slice(3, 5), slice(11, 13), slice(19, 21)):
        assert np.allclose(after[:, rows, 3:5], expected[:, rows, 3:5], atol=0.05)  # the checks are gone


def test_cubic_enlarging_overshoots_an_edge_and_bilinear_does_not():
    edge = normalize(np.repeat(np.where(np.arange(32) < 16, 60, 200)[None, None, :, None], 24, 1).repeat(3, 3), SPEC)
    bilinear, cubic = (degrade(edge, losses(scale=0.5, cubic=cubic), SPEC) for cubic in (False, True))
    assert bilinear.max() <= edge.max() + 1e-6 and bilinear.min() >= edge.min() - 1e-6
    assert cubic.max() > edge.max() + 0.02 and cubic.min() < edge.min() - 0.02


def test_compression_is_a_jpeg_of_the_quality_drawn_with_red_still_red():
    expected = io.BytesIO()
    Image.fromarray(smooth()[0]).save(expected, "JPEG", quality=40, subsampling="4:2:0")
    with Image.open(expected) as again:
        wanted = normalize(np.asarray(again)[None], SPEC)
    after = degrade(normalize(smooth(), SPEC), losses(quality=40), SPEC)
    assert np.abs(after - wanted).max() < 0.06, "another libjpeg rounds otherwise"


@pytest.mark.parametrize(("scale", "there", "back"), [(0.5, "BOX", "BILINEAR"), (1.5, "BILINEAR", "BOX")])
def test_it_is_a_jpeg_file_of_the_other_size(scale, there, back):
    written = io.BytesIO()
    other = Image.fromarray(smooth()[0]).resize((round(32 * scale), round(24 * scale)), Image.Resampling[there])
    other.save(written, "JPEG", quality=5, subsampling="4:2:0")
    with Image.open(written) as file:
        wanted = normalize(np.asarray(file.resize((32, 24), Image.Resampling[back]))[None], SPEC)
    after = degrade(normalize(smooth(), SPEC), losses(scale=scale, quality=5), SPEC)
    its_own_size = degrade(normalize(smooth(), SPEC), losses(quality=5), SPEC)
    assert np.abs(after - wanted).mean() < 0.01
    assert np.abs(its_own_size - wanted).mean() > 0.04


def test_noise_has_the_deviation_drawn_and_follows_from_its_seed():
    grey = normalize(np.full((1, 24, 32, 3), 128, np.uint8), SPEC)
    after = degrade(grey, losses(noise=4), SPEC)
    assert (after - grey).std() * 127.5 == pytest.approx(4, rel=0.05)
    assert np.array_equal(after, degrade(grey, losses(noise=4), SPEC))
    assert not np.array_equal(after, degrade(grey, losses(noise=4, seed=4), SPEC))


def test_the_given_images_stay_and_the_range_is_kept():
    images = normalize(np.random.default_rng(0).integers(0, 256, (1, 24, 32, 3), dtype=np.uint8), SPEC)
    before = images.copy()
    after = degrade(images, losses(scale=0.5, cubic=True, quality=30, noise=8), SPEC)
    assert np.array_equal(images, before)
    assert after.dtype == np.float32 and after.min() >= -1 and after.max() <= 1


@pytest.fixture
def pictures(tmp_path):
    paths = sorted(str(path) for path in miniatures.ham10000(tmp_path).rglob("*.jpg"))
    return pipeline.load(paths, SPEC)[0]


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_an_epoch_gives_the_picture_as_it_was_beside_what_the_student_sees(pictures, mixup):
    targets = np.eye(len(pictures), dtype=np.float32)
    moving = Augmentation(rotation=180, zoom=0.2, brightness=0.1, sharpness=0.5)

    def epoch(augmentation, **flags):
        batches = pipeline.training_batches(
            pictures, targets, SPEC, augmentation, batch_size=16, seed=42, epoch=2, mixup=mixup, **flags
        )
        return [np.concatenate(arrays) for arrays in zip(*batches.as_numpy_iterator(), strict=True)]

    own = pipeline.SeenByTeachers(pictures, SPEC)
    plain, order = epoch(moving)
    worse = replace(moving, resolution=0.6, noise=4)
    shown, same_order, seen = epoch(worse, teachers=own)
    assert np.array_equal(seen, plain)  # the degradation changes no draw of the augmentation
    assert np.array_equal(order, same_order)
    assert (np.abs(shown - plain).max(axis=(1, 2, 3)) > 0.01).mean() > 0.5
    again, _ = epoch(worse)
    assert np.array_equal(shown, again)
    assert all(np.array_equal(one, plain) for one in epoch(moving, teachers=own)[::2])


def test_teachers_see_the_same_draw_at_their_own_size(pictures, tmp_path):
    targets, size = np.eye(len(pictures), dtype=np.float32), InputSpec(72, 96)
    paths = sorted(str(path) for path in tmp_path.rglob("*.jpg"))
    larger = pipeline.SeenByTeachers(pipeline.load(paths, size)[0], size)
    moving = Augmentation(
        rotation=180, zoom=0.2, shift=0.1, flip_horizontal=True, channel_gain=0.2, noise=4, aspect=0.3
    )
    drawn = {"batch_size": 8, "seed": 42, "epoch": 2, "mixup": 0.3}
    compared = 0
    for (shown, _), (same, _, seen) in zip(
        pipeline.training_batches(pictures, targets, SPEC, moving, **drawn),
        pipeline.training_batches(pictures, targets, SPEC, moving, teachers=larger, **drawn),
        strict=True,
    ):
        assert np.array_equal(shown, same) and seen.shape[1:] == (72, 96, 3)
        for small, large in zip(np.asarray(shown), np.asarray(seen), strict=True):
            reduced = cv2.resize(large, (32, 24), interpolation=cv2.INTER_AREA)
            inside = np.s_[4:-4, 4:-4]
            likeness = np.corrcoef(reduced[inside].ravel(), small[inside].ravel())[0, 1]
            assert likeness > 0.8, "another picture, or another draw of it"
            compared += 1
    assert compared >= 8


GREY = np.full((1, 24, 32, 3), 128, np.uint8)
FULL = Augmentation(light=2, temperature=100, frame=0.5, blur=0.2, hairs=6)


def taken(pixels, **changes):
    """One picture under conditions of which all that is not named does nothing."""
    nothing = {
        "gains": [[1, 1, 1]], "falloffs": [0], "vignettes": [0], "angles": [0], "fields": [0], "stretches": [1],
        "blurs": [0], "moved": [False], "hairs": [0], "seeds": [1],
    }  # fmt: skip
    drawn = conditions.Conditions(**{name: np.asarray(changes.get(name, value)) for name, value in nothing.items()})
    return conditions.apply(pixels.astype(np.float32), drawn, 0)


def test_light_is_lost_as_drawn():
    grey = GREY[0]
    assert np.array_equal(taken(grey), grey)
    darker = taken(grey, falloffs=[2.2])  # a value of 128 is halved at the far side
    assert darker[0, 0, 0] == pytest.approx(128, rel=0.03) and darker[0, -1, 0] == pytest.approx(64, rel=0.03)
    corners = taken(grey, vignettes=[2.2])
    assert corners[12, 16, 0] == pytest.approx(128, rel=0.01) and corners[0, 0, 0] == pytest.approx(64, rel=0.06)
    assert taken(grey, gains=[[1.1, 1, 0.5]])[3, 3].tolist() == pytest.approx([140.8, 128, 64])
    assert taken(grey, gains=[[3, 3, 3]]).max() == 255, "clipped"


def test_the_field_of_view_is_round_and_black_around():
    framed = taken(GREY[0], fields=[0.6], stretches=[4 / 3])[..., 0]
    assert framed[0, 0] == 0 and framed[12, 16] == 128
    # 0.6 of half the diagonal (20 pixels) are 12: the border above, and not that at the side (16)
    assert framed[1, 16] == 128 and framed[12, 2] == 0 and framed[12, 6] == 128


def test_blur_spreads_a_point_over_a_disc_or_a_line():
    point = np.zeros((24, 24, 3), np.float32)
    point[12, 12] = 240
    disc, line = taken(point, blurs=[0.25]), taken(point, blurs=[0.25], moved=[True])
    for spread in (disc, line):
        assert spread[..., 0].sum() == pytest.approx(240, rel=1e-4)
    assert (line[..., 0] > 1).any(axis=1).sum() == 1 and 5 <= (line[..., 0] > 1).sum() <= 7
    assert (disc[..., 0] > 1).any(axis=1).sum() >= 5


def test_hair_is_dark_thin_and_repeats():
    bright = np.full((160, 160, 3), 200, np.uint8)
    hairy = taken(bright, hairs=[5])
    covered = (hairy[..., 0] < 190).mean()
    assert 0.005 < covered < 0.2 and hairy.max() == 200 and hairy[..., 0].min() < 150
    assert np.array_equal(hairy, taken(bright, hairs=[5])) and not np.array_equal(
        hairy, taken(bright, hairs=[5], seeds=[2])
    )


def test_each_condition_befalls_a_third_within_its_limits():
    n = 3000
    drawn = conditions.draw(FULL, n, np.random.default_rng(0))
    for values, most in (
        (drawn.falloffs, 2), (drawn.vignettes, 2), (drawn.blurs, 0.2), (drawn.hairs, 6), (1 - drawn.fields, 1),
    ):  # fmt: skip
        assert values.max() <= most
    for befallen in (drawn.falloffs, drawn.vignettes, drawn.blurs, drawn.hairs, drawn.fields):
        assert (befallen > 0).mean() == pytest.approx(1 / 3, abs=0.03)
    assert drawn.fields[drawn.fields > 0].min() >= 0.5
    luma = np.log2(drawn.gains[:, 1]) * 2.2
    assert -2 <= luma.min() < -1.7 and 0.8 < luma.max() <= 1, "half as much too bright as too dark"
    warm = np.log(drawn.gains[:, 0] / drawn.gains[:, 2])
    assert abs(np.median(warm)) < 0.01 and warm.max() > 0.2 and warm.min() < -0.2
    nothing = conditions.draw(Augmentation(light=1), n, np.random.default_rng(0))
    assert not (nothing.fields.any() or nothing.blurs.any() or nothing.hairs.any())


def test_conditions_befall_what_the_student_sees_and_leave_the_older_draws(pictures):
    targets = np.eye(len(pictures), dtype=np.float32)
    own = pipeline.SeenByTeachers(pictures, SPEC)

    def epoch(augmentation):
        batches = pipeline.training_batches(
            pictures, targets, SPEC, augmentation, batch_size=16, seed=42, epoch=2, teachers=own
        )
        return [np.concatenate(arrays) for arrays in zip(*batches.as_numpy_iterator(), strict=True)]

    noisy = Augmentation(rotation=180, noise=4)
    before, _, seen = epoch(noisy)
    shown, _, same = epoch(replace(noisy, light=2))
    assert np.array_equal(seen, same)
    changed = np.abs(shown - before).max(axis=(1, 2, 3)) > 0.02
    assert 0.3 < changed.mean() < 1, "those that no light was lost of are as they were, their noise too"
