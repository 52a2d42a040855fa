"""Learning from runs that were trained before."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.edge_runtime.labels import Label
from skin_edge.train.recipes.run_config import there
from skin_edge.train.runs import distillation, earlier_runs

from .miniatures import MOBILENET, one_line

LABELS = tuple(Label(code, code, False) for code in "abc")


def frame(**split_of):
    """p1="train" is picture p1 of lesion p."""
    rows = [(f"{name}.jpg", name, name[0], part) for name, part in split_of.items()]
    return pd.DataFrame(rows, columns=["path", "image_id", "group", "split"])


def teacher(split, labels=LABELS):
    return SimpleNamespace(folder=Path("runs/t"), labels=labels, split=split)


def test_a_teacher_of_the_same_split_may_teach():
    split = frame(p1="train", q1="val", r1="test")
    earlier_runs.check_unseen([teacher(split)], split, "--teacher")


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
        known = teacher(frame(p1="train", p0="train", q1="val", r1="test"))
        earlier_runs.check_unseen([known], student, "--teacher")


def test_a_teacher_of_other_classes_is_refused():
    with pytest.raises(UsageError, match="knows the classes a, b; this training has a, b, c"):
        distillation.check_classes([teacher(frame(p1="train"), LABELS[:2])], LABELS)


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
    worse = np.zeros_like(images)  # what the student sees: the teachers must not look at it
    batches = tf.data.Dataset.from_tensor_slices((worse, one_hot, images)).batch(2)
    blended = distillation.Teachers(runs, "abc", share=0.7, views=views).blend_targets(batches)
    shown, targets = map(np.concatenate, zip(*blended.as_numpy_iterator(), strict=True))
    assert np.array_equal(shown, worse)

    answers = []
    for rows, columns in [(1, 1), (1, -1), (-1, 1), (-1, -1)][:views]:
        seen = images[:, ::rows, ::columns]
        small = seen.reshape(5, 3, 2, 4, 2, 3).mean(axis=(2, 4))  # near what resizing by half does
        answers += [first.predict(seen, verbose=0), second.predict(small, verbose=0)[:, ::-1]]
    expected = 0.3 * one_hot + 0.7 * np.mean(answers, axis=0)
    assert np.allclose(targets, expected, atol=0.1)
    assert np.allclose(targets.sum(axis=1), 1, atol=1e-5)
    alone = distillation.Teachers(runs[:1], "abc", share=1.0, views=views).blend_targets(batches)
    targets = np.concatenate([target for _, target in alone.as_numpy_iterator()])
    assert np.allclose(targets, np.mean(answers[::2], axis=0), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (24, 32), (12, 16)])
def test_larger_teachers_get_the_training_pictures_at_their_size(ham, tmp_path, height, width):
    from skin_edge.edge_runtime.preprocess import InputSpec, to_pixels
    from skin_edge.train import job
    from skin_edge.train.pipeline.batches import load
    from skin_edge.train.recipes import published
    from skin_edge.train.request import TrainRequest, resolve

    recipe = replace(published.get("quickstart"), image_size=(24, 32))
    split = pd.DataFrame({"path": sorted(map(str, ham.rglob("*.jpg")))[:12], "split": ["val", "train", "test"] * 4})
    training = split.loc[split["split"] == "train"]
    pictures, _ = load(list(training["path"]), recipe.input_spec)
    run = SimpleNamespace(part=lambda name: split.loc[split["split"] == name].reset_index(drop=True))
    teacher = SimpleNamespace(
        labels=LABELS, model=lambda: SimpleNamespace(), recipe=SimpleNamespace(image_size=(height, width))
    )
    settings = replace(resolve(TrainRequest(ham, tmp_path / "run", "quickstart")), recipe=recipe)
    plan = SimpleNamespace(teachers=[teacher], codes="abc", recipe=recipe, settings=settings)
    seen = job._teaching(plan, pictures, run, lambda line: None).seen
    if height <= 24:
        assert seen.spec == recipe.input_spec and seen.pictures is pictures
        return
    assert seen.spec == InputSpec(height, width, decoding=recipe.decoding)
    wanted = [to_pixels(path, seen.spec) for path in training["path"]]
    assert np.array_equal(seen.pictures.pixels, wanted)
    split.loc[1, "path"] = str(tmp_path / "gone.jpg")
    with pytest.raises(DataError, match=r"an image of the training changed while it was read: .*gone\.jpg"):
        job._teaching(plan, pictures, run, lambda line: None)


@pytest.mark.parametrize("earlier", ["--teacher", "--start"])
@pytest.mark.parametrize(("flag", "value"), [("--metadata", "age"), ("--distribute", "mirrored"), ("--folds", "3")])
def test_what_does_not_go_together_is_refused(earlier, flag, value, ham, tmp_path, capsys):
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), earlier, str(tmp_path), flag, value]) == 2
    line = one_line(capsys)
    assert flag in line and earlier in line
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
    assert [(whole / one["run"]).resolve() for one in config["teachers"]] == [first.resolve()]
    assert config["recipe"]["distillation"] == 1

    from skin_edge.train.loop import fit

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


def begun_config():
    from skin_edge.train.recipes import published
    from skin_edge.train.recipes.run_config import RunConfig

    return RunConfig(published.get("quickstart"), LABELS, {"seed": 1, "split": "lesion"}, {"layout": "csv"})


def test_what_the_teachers_teacher_saw_counts_too(tmp_path):
    from skin_edge.train.runs import run_folder

    def made(name, split, seen=None):
        table = split.assign(label="a")
        return run_folder.begin(
            tmp_path / name,
            config=begun_config(),
            split=table,
            skipped={},
            seen=seen,
        )

    first = made("first", frame(p1="train", p2="train", q1="val", r1="test"))
    seen = earlier_runs.seen_images([first])
    assert sorted(seen["image_id"]) == ["p1", "p2", "q1"]
    second = made("second", frame(s1="train", s2="train", t1="val", u1="test"), seen)
    earlier_runs.check_unseen([second], frame(p1="train", r1="test", r2="test", t1="val"), "--teacher")
    with pytest.raises(DataError, match="1 of the 2 test images"):
        earlier_runs.check_unseen([second], frame(p3="test", r1="test", r2="train"), "--teacher")
    assert sorted(earlier_runs.seen_images([second])["image_id"]) == ["p1", "p2", "q1", "s1", "s2", "t1"]
    (second.folder / "seen_images.csv").rename(second.folder / "taught.csv")  # its name in earlier runs
    assert "p1" in set(earlier_runs.seen_images([second])["image_id"])


def test_pictures_of_another_folder_with_the_same_names_are_others(tmp_path):
    """Class folders of different origin often hold a 0001.jpg; without lesions only the files tell."""
    (tmp_path / "one").write_bytes(b"1")
    (tmp_path / "other").write_bytes(b"22")
    known = frame(a="train", b="val").assign(path=str(tmp_path / "one"))
    own = frame(a="test").assign(path=str(tmp_path / "other"))
    earlier_runs.check_unseen([teacher(known)], own, "--teacher")
    with pytest.raises(DataError, match="1 of the 1 test images"):
        earlier_runs.check_unseen([teacher(known)], own.assign(path=str(tmp_path / "one")), "--teacher")


def test_a_teacher_is_not_replaced_by_its_student(ham, tmp_path, capsys):
    from skin_edge.train.runs import run_folder

    split = frame(p1="train", q1="val", r1="test").assign(label="a")
    begun = run_folder.begin(
        tmp_path / "run",
        config=begun_config(),
        split=split,
        skipped={},
    )
    (begun.folder / "model.keras").write_bytes(b"dear")
    flags = ["--out", str(begun.folder), "--overwrite", "--teacher", str(begun.folder)]
    assert run(["train", str(ham), *flags]) == 2
    one_line(capsys)
    assert (begun.folder / "model.keras").read_bytes() == b"dear"


def test_how_to_learn_needs_a_teacher(ham, tmp_path, capsys):
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), "--set", "distillation=0.5"]) == 2
    assert "--teacher" in one_line(capsys)


def network(codes, size):
    """Recipe quickstart's, every weight different."""
    from skin_edge.train.models.heads import classifier
    from skin_edge.train.recipes import published

    model = classifier(replace(published.get("quickstart"), image_size=size, weights="none"), len(codes))
    values = np.random.default_rng(0)
    model.set_weights([values.uniform(0.5, 1, weight.shape) for weight in model.get_weights()])
    return model


