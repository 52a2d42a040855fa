"""README and docs: every command line parses and, where it can, runs; links lead somewhere; what is made is current."""

from __future__ import annotations

import csv
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from skin_edge.benchmarks.bundle import pictures
from skin_edge.edge_runtime.cli import COMMANDS, run

from . import cli_reference, command_lines, layout_miniatures, miniatures, readme_images
from .command_lines import ROOT, CommandLine

DOCUMENTS = command_lines.documents()
FIT = "fit-22.jpg"  # which the packaged model answers
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Lines that no test runs as they stand, and why. (start of the document or call, reason); the first that fits counts.
NOT_RUN = {
    "docs/results.md": "figures of HAM10000: hours of training, its pictures and ImageNet weights",
    "docs/experiments.md": "the packaged model's trainings on HAM10000, with ImageNet weights: hours",
    "edge_runtime/models/MODEL_CARD": "the packaged models' trainings, on HAM10000",
    "docs/distributed.md": "several machines; tests/test_distribution.py runs two processes",
    "skin-edge train HAM10000 --out runs/first --distribute": "several GPUs; tests/test_distribution.py has two",
    "docs/engines.md": "tests/test_engines.py runs engines and delegates, and the lines that install them",
    "skin-edge predict model_int8.tflite clinic --out answers.jsonl --scheduler": "a cluster; tests/test_bulk_dask.py",
    "skin-edge watch model_int8.tflite inbox --out": "runs until it is stopped; tests/test_watch.py",
    "python -m skin_edge.convert.renew model_int8.tflite": "hundreds of pictures; tests/test_assess.py has them",
    "skin-edge quickstart": "tests/test_quickstart.py runs it",
    "skin-edge serve": "it runs until it is stopped; tests/test_serve.py runs and asks it",
    **dict.fromkeys(
        ("skin-edge bench quickstart/", "skin-edge convert quickstart/", "skin-edge bench micro/"),
        "figures of the quickstart's network; tests/test_micro.py and tests/test_convert_micro.py run the commands",
    ),
}

# What is added to a line so that it trains for seconds and downloads nothing. The last of equal flags counts.
_TRAIN = ["--weights", "none", "--image-size", "60x80", "--epochs", "1", "--batch-size", "16"]
ADDED = {
    "train": _TRAIN,
    "tune": ["--trials", "1", "--set", "epochs=1"],
    "convert": ["--qat-epochs", "1"],
    "bench": ["--num-runs", "3", "--warmup-runs", "0", "--cold-starts", "0"],
}
# Networks that learned nothing in one epoch break limits, which is what their lines are for.
_MAY_EXIT = {"--gate": (0, 3), "--flash": (0, 3)}


def all_lines() -> list[CommandLine]:
    return [line for document in DOCUMENTS for line in command_lines.command_lines(document)]


def why_not(line: CommandLine) -> str | None:
    text = " ".join(line.words)
    return next((start for start in NOT_RUN if line.document.startswith(start) or text.startswith(start)), None)


def test_every_command_line_parses():
    lines = all_lines()
    assert len(lines) > 80
    problems = [f"{line}: {problem}" for line in lines if (problem := command_lines.problem(line.words))]
    assert problems == []


@pytest.mark.parametrize(
    "words",
    [
        "skin-edge trian HAM10000 --out r",
        "skin-edge train HAM10000 --out r --epohcs 3",
        "skin-edge train --epochs 3 HAM10000",
        "skin-edge train HAM10000 --out r --task benign",
        "skin-edge train HAM10000 other --out r",
        "skin-edge verify handover.zip",
        "python -m studies.copies A",
        "python -m studies.copy A B",
        "python -m skin_edge.convert.renew A B --out C",
    ],
)
def test_a_wrong_command_line_is_found(words):
    assert command_lines.problem(tuple(words.split()))


