"""A search over the settings that a recipe declares: many short trainings, compared on the validation part.

Optuna proposes and prunes; each trial goes through the same `fit` as `skin-edge train`. Rows, split and seed are the
same in all trials, and the pictures stay in memory between them. The test part is left out before the first trial,
so no choice can be made with it.

    FOLDER/  study.db  trials/0007/history.csv  trials.csv  tune.json  tune.html
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import socket
import time
import warnings
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..edge_runtime import files, stopping
from ..edge_runtime.errors import DataError, OutputExistsError, SkinEdgeError, UnwritableError, UsageError
from . import job, preflight, streams
from .data import patients
from .prepare import Report, prepare, with_fields, without_unreadable
from .recipes.recipe import Recipe
from .recipes.search_space import Between, Log, OneOf
from .reports import tune_results
from .request import TrainSettings
from .runs import run_folder
from .streams import Stream

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "hyperband", "none")

# They would change which pictures are compared, or by what.
_NOT_SEARCHED = ("split", "fractions", "keep", "best_by", "balance_validation")

_HEARTBEAT = 60  # seconds; a machine that has been silent for twice as long has lost its trial


@dataclass(frozen=True)
class TuneSettings:
    """What a search is told.

    Attributes:
        job: The data, the seed and the recipe with its fixed settings; `out` is the search's folder.
        fixed: The names of those settings, which are not varied.
        trials: Of the whole study, of all machines, those included that were there before.
        timeout: Minutes after which no trial is begun.
        sampler: Of SAMPLERS.
        pruner: Of PRUNERS.
        storage: A database URL as SQLAlchemy takes it; None is study.db in the folder.
        study: None is the recipe's name.
        resume: Go on in the folder, with the study in it or behind `storage`; without it a study behind a storage is
            joined from a new folder.
    """

    job: TrainSettings
    fixed: tuple[str, ...] = ()
    trials: int = 20
    timeout: float | None = None
    sampler: str = "tpe"
    pruner: str = "median"
    storage: str | None = None
    study: str | None = None
    resume: bool = False


def tune(settings: TuneSettings, train_line: Callable[[Mapping[str, str]], str], report: Report) -> dict[str, Any]:
    """Searches; returns what tune.json holds.

    Args:
        train_line: Settings such as {"dropout": "0.3"} -> the `skin-edge train` line that trains them.

    Raises:
        SkinEdgeError: For all that is wrong with data or settings, and where the recipe's own defaults cannot be
            trained; another trial that fails is marked so and the search goes on.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    out, recipe = settings.job.out, settings.job.recipe
    space = {name: allowed for name, allowed in recipe.search.items() if name not in settings.fixed}
    if not space:
        raise UsageError(f"recipe '{recipe.name}' declares nothing to search beside what --set fixes")
    for name in _NOT_SEARCHED:
        if name in space:
            raise UsageError(
                f"recipe '{recipe.name}' searches {name}: trials would not be compared on the same pictures"
            )
    _check_output(settings)
    alone = files.alone_in(out, "skin-edge tune", resume=settings.resume)
    with alone, files.temporary_folder(), _storing(settings):
        return _search(settings, space, train_line, report)


@contextlib.contextmanager
def _storing(settings: TuneSettings) -> Generator[None, None, None]:
    """Makes one line of what the study's database says, at whatever moment it does not answer."""
    import optuna
    import sqlalchemy.exc

    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        reason = _reason(error)
        if not settings.storage:
            raise UnwritableError(settings.job.out / "study.db", reason) from None
        raise DataError(f"--storage: {reason}; fix it, then {stopping.GOES_ON}") from None


