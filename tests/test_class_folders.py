from __future__ import annotations

import json
import sys
import unicodedata

import pytest
from PIL import Image

from skin_edge.benchmarks.inputs import class_folders
from skin_edge.benchmarks.inputs.cases import read_cases
from skin_edge.edge_runtime import preprocess
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, ImageError
from skin_edge.train import prepare
from skin_edge.train.data import inventory
from skin_edge.train.data.layouts import read_dataset

from . import miniatures


def empty(folder, *names):
    """Files without content: which are pictures is told by their names."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder):
    return {one.name: f"{one.part}:{one.label}".lstrip(":") for one in class_folders.read(folder).pictures}


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        # Folders within a class folder belong to it, at any depth.
        ("mel/a.jpg mel/one/b.jpg mel/one/two/three/c.jpg nv/d.jpg", "mel mel mel nv"),
        ("malignant/mel/a.jpg malignant/bcc/b.jpg benign/c.jpg", "malignant malignant benign"),
        # Folders around everything, and folders that only hold diagnoses, are not classes.
        ("images/mel/a.jpg images/nv/b.jpg", "mel nv"),
        ("set/images/foo/a.jpg set/images/bar/b.jpg", "foo bar"),
        ("part_1/mel/a.jpg part_1/nv/b.jpg part_2/Melanocytic_Nevus/c.jpg", "mel nv Melanocytic_Nevus"),
        ("part_1/mel/a.jpg part_2/wart/b.jpg", "part_1 part_2"),
        ("mel/patient_1/a.jpg mel/patient_2/b.jpg", "mel mel"),
        # Parts.
        ("train/mel/a.jpg val/mel/b.jpg test/mel/c.jpg", "train:mel val:mel test:mel"),
        ("Training/mel/a.jpg valid/mel/b.jpg testing/deep/mel/c.jpg", "train:mel val:mel test:deep"),
        ("data/train/x/a.jpg data/validation/x/b.jpg data/validation/y/more/b.jpg", "train:x val:x val:y"),
        ("train/images/mel/a.jpg train/images/nv/b.jpg test/images/mel/c.jpg", "train:mel train:nv test:mel"),
        ("test/a.jpg control/b.jpg", "test control"),
    ],
)
def test_which_folder_is_the_class(tmp_path, names, classes):
    names = names.split()
    assert found(empty(tmp_path, *names)) == dict(zip(names, classes.split(), strict=True))


def test_every_suffix_and_none(tmp_path):
    names = [
        f"nv/{number}{suffix}"
        for number, suffix in enumerate([".jpg", ".JPEG", ".jfif", ".jpe", ".Png", ".gif", ".jp2", ".HEIC", ".avif"])
    ]
    empty(tmp_path, *names, "nv/notes.txt", "nv/empty")
    miniatures.picture("nv", 1).save(tmp_path / "nv" / "picture", "PNG")
    assert sorted(found(tmp_path)) == sorted([*names, "nv/picture"])
    assert len(read_cases(tmp_path, known_labels=["nv"])) == len(read_dataset(tmp_path).frame) == 10


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("Mel/a.jpg", "mel/b.jpg"), "'Mel' and 'mel' differ in case or spaces alone"),
        (("train/mel/a.jpg", "test/mel /b.jpg"), "'mel' and 'mel ' differ in case or spaces alone"),
        (("a\nb/a.jpg", "nv/b.jpg"), r"label 'a\nb' holds control characters"),
        (("a\x1b[2J/a.jpg", "nv/b.jpg"), r"label 'a\x1b[2J' holds control characters"),
        (("a\u202eb/a.jpg", "nv/b.jpg"), "holds control characters"),
    ],
)
def test_folders_that_can_be_no_classes(tmp_path, names, says):
    empty(tmp_path, *names)
    for read in (read_dataset, class_folders.read):
        with pytest.raises(DataError) as caught:
            read(tmp_path)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_names_in_other_scripts(tmp_path):
    names = ["nävus/Bild\u202f1.jpg", unicodedata.normalize("NFD", "nävus") + "/2.jpg"]
    empty(tmp_path, *names)
    assert set(found(tmp_path).values()) == {"nävus"}
    (tmp_path / "nv").mkdir()
    with open(bytes(tmp_path / "nv") + b"/\xff.jpg", "wb"):  # noqa: PTH123
        pass
    dataset = read_dataset(tmp_path)
    assert len(dataset.frame) == 2
    assert list(inventory.unused(dataset)) == ["name not in UTF-8"]


def test_nothing_is_left_out_without_a_word(tmp_path, capsys):
    folder = miniatures.class_folders(tmp_path / "data", images=4)
    empty(folder, "loose.jpg", "mel/scan.dcm", "nv/notes.txt", "nv/table.csv", "nv/.DS_Store", "__MACOSX/nv/._0.jpg")
    miniatures.picture("nv", 1).save(folder / "nv" / "photo.jpg_large", "PNG")
    (folder / "nv" / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "nv" / "again").symlink_to(folder)
    expected = {
        "hidden, or a system's": 2,
        "not a picture": 2,
        "suffix not supported": 2,
        "outside a class folder": 1,
    }
    assert run(["data", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {reason: len(names) for reason, names in told["unused"].items()} == expected
    assert told["unused"]["outside a class folder"] == ["loose.jpg"]
    assert told["unreadable"].keys() == {"nv/gone.jpg"}
    assert run(["data", str(folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert " not used 7 files" in out
    assert " 2 suffix not supported: .dcm 1, .jpg_large 1" in out


def test_pictures_without_a_row(tmp_path, picture):
    picture("nv", 0, "data/pictures/a.jpg")
    picture("nv", 1, "data/pictures/b.jpg")
    picture("nv", 2, "data/elsewhere/c.jpg")
    (tmp_path / "data" / "own.csv").write_text("path,label\npictures/a.jpg,nv\n")
    assert inventory.unused(read_dataset(tmp_path / "data" / "own.csv")) == {inventory.NO_ROW: ["pictures/b.jpg"]}


def test_train_says_what_it_does_not_use_and_splits_as_the_folders_do(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "data"
    for part, images in (("train", 12), ("valid", 4), ("test", 8)):
        miniatures.class_folders(folder / part, images=images)
    empty(folder, "test/loose.jpg", "read.me")
    said = []
    settings = miniatures.settings(folder, tmp_path / "run", split=None)
    prepared = prepare.prepare(settings, said.append)
    assert prepared.frame["split"].value_counts().to_dict() == {"train": 24, "val": 8, "test": 16}
    assert prepared.unused == {"not a picture": ["read.me"], "outside a class folder": ["test/loose.jpg"]}
    assert any(line.startswith(f"split: the folders train, val and test of {folder}") for line in said)
    assert f"not used: 2 files below {folder}" in said
    assert run(["data", str(folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "default split train 24, val 8, test 16: the folders' own parts" in out

    asked = prepare.prepare(miniatures.settings(folder, tmp_path / "run", split="lesion"), said.append)
    assert len(asked.frame) == 24


def test_data_announces_the_split_that_train_makes(tmp_path, capsys):
    from . import layout_miniatures as small

    folder = small.isic2018_task3(tmp_path / "isic")
    prepared = prepare.prepare(miniatures.settings(folder, tmp_path / "run", None), lambda line: None)
    assert run(["data", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["default_split"]
    assert told["images"] == prepared.frame["split"].value_counts().to_dict()
    assert told["official_parts_left_out"] == 21


def test_one_picture_under_two_labels(tmp_path, capsys):
    folder = miniatures.class_folders(tmp_path / "data")
    (folder / "nv" / "copy.png").write_bytes((folder / "mel" / "0.png").read_bytes())
    said = []
    settings = miniatures.settings(folder, tmp_path / "run", near_duplicates=False)
    assert prepare.prepare(settings, said.append).copies["several_labels"] == 1
    assert any(
        "1 pictures that are there twice have several labels, the first: mel/0.png (mel)" in line for line in said
    )
    assert run(["data", str(folder)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 set, 1 of them under several labels mel/0.png, nv/copy.png: mel, nv" in out


@pytest.mark.parametrize("suffix", [".heic", ".avif"])
def test_heic_and_avif(tmp_path, monkeypatch, suffix):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    original = miniatures.picture("nv", 0, (64, 48))
    path = tmp_path / f"picture{suffix}"
    original.save(path, quality=95)
    decoded = preprocess.decode(path)
    assert (decoded.size, decoded.mode) == ((64, 48), "RGB")
    mean = Image.Image.resize(decoded, (1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert all(abs(a - b) < 8 for a, b in zip(mean, miniatures.COLOURS["nv"], strict=True))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ImageError, match="truncated or damaged"):
        preprocess.decode(path)


def test_without_a_decoder_one_line_says_what_to_install(tmp_path, monkeypatch, capsys):
    folder = miniatures.class_folders(tmp_path / "data")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    (folder / "nv" / "phone.HEIC").write_bytes(heic)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match=r'needs pillow-heif: pip install "skin-edge\[heic\]"'):
        preprocess.decode(heic)
    assert run(["train", str(folder), "--out", str(tmp_path / "run"), *miniatures.SMALL]) == 1
    assert "1 of 13 pictures cannot be read" in miniatures.one_line(capsys)
