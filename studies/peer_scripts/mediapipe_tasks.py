"""MediaPipe Tasks' ImageClassifier, which reads labels and normalization from the file's TFLite metadata.

Its Python interface has no number of threads.
"""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import mediapipe
import serving
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import ImageClassifier, ImageClassifierOptions

given = serving.settings()


def classify(path: str) -> str:
    result = classifier.classify(mediapipe.Image.create_from_file(path))
    best = result.classifications[0].categories[0]  # the first output's, the most probable first
    return best.category_name or given["labels"][best.index]


with ImageClassifier.create_from_options(ImageClassifierOptions(BaseOptions(given["model"]))) as classifier:
    serving.serve(classify)
