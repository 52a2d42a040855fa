"""Docstrings of public functions: a line for each argument where there are more than three, and in the API always."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("edge_runtime", "benchmarks", "apps", "train", "convert")
MOST_WITHOUT = 3  # arguments that a summary line can still explain


def public_functions(body: list[ast.stmt], name: str, in_class: bool = False) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Public functions and methods, without commands, whose options explain themselves by `--help`."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{name}.{node.name}", in_class=True)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            decorators = " ".join(map(ast.unparse, node.decorator_list))
            if "click." not in decorators:
                yield f"{name}.{node.name}", node


def arguments(node: ast.FunctionDef) -> list[str]:
    """Its names but for self and cls."""
    found = node.args
    more = [argument for argument in (found.vararg, found.kwarg) if argument]
    every = [*found.posonlyargs, *found.args, *found.kwonlyargs, *more]
    return [argument.arg for argument in every if argument.arg not in ("self", "cls")]


def explained(docstring: str | None, section: str) -> set[str]:
    """The names that have a line in a section: "    name: text", or "    one, other: text"."""
    match = re.search(rf"^{section}:\n((?:    .*\n?|\n)+)", inspect.cleandoc(docstring or ""), re.MULTILINE)
    lines = re.findall(r"^    (\w+(?:, \w+)*): \S", match[1], re.MULTILINE) if match else []
    return {name for line in lines for name in line.split(", ")}


@pytest.mark.parametrize("floor", FLOORS)
def test_functions_of_many_arguments_explain_each(floor):
    missing: dict[str, list[str]] = {}
    for path in sorted((ROOT / floor).rglob("*.py")):
        for name, node in public_functions(ast.parse(path.read_text(encoding="utf-8")).body, str(path.stem)):
            names = arguments(node)
            left = [one for one in names if one not in explained(ast.get_docstring(node), "Args")]
            if len(names) > MOST_WITHOUT and left:
                missing[f"{path.relative_to(ROOT)}: {name}"] = left
    assert missing == {}


def api() -> Iterator[tuple[str, Any]]:
    for floor in FLOORS:
        module = importlib.import_module(f"skin_edge.{floor}")
        yield from ((f"{floor}.{name}", getattr(module, name)) for name in getattr(module, "__all__", ()))


def needed(name: str, thing: Any) -> Iterator[tuple[str, str, str, list[str]]]:
    """(where, docstring, section, names) of an exported function, class or dataclass, and of a class's methods."""
    if dataclasses.is_dataclass(thing):
        yield name, thing.__doc__ or "", "Attributes", [field.name for field in dataclasses.fields(thing)]
    elif inspect.isfunction(thing) or (inspect.isclass(thing) and not issubclass(thing, Exception)):
        yield name, thing.__doc__ or "", "Args", list(inspect.signature(thing).parameters)
        for key, one in vars(thing).items():
            if inspect.isfunction(one) and not key.startswith("_"):
                yield f"{name}.{key}", one.__doc__ or "", "Args", list(inspect.signature(one).parameters)[1:]


def test_the_api_explains_every_argument_and_field():
    missing: dict[str, list[str]] = {}
    for name, thing in api():
        for where, docstring, section, names in needed(name, thing):
            assert docstring, where
            left = [argument for argument in names if argument not in explained(docstring, section)]
            if left:
                missing[where] = left
    assert missing == {}


def test_a_missing_line_is_found():
    text = "Does it.\n\n    Args:\n        one, two: Both.\n        three: Another,\n            in two lines.\n\n"
    text += "    Returns:\n        four: No."
    assert explained(text, "Args") == {"one", "two", "three"}
    assert explained("Does it. one: said in passing.", "Args") == set()
