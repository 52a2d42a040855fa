"""What `skin-edge predict` costs beyond doing the same by hand.

    python -m studies.overhead [MODEL] IMAGE [--runs N] [--cold-starts N] [--json]

Beside it runs a script of ten lines, `BY_HAND`, with NumPy, Pillow and LiteRT and none of the checks. Three ratios: a
cold start as a whole process, one picture in a warm one, and the same picture enlarged to a phone's 12 megapixels.
Both sides take turns in one run, so that the machine's mood meets both; medians, of wall time and of CPU time, user and
system, of all threads: other work on the machine disturbs it less.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter, process_time

from PIL import Image

from skin_edge.benchmarks.measure.memory import ROOT
from skin_edge.edge_runtime import console
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, SkinClassifier
from skin_edge.edge_runtime.errors import SkinEdgeError
from skin_edge.edge_runtime.preprocess import decode
from skin_edge.edge_runtime.quiet import quiet

from . import model_path

BY_HAND = """\
import sys
import numpy as np
from PIL import Image
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
def predict(path):
    image = Image.open(path).convert("RGB").resize(tuple(source["shape"][2:0:-1]), Image.Resampling.BILINEAR)
    interpreter.set_tensor(source["index"], np.asarray(image, np.uint8)[None]); interpreter.invoke()
    return interpreter.get_tensor(target["index"])[0]
print(predict(sys.argv[2]))
"""

# What the console script `skin-edge` does.
_COMMAND_LINE = "from skin_edge.edge_runtime.cli import main; main()"


def cold_start(model: Path, image: Path, runs: int = 15) -> dict[str, dict[str, float]]:
    """Milliseconds of a whole process: {"wall": {"skin_edge_ms", "by_hand_ms", "ratio"}, "cpu": the same}.

    With compiled bytecode, as an installed package has it: written in the runs to warm up, whatever the environment
    says of it.
    """
    files = [str(model.resolve()), str(image.resolve())]
    commands = {
        "skin_edge_ms": [sys.executable, "-c", _COMMAND_LINE, "predict", "--assess-anything", *files],
        "by_hand_ms": [sys.executable, "-c", BY_HAND, *files],
    }

    with tempfile.TemporaryDirectory() as bytecode:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": bytecode, "PYTHONDONTWRITEBYTECODE": ""}

        def start(command: list[str]) -> Callable[[], object]:
            return lambda: subprocess.run(command, check=True, capture_output=True, cwd=ROOT, env=environment)

        return _compared({name: start(command) for name, command in commands.items()}, runs, _of_children)


def per_image(model: Path, image: Path, runs: int = 300) -> dict[str, dict[str, float]]:
    """Milliseconds of one picture in a warm process, from path to answer; keys as `cold_start`."""
    classifier = SkinClassifier(model)
    by_hand: dict[str, Callable[[str], object]] = {}
    arguments = sys.argv
    try:
        sys.argv = ["by_hand", str(model), str(image)]
        with quiet(), contextlib.redirect_stdout(io.StringIO()):
            exec(BY_HAND, by_hand)
    finally:
        sys.argv = arguments
    path = str(image)
    actions = {"skin_edge_ms": lambda: classifier.predict(path), "by_hand_ms": lambda: by_hand["predict"](path)}
    return _compared(actions, runs, process_time)


def enlarged(image: Path, folder: Path) -> Path:
    """The picture as a phone would have written it: a JPEG of 4000x3000 pixels, quality 90, in `folder`."""
    path = folder / "enlarged.jpg"
    decode(image).resize((4000, 3000), Image.Resampling.LANCZOS).save(path, "JPEG", quality=90)
    return path


def _of_children() -> float:
    """Seconds of CPU time of all processes that were started here and have ended."""
    import resource  # not on Windows; os.times counts in steps of 10 ms

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _compared(
    actions: dict[str, Callable[[], object]], runs: int, cpu: Callable[[], float]
) -> dict[str, dict[str, float]]:
    """cpu: the clock of what the actions take of the processor, in seconds."""
    clocks = {"wall": perf_counter, "cpu": cpu}
    times: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in actions} for clock in clocks}
    for run in range(runs + 2):
        for name, action in actions.items():
            start = {clock: read() for clock, read in clocks.items()}
            action()
            if run >= 2:  # after two to warm up
                for clock, read in clocks.items():
                    times[clock][name].append((read() - start[clock]) * 1000)
    return {clock: _medians(values) for clock, values in times.items()}


def _medians(times: dict[str, list[float]]) -> dict[str, float]:
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {**medians, "ratio": medians["skin_edge_ms"] / medians["by_hand_ms"]}


_TITLES = {
    "cold_start": "cold start, whole process",
    "per_image": "one picture, warm",
    "per_large_image": "one picture, warm, 4000x3000",
}


def table(measured: Mapping[str, Mapping[str, Mapping[str, float]]]) -> console.Page:
    """What `main` measured, for the terminal: a line for each figure and clock."""
    lines = [f"{'':30}{'':6}{'skin-edge':>12}{'by hand':>12}{'ratio':>8}"]
    for name, clocks in measured.items():
        for clock, found in clocks.items():
            title = _TITLES[name] if clock == "wall" else ""
            times = "".join(f"{found[side]:>9.1f} ms" for side in ("skin_edge_ms", "by_hand_ms"))
            lines.append(f"{title:30}{'CPU' if clock == 'cpu' else clock:6}{times}{found['ratio']:>8.2f}")
    return console.page(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.overhead", description=__doc__)
    parser.add_argument("model", nargs="?", type=model_path, default=DEFAULT_MODEL, help="default: the packaged one")
    parser.add_argument("image", type=Path)
    parser.add_argument("--runs", type=int, default=300, help="of a picture; the large one has 2/15 of them")
    parser.add_argument("--cold-starts", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    model, image, runs = arguments.model, arguments.image, arguments.runs
    if min(runs, arguments.cold_starts) < 1:
        parser.error("--runs and --cold-starts are 1 or more")
    try:
        SkinClassifier(model).predict(image)
        measured: dict[str, dict[str, dict[str, float]]] = {
            "cold_start": cold_start(model, image, arguments.cold_starts),
            "per_image": per_image(model, image, runs),
        }
        with tempfile.TemporaryDirectory() as folder:
            measured["per_large_image"] = per_image(model, enlarged(image, Path(folder)), max(1, runs * 2 // 15))
        console.say_json(measured, indent=None) if arguments.json else console.say(table(measured))
    except SkinEdgeError as error:
        console.say(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
