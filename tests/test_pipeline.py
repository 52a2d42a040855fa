from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from skin_edge.edge_runtime import preprocess
from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.train.pipeline import batches as pipeline
from skin_edge.train.pipeline.augment import Augmentation

from . import miniatures

SPEC = InputSpec(32, 40)
EVERYTHING = Augmentation(30, 0.3, 0.12, True, True, 0.2, 0.2)


@pytest.fixture
def paths(tmp_path):
    return sorted(str(path) for path in miniatures.ham10000(tmp_path).rglob("*.jpg"))


def test_the_training_tensor_is_the_devices_tensor_image_by_image(paths):
    pictures, failures = pipeline.load(paths, SPEC)
    assert not failures
    tensors = np.concatenate(list(pipeline.plain_batches(pictures, SPEC, batch_size=10).as_numpy_iterator()))
    assert len(tensors) == len(paths) > 50
    for path, tensor in zip(paths, tensors, strict=True):
        expected = preprocess.normalize(preprocess.to_pixels(path, SPEC), SPEC)
        assert np.array_equal(tensor, expected), path


def test_the_training_tensor_is_the_devices_tensor_on_real_images(data_root):
    spec = InputSpec(224, 224)
    paths = [str(path) for path in sorted((data_root / "data" / "fullsize").glob("*.jpg"))]
    pictures, failures = pipeline.load(paths, spec)
    assert not failures
    assert pictures.aspects == pytest.approx(600 / 450)
    tensors = np.concatenate(list(pipeline.plain_batches(pictures, spec).as_numpy_iterator()))
    for path, tensor in zip(paths, tensors, strict=True):
        assert np.array_equal(tensor, preprocess.normalize(preprocess.to_pixels(Path(path), spec), spec)), path


def test_what_cannot_be_read_is_reported_by_position(paths, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    pictures, failures = pipeline.load([paths[0], "", str(tmp_path / "text.jpg"), paths[1]], SPEC)
    assert list(failures) == [1, 2]
    assert "no image file" in failures[1]
    assert "text.jpg is not an image" in failures[2]
    assert pictures.pixels[3].any()


def epoch(paths, number, seed=42, batch_size=16, augmentation=EVERYTHING):
    pictures, _ = pipeline.load(paths, SPEC)
    targets = np.eye(len(paths), dtype=np.float32)  # one class per picture: shows which is which
    batches = pipeline.training_batches(
        pictures, targets, SPEC, augmentation, batch_size=batch_size, seed=seed, epoch=number
    )
    images, labels = zip(*batches.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels).argmax(axis=1)


def test_an_epoch_follows_from_seed_and_number_alone(paths):
    images, order = epoch(paths, 3)
    again, same_order = epoch(paths, 3)
    assert np.array_equal(images, again)
    assert np.array_equal(order, same_order)
    assert not np.array_equal(epoch(paths, 4)[1], order)
    assert not np.array_equal(epoch(paths, 3, seed=43)[1], order)


def test_an_epoch_shows_every_picture_once_but_for_a_batch_that_is_not_full(paths):
    _, order = epoch(paths, 1)
    assert len(order) == len(set(order)) == len(paths) // 16 * 16
    assert len(epoch(paths[:5], 1)[1]) == 5  # fewer than one batch: nothing is left out


def test_targets_stay_with_their_pictures(paths):
    images, order = epoch(paths, 1, augmentation=Augmentation())
    for tensor, position in zip(images, order, strict=True):
        expected = preprocess.normalize(preprocess.to_pixels(paths[position], SPEC), SPEC)
        assert np.allclose(tensor, expected, atol=1e-6)


def test_epochs_leave_no_threads_and_no_pixels_behind(paths):
    """TensorFlow keeps the Python functions that it was given until the process ends."""
    epoch(paths, 1)
    threads, batches = threading.active_count(), _ahead()
    for number in range(2, 8):
        epoch(paths, number)
    assert threading.active_count() <= max(threads, pipeline._THREADS + 1)
    assert batches == _ahead() == 0


def _ahead():
    gc.collect()
    return sum(len(one._made) for one in gc.get_objects() if isinstance(one, pipeline._Ahead))


def test_the_first_batches_of_an_epoch_are_its_own_and_leave_no_pixels_in_memory(paths, monkeypatch):
    """Those that are made ahead and never asked for would stay to the end of the process."""
    from skin_edge.train.pipeline import batches as module

    made = []
    monkeypatch.setattr(module, "_Ahead", lambda *given, ahead=module._Ahead: made.append(ahead(*given)) or made[-1])
    pictures, _ = pipeline.load(paths, SPEC)
    given = pictures, np.eye(len(paths), dtype=np.float32), SPEC, EVERYTHING
    drawn = {"batch_size": 8, "seed": 42, "epoch": 3}
    whole = list(pipeline.training_batches(*given, **drawn).as_numpy_iterator())
    first = list(pipeline.training_batches(*given, **drawn, most=2).as_numpy_iterator())
    assert len(whole) > 6 and len(first) == 2 and not any(one._made for one in made)
    for (images, targets), (again, same) in zip(whole, first, strict=False):
        assert np.array_equal(images, again) and np.array_equal(targets, same)
    assert len(list(pipeline.training_batches(*given, **drawn, most=1000))) == len(whole)
