"""Damaged or lying bundles and answers: one line and exit code 2, as 1 means that an app is within tolerance."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile

import pytest

from skin_edge.benchmarks.bundle import reading
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UsageError

from .miniatures import one_line, packaged_size

NAME = "pictures/jpeg-444.jpg"


@pytest.fixture(scope="module")
def held(handover):
    """Path within the bundle -> content, of what `verify` needs."""
    return dict(reading.read_bundle(handover).files)


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs `verify` and gives its one line; answers: the line of one picture."""

    def judge(bundle, answers='{"file": "broken/empty.jpg", "error": "x"}'):
        path = tmp_path / "answers.jsonl"
        path.write_text(answers)
        if isinstance(bundle, bytes):
            (tmp_path / "b.zip").write_bytes(bundle)
            bundle = tmp_path / "b.zip"
        assert run(["verify", str(bundle), str(path)]) == 2
        return one_line(capsys)

    return judge


def zipped(contents, *, sealed=True, kind=zipfile.ZIP_STORED):
    """The zip of a bundle; sealed: with sums of what it holds, as who lies would make them."""
    if sealed:
        sums = "".join(f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, held in contents.items())
        contents = {**contents, "SHA256SUMS": sums.encode()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, content in contents.items():
            archive.writestr(f"b/{name}", content)
    return file.getvalue()


def without_sums(held):
    return {name: content for name, content in held.items() if name != "SHA256SUMS"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"upright": None}, "it lacks upright"),
        ({"upright": 1}, "upright is not of the form"),
        ({"input": {}}, "it lacks input_sha256"),
        ({"input": {"file": "inputs/absent", "sha256": "0" * 64}}, "its input is not the one of this model"),
        ({"probabilities": [10**400] * 7}, "not 7 numbers"),
        ({"probabilities": [float("nan")] * 7}, "not one of this model"),
        ({"label": "absent"}, "not one of this model"),
        ({"decisions": [{}]}, "its decisions are not those of this model"),
        ({"file": "pictures/absent.jpg"}, "golden/pictures/absent.jpg is not the one"),
    ],
)
def test_a_golden_line_of_another_form(change, says, held, refused):
    lines = [json.loads(line) for line in held["golden/golden.jsonl"].splitlines()]
    lines[0].update(change)
    text = "\n".join(map(json.dumps, lines)).encode()
    assert says in refused(zipped({**without_sums(held), "golden/golden.jsonl": text}))


@pytest.mark.parametrize("line", [b"[" * 100_000, b"[1]", b"null", b"{}", b'{"file": ' + b"9" * 5000 + b"}", b"\xff"])
def test_golden_lines_that_are_none(line, held, refused):
    assert "damaged" in refused(zipped({**without_sums(held), "golden/golden.jsonl": line}))


def test_a_model_that_is_none_is_named_by_the_bundle(held, refused):
    said = refused(zipped({**without_sums(held), "model.tflite": b"none"}))
    assert "b.zip: model.tflite: it is not a TFLite model" in said and "writing" not in said


def test_the_picture_of_a_mistake_that_is_none(held, refused):
    lines = [json.loads(line) for line in held["golden/golden.jsonl"].splitlines()]
    line = next(line for line in lines if line["file"] == NAME)
    answer = {"file": NAME, "probabilities": line["probabilities"][::-1]}
    said = refused(zipped({**without_sums(held), f"golden/{NAME}": b"none"}), json.dumps(answer))
    assert "a golden picture cannot be read" in said


def test_a_zip_that_unpacks_to_more_than_it_may(held, refused, monkeypatch):
    monkeypatch.setattr(reading, "_MOST_BYTES", sum(map(len, held.values())) + 1000)
    big = zipped({**without_sums(held), "golden/big": bytes(200_000)}, kind=zipfile.ZIP_DEFLATED)
    assert "larger than the limit" in refused(big)


def test_a_member_that_is_larger_than_it_claims(held, refused):
    size = 123_456
    lying = zipped({**without_sums(held), "golden/big": bytes(size)}, kind=zipfile.ZIP_DEFLATED)
    assert "damaged" in refused(lying.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little")))


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_without_a_bound(kind, held, refused):
    assert "damaged" in refused(zipped(held, sealed=False, kind=kind))


def test_a_zip_with_a_bit_that_is_wrong(held, tmp_path):
    good = zipped(held, sealed=False, kind=zipfile.ZIP_DEFLATED)
    for position in range(40, len(good), len(good) // 25):
        damaged = bytearray(good)
        damaged[position] ^= 255
        with pytest.raises(UsageError):
            (path := tmp_path / "bit.zip").write_bytes(damaged)
            reading.read_bundle(path)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"probabilities": [10**400] * 7}, "not 7 numbers"),
        ({"probabilities": [[1] * 7]}, "not 7 numbers"),
        ({"input": {"base64": "\u00e4"}}, f"{3 * math.prod(packaged_size())} bytes"),
    ],
)
def test_answers_with_numbers_and_texts_without_end(line, says, handover, refused):
    assert says in refused(handover, json.dumps({"file": NAME, **line}))


def test_a_score_without_end_is_malformed(handover, tmp_path, capsys):
    thresholds = json.loads((handover / "metadata.json").read_text())["thresholds"]
    decisions = [{"name": row["name"], "score": 10**400, "decision": "refer"} for row in thresholds]
    (tmp_path / "a.jsonl").write_text(json.dumps({"file": NAME, "decisions": decisions}))
    assert run(["verify", str(handover), str(tmp_path / "a.jsonl")]) == 3
    assert "malformed" in capsys.readouterr().out


def test_answers_that_do_not_end(handover, monkeypatch, capsys):
    monkeypatch.setattr(reading, "_MOST_BYTES", 20_000_000)
    assert run(["verify", str(handover), "/dev/zero"]) == 2
    assert "has more than" in one_line(capsys)
