"""Measurements that docs/results.md and the recipes' hours need and no user does.

They are not installed: run them from the root of a checkout, `python -m studies.NAME`. They may import everything, and
nothing imports them.
"""

import argparse
from pathlib import Path

from skin_edge.edge_runtime import packaged
from skin_edge.edge_runtime.errors import ModelFileError

# Where a child process finds `studies` again.
CHECKOUT = Path(__file__).resolve().parents[1]


def model_path(text: str) -> Path:
    """`packaged.path_of` as the type of an argument of argparse: a .tflite file, or the name of a packaged model."""
    try:
        return packaged.path_of(text)
    except ModelFileError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
