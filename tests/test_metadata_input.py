"""The second input: the network, its batches, the file, the classifier; and from a data set to a prediction."""

from __future__ import annotations

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from skin_edge.edge_runtime import SkinClassifier, contract, info, preprocess
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ImageError, MetadataError, ModelFileError
from skin_edge.edge_runtime.model_file import network_length, read_model_file, with_archive
from skin_edge.edge_runtime.patient import Category, Encoding, Number

from . import miniatures
from .miniatures import one_line

SCHEMA = Path(__file__).parents[1] / "docs" / "contract.schema.json"
ENCODING = Encoding((Number("age", 50.0, 20.0), Category("sex", ("female", "male"))))
KNOWN = {"age": 74, "sex": "male"}
VECTOR = np.array([0.4, 1, 0, 1], np.float32)  # of KNOWN, by hand: (74 - 50) / 20 / 3


def softmax(logits):
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def sealed_file(path, network, described):
    text = contract.sealed(described, network, labels := "".join(f"{row['code']}\n" for row in described["labels"]))
    path.write_bytes(with_archive(network, {"labels.txt": labels, "metadata.json": text}))
    return path


@pytest.fixture(scope="module")
def two_inputs(tiny_float32, tmp_path_factory):
    """(a file whose logits are W mean(picture) + V vector, W, V)."""
    from skin_edge.convert.tflite import to_tflite
    from skin_edge.train.engine import keras

    described = dict(read_model_file(tiny_float32).contract)
    spec = read_model_file(tiny_float32).input_spec
    height, width = spec.height, spec.width
    image, vector = keras.Input((height, width, 3)), keras.Input((4,))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    both = keras.layers.Concatenate()([pooled, vector])
    dense = keras.layers.Dense(len(described["labels"]), activation="softmax", use_bias=False)
    network = keras.Model([image, vector], dense(both))
    kernel = np.random.default_rng(3).normal(0, 2, (7, len(described["labels"]))).astype(np.float32)
    dense.set_weights([kernel])
    described |= {
        "format_version": 3,
        "metadata": {"shape": [1, 4], "dtype": "float32", "fields": ENCODING.to_list()},
    }
    path = tmp_path_factory.mktemp("two") / "model.tflite"
    return sealed_file(path, to_tflite.float32_tflite(network), described), kernel[:3], kernel[3:]


def expected(two_inputs, picture, vector):
    _, of_picture, of_vector = two_inputs
    classifier = SkinClassifier(two_inputs[0])
    pixels = preprocess.to_pixels(picture, classifier.input_spec)
    mean = preprocess.normalize(pixels, classifier.input_spec).mean(axis=(0, 1))
    return softmax(mean @ of_picture + vector @ of_vector)


def test_the_answer_follows_from_picture_and_metadata(two_inputs, picture):
    path = picture("mel")
    classifier = SkinClassifier(two_inputs[0])
    codes = [label.code for label in classifier.labels]
    for metadata, vector in ((KNOWN, VECTOR), (None, np.zeros(4)), ({"sex": "female"}, np.array([0, 0, 1, 0]))):
        found = classifier.predict(path, metadata).probabilities
        assert [found[code] for code in codes] == pytest.approx(expected(two_inputs, path, vector), abs=1e-5)
    assert classifier.predict(path, {}).probabilities == classifier.predict(path).probabilities
    turned = dict(reversed(KNOWN.items()))
    assert classifier.predict(path, turned).probabilities == classifier.predict(path, KNOWN).probabilities


def test_inputs_are_told_apart_by_name(two_inputs, picture, tmp_path):
    from skin_edge.convert.tflite import flatbuffer

    content = two_inputs[0].read_bytes()
    network = flatbuffer.read(content[: network_length(content)])
    network.subgraphs[0].inputs = network.subgraphs[0].inputs[::-1].copy()
    described = dict(read_model_file(two_inputs[0]).contract)
    turned = sealed_file(tmp_path / "turned.tflite", flatbuffer.write(network), described)
    before, after = SkinClassifier(two_inputs[0]), SkinClassifier(turned)
    assert [tensor.name for tensor in before.interpreter.inputs] == ["image", "metadata"]
    assert [tensor.name for tensor in after.interpreter.inputs] == ["metadata", "image"]
    path = picture("nv")
    for metadata in (KNOWN, None):
        assert after.predict(path, metadata).probabilities == before.predict(path, metadata).probabilities
    assert info.read(str(turned))["input"]["name"] == "image"


