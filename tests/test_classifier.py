"""`SkinClassifier` and the file it reads, on two tiny committed networks."""

from __future__ import annotations

import json
import threading
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from skin_edge.edge_runtime import ImageError, ModelFileError, Prediction, PredictionError, SkinClassifier
from skin_edge.edge_runtime.interpreter import no_engine_message
from skin_edge.edge_runtime.model_file import network_length, read_model_file, with_archive

from . import miniatures


@pytest.mark.parametrize("model", ["tiny_int8", "tiny_float32"])
def test_every_class_is_recognised(model, request, picture):
    classifier = SkinClassifier(request.getfixturevalue(model))
    for code in miniatures.COLOURS:
        prediction = classifier.predict(picture(code, seed=900))
        assert prediction.label == code
        values = list(prediction.probabilities.values())
        assert set(prediction.probabilities) == set(miniatures.COLOURS)
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=0.03)
        assert prediction.preprocess_ms > 0 and prediction.inference_ms > 0


def test_a_prediction_is_frozen(tiny_int8, picture):
    prediction = SkinClassifier(tiny_int8).predict(picture())
    assert isinstance(prediction, Prediction)
    with pytest.raises(FrozenInstanceError):
        prediction.label = "nv"


def test_threads_may_share_a_classifier(tiny_int8, picture):
    classifier = SkinClassifier(tiny_int8)
    pictures = [picture(code, name=f"{code}.jpg") for code in miniatures.COLOURS]
    expected = [classifier.predict(path).probabilities for path in pictures]
    answers = {}

    def work(number):
        answers[number] = [classifier.predict(path).probabilities for path in pictures]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(answers[number] == expected for number in range(4))


def test_an_answer_that_is_not_finite_cannot_assess(tiny_float32, picture, monkeypatch):
    classifier = SkinClassifier(tiny_float32)
    monkeypatch.setattr(classifier.interpreter, "invoke", lambda tensor: (np.full((1, 7), np.nan, np.float32),))
    with pytest.raises(PredictionError, match="cannot assess"):
        classifier.predict(picture())


def test_a_bad_image_cannot_assess(tiny_int8):
    with pytest.raises(ImageError):
        SkinClassifier(tiny_int8).predict(b"text")


def test_threads_are_at_least_one(tiny_int8):
    with pytest.raises(ValueError, match="num_threads"):
        SkinClassifier(tiny_int8, num_threads=0)


def test_the_archive_can_lie_beside_the_network(tiny_int8, tmp_path, picture):
    content = tiny_int8.read_bytes()
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(content[: network_length(content)])
    with pytest.raises(ModelFileError, match=r"holds no metadata\.json"):
        SkinClassifier(bare)
    (tmp_path / "metadata.json").write_text(json.dumps(dict(read_model_file(tiny_int8).metadata)))
    image = picture()
    assert SkinClassifier(bare).predict(image).probabilities == SkinClassifier(tiny_int8).predict(image).probabilities


def changed(source, target, change):
    """A copy of a model file whose metadata `change` has edited."""
    content = source.read_bytes()
    metadata = json.loads(json.dumps(dict(read_model_file(source).metadata)))
    change(metadata)
    target.write_bytes(with_archive(content[: network_length(content)], {"metadata.json": json.dumps(metadata)}))
    return target


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(format_version=99), "version 99"),
        (lambda m: m.update(format="other"), "format 'other'"),
        (lambda m: m.pop("input"), "does not describe the input"),
        (lambda m: m["input"].pop("mean"), "not usable"),
        (lambda m: m["input"].update(height=64), r"the input is \[1, 32, 32, 3\]"),
        (lambda m: m.pop("labels"), "does not list the labels"),
        (lambda m: m.update(labels=m["labels"][:5]), "5 labels"),
        (lambda m: m.update(labels=m["labels"][:6] + m["labels"][:1]), "one twice"),
        (lambda m: m.update(network_crc32=1), "is damaged"),
        (lambda m: m["input"].update(mean=[float("nan")] * 3), "finite"),
        (lambda m: m["input"].update(height=float("inf")), "not usable"),
        (lambda m: m["labels"][0].update(name="\x1b[2Jnothing"), "control characters"),
    ],
)
def test_metadata_that_does_not_fit_is_refused(tiny_int8, tmp_path, change, says):
    with pytest.raises(ModelFileError, match=says):
        SkinClassifier(changed(tiny_int8, tmp_path / "changed.tflite", change))


def test_an_archive_that_unpacks_to_more_is_refused(tiny_int8, tmp_path):
    import io
    import zipfile

    content = tiny_int8.read_bytes()
    buffer = io.BytesIO(content[: network_length(content)])
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", " " * 10_000_000)
    (tmp_path / "bomb.tflite").write_bytes(buffer.getvalue())
    with pytest.raises(ModelFileError, match="compressed"):
        SkinClassifier(tmp_path / "bomb.tflite")


def test_a_flipped_byte_in_the_weights_is_found(tiny_int8, tmp_path):
    import zlib

    content = tiny_int8.read_bytes()
    checksum = zlib.crc32(content[: network_length(content)])
    path = changed(tiny_int8, tmp_path / "model.tflite", lambda m: m.update(network_crc32=checksum))
    SkinClassifier(path)
    damaged = bytearray(path.read_bytes())
    damaged[network_length(content) // 2] ^= 0x10
    path.write_bytes(damaged)
    with pytest.raises(ModelFileError, match="is damaged"):
        SkinClassifier(path)


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.97])
def test_a_truncated_file_is_refused(tiny_int8, tmp_path, kept):
    content = tiny_int8.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        SkinClassifier(path)


def test_a_network_cut_off_beside_its_metadata_is_refused(tiny_int8, tmp_path):
    content = tiny_int8.read_bytes()
    (tmp_path / "metadata.json").write_text(json.dumps(dict(read_model_file(tiny_int8).metadata)))
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: network_length(content) // 2])
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        SkinClassifier(path)


def test_a_machine_without_an_engine_is_told_what_to_do():
    assert "pip install ai-edge-litert" in no_engine_message("aarch64", True, (3, 13))
    for machine, is_64_bit in (("armv7l", False), ("aarch64", False)):
        message = no_engine_message(machine, is_64_bit, (3, 12))
        assert "64-bit system" in message and "Python 3.11" in message and "\n" not in message
