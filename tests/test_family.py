"""`studies.family`: size and time of several models against their accuracy."""

from __future__ import annotations

import csv
import json
import shutil
from xml.etree import ElementTree

import pytest

from skin_edge.benchmarks.report import charts
from skin_edge.benchmarks.report.charts import Choice
from skin_edge.edge_runtime.cli import run
from studies import family

from .test_cli import one_line


@pytest.fixture
def split(ham, tmp_path):
    """Every third image of `ham` is of the test part."""
    with (ham / "HAM10000_metadata.csv").open(newline="") as file:
        ids = [row["image_id"] for row in csv.DictReader(file)]
    path = tmp_path / "split.csv"
    lines = [f"{image_id},{('train', 'val', 'test')[number % 3]}\n" for number, image_id in enumerate(ids)]
    path.write_text("image_id,split\n" + "".join(lines))
    return path


def test_what_models_cost_and_bring(ham, split, tiny_int8, tmp_path, capsys):
    other = tmp_path / "a<b>&c.tflite"
    shutil.copy(tiny_int8, other)
    words = [str(ham), str(tiny_int8), str(other), "--split", str(split), "--rounds", "2", "--runs", "2"]
    assert run([*words, "--out", str(tmp_path / "out")], family.main) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["family.json", "family.md", "family.svg"]
    result = json.loads((tmp_path / "out/family.json").read_text())
    one, same = result["models"]
    assert result["reference"] == one["name"] == "tiny_int8" and same["name"] == "a<b>&c"
    assert one["time"]["ratio"] == 1 and same["time"]["ratio"] > 0 and len(same["time"]["ratios"]) == 2
    assert one["accuracy"] == same["accuracy"] and result["data"]["images"] == 21
    assert result["data"]["lesions"] > 1 and one["file_bytes"] == tiny_int8.stat().st_size
    text = (tmp_path / "out/family.md").read_text()
    assert f"| balanced accuracy | {one['accuracy']['balanced_accuracy']:.3f} (" in text
    assert f"always {result['data']['majority']['label']}" in text and "a<b>" not in text
    drawn = ElementTree.fromstring((tmp_path / "out/family.svg").read_text())
    texts = [element.text for element in drawn.iter() if element.text]
    assert texts.count("tiny_int8") == texts.count("a<b>&c") == 2 and "file, MB" in texts


def test_what_cannot_be_measured_is_one_line_and_writes_nothing(ham, split, tiny_int8, tmp_path, capsys):
    out = ["--split", str(split), "--out", str(tmp_path / "out")]
    assert run([str(ham), str(tiny_int8), str(tiny_int8), *out], family.main) == 2
    assert "named twice" in one_line(capsys)
    assert run([str(ham), str(tmp_path / "none.tflite"), *out], family.main) == 1
    assert "none.tflite" in one_line(capsys)
    assert run([str(ham), str(tiny_int8), "--part", "other", *out], family.main) == 1
    assert "no image of the part other" in one_line(capsys)
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    assert run([str(ham), str(tiny_int8), *out], family.main) == 2
    assert "exists already" in one_line(capsys)


def test_the_front_is_what_nothing_beats():
    cheap, good, worse, same = Choice("c", 1, 0.5), Choice("g", 3, 0.8), Choice("w", 4, 0.7), Choice("s", 3, 0.8)
    assert charts.front([worse, good, cheap]) == [cheap, good]
    assert charts.front([good, same]) == [good, same], "equals do not beat each other"
    assert charts.front([cheap, Choice("dear", 2, 0.5)]) == [cheap]