def earlier(codes):
    from skin_edge.train.recipes import published

    labels = tuple(Label(code, code, False) for code in codes)
    made = network(codes, (32, 32))
    return SimpleNamespace(folder=Path("runs/e"), labels=labels, model=lambda: made, recipe=published.get("quickstart"))


def test_the_start_gives_all_weights_at_another_size_in_the_order_of_the_classes():
    first, model = earlier("abc"), network("cab", (48, 64))
    given = first.model().get_weights()
    model.set_weights([np.zeros_like(weight) for weight in given])
    assert earlier_runs.give_weights(first, model, "cab") == "starts with the weights of runs/e"
    for got, weight in zip(model.get_weights()[:-2], given[:-2], strict=True):
        assert np.array_equal(got, weight)
    for got, weight in zip(model.get_weights()[-2:], given[-2:], strict=True):
        assert np.array_equal(got, weight[..., [2, 0, 1]])


def test_the_last_layer_stays_where_the_classes_are_others():
    first, model = earlier("abc"), network("abcd", (32, 32))
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    assert "but for the last layer" in earlier_runs.give_weights(first, model, "abcd")
    assert not model.get_weights()[-2].any()
    assert np.array_equal(model.get_weights()[0], first.model().get_weights()[0])


def test_another_network_is_no_start():
    from skin_edge.train.models.heads import classifier
    from skin_edge.train.recipes import published

    other = classifier(replace(published.get("quickstart"), image_size=(32, 32), width=0.5, weights="none"), 3)
    with pytest.raises(UsageError, match="another network"):
        earlier_runs.give_weights(earlier("abc"), other, "abc")


