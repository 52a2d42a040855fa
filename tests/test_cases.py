from __future__ import annotations

import shutil

import pytest

from skin_edge.benchmarks.inputs.cases import Case, read_cases, write_cases
from skin_edge.edge_runtime.errors import DataError, UsageError

from . import miniatures

KNOWN = ("mel", "nv")


@pytest.fixture
def split_csv(tmp_path, picture):
    """Two lesions, four images, relative paths; the csv is in a folder of its own."""
    rows = [("a.jpg", "L1", "mel", "train"), ("b.jpg", "L1", "mel", "test"), ("c.jpg", "L2", "nv", "test")]
    for seed, (name, _, label, _) in enumerate(rows):
        picture(label, seed, f"set/pictures/{name}")
    text = "split,label,path,group,image_id\n"
    text += "".join(f"{split},{label},pictures/{name},{group},ISIC_{name[0]}\n" for name, group, label, split in rows)
    path = tmp_path / "set" / "split.csv"
    path.write_text(text)
    return path


def error_of(kind, *arguments, **options):
    with pytest.raises(kind) as caught:
        read_cases(*arguments, **{"known_labels": KNOWN, **options})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_columns_are_matched_by_name_and_paths_start_at_the_csv(split_csv):
    cases = read_cases(split_csv, known_labels=KNOWN)
    assert cases == [
        Case(split_csv.parent / "pictures" / "b.jpg", "ISIC_b", "L1", "mel", "test"),
        Case(split_csv.parent / "pictures" / "c.jpg", "ISIC_c", "L2", "nv", "test"),
    ]


def test_the_part_that_is_read(split_csv):
    def ids(split):
        return [case.image_id[-1] for case in read_cases(split_csv, split=split, known_labels=KNOWN)]

    assert (ids(None), ids("train"), ids("all")) == (["b", "c"], ["a"], ["a", "b", "c"])


def test_path_and_label_are_enough(tmp_path, picture):
    one, two = picture("mel", 0, "x/0.jpg"), picture("nv", 0, "y/0.jpg")
    table = tmp_path / "plain.csv"
    table.write_text(f"\ufeffpath,label\n{one},mel\ny/0.jpg,nv\n", encoding="utf-8")
    cases = read_cases(table, known_labels=KNOWN)
    assert [case.path for case in cases] == [one, two]
    assert [case.image_id for case in cases] == ["0", "0"]
    assert len({case.group for case in cases}) == 2  # same name, other image: not one lesion


def test_class_folders(tmp_path):
    root = miniatures.class_folders(tmp_path / "folders", images=2)
    (root / "mel" / "notes.txt").write_text("no image")
    (root / "nv" / "0.png").rename(root / "nv" / "0.PNG")
    cases = read_cases(root, known_labels=KNOWN)
    assert [(case.image_id, case.label, case.split) for case in cases] == [
        ("mel/0.png", "mel", ""),
        ("mel/1.png", "mel", ""),
        ("nv/0.PNG", "nv", ""),
        ("nv/1.png", "nv", ""),
    ]
    assert len({case.group for case in cases}) == 4


def test_folders_of_parts(tmp_path):
    for part, images in (("train", 3), ("test", 1)):
        miniatures.class_folders(tmp_path / "parts" / part, images)
    cases = read_cases(tmp_path / "parts", known_labels=KNOWN)
    assert [case.image_id for case in cases] == ["test/mel/0.png", "test/nv/0.png"]
    assert {case.split for case in read_cases(tmp_path / "parts", split="train", known_labels=KNOWN)} == {"train"}
    assert "splits there: train (6), test (2)" in error_of(DataError, tmp_path / "parts", split="val")


@pytest.mark.parametrize("style", ["/old/disk/{}", "C:\\disk\\{}", "../elsewhere/{}"])
@pytest.mark.parametrize("place", ["", "part_1", "deep/er"])
def test_images_that_lie_elsewhere_now(tmp_path, picture, style, place):
    now = picture("mel", 0, f"now/{place}/a.jpg")
    picture("mel", 1, "now/other.jpg")
    table = tmp_path / "moved.csv"
    table.write_text(f"path,label\n{style.format('part_1/a.jpg')},mel\n")
    assert read_cases(table, images=tmp_path / "now", known_labels=KNOWN)[0].path == now


def test_the_longest_fitting_path_wins_over_the_name(tmp_path, picture):
    right, _ = picture("mel", 0, "now/mel/0.jpg"), picture("nv", 0, "now/nv/0.jpg")
    table = tmp_path / "moved.csv"
    table.write_text("path,label\n/old/mel/0.jpg,mel\n")
    assert read_cases(table, images=tmp_path / "now", known_labels=KNOWN)[0].path == right
    table.write_text("path,label\n/old/0.jpg,mel\n")
    assert "is ambiguous" in error_of(DataError, table, images=tmp_path / "now")


def test_what_was_written_is_read_again(tmp_path, split_csv):
    cases = read_cases(split_csv, split="all", known_labels=KNOWN)
    write_cases(tmp_path / "copy.csv", cases)
    assert read_cases(tmp_path / "copy.csv", split="all", known_labels=KNOWN) == cases
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_wrong_places(tmp_path, split_csv):
    assert "no such file or folder" in error_of(UsageError, tmp_path / "nothing.csv")
    assert "no such folder" in error_of(UsageError, split_csv, images=tmp_path / "nothing")
    assert "goes with a csv" in error_of(UsageError, split_csv.parent, images=tmp_path)


def test_wrong_tables(tmp_path, split_csv):
    table = tmp_path / "t.csv"
    for text, expected in (
        ("image,dx\na.jpg,mel\n", "no column path, label; found: image, dx"),
        ("", "cannot be read as csv: it is empty"),
        ("path,label\n", "has no rows"),
        ("path,label\na.jpg\n", "line 2: path or label is empty"),
        ("path,label\nset/pictures/a.jpg,wart\n", "label 'wart' of a is not among the model's: mel, nv"),
    ):
        table.write_text(text)
        assert expected in error_of(DataError, table)
    table.write_bytes(b"path,label\n\xff\xfe,mel\n")
    assert "cannot be read as csv" in error_of(DataError, table)
    assert "no case in split 'val'; splits there: train (1), test (2)" in error_of(DataError, split_csv, split="val")


def test_a_split_is_asked_of_data_without_one(tmp_path, picture):
    table = tmp_path / "plain.csv"
    table.write_text(f"path,label\n{picture('mel')},mel\n")
    assert "splits there: none" in error_of(DataError, table, split="test")


def test_an_empty_folder(tmp_path):
    (tmp_path / "mel").mkdir()
    assert "expected <label>/*.jpg" in error_of(DataError, tmp_path)


def test_missing_images_are_counted_and_three_are_named(tmp_path, split_csv):
    table = tmp_path / "t.csv"
    table.write_text("path,label\n" + "".join(f"gone{i}.jpg,mel\n" for i in range(5)))
    message = error_of(DataError, table)
    assert "5 of 5 images are missing" in message and "--images DIR" in message
    assert [f"gone{i}.jpg" in message for i in range(5)] == [True, True, True, False, False]
    shutil.rmtree(split_csv.parent / "pictures")
    assert "2 of 2 images are missing" in error_of(DataError, split_csv, images=tmp_path)
