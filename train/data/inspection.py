"""What a data set holds, before hours are spent on it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ...benchmarks.report import sheets
from ...benchmarks.report.document import Document, Notes, Section, Table, facts
from ...benchmarks.stats.group_kinds import UNKNOWN
from ...edge_runtime import files
from ...edge_runtime.errors import DataError
from ...edge_runtime.wording import counted
from . import contact_sheets, further, inventory, splits, tables
from .clean import RULES, clean
from .duplicates import connected, fingerprints, near_pairs
from .layouts import Dataset

_SHOWN = 5  # examples of a finding on the terminal


def labelled(dataset: Dataset) -> tuple[Dataset, str]:
    """The data set with the labels that the report counts, and what they are: "diagnosis" or "target".

    The data set's own target (malignant, benign) where it names no diagnosis for more than half of its pictures.
    """
    frame = dataset.frame
    if 2 * (frame["label"] == "").sum() <= len(frame) or not (frame["malignant"] != "").any():
        return dataset, "diagnosis"
    target = frame["malignant"].map({"1": "malignant", "0": "benign", "": ""})
    return replace(dataset, frame=frame.assign(label=target)), "target"


def inspect(
    dataset: Dataset,
    fractions: tuple[float, float, float],
    split: str,
    rules: Sequence[str] = (),
    seed: int = 42,
    on_progress: Callable[[int], None] | None = None,
    near_duplicates: bool = True,
) -> dict[str, Any]:
    """Everything below, JSON-ready; every picture is decoded.

    Args:
        dataset: The data set. Counts, near-duplicates and split are of its own images; sizes, modes, copies and what is
            unreadable are of all pictures, further ones as well.
        fractions: Of training, validation and test.
        split: As `Recipe.split`. Both are those of "default_split".
        rules: Of `clean.RULES`, applied first.
        seed: Random seed of the default split.
        on_progress: Called with the number of images done; None reports nothing.
        near_duplicates: False leaves them out, and "near_duplicates_across_groups" is None. "default_split" is None
            where a class has too few groups for one. What is about lesions is None where none is named.

    Raises what `clean` raises.
    """
    dataset, labels_are = labelled(dataset)
    frame, dropped = clean(dataset.frame, rules)
    pictures = further.joined(frame, dataset.further)
    prints = fingerprints(list(pictures["path"]), on_progress)
    ids, groups = list(pictures["image_id"]), list(frame["group"])
    same_pixels = _alike(ids, prints.pixel_sha256)
    label_of = dict(zip(ids, pictures["label"], strict=True))
    near = near_pairs(prints.first(len(frame)), groups) if near_duplicates else []
    together = connected(groups, [(i, j) for i, j, _ in near])
    sizes: Any = frame["group"].value_counts()
    counts = frame["label"].value_counts()
    readable = [position for position in range(len(pictures)) if position not in prints.failures]
    more: Any = pictures["picture_set"].iloc[len(frame) :].value_counts(sort=False)
    return {
        "layout": dataset.layout,
        "images": len(frame),
        "further_pictures": {str(name): int(count) for name, count in more.items()},
        "cleaned": dropped,
        "labels_are": labels_are,
        "classes": {str(code): int(count) for code, count in counts.items()},
        "has_groups": dataset.has_groups,
        "groups": len(sizes),
        "patients": len(set(frame["patient"]) - {""}),
        "lesions": len(set(frame["lesion"]) - {""}),
        "images_per_group": {int(size): int(n) for size, n in sizes.value_counts().sort_index().items()},
        "groups_with_several_labels": _disagreeing(frame),
        "sizes": _counted(f"{prints.sizes[i][0]}x{prints.sizes[i][1]}" for i in readable),
        "modes": _counted(prints.modes[i] for i in readable),
        "unreadable": {ids[position]: reason for position, reason in prints.failures.items()},
        "would_be_dropped": _would_be_dropped(frame),
        "same_file": _alike(ids, prints.file_sha256),
        "same_pixels": same_pixels,
        "same_pixels_with_several_labels": [
            {"image_ids": names, "labels": [label_of[name] for name in names]}
            for names in same_pixels
            if len({label_of[name] for name in names}) > 1
        ],
        "near_duplicates_across_groups": _described(near, frame) if near_duplicates else None,
        "groups_connected_by_near_duplicates": len(set(groups)) - len(set(together)),
        "default_split": _split(dataset, frame.assign(named_group=groups, group=together), fractions, split, seed),
        "notes": list(dataset.notes),
        "unused": inventory.unused(dataset),
    }


def _disagreeing(frame: pd.DataFrame) -> list[str] | None:
    """The lesions, or groups that are no patient's, with several labels; None where none is named."""
    named = frame["group_kind"] != UNKNOWN
    # Of a patient several labels are nothing odd.
    unit = frame["lesion"].where(frame["lesion"] != "", frame["group"].where((frame["patient"] == "") & named, ""))
    known = (unit != "") & (frame["label"] != "")
    labels: Any = frame[known].groupby(unit[known])["label"].nunique()
    return sorted(labels.index[labels > 1]) if known.any() else None


