"""`skin-edge data`."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--clean", "rules", multiple=True, metavar="RULE", help="Leave rows out first; may be repeated.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=42, show_default=True, help="Of the default split.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FOLDER", help="Writes data.json and duplicates.csv.")
@click.option("--json", "as_json", is_flag=True, help="Print data.json instead of the summary.")
def data(data: Path, rules: tuple[str, ...], seed: int, out: Path | None, as_json: bool) -> None:
    """Show what DATA holds: classes, groups, unreadable files, unknown values, duplicates, leakage of the split.

    Every picture is decoded as the runtime does it. Rules: age-zero, age-blank, unknown-sex, unknown-site, published
    (a published baseline's: age 0 and unknown rows).

    \b
    Example:
      skin-edge data HAM10000
      skin-edge data HAM10000 --clean published --out report
    """
    import pandas as pd

    from ..edge_runtime import files
    from ..edge_runtime.errors import OutputExistsError
    from .clean import check
    from .inspection import inspect, text
    from .job import to_stderr
    from .layouts import read_dataset

    check(rules)
    if out is not None:
        if out.exists():
            raise OutputExistsError(out, "choose another --out")
        files.check_writable(out)
    dataset = read_dataset(data)
    found = inspect(dataset, rules, seed, lambda n: to_stderr(f"\rreading images: {n}/{len(dataset.frame)}"))
    to_stderr("\r")
    document = json.dumps(found, indent=2)
    if out is not None:
        rows = [
            (*pair["image_ids"], *pair["groups"], *pair["labels"], pair["correlation"])
            for pair in found["near_duplicates_across_groups"]
        ]
        columns = ["image_id_a", "image_id_b", "group_a", "group_b", "label_a", "label_b", "correlation"]
        with files.replacing_folder(out) as folder:
            files.write(folder / "data.json", document + "\n")
            files.write(folder / "duplicates.csv", pd.DataFrame(rows, columns=columns).to_csv(index=False))
    click.echo(document if as_json else text(found))
