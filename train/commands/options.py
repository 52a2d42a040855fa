"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ...edge_runtime import console
from ...edge_runtime.errors import UsageError

images_option = click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where the pictures lie that a csv names. [default: where its paths say, or below its folder]",
)
"""For every command that reads a table of pictures: `benchmarks.inputs.locate.located` finds them."""

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

_LAYOUT = (
    click.option("--layout", metavar="NAME", help="Of DATA. [default: recognised by its files]"),
    click.option(
        "--image-column", metavar="NAME", help="Of a plain csv: the picture's path, name or id. [default: path]"
    ),
    click.option("--label-column", metavar="NAME", help="Of a plain csv. [default: label]"),
    click.option("--group-column", metavar="NAME", help="Of a plain csv: patient or lesion. [default: group]"),
    images_option,
    click.option(
        "--group-from",
        metavar="REGEX|CSV",
        help="Patients or lesions, where DATA names none: one (group) in a picture's path below DATA, such as "
        "'(p[0-9]+)_', or a csv with image and group.",
    ),
)

_CLASSES = (
    click.option("--drop-class", "drop_classes", multiple=True, metavar="NAME", help="Leave it out; may be repeated."),
    click.option("--min-images", type=click.IntRange(min=1), metavar="N", help="Leave out classes with fewer."),
)


class SectionedCommand(click.Command):
    """A command whose help lists its options under titles, in the order of `sections`.

    sections: title -> the options' names in Python. What is in none of them comes last, as "Options".
    """

    def __init__(self, *arguments: Any, sections: Mapping[str, Sequence[str]], **named: Any):
        super().__init__(*arguments, **named)
        self.sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        params = [param for param in self.get_params(ctx) if isinstance(param, click.Option)]
        named = {name for names in self.sections.values() for name in names}
        rest = [str(param.name) for param in params if param.name not in named]
        for title, names in {**self.sections, "Options": rest}.items():
            records = [param.get_help_record(ctx) for name in names for param in params if param.name == name]
            if records:
                with formatter.section(title):
                    formatter.write_dl([record for record in records if record])


def class_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--drop-class and --min-images: which classes do not take part."""
    for option in reversed(_CLASSES):
        command = option(command)
    return command


def layout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--layout, --image-column, --label-column, --group-column, --images and --group-from: how DATA is to be read."""
    for option in reversed(_LAYOUT):
        command = option(command)
    return command
