"""`skin-edge evaluate`: a run or a .tflite on other data, and what is wrong with that data."""

from __future__ import annotations

import csv
import json

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.cli import run

from . import miniatures
from .miniatures import SMALL, one_line
from .test_report import Page, check


def evaluate(*arguments):
    return run(["evaluate", *map(str, arguments)])


def check_markdown(text, test):
    """Every table is well formed, and its cells are what metrics.json says."""
    tables = {}
    for block in text.split("\n\n"):
        if block.startswith(("## ", "**By ")):
            title = block.strip("#* ")
        elif block.startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
            assert len({len(row) for row in rows}) == 1
            tables[title] = {row[0]: row[1:] for row in rows[2:]}

    def said(row, key):
        bounds = (row.get("intervals") or {}).get(key)
        if row.get(key) is None:
            return "not defined"
        return f"{row[key]:.3f}" + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")

    for key, title in (("balanced_accuracy", "balanced accuracy"), ("macro_auc", "macro AUC")):
        assert tables["Results"][title] == [said(test, key)]
    for code, row in test["per_class"].items():
        wanted = [f"{row['n']:,}", *(said(row, key) for key in ("sensitivity", "specificity"))]
        assert tables["Each diagnosis"][code][:3] == wanted
    assert [list(map(int, row)) for row in tables["Confusion matrix"].values()] == test["confusion_matrix"]
    points = [row[1] for row in tables.get("Operating points", {}).values()]
    assert points == [said(row, "sensitivity") for row in test["operating_points"]]
    for attribute, groups in test["subgroups"].items():
        for row in groups:
            first = "too few images" if row["too_few"] else said(row, "balanced_accuracy")
            has_figures = any(not other["too_few"] for other in groups)
            assert (first in tables[f"By {attribute}"][row["group"]]) is has_figures


def written(folder):
    results = json.loads((folder / "metrics.json").read_text(), parse_constant=pytest.fail)
    check(Page((folder / "report.html").read_text()), results)
    check_markdown((folder / "figures.md").read_text(), results["test"])
    return results, pd.read_csv(folder / "predictions.csv", keep_default_na=False)


def test_a_run_on_its_own_split_repeats_its_figures(tiny_run, tmp_path, capsys):
    assert evaluate(tiny_run, tiny_run / "split.csv", "--out", tmp_path / "out") == 0
    results, table = written(tmp_path / "out")
    before = json.loads((tiny_run / "metrics.json").read_text())
    assert results["test"]["confusion_matrix"] == before["test"]["confusion_matrix"]
    assert results["test"]["intervals"] == before["test"]["intervals"]
    first = pd.read_csv(tiny_run / "predictions.csv").query("split == 'test'").set_index("image_id")
    columns = [column for column in first.columns if column.startswith("p_")]
    repeated = table.set_index("image_id").loc[first.index, columns].astype(float)
    assert repeated.to_numpy() == pytest.approx(first[columns].to_numpy(), abs=1e-4)
    assert results["frozen"] == before["frozen"]
    assert results["split"]["leaked_share_of_test"] == 0
    assert "SHA-256" not in (tmp_path / "out" / "report.html").read_text()  # a run is no single file
    assert len(table) == before["test"]["n"]
    assert max(map(len, capsys.readouterr().out.splitlines()[:-3])) <= 80
    assert evaluate(tiny_run, tiny_run / "split.csv", "--out", tmp_path / "out") == 2
    assert "exists already" in one_line(capsys)
    assert evaluate(tiny_run, tiny_run / "split.csv", "--out", tiny_run, "--overwrite") == 2
    assert "holds files that are not of an evaluation" in one_line(capsys)
    assert evaluate(tiny_run, tiny_run / "split.csv", "--split-part", "all", "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["split"]["leaked_share_of_test"] == pytest.approx(
        (pd.read_csv(tiny_run / "split.csv")["split"] == "train").mean()
    )
    assert evaluate(tiny_run, tiny_run / "split.csv", "--split-part", "val") == 0
    assert "100.0% of these pictures, or their lesions, chose the epoch" in " ".join(capsys.readouterr().out.split())


