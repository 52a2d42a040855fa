"""`skin-edge debug-quantization`."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import click

from ...edge_runtime import console
from ...edge_runtime.commands import ModelPath
from ...edge_runtime.errors import UsageError

_SHOWN = 15  # layers on the terminal; the csv has all


@click.command("debug-quantization")
@click.argument("model", type=ModelPath())
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    metavar="FLOAT",
    help="Float baseline.  [default: model_float32.tflite beside MODEL]",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="CSV|FOLDER",
    help="Labelled images.  [default: split.csv of the run that MODEL's folder is in]",
)
@click.option(
    "--images", type=click.Path(path_type=Path), metavar="DIR", help="Folder with the images that the csv names."
)
@click.option("--split", default="train", show_default=True, metavar="PART", help='Part of the data, or "all".')
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Number of images, spread over the classes.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder to write.  [default: the folder of MODEL]"
)
@click.option("--json", "as_json", is_flag=True, help="Print every layer as JSON.")
def debug_quantization(
    model: Path,
    reference: Path | None,
    data: Path | None,
    images: Path | None,
    split: str,
    limit: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Show which layer of MODEL, an int8 .tflite, deviates from its float baseline.

    Both run on the same images. Per layer: the signal to quantization noise ratio (SQNR, in dB; 6 dB are one bit) and
    what of it is lost between the layer's input and output. Writes layer_errors.csv and layer_errors.png.

    The weights of a file from quantization-aware training were trained further, which counts as error here: to see
    rounding alone, convert with --ptq.

    Training images by default: changing a model after a look into the test part would be tuning on it.

    \b
    Example:
      skin-edge debug-quantization runs/first/int8-ptq/model_int8.tflite
    """
    import numpy as np

    from ...benchmarks.inputs.cases import read_cases
    from ...benchmarks.report import terminal
    from ...edge_runtime import files, preprocess
    from ...edge_runtime.classifier import SkinClassifier
    from ...train.job import to_stderr
    from .. import layer_errors

    reference = reference or model.with_name("model_float32.tflite")
    data = data or model.resolve().parent.parent / "split.csv"
    out = out or model.parent
    classifier = SkinClassifier(model)
    for path, option in ((reference, "--reference"), (data, "--data")):
        if not path.exists():
            raise UsageError(f"{path} does not exist: name another with {option}")
    files.check_writable_in(out)
    known = [label.code for label in classifier.labels]
    cases = layer_errors.choose(read_cases(data, split=split, images=images, known_labels=known), limit)
    pixels = np.stack([preprocess.to_pixels(case.path, classifier.input_spec) for case in cases])
    rows = layer_errors.measure(model, reference, pixels, lambda done, total: to_stderr(f"\r{done}/{total} images"))
    to_stderr("\r")
    unmatched = layer_errors.match(model.read_bytes(), reference.read_bytes())[1]
    if unmatched:
        to_stderr(f"warning: {unmatched} operators of the two files have no partner and are left out")

    # Printed first: an unwritable folder must not cost what was measured.
    if as_json:
        layers = [
            {name: None if value in (math.inf, -math.inf) else value for name, value in asdict(row).items()}
            for row in rows
        ]
        result = {"model": str(model), "reference": str(reference), "images": len(cases), "layers": layers}
        console.say_json(result | {"unmatched_operators": unmatched})
    else:
        found = layer_errors.document(rows, f"{len(cases)} images of {split}", _SHOWN)
        after = [f"Every layer: {out / 'layer_errors.csv'}, layer_errors.png"]
        console.say(terminal.text(replace(found, after=after)))
    with files.replacing(out / "layer_errors.csv") as table:  # both or none
        table.write_bytes(layer_errors.to_csv(rows).encode("utf-8", "surrogateescape"))
        layer_errors.draw(rows, out / "layer_errors.png")
