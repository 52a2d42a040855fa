"""The answer for one picture as JSON: what `predict --json`, answers in bulk and the server give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import SkinEdgeError

if TYPE_CHECKING:
    from .classifier import Prediction


def record(
    name: str,
    answer: Prediction | SkinEdgeError,
    *,
    top_k: int | None = None,
    operating_point: str | None = None,
    times: bool = True,
    assess_anything: bool = False,
) -> dict[str, Any]:
    """The answer as one JSON object; of a picture that cannot be assessed, its name, the error and the reasons alone.

    Args:
        name: Of the picture, as the user gave it.
        answer: Of `predict` or `predict_many`.
        top_k: How many classes, the most probable first; None for all.
        operating_point: The one threshold whose decision is wanted; None for all.
        times: Whether the milliseconds belong to it. Without them the same picture and model give the same record.
        assess_anything: Whether the answer is given in spite of the reasons against it.
    """
    if isinstance(answer, SkinEdgeError):
        return {"file": name, "error": str(answer)}
    reasons = [dict(vars(reason)) for reason in answer.reasons]
    if reasons and not assess_anything:
        return {"file": name, "error": answer.refusal, "reasons": reasons}
    recorded: dict[str, Any] = {
        "file": name,
        "label": answer.label,
        "probabilities": dict(list(answer.probabilities.items())[:top_k]),
        "decisions": [dict(vars(one)) for one in answer.decisions if operating_point in (None, one.name)],
    }
    if answer.possible is not None:
        recorded["possible"] = list(answer.possible)
    if answer.features:  # the file has limits
        recorded |= {"assessable": answer.assessable, "reasons": reasons}
    if times:
        recorded["preprocess_ms"] = round(answer.preprocess_ms, 3)
        recorded["inference_ms"] = round(answer.inference_ms, 3)
    return recorded


def refused(error: str) -> str:
    """ "cannot assess: ...", once.

    Args:
        error: Of a `record`.
    """
    return f"cannot assess: {error.removeprefix('cannot assess: ')}"
