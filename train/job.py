"""One training, from a folder of pictures to a finished RUN: what `skin-edge train` and `quickstart` call."""

from __future__ import annotations

import contextlib
import platform
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..benchmarks.stats import group_kinds
from ..edge_runtime import __version__, console, csv_files, files
from ..edge_runtime.errors import DataError, ImageError, OutputExistsError, UsageError
from ..edge_runtime.preprocess import InputSpec, load_decoder
from . import preflight
from .data import duplicates, grouping, inventory, patients, splits, tasks
from .data.clean import check, clean, dropped_by
from .data.layouts import PATH_LABEL_GROUP, Columns, Dataset, read_dataset
from .loop import distribution
from .recipes.recipe import Recipe
from .runs import distillation, earlier_runs, run_folder
from .runs.run_folder import Run

Report = Callable[[str], None]


@dataclass(frozen=True)
class TrainSettings:
    """What a training is told beside its recipe.

    split: one of `splits.KINDS`, or a csv with image_id and split; None as `Dataset.split_kind` says. limit: about so
    many images, stratified. mixed_precision: None means where a GPU is there. deterministic: operations that repeat to
    the bit. cache: a folder for the resized pictures; None keeps them in memory. layout: None recognises it. columns:
    of a plain csv. images: the folder in which the pictures of a table lie, where it is another one. group_from: what
    gives pictures their groups (`named_groups.py`). drop_classes, min_images: classes that are left out
    (`tasks.for_task`). labels: a csv of classes (`tasks.read_labels`). task: one of `tasks.TASKS`. clean: names of
    `clean.RULES` that leave rows out.
    near_duplicates: whether they connect groups; None as `grouping.connect` says. xla: compile the steps. tensorboard:
    a folder for the figures of every epoch. distribute: one of `distribution.KINDS`; None is one device. teachers: runs
    to learn from (`distillation.py`). start: a run to start with the weights of. intended_use: what the model is for,
    in words, for the contract of converted files; None as `convert.tflite.contract` says.
    """

    data: Path
    out: Path
    recipe: Recipe
    split: str | None = "lesion"
    seed: int = 42
    limit: int | None = None
    skip_unreadable: bool = False
    mixed_precision: bool | None = None
    deterministic: bool = True
    cache: Path | None = None
    resume: bool = False
    overwrite: bool = False
    layout: str | None = None
    columns: Columns = PATH_LABEL_GROUP
    images: Path | None = None
    group_from: str | None = None
    drop_classes: tuple[str, ...] = ()
    min_images: int = 0
    labels: Path | None = None
    task: str = "diagnosis"
    clean: tuple[str, ...] = ()
    near_duplicates: bool | None = None
    xla: bool = False
    tensorboard: Path | None = None
    distribute: str | None = None
    teachers: tuple[Path, ...] = ()
    start: Path | None = None
    intended_use: str | None = None

    @property
    def earlier(self) -> dict[str, tuple[Path, ...]]:
        """Flag -> the runs that it learns from."""
        return {"--teacher": self.teachers, "--start": (self.start,) if self.start else ()}


@dataclass(frozen=True)
class Prepared:
    """What takes part in a training, before a picture is decoded for it.

    frame: the data set's columns, `named_group` and, but for folds, `split`. dropped, sides: what `clean` and
    `tasks.for_task` said. near_duplicates: what `grouping.connect` did. unused: files, by why (`inventory.unused`).
    copies: how many files are there twice, and what of it is wrong.
    """

    dataset: Dataset
    frame: pd.DataFrame
    dropped: dict[str, int]
    sides: list[dict[str, Any]]
    near_duplicates: dict[str, Any]
    unused: dict[str, list[str]]
    copies: dict[str, int]


@dataclass(frozen=True)
class Fold:
    """One of several trainings over the same pictures: what they share, so that nothing is done twice.

    prepared: its frame with the fold's split, without unreadable pictures. pictures: `batches.Pictures` of its rows.
    skipped: image_id -> reason. number, of: 1 of 5, say.
    """

    prepared: Prepared
    pictures: Any
    skipped: dict[str, str]
    number: int
    of: int


