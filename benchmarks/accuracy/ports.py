"""What another correct implementation of the same file may cost: answers that change under another rounding of the
input, and under other kernels.

An app that resizes in floating point, decodes with another library or runs another engine is right (level B or C of
docs/contract.md) and gives other bytes all the same. A network whose answers hang on them cannot be ported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import PlatformError
from ..stats.borderline import moved

Pixels = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

RANDOM = "a fifth of the bytes one off"
LOWER = "every byte one lower"
KERNELS = "plain kernels"

ROUNDING = (RANDOM, LOWER)
"""Ways to round the input otherwise. RANDOM: up or down, drawn for each picture from its position; level C allows as
much. LOWER: what a resize gives that truncates after both of its passes; systematic, and more than level C allows."""


def lower(pixels: Pixels) -> Pixels:
    """uint8 [...] -> one less each, at least 0."""
    return np.maximum(pixels, 1) - np.uint8(1)


class Ports:
    """Another implementation's answers beside a classifier's own, picture by picture.

    Args:
        classifier: With XNNPACK.
        input_options: The keywords that it was made with (mean, std, labels).
    """

    def __init__(self, classifier: SkinClassifier, input_options: Mapping[str, Any] | None = None):
        self.classifier = classifier
        self._rows: list[tuple[Scores, dict[str, Scores]]] = []
        self._unmeasured: str | None = None
        self._plain: SkinClassifier | None = None
        try:
            self._plain = SkinClassifier(classifier.path, delegate="none", **(input_options or {}))
        except PlatformError as error:
            self._unmeasured = str(error)

    def answers(self, pixels: Pixels, vector: npt.NDArray[Any] | None) -> dict[str, Scores]:
        """Way -> float32 [classes].

        Args:
            pixels, vector: What `classifier` is given.

        Raises:
            PredictionError: As it does.
        """
        ask = self.classifier
        found = {
            RANDOM: ask.invoke(ask.to_tensor(moved(pixels, seed=len(self._rows))), vector),
            LOWER: ask.invoke(ask.to_tensor(lower(pixels)), vector),
        }
        if self._plain is not None:
            found[KERNELS] = self._plain.invoke(self._plain.to_tensor(pixels), vector)
        return found

    def keep(self, own: Scores, others: dict[str, Scores]) -> None:
        """Keeps an image that was answered, to be answered again by other implementations.

        Args:
            own: The classifier's answer to the picture of `answers`.
        """
        self._rows.append((own, others))

    def flips(self) -> list[dict[str, Any]]:
        """JSON-ready, one row per way: {way, n, top_class, decisions, measured}.

        top_class: how many of the n pictures get another class; decisions: name of each of the file's thresholds ->
        how many get another decision. Both None where the way was not measured, and `measured` says why.
        """
        return [self._flips(way) for way in (*ROUNDING, KERNELS)]

    def _flips(self, way: str) -> dict[str, Any]:
        row: dict[str, Any] = {"way": way, "n": len(self._rows)}
        if way == KERNELS and self._plain is None:
            return {**row, "top_class": None, "decisions": None, "measured": f"not measured: {self._unmeasured}"}
        pairs = [(own, others[way]) for own, others in self._rows]
        names = self.classifier.operating_points
        decided = [[self._decisions(scores) for scores in pair] for pair in pairs]
        return {
            **row,
            "top_class": sum(int(own.argmax() != other.argmax()) for own, other in pairs),
            "decisions": {
                name: sum(before[i] != after[i] for before, after in decided) for i, name in enumerate(names)
            },
            "measured": "all images",
        }

    def _decisions(self, scores: Scores) -> list[str]:
        return [decision.decision for decision in self.classifier.decide(scores)]


def largest(rows: Sequence[Mapping[str, Any]], ways: Sequence[str]) -> tuple[float, str, str] | str:
    """(share of the pictures, in what, way) where most answers change: the top class or one threshold's decision.

    Args:
        rows: Of `Ports.flips`. Text instead, why, where one of `ways` was not measured.
    """
    found: list[tuple[float, str, str]] = []
    for row in rows:
        if row["way"] not in ways:
            continue
        if row["top_class"] is None:
            return str(row["measured"]).removeprefix("not measured: ")
        counts = {"the top class": row["top_class"], **row["decisions"]}
        found += [(count / row["n"], name, row["way"]) for name, count in counts.items()]
    return max(found, key=lambda one: one[0])
