"""Who trains, who validates, who tests.

Stratified by label and grouped: no lesion has pictures in two parts. A random split of HAM10000's images puts about a
third of the test images beside a training image of the same lesion, and its accuracy is several points too good.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from ...edge_runtime.errors import DataError, UsageError
from .. import streams
from ..streams import Stream
from . import tables

PARTS = ("train", "val", "test")

# What a split can be told; anything else is a csv.
KINDS = ("lesion", "random", "official")


def called(split: str | None) -> str | None:
    """What a run calls its split: one of KINDS, or the name of the file without its folder, which is this machine's."""
    return split if split is None or split in KINDS else split.replace("\\", "/").rpartition("/")[2]


MOST_MOVED = 0.05
"""Share of the pictures that may change their part when groups are connected; see `connected_split`."""


def split_frame(
    frame: pd.DataFrame, fractions: tuple[float, float, float], seed: int, *, by_group: bool = True
) -> pd.Series:
    """A part ("train", "val", "test") for every row.

    Args:
        frame: Columns image_id, group, label.
        fractions: Of the images of each class, summing to 1. Within each class the groups are shuffled (by `seed`
            alone: the order of the rows does not matter) and dealt out whole, largest part last, so that every part
            gets at least one group of the class. A group with several labels counts as that of them which is rarest in
            the data: of a patient with one melanoma and a hundred nevi the melanoma has to be dealt out.
        seed: Random seed, 0 to 2**32 - 1.
        by_group: False splits single images.

    Raises:
        DataError: Where a class has fewer than three groups.
    """
    if not np.isclose(sum(fractions), 1) or min(fractions) <= 0:
        raise UsageError(f"fractions {fractions} must be above 0 and sum to 1")
    keys = frame["group"] if by_group else frame["image_id"]
    counts = _by_rarest_label(frame, keys)
    generator = streams.generator(seed, Stream.SPLIT)
    part_of: dict[str, str] = {}
    for label, members in counts.groupby("label", sort=True):
        sizes = members.set_index("key")["size"]
        names = generator.permutation(np.asarray(members["key"], dtype=object))
        if len(names) < 3:
            unit = "lesions" if by_group else "images"
            raise DataError(
                f"class '{label}' has {len(names)} {unit}: training, validation and test need one each; --drop-class "
                "leaves a class out, --min-images N all small ones"
            )
        images = sizes.loc[names].to_numpy()
        taken = np.concatenate([[0], np.cumsum(images)[:-1]]) / images.sum()  # share dealt out before each group
        test_end = max(1, int(np.searchsorted(taken, fractions[2] - 1e-9)))
        val_end = max(test_end + 1, int(np.searchsorted(taken, fractions[2] + fractions[1] - 1e-9)))
        val_end = min(val_end, len(names) - 1)
        test_end = min(test_end, val_end - 1)
        for position, name in enumerate(names):
            part_of[name] = "test" if position < test_end else "val" if position < val_end else "train"
    return keys.map(part_of)


