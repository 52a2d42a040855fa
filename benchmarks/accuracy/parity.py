"""Is the model as good as its reference? Both answer the same pictures; the difference is paired."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime import preprocess, training_pictures
from ...edge_runtime.classifier import Prediction, SkinClassifier
from ...edge_runtime.errors import DataError, ImageError, MetadataError, PredictionError
from ..inputs.cases import Case, groups_of
from ..stats import metrics, refusals
from ..stats.calibration import logits_of, softmax
from ..stats.group_kinds import Groups
from ..stats.subgroups import ATTRIBUTES
from .answered import Answered, Scores, answered
from .ports import Ports

# (cases done, cases in all)
Progress = Callable[[int, int], None]


def compare(
    reference: SkinClassifier | None,
    model: SkinClassifier,
    cases: Sequence[Case],
    *,
    bootstrap: int = 1000,
    seed: int = 42,
    margin: float = metrics.NON_INFERIORITY_MARGIN,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Accuracy of `model` and, where there is one, of `reference` and the difference of the two. JSON-ready.

    labels: in the order of `model`, and so the confusion matrices.

    What the model's contract says of a logit shift and a temperature in its last layer is applied to the reference's
    answers first, for the question is what quantization changed; recalibrated says so. Without a reference, what is
    about it is None or absent. All figures but those of refusals are of every image, whether a file refuses it or not.

    Args:
        model, reference: `metrics.evaluate`, "calibration" of `metrics.calibration`, and `refusals.figures`.
        cases: The labelled images.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
        margin: Non-inferiority margin, in balanced accuracy (0..1).
        progress: Called with (images done, images in all); None reports nothing.

    Returns:
        agreement: share of images with the same top class. difference: model minus reference, `metrics.paired_interval`
        with whole groups drawn. mcnemar: {only_reference_right, only_model_right, p_value} of `metrics.mcnemar`.
        non_inferiority: `metrics.non_inferiority` for `margin`. flipped: images whose top class differs, those first
        that `reference` had right. failed: images that could not be assessed; they are left out of both. metadata: for
        a model that takes some, how many images say nothing of each field, or what it does not know; None for others.
        operating_points: what each file's own frozen thresholds give on these images, as {"model": [...], "reference":
        [...]}. seen_in_training: so too, what `training_pictures.seen` says of the images, or None.

    Raises:
        DataError: Where the two have different labels, or where no image can be assessed.
    """
    return compare_all(reference, [model], cases, bootstrap=bootstrap, seed=seed, margin=margin, progress=progress)[0]


