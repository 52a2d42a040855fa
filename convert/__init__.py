"""Floor 4: a trained run -> a .tflite that an app can embed, with the proof that it is right.

from skin_edge.convert import ConvertSettings, convert
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job import convert
    from .settings import ConvertSettings

__all__ = ["ConvertSettings", "convert"]

_WHERE = {"ConvertSettings": "settings", "convert": "job"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
