"""Folds, connected groups, and cross-validation from end to end."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from sklearn.metrics import balanced_accuracy_score

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.train.data import splits

from .miniatures import SMALL, one_line
from .miniatures import settings as settings_of

FRACTIONS = (0.65, 0.15, 0.20)


@pytest.fixture(scope="module")
def frame():
    """1,500 images of patients with 1 to 6, three classes of 80, 15 and 5 percent; a patient may have several."""
    generator = np.random.default_rng(3)
    rows = []
    for patient in range(430):
        for _ in range(generator.integers(1, 7)):
            rows.append((f"patient{patient:03d}", generator.choice(["nv", "mel", "df"], p=[0.8, 0.15, 0.05])))
    table = pd.DataFrame(rows, columns=["group", "label"])
    return table.assign(image_id=[f"image{i}" for i in range(len(table))])


@pytest.mark.parametrize("k", [2, 5])
def test_the_test_parts_are_disjoint_cover_everything_and_keep_groups_whole(frame, k):
    parts = splits.folds(frame, k, 42)
    tested = np.stack([(split == "test").to_numpy() for split in parts])
    assert (tested.sum(axis=0) == 1).all()
    for split in parts:
        assert set(split) == set(splits.PARTS)
        assert frame.assign(split=split).groupby("group")["split"].nunique().max() == 1
        rest = split[split != "test"]
        assert (rest == "val").mean() == pytest.approx(0.1875, abs=0.03)


def test_every_fold_has_its_share_of_every_class(frame):
    for split in splits.folds(frame, 5, 42):
        for label, rows in frame.groupby("label"):
            assert abs((split[rows.index] == "test").sum() - len(rows) / 5) <= 3, label


def test_the_order_of_the_rows_does_not_matter_to_folds_and_the_seed_does(frame):
    parts = splits.folds(frame, 3, 42)
    shuffled = splits.folds(frame.sample(frac=1, random_state=1), 3, 42)
    assert all(other.reindex(frame.index).equals(one) for one, other in zip(parts, shuffled, strict=True))
    assert not splits.folds(frame, 3, 43)[0].equals(parts[0])
    by_image = splits.folds(frame, 3, 42, by_group=False)
    assert splits.leaked_share(frame.assign(split=by_image[0])) > 0.5


def test_too_few_groups_for_the_folds_are_named():
    few = pd.DataFrame({"image_id": list("abcdefg"), "group": list("abcdefg"), "label": ["mel"] * 4 + ["nv"] * 3})
    assert len(splits.folds(few, 3, 42)) == 3
    with pytest.raises(DataError, match="class 'nv' has 3 lesions, too few for 4 folds"):
        splits.folds(few, 4, 42)
    with pytest.raises(UsageError, match="two or more"):
        splits.folds(few, 1, 42)


def test_only_connected_pictures_change_their_part(frame):
    single = frame.assign(group=frame["image_id"] + frame["label"])  # one label each
    before = splits.split_frame(single, FRACTIONS, 42)
    first = {part: single["group"][(before == part) & (single["label"] == "nv")].min() for part in splits.PARTS}
    low, *others = sorted(first.values())
    connected = single.assign(named_group=single["group"], group=single["group"].replace(dict.fromkeys(others, low)))
    after = splits.connected_split(connected, FRACTIONS, 42)
    assert set(single["group"][after != before]) == set(others)
    assert len(set(after[connected["group"] == low])) == 1
    assert after[connected["group"] == low].iloc[0] == before[single["group"] == low].iloc[0]


def test_many_connected_groups_are_dealt_out_anew(frame):
    joined = frame.assign(named_group=frame["image_id"])
    parts = splits.connected_split(joined, FRACTIONS, 42)
    assert joined.assign(split=parts).groupby("group")["split"].nunique().max() == 1
    assert parts.equals(splits.split_frame(joined, FRACTIONS, 42))


def test_a_near_duplicate_connects_two_lesions(tmp_path):
    from skin_edge.train.data.synthetic import draw_dataset
    from skin_edge.train.prepare import prepare

    data = draw_dataset(tmp_path / "data", lesions_per_class=6)
    table = pd.read_csv(next(data.glob("*.csv")), dtype=str)
    lesions = table.drop_duplicates(next(name for name in table if name.startswith("lesion")))
    one, other = lesions["image_id"].iloc[0], lesions["image_id"].iloc[1]
    files = {path.stem: path for path in data.rglob("*.jpg")}
    Image.open(files[one]).save(files[other], quality=60)
    lines: list[str] = []
    settings = settings_of(data, tmp_path / "run")
    prepared = prepare(settings, lines.append)
    joined = prepared.frame.set_index("image_id")
    assert joined["group"][one] == joined["group"][other] == min(joined["named_group"][[one, other]])
    assert joined["split"][one] == joined["split"][other]
    assert prepared.near_duplicates == {"on": True, "pairs": 1, "groups_connected": 1}
    assert "near-duplicates: 1 pair connects 2 groups to 1" in lines
    off = prepare(replace(settings, near_duplicates=False), lines.append).frame
    assert (off["group"] == off["named_group"]).all()


def test_folds_are_refused_where_parts_are_given(ham, tiny_run, tmp_path, capsys):
    for split in ("official", str(tiny_run / "split.csv")):
        assert run(["train", str(ham), "--out", str(tmp_path / "cv"), "--folds", "3", "--split", split]) == 2
        assert "cannot be combined with it" in one_line(capsys)
    assert run(["train", str(ham), "--out", str(tiny_run), "--folds", "3", "--resume"]) == 2
    assert "was not written by train --folds" in one_line(capsys)
    assert run(["train", str(ham), "--out", str(tmp_path / "cv"), "--folds", "9", *SMALL]) == 1
    output = capsys.readouterr().err
    assert "too few for 9 folds" in output and "TensorFlow" not in output
    assert not (tmp_path / "cv").exists()


@pytest.mark.slow
def test_a_cross_validation_and_its_figures(ham, tmp_path, capsys):
    out = tmp_path / "cv"
    assert run(["train", str(ham), "--out", str(out), "--folds", "2", *SMALL, "--epochs", "2"]) == 0
    told = capsys.readouterr().out
    assert "2 folds: 63 images of 42 lesions, each tested once" in told
    assert max(map(len, told.splitlines())) <= 80 + len(str(out))
    results = json.loads((out / "metrics.json").read_text())
    predictions = pd.read_csv(out / "predictions.csv")
    assert len(predictions) == 63 and predictions["image_id"].is_unique
    assert results["pooled"]["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(predictions["label"], predictions["predicted"])
    )
    each = [json.loads((out / f"fold-{i}" / "metrics.json").read_text())["test"]["accuracy"] for i in (1, 2)]
    over = results["over_folds"]["accuracy"]
    assert (over["mean"], over["lowest"], over["highest"]) == pytest.approx((np.mean(each), min(each), max(each)))
    assert yaml.safe_load((out / "fold-2" / "config.yaml").read_text())["fold"] == {"number": 2, "of": 2}
    # Killed between two epochs of the second fold: the first stays, the second goes on to the same end.
    first = (out / "fold-1" / "model.keras").stat().st_mtime_ns
    (out / "metrics.json").unlink()
    (out / "fold-2" / "metrics.json").unlink()
    before = (out / "predictions.csv").read_bytes()
    shutil.rmtree(out / "fold-2")
    assert run(["train", str(ham), "--out", str(out), "--resume", "--folds", "3"]) == 2
    assert "was started with --folds 2" in one_line(capsys)
    assert run(["train", str(ham), "--out", str(out), "--resume"]) == 0
    assert "fold 1 of 2 is already complete" in capsys.readouterr().err
    assert (out / "fold-1" / "model.keras").stat().st_mtime_ns == first
    assert (out / "predictions.csv").read_bytes() == before
    assert run(["train", str(ham), "--out", str(out), "--resume"]) == 2
    assert "is complete" in one_line(capsys)


def test_a_split_file_that_names_cleaned_rows_says_the_rule(ham, tiny_run, tmp_path):
    from skin_edge.train.prepare import prepare

    copy = shutil.copytree(ham, tmp_path / "data")
    table = pd.read_csv(copy / "HAM10000_metadata.csv", dtype=str)
    table.loc[[1, 5], "age"] = "0.0"
    table.to_csv(copy / "HAM10000_metadata.csv", index=False)
    lines: list[str] = []
    split = str(tiny_run / "split.csv")
    settings = settings_of(copy, tmp_path / "run", split=split, clean=("age-zero",))
    assert len(prepare(settings, lines.append).frame) == 61
    assert f"left out by --clean age-zero: 2 images that {split} names" in lines


def test_a_cross_validation_is_no_run_and_says_what_to_do(tmp_path, capsys):
    (tmp_path / "folds.yaml").write_text("folds: 2\n")
    assert run(["convert", str(tmp_path), "--int8"]) == 2
    assert "without --folds" in (said := one_line(capsys)) and str(tmp_path / "fold-1") in said
