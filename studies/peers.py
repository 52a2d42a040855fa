"""skin-edge beside other ways to the same answer, in one run on one machine.

    python -m studies.peers [--model MODEL.tflite] [--images FILE...] [--keras RUN/model.keras]
        [--float model_float32.tflite] [--num-runs 50] [--num-threads 1] [--peers a,b,c] [--work DIR] [--json]

Each peer is a script of its own (peer_scripts/) in a virtual environment of its own, which is made with pip in --work
and used again; the first run downloads, TensorFlow alone 600 MB. All peers get the same image files. Three figures per
image: from the file to the probabilities in a warm process, a cold start as a whole process, and the peak memory of
such a process. The peers take turns, each round beginning with the next one, so that the machine's mood meets all of
them. They are all loaded meanwhile: where memory is short, measure fewer with --peers. The environments' versions are
for Python 3.11 and later.

A peer that cannot be installed or run is reported with its reason, and the others go on. The network is int8 in
skin_edge, bare_loop and mediapipe and float in keras and onnx.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from skin_edge.benchmarks.engines.catalogue import WORKERS
from skin_edge.benchmarks.engines.process import environment_variables
from skin_edge.benchmarks.measure.machine import describe_machine
from skin_edge.benchmarks.measure.picture import generated_picture, read_picture
from skin_edge.benchmarks.measure.processes import last_line
from skin_edge.edge_runtime import console, files
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, SkinClassifier
from skin_edge.edge_runtime.errors import SkinEdgeError, UnknownNameError, UsageError
from skin_edge.edge_runtime.model_file import read_model_file

from . import CHECKOUT, model_path
from .overhead import enlarged

SCRIPTS = Path(__file__).with_name("peer_scripts")
BASELINE = "bare_loop"
COLD_STARTS = 5

_WARMUP = 2
_ANSWER_TIMEOUT_S = 300
_INSTALL_TIMEOUT_S = 3600

_ON_THE_DEVICE = ("ai-edge-litert==2.3.0", "numpy==2.4.6", "pillow==13.0.0")
_TENSORFLOW = ("tensorflow==2.21.0", "tf-keras==2.21.0")
_CONVERTER = ("tf2onnx==1.17.0", "onnx==1.23.2", "tensorflow==2.21.0")
_OPSET = 18


@dataclass(frozen=True)
class Peer:
    """script: its file in peer_scripts/. requirements: what pip installs for it. about: one line for the table."""

    script: str
    requirements: tuple[str, ...]
    about: str


PEERS = {
    "skin_edge": Peer("skin_edge_runtime.py", _ON_THE_DEVICE, "edge_runtime's SkinClassifier, int8"),
    "bare_loop": Peer("bare_loop.py", _ON_THE_DEVICE, "LiteRT by hand, Pillow decodes at full size, int8"),
    "mediapipe": Peer("mediapipe_tasks.py", ("mediapipe==1.2.2",), "ImageClassifier, int8, chooses its own threads"),
    "keras": Peer("keras_model.py", _TENSORFLOW, "TensorFlow, tf.image and a tf.function, float"),
    "onnx": Peer(
        "onnx_runtime.py",
        ("onnxruntime==1.31.1", "numpy==2.4.6", "pillow==13.0.0"),
        "ONNX Runtime, Pillow decodes at full size, float",
    ),
}


class PeerError(SkinEdgeError):
    """A peer cannot be installed or run; the message is its reason."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment. versions: distribution -> version of all that is installed in it."""

    python: Path
    versions: dict[str, str]


