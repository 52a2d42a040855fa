"""`skin-edge convert` on the smallest run, from the head's folding to the finished folder, and what can be wrong."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from skin_edge.edge_runtime import SkinClassifier, info, training_pictures
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ConversionError, GateError, UsageError
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.edge_runtime.preprocess import InputSpec, normalize, to_pixels
from skin_edge.train.runs import run_folder

from .miniatures import one_line


def convert(*arguments):
    return run(["convert", *map(str, arguments)])


@pytest.fixture(scope="module")
def qat(learned_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("qat") / "int8"
    assert convert(learned_run, "--int8", "--out", out, "--qat-epochs", 1) == 0
    return out


@pytest.fixture(scope="module")
def ptq(learned_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("ptq") / "int8"
    assert convert(learned_run, "--int8", "--ptq", "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def model(learned_run):
    from skin_edge.train.runs import run_folder

    return run_folder.read(learned_run).model()


@pytest.fixture(scope="module")
def images(ham):
    """float32 [16, 32, 32, 3] in [-1, 1]."""
    spec = InputSpec(32, 32)
    paths = sorted(ham.glob("*/*.jpg"))[::4][:16]
    return np.stack([normalize(to_pixels(path, spec), spec) for path in paths])


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_folded_head_equals_the_original(batch_norm, images):
    from skin_edge.convert.quantize.fold import fold_head
    from skin_edge.train.engine import keras, start

    start(1)
    source = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(12, 3, strides=4)(source)
    x = keras.layers.GlobalAveragePooling2D()(x)
    if batch_norm:
        x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Dropout(0.5)(x)
    network = keras.Model(source, keras.layers.Dense(7, activation="softmax")(x))
    if batch_norm:
        generator = np.random.default_rng(0)
        network.get_layer("bn").set_weights([generator.uniform(0.2, 3, 12) for _ in range(4)])
    folded = fold_head(network)
    assert not any(isinstance(layer, keras.layers.BatchNormalization | keras.layers.Dropout) for layer in folded.layers)
    assert np.abs(softmax(folded.predict(images, verbose=0)) - network.predict(images, verbose=0)).max() < 1e-5


def test_the_folded_run_equals_the_run(model, images):
    from skin_edge.convert.quantize.fold import fold_head

    difference = softmax(fold_head(model).predict(images, verbose=0)) - model.predict(images, verbose=0)
    assert np.abs(difference).max() < 1e-5


def test_another_head_is_refused():
    from skin_edge.convert.quantize.fold import fold_head
    from skin_edge.train.engine import keras

    source = keras.Input((4,))
    with pytest.raises(ConversionError, match="not a Dense with softmax"):
        fold_head(keras.Model(source, keras.layers.Dense(7)(source)))


@pytest.mark.parametrize("folder", ["qat", "ptq"])
def test_a_conversion_holds_all_that_is_promised(folder, learned_run, request):
    out = request.getfixturevalue(folder)
    assert {path.name for path in out.iterdir()} == {
        "model_int8.tflite", "model_float32.tflite", "labels.txt", "metadata.json", "representative.csv", "census.csv",
    }  # fmt: skip
    contract = json.loads((out / "metadata.json").read_text())
    assert contract["precision"] == "int8"
    assert contract["input"]["dtype"] == "uint8"
    assert contract["input"]["scale"] == pytest.approx(2 / 255)
    assert [output["dtype"] for output in contract["outputs"]] == ["float32"]
    assert contract["provenance"]["data"]["fingerprint_sha256"]
    hashes, ids = training_pictures.hashes_of(contract), training_pictures.ids_of(contract)
    split = run_folder.read(learned_run).split
    for part in ("train", "val"):
        paths = split.loc[split["split"] == part, "path"]
        assert hashes[part] == sorted(hashlib.sha256(Path(path).read_bytes()).digest()[:4] for path in paths)
        assert ids[part] == sorted(hashlib.sha256(Path(path).stem.encode()).digest()[:4] for path in paths)
    assert contract["quantization"]["float_operators"] == ["SOFTMAX"]
    classifier = SkinClassifier(out / "model_int8.tflite")
    assert classifier.contract == contract
    assert [label.code for label in classifier.labels] == (learned_run / "labels.txt").read_text().split()


def test_the_pictures_bytes_go_into_the_network_unchanged(qat):
    classifier = SkinClassifier(qat / "model_int8.tflite")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.array_equal(classifier.to_tensor(pixels)[0], pixels)


def test_representative_images_are_training_images_of_every_class(qat, learned_run):
    chosen = pd.read_csv(qat / "representative.csv")
    split = pd.read_csv(learned_run / "split.csv")
    training = set(split[split["split"] == "train"]["image_id"])
    assert set(chosen["image_id"]) <= training
    assert chosen["label"].nunique() == 7


@pytest.mark.parametrize("folder", ["qat", "ptq"])
def test_the_file_computes_in_integers_up_to_the_softmax(folder, request):
    census = pd.read_csv(request.getfixturevalue(folder) / "census.csv")
    assert census["operator"].iloc[-1] == "SOFTMAX"
    assert (census["computes_in"] == "float").sum() == 1
    convolutions = census[census["operator"].isin(["CONV_2D", "DEPTHWISE_CONV_2D"])]
    assert len(convolutions) == 27
    assert (convolutions["weight_scales"] > 1).all(), "per channel"


def test_the_float_file_equals_the_keras_model(qat, model, images):
    interpreter = Interpreter((qat / "model_float32.tflite").read_bytes())
    answers = np.concatenate([interpreter.invoke(image[None])[0] for image in images])
    assert np.abs(answers - model.predict(images, verbose=0)).max() < 1e-4


def test_the_int8_file_equals_its_simulation(model, images):
    """What quantization-aware training saw is what the device computes, but for rounding."""
    from skin_edge.convert import checks
    from skin_edge.convert.quantize import fold
    from skin_edge.convert.quantize import qat as qat_module
    from skin_edge.convert.tflite import to_tflite

    quantized = qat_module.quantization_aware(fold.fold_head(model), images)
    expected = softmax(quantized.predict(images, verbose=0))
    network = to_tflite.trained_int8_tflite(quantized, "float32")
    interpreter = Interpreter(network)
    logits = np.concatenate([interpreter.invoke(image[None])[0] for image in images])
    steps = logits / checks.logit_step(network)
    assert steps == pytest.approx(steps.round(), abs=1e-3)
    assert np.gcd.reduce(np.unique(steps.round().astype(int))) == 1
    answers = softmax(logits)
    # the miniature's training differs by CPU: on one the mean is 0.0114
    assert np.abs(answers - expected).mean() < 0.02
    assert np.abs(answers - expected).max() < 0.15  # a probability near 0.5 moves by this for 0.6 of a logit
    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).mean() >= 15 / 16
    # and the simulation is close to the float network before it has learned anything
    assert np.abs(expected - model.predict(images, verbose=0)).mean() < 0.05


def test_a_flip_counts_where_rounding_cannot_explain_it():
    """Pictures get another class: near ties pass, and so does what chance explains; logits that are far off do not."""
    from skin_edge.convert import checks

    said = []
    simulated = np.tile(np.array([2.0, 1.7, -1.0], np.float32), (40, 1))
    answers = simulated.copy()
    answers[:12, 0] = 1.6
    checks.check_simulation(simulated, answers, 0.1, said.append)
    assert not said
    with pytest.raises(ConversionError, match=r"for 12 of 40 .* by more than 4 steps"):
        checks.check_simulation(simulated, answers, 0.05, said.append)
    answers[:12] = [2.0, 1.7, 5.0]  # as of a bias that has overflowed
    with pytest.raises(ConversionError, match="for 12 of 40"):
        checks.check_simulation(simulated, answers, 0.1, said.append)
    answers[4:12] = simulated[0]
    checks.check_simulation(simulated, answers, 0.1, said.append)
    assert "for 4 of 40" in said[0] and "within noise" in said[0]
    answers[2:] = simulated[2]
    checks.check_simulation(simulated, answers, 0.1, said.append)
    assert len(said) == 1


@pytest.mark.parametrize("max_drop", [None, 0.01])
def test_auto_keeps_the_best_that_worked_where_training_fails(max_drop, tmp_path):
    """Without a limit of the user's; one that he gave stays a limit, and the error says why training failed."""
    from skin_edge.convert import strategies
    from skin_edge.convert.settings import ConvertSettings

    class Way:
        def __init__(self, effort, drop):
            self.effort, self.drop = effort, drop

        def quantize(self, stage):
            if self.drop is None:
                raise ConversionError("its simulation answers otherwise")
            described = {"method": "post-training", "calibration": f"{self.drop}"}
            logits = np.zeros((1, 2), np.float32)
            return strategies.Attempt(b"", logits, described, [], 0.9 - self.drop, self.drop)

    said = []
    settings = ConvertSettings(tmp_path, tmp_path / "out", method="auto", max_drop=max_drop)
    stage = SimpleNamespace(settings=settings, report=said.append, float_balanced_accuracy=0.9)
    ways = [Way("post-training", 0.05), Way("post-training", 0.03), Way("quantization-aware training", None)]
    assert [way.effort for way in strategies.strategies(settings)] == [way.effort for way in ways]
    if max_drop is not None:
        with pytest.raises(GateError, match=r"failed \(its simulation answers otherwise\)"):
            strategies.select(ways, stage)
        return
    kept, tried = strategies.select(ways, stage)
    assert kept.drop == 0.03 and [row["kept"] for row in tried] == [False, True, False]
    assert tried[2]["drop"] is None and tried[2]["error"] == "its simulation answers otherwise"
    assert "the best that worked" in said[-1]


