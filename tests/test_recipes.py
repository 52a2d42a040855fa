"""The recipes: complete as data, listed, and each one whole from training to a prediction on the device."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UnknownNameError, UsageError
from skin_edge.train.data import splits
from skin_edge.train.data.tasks import TASKS
from skin_edge.train.pipeline import sampling
from skin_edge.train.recipes import published
from skin_edge.train.recipes import recipe as recipes
from skin_edge.train.runs import run_folder

from . import miniatures
from .miniatures import COLOURS, one_line

RECIPES = published.RECIPES

KNOWN = {"age": 40, "sex": "female", "site": "back"}

# The least side in pixels that a network can have, where it is not 32.
LEAST_SIDE = {"handmade": 80, "inceptionresnetv2": 75}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert all((recipe.summary, recipe.source, recipe.expected))
    assert 0 < recipe.hours < 500
    assert recipe.task in TASKS
    assert recipe.split in splits.KINDS
    assert sum(recipe.fractions) == pytest.approx(1)
    sampling.check_balance(recipe.balance)
    for setting, allowed in recipe.search.items():
        low, *_, high = next(iter(allowed.to_dict().values()))
        assert recipe.with_settings({setting: str(low)}) != recipe.with_settings({setting: str(high)})
    assert recipes.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_a_run_of_an_older_recipe_is_read():
    """config.yaml of a release whose recipes had neither pooling nor hidden layers nor a task."""
    written = published.get("mobilenet-enhanced").to_dict()
    for name in ("hours", "qat", "task", "clean", "pooling", "hidden", "keep"):
        del written[name]
    old = recipes.Recipe.from_dict(written)
    assert (old.pooling, old.hidden, old.task, old.clean, old.keep) == ("average", (), "diagnosis", (), "best")


def test_the_list_fits_a_terminal_and_names_all(capsys):
    assert run(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for recipe in RECIPES.values():
        (line,) = [line for line in lines if line.startswith(f"{recipe.name} ")]
        assert line.endswith(f"{'yes' if recipe.qat else 'no '} {recipe.expected}")


@pytest.mark.parametrize("name", RECIPES)
def test_a_page_fits_a_terminal(name, capsys):
    assert run(["recipes", name]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert RECIPES[name].source.split()[-1] in out and f"--recipe {name}" in out


def test_the_list_as_json(capsys):
    assert run(["recipes", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in listed] == list(RECIPES)
    assert run(["recipes", "nn-basic", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["hidden"], row["batch_size"], row["learning_rate"]) == ([64] * 5, 10, 7.5e-4)
    assert row["search"]["learning_rate"] == {"log": [1e-5, 1e-2]}


def test_an_unknown_recipe_lists_the_known(capsys):
    assert run(["recipes", "mobilnet"]) == 2
    assert "mobilenet-enhanced" in one_line(capsys)


@pytest.mark.parametrize(("keep", "kept"), [("best", [1, 1, 3]), ("last", [1, 2, 3])])
def test_the_best_epoch_is_kept_or_the_last(keep, kept):
    from skin_edge.train.loop import checkpoints, fit

    recipe = published.get("mobilenet-enhanced").with_settings({"keep": keep, "best_by": "macro_auc"})
    state, seen = checkpoints.State(), []
    for state.epoch, area in enumerate((0.8, 0.7, 0.9), 1):
        fit._adapt(state, recipe, {"val_macro_auc": area, "val_loss": 1.0})
        seen.append((state.best_epoch, state.best_score))
    assert seen == [(epoch, {1: 0.8, 2: 0.7, 3: 0.9}[epoch]) for epoch in kept]


def test_a_training_that_keeps_the_last_epoch_does_not_stop_early(ham, tmp_path):
    """At a rate that changes nothing, no epoch is better than the first."""
    still = ["batch_norm=frozen", "head_batch_norm=false", "early_stopping=1"]
    kept = {}
    for keep in ("best", "last"):
        flags = ["--learning-rate", "1e-30", *(f"--set={setting}" for setting in (*still, f"keep={keep}"))]
        assert train(ham, tmp_path / keep, "--recipe", "mobilenet-enhanced", "--epochs", "3", *flags) == 0
        training = json.loads((tmp_path / keep / "metrics.json").read_text())["training"]
        kept[keep] = training["epochs"], training["best_epoch"]
    assert kept == {"best": (2, 1), "last": (3, 3)}


@pytest.mark.parametrize("setting", ["resolution=160", "resolution=-0.1", "compression=75", "noise=300"])
def test_what_no_picture_can_lose_is_refused(setting):
    name, value = f"augmentation.{setting}".split("=")
    with pytest.raises(UsageError, match=f"{name} .* is outside 0.."):
        published.get("mobilenet-enhanced").with_settings({name: value})


@pytest.mark.parametrize("setting", ["keep=first", "best_by=loss"])
def test_an_unknown_word_in_a_setting_lists_the_known(setting, ham, tmp_path, capsys):
    assert train(ham, tmp_path / "run", "--set", setting) == 2
    name, value = setting.split("=")
    message = one_line(capsys)
    assert value in message and {"keep": "best", "best_by": "macro_auc"}[name] in message
    assert not (tmp_path / "run").exists()


def test_hidden_layers_and_pooling_are_settings():
    recipe = published.get("cnn-basic").with_settings({"hidden": "[32, 16]", "pooling": "average"})
    assert (recipe.hidden, recipe.pooling) == ((32, 16), "average")
    assert recipe.with_settings({"hidden": "[]"}).hidden == ()
    for wrong in ("32", "[0]", "[1.5]", "many"):
        with pytest.raises(UsageError, match="numbers of units"):
            recipe.with_settings({"hidden": wrong})
    with pytest.raises(UnknownNameError, match="flatten"):
        recipe.with_settings({"pooling": "median"})


@pytest.fixture(scope="module")
def told(ham, tmp_path_factory):
    """`ham`, whose ages and sites follow from the diagnosis; every ninth row knows neither."""
    folder = shutil.copytree(ham, tmp_path_factory.mktemp("told") / "ham")
    table = pd.read_csv(folder / "HAM10000_metadata.csv")
    table["age"] = table["dx"].map({code: 20.0 + 8 * number for number, code in enumerate(COLOURS)})
    table["localization"] = np.where(table["dx"].isin(["akiec", "bcc", "mel"]), "face", "back")
    table.loc[::9, "age"], table.loc[::9, "localization"] = np.nan, "unknown"
    table.to_csv(folder / "HAM10000_metadata.csv", index=False)
    return folder


def seconds_of_it(recipe):
    """Flags that make seconds of a recipe, and let a network of random weights learn its colours all the same.

    What answers every picture alike tells nothing about its conversion.
    """
    side = LEAST_SIDE.get(recipe.backbone, 32)
    balance = "16" if recipe.balance.isdigit() else recipe.balance
    parts = "fractions=[0.75, 0.1, 0.15]"  # of nine pictures a class, six or seven to learn from
    settings = (
        parts,
        "unfreeze=null",
        "batch_norm=all",
        "batch_norm_momentum=0.8",
        "head_epochs=0",
        "l2=0",
        "dropout=0.1",
    )
    flags = ["--weights", "none", "--image-size", f"{side}x{side + 4}", "--batch-size", "8", "--balance", balance]
    rate = "0.02" if recipe.backbone == recipes.METADATA_ONLY else "0.002"
    return [*flags, "--learning-rate", rate, "--epochs", "10", *(f"--set={setting}" for setting in settings)]


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_converts_and_predicts(name, ham, told, picture, tmp_path):
    """Built, trained, saved, loaded, quantized as it says it can be, and run without TensorFlow."""
    from skin_edge.convert.quantize import fold, qat

    recipe = RECIPES[name]
    trained, converted = tmp_path / "run", tmp_path / "int8"
    data = told if recipe.metadata else ham
    assert run(["train", str(data), "--out", str(trained), "--recipe", name, *seconds_of_it(recipe)]) == 0
    if not recipe.qat:
        network = fold.fold_head(run_folder.read(trained).model())
        with pytest.raises(UsageError, match="use post-training quantization: --ptq"):
            qat.quantization_aware(network, np.zeros((1, *network.input_shape[1:]), np.float32))
    method = ["--qat-epochs", "1"] if recipe.qat else ["--ptq"]
    assert run(["convert", str(trained), "--int8", "--out", str(converted), *method]) == 0
    classifier, known = SkinClassifier(converted / "model_int8.tflite"), KNOWN if recipe.metadata else None
    answer = classifier.predict(picture("mel"), known).probabilities
    probabilities = list(answer.values())
    assert sum(probabilities) == pytest.approx(1, abs=0.02)
    classes = {"diagnosis": 7, "malignant": 2, "malignant-classes": 4}[recipe.task]  # benign, akiec, bcc, mel
    assert len(probabilities) == classes
    assert np.isfinite(probabilities).all()
    if recipe.metadata:
        # Of pictures that it is quite sure of, a word about the patient may change less than one step of int8.
        shown = [picture(code, name=f"{code}.jpg") for code in COLOURS]
        answers, others = (
            [classifier.predict(one, patient).probabilities for one in shown]
            for patient in (known, {"age": 70, "site": "face"})
        )
        assert answers != others
    same = classifier.predict(picture("nv"), known).probabilities == answer
    assert same == (recipe.backbone == recipes.METADATA_ONLY)


def train(ham, out, *flags, network=miniatures.SMALL):
    return run(["train", str(ham), "--out", str(out), *network, "--epochs", "2", *flags])


@pytest.mark.slow
def test_a_run_with_xla_repeats_to_the_bit_and_is_resumed_with_it(ham, tmp_path, capsys):
    for name in ("a", "b"):
        assert train(ham, tmp_path / name, "--xla", network=miniatures.MOBILENET) == 0
    for file in ("history.csv", "predictions.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    weights, again = (run_folder.read(tmp_path / name).model().get_weights() for name in ("a", "b"))
    assert all(np.array_equal(one, other) for one, other in zip(weights, again, strict=True))
    assert run_folder.read(tmp_path / "a").config.settings["xla"] is True
    (tmp_path / "a/metrics.json").unlink()
    assert train(ham, tmp_path / "a", "--resume", "--no-xla") == 2
    assert "xla" in one_line(capsys)


def test_tensorboard_gets_the_history(ham, tmp_path, capsys):
    from skin_edge.train.engine import tf

    board = tmp_path / "board"
    assert train(ham, tmp_path / "run", "--tensorboard", str(board)) == 0
    history = pd.read_csv(tmp_path / "run/history.csv")
    seen = {}
    for file in sorted(board.iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                seen[event.step, value.tag] = tf.make_ndarray(value.tensor).item()
    expected = {
        (int(row["epoch"]), name): row[name] for _, row in history.iterrows() for name in history if name != "epoch"
    }
    assert len(expected) > 10
    assert seen == pytest.approx(expected, rel=1e-6)
    (tmp_path / "file").write_text("")
    assert train(ham, tmp_path / "other", "--tensorboard", str(tmp_path / "file")) == 2
    assert "--tensorboard" in one_line(capsys)