def train(settings: TrainSettings, report: Report, fold: Fold | None = None) -> dict[str, Any]:
    """Trains, evaluates and writes RUN; returns what metrics.json holds, and nothing on a worker that is not the chief.

    report: called with lines for the person who waits. fold: of a cross-validation, which has read the data. Raises a
    SkinEdgeError with one line for all that is wrong with data, settings or output.
    """
    here = distribution.place(settings.distribute)
    if here.kind and settings.xla:
        raise UsageError("--xla does not go with --distribute: XLA compiles steps for one device only")
    for flag, runs in settings.earlier.items():
        if runs and (here.kind or settings.recipe.metadata):
            raise UsageError(f"{flag} does not go with {'--distribute' if here.kind else '--metadata'}")
    if settings.start:
        settings = replace(settings, recipe=replace(settings.recipe, weights="none"))
    with distribution.one_line() if here.kind == "multi-worker" else contextlib.nullcontext():
        if here.chief:
            with files.alone_in(settings.out, "skin-edge train", resume=settings.resume):
                return _train(settings, here, report, fold)
        # What the others compute is what the chief has: they keep it as long as it takes.
        with tempfile.TemporaryDirectory(prefix="skin-edge-worker-") as folder:
            own = replace(settings, out=Path(folder) / "run", resume=False, overwrite=False, tensorboard=None)
            if own.cache:  # the machines may share it, and two must not write the same file
                own = replace(own, cache=own.cache / f"worker-{here.worker}")
            return _train(own, here, report, fold)


