"""A class activation map over its picture: where an answer comes from, without gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from . import preprocess

if TYPE_CHECKING:
    from .classifier import Prediction, SkinClassifier

LARGEST = 800  # pixels of the longer side of what is drawn

# Black, blue, magenta, orange, yellow, white: even in lightness, told apart by colour-blind eyes ("inferno"-like).
_COLOURS = np.array([(0, 0, 4), (60, 9, 101), (140, 41, 99), (214, 82, 51), (251, 164, 10), (252, 255, 164)], float)


def overlay(picture: Image.Image, activation: npt.NDArray[np.float32], strength: float = 0.55) -> Image.Image:
    """picture, upright and RGB, with one class's map [rows, columns] laid over it; the longer side at most LARGEST.

    Brightness goes from the map's smallest value to its largest, so two pictures' maps do not compare.

    Args:
        strength: 0..1.
    """
    scale = min(1.0, LARGEST / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    small = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0), np.float64)
    spread = float(activation.max() - activation.min())
    levels = (activation - activation.min()) / spread if spread > 0 else np.zeros_like(activation)
    large = Image.fromarray(levels.astype(np.float32)).resize(size, Image.Resampling.BICUBIC)
    heat = np.minimum(np.maximum(np.asarray(large, np.float64), 0), 1)
    stops = np.linspace(0, 1, len(_COLOURS))
    coloured = np.stack([np.interp(heat, stops, _COLOURS[:, channel]) for channel in range(3)], axis=-1)
    weight = strength * heat[..., None]  # what adds nothing stays visible
    return Image.fromarray((small * (1 - weight) + coloured * weight + 0.5).astype(np.uint8))


def predicted(
    classifier: SkinClassifier, image: str | bytes, metadata: Mapping[str, object] | None = None
) -> tuple[Prediction, Image.Image]:
    """The answer for a picture, and the map of its most probable class over it.

    Args:
        classifier: Of a model that has a map.
        image: Its path, or the bytes of its file.
        metadata: As `SkinClassifier.predict` takes it.

    Raises:
        SkinEdgeError: As `SkinClassifier.predict_with_map` does.
    """
    prediction, activation = classifier.predict_with_map(image, metadata)
    return prediction, of_label(classifier, image, prediction.label, activation)


def of_label(
    classifier: SkinClassifier, image: str | bytes, label: str, activation: npt.NDArray[np.float32]
) -> Image.Image:
    """The map of one class over its picture.

    Args:
        classifier: That gave the map.
        image: As of `predicted`.
        label: Code of the class.
        activation: float32 [rows, columns, classes], as `SkinClassifier.predict_with_map` gives it.
    """
    position = [one.code for one in classifier.labels].index(label)
    return overlay(preprocess.decode(image), activation[..., position])
