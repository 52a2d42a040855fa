"""A diagnosis that the model has never seen: trained without it, what becomes of its pictures?

    python -m studies.left_out HAM10000 --split docs/experiments/split.csv --weights FILE --out FOLDER

For each class in turn: `skin-edge train --drop-class`, a short schedule, `skin-edge convert --int8 --ptq`; then the
pictures of that class in the validation and test parts, none of which had a part in anything, as `predict` answers. A
run that is there is used, one that was interrupted goes on.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from skin_edge.edge_runtime import cli, console
from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.errors import DataError, SkinEdgeError
from skin_edge.train.data import layouts, splits

_COMMAND = (sys.executable, "-m", "skin_edge.edge_runtime")


def made(data: Path, split: Path, weights: Path | None, out: Path, code: str, size: int, epochs: int) -> Path:
    """The model that has never seen a class.

    Args:
        data, split, weights: As `skin-edge train` takes them.
        out: The folder of all runs.
        code: The class.
        size: Pixels.
        epochs: Of the training.

    Raises:
        DataError: Where a command fails.
    """
    run = out / f"without-{code}"
    model = run / "int8-ptq" / "model_int8.tflite"
    if not (run / "model.keras").is_file():
        begun = ["--resume"] if run.is_dir() else []
        settings = ["--drop-class", code, "--image-size", str(size), "--epochs", str(epochs), "--split", str(split)]
        settings += ["--weights", str(weights)] if weights else []
        _run(["train", str(data), "--out", str(run), *(begun or settings)])
    if not model.is_file():
        _run(["convert", str(run), "--int8", "--ptq", "--overwrite"])
    return model


def _run(words: list[str]) -> None:
    console.say(console.command_line("skin-edge", *words), err=True)
    if subprocess.run([*_COMMAND, *words], stdout=subprocess.DEVNULL, check=False).returncode:
        raise DataError(f"skin-edge {words[0]} failed")


def answered(model: Path, paths: list[str]) -> dict[str, Any]:
    """What becomes of pictures of a class that the model does not know. JSON-ready.

    Args:
        model: With an assessment.
        paths: The pictures.
    """
    n, refused, several, together, referred = 0, 0, 0, 0, 0
    taken_for: Counter[str] = Counter()
    with SkinClassifier(model) as classifier:
        for answer in classifier.predict_many(paths):
            if isinstance(answer, SkinEdgeError):
                continue
            n += 1
            in_several = len(answer.possible or ()) > 1
            refused += not answer.assessable
            several += in_several
            together += in_several or not answer.assessable
            referred += any(one.name == "malignant-0.90" and one.decision == "refer" for one in answer.decisions)
            taken_for[answer.label] += 1
    return {
        "n": n,
        "refused": refused / n,
        "in_a_set_of_several": several / n,
        "refused_or_in_several": together / n,
        "refer": referred / n,
        "taken_for": dict(taken_for.most_common(3)),
    }


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", required=True, type=click.Path(path_type=Path), help="A csv with image_id and split.")
@click.option("--weights", type=click.Path(path_type=Path), help="ImageNet weights from a file.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--image-size", default=128, show_default=True, help="Pixels.")
@click.option("--epochs", default=5, show_default=True, help="Of each training.")
@click.option("--json", "as_json", is_flag=True, help="Print all counts as JSON.")
def main(data: Path, split: Path, weights: Path | None, out: Path, image_size: int, epochs: int, as_json: bool) -> None:
    """Train without each class of DATA in turn, and ask what becomes of its pictures.

    \b
    Example:
      python -m studies.left_out HAM10000 --split docs/experiments/split.csv --out runs/left-out
    """
    frame: Any = layouts.read_dataset(data).frame
    chosen: Any = splits.read_split(split, frame)
    rows = frame.loc[chosen.isin(("val", "test")).to_numpy()]
    found: dict[str, dict[str, Any]] = {}
    for code in sorted({str(label) for label in frame["label"]}):
        model = made(data, split, weights, out, code, image_size, epochs)
        found[code] = answered(model, [str(path) for path in rows.loc[rows["label"] == code, "path"]])
        one = found[code]
        if not as_json:
            shares = {"refused": "refused", "in_a_set_of_several": "set of several", "refused_or_in_several": "either"}
            said = "  ".join(f"{name} {one[key]:.1%}" for key, name in {**shares, "refer": "refer"}.items())
            console.say(f"{code:6} {one['n']:5}  {said}  {one['taken_for']}")
    if as_json:
        console.say_json(found)


if __name__ == "__main__":
    cli.run_module(main)
