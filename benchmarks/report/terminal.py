"""A document as text for a terminal of 80 columns. Wide letters count two columns, as a terminal draws them."""

from __future__ import annotations

from collections.abc import Sequence

from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER
from ...edge_runtime.console import WIDTH
from .document import Block, Code, Document, Notes, Table, Text, plain

_LONG = 34  # columns: a wider text goes on below itself or below its row
_NAME = 28  # columns: at most so many for the names of rows in a table that does not fit
_HEAD = 14  # columns: a title of a column is broken where it is wider than this and than its cells


def text(document: Document) -> console.Page:
    """All but details, charts and pictures, then the disclaimer."""
    lines = [console.fit(document.title, WIDTH)] if document.title else []
    lines += console.wrap(document.subtitle) if document.subtitle else []
    for section in document.sections:
        found = [] if section.detail else _blocks(section.blocks)
        if found:
            title = console.wrap(plain(section.title)) if section.title else []
            lines += [*([""] if lines else []), *title, *found]
    return console.page([*lines, "", *document.after, DISCLAIMER])


def _blocks(blocks: Sequence[Block]) -> list[str]:
    """An empty line below a table, unless what follows it is the last, a remark on it."""
    lines: list[str] = []
    for i, block in enumerate(blocks):
        found = _lines(block)
        after_table = any(isinstance(one, Table) for one in blocks[:i][-1:])
        lines += [*([""] if found and after_table and not _is_remark(blocks, i) else []), *found]
    return lines


def _is_remark(blocks: Sequence[Block], i: int) -> bool:
    return i == len(blocks) - 1 and isinstance(blocks[i], Notes)


def _lines(block: Block) -> list[str]:
    if isinstance(block, Code):
        return [f"  {line}" for line in block.lines]
    if not isinstance(block, Notes | Table) or block.detail:
        return []
    if isinstance(block, Table):
        return _table(block)
    lines: list[str] = []
    for number, line in enumerate(block.lines, 1):
        mark = f"{number}  " if block.numbered else ""
        lines += console.wrap(plain(line), first=f"  {mark}", rest=" " * (2 + len(mark)))
    return lines


def _table(table: Table) -> list[str]:
    """Columns that do not fit follow in blocks below; long texts are broken in their column or stand below."""
    rows, numeric = [[_cell(cell) for cell in row] for row in table.rows[: table.most]], table.numeric
    lines = [f"  {line}" for line in console.wrap(plain(table.caption), WIDTH - 2)] if table.caption else []
    if not rows:
        return lines
    heads = [_cell(column) for column in table.columns]
    cells = [max(console.columns_of(row[i]) for row in rows) for i in range(len(heads))]
    widths = [max(wide, min(_HEAD, console.columns_of(head))) for wide, head in zip(cells, heads, strict=True)]
    fits = _width(widths) <= WIDTH
    long = [] if fits else [i for i in range(1, len(heads)) if widths[i] > _LONG and not numeric[i]]
    if not fits:
        widths[0] = min(widths[0], _NAME)
    inside = long[-1:] if len(long) == 1 and _width([w for i, w in enumerate(widths) if i not in long]) <= 46 else []
    for i in inside:
        widths[i] = WIDTH - 4 - _width([w for k, w in enumerate(widths) if k not in long])
    shown = [i for i in range(1, len(heads)) if i not in long or i in inside]
    if not fits:
        widths = [wide if i == 0 or i in inside else min(wide, _LONG) for i, wide in enumerate(widths)]
    for number, block in enumerate(_in_blocks(shown, widths)):
        lines += [] if number == 0 else [""]
        at = [0, *block]
        lines += _laid_out([heads], at, widths, numeric, bottom=True) if any(heads[i] for i in at) else []
        for row in rows:
            lines += _laid_out([row], at, widths, numeric)
            for i in long if number == 0 and not inside else []:
                lines += console.wrap(row[i], first=" " * 6, rest=" " * 6)
    left = len(table.rows) - len(rows)
    return [*lines, *([f"  and {left} more: {table.more}"] if left else [])]


def _in_blocks(columns: Sequence[int], widths: Sequence[int]) -> list[list[int]]:
    blocks: list[list[int]] = [[]]
    for i in columns:
        if blocks[-1] and _width([widths[0], *(widths[k] for k in (*blocks[-1], i))]) > WIDTH:
            blocks.append([])
        blocks[-1].append(i)
    return blocks


def _laid_out(
    rows: Sequence[Sequence[str]],
    at: Sequence[int],
    widths: Sequence[int],
    numeric: Sequence[bool],
    bottom: bool = False,
) -> list[str]:
    """bottom: short cells stand on the last line of their row, as titles do."""
    lines: list[str] = []
    for row in rows:
        cells = [_broken(row[i], widths[i], name=i == 0 and not bottom) for i in at]
        height = max(map(len, cells))
        for line in range(height):
            parts: list[str] = []
            for i, cell in zip(at, cells, strict=True):
                k = line - (height - len(cell) if bottom else 0)
                parts.append(console.pad(cell[k] if 0 <= k < len(cell) else "", widths[i], ">" if numeric[i] else "<"))
            lines.append(("  " + "  ".join(parts)).rstrip())
    return lines


def _broken(text: str, width: int, name: bool) -> list[str]:
    if name:  # the end of a path is what it differs in from its neighbours
        return [console.tail(text, width) if "/" in text else console.fit(text, width)]
    return console.wrap(text, width)


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * len(widths)


def _cell(text: Text) -> str:
    return console.escaped(plain(text))
