"""An engine's worker as a process: a crash, a hang or a refusal is its result, not an error of the measurement."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np
import numpy.typing as npt

from ..measure.processes import last_line, signal_name

ANSWERED, REFUSED, FAILED, CRASHED, HUNG = "answered", "does not load", "fails", "crashed", "hung"

_PLACE = re.compile(r"^ERROR: \[[^\]]*\] ?")  # LiteRT's errors begin with the line of its source
_POLL_S = 0.02
_END_S = 10.0  # that a worker is given to close what it started


@dataclass(frozen=True)
class Outcome:
    """What became of a worker.

    Attributes:
        status: One of the above.
        detail: Why it is not "answered", one line.
        facts: `protocol.Engine.facts`, {} where it never loaded.
        outputs: One array [answers, ...] per output of the network.
        milliseconds: float64 [answers].
        peak_bytes: None where it is not known.
    """

    status: str
    detail: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    outputs: Sequence[npt.NDArray[Any]] = ()
    milliseconds: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    peak_bytes: int | None = None


def run(
    command: Sequence[str],
    job: Mapping[str, Any],
    folder: Path,
    *,
    timeout_s: float,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Starts `command` with the job and waits for it.

    Args:
        command: The command line of the worker.
        job: As workers/protocol.py describes, without "out".
        folder: Empty, for what the worker writes.
        timeout_s: The longest time without an answer.
        progress: Told (answers, of how many).
    """
    path, total = folder / "job.json", len(job["sequence"])
    path.write_text(json.dumps({**job, "out": str(folder)}), encoding="utf-8")
    log, times = folder / "log.txt", folder / "milliseconds.bin"
    try:
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [*command, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                cwd=folder,
                env=environment_variables(),
                start_new_session=True,
            )
    except OSError as error:
        return Outcome(REFUSED, f"its worker cannot be started: {error.strerror or error}")
    late, seen, since = False, 0, monotonic()
    try:
        while process.poll() is None:
            sleep(_POLL_S)
            count = (times.stat().st_size if times.exists() else 0) // 8
            if count > seen:
                seen, since = count, monotonic()
                if progress:
                    progress(count, total)
            elif monotonic() - since > timeout_s:
                late = True
                break
    finally:
        _end(process)
    return _outcome(folder, process.returncode, late, timeout_s, total)


def environment_variables() -> dict[str, str]:
    """This process's, without those that show a worker other packages than its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "PYTHONNOUSERSITE": "1"}


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the worker and what it started, where it still runs."""
    for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number) if hasattr(os, "killpg") else process.terminate()
            process.wait(_END_S)
        except (OSError, subprocess.TimeoutExpired):
            continue


def _outcome(folder: Path, code: int, late: bool, timeout_s: float, total: int) -> Outcome:
    facts, error, done = (_read(folder / name) for name in ("facts.json", "error.json", "done.json"))
    outputs, milliseconds = _answers(folder, facts or {})
    count = len(milliseconds)
    status, detail = ANSWERED, ""
    if late:
        doing = f"after {count} of {total} answers" if facts else "while it loaded"
        status, detail = HUNG, f"nothing within {timeout_s:g} s {doing}"
    elif error is not None:
        status = REFUSED if error.get("stage") == "load" else FAILED
        detail = _said(str(error.get("message")), folder / "log.txt")
        if status == FAILED:
            detail += f", after {count} of {total} answers"
    elif code < 0:
        doing = f"after {count} of {total} answers" if facts else "while it loaded"
        status, detail = CRASHED, f"{signal_name(-code)} {doing}"
    elif done is None or count < total:
        said = last_line(_text(folder / "log.txt"))
        status = FAILED if facts else REFUSED
        detail = f"it ended with exit code {code} after {count} of {total} answers" + (f": {said}" if said else "")
    peak = (done or {}).get("peak_bytes")
    return Outcome(status, detail, facts or {}, outputs, milliseconds, peak)


def _said(message: str, log: Path) -> str:
    """The first line of an error; where that only names a place in a source file, what the log calls an error."""
    first = next((line.strip() for line in message.splitlines() if line.strip()), "it does not say why")
    if not _PLACE.sub("", first).strip():
        told = [line for line in _text(log).splitlines() if line.startswith("ERROR") and _PLACE.sub("", line).strip()]
        first = told[0] if told else first
    return (_PLACE.sub("", first).strip() or first)[:300]


def _answers(folder: Path, facts: Mapping[str, Any]) -> tuple[Sequence[npt.NDArray[Any]], npt.NDArray[np.float64]]:
    """What was written whole: both files are cut to the answers that both hold."""
    try:
        milliseconds = np.frombuffer((folder / "milliseconds.bin").read_bytes()[: _whole(folder)], np.float64)
        kinds = [(np.dtype(str(one["dtype"])), tuple(map(int, one["shape"]))) for one in facts.get("outputs", ())]
        sizes = [dtype.itemsize * math.prod(shape) for dtype, shape in kinds]
        row = sum(sizes)
        content = (folder / "outputs.bin").read_bytes()
        count = min(len(milliseconds), len(content) // row) if row else 0
    except (OSError, ValueError, KeyError, TypeError):
        return (), np.zeros(0)
    rows = np.reshape(np.frombuffer(content, np.uint8, count * row), (count, row))
    ends = np.cumsum([0, *sizes])
    found: list[npt.NDArray[Any]] = []
    for (dtype, shape), start, end in zip(kinds, ends, ends[1:], strict=False):
        found.append(np.reshape(np.frombuffer(rows[:, start:end].tobytes(), dtype), (count, *shape)))
    return found, milliseconds[:count]


def _whole(folder: Path) -> int:
    return (folder / "milliseconds.bin").stat().st_size // 8 * 8


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
