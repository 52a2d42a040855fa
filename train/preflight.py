"""What can be wrong with a training, told before its data are read: minutes are not to end in a typing error."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..edge_runtime import files
from ..edge_runtime.errors import UsageError, require

if TYPE_CHECKING:
    from .recipes.recipe import Recipe

_PACKAGES = ("tensorflow", "tf_keras", "sklearn", "scipy", "h5py", "matplotlib", "cv2", "imagehash")
_SIGNATURES = {".h5": b"\x89HDF\r\n\x1a\n", ".hdf5": b"\x89HDF\r\n\x1a\n", ".keras": b"PK"}


def check_call(weights: str) -> None:
    """Packages and the file of weights, in milliseconds. Raises MissingExtraError or UsageError."""
    require(*_PACKAGES)
    _check_weights(weights)


def check_folders(cache: Path | None, tensorboard: Path | None) -> None:
    """Makes the folders that are to be written. Raises UsageError where they cannot be."""
    for flag, folder in (("--cache", cache), ("--tensorboard", tensorboard)):
        if folder is not None:
            files.check_writable_in(folder, flag)


def check_network(recipe: Recipe) -> None:
    """Builds the backbone with its weights once: whether they fit, and can be downloaded. Imports TensorFlow.

    Raises UsageError or DataError. The names of layers that Keras counts begin again after it.
    """
    from .engine import keras
    from .models import networks

    networks.build(recipe.backbone, (*recipe.image_size, 3), recipe.width, recipe.weights)
    keras.backend.clear_session()


def _check_weights(weights: str) -> None:
    if weights in ("imagenet", "none"):
        return
    path = Path(weights)
    if not path.is_file():
        raise UsageError(f"--weights {weights}: no such file; else 'imagenet' or 'none'")
    signature = _SIGNATURES.get(path.suffix.lower())
    try:
        with path.open("rb") as file:
            begins = file.read(8)
    except OSError as error:
        raise UsageError(f"--weights {weights} cannot be read: {error.strerror}") from None
    if signature is None or not begins.startswith(signature):
        raise UsageError(f"--weights {weights} is not a file of Keras' weights (.h5 or .keras)")
