"""The assessment of a conversion: the pictures of its run -> a network with an outlier score, and the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ..edge_runtime.interpreter import Interpreter
from ..edge_runtime.network import Network
from ..edge_runtime.preprocess import InputSpec
from ..edge_runtime.quantization import quantize
from ..train.recipes.recipe import METADATA_ONLY
from ..train.streams import Stream, number
from .assess import fit, head
from .stage import Stage
from .tflite.answers import Pictures

Report = Callable[[str], None]


@dataclass(frozen=True)
class Found:
    """What was found for a network.

    Attributes:
        network: With the output `outlier_score`; as it was where no head is wanted.
        degraded: What becomes of the validation pictures, step by step.
        said: Of the head, for the contract and for people; empty without.
        spec: Of the pictures that were degraded.
    """

    network: bytes
    degraded: fit.Degraded
    said: dict[str, Any]
    spec: InputSpec


def why_not(stage: Stage) -> str | None:
    """Why a conversion gets no assessment; None where it can get one."""
    settings, run = stage.settings, stage.run
    if not settings.assessment:
        return "--no-assessment"
    if run.recipe.backbone == METADATA_ONLY:
        return "the answer does not depend on the picture"
    if settings.precision == "w8a16":
        return "w8a16 takes hundreds of milliseconds an answer, and thousands are needed"
    for part, fewest in (("train", fit.FEWEST_TRAINING), ("val", fit.FEWEST_VALIDATION)):
        count = len(run.part(part))
        if count < fewest:
            return f"{count} {part} pictures are too few to say what a good one is: {fewest} are needed"
    return None


def find(stage: Stage, network: bytes) -> Found:
    """The head of a finished network, and how bad its pictures may be.

    Args:
        stage: The conversion.
        network: With its final outputs.

    Raises:
        DataError: Where a picture cannot be read.
    """
    rows = _some(stage.run.part("train"), fit.MOST_TRAINING, stage.run.seed)
    training = stage.pictures_of(rows, "training")
    material = fit.Material(
        network,
        stage.spec,
        training.pixels,
        list(rows["path"]),
        stage.validation.pixels,
        _nothing_known(stage, network),
        stage.run.seed,
        stage.report,
    )
    # A microcontroller's file has one output, which its port reads.
    return found_in(material, with_head=not stage.settings.micro)


def found_in(material: fit.Material, *, with_head: bool) -> Found:
    """As `find`, of any network.

    Args:
        material: The network and its pictures.
        with_head: Whether it gets an outlier score.
    """
    network = material.network
    tensors = head.layers(network) if with_head else []
    layers = fit.Layers(material, tensors)
    degraded = fit.degrade(material, layers)
    if not tensors:
        return Found(network, degraded, {}, material.spec)
    found, said = fit.fit_head(material, tensors, layers, degraded)
    parsed = Network(network)
    sources, targets = ([tensor.name for tensor in ends] for ends in (parsed.inputs, parsed.outputs))
    return Found(head.attach(network, found, sources, targets), degraded, said, material.spec)


def described(
    found: Found,
    network: bytes,
    spec: InputSpec,
    pictures: Pictures,
    vectors: npt.NDArray[np.float32] | None,
    where: str,
    report: Report,
) -> dict[str, Any]:
    """The contract's `assessment`.

    Args:
        found: Of the network, or of that which it has a front end before.
        network: The finished one.
        spec: Of its pictures.
        pictures: The validation part's.
        vectors: What is known of their patients, [n, length]; None where the network takes none.
        where: Which pictures these are, in words.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
    """
    features = fit.measured(
        pictures, lambda done: report(f"\rmeasuring the pictures: {done}") if not done % 200 else None
    )
    scores, moved = fit.score_of(network, spec, pictures, vectors, report) if found.said else (None, 0.0)
    larger = (spec.height, spec.width) != (found.spec.height, found.spec.width)
    return {**fit.described(features, scores, moved, found.degraded, where, larger=larger), **found.said}


def _some(rows: pd.DataFrame, most: int, seed: int) -> pd.DataFrame:
    """At most so many rows, and rare classes whole before frequent ones: none is to be refused for being rare."""
    if len(rows) <= most:
        return rows
    shuffled = rows.sample(frac=1, random_state=number(seed, Stream.ASSESSED_PICTURES) % 2**32)
    rank = shuffled.groupby("label").cumcount()
    return shuffled.loc[rank.sort_values(kind="stable").index[:most]]


def _nothing_known(stage: Stage, network: bytes) -> tuple[npt.NDArray[Any], ...]:
    if stage.run.encoding is None:
        return ()
    tensor = Interpreter(network).inputs[1]
    vector = stage.run.encoding.encode(None)
    return (
        (quantize(vector, tensor.quantization, tensor.dtype) if tensor.quantization.is_quantized else vector)[None],
    )
