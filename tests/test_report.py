"""report.html says what metrics.json says, and nothing else; and it can be read on a phone."""

from __future__ import annotations

import base64
import html
import html.parser
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn import metrics as sk

from skin_edge.benchmarks.report import page as pages
from skin_edge.edge_runtime.classifier import DISCLAIMER
from skin_edge.train.reports import run_results
from skin_edge.train.runs import run_folder

VOID = {"meta", "br", "img", "wbr", "link"}


class Page(html.parser.HTMLParser):
    """figures: [pointer, format, text] of each. loose: the text outside of them. sources: what is referred to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.figures, self.loose, self.sources, self.polylines, self.chart = [], [], [], [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.sources += [given[key] for key in ("src", "href", "srcset", "data") if key in given]
        if tag == "svg":
            self.chart = given["aria-label"]
        if tag == "polyline":
            self.polylines.append((self.chart, given["class"], given["points"]))
        if "data-figure" in given:
            self.figures.append([given["data-figure"], given.get("data-form"), ""])
        if tag not in VOID:
            self.open.append((tag, "data-figure" in given))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        inside = [tag for tag, _ in self.open]
        if self.open and self.open[-1][1]:
            self.figures[-1][2] += data
        elif "svg" not in inside and "style" not in inside:
            self.loose.append(data)


def at(results, pointer):
    value = results
    for key in pointer.split("/"):
        key = key.replace("~1", "/").replace("~0", "~")
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def check(page, results):
    """Every figure is metrics.json's, in its place and format, and no number stands outside of one."""
    assert len(page.figures) > 100
    for pointer, form, text in page.figures:
        value = at(results, pointer)
        assert text == ("not defined" if value is None else format(value, form)), pointer
    loose = (
        " ".join(page.loose).replace("CC BY-NC 4.0", "").replace("0.8 should be right", "").replace("95% interval", "")
    )
    loose = re.sub(r"doi:\S+", "", loose.replace(results["title"], ""))
    assert not re.search(r"\d\.\d|\d%|nan\b|NaN", loose), re.findall(r".{20}(?:\d\.\d|\d%|nan\b|NaN).{9}", loose)


@pytest.fixture(scope="module")
def written(measured_run):
    """(the page, metrics.json) of a run."""
    return Page((measured_run / "report.html").read_text()), json.loads((measured_run / "metrics.json").read_text())


def test_every_figure_on_the_page_is_that_of_metrics_json(written):
    check(*written)


def test_cells_stand_under_their_columns(measured_run, written):
    """Read as a reader does: the column's title says which figure of metrics.json the cell is."""
    page, results = (measured_run / "report.html").read_text(), written[1]
    section = page[page.index('<section id="classes">') : page.index('<section id="confusion">')]
    for row in _table(section):
        figures = results["test"]["per_class"][row["class"]]
        assert row["images"] == str(figures["n"])
        for column in ("sensitivity", "specificity", "AUC"):
            low, high = figures["intervals"][column.lower()]
            assert row[column] == f"{figures[column.lower()]:.3f} ({low:.3f} to {high:.3f})"
        for column in ("precision", "ECE", "Brier"):
            assert row[column] == f"{figures[column.lower()]:.3f}"
    section = page[page.index('<section id="thresholds">') : page.index('<section id="calibration">')]
    for row, point in zip(_table(section), results["test"]["operating_points"], strict=True):
        assert row["target"] == f"{point['target']}, {point['wanted']:.0%} {point['chosen_for']}"
        assert row["threshold"] == f"{point['threshold']:.4f}"
        for column in ("sensitivity", "specificity"):
            assert row[column].startswith(f"{point[column]:.3f} ({point['intervals'][column][0]:.3f} to")


def _table(section):
    """Rows of the first table: title of the column -> text."""
    rows = re.findall(r"<tr>(.*?)</tr>", section.partition("</table>")[0], re.DOTALL)
    texts = [
        [
            html.unescape(re.sub(r"<[^>]+>", "", cell))
            for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        ]
        for row in rows
    ]
    return [dict(zip(texts[0], row, strict=True)) for row in texts[1:]]


