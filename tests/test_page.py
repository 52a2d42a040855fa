"""The HTML page and the Markdown file."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks.report import charts, document, page
from skin_edge.edge_runtime.classifier import DISCLAIMER
from skin_edge.edge_runtime.cli import run

from . import miniatures

CODES = tuple(miniatures.COLOURS)
VOID = {"meta", "br", "img", "wbr", "link"}


class Outline(html.parser.HTMLParser):
    """Checks that tags nest; keeps what a page could fetch, the tables and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.texts, self.scrolled = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.sources += [given[key] for key in ("src", "href", "data", "srcset") if key in given]
        if tag == "table":
            self.scrolled.append(self.open[-1])
        if tag not in VOID:
            self.open.append((tag, given.get("class")))

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(result, page, Markdown) of a model with two labels exchanged, measured in every way, on pictures with EXIF."""
    from .conftest import GOLDEN

    folder = tmp_path_factory.mktemp("page")

    def permute(contract):
        contract["labels"] = [contract["labels"][i] for i in (0, 1, 2, 3, 5, 4, 6)]

    model = miniatures.resealed(GOLDEN / "tiny_int8.tflite", folder / "permuted.tflite", permute)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x9003] = 6, "SECRET PLACE", "2026:01:01 00:00:00"
    for code in CODES:
        (folder / "data" / code).mkdir(parents=True)
        for number in range(3):
            picture = miniatures.picture(code, number)
            picture.save(folder / "data" / code / f"<b>{number}&.jpg", exif=exif, comment=b"SECRET PLACE")
    files = [folder / name for name in ("result.json", "page.html", "report.md")]
    arguments = [model, "--reference", GOLDEN / "tiny_float32.tflite", "--data", folder / "data", "--num-runs", 3]
    arguments += ["--cold-starts", 1, "--processes", 2, "--sweep", "--duration", 1, "--preprocessing"]
    arguments += ["--gate", "default", "--result-json", files[0], "--html", files[1], "--markdown", files[2]]
    assert run(["bench", *map(str, arguments)]) == 3
    return json.loads(files[0].read_text()), files[1].read_text(), files[2].read_text()


def test_the_page_is_well_formed_and_needs_nothing_else(written):
    outline = Outline(written[1])
    assert outline.sources and all(source.startswith(("data:image/jpeg;base64,", "#")) for source in outline.sources)
    assert not re.search(r"<script|<link|@import|url\(|https?:", written[1])
    assert '<meta name="viewport"' in written[1] and DISCLAIMER in written[1]
    names = set(re.findall(r'<section id="([^"]+)"', written[1]))
    assert {f"#{name}" for name in names} == {source for source in outline.sources if source[0] == "#"}
    for svg in re.findall(r"<svg.*?</svg>", written[1]):
        ElementTree.fromstring(svg)


def test_every_table_scrolls_in_its_own_box(written):
    assert set(Outline(written[1]).scrolled) == {("div", "scroll")}
    assert ".scroll { overflow-x: auto;" in written[1]


def figures_of(value):
    """Every number of the JSON but single runs and calibration bins."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key not in ("runs_ms", "bins", "intervals_over"):
                yield from figures_of(below)
    elif isinstance(value, list):
        for below in value:
            yield from figures_of(below)
    elif isinstance(value, float):
        yield value


def test_the_page_and_the_markdown_hold_the_figures_of_the_json(written):
    result, as_page, as_markdown = written
    shown = [set(re.findall(r"[+-]?\d[\d.]*%?", text)) for text in (" ".join(Outline(as_page).texts), as_markdown)]
    parts = (result["latency"], result["accuracy"], result["preprocessing"], result["sweep"], result["sustained"])
    figures = [figure for part in parts for figure in figures_of(part)]
    assert len(figures) > 100
    for figure in figures:
        forms = {f"{figure:.{digits}f}" for digits in (1, 2, 3)} | {f"{figure:+.4f}", f"{figure:.2%}"}
        forms |= {f"{figure:.3g}", f"{figure:.4g}", f"{-figure:g}"}
        assert all(forms & numbers for numbers in shown), figure


