"""What a command line may name as pictures, and what `SkinClassifier` takes as one."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skin_edge.edge_runtime import SkinClassifier, named_pictures
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ImageError, UsageError

from . import miniatures
from .miniatures import one_line

COMMAND = [sys.executable, "-m", "skin_edge.edge_runtime.cli"]


@pytest.fixture
def clinic(tmp_path, monkeypatch):
    """Pictures in folders beside what is none; the current folder is the one that they are in."""
    monkeypatch.chdir(tmp_path)
    for name in ("clinic/one.jpg", "clinic/deep/two words.PNG", "clinic/deep/er/three.jpeg", "clinic/[odd].jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        miniatures.picture("mel", 1).save(path)
    (tmp_path / "clinic" / "deep" / "none").write_bytes((tmp_path / "clinic" / "one.jpg").read_bytes())
    for name in ("table.csv", "deep/notes.txt", "deep/other.txt", ".hidden.jpg"):
        (tmp_path / "clinic" / name).write_text("no picture")
    return tmp_path / "clinic"


ALL = [
    "clinic/[odd].jpg",
    "clinic/one.jpg",
    "clinic/deep/none",
    "clinic/deep/two words.PNG",
    "clinic/deep/er/three.jpeg",
]


@pytest.mark.parametrize(
    ("named", "images", "unused"),
    [
        (["clinic"], ALL, {".csv": 1, ".txt": 2, "hidden": 1}),
        (["clinic", "clinic"], ALL, {".csv": 1, ".txt": 2, "hidden": 1}),
        (["clinic/*.jpg"], ["clinic/[odd].jpg", "clinic/one.jpg"], {}),
        (["clinic/deep/*"], [ALL[4], ALL[2], ALL[3]], {".txt": 2}),
        (["clinic/**/*.jp*g"], sorted([ALL[0], ALL[1], ALL[4]]), {}),
        (["clinic/**"], sorted(ALL), {".csv": 1, ".txt": 2}),
        (["clinic/[odd].jpg"], ["clinic/[odd].jpg"], {}),  # a file's own name is not a pattern
        (["absent/*.jpg", "clinic/one.jpg"], ["absent/*.jpg", "clinic/one.jpg"], {}),
        (["clinic/one.jpg", "clinic/one.jpg"], ["clinic/one.jpg"] * 2, {}),
        (["a\0b[c]"], ["a\0b[c]"], {}),
    ],
)
def test_folders_and_patterns(named, images, unused, clinic):
    found = named_pictures.find(named)
    assert list(found.images) == images
    assert found.unused == unused


def test_a_folder_without_pictures_is_an_error(clinic):
    (clinic / "empty").mkdir()
    (clinic / "texts").mkdir()
    (clinic / "texts" / "a.txt").write_text("")
    for name, says in (("clinic/empty", "it is empty"), ("clinic/texts", r"1 file is not used \(.txt 1\)")):
        with pytest.raises(UsageError, match=f"{name} holds no pictures: {says}"):
            named_pictures.find(["clinic", name])


def test_predict_takes_folders_and_says_what_it_does_not_use(clinic, tiny_int8, capsys):
    assert run(["predict", str(tiny_int8), "clinic", "--json"]) == 0
    output = capsys.readouterr()
    records = [json.loads(line) for line in output.out.splitlines()]
    assert [record["file"] for record in records] == ALL
    assert {record["label"] for record in records} == {"mel"}
    assert "4 files are not used (.txt 2, .csv 1, hidden 1)" in output.err


def test_a_folder_may_come_first_unless_it_holds_a_model(clinic, tiny_int8, capsys):
    assert run(["predict", "clinic", "--assess-anything"]) == 0
    assert capsys.readouterr().out.count("clinic/") == len(ALL)
    shutil.copy(tiny_int8, clinic / "model.tflite")
    assert run(["predict", "clinic", "clinic/one.jpg"]) == 2
    assert "clinic is not a model for the device" in one_line(capsys)


@pytest.mark.parametrize("more", [[], ["clinic/one.jpg"]])
def test_predict_reads_standard_input(more, clinic, tiny_int8):
    picture = (clinic / "one.jpg").read_bytes()
    done = subprocess.run([*COMMAND, "predict", tiny_int8, *more, "-", "--json"], input=picture, capture_output=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [record["file"] for record in records] == [*more, "-"]
    assert {record["label"] for record in records} == {"mel"}


def test_what_is_wrong_with_standard_input_is_one_line(clinic, tiny_int8):
    command = [*COMMAND, "predict", str(tiny_int8), "-"]
    empty = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert empty.returncode == 1 and empty.stdout.startswith("-  cannot assess: 0 bytes is not an image")
    twice = subprocess.run([*command, "-"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert twice.returncode == 2 and twice.stderr.endswith("holds one picture: name it once\n")
    master, slave = os.openpty()
    terminal = subprocess.run(command, stdin=slave, capture_output=True, text=True)
    os.close(master), os.close(slave)
    assert terminal.returncode == 2 and "skin-edge predict - < photo.jpg" in terminal.stderr


class _Slow(io.BytesIO):
    """As a pipe or socket: a part of what is asked for."""

    def read(self, size=-1):
        return super().read(min(size, 100))


class _Broken(io.BytesIO):
    def read(self, size=-1):
        raise zipfile.BadZipFile("Bad CRC-32")


KINDS = {
    "path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "file": lambda path: path.open("rb"),
    "raw file": lambda path: path.open("rb", buffering=0),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "parts": lambda path: _Slow(path.read_bytes()),
    "Pillow": Image.open,
    "array": lambda path: np.asarray(Image.open(path)),
}


def test_all_forms_of_a_picture_have_one_answer(picture, tiny_int8):
    path = picture("mel")
    with SkinClassifier(tiny_int8) as classifier:
        expected = classifier.predict(path).probabilities
        for kind, form in KINDS.items():
            assert classifier.predict(form(path)).probabilities == expected, kind
        many = list(classifier.predict_many(form(path) for form in KINDS.values()))
    assert [answer.probabilities for answer in many] == [expected] * len(KINDS)


def test_what_is_no_picture_is_an_error_for_itself(picture, tiny_int8, tmp_path):
    path = picture("mel")
    wrong = [None, 5, [path], b"", bytearray(b"text"), path.open(), io.StringIO("text"), _Broken(), object(), tmp_path]
    with SkinClassifier(tiny_int8) as classifier:
        answers = list(classifier.predict_many([*wrong, path]))
    assert [isinstance(answer, ImageError) for answer in answers] == [True] * len(wrong) + [False]


def test_an_interactive_shell_completes_the_names():
    import skin_edge.edge_runtime as package

    assert set(package.__all__) <= set(dir(package))


@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
@pytest.mark.slow
def test_editors_know_the_types_of_the_runtime(tmp_path):
    """As an app's own checker sees an installed package: by py.typed, through the names that are loaded lazily."""
    root = Path(named_pictures.__file__).parents[1]
    (tmp_path / "site" / "skin_edge").mkdir(parents=True)
    (tmp_path / "site" / "skin_edge" / "edge_runtime").symlink_to(root / "edge_runtime")
    (tmp_path / "pyrightconfig.json").write_text('{"extraPaths": ["site"], "exclude": ["site"], "strict": ["app.py"]}')
    (tmp_path / "app.py").write_text(
        "from skin_edge.edge_runtime import Prediction, SkinClassifier, SkinEdgeError\n"
        "def label(answer: Prediction | SkinEdgeError) -> str:\n"
        "    return str(answer) if isinstance(answer, SkinEdgeError) else answer.label\n"
        "with SkinClassifier('m.tflite') as classifier, open('p.jpg', 'rb') as file:\n"
        "    for image in ('p.jpg', b'', bytearray(), memoryview(b''), file):\n"
        "        reveal_type(classifier.predict(image).probabilities)\n"
        "    print([label(answer) for answer in classifier.predict_many([b''])])\n"
        "    classifier.predict(5)\n"
    )
    done = subprocess.run(
        ["pyright", "--outputjson", "--pythonpath", sys.executable, "-p", "."], cwd=tmp_path, capture_output=True
    )
    said = [(one["severity"], one["message"]) for one in json.loads(done.stdout)["generalDiagnostics"]]
    assert ("information", 'Type of "classifier.predict(image).probabilities" is "dict[str, float]"') in said
    (error,) = [message for severity, message in said if severity == "error"]
    assert '"Literal[5]"' in error
