"""Flags of `skin-edge bench --robustness`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

_OPTIONS = (
    click.option(
        "--robustness",
        is_flag=True,
        help="Also measure the loss of accuracy on images as other clinics make them, distorted (needs --data).",
    ),
    click.option(
        "--robustness-pictures",
        type=click.IntRange(min=1),
        default=300,  # measure.PICTURES, whose module would load NumPy for `--help`
        show_default=True,
        metavar="N",
        help="Number of images to distort: as many of each class, drawn at random.",
    ),
    click.option(
        "--robustness-seed",
        type=click.IntRange(0, 2**32 - 1),
        default=42,
        show_default=True,
        help="Random seed of the drawn images and of their distortions.",
    ),
    click.option(
        "--robustness-sheet",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write one image under every distortion, with the model's answers, as PNG; of the first MODEL.",
    ),
)

FLAGS = {"--robustness-pictures", "--robustness-seed", "--robustness-sheet"}
"""What goes with --robustness alone."""


def robustness_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--robustness and what goes with it."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