def test_a_channel_without_weights_keeps_its_constant(images):
    """Its range is zero, and its bias, an integer in units of that range, would overflow in the file."""
    from skin_edge.convert.quantize import qat as qat_module
    from skin_edge.convert.tflite import to_tflite
    from skin_edge.train.engine import keras, start

    start(1)
    source = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(source)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="dw")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.ReLU(6.0)(x)
    network = keras.Model(source, keras.layers.Dense(7, name="logits")(keras.layers.GlobalAveragePooling2D()(x)))
    kernel = network.get_layer("dw").get_weights()[0]
    kernel[:, :, :4] = 0
    network.get_layer("dw").set_weights([kernel])
    norm = network.get_layer("norm")
    norm.set_weights([np.ones(8), np.full(8, 2.5), np.zeros(8), np.ones(8)])
    quantized = qat_module.quantization_aware(network, images)
    qat_module.widen_dead_channels(quantized)
    interpreter = Interpreter(to_tflite.trained_int8_tflite(quantized, "float32"))
    answers = np.concatenate([interpreter.invoke(image[None])[0] for image in images])
    expected = network.predict(images, verbose=0)
    assert np.abs(answers - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet", "mobilenetv2", "efficientnet-lite0", "efficientnet-lite2"])
def test_real_weights_survive_training_for_quantization(name, data_root):
    """ImageNet's MobileNets hold channels without weights, and ranges that differ a thousandfold between channels."""
    from dataclasses import replace

    from skin_edge.convert.quantize import fold, heatmap
    from skin_edge.convert.quantize import qat as qat_module
    from skin_edge.convert.tflite import census, to_tflite
    from skin_edge.train.engine import start
    from skin_edge.train.models import heads
    from skin_edge.train.recipes import published

    start(1)
    weights = max((data_root / "pretrained").glob(f"{name.replace('-', '_')}_*imagenet_notop.weights.h5"))
    recipe = replace(published.get("quickstart"), backbone=name, width=1.0, image_size=(96, 96), weights=str(weights))
    folded = fold.fold_head(heads.classifier(recipe, 7))
    spec = InputSpec(96, 96)
    paths = sorted((data_root / "data" / "fullsize").glob("*.jpg"))[:16]
    pictures = np.stack([normalize(to_pixels(path, spec), spec) for path in paths])
    quantized = qat_module.quantization_aware(heatmap.with_map(folded), pictures)
    qat_module.widen_dead_channels(quantized)
    network = to_tflite.trained_int8_tflite(quantized, "float32")
    census.assert_int8(network)
    interpreter = Interpreter(network)
    answers = np.concatenate([interpreter.invoke(picture[None])[0] for picture in pictures])
    for expected in (quantized.predict(pictures, verbose=0)[0], folded.predict(pictures, verbose=0)):
        assert np.corrcoef(answers.ravel(), expected.ravel())[0, 1] > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("io", ["int8", "float32"])
def test_other_inputs_answer_the_same(io, learned_run, ptq, tmp_path):
    assert convert(learned_run, "--int8", "--ptq", "--io", io, "--out", tmp_path / "out") == 0
    one, other = SkinClassifier(ptq / "model_int8.tflite"), SkinClassifier(tmp_path / "out" / "model_int8.tflite")
    assert np.dtype(other.interpreter.inputs[0].dtype).name == io
    assert np.dtype(other.interpreter.outputs[0].dtype).name == ("int8" if io == "int8" else "float32")
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)

    def untempered(classifier):  # each file found its own temperature
        answer = np.maximum(classifier.invoke(classifier.to_tensor(pixels)).astype(np.float64), 1 / 512)
        return softmax(np.log(answer)[None] * classifier.contract["calibration"]["temperature"])[0]

    answers = [untempered(classifier) for classifier in (one, other)]
    assert np.abs(answers[0] - answers[1]).max() < 0.1  # their steps differ: calibrated one by one, rounded at the ends
    assert answers[0].argmax() == answers[1].argmax()


