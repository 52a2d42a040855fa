"""The family of packaged models: what its names mean, and that each member that is there is whole."""

from __future__ import annotations

import hashlib
import json
import re
import shutil

import pytest

from skin_edge.benchmarks.bundle import hand_over
from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime import info, packaged
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ModelFileError
from skin_edge.edge_runtime.model_file import read_model_file

MEMBERS = packaged.there()


def error(capsys) -> str:
    output = capsys.readouterr()
    (line,) = output.err.splitlines()
    return line


@pytest.fixture
def family(tiny_int8, tmp_path, monkeypatch):
    """An installation with a default and a small model, whose card is there; its folder."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setattr(packaged, "_FOLDER", folder)
    shutil.copy(DEFAULT_MODEL, packaged.file_of("default"))
    shutil.copy(tiny_int8, packaged.file_of("small"))
    digest = hashlib.sha256(tiny_int8.read_bytes()).hexdigest()
    packaged.card_of("small").write_text(
        f"# Model card: small\n\n- For: tests.\n\n{digest}\n\n| balanced accuracy | 0.500 (0.400 to 0.600) |\n"
    )
    return folder


def test_a_name_is_the_packaged_model_in_python_and_a_path_is_a_file(family, tiny_float32, tmp_path, monkeypatch):
    """Also where a file of that very name lies in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").write_bytes(tiny_float32.read_bytes())
    assert SkinClassifier("small").path == read_model_file("small").path == packaged.file_of("small")
    for given in ("./small", packaged.Path("small"), tmp_path / "small"):
        file = read_model_file(given)
        assert file.path == tmp_path / "small"
        assert read_model_file(str(file.path)).content == tiny_float32.read_bytes(), "named again, it is the same"
    assert SkinClassifier().path == SkinClassifier("default").path == packaged.file_of("default")
    with pytest.raises(ModelFileError, match="'large' is not in this installation; there: small, default"):
        SkinClassifier("large")


