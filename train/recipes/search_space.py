"""What a recipe lets a search vary: one small value per setting, so that the space is data beside the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...edge_runtime.errors import UsageError


@dataclass(frozen=True)
class Log:
    """A number in low .. high, both included, drawn evenly on a logarithmic scale. low is above 0."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise UsageError(f"Log({self.low}, {self.high}): low must be above 0 and below high")

    def to_dict(self) -> dict[str, Any]:
        return {"log": [self.low, self.high]}


@dataclass(frozen=True)
class Between:
    """A number in low .. high, both included, drawn evenly. Whole numbers where both limits are ints."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise UsageError(f"Between({self.low}, {self.high}): low must be below high")

    def to_dict(self) -> dict[str, Any]:
        return {"between": [self.low, self.high]}


@dataclass(frozen=True, init=False)
class OneOf:
    """One of several values: OneOf(16, 32, 64) or OneOf("plateau", "cosine")."""

    choices: tuple[Any, ...]

    def __init__(self, *choices: Any):
        if len(choices) < 2:
            raise UsageError(f"OneOf{choices}: a choice needs two values")
        object.__setattr__(self, "choices", choices)

    def to_dict(self) -> dict[str, Any]:
        return {"one_of": list(self.choices)}


Range = Log | Between | OneOf

Space = Mapping[str, Range]
"""Name of a setting, as `Recipe.with_settings` takes it ("dropout", "augmentation.rotation") -> its range."""
