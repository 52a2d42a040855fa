"""Post-training quantization: ranges, layers kept in float, precisions, ends, and which architectures become int8."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from skin_edge.convert.quantize.post_training import Calibration, quantize
from skin_edge.convert.tflite import flatbuffer
from skin_edge.convert.tflite.census import take_census
from skin_edge.edge_runtime.errors import ConversionError, UsageError
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.train.engine import keras, tf

L = keras.layers
MINMAX = Calibration()


def randomized(model, seed=0):
    """Weights that leave no bias, mean or variance at its trivial start; activations stay near one."""
    generator = np.random.default_rng(seed)
    for layer in model.layers:
        values = []
        for weight in layer.weights:
            shape = tuple(weight.shape)
            if len(shape) == 1:
                positive = "variance" in weight.name or "gamma" in weight.name
                values.append(generator.uniform(0.5, 1.5, shape) if positive else generator.normal(0, 0.3, shape))
            else:
                fan_in = np.prod(shape[:2]) if "depthwise" in weight.name else np.prod(shape[:-1])
                values.append(generator.normal(0, fan_in**-0.5, shape))
        layer.set_weights(values)
    return model


def images(count=24, size=32, low=-1.0, high=1.0):
    """Blocks of colour with a little noise: float32 [count, size, size, 3]."""
    generator = np.random.default_rng(5)
    blocks = generator.uniform(low, high, (count, 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
    return np.clip(blocks + generator.normal(0, 0.02, blocks.shape), low, high).astype(np.float32)


def small(outputs=("logits",), inputs=("image",)):
    """conv_1, conv_11 and a layer whose name is an operation's, so that a name must be met exactly."""
    ends = {"image": keras.Input((32, 32, 3), name="image"), "vector": keras.Input((5,), name="vector")}
    x = L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv_1")(ends["image"])
    x = L.ReLU(6.0, name="relu_1")(L.BatchNormalization(name="bn_1")(x))
    y = L.DepthwiseConv2D(3, padding="same", name="conv_11")(x)
    x = L.Add(name="add")([x, y])
    x = L.Conv2D(32, 3, activation="relu", name="mix")(x)
    x = L.Dropout(0.3, name="dropout")(L.Add(name="twice")([x, x]))
    features = L.GlobalAveragePooling2D(name="pool")(x)
    if "vector" in inputs:
        features = L.Concatenate(name="join")([features, ends["vector"]])
    ends["map"] = L.Conv2D(4, 1, name="map")(x)
    ends["logits"] = L.Dense(4, name="logits")(features)
    return randomized(keras.Model([ends[name] for name in inputs], [ends[name] for name in outputs], name="small"))


def run(network, *samples):
    """float32 answers of a .tflite to float32 samples, quantized and dequantized as its tensors say."""
    interpreter = Interpreter(network)
    answers = []
    for row in zip(*samples, strict=True):
        values = []
        for tensor, sample in zip(interpreter.inputs, row, strict=True):
            value = sample[None]
            if tensor.dtype is not np.float32:
                info, (scale, zero) = (
                    np.iinfo(tensor.dtype),
                    (tensor.quantization.scale, tensor.quantization.zero_point),
                )
                value = np.clip(np.round(value / scale + zero), info.min, info.max).astype(tensor.dtype)
            values.append(value)
        answers.append(interpreter.invoke(*values))
    outputs = []
    for tensor, values in zip(interpreter.outputs, zip(*answers, strict=True), strict=True):
        output = np.concatenate(values).astype(np.float32)
        if tensor.dtype is not np.float32:
            output = (output - tensor.quantization.zero_point) * tensor.quantization.scale
        outputs.append(output)
    return outputs


def correlation(ours, theirs):
    """Over samples, each output's mean taken away: a constant offset per class proves nothing."""
    assert ours.shape == theirs.shape
    return np.corrcoef((ours - ours.mean(0)).ravel(), (theirs - theirs.mean(0)).ravel())[0, 1]