def test_what_the_page_draws(written):
    result, as_page, _ = written
    text = " ".join(Outline(as_page).texts)
    for said in (
        "Latency over time",
        "Sensitivity per class",
        "Reliability, 15 bins",
        "Gate: FAILED",
        "Each timed run",
    ):
        assert said in text, said
    assert "flipped" in text and as_page.count("<img") == len(result["accuracy"]["flipped"]) == 6


def test_thumbnails_are_upright_and_hold_nothing_but_pixels(written):
    contents = [base64.b64decode(code) for code in re.findall(r"data:image/jpeg;base64,([^\"]+)", written[1])]
    assert len(contents) == 6
    for content in contents:
        with Image.open(io.BytesIO(content)) as image:
            assert image.size == (45, 60)  # stored as 60x45, orientation 6
            assert not image.getexif() and set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
        assert b"SECRET" not in content and b"Exif" not in content and b"\xff\xfe" not in content
    assert "SECRET" not in written[1]


def test_names_are_escaped(written):
    result, as_page, as_markdown = written
    assert result["accuracy"]["flipped"][0]["image_id"] == "mel/<b>0&.jpg"
    assert "<b>0&" not in as_page and "&lt;b&gt;0&amp;.jpg" in as_page
    assert "\\<b\\>0\\&.jpg" in as_markdown


def test_the_markdown_has_tables_of_even_width(written):
    blocks = [block.splitlines() for block in written[2].split("\n\n") if block.startswith("|")]
    assert len(blocks) > 8
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block}) == 1
    assert DISCLAIMER in written[2]


def test_without_data_or_reference(tiny_int8, tmp_path, capsys):
    files = [tmp_path / "page.html", tmp_path / "report.md"]
    arguments = ["--num-runs", "1", "--cold-starts", "0", "--html", files[0], "--markdown", files[1]]
    assert run(["bench", str(tiny_int8), *map(str, arguments)]) == 0
    assert "accuracy was not measured" in " ".join(Outline(files[0].read_text()).texts)
    assert "accuracy was not measured" in files[1].read_text()
    assert capsys.readouterr().out.endswith(DISCLAIMER + "\n")


def test_a_page_that_cannot_be_written_is_one_line(tiny_int8, tmp_path, capsys):
    for option in ("--html", "--markdown"):
        assert run(["bench", str(tiny_int8), option, str(tmp_path)]) == 2
        assert f"{option} {tmp_path} is a folder" in capsys.readouterr().err


def test_a_picture_that_is_gone(tmp_path):
    assert page.thumbnail(str(tmp_path / "gone.jpg")) is None


@pytest.mark.parametrize("low", [0, 1.7, -3, 1000])
@pytest.mark.parametrize("span", [0, 1e-3, 0.9, 1, 7, 45, 12345])
def test_ticks_are_even_and_enclose(low, span):
    ticks = charts.ticks(low, low + span)
    steps = np.diff(ticks)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low and ticks[-1] >= low + span
    assert steps == pytest.approx(np.full(len(steps), steps[0]))


def test_bars_are_as_long_as_their_values():
    chart = charts.bars("x", ["a", "b"], [("model", "a", [1.0, None]), ("reference", "b", [0.25, 0.5])])
    drawn = page.page(document.Document("", "", [document.Section("s", "s", [document.Charts([chart])])], ""))
    svg = ElementTree.fromstring(drawn[drawn.index("<svg") : drawn.index("</svg>") + 6])
    widths = [float(rect.get("width")) for rect in svg.iter("rect")]
    assert widths[1] / widths[0] == pytest.approx(0.25, abs=0.01) and widths[2] == 0
    assert widths[3] / widths[0] == pytest.approx(0.5, abs=0.01)
    assert "no images" in drawn
