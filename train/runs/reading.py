"""How a data set is to be read that a model is measured on: as the user says, else as its run was trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ...benchmarks.inputs.classes import TASKS, read_labels
from ...benchmarks.inputs.columns import OF_A_RUN, PATH_LABEL_GROUP, Columns, shown
from ...benchmarks.inputs.locate import RUN_TABLES
from ...edge_runtime import csv_files
from ...edge_runtime.errors import DataError, UnknownNameError
from ...edge_runtime.labels import Label
from ..recipes.run_config import there
from .run_folder import Run


@dataclass(frozen=True)
class Reading:
    """What `train` is told of its data, by the same names; None and blank are found out.

    Attributes:
        layout, columns, images, group_from: As `layouts.read_dataset` takes them.
        labels: What the user says of the data's labels (`classes.read_labels`).
        task: Of `classes.TASKS`.
        likely_layout: Taken where several fit.
        likely_group_from: Taken where it serves, and data that names no groups stays so where it does not.
    """

    layout: str | None = None
    columns: Columns = PATH_LABEL_GROUP
    images: Path | None = None
    group_from: str | None = None
    labels: tuple[Label, ...] = ()
    task: str | None = None
    likely_layout: str | None = None
    likely_group_from: str | None = None


def told(
    layout: str | None,
    columns: Columns,
    images: Path | None,
    group_from: str | None,
    labels: Path | None,
    task: str | None,
) -> Reading:
    """A `Reading` of what is on the command line.

    Args:
        layout: Of --layout.
        columns: Of --image-column, --label-column and --group-column.
        images: Of --images.
        group_from: Of --group-from.
        labels: Of --labels.
        task: Of --task.

    Raises what `read_labels` raises; UnknownNameError for a task.
    """
    if task is not None and task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    return Reading(layout, columns, images, group_from, read_labels(labels) if labels else (), task)


def as_trained(reading: Reading, run: Run, data: Path) -> tuple[Reading, Path, list[str]]:
    """(the reading, with what the run's config.yaml remembers where it says nothing; the data; lines that say so).

    What only means something where the run's data is (its layout, and --images) is remembered for that folder alone.
    The columns of a csv are remembered for every csv but a run's own tables. The data is a folder's one csv where that
    has these columns.

    Raises DataError where a csv has neither the column that the run was trained with nor the usual one.
    """
    config = run.config
    root = data if data.is_dir() else data.parent
    same = root.resolve() == there(run.folder, str(config.data["folder"])).resolve()
    lines: list[str] = []
    before = config.settings
    columns = Columns(before["image_column"], before["label_column"], before["group_column"])
    if columns != PATH_LABEL_GROUP and reading.layout in (None, "csv"):
        data = _table_with(data, columns) or data
        if data.is_file():
            columns, lines = _columns_in(data, reading.columns, columns, run)
            reading = replace(reading, columns=columns)
    layout = config.layout
    if same and reading.layout is None and data.is_dir() and layout != "csv":
        reading = replace(reading, layout=layout)
    if same and reading.images is None and before["images"]:
        images = there(run.folder, before["images"])
        reading = replace(reading, images=images)
        lines.append(f"as {run.folder} was trained: --images {images}")
    own = tuple(Label(**entry) for entry in before["labels"] or ())
    remembered = {
        "likely_layout": layout,
        "likely_group_from": before["group_from"],
        "labels": reading.labels or own,
        "task": reading.task or before["task"],
    }
    return replace(reading, **remembered), data, lines


def _table_with(folder: Path, columns: Columns) -> Path | None:
    """The one csv of a folder, where it has the columns of a run's csv."""
    tables = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if len(tables) != 1:
        return None
    try:
        names = csv_files.read(tables[0], most=0).columns
    except DataError:
        return None
    return tables[0] if {columns.image or "path", columns.label or "label"} <= set(names) else None


def _columns_in(table: Path, given: Columns, remembered: Columns, run: Run) -> tuple[Columns, list[str]]:
    """(the columns that a csv is read with, what is to be said of them)."""
    names = csv_files.read(table, most=0).columns
    if table.name in RUN_TABLES or set(OF_A_RUN) <= set(names):
        return given, []
    found: dict[str, str | None] = {}
    lines: list[str] = []
    for role, usual in (("image", "path"), ("label", "label"), ("group", "group")):
        said, before = getattr(given, role), getattr(remembered, role)
        if said or before is None or before in names:
            found[role] = said or before
            continue
        if role != "group" and usual not in names:
            raise DataError(
                f"{table} has no column {before}, which {run.folder} was trained with; found: {shown(names)}: name the "
                f"one that is meant with --{role}-column"
            )
        found[role] = None
        instead = f"{usual} is read" if usual in names else "groups are not known"
        lines.append(f"{table} has no column {before}, which {run.folder} was trained with: {instead}")
    kept = Columns(**found)
    own = Columns(**{role: None if getattr(given, role) else name for role, name in found.items()})
    return kept, ([f"as {run.folder} was trained: {own.flags()}"] if own != PATH_LABEL_GROUP else []) + lines
