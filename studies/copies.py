"""Whether a model answers alike on two copies of the same pictures, say as photographed and as thumbnails.

    python -m studies.copies FOLDER OTHER [--model MODEL] [--at-most N] [--json]

Pictures belong together by their name without suffix. No label is needed: this measures steadiness, not accuracy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from skin_edge.edge_runtime import console, pictures
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, DISCLAIMER, SkinClassifier
from skin_edge.edge_runtime.errors import DataError, GateError, SkinEdgeError

from . import model_path


def compare(classifier: SkinClassifier, folder: Path, other: Path) -> dict[str, Any]:
    """The answers on every picture of `folder` and its copy in `other`, each with all folders below; JSON-ready.

    {"model", "folder", "other", "n", "without_copy", "differ", "changed", "largest_difference", "mean_difference"}.
    differ: pictures whose most probable class is another one; changed: for each {name, class, probability, other_class,
    other_probability}. largest_difference, mean_difference: over pictures, of the largest change among a picture's
    probabilities. without_copy: pictures of `folder` that `other` does not have, which are in no figure.

    Raises DataError where the two share no picture or a name occurs twice in one of them, ImageError and
    PredictionError where a picture cannot be assessed.
    """
    ours, theirs = _pictures(folder), _pictures(other)
    shared = sorted(ours.keys() & theirs.keys())
    if not shared:
        raise DataError(
            f"{folder} and {other} share no picture of the same name: give two folders of the same pictures"
        )
    changed: list[dict[str, Any]] = []
    largest: list[float] = []
    for name in shared:
        one, two = classifier.predict(ours[name]), classifier.predict(theirs[name])
        largest.append(max(abs(value - two.probabilities[code]) for code, value in one.probabilities.items()))
        if one.label != two.label:
            changed.append(
                {
                    "name": name,
                    "class": one.label,
                    "probability": one.probabilities[one.label],
                    "other_class": two.label,
                    "other_probability": two.probabilities[two.label],
                }
            )
    return {
        "model": str(classifier.path),
        "folder": str(folder),
        "other": str(other),
        "n": len(shared),
        "without_copy": len(ours) - len(shared),
        "differ": len(changed),
        "changed": changed,
        "largest_difference": max(largest),
        "mean_difference": sum(largest) / len(largest),
    }


def table(result: Mapping[str, Any]) -> console.Page:
    """The comparison at 80 columns."""
    lines = [f"{result['differ']} of {result['n']} pictures get another answer on their copy"]
    if result["without_copy"]:
        lines.append(f"{result['without_copy']} pictures without a copy are left out")
    lines.append(
        f"change of a picture's probabilities: {result['mean_difference']:.3f} on average, "
        f"{result['largest_difference']:.3f} at most"
    )
    lines += [
        f"  {console.cell(row['name'], 40)} {row['class']} {row['probability']:.2f} -> "
        f"{row['other_class']} {row['other_probability']:.2f}"
        for row in result["changed"]
    ]
    return console.page([*lines, DISCLAIMER])


def _pictures(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if not pictures.is_picture(str(path)):
            continue
        if path.stem in found:
            raise DataError(f"{folder} holds two pictures named {path.stem}: {found[path.stem]} and {path}")
        found[path.stem] = path
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m studies.copies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("other", type=Path, metavar="OTHER")
    parser.add_argument("--model", type=model_path, default=DEFAULT_MODEL, help="default: the packaged one")
    parser.add_argument("--at-most", type=int, metavar="N", help="exit code 3 where more than N answers differ")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    arguments = parser.parse_args()
    try:
        result = compare(SkinClassifier(arguments.model), arguments.folder, arguments.other)
        console.say_json(result) if arguments.json else console.say(table(result))
        if arguments.at_most is not None and result["differ"] > arguments.at_most:
            raise GateError(f"{result['differ']} answers differ, limit {arguments.at_most}")
    except SkinEdgeError as error:
        console.say(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
