"""What a file refuses and calls possible, in `bench`, `evaluate`, the gate and the comparison."""

from __future__ import annotations

import copy
import csv
import json
import random

import numpy as np
import pandas as pd
import pytest

from skin_edge.benchmarks.accuracy import parity
from skin_edge.benchmarks.bench import BenchSettings, run_bench
from skin_edge.benchmarks.inputs.cases import read_cases
from skin_edge.benchmarks.report import bench_report
from skin_edge.benchmarks.report.page import page
from skin_edge.benchmarks.stats import metrics, refusals
from skin_edge.benchmarks.stats.group_kinds import of as groups_of
from skin_edge.edge_runtime import SkinClassifier, preprocess
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.labels import HAM10000, Label

from . import miniatures
from .test_assessment import check, limited
from .test_evaluate import written
from .test_report import Page, at

CODES = tuple(miniatures.COLOURS)
QUICK = ["--num-runs", "1", "--warmup-runs", "0", "--cold-starts", "0"]
DARK = 29000
"""256 times a luma: some of the miniatures are darker."""


def sets(column, others=0.3):
    """Thresholds of possible classes: of one class so high that only the most probable class is."""
    return [2.0 if code == column else others for code in CODES]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A csv of six pictures of every class, two of a lesion, a third of them under the wrong label."""
    folder = tmp_path_factory.mktemp("refusals")
    pictures = sorted(miniatures.class_folders(folder / "pictures", 6, CODES).rglob("*.png"))
    generator = random.Random(1)
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group", "age", "sex"])
        for i, path in enumerate(pictures):
            label = path.parent.name if i % 3 else generator.choice(CODES)
            age, sex = ("", "25", "61")[i % 3], ("female", "male")[i % 2]
            writer.writerow([path.relative_to(folder), label, f"lesion{i // 2}", age, sex])
    return folder / "data.csv"


@pytest.fixture
def made(tiny_int8, tmp_path):
    """A file that refuses the dark miniatures, and has sets."""

    def make(*checks, name="six.tflite", possible=None, source=tiny_int8):
        checks = checks or (
            check("luma", "too_dark", below=DARK) | {"text": "too dark"},
            check("black", "too_dark", above=9000),
            check("clipped", "too_bright", above=9000) | {"text": "too bright"},
        )
        change = limited(*checks, possible=possible or sets("nv"))
        return miniatures.resealed(source, tmp_path / name, change)

    return make


def bench(*arguments):
    return run(["bench", *map(str, arguments), *QUICK])


def measured(model, data, reference=None, bootstrap=100):
    """What bench's JSON holds under "accuracy"."""
    reference = reference and SkinClassifier(reference)
    return parity.compare(reference, SkinClassifier(model), read_cases(data, known_labels=CODES), bootstrap=bootstrap)


def asked_one_by_one(model, data):
    """[(label, Prediction)] as an app asks."""
    classifier = SkinClassifier(model)
    cases = read_cases(data, known_labels=CODES)
    return [(case.label, classifier.predict(case.path), case) for case in cases]


