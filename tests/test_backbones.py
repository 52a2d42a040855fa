from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from skin_edge.edge_runtime.errors import DataError, UnknownNameError, UsageError
from skin_edge.train.engine import keras, tf
from skin_edge.train.models import backbones
from skin_edge.train.models.efficientnet_lite import efficientnet_lite

applications = keras.applications

# name -> (Keras' own network, its module with preprocess_input, side in pixels)
PLAIN = {
    "mobilenet": (applications.MobileNet, applications.mobilenet, 64),
    "mobilenetv2": (applications.MobileNetV2, applications.mobilenet_v2, 64),
    "mobilenetv3small": (applications.MobileNetV3Small, applications.mobilenet_v3, 64),
    "mobilenetv3large": (applications.MobileNetV3Large, applications.mobilenet_v3, 64),
    "resnet50": (applications.ResNet50, applications.resnet50, 64),
    "densenet121": (applications.DenseNet121, applications.densenet, 64),
    "efficientnetb0": (applications.EfficientNetB0, applications.efficientnet, 64),
    "efficientnetb3": (applications.EfficientNetB3, applications.efficientnet, 64),
    "efficientnet-lite0": (partial(efficientnet_lite, width=1.0, depth=1.0), applications.mobilenet, 64),
    "efficientnet-lite2": (partial(efficientnet_lite, width=1.1, depth=1.2), applications.mobilenet, 64),
    "efficientnetv2b0": (applications.EfficientNetV2B0, applications.efficientnet_v2, 64),
    "inceptionresnetv2": (applications.InceptionResNetV2, applications.inception_resnet_v2, 75),
}
HEAVY = (
    "mobilenetv2",
    "resnet50",
    "mobilenetv3large",
    "densenet121",
    "efficientnetb0",
    "efficientnetb3",
    "efficientnet-lite2",
    "efficientnetv2b0",
    "inceptionresnetv2",
)
ADAPTED = ("resnet50", "densenet121", "efficientnetb0", "efficientnetb3", "efficientnetv2b0")
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in PLAIN]


def bytes_of_pictures(side):
    """Two smooth pictures with differing channels, float32 [2, side, side, 3] of whole numbers in 0..255."""
    coarse = np.random.default_rng(0).uniform(0, 255, (2, 5, 5, 3)) * (1.0, 0.8, 0.6)
    return np.round(tf.image.resize(coarse, (side, side)).numpy()).astype(np.float32)


def plain_network(name, pictures):
    """Keras' own network with random weights and statistics that are near the pictures', as a trained network's do.

    Not on them: with the variances of so few values a network enlarges float rounding a hundred times.
    """
    application, module, side = PLAIN[name]
    keras.utils.set_random_seed(3)
    network = application(include_top=False, weights=None, input_shape=(side, side, 3))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    network(module.preprocess_input(pictures.copy()), training=True)
    return network


