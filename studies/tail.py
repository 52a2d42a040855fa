"""What the resolution of a model's output costs at the low end of the ROC, where a screening threshold lies.

    python -m studies.tail MODEL... --data CSV [--split test] [--target mel]

An int8 softmax knows 256 probabilities, the lowest of them 0: images that share a score cannot be told apart by any
threshold. Here an image is positive where score >= threshold, so a threshold takes all images of a score or none. The
ROC has one point per distinct score and one above them all; between its points nothing is interpolated, since no
threshold gets there. Only the AUC counts a tied pair half (the area under straight lines between the points).

Intervals are percentile intervals of the bootstrap over whole groups, see metrics.py; all models get the same
resamples, so that the interval of a difference is paired.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skin_edge.benchmarks.inputs.cases import Case, groups_of, read_cases
from skin_edge.benchmarks.stats import group_kinds, metrics
from skin_edge.edge_runtime import console, preprocess
from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.errors import DataError, SkinEdgeError, UnknownNameError

from . import model_path

FIGURES = ("auc", "sensitivity_at_95_specificity", "specificity_at_95_sensitivity")
THRESHOLDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)

_ROWS = 100  # resamples at a time: memory


def compare(
    models: Sequence[SkinClassifier],
    cases: Sequence[Case],
    target: str,
    *,
    bootstrap: int = 1000,
    seed: int = 42,
) -> dict[str, Any]:
    """The figures of every model, JSON-ready.

    models: per model `resolution`, `at_threshold`, and per name of FIGURES {value, interval, difference,
    difference_interval}, the last two against the first model (absent there).

    Raises UnknownNameError where a model has no class `target`, DataError where the cases are all of it or none is,
    ImageError and PredictionError where an image cannot be assessed.
    """
    positive = np.array([case.label == target for case in cases], np.bool_)
    if not 0 < positive.sum() < len(cases):
        raise DataError(f"{positive.sum()} of {len(cases)} images are '{target}': an ROC needs both kinds")
    scores = target_scores(models, cases, target)
    groups = np.unique([case.group for case in cases], return_inverse=True)[1]
    described = groups_of(cases).described()
    points = [figures(positive, column, np.ones((1, len(cases)))) for column in scores]
    draws = [_resampled(positive, column, groups, bootstrap, seed) for column in scores]
    results: list[dict[str, Any]] = []
    for model, column, point, drawn in zip(models, scores, points, draws, strict=True):
        result: dict[str, Any] = {
            "path": str(model.path),
            **resolution(column),
            "at_threshold": [{"threshold": t, **metrics.at_threshold(positive, column, t)} for t in THRESHOLDS],
        }
        for name in FIGURES:
            result[name] = {"value": float(point[name][0]), "interval": metrics.interval(drawn[name])}
            if results:
                result[name]["difference"] = float(point[name][0] - points[0][name][0])
                result[name]["difference_interval"] = metrics.interval(drawn[name] - draws[0][name])
        results.append(result)
    return {
        "target": target,
        "n": len(cases),
        "n_target": int(positive.sum()),
        "n_groups": described["n"],
        "groups": described,
        "models": results,
    }


def target_scores(
    models: Sequence[SkinClassifier], cases: Sequence[Case], target: str
) -> list[npt.NDArray[np.float32]]:
    """Per model float32 [cases], the score of the class `target`."""
    columns: list[int] = []
    for model in models:
        codes = [label.code for label in model.labels]
        if target not in codes:
            raise UnknownNameError(f"class of {model.path}", target, codes)
        columns.append(codes.index(target))
    scores = np.empty((len(models), len(cases)), np.float32)
    for number, case in enumerate(cases):
        for position, (model, column) in enumerate(zip(models, columns, strict=True)):
            pixels = preprocess.to_pixels(case.path, model.input_spec)
            known = model.row_to_vector(case.metadata)
            scores[position, number] = model.invoke(model.to_tensor(pixels), known)[column]
    return list(scores)


def resolution(scores: metrics.Scores) -> dict[str, Any]:
    """{"distinct_scores", "lowest_score", "tied_at_lowest"}; the last is the share (0..1) of images at the lowest."""
    lowest = scores.min()
    return {
        "distinct_scores": len(np.unique(scores)),
        "lowest_score": float(lowest),
        "tied_at_lowest": float((scores == lowest).mean()),
    }


def figures(
    positive: npt.NDArray[np.bool_], scores: metrics.Scores, weights: metrics.Floats
) -> dict[str, metrics.Floats]:
    """FIGURES per row of weights, [resamples] each; NaN where a resample has no positive or no negative.

    positive: bool [n]. scores: [n]. weights: [resamples, n], at least 0. The highest sensitivity of a threshold whose
    specificity is at least 0.95, and the other way round.
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])  # of each run of equal scores
    sorted_weights = weights[:, order]
    none = np.zeros((len(weights), 1))
    hits = np.hstack([none, np.cumsum(sorted_weights * positive[order], axis=1)[:, ends]])
    alarms = np.hstack([none, np.cumsum(sorted_weights * ~positive[order], axis=1)[:, ends]])
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is meant
        sensitivity, false_alarms = hits / hits[:, -1:], alarms / alarms[:, -1:]
    # Both rise along the ROC. 1e-9: 19 of 20 is 0.95, whatever the rounding.
    defined = (hits[:, -1] > 0) & (alarms[:, -1] > 0)
    return {
        "auc": metrics.weighted_auc(positive, scores, weights),
        "sensitivity_at_95_specificity": np.where(
            defined, np.where(false_alarms <= 0.05 + 1e-9, sensitivity, 0).max(axis=1), np.nan
        ),
        "specificity_at_95_sensitivity": np.where(
            defined, np.where(sensitivity >= 0.95 - 1e-9, 1 - false_alarms, 0).max(axis=1), np.nan
        ),
    }


