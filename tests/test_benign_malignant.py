"""Benign and malignant as classes of their own, and words that mean one of them or a diagnosis."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError
from skin_edge.edge_runtime.labels import is_precancerous, label_for, same_label
from skin_edge.train.data import tasks
from skin_edge.train.data.layouts import read_dataset

from . import miniatures


def folders(root, names=("benign", "Malignant"), images=6):
    """Class folders of these names, drawn alternately as nevi and melanomas."""
    for position, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(images):
            picture = miniatures.picture(("nv", "mel")[position % 2], 100 * position + number)
            picture.save(root / name / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("word", "name", "malignant"),
    [
        ("Benign", "benign", False),
        ("MALIGNANT", "malignant", True),
        ("non-malignant", "benign", False),
        ("Melanoma", "melanoma", True),
        ("naevi", "melanocytic nevus", False),
        ("melanocytic_nevus", "melanocytic nevus", False),
        ("Basal-Cell Carcinoma", "basal cell carcinoma", True),
        ("pigmented benign keratosis", "benign keratosis-like lesion", False),
        ("melanoma, NOS", "melanoma", True),
        ("wart", "wart", None),
        ("melanoma?", "melanoma?", None),
        ("not melanoma", "not melanoma", None),
        ("???", "???", None),
    ],
)
def test_what_words_mean(word, name, malignant):
    assert label_for(word) == (word, name, malignant)


def test_labels_that_are_the_same():
    assert same_label("Nevus", ["mel", "nv"]) == "nv"
    assert same_label("nev", ["mel", "nv"]) == "nv"
    assert same_label("seborrheic keratosis", ["bkl", "mel"]) == "bkl"
    assert same_label("my_own class", ["My own Class", "mel"]) == "My own Class"
    assert same_label("benign", ["Benign", "Malignant"]) == "Benign"
    assert same_label("nevus", ["nv", "nev"]) is None  # which of them?
    assert same_label("wart", ["mel", "nv"]) is None
    assert is_precancerous("Actinic Keratosis") and not is_precancerous("mel")


@pytest.mark.parametrize("task", tasks.TASKS)
@pytest.mark.parametrize("with_labels", [False, True])
def test_every_task_gives_two_classes(tmp_path, task, with_labels):
    labels = None
    if with_labels:
        labels = tmp_path / "labels.csv"
        labels.write_text("code,name,malignant\nbenign,,0\nmalignant,,1\n")
    chosen, _ = tasks.for_task(read_dataset(folders(tmp_path / "data")), task, labels)
    assert [(label.code.lower(), label.malignant) for label in chosen.labels] in (
        [("benign", False), ("malignant", True)],
        [("malignant", True), ("benign", False)],
    )
    assert chosen.frame["label"].value_counts().tolist() == [6, 6]


def test_known_diagnoses_need_no_file_of_labels(tmp_path):
    data = read_dataset(folders(tmp_path, ("Melanocytic nevus", "melanoma", "solar lentigo", "BCC")))
    chosen, sides = tasks.for_task(data, "malignant")
    assert {row["diagnosis"]: row["side"] for row in sides} == {
        "BCC": "malignant", "Melanocytic nevus": "benign", "melanoma": "malignant", "solar lentigo": "benign"
    }  # fmt: skip
    assert chosen.frame["label"].value_counts().to_dict() == {"benign": 12, "malignant": 12}


def test_what_is_not_known_is_asked_for_with_the_file_to_write(tmp_path):
    data = read_dataset(folders(tmp_path / "data", ("nevus", "melanoma", "wart")))
    with pytest.raises(DataError) as caught:
        tasks.for_task(data, "malignant")
    lines = "code,name,malignant | melanoma,melanoma,1 | nevus,melanocytic nevus,0 | wart,wart,?"
    assert f"it is not known whether 'wart' (6 images) is malignant: write labels.csv with the lines {lines}" in str(
        caught.value
    )
    (tmp_path / "labels.csv").write_text(lines.replace(" | ", "\n").replace("?", "0"))
    assert len(tasks.for_task(data, "malignant", tmp_path / "labels.csv")[0].labels) == 2


def test_labels_in_a_models_own_words():
    rows = pd.DataFrame(
        {"label": ["mel", "Nevus", "wart", "ak", "BENIGN", ""], "malignant": ["", "1", "", "0", "", "1"]}
    )
    labels, lines = tasks.as_classes(rows, ["Benign", "malignant"])
    assert labels.tolist() == ["malignant", "malignant", "wart", "Benign", "Benign", "malignant"]
    assert len(lines) == 5 and "  mel: counts as malignant, 1 image" in lines
    labels, _ = tasks.as_classes(rows[["label"]], ["mel", "nv", "benign"])
    assert labels.tolist() == ["mel", "nv", "wart", "ak", "benign", ""]


def test_from_folders_to_an_answer(tmp_path, capsys):
    data = folders(tmp_path / "data", images=20)
    model = tmp_path / "run" / "int8-ptq" / "model_int8.tflite"
    assert run(["train", str(data), "--out", str(tmp_path / "run"), *miniatures.SMALL, "--epochs", "3"]) == 0
    assert run(["convert", str(tmp_path / "run"), "--int8", "--ptq"]) == 0
    other = tmp_path / "other.csv"
    rows = [
        f"data/{name}/{number}.png,{word}"
        for name, word in (("benign", "Nevus"), ("Malignant", "mel"))
        for number in (1, 2)
    ]
    other.write_text("\n".join(["path,label", *rows]) + "\n")
    capsys.readouterr()
    for measured in (tmp_path / "run", model):
        for pictures in (data, other):
            assert run(["evaluate", str(measured), str(pictures), "--split-part", "all", "--json"]) == 0
            told = json.loads(capsys.readouterr().out)
            assert told["data"]["unknown_labels"] == {}
            assert "malignant" in {point["target"] for point in told["test"]["operating_points"]}
    assert run(["predict", str(model), str(data / "Malignant" / "0.png"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["probabilities"]) == {"benign", "Malignant"}
