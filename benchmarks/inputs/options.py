"""Flags that commands share which read labelled pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

images_option = click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the pictures that a csv names.  [default: where its paths say, or below its folder]",
)
"""For every command that reads a table of pictures: `locate.located` finds them."""

_COLUMNS = (
    click.option(
        "--image-column",
        metavar="NAME",
        help="Column of a plain csv with the picture's path, name or id.  [default: path]",
    ),
    click.option("--label-column", metavar="NAME", help="Column of a plain csv with the label.  [default: label]"),
    click.option(
        "--group-column", metavar="NAME", help="Column of a plain csv with the patient or lesion.  [default: group]"
    ),
    images_option,
)


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--image-column, --label-column, --group-column and --images: how a csv is to be read (`columns.Columns`)."""
    for option in reversed(_COLUMNS):
        command = option(command)
    return command
