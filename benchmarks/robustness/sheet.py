"""One picture under every kind and at every strength, with the model's answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ...edge_runtime.errors import DataError, ImageError
from ..inputs.cases import Case
from ..report import sheets
from .distortions import KINDS, STRENGTHS
from .measure import upright, versions


def draw(result: Mapping[str, Any]) -> Image.Image:
    """The sheet, RGB: two kinds a row, each as the picture is and at its three strengths.

    Args:
        result: What `measure_robustness` returned for a model; its example is read again.

    Raises:
        DataError: Where the picture is not there any more.
    """
    return sheets.sheet(_cells(result), columns=8, lines=3)


def _cells(result: Mapping[str, Any]) -> Iterator[tuple[Image.Image, str]]:
    example = result["example"]
    case = Case(Path(example["path"]), example["image_id"], "", example["truth"], "")
    try:
        pixels, _ = upright(case)
    except ImageError as error:
        raise DataError(f"the picture of the sheet cannot be read again: {error}") from None
    first = Image.fromarray(pixels), f"{case.image_id}\nas it is; truth {case.label}\n{_said(example['answers'][0])}"
    pairs = zip(versions(pixels, case.image_id, result["seed"]), example["answers"], strict=True)
    for (kind, strength, worse), answer in pairs:
        if strength == STRENGTHS[0]:
            yield first
        if kind:
            yield Image.fromarray(worse), f"{kind} {strength}\n{KINDS[kind].levels[strength - 1]}\n{_said(answer)}"


def _said(answer: Mapping[str, Any]) -> str:
    answered = f"{answer['label']} {answer['probability']:.2f}"
    return f"refused: {', '.join(answer['reasons'])}" if answer["reasons"] else answered
