"""A front end inside the file: what it makes of a picture, what the file says of it, and what is refused."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest
from PIL import Image

from skin_edge.convert.renew import main, renewed
from skin_edge.convert.tflite import flatbuffer, front
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ConversionError, ModelFileError, UsageError
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.edge_runtime.model_file import read_model_file
from skin_edge.edge_runtime.network import Network
from skin_edge.edge_runtime.resize import resize

from . import miniatures
from .miniatures import packaged_size
from .test_packaging import ROOT


def network_of(path):
    file = read_model_file(path)
    return bytes(file.content[: file.network_length])


def alone(network):
    """What is behind the front end cut off: bytes [1, height, width, 3] -> int8 [1, h, w, 3]."""
    model = flatbuffer.read(network)
    graph = model.subgraphs[0]
    last = next(i for i, op in enumerate(graph.operators) if flatbuffer.operator_name(model, op) == "MUL")
    graph.outputs = np.array(graph.operators[last].outputs, np.int32)
    del graph.operators[last + 1 :]
    model.signatureDefs = []
    return flatbuffer.write(model)


def parts(network):
    """How many parts of the network XNNPACK runs."""
    return sum(row["op_name"] == "DELEGATE" for row in Interpreter(network)._interpreter._get_ops_details())


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("delegate", ["xnnpack", "none"])
@pytest.mark.parametrize(
    "factors", [(1, 2), (2, 1), (3, 4), (4, 3), (5, 5), (7, 8), (8, 2), (6, 6)], ids=lambda f: f"{f[0]}x{f[1]}"
)
def test_the_front_end_gives_the_bytes_of_the_contracts_resize(factors, delegate, tiny_int8):
    """But for the border, where two roundings follow each other, and a factor of 6, whose halves of a level the
    contract's 22 bits round up or down."""
    size = 32 * factors[0], 32 * factors[1]
    network = alone(front.prepend(network_of(tiny_int8), *size))
    pixels = noise(*size)
    [got] = Interpreter(network, delegate=delegate).invoke(pixels[None])
    away = np.abs(got[0].astype(int) + 128 - resize(Image.fromarray(pixels), 32, 32))
    assert away.max() <= 1
    assert away[1:-1, 1:-1].max() == (1 if 6 in factors else 0)


def test_a_picture_of_one_colour_keeps_it_to_the_border(tiny_int8):
    network = alone(front.prepend(network_of(tiny_int8), 96, 128))
    for value in (0, 1, 127, 128, 255):
        [got] = Interpreter(network).invoke(np.full((1, 96, 128, 3), value, np.uint8))
        assert np.abs(got.astype(int) + 128 - value).max() <= 1


def test_not_one_weight_changes_and_xnnpack_takes_all_of_it(tiny_int8):
    before, after = network_of(tiny_int8), front.prepend(network_of(tiny_int8), 96, 128)
    Network(after).check()
    old, new = flatbuffer.read(before), flatbuffer.read(after)
    held = [
        {
            bytes(tensor.name): (bytes(bytearray(model.buffers[tensor.buffer].data)), list(tensor.quantization.scale))
            for tensor in model.subgraphs[0].tensors
            if model.buffers[tensor.buffer].data is not None and tensor.quantization.scale is not None
        }
        for model in (old, new)
    ]
    assert held[0] and held[0].items() <= held[1].items()
    names = [operator.name for operator in Network(after).operators]
    rest = [operator.name for operator in Network(before).operators]
    assert names == [rest[0], "DEPTHWISE_CONV_2D", "DEPTHWISE_CONV_2D", "MUL", *rest[1:]]
    # What XNNPACK does not take would stand between two parts of what it does.
    assert parts(after) == parts(before)


HEIGHT, WIDTH = 2 * packaged_size()[0], 3 * packaged_size()[1]
FRONT = f"{HEIGHT}x{WIDTH}"


@pytest.fixture(scope="module")
def fronted(ham, tmp_path_factory):
    """The packaged model with a front end of twice its rows and three times its columns, its thresholds found on a
    third of `ham`."""
    folder = tmp_path_factory.mktemp("front")
    paths = sorted(ham.glob("HAM10000_images_part_*/*.jpg"))
    lines = [f"{path.stem},{('train', 'val', 'test')[i % 3]}" for i, path in enumerate(paths)]
    (folder / "split.csv").write_text("image_id,split\n" + "\n".join(lines) + "\n")
    out = folder / f"model_int8_front{FRONT}.tflite"
    arguments = [DEFAULT_MODEL, ham, "--split", folder / "split.csv", "--out", out, "--front", FRONT]
    main([str(argument) for argument in arguments], standalone_mode=False)
    return out


