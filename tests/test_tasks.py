"""Diagnoses, malignant or not, and classes of one's own."""

from __future__ import annotations

import pandas as pd
import pytest

from skin_edge.edge_runtime.errors import DataError, UnknownNameError, UsageError
from skin_edge.edge_runtime.labels import Label
from skin_edge.train.data import leaks, splits, tasks
from skin_edge.train.data.layouts import Columns, read_dataset

from . import layout_miniatures as small
from . import miniatures


def labels_file(tmp_path, text):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    return path


OWN = "code,name,malignant\nWart,a wart,0\ntumour,,1\nmole,a mole,\n"


def test_diagnoses_are_the_layout_s_classes(tmp_path):
    dataset = read_dataset(small.pad_ufes_20(tmp_path))
    chosen, sides = tasks.for_task(dataset, "diagnosis")
    assert sides == []
    pd.testing.assert_frame_equal(chosen.frame, dataset.frame)


def test_benign_or_malignant_by_the_table(tmp_path):
    dataset = read_dataset(miniatures.ham10000(tmp_path))
    chosen, sides = tasks.for_task(dataset, "malignant")
    assert [tuple(label) for label in chosen.labels] == [("benign", "benign", False), ("malignant", "malignant", True)]
    expected = ["malignant" if code in ("mel", "bcc", "akiec") else "benign" for code in dataset.frame["label"]]
    assert chosen.frame["label"].tolist() == expected
    assert {row["diagnosis"]: (row["side"], row["images"]) for row in sides} == {
        "akiec": ("malignant", 9), "bcc": ("malignant", 9), "bkl": ("benign", 9), "df": ("benign", 9),
        "mel": ("malignant", 9), "nv": ("benign", 9), "vasc": ("benign", 9),
    }  # fmt: skip
    lines = tasks.described(sides)
    assert len(lines) == 7
    assert "precancerous keratoses, which count as malignant" in lines[0]
    assert all("precancerous" not in line for line in lines[1:])


def test_ack_is_precancerous_too(tmp_path):
    lines = tasks.described(tasks.for_task(read_dataset(small.pad_ufes_20(tmp_path)), "malignant")[1])
    assert [line.split(":")[0].strip() for line in lines if "precancerous" in line] == ["ack"]


def test_the_data_set_s_own_target_wins_over_the_table(tmp_path):
    folder = small.isic2020(tmp_path)
    table = folder / "ISIC_2020_Training_GroundTruth.csv"
    text = table.read_text()
    assert "nevus,benign,0" in text
    table.write_text(text.replace("nevus,benign,0", "nevus,malignant,1", 1))
    chosen, sides = tasks.for_task(read_dataset(folder), "malignant")
    assert [(row["diagnosis"], row["side"], row["images"], row["source"]) for row in sides] == [
        ("", "benign", 28, "the data set's target"),
        ("mel", "malignant", 4, "the data set's target"),
        ("nv", "benign", 7, "the data set's target"),
        ("nv", "malignant", 1, "the data set's target"),
    ]
    truth = pd.read_csv(table).set_index("image_name")["target"]
    sides_of = chosen.frame.set_index("image_id")["label"]
    assert all((sides_of[image] == "malignant") == bool(target) for image, target in truth.items())


def test_an_indeterminate_target_falls_back_to_the_table_and_what_nobody_knows_is_left_out(tmp_path):
    chosen, sides = tasks.for_task(read_dataset(small.isic_cli(tmp_path)), "malignant")
    by_diagnosis = {row["diagnosis"]: (row["side"], row["source"]) for row in sides}
    assert by_diagnosis["ak"] == ("malignant", "the table of diagnoses")
    assert by_diagnosis["nv"] == ("benign", "the data set's target")
    assert by_diagnosis["scar"] == ("benign", "the data set's target")
    assert by_diagnosis[""] == ("left out", "nobody")
    assert len(chosen.frame) == 41
    assert chosen.notes == ("1 images that are not known to be benign or malignant are left out",)


@pytest.mark.parametrize("make", [small.isic2020, small.isic2024])
def test_data_with_a_target_only_says_which_task_it_needs(tmp_path, make):
    dataset = read_dataset(make(tmp_path))
    with pytest.raises(DataError, match=r"of 40 images have no diagnosis that is a class: --task malignant uses"):
        tasks.for_task(dataset, "diagnosis")
    chosen, _ = tasks.for_task(dataset, "malignant")
    assert chosen.frame["label"].value_counts().to_dict() == {"benign": 36, "malignant": 4}


def test_a_patient_s_one_melanoma_is_dealt_out(tmp_path):
    """Every malignant picture has four benign ones of its patient beside it."""
    frame = tasks.for_task(read_dataset(small.isic2024(tmp_path, patients=16)), "malignant")[0].frame
    for seed in range(5):
        parts = splits.split_frame(frame, (0.5, 0.25, 0.25), seed)
        assert set(parts[frame["label"] == "malignant"]) == set(splits.PARTS)
        assert set(parts[frame["label"] == "benign"]) == set(splits.PARTS)
        assert parts.groupby(frame["group"]).nunique().max() == 1


def test_diagnoses_that_are_no_class_are_left_out_and_said(tmp_path):
    chosen, _ = tasks.for_task(read_dataset(small.isic_cli(tmp_path)), "diagnosis")
    assert len(chosen.frame) == 40
    assert chosen.notes == ("2 images whose diagnosis is not a class are left out: scar 1, none 1",)


