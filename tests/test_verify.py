"""`skin-edge verify`: an app's answers against the golden ones, and the mistake that it made."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks.accuracy import preprocessing
from skin_edge.benchmarks.bundle import answers as own_answers
from skin_edge.benchmarks.bundle import mistakes, pictures, reading
from skin_edge.edge_runtime import SkinClassifier, assessment, preprocess
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.cli import run
from studies import confusion

from .miniatures import packaged_size


@pytest.fixture(scope="module")
def classifier(handover):
    with SkinClassifier(handover / "model.tflite") as one:
        yield one


@pytest.fixture(scope="module")
def golden(handover):
    lines = [json.loads(line) for line in (handover / "golden" / "golden.jsonl").read_text().splitlines()]
    return {line["file"]: line for line in lines}


@pytest.fixture(scope="module")
def right(handover, golden):
    """file -> the golden input."""
    return {
        name: np.frombuffer((handover / "golden" / line["input"]["file"]).read_bytes(), np.uint8).reshape(
            *packaged_size(), 3
        )
        for name, line in golden.items()
        if "error" not in line
    }


ASSESSED = ("features", "assessable", "reasons", "possible")
"""Of a file of format 6."""


@pytest.fixture
def answers(golden, right):
    """What a right app writes: file -> its line."""
    lines = {}
    for name, line in golden.items():
        if "error" in line:
            lines[name] = {"file": name, "error": "cannot assess: damaged"}
            continue
        kept = ("file", "upright", "probabilities", "label", "decisions", *ASSESSED)
        lines[name] = {key: copy.deepcopy(line[key]) for key in kept if key in line} | {"input": told(right[name])}
    return lines


def told(pixels):
    content = np.ascontiguousarray(pixels).tobytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "base64": base64.b64encode(content).decode()}


@pytest.fixture
def verdict(handover, tmp_path, capsys):
    """Writes the answers, runs the command: (exit code, verdict)."""

    def judge(answers, bundle=handover):
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in answers.values()))
        code = run(["verify", str(bundle), str(path), "--json"])
        out, err = capsys.readouterr()
        return code, (json.loads(out) if out else err)

    return judge


def fed(answers, classifier, make):
    """The answers of an app that feeds make(name) and decides by what comes out."""
    for name, line in answers.items():
        pixels = None if "error" in line else make(name)
        if pixels is None:
            continue
        pixels = np.ascontiguousarray(pixels)
        outputs = classifier.outputs(classifier.to_tensor(pixels))
        values = classifier.invoke(classifier.to_tensor(pixels))
        line["input"] = told(pixels)
        if "features" in line:
            features = classifier.with_score(assessment.measure(pixels), outputs)
            reasons = assessment.failed(assessment.checks_of(classifier.contract), features)
            line |= {"features": features, "assessable": not reasons, "reasons": [one.reason for one in reasons]}
        if "possible" in line:
            line["possible"] = list(classifier.possible(values))
        line["probabilities"] = [float(value) for value in values]
        line["label"] = classifier.labels[int(values.argmax())].code
        line["decisions"] = [vars(one) for one in classifier.decide(values)]
    return answers


def test_a_right_app_is_exact(answers, verdict):
    code, said = verdict(answers)
    assert code == 0 and said["level"] == "A" and said["mistake"] is None and not said["missing"]
    assert {stage["level"] for stage in said["stages"].values()} == {"A"}


def test_a_right_app_that_tells_less_is_exact_as_far_as_it_tells(answers, verdict, handover, tmp_path, capsys):
    for line in answers.values():
        for key in ("upright", "input", "decisions"):
            line.pop(key, None)
    del answers["broken/empty.jpg"]
    code, said = verdict(answers)
    assert code == 0 and said["missing"] == ["broken/empty.jpg"]
    assert [name for name, stage in said["stages"].items() if stage["level"] is None] == [
        "decode",
        "resize",
        "input",
        "decisions",
    ]
    assert run(["verify", str(handover), str(tmp_path / "answers.jsonl")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "decisions not reported" in shown and "no line for 1 files: broken/empty.jpg" in shown


def test_level_b_and_level_c_are_within_tolerance(answers, verdict, classifier, right):
    def sparse(name, share):
        if not np.ptp(right[name], axis=(0, 1)).any():
            return right[name]  # of one colour: no resize rounds it otherwise
        steps = np.random.default_rng(1).choice(
            np.int16([-1, 0, 1]), right[name].shape, p=[share / 2, 1 - share, share / 2]
        )
        return np.clip(right[name] + steps, 0, 255).astype(np.uint8)

    code, said = verdict(fed(copy.deepcopy(answers), classifier, lambda name: sparse(name, 0.04)))
    assert (code, said["level"], said["mistake"]) == (1, "B", None) or said["stages"]["decisions"]["level"] == "C"
    assert said["stages"]["input"]["level"] == "B" and said["stages"]["engine"]["level"] == "A"
    code, said = verdict(fed(answers, classifier, lambda name: sparse(name, 0.18)))
    assert (code, said["level"], said["mistake"]) == (1, "C", None)


def test_other_kernels_are_level_c(answers, verdict, handover, right):
    with SkinClassifier(handover / "model.tflite", delegate="none") as plain:
        code, said = verdict(fed(answers, plain, lambda name: right[name]))
    assert (code, said["level"]) == (1, "C") and said["stages"]["engine"]["level"] == "C"


SHOWN = {
    "swapped channels": lambda upright, spec: preprocess.resize(upright, spec)[..., ::-1],
    "no antialiasing": lambda upright, spec: preprocessing.bilinear(upright, spec, half_pixel=True),
    "nearest neighbour": preprocessing.nearest,
    "area averaging": lambda upright, spec: np.asarray(upright.resize((spec.width, spec.height), Image.Resampling.BOX)),
    "centre crop": preprocessing.centre_square,
    "wrong zero point": lambda upright, spec: preprocess.resize(upright, spec) ^ 128,
    "divided by 255 and fed as bytes": lambda upright, spec: np.rint(preprocess.resize(upright, spec) / 255),
}


@pytest.mark.parametrize("mistake", SHOWN)
def test_the_mistake_is_named_by_bytes_and_by_probabilities(mistake, answers, verdict, classifier, handover, golden):
    def make(name):
        upright = preprocess.decode(handover / "golden" / name)
        return SHOWN[mistake](upright, classifier.input_spec).astype(np.uint8)

    wrong = fed(answers, classifier, make)
    code, said = verdict(wrong)
    assert code == 3 and said["level"] == "refused"
    assert said["mistake"]["names"] == [mistake] and said["mistake"]["by"] == "bytes" and not said["mistake"]["nearest"]
    assert said["mistake"]["remedies"] == [mistakes.MISTAKES[mistake].remedy]
    for line in wrong.values():
        line.pop("input", None)
    code, said = verdict(wrong)
    assert code == 3 and said["mistake"]["names"] == [mistake] and said["mistake"]["by"] == "probabilities"


def test_two_mistakes_at_once_are_both_named(answers, verdict, classifier, handover):
    def make(name):
        upright = preprocess.decode(handover / "golden" / name)
        return preprocessing.bilinear(upright, classifier.input_spec, half_pixel=True)[..., ::-1]

    code, said = verdict(fed(answers, classifier, make))
    assert code == 3 and said["mistake"]["names"] == ["no antialiasing", "swapped channels"]


def test_an_ignored_orientation_is_named_from_hashes_alone(answers, verdict, handover):
    for name, line in answers.items():
        if "exif" in name and name != "pictures/exif-1.jpg":
            stored = np.asarray(Image.open(handover / "golden" / name).convert("RGB"))
            pixels = preprocess.to_pixels(stored, preprocess.InputSpec(*packaged_size()))
            line["input"] = {"sha256": told(pixels)["sha256"]}
            line["upright"] = {"width": stored.shape[1], "height": stored.shape[0], "sha256": "0"}
            line["probabilities"] = [1 / 7] * 7
    code, said = verdict(answers)
    assert code == 3 and said["mistake"]["names"] == ["EXIF orientation ignored"] and said["mistake"]["by"] == "hashes"
    assert "of another size" in said["stages"]["decode"]["said"]


@pytest.mark.parametrize("mistake", ["labels in another order", "softmax twice", "raw logits"])
def test_mistakes_behind_the_network_are_named(mistake, answers, verdict):
    for line in answers.values():
        if "error" in line:
            continue
        values = np.array(line["probabilities"])
        if mistake == "labels in another order":
            values = values[[5, 4, 2, 1, 0, 6, 3]]
        elif mistake == "softmax twice":
            values = np.exp(values) / np.exp(values).sum()
        else:
            values = np.log(values + 1e-12) - 3
        line["probabilities"] = values.tolist()
        del line["label"], line["decisions"]
        line.pop("possible", None)
    code, said = verdict(answers)
    assert code == 3 and said["mistake"]["names"] == [mistake]
    assert said["stages"]["input"]["level"] == "A" and said["stages"]["engine"]["level"] == "refused"


def test_a_broken_file_that_is_answered_is_refused(answers, verdict):
    answers["broken/truncated.jpg"] = {"file": "broken/truncated.jpg", "label": "nv"}
    code, said = verdict(answers)
    assert code == 3 and "broken/truncated.jpg" in said["stages"]["refusals"]["said"]


def test_a_good_picture_that_is_refused_is_no_exact_port(answers, verdict, golden):
    name = next((name for name, line in golden.items() if line.get("assessable", "error" not in line)), None)
    if name is None:
        pytest.skip("the packaged model can assess none of the drawn pictures")
    answers[name] = {"file": name, "error": "cannot assess: a profile"}
    code, said = verdict(answers)
    assert code == 1 and said["refused_though_good"] == [name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.update(label="vasc" if line["label"] != "vasc" else "nv"), "label"),
        (lambda line: line["decisions"].pop(), "missing"),
        (lambda line: line["decisions"][0].update(score=line["decisions"][0]["score"] + 0.01), "not the sum"),
        (
            lambda line: line["decisions"][0].update(
                decision={"refer": "below", "below": "refer"}[line["decisions"][0]["decision"]]
            ),
            "with score",
        ),
        (lambda line: line["decisions"][0].update(borderline=not line["decisions"][0]["borderline"]), "borderline is"),
        (lambda line: line["decisions"][0].update(score="high"), "malformed"),
        (lambda line: line.update(probabilities=[float("nan")] * 7), "apart"),
    ],
)
def test_an_answer_that_does_not_follow_is_refused(change, said, answers, verdict):
    change(answers["pictures/jpeg-444.jpg"])
    code, found = verdict(answers)
    assert code == 3 and any(said in stage["said"] for stage in found["stages"].values() if stage["level"] == "refused")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no answers"),
        ("no json", "line 1: not JSON"),
        ("[1]", 'no object with a "file"'),
        ('{"file": "pictures/of-mine.jpg"}', "not a file of golden/"),
        ('{"file": "broken/empty.jpg"}\n{"file": "broken/empty.jpg"}', "line 2: broken/empty.jpg is answered twice"),
        ('{"file": "pictures/jpeg-444.jpg", "probabilities": [1]}', "not 7 numbers"),
        ('{"file": "pictures/jpeg-444.jpg", "probabilities": "high"}', "not 7 numbers"),
        ('{"file": "pictures/jpeg-444.jpg", "input": {"base64": "AAAA"}}', f"{3 * math.prod(packaged_size())} bytes"),
        ('{"file": "pictures/jpeg-444.jpg", "decisions": [1]}', "section 9"),
        ('{"file": "pictures/jpeg-444.jpg", "upright": 1}', "section 9"),
        ('{"file": "pictures/jpeg-444.jpg", "label": 1}', "not text"),
    ],
)
def test_answers_of_another_form_end_in_one_line(text, said, handover, tmp_path, capsys):
    (tmp_path / "answers.jsonl").write_text(text)
    assert run(["verify", str(handover), str(tmp_path / "answers.jsonl")]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_a_changed_golden_file_is_no_witness(handover, answers, verdict, tmp_path):
    import shutil

    shutil.copytree(handover, tmp_path / "copy")
    assert verdict(answers, tmp_path / "copy")[0] == 0
    path = tmp_path / "copy" / "golden" / "golden.jsonl"
    path.write_text(path.read_text().replace("0.", "0.1", 1))
    code, said = verdict(answers, tmp_path / "copy")
    assert code == 2 and "golden/golden.jsonl is not the one" in said
    assert verdict(answers, tmp_path / "nowhere")[0] == 2
    (tmp_path / "empty").mkdir()
    assert verdict(answers, tmp_path / "empty")[0] == 2
    (tmp_path / "no.zip").write_bytes(b"PK no zip")
    assert verdict(answers, tmp_path / "no.zip")[0] == 2


def test_a_zip_is_a_bundle_too(handover, answers, verdict, tmp_path):
    assert run(["bundle", "--out", str(tmp_path / "a.zip")]) == 0
    assert reading.read_bundle(tmp_path / "a.zip").golden == reading.read_bundle(handover).golden


def test_engine_and_decoder_are_tested_apart(answers, golden, verdict):
    """The golden inputs through the app's engine alone."""
    lines = {
        line["input"]["file"]: {"file": line["input"]["file"], "probabilities": line["probabilities"]}
        for line in golden.values()
        if "error" not in line
    }
    for line in answers.values():
        line.pop("probabilities", None)
        line.pop("decisions", None)
    code, said = verdict({**answers, **lines})
    assert code == 0 and said["stages"]["engine"]["level"] == "A"
    name = next(iter(lines))
    lines[name]["probabilities"] = lines[name]["probabilities"][::-1]
    assert verdict({**answers, **lines})[0] == 3


