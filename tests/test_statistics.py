"""BatchNormalization's statistics, computed anew before a network is validated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.train.runs import run_folder

from . import miniatures


@pytest.fixture(scope="module")
def ham(tmp_path_factory):
    return miniatures.ham10000(tmp_path_factory.mktemp("ham"))


def test_they_become_the_mean_over_the_batches_of_what_each_layer_sees():
    from skin_edge.train.engine import keras, tf
    from skin_edge.train.loop import statistics

    keras.utils.set_random_seed(3)
    source = keras.Input((8, 8, 3))
    frozen = keras.layers.BatchNormalization(trainable=False, name="frozen")
    first = keras.layers.BatchNormalization(name="first")(keras.layers.Conv2D(4, 3)(frozen(source)))
    second = keras.layers.BatchNormalization(name="second", momentum=0.9)(keras.layers.Dense(5)(first))
    model = keras.Model(source, second)
    images = np.random.default_rng(0).normal(2, 3, (24, 8, 8, 3)).astype(np.float32)
    before = [weight.numpy() for weight in model.trainable_weights]
    statistics.renew(model, tf.data.Dataset.from_tensor_slices((images, np.zeros(24))).batch(8))

    into_first = keras.Model(source, model.layers[2].output)(images).numpy().reshape(3, -1, 4)
    layer = model.get_layer("first")
    assert np.allclose(layer.moving_mean, into_first.mean(axis=(0, 1)), atol=1e-4)
    assert np.allclose(layer.moving_variance, into_first.var(axis=1, ddof=1).mean(axis=0), rtol=1e-3)
    assert (model.get_layer("second").momentum, layer.momentum) == (0.9, 0.99)
    assert np.array_equal(model.get_layer("frozen").moving_mean, np.zeros(3)), "it does not adapt"
    assert all(np.array_equal(one, other) for one, other in zip(before, model.trainable_weights, strict=True))


def test_what_is_kept_is_what_was_validated(ham, tmp_path, monkeypatch):
    from skin_edge.train.pipeline import batches

    made = []
    monkeypatch.setattr(batches, "_Ahead", lambda *given, ahead=batches._Ahead: made.append(ahead(*given)) or made[-1])

    def train(out, renewed):
        more = ["--set", "ema=0.9", "--set", f"batch_norm_batches={renewed}", "--set", "keep=last", "--epochs", "3"]
        assert run(["train", str(ham), "--out", str(out), *miniatures.MOBILENET, *more]) == 0
        return run_folder.read(out).model().get_weights()

    whole = train(tmp_path / "whole", 1)
    assert len(made) == 6 and not any(one._made for one in made), "batches made ahead would stay in memory"
    history = pd.read_csv(tmp_path / "whole/history.csv")
    answers = pd.read_csv(tmp_path / "whole/predictions.csv").query("split == 'val'")
    columns = sorted(name for name in answers if name.startswith("p_"))
    top = answers[columns].to_numpy().argmax(axis=1)
    accuracy = np.mean([columns[best] == f"p_{label}" for best, label in zip(top, answers["label"], strict=True)])
    assert accuracy == pytest.approx(history["val_accuracy"].iloc[-1], abs=1e-5)

    other = train(tmp_path / "other", 0)
    differs = [not np.array_equal(one, another) for one, another in zip(whole, other, strict=True)]
    assert any(differs) and not all(differs), "statistics differ, and no weight"


def test_several_devices_have_statistics_of_their_own(ham, tmp_path):
    from skin_edge.train import TrainRequest, train

    request = TrainRequest(data=ham, out=tmp_path / "run", distribute="mirrored", changes={"batch_norm_batches": 2})
    with pytest.raises(UsageError, match="batch_norm_batches cannot be combined with --distribute"):
        train(request)
