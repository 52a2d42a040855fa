"""The RUN folder: what a training leaves behind, and how the floors above read it.

config.yaml  split.csv  labels.txt  skipped.csv  unused.csv  seen_images.csv  history.csv  model.keras  metrics.json
predictions.csv  report.html  curves.png  confusion_matrix.png  checkpoints/
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ...benchmarks.inputs import documents
from ...benchmarks.inputs.locate import SEEN_IMAGES, located, relative_to
from ...edge_runtime import csv_files, files, patient
from ...edge_runtime.containers import split_path
from ...edge_runtime.errors import DataError, ModelFileError, UsageError
from ...edge_runtime.labels import Label
from ...edge_runtime.patient import Encoding
from ...edge_runtime.preprocess import InputSpec
from ..data import grouping, tables
from ..data.splits import PARTS
from ..recipes.recipe import Recipe
from ..recipes.run_config import RunConfig, seen_from

SPLIT_COLUMNS = ("path", "image_id", "group", "label", "split")


@dataclass(frozen=True)
class Run:
    """A run folder that has been begun: its settings and its split."""

    folder: Path
    config: RunConfig
    split: pd.DataFrame  # SPLIT_COLUMNS and tables.EXTRA_COLUMNS, all text, "" where split.csv has nothing
    pictures: Path | None = None  # where the relative paths of its tables start; None where they are absolute

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.config.labels

    @property
    def input_spec(self) -> InputSpec:
        return self.recipe.input_spec

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def encoding(self) -> Encoding | None:
        """Of the patients' metadata, None where the network sees pictures alone. Raises DataError where damaged."""
        if not self.config.found.get("metadata"):
            return None
        try:
            return patient.from_list(self.config.found["metadata"])
        except ModelFileError as error:
            raise DataError(f"{self.folder / 'config.yaml'}: {error}") from None

    def part(self, name: str) -> pd.DataFrame:
        """The rows of "train", "val" or "test", in the order of split.csv."""
        return self.split.loc[self.split["split"] == name].reset_index(drop=True)

    def targets(self, rows: pd.DataFrame) -> Any:
        """int64 [n]: the position of each row's label in `labels`."""
        positions = {label.code: position for position, label in enumerate(self.labels)}
        return rows["label"].map(positions).to_numpy("int64")

    def model(self) -> Any:
        """The trained Keras model: the recipe's network with the weights of model.keras, of which no code is run.

        Raises DataError where the training has not finished, or where the file is damaged or of another network.
        """
        from ..engine import keras
        from ..models import weights
        from ..models.heads import classifier

        path = self.folder / "model.keras"
        if not path.is_file():
            raise DataError(f"{self.folder} has no model.keras: its training has not finished; continue with --resume")
        encoding = self.encoding
        policy = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy("float32")  # what is kept computes in float32, whoever asks
        try:
            keras.backend.reset_uids()  # layers are named as in a process of its own
            recipe = replace(self.recipe, weights="none")
            model = classifier(recipe, len(self.labels), encoding.length if encoding else 0)
        except UsageError as error:
            raise DataError(f"{self.folder / 'config.yaml'}: {error}") from None
        finally:
            keras.mixed_precision.set_global_policy(policy)
        weights.load(model, path)
        return model


def begin(
    folder: Path,
    *,
    config: RunConfig,
    split: pd.DataFrame,
    skipped: Mapping[str, str],
    unused: Sequence[tuple[str, str]] = (),
    seen: pd.DataFrame | None = None,
) -> Run:
    """Makes the folder, whole or not at all: config.yaml, split.csv, labels.txt and skipped.csv (image_id, reason).

    An older `folder` goes.

    Args:
        folder: The run.
        config: Its data["pictures"] is the folder from which the paths in `split` and `seen` are written, and becomes
            the way there from `folder`: the run and its data move together.
        split: The rows of split.csv.
        skipped: image_id -> why it cannot be read.
        unused: Files below the data's folder that no row names, and why; becomes unused.csv.
        seen: What the runs before it have learned from, with columns of split.csv; becomes seen_images.csv.
    """
    pictures = config.data.get("pictures")
    if pictures:
        config = replace(config, data={**config.data, "pictures": seen_from(folder, pictures)})
        split = split.assign(path=relative_to(list(split["path"]), pictures))
        seen = seen if seen is None else seen.assign(path=relative_to(list(seen["path"]), pictures))
    with files.replacing_folder(folder) as new:
        extra = [
            name for name in tables.EXTRA_COLUMNS if name in split and (split[name].notna() & (split[name] != "")).any()
        ]
        files.write(new / "split.csv", tables.text(pd.DataFrame(split[[*SPLIT_COLUMNS, *extra]])))
        if seen is not None:
            files.write(new / SEEN_IMAGES[0], tables.text(seen))
        files.write(new / "labels.txt", "".join(f"{label.code}\n" for label in config.labels))
        if skipped:
            table = pd.DataFrame(skipped.items(), columns=["image_id", "reason"])
            files.write(new / "skipped.csv", tables.text(table))
        if unused:
            files.write(new / "unused.csv", csv_files.text(("file", "reason"), unused))
        files.write(new / "config.yaml", yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True))
    return read(folder)