def assert_same(features, expected):
    assert features.shape == expected.shape
    assert expected.std() > 1e-3  # else any network would do
    assert np.abs(features - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", EVERY)
def test_a_picture_in_minus_one_to_one_gives_what_keras_gives_for_its_own_input(name, tmp_path):
    module, side = PLAIN[name][1:]
    pictures = bytes_of_pictures(side)
    plain = plain_network(name, pictures)
    expected = plain(module.preprocess_input(pictures.copy()), training=False).numpy()
    plain.save_weights(tmp_path / "a.weights.h5")  # Keras' format: by kind of layer and number
    plain.save_weights(tmp_path / "b.h5", save_format="h5")  # the legacy one, of the published files: by position
    for file in ("a.weights.h5", "b.h5"):
        network = backbones.build(name, (side, side, 3), 1.0, str(tmp_path / file))
        assert_same(network(pictures / 127.5 - 1, training=False).numpy(), expected)

    assert not [layer for layer in network.layers if isinstance(layer, keras.Model)]
    assert network.input_shape == (None, side, side, 3)
    assert (backbones.ADAPT_LAYER in [layer.name for layer in network.layers]) == (name in ADAPTED)
    if name in ADAPTED:
        assert network.layers[1].name == backbones.ADAPT_LAYER
        assert network.layers[1].weights and not network.layers[1].trainable_weights

    network.save(tmp_path / "network.keras")
    again = keras.models.load_model(tmp_path / "network.keras")
    assert_same(again(pictures / 127.5 - 1, training=False).numpy(), expected)
    assert len(again.trainable_weights) == len(network.trainable_weights) == len(plain.trainable_weights)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenetv3small", "resnet50", "efficientnetb0"])
def test_random_weights_are_the_seeds(name):
    def first_kernels(seed):
        keras.utils.set_random_seed(seed)
        network = backbones.build(name, (64, 64, 3), 1.0, "none")
        kernels = [layer for layer in network.layers if isinstance(layer, keras.layers.Conv2D)]
        return np.concatenate([layer.get_weights()[0].ravel() for layer in kernels[:3]])

    assert np.array_equal(first_kernels(1), first_kernels(1))
    assert not np.array_equal(first_kernels(1), first_kernels(2))


def test_the_published_efficientnet_is_normalized_as_keras_does_where_it_downloads_it(tmp_path):
    """Its files hold standard deviations in place of variances: Keras divides by their root twice."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pictures = bytes_of_pictures(64)
    plain = plain_network("efficientnetb0", pictures)
    # A new Normalization is the identity, after the division by 255.
    expected = plain(255 * (pictures / 255 - mean) / deviation, training=False).numpy()
    normalization = next(layer for layer in plain.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([mean, deviation, np.array(0)])
    plain.save_weights(tmp_path / "published.h5", save_format="h5")
    network = backbones.build("efficientnetb0", (64, 64, 3), 1.0, str(tmp_path / "published.h5"))
    assert_same(network(pictures / 127.5 - 1, training=False).numpy(), expected)

    own_mean, own_variance = np.array([0.5, 0.4, 0.3]), np.array([0.09, 0.04, 0.01])  # somebody's own
    normalization.set_weights([own_mean, own_variance, np.array(0)])
    own = plain(pictures, training=False).numpy()
    plain.save_weights(tmp_path / "own.h5", save_format="h5")
    network = backbones.build("efficientnetb0", (64, 64, 3), 1.0, str(tmp_path / "own.h5"))
    assert_same(network(pictures / 127.5 - 1, training=False).numpy(), own)


def test_mixed_precision_does_not_round_the_normalization(tmp_path):
    pictures = bytes_of_pictures(64)
    plain = plain_network("efficientnetb0", pictures)
    normalization = next(layer for layer in plain.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    plain.save_weights(tmp_path / "published.h5", save_format="h5")
    adapt = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_global_policy(policy)
        try:
            network = backbones.build("efficientnetb0", (64, 64, 3), 1.0, str(tmp_path / "published.h5"))
        finally:
            keras.mixed_precision.set_global_policy("float32")
        adapt.append(network.get_layer(backbones.ADAPT_LAYER).get_weights())
    for weights, mixed in zip(*adapt, strict=True):
        assert weights.dtype == mixed.dtype == np.float32
        assert np.array_equal(weights, mixed)


def test_the_adapted_values_are_the_published_ones():
    """White, black and red after the first layer, by hand."""
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0]], np.float32)
    network = backbones.build("resnet50", (32, 32, 3), 1.0, "none")
    adapt = keras.Model(network.input, network.get_layer(backbones.ADAPT_LAYER).output)
    values = adapt(np.tile(colours[:, None, None] / 127.5 - 1, (1, 32, 32, 1))).numpy()
    expected = [
        [255 - 103.939, 255 - 116.779, 255 - 123.68],
        [-103.939, -116.779, -123.68],
        [-103.939, -116.779, 255 - 123.68],
    ]
    assert values[:, 5, 7] == pytest.approx(np.array(expected), abs=1e-4)


def test_post_training_quantization_leaves_one_convolution_of_the_adaptation():
    """Cut after the first real convolution: Rescaling, Normalization and the fixed layer are one int8 operator."""
    network = backbones.build("efficientnetb0", (32, 32, 3), 1.0, "none")
    stem = keras.Model(network.input, network.get_layer("stem_conv").output)
    converter = tf.lite.TFLiteConverter.from_keras_model(stem)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([picture[None]] for picture in bytes_of_pictures(32) / 127.5 - 1)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8

    from skin_edge.convert.tflite.census import take_census
    from skin_edge.edge_runtime.quiet import quiet

    with quiet():
        rows = take_census(converter.convert())
    assert [row.operator for row in rows] == ["CONV_2D", "CONV_2D"]
    assert {row.computes_in for row in rows} == {"integer"}


@pytest.mark.parametrize(
    ("name", "width", "file"),
    [
        ("mobilenet", 1.0, "mobilenet_1_0_224_imagenet_notop.weights.h5"),
        ("mobilenet", 0.25, "mobilenet_0_25_128_imagenet_notop.weights.h5"),
        ("mobilenetv2", 1.0, "mobilenetv2_1_0_224_imagenet_notop.weights.h5"),
    ],
)
def test_weights_of_a_width_load_as_keras_loads_them(name, width, file, data_root):
    path = str(data_root / "pretrained" / file)
    pictures = bytes_of_pictures(64)
    application, module, _ = PLAIN[name]
    plain = application(include_top=False, weights=None, input_shape=(64, 64, 3), alpha=width)
    plain.load_weights(path)
    expected = plain(module.preprocess_input(pictures.copy()), training=False).numpy()
    network = backbones.build(name, (64, 64, 3), width, path)
    assert_same(network(pictures / 127.5 - 1, training=False).numpy(), expected)


def test_only_mobilenets_have_a_width():
    for name in PLAIN:
        if name.startswith("mobilenet"):
            continue
        with pytest.raises(UsageError, match=rf"^{name} has no width multiplier: --width must be 1\.0, not 0\.5$"):
            backbones.build(name, (96, 96, 3), 0.5, "none")

    def parameters(width):
        return backbones.build("mobilenetv3small", (64, 64, 3), width, "none").count_params()

    assert parameters(0.5) < parameters(1.0)


def test_what_cannot_be_built_is_one_line(tmp_path):
    with pytest.raises(UnknownNameError, match="resnet50"):
        backbones.build("resnet5", (64, 64, 3), 1.0, "none")
    with pytest.raises(UsageError, match=r"no such file; else 'imagenet' or 'none'$"):
        backbones.build("resnet50", (64, 64, 3), 1.0, str(tmp_path / "nothing.h5"))
    with pytest.raises(UsageError, match=r"^resnet50 of width 1\.0 at 16x16: .*at least 32x32"):
        backbones.build("resnet50", (16, 16, 3), 1.0, "none")


@pytest.mark.parametrize("file", ["another.weights.h5", "another.h5", "broken.weights.h5"])
@pytest.mark.parametrize("name", ["mobilenetv3small", "resnet50"])
def test_weights_of_another_network_are_one_line(name, file, tmp_path):
    path = tmp_path / file
    if file.startswith("another"):
        another = applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=0.25)
        another.save_weights(path)
    else:
        path.write_bytes(b"no weights")
    with pytest.raises(DataError, match=rf"^\S*{file} does not fit {name} of width 1\.0 without its top: \S") as error:
        backbones.build(name, (64, 64, 3), 1.0, str(path))
    assert len(str(error.value).splitlines()) == 1


def test_the_table_is_complete():
    assert list(backbones.BACKBONES) == list(PLAIN)
    assert [name for name, backbone in backbones.BACKBONES.items() if backbone.pixels] == list(ADAPTED)


@pytest.mark.parametrize(("name", "parameters"), [("efficientnet-lite0", 3_413_024), ("efficientnet-lite2", 4_869_168)])
def test_efficientnet_lite_is_of_the_published_size(name, parameters):
    network = backbones.build(name, (64, 64, 3), 1.0, "none")
    assert network.count_params() == parameters
    assert network.output_shape == (None, 2, 2, 1280)
    kinds = {type(layer).__name__ for layer in network.layers}
    assert kinds == {"InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add"}


def test_efficientnet_lite_has_no_download():
    with pytest.raises(UsageError, match=r"efficientnet-lite0 .*no download: name a file with --weights FILE"):
        backbones.build("efficientnet-lite0", (64, 64, 3), 1.0, "imagenet")
