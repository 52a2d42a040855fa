"""`skin-edge bundle` and `skin-edge verify`."""

from __future__ import annotations

from pathlib import Path

import click

from ...edge_runtime import console


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER|FILE.zip", help="Folder or zip to write."
)
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Own pictures, which become golden ones beside those that are drawn; they are copied into the bundle.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier bundle.")
def bundle(model: Path | None, out: Path, pictures: Path | None, overwrite: bool) -> None:
    """Everything that an app developer needs of MODEL (without one: the packaged model), in a folder or a zip.

    The model, its contract in words, how to embed it on each platform, ports, its card and license, and golden pictures
    with what each stage must give, against which 'skin-edge verify' holds the app. The same input gives the same bytes.

    \b
    Example:
      skin-edge bundle --out handover.zip
      skin-edge bundle runs/first/int8/model_int8.tflite --out handover \\
        --pictures clinic
    """
    from ...edge_runtime import files
    from ...edge_runtime.classifier import DEFAULT_MODEL
    from ...edge_runtime.errors import OutputExistsError
    from . import hand_over

    if out.exists() and not overwrite:
        raise OutputExistsError(out)
    check = files.check_writable_file if out.suffix.lower() == ".zip" else files.check_writable
    check(out)
    name, made = hand_over.contents(model or DEFAULT_MODEL, pictures)
    hand_over.write(out, name, made, overwrite=overwrite)
    size = sum(map(len, made.values())) if out.is_dir() else out.stat().st_size
    golden = sum(path.startswith("golden/pictures/") for path in made)
    console.say(f"{out}: {name}, {len(made)} files, {golden} golden pictures, {size / 1e6:.1f} MB")
    verify = console.command_line("skin-edge", "verify", out, "answers.jsonl")
    console.say(f"next: the app answers golden/pictures and golden/broken; then {verify}")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("answers", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as JSON.")
def verify(bundle: Path, answers: Path, as_json: bool) -> int:
    """Hold an app's ANSWERS, one JSON object a line, against the golden ones of BUNDLE, a folder or a zip.

    Stage by stage: upright pictures, input bytes, probabilities, labels, decisions, refusals, as far as the app tells
    them (CONTRACT.md, section 9). Names the mistake where it is a known one. Exit code 0: level A, exact. 1: level B or
    C. 3: refused.

    \b
    Example:
      skin-edge verify handover.zip answers.jsonl
    """
    from . import verify as module

    verdict = module.verify(module.read_bundle(bundle), answers)
    if as_json:
        console.say_json(verdict)
    else:
        console.say(module.text(verdict))
    return {"A": 0, "B": 1, "C": 1, "refused": 3}[verdict["level"]]