def test_weights_are_aligned_and_the_ends_are_named(qat):
    """`force_align: 16` of the schema: a device may map the file and compute on it in place."""
    from skin_edge.convert.tflite import flatbuffer

    network = (qat / "model_int8.tflite").read_bytes()
    model = flatbuffer.read(network)
    large = [bytes(buffer.data) for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 500]
    assert large
    assert all(network.index(data) % 16 == 0 for data in large)
    (signature,) = model.signatureDefs
    assert (signature.inputs[0].name, signature.outputs[0].name) == (b"image", b"probabilities")
    interpreter = Interpreter(network)
    assert (interpreter.inputs[0].name, interpreter.outputs[0].name) == ("image", "probabilities")


def test_a_float_operator_fails_the_conversion(model):
    """A network that is quantized in its weights only computes in float, and must not be called int8."""
    from skin_edge.convert.tflite import census
    from skin_edge.train.engine import tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with pytest.raises(ConversionError, match=r"compute in float: .*FULLY_CONNECTED"):
        census.assert_int8(converter.convert())


@pytest.mark.slow
def test_the_same_run_gives_the_same_files(qat, learned_run, tmp_path):
    assert convert(learned_run, "--int8", "--out", tmp_path / "again", "--qat-epochs", 1) == 0
    for name in ("model_int8.tflite", "model_float32.tflite"):
        assert (tmp_path / "again" / name).read_bytes() == (qat / name).read_bytes()


