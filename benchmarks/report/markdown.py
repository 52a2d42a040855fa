"""A document as Markdown, for a pull request, a model card or a wiki."""

from __future__ import annotations

from collections.abc import Sequence

from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER
from .document import Block, Charts, Code, Document, Notes, Pictures, Table, Text, plain
from .escapes import markdown_text


def markdown(document: Document) -> str:
    """Everything but charts and pictures, and but sections of nothing else."""
    blocks = [f"# {markdown_text(document.title)}", markdown_text(document.subtitle), f"**{DISCLAIMER}**"]
    for section in document.sections:
        kinds = {type(block) for block in section.blocks}
        if kinds & {Charts, Pictures} and Table not in kinds:
            continue
        blocks.append(f"## {_text(section.title)}")
        blocks += (text for block in section.blocks for text in _blocks(block))
    return "\n\n".join(blocks) + "\n"


def _blocks(block: Block) -> list[str]:
    if isinstance(block, Notes):
        return ["\n".join(f"{'1.' if block.numbered else '-'} {_text(line)}" for line in block.lines)]
    if isinstance(block, Code):
        return ["\n".join(f"    {console.escaped(line)}" for line in block.lines)]
    if not isinstance(block, Table):
        return []
    caption = [f"**{_text(block.caption)}**"] if block.caption else []
    rule = ["---:" if numeric else "---" for numeric in block.numeric]
    rows = [_row(list(map(_text, cells))) for cells in block.rows]
    return [*caption, "\n".join([_row(list(map(_text, block.columns))), _row(rule), *rows])]


def _text(text: Text) -> str:
    return markdown_text(plain(text))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
