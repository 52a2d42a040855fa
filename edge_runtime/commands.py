"""`skin-edge predict`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from .errors import SkinEdgeError, UsageError


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="[MODEL] IMAGE...", type=click.Path())
@click.option("--top-k", type=click.IntRange(min=1), help="Classes per image.  [default: 3; with --json all]")
@click.option("--num-threads", type=click.IntRange(1, 256), default=1, show_default=True, help="Interpreter threads.")
@click.option("--json", "as_json", is_flag=True, help="JSON Lines: one object per image.")
def predict(files: tuple[str, ...], top_k: int | None, num_threads: int, as_json: bool) -> int:
    """Classify IMAGE... with MODEL, a .tflite file (without one: the packaged model).

    An image that cannot be read is reported for itself, the others go on, and the exit code is 1.

    \b
    Example:
      skin-edge predict photo.jpg
      skin-edge predict model_int8.tflite *.jpg --json > answers.jsonl
    """
    from .classifier import DISCLAIMER, SkinClassifier

    model, images = _model_and_images(files)
    classifier = SkinClassifier(model, num_threads=num_threads)
    names = {label.code: label.name for label in classifier.labels}
    width = max(len(image) for image in images)
    failed = False
    for image in images:
        try:
            prediction = classifier.predict(image)
        except SkinEdgeError as error:
            failed = True
            if as_json:
                click.echo(json.dumps({"file": image, "error": str(error)}, ensure_ascii=False))
            else:
                click.echo(f"{image:<{width}}  cannot assess: {error}")
            continue
        shown = dict(list(prediction.probabilities.items())[: top_k or (None if as_json else 3)])
        if as_json:
            record: dict[str, Any] = {
                "file": image,
                "label": prediction.label,
                "probabilities": shown,
                "preprocess_ms": round(prediction.preprocess_ms, 3),
                "inference_ms": round(prediction.inference_ms, 3),
            }
            click.echo(json.dumps(record, ensure_ascii=False))
        else:
            scores = "  ".join(f"{code} {probability:.3f}" for code, probability in shown.items())
            milliseconds = prediction.preprocess_ms + prediction.inference_ms
            click.echo(f"{image:<{width}}  {scores}  {names[prediction.label]}  {milliseconds:.1f} ms")
    click.echo(DISCLAIMER, err=as_json)
    return 1 if failed else 0


def _model_and_images(files: tuple[str, ...]) -> tuple[Path | None, tuple[str, ...]]:
    """The arguments told apart. To answer with another model than the one that was meant is worse than an error."""
    from .model_file import is_network

    first = Path(files[0])
    has_model = first.suffix.lower() == ".tflite" or is_network(first)
    if not has_model and (first.is_dir() or first.suffix in (".keras", ".h5")):
        raise UsageError(f"{first} is no model for the device: name the .tflite file that 'skin-edge convert' wrote")
    images = files[1:] if has_model else files
    if not images:
        raise UsageError("no image given: skin-edge predict [MODEL] IMAGE...")
    for image in images:
        if image.lower().endswith(".tflite"):
            raise UsageError(
                f"{image} is a model: there is one, and it comes first (skin-edge predict [MODEL] IMAGE...)"
            )
    if not has_model:
        click.echo("no model named: the packaged, provisional one answers", err=True)
    return (first if has_model else None), images
