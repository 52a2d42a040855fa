"""What a training is asked to do, and what that comes to.

`TrainRequest` holds what somebody says; None is nothing. `resolve` makes `TrainSettings` of it: what was said, else
what the resumed run or the file says, else the recipe, else the table. Open is then only what the data decide
(`split`, `near_duplicates`) or the machine (`mixed_precision`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..benchmarks.inputs import documents
from ..edge_runtime.errors import UnknownNameError, UsageError
from ..edge_runtime.labels import Label
from .data import further, splits, tasks
from .data.layouts import Columns
from .data.tasks import OwnLabels
from .recipes import published, run_config, settings
from .recipes.recipe import Recipe
from .runs import earlier_runs, run_folder
from .runs.run_folder import Run


@dataclass(frozen=True)
class TrainRequest:
    """What is asked of a training.

    None (or an empty sequence) leaves a setting to the resumed run, to `config`, to the recipe, or to its default, in
    this order.

    Attributes:
        data: The folder or csv; None where `config` or the run that is resumed names it.
        out: RUN, the folder to create.
        recipe: A name of `published.RECIPES`, or a recipe.
        changes: Field of the recipe -> value, such as {"epochs": 30, "augmentation.rotation": 180}.
        config: A config.yaml to take recipe, settings and data from.
        resume: Whether to continue the run in `out`.
        overwrite: Whether to replace the run in `out`.
        folds: Number of folds of a cross-validation, 2 or more.
        split: "lesion", "random", "official", or a csv with image_id and split.
        seed: Random seed of split and training, 0 to 2**32 - 1; 42 by default.
        limit: Size of a stratified sample, about so many images.
        task: "diagnosis", "malignant" or "malignant-classes".
        xla: Whether XLA compiles the training steps.
        mixed_precision: Whether to compute in float16; by default where there is a GPU.
        deterministic: Whether the same seed gives the same bits again; on by default.
        layout: One of `layouts.LAYOUTS`; recognised by default.
        image_column: Column of a plain csv with the image's path, name or id.
        label_column: Column of a plain csv with the label.
        group_column: Column of a plain csv with the patient or lesion.
        group_from: A regular expression with one group, or a csv, that gives images their patient or lesion.
        min_images: Classes with fewer images are left out.
        intended_use: What the model is for, in words.
        drop_classes: Classes that are left out.
        distribute: "mirrored" or "multi-worker"; one device by default.
        labels: A csv of classes with code, name and malignant (`tasks.read_labels`).
        near_duplicates: Whether near-duplicates stay in one part of the split.
        clean: Rules that leave rows out, of `clean.RULES`.
        teachers: Runs from whose outputs to learn as well (distillation).
        start: A run whose weights are the initial ones.
        images: The folder with the images that a table names, where it is not the table's own.
        also: Folders with further pictures of the same images, such as another resolution or a crop.
        skip_unreadable: Whether unreadable images are left out rather than an error.
        cache: A folder for the resized images, or "memory".
        tensorboard: A folder for the figures of every epoch.
    """

    data: str | Path | None
    out: str | Path
    recipe: Recipe | str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    config: str | Path | None = None
    resume: bool = False
    overwrite: bool = False
    folds: int | None = None
    split: str | None = None
    seed: int | None = None
    limit: int | None = None
    task: str | None = None
    xla: bool | None = None
    mixed_precision: bool | None = None
    deterministic: bool | None = None
    layout: str | None = None
    image_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    group_from: str | None = None
    min_images: int | None = None
    intended_use: str | None = None
    drop_classes: Sequence[str] = ()
    distribute: str | None = None
    labels: str | Path | None = None
    near_duplicates: bool | None = None
    clean: Sequence[str] = ()
    teachers: Sequence[str | Path] = ()
    start: str | Path | None = None
    images: str | Path | None = None
    also: Sequence[str | Path] = ()
    skip_unreadable: bool | None = None
    cache: str | Path | None = None
    tensorboard: str | Path | None = None


@dataclass(frozen=True)
class TrainSettings:
    """What a training does: a request that is resolved.

    Attributes:
        data: The folder or csv.
        out: RUN.
        resume: Whether to continue the run in `out`.
        overwrite: Whether to replace the run in `out`.
        seed: Random seed of split and training.
        skip_unreadable: Whether unreadable images are left out rather than an error.
        recipe: With all changes.
        split: One of `splits.KINDS`, or a csv with image_id and split; None as `Dataset.split_kind` says.
        limit: About so many images, stratified.
        task: One of `tasks.TASKS`.
        xla: Compile the steps.
        mixed_precision: None means where a GPU is there.
        deterministic: Operations that repeat to the bit.
        layout: None recognises it.
        image_column, label_column, group_column: Of a plain csv.
        group_from: What gives pictures their groups (`named_groups.py`).
        intended_use: What the model is for, in words, for the contract of converted files; None as
            `convert.tflite.contract` says.
        drop_classes, min_images: Classes that are left out (`tasks.for_task`).
        distribute: One of `distribution.KINDS`; None is one device.
        labels: Own classes.
        near_duplicates: Whether they connect groups; None as `grouping.connect` says.
        clean: Names of `clean.RULES` that leave rows out.
        teachers: Runs to learn from (`distillation.py`).
        start: A run to start with the weights of.
        images: The folder in which the pictures of a table are, where it is another one.
        also: Folders with further pictures of the same images (`further.py`).
        cache: A folder for the resized pictures; None keeps them in memory.
        tensorboard: A folder for the figures of every epoch.
    """

    data: Path
    out: Path
    recipe: Recipe
    resume: bool
    overwrite: bool
    split: str | None
    seed: int
    limit: int | None
    task: str
    xla: bool
    mixed_precision: bool | None
    deterministic: bool
    layout: str | None
    image_column: str | None
    label_column: str | None
    group_column: str | None
    group_from: str | None
    min_images: int
    intended_use: str | None
    drop_classes: tuple[str, ...]
    distribute: str | None
    labels: OwnLabels | None
    near_duplicates: bool | None
    clean: tuple[str, ...]
    teachers: tuple[Path, ...]
    start: Path | None
    images: Path | None
    also: tuple[Path, ...]
    skip_unreadable: bool
    cache: Path | None
    tensorboard: Path | None

    @property
    def columns(self) -> Columns:
        """Of a plain csv."""
        return Columns(self.image_column, self.label_column, self.group_column)

    @property
    def earlier(self) -> dict[str, tuple[Path, ...]]:
        """Flag -> the runs that it learns from."""
        return {"--teacher": self.teachers, "--start": (self.start,) if self.start else ()}


@dataclass(frozen=True)
class Form:
    """How the values of a setting are said, written and compared.

    said: what a request says -> what TrainSettings has. there: what config.yaml holds, and RUN -> the same. written:
    what TrainSettings has, and RUN -> what config.yaml holds. compared: either -> what has to be equal in a resumed
    training. `said` and `there` are given no None.
    """

    said: Callable[[Any], Any] = lambda value: value
    there: Callable[[Any, Path], Any] = lambda value, run: value
    written: Callable[[Any, Path], Any] = lambda value, run: value
    compared: Callable[[Any], Any] = lambda value: value


def _label_rows(value: Any) -> list[tuple[Any, ...]] | None:
    if value is None:
        return None
    own = value.labels if isinstance(value, OwnLabels) else [Label(**one) for one in value]
    return [tuple(label) for label in own]


def _seen_from(path: Path | None, run: Path) -> str | None:
    return run_config.seen_from(run, path) if path else None


_PATHS = Form(
    lambda value: tuple(map(Path, value)),
    lambda value, run: tuple(run_config.there(run, one) for one in value),
    lambda value, run: tuple(_seen_from(one, run) for one in value),
)

FORMS = {
    "plain": Form(),
    "names": Form(said=tuple, compared=lambda value: tuple(dict.fromkeys(value or ()))),
    "split": Form(said=str, written=lambda value, run: splits.called(value), compared=splits.called),
    "path": Form(Path, lambda value, run: run_config.there(run, value), _seen_from),
    "paths": _PATHS,
    "folders": replace(_PATHS, compared=further.names),  # where they are does not matter
    "cache": Form(
        lambda value: None if str(value) == "memory" else Path(value),
        lambda value, run: None if value == "memory" else run_config.there(run, value),
        lambda value, run: _seen_from(value, run) or "memory",
    ),
    "labels": Form(
        lambda value: OwnLabels(tasks.read_labels(value), str(value)),
        lambda value, run: OwnLabels(tuple(Label(**one) for one in value), "its own classes"),
        lambda value, run: None if value is None else [label._asdict() for label in value.labels],
        _label_rows,
    ),
}
"""Each `Setting.form`: a setting of another form is added here and in the table, nowhere else."""


@dataclass(frozen=True)
class _Before:
    """What a run or a file says: all of it, or what somebody has written down."""

    recipe: Recipe | None
    settings: Mapping[str, Any]
    data: Path | None


def resolve(request: TrainRequest) -> TrainSettings:
    """Raises UsageError where the request contradicts itself, and a SkinEdgeError for a name or a file that is none."""
    if request.resume and request.overwrite:
        raise UsageError("--resume and --overwrite contradict each other")
    if request.resume and request.config:
        raise UsageError("--resume takes the settings from RUN/config.yaml: leave --config out")
    before = _before(request)
    recipe = _recipe(request, before)
    values = {
        row.name: getattr(recipe, row.name) if row.of_recipe and row.name != "split" else row.default
        for row in settings.TABLE
    }
    values |= {**before.settings, **_said(request)}
    if values["start"]:
        if "weights" in request.changes:
            raise UsageError("--start and --weights contradict each other: both say which weights to start with")
        recipe = replace(recipe, weights="none")
    if not values["teachers"] and {"distillation", "teacher_views"} & set(request.changes):
        raise UsageError("--set distillation and --set teacher_views say how to learn from a --teacher: name one")
    data = Path(request.data) if request.data is not None else before.data
    if data is None:
        raise UsageError("Missing argument 'DATA'.")
    return TrainSettings(data, Path(request.out), recipe, request.resume, request.overwrite, **values)


def begun_folder(request: TrainRequest) -> Path:
    """The run whose settings a resumed training takes over: of a cross-validation the first fold."""
    return Path(request.out) / "fold-1" if request.folds else Path(request.out)


def _before(request: TrainRequest) -> _Before:
    folder = begun_folder(request)
    if request.resume and run_folder.is_run(folder):
        return _of_run(run_folder.read(folder).config, folder, resumed=True)
    if request.config is None:
        return _Before(None, {}, None)
    path = Path(request.config)
    before = _of_file(path)
    split = before.settings.get("split")
    if request.split is None and split and split not in splits.KINDS and not Path(split).is_file():
        raise UsageError(
            f"--config {path}: its split is that of {Path(split).name}, which is not beside it: --split FILE"
        )
    return before


def _of_run(config: run_config.RunConfig, folder: Path, *, resumed: bool) -> _Before:
    rows = [row for row in settings.TABLE if (row.restored if resumed else row.copied)]
    values = {row.name: _there(row, config.settings[row.name], folder) for row in rows}
    data = config.data.get("path") or config.data["folder"]
    return _Before(config.recipe, values, run_config.there(folder, data) if data else None)


def _of_file(path: Path) -> _Before:
    """Of a run's config.yaml all, of another file what it names. Raises UsageError with one line."""
    written = documents.read_yaml(path)
    folder, whole = path.parent, run_config.is_whole(written)
    try:
        if whole:
            before = _of_run(run_config.RunConfig.from_dict(written), folder, resumed=False)
        else:
            run_config.check_named(written)
            named = run_config.settings_in(written)
            values = {row.name: _there(row, named[row.name], folder) for row in settings.TABLE if row.name in named}
            data = written.get("data")
            where = data.get("path") or data.get("folder") if isinstance(data, Mapping) else data
            before = _Before(_named_recipe(written), values, run_config.there(folder, where) if where else None)
    except (ValueError, UsageError) as error:
        raise UsageError(f"--config {path}: {error}") from None
    split = before.settings.get("split")
    if split and split not in splits.KINDS:  # a run keeps the name of the file alone, and the parts in its own
        own = folder / "split.csv"
        file = own if whole and own.is_file() else folder / split
        before = replace(before, settings={**before.settings, "split": str(file)})
    return before