def awkward(folder, tiny_run):
    """A csv of pictures in five known classes; one is damaged, one missing, three have a label nobody knows."""
    rows = []
    folder.mkdir()
    for i in range(40):
        code = ("mel", "nv", "bkl", "bcc")[i % 4]
        miniatures.picture(code, 1000 + i).save(folder / f"{i}.png")
        rows.append((f"{i}.png", code, f"lesion{i // 2}"))
    (folder / "0.png").write_bytes(b"no picture")
    (folder / "1.png").unlink()
    for i in (2, 3, 6):
        rows[i] = (rows[i][0], "scc", rows[i][2])
    with (folder / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group"), *rows])
    return folder / "new.csv", rows


@pytest.mark.parametrize("kind", ["run", "tflite"])
def test_awkward_data_is_counted_and_never_right(kind, tiny_run, tiny_int8, tmp_path, capsys):
    data, rows = awkward(tmp_path / "data", tiny_run)
    model = tiny_run if kind == "run" else tiny_int8
    assert evaluate(model, data, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    results, table = written(tmp_path / "out")
    assert results["data"]["unknown_labels"] == {"scc": 3}
    assert "scc" in shown
    assert results["test"]["n"] == 40 - 2 - 3
    failed = results["cannot_assess"]
    assert (failed["n"], failed["per_class"]["mel"], failed["per_class"]["nv"]) == (2, 1, 1)
    assert failed["share"] == pytest.approx(2 / 37)
    assert results["test"]["absent_classes"] == ["akiec", "df", "vasc"]
    assert results["test"]["per_class"]["df"]["auc"] is None

    # Nothing is dropped, and the pictures that have no answer have none.
    assert list(table["label"]) == [label for _, label, _ in rows]
    assert list(table["predicted"][:2]) == ["cannot assess"] * 2
    assert (table.loc[:1, [c for c in table.columns if c.startswith("p_")]] == "").all(axis=None)
    assert table["error"][:2].str.len().min() > 5 and (table["error"][2:] == "").all()
    known = table[table["label"] != "scc"]
    right = known["predicted"] == known["label"]
    assert failed["accuracy_counting_as_wrong"] == pytest.approx(right.mean())
    assert failed["balanced_accuracy_counting_as_wrong"] == pytest.approx(right.groupby(known["label"]).mean().mean())
    assert results["test"]["accuracy"] == pytest.approx(right[known["predicted"] != "cannot assess"].mean())


def test_a_tflite_answers_as_on_the_device_with_its_own_thresholds(tiny_int8, tmp_path):
    def with_thresholds(contract):
        contract["thresholds"] = [
            {"target": target, "classes": classes, "chosen_for_sensitivity": wanted, "threshold": threshold,
             "on": "old", "n_positive": 10, "n_negative": 90, "sensitivity": wanted, "specificity": 0.5}
            for target, classes, wanted, threshold in (
                ("malignant", ["akiec", "bcc", "mel"], 0.9, 0.9),
                ("mel", ["mel"], 0.95, 0.9999),
                ("bcc", ["bcc"], 0.9, 0.5),  # not among those that are reported
            )
        ]  # fmt: skip

    tiny_int8 = miniatures.resealed(tiny_int8, tmp_path / "with.tflite", with_thresholds)
    folders = miniatures.class_folders(tmp_path / "data", images=8, codes=("mel", "nv", "bcc"))
    assert evaluate(tiny_int8, folders, "--out", tmp_path / "out") == 0
    results, table = written(tmp_path / "out")
    classifier = SkinClassifier(tiny_int8)
    for _, row in table.iterrows():
        answer = classifier.predict(folders / row["path"])
        assert row["predicted"] == answer.label
        assert float(row["p_mel"]) == pytest.approx(answer.probabilities["mel"], rel=1e-5)
    frozen = {
        (row["target"], row["chosen_for_sensitivity"]): row["threshold"] for row in classifier.contract["thresholds"]
    }
    assert [row["target"] for row in results["test"]["operating_points"]] == ["malignant", "mel"]
    for row in results["test"]["operating_points"]:
        assert row["threshold"] == frozen[row["target"], row["wanted"]]
        classes = [f"p_{code}" for code in row["classes"]]
        found = table[classes].astype(float).sum(axis=1) >= row["threshold"]
        assert row["sensitivity"] == pytest.approx(found[table["label"].isin(row["classes"])].mean())
    assert results["split"]["leaked_share_of_test"] is None
    assert results["split"]["groups_known"] is False


def test_what_cannot_be_measured_is_one_line(tiny_int8, tiny_run, tmp_path, capsys):
    (tmp_path / "a.csv").write_text("path,label\nx.jpg,mel\n")
    (tmp_path / "b.csv").write_text("path,label\nx.jpg,wart\n")
    (tmp_path / "c.csv").write_text("path,dx\nx.jpg,mel\n")
    for data, said in (
        ("a.csv", "none of its 1 pictures can be assessed"),
        ("b.csv", "none of its labels (wart) is among the model's"),
        ("c.csv", "has no column label"),
        ("gone.csv", "no such file or folder"),
    ):
        assert evaluate(tiny_int8, tmp_path / data) != 0
        assert said in one_line(capsys)
    assert evaluate(tiny_run, tiny_run / "split.csv", "--split-part", "dev") == 1
    assert "no picture in part 'dev'" in one_line(capsys)
    assert evaluate(tmp_path, tmp_path / "a.csv") == 1
    assert "not a run of 'skin-edge train'" in one_line(capsys)


def test_a_network_that_answers_nonsense_is_cannot_assess(tiny_run, ham, tmp_path, monkeypatch):
    from skin_edge.train import evaluate as new_data
    from skin_edge.train.runs import run_folder

    class Broken:
        def predict(self, batches, verbose):
            n = sum(len(batch) for batch in batches)
            return np.full((n, 7), np.nan, np.float32)

    monkeypatch.setattr(run_folder.Run, "model", lambda self: Broken())
    with pytest.raises(new_data.DataError, match="not finite"):
        new_data.evaluate(tiny_run, tiny_run / "split.csv", None, lambda line: None)


def test_a_malignant_run_takes_the_sides_of_the_diagnoses(ham, tmp_path, capsys):
    run_folder = tmp_path / "run"
    assert run(["train", str(ham), "--out", str(run_folder), *SMALL, "--epochs", "1", "--task", "malignant"]) == 0
    capsys.readouterr()
    assert run(["evaluate", str(run_folder), str(ham), "--split-part", "all", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["test"]
    dx = pd.read_csv(ham / "HAM10000_metadata.csv")["dx"]
    assert figures["n"] == len(dx)
    assert figures["per_class"]["malignant"]["n"] == dx.isin(["akiec", "bcc", "mel"]).sum()