def read(folder: str | Path, images: Path | None = None, data: Path | None = None) -> Run:
    """Reads a run folder, its paths as they are here.

    Args:
        images: The folder in which its pictures are now, by the rules of `benchmarks/inputs/locate.py`.
        data: Where the run's data is now. Without both the run's own way there is gone.

    Raises:
        UsageError: Where there is none.
        DataError: Where it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"no such run folder: {folder}")
    config_path, split_path = folder / "config.yaml", folder / "split.csv"
    if not config_path.is_file() and (folder / "folds.yaml").is_file():
        raise UsageError(
            f"{folder} is a cross-validation, which measures a recipe and holds no model of its own: train without "
            f"--folds for the model, or name one fold, such as {folder / 'fold-1'}"
        )
    for path in (config_path, split_path):
        if not path.is_file():
            raise DataError(f"{folder} is not a run of 'skin-edge train': it has no {path.name}")
    try:
        config = RunConfig.from_dict(documents.read_yaml(config_path))
    except (ValueError, UsageError) as error:
        raise DataError(f"{config_path} is damaged: {error}") from None
    split = tables.read(split_path, SPLIT_COLUMNS, tables.EXTRA_COLUMNS)
    split = split[list(SPLIT_COLUMNS)].join(split.reindex(columns=list(tables.EXTRA_COLUMNS), fill_value=""))
    codes = {label.code for label in config.labels}
    for column, known in (("split", set(PARTS)), ("label", codes)):
        if odd := sorted(set(split[column]) - known):
            raise DataError(f"{split_path} is damaged: {column} '{odd[0]}' is not one of {', '.join(sorted(known))}")
    split = grouping.with_group_kinds(split)
    own = config.data.get("pictures")
    start = (data or Path(os.path.normpath(folder.resolve() / own))) if own else None
    if images is not None:
        split["path"] = located(list(split["path"]), start or folder, images=images, table=split_path)
    elif start:
        split["path"] = [f"{start}/{path}" if path and not path.startswith("/") else path for path in split["path"]]
    return Run(folder, config, split, start)


def learned_from(run: Run) -> pd.DataFrame:
    """All that it or a run before it has learned from, and of its own the test part: columns as split.csv, all text."""
    path = next((run.folder / name for name in SEEN_IMAGES if (run.folder / name).is_file()), None)
    if path is None:
        return run.split
    seen = tables.read(path, SPLIT_COLUMNS, tables.EXTRA_COLUMNS)
    if run.pictures:
        seen["path"] = [str(run.pictures / path) if path else "" for path in seen["path"]]
    return pd.concat([run.split, seen], ignore_index=True).fillna("")


def is_run(folder: str | Path) -> bool:
    """Whether it is a run folder, and not any folder that happens to hold a config.yaml."""
    try:
        read(folder)
    except (DataError, UsageError):
        return False
    return True


def fingerprint(frame: pd.DataFrame) -> str:
    """SHA-256 over image_id, label and file size of every picture: the same data, wherever it is.

    The size of a picture within an HDF5 file is that of the whole file.
    """
    digest = hashlib.sha256()
    ordered = frame.sort_values("image_id")
    for path, image_id, label in zip(ordered["path"], ordered["image_id"], ordered["label"], strict=True):
        size = Path(split_path(path)[0]).stat().st_size if path else 0
        digest.update(f"{image_id},{label},{size}\n".encode())
    return digest.hexdigest()
