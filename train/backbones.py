"""Backbones: the networks below the head. One is one function: (input shape, width, weights) -> Keras model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..edge_runtime.errors import DataError, UnknownNameError, UsageError
from .engine import keras


def mobilenet(shape: tuple[int, int, int], width: float, weights: str | None) -> Any:
    """Howard et al., "MobileNets", arXiv 1704.04861. Inputs in [-1, 1]."""
    return keras.applications.MobileNet(include_top=False, input_shape=shape, alpha=width, weights=weights)


def mobilenetv2(shape: tuple[int, int, int], width: float, weights: str | None) -> Any:
    """Sandler et al., "MobileNetV2", arXiv 1801.04381. Inputs in [-1, 1]."""
    return keras.applications.MobileNetV2(include_top=False, input_shape=shape, alpha=width, weights=weights)


BACKBONES: dict[str, Callable[[tuple[int, int, int], float, str | None], Any]] = {
    "mobilenet": mobilenet,
    "mobilenetv2": mobilenetv2,
}


def build(name: str, shape: tuple[int, int, int], width: float, weights: str) -> Any:
    """A backbone with its weights.

    shape: (height, width, 3) in pixels. width: the width multiplier. weights: "imagenet" (Keras downloads them),
    "none" (random) or a file of Keras weights without the top.

    Raises UnknownNameError for the name; UsageError where the weights cannot be had or are of another network.
    """
    if name not in BACKBONES:
        raise UnknownNameError("backbone", name, BACKBONES)
    if weights in ("imagenet", "none"):
        try:
            return BACKBONES[name](shape, width, "imagenet" if weights == "imagenet" else None)
        except ValueError as error:
            raise UsageError(f"{name} of width {width} at {shape[0]}x{shape[1]}: {_first_line(error)}") from None
        except Exception as error:
            if weights == "imagenet" and "URL fetch failure" in str(error):
                raise UsageError(
                    f"the ImageNet weights of {name} cannot be downloaded here: name a file with --weights FILE, "
                    "or start from random ones with --weights none"
                ) from None
            raise
    if not Path(weights).is_file():
        raise UsageError(f"--weights {weights}: no such file; else 'imagenet' or 'none'")
    backbone = BACKBONES[name](shape, width, None)
    try:
        backbone.load_weights(weights)
    except (ValueError, OSError) as error:
        raise DataError(
            f"{weights} does not fit {name} of width {width} without its top: {_first_line(error)}"
        ) from None
    return backbone


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