def test_what_has_to_be_there_is_there(written):
    page, results = written
    shown = {pointer for pointer, _, _ in page.figures}
    for part in ("validation", "test"):
        for name in ("balanced_accuracy", "accuracy", "macro_auc", "macro_f1", "top_2_accuracy", "top_3_accuracy"):
            assert f"{part}/{name}" in shown
        left = {f"{part}/{name}" for name, value in results[part].items() if isinstance(value, float)} - shown
        assert not left, "show it in _headlines of train/reports/run_report.py"
        assert {f"{part}/majority_class_baseline", f"{part}/calibration/ece", f"{part}/calibration/brier"} <= shown
    for code in ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"):
        assert {f"test/per_class/{code}/{name}" for name in ("n", "sensitivity", "specificity", "auc", "ece")} <= shown
        assert {f"data/counts/{code}/{part}" for part in ("train", "val", "test")} <= shown
    for number in range(len(results["test"]["operating_points"])):
        assert {f"test/operating_points/{number}/{name}" for name in ("threshold", "sensitivity")} <= shown
    asked = {(row["target"], row["chosen_for"], row["wanted"]) for row in results["test"]["operating_points"]}
    assert asked == {
        (target, *one)
        for target in ("malignant", "mel")
        for one in (("sensitivity", 0.9), ("sensitivity", 0.95), ("specificity", 0.8))
    }
    assert {"test/recalibrated/ece", "test/recalibrated/temperature", "test/risk_coverage/aurc"} <= shown
    assert {f"test/confusion_matrix/{i}/{k}" for i in range(7) for k in range(7)} <= shown
    text = " ".join(page.loose)
    assert DISCLAIMER in text
    assert "CC BY-NC 4.0" in text


def test_the_page_needs_nothing_else(written):
    page, _ = written
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert any(source.startswith("data:image/jpeg") for source in page.sources)


def test_the_curves_are_those_of_the_predictions(measured_run, written):
    """The drawn ROC, read back from the page, encloses the area that scikit-learn finds in predictions.csv."""
    table = pd.read_csv(measured_run / "predictions.csv").query("split == 'test'")
    for code in ("nv", "bkl", "vasc"):
        points = next(p for chart, kind, p in written[0].polylines if chart == f"ROC of {code}" and kind == "line a")
        x, y = np.array([point.split(",") for point in points.split()], float).T
        area = sk.auc((x - 44) / 306, (320 - 34 - y) / (320 - 34 - 26))
        assert area == pytest.approx(sk.roc_auc_score(table["label"] == code, table[f"p_{code}"]), abs=0.01)


def test_thresholds_and_temperature_come_from_the_validation_part_alone(measured_run, tmp_path):
    """Other test answers, same validation answers: what is frozen stays, what is measured changes."""
    run = run_folder.read(shutil.copytree(measured_run, tmp_path / "run"))
    before = json.loads((measured_run / "metrics.json").read_text())
    table = pd.read_csv(measured_run / "predictions.csv")
    columns = [f"p_{label.code}" for label in run.labels]
    parts = {part: table.loc[table["split"] == part, columns].to_numpy(np.float32) for part in ("val", "test")}
    parts["test"] = parts["test"][::-1]
    after = run_results.write_results(run, parts, {"training": before["training"]})
    assert after["frozen"]["temperature"] == pytest.approx(before["frozen"]["temperature"], abs=1e-3)
    old, new = before["frozen"]["operating_points"], after["frozen"]["operating_points"]
    assert [row["threshold"] for row in new] == pytest.approx([row["threshold"] for row in old], abs=1e-5)
    assert [r["threshold"] for r in after["test"]["operating_points"]] == [row["threshold"] for row in new]
    assert after["test"]["accuracy"] != before["test"]["accuracy"]


