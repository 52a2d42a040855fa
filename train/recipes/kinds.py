"""Whether a value that somebody has written down is of the kind it should be, and the words for it where it is not.

A kind is a type, None, a tuple of kinds, [kind of each], {name: kind} or {"*": kind of any}. What a {name: kind} does
not name may be anything.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any


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
            raise ValueError(f"{prefix}{name} is not a setting")
        if not _fits_hint(value, hints[name]):
            raise ValueError(f"{prefix}{name} must be {_said(hints[name])}, not {_shown(value)}")


def fits(value: Any, kind: type | None) -> bool:
    """Whether it is of that type; a whole number is a float too, true and false are not numbers."""
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