def test_commands_within_sentences_exist():
    for document in DOCUMENTS:
        for span, words in command_lines.inline_calls(document):
            assert words[1] in COMMANDS or words[1] in ("COMMAND", "--help"), f"{document}: {span}"
            if words[1] in COMMANDS:
                known = command_lines.options(cli_reference.click_command(words[1]))
                assert {word.split("=")[0] for word in words[2:] if word.startswith("--")} <= known, (
                    f"{document}: {span}"
                )


def test_each_reason_not_to_run_a_line_is_needed():
    assert {why_not(line) for line in all_lines()} - {None} == set(NOT_RUN)


def test_every_option_is_explained_in_a_phrase():
    for name in COMMANDS:
        for option in cli_reference.click_command(name).params:
            if isinstance(option, click.Option):
                text = (option.help or "").partition("  [default")[0]
                phrase = re.fullmatch(r"[A-Z].* .*\.", text, re.DOTALL)
                assert phrase, f"{name} {option.opts}: {text!r} is not a phrase with a capital and a full stop"


def test_modules_within_sentences_exist():
    for document in DOCUMENTS:
        for name in re.findall(r"`python -m (skin_edge\.[\w.]+)", document.read_text(encoding="utf-8")):
            assert importlib.util.find_spec(name), f"{document}: {name}"


def test_the_command_reference_is_current():
    current = cli_reference.REFERENCE.read_text(encoding="utf-8")
    assert current == cli_reference.reference(), "run: python -m tests.cli_reference"


def test_readme_is_short_and_names_every_command():
    assert len(README.splitlines()) <= 150, "move what is too much to a guide in docs/"
    rows = re.findall(r"^\| `([a-z-]+)` \|", README, re.MULTILINE)
    assert rows == list(COMMANDS), "README's table of commands has a row for each, in the order of COMMANDS in cli.py"
    lines = [line for line in README.splitlines() if re.fullmatch(r"    python3 -m venv .*pytest -n auto .*", line)]
    assert len(lines) == 1  # what .ci/run runs


def test_every_guide_is_linked_from_readme():
    for document in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{document.name}" in README, f"link docs/{document.name} in README's table of guides"


def test_the_badges_say_what_setup_cfg_says():
    for name, text in readme_images.badges().items():
        assert (readme_images.IMAGES / name).read_text() == text, "run: python -m tests.readme_images --badges"
        assert f"(docs/images/{name})" in README
    assert (readme_images.IMAGES / "report.png").stat().st_size < 300_000


