"""`skin-edge train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...edge_runtime import console
from ...edge_runtime.errors import UsageError
from ...edge_runtime.help import SectionedCommand
from .options import also_option, class_options, intended_use_option, label_options, layout_options, setting_option


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
    "Data": ("layout", "image_column", "label_column", "group_column", "images", "also", "group_from", "labels",
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
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="RUN", help="Folder to create.")
@click.option(
    "--recipe",
    metavar="NAME",
    help="Recipe with the network and its settings; 'skin-edge recipes' lists them.  [default: mobilenet-balanced]",
)
@click.option(
    "--weights",
    metavar="imagenet|none|FILE",
    help="Initial weights of the backbone; none: random. FILE holds the weights of a network without its top layer.  "
    "[default: the recipe's]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the recipe, the settings and DATA from a config.yaml; that of a run repeats the run. Options on the "
    "command line take precedence.",
)
@click.option(
    "--set",
    "texts",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change a setting of the recipe, such as schedule=cosine or augmentation.rotation=180; may be repeated.",
)
@click.option(
    "--loss",
    metavar="NAME",
    help="Loss function: cross-entropy, focal or logit-adjusted.  [default: the recipe's]",
)
@click.option(
    "--balance",
    metavar="NAME|N",
    help="Treatment of class imbalance in the training part: none, class-weight, oversample, undersample, or the "
    "number of images of each class in an epoch.  [default: the recipe's]",
)
@click.option(
    "--balance-validation",
    is_flag=True,
    default=None,
    help="Compare epochs on the same number of validation images of each class.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Maximum number of epochs; training stops early when validation stops improving.  [default: the recipe's]",
)
@click.option(
    "--image-size",
    type=ImageSize(),
    help="Input size of the network in pixels: 224, or height x width such as 100x125.  [default: the recipe's]",
)
@click.option(
    "--scaled-decode",
    "decoding",
    flag_value="scaled",
    default=None,
    help="Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, in training and on the device: faster, but the app "
    "must decode with libjpeg.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per training step.  [default: the recipe's]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    help="Initial learning rate of Adam.  [default: the recipe's]",
)
@click.option(
    "--unfreeze",
    type=click.IntRange(min=0),
    help="Number of layers of the backbone to train, counted from its end.  [default: the recipe's]",
)
@click.option(
    "--width",
    type=click.FloatRange(min=0, min_open=True),
    help="Width multiplier of the backbone.  [default: the recipe's]",
)
@layout_options
@also_option
@class_options
@label_options(
    "Define the classes by a csv with the columns code, name and malignant.",
    "Predict diagnoses, malignant against benign, or the malignant diagnoses alone.",
)
@setting_option(
    "teachers", "Also learn from the outputs of this earlier run (distillation); may be repeated.", metavar="RUN"
)
@setting_option(
    "start", "Initialise from the weights of this earlier run; input size and data may differ.", metavar="RUN"
)
@click.option(
    "--metadata",
    is_flag=False,
    flag_value="all",
    metavar="[NAME,...]",
    help="Patient fields as a second input of the network: age, sex, site, diameter_mm, image_type. Without names: "
    "all that DATA has.",
)
@setting_option(
    "split",
    "How to split DATA into training, validation and test parts. lesion: by patient, else by lesion. official: the "
    "parts that DATA comes with. FILE: a csv with the columns image_id and split.",
    default="official for class folders in train/ and test/, else the recipe's",
    metavar="lesion|random|official|FILE",
)
@setting_option("seed", "Random seed of the split and of the training.")
@setting_option("limit", "Use a stratified sample of about N images.", metavar="N")
@setting_option(
    "clean",
    "Leave out rows by a rule that 'skin-edge data --help' lists; none: use every row, even where the recipe leaves "
    "some out. May be repeated.",
    metavar="RULE|none",
)
@setting_option(
    "near_duplicates",
    "Keep near-duplicate images in the same part of the split.",
    default="on for --split lesion of up to 50,000 images",
)
@click.option(
    "--folds",
    type=click.IntRange(min=2),
    metavar="K",
    help="Cross-validation: train K models, in RUN/fold-1 to RUN/fold-K.",
)
@setting_option("skip_unreadable", "Leave out unreadable images and list them in skipped.csv.", single=True)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue an interrupted run after its last complete epoch, with the settings it was started with.",
)
@click.option("--overwrite", is_flag=True, help="Replace RUN.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print the plan (data, split, leakage, settings, network, steps, expected time) without training or writing "
    "anything.",
)
@intended_use_option
@setting_option("mixed_precision", "Compute in float16 where it is safe, for speed.", default="on if there is a GPU")
@setting_option(
    "deterministic", "Use deterministic operations: the same seed on the same machine gives identical weights."
)
@setting_option(
    "distribute",
    "Train on several devices. mirrored: all GPUs of this machine. multi-worker: the machines that TF_CONFIG names; "
    "see docs/distributed.md.",
)
@setting_option(
    "cache",
    "Where to keep the resized images; later runs reuse those in a FOLDER.",
    default="memory",
    metavar="memory|FOLDER",
)
@setting_option("xla", "Compile the training steps with XLA: the start takes longer, the steps are often faster.")
@setting_option("tensorboard", "Write the figures of every epoch for TensorBoard.", metavar="FOLDER")
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
    """Train a model on DATA and write it, with its report, to the folder RUN.

    DATA is the folder of HAM10000 (from Kaggle or Dataverse), ISIC 2018, 2019, 2020 or 2024, an isic-cli export,
    PAD-UFES-20, class folders (also in train/, val/ and test/), or a csv of images and labels. With class folders, the
    name of the first folder below DATA is the class of every image in it, at any depth. If there is only one such
    folder, or only the folders one level further down are named after diagnoses, those are the classes.

    Options that are not given come from --config, else from the recipe. After an interruption, the same command with
    --resume continues the training. With --config or --resume, DATA may be left out.

    \b
    Example:
      skin-edge train HAM10000 --out runs/first
      skin-edge train HAM10000 --out runs/small --image-size 160 --epochs 30
      skin-edge train ISIC_2020 --out runs/malignant --task malignant
      skin-edge train HAM10000 --out runs/cnn --recipe cnn-augmented
      skin-edge train own.csv --out runs/own --image-column file \\
        --label-column finding
      skin-edge train HAM10000 --out runs/patient --metadata age,sex,site
      skin-edge train HAM10000 --out runs/travels --also FULLSIZE --also CROPS
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
    from ...benchmarks.report import terminal
    from .. import api, cross_validation
    from .. import plan as planning
    from ..job import to_stderr
    from ..reports import run_report
    from ..request import TrainRequest
    from ..runs import run_folder

    changes = pairs(texts)
    for name in _RECIPE:
        value = flags.pop(name)
        if value is not None and name in changes:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} and --set {name}={changes[name]} name the same setting: give one of them")
        changes |= {name: value} if value is not None else {}
    request = api.with_begun_folds(TrainRequest(data, out, recipe, changes, folds=folds, **flags))
    if dry_run:
        plan = api.plan(request, to_stderr)
        console.say_json(plan.to_dict()) if as_json else console.say(terminal.text(planning.document(plan)))
        return
    metrics = api.train(request, to_stderr)
    if not metrics:
        return  # a worker; the chief prints
    if as_json:
        console.say_json(metrics)
    elif request.folds:
        console.say(terminal.text(cross_validation.document(metrics, out)))
    else:
        console.say(run_report.trained(metrics, out, qat=run_folder.read(out).recipe.qat))


def pairs(settings: tuple[str, ...]) -> dict[str, Any]:
    """The values of --set: ("dropout=0.3",) -> {"dropout": "0.3"}; of one name, the last. UsageError without "="."""
    for text in settings:
        if "=" not in text:
            raise UsageError(f"--set {text}: write NAME=VALUE, such as --set dropout=0.3")
    return {name: value for name, _, value in (text.partition("=") for text in settings)}