def check_against_answers(figures, answers):
    """`figures` as counted by hand from `asked_one_by_one`."""
    found = figures["assessment"]
    refused = [not prediction.assessable for _, prediction, _ in answers]
    assert 0 < sum(refused) < len(refused)
    assert (found["n"], found["refused"]) == (len(refused), sum(refused))
    assert found["share"] == pytest.approx(np.mean(refused))
    assert found["interval"] == pytest.approx(metrics.wilson(np.mean(refused), len(refused)))
    malignant = ("akiec", "bcc", "mel")
    assert found["malignant"]["classes"] == [code for code in CODES if code in malignant]
    own = [one for (label, _, _), one in zip(answers, refused, strict=True) if label in malignant]
    assert (found["malignant"]["n"], found["malignant"]["refused"]) == (len(own), sum(own))
    for code, row in found["per_class"].items():
        own = [one for (label, _, _), one in zip(answers, refused, strict=True) if label == code]
        assert (row["n"], row["refused"], row["share"]) == (len(own), sum(own), pytest.approx(np.mean(own)))
    counts = {row["reason"]: (row["text"], row["refused"]) for row in found["reasons"]}
    assert counts == {
        code: (text, sum(code in [reason.reason for reason in p.reasons] for _, p, _ in answers))
        for code, text in (("too_dark", "too dark"), ("too_bright", "too bright"))
    }
    assert counts["too_dark"][1] > 0
    sexes = {row["group"]: row for row in found["subgroups"]["sex"]}
    assert sexes["male"]["n"] == len(answers) // 2
    assert sexes["male"]["refused"] == sum(
        one for (_, _, case), one in zip(answers, refused, strict=True) if case.metadata["sex"] == "male"
    )
    assert [(row["group"], row["too_few"]) for row in found["subgroups"]["age"]] == [
        ("under 30", True),
        ("50-69", True),
        ("unknown", True),
    ]
    assert "share" not in found["subgroups"]["age"][0]
    for row in found["operating_points"]:
        name = f"{row['target']}-{row['wanted']:.2f}"
        said = [next(d.decision for d in p.decisions if d.name == name) == "refer" for _, p, _ in answers]
        positive = [label in row["classes"] for label, _, _ in answers]
        every = list(zip(said, positive, refused, strict=True))
        kept = [(s, p) for s, p, r in every if not r]
        assert row["assessed"]["n_positive"] + row["assessed"]["n_negative"] == len(kept)
        assert row["assessed"]["sensitivity"] == pytest.approx(np.mean([s for s, p in kept if p]))
        assert row["assessed"]["specificity"] == pytest.approx(np.mean([not s for s, p in kept if not p]))
        assert row["referred"]["sensitivity"] == pytest.approx(np.mean([s or r for s, p, r in every if p]))
        assert row["lost"]["sensitivity"] == pytest.approx(np.mean([s and not r for s, p, r in every if p]))
        for way in ("referred", "lost"):
            cleared = np.mean([not s and not r for s, p, r in every if not p])
            assert row[way]["specificity"] == pytest.approx(cleared)
            assert row[way]["intervals"]["sensitivity"][0] <= row[way]["sensitivity"]


def check_sets(found, answers):
    assert found["promised"] == 0.9
    every = [(label, prediction.possible) for label, prediction, _ in answers]
    kept = [(label, prediction.possible) for label, prediction, _ in answers if prediction.assessable]
    for part, pairs in ((found, every), (found["assessed"], kept)):
        assert part["n"] == len(pairs)
        assert part["covered"] == sum(label in codes for label, codes in pairs)
        assert part["mean_size"] == pytest.approx(np.mean([len(codes) for _, codes in pairs]))
        assert part["singletons"] == sum(len(codes) == 1 for _, codes in pairs)
        low, high = part["mean_size_interval"]
        assert low <= part["mean_size"] <= high
        for code, row in part["per_class"].items():
            own = [code in codes for label, codes in pairs if label == code]
            assert (row["n"], row["covered"]) == (len(own), sum(own))
            if own:
                assert row["coverage"] == pytest.approx(np.mean(own))
                assert row["interval"] == pytest.approx(metrics.wilson(np.mean(own), len(own)))
            else:
                assert row["coverage"] is row["interval"] is row["mean_size"] is None


def test_bench_counts_what_an_app_would_see(made, data):
    model = made()
    answers = asked_one_by_one(model, data)
    figures = measured(model, data)["model"]
    check_against_answers(figures, answers)
    check_sets(figures["possible"], answers)


def test_evaluate_counts_the_same_and_prints_it_everywhere(made, data, tmp_path, capsys):
    model = made()
    assert run(["evaluate", str(model), str(data), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:-3])) <= 80
    results, table = written(tmp_path / "out")  # every figure of the page is that of metrics.json
    answers = asked_one_by_one(model, data)
    check_against_answers(results["test"], answers)
    check_sets(results["test"]["possible"], answers)
    assert list(table["possible"]) == [" ".join(prediction.possible) for _, prediction, _ in answers]
    assert list(table["reasons"]) == [" ".join(r.reason for r in prediction.reasons) for _, prediction, _ in answers]
    assert list(table["predicted"]) == [prediction.label for _, prediction, _ in answers]
    pointers = {pointer for pointer, _, _ in Page((tmp_path / "out" / "report.html").read_text()).figures}
    for wanted in (
        "assessment/share",
        "assessment/malignant/share",
        "assessment/per_class/mel/share",
        "assessment/subgroups/sex/0/share",
        "assessment/reasons/0/share",
        "assessment/operating_points/0/lost/sensitivity",
        "possible/per_class/mel/coverage",
        "possible/assessed/per_class/mel/coverage",
        "possible/mean_size",
        "possible/singleton_share",
        "risk_coverage/aurc",
    ):
        assert f"test/{wanted}" in pointers
    for text in (shown, (tmp_path / "out" / "figures.md").read_text()):
        said = " ".join(text.split())
        assert "Every other figure of accuracy here is of all images, whether refused or not." in said
        assert "coverage holds for images like those of the validation part" in said
        assert "too dark" in said


