"""Charts as inline SVG, 360 units wide: as they are on a phone, larger on a desktop.

Colours are classes of the page's style sheet. Every text is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...edge_runtime import console
from .escapes import html_text

_WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 26, 34


class Line(NamedTuple):
    """points: (x, y). name: in the legend. kind: "a" or "b", the colour. joined: by a line, or dots alone."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]
    joined: bool = True


def lines(
    title: str,
    across: str,
    up: str,
    data: Sequence[Line],
    *,
    height: int = 200,
    from_zero: bool = True,
    dots: bool = True,
) -> str:
    """Lines over a common pair of axes. across, up: what the axes are, with units. dots: mark points that are few."""
    xs = [x for line in data for x, _ in line.points]
    ys = [y for line in data for _, y in line.points]
    x_ticks, y_ticks = ticks(min(xs), max(xs)), ticks(0 if from_zero else min(ys), max(ys))
    low_x, high_x = min(min(xs), x_ticks[0]), max(max(xs), x_ticks[-1])

    def at(x: float, y: float) -> tuple[float, float]:
        share_x = (x - low_x) / ((high_x - low_x) or 1)
        share_y = (y - y_ticks[0]) / ((y_ticks[-1] - y_ticks[0]) or 1)
        return (
            _LEFT + share_x * (_WIDTH - _LEFT - _RIGHT),
            height - _BOTTOM - share_y * (height - _TOP - _BOTTOM),
        )

    parts: list[str] = []
    for tick in y_ticks:
        y = at(low_x, tick)[1]
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 5, y + 4, f"{tick:g}", "end"))
    for tick in x_ticks:
        parts.append(_text(at(tick, y_ticks[0])[0], height - _BOTTOM + 15, f"{tick:g}", "middle"))
    parts.append(_text(_WIDTH - _RIGHT, height - 4, across, "end"))
    parts.append(_text(2, 10, up))
    for line in data:
        places = [at(x, y) for x, y in line.points]
        if line.joined and len(places) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline class="line {line.kind}" points="{path}"/>')
        if not line.joined or (dots and len(places) <= 60):
            parts += [f'<circle class="{line.kind}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in places]
    return _figure(title, [(line.name, line.kind) for line in data], height, parts)


def bars(title: str, names: Sequence[str], data: Sequence[tuple[str, str, Sequence[float | None]]]) -> str:
    """Horizontal bars of 0..1 with their number, one group per name. data: (name, kind, a value per name)."""
    thick, gap, left = 13, 9, 82
    group = thick * len(data) + gap
    height = group * len(names) + 6
    parts: list[str] = []
    for i, name in enumerate(names):
        top = i * group + gap / 2
        parts.append(_text(left - 6, top + thick * len(data) / 2 + 4, console.fit(name, 12), "end"))
        for k, (_, kind, values) in enumerate(data):
            value = values[i]
            y = top + k * thick
            length = (value or 0) * (_WIDTH - left - 44)
            parts.append(f'<rect class="{kind}" x="{left}" y="{y:.1f}" width="{length:.1f}" height="{thick - 2}"/>')
            parts.append(_text(left + length + 4, y + thick - 3, "no images" if value is None else f"{value:.3f}"))
    return _figure(title, [(name, kind) for name, kind, _ in data], height, parts)


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers with even distances, the first at most `low` and the last at least `high`."""
    if high <= low:
        high = low + (abs(low) or 1)
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _figure(title: str, legend: Sequence[tuple[str, str]], height: float, parts: Sequence[str]) -> str:
    keys = "".join(f'<span class="key"><i class="{kind}"></i>{html_text(name)}</span>' for name, kind in legend)
    return (
        f"<figure><figcaption>{html_text(title)} {keys}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{html_text(title)}">{"".join(parts)}</svg>'
        "</figure>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html_text(text)}</text>'
