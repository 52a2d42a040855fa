"""Help of commands with many options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click


class SectionedCommand(click.Command):
    """A command whose help lists its options under titles, in the order of `sections`.

    Args:
        sections: Title -> the options' names in Python. What is in none of them comes last, as "Options".
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
