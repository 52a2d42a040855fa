"""RUN/config.yaml: what a training was told and what it found when it was begun. `RunConfig` is that file, checked when
it is read, so that nothing later stumbles over an edited one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...edge_runtime import __version__
from ...edge_runtime.errors import DataError, unknown
from ...edge_runtime.labels import Label
from .kinds import problem
from .recipe import Recipe
from .settings import LABEL, TABLE

VERSION = 2
"""Of config.yaml. 1 has no `version`, and names no skip_unreadable, cache, tensorboard and data.path."""

# What is found when a run is begun, name -> its kind (`kinds.problem`). A setting of the same name is held by it.
_FOUND: dict[str, Any] = {
    "benign_or_malignant": ([{"*": (str, bool, int, None)}], None),
    "machine": ({}, None),
    "clean": ({"*": int}, None),
    "near_duplicates": ({"on": bool}, None),
    "leakage": ({"*": (float, int, None)}, None),
    "copies": ({"*": int}, None),
    "unused": ({"*": int}, None),
    "left_out": ({"*": int}, None),
    "metadata": ([{"*": (str, int, float, bool, [str], None)}], None),
    "teachers": ([{"run": str, "recipe": str, "sha256": str}], None),
    "start": ({"run": str, "recipe": str, "sha256": str}, None),
    "fold": {"number": int, "of": int},
    "distribute": ({"kind": (str, None)}, None),
}
_DATA = {"layout": str, "path": str, "folder": str, "pictures": str, "images": int, "fingerprint_sha256": str}
_FRAME = {"version": int, "skin_edge": str, "recipe": {}, "labels": [LABEL], "data": _DATA}
_NEEDED = ("seed", "split", "data", "recipe", "labels")


@dataclass(frozen=True)
class RunConfig:
    """The content of config.yaml.

    Attributes:
        settings: Of `settings.TABLE` by name; what is left out has what an older run was trained with. Paths in it are
            seen from RUN (`seen_from`).
        data: What the run was trained on: path (DATA as it was given), folder, pictures (where the paths in split.csv
            start), layout, images (how many), fingerprint_sha256.
        found: Of `_FOUND`.
        skin_edge: The version that began the run.
    """

    recipe: Recipe
    labels: tuple[Label, ...]
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    found: Mapping[str, Any] = field(default_factory=dict)
    skin_edge: str = __version__

    def __post_init__(self) -> None:
        older = {setting.name: setting.older for setting in TABLE}
        object.__setattr__(self, "settings", {**older, **self.settings})
        empty = {"folder": "", "images": 0, "fingerprint_sha256": ""}
        object.__setattr__(self, "data", {**empty, **self.data})

    @property
    def seed(self) -> int:
        return int(self.settings["seed"])

    @property
    def split(self) -> str:
        """One of `splits.KINDS`, or the name of the file that it came from."""
        return str(self.settings["split"])

    @property
    def layout(self) -> str:
        """Of the data."""
        return str(self.data["layout"])

    def earlier(self, name: str) -> list[Mapping[str, Any]]:
        """The runs that it learned from, "teachers" or "start": run, recipe and the SHA-256 of the model."""
        found = self.found.get(name) or []
        return [found] if isinstance(found, Mapping) else list(found)

    def to_dict(self) -> dict[str, Any]:
        """YAML-ready."""
        written: dict[str, Any] = {"version": VERSION, "skin_edge": self.skin_edge}
        for setting in TABLE:
            value, within = self.settings[setting.name], written
            if setting.keys[0] in _FOUND and not value:
                continue
            for key in setting.keys[:-1]:
                within = within.setdefault(key, {})
            within[setting.keys[-1]] = list(value) if isinstance(value, tuple) else value
        own = [label._asdict() for label in self.labels]
        data = {**self.data, **({"layout": self.layout} if "layout" in self.data else {})}
        return {**written, **self.found, "data": data, "recipe": self.recipe.to_dict(), "labels": own}

    @classmethod
    def from_dict(cls, written: Any) -> RunConfig:
        """What `to_dict` wrote, perhaps by an older version.

        Raises ValueError, which names the field that is wrong, and what `Recipe.from_dict` raises.
        """
        _check(written)
        if "version" in written and written["version"] > VERSION:
            raise ValueError(f"version {written['version']} is of a newer skin-edge, this one reads up to {VERSION}")
        return cls(
            Recipe.from_dict(written["recipe"]),
            tuple(Label(**entry) for entry in written["labels"]),
            settings_in(written),
            written["data"],
            {name: written[name] for name in _FOUND if name in written},
            str(written.get("skin_edge", "")),
        )


def is_whole(written: Any) -> bool:
    """Whether it is the content of a run's config.yaml, and not settings that somebody has written down."""
    return isinstance(written, Mapping) and set(_NEEDED) <= set(written)


