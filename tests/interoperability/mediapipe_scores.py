"""mediapipe_scores.py MODEL IMAGE...: what MediaPipe Tasks makes of a model file, as JSON. Runs without skin_edge.

{"metadata": the TFLite metadata as MediaPipe's own schema reads it, "scores": one {label: score} per image}
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mediapipe
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata_schema
from mediapipe.tasks.metadata import schema_py_generated as schema
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions


def main(model: str, images: list[str]) -> None:
    with ImageClassifier.create_from_options(ImageClassifierOptions(BaseOptions(model_asset_path=model))) as classifier:
        scores = [_scores(classifier, image) for image in images]
    json.dump({"metadata": _plain(_metadata(Path(model).read_bytes())), "scores": scores}, sys.stdout)


def _scores(classifier: ImageClassifier, image: str) -> dict[str, float]:
    """The first output's classes, the most probable first."""
    result = classifier.classify(mediapipe.Image.create_from_file(image))
    return {category.category_name: category.score for category in result.classifications[0].categories}


def _metadata(content: bytes) -> Any:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffers = [entry.buffer for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    assert len(buffers) == 1, f"{len(buffers)} entries TFLITE_METADATA"
    packed = bytes(bytearray(model.buffers[buffers[0]].data))
    assert metadata_schema.ModelMetadata.ModelMetadataBufferHasIdentifier(packed, 0)
    return metadata_schema.ModelMetadataT.InitFromPackedBuf(packed, 0)


def _plain(value: Any) -> Any:
    """The schema's objects as dictionaries, lists, texts and numbers; what is not there is left out."""
    if isinstance(value, bytes):
        return value.decode()
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if hasattr(value, "__dict__"):
        return {name: _plain(item) for name, item in vars(value).items() if item is not None}
    return value


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