def test_the_two_commands_agree(made, data, tmp_path):
    model = made()
    assert run(["evaluate", str(model), str(data), "--out", str(tmp_path / "out")]) == 0
    ours = json.loads((tmp_path / "out" / "metrics.json").read_text())["test"]
    theirs = json.loads(json.dumps(measured(model, data, bootstrap=1000)["model"]))
    assert ours["assessment"] == theirs["assessment"]
    assert ours["possible"] == theirs["possible"]


def test_all_other_figures_are_those_of_the_same_network_without_limits(made, tiny_int8, tiny_float32, data, tmp_path):
    """A file that refuses does not look better for it; and one without limits has not one key more."""

    def without(found):
        for one in (found["model"], found["reference"]):
            for key in ("assessment", "possible"):
                one.pop(key, None)
        return {key: value for key, value in found.items() if key not in ("operating_points", "seen_in_training")}

    plain = measured(tiny_int8, data, reference=tiny_float32)
    assert "assessment" not in json.dumps(plain) and "possible" not in json.dumps(plain)
    assert set(plain["model"]) == {
        *("n", "n_groups", "groups", "accuracy", "majority_class", "majority_class_baseline", "balanced_accuracy"),
        *("macro_f1", "macro_auc", "top_2_accuracy", "top_3_accuracy", "per_class", "confusion_matrix", "intervals"),
        *("intervals_over", "calibration"),
    }
    six = measured(made(), data, reference=tiny_float32)
    assert "assessment" in six["model"] and "assessment" not in six["reference"]
    assert without(copy.deepcopy(six)) == without(copy.deepcopy(plain))
    for model, name in ((tiny_int8, "plain"), (made(), "six")):
        assert run(["evaluate", str(model), str(data), "--out", str(tmp_path / name)]) == 0
    plain, six = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("plain", "six"))
    assert not {"assessment", "possible"} & set(plain["test"])
    for key in ("assessment", "possible", "operating_points"):
        six["test"].pop(key)
        plain["test"].pop(key, None)
    assert six["test"] == plain["test"]
    columns = list(pd.read_csv(tmp_path / "plain" / "predictions.csv").columns)
    assert not {"reasons", "possible"} & set(columns)
    for kind in ("report.html", "figures.md"):
        text = (tmp_path / "plain" / kind).read_text()
        assert "refused" not in text and "Possible classes" not in text


def test_each_picture_is_decoded_once_and_answered_once(made, data, monkeypatch):
    decoded, invoked = [], []
    to_pixels = preprocess.to_pixels
    monkeypatch.setattr(preprocess, "to_pixels", lambda *given: decoded.append(1) or to_pixels(*given))
    cases = read_cases(data, known_labels=CODES)
    model = SkinClassifier(made())
    answer = model.interpreter.invoke
    monkeypatch.setattr(model.interpreter, "invoke", lambda *given: invoked.append(1) or answer(*given))
    parity.compare(None, model, cases, bootstrap=10)
    assert (len(decoded), len(invoked)) == (len(cases), len(cases))


def test_another_order_of_classes_in_the_reference(made, tiny_float32, data, tmp_path):
    """The sets follow their classes, and the subsets of a reference are its own."""
    order = [3, 0, 6, 1, 5, 2, 4]

    def permuted(contract):
        limited(possible=sets("mel"))(contract)
        contract["labels"] = [contract["labels"][i] for i in order]
        contract["possible"]["thresholds"] = [contract["possible"]["thresholds"][i] for i in order]
        contract["input"]["bytes"] = "normalized"

    reference = miniatures.resealed(tiny_float32, tmp_path / "permuted.tflite", permuted)
    found = measured(made(possible=sets("mel")), data, reference=reference)["reference"]
    answers = asked_one_by_one(reference, data)
    assert found["assessment"]["share"] == 0
    assert list(found["possible"]["per_class"]) == list(CODES)
    for code, row in found["possible"]["per_class"].items():
        own = [code in prediction.possible for label, prediction, _ in answers if label == code]
        assert (row["n"], row["covered"]) == (len(own), sum(own))


