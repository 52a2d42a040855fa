"""The settings of a training beside its network: loss, balance, mixup, schedule, average of weights, phases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UnknownNameError, UsageError
from skin_edge.train.pipeline import sampling
from skin_edge.train.recipes import published
from skin_edge.train.recipes import recipe as recipes
from skin_edge.train.recipes.schedules import factor

from .miniatures import SMALL, one_line

POSITIONS = np.repeat([0, 1, 2], [50, 12, 5])
RECIPE = published.get("mobilenet-enhanced")


def rows(balance, seed=0):
    return sampling.epoch_rows(POSITIONS, balance, np.random.default_rng(seed))


@pytest.mark.parametrize(
    ("balance", "counts"),
    [("none", [50, 12, 5]), ("class-weight", [50, 12, 5]), ("oversample", [50] * 3), ("undersample", [5] * 3)],
)
def test_an_epoch_shows_so_many_of_each_class(balance, counts):
    assert np.bincount(POSITIONS[rows(balance)]).tolist() == counts
    assert sampling.epoch_size(POSITIONS, balance) == sum(counts)
    assert not np.array_equal(rows(balance), rows(balance, seed=1))
    assert np.array_equal(rows(balance), rows(balance))


def test_a_number_of_each_class_repeats_all_before_any_a_third_time():
    drawn = rows("17")
    times = np.bincount(drawn, minlength=len(POSITIONS))
    assert np.bincount(POSITIONS[drawn]).tolist() == [17] * 3
    assert times[:50].max() == 1
    assert set(times[50:62]) == {1, 2}
    assert set(times[62:]) == {3, 4}


def test_class_weights_cancel_the_imbalance():
    weights = sampling.class_weights(POSITIONS, 4, "class-weight")
    assert weights == pytest.approx([67 / (3 * 50), 67 / (3 * 12), 67 / (3 * 5), 1])
    assert np.ptp(weights[:3] * np.bincount(POSITIONS)) == pytest.approx(0, abs=1e-5)
    assert (sampling.class_weights(POSITIONS, 4, "none") == 1).all()
    assert sampling.shares(POSITIONS, 4, "none").tolist() == pytest.approx([50 / 67, 12 / 67, 5 / 67, 0])
    assert sampling.shares(POSITIONS, 4, "oversample").tolist() == pytest.approx([1 / 3] * 3 + [0])


def test_losses_by_hand():
    from skin_edge.train.loop.losses import loss

    shares, ones = np.asarray([0.7, 0.2, 0.1]), np.ones(3, np.float32)
    probabilities = np.asarray([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], np.float32)
    targets = np.asarray([[0, 1, 0], [0, 0, 1]], np.float32)

    def of(name, **settings):
        return np.asarray(loss(name, **{"shares": shares, "weights": ones, **settings})(targets, probabilities))

    assert of("cross-entropy") == pytest.approx([-math.log(0.3), -math.log(0.8)], rel=1e-5)
    assert of("focal") == pytest.approx([-(0.7**2) * math.log(0.3), -(0.2**2) * math.log(0.8)], rel=1e-5)
    adjusted = [0.3 * 0.2 / (0.5 * 0.7 + 0.3 * 0.2 + 0.2 * 0.1), 0.8 * 0.1 / (0.1 * 0.7 + 0.1 * 0.2 + 0.8 * 0.1)]
    assert of("logit-adjusted") == pytest.approx([-math.log(p) for p in adjusted], rel=1e-5)
    assert of("logit-adjusted", tau=0) == pytest.approx(of("cross-entropy"), rel=1e-5)
    half = [s**0.5 for s in (0.7, 0.2, 0.1)]
    adjusted = [0.3 * half[1] / (0.5 * half[0] + 0.3 * half[1] + 0.2 * half[2])]
    assert of("logit-adjusted", tau=0.5)[0] == pytest.approx(-math.log(adjusted[0]), rel=1e-5)
    weights = np.asarray([1, 2, 3], np.float32)
    assert of("cross-entropy", weights=weights) == pytest.approx([-2 * math.log(0.3), -3 * math.log(0.8)], rel=1e-5)
    smooth = -(0.9 + 0.1 / 3) * math.log(0.3) - 0.1 / 3 * (math.log(0.5) + math.log(0.2))
    assert of("cross-entropy", label_smoothing=0.1)[0] == pytest.approx(smooth, rel=1e-5)
    assert np.isfinite(loss("focal", shares=shares, weights=ones)(targets, np.asarray([[1, 0, 0]] * 2))).all()


def test_the_known_losses_are_those_that_exist_and_are_offered():
    from skin_edge.train.commands.train import train as train_command
    from skin_edge.train.loop import losses

    assert tuple(losses._TERMS) == recipes.LOSSES, "name it in LOSSES of train/recipes/recipe.py, in the same order"
    said = next(str(option.help) for option in train_command.params if option.name == "loss")
    assert all(name in said for name in recipes.LOSSES), "name it in the help of --loss (train/commands/train.py)"


def test_the_schedule_rises_in_a_line_and_falls_as_half_a_cosine():
    rates = [factor("cosine", step, 100, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[55] == pytest.approx(0.5, abs=1e-9)
    assert rates[10] == 1
    assert 0 < rates[99] < 0.001
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert [factor("plateau", step, 100, 2) for step in (0, 1, 2, 99)] == [0.5, 1, 1, 1]


def test_the_average_of_weights_follows_its_formula():
    from skin_edge.train.engine import keras
    from skin_edge.train.loop.averaging import WeightAverage

    model = keras.Sequential([keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", input_shape=(1,))])
    average, expected = WeightAverage(model, 0.5), 1.0
    for step in range(1, 8):
        model.weights[0].assign([[float(step)]])
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    with average.in_place():
        assert model.get_weights()[0].item() == pytest.approx(expected)
    assert model.get_weights()[0].item() == 7
    average.put()
    assert model.get_weights()[0].item() == pytest.approx(expected)


def test_mixup_mixes_pictures_and_targets_alike():
    from skin_edge.edge_runtime.preprocess import InputSpec
    from skin_edge.train.pipeline.augment import Augmentation
    from skin_edge.train.pipeline.batches import Pictures, training_batches

    spec, greys = InputSpec(8, 8), np.arange(12, dtype=np.uint8) * 20
    pictures = Pictures(np.tile(greys[:, None, None, None], (1, 8, 8, 3)), np.arange(12), np.ones(12, np.float32))
    one_hot = np.eye(12, dtype=np.float32)
    mixed = 0
    for images, targets in training_batches(
        pictures, one_hot, spec, Augmentation(), batch_size=6, seed=0, epoch=1, mixup=0.4
    ):
        targets = np.asarray(targets)
        assert np.allclose(targets.sum(axis=1), 1)
        grey = targets @ greys.astype(np.float64)
        assert np.allclose(np.asarray(images)[:, 3, 3, 0], grey / 127.5 - 1, atol=1e-4)
        mixed += ((targets > 0.05).sum(axis=1) == 2).sum()
    assert mixed > 3


def test_settings_are_read_by_the_kind_of_the_field():
    changed = RECIPE.with_settings(
        {"dropout": "0.3", "unfreeze": "null", "augmentation.rotation": "180", "learning_rate": "1e-4",
         "augmentation.flip_vertical": "false", "fractions": "[0.6, 0.2, 0.2]", "loss": "focal"}
    )  # fmt: skip
    assert (changed.dropout, changed.unfreeze, changed.learning_rate, changed.loss) == (0.3, None, 1e-4, "focal")
    assert (changed.augmentation.rotation, changed.augmentation.flip_vertical) == (180.0, False)
    assert changed.augmentation.zoom == RECIPE.augmentation.zoom
    assert changed.fractions == (0.6, 0.2, 0.2)
    assert recipes.Recipe.from_dict(changed.to_dict()) == changed


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"droput": "0.3"}, UnknownNameError, "dropout"),
        ({"augmentation.spin": "3"}, UnknownNameError, "rotation"),
        ({"augmentation": "3"}, UnknownNameError, "augmentation.rotation"),
        ({"name": "x"}, UnknownNameError, "setting"),
        ({"dropout": "much"}, UsageError, "is a number"),
        ({"batch_size": "1.5"}, UsageError, "is a whole number"),
        ({"balance_validation": "3"}, UsageError, "true or false"),
        ({"image_size": "[1]"}, UsageError, "2 numbers"),
        ({"dropout": "1.5"}, UsageError, "outside 0..0.99"),
        ({"loss": "hinge"}, UnknownNameError, "logit-adjusted"),
        ({"balance": "some"}, UnknownNameError, "oversample"),
        ({"schedule": "step"}, UnknownNameError, "cosine"),
        ({"batch_norm": "x"}, UnknownNameError, "frozen"),
    ],
)
def test_a_wrong_setting_is_one_line_with_the_known_ones(settings, error, says):
    with pytest.raises(error, match=says):
        RECIPE.with_settings(settings)


def test_a_setting_without_a_value_is_a_usage_error(ham, tmp_path, capsys):
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), *SMALL, "--set", "dropout"]) == 2
    assert "NAME=VALUE" in one_line(capsys)


def test_a_setting_given_by_its_flag_and_by_set_is_a_usage_error(ham, tmp_path, capsys):
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), "--epochs", "3", "--set", "epochs=4"]) == 2
    assert "--epochs and --set epochs=4 name the same setting" in one_line(capsys)


@pytest.mark.parametrize(("mode", "learning"), [("trained-layers", 2), ("frozen", 0), ("all", 27)])
def test_whose_batch_normalization_adapts(mode, learning):
    from dataclasses import replace

    from skin_edge.train.engine import keras
    from skin_edge.train.models import heads

    recipe = replace(RECIPE, weights="none", width=0.25, image_size=(32, 32), unfreeze=6, batch_norm=mode)
    model = heads.classifier(recipe, 3)
    norms = [
        layer
        for layer in model.layers
        if isinstance(layer, keras.layers.BatchNormalization) and layer.name != "head_batch_norm"
    ]
    assert (len(norms), sum(layer.trainable for layer in norms)) == (27, learning)
    assert model.get_layer("head_batch_norm").trainable
    kernels = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert sum(layer.trainable for layer in kernels) == 1  # of the last six layers the pointwise convolution
    heads.choose_trained(model, recipe, head_only=True)
    assert {layer.name for layer in model.layers if layer.trainable and layer.weights} == {
        "head_batch_norm",
        "probabilities",
    }


def test_every_setting_at_once_resumes_to_the_same_history(ham, tmp_path):
    """Stopped after the first phase and after the second has begun; the average of weights goes on too."""
    settings = [
        *SMALL, "--set", "backbone=cnn4-batchnorm", "--epochs", 3, "--unfreeze", 6,
        *("--loss", "logit-adjusted", "--balance", "9", "--balance-validation"),
        *("--set=" + text for text in ("head_epochs=1", "ema=0.9", "mixup=0.2", "schedule=cosine", "warmup_epochs=1",
                                       "weight_decay=1e-4", "label_smoothing=0.05", "augmentation.saturation=0.2")),
    ]  # fmt: skip
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(["train", str(ham), "--out", str(whole), *map(str, settings)]) == 0
    history = pd.read_csv(whole / "history.csv")
    assert history["learning_rate"].is_monotonic_decreasing
    from skin_edge.train.loop import checkpoints, fit

    kept, seen = fit.checkpoints.save, []

    def stop_after(folder, state, **objects):
        kept(folder, state, **objects)
        seen.append(state.epoch)
        if len(seen) <= 2:
            raise KeyboardInterrupt

    fit.checkpoints.save = stop_after
    try:
        for _ in range(3):
            flags = [] if not seen else ["--resume"]
            run(["train", str(ham), "--out", str(cut), *map(str, [] if flags else settings), *flags])
    finally:
        checkpoints.save = kept
    assert seen == [1, 2, 3]
    assert (cut / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    assert (cut / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_a_search_space_names_settings_and_stays_out_of_a_run():
    from skin_edge.train.recipes.search_space import Between, Log, OneOf

    assert RECIPE.search
    for name, allowed in RECIPE.search.items():
        values = allowed.choices if isinstance(allowed, OneOf) else (allowed.low, allowed.high)
        for value in values:
            RECIPE.with_settings({name: str(value)})
    assert "search" not in RECIPE.to_dict()
    assert recipes.Recipe.from_dict(RECIPE.to_dict()) == RECIPE, "a search space is no difference to resume over"
    with pytest.raises(UnknownNameError, match="dropout"):
        RECIPE.with_settings({"search": "{}"})
    assert Log(1e-5, 1e-2).to_dict() == {"log": [1e-5, 1e-2]}
    assert OneOf(16, 32).to_dict() == {"one_of": [16, 32]}
    for wrong in (lambda: Log(0, 1), lambda: Between(2, 1), lambda: OneOf(3)):
        with pytest.raises(UsageError):
            wrong()


@pytest.mark.slow
def test_dropout_within_a_backbone_follows_from_seed_and_epoch():
    """EfficientNet drops whole branches; Keras would draw that from TensorFlow's global state."""
    from dataclasses import replace

    from skin_edge.train.models import heads

    recipe = replace(RECIPE, backbone="efficientnetb0", weights="none", image_size=(32, 32))
    model = heads.classifier(recipe, 3)
    image = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype(np.float32)

    def answer(epoch):
        heads.seed_dropout(model, 42, epoch)
        return model(image, training=True).numpy()

    weights = model.get_weights()
    first, again, other = [(model.set_weights(weights), answer(epoch))[1] for epoch in (1, 1, 2)]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
