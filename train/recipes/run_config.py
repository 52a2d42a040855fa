"""What config.yaml of a run may hold: checked when it is read, so that nothing later stumbles over an edited file."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

from ...edge_runtime.errors import DataError
from ...edge_runtime.labels import Label

_LABEL = {"code": str, "name": str, "malignant": (bool, None)}
_EARLIER = {"run": str, "recipe": str, "sha256": str}

# name -> its kind: a type, None, a tuple of kinds, [kind of each], {name: kind} or {"*": kind of any}. What is not
# named here may be anything.
_KINDS: dict[str, Any] = {
    "skin_edge": str,
    "seed": int,
    "split": str,
    "limit": (int, None),
    "mixed_precision": bool,
    "deterministic": bool,
    "xla": bool,
    "task": str,
    "intended_use": (str, None),
    "images": (str, None),
    "own_labels": ([_LABEL], None),
    "benign_or_malignant": ([{"*": (str, bool, int, None)}], None),
    "csv_columns": ({"*": (str, None)}, None),
    "data": {"layout": str, "folder": str, "pictures": str, "images": int, "fingerprint_sha256": str},
    "machine": ({}, None),
    "clean": ({"*": int}, None),
    "near_duplicates": ({"on": bool}, None),
    "leakage": ({"*": (float, int, None)}, None),
    "metadata": ([{"*": (str, int, float, bool, [str], None)}], None),
    "teachers": ([_EARLIER], None),
    "start": _EARLIER,
    "distribute": ({"kind": (str, None)}, None),
    "recipe": {},
    "labels": [_LABEL],
}
# What older versions did not write.
_DEFAULTS: dict[str, Any] = {"skin_edge": "", "limit": None, "mixed_precision": False, "deterministic": True}


def checked(config: Any) -> dict[str, Any]:
    """The content of a config.yaml with its defaults. Raises ValueError, which names the field that is wrong."""
    if not isinstance(config, dict):
        raise ValueError("it holds no settings")
    missing = [name for name in ("seed", "split", "data", "recipe", "labels") if name not in config]
    if missing or "layout" not in (config["data"] if isinstance(config["data"], dict) else ()):
        raise ValueError(f"{', '.join(missing) or 'data.layout'} is missing")
    for name, kind in _KINDS.items():
        if name in config and (wrong := problem(config[name], kind, name)):
            raise ValueError(wrong)
    if wrong := _labels_problem(config["labels"]):
        raise ValueError(wrong)
    if not 0 <= config["seed"] < 2**32:
        raise ValueError("seed is outside 0..4294967295")
    near = config.get("near_duplicates")
    if near is not None and "on" not in near:
        raise ValueError("near_duplicates.on is missing")
    for name in ("start", "teachers"):
        told = config.get(name) or []
        if any(set(one) < {"run", "sha256"} for one in ([told] if isinstance(told, dict) else told)):
            raise ValueError(f"{name} lacks run or sha256")
    data = {"folder": "", "images": 0, "fingerprint_sha256": "", **config["data"]}
    return {**_DEFAULTS, **config, "data": data}


def labels(entries: Any, path: object) -> tuple[Label, ...]:
    """The labels that a file lists. Raises DataError where they are none."""
    wrong = problem(entries, _KINDS["labels"], "labels") or _labels_problem(entries)
    if wrong:
        raise DataError(f"{path} is damaged: {wrong}")
    return tuple(Label(**entry) for entry in entries)


def _labels_problem(entries: list[dict[str, Any]]) -> str:
    if not all({"code", "name"} <= set(entry) <= set(_LABEL) for entry in entries):
        return "a label is code, name and malignant"
    codes = [entry["code"] for entry in entries]
    return "" if all(codes) and len(set(codes)) == len(codes) > 1 else "labels must be two or more different codes"


def problem(value: Any, kind: Any, name: str) -> str:
    """What is wrong with it, "" for nothing."""
    if isinstance(kind, tuple):
        problems = [problem(value, one, name) for one in kind]
        return "" if "" in problems else problems[0]
    if isinstance(kind, list):
        if not isinstance(value, list):
            return f"{name} must be a list, not {_shown(value)}"
        return next(filter(None, (problem(inner, kind[0], name) for inner in value)), "")
    if isinstance(kind, dict):
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            return f"{name} must be named values, not {_shown(value)}"
        known = [(key, kind.get(key, kind.get("*"))) for key in value if key in kind or "*" in kind]
        return next(filter(None, (problem(value[key], of_it, f"{name}.{key}") for key, of_it in known)), "")
    return "" if fits(value, kind) else f"{name} must be {_NAMES[kind]}, not {_shown(value)}"


def incomplete(value: Any, kinds: dict[str, Any], name: str) -> str:
    """As `problem` of named values, all of which must be there, in named values within them too."""
    if wrong := problem(value, kinds, name):
        return wrong
    for key, kind in kinds.items():
        if key not in value:
            return f"{name}.{key} is missing"
        if isinstance(kind, dict) and (wrong := incomplete(value[key], kind, f"{name}.{key}")):
            return wrong
    return ""


_NAMES = {int: "a whole number", str: "a text", bool: "true or false", float: "a number", None: "null"}


def check_fields(values: Mapping[str, Any], cls: type, prefix: str = "") -> None:
    """Raises ValueError where a value is not of the type that the dataclass `cls` says, or no field of it."""
    hints = typing.get_type_hints(cls)
    for name, value in values.items():
        if name not in hints:
            raise ValueError(f"{prefix}{name} is no setting")
        if not _fits_hint(value, hints[name]):
            raise ValueError(f"{prefix}{name} must be {_said(hints[name])}, not {_shown(value)}")


def fits(value: Any, kind: type | None) -> bool:
    """Whether it is of that type; a whole number is a float too, true and false are no numbers."""
    if kind is None:
        return value is None
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _fits_hint(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits_hint(value, one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if arguments[-1] is not ...:
            return len(value) == len(arguments) and all(map(_fits_hint, value, arguments))
        return all(_fits_hint(one, arguments[0]) for one in value)
    return fits(value, None if hint is types.NoneType else hint) if hint in _SIMPLE else True


_SIMPLE = (int, float, bool, str, types.NoneType)


def _said(hint: Any) -> str:
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        return "a list of " + ("numbers" if arguments[0] in (int, float) else "names")
    return " or ".join(_NAMES.get(None if one is types.NoneType else one, str(one)) for one in arguments or (hint,))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