def test_every_mistake_has_a_remedy():
    named = {name for name, _ in mistakes._MADE} | {"labels in another order", "softmax twice", "raw logits"}
    named |= {"ignores the assessment"}
    spec = preprocess.InputSpec(8, 8)
    named |= {name for name, _ in mistakes.value_maps(spec, {"scale": 2 / 255, "zero_point": 128})}
    assert named == set(mistakes.MISTAKES)


def test_skin_edge_itself_answers_as_an_app_does(answers, handover, capsys):
    with pytest.raises(SystemExit) as ended:
        own_answers.main([str(handover)])
    assert ended.value.code == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == list(answers)
    for line in lines:
        assert line["error"].startswith("cannot assess: ") if "error" in line else line == answers[line["file"]]
    assert run(["nowhere"], own_answers.main) == 2 and capsys.readouterr().err == "error: no such bundle: nowhere\n"


def test_the_resize_is_judged_by_itself_where_the_upright_picture_is_right(answers, verdict, classifier, handover):
    def nearest(name):
        return preprocessing.nearest(preprocess.decode(handover / "golden" / name), classifier.input_spec)

    wrong = fed(answers, classifier, nearest)
    wrong["pictures/grey.jpg"]["upright"]["sha256"] = "0" * 64
    code, said = verdict(wrong)
    stage = said["stages"]["resize"]
    assert code == 3 and stage["level"] == "refused" and stage["missing"] == 1
    assert said["mistake"]["names"] == ["nearest neighbour"]


