"""`skin-edge predict` and `skin-edge info`, and the options that other commands share with them."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import console, packaged
from .errors import SkinEdgeError, UnknownNameError, UnwritableError, UsageError

if TYPE_CHECKING:
    from .classifier import Decision, Prediction, SkinClassifier


class ModelPath(click.Path):
    """What names a model on the command line: a .tflite file, or the word of a packaged model (`packaged.path_of`).

    Args:
        also: What else may be named there, such as "RUN", for the help.
    """

    def __init__(self, *also: str):
        super().__init__(path_type=Path)
        self._also = also

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """Of what is in this installation, when the help is printed: a start need not look."""
        return "|".join((*self._also, *packaged.there(), "MODEL.tflite"))

    def convert(self, value: str | os.PathLike[str], param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Raises ModelFileError where this installation does not have the packaged model."""
        return packaged.path_of(value)


model_argument = click.argument("model", required=False, type=ModelPath())

model_option = click.option("--model", type=ModelPath(), help="Model that answers, where the first argument is none.")

_input = (
    click.option(
        "--mean",
        type=float,
        metavar="X",
        help="Input mean of a float model that was not made by skin-edge: it takes (pixel - mean) / std, with pixels "
        "from 0 to 255.",
    ),
    click.option(
        "--std",
        type=click.FloatRange(min=0, min_open=True),
        metavar="X",
        help="Input standard deviation of a float model that was not made by skin-edge.",
    ),
    click.option(
        "--labels",
        type=click.Path(),
        metavar="FILE",
        help="Text file with the labels of a model that was not made by skin-edge, one per line.",
    ),
)


def input_options(command: Any) -> Any:
    """Adds --mean, --std and --labels: what a model that others made may not say itself."""
    return _with(command, _input)


num_threads_option = click.option(
    "--num-threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Number of interpreter threads."
)

jobs_option = click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Number of processes that answer for --out.  [default: 1]",
)

_answer = (
    click.option(
        "--metadata",
        multiple=True,
        metavar="NAME=VALUE,...",
        help="Patient fields for models trained with --metadata, the same for all images, such as age=45,sex=female. "
        "Fields that are left out count as unknown.",
    ),
    click.option(
        "--operating-point",
        metavar="NAME",
        help="Threshold for the decision, such as mel-0.95; 'skin-edge info' lists those of a model.  [default: the "
        "first; with --json or --out all]",
    ),
    click.option(
        "--top-k",
        type=click.IntRange(min=1),
        help="Number of classes for each image.  [default: 3; with --json or --out all]",
    ),
    click.option(
        "--assess-anything",
        is_flag=True,
        help="Answer images too that the model refuses (too dark, blurred, no lesion), and say so.",
    ),
    num_threads_option,
)


def answer_options(command: Any) -> Any:
    """Adds --metadata, --operating-point, --top-k, --assess-anything and --num-threads: of every command that answers
    images."""
    return _with(command, _answer)


def _with(command: Any, options: Sequence[Any]) -> Any:
    for option in reversed(options):
        command = option(command)
    return command


_bulk = (
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write the answers to FILE: JSON Lines (.jsonl), .csv or .parquet, by its suffix.",
    ),
    click.option(
        "--list",
        "list_file",
        type=click.Path(),
        metavar="FILE",
        help="With --out: the images are those that FILE names, a line each, relative to its folder; or a csv; '-' "
        "reads the lines from standard input.",
    ),
    click.option(
        "--image-column", metavar="NAME", help="Column of the csv of --list that names the images.  [default: image]"
    ),
    click.option(
        "--metadata-column",
        "metadata_columns",
        multiple=True,
        metavar="FIELD[=NAME]",
        help="Column of the csv of --list with a patient field, for models trained with --metadata, such as age or "
        "site=localization.",
    ),
    click.option(
        "--resume", is_flag=True, help="Continue the file of --out: images that it has are not answered again."
    ),
    click.option("--overwrite", is_flag=True, help="Replace the file of --out."),
    jobs_option,
    click.option(
        "--scheduler", metavar="ADDRESS", help="With --out: let the workers of a Dask cluster answer (tcp://HOST:8786)."
    ),
    click.option(
        "--by-path",
        is_flag=True,
        help="With --scheduler: the workers open the images by their names, on storage that all share; else their "
        "bytes are sent.",
    ),
    click.option(
        "--wait",
        type=click.FloatRange(1, 86_400),
        metavar="SECONDS",
        help="With --scheduler: stop when no worker has been there for so long.  [default: 600]",
    ),
)