def test_bench_prints_it_everywhere(made, tiny_float32, data, tmp_path, capsys):
    page_path, text, result = (tmp_path / f"bench.{kind}" for kind in ("html", "md", "json"))
    outputs = ["--html", page_path, "--markdown", text, "--result-json", result]
    assert bench(made(), "--reference", tiny_float32, "--data", data, *outputs) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    found = json.loads(result.read_text())
    row = found["accuracy"]["model"]["assessment"]
    figures = Page(page_path.read_text()).figures
    assert figures
    for pointer, form, printed in figures:
        value = at(found, pointer)
        assert printed == ("-" if value is None else format(value, form)), pointer
    for printed in (shown, text.read_text()):
        said = " ".join(printed.replace("\\", "").split())
        assert f"{row['refused']} of {row['n']} images refused, {row['share']:.1%}" in said
        assert f"{row['malignant']['n']} of malignant classes {row['malignant']['refused']}" in said
        assert "Every other figure of accuracy here is of all images" in said
        assert "lost" in said and "coverage, not refused" in said
    assert "Share refused, by sex" in text.read_text() and "Share refused, by sex" not in shown


def test_several_models_side_by_side(made, tiny_int8, data, tmp_path, capsys):
    """Files with other reasons, and one without limits."""
    other = made(check("luma", "gloomy", below=DARK + 5000), name="other{n:d} **.tflite")
    paths = [made(), other, tiny_int8]
    assert bench(*paths, "--data", data, "--html", tmp_path / "all.html", "--result-json", tmp_path / "all.json") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    found = json.loads((tmp_path / "all.json").read_text())
    assert ["assessment" in one["accuracy"]["model"] for one in found["models"]] == [True, True, False]
    figures = Page((tmp_path / "all.html").read_text()).figures
    assert {pointer.split("/")[1] for pointer, _, _ in figures} == {"0", "1"}
    for pointer, form, printed in figures:
        assert printed == ("-" if at(found, pointer) is None else format(at(found, pointer), form)), pointer


def test_a_file_that_refuses_everything(made, data, capsys):
    """Nothing is left to be measured without the refused images, and that is said."""
    model = made(check("luma", below=10**6))
    found = measured(model, data)["model"]
    assert found["assessment"]["share"] == 1
    assert found["possible"]["assessed"] is None
    for row in found["assessment"]["operating_points"]:
        assert row["assessed"]["sensitivity"] is row["assessed"]["intervals"]["specificity"] is None
        assert (row["referred"]["sensitivity"], row["referred"]["specificity"]) == (1, 0)
        assert (row["lost"]["sensitivity"], row["lost"]["specificity"]) == (0, 0)
    assert bench(model, "--data", data) == 0
    assert run(["evaluate", str(model), str(data)]) == 0
    assert "100.0%" in capsys.readouterr().out


def test_limits_alone_and_sets_alone(tiny_int8, data, tmp_path):
    limits = miniatures.resealed(tiny_int8, tmp_path / "limits.tflite", limited(check("luma", below=DARK)))

    def only_sets(contract):
        limited(possible=sets("nv"))(contract)
        del contract["assessment"]

    alone = miniatures.resealed(tiny_int8, tmp_path / "sets.tflite", only_sets)
    for model, has, lacks in ((limits, "assessment", "possible"), (alone, "possible", "assessment")):
        found = run_bench(BenchSettings(model=model, data=data, num_runs=1, warmup_runs=0, cold_starts=0))
        assert has in found["accuracy"]["model"] and lacks not in found["accuracy"]["model"]
        assert page(bench_report.document(found))
        assert run(["evaluate", str(model), str(data)]) == 0
    assert "assessed" not in measured(alone, data)["model"]["possible"]


def test_a_run_has_none_of_it(tiny_run, capsys):
    assert run(["evaluate", str(tiny_run), str(tiny_run / "split.csv"), "--json"]) == 0
    assert not {"assessment", "possible"} & set(json.loads(capsys.readouterr().out)["test"])


def test_without_malignant_classes_and_attributes_there_is_no_figure_of_them():
    said = refusals.Said(np.array([[True], [False]]), [("too_dark", "too dark")], None, None)
    found = refusals.figures(said, np.array([0, 1]), np.eye(2), [Label("a", "a"), Label("b", "b")], None)
    assert list(found) == ["assessment"]
    assert found["assessment"]["malignant"] is None
    assert found["assessment"]["subgroups"] == {}


def test_coverage_below_what_is_promised_is_named_only_beyond_chance():
    """Of 200 images of a class 150 covered is less than 90%; of 4 images 3 is chance."""
    codes = [label.code for label in HAM10000]
    y_true = np.array([0] * 200 + [1] * 4)
    possible = np.zeros((204, len(codes)), bool)
    possible[np.arange(204), y_true] = True
    possible[:50, 0] = False
    possible[200, 1] = False
    said = refusals.Said(None, [], possible, 0.9)
    scores = np.full((204, len(codes)), 1 / len(codes))
    found = refusals.figures(said, y_true, scores, HAM10000, groups_of(None, 204), bootstrap=20)["possible"]
    assert found["below"] == [codes[0]]
    assert "assessed" not in found