def _named_recipe(written: Mapping[str, Any]) -> Recipe | None:
    """The recipe that a file names, whole or as a name with what differs."""
    told = written.get("recipe")
    if told is None or isinstance(told, str):
        return None if told is None else published.get(told)
    if "summary" in told:
        return Recipe.from_dict(told)
    own = {key: value for key, value in told.items() if key not in ("name", "augmentation")}
    inner = told.get("augmentation") or {}
    if not isinstance(inner, Mapping):
        raise ValueError("recipe.augmentation must be named values")
    own |= {f"augmentation.{key}": value for key, value in inner.items()}
    return published.get(str(told.get("name") or published.DEFAULT)).with_settings(own)


def _said(request: TrainRequest) -> dict[str, Any]:
    """What the request names, as TrainSettings has it. Raises UnknownNameError or UsageError where a value is wrong."""
    said: dict[str, Any] = {}
    for row in settings.TABLE:
        value: Any = getattr(request, row.name)
        if value is None or value in ((), []):
            continue
        if row.choices and value not in row.choices:
            raise UnknownNameError(row.name, str(value), row.choices)
        if wrong := row.problem(value):
            raise UsageError(f"{row.flag}: {wrong}")
        said[row.name] = FORMS[row.form].said(value)
    return said


def _recipe(request: TrainRequest, before: _Before) -> Recipe:
    recipe = request.recipe
    if not isinstance(recipe, Recipe):
        old = before.recipe
        recipe = old if old and recipe in (None, old.name) else published.get(recipe or published.DEFAULT)
    return recipe.with_settings(request.changes)


