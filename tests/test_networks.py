"""The small networks below the head: what they are fed, what the formulas are, how a head of several layers folds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from skin_edge.edge_runtime.errors import UnknownNameError, UsageError
from skin_edge.train.engine import keras
from skin_edge.train.models import heads, networks
from skin_edge.train.recipes import published

PICTURES = np.random.default_rng(0).integers(0, 256, (2, 83, 96, 3)).astype(np.float32)


def test_the_dense_network_sees_z_scores():
    network = networks.build("image", (83, 96, 3), 1.0, "none")
    seen = network(PICTURES / 127.5 - 1).numpy()
    assert seen == pytest.approx((PICTURES - 159.9) / 46.4, abs=1e-4)
    assert not network.trainable_weights


def test_the_z_scores_are_those_of_ham10000(data_root):
    """Every 20th picture: of 8,499 the mean is 159.88 and the standard deviation 46.41."""
    files = sorted((data_root / "data/ham10000").rglob("*.jpg"))[::20]
    pixels = np.concatenate([np.asarray(Image.open(file).convert("RGB").resize((125, 100))).ravel() for file in files])
    assert pixels.mean() == pytest.approx(networks.Z_SCORE.mean[0], abs=1)
    assert pixels.std() == pytest.approx(networks.Z_SCORE.deviation[0], abs=1)


def test_convolutions_are_fed_zero_to_one():
    network = networks.build("cnn5", (83, 96, 3), 1.0, "none")
    assert keras.Model(network.input, network.layers[1].output)(PICTURES / 127.5 - 1).numpy() == pytest.approx(
        PICTURES / 255, abs=1e-6
    )
    assert network.output_shape == (None, 2, 3, 128)


def test_handmade_features_by_hand():
    """Three of the 32, of one cell, from their words."""
    image = PICTURES / 127.5 - 1
    features = networks.build("handmade", (83, 96, 3), 1.0, "none")(image).numpy()
    assert features.shape == (2, 4, 4, 32)
    cell = image[0, 20:40, 24:48]
    assert features[0, 1, 1, 0] == pytest.approx((cell[..., 0] + 1).mean(), abs=1e-4)  # red
    assert features[0, 1, 1, 7] == pytest.approx(np.maximum(cell[..., 1] - 0.5, 0).mean(), abs=1e-4)  # bright green
    luma = image[0] @ np.array([0.2126, 0.7152, 0.0722])
    down = luma[:-2] + 2 * luma[1:-1] + luma[2:]
    gradient = (down[:, 2:] - down[:, :-2]) / 8  # of the pixels that have neighbours: one row and column fewer
    assert features[0, 1, 1, 16] == pytest.approx(16 * np.maximum(gradient[20:40, 23:46], 0).mean(), rel=1e-3)


def test_formulas_are_never_trained():
    recipe = replace(published.get("ann-features"), image_size=(80, 80), unfreeze=None)
    model = heads.classifier(recipe, 7)
    assert {weight.name.split("/")[0] for weight in model.trainable_weights} == {
        "head_batch_norm",
        "hidden_1",
        "hidden_2",
        "probabilities",
    }


def test_residual_blocks_add_what_came_in():
    """With the second convolutions at zero, the first block passes on what the stem said."""
    network = networks.build("residual", (83, 96, 3), 1.0, "none")
    assert network.output_shape == (None, 11, 12, 128)
    layer = network.get_layer("block1_conv2")
    layer.set_weights([np.zeros_like(layer.get_weights()[0])])
    ends = [network.get_layer(name).output for name in ("stem_relu", "block1_relu2", "block2_relu2")]
    stem, first, second = keras.Model(network.input, ends)(PICTURES / 127.5 - 1)
    assert np.array_equal(stem, first)
    assert second.shape == (2, 42, 48, 32) and np.ptp(second) > 0


def test_metadata_alone_is_a_logistic_regression():
    recipe = replace(published.get("metadata-linear"), image_size=(83, 96))
    model = heads.classifier(recipe, 2, 5)
    generator = np.random.default_rng(1)
    known = generator.uniform(-1, 1, (4, 5)).astype(np.float32)
    images = np.stack([*(PICTURES / 127.5 - 1), np.ones((83, 96, 3)), -np.ones((83, 96, 3))]).astype(np.float32)
    kernel, bias = generator.normal(0, 3, (6, 2)), generator.normal(0, 1, 2)
    model.get_layer("probabilities").set_weights([kernel, bias])
    odds = np.exp(known @ kernel[1:] + kernel[0] + bias)  # the first feature is the picture's, a one
    assert model([images, known]).numpy() == pytest.approx(odds / odds.sum(axis=1, keepdims=True), abs=1e-5)
    assert {weight.name.split("/")[0] for weight in model.trainable_weights} == {"probabilities"}
    with pytest.raises(UsageError, match="--metadata age,sex,site"):
        replace(recipe, metadata=())


def test_what_cannot_be_built_is_one_line():
    with pytest.raises(UnknownNameError, match="cnn5"):
        networks.build("cnn6", (64, 64, 3), 1.0, "none")
    with pytest.raises(UsageError, match="--weights must be none"):
        networks.build("cnn5", (64, 64, 3), 1.0, "imagenet")
    with pytest.raises(UsageError, match="no width multiplier"):
        networks.build("cnn5", (64, 64, 3), 0.5, "none")
    with pytest.raises(UsageError, match="72x72"):
        networks.build("handmade", (64, 80, 3), 1.0, "none")


def test_a_head_of_several_layers_folds_exactly():
    from skin_edge.convert.quantize.fold import fold_head
    from skin_edge.convert.quantize.heatmap import with_map

    recipe = replace(published.get("ann-features"), image_size=(83, 96))
    model = heads.classifier(recipe, 7)
    generator = np.random.default_rng(1)
    model.get_layer("head_batch_norm").set_weights([generator.uniform(0.2, 3, 512) for _ in range(4)])
    folded = fold_head(model)
    kinds = (keras.layers.BatchNormalization, keras.layers.Dropout)
    assert not any(isinstance(layer, kinds) for layer in folded.layers)
    image = PICTURES / 127.5 - 1
    logits = folded(image).numpy().astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    answers = model(image).numpy()
    assert np.abs(expected - answers).max() < 1e-4
    assert np.ptp(answers) > 0.01
    with pytest.raises(UsageError, match="leave --cam out"):
        with_map(folded)
