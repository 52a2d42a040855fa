"""Hostile model files."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.errors import ModelFileError
from skin_edge.edge_runtime.model_file import read_model_file, with_archive
from skin_edge.edge_runtime.preprocess import EARLIER

from .mutations import Field, Hostile, Mutant

_T = TypeVar("_T")

_FORMS = ("damaged", "resealed", "foreign")
_PLACES = (
    "shape",
    "type",
    "buffer",
    "index",
    "ends",
    "quantization",
    "operator code",
    "options",
    "offset",
    "vtable",
    "length",
)
_STRUCTURE = ("bits", "bytes", "truncate", "insert", "delete", "splice", "word", "weights")
MODEL_MUTATIONS = (*_PLACES, *_STRUCTURE, "metadata", "contract", "archive")


def model_case(seed: int, number: int, models: Sequence[Path] = ()) -> Hostile:
    """The mutated model file `number` of `seed`; see `image_case`. models: further seeds beside the packaged one.

    Forms: "damaged" is a file whose seal is left as it was; "resealed" is sealed anew after the mutation, so that the
    network is reached; "foreign" has neither archive nor metadata, so that nothing but the network is there.
    """
    form = _FORMS[number % 3]
    mutation = MODEL_MUTATIONS[number // 3 % len(MODEL_MUTATIONS)]
    rng = random.Random(f"{seed} model {number}")
    paths = (DEFAULT_MODEL, *models)
    source = _model(paths[number // (3 * len(MODEL_MUTATIONS)) % len(paths)])
    if mutation == "contract" and form == "foreign":
        mutation = "metadata"
    if form == "foreign" and not (mutation == "metadata" and rng.random() < 0.5):
        # Not cut out, so that no offset moves: names that nobody looks for.
        bare = source.network.replace(b"TFLITE_METADATA", b"TFLITE_METADATX").replace(
            b"metadata.json", b"metadata.jsox"
        )
        source = source._replace(network=bare)
    network = _mutated_network(source, mutation, rng)
    if form == "foreign":
        mutant = Mutant(with_archive(network, {"labels.txt": source.labels}) if mutation == "archive" else network, rng)
        if mutation == "archive":
            mutant.draw = lambda: rng.randrange(len(network), len(mutant.data))
            rng.choice((mutant.bits, mutant.bytes, mutant.word, mutant.truncate))()
        return Hostile(form, mutation, ".tflite", bytes(mutant.data))
    if form == "damaged":
        text = contracts.sealed(source.contract, source.network, source.labels)
        archive = {"labels.txt": source.labels, "metadata.json": text}
        if mutation == "contract":
            archive["metadata.json"] = _odd_contract(text, rng)
    else:
        contract = _hostile_contract(source.contract, rng) if mutation == "contract" else source.contract
        labels = source.labels
        archive = {"labels.txt": labels, "metadata.json": contracts.sealed(contract, network, labels)}
    mutant = Mutant(with_archive(network, archive), rng)
    if mutation == "archive":
        mutant.draw = lambda: rng.randrange(len(network), len(mutant.data))
        rng.choice((mutant.bits, mutant.bytes, mutant.word, mutant.truncate, mutant.insert, mutant.delete))()
    return Hostile(form, mutation, ".tflite", bytes(mutant.data))


class _Model(NamedTuple):
    network: bytes
    contract: dict[str, Any]
    labels: str
    places: dict[str, list[Field]]
    structure: list[tuple[int, int]]  # start and end of what is no weights
    metadata: tuple[int, int]


@lru_cache(maxsize=4)
def _model(path: Path) -> _Model:
    file = read_told(path, read_model_file)
    contract = dict(file.contract) or {
        "format": contracts.FORMAT,
        "preprocessing": replace(file.input_spec, decoding=EARLIER).to_steps(),
        "labels": [label._asdict() for label in file.labels],
    }
    contract["format_version"] = max(2, contract.get("format_version", 2))
    labels, network = contracts.labels_text(file.labels), file.content[: file.network_length]
    places, buffers, metadata = _walked(network)
    structure, at = list[tuple[int, int]](), 0
    for start, end in sorted((start, end) for start, end in buffers if end - start > 64 and start != metadata[0]):
        structure.append((at, start))
        at = max(at, end)
    structure.append((at, len(network)))
    return _Model(network, contract, labels, places, [span for span in structure if span[0] < span[1]], metadata)


def _mutated_network(source: _Model, mutation: str, rng: random.Random) -> bytes:
    if mutation in ("contract", "archive"):
        return source.network
    for _ in range(10):
        network = _network_once(source, mutation, rng)
        if network != source.network:  # a zero over a zero is no mutation
            return network
    return _network_once(source, "truncate", rng)


def _network_once(source: _Model, mutation: str, rng: random.Random) -> bytes:
    mutant = Mutant(source.network, rng)
    if mutation in _PLACES:
        mutant.set_numbers(source.places[mutation])
    elif mutation == "weights":
        mutant.bits()
        mutant.draw = lambda: rng.randrange(len(source.network))
        mutant.bytes()
    elif mutation == "metadata":
        start, end = source.metadata
        mutant.draw = lambda: rng.randrange(start, end)
        rng.choice((mutant.bits, mutant.bytes, mutant.word))()
    else:
        spans = source.structure
        lengths = [end - start for start, end in spans]
        mutant.draw = lambda: min(rng.randrange(*rng.choices(spans, lengths)[0]), len(mutant.data) - 1)
        if mutation == "splice":
            mutant.splice(source.network)
        else:
            getattr(mutant, mutation)()
    return bytes(mutant.data)


def _hostile_contract(contract: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """One or two values, anywhere in it, replaced by what nobody expects there, or left out."""
    changed: dict[str, Any] = json.loads(json.dumps(contract))
    odd: tuple[Any, ...] = (
        *(
            None,
            True,
            -1,
            0,
            1e308,
            2**70,
            "",
            "x\ny\x1b[2J",
            "\ud7ff",
            "x" * 100_000,
            [],
            {},
            [[]],
            {"step": "resize"},
        ),
        *(["a"] * 7, math.nan, math.inf, 4097, 160, 1.5),
    )
    for _ in range(rng.choice((1, 1, 2))):
        node: Any = changed
        while True:
            if not node:
                break
            key: Any = rng.choice(sorted(node)) if isinstance(node, dict) else rng.randrange(len(node))  # pyright: ignore
            if isinstance(node[key], (dict, list)) and rng.random() < 0.8:
                node = node[key]  # pyright: ignore[reportUnknownVariableType]
                continue
            if rng.random() < 0.2:
                del node[key]
            else:
                node[key] = rng.choice(odd)
            break
    return changed


def _odd_contract(text: str, rng: random.Random) -> str:
    """No contract at all: broken, deep or huge JSON."""
    return rng.choice(
        (
            "",
            "[",
            "[" * 100_000,
            "{}",
            "null",
            "7" * 10_000,
            text[: len(text) // 2],
            text * 2,
            f'{{"a": {text}}}',
            "\ud7ff",
        )
    )


def _walked(data: bytes) -> tuple[dict[str, list[Field]], list[tuple[int, int]], tuple[int, int]]:
    """Where the numbers of a TFLite flatbuffer stand: (fields by kind, span of every buffer, span of the metadata)."""
    walk = _Walk(data)
    root = walk.table(0)
    for entry in walk.tables(root, 1):
        walk.note("operator code", entry, (0, "<b"), (2, "<i"), (3, "<i"))
    for graph in walk.tables(root, 2):
        walk.note_all("ends", graph, 1, "<i")
        walk.note_all("ends", graph, 2, "<i")
        for tensor in walk.tables(graph, 0):
            walk.tensor(tensor)
        for operator in walk.tables(graph, 3):
            walk.operator(operator)
    buffers = [(start, start + length) for start, length in (walk.vector(entry, 0) for entry in walk.tables(root, 4))]
    metadata = (0, 0)
    for entry in walk.tables(root, 6):
        start, length = walk.vector(entry, 0)
        index = walk.field(entry, 1)
        if data[start : start + length] == b"TFLITE_METADATA":
            metadata = buffers[0 if index is None else walk.number(index)]
    return walk.places, buffers, metadata if metadata[1] else (0, min(len(data), 1000))


class _Walk:
    """Notes where numbers stand. places: fields by kind.

    A reader of its own beside network.py, which has no use for positions. Field numbers: schema.fbs, version 3.
    """

    def __init__(self, data: bytes):
        self.data = data
        self.places: dict[str, list[Field]] = {name: [] for name in _PLACES}

    def number(self, at: int, code: str = "<I") -> int:
        return struct.unpack_from(code, self.data, at)[0]

    def table(self, at: int) -> int:
        """Follows the offset at `at`, and notes it and the table's own fields."""
        position = at + self.number(at)
        vtable = position - self.number(position, "<i")
        self.places["offset"] += [(at, "<I"), (position, "<i")]
        self.places["vtable"] += [(vtable + i, "<H") for i in range(0, self.number(vtable, "<H"), 2)]
        return position

    def field(self, position: int, place: int) -> int | None:
        vtable = position - self.number(position, "<i")
        slot = 4 + 2 * place
        offset = self.number(vtable + slot, "<H") if slot < self.number(vtable, "<H") else 0
        return position + offset if offset else None

    def vector(self, position: int, place: int) -> tuple[int, int]:
        """(where its elements start, how many they are)."""
        at = self.field(position, place)
        if at is None:
            return 0, 0
        start = at + self.number(at)
        self.places["offset"].append((at, "<I"))
        self.places["length"].append((start, "<I"))
        return start + 4, self.number(start)

    def tables(self, position: int, place: int) -> list[int]:
        start, length = self.vector(position, place)
        return [self.table(start + 4 * i) for i in range(length)]

    def note(self, kind: str, position: int, *wanted: tuple[int, str]) -> None:
        for place, code in wanted:
            at = self.field(position, place)
            self.places[kind] += [] if at is None else [(at, code)]

    def note_all(self, kind: str, position: int, place: int, code: str, most: int = 8) -> None:
        start, length = self.vector(position, place)
        size = struct.calcsize(code)
        self.places[kind] += [(start + size * i, code) for i in range(min(length, most))]

    def tensor(self, position: int) -> None:
        self.note_all("shape", position, 0, "<i")
        self.note_all("shape", position, 7, "<i")
        self.note("type", position, (1, "<b"))
        self.note("buffer", position, (2, "<I"))
        at = self.field(position, 4)
        if at is not None:
            quantization = self.table(at)
            self.note_all("quantization", quantization, 2, "<f")
            self.note_all("quantization", quantization, 3, "<q")
            self.note("quantization", quantization, (6, "<i"))

    def operator(self, position: int) -> None:
        self.note("operator code", position, (0, "<I"), (3, "<B"))
        self.note_all("index", position, 1, "<i")
        self.note_all("index", position, 2, "<i")
        at = self.field(position, 4)
        if at is not None:
            options = self.table(at)
            size = self.number(options - self.number(options, "<i") + 2, "<H")
            self.places["options"] += [(options + i, "<i") for i in range(4, size, 4)]


def read_told(path: Path, read: Callable[..., _T]) -> _T:
    """Reads a model; one that does not say in which range it takes floats is told so, as a user would do."""
    try:
        return read(path)
    except ModelFileError as error:
        if "--mean" not in str(error):
            raise
        return read(path, mean=127.5, std=127.5)