def compare_all(
    reference: SkinClassifier | None,
    models: Sequence[SkinClassifier],
    cases: Sequence[Case],
    *,
    bootstrap: int = 1000,
    seed: int = 42,
    margin: float = metrics.NON_INFERIORITY_MARGIN,
    watched: Sequence[Ports] = (),
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """`compare` of each of `models` with `reference`, in their order; each picture is prepared and answered once.

    All are measured on the same images: one that a single file cannot assess is left out of every figure. Where
    `reference` itself is among the models, its figures stand alone, as without a reference.

    Args:
        reference: The float model, or None.
        models: The models that are measured.
        cases: The labelled images.
        bootstrap: Number of resamples, 0 or more.
        seed: Random seed, 0 to 2**32 - 1.
        margin: Non-inferiority margin, in balanced accuracy (0..1).
        watched: Get the same pictures, each with the answer of its classifier, which is one of these.
        progress: Called with (images done, images in all); None reports nothing.

    Raises:
        DataError: As `compare` does.
    """
    classifiers = [*models, *([] if reference is None or reference in models else [reference])]
    if reference is not None:
        for model in models:
            check_labels(reference, model)
    answers: list[list[tuple[Prediction, Scores]]] = [[] for _ in classifiers]
    assessed: list[Case] = []
    failed: list[dict[str, str]] = []
    specs = {classifier.input_spec for classifier in classifiers}
    for number, case in enumerate(cases, 1):
        try:
            pixels = {spec: preprocess.to_pixels(case.path, spec) for spec in specs}  # once per specification
            given = [
                classifier.predict_pixels(pixels[classifier.input_spec], classifier.row_to_vector(case.metadata))
                for classifier in classifiers
            ]
            others = [
                watch.answers(pixels[watch.classifier.input_spec], watch.classifier.row_to_vector(case.metadata))
                for watch in watched
            ]
        except (ImageError, MetadataError, PredictionError) as error:
            failed.append({"image_id": case.image_id, "path": str(case.path), "error": str(error)})
        else:
            assessed.append(case)
            for rows, answer in zip(answers, given, strict=True):
                rows.append(answer)
            for watch, theirs in zip(watched, others, strict=True):
                watch.keep(given[classifiers.index(watch.classifier)][1], theirs)
        if progress:
            progress(number, len(cases))
    if not assessed:
        raise DataError(f"none of the {len(cases)} images can be assessed; the first: {failed[0]['error']}")
    every = [answered(classifier, rows) for classifier, rows in zip(classifiers, answers, strict=True)]
    pictures = training_pictures.marks(
        (classifier.contract for classifier in classifiers), ((case.path, case.image_id) for case in assessed)
    )
    theirs = next((one for one in every if one.classifier is reference), None)
    return [
        _compared(None if one is theirs else theirs, one, assessed, failed, bootstrap, seed, margin)
        | {"seen_in_training": _seen(None if one is theirs else reference, one.classifier, pictures)}
        for one in every[: len(models)]
    ]


def _seen(
    reference: SkinClassifier | None, model: SkinClassifier, pictures: Sequence[tuple[bytes, str]]
) -> dict[str, Any]:
    named = {"model": model, **({"reference": reference} if reference else {})}
    return {name: training_pictures.seen(one.contract, pictures) for name, one in named.items()}


def _compared(
    reference: Answered | None,
    model: Answered,
    assessed: Sequence[Case],
    failed: list[dict[str, str]],
    bootstrap: int,
    seed: int,
    margin: float,
) -> dict[str, Any]:
    codes = [label.code for label in model.classifier.labels]
    y_true = np.array([codes.index(case.label) for case in assessed])
    groups = groups_of(assessed)
    ours = model.scores
    result: dict[str, Any] = {
        "labels": codes,
        "failed": failed,
        "metadata": _missing_counts(model.classifier, assessed),
        "model": _figures(y_true, ours, codes, groups, bootstrap, seed)
        | _refusals(model, list(range(len(codes))), assessed, y_true, groups, bootstrap, seed),
        "reference": None,
        "operating_points": {
            "model": _operating_points(model.classifier, ours, y_true, codes, groups, bootstrap, seed)
        },
    }
    if reference is not None:
        columns = _columns_in_order(reference.classifier, codes)
        theirs = reference.scores[:, columns]
        result["operating_points"]["reference"] = _operating_points(
            reference.classifier, theirs, y_true, codes, groups, bootstrap, seed
        )
        refused = _refusals(reference, columns, assessed, y_true, groups, bootstrap, seed)
        theirs, result["recalibrated"] = _recalibrated(theirs, reference.classifier, model.classifier, columns)
        result["reference"] = _figures(y_true, theirs, codes, groups, bootstrap, seed) | refused
        result["agreement"] = metrics.agreement(theirs, ours)
        result["difference"] = metrics.paired_interval(
            y_true, theirs, ours, groups.drawn, bootstrap=bootstrap, seed=seed
        )
        test = metrics.mcnemar(y_true, theirs, ours)
        result["mcnemar"] = {
            "only_reference_right": test["only_a_right"],
            "only_model_right": test["only_b_right"],
            "p_value": test["p_value"],
        }
        result["non_inferiority"] = metrics.non_inferiority(result["difference"], margin)
        result["flipped"] = _flipped(assessed, codes, theirs, ours)
    return result


def _figures(
    y_true: metrics.Truth,
    scores: metrics.Scores,
    codes: Sequence[str],
    groups: Groups,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    return metrics.evaluate(y_true, scores, codes, groups, bootstrap=bootstrap, seed=seed) | {
        "calibration": metrics.calibration(y_true, scores)
    }


def _refusals(
    one: Answered,
    columns: Sequence[int],
    cases: Sequence[Case],
    y_true: metrics.Truth,
    groups: Groups,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    """`refusals.figures`. columns: where the classes of `y_true` are in the file's own order."""
    points = [
        {key: row[key] for key in ("target", "classes", "threshold")}
        | {"chosen_for": "sensitivity", "wanted": row["chosen_for_sensitivity"]}
        for row in one.classifier.contract.get("thresholds", [])
    ]
    told = {name: [case.metadata.get(name, "") for case in cases] for name in ATTRIBUTES}
    return refusals.figures(
        one.said.in_order(columns),
        y_true,
        one.scores[:, columns],
        [one.classifier.labels[column] for column in columns],
        groups,
        points=points,
        attributes={name: values for name, values in told.items() if any(value.strip() for value in values)},
        bootstrap=bootstrap,
        seed=seed,
    )


def _missing_counts(model: SkinClassifier, cases: Sequence[Case]) -> dict[str, int] | None:
    if model.encoding is None:
        return None
    vectors = np.stack([model.encoding.of_row(case.metadata) for case in cases])
    return {
        name: int((vectors[:, model.encoding.columns == position] == 0).all(axis=1).sum())
        for position, name in enumerate(model.encoding.names)
    }


def check_labels(reference: SkinClassifier, model: SkinClassifier) -> None:
    """Raises DataError where the two know different labels; their order may differ."""
    _columns_in_order(reference, [label.code for label in model.labels])


def _columns_in_order(classifier: SkinClassifier, codes: Sequence[str]) -> list[int]:
    own = [label.code for label in classifier.labels]
    if sorted(own) != sorted(codes):
        raise DataError(
            f"{classifier.path} knows other labels than the model: {', '.join(own)} instead of {', '.join(codes)}"
        )
    return [own.index(code) for code in codes]


def _recalibrated(
    scores: metrics.Scores, reference: SkinClassifier, model: SkinClassifier, columns: Sequence[int]
) -> tuple[metrics.Scores, bool]:
    """The reference's answers with the model's shift and temperature instead of its own; and whether they differ.

    scores: [n, classes] in the order of `model`. Exact, for a softmax leaves only a constant per image out.
    """
    wanted, own = _calibration(model), _calibration(reference)
    if wanted is None or own is None:
        return scores, False
    shift, own_shift = wanted[1], own[1][list(columns)]
    if wanted[0] == own[0] and np.array_equal(shift, own_shift):
        return scores, False
    logits = logits_of(scores) * own[0] - own_shift
    return softmax((logits + shift) / wanted[0]), True


def _calibration(classifier: SkinClassifier) -> tuple[float, npt.NDArray[np.float64]] | None:
    """(temperature, logit shift [classes]) that the file holds; None where it does not say."""
    said = classifier.contract.get("calibration")
    if not isinstance(said, dict):
        return None
    try:
        temperature, shift = float(said["temperature"]), np.array(said["logit_shift"], np.float64)  # pyright: ignore
    except (KeyError, TypeError, ValueError):
        return None
    return (temperature, shift) if shift.shape == (len(classifier.labels),) and temperature > 0 else None


def _operating_points(
    classifier: SkinClassifier,
    scores: metrics.Scores,
    y_true: metrics.Truth,
    codes: Sequence[str],
    groups: Groups,
    bootstrap: int,
    seed: int,
) -> list[dict[str, Any]]:
    points: list[dict[str, Any]] = []
    for row in classifier.contract.get("thresholds", []):
        columns = [codes.index(code) for code in row["classes"]]
        figures = metrics.at_threshold(
            np.isin(y_true, columns),
            scores[:, columns].sum(axis=1),
            row["threshold"],
            groups.drawn,
            bootstrap=bootstrap,
            seed=seed,
        )
        points.append({key: row[key] for key in ("target", "chosen_for_sensitivity", "threshold")} | figures)
    return points


def _flipped(
    cases: Sequence[Case], codes: Sequence[str], reference: metrics.Scores, model: metrics.Scores
) -> list[dict[str, Any]]:
    flipped: list[dict[str, Any]] = []
    for case, before, after in zip(cases, reference, model, strict=True):
        if before.argmax() != after.argmax():
            flipped.append(
                {
                    "image_id": case.image_id,
                    "path": str(case.path),
                    "truth": case.label,
                    "reference": {"label": codes[int(before.argmax())], "probability": float(before.max())},
                    "model": {"label": codes[int(after.argmax())], "probability": float(after.max())},
                }
            )
    return sorted(flipped, key=lambda flip: flip["reference"]["label"] != flip["truth"])
