"""What the suite of distortions costs a model: the same pictures under every kind and at every strength."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...edge_runtime import assessment, preprocess
from ...edge_runtime.classifier import Prediction, SkinClassifier
from ...edge_runtime.errors import DataError, ImageError, MetadataError, PredictionError
from ..accuracy.parity import Progress
from ..inputs.cases import Case, groups_of
from ..stats import metrics, operating_points
from .distortions import KINDS, STRENGTHS, VERSION, Pixels, distort, seed_of

PICTURES = 300
"""Pictures that are sampled by default; each is answered 52 times."""

MOST_PIXELS = 1_500_000
"""A larger picture is reduced to as many first: at 12 million the suite takes a minute and 500 MB for each."""

MEANS = {"1": (1,), "2": (2,), "3": (3,), "1 and 2": (1, 2)}
"""Name -> strengths whose rows are averaged."""

_CLEAN = ("", 0)
_ALL = (_CLEAN, *((kind, strength) for kind in KINDS for strength in STRENGTHS))

Bools = npt.NDArray[np.bool_]


def measure_robustness(
    models: Sequence[SkinClassifier],
    cases: Sequence[Case],
    *,
    pictures: int = PICTURES,
    seed: int = 42,
    bootstrap: int = 1000,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """What the suite costs each of the models, which all answer the same pictures. JSON-ready, shares 0..1.

    Args:
        models: That know the same labels.
        cases: The labelled images.
        pictures: At most so many are measured: of each class as many, as far as it has them.
        seed: Of the draw and of the suite, 0 to 2**32 - 1.
        bootstrap: Number of resamples for the intervals of the undistorted pictures, 0 or more.
        progress: Called with (images done, images in all); None reports nothing.

    Returns:
        suite: its VERSION. seed, n (pictures measured), of (in the data), per_class (code -> how many measured),
        reduced (how many had more than MOST_PIXELS), failed (could not be assessed at all).

        assesses: whether the file has limits beyond which a picture is refused. clean: of the undistorted pictures
        macro_auc, melanoma_auc, malignant_auc, balanced_accuracy and their intervals; refused (share); reasons (code ->
        share, of which a picture can have several). rows: the same for each kind and strength, without intervals, and
        kind, what, strength, parameter (in words); agreement: the share with the undistorted picture's top class;
        agreement_or_refused; turned: name of each frozen threshold -> the share of its classes' pictures that turn from
        "refer" to "below" and are not refused. means: of such rows over all kinds, name in MEANS -> figures. AUC,
        balanced accuracy and agreement are of all answers, whether refused or not; where not all pictures were
        measured, each counts as many of its class as it stands for, so that every figure is an estimate for the data.
        None where one is not defined. positives: threshold -> measured pictures of its classes. example: one picture's
        answers (`sheet.draw`).

    Raises:
        DataError: Where no image can be assessed.
    """
    chosen = drawn(cases, pictures, seed)
    answers = [_Answers(model) for model in models]
    assessed: list[Case] = []
    reduced = failed = 0
    for number, case in enumerate(chosen, 1):
        try:
            pixels, was_larger = upright(case)
            found = [[one.of(worse, case) for one in answers] for _, _, worse in versions(pixels, case.image_id, seed)]
        except (ImageError, MetadataError, PredictionError):
            failed += 1  # parity lists it
        else:
            assessed.append(case)
            reduced += was_larger
            for one, column in zip(answers, zip(*found, strict=True), strict=True):
                one.keep(column)
        if progress:
            progress(number, len(chosen))
    if not assessed:
        raise DataError(f"none of the {len(chosen)} images can be assessed")
    counts = Counter(case.label for case in assessed)
    about: dict[str, Any] = {
        "suite": VERSION,
        "seed": seed,
        "n": len(assessed),
        "of": len(cases),
        "reduced": reduced,
        "failed": failed,
    }
    return [
        {
            **about,
            "per_class": {label.code: counts[label.code] for label in one.model.labels},
            **one.figures(assessed, _weights(assessed, cases), bootstrap, seed),
            "example": one.example(assessed),
        }
        for one in answers
    ]


def drawn(cases: Sequence[Case], pictures: int, seed: int) -> list[Case]:
    """At most `pictures` cases in their order: of each class as many, and of a small class all.

    So the AUC of a rare class rests on more than a picture or two.
    """
    places: dict[str, list[int]] = {}
    for place, case in enumerate(cases):
        places.setdefault(case.label, []).append(place)
    kept: list[int] = []
    left = pictures
    for number, label in enumerate(sorted(places, key=lambda label: (len(places[label]), label))):
        share = min(len(places[label]), left // (len(places) - number))
        order = sorted(places[label], key=lambda place: seed_of(seed, "", f"{cases[place].image_id} {place}"))
        kept += order[:share]
        left -= share
    return [cases[place] for place in sorted(kept)]


def upright(case: Case) -> tuple[Pixels, bool]:
    """A picture as it is distorted, and whether it had more than MOST_PIXELS and was reduced to as many.

    Raises ImageError where it cannot be decoded.
    """
    picture = preprocess.decode(case.path)
    larger = picture.width * picture.height > MOST_PIXELS
    if larger:
        factor = math.sqrt(MOST_PIXELS / (picture.width * picture.height))
        size = max(1, int(picture.width * factor)), max(1, int(picture.height * factor))
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture.convert("RGB")), larger


def versions(pixels: Pixels, name: str, seed: int) -> Iterator[tuple[str, int, Pixels]]:
    """(kind, strength, the picture): as it is ("", 0), then under every kind at every strength.

    Args:
        pixels: uint8 [height, width, 3].
        name: Of the picture, for its streams.
        seed: Of the suite.
    """
    for kind, strength in _ALL:
        yield kind, strength, distort(pixels, kind, strength, seed_of(seed, kind, name)) if kind else pixels


class _Answers:
    """A model's answers to every version of every picture."""

    def __init__(self, model: SkinClassifier):
        self.model = model
        self._codes = [label.code for label in model.labels]
        self._scores: list[npt.NDArray[np.float32]] = []  # [versions, classes] of each picture
        self._reasons: list[list[tuple[str, ...]]] = []  # why each version of each picture is refused
        self._referred: list[Bools] = []  # [versions, thresholds]

    def of(self, pixels: Pixels, case: Case) -> tuple[Prediction, npt.NDArray[np.float32]]:
        ready = preprocess.to_pixels(pixels, self.model.input_spec)
        return self.model.predict_pixels(ready, self.model.row_to_vector(case.metadata))

    def keep(self, answers: Sequence[tuple[Prediction, npt.NDArray[np.float32]]]) -> None:
        self._scores.append(np.stack([scores for _, scores in answers]))
        predictions = [prediction for prediction, _ in answers]
        self._reasons.append([tuple(reason.reason for reason in one.reasons) for one in predictions])
        referred = [[decision.decision == "refer" for decision in one.decisions] for one in predictions]
        self._referred.append(np.array(referred, np.bool_))

    def figures(self, cases: Sequence[Case], weights: metrics.Floats, bootstrap: int, seed: int) -> dict[str, Any]:
        scores = np.stack(self._scores)
        refused = np.array([[bool(reasons) for reasons in row] for row in self._reasons])
        referred = np.stack(self._referred)
        y_true = np.array([self._codes.index(case.label) for case in cases])
        wanted = _targets(self.model)
        thresholds = self._positives(y_true)
        rows: list[dict[str, Any]] = []
        for at, (kind, strength) in enumerate(_ALL):
            row = _areas(y_true, scores[:, at], self._codes, wanted, weights)
            row["refused"] = _share(refused[:, at], weights)
            given = [reasons[at] for reasons in self._reasons]
            counts = Counter(reason for reasons in given for reason in reasons)
            row["reasons"] = {
                reason: _share(np.array([reason in reasons for reasons in given]), weights)
                for reason, _ in counts.most_common()
            }
            if kind:
                same = scores[:, at].argmax(axis=1) == scores[:, 0].argmax(axis=1)
                row["agreement"] = _share(same, weights)
                row["agreement_or_refused"] = _share(same | refused[:, at], weights)
                lost = (referred[:, 0] & ~refused[:, :1]) & ~referred[:, at] & ~refused[:, at : at + 1]
                row["turned"] = {
                    name: _share(lost[positive, i], weights[positive]) if positive.any() else None
                    for i, (name, positive) in enumerate(thresholds.items())
                }
                said = {"what": KINDS[kind].what, "parameter": KINDS[kind].levels[strength - 1]}
                row = {"kind": kind, "strength": strength, **said, **row}
            rows.append(row)
        clean, *worse = rows
        groups = groups_of(cases).drawn
        clean["intervals"] = _intervals(y_true, scores[:, 0], self._codes, wanted, weights, groups, bootstrap, seed)
        return {
            "assesses": bool(assessment.checks_of(self.model.contract)),
            "clean": clean,
            "rows": worse,
            "means": {
                name: _mean([row for row in worse if row["strength"] in strengths]) for name, strengths in MEANS.items()
            },
            "positives": {name: int(positive.sum()) for name, positive in thresholds.items()},
        }

    def _positives(self, y_true: metrics.Truth) -> dict[str, Bools]:
        """Name of each of the file's thresholds -> bool [n], whether the truth is one of its classes."""
        classes: list[list[str]] = [row["classes"] for row in self.model.contract.get("thresholds", ())]
        names = self.model.operating_points
        return {
            name: operating_points.is_target(y_true, self._codes, own) for name, own in zip(names, classes, strict=True)
        }

    def example(self, cases: Sequence[Case]) -> dict[str, Any]:
        """The first picture of a malignant class, else the first, and the answer to each version of it."""
        malignant = {label.code for label in self.model.labels if label.malignant}
        at = next((i for i, case in enumerate(cases) if case.label in malignant), 0)
        answers = [
            {
                "kind": kind,
                "strength": strength,
                "label": self._codes[int(scores.argmax())],
                "probability": float(scores.max()),
                "reasons": list(reasons),
            }
            for (kind, strength), scores, reasons in zip(_ALL, self._scores[at], self._reasons[at], strict=True)
        ]
        case = cases[at]
        return {"image_id": case.image_id, "path": str(case.path), "truth": case.label, "answers": answers}


