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
@click.option("--num-threads", type=click.IntRange(min=1), default=1, show_default=True, help="Interpreter threads.")
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

    has_model = files[0].lower().endswith(".tflite")
    model, images = (Path(files[0]), files[1:]) if has_model else (None, files)
    if not images:
        raise UsageError("no image given: skin-edge predict [MODEL] IMAGE...")
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
