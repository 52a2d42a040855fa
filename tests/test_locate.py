from __future__ import annotations

import shutil
import unicodedata

import pytest

from skin_edge.benchmarks.inputs.locate import located
from skin_edge.edge_runtime import pictures
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.train.data.layouts import read_dataset

from . import miniatures


@pytest.fixture
def two_classes(tmp_path, picture):
    """now/{mel,nv}/img0.jpg ... img3.jpg: the same names in both folders."""
    for code in ("mel", "nv"):
        for number in range(4):
            picture(code, number, f"now/{code}/img{number}.jpg")
    return tmp_path / "now"


def moved_csv(folder, start="/old/data/"):
    names = [f"{start}{code}/img{number}.jpg" for code in ("mel", "nv") for number in range(4)]
    rows = [f"{name},{name.split('/')[-2]}" for name in names]
    (folder / "own.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    return folder / "own.csv"


def at(folder, name, **how):
    return located([name], folder, table="own.csv", **how)[0].removeprefix(f"{folder}/")


@pytest.mark.parametrize("start", ["/old/data/", "old/", "../old/", "C:/old/"])
def test_a_path_that_is_not_there_is_no_other_picture_of_its_name(two_classes, start, capsys):
    table = moved_csv(two_classes, start)
    with pytest.raises(DataError, match=r"none of its 8 pictures is there.*--images FOLDER"):
        read_dataset(table)
    frame = read_dataset(table, images=two_classes).frame
    assert all(f"/now/{label}/" in path for path, label in frame[["path", "label"]].to_numpy())
    assert run(["data", str(table)]) == 1
    assert "--images" in capsys.readouterr().err
    assert run(["data", str(table), "--images", str(two_classes)]) == 0


def test_a_folder_that_holds_only_one_of_two_pictures_of_a_name(two_classes):
    table = moved_csv(two_classes)
    with pytest.raises(DataError, match="none of its 8 pictures"):
        read_dataset(table, images=two_classes / "nv")  # mel/img0.jpg is not the img0.jpg that is there
    (two_classes / "mel" / "img2.jpg").unlink()
    frame = read_dataset(table, images=two_classes).frame
    assert list(frame.loc[frame["path"] == "", "image_id"]) == ["/old/data/mel/img2.jpg"]


def test_rows_without_a_picture_end_train_before_anything_is_read(two_classes, tmp_path, capsys):
    table = moved_csv(two_classes, "")
    (two_classes / "mel" / "img2.jpg").unlink()
    assert run(["train", str(table), "--out", str(tmp_path / "run"), *miniatures.SMALL]) == 1
    assert (
        capsys.readouterr()
        .err.strip()
        .endswith(
            "1 of 8 pictures are not there, the first is mel/img2.jpg: --images FOLDER says where they are now, "
            "--skip-unreadable leaves them out"
        )
    )


@pytest.mark.parametrize("name", ["img1.jpg", "img1", "/old/img1.jpg"])
def test_a_name_that_two_files_have_is_an_error_that_names_both(two_classes, name):
    images = two_classes if "/" in name else None
    with pytest.raises(DataError, match=rf"own.csv: '{name}' is ambiguous: .*/mel/img1.jpg and .*/nv/img1.jpg"):
        located([name], two_classes, images=images, table="own.csv")


def test_copies_of_a_file_are_no_ambiguity(two_classes, tmp_path):
    shutil.copytree(two_classes / "mel", two_classes / "copy")
    shutil.rmtree(two_classes / "nv")
    assert at(two_classes, "img1.jpg") == "copy/img1.jpg"


def test_ids_of_a_layout_with_two_pictures_of_one_name(tmp_path, picture):
    data = miniatures.ham10000(tmp_path / "ham")
    first = next(data.glob("*/ISIC_0000001.jpg"))
    shutil.copytree(first.parent, data / "copied")
    assert (read_dataset(data).frame["path"] != "").all()
    picture("nv", 77, "ham/other/ISIC_0000001.jpg")
    with pytest.raises(DataError, match=r"'ISIC_0000001' is ambiguous: .*--images"):
        read_dataset(data)
    kept = tmp_path / "kept"
    for folder in (*data.glob("HAM10000_images*"),):
        shutil.move(folder, kept / folder.name)
    assert all(str(kept) in path for path in read_dataset(data, images=kept).frame["path"])


def test_two_names_of_one_file(two_classes):
    with pytest.raises(DataError, match=r"'mel/img1.jpg' and './mel/img1.jpg' are the same file"):
        located(["mel/img1.jpg", "./mel/img1.jpg"], two_classes, table="own.csv")


def test_how_a_name_may_be_written(tmp_path, picture):
    composed = unicodedata.normalize("NFC", "Nävus/Bild ä.jpg")
    picture("nv", 0, composed)
    picture("mel", 0, "mel/A.JPG")
    picture("mel", 0, "deep/down/in/here/it/is/b.png")
    for name in (composed, unicodedata.normalize("NFD", composed), composed.replace("/", "\\"), "nävus/bild Ä.JPG"):
        assert at(tmp_path, name) == composed
    assert at(tmp_path, "mel\\A.JPG") == at(tmp_path, "Mel/a.jpg") == at(tmp_path, "a") == "mel/A.JPG"
    assert at(tmp_path, "b") == at(tmp_path, "b.png") == "deep/down/in/here/it/is/b.png"
    assert at(tmp_path, "C:\\mel\\A.JPG") == at(tmp_path, "../mel/A.JPG") == at(tmp_path, "/mel/A.JPG") == ""
    assert at(tmp_path, "C:\\mel\\A.JPG", images=tmp_path) == "mel/A.JPG"


def test_capitals_tell_two_files_apart_where_the_disk_does(tmp_path, picture):
    picture("nv", 0, "one/a.jpg")
    picture("mel", 1, "two/A.jpg")
    assert [at(tmp_path, name) for name in ("a.jpg", "A.jpg", "a", "A")] == ["one/a.jpg", "two/A.jpg"] * 2


def test_images_that_is_no_folder(two_classes, capsys):
    with pytest.raises(UsageError, match="no such folder"):
        read_dataset(moved_csv(two_classes), images=two_classes / "gone")
    (two_classes / "own.csv").unlink()
    with pytest.raises(UsageError, match="--images is for a table"):
        read_dataset(two_classes, images=two_classes)


def test_walk_ends_where_links_lead_in_circles(two_classes):
    (two_classes / "mel" / "again").symlink_to(two_classes)
    (two_classes / "nv" / "gone.jpg").symlink_to(two_classes / "nothing")
    (two_classes / ".hidden").mkdir()
    (two_classes / ".hidden" / "secret.jpg").write_bytes(b"")
    found = dict(pictures.walk(two_classes))
    assert len(found) == 10
    assert [path.rpartition("/")[2] for path, hidden in found.items() if hidden] == [".hidden"]


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1", "AVIF"),
        (b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2", ""),
        (b"BM, a text", ""),
        (b"", ""),
    ],
)
def test_files_without_suffix_are_known_by_their_beginning(tmp_path, start, kind):
    (tmp_path / "file").write_bytes(start)
    assert pictures.kind_of_file(tmp_path / "file") == kind
    assert pictures.is_picture(str(tmp_path / "file")) == bool(kind)


def test_a_run_remembers_where_its_pictures_lie(measured_run, two_classes, tmp_path, monkeypatch):
    from skin_edge.train import job

    told = []
    monkeypatch.setattr(job, "train", lambda settings, report: told.append(settings) or {})
    table, resumed = moved_csv(two_classes), tmp_path / "run"
    shutil.copytree(measured_run, resumed)
    with (resumed / "config.yaml").open("a") as file:
        file.write(f"limit:\nmixed_precision: false\nimages: {two_classes}\n")
    assert run(["train", str(table), "--out", str(tmp_path / "new"), "--images", str(two_classes)]) == 0
    assert run(["train", str(table), "--out", str(resumed), "--resume"]) == 0
    assert [settings.images for settings in told] == [two_classes, two_classes]
    assert [settings.resume for settings in told] == [False, True]
