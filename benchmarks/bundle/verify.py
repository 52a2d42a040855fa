"""An app's answers against the golden ones, stage by stage: docs/contract.md, section 9."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.contract import GOLDEN
from ...edge_runtime.errors import ImageError, UsageError
from ..report.document import Document, Notes, Section, Table
from . import mistakes
from .assessed import Assessed
from .reading import Bundle, Record, classifier_of, is_number, read_answers

Pixels = npt.NDArray[np.uint8]

LEVELS = ("A", "B", "C", "refused")

_EXACT = 1e-6  # of a probability, with XNNPACK
_OTHER_KERNELS = float(GOLDEN["other_kernels_within"])
_OWN_BYTES = (0.05, 0.14)  # 99th percentile and maximum of a probability's difference where the input is not reported
_NEAR = {"B": (1, 0.05), "C": (2, 0.2)}  # largest and mean difference of the input's bytes
_FEW = 2e-6  # between a score and the sum of probabilities that were printed


def verify(bundle: Bundle, answers_path: Path) -> dict[str, Any]:
    """The verdict, JSON-ready: {level, stages, missing, refused_though_good, answered_though_unfit, mistake}.

    stages: {stage: {checked, missing, level, said}}; level None where nothing of it was reported. missing: files
    without a line. answered_though_unfit: pictures that cannot be assessed, and are answered as if they could. mistake:
    {names, remedies, explained, by, nearest}, or None.

    Raises UsageError where the bundle or the answers are not of the form.
    """
    with classifier_of(bundle) as classifier:
        return _Verifier(bundle, classifier, answers_path).verdict()


class _Verifier:
    def __init__(self, bundle: Bundle, classifier: SkinClassifier, answers_path: Path):
        self.bundle, self.classifier = bundle, classifier
        spec = classifier.input_spec
        self.codes = [label.code for label in classifier.labels]
        answers = read_answers(answers_path, bundle.golden, (spec.height, spec.width), len(self.codes))
        self.answers = answers
        self.good = {name: line for name, line in bundle.golden.items() if "error" not in line}
        refused = [name for name in self.good if "error" in answers.get(name, {})]
        self.shied = [name for name in refused if self.good[name].get("assessable", True)]
        # An app may show no more of a picture that cannot be assessed than that.
        self.owed = {name: line for name, line in self.good.items() if name not in refused or name in self.shied}
        self.reported = {name: answers[name] for name in self.good if name in answers and name not in self.shied}
        self.assessed = Assessed(classifier, self.good, answers, self._same_input)
        self.right = {name: _pixels(bundle, line, (spec.height, spec.width)) for name, line in self.good.items()}

    def verdict(self) -> dict[str, Any]:
        stages = {
            "decode": self._decode(),
            "resize": self._resize(),
            "input": self._input(),
            "engine": self._engine(),
            "label": self._label(),
            "decisions": self._decisions(),
            **self.assessed.stages(),
            "refusals": self._refusals(),
        }
        level = _worst([stage["level"] for stage in stages.values()])
        if self.shied:
            level = _worst([level, "C" if self.reported else "refused"])
        if not self.reported:
            level = "refused"
        others = [stage["level"] for name, stage in stages.items() if name not in ("assessment", "possible")]
        mistake = self._mistake() if "refused" in others and self.reported else None
        if self.assessed.ignored:
            mistake = _with(mistake, mistakes.IGNORED)
        return {
            "level": level,
            "stages": stages,
            "missing": [name for name in self.bundle.golden if name not in self.answers],
            "refused_though_good": self.shied,
            "answered_though_unfit": self.assessed.ignored,
            "mistake": mistake,
        }

    def _decode(self) -> dict[str, Any]:
        reported = {name: answer for name, answer in self.reported.items() if "upright" in answer}
        other = [name for name, answer in reported.items() if _upright(answer) != _upright(self.good[name])]
        sizes = [name for name in other if _size(reported[name]) not in (None, _size(self.good[name]))]
        said = f"{len(reported) - len(other)} of {len(reported)} upright pictures equal"
        if sizes:
            return _stage(reported, self.owed, "refused", f"{said}; of another size: {_list(sizes)}")
        # How far other pixels are away is seen in the input.
        level = None if not reported else "A" if not other else "C" if not self._measured(other) else "B"
        return _stage(reported, self.owed, level, f"{said}{f'; other pixels: {_list(other)}' if other else ''}")

    def _measured(self, names: Sequence[str]) -> bool:
        return all("pixels" in self.reported[name] or self._same_input(name) for name in names)

    def _same_input(self, name: str) -> bool:
        answer = self.answers[name]
        if "pixels" in answer:
            return bool((answer["pixels"] == self.right[name]).all())
        return answer.get("input_sha256") == self.good[name]["input"]["sha256"]

    def _input(self) -> dict[str, Any]:
        return self._inputs(self.reported)

    def _resize(self) -> dict[str, Any]:
        """The inputs of pictures that were decoded right: what is wrong with them is the resize, or what follows it."""
        return self._inputs({name: self.reported[name] for name, right in self._uprights().items() if right})

    def _uprights(self) -> dict[str, bool]:
        """Picture -> whether its upright picture is the golden one, of those that were reported with a digest."""
        reported = {name: _upright(answer) for name, answer in self.reported.items() if "upright" in answer}
        return {name: digest == _upright(self.good[name]) for name, digest in reported.items() if digest}

    def _inputs(self, among: Mapping[str, Record]) -> dict[str, Any]:
        reported = {name: one for name, one in among.items() if "pixels" in one or "input_sha256" in one}
        other = [name for name in reported if not self._same_input(name)]
        said = f"{len(reported) - len(other)} of {len(reported)} inputs equal"
        if not other:
            return _stage(reported, self.owed, "A" if reported else None, said)
        blind = [name for name in other if "pixels" not in reported[name]]
        levels, worst = ["A"], (0, 0.0, "")
        for name in set(other) - set(blind):
            difference = np.abs(reported[name]["pixels"].astype(np.int16) - self.right[name])
            largest, mean = int(difference.max()), float(difference.mean())
            near = (level for level, limits in _NEAR.items() if largest <= limits[0] and mean <= limits[1])
            levels.append(next(near, "refused"))
            worst = max(worst, (largest, mean, name), key=lambda row: row[1])
        if worst[2]:
            said += f"; bytes up to {worst[0]} apart, {worst[1]:.3f} on average ({worst[2]})"
        if blind:
            levels.append("C")  # by the probabilities, which then have to be near
            said += f"; {len(blind)} differ by an unknown distance (no input.base64): {_list(blind)}"
        return _stage(reported, self.owed, _worst(levels), said)

    def _engine(self) -> dict[str, Any]:
        """Each picture's probabilities against those for the input that the app had, as far as that is known."""
        exact: list[float] = []
        far: list[float] = []
        names: list[tuple[float, str]] = []
        for name, answer in self.reported.items():
            if "probabilities" not in answer:
                continue
            known = self._expected(name)
            expected = self._golden(name) if known is None else known
            away = _away(answer["probabilities"], expected)
            (far if known is None else exact).append(away)
            names.append((away, name))
        by_input = {line["input"]["file"]: name for name, line in self.good.items()}
        for file, name in by_input.items():
            if file in self.answers and "probabilities" in self.answers[file]:
                away = _away(self.answers[file]["probabilities"], self._golden(name))
                exact.append(away)
                names.append((away, file))
        reported = {name: one for name, one in self.reported.items() if "probabilities" in one}
        if not names:
            return _stage(reported, self.owed, None, "no probabilities")
        levels = ["A"]
        if exact:
            levels.append("A" if max(exact) <= _EXACT else "C" if max(exact) <= _OTHER_KERNELS else "refused")
        if far:
            near = np.percentile(far, 99) <= _OWN_BYTES[0] and max(far) <= _OWN_BYTES[1]
            levels.append("A" if max(far) <= _EXACT else "C" if near else "refused")
        worst = max(names)
        return _stage(reported, self.owed, _worst(levels), f"probabilities at most {worst[0]:.2g} apart ({worst[1]})")

    def _expected(self, name: str) -> npt.NDArray[np.float64] | None:
        """What the network answers to the input that the app had; None where that is not reported."""
        answer = self.reported[name]
        if self._same_input(name):
            return self._golden(name)
        return self._ask(answer["pixels"]) if "pixels" in answer else None

    def _golden(self, name: str) -> npt.NDArray[np.float64]:
        return np.asarray(self.good[name]["probabilities"], np.float64)

    def _ask(self, pixels: Pixels) -> npt.NDArray[np.float64]:
        return self.classifier.invoke(self.classifier.to_tensor(np.ascontiguousarray(pixels))).astype(np.float64)

    def _label(self) -> dict[str, Any]:
        reported = {name: one for name, one in self.reported.items() if "label" in one}
        wrong: list[str] = []
        for name, answer in reported.items():
            if "probabilities" in answer:
                wanted = self.codes[int(answer["probabilities"].argmax())]
            else:
                first, second = sorted(self._golden(name))[:-3:-1]
                wanted = self.good[name]["label"] if first - second > _OTHER_KERNELS else answer["label"]
            if answer["label"] != wanted:
                wrong.append(f"{name}: {answer['label']!r} instead of {wanted!r}")
        said = f"{len(reported) - len(wrong)} of {len(reported)} labels right{f'; {_list(wrong)}' if wrong else ''}"
        return _stage(reported, self.owed, ("refused" if wrong else "A") if reported else None, said)

    def _decisions(self) -> dict[str, Any]:
        reported = {name: one for name, one in self.reported.items() if "decisions" in one}
        wrong: list[str] = []
        count = excused = 0
        for name, answer in reported.items():
            given = {str(one.get("name")): one for one in answer["decisions"]}
            for golden in self.good[name]["decisions"]:
                count += 1
                fault = self._decision_fault(golden, given.get(golden["name"]), answer.get("probabilities"))
                if fault:
                    wrong.append(f"{name}, {golden['name']}: {fault}")
                elif given[golden["name"]]["decision"] != golden["decision"]:
                    excused += 1
        said = f"{count - len(wrong)} of {count} decisions right"
        said += f", {excused} of them otherwise but borderline" if excused else ""
        level = None if not reported else "refused" if wrong else "C" if excused else "A"
        return _stage(reported, self.owed, level, said + (f"; {_list(wrong)}" if wrong else ""))

    def _decision_fault(self, golden: Record, given: Record | None, probabilities: Any) -> str:
        if given is None:
            return "missing"
        score: Any = given.get("score")
        decision = given.get("decision")
        if not is_number(score) or decision not in ("refer", "below"):
            return "malformed"
        row = next(row for row in self.classifier.contract["thresholds"] if row["name"] == golden["name"])
        if probabilities is not None:
            total = 0.0
            for code, value in zip(self.codes, probabilities.tolist(), strict=True):
                total += value if code in row["classes"] else 0.0
            if abs(total - score) > _FEW:
                return f"score {score:.6f} is not the sum of its classes, {total:.6f}"
        if decision != ("refer" if score >= row["threshold"] else "below") and abs(score - row["threshold"]) > 1e-12:
            return f"{decision} with score {score:.6f} and threshold {row['threshold']:.6f}"
        if decision != golden["decision"] and not golden["borderline"]:
            return f"{decision} instead of {golden['decision']}, which is not borderline"
        near = abs(score - row["threshold"]) < row["borderline_within"]
        edge = abs(abs(score - row["threshold"]) - row["borderline_within"]) <= _FEW
        if given.get("borderline") not in (near, None) and not edge:
            return f"borderline is {given['borderline']}"
        return ""

    def _refusals(self) -> dict[str, Any]:
        broken = {name: line for name, line in self.bundle.golden.items() if "error" in line}
        reported = {name: self.answers[name] for name in broken if name in self.answers}
        answered = [
            name
            for name, one in reported.items()
            if "error" not in one or any(key in one for key in ("label", "probabilities", "decisions"))
        ]
        said = f"{len(reported) - len(answered)} of {len(reported)} broken files refused"
        said += f"; answered: {_list(answered)}" if answered else ""
        return _stage(reported, broken, ("refused" if answered else "A") if reported else None, said)

    def _mistake(self) -> dict[str, Any] | None:
        files = self.bundle.files
        try:
            scenes = {name: mistakes.Scene(files[f"golden/{name}"]) for name in self.reported}
        except ImageError as error:
            raise UsageError(f"{self.bundle.path}: a golden picture cannot be read: {error}") from None
        right = {name: self.right[name] for name in self.reported}
        seen = {name: one["pixels"] for name, one in self.reported.items() if "pixels" in one}
        hashes = {name: one["input_sha256"] for name, one in self.reported.items() if "input_sha256" in one}
        spec, tensor = self.classifier.input_spec, self.classifier.contract["input"]
        wrong = [name for name in {**seen, **hashes} if not self._same_input(name)]
        known = mistakes.possible(mistakes.hypotheses(scenes, right, spec, tensor), self._uprights(), wrong)
        named: mistakes.Named | None = None
        if any(not self._same_input(name) for name in seen):
            named = mistakes.by_bytes(seen, right, known)
        elif wrong:
            sums = {name: str(self.good[name]["input"]["sha256"]) for name in hashes}
            named = mistakes.by_hashes(hashes, sums, known)
        if named is None or named.nearest:
            named = self._by_probabilities(known) or named
        if named is None and self._labels_permuted():
            named = mistakes.Named(("labels in another order",), 1.0, "labels")
        if named is None:
            return None
        return {
            "names": list(named.names),
            "remedies": [mistakes.MISTAKES[name].remedy for name in named.names],
            "explained": round(named.explained, 3),
            "by": named.by,
            "nearest": named.nearest,
        }

    def _by_probabilities(self, known: Sequence[mistakes.Hypothesis]) -> mistakes.Named | None:
        reported = {name: one["probabilities"] for name, one in self.reported.items() if "probabilities" in one}
        golden = {name: self._golden(name) for name in reported}
        if not reported or max(_away(reported[name], golden[name]) for name in reported) <= _OTHER_KERNELS:
            return None
        single = [one for one in known if len(one.names) == 1]
        answers = [(one.names, {name: self._ask(one.input(name)) for name in reported}) for one in single]
        return mistakes.by_probabilities(reported, golden, answers)

    def _labels_permuted(self) -> bool:
        """Whether the app's labels follow from the golden ones by exchanging names."""
        pairs = {
            (self.good[name]["label"], one["label"])
            for name, one in self.reported.items()
            if isinstance(one.get("label"), str)
        }
        one_to_one = len({a for a, _ in pairs}) == len(pairs) == len({b for _, b in pairs})
        return len(pairs) > 2 and one_to_one and any(a != b for a, b in pairs)


