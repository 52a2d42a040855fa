"""What it costs when an app prepares the picture otherwise than the contract says."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...edge_runtime import preprocess
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import DataError, ImageError, MetadataError, PredictionError
from ...edge_runtime.preprocess import InputSpec
from ..inputs.cases import Case, groups_of
from ..stats import metrics
from .parity import Progress

Pixels = npt.NDArray[np.uint8]

_ORIENTATION_TAG = 0x0112

# EXIF orientation -> what an upright picture looked like before it was turned.
_AS_STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def measure(
    model: SkinClassifier, cases: Sequence[Case], *, bootstrap: int = 1000, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """The right way first, then each of WAYS, then that of an app that ignores the EXIF orientation.

    A row is {way, n, accuracy, balanced_accuracy, agreement, difference, n_turned, measured}: agreement with the right
    way in the top class; difference: `metrics.paired_interval` of balanced accuracy, way minus right. n_turned: images
    with an orientation, in the last row. Where no image has one, its figures are None and `measured` says so. Images
    that cannot be assessed are left out.

    Args:
        model: The model that is measured.
        cases: The labelled images.
        bootstrap: Number of resamples, 0 or more.
        progress: Called with (images done, images in all); None reports nothing.

    Raises:
        DataError: Where none can.
    """
    scores: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in (RIGHT, *WAYS, IGNORES_EXIF)}
    assessed: list[Case] = []
    turned = 0
    for number, case in enumerate(cases, 1):
        try:
            answers, is_turned = _answers(model, case)
        except (ImageError, MetadataError, PredictionError):
            pass  # parity lists it
        else:
            assessed.append(case)
            turned += is_turned
            for name, answer in answers.items():
                scores[name].append(answer)
        if progress:
            progress(number, len(cases))
    if not assessed:
        raise DataError(f"none of the {len(cases)} images can be assessed")
    codes = [label.code for label in model.labels]
    y_true = np.array([codes.index(case.label) for case in assessed])
    groups = groups_of(assessed).drawn
    right = np.stack(scores[RIGHT])
    rows: list[dict[str, Any]] = []
    for name, answers in scores.items():
        figures: dict[str, Any] = dict.fromkeys(("accuracy", "balanced_accuracy", "agreement", "difference"))
        measured = "no image has an EXIF orientation to ignore"
        if name != IGNORES_EXIF or turned:
            figures, measured = _figures(y_true, right, np.stack(answers)), "all images"
            if name != RIGHT:
                paired = metrics.paired_interval(y_true, right, np.stack(answers), groups, bootstrap=bootstrap)
                figures["difference"] = paired["balanced_accuracy"]
        n_turned = turned if name == IGNORES_EXIF else None
        rows.append({"way": name, "n": len(assessed), "n_turned": n_turned, **figures, "measured": measured})
    return rows


def _answers(model: SkinClassifier, case: Case) -> tuple[dict[str, npt.NDArray[np.float32]], bool]:
    """(way -> the model's answer, whether the picture has an orientation)."""
    spec, known = model.input_spec, model.row_to_vector(case.metadata)
    upright = preprocess.decode(case.path)
    stored = _as_stored(case, upright)
    ways: dict[str, Callable[[Image.Image, InputSpec], Pixels]] = {RIGHT: preprocess.resize, **WAYS}
    answers = {name: model.invoke(model.to_tensor(way(upright, spec)), known) for name, way in ways.items()}
    answers[IGNORES_EXIF] = (
        answers[RIGHT] if stored is None else model.invoke(model.to_tensor(preprocess.resize(stored, spec)), known)
    )
    return answers, stored is not None


def _figures(
    y_true: npt.NDArray[np.intp], right: npt.NDArray[np.float32], ours: npt.NDArray[np.float32]
) -> dict[str, Any]:
    points = metrics.resampled(y_true, [ours], None, bootstrap=0, seed=0)[0]
    return {
        "accuracy": float(points["accuracy"][0]),
        "balanced_accuracy": float(points["balanced_accuracy"][0]),
        "agreement": metrics.agreement(right, ours),
        "difference": None,
    }


def nearest(upright: Image.Image, spec: InputSpec) -> Pixels:
    """Nearest neighbour, as OpenCV and TensorFlow pick it: source pixel floor(position * source / target)."""
    source = np.asarray(upright)
    rows = np.arange(spec.height) * source.shape[0] // spec.height
    columns = np.arange(spec.width) * source.shape[1] // spec.width
    return source[rows[:, None], columns]


def bilinear(upright: Image.Image, spec: InputSpec, *, half_pixel: bool) -> Pixels:
    """Bilinear between the four nearest pixels, however much the picture shrinks: no antialiasing.

    Args:
        half_pixel: A pixel's middle is at +0.5, as in OpenCV's INTER_LINEAR and Android's Bitmap; else source = target
            * ratio, as in TensorFlow 1's resize_bilinear.
    """
    source = np.asarray(upright).astype(np.float32)
    top, bottom, down = _neighbours(source.shape[0], spec.height, half_pixel)
    left, right, across = _neighbours(source.shape[1], spec.width, half_pixel)
    down, across = down[:, None, None], across[None, :, None]
    above = source[top[:, None], left] * (1 - across) + source[top[:, None], right] * across
    below = source[bottom[:, None], left] * (1 - across) + source[bottom[:, None], right] * across
    return np.floor(above * (1 - down) + below * down + 0.5).astype(np.uint8)


def centre_square(upright: Image.Image, spec: InputSpec) -> Pixels:
    """The largest square around the middle, then resized as the contract says."""
    side = min(upright.size)
    left, top = (upright.width - side) // 2, (upright.height - side) // 2
    return preprocess.resize(upright.crop((left, top, left + side, top + side)), spec)


def red_and_blue_swapped(upright: Image.Image, spec: InputSpec) -> Pixels:
    """As OpenCV reads a picture: BGR."""
    return np.ascontiguousarray(preprocess.resize(upright, spec)[..., ::-1])


def jpeg_30(upright: Image.Image, spec: InputSpec) -> Pixels:
    """Sent through a JPEG of quality 30 (Pillow's scale, colour at half resolution) before it is resized."""
    buffer = io.BytesIO()
    upright.save(buffer, "JPEG", quality=30, subsampling="4:2:0")
    return preprocess.resize(preprocess.decode(buffer.getvalue()), spec)


RIGHT = "as the contract says"
IGNORES_EXIF = "EXIF orientation ignored"

WAYS: dict[str, Callable[[Image.Image, InputSpec], Pixels]] = {
    "nearest neighbour": nearest,
    "bilinear, no antialiasing": lambda upright, spec: bilinear(upright, spec, half_pixel=True),
    "bilinear, no half pixel": lambda upright, spec: bilinear(upright, spec, half_pixel=False),
    "centre square": centre_square,
    "red and blue swapped": red_and_blue_swapped,
    "JPEG of quality 30": jpeg_30,
}


def _neighbours(
    source: int, target: int, half_pixel: bool
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """(lower pixel, upper pixel, share of the upper) of each of `target` positions along an axis."""
    shift = 0.5 if half_pixel else 0.0
    positions = np.minimum(np.maximum((np.arange(target) + shift) * (source / target) - shift, 0), source - 1)
    lower = np.floor(positions).astype(np.intp)
    return lower, np.minimum(lower + 1, source - 1), (positions - lower).astype(np.float32)


def _as_stored(case: Case, upright: Image.Image) -> Image.Image | None:
    """The picture as it is in the file; None where it has no orientation."""
    try:
        opened: Any = Image.open(case.path)
        with opened as image:
            turn = _AS_STORED.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return None  # a damaged EXIF block, which `decode` ignores as well
    return None if turn is None else upright.transpose(turn)