def test_a_name_is_the_packaged_model_on_every_command(family, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    image = picture("mel", name="small/mel.jpg")  # a folder of that very name
    assert run(["info", "small", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(packaged.file_of("small"))
    answers = []
    for words in (["small", str(image)], [str(image), "--model", "small"], ["small", "small"]):
        assert run(["predict", *words, "--json"]) == 0, words
        answers.append(json.loads(capsys.readouterr().out)["probabilities"])
    assert answers[0] == answers[1] == answers[2]
    for number, words in enumerate((["small", "small"], ["./small", "--model", "small"])):
        out = tmp_path / f"{number}.jsonl"
        assert run(["watch", *words, "--once", "--settle", "0.1", "--out", str(out)]) == 0, words
        assert json.loads(out.read_text().splitlines()[-1])["probabilities"] == answers[0]
    capsys.readouterr()
    bench = ["bench", "small", "--reference", "small", "--num-runs", "1", "--warmup-runs", "0", "--cold-starts", "0"]
    assert run([*bench, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["path"] == str(packaged.file_of("small"))
    assert run(["bundle", "large", "--out", "bundle"]) == 1
    assert error(capsys).startswith("error: the packaged model 'large' is not in this installation")


@pytest.mark.parametrize("command", ["predict", "watch"])
def test_a_name_alone_is_no_folder_of_images(family, picture, tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    picture("mel", name="small/mel.jpg")
    more = ["--once", "--settle", "0.1", "--out", "a.jsonl"] if command == "watch" else []
    assert run([command, "small", *more]) == 2
    assert "small is the packaged model; ./small is a f" in error(capsys)
    assert run([command, "./small", "--model", "small", *more]) == 0


@pytest.mark.parametrize("command", ["info", "predict", "bench", "bundle", "web", "serve", "debug-quantization"])
def test_a_member_that_is_not_there_is_one_line_with_those_that_are(family, command, tmp_path, capsys):
    more = {"predict": ["x.jpg"], "bundle": ["--out", str(tmp_path / "o")], "web": ["--out", str(tmp_path / "o")]}
    assert run([command, "large", *more.get(command, [])]) == run(["info", str(tmp_path / "missing.tflite")]) == 1
    assert "'large' is not in this installation; there: small, default" in capsys.readouterr().err


def test_help_names_the_members_that_are_there(family, capsys):
    for command, expected in {
        "info": "[small|default|MODEL.tflite]",
        "bench": "[small|default|MODEL.tflite]...",
        "evaluate": "RUN|small|default|MODEL.tflite DATA",
        "predict": "--model small|default|MODEL.tflite",
    }.items():
        assert run([command, "--help"]) == 0
        assert expected in capsys.readouterr().out
    packaged.file_of("small").unlink()
    assert run(["info", "--help"]) == 0
    assert "[default|MODEL.tflite]" in capsys.readouterr().out


def test_the_list_of_the_family_is_out_of_files_and_cards(family, capsys):
    assert run(["info", "--packaged", "--json"]) == 0
    small, default = json.loads(capsys.readouterr().out)
    spec = read_model_file("small").input_spec
    assert (small["name"], small["width"], small["height"]) == ("small", spec.width, spec.height)
    assert small["bytes"] == packaged.file_of("small").stat().st_size
    assert small["for"] == "tests." and small["figures"] == {"balanced accuracy": "0.500 (0.400 to 0.600)"}
    assert default["card"] is None and default["figures"] == {}
    assert run(["info", "--packaged"]) == 0
    assert "0.500 (0.400 to 0.600)   not known" in capsys.readouterr().out
    packaged.card_of("small").write_text(packaged.card_of("small").read_text().replace("- For", "another\n\n- For"))
    card = packaged.card_of("small")
    card.write_text(re.sub(r"[0-9a-f]{64}", "0" * 64, card.read_text()))  # a card of another file is not quoted
    assert info.family()[0]["figures"] == {} and info.family()[0]["for"] == ""
    assert run(["info", "small", "--packaged"]) == 2


def test_a_bundle_has_the_card_of_its_member(family, tiny_int8):
    from .miniatures import resealed
    from .test_decisions import in_format_4

    model = resealed(tiny_int8, packaged.file_of("small"), in_format_4)
    (family / "LICENSE.txt").write_text("terms")
    card = f"# Card of the small one\n\n{hashlib.sha256(model.read_bytes()).hexdigest()}\n"
    packaged.card_of("small").write_text(card)
    packaged.card_of("default").write_text("# Card of another")
    _, made = hand_over.contents(model)
    assert made["MODEL_CARD.md"].decode() == card and made["LICENSE.txt"] == b"terms"


# ---- Each member that is in this checkout ----


def test_the_default_is_there_and_the_folder_holds_the_family_alone():
    assert packaged.DEFAULT in MEMBERS
    folder = DEFAULT_MODEL.parent
    family = {path for name in MEMBERS for path in (packaged.file_of(name), packaged.card_of(name))}
    assert {path for path in folder.iterdir() if path.name != "__pycache__"} == {*family, folder / "LICENSE.txt"}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_is_no_larger_than_its_size_says(name):
    """MB of the file: a chip's flash, or an app's download."""
    most = {"small": 1.0, "default": 4.0, "large": 4.0}
    assert packaged.file_of(name).stat().st_size < most[name] * 1e6


@pytest.mark.parametrize("name", MEMBERS)
def test_the_card_of_a_member_is_that_of_its_file(name):
    """Figures of another file would be wrong: whoever replaces one replaces both."""
    card = packaged.card_of(name).read_text(encoding="utf-8")
    assert hashlib.sha256(packaged.file_of(name).read_bytes()).hexdigest() in card
    assert card.startswith(f"# Model card: {packaged.file_of(name).name}\n")
    assert "Not a medical device" in card and "CC BY-NC 4.0" in card
    frozen = [row for row in read_model_file(name).contract["thresholds"] if row["target"] in ("mel", "malignant")]
    assert len(frozen) == 4
    for row in frozen:
        assert f"| {row['threshold']:.4f} |" in card, row
        assert f"{row['borderline_within']:.4f}" in card, row
    (member,) = [member for member in info.family() if member["name"] == name]
    assert member["for"] and len(member["figures"]) == 2, "the list of the family reads them in the card"


@pytest.mark.parametrize("name", MEMBERS)
def test_the_contract_of_a_member_says_all_that_an_app_needs(name):
    contract = read_model_file(name).contract  # whose seal and form are checked by that
    assert contract["format_version"] == 6 and contract["input"]["bytes"] == "unchanged"
    names = [read_model_file(other).contract["name"] for other in MEMBERS]
    assert names.count(contract["name"]) == 1, "bundles are called by it"
    assert contract["license"] and contract["intended_use"]
    assert contract["assessment"] and contracts.possible_thresholds(contract)
    assert "int8" in contract["precision"]


@pytest.mark.parametrize("name", MEMBERS)
def test_a_bundle_of_a_member_is_whole(name):
    _, made = hand_over.contents(packaged.file_of(name))
    lines = [json.loads(line) for line in made["golden/golden.jsonl"].splitlines()]
    assert any("probabilities" in json.dumps(line) for line in lines)
    assert made["MODEL_CARD.md"] == packaged.card_of(name).read_bytes()
    assert made["LICENSE.txt"] == DEFAULT_MODEL.with_name("LICENSE.txt").read_bytes()
    assert made["model.tflite"] == packaged.file_of(name).read_bytes()
