"""Flags of `skin-edge bench --engine`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--engine",
        "engines",
        multiple=True,
        metavar="NAME",
        help="Judge whether this engine may run the model, instead of measuring the model: a name from the list above, "
        "delegate:PATH, or all; can be repeated.",
    ),
    click.option(
        "--engines-dir",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Folder with the engines' own environments.  [default: ~/.cache/skin-edge/engines]",
    ),
    click.option(
        "--engine-repeats",
        type=click.IntRange(2, 1000),
        default=20,  # verdict.REPEATS
        show_default=True,
        help="Number of answers to each golden picture; fewer for a very slow engine.",
    ),
    click.option(
        "--engine-timeout",
        type=click.FloatRange(min=0.1),
        default=120,  # measure.TIMEOUT_S, whose module would load NumPy for `--help`
        show_default=True,
        metavar="SECONDS",
        help="Longest time without an answer before an engine counts as hung.",
    ),
)

FLAGS = {"--engine", "--engines-dir", "--engine-repeats", "--engine-timeout"}
ALSO = {
    *("--data", "--split", "--images", "--image-column", "--label-column", "--group-column", "--num-threads"),
    *("--gate", "--mean", "--std", "--labels", "--result-json", "--html", "--markdown", "--json"),
}
"""What goes with --engine besides FLAGS."""


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--engine, --engines-dir and --engine-timeout."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
