"""The cases run one after the other in a child process, and the report on them."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from skin_edge.benchmarks.measure.machine import describe_machine
from skin_edge.benchmarks.measure.memory import peak_resident_bytes
from skin_edge.benchmarks.measure.processes import signal_name
from skin_edge.edge_runtime import console, files
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, Prediction, SkinClassifier
from skin_edge.edge_runtime.errors import SkinEdgeError, UsageError
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.edge_runtime.network_check import check

from .. import CHECKOUT
from . import __doc__ as description
from .models import model_case, read_told
from .mutations import Hostile
from .networks import network_case
from .pictures import image_case, plain

BAD = ("traceback", "crash", "hang", "memory", "answer", "message")
OUTCOMES = ("answered", "refused", *BAD)

TIME_LIMIT_S = 20.0
_START_LIMIT_S = 300.0
MEMORY_LIMIT = 2**30  # resident bytes
_ADDRESS_LIMIT = 4 * 2**30  # of the child, so that a huge allocation fails there and does not take the machine along
_LONGEST_MESSAGE = 1000
_CASES_PER_CHILD = 500  # what one case leaves in memory must not be counted for thousands that follow

_PICTURE_NAME = "plain.png"


class Case(NamedTuple):
    """What a worker is given. kind: "image", "model" or "network"."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}-{self.number}"


@dataclass(frozen=True)
class Result:
    """How a case ended. outcome: one of OUTCOMES. milliseconds: without making the case. peak_bytes: the most memory
    resident in the child meanwhile, None where the system does not tell."""

    case: str
    form: str
    mutation: str
    outcome: str
    detail: str
    milliseconds: float
    peak_bytes: int | None


def judge(call: Callable[[], tuple[Prediction, int, bool]]) -> tuple[str, str]:
    """(outcome, detail) of a call that returns a prediction, the number of classes, and whether its sum must be one."""
    try:
        prediction, classes, sums_to_one = call()
    except SkinEdgeError as error:
        message = str(error)
        is_clear = message.isprintable() and 0 < len(message) <= _LONGEST_MESSAGE
        return "refused" if is_clear else "message", f"{type(error).__name__}: {message[:_LONGEST_MESSAGE]}"
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]
    values = list(prediction.probabilities.values())
    if len(values) != classes or next(iter(prediction.probabilities), None) != prediction.label:
        return "answer", f"{len(values)} probabilities for {classes} labels"
    if not all(map(math.isfinite, values)) or (sums_to_one and abs(sum(values) - 1) > 1e-3):
        return "answer", f"probabilities {values[:10]}"
    if not all(code.isprintable() for code in prediction.probabilities):
        return "answer", "a label with control characters"
    return "answered", prediction.label[:100]


def judge_network(content: bytes) -> tuple[str, str]:
    """(outcome, detail) of a bare network: whether it is let through, and if so, runs with LiteRT's delegate and
    without."""
    try:
        check(content)
        for delegate in ("xnnpack", "none"):
            interpreter = Interpreter(content, delegate=delegate)
            block = np.random.default_rng(1).normal(0, 50, 4099)
            interpreter.invoke(*(np.resize(block.astype(tensor.dtype), tensor.shape) for tensor in interpreter.inputs))
            interpreter.close()
    except SkinEdgeError as error:
        message = str(error)
        return "refused" if message.isprintable() else "message", message[:_LONGEST_MESSAGE]
    except BaseException as error:
        return "traceback", f"{type(error).__name__}: {error}"[:_LONGEST_MESSAGE]
    return "answered", ""


def _work(seed: int, folder: Path, models: Sequence[Path]) -> None:
    """The child: a line "KIND NUMBER" on stdin, a line of JSON on stdout for each, until stdin ends."""
    # LiteRT writes to stdout as well: the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    warnings.simplefilter("ignore")
    _limit_addresses()
    classifier = SkinClassifier()
    picture = folder / _PICTURE_NAME
    plain("RGB", (64, 48)).save(picture)
    classifier.predict(picture)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        kind, number = line.split()
        made = _made(Case(kind, int(number)), seed, models)
        path = folder / f"case{made.suffix}"
        path.write_bytes(made.content)
        forgotten = _forget_peak()
        start = perf_counter()
        if kind == "network":
            outcome, detail = judge_network(made.content)
        elif kind == "image":
            outcome, detail = judge(lambda path=path: (classifier.predict(path), len(classifier.labels), True))
        else:
            outcome, detail = judge(lambda path=path: _load_and_predict(path, picture))
        milliseconds = (perf_counter() - start) * 1000
        peak = peak_resident_bytes() if forgotten else None
        answers.write(json.dumps([made.form, made.mutation, outcome, detail, milliseconds, peak]) + "\n")
        answers.flush()
        path.unlink()


def _load_and_predict(path: Path, picture: Path) -> tuple[Prediction, int, bool]:
    """As the command `predict MODEL IMAGE` does. What a stranger's network answers need not sum to one."""
    classifier = read_told(path, SkinClassifier)
    return classifier.predict(picture), len(classifier.labels), False


