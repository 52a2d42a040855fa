"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ...benchmarks.inputs.options import column_options
from ...edge_runtime import console
from ...edge_runtime.errors import UsageError
from ..recipes import settings


def setting_option(
    name: str, help: str = "", *, default: str = "", metavar: str | None = None, single: bool = False
) -> Callable[..., Any]:
    """The flag of a row of `settings.TABLE`, with its type; what is not given is None, or of several nothing.

    Args:
        name: Of the setting.
        help: What the option does, as a phrase.
        default: In words, where the table's own and "the recipe's" are not.
        metavar: Placeholder of the value in the help.
        single: Of a switch, without its --no-.
    """
    row = settings.BY_NAME[name]
    kind: Any = None
    if row.choices:
        kind = click.Choice(row.choices)
    elif row.range:
        kind = click.IntRange(*row.range)
    elif row.form in ("path", "paths", "folders", "labels"):
        kind = click.Path(path_type=Path)
    switch = row.kind is bool or bool in (row.kind if isinstance(row.kind, tuple) else ())
    words = default or ("the recipe's" if row.of_recipe else "")
    if not words and isinstance(row.default, bool):
        words = "on" if row.default else "off"
    elif not words and row.default:
        words = str(row.default)
    text = "  ".join(filter(None, (help, f"[default: {words}]" if words and not single else "")))
    if switch:
        names = row.flag if single else f"{row.flag}/--no-{row.flag.removeprefix('--')}"
        return click.option(names, name, is_flag=True, default=None, help=text)
    return click.option(row.flag, name, type=kind, metavar=metavar, multiple=row.default == (), help=text)


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
    help="Intended use of the model and the kind of images it expects; stored in converted files.  [default: known "
    "for public data sets, else 'not stated']",
)
"""Of `train`, which keeps it in config.yaml, and of `convert`, where it goes before what the run says."""

_LAYOUT = setting_option(
    "layout",
    "Layout of DATA, such as isic2019, csv or class-folders (an unknown name lists them all).",
    default="recognised from the files",
    metavar="NAME",
)
_GROUP_FROM = setting_option(
    "group_from",
    "Patient or lesion ids for DATA that has none: a regular expression with one (group), matched in each image's "
    "path below DATA, such as '(p[0-9]+)_'; or a csv with the columns image and group.",
    metavar="REGEX|CSV",
)

also_option = setting_option(
    "also",
    "Add further pictures of DATA's images, such as another resolution or a crop: those in FOLDER, at any depth, that "
    "are named by image id. Each has its image's label, group and part of the split. May be repeated.",
    metavar="FOLDER",
)
"""Of the commands that read a data set to train on it."""

_CLASSES = (
    setting_option("drop_classes", "Leave out all images of class NAME; may be repeated.", metavar="NAME"),
    setting_option("min_images", "Leave out classes with fewer than N images.", metavar="N"),
)


def label_options(labels: str, task: str = "", default: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--labels and --task: what DATA's labels mean.

    Args:
        labels, task: Their help.
        default: Of the task, in words.
    """

    def added(command: Callable[..., Any]) -> Callable[..., Any]:
        command = setting_option("task", task, default=default)(command)
        return setting_option("labels", labels, metavar="FILE")(command)

    return added


def class_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--drop-class and --min-images: which classes do not take part."""
    for option in reversed(_CLASSES):
        command = option(command)
    return command


def layout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--layout, --image-column, --label-column, --group-column, --images and --group-from: how DATA is to be read."""
    return _LAYOUT(column_options(_GROUP_FROM(command)))
