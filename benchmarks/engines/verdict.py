"""What an engine's answers are worth: figures against the reference, and whether it may be used.

All arithmetic is on arrays; nothing here knows which engine answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.contract import GOLDEN
from ...edge_runtime.wording import counted
from ..stats.borderline import score
from ..stats.calibration import logits_of

Floats = npt.NDArray[np.float64]

YES, MARGIN, NO = "may be used", "may be used with a margin", "must not be used"

EXACT = float(GOLDEN["within"])
OTHER_KERNELS = float(GOLDEN["other_kernels_within"])
"""So far a probability may differ on golden pictures at least: docs/contract.md, section 9."""
KERNELS_FACTOR = 2.0
"""And so many times as far as LiteRT's own two sets of kernels differ on this network: one step of an int8 logit moves
a probability the further, the coarser the network's steps are."""
SHARE = 0.02
"""Largest share of the labelled pictures that may get another class, or another decision at one threshold: what the
default gate allows other kernels (max_kernel_flips). One picture may always differ."""
REPEATS = 20
"""Answers to each golden picture: fewer may miss what is wrong now and then."""
REPEATS_WITHIN = 1e-3
"""Largest change of a probability between answers to the same input. Sums of floats in changing order stay below it."""

_LEAST = 1e-6  # of a probability, whose logit would be infinite


@dataclass(frozen=True)
class Threshold:
    """One of the file's.

    Attributes:
        columns: Positions of its classes.
        within: What the file calls borderline, None: not said.
    """

    name: str
    columns: tuple[int, ...]
    value: float
    within: float | None


@dataclass(frozen=True)
class Answers:
    """What an engine answered, and what to.

    Attributes:
        rows: [steps], the row of `reference` that each step asked.
        probabilities: float64 [steps, classes].
        reference: float64 [rows, classes].
        golden: How many of the rows, the first ones, are golden pictures.
    """

    rows: npt.NDArray[np.int64]
    probabilities: Floats
    reference: Floats
    golden: int

    @property
    def expected(self) -> Floats:
        return self.reference[self.rows]


def sound(answers: Answers) -> dict[str, Any]:
    """What makes an engine broken whatever the reference says, JSON-ready.

    Returns {"answers", "not_finite", "outside": answers with a value outside 0..1, "zeros": with nothing but zeros,
    "constant": whether every answer is the same though the reference's are not}.
    """
    values = answers.probabilities
    finite = np.isfinite(values).all(axis=1)
    safe = np.where(np.isfinite(values), values, 0.5)
    same = len(values) > 1 and bool((values == values[0]).all())
    return {
        "answers": len(values),
        "not_finite": int((~finite).sum()),
        "outside": int(((safe < -EXACT) | (safe > 1 + EXACT)).any(axis=1).sum()),
        "zeros": int((values == 0).all(axis=1).sum()),
        "constant": same and not bool((answers.expected == answers.expected[0]).all()),
    }


def repeats(answers: Answers) -> dict[str, Any] | None:
    """Whether an answer hangs on repetition or on what came before, over golden pictures; None without any.

    Returns {"inputs", "answers", "changing": inputs whose answers are not all equal, "largest_step": of a probability
    between two answers to the same input}.
    """
    chosen = answers.rows < answers.golden
    if not chosen.any():
        return None
    rows, values = answers.rows[chosen], np.nan_to_num(answers.probabilities[chosen], nan=2.0, posinf=2.0, neginf=-2.0)
    spans = [float(np.ptp(values[rows == row], axis=0).max()) for row in np.unique(rows)]
    return {
        "inputs": len(spans),
        "answers": len(rows),
        "changing": sum(span > 0 for span in spans),
        "largest_step": max(spans),
    }


def golden_within(plain: Floats, reference: Floats) -> float:
    """So far a probability of a golden picture may be from the reference's: 0..1.

    Args:
        plain, reference: [golden pictures, classes], LiteRT's plain kernels and XNNPACK.
    """
    return max(OTHER_KERNELS, KERNELS_FACTOR * float(np.abs(plain - reference).max()))


