"""Bundles of contract format 6: golden answers say what cannot be assessed, and `verify` holds apps to it."""

from __future__ import annotations

import base64
import copy
import hashlib
import json

import numpy as np
import pytest

from skin_edge.apps.web import site
from skin_edge.benchmarks.bundle import answers as own_answers
from skin_edge.benchmarks.bundle import hand_over, mistakes, pictures
from skin_edge.edge_runtime import SkinClassifier, assessment, preprocess
from skin_edge.edge_runtime.cli import run

from . import miniatures
from .miniatures import packaged_size
from .test_assessment import check, limited

CHECKS = (
    check("luma", "too_dark", below=8000),
    check("clipped", "glare", above=3000),
    check("red_green", "cast", below=-40, above=400),
    check("contrast", "empty", below=3),
    check("detail", "blurred", below=242) | {"remedy": ""},
    check("ridges", "hair", above=2000),
)
POSSIBLE = [0.3, 0.0, 0.1, 0.2, 0.9, 0.5, 0.05]


@pytest.fixture(scope="module")
def model(tiny_int8, tmp_path_factory):
    path = tmp_path_factory.mktemp("limited") / "tiny6.tflite"
    return miniatures.resealed(tiny_int8, path, limited(*CHECKS, possible=POSSIBLE))


