"""The suite of distortions: each does what its name says, alike at every size and in every process."""

from __future__ import annotations

import hashlib
import io
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks.robustness import distortions
from skin_edge.benchmarks.robustness.distortions import KINDS, STRENGTHS, distort, seed_of
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UnknownNameError

ROOT = Path(__file__).parents[1]
SEEDS = range(5)


def lesion(height=150, width=200, detail=True):
    """A dark spot with a fine texture on skin, the same at every size."""
    y, x = (np.arange(height)[:, None] + 0.5) / height - 0.5, (np.arange(width)[None, :] + 0.5) / width - 0.5
    inside = 1 / (1 + np.exp((np.hypot(y, x * width / height) - 0.24) * 60))
    texture = 0.12 * np.sin(90 * y) * np.sin(80 * x * width / height) if detail else 0 * y * x
    skin, spot = np.array([205, 160, 140]), np.array([95, 60, 50])
    picture = (skin + (spot - skin) * inside[..., None]) * (1 + texture[..., None])
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def change(kind, strength, picture, seeds=SEEDS):
    """Mean absolute difference over some seeds."""
    return np.mean(
        [np.abs(distort(picture, kind, strength, seed).astype(int) - picture).mean() for seed in seeds]
    ).item()


def shown(picture, size=(80, 60)):
    """As a network sees it."""
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)).astype(int)


def rough(picture):
    """The mean square difference of neighbours, in a plain part of it."""
    return float((np.diff(picture[:25, :40].astype(float), axis=1) ** 2).mean())


def sharp(picture):
    return float(
        (np.diff(picture.astype(float), axis=1) ** 2).mean() + (np.diff(picture.astype(float), axis=0) ** 2).mean()
    )


@pytest.mark.parametrize("kind", KINDS)
def test_strength_zero_keeps_every_byte_in_a_new_array(kind):
    picture = lesion()
    same = distort(picture, kind, 0, 7)
    assert np.array_equal(same, picture) and not np.shares_memory(same, picture)


@pytest.mark.parametrize("kind", KINDS)
def test_the_change_grows_with_the_strength_and_the_picture_is_left_alone(kind):
    picture = lesion()
    before = picture.copy()
    changes = [change(kind, strength, picture) for strength in np.arange(0, 3.01, 0.5)]
    assert np.array_equal(picture, before)
    assert all(later >= earlier for earlier, later in itertools.pairwise(changes)), changes
    assert 0 < changes[2] < changes[4] < changes[6], changes


@pytest.mark.parametrize("kind", KINDS)
def test_it_begins_gently(kind):
    """Others worsen pictures step by step and look for the step that matters."""
    assert change(kind, 0.1, lesion(450, 600), [1]) < 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (7, 5), (31, 47), (151, 203)])
def test_any_size_keeps_its_shape(kind, size):
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for strength in (0.4, 1, 3):
        worse = distort(picture, kind, strength, 3)
        assert worse.shape == picture.shape and worse.dtype == np.uint8 and worse.flags.c_contiguous


@pytest.mark.parametrize("kind", KINDS)
def test_a_small_and_a_large_picture_suffer_alike(kind):
    small, large = lesion(), lesion(450, 600)
    for strength in STRENGTHS:
        suffered = []
        for picture in (small, large):
            before = shown(picture)
            suffered.append(
                np.mean([np.abs(shown(distort(picture, kind, strength, s)) - before).mean() for s in SEEDS])
            )
        assert 1 / 1.7 < suffered[0] / suffered[1] < 1.7, (strength, suffered)


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides(kind):
    picture = lesion()
    assert np.array_equal(distort(picture, kind, 2, 11), distort(picture, kind, 2, 11))
    drawn = {distort(picture, kind, 2, seed).tobytes() for seed in range(6)}
    nothing_drawn = {"vignette", "underexposed", "overexposed", "smaller", "larger", "defocus", "resolution", "jpeg"}
    assert (len(drawn) == 1) == (kind in nothing_drawn)


def test_another_process_gives_the_same_bytes():
    code = """
import hashlib, numpy as np
from skin_edge.benchmarks.robustness.distortions import KINDS, distort, seed_of
picture = np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8)
whole = b"".join(distort(picture, kind, 2, seed_of(42, kind, "ISIC_1")).tobytes() for kind in KINDS)
print(hashlib.sha256(whole).hexdigest())
"""
    there = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment).stdout
        for environment in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2"})
    ]
    picture = np.random.default_rng(5).integers(0, 256, (60, 80, 3), np.uint8)
    whole = b"".join(distort(picture, kind, 2, seed_of(42, kind, "ISIC_1")).tobytes() for kind in KINDS)
    assert there == [hashlib.sha256(whole).hexdigest() + "\n"] * 2


