"""Labels, file names and recipes on the pages that are written: shown, and nothing else."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from skin_edge.benchmarks.bundle import hand_over, integration
from skin_edge.benchmarks.report import bench_report, document, escapes, markdown, page, terminal
from skin_edge.edge_runtime import console, info
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.model_file import read_model_file

from . import miniatures
from .test_page import Outline

HOSTILE = 'm|`<i id=evil>*_"&amp;\\~#[x](y)\x1b]0;x\x07\u202e\n| a |\u200b\x9b'
SHOWN = console.escaped(HOSTILE)


def hostile(document, *words):
    """The document of JSON with these strings, as keys, values and parts of paths, replaced."""
    text = json.dumps(document)
    for number, word in enumerate(words):
        said = json.dumps(HOSTILE + (str(number) if number else ""))
        text = re.sub(rf'"{word}"', lambda _, said=said: said, text)
    assert json.dumps(HOSTILE) in text
    return json.loads(text)


def lines_are_safe(text):
    return all(console.escaped(line) == line for line in text.splitlines())


def check_html(text):
    outline = Outline(text)
    assert lines_are_safe(text) and "<i id" not in text
    shown = "".join(outline.texts)
    assert SHOWN in shown or SHOWN[:9] in shown  # a chart cuts a name
    assert not any(source.startswith(("javascript", "http")) for source in outline.sources)


def check_markdown(text):
    text = "\n".join(line for line in text.split("\n") if not line.startswith("    "))  # code is shown as it is
    assert lines_are_safe(text) and "<i id" not in text.replace("\\<", "")
    assert escapes.markdown_text(HOSTILE) in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    for table in tables:
        counts = {len(re.sub(r"\\.", "", line).split("|")) for line in table.splitlines()}
        assert len(counts) == 1, table


def test_each_language_shows_the_text_and_nothing_else():
    note = document.Section("s", "s", [document.Notes(["<b>\x1b\u202ea & 'b'"])])
    assert "<li>&lt;b&gt;\\x1b\\u202ea &amp; &#39;b&#39;</li>" in page.page(document.Document("", "", [note], ""))
    assert escapes.markdown_text("a|b\n`c`\x07") == "a\\|b\\\\n\\`c\\`\\\\x07"
    assert escapes.markdown_text("黑色素瘤 nevus, 0.5 (n = 3)") == "黑色素瘤 nevus, 0.5 (n = 3)"


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    """The result of two models, and of the first alone with the second as reference."""
    from .conftest import GOLDEN

    folder = tmp_path_factory.mktemp("benched")
    data = miniatures.class_folders(folder / "data", 3, tuple(miniatures.COLOURS))
    (data / "mel" / "damaged.jpg").write_bytes(b"\xff\xd8\xff")

    def permute(contract):
        contract["labels"] = [contract["labels"][i] for i in (0, 1, 2, 3, 5, 4, 6)]

    model = miniatures.resealed(GOLDEN / "tiny_int8.tflite", folder / "permuted.tflite", permute)
    quick = ["--data", str(data), "--num-runs", "2", "--warmup-runs", "1", "--cold-starts", "0", "--gate", "default"]
    written = [folder / "one.json", folder / "two.json"]
    reference = str(GOLDEN / "tiny_float32.tflite")
    assert run(["bench", str(model), "--reference", reference, *quick, "--result-json", str(written[0])]) == 3
    assert run(["bench", reference, str(model), *quick, "--result-json", str(written[1])]) == 3
    return [json.loads(path.read_text()) for path in written]


@pytest.mark.parametrize("which", [0, 1])
def test_the_pages_of_a_benchmark(which, benched):
    result = hostile(benched[which], "mel", "nv", '[^"]*permuted.tflite', '[^"]*damaged[^"]*', "default")
    printed = bench_report.document(result)
    check_html(page.page(printed))
    check_markdown(markdown.markdown(printed))
    assert lines_are_safe(terminal.text(printed))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    from .conftest import GOLDEN

    folder = tmp_path_factory.mktemp("evaluated")
    data = miniatures.class_folders(folder / "data", 3, tuple(miniatures.COLOURS))
    (data / "mel" / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    assert run(["evaluate", str(GOLDEN / "tiny_int8.tflite"), str(data), "--out", str(folder / "out")]) == 0
    return json.loads((folder / "out" / "metrics.json").read_text())


def test_the_report_of_an_evaluation(evaluated):
    from skin_edge.train.reports import run_report

    named = dict.fromkeys(("title", "subtitle"), HOSTILE)
    results = {**hostile(evaluated, "mel", "nv", '[^"]*damaged[^"]*'), **named}
    results["data"] = {**results["data"], "name": HOSTILE, "license": HOSTILE, "unknown_labels": {HOSTILE: 2}}
    results["model"] = {**results["model"], "name": HOSTILE}
    results["test"]["subgroups"] = {"site": [{"group": HOSTILE, "n": 3, "n_groups": 3, "too_few": True}]}
    check_html(page.page(run_report.document(results)))
    check_markdown(markdown.markdown(run_report.document(results)))
    assert lines_are_safe(run_report.evaluated(results, None))


def test_the_report_of_a_training(measured_run):
    from skin_edge.train.reports import run_report

    results = hostile(json.loads((measured_run / "metrics.json").read_text()), "mel", "nv")
    results |= dict.fromkeys(("title", "subtitle"), HOSTILE)
    results["metadata"] = {
        "fields": [HOSTILE],
        "balanced_accuracy_with_all_blank": {"test": 0.1},
        "blank": {HOSTILE: dict.fromkeys(("train", "val", "test"), 1)},
    }
    check_html(page.page(run_report.document(results)))
    assert lines_are_safe(run_report.trained(results, measured_run))


def test_the_views_of_a_comparison(measured_run, tmp_path):
    from skin_edge.train import compare
    from skin_edge.train.reports import compare_views

    runs = [compare.read(measured_run), replace(compare.read(measured_run), name=HOSTILE)]
    comparison = hostile(compare.compare(runs), "mel")
    comparison["figures"][-1] = {**comparison["figures"][-1], "title": HOSTILE}
    comparison["warnings"] = [HOSTILE]
    check_html(page.page(compare_views.document(comparison)))
    assert lines_are_safe(terminal.text(compare_views.document(comparison)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compare_views.write(comparison, tmp_path / "x.png")


def test_the_page_of_a_search():
    from skin_edge.train.reports import tune_results

    settings = {"dropout": HOSTILE}
    row = {
        "trial": 0, "state": "complete", "defaults": False, "value": 0.5, "best_epoch": 1, "epochs": 2, "seconds": 3,
        "machine": HOSTILE, "settings": settings, "error": HOSTILE, "goes_on": None, "curve": [0.4, 0.5],
    }  # fmt: skip
    result = {
        "study": HOSTILE, "figure": "balanced_accuracy", "recipe": {"name": HOSTILE, "dropout": 0.1}, "seed": 1,
        "images": {"train": 1, "val": 1, "test": 1}, "search": {"dropout": {"one_of": [HOSTILE]}},
        "best": row, "defaults": None, "gain": None, "train": HOSTILE, "importances": {HOSTILE: 0.5}, "trials": [row],
    }  # fmt: skip
    check_html(page.page(tune_results.document(result)))
    assert lines_are_safe(tune_results.text(result, SimpleNamespace(__str__=lambda: HOSTILE)))


def test_the_guide_and_the_card_of_a_bundle():
    file = read_model_file(DEFAULT_MODEL)
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        described = info.describe(classifier, file)
    contract = hostile(file.contract, "mel")
    contract |= dict.fromkeys(("name", "notice", "intended_use"), HOSTILE)
    contract["thresholds"] = [{**row, "name": HOSTILE, "on": HOSTILE} for row in contract["thresholds"]]
    labels = [label._replace(code=HOSTILE, name=HOSTILE) for label in file.labels]
    forged = replace(file, contract=contract, labels=tuple(labels))
    sizes = {"width": 1, "height": 1}
    text = integration.text(forged, described, [{"file": HOSTILE, "upright": sizes, "label": HOSTILE}])
    check_markdown(text)
    card = hand_over._card(replace(file, path=Path("x.tflite")), info.text({**described, "path": HOSTILE})).decode()
    assert lines_are_safe(card) and card.count("```") == 2


def test_what_no_font_has_is_drawn_as_an_escape(tmp_path):
    """Without matplotlib's warning of a missing glyph, and without a formula."""
    from skin_edge.train.reports import drawn

    assert drawn.name("na\u00efvus 5 $x$") == "na\u00efvus 5 \\$x\\$"
    assert drawn.name("\x1b\u202e\ue123") == r"\x1b\u202e\ue123"  # the last is in no font
    for name in ("\u9ed1\u8272\u7d20\u7624", HOSTILE, "$\\frac", "$$", "a_b^c"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with drawn.picture(tmp_path / "x.png", 4, 4) as figure:
                figure.subplots().set_xticks([0, 1], [drawn.name(name), "b"])
    assert (tmp_path / "x.png").stat().st_size
