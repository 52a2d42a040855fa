"""`skin-edge data`: duplicates, rules, and the counts of real data."""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageEnhance

from skin_edge.benchmarks.report import terminal
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UnknownNameError, UsageError
from skin_edge.train import prepare
from skin_edge.train.data import duplicates, splits
from skin_edge.train.data.clean import clean
from skin_edge.train.data.inspection import document
from skin_edge.train.data.layouts import read_dataset
from skin_edge.train.data.synthetic import draw_dataset

from . import layout_miniatures, miniatures
from .miniatures import one_line


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """42 drawn lesions, and copies of one picture that people make."""
    folder = draw_dataset(tmp_path_factory.mktemp("drawn") / "data", lesions_per_class=6)
    paths = sorted(folder.rglob("*.jpg"))
    first = Image.open(paths[0])
    buffer = io.BytesIO()
    first.save(buffer, "JPEG", quality=60)
    copies = [Image.open(buffer), first.resize((300, 225)), ImageEnhance.Brightness(first).enhance(1.15)]
    for number, copy in enumerate(copies):
        copy.save(folder.parent / f"copy{number}.png")
    return [str(path) for path in paths], [str(folder.parent / f"copy{number}.png") for number in range(3)]


def test_copies_are_found_and_different_pictures_are_not_joined(drawn):
    paths, copies = drawn
    every = [*paths, *copies]
    prints = duplicates.fingerprints(every)
    pairs = {(i, j) for i, j, _ in duplicates.near_pairs(prints, every)}
    originals = len(paths)
    assert {(0, originals + k) for k in range(3)} <= pairs
    assert {pair for pair in pairs if pair[1] < originals} == set()


def test_the_hash_neighbours_are_those_of_a_comparison_of_all_pairs():
    generator = np.random.default_rng(0)
    centres = generator.integers(0, 2**63, 40, dtype=np.uint64)
    hashes = []
    for centre in centres.tolist():
        for _ in range(10):
            for bit in generator.choice(64, generator.integers(0, 7), replace=False).tolist():
                centre ^= 1 << bit
            hashes.append(centre)
    found = [
        tuple(pair) for block in duplicates.hash_neighbours(np.array(hashes, np.uint64)) for pair in block.tolist()
    ]
    by_hand = {
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if bin(hashes[i] ^ hashes[j]).count("1") <= 8
    }
    assert len(found) == len(set(found))
    assert set(found) == by_hand
    assert len(by_hand) > 300


def test_a_union_goes_by_its_smallest_group():
    groups = ["d", "c", "b", "a", "e", "b"]
    assert duplicates.connected(groups, [(0, 1), (1, 2)]) == ["b", "b", "b", "a", "e", "b"]
    assert duplicates.connected(groups, [(1, 2), (0, 1)]) == ["b", "b", "b", "a", "e", "b"]
    assert duplicates.connected(groups, []) == groups


def test_rules_drop_what_they_name_and_unknown_ones_list_the_known():
    frame = pd.DataFrame(
        {
            "age": [0.0, np.nan, 50, 50, 50],
            "sex": ["male", "male", "unknown", "", "female"],
            "site": ["back", "back", "back", "unknown", "back"],
        }
    )
    assert [clean(frame, [rule])[1][rule] for rule in ("age-zero", "age-blank", "unknown-sex", "unknown-site")] == [
        1, 1, 2, 1,
    ]  # fmt: skip
    kept, dropped = clean(frame, ["age-zero", "published", "age-zero"])
    assert dropped == {"age-zero": 1, "published": 2}
    assert len(kept) == 2
    with pytest.raises(UnknownNameError, match="known: age-zero, age-blank"):
        clean(frame, ["age"])
    with pytest.raises(DataError, match=r"needs sex.*--clean none"):
        clean(frame[["age"]], ["unknown-sex"])
    kept, dropped = clean(frame[["age"]], ["none"])
    assert len(kept) == len(frame) and dropped == {"none": 0}
    with pytest.raises(UsageError, match="give it alone"):
        clean(frame, ["none", "age-zero"])


