"""docs/cli.md, from the help of every command: `python -m tests.cli_reference` writes it, a test keeps it current."""

from __future__ import annotations

from pathlib import Path

import click

from skin_edge.edge_runtime import files
from skin_edge.edge_runtime.cli import COMMANDS, root
from skin_edge.edge_runtime.console import WIDTH

REFERENCE = Path(__file__).parents[1] / "docs" / "cli.md"

_OPENING = """# Command line

Made from `skin-edge COMMAND --help` by `python -m tests.cli_reference`; edit the help texts, not this
page. Exit codes: 0 good, 1 failed, 2 wrong usage, 3 a limit was not met, 130 and 143 interrupted.
"""


def click_command(name: str) -> click.Command:
    """The command of that name; raises KeyError for one that does not exist."""
    if name not in COMMANDS:
        raise KeyError(name)
    command = root.get_command(click.Context(root), name)
    assert command is not None
    return command


def context(command: click.Command | None = None) -> click.Context:
    """Of a command below skin-edge, or of skin-edge; a terminal of WIDTH columns, two of which click leaves blank."""
    top = click.Context(root, info_name="skin-edge", terminal_width=WIDTH - 2, **root.context_settings)
    return click.Context(command, top, command.name, **command.context_settings) if command else top


def help_text(name: str | None = None) -> str:
    """What `skin-edge NAME --help` prints; without a name what `skin-edge --help` does."""
    found = context(click_command(name)) if name else context()
    return found.command.get_help(found)


def reference() -> str:
    """The whole of docs/cli.md."""
    parts = [_OPENING, f"```text\n{help_text()}\n```\n"]
    parts += [f"## {name}\n\n```text\n{help_text(name)}\n```\n" for name in COMMANDS]
    return "\n".join(parts)


if __name__ == "__main__":
    files.write(REFERENCE, reference())
