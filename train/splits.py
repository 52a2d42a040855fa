"""Who trains, who validates, who tests.

Stratified by label and grouped: no lesion has pictures in two parts. A random split of HAM10000's images puts about a
third of the test images beside a training image of the same lesion, and its accuracy is several points too good.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..edge_runtime.errors import DataError, UsageError

PARTS = ("train", "val", "test")

# What a split can be told; anything else is a csv.
KINDS = ("lesion", "random", "official")


def split_frame(
    frame: pd.DataFrame, fractions: tuple[float, float, float], seed: int, *, by_group: bool = True
) -> pd.Series:
    """A part ("train", "val", "test") for every row.

    frame: columns image_id, group, label. fractions: of the images of each class, summing to 1. Within each class the
    groups are shuffled (by `seed` alone: the order of the rows does not matter) and dealt out whole, largest part
    last, so that every part gets at least one group of the class. A group with several labels counts as that of them
    which is rarest in the data: of a patient with one melanoma and a hundred nevi the melanoma has to be dealt out.

    Raises DataError where a class has fewer than three groups.
    """
    if not np.isclose(sum(fractions), 1) or min(fractions) <= 0:
        raise UsageError(f"fractions {fractions} must be above 0 and sum to 1")
    keys = frame["group"] if by_group else frame["image_id"]
    counts = pd.DataFrame(frame.assign(key=keys).groupby(["key", "label"], as_index=False).size())
    rarity = frame["label"].value_counts().sort_index().rank(method="first")
    counts = counts.assign(rarity=counts["label"].map(rarity)).sort_values(["key", "rarity"]).drop_duplicates("key")
    generator = np.random.default_rng([seed, 1])
    part_of: dict[str, str] = {}
    for label, members in counts.groupby("label", sort=True):
        sizes = members.set_index("key")["size"]
        names = generator.permutation(np.asarray(members["key"], dtype=object))
        if len(names) < 3:
            unit = "lesions" if by_group else "images"
            raise DataError(f"class '{label}' has {len(names)} {unit}: training, validation and test need one each")
        images = sizes.loc[names].to_numpy()
        taken = np.concatenate([[0], np.cumsum(images)[:-1]]) / images.sum()  # share dealt out before each group
        test_end = max(1, int(np.searchsorted(taken, fractions[2] - 1e-9)))
        val_end = max(test_end + 1, int(np.searchsorted(taken, fractions[2] + fractions[1] - 1e-9)))
        val_end = min(val_end, len(names) - 1)
        test_end = min(test_end, val_end - 1)
        for position, name in enumerate(names):
            part_of[name] = "test" if position < test_end else "val" if position < val_end else "train"
    return keys.map(part_of)


def official_split(frame: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> pd.Series:
    """The part of every row that the makers of the data set gave it. frame: as for `split_frame`, and `official`.

    Where they made no validation part, it is drawn from the training part as `split_frame` draws, with its share of
    the two. Raises DataError where a class is missing in training.
    """
    parts = frame["official"]
    if not (parts == "val").any():
        training = frame.loc[parts == "train"]
        share = fractions[1] / (fractions[0] + fractions[1])
        drawn = split_frame(training, (1 - share, share / 2, share / 2), seed)
        parts = parts.mask(parts == "train", drawn.replace("test", "val").reindex(frame.index))
    for label in sorted(frame["label"].unique()):
        if not ((frame["label"] == label) & (parts == "train")).any():
            raise DataError(f"class '{label}' has no image in the official training part")
    return parts


def read_split(path: str | Path, frame: pd.DataFrame) -> pd.Series:
    """The part of every row from a csv with the columns image_id and split (RUN/split.csv is one).

    Rows that the csv does not name get "". Raises DataError where a column or a part is missing, or where the csv
    names a picture that is not in `frame`.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--split {path}: {str(error).splitlines()[0]}") from None
    missing = [column for column in ("image_id", "split") if column not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; found: {', '.join(table.columns)}")
    odd = sorted(set(table["split"]) - set(PARTS))
    absent = [part for part in PARTS if part not in set(table["split"])]
    if odd or absent:
        raise DataError(f"{path}: split must hold {', '.join(PARTS)}; unknown: {odd}; missing: {absent}")
    strangers = table.loc[~table["image_id"].isin(frame["image_id"]), "image_id"]
    if len(strangers):
        raise DataError(f"{path} names {len(strangers)} images that are not in the data, the first {strangers.iloc[0]}")
    return frame["image_id"].map(dict(zip(table["image_id"], table["split"], strict=True))).fillna("")


def leaked_share(frame: pd.DataFrame) -> float:
    """The share (0..1) of test images whose group has an image in training. frame: columns group, split."""
    test = frame.loc[frame["split"] == "test", "group"]
    return float(test.isin(set(frame.loc[frame["split"] == "train", "group"])).mean()) if len(test) else 0.0


def stratified_taste(frame: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """About `limit` rows with the classes' shares kept, whole groups, at least three groups of each class."""
    if limit >= len(frame):
        return frame
    generator = np.random.default_rng([seed, 2])
    kept: list[str] = []
    for _, rows in frame.groupby("label", sort=True):
        sizes = rows["group"].value_counts().sort_index()
        names = generator.permutation(np.asarray(sizes.index, dtype=object))
        wanted = limit * len(rows) / len(frame)
        before = np.concatenate([[0], np.cumsum(sizes.loc[names].to_numpy())[:-1]])
        kept.extend(names[: max(3, int(np.searchsorted(before, wanted)))])
    return frame.loc[frame["group"].isin(kept)].reset_index(drop=True)
