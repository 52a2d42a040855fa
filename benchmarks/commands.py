"""`skin-edge bench`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..edge_runtime.errors import UsageError


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--reference", type=click.Path(path_type=Path), metavar="FLOAT", help="The float .tflite to compare with."
)
@click.option("--data", type=click.Path(path_type=Path), metavar="CSV|FOLDER", help="Labelled images for accuracy.")
@click.option("--split", metavar="PART", help='Part of the data, or "all".  [default: test, where there are parts]')
@click.option("--images", type=click.Path(path_type=Path), metavar="DIR", help="Where the images of the csv lie now.")
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Times this image.  [default: the first of --data, else a generated one]",
)
@click.option("--num-runs", type=click.IntRange(min=1), default=50, show_default=True, help="Timed predictions.")
@click.option("--warmup-runs", type=click.IntRange(min=0), default=5, show_default=True, help="Predictions before.")
@click.option("--num-threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Interpreter threads.")
@click.option("--result-json", type=click.Path(path_type=Path), metavar="FILE", help="Write everything measured.")
@click.option("--json", "as_json", is_flag=True, help="Print the JSON instead of the table.")
def bench(
    model: Path | None,
    reference: Path | None,
    data: Path | None,
    split: str | None,
    images: Path | None,
    image: Path | None,
    num_runs: int,
    warmup_runs: int,
    num_threads: int,
    result_json: Path | None,
    as_json: bool,
) -> int:
    """Measure MODEL, a .tflite file (without one: the packaged model), on this machine.

    Size, load time, latency by stage with its spread, peak memory and the machine; with --data, accuracy; with
    --reference, both files side by side, the interval of their difference and the images that flipped.

    --data is a csv with the columns path and label (image_id, group, split are optional; a run's split.csv is one), or
    a folder <label>/*.jpg. It needs scikit-learn: pip install "skin-edge[bench]".

    An image that cannot be read is reported and left out, and the exit code is 1.

    \b
    Example:
      skin-edge bench
      skin-edge bench runs/first/int8/model_int8.tflite \\
        --reference runs/first/int8/model_float32.tflite \\
        --data runs/first/split.csv --result-json bench.json
    """
    from ..edge_runtime.classifier import DISCLAIMER
    from . import report
    from .bench import BenchSettings, run_bench

    if result_json is not None and result_json.is_dir():
        raise UsageError(f"--result-json {result_json} is a folder: name a file")
    settings = BenchSettings(
        model=model,
        reference=reference,
        data=data,
        split=split,
        images=images,
        image=image,
        num_runs=num_runs,
        warmup_runs=warmup_runs,
        num_threads=num_threads,
    )
    result = run_bench(settings, progress=_to_stderr)
    # Printed first: an unwritable file must not cost what was measured.
    if as_json:
        click.echo(report.as_json(result), nl=False)
        click.echo(DISCLAIMER, err=True)
    else:
        click.echo(report.table(result))
    if result_json is not None:
        try:
            report.write_json(result_json, result)
        except OSError as error:
            raise UsageError(f"--result-json {result_json} cannot be written: {error.strerror}") from None
    return 1 if result["accuracy"] and result["accuracy"]["failed"] else 0


def _to_stderr(done: int, total: int) -> None:
    """One line that overwrites itself on a terminal, else a line at every tenth."""
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{done}/{total} images" if done < total else "\r\033[K", err=True, nl=False)
    elif done * 10 // total > (done - 1) * 10 // total:
        click.echo(f"{done}/{total} images", err=True)
