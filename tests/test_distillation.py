"""Learning from runs that were trained before."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.edge_runtime.labels import Label
from skin_edge.train import distillation

from .miniatures import one_line

LABELS = tuple(Label(code, code, False) for code in "abc")


def frame(**split_of):
    """p1="train" is picture p1 of lesion p."""
    rows = [(f"{name}.jpg", name, name[0], part) for name, part in split_of.items()]
    return pd.DataFrame(rows, columns=["path", "image_id", "group", "split"])


def teacher(split, labels=LABELS):
    return SimpleNamespace(folder=Path("runs/t"), labels=labels, split=split)


def test_a_teacher_of_the_same_split_may_teach():
    split = frame(p1="train", q1="val", r1="test")
    distillation.check([teacher(split)], LABELS, split)


@pytest.mark.parametrize(
    ("student", "says"),
    [
        (frame(p1="test", q1="val"), "1 of the 1 test images"),
        (
            frame(p2="test", q1="val", s1="train", s2="train"),
            "1 of the 1 test images",
        ),  # another picture of a lesion it knows
        (frame(q1="test", r1="val"), "1 of the 1 test images"),  # its validation part chose its epoch
        (frame(p1="val", p2="val", r1="val", s1="test"), "2 of the 3 validation images"),
    ],
)
def test_a_teacher_that_knows_the_answers_is_refused(student, says):
    with pytest.raises(DataError, match=says):
        distillation.check([teacher(frame(p1="train", p0="train", q1="val", r1="test"))], LABELS, student)


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(UsageError, match="knows the classes a, b; this training has a, b, c"):
        distillation.check([teacher(frame(p1="train"), LABELS[:2])], LABELS, frame(p1="train"))


@pytest.mark.parametrize("views", [1, 4])
def test_targets_are_the_label_and_the_mean_answer(views):
    from skin_edge.train.engine import keras, tf

    def network(size, seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((*size, 3))
        flat = keras.layers.Flatten()(inputs)
        return keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(flat))

    first, second = network((6, 8), 1), network((3, 4), 2)
    runs = [
        SimpleNamespace(labels=LABELS, model=lambda: first, recipe=SimpleNamespace(image_size=(6, 8))),
        SimpleNamespace(labels=LABELS[::-1], model=lambda: second, recipe=SimpleNamespace(image_size=(3, 4))),
    ]
    images = np.random.default_rng(0).uniform(-1, 1, (5, 6, 8, 3)).astype(np.float32)
    one_hot = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1]]
    batches = tf.data.Dataset.from_tensor_slices((images, one_hot)).batch(2)
    softened = distillation.Teachers(runs, "abc", share=0.7, views=views).soften(batches)
    targets = np.concatenate([target for _, target in softened.as_numpy_iterator()])

    answers = []
    for rows, columns in [(1, 1), (1, -1), (-1, 1), (-1, -1)][:views]:
        seen = images[:, ::rows, ::columns]
        small = seen.reshape(5, 3, 2, 4, 2, 3).mean(axis=(2, 4))  # near what resizing by half does
        answers += [first.predict(seen, verbose=0), second.predict(small, verbose=0)[:, ::-1]]
    expected = 0.3 * one_hot + 0.7 * np.mean(answers, axis=0)
    assert np.allclose(targets, expected, atol=0.1)
    assert np.allclose(targets.sum(axis=1), 1, atol=1e-5)
    alone = distillation.Teachers(runs[:1], "abc", share=1.0, views=views).soften(batches)
    targets = np.concatenate([target for _, target in alone.as_numpy_iterator()])
    assert np.allclose(targets, np.mean(answers[::2], axis=0), atol=1e-5)


@pytest.mark.parametrize(("flag", "value"), [("--metadata", "age"), ("--distribute", "mirrored"), ("--folds", "3")])
def test_what_does_not_go_together_is_refused(flag, value, ham, tmp_path, capsys):
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), "--teacher", str(tmp_path), flag, value]) == 2
    assert f"{flag}" in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_student_learns_from_its_teacher_and_resumes_the_same(ham, tmp_path, capsys, monkeypatch):
    flags = ["--recipe", "quickstart", "--image-size", "32", "--batch-size", "8", "--learning-rate", "0.005"]
    first = tmp_path / "first"
    assert run(["train", str(ham), "--out", str(first), *flags, "--epochs", "6"]) == 0
    taught = [*flags, "--teacher", str(first), "--split", str(first / "split.csv"), "--set=distillation=1"]
    capsys.readouterr()
    assert (
        run(["train", str(ham), "--out", str(tmp_path / "leak"), *flags, "--teacher", str(first), "--seed", "7"]) == 1
    )
    assert "has learned from" in capsys.readouterr().err
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(["train", str(ham), "--out", str(whole), *taught, "--epochs", "2"]) == 0
    config = yaml.safe_load((whole / "config.yaml").read_text())
    assert [one["run"] for one in config["teachers"]] == [str(first)]
    assert config["recipe"]["distillation"] == 1

    from skin_edge.train import fit

    def killed(*arguments, **keywords):
        if keywords["on_epoch"] is None:
            keywords["on_epoch"] = stop
        return fit_whole(*arguments, **keywords)

    def stop(row):
        raise KeyboardInterrupt

    fit_whole = fit.fit
    monkeypatch.setattr(fit, "fit", lambda *a, **k: killed(*a, **{"on_epoch": None, **k}))
    assert run(["train", str(ham), "--out", str(cut), *taught, "--epochs", "2"]) != 0
    monkeypatch.setattr(fit, "fit", fit_whole)
    assert run(["train", str(ham), "--out", str(cut), *taught, "--epochs", "2", "--resume"]) == 0
    rows = [list(csv.reader((folder / "history.csv").open())) for folder in (whole, cut)]
    assert [row[:4] for row in rows[0]] == [row[:4] for row in rows[1]]
    figures = [json.loads((folder / "metrics.json").read_text())["test"] for folder in (whole, cut)]
    assert figures[0] == figures[1]


def test_what_the_teachers_teacher_saw_counts_too(tmp_path):
    from skin_edge.train import recipes, run_folder

    def made(name, split, taught=None):
        table = split.assign(label="a")
        recipe = recipes.get("quickstart")
        return run_folder.begin(
            tmp_path / name, recipe=recipe, labels=LABELS, config={}, split=table, skipped={}, taught=taught
        )

    first = made("first", frame(p1="train", p2="train", q1="val", r1="test"))
    taught = distillation.taught([first])
    assert sorted(taught["image_id"]) == ["p1", "p2", "q1"]
    second = made("second", frame(s1="train", s2="train", t1="val", u1="test"), taught)
    distillation.check([second], LABELS, frame(p1="train", r1="test", r2="test", t1="val"))
    with pytest.raises(DataError, match="1 of the 2 test images"):
        distillation.check([second], LABELS, frame(p3="test", r1="test", r2="train"))
    assert sorted(distillation.taught([second])["image_id"]) == ["p1", "p2", "q1", "s1", "s2", "t1"]


def test_pictures_of_another_folder_with_the_same_names_are_others(tmp_path):
    """Class folders of different origin often hold a 0001.jpg; without lesions only the files tell."""
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "other").write_bytes(b"22")
    known = frame(a="train", b="val").assign(path=str(tmp_path / "one"))
    own = frame(a="test").assign(path=str(tmp_path / "other"))
    distillation.check([teacher(known)], LABELS, own)
    with pytest.raises(DataError, match="1 of the 1 test images"):
        distillation.check([teacher(known)], LABELS, own.assign(path=str(tmp_path / "one")))


def test_a_teacher_is_not_replaced_by_its_student(ham, tmp_path, capsys):
    from skin_edge.train import recipes, run_folder

    split = frame(p1="train", q1="val", r1="test").assign(label="a")
    begun = run_folder.begin(
        tmp_path / "run", recipe=recipes.get("quickstart"), labels=LABELS, config={}, split=split, skipped={}
    )
    (begun.folder / "model.keras").write_bytes(b"dear")
    flags = ["--out", str(begun.folder), "--overwrite", "--teacher", str(begun.folder)]
    assert run(["train", str(ham), *flags]) == 2
    one_line(capsys)
    assert (begun.folder / "model.keras").read_bytes() == b"dear"


def test_how_to_learn_needs_a_teacher(ham, tmp_path, capsys):
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), "--set", "distillation=0.5"]) == 2
    assert "--teacher" in one_line(capsys)