def table(result: dict[str, Any]) -> console.Page:
    """At most 80 columns."""
    lines = [
        f"class {result['target']}: {result['n_target']} of {result['n']} images",
        *textwrap.wrap(group_kinds.intervals(result["groups"]), 80),
        "",
    ]
    for number, model in enumerate(result["models"], 1):
        lines.append(f"{number}  {console.tail(model['path'], console.WIDTH - 3)}")
    lines += [
        "",
        f"{'':<4}{'distinct':>8}{'tied at':>8}{'AUC':>5}{'':<15} {'sensitivity at':<20}specificity at",
        f"{'':<4}{'scores':>8}{'lowest':>8}{'':<20} {'95% specificity':<20}95% sensitivity",
    ]
    for number, model in enumerate(result["models"], 1):
        cells = "".join(f" {_cell(model[name], 'value', 'interval'):<19}" for name in FIGURES)
        lines.append(f"{number:<4}{model['distinct_scores']:>8}{model['tied_at_lowest']:>7.1%} {cells}")
    for number, model in enumerate(result["models"][1:], 2):
        cells = "".join(f" {_cell(model[name], 'difference', 'difference_interval', '+'):<19}" for name in FIGURES)
        lines.append(f"{f'{number} minus 1':<20}{cells}")
    lines += ["", "sensitivity/specificity of score >= threshold", ""]
    lines.append("    " + "".join(f"{threshold:>12g}" for threshold in THRESHOLDS))
    for number, model in enumerate(result["models"], 1):
        cells = [f"{point['sensitivity']:.3f}/{point['specificity']:.3f}" for point in model["at_threshold"]]
        lines.append(f"{number:<4}" + "".join(f"{cell:>12}" for cell in cells))
    return console.page(line.rstrip() for line in lines)


def _cell(figure: dict[str, Any], value: str, interval: str, sign: str = "") -> str:
    """ ".901 [.875 .928]": without the zeros, so that three of them fit a line."""
    low, high = figure[interval] or (float("nan"), float("nan"))
    return f"{figure[value]:{sign}.3f} [{low:{sign}.3f} {high:{sign}.3f}]".replace("0.", ".")


def _resampled(
    positive: npt.NDArray[np.bool_], scores: metrics.Scores, groups: npt.NDArray[np.intp], bootstrap: int, seed: int
) -> dict[str, metrics.Floats]:
    """FIGURES over resamples of whole groups, the same ones for the same seed. groups: int [n], 0 and up."""
    size = int(groups.max()) + 1
    generator = np.random.default_rng(seed)
    blocks: list[dict[str, metrics.Floats]] = []
    for start in range(0, bootstrap, _ROWS):
        drawn = generator.multinomial(size, np.full(size, 1 / size), min(_ROWS, bootstrap - start))
        blocks.append(figures(positive, scores, drawn[:, groups].astype(np.float64)))
    return {name: np.concatenate([block[name] for block in blocks]) for name in FIGURES}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m studies.tail",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("models", nargs="+", type=model_path, metavar="MODEL")
    parser.add_argument("--data", type=Path, required=True, metavar="CSV|FOLDER")
    parser.add_argument("--split", metavar="PART", help='default: test, where there are parts; or "all"')
    parser.add_argument("--target", default="mel", metavar="CLASS", help="default: mel")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    arguments = parser.parse_args()
    try:
        models = [SkinClassifier(path) for path in arguments.models]
        known = [label.code for label in models[0].labels]
        cases = read_cases(arguments.data, split=arguments.split, known_labels=known)
        result = compare(models, cases, arguments.target)
    except SkinEdgeError as error:
        console.say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    console.say_json(result) if arguments.json else console.say(table(result))


if __name__ == "__main__":
    main()
