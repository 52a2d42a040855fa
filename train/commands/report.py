"""`skin-edge evaluate` and `skin-edge compare`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from ...edge_runtime import console
from ...edge_runtime.errors import UsageError
from ...edge_runtime.help import SectionedCommand
from .options import label_options, layout_options

_SECTIONS = {
    "Data": (
        "layout",
        "image_column",
        "label_column",
        "group_column",
        "images",
        "group_from",
        "labels",
        "task",
        "part",
    ),
    "Output": ("out", "overwrite", "as_json"),
}


@click.command(cls=SectionedCommand, sections=_SECTIONS)
@click.argument("model", metavar="RUN|MODEL.tflite", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write metrics.json, predictions.csv, report.html and figures.md (Markdown) there.  [default: write nothing]",
)
@click.option(
    "--split-part",
    "part",
    metavar="PART",
    help='Part of the data, or "all".  [default: test, where there are parts]',
)
@layout_options
@label_options(
    "Of DATA's labels: csv code,name,malignant.  [default: as RUN was trained]",
    "Of the model.",
    "RUN's, else as the model's classes say",
)
@click.option("--overwrite", is_flag=True, help="Replace an evaluation in FOLDER.")
@click.option("--json", "as_json", is_flag=True, help="Print metrics.json instead of the summary.")
def evaluate(
    model: Path,
    data: Path,
    out: Path | None,
    part: str | None,
    layout: str | None,
    image_column: str | None,
    label_column: str | None,
    group_column: str | None,
    images: Path | None,
    group_from: str | None,
    labels: Path | None,
    task: str | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure a trained RUN or a .tflite on DATA: a folder in a known layout, or a csv of pictures and labels.

    DATA is read as 'train' reads it, by the same flags. What they leave open is as RUN was trained, where that fits:
    the columns of a csv, which labels are malignant, how groups are named, and where RUN's own data lies its layout and
    --images. A .tflite remembers none of that.

    Nothing is chosen on DATA: thresholds are those of RUN's validation part or of the file. A picture that cannot be
    assessed is counted as that, and never as right.

    \b
    Example:
      skin-edge evaluate runs/first other-clinic --out other-clinic-report
      skin-edge evaluate runs/first/int8/model_int8.tflite runs/first/split.csv
      skin-edge evaluate model_int8.tflite clinic.csv --image-column file \\
        --label-column finding
    """
    from ...edge_runtime import files
    from .. import evaluate as new_data
    from ..data.layouts import Columns
    from ..job import to_stderr
    from ..reports import run_report
    from ..runs import reading

    if out is not None:
        new_data.check_replaceable(out) if overwrite else new_data.check_free(out)
        files.check_replaceable(out, [model, data])
    told = reading.told(layout, Columns(image_column, label_column, group_column), images, group_from, labels, task)
    with files.alone_in(out, "skin-edge evaluate") if out is not None else contextlib.nullcontext():
        results, table, start = new_data.evaluate(model, data, part, to_stderr, told)
        if out is not None:
            new_data.write(out, results, table, overwrite=overwrite, pictures=start)
    console.say_json(results) if as_json else console.say(run_report.evaluated(results, out))


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write a table and a plot (.html, .png) or the table alone (.csv).",
)
@click.option(
    "--part",
    type=click.Choice(["validation", "test"]),
    default="test",
    show_default=True,
    help="Use validation while you are still selecting a model.",
)
@click.option(
    "--different-data", is_flag=True, help="Allow runs with different images; no differences are computed then."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def compare(
    runs: tuple[Path, ...], out: Path | None, part: str, different_data: bool, overwrite: bool, as_json: bool
) -> None:
    """Runs side by side on their images, with paired differences to the first.

    Intervals are bootstrapped over patients or lesions where the data names them, else over images.

    RUN is a folder of 'skin-edge train' or of 'skin-edge evaluate --out'.

    \b
    Example:
      skin-edge compare runs/first runs/second
      skin-edge compare runs/first runs/second --part validation
      skin-edge compare runs/first runs/second runs/third --out compared.html
    """
    from ...benchmarks.report import terminal
    from ...edge_runtime import files
    from .. import compare as compare_runs
    from ..reports import compare_views

    if len(runs) < 2:
        raise UsageError("compare needs two runs or more")
    if out is not None:
        compare_views.check_output(out, overwrite)
        files.check_writable_file(out)
    comparison = compare_runs.compare([compare_runs.read(run, part) for run in runs], different_data=different_data)
    if out is not None:
        compare_views.write(comparison, out)
    for warning in comparison["warnings"]:
        console.say(f"warning: {warning}", err=True)
    console.say_json(comparison) if as_json else console.say(terminal.text(compare_views.document(comparison)))