def test_what_cannot_be_assessed_is_refused_for_its_image_only(two_inputs, picture, tmp_path):
    classifier = SkinClassifier(two_inputs[0])
    good, bad = picture("mel"), tmp_path / "no.jpg"
    bad.write_bytes(b"no picture")
    with pytest.raises(MetadataError, match="knows: age, sex"):
        classifier.predict(good, {"weight": 80})
    told = [KNOWN, {"age": 200}, None, KNOWN]
    answers = list(classifier.predict_many([good, good, good, bad], metadata=told))
    assert answers[0].probabilities == classifier.predict(good, KNOWN).probabilities
    assert isinstance(answers[1], MetadataError)
    assert answers[2].probabilities == classifier.predict(good).probabilities
    assert isinstance(answers[3], ImageError)
    with pytest.raises(ValueError, match="shorter"):
        list(classifier.predict_many([good, good], metadata=[KNOWN]))


def test_frames_take_metadata_too(two_inputs):
    classifier = SkinClassifier(two_inputs[0])
    frame = np.asarray(miniatures.picture("mel", 1))
    assert (
        classifier.predict_frame(frame, metadata=KNOWN).probabilities == classifier.predict(frame, KNOWN).probabilities
    )
    assert classifier.predict_frame(frame).probabilities != classifier.predict(frame, KNOWN).probabilities


def test_a_model_of_pictures_alone_refuses_metadata(tiny_int8, picture):
    classifier = SkinClassifier(tiny_int8)
    with pytest.raises(MetadataError, match="trained on pictures alone"):
        classifier.predict(picture(), {"age": 45})
    assert classifier.predict(picture(), {}).probabilities == classifier.predict(picture()).probabilities


def test_threads_do_not_mix_their_patients(two_inputs, picture):
    classifier = SkinClassifier(two_inputs[0])
    path = picture("mel").read_bytes()
    told = [KNOWN, None, {"age": 20, "sex": "female"}] * 20
    alone = [classifier.predict(path, metadata).probabilities for metadata in told]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda metadata: classifier.predict(path, metadata).probabilities, told))
    assert together == alone


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda described: described.pop("metadata"), "metadata"),
        (lambda described: described["metadata"]["fields"].pop(), "says \\[1, 2\\]"),
        (
            lambda described: described["metadata"]["fields"][0].update(clip=2.0),
            "not supported by this version of skin-edge",
        ),
        (lambda described: described.update(format_version=2), "2 inputs"),
        (lambda described: described.update(format_version=4), "malformed 'decisions'"),
    ],
)
def test_a_contract_that_does_not_fit_its_network_is_refused(two_inputs, tmp_path, change, said):
    with pytest.raises(ModelFileError, match=said):
        SkinClassifier(miniatures.resealed(two_inputs[0], tmp_path / "changed.tflite", change))


def test_info_names_the_fields(two_inputs, capsys):
    assert run(["info", str(two_inputs[0])]) == 0
    shown = capsys.readouterr().out
    assert "sex: female, male" in shown
    assert "age: a number, to 120 years" in shown
    assert "skin-edge-model 3" in shown
    described = info.read(str(two_inputs[0]))
    assert described["input"]["name"] == "image"
    assert [field["name"] for field in described["metadata"]["fields"]] == ["age", "sex"]


