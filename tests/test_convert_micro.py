"""`convert --micro`: a file that computes in integers throughout and leaves the softmax to the port."""

from __future__ import annotations

import dataclasses
import json
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from skin_edge.convert.settings import ConvertSettings
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.model_file import read_model_file
from skin_edge.edge_runtime.quantization import softmax_of

from . import miniatures
from .test_micro_bundle import self_test

needs_tflite_micro = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="tflite-micro is not installed")


@pytest.fixture(scope="module")
def converted(tiny_run, tmp_path_factory):
    """(the micro file's folder, that of the usual int8 file of the same run)."""
    out = tmp_path_factory.mktemp("micro")
    limits = ["--arena", "64", "--flash", "1024"] if find_spec("tflite_micro") else ["--flash", "1024"]
    assert run(["convert", str(tiny_run), "--micro", "--ptq", *limits, "--out", str(out / "micro")]) == 0
    assert run(["convert", str(tiny_run), "--int8", "--ptq", "--out", str(out / "int8")]) == 0
    return out / "micro", out / "int8"


@pytest.fixture(scope="module")
def model(converted):
    return converted[0] / "model_int8.tflite"


def test_nothing_in_the_file_is_float(model):
    file = read_model_file(model)
    tensors = [tensor for operator in file.network.operators for tensor in (*operator.inputs, *operator.outputs)]
    assert {tensor.dtype for tensor in tensors} == {"int8", "int32"}
    assert {operator.name for operator in file.network.operators}.isdisjoint({"QUANTIZE", "DEQUANTIZE", "SOFTMAX"})
    (source,), (target,) = file.network.inputs, file.network.outputs
    assert (source.dtype, target.dtype, target.name) == ("int8", "int8", "logits")


def test_its_contract_says_so_and_fits_the_schema(model):
    import jsonschema

    contract = read_model_file(model).contract
    assert contract["format_version"] == 5
    assert (contract["input"]["dtype"], contract["input"]["bytes"]) == ("int8", "quantized")
    assert [output["name"] for output in contract["outputs"]] == ["logits"]
    schema = json.loads((Path(__file__).parents[1] / "docs" / "contract.schema.json").read_text())
    jsonschema.validate(contract, schema)


def test_it_answers_as_the_usual_int8_file(converted, ham):
    micro, usual = (SkinClassifier(folder / "model_int8.tflite") for folder in converted)
    with micro, usual:
        for path in sorted(ham.rglob("*.jpg"))[:20]:
            ours, theirs = micro.predict(path), usual.predict(path)
            assert ours.label == theirs.label
            for code, probability in theirs.probabilities.items():
                assert ours.probabilities[code] == pytest.approx(probability, abs=1e-6)
            for one, other in zip(ours.decisions, theirs.decisions, strict=True):
                assert one.threshold == pytest.approx(other.threshold, abs=2e-6)
                assert one.decision == other.decision or abs(other.score - other.threshold) < 2e-6


@needs_tflite_micro
def test_its_bundle_is_level_a_in_c_and_in_python(model, tmp_path, capsys):
    from click.testing import CliRunner

    from skin_edge.benchmarks.bundle.answers import main

    out = tmp_path / "bundle"
    assert run(["bundle", str(model), "--micro", "--out", str(out)]) == 0
    assert "`logits`" in (out / "INTEGRATION.md").read_text()
    code, said = self_test(out / "micro", tmp_path)
    assert (code, said.splitlines()[-1]) == (0, "5 pictures: level A")
    (tmp_path / "answers.jsonl").write_text(CliRunner().invoke(main, [str(out)]).stdout)
    capsys.readouterr()
    assert run(["verify", str(out), str(tmp_path / "answers.jsonl")]) == 0


def test_bench_compares_it_with_the_float_baseline(converted, tiny_run, capsys):
    folder = converted[0]
    reference = ["--reference", str(folder / "model_float32.tflite"), "--data", str(tiny_run / "split.csv")]
    few = ["--num-runs", "1", "--warmup-runs", "0", "--cold-starts", "0"]
    assert run(["bench", str(folder / "model_int8.tflite"), *reference, *few, "--json"]) == 0
    accuracy = json.loads(capsys.readouterr().out)["accuracy"]
    assert accuracy["agreement"] > 0.5 and accuracy["model"]["n"] > 0


@needs_tflite_micro
def test_what_does_not_fit_is_refused_with_the_figures(tiny_run, tmp_path, capsys):
    command = ["convert", str(tiny_run), "--micro", "--ptq", "--arena", "1", "--flash", "2"]
    assert run([*command, "--out", str(tmp_path / "out")]) == 3
    said = miniatures.one_line(capsys)
    assert "does not fit: arena " in said and " KB of 1 KB, flash " in said and "--width 0.25" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"io": "uint8"}, "int8 throughout"),
        ({"cam": True}, "int8 throughout"),
        ({"front": "auto"}, "a front end goes before"),
        ({"precision": "w8a32", "method": "ptq", "io": "float32"}, "int8 throughout"),
        ({"micro": False, "flash_kb": 3}, "go with --micro"),
    ],
)
def test_settings_that_contradict_each_other(changes, says, tmp_path):
    settings = ConvertSettings(tmp_path, tmp_path / "out", micro=True, io="int8")
    with pytest.raises(UsageError, match=says):
        dataclasses.replace(settings, **changes).check()


def test_arena_without_tflite_micro_is_said_before_the_run_is_read(tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    assert run(["convert", str(tmp_path), "--micro", "--arena", "64"]) == 1
    assert 'pip install "skin-edge[micro]"' in miniatures.one_line(capsys)


def test_the_softmax_is_that_of_64_bits():
    logits = np.random.default_rng(0).normal(0, 4, 7).astype(np.float32)
    exact = [math.exp(float(one) - float(logits.max())) for one in logits]
    assert softmax_of(logits).tolist() == [np.float32(one / sum(exact)) for one in exact]
    assert softmax_of(np.float32([1000, 0, -1000])).tolist() == [1, 0, 0]
