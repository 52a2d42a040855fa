"""`train --dry-run` and `train --config`: the plan before anything is loaded, and a run repeated from its file."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from skin_edge.edge_runtime.cli import run

from . import miniatures
from .miniatures import MOBILENET, SMALL, one_line

NAMES = '{"tensorflow", "tf_keras", "keras", "tensorflow_model_optimization"}'


def in_a_process_of_its_own(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def dry(capsys):
    """The plan of a call, as JSON."""

    def told(*arguments):
        capsys.readouterr()
        assert run(["train", *map(str, arguments), "--dry-run", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return told


def test_the_plan_is_printed_before_tensorflow_is_loaded_and_nothing_is_written(ham, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    told = in_a_process_of_its_own(
        "import sys\n"
        "from skin_edge.edge_runtime.cli import run\n"
        f"line = ['train', {str(ham)!r}, '--out', {str(tmp_path / 'run')!r}, '--cache', {str(tmp_path / 'cache')!r}]\n"
        f"assert run([*line, '--tensorboard', {str(tmp_path / 'tb')!r}, '--seed', '5', '--dry-run']) == 0\n"
        f"assert not {NAMES} & set(sys.modules)\n"
    )
    assert sorted(tmp_path.rglob("*")) == before
    assert "63 images, 7 classes; train" in told and "nothing is written" in told
    for words in ("--seed 5", "mobilenet, width 1, 160x160 pixels", "steps ", "time ", "mel ", "--deterministic on"):
        assert words in told, words
    assert max(map(len, told.splitlines())) <= 80 + len(str(tmp_path))


def test_the_plan_says_what_the_training_does(ham, tiny_run, tmp_path, dry):
    told = dry(ham, "--out", tmp_path / "run", *MOBILENET, "--epochs", 3)
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    assert told["recipe"] == config["recipe"]
    assert told["data"]["images"] == config["data"]["images"] == 63
    assert sum(told["split"]["images"].values()) == 63
    rows = (tiny_run / "split.csv").read_text().count(",train")
    assert told["split"]["images"]["train"] == rows
    assert told["steps_per_epoch"] == rows // config["recipe"]["batch_size"]
    assert told["split"]["leaked_share_of_test"] == 0
    assert told["hours_on_two_cpu_cores_at_most"] is None, "the recipe's hours are of another size"
    assert dry(ham, "--out", tmp_path / "run")["hours_on_two_cpu_cores_at_most"] > 0


def test_the_plan_of_folds_and_of_a_run_that_is_resumed(ham, tmp_path, measured_run, dry):
    assert dry(ham, "--out", tmp_path / "cv", "--folds", 3, *SMALL)["begun"] == "fold 1 of 3"
    (measured := tmp_path / "run").mkdir()
    for name in ("config.yaml", "split.csv"):
        (measured / name).write_bytes((measured_run / name).read_bytes())
    assert dry(measured_run.parent / "ham", "--out", measured, "--resume")["begun"] == "resumed"
    assert not (tmp_path / "cv").exists()


def test_what_is_wrong_ends_a_dry_run_as_it_ends_a_training(tmp_path, tiny_run, ham, capsys):
    assert run(["train", str(tmp_path / "gone"), "--out", str(tmp_path / "run"), "--dry-run"]) == 2
    assert "no such folder" in one_line(capsys)
    assert run(["train", str(ham), "--out", str(tiny_run), "--dry-run"]) == 2
    one_line(capsys)
    assert run(["train", "--out", str(tmp_path / "run"), "--dry-run"]) == 2
    assert "DATA" in one_line(capsys)


def test_a_config_repeats_the_run_bit_for_bit(tiny_run, tmp_path):
    """In Python, as the documentation shows it."""
    from skin_edge.train import TrainRequest, train

    lines = []
    metrics = train(TrainRequest(None, tmp_path / "again", config=tiny_run / "config.yaml"), lines.append)
    again = tmp_path / "again"
    for name in ("history.csv", "predictions.csv"):
        assert (again / name).read_bytes() == (tiny_run / name).read_bytes(), name
    assert metrics["test"]["n"] == json.loads((tiny_run / "metrics.json").read_text())["test"]["n"]
    assert any(line.startswith("kept epoch") for line in lines)
    one, other = (yaml.safe_load((folder / "config.yaml").read_text()) for folder in (tiny_run, again))
    for config in (one, other):
        del config["data"]  # the ways there from two folders
    assert one == other


def test_a_flag_wins_over_the_config(tiny_run, ham, tmp_path, dry):
    flags = ["--config", tiny_run / "config.yaml", "--out", tmp_path / "run"]
    told = dry(*flags)
    assert told["data"]["path"] == str(ham) and told["settings"]["seed"] == 42
    assert told["recipe"]["image_size"] == [32, 32] and told["begun"] == "fresh"
    changed = dry(*flags, "--seed", 7, "--epochs", 5, "--split", "random", "--no-deterministic", "--limit", 50)
    assert (changed["settings"]["seed"], changed["recipe"]["epochs"], changed["split"]["kind"]) == (7, 5, "random")
    assert not changed["settings"]["deterministic"] and changed["data"]["images"] < 63


def test_a_run_with_a_split_file_brings_its_parts(tiny_run, ham, tmp_path, dry):
    config = yaml.safe_load((tiny_run / "config.yaml").read_text())
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.yaml").write_text(yaml.safe_dump({**config, "split": "parts.csv"}))
    flags = [ham, "--config", tmp_path / "one" / "config.yaml", "--out", tmp_path / "run"]
    assert run(["train", *map(str, flags), "--dry-run"]) == 2
    assert dry(*flags, "--split", "lesion")["split"]["kind"] == "lesion"
    (tmp_path / "one" / "split.csv").write_bytes((tiny_run / "split.csv").read_bytes())
    assert dry(*flags)["split"]["images"] == dry(ham, "--out", tmp_path / "run", *SMALL)["split"]["images"]


def test_settings_that_somebody_has_written_down(ham, tmp_path, dry):
    (tmp_path / "mine.yaml").write_text(
        "data: ham\nseed: 9\ncache: memory\nclean: [age-zero]\nnear_duplicates: false\n"
        "recipe: {name: quickstart, epochs: 4, metadata: [age], augmentation: {rotation: 12}}\n"
    )
    (tmp_path / "ham").symlink_to(ham)
    flags = ["--config", tmp_path / "mine.yaml", "--out", tmp_path / "run"]
    told = dry(*flags)
    assert (told["settings"]["seed"], told["settings"]["clean"]) == (9, ["age-zero"])
    assert told["split"]["near_duplicates"] == {"on": False}
    assert (told["recipe"]["name"], told["recipe"]["epochs"]) == ("quickstart", 4)
    assert (told["recipe"]["metadata"], told["recipe"]["augmentation"]["rotation"]) == (["age"], 12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sed: 9", "unknown setting 'sed' (did you mean 'seed'?)"),
        ("csv_columns: {imgae: a}", "csv_columns.imgae"),
        ("data: {foldr: a}", "data.foldr"),
        ("seed: many", "seed must be a whole number, not 'many'"),
        ("seed: -1", "seed is outside 0..4294967295"),
        ("limit: 0", "limit must be 1 or more"),
        ("task: triage", "task 'triage' is not one of diagnosis, malignant, malignant-classes"),
        ("distribute: all", "distribute 'all' is not one of mirrored, multi-worker"),
        ("recipe: quickstrat", "did you mean 'quickstart'?"),
        ("recipe: {name: quickstart, epohcs: 3}", "did you mean 'epochs'?"),
        ("recipe: {name: quickstart, epochs: many}", "epochs is a whole number"),
        ("recipe: {name: quickstart, epochs: 2020-01-01}", "epochs is a whole number"),
        ("own_labels: [{code: mel}]", "a label is code, name and malignant"),
        ("clean: [rubbish]", "rubbish"),
        ("split: gone.csv", "not beside it"),
        ("- a", "it holds no settings"),
        ("a: [", "is not YAML"),
    ],
)
def test_what_is_wrong_in_a_config_is_one_line(text, says, ham, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(text + "\n")
    line = ["train", str(ham), "--out", str(tmp_path / "run"), "--config", str(tmp_path / "mine.yaml"), "--dry-run"]
    assert run(line) in (1, 2)
    assert says in one_line(capsys)
    assert not (tmp_path / "run").exists()


def test_a_config_of_a_newer_version_and_one_that_is_not_there(measured_run, tmp_path, capsys):
    config = yaml.safe_load((measured_run / "config.yaml").read_text())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({**config, "version": 99}))
    line = ["train", "--out", str(tmp_path / "run"), "--config"]
    assert run([*line, str(tmp_path / "config.yaml")]) == 2
    assert "version 99 is of a newer skin-edge" in one_line(capsys)
    assert run([*line, str(tmp_path / "absent.yaml")]) == 2
    assert "no such file" in one_line(capsys)
    assert run([*line, str(measured_run / "config.yaml"), "--resume"]) == 2
    assert "leave --config out" in one_line(capsys)


def test_the_python_names_are_there_and_load_no_tensorflow():
    in_a_process_of_its_own(
        "import sys\n"
        "from skin_edge.train import TrainRequest, make_plan, train\n"
        "from skin_edge.convert import ConvertSettings, convert\n"
        "import skin_edge.train, skin_edge.convert\n"
        f"assert not {NAMES} & set(sys.modules)\n"
        "assert TrainRequest('data', 'run', seed=7).seed == 7 and callable(train) and callable(convert)\n"
    )
    with pytest.raises(ImportError):
        from skin_edge.train import no_such_name  # noqa: F401


def test_class_folders_of_their_own_parts_are_planned_as_they_are(tmp_path, dry):
    for part, images in (("train", 6), ("valid", 3), ("test", 3)):
        miniatures.class_folders(tmp_path / "data" / part, images=images)
    told = dry(tmp_path / "data", "--out", tmp_path / "run", *SMALL)
    assert told["split"]["kind"] == "official" and told["split"]["images"] == {"train": 12, "val": 6, "test": 6}