def pattern(answers: Answers, within: float) -> str | None:
    """Which answers are wrong, where that follows a rule: "every 2nd answer", "all but the first", "from the 300th on".

    Wrong is further from the reference than `within`. None where no answer is, or there is no such rule.
    """
    wrong = ~(np.abs(answers.probabilities - answers.expected).max(axis=1) <= within)  # NaN is wrong
    if not wrong.any() or len(wrong) < 4:
        return None
    if wrong.all():
        return "every answer"
    first = int(wrong.argmax())
    if wrong[first:].all():
        return "all but the first" if first == 1 else f"every answer from the {_ordinal(first + 1)} on"
    # Some wrong answers are right by chance, as of a picture whose classes are equally probable.
    for period in range(2, 9):
        shares = [float(wrong[phase::period].mean()) for phase in range(period)]
        if max(shares) >= 0.5 and sorted(shares)[-2] == 0:
            return f"every {_ordinal(period)} answer"
    return None


def agreement(answers: Answers, thresholds: Sequence[Threshold], chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """How the answers of the `chosen` steps differ from the reference's, JSON-ready; of finite answers alone.

    A picture that was asked several times counts once, as the worst of its answers. Returns {"pictures",
    "same_top_class", "largest_step", "mean_step": of a probability, largest of each answer, "largest_logit_step": the
    least that explains the change of the answer (logits are known but for a constant), "decisions": name of a threshold
    -> {"flips", "beyond_borderline", "margin"}}. beyond_borderline: flips where the reference's score is not
    borderline, None where the file does not say; margin: largest change of the score. Steps are None without pictures.
    """
    chosen = chosen & np.isfinite(answers.probabilities).all(axis=1)
    rows, ours, theirs = answers.rows[chosen], answers.probabilities[chosen], answers.expected[chosen]
    steps = np.abs(ours - theirs).max(axis=1)
    there = len(rows) > 0
    pictures = len(np.unique(rows))
    found: dict[str, Any] = {
        "pictures": pictures,
        "same_top_class": pictures - _pictures(rows, ours.argmax(axis=1) != theirs.argmax(axis=1)),
        "largest_step": float(steps.max()) if there else None,
        "mean_step": float(steps.mean()) if there else None,
        "largest_logit_step": _logit_step(ours, theirs) if there else None,
        "decisions": {},
    }
    for threshold in thresholds:
        scores, others = score(theirs, threshold.columns), score(ours, threshold.columns)
        flips = (scores >= threshold.value) != (others >= threshold.value)
        clear = None
        if threshold.within is not None:
            clear = _pictures(rows, flips & (np.abs(scores - threshold.value) >= threshold.within))
        found["decisions"][threshold.name] = {
            "flips": _pictures(rows, flips),
            "beyond_borderline": clear,
            "margin": float(np.abs(scores - others).max()) if there else None,
        }
    return found


def judge(figures: Mapping[str, Any], accelerator: str | None, within: float = OTHER_KERNELS) -> dict[str, Any]:
    """{"use": YES, MARGIN or NO, "margin": x or None, "margins": threshold -> x, "reasons": sentences}.

    Args:
        figures: Of an engine that was started: status, detail, executed, sound, repeats, pattern, golden and labelled,
            as `measure` returns them.
        accelerator: What has to run the operators, None where any kernels will do.
        within: Of `golden_within`.

    Returns:
        Margin: the largest change of a threshold's score that was seen (of a probability, in a file without
        thresholds): a decision whose score is further from its threshold was never another one.
    """
    bad = _broken(figures, accelerator, within)
    sets = [one for one in (figures["golden"], figures["labelled"]) if one and one["pictures"]]
    margins: dict[str, float] = {}
    for one in sets:
        for name, row in one["decisions"].items():
            margins[name] = max(margins.get(name, 0.0), row["margin"])
    largest = max((one["largest_step"] for one in sets), default=None)
    if bad:
        return {"use": NO, "margin": None, "margins": margins, "reasons": bad}
    assert largest is not None
    notes = _notes(figures)
    if largest <= EXACT and not any(_flips(one) for one in sets):
        said = f"every answer within {EXACT:.6f} of the reference"
        return {"use": YES, "margin": None, "margins": margins, "reasons": [said, *notes]}
    margin = max(margins.values(), default=largest)
    said = f"a probability differs by up to {largest:.2g}"
    flips = sum(row["flips"] for one in sets for row in one["decisions"].values())
    tops = sum(one["pictures"] - one["same_top_class"] for one in sets)
    said += f"; changed: {counted(tops, 'top class', 'top classes')}, {counted(flips, 'decision')}"
    return {"use": MARGIN, "margin": margin, "margins": margins, "reasons": [said, *notes]}


def _broken(figures: Mapping[str, Any], accelerator: str | None, within: float) -> list[str]:
    """Why it must not be used; none where it may."""
    reasons: list[str] = []
    if figures["status"] != "answered":
        reasons.append(f"{figures['status']}: {figures['detail']}")
    idle = accelerator and _idle(figures["executed"], accelerator)
    if idle:
        reasons.append(idle)
    found = figures["sound"]
    if not found or not found["answers"]:
        return reasons or ["it gave no answer"]
    count = found["answers"]
    if found["not_finite"]:
        reasons.append(f"{found['not_finite']} of {count} answers are not finite")
    if found["outside"]:
        reasons.append(f"{found['outside']} of {count} answers have values outside 0 to 1")
    if found["zeros"]:
        reasons.append(f"{found['zeros']} of {count} answers are nothing but zeros")
    elif found["constant"]:
        reasons.append("it gives every picture the same answer")
    again, rule = figures["repeats"], figures["pattern"]
    if again and again["largest_step"] > REPEATS_WITHIN:
        reasons.append(
            f"{again['changing']} of {again['inputs']} inputs get other answers when they are asked again: a "
            f"probability moves by up to {again['largest_step']:.2g}" + (f"; {rule} is wrong" if rule else "")
        )
    elif rule:
        reasons.append(f"{rule} is wrong")
    golden, labelled = figures["golden"], figures["labelled"]
    if golden and golden["pictures"] and golden["largest_step"] > within:
        reasons.append(
            f"on golden pictures a probability differs by {golden['largest_step']:.2g}, which is more than other "
            f"kernels explain ({within:.2g})"
        )
    if labelled and labelled["pictures"]:
        n = labelled["pictures"]
        counts = {"another top class": n - labelled["same_top_class"]} | {
            f"another decision at {name}": row["flips"] for name, row in labelled["decisions"].items()
        }
        worst = max(counts, key=lambda name: counts[name])
        if counts[worst] > max(1.0, SHARE * n):
            reasons.append(f"{counts[worst]} of {n} labelled pictures get {worst}: more than {SHARE:.0%}")
    return reasons


def _idle(executed: Mapping[str, Any] | None, accelerator: str) -> str | None:
    """Why what ran was not the accelerator; None where it was, or where that is not known."""
    if executed is None or executed["delegate"] is not None:
        return None
    count = executed["operators"]
    of = f"none of the {count} operators" if count else "no operator"
    return f"{accelerator} took {of}: everything ran on the processor's own kernels"


def _notes(figures: Mapping[str, Any]) -> list[str]:
    """What the reader of a verdict should know besides."""
    notes: list[str] = []
    executed, again = figures["executed"], figures["repeats"]
    if executed and executed["delegate"] and executed["whole"] is False:
        operators: Mapping[str, int] = executed["left"] or {}
        left = ", ".join(f"{count} {name}" for name, count in operators.items())
        notes.append(
            f"{executed['delegate']} took {executed['delegated']} of {executed['operators']} operators; left: {left}"
            if left
            else f"{executed['delegate']} did not take every operator"
        )
    if again and again["changing"]:
        notes.append(
            f"{again['changing']} of {again['inputs']} inputs get answers that differ by up to "
            f"{again['largest_step']:.2g} when they are asked again"
        )
    beyond = sum(
        row["beyond_borderline"] or 0
        for one in (figures["golden"], figures["labelled"])
        if one
        for row in one["decisions"].values()
    )
    if beyond:
        notes.append(f"{counted(beyond, 'changed decision')} that the file does not call borderline")
    if again and again["answers"] < REPEATS * again["inputs"]:
        notes.append(f"each golden picture was asked {again['answers'] // again['inputs']} times, not {REPEATS}")
    if not figures["labelled"]:
        notes.append("on golden pictures alone: --data adds labelled ones")
    return notes


def _flips(one: Mapping[str, Any]) -> int:
    return one["pictures"] - one["same_top_class"] + sum(row["flips"] for row in one["decisions"].values())


def _pictures(rows: npt.NDArray[np.int64], where: npt.NDArray[np.bool_]) -> int:
    """How many different rows there are where `where` is true."""
    return len(np.unique(rows[where]))


def _logit_step(ours: Floats, theirs: Floats) -> float:
    moved = logits_of(np.maximum(ours, _LEAST)) - logits_of(np.maximum(theirs, _LEAST))
    return float(np.ptp(moved, axis=1).max() / 2)


def _ordinal(number: int) -> str:
    end = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{end}"
