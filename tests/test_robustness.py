"""`skin-edge bench --robustness`: what the suite of distortions costs a model."""

from __future__ import annotations

import functools
import io
import json
import operator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks import diff
from skin_edge.benchmarks.bench import BenchSettings, run_bench, run_benches
from skin_edge.benchmarks.inputs.cases import Case, read_cases
from skin_edge.benchmarks.report import bench_report, robustness_report
from skin_edge.benchmarks.report.document import Document, Section
from skin_edge.benchmarks.report.markdown import markdown
from skin_edge.benchmarks.robustness import measure, sheet
from skin_edge.benchmarks.robustness.distortions import KINDS, STRENGTHS, distort, seed_of
from skin_edge.benchmarks.stats import metrics
from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError

from . import miniatures
from .test_assessment import check, limited

CODES = tuple(miniatures.COLOURS)
QUICK = ["--num-runs", "2", "--warmup-runs", "0", "--cold-starts", "0"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return miniatures.class_folders(tmp_path_factory.mktemp("folders"), 3, CODES)


@pytest.fixture(scope="module")
def limited_model(tmp_path_factory):
    """The tiny model with thresholds, and a limit: what is dark is refused."""
    from .conftest import GOLDEN

    path = tmp_path_factory.mktemp("model") / "limited.tflite"
    return miniatures.resealed(GOLDEN / "tiny_int8.tflite", path, limited(check("luma", "too_dark", below=20000)))


@pytest.fixture(scope="module")
def cases(folders):
    return read_cases(folders, known_labels=CODES)


@pytest.fixture(scope="module")
def found(limited_model, cases):
    return measure.measure_robustness([SkinClassifier(limited_model)], cases, bootstrap=50)[0]


def row_of(found, kind, strength):
    return next(row for row in found["rows"] if (row["kind"], row["strength"]) == (kind, strength))


def test_every_kind_and_strength_has_a_row_and_the_result_is_json(found, cases):
    json.dumps(found, allow_nan=False)
    assert [(row["kind"], row["strength"]) for row in found["rows"]] == [(k, s) for k in KINDS for s in STRENGTHS]
    assert found["n"] == found["of"] == len(cases) == sum(found["per_class"].values())
    assert (found["suite"], found["seed"], found["failed"], found["reduced"]) == (1, 42, 0, 0)


@pytest.mark.parametrize(("kind", "strength"), [("temperature", 3), ("frame", 2), ("underexposed", 1), ("hair", 3)])
def test_a_row_equals_what_predict_answers(found, limited_model, cases, kind, strength):
    """Picture by picture, from the definitions."""
    model = SkinClassifier(limited_model)
    scores, same, refused, held = [], [], [], []
    turned: dict[str, list[bool]] = {name: [] for name in model.operating_points}
    classes = {name: row["classes"] for name, row in zip(turned, model.contract["thresholds"], strict=True)}
    for case in cases:
        pixels = np.asarray(Image.open(case.path).convert("RGB"))
        before = model.predict(pixels)
        after = model.predict(distort(pixels, kind, strength, seed_of(42, kind, case.image_id)))
        scores.append([after.probabilities[code] for code in CODES])
        same.append(before.label == after.label)
        refused.append(not after.assessable)
        held.append(same[-1] or refused[-1])
        for first, then in zip(before.decisions, after.decisions, strict=True):
            if case.label in classes[first.name]:
                was = before.assessable and first.decision == "refer"
                turned[first.name].append(was and after.assessable and then.decision == "below")
    row = row_of(found, kind, strength)
    truth = np.array([CODES.index(case.label) for case in cases])
    wanted = metrics.evaluate(truth, np.array(scores, np.float32), CODES, bootstrap=0)
    assert row["macro_auc"] == pytest.approx(wanted["macro_auc"])
    assert row["balanced_accuracy"] == pytest.approx(wanted["balanced_accuracy"])
    assert row["melanoma_auc"] == pytest.approx(wanted["per_class"]["mel"]["auc"])
    assert row["agreement"] == pytest.approx(np.mean(same))
    assert row["refused"] == pytest.approx(np.mean(refused)) == row["reasons"].get("too_dark", 0)
    assert row["agreement_or_refused"] == pytest.approx(np.mean(held))
    assert row["turned"] == pytest.approx({name: np.mean(lost) for name, lost in turned.items()})


def test_what_is_dark_is_refused_and_what_is_refused_has_not_turned(found, tiny_int8, cases):
    assert found["assesses"] and found["clean"]["refused"] < 0.5
    dark = row_of(found, "underexposed", 3)
    assert dark["refused"] == dark["agreement_or_refused"] == 1 and dark["agreement"] < 1
    assert set(dark["turned"].values()) == {0}
    without = measure.measure_robustness([SkinClassifier(tiny_int8)], cases[:7], bootstrap=0)[0]
    assert not without["assesses"] and all(row["refused"] == 0 for row in without["rows"])
    assert all(row["agreement"] == row["agreement_or_refused"] for row in without["rows"])


def test_the_clean_row_is_the_accuracy_of_bench_and_has_its_intervals(tiny_int8, folders):
    settings = BenchSettings(tiny_int8, data=folders, num_runs=1, cold_starts=0, robustness=True)
    result = run_bench(settings)
    clean, model = result["robustness"]["clean"], result["accuracy"]["model"]
    for name in ("macro_auc", "balanced_accuracy"):
        assert clean[name] == model[name] and clean["intervals"][name] == model["intervals"][name]
    assert set(clean["intervals"]) == {"macro_auc", "balanced_accuracy", "melanoma_auc", "malignant_auc"}


def test_means_are_over_all_kinds(found):
    assert list(found["means"]) == ["1", "2", "3", "1 and 2"]
    both = found["means"]["1 and 2"]
    rows = [row for row in found["rows"] if row["strength"] < 3]
    for name in ("macro_auc", "malignant_auc", "agreement", "refused", "agreement_or_refused"):
        assert both[name] == pytest.approx(np.mean([row[name] for row in rows]))
    assert both["turned"] == pytest.approx(
        {name: np.mean([row["turned"][name] for row in rows]) for name in found["positives"]}
    )


def test_without_melanoma_its_figures_are_not_defined(tiny_int8, tmp_path):
    cases = read_cases(miniatures.class_folders(tmp_path, 2, ("nv", "bkl")), known_labels=CODES)
    found = measure.measure_robustness([SkinClassifier(tiny_int8)], cases, bootstrap=20)[0]
    for row in (found["clean"], *found["rows"], *found["means"].values()):
        assert row["melanoma_auc"] is row["malignant_auc"] is None
        assert row["macro_auc"] is not None
    assert found["example"]["truth"] in ("nv", "bkl")
    json.dumps(found, allow_nan=False)
    shown = markdown(Document("", "", [Section("r", "R", robustness_report.blocks(found))], "x"))
    assert "melanoma" not in shown


def some(**counts):
    names = [label for label, count in counts.items() for _ in range(count)]
    return [Case(path=None, image_id=f"I{i}", group="", label=name, split="") for i, name in enumerate(names)]


def test_of_each_class_as_many_are_drawn_and_of_a_small_one_all():
    every = some(nv=200, mel=50, df=3)
    drawn = measure.drawn(every, 63, 42)
    counts = {label: sum(case.label == label for case in drawn) for label in ("nv", "mel", "df")}
    assert counts == {"nv": 30, "mel": 30, "df": 3}
    assert [every.index(case) for case in drawn] == sorted(every.index(case) for case in drawn)
    assert measure.drawn(every, 63, 42) == drawn != measure.drawn(every, 63, 43)
    assert measure.drawn(every, 1000, 42) == every
    assert len(measure.drawn(every, 2, 42)) == 2


def test_a_drawn_picture_counts_as_many_as_it_stands_for(limited_model, tmp_path):
    """As if each were there so many times."""
    folder = miniatures.class_folders(tmp_path, 6, ("nv", "mel", "bcc"))
    for number in range(3):
        (folder / "mel" / f"{number}.png").unlink()
        miniatures.picture("mel" if number else "nv", number).save(folder / "bcc" / f"{number}.png")
    every = read_cases(folder, known_labels=CODES)  # 6 nv, 6 bcc, one of them no bcc, 3 mel
    drawn = measure.drawn(every, 8, 42)
    counts = {label: sum(case.label == label for case in drawn) for label in ("bcc", "nv", "mel")}
    assert counts == {"bcc": 3, "nv": 3, "mel": 2}
    model = SkinClassifier(limited_model)
    found = measure.measure_robustness([model], every, pictures=8, bootstrap=0)[0]
    times = [6 // counts[case.label] if case.label != "mel" else 1.5 for case in drawn]
    truth = np.array([CODES.index(case.label) for case in drawn]).repeat([int(2 * time) for time in times])
    kind, strength = "underexposed", 2
    before, after = [], []
    for case in drawn:
        pixels = np.asarray(Image.open(case.path).convert("RGB"))
        before.append(model.predict(pixels))
        after.append(model.predict(distort(pixels, kind, strength, seed_of(42, kind, case.image_id))))
    scores = np.array([[one.probabilities[code] for code in CODES] for one in after], np.float32)
    wanted = metrics.evaluate(truth, scores.repeat([int(2 * time) for time in times], axis=0), CODES, bootstrap=0)
    row = row_of(found, kind, strength)
    assert row["macro_auc"] == pytest.approx(wanted["macro_auc"])
    assert row["balanced_accuracy"] == pytest.approx(wanted["balanced_accuracy"])
    assert row["refused"] == pytest.approx(np.average([not one.assessable for one in after], weights=times))
    same = [one.label == other.label for one, other in zip(before, after, strict=True)]
    assert row["agreement"] == pytest.approx(np.average(same, weights=times))


def test_others_pictures_change_nothing(limited_model, found, cases):
    """A picture's distortion follows from its name and the seed: any part of the data gives the same."""
    model = SkinClassifier(limited_model)
    alone = measure.measure_robustness([model], cases[:1], bootstrap=0)[0]["example"]
    assert alone == found["example"]
    pixels, _ = measure.upright(cases[0])
    versions = {
        (name, seed): b"".join(worse.tobytes() for _, _, worse in measure.versions(pixels, name, seed))
        for name in ("a", "b")
        for seed in (1, 2)
    }
    assert len(set(versions.values())) == 4


def test_a_large_picture_is_reduced_and_a_broken_one_left_out(tiny_int8, tmp_path):
    folder = miniatures.class_folders(tmp_path / "data", 1, ("mel", "nv"))
    (folder / "nv" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("RGB", (2000, 1500), (200, 60, 200)).save(folder / "nv" / "large.jpg")
    cases = read_cases(folder, known_labels=CODES)
    large = next(case for case in cases if case.path.name == "large.jpg")
    pixels, was_larger = measure.upright(large)
    assert was_larger and 1_450_000 < pixels.shape[0] * pixels.shape[1] <= measure.MOST_PIXELS
    done: list[tuple[int, int]] = []
    found = measure.measure_robustness(
        [SkinClassifier(tiny_int8)], cases, bootstrap=0, progress=lambda *count: done.append(count)
    )[0]
    assert (found["n"], found["failed"], found["reduced"]) == (3, 1, 1) and done[-1] == (4, 4)
    with pytest.raises(DataError, match="none of the 1 images"):
        measure.measure_robustness([SkinClassifier(tiny_int8)], [case for case in cases if "broken" in str(case.path)])


def test_several_models_see_the_same_pictures(tiny_int8, tiny_float32, limited_model, folders):
    settings = BenchSettings(data=folders, num_runs=1, cold_starts=0, robustness=True, robustness_pictures=7)
    result = run_benches([tiny_float32, tiny_int8, limited_model], settings)
    first, second, third = (one["robustness"] for one in result["models"])
    assert first["per_class"] == second["per_class"] == dict.fromkeys(CODES, 1)
    assert first["clean"]["macro_auc"] is not None
    assert second["rows"][0]["macro_auc"] == third["rows"][0]["macro_auc"]
    assert (first["assesses"], third["assesses"]) == (False, True)
    shown = markdown(bench_report.document(result))
    assert shown.count("Mean over all kinds") == 3 and "tiny_int8: 7 images" in shown.replace("\\_", "_")


def test_every_figure_is_in_the_report(found):
    def shown(result):
        return markdown(Document("", "", [Section("r", "R", robustness_report.blocks(result))], "x"))

    text = shown(found)
    for place in (["clean"], ["means", "2"], ["means", "1 and 2"], ["rows", 1]):
        for name, value in functools.reduce(operator.getitem, place, found).items():
            if isinstance(value, float):
                changed = json.loads(json.dumps(found))
                functools.reduce(operator.getitem, place, changed)[name] = 0.12345
                assert shown(changed) != text, (place, name)
    for kind, one in KINDS.items():
        assert kind in text and one.what in text and all(level in text for level in one.levels)
    assert "too dark" in text and "21 images (all images; seed 42)" in text


def test_the_command(limited_model, folders, tmp_path, capsys):
    out = tmp_path / "out.json"
    arguments = ["bench", limited_model, "--data", folders, *QUICK, "--robustness", "--robustness-pictures", "7"]
    arguments += ["--robustness-seed", "3", "--robustness-sheet", tmp_path / "sheet.png", "--result-json", out]
    assert run(list(map(str, arguments))) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "of 21, of each class as many; seed 3" in " ".join(shown.split())
    assert all(f"\n  {kind} " in shown for kind in KINDS)
    result = json.loads(out.read_text())["robustness"]
    assert result["n"] == 7 and result["seed"] == 3
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG" and picture.size == (1600, 9 * 208) and not picture.info
        pixels = np.asarray(picture)
    buffer = io.BytesIO()
    sheet.draw(result).save(buffer, "PNG")
    assert np.array_equal(np.asarray(Image.open(buffer)), pixels)


def test_two_results_are_compared_and_what_differs_between_their_suites_is_said(tiny_int8, folders):
    settings = BenchSettings(tiny_int8, data=folders, num_runs=1, cold_starts=0, robustness=True, robustness_pictures=7)
    one = run_bench(settings)
    other = run_bench(replace(settings, robustness_seed=43, robustness_pictures=14))
    found = diff.compare(one, other)
    rows = {row["name"]: row for row in found["differences"]}
    row = rows["macro AUC, strengths 1 and 2"]
    assert row["b"] == other["robustness"]["means"]["1 and 2"]["macro_auc"] and row["difference"] == row["b"] - row["a"]
    assert rows["refused, strengths 1 and 2"]["difference"] == 0
    assert found["unlike"]["seed of distortions"] == [42, 43] and found["unlike"]["distorted images"] == [7, 14]
    assert "suite of distortions" not in found["unlike"]


def test_a_sheet_whose_picture_is_gone_is_an_error(found):
    gone = {**found, "example": {**found["example"], "path": "gone.png"}}
    with pytest.raises(DataError, match="cannot be read again"):
        sheet.draw(gone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--robustness"], "--robustness measures accuracy: it requires --data"),
        (["--robustness-seed", "1", "--robustness-sheet", "s.png"], "--robustness-seed, --robustness-sheet: this goes"),
        (["--robustness", "--engine", "all"], "leave --robustness out"),
        (["--robustness", "--micro"], "leave --robustness out"),
    ],
)
def test_flags_that_do_not_go_together(arguments, message, tiny_int8, capsys):
    assert run(["bench", str(tiny_int8), *arguments]) == 2
    assert message in miniatures.one_line(capsys)