@pytest.fixture(scope="module")
def bundle(model):
    folder = model.parent / "bundle"
    assert run(["bundle", str(model), "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def golden(bundle):
    lines = [json.loads(line) for line in (bundle / "golden" / "golden.jsonl").read_text().splitlines()]
    return {line["file"]: line for line in lines}


def told(pixels):
    content = np.ascontiguousarray(pixels).tobytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "base64": base64.b64encode(content).decode()}


def input_of(bundle, line):
    return np.frombuffer((bundle / "golden" / line["input"]["file"]).read_bytes(), np.uint8).reshape(32, 32, 3)


@pytest.fixture
def answers(bundle, golden):
    """What a right app writes: file -> its line."""
    lines = {}
    for name, line in golden.items():
        if "error" in line:
            lines[name] = {"file": name, "error": "cannot assess: damaged"}
            continue
        kept = ["file", "upright", "features", "assessable", "reasons"]
        kept += ["probabilities", "label", "decisions", "possible"] if line["assessable"] else []
        lines[name] = {key: copy.deepcopy(line[key]) for key in kept} | {"input": told(input_of(bundle, line))}
        if not line["assessable"]:
            lines[name]["error"] = "cannot assess: " + ", ".join(line["reasons"])
    return lines


@pytest.fixture
def verdict(bundle, tmp_path, capsys):
    def judge(answers):
        path = tmp_path / "answers.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in answers.values()))
        code = run(["verify", str(bundle), str(path), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return judge


def test_golden_lines_say_what_the_contract_says_of_a_picture(bundle, golden, model):
    with SkinClassifier(model) as classifier:
        for name, line in golden.items():
            if "error" in line:
                assert "assessable" not in line
                continue
            features = assessment.measure(input_of(bundle, line))
            assert list(line["features"].items()) == list(features.items())
            prediction = classifier.predict(bundle / "golden" / name)
            assert line["reasons"] == [reason.reason for reason in prediction.reasons]
            assert line["assessable"] == (not line["reasons"]) == prediction.assessable
            assert line["possible"] == list(prediction.possible)


def test_every_reason_is_among_the_golden_pictures_and_many_are_assessable(golden):
    reasons = {reason for line in golden.values() for reason in line.get("reasons", [])}
    assert reasons == {row["reason"] for row in CHECKS}
    assert sum(line.get("assessable", False) for line in golden.values()) > 20
    unfit = {name: line["assessable"] for name, line in golden.items() if "unfit" in name}
    assert len(unfit) == 10 and sum(unfit.values()) <= 2  # in 32x32 pixels hairs are as good as gone
    assert not any(unfit[f"pictures/unfit-{kind}.png"] for kind in ("black", "white", "noise", "text"))


def test_unfit_pictures_are_for_files_with_limits_alone(tiny_int8, tmp_path, golden):
    from .test_decisions import in_format_4

    old = miniatures.resealed(tiny_int8, tmp_path / "tiny4.tflite", in_format_4)
    with SkinClassifier(old) as classifier:
        lines = {line["file"]: line for line in hand_over.golden_pictures(classifier).lines}
    assert not any("fit-" in name for name in lines)
    new = {"features", "assessable", "reasons", "possible"}
    for name, line in lines.items():
        assert list(line) == [key for key in golden[name] if key not in new]


def test_a_right_app_is_exact(answers, verdict):
    code, said = verdict(answers)
    assert code == 0 and said["level"] == "A" and not said["refused_though_good"]
    assert said["stages"]["assessment"]["level"] == said["stages"]["possible"]["level"] == "A"
    assert said["stages"]["assessment"]["missing"] == said["stages"]["possible"]["missing"] == 0


def test_an_app_that_shows_only_the_refusal_is_exact(answers, verdict, golden):
    for name, line in answers.items():
        if not golden[name].get("assessable", True):
            answers[name] = {"file": name, "error": line["error"]}
        for key in ("features", "assessable", "reasons", "possible"):
            line.pop(key, None)
    code, said = verdict(answers)
    assert code == 0 and said["stages"]["engine"]["missing"] == 0
    assert said["stages"]["assessment"]["level"] == "A" and said["stages"]["possible"]["level"] is None


def test_reasons_in_words_as_predict_writes_them_count_by_their_code(answers, verdict):
    for line in answers.values():
        if "reasons" in line:
            line["reasons"] = [{"reason": code, "text": "so", "remedy": "thus"} for code in line["reasons"]]
    assert verdict(answers)[0] == 0


def shown_all_the_same(answers, golden):
    for name, line in answers.items():
        if not golden[name].get("assessable", True):
            line |= {key: golden[name][key] for key in ("probabilities", "label", "decisions", "possible")}
            del line["error"]
    return answers


def test_an_app_that_answers_and_says_that_it_is_no_answer_is_exact(answers, verdict, golden):
    assert verdict(shown_all_the_same(answers, golden))[0] == 0


def test_an_app_that_ignores_the_assessment_is_refused_and_told_so(answers, verdict, golden, bundle, tmp_path, capsys):
    for line in shown_all_the_same(answers, golden).values():
        for key in ("features", "assessable", "reasons", "possible"):
            line.pop(key, None)
    code, said = verdict(answers)
    unfit = [name for name, line in golden.items() if not line.get("assessable", True)]
    assert code == 3 and said["answered_though_unfit"] == unfit
    assert said["mistake"]["names"] == ["ignores the assessment"]
    assert said["mistake"]["remedies"] == [mistakes.MISTAKES["ignores the assessment"].remedy]
    assert [name for name, stage in said["stages"].items() if stage["level"] == "refused"] == ["assessment"]
    assert run(["verify", str(bundle), str(tmp_path / "answers.jsonl")]) == 3
    shown = " ".join(capsys.readouterr().out.split())
    assert "mistake: ignores the assessment" in shown and "writes assessable, reasons, features and possible" in shown


def test_ignoring_the_assessment_is_named_beside_another_mistake(answers, verdict, golden, bundle, model):
    with SkinClassifier(model) as classifier:
        for name, line in shown_all_the_same(answers, golden).items():
            if "error" in line:
                continue
            pixels = input_of(bundle, golden[name])[..., ::-1]
            values = classifier.invoke(classifier.to_tensor(np.ascontiguousarray(pixels)))
            line |= {"input": told(pixels), "probabilities": values.tolist()}
            line["label"] = classifier.labels[int(values.argmax())].code
            line["decisions"] = [vars(one) for one in classifier.decide(values)]
            for key in ("features", "assessable", "reasons", "possible"):
                line.pop(key, None)
    code, said = verdict(answers)
    assert code == 3 and said["mistake"]["names"] == ["swapped channels", "ignores the assessment"]


def test_an_assessable_picture_that_is_refused_is_no_exact_port(answers, verdict):
    name = "pictures/rgb-16.png"
    answers[name] = {"file": name, "error": "cannot assess: too much"}
    code, said = verdict(answers)
    assert code == 1 and said["refused_though_good"] == [name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.update(reasons=["too_dark"], assessable=False), "too_dark instead of no reason"),
        (lambda line: line.update(reasons=["too_dark"]), "assessable is True with the reasons"),
        (lambda line: line.update(assessable=False), "assessable is False with the reasons"),
        (lambda line: [line.pop("reasons"), line.update(assessable=False)], "assessable False instead of no reason"),
        (lambda line: line["features"].update(luma=line["features"]["luma"] + 1), "luma is"),
    ],
)
def test_another_assessment_of_the_same_bytes_is_refused(change, said, answers, verdict):
    change(answers["pictures/jpeg-444.jpg"])
    code, found = verdict(answers)
    assert code == 3 and said in found["stages"]["assessment"]["said"]


def test_a_refused_picture_with_other_reasons_is_refused(answers, verdict):
    answers["pictures/unfit-black.png"]["reasons"] = ["glare"]
    code, said = verdict(answers)
    assert code == 3 and "glare instead of too_dark" in said["stages"]["assessment"]["said"]


def test_an_assessment_of_other_bytes_is_held_against_these(answers, verdict, bundle, golden, model):
    """A blue cast that the app's own decoder made: its reasons follow from what it fed."""
    name = "pictures/jpeg-444.jpg"
    pixels = input_of(bundle, golden[name]).copy()
    pixels[0, 0] ^= 1
    features = assessment.measure(pixels)
    answers[name] |= {"input": told(pixels), "features": features}
    with SkinClassifier(model) as classifier:
        values = classifier.invoke(classifier.to_tensor(pixels))
        answers[name] |= {"probabilities": values.tolist(), "possible": list(classifier.possible(values))}
        answers[name]["decisions"] = [vars(one) for one in classifier.decide(values)]
    code, said = verdict(answers)
    assert code == 1 and said["stages"]["assessment"]["level"] == "A"
    answers[name]["features"] = features | {"luma": features["luma"] + 1}
    assert verdict(answers)[1]["stages"]["assessment"]["level"] == "refused"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda codes, label: [code for code in codes if code != label], "the most probable class, is missing"),
        (lambda codes, label: codes[::-1] if len(codes) > 1 else ["mel", "bcc"], "in another order"),
        (lambda codes, label: ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"], "is not possible"),
        (lambda codes, label: [*codes, "wart"], "of other classes"),
    ],
)
def test_another_set_of_possible_classes_is_refused(change, said, answers, verdict):
    line = answers["pictures/rgb-16.png"]
    line["possible"] = change(line["possible"], line["label"])
    code, found = verdict(answers)
    assert code == 3 and found["stages"]["possible"]["level"] == "refused"
    assert said in found["stages"]["possible"]["said"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"reasons": "too_dark"', "reasons are not codes"),
        ('"reasons": [1]', "reasons are not codes"),
        ('"possible": [{"code": "nv"}]', "possible are not codes"),
        ('"assessable": "no"', "neither true nor false"),
        ('"features": {"luma": "high"}', "features are not numbers"),
    ],
)
def test_answers_of_another_form_end_in_one_line(text, said, bundle, tmp_path, capsys):
    (tmp_path / "answers.jsonl").write_text(f'{{"file": "pictures/jpeg-444.jpg", {text}}}')
    assert run(["verify", str(bundle), str(tmp_path / "answers.jsonl")]) == 2
    assert said in miniatures.one_line(capsys)


