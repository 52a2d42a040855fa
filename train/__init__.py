"""Floor 3: labelled images -> a trained run.

from skin_edge.train import TrainRequest, train
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import plan as make_plan
    from .api import train
    from .request import TrainRequest

__all__ = ["TrainRequest", "make_plan", "train"]

# Loaded when they are asked for: a command that needs none of it starts without.
_WHERE = {"train": ("api", "train"), "make_plan": ("api", "plan"), "TrainRequest": ("request", "TrainRequest")}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(f".{module}", __name__), attribute)
