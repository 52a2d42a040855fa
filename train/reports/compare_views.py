"""A comparison of runs as terminal table, HTML page, picture or csv."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...benchmarks.report.escapes import html_text
from ...benchmarks.report.page import document
from ...benchmarks.stats import few, group_kinds
from ...edge_runtime import console, csv_files, files
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.errors import OutputExistsError, UsageError
from . import drawn

SUFFIXES = (".html", ".png", ".csv")

_STYLE = """
.plot { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 360px), 1fr)); gap: 1rem; }
td { white-space: nowrap; }
line.bar { stroke: var(--a); stroke-width: 2; }
"""

_Comparison = Mapping[str, Any]


def check_output(out: Path, overwrite: bool) -> None:
    """Raises UsageError for a suffix that is not known, OutputExistsError where `out` is there already."""
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {out}: the name must end in {', '.join(SUFFIXES)}")
    if out.is_dir() or (out.exists() and not overwrite):
        raise OutputExistsError(out)


def write(comparison: _Comparison, out: Path) -> None:
    """Writes the form that the suffix of `out` names."""
    suffix = out.suffix.lower()
    if suffix == ".html":
        files.write(out, page(comparison))
    elif suffix == ".csv":
        files.write(out, table(comparison))
    else:
        _draw(comparison, out)


def text(comparison: _Comparison) -> console.Page:
    """At most 80 columns: runs are numbered and, where there are many, follow each other in blocks of two or three."""
    runs = comparison["runs"]
    lines: list[str] = []
    for number, run in enumerate(runs, 1):
        images = f"{run['n']} {comparison['part']} images, {_groups(run)}"
        room = console.WIDTH - 5 - len(images)
        lines.append(f"{number}  {console.pad(console.tail(run['name'], room), room)}  {images}")
    # Up to two runs fit beside each other with their intervals.
    with_intervals = len(runs) == 2
    width, per_block = (27, 2) if with_intervals else (9, 6)
    for start in range(0, len(runs), per_block):
        block = list(enumerate(runs, 1))[start : start + per_block]
        lines += ["", f"{'':24}" + "".join(f"{number:>{width}}" for number, _ in block)]
        for figure in comparison["figures"]:
            cells = [_cell(run["figures"][figure["key"]], with_intervals) for _, run in block]
            lines.append(f"{console.cell(figure['title'], 24)}" + "".join(f"{cell:>{width}}" for cell in cells))
            if figure["key"] == "accuracy":
                cells = [f"{run['majority_class_baseline']:.3f}" for _, run in block]
                lines.append(f"{'  always the commonest':24}" + "".join(f"{cell:>{width}}" for cell in cells))
    for number, pair in enumerate(comparison["paired"], 2):
        lines += ["", f"{f'{number} minus 1, paired':24}{'difference':>14}{'95% interval':>26}"]
        for figure in comparison["figures"]:
            row = pair["differences"][figure["key"]]
            difference = "-" if row["difference"] is None else f"{row['difference']:+.4f}"
            bounds = row["interval"]
            said = "-" if bounds is None else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
            lines.append(f"{console.cell(figure['title'], 24)}{difference:>14}{said:>26}")
        test = pair["mcnemar"]
        lines.append(
            f"only 1 right: {test['only_first_right']}, only {number} right: {test['only_this_right']} "
            f"(McNemar p = {test['p_value']:.3g})"
        )
    if not comparison["paired"]:
        lines += ["", "NOT THE SAME TEST IMAGES: no difference is computed, and none should be read"]
        lines.append("from the columns above.")
    lines += [
        "",
        *(line for said in (*_few(comparison), *_intervals(comparison)) for line in console.wrap(said)),
        DISCLAIMER,
    ]
    return console.page(lines)


def _groups(run: Mapping[str, Any]) -> str:
    return f"{run['n_groups']} {group_kinds.unit(run['groups'])}" if run["n_groups"] is not None else "groups not known"


def _intervals(comparison: _Comparison) -> list[str]:
    """Over what they were drawn: one sentence where that is the same for all runs."""
    said = [group_kinds.intervals(run["groups"], str(comparison["bootstrap"])) for run in comparison["runs"]]
    if len(set(said)) == 1:
        return said[:1]
    return [f"{number}: {sentence}" for number, sentence in enumerate(said, 1)]


def _few(comparison: _Comparison) -> list[str]:
    """Which classes have too few images for their sensitivity to say much, of each run that has other counts."""
    said = {few.sentence(run["counts"]): number for number, run in reversed(list(enumerate(comparison["runs"], 1)))}
    told = sorted((number, sentence) for sentence, number in said.items() if sentence)
    return [sentence if len(said) == 1 else f"{number}: {sentence}" for number, sentence in told]


def table(comparison: _Comparison) -> str:
    """csv: one row per run and figure: run, figure, value, low, high, difference, difference_low, difference_high."""
    paired = {pair["name"]: pair["differences"] for pair in comparison["paired"]}
    columns = ("run", "figure", "value", "low", "high", "difference", "difference_low", "difference_high")
    rows: list[Sequence[object]] = []
    for run in comparison["runs"]:
        for figure in comparison["figures"]:
            row = run["figures"][figure["key"]]
            pair = paired.get(run["name"], {}).get(figure["key"], {"difference": None, "interval": None})
            cells = (row["value"], *(row["interval"] or ("", "")), pair["difference"], *(pair["interval"] or ("", "")))
            rows.append((run["name"], figure["key"], *("" if cell is None else cell for cell in cells)))
        rows.append((run["name"], "majority_class_baseline", run["majority_class_baseline"], *[""] * 5))
    return csv_files.text(columns, rows)


def page(comparison: _Comparison) -> str:
    """One HTML page that needs nothing else."""
    runs = comparison["runs"]
    heads = "".join(f'<th scope="col">{i}</th>' for i in range(1, len(runs) + 1))
    rows = "".join(
        f'<tr><th scope="row">{html_text(figure["title"])}</th>'
        + "".join(f"<td>{_cell(run['figures'][figure['key']], True)}</td>" for run in runs)
        + "</tr>"
        for figure in comparison["figures"]
    )
    rows += (
        '<tr><th scope="row">always the commonest class</th>'
        + "".join(f"<td>{run['majority_class_baseline']:.3f}</td>" for run in runs)
        + "</tr>"
    )
    names = "".join(
        f"<li>{html_text(run['name'])}: {run['n']} images, {_groups(run)}"
        + (f", {run['cannot_assess']} cannot be assessed" if run["cannot_assess"] else "")
        + "</li>"
        for run in runs
    )
    warned = "".join(f'<li class="bad">{html_text(warning)}</li>' for warning in comparison["warnings"])
    plots = "".join(_dots(comparison, figure) for figure in _plotted(comparison))
    body = (
        f'<header><h1>Runs side by side</h1>\n<p class="disclaimer">{html_text(DISCLAIMER)}</p></header>\n<main>\n'
        f"<ol>{names}</ol>\n"
        + (f"<ul>{warned}</ul>\n" if warned else "")
        + f"{_scrolled('Figures', heads, rows)}"
        + "".join(f'<p class="soft">{html_text(said)}.</p>\n' for said in _few(comparison))
        + f'<p class="soft">In brackets: {"; ".join(_intervals(comparison))}.</p>\n'
        f'<h2>Plots</h2>\n<div class="plot">{plots}</div>\n{_paired_html(comparison)}</main>\n'
    )
    return document("Runs side by side: skin-edge compare", body, _STYLE)


def _paired_html(comparison: _Comparison) -> str:
    if not comparison["paired"]:
        return '<p class="bad">Not the same images: no difference is computed.</p>\n'
    heads = "".join(f'<th scope="col">{i} minus 1</th>' for i in range(2, len(comparison["runs"]) + 1))
    rows = ""
    for figure in comparison["figures"]:
        cells = ""
        for pair in comparison["paired"]:
            row = pair["differences"][figure["key"]]
            bounds = f" ({row['interval'][0]:+.4f} to {row['interval'][1]:+.4f})" if row["interval"] else ""
            cells += "<td>" + ("-" if row["difference"] is None else f"{row['difference']:+.4f}{bounds}") + "</td>"
        rows += f'<tr><th scope="row">{html_text(figure["title"])}</th>{cells}</tr>'
    cells = "".join(f"<td>{pair['mcnemar']['p_value']:.3g}</td>" for pair in comparison["paired"])
    rows += f'<tr><th scope="row">McNemar, p</th>{cells}</tr>'
    return f"<h2>Paired differences</h2>\n{_scrolled('Paired differences', heads, rows)}"


def _scrolled(caption: str, heads: str, rows: str) -> str:
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><thead><tr><th></th>{heads}</tr>'
        f"</thead><tbody>{rows}</tbody></table></div>\n"
    )


def _plotted(comparison: _Comparison) -> list[Mapping[str, str]]:
    """The figures on a scale from 0 to 1: all but the Brier score."""
    return [figure for figure in comparison["figures"] if figure["key"] != "brier"]


def _dots(comparison: _Comparison, figure: Mapping[str, str]) -> str:
    """One figure of all runs: a dot and its interval on an axis from 0 to 1."""
    runs, left, wide = comparison["runs"], 30, 310
    parts: list[str] = []
    for number, run in enumerate(runs):
        row, y = run["figures"][figure["key"]], 16 + 22 * number
        parts.append(f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{number + 1}</text>')
        parts.append(f'<line class="grid" x1="{left}" x2="{left + wide}" y1="{y}" y2="{y}"/>')
        if row["value"] is None:
            parts.append(f'<text x="{left}" y="{y - 3}">not defined</text>')
            continue
        if row["interval"]:
            low, high = (left + wide * bound for bound in row["interval"])
            parts.append(f'<line class="bar" x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="a" cx="{left + wide * row["value"]:.1f}" cy="{y}" r="4"/>')
    height = 22 * len(runs) + 26
    for tick in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<text x="{left + wide * tick}" y="{height - 6}" text-anchor="middle">{tick:g}</text>')
    title = html_text(figure["title"])
    return (
        f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 360 {height}" role="img" aria-label="{title}">'
        f"{''.join(parts)}</svg></figure>"
    )


def _draw(comparison: _Comparison, out: Path) -> None:
    runs, shown = comparison["runs"], _plotted(comparison)
    with drawn.picture(out, 9, 1.6 + 0.32 * len(shown) * max(1, len(runs) / 2)) as picture:
        axis = picture.subplots()
        for number, run in enumerate(runs):
            offset = (number - (len(runs) - 1) / 2) * 0.7 / len(runs)
            colour = f"C{number % 10}"
            label = f"{number + 1}  {drawn.name(console.tail(run['name'], 50), 50)}"
            for i, figure in enumerate(shown):
                row = run["figures"][figure["key"]]
                if row["value"] is None:
                    continue
                if row["interval"]:
                    axis.plot(row["interval"], [i + offset] * 2, color=colour, linewidth=1.5)
                axis.plot(row["value"], i + offset, "o", color=colour, markersize=4, label=label)
                label = None
                if figure["key"] == "accuracy":
                    axis.plot(run["majority_class_baseline"], i + offset, "|", color=colour, markersize=9)
                axis.annotate(f"{row['value']:.3f}", (1.02, i + offset), fontsize=6, color=colour, va="center",
                              xycoords=("axes fraction", "data"))  # fmt: skip
        axis.set_yticks(range(len(shown)), [drawn.name(figure["title"]) for figure in shown], fontsize=8)
        axis.invert_yaxis()
        axis.set_xlim(0, 1)
        axis.grid(alpha=0.3, axis="x")
        notice = "" if comparison["paired"] else "NOT THE SAME TEST IMAGES. "
        axis.set_title(
            f"{notice}{'; '.join(_intervals(comparison))}\n| always the commonest class. {DISCLAIMER}", fontsize=7
        )
        axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.08))


def _cell(row: Mapping[str, Any], with_interval: bool) -> str:
    if row["value"] is None:
        return "-"
    bounds = f" ({row['interval'][0]:.3f}-{row['interval'][1]:.3f})" if with_interval and row["interval"] else ""
    return f"{row['value']:.3f}{bounds}"
