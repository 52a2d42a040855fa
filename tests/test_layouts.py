from __future__ import annotations

import csv
import shutil

import pandas as pd
import pytest

from skin_edge.edge_runtime.errors import DataError, SkinEdgeError, UsageError
from skin_edge.train.data import tasks
from skin_edge.train.data.layouts import read_dataset

from . import miniatures


def rewrite(folder, change):
    table = folder / "HAM10000_metadata.csv"
    change(pd.read_csv(table, dtype=str)).to_csv(table, index=False)


def test_the_kaggle_layout_is_recognised_with_its_lesions(tmp_path):
    dataset = read_dataset(miniatures.ham10000(tmp_path))
    assert dataset.layout == "ham10000-kaggle"
    assert dataset.has_groups
    assert [label.code for label in dataset.labels] == ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert [label.code for label in dataset.labels if label.malignant] == ["akiec", "bcc", "mel"]
    assert len(dataset.frame) == 63
    assert dataset.frame["group"].nunique() == 42
    assert all(path.endswith(f"{image_id}.jpg") for path, image_id in dataset.frame[["path", "image_id"]].to_numpy())


@pytest.mark.parametrize("target", [".", "all_images"])
def test_all_images_in_one_folder(tmp_path, target):
    miniatures.ham10000(tmp_path)
    (tmp_path / target).mkdir(exist_ok=True)
    for part in ("HAM10000_images_part_1", "HAM10000_images_part_2"):
        for image in (tmp_path / part).iterdir():
            shutil.move(image, tmp_path / target / image.name)
        (tmp_path / part).rmdir()
    frame = read_dataset(tmp_path).frame
    assert len(frame) == 63
    assert (frame["path"] != "").all()


def test_columns_are_matched_by_name(tmp_path):
    miniatures.ham10000(tmp_path)
    before = read_dataset(tmp_path).frame
    rewrite(tmp_path, lambda table: table[table.columns[::-1]])
    pd.testing.assert_frame_equal(read_dataset(tmp_path).frame, before)


def test_a_missing_image_keeps_its_row_without_a_path(tmp_path):
    miniatures.ham10000(tmp_path)
    (tmp_path / "HAM10000_images_part_1" / "ISIC_0000000.jpg").unlink()
    frame = read_dataset(tmp_path).frame
    assert frame.loc[frame["path"] == "", "image_id"].tolist() == ["ISIC_0000000"]


def test_class_folders(tmp_path):
    dataset = read_dataset(miniatures.class_folders(tmp_path, codes=("nv", "mel")))
    assert dataset.layout == "class-folders"
    assert not dataset.has_groups
    assert [label.code for label in dataset.labels] == ["mel", "nv"]
    assert dataset.frame["group"].is_unique


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.drop(columns="lesion_id"), "has no column lesion_id"),
        (lambda t: t.replace({"dx": {"df": "dff"}}), "dx 'dff' of ISIC_"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "ISIC_0000000 occurs twice"),
        (lambda t: t.assign(lesion_id=["", *t["lesion_id"][1:]]), "line 2: one of lesion_id"),
        (lambda t: t.assign(age=["young", *t["age"][1:]]), "age 'young' of ISIC_0000000 is not a number"),
    ],
)
def test_what_is_wrong_with_the_table_is_named(tmp_path, change, says):
    miniatures.ham10000(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(DataError) as caught:
        read_dataset(tmp_path)
    assert says in str(caught.value)


def test_folders_that_hold_no_data_set(tmp_path):
    with pytest.raises(DataError, match=r"Known: HAM10000 \(Kaggle\).*; ISIC 2024.*; class folders"):
        read_dataset(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        read_dataset(tmp_path / "absent")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        read_dataset(tmp_path / "file")
    (tmp_path / "HAM10000_metadata.csv").write_text("lesion_id,image_id,dx\nHAM_1,ISIC_1,nv\n")
    (tmp_path / "file").unlink()
    with pytest.raises(DataError, match="no image is in"):
        read_dataset(tmp_path)
    (tmp_path / "HAM10000_metadata.csv").write_bytes(b"")
    with pytest.raises(SkinEdgeError, match="cannot be read as csv"):
        read_dataset(tmp_path)


def test_the_real_ham10000(data_root):
    dataset = read_dataset(data_root / "data" / "ham10000")
    frame = dataset.frame
    assert (int(frame["age"].isna().sum()), int((frame["age"] == 0).sum())) == (43, 29)
    assert (frame["sex"] == "unknown").sum() == 47
    assert (frame["lesion"] == frame["group"]).all()
    counts = frame["label"].value_counts().to_dict()
    assert counts == {"nv": 5685, "mel": 950, "bkl": 943, "bcc": 438, "akiec": 271, "vasc": 116, "df": 96}
    assert dataset.frame["group"].nunique() == 6342
    assert (dataset.frame["path"] != "").all()
    with (dataset.root / "HAM10000_metadata.csv").open(newline="") as file:
        malignant = sum(row["dx"] in ("mel", "bcc", "akiec") for row in csv.DictReader(file))
    task, sides = tasks.for_task(dataset, "malignant")
    assert (task.frame["label"] == "malignant").sum() == malignant == 1659
    assert sum(row["images"] for row in sides) == len(frame) == 8499