def types(network):
    interpreter = Interpreter(network)
    return [tensor.dtype.__name__ for tensor in (*interpreter.inputs, *interpreter.outputs)]


def computes_in(network):
    """Operator and what it computes in, conversions left out."""
    return [(row.operator, row.computes_in) for row in take_census(network) if row.computes_in != "boundary"]


def quantization_of(network, layer):
    """(scale, zero point) of what the one operator of a layer puts out."""
    graph = flatbuffer.read(network).subgraphs[0]
    outputs = [graph.tensors[operator.outputs[0]] for operator in graph.operators]
    (output,) = [tensor for tensor in outputs if layer in tensor.name.decode().split("/")]
    return float(output.quantization.scale[0]), int(output.quantization.zeroPoint[0])


def int8_range(network, layer):
    """(low, high) of the real numbers that the int8 output of a layer can hold."""
    scale, zero = quantization_of(network, layer)
    return (-128 - zero) * scale, (127 - zero) * scale


def seen(network, samples):
    return network.predict(samples, verbose=0)


# Quality and ends.


@pytest.mark.parametrize("io", ["uint8", "int8", "float32"])
@pytest.mark.parametrize("calibration", [MINMAX, Calibration("percentile", 99.9)], ids=lambda c: c.kind)
def test_int8_answers_like_the_float_network(io, calibration):
    network, samples = small(), images()
    quantized = quantize(network, [samples], precision="int8", calibration=calibration, io=io)
    assert types(quantized) == [io, "int8" if io == "int8" else "float32"]
    (answers,) = run(quantized, samples)
    assert correlation(answers, seen(network, samples)) > 0.99
    assert {kind for _, kind in computes_in(quantized)} == {"integer"}


@pytest.mark.parametrize("calibration", [MINMAX, Calibration("percentile", 80)], ids=lambda c: c.kind)
def test_the_bytes_of_a_picture_go_in_unchanged(calibration):
    """Whatever range the representative pictures have."""
    samples = images(low=-0.3, high=0.1)
    for io, zero_points in (("uint8", (127, 128)), ("int8", (-1, 0))):
        (image,) = Interpreter(quantize(small(), [samples], precision="int8", calibration=calibration, io=io)).inputs
        assert image.quantization.scale == pytest.approx(2 / 255, rel=1e-6)
        assert image.quantization.zero_point in zero_points
    quantized = quantize(small(), [samples], precision="int8", calibration=calibration, io="float32")
    graph = flatbuffer.read(quantized).subgraphs[0]
    inner = graph.tensors[graph.operators[0].outputs[0]]
    assert inner.quantization.scale[0] == pytest.approx(2 / 255, rel=1e-6)


@pytest.mark.parametrize(
    ("precision", "turned"),
    [("int8", False), ("int8", True), ("w8a16", False), ("w8a16", True), ("float16", True), ("w8a32", True)],
)
def test_inputs_and_outputs_stand_in_the_models_order(precision, turned):
    order = -1 if turned else 1
    outputs, inputs = ("logits", "map")[::order], ("image", "vector")[::order]
    network = small(outputs, inputs)
    samples = {"image": images(), "vector": np.random.default_rng(3).normal(size=(24, 5)).astype(np.float32)}
    rows = [samples[name] for name in inputs]
    quantized = quantize(network, rows, precision=precision, calibration=MINMAX, io="float32")
    for ours, theirs in zip(run(quantized, *rows), seen(network, rows), strict=True):
        assert correlation(ours, theirs) > 0.99


