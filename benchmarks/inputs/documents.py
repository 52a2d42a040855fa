"""Reading YAML and JSON that may have been edited or made by others: plain values, or one line that says what is wrong.

No anchors and aliases (ten lines of them can stand for a billion values), no tags, no deep nesting, no huge files: none
of what skin-edge writes or asks for needs them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...edge_runtime.errors import DataError, UsageError

_MOST_BYTES = 1_000_000
_MOST_JSON_BYTES = 500_000_000  # a result holds each picture's answer
_DEEPEST = 20


def read_yaml(path: str | Path) -> Any:
    """The file's content. Raises UsageError where there is no such file, DataError where it is none.

    ModuleNotFoundError where PyYAML is not installed.
    """
    text = _text(Path(path), _MOST_BYTES)
    try:
        return parse_yaml(text)
    except ValueError as error:
        raise DataError(f"{path} is not YAML: {error}") from None


def parse_yaml(text: str) -> Any:
    """The value that a text is. Raises ValueError with one line."""
    import yaml as pyyaml

    yaml: Any = pyyaml  # its stubs leave the events' types open

    # libyaml is ten times faster, but knows no lone surrogates (bytes of a file name that are not text).
    has_surrogates = re.search(r"\\u[dD][89a-fA-F]", text)
    loader: Any = yaml.SafeLoader if has_surrogates else getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    # Events come without recursion: depth and aliases are looked at first.
    depth = 0
    try:
        events: Any = yaml.parse(text, Loader=loader)
        for event in events:
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ValueError(f"line {event.start_mark.line + 1}: anchors and aliases (& and *) are not read")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError(f"line {event.start_mark.line + 1}: nested more than {_DEEPEST} levels deep")
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{where}{' '.join(str(error.problem).split())}") from None
    except (yaml.YAMLError, RecursionError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # A date of the year 0 or a key that cannot be one, besides what is not YAML.
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None


def read_json(path: str | Path) -> Any:
    """The file's content. Raises UsageError where there is no such file, DataError where it is none."""
    text = _text(Path(path), _MOST_JSON_BYTES)
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{path} is not JSON that skin-edge wrote: nested too deep") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from None


def _text(path: Path, most: int) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise DataError(f"{path} has more than {most / 1e6:g} MB: nothing that skin-edge reads there is so large")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: byte {error.start}") from None
