"""Runs that a training learns from: its teachers, and the run whose weights it starts with.

Neither may have seen what tests or chooses the new run, and what both saw is kept with it (seen_images.csv), because
the next training may learn from that one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ...edge_runtime.errors import DataError, UsageError
from ..data import seen
from ..recipes import run_config
from . import run_folder
from .run_folder import Run

_OWN_PARTS = {"test": ("train", "val"), "val": ("train",)}
"""What of the new split no earlier run may have seen, and in which of its own parts."""


def read(folders: Sequence[Path], flag: str) -> list[Run]:
    """The runs that `flag` names. Raises UsageError or DataError for a folder that is none, or takes metadata."""
    runs = [run_folder.read(folder) for folder in folders]
    for run in runs:
        if run.recipe.metadata:
            raise UsageError(f"{flag} {run.folder}: it takes metadata; give a run that sees the picture alone")
        if not (run.folder / "model.keras").is_file():
            raise DataError(f"{flag} {run.folder}: it has no model.keras: its training has not finished")
    return runs


def check_unseen(runs: Sequence[Run], frame: pd.DataFrame, flag: str) -> None:
    """Raises DataError where one has learned from what tests the new run, or from what chooses its epoch.

    Args:
        frame: The new run's; columns image_id, group and split.
    """
    for run in runs:
        known = run_folder.learned_from(run)
        learned = (known["split"].isin(parts) for parts in _OWN_PARTS.values())
        for part, shown in zip(_OWN_PARTS, seen.shown_in(known, frame, *learned), strict=True):
            own = (frame["split"] == part).to_numpy()
            both = shown & own
            if both.any():
                name = {"test": "test", "val": "validation"}[part]
                raise DataError(
                    f"{flag} {run.folder} has learned from {both.sum()} of the {own.sum()} {name} images or "
                    "their lesions: train both with the same --split FILE"
                )


def seen_images(runs: Sequence[Run]) -> pd.DataFrame:
    """What all of them, and those before them, have learned from: rows as in split.csv."""
    known = pd.concat([run_folder.learned_from(run) for run in runs], ignore_index=True)
    return known.loc[known["split"] != "test"].drop_duplicates(["path", "split"])


def described(runs: Sequence[Run], out: Path) -> list[dict[str, str]]:
    """For config.yaml of the run `out`: the way to each from there, and the SHA-256 of its model."""
    return [
        {
            "run": run_config.seen_from(out, run.folder),
            "recipe": run.recipe.name,
            "sha256": hashlib.sha256((run.folder / "model.keras").read_bytes()).hexdigest(),
        }
        for run in runs
    ]


def give_weights(run: Run, model: Any, codes: Sequence[str]) -> str:
    """Gives `model` (`heads.classifier`) the weights of `run`'s network; returns a line that says which.

    Args:
        codes: The classes of `model`, in its order. Where `run` knows the same ones, all weights are given; else the
            last layer keeps its own. The size of the pictures may differ.

    Raises:
        UsageError: Where it is another network.
    """
    source = run.model()
    own, theirs = ([layer for layer in network.layers if layer.weights] for network in (model, source))
    known = [label.code for label in run.labels]
    same_classes = sorted(known) == sorted(codes)
    shapes = [[weight.shape for layer in layers[:-1] for weight in layer.weights] for layers in (own, theirs)]
    if shapes[0] != shapes[1]:
        size = ", and its image size, for it flattens its features" if run.recipe.pooling == "flatten" else ""
        raise UsageError(
            f"--start {run.folder} is another network ({run.recipe.backbone}, width {run.recipe.width:g}, recipe "
            f"{run.recipe.name}): train with its backbone, width and head{size}"
        )
    for target, given in zip(own[:-1], theirs[:-1], strict=True):
        target.set_weights(given.get_weights())
    if not same_classes:
        return f"starts with the weights of {run.folder} but for the last layer: its classes are others"
    order = [known.index(code) for code in codes]
    own[-1].set_weights([weight[..., order] for weight in theirs[-1].get_weights()])
    return f"starts with the weights of {run.folder}"
