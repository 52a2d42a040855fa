"""Resized pictures on disk: the same pixels as in memory, found again, and never half of them."""

from __future__ import annotations

import os

import numpy as np
import pytest

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.train.pipeline import batches, cache

from .miniatures import MOBILENET

SPEC = InputSpec(24, 32)


@pytest.fixture
def paths(picture, tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    made = [str(picture("mel", seed, f"{seed}.jpg", (60 + seed, 45))) for seed in range(5)]
    return [*made, str(tmp_path / "text.jpg"), ""]


def test_disk_and_memory_hold_the_same(paths, tmp_path):
    memory, failures = batches.load(paths, SPEC)
    for _ in ("written", "found again"):
        disk, again = batches.load(paths, SPEC, cache_folder=tmp_path / "cache")
        assert isinstance(disk.source, cache.PixelFile)
        assert np.array_equal(disk.pixels, memory.pixels)
        assert np.array_equal(disk.aspects, memory.aspects)
        assert again == failures
    some = np.asarray([3, 0, 3])
    assert np.array_equal(disk.take(some).pixels, memory.pixels[some])
    assert np.array_equal(disk.take(some).gather(np.asarray([1])), memory.pixels[[0]])
    assert np.array_equal(np.load(next((tmp_path / "cache").glob("*/pixels.npy"))), memory.pixels)  # any reader's .npy
    assert set(failures) == {5, 6}


def test_it_is_read_again_only_where_nothing_has_changed(paths, tmp_path, monkeypatch):
    batches.load(paths, SPEC, cache_folder=tmp_path / "cache")
    decoded = []
    decode = batches.preprocess.decode
    monkeypatch.setattr(batches.preprocess, "decode", lambda path, spec: decoded.append(path) or decode(path, spec))
    batches.load(paths, SPEC, cache_folder=tmp_path / "cache")
    assert not decoded
    batches.load(paths, InputSpec(24, 24), cache_folder=tmp_path / "cache")
    assert len(decoded) == 6
    os.utime(paths[0], (1, 1))
    batches.load(paths, SPEC, cache_folder=tmp_path / "cache")
    assert len(decoded) == 12


def test_a_reading_that_was_stopped_leaves_no_half_cache(paths, tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batches.load(paths, SPEC, cache_folder=tmp_path / "cache", on_progress=stop)
    assert not list((tmp_path / "cache").glob("*/index.npz"))
    assert len(batches.load(paths, SPEC, cache_folder=tmp_path / "cache")[0]) == 7


def test_a_cut_cache_is_an_error_and_no_grey_picture(paths, tmp_path):
    batches.load(paths, SPEC, cache_folder=tmp_path / "cache")
    file = next((tmp_path / "cache").glob("*/pixels.npy"))
    pictures, _ = batches.load(paths, SPEC, cache_folder=tmp_path / "cache")
    os.truncate(file, file.stat().st_size - 10)
    with pytest.raises(OSError, match="cut short"):
        pictures.gather(np.asarray([6]))


def test_what_does_not_fit_into_memory_is_said_before_it_is_tried():
    with pytest.raises(UsageError, match="--cache FOLDER"):
        cache.check_memory(10**9, SPEC)
    cache.check_memory(1000, SPEC)


def test_a_training_from_disk_is_the_training_from_memory(ham, tiny_run, tmp_path):
    arguments = ["train", str(ham), "--out", str(tmp_path / "run"), *MOBILENET, "--epochs", "3"]
    assert run([*arguments, "--cache", str(tmp_path / "cache")]) == 0
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (tiny_run / "predictions.csv").read_bytes()
