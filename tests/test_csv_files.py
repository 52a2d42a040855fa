from __future__ import annotations

import pytest

from skin_edge.edge_runtime import csv_files
from skin_edge.edge_runtime.errors import DataError

HOSTILE = ("=1+1", "+1+1", "-x", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''-x", "-", "+")
HARMLESS = ("'quoted'", "nv", "", "-1", "-0.5", "+3", "-1e-5", "1-2", "a=b", "it's", "''")


@pytest.mark.parametrize("cell", [*HOSTILE, *HARMLESS])
def test_what_is_written_is_no_formula_and_is_read_as_it_was(cell):
    assert csv_files.original(csv_files.safe(cell)) == cell
    assert (csv_files.safe(cell) != cell) == (cell in HOSTILE)
    assert csv_files.safe(-0.5) == -0.5


def test_a_table_that_is_written_and_read(tmp_path):
    table = tmp_path / "t.csv"
    rows = [["=cmd|' /C calc'!A0", -1.5], ['a "quoted", cell\nof two lines', None]]
    table.write_text(csv_files.text(["path", "=x"], rows))
    assert "\n'=cmd" in table.read_text()
    read = csv_files.read(table)
    assert read.columns == ["path", "=x"]
    assert read.rows == [["=cmd|' /C calc'!A0", "-1.5"], ['a "quoted", cell\nof two lines', ""]]
    assert read.lines == [2, 4]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_how_tables_are_written(tmp_path, encoding, separator, end):
    lines = [" path ;label ", "ä.jpg; mel ", "", "b.jpg", "c.jpg;nv;;"]
    (tmp_path / "t.csv").write_bytes(end.join(lines).replace(";", separator).encode(encoding))
    read = csv_files.read(tmp_path / "t.csv")
    assert (read.columns, read.rows) == (["path", "label"], [["ä.jpg", "mel"], ["b.jpg", ""], ["c.jpg", "nv"]])
    assert read.lines == [2, 4, 5]


def test_excels_first_line(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\npath;label\na,b.jpg;nv\n")
    assert csv_files.read(tmp_path / "t.csv").rows == [["a,b.jpg", "nv"]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"path,label\na.jpg,mel\nb.jpg,melanoma, nos\n", "line 3 has 3 cells for 2 columns: put text that holds ','"),
        (b"path,label,label\na,b,c\n", "has the column label twice"),
        (b'path,label\na.jpg,"mel\nb.jpg,nv\n', "cannot be read as csv: after line 0: unexpected end of data"),
        (b"path,label\na.jpg,n\xe4vus\n", "not UTF-8: save it as CSV in UTF-8"),
        ("path,label\na.jpg,mel\n".encode("utf-16-le"), "no text in UTF-8: save it as CSV in UTF-8"),
        (b"PK\x03\x04" + bytes(100), "no text in UTF-8: save it as CSV in UTF-8"),
    ],
)
def test_what_would_lose_or_shift_cells_is_an_error(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError) as caught:
        csv_files.read(tmp_path / "t.csv")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
