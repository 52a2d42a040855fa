"""A file of an earlier contract format in the present one: the same network, its thresholds found again.

    python -m skin_edge.convert.renew MODEL.tflite HAM10000 --split docs/experiments/split.csv --out NEW.tflite

The preprocessing becomes that of format 4, so everything that was measured is measured again, on the validation part
that the split names. Not one byte of the network changes; with `--front` (`front`) it gets a front end, and none of its
weights changes. With `--assess` it gets an outlier score and the limits beyond which a picture cannot be assessed
(`assess`), learned from the training part and fitted on the validation part; `--also` adds other pictures of the same
images, such as their originals, to both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from ..edge_runtime import cli, console, files, preprocess
from ..edge_runtime import contract as contracts
from ..edge_runtime.assessment import OUTLIER_SCORE
from ..edge_runtime.commands import ModelPath
from ..edge_runtime.errors import DataError, UsageError
from ..edge_runtime.interpreter import Interpreter
from ..edge_runtime.model_file import ModelFile, read_model_file, tflite_metadata, with_archive

SEED = 42  # of what is drawn for an assessment


@click.command()
@click.argument("model", type=ModelPath())
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", required=True, type=click.Path(path_type=Path), help="A csv with image_id and split.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
@click.option("--scaled-decode", is_flag=True, help="The file asks for large JPEGs at 1/2, 1/4 or 1/8.")
@click.option("--front", metavar="HxW|auto", help="With a front end, as 'skin-edge convert --front' makes it.")
@click.option("--assess", is_flag=True, help="With limits beyond which a picture cannot be assessed.")
@click.option(
    "--also",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With --assess: further pictures of the same images, named by image id.",
)
def main(
    model: Path,
    data: Path,
    split: Path,
    out: Path,
    scaled_decode: bool,
    front: str | None,
    assess: bool,
    also: Path | None,
) -> None:
    """Rewrite MODEL's contract in the present format; thresholds are found on DATA's validation part.

    \b
    Example:
      python -m skin_edge.convert.renew old.tflite HAM10000 --split runs/first/split.csv --out new.tflite
    """
    from ..train.data import further, layouts, splits

    dataset = layouts.read_dataset(data, also=[also] if also else [])
    frame = dataset.frame
    chosen = splits.read_split(split, frame)
    rows = frame.loc[(chosen == "val").to_numpy()]
    if rows.empty:
        raise DataError(f"{split} names no validation images of {data}")
    decoding = preprocess.SCALED if scaled_decode else preprocess.FULL
    if assess:
        if front or scaled_decode:
            raise UsageError("--assess changes nothing else: leave --front and --scaled-decode out")
        of_parts = {part: frame.loc[(chosen == part).to_numpy()] for part in ("train", "val")}
        parts = {part: list(further.joined(own, dataset.further)["path"]) for part, own in of_parts.items()}
        files.write(out, assessed(model, parts, list(rows["label"])))
        return
    content, before, after = renewed(model, list(rows["path"]), list(rows["label"]), decoding, front)
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
    model: Path, paths: list[str], truth: list[str], decoding: str = preprocess.FULL, front: str | None = None
) -> tuple[bytes, list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """(the file in the present format, its thresholds before, its thresholds now).

    Args:
        model: The .tflite file to bring to the present format.
        paths, truth: The validation pictures and their labels' codes.
        decoding: Of preprocess.DECODINGS, not EARLIER.
        front: Of a front end, "HEIGHTxWIDTH" or "auto"; None is without.

    Raises:
        UsageError: For a file without a contract or with a metadata input, or for a front end of a size that does not
            go with it.
        ConversionError: For one before another network than front.prepend takes.
        ModelFileError: Where the file is damaged.
        ImageError: Where a picture cannot be read.
    """
    from . import confidence
    from .tflite import answers
    from .tflite import front as fronts

    file = read_model_file(model)
    if not file.contract or file.encoding is not None:
        raise UsageError(f"{model}: only files of skin-edge that take a picture alone are renewed; convert their run")
    spec, network = replace(file.input_spec, decoding=decoding), bytes(file.content[: file.network_length])
    described: dict[str, Any] | None = file.contract.get("front")
    if front is not None:
        if described:
            raise UsageError(f"{model} has a front end already: take the file without")
        height, width = fronts.size_of(front, spec.height, spec.width)
        described = fronts.described(network, height, width)
        network, spec = fronts.prepend(network, height, width), replace(spec, height=height, width=width)
    pictures = answers.Files(paths, spec)
    scores = answers.answers(network, spec, pictures, None, _silent)
    others = answers.of_others(network, spec, pictures, None, _silent)
    codes = [label.code for label in file.labels]
    before = list(file.contract["thresholds"])
    data = before[0]["on"] if before else ""
    targets = np.array([codes.index(code) for code in truth])
    thresholds = confidence.thresholds(scores, targets, file.labels, data)
    borderline = confidence.borderline(thresholds, codes, scores, others)
    contract = {**file.contract, "preprocessing": spec.to_steps(), "thresholds": thresholds}
    if front is not None and "assessment" in contract:
        from .assess import fit, limits

        # Of pictures of another size the features have other values, and what degrades them is not known.
        found, moved = fit.score_of(network, spec, pictures, None, _silent)
        check = limits.score_check(found, moved)
        refused = float((found > check["above"]).mean())
        contract["assessment"] = {"version": 1, "checks": [check], "on": data, "n": len(found), "refused": refused}
        contract["possible"] = limits.possible(scores, targets, data)
    content, after = _rewritten(file, network, spec, contract, borderline, described if front else None)
    return content, before, after


def assessed(model: Path, parts: Mapping[str, list[str]], truth: list[str]) -> bytes:
    """A file with an outlier score, limits and sets of possible classes; its answers stay as they are.

    Args:
        model: A .tflite of format 4 or 5 without these, that takes a picture alone.
        parts: "train" and "val" -> the pictures' files, further pictures of the same images behind the others.
        truth: The labels of the validation pictures that are not further ones.

    Raises:
        UsageError: Where it is another.
        ImageError: Where a picture cannot be read.
    """
    from ..train.streams import Stream, generator
    from . import assessing
    from .assess import fit, limits
    from .tflite import answers
    from .tflite import contract as metadata

    file = read_model_file(model)
    if file.contract.get("format_version") not in (4, 5) or file.encoding is not None:
        raise UsageError(f"{model} is no file of contract format 4 or 5 that takes a picture alone")
    network, spec = bytes(file.content[: file.network_length]), file.input_spec
    draw = generator(SEED, Stream.ASSESSED_PICTURES)
    some = [parts["train"][i] for i in draw.permutation(len(parts["train"]))[: fit.MOST_TRAINING].tolist()]
    training = np.stack([preprocess.to_pixels(path, spec) for path in some])
    validation = np.stack([preprocess.to_pixels(path, spec) for path in parts["val"]])
    material = fit.Material(network, spec, training, some, validation, (), SEED, console.report)
    found = assessing.found_in(material, with_head=True)
    data = str(file.contract["thresholds"][0]["on"]) if file.contract["thresholds"] else str(len(truth))
    more = len(parts["val"]) - len(truth)
    where = f"{data} and {more} other pictures of these" if more else data
    scores = answers.answers(network, spec, answers.Files(parts["val"][: len(truth)], spec), None, _silent)
    codes = [label.code for label in file.labels]
    limited = assessing.described(found, found.network, spec, validation, None, where, console.report)
    source = Interpreter(found.network)
    contract = {
        **file.contract,
        "assessment": limited,
        "possible": limits.possible(scores, np.array([codes.index(code) for code in truth]), data),
        "outputs": [
            *file.contract["outputs"],
            {"name": OUTLIER_SCORE, "values": metadata.OUTPUTS[OUTLIER_SCORE], **source.outputs[-1].to_dict()},
        ],
    }
    contract["intended_use"] = str(contract["intended_use"]).replace(metadata.ANSWERS_ANY, metadata.REFUSES)
    within = [row["borderline_within"] for row in contract["thresholds"]]
    contract = contracts.additions(contract, within, contract["input"]["bytes"])
    known = tflite_metadata(file.network)
    return metadata.packed(found.network, file.labels, spec, contract, known.author if known else None)[0]


def _silent(line: str) -> None:
    """What is reported while pictures are answered."""


def _rewritten(
    file: ModelFile,
    network: bytes,
    spec: preprocess.InputSpec,
    contract: dict[str, Any],
    borderline: list[float],
    front: Mapping[str, Any] | None,
) -> tuple[bytes, list[Mapping[str, Any]]]:
    """front: of a network that has just got one."""
    from .tflite import contract as metadata

    source = Interpreter(network).inputs[0]
    if front:
        name = metadata.named(contract["name"], front)
        contract |= {"name": name, "front": dict(front), "input": {**contract["input"], **source.to_dict()}}
    contract = contracts.additions(contract, borderline, metadata.input_bytes(source, spec))
    if front:  # its TFLite metadata say the size
        known = tflite_metadata(file.network)
        content, _ = metadata.packed(network, file.labels, spec, contract, known.author if known else None)
        return content, contract["thresholds"]
    labels = contracts.labels_text(file.labels)
    text = contracts.sealed(contract, network, labels)
    return with_archive(network, {contracts.LABELS_FILE: labels, contracts.CONTRACT_FILE: text}), contract["thresholds"]


if __name__ == "__main__":
    cli.run_module(main)