# Mean change of red, green and blue at strength 2.
SUITE_1 = {
    "temperature": (12.869, 0.0, 17.8),
    "falloff": (38.976, 30.012, 26.187),
    "vignette": (28.926, 22.533, 19.712),
    "frame": (51.132, 39.908, 34.92),
    "underexposed": (78.712, 60.627, 52.889),
    "overexposed": (44.938, 41.902, 36.578),
    "glare": (5.419, 8.367, 9.58),
    "smaller": (17.116, 14.259, 12.701),
    "larger": (22.179, 18.744, 16.643),
    "defocus": (5.478, 4.215, 3.698),
    "motion": (5.352, 4.125, 3.594),
    "resolution": (2.245, 1.74, 1.522),
    "jpeg": (5.918, 4.13, 6.662),
    "noise": (7.956, 8.023, 8.025),
    "ruler": (5.605, 9.662, 10.705),
    "hair": (7.159, 5.537, 4.885),
    "bubbles": (2.355, 2.39, 2.411),
}


def test_a_changed_suite_has_another_version():
    """Figures are compared over models and years: whoever changes a kind raises VERSION, and makes this table again."""
    assert distortions.VERSION == 1 and list(SUITE_1) == list(KINDS)
    picture = lesion()
    for kind, wanted in SUITE_1.items():
        worse = distort(picture, kind, 2, seed_of(42, kind, "a")).astype(int)
        assert np.abs(worse - picture).mean(axis=(0, 1)) == pytest.approx(wanted, abs=0.02), kind


def test_each_picture_and_kind_has_a_stream_of_its_own():
    seeds = {seed_of(s, kind, name) for s in (1, 2) for kind in KINDS for name in ("ISIC_1", "ISIC_2", "\udcff")}
    assert len(seeds) == 2 * len(KINDS) * 3 and all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(42, "hair", "ISIC_0000001") == 2211775654957364163  # of the suite: a change is another suite


def test_a_stronger_distortion_is_the_same_and_more():
    picture = lesion()
    for kind in ("hair", "glare", "ruler"):
        few, many = (np.abs(distort(picture, kind, s, 4).astype(int) - picture).max(axis=2) > 40 for s in (1, 2))
        assert few.any() and (many & few).sum() > 0.95 * few.sum(), kind


def test_wrong_calls_are_errors():
    picture = lesion(20, 20)
    with pytest.raises(UnknownNameError, match="did you mean 'hair'"):
        distort(picture, "hairs", 1, 0)
    for strength in (-0.1, 3.1, float("nan")):
        with pytest.raises(ValueError, match="strength"):
            distort(picture, "hair", strength, 0)
    for wrong in (picture[..., 0], picture.astype(float), picture[:0]):
        with pytest.raises(ValueError, match="uint8"):
            distort(wrong, "hair", 1, 0)


def test_every_kind_says_what_it_is():
    assert len(KINDS) >= 15 and STRENGTHS == (1, 2, 3)
    for name, kind in KINDS.items():
        assert kind.what and len(kind.levels) == len(set(kind.levels)) == 3, name
        assert [kind.value(strength) for strength in STRENGTHS] == pytest.approx(kind.values)
    assert KINDS["resolution"].value(0) == float("inf") and KINDS["hair"].value(0.5) == 2


