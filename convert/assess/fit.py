"""Finds the head and the limits of a network, from the pictures of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...benchmarks.robustness.distortions import KINDS, distort, seed_of
from ...edge_runtime import assessment
from ...edge_runtime.assessment import OUTLIER_SCORE, VERSION
from ...edge_runtime.interpreter import Interpreter
from ...edge_runtime.preprocess import InputSpec
from ...edge_runtime.quantization import byte_table, dequantize
from ...train.streams import Stream, generator
from ..tflite import answers
from ..tflite.answers import Pictures
from . import head, limits, outliers

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Report = Callable[[str], None]

FEWEST_TRAINING, FEWEST_VALIDATION = 100, 50
"""Pictures that limits need; the shares that a limit may refuse say nothing of fewer."""

MOST_TRAINING = 2000

_STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
_DEGRADED = 100  # validation pictures that are degraded step by step
_PER_KIND = 80  # training pictures degraded as outliers
_HELD_OUT = 240  # drawn outliers that the head has not learned from
_REGULARIZATION = 0.01  # C of the logistic regression, on standardized values


@dataclass(frozen=True)
class Material:
    """What limits are found with.

    Attributes:
        network: A finished .tflite without an outlier score.
        spec: Of its pictures.
        training: The training part's, uint8 [n, height, width, 3], at most MOST_TRAINING.
        paths: Their files.
        validation: The validation part's.
        others: Fed to the network after the picture, [1, ...] each, in its dtype: a patient of whom nothing is known.
        seed: Of all that is drawn.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
    """

    network: bytes
    spec: InputSpec
    training: Pictures
    paths: Sequence[str]
    validation: Pictures
    others: tuple[npt.NDArray[Any], ...]
    seed: int
    report: Report


@dataclass(frozen=True)
class Degraded:
    """What becomes of the validation pictures, step by step.

    Attributes:
        agreement: Kind -> share of the top classes that stay, at each of the strengths.
        features: Kind -> at each of the strengths, feature -> values.
        strongest: Kind -> the layers' means at the strongest.
    """

    agreement: Mapping[str, list[float]]
    features: Mapping[str, list[Mapping[str, Floats]]]
    strongest: Mapping[str, list[Floats]]


class Layers:
    """A network that shows its layers' means beside its answer.

    Args:
        material: With the network.
        tensors: Of `head.layers`.
    """

    def __init__(self, material: Material, tensors: Sequence[int]):
        network = head.with_outputs(material.network, tensors)
        self._interpreter = Interpreter(network)
        source = self._interpreter.inputs[0]
        table = byte_table(material.spec.real_table, source.quantization, source.dtype)
        self._table, self._others, self._count = table[:, 0], material.others, len(tensors)

    def __call__(self, pictures: Pictures, report: Callable[[int], None]) -> tuple[npt.NDArray[np.int64], list[Floats]]:
        """(position of the top class [n], the means [n, channels] of each layer)."""
        top: list[int] = []
        means: list[list[Floats]] = [[] for _ in range(self._count)]
        for position in range(len(pictures)):
            layers = self.values(pictures[position])
            top.append(int(layers[0].argmax()))
            for row, values in zip(means, layers[1:], strict=True):
                row.append(values.mean(axis=(0, 1)))
            report(position + 1)
        return np.array(top), [np.stack(rows) for rows in means]

    def values(self, picture: Pixels) -> list[Floats]:
        """[the answer [classes], each layer [rows, columns, channels]] of one picture."""
        found = self._interpreter.invoke(self._table[picture][None], *self._others)
        ends = self._interpreter.outputs
        wanted = [0, *range(len(ends) - self._count, len(ends))]
        return [dequantize(found[i], ends[i].quantization)[0].astype(np.float64) for i in wanted]


def degrade(material: Material, layers: Layers) -> Degraded:
    """Makes validation pictures worse, and asks the network.

    Args:
        material: With the pictures.
        layers: That show what the head will see.
    """
    some = np.unique(np.linspace(0, len(material.validation) - 1, min(_DEGRADED, len(material.validation))).astype(int))
    pictures = [np.asarray(material.validation[int(position)]) for position in some]
    agreement: dict[str, list[float]] = {}
    features: dict[str, list[Mapping[str, Floats]]] = {}
    strongest: dict[str, list[Floats]] = {}
    kinds = [kind for kind in KINDS if kind not in _BEYOND_THE_PICTURE]
    before, _ = layers(pictures, _quietly)
    as_they_are = measured(pictures, _quietly)
    for number, kind in enumerate(kinds, 1):
        material.report(f"\rhow bad a picture may be: {number}/{len(kinds)} {kind}")
        agreement[kind], features[kind] = [1.0], [as_they_are]
        for strength in _STRENGTHS[1:]:
            worse = [
                distort(picture, kind, strength, seed_of(material.seed, kind, str(position)))
                for picture, position in zip(pictures, some, strict=True)
            ]
            top, strongest[kind] = layers(worse, _quietly)
            agreement[kind].append(float((top == before).mean()))
            features[kind].append(measured(worse, _quietly))
    material.report("\r")
    return Degraded(agreement, features, strongest)


# They change what the picture shows, not how well.
_BEYOND_THE_PICTURE = frozenset({"smaller", "larger", "vignette", "ruler"})


def measured(pictures: Pictures, report: Callable[[int], None]) -> dict[str, Floats]:
    """Feature -> its value of each picture.

    Args:
        pictures: uint8 [height, width, 3] each.
        report: Called with the number of pictures done.
    """
    rows: list[list[int]] = []
    for position in range(len(pictures)):
        rows.append(list(assessment.measure(np.asarray(pictures[position])).values()))
        report(position + 1)
    return dict(zip(assessment.FEATURES, np.array(rows, np.float64).T, strict=True))


def fit_head(
    material: Material, tensors: Sequence[int], layers: Layers, degraded: Degraded
) -> tuple[head.Head, dict[str, Any]]:
    """(the head on the layer that tells outliers best, what it refuses of outliers that it has not learned from).

    Args:
        material: With the pictures.
        tensors: Of `head.layers`.
        layers: That show them.
        degraded: Of the validation part.
    """
    spec, seed = material.spec, material.seed
    n = min(1200, len(material.training))
    report = _counting(material.report, "learning what is no lesion")
    harmful = [kind for kind, shares in degraded.agreement.items() if shares[-1] < limits.AGREEMENT]
    per_kind = min(_PER_KIND, n // max(len(harmful), 1))
    worse = [
        distort(
            np.asarray(material.training[index]), kind, _STRENGTHS[-1], seed_of(seed, f"training {kind}", str(index))
        )
        for number, kind in enumerate(harmful)
        for index in generator(seed, Stream.DEGRADED_OUTLIERS, number)
        .permutation(len(material.training))[:per_kind]
        .tolist()
    ]
    empty = outliers.margins(material.paths, n // 2, generator(seed, Stream.EMPTY_CORNERS), spec)
    learned = [
        outliers.drawn(n, generator(seed, Stream.DRAWN_OUTLIERS), spec),
        empty,
        np.stack(worse) if worse else empty[:0],
    ]
    good = layers(material.training, report)[1]
    bad = [layers(pictures, report)[1] for pictures in learned if len(pictures)]
    own = layers(material.validation, report)[1]
    unseen = {"drawn": layers(outliers.drawn(_HELD_OUT, generator(seed, Stream.DRAWN_OUTLIERS, 1), spec), report)[1]}
    unseen |= {kind: degraded.strongest[kind] for kind in harmful}
    found: list[tuple[float, float, int, Floats, float, dict[str, float]]] = []
    for position in range(len(tensors)):
        weights, bias = linear(good[position], np.concatenate([rows[position] for rows in bad]))
        scores = own[position] @ weights + bias
        limit = float(limits.score_check(scores, 0)["above"])
        unlike = {name: rows[position] @ weights + bias for name, rows in unseen.items()}
        shares = {name: float((values > limit).mean()) for name, values in unlike.items()}
        distance = (float(np.median(unlike["drawn"])) - limit) / max(float(scores.std()), 1e-9)
        found.append((round(float(np.mean(list(shares.values()))), 2), distance, position, weights, bias, shares))
    _, _, position, weights, bias, shares = max(found, key=lambda one: one[:2])
    low, high = _range(layers, position, material, learned, weights, bias)
    material.report("\r")
    said = {"layer": head.name_of(material.network, tensors[position]), "refused_of_unseen": shares}
    return head.Head(tensors[position], weights, bias, low, high), said


def linear(good: Floats, bad: Floats) -> tuple[Floats, float]:
    """(weights [channels], bias) of a logistic regression of bad against good, on standardized values.

    Args:
        good: [n, channels], a layer's means of pictures as they should be.
        bad: [m, channels], of outliers.
    """
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([good, bad])
    mean, deviation = rows.mean(axis=0), rows.std(axis=0) + 1e-6
    truth = np.repeat([0, 1], [len(good), len(bad)])
    model = LogisticRegression(C=_REGULARIZATION, max_iter=500, class_weight="balanced")
    model.fit((rows - mean) / deviation, truth)
    weights = model.coef_[0] / deviation
    return weights, float(np.ravel(model.intercept_)[0] - mean @ weights)


def _range(
    layers: Layers, position: int, material: Material, learned: Sequence[Pixels], weights: Floats, bias: float
) -> tuple[float, float]:
    """What single positions of a picture give: all but one in 200 at either end."""
    some = [
        np.asarray(material.training[index])
        for index in range(0, len(material.training), max(len(material.training) // 60, 1))
    ]
    some += [picture for pictures in learned for picture in pictures[:: max(len(pictures) // 60, 1)]]
    values = np.concatenate([(layers.values(picture)[1 + position] @ weights + bias).ravel() for picture in some])
    low, high = np.quantile(values, [0.005, 0.995])
    return float(low), float(high)


def described(
    features: Mapping[str, Floats], scores: Floats | None, moved: float, degraded: Degraded, where: str, *, larger: bool
) -> dict[str, Any]:
    """The contract's `assessment`.

    Args:
        features: Of the validation pictures as they are.
        scores: Their outlier scores; None for a network without.
        moved: By how much other kernels move these.
        degraded: Of the validation part.
        where: Which pictures these are, in words.
        larger: Whether the pictures have another size than those that were degraded, a front end's: then only which
            degradations are too strong is known of these, and each limit lies where the pictures as they are end.
    """
    found: dict[str, Floats] = {}
    for rule in limits.RULES:
        values = [
            limits.at_agreement(
                _STRENGTHS, degraded.agreement[kind], [one[rule.feature] for one in degraded.features[kind]]
            )
            for kind in rule.kinds
        ]
        found[rule.name] = np.array([value for value in values if value is not None])
    if larger:
        found = {name: limits.anywhere(name, len(values)) for name, values in found.items()}
    checks = limits.feature_checks(features, found)
    if scores is not None:
        checks.append(limits.score_check(scores, moved))  # the last: what a dark picture shows, nobody knows
    values = {**features, **({OUTLIER_SCORE: scores} if scores is not None else {})}
    failing = np.zeros(len(next(iter(features.values()))), bool)
    for row in checks:
        failing |= values[row["feature"]] < row.get("below", -np.inf)
        failing |= values[row["feature"]] > row.get("above", np.inf)
    return {
        "version": VERSION,
        "checks": checks,
        "on": where,
        "n": len(failing),
        "refused": float(failing.mean()),
        "stops_agreeing_at": {kind: _first(shares) for kind, shares in degraded.agreement.items()},
    }


def _first(shares: Sequence[float]) -> float | None:
    """The first strength at which fewer than `limits.AGREEMENT` agree; None where that is at none."""
    return next((s for s, share in zip(_STRENGTHS, shares, strict=True) if share < limits.AGREEMENT), None)


def _quietly(done: int) -> None:
    """Where something else is reported."""


def _counting(report: Report, what: str) -> Callable[[int], None]:
    count = 0

    def counted(_: int) -> None:
        nonlocal count
        count += 1
        if count % 50 == 0:
            report(f"\r{what}: {count} pictures")

    return counted


def score_of(
    network: bytes, spec: InputSpec, pictures: Pictures, vectors: npt.NDArray[np.float32] | None, report: Report
) -> tuple[Floats, float]:
    """(the outlier score of each picture, by how much other kernels move it).

    Args:
        network: With the output, its last.
        spec: Of its pictures.
        pictures: uint8 [n, height, width, 3].
        vectors: What is known of the patients, [n, length]; None where the network takes none.
        report: As `Material` has it.
    """
    scores = answers.answers(network, spec, pictures, vectors, report, output=-1)
    some = answers.some_of(len(pictures))
    known = None if vectors is None else vectors[some]
    taken = answers.Some(pictures, some)
    others = answers.answers(network, spec, taken, known, report, delegate="none", output=-1)
    return scores.ravel().astype(np.float64), float(np.abs(others - scores[some]).max())
