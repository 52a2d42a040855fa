"""Coverage-guided fuzzing of what reads strangers' files.

    pip install "skin-edge[fuzz]"
    python -m studies.hostile.fuzz [TARGET...] [--minutes 10] [--out DIR]

Atheris mutates what brought it to new lines of the readers. Every input must end in an answer or in a SkinEdgeError of
one printable line, within 10 s and 1 GiB. The minutes are shared by the targets; inputs that end otherwise are kept in
DIR, and `--input FILE` runs one again. The seeds are made from the packaged model, of random networks and of mutated
pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, cast

from skin_edge.edge_runtime import console
from skin_edge.edge_runtime.errors import MOST_CHARACTERS, MissingExtraError, SkinEdgeError

from .. import CHECKOUT

_TIMEOUT_S = 10
_MEMORY_MB = 1024
_LONGEST_INPUT = 65536  # bytes
NO_READERS = {"console", "errors", "packaged"}
"""Modules of the runtime that may be loaded before the instrumentation."""

Target = Callable[[bytes], object]


def targets() -> dict[str, tuple[Callable[[Path], Target], Callable[[], list[bytes]]]]:
    """Name -> (what makes the target in a folder for its files, what makes its seeds)."""
    return {
        "picture": (_picture, _picture_seeds),
        "model": (_model, _model_seeds),
        "network": (_network, _network_seeds),
        "contract": (_contract, _contract_seeds),
        "archive": (_archive, _archive_seeds),
        "patient": (_patient, _patient_seeds),
        "tflite-metadata": (_metadata, _metadata_seeds),
    }


def judged(target: Target) -> Target:
    """The target, which then raises only what is a finding."""

    def run(data: bytes) -> None:
        try:
            target(data)
        except SkinEdgeError as error:
            message = str(error)
            if not message.isprintable() or not 0 < len(message) <= MOST_CHARACTERS:
                raise AssertionError(f"not one clear line: {message[:1000]!r}") from error

    return run


# The targets. What they import is instrumented, so it is imported in them.


def _picture(folder: Path) -> Target:
    """From a file's bytes to those of a network's input; Pillow's C code is run, and its coverage is not seen."""
    from skin_edge.edge_runtime.preprocess import InputSpec, to_pixels

    spec = InputSpec(32, 32)

    def run(data: bytes) -> None:
        assert to_pixels(data, spec).shape == (32, 32, 3)

    return run


def _model(folder: Path) -> Target:
    from skin_edge.edge_runtime.model_file import left_out, read_model_file, tflite_metadata

    path = folder / "case.tflite"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        left_out(path)
        file = read_model_file(path)
        tflite_metadata(file.network)
        _ = file.network.operators, file.network.min_runtime_version, file.network.description

    return run


def _network(folder: Path) -> Target:
    from skin_edge.edge_runtime.network_check import check

    return check


def _contract(folder: Path) -> Target:
    from skin_edge.edge_runtime import contract as contracts

    def run(data: bytes) -> None:
        contract = contracts.parse(data)
        contracts.check(contract)
        contracts.spec_of(contract)
        contracts.encoding_of(contract)
        contracts.labels_text(contracts.labels_of(contract)).encode()
        json.dumps(contract, allow_nan=False)

    return run


def _archive(folder: Path) -> Target:
    from skin_edge.edge_runtime.archive import Archive

    def run(data: bytes) -> None:
        archive = Archive(data)
        assert 0 <= archive.start <= len(data)
        for name in ("labels.txt", "metadata.json"):
            for stored_only in (True, False):
                with contextlib.suppress(SkinEdgeError):
                    archive.read(name, stored_only=stored_only)
        archive.read("labels.txt")

    return run


def _patient(folder: Path) -> Target:
    """A list of fields, a line break, and what is known of a patient, both in JSON."""
    from skin_edge.edge_runtime import patient

    def run(data: bytes) -> None:
        fields, _, known = data.partition(b"\n")
        try:
            described, told = json.loads(fields), json.loads(known)
        except (ValueError, RecursionError):
            return
        encoding = patient.from_list(described)
        vector = encoding.encode(cast("dict[str, Any]", told) if isinstance(told, dict) else None)
        assert (abs(vector) <= 1).all() and len(vector) == encoding.length

    return run


def _metadata(folder: Path) -> Target:
    from skin_edge.edge_runtime.tflite_metadata import parse

    return parse


# Their seeds.


def _packaged() -> tuple[bytes, Any]:
    from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
    from skin_edge.edge_runtime.model_file import read_model_file

    file = read_model_file(DEFAULT_MODEL)
    return file.content[: file.network_length], file


