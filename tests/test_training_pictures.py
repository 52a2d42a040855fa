"""What a model file says of the pictures it has learned from, and what is made of it when the file is measured."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skin_edge.benchmarks.stats import group_kinds
from skin_edge.convert import finish
from skin_edge.edge_runtime import training_pictures
from skin_edge.edge_runtime.cli import run
from skin_edge.train.runs import run_folder

from . import miniatures

CODES = ("mel", "nv", "bkl", "bcc")
QUICK = ["--num-runs", "1", "--warmup-runs", "0", "--cold-starts", "0", "--json"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """40 pictures in four class folders."""
    return miniatures.class_folders(tmp_path_factory.mktemp("seen") / "data", 10, CODES)


def named(paths):
    """(path, id) of each, the id as class folders give it."""
    return [(str(path), Path(path).stem) for path in paths]


def taught(model, target, train, val=()):
    """A copy of `model` whose contract has the hashes of these pictures."""
    found = training_pictures.described({"train": named(train), "val": named(val)})
    return miniatures.resealed(
        model, target, lambda contract: contract.setdefault("provenance", {}).update(training_pictures=found)
    )


def evaluated(model, data, capsys, *flags):
    assert run(["evaluate", str(model), str(data), "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_same_bytes_are_found_under_any_name_and_nothing_else(folder, tiny_int8, tmp_path, capsys):
    pictures = sorted(folder.rglob("*.png"))
    model = taught(tiny_int8, tmp_path / "model.tflite", pictures[:10], pictures[10:15])
    other = tmp_path / "other"
    for number, path in enumerate((*pictures[:4], *pictures[10:13], *pictures[20:])):
        (other / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, other / path.parent.name / f"renamed-{number}.png")
    results = evaluated(model, other, capsys)
    split = results["split"]
    assert split["seen_by_hash"]["train"] == {
        "pictures": 10, "hashes": 10, "found": 4, "by_chance": pytest.approx(27 * 10 / 2**32),
        "by_id": {"ids": 0, "found": 0, "by_chance": 0.0},
    }  # fmt: skip
    assert (split["seen_by_hash"]["val"]["found"], split["seen_by_hash"]["compared"]) == (3, 27)
    assert split["seen_by_hash"]["not_known"] == 20
    assert split["leaked_share_of_test"] == pytest.approx(4 / 27)
    assert split["share_that_chose_thresholds"] == pytest.approx(3 / 27)
    assert split["checked"] == {"pictures": True, "groups": False}
    assert run(["evaluate", str(model), str(other), "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    said = " ".join(shown.split())
    assert "14.8% of these images were in training" in said and "so all figures here are too good" in said
    assert (
        "11.1% of these pictures, or their lesions, chose the epoch and the thresholds, so the figures are too" in said
    )
    assert "a copy that was saved again has other bytes" in " ".join(shown.split())
    assert max(map(len, shown.splitlines()[:-3])) <= 80
    for name in ("report.html", "figures.md"):
        assert "saved again has other bytes" in (tmp_path / "out" / name).read_text()


def test_pictures_that_it_has_not_seen_are_none(folder, tiny_int8, tmp_path, capsys):
    pictures = sorted(folder.rglob("*.png"))
    model = taught(tiny_int8, tmp_path / "model.tflite", pictures[:1])
    (tmp_path / "one").mkdir()
    data = miniatures.class_folders(tmp_path / "new", 5, CODES)
    for number, path in enumerate(sorted(data.rglob("*.png"))):
        miniatures.picture(path.parent.name, 5000 + number).save(path)
    split = evaluated(model, data, capsys)["split"]
    assert split["leaked_share_of_test"] == 0 and split["seen_by_hash"]["train"]["found"] == 0


@pytest.mark.parametrize("change", [
    lambda contract: None,
    lambda contract: contract.update(provenance={"training_pictures": None}),
    lambda contract: contract.update(provenance={"training_pictures": {"hash": "of another version"}}),
    lambda contract: contract.update(provenance={"training_pictures": []}),
    lambda contract: contract.update(
        provenance={"training_pictures": {
            "hash": training_pictures.HASH,
            "train": {"pictures": "many", "hashes": "####"},
            "val": {"pictures": 0, "hashes": ""},
        }}
    ),
])  # fmt: skip
def test_what_a_file_does_not_say_is_not_known(change, folder, tiny_int8, tmp_path, capsys):
    model = miniatures.resealed(tiny_int8, tmp_path / "model.tflite", change)
    split = evaluated(model, folder, capsys)["split"]
    assert split["seen_by_hash"] is None and split["leaked_share_of_test"] is None
    assert split["share_that_chose_thresholds"] is None
    assert run(["info", str(model)]) == 0
    assert "not known (the file has no hashes" in " ".join(capsys.readouterr().out.split())
    assert run(["bench", str(model), "--data", str(folder), *QUICK]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["seen_in_training"] == {"model": None}


def test_bench_counts_them_too(folder, tiny_int8, tiny_float32, tmp_path, capsys):
    pictures = sorted(folder.rglob("*.png"))
    model = taught(tiny_int8, tmp_path / "model.tflite", pictures[:7], pictures[7:9])
    with (tmp_path / "data.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((path, path.parent.name) for path in pictures)])
    flags = ["--reference", str(tiny_float32), "--data", str(tmp_path / "data.csv"), *QUICK]
    outputs = ["--html", str(tmp_path / "b.html"), "--markdown", str(tmp_path / "b.md")]
    assert run(["bench", str(model), *flags, *outputs]) == 0
    seen = json.loads(capsys.readouterr().out)["accuracy"]["seen_in_training"]
    assert (seen["model"]["train"]["found"], seen["model"]["val"]["found"]) == (7, 2)
    assert seen["reference"] is None
    said = "7 of these images were in training of the model: its figures are too good"
    for name in ("b.html", "b.md"):
        assert said in (tmp_path / name).read_text()
    assert run(["bench", str(model), *flags[:-1]]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert said in shown and "2 of these images chose the thresholds of the model" in shown
    assert "Whether the reference has learned from any of these images is not known" in shown
    assert run(["bench", str(model), str(tiny_int8), "--data", str(tmp_path / "data.csv"), *QUICK[:-1]]) == 0
    assert "7 of these images were in training of the model" in " ".join(capsys.readouterr().out.split())


def test_the_hashes_are_those_of_the_files_and_more_than_a_limit_are_left_out(folder, monkeypatch):
    pictures = [str(path) for path in sorted(folder.rglob("*.png"))]
    field = training_pictures.described(
        {"train": named([*pictures[:5], "", "not there.png"]), "val": named(pictures[5:6])}
    )
    wanted = sorted(hashlib.sha256(Path(path).read_bytes()).digest()[:4] for path in pictures[:5])
    contract = {"provenance": {"training_pictures": field}}
    assert training_pictures.hashes_of(contract)["train"] == wanted
    assert field["train"]["pictures"] == 7 and training_pictures.count(field) == 6
    said = group_kinds.seen_before(
        {"reference": None, "seen_in_training": {"model": training_pictures.seen(contract, [(b"\0" * 32, "")])}}
    )
    assert any("lacks the hashes of 2 pictures" in sentence for sentence in said)
    monkeypatch.setattr(training_pictures, "MOST", 5)
    assert training_pictures.described({"train": named(pictures[:6]), "val": []}) is None


def test_what_chance_explains_is_not_called_seen():
    """Of 400,000 pictures and 30,000 hashes 2.8 are expected to be found where none was seen."""

    def part(found, by_chance):
        return {"pictures": 1, "hashes": 1, "found": found, "by_chance": by_chance}

    def is_seen(found, by_chance):
        by_id = {"ids": 1, "found": found, "by_chance": by_chance}
        told = training_pictures.seen_in(part(found, by_chance) | {"by_id": by_id})
        assert told[0] == told[1] and told[0] in (0, found), "one rule for both"
        return told[0] > 0

    assert is_seen(1, 0.003) and not is_seen(0, 0.003)
    assert not is_seen(5, 2.8) and is_seen(9, 2.8)
    rng = np.random.default_rng(1)
    assert np.mean([is_seen(n, 2.8) for n in rng.poisson(2.8, 10_000)]) < 0.01
    seen = {"compared": 400_000, "train": part(3, 2.8), "val": part(0, 0.0)}
    said = group_kinds.seen_before({"reference": None, "seen_in_training": {"model": seen}})
    assert said[0].startswith("None of these images was in training") and "by chance" in said[1]


def test_a_member_of_an_hdf5_file_is_hashed_as_the_file_it_was(folder, tmp_path):
    h5py = pytest.importorskip("h5py")
    picture = next(iter(sorted(folder.rglob("*.png"))))
    with h5py.File(tmp_path / "all.hdf5", "w") as file:
        file["one"] = np.void(picture.read_bytes())
    assert training_pictures.digest(f"{tmp_path / 'all.hdf5'}::one") == training_pictures.digest(picture) != b""
    assert training_pictures.digest(f"{tmp_path / 'all.hdf5'}::other") == b""


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """20 pictures in four class folders: half with public ids, half with names of people."""
    data = miniatures.class_folders(tmp_path_factory.mktemp("public") / "data", 5, CODES)
    for number, path in enumerate(sorted(data.rglob("*.png"))):
        path.rename(path.with_name(f"ISIC_{number:07d}.png" if number % 2 else f"anna-{number}.png"))
    return data


def test_a_copy_of_a_public_picture_that_was_saved_anew_is_found_by_its_id(public, tiny_int8, tmp_path, capsys):
    """10 of 20 pictures are of training, 5 with public ids; 3 of these and 2 of the others are saved again."""
    pictures = sorted(public.rglob("*.png"))
    model = taught(tiny_int8, tmp_path / "model.tflite", pictures[:10])
    other = shutil.copytree(public, tmp_path / "other")
    for position in (0, 1, 2, 3, 5):  # 0 and 2 have no public id
        path = other / pictures[position].relative_to(public)
        with Image.open(path) as opened:
            opened.resize((30, 22)).save(path.with_name(f"{path.stem}_small.jpg"))
        path.unlink()
    split = evaluated(model, other, capsys)["split"]
    by_hash = split["seen_by_hash"]
    assert by_hash["train"]["by_id"] == {"ids": 5, "found": 3, "by_chance": pytest.approx(8 * 5 / 2**32)}
    assert (by_hash["train"]["found"], by_hash["not_known"]) == (5, 12), "some of training have no public id"
    assert split["leaked_share_of_test"] == pytest.approx(8 / 20)
    assert run(["evaluate", str(model), str(other)]) == 0
    assert "recognised by the bytes of the files (5) and by public ids (3)" in " ".join(capsys.readouterr().out.split())
    assert run(["bench", str(model), "--data", str(other), *QUICK[:-1]]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "8 of these images were in training of the model (5 by the bytes of the files, 3 by public ids)" in shown
    assert "Of 12 of them it is not known" in shown


def test_where_all_of_training_is_public_a_picture_with_another_public_id_is_known_to_be_new(public):
    pictures = [path for path in sorted(public.rglob("*.png")) if path.stem.startswith("ISIC")]
    found = training_pictures.described({"train": named(pictures[:6]), "val": named(pictures[6:8])})
    contract = {"provenance": {"training_pictures": found}}
    seen = training_pictures.seen(contract, [(bytes([n] * 32), f"ISIC_{n:07d}") for n in (1, 200)] + [(b"a" * 32, "")])
    assert seen["train"]["by_id"]["found"] == 1 and seen["not_known"] == 1, "only the one without an id"
    assert group_kinds.seen_before({"reference": None, "seen_in_training": {"model": seen}})[:2] == [
        "1 of these images were in training of the model (0 by the bytes of the files, 1 by public ids): its figures "
        "are too good",
        "Of 1 of them it is not known: a copy that was saved again has other bytes",
    ]


def test_of_ids_that_are_not_public_nothing_is_stored(public):
    pictures = sorted(public.rglob("*.png"))
    found = training_pictures.described({"train": named(pictures), "val": []})
    stored = training_pictures.ids_of({"provenance": {"training_pictures": found}})
    ids = [path.stem for path in pictures if path.stem.startswith("ISIC")]
    assert stored == {"train": sorted(hashlib.sha256(one.encode()).digest()[:4] for one in ids), "val": []}
    del found["id"]
    older = {"provenance": {"training_pictures": found}}
    assert training_pictures.seen(older, [(b"a" * 32, "ISIC_0000001")])["train"]["by_id"] is None


@pytest.mark.parametrize(("names", "public"), [
    (["ISIC_0024306"], "ISIC_0024306"),
    (["", "data/ISIC_0024306.jpg"], "ISIC_0024306"),
    (["data/isic_0024306_downsampled.JPG"], "ISIC_0024306"),
    (["train-image.hdf5::ISIC_0015670"], "ISIC_0015670"),
    (["anna", "of/ISIC_0024306-small.png"], "ISIC_0024306"),
    (["ISIC_2019_0024306.jpg"], ""),
    (["ISIC_0024306/anna.jpg"], ""),
    (["ISIC_00243061.jpg"], ""),
    (["PAT_8_15_820.png", "xISIC_0024306.jpg", "ISIC_anna.jpg"], ""),
    (["ISIC_٠٠٢٤٣٠٦.jpg"], ""),
])  # fmt: skip
def test_what_a_public_id_is(names, public):
    assert training_pictures.public_id(*names) == public


def test_info_counts_them(folder, tiny_int8, tmp_path, capsys):
    pictures = sorted(folder.rglob("*.png"))
    model = taught(tiny_int8, tmp_path / "model.tflite", pictures[:30], pictures[30:])
    assert run(["info", str(model)]) == 0
    assert "training pictures: 30 hashes, and 10 of validation" in " ".join(capsys.readouterr().out.split())


def test_nothing_is_read_where_no_file_says_what_it_has_seen(monkeypatch):
    monkeypatch.setattr(training_pictures, "digest", lambda path: pytest.fail(f"{path} is read"))
    assert training_pictures.marks([{}, {"provenance": {}}], [("a.png", "ISIC_0024306")]) == []


def test_a_picture_that_an_earlier_run_has_seen_too_counts_once(folder, monkeypatch):
    """A run that begins with another one, or learns from it, mostly has the same pictures."""
    pictures = named(sorted(folder.rglob("*.png"))[:6])
    own = pd.DataFrame(pictures, columns=["path", "image_id"]).assign(split=["train"] * 4 + ["val", "test"])
    monkeypatch.setattr(run_folder, "learned_from", lambda run: pd.concat([own, own.iloc[:5]]))
    said: list[str] = []
    found = finish._training_pictures(None, said.append)
    assert [found[part]["pictures"] for part in training_pictures.PARTS] == [4, 1]
    assert training_pictures.count(found) == 5 and not said
