"""Everything printed goes through console.py, and nothing that others wrote can steer the terminal or forge a line."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skin_edge.edge_runtime import console, errors
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.wording import counted

from . import miniatures

ROOT = Path(__file__).parent.parent
# Escape sequences (7 and 8 bit), a forged answer, right-to-left, zero-width, a byte that is not text, a backslash.
HOSTILE = "a\x1b]0;t\x07\x1b[2J\r\nFORGED mel 0.999\x9b1A\u202egpj\u200b\u2066\ufeff\udce9\x7f\t|`<b>"


def safe(text: str) -> bool:
    return all(letter == "\n" or (letter.isprintable() and not "\udc80" <= letter <= "\udfff") for letter in text) and (
        not any(line.startswith(("FORGED", "error: FORGED")) for line in text.splitlines())
    )


@given(st.text(st.characters()))
def test_escaped_is_one_printable_line_and_stays_so(text):
    once = console.escaped(text)
    assert len(once.splitlines()) <= 1
    assert all(letter.isprintable() or letter in "\u00a0\u202f\u3000" or letter.isspace() for letter in once)
    assert not set(once) & set("\x1b\x9b\n\r\u2028\u202e\u200b")
    assert console.escaped(once) == once
    once.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("photo 1.jpg", "photo 1.jpg"),
        ("Mélanome 黒色腫.jpg", "Mélanome 黒色腫.jpg"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b2J", r"\x9b2J"),
        ("a\u202eb\u200bc\u2028", r"a\u202eb\u200bc\u2028"),
        (os.fsdecode(b"caf\xe9.jpg"), r"caf\xe9.jpg"),
        ("\ud800", r"\ud800"),
        ("Screenshot 3.15\u202fPM", "Screenshot 3.15\u202fPM"),
        ("\u3164", r"\u3164"),
    ],
)
def test_what_is_shown(text, shown):
    assert console.escaped(text) == shown


def test_a_page_keeps_its_own_line_breaks_and_no_others(capsys):
    console.say(console.page(["one", HOSTILE, "three"]))
    console.say("four\nfive")
    console.say(console.page(["six", "\n"]), err=True)
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert [lines[0], lines[2:]] == ["one", ["three", r"four\nfive"]]
    assert output.err == "six\n\\n\n" and safe(output.out)


@given(st.recursive(st.text(st.characters()) | st.integers() | st.none(), lambda one: st.lists(one)))
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_is_exact_and_printable_in_every_encoding(encoding, value):
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding=encoding)
    kept, sys.stdout = sys.stdout, stream
    try:
        console.say_json({"value": value})
    finally:
        sys.stdout = kept
    printed = buffer.getvalue().decode(encoding)
    assert json.loads(printed) == {"value": value}
    assert not set(printed) & set("\x1b\x9b\x7f\r\u202e\u200b")


def test_a_number_that_json_does_not_know_is_null(capsys):
    console.say_json({"a": [float("nan"), 1.5], "b": float("inf")}, indent=None)
    assert capsys.readouterr().out == '{"a": [null, 1.5], "b": null}\n'


@given(st.text(st.characters()), st.integers(4, 40))
def test_cells_have_the_width_they_are_given(text, width):
    for cell in (console.cell(text, width), console.cell(text, width, ">")):
        assert width - 1 <= console.columns_of(cell) <= width  # a wide letter may not fit into the last column
        assert console.columns_of(console.tail(text, width)) <= width


@pytest.mark.parametrize(("text", "columns"), [("mel", 3), ("黒色腫", 6), ("e\u0301", 1), ("ﾎｸﾛ", 3), ("흑색종", 6)])
def test_columns(text, columns):
    assert console.columns_of(text) == columns
    assert console.columns_of(console.pad(text, 10)) == 10


@given(st.text(st.characters()), st.integers(20, 80))
def test_wrapped_lines_fit(text, width):
    lines = console.wrap(text, width, "name  ", "      ")
    assert lines[0].startswith("name") and all(console.columns_of(line) <= width for line in lines)
    kept = "".join("".join([lines[0][6:], *(line[6:] for line in lines[1:])]).split())
    assert kept == "".join(console.escaped(text).split())


@pytest.mark.parametrize(
    "word", ["plain", "a b", "it's", 'say "x"', "$HOME", HOSTILE, os.fsdecode(b"\xff'\\ \n"), "日本 語"]
)
def test_a_command_line_can_be_pasted(word):
    line = console.command_line("printf", "%s", word)
    assert console.escaped(line) == line
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout == os.fsencode(word)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_rewrites_a_terminals_last_line(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    console.report("\rreading 1/3")
    console.report("\rreading 2/3\x1b[2J")
    console.report("done")
    console.report("\r")
    assert sys.stderr.getvalue() == (
        "\r\033[Kreading 1/3" + "\r\033[Kreading 2/3\\x1b[2J" + "\r\033[K" + "done\n" + "\r\033[K"
    )


@pytest.mark.parametrize("dumb", [True, False])
def test_progress_is_a_line_a_minute_elsewhere(dumb, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(console, "monotonic", lambda: now)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stderr", Terminal() if dumb else io.StringIO())
    console.report("begun")
    for step in range(300):
        now += 1
        console.report(f"\rstep {step}")
    assert sys.stderr.getvalue().splitlines() == ["begun", *(f"step {step}" for step in (60, 121, 182, 243))]


def _calls(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def test_no_line_is_printed_with_a_newline_in_it():
    """It would be escaped, as one that a file name brings: several lines are `console.page`, or several calls."""
    found = []
    for folder in ("edge_runtime", "benchmarks", "apps", "train", "convert", "studies"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for call, name in _calls(path):
                if name.split(".")[-1] not in ("report", "say", "progress", "saying", "_fail"):
                    continue
                parts = [
                    part for one in call.args for part in (one.values if isinstance(one, ast.JoinedStr) else [one])
                ]
                constants = [part.value for part in parts if isinstance(part, ast.Constant)]
                if any("\n" in value for value in constants if isinstance(value, str)):
                    found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    assert found == [], "print several lines by console.page, or by several calls"


def test_no_module_prints_by_itself():
    """The peers' scripts run in environments of their own, without skin-edge, and talk to their parent."""
    found = []
    for folder in ("edge_runtime", "benchmarks", "apps", "train", "convert", "studies"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.name == "console.py" or path.parent.name == "peer_scripts":
                continue
            for call, name in _calls(path):
                by_exit = name in ("sys.exit", "exit", "SystemExit") and any(
                    isinstance(argument, ast.JoinedStr)
                    or (isinstance(argument, ast.Constant) and isinstance(argument.value, str))
                    for argument in call.args
                )
                printing = ("print", "click.echo", "click.secho", "echo", "warnings.warn", "traceback.print_exc")
                if by_exit or name in printing or name.startswith(("sys.stdout.write", "sys.stderr.write", "logging.")):
                    found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    assert not found, "print by say, page, say_json or progress of edge_runtime/console.py"


@pytest.fixture
def hostile_home(tmp_path, tiny_int8, tiny_float32, picture, measured_run, monkeypatch):
    """A folder that nobody would make, with pictures, models, a run, data and csv files that are called alike."""
    import shutil

    home = tmp_path / HOSTILE
    home.mkdir()
    image = home / f"{HOSTILE}.jpg"
    shutil.copy(picture("mel"), image)
    (home / f"{HOSTILE}-damaged.jpg").write_bytes(image.read_bytes()[:300])
    shutil.copy(tiny_int8, home / f"{HOSTILE}.tflite")
    shutil.copy(tiny_float32, home / f"{HOSTILE}-float.tflite")
    shutil.copytree(measured_run, home / "run")
    miniatures.class_folders(home / "data", codes=("mel", "nv"))
    (home / "data" / HOSTILE).mkdir()
    shutil.copy(image, home / "data" / HOSTILE / f"{HOSTILE}.jpg")
    rows = "".join(f'"{name}","{HOSTILE}"\n' for name in (f"{HOSTILE}.jpg", f"{HOSTILE}-damaged.jpg"))
    (home / "cases.csv").write_text("path,label\n" + rows, encoding="utf-8", errors="surrogateescape")
    (home / "gate.yaml").write_text("max_accuracy_drop: x\n")
    (home / "bad.json").write_text("{")
    monkeypatch.chdir(home)
    return home


COMMANDS = [
    ["predict", f"{HOSTILE}.jpg", f"{HOSTILE}-damaged.jpg", f"{HOSTILE}-absent.jpg"],
    ["predict", f"{HOSTILE}.tflite", f"{HOSTILE}.jpg"],
    ["predict", f"{HOSTILE}-absent.tflite", f"{HOSTILE}.jpg"],
    ["predict", f"{HOSTILE}.tflite", f"{HOSTILE}.jpg", "--heatmap", HOSTILE],
    ["predict", f"{HOSTILE}.tflite", f"{HOSTILE}.jpg", "--metadata", f"{HOSTILE}={HOSTILE}"],
    ["predict", f"{HOSTILE}.tflite", f"{HOSTILE}.jpg", "--delegate", HOSTILE],
    ["predict", f"{HOSTILE}.tflite", f"{HOSTILE}.jpg", "--labels", HOSTILE],
    ["predict", f"{HOSTILE}.tflite", f"{HOSTILE}.jpg", "--num-threads", HOSTILE],
    ["info", f"{HOSTILE}.tflite"],
    ["info", HOSTILE],
    ["bench", f"{HOSTILE}.tflite", "--reference", f"{HOSTILE}-float.tflite", "--num-runs", "2", "--cold-starts", "0"],
    ["bench", f"{HOSTILE}.tflite", f"{HOSTILE}-float.tflite", "--num-runs", "2", "--cold-starts", "0"],
    ["bench", f"{HOSTILE}.tflite", "--data", "cases.csv", "--num-runs", "2", "--cold-starts", "0"],
    ["bench", f"{HOSTILE}.tflite", "--data", "data", "--num-runs", "2", "--cold-starts", "0"],
    ["bench", f"{HOSTILE}.tflite", "--gate", HOSTILE],
    ["bench", f"{HOSTILE}.tflite", "--gate", "gate.yaml"],
    ["bench", "--compare", "bad.json", HOSTILE],
    ["data", HOSTILE],
    ["data", "data"],
    ["data", "data", "--out", HOSTILE],
    ["data", "cases.csv"],
    ["data", "data", "--clean", HOSTILE],
    ["data", "data", "--layout", HOSTILE],
    ["data", "cases.csv", "--image-column", HOSTILE],
    ["train", HOSTILE, "--out", "new"],
    ["train", "data", "--out", "new"],
    ["train", "data", "--out", f"{HOSTILE}.jpg"],
    ["train", "data", "--out", "new", "--recipe", HOSTILE],
    ["train", "data", "--out", "new", "--set", f"{HOSTILE}=1"],
    ["train", "data", "--out", "new", "--set", f"loss={HOSTILE}"],
    ["train", "data", "--out", "new", "--weights", HOSTILE],
    ["train", "data", "--out", "new", "--labels", HOSTILE],
    ["train", "data", "--out", "new", "--teacher", HOSTILE],
    ["train", "data", "--out", "new", "--split", HOSTILE],
    ["train", "data", "--out", "new", "--epochs", HOSTILE],
    ["evaluate", HOSTILE, "data"],
    ["evaluate", f"{HOSTILE}.tflite", "data", "--out", HOSTILE],
    ["evaluate", f"{HOSTILE}.tflite", "cases.csv"],
    ["compare", "run", HOSTILE],
    ["compare", "run", os.path.join("..", HOSTILE, "run")],  # noqa: PTH118  (as it is given)
    ["compare", "run", "run", "--out", HOSTILE],
    ["tune", "data", "--out", "new", "--recipe", HOSTILE],
    ["tune", HOSTILE, "--out", "new"],
    ["convert", HOSTILE, "--int8"],
    ["convert", "run", "--int8", "--out", f"{HOSTILE}.jpg"],
    ["convert", "run", "--int8", "--calibration", HOSTILE],
    ["debug-quantization", HOSTILE],
    ["debug-quantization", f"{HOSTILE}.tflite", "--reference", HOSTILE],
    ["debug-quantization", f"{HOSTILE}.tflite", "--reference", f"{HOSTILE}-float.tflite", "--data", "cases.csv"],
    ["recipes", HOSTILE],
    ["quickstart", "--out", f"{HOSTILE}.jpg"],
    ["quickstart", "--seed", HOSTILE],
    [HOSTILE],
    [f"--{HOSTILE}"],
    ["predict", f"--{HOSTILE}"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: console.escaped(" ".join(arguments))[:60])
def test_no_command_prints_what_a_name_says(arguments, hostile_home, capfd):
    code = run(arguments)
    output = capfd.readouterr()
    assert code in (0, 1, 2, 3)
    assert safe(output.out) and safe(output.err)
    if code and not output.out:
        assert sum(line.startswith("error: ") for line in output.err.splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
@pytest.mark.parametrize("as_json", [True, False])
def test_predict_in_every_encoding(encoding, as_json, hostile_home):
    name = os.fsdecode(b"caf\xe9 \xe9\x9b\xaa.jpg")
    Path(name).write_bytes((hostile_home / f"{HOSTILE}.jpg").read_bytes())
    command = [sys.executable, "-m", "skin_edge.edge_runtime.cli", "predict", f"{HOSTILE}.tflite", name]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    done = subprocess.run([*command, *["--json"] * as_json], capture_output=True, env=environment)
    assert done.returncode == 0 and b"\x1b" not in done.stdout + done.stderr
    line = done.stdout.decode(encoding).splitlines()[0]
    if as_json:
        assert json.loads(line)["file"] == name
    else:
        assert line.startswith(r"caf\xe9 ") and safe(line)


def test_json_output_has_the_exact_name(hostile_home, capfd):
    names = [f"{HOSTILE}.jpg", f"{HOSTILE}-absent.jpg"]
    assert run(["predict", *names, "--json"]) == 1
    output = capfd.readouterr()
    assert [json.loads(line)["file"] for line in output.out.splitlines()] == names
    assert safe(output.out) and safe(output.err)


def test_what_python_prints_is_escaped_too(tmp_path):
    code = (
        "import warnings, threading\n"
        "from skin_edge.edge_runtime import console; console.take_over()\n"
        "warnings.warn('w\\x1b[2J\\nerror: FORGED')\n"
        "def fail(): raise ValueError('\\x1b[2J\\nFORGED')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(r"warning: w\x1b[2J\nerror: FORGED" + "\n")
    assert "\x1b" not in done.stderr and done.stderr.count("this is a fault of skin-edge") == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [["info"], ["recipes"], ["info", "--json"]])
def test_a_full_disk_is_one_line(arguments):
    command = [sys.executable, "-m", "skin_edge.edge_runtime.cli", *arguments]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "error: the output cannot be written: No space left on device"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["info", "--help", "predict absent.jpg", "nonsense"])
def test_closed_streams_are_no_traceback(closed, command, tmp_path):
    line = f"{sys.executable} -m skin_edge.edge_runtime.cli {command} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in (0, 1, 2) and "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["info", "--help", "recipes --json", "train --help"])
def test_a_reader_that_leaves_is_no_error(command):
    line = f"{sys.executable} -m skin_edge.edge_runtime.cli {command} | true"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.stderr == ""


@pytest.mark.parametrize("code", ["mel", "黒色腫", "흑색종 악성", "𠮷", "e\u0301e\u0301"])
def test_tables_of_wide_names_are_aligned(code):
    """Of classes that have wide or long names: a table that fits, one that does not, and one of sentences."""
    from skin_edge.benchmarks.report.document import Document, Notes, Section, Table, ranged
    from skin_edge.benchmarks.report.terminal import text

    codes = [code, "nv", "an extraordinarily long name of a class of lesions that nobody can remember"]
    narrow = Table(("class", code), [(code, "0.123"), ("nv", "1.000")])
    wide = Table(("class", *codes), [(one, *[ranged(0.5, (0.4, 0.6))] * 3) for one in codes])
    said = Table(("class", code, "why"), [(one, "0.1", f"{code} " * 30) for one in codes], code * 30)
    section = Section("s", code * 40, [Notes([code * 50]), narrow, wide, said])
    lines = text(Document(code * 90, "", [section], "")).splitlines()
    assert max(map(console.columns_of, lines)) <= 80
    rows = [line for line in lines if "(0.400 to 0.600)" in line]
    assert len(rows) == 6 and len({console.columns_of(row) for row in rows[:3]}) == 1
    assert len({console.columns_of(row) for row in rows[3:]}) == 1


@pytest.mark.parametrize("out", ["plain", 'my runs/it\'s a "run"', "runs/$HOME `x`", HOSTILE])
def test_the_next_line_can_be_pasted(out, monkeypatch):
    from skin_edge.benchmarks.report.document import Document
    from skin_edge.train.reports import run_report

    monkeypatch.setattr(run_report, "document", lambda _: Document("", "", [], ""))
    (line,) = [line for line in run_report.trained({}, Path(out)).splitlines() if "skin-edge convert" in line]
    script = 'skin-edge() { printf "%s\\0" "$@"; }\n'.replace("skin-edge", "skin_edge") + line.replace(
        "skin-edge convert", "skin_edge convert"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]] == ["convert", out, "--int8"]


def test_what_a_file_says_makes_no_message_long():
    error = errors.ModelFileError("it asks for " + "x" * 10_000 + ": convert it again")
    assert len(str(error)) < errors.MOST_CHARACTERS
    assert str(error).startswith("it asks for xxx") and str(error).endswith("x: convert it again")


def test_one_is_singular_and_none_is_plural():
    assert [counted(n, "set") for n in (0, 1, 2)] == ["0 sets", "1 set", "2 sets"]
    assert [counted(n, "class is", "classes are") for n in (0, 1)] == ["0 classes are", "1 class is"]