def _train(settings: TrainSettings, here: distribution.Place, report: Report, fold: Fold | None) -> dict[str, Any]:
    out = settings.out
    _check_output(out, settings)
    check(settings.clean)
    earlier = {flag: earlier_runs.read(folders, flag) for flag, folders in settings.earlier.items()}
    teachers, start = earlier["--teacher"], earlier["--start"]
    preflight.check_call(settings.recipe.weights, settings.cache, settings.tensorboard)
    started = run_folder.read(out) if settings.resume and run_folder.is_run(out) else None
    if started:
        dataset = read_dataset(settings.data, settings.layout, settings.columns, settings.images)
        if settings.group_from:  # split.csv has them
            dataset = replace(dataset, has_groups=True)
        settings = with_fields(settings, dataset)
        check_resumable(started, settings, earlier)
        # DATA may lie elsewhere now. Of an older run the paths are absolute: as they were, or below --images.
        older = None if started.pictures else settings.images
        started = run_folder.read(out, older, dataset.images or dataset.root)
        if (out / "metrics.json").is_file():
            raise UsageError(f"{out} is complete: nothing to resume (a longer training needs another --out)")
        files.remove_leftovers(out)
        if fold and list(started.split["image_id"]) != list(fold.prepared.frame["image_id"]):
            raise DataError(f"the images of {out} are not those of the other folds: it cannot be resumed")
        frame, skipped, dropped = started.split, dict[str, str](), dict(started.config.get("clean") or {})
        sides: list[dict[str, Any]] = []
        near: dict[str, Any] = {}
        unused, copies = dict[str, list[str]](), dict[str, int]()
    else:
        prepared = fold.prepared if fold else prepare(settings, report)
        dataset, frame, dropped, sides = prepared.dataset, prepared.frame, prepared.dropped, prepared.sides
        near, skipped = prepared.near_duplicates, dict(fold.skipped) if fold else dict[str, str]()
        unused, copies = prepared.unused, prepared.copies
        settings = with_fields(settings, dataset)
    labels = started.labels if started else dataset.labels
    distillation.check_classes(teachers, labels)
    for flag, runs in earlier.items():
        earlier_runs.check_unseen(runs, frame, flag)

    # TensorFlow is imported only now: everything that can be wrong with the call has been said in a second.
    if not fold:
        report("starting TensorFlow ...")
    from . import engine
    from .loop.fit import fit
    from .models.heads import classifier
    from .pipeline.batches import plain_batches
    from .reports.run_results import write_results

    spec = settings.recipe.input_spec
    together = distribution.join(here, settings.recipe.batch_size)
    if not started and not fold and not here.kind:
        preflight.check_network(settings.recipe)
    pictures, failures = (fold.pictures, dict[int, str]()) if fold else read_pictures(frame, settings, report)
    if started and (failures or run_folder.fingerprint(frame) != started.config["data"]["fingerprint_sha256"]):
        raise DataError(f"the images of {out} have changed or gone since it was started: it cannot be resumed")
    if failures:
        frame, pictures, skipped = without_unreadable(frame, pictures, failures, settings, report)
    deterministic = settings.deterministic
    mixed = engine.start(settings.seed, mixed_precision=settings.mixed_precision, deterministic=deterministic)
    told = settings.recipe.metadata
    if started:
        encoding = started.encoding
    else:
        encoding = patients.fitted(told, frame.loc[frame["split"] == "train"]) if told else None
    length = encoding.length if encoding else 0
    if started and mixed != started.config["mixed_precision"]:
        flag = "--no-mixed-precision" if mixed else "--mixed-precision"
        raise UsageError(f"{out} was started with {flag}: resume it with that")
    codes = tuple(label.code for label in labels)
    with together.scope():  # before RUN: it may refuse weights or sizes
        model = classifier(started.recipe if started else settings.recipe, len(codes), length)
    for one in start:  # when resumed too: a run may have been killed before its first checkpoint
        given = earlier_runs.give_weights(one, model, codes)
        if not started:
            report(given)
    if started:
        run = started
    else:
        run = run_folder.begin(
            out,
            recipe=settings.recipe,
            labels=labels,
            config={
                **_config(settings, dataset, sides, frame, mixed),
                "clean": dropped,
                "near_duplicates": near,
                "leakage": grouping.leakage(frame),
                "copies": copies,
                "unused": {**inventory.counts(unused), **({inventory.UNREADABLE: len(skipped)} if skipped else {})},
                **({"metadata": encoding.to_list()} if encoding else {}),
                **({"teachers": earlier_runs.described(teachers, out)} if teachers else {}),
                **({"start": earlier_runs.described(start, out)[0]} if start else {}),
                **({"fold": {"number": fold.number, "of": fold.of}} if fold else {}),
                **({"distribute": {"kind": here.kind, "devices": together.replicas}} if here.kind else {}),
            },
            split=frame,
            skipped=skipped,
            unused=inventory.rows(unused),
            taught=earlier_runs.taught([*teachers, *start]) if teachers or start else None,
        )
    _report_split(run, dataset, report)
    if encoding:
        known = patients.encoded(encoding, run.split, run.recipe.metadata_dropout)
        pictures = replace(pictures, patients=known)
        blank = patients.blanks(encoding.names, run.split)
        report(f"metadata: {', '.join(f'{name} ({count} blank)' for name, count in blank.items())}")

    parts = {name: np.flatnonzero(frame["split"] == name) for name in splits.PARTS}
    data = {name: (pictures.take(rows), run.targets(run.part(name))) for name, rows in parts.items()}
    soften = None
    if teachers:
        share, views = run.recipe.distillation, run.recipe.teacher_views
        soften = distillation.Teachers(teachers, codes, share=share, views=views).soften
    together.agree(_sameness(run, frame))
    together.share(out / "checkpoints")
    state = fit(
        model,
        run.recipe,
        data["train"],
        data["val"],
        codes,
        folder=out,
        seed=settings.seed,
        report=report,
        xla=settings.xla,
        tensorboard=settings.tensorboard,
        together=together,
        soften=soften,
    )
    if mixed or here.kind:
        # What is kept computes in float32 and on one device: layers remember their precision, and the converter knows
        # float32 only.
        engine.start(settings.seed, mixed_precision=False, deterministic=deterministic)
        twin = classifier(replace(run.recipe, weights="none"), len(run.labels), length)
        distribution.copy_weights(model, twin)
        model = twin
    if here.kind:
        weights = distribution.weights_hash(model)
        report(f"worker {here.worker} of {here.workers}, {together.replicas} devices: weights {weights}")
    together.wait()
    if not here.chief:
        return {}
    report(f"kept epoch {state.best_epoch} of {state.epoch}; evaluating")
    model.optimizer = None  # its state would be two thirds of the file, and is in checkpoints/
    with files.replacing(out / "model.keras") as temporary:
        model.save(temporary)
    probabilities = {name: model.predict(plain_batches(data[name][0], spec), verbose=0) for name in ("val", "test")}
    extra: dict[str, Any] = {}
    if encoding:
        figures = _metadata_figures(run, model, data, spec)
        blank_score = figures["balanced_accuracy_with_all_blank"]["test"]
        report(f"with all metadata blank: balanced accuracy {blank_score:.3f} on the test part")
        extra = {"metadata": figures}
    return write_results(
        run,
        probabilities,
        extra
        | {
            "split": {"kind": splits.called(settings.split), **_leakage(run), **_connections(run)},
            "training": {
                "epochs": state.epoch,
                "best_epoch": state.best_epoch,
                "hours": round(state.seconds / 3600, 3),
                "images_per_second_with_validation": round(state.images / max(state.seconds, 1e-9), 1),
            },
        },
    )


