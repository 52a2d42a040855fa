"""Runs side by side: each one's figures on the same part, and paired differences where its images are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..benchmarks.inputs import documents
from ..benchmarks.stats import metrics, operating_points, resamples
from ..edge_runtime.errors import DataError, UsageError
from ..edge_runtime.labels import Label, label_for
from .data import grouping, tables
from .evaluate import CANNOT_ASSESS
from .recipes import run_config
from .reports import report
from .runs import run_folder

BOOTSTRAP = 1000
SEED = 42

_Draws = dict[resamples.Path, metrics.Floats]


@dataclass(frozen=True)
class Answers:
    """What a run said of the images of a part, "validation" or "test".

    Attributes:
        rows: One per image.
        probabilities: [n, classes] in the order of `labels`
    """

    name: str
    labels: tuple[Label, ...]
    rows: pd.DataFrame
    probabilities: npt.NDArray[np.float64]
    cannot_assess: int
    part: str

    @property
    def codes(self) -> list[str]:
        return [label.code for label in self.labels]


def read(folder: Path, part: str = "test") -> Answers:
    """The answers in a folder that `skin-edge train` or `skin-edge evaluate` wrote.

    Args:
        part: "test", or "validation" while a model is being selected; an evaluation holds nothing but what was
            evaluated.

    Raises:
        UsageError: Where there is no such folder.
        DataError: Where it holds none.
    """
    if not folder.is_dir():
        raise UsageError(f"no such run folder: {folder}")
    for name in ("predictions.csv", "metrics.json"):
        if not (folder / name).is_file():
            raise DataError(f"{folder} has no {name}: its training has not finished")
    needed = ("label", "image_id", "group", "predicted")
    table = tables.read(folder / "predictions.csv", needed, ("split", *tables.EXTRA_COLUMNS), numbers="p_")
    found = documents.read_json(folder / "metrics.json")
    columns = [column for column in table.columns if column.startswith("p_")]
    if not isinstance(found, dict) or not columns:
        raise DataError(f"{folder}: metrics.json holds no figures, or predictions.csv has no column p_CODE")
    if "labels" in found:
        labels = run_config.labels(found["labels"], folder / "metrics.json")
    elif run_folder.is_run(folder):
        labels = run_folder.read(folder).labels
    else:
        labels = tuple(label_for(column[2:]) for column in columns)
    codes = [label.code for label in labels]
    if sorted(columns) != sorted(f"p_{code}" for code in codes):
        raise DataError(f"{folder}: predictions.csv has other classes than its labels ({', '.join(codes)})")
    if "cannot_assess" not in found:
        if "split" not in table:
            raise DataError(f"{folder / 'predictions.csv'} has no column split")
        rows = table.loc[table["split"] == {"validation": "val", "test": "test"}[part]]
    elif part == "test":
        rows = table
    else:
        raise DataError(f"{folder} is an evaluation and has no validation part")
    rows = grouping.with_group_kinds(rows.loc[rows["label"].isin(codes)])
    failed = rows["predicted"] == CANNOT_ASSESS
    kept = rows.loc[~failed].sort_values("image_id").reset_index(drop=True)
    if not len(kept):
        raise DataError(f"{folder} has no answer for a {part} image")
    scores = kept[[f"p_{code}" for code in codes]].to_numpy(np.float64)
    if not (np.isfinite(scores) & (scores >= 0) & (scores <= 1)).all():
        raise DataError(f"{folder / 'predictions.csv'} holds an invalid probability (not from 0 to 1)")
    return Answers(str(folder), labels, kept, scores, int(failed.sum()), part)


def compare(runs: Sequence[Answers], *, different_data: bool = False) -> dict[str, Any]:
    """JSON-ready: {"part", "names", "figures", "runs", "paired", "warnings", "baseline", "bootstrap"}.

    figures: [{key, title}].

    Args:
        runs: Per run {name, n, groups (`Groups.described`), n_groups, cannot_assess, majority_class,
            majority_class_baseline, counts {code: images}, figures {key: {value, interval}}}.

    Returns:
        paired: per run but the first {name, differences {key: {difference, interval}}, mcnemar}, this run minus the
        first over the same resamples of whole groups; empty where the runs' test images differ. Values are computed
        from predictions.csv, whose probabilities have six digits.

    Raises:
        UsageError: Where the test images or their labels differ and `different_data` does not allow it.
    """
    first, others = runs[0], runs[1:]
    warnings = _differences(first, others, different_data=different_data)
    paired = not warnings
    if paired:
        others = [_in_order(other, first) for other in others]
    runs = [first, *others]
    for run in runs:
        if run.cannot_assess:
            warnings.append(f"{run.name}: {run.cannot_assess} images could not be assessed and are in no figure")
    drawn = [_draws(run, BOOTSTRAP) for run in runs]
    points = [_draws(run, 0) for run in runs]
    wanted = {key: path for key, path in _wanted(runs).items() if any(path in one for one in points)}
    each = list(zip(runs, points, drawn, strict=True))
    return {
        "part": first.part,
        "names": [run.name for run in runs],
        "baseline": first.name,
        "bootstrap": BOOTSTRAP,
        "figures": [{"key": key, "title": _title(key)} for key in wanted],
        "runs": [_alone(run, point, draw, wanted) for run, point, draw in each],
        "paired": [
            {
                "name": run.name,
                "differences": {
                    key: {
                        "difference": metrics.defined(point[path][0] - points[0][path][0]),
                        "interval": metrics.interval(draw[path] - drawn[0][path]),
                    }
                    for key, path in wanted.items()
                },
                "mcnemar": _mcnemar(first, run),
            }
            for run, point, draw in each[1:]
        ]
        if paired
        else [],
        "warnings": warnings,
    }


def _differences(first: Answers, others: Sequence[Answers], *, different_data: bool) -> list[str]:
    """What keeps the runs from being compared image by image. Raises UsageError where that is not allowed."""
    warnings: list[str] = []
    for other in others:
        said = _difference(first, other)
        if said and not different_data:
            raise UsageError(
                f"{other.name} cannot be compared with {first.name}: {said}; allow it with --different-data"
            )
        if said:
            warnings.append(f"{other.name} and {first.name}: {said}; a difference is one of data as much as of models")
    return warnings


def _alone(run: Answers, point: _Draws, draw: _Draws, wanted: Mapping[str, resamples.Path]) -> dict[str, Any]:
    """A run's own figures. point, draw: of all its images, and of the resamples."""
    groups = grouping.groups_of(run.rows).described()
    return {
        "name": run.name,
        "n": len(run.rows),
        "groups": groups,
        "n_groups": groups["n"],
        "cannot_assess": run.cannot_assess,
        **_majority(run),
        "counts": {code: int((run.rows["label"] == code).sum()) for code in run.codes},
        "figures": {
            key: {
                "value": metrics.defined(point[path][0]) if path in point else None,
                "interval": metrics.interval(draw[path]) if path in draw else None,
            }
            for key, path in wanted.items()
        },
    }


