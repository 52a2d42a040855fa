"""Two writers at once, and signals at random moments, many times: every output is the old one or a new one, whole.

    python -m tests.stress [--work DIR] [--pairs 40] [--kills 50] [--only NAME...] [--json]

`tests/test_stress.py` runs a few of each. Signals are SIGKILL, SIGINT and SIGTERM by turns. Children of commands that
need no TensorFlow are forked from a process that has imported everything, so that their time is the command's own; they
end by os._exit as the command does, or by the signal.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from skin_edge.edge_runtime import cli, files, stopping

from . import miniatures

GOLDEN = Path(__file__).parent / "golden"
SECONDS = 1800  # after which a command hangs
Writer = Callable[[Path, str], None]


class Failed(Exception):
    """What must hold did not."""


def forked(work: Callable[[], int | None], log: Path) -> int:
    """The process that does it, with all that it prints in `log`."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    child = os.fork()
    if child:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        return child
    # Python's own handler would raise in what follows, which is no command yet: until there is one, SIGINT ends it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    code = 99
    try:
        signal.alarm(SECONDS)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(out, 1), os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        code = work() or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush(), sys.stdout.flush()
        os._exit(code)


def command(arguments: list[Any], log: Path) -> int:
    """The process of a command: of one that needs TensorFlow a fresh Python, since its threads survive no fork."""
    words = [*map(str, arguments)]
    if words[0] not in ("train", "tune", "convert", "quickstart"):

        def run() -> int:
            stopping.listen()
            return cli.run(words)

        return forked(run, log)
    what = ["-c", SMALL_QUICKSTART] if words[0] == "quickstart" else ["-m", "skin_edge.edge_runtime"]
    return forked(lambda: os.execv(sys.executable, [sys.executable, *what, *words]), log)


