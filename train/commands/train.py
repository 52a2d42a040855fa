"""`skin-edge train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ...edge_runtime import console
from ...edge_runtime.errors import UsageError
from ...edge_runtime.help import SectionedCommand
from .options import class_options, intended_use_option, label_options, layout_options


class ImageSize(click.ParamType):
    """224, or HxW such as 100x125 -> (height, width) in pixels."""

    name = "N|HxW"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        numbers = value.lower().split("x")
        if not all(number.isdigit() for number in numbers) or len(numbers) > 2:
            self.fail(f"'{value}' is neither N nor HxW", param, ctx)
        height, width = int(numbers[0]), int(numbers[-1])
        if not (32 <= height <= 1024 and 32 <= width <= 1024):
            self.fail(f"{height}x{width} is outside 32..1024 pixels", param, ctx)
        return height, width


_SECTIONS = {
    "Data": ("layout", "image_column", "label_column", "group_column", "images", "group_from", "labels",
             "task", "drop_classes", "min_images", "rules", "limit", "skip_unreadable", "metadata"),
    "Split": ("split", "seed", "near_duplicates", "folds"),
    "Network": ("recipe_name", "settings", "weights", "start", "image_size", "decoding", "width", "unfreeze"),
    "Training": ("epochs", "batch_size", "learning_rate", "loss", "balance", "balance_validation", "teachers"),
    "Machine": ("mixed_precision", "deterministic", "distribute", "cache", "xla"),
    "Output": ("out", "intended_use", "resume", "overwrite", "tensorboard", "as_json"),
}  # fmt: skip


@click.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="The folder to write.")
@click.option("--recipe", "recipe_name", metavar="NAME", help="See skin-edge recipes.  [default: mobilenet-enhanced]")
@click.option("--weights", metavar="imagenet|none|FILE", help="Starting weights of the backbone (FILE: without top).")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Any setting of the recipe, such as schedule=cosine or augmentation.rotation=180; repeatable.",
)
@click.option("--loss", metavar="NAME", help="cross-entropy, focal or logit-adjusted.")
@click.option(
    "--balance",
    metavar="NAME|N",
    help="none, class-weight, oversample, undersample, or so many images of each class in an epoch; training only.",
)
@click.option("--balance-validation", is_flag=True, default=None, help="Compare epochs on equally many of each class.")
@click.option("--epochs", type=click.IntRange(min=1), help="At most; stops early when validation stops improving.")
@click.option("--image-size", type=ImageSize(), help="Pixels, 224 or HxW such as 100x125.")
@click.option(
    "--scaled-decode",
    "decoding",
    flag_value="scaled",
    default=None,
    help="Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, in training and on the device: faster, but an app needs "
    "libjpeg to do so.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per training step.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="Of Adam, at the start.")
@click.option("--unfreeze", type=click.IntRange(min=0), help="How many of the backbone's last layers to train.")
@click.option("--width", type=click.FloatRange(min=0, min_open=True), help="Width multiplier of the backbone.")
@layout_options
@class_options
@label_options("Own classes: csv code,name,malignant.", "[default: the recipe's]")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Learn from its answers too (distillation); may be repeated.",
)
@click.option(
    "--start",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Start with its weights, at this or another size, on this or other data.",
)
@click.option(
    "--metadata",
    is_flag=False,
    flag_value="all",
    metavar="[NAME,...]",
    help="Tell the network age, sex, site, diameter_mm, image_type beside the picture; without names what DATA has.",
)
@click.option(
    "--split",
    metavar="lesion|random|official|FILE",
    help="official: the parts that DATA came with. FILE: a csv with image_id and split.  [default: official for class "
    "folders in train/ and test/, else the recipe's]",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="[default: 42]")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="A stratified sample of about N images.")
@click.option(
    "--clean",
    "rules",
    multiple=True,
    metavar="RULE|none",
    help="Leave rows out (see skin-edge data --help); none: leave none out, where the recipe would.  "
    "[default: the recipe's]",
)
@click.option(
    "--near-duplicates/--no-near-duplicates",
    default=None,
    help="Keep near-duplicates in one part.  [default: on for --split lesion of up to 50,000 images]",
)
@click.option("--folds", type=click.IntRange(min=2), metavar="K", help="Cross-validation: K trainings, RUN/fold-1 ...")
@click.option("--skip-unreadable", is_flag=True, help="Leave unreadable images out and list them in skipped.csv.")
@click.option(
    "--resume", is_flag=True, help="Go on after the last whole epoch, with the settings RUN was started with."
)
@click.option("--overwrite", is_flag=True, help="Replace RUN.")
@intended_use_option
@click.option("--mixed-precision/--no-mixed-precision", default=None, help="[default: on when a GPU is there]")
@click.option(
    "--deterministic/--no-deterministic",
    default=True,
    help="The same bits again from the same seed on the same machine.  [default: on]",
)
@click.option(
    "--distribute",
    type=click.Choice(["mirrored", "multi-worker"]),
    help="All GPUs of this machine, or the machines in TF_CONFIG; see docs/distributed.md.",
)
@click.option(
    "--cache",
    metavar="memory|FOLDER",
    default="memory",
    show_default=True,
    help="Where the resized images lie; a FOLDER serves later runs too.",
)
@click.option(
    "--xla/--no-xla", default=None, help="Compile the steps: a slow start, then often faster.  [default: off]"
)
@click.option("--tensorboard", type=click.Path(path_type=Path), metavar="FOLDER", help="Figures of every epoch.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json instead of the summary.")
def train(
    data: Path,
    out: Path,
    recipe_name: str | None,
    settings: tuple[str, ...],
    layout: str | None,
    image_column: str | None,
    label_column: str | None,
    group_column: str | None,
    images: Path | None,
    group_from: str | None,
    drop_classes: tuple[str, ...],
    min_images: int | None,
    labels: Path | None,
    task: str | None,
    metadata: str | None,
    split: str | None,
    seed: int | None,
    limit: int | None,
    rules: tuple[str, ...],
    near_duplicates: bool | None,
    folds: int | None,
    skip_unreadable: bool,
    resume: bool,
    overwrite: bool,
    intended_use: str | None,
    mixed_precision: bool | None,
    deterministic: bool,
    distribute: str | None,
    teachers: tuple[Path, ...],
    start: Path | None,
    cache: str,
    xla: bool | None,
    tensorboard: Path | None,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train on DATA and write RUN.

    DATA is the folder of HAM10000 (from Kaggle or Dataverse), ISIC 2018, 2019, 2020 or 2024, an isic-cli export,
    PAD-UFES-20, class folders (also in train/, val/ and test/), or a csv of pictures and labels. Of class folders the
    first one below DATA is a picture's class, however deep the picture lies; where one folder holds everything, or only
    the folders one further down are named after diagnoses, those are the classes.

    Unset options come from the recipe. After an interruption at any moment, the same command with --resume
    continues the training.

    \b
    Example:
      skin-edge train HAM10000 --out runs/first
      skin-edge train HAM10000 --out runs/small --image-size 160 --epochs 30
      skin-edge train ISIC_2020 --out runs/malignant --task malignant
      skin-edge train HAM10000 --out runs/cnn --recipe cnn-augmented
      skin-edge train own.csv --out runs/own --image-column file \\
        --label-column finding
      skin-edge train HAM10000 --out runs/told --metadata age,sex,site
      skin-edge train HAM10000 --out runs/five --folds 5
      skin-edge train HAM10000 --out runs/all-gpus --distribute mirrored
      skin-edge train HAM10000 --out runs/small --teacher runs/first \\
        --split runs/first/split.csv
      skin-edge train HAM10000 --out runs/large --start runs/small \\
        --split runs/small/split.csv
      skin-edge train HAM10000 --out runs/first --resume
    """
    from .. import cross_validation
    from ..data import patients
    from ..data.layouts import PATH_LABEL_GROUP, Columns
    from ..job import TrainSettings, to_stderr
    from ..job import train as run_job
    from ..recipes import published
    from ..reports.summary import summary
    from ..runs import run_folder

    if resume and overwrite:
        raise UsageError("--resume and --overwrite contradict each other")
    if resume and folds is None and cross_validation.is_cross_validation(out):
        folds = int(cross_validation.read(out)[0]["folds"])
    begun = out / "fold-1" if folds else out
    started = run_folder.read(begun) if resume and run_folder.is_run(begun) else None
    recipe = published.get(recipe_name or (started.recipe.name if started else published.DEFAULT))
    if started and recipe.name == started.recipe.name:
        recipe = started.recipe
    if metadata is not None:  # before --set, which may choose a network that needs it
        recipe = replace(recipe, metadata=patients.names_of(metadata))
    recipe = recipe.with_settings(pairs(settings))
    recipe = replace(recipe, **{name: value for name, value in overrides.items() if value is not None})
    split = split or (str(started.config["split"]) if started else None)
    if seed is None:
        seed = int(started.config["seed"]) if started else 42
    if started:
        rules = rules or tuple(started.config.get("clean") or {})
        limit = started.config["limit"] if limit is None else limit
        mixed_precision = bool(started.config["mixed_precision"]) if mixed_precision is None else mixed_precision
        task = task or started.config.get("task")
        group_from = group_from or started.config.get("group_from")
        drop_classes = drop_classes or tuple(started.config.get("drop_classes") or ())
        min_images = min_images or started.config.get("min_images")
        xla = bool(started.config.get("xla")) if xla is None else xla
        intended_use = intended_use or started.config.get("intended_use")
        layout = layout or started.config["data"]["layout"]
        distribute = distribute or (started.config.get("distribute") or {}).get("kind")
        teachers = teachers or tuple(run_folder.there(begun, one["run"]) for one in started.config.get("teachers", []))
        start = start or (
            run_folder.there(begun, started.config["start"]["run"]) if "start" in started.config else None
        )
    if start and overrides["weights"]:
        raise UsageError("--start and --weights contradict each other: both say which weights to start with")
    if not teachers and {"distillation", "teacher_views"} & set(pairs(settings)):
        raise UsageError("--set distillation and --set teacher_views say how to learn from a --teacher: name one")
    columns = Columns(image_column, label_column, group_column)
    if started and columns == PATH_LABEL_GROUP:
        columns = Columns(**started.config.get("csv_columns", {}))
    if started and images is None and started.config.get("images"):
        images = run_folder.there(begun, started.config["images"])
    job = TrainSettings(
        data,
        out,
        recipe,
        split=split,
        seed=seed,
        limit=limit,
        skip_unreadable=skip_unreadable,
        mixed_precision=mixed_precision,
        deterministic=deterministic,
        cache=None if cache == "memory" else Path(cache),
        resume=resume,
        overwrite=overwrite,
        layout=layout,
        columns=columns,
        images=images,
        group_from=group_from,
        drop_classes=drop_classes,
        min_images=min_images or 0,
        labels=labels,
        task=task or recipe.task,
        clean=rules or recipe.clean,
        near_duplicates=near_duplicates,
        xla=bool(xla),
        tensorboard=tensorboard,
        distribute=distribute,
        teachers=teachers,
        start=start,
        intended_use=intended_use,
    )
    metrics = cross_validation.cross_validate(job, folds, to_stderr) if folds else run_job(job, to_stderr)
    if not metrics:
        return  # a worker; the chief prints
    if as_json:
        console.say_json(metrics)
    else:
        console.say(cross_validation.text(metrics, out) if folds else summary(metrics, out, qat=recipe.qat))


def pairs(settings: tuple[str, ...]) -> dict[str, str]:
    """The values of --set: ("dropout=0.3",) -> {"dropout": "0.3"}. Raises UsageError where one has no "="."""
    for text in settings:
        if "=" not in text:
            raise UsageError(f"--set {text}: write NAME=VALUE, such as --set dropout=0.3")
    return {name: value for name, _, value in (text.partition("=") for text in settings)}