def test_a_vector_stays_float_beside_a_picture_in_bytes():
    network = small(inputs=("image", "vector"))
    rows = [images(), np.random.default_rng(3).normal(size=(24, 5)).astype(np.float32)]
    for keep in ((), ("join",)):  # with "join", the vector goes into an operator in float
        quantized = quantize(network, rows, precision="int8", calibration=MINMAX, io="uint8", keep_float=keep)
        assert types(quantized) == ["uint8", "float32", "float32"]
        assert correlation(run(quantized, *rows)[0], seen(network, rows)) > 0.99
    quantized = quantize(network, rows, precision="int8", calibration=MINMAX, io="int8")
    assert types(quantized) == ["int8", "int8", "int8"]
    assert not any("float" in row.inputs + row.outputs for row in take_census(quantized))


# Ranges.


def fourfold():
    """An activation, "four", whose values are known without running anything: four times the picture's."""
    source = keras.Input((32, 32, 3))
    four = L.Conv2D(3, 1, use_bias=False, name="four")
    x = L.Conv2D(3, 1, name="next")(four(source))
    network = keras.Model(source, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    four.set_weights([4 * np.eye(3, dtype=np.float32)[None, None]])
    return network


def with_outliers():
    """Normal values of deviation 0.05, among 49152 of them five far above and three far below."""
    samples = np.random.default_rng(0).normal(0, 0.05, (16, 32, 32, 3))
    samples[3, 5, 6], samples[9, 1, 2, 0], samples[9, 7, 7, 1], samples[11, 2, 2] = 0.9, 0.95, 1.0, -0.8
    return samples.astype(np.float32)


@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.98])
def test_a_percentile_clips_both_tails(percentile):
    samples = with_outliers()
    quantized = quantize(
        fourfold(), [samples], precision="int8", calibration=Calibration("percentile", percentile), io="uint8"
    )
    low, high = int8_range(quantized, "four")
    values = 4 * samples.astype(np.float64)
    expected = [
        np.percentile(values, 100 - percentile, method="lower"),
        np.percentile(values, percentile, method="higher"),
    ]
    # A percentile is known to 1/128, and zero moves by half a step onto an integer.
    assert (low, high) == pytest.approx(tuple(expected), rel=1 / 64, abs=(high - low) / 255 / 2)
    assert high < 0.5 * 4 * samples.max() and low > 0.5 * 4 * samples.min()


def test_the_extremes_do_not_clip():
    samples = with_outliers()
    for calibration in (MINMAX, Calibration("percentile", 100), Calibration("percentile", 99.9999)):
        quantized = quantize(fourfold(), [samples], precision="int8", calibration=calibration, io="uint8")
        low, high = int8_range(quantized, "four")
        assert (low, high) == pytest.approx((-3.2, 4.0), abs=(high - low) / 255)


def test_an_activation_that_is_nearly_always_zero_keeps_its_range():
    samples = np.zeros((16, 32, 32, 3), np.float32)
    samples[3, 5, 6] = 0.5
    calibration = Calibration("percentile", 99.9)
    quantized = quantize(fourfold(), [samples], precision="int8", calibration=calibration, io="uint8")
    assert int8_range(quantized, "four") == pytest.approx((0, 2), abs=2 / 255)


def test_a_percentile_leaves_a_vectors_range():
    """Not even where it shares its scale with a concatenation."""
    network = small(inputs=("image", "vector"))
    vectors = np.random.default_rng(3).normal(size=(24, 5)).astype(np.float32)
    vectors[7, 2] = 9
    calibration = Calibration("percentile", 90)
    quantized = quantize(network, [images(), vectors], precision="int8", calibration=calibration, io="int8")
    tensor = Interpreter(quantized).inputs[1]
    assert (127 - tensor.quantization.zero_point) * tensor.quantization.scale == pytest.approx(9, rel=0.01)


BIAS = 1.5