_BULK = {"out": "--out", "list_file": "--list", "metadata_columns": "--metadata-column"} | {
    name: f"--{name.replace('_', '-')}"
    for name in ("image_column", "resume", "overwrite", "jobs", "scheduler", "by_path", "wait")
}


def _bulk_options(command: Any) -> Any:
    return _with(command, _bulk)


@dataclass(frozen=True)
class _Options:
    """Those of `predict` that hold with --out and without.

    Attributes:
        metadata: Patient fields as NAME=VALUE,..., the same for all images.
        top_k: Classes of each image; None for the default.
        assess_anything: Whether images that the model refuses are answered.
        num_threads: As `SkinClassifier` takes it.
        heatmap: Folder for class activation maps; None where none are wanted.
        delegate: As `SkinClassifier` takes it.
        operating_point: Name of a threshold; None for the default.
        mean: As `SkinClassifier` takes it.
        std: As `SkinClassifier` takes it.
        labels: As `SkinClassifier` takes it.
        as_json: Whether JSON is printed.
    """

    metadata: tuple[str, ...]
    top_k: int | None
    assess_anything: bool
    num_threads: int
    heatmap: Path | None
    delegate: str
    operating_point: str | None
    mean: float | None
    std: float | None
    labels: str | None
    as_json: bool


@click.command()
@click.argument("files", nargs=-1, metavar="[MODEL] IMAGE|FOLDER...", type=click.Path())
@model_option
@answer_options
@click.option(
    "--heatmap",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Write class activation heatmaps to DIR (for models converted with --cam).",
)
@click.option(
    "--delegate",
    default="xnnpack",
    show_default=True,
    metavar="xnnpack|none|FILE",
    help="LiteRT delegate that computes: XNNPACK, none (the built-in kernels), or the shared library of an external "
    "delegate.",
)
@input_options
@_bulk_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines, one object per image.")
def predict(files: tuple[str, ...], model: Path | None, **given: Any) -> int:
    """Classify images with MODEL, a .tflite file or the name of a packaged model; without MODEL, "default".

    A FOLDER stands for all images below it. Patterns in quotes, such as "*.jpg", are expanded by this command; "**"
    matches any number of folders. "-" reads one image from standard input. Images that cannot be assessed (unreadable,
    too dark, blurred, no lesion) are reported and do not stop the others; the exit code is then 1.

    With --out the answers go to a file, image by image: what was interrupted goes on with --resume. See docs/bulk.md.

    \b
    Example:
      skin-edge predict photo.jpg
      skin-edge predict photo.jpg --model default
      skin-edge predict model_int8.tflite clinic --json > answers.jsonl
      curl -s https://example.org/photo.jpg | skin-edge predict -
      skin-edge predict model_int8.tflite photo.jpg --operating-point mel-0.95
      skin-edge predict model_int8.tflite photo.jpg \\
        --metadata age=45,sex=female,site=back
      skin-edge predict model_int8.tflite clinic --out answers.jsonl --jobs 4
    """
    bulk = {name: given.pop(name) for name in _BULK}
    options = _Options(**given)
    if bulk["out"] is not None:
        return _to_file(files, model, options, bulk)
    if wanting := [_BULK[name] for name, value in bulk.items() if value]:
        raise UsageError(f"{wanting[0]} is of answers in a file: give --out answers.jsonl")
    return _to_screen(files, model, options)


def _to_file(files: tuple[str, ...], model: Path | None, options: _Options, bulk: Mapping[str, Any]) -> int:
    from .bulk.answering import Settings
    from .bulk.commands import BulkOptions, answer_all

    if options.heatmap:
        raise UsageError("--heatmap draws images that are answered one by one: leave --out out")
    model, named = _model_and_images(files, model, listed=bulk["list_file"] is not None)
    return answer_all(
        BulkOptions(**bulk),
        model,
        named,
        Settings(
            options.top_k, options.operating_point, options.num_threads, options.delegate, options.assess_anything
        ),
        metadata=options.metadata,
        mean=options.mean,
        std=options.std,
        labels=options.labels,
        as_json=options.as_json,
    )


