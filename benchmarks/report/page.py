"""The result of a benchmark as one HTML page that needs nothing else: no script, no font, no file beside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...edge_runtime import preprocess
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.errors import ImageError
from . import charts
from .escapes import html_text
from .parts import Part, heading, parts
from .sections import Section, Table
from .terminal import shown_classes

# Of the flipped images, shared by the models; a page of a few megabytes can still be mailed.
MOST_PICTURES = 60
_THUMBNAIL = 128  # pixels, the longer side

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --paper: #fff; --soft: #5b6570; --rule: #d9dee3; --band: #f4f6f8;
  --a: #1f6f8b; --b: #d08a2e; --bad: #b3261e; --good: #23744a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --paper: #14181c; --soft: #9aa5b0; --rule: #333b43;
  --band: #1d2329; --a: #5fb3cf; --b: #e0a652; --bad: #ff8a80; --good: #7fd0a0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 16px; max-width: 1080px; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; }
h2.part { font-size: 1.4rem; margin-top: 3.2rem; padding-top: .8rem; border-top: 2px solid var(--rule); }
h3 { font-size: 1.1rem; margin: 1.6rem 0 .5rem; }
.disclaimer { font-weight: 600; margin: .25rem 0 1rem; }
.soft { color: var(--soft); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; }
nav a { color: var(--a); padding: .3rem 0; }
ul { margin: .4rem 0 .8rem; padding-left: 1.2rem; }
.scroll { overflow-x: auto; margin: 0 0 1rem; border: 1px solid var(--rule); border-radius: 6px; max-width: 100%; }
.scroll:focus-visible { outline: 2px solid var(--a); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .5rem .6rem; font-weight: 600; }
th, td { padding: .35rem .6rem; border-top: 1px solid var(--rule); text-align: left; vertical-align: top; }
thead th { background: var(--band); border-top: 0; font-weight: 600; }
tbody th { font-weight: 500; min-width: 6rem; }
tbody th, thead th:first-child { position: sticky; left: 0; background: var(--paper); }
thead th:first-child { background: var(--band); }
tbody tr:first-child > * { border-top: 0; }
td, th { overflow-wrap: break-word; }
td.n, th.n { text-align: right; overflow-wrap: normal; } td.n span { white-space: nowrap; }
td.long { min-width: 9rem; }
.bad { color: var(--bad); font-weight: 600; } .good { color: var(--good); font-weight: 600; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); gap: 1rem; }
figure { margin: 0 0 1rem; } figcaption { font-size: .9rem; font-weight: 600; margin-bottom: .3rem; }
svg { width: 100%; height: auto; max-width: 480px; display: block; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: var(--rule); } .line { fill: none; stroke-width: 1.5; }
.line.ideal { stroke: var(--soft); stroke-dasharray: 4 3; } circle.ideal { fill: none; }
i.ideal { background: var(--soft); }
.line.a { stroke: var(--a); } .line.b { stroke: var(--b); }
rect.a, circle.a { fill: var(--a); } rect.b, circle.b { fill: var(--b); }
.key { font-weight: 400; margin-left: .6rem; white-space: nowrap; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .3em; border-radius: 2px; }
i.a { background: var(--a); } i.b { background: var(--b); }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(136px, 1fr)); gap: .8rem; padding: 0;
  margin: 0 0 1rem; }
.sheet li { list-style: none; border: 1px solid var(--rule); border-radius: 6px; padding: .4rem; font-size: .8rem;
  line-height: 1.35; }
.sheet span { white-space: nowrap; }
.sheet img { display: block; width: 100%; height: 112px; object-fit: contain; background: var(--band);
  margin-bottom: .3rem; }
@media (max-width: 480px) { table { font-size: .8rem; } th, td { padding: .3rem .4rem; }
  tbody th { min-width: 4.6rem; } }
@media print { .scroll { overflow: visible; } h2 { break-after: avoid; } }
"""


