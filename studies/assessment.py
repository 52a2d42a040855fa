"""How many pictures a model refuses: good ones, other things, skin without a lesion; of which reasons.

    python -m studies.assessment MODEL HAM10000 --split docs/experiments/split.csv [--also FOLDER] [--without FOLDER]

Counts on the part that the split names, whole, per class, and on `--also`'s pictures of the same images; on corners of
these without a lesion; on drawn textures, text and plain colours that no head has learned from; and on every picture
under `--without`, folders of photographs without a lesion. All as `predict` answers.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from skin_edge.benchmarks.stats.metrics import wilson
from skin_edge.convert.assess import outliers
from skin_edge.edge_runtime import cli, console
from skin_edge.edge_runtime.classifier import Prediction, SkinClassifier
from skin_edge.edge_runtime.commands import ModelPath
from skin_edge.edge_runtime.errors import SkinEdgeError
from skin_edge.train.data import further, layouts, splits

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_SEED = 2026  # of drawn pictures and corners: another than any conversion's


@dataclass
class Count:
    """Of one set of pictures.

    Attributes:
        n: Pictures that could be decoded.
        refused: Of them.
        reasons: Reason -> pictures; one may have several.
        possible: Pictures whose true class is possible.
        sizes: Of the sets of possible classes.
    """

    n: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter[str])
    possible: int = 0
    sizes: list[int] = field(default_factory=list[int])

    def add(self, answer: Prediction | SkinEdgeError, truth: str | None) -> None:
        """One picture's. truth: its class; None where it has none."""
        if isinstance(answer, SkinEdgeError):
            return
        self.n += 1
        self.refused += not answer.assessable
        self.reasons.update(reason.reason for reason in answer.reasons)
        if truth is not None and answer.possible is not None:
            self.possible += truth in answer.possible
            self.sizes.append(len(answer.possible))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        share = self.refused / self.n if self.n else None
        found: dict[str, Any] = {"n": self.n, "refused": self.refused, "share": share}
        if self.n:
            found["interval"] = list(wilson(self.refused / self.n, self.n))
        if self.sizes:
            found["coverage"] = self.possible / self.n
            found["coverage_interval"] = list(wilson(self.possible / self.n, self.n))
            found["mean_set"] = float(np.mean(self.sizes))
        return found | {"reasons": dict(self.reasons.most_common())}


def counted(
    classifier: SkinClassifier, pictures: Iterable[Any], truths: Sequence[str] | None = None
) -> dict[str, Count]:
    """Class, or "all" -> Count.

    Args:
        classifier: Of a file with an assessment.
        pictures: As `predict_many` takes them.
        truths: Their classes; None where they have none.
    """
    counts = {"all": Count()}
    for position, answer in enumerate(classifier.predict_many(pictures)):
        truth = truths[position] if truths is not None else None
        for name in ("all", truth):
            if name is not None:
                counts.setdefault(name, Count()).add(answer, truth)
    return counts


def study(
    classifier: SkinClassifier, data: Path, split: Path, part: str, also: Path | None, without: Sequence[Path]
) -> dict[str, dict[str, Count]]:
    """Set of pictures -> its counts.

    Args:
        classifier: Of a file with an assessment.
        data: A data set.
        split: A csv with image_id and split.
        part: Whose pictures are taken.
        also: A folder with further pictures of the same images, named by image id; None without.
        without: Folders of pictures without a lesion.
    """
    dataset = layouts.read_dataset(data, also=[also] if also else [])
    frame: Any = dataset.frame
    chosen: Any = splits.read_split(split, frame)
    own = frame.loc[(chosen == part).to_numpy()]
    rows: Any = further.joined(own, dataset.further)
    paths, labels = ([str(value) for value in rows[column].tolist()] for column in ("path", "label"))
    found = {f"{part} part": counted(classifier, paths[: len(own)], labels[: len(own)])}
    for one in dataset.further:
        found[f"{part} part, {one.name}"] = counted(classifier, paths[len(own) :], labels[len(own) :])
    spec = classifier.input_spec
    corners = outliers.margins(paths, 400, np.random.default_rng(_SEED), spec)
    found["skin without a lesion, corners of these"] = counted(classifier, list(corners))
    found["drawn: textures, text, shapes, plain"] = counted(
        classifier, list(outliers.drawn(300, np.random.default_rng(_SEED), spec))
    )
    side, draw = 160, np.random.default_rng(_SEED)
    plain = [np.full((side, side, 3), level, np.uint8) for level in (0, 128, 255)]
    noise = [draw.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(7)]
    found["black, grey, white, noise"] = counted(classifier, [*plain, *noise])
    for folder in without:
        files = sorted(str(path) for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in _SUFFIXES)
        found[f"without a lesion: {folder.name}"] = counted(classifier, files)
    return found


@click.command()
@click.argument("model", type=ModelPath())
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", required=True, type=click.Path(path_type=Path), help="A csv with image_id and split.")
@click.option("--part", default="test", show_default=True, help="Whose pictures are taken.")
@click.option("--also", type=click.Path(path_type=Path), help="Further pictures of the same images.")
@click.option("--without", multiple=True, type=click.Path(path_type=Path), help="Pictures without a lesion.")
@click.option("--json", "as_json", is_flag=True, help="Print all counts as JSON.")
def main(
    model: Path, data: Path, split: Path, part: str, also: Path | None, without: tuple[Path, ...], as_json: bool
) -> None:
    """Count what MODEL refuses.

    \b
    Example:
      python -m studies.assessment model.tflite HAM10000 --split docs/experiments/split.csv
    """
    with SkinClassifier(model) as classifier, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of strangers' pictures
        found = study(classifier, data, split, part, also, without)
    if as_json:
        console.say_json({name: {key: one.to_dict() for key, one in counts.items()} for name, counts in found.items()})
        return
    for name, counts in found.items():
        console.say(name)
        for key, count in counts.items():
            one = count.to_dict()
            share = "not known" if one["share"] is None else f"{one['share']:.1%} refused"
            line = f"  {key:6} {one['n']:5} {share:>14}"
            if "coverage" in one:
                low, high = one["coverage_interval"]
                line += f"  in its set {one['coverage']:.3f} ({low:.3f} to {high:.3f}), {one['mean_set']:.1f} classes"
            top = ", ".join(f"{reason} {n}" for reason, n in list(one["reasons"].items())[:4])
            console.say(f"{line}  {top}")


if __name__ == "__main__":
    cli.run_module(main)
