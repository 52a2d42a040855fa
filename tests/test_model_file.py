"""Files that others made, told from ours: with and without TFLite metadata, in every dtype, 1 to 10,000 classes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from skin_edge.edge_runtime import ModelFileError, SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.labels import HAM10000
from skin_edge.edge_runtime.model_file import network_length, read_model_file, with_archive
from skin_edge.edge_runtime.network import Network
from skin_edge.edge_runtime.operator_names import BUILTIN_OPERATORS

from . import miniatures
from .miniatures import one_line

CODES = [label.code for label in HAM10000]


def bare(source):
    """A network as another converter leaves it: no archive, no metadata."""
    from skin_edge.convert.tflite import flatbuffer

    content = source.read_bytes()
    model = flatbuffer.read(content[: network_length(content)])
    model.metadata = []
    return flatbuffer.write(model)


def described(network, files=("labels.txt",), **changes):
    from skin_edge.convert.tflite.tflite_metadata import TensorText, attach

    texts = dict.fromkeys(("name", "description", "version", "author", "license", "input_description"), "text")
    numbers = {"mean": (127.5,) * 3, "std": (127.5,) * 3} | changes
    labels = "".join(f"{code}\n" for code in CODES)
    network = attach(
        network, **texts, **numbers, outputs=[TensorText("scores", "")], labels_file="labels.txt", other_files={}
    )
    return with_archive(network, dict.fromkeys(files, labels)) if files else network


def edited(network, change):
    from skin_edge.convert.tflite import flatbuffer

    model = flatbuffer.read(network)
    change(model.subgraphs[0], flatbuffer.schema)
    return flatbuffer.write(model)


@pytest.fixture
def file(tmp_path):
    def write(content, name="foreign.tflite"):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    return write


def answers(model, pictures, **told):
    classifier = SkinClassifier(model, **told)
    return [classifier.predict(path).probabilities for path in pictures]


@pytest.fixture
def pictures(picture):
    return [picture(code, seed=77, name=f"{code}.jpg") for code in CODES]


def test_a_network_without_metadata_takes_bytes_and_counts_its_classes(tiny_int8, file, pictures):
    path = file(bare(tiny_int8))
    ours, theirs = answers(tiny_int8, pictures), answers(path, pictures)
    assert [[row[code] for code in CODES] for row in ours] == [[row[f"class {i}"] for i in range(7)] for row in theirs]
    assert read_model_file(path).contract == {} and read_model_file(path).scores == "probabilities"


def test_labels_from_a_file(tiny_int8, file, pictures, tmp_path):
    labels = tmp_path / "names.txt"
    labels.write_text("\n".join(CODES) + "\n\n")
    path = file(bare(tiny_int8))
    assert answers(path, pictures, labels=labels) == answers(tiny_int8, pictures)
    labels.write_text("\n".join(CODES[:6]))
    with pytest.raises(ModelFileError, match="6 labels, but the network has 7"):
        SkinClassifier(path, labels=labels)
    with pytest.raises(ModelFileError, match="No such file"):
        SkinClassifier(path, labels=tmp_path / "absent.txt")


@pytest.mark.parametrize("twin", ["tiny_int8", "tiny_float32"])
def test_tflite_metadata_says_how_to_feed_it(twin, request, file, pictures):
    source = request.getfixturevalue(twin)
    path = file(described(bare(source)))
    assert answers(path, pictures) == answers(source, pictures)
    with pytest.raises(ModelFileError, match=r"labels\.txt is missing"):
        SkinClassifier(file(described(bare(source), files=()), "cut.tflite"))


def test_float_input_of_unknown_range_is_not_guessed(tiny_float32, file, pictures):
    path = file(bare(tiny_float32))
    with pytest.raises(ModelFileError, match=r"--mean 127\.5 --std 127\.5 for -1\.\.1"):
        SkinClassifier(path)
    with pytest.raises(ModelFileError, match="go together"):
        SkinClassifier(path, mean=127.5)
    ours, theirs = answers(tiny_float32, pictures), answers(path, pictures, mean=127.5, std=127.5)
    assert [list(row.values()) for row in ours] == [list(row.values()) for row in theirs]


def test_what_a_file_says_itself_is_not_told_anew(tiny_float32, tiny_int8, file):
    with pytest.raises(ModelFileError, match="describes its input already"):
        SkinClassifier(tiny_float32, mean=0, std=255)
    with pytest.raises(ModelFileError, match="bytes as they are"):
        SkinClassifier(file(bare(tiny_int8)), mean=0, std=255)


def test_int8_input_gets_the_byte_less_128(tiny_int8, file, pictures):
    def cut(graph, schema):
        first = graph.operators.pop(0)  # uint8 -> int8
        graph.inputs = first.outputs

    path = file(edited(bare(tiny_int8), cut))
    classifier = SkinClassifier(path)
    assert classifier.interpreter.inputs[0].dtype is np.int8
    pixels = np.arange(32 * 32 * 3, dtype=np.uint8).reshape(32, 32, 3)
    assert np.array_equal(classifier.to_tensor(pixels)[0], pixels.astype(np.int16) - 128)
    ours, theirs = answers(tiny_int8, pictures), answers(path, pictures)
    assert [list(row.values()) for row in ours] == [list(row.values()) for row in theirs]


def test_logits_become_probabilities(tiny_float32, file, pictures):
    def cut(graph, schema):
        graph.outputs = graph.operators.pop().inputs

    path = file(edited(bare(tiny_float32), cut))
    assert read_model_file(path, mean=127.5, std=127.5).scores == "logits"
    ours, theirs = answers(tiny_float32, pictures), answers(path, pictures, mean=127.5, std=127.5)
    for one, other in zip(ours, theirs, strict=True):
        assert np.allclose(list(one.values()), list(other.values()), atol=1e-6)


def dense(classes, activation, file):
    """float32 [1, 8, 8, 3] -> [1, classes], random weights."""
    from skin_edge.convert.tflite import to_tflite
    from skin_edge.train.engine import keras

    source = keras.Input((8, 8, 3))
    x = keras.layers.Dense(classes, activation=activation)(keras.layers.GlobalAveragePooling2D()(source))
    model = keras.Model(source, x)
    return model, file(to_tflite.float32_tflite(model), f"{classes}-{activation}.tflite")


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_a_single_value_is_two_classes(activation, file, picture, tmp_path):
    model, path = dense(1, activation, file)
    model.layers[-1].set_weights([np.array([[3.0], [1.0], [-2.0]], np.float32), np.array([-0.5], np.float32)])
    from skin_edge.convert.tflite import to_tflite

    path.write_bytes(to_tflite.float32_tflite(model))
    image = np.full((8, 8, 3), (200, 30, 90), np.uint8)
    expected = float(model.predict(image[None] / np.float32(255), verbose=0)[0, 0])
    expected = expected if activation else 1 / (1 + np.exp(-expected))
    prediction = SkinClassifier(path, mean=0, std=255).predict(image)
    assert prediction.probabilities == pytest.approx({"class 0": expected, "not class 0": 1 - expected}, abs=1e-6)
    labels = tmp_path / "two.txt"
    labels.write_text("benign\nmalignant\n")
    prediction = SkinClassifier(path, mean=0, std=255, labels=labels).predict(image)
    assert prediction.probabilities == pytest.approx({"malignant": expected, "benign": 1 - expected}, abs=1e-6)


def test_ten_thousand_classes(file):
    model, path = dense(10_000, "softmax", file)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    prediction = SkinClassifier(path, mean=127.5, std=127.5).predict(image)
    expected = model.predict((image[None] - np.float32(127.5)) / np.float32(127.5), verbose=0)[0]
    assert len(prediction.probabilities) == 10_000
    assert prediction.label == f"class {expected.argmax()}"
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-4)


def test_labels_that_occur_twice_stay_apart(tiny_int8, file, tmp_path):
    labels = tmp_path / "names.txt"
    labels.write_text("crane\nbird\ncrane\n\x1b[2Jheron\n\nox\ncow\n")
    codes = [label.code for label in SkinClassifier(file(bare(tiny_int8)), labels=labels).labels]
    assert codes == ["crane", "bird", "crane (2)", "[2Jheron", "(4)", "ox", "cow"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g: setattr(g, "outputs", np.array([g.outputs[0], g.operators[1].outputs[0]], np.int32)), "2 outputs"),
        (
            lambda g: setattr(g.tensors[g.inputs[0]], "shape", np.array([1, 32, 96], np.int32)),
            "not a classifier of colour",
        ),
        (lambda g: setattr(g.tensors[g.inputs[0]], "shape", np.array([1, 32, 96, 1], np.int32)), "colour pictures"),
        (lambda g: setattr(g.tensors[g.inputs[0]], "shape", np.array([1, 1, 1, 3], np.int32)), "no fixed height"),
        (lambda g: setattr(g.tensors[g.outputs[0]], "shape", np.array([7, 1], np.int32)), r"not \[1, classes\]"),
    ],
)
def test_what_is_no_image_classifier_is_refused_in_a_line(tiny_int8, file, capsys, picture, change, says):
    def applied(graph, schema):
        for tensor in graph.tensors:
            tensor.shapeSignature = None
        change(graph)

    path = file(edited(bare(tiny_int8), applied))
    with pytest.raises(ModelFileError, match=says):
        SkinClassifier(path)
    assert run(["predict", str(path), str(picture())]) == 1
    assert str(path) in one_line(capsys)


def test_the_network_is_read_as_the_schema_library_reads_it(tiny_int8, tiny_float32):
    from skin_edge.convert.tflite import flatbuffer

    for path in (tiny_int8, tiny_float32):
        content = path.read_bytes()
        network, model = Network(content), flatbuffer.read(content)
        graph = model.subgraphs[0]
        names = [flatbuffer.OPERATOR_NAMES[model.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]
        assert [operator.name for operator in network.operators] == names
        for operator, expected in zip(network.operators, graph.operators, strict=True):
            for ours, index in zip(operator.inputs, expected.inputs, strict=True):
                tensor = graph.tensors[index]
                assert ours.name == tensor.name.decode()
                assert ours.dtype == flatbuffer.TENSOR_TYPES[tensor.type]
                scales = tensor.quantization.scale if tensor.quantization is not None else None
                assert ours.scales == tuple(scales if scales is not None else ())
                data = model.buffers[tensor.buffer].data
                assert ours.is_constant == (data is not None and len(data) > 0)
        assert network.min_runtime_version
    assert tuple(flatbuffer.OPERATOR_NAMES[code] for code in sorted(flatbuffer.OPERATOR_NAMES)) == BUILTIN_OPERATORS


def test_a_damaged_flatbuffer_ends_in_one_error(tiny_int8):
    content = bytearray(bare(tiny_int8))
    generator = np.random.default_rng(5)
    for _ in range(300):
        damaged = bytearray(content)
        for position in generator.integers(8, len(content), 8):
            damaged[position] = generator.integers(256)
        try:
            network = Network(bytes(damaged))
            _ = network.operators, network.inputs, network.outputs, network.metadata, network.min_runtime_version
        except ModelFileError as error:
            assert "damaged" in str(error)


def test_models_of_others(data_root, capsys):
    foreign = data_root / "foreign"
    birds = {"mobilenet_v1_0.5_160_quant": "chickadee", "tf2_mobilenet_v2_1.0_224_ptq": "chickadee"}
    for name, expected in birds.items():
        classifier = SkinClassifier(foreign / f"{name}.tflite")
        assert len(classifier.labels) == 1001
        assert classifier.predict(foreign / "bird.bmp").label == expected
        assert classifier.predict(foreign / "sunflower.bmp").label == "daisy"
    for name, says in (
        ("keras_lstm_mnist_ptq", "not a classifier of colour"),
        ("model_invoking_error", "not a classifier"),
    ):
        assert run(["info", str(foreign / f"{name}.tflite")]) == 1
        assert says in one_line(capsys)


def test_info_for_people_fits_a_terminal(tiny_int8, capsys):
    assert run(["info", str(tiny_int8)]) == 0
    out = capsys.readouterr().out
    assert "verified: weights, labels and contract are unchanged" in out
    assert "melanoma (malignant)" in out and "FULLY_CONNECTED: int8 int8 int32 -> int8" in out
    assert max(len(line) for line in out.splitlines() if str(tiny_int8) not in line and "sha-256" not in line) <= 80
    assert "Not a medical device" in out


def test_info_for_programs(tiny_int8, file, capsys):
    assert run(["info", str(tiny_int8), "--json"]) == 0
    ours = json.loads(capsys.readouterr().out)
    assert (ours["kind"], ours["seal"]) == ("skin-edge", "verified")
    assert [label["code"] for label in ours["labels"]] == CODES == list(miniatures.COLOURS)
    assert sum(row["count"] for row in ours["operators"]) == len(Network(tiny_int8.read_bytes()).operators)
    assert [row["operator"] for row in ours["operators"] if row["computes_in"] == "float"] == []
    assert run(["info", str(file(described(bare(tiny_int8)))), "--json"]) == 0
    theirs = json.loads(capsys.readouterr().out)
    assert (theirs["kind"], theirs["seal"], theirs["contract"]) == ("foreign", "none", None)
    assert theirs["tflite_metadata"]["outputs"][0]["label_files"] == ["labels.txt"]
    assert theirs["input"]["preprocessing"][-1]["std"] == pytest.approx([127.5] * 3, rel=1e-3)


def test_what_follows_a_softmax_and_keeps_values_is_no_logits(tiny_float32, file):
    def squeezed(graph, schema):
        last = graph.operators[-1]
        target = graph.tensors[graph.outputs[0]]
        for tensor in graph.tensors:
            tensor.shapeSignature = None
        copied = schema.TensorT()
        copied.name, copied.shape, copied.type, copied.buffer = b"flat", np.array([7], np.int32), target.type, 0
        graph.tensors.append(copied)
        squeeze = schema.OperatorT()
        squeeze.opcodeIndex, squeeze.inputs = reshape, last.outputs
        squeeze.outputs = np.array([len(graph.tensors) - 1], np.int32)
        graph.operators.append(squeeze)
        graph.outputs = squeeze.outputs

    from skin_edge.convert.tflite import flatbuffer

    model = flatbuffer.read(bare(tiny_float32))
    code = flatbuffer.schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = flatbuffer.schema.BuiltinOperator.SQUEEZE
    code.version, reshape = 1, len(model.operatorCodes)
    model.operatorCodes.append(code)
    path = file(edited(flatbuffer.write(model), squeezed))
    assert read_model_file(path, mean=127.5, std=127.5).scores == "probabilities"


def test_a_name_that_steers_the_terminal_is_printed_without_its_codes(tiny_int8, tmp_path, capsys):
    path = miniatures.resealed(tiny_int8, tmp_path / "m.tflite", lambda m: m.update(name="\x1b]0;x\x07\x1b[2Jnice"))
    assert run(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "nice" in out and "\x1b" not in out and "\x07" not in out


def test_a_heatmap_is_refused_before_the_first_image(tiny_int8, picture, tmp_path, capsys):
    image = str(picture())
    assert run(["predict", str(tiny_int8), image, "--heatmap", str(tmp_path / "maps")]) == 2
    captured = capsys.readouterr()
    assert "--cam" in captured.err and captured.out == ""


def test_info_without_a_model_describes_the_packaged_one(capsys):
    assert run(["info"]) == 0
    assert "CC BY-NC" in capsys.readouterr().out
