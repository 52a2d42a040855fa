"""What skin-edge itself answers to a bundle's pictures, as an app writes it (docs/contract.md, section 9).

    python -m skin_edge.benchmarks.bundle.answers BUNDLE > answers.jsonl

On a device, or with other versions of Pillow, NumPy and LiteRT than the bundle was made with; `skin-edge verify BUNDLE
answers.jsonl` then says whether they are the same. The model is the bundle's.
"""

from __future__ import annotations

import base64
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ...edge_runtime import cli, console
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.errors import ImageError
from . import golden
from .reading import classifier_of, read_bundle

_TOLD = (
    "file",
    "upright",
    "probabilities",
    "label",
    "decisions",
    "features",
    "assessable",
    "reasons",
    "possible",
)


def answers(classifier: SkinClassifier, files: Mapping[str, bytes]) -> Iterator[dict[str, Any]]:
    """A line for each picture; one that cannot be assessed has its class all the same, and says that it is none.

    Args:
        files: Name within golden/ -> content.
    """
    for name, content in files.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of what is then refused
                line, pixels = golden.record(classifier, name, content)
        except ImageError as error:
            yield {"file": name, "error": f"cannot assess: {error}"}
            continue
        told = {key: line[key] for key in _TOLD if key in line}
        yield told | {
            "input": {"sha256": line["input"]["sha256"], "base64": base64.b64encode(pixels.tobytes()).decode()}
        }


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
def main(bundle: Path) -> None:
    """Answer the golden pictures of BUNDLE, a folder or a zip, one JSON object a line.

    \b
    Example:
      python -m skin_edge.benchmarks.bundle.answers handover.zip > answers.jsonl
    """
    read = read_bundle(bundle)
    with classifier_of(read) as classifier:
        for line in answers(classifier, {name: read.files[f"golden/{name}"] for name in read.golden}):
            console.say_json(line, indent=None)


if __name__ == "__main__":
    cli.run_module(main)
