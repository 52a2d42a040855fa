"""`bundle --micro`: its sources are built and run, here with gcc, in the slow test on emulated Cortex-M chips."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from skin_edge.benchmarks.bundle import micro
from skin_edge.edge_runtime import preprocess
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.model_file import read_model_file

from . import miniatures
from .test_decisions import in_format_4
from .test_ports import SANITIZED, STRICT, needs

pytestmark = pytest.mark.skipif(find_spec("tflite_micro") is None, reason="tflite-micro is not installed")

NETWORK = """
#include <string.h>
#include "golden.h"
/* stands for the network: the pictures come in the order of golden.c */
int skin_edge_invoke(const void *input, size_t input_bytes, void *output, size_t output_bytes, void *score,
                     size_t score_bytes) {
  static int next;
  (void)input;
  memcpy(score, skin_edge_goldens[next].score, score_bytes);
  if (input_bytes != 3u * SKIN_EDGE_INPUT_ROWS * SKIN_EDGE_INPUT_COLUMNS * SKIN_EDGE_INPUT_WIDTH) return 0;
  memcpy(output, skin_edge_goldens[next++].FIELD, output_bytes);
  if (BROKEN) memset(output, 0, output_bytes);
  return 1;
}
"""

# Of TFLite Micro what tflm.cc calls, to see that it is C++ and calls that rightly.
DECLARATIONS = {
    "micro_interpreter.h": """#include <cstddef>
        #include <cstdint>
        enum TfLiteStatus { kTfLiteOk };
        struct TfLiteTensor { union { void *data; } data; size_t bytes; };
        namespace tflite {
        struct Model;
        class MicroOpResolver {};
        struct MicroInterpreter {
          MicroInterpreter(const Model *, const MicroOpResolver &, uint8_t *, size_t);
          TfLiteStatus AllocateTensors(), Invoke();
          TfLiteTensor *input(size_t), *output(size_t);
          size_t arena_used_bytes() const;
        };
        }""",
    "micro_mutable_op_resolver.h": """namespace tflite {
        template <unsigned int count> struct MicroMutableOpResolver : MicroOpResolver {
          TfLiteStatus AddConv2D(), AddMean(), AddFullyConnected(), AddSoftmax(), AddQuantize(), AddDequantize();
        };
        }""",
}


def complete(described):
    """A contract of format 4 with all that the C port reads."""
    in_format_4(described)
    described["notice"] = 'For "tests".'
    described["input"] |= {"scale": 0.007843137718737125, "zero_point": 128}
    described["outputs"] = [{"name": "probabilities", "shape": [1, 7], "dtype": "float32"}]


@pytest.fixture(scope="module")
def tiny(tiny_int8, tmp_path_factory):
    folder = tmp_path_factory.mktemp("micro")
    model = miniatures.resealed(tiny_int8, folder / "tiny4.tflite", complete)
    own = folder / "own" / 'a "quoted" \\ \N{LATIN SMALL LETTER E WITH ACUTE}.png'
    own.parent.mkdir()
    miniatures.picture("mel", 0, (9, 7)).save(own)
    assert run(["bundle", str(model), "--micro", "--out", str(folder / "out"), "--pictures", str(own.parent)]) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def tiny_limited(tiny_int8, tmp_path_factory):
    """The micro/ folder of a model with limits and sets of possible classes."""
    folder = tmp_path_factory.mktemp("limited")

    def change(described):
        complete(described)
        dark = {"feature": "luma", "below": 36000, "reason": "too_dark", "text": 'too "dark"', "remedy": "more light"}
        empty = {"feature": "contrast", "below": 3, "reason": "empty", "text": "empty", "remedy": ""}
        described |= {"format_version": 6, "assessment": {"version": 1, "checks": [dark, empty]}}
        described["possible"] = {"coverage": 0.9, "thresholds": [0.1] * 7}

    model = miniatures.resealed(tiny_int8, folder / "tiny6.tflite", change)
    assert run(["bundle", str(model), "--micro", "--out", str(folder / "out")]) == 0
    return folder / "out" / "micro"


def test_the_self_test_of_a_model_with_limits(tiny_limited, tmp_path):
    """What cannot be assessed is said in the place of a class, and other features or reasons are no level."""
    code, said = self_test(tiny_limited, tmp_path)
    assert code == 0 and said.endswith("5 pictures: level A\n")
    assert ": cannot assess, A" in said
    config = (tiny_limited / "config.h").read_text()
    assert "#define SKIN_EDGE_MAX_CHECKS 2\n" in config and "#define SKIN_EDGE_SCORE_BYTES 0\n" in config
    for path in tiny_limited.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    golden = (tmp_path / "golden.c").read_text()
    features = re.search(r"int32_t features_0\[\] = \{(\d+)", golden)
    (tmp_path / "golden.c").write_text(golden[: features.start(1)] + "7" + golden[features.end(1) :])
    code, said = self_test(tmp_path, tmp_path)
    assert code == 3 and ": other features" in said
    (tmp_path / "golden.c").write_text(golden.replace('"too_dark', '"too_bright'))
    assert self_test(tmp_path, tmp_path)[0] == 3


def self_test(folder: Path, out: Path, *options: str, network: str = "") -> tuple[int, str]:
    """Builds and runs it on this machine, with five pictures. network: what stands for it, if any."""
    sources = [str(folder / f"{name}.c") for name in ("selftest", "port", "golden", "model")]
    if network:
        (out / "network.c").write_text(network)
        sources.append(str(out / "network.c"))
        options = ("-DSKIN_EDGE_NETWORK", *options)
    five = "-DSKIN_EDGE_GOLDEN_PICTURES=5"
    command = [needs("gcc"), *STRICT, *SANITIZED, five, *options, f"-I{folder}", *sources, "-o", str(out / "selftest")]
    subprocess.run(command, check=True)
    done = subprocess.run([str(out / "selftest")], capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_the_self_test_is_level_a_without_the_network(tiny, tmp_path):
    code, said = self_test(tiny / "micro", tmp_path)
    assert code == 0 and said.endswith(
        "the network was left out: golden outputs stood for its own\n5 pictures: level A\n"
    )
    assert 'pictures/own/a "quoted" \\ é.png: ' in said


@pytest.mark.parametrize(
    ("field", "broken", "level", "last"),
    [("output", 0, 0, "level A"), ("tflm_output", 0, 1, ""), ("output", 1, 3, "refused")],
)
def test_the_self_test_with_a_network(tiny, tmp_path, field, broken, level, last):
    network = NETWORK.replace("FIELD", field).replace("BROKEN", str(broken))
    code, said = self_test(tiny / "micro", tmp_path, network=network)
    assert code <= level and last in said.splitlines()[-1]
    assert (code == 3) == bool(broken)
    if field == "tflm_output":
        assert "not the bytes of TFLite Micro" not in said


def test_a_changed_pixel_is_noticed(tiny, tmp_path):
    for path in (tiny / "micro").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "golden.c").read_text()
    start = text.index("{\n", text.index("pixels_1[]")) + 2
    (tmp_path / "golden.c").write_text(
        text[:start] + str(255 - int(text[start:].split(",")[0])) + text[text.index(",", start) :]
    )
    code, said = self_test(tmp_path, tmp_path)
    assert code == 3 and "the resized picture has other bytes" in said


def test_tflite_micros_part_is_cpp(tiny, tmp_path):
    folder = tmp_path / "tensorflow" / "lite" / "micro"
    folder.mkdir(parents=True)
    for name, content in DECLARATIONS.items():
        (folder / name).write_text(content)
    (tmp_path / "tensorflow" / "lite" / "schema").mkdir()
    schema = "namespace tflite { const Model *GetModel(const void *); }"
    (tmp_path / "tensorflow" / "lite" / "schema" / "schema_generated.h").write_text(schema)
    micro_folder = tiny / "micro"
    command = [needs("g++"), "-std=c++17", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    subprocess.run([*command, f"-I{tmp_path}", f"-I{micro_folder}", str(micro_folder / "tflm.cc")], check=True)


def test_what_is_generated_is_the_models_own(tiny):
    config = (tiny / "micro" / "config.h").read_text()
    model = read_model_file(tiny / "model.tflite")
    assert f"#define SKIN_EDGE_MODEL_BYTES {len(model.content)}\n" in config
    assert "#define SKIN_EDGE_MEASURED_ARENA_BYTES 8416\n" in config and "#define SKIN_EDGE_OPERATORS 6\n" in config
    array = (tiny / "micro" / "model.c").read_text().partition("{\n")[2]
    assert bytes(map(int, re.findall(r"\d+", array))) == model.content
    assert "micro/" not in "".join(path for path in json.dumps(sorted(micro.sources())))


def test_a_bundle_without_it_has_no_micro(handover):
    assert not (handover / "micro").exists() and not (handover / "ports" / "micro").exists()


def test_what_tflite_micro_cannot_run_is_no_bundle(tiny_int8, tmp_path, capsys, monkeypatch):
    model = miniatures.resealed(tiny_int8, tmp_path / "tiny4.tflite", complete)
    monkeypatch.setattr(micro, "measure_arena", lambda content: {"runs": False, "why": "it has no GELU"})
    assert run(["bundle", str(model), "--micro", "--out", str(tmp_path / "out")]) == 2
    assert "cannot run on TFLite Micro: it has no GELU" in miniatures.one_line(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("chip", "code_bytes"), [("m4", 17000), ("m7", 17000)])
def test_on_an_emulated_chip(chip, code_bytes, handover, tmp_path):
    """All golden pictures but the one of 12 megapixels, on QEMU's Cortex-M4 and M7: level A."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm", "make"):
        needs(tool)
    file = read_model_file(handover / "model.tflite")
    records = [json.loads(line) for line in (handover / "golden" / "golden.jsonl").read_text().splitlines()]
    good = [record for record in records if "error" not in record]
    uprights = {
        record["file"]: preprocess.decode((handover / "golden" / record["file"]).read_bytes()).tobytes()
        for record in good
    }
    inputs = {record["input"]["file"]: (handover / "golden" / record["input"]["file"]).read_bytes() for record in good}
    different = sorted({record["upright"]["sha256"] for record in good if len(uprights[record["file"]]) <= 3_000_000})
    assert len(different) > 20
    for half in (different[::2], different[1::2]):  # the boards' memory for pictures is 16 MB
        some = [record for record in records if "error" in record or record["upright"]["sha256"] in half]
        for name, content in micro.contents(file, some, inputs, uprights, most_bytes=3_000_000).items():
            (tmp_path / name).write_bytes(content)
        subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)
        done = subprocess.run(["make", "-s", f"run-{chip}"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout.splitlines()
        assert said[-1] == f"{len(half)} pictures: level A"
        assert sum(line.endswith(", A") for line in said) == len(half)
        (stack,) = re.findall(r"^stack: (\d+) bytes$", done.stdout, re.M)
        assert int(stack) < 2048
    size = subprocess.run(["make", "-s", "size"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    text = int(re.findall(rf"^\s*(\d+).*build/{chip}/port.o$", size, re.M)[0])
    print(f"Cortex-{chip.upper()}: stack {stack} bytes, the port's code {text} bytes")
    assert text < code_bytes
