"""`skin-edge evaluate` and `skin-edge compare`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from ...edge_runtime import console
from ...edge_runtime.commands import ModelPath
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
@click.argument("model", type=ModelPath("RUN"))
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
    "Define the classes of DATA by a csv with the columns code, name and malignant.  [default: as RUN was trained]",
    "Task of the model.",
    "RUN's, else derived from the model's classes",
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
    """Measure the accuracy of a trained RUN or of a .tflite on DATA, a folder in a known layout or a csv of images and
    labels.

    DATA is read as by 'skin-edge train', with the same options. Options that are not given are as RUN was trained,
    where that applies: the columns of a csv, the malignant labels, the patient or lesion ids; on RUN's own data also
    --layout and --images. A .tflite stores none of these.

    Nothing is selected on DATA: the thresholds are those chosen on RUN's validation part, or those stored in the
    .tflite. Images that cannot be read are reported as such and never counted as correct. If the .tflite can refuse
    images, or has sets of possible classes, the report has the share refused, what that costs at the thresholds, and
    the coverage; all other figures are of all images, whether refused or not.

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
    help="Part of the data to compare on; use validation while you are still selecting a model.",
)
@click.option(
    "--different-data", is_flag=True, help="Allow runs on different images; differences are not computed then."
)
@click.option("--overwrite", is_flag=True, help="Replace FILE.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def compare(
    runs: tuple[Path, ...], out: Path | None, part: str, different_data: bool, overwrite: bool, as_json: bool
) -> None:
    """Compare two or more runs on the same images, with paired differences to the first run.

    The 95% intervals are bootstrapped over patients or lesions if the data has their ids, else over images.

    RUN is a folder written by 'skin-edge train' or by 'skin-edge evaluate --out'.

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