def _made(case: Case, seed: int, models: Sequence[Path]) -> Hostile:
    if case.kind == "network":
        operators, content = network_case(seed, case.number)
        return Hostile("random", operators.split(" ")[0], ".tflite", content)
    return image_case(seed, case.number) if case.kind == "image" else model_case(seed, case.number, models)


def _limit_addresses() -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_LIMIT, _ADDRESS_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget_peak() -> bool:
    """Linux can set a process's peak back to what it has now; else no peak belongs to one case."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


class Worker:
    """A child process and what starts it again.

    command: it says "ready", then answers each line on its stdin by a line of JSON.
    """

    def __init__(self, command: Sequence[str], time_limit_s: float = TIME_LIMIT_S):
        self._command = list(command)
        self._time_limit_s = time_limit_s
        self._child: subprocess.Popen[str] | None = None
        self._answered = 0

    def run(self, case: Case) -> Result:
        """Runs a case. Where the child dies or does not answer in time, the result says so and the next call starts
        another one."""
        if self._answered >= _CASES_PER_CHILD:
            self.close()
        child = self._child = self._child or self._started()
        assert child.stdin is not None and child.stdout is not None
        is_late = threading.Event()

        def end() -> None:
            is_late.set()
            child.kill()

        timer = threading.Timer(self._time_limit_s, end)
        start = perf_counter()
        timer.start()
        try:
            child.stdin.write(f"{case.kind} {case.number}\n")
            child.stdin.flush()
            line = child.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            timer.cancel()
        if line.endswith("\n"):
            self._answered += 1
            form, mutation, outcome, detail, milliseconds, peak = json.loads(line)
            if outcome in ("answered", "refused") and peak is not None and peak > MEMORY_LIMIT:
                outcome, detail = "memory", f"{peak / 2**20:.0f} MiB; {outcome}: {detail}"
            return Result(str(case), form, mutation, outcome, detail, milliseconds, peak)
        code = child.wait()
        self.close()
        milliseconds = (perf_counter() - start) * 1000
        if is_late.is_set():
            return Result(str(case), "", "", "hang", f"no answer in {self._time_limit_s:g} s", milliseconds, None)
        return Result(str(case), "", "", "crash", _ending(code), milliseconds, None)

    def _started(self) -> subprocess.Popen[str]:
        """A child that has said "ready". One that dies before is found out by its first case.

        Starting is not in that case's time: on an emulated Raspberry Pi it alone takes longer than a case may.
        """
        child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=CHECKOUT,
        )
        assert child.stdout is not None
        timer = threading.Timer(_START_LIMIT_S, child.kill)
        timer.start()
        child.stdout.readline()
        timer.cancel()
        return child

    def close(self) -> None:
        child, self._child, self._answered = self._child, None, 0
        if child is None:
            return
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            child.wait(self._time_limit_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()


def _ending(code: int) -> str:
    return signal_name(-code) if code < 0 else f"exit code {code}"


def measure(
    images: int,
    models: int,
    seed: int = 42,
    *,
    networks: int = 0,
    seed_models: Sequence[Path] = (),
    time_limit_s: float = TIME_LIMIT_S,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Runs the cases and sums up, JSON-ready.

    per kind ("images", "models", "networks"): "outcomes" (outcome -> count), "table" (form -> mutation -> outcome ->
    count), "slowest" and "largest" (a Result each, None where nothing ran or the system does not tell). "bad": every
    bad Result. progress: called with the number of cases done. An interruption ends the run with what was done.
    """
    start = perf_counter()
    counts = {"image": images, "model": models, "network": networks}
    cases = [Case(kind, i) for kind, count in counts.items() for i in range(count)]
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="skin-edge-hostile-") as folder:
        command = [sys.executable, "-m", "studies.hostile", "--work", folder, "--seed", str(seed)]
        worker = Worker([*command, *(str(path.resolve()) for path in seed_models)], time_limit_s)
        try:
            for case in cases:
                result = worker.run(case)
                if not result.form:  # the child died before it could say what it was
                    made = _made(case, seed, seed_models)
                    result = replace(result, form=made.form, mutation=made.mutation)
                results.append(result)
                if progress:
                    progress(len(results))
        except KeyboardInterrupt:
            pass  # what ran is summed up
        finally:
            worker.close()
    return {
        "seed": seed,
        "seed_models": [str(path) for path in (DEFAULT_MODEL, *seed_models)],
        "seconds": perf_counter() - start,
        "machine": describe_machine("ai-edge-litert"),
        "images": _summed([result for result in results if result.case.startswith("image")]),
        "models": _summed([result for result in results if result.case.startswith("model")]),
        "networks": _summed([result for result in results if result.case.startswith("network")]),
        "bad": [asdict(result) for result in results if result.outcome in BAD],
    }