def scored(scores):
    """A validation that finds these scores, one after the other."""
    following = iter(scores)
    return lambda network: {"score": next(following), "divergence": 0.0, "balanced_accuracy": 0.5}


@pytest.mark.slow
def test_distillation_learns_from_the_float_network(model, images):
    """With a teacher that contradicts the labels, the student follows the teacher."""
    from skin_edge.convert.quantize import fold
    from skin_edge.convert.quantize import qat as qat_module
    from skin_edge.train.engine import tf

    wrong = np.eye(7, dtype=np.float32)[np.full(len(images), 3)]
    taught = model.predict(images, verbose=0).argmax(axis=1)

    def share_kept(distill):
        quantized = qat_module.quantization_aware(fold.fold_head(model), images)
        batches = tf.data.Dataset.from_tensor_slices((images, wrong)).batch(8)
        history = qat_module.train_quantized(
            quantized,
            fold.fold_head(model),
            lambda epoch: batches,
            scored(range(100)),  # every epoch is better: the last is kept
            epochs=4,
            learning_rate=3e-3,
            distill=distill,
            report=lambda line: None,
        )
        assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]
        return (quantized.predict(images, verbose=0).argmax(axis=1) == taught).mean()

    assert share_kept(True) > share_kept(False)


def test_the_best_epoch_is_kept_the_one_before_training_too(model, images):
    from skin_edge.convert.quantize import fold
    from skin_edge.convert.quantize import qat as qat_module
    from skin_edge.train.engine import tf

    quantized = qat_module.quantization_aware(fold.fold_head(model), images)
    before = [weights.copy() for weights in quantized.get_weights()]
    batches = tf.data.Dataset.from_tensor_slices((images, np.eye(7, dtype=np.float32)[[0] * len(images)])).batch(8)
    qat_module.train_quantized(
        quantized,
        model,
        lambda epoch: batches,
        scored([0.9, 0.1]),
        epochs=1,
        learning_rate=1e-2,
        distill=False,
        report=lambda line: None,
    )
    assert all(np.array_equal(a, b) for a, b in zip(before, quantized.get_weights(), strict=True))


def test_the_divergence_is_that_of_the_formula():
    from skin_edge.convert.quantize.qat import divergence

    wanted, logits = np.log(np.float32([[0.5, 0.5], [0.9, 0.1]])), np.log(np.float32([[0.25, 0.75], [0.9, 0.1]]))
    by_hand = (0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)) / 2
    assert divergence(logits + 3, wanted) == pytest.approx(by_hand, abs=1e-6), (
        "a constant on all logits changes nothing"
    )
    assert divergence(wanted, wanted) == pytest.approx(0, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "chooses"), [("--distill", "divergence"), ("--no-distill", "balanced_accuracy")])
def test_the_kept_epoch_is_the_nearest_to_its_teacher_or_the_best_by_the_labels(
    learned_run, tmp_path, capsys, flag, chooses
):
    flags = [flag, "--qat-epochs", 3, "--qat-learning-rate", "0.001", "--out", tmp_path / "out", "--json"]
    assert convert(learned_run, "--int8", *flags) == 0
    result = json.loads(capsys.readouterr().out)
    history = result["qat_history"]
    figures = [row[chooses] for row in history]
    assert len({row["divergence"] for row in history}) == len(history) == 4
    best = min(figures) if chooses == "divergence" else max(figures)
    assert result["quantization"]["kept_epoch"] == figures.index(best)
    assert [abs(row["score"]) for row in history] == figures


def test_a_model_of_synthetic_images_says_so(learned_run):
    from skin_edge.convert.tflite import contract as metadata
    from skin_edge.convert.tflite import to_tflite
    from skin_edge.train.runs import run_folder

    run_read = run_folder.read(learned_run)
    network = to_tflite.float32_tflite(run_read.model())

    def described():
        nothing = {"quantization": {}, "calibration": {}, "thresholds": [], "borderline": [], "license": None}
        return metadata.describe(network, run_read, precision="float32", spec=run_read.input_spec, **nothing)

    assert "HAM10000" not in described()["license"], "other images in the same layout"
    run_read.split["image_id"] = [f"ISIC_00{24306 + i}" for i in range(len(run_read.split))]
    assert "CC BY-NC" in described()["license"]
    run_read.split["image_id"] = [f"SYNTHETIC_{i:05d}" for i in range(len(run_read.split))]
    assert "synthetic" in described()["name"] and "says nothing about real skin" in described()["notice"]
    assert "HAM10000" not in described()["license"]