def test_a_mistake_of_decoding_is_not_taken_for_one_of_the_resize(answers, verdict, classifier, handover):
    image = Image.open(handover / "golden" / "pictures" / "cmyk.jpg")
    stored = 255 - np.asarray(image, np.int64)
    colours = ((255 - stored[..., :3]) * (255 - stored[..., 3:]) + 127) // 255
    inverted = preprocess.to_pixels(colours.astype(np.uint8), classifier.input_spec)
    wrong = fed(answers, classifier, lambda name: inverted if name.endswith("cmyk.jpg") else None)
    wrong["pictures/cmyk.jpg"]["upright"]["sha256"] = "0" * 64
    code, said = verdict(wrong)
    assert code == 3 and said["stages"]["resize"]["level"] == "A"
    assert said["mistake"]["names"] == ["inverted CMYK"] and said["mistake"]["explained"] == 1


def test_what_uprights_tell_leaves_out_what_cannot_be():
    known = [
        mistakes.Hypothesis(names, {})
        for names in (("alpha dropped",), ("centre crop",), ("alpha dropped", "swapped channels"))
    ]
    upright = dict.fromkeys("abcd", True)

    def left(upright, wrong):
        return [one.names for one in mistakes.possible(known, upright, wrong)]

    everything = [one.names for one in known]
    assert left(upright, "ab") == [("centre crop",)]
    assert left(upright | {"e": False}, "e") == [("alpha dropped",), ("alpha dropped", "swapped channels")]
    for some, wrong in ((upright | {"e": False}, "ae"), ({"e": False}, "e"), ({}, "ab"), (upright, "")):
        assert left(some, wrong) == everything


@pytest.mark.slow
def test_the_mistake_is_named_rightly_on_held_photographs(data_root):
    """The confusion table of docs/results.md at a smaller size; needs opencv-python-headless."""
    pytest.importorskip("cv2")
    held = confusion.held(data_root / "data" / "fullsize", most=18)
    rows = confusion.measure(DEFAULT_MODEL, {"golden": pictures.good(*packaged_size()), "photographs": held}, 2)
    for way, least in (("bytes", 0.95), ("stages", 0.95), ("probabilities", 0.9)):
        wrong = [row for row in rows if row["by"] == way and row["mistake"] != confusion.NONE]
        right = sum(row["named"].get(row["mistake"], 0) for row in wrong)
        assert right >= least * sum(sum(row["named"].values()) for row in wrong) > 0, (way, confusion.table(rows))
    for row in rows:
        if row["mistake"] == confusion.NONE:
            assert set(row["named"]) == {confusion.NONE}, row
