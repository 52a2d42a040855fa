"""`skin-edge bundle` and `skin-edge verify`."""

from __future__ import annotations

from pathlib import Path

import click

from ...edge_runtime import console, packaged
from ...edge_runtime.commands import model_argument


@click.command()
@model_argument
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER|FILE.zip", help="Folder or zip to create."
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Images to add to the generated test images; they are copied into the bundle.",
)
@click.option("--micro", is_flag=True, help="Add what a microcontroller's firmware needs (with the extra micro).")
@click.option("--overwrite", is_flag=True, help="Replace an earlier bundle.")
def bundle(model: Path | None, out: Path, pictures: Path | None, micro: bool, overwrite: bool) -> None:
    """Package MODEL, a .tflite file or the name of a packaged model, for app developers, as a folder or a zip; without
    MODEL, "default".

    The bundle holds the model, its contract, an integration guide for each platform, sample code (ports), the model
    card and license, and golden pictures with the expected result of each stage, against which 'skin-edge verify'
    checks the app. The same input gives a byte-identical bundle.

    --micro adds, for firmware with TensorFlow Lite Micro: the model and small golden pictures as C arrays, arena size
    and operators, and a self-test with a Makefile that runs it on an emulated Cortex-M4 and M7.

    \b
    Example:
      skin-edge bundle --out handover.zip
      skin-edge bundle runs/first/int8/model_int8.tflite --out handover \\
        --pictures clinic
      skin-edge bundle --micro --out firmware
    """
    from . import hand_over

    hand_over.check(out, overwrite=overwrite)
    name, made = hand_over.contents(packaged.path_of(model), pictures, for_micro=micro)
    hand_over.write(out, name, made, overwrite=overwrite)
    size = sum(map(len, made.values())) if out.is_dir() else out.stat().st_size
    golden = sum(path.startswith("golden/pictures/") for path in made)
    console.say(f"{out}: {name}, {len(made)} files, {golden} golden pictures, {size / 1e6:.1f} MB")
    verify = console.command_line("skin-edge", "verify", out, "answers.jsonl")
    console.say(console.page(["next: the app answers golden/pictures and golden/broken; then", f"  {verify}"]))


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("answers", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def verify(bundle: Path, answers: Path, as_json: bool) -> int:
    """Check an app's ANSWERS, a file with one JSON object per line, against the golden answers of BUNDLE.

    Every stage that the app reports is checked: upright images, input bytes, probabilities, labels, decisions and
    refusals (CONTRACT.md in the bundle, section 9). Known mistakes are named. Exit code 0: level A, all exact. 1: level
    B or C, within tolerances. 2: BUNDLE or ANSWERS is damaged or of another form. 3: refused.

    \b
    Example:
      skin-edge verify handover.zip answers.jsonl
    """
    from ..report import terminal
    from . import verify as module
    from .reading import read_bundle

    verdict = module.verify(read_bundle(bundle), answers)
    if as_json:
        console.say_json(verdict)
    else:
        console.say(terminal.text(module.document(verdict)))
    return {"A": 0, "B": 1, "C": 1, "refused": 3}[verdict["level"]]
