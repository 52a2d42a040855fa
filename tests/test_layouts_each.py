"""Every layout on a miniature with the real files' names, columns, codes and known bad rows."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime import preprocess
from skin_edge.edge_runtime.errors import DataError, ImageError, UnknownNameError, UsageError
from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.train.data import splits
from skin_edge.train.data.layouts import LAYOUTS, Columns, read_dataset
from skin_edge.train.pipeline import batches

from . import layout_miniatures as small
from . import miniatures

OWN = Columns("file", "finding", "person")

HAM = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]

# layout, how to make it, images, groups, codes
EACH = [
    ("ham10000-kaggle", miniatures.ham10000, 63, 42, HAM),
    ("ham10000-dataverse", small.ham10000_dataverse, 56, 42, HAM),
    ("isic2018-task3", small.isic2018_task3, 63, 49, HAM),
    ("isic2019", small.isic2019, 48, 32, ["ak", "bcc", "bkl", "df", "mel", "nv", "scc", "vasc"]),
    ("isic2020", small.isic2020, 40, 7, ["mel", "nv"]),
    ("isic2024", small.isic2024, 40, 8, []),
    ("isic-cli", small.isic_cli, 42, 22, ["ak", "bcc", "mel", "nv", "vasc"]),
    ("pad-ufes-20", small.pad_ufes_20, 48, 24, ["ack", "bcc", "mel", "nev", "scc", "sek"]),
    ("class-folders", small.parts_of_class_folders, 24, 24, ["mel", "nv"]),
]


def table_of(folder, name):
    """A csv as the standard library reads it: {image id: row}."""
    with next(folder.rglob(name)).open(newline="") as file:
        return {row[next(key for key in row if key.startswith(("image", "isic_id", "img_id")))]: row
                for row in csv.DictReader(file)}  # fmt: skip


def by_id(dataset):
    return dataset.frame.set_index("image_id")


@pytest.mark.parametrize(("layout", "make", "images", "groups", "codes"), EACH, ids=[row[0] for row in EACH])
def test_each_layout_is_recognised_and_named(tmp_path, layout, make, images, groups, codes):
    folder = make(tmp_path / "data")
    dataset = read_dataset(folder)
    frame = dataset.frame
    assert dataset.layout == layout
    assert [label.code for label in dataset.labels] == codes
    assert (len(frame), frame["group"].nunique()) == (images, groups)
    assert (frame["path"] != "").all()
    assert frame["age"].dtype == frame["diameter_mm"].dtype == np.float64
    texts = frame.drop(columns=["age", "diameter_mm"])
    assert not texts.isna().any().any() and all(isinstance(value, str) for value in texts.to_numpy().ravel())
    pd.testing.assert_frame_equal(read_dataset(folder, layout).frame, frame)
    _, failures = batches.load(list(frame["path"]), InputSpec(32, 32))
    assert not failures


def test_every_layout_is_tried():
    tried = {row[0] for row in EACH} | {"csv"}
    assert tried == set(LAYOUTS), "a layout has a miniature in tests/layout_miniatures.py and a row in EACH"


@pytest.mark.parametrize(("layout", "make"), [row[:2] for row in EACH if row[0] != "class-folders"])
def test_columns_are_matched_by_name(tmp_path, layout, make):
    folder = make(tmp_path)
    before = read_dataset(folder).frame
    tables = [path for path in folder.rglob("*") if path.suffix == ".csv" or path.name == "HAM10000_metadata"]
    assert tables
    for path in tables:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table[table.columns[::-1]].to_csv(path, index=False)
    pd.testing.assert_frame_equal(read_dataset(folder).frame, before)


@pytest.mark.parametrize("separator", [",", "\t"])
def test_dataverse_by_comma_and_tab(tmp_path, separator):
    dataset = read_dataset(small.ham10000_dataverse(tmp_path, separator))
    frame = by_id(dataset)
    assert frame["official"].value_counts().to_dict() == {"train": 42, "test": 14}
    assert np.isnan(frame["age"]["ISIC_0024306"]) and frame["age"]["ISIC_0024307"] == 0
    assert (frame["sex"]["ISIC_0024306"], frame["site"]["ISIC_0024306"]) == ("unknown", "unknown")
    assert frame["group"]["ISIC_0034524"] == "HAMTEST_34524"
    assert dataset.notes == ("ISIC_0035068 of the test part is left out: its image was never published",)


def test_dataverse_without_the_test_part_and_with_the_challenge_s_own_ground_truth(tmp_path):
    folder = small.ham10000_dataverse(tmp_path / "a", test=False)
    dataset = read_dataset(folder)
    assert not dataset.has_official_parts
    assert len(dataset.frame) == 42
    folder = small.ham10000_dataverse(tmp_path / "b")
    truth = [small._one_hot(small.ISIC2018_COLUMNS, f"ISIC_00{34524 + n}", code, "1.0", "0.0")
             for n, code in enumerate([*HAM] * 2)]  # fmt: skip
    expected = by_id(read_dataset(folder))["label"]
    assert expected["ISIC_0034525"] == "bcc"
    small.write(folder / "ISIC2018_Task3_Test_GroundTruth.csv", small.ISIC2018_COLUMNS, truth)
    pd.testing.assert_series_equal(by_id(read_dataset(folder))["label"], expected)


def test_isic2018_one_hot_is_read_by_its_header_and_official_parts_are_kept(tmp_path):
    folder = small.isic2018_task3(tmp_path)
    frame = by_id(read_dataset(folder))
    for part, official in (("Training", "train"), ("Validation", "val"), ("Test", "test")):
        for image_id, row in table_of(folder, f"ISIC2018_Task3_{part}_GroundTruth.csv").items():
            assert float(row[frame["label"][image_id].upper()]) == 1
            assert frame["official"][image_id] == official
    for image_id, row in table_of(folder, "ISIC2018_Task3_Training_LesionGroupings.csv").items():
        assert frame["group"][image_id] == row["lesion_id"]
    assert (frame.loc[frame["official"] != "train", "lesion"] == "").all()


def test_isic2019_rows_without_a_lesion_are_groups_of_their_own(tmp_path):
    folder = small.isic2019(tmp_path)
    frame = by_id(read_dataset(folder))
    bare = frame[frame["lesion"] == ""]
    assert len(bare) == 8 and bare.index.str.endswith("_downsampled").all()
    assert (bare["group"] == bare.index).all()
    assert (frame["group"].value_counts() == 2).sum() == 16
    for image_id, row in table_of(folder, "ISIC_2019_Training_GroundTruth.csv").items():
        assert float(row[frame["label"][image_id].upper()]) == 1
    for path in (folder / "ISIC_2019_Training_Input").glob("*_downsampled.jpg"):
        path.rename(path.with_name(path.name.replace("_downsampled", "")))
    assert (by_id(read_dataset(folder))["path"] != "").all()


@pytest.mark.parametrize("version", ["", "_v2"])
def test_isic2020_has_its_own_target_and_keeps_duplicates_together(tmp_path, version):
    folder = small.isic2020(tmp_path, version)
    dataset = read_dataset(folder)
    frame = by_id(dataset)
    for image_id, row in table_of(folder, "ISIC_2020_Training_GroundTruth*.csv").items():
        assert frame["malignant"][image_id] == row["target"]
        assert frame["patient"][image_id] == row["patient_id"]
        assert frame["lesion"][image_id] == row.get("lesion_id", "")
        assert frame["label"][image_id] == {"unknown": "", "nevus": "nv", "melanoma": "mel"}[row["diagnosis"]]
    assert frame["group"]["ISIC_0000003"] == frame["group"]["ISIC_0000503"]
    assert frame["group"]["ISIC_0000000"] == frame["group"]["ISIC_0000500"]  # all of both patients
    assert frame["patient"]["ISIC_0000003"] != frame["patient"]["ISIC_0000503"]
    assert dataset.notes == ("1 pair of duplicates is kept together",)


@pytest.mark.parametrize("images", ["hdf5", "folder", "both"])
def test_isic2024_from_hdf5_and_from_a_folder(tmp_path, images):
    folder = small.isic2024(tmp_path / "data", images)
    frame = by_id(read_dataset(folder))
    reference = small.isic2024(tmp_path / "reference", "folder")
    for image_id, row in table_of(folder, "train-metadata.csv").items():
        assert frame["malignant"][image_id] == row["target"]
        assert frame["group"][image_id] == row["patient_id"]
        assert frame["diameter_mm"][image_id] == float(row["clin_size_long_diam_mm"])
        assert frame["image_type"][image_id] == "TBP tile: close-up"
        expected = preprocess.decode(reference / "train-image" / "image" / f"{image_id}.jpg")
        assert np.array_equal(np.asarray(preprocess.decode(frame["path"][image_id])), np.asarray(expected))
    assert frame["age"].isna().sum() == 5
    assert ("::" in frame["path"].iloc[0]) == (images == "hdf5")


def test_a_member_that_is_missing_or_a_file_that_is_no_hdf5(tmp_path):
    folder = small.isic2024(tmp_path)
    frame = read_dataset(folder).frame
    with pytest.raises(ImageError, match="has no member ISIC_9"):
        preprocess.decode(frame["path"].iloc[0].split("::")[0] + "::ISIC_9")
    table = folder / "train-metadata.csv"
    table.write_text(table.read_text().replace("ISIC_0000000,", "ISIC_9000000,"))
    _, failures = batches.load(list(read_dataset(folder).frame["path"]), InputSpec(32, 32))
    assert list(failures) == [0] and "has no member ISIC_9000000" in failures[0]
    table.write_text(table.read_text() + table.read_text().splitlines()[-1].replace("ISIC_", "ISIC_8") + "\n")
    missing = read_dataset(folder).frame["path"] == ""
    assert missing.to_numpy().nonzero()[0].tolist() == [0, 40]
    (tmp_path / "second").mkdir()
    shutil.copy(table, tmp_path / "second")
    (tmp_path / "second" / "train-image.hdf5").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        read_dataset(tmp_path / "second")
    (tmp_path / "other.h5").write_bytes(b"no")
    with pytest.raises(ImageError, match=r"other.h5::x cannot be read"):
        preprocess.decode(tmp_path / "other.h5::x")


@pytest.mark.parametrize("older", [False, True])
def test_isic_cli_new_and_old_wording(tmp_path, older):
    folder = small.isic_cli(tmp_path, older)
    dataset = read_dataset(folder)
    frame = by_id(dataset)
    wordings = {(levels[2] or levels[1], wording): code for levels, wording, _, code in small.ISIC_DIAGNOSES}
    for image_id, row in table_of(folder, "metadata.csv").items():
        said = row["diagnosis"] if older else row["diagnosis_3"] or row["diagnosis_2"]
        expected = {pair[older]: code for pair, code in wordings.items()}.get(said, said.lower())
        assert frame["label"][image_id] == expected
        side = (row["benign_malignant"] if older else row["diagnosis_1"]).lower()
        assert frame["malignant"][image_id] == {"malignant": "1", "benign": "0"}.get(side, "")
    # A lesion whose second picture does not name the patient is one group all the same.
    lesion = frame[frame["lesion"] == "IL_mel0"]
    assert sorted(lesion["patient"]) == ["", "IP_mel0"]
    assert len(set(lesion["group"])) == 1
    assert read_dataset(folder / "metadata.csv").layout == "isic-cli"
    shutil.copy(folder / "metadata.csv", folder / "again.csv")
    with pytest.raises(DataError, match="holds 2 exports"):
        read_dataset(folder)


def test_pad_ufes_20(tmp_path):
    folder = small.pad_ufes_20(tmp_path)
    frame = by_id(read_dataset(folder))
    for image_id, row in table_of(folder, "metadata.csv").items():
        assert frame["path"][image_id].endswith(f"/{row['img_id']}")
        assert frame["label"][image_id] == row["diagnostic"].lower()
        assert frame["sex"][image_id] == row["gender"].lower()
        assert frame["lesion"][image_id] == f"{row['patient_id']}_{row['lesion_id']}"
        longest = max(float(row["diameter_1"] or "nan"), float(row["diameter_2"] or "nan"))
        assert frame["diameter_mm"][image_id] == pytest.approx(longest, nan_ok=True)
    assert (frame["site"] == "neck").all()


def test_a_plain_csv_names_its_columns(tmp_path):
    folder = small.plain_csv(tmp_path)
    dataset = read_dataset(folder, columns=OWN)
    assert (dataset.layout, dataset.has_groups) == ("csv", True)
    assert [(label.code, label.malignant) for label in dataset.labels] == [
        ("mole", None), ("tumour", None), ("wart", None)
    ]  # fmt: skip
    frame = dataset.frame
    assert frame["group"].value_counts().unique().tolist() == [2]
    assert frame["age"].tolist() == [30, 30, 31, 31, 32, 32, 33, 33] * 3
    for path, image_id, label in frame[["path", "image_id", "label"]].to_numpy():
        assert image_id.rpartition("/")[2].removesuffix(".jpg") in path
        assert f"/{label}_" in path
    pd.testing.assert_frame_equal(read_dataset(folder / "own.csv", columns=OWN).frame, frame)
    assert not read_dataset(folder, columns=Columns("file", "finding")).has_groups
    with pytest.raises(DataError, match=r"no columns path and label: name them.*found: file, finding, person, age"):
        read_dataset(folder / "own.csv")
    with pytest.raises(DataError, match="has no column who; found: file, finding"):
        read_dataset(folder, columns=Columns("file", "finding", "who"))
    with pytest.raises(UsageError, match="are for layout csv, not isic2019"):
        read_dataset(folder, "isic2019", OWN)
    shutil.copy(folder / "own.csv", folder / "second.csv")
    with pytest.raises(DataError, match="holds 2 csv files"):
        read_dataset(folder, columns=OWN)


def test_a_csv_with_path_and_label_needs_no_names(tmp_path):
    folder = small.plain_csv(tmp_path)
    text = (folder / "own.csv").read_text().replace("file;finding;person", "path;label;group")
    (folder / "own.csv").write_text(text)
    dataset = read_dataset(folder)
    assert (dataset.layout, dataset.frame["group"].nunique()) == ("csv", 12)


def test_class_folders_in_parts(tmp_path):
    frame = by_id(read_dataset(small.parts_of_class_folders(tmp_path)))
    assert all(image_id.startswith(f"{part}/") for image_id, part in frame["official"].items())
    assert all(image_id.split("/")[1] == label for image_id, label in frame["label"].items())
    # A class that is named test, without class folders in it, is a class.
    dataset = read_dataset(miniatures.class_folders(tmp_path / "b", codes=("mel", "nv")))
    assert not dataset.has_official_parts


def test_official_parts_and_a_validation_part_where_there_is_none(tmp_path):
    frame = read_dataset(small.isic2018_task3(tmp_path / "a")).frame
    assert splits.official_split(frame, (0.65, 0.15, 0.2), 42).tolist() == frame["official"].tolist()
    frame = read_dataset(small.ham10000_dataverse(tmp_path / "b", lesions=10)).frame
    frame["split"] = splits.official_split(frame, (0.6, 0.2, 0.2), 42)
    assert (frame["split"] == "test").equals(frame["official"] == "test")
    assert frame.groupby("group")["split"].nunique().max() == 1
    shares = frame[frame["split"] != "test"].groupby("label")["split"].apply(lambda parts: (parts == "val").mean())
    assert shares.between(0.12, 0.40).all()  # a quarter, in whole lesions
    with pytest.raises(DataError, match="class 'mel' has no image in the official training part"):
        splits.official_split(frame[(frame["label"] != "mel") | (frame["split"] == "test")], (0.6, 0.2, 0.2), 42)


def replaced(name, old, new):
    def change(folder):
        path = next(folder.rglob(name))
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def doubled(name):
    def change(folder):
        path = next(folder.rglob(name))
        path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")

    return change


@pytest.mark.parametrize(
    ("make", "change", "says"),
    [
        (small.ham10000_dataverse, replaced("HAM10000_metadata", "lesion_id", "lesion"), "has no column lesion_id"),
        (
            small.ham10000_dataverse,
            replaced("ISIC2018_Task3_Test_GroundTruth.csv", ",bcc,", ",bbc,"),
            "dx 'bbc' of ISIC_",
        ),
        (small.ham10000_dataverse, doubled("HAM10000_metadata"), "occurs twice (1 such rows)"),
        (small.isic2018_task3, replaced("*Test_GroundTruth.csv", ",1.0", ",0.0"), "ISIC_0024355 has not exactly one 1"),
        (small.isic2018_task3, replaced("*Training_GroundTruth.csv", "image,", "picture,"), "has no column image;"),
        (small.isic2018_task3, doubled("*Validation_GroundTruth.csv"), "occurs twice"),
        (small.isic2018_task3, doubled("*LesionGroupings.csv"), "occurs twice"),
        (small.isic2019, replaced("*GroundTruth.csv", "1.0,0.0", "1.0,yes"), "has not exactly one 1"),
        (small.isic2019, replaced("*Metadata.csv", ",55,", ",old,"), "age 'old' of ISIC_"),
        (small.isic2020, replaced("*GroundTruth.csv", "patient_id", "patient"), "has no column patient_id"),
        (small.isic2020, replaced("*GroundTruth.csv", "benign,0", "benign,2"), "target '2' of ISIC_0000001"),
        (small.isic2020, doubled("*GroundTruth.csv"), "occurs twice"),
        (small.isic2020, replaced("*Duplicates.csv", "image_name_2", "second"), "has no column image_name_2"),
        (small.isic2024, replaced("train-metadata.csv", "target", "malignant"), "has no column target"),
        (small.isic2024, replaced("train-metadata.csv", ",3.16,", ",big,"), "diameter_mm 'big' of ISIC_0000000"),
        (small.isic2024, doubled("train-metadata.csv"), "occurs twice"),
        (small.isic_cli, doubled("metadata.csv"), "occurs twice"),
        (small.isic_cli, replaced("metadata.csv", "ISIC_0050000,", ","), "line 2: one of isic_id is blank"),
        (small.pad_ufes_20, replaced("metadata.csv", ",BCC,", ",BBC,"), "diagnostic 'BBC' of PAT_BCC0_1_0.png"),
        (small.pad_ufes_20, replaced("metadata.csv", "patient_id", "patient"), "has no column patient_id"),
        (small.pad_ufes_20, doubled("metadata.csv"), "occurs twice"),
    ],
)
def test_what_is_wrong_is_one_clear_line(tmp_path, make, change, says):
    folder = make(tmp_path)
    change(folder)
    with pytest.raises(DataError) as caught:
        read_dataset(folder)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("layout", "make"), [row[:2] for row in EACH if row[0] not in ("class-folders", "isic2024")])
def test_a_row_without_its_image_keeps_its_row(tmp_path, layout, make):
    folder = make(tmp_path)
    gone = read_dataset(folder).frame.iloc[5]
    shutil.move(gone["path"], tmp_path / "gone")
    frame = by_id(read_dataset(folder))
    assert frame.index[frame["path"] == ""].tolist() == [gone["image_id"]]


def test_layouts_that_do_not_exist_or_do_not_fit(tmp_path):
    folder = small.isic2019(tmp_path)
    with pytest.raises(UnknownNameError, match=r"unknown layout 'isic' .*known: ham10000-kaggle, .*, class-folders"):
        read_dataset(folder, "isic")
    with pytest.raises(UsageError, match="is a file, and layout isic2019 is a folder"):
        read_dataset(folder / "ISIC_2019_Training_Metadata.csv", "isic2019")
    with pytest.raises(DataError, match=r"is not in layout isic2020: ISIC 2020: ISIC_2020_Training_GroundTruth.csv"):
        read_dataset(folder, "isic2020")
    small.pad_ufes_20(folder)
    with pytest.raises(DataError, match=r"fits several layouts \(isic2019, pad-ufes-20\): choose one with --layout"):
        read_dataset(folder)
    assert read_dataset(folder, "pad-ufes-20").layout == "pad-ufes-20"


def test_a_csv_that_is_something_else_does_not_disturb(tmp_path):
    folder = miniatures.class_folders(tmp_path / "data")
    for content in (b"", b"\xff\xfe\x00", b"who,when\nme,today\n"):
        (folder / "notes.csv").write_bytes(content)
        assert read_dataset(folder).layout == "class-folders"


EVERY = [
    small.ham10000_dataverse, small.isic2018_task3, small.isic2019, small.isic2020, small.isic2024, small.isic_cli,
    small.pad_ufes_20,
]  # fmt: skip


@pytest.mark.parametrize("make", EVERY)
def test_tables_without_rows_are_one_clear_line(tmp_path, make):
    data = make(tmp_path)
    tables = [path for path in data.rglob("*") if path.suffix in (".csv", ".tab") or "metadata" in path.name]
    for path in tables:
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert tables
    with pytest.raises(DataError, match="has no rows below its header"):
        read_dataset(data)


def test_a_csv_without_rows_is_one_clear_line(tmp_path):
    (tmp_path / "t.csv").write_text("path,label\n")
    for data in (tmp_path, tmp_path / "t.csv"):
        with pytest.raises(DataError, match=r"t\.csv has no rows below its header"):
            read_dataset(data)
