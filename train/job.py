"""One training, from settings to a finished RUN: plan -> load -> execute -> finish."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..edge_runtime import console, files
from ..edge_runtime.errors import DataError, UsageError
from ..edge_runtime.patient import Encoding
from ..edge_runtime.preprocess import InputSpec
from . import plan as planning
from . import preflight
from .data import patients, splits
from .loop import distribution
from .plan import Fold, TrainPlan
from .prepare import Report, without_unreadable
from .request import TrainSettings
from .runs import distillation, earlier_runs, run_folder
from .runs.run_folder import Run


@dataclass(frozen=True)
class Parts:
    """What is trained on.

    Attributes:
        plan: Without the pictures that cannot be read.
        pictures: `batches.Pictures` of its rows.
    """

    plan: TrainPlan
    pictures: Any


@dataclass(frozen=True)
class Trained:
    """A training that has finished.

    Attributes:
        model: Keras', with the kept epoch's weights, in float32 and on one device.
        state: Of `checkpoints`.
        data: Part -> (pictures, int64 [n] label positions).
    """

    run: Run
    model: Any
    state: Any
    data: dict[str, tuple[Any, Any]]


def train(settings: TrainSettings, report: Report, fold: Fold | None = None) -> dict[str, Any]:
    """Trains, evaluates and writes RUN; returns what metrics.json holds, and nothing on a worker that is not the chief.

    Args:
        report: Called with lines for the person who waits.
        fold: Of a cross-validation, which has read the data.

    Raises:
        SkinEdgeError: With one line for all that is wrong with data, settings or output.
    """
    here = place_of(settings)
    with distribution.one_line() if here.kind == "multi-worker" else contextlib.nullcontext():
        if here.chief:
            # TensorFlow leaves generated code where temporary files are.
            with files.alone_in(settings.out, "skin-edge train", resume=settings.resume), files.temporary_folder():
                return _train(settings, here, report, fold)
        # What the others compute is what the chief has: they keep it as long as it takes.
        with files.temporary_folder() as folder:
            own = replace(settings, out=folder / "run", resume=False, overwrite=False, tensorboard=None)
            if own.cache:  # the machines may share it, and two must not write the same file
                own = replace(own, cache=own.cache / f"worker-{here.worker}")
            return _train(own, here, report, fold)


def place_of(settings: TrainSettings) -> distribution.Place:
    """Where this process stands among those that train. Raises UsageError for what several devices cannot do."""
    here = distribution.place(settings.distribute)
    if here.kind and settings.xla:
        raise UsageError("--xla cannot be combined with --distribute: XLA compiles steps for one device only")
    if here.kind and settings.recipe.batch_norm_batches:
        raise UsageError("batch_norm_batches cannot be combined with --distribute: each device has its own statistics")
    for flag, runs in settings.earlier.items():
        if runs and (here.kind or settings.recipe.metadata):
            raise UsageError(f"{flag} cannot be combined with {'--distribute' if here.kind else '--metadata'}")
    return here


def _train(settings: TrainSettings, here: distribution.Place, report: Report, fold: Fold | None) -> dict[str, Any]:
    planning.check_output(settings)
    preflight.check_folders(settings.cache, settings.tensorboard)
    plan = planning.make(settings, report, here, fold)
    if plan.started:
        files.remove_leftovers(settings.out)
    # TensorFlow is imported only now: everything that can be wrong with the call has been said in a second.
    if not fold:
        report("starting TensorFlow ...")
    devices = distribution.join(here, plan.settings.recipe.batch_size)
    parts = load(plan, report)
    trained = execute(parts, devices, report)
    devices.wait()
    return finish(parts.plan, trained, report) if here.chief else {}


def load(plan: TrainPlan, report: Report) -> Parts:
    """Reads the pictures. Raises DataError where they have changed since a run was begun, or cannot be read."""
    if not (plan.started or plan.fold or plan.place.kind):
        preflight.check_network(plan.settings.recipe)
    if plan.fold:
        pictures, failures = plan.fold.pictures, dict[int, str]()
    else:
        pictures, failures = read_pictures(plan.frame, plan.settings, report)
    if plan.started:
        before = plan.started.config.data["fingerprint_sha256"]
        if failures or run_folder.fingerprint(plan.frame) != before:
            raise DataError(
                f"the images of {plan.settings.out} have changed or gone since it was started: it cannot be resumed"
            )
    if failures:
        frame, kept, skipped = without_unreadable(plan.frame, failures, plan.settings, report)
        plan, pictures = replace(plan, frame=frame, skipped=skipped), pictures.take(np.asarray(kept))
    return Parts(plan, pictures)


def execute(parts: Parts, devices: distribution.SingleDevice, report: Report) -> Trained:
    """Builds the network, begins RUN or goes on with it, and trains."""
    from . import engine
    from .loop.fit import fit

    plan, settings = parts.plan, parts.plan.settings
    mixed = engine.start(settings.seed, mixed_precision=settings.mixed_precision, deterministic=settings.deterministic)
    model = _network(plan, devices, report)  # before RUN: it may refuse weights or sizes
    run = plan.started or begin(plan, report, mixed_precision=mixed, devices=devices.replicas)
    for line in plan.split_lines():
        report(line)
    data = _with_targets(run, _with_patients(run, plan.encoding, parts.pictures, report))
    devices.assert_same_config(_sameness(run))
    devices.broadcast(run.folder / "checkpoints")
    state = fit(
        model,
        run.recipe,
        data["train"],
        data["val"],
        plan.codes,
        folder=run.folder,
        seed=settings.seed,
        report=report,
        xla=settings.xla,
        tensorboard=settings.tensorboard,
        together=devices,
        teaching=_teaching(plan, data["train"][0], run, report),
    )
    if mixed or plan.place.kind:
        model = _plain(model, plan)
    if plan.place.kind:
        here, weights = plan.place, distribution.weights_hash(model)
        report(f"worker {here.worker} of {here.workers}, {devices.replicas} devices: weights {weights}")
    return Trained(run, model, state, data)


def finish(plan: TrainPlan, trained: Trained, report: Report) -> dict[str, Any]:
    """Writes model.keras and the figures; returns what metrics.json holds."""
    from .pipeline.batches import plain_batches
    from .reports.run_results import write_results

    run, model, state, spec = trained.run, trained.model, trained.state, plan.recipe.input_spec
    report(f"kept epoch {state.best_epoch} of {state.epoch}; evaluating")
    model.optimizer = None  # its state would be two thirds of the file, and is in checkpoints/
    with files.replacing(run.folder / "model.keras") as temporary:
        model.save(temporary)
    probabilities = {
        name: model.predict(plain_batches(trained.data[name][0], spec), verbose=0) for name in ("val", "test")
    }
    extra: dict[str, Any] = {}
    if run.encoding:
        figures = _metadata_figures(trained, spec)
        blank_score = figures["balanced_accuracy_with_all_blank"]["test"]
        report(f"with all metadata blank: balanced accuracy {blank_score:.3f} on the test part")
        extra = {"metadata": figures}
    extra["split"] = {
        "kind": splits.called(plan.settings.split),
        **plan.leakage,
        "near_duplicates": dict(plan.near_duplicates),
    }
    extra["training"] = {
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "hours": round(state.seconds / 3600, 3),
        "images_per_second_with_validation": round(state.images / max(state.seconds, 1e-9), 1),
    }
    return write_results(run, probabilities, extra)


def begin(plan: TrainPlan, report: Report, *, mixed_precision: bool, devices: int) -> Run:
    """Makes RUN, as it is before the first epoch.

    Args:
        plan: What is trained.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
        mixed_precision: Whether the network computes in float16.
        devices: Number of devices that train.
    """
    from .data import inventory

    earlier = [*plan.teachers, *([plan.start] if plan.start else [])]
    return run_folder.begin(
        plan.settings.out,
        config=plan.config(mixed_precision=mixed_precision, devices=devices, machine=_machine()),
        split=plan.frame,
        skipped=plan.skipped,
        unused=inventory.rows(dict(plan.unused)),
        seen=earlier_runs.seen_images(earlier) if earlier else None,
    )


def _machine() -> dict[str, Any]:
    from .engine import tf

    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "platform": platform.platform(),
        "processor_threads": tf.config.threading.get_intra_op_parallelism_threads() or None,
    }


def _network(plan: TrainPlan, devices: distribution.SingleDevice, report: Report) -> Any:
    """The network to train, with the weights that it starts with."""
    from .models.heads import classifier

    encoding = plan.encoding
    with devices.scope():
        model = classifier(plan.recipe, len(plan.codes), encoding.length if encoding else 0)
    if plan.start:  # when resumed too: a run may have been killed before its first checkpoint
        given = earlier_runs.give_weights(plan.start, model, plan.codes)
        if not plan.started:
            report(given)
    return model


def _plain(model: Any, plan: TrainPlan) -> Any:
    """The same network in float32 and on one device: layers remember their precision, and the converter knows float32
    only."""
    from . import engine
    from .models.heads import classifier

    settings, encoding = plan.settings, plan.encoding
    engine.start(settings.seed, mixed_precision=False, deterministic=settings.deterministic)
    copy = classifier(replace(plan.recipe, weights="none"), len(plan.codes), encoding.length if encoding else 0)
    distribution.copy_weights(model, copy)
    return copy


def _with_patients(run: Run, encoding: Encoding | None, pictures: Any, report: Report) -> Any:
    if not encoding:
        return pictures
    blank = patients.missing_counts(encoding.names, run.split)
    report(f"metadata: {', '.join(f'{name} ({count} blank)' for name, count in blank.items())}")
    return replace(pictures, patients=patients.encoded(encoding, run.split, run.recipe.metadata_dropout))


def _with_targets(run: Run, pictures: Any) -> dict[str, tuple[Any, Any]]:
    """Part -> its pictures and int64 [n] label positions."""
    rows = {name: np.flatnonzero(run.split["split"] == name) for name in splits.PARTS}
    return {name: (pictures.take(own), run.targets(run.part(name))) for name, own in rows.items()}


def _teaching(plan: TrainPlan, pictures: Any, run: Run, report: Report) -> Any:
    """What makes targets of the teachers' answers, None without teachers.

    Args:
        plan: What is trained.
        pictures: Of the training part, as the network sees them.
        run: The run, whose split says where the pictures are.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
    """
    if not plan.teachers:
        return None
    from .loop.fit import Teaching
    from .pipeline.batches import SeenByTeachers

    share, views, spec = plan.recipe.distillation, plan.recipe.teacher_views, plan.recipe.input_spec
    teachers = distillation.Teachers(plan.teachers, plan.codes, share=share, views=views)
    height, width = teachers.size
    if height * width > spec.height * spec.width:
        spec = replace(spec, height=height, width=width)
        recipe = replace(plan.recipe, image_size=teachers.size)
        pictures, failures = read_pictures(run.part("train"), replace(plan.settings, recipe=recipe), report)
        if failures:
            raise DataError(f"an image of the training changed while it was read: {next(iter(failures.values()))}")
    return Teaching(teachers.blend_targets, SeenByTeachers(pictures, spec))


def _sameness(run: Run) -> str:
    """What has to be equal on all machines for their weights to be so."""
    config, data = run.config, run.config.data["fingerprint_sha256"]
    names = ("seed", "mixed_precision", "deterministic")
    settings = {name: config.settings[name] for name in names} | {"skin_edge": config.skin_edge, "data": data}
    rows = run.split[["image_id", "label", "split"]].to_csv(index=False)
    return f"{settings} {run.recipe.to_dict()} {run.encoding} {rows}"


def _metadata_figures(trained: Trained, spec: InputSpec) -> dict[str, Any]:
    """What metrics.json says of the metadata: its fields, their blanks, the balanced accuracy with all of it blank."""
    from ..benchmarks.stats import metrics
    from .pipeline.batches import plain_batches

    run, codes, figures = trained.run, tuple(label.code for label in trained.run.labels), dict[str, float]()
    for part, name in (("val", "validation"), ("test", "test")):
        pictures, truth = trained.data[part]
        without = replace(pictures, patients=pictures.patients.with_all_missing())
        scores = trained.model.predict(plain_batches(without, spec), verbose=0)
        figures[name] = float(metrics.evaluate(truth, scores, codes, bootstrap=0)["balanced_accuracy"])
    told = run.recipe.metadata
    counts = {part: patients.missing_counts(told, run.part(part)) for part in splits.PARTS}
    return {
        "fields": list(told),
        "blank": {name: {part: counts[part][name] for part in splits.PARTS} for name in told},
        "balanced_accuracy_with_all_blank": figures,
    }


def read_pictures(frame: pd.DataFrame, settings: TrainSettings, report: Report) -> tuple[Any, dict[int, str]]:
    """`batches.load` with progress: the frame's pictures, and position -> message where one cannot be read."""
    from .pipeline.batches import load

    with _cleared_progress(report):
        return load(
            list(frame["path"]),
            settings.recipe.input_spec,
            on_progress=lambda n: report(f"\rreading images: {n}/{len(frame)}"),
            cache_folder=settings.cache,
            on_wait=lambda holder: report(f"waiting for the cache: {holder}"),
        )


@contextlib.contextmanager
def _cleared_progress(report: Report) -> Iterator[None]:
    yield
    report("\r")


def to_stderr(line: str) -> None:
    """A `Report` for the terminal."""
    console.report(line)