def _described(near: Sequence[tuple[int, int, float]], frame: pd.DataFrame) -> list[dict[str, Any]]:
    """near: of `near_pairs`, positions in the frame."""
    columns = {"image_ids": "image_id", "groups": "group", "labels": "label"}
    return [
        {key: [frame[column][i], frame[column][j]] for key, column in columns.items()}
        | {"correlation": round(score, 3)}
        for i, j, score in near
    ]


def _split(
    dataset: Dataset, frame: pd.DataFrame, fractions: tuple[float, float, float], split: str, seed: int
) -> dict[str, Any] | None:
    """The split that `fractions` and `split` ask for, beside a split of the named groups and a random one."""
    kind = dataset.split_kind(split)
    held_out = frame["official"].isin(("val", "test")) & (dataset.has_official_parts and kind != "official")
    frame = frame.loc[(frame["label"] != "") & ~held_out]
    by_names = frame.assign(group=frame["named_group"])
    try:
        if kind == "official":
            parts = by_name = splits.official_split(by_names, fractions, seed)
        else:
            parts = splits.connected_split(frame, fractions, seed)
            by_name = splits.split_frame(by_names, fractions, seed)
        random = splits.split_frame(frame, fractions, seed, by_group=False)
    except DataError:
        return None
    named = frame["group_kind"] != UNKNOWN

    def leaked(rows: pd.DataFrame, parts: pd.Series) -> float | None:
        return splits.leaked_share(rows.assign(split=parts)) if named.any() else None

    return {
        "kind": kind,
        "seed": seed,
        "images": {part: int((parts == part).sum()) for part in splits.PARTS},
        "official_parts_left_out": int(held_out.sum()),
        "near_duplicate_share_of_test": splits.leaked_share(frame.assign(split=parts)),
        "leaked_share_of_test": leaked(frame, parts),
        "leaked_share_of_test_without_connecting": leaked(by_names, by_name),
        "leaked_share_of_test_in_a_random_split": leaked(frame, random),
    }


def _would_be_dropped(frame: pd.DataFrame) -> dict[str, int]:
    return {
        name: int(rule(frame).sum())
        for name, (columns, rule) in RULES.items()
        if columns and all(column in frame.columns for column in columns)
    }


