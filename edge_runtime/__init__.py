"""The device floor: a .tflite file and a picture -> a prediction. No TensorFlow.

from skin_edge.edge_runtime import SkinClassifier
print(SkinClassifier("model_int8.tflite").predict("photo.jpg").label)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .classifier import Decision, Prediction, SkinClassifier
    from .errors import ImageError, MetadataError, ModelFileError, PredictionError, SkinEdgeError

__all__ = [
    "Decision",
    "ImageError",
    "MetadataError",
    "ModelFileError",
    "Prediction",
    "PredictionError",
    "SkinClassifier",
    "SkinEdgeError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `skin-edge --help` needs neither NumPy nor Pillow.
    if name in ("Decision", "Prediction", "SkinClassifier"):
        import gc

        # What an import makes stays: a collector that walks it meanwhile finds nothing, and takes 2 % of a start.
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            from . import classifier
        finally:
            if was_enabled:
                gc.enable()
        return getattr(classifier, name)
    if name in __all__:
        from . import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # what interactive shells complete