def page(result: Mapping[str, Any]) -> str:
    """result: what `bench.run_bench` or `bench.run_benches` returned.

    The flipped images are read from where they lie.
    """
    found = parts(result)
    links = "".join(
        f'<a href="#{name}">{html_text(text)}</a>'
        for part in found
        for name, text in (
            [(part.name, part.title)] if part.title else [(one.name, one.title) for one in part.sections]
        )
    )
    name = heading(result)
    machine = result["machine"]
    where = machine["board"] or machine["cpu"] or machine["architecture"] or "an unknown machine"
    body = "".join(_part(part, MOST_PICTURES // len(result.get("models", [1]))) for part in found)
    header = (
        f"<header><h1>{html_text(name)}</h1>\n"
        f'<p class="soft">skin-edge bench on {html_text(where)}, {html_text(result["measured_at"])}</p>\n'
        f'<p class="disclaimer">{html_text(DISCLAIMER)}</p>\n<nav>{links}</nav></header>\n'
    )
    return document(f"{name}: skin-edge bench", f"{header}<main>\n{body}</main>\n")


def document(title: str, body: str, style: str = "") -> str:
    """A whole page around `body`, HTML. style: CSS beside the common one."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # The page asks for nothing from anywhere, and a browser holds it to that.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{html_text(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f"{body}</body>\n</html>\n"
    )


def _part(part: Part, most_pictures: int) -> str:
    if not part.title:
        return "".join(_section(section, section.name, part.result, most_pictures) for section in part.sections)
    body = "".join(
        _section(section, section.name.removeprefix(f"{part.name}-"), part.result, most_pictures, "h3")
        for section in part.sections
    )
    return f'<section id="{part.name}"><h2 class="part">{_breakable(part.title)}</h2>\n{body}</section>\n'


def _section(
    section: Section, kind: str, result: Mapping[str, Any] | None, most_pictures: int, level: str = "h2"
) -> str:
    """kind: the section's name where there is one model. result: None where several stand side by side."""
    notes = "".join(f"<li>{html_text(note)}</li>" for note in section.notes)
    figures = _charts(kind, result) if result else []
    first, *others = [html_table(one, section.title) for one in section.tables]
    return (
        f'<section id="{section.name}"><{level}>{html_text(section.title)}</{level}>\n'
        + (f"<ul>{notes}</ul>\n" if notes else "")
        + (f'<div class="charts">{"".join(figures)}</div>\n' if figures else "")
        + first
        + (_sheet(result["accuracy"]["flipped"], most_pictures) if result and kind == "parity" else "")
        + "".join(others)
        + "</section>\n"
    )


def html_table(table: Table, title: str) -> str:
    """A table as HTML, in a frame that scrolls. title: for who hears the page, where the table has no caption."""
    numbers = [all(_is_number(row[i]) for row in table.rows) for i in range(len(table.columns))]

    def cell(i: int, text: str) -> str:
        # Only long text needs a least width, or it would become a column of single words.
        kind = {"FAIL": "bad", "ok": "good"}.get(text.rstrip("?"), "long" if len(text) > 24 else "short")
        if i == 0:
            return f'<th scope="row">{_breakable(text)}</th>'
        if numbers[i]:  # a long interval may go below its figure
            return f'<td class="n"><span>{html_text(text).replace(" (", "</span> <span>(")}</span></td>'
        return f'<td class="{kind}">{_breakable(text)}</td>'

    heads = "".join(
        f'<th scope="col"{" class=n" if i and numbers[i] else ""}>{html_text(text)}</th>'
        for i, text in enumerate(table.columns)
    )
    head = f"<thead><tr>{heads}</tr></thead>" if any(table.columns) else ""
    rows = "".join(f"<tr>{''.join(cell(i, text) for i, text in enumerate(row))}</tr>" for row in table.rows)
    caption = f"<caption>{html_text(table.caption)}</caption>" if table.caption else ""
    # Focusable, so that a keyboard can scroll it as well.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{html_text(table.caption or title)}">'
        f"<table>{caption}{head}<tbody>{rows}</tbody></table></div>\n"
    )


def _breakable(text: str) -> str:
    return html_text(text).replace("_", "_<wbr>").replace("/", "/<wbr>")


def _is_number(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "+-"


def _charts(name: str, result: Mapping[str, Any]) -> list[str]:
    accuracy = result["accuracy"]
    if name == "per-class":
        who = [one for one in ("model", "reference") if accuracy[one]]
        codes = list(shown_classes(accuracy["model"]))
        return [
            charts.bars(
                f"{title} per class",
                codes,
                [
                    (one, kind, [accuracy[one]["per_class"][code][key] for code in codes])
                    for one, kind in zip(who, "ab", strict=False)
                ],
            )
            for key, title in (("sensitivity", "Sensitivity"), ("specificity", "Specificity"), ("auc", "AUC"))
        ]
    if name == "accuracy":
        return [_reliability(accuracy)]
    if name == "latency":
        both = [("model", "a", result["latency"])]
        if result["reference"]:
            both.append(("reference", "b", result["reference"]["latency"]))
        data = [charts.Line(one, kind, _numbered(figures["runs_ms"])) for one, kind, figures in both]
        return [charts.lines("Each timed run", "run", "ms", data)]
    if name == "sustained":
        return _over_time(result["sustained"]["slices"])
    return []


def _numbered(values: Sequence[float]) -> list[tuple[float, float]]:
    return [(float(number), value) for number, value in enumerate(values, 1)]


def _reliability(accuracy: Mapping[str, Any]) -> str:
    data = [
        charts.Line(who, kind, [(row["confidence"], row["accuracy"]) for row in accuracy[who]["calibration"]["bins"]])
        for who, kind in (("model", "a"), ("reference", "b"))
        if accuracy[who]
    ]
    diagonal = charts.Line("calibrated", "ideal", [(0.0, 0.0), (1.0, 1.0)])
    return charts.lines("Reliability, 15 bins", "confidence", "accuracy", [diagonal, *data])


def _over_time(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    times = [("median", "a", "median_ms"), ("p95", "b", "p95_ms")]
    data = [charts.Line(name, kind, [(row["start_s"], row[key]) for row in slices]) for name, kind, key in times]
    drawn = [charts.lines("Latency over time", "s", "ms", data)]
    for key, title, unit in (("temperature_c", "Temperature", "°C"), ("frequency_mhz", "Clock", "MHz")):
        points = [(row["start_s"], row[key]) for row in slices if row[key] is not None]
        if points:
            drawn.append(
                charts.lines(f"{title} over time", "s", unit, [charts.Line(title, "b", points)], from_zero=False)
            )
    return drawn


def _sheet(flipped: Sequence[Mapping[str, Any]], most: int) -> str:
    items: list[str] = []
    for flip in flipped[:most]:
        lines = [f"<b>{html_text(flip['image_id'])}</b>", f"truth {html_text(flip['truth'])}"]
        for who in ("reference", "model"):
            right = flip[who]["label"] == flip["truth"]
            said = f"{html_text(flip[who]['label'])} {flip[who]['probability']:.2f}"
            lines.append(f'{who} <span class="{"good" if right else "bad"}">{said} {"✓" if right else "✗"}</span>')
        items.append(f"<li>{_image(flip)}{'<br>'.join(lines)}</li>")
    left = len(flipped) - len(items)
    more = f'<p class="soft">and {left} more, listed below</p>\n' if left > 0 else ""
    return f'<ul class="sheet">{"".join(items)}</ul>\n{more}' if items else ""


def _image(flip: Mapping[str, Any]) -> str:
    source = thumbnail(flip["path"])
    alt = html_text(f"{flip['image_id']}, {flip['truth']}")
    return f'<img src="{source}" alt="{alt}">' if source else '<p class="soft">the image is gone</p>'


def thumbnail(path: str) -> str | None:
    """The picture, upright and small, as a data URI; None where it cannot be read any more.

    Its pixels are encoded anew, so nothing else of the file (place, device, time) comes along.
    """
    try:
        upright = preprocess.decode(path)
    except ImageError:
        return None
    upright.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(upright)).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