def connected_split(frame: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> pd.Series:
    """The split of the data set's own groups, with each connected group then brought together in one part.

    Args:
        frame: As for `split_frame`, and `named_group` (see grouping.py): `group` connects some of these. So that a
            split hardly depends on whether near-duplicates were looked for, only connected pictures change their part:
            to that of the group whose id is the connected one's. Where a class would then miss a part, or more than
            MOST_MOVED of the pictures would change, the connected groups are dealt out again instead.
    """
    before = split_frame(frame.assign(group=frame["named_group"]), fractions, seed)
    named = frame["named_group"] == frame["group"]
    parts = frame["group"].map(dict(zip(frame["group"][named], before[named], strict=True)))
    every = frame.assign(split=before).groupby("label")["split"].nunique()
    still = frame.assign(split=parts).groupby("label")["split"].nunique()
    if (parts != before).mean() > MOST_MOVED or (still < every).any():
        return split_frame(frame, fractions, seed)
    return parts


def folds(
    frame: pd.DataFrame, k: int, seed: int, *, validation: float = 0.1875, by_group: bool = True
) -> list[pd.Series]:
    """k splits whose test parts are disjoint and cover everything: of each, a part for every row.

    Args:
        frame: As for `split_frame`; groups stay whole and count as their rarest label. The rarest class is dealt out
            first, its groups shuffled (by `seed` alone) and the larger ones first, each to the test part that has the
            fewest images of the class, then the fewest at all.
        k: Number of folds, 2 or more.
        seed: Random seed, 0 to 2**32 - 1.
        validation: The share (0..1) of the rest that is drawn from it for validation, stratified as in `split_frame`
            (0.15 of 0.80 by default).
        by_group: False splits single images.

    Raises:
        UsageError: Where k is below 2.
        DataError: Where a class has too few groups for each part of each fold.
    """
    if k < 2:
        raise UsageError(f"{k} folds: two or more are needed")
    keys = frame["group"] if by_group else frame["image_id"]
    table = _by_rarest_label(frame, keys)
    labels = list(frame["label"].value_counts().sort_index().sort_values(kind="stable").index)
    counted = pd.crosstab(keys, frame["label"])[labels]
    images = dict(zip(counted.index, counted.to_numpy(), strict=True))
    generator = streams.generator(seed, Stream.FOLDS)
    filled = np.zeros((k, len(labels)), int)
    fold_of: dict[str, int] = {}
    for column, label in enumerate(labels):
        names = generator.permutation(np.asarray(table.loc[table["label"] == label, "key"], dtype=object))
        for name in sorted(names, key=lambda name: -images[name][column]):
            fold = min(range(k), key=lambda fold: (filled[fold, column], filled[fold].sum()))
            filled[fold] += images[name]
            fold_of[name] = fold
    tested = keys.map(fold_of)
    result: list[pd.Series] = []
    for fold in range(k):
        rest = table.loc[table["key"].map(fold_of) != fold]
        drawn = streams.generator(seed, Stream.FOLD_VALIDATION, fold)
        part_of: dict[str, str] = {}
        for _, members in rest.groupby("label", sort=True):
            names = drawn.permutation(np.asarray(members["key"], dtype=object))
            sizes = members.set_index("key")["size"].loc[names].to_numpy()
            end = max(1, int(np.searchsorted(np.cumsum(sizes) - sizes, validation * sizes.sum() - 1e-9)))
            end = min(end, len(names) - 1)
            part_of |= {name: "val" if position < end else "train" for position, name in enumerate(names)}
        for label, members in table.groupby("label", sort=True):
            if {part_of.get(name, "test") for name in members["key"]} != set(PARTS):
                raise DataError(
                    f"class '{label}' has {len(members)} {'lesions' if by_group else 'images'}, too few for {k} folds: "
                    "each needs one to test, one to validate and one to train; --drop-class leaves a class out"
                )
        result.append(pd.Series(np.where(tested == fold, "test", keys.map(part_of)), index=frame.index))
    return result


def _by_rarest_label(frame: pd.DataFrame, keys: pd.Series) -> pd.DataFrame:
    """A row for each key, in their order: key, its rarest label, how many images of it (size), the label's rarity."""
    counts = pd.DataFrame(frame.assign(key=keys).groupby(["key", "label"], as_index=False).size())
    rarity = frame["label"].value_counts().sort_index().rank(method="first")
    return counts.assign(rarity=counts["label"].map(rarity)).sort_values(["key", "rarity"]).drop_duplicates("key")


def official_split(frame: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> pd.Series:
    """The part of every row that the makers of the data set gave it.

    Where they made no validation part, it is drawn from the training part as `split_frame` draws, with its share of the
    two.

    Args:
        frame: As for `split_frame`, and `official`.

    Raises:
        DataError: Where a class is missing in training.
    """
    parts = frame["official"]
    if not (parts == "val").any():
        training = frame.loc[parts == "train"]
        share = fractions[1] / (fractions[0] + fractions[1])
        drawn = split_frame(training, (1 - share, share / 2, share / 2), seed)
        parts = parts.mask(parts == "train", drawn.replace("test", "val").reindex(frame.index))
    for label in sorted(frame["label"].unique()):
        if not ((frame["label"] == label) & (parts == "train")).any():
            raise DataError(
                f"class '{label}' has no image in the official training part; --drop-class leaves a class out"
            )
    return parts


def read_split(path: str | Path, frame: pd.DataFrame, dropped: Collection[str] = ()) -> pd.Series:
    """The part of every row from a csv with the columns image_id and split (RUN/split.csv is one).

    Rows that the csv does not name get "". A name IMAGE_ID@FOLDER that is no image is a further picture's of image
    IMAGE_ID (`further.py`), and says the part of the image.

    Args:
        dropped: image_ids that it may name although they are not in `frame`.

    Raises:
        DataError: Where a column or a part is missing, where the csv names any other picture that is not there, or
            says two parts of one image.
    """
    table = tables.read(path, ("image_id", "split"))
    odd = sorted(set(table["split"]) - set(PARTS))
    absent = [part for part in PARTS if part not in set(table["split"])]
    if odd or absent:
        raise DataError(f"{path}: split must hold {', '.join(PARTS)}; unknown: {odd}; missing: {absent}")
    known = {*frame["image_id"], *dropped}
    images = [name if name in known else name.rpartition("@")[0] for name in table["image_id"]]
    strangers = [name for name, image in zip(table["image_id"], images, strict=True) if image not in known]
    if strangers:
        raise DataError(f"{path} names {len(strangers)} images that are not in the data, the first {strangers[0]}")
    part_of: dict[str, str] = {}
    for name, image, part in zip(table["image_id"], images, table["split"], strict=True):
        if part_of.setdefault(image, part) != part:
            raise DataError(f"{path}: {name} is in {part}, and another row of the same image in {part_of[image]}")
    return frame["image_id"].map(part_of).fillna("")


def leaked_share(frame: pd.DataFrame) -> float | None:
    """The share (0..1) of test images whose group has an image in training; None where there are no test images.

    Args:
        frame: Columns group and split.
    """
    test = frame.loc[frame["split"] == "test", "group"]
    return float(test.isin(set(frame.loc[frame["split"] == "train", "group"])).mean()) if len(test) else None


def stratified_sample(frame: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """About `limit` rows with the classes' shares kept, whole groups, at least three groups of each class."""
    if limit >= len(frame):
        return frame
    generator = streams.generator(seed, Stream.SUBSET)
    kept: list[str] = []
    for _, rows in frame.groupby("label", sort=True):
        sizes = rows["group"].value_counts().sort_index()
        names = generator.permutation(np.asarray(sizes.index, dtype=object))
        wanted = limit * len(rows) / len(frame)
        before = np.concatenate([[0], np.cumsum(sizes.loc[names].to_numpy())[:-1]])
        kept.extend(names[: max(3, int(np.searchsorted(before, wanted)))])
    return frame.loc[frame["group"].isin(kept)].reset_index(drop=True)