def _picture_seeds() -> list[bytes]:
    from .pictures import image_case

    made = [image_case(1, number).content for number in range(7 * 20)]
    return [content for content in made if len(content) < _LONGEST_INPUT // 2]


def _network_seeds() -> list[bytes]:
    from skin_edge.edge_runtime.operators import RULES

    from .networks import network_case

    made = [network_case(1, number)[1] for number in range(4 * len(RULES))]
    return [content for content in made if len(content) < 4096]


def _contract_seeds() -> list[bytes]:
    contract = dict(_packaged()[1].contract)
    small = {key: contract[key] for key in ("format", "format_version", "labels", "preprocessing", "outputs")}
    return [json.dumps(contract).encode(), json.dumps(small | {"format_version": 2}).encode()]


def _archive_seeds() -> list[bytes]:
    import io
    import zipfile

    found: list[bytes] = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        buffer = io.BytesIO(b"network")
        buffer.seek(0, io.SEEK_END)
        with zipfile.ZipFile(buffer, "a", method) as archive:
            archive.writestr("labels.txt", "mel\nnv\n")
            archive.writestr("metadata.json", "{}")
        found.append(buffer.getvalue())
    return found


def _model_seeds() -> list[bytes]:
    """Small classifiers of others and of ours, sealed."""
    from skin_edge.edge_runtime import contract as contracts
    from skin_edge.edge_runtime.model_file import with_archive

    from .networks import small_classifier

    network, file = small_classifier(), _packaged()[1]
    contract = {**file.contract, "labels": list(file.contract["labels"])}
    labels = contracts.labels_text(file.labels)
    sealed = {"labels.txt": labels, "metadata.json": contracts.sealed(contract, network, labels)}
    return [network, with_archive(network, {"labels.txt": labels}), with_archive(network, sealed)]


def _patient_seeds() -> list[bytes]:
    fields = [
        {"name": "age", "kind": "number", "unit": "years", "maximum": 120.0, "mean": 50.0, "std": 15.0, "clip": 3.0},
        {"name": "sex", "kind": "category", "categories": ["female", "male"]},
    ]
    return [b"\n".join((json.dumps(fields).encode(), json.dumps({"age": 45, "sex": "male"}).encode()))]


def _metadata_seeds() -> list[bytes]:
    from skin_edge.edge_runtime.network import Network
    from skin_edge.edge_runtime.tflite_metadata import BUFFER_NAME

    return [Network(_packaged()[0]).metadata[BUFFER_NAME]]


# Running them.


def fuzz(name: str, seconds: float, out: Path) -> dict[str, Any]:
    """Runs a target for so long: {"target", "seconds", "executions", "per_second", "findings": [files]}."""
    out.mkdir(parents=True, exist_ok=True)
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="skin-edge-fuzz-") as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for number, seed in enumerate(targets()[name][1]()):
            (corpus / f"seed-{number}").write_bytes(seed)
        prefix = out.resolve() / f"{name}-"
        command = [sys.executable, "-m", "studies.hostile.fuzz", "--work", folder, name]
        flags = [
            *(f"-max_total_time={max(1, round(seconds))}", f"-artifact_prefix={prefix}", "-print_final_stats=1"),
            *(f"-timeout={_TIMEOUT_S}", f"-rss_limit_mb={_MEMORY_MB}", f"-max_len={_LONGEST_INPUT}", str(corpus)),
        ]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, cwd=CHECKOUT, errors="replace")
    executions = re.findall(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    findings = sorted(str(path) for path in out.glob(f"{name}-*"))
    if done.returncode and not findings:
        findings = [done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit code {done.returncode}"]
    count, took = int(executions[-1]) if executions else 0, perf_counter() - start
    return {
        **{"target": name, "seconds": took, "executions": count, "per_second": count / took, "findings": findings},
        "says": [line for line in done.stderr.splitlines() if "Error" in line or "Uncaught" in line][:5],
    }


def _work(folder: Path, name: str, flags: list[str]) -> None:
    """The child: never returns."""
    atheris: Any = importlib.import_module("atheris")
    loaded = {name.rpartition(".")[2] for name in sys.modules if name.startswith("skin_edge.edge_runtime.")}
    assert loaded <= NO_READERS, f"loaded before it could be instrumented: {sorted(loaded - NO_READERS)}"
    with atheris.instrument_imports(include=["skin_edge.edge_runtime", "zipfile"]):
        target = judged(targets()[name][0](folder))
    atheris.Setup([sys.argv[0], *flags], target)
    atheris.Fuzz()


def table(results: list[dict[str, Any]]) -> console.Page:
    lines = [f"{'target':18}{'minutes':>9}{'executions':>13}{'per second':>12}  findings"]
    for row in results:
        lines.append(
            f"{row['target']:18}{row['seconds'] / 60:>9.1f}{row['executions']:>13}{row['per_second']:>12.0f}  "
            f"{len(row['findings']) or '-'}"
        )
    lines += [f"  {line}" for row in results for line in (*row["findings"], *(row["says"] if row["findings"] else ()))]
    return console.page(lines)


def main() -> None:
    arguments, flags = _arguments()
    name = arguments.targets[0] if arguments.targets else "model"
    if arguments.work:
        _work(arguments.work, name, flags)
        return
    try:
        if arguments.input:
            with tempfile.TemporaryDirectory() as folder:
                judged(targets()[name][0](Path(folder)))(arguments.input.read_bytes())
            console.say("it ends well")
            return
        if importlib.util.find_spec("atheris") is None:
            raise MissingExtraError("atheris", "fuzz")
        names = arguments.targets or list(targets())
        results = [fuzz(name, 60 * arguments.minutes / len(names), arguments.out) for name in names]
    except SkinEdgeError as error:
        console.say(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    console.say(table(results))
    sys.exit(1 if any(row["findings"] for row in results) else 0)


def _arguments() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="python -m studies.hostile.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = list(targets())
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(known)}; default: all")
    parser.add_argument("--minutes", type=float, default=10, help="of all targets together; default: 10")
    parser.add_argument("--out", type=Path, default=Path("fuzz"), metavar="DIR", help="for findings; default: fuzz")
    parser.add_argument("--input", type=Path, metavar="FILE", help="run this finding of the one TARGET again")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    flags = [argument for argument in sys.argv[1:] if re.match("-[a-z_]+=", argument)]
    rest = [argument for argument in sys.argv[1:] if argument not in flags]
    if "--work" in rest:  # libFuzzer's corpus stands last
        flags.append(rest.pop())
    arguments = parser.parse_args(rest)
    for name in arguments.targets:
        if name not in known:
            parser.error(f"unknown target {name}; known: {', '.join(known)}")
    return arguments, flags


if __name__ == "__main__":
    main()