SMALL_QUICKSTART = """
import dataclasses, functools
from skin_edge.convert import quickstart
from skin_edge.edge_runtime import cli
from skin_edge.train.recipes import published
small = dataclasses.replace(published.QUICKSTART, epochs=1, image_size=(32, 32), batch_size=8)
published.RECIPES["quickstart"] = small
quickstart.draw_dataset = functools.partial(quickstart.draw_dataset, lesions_per_class=12, size=(60, 45))
cli.main()
"""


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digest(path: Path) -> str:
    """Of a file, or of all files below a folder with their names; "" where it is not there."""
    found = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []:
        if file.is_file():
            found.update(f"{file.relative_to(path)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest() if path.exists() else ""


def hidden(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


# ---- Pairs of writers.


def writers(work: Path) -> dict[str, tuple[str, Writer]]:
    """Kind of output -> (its name, what writes it with a word in it): the functions by which commands write."""
    from skin_edge.benchmarks.bundle import hand_over
    from skin_edge.benchmarks.report import sheets
    from skin_edge.convert import layer_errors
    from skin_edge.train import compare, evaluate
    from skin_edge.train.data import contact_sheets, inspection, layouts
    from skin_edge.train.reports import compare_views
    from skin_edge.train.runs import run_folder

    run = miniatures.measured(work / "run", miniatures.ham10000(work / "ham", lesions=16))
    begun = run_folder.read(run)
    runs = {word: [compare.read(run)] * (1 + len(word)) for word in WORDS}
    comparisons = {word: compare.compare(runs[word]) for word in WORDS}
    results, table, _ = evaluate.evaluate(
        GOLDEN / "tiny_int8.tflite", miniatures.class_folders(work / "data"), None, _mute
    )
    found = {
        word: layouts.read_dataset(miniatures.class_folders(work / f"data-{word}", 4 + len(word))) for word in WORDS
    }
    inspected = {word: inspection.inspect(found[word], (0.6, 0.2, 0.2), "lesion") for word in WORDS}
    rows = [layer_errors.Row(**_row(layer_errors.Row, word)) for word in WORDS]

    def evaluation(out: Path, word: str) -> None:
        evaluate.write(out, {**results, "title": word}, table, overwrite=True)

    def beginning(out: Path, word: str) -> None:
        settings = {**begun.config.settings, "seed": len(word)}
        config = replace(begun.config, settings=settings)
        run_folder.begin(out, config=config, split=begun.split, skipped={word: "unreadable"})

    def conversion(out: Path, word: str) -> None:
        with files.replacing_folder(out) as folder:
            for name in ("model_int8.tflite", "model_float32.tflite", "labels.txt", "metadata.json"):
                (folder / name).write_bytes(word.encode() * 20_000)

    def page(out: Path, word: str) -> None:
        compare_views.write(comparisons[word], out)

    def picture(out: Path, word: str) -> None:
        files.write(out, sheets.png(contact_sheets.class_sheet(found[word].frame, "mel", 1)))

    def csv_and_drawing(out: Path, word: str) -> None:
        layer_errors.draw([row for row in rows if row.name == word], out)

    return {
        "run (train)": ("run", beginning),
        "evaluation": ("evaluation", evaluation),
        "conversion": ("int8", conversion),
        "inspection (data)": ("report", lambda out, word: inspection.write(out, inspected[word], found[word], (), 1)),
        "bundle": ("b", lambda out, word: hand_over.write(out, "b", _bundle(word), overwrite=True)),
        "bundle.zip": ("b.zip", lambda out, word: hand_over.write(out, "b", _bundle(word), overwrite=True)),
        "comparison.html": ("c.html", page),
        "comparison.png": ("c.png", page),
        "comparison.csv": ("c.csv", page),
        "contact sheet": ("sheet.png", picture),
        "layer errors": ("errors.png", csv_and_drawing),
        "report (bench)": ("bench.json", lambda out, word: files.write_all({out: word * 20_000})),
    }


WORDS = ("one", "another")


def _mute(*_: object) -> None:
    pass


def _bundle(word: str) -> dict[str, bytes]:
    return {
        name: word.encode() * 5_000 for name in ("SHA256SUMS", "model.tflite", "golden/pictures/a.png", "README.md")
    }


def _row(kind: type, word: str) -> dict[str, Any]:
    import dataclasses

    known = {"name": word, "operator": "CONV_2D", "shape": (1, 2, 2, 3), "position": len(word)}
    return {field.name: known.get(field.name, 1.0) for field in dataclasses.fields(kind)}


def pairs(work: Path, count: int, report: Callable[[str], None]) -> Counter[str]:
    """Two writers of one output at the same moment, `count` times for each kind of output."""
    made = Counter[str]()
    for kind, (name, write) in writers(work / "inputs").items():
        here = work / "pairs"
        here.mkdir()
        out, whole, context = here / name, dict[str, str](), multiprocessing.get_context("fork")
        for word in WORDS:
            write(out, word)
            whole[digest(out)] = word
        if len(whole) < 2:
            raise Failed(f"{kind}: what the two write is the same")
        for number in range(count):
            barrier = context.Barrier(2)

            def one(word: str, barrier: Any = barrier, write: Writer = write, out: Path = out) -> None:
                barrier.wait()
                write(out, word)

            children = [forked(lambda word=word: one(word), work / f"{word}.log") for word in WORDS]
            codes = [ended(child) for child in children]
            if codes != [0, 0]:
                raise Failed(f"{kind}, pair {number}: {(work / f'{WORDS[codes[0] == 0]}.log').read_text()[-2000:]}")
            if digest(out) not in whole:
                raise Failed(f"{kind}, pair {number}: {out} is neither one's nor the other's")
            if hidden(here):
                raise Failed(f"{kind}, pair {number} leaves {hidden(here)}")
            made[whole[digest(out)]] += 1
        report(f"{kind}: {count} pairs")
        shutil.rmtree(here)
    return made


# ---- Signals.

# Each one's exit codes, beside 0 where the command had ended: of those that can be caught the documented one, or the
# system's where the command is not listening yet or any more.
SIGNALS = {
    signal.SIGKILL: (-signal.SIGKILL,),
    signal.SIGINT: (130, -signal.SIGINT),
    signal.SIGTERM: (143, -signal.SIGTERM),
}


def kills(work: Path, name: str, count: int, report: Callable[[str], None]) -> Counter[str]:
    """A command that replaces its output, stopped `count` times: what it leaves is the old or the new one, whole.

    Every other signal comes at a random moment of the whole command, the rest while it writes: when its temporary name
    has appeared. A signal that can be caught ends in one line and leaves nothing hidden; what a killed one leaves,
    there or where the system keeps temporary files, goes with the next run, which ends well on what was there (of
    commands with TensorFlow: after every third or tenth signal).
    """
    shutil.rmtree(work, ignore_errors=True)
    (work / "temporary").mkdir(parents=True)
    os.environ["TMPDIR"], tempfile.tempdir = str(work / "temporary"), None
    lines, flags, every, check = _killed(work / "inputs", work / "out", name)
    out, log, draw = work / "out", work / "log", random.Random(name)
    whole, seconds = dict[str, str](), dict[str, float]()
    for word, line in lines.items():
        begun = time.monotonic()
        if ended(command([*line, *flags(out)], log)):
            raise Failed(f"{name}: {log.read_text()[-2000:]}")
        seconds[word] = time.monotonic() - begun
        whole[digest(out)] = word
    last, found = word, Counter[str]()
    if name == "tune":  # which goes on with what is there, and has nothing to do on a whole search
        shutil.rmtree(out)
    for number in range(count):
        word = next((one for one in lines if one != last), last)
        child, kind = command([*lines[word], *flags(out)], log), [*SIGNALS][number % 3]
        _stop(child, kind, work, draw.uniform(0, 1.05) * seconds[word], aimed=number % 2 == 1 and name != "tune")
        code, said = ended(child), log.read_text()
        # Python itself was, or what it loads before the command: no line of the package had run.
        starting = "Fatal Python error: init" in said or ("Traceback" in said and "edge_runtime" not in said)
        if not starting and (code not in (0, *SIGNALS[kind]) or "Traceback" in said):
            raise Failed(f"{name}, signal {number} ({kind.name}): exit code {code}: {said[-2000:]}")
        if code > 0 and not starting and not said.splitlines()[-1].startswith("error: interrupted"):
            raise Failed(f"{name}, signal {number} ({kind.name}) says {said[-2000:]}")
        if code > 0 and (left := hidden(work)):
            raise Failed(f"{name}, signal {number} ({kind.name}) leaves {left}")
        state = check(out, whole)
        found["ended before" if code == 0 else "old" if state == last else "new" if state == word else state] += 1
        if (number + 1) % every == 0:
            if ended(command([*lines[word], *flags(out)], log)):
                raise Failed(f"{name}, after signal {number}: {log.read_text()[-2000:]}")
            if left := [*hidden(work), *(work / "temporary").iterdir()]:
                raise Failed(f"{name}, after signal {number}: {left} are left")
            state = check(out, whole)
        if name == "tune" and state == "whole":
            shutil.rmtree(out)
        last = state if state in lines else last
    report(f"{name}: {count} signals: {', '.join(f'{state} {n}' for state, n in found.most_common())}")
    return found


def _stop(child: int, kind: signal.Signals, work: Path, after: float, *, aimed: bool) -> None:
    deadline, begun = time.monotonic() + after, time.monotonic()
    while time.monotonic() - begun < SECONDS:
        if aimed and any(name.name.startswith(".out.") for name in work.iterdir()):
            time.sleep(random.uniform(0, 0.03))
            break
        if not aimed and time.monotonic() > deadline:
            break
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.0005)
    os.kill(child, kind)


def _killed(inputs: Path, out: Path, name: str) -> Any:
    """(word -> command line, flags for what is there, after how many signals one goes to its end, what checks it)."""
    tiny, other = GOLDEN / "tiny_int8.tflite", GOLDEN / "tiny_float32.tflite"
    small = ["--recipe", "quickstart", "--set", "image_size=[32,32]", "--set", "batch_size=8", "--set", "epochs=1"]

    def overwrite(out: Path) -> list[str]:
        return ["--overwrite"] if out.exists() else []

    def one_of(out: Path, whole: dict[str, str]) -> str:
        if not out.exists() and name in ("data", "quickstart"):
            return "none"
        if name == "quickstart":  # which has times in it
            return _whole_quickstart(out)
        if digest(out) not in whole:
            raise Failed(f"{name}: {out} is neither the old nor the new one: {sorted(map(str, out.rglob('*')))}")
        return whole[digest(out)]

    data = miniatures.class_folders(inputs / "data", images=20, codes=("mel", "nv", "bcc"))
    if name == "evaluate":
        return {w: [name, m, data, "--out", out] for w, m in (("a", tiny), ("b", other))}, overwrite, 1, one_of
    if name == "bundle":
        lines = {"a": [name, "--out", out], "b": [name, "--out", out, "--pictures", data / "mel"]}
        return lines, overwrite, 5, one_of

    def removed(out: Path) -> list[str]:
        shutil.rmtree(out, ignore_errors=True)
        return []

    if name == "data":  # replaces nothing: it is whole or not there
        return {"a": [name, data, "--out", out]}, removed, 1, one_of
    if name == "quickstart":  # likewise
        return {"whole": [name, "--out", out]}, removed, 3, one_of
    if name == "convert":
        run = inputs / "run"
        flags = ["--weights", "none", "--width", "0.25", "--image-size", "32", "--batch-size", "8", "--epochs", "1"]
        if ended(command(["train", miniatures.ham10000(inputs / "ham"), "--out", run, *flags], inputs / "log")):
            raise Failed((inputs / "log").read_text()[-2000:])
        lines = {
            word: [name, run, "--int8", "--ptq", "--author", word, "--out", out, "--representative", 20]
            for word in WORDS
        }
        return lines, overwrite, 10, one_of

    def searched(out: Path, whole: dict[str, str]) -> str:
        if not (out / "tune.json").exists():
            return "none"
        json.loads((out / "tune.json").read_text())
        return "whole"

    line = ["tune", data, "--out", out, *small, "--trials", 2]
    return {"whole": line}, lambda out: ["--resume"] if (out / "trials").is_dir() else [], 3, searched


def _whole_quickstart(out: Path) -> str:
    from skin_edge.edge_runtime.classifier import SkinClassifier

    SkinClassifier(out / "int8" / "model_int8.tflite").close()
    for name in ("run/metrics.json", "run/split.csv", "run/report.html", "synthetic/HAM10000_metadata.csv"):
        if not (out / name).is_file():
            raise Failed(f"quickstart: {out} has no {name}")
    return "whole"


# ---- Two trainings.


def trainings(work: Path, report: Callable[[str], None]) -> Counter[str]:
    """Two trainings of one --cache, and two of one RUN."""
    data = miniatures.ham10000(work / "ham")
    flags = ["--weights", "none", "--width", "0.25", "--image-size", "32", "--batch-size", "8", "--epochs", "1"]
    runs = [["train", data, *flags, "--out", work / name, "--cache", work / "cache"] for name in "ab"]
    codes = [ended(child) for child in [command(line, work / f"{line[-3].name}.log") for line in runs]]
    answers = {digest(work / name / "predictions.csv") for name in "ab"}
    if codes != [0, 0] or len(answers) != 1 or len(list((work / "cache").iterdir())) != 1 or hidden(work):
        raise Failed(f"two trainings of one cache: exit codes {codes}, {len(answers)} answers, left {hidden(work)}")
    one = ["train", data, *flags, "--out", work / "c"]
    codes = sorted(ended(child) for child in [command(one, work / f"{n}.log") for n in (1, 2)])
    if codes != [0, 2] or {digest(work / "c" / "predictions.csv")} != answers or hidden(work):
        raise Failed(f"two trainings of one run: exit codes {codes}, left {hidden(work)}")
    report("two trainings of one cache fill it once and answer alike; of two of one run the second is told")
    return Counter({"cache": 1, "run": 1})


KILLED = ("evaluate", "tune", "convert", "data", "bundle", "quickstart")


def main() -> int:
    """Prints a line for each part; exit code 1 and what went wrong where something did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--work", type=Path, help="a folder for what is written; else a temporary one")
    parser.add_argument("--pairs", type=int, default=40, help="of writers, for each kind of output")
    parser.add_argument("--kills", type=int, default=50, help="signals for each command")
    parser.add_argument("--only", nargs="+", choices=["pairs", "trainings", *KILLED], help="these parts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    parts = arguments.only or ["pairs", "trainings", *KILLED]
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        from skin_edge.train import engine  # once, for all children

        assert engine
        work, result, begun = Path(folder), dict[str, Any](), time.monotonic()

        def report(line: str) -> None:
            print(line, file=sys.stderr, flush=True)

        for part in parts:
            (work / part).mkdir()
            try:
                if part == "pairs":
                    result[part] = pairs(work / part, arguments.pairs, report)
                elif part == "trainings":
                    result[part] = trainings(work / part, report)
                else:
                    result[part] = kills(work / part, part, arguments.kills, report)
            except Failed as error:
                print(f"error: {error}", file=sys.stderr)
                return 1
    result["minutes"] = round((time.monotonic() - begun) / 60, 1)
    print(json.dumps(result, indent=2) if arguments.json else f"all held, in {result['minutes']} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
