"""`skin-edge convert`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..edge_runtime.errors import UsageError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--int8", "int8", is_flag=True, help="Static int8 weights and activations (w8a8). The one precision yet.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="[default: RUN/int8]")
@click.option("--ptq", is_flag=True, help="Post-training: calibrate only, without quantization-aware training.")
@click.option("--qat-epochs", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--qat-learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-5, show_default=True)
@click.option("--distill/--no-distill", default=True, show_default=True, help="Learn from the float model's outputs.")
@click.option(
    "--io",
    type=click.Choice(["uint8", "int8", "float32"]),
    default="uint8",
    show_default=True,
    help="Input type. uint8 and float32 answer float32 probabilities; int8 is integer throughout.",
)
@click.option(
    "--representative",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    metavar="N",
    help="Training images that set the ranges.",
)
@click.option("--overwrite", is_flag=True, help="Replace DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def convert(
    run: Path,
    int8: bool,
    out: Path | None,
    ptq: bool,
    qat_epochs: int,
    qat_learning_rate: float,
    distill: bool,
    io: str,
    representative: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Convert RUN, a folder of 'skin-edge train', to an int8 .tflite and its float32 twin.

    \b
    Example:
      skin-edge convert runs/first --int8
      skin-edge convert runs/first --int8 --ptq --out runs/first/ptq
    """
    if not int8:
        raise UsageError("name the precision: skin-edge convert RUN --int8")
    from ..train.job import to_stderr
    from .job import ConvertSettings
    from .job import convert as run_job
    from .summary import summary

    out = out or run / ("int8-ptq" if ptq else "int8")
    settings = ConvertSettings(
        run,
        out,
        post_training=ptq,
        io=io,
        qat_epochs=qat_epochs,
        qat_learning_rate=qat_learning_rate,
        distill=distill,
        representative=representative,
        overwrite=overwrite,
    )
    result = run_job(settings, to_stderr)
    click.echo(json.dumps(result, indent=2) if as_json else summary(result, run, out))


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("quickstart"), show_default=True, metavar="DIR", help="New."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=42, show_default=True)
def quickstart(out: Path, seed: int) -> None:
    """The whole job in minutes, without a network: draw, train, convert, bench, predict.

    The lesions are drawn and called synthetic everywhere; nothing here says anything about real ones.

    \b
    Example:
      skin-edge quickstart
      skin-edge quickstart --out /tmp/first-try
    """
    from ..train.job import to_stderr
    from .quickstart import quickstart as run_job
    from .summary import story

    click.echo(story(run_job(out, to_stderr, seed)))