def _targets(model: SkinClassifier) -> dict[str, list[str]]:
    """ "melanoma_auc", "malignant_auc" -> the codes whose probabilities are summed; without what the labels lack."""
    found = operating_points.targets(model.labels)
    melanoma = operating_points.melanoma(model.labels)
    targets = {"melanoma_auc": [melanoma] if melanoma else [], "malignant_auc": found.get("malignant", [])}
    return {name: classes for name, classes in targets.items() if classes}


def _weights(assessed: Sequence[Case], cases: Sequence[Case]) -> metrics.Floats:
    """[n]: how many pictures of the data each picture that was measured stands for: 1 where all were."""
    measured, there = (Counter(case.label for case in some) for some in (assessed, cases))
    return np.array([there[case.label] / measured[case.label] for case in assessed])


def _share(found: Bools, weights: metrics.Floats) -> float:
    return float((found * weights).sum() / weights.sum())


def _areas(
    y_true: metrics.Truth,
    scores: metrics.Scores,
    codes: Sequence[str],
    targets: Mapping[str, Sequence[str]],
    weights: metrics.Floats,
) -> dict[str, Any]:
    figures = _drawn_figures(y_true, scores, codes, targets, weights[None])
    found = {name: metrics.defined(values[0]) for name, values in figures.items()}
    names = ("macro_auc", "melanoma_auc", "malignant_auc", "balanced_accuracy")
    return {name: found.get(name) for name in names}


