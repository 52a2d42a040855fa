"""Tables as csv: written so that no spreadsheet runs a cell, and read so that nothing is lost without a word.

A text cell that begins with =, +, -, @, a tab or a carriage return would be a formula to a spreadsheet; it is written
behind an apostrophe, which reading takes away. Numbers stay as they are.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from .errors import DataError

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_LONGEST_CELL = 1 << 24


def safe(cell: object) -> object:
    """A cell as it may be written; anything but text stays."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def original(cell: str) -> str:
    """The cell that `safe` was given."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The table as csv. None is blank."""
    file = io.StringIO()
    write(file, columns, rows)
    return file.getvalue()


def write(file: TextIO, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """As `text`, into an open file, row by row."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([safe(name) for name in columns])
    writer.writerows([safe(cell) for cell in row] for row in rows)


@dataclass(frozen=True)
class Table:
    """The cells of a csv, as text.

    Attributes:
        columns: Their names, without spaces around them.
        rows: A cell per column.
        lines: Where each row ends, from 1.
    """

    columns: list[str]
    rows: list[list[str]]
    lines: list[int]


def read(path: str | Path, wanted: Callable[[str], bool] = lambda name: True, *, most: int | None = None) -> Table:
    """The columns of a csv that are `wanted`, all text, without spaces around it; of the first `most` rows, or of all.

    Separated by comma, tab or semicolon, whichever the header has most of. UTF-8, or UTF-16 with its mark. Empty lines
    are passed over; a row that ends early is blank from there.

    Raises DataError where the file cannot be read, a wanted column is there twice, or a row has more cells than
    columns.
    """
    rows = stream(path, wanted)
    table = Table(next(rows)[1], [], [])
    for line, row in rows if most is None else itertools.islice(rows, most):
        table.rows.append(row)
        table.lines.append(line)
    return table


def stream(path: str | Path, wanted: Callable[[str], bool] = lambda name: True) -> Iterator[tuple[int, list[str]]]:
    """As `read`, row by row: (line, cells), the first of which are the names of the columns."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            encoding = "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        with path.open(newline="", encoding=encoding) as file:
            yield from rows_of(file, path, wanted)
    except OSError as error:
        raise DataError(f"{path} cannot be read as csv: {error.strerror}") from None


def rows_of(file: TextIO, path: str | Path, wanted: Callable[[str], bool]) -> Iterator[tuple[int, list[str]]]:
    """As `stream`, of a file that is open.

    Args:
        file: Opened with newline "".
        path: How messages name it.
        wanted: Whether a column of this name is to be read.
    """
    csv.field_size_limit(_LONGEST_CELL)
    line = 0
    try:
        first = file.readline()
        separator = max(",", "\t", ";", key=first.count)
        said = re.fullmatch(r"sep=(.)\s*", first)  # as Excel writes it
        if said:
            separator = said[1]
        lines = file if said else itertools.chain([first], file)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        empty: list[str] = []
        header = [original(name.strip()) for name in next(reader, empty)]
        if not header:
            raise DataError(f"{path} cannot be read as csv: it is empty")
        if any("\0" in name for name in header):  # UTF-16 without its mark, or a spreadsheet's own file
            raise DataError(f"{path} cannot be read as csv: it is no text in UTF-8: save it as CSV in UTF-8")
        at = [position for position, name in enumerate(header) if wanted(name)]
        columns = [header[position] for position in at]
        twice = [name for position, name in enumerate(columns) if name and name in columns[:position]]
        if twice:
            raise DataError(f"{path} has the column {twice[0]} twice")
        yield reader.line_num + bool(said), columns
        for row in reader:
            line = reader.line_num + bool(said)
            if not row:
                continue
            if len(row) < len(header):
                row += [""] * (len(header) - len(row))
            elif any(map(str.strip, row[len(header) :])):
                raise DataError(
                    f"{path} line {line} has {len(row)} cells for {len(header)} columns: put text that holds "
                    f"'{separator}' in quotes"
                )
            yield line, [original(row[position].strip()) for position in at]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as csv: after line {line}: {error}") from None
    except UnicodeError:
        raise DataError(
            f"{path} cannot be read as csv: after line {line}, text that is not UTF-8: save it as CSV in UTF-8"
        ) from None
