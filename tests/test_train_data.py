"""From other data than HAM10000 to a run, and on to a file for the device."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
import yaml

from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.train import prepare
from skin_edge.train.data import tables
from skin_edge.train.data.layouts import read_dataset
from skin_edge.train.runs import run_folder

from . import layout_miniatures as small
from . import miniatures
from .miniatures import SMALL, one_line

OWN = ["--image-column", "file", "--label-column", "finding", "--group-column", "person"]


def train(*arguments):
    return run(["train", *map(str, arguments)])


def chosen(data, split, lines, **settings):
    told = miniatures.settings(data, data / "run", split=split, near_duplicates=False, **settings)
    return prepare.choose(read_dataset(data), told, lines.append, {})[0]


@pytest.mark.parametrize("split", ["lesion", "random"])
def test_the_official_test_part_never_trains(tmp_path, split):
    data, lines = small.ham10000_dataverse(tmp_path), []
    frame = chosen(data, split, lines)
    assert set(frame["official"]) == {"train"} and len(frame) == 42
    assert lines == ["14 images of the official val and test parts are left out (--split official uses them)"]


def test_the_official_parts_are_the_split(tmp_path):
    data, lines = small.isic2018_task3(tmp_path), []
    frame = chosen(data, "official", lines)
    assert (frame["split"] == frame["official"]).all() and len(frame) == 63 and not lines
    sample = chosen(data, "official", lines, limit=30)
    assert len(sample) < 60 and (sample["split"] == sample["official"]).all()
    assert sample.groupby("label")["split"].nunique().eq(3).all()


def test_a_run_of_before_has_no_further_columns(tiny_run, tmp_path):
    older = shutil.copytree(tiny_run, tmp_path / "run")
    split = pd.read_csv(older / "split.csv", dtype=str)
    split[list(run_folder.SPLIT_COLUMNS)].to_csv(older / "split.csv", index=False)
    read = run_folder.read(older).split
    assert list(read.columns) == [*run_folder.SPLIT_COLUMNS, *tables.EXTRA_COLUMNS]
    assert set(read["group_kind"]) == {"given"}  # lesions by their ids; older runs do not say of what they are
    assert (read[list(tables.EXTRA_COLUMNS[1:])] == "").all(axis=None)
    assert set(run_folder.read(tiny_run).split["age"]) == {"55.0"}


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ham", "--layout", "isic"], 2, "known: ham10000-kaggle, ham10000-dataverse,"),
        (["ham", "--layout", "isic2019"], 1, "is not in layout isic2019: ISIC 2019: ISIC_2019_Training"),
        (["ham", "--split", "official"], 2, "(ham10000-kaggle) has no official test part"),
        (["ham", "--labels", "classes.csv"], 1, "label 'akiec' of ISIC_0000000 is not in classes.csv: mel, nv"),
        (["ham", "--labels", "absent.csv"], 2, "--labels absent.csv: no such file"),
        (
            ["isic2024"],
            1,
            "40 of 40 images have no diagnosis that is a class: --task malignant uses the data set's target",
        ),
        (["ham", "--image-column", "image_id"], 1, "has no column label; needed: image_id, label; found: lesion_id"),
    ],
)
def test_what_is_wrong_with_the_data_is_said_in_one_line(ham, tmp_path, monkeypatch, capsys, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ham").symlink_to(ham)
    small.isic2024(tmp_path / "isic2024")
    (tmp_path / "classes.csv").write_text("code,name,malignant\nmel,,1\nnv,,0\n")
    assert train(*arguments, "--out", "run", *SMALL) == code
    assert says in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_own_classes_reach_the_device(tmp_path, capsys):
    data = small.plain_csv(tmp_path / "data", groups=8)
    classes = tmp_path / "classes.csv"
    classes.write_text("code,name,malignant\nwart,a wart,0\ntumour,a tumour,1\nmole,a mole,\n")
    expected = [("wart", "a wart", False), ("tumour", "a tumour", True), ("mole", "a mole", None)]
    out = tmp_path / "run"
    flags = ["--recipe", "quickstart", "--image-size", 32, "--batch-size", 8, "--epochs", 2]
    assert train(data, "--out", out, *OWN, "--labels", classes, *flags) == 0
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert [tuple(label.values()) for label in config["labels"]] == expected
    split = pd.read_csv(out / "split.csv")
    assert list(split.columns) == ["path", "image_id", "group", "label", "split", "group_kind", "age"]
    assert split.groupby("group")["split"].nunique().max() == 1
    assert run(["convert", str(out), "--int8", "--ptq"]) == 0
    classifier = SkinClassifier(out / "int8-ptq" / "model_int8.tflite")
    assert [tuple(label) for label in classifier.labels] == expected
    assert (out / "int8-ptq" / "labels.txt").read_text().split() == ["wart", "tumour", "mole"]
    contract = json.loads((out / "int8-ptq" / "metadata.json").read_text())
    assert [tuple(label.values()) for label in contract["labels"]] == expected
    assert {row["target"] for row in contract["thresholds"]} == {"tumour"}
    assert set(classifier.predict(data / split["path"][0]).probabilities) == {"wart", "tumour", "mole"}
    # Resumed, a run needs none of its flags again, and takes no others.
    (out / "metrics.json").unlink()
    classes.write_text("code,name,malignant\nmole,,\ntumour,,1\nwart,,0\n")
    capsys.readouterr()
    assert train(data, "--out", out, "--resume", "--labels", classes) == 2
    assert "other settings (labels)" in one_line(capsys)
    assert train(data, "--out", out, "--resume", "--task", "malignant") == 2
    assert "other settings (task)" in one_line(capsys)
    assert train(data, "--out", out, "--resume") == 0


@pytest.mark.slow
def test_malignant_or_not_from_pictures_in_hdf5(tmp_path, capsys):
    data, out = small.isic2024(tmp_path / "data", patients=24), tmp_path / "run"
    flags = ["--recipe", "quickstart", "--image-size", 32, "--batch-size", 8, "--epochs", 2]
    assert train(data, "--out", out, "--task", "malignant", *flags) == 0
    assert "no diagnosis: malignant, 12 images, according to the data set's target" in capsys.readouterr().err
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["task"] == "malignant"
    assert [(row["side"], row["images"]) for row in config["benign_or_malignant"]] == [
        ("benign", 108),
        ("malignant", 12),
    ]
    split = pd.read_csv(out / "split.csv", dtype=str, keep_default_na=False)
    assert (split["label"] == split["malignant"].map({"1": "malignant", "0": "benign"})).all()
    assert split["path"].str.contains("train-image.hdf5::ISIC_").all()
    assert set(split["diameter_mm"]) == {"3.16"}
    assert run(["convert", str(out), "--int8", "--ptq"]) == 0
    model = out / "int8-ptq" / "model_int8.tflite"
    assert [(label.code, label.malignant) for label in SkinClassifier(model).labels] == [
        ("benign", False), ("malignant", True)
    ]  # fmt: skip
    capsys.readouterr()
    assert run(["bench", str(model), "--data", str(out / "split.csv"), "--num-runs", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["model"]["n"] == (split["split"] == "test").sum()


@pytest.mark.slow
def test_class_folders_with_their_own_parts(tmp_path):
    data, out = small.parts_of_class_folders(tmp_path / "data", parts=("train", "test"), images=8), tmp_path / "run"
    assert train(data, "--out", out, *SMALL, "--epochs", 1, "--split", "official") == 0
    split = pd.read_csv(out / "split.csv")
    assert split["split"].value_counts().to_dict() == {"test": 16, "train": 12, "val": 4}
    assert all(path.startswith("test/") == (part == "test") for path, part in split[["path", "split"]].to_numpy())
