"""What a data set holds, before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from . import splits
from .clean import RULES, clean
from .duplicates import connected, fingerprints, near_pairs
from .layouts import Dataset
from .recipes import DEFAULT, RECIPES

_SHOWN = 5  # examples of a finding on the terminal


def inspect(
    dataset: Dataset, rules: Sequence[str] = (), seed: int = 42, on_progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Everything below, JSON-ready; every picture is decoded. rules: of `clean.RULES`, applied first.

    Raises what `clean` raises, and DataError where the default split cannot be made.
    """
    frame, dropped = clean(dataset.frame, rules)
    prints = fingerprints(list(frame["path"]), on_progress)
    ids, groups = list(frame["image_id"]), list(frame["group"])
    near = near_pairs(prints, groups)
    together = connected(groups, [(i, j) for i, j, _ in near])
    labels: Any = frame.groupby("group")["label"].nunique()
    sizes: Any = frame["group"].value_counts()
    counts = frame["label"].value_counts()
    readable = [position for position in range(len(frame)) if position not in prints.failures]
    return {
        "layout": dataset.layout,
        "images": len(frame),
        "cleaned": dropped,
        "classes": {str(code): int(count) for code, count in counts.items()},
        "has_groups": dataset.has_groups,
        "groups": len(sizes),
        "images_per_group": {int(size): int(n) for size, n in sizes.value_counts().sort_index().items()},
        "groups_with_several_labels": sorted(labels.index[labels > 1]),
        "sizes": _counted(f"{prints.sizes[i][0]}x{prints.sizes[i][1]}" for i in readable),
        "modes": _counted(prints.modes[i] for i in readable),
        "unreadable": {ids[position]: reason for position, reason in prints.failures.items()},
        "would_be_dropped": _would_be_dropped(frame),
        "same_file": _alike(ids, prints.file_sha256),
        "same_pixels": _alike(ids, prints.pixel_sha256),
        "near_duplicates_across_groups": [
            {
                "image_ids": [ids[i], ids[j]],
                "groups": [groups[i], groups[j]],
                "labels": [frame["label"][i], frame["label"][j]],
                "correlation": round(score, 3),
            }
            for i, j, score in near
        ],
        "groups_connected_by_near_duplicates": len(set(groups)) - len(set(together)),
        "default_split": _split(frame, together, seed),
    }


def _split(frame: pd.DataFrame, together: Sequence[str], seed: int) -> dict[str, Any]:
    fractions = RECIPES[DEFAULT].fractions
    parts = splits.split_frame(frame, fractions, seed)
    random = splits.split_frame(frame, fractions, seed, by_group=False)
    connected_frame = frame.assign(group=list(together))
    return {
        "seed": seed,
        "images": {part: int((parts == part).sum()) for part in splits.PARTS},
        "leaked_share_of_test": splits.leaked_share(frame.assign(split=parts)),
        "leaked_share_of_test_with_near_duplicates": splits.leaked_share(connected_frame.assign(split=parts)),
        "leaked_share_of_test_in_a_random_split": splits.leaked_share(connected_frame.assign(split=random)),
    }


def _would_be_dropped(frame: pd.DataFrame) -> dict[str, int]:
    return {
        name: int(rule(frame).sum())
        for name, (columns, rule) in RULES.items()
        if all(column in frame.columns for column in columns)
    }


def _alike(ids: Sequence[str], digests: Sequence[str]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for image_id, digest in zip(ids, digests, strict=True):
        if digest:
            found.setdefault(digest, []).append(image_id)
    return [names for names in found.values() if len(names) > 1]


def _counted(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def text(found: Mapping[str, Any]) -> str:
    """What `inspect` returned, for a terminal of 80 columns."""
    n = found["images"]
    lines = [f"{found['layout']}: {n} images, {len(found['classes'])} classes"]
    lines += [f"  --clean {name} dropped {count} rows" for name, count in found["cleaned"].items()]
    lines += ["", f"{'class':16}{'images':>8}{'share':>8}"]
    lines += [f"{code:16}{count:>8}{count / n:>8.1%}" for code, count in found["classes"].items()]
    lines.append("")
    if found["has_groups"]:
        per = ", ".join(f"{count} of {size}" for size, count in found["images_per_group"].items())
        lines.append(f"groups          {found['groups']}")
        lines.append(f"  by images     {per}"[:80])
    else:
        lines.append("groups          none named: whether a split leaks cannot be checked")
    disagreeing = found["groups_with_several_labels"]
    lines.append(f"labels disagree {len(disagreeing)} groups {', '.join(disagreeing[:_SHOWN])}".rstrip())
    lines.append("sizes           " + _short(found["sizes"]))
    lines.append("modes           " + _short(found["modes"]))
    lines.append(f"unreadable      {len(found['unreadable'])}")
    lines += [f"  {name}: {reason}"[:80] for name, reason in list(found["unreadable"].items())[:_SHOWN]]
    if found["would_be_dropped"]:
        lines += ["", "rows that --clean would drop"]
        lines += [f"  {name:14}{count:>6}" for name, count in found["would_be_dropped"].items()]
    lines += [
        "",
        f"same file       {len(found['same_file'])} sets",
        f"same pixels     {len(found['same_pixels'])} sets",
    ]
    near = found["near_duplicates_across_groups"]
    lines.append(f"near-duplicates {len(near)} pairs across groups")
    for pair in near[:_SHOWN]:
        lines.append(f"  {' '.join(pair['image_ids'])}  {' '.join(pair['labels'])}  {pair['correlation']:.3f}")
    split = found["default_split"]
    parts = ", ".join(f"{part} {count}" for part, count in split["images"].items())
    lines += [
        "",
        f"default split   {parts} (seed {split['seed']})",
        f"leaked          {split['leaked_share_of_test']:.2%} of its test images by group,",
        f"                {split['leaked_share_of_test_with_near_duplicates']:.2%} with near-duplicates;",
        f"                {split['leaked_share_of_test_in_a_random_split']:.2%} in a random split",
    ]
    return "\n".join(lines)


def _short(counts: Mapping[str, int]) -> str:
    items = [f"{name} ({count})" for name, count in counts.items()]
    return ", ".join(items[:3]) + (f", {len(items) - 3} more" if len(items) > 3 else "")