def _to_screen(files: tuple[str, ...], model: Path | None, options: _Options) -> int:
    with _loading():
        from .classifier import DISCLAIMER, SkinClassifier

        model, named = _model_and_images(files, model)
        images, unused = _found(named)
        classifier = SkinClassifier(
            model,
            num_threads=options.num_threads,
            mean=options.mean,
            std=options.std,
            labels=options.labels,
            delegate=options.delegate,
        )
    metadata = _metadata(classifier, options.metadata) if options.metadata else None
    point = options.operating_point
    if point is not None and point not in classifier.operating_points:
        raise UnknownNameError("operating point", point, classifier.operating_points)
    if unused:
        console.say(unused, err=True)
    drawings = _drawings(classifier, images, options.heatmap) if options.heatmap else {}
    answers = _answers(classifier, images, drawings, metadata, assess_anything=options.assess_anything)
    failed = _say_all(classifier, images, answers, options)
    console.say(DISCLAIMER, err=options.as_json)
    return 1 if failed else 0


def _say_all(
    classifier: SkinClassifier,
    images: Sequence[str],
    answers: Iterable[Prediction | SkinEdgeError],
    options: _Options,
) -> bool:
    """Prints each answer when it is there; returns whether an image could not be assessed."""
    from .answers import record, refused

    names = {label.code: label.name for label in classifier.labels}
    width = max(console.columns_of(console.escaped(image)) for image in images)
    failed = False
    for image, prediction in zip(images, answers, strict=True):
        line = record(
            image,
            prediction,
            top_k=options.top_k,
            operating_point=options.operating_point,
            assess_anything=options.assess_anything,
        )
        failed |= "error" in line
        if options.as_json:
            console.say_json(line, indent=None)
        elif isinstance(prediction, SkinEdgeError) or "error" in line:
            console.say(f"{console.pad(image, width)}  {refused(line['error'])}")
        else:
            console.say_parts([console.pad(image, width), *_parts(prediction, names, options)])
    return failed


def _parts(prediction: Prediction, names: Mapping[str, str], options: _Options) -> list[str]:
    """What is printed of an answer behind the image's name.

    Args:
        prediction: Of the image.
        names: Code of a class -> its name.
        options: What is wanted of it.
    """
    shown = list(prediction.probabilities.items())[: options.top_k or 3]
    scores = [f"{code} {probability:.3f}" for code, probability in shown]
    decisions = [d for d in prediction.decisions if options.operating_point in (None, d.name)]
    milliseconds = prediction.preprocess_ms + prediction.inference_ms
    name = names[prediction.label]
    said = [] if name == prediction.label else [name]
    if decisions:
        said.append(_decision_text(decisions[0]))
    if prediction.possible is not None and len(prediction.possible) > 1:
        said.append(f"possible: {', '.join(prediction.possible)}")
    if prediction.reasons:
        said.append(f"answered in spite of: {'; '.join(reason.text for reason in prediction.reasons)}")
    return [*scores, *said, f"{milliseconds:.1f} ms"]


def _decision_text(decision: Decision) -> str:
    """In plain words: the decision, its operating point and the two numbers that it compares."""
    words = {"refer": "refer", "below": "below the threshold"}[decision.decision]
    borderline = ", borderline" if decision.borderline else ""
    sign = ">=" if decision.decision == "refer" else "<"
    return f"{words}{borderline} ({decision.name}: {decision.score:.3f} {sign} {decision.threshold:.3f})"


@click.command()
@model_argument
@click.option("--packaged", "family", is_flag=True, help="List the packaged models instead.")
@input_options
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def info(
    model: Path | None, family: bool, mean: float | None, std: float | None, labels: str | None, as_json: bool
) -> None:
    """Describe MODEL, a .tflite file made by skin-edge or by others, or a packaged model by its name; without MODEL,
    "default".

    Prints its input and output, labels, operators, thresholds, training data and license, and whether the file is
    unchanged since it was written.

    \b
    Example:
      skin-edge info
      skin-edge info --packaged
      skin-edge info model_int8.tflite --json
    """
    from . import info as module

    if family:
        if any(given is not None for given in (model, mean, std, labels)):
            raise UsageError("--packaged lists the packaged models: leave MODEL, --mean, --std and --labels out")
        members = module.family()
        console.say_json(members) if as_json else console.say(module.family_text(members))
        return
    described = module.read(packaged.path_of(None) if model is None else model, mean=mean, std=std, labels=labels)
    console.say_json(described) if as_json else console.say(module.text(described))