def _with(mistake: dict[str, Any] | None, name: str) -> dict[str, Any]:
    """One more mistake, of which there is no doubt."""
    if mistake is None or mistake["nearest"]:
        mistake = {"names": [], "remedies": [], "explained": 1.0, "by": "answers", "nearest": False}
    remedies = [*mistake["remedies"], mistakes.MISTAKES[name].remedy]
    return {**mistake, "names": [*mistake["names"], name], "remedies": remedies}


def document(verdict: Record) -> Document:
    rows: list[tuple[str, str, str]] = []
    for name, stage in verdict["stages"].items():
        missing = f"; not reported for {stage['missing']} of {stage['missing'] + stage['checked']}"
        said = stage["said"] + (missing if stage["missing"] else "")
        rows.append((name, stage["level"] or "not reported", said if stage["level"] else ""))
    notes: list[str] = []
    if verdict["missing"]:
        notes.append(f"no line for {len(verdict['missing'])} files: {_list(verdict['missing'])}")
    if verdict["refused_though_good"]:
        notes.append(f"refused though they are good: {_list(verdict['refused_though_good'])}")
    if any(verdict["stages"].get(name, {"level": "A"})["level"] is None for name in ("assessment", "possible")):
        notes.append(
            "this model says when a picture cannot be assessed and which classes are possible: an app shows that, and "
            "writes assessable, reasons, features and possible (CONTRACT.md, section 12)"
        )
    engine = verdict["stages"]["engine"]
    if "assessment" in verdict["stages"] and not engine["checked"]:
        notes.append(
            "no probabilities were compared: let the app write them too, as with a switch that answers what cannot be "
            "assessed"
        )
    mistake = verdict["mistake"]
    if mistake and mistake["nearest"]:
        notes.append(f"no known mistake; nearest is '{' and '.join(mistake['names'])}'")
    elif mistake:
        notes.append(f"mistake: {' and '.join(mistake['names'])} (seen in the {mistake['by']})")
        notes += [f"remedy: {remedy}" for remedy in mistake["remedies"]]
    elif verdict["level"] == "refused":
        notes.append("no known mistake explains it")
    title = f"level {verdict['level']}: {_MEANS[verdict['level']]}"
    stages = Table(("", "", ""), rows, words=True)
    return Document(title, "", [Section("stages", "", [stages, Notes(notes)])], "skin-edge verify")


_MEANS = {
    "A": "exact, in every stage that the app reports",
    "B": "nearly exact: bytes of the input at most 1 apart",
    "C": "within tolerance: borderline decisions may differ",
    "refused": "not the same model in effect",
}


def _stage(reported: Mapping[str, Any], of: Mapping[str, Any], level: str | None, said: str) -> dict[str, Any]:
    return {"checked": len(reported), "missing": len(set(of) - set(reported)), "level": level, "said": said}


def _worst(levels: Sequence[str | None]) -> str:
    return max((level for level in levels if level), key=LEVELS.index, default="A")


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown}, ... ({len(names)} in all)"


def _away(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    away = float(np.abs(one - other).max())
    return away if math.isfinite(away) else math.inf


def _upright(line: Record) -> str:
    return str(line["upright"].get("sha256", "")).lower()


def _size(line: Record) -> tuple[int, int] | None:
    size = line["upright"].get("width"), line["upright"].get("height")
    return None if None in size else size


def _pixels(bundle: Bundle, line: Record, size: tuple[int, int]) -> Pixels:
    return np.reshape(np.frombuffer(bundle.files[f"golden/{line['input']['file']}"], np.uint8), (*size, 3))
