"""On real dermatoscopic images, where SKIN_EDGE_DATA names them: training's tensor is the device's, image by image."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.preprocess import InputSpec, normalize, to_pixels


def test_the_training_pipeline_feeds_what_the_device_feeds(data_root):
    from skin_edge.train.pipeline.batches import load, plain_batches

    spec = InputSpec(160, 160)
    paths = sorted((data_root / "data" / "fullsize").glob("*.jpg"))[:20]
    assert paths
    pictures, failures = load([str(path) for path in paths], spec)
    assert not failures
    fed = np.concatenate(list(plain_batches(pictures, spec).as_numpy_iterator()))
    for path, tensor in zip(paths, fed, strict=True):
        assert np.array_equal(tensor, normalize(to_pixels(path, spec), spec))


def test_the_packaged_model_is_far_better_than_chance(data_root):
    """Balanced over classes, with at most 20 images each; the real figures are in docs/results.md."""
    table = pd.read_csv(data_root / "data" / "ham10000" / "HAM10000_metadata.csv")
    files = {path.stem: path for path in (data_root / "data" / "ham10000").rglob("*.jpg")}
    table = table[table["image_id"].isin(files.keys())].groupby("dx").head(20)
    classifier = SkinClassifier(DEFAULT_MODEL)
    hits = [
        classifier.predict(files[name]).label == dx for name, dx in zip(table["image_id"], table["dx"], strict=True)
    ]
    assert len(hits) == 140
    assert np.mean(hits) > 0.6


def test_the_packaged_model_answers_alike_on_photographs_and_their_thumbnails(data_root):
    from studies.copies import compare

    result = compare(SkinClassifier(DEFAULT_MODEL), data_root / "data" / "fullsize", data_root / "data" / "ham10000")
    assert result["n"] == 53
    assert result["differ"] <= 3


@pytest.mark.slow
def test_a_sample_of_ham10000_from_train_to_bench(data_root, tmp_path, capsys):
    weights = next((data_root / "pretrained").glob("mobilenet_1_0_224*notop*.h5"))
    sample = ["--limit", "900", "--image-size", "96", "--batch-size", "16", "--epochs", "8", "--weights", str(weights)]
    assert run(["train", str(data_root / "data" / "ham10000"), "--out", str(tmp_path / "run"), *sample]) == 0
    assert run(["convert", str(tmp_path / "run"), "--int8", "--qat-epochs", "1"]) == 0
    int8 = tmp_path / "run" / "int8"
    capsys.readouterr()
    models = [str(int8 / "model_int8.tflite"), "--reference", str(int8 / "model_float32.tflite")]
    assert run(["bench", *models, "--data", str(tmp_path / "run" / "split.csv"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ratios"]["file_bytes"] < 0.28
    assert result["accuracy"]["agreement"] > 0.9
    trained = json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
    assert result["accuracy"]["reference"]["balanced_accuracy"] == pytest.approx(trained["balanced_accuracy"], abs=1e-6)
    assert trained["balanced_accuracy"] > 1 / 7 + 0.1
