"""Answers in bulk: one file of answers, each picture once, whatever is killed, full, broken or named twice."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from skin_edge.edge_runtime import csv_files
from skin_edge.edge_runtime.bulk import answering, answers_file, commands, sources
from skin_edge.edge_runtime.bulk.answering import Answer
from skin_edge.edge_runtime.bulk.ordered import Report, in_order
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UsageError
from studies import bulk as study

from . import miniatures
from .miniatures import one_line

COMMAND = [sys.executable, "-m", "skin_edge.edge_runtime"]


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """300 pictures, three of them broken, and what is none."""
    folder = tmp_path_factory.mktemp("bulk") / "clinic"
    codes = list(miniatures.COLOURS)
    for number in range(300):
        path = folder / f"{number % 7}" / f"{number:03}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        miniatures.picture(codes[number % len(codes)], number, (16, 12)).save(path)
    for name in ("0/000.jpg", "3/150.jpg"):
        (folder / name).write_bytes(b"no picture")
    whole = (folder / "5" / "299.jpg").read_bytes()
    (folder / "5" / "299.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("")
    return folder


@pytest.fixture(scope="module")
def expected(clinic, tiny_int8, tmp_path_factory):
    """The lines that all ways to answer `clinic` have to give."""
    out = tmp_path_factory.mktemp("expected") / "answers.jsonl"
    assert run(["predict", str(tiny_int8), str(clinic), "--out", str(out)]) == 1
    return out.read_bytes()


def names(out):
    return Counter(json.loads(line)["file"] for line in out.read_bytes().splitlines())


def children(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in found if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def lines_of(out):
    return out.read_bytes().count(b"\n") if out.exists() else 0


def test_the_lines_are_those_of_predict_json(clinic, expected, tiny_int8, capsys):
    capsys.readouterr()
    assert run(["predict", str(tiny_int8), str(clinic), "--json"]) == 1
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for record in said:
        for time_of in ("preprocess_ms", "inference_ms"):
            record.pop(time_of, None)
    assert said == [json.loads(line) for line in expected.splitlines()]
    assert sum("error" in record for record in said) == 3


def test_the_same_file_with_any_number_of_jobs(clinic, expected, tiny_int8, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    assert run(["predict", str(tiny_int8), str(clinic), "--out", str(out), "--jobs", "3"]) == 1
    assert out.read_bytes() == expected
    said = capsys.readouterr()
    assert f"{out}: 300 pictures, 3 of them could not be assessed" in said.out
    assert "1 file is not used (.txt 1)" in said.err
    about = json.loads(answers_file.about_of(out).read_text())
    assert (about["complete"], about["pictures"], about["not_assessed"]) == (True, 300, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "answers.jsonl.about.json"]


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_and_resumed_each_picture_is_answered_once(jobs, clinic, expected, tiny_int8, tmp_path):
    out = tmp_path / "answers.jsonl"
    command = [*COMMAND, "predict", tiny_int8, clinic, "--out", out, "--jobs", str(jobs), "--resume"]
    for least in (1, 100):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        until(lambda least=least, it=process: lines_of(out) >= least or it.poll() is not None)
        workers = children(process.pid) if process.poll() is None else []
        process.kill()
        process.communicate()
        until(lambda workers=workers: not any(map(alive, workers)), 20)  # none goes on for nobody
        with out.open("ab") as file:
            file.write(b'{"file": "cut off')
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "answered already" in done.stderr
    assert out.read_bytes() == expected
    again = subprocess.run(command, capture_output=True, text=True)  # nothing is left to do
    assert again.returncode == 1 and out.read_bytes() == expected


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_killed_process_is_replaced(clinic, expected, tiny_int8, tmp_path):
    out = tmp_path / "answers.jsonl"
    command = [*COMMAND, "predict", tiny_int8, clinic, "--out", out, "--jobs", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until(lambda: lines_of(out) >= 1)
    for one in children(process.pid):  # one of them has begun, and which one cannot be seen
        os.kill(one, signal.SIGKILL)
    said = process.communicate()[1]
    assert process.returncode == 1
    assert out.read_bytes() == expected
    assert "a process died (signal 9): its pictures are tried once more, alone" in said


POISON = """
import os, signal
opens = os.open
def poisoned(path, *rest, **more):
    if str(path).endswith("poison.jpg"):
        os.kill(os.getpid(), signal.SIGKILL)
    return opens(path, *rest, **more)