def without_weights():
    """The second channel has hardly any weights, as some of trained MobileNets, and is its bias."""
    source = keras.Input((32, 32, 3))
    layers = [
        L.Conv2D(4, 3, activation="relu", use_bias=False, name="first"),
        L.Conv2D(4, 1, name="conv"),
        L.DepthwiseConv2D(3, name="depthwise"),
        L.GlobalAveragePooling2D(),
        L.Dense(4, name="dense"),
    ]
    x = source
    for layer in layers:
        x = layer(x)
    network = keras.Model(source, x)
    generator = np.random.default_rng(1)
    for layer in network.layers:
        if layer.name in ("conv", "depthwise", "dense"):
            kernel = generator.normal(0, 0.3, layer.get_weights()[0].shape)
            if layer.name == "depthwise":
                kernel[:, :, 1] *= 1e-7
            else:
                kernel[..., 1] *= 0 if layer.name == "conv" else 1e-9
            layer.set_weights([kernel, np.array([0.1, BIAS, -0.2, generator.uniform(0, 0.3)])])
    return network


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_a_channel_without_weights_keeps_its_bias(precision):
    """In units of a range that is almost nothing, it would overflow an int32."""
    network, samples = without_weights(), images()
    quantized = quantize(network, [samples], precision=precision, calibration=MINMAX, io="float32")
    assert run(quantized, samples)[0] == pytest.approx(seen(network, samples), abs=0.05)


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_layers_with_equal_biases_keep_them(precision):
    """TensorFlow makes them one constant, which has another scale in each layer."""
    source = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3, activation="relu", name="one")(source)
    x = L.GlobalAveragePooling2D()(L.DepthwiseConv2D(3, name="two")(x))
    network = randomized(keras.Model(source, L.Dense(4, name="three")(x)))
    for name in ("one", "two", "three"):
        layer = network.get_layer(name)
        layer.set_weights([layer.get_weights()[0], np.array([0.1, 1.5, -0.2, 0.3])])
    samples = images(8)
    quantized = quantize(network, [samples], precision=precision, calibration=MINMAX, io="float32")
    assert run(quantized, samples)[0] == pytest.approx(seen(network, samples), abs=0.05)


# Layers kept in float.

ALL = ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"]


@pytest.mark.parametrize(
    ("patterns", "positions"),
    [
        (("conv_1",), {0}),  # not conv_11
        (("conv_?1",), {1}),
        (("add",), {2}),  # not "twice", whose operation is named add too
        (("conv_*", "mix"), {0, 1, 3}),
        (("logits",), {6}),  # the output's tensor does not bear the layer's name
        (("twice",), {4}),
    ],
)
def test_layers_that_match_compute_in_float(patterns, positions):
    network, samples, io = small(), images(), "int8" if patterns == ("logits",) else "uint8"
    quantized = quantize(network, [samples], precision="int8", calibration=MINMAX, io=io, keep_float=patterns)
    operators = computes_in(quantized)
    assert [operator for operator, _ in operators] == ALL
    assert {position for position, (_, kind) in enumerate(operators) if kind == "float"} == positions
    assert types(quantized) == [io, "int8" if io == "int8" else "float32"]
    assert correlation(run(quantized, samples)[0], seen(network, samples)) > 0.99


def test_the_layers_of_a_nested_network_have_names_too():
    inner_source = keras.Input((32, 32, 3))
    inner = keras.Model(inner_source, L.Conv2D(4, 3, name="deep")(L.Conv2D(4, 3, name="deeper")(inner_source)))
    source = keras.Input((32, 32, 3))
    network = keras.Model(source, L.Dense(2)(L.GlobalAveragePooling2D()(inner(source))))
    last = keras.Model(source, inner(source))
    for model, pattern, expected in (
        (network, "deep", ["integer", "float", "integer", "integer"]),
        (network, inner.name, ["float", "float", "integer", "integer"]),
        (last, "deep", ["integer", "float"]),
    ):
        quantized = quantize(model, [images()], precision="int8", calibration=MINMAX, io="uint8", keep_float=[pattern])
        assert [kind for _, kind in computes_in(quantized)] == expected


