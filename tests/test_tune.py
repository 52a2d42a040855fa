"""`skin-edge tune`: what is compared, what is left alone, and that a killed search loses nothing."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pandas as pd
import pytest

from skin_edge.edge_runtime import locks
from skin_edge.edge_runtime.cli import run
from skin_edge.train import tune
from skin_edge.train.recipes import published
from skin_edge.train.recipes.search_space import Between, Log, OneOf
from skin_edge.train.reports import tune_results

from .miniatures import one_line

SMALL = ("--recipe", "quickstart", "--set", "image_size=[32, 32]", "--set", "epochs=3", "--set", "batch_size=8")


def search(*arguments):
    return run(["tune", *map(str, arguments)])


@pytest.fixture
def curves(monkeypatch):
    """Trainings are replaced by curves that end at 1 - |log10(learning rate) + 3| / 4; returns the recipes tried."""
    tried = []

    class Trainer:
        def __init__(self, settings, labels, frame, report):
            assert set(frame["split"]) == {"train", "val"}

        def fit(self, recipe, folder, report, on_epoch):
            from skin_edge.train.loop.fit import DivergedError

            tried.append(recipe)
            (folder / "checkpoints").mkdir()
            if recipe.dropout > 0.45:
                raise DivergedError("not a number")
            best = 1 - abs(np.log10(recipe.learning_rate) + 3) / 4
            for epoch in range(1, recipe.epochs + 1):
                on_epoch({"epoch": epoch, "val_balanced_accuracy": best * epoch / recipe.epochs})
            return SimpleNamespace(best_score=best)

    monkeypatch.setattr(tune, "_Trainer", Trainer)
    return tried


def table(out):
    with (out / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def searched(ham, tmp_path_factory):
    """(data, folder, result) of two real trials on data whose test pictures cannot be read."""
    folder = tmp_path_factory.mktemp("tune")
    data = shutil.copytree(ham, folder / "ham")
    split = folder / "split.csv"
    frame = pd.DataFrame({"path": sorted(str(path) for path in data.glob("*/*.jpg"))})
    frame["image_id"] = [Path(path).stem for path in frame["path"]]
    labels = pd.read_csv(data / "HAM10000_metadata.csv").set_index("image_id")["dx"]
    frame["split"] = (["train"] * 5 + ["val"] * 2 + ["test"] * 2) * 7
    order = frame["image_id"].map(labels).argsort(kind="stable")
    frame["split"] = frame["split"].to_numpy()[np.argsort(order)]
    frame[["image_id", "split"]].to_csv(split, index=False)
    for path in frame.loc[frame["split"] == "test", "path"]:
        Path(path).write_bytes(b"damaged")
    out = folder / "out"
    assert search(data, "--out", out, *SMALL, "--split", split, "--trials", 2) == 0
    return data, out, json.loads((out / "tune.json").read_text())


def test_no_trial_sees_the_test_part_and_the_printed_line_gives_the_value(searched, ham, tmp_path, capsys):
    data, _, result = searched
    assert [row["state"] for row in result["trials"]] == ["complete", "complete"]
    assert result["trials"][0]["settings"] == {} and result["defaults"]["trial"] == 0
    assert set(result["trials"][1]["settings"]) == {"learning_rate", "dropout", "schedule"}, "batch_size was fixed"
    assert result["gain"] == pytest.approx(result["best"]["value"] - result["trials"][0]["value"], abs=1e-6)
    # The line of the trial that is not the recipe, on data whose test part can be read.
    words = shlex.split(result["train"])[1:]
    words = words[: words.index("batch_size=8") + 1]
    for name, value in result["trials"][1]["settings"].items():
        words += ["--set", f"{name}={value}"]
    words[1], words[words.index("--out") + 1] = str(ham), str(tmp_path / "run")
    assert run(words) == 0
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["val_balanced_accuracy"].tolist() == result["trials"][1]["curve"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["validation"]["balanced_accuracy"] == pytest.approx(result["trials"][1]["value"], abs=1e-6)
    assert run(["train", str(data), *words[2:-2], "--overwrite"]) == 1, "the fixture's test part is damaged"
    assert "cannot be read" in one_line(capsys)


@pytest.mark.slow
def test_a_search_over_metadata_is_that_of_train(ham, tmp_path):
    """cnn-metadata-augmented, whose published numbers came from a random search."""
    out, small = tmp_path / "out", ("--set", "image_size=[32, 32]", "--set", "epochs=2")
    flags = ("--recipe", "cnn-metadata-augmented", *small, "--sampler", "random", "--pruner", "none")
    assert search(ham, "--out", out, *flags, "--trials", 2) == 0
    result = json.loads((out / "tune.json").read_text())
    trial = result["trials"][1]
    assert {"backbone", "hidden", "metadata_units", "dropout", "learning_rate"} <= set(trial["settings"])
    drawn = [word for name, value in trial["settings"].items() for word in ("--set", f"{name}={value}")]
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), *flags[:6], *drawn]) == 0
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    assert history["val_accuracy"].tolist() == trial["curve"]


def test_a_killed_search_goes_on_and_loses_no_trial(searched, tmp_path):
    data, whole, result = searched
    out, split = tmp_path / "out", whole.parent / "split.csv"
    arguments = [str(data), "--out", str(out), *SMALL, "--split", str(split), "--trials", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "skin_edge.edge_runtime.cli", "tune", *arguments],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 600
    while not (out / "trials/0001/checkpoints/epoch-0001").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert search(*arguments, "--resume") == 0
    again = json.loads((out / "tune.json").read_text())
    assert [row["state"] for row in again["trials"]] == ["complete", "failed", "complete"]
    assert again["trials"][1]["error"] == "cut off" and again["trials"][2]["goes_on"] == 1
    for before, after in ((0, 0), (1, 2)):
        for key in ("settings", "value", "curve"):
            assert again["trials"][after][key] == result["trials"][before][key], key
    history = (whole / "trials/0001/history.csv").read_bytes()
    assert (out / "trials/0002/history.csv").read_bytes() == history
    assert not list(out.glob("trials/*/checkpoints"))


def test_the_search_finds_what_is_better_and_prunes_what_is_not(ham, tmp_path, curves, capsys):
    out = tmp_path / "out"
    flags = ["--recipe", "quickstart", "--set", "epochs=6"]
    assert search(ham, "--out", out, *flags, "--trials", 14, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert curves[0] == replace(published.get("quickstart"), epochs=6), "the recipe itself comes first"
    states = [row["state"] for row in result["trials"]]
    assert len(states) == 14 and states[0] == "complete" and "pruned" in states
    # Independent of Optuna: the best is the one whose learning rate is nearest to 1e-3.
    trained = [row for row in table(out) if row["state"] == "complete"]
    nearest = min(trained, key=lambda row: abs(np.log10(float(row["learning_rate"])) + 3))
    assert result["best"]["trial"] == int(nearest["trial"])
    assert result["defaults"]["value"] == pytest.approx(1 - np.log10(2) / 4, abs=1e-9)
    assert result["gain"] > 0
    diverged = [row for row in result["trials"] if row["error"] == "not a number"]
    assert diverged and all(float(row["settings"]["dropout"]) > 0.45 for row in diverged)
    for row in result["trials"]:
        if row["state"] == "pruned" and not row["error"]:
            assert row["epochs"] < 6
    assert f"--set learning_rate={result['best']['settings']['learning_rate']}" in result["train"]
    # The same seed searches the same way, and a study goes on from where it is.
    assert search(ham, "--out", tmp_path / "same", *flags, "--trials", 4) == 0
    assert "gain" in capsys.readouterr().out
    assert search(ham, "--out", tmp_path / "same", *flags, "--trials", 6, "--resume") == 0
    first = [{k: row[k] for k in row if k != "seconds"} for row in table(out)[:6]]
    assert [{k: row[k] for k in row if k != "seconds"} for row in table(tmp_path / "same")] == first


def test_two_folders_share_one_study(ham, tmp_path, curves, capsys):
    url = f"sqlite:///{tmp_path}/shared.db"
    flags = ["--recipe", "quickstart", "--set", "epochs=2", "--storage", url, "--sampler", "random", "--pruner", "none"]
    assert search(ham, "--out", tmp_path / "one", *flags, "--trials", 2) == 0
    assert search(ham, "--out", tmp_path / "two", *flags, "--trials", 5) == 0
    assert [row["trial"] for row in table(tmp_path / "two")] == ["0", "1", "2", "3", "4"]
    assert sorted(path.name for path in (tmp_path / "two/trials").iterdir() if path.is_dir()) == [
        "0002",
        "0003",
        "0004",
    ]
    assert search(ham, "--out", tmp_path / "three", *flags, "--trials", 6, "--seed", 7) == 2
    assert "other settings or data (seed" in one_line(capsys)
    assert search(ham, "--out", tmp_path / "four", *flags, "--trials", 6, "--set", "epochs=7") == 2
    assert "other settings or data (epochs)" in one_line(capsys)


def test_a_killed_search_goes_on_in_its_folder_behind_a_storage(ham, tmp_path, curves, monkeypatch):
    """Its trial that was cut off goes on from its checkpoints."""
    url, out = f"sqlite:///{tmp_path}/shared.db", tmp_path / "one"
    flags = ["--recipe", "quickstart", "--set", "epochs=2", "--storage", url, "--sampler", "random", "--pruner", "none"]
    real = tune._Trainer.fit

    class Killed(BaseException):
        pass

    def killed(self, recipe, folder, report, on_epoch):
        if folder.name == "0001":
            (folder / "checkpoints" / "epoch-0001").mkdir(parents=True)
            raise Killed
        return real(self, recipe, folder, report, on_epoch)

    monkeypatch.setattr(tune._Trainer, "fit", killed)
    with pytest.raises(Killed):
        search(ham, "--out", out, *flags, "--trials", 2)

    def goes_on(self, recipe, folder, report, on_epoch):
        there = (folder / "checkpoints" / "epoch-0001").exists()
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        found.append((folder.name, there))
        return real(self, recipe, folder, report, on_epoch)

    found = []
    monkeypatch.setattr(tune._Trainer, "fit", goes_on)
    assert search(ham, "--out", out, *flags, "--trials", 3, "--resume") == 0
    assert found == [("0002", True), ("0003", False)]
    result = json.loads((out / "tune.json").read_text())
    assert [row["state"] for row in result["trials"]] == ["complete", "failed", "complete", "complete"]
    assert result["trials"][2]["goes_on"] == 1 and [row["defaults"] for row in result["trials"]].count(True) == 1


def test_a_trial_of_a_machine_that_fell_silent_is_trained_again(tmp_path):
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"dropout": 0.25}, user_attrs={"defaults": True})
    lost = study.ask()
    lost.set_user_attr("machine", "elsewhere")
    tune._take_back(study, {"machine": "here", "folder": "x"})
    assert lost.number == 0 and study.trials[0].state.name == "RUNNING", "it may still be at work"
    study.tell(lost, state=optuna.trial.TrialState.FAIL)
    for _ in range(2):
        tune._again(study, study.trials[0])
    (waiting,) = study.get_trials(states=[optuna.trial.TrialState.WAITING])
    assert waiting.user_attrs == {"goes_on": 0, "defaults": True}
    assert study.ask().suggest_float("dropout", 0, 1) == 0.25
    assert tune._counted(study) == 0 and tune._counted(study, running=True) == 1


@pytest.mark.parametrize(("last", "value", "epoch"), [(False, 0.8, 2), (True, 0.6, 3)])
def test_a_trials_value_is_that_of_the_epoch_it_keeps(last, value, epoch):
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    for number, figure in enumerate((0.5, 0.8, 0.6), 1):
        trial.report(figure, number)
    study.tell(trial, value)
    row = tune_results._row(study.trials[0], last)
    assert (row["value"], row["best_epoch"], row["epochs"]) == (value, epoch, 3)


def test_importance_goes_to_the_setting_that_decides():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1))
    assert tune_results._importances(study, ["a", "b"]) == {}
    study.optimize(lambda trial: -abs(trial.suggest_float("a", -1, 1)) + 0 * trial.suggest_float("b", -1, 1), 40)
    shares = tune_results._importances(study, ["a", "b"])
    assert shares["a"] > 0.8 and sum(shares.values()) == pytest.approx(1, abs=1e-3)


def test_defaults_beyond_the_range_are_trained_but_not_told():
    recipe = replace(published.get("quickstart"), weight_decay=0.0, image_size=(64, 64))
    space = {
        "weight_decay": Log(1e-6, 1e-2),
        "dropout": Between(0.0, 0.5),
        "image_size": OneOf((64, 64), (96, 96)),
        "augmentation.zoom": Between(0.0, 1.0),
    }
    assert tune._defaults(recipe, space) == {"dropout": 0.2, "image_size": "[64, 64]", "augmentation.zoom": 0.1}
    drawn = {"image_size": "[96, 96]", "augmentation.zoom": 0.4567891}
    trial = optuna.trial.FixedTrial(drawn)
    texts = {name: tune._text(tune._suggest(trial, name, space[name])) for name in drawn}
    assert recipe.with_settings(texts).image_size == (96, 96)
    assert recipe.with_settings(texts).augmentation.zoom == 0.4568


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--recipe", "resnet"], 2, "unknown recipe"),
        (["--set", "learning_rate=1", "--set", "dropout=0", "--set", "batch_size=8", "--set", "schedule=cosine"], 2,
         "nothing to search"),
        (["--storage", "nonsense"], 2, "--storage: "),
        (["--storage", "nodatabase://me:secret@host/db"], 2, "--storage: "),
        (["--storage", "sqlite:///a.db", "--out", "done", "--resume"], 2, "0000 is not a trial of study 'quickstart'"),
        (["--storage", "sqlite:///a.db", "--out", "done"], 2, "exists already: continue with --resume"),
        (["--storage", "sqlite:///a.db", "--out", "own", "--resume"], 2, "own has a study of its own"),
        (["--out", "thesis"], 2, "is not a folder of skin-edge tune"),
        (["--out", "done"], 2, "exists already: continue with --resume"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(ham, tmp_path, monkeypatch, capsys, curves, arguments, code, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    (tmp_path / "done" / "trials" / "0000").mkdir(parents=True)
    (tmp_path / "own" / "trials").mkdir(parents=True)
    (tmp_path / "own" / "study.db").write_bytes(b"")
    recipe = [] if "--recipe" in arguments else ["--recipe", "quickstart"]
    out = [] if "--out" in arguments else ["--out", "out"]
    assert search(ham, *out, *recipe, *arguments) == code
    error = one_line(capsys)
    assert says in error and "secret" not in error
    assert (tmp_path / "thesis" / "chapter.txt").exists()


def test_defaults_that_cannot_be_trained_end_the_search_and_can_be_mended(ham, tmp_path, curves, capsys):
    flags = ["--recipe", "quickstart", "--trials", 2]
    assert search(ham, "--out", tmp_path / "out", *flags, "--set", "dropout=0.47") == 1
    assert "not a number" in one_line(capsys)
    assert [recipe.dropout for recipe in curves] == [0.47], "the others are not tried"


def test_only_one_search_is_at_work_in_a_folder(ham, tmp_path, curves, capsys):
    (tmp_path / "out" / "trials").mkdir(parents=True)
    with locks.locked(tmp_path / "out", "skin-edge tune"):
        assert search(ham, "--out", tmp_path / "out", "--recipe", "quickstart", "--resume") == 2
    assert f"skin-edge tune is writing {tmp_path / 'out'} (process " in one_line(capsys)


def test_the_page_needs_nothing_else_and_shows_every_trial(ham, tmp_path, curves):
    from .test_page import Outline

    assert search(ham, "--out", tmp_path / "out", "--recipe", "quickstart", "--trials", 5, "--set", "epochs=2") == 0
    text = (tmp_path / "out" / "tune.html").read_text()
    page = Outline(text)
    assert [source for source in page.sources if not source.startswith("#")] == []
    assert "Not a medical device" in text and "no trial saw the" in text
    for row in table(tmp_path / "out"):
        assert row["value"] == "" or f"{float(row['value']):.3f}" in text
        assert row["learning_rate"] in text
    assert all(tag == "div" for tag, _ in page.scrolled)