def _drawings(classifier: SkinClassifier, images: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """Where each image's heatmap goes: said before the first image, for none may replace another's."""
    from . import files

    if not classifier.has_map:
        raise UsageError(f"{classifier.path} has no class activation map: convert the run with --cam")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--heatmap {folder} is a file: name a folder")
    drawings = {image: folder / f"{'stdin' if image == '-' else Path(image).name}.png" for image in images}
    if len(set(drawings.values())) < len(drawings):
        raise UsageError("two of the images have the same name, and so would their heatmaps: draw them one at a time")
    files.check_writable_in(folder, "--heatmap")
    return drawings


@contextlib.contextmanager
def _loading() -> Generator[None, None, None]:
    """What is loaded meanwhile stays to the end, so no garbage collection walks it: a fifth of a start's time.

    (Most of that at exit, where the last collection would take NumPy, Pillow and LiteRT apart piece by piece.)
    """
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _answers(
    classifier: SkinClassifier,
    images: Sequence[str],
    drawings: Mapping[str, Path],
    metadata: Mapping[str, str] | None,
    *,
    assess_anything: bool,
) -> Iterator[Prediction | SkinEdgeError]:
    opened = (_opened(image) for image in images)  # one after the other: of standard input when its turn has come
    if len(images) > 1 and not drawings:
        yield from classifier.predict_many(opened, metadata=[metadata] * len(images))
        return
    for name, image in zip(images, opened, strict=True):
        try:
            if drawings:
                yield _with_heatmap(classifier, image, drawings[name], metadata, assess_anything=assess_anything)
            else:
                yield classifier.predict(image, metadata)
        except UnwritableError:  # of heatmaps: the next one cannot be written either
            raise
        except SkinEdgeError as error:
            yield error


def _opened(image: str) -> str | bytes:
    if image != "-":
        return image
    from .named_pictures import read_stdin

    return read_stdin()


def _metadata(classifier: SkinClassifier, given: Sequence[str]) -> dict[str, str]:
    from .patient import parse_pairs

    metadata = parse_pairs(given)
    classifier.to_vector(metadata)  # what is wrong with it is wrong for every image
    return metadata


def _with_heatmap(
    classifier: SkinClassifier,
    image: str | bytes,
    drawing: Path,
    metadata: Mapping[str, str] | None,
    *,
    assess_anything: bool,
) -> Prediction:
    from . import files, heatmap

    prediction, drawn = heatmap.predicted(classifier, image, metadata)
    if not (prediction.assessable or assess_anything):
        return prediction
    with files.replacing(drawing) as temporary:
        drawn.save(temporary)
    return prediction


def _found(named: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """The images of files, folders, patterns and "-", and what is said of files that are none."""
    if all(map(os.path.isfile, named)):  # a start is faster without the rest
        return tuple(named), ""
    from . import named_pictures

    found = named_pictures.find(named)
    return found.images, named_pictures.described(found.unused)


def _model_and_images(
    files: tuple[str, ...], model: Path | None, *, listed: bool = False
) -> tuple[Path | None, tuple[str, ...]]:
    """The arguments told apart. To answer with another model than the one that was meant is worse than an error.

    Args:
        files: As given.
        model: Of --model; then all of `files` are images.
        listed: Whether a list names the images.
    """
    from .model_file import is_network

    images, word = files, ""
    if model is None and files:
        first = Path(files[0])
        if files[0] in packaged.NAMES:
            word = files[0]
            model, images = packaged.path_of(word), files[1:]
        elif first.suffix.lower() == ".tflite" or is_network(first):
            model, images = first, files[1:]
        elif first.suffix in (".keras", ".h5") or _holds_a_model(first):
            raise UsageError(
                f"{first} is not a model for the device: name the .tflite file that 'skin-edge convert' wrote"
            )
    if not images and not listed:
        meant = f" ({word} is the packaged model; ./{word} is a file or folder)" if word else ""
        raise UsageError(f"no image given: skin-edge predict [MODEL] IMAGE|FOLDER...{meant}")
    for image in images:
        if image.lower().endswith(".tflite"):
            raise UsageError(
                f"{image} is a model: give only one, before the images (skin-edge predict [MODEL] IMAGE|FOLDER...)"
            )
    if model is None:
        console.say("no model given: using the packaged model", err=True)
    return model, images


def _holds_a_model(folder: Path) -> bool:
    """Whether it is the folder of a run, a conversion or a SavedModel: who names it first means the model."""
    if not folder.is_dir():
        return False
    with os.scandir(folder) as entries:
        return any(
            entry.name == "config.yaml" or entry.name.endswith((".tflite", ".keras", ".h5", ".pb")) for entry in entries
        )