def run(
    model: Path,
    images: Sequence[Path],
    names: Sequence[str],
    work: Path,
    *,
    num_runs: int = 50,
    num_threads: int = 1,
    keras_model: Path | None = None,
    float_model: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Everything measured, JSON-ready: "model", "machine", "images", "peers" (see `measure`) and "failed".

    images: none for a generated one of 600x450 pixels and the same enlarged to 12 megapixels. names: of PEERS.
    work: for the environments. say: told what takes long.
    Raises UnknownNameError for a name, UsageError for a model whose input is not the bytes of the picture or that the
    float model does not fit to, ModelFileError and ImageError for a file.
    """
    for name in names:
        if name not in PEERS:
            raise UnknownNameError("peer", name, PEERS)
    classifier = SkinClassifier(model, num_threads)
    _check_takes_bytes(classifier)
    if float_model:
        _check_alike(classifier, float_model)
    if keras_model and not keras_model.is_file():
        raise UsageError(f"no such file: {keras_model}")
    work = work.resolve()
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--work {work} cannot be made ({error.strerror}): choose another one") from None
    paths = [path.resolve() for path in images] or _default_images(work / "images")
    pictures = [read_picture(path) for path in paths]
    settings = settings_of(classifier, num_threads)
    engine = classifier.interpreter.engine
    del classifier  # nothing of this process is measured
    commands: dict[str, list[str]] = {}
    versions: dict[str, dict[str, str]] = {}
    failed: dict[str, str] = {}
    for name in names:
        try:
            file = _file_for(name, model, keras_model, float_model, work, say)
            environment = _installed(name, work, say)
        except PeerError as error:
            failed[name] = str(error)
            continue
        argument = json.dumps({"model": str(file.resolve()), **settings})
        commands[name] = [str(environment.python), str(SCRIPTS / PEERS[name].script), argument]
        versions[name] = environment.versions
    say(f"measuring {', '.join(commands) or 'nothing'}")
    figures, broken = measure(commands, paths, num_runs, COLD_STARTS, logs=work / "logs")
    return {
        "model": str(model),
        "num_runs": num_runs,
        "num_threads": num_threads,
        "cold_starts": COLD_STARTS,
        "baseline": BASELINE,
        "machine": describe_machine(engine),
        "images": [
            {"path": str(path), "description": picture.description}
            for path, picture in zip(paths, pictures, strict=True)
        ],
        "peers": {
            name: {"about": PEERS[name].about, "versions": versions[name], "images": rows}
            for name, rows in figures.items()
        },
        "failed": failed | broken,
    }


def settings_of(classifier: SkinClassifier, num_threads: int) -> dict[str, Any]:
    """What a peer's script is given beside the file that it loads (`peer_scripts/serving.py`)."""
    return {
        "num_threads": num_threads,
        "labels": [label.code for label in classifier.labels],
        "size": [classifier.input_spec.width, classifier.input_spec.height],
        "workers": str(WORKERS),
        "mean": classifier.input_spec.mean,
        "std": classifier.input_spec.std,
    }


def measure(
    commands: Mapping[str, Sequence[str]],
    images: Sequence[Path],
    num_runs: int,
    cold_starts: int,
    *,
    logs: Path,
    timeout_s: float = _ANSWER_TIMEOUT_S,
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """(figures per peer, one dictionary per image; the reason per peer that failed, without figures).

    commands: peer -> what starts its script; see peer_scripts/serving.py. logs: a folder for the peers' stderr.
    Figures: median_ms, p95_ms and runs_ms of warm predictions, cold_start_ms (median) and cold_starts_ms, peak_bytes
    (median over the cold starts; None where the system does not tell), label, and "ratio" with median_ms,
    cold_start_ms and peak_bytes as multiples of BASELINE's (None without it).
    """
    turns = _Turns(commands, logs, timeout_s)
    with turns:
        for image in images:
            for number in range(_WARMUP + num_runs):
                turns.warm(image, number, counts=number >= _WARMUP)
    # Later, and in processes of their own: without memory and caches of the others.
    for image in images:
        for number in range(cold_starts):
            turns.cold(image, number)
    figures = {name: [_figures(turns.seen[name, image]) for image in images] for name in turns.alive}
    for rows in figures.values():
        for number, row in enumerate(rows):
            base = figures[BASELINE][number] if BASELINE in figures else {}
            row["ratio"] = {
                key: row[key] / base[key] if row[key] and base.get(key) else None
                for key in ("median_ms", "cold_start_ms", "peak_bytes")
            }
    return figures, turns.failed


class _Turns:
    """The peers that still answer, and what they have answered."""

    def __init__(self, commands: Mapping[str, Sequence[str]], logs: Path, timeout_s: float):
        logs.mkdir(parents=True, exist_ok=True)
        self.alive = {name: list(command) for name, command in commands.items()}
        self.failed: dict[str, str] = {}
        self.seen: dict[tuple[str, Path], dict[str, list[Any]]] = {}
        self._logs = logs
        self._timeout_s = timeout_s
        self._workers: dict[str, _Worker] = {}

    def __enter__(self) -> None:
        for name, command in self.alive.items():
            self._workers[name] = _Worker(command, self._logs / f"{name}.log", self._timeout_s)

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def warm(self, image: Path, number: int, *, counts: bool) -> None:
        """One round of warm predictions, which begins with peer `number`."""
        for name in self._order(number):
            try:
                answer = self._workers[name].ask(image)
            except PeerError as error:
                self._fails(name, error)
                continue
            if counts:
                seen = self._seen(name, image)
                seen["ms"].append(answer["ms"])
                seen["label"].append(answer["label"])

    def cold(self, image: Path, number: int) -> None:
        """One round of whole processes, each for one image."""
        for name in self._order(number):
            start = perf_counter()
            worker = _Worker(self.alive[name], self._logs / f"{name}.log", self._timeout_s)
            try:
                answer = worker.ask(image)
            except PeerError as error:
                self._fails(name, error)
                continue
            finally:
                worker.close()
            seen = self._seen(name, image)
            seen["cold_ms"].append((perf_counter() - start) * 1000)
            seen["peak_bytes"].append(answer["peak_bytes"])

    def _order(self, number: int) -> list[str]:
        names = list(self.alive)
        first = number % len(names) if names else 0
        return names[first:] + names[:first]

    def _seen(self, name: str, image: Path) -> dict[str, list[Any]]:
        return self.seen.setdefault((name, image), {"ms": [], "label": [], "cold_ms": [], "peak_bytes": []})

    def _fails(self, name: str, error: PeerError) -> None:
        self.failed[name] = str(error)
        del self.alive[name]
        if name in self._workers:
            self._workers.pop(name).close()


class _Worker:
    """A peer's process."""

    def __init__(self, command: Sequence[str], log: Path, timeout_s: float):
        self._log, self._timeout_s = log, timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._reason = ""
        try:
            with log.open("w") as stderr:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    encoding="utf-8",
                    env=environment_variables(),
                )
        except OSError as error:
            self._reason = f"it cannot be started: {error.strerror or error}"

    def ask(self, image: Path) -> dict[str, Any]:
        """The answer's JSON. Raises PeerError where there is none."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise PeerError(self._reason)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self._timeout_s, end)
        timer.start()
        try:
            process.stdin.write(f"{image}\n")
            process.stdin.flush()
            # Libraries may print to stdout as well.
            while line := process.stdout.readline():
                if answer := _answer(line):
                    return answer
        except OSError:
            pass  # it has ended; its log says why
        finally:
            timer.cancel()
        if late.is_set():
            raise PeerError(f"no answer within {self._timeout_s:g} s")
        code = process.wait()
        raise PeerError(last_line(self._log.read_text(errors="replace")) or f"it ended with exit code {code}")

    def close(self) -> None:
        """Lets the process end, and waits for it."""
        process = self._process
        if process is None:
            return
        try:
            process.communicate(timeout=30)
        except (subprocess.TimeoutExpired, OSError, ValueError):
            process.kill()
            process.wait()
        self._process = None


def _answer(line: str) -> dict[str, Any] | None:
    try:
        answer = json.loads(line)
        return {"ms": float(answer["ms"]), "label": str(answer["label"]), "peak_bytes": answer["peak_bytes"]}
    except (ValueError, TypeError, KeyError):
        return None


def _figures(seen: Mapping[str, list[Any]]) -> dict[str, Any]:
    peaks = [peak for peak in seen["peak_bytes"] if peak is not None]
    return {
        "median_ms": statistics.median(seen["ms"]),
        "p95_ms": float(np.percentile(seen["ms"], 95)),
        "cold_start_ms": statistics.median(seen["cold_ms"]) if seen["cold_ms"] else None,
        "peak_bytes": int(statistics.median(peaks)) if peaks else None,
        "label": seen["label"][-1],
        "runs_ms": seen["ms"],
        "cold_starts_ms": seen["cold_ms"],
    }


def table(result: Mapping[str, Any]) -> console.Page:
    """At most 80 columns. result: what `run` returned."""
    machine = result["machine"]
    threads = result["num_threads"]
    lines = [
        _fit(f"model    {result['model']}"),
        _fit(f"machine  {machine['cpu'] or 'unknown'}, {machine['cores'] or '?'} cores, {machine['architecture']}"),
        f"runs     {result['num_runs']} per image, {result['cold_starts']} cold starts, {threads} thread"
        + ("s" if threads != 1 else ""),
    ]
    if result["peers"]:
        lines.append(f"x        times {result['baseline']}")
    for number, image in enumerate(result["images"] if result["peers"] else []):
        lines += [
            "",
            _fit(f"{image['description']}: {Path(image['path']).name}"),
            f"{'':<11}{'per image':>9}{'':>17}{'cold start':>11}{'':>8}{'peak':>9}",
            f"{'':<11}{'median':>9}{'p95':>10}{'x':>7}{'median':>11}{'x':>8}{'memory':>9}{'x':>7}  label",
        ]
        for name, peer in result["peers"].items():
            row = peer["images"][number]
            ratio = row["ratio"]
            lines.append(
                f"{name:<11}{row['median_ms']:>6.1f} ms{row['p95_ms']:>7.1f} ms{_number(ratio['median_ms'], 2):>7}"
                f"{_number(row['cold_start_ms'], 0):>8} ms{_number(ratio['cold_start_ms'], 2):>8}"
                f"{_number(row['peak_bytes'] and row['peak_bytes'] / 1e6, 0):>6} MB{_number(ratio['peak_bytes'], 2):>7}"
                f"  {row['label'][:6]}"
            )
    if result["peers"]:
        lines += ["", *(_fit(f"{name:<11}{peer['about']}") for name, peer in result["peers"].items())]
    if result["failed"]:
        lines += ["", "not measured"]
        for name, reason in result["failed"].items():
            lines += console.wrap(reason, first=f"{name:<11}", rest=" " * 11)
    return console.page(line.rstrip() for line in lines)


def _fit(line: str) -> str:
    return console.fit(line, console.WIDTH)


def _number(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _check_takes_bytes(classifier: SkinClassifier) -> None:
    spec = classifier.input_spec
    ramp = np.resize(np.arange(256, dtype=np.uint8), (spec.height, spec.width, 3))
    tensor = classifier.to_tensor(ramp)
    if tensor.dtype != np.uint8 or not np.array_equal(tensor[0], ramp):
        raise UsageError(
            f"{classifier.path} does not take the bytes of a picture, as the loop by hand gives them: choose an int8 "
            "file of skin-edge convert"
        )


def _check_alike(classifier: SkinClassifier, float_model: Path) -> None:
    other = read_model_file(float_model)
    if (other.input_spec, other.labels) != (classifier.input_spec, classifier.labels):
        raise UsageError(
            f"{float_model} has another input or other labels than {classifier.path}: choose its float baseline"
        )


def _default_images(folder: Path) -> list[Path]:
    small = folder / "generated.jpg"
    files.write(small, generated_picture().content)
    return [small, enlarged(small, folder)]


def _file_for(
    name: str, model: Path, keras_model: Path | None, float_model: Path | None, work: Path, say: Callable[[str], None]
) -> Path:
    """The file that a peer loads. Raises PeerError where it was not given or cannot be made."""
    if name == "keras":
        if keras_model is None:
            raise PeerError("it needs the run's float network: --keras RUN/model.keras")
        return keras_model
    if name == "onnx":
        if float_model is None:
            raise PeerError("it needs the float network: --float model_float32.tflite")
        return _as_onnx(float_model.resolve(), work, say)
    return model


def _as_onnx(float_model: Path, work: Path, say: Callable[[str], None]) -> Path:
    target = work / "onnx_models" / f"{hashlib.sha256(float_model.read_bytes()).hexdigest()[:16]}.onnx"
    if not target.is_file():
        # tf2onnx needs TensorFlow, ONNX Runtime does not.
        converter = make_environment(work / "onnx_converter", _CONVERTER, say)
        say(f"onnx: converting {float_model.name}")
        with files.replacing(target) as temporary:
            arguments = ["--tflite", str(float_model), "--output", str(temporary), "--opset", str(_OPSET)]
            _called([str(converter.python), "-m", "tf2onnx.convert", *arguments], work)
    return target


def _installed(name: str, work: Path, say: Callable[[str], None]) -> Environment:
    requirements = PEERS[name].requirements
    if name != "skin_edge":
        return make_environment(work / name, requirements, say)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "skin-edge"
        # Installing leaves build/ behind, and takes what an earlier one left; a copy does neither.
        _copy_checkout(copy)
        return make_environment(work / name, (*requirements, str(copy)), say, identity=_digest(copy))


def _copy_checkout(target: Path) -> None:
    """What setup.cfg installs, and what building it reads."""
    target.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, target / name)
    for floor in ("edge_runtime", "benchmarks", "apps", "train", "convert", "docs", "ports"):
        shutil.copytree(CHECKOUT / floor, target / floor, ignore=shutil.ignore_patterns("__pycache__", ".*"))


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def make_environment(
    folder: Path, requirements: Sequence[str], say: Callable[[str], None] = lambda line: None, identity: str = ""
) -> Environment:
    """A virtual environment of this Python with `requirements`; made anew where it is not there or is another one's.

    identity: of what a path among the requirements holds, where there is one. Raises PeerError where pip cannot.
    """
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    stamp = folder / "skin_edge_peer.json"
    # The last requirement is a path that changes from run to run where it has an identity.
    made_of = [sys.version, *(requirements[:-1] if identity else requirements), identity]
    try:
        known = json.loads(stamp.read_text())
        if known["made_of"] == made_of and python.is_file():
            return Environment(python, known["versions"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    say(f"{folder.name}: installing {', '.join(Path(item).name for item in requirements)}")
    stamp.unlink(missing_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    _called([sys.executable, "-m", "venv", "--clear", str(folder)], folder.parent)
    _called([*pip, "install", "--quiet", *requirements], folder.parent)
    listed = json.loads(_called([*pip, "list", "--format", "json"], folder.parent))
    versions = {row["name"]: row["version"] for row in listed}
    files.write(stamp, json.dumps({"made_of": made_of, "versions": versions}, indent=2))
    return Environment(python, versions)


def _called(command: Sequence[str], folder: Path) -> str:
    """stdout. Raises PeerError with the last line of stderr where the command fails."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_INSTALL_TIMEOUT_S,
            cwd=folder,
            env=environment_variables(),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PeerError(f"{Path(command[0]).name} cannot be started or takes too long: {error}") from None
    if done.returncode != 0:
        raise PeerError(last_line(done.stderr) or last_line(done.stdout) or f"exit code {done.returncode}")
    return done.stdout


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m studies.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=model_path, default=DEFAULT_MODEL, help="default: the packaged one")
    parser.add_argument("--images", nargs="+", type=Path, default=[], metavar="FILE", help="default: two generated")
    parser.add_argument(
        "--keras",
        type=Path,
        metavar="RUN/model.keras",
        help="the float network for keras, of a run of your own: Keras runs what it names",
    )
    parser.add_argument("--float", dest="float_model", type=Path, metavar="TFLITE", help="the float network for onnx")
    parser.add_argument("--num-runs", type=_count, default=50, help="per image and peer; default: 50")
    parser.add_argument("--num-threads", type=_count, default=1, help="default: 1")
    parser.add_argument("--peers", default=",".join(PEERS), metavar="A,B,...", help=f"default: {','.join(PEERS)}")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path.home() / ".cache" / "skin-edge" / "peers",
        metavar="DIR",
        help="for the environments, kept; default: ~/.cache/skin-edge/peers",
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    return parser


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 256:
        raise argparse.ArgumentTypeError("1 to 256")
    return value


def main() -> None:
    """Exit code 1 where no peer at all could be measured."""
    arguments = _parser().parse_args()
    try:
        result = run(
            arguments.model,
            arguments.images,
            [name.strip() for name in arguments.peers.split(",")],
            arguments.work,
            num_runs=arguments.num_runs,
            num_threads=arguments.num_threads,
            keras_model=arguments.keras,
            float_model=arguments.float_model,
            say=console.report,
        )
    except SkinEdgeError as error:
        console.say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    console.say_json(result) if arguments.json else console.say(table(result))
    if not result["peers"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