def test_a_name_may_hold_slashes():
    """As those of MobileNetV3 do: neither a part of a name nor the beginning of one is a layer."""
    source = keras.Input((32, 32, 3))
    x = L.Conv2D(4, 3, name="block")(source)
    x = L.DepthwiseConv2D(2, strides=2, name="block/dw")(x)
    y = L.Conv2D(4, 1, name="block_1/dw")(x)
    x = L.DepthwiseConv2D(2, name="dw")(L.Add(name="block/dw/add")([x, y]))
    network = keras.Model(source, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    for pattern, position in (("block", 0), ("block/dw", 1), ("block_1/dw", 2), ("block/dw/add", 3), ("dw", 4)):
        quantized = quantize(
            network, [images(4)], precision="int8", calibration=MINMAX, io="uint8", keep_float=[pattern]
        )
        kinds = [kind for _, kind in computes_in(quantized)]
        assert [number for number, kind in enumerate(kinds) if kind == "float"] == [position]


def test_a_pattern_that_meets_nothing_is_an_error():
    for pattern, message in (
        ("conv_", "no layer of small matches 'conv_'.*mix.*logits"),
        ("drop*", "'drop\\*'.*dropout"),
    ):
        with pytest.raises(UsageError, match=message):
            quantize(small(), [images()], precision="int8", calibration=MINMAX, io="uint8", keep_float=[pattern])


# Precisions.


def test_float16_weights_are_float16():
    network, samples = small(), images()
    quantized = quantize(network, [samples], precision="float16", calibration=MINMAX, io="float32")
    model = flatbuffer.read(quantized)
    constants = Counter(
        flatbuffer.TENSOR_TYPES[tensor.type]
        for tensor in model.subgraphs[0].tensors
        if model.buffers[tensor.buffer].data is not None and len(model.buffers[tensor.buffer].data)
    )
    assert constants["float16"] >= 8 and not constants["float32"]
    assert {row.outputs for row in take_census(quantized)} == {"float32"}
    assert run(quantized, samples)[0] == pytest.approx(seen(network, samples), abs=1e-2)


def test_w8a32_weights_are_int8_and_activations_float32():
    network, samples = small(), images()
    quantized = quantize(network, [], precision="w8a32", calibration=MINMAX, io="float32")
    rows = take_census(quantized)
    assert {row.outputs for row in rows} == {"float32"}
    (mix,) = [row for row in rows if row.operator == "CONV_2D" and "mix" in row.output.split("/")]
    assert mix.inputs == "float32 int8 float32"  # 2304 weights; the others are too few
    answers = run(quantized, samples)[0]
    assert correlation(answers, seen(network, samples)) > 0.99
    assert np.abs(answers - seen(network, samples)).max() > 1e-5


@pytest.mark.parametrize("calibration", [MINMAX, Calibration("percentile", 99.9)], ids=lambda c: c.kind)
def test_w8a16_activations_are_int16(calibration):
    network, samples = small(), images()
    quantized = quantize(network, [samples], precision="w8a16", calibration=calibration, io="float32")
    rows = [row for row in take_census(quantized) if row.computes_in != "boundary"]
    assert [row.operator for row in rows] == ALL
    assert {row.outputs for row in rows} == {"int16"}
    assert {row.inputs for row in rows if row.weight_scales > 1} == {"int16 int8 int64"}
    assert correlation(run(quantized, samples)[0], seen(network, samples)) > 0.99


def test_a_percentile_clips_in_w8a16_too():
    samples = with_outliers()
    scales = []
    for calibration in (MINMAX, Calibration("percentile", 99.9)):
        quantized = quantize(fourfold(), [samples], precision="w8a16", calibration=calibration, io="float32")
        scales.append(quantization_of(quantized, "four")[0])
    expected = np.abs(np.percentile(4 * samples, [0.1, 99.9])).max()
    assert scales == pytest.approx([4 / 32767, expected / 32767], rel=1 / 64)


# What cannot be.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int4"}, "unknown precision 'int4'"),
        ({"io": "int16"}, "unknown input type 'int16'"),
        ({"precision": "w8a16"}, "float32 input, not uint8"),
        ({"precision": "w8a32", "io": "float32", "keep_float": ["mix"]}, "cannot keep single layers"),
        ({"precision": "float16", "io": "float32", "calibration": Calibration("percentile")}, "has no calibration"),
    ],
)
def test_contradictions_are_usage_errors(changes, message):
    settings = {"precision": "int8", "calibration": MINMAX, "io": "uint8"} | changes
    with pytest.raises(UsageError, match=message):
        quantize(small(), [images(2)], **settings)


