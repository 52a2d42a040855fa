"""`skin-edge data`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import click

from ...edge_runtime import console
from .options import also_option, class_options, layout_options


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--clean", "rules", multiple=True, metavar="RULE", help="Leave out rows by RULE first; may be repeated.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=42, show_default=True, help="Random seed of the default split."
)
@layout_options
@also_option
@class_options
@click.option(
    "--near-duplicates/--no-near-duplicates",
    default=True,
    show_default=True,
    help="Look for near-duplicate images across patients or lesions.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write data.json, duplicates.csv, and contact sheets: a PNG for each class and one for the near-duplicates.",
)
@click.option("--json", "as_json", is_flag=True, help="Print data.json instead of the summary.")
def data(
    data: Path,
    rules: tuple[str, ...],
    seed: int,
    layout: str | None,
    image_column: str | None,
    label_column: str | None,
    group_column: str | None,
    images: Path | None,
    also: tuple[Path, ...],
    group_from: str | None,
    drop_classes: tuple[str, ...],
    min_images: int | None,
    near_duplicates: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Report the contents of the data set DATA: classes, patients or lesions, unreadable files, unknown values,
    duplicates, leakage of the default split, and files that are not used.

    Every image is decoded in the same way as on the device. RULE is one of age-zero, age-blank, unknown-sex,
    unknown-site, none and published (leaves out age 0 and rows with unknown values, like a published baseline).

    \b
    Example:
      skin-edge data HAM10000
      skin-edge data HAM10000 --clean published --out report
      skin-edge data HAM10000 --also CROPS
      skin-edge data own.csv --image-column file --label-column finding
    """
    from ...benchmarks.report import terminal
    from ...edge_runtime import files
    from ...edge_runtime.errors import OutputExistsError
    from ..data import further, tasks
    from ..data.clean import check
    from ..data.inspection import document, inspect, write
    from ..data.layouts import Columns, read_dataset
    from ..job import to_stderr
    from ..recipes import published

    check(rules)
    if out is not None and out.exists():
        raise OutputExistsError(out, "choose another --out")
    with files.alone_in(out, "skin-edge data") if out is not None else contextlib.nullcontext():
        columns = Columns(image_column, label_column, group_column)
        dataset = read_dataset(data, layout, columns, images, group_from, also=also)
        dataset = tasks.without_classes(dataset, drop_classes, min_images=min_images or 0)
        n = len(further.joined(dataset.frame, dataset.further))
        default = published.get(published.DEFAULT)
        found = inspect(
            dataset,
            default.fractions,
            default.split,
            rules,
            seed,
            lambda done: to_stderr(f"\rreading images: {done}/{n}"),
            near_duplicates,
        )
        to_stderr("\r")
        if out is not None:
            write(out, found, dataset, rules, seed)
    console.say_json(found) if as_json else console.say(terminal.text(document(found)))
