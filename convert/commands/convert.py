"""`skin-edge convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ...edge_runtime import console
from ...edge_runtime.errors import UsageError
from ...train.commands.options import intended_use_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--int8", "int8", is_flag=True, help="Quantize weights and activations to int8 (w8a8), like --precision int8."
)
@click.option(
    "--precision",
    type=click.Choice(["int8", "w8a16", "float16", "w8a32"]),
    help="Number format. int8: weights and activations. w8a16: int8 weights, int16 activations. float16: weights only. "
    "w8a32: int8 weights, float activations.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder to write.  [default: RUN/int8, RUN/int8-ptq, ...]",
)
@click.option("--ptq", is_flag=True, help="Post-training quantization only, without quantization-aware training.")
@click.option(
    "--auto",
    is_flag=True,
    help="Try post-training quantization first, then quantization-aware training; keep the first whose loss of "
    "balanced accuracy is acceptable (see --max-drop).",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    metavar="X",
    help="Largest acceptable loss of balanced accuracy on the validation part; exit with 3 if it is larger.  [default "
    "with --auto: 0.01]",
)
@click.option(
    "--calibration",
    metavar="minmax|percentile[:P]",
    default="minmax",
    show_default=True,
    help="Activation ranges of post-training quantization: minimum and maximum, or the P-th percentiles (P: 99.99 "
    "if left out).",
)
@click.option(
    "--keep-float",
    multiple=True,
    metavar="PATTERN",
    help="Layers to keep in float, by name (* matches any characters); writes model_mixed.tflite. May be repeated.",
)
@click.option(
    "--qat-epochs",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Epochs of quantization-aware training.",
)
@click.option(
    "--qat-learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=2e-5,
    show_default=True,
    help="Learning rate of quantization-aware training.",
)
@click.option(
    "--distill/--no-distill",
    default=True,
    show_default=True,
    help="In quantization-aware training, also learn from the float model's outputs.",
)
@click.option(
    "--io",
    type=click.Choice(["uint8", "int8", "float32"]),
    help="Data type of the model's input. With uint8 and float32 the output is float32, with int8 it is int8.  "
    "[default: uint8; float32 if the precision is not int8]",
)
@click.option(
    "--temperature/--no-temperature",
    default=True,
    show_default=True,
    help="Calibrate the probabilities: fold a temperature, fitted on the validation part, into the last layer.",
)
@click.option(
    "--logit-shift",
    metavar="none|auto|TAU",
    default="none",
    show_default=True,
    help="Logit adjustment for rare classes: subtract TAU times the log of each class's frequency. auto: the best "
    "TAU on the validation part.",
)
@click.option("--cam", is_flag=True, help="Add a class activation map as a second output, for heatmaps.")
@click.option(
    "--front",
    metavar="HxW|auto",
    help="Also write a file whose input is HxW (a whole multiple of the network's input size) and which resizes it "
    "inside the graph, with antialiasing: for MediaPipe and others that resize by methods of their own. auto: about "
    "480x640.",
)
@click.option(
    "--micro",
    is_flag=True,
    help="Write a file for microcontrollers: int8 input and output, no float operator; the C port does the softmax.",
)
@click.option(
    "--arena",
    "arena_kb",
    type=click.IntRange(min=1),
    metavar="KB",
    help="With --micro: exit with 3 if TFLite Micro needs more memory than this (1 KB is 1024 bytes; needs the extra "
    "micro).",
)
@click.option(
    "--flash",
    "flash_kb",
    type=click.IntRange(min=1),
    metavar="KB",
    help="With --micro: exit with 3 if the file is larger than this.",
)
@click.option(
    "--representative",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    metavar="N",
    help="Number of training images in the representative dataset, which sets the quantization ranges.",
)
@click.option(
    "--scaled-decode",
    is_flag=True,
    help="Specify that large JPEGs are decoded at 1/2, 1/4 or 1/8 of their size: faster, but the app must decode with "
    "libjpeg.  [default: as the run was trained]",
)
@click.option(
    "--no-assessment",
    "assessment",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave out the limits beyond which a picture cannot be assessed (too dark, blurred, no lesion), and the sets "
    "of possible classes.",
)
@click.option(
    "--no-training-pictures",
    "training_pictures",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Leave out the hashes of the training images (about 9 bytes of each), by which 'skin-edge evaluate' and "
    "'skin-edge bench' recognise them.",
)
@click.option("--author", metavar="TEXT", help="Author of the model, for the TFLite metadata.")
@click.option(
    "--license", "license_", metavar="TEXT", help="License of the model.  [default: as required by the data's terms]"
)
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder with the run's images, if they were moved.",
)
@intended_use_option
@click.option("--overwrite", is_flag=True, help="Replace DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def convert(
    run: Path,
    int8: bool,
    precision: str | None,
    out: Path | None,
    ptq: bool,
    auto: bool,
    max_drop: float | None,
    calibration: str,
    keep_float: tuple[str, ...],
    io: str | None,
    micro: bool,
    logit_shift: str,
    license_: str | None,
    as_json: bool,
    **others: Any,
) -> None:
    """Convert RUN, a folder written by 'skin-edge train', to a quantized .tflite and its float32 baseline.

    The default with --int8 is quantization-aware training; --ptq and --auto choose otherwise.

    \b
    Example:
      skin-edge convert runs/first --int8
      skin-edge convert runs/first --int8 --auto --max-drop 0.005
      skin-edge convert runs/first --int8 --ptq --calibration percentile:99.9
      skin-edge convert runs/first --int8 --front 480x640
      skin-edge convert runs/first --micro --arena 256 --flash 1024
    """
    if micro and io not in (None, "int8"):
        raise UsageError(f"--micro and --io {io} contradict each other")
    if not int8 and not precision and not micro:
        raise UsageError("name the precision: skin-edge convert RUN --int8")
    if int8 and precision not in (None, "int8"):
        raise UsageError(f"--int8 and --precision {precision} contradict each other")
    if int8 and keep_float:
        raise UsageError("a file with layers in float is not int8: use --precision int8 --ptq --keep-float PATTERN")
    if ptq and auto:
        raise UsageError("--ptq and --auto contradict each other")
    from ...benchmarks.report import terminal
    from ...train.job import to_stderr
    from ..job import convert as run_job
    from ..settings import ConvertSettings
    from .summary import document

    precision = precision or "int8"
    post_training = ptq or precision != "int8"
    folder = "mixed" if keep_float else precision + ("-ptq" if ptq and precision == "int8" else "-auto" if auto else "")
    folder += "-micro" if micro else ""
    settings = ConvertSettings(
        run,
        out or run / folder,
        precision=precision,
        method="auto" if auto else "ptq" if post_training else "qat",
        percentile=_percentile(calibration),
        max_drop=max_drop,
        keep_float=keep_float,
        io=io or ("int8" if micro else "uint8" if precision == "int8" else "float32"),
        micro=micro,
        tau=_tau(logit_shift),
        license=license_,
        **others,
    )
    result = run_job(settings, to_stderr)
    console.say_json(result) if as_json else console.say(terminal.text(document(result, run, settings.out)))


def _percentile(calibration: str) -> float | None:
    kind, _, number = calibration.partition(":")
    if calibration == "minmax":
        return None
    try:
        value = float(number) if number else 99.99
    except ValueError:
        value = 0.0
    if kind != "percentile" or not 50 < value <= 100:
        raise UsageError(f"--calibration {calibration}: 'minmax' or 'percentile:P' with P above 50 and at most 100")
    return value


def _tau(logit_shift: str) -> float | None:
    """None stands for "auto"."""
    if logit_shift in ("none", "auto"):
        return 0.0 if logit_shift == "none" else None
    try:
        value = float(logit_shift)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 3:
        raise UsageError(f"--logit-shift {logit_shift}: 'none', 'auto' or a number from 0 to 3")
    return value


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("quickstart"),
    show_default=True,
    metavar="DIR",
    help="Folder to create.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=42, show_default=True, help="Random seed.")
def quickstart(out: Path, seed: int) -> None:
    """Run every step in minutes, offline: draw synthetic images, train, convert, measure, predict.

    The images are drawn lesions; the results say nothing about real ones.

    \b
    Example:
      skin-edge quickstart
      skin-edge quickstart --out /tmp/first-try
    """
    from ...train.job import to_stderr
    from ..quickstart import quickstart as run_job
    from .summary import story

    console.say(story(run_job(out, to_stderr, seed)))
