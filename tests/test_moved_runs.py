"""A run names nothing of the machine it was made on, and moves to another one with its data."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from skin_edge.benchmarks.inputs import locate
from skin_edge.benchmarks.inputs.cases import read_cases
from skin_edge.edge_runtime.cli import run
from skin_edge.train.data import splits
from skin_edge.train.runs import run_folder

from . import miniatures
from .miniatures import one_line

CODES = list(miniatures.COLOURS)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A run trained on HOME/data/ham, in HOME/runs/first; and what the run's texts say of that HOME."""
    home = tmp_path_factory.mktemp("home-of-alice")
    data = miniatures.ham10000(home / "data" / "ham")
    assert run(["train", str(data), "--out", str(home / "runs" / "first"), *miniatures.SMALL, "--epochs", "1"]) == 0
    return home


@pytest.fixture
def laptop(server, tmp_path):
    """Another home, to which both folders were moved, and are otherwise than before."""
    shutil.copytree(server / "data" / "ham", tmp_path / "pictures" / "of" / "ham")
    shutil.copytree(server / "runs" / "first", tmp_path / "first")
    shutil.move(server / "data", server / "gone")
    yield tmp_path
    shutil.move(server / "gone", server / "data")


def test_no_file_of_a_run_names_the_machine(server):
    folder = server / "runs" / "first"
    for path in folder.iterdir():
        if path.suffix in (".csv", ".yaml", ".json", ".html", ".txt"):
            text = path.read_text()
            assert "alice" not in text, path.name
            assert str(server) not in text, path.name
    rows = pd.read_csv(folder / "split.csv")
    assert set(rows["path"].str.split("/").str[0]) == {"HAM10000_images_part_1", "HAM10000_images_part_2"}
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["data"]["folder"] == config["data"]["pictures"] == "../../data/ham"
    mistakes = json.loads((folder / "metrics.json").read_text())["mistakes"]
    assert all(not case["path"].startswith("/") for kind in mistakes.values() for case in kind["shown"])


def test_what_a_run_names_is_found_from_anywhere(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = run_folder.read(server / "runs" / "first")
    assert all(map(locate.os.path.isfile, read.split["path"]))
    cases = read_cases(server / "runs" / "first" / "split.csv", split="all", known_labels=CODES)
    assert sorted(str(case.path.resolve()) for case in cases) == sorted(read.split["path"])
    shutil.copytree(server, tmp_path / "whole")  # both together, without a word
    moved = run_folder.read(tmp_path / "whole" / "runs" / "first")
    assert all(path.startswith(str(tmp_path / "whole" / "data")) for path in moved.split["path"])
    assert all(map(locate.os.path.isfile, moved.split["path"]))


def test_trained_on_a_server_converted_on_a_laptop(laptop, capsys):
    first, images = str(laptop / "first"), ["--images", str(laptop / "pictures")]
    assert run(["convert", first, "--int8", "--ptq"]) == 1
    assert "pictures of " in (said := one_line(capsys)) and "--images FOLDER says where they are now" in said
    assert run(["convert", first, "--int8", "--ptq", *images]) == 0
    capsys.readouterr()
    data = str(laptop / "first" / "split.csv")
    assert run(["evaluate", first, data, *images, "--out", str(laptop / "again")]) == 0
    before, after = (pd.read_csv(laptop / name / "predictions.csv") for name in ("first", "again"))
    before = before.loc[before["split"] == "test"].reset_index(drop=True)
    assert np.allclose(before[[f"p_{c}" for c in CODES]], after[[f"p_{c}" for c in CODES]], atol=1e-5)
    assert not after["path"].str.startswith("/").any()
    model = str(laptop / "first" / "int8-ptq" / "model_int8.tflite")
    assert run(["bench", model, "--data", data, *images, "--num-runs", "1", "--cold-starts", "0"]) == 0
    assert run(["debug-quantization", model, *images, "--limit", "4"]) == 0


def test_a_training_goes_on_where_both_were_moved_to(laptop, tmp_path, capsys):
    (laptop / "first" / "metrics.json").unlink()
    (laptop / "first" / "model.keras").unlink()
    assert run(["train", str(laptop / "pictures" / "of" / "ham"), "--out", str(laptop / "first"), "--resume"]) == 0
    assert "continuing after epoch 1" in capsys.readouterr().err
    assert (laptop / "first" / "metrics.json").exists()


def test_an_older_run_with_absolute_paths_is_read_as_it_was(server, tmp_path):
    older = shutil.copytree(server / "runs" / "first", tmp_path / "older")
    config = yaml.safe_load((older / "config.yaml").read_text())
    del config["data"]["pictures"]
    config["data"]["folder"] = str(server / "data" / "ham")
    (older / "config.yaml").write_text(yaml.safe_dump(config))
    rows = pd.read_csv(older / "split.csv", dtype=str, keep_default_na=False)
    rows["path"] = [str(server / "data" / "ham" / path) for path in rows["path"]]
    rows.to_csv(older / "split.csv", index=False)
    read = run_folder.read(older)
    assert list(read.split["path"]) == list(rows["path"])
    assert run(["convert", str(older), "--int8", "--ptq"]) == 0
    copied = shutil.copytree(server / "data" / "ham", tmp_path / "moved")
    found = run_folder.read(older, copied).split["path"]
    assert all(path.startswith(str(copied)) for path in found)


def test_paths_are_written_as_seen_from_a_folder(tmp_path):
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")
    paths = [
        f"{tmp_path}/data/a/1.jpg",
        f"{tmp_path}/link/2.jpg",
        "",
        f"{tmp_path}/data/x.hdf5::a/b",
        f"{tmp_path}/3.jpg",
    ]
    assert locate.relative_to(paths, tmp_path / "data") == ["a/1.jpg", "2.jpg", "", "x.hdf5::a/b", "../3.jpg"]


@pytest.mark.parametrize(
    ("given", "called"),
    [("lesion", "lesion"), ("/home/alice/split.csv", "split.csv"), ("C:\\alice\\s.csv", "s.csv"), (None, None)],
)
def test_a_split_is_called_by_its_name(given, called):
    assert splits.called(given) == called
