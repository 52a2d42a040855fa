"""What is wrong with a training's call is told before a picture is read."""

from __future__ import annotations

import pytest

from skin_edge.edge_runtime.cli import run
from skin_edge.train import job, preflight, prepare
from skin_edge.train.recipes import published

from .miniatures import MOBILENET, one_line


@pytest.fixture
def no_picture_is_read(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("pictures are read")

    monkeypatch.setattr(job, "read_pictures", fail)


@pytest.mark.parametrize("command", [["train"], ["train", "--folds", "3"], ["tune"]])
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--set", "weights=absent.h5"], "--weights absent.h5: no such file"),
        (["--set", "weights=text.h5"], "text.h5 is not a file of Keras' weights"),
        (["--set", "weights=text.txt"], "text.txt is not a file of Keras' weights"),
        (["--cache", "text.h5"], "--cache"),
    ],
)
def test_files_and_folders_before_the_data(command, flags, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("text.h5", "text.txt"):
        (tmp_path / name).write_text("these are not weights")
    monkeypatch.setattr(prepare, "read_dataset", lambda *_: pytest.fail("the data are read"))
    assert run([command[0], "data", "--out", "new", *command[1:], *flags]) == 2
    assert says in one_line(capsys)


def test_a_missing_package_before_the_data(tmp_path, monkeypatch, capsys):
    import sys

    monkeypatch.setitem(sys.modules, "imagehash", None)
    assert run(["train", str(tmp_path), "--out", str(tmp_path / "new")]) == 1
    assert 'this needs imagehash, which is not installed: pip install "skin-edge[train]"' in one_line(capsys)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--set", "backbone=mobilenett"], "did you mean 'mobilenet'?"),
        (["--set", "backbone=resnet50"], "has no width multiplier"),
        (["--set", "backbone=cnn5", "--width", "1", "--weights", "imagenet"], "starts from random weights"),
    ],
)
def test_the_network_before_the_pictures(flags, says, ham, tmp_path, no_picture_is_read, capsys):
    assert run(["train", str(ham), "--out", str(tmp_path / "new"), *MOBILENET, "--no-near-duplicates", *flags]) == 2
    assert says in one_line(capsys)
    assert not (tmp_path / "new").exists()


def test_the_weights_of_another_network_before_the_pictures(ham, tmp_path, no_picture_is_read, capsys):
    from skin_edge.train.models import networks

    file = tmp_path / "other.weights.h5"
    networks.build("mobilenet", (32, 32, 3), 0.5, "none").save_weights(file)
    flags = [*MOBILENET, "--no-near-duplicates", "--weights", str(file)]
    assert run(["train", str(ham), "--out", str(tmp_path / "new"), *flags]) == 1
    assert "does not fit mobilenet of width 0.25" in one_line(capsys)


def test_the_check_leaves_keras_names_as_they_were():
    from skin_edge.train.engine import keras

    preflight.check_network(published.get("quickstart"))
    assert keras.layers.Dense(1).name == "dense"
