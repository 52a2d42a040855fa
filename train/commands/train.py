"""`skin-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...edge_runtime import console
from ...edge_runtime.errors import UsageError
from ...edge_runtime.help import SectionedCommand
from .options import class_options, intended_use_option, label_options, layout_options, setting_option


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
             "task", "drop_classes", "min_images", "clean", "limit", "skip_unreadable", "metadata"),
    "Split": ("split", "seed", "near_duplicates", "folds"),
    "Network": ("recipe", "config", "texts", "weights", "start", "image_size", "decoding", "width", "unfreeze"),
    "Training": ("epochs", "batch_size", "learning_rate", "loss", "balance", "balance_validation", "teachers"),
    "Machine": ("mixed_precision", "deterministic", "distribute", "cache", "xla"),
    "Output": ("out", "intended_use", "resume", "overwrite", "dry_run", "tensorboard", "as_json"),
}  # fmt: skip


_RECIPE = ("weights", "loss", "balance", "balance_validation", "epochs", "image_size", "decoding", "batch_size",
           "learning_rate", "unfreeze", "width", "metadata")  # fmt: skip
"""Flags that are fields of the recipe."""


@click.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="The folder to write.")
@click.option("--recipe", metavar="NAME", help="See skin-edge recipes.  [default: mobilenet-enhanced]")
@click.option("--weights", metavar="imagenet|none|FILE", help="Starting weights of the backbone (FILE: without top).")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Recipe, settings and DATA of a config.yaml: RUN's repeats that run. Flags beside it win.",
)
@click.option(
    "--set",
    "texts",
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
@label_options("Own classes: csv code,name,malignant.")
@setting_option("teachers", "Learn from its answers too (distillation); may be repeated.", metavar="RUN")
@setting_option("start", "Start with its weights, at this or another size, on this or other data.", metavar="RUN")
@click.option(
    "--metadata",
    is_flag=False,
    flag_value="all",
    metavar="[NAME,...]",
    help="Tell the network age, sex, site, diameter_mm, image_type beside the picture; without names what DATA has.",
)
@setting_option(
    "split",
    "official: the parts that DATA came with. FILE: a csv with image_id and split.",
    default="official for class folders in train/ and test/, else the recipe's",
    metavar="lesion|random|official|FILE",
)
@setting_option("seed")
@setting_option("limit", "A stratified sample of about N images.", metavar="N")
@setting_option(
    "clean",
    "Leave rows out (see skin-edge data --help); none: leave none out, where the recipe would.",
    metavar="RULE|none",
)
@setting_option(
    "near_duplicates",
    "Keep near-duplicates in one part.",
    default="on for --split lesion of up to 50,000 images",
)
@click.option("--folds", type=click.IntRange(min=2), metavar="K", help="Cross-validation: K trainings, RUN/fold-1 ...")
@setting_option("skip_unreadable", "Leave unreadable images out and list them in skipped.csv.", single=True)
@click.option(
    "--resume", is_flag=True, help="Go on after the last whole epoch, with the settings RUN was started with."
)
@click.option("--overwrite", is_flag=True, help="Replace RUN.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the plan (data, split, leakage, settings, network, steps, time); nothing is trained or written.",
)
@intended_use_option
@setting_option("mixed_precision", default="on when a GPU is there")
@setting_option("deterministic", "The same bits again from the same seed on the same machine.")
@setting_option("distribute", "All GPUs of this machine, or the machines in TF_CONFIG; see docs/distributed.md.")
@setting_option(
    "cache",
    "Where the resized images lie; a FOLDER serves later runs too.",
    default="memory",
    metavar="memory|FOLDER",
)
@setting_option("xla", "Compile the steps: a slow start, then often faster.")
@setting_option("tensorboard", "Figures of every epoch.", metavar="FOLDER")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json, or the plan, instead of the summary.")
def train(
    data: Path | None,
    out: Path,
    recipe: str | None,
    texts: tuple[str, ...],
    folds: int | None,
    dry_run: bool,
    as_json: bool,
    **flags: Any,
) -> None:
    """Train on DATA and write RUN.

    DATA is the folder of HAM10000 (from Kaggle or Dataverse), ISIC 2018, 2019, 2020 or 2024, an isic-cli export,
    PAD-UFES-20, class folders (also in train/, val/ and test/), or a csv of pictures and labels. Of class folders the
    first one below DATA is a picture's class, however deep the picture lies; where one folder holds everything, or only
    the folders one further down are named after diagnoses, those are the classes.

    Unset options come from --config, else from the recipe. After an interruption at any moment, the same command with
    --resume continues the training. DATA may be left out where --config or the run that is resumed names it.

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
      skin-edge train HAM10000 --out runs/first --dry-run
      skin-edge train --config runs/first/config.yaml --out runs/again --seed 7
    """
    from .. import api, cross_validation
    from .. import plan as planning
    from ..job import to_stderr
    from ..reports import run_report
    from ..request import TrainRequest
    from ..runs import run_folder

    changes = pairs(texts)
    for name in _RECIPE:
        value = flags.pop(name)
        changes |= {name: value} if value is not None else {}
    request = api.with_begun_folds(TrainRequest(data, out, recipe, changes, folds=folds, **flags))
    if dry_run:
        plan = api.plan(request, to_stderr)
        console.say_json(plan.to_dict()) if as_json else console.say(planning.text(plan))
        return
    metrics = api.train(request, to_stderr)
    if not metrics:
        return  # a worker; the chief prints
    if as_json:
        console.say_json(metrics)
    elif request.folds:
        console.say(cross_validation.text(metrics, out))
    else:
        console.say(run_report.trained(metrics, out, qat=run_folder.read(out).recipe.qat))


def pairs(settings: tuple[str, ...]) -> dict[str, Any]:
    """The values of --set: ("dropout=0.3",) -> {"dropout": "0.3"}. Raises UsageError where one has no "="."""
    for text in settings:
        if "=" not in text:
            raise UsageError(f"--set {text}: write NAME=VALUE, such as --set dropout=0.3")
    return {name: value for name, _, value in (text.partition("=") for text in settings)}
