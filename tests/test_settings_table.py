"""Every setting of a training survives --resume, and is refused where it is changed: over the table itself."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.labels import Label
from skin_edge.train.commands.train import train as command
from skin_edge.train.data import tasks
from skin_edge.train.data.layouts import read_dataset
from skin_edge.train.loop import distribution
from skin_edge.train.plan import TrainPlan
from skin_edge.train.prepare import with_split
from skin_edge.train.recipes import published
from skin_edge.train.recipes.recipe import Recipe
from skin_edge.train.recipes.run_config import RunConfig
from skin_edge.train.recipes.settings import BY_NAME, TABLE
from skin_edge.train.request import TrainRequest, TrainSettings, check_resumable, resolve
from skin_edge.train.runs import earlier_runs, run_folder

# Of each setting two values that are not its default. HERE is the test's folder.
TWO = {
    "split": ("random", "HERE/split.csv"),
    "seed": (7, 8),
    "limit": (30, 40),
    "task": ("malignant", "malignant-classes"),
    "xla": (True, False),
    "mixed_precision": (True, False),
    "deterministic": (False, True),
    "layout": ("csv", "isic-cli"),
    "image_column": ("file", "picture"),
    "label_column": ("finding", "diagnosis"),
    "group_column": ("person", "who"),
    "group_from": ("(p)", "(q)"),
    "min_images": (2, 3),
    "intended_use": ("For naked eyes.", "For phones."),
    "drop_classes": (("df", "vasc"), ("df",)),
    "distribute": ("mirrored", "multi-worker"),
    "labels": ("HERE/own.csv", "HERE/other.csv"),
    "near_duplicates": (True, False),
    "clean": (("age-zero", "unknown-sex"), ("none",)),
    "teachers": (("HERE/first", "HERE/second"), ("HERE/first",)),
    "start": ("HERE/first", "HERE/second"),
    "images": ("HERE/first", "HERE/second"),
    "also": (("HERE/first", "HERE/second"), ("HERE/first",)),
    "skip_unreadable": (True, False),
    "cache": ("HERE/first", "memory"),
    "tensorboard": ("HERE/first", "HERE/second"),
}
OF_RECIPE = [name for name in Recipe.__dataclass_fields__ if name not in ("search", "name")]
ANOTHER = {
    "decoding": "scaled", "weights": "imagenet", "unfreeze": 3, "batch_norm": "frozen", "batch_norm_momentum": 0.5,
    "pooling": "max", "balance": "oversample", "loss": "focal", "schedule": "cosine", "keep": "last",
    "best_by": "accuracy", "split": "random", "fractions": (0.5, 0.3, 0.2), "metadata": ("age",), "teacher_views": 4,
    "clean": ("age-zero",), "task": "malignant", "hidden": (8,), "image_size": (48, 48), "backbone": "mobilenetv2",
    "augmentation": replace(published.get("quickstart").augmentation, rotation=12.5),
}  # fmt: skip


@pytest.fixture
def here(tmp_path, measured_run):
    for name in ("first", "second"):
        shutil.copytree(measured_run, tmp_path / name)
        (tmp_path / name / "model.keras").write_text(name)
    (tmp_path / "own.csv").write_text("code,name,malignant\nmel,,1\nnv,,0\n")
    (tmp_path / "other.csv").write_text("code,name,malignant\nmel,,1\nbcc,,1\n")
    shutil.copy(measured_run / "split.csv", tmp_path / "split.csv")
    return tmp_path


def put(value, here):
    if isinstance(value, tuple):
        return tuple(put(one, here) for one in value)
    return value.replace("HERE", str(here)) if isinstance(value, str) else value


def begun(settings: TrainSettings, measured: Path) -> run_folder.Run:
    """RUN as a training with these settings begins it."""
    run, dataset = run_folder.read(measured), read_dataset(measured.parent / "ham")
    settings = with_split(settings, dataset)
    earlier = {flag: earlier_runs.read(folders, flag) for flag, folders in settings.earlier.items()}
    plan = TrainPlan(
        settings,
        dataset,
        run.split.assign(named_group=run.split["group"]),
        run.labels,
        {"clean": dict.fromkeys(settings.clean, 0), "near_duplicates": {"on": bool(settings.near_duplicates)}},
        teachers=tuple(earlier["--teacher"]),
        start=next(iter(earlier["--start"]), None),
        place=distribution.Place(settings.distribute),
    )
    config = plan.config(mixed_precision=bool(settings.mixed_precision), devices=2, machine={})
    if settings.layout:
        config = replace(config, data={**config.data, "layout": settings.layout})
    return run_folder.begin(settings.out, config=config, split=plan.frame, skipped={})


def test_the_table_and_those_who_read_it_have_the_same_settings():
    names = set(BY_NAME)
    assert set(TWO) == names, "say here what a new setting may be"
    own = {"data", "out", "recipe", "resume", "overwrite"}
    assert {field.name for field in fields(TrainSettings)} == names | own
    assert {field.name for field in fields(TrainRequest)} == names | own | {"changes", "config", "folds"}
    flags = {param.name: param for param in command.params}
    for row in TABLE:
        assert row.flag in flags[row.name].opts, row.name
        assert flags[row.name].default in (None, ()) or not isinstance(flags[row.name].default, str), row.name
    assert BY_NAME["task"].choices == tasks.TASKS and BY_NAME["distribute"].choices == distribution.KINDS


@pytest.mark.parametrize("name", list(BY_NAME))
def test_a_setting_survives_and_is_refused_where_it_is_changed(name, here, measured_run):
    row, out = BY_NAME[name], here / "run"
    one, other = (put(value, here) for value in TWO[name])
    request = TrainRequest(measured_run.parent / "ham", out, "quickstart", **{name: one})
    settings = resolve(request)
    assert getattr(settings, name) != getattr(resolve(replace(request, **{name: None})), name), "a value of its own"
    run = begun(settings, measured_run)
    again = resolve(TrainRequest(None, out, resume=True))
    assert again.data == measured_run.parent / "ham"
    earlier = {flag: earlier_runs.read(folders, flag) for flag, folders in again.earlier.items()}
    check_resumable(run, again, earlier)
    expected, got = getattr(settings, name), getattr(again, name)
    if name == "labels":
        expected, got = expected.labels, got.labels
    elif name == "split":
        expected = Path(expected).name
    assert got == expected
    changed = resolve(TrainRequest(None, out, resume=True, **{name: other}))
    earlier = {flag: earlier_runs.read(folders, flag) for flag, folders in changed.earlier.items()}
    if not row.match:
        check_resumable(run, changed, earlier)
        assert getattr(changed, name) != expected
        return
    with pytest.raises(UsageError, match=f"other settings \\({row.flag.removeprefix('--')}|{name}"):
        check_resumable(run, changed, earlier)


@pytest.mark.parametrize("name", OF_RECIPE)
def test_a_field_of_the_recipe_survives_and_is_refused_where_it_is_changed(name, here, measured_run):
    plain = published.get("quickstart")
    value = ANOTHER.get(name, getattr(plain, name))
    if name not in ANOTHER:
        value = {bool: not value, int: value + 1, float: value / 3 + 0.07}[type(value)] if value != str(value) else "x"
    recipe = replace(plain, **{name: value})
    settings = resolve(TrainRequest(measured_run.parent / "ham", here / "run", recipe))
    run = begun(settings, measured_run)
    again = resolve(TrainRequest(None, here / "run", resume=True))
    assert again.recipe == recipe
    check_resumable(run, again, {})
    with pytest.raises(UsageError, match=rf"other settings \({name}"):
        check_resumable(run, replace(again, recipe=plain), {})


def test_a_config_is_what_its_file_holds(measured_run):
    config = run_folder.read(measured_run).config
    assert RunConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


def test_a_run_of_before_is_resumed_with_what_it_was_trained_with(measured_run, tmp_path):
    """The first versions named neither determinism nor xla, task, classes, near-duplicates and columns."""
    out = shutil.copytree(measured_run, tmp_path / "run")
    recipe = published.get("quickstart").to_dict()
    labels = [label._asdict() for label in run_folder.read(out).labels]
    data = {"layout": "ham10000-kaggle", "folder": str(measured_run.parent / "ham")}
    older = {"seed": 3, "split": "lesion", "limit": None, "mixed_precision": False, "data": data}
    (out / "config.yaml").write_text(yaml.safe_dump({**older, "recipe": recipe, "labels": labels}))
    settings = resolve(TrainRequest(None, out, resume=True))
    assert (settings.seed, settings.deterministic, settings.xla, settings.near_duplicates) == (3, True, False, False)
    assert (settings.task, settings.clean, settings.labels, settings.cache) == ("diagnosis", (), None, None)
    check_resumable(run_folder.read(out), settings, {})
    assert isinstance(run_folder.read(out).labels[0], Label)
