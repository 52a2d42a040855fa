"""Pictures that matplotlib draws, in which names are shown as they are, whatever they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from ...edge_runtime import console, files

# matplotlib's own, then fonts with Chinese, Japanese and Korean letters, where they are installed.
_FAMILIES = (
    "DejaVu Sans",
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Zen Hei"),
    *("WenQuanYi Micro Hei", "Droid Sans Fallback", "Microsoft YaHei", "Malgun Gothic", "MS Gothic"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS"),
)


@contextmanager
def picture(path: str | Path, width: float, height: float) -> Iterator[Any]:
    """A matplotlib Figure of `width` x `height` inches to be drawn on; written to `path` in one step at the end."""
    import matplotlib
    from matplotlib.figure import Figure  # without pyplot: no display, no global state

    with matplotlib.rc_context({"font.family": list(_letters())}):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
        yield figure
        with files.replacing(path) as temporary:
            figure.savefig(temporary)


def name(text: object, most: int = 60) -> str:
    """A name as one line that matplotlib draws, of at most `most` columns.

    What no font has is an escape, and a "$" begins no formula.
    """
    known = set[int]().union(*_letters().values())
    shown = (
        letter if ord(letter) in known else letter.encode("unicode_escape").decode("ascii")
        for letter in console.escaped(text)
    )
    return console.fit("".join(shown), most).replace("$", r"\$")


@cache
def _letters() -> dict[str, frozenset[int]]:
    """Of _FAMILIES those that are installed, with the code points that each one has."""
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {
        family: frozenset(font_manager.get_font(font_manager.findfont(family)).get_charmap())
        for family in _FAMILIES
        if family in installed
    }
