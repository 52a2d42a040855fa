"""The packaged models: one family in up to three sizes, each called by name wherever a model is given.

A member is two files in models/, the .tflite and its model card; adding them adds the member.
"""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ModelFileError

NAMES = ("small", "default", "large")
"""By size. `there` says which are in this installation."""

DEFAULT = "default"
"""The one that answers where no model is named."""

_FOLDER = Path(__file__).with_name("models")


def file_of(name: str) -> Path:
    """Where the .tflite of a member is, or would be.

    Args:
        name: One of NAMES.
    """
    return _FOLDER / f"skin_edge_{name}_int8.tflite"


def card_of(name: str) -> Path:
    """Where the model card of a member is, or would be.

    Args:
        name: One of NAMES.
    """
    return _FOLDER / ("MODEL_CARD.md" if name == DEFAULT else f"MODEL_CARD_{name}.md")


def member_of(path: Path) -> str | None:
    """The name of the member whose file is called so, wherever it lies; None for any other file."""
    return next((name for name in NAMES if file_of(name).name == path.name), None)


def there() -> tuple[str, ...]:
    """The names whose file is in this installation, by size."""
    return tuple(name for name in NAMES if file_of(name).is_file())


def path_of(model: str | os.PathLike[str] | None) -> Path:
    """The file of a model that somebody named. It is never one of NAMES itself, so that it can be named again.

    Args:
        model: A text that is one of NAMES is that member, whatever lies in the current folder; another text, or a path
            such as Path("small"), is a file. None is the default.

    Raises:
        ModelFileError: Where this installation does not have the member.
    """
    if model is None:
        model = DEFAULT
    if isinstance(model, str) and model in NAMES:
        path = file_of(model)
        if not path.is_file():
            known = f"there: {', '.join(there()) or 'none'}"
            raise ModelFileError(
                f"the packaged model '{model}' is not in this installation; {known} (./{model} is a file or folder)"
            )
        return path
    path = Path(model)
    return path.absolute() if str(path) in NAMES else path
