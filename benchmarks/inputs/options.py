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
    help="Folder with the images that a csv names.  [default: the csv's own paths, else below its folder]",
)
"""For every command that reads a table of pictures: `locate.located` finds them."""

_COLUMNS = (
    click.option(
        "--image-column",
        metavar="NAME",
        help="Column of a plain csv that holds the image's path, name or id.  [default: path]",
    ),
    click.option(
        "--label-column", metavar="NAME", help="Column of a plain csv that holds the label.  [default: label]"
    ),
    click.option(
        "--group-column",
        metavar="NAME",
        help="Column of a plain csv that holds the patient or lesion id.  [default: group]",
    ),
    images_option,
)


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--image-column, --label-column, --group-column and --images: how a csv is to be read (`columns.Columns`)."""
    for option in reversed(_COLUMNS):
        command = option(command)
    return command
