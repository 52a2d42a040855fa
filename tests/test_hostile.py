"""Hostile input: the short form of studies/hostile, and that it finds what it is there to find."""

from __future__ import annotations

import json
import math
import sys

import pytest

from skin_edge.edge_runtime import ModelFileError, contract, info
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, Prediction
from skin_edge.edge_runtime.errors import ImageError, UsageError
from skin_edge.edge_runtime.model_file import network_length, read_model_file, with_archive
from studies.hostile import pictures
from studies.hostile.models import model_case
from studies.hostile.pictures import image_case
from studies.hostile.run import Case, Worker, judge, measure, table, write_case


def test_two_hundred_pictures_and_sixty_models_end_well():
    result = measure(200, 60)
    assert result["bad"] == []
    assert set(result["images"]["table"]) >= {"JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"}
    assert set(result["models"]["table"]) == {"damaged", "resealed", "foreign"}
    for name, number in (("images", 200), ("models", 60)):
        outcomes = result[name]["outcomes"]
        assert sum(outcomes.values()) == number and set(outcomes) == {"answered", "refused"}
        rows = [row for rows in result[name]["table"].values() for row in rows.values()]
        assert sum(sum(row.values()) for row in rows) == number
    damaged = list(result["models"]["table"]["damaged"].values())
    assert not any("answered" in row for row in damaged)  # the seal holds
    shown = table(result)
    assert max(map(len, shown.splitlines())) <= 80 and "0 bad cases" in shown
    json.dumps(result, allow_nan=False)


# Answers like a worker of the benchmark does, but for the cases that it is told to end otherwise.
STAND_IN = """
import json, os, signal, sys, time
time.sleep(float(os.environ.get("SLOW_START", 0)))
print("ready", flush=True)
for line in sys.stdin:
    kind, number = line.split()
    if number == "1": os.kill(os.getpid(), signal.SIGSEGV)
    if number == "3": time.sleep(60)
    if number == "5": os._exit(7)
    peak = 2**31 if number == "7" else 1000
    print(json.dumps(["PNG", "bits", "answered", "nv", 1.0, None if number == "8" else peak]), flush=True)
"""


def test_a_crash_a_hang_and_too_much_memory_are_laid_to_the_right_case():
    worker = Worker([sys.executable, "-c", STAND_IN], time_limit_s=2)
    results = [worker.run(Case("image", i)) for i in range(10)]
    worker.close()
    found = {result.case: (result.outcome, result.detail) for result in results if result.outcome != "answered"}
    assert found == {
        "image-1": ("crash", "SIGSEGV"),
        "image-3": ("hang", "no answer in 2 s"),
        "image-5": ("crash", "exit code 7"),
        "image-7": ("memory", "2048 MiB; answered: nv"),
    }


def test_a_slow_start_is_not_laid_to_the_first_case(monkeypatch):
    monkeypatch.setenv("SLOW_START", "1.5")
    worker = Worker([sys.executable, "-c", STAND_IN], time_limit_s=1)
    assert worker.run(Case("image", 0)).outcome == "answered"
    worker.close()


def predicted(probabilities, label="a"):
    return lambda: (Prediction(label, probabilities, 1.0, 1.0), 2, True)


def raising(error):
    def call():
        raise error

    return call


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (predicted({"a": 0.75, "b": 0.25}), "answered"),
        (predicted({"a": math.nan, "b": 0.25}), "answer"),
        (predicted({"a": 0.75, "b": 0.75}), "answer"),
        (predicted({"a": 1.0}), "answer"),
        (predicted({"b": 0.75, "a": 0.25}), "answer"),
        (predicted({"a": 0.75, "\x1b[2J": 0.25}), "answer"),
        (raising(ImageError("x.png is truncated")), "refused"),
        (raising(ImageError("")), "message"),
        (raising(ImageError("two\nlines")), "message"),
        (raising(ImageError("\x1b[2J")), "message"),
        (raising(ImageError("x" * 1001)), "message"),
        (raising(ValueError("x")), "traceback"),
        (raising(MemoryError()), "traceback"),
        (raising(SystemExit(1)), "traceback"),
    ],
)
def test_what_is_bad(call, outcome):
    assert judge(call)[0] == outcome


@pytest.mark.parametrize("make", [image_case, model_case])
def test_a_case_can_be_made_again(make):
    once, again = [make(1, n) for n in range(0, 90, 7)], [make(1, n) for n in range(0, 90, 7)]
    assert once == again
    assert sum(one.content != make(2, n).content for n, one in zip(range(0, 90, 7), once, strict=True)) > 8


def test_a_case_as_a_file(tmp_path):
    path = write_case("image-5", 42, tmp_path)
    assert path.name.startswith("image-5.") and path.read_bytes() == image_case(42, 5).content
    with pytest.raises(UsageError, match="image-NUMBER"):
        write_case("image-x", 42, tmp_path)


def test_the_seed_pictures_are_well_formed():
    from skin_edge.edge_runtime import preprocess

    for form, contents in pictures._pictures().items():
        for content in contents:
            if form == "TIFF" and b"\x53\x01\x03\x00\x01\x00\x00\x00\x03" in content:  # float samples have no white
                continue
            assert preprocess.decode(content).mode == "RGB"


def sealed_anew(tmp_path, change):
    """The packaged model with a changed contract, under a seal that holds."""
    content = DEFAULT_MODEL.read_bytes()
    network = content[: network_length(content)]
    fields = {**read_model_file(DEFAULT_MODEL).contract, **change}
    path = tmp_path / "sealed.tflite"
    labels = "".join(f"{label['code']}\n" for label in fields["labels"])
    path.write_bytes(
        with_archive(network, {"labels.txt": labels, "metadata.json": contract.sealed(fields, network, labels)})
    )
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outputs": -1}, "malformed 'outputs'"),
        ({"notice": math.nan}, "NaN is not a number"),
        ({"labels": [{"code": "a", "name": "a", "malignant": {}}]}, "malformed 'labels'"),
        ({"preprocessing": [{"step": "x" * 100_000}]}, "preprocessing"),
    ],
)
def test_a_seal_that_holds_over_a_hostile_contract(change, message, tmp_path):
    with pytest.raises(ModelFileError, match=message) as caught:
        read_model_file(sealed_anew(tmp_path, change))
    assert len(str(caught.value)) < 1000 and str(caught.value).isprintable()


def test_info_of_a_hostile_contract(tmp_path):
    shown = info.text(info.read(str(sealed_anew(tmp_path, {"license": "\x1b[2Jx\ry"}))))
    assert all(line.isprintable() for line in shown.splitlines()) and "probabilities" in shown


def test_no_flipped_bit_of_the_archive_makes_a_strangers_file_of_ours(tiny_int8, tmp_path):
    content = tiny_int8.read_bytes()
    path = tmp_path / "flipped.tflite"
    refused = 0
    for position in (*range(network_length(content), network_length(content) + 50), *range(-180, 0)):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[position] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                assert read_model_file(path).contract, f"byte {position}, bit {bit}"
            except ModelFileError:
                refused += 1
    assert refused > 500
