"""`SkinClassifier` and the file it reads, on two tiny committed networks."""

from __future__ import annotations

import hashlib
import json
import threading
import zipfile
import zlib
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from skin_edge.edge_runtime import ImageError, ModelFileError, Prediction, PredictionError, SkinClassifier
from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime.interpreter import no_engine_message
from skin_edge.edge_runtime.model_file import network_length, with_archive

from . import miniatures
from .miniatures import resealed


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


def threshold(**changes):
    row = {"target": "mel", "classes": ["mel"], "chosen_for_sensitivity": 0.9, "threshold": 0.1}
    return row | {"sensitivity": 0.9, "specificity": 0.7, "n_positive": 40} | changes


def test_a_threshold_as_it_should_be_is_read(tiny_int8, tmp_path):
    path = resealed(tiny_int8, tmp_path / "model.tflite", lambda m: m.update(thresholds=[threshold()]))
    assert SkinClassifier(path).contract["thresholds"] == [threshold()]


def step(contract, name):
    return next(step for step in contract["preprocessing"] if step["step"] == name)


def flipped(content, position):
    damaged = bytearray(content)
    damaged[position] ^= 0x10
    return bytes(damaged)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(format_version=99), "version 99"),
        (lambda m: m.update(format="other"), "format 'other'"),
        (lambda m: m.pop("preprocessing"), "not usable"),
        (lambda m: step(m, "normalize").pop("mean"), "not usable"),
        (lambda m: step(m, "resize").update(height=64), r"the input is \[1, 32, 32, 3\]"),
        (lambda m: step(m, "resize").update(kernel="nearest"), "does not do"),
        (lambda m: step(m, "crop").update(kind="centre"), "does not do"),
        (lambda m: step(m, "colour").update(gamma=2.2), "does not do"),
        (lambda m: m["preprocessing"].append({"step": "remove hair"}), "other preprocessing steps"),
        (lambda m: m["preprocessing"].reverse(), "does not do"),
        (lambda m: m.pop("labels"), "does not list the labels"),
        (lambda m: m.update(labels=m["labels"][:5]), "5 labels"),
        (lambda m: m.update(labels=m["labels"][:6] + m["labels"][:1]), "one twice"),
        (lambda m: m["outputs"].append({"name": "another"}), "1 outputs, not 1 and 2"),
        (lambda m: m.update(outputs=1), "malformed 'outputs'"),
        (lambda m: m.update(thresholds=None), "malformed 'thresholds'"),
        (lambda m: m.update(thresholds=[{"target": "mel"}]), "malformed 'thresholds'"),
        (lambda m: m.update(thresholds=[threshold(classes=["nope"])]), "malformed 'thresholds'"),
        (lambda m: m.update(thresholds=[threshold(threshold=float("nan"))]), "malformed 'thresholds'"),
        (lambda m: m.update(thresholds=[threshold(sensitivity=True)]), "malformed 'thresholds'"),
        (lambda m: m.update(calibration="x"), "malformed 'calibration'"),
        (lambda m: m.update(calibration={"temperature": "hot", "logit_shift": [0] * 7}), "malformed 'calibration'"),
        (lambda m: m.update(calibration={"temperature": 1, "logit_shift": [0] * 6}), "malformed 'calibration'"),
        (lambda m: m.update(quantization=[1]), "malformed 'quantization'"),
        (lambda m: m["provenance"].update(data="x"), "malformed 'data'"),
        (lambda m: m["labels"][0].update(malignant="false"), "malformed 'labels'"),
        (lambda m: step(m, "normalize").update(mean=[float("nan")] * 3), "finite"),
        (lambda m: step(m, "resize").update(height=float("inf")), "not usable"),
        (lambda m: m["labels"][0].update(name="\x1b[2Jnothing"), "control characters"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused(tiny_int8, tmp_path, change, says):
    with pytest.raises(ModelFileError, match=says):
        SkinClassifier(resealed(tiny_int8, tmp_path / "changed.tflite", change))


def test_a_field_that_is_not_known_is_information(tiny_int8, tmp_path):
    path = resealed(tiny_int8, tmp_path / "more.tflite", lambda m: m.update(weather="fine"))
    assert SkinClassifier(path).contract["weather"] == "fine"


def test_the_first_version_is_read_and_checked(tiny_int8, tiny_int8_v1, tmp_path, picture):
    old = tiny_int8_v1
    image = picture("mel")
    assert SkinClassifier(old).predict(image).probabilities == SkinClassifier(tiny_int8).predict(image).probabilities
    content = old.read_bytes()
    raw = zipfile.ZipFile(old).read("metadata.json")
    length = network_length(content)
    contract = json.loads(raw) | {"network_crc32": zlib.crc32(content[:length])}
    path = tmp_path / "old.tflite"
    path.write_bytes(with_archive(content[:length], {"metadata.json": json.dumps(contract)}))
    SkinClassifier(path)
    path.write_bytes(flipped(path.read_bytes(), length // 2))
    with pytest.raises(ModelFileError, match="CRC-32"):
        SkinClassifier(path)
    del contract["input"]
    path.write_bytes(with_archive(content[:length], {"metadata.json": json.dumps(contract)}))
    with pytest.raises(ModelFileError, match="does not describe the input"):
        SkinClassifier(path)


def test_an_archive_that_unpacks_to_more_is_refused(tiny_int8, tmp_path):
    import io

    content = tiny_int8.read_bytes()
    buffer = io.BytesIO(content[: network_length(content)])
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", " " * 10_000_000)
    (tmp_path / "bomb.tflite").write_bytes(buffer.getvalue())
    with pytest.raises(ModelFileError, match="compressed"):
        SkinClassifier(tmp_path / "bomb.tflite")


@pytest.mark.parametrize("part", ["weights", "labels", "contract", "seal"])
def test_what_was_changed_after_sealing_is_refused(tiny_int8, tmp_path, part):
    content = tiny_int8.read_bytes()
    length = network_length(content)
    network, archive = content[:length], zipfile.ZipFile(tiny_int8)
    files = {name: archive.read(name).decode() for name in ("labels.txt", "metadata.json")}
    path = tmp_path / "model.tflite"
    path.write_bytes(with_archive(network, files))
    SkinClassifier(path)  # the same, built anew
    contract = files["metadata.json"]
    if part == "weights":
        network = flipped(network, length // 2)
    elif part == "labels":
        files["labels.txt"] = files["labels.txt"].replace("mel\nnv", "nv\nmel")
    elif part == "contract":
        assert contract.count('"malignant": true') == 3
        files["metadata.json"] = contract.replace('"malignant": true', '"malignant": null', 1)
    else:
        files["metadata.json"] = contract[: contract.index('  "seal"')].rstrip().rstrip(",") + "\n}\n"
        json.loads(files["metadata.json"])
    path.write_bytes(with_archive(network, files))
    with pytest.raises(ModelFileError, match="sealed together"):
        SkinClassifier(path)


def test_labels_txt_names_the_contracts_labels(tiny_int8, tmp_path):
    """Others read labels.txt: sealed or not, it may not say something else."""
    content = tiny_int8.read_bytes()
    network = content[: network_length(content)]
    contract = dict(SkinClassifier(tiny_int8).contract)
    labels = "".join(f"{code}\n" for code in reversed(miniatures.COLOURS))
    files = {"labels.txt": labels, "metadata.json": contracts.sealed(contract, network, labels)}
    path = tmp_path / "model.tflite"
    path.write_bytes(with_archive(network, files))
    with pytest.raises(ModelFileError, match="other labels than its contract"):
        SkinClassifier(path)


def test_an_archive_with_two_contracts_is_refused(tiny_int8, tmp_path):
    path = tmp_path / "twice.tflite"
    path.write_bytes(tiny_int8.read_bytes())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("metadata.json", archive.read("metadata.json"))
    with pytest.raises(ModelFileError, match="twice"):
        SkinClassifier(path)


def test_the_seal_may_stand_anywhere_and_in_any_spacing(tiny_int8, tmp_path):
    """As the published rule says: only its 64 digits count as zeros."""
    content = tiny_int8.read_bytes()
    network, labels = content[: network_length(content)], zipfile.ZipFile(tiny_int8).read("labels.txt")
    contract = {"seal": "0" * 64, "extra": {"seal": "1" * 64}, **dict(SkinClassifier(tiny_int8).contract)}
    contract["seal"] = "0" * 64
    blank = json.dumps(contract, separators=(",", ":"))
    text = blank.replace("0" * 64, hashlib.sha256(network + labels + blank.encode()).hexdigest())
    path = tmp_path / "compact.tflite"
    path.write_bytes(with_archive(network, {"labels.txt": labels.decode(), "metadata.json": text}))
    assert SkinClassifier(path).contract["extra"] == {"seal": "1" * 64}


def test_a_first_version_file_is_not_taken_for_another_makers(tiny_int8_v1, tmp_path):
    """A damaged directory of its archive hides the contract; its labels must not become numbers."""
    content = bytearray(tiny_int8_v1.read_bytes())
    position = content.rindex(b"metadata.json")
    content[position] ^= 1
    path = tmp_path / "hidden.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        SkinClassifier(path)


def test_the_seal_is_what_the_contract_says_it_is(tiny_int8):
    content = tiny_int8.read_bytes()
    archive = zipfile.ZipFile(tiny_int8)
    labels, raw = archive.read("labels.txt"), archive.read("metadata.json")
    seal = json.loads(raw)["seal"]
    blank = raw.replace(seal.encode(), b"0" * 64)
    assert blank != raw
    assert hashlib.sha256(content[: network_length(content)] + labels + blank).hexdigest() == seal


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.97])
def test_a_truncated_file_is_refused(tiny_int8, tmp_path, kept):
    content = tiny_int8.read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ModelFileError, match=r"cut\.tflite"):
        SkinClassifier(path)


def test_a_machine_without_an_engine_is_told_what_to_do():
    assert "pip install ai-edge-litert" in no_engine_message("aarch64", True, (3, 13))
    for machine, is_64_bit in (("armv7l", False), ("aarch64", False)):
        message = no_engine_message(machine, is_64_bit, (3, 12))
        assert "64-bit system" in message and "Python 3.11" in message and "\n" not in message