def _reason(error: BaseException) -> str:
    """What the database itself said. The URL is not repeated: it may hold a password."""
    while error.__cause__:
        error = error.__cause__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _search(
    settings: TuneSettings,
    space: Mapping[str, Any],
    train_line: Callable[[Mapping[str, str]], str],
    report: Report,
) -> dict[str, Any]:
    _check_output(settings)
    out = settings.job.out
    preflight.check_folders(settings.job.cache, settings.job.tensorboard)
    preflight.check_call(settings.job.recipe.weights)
    prepared = prepare(settings.job, report)
    dataset, frame = prepared.dataset, prepared.frame
    settings = replace(settings, job=with_fields(settings.job, dataset))
    recipe = settings.job.recipe
    out.mkdir(exist_ok=True)
    (out / "trials").mkdir(exist_ok=True)
    sampling = frame.loc[frame["split"] != "test"].reset_index(drop=True)
    about = {
        "recipe": recipe.to_dict(),
        "search": {name: allowed.to_dict() for name, allowed in space.items()},
        "seed": settings.job.seed,
        "split": str(settings.job.split),
        "limit": settings.job.limit,
        "task": settings.job.task,
        "images": {part: int((frame["split"] == part).sum()) for part in ("train", "val", "test")},
        "fingerprint_sha256": run_folder.fingerprint(frame),
    }
    study, new = _study(settings, about)
    here = {"machine": socket.gethostname(), "folder": str(out.resolve())}
    _check_trials(out, study)
    if new or not (settings.storage or study.get_trials(deepcopy=False)):
        study.enqueue_trial(_defaults(recipe, space), user_attrs={"defaults": True})
    _take_back(study, here)
    images = about["images"]
    report(
        f"study {study.study_name}: {len(space)} settings, {_counted(study)} of {settings.trials} trials are done; "
        f"train {images['train']}, val {images['val']} images; no trial sees the {images['test']} of the test part"
    )
    report("starting TensorFlow ...")
    preflight.check_network(recipe)
    trainer = _Trainer(settings.job, [label.code for label in dataset.labels], sampling, report)
    objective = _Objective(settings, space, trainer, here, report)
    deadline = time.monotonic() + 60 * settings.timeout if settings.timeout else float("inf")
    while time.monotonic() < deadline and _counted(study, running=True) < settings.trials:
        study.optimize(objective, n_trials=1, catch=(_TrialFailed,))
        tune_results.write(out, study, about, train_line, importances=False)
    result = tune_results.write(out, study, about, train_line, importances=True)
    if result["best"] is None:
        raise DataError(f"no trial of {out} has finished: give it more --trials or a longer --timeout")
    return result


def _check_output(settings: TuneSettings) -> None:
    out = settings.job.out
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "trials").is_dir():
        raise UsageError(f"{out} is not a folder of skin-edge tune: choose another --out")
    if not settings.resume:
        raise OutputExistsError(out, "continue with --resume, or choose another --out")
    if settings.storage and (out / "study.db").exists():
        raise UsageError(f"{out} has a study of its own: --resume without --storage, or choose another --out")


def _check_trials(out: Path, study: Any) -> None:
    """Raises UsageError where the folder has a trial that is not of this study, or was trained in another folder."""
    trained_in = {f"{trial.number:04d}": trial.user_attrs.get("folder") for trial in study.get_trials(deepcopy=False)}
    for folder in sorted(out.glob("trials/[0-9]*")):
        if Path(trained_in.get(folder.name) or "").name != out.resolve().name:
            raise UsageError(f"{folder} is not a trial of study '{study.study_name}': choose another --out or --study")


