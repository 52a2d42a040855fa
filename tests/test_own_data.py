"""What one says of one's own data: which classes take part, and whose pictures belong together."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.train import job, prepare, request
from skin_edge.train.data import tables, tasks
from skin_edge.train.data.layouts import read_dataset

from . import miniatures


def settings(data, out, **told):
    return miniatures.settings(data, out, near_duplicates=False, **told)


@pytest.fixture
def with_a_rare_class(tmp_path):
    """Eight pictures each of mel and nv, two of df."""
    data = miniatures.class_folders(tmp_path / "data", images=8)
    miniatures.class_folders(data, images=2, codes=("df",))
    return data


def test_a_class_with_two_pictures_names_the_way_out(with_a_rare_class, tmp_path, capsys):
    with pytest.raises(
        DataError, match=r"class 'df' has 2 lesions: .*; --drop-class leaves a class out, --min-images N"
    ):
        prepare.prepare(settings(with_a_rare_class, tmp_path / "run"), lambda line: None)
    for told in ({"drop_classes": ("Dermatofibroma",)}, {"min_images": 3}):
        said = []
        prepared = prepare.prepare(settings(with_a_rare_class, tmp_path / "run", **told), said.append)
        assert "classes left out: df (2 images)" in said
        assert [label.code for label in prepared.dataset.labels] == ["mel", "nv"]
        assert prepared.dataset.left_out == {"df": 2}
        assert set(prepared.frame["label"]) == {"mel", "nv"}
    assert run(["data", str(with_a_rare_class), "--drop-class", "df"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert " 2 class left out: df/0.png, df/1.png" in out
    assert "classes left out: df (2 images)" in out and "default split train" in out
    with pytest.raises(UsageError, match="--drop-class scar: no such class; there are df, mel, nv"):
        prepare.prepare(settings(with_a_rare_class, tmp_path / "run", drop_classes=("scar",)), lambda line: None)


def test_classes_are_dropped_before_a_task_and_small_ones_after_it(with_a_rare_class):
    dataset = read_dataset(with_a_rare_class)
    chosen, _ = tasks.for_task(dataset, "malignant", drop=["nv"], min_images=2)
    assert chosen.frame["label"].value_counts().to_dict() == {"malignant": 8, "benign": 2}
    with pytest.raises(DataError, match="one class only"):
        tasks.for_task(dataset, "malignant", drop=["nv"], min_images=3)


def test_a_split_file_may_name_what_is_left_out(with_a_rare_class, tmp_path):
    frame = read_dataset(with_a_rare_class).frame
    frame["split"] = (["train", "train", "val", "test"] * 5)[: len(frame)]
    (tmp_path / "split.csv").write_text(tables.text(frame[["image_id", "split"]]))
    said = []
    told = settings(with_a_rare_class, tmp_path / "run", drop_classes=("df",), split=str(tmp_path / "split.csv"))
    assert len(prepare.prepare(told, said.append).frame) == 16
    assert any("left out by --drop-class or --min-images: 2 images that" in line for line in said)


@pytest.fixture
def patients(tmp_path, picture):
    """Class folders with two pictures of each of six patients: p0_0.jpg, p0_1.jpg, ... and one of nobody."""
    for patient in range(6):
        for number in range(2):
            code = ("mel", "nv")[(patient + number) % 2]
            picture(code, 2 * patient + number, f"data/{code}/p{patient}_{number}.jpg")
    picture("nv", 99, "data/nv/unknown.jpg")
    return tmp_path / "data"


def test_groups_from_a_pattern(patients, tmp_path, capsys):
    dataset = read_dataset(patients, group_from=r"(p\d+)_")
    assert dataset.has_groups
    assert dataset.frame["group"].nunique() == 7
    assert dataset.frame.loc[dataset.frame["group"] == "p3", "image_id"].tolist() == ["mel/p3_1.jpg", "nv/p3_0.jpg"]
    assert dataset.notes == (
        "--group-from: 6 groups",
        "1 pictures have no group by --group-from, such as nv/unknown.jpg: each is its own",
    )
    assert run(["data", str(patients), "--group-from", r"(p\d+)_"]) == 0
    assert re.search(r"groups +7", capsys.readouterr().out)


def test_groups_from_a_csv(patients, tmp_path):
    table = tmp_path / "groups.csv"
    rows = [f"p{patient}_{number}.jpg,{patient}" for patient in range(6) for number in range(2)]
    table.write_text("\n".join(["image,group", *rows, "nv\\unknown.jpg,=7"]) + "\n")
    assert read_dataset(patients, group_from=str(table)).frame["group"].nunique() == 7
    table.write_text(table.read_text() + "p0_0.jpg,5\n")
    with pytest.raises(DataError, match=r"line 15: p0_0.jpg is in group 0 already"):
        read_dataset(patients, group_from=str(table))
    table.write_text("file,person\na,b\n")
    with pytest.raises(DataError, match="needs the columns image and group; found: file, person"):
        read_dataset(patients, group_from=str(table))


@pytest.mark.parametrize(
    ("group_from", "says"),
    [
        ("p[0-9]+", "one group in parentheses"),
        ("(p", "is not a file, and no regular expression"),
        ("(x)y", "gives no picture a group, such as mel/p0_0.jpg"),
        ("gone.csv", "--group-from gone.csv: no such file"),
    ],
)
def test_what_gives_no_groups(patients, group_from, says):
    with pytest.raises((DataError, UsageError)) as caught:
        read_dataset(patients, group_from=group_from)
    assert says in str(caught.value)


def test_data_with_groups_needs_none(ham):
    with pytest.raises(UsageError, match="is for data without groups"):
        read_dataset(ham, group_from="(.)")


def test_a_run_and_its_resumption_know_what_was_said(patients, measured_run, tmp_path, monkeypatch):
    import shutil

    from skin_edge.train.runs import run_folder

    told = []
    monkeypatch.setattr(job, "train", lambda settings, report: told.append(settings) or {})
    line = ["train", str(patients), "--out", str(tmp_path / "new"), "--group-from", r"(p\d+)_", "--min-images", "2"]
    assert run([*line, "--drop-class", "df", "--drop-class", "vasc", "--intended-use", "For  naked eyes."]) == 0
    shutil.copytree(measured_run, tmp_path / "run")
    with (tmp_path / "run" / "config.yaml").open("a") as file:
        file.write("limit:\nmixed_precision: false\ngroup_from: (p\\d+)_\ndrop_classes: [df, vasc]\nmin_images: 2\n")
        file.write("intended_use: For naked eyes.\n")
    assert run(["train", str(patients), "--out", str(tmp_path / "run"), "--resume"]) == 0
    names = ("group_from", "drop_classes", "min_images", "intended_use")
    wanted = [r"(p\d+)_", ("df", "vasc"), 2, "For naked eyes."]
    assert [[getattr(one, name) for name in names] for one in told] == [wanted] * 2
    changed = {"drop_classes": ("mel",), "min_images": 1, "intended_use": "Another."}
    other = settings(patients, tmp_path / "run", group_from="(.)", **changed)
    with pytest.raises(UsageError, match=r"group_from, min_images, intended_use, .*drop_classes"):
        request.check_resumable(run_folder.read(tmp_path / "run"), other, {})


def test_tables_hold_no_formula_and_are_read_as_they_were(tmp_path):
    frame = pd.DataFrame(
        {
            "image_id": ["=1+1", "-x.jpg", "NA", "a,b", "\r=x"],
            "label": ["@mel", "null", "1", "01", "nan"],
            "p_x": [-1.5, None, 2, 3, 0],
        }
    )
    (tmp_path / "t.csv").write_text(tables.text(frame), newline="")
    assert (tmp_path / "t.csv").read_text().splitlines()[1].replace('"', "") == "'=1+1,'@mel,-1.5"
    pd.testing.assert_frame_equal(
        tables.read(tmp_path / "t.csv", ("image_id", "label"), numbers="p_"), frame, check_dtype=False
    )