def check_resumable(run: Run, now: TrainSettings, earlier: Mapping[str, Sequence[Run]]) -> None:
    """A resumed training is the same training: every setting of the table that must match does.

    Args:
        earlier: The runs of `now.earlier`.

    Raises:
        UsageError: Which names the settings that differ.
    """
    before, told = run.recipe.to_dict(), now.recipe.to_dict()
    different = [name for name in before if before[name] != told[name]]
    models = {"teachers": earlier.get("--teacher", ()), "start": earlier.get("--start", ())}
    for row in settings.TABLE:
        old, new = (
            FORMS[row.form].compared(value)
            for value in (_there(row, run.config.settings[row.name], run.folder), getattr(now, row.name))
        )
        if row.name in models:  # where they are does not matter
            new = [one["sha256"] for one in earlier_runs.described(models[row.name], run.folder)]
            old = [one["sha256"] for one in run.config.earlier(row.name)]
        if row.match and old != new:
            different.append(row.flag.removeprefix("--") if row.name in models else row.name)
    if different:
        raise UsageError(
            f"{run.folder} was started with other settings ({', '.join(different)}): repeat its flags, which are in "
            f"{run.folder / 'config.yaml'}, or choose another --out"
        )


def _there(row: settings.Setting, value: Any, run: Path) -> Any:
    """A setting as TrainSettings has it, of config.yaml's value: paths lead from here, not from RUN."""
    return None if value is None else FORMS[row.form].there(value, run)


def written(now: TrainSettings) -> dict[str, Any]:
    """The settings as config.yaml of `now.out` has them."""
    return {row.name: FORMS[row.form].written(getattr(now, row.name), now.out) for row in settings.TABLE}
