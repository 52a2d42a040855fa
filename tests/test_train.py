"""`skin-edge train` from end to end on miniatures, killed and resumed, and with everything that can be wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

from skin_edge.edge_runtime.cli import run

from . import miniatures
from .miniatures import MOBILENET, SMALL, one_line


def train(*arguments):
    return run(["train", *map(str, arguments)])


def test_a_run_holds_all_that_is_promised(tiny_run):
    names = {path.name for path in tiny_run.iterdir()}
    assert names == {
        "model.keras", "labels.txt", "config.yaml", "split.csv", "history.csv", "metrics.json", "predictions.csv",
        "report.html", "curves.png", "confusion_matrix.png", "checkpoints",
    }  # fmt: skip
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert config["seed"] == 42
    assert config["recipe"]["image_size"] == [32, 32]
    assert config["recipe"]["name"] == "mobilenet-balanced"
    assert (tiny_run / "labels.txt").read_text().split() == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    history = pd.read_csv(tiny_run / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    split = pd.read_csv(tiny_run / "split.csv")
    extra = ["group_kind", "lesion", "age", "sex", "site"]  # what HAM10000 says of its pictures
    assert list(split.columns) == ["path", "image_id", "group", "label", "split", *extra]
    assert split.groupby("group")["split"].nunique().max() == 1


def test_the_figures_follow_from_the_predictions(tiny_run):
    metrics = json.loads((tiny_run / "metrics.json").read_text())
    predictions = pd.read_csv(tiny_run / "predictions.csv")
    scores = predictions[[f"p_{code}" for code in (tiny_run / "labels.txt").read_text().split()]].to_numpy()
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-4)
    for part, name in (("val", "validation"), ("test", "test")):
        rows = predictions[predictions["split"] == part]
        correct = rows["predicted"] == rows["label"]
        assert metrics[name]["n"] == len(rows)
        assert metrics[name]["accuracy"] == pytest.approx(correct.mean())
        assert metrics[name]["balanced_accuracy"] == pytest.approx(correct.groupby(rows["label"]).mean().mean())
        assert metrics[name]["majority_class_baseline"] == pytest.approx(
            rows["label"].value_counts(normalize=True).max()
        )
        low, high = metrics[name]["intervals"]["balanced_accuracy"]
        assert low <= metrics[name]["balanced_accuracy"] <= high
    assert metrics["split"]["leaked_share_of_test"] == 0


def test_only_the_last_layers_learn_and_frozen_statistics_stay(ham, tmp_path):
    from skin_edge.train.engine import keras, start
    from skin_edge.train.models import heads
    from skin_edge.train.recipes import published
    from skin_edge.train.runs import run_folder

    assert train(ham, "--out", tmp_path / "run", *MOBILENET, "--epochs", 1, "--unfreeze", 8) == 0
    run_read = run_folder.read(tmp_path / "run")
    start(42)
    before, after = heads.classifier(run_read.recipe, 7), run_read.model()
    backbone = [layer.name for layer in before.layers if not layer.name.startswith(("pool", "head", "probabilities"))]
    changed = {
        layer.name
        for layer, other in zip(before.layers, after.layers, strict=True)
        if any(not np.array_equal(a, b) for a, b in zip(layer.get_weights(), other.get_weights(), strict=True))
    }
    assert changed
    assert changed.isdisjoint(backbone[:-8])
    assert {name for name in backbone[-8:] if name.endswith("_bn")} <= changed
    assert published.get(published.DEFAULT).unfreeze == 50
    assert sum(layer.trainable for layer in keras.applications.MobileNet(weights=None, include_top=False).layers) == 86


@pytest.fixture(scope="module")
def small_run(ham, tmp_path_factory):
    """Three epochs of `SMALL`."""
    folder = tmp_path_factory.mktemp("small") / "run"
    assert train(ham, "--out", folder, *SMALL, "--epochs", 3) == 0
    return folder


def test_a_step_is_traced_once(ham, tmp_path, monkeypatch):
    """Whatever it needs is made before: a second trace of a large network takes as long as the first."""
    from skin_edge.train.engine import keras

    step, traced = keras.Model.train_step, []
    monkeypatch.setattr(keras.Model, "train_step", lambda self, data: (traced.append(1), step(self, data))[1])
    assert train(ham, "--out", tmp_path / "run", *SMALL, "--epochs", 2) == 0
    assert len(traced) == 1


@pytest.mark.parametrize("moment", ["within an epoch", "between epochs"])
def test_a_killed_training_resumes_to_the_same_history(ham, small_run, tmp_path, moment):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "skin_edge.edge_runtime.cli", "train"]
    arguments = [*command, str(ham), "--out", str(folder), *SMALL]
    process = subprocess.Popen(
        [*arguments, "--epochs", "3"], stderr=subprocess.DEVNULL, env=os.environ, start_new_session=True
    )
    deadline = time.monotonic() + 120
    waited_for = "epoch-0001" if moment == "between epochs" else "epoch-0002"
    while not (folder / "checkpoints" / waited_for).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "metrics.json").exists()
    (folder / ".history.1.tmp.csv").write_text("half")
    (folder / ".history.0123456789abcdef.tmp.csv").write_text("half")  # a kill may come while a file is written
    assert run(["train", str(ham), "--out", str(folder), "--resume"]) == 0
    assert (folder / "history.csv").read_bytes() == (small_run / "history.csv").read_bytes()
    assert (folder / "predictions.csv").read_bytes() == (small_run / "predictions.csv").read_bytes()
    assert not list(folder.glob("**/.*"))


def test_a_resumed_training_is_the_same_training(ham, tiny_run, capsys):
    assert train(ham, "--out", tiny_run, "--resume") == 2
    assert "is complete" in one_line(capsys)
    assert train(ham, "--out", tiny_run, "--resume", "--image-size", 64, "--seed", 7) == 2
    assert "other settings (image_size, seed)" in one_line(capsys)
    assert train(ham, "--out", tiny_run, "--resume", "--overwrite") == 2
    assert "contradict" in one_line(capsys)


def test_an_output_that_exists_is_not_touched(ham, tiny_run, tmp_path, capsys):
    before = (tiny_run / "metrics.json").read_bytes()
    assert train(ham, "--out", tiny_run, *SMALL) == 2
    assert "exists already" in one_line(capsys)
    assert (tiny_run / "metrics.json").read_bytes() == before
    (tmp_path / "thesis.txt").write_text("years of work")
    assert train(ham, "--out", tmp_path, "--overwrite", *SMALL) == 2
    assert "is not a run folder" in one_line(capsys)
    assert (tmp_path / "thesis.txt").exists()


def test_a_random_split_warns_with_the_share_that_leaks(ham, tmp_path, capsys):
    assert train(ham, "--out", tmp_path / "run", *SMALL, "--epochs", 1, "--split", "random") == 0
    assert "of the test images show a lesion of training" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["split"]["leaked_share_of_test"] > 0


def test_unreadable_images_stop_the_run_or_are_left_out_and_listed(ham, tmp_path, capsys):
    copy = shutil.copytree(ham, tmp_path / "data")
    image = next((copy / "HAM10000_images_part_1").iterdir())
    image.write_bytes(image.read_bytes()[:300])
    (copy / "HAM10000_images_part_2" / "ISIC_0000001.jpg").unlink()
    assert train(copy, "--out", tmp_path / "run", *SMALL, "--epochs", 1) == 1
    error = capsys.readouterr().err
    assert "2 of 63 images cannot be read" in error
    assert f"{image.stem}: " in error
    assert "ISIC_0000001: no image file" in error
    assert not (tmp_path / "run").exists()
    assert train(copy, "--out", tmp_path / "run", *SMALL, "--epochs", 1, "--skip-unreadable") == 0
    skipped = pd.read_csv(tmp_path / "run" / "skipped.csv")
    assert set(skipped["image_id"]) == {image.stem, "ISIC_0000001"}
    assert len(pd.read_csv(tmp_path / "run" / "split.csv")) == 61


def test_class_folders_of_own_classes(tmp_path, capsys):
    folders = miniatures.class_folders(tmp_path / "data", images=8)
    (folders / "mel").rename(folders / "wart")
    assert train(folders, "--out", tmp_path / "run", *SMALL, "--epochs", 1, "--json") == 0
    output = capsys.readouterr()
    assert set(json.loads(output.out)["test"]["per_class"]) == {"nv", "wart"}
    assert "is not known" in output.err


def test_a_sample_and_a_split_from_a_file(ham, tiny_run, tmp_path, capsys):
    assert train(ham, "--out", tmp_path / "sample", *SMALL, "--epochs", 1, "--limit", 30) == 0
    assert len(pd.read_csv(tmp_path / "sample" / "split.csv")) < 45
    split = tiny_run / "split.csv"
    assert train(ham, "--out", tmp_path / "same", *SMALL, "--epochs", 1, "--split", split, "--seed", 7) == 0
    sample = tmp_path / "sample-of-split"
    assert train(ham, "--out", sample, *SMALL, "--epochs", 1, "--split", split, "--limit", 30) == 0
    columns = ["image_id", "split"]
    assert pd.read_csv(tmp_path / "same" / "split.csv")[columns].equals(pd.read_csv(split)[columns])
    assert "balanced accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["absent"], 2, "no such folder"),
        (["empty"], 1, "no layout that is known"),
        (["ham", "--recipe", "resnet"], 2, "unknown recipe 'resnet' (did you mean 'resnet50'?); known: nn-basic, "),
        (["ham", "--image-size", "big"], 2, "neither N nor HxW"),
        (["ham", "--image-size", "8"], 2, "outside 32..1024"),
        (["ham", "--weights", "absent.h5"], 2, "absent.h5: no such file"),
        (["ham", "--weights", "ham/HAM10000_metadata.csv"], 2, "is not a file of Keras' weights"),
        (["ham", "--split", "absent.csv"], 2, "absent.csv"),
        (["one"], 1, "one class only (nv)"),
        (["few"], 1, "2 images for 2 classes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(ham, tmp_path, monkeypatch, capsys, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ham").symlink_to(ham)
    (tmp_path / "empty").mkdir()
    miniatures.class_folders(tmp_path / "one", codes=("nv",))
    miniatures.class_folders(tmp_path / "few", images=1)
    assert train(*arguments, "--out", "run") == code
    assert says in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_answered_with_the_pip_line(ham, tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.startswith("skin_edge.train.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    assert train(ham, "--out", tmp_path / "run") == 1
    assert 'pip install "skin-edge[train]"' in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_run_in_mixed_precision_keeps_a_float32_model(ham, tmp_path, capsys):
    from skin_edge.train.engine import keras
    from skin_edge.train.runs import run_folder

    out = tmp_path / "run"
    assert train(ham, "--out", out, *SMALL, "--epochs", 1, "--mixed-precision") == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["mixed_precision"] is True
    assert keras.mixed_precision.global_policy().name == "float32"
    assert {layer.compute_dtype for layer in run_folder.read(out).model().layers} == {"float32"}
    assert run(["convert", str(out), "--int8", "--ptq"]) == 0


def test_a_run_whose_images_have_changed_cannot_be_resumed(ham, tmp_path, capsys):
    copy = shutil.copytree(ham, tmp_path / "data")
    assert train(copy, "--out", tmp_path / "run", *SMALL, "--epochs", 1) == 0
    (tmp_path / "run" / "metrics.json").unlink()  # as if it had been killed
    image = next((copy / "HAM10000_images_part_1").iterdir())
    content = image.read_bytes()
    for changed in (content + b"\0", content[:300]):
        image.write_bytes(changed)
        assert train(copy, "--out", tmp_path / "run", "--resume", "--skip-unreadable") == 1
        assert "have changed or gone" in one_line(capsys)


def test_overwrite_replaces_a_run_and_nothing_else(ham, tmp_path, monkeypatch, capsys):
    project = tmp_path / "project"
    project.mkdir()
    (project / "config.yaml").write_text("mine: true")
    monkeypatch.chdir(project)
    for flag in ("--overwrite", "--resume"):
        assert train(ham, "--out", ".", flag, *SMALL) == 2
        assert "is not a run folder" in one_line(capsys)
    assert train(ham, "--out", "run", *SMALL, "--epochs", 1) == 0
    capsys.readouterr()
    monkeypatch.chdir(project / "run")
    assert train(ham, "--out", ".", "--overwrite", *SMALL) == 2
    assert "would remove" in one_line(capsys)
    assert (project / "config.yaml").exists() and (project / "run" / "metrics.json").exists()


def test_an_output_that_cannot_be_written_is_said_before_the_work(ham, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert train(ham, "--out", tmp_path / "file" / "run", *SMALL) == 2
    output = capsys.readouterr().err
    assert "cannot be written" in output and "starting TensorFlow" not in output


def test_a_training_that_diverges_says_so(ham, tmp_path, capsys):
    flags = [*SMALL, "--epochs", 2, "--learning-rate", 1e30]
    assert train(ham, "--out", tmp_path / "run", *flags) == 1
    assert "diverged in epoch" in one_line(capsys)


def test_rows_that_a_recipe_leaves_out_can_stay(ham, tmp_path, capsys):
    copy = shutil.copytree(ham, tmp_path / "data")
    table = pd.read_csv(copy / "HAM10000_metadata.csv", dtype=str)
    table.loc[[1, 5], "age"] = "0.0"
    table.to_csv(copy / "HAM10000_metadata.csv", index=False)
    out, flags = tmp_path / "run", ["--recipe", "nn-basic", "--image-size", 32, "--epochs", 1]
    assert train(copy, "--out", out, *flags, "--clean", "none") == 0
    assert yaml.safe_load((out / "config.yaml").read_text())["clean"] == {"none": 0}
    assert set(pd.read_csv(out / "split.csv")["image_id"]) == set(table["image_id"])
    (out / "metrics.json").unlink()  # as if it had been killed
    assert train(copy, "--out", out, "--resume", "--clean", "published") == 2
    assert "other settings (clean)" in one_line(capsys)
    assert train(copy, "--out", out, "--resume") == 0
    assert train(copy, "--out", tmp_path / "without", *flags) == 0
    assert yaml.safe_load((tmp_path / "without/config.yaml").read_text())["clean"] == {"published": 2}


def test_a_rule_leaves_rows_out_says_how_many_and_stays_when_resumed(ham, tmp_path, capsys):
    copy = shutil.copytree(ham, tmp_path / "data")
    table = pd.read_csv(copy / "HAM10000_metadata.csv", dtype=str)
    table.loc[[1, 5], "age"] = "0.0"
    table.to_csv(copy / "HAM10000_metadata.csv", index=False)
    out = tmp_path / "run"
    assert train(copy, "--out", out, *SMALL, "--epochs", 1, "--clean", "age-zero") == 0
    assert "--clean age-zero leaves out 2 images" in capsys.readouterr().err
    assert yaml.safe_load((out / "config.yaml").read_text())["clean"] == {"age-zero": 2}
    assert set(table["image_id"]) - set(pd.read_csv(out / "split.csv")["image_id"]) == set(table["image_id"][[1, 5]])
    (out / "metrics.json").unlink()  # as if it had been killed
    assert train(copy, "--out", out, "--resume", "--clean", "age-blank") == 2
    assert "other settings (clean)" in one_line(capsys)
    assert train(copy, "--out", out, "--resume") == 0
    assert train(copy, "--out", tmp_path / "other", *SMALL, "--clean", "age") == 2
    assert "known: age-zero" in one_line(capsys)
