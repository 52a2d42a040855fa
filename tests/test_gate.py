"""The gate: a damaged model fails it, a good one passes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks import gate
from skin_edge.benchmarks.engines import limits as engine_limits
from skin_edge.benchmarks.report import bench_report
from skin_edge.benchmarks.report.document import plain
from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.labels import Label
from skin_edge.edge_runtime.model_file import network_length, read_model_file, with_archive

from . import miniatures

CODES = tuple(miniatures.COLOURS)
QUICK = ["--num-runs", "2", "--warmup-runs", "1", "--cold-starts", "0"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return miniatures.class_folders(tmp_path_factory.mktemp("folders"), 5, CODES)


def gated(*arguments):
    return run(["bench", *map(str, arguments), *QUICK])


def failures(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def with_network(source, target, change):
    """A copy of a model file whose network, as the schema's ModelT, `change` has edited, sealed again."""
    flatbuffer = pytest.importorskip("skin_edge.convert.tflite.flatbuffer")
    content = source.read_bytes()
    model = flatbuffer.read(content[: network_length(content)])
    change(model)
    network = flatbuffer.write(model)
    contract = dict(read_model_file(source).contract)
    labels = contracts.labels_text(tuple(Label(entry["code"], "") for entry in contract["labels"]))
    text = contracts.sealed(contract, network, labels)
    target.write_bytes(with_archive(network, {"labels.txt": labels, "metadata.json": text}))
    return target


def noised(model):
    """Replaces every int8 weight by noise."""
    generator = np.random.default_rng(0)
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if tensor.type == 9 and data is not None and len(data):  # 9: int8
            model.buffers[tensor.buffer].data = generator.integers(-127, 128, len(data)).astype(np.int8).view(np.uint8)


def test_the_good_pair_passes_the_default(tiny_int8, tiny_float32, folders, capsys):
    assert gated(tiny_int8, "--reference", tiny_float32, "--data", folders, "--gate", "default") == 0
    captured = capsys.readouterr()
    assert "Gate: passed" in captured.out and "The default limits" in captured.out
    assert "error" not in captured.err
    assert max(map(len, captured.out.splitlines())) <= 80


def test_noise_for_weights_fails(tiny_int8, tiny_float32, folders, tmp_path, capsys):
    model = with_network(tiny_int8, tmp_path / "noised.tflite", noised)
    assert gated(model, "--reference", tiny_float32, "--data", folders, "--gate", "default") == 3
    captured = capsys.readouterr()
    assert "Gate: FAILED" in captured.out and "balanced accuracy" in captured.out
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    names = [line.split()[2] for line in errors]
    assert {"max_balanced_accuracy_drop", "non_inferiority_margin", "min_agreement"} <= set(names)
    assert "from right to wrong" in errors[0]


def test_permuted_labels_fail_and_the_exchange_is_named(tiny_int8, tiny_float32, folders, tmp_path, capsys):
    def permute(contract):
        contract["labels"] = [contract["labels"][i] for i in (0, 1, 2, 3, 5, 4, 6)]  # mel and nv

    model = miniatures.resealed(tiny_int8, tmp_path / "permuted.tflite", permute)
    assert gated(model, "--reference", tiny_float32, "--data", folders, "--gate", "default") == 3
    errors = failures(capsys)
    agreement = next(line for line in errors if "min_agreement" in line)
    assert (
        "min_agreement 0.98: agreement with the reference is below it with 0.7143 (95% interval 0.5495 to " in agreement
    )
    assert "10 of 35 images change class, 10 from right to wrong, most often mel to nv (5)" in agreement
    drop = next(line for line in errors if "max_balanced_accuracy_drop" in line)
    assert "above it with 0.2857" in drop
    assert any("max_macro_auc_drop" in line and "most in" in line for line in errors)


def test_a_doubled_input_scale_fails(tiny_int8, tiny_float32, tmp_path, capsys):
    def double(contract):
        normalize = next(step for step in contract["preprocessing"] if step["step"] == "normalize")
        normalize["std"] = [value * 2 for value in normalize["std"]]

    for code in CODES:  # paler than the miniatures, so that contrast decides
        (tmp_path / "pale" / code).mkdir(parents=True)
        for number in range(5):
            pixels = np.asarray(miniatures.picture(code, number), np.float64) * 0.6 + 120 * 0.4
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pale" / code / f"{number}.png")
    data = ["--reference", tiny_float32, "--data", tmp_path / "pale", "--gate", "default"]
    assert gated(tiny_int8, *data) == 0
    capsys.readouterr()
    assert gated(miniatures.resealed(tiny_int8, tmp_path / "doubled.tflite", double), *data) == 3
    errors = failures(capsys)
    assert any("min_agreement" in line and "from right to wrong" in line for line in errors)
    assert any("max_balanced_accuracy_drop" in line for line in errors)