def _summed(results: Sequence[Result]) -> dict[str, Any]:
    counts: dict[str, dict[str, Counter[str]]] = {}
    for result in results:
        counts.setdefault(result.form, {}).setdefault(result.mutation, Counter())[result.outcome] += 1
    measured = [result for result in results if result.peak_bytes is not None]
    return {
        "cases": len(results),
        "outcomes": dict(Counter(result.outcome for result in results)),
        "table": {form: {kind: dict(count) for kind, count in rows.items()} for form, rows in counts.items()},
        "slowest": asdict(max(results, key=lambda result: result.milliseconds)) if results else None,
        "largest": asdict(max(measured, key=lambda result: result.peak_bytes or 0)) if measured else None,
    }


def table(result: dict[str, Any]) -> console.Page:
    """What `measure` returned, at most 80 columns."""
    lines: list[str] = []
    for name in ("images", "models", "networks"):
        part = result[name]
        if not part["cases"]:
            continue
        lines += [f"{part['cases']} {name}, seed {result['seed']}", ""]
        lines.append(f"{'':24}{'cases':>8}{'answered':>10}{'refused':>9}  bad")
        for form, rows in part["table"].items():
            for mutation, counts in (("", _total(rows.values())), *sorted(rows.items())):
                bad = ", ".join(f"{counts[outcome]} {outcome}" for outcome in BAD if counts.get(outcome))
                answered, refused = counts.get("answered", 0), counts.get("refused", 0)
                title = f"  {mutation}" if mutation else form
                lines.append(f"{title:24}{sum(counts.values()):>8}{answered:>10}{refused:>9}  {bad or '-'}")
        slowest, largest = part["slowest"], part["largest"]
        lines += ["", f"slowest   {slowest['milliseconds']:>8.0f} ms   {slowest['case']} ({_kind(slowest)})"]
        if largest:
            lines.append(f"largest   {largest['peak_bytes'] / 2**20:>8.0f} MiB  {largest['case']} ({_kind(largest)})")
        lines.append("")
    lines.append(f"{len(result['bad'])} bad cases in {result['seconds']:.0f} s" + (":" if result["bad"] else ""))
    for bad in result["bad"][:40]:
        lines.append(f"  {bad['case']:13}{bad['outcome']:10} {_kind(bad)}: {bad['detail']}"[:80].rstrip())
    if len(result["bad"]) > 40:
        lines.append(f"  and {len(result['bad']) - 40} more: --json lists them all")
    if result["bad"]:
        lines.append(f"one of them as a file: --seed {result['seed']} --case {result['bad'][0]['case']} --out DIR")
    return console.page(console.fit(line, console.WIDTH) for line in lines)


def _total(rows: Any) -> Counter[str]:
    return sum((Counter[str](counts) for counts in rows), Counter[str]())


def _kind(result: dict[str, Any]) -> str:
    return f"{result['form']}, {result['mutation']}"


def write_case(name: str, seed: int, folder: Path, models: Sequence[Path] = ()) -> Path:
    """Writes the case "image-N", "model-N" or "network-N" into `folder` and returns its path."""
    kind, _, number = name.partition("-")
    if kind not in ("image", "model", "network") or not number.isdecimal():
        raise UsageError(f"{name} is no case: it is image-NUMBER, model-NUMBER or network-NUMBER")
    made = _made(Case(kind, int(number)), seed, models)
    path = folder / f"{name}{made.suffix}"
    files.write(path, made.content)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m studies.hostile",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("seed_models", nargs="*", type=Path, metavar="MODEL", help="further models to mutate")
    parser.add_argument("--images", type=int, default=10_000, metavar="N", help="default: 10000")
    parser.add_argument("--models", type=int, default=2000, metavar="N", help="default: 2000")
    parser.add_argument("--networks", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default: 42")
    parser.add_argument(
        "--case", metavar="NAME", help="write this case (image-N, model-N or network-N) to --out and run nothing"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="for hostile.json and the bad cases' files")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        _work(arguments.seed, arguments.work, arguments.seed_models)
        return
    try:
        if arguments.case:
            console.say(write_case(arguments.case, arguments.seed, arguments.out or Path(), arguments.seed_models))
            return
        result = measure(
            arguments.images,
            arguments.models,
            arguments.seed,
            networks=arguments.networks,
            seed_models=arguments.seed_models,
            progress=_progress,
        )
        as_json = json.dumps(result, indent=2, allow_nan=False)
        if arguments.out:
            files.write(arguments.out / "hostile.json", as_json + "\n")
            for bad in result["bad"]:
                write_case(bad["case"], arguments.seed, arguments.out, arguments.seed_models)
    except SkinEdgeError as error:
        console.say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    console.say_json(result) if arguments.json else console.say(table(result))
    sys.exit(1 if result["bad"] else 0)


def _progress(done: int) -> None:
    if done % 100 == 0:
        console.progress(f"{done} cases")


if __name__ == "__main__":
    main()
