"""`SkinClassifier` and the file it reads, on two tiny committed networks."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import types
import zipfile
import zlib
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from skin_edge.edge_runtime import ImageError, ModelFileError, Prediction, PredictionError, SkinClassifier, interpreter
from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import PlatformError, UsageError
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


def test_a_closed_classifier_says_so(tiny_int8, picture):
    path = picture()
    with SkinClassifier(tiny_int8) as classifier:
        assert classifier.predict(path).label == "nv"
    for use in (
        lambda: classifier.predict(path),
        lambda: classifier.predict_frame(np.zeros((8, 8, 3), np.uint8)),
        lambda: list(classifier.predict_many([path])),
        lambda: classifier.invoke(np.zeros((1, 32, 32, 3), np.uint8)),
    ):
        with pytest.raises(UsageError, match="closed: create a new one"):
            use()
    classifier.close()  # twice is allowed
    with pytest.raises(ZeroDivisionError), SkinClassifier(tiny_int8) as classifier:
        _ = 1 / 0
    with pytest.raises(UsageError, match="closed"):
        classifier.predict(path)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_many_are_answered_in_order_as_one_by_one(tiny_float32, picture, workers):
    """Pictures of different sizes, so that the threads finish in another order."""
    codes = list(miniatures.COLOURS) * 2
    paths = [picture(code, i, f"{i}.jpg", (60 + 400 * (i % 3), 45 + 300 * (i % 3))) for i, code in enumerate(codes)]
    paths[3].write_bytes(b"text")
    classifier = SkinClassifier(tiny_float32)
    answers = list(classifier.predict_many((str(path) for path in paths), workers=workers))
    assert len(answers) == len(paths)
    for position, (answer, path) in enumerate(zip(answers, paths, strict=True)):
        if position == 3:
            assert isinstance(answer, ImageError) and "3.jpg is not an image" in str(answer)
        else:
            assert isinstance(answer, Prediction)
            assert answer.probabilities == classifier.predict(path).probabilities
            assert answer.label == codes[position]
    assert list(classifier.predict_many([])) == []


def test_many_takes_few_images_ahead(tiny_int8):
    """An endless iterable, images of every kind; when the caller stops, so do the threads."""
    taken = []

    def endless():
        while True:
            taken.append(0)
            yield np.full((20, 30, 3), len(taken) % 256, np.uint8)

    before = threading.active_count()
    answers = SkinClassifier(tiny_int8).predict_many(endless(), workers=3)
    assert not taken, "nothing is read before the first answer is asked for"
    for number in range(1, 12):
        assert isinstance(next(answers), Prediction)
        assert len(taken) <= number + 3
    answers.close()
    assert threading.active_count() == before


def test_decoding_overlaps_with_the_network(tiny_int8, monkeypatch):
    """While the network answers one image, the next ones are decoded: else this would wait for ever."""
    from skin_edge.edge_runtime import preprocess

    classifier, decoded = SkinClassifier(tiny_int8), threading.Semaphore(0)
    to_pixels, invoke = preprocess.to_pixels, classifier.interpreter.invoke

    def counted(image, spec):
        pixels = to_pixels(image, spec)
        decoded.release()
        return pixels

    def patient(tensor):
        assert decoded.acquire(timeout=20), "no other image was decoded meanwhile"
        return invoke(tensor)

    monkeypatch.setattr(preprocess, "to_pixels", counted)
    monkeypatch.setattr(classifier.interpreter, "invoke", patient)
    assert decoded.acquire(blocking=False) is False
    answers = classifier.predict_many([np.zeros((9, 9, 3), np.uint8)] * 4, workers=2)
    assert len(list(answers)) == 4


def test_what_is_no_picture_does_not_end_many(tiny_int8, picture, tmp_path):
    classifier = SkinClassifier(tiny_int8)
    with pytest.raises(ValueError, match="workers must be at least 1"):
        classifier.predict_many([], workers=0)
    os.mkfifo(tmp_path / "pipe.jpg")
    bad = [None, 5, tmp_path / "pipe.jpg", "x" * 300, tmp_path, "/dev/zero", "zero\0byte", "no.hdf5::member", b""]
    answers = list(classifier.predict_many([picture(), *bad, picture()]))
    assert isinstance(answers[0], Prediction) and isinstance(answers[-1], Prediction)
    assert [type(answer) for answer in answers[1:-1]] == [ImageError] * len(bad)


def test_the_command_answers_many_as_one_by_one(tiny_int8, picture, tmp_path, capsys):
    paths = [str(picture(code, name=f"{code}.jpg")) for code in ("mel", "df", "nv")]
    missing = str(tmp_path / "missing.jpg")
    assert run(["predict", str(tiny_int8), *paths[:2], missing, paths[2], "--json"]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == [*paths[:2], missing, paths[2]]
    assert "no such image" in rows[2]["error"]
    classifier = SkinClassifier(tiny_int8)
    for row in (rows[0], rows[1], rows[3]):
        assert row["probabilities"] == classifier.predict(row["file"]).probabilities
    assert gc.isenabled()


# ---- Delegates.


@pytest.mark.parametrize("model", ["tiny_int8", "tiny_float32"])
def test_plain_kernels_answer_the_same(model, request, picture, capsys):
    path = request.getfixturevalue(model)
    image = picture("mel")
    expected = SkinClassifier(path, delegate="xnnpack").predict(image).probabilities
    answered = SkinClassifier(path, delegate="none").predict(image).probabilities
    assert answered == pytest.approx(expected, abs=1e-3 if model == "tiny_float32" else 0.02)
    assert run(["predict", str(path), str(image), "--delegate", "none"]) == 0
    assert "mel" in capsys.readouterr().out


def test_the_delegate_reaches_the_engine(tiny_int8, monkeypatch):
    """Which kernels run cannot be seen from their answers."""
    pytest.importorskip("ai_edge_litert")
    import ai_edge_litert.interpreter as litert

    seen = []

    class Recorder(litert.Interpreter):
        def __init__(self, *, model_content, num_threads, **options):
            seen.append(options)
            super().__init__(model_content=model_content, num_threads=num_threads, **options)

    Recorder.__module__ = litert.__name__
    monkeypatch.setattr(litert, "Interpreter", Recorder)
    SkinClassifier(tiny_int8)
    SkinClassifier(tiny_int8, delegate="none")
    plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    assert seen == [{}, {"experimental_op_resolver_type": plain}]


DELEGATE = r"""
#include <stdio.h>
#include <stdlib.h>
typedef struct {
  void *data;
  int (*prepare)(void *, void *);
  void *from, *to, *free;
  long long flags;
  void *more[4];
} Delegate;
static int prepare(void *context, void *delegate) {
  FILE *file = fopen(getenv("DELEGATE_WAS_HERE"), "w");
  if (file) fclose(file);
  return getenv("DELEGATE_REFUSES") ? 1 : 0;
}
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  if (getenv("DELEGATE_FAILS")) { report("no such accelerator\nat all"); return NULL; }
  Delegate *made = calloc(1, sizeof(Delegate));
  made->prepare = prepare;
  return made;
}
void tflite_plugin_destroy_delegate(void *delegate) { free(delegate); }
"""


@pytest.fixture(scope="module")
def delegate(tmp_path_factory):
    """An external delegate that takes no operator and leaves a file to show that it was asked."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("delegate")
    (folder / "delegate.c").write_text(DELEGATE)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", "delegate.so", "delegate.c"], cwd=folder, check=True)
    return folder / "delegate.so"