def test_the_guide_and_the_help_describe_the_suite(capsys):
    guide = (ROOT / "docs" / "benchmarking.md").read_text(encoding="utf-8")
    assert run(["bench", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for name, kind in KINDS.items():
        assert f"| {name} | {kind.what} | {' | '.join(kind.levels)} |\n" in guide
        assert name in told
    assert f"distorted in {len(KINDS)} ways at {len(STRENGTHS)} strengths" in told
    assert f"suite of {len(KINDS)} kinds" in guide


def mean(picture, channel):
    return float(picture[..., channel].mean())


def test_temperature_moves_red_against_blue_both_ways():
    picture = lesion()
    ratio = mean(picture, 0) / mean(picture, 2)
    found = [
        mean(worse, 0) / mean(worse, 2) for worse in (distort(picture, "temperature", 2, seed) for seed in range(12))
    ]
    assert min(found) < 0.9 * ratio and max(found) > 1.1 * ratio
    worse = distort(picture, "temperature", 2, 0)
    assert mean(worse, 1) == pytest.approx(mean(picture, 1))


def test_falloff_darkens_one_side_and_no_more_than_it_says():
    grey = np.full((60, 80, 3), 200, np.uint8)
    worse = distort(grey, "falloff", 2, 1).astype(float)
    assert worse.max() >= 199 and worse.min() == pytest.approx(200 * 2 ** (-1.5 / 2.2), abs=2)


def test_a_vignette_darkens_the_corners_and_a_frame_blackens_them():
    grey = np.full((60, 80, 3), 200, np.uint8)
    for strength in STRENGTHS:
        worse = distort(grey, "vignette", strength, 1)
        assert worse[29, 39, 0] >= 199 and worse[0, 0, 0] < 170
        framed = distort(grey, "frame", strength, 1)
        assert (framed[28:32, 38:42] == 200).all() and (framed[0, 0] == 0).all()
    assert (distort(grey, "frame", 3, 1)[:, 0] == 0).all()


def test_exposure():
    picture = lesion()
    assert distort(picture, "underexposed", 3, 0).max() < 100
    assert (distort(picture, "overexposed", 3, 0)[:20, :20, 0] == 255).all()


def test_scale_moves_the_border_of_the_lesion():
    picture = lesion(detail=False)
    dark = (picture[..., 0] < 150).sum()
    for strength in STRENGTHS:
        for kind in ("smaller", "larger"):
            factor = KINDS[kind].values[strength - 1]
            found = (distort(picture, kind, strength, 0)[..., 0] < 150).sum()
            assert found == pytest.approx(dark * factor**2, rel=0.05)


@pytest.mark.parametrize("kind", ["defocus", "motion", "resolution"])
def test_what_is_lost_is_detail(kind):
    picture = lesion()
    sharpness = [sharp(distort(picture, kind, strength, 2)) for strength in STRENGTHS]
    assert sharpness[2] < 0.6 * sharp(picture)
    assert distort(picture, kind, 3, 2).mean() == pytest.approx(picture.mean(), abs=2)  # and not light


def test_jpeg_is_libjpegs_and_has_blocks():
    picture = lesion()
    for quality in (40, 15, 5):
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
        theirs = np.asarray(Image.open(buffer))
        strength = KINDS["jpeg"].values.index(quality) + 1
        assert np.array_equal(distort(picture, "jpeg", strength, 0), theirs)
    large = distort(lesion(450, 600), "jpeg", 3, 0).astype(float)
    across = np.abs(np.diff(large[..., 1], axis=1)).mean(axis=0)  # 24 pixels a block there
    at_borders = across[np.arange(24, 590, 24)[:, None] + np.array([-2, -1, 0])].sum(axis=1).mean()
    assert at_borders > 1.3 * 3 * across.mean()


def test_around_a_smaller_lesion_there_is_skin_and_no_other_lesion():
    picture = lesion(detail=False)
    picture[30:120, 40:160] = (60, 40, 30)  # nearly to the borders
    worse = distort(picture, "smaller", 3, 0)
    assert (worse[:25] > 120).all() and (worse[:, :30] > 120).all()


def test_a_blur_keeps_a_plain_picture_and_spreads_a_point_evenly():
    plain = np.full((40, 50, 3), (10, 130, 250), np.uint8)
    point = np.zeros((101, 101, 3), np.uint8)
    point[50, 50] = 255
    for kind in ("defocus", "motion"):
        assert np.array_equal(distort(plain, kind, 3, 1), plain)
        spread = distort(point, kind, 3, 1)[..., 0].astype(float)
        y, x = np.nonzero(spread)
        assert abs(y.mean() - 50) < 0.6 and abs(x.mean() - 50) < 0.6
        wide = {"defocus": 8.1, "motion": 10.1}[kind]  # percent of 101 pixels
        assert max(np.ptp(y), np.ptp(x)) == pytest.approx(wide, abs=3)


def test_noise_is_rough_in_plain_parts():
    picture = lesion(detail=False)
    found = [rough(distort(picture, "noise", strength, 1)) for strength in STRENGTHS]
    assert rough(picture) < found[0] / 10 and found[0] < found[1] < found[2]
    grey = np.full((450, 600, 3), 128, np.uint8)
    assert distort(grey, "noise", 2, 1).std() == pytest.approx(10, rel=0.05)


def test_glare_is_saturated_over_as_much_as_it_says():
    picture = lesion()
    for strength in STRENGTHS:
        shares = [(distort(picture, "glare", strength, seed) >= 250).all(axis=2).mean() for seed in range(8)]
        said = KINDS["glare"].values[strength - 1] / 100
        assert 0.5 * said < np.mean(shares) < 2 * said  # spots overlap, leave the picture and have a haze


def test_a_ruler_lies_on_one_border_and_has_marks():
    picture = np.full((150, 200, 3), 120, np.uint8)
    touched = set()
    for seed in range(16):
        worse = distort(picture, "ruler", 2, seed)
        borders = {"top": worse[2], "bottom": worse[-3], "left": worse[:, 2], "right": worse[:, -3]}
        papers = [name for name, border in borders.items() if (border > 200).mean() > 0.5]
        assert len(papers) == 1 and (worse[75, 100] == 120).all()
        assert (borders[papers[0]] > 200).all() or (worse < 80).any()
        assert (worse < 80).any()
        touched.add(papers[0])
    assert len(touched) == 4


def test_hair_is_thin_and_dark_and_bubbles_are_bright_and_dark():
    skin = np.full((150, 200, 3), (205, 160, 140), np.uint8)
    hairs = distort(skin, "hair", 2, 3)
    dark = (hairs[..., 0] < 120).mean()
    assert 0.01 < dark < 0.2 and hairs.max() <= 205
    bubbles = distort(skin, "bubbles", 2, 3)
    assert (bubbles[..., 2] > 190).any() and (bubbles[..., 0] < 160).any()
    for kind, strength in (("hair", 3), ("bubbles", 3)):
        assert np.ceil(KINDS[kind].value(strength)) <= distortions.drawn.MOST