def test_own_limits_from_a_file(tiny_int8, tmp_path, capsys):
    limits = tmp_path / "gate.yaml"
    limits.write_text("max_median_ms: 0.000001\nmax_file_mb: 100\nmax_peak_mb: 0.5\nmax_p95_ms: 60000\n")
    assert gated(tiny_int8, "--gate", limits, "--result-json", tmp_path / "result.json") == 3
    errors = failures(capsys)
    assert [line.split()[2] for line in errors] == ["max_median_ms", "max_peak_mb"]
    assert "most of it is" in errors[0] and " ms" in errors[0] and " MB" in errors[1]
    judged = json.loads((tmp_path / "result.json").read_text())["gate"]
    assert judged["source"] == str(limits) and judged["passed"] is False
    assert [row["passed"] for row in judged["limits"]] == [False, True, False, True]
    assert judged["limits"][1]["value"] == tiny_int8.stat().st_size / 1e6


def test_what_was_not_measured_fails_with_the_reason(tiny_int8, folders, tmp_path, capsys):
    limits = tmp_path / "gate.yaml"
    limits.write_text("min_agreement: 0.5\nmin_balanced_accuracy: 0.5\n")
    assert gated(tiny_int8, "--gate", limits) == 3
    errors = failures(capsys)
    assert errors[0] == "error: gate: min_agreement 0.5: not measured, no --data was given"
    assert gated(tiny_int8, "--data", folders, "--gate", limits) == 3
    assert failures(capsys) == ["error: gate: min_agreement 0.5: not measured, no --reference was given"]
    said = gate.judge({"memory": {"peak_bytes": None}}, {"max_peak_mb": 1}, "x")["limits"][0]
    assert not said["passed"] and said["value"] is None and "does not report" in said["says"]


def result(drop=0.0, low=-0.01, high=0.01, agreement=1.0, n=10):
    """What a bench returns, as far as these limits look."""
    row = {"difference": -drop, "interval": [low, high]}
    groups = {"kind": "lesion", "n": 7, "images": n, "images_unknown": 0}
    return {
        "accuracy": {
            "model": {"n": n, "groups": groups, "balanced_accuracy": 0.9, "intervals": {"balanced_accuracy": None}},
            "reference": {},
            "agreement": agreement,
            "difference": dict.fromkeys(("balanced_accuracy", "macro_auc", "accuracy"), row),
            "flipped": [],
        }
    }


@pytest.mark.parametrize(
    ("limit", "measured", "passed"),
    [
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": 0.03}, True),
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": 0.031}, False),
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": -0.5}, True),
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": 0.0, "low": -0.9}, True),  # the point is judged
        ({"non_inferiority_margin": 0.03}, {"drop": 0.0, "low": -0.031}, False),  # the lower end is judged
        ({"non_inferiority_margin": 0.03}, {"drop": 0.0, "low": -0.03}, False),
        ({"non_inferiority_margin": 0.03}, {"drop": 0.0, "low": -0.029}, True),
        ({"min_agreement": 0.97}, {"agreement": 0.97}, True),
        ({"min_agreement": 0.97}, {"agreement": 0.969}, False),
    ],
)
def test_the_edges_of_limits(limit, measured, passed):
    judged = gate.judge(result(**measured), limit, "x")
    assert judged["passed"] is passed
    assert json.loads(json.dumps(judged)) == judged