def test_start_and_weights_contradict_each_other(ham, tmp_path, capsys):
    flags = ["--start", str(tmp_path), "--weights", "none"]
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), *flags]) == 2
    assert "--weights" in one_line(capsys)


def test_a_training_starts_where_another_ended(tiny_run, ham, tmp_path, capsys):
    """At a learning rate of nearly nothing it stays there; a split of its own is refused; what it saw is kept."""
    from skin_edge.train.runs import run_folder

    flags = [*MOBILENET, "--learning-rate", "1e-9", "--epochs", "1", "--start", str(tiny_run)]
    flags = [flag for flag in flags if flag not in ("--weights", "none")]
    out = tmp_path / "run"
    assert run(["train", str(ham), "--out", str(out), *flags, "--seed", "7"]) == 1
    assert "--start" in one_line(capsys)
    assert not out.exists()
    assert run(["train", str(ham), "--out", str(out), *flags, "--split", str(tiny_run / "split.csv")]) == 0
    assert f"starts with the weights of {tiny_run}" in capsys.readouterr().err
    before, after = (run_folder.read(folder).model() for folder in (tiny_run, out))
    for one, other in zip(before.trainable_weights, after.trainable_weights, strict=True):
        assert np.allclose(one, other, atol=1e-5)
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert there(out, config["start"]["run"]) == tiny_run.resolve() and len(config["start"]["sha256"]) == 64
    assert (out / "seen_images.csv").is_file()
    (out / "metrics.json").unlink()
    assert run(["train", str(ham), "--out", str(out), "--resume", "--start", str(out)]) == 2
    assert "start" in one_line(capsys)
    assert run(["train", str(ham), "--out", str(out), "--resume"]) == 0
