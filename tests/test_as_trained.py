"""`evaluate` and `bench --data` read what `train` reads, by the same flags; `evaluate RUN` remembers them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from skin_edge.benchmarks.inputs import classes, columns
from skin_edge.benchmarks.inputs.cases import read_cases
from skin_edge.benchmarks.inputs.columns import Columns
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.edge_runtime.labels import Label
from skin_edge.train import evaluate as new_data
from skin_edge.train.recipes import published
from skin_edge.train.recipes.run_config import RunConfig, settings_in
from skin_edge.train.runs import reading

from . import layout_miniatures as small
from . import miniatures
from .miniatures import SMALL, one_line

CODES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
OWN = ("--image-column", "file", "--label-column", "finding", "--group-column", "who")


def table(path, rows, names=("file", "finding", "who")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def pictures(folder, n=28, seed=0, codes=CODES):
    """Rows (name, code, patient) of pictures in a folder; the name has no suffix and no folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(n):
        code = codes[i % len(codes)]
        miniatures.picture(code, seed + i).save(folder / f"p{i // 2}_{seed + i}.png")
        rows.append((f"p{i // 2}_{seed + i}", code, f"patient {i // 2}"))
    return rows


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A csv with columns of its own, and its pictures in another folder: (csv, folder)."""
    folder = tmp_path_factory.mktemp("clinic")
    (folder / "tables").mkdir()
    return table(folder / "tables" / "own.csv", pictures(folder / "pictures")), folder / "pictures"


def evaluated(model, data, capsys, *flags, code=0):
    assert run(["evaluate", str(model), str(data), "--json", *map(str, flags)]) == code
    said = capsys.readouterr()
    return json.loads(said.out) if code == 0 else said.err


def benched(model, data, capsys, *flags):
    quick = ["--num-runs", "1", "--warmup-runs", "0", "--cold-starts", "0", "--json"]
    assert run(["bench", str(model), "--data", str(data), *quick, *map(str, flags)]) == 0
    return json.loads(capsys.readouterr().out)["accuracy"]["model"]


def test_own_columns_images_and_groups_of_a_model_file(clinic, tiny_int8, capsys):
    data, images = clinic
    results = evaluated(tiny_int8, data, capsys, *OWN, "--images", images)
    assert results["test"]["n"] == 28 and results["cannot_assess"]["n"] == 0
    assert results["test"]["groups"] == {"kind": "given", "n": 14, "images": 28, "images_unknown": 0}
    figures = benched(tiny_int8, data, capsys, *OWN, "--images", images)
    assert (figures["n"], figures["groups"]) == (28, results["test"]["groups"])
    assert figures["confusion_matrix"] == results["test"]["confusion_matrix"]


def test_what_columns_lack_is_one_line(clinic, tiny_int8, capsys):
    data, images = clinic
    for command in (["evaluate", str(tiny_int8), str(data)], ["bench", str(tiny_int8), "--data", str(data)]):
        assert run([*command, "--images", str(images)]) == 1
        assert "has no column path, label; found: file, finding, who (--image-column" in one_line(capsys)
        assert run([*command, *OWN[:-1], "doctor", "--images", str(images)]) == 1
        assert "has no column doctor" in one_line(capsys)
    assert run(["bench", str(tiny_int8), *OWN]) == 2
    assert "require --data" in one_line(capsys)
    assert run(["bench", str(tiny_int8), "--data", str(images), *OWN]) == 2
    assert "is a folder: name the csv" in one_line(capsys)


@pytest.mark.parametrize("make", [
    lambda folder: miniatures.ham10000(folder) / "HAM10000_metadata.csv",
    miniatures.ham10000,
    small.isic2018_task3,
    small.pad_ufes_20,
], ids=["metadata of HAM10000", "HAM10000", "ISIC 2018", "PAD-UFES-20"])  # fmt: skip
def test_the_tables_of_known_data_sets_without_pandas(make, tmp_path, request):
    from skin_edge.train.data.layouts import read_dataset

    data = make(tmp_path / request.node.callspec.id)
    folder = data if data.is_dir() else data.parent
    frame = read_dataset(folder).frame.set_index("image_id")
    codes = [*frame["label"].unique()]
    images = None
    if data.name == "ISIC 2018":
        [data], images = folder.glob("*/*Training_GroundTruth.csv"), folder
    cases = read_cases(data, known_labels=codes, images=images)
    assert len(cases) > 5
    for case in cases:
        row = frame.loc[case.image_id if case.image_id in frame.index else Path(case.image_id).stem]
        assert (case.label, Path(row["path"])) == (row["label"], case.path)
        if row["lesion"] and "pad" not in str(data) and row["group_kind"] == case.group_kind == "lesion":
            assert case.group == row["group"]


def test_an_export_of_isic_cli_without_pandas(tmp_path):
    """Pictures without a diagnosis are an error, as an unknown label is: what is measured is never less than asked."""
    from skin_edge.train.data.layouts import read_dataset

    data = small.isic_cli(tmp_path / "data") / "metadata.csv"
    frame = read_dataset(data).frame.set_index("image_id")
    codes = [*set(frame["label"]) - {""}]
    with pytest.raises(DataError, match="label is empty"):
        read_cases(data, known_labels=codes)
    lines = data.read_text().splitlines()
    blank = set(frame.index[frame["label"] == ""])
    data.write_text("\n".join(line for line in lines if not any(name in line for name in blank)))
    cases = read_cases(data, known_labels=codes)
    assert {case.image_id: case.label for case in cases} == frame.loc[frame["label"] != "", "label"].to_dict()
    assert {case.malignant for case in cases} <= {"0", "1", ""} and cases[0].group_kind == "patient"


def test_patients_and_lesions_are_groups_where_no_column_is(tiny_int8, tmp_path):
    rows = pictures(tmp_path / "data", 8)
    data = table(tmp_path / "data" / "own.csv", rows, ("path", "label", "patient"))
    found = new_data.read(data, None).rows
    assert list(found["group"]) == [row[2] for row in rows] and set(found["group_kind"]) == {"patient"}
    cases = read_cases(data, known_labels=CODES)
    assert [case.group for case in cases] == [row[2] for row in rows] and cases[0].group_kind == "patient"


def test_labels_say_on_which_side_a_diagnosis_is(tmp_path, tiny_int8, capsys):
    """A model of benign and malignant, whose data has diagnoses of its own."""
    binary = miniatures.class_folders(tmp_path / "data", 4, ("mel", "nv"))
    (binary / "nv").rename(binary / "wart")
    own = table(tmp_path / "labels.csv", [("wart", "a wart", "0"), ("mel", "", "1")], ("code", "name", "malignant"))
    cases = read_cases(binary, known_labels=["benign", "malignant"], labels=classes.read_labels(own))
    assert sorted({case.label for case in cases}) == ["benign", "malignant"]
    with pytest.raises(DataError, match="label 'wart'"):
        read_cases(binary, known_labels=["benign", "malignant"])
    assert run(["bench", str(tiny_int8), "--labels", str(own)]) == 2
    assert "requires --data" in one_line(capsys)
    shutil.rmtree(binary / "wart")
    assert run(["evaluate", str(tiny_int8), str(binary), "--labels", str(tmp_path / "gone.csv")]) == 2
    assert "gone.csv: no such file" in one_line(capsys)
    assert benched(tiny_int8, binary, capsys, "--labels", own)["n"] == 4
    assert evaluated(tiny_int8, binary, capsys, "--labels", own, "--task", "diagnosis")["test"]["n"] == 4


@pytest.mark.parametrize(("label", "codes", "target", "task", "meant"), [
    ("nv", ("benign", "malignant"), "", None, "benign"),
    ("wart", ("benign", "malignant"), "", None, "benign"),
    ("wart", ("benign", "malignant"), "1", None, "malignant"),
    ("lump", ("benign", "malignant"), "", None, None),
    ("bcc", ("benign", "malignant", "mel"), "", None, "malignant"),
    ("melanoma", ("benign", "malignant", "mel"), "", None, "mel"),
    ("mel", ("benign", "malignant", "mel"), "0", None, "benign"),
    ("nv", ("benign", "malignant", "mel"), "1", None, "malignant"),
    ("nevus", ("benign", "mel", "bcc"), "", "malignant-classes", "benign"),
    ("nevus", ("benign", "mel", "bcc"), "", None, None),
    ("wart", ("mel", "nv"), "", None, None),
    ("naevus", ("mel", "nv"), "1", None, "nv"),
    ("", ("benign", "malignant"), "1", None, "malignant"),
])  # fmt: skip
def test_what_a_label_means_to_a_model(label, codes, target, task, meant):
    own = (Label("wart", "a wart", False), Label("lump", "a lump"))
    assert classes.class_of(label, codes, target=target, task=task, own=own) == meant


def test_layout_and_group_from_of_a_model_file(ham, tiny_int8, tmp_path, capsys):
    assert evaluated(tiny_int8, ham, capsys, "--layout", "ham10000-kaggle")["test"]["n"] == 63
    assert "is not in layout pad-ufes-20" in evaluated(tiny_int8, ham, capsys, "--layout", "pad-ufes-20", code=1)
    pictures(tmp_path / "data" / "mel", 6, codes=("mel",))
    pictures(tmp_path / "data" / "nv", 6, 100, codes=("nv",))
    groups = evaluated(tiny_int8, tmp_path / "data", capsys, "--group-from", r"(p\d+)_")["test"]["groups"]
    assert (groups["kind"], groups["n"]) == ("given", 3)
    assert "names some" in evaluated(tiny_int8, ham, capsys, "--group-from", "(.)", code=2)


def test_nested_folders_are_read_as_in_train(tiny_int8, tmp_path, capsys):
    pictures(tmp_path / "data" / "mel" / "2019" / "a", 4, codes=("mel",))
    pictures(tmp_path / "data" / "nv", 4, 100, codes=("nv",))
    assert evaluated(tiny_int8, tmp_path / "data", capsys)["test"]["n"] == 8
    assert benched(tiny_int8, tmp_path / "data", capsys)["n"] == 8


def begun(folder, data, **config):
    """What `as_trained` asks of a run."""
    whole = {"data": {"layout": "csv", "folder": str(data)}, **config}
    told = RunConfig(published.get("quickstart"), (), settings_in(whole), whole["data"])
    return SimpleNamespace(folder=folder, config=told)


@pytest.fixture
def own_columns():
    return {"image": "file", "label": "finding", "group": "who"}


def test_columns_are_remembered_and_a_flag_wins(tmp_path, own_columns):
    earlier = begun(tmp_path / "run", tmp_path, csv_columns=own_columns)
    data = table(tmp_path / "new.csv", [("a", "nv", "x")])
    told, _, lines = reading.as_trained(reading.Reading(), earlier, data)
    assert told.columns == Columns("file", "finding", "who")
    assert lines == [
        f"as {tmp_path / 'run'} was trained: --image-column file --label-column finding --group-column who"
    ]
    assert reading.as_trained(reading.Reading(), earlier, tmp_path)[1] == data  # the folder's one csv
    told, _, _ = reading.as_trained(reading.Reading(columns=Columns(label="who")), earlier, data)
    assert told.columns == Columns("file", "who", "who")


def test_a_remembered_column_that_is_not_there_is_one_line(tmp_path, own_columns):
    earlier = begun(tmp_path / "run", tmp_path / "elsewhere", csv_columns=own_columns)
    other = table(tmp_path / "other.csv", [("a", "nv")], ("picture", "finding"))
    with pytest.raises(DataError, match=r"other.csv has no column file, which .*run was trained with; found: picture"):
        reading.as_trained(reading.Reading(), earlier, other)
    usual = table(tmp_path / "usual.csv", [("a", "nv")], ("path", "finding"))
    told, _, lines = reading.as_trained(reading.Reading(), earlier, usual)
    assert told.columns == Columns(None, "finding", None)
    assert any("no column file" in line and "path is read" in line for line in lines)
    assert any("no column who" in line and "groups are not known" in line for line in lines)
    split = table(tmp_path / "copy.csv", [("a", "a", "a", "nv", "test")], columns.OF_A_RUN)
    assert reading.as_trained(reading.Reading(), earlier, split)[0].columns == Columns()


def test_images_and_layout_are_remembered_where_the_data_of_the_run_lies(tmp_path):
    (tmp_path / "images").mkdir()
    earlier = begun(tmp_path / "run", tmp_path / "data", images=str(tmp_path / "images"), task="malignant")
    earlier.config.data["layout"] = "class-folders"
    (tmp_path / "data").mkdir()
    told, _, _ = reading.as_trained(reading.Reading(), earlier, tmp_path / "data")
    assert (told.layout, told.images, told.task) == ("class-folders", tmp_path / "images", "malignant")
    (tmp_path / "other").mkdir()
    told, _, _ = reading.as_trained(reading.Reading(), earlier, tmp_path / "other")
    assert (told.layout, told.images, told.likely_layout) == (None, None, "class-folders")
    with pytest.raises(UsageError):
        reading.told(None, Columns(), None, None, None, "triage")


def test_a_run_is_evaluated_as_it_was_trained(tmp_path, capsys):
    """Own columns, pictures elsewhere, own labels, groups by a pattern: said to train, never again."""
    rows = [(name, {"mel": "bad mole", "nv": "good mole"}[code], who)
            for name, code, who in pictures(tmp_path / "pictures", 48, codes=("mel", "mel", "nv", "nv"))]  # fmt: skip
    data = table(tmp_path / "own.csv", rows)
    labels = table(
        tmp_path / "labels.csv", [("bad mole", "", "1"), ("good mole", "", "0")], ("code", "name", "malignant")
    )
    flags = [*OWN[:4], "--images", str(tmp_path / "pictures"), "--labels", str(labels), "--group-from", r"(p\d+)_"]
    out = tmp_path / "run"
    begin = ["train", str(data), "--out", str(out), *SMALL, "--epochs", "1", "--task", "malignant", *flags]
    assert run(begin) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert run(["evaluate", str(out), str(data), "--json"]) == 0
    said = capsys.readouterr()
    results = json.loads(said.out)
    assert results["test"]["n"] == 48 and results["data"]["unknown_labels"] == {}
    assert (results["test"]["groups"]["kind"], results["test"]["groups"]["n"]) == ("given", 24)
    assert "--image-column file --label-column finding" in said.err and "--images" in said.err
    assert 0.5 < results["split"]["leaked_share_of_test"] < 1
    pictures(tmp_path / "new" / "bad mole", 4, 500, codes=("mel",))
    pictures(tmp_path / "new" / "good mole", 4, 600, codes=("nv",))
    results = evaluated(out, tmp_path / "new", capsys)
    assert results["test"]["n"] == 8 and results["test"]["groups"]["n"] == 2