def _study(settings: TuneSettings, about: Mapping[str, Any]) -> tuple[Any, bool]:
    """The study and whether it is new. Raises UsageError where an old one searched something else."""
    import optuna
    import sqlalchemy.exc

    url = settings.storage or f"sqlite:///{(settings.job.out / 'study.db').resolve()}"
    name = settings.study or settings.job.recipe.name
    pruner = _pruner(settings.pruner, settings.job.recipe.epochs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the heartbeat
            storage = optuna.storages.RDBStorage(
                url, heartbeat_interval=_HEARTBEAT, heartbeat_stale_trial_callback=_again
            )
        try:
            study = optuna.create_study(storage=storage, study_name=name, direction="maximize", pruner=pruner)
        except optuna.exceptions.DuplicatedStudyError:
            study = optuna.load_study(storage=storage, study_name=name, pruner=pruner)
        else:
            study.set_user_attr("about", dict(about))
            return study, True
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        if not settings.storage:
            raise
        raise UsageError(f"--storage: {_reason(error)}") from None
    if not settings.storage and not study.user_attrs.get("about"):  # this folder's alone: killed between two lines
        study.set_user_attr("about", dict(about))
        return study, True
    for _ in range(50):  # another machine may have made it a moment ago
        before = study.user_attrs.get("about")
        if before:
            break
        time.sleep(0.1)
    else:
        raise UsageError(f"study '{name}' was not made by skin-edge tune: choose another --study")
    different = [key for key in about if before.get(key) != about[key]]
    if "recipe" in different:
        # One of an older version has fewer fields.
        old = Recipe.from_dict(before["recipe"]).to_dict() if "recipe" in before else {}
        different += [key for key, value in about["recipe"].items() if old.get(key) != value]
        different.remove("recipe")
    if different:
        raise UsageError(
            f"study '{name}' was started with other settings or data ({', '.join(different)}): repeat its flags, or "
            "choose another --study"
        )
    return study, False


def _pruner(name: str, epochs: int) -> Any:
    import optuna

    if name == "none":
        return optuna.pruners.NopPruner()
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, epochs // 27), max_resource=epochs)
    return optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=min(5, epochs // 5))


def _sampler(name: str, seed: int, number: int) -> Any:
    """A sampler that follows from (seed, number of the trial): one seed for all would repeat its draws when resumed."""
    import optuna

    own = streams.number(seed, Stream.TRIAL, number) % 2**32
    if name == "random":
        return optuna.samplers.RandomSampler(seed=own)
    return optuna.samplers.TPESampler(seed=own, multivariate=False, constant_liar=True)


def _defaults(recipe: Recipe, space: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's own values of what is searched, of those that are within the range.

    Others (a weight_decay of 0 on a logarithmic scale, say) are trained all the same; Optuna only cannot be told them.
    """
    own = {name: _present(recipe, name) for name in space}
    return {name: value for name, value in own.items() if _within(value, space[name])}


def _present(recipe: Recipe, name: str) -> Any:
    inner = name.removeprefix("augmentation.")
    value = getattr(recipe if inner == name else recipe.augmentation, inner)
    return str(list(value)) if isinstance(value, tuple) else value


def _within(value: Any, allowed: Any) -> bool:
    if isinstance(allowed, OneOf):
        return value in _choices(allowed)
    return isinstance(value, (int, float)) and allowed.low <= value <= allowed.high


def _choices(allowed: OneOf) -> list[Any]:
    """Optuna keeps numbers, texts and None; a pair such as an image size is kept as its text."""
    return [str(list(value)) if isinstance(value, (tuple, list)) else value for value in allowed.choices]


def _text(value: Any) -> str:
    """As `--set` takes it, numbers with four digits: what is printed is exactly what was trained."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _counted(study: Any, *, running: bool = False) -> int:
    """Trials that count towards --trials: those that came to an end of their own, and on request those at work."""
    trials = study.get_trials(deepcopy=False)
    return sum(_ended(trial) or (running and trial.state.name == "RUNNING") for trial in trials)


def _ended(trial: Any) -> bool:
    """Whether it was trained, pruned or refused; a trial that failed without a reason was cut off."""
    return trial.state.is_finished() and (trial.state.name != "FAIL" or "error" in trial.user_attrs)


def _take_back(study: Any, here: Mapping[str, str]) -> None:
    """Marks the trials that were at work in this folder as failed, and enqueues whatever was cut off once more."""
    import optuna

    for trial in study.get_trials():
        if _ended(trial) or any(trial.user_attrs.get(key) != value for key, value in here.items()):
            continue
        if trial.state.name == "RUNNING":
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        _again(study, trial)


def _again(study: Any, trial: Any) -> None:
    """Enqueues the trial once more; where its folder still is, it goes on after its last whole epoch."""
    if any(other.user_attrs.get("goes_on") == trial.number for other in study.get_trials(deepcopy=False)):
        return
    attributes = {"goes_on": trial.number} | {key: True for key in ("defaults",) if key in trial.user_attrs}
    study.enqueue_trial({**trial.system_attrs.get("fixed_params", {}), **trial.params}, user_attrs=attributes)


class _TrialFailed(Exception):
    """One trial's settings cannot be trained; the search goes on."""


class _Trainer:
    """Trains one recipe after another on the same rows; the pictures are read once per size."""

    def __init__(self, settings: TrainSettings, labels: list[str], frame: Any, report: Report):
        self._settings, self._labels, self._frame, self._report = settings, tuple(labels), frame, report
        self._size: tuple[int, int] | None = None
        self._parts: dict[str, Any] = {}

    def fit(self, recipe: Recipe, folder: Path, report: Report, on_epoch: Callable[[Any], None]) -> Any:
        """The state of the finished training; checkpoints and history.csv are in `folder`."""
        from . import engine
        from .loop.fit import fit
        from .models.heads import classifier

        settings = self._settings
        self._read(recipe)
        engine.keras.backend.clear_session()  # else every trial's graphs stay in memory
        gc.collect()
        engine.start(settings.seed, mixed_precision=settings.mixed_precision, deterministic=settings.deterministic)
        (training, validation), length = self._told(recipe)
        model = classifier(recipe, len(self._labels), length)
        return fit(
            model,
            recipe,
            training,
            validation,
            self._labels,
            folder=folder,
            seed=settings.seed,
            report=report,
            on_epoch=on_epoch,
        )

    def _told(self, recipe: Recipe) -> tuple[list[Any], int]:
        """Training and validation with the recipe's metadata, and how long its vectors are."""
        if not recipe.metadata:
            return [self._parts[part][:2] for part in ("train", "val")], 0
        encoding = patients.fitted(recipe.metadata, self._parts["train"][2])
        told = [
            (replace(pictures, patients=patients.encoded(encoding, rows, recipe.metadata_dropout)), targets)
            for pictures, targets, rows in (self._parts["train"], self._parts["val"])
        ]
        return told, encoding.length

    def _read(self, recipe: Recipe) -> None:
        if recipe.image_size == self._size:
            return
        self._parts = {}  # before the new ones are read: both may not fit
        settings, frame = replace(self._settings, recipe=recipe), self._frame
        pictures, failures = job.read_pictures(frame, settings, self._report)
        if failures:
            frame, kept, _ = without_unreadable(frame, failures, settings, self._report)
            pictures = pictures.take(np.asarray(kept))
        positions = frame["label"].map({code: i for i, code in enumerate(self._labels)}).to_numpy("int64")
        for part in ("train", "val"):
            rows = np.flatnonzero(frame["split"] == part)
            self._parts[part] = pictures.take(rows), positions[rows], frame.iloc[rows]
        self._size = recipe.image_size


class _Objective:
    """One trial: draws the settings, trains, reports the validation figure of each epoch; its best one is the value."""

    def __init__(
        self,
        settings: TuneSettings,
        space: Mapping[str, Any],
        trainer: _Trainer,
        here: Mapping[str, str],
        report: Report,
    ):
        self._settings, self._space, self._trainer = settings, space, trainer
        self._here, self._report = here, report

    def __call__(self, trial: Any) -> float:
        import optuna

        from .engine import tf
        from .loop.fit import DivergedError

        settings, recipe = self._settings, self._settings.job.recipe
        for key, value in self._here.items():
            trial.set_user_attr(key, value)
        defaults = "defaults" in trial.user_attrs
        trial.study.sampler = _sampler(settings.sampler, settings.job.seed, trial.number)
        texts = {name: _text(_suggest(trial, name, self._space[name])) for name in self._drawn(defaults)}
        trial.set_user_attr("settings", {} if defaults else texts)
        self._report(f"trial {trial.number}: {_listed(texts) if not defaults else 'the recipe as it is'}")
        folder = self._folder(trial)
        start = perf_counter()

        def on_epoch(row: Mapping[str, float]) -> None:
            trial.report(row[f"val_{recipe.best_by}"], int(row["epoch"]))
            if not defaults and trial.should_prune():
                raise optuna.TrialPruned

        try:
            own = recipe if defaults else recipe.with_settings(texts)
            state = self._trainer.fit(own, folder, _prefixed(self._report, trial.number), on_epoch)
        except optuna.TrialPruned:
            self._report(f"trial {trial.number}: pruned")
            raise
        except UnwritableError:  # no fault of the settings; it is trained again
            raise
        except (SkinEdgeError, tf.errors.OpError) as error:
            if defaults:
                raise
            trial.set_user_attr("error", str(error).splitlines()[0])
            self._report(f"trial {trial.number}: {str(error).splitlines()[0]}")
            if isinstance(error, DivergedError):
                raise optuna.TrialPruned from None  # the sampler learns from it; from a failure it would not
            raise _TrialFailed from None
        finally:
            trial.set_user_attr("seconds", round(perf_counter() - start, 1))
        shutil.rmtree(folder / "checkpoints")
        return state.best_score

    def _drawn(self, defaults: bool) -> list[str]:
        return list(_defaults(self._settings.job.recipe, self._space) if defaults else self._space)

    def _folder(self, trial: Any) -> Path:
        """Where it trains: with the checkpoints of the trial that it goes on with, where they are still there."""
        trials = self._settings.job.out / "trials"
        folder, before = trials / f"{trial.number:04d}", trials / f"{trial.user_attrs.get('goes_on', -1):04d}"
        if before.is_dir():
            files.remove_leftovers(before)
            before.replace(folder)
        folder.mkdir(exist_ok=True)
        return folder


def _suggest(trial: Any, name: str, allowed: Any) -> Any:
    if isinstance(allowed, OneOf):
        return trial.suggest_categorical(name, _choices(allowed))
    if isinstance(allowed, Between) and isinstance(allowed.low, int) and isinstance(allowed.high, int):
        return trial.suggest_int(name, allowed.low, allowed.high)
    return trial.suggest_float(name, allowed.low, allowed.high, log=isinstance(allowed, Log))


def _listed(texts: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def _prefixed(report: Report, number: int) -> Report:
    def prefixed(line: str) -> None:
        report(f"\rtrial {number}  {line[1:]}" if line.startswith("\r") else f"trial {number}  {line}")

    return prefixed
