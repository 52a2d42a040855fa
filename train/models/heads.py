"""Heads: from a backbone to a classifier. The result is one flat functional model, which tfmot can quantize."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ...edge_runtime.classifier import METADATA_INPUT
from ...edge_runtime.errors import UsageError
from .. import streams
from ..engine import keras
from ..recipes.recipe import Recipe
from .backbones import is_fixed
from .networks import build

MOST_HEAD_WEIGHTS = 250_000_000  # 1 GB; the largest published recipe's are a tenth of it
METADATA_LAYER = "metadata_features"
_POOLING = {
    "average": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
    "flatten": keras.layers.Flatten,
}


def classifier(recipe: Recipe, classes: int, metadata_length: int = 0) -> Any:
    """The recipe's network: float32 [b, height, width, 3] in real input units -> probabilities float32 [b, classes].

    Pooling, BatchNormalization (where the recipe has it), hidden Dense layers with ReLU, Dropout, Dense softmax; L2 on
    every Dense. With metadata, float32 [b, metadata_length] as the second input, a small dense layer's answer to it, or
    with metadata_units of 0 the vector itself, joins the pooled features.
    """
    backbone = build(recipe.backbone, (*recipe.image_size, 3), recipe.width, recipe.weights)
    for layer in backbone.layers:
        if recipe.batch_norm_momentum is not None and isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = recipe.batch_norm_momentum
        if isinstance(layer, keras.layers.Dropout):  # Keras' own networks come with TensorFlow's global one
            layer._random_generator = type(layer._random_generator)(rng_type="stateful")
            layer._random_generator._maybe_init()
    features = _POOLING[recipe.pooling](name="pool")(backbone.output)
    _check_size([features.shape[-1] + metadata_length, *recipe.hidden, classes])
    inputs = backbone.input
    if metadata_length:
        metadata = keras.Input((metadata_length,), name=METADATA_INPUT)
        told = metadata
        if units := recipe.metadata_units:
            penalty = keras.regularizers.L2(recipe.l2)
            dense = keras.layers.Dense(units, activation="relu", kernel_regularizer=penalty, name=METADATA_LAYER)
            told = dense(metadata)
        features = keras.layers.Concatenate(name="picture_and_metadata")([features, told])
        inputs = [backbone.input, metadata]
    if recipe.head_batch_norm:
        momentum = recipe.batch_norm_momentum or 0.99
        features = keras.layers.BatchNormalization(name="head_batch_norm", momentum=momentum)(features)
    for number, units in enumerate(recipe.hidden, 1):
        regularizer = keras.regularizers.L2(recipe.l2)
        dense = keras.layers.Dense(units, activation="relu", kernel_regularizer=regularizer, name=f"hidden_{number}")
        features = dense(features)
    # A generator of its own: `seed_dropout` sets it before every epoch.
    features = keras.layers.Dropout(recipe.dropout, name="head_dropout", rng_type="stateful")(features)
    probabilities = keras.layers.Dense(
        classes,
        activation="softmax",
        kernel_regularizer=keras.regularizers.L2(recipe.l2),
        dtype="float32",  # under mixed precision too
        name="probabilities",
    )(features)
    model = keras.Model(inputs, probabilities, name=recipe.name.replace("-", "_"))
    choose_trained(model, recipe, head_only=False)
    return model


def _check_size(widths: list[int]) -> None:
    """Raises UsageError where the head's kernels would take more memory than any network here is worth.

    widths: of its features, of each dense layer and of the answer.
    """
    weights = sum(inputs * units for inputs, units in pairwise(widths))
    if weights > MOST_HEAD_WEIGHTS:
        raise UsageError(
            f"the head would have {weights:.1e} weights, more than {MOST_HEAD_WEIGHTS:.0e}: choose smaller images, "
            "fewer hidden units, or another pooling than flatten"
        )


def choose_trained(model: Any, recipe: Recipe, *, head_only: bool) -> None:
    """Sets `trainable` of every layer of `classifier`'s network; to be followed by compile().

    In Keras a BatchNormalization that is not trainable runs in inference mode and keeps the statistics it came with.
    """
    names = [layer.name for layer in model.layers]
    # Keras sorts by depth, and may put the metadata's layers among the backbone.
    own = (METADATA_INPUT, METADATA_LAYER)
    backbone = [layer for layer in model.layers[: names.index("pool")] if layer.name not in own]
    frozen = 0 if recipe.unfreeze is None else max(0, len(backbone) - recipe.unfreeze)
    for position, layer in enumerate(backbone):
        trained = position >= frozen and not head_only
        if isinstance(layer, keras.layers.BatchNormalization):
            trained = {"trained-layers": trained, "frozen": False, "all": not head_only}[recipe.batch_norm]
        layer.trainable = trained and not is_fixed(layer.name)


def seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Makes what dropout draws in an epoch follow from (seed, epoch) alone, in a resumed training too.

    Keras leaves the generator's state out of checkpoints.
    """
    for position, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.Dropout):
            layer._random_generator._generator.reset_from_seed(
                streams.number(seed, streams.Stream.DROPOUT, epoch, position)
            )