os.open = poisoned
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_picture_that_kills_is_reported_and_the_others_are_answered(jobs, tiny_int8, picture, tmp_path):
    for number in range(40):
        picture("mel", number, f"in/{number:02}.jpg")
    picture("mel", 0, "in/25-poison.jpg")
    (tmp_path / "sitecustomize.py").write_text(POISON)
    out = tmp_path / "answers.jsonl"
    done = subprocess.run(
        [*COMMAND, "predict", tiny_int8, "in", "--out", out, "--jobs", str(jobs)],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["file"] for record in records] == sorted(record["file"] for record in records)
    assert len(records) == 41
    (refused,) = [record for record in records if "error" in record]
    assert refused["file"] == "in/25-poison.jpg"
    assert refused["error"] == f"cannot assess: in/25-poison.jpg: {answering.DIED}"


def test_processes_that_cannot_start_end_the_work(tiny_int8, picture, tmp_path):
    picture("mel", 0, "in/a.jpg")
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, os\nif 'spawn_main' in ' '.join(sys.orig_argv): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [*COMMAND, "predict", tiny_int8, "in", "--out", "out.jsonl"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        "error: the processes end while they start (signal 9): try fewer --jobs, there may be no memory\n",
    )


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_says_how_to_go_on(number, code, clinic, expected, tiny_int8, tmp_path):
    out = tmp_path / "answers.jsonl"
    command = [*COMMAND, "predict", str(tiny_int8), str(clinic), "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until(lambda: lines_of(out) >= 1)
    os.killpg(process.pid, number)  # as a terminal or systemd: its processes get it too
    said = process.communicate()[1]
    line = f"error: interrupted; to continue: skin-edge {' '.join(command[3:])} --resume\n"
    assert (process.returncode, said[-len(line) :]) == (code, line)
    assert run([*command[3:], "--resume"]) == 1
    assert out.read_bytes() == expected


def test_a_full_disk_leaves_whole_lines(clinic, expected, tiny_int8, tmp_path):
    import resource

    out = tmp_path / "answers.jsonl"
    command = ["predict", str(tiny_int8), str(clinic), "--out", str(out), "--resume"]
    done = subprocess.run(
        [*COMMAND, *command],
        capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "cannot be written (File too large); make room or fix it, then run the same command with --resume to continue"
    )
    assert out.read_bytes().endswith(b"\n") and expected.startswith(out.read_bytes())
    assert run(command) == 1
    assert out.read_bytes() == expected


def test_csv_and_parquet_hold_the_same(clinic, expected, tiny_int8, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"answers.{suffix}"
        assert run(["predict", str(tiny_int8), str(clinic), "--out", str(out)]) == 1
        assert answers_file.journal_of(out).read_bytes() == expected
    table = csv_files.read(tmp_path / "answers.csv")
    columns = parquet.read_table(tmp_path / "answers.parquet").to_pylist()
    records = [json.loads(line) for line in expected.splitlines()]
    assert len(table.rows) == len(columns) == len(records)
    for record, row, column in zip(records, table.rows, columns, strict=True):
        cells = dict(zip(table.columns, row, strict=True))
        assert (cells["file"], cells["label"], cells["error"]) == (
            record["file"], record.get("label", ""), record.get("error", ""),
        )  # fmt: skip
        assert (column["file"], column["label"], column["error"]) == (
            record["file"], record.get("label"), record.get("error"),
        )  # fmt: skip
        for code, value in record.get("probabilities", {}).items():
            assert column[f"probability_{code}"] == float(cells[f"probability_{code}"]) == value
        for decision in record.get("decisions", ()):
            for part in ("decision", "score", "threshold", "borderline"):
                value = column[f"{part}_{decision['name']}"]
                assert value == decision[part]
                assert cells[f"{part}_{decision['name']}"] == (
                    str(value).lower() if value in (True, False) else str(value)
                )


def test_names_of_any_kind_come_back(tiny_int8, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = ["=1+1.jpg", "a\nb.jpg", 'quo"te.jpg', "\x1b[31m.jpg", "\u202egpj.jpg", os.fsdecode(b"\xff\xfe.jpg"), " .jpg"]
    for name in odd:
        Path("in").mkdir(exist_ok=True)
        Path("in", name).write_bytes(picture("mel").read_bytes())
    assert run(["predict", str(tiny_int8), "in", "--out", "a.jsonl", "--jobs", "2"]) == 0
    assert names(Path("a.jsonl")) == Counter(f"in/{name}" for name in odd)
    assert b"\x1b" not in Path("a.jsonl").read_bytes()
    assert len(Path("a.jsonl").read_bytes().splitlines()) == len(odd)
    before = Path("a.jsonl").read_bytes()
    assert run(["predict", str(tiny_int8), "in", "--out", "a.jsonl", "--resume"]) == 0
    assert Path("a.jsonl").read_bytes() == before
    monkeypatch.chdir(tmp_path / "in")
    assert run(["predict", str(tiny_int8), *odd, "--out", "a.csv"]) == 0
    assert "\n'=1+1.jpg," in Path("a.csv").read_text(encoding="utf-8")
    shown = [name.encode("utf-8", "backslashreplace").decode() for name in odd]
    assert [row[0] for row in csv_files.read("a.csv").rows] == [name.strip() for name in shown]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(["predict", str(tiny_int8), *odd, "--out", "a.parquet"]) == 0
    assert parquet.read_table("a.parquet")["file"].to_pylist() == shown


LISTS = {
    "lines.txt": (b"a.jpg\r\n\nsub/b.jpg\na.jpg\n", []),
    "marked.lst": (b"\xef\xbb\xbfa.jpg\nsub/b.jpg", []),
    "table.csv": (b"id,image\n1,a.jpg\n2,sub/b.jpg\n", []),
    "table.tsv": (b"path\tid\na.jpg\t1\nsub/b.jpg\t2\n", ["--image-column", "path"]),
    "other.txt": (b"photo;id\na.jpg;1\nsub/b.jpg;2\n", ["--image-column", "photo"]),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_names_pictures_relative_to_its_folder(name, tiny_int8, picture, tmp_path, monkeypatch):
    for file in ("lists/a.jpg", "lists/sub/b.jpg"):
        picture("mel", 1, file)
    content, flags = LISTS[name]
    (tmp_path / "lists" / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert run(["predict", str(tiny_int8), "--list", f"lists/{name}", "--out", "a.jsonl", *flags]) == 0
    assert list(names(Path("a.jsonl"))) == ["a.jpg", "sub/b.jpg"]
    assert set(names(Path("a.jsonl")).values()) == {1}
    monkeypatch.chdir(tmp_path / "lists")
    done = subprocess.run(
        [*COMMAND, "predict", tiny_int8, "--list", "-", "--out", "b.jsonl", *flags], input=content, capture_output=True
    )
    if name.endswith(".csv"):  # a stream has no suffix
        assert done.returncode == 1 and b"no such image: id,image" not in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert list(names(Path("b.jsonl"))) == ["a.jpg", "sub/b.jpg"]


def test_metadata_of_a_list(tmp_path):
    (tmp_path / "list.csv").write_text("image,age,localization\na.jpg,40,back\nb.jpg,,face\n")
    source = sources.listed(
        str(tmp_path / "list.csv"), metadata={"sex": "male"}, metadata_columns={"age": "age", "site": "localization"}
    )
    assert [(one.name, one.metadata) for one in source.pictures()] == [
        ("a.jpg", {"sex": "male", "age": "40", "site": "back"}),
        ("b.jpg", {"sex": "male", "age": "", "site": "face"}),
    ]
    (tmp_path / "list.csv").write_text("image,age\na.jpg,40\nb.jpg,1\na.jpg,50\n")
    source = sources.listed(str(tmp_path / "list.csv"), metadata_columns={"age": "age"})
    with pytest.raises(sources.DataError, match=r"line 4 names a.jpg again, after line 2"):
        list(source.pictures())


WRONG = {
    "predict MODEL IN --resume": (2, "--resume is of answers in a file: give --out answers.jsonl"),
    "predict MODEL IN --jobs 2": (2, "--jobs is of answers in a file"),
    "predict MODEL --list lines.txt": (2, "--list is of answers in a file"),
    "predict": (2, "no image given"),
    "predict MODEL IN --out a.txt": (2, "name a file that ends in .jsonl, .csv or .parquet"),
    "predict MODEL IN --out folder.jsonl": (2, "is a folder: name a file"),
    "predict MODEL IN --out /dev/null": (2, "name a file that ends in"),
    "predict MODEL IN --out a.jsonl --resume --overwrite": (2, "give one of them"),
    "predict MODEL IN --out a.jsonl --heatmap maps": (2, "leave --out out"),
    "predict MODEL IN --out a.jsonl --image-column x": (2, "name it with --list"),
    "predict MODEL IN --out a.jsonl --by-path": (2, "give --scheduler"),
    "predict MODEL IN --out a.jsonl --operating-point x": (2, "unknown operating point 'x'"),
    "predict MODEL IN --out a.jsonl --metadata age=3": (2, "takes no metadata"),
    "predict MODEL IN --list lines.txt --out a.jsonl": (2, "leave in out"),
    "predict MODEL --list absent.txt --out a.jsonl": (2, "--list absent.txt is not there"),
    "predict MODEL --list in --out a.jsonl": (2, "--list in is not a file"),
    "predict MODEL --list in/a.jpg --out a.jsonl": (1, "is no name of a file"),
    "predict MODEL --list other.csv --out a.jsonl": (1, "has no column 'image': name one with --image-column"),
    "predict MODEL --list blank.csv --out a.jsonl": (1, "blank.csv line 3 names no image in the column 'image'"),
    "predict MODEL empty --out a.jsonl": (2, "empty holds no pictures: it is empty"),
    "predict MODEL IN --out old.jsonl": (2, "continue it with --resume, choose another --out, or replace it"),
    "predict MODEL IN --out old.jsonl --resume": (2, "old.jsonl.about.json is missing"),
    "predict MODEL IN --out done.jsonl --resume --top-k 1": (2, "with top k null, not 1: continue with that"),
    "predict OTHER IN --out done.jsonl --resume": (2, "of the model with SHA-256 "),
    "predict MODEL IN --out spoiled.jsonl --resume": (1, "spoiled.jsonl line 1 is no answer"),
    "predict MODEL IN --out about.jsonl --resume": (2, "about.jsonl.about.json cannot be read"),
}


@pytest.fixture(scope="module")
def wrong(tmp_path_factory, tiny_int8, tiny_float32):
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "in").mkdir()
    miniatures.picture("mel", 1).save(folder / "in" / "a.jpg")
    (folder / "empty").mkdir()
    (folder / "folder.jsonl").mkdir()
    (folder / "lines.txt").write_text("in/a.jpg\n")
    (folder / "other.csv").write_text("picture\nin/a.jpg\n")
    (folder / "blank.csv").write_text("image,id\nin/a.jpg,1\n,2\n")
    for name in ("done", "spoiled", "about"):
        out = str(folder / f"{name}.jsonl")
        assert run(["predict", str(tiny_int8), str(folder / "in"), "--out", out]) == 0
    (folder / "old.jsonl").write_text("anything\n")
    (folder / "spoiled.jsonl").write_text("anything\n")
    (folder / "about.jsonl.about.json").write_text("{")
    return folder


@pytest.mark.parametrize("line", WRONG)
def test_what_is_wrong_is_one_line_and_writes_nothing(line, wrong, tiny_int8, tiny_float32, capsys, monkeypatch):
    monkeypatch.chdir(wrong)
    capsys.readouterr()
    before = {path: path.read_bytes() for path in wrong.rglob("*") if path.is_file()}
    words = {"MODEL": str(tiny_int8), "OTHER": str(tiny_float32), "IN": "in"}
    code, says = WRONG[line]
    assert run([words.get(word, word) for word in line.split()]) == code
    assert says in one_line(capsys)
    assert {path: path.read_bytes() for path in wrong.rglob("*") if path.is_file()} == before


def test_two_processes_do_not_write_one_file(clinic, tiny_int8, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    command = ["predict", str(tiny_int8), str(clinic), "--out", str(out)]
    process = subprocess.Popen([*COMMAND, *command], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    until(lambda: lines_of(out) >= 1)
    process.send_signal(signal.SIGSTOP)
    try:
        assert run([*command, "--resume"]) == 2
        assert "skin-edge predict is writing" in one_line(capsys)
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait() == 1


def test_overwrite_begins_again(clinic, expected, tiny_int8, tiny_float32, tmp_path):
    out = tmp_path / "answers.jsonl"
    assert run(["predict", str(tiny_float32), str(clinic / "1"), "--out", str(out)]) == 0
    assert run(["predict", str(tiny_int8), str(clinic), "--out", str(out), "--overwrite"]) == 1
    assert out.read_bytes() == expected


def test_more_pictures_are_added_later(tiny_int8, picture, tmp_path):
    for number in range(3):
        picture("mel", number, f"in/{number}.jpg")
    for suffix in ("jsonl", "csv"):
        out = tmp_path / f"a.{suffix}"
        assert run(["predict", str(tiny_int8), str(tmp_path / "in"), "--out", str(out)]) == 0
    picture("mel", 9, "in/0-new.jpg")
    for suffix in ("jsonl", "csv"):
        out = tmp_path / f"a.{suffix}"
        assert run(["predict", str(tiny_int8), str(tmp_path / "in"), "--out", str(out), "--resume"]) == 0
        found = names(answers_file.journal_of(out))
        assert [Path(name).name for name in found] == ["0.jpg", "1.jpg", "2.jpg", "0-new.jpg"]
    assert len(csv_files.read(tmp_path / "a.csv").rows) == 4


def test_what_is_no_file_is_refused_and_a_loop_is_left(tiny_int8, picture, tmp_path):
    picture("mel", 0, "in/a.jpg")
    os.mkfifo(tmp_path / "in" / "b.jpg")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "c.jpg").symlink_to(tmp_path / "absent")
    out = tmp_path / "in" / "answers.jsonl"  # within what it goes through
    assert run(["predict", str(tiny_int8), str(tmp_path / "in"), str(tmp_path / "absent.jpg"), "--out", str(out)]) == 1
    records = {Path(record["file"]).name: record for record in map(json.loads, out.read_text().splitlines())}
    assert list(records) == ["a.jpg", "b.jpg", "c.jpg", "absent.jpg"]
    assert "is a pipe, socket or device" in records["b.jpg"]["error"]
    assert "no such image" in records["c.jpg"]["error"] and "no such image" in records["absent.jpg"]["error"]


def test_a_folder_that_goes_away_refuses_no_picture(clinic, expected, tiny_int8, tmp_path, capsys):
    shutil.copytree(clinic, tmp_path / "clinic")
    out = tmp_path / "answers.jsonl"
    command = ["predict", str(tiny_int8), str(tmp_path / "clinic"), "--out", str(out)]
    process = subprocess.Popen([*COMMAND, *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    until(lambda: lines_of(out) >= 1)
    (tmp_path / "clinic").rename(tmp_path / "away")
    said = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 1
    assert "has gone meanwhile (No such file" in said or "cannot be listed: No such file" in said
    assert not any("no such image" in line for line in out.read_text().splitlines())
    (tmp_path / "away").rename(tmp_path / "clinic")
    assert run([*command, "--resume"]) == 1
    assert out.read_bytes() == expected.replace(str(clinic).encode(), str(tmp_path / "clinic").encode())


def test_standard_input_is_one_of_the_pictures(tiny_int8, picture, tmp_path):
    done = subprocess.run(
        [*COMMAND, "predict", tiny_int8, picture("nv", name="a.jpg"), "-", "--out", "a.jsonl"],
        input=picture("mel").read_bytes(), cwd=tmp_path,
    )  # fmt: skip
    records = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert done.returncode == 0
    assert [(record["file"][-5:], record["label"]) for record in records] == [("a.jpg", "nv"), ("-", "mel")]


class FakePool:
    """Answers in any order; a piece of work with a picture called "poison" dies."""

    places = 4

    def __init__(self, seed):
        self.random, self.tasks, self.most, self.alone = random.Random(seed), {}, 0, []

    def submit(self, key, pictures):
        self.tasks[key] = list(pictures)
        self.most = max(self.most, len(self.tasks))
        if any("poison" in one.name for one in self.tasks[key]) and len(pictures) == 1:
            self.alone.append(len(self.tasks))

    def reports(self):
        key = self.random.choice(list(self.tasks))
        left = self.tasks[key]
        count = self.random.randint(0, len(left))
        here, self.tasks[key] = left[:count], left[count:]
        poisoned = next((place for place, one in enumerate(here) if "poison" in one.name), None)
        if poisoned is not None or not self.tasks[key]:
            del self.tasks[key]
        yield Report(key, [Answer(one.name.encode(), True) for one in here[:poisoned]])
        if key not in self.tasks:
            yield Report(key, ended=True)


@pytest.mark.parametrize("seed", range(20))
def test_answers_come_in_order_from_few_at_a_time(seed):
    pool, taken, given = FakePool(seed), [], []

    def pictures():
        for number in range(500):
            taken.append(number)
            assert len(taken) - len(given) <= 5 * pool.places * 4  # no list of all is made
            yield sources.Picture(f"{number}-poison" if number % 50 == 7 else f"{number}", "")

    for answers in in_order(pool, pictures(), lambda one: Answer(b"died", False), most=4):
        given += answers
    assert [answer.line for answer in given] == [
        b"died" if number % 50 == 7 else f"{number}".encode() for number in range(500)
    ]
    assert pool.most == pool.places and set(pool.alone) == {1} and len(pool.alone) == 10


def test_a_list_of_millions_is_not_held():
    """What is kept of a name is its hash."""
    seen = sources.Names()
    assert [seen.add(name) for name in ("a", "b", "a", "\udcff", "\udcff")] == [True, True, False, True, False]
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("done", "total", "rate", "line"),
    [
        (51_234, 100_000, 402.3, "[==========          ] 51,234 of 100,000 pictures, 402 a second, 2:01 left"),
        (0, 10, 0.0, "[                    ] 0 of 10 pictures, 0.0 a second, 0:00 left"),
        (5, 10, 0.001, "[==========          ] 5 of 10 pictures, 0.0 a second, 1:23:20 left"),
        (7, None, 3.14, "7 pictures, 3.1 a second"),
        (0, 0, 0.0, "0 of 0 pictures, 0.0 a second"),
    ],
)
def test_progress(done, total, rate, line):
    assert commands.progress_line(done, total, rate) == line


def test_a_suffix_says_the_format():
    for name in ("a", "a.json", "a.jsonl.gz"):
        with pytest.raises(UsageError, match="name a file that ends in"):
            answers_file.check_suffix(Path(name))


def test_the_study_counts_every_picture(tmp_path):
    (tmp_path / "pictures").mkdir()
    study.make(tmp_path / "pictures", 600)
    result = study.killed(tmp_path / "pictures", tmp_path / "answers.jsonl", 600, 1)
    assert (result["lines"], result["names"], result["refused"], result["broken"]) == (600, 600, 1, 1)
