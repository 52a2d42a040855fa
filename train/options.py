"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

_LAYOUT = (
    click.option("--layout", metavar="NAME", help="Of DATA. [default: recognised by its files]"),
    click.option(
        "--image-column", metavar="NAME", help="Of a plain csv: the picture's path, name or id. [default: path]"
    ),
    click.option("--label-column", metavar="NAME", help="Of a plain csv. [default: label]"),
    click.option("--group-column", metavar="NAME", help="Of a plain csv: patient or lesion. [default: group]"),
)


def layout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--layout, --image-column, --label-column and --group-column: how DATA is to be read."""
    for option in reversed(_LAYOUT):
        command = option(command)
    return command