def test_the_command_takes_metadata(two_inputs, picture, capsys):
    path = picture("mel")
    assert run(["predict", str(two_inputs[0]), str(path), "--metadata", "age=74,sex=male", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["probabilities"]
    assert told == SkinClassifier(two_inputs[0]).predict(path, KNOWN).probabilities
    assert run(["predict", str(two_inputs[0]), str(path), "--metadata", "age=200"]) == 2
    assert "age '200' is not a number from 0 to 120 years" in one_line(capsys)


# Training.


def test_evaluate_tells_what_the_csv_knows(two_inputs, picture, tmp_path):
    model, _, _ = two_inputs
    path, codes = picture("mel"), [label.code for label in SkinClassifier(model).labels]
    rows = [{"age": "74", "sex": "male"}, {"age": "", "sex": ""}, {"age": "30", "sex": "never heard"}]
    with (tmp_path / "new.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "image_id", "label", "age", "sex"])
        writer.writeheader()
        writer.writerows({"path": path, "image_id": i, "label": codes[0], **row} for i, row in enumerate(rows))
    assert run(["evaluate", str(model), str(tmp_path / "new.csv"), "--out", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "predictions.csv").open() as file:
        answers = [[float(row[f"p_{code}"]) for code in codes] for row in csv.DictReader(file)]
    classifier = SkinClassifier(model)
    for answer, known in zip(answers, (KNOWN, None, {"age": 30}), strict=True):
        expected = classifier.predict(path, known).probabilities
        assert answer == pytest.approx([expected[code] for code in codes], rel=1e-4)


def test_batches_hold_what_is_known_and_pictures_stay_as_they_are():
    from skin_edge.train.data.patients import Patients
    from skin_edge.train.pipeline.batches import Pictures, inputs_of, training_batches
    from skin_edge.train.recipes.published import RECIPES

    pixels = np.random.default_rng(1).integers(0, 256, (12, 8, 8, 3), np.uint8)
    vectors = np.tile(np.arange(1, 13, dtype=np.float32)[:, None] / 12, (1, 3))
    alone = Pictures(pixels, np.arange(12), np.ones(12, np.float32))
    known = Pictures(pixels, np.arange(12), np.ones(12, np.float32), Patients(vectors, np.array([0, 0, 1]), 0.3))
    spec, targets = preprocess.InputSpec(8, 8), np.eye(12, dtype=np.float32)
    assert np.array_equal(inputs_of(known, spec)[0], inputs_of(alone, spec)[0])
    assert np.array_equal(inputs_of(known.take(np.array([3, 1])), spec)[1], vectors[[3, 1]])
    settings = {"batch_size": 4, "seed": 7}
    augmentation = RECIPES["quickstart"].augmentation
    epochs = [
        [list(training_batches(data, targets, spec, augmentation, epoch=epoch, **settings)) for epoch in (1, 1, 2)]
        for data in (alone, known)
    ]
    for (images, target), ((same, vector), again) in zip(epochs[0][0], epochs[1][0], strict=True):
        assert np.array_equal(images, same)
        assert np.array_equal(target, again)
        whole = vectors[target.numpy().argmax(axis=1)]
        assert np.isin(vector.numpy() / whole, (0, 1)).all()
        assert np.array_equal(vector[:, 0] == 0, vector[:, 1] == 0)  # one field
    drawn = [np.concatenate([vector for (_, vector), _ in epoch]) for epoch in epochs[1]]
    assert np.array_equal(drawn[0], drawn[1])
    assert 0 < (drawn[0] == 0).mean() < 1
    rows = [np.concatenate([target for _, target in epoch]).argmax(axis=1) for epoch in epochs[1]]
    gaps = [drawn[i][np.argsort(rows[i])] == 0 for i in (0, 2)]
    assert not np.array_equal(*gaps)


def test_the_metadata_changes_nothing_of_what_is_trained():
    from dataclasses import replace

    from skin_edge.train.models import heads
    from skin_edge.train.recipes import published

    recipe = replace(published.get("quickstart"), image_size=(32, 32), unfreeze=5)
    trained = []
    for length in (0, 6):
        model = heads.classifier(recipe, 3, length)
        names = [layer.name for layer in model.layers]
        trained.append(
            {layer.name for layer in model.layers[: names.index("pool")] if layer.trainable and layer.weights}
        )
        assert len(model.inputs) == (2 if length else 1)
    assert trained[0] == trained[1]
    heads.choose_trained(model, recipe, head_only=True)
    assert model.get_layer(heads.METADATA_LAYER).trainable


FLAGS = ("--recipe", "quickstart", "--image-size", "32", "--batch-size", "8", "--learning-rate", "0.005")


@pytest.fixture(scope="module")
def told_data(tmp_path_factory):
    return miniatures.told_apart_by_age(tmp_path_factory.mktemp("told") / "data", 40)


@pytest.fixture(scope="module")
def told_run(told_data):
    folder = told_data.parent / "run"
    assert run(["train", str(told_data), "--out", str(folder), *FLAGS, "--epochs", "10", "--metadata"]) == 0
    return folder


@pytest.mark.slow
def test_a_run_learns_what_only_the_metadata_says(told_run):
    metrics = json.loads((told_run / "metrics.json").read_text())
    assert metrics["metadata"]["fields"] == ["age", "sex", "site"]
    assert metrics["test"]["balanced_accuracy"] >= 0.8
    assert metrics["metadata"]["balanced_accuracy_with_all_blank"]["test"] <= 0.7  # the pictures say nothing
    with (told_run / "split.csv").open() as file:
        test_rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    nothing = {"age": ("", "0", "0.0"), "sex": ("", "unknown"), "site": ("", "unknown")}
    for name, words in nothing.items():
        assert metrics["metadata"]["blank"][name]["test"] == sum(row[name] in words for row in test_rows)
    page = (told_run / "report.html").read_text()
    assert "Images of which it is not known" in page
    config = yaml.safe_load((told_run / "config.yaml").read_text())
    assert config["recipe"]["metadata"] == ["age", "sex", "site"]
    with (told_run / "split.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    ages = [float(row["age"]) for row in rows if row["age"] not in ("", "0.0")]
    assert config["metadata"][0]["mean"] == pytest.approx(np.mean(ages), abs=1e-6)
    assert config["metadata"][0]["std"] == pytest.approx(np.std(ages), abs=1e-6)
    assert config["metadata"][2]["categories"] == sorted({row["site"] for row in rows} - {"", "unknown"})


@pytest.mark.slow
@pytest.mark.parametrize("flags", [("--ptq",), ("--qat-epochs", "1"), ("--ptq", "--io", "int8")])
def test_a_conversion_answers_with_metadata_as_the_run(told_run, tmp_path, flags):
    from skin_edge.train.engine import keras
    from skin_edge.train.runs import run_folder

    assert run(["convert", str(told_run), "--int8", "--out", str(tmp_path / "int8"), *flags]) == 0
    described = json.loads((tmp_path / "int8" / "metadata.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(described)
    assert described["format_version"] == 4
    assert described["metadata"]["dtype"] == ("int8" if "int8" in flags else "float32")
    assert described["quantization"]["float_operators"] == ([] if "int8" in flags else ["SOFTMAX"])
    float_twin = SkinClassifier(tmp_path / "int8" / "model_float32.tflite")
    int8 = SkinClassifier(tmp_path / "int8" / "model_int8.tflite")
    rows = run_folder.read(told_run).part("test").to_dict("records")
    model = keras.models.load_model(told_run / "model.keras", compile=False)
    codes, right = [label.code for label in int8.labels], 0
    for row in rows:
        known = {name: row[name] for name in ("site", "age", "sex")}
        vector = float_twin.encoding.encode(known)
        image = preprocess.normalize(preprocess.to_pixels(row["path"], int8.input_spec), int8.input_spec)
        keras_answer = model.predict([image[None], vector[None]], verbose=0)[0]
        twin = float_twin.predict(row["path"], known).probabilities
        assert [twin[code] for code in codes] == pytest.approx(keras_answer, abs=1e-4)
        right += int8.predict(row["path"], known).label == row["label"]
    assert right / len(rows) >= 0.8
    standard = info.read(str(int8.path))["tflite_metadata"]
    assert [tensor["name"] for tensor in standard["inputs"]] == ["image", "metadata"]


@pytest.mark.slow
def test_a_map_is_refused_where_the_answer_is_not_the_pictures_alone(told_run, tmp_path, capsys):
    assert run(["convert", str(told_run), "--int8", "--ptq", "--cam", "--out", str(tmp_path / "int8")]) == 2
    assert "leave --cam out" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()


@pytest.mark.slow
def test_bench_reads_the_columns_of_split_csv(told_run, tmp_path, capsys):
    from skin_edge.benchmarks.accuracy import parity
    from skin_edge.benchmarks.inputs import cases

    assert run(["convert", str(told_run), "--int8", "--ptq", "--out", str(tmp_path / "int8")]) == 0
    classifier = SkinClassifier(tmp_path / "int8" / "model_int8.tflite")
    read = cases.read_cases(told_run / "split.csv", known_labels=[label.code for label in classifier.labels])
    found = parity.compare(SkinClassifier(tmp_path / "int8" / "model_float32.tflite"), classifier, read, bootstrap=50)
    assert found["model"]["balanced_accuracy"] >= 0.8
    assert found["agreement"] >= 0.9
    blank = sum(case.metadata["age"] in ("", "0.0") for case in read)
    assert found["metadata"]["age"] == blank


@pytest.mark.slow
def test_a_killed_training_with_metadata_resumes_to_the_same(told_data, told_run, tmp_path):
    import shutil

    folder = tmp_path / "run"
    arguments = ["train", str(told_data), "--out", str(folder), *FLAGS, "--epochs", "10"]
    shutil.copytree(told_run, folder)
    for name in ("metrics.json", "model.keras"):
        (folder / name).unlink()
    history = (folder / "history.csv").read_text()
    assert run([*arguments, "--metadata", "sex", "--resume"]) == 2  # another network
    assert run([*arguments, "--resume"]) == 0
    assert (folder / "history.csv").read_text() == history
    before, after = ((path / "predictions.csv").read_text() for path in (told_run, folder))
    assert [line.split(",", 1)[1] for line in before.splitlines()] == [
        line.split(",", 1)[1] for line in after.splitlines()
    ]


def test_what_cannot_be_a_feature_is_refused_before_anything_is_read(told_data, tmp_path, capsys):
    for names, said in (("age,dx_type", "leaks the label"), ("weight", "known: age"), ("diameter_mm", "it has: age")):
        assert run(["train", str(told_data), "--out", str(tmp_path / "run"), "--metadata", names]) == 2
        assert said in one_line(capsys)
    assert not (tmp_path / "run").exists()
