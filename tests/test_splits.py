from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.train.data import splits

FRACTIONS = (0.65, 0.15, 0.20)


@pytest.fixture
def frame():
    """2,000 images in lesions of 1 to 4, three classes of 80, 15 and 5 percent."""
    generator = np.random.default_rng(0)
    rows = []
    while len(rows) < 2000:
        label = generator.choice(["nv", "mel", "df"], p=[0.8, 0.15, 0.05])
        for _ in range(generator.integers(1, 5)):
            rows.append((f"lesion{len(rows)}", label))
            if len(rows) > 1:
                rows[-1] = (rows[-2][0] if _ else rows[-1][0], label)
    table = pd.DataFrame(rows, columns=["group", "label"])
    return table.assign(image_id=[f"image{i}" for i in range(len(table))])


def test_no_lesion_is_in_two_parts(frame):
    frame["split"] = splits.split_frame(frame, FRACTIONS, 42)
    assert frame.groupby("group")["split"].nunique().max() == 1
    assert splits.leaked_share(frame) == 0


def test_every_class_has_its_share_in_every_part(frame):
    frame["split"] = splits.split_frame(frame, FRACTIONS, 42)
    for _, rows in frame.groupby("label"):
        shares = rows["split"].value_counts(normalize=True)
        # A lesion is dealt out whole: a part may be over by less than one lesion of four images.
        for part, fraction in zip(splits.PARTS, FRACTIONS, strict=True):
            assert abs(shares[part] - fraction) * len(rows) < 8


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does(frame):
    split = splits.split_frame(frame, FRACTIONS, 42)
    shuffled = frame.sample(frac=1, random_state=1)
    assert splits.split_frame(shuffled, FRACTIONS, 42).reindex(frame.index).equals(split)
    assert not splits.split_frame(frame, FRACTIONS, 43).equals(split)


def test_a_random_split_leaks_and_says_how_much(frame):
    frame["split"] = splits.split_frame(frame, FRACTIONS, 42, by_group=False)
    by_hand = [
        (frame.loc[frame["split"] == "train", "group"] == group).any()
        for group in frame.loc[frame["split"] == "test", "group"]
    ]
    assert splits.leaked_share(frame) == np.mean(by_hand) > 0.3


def test_three_lesions_are_enough_and_two_are_not():
    three = pd.DataFrame({"image_id": list("abc"), "group": list("abc"), "label": ["mel"] * 3})
    assert sorted(splits.split_frame(three, FRACTIONS, 42)) == ["test", "train", "val"]
    with pytest.raises(DataError, match="class 'mel' has 2 lesions"):
        splits.split_frame(three[:2], FRACTIONS, 42)
    with pytest.raises(UsageError, match="sum to 1"):
        splits.split_frame(three, (0.5, 0.1, 0.1), 42)


def test_a_split_file_is_matched_by_image_id(frame, tmp_path):
    frame["split"] = splits.split_frame(frame, FRACTIONS, 42)
    path = tmp_path / "split.csv"
    frame.sample(frac=1, random_state=1)[["split", "image_id"]].to_csv(path, index=False)
    assert splits.read_split(path, frame).tolist() == frame["split"].tolist()
    frame[["split", "image_id"]][5:].to_csv(path, index=False)
    assert splits.read_split(path, frame).tolist() == [""] * 5 + frame["split"].tolist()[5:]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image_id,part\nimage0,train\n", "has no column split"),
        ("image_id,split\nimage0,train\nimage1,val\n", "missing: .'test'"),
        ("image_id,split\nimage0,train\nimage1,val\nimage2,test\nimage3,dev\n", "unknown: .'dev'"),
        ("image_id,split\nimage0,train\nimage1,val\nstranger,test\n", "1 images that are not in the data"),
    ],
)
def test_a_split_file_that_does_not_fit(frame, tmp_path, text, says):
    path = tmp_path / "split.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=says):
        splits.read_split(path, frame)
    with pytest.raises(UsageError, match="No such file"):
        splits.read_split(tmp_path / "absent.csv", frame)


def test_a_sample_keeps_whole_lesions_and_the_shares(frame):
    sample = splits.stratified_sample(frame, 300, 42)
    assert 300 <= len(sample) <= 320
    assert (frame["group"].isin(set(sample["group"])).sum()) == len(sample)
    shares = frame["label"].value_counts(normalize=True) - sample["label"].value_counts(normalize=True)
    assert shares.abs().max() < 0.02
    assert splits.stratified_sample(frame, 300, 42).equals(sample)
    tiny = splits.stratified_sample(frame, 1, 42)
    assert (tiny.groupby("label")["group"].nunique() == 3).all()
    assert splits.stratified_sample(frame, 10_000, 42) is frame
