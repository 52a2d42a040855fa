"""A trained model on its validation and test parts: metrics.json, predictions.csv, report.html and two pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...benchmarks.inputs.locate import relative_to
from ...benchmarks.report.page import page
from ...edge_runtime import files
from ...edge_runtime.errors import DataError
from ...edge_runtime.wording import counted
from ..data import tables
from ..data.tables import HISTORY_COLUMNS
from ..runs.run_folder import Run
from . import drawn, report, run_report


def write_results(
    run: Run, probabilities: Mapping[str, npt.NDArray[np.float32]], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Writes metrics.json, predictions.csv, report.html, curves.png and confusion_matrix.png; returns the metrics.

    probabilities: "val" and "test" -> float32 [n, classes], rows in the order of `run.part(...)`.
    extra: what else goes into metrics.json.
    """
    codes = tuple(label.code for label in run.labels)
    results = report.of_run(run, probabilities, extra)
    both = [predictions(run.part(part), probabilities[part], codes, run.pictures) for part in ("val", "test")]
    files.write(run.folder / "predictions.csv", tables.text(pd.concat(both), float_format="%.6g"))
    history = read_history(run.folder / "history.csv")
    _draw_curves(history, run, results["training"]["best_epoch"])
    _draw_confusion(results["test"], codes, run)
    curves = {str(column): history[column].to_list() for column in history.columns}
    files.write(run.folder / "report.html", page(run_report.document(results, curves)))
    results = report.with_relative_paths(results, run.pictures)
    # Last: a run with a metrics.json is complete.
    files.write(run.folder / "metrics.json", json.dumps(results, indent=2, allow_nan=False) + "\n")
    return results


def read_history(path: Path) -> pd.DataFrame:
    """The epochs of a training, float64 of HISTORY_COLUMNS. Raises DataError where they cannot have been written so."""
    table = tables.read(path, HISTORY_COLUMNS)
    try:
        values = table.astype("float64")
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}") from None
    if not len(values) or not np.isfinite(values.to_numpy()).all():
        raise DataError(f"{path} is damaged: it holds no epoch, or what is not a number")
    return values


def predictions(
    rows: pd.DataFrame, scores: npt.NDArray[np.floating[Any]], codes: tuple[str, ...], pictures: Path | None
) -> pd.DataFrame:
    """rows with `predicted`, the most probable code, and a column p_CODE for each.

    Args:
        rows: Of the images.
        scores: float [n], larger for more probable.
        codes: The codes of the classes, in the order of the columns.
        pictures: The folder from which paths are written; None writes them as they are.
    """
    table = rows.copy()
    if pictures:
        table["path"] = relative_to(list(table["path"]), pictures)
    table["predicted"] = [codes[i] for i in scores.argmax(axis=1)]
    for position, code in enumerate(codes):
        table[f"p_{code}"] = scores[:, position]
    return table


def _draw_curves(history: pd.DataFrame, run: Run, kept: int) -> None:
    with drawn.picture(run.folder / "curves.png", 9, 3.6) as figure:
        loss, score = figure.subplots(1, 2)
        loss.plot(history["epoch"], history["loss"], label="training (augmented, with L2)")
        loss.plot(history["epoch"], history["val_loss"], label="validation (cross-entropy)")
        loss.set(title="Loss", xlabel="epoch")
        score.plot(history["epoch"], history["accuracy"], label="training accuracy (augmented)", color="C0", alpha=0.5)
        score.plot(history["epoch"], history["val_accuracy"], label="validation accuracy", color="C1", alpha=0.5)
        score.plot(history["epoch"], history["val_balanced_accuracy"], label="validation balanced accuracy", color="C2")
        figure_then = history.set_index("epoch").loc[kept, f"val_{run.recipe.best_by}"]
        score.plot(kept, figure_then, "o", color="C2", label=f"kept: epoch {kept}")
        score.set(title="Accuracy", xlabel="epoch", ylim=(0, 1))
        for axis in (loss, score):
            axis.grid(alpha=0.3)
            axis.legend(fontsize=7)


def _draw_confusion(figures: Mapping[str, Any], codes: tuple[str, ...], run: Run) -> None:
    counts = np.asarray(figures["confusion_matrix"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = 1.6 + 0.62 * len(codes), 1.4 + 0.56 * len(codes)
    names = [drawn.name(code, 20) for code in codes]
    with drawn.picture(run.folder / "confusion_matrix.png", *size) as figure:
        axis = figure.subplots()
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.55 else "black"
            axis.text(
                column,
                row,
                f"{count}\n{shares[row, column]:.0%}",
                ha="center",
                va="center",
                fontsize=7,
                color=colour,
            )
        axis.set_xticks(range(len(codes)), names, rotation=45)
        axis.set_yticks(range(len(codes)), names)
        axis.set(xlabel="predicted", ylabel="truth")
        axis.set_title(
            f"Test part, {counted(figures['n'], 'image')}: balanced accuracy {figures['balanced_accuracy']:.3f}\n"
            f"accuracy {figures['accuracy']:.3f} "
            f"(always {drawn.name(figures['majority_class'], 20)}: {figures['majority_class_baseline']:.3f})",
            fontsize=8,
        )
