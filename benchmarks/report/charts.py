"""Charts of 360 units width, which are shapes with places: as they are on a phone, larger on a desktop.

Colours are classes of the page's style sheet: "a" to "f", and "ideal". The page's template draws and escapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...edge_runtime import console

KINDS = "abcdef"
WIDTH = 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 10, 26, 34


class Line(NamedTuple):
    """points: (x, y). name: in the legend. kind: its colour. joined: by a line, or dots alone."""

    name: str
    kind: str
    points: Sequence[tuple[float, float]]
    joined: bool = True


class Choice(NamedTuple):
    """One of several: what it costs, what it brings with its interval, and its name."""

    name: str
    cost: float
    gain: float
    bounds: Sequence[float] | None = None


class Shape(NamedTuple):
    """An SVG element: its name, class, attributes and text."""

    tag: str
    kind: str
    places: dict[str, str]
    text: str = ""


@dataclass
class Chart:
    """legend: (name, kind)."""

    title: str
    height: float
    legend: Sequence[tuple[str, str]] = ()
    shapes: list[Shape] = field(default_factory=list[Shape])

    def draw(self, tag: str, kind: str = "", text: str = "", **places: float | str) -> None:
        """Adds a shape.

        Args:
            tag: Of SVG.
            kind: Its class in page.css; "" without.
            text: Its text; "" without.
            places: Attributes; numbers are rounded to 0.1 units, "_" in names is "-".
        """
        said = {
            name.replace("_", "-"): place if isinstance(place, str) else f"{place:.1f}"
            for name, place in places.items()
        }
        self.shapes.append(Shape(tag, kind, said, text))

    def write(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        """Adds a text.

        Args:
            x: In the units of the chart.
            y: In the units of the chart.
            text: What is written.
            anchor: "start", "middle" or "end".
        """
        self.draw("text", text=text, x=x, y=y, text_anchor=anchor)


def lines(
    title: str,
    across: str,
    up: str,
    data: Sequence[Line],
    *,
    height: int = 200,
    from_zero: bool = True,
    dots: bool = True,
) -> Chart:
    """Lines over a common pair of axes.

    Args:
        title: Of the chart.
        across, up: What the axes are, with units.
        data: The lines.
        height: Of the chart, in its units.
        from_zero: Whether the upper axis begins at 0.
        dots: Mark points that are few.
    """
    xs = [x for line in data for x, _ in line.points]
    ys = [y for line in data for _, y in line.points]
    chart = Chart(title, height, [(line.name, line.kind) for line in data])
    at = _axes(chart, across, up, ticks(min(xs), max(xs)), ticks(0 if from_zero else min(ys), max(ys)))
    for line in data:
        places = [at(x, y) for x, y in line.points]
        if line.joined and len(places) > 1:
            chart.draw("polyline", f"line {line.kind}", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places))
        if not line.joined or (dots and len(places) <= 60):
            for x, y in places:
                chart.draw("circle", line.kind, cx=x, cy=y, r=2.5)
    return chart


def trade_off(title: str, across: str, up: str, data: Sequence[Choice], *, height: int = 240) -> Chart:
    """What each choice costs and brings; those on the Pareto front (`front`) are joined by a line.

    Args:
        title: Of the chart.
        across: The cost with its unit, from 0.
        up: What it brings.
        data: The choices.
        height: Of the chart, in its units.
    """
    chart = Chart(title, height)
    lows, highs = zip(*(one.bounds or (one.gain, one.gain) for one in data), strict=True)
    at = _axes(chart, across, up, ticks(0, max(one.cost for one in data)), ticks(min(lows), max(highs)))
    if len(best := front(data)) > 1:
        places = (at(one.cost, one.gain) for one in best)
        chart.draw("polyline", "line ideal", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in places))
    for one in data:
        x, y = at(one.cost, one.gain)
        if one.bounds:
            (_, low), (_, high) = (at(one.cost, bound) for bound in one.bounds)
            chart.draw("line", "line a bar", x1=x, x2=x, y1=low, y2=high)
        chart.draw("circle", "a", cx=x, cy=y, r=4)
        name = console.fit(one.name, 24)  # beside the line, which rises from left to right
        chart.write(x + 8, y + 14, name) if x < WIDTH * 0.7 else chart.write(x - 8, y - 6, name, "end")
    return chart


def front(data: Sequence[Choice]) -> list[Choice]:
    """The Pareto front, by cost: to each, no other choice is at least as good in cost and gain, and better in one."""

    def beaten(one: Choice) -> bool:
        return any(
            other.cost <= one.cost and other.gain >= one.gain and (other.cost, other.gain) != (one.cost, one.gain)
            for other in data
        )

    return sorted((one for one in data if not beaten(one)), key=lambda one: one.cost)


def _axes(
    chart: Chart, across: str, up: str, x_ticks: Sequence[float], y_ticks: Sequence[float]
) -> Callable[[float, float], tuple[float, float]]:
    """Draws them; returns where a value of both lies in the chart.

    Args:
        chart: To draw in.
        across, up: What the axes are, with units.
        x_ticks, y_ticks: From the lowest value to the highest.
    """

    def at(x: float, y: float) -> tuple[float, float]:
        share_x = (x - x_ticks[0]) / ((x_ticks[-1] - x_ticks[0]) or 1)
        share_y = (y - y_ticks[0]) / ((y_ticks[-1] - y_ticks[0]) or 1)
        return (
            _LEFT + share_x * (WIDTH - _LEFT - _RIGHT),
            chart.height - _BOTTOM - share_y * (chart.height - _TOP - _BOTTOM),
        )

    for tick in y_ticks:
        y = at(x_ticks[0], tick)[1]
        chart.draw("line", "grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y)
        chart.write(_LEFT - 5, y + 4, f"{tick:g}", "end")
    for tick in x_ticks:
        chart.write(at(tick, y_ticks[0])[0], chart.height - _BOTTOM + 15, f"{tick:g}", "middle")
    chart.write(WIDTH - _RIGHT, chart.height - 4, across, "end")
    chart.write(2, 10, up)
    return at


def reliability(data: Sequence[tuple[str, str, Sequence[Mapping[str, float]]]], *, height: int = 200) -> Chart:
    """How often answers of a confidence are right. data: (name, kind, the bins of `metrics.calibration`)."""
    drawn = [Line(name, kind, [(row["confidence"], row["accuracy"]) for row in bins]) for name, kind, bins in data]
    diagonal = Line("calibrated", "ideal", [(0.0, 0.0), (1.0, 1.0)])
    return lines("Reliability, 15 bins", "confidence", "accuracy", [diagonal, *drawn], height=height)


def numbered(values: Sequence[float]) -> list[tuple[float, float]]:
    """Points over 1, 2, 3, ..."""
    return [(float(place), value) for place, value in enumerate(values, 1)]


def bars(title: str, names: Sequence[str], data: Sequence[tuple[str, str, Sequence[float | None]]]) -> Chart:
    """Horizontal bars of 0..1 with their number, one group per name. data: (name, kind, a value per name)."""
    thick, gap, left = 13, 9, 82
    group = thick * len(data) + gap
    chart = Chart(title, group * len(names) + 6, [(name, kind) for name, kind, _ in data])
    for i, name in enumerate(names):
        top = i * group + gap / 2
        chart.write(left - 6, top + thick * len(data) / 2 + 4, console.fit(name, 12), "end")
        for k, (_, kind, values) in enumerate(data):
            value = values[i]
            y = top + k * thick
            length = (value or 0) * (WIDTH - left - 44)
            chart.draw("rect", kind, x=left, y=y, width=length, height=thick - 2)
            chart.write(left + length + 4, y + thick - 3, "no images" if value is None else f"{value:.3f}")
    return chart


def intervals(title: str, names: Sequence[str], data: Sequence[tuple[float | None, Sequence[float] | None]]) -> Chart:
    """A dot and its interval per name, on an axis from 0 to 1. data: (value, (low, high)) per name."""
    left, wide = 30, 310
    chart = Chart(title, 22 * len(data) + 26)
    for number, (name, (value, bounds)) in enumerate(zip(names, data, strict=True)):
        y = 16 + 22 * number
        chart.write(left - 10, y + 4, name, "end")
        chart.draw("line", "grid", x1=left, x2=left + wide, y1=y, y2=y)
        if value is None:
            chart.write(left, y - 3, "not defined")
            continue
        if bounds:
            chart.draw("line", "line a bar", x1=left + wide * bounds[0], x2=left + wide * bounds[1], y1=y, y2=y)
        chart.draw("circle", "a", cx=left + wide * value, cy=y, r=4)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        chart.write(left + wide * tick, chart.height - 6, f"{tick:g}", "middle")
    return chart


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers with even distances, the first at most `low` and the last at least `high`."""
    if high <= low:
        high = low + (abs(low) or 1)
    rough = (high - low) / 4
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
