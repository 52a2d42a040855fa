"""Further pictures of a data set's images (--also): who they are, where they go, and that nothing else changes."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image

from skin_edge.benchmarks.inputs.cases import CARRIED, read_cases
from skin_edge.benchmarks.stats.subgroups import ATTRIBUTES
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError
from skin_edge.edge_runtime.model_file import read_model_file
from skin_edge.train import TrainRequest, api, cross_validation
from skin_edge.train.data import duplicates, further, splits
from skin_edge.train.data.inventory import unused
from skin_edge.train.data.layouts import read_dataset
from skin_edge.train.data.tables import EXTRA_COLUMNS
from skin_edge.train.runs import run_folder

from . import layout_miniatures, miniatures
from .miniatures import SMALL, one_line, resized


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return miniatures.ham10000(tmp_path_factory.mktemp("further") / "ham")


@pytest.fixture(scope="module")
def crops(data):
    """Of every image but each third, in two folders, and one of a stranger."""
    folder = data.parent / "deep" / "crops"
    pictures = sorted(data.rglob("*.jpg"))
    resized([path for i, path in enumerate(pictures) if i % 3 == 1], folder / "a")
    resized([path for i, path in enumerate(pictures) if i % 3 == 2], folder / "b")
    miniatures.picture("nv", 999).save(folder / "b" / "ISIC_9999999.jpg")
    return folder


@pytest.fixture(scope="module")
def large(data):
    """Of ten images, as PNG."""
    return resized(sorted(data.rglob("*.jpg"))[:10], data.parent / "large", (120, 90), ".png")


@pytest.fixture
def plan(data, tmp_path):
    """The plan of a training on `data`, and the lines that it reports."""

    def made(*also, **said):
        lines = []
        request = TrainRequest(data, tmp_path / "run", "quickstart", also=also, **said)
        return api.plan(request, lines.append), lines

    return made


def test_each_picture_is_a_row_behind_the_data_sets_own_with_all_that_its_image_says(plan, data, crops, large):
    told, lines = plan(crops, large)
    frame, alone = told.frame, plan()[0].frame
    n = len(alone)
    assert f"--also {crops}: further pictures of 42 of 63 images; not used: 1 other picture there" in lines
    assert f"--also {large}: further pictures of 10 of 63 images" in lines
    columns = ["path", "image_id", "group", "label", "split", *EXTRA_COLUMNS[:-1]]
    pd.testing.assert_frame_equal(frame[columns][:n], alone[columns])
    assert len(frame) == n + 42 + 10 and frame["image_id"].is_unique
    assert list(frame["picture_set"]) == ["own"] * n + ["crops"] * 42 + ["large"] * 10
    assert not (alone["picture_set"] != "").any()
    own = alone.set_index("image_id")
    for name, folder in (("crops", crops), ("large", large)):
        rows = frame.loc[frame["picture_set"] == name]
        images = list(rows["image_id"].str.removesuffix(f"@{name}"))
        assert images == [one for one in alone["image_id"] if one in images], "in the order of the data set"
        assert list(further.image_ids(rows)) == images
        for column in ("group", "label", "split", *EXTRA_COLUMNS[:-1], "named_group"):
            assert list(rows[column].astype(str)) == list(own.loc[images, column].astype(str)), column
        assert all(path.startswith(f"{folder}/") for path in rows["path"])
        assert [path.rpartition("/")[2].rpartition(".")[0] for path in rows["path"]] == images


@pytest.mark.parametrize(
    "said",
    [
        {"split": "lesion"}, {"split": "random"}, {"limit": 35}, {"min_images": 9}, {"drop_classes": ("df",)},
        {"task": "malignant"}, {"near_duplicates": True}, {"seed": 7},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_decided_of_images_is_decided_as_without_further_pictures(plan, crops, large, said):
    with_them, without = plan(crops, large, **said)[0].frame, plan(**said)[0].frame
    part_of = dict(zip(without["image_id"], without["split"], strict=True))
    assert list(with_them["image_id"][: len(without)]) == list(without["image_id"])
    assert list(with_them["split"]) == list(further.image_ids(with_them).map(part_of))
    assert len(with_them) > len(without)


def test_rules_leave_an_image_out_with_its_further_pictures(data, crops, tmp_path):
    rows = pd.read_csv(data / "HAM10000_metadata.csv")
    rows.loc[rows.index % 4 == 1, "localization"] = "unknown"
    shutil.copytree(data, tmp_path / "ham")
    rows.to_csv(tmp_path / "ham" / "HAM10000_metadata.csv", index=False)
    request = TrainRequest(tmp_path / "ham", tmp_path / "run", "quickstart", also=[crops], clean=["unknown-site"])
    frame = api.plan(request, lambda line: None).frame
    gone = set(rows["image_id"][rows["localization"] == "unknown"])
    assert not gone & set(further.image_ids(frame)) and (frame["picture_set"] == "crops").any()


def test_an_official_part_takes_the_further_pictures_of_its_images(tmp_path):
    data = miniatures.class_folders(tmp_path / "data" / "train", 12)
    miniatures.class_folders(tmp_path / "data" / "test", 3)
    for part in ("train", "test"):
        for code in ("mel", "nv"):
            there = sorted((tmp_path / "data" / part / code).iterdir())
            resized(there, tmp_path / "small" / part / code, suffix=".jpg")
    request = TrainRequest(data.parent, tmp_path / "run", "quickstart", also=[tmp_path / "small"])
    frame = api.plan(request, lambda line: None).frame
    rows = frame.loc[frame["picture_set"] == "small"]
    assert len(rows) == 30 and (rows["split"] == "test").sum() == 6
    for image_id, path, label in zip(rows["image_id"], rows["path"], rows["label"], strict=True):
        assert path == str(tmp_path / "small" / image_id.replace(".png@small", ".jpg")) and f"/{label}/" in path


def test_near_duplicates_are_looked_for_among_images_alone(plan, crops, monkeypatch):
    seen = []
    whole = duplicates.fingerprints
    monkeypatch.setattr(duplicates, "fingerprints", lambda paths, say: seen.append(len(paths)) or whole(paths, say))
    with_them = plan(crops, near_duplicates=True)[0]
    without = plan(near_duplicates=True)[0]
    assert seen == [63, 63] and with_them.near_duplicates == without.near_duplicates
    assert with_them.leakage["leaked_share_of_test"] == 0


@pytest.mark.parametrize("by", ["lesion", "random"])
def test_a_fold_holds_an_image_with_its_further_pictures(plan, crops, by):
    frame, alone = plan(crops, folds=3, split=by)[0].frame, plan(folds=3, split=by)[0].frame
    part_of = dict(zip(alone["image_id"], alone["split"], strict=True))
    assert list(frame["split"]) == list(further.image_ids(frame).map(part_of))


def test_a_fold_of_an_image_whose_own_picture_is_gone(plan, crops):
    frame = plan(crops)[0].frame
    gone = further.image_ids(frame.loc[frame["picture_set"] == "crops"]).iloc[0]
    left = frame.loc[frame["image_id"] != gone]
    parts = further.parts_of(left, lambda rows: splits.folds(rows, 2, 1))
    assert all(part.isin(splits.PARTS).all() for part in parts)


def test_a_split_file_that_names_images_alone(plan, crops, tmp_path):
    alone = plan(seed=5)[0].frame
    alone[["image_id", "split"]].to_csv(tmp_path / "split.csv", index=False)
    told, lines = plan(crops, split=str(tmp_path / "split.csv"))
    assert list(told.frame["split"][:63]) == list(alone["split"]) and len(told.frame) == 105
    assert not [line for line in lines if line.startswith("left out")]


def test_a_split_file_that_names_further_pictures_says_the_parts_of_their_images(plan, crops, large, tmp_path):
    frame = plan(crops, large, seed=5)[0].frame
    file = tmp_path / "split.csv"
    frame[["image_id", "split"]].to_csv(file, index=False)
    again, lines = plan(crops, large, split=str(file))
    assert list(again.frame["split"]) == list(frame["split"]) and not any("left out" in line for line in lines)
    without, lines = plan(split=str(file))
    assert list(without.frame["split"]) == list(frame["split"][:63])
    assert any(line.startswith("left out: 52 further pictures that") and "(--also)" in line for line in lines)
    # An image of which only the further picture is named, say because its own could not be read.
    frame.loc[frame["image_id"] != "ISIC_0000001", ["image_id", "split"]].to_csv(file, index=False)
    parts = splits.read_split(file, without.frame)
    assert parts[1] == frame.set_index("image_id")["split"]["ISIC_0000001@crops"]
    two = frame[["image_id", "split"]].copy()
    two.loc[63, "split"] = "val" if two["split"][63] != "val" else "test"
    two.to_csv(file, index=False)
    with pytest.raises(DataError, match=f"{two['image_id'][63]} is in .* and another row of the same image in"):
        plan(crops, split=str(file))
    two.loc[63, "image_id"] = "ISIC_7777777@crops"
    two.to_csv(file, index=False)
    with pytest.raises(DataError, match="names 1 images that are not in the data, the first ISIC_7777777@crops"):
        plan(crops, split=str(file))


def wrong(name, data, crops, tmp_path):
    """Folders for --also, each with something wrong."""
    if name == "strangers":
        miniatures.class_folders(tmp_path / "other")
        return [tmp_path / "other"]
    if name == "own":
        return [data / "HAM10000_images_part_1"]
    if name == "linked":
        (tmp_path / "linked").symlink_to(crops)
        return [crops, tmp_path / "linked"]
    if name == "one name":
        return [crops, shutil.copytree(crops, tmp_path / "Crops")]
    if name == "ambiguous":
        resized([next(data.rglob("*0000001.jpg"))], tmp_path / "twice" / "a")
        resized([next(data.rglob("*0000001.jpg"))], tmp_path / "twice" / "b", (20, 15))
        return [tmp_path / "twice"]
    if name == "called own":
        return [shutil.copytree(crops, tmp_path / "own")]
    (tmp_path / "empty").mkdir()
    return [tmp_path / {"empty": "empty", "absent": "absent"}[name]]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("strangers", "other: none of its 12 pictures is called as an image of .*, such as ISIC_0000000"),
        ("empty", "empty: none of its 0 pictures is called"),
        ("absent", "absent: no such folder"),
        ("own", "part_1: all its pictures of .* are those that are there already: name a folder of other pictures"),
        ("linked", "linked: all its pictures of .* are those that are there already"),
        ("one name", "Crops: reports call those of .* 'crops': rename the folder"),
        ("called own", "own: reports call the data set's own pictures 'own': rename"),
        ("ambiguous", "'ISIC_0000001' is ambiguous: .* both fit; name one of the folders below it"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(data, crops, tmp_path, capsys, name, says):
    also = [word for folder in wrong(name, data, crops, tmp_path) for word in ("--also", str(folder))]
    for line in (["train", str(data), "--out", str(tmp_path / "run"), *also, "--dry-run"], ["data", str(data), *also]):
        assert run(line) == (2 if name in ("absent", "one name", "called own") else 1)
        assert re.search(says, one_line(capsys))
    assert not (tmp_path / "run").exists()


def test_copies_among_other_pictures_are_left_out_and_counted(data, tmp_path):
    pictures = sorted(data.rglob("*.jpg"))
    folder = resized(pictures[:5], tmp_path / "small")
    for path in pictures[5:8]:
        shutil.copy(path, folder)
    found = read_dataset(data, also=[folder])
    assert len(found.further[0].paths) == 5
    assert found.notes[-1].endswith("5 of 63 images; 3 copies of what is there already left out")


def test_an_id_that_is_another_images(tmp_path, picture):
    for name in ("a.jpg", "a.jpg@small"):
        picture("mel", name=f"data/{name}")
    resized([tmp_path / "data" / "a.jpg"], tmp_path / "small")
    (tmp_path / "data" / "own.csv").write_text("path,label\na.jpg,mel\na.jpg@small,mel\n")
    with pytest.raises(DataError, match=r"a.jpg@small is an image of .*: rename the folder"):
        read_dataset(tmp_path / "data" / "own.csv", also=[tmp_path / "small"])


def test_a_name_that_several_images_have_is_told_by_its_folder_or_not_at_all(tmp_path):
    data = miniatures.class_folders(tmp_path / "data")
    flat = resized([data / "mel" / "0.png"], tmp_path / "flat")
    with pytest.raises(DataError, match="none of its 1 picture is called"):
        read_dataset(data, also=[flat])
    resized([data / "nv" / "0.png"], tmp_path / "told" / "x" / "nv")
    assert list(read_dataset(data, also=[tmp_path / "told"]).further[0].paths) == ["nv/0.png"]


def test_a_picture_is_of_one_image_alone(tmp_path, picture):
    """Else it could train and test: images that differ in their suffix alone are two."""
    for suffix in (".jpg", ".png"):
        picture("mel", name=f"data/mel/1{suffix}")
        picture("nv", name=f"data/nv/2{suffix}")
    resized([tmp_path / "data" / "mel" / "1.jpg"], tmp_path / "both" / "mel")
    Image.open(tmp_path / "data" / "mel" / "1.png").resize((40, 30)).save(tmp_path / "both" / "mel" / "1.png")
    found = read_dataset(tmp_path / "data", also=[tmp_path / "both"]).further[0].paths
    assert {one: Path(path).name for one, path in found.items()} == {"mel/1.jpg": "1.jpg", "mel/1.png": "1.png"}
    (tmp_path / "both" / "mel" / "1.png").unlink()
    with pytest.raises(DataError, match=r"mel/1.jpg is a picture of both mel/1.jpg and mel/1.png by its name: give"):
        read_dataset(tmp_path / "data", also=[tmp_path / "both"])


def test_a_folder_above_has_its_own_name(tmp_path, monkeypatch):
    (tmp_path / "crops" / "a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "crops" / "a")
    assert further.names([".."]) == ["crops"] and further.names(["."]) == ["a"]


def test_full_size_photographs_of_downsampled_images(tmp_path):
    data = layout_miniatures.isic2019(tmp_path / "ISIC2019")
    name = next(data.rglob("*_downsampled.jpg"))
    (tmp_path / "large").mkdir()
    Image.open(name).resize((80, 80)).save(tmp_path / "large" / name.name.replace("_downsampled", ""))
    assert list(read_dataset(data, also=[tmp_path / "large"]).further[0].paths) == [name.stem]


def test_a_folder_within_the_data_is_not_among_its_unused_files(tmp_path):
    data = miniatures.ham10000(tmp_path / "ham", lesions=2)
    pictures = sorted(data.rglob("*.jpg"))
    moved = data / "images"
    moved.mkdir()
    for path in pictures:
        path.rename(moved / path.name)
    resized(sorted(moved.iterdir()), data / "small")
    assert not unused(read_dataset(data, images=moved, also=[data / "small"]))


def test_the_data_report_counts_images_and_looks_at_every_picture(data, crops, tmp_path, capsys):
    (tmp_path / "crops").mkdir()
    for path in [*crops.rglob("*.jpg")]:
        shutil.copy(path, tmp_path / "crops")
    (tmp_path / "crops" / "ISIC_0000001.jpg").write_bytes(b"no picture")
    assert run(["data", str(data), "--also", str(tmp_path / "crops"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert run(["data", str(data), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)
    assert told["further_pictures"] == {"crops": 42} and alone["further_pictures"] == {}
    assert told["sizes"] == {"60x45": 63, "40x30": 41} and list(told["unreadable"]) == ["ISIC_0000001@crops"]
    same = ("images", "classes", "groups", "images_per_group", "default_split", "near_duplicates_across_groups")
    assert {name: told[name] for name in same} == {name: alone[name] for name in same}
    assert run(["data", str(data), "--also", str(crops)]) == 0
    assert re.search(r"further pictures +crops 42\n", capsys.readouterr().out)


def test_tune_passes_the_folders_on(data, crops, large, tmp_path, monkeypatch):
    from skin_edge.train import tune
    from skin_edge.train.reports import tune_results

    said = []

    def searched(settings, train_line, report):
        said.append((settings.job.also, train_line({})))
        return {}

    monkeypatch.setattr(tune, "tune", searched)
    monkeypatch.setattr(tune_results, "text", lambda result, out: "")
    line = [str(data), "--out", str(tmp_path), "--also", str(crops), "--also", str(large), "--clean", "none"]
    assert run(["tune", *line]) == 0
    assert said[0][0] == (crops, large)
    assert f"--also {crops} --also {large} --clean none" in said[0][1]


def test_what_reports_group_by_is_read_of_a_csv():
    assert set(ATTRIBUTES) <= set(CARRIED) and "picture_set" in EXTRA_COLUMNS


@pytest.fixture(scope="module")
def trained(data, crops, tmp_path_factory):
    """A run of two epochs on `data` and its crops, whose names are the same when it is read again."""
    out = tmp_path_factory.mktemp("runs") / "run"
    assert run(["train", str(data), "--also", str(crops), "--out", str(out), *SMALL, "--epochs", "2"]) == 0
    return out


def test_a_run_names_its_further_pictures_and_reports_them_by_themselves(trained, data, crops):
    rows = pd.read_csv(trained / "split.csv", keep_default_na=False)
    assert len(rows) == 105 and list(rows["picture_set"].unique()) == ["own", "crops"]
    assert rows["path"].iloc[-1].startswith("../deep/crops/")
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert (trained / config["also"][0]).resolve() == crops and config["data"]["images"] == 105
    groups = {row["group"]: row["n"] for row in json.loads((trained / "metrics.json").read_text())["test"][
        "subgroups"]["picture_set"]}  # fmt: skip
    counts = rows.loc[rows["split"] == "test", "picture_set"].value_counts().to_dict()
    assert groups == counts
    assert "By picture set" in (trained / "report.html").read_text()
    paths = list(run_folder.read(trained).split["path"])
    assert all(Path(one).is_file() for one in paths)
    both = run_folder.read(trained, images=data.parent).split["path"]
    assert [Path(one).resolve() for one in both] == [Path(one).resolve() for one in paths]
    own = run_folder.read(trained, images=data).split["path"]
    assert list(own[:63]) == list(both[:63]) and not any(own[63:]), "never another picture of the same name"


def test_a_run_is_converted_measured_and_evaluated(trained, tmp_path, capsys):
    int8 = tmp_path / "int8"
    assert run(["convert", str(trained), "--out", str(int8), "--int8", "--ptq"]) in (0, 1)
    model = int8 / "model_int8.tflite"
    rows = pd.read_csv(trained / "split.csv", keep_default_na=False)
    representative = pd.read_csv(int8 / "representative.csv")["image_id"]
    assert set(representative) <= set(rows.loc[rows["split"] == "train", "image_id"])
    counts = rows.loc[rows["split"] == "test", "picture_set"].value_counts().to_dict()
    contract = read_model_file(model).contract
    learned = contract["provenance"]["training_pictures"]
    assert [learned[part]["pictures"] for part in ("train", "val")] == [
        (rows["split"] == part).sum() for part in ("train", "val")
    ]
    assert contract["thresholds"]
    assert set(contract["provenance"]["data"]) == {"images", "fingerprint_sha256", "layout"}, "no path of this machine"
    small = tmp_path / "small"
    run(["convert", str(trained), "--out", str(small), "--int8", "--ptq", "--no-training-pictures", "--no-assessment"])
    assert "training_pictures" not in read_model_file(small / "model_int8.tflite").contract["provenance"]
    capsys.readouterr()
    bench = ["bench", str(model), "--data", str(trained / "split.csv"), "--num-runs", "2", "--json"]
    assert run(bench) in (0, 1)
    measured = json.loads(capsys.readouterr().out)
    assert measured["accuracy"]["model"]["n"] == sum(counts.values())
    cases = read_cases(trained / "split.csv", known_labels=list(miniatures.COLOURS))
    assert Counter(case.metadata["picture_set"] for case in cases) == counts
    for one in (trained, model):
        out = tmp_path / f"on-{one.name}"
        assert run(["evaluate", str(one), str(trained / "split.csv"), "--out", str(out)]) == 0
        results = json.loads((out / "metrics.json").read_text())
        assert {row["group"]: row["n"] for row in results["test"]["subgroups"]["picture_set"]} == counts


def test_a_resumed_run_finds_its_further_pictures_where_they_are_now(trained, data, crops, tmp_path, capsys):
    for path in ("ham", "deep"):
        shutil.copytree(data.parent / path, tmp_path / path)
    out, moved = tmp_path / "elsewhere" / "run", tmp_path / "far" / "crops"
    shutil.copytree(trained, out)
    moved.parent.mkdir()
    (tmp_path / "deep" / "crops").rename(moved)
    (out / "metrics.json").unlink()
    line = ["train", str(tmp_path / "ham"), "--out", str(out), "--resume", *SMALL, "--epochs", "2"]
    resized(sorted(moved.rglob("*.jpg"))[:1], tmp_path / "deep" / "others", (20, 15))
    assert run([*line, "--also", str(tmp_path / "deep" / "others")]) == 2
    assert "was started with other settings (also)" in one_line(capsys)
    assert run([*line, "--also", str(moved)]) == 0
    before, after = (pd.read_csv(one / "predictions.csv") for one in (trained, out))
    pd.testing.assert_frame_equal(before.drop(columns="path"), after.drop(columns="path"))
    assert after["path"].str.startswith("../far/crops/").sum() == (after["picture_set"] == "crops").sum() > 0


def test_the_run_is_repeated_by_its_config(trained, tmp_path):
    request = TrainRequest(None, tmp_path / "again", config=trained / "config.yaml")
    frame = api.plan(request, lambda line: None).frame
    before = pd.read_csv(trained / "split.csv", keep_default_na=False)
    assert list(frame["image_id"]) == list(before["image_id"]) and list(frame["split"]) == list(before["split"])


def test_a_cross_validation_tests_every_picture_once(data, crops, tmp_path):
    out = tmp_path / "cv"
    line = ["train", str(data), "--out", str(out), *SMALL]
    assert run([*line, "--also", str(crops), "--folds", "2", "--epochs", "1"]) == 0
    rows = pd.read_csv(out / "predictions.csv")
    assert len(rows) == 105 and rows["image_id"].is_unique
    folds = cross_validation.read(out)[1]
    images = folds["image_id"].str.removesuffix("@crops")
    assert len(set(zip(images, folds["fold"], strict=True))) == 63
