"""A file of an earlier contract format in the present one: the same network, its thresholds found again.

    python -m skin_edge.convert.renew MODEL.tflite HAM10000 --split docs/experiments/split.csv --out NEW.tflite

The preprocessing becomes that of format 4, so everything that was measured is measured again, on the validation part
that the split names. Not one byte of the network changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..benchmarks.stats.borderline import answers_of, moved
from ..edge_runtime import console, files, preprocess
from ..edge_runtime import contract as contracts
from ..edge_runtime.classifier import SkinClassifier
from ..edge_runtime.errors import DataError, UsageError
from ..edge_runtime.model_file import ModelFile, read_model_file, with_archive

_MOST_OTHERS = 200  # pictures on which other implementations are imitated, as in a conversion


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", required=True, type=click.Path(path_type=Path), help="A csv with image_id and split.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--scaled-decode", is_flag=True, help="The file asks for large JPEGs at 1/2, 1/4 or 1/8.")
def main(model: Path, data: Path, split: Path, out: Path, scaled_decode: bool) -> None:
    """Rewrite MODEL's contract in the present format; thresholds are found on DATA's validation part.

    \b
    Example:
      python -m skin_edge.convert.renew old.tflite HAM10000 --split runs/first/split.csv --out new.tflite
    """
    from ..train.data import layouts, splits

    frame = layouts.read_dataset(data).frame
    rows = frame.loc[(splits.read_split(split, frame) == "val").to_numpy()]
    if rows.empty:
        raise DataError(f"{split} names no validation images of {data}")
    decoding = preprocess.SCALED if scaled_decode else preprocess.FULL
    content, before, after = renewed(model, list(rows["path"]), list(rows["label"]), decoding)
    files.write(out, content)
    known = {contracts.threshold_name(row): row for row in before}
    for new in after:
        old = known.get(new["name"], {})
        moves = "  ".join(
            f"{name} {f'{old[name]:.6f}' if name in old else 'none'} -> {new[name]:.6f}"
            for name in ("threshold", "sensitivity", "specificity")
        )
        console.say(f"{new['name']:16} {moves}  borderline within {new['borderline_within']:.6f}")


def renewed(
    model: Path, paths: list[str], truth: list[str], decoding: str = preprocess.FULL
) -> tuple[bytes, list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """(the file in the present format, its thresholds before, its thresholds now).

    paths, truth: the validation pictures and their labels' codes. decoding: of preprocess.DECODINGS, not EARLIER.

    Raises UsageError for a file without a contract or with a metadata input, ModelFileError where it is damaged,
    ImageError where a picture cannot be read.
    """
    from . import confidence
    from .tflite.contract import input_bytes

    file = read_model_file(model)
    if not file.contract or file.encoding is not None:
        raise UsageError(f"{model}: only files of skin-edge that take a picture alone are renewed; convert their run")
    spec = replace(file.input_spec, decoding=decoding)
    pixels = np.stack([preprocess.to_pixels(path, spec) for path in paths])
    some = np.unique(np.linspace(0, len(pixels) - 1, min(_MOST_OTHERS, len(pixels))).astype(np.int64))
    with SkinClassifier(model) as classifier, SkinClassifier(model, delegate="none") as plain:
        as_fed = input_bytes(classifier.interpreter.inputs[0], spec)
        answers = answers_of(lambda picture: classifier.invoke(classifier.to_tensor(picture)), pixels)
        others = [
            answers_of(lambda picture: classifier.invoke(classifier.to_tensor(picture)), moved(pixels[some])),
            answers_of(lambda picture: plain.invoke(plain.to_tensor(picture)), pixels[some]),
        ]
    codes = [label.code for label in file.labels]
    before = list(file.contract["thresholds"])
    data = before[0]["on"] if before else ""
    targets = np.array([codes.index(code) for code in truth])
    thresholds = confidence.thresholds(answers.astype(np.float32), targets, file.labels, data)
    borderline = confidence.borderline(thresholds, codes, answers, (some, others))
    content, after = _rewritten(file, spec, thresholds, borderline, as_fed)
    return content, before, after


def _rewritten(
    file: ModelFile, spec: preprocess.InputSpec, thresholds: Any, borderline: list[float], as_fed: str
) -> tuple[bytes, list[Mapping[str, Any]]]:
    contract = {**file.contract, "preprocessing": spec.to_steps(), "thresholds": thresholds}
    contract = contracts.additions(contract, borderline, as_fed)
    network = file.content[: file.network_length]
    labels = contracts.labels_text(file.labels)
    text = contracts.sealed(contract, network, labels)
    return with_archive(network, {contracts.LABELS_FILE: labels, contracts.CONTRACT_FILE: text}), contract["thresholds"]


if __name__ == "__main__":
    main()