def test_the_command_names_what_is_missing_or_damaged(tmp_path, capsys):
    folder = draw_dataset(tmp_path / "data", lesions_per_class=4)
    images = sorted(folder.rglob("*.jpg"))
    images[0].unlink()
    images[1].write_bytes(images[1].read_bytes()[:300])
    images[3].write_bytes(images[2].read_bytes())
    capsys.readouterr()
    assert run(["data", str(folder), "--out", str(tmp_path / "report"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found["unreadable"]) == {images[0].stem, images[1].stem}
    assert found["same_file"] == [[images[2].stem, images[3].stem]] == found["same_pixels"]
    assert json.loads((tmp_path / "report" / "data.json").read_text()) == found
    assert run(["data", str(folder)]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
    assert run(["data", str(folder), "--clean", "age"]) == 2
    assert "known: age-zero" in one_line(capsys)


def test_pictures_with_one_hash_are_connected_without_comparing_all_with_all():
    generator = np.random.default_rng(1)
    n = 30_000
    hashes, grey = generator.integers(0, 2**63, n, dtype=np.uint64), np.zeros((n, 96, 96), np.uint8)
    hashes[:2000] = 0  # blank pictures
    same, one, other = np.arange(2000, 4000), np.arange(4000, 4050), np.arange(4050, 4100)
    hashes[same], grey[same] = 2**62 + 5, generator.integers(0, 256, (96, 96))
    grey[one] = generator.integers(0, 256, (50, 96, 96))
    grey[other] = grey[one]
    hashes[other] = hashes[one] ^ np.uint64(0b11000011 << 20 | 0b1111)  # eight bits
    prints = duplicates.Fingerprints(hashes, grey, [], [], [], [], {})
    groups = [f"group{i}" for i in range(n)]
    started = time.monotonic()
    pairs = [(i, j) for i, j, _ in duplicates.near_pairs(prints, groups)]
    assert time.monotonic() - started < 60  # all with all are four million pairs, an hour
    together = pd.Series(duplicates.connected(groups, pairs))
    assert together[:2000].is_unique
    assert set(together[same]) == {"group2000"}
    assert (together[one].to_numpy() == together[other].to_numpy()).all()
    assert len(pairs) == 1999 + 50


def test_the_contact_sheets_show_upright_pictures_and_nothing_else(tmp_path, capsys):
    folder = draw_dataset(tmp_path / "data", lesions_per_class=3)
    images = sorted(folder.rglob("*.jpg"))
    first = Image.open(images[0])
    first.rotate(90, expand=True).save(images[0], exif=_turned(6))
    Image.open(images[0]).save(images[-1], quality=80, exif=_turned(6))  # another lesion's: a near-duplicate
    report = tmp_path / "report"
    assert run(["data", str(folder), "--out", str(report)]) == 0
    codes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    assert {path.name for path in report.glob("*.png")} == {*(f"class-{c}.png" for c in codes), "near-duplicates.png"}
    for path in report.glob("*.png"):
        with Image.open(path) as opened:
            assert opened.format == "PNG" and not opened.getexif() and not opened.text
            opened.load()
    cell = np.asarray(Image.open(report / "class-akiec.png").convert("RGB"), float)[:160, :200]
    upright = np.asarray(first.convert("RGB").resize((196, 147)), float)
    assert np.abs(cell[6:153, 2:198] - upright).mean() < 4
    capsys.readouterr()
    again = tmp_path / "again"
    assert run(["data", str(folder), "--out", str(again), "--no-near-duplicates"]) == 0
    assert "near-duplicates not looked for" in " ".join(capsys.readouterr().out.split())
    assert (again / "class-nv.png").read_bytes() == (report / "class-nv.png").read_bytes()
    assert not (again / "near-duplicates.png").exists()


def _turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("layout", ["isic2020", "isic2024", "isic_cli", "pad_ufes_20"])
def test_the_report_reads_the_other_layouts(tmp_path, capsys, layout):
    folder = getattr(layout_miniatures, layout)(tmp_path / "data")
    dataset = read_dataset(folder)
    assert run(["data", str(folder), "--out", str(tmp_path / "report"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layout"] == dataset.layout and found["unreadable"] == {}
    assert found["patients"] == dataset.frame["patient"].replace("", np.nan).nunique() > 1
    if found["labels_are"] == "target":
        truth = Counter({"1": "malignant", "0": "benign"}[value] for value in dataset.frame["malignant"])
    else:
        truth = Counter(dataset.frame["label"])
    assert found["labels_are"] == ("target" if layout in ("isic2020", "isic2024") else "diagnosis")
    assert found["classes"] == dict(truth)
    assert len(list((tmp_path / "report").glob("class-*.png"))) == len(truth)
    assert run(["data", str(folder), "--layout", "isic2019"]) == 1
    assert "is not in layout isic2019" in one_line(capsys)


def test_a_csv_with_names_of_its_own(tmp_path, capsys):
    folder = layout_miniatures.plain_csv(tmp_path / "data")
    own = ["--image-column", "file", "--label-column", "finding", "--group-column", "person"]
    assert run(["data", str(folder / "own.csv"), *own, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["classes"] == {"wart": 8, "mole": 8, "tumour": 8} and found["groups"] == 12


def test_a_long_line_of_group_sizes_wraps():
    found = {
        "layout": "isic2020", "images": 900, "cleaned": {}, "labels_are": "target", "classes": {"benign": 900},
        "has_groups": True, "groups": 300, "patients": 300, "lesions": 0,
        "images_per_group": dict.fromkeys(range(1, 60), 3), "groups_with_several_labels": [],
        "sizes": {}, "modes": {}, "unreadable": {}, "would_be_dropped": {}, "same_file": [], "same_pixels": [],
        "near_duplicates_across_groups": [], "default_split": None, "notes": [], "unused": {},
        "same_pixels_with_several_labels": [], "further_pictures": {},
    }  # fmt: skip
    told = terminal.text(document(found))
    assert max(map(len, told.splitlines())) <= 80
    assert " ".join(told.split()).count("3 of ") == 59


@pytest.mark.slow
def test_near_duplicates_of_real_data_move_only_their_own_lesions(data_root, tmp_path):
    lines: list[str] = []
    settings = miniatures.settings(data_root / "data" / "ham10000", tmp_path / "run", seed=1)
    frame = prepare.prepare(settings, lines.append).frame
    assert any("4 pairs connect 8 groups to 4" in line for line in lines)
    connected = frame["group"].isin(set(frame["group"][frame["group"] != frame["named_group"]]))
    before = splits.split_frame(frame.assign(group=frame["named_group"]), settings.recipe.fractions, 1)
    assert set(before.index[before != frame["split"]]) <= set(frame.index[connected])
    assert frame.groupby("group")["split"].nunique().max() == 1
    tested = np.stack([split == "test" for split in splits.folds(frame, 5, 1)])
    assert (tested.sum(axis=0) == 1).all()


@pytest.mark.slow
def test_the_counts_of_real_data(data_root, capsys):
    folder = data_root / "data" / "ham10000"
    started = time.monotonic()
    assert run(["data", str(folder), "--json"]) == 0
    assert time.monotonic() - started < 120
    found = json.loads(capsys.readouterr().out)
    with (folder / "HAM10000_metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert found["classes"] == dict(Counter(row["dx"] for row in rows))
    assert found["groups"] == len({row["lesion_id"] for row in rows})
    assert found["would_be_dropped"] == {
        "age-zero": sum(row["age"] == "0.0" for row in rows),
        "age-blank": sum(row["age"] == "" for row in rows),
        "unknown-sex": sum(row["sex"] == "unknown" for row in rows),
        "unknown-site": sum(row["localization"] == "unknown" for row in rows),
        "published": sum(row["age"] == "0.0" or "unknown" in (row["sex"], row["localization"]) for row in rows),
    }
    assert found["unreadable"] == {} and found["groups_with_several_labels"] == []
    # Looked at: each of these four shows one lesion.
    assert {frozenset(pair["image_ids"]) for pair in found["near_duplicates_across_groups"]} == {
        frozenset(("ISIC_0030074", "ISIC_0025226")),
        frozenset(("ISIC_0027027", "ISIC_0029036")),
        frozenset(("ISIC_0027636", "ISIC_0027994")),
        frozenset(("ISIC_0034248", "ISIC_0034228")),
    }