def test_an_external_delegate_is_asked(delegate, tiny_int8, picture, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DELEGATE_WAS_HERE", str(tmp_path / "asked"))
    with SkinClassifier(tiny_int8, delegate=delegate) as classifier:
        assert classifier.predict(picture("mel")).label == "mel"
    assert (tmp_path / "asked").exists()
    monkeypatch.chdir(delegate.parent)
    assert run(["predict", str(tiny_int8), str(picture("mel")), "--delegate", "delegate.so"]) == 0
    capsys.readouterr()
    for variable, says in (
        ("DELEGATE_REFUSES", "does not run this network"),
        ("DELEGATE_FAILS", "cannot be loaded"),
    ):
        monkeypatch.setenv(variable, "1")
        assert run(["predict", str(tiny_int8), str(picture("mel")), "--delegate", "delegate.so"]) == 2
        assert says in miniatures.one_line(capsys)
        monkeypatch.delenv(variable)


def test_what_is_no_delegate_is_refused_in_one_line(tiny_int8, tmp_path, picture, capsys):
    (tmp_path / "text.so").write_text("no library")
    for name, says in (
        ("absent.so", "absent.so cannot be loaded"),
        (str(tmp_path / "text.so"), "cannot be loaded"),
        ("libm.so.6", "is not a TFLite delegate"),
        ("", "cannot be loaded"),
    ):
        with pytest.raises(UsageError, match=says) as caught:
            SkinClassifier(tiny_int8, delegate=name)
        assert "\n" not in str(caught.value)
    assert run(["predict", str(tiny_int8), str(picture()), "--delegate", "absent.so"]) == 2
    assert "absent.so" in miniatures.one_line(capsys)
    assert gc.isenabled(), "switched off while the model is loaded"


def test_an_engine_that_cannot_choose_works_with_its_own(tiny_int8, picture, monkeypatch):
    """An old tflite-runtime: an Interpreter and nothing else."""
    engine_class = interpreter.load_engine()[1]
    old = types.ModuleType("an_old_engine")
    monkeypatch.setitem(interpreter.sys.modules, "an_old_engine", old)
    old_class = type("Interpreter", (engine_class,), {"__module__": "an_old_engine"})
    monkeypatch.setattr(interpreter, "load_engine", lambda: ("old", old_class))
    assert SkinClassifier(tiny_int8).predict(picture("mel")).label == "mel"
    for delegate in ("none", "libm.so.6"):
        with pytest.raises(PlatformError, match="cannot choose its delegate"):
            SkinClassifier(tiny_int8, delegate=delegate)


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
        (lambda m: step(m, "resize").update(kernel="nearest"), "does not support"),
        (lambda m: step(m, "crop").update(kind="centre"), "does not support"),
        (lambda m: step(m, "colour").update(gamma=2.2), "does not support"),
        (lambda m: m["preprocessing"].append({"step": "remove hair"}), "preprocessing steps that this version"),
        (lambda m: m["preprocessing"].reverse(), "does not support"),
        (lambda m: m.pop("labels"), "does not list the labels"),
        (lambda m: m.update(labels=m["labels"][:5]), "5 labels"),
        (lambda m: m.update(labels=m["labels"][:6] + m["labels"][:1]), "one twice"),
        (lambda m: m["outputs"].append({"name": "another"}), "1 outputs, not 1 and 2"),
        (lambda m: m.update(outputs=1), "malformed 'outputs'"),
        (lambda m: m.update(thresholds=None), "malformed 'thresholds'"),
        (lambda m: m.update(thresholds=[{"target": "mel"}]), "malformed 'thresholds'"),
        (lambda m: m.update(thresholds=[threshold(classes=["nope"])]), "malformed 'thresholds'"),
        (lambda m: m.update(thresholds=[threshold(threshold=float("nan"))]), "NaN is not a number"),
        (lambda m: m.update(thresholds=[threshold(threshold=10**400)]), "too many digits"),
        (lambda m: m.update(thresholds=[threshold(sensitivity=True)]), "malformed 'thresholds'"),
        (lambda m: m.update(calibration="x"), "malformed 'calibration'"),
        (lambda m: m.update(calibration={"temperature": "hot", "logit_shift": [0] * 7}), "malformed 'calibration'"),
        (lambda m: m.update(calibration={"temperature": 1, "logit_shift": [0] * 6}), "malformed 'calibration'"),
        (lambda m: m.update(quantization=[1]), "malformed 'quantization'"),
        (lambda m: m["provenance"].update(data="x"), "malformed 'data'"),
        (lambda m: m["labels"][0].update(malignant="false"), "malformed 'labels'"),
        (lambda m: step(m, "normalize").update(mean=[float("nan")] * 3), "is not a number"),
        (lambda m: step(m, "resize").update(height=float("inf")), "is not a number"),
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
    SkinClassifier(path)  # the same, built again
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
    with pytest.raises(ModelFileError, match="do not match its seal"):
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


# ---- A fork.

FORKS = """
import os, sys, threading, time
import numpy as np
from skin_edge.edge_runtime import SkinClassifier
classifier, picture = SkinClassifier(sys.argv[1], num_threads=int(sys.argv[2])), np.zeros((300, 300, 3), np.uint8)
expected = classifier.predict(picture).probabilities
def ask():
    while True:
        classifier.predict(picture)
threading.Thread(target=ask, daemon=True).start()
for turn in range(10):
    time.sleep(0.002)
    child = os.fork()
    if child == 0:
        answers = [classifier.predict(picture), *classifier.predict_many([picture] * 3)]
        sys.exit(0 if all(answer.probabilities == expected for answer in answers) else 1)  # with its finalizers
    assert os.waitpid(child, 0)[1] == 0
assert classifier.predict(picture).probabilities == expected
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_fork_while_a_thread_predicts_does_not_hang(num_threads, tiny_int8):
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(tiny_int8), str(num_threads)]
    subprocess.run(command, check=True, timeout=60)


POOL = """
import multiprocessing, sys, threading
import numpy as np
from skin_edge.edge_runtime import SkinClassifier
classifier, picture = SkinClassifier(sys.argv[1]), np.zeros((300, 300, 3), np.uint8)
def ask(_=None):
    return classifier.predict(picture).probabilities
def ask_forever():
    while True:
        ask()
expected = ask()
threading.Thread(target=ask_forever, daemon=True).start()
with multiprocessing.get_context("fork").Pool(3) as pool:
    assert pool.map(ask, range(12)) == [expected] * 12
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_pool_of_forked_processes_predicts(tiny_int8):
    subprocess.run([sys.executable, "-W", "ignore", "-c", POOL, str(tiny_int8)], check=True, timeout=60)
