from __future__ import annotations

import csv
import io
import itertools
import json
import math
import shutil
from dataclasses import replace
from types import SimpleNamespace

import click
import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks.inputs.cases import Case
from skin_edge.benchmarks.report import terminal
from skin_edge.convert import layer_errors
from skin_edge.convert.commands.debug import debug_quantization
from skin_edge.convert.layer_errors import Sums
from skin_edge.convert.tflite import flatbuffer
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.errors import ConversionError, DataError, UsageError
from skin_edge.edge_runtime.quantization import Quantization

from .miniatures import COLOURS, picture

OPERATORS = ["PICTURE", "CONV_2D", "CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]


@pytest.fixture(scope="module")
def pixels():
    """uint8 [14, 32, 32, 3]"""
    return np.stack([np.asarray(picture(code, seed, (32, 32))) for seed in range(2) for code in COLOURS])


@pytest.fixture(scope="module")
def rows(tiny_int8, tiny_float32, pixels):
    return layer_errors.measure(tiny_int8, tiny_float32, pixels)


def run(*arguments):
    debug_quantization.main([str(argument) for argument in arguments], standalone_mode=False)


def saved(model, path):
    """The bare network: what is changed in it no longer fits the description that the file carried."""
    model.metadata = []
    path.write_bytes(flatbuffer.write(model))
    return path


def without_its_softmax(path, target):
    model = flatbuffer.read(path.read_bytes())
    graph = model.subgraphs[0]
    dequantize, softmax = graph.operators.pop(), graph.operators.pop()
    assert (list(dequantize.inputs), len(softmax.inputs)) == (list(softmax.outputs), 1)
    graph.outputs = softmax.inputs
    model.signatureDefs = []
    return saved(model, target)


def activations(path, pixels, output_of):
    """Of the `output_of`-th operator [n, ...], by LiteRT without anything of ours; pixels as the input wants them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    tensor = interpreter._get_ops_details()[output_of]["outputs"][0]
    found = []
    for image in pixels:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        found.append(interpreter.get_tensor(tensor))
    scale, zero_point = next(d for d in interpreter.get_tensor_details() if d["index"] == tensor)["quantization"]
    return np.concatenate(found).astype(np.float64), scale, zero_point


def test_errors_worked_by_hand():
    sums = Sums()
    half = Quantization(0.5, 0)
    sums.add(np.array([1, 2], np.float32), np.array([2, 4], np.int8), half)
    sums.add(np.array([3, 4], np.float32), np.array([6, 7], np.int8), half)  # 3 and 3.5
    assert (sums.count, sums.signal, sums.noise, sums.error, sums.max_abs_error) == (4, 30, 0.25, -0.5, 0.5)
    assert layer_errors.sqnr_db(sums.signal, sums.noise) == pytest.approx(20.7918, abs=1e-4)  # 10 log10(120)


def test_a_ratio_without_noise_or_signal():
    assert layer_errors.sqnr_db(2, 0) == math.inf
    assert layer_errors.sqnr_db(0, 0) == math.inf
    assert layer_errors.sqnr_db(0, 1) == -math.inf


def test_clipped_is_what_lies_more_than_half_a_step_outside():
    sums = Sums()
    # int8 with this scale and zero point holds 0..2.55.
    values = np.array([-0.02, -0.004, 0.0, 1.0, 2.55, 2.554, 2.56, 9.0], np.float32)
    sums.add(values, np.zeros(8, np.int8), Quantization(0.01, -128))
    assert sums.clipped == 3
    sums.add(values, values, Quantization(0.0, 0))  # a float tensor has no range
    assert (sums.clipped, sums.count) == (3, 16)


def test_every_layer_has_its_row(rows):
    assert [row.operator for row in rows] == OPERATORS
    assert [row.position for row in rows] == list(range(6))
    assert [row.name for row in rows[:5]] == ["picture", "conv2d", "conv2d_1", "global_average_pooling2d", "dense"]
    assert [row.shape for row in rows[-2:]] == [(1, 7), (1, 7)]
    for before, row in itertools.pairwise(rows):
        assert row.input_sqnr_db == before.sqnr_db
        assert row.loss_db == pytest.approx(before.sqnr_db - row.sqnr_db)
    assert all(15 < row.sqnr_db < 70 for row in rows)
    assert all(0 < abs(row.mean_error) <= row.max_abs_error for row in rows)
    assert (rows[0].input_sqnr_db, rows[0].loss_db) == (None, None)


def test_the_picture_lies_half_a_step_beside_the_float_values(rows, pixels):
    real = pixels.astype(np.float64) / 127.5 - 1
    assert rows[0].sqnr_db == pytest.approx(10 * np.log10(np.mean(real**2) * 255**2), abs=1e-3)
    assert rows[0].mean_error == pytest.approx(1 / 255, rel=1e-4)


def test_the_picture_is_what_the_first_layer_sees(tiny_int8, tiny_float32):
    """Behind the QUANTIZE: before it, a float input would have no error at all."""
    quantize, convolution = flatbuffer.read(tiny_int8.read_bytes()).subgraphs[0].operators[:2]
    pair = layer_errors.match(tiny_int8.read_bytes(), tiny_float32.read_bytes())[0][0]
    assert pair.int8_tensor == quantize.outputs[0] == convolution.inputs[0]


@pytest.mark.parametrize(("position", "in_float", "in_int8"), [(1, 0, 1), (2, 1, 2), (3, 2, 3), (4, 3, 4), (5, 4, 5)])
def test_a_layer_against_its_activations_held_whole(rows, tiny_int8, tiny_float32, pixels, position, in_float, in_int8):
    real = activations(tiny_float32, (pixels / 127.5 - 1).astype(np.float32), in_float)[0]
    stored, scale, zero_point = activations(tiny_int8, pixels, in_int8)
    error = (stored - zero_point) * scale - real
    row = rows[position]
    assert row.sqnr_db == pytest.approx(10 * np.log10(np.mean(real**2) / np.mean(error**2)), abs=0.01)
    assert row.mean_error == pytest.approx(error.mean(), rel=1e-3, abs=1e-7)
    assert row.max_abs_error == pytest.approx(np.abs(error).max(), rel=1e-3)
    assert row.scale == pytest.approx(scale)
    low, high = (-128.5 - zero_point) * scale, (127.5 - zero_point) * scale
    assert row.share_clipped == pytest.approx(np.mean((real < low) | (real > high)))


@pytest.mark.parametrize("position", [1, 2, 4])
def test_a_damaged_layer_is_the_one_with_the_worst_loss(tiny_int8, tiny_float32, pixels, tmp_path, rows, position):
    model = flatbuffer.read(tiny_int8.read_bytes())
    graph = model.subgraphs[0]
    weights = model.buffers[graph.tensors[graph.operators[position].inputs[1]].buffer]
    values = np.asarray(weights.data, np.uint8).view(np.int8)
    noise = np.random.default_rng(0).normal(0, 40, values.shape)
    weights.data = np.clip(values + noise, -127, 127).astype(np.int8).view(np.uint8)
    damaged = layer_errors.measure(saved(model, tmp_path / "damaged.tflite"), tiny_float32, pixels)
    worst = layer_errors.by_loss(damaged)[0]
    assert (worst.position, worst.operator) == (position, OPERATORS[position])
    assert worst.loss_db > 10
    assert [row.sqnr_db for row in damaged[:position]] == [row.sqnr_db for row in rows[:position]]


def test_an_operator_without_a_partner_is_counted_and_left_out(tiny_int8, tiny_float32, pixels, tmp_path, rows):
    cut = without_its_softmax(tiny_int8, tmp_path / "logits.tflite")
    pairs, unmatched = layer_errors.match(cut.read_bytes(), tiny_float32.read_bytes())
    assert ([pair.operator for pair in pairs], unmatched) == (OPERATORS[:-1], 1)
    assert layer_errors.measure(cut, tiny_float32, pixels) == rows[:-1]
    assert layer_errors.match(tiny_int8.read_bytes(), tiny_float32.read_bytes())[1] == 0


def test_other_networks_are_refused(tiny_int8, tiny_float32):
    with pytest.raises(ConversionError, match="not the same network"):
        layer_errors.match(DEFAULT_MODEL.read_bytes(), tiny_float32.read_bytes())
    with pytest.raises(ConversionError, match="swapped"):
        layer_errors.match(tiny_float32.read_bytes(), tiny_int8.read_bytes())
    with pytest.raises(ConversionError, match="swapped"):
        layer_errors.match(tiny_float32.read_bytes(), tiny_float32.read_bytes())


def test_inputs_are_found_through_what_is_not_compared_and_the_lowest_counts():
    # 0 -> A -> 1; 0 -> QUANTIZE -> 5; ADD(1, 5, constant 7) -> 6
    producer = {
        1: SimpleNamespace(inputs=[0]),
        5: SimpleNamespace(inputs=[0]),
        6: SimpleNamespace(inputs=[1, 5, 7, -1]),
    }
    inputs = layer_errors._measured_inputs(6, producer, {0: 0, 1: 1, 6: 2})
    assert inputs == (0, 1)
    pair = layer_errors.Pair("ADD", "add", (1, 2), 6, 6, Quantization(0.1, 0), (0, 1))
    sums = [Sums(count=2, signal=100, noise=noise) for noise in (1, 10, 20)]
    row = layer_errors._row(2, pair._replace(inputs=inputs), [*sums[:2], sums[2]])
    assert (row.input_sqnr_db, row.sqnr_db) == pytest.approx((10, 6.9897), abs=1e-4)
    assert row.loss_db == pytest.approx(3.0103, abs=1e-4)


@pytest.mark.parametrize(
    ("tensor", "name"),
    [
        ("net/conv1_relu/Relu6;net/conv1_bn/FusedBatchNormV3;net/conv1/Conv2D1", "conv1_relu"),
        ("net/backbone/conv1/Conv2D", "backbone/conv1"),
        ("net/add", "add"),
        ("probabilities", "probabilities"),
    ],
)
def test_short_names(tensor, name):
    assert layer_errors.short_name(tensor) == name


def test_csv_and_table(rows):
    read = list(csv.DictReader(io.StringIO(layer_errors.to_csv(rows))))
    assert [row["operator"] for row in read] == OPERATORS
    assert (read[0]["loss_db"], read[-1]["shape"]) == ("", "1x7")
    assert [float(row["sqnr_db"]) for row in read] == [row.sqnr_db for row in rows]
    lines = terminal.text(layer_errors.document(rows, "4 images of train", 3)).splitlines()
    losses = sorted((row.loss_db for row in rows[1:]), reverse=True)
    shown = [int(line.split()[0]) for line in lines[1:4]]
    assert [rows[position].loss_db for position in shown] == losses[:3]
    assert lines[4].startswith("  and 3 more")
    assert max(map(len, terminal.text(layer_errors.document(rows, "4 images of train", 99)).splitlines())) <= 80


def test_the_drawing_is_a_png_also_of_rows_without_error(rows, tmp_path):
    layer_errors.draw(rows, tmp_path / "a.png")
    layer_errors.draw([replace(row, sqnr_db=math.inf, loss_db=None) for row in rows], tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert min(image.size) > 200
    assert len(list(tmp_path.iterdir())) == 2


def test_cases_are_spread_over_classes_and_seeded():
    cases = [Case(f"{i}.jpg", str(i), str(i), label, "train") for i, label in enumerate("a" * 50 + "b" * 20 + "c" * 2)]
    chosen = layer_errors.choose(cases, 12)
    assert sorted(case.label for case in chosen) == list("aaaaabbbbbcc")
    assert len({case.image_id for case in chosen}) == 12
    assert layer_errors.choose(cases, 12) == chosen
    assert layer_errors.choose(cases, 12, seed=1) != chosen
    assert len(layer_errors.choose(cases, 100)) == 72


@pytest.fixture
def conversion(tmp_path, tiny_int8, tiny_float32, picture):
    """run/int8/model_int8.tflite as `skin-edge convert` lays it out, with run/split.csv."""
    folder = tmp_path / "run" / "int8"
    folder.mkdir(parents=True)
    shutil.copy(tiny_int8, folder / "model_int8.tflite")
    shutil.copy(tiny_float32, folder / "model_float32.tflite")
    lines = ["path,label,split"]
    for i, code in enumerate(COLOURS):
        lines += [f"{picture(code, i, f'run/{code}.jpg').name},{code},train", f"missing{i}.jpg,{code},test"]
    (tmp_path / "run" / "split.csv").write_text("\n".join(lines))
    return folder


def test_the_command_finds_what_lies_beside_the_model(conversion, capsys, tmp_path):
    run(conversion / "model_int8.tflite", "--out", tmp_path / "out", "--limit", 5)
    shown = capsys.readouterr().out
    assert "over 5 images of train" in shown
    assert max(map(len, shown.split("\nEvery layer")[0].splitlines())) <= 80
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["layer_errors.csv", "layer_errors.png"]
    assert len((tmp_path / "out" / "layer_errors.csv").read_text().splitlines()) == 1 + len(OPERATORS)


def test_the_command_as_json(conversion, capsys):
    run(conversion / "model_int8.tflite", "--json")
    result = json.loads(capsys.readouterr().out)
    assert (result["images"], result["unmatched_operators"]) == (7, 0)
    assert [layer["operator"] for layer in result["layers"]] == OPERATORS
    assert (conversion / "layer_errors.png").is_file()


def test_the_command_says_what_is_missing(conversion, tmp_path):
    model = conversion / "model_int8.tflite"
    with pytest.raises(DataError, match="missing"):
        run(model, "--split", "test")
    with pytest.raises(UsageError, match="--out"):
        run(model, "--out", model)
    with pytest.raises(click.BadParameter):
        run(model, "--limit", 0)
    (tmp_path / "run" / "split.csv").unlink()
    with pytest.raises(UsageError, match="--data"):
        run(model)
    (conversion / "model_float32.tflite").unlink()
    with pytest.raises(UsageError, match="--reference"):
        run(model)
