"""What `skin-edge train` does, in Python: `from skin_edge.train import TrainRequest, train`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import cross_validation, job
from . import plan as planning
from .plan import TrainPlan
from .request import TrainRequest, resolve


def train(request: TrainRequest, report: Callable[[str], None] = job.to_stderr) -> dict[str, Any]:
    """Trains, evaluates and writes RUN.

    Args:
        request: What is to be trained, on what.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.

    Returns:
        What metrics.json holds (of folds: of all together); nothing on a worker that is not the chief.

    Raises:
        SkinEdgeError: With one line for all that is wrong with data, settings or output.
    """
    request = with_begun_folds(request)
    settings = resolve(request)
    if request.folds:
        return cross_validation.cross_validate(settings, request.folds, report)
    return job.train(settings, report)


def plan(request: TrainRequest, report: Callable[[str], None] = job.to_stderr) -> TrainPlan:
    """What `train` would do: data, split, leakage, settings, network and steps. Writes nothing, without TensorFlow.

    Args:
        request: What is to be trained, on what.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.

    Returns:
        The plan; of a cross-validation that of the first fold.

    Raises:
        SkinEdgeError: As `train` does before its first epoch.
    """
    request = with_begun_folds(request)
    settings = resolve(request)
    if request.folds:
        return cross_validation.plan(settings, request.folds, report)
    return planning.make(settings, report, job.place_of(settings))


def with_begun_folds(request: TrainRequest) -> TrainRequest:
    """A request to resume a cross-validation, with its number of folds."""
    out = Path(request.out)
    if request.resume and request.folds is None and cross_validation.is_cross_validation(out):
        return replace(request, folds=int(cross_validation.read(out)[0]["folds"]))
    return request