def test_a_calibration_that_is_none():
    with pytest.raises(UsageError, match="unknown calibration 'entropy'"):
        Calibration("entropy")
    for percentile in (50, 100.1, float("nan")):
        with pytest.raises(UsageError, match="above 50"):
            Calibration("percentile", percentile)


def test_every_input_needs_samples():
    for rows in ([], [images(2), images(2)], [images(2)[:0]]):
        with pytest.raises(UsageError, match="for the 1 inputs"):
            quantize(small(), rows, precision="int8", calibration=MINMAX, io="uint8")


def test_what_the_converter_cannot_is_one_line():
    source = keras.Input((32, 32, 3))
    strange = L.Lambda(lambda image: tf.image.adjust_hue(image, 0.1))(source)
    network = keras.Model(source, L.Dense(2)(L.GlobalAveragePooling2D()(strange)))
    with pytest.raises(ConversionError, match="converter fails on the float model: ") as caught:
        quantize(network, [images(2)], precision="int8", calibration=MINMAX, io="uint8")
    assert "\n" not in str(caught.value)


# Architectures.

applications = keras.applications
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("backbone", "width", "size"),
    [
        ("mobilenet", 0.25, 64),
        pytest.param("mobilenetv2", 0.35, 64, marks=slow),
        pytest.param("mobilenetv3small", 1.0, 64, marks=slow),
        pytest.param("resnet50", 1.0, 64, marks=slow),
        pytest.param("densenet121", 1.0, 64, marks=slow),
        pytest.param("efficientnetb0", 1.0, 64, marks=slow),
        pytest.param("efficientnet-lite0", 1.0, 64, marks=slow),
        pytest.param("efficientnetv2b0", 1.0, 64, marks=slow),
        pytest.param("inceptionresnetv2", 1.0, 96, marks=slow),
    ],
)
def test_a_network_of_the_project_is_int8_between_its_ends(backbone, width, size):
    """Built, folded and quantized as a run is; its input layer that adapts the pixels is int8 too."""
    from dataclasses import replace

    from skin_edge.convert.quantize.fold import fold_head
    from skin_edge.train.models import heads
    from skin_edge.train.recipes import published

    recipe = replace(published.get("quickstart"), backbone=backbone, width=width, image_size=(size, size))
    network = fold_head(heads.classifier(recipe, 7))
    assert_int8(quantize(network, [images(2, size)], precision="int8", calibration=MINMAX, io="float32"), 1)


@pytest.mark.slow
def test_a_picture_and_a_vector_are_int8_between_their_ends():
    base = applications.MobileNet((64, 64, 3), 0.25, include_top=False, weights=None)
    vector = keras.Input((5,))
    features = L.Concatenate()([L.GlobalAveragePooling2D()(base.output), vector])
    network = keras.Model([base.input, vector], L.Dense(7)(features))
    rows = [images(2, 64), np.ones((2, 5), np.float32)]
    assert_int8(quantize(network, rows, precision="int8", calibration=MINMAX, io="float32"), 2)


def assert_int8(network, inputs):
    rows = take_census(network)
    assert [row for row in rows if row.computes_in == "float"] == []
    converting = Counter(row.operator for row in rows if "float32" in (row.inputs, row.outputs))
    assert converting == {"QUANTIZE": inputs, "DEQUANTIZE": 1}
    assert not any("float" in row.inputs + row.outputs for row in rows if row.computes_in != "boundary")
