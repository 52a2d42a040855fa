"""Small data sets in the layouts that people have: one colour per class, so that even a tiny network can learn them."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {
    "akiec": (200, 60, 60),
    "bcc": (60, 200, 60),
    "bkl": (60, 60, 200),
    "df": (200, 200, 60),
    "mel": (60, 200, 200),
    "nv": (200, 60, 200),
    "vasc": (120, 120, 120),
}


# Flags of `skin-edge train` that make seconds of it.
_SHORT = ("--weights", "none", "--image-size", "32", "--batch-size", "8", "--learning-rate", "0.01")
MOBILENET = (*_SHORT, "--width", "0.25")
# For what does not depend on the network: all of the recipe but this one takes three times as long.
SMALL = (*_SHORT, "--set", "backbone=cnn3")


def one_line(capsys) -> str:
    """The one error line on stderr."""
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def picture(code: str, seed: int, size: tuple[int, int] = (60, 45)) -> Image.Image:
    """(width, height) pixels of the class's colour with noise."""
    noise = np.random.default_rng(seed).normal(0, 25, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(COLOURS[code]) + noise, 0, 255).astype(np.uint8))


def ham10000(folder: Path, lesions: int = 6, codes: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """The Kaggle layout with the real files' names and columns; every other lesion has two images."""
    parts = [folder / "HAM10000_images_part_1", folder / "HAM10000_images_part_2"]
    for part in parts:
        part.mkdir(parents=True)
    rows: list[tuple[str, ...]] = []
    for code in codes:
        for lesion in range(lesions):
            for _ in range(1 + lesion % 2):
                image_id = f"ISIC_{len(rows):07d}"
                picture(code, len(rows)).save(parts[len(rows) % 2] / f"{image_id}.jpg")
                rows.append((f"HAM_{code}_{lesion}", image_id, code, "histo", "55.0", "female", "back"))
    with (folder / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"))
        writer.writerows(rows)
    return folder


def resized(pictures: Iterable[Path], folder: Path, size: tuple[int, int] = (40, 30), suffix: str = ".jpg") -> Path:
    """The pictures with other pixels (width, height) in `folder`, by their names."""
    folder.mkdir(parents=True)
    for path in pictures:
        Image.open(path).resize(size).save(folder / f"{path.stem}{suffix}")
    return folder


def told_apart_by_age(folder: Path, lesions: int = 24) -> Path:
    """HAM10000's layout, two classes with pictures of one colour: age and site tell them apart, sex does not.

    Every ninth row is blank, one age is 0 and one sex is unknown, as in the real table.
    """
    images = folder / "HAM10000_images_part_1"
    images.mkdir(parents=True)
    generator = np.random.default_rng(5)
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for number in range(2 * lesions):
        code = ("mel", "nv")[number % 2]
        picture("nv", number).save(images / f"ISIC_{number:07d}.jpg")
        age = 5.0 * generator.integers(12, 17) if code == "mel" else 5.0 * generator.integers(4, 9)
        site = ("back", "scalp")[int(generator.integers(2))] if code == "mel" else "lower extremity"
        sex = "unknown" if number == 3 else ("female", "male")[int(generator.integers(2))]
        known = f"{0.0 if number == 2 else age},{sex},{site}" if number % 9 else ",,unknown"
        lines.append(f"HAM_{number},ISIC_{number:07d},{code},histo,{known}")
    (folder / "HAM10000_metadata.csv").write_text("\n".join(lines) + "\n")
    return folder


def class_folders(folder: Path, images: int = 6, codes: tuple[str, ...] = ("mel", "nv")) -> Path:
    for position, code in enumerate(codes):
        (folder / code).mkdir(parents=True)
        for number in range(images):
            picture(code, 100 * position + number).save(folder / code / f"{number}.png")
    return folder


def resealed(source, target, change=lambda contract: None):
    """A copy of a model file whose contract `change` has edited, sealed again: not damaged, but different."""
    from skin_edge.edge_runtime import contract as contracts
    from skin_edge.edge_runtime.labels import Label
    from skin_edge.edge_runtime.model_file import network_length, read_model_file, with_archive

    content = source.read_bytes()
    network = content[: network_length(content)]
    contract = json.loads(json.dumps(dict(read_model_file(source).contract)))
    change(contract)
    labels = contracts.labels_text(tuple(Label(entry["code"], "") for entry in contract.get("labels", [])))
    text = contracts.sealed(contract, network, labels)
    target.write_bytes(with_archive(network, {"labels.txt": labels, "metadata.json": text}))
    return target


def without_limits(target):
    """The packaged model, whatever its version, without limits: it answers every picture, noise as well."""
    from skin_edge.edge_runtime.classifier import DEFAULT_MODEL

    return resealed(DEFAULT_MODEL, target, lambda contract: contract.pop("assessment", None))


@functools.cache
def packaged_size() -> tuple[int, int]:
    """(height, width) of the packaged model's input."""
    from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
    from skin_edge.edge_runtime.model_file import read_model_file

    spec = read_model_file(DEFAULT_MODEL).input_spec
    return spec.height, spec.width


def with_limits(target, *checks, possible=None):
    """The packaged model with these limits and no others, and with sets of possible classes."""
    from skin_edge.edge_runtime.classifier import DEFAULT_MODEL

    def change(contract):
        contract |= {"format_version": 6, "assessment": {"version": 1, "checks": list(checks)}}
        contract["possible"] = {"coverage": 0.9, "thresholds": possible or [0.1] * len(contract["labels"])}

    return resealed(DEFAULT_MODEL, target, change)


def settings(data, out, recipe="quickstart", **said):
    """What `skin-edge train` resolves a call to."""
    from skin_edge.train.request import TrainRequest, resolve

    return resolve(TrainRequest(data, out, recipe, **said))


def measured(folder: Path, data: Path, near_duplicates: int = 0) -> Path:
    """A run folder with drawn answers on `data`: all that `train` writes but the model.

    near_duplicates: so many pictures of the test part, of one class, are one group, as near-duplicates would be.
    """
    from skin_edge.train.data import layouts, splits, tables
    from skin_edge.train.recipes import published
    from skin_edge.train.recipes.run_config import RunConfig
    from skin_edge.train.reports import run_results
    from skin_edge.train.runs import run_folder

    found = layouts.read_dataset(data)
    recipe = published.get("quickstart")
    frame = found.frame.assign(split=splits.split_frame(found.frame, recipe.fractions, 1, by_group=True))
    alike = frame.index[(frame["split"] == "test") & (frame["label"] == "nv")][:near_duplicates]
    frame.loc[alike, "group"] = frame["group"][alike].min()
    near = {"on": bool(near_duplicates), "pairs": 1, "groups_connected": 1}
    told = {"seed": 1, "split": "lesion", "near_duplicates": near["on"]}
    config = RunConfig(recipe, found.labels, told, {"layout": found.layout}, {"near_duplicates": near})
    run = run_folder.begin(folder, config=config, split=frame, skipped={})
    rows = [
        ",".join(tables.HISTORY_COLUMNS),
        "1,0.001,1.5,0.4,1.4,0.5,0.4,0.7",
        "2,0.001,1,0.6,1,0.6,0.5,0.8",
    ]
    (folder / "history.csv").write_text("\n".join(rows) + "\n")
    answers = {}
    for seed, part in enumerate(("val", "test")):
        truth = run.targets(run.part(part))
        raw = np.exp(2 * np.random.default_rng(seed).normal(size=(len(truth), 7)) + 3 * np.eye(7)[truth])
        answers[part] = (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)
    extra = {"split": {"near_duplicates": near}, "training": {"epochs": 2, "best_epoch": 2, "hours": 0.001}}
    run_results.write_results(run, answers, extra)
    return run.folder
