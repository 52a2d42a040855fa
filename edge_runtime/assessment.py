"""Whether a picture can be assessed at all: docs/contract.md, section 12.

Integers measured on the picture of the network's input size, and the network's own `outlier_score`, against limits that
the file holds. What fails one is "cannot assess", with the reason and what to do about it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .errors import ModelFileError

if TYPE_CHECKING:
    import numpy.typing as npt

    Plane = npt.NDArray[np.uint8]

VERSION = 1
"""Of the features' definitions: a reader refuses a file with another."""

OUTLIER_SCORE = "outlier_score"
"""The network's output [1, 1] that says how unlike the training pictures a picture is; the higher the less alike."""

FEATURES = (
    "luma",
    "black",
    "white",
    "clipped",
    "red_green",
    "blue_green",
    "contrast",
    "detail",
    "ridges",
)
"""What `measure` gives, in its order."""

_BLACK, _WHITE, _CLIPPED = 24, 250, 254  # levels
_RIDGE, _REACH = 20, 3  # levels that a hair is darker than both sides of it, pixels to either side


@dataclass(frozen=True)
class Reason:
    """Why a picture cannot be assessed.

    Attributes:
        reason: The code, such as "too_dark".
        text: In words, such as "too dark".
        remedy: What to do about it, such as "more light".
    """

    reason: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """One limit.

    Attributes:
        feature: One of FEATURES, or OUTLIER_SCORE.
        below: A smaller value fails; None where there is no such limit.
        above: A larger one fails; None where there is no such limit.
    """

    feature: str
    below: float | None
    above: float | None
    reason: Reason

    def fails(self, value: float) -> bool:
        """value: of the feature."""
        return (self.below is not None and value < self.below) or (self.above is not None and value > self.above)


def measure(pixels: npt.NDArray[np.uint8]) -> dict[str, int]:
    """FEATURES of a picture, each an integer: the same in every port.

    Args:
        pixels: uint8 [height, width, 3], RGB, of the network's input size: what `preprocess.to_pixels` returns.
    """
    height, width = pixels.shape[:2]
    n = height * width
    red, green, blue = (np.ascontiguousarray(pixels[..., channel]) for channel in range(3))
    sums = [_sum(plane) for plane in (red, green, blue)]
    total = sum(sums) + 1
    at_most = list(accumulate(Image.fromarray(green).histogram()))  # value -> pixels; NumPy takes twice the time
    low, high = (bisect_left(at_most, -(-percent * n // 100)) for percent in (5, 95))
    # Columns are compared in whole rows, which are contiguous, and rows as the columns of the picture turned.
    turned: Plane = np.ascontiguousarray(np.swapaxes(green, 0, 1))
    return {
        "luma": (77 * sums[0] + 150 * sums[1] + 29 * sums[2]) // n,
        "black": 10000 * at_most[_BLACK - 1] // n,
        "white": 10000 * _count(np.minimum(np.minimum(red, green), blue) >= _WHITE) // n,
        "clipped": 10000 * _count(np.maximum(np.maximum(red, green), blue) >= _CLIPPED) // n,
        "red_green": 1000 * (sums[0] - sums[1]) // total,
        "blue_green": 1000 * (sums[2] - sums[1]) // total,
        "contrast": high - low,
        "detail": min(_detail(green), _detail(turned)),
        "ridges": 10000 * (_ridges(green) + _ridges(turned)) // n,
    }


def _sum(values: npt.NDArray[np.uint8]) -> int:
    return int(values.sum(dtype=np.uint32))  # 4,096 x 4,096 bytes fit; uint64 takes twice the time


def _count(found: npt.NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(found))


def _detail(plane: Plane) -> int:
    """Of neighbours in a column, how different they are, per mille of what those 4 pixels apart are."""
    near, far = (_sum(_difference(plane[step:], plane[:-step])) for step in (1, 4))
    return 1000 * near // (far + plane.size // 8 + 1)


def _difference(one: Plane, other: Plane) -> Plane:
    return np.maximum(one, other) - np.minimum(one, other)


def _ridges(plane: Plane) -> int:
    """Pixels of a column that are darker than those 3 above and 3 below."""
    above, middle, below = plane[: -2 * _REACH], plane[_REACH:-_REACH], plane[2 * _REACH :]
    around = np.minimum(above, below)
    return _count(around - np.minimum(around, middle) > _RIDGE)


def checks_of(contract: Mapping[str, Any]) -> tuple[Check, ...]:
    """The limits that a contract holds; none where it has no `assessment`.

    Raises:
        ModelFileError: Where they are malformed, or of another version or feature than this reader measures.
    """
    found: Any = contract.get("assessment") if contract.get("format_version", 0) >= 6 else None
    if found is None:
        return ()
    try:
        version, rows = found["version"], found["checks"]
        checks = tuple(_check(row) for row in rows)
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ModelFileError("its contract has a malformed 'assessment'") from None
    if version != VERSION or type(version) is not int or not isinstance(rows, list):
        raise ModelFileError(f"its assessment is of version {version!r}, this reader's is {VERSION}: update skin-edge")
    return checks


def _check(row: Mapping[str, Any]) -> Check:
    below, above = row.get("below"), row.get("above")
    texts = [row[name] for name in ("reason", "text", "remedy")]
    if row["feature"] not in (*FEATURES, OUTLIER_SCORE) or (below is None and above is None):
        raise ValueError("no such check")
    if not all(isinstance(text, str) and text.isprintable() and len(text) <= 200 for text in texts) or "" in texts[:2]:
        raise ValueError("no such text")
    low, high = (None if limit is None else _number(limit) for limit in (below, above))
    return Check(row["feature"], low, high, Reason(*texts))


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("no number")
    return value


def failed(checks: Sequence[Check], features: Mapping[str, float]) -> tuple[Reason, ...]:
    """The reasons of the checks that fail, each code once, in the order of the checks.

    Args:
        checks: `checks_of`'s.
        features: `measure`'s, and the value of OUTLIER_SCORE where the network has it.
    """
    found: dict[str, Reason] = {}
    for check in checks:
        if check.fails(features[check.feature]):
            found.setdefault(check.reason.reason, check.reason)
    return tuple(found.values())


def in_words(reasons: Sequence[Reason]) -> str:
    """ "cannot assess: too dark (more light); ..."; empty for no reasons.

    Args:
        reasons: `failed`'s.
    """
    listed = "; ".join(f"{reason.text} ({reason.remedy})" if reason.remedy else reason.text for reason in reasons)
    return f"cannot assess: {listed}" if listed else ""