def test_a_bundle_whose_golden_lines_lack_the_assessment_is_refused(bundle, tmp_path, capsys):
    import shutil

    shutil.copytree(bundle, tmp_path / "copy")
    path = tmp_path / "copy" / "golden" / "golden.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    del lines[0]["reasons"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sums = (tmp_path / "copy" / "SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = [f"{digest}  golden/golden.jsonl" if line.endswith("golden.jsonl") else line for line in sums]
    (tmp_path / "copy" / "SHA256SUMS").write_text("\n".join(kept) + "\n")
    (tmp_path / "answers.jsonl").write_text('{"file": "broken/empty.jpg", "error": "x"}')
    assert run(["verify", str(tmp_path / "copy"), str(tmp_path / "answers.jsonl")]) == 2
    assert "it lacks reasons: make the bundle again" in miniatures.one_line(capsys)


def test_skin_edge_itself_is_exact(bundle, golden, tmp_path, capsys):
    with pytest.raises(SystemExit):
        own_answers.main([str(bundle)])
    written = capsys.readouterr().out
    lines = {line["file"]: line for line in map(json.loads, written.splitlines())}
    assert lines["pictures/unfit-black.png"]["assessable"] is False and lines["pictures/unfit-black.png"]["reasons"]
    (tmp_path / "answers.jsonl").write_text(written)
    assert run(["verify", str(bundle), str(tmp_path / "answers.jsonl")]) == 0


def test_the_integration_guide_says_what_to_do(bundle, golden):
    text = (bundle / "INTEGRATION.md").read_text()
    assert "| too\\_dark | `luma` below 8000 | luma it is | another picture |" in text
    assert "`red_green` below -40 or `red_green` above 400" in text
    assert "90 of 100 pictures of each class" in text and "It may well be" in text
    unfit = sum(not line.get("assessable", True) for line in golden.values())
    assert f"Of these pictures {unfit} cannot be assessed" in text and '"ignores the assessment"' in text


def test_the_packaged_model_assesses_the_fit_pictures_and_refuses_the_unfit_ones():
    """As far as it has limits; and of the fit ones it refers some."""
    with SkinClassifier() as classifier:
        if not assessment.checks_of(classifier.contract):
            pytest.skip("the packaged model has no limits")
        fit = [classifier.predict(content) for content in pictures.fit().values()]
        assert all(one.assessable for one in fit), [one.refusal for one in fit]
        assert {decision.decision for one in fit for decision in one.decisions} == {"refer", "below"}
        assert not any(classifier.predict(content).assessable for content in pictures.unfit(*packaged_size()).values())


def test_pictures_for_limits_are_small_and_repeat():
    made = {**pictures.fit(), **pictures.unfit(*packaged_size())}
    assert sum(map(len, made.values())) < 1_200_000
    pictures.fit.cache_clear()
    pictures.unfit.cache_clear()
    assert {**pictures.fit(), **pictures.unfit(*packaged_size())} == made
    for content in made.values():
        assert preprocess.to_pixels(content, preprocess.InputSpec(*packaged_size())).shape == (*packaged_size(), 3)


def test_the_page_takes_such_a_model(model):
    made = site.files(model)
    lines = json.loads(made["golden.json"])["lines"]
    assert any(not line.get("assessable", True) for line in lines)