def _drawn_figures(
    y_true: metrics.Truth,
    scores: metrics.Scores,
    codes: Sequence[str],
    targets: Mapping[str, Sequence[str]],
    weights: metrics.Floats,
) -> dict[str, metrics.Floats]:
    """name -> [resamples]. weights: [resamples, n]."""
    every = metrics.weighted_figures(y_true, scores, weights)
    figures = {name: every[name] for name in ("macro_auc", "balanced_accuracy")}
    for name, classes in targets.items():
        positive, score = (
            operating_points.is_target(y_true, codes, classes),
            operating_points.score(scores, codes, classes),
        )
        figures[name] = metrics.weighted_auc(positive, score, weights)
    return figures


def _intervals(
    y_true: metrics.Truth,
    scores: metrics.Scores,
    codes: Sequence[str],
    targets: Mapping[str, Sequence[str]],
    weights: metrics.Floats,
    groups: npt.NDArray[Any] | None,
    bootstrap: int,
    seed: int,
) -> dict[str, Any]:
    if not bootstrap:
        return {}
    blocks = [
        _drawn_figures(y_true, scores, codes, targets, resamples * weights)
        for resamples in metrics.image_weights(len(y_true), groups, bootstrap, seed)
    ]
    return {name: metrics.interval(np.concatenate([block[name] for block in blocks])) for name in blocks[0]}


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of every figure of the rows; None where it is not defined for one of them."""

    def of(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if len(known) == len(values) else None

    figures = [
        name for name, value in rows[0].items() if name != "strength" and (value is None or type(value) is float)
    ]
    return {
        **{name: of([row[name] for row in rows]) for name in figures},
        "turned": {name: of([row["turned"][name] for row in rows]) for name in rows[0]["turned"]},
    }
