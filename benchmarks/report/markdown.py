"""The result of a benchmark as Markdown, for a pull request or a wiki."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...edge_runtime.classifier import DISCLAIMER
from .escapes import markdown_text
from .parts import parts
from .sections import Section, Table


def markdown(result: Mapping[str, Any]) -> str:
    """result: what `bench.run_bench` or `bench.run_benches` returned."""
    blocks = ["# skin-edge bench", f"**{DISCLAIMER}**"]
    for part in parts(result):
        if part.title:
            blocks.append(f"# {markdown_text(part.title)}")
        for section in part.sections:
            blocks += blocks_of(section)
    return "\n\n".join(blocks) + "\n"


def blocks_of(section: Section) -> list[str]:
    """Heading, notes and tables of a section, to be joined by empty lines."""
    blocks = [f"## {markdown_text(section.title)}"]
    if section.notes:
        blocks.append("\n".join(f"- {markdown_text(note)}" for note in section.notes))
    for table in section.tables:
        if table.caption:
            blocks.append(f"**{markdown_text(table.caption)}**")
        blocks.append(_table(table))
    return blocks


def _table(table: Table) -> str:
    rule = ["---", *("---:" for _ in table.columns[1:])] if _is_numbers(table) else ["---" for _ in table.columns]
    return "\n".join(_row(cells) for cells in (table.columns, rule, *table.rows))


def _is_numbers(table: Table) -> bool:
    return all(cell[:1] in "+-0123456789" for row in table.rows for cell in row[1:])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(markdown_text, cells))} |"