def test_the_file_is_fed_by_the_contract_and_says_what_it_is_for(fronted, capsys):
    file = read_model_file(fronted)
    assert (file.input_spec.height, file.input_spec.width) == (HEIGHT, WIDTH)
    assert file.contract["input"]["shape"] == [1, HEIGHT, WIDTH, 3] and file.contract["input"]["bytes"] == "unchanged"
    assert file.contract["front"]["network"] == [*packaged_size()]
    assert file.contract["name"].endswith(f", front end {FRONT}")
    found = {row["name"]: row["threshold"] for row in file.contract["thresholds"]}
    assert found and found != {
        row["name"]: row["threshold"] for row in read_model_file(DEFAULT_MODEL).contract["thresholds"]
    }
    jsonschema.validate(file.contract, json.loads((ROOT / "docs" / "contract.schema.json").read_text()))
    assert run(["info", str(fronted)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"front end {FRONT} inside: for MediaPipe and others that resize by methods of their own" in said


def test_predict_bench_bundle_and_verify_work_on_it(fronted, picture, tmp_path, capsys):
    path = picture("mel", size=(600, 450))
    ours, plain = SkinClassifier(fronted).predict(path), SkinClassifier().predict(path)
    assert max(abs(ours.probabilities[code] - plain.probabilities[code]) for code in plain.probabilities) < 0.1
    assert len(ours.decisions) == len(SkinClassifier(fronted).operating_points) > 0
    assert run(["bench", str(fronted), "--num-runs", "2", "--cold-starts", "0"]) == 0
    assert run(["bundle", str(fronted), "--out", str(tmp_path / "handover")]) == 0
    golden = [json.loads(line) for line in (tmp_path / "handover/golden/golden.jsonl").read_text().splitlines()]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in golden))
    assert run(["verify", str(tmp_path / "handover"), str(tmp_path / "answers.jsonl")]) == 0
    assert "level A" in capsys.readouterr().out
    integration = (tmp_path / "handover/INTEGRATION.md").read_text()
    assert "front end" in integration and "Resize first and hand over" not in integration


@pytest.mark.parametrize(
    ("said", "size"),
    [("480x640", (480, 640)), ("160X320", (160, 320)), ("auto", (480, 640)), ("160x1280", (160, 1280))],
)
def test_sizes_that_go_with_a_network_of_160(said, size):
    assert front.size_of(said, 160, 160) == size


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("500x640", "1 to 8 times the network's own, 160 and 160, .* the nearest is 480x640"),
        ("160x160", "one of them more than that; the nearest is 320x320"),
        ("4096x4096", "the nearest is 1280x1280"),
        ("640", "HEIGHTxWIDTH in pixels"),
        ("0x640", "HEIGHTxWIDTH in pixels"),
        ("axb", "HEIGHTxWIDTH in pixels"),
        ("9" * 30 + "x1", "HEIGHTxWIDTH in pixels"),
    ],
)
def test_other_sizes_are_refused_with_the_nearest(said, message):
    with pytest.raises(UsageError, match=message) as refused:
        front.size_of(said, 160, 160)
    assert "\n" not in str(refused.value)


def test_auto_comes_near_to_what_cameras_give():
    assert front.size_of("auto", 224, 224) == (448, 672)
    assert front.size_of("auto", 600, 600) == (1200, 1200)


def test_only_a_network_that_takes_bytes_gets_one(tiny_float32, fronted, ham):
    with pytest.raises(ConversionError, match="takes uint8"):
        front.prepend(network_of(tiny_float32), 96, 128)
    with pytest.raises(UsageError, match="has a front end already"):
        renewed(fronted, [], [], front="auto")


@pytest.mark.parametrize(
    "described", [[], {}, {"input": [320, 480], "network": [160], "for": ""}, {"input": "320x480"}]
)
def test_a_malformed_front_is_refused(described, fronted, tmp_path):
    def change(contract):
        contract["front"] = described

    with pytest.raises(ModelFileError, match="malformed 'front'"):
        read_model_file(miniatures.resealed(fronted, tmp_path / "odd.tflite", change))


def test_a_front_end_keeps_the_outlier_score_and_finds_its_limit_again(tmp_path, picture):
    """The integers of a larger picture have other values: their limits would refuse anything or nothing."""
    paths = [str(picture("nv", seed, f"{seed}.jpg")) for seed in range(4)]
    content, _, _ = renewed(DEFAULT_MODEL, paths, ["nv", "mel", "nv", "mel"], front=FRONT)
    (tmp_path / "front.tflite").write_bytes(content)
    with SkinClassifier(tmp_path / "front.tflite") as classifier, SkinClassifier() as before:
        described = classifier.contract["assessment"]
        assert [row["feature"] for row in described["checks"]] == ["outlier_score"]
        assert described["n"] == 4 and described["refused"] == 0  # the largest of four is the limit
        assert len(before.contract["assessment"]["checks"]) > 1
        assert classifier.predict(paths[0]).assessable