def _difference(one: Answers, other: Answers) -> str:
    """Why the two cannot be compared image by image; "" where they can."""
    if sorted(one.codes) != sorted(other.codes):
        return f"other classes ({', '.join(other.codes)} and {', '.join(one.codes)})"
    ours, theirs = set(one.rows["image_id"]), set(other.rows["image_id"])
    if ours != theirs:
        return f"other {one.part} images ({len(theirs)} and {len(ours)}, {len(ours & theirs)} in common)"
    if len(one.rows) != len(ours) or len(other.rows) != len(theirs):
        return f"an image_id occurs twice in a {one.part} part"
    # Both are sorted by image_id.
    if (one.rows["label"].to_numpy() != other.rows["label"].to_numpy()).any():
        return f"the same {one.part} images have other labels"
    if (one.rows["group"].to_numpy() != other.rows["group"].to_numpy()).any():
        return f"the same {one.part} images are in other groups (lesions, patients or near-duplicates)"
    return ""


def _in_order(run: Answers, first: Answers) -> Answers:
    order = [run.codes.index(code) for code in first.codes]
    return Answers(run.name, first.labels, run.rows, run.probabilities[:, order], run.cannot_assess, run.part)


def _draws(run: Answers, bootstrap: int) -> _Draws:
    return resamples.draws(
        report.targets(run.rows, run.labels),
        run.probabilities,
        run.codes,
        operating_points.targets(run.labels),
        grouping.groups_of(run.rows).drawn,
        bootstrap=bootstrap,
        seed=SEED,
    )


def _wanted(runs: Sequence[Answers]) -> dict[str, resamples.Path]:
    """Key -> where `resamples.draws` has the figure, in the order of the table."""
    keys: dict[str, resamples.Path] = {
        "balanced_accuracy": ("balanced_accuracy",),
        "accuracy": ("accuracy",),
        "macro_auc": ("macro_auc",),
    }
    for run in runs:
        for target in operating_points.targets(run.labels):
            keys[f"auc_{target}"] = ("targets", target, "auc")
    keys["ece"] = ("calibration", "ece")
    keys["brier"] = ("calibration", "brier")
    for run in runs:
        for code in run.codes:
            keys[f"sensitivity_{code}"] = ("per_class", code, "sensitivity")
    return keys


def _title(key: str) -> str:
    plain = {"macro_auc": "macro AUC", "ece": "ECE", "brier": "Brier score"}
    for prefix, name in (("auc_", "AUC"), ("sensitivity_", "sensitivity")):
        if key.startswith(prefix):
            return f"{name} {key.removeprefix(prefix)}"
    return plain.get(key, key.replace("_", " "))


def _majority(run: Answers) -> dict[str, Any]:
    counts = run.rows["label"].value_counts()
    return {"majority_class": str(counts.index[0]), "majority_class_baseline": float(counts.iloc[0] / len(run.rows))}


def _mcnemar(first: Answers, run: Answers) -> dict[str, Any]:
    test = metrics.mcnemar(report.targets(run.rows, run.labels), first.probabilities, run.probabilities)
    return {
        "only_first_right": test["only_a_right"],
        "only_this_right": test["only_b_right"],
        "p_value": test["p_value"],
    }