def with_fields(settings: TrainSettings, dataset: Dataset) -> TrainSettings:
    """The settings with the fields of metadata that the data set has by name, and with its kind of split."""
    told = patients.found_in(settings.recipe.metadata, dataset.frame, f"{dataset.root} ({dataset.layout})")
    return with_split(replace(settings, recipe=replace(settings.recipe, metadata=told)), dataset)


def with_split(settings: TrainSettings, dataset: Dataset) -> TrainSettings:
    """The settings with the kind of split that the data set has where none is named."""
    return replace(settings, split=settings.split or dataset.split_kind(settings.recipe.split))


def _sameness(run: Run, frame: pd.DataFrame) -> str:
    """What has to be equal on all machines for their weights to be so."""
    names = ("skin_edge", "seed", "mixed_precision", "deterministic")
    settings = {name: run.config[name] for name in names} | {"data": run.config["data"]["fingerprint_sha256"]}
    rows = frame[["image_id", "label", "split"]].to_csv(index=False)
    return f"{settings} {run.recipe.to_dict()} {run.encoding} {rows}"


def _metadata_figures(run: Run, model: Any, data: dict[str, Any], spec: InputSpec) -> dict[str, Any]:
    """What metrics.json says of the metadata: its fields, their blanks, the balanced accuracy with all of it blank."""
    from ..benchmarks.stats import metrics
    from .pipeline.batches import plain_batches

    codes, figures = tuple(label.code for label in run.labels), dict[str, float]()
    for part, name in (("val", "validation"), ("test", "test")):
        pictures, truth = data[part]
        forgotten = replace(pictures, patients=pictures.patients.forgotten())
        scores = model.predict(plain_batches(forgotten, spec), verbose=0)
        figures[name] = float(metrics.evaluate(truth, scores, codes, bootstrap=0)["balanced_accuracy"])
    told = run.recipe.metadata
    counts = {part: patients.blanks(told, run.part(part)) for part in splits.PARTS}
    return {
        "fields": list(told),
        "blank": {name: {part: counts[part][name] for part in splits.PARTS} for name in told},
        "balanced_accuracy_with_all_blank": figures,
    }


def prepare(settings: TrainSettings, report: Report, *, split: bool = True) -> Prepared:
    """Reads the data set, leaves rows out, names the classes, connects groups and, unless told not to, splits."""
    dataset = read_dataset(settings.data, settings.layout, settings.columns, settings.images, settings.group_from)
    asked, settings = settings.split, with_split(settings, dataset)
    if settings.split == "official" and not asked:
        report(f"split: the folders train, val and test of {dataset.root} (--split lesion splits train/ alone)")
    found = inventory.unused(dataset)
    if found:
        report(f"not used: {sum(map(len, found.values()))} files below {dataset.root}")
    for line in inventory.lines(found):
        report(line)
    kept, dropped = clean(dataset.frame, settings.clean)
    for rule, count in dropped.items():
        report(f"--clean {rule} leaves out {count or 'no'} images")
    if gone := sorted(set(dataset.frame["label"]) - set(kept["label"])):
        raise DataError(f"--clean leaves no image of class {', '.join(gone)}")
    if not settings.skip_unreadable:
        _check_there(kept, dataset.layout)
    taken = {name: f"--clean {rule}" for name, rule in dropped_by(dataset.frame, settings.clean).items()}
    dataset, sides = tasks.for_task(
        replace(dataset, frame=kept),
        settings.task,
        settings.labels,
        drop=settings.drop_classes,
        min_images=settings.min_images,
    )
    if dataset.left_out:
        left_out = set(kept["image_id"]) - set(dataset.frame["image_id"])
        taken |= dict.fromkeys(left_out, "--drop-class or --min-images")
    for line in (*dataset.notes, *(["benign or malignant:"] if sides else []), *tasks.described(sides)):
        report(line)
    frame, near = _choose(dataset, settings, report, taken, split=split)
    return Prepared(dataset, frame, dropped, sides, near, found, _copies(frame, report))


