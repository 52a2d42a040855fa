"""The standard TFLite metadata, read back by a reader of its own (plain bytes, no flatbuffers package)."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from skin_edge.convert.tflite import flatbuffer
from skin_edge.convert.tflite.tflite_metadata import TensorText, attach
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.edge_runtime.model_file import network_length

TEXTS = {
    "name": "skin-edge",
    "description": "seven classes of pigmented lesions, naïve",
    "version": "1.2.3",
    "author": "an author",
    "license": "a license",
}
FILES = {"metadata.json": "how to feed it", "LICENSE.txt": "terms"}


def network_of(path) -> bytes:
    content = path.read_bytes()
    return content[: network_length(content)]


def described(network: bytes, **changes) -> bytes:
    arguments = {
        **TEXTS,
        "input_description": "a picture",
        "mean": (120.0, 127.5, 130.0),
        "std": (50.0, 127.5, 60.0),
        "outputs": [TensorText("probabilities", "one per label")],
        "labels_file": "labels.txt",
        "other_files": FILES,
    }
    return attach(network, **{**arguments, **changes})


class Table:
    """A flatbuffer table: fields by their place in the schema, None (or 0) where absent."""

    def __init__(self, data: bytes, position: int):
        self.data, self.position = data, position
        self.vtable = position - self._number("<i", position)

    @classmethod
    def root(cls, data: bytes):
        return cls(data, struct.unpack_from("<I", data)[0])

    def number(self, place: int, kind: str):
        at = self._place(place)
        return self._number(kind, at) if at else 0

    def text(self, place: int):
        start, length = self._vector(place)
        return self.data[start : start + length].decode()

    def floats(self, place: int):
        start, length = self._vector(place)
        return list(struct.unpack_from(f"<{length}f", self.data, start))

    def table(self, place: int):
        at = self._place(place)
        return Table(self.data, at + self._number("<I", at)) if at else None

    def tables(self, place: int):
        start, length = self._vector(place)
        places = range(start, start + 4 * length, 4)
        return [Table(self.data, at + self._number("<I", at)) for at in places]

    def _number(self, kind: str, at: int):
        return struct.unpack_from(kind, self.data, at)[0]

    def _place(self, place: int) -> int:
        slot = 4 + 2 * place
        offset = self._number("<H", self.vtable + slot) if slot < self._number("<H", self.vtable) else 0
        return self.position + offset if offset else 0

    def _vector(self, place: int):
        at = self._place(place)
        if not at:
            return 0, 0
        start = at + self._number("<I", at)
        return start + 4, self._number("<I", start)


def entries(network: bytes) -> list[tuple[bytes, bytes]]:
    model = flatbuffer.read(network)
    return [(entry.name, bytes(model.buffers[entry.buffer].data)) for entry in model.metadata]


def metadata(network: bytes) -> Table:
    [content] = [content for name, content in entries(network) if name == b"TFLITE_METADATA"]
    assert content[4:8] == b"M001"
    return Table.root(content)


def test_the_model_is_described(tiny_int8):
    model = metadata(described(network_of(tiny_int8)))
    names = ("name", "description", "version", None, "author", "license")
    assert {name: model.text(place) for place, name in enumerate(names) if name} == TEXTS
    assert {file.text(0): file.text(1) for file in model.tables(6)} == FILES
    assert [file.number(2, "<b") for file in model.tables(6)] == [1, 1]  # DESCRIPTIONS
    assert model.text(7) == "1.0.0"
    assert len(model.tables(3)) == 1


@pytest.mark.parametrize(
    ("golden", "least", "largest"),
    [
        ("tiny_int8", [0], [255]),
        ("tiny_float32", [-2.4, -1, -130 / 60], [2.7, 1, 125 / 60]),
    ],
)
def test_the_input_is_an_rgb_image_with_its_normalization(golden, least, largest, request):
    [subgraph] = metadata(described(network_of(request.getfixturevalue(golden)))).tables(3)
    [image] = subgraph.tables(2)
    assert (image.text(0), image.text(1)) == ("image", "a picture")
    content = image.table(3)
    assert content.number(0, "<B") == 2  # ImageProperties
    assert content.table(1).number(0, "<b") == 1  # RGB
    size = content.table(1).table(1)
    assert (size.number(0, "<I"), size.number(1, "<I")) == (32, 32)
    dimensions = content.table(2)
    assert (dimensions.number(0, "<i"), dimensions.number(1, "<i")) == (1, 3)
    [unit] = image.tables(4)
    assert unit.number(0, "<B") == 1  # NormalizationOptions
    assert (unit.table(1).floats(0), unit.table(1).floats(1)) == ([120, 127.5, 130], [50, 127.5, 60])
    stats = image.table(5)
    assert (stats.floats(1), stats.floats(0)) == (pytest.approx(least), pytest.approx(largest))


def test_width_and_height_are_not_exchanged(tiny_float32):
    model = flatbuffer.read(network_of(tiny_float32))
    graph = model.subgraphs[0]
    graph.tensors[graph.inputs[0]].shape = np.array([1, 48, 64, 3], np.int32)
    [subgraph] = metadata(described(flatbuffer.write(model))).tables(3)
    size = subgraph.tables(2)[0].table(3).table(1).table(1)
    assert (size.number(0, "<I"), size.number(1, "<I")) == (64, 48)


def test_every_output_has_an_entry_and_the_first_the_labels(tiny_float32):
    model = flatbuffer.read(network_of(tiny_float32))
    graph = model.subgraphs[0]
    features = graph.operators[-2].inputs[0]  # in front of the last dense layer
    graph.outputs = np.array([*graph.outputs, features], np.int32)
    network = flatbuffer.write(model)
    both = [TensorText("probabilities", "one per label"), TensorText("features", "means over the picture")]
    [subgraph] = metadata(described(network, outputs=both)).tables(3)
    first, second = subgraph.tables(3)
    assert [(output.text(0), output.text(1)) for output in (first, second)] == [
        ("probabilities", "one per label"),
        ("features", "means over the picture"),
    ]
    assert [output.table(3).number(0, "<B") for output in (first, second)] == [1, 1]  # FeatureProperties
    assert (first.table(5).floats(1), first.table(5).floats(0)) == ([0], [1])
    [labels] = first.tables(6)
    assert (labels.text(0), labels.number(2, "<b")) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert second.table(5) is None and second.tables(6) == []
    with pytest.raises(ValueError, match="1 descriptions for a network of 2 outputs"):
        described(network)


def test_the_network_answers_the_same(tiny_int8):
    network = network_of(tiny_int8)
    after = described(network)
    assert after[4:8] == b"TFL3"
    inputs = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32, 3), np.uint8)
    answers = [[Interpreter(content).invoke(image)[0] for image in inputs] for content in (network, after)]
    assert len({answer.tobytes() for answer in answers[0]}) > 1
    assert np.array_equal(*answers)


def test_the_bytes_are_the_same_every_time(tiny_int8):
    network = network_of(tiny_int8)
    assert described(network) == described(network)


def test_what_was_there_is_replaced_and_other_entries_stay(tiny_int8_v1):
    network = network_of(tiny_int8_v1)  # it was written before there was any
    before = entries(network)
    assert [name for name, _ in before] == [b"min_runtime_version", b"CONVERSION_METADATA"]
    once = described(network, name="the former")
    twice = described(once)
    assert metadata(once).text(0) == "the former" and metadata(twice).text(0) == "skin-edge"
    assert entries(twice)[:2] == before and len(entries(twice)) == 3
    assert twice == described(network)


def test_a_network_without_any_metadata(tiny_int8):
    model = flatbuffer.read(network_of(tiny_int8))
    model.metadata = None
    assert metadata(described(flatbuffer.write(model))).text(0) == "skin-edge"
