"""Contracts, labels and files that no converter writes: one line each."""

from __future__ import annotations

import json
import os
import zlib

import pytest

from skin_edge.edge_runtime import ModelFileError, SkinClassifier, contract, model_file
from skin_edge.edge_runtime.info import describe, text
from skin_edge.edge_runtime.model_file import is_network, network_length, read_model_file, with_archive

from . import miniatures

NESTED = "[" * 40 + "]" * 40


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not usable JSON"),
        (b"\xff\xfe{}", "not usable JSON"),
        ('{"format": "skin-edge-model"}'.encode("utf-16"), "not usable JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not usable JSON"),
        (f'{{"a": {NESTED}}}'.encode(), "nested too deeply"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"7" * 100_000 + b"}", "too many digits"),
        (rb'{"a": "\ud800"}', "surrogates not allowed"),
        (rb'{"\udfff": 1}', "surrogates not allowed"),
        (b'{"format": "skin-edge-model", "format_version": true}', "version True"),
        (b'{"format": "skin-edge-model", "format_version": 7}', "update skin-edge"),
        (b'{"format": "skin-edge-model", "format_version": 1, "input": {"height": 1e300}}', "not usable|mean"),
        (b'{"format": ' + b'"x"' + b', "format_version": 2}', "format 'x'"),
    ],
)
def test_contracts_that_no_converter_writes(raw, message):
    with pytest.raises(ModelFileError, match=message) as caught:
        contract.parse(raw)
    assert str(caught.value).isprintable()


def test_what_is_said_in_escapes_is_read():
    assert (
        contract.parse(rb'{"format": "skin-edge-model", "format_version": 2, "a": "\ud83d\ude00"}')["a"] == "\U0001f600"
    )


@pytest.mark.parametrize(
    "label",
    [
        {"code": 5, "name": "five"},
        {"code": "", "name": "nothing"},
        {"code": ["a"], "name": "list"},
        {"code": "a", "name": None},
        {"code": "a" * 1001, "name": "long"},
        {"code": "a\n", "name": "line"},
        {"code": "a", "name": "\x1b[2J"},
        {"code": "a", "name": "a", "malignant": 1},
        {"code": "nv", "name": "twice"},
        {"name": "no code"},
        "a",
        None,
    ],
    ids=repr,
)
def test_labels_that_are_none(label, tiny_int8):
    fields = dict(read_model_file(tiny_int8).contract)
    fields["labels"] = [*fields["labels"][:6], label]
    with pytest.raises(ModelFileError, match=r"labels|malformed 'labels'"):
        contract.check(fields)


def test_each_field_left_out_or_of_another_type_is_an_answer_or_a_line(tiny_int8, tmp_path):
    """Sealed again each time, so that nothing but the field is wrong."""
    content = tiny_int8.read_bytes()
    network = content[: network_length(content)]
    original = dict(read_model_file(tiny_int8).contract)
    labels = contract.labels_text(read_model_file(tiny_int8).labels)
    path = tmp_path / "m.tflite"
    left_out = object()
    refused = 0
    for name in original:
        for value in (left_out, None, True, -1, 1e300, "x", [], {}, [[]], [None], {"a": 1}):
            fields = {key: entry for key, entry in original.items() if key != name}
            if value is not left_out:
                fields[name] = value
            files = {"labels.txt": labels, "metadata.json": contract.sealed(fields, network, labels)}
            path.write_bytes(with_archive(network, files))
            try:
                file = read_model_file(path)
                with SkinClassifier(path) as classifier:
                    assert text(describe(classifier, file))
            except ModelFileError as error:
                refused += 1
                assert str(error).isprintable() and len(str(error)) < 1000
    assert refused > 50


def test_format_1_without_its_checksum_says_so(tiny_int8_v1, tmp_path):
    def shown(path):
        with SkinClassifier(path) as classifier:
            return describe(classifier, read_model_file(path))["seal"]

    assert shown(tiny_int8_v1) == "none (format 1)"
    content = tiny_int8_v1.read_bytes()
    length = network_length(content)
    fields = json.loads(model_file.Archive(content).read("metadata.json"))
    fields["network_crc32"] = zlib.crc32(content[:length])
    path = tmp_path / "v1.tflite"
    path.write_bytes(with_archive(content[:length], {"labels.txt": "", "metadata.json": json.dumps(fields)}))
    assert shown(path) == "CRC-32 of the network only (format 1)"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_regular_file_is_not_read(tmp_path, tiny_int8):
    pipe = tmp_path / "pipe.tflite"
    os.mkfifo(pipe)
    for path in (pipe, "/dev/zero"):
        with pytest.raises(ModelFileError, match="not a regular file"):
            read_model_file(path)
        assert not is_network(path)
    with pytest.raises(ModelFileError, match="folder"):
        read_model_file(tmp_path)


def test_more_than_a_model_takes_is_not_read(tmp_path):
    path = tmp_path / "large.tflite"
    with path.open("wb") as file:
        file.truncate(5 * 2**30)  # takes no space
    with pytest.raises(ModelFileError, match="larger than the limit of 256 MiB"):
        read_model_file(path)


def test_labels_of_others_are_text(tiny_int8, tmp_path):
    from skin_edge.convert.tflite import flatbuffer

    content = tiny_int8.read_bytes()
    model = flatbuffer.read(content[: network_length(content)])
    model.metadata = []
    path, labels = tmp_path / "m.tflite", tmp_path / "labels.txt"
    path.write_bytes(flatbuffer.write(model))
    for raw, message in ((b"L\xe4sion\n" * 7, "not UTF-8"), (b"x" * 2000 + b"\n" * 7, "more than 1000 characters")):
        labels.write_bytes(raw)
        with pytest.raises(ModelFileError, match=message):
            read_model_file(path, labels_file=labels)
    labels.write_text("\ufeff" + "\n".join(miniatures.COLOURS), encoding="utf-8")
    assert [label.code for label in read_model_file(path, labels_file=labels).labels] == list(miniatures.COLOURS)


def test_more_classes_than_there_are(monkeypatch, tiny_int8, tmp_path):
    from skin_edge.convert.tflite import flatbuffer

    content = tiny_int8.read_bytes()
    model = flatbuffer.read(content[: network_length(content)])
    model.metadata = []
    path = tmp_path / "m.tflite"
    path.write_bytes(flatbuffer.write(model))
    monkeypatch.setattr(model_file, "MAX_CLASSES", 6)
    with pytest.raises(ModelFileError, match="7 output values; at most 6 classes"):
        read_model_file(path)