def settings_in(written: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are named in config.yaml's content, which has been checked."""
    return {setting.name: setting.of(written) for setting in TABLE if setting.within(written)}


def check_named(written: Any) -> None:
    """Raises ValueError where settings that somebody has written down are wrong, or no settings."""
    if not isinstance(written, Mapping) or not all(isinstance(key, str) for key in written):
        raise ValueError("it holds no settings")
    known = dict.fromkeys([*(setting.keys[0] for setting in TABLE), *_FRAME, *_FOUND])
    for name in written:
        if name not in known:
            told = dict.fromkeys([*(setting.keys[0] for setting in TABLE), "recipe"])
            raise ValueError(unknown("setting", name, told))
    for name, inner in (("data", _DATA), ("csv_columns", ("image", "label", "group"))):
        value = written.get(name)
        for key in value if isinstance(value, Mapping) else ():
            if key not in inner:
                raise ValueError(unknown("setting", f"{name}.{key}", [f"{name}.{one}" for one in inner]))
    kinds = {**_FRAME, "recipe": (str, {}), "data": (str, _DATA)}
    _check_kinds(written, {name: kind for name, kind in kinds.items() if name in written})


def _check(written: Any) -> None:
    """Raises ValueError where a run cannot have been begun so."""
    if not isinstance(written, dict):
        raise ValueError("it holds no settings")
    missing = [name for name in _NEEDED if name not in written]
    if missing or "layout" not in (written["data"] if isinstance(written["data"], dict) else ()):
        raise ValueError(f"{', '.join(missing) or 'data.layout'} is missing")
    _check_kinds(written, {**_FRAME, **_FOUND})
    if wrong := _labels_problem(written["labels"]):
        raise ValueError(wrong)
    near = written.get("near_duplicates")
    if near is not None and "on" not in near:
        raise ValueError("near_duplicates.on is missing")
    for name in ("start", "teachers"):
        told = written.get(name) or []
        if any(set(one) < {"run", "sha256"} for one in ([told] if isinstance(told, dict) else told)):
            raise ValueError(f"{name} lacks run or sha256")


def _check_kinds(written: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    for name, kind in kinds.items():
        if name in written and (wrong := problem(written[name], kind, name)):
            raise ValueError(wrong)
    for setting in TABLE:
        within: Any = written
        for key in setting.keys[:-1]:
            within = within.get(key) if isinstance(within, Mapping) else None
        if not isinstance(within, Mapping) or setting.keys[-1] not in within:
            continue
        wrong = problem(within[setting.keys[-1]], setting.kind, ".".join(setting.keys))
        if wrong := wrong or setting.problem(setting.of(written)):
            raise ValueError(wrong)
        if setting.name == "labels" and within["own_labels"] and (wrong := _labels_problem(within["own_labels"])):
            raise ValueError(f"own_labels: {wrong}")


def seen_from(folder: str | Path, path: str | Path) -> str:
    """The way to a file or folder from a run's folder, as config.yaml has it."""
    return os.path.relpath(Path(path).resolve(), Path(folder).resolve()).replace(os.sep, "/")


def there(folder: str | Path, path: str) -> Path:
    """What `seen_from` made `path` of; one of an older run was absolute, or seen from where it was begun."""
    beside = Path(folder).resolve() / path
    return Path(path) if not beside.exists() and Path(path).exists() else Path(os.path.normpath(beside))


def labels(entries: Any, path: object) -> tuple[Label, ...]:
    """The labels that a file lists. Raises DataError where they are none."""
    wrong = problem(entries, [LABEL], "labels") or _labels_problem(entries)
    if wrong:
        raise DataError(f"{path} is damaged: {wrong}")
    return tuple(Label(**entry) for entry in entries)


def _labels_problem(entries: list[dict[str, Any]]) -> str:
    if not all({"code", "name"} <= set(entry) <= set(LABEL) for entry in entries):
        return "a label is code, name and malignant"
    codes = [entry["code"] for entry in entries]
    return "" if all(codes) and len(set(codes)) == len(codes) > 1 else "labels must be two or more different codes"