@pytest.mark.parametrize(
    ("limit", "measured", "noise"),
    [
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": 0.0, "low": -0.9}, True),  # passed by chance, perhaps
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": 0.05, "low": -0.1}, True),  # failed by chance, perhaps
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": 0.0, "low": -0.02}, False),
        ({"max_balanced_accuracy_drop": 0.03}, {"drop": 0.1, "low": -0.2, "high": -0.05}, False),
        ({"max_macro_auc_drop": 0.005}, {"drop": 0.0, "low": 0.0, "high": 0.0}, None),  # every resample the same
        ({"non_inferiority_margin": 0.03}, {"low": -0.05}, True),  # not shown, which is not the same as worse
        ({"non_inferiority_margin": 0.03}, {"low": -0.02}, False),
        ({"non_inferiority_margin": 0.03}, {"low": -0.2, "high": -0.04}, False),
        ({"min_agreement": 0.98}, {"agreement": 1.0, "n": 90}, True),  # Wilson: 0.959 to 1
        ({"min_agreement": 0.98}, {"agreement": 1.0, "n": 1000}, False),
        ({"min_agreement": 0.98}, {"agreement": 0.9, "n": 1000}, False),
        ({"min_balanced_accuracy": 0.5}, {}, None),  # without an interval
    ],
)
def test_a_limit_within_the_interval_is_said_to_be_within_noise(limit, measured, noise):
    judged = gate.judge(result(**measured), limit, "x")
    [row] = judged["limits"]
    assert row["within_noise"] is noise
    assert ("within noise" in row["says"]) is (noise is True)
    assert ("of 7 lesions, too few to tell" in row["says"]) is (noise is True)
    assert (f"{'passed' if row['passed'] else 'failed'} within noise" in row["says"]) is (noise is True)
    shown = bench_report.gate_verdict(judged)
    assert shown == ("passed" if row["passed"] else "FAILED") + (", 1 of 1 limits within noise" if noise else "")
    cells = [plain(cell) for cell in bench_report.gate_cells(row)]
    assert cells[1] == ("ok" if row["passed"] else "FAIL") + ("?" if noise else "")
    assert (cells[4] == "-") is (row["interval"] is None)


def test_noise_changes_no_exit_code_and_is_on_every_output(tiny_int8, tiny_float32, folders, tmp_path, capsys):
    files = {name: tmp_path / f"result.{name}" for name in ("json", "html", "md")}
    limits = tmp_path / "gate.yaml"
    limits.write_text("min_agreement: 0.98\n")
    outputs = ["--result-json", files["json"], "--html", files["html"], "--markdown", files["md"]]
    pair = ["--reference", tiny_float32, "--data", folders, "--gate", limits]
    assert gated(tiny_int8, *pair, *outputs) == 0
    captured = capsys.readouterr()
    said = "passed within noise, for the limit is inside the interval: 35 images, too few to tell"
    assert "passed, 1 of 1 limits within noise" in captured.out and said in " ".join(captured.out.split())
    [warned] = [line for line in captured.err.splitlines() if line.startswith("warning: gate: ")]
    assert said in warned and "error" not in captured.err
    [row] = json.loads(files["json"].read_text())["gate"]["limits"]
    assert row["within_noise"] is True and row["interval"][0] < 0.98 < row["interval"][1]
    for name in ("html", "md"):
        page = files[name].read_text()
        assert "passed, 1 of 1 limits within noise" in page and said in page and "ok?" in page, name
    limits.write_text("min_agreement: 1\n")  # of several models, each with its own
    model = miniatures.resealed(tiny_int8, tmp_path / "again.tflite", lambda contract: None)
    assert gated(tiny_int8, model, *pair, "--html", files["html"]) == 0
    captured = capsys.readouterr()
    assert "passed, 2 of 2 limits within noise" in captured.out and captured.err.count("warning: gate: ") == 2
    assert "2 of 2 limits within noise" in files["html"].read_text()
    assert max(map(len, captured.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_agrement: 0.9", "'min_agrement' .did you mean 'min_agreement'... known: max_balanced_accuracy_drop"),
        ("min_agreement: high", "min_agreement must be a number"),
        ("min_agreement: true", "must be a number"),
        ("min_agreement: .nan", "must be a number"),
        ("min_agreement: -1", "must be a number of at least 0"),
        ("", "names no limits"),
        ("- min_agreement", "names no limits"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_gate_that_cannot_be_read_is_refused(text, message, tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as refused:
        gate.read_gate(str(path))
    assert "\n" not in str(refused.value)


def test_a_wrong_gate_is_refused_before_anything_is_measured(tiny_int8, tmp_path, capsys):
    assert gated(tiny_int8, "--gate", tmp_path / "gone.yaml") == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "no such file" in captured.err


def test_the_default_has_known_limits_and_the_help_states_them(capsys):
    assert set(gate.DEFAULT) <= set(gate.LIMITS)
    assert run(["bench", "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(name in out for name in gate.LIMITS)
    for value in gate.DEFAULT.values():
        assert f"{value:g}" in out


def test_the_help_of_bench_names_every_limit(capsys):
    assert run(["bench", "--help"]) == 0
    said = capsys.readouterr().out
    assert [name for name in (*gate.LIMITS, *engine_limits.LIMITS) if name not in said] == []