def test_own_classes_give_order_names_and_sides(tmp_path):
    dataset = read_dataset(small.plain_csv(tmp_path / "data"), columns=Columns("file", "finding", "person"))
    path = labels_file(tmp_path, OWN)
    chosen, _ = tasks.for_task(dataset, "diagnosis", path)
    assert chosen.labels == (
        Label("Wart", "a wart", False),
        Label("tumour", "tumour", True),
        Label("mole", "a mole", None),
    )
    assert set(chosen.frame["label"]) == {"Wart", "tumour", "mole"}  # the file's spelling
    with pytest.raises(DataError, match=r"it is not known whether 'mole' \(8 images\) is malignant"):
        tasks.for_task(dataset, "malignant", path)
    path = labels_file(tmp_path, OWN.replace("mole,a mole,", "mole,a mole,0"))
    chosen, sides = tasks.for_task(dataset, "malignant", path)
    assert chosen.frame["label"].value_counts().to_dict() == {"benign": 16, "malignant": 8}
    assert {row["source"] for row in sides} == {"--labels classes.csv"}


def test_own_classes_overrule_the_table_and_not_the_target(tmp_path):
    ham = read_dataset(miniatures.ham10000(tmp_path / "ham"))
    text = "code,name,malignant\n" + "".join(f"{label.code},,0\n" for label in ham.labels[:-1]) + "vasc,,1\n"
    chosen, _ = tasks.for_task(ham, "malignant", labels_file(tmp_path, text))
    assert set(ham.frame["label"][chosen.frame["label"] == "malignant"]) == {"vasc"}
    isic = read_dataset(small.isic_cli(tmp_path / "isic"))
    text = "code,name,malignant\n" + "".join(f"{code},,0\n" for code in ("ak", "bcc", "mel", "nv", "vasc", "scar"))
    _, sides = tasks.for_task(isic, "malignant", labels_file(tmp_path, text))
    assert {row["diagnosis"]: row["side"] for row in sides if row["diagnosis"]} == {
        "ak": "benign", "bcc": "malignant", "mel": "malignant", "nv": "benign", "scar": "benign", "vasc": "benign"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("code,name\nwart,\n", DataError, "has no column malignant; a file of labels has code, name and malignant"),
        ("name,malignant\nwart,1\n", DataError, "has no column code"),
        ("code,name,malignant\nwart,,1\n,,0\n", DataError, "line 3: code is blank"),
        ("code,name,malignant\nwart,,yes\n", DataError, "malignant 'yes' of wart is not 1, 0 or blank"),
        ("code,name,malignant\nwart,,1\nWART,,1\n", DataError, "code WART occurs twice"),
        ("code,name,malignant\nwart,,1\nmole,,0\n", DataError, "label 'tumour' of tumour_0_0.jpg is not in"),
        (OWN + "scar,,0\n", DataError, "has no image of class 'scar': leave it out of --labels"),
        (None, UsageError, "no such file"),
    ],
)
def test_what_is_wrong_with_a_file_of_labels(tmp_path, text, error, says):
    dataset = read_dataset(small.plain_csv(tmp_path / "data"), columns=Columns("file", "finding", "person"))
    path = labels_file(tmp_path, text) if text else tmp_path / "absent.csv"
    with pytest.raises(error) as caught:
        tasks.for_task(dataset, "diagnosis", path)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_too_few_classes_or_images_and_unknown_tasks(tmp_path):
    with pytest.raises(DataError, match=r"holds one class only \(nv\)"):
        tasks.for_task(read_dataset(miniatures.class_folders(tmp_path / "one", codes=("nv",))), "diagnosis")
    with pytest.raises(DataError, match="2 images for 2 classes"):
        tasks.for_task(read_dataset(miniatures.class_folders(tmp_path / "few", images=1)), "diagnosis")
    with pytest.raises(UnknownNameError, match="unknown task 'triage'; known: diagnosis, malignant"):
        tasks.for_task(read_dataset(miniatures.class_folders(tmp_path / "ok")), "triage")


@pytest.mark.parametrize(
    "name",
    ["dx_type", "iddx_full", "iddx_1", "mel_thick_mm", "mel_mitotic_index", "tbp_lv_dnn_lesion_confidence", "lesion_id",
     "biopsed", "diagnosis_1", "diagnosis_confirm_type", "benign_malignant", "target", "Diagnostic", "lesion"],
)  # fmt: skip
def test_columns_that_leak_the_label_are_refused_by_name(name):
    with pytest.raises(UsageError, match=f"column {name} leaks the label and cannot be a feature: "):
        leaks.check_features(["age", name])


def test_columns_that_are_known_before_the_diagnosis_are_features():
    leaks.check_features(["age", "age_approx", "sex", "site", "localization", "diameter_mm", "fitspatrick", "tbp_lv_A"])


def test_malignant_classes_keep_each_malignant_diagnosis(ham):
    from skin_edge.train.data.layouts import read_dataset
    from skin_edge.train.data.tasks import for_task

    dataset = read_dataset(ham)
    split, mapping = for_task(dataset, "malignant-classes")
    assert [(label.code, label.malignant) for label in split.labels] == [
        ("benign", False),
        ("akiec", True),
        ("bcc", True),
        ("mel", True),
    ]
    before, after = dataset.frame["label"].value_counts(), split.frame["label"].value_counts()
    assert all(before[code] == after[code] for code in ("akiec", "bcc", "mel"))
    assert after["benign"] == before[["bkl", "df", "nv", "vasc"]].sum()
    assert {row["diagnosis"]: row["side"] for row in mapping}["mel"] == "malignant"
