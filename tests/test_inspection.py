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

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UnknownNameError
from skin_edge.train import duplicates
from skin_edge.train.clean import clean
from skin_edge.train.synthetic import draw_dataset

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
    with pytest.raises(DataError, match="needs sex"):
        clean(frame[["age"]], ["unknown-sex"])


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
