from __future__ import annotations

import json
import sys

import pytest
from PIL import Image

from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.errors import DataError
from studies import copies

from .miniatures import picture


@pytest.fixture
def folders(tmp_path):
    """Three pictures and copies: one the same, one of another class, one as the same pixels in another format."""
    ours, theirs = tmp_path / "photographs", tmp_path / "thumbnails" / "below"
    ours.mkdir()
    theirs.mkdir(parents=True)
    for name, code, other in (("a", "mel", "mel"), ("b", "mel", "nv"), ("c", "df", "df")):
        picture(code, 1).save(ours / f"{name}.png")
        picture(other, 1).save(theirs / f"{name}.png")
    with Image.open(theirs / "c.png") as same:
        same.save(theirs / "c.bmp")
    (theirs / "c.png").unlink()
    (ours / "notes.txt").write_text("no picture")
    return ours, theirs.parent


def test_answers_that_differ_are_counted_and_named(tiny_int8, folders):
    ours, theirs = folders
    classifier = SkinClassifier(tiny_int8)
    result = copies.compare(classifier, ours, theirs)
    assert (result["n"], result["without_copy"], result["differ"]) == (3, 0, 1)
    mel, nv = classifier.predict(ours / "b.png"), classifier.predict(theirs / "below" / "b.png")
    assert result["changed"] == [
        {
            "name": "b",
            "class": mel.label,
            "probability": mel.probabilities[mel.label],
            "other_class": nv.label,
            "other_probability": nv.probabilities[nv.label],
        }
    ]
    largest = max(abs(mel.probabilities[code] - nv.probabilities[code]) for code in mel.probabilities)
    assert result["largest_difference"] == largest
    assert result["mean_difference"] == pytest.approx(largest / 3)
    assert all(len(line) <= 80 for line in copies.table(result).splitlines())


def test_a_picture_without_copy_is_said(tiny_int8, folders):
    ours, theirs = folders
    (theirs / "below" / "a.png").unlink()
    result = copies.compare(SkinClassifier(tiny_int8), ours, theirs)
    assert (result["n"], result["without_copy"]) == (2, 1)
    assert "1 pictures without a copy" in copies.table(result)


def test_nothing_shared_and_doubled_names_are_refused(tiny_int8, folders, tmp_path):
    ours, theirs = folders
    classifier = SkinClassifier(tiny_int8)
    (tmp_path / "empty").mkdir()
    for folder, says in ((tmp_path / "empty", "share no picture"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(DataError, match=says):
            copies.compare(classifier, ours, folder)
    picture("nv", 2).save(theirs / "a.jpg")
    with pytest.raises(DataError, match="two pictures named a"):
        copies.compare(classifier, ours, theirs)


@pytest.mark.parametrize(("limit", "code"), [("1", 0), ("0", 3)])
def test_the_limit_decides_the_exit_code(tiny_int8, folders, limit, code, monkeypatch, capsys):
    arguments = [*(str(folder) for folder in folders), "--model", str(tiny_int8), "--at-most", limit, "--json"]
    monkeypatch.setattr(sys, "argv", ["copies", *arguments])
    if code:
        with pytest.raises(SystemExit) as stopped:
            copies.main()
        assert stopped.value.code == code
    else:
        copies.main()
    output = capsys.readouterr()
    assert json.loads(output.out)["differ"] == 1
    assert bool(output.err) == bool(code)
