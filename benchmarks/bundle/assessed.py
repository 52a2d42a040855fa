"""Whether an app says the same of what cannot be assessed and of what is possible: docs/contract.md, section 12."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime import assessment
from ...edge_runtime import contract as contracts
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.contract import GOLDEN

Record = Mapping[str, Any]

_SAME = 1e-6  # of an outlier score, as of a probability
_FEW = 2e-6  # between a probability and what was printed of it
_OTHER_KERNELS = float(GOLDEN["other_kernels_within"])
_CLASS = ("label", "probabilities", "decisions")


class Assessed:
    """An app's answers held against golden ones.

    Args:
        classifier: The bundle's model.
        good: Picture -> its golden line.
        answers: Picture -> the app's line.
        same_input: Picture -> whether the app's input has the golden bytes; False too where that is not told.
    """

    def __init__(
        self,
        classifier: SkinClassifier,
        good: Mapping[str, Record],
        answers: Mapping[str, Record],
        same_input: Callable[[str], bool],
    ):
        self._classifier, self._good, self._same_input = classifier, good, same_input
        self._answers = {name: answers[name] for name in good if name in answers}
        self._checks = assessment.checks_of(classifier.contract)
        self._limits = contracts.possible_thresholds(classifier.contract)
        self._codes = [label.code for label in classifier.labels]
        self.ignored: list[str] = []

    def stages(self) -> dict[str, dict[str, Any]]:
        """{"assessment", "possible"}, as far as the file has them, in the form of `verify`'s stages."""
        stages: dict[str, dict[str, Any]] = {}
        if self._checks:
            stages["assessment"] = self._assessment()
        if self._limits:
            stages["possible"] = self._possible()
        return stages

    def _assessment(self) -> dict[str, Any]:
        """Also finds `ignored`, the pictures that are answered as if no limit of the file was broken."""
        told: list[str] = []
        wrong: list[str] = []
        otherwise = 0
        for name, answer in self._answers.items():
            shows_class = "error" not in answer and any(key in answer for key in _CLASS)
            if not answer.keys() & {"reasons", "assessable", "features"}:
                if "error" in answer and not self._good[name]["assessable"]:
                    told.append(name)
                elif shows_class and not self._good[name]["assessable"]:
                    if self._near(name, self._good[name]["reasons"]):
                        otherwise += 1
                        told.append(name)
                    else:
                        self.ignored.append(name)
                continue
            told.append(name)
            fault = self._fault(name, answer)
            if fault:
                wrong.append(f"{name}: {fault}")
            elif fault is None:
                otherwise += 1
        said = f"{len(told) - len(wrong)} of {len(told)} pictures assessed alike"
        said += f", {otherwise} of them otherwise but near a limit" if otherwise else ""
        said += f"; {_list(wrong)}" if wrong else ""
        said += f"; answered as if they could be assessed: {_list(self.ignored)}" if self.ignored else ""
        level = "refused" if wrong or self.ignored else "C" if otherwise else "A" if told else None
        missing = len(self._good) - len(told)
        return {"checked": len(told), "missing": missing, "level": level, "said": said}

    def _fault(self, name: str, answer: Record) -> str | None:
        """What is wrong; "" where nothing is, None where another answer than expected is near enough to a limit."""
        expected = self._expected(name, answer)
        features = self._good[name]["features"] if expected is None else expected
        reasons = [reason.reason for reason in assessment.failed(self._checks, features)]
        given: list[str] | None = answer.get("reasons")
        if given is not None and answer.get("assessable", not given) != (not given):
            return f"assessable is {answer['assessable']} with the reasons {given}"
        apart = expected is not None and self._feature_fault(features, answer.get("features", {}))
        if apart:
            return apart
        if given == reasons or (given is None and answer.get("assessable", not reasons) == (not reasons)):
            return "" if self._same_score(features, answer.get("features", {})) else None
        # Without its input nobody can say whose features these are.
        differing = set(reasons) if given is None else set(reasons) ^ set(given)
        if expected is None or (differing and self._near(name, differing, features)):
            return None
        said = f"assessable {answer.get('assessable')}" if given is None else " and ".join(given) or "no reason"
        return f"{said} instead of {' and '.join(reasons) or 'no reason'}"

    def _expected(self, name: str, answer: Record) -> Mapping[str, float] | None:
        """The features of the input that the app had; None where that is not told."""
        if self._same_input(name):
            return self._good[name]["features"]
        if "pixels" not in answer:
            return None
        pixels: npt.NDArray[np.uint8] = np.ascontiguousarray(answer["pixels"])
        outputs = self._classifier.outputs(self._classifier.to_tensor(pixels))
        return self._classifier.with_score(assessment.measure(pixels), outputs)

    def _feature_fault(self, features: Mapping[str, float], given: Mapping[str, float]) -> str:
        wrong = [one for one in assessment.FEATURES if one in given and given[one] != features[one]]
        return f"{wrong[0]} is {given[wrong[0]]} instead of {features[wrong[0]]}" if wrong else ""

    def _same_score(self, features: Mapping[str, float], given: Mapping[str, float]) -> bool:
        score, told = (one.get(assessment.OUTLIER_SCORE) for one in (features, given))
        return score is None or told is None or abs(score - told) <= _SAME * max(1.0, abs(score))

    def _near(self, name: str, reasons: Any, features: Mapping[str, float] | None = None) -> bool:
        """Whether other kernels, which move the outlier score, may have decided otherwise about each of the reasons."""
        score = (features or self._good[name]["features"]).get(assessment.OUTLIER_SCORE)
        rows: list[Record] = self._classifier.contract["assessment"]["checks"]
        movable = {
            row["reason"]
            for row in rows
            for limit in (row.get("below"), row.get("above"))
            if row["feature"] == assessment.OUTLIER_SCORE and score is not None and limit is not None
            if abs(score - limit) <= row.get("borderline_within", 0)
        }
        return movable.issuperset(reasons)

    def _possible(self) -> dict[str, Any]:
        told = {name: answer for name, answer in self._answers.items() if "possible" in answer}
        wrong: list[str] = []
        otherwise = 0
        for name, answer in told.items():
            probabilities: Any = answer.get("probabilities")
            own = self._good[name]["probabilities"] if probabilities is None else probabilities.tolist()
            fault = self._possible_fault(answer["possible"], own, _OTHER_KERNELS if probabilities is None else _FEW)
            if fault:
                wrong.append(f"{name}: {fault}")
            elif answer["possible"] != self._good[name]["possible"]:
                otherwise += 1
        said = f"{len(told) - len(wrong)} of {len(told)} sets of possible classes right"
        said += f", {otherwise} of them otherwise but near a limit" if otherwise else ""
        said += f"; {_list(wrong)}" if wrong else ""
        owed = [name for name, answer in self._answers.items() if "error" not in answer or name in told]
        level = "refused" if wrong else "C" if otherwise else "A" if told else None
        return {"checked": len(told), "missing": len(owed) - len(told), "level": level, "said": said}

    def _possible_fault(self, given: Sequence[str], probabilities: Sequence[float], within: float) -> str:
        """probabilities: which the set follows from. within: how far the app's own may be from them."""
        assert self._limits is not None
        if [code for code in self._codes if code in given] != list(given):
            return "codes of other classes, or in another order"
        top = max(probabilities)
        for code, value, limit in zip(self._codes, probabilities, self._limits, strict=True):
            is_possible = value >= limit or value == top
            if (code in given) != is_possible and abs(value - limit) > within and top - value > within:
                return f"{code} is {'' if is_possible else 'not '}possible"
            if value == top and sum(other >= top - within for other in probabilities) == 1 and code not in given:
                return f"{code}, the most probable class, is missing"
        return ""


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, ... ({len(names)} in all)"
