"""What is said of lesions and patients, and that nothing is said where nobody named them."""

from __future__ import annotations

import html
import json
import re

import numpy as np
import pandas as pd
import pytest

from skin_edge.benchmarks import bench
from skin_edge.benchmarks.inputs.cases import groups_of, read_cases
from skin_edge.benchmarks.report import bench_report, markdown, page, terminal
from skin_edge.benchmarks.stats import group_kinds
from skin_edge.benchmarks.stats.group_kinds import Groups
from skin_edge.edge_runtime.cli import run
from skin_edge.train import compare, cross_validation, evaluate
from skin_edge.train.data import grouping, inspection, layouts, seen
from skin_edge.train.reports import compare_views, run_report

from . import miniatures

# What only somebody could say who knows the lesions.
CLAIMS = re.compile(
    r"whole (lesion|patient|group)s|\d (lesion|patient|group)s?\b|never s(aw|een)|none of which|had seen|"
    r"%[^.;]{0,60}(show|of) (a|their) (lesion|patient|group)",
    re.IGNORECASE,
)


def plain(text):
    """Without tags and line breaks."""
    body = re.sub(r"<style.*?</style>|<svg.*?</svg>", "", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", body)).split())


def claims_nothing(text):
    found = CLAIMS.search(plain(text))
    assert not found, plain(text)[max(0, found.start() - 80) : found.end() + 80]
    assert "not known" in plain(text)


def described(names, kinds):
    return Groups(np.array(names), np.array(kinds)).described()


@pytest.mark.parametrize(
    ("names", "kinds", "kind", "n", "unknown"),
    [
        ("aab", ["patient"] * 3, "patient", 2, 0),
        ("abc", ["patient"] * 3, "patient", 3, 0),  # each of another patient is known, and not nothing
        ("aab", ["patient", "patient", "lesion"], "lesion", 2, 0),
        ("aab", ["given"] * 3, "given", 2, 0),
        ("aab", ["lesion", "lesion", "unknown"], "lesion", 1, 1),
        ("aab", ["unknown"] * 3, "near-duplicates", None, 3),
        ("abc", ["unknown"] * 3, "unknown", None, 3),
    ],
)
def test_a_set_of_pictures_is_described_by_the_weakest_of_its_kinds(names, kinds, kind, n, unknown):
    found = described(list(names), kinds)
    assert (found["kind"], found["n"], found["images"], found["images_unknown"]) == (kind, n, 3, unknown)
    said = group_kinds.intervals(found)
    assert ("whole" in said) == (n is not None) and ("not known" in said) == (n is None)
    assert ("singly" in said) == (n is not None and unknown > 0)


def test_a_split_leaks_so_far_as_groups_are_known():
    def said(leaked, near, kinds):
        split = {"groups": described(["a", "a", "b"], kinds), "leaked_share_of_test": leaked}
        split |= {} if near is None else {"leaked_share_of_test_with_near_duplicates": near}
        return " | ".join(group_kinds.leaks(split, lambda name: f"{split[name]:.1%}"))

    assert said(0.0, None, ["patient"] * 3) == "0.0% of the test images show a patient of training"
    assert said(0.5, 0.6, ["lesion"] * 3) == (
        "50.0% of the test images show a lesion of training | "
        "60.0% of the test images do so, or have a near-duplicate there"
    )
    assert said(0.0, None, ["lesion", "unknown", "unknown"]).startswith(
        "0.0% of the 1 test images whose lesion is known"
    )
    unknown = said(None, 0.0, ["unknown"] * 3)
    assert "is not known" in unknown and "near-duplicate" in unknown and not CLAIMS.search(unknown)


def test_no_report_of_a_run_without_groups_claims_anything(ungrouped_run, tiny_int8, tmp_path, capsys):
    """Every report that is made of it, though near-duplicates brought two of its pictures together."""
    found = json.loads((ungrouped_run / "metrics.json").read_text())
    assert found["split"]["leaked_share_of_test"] is None and not found["split"]["groups_known"]
    assert found["test"]["n_groups"] is None and found["test"]["groups"]["kind"] == "near-duplicates"
    assert set(found["data"]["groups"].values()) == {None}
    claims_nothing((ungrouped_run / "report.html").read_text())
    claims_nothing(run_report.trained(found, ungrouped_run))

    compared = compare.compare([compare.read(ungrouped_run), compare.read(ungrouped_run)])
    assert compared["runs"][0]["n_groups"] is None
    for printed in (terminal.text, page.page):
        claims_nothing(printed(compare_views.document(compared)))

    assert run(["evaluate", str(tiny_int8), str(ungrouped_run / "split.csv"), "--out", str(tmp_path / "out")]) == 0
    claims_nothing(capsys.readouterr().out)
    evaluated = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert evaluated["split"]["leaked_share_of_test"] is None
    for name in ("report.html", "figures.md"):
        claims_nothing((tmp_path / "out" / name).read_text())

    table = pd.read_csv(ungrouped_run / "predictions.csv").query("split == 'test'")
    codes = tuple(label["code"] for label in found["labels"])
    pooled = cross_validation.pooled([table, table.assign(image_id=table["image_id"] + "+")], codes)
    pooled["split"] = {"leaked_share_of_test": None, **grouping.groups_in(table)}
    claims_nothing(terminal.text(cross_validation.document(pooled, tmp_path)))

    settings = bench.BenchSettings(tiny_int8, data=ungrouped_run / "split.csv", num_runs=1, cold_starts=0)
    measured = bench.run_bench(settings)
    assert measured["accuracy"]["model"]["n_groups"] is None
    both = bench.run_benches([tiny_int8, miniatures.resealed(tiny_int8, tmp_path / "b.tflite")], settings)
    for result in (measured, both):
        for printed in (terminal.text, page.page, markdown.markdown):
            claims_nothing(printed(bench_report.document(result)))


def test_what_data_holds_claims_nothing_either(tmp_path):
    data = layouts.read_dataset(miniatures.class_folders(tmp_path / "data", 8, ("mel", "nv", "bkl")))
    found = inspection.inspect(data, (0.65, 0.15, 0.2), "lesion")
    assert found["default_split"]["leaked_share_of_test"] is None and found["groups_with_several_labels"] is None
    claims_nothing(terminal.text(inspection.document(found)))


def test_with_lesions_they_are_named(measured_run, tmp_path):
    found = json.loads((measured_run / "metrics.json").read_text())
    assert found["test"]["groups"]["kind"] == "lesion" and found["split"]["leaked_share_of_test"] == 0
    text = plain((measured_run / "report.html").read_text())
    assert f"pictures of {found['test']['n_groups']} lesions. 0.0% of the test images show a lesion of training" in text
    assert "whole lesions" in text and "not known which" not in text
    said = " ".join(run_report.trained(found, tmp_path).split())
    assert "95% intervals from 1,000 resamples of whole lesions." in said


def test_a_csv_says_what_its_groups_are(tmp_path, picture):
    for name in "abcd":
        picture("nv", name=f"{name}.jpg")
    (tmp_path / "own.csv").write_text("path,label,group\na.jpg,nv,x\nb.jpg,nv,x\nc.jpg,nv,\nd.jpg,nv,d\n")
    cases = read_cases(tmp_path / "own.csv", known_labels=["nv"])
    assert [case.group_kind for case in cases] == ["given", "given", "unknown", "unknown"]
    assert groups_of(cases).described() == {"kind": "given", "n": 1, "images": 4, "images_unknown": 2}
    rows = evaluate.read(tmp_path / "own.csv", None).rows
    assert list(rows["group_kind"])[:2] == ["given", "given"]


def test_pictures_of_training_are_found_under_another_name(tmp_path, picture, monkeypatch):
    files = [str(picture("nv", seed, f"train/{seed}.jpg")) for seed in range(3)]
    known = pd.DataFrame({"path": files, "image_id": ["0", "1", "2"], "group": ["0", "1", "2"], "split": "train"})
    copy = picture("nv", 1, "new/renamed.jpg")
    other = picture("nv", 7, "new/0.jpg", size=(61, 45))
    rows = pd.DataFrame({"path": [str(copy), str(other)], "image_id": ["renamed", "0"], "group": ["renamed", "0"]})
    assert list(seen.shown_in(known, rows, known["split"] == "train")[0]) == [True, False]
    # Each file is read once for all parts, and one that two parts share by id and by bytes is of both.
    both, read = pd.concat([known, known.tail(1).assign(split="val", image_id="0", path=str(copy))]), []
    monkeypatch.setattr(seen, "digest", lambda path, real=seen.digest: read.append(path) or real(path))
    twin = rows.assign(image_id="0").head(1)
    fitted, chose = seen.shown_in(both, twin, both["split"] == "train", both["split"] == "val")
    assert fitted[0] and chose[0] and len(read) == len(set(read))
    moved = grouping.with_group_kinds(rows.assign(path=""))
    assert list(seen.shown_in(known, moved, known["split"] == "train")[0]) == [False, True]  # by its id alone
