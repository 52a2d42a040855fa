"""Pictures of one request -> the records of their answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from ...edge_runtime import heatmap
from ...edge_runtime.answers import record
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import PredictionError, SkinEdgeError


def records(
    classifier: SkinClassifier,
    pictures: Sequence[tuple[str, bytes]],
    metadata: Mapping[str, str] | None,
    *,
    with_map: bool,
    until: float,
    assess_anything: bool = False,
) -> list[dict[str, Any]]:
    """One record for each picture, in their order; a picture that cannot be assessed does not stop the others.

    Args:
        classifier: That no other request uses meanwhile.
        pictures: Name as the client gave it, bytes of the file.
        metadata: Of the patient, the same for all.
        with_map: Whether each record has its class activation map, "heatmap": a PNG as a data URL, None where the model
            has no map. One that cannot be assessed has none.
        until: As `time.monotonic` counts; a picture whose turn comes later is not assessed.
        assess_anything: Whether a picture beyond the model's limits is answered all the same, with its reasons.

    Raises:
        MetadataError: Where the model takes no such metadata.
    """
    if metadata:
        classifier.to_vector(metadata)  # what is wrong with it is wrong for every picture

    def answered(name: str, content: bytes) -> dict[str, Any]:
        try:
            if monotonic() > until:
                raise PredictionError("cannot assess: the time for this request was over; send fewer pictures in one")
            return _record(classifier, name, content, metadata, with_map=with_map, assess_anything=assess_anything)
        except SkinEdgeError as error:
            return record(name, error)

    return [answered(name, content) for name, content in pictures]


def _record(
    classifier: SkinClassifier,
    name: str,
    content: bytes,
    metadata: Mapping[str, str] | None,
    *,
    with_map: bool,
    assess_anything: bool,
) -> dict[str, Any]:
    if not with_map or not classifier.has_map:
        told = record(name, classifier.predict(content, metadata), assess_anything=assess_anything)
        return {**told, "heatmap": None} if with_map and "error" not in told else told
    prediction, activation = classifier.predict_with_map(content, metadata)
    told = record(name, prediction, assess_anything=assess_anything)
    if "error" in told:
        return told
    return {**told, "heatmap": _data_url(heatmap.of_label(classifier, content, prediction.label, activation))}


def _data_url(drawn: Any) -> str:
    png = io.BytesIO()
    drawn.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode("ascii")
