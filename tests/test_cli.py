"""The command line: help, exit codes, one line per error, and what is not imported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from skin_edge.edge_runtime import __version__
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, DISCLAIMER
from skin_edge.edge_runtime.cli import COMMANDS, run

from . import miniatures
from .miniatures import one_line


def predict(*arguments):
    return run(["predict", *map(str, arguments)])


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_every_command_has_help_with_an_example(command, capsys):
    assert run([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example:" in out, "the docstring of the command's function needs an example"
    assert " ".join(["skin-edge", *command]) in out.split("Example:")[1], "the example calls the command"
    assert max(map(len, out.splitlines())) <= 80


def test_version(capsys):
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_an_unknown_command_lists_the_known(capsys):
    assert run(["prdict"]) == 2
    error = one_line(capsys)
    assert all(name in error for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["pedict", "x.jpg"], "predict"),
        (["train", "x", "--out", "y", "--epcohs", "3"], "--epochs"),
        (["train", "x", "--out", "y", "--recipe", "Mobilnet"], "mobilenet"),
        (["train", "x", "--out", "y", "--set", "learning_rat=1"], "learning_rate"),
        (["train", "x", "--out", "y", "--set", "augmentation.rotaton=1"], "augmentation.rotation"),
        (["train", "x", "--out", "y", "--set", "rotaton=1"], "augmentation.rotation"),
        (["train", "x", "--out", "y", "--set", "loss=focall"], "focal"),
        (["data", ".", "--clean", "age_zero"], "age-zero"),
        (["data", ".", "--layout", "ham10000"], "ham10000-kaggle"),
        (["bench", "--gate", "gate.yaml"], "min_agreement"),
    ],
)
def test_what_was_meant_is_suggested(arguments, meant, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate.yaml").write_text("min_agrement: 0.9\n")
    assert run(arguments) == 2
    assert f"id you mean '{meant}'" in one_line(capsys)


def test_every_option_of_train_is_in_a_section(capsys):
    assert run(["train", "--help"]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.endswith(":") and line[0].isalpha()]
    assert titles == ["Data:", "Split:", "Network:", "Training:", "Machine:", "Output:", "Options:"]


def test_predict_prints_a_line_per_image_and_the_notice(tiny_int8, picture, capsys):
    images = [picture(code, name=f"{code}.jpg") for code in ("mel", "nv")]
    assert predict(tiny_int8, *images, "--top-k", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == DISCLAIMER
    assert "mel" in lines[0] and "melanoma" in lines[0]
    assert "nv" in lines[1] and "melanocytic nevus" in lines[1]


def test_predict_json_is_one_object_per_file(tiny_int8, picture, capsys):
    images = [picture(code, name=f"{code}.jpg") for code in miniatures.COLOURS]
    assert predict(tiny_int8, *images, "--json") == 0
    output = capsys.readouterr()
    records = [json.loads(line) for line in output.out.splitlines()]
    assert [record["label"] for record in records] == list(miniatures.COLOURS)
    assert [record["file"] for record in records] == [str(image) for image in images]
    assert all(set(record["probabilities"]) == set(miniatures.COLOURS) for record in records)
    assert all(record["preprocess_ms"] > 0 and record["inference_ms"] > 0 for record in records)
    assert DISCLAIMER in output.err


@pytest.mark.parametrize("as_json", [True, False])
def test_one_bad_image_is_reported_for_itself(tiny_int8, picture, tmp_path, capsys, as_json):
    good, bad = picture("mel"), tmp_path / "bad.jpg"
    bad.write_bytes(good.read_bytes()[:200])
    assert predict(tiny_int8, good, bad, tmp_path / "absent.jpg", good, *["--json"] * as_json) == 1
    lines = capsys.readouterr().out.splitlines()[:4]
    if as_json:
        records = [json.loads(line) for line in lines]
        assert ["error" in record for record in records] == [False, True, True, False]
        assert all("label" not in record for record in records if "error" in record)
        assert "damaged" in records[1]["error"]
    else:
        assert ["cannot assess" in line for line in lines] == [False, True, True, False]


@pytest.mark.parametrize(
    ("model", "code", "says"),
    [
        ("absent.tflite", 1, "no such model"),
        ("text.tflite", 1, "not a TFLite model"),
        ("cut.tflite", 1, "cut.tflite"),
        ("folder.tflite", 1, "is a folder"),
    ],
)
@pytest.mark.parametrize("command", ["predict", "bench"])
def test_a_bad_model_is_one_line(command, model, code, says, tiny_int8, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tflite").write_text("this is a text file, not a network\n")
    (tmp_path / "cut.tflite").write_bytes(tiny_int8.read_bytes()[:3000])
    (tmp_path / "folder.tflite").mkdir()
    assert run([command, model, *([str(picture())] if command == "predict" else [])]) == code
    assert says in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["p.jpg", "m.tflite"], "give only one"),
        (["m.tflite", "m.tflite", "p.jpg"], "give only one"),
        (["folder", "p.jpg"], "not a model for the device"),
        (["model.keras", "p.jpg"], "not a model for the device"),
        (["m.tflite", "p.jpg", "--num-threads", "50000"], "256"),
    ],
)
def test_no_other_model_answers_than_the_one_that_was_meant(
    arguments, says, tiny_int8, picture, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    picture(name="p.jpg")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.yaml").write_text("of a run")
    (tmp_path / "model.keras").write_bytes(b"PK")
    (tmp_path / "m.tflite").write_bytes(tiny_int8.read_bytes())
    assert predict(*arguments) == 2
    output = capsys.readouterr()
    assert output.out == "" and says in output.err


def test_a_model_by_another_name_is_recognised(tiny_int8, picture, tmp_path, capsys):
    (tmp_path / "model.bin").write_bytes(tiny_int8.read_bytes())
    assert predict(tmp_path / "model.bin", picture("mel")) == 0
    output = capsys.readouterr()
    assert "melanoma" in output.out and "packaged" not in output.err


def test_no_command_is_one_line(capsys):
    assert run([]) == 2
    assert "Missing command" in one_line(capsys)


def test_predict_without_an_image(tiny_int8, capsys):
    assert predict(tiny_int8) == 2
    assert "no image given" in one_line(capsys)
    assert predict() == 2


@pytest.mark.skipif(not DEFAULT_MODEL.is_file(), reason="this checkout holds no packaged model")
def test_without_a_model_the_packaged_one_answers(tiny_int8, picture, capsys):
    """Or refuses the drawn picture, where it can."""

    def answer(*arguments):
        code = predict(*arguments, picture(), "--json")
        found = json.loads(capsys.readouterr().out)
        return code, {key: value for key, value in found.items() if not key.endswith("_ms")}

    assert answer() == answer(DEFAULT_MODEL)
    assert answer() != answer(tiny_int8)


def test_predict_and_help_import_nothing_heavy(tiny_int8, picture):
    code = (
        "import sys; from skin_edge.edge_runtime.cli import run\n"
        f"assert run(['predict', {str(tiny_int8)!r}, {str(picture())!r}]) == 0\n"
        "for command in ('train', 'convert', 'bench', 'quickstart'):\n"
        "    assert run([command, '--help']) == 0\n"
        "heavy = {'tensorflow', 'tf_keras', 'keras', 'pandas', 'sklearn', 'matplotlib', 'yaml', 'jinja2'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "nothing of the engine's chatter"


def test_help_needs_neither_numpy_nor_pillow():
    code = (
        "import sys; from skin_edge.edge_runtime.cli import run\n"
        "assert run(['--help']) == 0\n"
        "assert not {'numpy', 'PIL'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("command", "missing", "extra"),
    [
        (["train", "data", "--out", "run"], "pandas", "train"),
        (["convert", "run", "--int8"], "pandas", "train"),
        (["quickstart", "--out", "new"], "pandas", "train"),
        (["bench", "--gate", "limits.yaml"], "yaml", "bench"),
        (["bench", "--html", "page.html"], "jinja2", "bench"),
    ],
)
def test_a_missing_extra_is_answered_with_the_pip_line(command, missing, extra, tmp_path, tiny_int8):
    """In a process where the package cannot be imported, as after the device install."""
    miniatures.class_folders(tmp_path / "data")
    (tmp_path / "limits.yaml").write_text("max_file_mb: 1\n")
    if command[0] == "bench":
        command = ["bench", str(tiny_int8), *command[1:]]
    code = (
        f"import sys; sys.modules[{missing!r}] = None\nfrom skin_edge.edge_runtime.cli import main; main({command!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and not done.stdout  # said before any work
    (line,) = done.stderr.splitlines()
    assert (
        line.startswith("error: ") and f"this needs {missing}" in line and f'pip install "skin-edge[{extra}]"' in line
    )


def test_the_help_of_html_names_the_extra(capsys):
    assert run(["bench", "--help"]) == 0
    assert "Jinja2: pip install 'skin-edge[bench]'" in " ".join(capsys.readouterr().out.split())


def test_a_file_name_in_another_encoding_does_not_end_the_batch(tiny_int8, picture, tmp_path):
    import os

    image = picture()
    odd = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(odd, "wb") as file:  # noqa: PTH123  (a path of bytes)
        file.write(image.read_bytes())
    command = [sys.executable, "-m", "skin_edge.edge_runtime.cli", "predict", str(tiny_int8), odd, str(image), "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["nv", "nv"]


def test_a_closed_pipe_is_no_traceback(tiny_int8, picture):
    image = picture()
    command = f"{sys.executable} -m skin_edge.edge_runtime.cli predict {tiny_int8} " + f"{image} " * 300 + "| head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stderr == ""
