"""`skin-edge predict --out` and `skin-edge watch`: parse, call, print."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import click

from .. import answers, console, named_pictures, packaged, stopping
from ..classifier import DISCLAIMER, SkinClassifier
from ..commands import answer_options, input_options, jobs_option, model_option
from ..errors import MetadataError, UnknownNameError, UsageError, require
from ..model_file import ModelFile, read_model_file
from ..patient import parse_pairs
from ..wording import counted
from . import answering, answers_file, batch, sources
from . import watch as watching
from .answering import Answer, Settings
from .ordered import Pool
from .processes import Processes

_PROGRESS_SECONDS = 0.2
_BAR = 20  # letters


@dataclass(frozen=True)
class BulkOptions:
    """The options of `predict` that are of answers in bulk.

    Attributes:
        out: The file of answers; the others need it.
        list_file: Of names; "-" for standard input.
        image_column: Of such a list.
        metadata_columns: Each as FIELD=COLUMN, or FIELD where the column has its name.
        resume: Whether to go on with what is there.
        overwrite: Whether to replace what is there.
        jobs: Processes.
        scheduler: Address of one of Dask.
        by_path: Whether Dask's workers open the pictures themselves.
        wait: Seconds without a worker of Dask, after which the work ends; None for the default.
    """

    out: Path | None
    list_file: str | None
    image_column: str | None
    metadata_columns: tuple[str, ...]
    resume: bool
    overwrite: bool
    jobs: int | None
    scheduler: str | None
    by_path: bool
    wait: float | None


def answer_all(
    bulk: BulkOptions,
    model_path: Path | None,
    images: Sequence[str],
    settings: Settings,
    *,
    metadata: Sequence[str],
    mean: float | None,
    std: float | None,
    labels: str | None,
    as_json: bool,
) -> int:
    """`predict --out`; returns the exit code: 1 where the file has a picture that could not be assessed.

    Args:
        bulk: With `out`.
        model_path: None for the packaged one.
        images: Files, folders, patterns and "-"; none where a list names them.
        settings: That decide the answers.
        metadata: NAME=VALUE, the same for all pictures.
        mean, std, labels: As `read_model_file` takes them.
        as_json: Whether the summary is.
    """
    out = bulk.out
    assert out is not None
    _check_together(bulk, images)
    answers_file.check_suffix(out)
    model, operating_points, same, columns = _checked(
        model_path, settings, metadata, bulk.metadata_columns, mean, std, labels
    )
    if bulk.list_file is None:
        source = sources.named(images, same)
    else:
        source = sources.listed(bulk.list_file, image_column=bulk.image_column, metadata=same, metadata_columns=columns)
    found = batch.count(source)
    if source.unused:
        console.say(named_pictures.described(source.unused), err=True)
    if found.again:
        console.say(f"{counted(found.again, 'name is', 'names are')} there before: each is answered once", err=True)
    about = answers_file.about(
        "skin-edge predict",
        model,
        operating_points,
        {**_deciding(settings), "metadata": same, "metadata_columns": columns, "mean": mean, "std": std},
    )
    with (
        answers_file.opened(
            out, about, doing="skin-edge predict", resume=bulk.resume, overwrite=bulk.overwrite
        ) as file,
        _pool(bulk, model, settings) as pool,
    ):
        before = file.pictures
        total = None if found.names is None else len(found.names) + before - found.names.common(file.seen)
        if before:
            console.say(f"{counted(before, 'picture is', 'pictures are')} answered already", err=True)
        with _progress() as on_progress:
            batch.run(source, pool, settings, file, total=total, on_progress=on_progress)
    if as_json:
        console.say_json(
            {"out": str(out), "pictures": file.pictures, "not_assessed": file.not_assessed, "before": before},
            indent=None,
        )
    else:
        refused = f", {file.not_assessed} of them could not be assessed" if file.not_assessed else ""
        console.say(f"{out}: {counted(file.pictures, 'picture')}{refused}")
    console.say(DISCLAIMER, err=as_json)
    return 1 if file.not_assessed else 0


def _check_together(bulk: BulkOptions, images: Sequence[str]) -> None:
    if bulk.list_file is not None and images:
        raise UsageError(f"--list names the images: leave {images[0]} out, or name it in the list")
    if bulk.list_file is None and (bulk.image_column or bulk.metadata_columns):
        raise UsageError("--image-column and --metadata-column are of a csv: name it with --list")
    if bulk.resume and bulk.overwrite:
        raise UsageError("--resume continues what --overwrite would remove: give one of them")
    if bulk.scheduler and bulk.jobs:
        raise UsageError("--jobs is of this machine: with --scheduler, start as many workers as you want")
    for option, value in (("--by-path", bulk.by_path), ("--wait", bulk.wait)):
        if value and not bulk.scheduler:
            raise UsageError(f"{option} is of the workers of a cluster: give --scheduler")


def _checked(
    path: Path | None,
    settings: Settings,
    metadata: Sequence[str],
    columns: Sequence[str],
    mean: float | None,
    std: float | None,
    labels: str | None,
) -> tuple[ModelFile, tuple[str, ...], dict[str, str] | None, dict[str, str]]:
    """(model, its operating points, metadata of all pictures, field -> column), checked before the work begins."""
    model = read_model_file(packaged.path_of(path), mean=mean, std=std, labels_file=labels)
    with answering.classifier_for(model, settings) as classifier:
        points = classifier.operating_points
        same, of_columns = _metadata(classifier, metadata, columns)
    if settings.operating_point is not None and settings.operating_point not in points:
        raise UnknownNameError("operating point", settings.operating_point, points)
    return model, points, same, of_columns


def _metadata(
    classifier: SkinClassifier, given: Sequence[str], columns: Sequence[str]
) -> tuple[dict[str, str] | None, dict[str, str]]:
    """(the same for all, field -> column). Raises MetadataError where the model does not take them."""
    same = parse_pairs(given) if given else None
    if same or columns:
        classifier.to_vector(same)
    of_columns = parse_pairs([one if "=" in one else f"{one}={one}" for one in columns])
    known = classifier.encoding.names if classifier.encoding else ()
    if unknown := sorted(set(of_columns) - set(known)):
        raise MetadataError(f"--metadata-column {unknown[0]}: this model knows: {', '.join(known)}")
    if both := sorted(set(of_columns) & set(same or {})):
        raise MetadataError(f"{both[0]} has a column and is given with --metadata: choose one")
    return same, of_columns


def _deciding(settings: Settings) -> dict[str, Any]:
    """What of them decides the lines: threads do not."""
    return {name: value for name, value in asdict(settings).items() if name != "num_threads"}


@click.command()
@click.argument("named", nargs=-1, required=True, metavar="[MODEL] FOLDER", type=click.Path())
@model_option
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.jsonl",
    help="Append the answers to this file: JSON Lines. What it has is not answered again.",
)
@click.option(
    "--settle",
    type=click.FloatRange(0.1, 3600),
    default=watching.Patience.settle,
    show_default=True,
    metavar="SECONDS",
    help="Answer an image when its size and time of change have stayed the same for so long.",
)
@click.option(
    "--refuse-after",
    type=click.FloatRange(0.1, 86_400),
    default=watching.Patience.refuse,
    show_default=True,
    metavar="SECONDS",
    help="Report an image that cannot be decoded when it has stayed the same for so long; until then it may still be "
    "being copied.",
)
@click.option(
    "--poll",
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="Look through the folder every so often instead of asking the system for events: for network storage.",
)
@click.option("--once", is_flag=True, help="Answer what is there and stop.")
@answer_options
@jobs_option
@input_options
@click.option("--json", "as_json", is_flag=True, help="Print each answer as a line of JSON as well.")
def watch(
    named: tuple[str, ...],
    model: Path | None,
    out: Path,
    settle: float,
    refuse_after: float,
    poll: float | None,
    once: bool,
    metadata: tuple[str, ...],
    operating_point: str | None,
    top_k: int | None,
    assess_anything: bool,
    num_threads: int,
    jobs: int | None,
    mean: float | None,
    std: float | None,
    labels: str | None,
    as_json: bool,
) -> int:
    """Classify images as they arrive in FOLDER, with MODEL, a .tflite file or the name of a packaged model; without
    MODEL, "default".

    Each image is answered once, when it is whole; one that changes later is answered again. Hidden files and those of
    other suffixes (.part, .tmp) are left alone until they are renamed. Ctrl-C or SIGTERM ends it when the image in hand
    is answered; the next call goes on. See docs/bulk.md.

    \b
    Example:
      skin-edge watch inbox --out answers.jsonl
      skin-edge watch model_int8.tflite /mnt/share --poll 5 --out answers.jsonl
      skin-edge watch inbox --once --out answers.jsonl
    """
    model_path, folder = _model_and_folder(named, model)
    if not Path(folder).is_dir():
        raise UsageError(f"{folder} is not a folder: name the one in which images arrive")
    if out.suffix.lower() != ".jsonl":
        raise UsageError(f"--out {out}: answers are appended to JSON Lines: name a file that ends in .jsonl")
    if not (poll or once):
        require("watchfiles")
    settings = Settings(top_k, operating_point, num_threads, assess_anything=assess_anything)
    file_of_model, operating_points, same, _ = _checked(model_path, settings, metadata, (), mean, std, labels)
    decides = {**_deciding(settings), "metadata": same, "mean": mean, "std": std, "folder": str(Path(folder).resolve())}
    about = answers_file.about("skin-edge watch", file_of_model, operating_points, decides)
    signs = watching.Signs()

    def say(answer: Answer) -> None:
        record = json.loads(answer.line)
        if as_json:
            console.say_json(record, indent=None)
        elif not answer.assessed:
            console.say(f"{record['file']}  {answers.refused(record['error'])}", err=True)

    with (
        stopping.gently(signs.stop),  # the outermost: it ends as gently while the others are closed
        answers_file.opened(out, about, doing="skin-edge watch", resume=None, identity=watching.identity_of) as file,
        Processes(jobs or 1, file_of_model, settings, console.report) as pool,
        contextlib.nullcontext() if poll or once else signs.of(folder),
    ):
        before = file.not_assessed
        patience = watching.Patience(settle, max(settle, refuse_after))
        watcher = watching.Watcher(folder, pool, settings, file, patience, say, metadata=same, by_age=once)
        console.say(
            f"{folder}: watching; {counted(file.pictures, 'image is', 'images are')} answered already", err=True
        )
        watching.run(watcher, signs, poll=poll or (settle if once else None), once=once, on_trouble=console.report)
    return 1 if once and file.not_assessed > before else 0


def _model_and_folder(named: Sequence[str], model: Path | None) -> tuple[Path | None, str]:
    """The arguments of `watch` told apart.

    Args:
        named: As given.
        model: Of --model.
    """
    first, folder = (None if len(named) == 1 else named[0]), named[-1]
    if len(named) > 2 or (first and model):
        raise UsageError("name one model, or none, and one folder: skin-edge watch [MODEL] FOLDER")
    if not (first or model) and folder in packaged.NAMES:
        raise UsageError(
            f"no folder given: skin-edge watch [MODEL] FOLDER ({folder} is the packaged model; ./{folder} is a folder)"
        )
    return (packaged.path_of(first) if first else model), folder


@contextlib.contextmanager
def _pool(bulk: BulkOptions, model: ModelFile, settings: Settings) -> Generator[Pool, None, None]:
    if bulk.scheduler is not None:
        from .on_dask import WAIT_SECONDS, Cluster

        wait = bulk.wait or WAIT_SECONDS
        with Cluster(bulk.scheduler, model, settings, console.report, by_path=bulk.by_path, wait=wait) as cluster:
            yield cluster
        return
    with Processes(bulk.jobs or 1, model, settings, console.report) as processes:
        yield processes


@contextlib.contextmanager
def _progress() -> Generator[batch.OnProgress, None, None]:
    last = monotonic()

    def show(done: int, total: int | None, rate: float) -> None:
        nonlocal last
        if monotonic() - last > _PROGRESS_SECONDS:
            last = monotonic()
            console.progress(progress_line(done, total, rate))

    try:
        yield show
    finally:
        console.progress("")


def progress_line(done: int, total: int | None, rate: float) -> str:
    """Such as "[=====     ] 51,234 of 100,000 pictures, 402 a second, 2:01 left".

    Args:
        done: Pictures.
        total: Pictures; None where it is not known.
        rate: Pictures a second.
    """
    said = f"{done:,} pictures" if total is None else f"{done:,} of {total:,} pictures"
    said += f", {rate:,.0f} a second" if rate >= 10 else f", {rate:.1f} a second"
    if total is None or not total:
        return said
    filled = "=" * (_BAR * min(done, total) // total)
    seconds = round(max(total - done, 0) / rate) if rate > 0 else 0
    hours, minutes = seconds // 3600, seconds // 60 % 60
    left = f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"
    return f"[{filled:<{_BAR}}] {said}, {left} left"