def _check_there(frame: pd.DataFrame, layout: str) -> None:
    """Said before any picture is decoded. Raises DataError where a row has no picture, or no decoder."""
    missing = frame.loc[frame["path"] == "", "image_id"]
    if len(missing) and layout == "csv":  # ids of a data set are often more than its pictures: listed when all are read
        raise DataError(
            f"{len(missing)} of {len(frame)} pictures are not there, the first is {missing.iloc[0]}: --images FOLDER "
            "says where they are now, --skip-unreadable leaves them out"
        )
    for kind, suffixes in (("HEIF", (".heic", ".heif", ".hif")), ("AVIF", (".avif",))):
        newer = [path for path in frame["path"] if path.lower().endswith(suffixes)]
        if newer:
            try:
                load_decoder(kind, newer[0])
            except ImageError as error:
                raise DataError(f"{len(newer)} of {len(frame)} pictures cannot be read: {error}") from None


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


def _check_output(out: Path, settings: TrainSettings) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if (settings.overwrite or settings.resume) and not run_folder.is_run(out):
        flag = "--overwrite does not replace it" if settings.overwrite else "--resume cannot go on with it"
        raise UsageError(f"{out} is no run folder, so {flag}: choose another --out")
    if settings.overwrite:
        split = [settings.split] if settings.split and settings.split not in splits.KINDS else []
        files.check_replaceable(out, [settings.data, *split, *chain(*settings.earlier.values())])
    elif not settings.resume:
        raise OutputExistsError(out, "go on with --resume, replace it with --overwrite, or choose another --out")