def gate(tmp_path, **limits):
    path = tmp_path / "gate.yaml"
    path.write_text("".join(f"{name}: {limit}\n" for name, limit in limits.items()))
    return ["--gate", path]


def test_the_gate_has_limits_on_refusals_and_on_coverage(made, data, tmp_path, capsys):
    model = made()
    figures = measured(model, data)["model"]
    found, possible = figures["assessment"], figures["possible"]
    worst = max(
        (row["share"], code) for code, row in found["per_class"].items() if code in found["malignant"]["classes"]
    )
    least = min((row["coverage"], code) for code, row in possible["per_class"].items())
    assert found["share"] > 0 and worst[0] > found["share"] and least[0] < 0.9
    broken = {"max_refused_share": 0.0, "max_malignant_refused_share": 0.01, "min_set_coverage": 1.0}
    assert bench(model, "--data", data, *gate(tmp_path, **broken)) == 3
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: gate: ")]
    assert [line.split()[2] for line in errors] == list(broken)
    number = found["reasons"][0]["refused"]
    assert errors[0].endswith(f"most often as too dark ({number} of {found['n']} images)")
    assert f"with {worst[0]:.4g}" in errors[1] and f"it is {worst[1]}, of " in errors[1]
    assert f"with {least[0]:.4g}" in errors[2] and f"it is {least[1]}, of " in errors[2]
    held = {
        "max_refused_share": round(found["share"] + 0.01, 3),
        "max_malignant_refused_share": 1.0,
        "min_set_coverage": 0.0,
    }
    assert bench(model, "--data", data, *gate(tmp_path, **held)) == 0
    captured = capsys.readouterr()
    assert "Gate: passed" in captured.out
    noise = next(line for line in captured.err.splitlines() if "max_refused_share" in line)
    assert "passed within noise" in noise and f"{found['n']} images of 21 groups, too few to tell" in noise


def test_within_noise_speaks_of_the_class(made, data, tmp_path, capsys):
    model = made()
    per_class = measured(model, data)["model"]["possible"]["per_class"]
    least, code = min((row["coverage"], code) for code, row in per_class.items())
    assert bench(model, "--data", data, *gate(tmp_path, min_set_coverage=least - 0.001)) == 0
    assert f"{per_class[code]['n']} images of {code}, too few to tell" in capsys.readouterr().err


def test_a_gate_on_what_a_file_does_not_have_is_not_met(tiny_int8, data, tmp_path, capsys):
    limits = {"max_refused_share": 1, "max_malignant_refused_share": 1, "min_set_coverage": 0}
    assert bench(tiny_int8, "--data", data, *gate(tmp_path, **limits)) == 3
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert ["the file has no limits of assessment" in line for line in errors] == [True, True, False]
    assert "the file has no sets of possible classes" in errors[2]
    assert bench(tiny_int8, *gate(tmp_path, max_refused_share=1)) == 3
    assert "no --data was given" in capsys.readouterr().err


def test_compare_shows_the_share_of_both(made, tiny_int8, data, tmp_path, capsys):
    paths = {}
    for name, model in (
        ("plain", tiny_int8),
        ("six", made()),
        ("other", made(check("luma", below=0), name="o.tflite")),
    ):
        paths[name] = tmp_path / f"{name}.json"
        assert bench(model, "--data", data, "--result-json", paths[name]) == 0
    capsys.readouterr()

    def compared(*names):
        assert run(["bench", "--compare", *(str(paths[name]) for name in names), "--json"]) == 0
        return {row["name"]: row for row in json.loads(capsys.readouterr().out)["differences"]}

    share = json.loads(paths["six"].read_text())["accuracy"]["model"]["assessment"]["share"]
    rows = compared("six", "other")
    assert (rows["refused"]["a"], rows["refused"]["b"]) == (share, 0)
    assert {"refused, malignant", "coverage of possible classes", "mean size of their set"} <= set(rows)
    assert (compared("plain", "six")["refused"]["a"], compared("plain", "six")["refused"]["b"]) == (None, share)
    assert "refused" not in compared("plain", "plain")
    assert run(["bench", "--compare", str(paths["six"]), str(paths["other"])]) == 0
    shown = capsys.readouterr().out
    assert "refused, malignant" in shown and max(map(len, shown.splitlines())) <= 80
