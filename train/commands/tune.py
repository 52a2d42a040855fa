"""`skin-edge tune`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ...edge_runtime import console
from .train import pairs
from .train import train as train_command

# Said of the data as `skin-edge train` says it, and passed on in the line that trains the best trial.
_SHARED = (
    "layout",
    "image_column",
    "label_column",
    "group_column",
    "images",
    "group_from",
    "min_images",
    "labels",
    "task",
    "split",
    "seed",
    "limit",
)
_REPEATED = {"also": "--also", "clean": "--clean", "drop_classes": "--drop-class"}
_FLAGS = (*_SHARED, *_REPEATED, "skip_unreadable", "cache")


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Folder to create.")
@click.option(
    "--recipe", "recipe_name", metavar="NAME", help="Recipe whose settings are searched.  [default: mobilenet-balanced]"
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Fix a setting of the recipe in all trials, such as epochs=20; may be repeated.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Total number of trials in the study, including those of earlier calls.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="Start no new trials after this many minutes.",
)
@click.option(
    "--sampler", type=click.Choice(["tpe", "random"]), default="tpe", show_default=True, help="Optuna sampler."
)
@click.option(
    "--pruner",
    type=click.Choice(["median", "hyperband", "none"]),
    default="median",
    show_default=True,
    help="Optuna pruner, which stops unpromising trials early.",
)
@click.option(
    "--storage",
    metavar="URL",
    help="Database of the study, such as postgresql://host/db, which several machines can share.  [default: a file in "
    "FOLDER]",
)
@click.option("--study", metavar="NAME", help="Name of the study in the database.  [default: the recipe's name]")
@click.option("--resume", is_flag=True, help="Continue the study in FOLDER, including an interrupted trial.")
@click.option("--json", "as_json", is_flag=True, help="Print tune.json instead of the summary.")
def tune(
    data: Path,
    out: Path,
    recipe_name: str | None,
    settings: tuple[str, ...],
    trials: int,
    timeout: float | None,
    sampler: str,
    pruner: str,
    storage: str | None,
    study: str | None,
    resume: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Search for better values of the settings that a recipe declares as searchable.

    DATA is read as by 'skin-edge train'. Trial 0 uses the recipe's own settings. Trials are compared on the validation
    part; the test part is not used.

    \b
    Example:
      skin-edge tune HAM10000 --out runs/search --set epochs=20 --trials 30
      skin-edge tune HAM10000 --out runs/search --set epochs=20 --trials 60 \\
        --resume
      skin-edge tune HAM10000 --out runs/patient --recipe cnn-metadata-augmented \\
        --sampler random
      skin-edge tune HAM10000 --out search2 --storage postgresql://me@host/studies
    """
    from ..job import to_stderr
    from ..recipes import published
    from ..reports import tune_results
    from ..request import TrainRequest, resolve
    from ..tune import TuneSettings
    from ..tune import tune as run_tune

    fixed = pairs(settings)
    recipe = published.get(recipe_name or published.DEFAULT).with_settings(fixed)
    job = resolve(TrainRequest(data, out, recipe, **flags))

    def train_line(best: Mapping[str, str]) -> str:
        words = ["skin-edge", "train", str(data), "--out", str(out / "best"), "--recipe", recipe.name]
        for name in _SHARED:
            if flags[name] is not None:
                words += [f"--{name.replace('_', '-')}", str(flags[name])]
        for name, flag in _REPEATED.items():
            for value in flags[name]:
                words += [flag, str(value)]
        words += ["--skip-unreadable"] if flags["skip_unreadable"] else []
        for name, value in {**fixed, **best}.items():
            words += ["--set", f"{name}={value}"]
        return console.command_line(*words)

    tuning = TuneSettings(job, tuple(fixed), trials, timeout, sampler, pruner, storage, study, resume)
    result = run_tune(tuning, train_line, to_stderr)
    console.say_json(result) if as_json else console.say(tune_results.text(result, out))


tune.params += [parameter for parameter in train_command.params if parameter.name in _FLAGS]
