"""What metrics.json holds: all figures of a run, or of a model on new data, in one dictionary."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...benchmarks.inputs.locate import relative_to
from ...benchmarks.stats import describe, operating_points, refusals
from ...benchmarks.stats.calibration import choose_temperature
from ...benchmarks.stats.subgroups import ATTRIBUTES
from ...edge_runtime.labels import Label
from ...edge_runtime.wording import counted
from ..data import grouping, splits
from ..runs.run_folder import Run

Probabilities = npt.NDArray[np.floating[Any]]

# How a layout's name begins -> the terms of its pictures.
_LICENSES = (
    (
        "ham10000",
        "CC BY-NC 4.0, HAM10000: Tschandl, Rosendahl, Kittler, Scientific Data 5, 180161 (2018), "
        "doi:10.7910/DVN/DBW86T",
    ),
)


def of_run(run: Run, probabilities: Mapping[str, Probabilities], extra: Mapping[str, Any]) -> dict[str, Any]:
    """metrics.json of a finished training.

    probabilities: "val" and "test" -> [n, classes], rows in the order of `run.part(...)`. extra: goes in as it is
    ("split", "training"). Temperature and thresholds are found on the validation part, and measured on both.
    """
    validation, test = run.part("val"), run.part("test")
    on = f"the {len(validation)} validation images of this run"
    frozen = freeze(run.targets(validation), probabilities["val"], run.labels, on)
    results: dict[str, Any] = {
        "title": run.folder.resolve().name,
        "subtitle": f"skin-edge train, recipe {run.recipe.name}, {'x'.join(map(str, run.recipe.image_size))} pixels, "
        f"seed {run.seed}",
        **extra,
        **of_labels(run.labels),
        "data": {
            "name": f"{run.config.layout}, {len(run.split)} images{_left_out(run)}",
            "license": license_of(run.config.layout),
            **counts(run.split, run.labels, splits.PARTS),
        },
        "frozen": frozen,
        "validation": on_part(validation, probabilities["val"], run.labels, frozen, with_subgroups=False),
        "test": on_part(test, probabilities["test"], run.labels, frozen),
        "mistakes": mistakes(test, probabilities["test"], run.labels),
    }
    results["split"] = {
        "kind": run.config.split,
        **grouping.leakage(run.split.assign(named_group=run.split["group"])),
        **results.get("split", {}),
        **grouping.groups_in(test),
    }
    if not (results["split"].get("near_duplicates") or {"on": False})["on"]:
        results["split"].pop("leaked_share_of_test_with_near_duplicates", None)
    return results


def freeze(
    y_true: npt.NDArray[np.int64], probabilities: Probabilities, labels: Sequence[Label], on: str
) -> dict[str, Any]:
    """{"on", "temperature", "operating_points"}: all that is ever chosen, from validation pictures.

    Args:
        y_true: int [n], the position of each image's label.
        probabilities: float [n, classes], 0..1.
        labels: The classes, in the order of the columns.
        on: Which images these are, in words.
    """
    return {
        "on": on,
        "temperature": choose_temperature(probabilities, y_true),
        "operating_points": operating_points.freeze(y_true, probabilities, labels, on),
    }


def on_part(
    rows: pd.DataFrame,
    probabilities: Probabilities,
    labels: Sequence[Label],
    frozen: Mapping[str, Any],
    *,
    with_subgroups: bool = True,
    said: refusals.Said | None = None,
) -> dict[str, Any]:
    """`describe.describe` of rows with the columns label and group, and age, sex and site where they are there.

    Args:
        rows: Of the images, with columns label and group.
        probabilities: float [n, classes], 0..1.
        labels: The classes, in the order of the columns.
        frozen: Rows of `freeze`, from other images.
        with_subgroups: False leaves subgroups out.
        said: What a model file says beside its probabilities; None of a run.
    """
    columns = [name for name in ATTRIBUTES if name in rows.columns and (rows[name].astype(str).str.strip() != "").any()]
    return describe.describe(
        targets(rows, labels),
        probabilities,
        labels,
        grouping.groups_of(rows),
        frozen=frozen["operating_points"],
        temperature=frozen["temperature"],
        attributes={name: list(rows[name].astype(str)) for name in columns} if with_subgroups else None,
        said=said,
    )


def mistakes(rows: pd.DataFrame, probabilities: Probabilities, labels: Sequence[Label]) -> dict[str, Any]:
    """`describe.mistakes`, each with the image_id and path of its row."""
    found = describe.mistakes(targets(rows, labels), probabilities, labels)
    for kind in found.values():
        for case in kind["shown"]:
            row = rows.iloc[case.pop("row")]
            case |= {"image_id": str(row["image_id"]), "path": str(row["path"])}
    return found


def with_relative_paths(results: Mapping[str, Any], pictures: Path | None) -> dict[str, Any]:
    """The figures with the paths of their pictures as seen from that folder, for a file; None leaves them."""
    if not pictures:
        return dict(results)
    written = copy.deepcopy(dict(results))
    for kind in written["mistakes"].values():
        for case in kind["shown"]:
            case["path"] = relative_to([case["path"]], pictures)[0]
    return written


def targets(rows: pd.DataFrame, labels: Sequence[Label]) -> npt.NDArray[np.int64]:
    """int64 [n]: the position of each row's label in `labels`."""
    positions = {label.code: position for position, label in enumerate(labels)}
    return np.array([positions[code] for code in rows["label"]], np.int64)


def of_labels(labels: Sequence[Label]) -> dict[str, Any]:
    """{"labels", "melanoma"}: what the classes are, and which of them is melanoma."""
    return {"labels": [label._asdict() for label in labels], "melanoma": operating_points.melanoma(labels)}


def counts(frame: pd.DataFrame, labels: Sequence[Label], parts: Sequence[str]) -> dict[str, Any]:
    """{"images": {part: n}, "groups": {part: n}, "counts": {code: {part: n}}}.

    frame: columns label, group, group_kind and split. groups: None where none is named.
    """
    inside = {part: frame.loc[frame["split"] == part] for part in parts}
    return {
        "images": {part: len(rows) for part, rows in inside.items()},
        "groups": {part: grouping.groups_of(rows).described()["n"] for part, rows in inside.items()},
        "counts": {
            label.code: {part: int((rows["label"] == label.code).sum()) for part, rows in inside.items()}
            for label in labels
        },
    }


def _left_out(run: Run) -> str:
    classes = run.config.found.get("left_out") or {}
    named = ", ".join(f"{code} ({counted(count, 'image')})" for code, count in classes.items())
    return f"; classes left out: {named}" if named else ""


def license_of(layout: str) -> str:
    """The terms of a layout's pictures, or that they are not known here."""
    for prefix, terms in _LICENSES:
        if layout.startswith(prefix):
            return terms
    return "not known; ask the provider of the images"
