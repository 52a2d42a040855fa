from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks.accuracy import preprocessing
from skin_edge.benchmarks.inputs.cases import read_cases
from skin_edge.edge_runtime import preprocess
from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.preprocess import InputSpec

from . import miniatures

CODES = tuple(miniatures.COLOURS)


def noise(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def slow_bilinear(source, height, width, shift):
    """Pixel by pixel, from the definition."""
    result = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            sy = min(max((y + shift) * source.shape[0] / height - shift, 0), source.shape[0] - 1)
            sx = min(max((x + shift) * source.shape[1] / width - shift, 0), source.shape[1] - 1)
            for dy in (0, 1):
                for dx in (0, 1):
                    weight = (1 - abs(sy - int(sy) - dy)) * (1 - abs(sx - int(sx) - dx))
                    row, column = min(int(sy) + dy, source.shape[0] - 1), min(int(sx) + dx, source.shape[1] - 1)
                    result[y, x] += weight * source[row, column]
    return result


@pytest.mark.parametrize("half_pixel", [True, False])
@pytest.mark.parametrize("size", [(40, 30), (7, 9)])  # smaller, larger
def test_bilinear_equals_the_definition(half_pixel, size):
    picture = noise(*size)
    ours = preprocessing.bilinear(picture, InputSpec(12, 16), half_pixel=half_pixel)
    wanted = slow_bilinear(np.asarray(picture).astype(float), 12, 16, 0.5 if half_pixel else 0.0)
    assert np.abs(ours - wanted).max() <= 0.501
    assert ours.dtype == np.uint8


@pytest.mark.parametrize(("half_pixel", "name"), [(True, "bilinear"), (False, "legacy")])
def test_bilinear_equals_tensorflow(half_pixel, name):
    tf = pytest.importorskip("tensorflow")
    picture = noise(60, 45)
    pixels = np.asarray(picture)[None].astype(np.float32)
    if half_pixel:
        theirs = tf.image.resize(pixels, (16, 16), "bilinear", antialias=False).numpy()[0]
    else:
        theirs = tf.compat.v1.image.resize_bilinear(pixels, (16, 16)).numpy()[0]
    ours = preprocessing.bilinear(picture, InputSpec(16, 16), half_pixel=half_pixel)
    assert np.abs(ours - theirs).max() <= 0.51, name


def test_the_ways_differ_from_the_right_one_and_from_each_other():
    spec, picture = InputSpec(16, 16), noise(60, 45)
    right = preprocess.resize(picture, spec)
    made = {name: way(picture, spec) for name, way in preprocessing.WAYS.items()}
    assert all(pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 for pixels in made.values())
    different = [right, *made.values()]
    for i, one in enumerate(different):
        assert all((one != other).any() for other in different[i + 1 :])
    # Antialiasing takes the noise out, sampling does not.
    assert made["nearest neighbour"].std() > made["bilinear, no antialiasing"].std() > 1.2 * right.std()
    assert (made["red and blue swapped"] == right[..., [2, 1, 0]]).all()
    pixels = np.asarray(picture)
    assert (made["nearest neighbour"][3, 5] == pixels[3 * 45 // 16, 5 * 60 // 16]).all()
    assert (made["centre square"] == preprocess.resize(picture.crop((7, 0, 52, 45)), spec)).all()


def test_a_model_that_sees_colour_minds_the_swap_alone(tiny_int8, tmp_path):
    folder = miniatures.class_folders(tmp_path / "data", 3, CODES)
    rows = preprocessing.measure(SkinClassifier(tiny_int8), read_cases(folder, known_labels=CODES), bootstrap=50)
    by_way = {row["way"]: row for row in rows}
    assert rows[0]["way"] == preprocessing.RIGHT and rows[0]["agreement"] == rows[0]["balanced_accuracy"] == 1
    swapped = by_way["red and blue swapped"]
    # akiec and bkl exchange red and blue, df and mel too; bcc, nv and vasc look the same.
    assert swapped["balanced_accuracy"] == swapped["agreement"] == pytest.approx(3 / 7)
    assert swapped["difference"]["difference"] == pytest.approx(-4 / 7)
    assert by_way["centre square"]["agreement"] == 1
    ignored = by_way[preprocessing.IGNORES_EXIF]
    assert ignored["accuracy"] is None and ignored["measured"] == "no image has an EXIF orientation to ignore"
    json.dumps(rows, allow_nan=False)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_picture_as_stored(orientation, tmp_path):
    stored = noise(30, 20)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.png"
    stored.save(path, exif=exif)
    case = read_cases(_csv(tmp_path, path), known_labels=CODES)[0]
    upright = preprocess.decode(path)
    assert (np.asarray(upright).shape != np.asarray(stored).shape) == (orientation >= 5)
    assert (np.asarray(preprocessing._as_stored(case, upright)) == np.asarray(stored)).all()


def test_ignored_orientation_is_measured_where_there_is_one(tiny_int8, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = [tmp_path / "turned.jpg", tmp_path / "plain.jpg"]
    miniatures.picture("mel", 0).save(paths[0], exif=exif)
    miniatures.picture("nv", 0).save(paths[1])
    cases = read_cases(_csv(tmp_path, *paths), known_labels=CODES)
    row = preprocessing.measure(SkinClassifier(tiny_int8), cases, bootstrap=20)[-1]
    assert (row["way"], row["n_turned"], row["n"]) == (preprocessing.IGNORES_EXIF, 1, 2)
    assert row["agreement"] == 1 and row["measured"] == "all images"


def test_the_command(tiny_int8, tmp_path, capsys):
    folder = miniatures.class_folders(tmp_path / "data", 2, CODES)
    (folder / "mel" / "damaged.png").write_bytes(b"no image")
    arguments = ["bench", str(tiny_int8), "--num-runs", "2", "--cold-starts", "0", "--preprocessing"]
    assert run([*arguments, "--data", str(folder)]) == 1  # for the damaged one
    out = capsys.readouterr().out
    assert all(way in out for way in preprocessing.WAYS) and "no image has an EXIF orientation" in out
    assert max(map(len, out.splitlines())) <= 80
    assert run(arguments) == 2
    assert "--preprocessing measures accuracy: it requires --data" in capsys.readouterr().err


def test_a_jpeg_of_quality_30_is_one():
    buffer = io.BytesIO()
    picture = miniatures.picture("mel", 1)
    picture.save(buffer, "JPEG", quality=30)
    spec = InputSpec(45, 60)
    again = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
    assert (preprocessing.jpeg_30(picture, spec) == again).all()


def _csv(folder, *paths):
    table = folder / "data.csv"
    table.write_text(
        "path,label\n" + "".join(f"{path},mel\n" for path in paths).replace("plain.jpg,mel", "plain.jpg,nv")
    )
    return table