def anchors(text: str) -> set[str]:
    """GitHub's anchors of the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), f"{document}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{document}: {link}"


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory):
    """A folder with everything that the lines of README and the guides name, small and drawn."""
    folder = tmp_path_factory.mktemp("reader")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    _draw_data()
    flags = ["--width", "0.25", *_TRAIN]
    assert run(["train", "HAM10000", "--out", "runs/main160", *flags]) == 0
    assert run(["convert", "runs/main160", "--int8", "--ptq", "--out", "runs/main160/int8"]) == 0
    for name, source in {"a": "int8", "b": "int8", "float": "float32"}.items():
        shutil.copy(f"runs/main160/int8/model_{source}.tflite", f"{name}.tflite")
    for name in ("before", "after", "here", "phone"):
        assert run(["bench", "--num-runs", "3", "--cold-starts", "0", "--result-json", f"{name}.json"]) == 0
    yield folder
    patch.undo()


def _draw_data() -> None:
    miniatures.ham10000(Path("HAM10000"))
    _let_patients_differ(Path("HAM10000/HAM10000_metadata.csv"))
    for folder, size in {"FULLSIZE": (120, 90), "CROPS": (40, 40)}.items():
        miniatures.resized(Path("HAM10000").rglob("*.jpg"), Path(folder), size)
    layout_miniatures.isic2018_task3(Path("ISIC2018"))
    layout_miniatures.isic2020(Path("ISIC_2020"), patients=16)
    Path("photo.jpg").write_bytes(pictures.fit()[FIT])
    miniatures.without_limits(Path("model_int8.tflite"))  # it would refuse what is drawn
    miniatures.class_folders(Path("other-clinic"), 6, tuple(miniatures.COLOURS))
    Path("clinic").mkdir()
    Path("inbox").mkdir()
    miniatures.picture("mel", 1).save("inbox/arrived.jpg")
    rows = []
    for number in range(40):
        code = ("mel", "nv")[number % 2]
        name = f"{number}.jpg"
        for folder in ("clinic", "NEW_FOLDER"):
            Path(folder).mkdir(exist_ok=True)
            miniatures.picture(code, number).save(Path(folder) / name)
        for label in (code, "other"):
            path = Path("FOLDERS") / label / f"p{number}_1.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            for shot in (1, 2):
                miniatures.picture(code, 1000 * shot + number).save(path.with_name(f"p{number}_{shot}.jpg"))
        rows.append((name, code, f"person{number // 2 if number % 4 < 2 else number}"))
    layout_miniatures.write(
        Path("classes.csv"), ("code", "name", "malignant"), [("mel", "mel", "1"), ("nv", "nv", "0")]
    )
    own = [(f"clinic/{name}", code, f"{code}-{person}") for name, code, person in rows]
    layout_miniatures.write(Path("own.csv"), ("file", "finding", "person"), own)
    layout_miniatures.write(Path("clinic.csv"), ("file", "finding", "person"), own)
    moved = [(f"old/{name}", code, f"{code}-{person}") for name, code, person in rows]
    layout_miniatures.write(Path("moved.csv"), ("path", "label", "group"), moved)
    from skin_edge.train.data.synthetic import draw_dataset

    draw_dataset("synthetic", lesions_per_class=8)


def _let_patients_differ(table: Path) -> None:
    rows = list(csv.DictReader(table.open(newline="")))
    for number, row in enumerate(rows):
        row |= {"age": str(20.0 + 5 * (number % 13)), "sex": ("male", "female")[number % 2]}
        row["localization"] = ("face", "back", "chest")[number % 3]
    layout_miniatures.write(table, tuple(rows[0]), [tuple(row.values()) for row in rows])


@pytest.mark.slow
def test_every_command_line_runs(bench_folder, capsys):
    done: set[tuple[str, ...]] = set()
    failed = []
    for line in all_lines():
        if why_not(line) or line.words in done:
            continue
        done.add(line.words)
        code = _run(line, capsys)
        allowed = next((codes for flag, codes in _MAY_EXIT.items() if flag in line.words), (0,))
        if code not in allowed:
            failed.append(f"{line}: exit code {code}: {capsys.readouterr().err[-500:]}")
    assert not failed, "\n".join(failed)
    assert len(done) > 30


def _run(line: CommandLine, capsys) -> int:
    capsys.readouterr()
    if line.words[0] == "skin-edge":
        arguments = list(line.words[1:])
        untimed = arguments[0] == "bench" and {"--micro", "--engine", "--compare"} & set(arguments)
        added = [] if untimed else ADDED.get(arguments[0], [])
        if "--start" in arguments:
            added = [word for word in added if word not in ("--weights", "none")]  # it says where they come from
        if any(word.startswith("epochs=") for word in arguments) and arguments[0] == "train":
            at = added.index("--epochs")  # with both, the command asks which one is meant
            added = [*added[:at], *added[at + 2 :], "--set", "epochs=1"]
        if "--balance" in arguments:
            added = [*added, "--balance", "8"]
        return run(arguments if arguments[-1].startswith("--help") else [*arguments, *added])
    process = subprocess.run([sys.executable, *line.words[1:]], capture_output=True, text=True)
    if line.into:
        Path(line.into).write_text(process.stdout)
    sys.stderr.write(process.stderr)
    return process.returncode
