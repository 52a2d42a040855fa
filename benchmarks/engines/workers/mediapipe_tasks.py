"""MediaPipe Tasks' ImageClassifier, which prepares a picture by what the file's TFLite metadata say.

Its Python interface has no number of threads, and gives the scores of the first output alone here.
"""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import importlib.metadata
from typing import Any

import mediapipe
import numpy as np
import protocol
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions


def load(job: dict[str, Any]) -> protocol.Engine:
    classifier = ImageClassifier.create_from_options(ImageClassifierOptions(BaseOptions(job["model"])))
    classes = job["classes"]

    def invoke(values: list[Any]) -> list[Any]:
        picture = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(values[0][0]))
        scores = np.full((1, classes), np.nan, np.float32)  # one that it leaves out is not zero
        for category in classifier.classify(picture).classifications[0].categories:
            scores[0, category.index] = category.score
        return [scores]

    return protocol.Engine(
        invoke,
        [protocol.output("probabilities", np.empty((1, classes), np.float32))],
        f"mediapipe {importlib.metadata.version('mediapipe')}",
        takes="pixels",
    )


if __name__ == "__main__":
    protocol.serve(load)
