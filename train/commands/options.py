"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ...benchmarks.inputs.classes import TASKS
from ...benchmarks.inputs.options import column_options
from ...edge_runtime import console
from ...edge_runtime.errors import UsageError

_LONGEST_USE = 500


def _intended_use(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    text = " ".join(value.split())
    if not text or len(text) > _LONGEST_USE or console.escaped(text) != text:
        raise UsageError(f"--intended-use takes a text of 1 to {_LONGEST_USE} printable letters, not '{value[:80]}'")
    return text


intended_use_option = click.option(
    "--intended-use",
    metavar="TEXT",
    callback=_intended_use,
    help="What the model is for, and of which kind its pictures are; converted files say it.  [default: what is known "
    "of the data set; of own data that it is not stated]",
)
"""Of `train`, which keeps it in config.yaml, and of `convert`, where it goes before what the run says."""

_LAYOUT = click.option("--layout", metavar="NAME", help="Of DATA. [default: recognised by its files]")
_GROUP_FROM = click.option(
    "--group-from",
    metavar="REGEX|CSV",
    help="Patients or lesions, where DATA names none: one (group) in a picture's path below DATA, such as "
    "'(p[0-9]+)_', or a csv with image and group.",
)

_CLASSES = (
    click.option("--drop-class", "drop_classes", multiple=True, metavar="NAME", help="Leave it out; may be repeated."),
    click.option("--min-images", type=click.IntRange(min=1), metavar="N", help="Leave out classes with fewer."),
)


def label_options(labels: str, task: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--labels and --task: what DATA's labels mean. labels, task: their help."""

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--task", type=click.Choice(TASKS), help=task)(command)
        return click.option("--labels", type=click.Path(path_type=Path), metavar="FILE", help=labels)(command)

    return added


def class_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--drop-class and --min-images: which classes do not take part."""
    for option in reversed(_CLASSES):
        command = option(command)
    return command


def layout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--layout, --image-column, --label-column, --group-column, --images and --group-from: how DATA is to be read."""
    return _LAYOUT(column_options(_GROUP_FROM(command)))
