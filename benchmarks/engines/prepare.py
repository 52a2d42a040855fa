"""What the engines are asked: golden and labelled pictures, prepared once and kept as files that each engine reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ...edge_runtime import preprocess
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import DataError, ImageError, MetadataError, PredictionError
from ..bundle import pictures
from ..inputs.cases import Case
from .verdict import golden_within


@dataclass(frozen=True)
class Prepared:
    """The questions and the reference's answers, a row each: golden pictures first.

    Attributes:
        inputs: Of the network's inputs, and pixels of the pictures: {file, dtype, shape}, as workers/protocol.py takes
            them.
        golden: How many golden pictures.
        cases: The labelled ones behind them.
        failed: Those that cannot be assessed.
        reference: float64 [rows, classes], the device's own runtime with XNNPACK on one thread.
        within: How far from it a golden answer may be (`verdict.golden_within`).
    """

    inputs: Sequence[dict[str, Any]]
    pixels: dict[str, Any]
    golden: int
    cases: Sequence[Case]
    failed: Sequence[dict[str, str]]
    reference: npt.NDArray[np.float64]
    within: float

    def sequence(self, repeats: int) -> list[int]:
        """Which row is asked, step after step.

        Each golden picture is asked `repeats` times, at least 2: half of them in passes of changed order, of which the
        last comes after everything else, the others in a row. Labelled pictures are asked once.
        """
        generator = np.random.default_rng(0)
        passes: list[list[int]] = [generator.permutation(self.golden).tolist() for _ in range(repeats // 2)]
        in_a_row = [row for row in range(self.golden) for _ in range(repeats - len(passes))]
        first = [row for one in passes[:-1] for row in one]
        labelled = list(range(self.golden, self.golden + len(self.cases)))
        return [*first, *in_a_row, *labelled, *passes[-1]]


def prepare(
    classifier: SkinClassifier,
    plain: SkinClassifier | None,
    cases: Sequence[Case],
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Writes the inputs below `folder` and asks the reference.

    Args:
        classifier: With XNNPACK and one thread.
        plain: The same without XNNPACK, None where that is not to be had.
        cases: May be none.
        folder: Where the inputs are written.
        progress: Told (labelled pictures, of how many).

    Raises:
        DataError: Where no case can be assessed.
        PredictionError: Where the reference's answer to a golden picture is not finite.
    """
    spec, sources = classifier.input_spec, classifier.interpreter.inputs
    names = [f"input{i}.bin" for i in range(len(sources))]
    answers: list[npt.NDArray[np.float32]] = []
    plain_answers: list[npt.NDArray[np.float32]] = []
    kept: list[Case] = []
    failed: list[dict[str, str]] = []
    golden = list(pictures.good(spec.height, spec.width).values())
    with _Files(folder, ["pixels.bin", *names]) as files:
        for number, question in enumerate([*golden, *cases]):
            case = question if isinstance(question, Case) else None
            try:
                pixels = preprocess.to_pixels(case.path if case else question, spec)  # pyright: ignore[reportArgumentType]
                tensor, vector = classifier.to_tensor(pixels), _vector(classifier, case)
                answers.append(classifier.invoke(tensor, vector))
                if case is None and plain:
                    plain_answers.append(plain.invoke(tensor, vector))
            except (ImageError, MetadataError, PredictionError) as error:
                if case is None:
                    raise
                failed.append({"image_id": case.image_id, "path": str(case.path), "error": str(error)})
                continue
            tensors = [vector if vector is not None and source.shape == vector.shape else tensor for source in sources]
            files.write([pixels, *tensors])
            if case:
                kept.append(case)
                if progress:
                    progress(number - len(golden) + 1, len(cases))
    if cases and not kept:
        raise DataError(f"none of the {len(cases)} images can be assessed; the first: {failed[0]['error']}")
    inputs: list[dict[str, Any]] = [
        {"file": str(folder / name), "dtype": str(np.dtype(source.dtype)), "shape": list(source.shape[1:])}
        for name, source in zip(names, sources, strict=True)
    ]
    shape = [spec.height, spec.width, 3]
    described = {"file": str(folder / "pixels.bin"), "dtype": "uint8", "shape": shape}
    reference = np.stack(answers).astype(np.float64)
    others = np.stack(plain_answers).astype(np.float64) if plain else reference[: len(golden)]
    within = golden_within(others, reference[: len(golden)])
    return Prepared(inputs, described, len(golden), kept, failed, reference, within)


def _vector(classifier: SkinClassifier, case: Case | None) -> npt.NDArray[Any] | None:
    """The network's second input, where it has one: nothing is known of a golden picture's patient."""
    if case:
        return classifier.row_to_vector(case.metadata)
    return None if classifier.encoding is None else classifier.to_vector(None)


class _Files:
    """Files that rows are added to."""

    def __init__(self, folder: Path, names: Sequence[str]):
        self._paths = [folder / name for name in names]
        self._open: list[BinaryIO] = []

    def __enter__(self) -> _Files:
        self._open = [path.open("wb") for path in self._paths]
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open:
            file.close()

    def write(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        for file, array in zip(self._open, arrays, strict=True):
            file.write(np.ascontiguousarray(array).tobytes())
