"""`bench --micro`: what TFLite Micro and Vela say of a model. Skips where they are not installed."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from skin_edge.benchmarks.micro import arena, npu, operators
from skin_edge.benchmarks.micro.measure import measure
from skin_edge.benchmarks.micro.report import document
from skin_edge.benchmarks.report import markdown, page
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.network import Network
from skin_edge.edge_runtime.operator_names import BUILTIN_OPERATORS

from .miniatures import one_line

ROOT = Path(__file__).parents[1]

needs_tflite_micro = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="tflite-micro is not installed")
needs_vela = pytest.mark.skipif(find_spec("ethosu") is None, reason="ethos-u-vela is not installed")


def network_of(*codes: int, custom: bytes | None = None) -> bytes:
    """A network of operators that do nothing sensible, by their codes in the schema."""
    import flatbuffers

    schema = importlib.import_module("tflite_micro.tensorflow.lite.micro.python.schema_py_generated")
    model, graph, tensor = schema.ModelT(), schema.SubGraphT(), schema.TensorT()
    tensor.shape, tensor.type, tensor.name, tensor.buffer = [1, 4], 9, b"values", 0
    model.version, model.buffers, model.subgraphs, model.operatorCodes = 3, [schema.BufferT()], [graph], []
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [tensor], [0], [0], []
    for position, number in enumerate(codes):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        code.customCode = custom if number == BUILTIN_OPERATORS.index("CUSTOM") else None
        operator.opcodeIndex, operator.inputs, operator.outputs = position, [0], [0]
        model.operatorCodes.append(code)
        graph.operators.append(operator)
    builder = flatbuffers.Builder(256)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@needs_tflite_micro
def test_the_packaged_models_arena_is_exact():
    """Figures of docs/micro.md; and 1 kB less does not do."""
    found = arena.measure_arena(DEFAULT_MODEL.read_bytes())
    assert found["runs"] and found["arena_bytes"] == 1301088
    assert found["activations_bytes"] + found["persistent_bytes"] == found["arena_bytes"]
    assert found["less"].startswith("Failed to resize buffer. Requested: 1204224")


@needs_tflite_micro
def test_the_arena_that_is_told_runs_and_less_does_not(tiny_int8):
    runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    content = tiny_int8.read_bytes()
    size = arena.measure_arena(content)["arena_bytes"]
    runtime.Interpreter.from_bytes(content, arena_size=size).invoke()
    for less in (16, 1024):
        with pytest.raises(RuntimeError):
            runtime.Interpreter.from_bytes(content, arena_size=size - less)


@needs_tflite_micro
@needs_vela
def test_figures_repeat_exactly(tiny_int8):
    assert len({json.dumps(measure(tiny_int8, ["u55-128", "u85-256"])) for _ in range(3)}) == 1


def found_by_tflite_micro() -> set[str]:
    """Names of the builtin operators that the installed interpreter has."""
    runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    found = set()
    for code, name in enumerate(BUILTIN_OPERATORS):
        content = network_of(code, custom=b"none")
        with tempfile.TemporaryFile() as log:
            child = os.fork()  # the interpreter dies of most of these networks
            if not child:
                os.dup2(log.fileno(), 2)
                try:
                    runtime.Interpreter.from_bytes(content, arena_size=100_000)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            log.seek(0)
            if b"Didn't find op" not in log.read():
                found.add(name)
    return found - {"CUSTOM"}


@needs_tflite_micro
def test_the_table_of_operators_is_that_of_the_installed_interpreter():
    code = "import json; from tests.test_micro import found_by_tflite_micro as f; print(json.dumps(sorted(f())))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, check=True)
    assert set(json.loads(done.stdout)) == operators.KNOWN


def test_names_of_the_resolvers_methods():
    names = ["CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "PADV2", "CUMSUM", "RELU6", "GELU"]
    assert [operators.method(name) for name in names] == [
        *("AddConv2D", "AddDepthwiseConv2D", "AddFullyConnected", "AddMaxPool2D", "AddPadV2", "AddCumSum", "AddRelu6"),
        None,
    ]


def test_the_resolver_has_a_line_for_each_operator_and_no_more():
    needed = operators.needed(Network(DEFAULT_MODEL.read_bytes()))
    assert operators.resolver(needed) == [
        "tflite::MicroMutableOpResolver<7> resolver;",
        *(
            f"resolver.Add{name}();"
            for name in ("Quantize", "Conv2D", "DepthwiseConv2D", "Mean", "Dequantize", "FullyConnected", "Softmax")
        ),
    ]
    assert {row["operator"]: row["version"] for row in needed}["FULLY_CONNECTED"] == 4


@needs_tflite_micro
def test_operators_that_tflite_micro_lacks_are_all_named(tmp_path, capsys):
    codes = [BUILTIN_OPERATORS.index(name) for name in ("GELU", "CUSTOM", "CONV_3D")]
    model = tmp_path / "model.tflite"
    model.write_bytes(network_of(*codes, custom=b"own"))
    result = measure(model)
    assert result["verdict"] == "cannot run" and result["resolver"] == []
    assert result["why"].startswith("TFLite Micro has no GELU, CUSTOM own, CONV_3D (Didn't find op for builtin opcode")
    assert run(["bench", "--micro", str(model)]) == 1
    assert "cannot run: TFLite Micro has no GELU, CUSTOM own, CONV_3D" in capsys.readouterr().out


@needs_tflite_micro
def test_a_crash_of_tflite_micro_is_a_result(monkeypatch):
    monkeypatch.setattr(arena, "_MAIN", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    found = arena.measure_arena(b"")
    assert not found["runs"] and found["arena_bytes"] is None
    assert found["why"] == "TFLite Micro's process died of SIGSEGV"


@needs_tflite_micro
def test_a_strangers_crashing_network(data_root):
    result = measure(data_root / "foreign" / "model_invoking_error.tflite")
    assert "CUSTOM fake-op-double" in result["why"] and "SIGSEGV" in result["why"]


@needs_vela
def test_vela_reads_its_own_file_again(tmp_path):
    told, compiled = npu.compile_for(DEFAULT_MODEL.read_bytes(), "ethos-u55-128")
    assert (told["operators"], told["operators_on_npu"]) == (37, 33)
    assert sorted(one["operator"] for one in told["operators_on_cpu"]) == [
        "DEQUANTIZE",
        "DEQUANTIZE",
        "DEQUANTIZE",
        "SOFTMAX",
    ]
    assert all(one["why"] for one in told["operators_on_cpu"])
    assert told["compiled_bytes"] == len(compiled)
    reader = importlib.import_module("ethosu.vela.model_reader")
    path = tmp_path / "compiled.tflite"
    path.write_bytes(compiled)
    graph, _ = reader.read_model(str(path), reader.ModelReaderOptions())
    (main,) = graph.subgraphs
    assert {str(tensor.name) for tensor in main.output_tensors} == {
        "probabilities",
        "class_activation_map",
        "outlier_score",
    }


@needs_vela
def test_a_float_network_stays_on_the_cpu_and_has_no_estimate(tiny_float32):
    told, _ = npu.compile_for(tiny_float32.read_bytes(), "ethos-u55-64")
    assert (told["operators_on_npu"], told["cycles"], told["estimated_ms"]) == (0, None, None)


@needs_vela
def test_what_vela_refuses_is_a_result():
    told, compiled = npu.compile_for(b"no network at all", "ethos-u55-64")
    assert compiled is None and not told["compiles"] and told["why"]


@needs_tflite_micro
@needs_vela
def test_the_reports(tiny_int8, tmp_path, capsys):
    html, md, result = (tmp_path / name for name in ("page.html", "page.md", "result.json"))
    command = ["bench", "--micro", str(tiny_int8), "--npu", "ETHOS-U55-128", "--json"]
    assert run([*command, "--html", str(html), "--markdown", str(md), "--result-json", str(result)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(result.read_text()) and printed["verdict"] == "runs"
    jsonschema.validate(printed, json.loads((ROOT / "docs" / "engines.schema.json").read_text()))
    assert "resolver.AddSoftmax();" in md.read_text() and "ethos-u55-128" in html.read_text()
    assert page.page(document(printed)) == html.read_text() and markdown.markdown(document(printed)) == md.read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--micro", "--npu", "u56-1"], "unknown NPU 'ethos-u56-1' (did you mean"),
        (["--npu", "u55-128"], "--npu goes with --micro"),
        (["--micro", "--num-runs", "3"], "leave --num-runs out"),
        (["--micro", "a.tflite", "b.tflite"], "--micro takes one model, not 2"),
        (["--micro", "there-is-none.tflite"], "there-is-none.tflite"),
    ],
)
def test_wrong_calls_are_one_line(arguments, says, capsys):
    assert run(["bench", *arguments]) != 0
    assert says in one_line(capsys)


@pytest.mark.parametrize(("module", "arguments"), [("tflite_micro", []), ("ethosu", ["--npu", "u55-128"])])
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    module, arguments, tiny_int8, capsys, monkeypatch
):
    if module != "tflite_micro" and find_spec("tflite_micro") is None:
        pytest.skip("tflite-micro is not installed")
    monkeypatch.setitem(sys.modules, module, None)
    assert run(["bench", "--micro", str(tiny_int8), *arguments]) == 1
    assert f'this needs {module}, which is not installed: pip install "skin-edge[micro]"' in one_line(capsys)
