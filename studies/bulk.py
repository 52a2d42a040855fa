"""Pictures by the thousand: are all answered once, how fast, and in how much memory?

    python -m studies.bulk [--pictures N] [--kills N]
    python -m studies.bulk --jobs 2 [--pictures N] [--rounds N]
    python -m studies.bulk --scheduler ADDRESS [--pictures N]

The first line makes JPEGs of 64x48 px by seed in a temporary folder, one in a thousand broken, answers them with two
processes, kills the command at evenly spaced moments and goes on with --resume; then it counts: each picture has to be
answered or refused once. Resident memory of the command and of its processes is read every second: the median of the
first quarter of the time after the last kill, and of the last.

The second compares one process with several and with `SkinClassifier.predict_many` in the same order of magnitude:
pictures a second between the first and the last answer, so that starts do not count. The sides take turns, and the
median of the rounds is given; the ratio is that of pairs.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import numpy as np
from PIL import Image

from skin_edge.edge_runtime import console
from skin_edge.edge_runtime.classifier import SkinClassifier

_BROKEN_EVERY = 1000
# What is drawn here shows no lesion.
_COMMAND = [sys.executable, "-m", "skin_edge.edge_runtime", "predict", "--assess-anything"]


def make(folder: Path, count: int) -> None:
    """`count` pictures, a thousand in a folder; the same for the same number.

    Args:
        folder: Is there.
        count: Pictures.
    """
    noise = np.random.default_rng(0).integers(0, 256, (100, 6, 8, 3), dtype=np.uint8)
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:04}").mkdir()
        written = io.BytesIO()
        Image.fromarray(np.roll(noise[number % 100], number // 100, axis=1)).resize((64, 48)).save(written, "JPEG")
        content = written.getvalue()
        if number % _BROKEN_EVERY == 500:
            content = content[: len(content) // 3]
        (folder / f"{number // 1000:04}" / f"{number:07}.jpg").write_bytes(content)


def resident(pid: int) -> int:
    """Bytes of a process, 0 where it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def workers(pid: int) -> list[int]:
    """The processes that answer for a command."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in thread.read_text().split():
                if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found.append(int(child))
        except OSError:
            continue
    return found


def lines_of(path: Path) -> int:
    """Whole lines."""
    try:
        with path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0


def killed(folder: Path, out: Path, count: int, kills: int, *more: str) -> dict[str, Any]:
    """Answers `folder` with two processes and `kills` kills; what came of it.

    Args:
        folder: Of `make`.
        out: A file of answers that is not there.
        count: Pictures.
        kills: How often it is killed.
        more: Options of `predict`.
    """
    command = [*_COMMAND, str(folder), "--out", str(out), "--resume", *(more or ("--jobs", "2"))]
    begin = monotonic()
    memory: list[tuple[int, int]] = []
    for kill in range(kills + 1):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        least = (kill + 1) * count // (kills + 1)
        memory.clear()
        while process.poll() is None and (kill == kills or lines_of(out) < least):
            memory.append((resident(process.pid), max(map(resident, workers(process.pid)), default=0)))
            time.sleep(1)
        if kill < kills:
            process.kill()
        process.wait()
    seconds = monotonic() - begin
    names: set[str] = set()
    lines = refused = 0
    with out.open("rb") as file:
        for line in file:
            record = json.loads(line)
            lines, refused = lines + 1, refused + ("error" in record)
            names.add(record["file"])
    settled = memory[3:-1] or memory
    quarter = max(1, len(settled) // 4)
    sides = list(zip(*settled, strict=True))
    return {
        "pictures": count,
        "lines": lines,
        "names": len(names),
        "refused": refused,
        "broken": sum(number % _BROKEN_EVERY == 500 for number in range(count)),
        "kills": kills,
        "seconds": seconds,
        "parent_mb": [statistics.median(part) / 1e6 for part in (sides[0][:quarter], sides[0][-quarter:])],
        "worker_mb": [statistics.median(part) / 1e6 for part in (sides[1][:quarter], sides[1][-quarter:])],
    }


def rate(folder: Path, out: Path, jobs: int) -> float:
    """Pictures a second of a command, between its first answers and its last.

    Args:
        folder: Of `make`.
        out: Is replaced.
        jobs: Processes.
    """
    out.unlink(missing_ok=True)
    command = [*_COMMAND, str(folder), "--out", str(out), "--overwrite", "--jobs", str(jobs)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = last = 0.0, 0
    while process.poll() is None:
        now, lines = perf_counter(), lines_of(out)
        if lines > last[1]:
            first, last = first if first[1] else (now, lines), (now, lines)
        time.sleep(0.02)
    return (last[1] - first[1]) / (last[0] - first[0])


def predict_many(folder: Path) -> float:
    """Pictures a second of the library in this process."""
    paths = sorted(map(str, folder.rglob("*.jpg")))
    with SkinClassifier() as classifier:
        answers = classifier.predict_many(paths)
        next(answers)
        begin = perf_counter()
        return sum(1 for _ in answers) / (perf_counter() - begin)


def _jobs(folder: Path, out: Path, jobs: int, rounds: int) -> None:
    sides: dict[str, Callable[[], float]] = {
        "predict_many": lambda: predict_many(folder),
        "--jobs 1": lambda: rate(folder, out, 1),
        f"--jobs {jobs}": lambda: rate(folder, out, jobs),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name, measured in sides.items():
            console.progress(f"round {number + 1} of {rounds}: {name}")
            rates[name].append(measured())
    console.progress("")
    load = os.getloadavg()[0]
    console.say(f"{os.cpu_count()} cores, load {load:.1f}; medians of {rounds} rounds")
    for name, found in rates.items():
        console.say(
            f"{name:<14} {statistics.median(found):6.0f} pictures a second ({min(found):.0f} to {max(found):.0f})"
        )
    for name, other in ((f"--jobs {jobs}", "--jobs 1"), ("--jobs 1", "predict_many")):
        ratios = [one / two for one, two in zip(rates[name], rates[other], strict=True)]
        console.say(f"{name} / {other}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m studies.bulk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scheduler", metavar="ADDRESS")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, out = Path(temporary) / "pictures", Path(temporary) / "answers.jsonl"
        folder.mkdir()
        count = arguments.pictures or (2000 if arguments.jobs else 100_000)
        console.progress(f"making {count} pictures")
        make(folder, count)
        if arguments.jobs:
            _jobs(folder, out, arguments.jobs, arguments.rounds)
            return
        more = ("--scheduler", arguments.scheduler) if arguments.scheduler else ()
        result = killed(folder, out, count, arguments.kills, *more)
    console.progress("")
    console.say(
        f"{result['pictures']} pictures, {result['kills']} kills: {result['lines']} lines, {result['names']} names, "
        f"{result['refused']} refused of {result['broken']} broken, {result['seconds']:.0f} s"
    )
    for side in ("parent", "worker"):
        first, last = result[f"{side}_mb"]
        console.say(f"resident memory of the {side}: {first:.1f} MB at the beginning, {last:.1f} MB at the end")
    if not result["lines"] == result["names"] == count or result["refused"] != result["broken"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