def _choose(
    dataset: Dataset, settings: TrainSettings, report: Report, taken: Mapping[str, str], *, split: bool = True
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows that take part, grouped and with their split, and what near-duplicates did (`grouping.connect`).

    taken: image_id -> the flag that left it out.
    """
    recipe, seed = settings.recipe, settings.seed
    kind = settings.split or dataset.split_kind(settings.recipe.split)
    frame, from_file = dataset.frame, kind not in splits.KINDS
    if kind == "official":
        if not dataset.has_official_parts:
            raise UsageError(f"--split official: {dataset.root} ({dataset.layout}) has no official test part")
        if settings.limit is not None:
            share = settings.limit / len(frame)
            tastes = [
                splits.stratified_taste(rows, round(share * len(rows)), seed) for _, rows in frame.groupby("official")
            ]
            frame = pd.concat(tastes, ignore_index=True)
    elif from_file:
        frame = frame.assign(split=splits.read_split(kind, frame, taken))
        _report_taken(kind, taken, report)
        left_out = int((frame["split"] == "").sum())
        if left_out:
            report(f"{left_out} images are not named in {kind} and are left out")
        frame = frame.loc[frame["split"] != ""].reset_index(drop=True)
        if absent := [part for part in splits.PARTS if part not in set(frame["split"])]:
            raise DataError(f"--clean leaves no image of {', '.join(absent)} in {kind}")
    elif dataset.has_official_parts:
        held_out = frame["official"].isin(("val", "test"))
        report(
            f"{int(held_out.sum())} images of the official val and test parts are left out (--split official uses them)"
        )
        frame = frame.loc[~held_out].reset_index(drop=True)
        if not len(frame):
            raise DataError(f"{dataset.root} has no picture in a training part")
    elif (frame["official"] != "").any():
        report("the data has no test part: all its pictures are split anew, whatever part they are in")
    if settings.limit is not None and kind != "official":
        frame = splits.stratified_taste(frame, settings.limit, seed)
    if kind == "lesion" and split:
        splits.split_frame(frame, recipe.fractions, seed)  # what is wrong with it is said before pictures are compared
    frame, near = grouping.connect(frame, settings.near_duplicates, kind, report)
    if from_file or not split:
        return frame, near
    if kind == "official":
        parts = splits.official_split(frame, recipe.fractions, seed)
    elif kind == "random":
        parts = splits.split_frame(frame, recipe.fractions, seed, by_group=False)
    else:
        parts = splits.connected_split(frame, recipe.fractions, seed)
    return frame.assign(split=parts), near


def _copies(frame: pd.DataFrame, report: Report) -> dict[str, int]:
    """How many files are there twice ("sets"), under several labels, and in the test part as well as in training."""
    sets = duplicates.same_files(list(frame["path"]))
    several = [rows for rows in sets if len(set(frame["label"].iloc[rows])) > 1]
    leaked = [rows for rows in sets if "split" in frame and {"train", "test"} <= set(frame["split"].iloc[rows])]
    for found, what in ((several, "have several labels"), (leaked, "are in the test part as well as in training")):
        if found:
            one, other = (
                f"{frame['image_id'].iloc[row]} ({frame['label'].iloc[row]})" for row in (found[0][0], found[0][-1])
            )
            report(f"warning: {len(found)} pictures that are there twice {what}, the first: {one} and {other}")
    return {"sets": len(sets), "several_labels": len(several), "in_test_and_training": len(leaked)}


def _report_taken(path: str, taken: Mapping[str, str], report: Report) -> None:
    named = csv_files.read(path, lambda name: name == "image_id").rows
    for flag, count in Counter(taken[name] for [name] in named if name in taken).most_common():
        report(f"{count} images that {path} names are left out by {flag}")


def without_unreadable(
    frame: pd.DataFrame, pictures: Any, failures: dict[int, str], settings: TrainSettings, report: Report
) -> tuple[pd.DataFrame, Any, dict[str, str]]:
    for position, reason in failures.items():
        report(f"  {frame['image_id'][position]}: {reason}")
    if not settings.skip_unreadable:
        raise DataError(
            f"{len(failures)} of {len(frame)} images cannot be read (listed above): mend them, or leave them out with "
            "--skip-unreadable"
        )
    skipped = {str(frame["image_id"][position]): reason for position, reason in failures.items()}
    kept = np.setdiff1d(np.arange(len(frame)), list(failures))
    parts = [part for part in splits.PARTS if "split" in frame and (frame["split"] == part).any()]
    report(f"leaving out {len(skipped)} images that cannot be read; they are listed in skipped.csv")
    frame = frame.iloc[kept].reset_index(drop=True)
    if "split" not in frame:
        return frame, pictures.take(kept), skipped
    for label in sorted(frame["label"].unique()):
        absent = [part for part in parts if not ((frame["label"] == label) & (frame["split"] == part)).any()]
        if absent:
            raise DataError(f"without the unreadable images, class '{label}' has none left in: {', '.join(absent)}")
    return frame, pictures.take(kept), skipped


def check_resumable(run: Run, settings: TrainSettings, earlier: Mapping[str, Sequence[Run]]) -> None:
    """A resumed training is the same training: every setting must agree. earlier: the runs of `settings.earlier`."""
    before, now = run.recipe.to_dict(), settings.recipe.to_dict()
    different = [name for name in before if before[name] != now[name]]
    if splits.called(run.config["split"]) != splits.called(settings.split):
        different.append("split")
    for name, value in (("seed", settings.seed), ("limit", settings.limit)):
        if run.config[name] != value:
            different.append(name)
    for name, default in (
        ("task", "diagnosis"),
        ("xla", False),
        ("group_from", None),
        ("min_images", 0),
        ("intended_use", None),
    ):
        if run.config.get(name, default) != getattr(settings, name):
            different.append(name)
    if (run.config.get("drop_classes") or []) != list(settings.drop_classes):
        different.append("drop_classes")
    if (run.config.get("distribute") or {}).get("kind") != settings.distribute:
        different.append("distribute")
    if settings.labels and run.config.get("own_labels") != _own_labels(settings):
        different.append("labels")
    near = (run.config.get("near_duplicates") or {"on": False})["on"]
    if settings.near_duplicates is not None and settings.near_duplicates != near:
        different.append("near_duplicates")
    if tuple(run.config.get("clean") or {}) != tuple(dict.fromkeys(settings.clean)):
        different.append("clean")
    start = run.config.get("start")
    learned_from = {"--teacher": run.config.get("teachers", []), "--start": [start] if start else []}
    for flag, before_it in learned_from.items():
        known = earlier_runs.described(earlier.get(flag, ()), run.folder)
        if [one["sha256"] for one in known] != [one["sha256"] for one in before_it]:
            different.append(flag.removeprefix("--"))
    if different:
        raise UsageError(
            f"{run.folder} was started with other settings ({', '.join(different)}): repeat its flags, which are in "
            f"{run.folder / 'config.yaml'}, or choose another --out"
        )


def _own_labels(settings: TrainSettings) -> list[dict[str, Any]] | None:
    return [label._asdict() for label in tasks.read_labels(settings.labels)] if settings.labels else None


def _config(
    settings: TrainSettings, dataset: Dataset, sides: list[dict[str, Any]], frame: pd.DataFrame, mixed: bool
) -> dict[str, Any]:
    from .engine import tf

    return {
        "skin_edge": __version__,
        "seed": settings.seed,
        "split": splits.called(settings.split),
        "limit": settings.limit,
        "mixed_precision": mixed,
        "deterministic": settings.deterministic,
        "xla": settings.xla,
        "task": settings.task,
        "own_labels": _own_labels(settings),
        "benign_or_malignant": sides,
        "csv_columns": asdict(settings.columns),
        **({"images": run_folder.seen_from(settings.out, settings.images)} if settings.images else {}),
        "intended_use": settings.intended_use,
        "group_from": settings.group_from,
        "drop_classes": list(settings.drop_classes),
        "min_images": settings.min_images,
        "left_out": dict(dataset.left_out),
        "data": {
            "folder": run_folder.seen_from(settings.out, dataset.root),
            "pictures": str(dataset.images or dataset.root),  # becomes the way there from RUN
            "layout": dataset.layout,
            "images": len(frame),
            "fingerprint_sha256": run_folder.fingerprint(frame),
        },
        "machine": {
            "python": platform.python_version(),
            "tensorflow": tf.__version__,
            "platform": platform.platform(),
            "processor_threads": tf.config.threading.get_intra_op_parallelism_threads() or None,
        },
    }


def _report_split(run: Run, dataset: Dataset, report: Report) -> None:
    counts = run.split["split"].value_counts()
    report(
        f"{dataset.layout}: {len(run.split)} images, {len(run.labels)} classes; train {counts['train']}, "
        f"val {counts['val']}, test {counts['test']}"
    )
    leaked = {**_leakage(run), **grouping.groups_in(run.part("test"))}
    for sentence in group_kinds.leaks(leaked, lambda name: f"{leaked[name]:.2%}"):
        report(sentence if leaked["groups_known"] else f"warning: {sentence}")
    if group_kinds.too_good(leaked):
        report("warning: so the test figures are too good (--split lesion avoids that)")


def _leakage(run: Run) -> dict[str, float | None]:
    """As it was when the run was begun: split.csv has the connected groups alone."""
    found = dict(run.config.get("leakage") or {"leaked_share_of_test": splits.leaked_share(run.split)})
    if not _connections(run)["near_duplicates"]["on"]:
        found.pop("leaked_share_of_test_with_near_duplicates", None)
    if not grouping.groups_in(run.part("test"))["groups_known"]:  # an older run said 0 there
        found["leaked_share_of_test"] = None
    return found


def _connections(run: Run) -> dict[str, Any]:
    return {"near_duplicates": run.config.get("near_duplicates") or {"on": False}}


@contextlib.contextmanager
def _cleared_progress(report: Report) -> Iterator[None]:
    yield
    report("\r")


def to_stderr(line: str) -> None:
    """A `Report` for the terminal."""
    console.report(line)