def test_a_network_that_cannot_be_trained_for_quantization_names_ptq():
    from skin_edge.convert.quantize import qat as qat_module
    from skin_edge.train.engine import keras

    source = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda pixels: pixels * 2)(source)
    network = keras.Model(source, keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(UsageError, match="--ptq"):
        qat_module.quantization_aware(network, np.zeros((1, 8, 8, 3), np.float32))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["absent", "--int8"], 2, "no such run folder"),
        (["empty", "--int8"], 1, "not a run of 'skin-edge train'"),
        (["half", "--int8"], 1, "its training has not finished"),
        (["run"], 2, "name the precision"),
        (["run", "--int8", "--io", "uint16"], 2, "uint16"),
        (["run", "--int8", "--precision", "float16"], 2, "contradict"),
        (["run", "--int8", "--ptq", "--auto"], 2, "contradict"),
        (["run", "--int8", "--keep-float", "conv1"], 2, "is not int8"),
        (["run", "--precision", "int8", "--keep-float", "conv1"], 2, "--ptq"),
        (["run", "--precision", "int8", "--ptq", "--keep-float", "conv9"], 2, "no layer"),
        (["run", "--precision", "float16", "--io", "uint8"], 2, "float32 input"),
        (["run", "--int8", "--front", "100x128"], 2, "the nearest is 96x128"),
        (["run", "--int8", "--front", "big"], 2, "HEIGHTxWIDTH"),
        (["run", "--int8", "--io", "int8", "--front", "auto"], 2, "that takes bytes"),
        (["run", "--precision", "float16", "--front", "auto"], 2, "that takes bytes"),
        (["run", "--precision", "w8a32", "--calibration", "percentile"], 2, "has no calibration"),
        (["run", "--int8", "--ptq", "--calibration", "percentile:200"], 2, "at most 100"),
        (["run", "--int8", "--calibration", "percentile"], 2, "post-training"),
        (["run", "--int8", "--logit-shift", "much"], 2, "'none', 'auto' or a number"),
        (["run", "--int8", "--max-drop", "2"], 2, "--max-drop"),
        (["no-split", "--int8"], 1, "no split.csv"),
        (["no-training", "--int8"], 1, "no 'train' images"),
        (["no-validation", "--int8"], 1, "no 'val' images"),
        (["one-class", "--int8"], 1, "labels must be two or more different codes"),
        (["run", "--int8", "--out", "full"], 2, "exists already"),
        (["run", "--int8", "--out", "full", "--overwrite"], 2, "holds no conversion"),
        (["damaged", "--int8"], 1, "cannot be loaded"),
        (["run", "--int8", "--out", "file/below"], 2, "cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(learned_run, tmp_path, monkeypatch, capsys, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    (tmp_path / "run").symlink_to(learned_run)
    (tmp_path / "ham").symlink_to(learned_run.parent / "ham")  # the copies' paths are as seen from the run
    (tmp_path / "file").write_text("")
    for name in ("half", "damaged", "no-split", "no-training", "no-validation", "one-class"):
        (tmp_path / name).mkdir()
        for file in ("config.yaml", "split.csv", *(["model.keras"] if "-" in name else [])):
            shutil.copy(learned_run / file, tmp_path / name)
    (tmp_path / "no-split" / "split.csv").unlink()
    for name, part in (("no-training", "train"), ("no-validation", "val")):
        rows = pd.read_csv(learned_run / "split.csv")
        rows[rows["split"] != part].to_csv(tmp_path / name / "split.csv", index=False)
    config = yaml.safe_load((learned_run / "config.yaml").read_text())
    (tmp_path / "one-class" / "config.yaml").write_text(yaml.safe_dump({**config, "labels": config["labels"][:1]}))
    (tmp_path / "damaged" / "model.keras").write_bytes((learned_run / "model.keras").read_bytes()[:1000])
    assert convert(*arguments) == code
    assert says in one_line(capsys)
    assert (tmp_path / "full" / "thesis.txt").exists()
    assert not (learned_run / "int8").exists()


def test_a_killed_conversion_leaves_what_was_there(learned_run, ptq, tmp_path):
    out = shutil.copytree(ptq, tmp_path / "int8")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    command = [sys.executable, "-m", "skin_edge.edge_runtime.cli", "convert"]
    process = subprocess.Popen(
        [*command, str(learned_run), "--int8", "--overwrite", "--out", str(out), "--qat-epochs", "50"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stderr
    for line in process.stderr:
        if line.startswith("QAT epoch 1/"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    time.sleep(0.1)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_front_end_makes_a_second_file_with_thresholds_of_its_own(learned_run, ptq, tmp_path, capsys):
    out = tmp_path / "fronted"
    assert convert(learned_run, "--int8", "--ptq", "--out", out, "--front", "96x128", "--json") == 0
    said = json.loads(capsys.readouterr().out)["front"]
    assert said["model"] == "model_int8_front96x128.tflite" and said["input"] == [96, 128]
    assert 0.8 <= said["agreement"] <= 1 and said["validation"]["n"] > 0
    assert (out / "model_int8.tflite").read_bytes() == (ptq / "model_int8.tflite").read_bytes(), "the plain one stays"
    plain, fronted = SkinClassifier(out / "model_int8.tflite"), SkinClassifier(out / said["model"])
    assert fronted.contract["front"]["network"] == [32, 32] and "front" not in plain.contract
    assert fronted.contract["thresholds"] != plain.contract["thresholds"]
    assert fronted.operating_points == plain.operating_points
    assert fronted.labels == plain.labels and fronted.contract["calibration"] == plain.contract["calibration"]
    assert convert(learned_run, "--int8", "--ptq", "--out", tmp_path / "shown", "--front", "auto") == 0
    shown = capsys.readouterr().out
    assert "front end 256x256 inside, for MediaPipe and others that resize by methods of their own" in " ".join(
        shown.split()
    )
    assert max(map(len, shown.splitlines())) <= 80 or str(tmp_path) in shown


@pytest.fixture(scope="module")
def with_map(learned_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("cam") / "int8"
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert convert(learned_run, "--int8", "--ptq", "--cam", "--logit-shift", "0.5", "--out", out) == 0
    lines = [line for line in said.getvalue().splitlines() if line.startswith("  tau ")]
    assert [line.split()[1] for line in lines] == ["0", "0.3", "0.5", "0.7", "1"]
    assert all(len(line) <= 80 and len(line.split()) == 5 for line in lines)
    assert "balanced" in said.getvalue().partition("logit shift, from")[2].partition("tau")[0]
    return out


def test_the_map_explains_the_answer_and_changes_none(ptq, with_map, learned_run, tmp_path, capsys):
    """The mean of the class activation map is the logits; its probabilities are those of the file without a map."""
    classifier, plain = (SkinClassifier(folder / "model_int8.tflite") for folder in (with_map, ptq))
    assert [output["name"] for output in classifier.contract["outputs"]] == ["probabilities", "class_activation_map"]
    for path in run_folder.read(learned_run).part("test")["path"][:12]:
        prediction, activation = classifier.predict_with_map(path)
        assert activation.shape == (1, 1, 7)
        ranked = [prediction.probabilities[label.code] for label in classifier.labels]
        assert softmax(activation.mean(axis=(0, 1))[None])[0] == pytest.approx(ranked, abs=0.05)
    with pytest.raises(UsageError, match="--cam"):
        plain.predict_with_map(path)
    capsys.readouterr()
    model = str(with_map / "model_int8.tflite")
    assert run(["predict", model, path, "--heatmap", str(tmp_path / "maps")]) == 0
    (drawn,) = (tmp_path / "maps").iterdir()
    assert drawn.name == f"{Path(path).name}.png"
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        shutil.copy(path, tmp_path / str(number) / "same.jpg")
    twins = [str(tmp_path / str(number) / "same.jpg") for number in (1, 2)]
    assert run(["predict", model, *twins, "--heatmap", str(tmp_path / "maps")]) == 2
    assert run(["predict", model, path, "--heatmap", str(drawn)]) == 2
    with Image.open(drawn) as heatmap, Image.open(path) as picture:
        assert heatmap.size == picture.size and heatmap.mode == "RGB"


def test_shift_and_temperature_lie_in_the_file_alone(ptq, with_map, learned_run):
    """The file's answers are the float model's, shifted and tempered as the contract says: the runtime adds nothing."""
    learned = run_folder.read(learned_run)
    training = learned.part("train")["label"].value_counts()
    paths = learned.part("test")["path"]
    for folder, tau in ((ptq, 0.0), (with_map, 0.5)):
        classifier, twin = (SkinClassifier(folder / f"model_{name}.tflite") for name in ("int8", "float32"))
        said = classifier.contract["calibration"]
        assert said["logit_shift_tau"] == tau
        assert twin.contract["calibration"]["temperature"] == 1.0, "the float file is the run's model, nothing else"
        prior = np.array([training[label.code] for label in classifier.labels]) / training.sum()
        shift = -tau * np.log(prior)
        assert said["logit_shift"] == pytest.approx(list(shift - shift.mean()))
        differences = []
        for path in paths:
            ours, theirs = classifier.predict(path).probabilities, twin.predict(path).probabilities
            logits = np.log([max(theirs[label.code], 1e-30) for label in classifier.labels])
            expected = softmax(((logits + shift) / said["temperature"])[None])[0]
            differences.append(np.abs(expected - [ours[label.code] for label in classifier.labels]).max())
        assert np.median(differences) < 0.03


def test_the_file_carries_thresholds_metadata_and_a_seal(ptq):
    path = ptq / "model_int8.tflite"
    assert run(["info", str(path)]) == 0
    described = info.read(str(path))
    assert described["seal"] == "verified"
    assert list(described["tflite_metadata"]["outputs"][0]["label_files"]) == ["labels.txt"]
    assert list(described["tflite_metadata"]["files"]) == ["metadata.json", "labels.txt"]
    assert described["tflite_metadata"]["inputs"][0]["colour"] == "RGB"
    contract = described["contract"]
    assert {row["target"] for row in contract["thresholds"]} == {"malignant", "akiec", "bcc", "mel"}
    assert all("validation images" in row["on"] for row in contract["thresholds"])


@pytest.mark.parametrize("name", ["int8", "float32"])
def test_a_contract_holds_the_published_schema(ptq, name):
    schema = json.loads((Path(__file__).parents[1] / "docs" / "contract.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    contract = dict(SkinClassifier(ptq / f"model_{name}.tflite").contract)
    validator.validate(contract)
    for field in schema["required"]:
        with pytest.raises(jsonschema.ValidationError):
            validator.validate({key: value for key, value in contract.items() if key != field})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(contract | {"seal": "none"})


def test_max_drop_is_a_gate(learned_run, tmp_path, capsys, monkeypatch):
    """A conversion that loses too much exits with 3, says what it lost, and leaves nothing."""
    from skin_edge.convert.quantize import post_training

    def worthless(*arguments, **settings):
        network = original(*arguments, **settings)
        from skin_edge.convert.tflite import flatbuffer

        model = flatbuffer.read(network)
        for buffer in model.buffers:  # noise in the weights
            if buffer.data is not None and len(buffer.data) > 500:
                buffer.data = np.random.default_rng(0).integers(0, 256, len(buffer.data)).astype(np.uint8)
        return flatbuffer.write(model)

    original = post_training.quantize
    monkeypatch.setattr(post_training, "quantize", worthless)
    out = tmp_path / "out"
    assert convert(learned_run, "--int8", "--ptq", "--max-drop", "0.01", "--out", out) == 3
    line = one_line(capsys)
    assert "loses at most 1 points" in line and "post-training, min/max" in line
    assert not out.exists()


@pytest.mark.slow
def test_auto_keeps_the_smallest_effort_that_serves(learned_run, tmp_path, capsys, monkeypatch):
    from skin_edge.convert.stage import Stage

    assert convert(learned_run, "--int8", "--auto", "--max-drop", "1", "--out", tmp_path / "easy", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["effort"] for row in result["tried"]] == ["post-training, min/max"]

    def spoiled(stage, network, **how):  # post-training answers are made worthless: training must follow
        logits = original(stage, network, **how)
        return logits if len(calls := spoiled.calls) >= 2 or calls.append(1) else np.roll(logits, 1, axis=1)

    spoiled.calls = []
    original = Stage.answers
    monkeypatch.setattr(Stage, "answers", spoiled)
    flags = ["--auto", "--max-drop", "0.2", "--qat-epochs", 1, "--out", tmp_path / "hard", "--json"]
    assert convert(learned_run, "--int8", *flags) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    efforts = ["post-training, min/max", "post-training, percentile 99.99", "quantization-aware training"]
    assert [row["effort"] for row in result["tried"]] == efforts
    assert [row["kept"] for row in result["tried"]] == [False, False, True]
    assert "not kept" in captured.err
    assert result["quantization"]["method"] == "quantization-aware training"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "name", "in_float"),
    [
        (["--precision", "w8a16", "--ptq"], "w8a16", {"SOFTMAX"}),
        (["--precision", "float16"], "float16", {"CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}),
        (["--precision", "w8a32"], "w8a32", {"CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"}),
        (["--precision", "int8", "--ptq", "--keep-float", "conv_dw_1*"], "mixed", {"DEPTHWISE_CONV_2D", "SOFTMAX"}),
        (["--int8", "--ptq", "--calibration", "percentile:99.9"], "int8", {"SOFTMAX"}),
    ],
)
def test_other_precisions_carry_their_own_names(learned_run, tmp_path, capsys, flags, name, in_float):
    assert convert(learned_run, *flags, "--out", tmp_path / "out", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["model"] == f"model_{name}.tflite" and result["precision"] == name
    census = pd.read_csv(tmp_path / "out" / "census.csv")
    assert set(census[census["computes_in"] == "float"]["operator"]) == in_float
    classifier, twin = (SkinClassifier(tmp_path / "out" / f"model_{kind}.tflite") for kind in (name, "float32"))
    assert classifier.contract["precision"] == name
    paths = run_folder.read(learned_run).part("test")["path"]
    same = [classifier.predict(path).label == twin.predict(path).label for path in paths]
    assert np.mean(same) >= 0.9
    if name == "mixed":
        assert not (tmp_path / "out" / "model_int8.tflite").exists()


@pytest.mark.slow
def test_a_trained_map_follows_the_trained_logits(learned_run, tmp_path):
    flags = ["--cam", "--qat-epochs", 1, "--qat-learning-rate", "0.001", "--out", tmp_path / "out"]
    assert convert(learned_run, "--int8", *flags) == 0
    classifier = SkinClassifier(tmp_path / "out" / "model_int8.tflite")
    for path in run_folder.read(learned_run).part("test")["path"][:12]:
        prediction, activation = classifier.predict_with_map(path)
        ranked = [prediction.probabilities[label.code] for label in classifier.labels]
        assert softmax(activation.mean(axis=(0, 1))[None])[0] == pytest.approx(ranked, abs=0.05)


@pytest.mark.parametrize(
    ("layout", "ids", "said"),
    [
        ("ham10000-kaggle", "ISIC_0024306", "dermatoscopic"),
        ("csv", "ISIC_0024306", "dermatoscopic"),  # HAM10000's pictures in another layout
        ("pad-ufes-20", "PAT_1_2_3.png", "smartphones"),
        ("isic2024", "ISIC_0015670", "total-body"),
        ("csv", "a.jpg", "not stated"),
        ("class-folders", "mel/a.jpg", "not stated"),
        ("isic-cli", "ISIC_9900001", "not stated"),
    ],
)
def test_the_intended_use_says_what_the_data_was(layout, ids, said, measured_run):
    from dataclasses import replace

    from skin_edge.convert.tflite import contract as metadata
    from skin_edge.train.runs import run_folder

    read = run_folder.read(measured_run)
    config = replace(read.config, data={"layout": layout})
    own = replace(read, config=config)
    synthetic = metadata._intended_use(own, synthetic=True, ham10000=False, refuses=False)
    assert "drawn" in synthetic and "dermatoscopic" not in synthetic
    ham10000 = ids == "ISIC_0024306"
    assert said in metadata._intended_use(own, synthetic=False, ham10000=ham10000, refuses=False)
    refuses, answers = (
        metadata._intended_use(own, synthetic=False, ham10000=ham10000, refuses=each) for each in (True, False)
    )
    assert "refuses most" in refuses and "confidently" in answers


def test_the_intended_use_is_what_the_user_said_last(measured_run):
    """Of convert, else of train; a few pictures of HAM10000 among others make no data set dermatoscopic."""
    from dataclasses import replace

    from skin_edge.convert.tflite import contract as metadata
    from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
    from skin_edge.edge_runtime.model_file import read_model_file
    from skin_edge.train.runs import run_folder

    file = read_model_file(DEFAULT_MODEL)
    read = run_folder.read(measured_run)
    read = replace(read, config=replace(read.config, data={"layout": "csv"}))
    nothing = {"quantization": {}, "calibration": {}, "thresholds": [], "borderline": [], "license": None}

    def described(one, said=None):
        network = file.content[: file.network_length]
        found = metadata.describe(network, one, precision="int8", spec=one.input_spec, intended_use=said, **nothing)
        return found["intended_use"], found["license"]

    said = {**read.config.settings, "intended_use": "For naked eyes."}
    told = replace(read, config=replace(read.config, settings=said))
    assert described(told)[0] == "For naked eyes." and described(told, "For phones.")[0] == "For phones."
    ids = [f"ISIC_00{24306 + i}" for i in range(len(read.split))]
    ham = replace(read, split=read.split.assign(image_id=ids))
    assert "dermatoscopic photographs" in described(ham)[0] and "CC BY-NC" in described(ham)[1]
    mixed = replace(read, split=read.split.assign(image_id=[*ids[:-1], "phone.jpg"]))
    assert "not stated" in described(mixed)[0] and "CC BY-NC" in described(mixed)[1]


@pytest.mark.parametrize("said", ["", "  ", "\x1b[31mred", "a\u202eb", "x" * 501])
def test_an_intended_use_that_cannot_be_printed_is_refused(said, tmp_path, capsys):
    for command in (["convert", str(tmp_path), "--int8"], ["train", str(tmp_path), "--out", str(tmp_path / "run")]):
        assert run([*command, "--intended-use", said]) == 2
        error = capsys.readouterr().err
        assert "--intended-use" in error and error.count("\n") == 1 and error[:-1].isprintable()