def _alike(ids: Sequence[str], digests: Sequence[str]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for image_id, digest in zip(ids, digests, strict=True):
        if digest:
            found.setdefault(digest, []).append(image_id)
    return [names for names in found.values() if len(names) > 1]


def _counted(values: Any) -> dict[str, int]:
    return dict(Counter(values).most_common())


def write(out: Path, found: Mapping[str, Any], dataset: Dataset, rules: Sequence[str], seed: int) -> None:
    """Writes what `inspect` found of the same arguments: data.json, duplicates.csv and contact sheets (PNG).

    Args:
        out: The folder to create.
        found: What `inspect` returned.
        dataset: The data set.
        rules: As `inspect` took them.
        seed: As `inspect` took it.
    """
    frame = clean(labelled(dataset)[0].frame, rules)[0]
    paths = dict(zip(frame["image_id"], frame["path"], strict=True))
    near = found["near_duplicates_across_groups"] or []
    rows = [(*pair["image_ids"], *pair["groups"], *pair["labels"], pair["correlation"]) for pair in near]
    columns = ["image_id_a", "image_id_b", "group_a", "group_b", "label_a", "label_b", "correlation"]
    with files.replacing_folder(out) as folder:
        files.write(folder / "data.json", json.dumps(found, indent=2) + "\n")
        files.write(folder / "duplicates.csv", tables.text(pd.DataFrame(rows, columns=columns)))
        for label in found["classes"]:
            picture = sheets.png(contact_sheets.class_sheet(frame, label, seed))
            files.write(folder / contact_sheets.name_of(label or "none"), picture)
        if near:
            cells = [
                (paths[name], f"{name} {label} {pair['correlation']:.2f}")
                for pair in near[: contact_sheets.MOST_PAIRS]
                for name, label in zip(pair["image_ids"], pair["labels"], strict=True)
            ]
            files.write(folder / "near-duplicates.png", sheets.png(contact_sheets.sheet(cells)))


def document(found: Mapping[str, Any]) -> Document:
    """found: what `inspect` returned."""
    n, classes = found["images"], found["classes"]
    rows = [(code or "(none)", f"{count}", f"{count / n:.1%}") for code, count in classes.items()]
    cleaned = [f"--clean {name} dropped {counted(count, 'row')}" for name, count in found["cleaned"].items()]
    head = "class" if found["labels_are"] == "diagnosis" else "target"
    sections = [
        Section("classes", "", [Notes([*found["notes"], *cleaned]), Table((head, "images", "share"), rows)]),
        Section("pictures", "", [facts([*_groups(found), *_files(found)])]),
        Section("duplicates", "", [facts([*_duplicates(found), *_default_split(found["default_split"])])]),
    ]
    return Document(
        f"{found['layout']}: {counted(n, 'image')}, {counted(len(classes), 'class', 'classes')}",
        "",
        sections,
        "skin-edge data",
    )


def _groups(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found["has_groups"]:
        known = ", ".join(f"{found[name]} {name}" for name in ("patients", "lesions") if found[name])
        yield "groups", f"{found['groups']}" + (f" ({known})" if known else "")
        yield "by images", ", ".join(f"{count} of {size}" for size, count in found["images_per_group"].items())
    else:
        yield "groups", "not known: no lesion or patient is named"
    disagreeing = found["groups_with_several_labels"]
    if disagreeing is None:
        yield "labels disagree", "not known: no lesion is named"
    else:
        yield "labels disagree", f"{counted(len(disagreeing), 'lesion')} {', '.join(disagreeing[:_SHOWN])}".rstrip()


def _files(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if found["further_pictures"]:
        yield "further pictures", ", ".join(f"{name} {count}" for name, count in found["further_pictures"].items())
    yield "sizes", _short(found["sizes"])
    yield "modes", _short(found["modes"])
    yield "unreadable", f"{len(found['unreadable'])}"
    yield from (("", f"{name}: {reason}") for name, reason in list(found["unreadable"].items())[:_SHOWN])
    if found["unused"]:
        yield "not used", counted(sum(map(len, found["unused"].values())), "file")
        yield from (("", line) for line in inventory.lines(found["unused"]))
    for name, count in found["would_be_dropped"].items():
        yield f"--clean {name}", f"would drop {counted(count, 'row')}"


def _duplicates(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    several, near = found["same_pixels_with_several_labels"], found["near_duplicates_across_groups"]
    yield "same file", counted(len(found["same_file"]), "set")
    under = f", {len(several)} of them under several labels" if several else ""
    yield "same pixels", counted(len(found["same_pixels"]), "set") + under
    yield from (("", f"{', '.join(one['image_ids'])}: {', '.join(one['labels'])}") for one in several[:_SHOWN])
    yield "near-duplicates", "not looked for" if near is None else f"{counted(len(near), 'pair')} across groups"
    for pair in (near or [])[:_SHOWN]:
        yield "", f"{', '.join(pair['image_ids'])}: {', '.join(pair['labels'])}; {pair['correlation']:.3f}"


def _default_split(split: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    if split is None:
        yield "default split", "none: a class has fewer than three groups"
        return
    official, leaked = split["kind"] == "official", split["leaked_share_of_test"]
    by = ": the folders' own parts" if official else f" (seed {split['seed']})"
    yield "default split", ", ".join(f"{part} {count}" for part, count in split["images"].items()) + by
    if split["official_parts_left_out"]:
        yield "", f"{counted(split['official_parts_left_out'], 'image')} of the official val and test parts left out"
    if leaked is None:
        yield "leaked", "not known: no lesion or patient is named;"
        yield "", f"{split['near_duplicate_share_of_test']:.2%} of its test images have a near-duplicate in training"
        return
    yield "leaked", f"{leaked:.2%} of its test images{', near-duplicates included' if official else ''};"
    if not official:
        yield "", f"{split['leaked_share_of_test_without_connecting']:.2%} with --no-near-duplicates;"
    yield "", f"{split['leaked_share_of_test_in_a_random_split']:.2%} in a random split"


def _short(counts: Mapping[str, int]) -> str:
    items = [f"{name} ({count})" for name, count in counts.items()]
    return ", ".join(items[:3]) + (f", {len(items) - 3} more" if len(items) > 3 else "")
