"""Ways to tell what shows no lesion, compared on the validation part: what `convert` does, and what it could have done.

    python -m studies.outlier_scores MODEL HAM10000 --split docs/experiments/split.csv --without FOLDER

Each score gets the threshold that 1.5% of the validation pictures exceed; of every folder of pictures without a lesion,
and of drawn ones and corners without the lesion, the share above it is printed. Energy: Liu et al., NeurIPS 2020; the
largest logit: Hendrycks et al., ICML 2022; distances: Lee et al., NeurIPS 2018. MODEL is a file without an assessment.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from skin_edge.convert.assess import head, outliers
from skin_edge.convert.tflite import flatbuffer
from skin_edge.edge_runtime import cli, console, preprocess
from skin_edge.edge_runtime.commands import ModelPath
from skin_edge.edge_runtime.errors import ImageError
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.edge_runtime.model_file import read_model_file
from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.edge_runtime.quantization import byte_table, dequantize
from skin_edge.train.data import further, layouts, splits

Floats = npt.NDArray[np.float64]
Score = Callable[[Sequence[Floats]], Floats]

_EXCEED = 0.015
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
_SEED = 42
_TRAINING = 3000  # pictures


class Seen:
    """A network's layers, as means over the positions: [the layers of `head.layers` ..., pooled features, logits].

    Args:
        network: With a softmax behind its logits.
        spec: Of its pictures.
    """

    def __init__(self, network: bytes, spec: InputSpec):
        model = flatbuffer.read(network)
        graph = model.subgraphs[0]
        named = [(flatbuffer.operator_name(model, operator), operator) for operator in graph.operators]
        pooled = [int(operator.outputs[0]) for name, operator in named if name == "MEAN"][-1]
        logits = next(int(operator.inputs[0]) for name, operator in named if name == "SOFTMAX")
        self.layers = head.layers(network)
        self.names = [f"layer {number}" for number in range(1, len(self.layers) + 1)] + ["pooled", "logits"]
        self._interpreter = Interpreter(head.with_outputs(network, [*self.layers, pooled, logits]))
        source = self._interpreter.inputs[0]
        self._table = byte_table(spec.real_table, source.quantization, source.dtype)[:, 0]

    def __call__(self, pictures: Sequence[npt.NDArray[np.uint8]] | npt.NDArray[np.uint8]) -> list[Floats]:
        """One array [n, channels] for each of `names`."""
        rows: list[list[Floats]] = [[] for _ in self.names]
        ends = self._interpreter.outputs[-len(self.names) :]
        for picture in pictures:
            found = self._interpreter.invoke(self._table[picture][None])[-len(self.names) :]
            for row, values, end in zip(rows, found, ends, strict=True):
                real = dequantize(values, end.quantization)
                row.append(real[0].mean(axis=(0, 1)) if real.ndim == 4 else real[0])
        return [np.stack(row).astype(np.float64) for row in rows]


def scores(seen: Seen, good: Sequence[Floats], bad: Sequence[Floats]) -> Iterator[tuple[str, Score]]:
    """(name, score) of each way; the higher, the less a lesion.

    Args:
        seen: Of the network.
        good: Its layers on training pictures.
        bad: On outliers to learn from.
    """
    yield "energy", lambda rows: -np.log(np.exp(rows[-1]).sum(axis=1))
    yield "largest logit", lambda rows: -rows[-1].max(axis=1)
    yield "largest probability", lambda rows: -1 / np.exp(rows[-1] - rows[-1].max(axis=1, keepdims=True)).sum(axis=1)
    for position, name in enumerate(seen.names[:-1]):
        yield f"distance, {name}", _distance(position, good[position])
    for position, name in enumerate(seen.names[:-1]):
        yield f"head, {name}", _head(position, good[position], bad[position])


def _distance(position: int, good: Floats) -> Score:
    """Of Mahalanobis, squared."""
    mean, deviation = good.mean(axis=0), good.std(axis=0) + 1e-3
    standardized: Floats = (good - mean) / deviation
    covariance: Floats = np.swapaxes(standardized, 0, 1) @ standardized / len(good)
    values, vectors = np.linalg.eigh(covariance + 1e-2 * np.identity(good.shape[1]))
    whitening = vectors / np.sqrt(values)
    return lambda rows: ((((rows[position] - mean) / deviation) @ whitening) ** 2).sum(axis=1)


def _head(position: int, good: Floats, bad: Floats) -> Score:
    from skin_edge.convert.assess.fit import linear

    weights, bias = linear(good, bad)
    return lambda rows: rows[position] @ weights + bias


def _pixels(paths: Sequence[str], spec: InputSpec) -> list[npt.NDArray[np.uint8]]:
    found: list[npt.NDArray[np.uint8]] = []
    for path in paths:
        try:
            found.append(preprocess.to_pixels(path, spec))
        except ImageError:
            continue
    return found


@click.command()
@click.argument("model", type=ModelPath())
@click.argument("data", type=click.Path(path_type=Path))
@click.option("--split", required=True, type=click.Path(path_type=Path), help="A csv with image_id and split.")
@click.option("--also", type=click.Path(path_type=Path), help="Further pictures of the same images.")
@click.option("--without", multiple=True, type=click.Path(path_type=Path), help="Pictures without a lesion.")
def main(model: Path, data: Path, split: Path, also: Path | None, without: tuple[Path, ...]) -> None:
    """Compare ways to tell what shows no lesion, with MODEL's network.

    \b
    Example:
      python -m studies.outlier_scores model.tflite HAM10000 --split docs/experiments/split.csv
    """
    file = read_model_file(model)
    spec, seen = file.input_spec, Seen(bytes(file.content[: file.network_length]), file.input_spec)
    dataset = layouts.read_dataset(data, also=[also] if also else [])
    frame: Any = dataset.frame
    chosen: Any = splits.read_split(split, frame)
    paths: dict[str, list[str]] = {}
    for part in ("train", "val"):
        rows: Any = further.joined(frame.loc[(chosen == part).to_numpy()], dataset.further)
        paths[part] = rows["path"].tolist()
    draw = np.random.default_rng(_SEED)
    some: list[str] = [paths["train"][i] for i in draw.permutation(len(paths["train"]))[:_TRAINING].tolist()]
    good, validation = seen(_pixels(some, spec)), seen(_pixels(paths["val"], spec))
    learned = [
        *outliers.drawn(1200, np.random.default_rng(_SEED), spec),
        *outliers.margins(some, 600, np.random.default_rng(_SEED), spec),
    ]
    bad = seen(learned)
    unseen = {
        "drawn": seen(outliers.drawn(300, np.random.default_rng(_SEED + 1), spec)),
        "skin": seen(outliers.margins(paths["val"], 300, np.random.default_rng(_SEED + 1), spec)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of strangers' pictures
        for folder in without:
            files = sorted(str(path) for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
            unseen[folder.name] = seen(_pixels(files, spec))
    console.say("| score | " + " | ".join(f"{name} ({len(rows[0])})" for name, rows in unseen.items()) + " |")
    console.say("|---" * (len(unseen) + 1) + "|")
    for name, score in scores(seen, good, bad):
        limit = np.quantile(score(validation), 1 - _EXCEED)
        console.say(
            f"| {name} | " + " | ".join(f"{(score(rows) > limit).mean():.1%}" for rows in unseen.values()) + " |"
        )


if __name__ == "__main__":
    cli.run_module(main)