def test_subgroups_appear_where_the_split_has_the_columns(measured_run, tmp_path):
    folder = shutil.copytree(measured_run, tmp_path / "run")
    split = pd.read_csv(folder / "split.csv", dtype=str)
    split["age"], split["sex"] = np.where(split.index % 3, "55.0", ""), "female"
    split["site"] = np.where(split.index % 2, "back", "scalp <b>&")
    split.loc[split.index[split["split"] == "test"][0], "site"] = "ear"
    split.to_csv(folder / "split.csv", index=False)
    run = run_folder.read(folder)
    before = json.loads((folder / "metrics.json").read_text())
    table = pd.read_csv(folder / "predictions.csv")
    parts = {
        part: table.loc[table["split"] == part, [f"p_{label.code}" for label in run.labels]].to_numpy(np.float32)
        for part in ("val", "test")
    }
    # Three times the test part, so that a group has images enough.
    test = run.split["split"] == "test"
    thrice = pd.concat([run.split, *[run.split[test].assign(group=run.split["group"][test] + s) for s in "xy"]])
    parts["test"] = np.tile(parts["test"], (3, 1))
    run = replace(run, split=thrice.reset_index(drop=True))
    results = run_results.write_results(run, parts, {"training": before["training"]})
    groups = {name: [row["group"] for row in rows] for name, rows in results["test"]["subgroups"].items()}
    assert groups == {"age": ["50-69", "unknown"], "sex": ["female"], "site": ["back", "ear", "scalp <b>&"]}
    page = Page((folder / "report.html").read_text())
    check(page, json.loads((folder / "metrics.json").read_text()))
    assert "test/subgroups/sex/0/intervals/balanced_accuracy/0" in {pointer for pointer, _, _ in page.figures}
    assert results["test"]["subgroups"]["site"][1] == {"group": "ear", "n": 3, "n_groups": 3, "too_few": True}
    assert page.loose.count("too few images") == 1


def test_a_picture_on_the_page_is_upright_small_and_bare(tmp_path):
    wide = Image.new("RGB", (900, 300), (10, 200, 10))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "SECRET CAMERA"  # turn by 90 degrees; the maker
    wide.save(tmp_path / "a.jpg", exif=exif, comment=b"SECRET PATIENT")
    uri = pages.thumbnail(tmp_path / "a.jpg")
    content = base64.b64decode(uri.partition(",")[2])
    with Image.open(io.BytesIO(content)) as shown:
        assert (shown.format, shown.height) == ("JPEG", 224)
        assert shown.width == pytest.approx(75, abs=1)
        assert not shown.getexif()
    assert b"SECRET" in (tmp_path / "a.jpg").read_bytes()
    assert b"SECRET" not in content
    assert pages.thumbnail(tmp_path / "gone.jpg") is None


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_is_wider_than_the_screen(measured_run, tmp_path, width):
    """In Chromium, in a frame of the width that is asked for: a headless window has a least width of its own."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    text = re.sub(r"<meta http-equiv=.Content-Security-Policy.[^>]*>", "", (measured_run / "report.html").read_text())
    (tmp_path / "page.html").write_text(text)
    (tmp_path / "frame.html").write_text(
        f'<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe><pre id="said"></pre><script>'
        "onload = () => { const page = frames[0].document, root = page.documentElement;"
        "const bad = [...page.images].filter(image => !image.naturalWidth).length;"
        "said.textContent = `${root.scrollWidth} of ${frames[0].innerWidth}, ${bad} of ${page.images.length} missing`;}"
        "</script>"
    )
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
    ]
    dumped = subprocess.run(
        [browser, *flags, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1000", "--dump-dom",
         f"file://{tmp_path / 'frame.html'}"],
        capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    said = re.search(r'<pre id="said">(\d+) of (\d+), (\d+) of (\d+) missing', dumped)
    assert said, dumped[-500:]
    scrolled, inner, missing, pictures = map(int, said.groups())
    assert inner == width
    assert scrolled <= inner
    assert (missing, pictures > 0) == (0, True)
