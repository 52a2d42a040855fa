"""What a family of models costs and brings: size and time against accuracy, as a table and a plot.

    python -m studies.family HAM10000 --split docs/experiments/split.csv [MODEL ...] --out FOLDER

Each MODEL is a .tflite or the name of a packaged one; without any, all that are packaged. FOLDER gets family.md,
family.svg and family.json. Accuracy is measured on the part that the split names, every image of it, whether a file
refuses it or not, with intervals bootstrapped over lesions; at thresholds as they are frozen in the files. Time is that
of a whole prediction, from the bytes of a picture, as a ratio to `default`, or to the first MODEL where that is not
among them: in each of several rounds all models are timed one after the other, so that a machine that slows down slows
all.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import click
import numpy as np

from skin_edge.benchmarks.accuracy.answered import said
from skin_edge.benchmarks.measure.caveats import caveats
from skin_edge.benchmarks.measure.latency import measure_latency
from skin_edge.benchmarks.measure.machine import describe_machine
from skin_edge.benchmarks.measure.picture import Picture, read_picture
from skin_edge.benchmarks.report import charts
from skin_edge.benchmarks.report.document import Document, Figure, Notes, Section, Table, Text
from skin_edge.benchmarks.report.markdown import markdown
from skin_edge.benchmarks.stats import operating_points
from skin_edge.benchmarks.stats.describe import describe
from skin_edge.benchmarks.stats.group_kinds import COLUMN, Groups
from skin_edge.edge_runtime import cli, console, files, packaged
from skin_edge.edge_runtime.classifier import Prediction, SkinClassifier
from skin_edge.edge_runtime.commands import ModelPath
from skin_edge.edge_runtime.errors import DataError, OutputExistsError, SkinEdgeError, UsageError
from skin_edge.train.data import layouts, splits

_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1d2329;paint-order:stroke;stroke:#fff;stroke-width:3}"
    ".grid{stroke:#d9dee3}.line{fill:none;stroke-width:1.5}"
    ".line.bar{stroke-width:2}.a{fill:#1f6f8b}.line.a{stroke:#1f6f8b}"
    ".line.ideal{stroke:#5b6570;stroke-dasharray:4 3}.title{font-weight:600}"
)  # light, for Markdown pages, which have no style sheet; the colours are those of page.css


def study(
    models: Sequence[Path], data: Path, split: Path, part: str, *, rounds: int, runs: int, bootstrap: int = 1000
) -> dict[str, Any]:
    """Everything measured, JSON-ready.

    data: {"part", "images", "lesions", "majority": {"label", "share"}, "split"}. machine, picture, rounds, runs.
    reference: the name to which times are ratios. models: each {"name", "file_bytes", "sha256", "input", "time",
    "network_time" (each {"median_ms", "ratio", "ratios"}), "accuracy" (`describe`)}.

    Args:
        models: The files; the first is the one that times are ratios to.
        data: A data set.
        split: A csv with image_id and split.
        part: Whose pictures are taken.
        rounds: How often all models are timed, at least 1.
        runs: Timed predictions of each in a round, at least 1.
        bootstrap: Number of resamples.

    Raises:
        DataError: Where a picture cannot be read or has a label that a model does not know: all are measured on the
            same.
    """
    frame: Any = layouts.read_dataset(data).frame
    parts: Any = splits.read_split(split, frame)
    rows: Any = frame.loc[(parts == part).to_numpy()]
    if not len(rows):
        raise DataError(f"{split} names no image of the part {part}")
    labels: list[str] = rows["label"].tolist()
    picture = read_picture(rows["path"].tolist()[0])
    classifiers = [SkinClassifier(model) for model in models]
    machine = describe_machine(classifiers[0].interpreter.engine)  # its load before ours
    times = timed(classifiers, picture, rounds=rounds, runs=runs)
    measured: list[dict[str, Any]] = []
    for name, classifier, time in zip(_names(models), classifiers, times, strict=True):
        console.report(f"{name}: {len(rows)} images")
        content, spec = classifier.path.read_bytes(), classifier.input_spec
        measured.append(
            {
                "name": name,
                "file_bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
                "input": [spec.width, spec.height],
                **time,
                "accuracy": accuracy(classifier, rows, bootstrap),
            }
        )
    majority = max(sorted(set(labels)), key=labels.count)
    return {
        "data": {
            "part": part,
            "images": len(rows),
            "lesions": int(rows["group"].nunique()),
            "majority": {"label": majority, "share": labels.count(majority) / len(labels)},
            "split": split.name,
        },
        "machine": machine,
        "picture": picture.description,
        "rounds": rounds,
        "runs": runs,
        "reference": measured[0]["name"],
        "models": measured,
    }


def timed(classifiers: Sequence[SkinClassifier], picture: Picture, *, rounds: int, runs: int) -> list[dict[str, Any]]:
    """Of each classifier {"time": of a whole prediction, "network_time": of the network in it}.

    Args:
        classifiers: The first is the one that times are ratios to.
        picture: That all of them answer.
        rounds: How often all are timed, at least 1.
        runs: Timed predictions of each in a round, at least 1.
    """
    whole, network = (np.zeros((rounds, len(classifiers))) for _ in range(2))
    for number in range(rounds):
        for position, classifier in enumerate(classifiers):
            found = measure_latency(classifier, picture.content, runs)
            whole[number, position] = found["median_ms"]
            network[number, position] = found["stages"]["invoke"]["median_ms"]
    return [
        {
            name: {
                "median_ms": statistics.median(times[:, position].tolist()),
                "ratio": statistics.median(ratios := (times[:, position] / times[:, 0]).tolist()),
                "ratios": ratios,
            }
            for name, times in (("time", whole), ("network_time", network))
        }
        for position in range(len(classifiers))
    ]


def accuracy(classifier: SkinClassifier, rows: Any, bootstrap: int) -> dict[str, Any]:
    """`describe` of a file's answers to the pictures of `rows`, a frame of `layouts`.

    Raises:
        DataError: Where a picture cannot be read, or the model does not know its label.
    """
    codes = [label.code for label in classifier.labels]
    if strange := sorted(set(rows["label"]) - set(codes)):
        raise DataError(f"{classifier.path} does not know the label {strange[0]}; it knows: {', '.join(codes)}")
    predictions: list[Prediction] = []
    for path, answer in zip(rows["path"], classifier.predict_many(rows["path"].tolist()), strict=True):
        if isinstance(answer, SkinEdgeError):
            raise DataError(f"{path} cannot be measured by {classifier.path}: {answer}")
        predictions.append(answer)
    return describe(
        np.array([codes.index(label) for label in rows["label"]]),
        np.array([[one.probabilities[code] for code in codes] for one in predictions], np.float32),
        classifier.labels,
        Groups(rows["group"].to_numpy(), rows[COLUMN].to_numpy()),
        frozen=operating_points.from_contract(classifier.contract.get("thresholds") or (), classifier.labels),
        said=said(classifier, predictions),
        bootstrap=bootstrap,
    )


def _names(models: Sequence[Path]) -> list[str]:
    """The word of a packaged model; the name of another file, with its folders where that alone is not its own."""
    family = {packaged.file_of(name): name for name in packaged.NAMES}
    stems = [model.stem for model in models]
    return [
        family.get(model) or (model.stem if stems.count(model.stem) == 1 else str(model.with_suffix("")))
        for model in models
    ]


def document(result: Mapping[str, Any]) -> Document:
    """The table, and what its figures are of.

    Args:
        result: Of `study`.
    """
    models, data, reference = result["models"], result["data"], result["reference"]
    majority = data["majority"]

    def ratio(time: Mapping[str, Any]) -> str:
        low, high = min(time["ratios"]), max(time["ratios"])
        return f"{time['ratio']:.2f}" + ("" if low == high else f" ({low:.2f} to {high:.2f})")

    rows: list[tuple[Text, ...]] = [
        ("input, pixels", *("x".join(map(str, one["input"])) for one in models)),
        ("file, MB", *(f"{one['file_bytes'] / 1e6:.2f}" for one in models)),
        (f"time of a prediction, {reference} = 1", *(ratio(one["time"]) for one in models)),
        ("time of its network alone, so", *(ratio(one["network_time"]) for one in models)),
        ("time of a prediction, ms", *(f"{one['time']['median_ms']:.1f}" for one in models)),
        *_accuracy_rows(
            [one["accuracy"] for one in models], f"accuracy (always {majority['label']}: {majority['share']:.3f})"
        ),
    ]
    machine = result["machine"]
    notes = [
        f"{data['images']:,} images of {data['lesions']:,} lesions; {data['split']}, part {data['part']}. All of them, "
        "whether a file refuses them or not.",
        "In brackets: 95% intervals, bootstrapped over lesions. Where they overlap, nothing has been shown.",
        "Thresholds are those frozen in each file.",
        f"Times: {machine['cpu'] or 'CPU not known'}, {machine['cores']} cores, one thread; {result['picture']}; "
        f"medians of {result['rounds']} rounds with {result['runs']} predictions of each model, in brackets the lowest "
        "and the highest round.",
        *(f"Times are doubtful: {one['what']} ({one['remedy']})." for one in caveats(result, None)),
        *(f"{one['name']}: SHA-256 {one['sha256']}" for one in models),
    ]
    section = Section(
        "family", "Size and time against accuracy", [Table(("", *(one["name"] for one in models)), rows), Notes(notes)]
    )
    return Document(
        "The family of models", f"{data['split']}, part {data['part']}", [section], "python -m studies.family"
    )


def _accuracy_rows(models: Sequence[Mapping[str, Any]], accuracy_title: str) -> list[tuple[Text, ...]]:
    def ranged(value: float | None, bounds: Sequence[float] | None) -> str:
        if value is None:
            return "not defined"
        return f"{value:.3f}" + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")

    titles = {"balanced_accuracy": "balanced accuracy", "accuracy": accuracy_title, "macro_auc": "macro AUC"}
    rows: list[tuple[Text, ...]] = [
        (title, *(ranged(one[name], one["intervals"][name]) for one in models)) for name, title in titles.items()
    ]
    targets = list(dict.fromkeys(target for one in models for target in one["targets"]))
    for target in reversed(targets):  # melanoma first
        areas = [one["targets"].get(target) for one in models]
        rows.append(
            (f"AUC, {target} or not", *(ranged(area["auc"], area["interval"]) if area else "-" for area in areas))
        )
    wanted = list(dict.fromkeys((row["target"], row["wanted"]) for one in models for row in one["operating_points"]))
    for target, share in wanted:
        found = [
            next((row for row in one["operating_points"] if (row["target"], row["wanted"]) == (target, share)), None)
            for one in models
        ]
        for figure in ("sensitivity", "specificity"):
            cells = (ranged(row[figure], row["intervals"][figure]) if row else "-" for row in found)
            rows.append((f"{figure} at {target}-{share:.2f}", *cells))
    limits = [one.get("assessment") for one in models]
    rows.append(("refused (cannot assess)", *(Figure(one["share"] if one else None, ".1%") for one in limits)))
    return rows


def plot(result: Mapping[str, Any]) -> str:
    """SVG: balanced accuracy against time and against size, the best choices joined.

    Args:
        result: Of `study`.
    """

    def choices(cost: Callable[[Mapping[str, Any]], float]) -> list[charts.Choice]:
        return [
            charts.Choice(
                one["name"],
                cost(one),
                one["accuracy"]["balanced_accuracy"],
                one["accuracy"]["intervals"]["balanced_accuracy"],
            )
            for one in result["models"]
        ]

    up = "balanced accuracy, 95% interval"
    by_time = choices(lambda one: one["time"]["ratio"])
    by_size = choices(lambda one: one["file_bytes"] / 1e6)
    return svg(
        [
            charts.trade_off("Accuracy against time", f"time of a prediction, {result['reference']} = 1", up, by_time),
            charts.trade_off("Accuracy against size", "file, MB", up, by_size),
        ]
    )


def svg(drawn: Sequence[charts.Chart]) -> str:
    """A file with charts beside each other."""
    top, gap = 22, 24
    width, height = len(drawn) * (charts.WIDTH + gap), top + max(chart.height for chart in drawn)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" width="{width}" height="{height:g}" '
        f'role="img" aria-label={quoteattr("; ".join(chart.title for chart in drawn))}>',
        f"<style>{_STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
    ]
    for number, chart in enumerate(drawn):
        lines.append(f'<g transform="translate({number * (charts.WIDTH + gap) + gap / 2:g} {top})">')
        lines.append(f'<text class="title" x="2" y="-8">{escape(chart.title)}</text>')
        for shape in chart.shapes:
            places = "".join(f" {name}={quoteattr(value)}" for name, value in shape.places.items())
            lines.append(f"<{shape.tag} class={quoteattr(shape.kind)}{places}>{escape(shape.text)}</{shape.tag}>")
        lines.append("</g>")
    return "\n".join([*lines, "</svg>"]) + "\n"


@click.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("models", nargs=-1, type=ModelPath())
@click.option("--split", required=True, type=click.Path(path_type=Path), help="A csv with image_id and split.")
@click.option("--part", default="test", show_default=True, help="Whose pictures are taken.")
@click.option("--rounds", type=click.IntRange(1), default=9, show_default=True, help="How often all models are timed.")
@click.option("--runs", type=click.IntRange(1), default=30, show_default=True, help="Timed predictions in a round.")
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER", help="Folder to create.")
def main(data: Path, models: tuple[Path, ...], split: Path, part: str, rounds: int, runs: int, out: Path) -> None:
    """Measure what MODELS cost and bring, by default the packaged ones.

    \b
    Example:
      python -m studies.family HAM10000 --split docs/experiments/split.csv --out family
    """
    if out.exists():
        raise OutputExistsError(out, "choose another --out")
    files.check_writable(out)
    chosen = list(models) or [packaged.file_of(name) for name in packaged.there()]
    if len(set(chosen)) < len(chosen):
        raise UsageError("a model is named twice")
    chosen.sort(key=lambda path: path != packaged.file_of(packaged.DEFAULT))  # the default first, where it is there
    result = study(chosen, data, split, part, rounds=rounds, runs=runs)
    text = markdown(document(result))
    made = {
        "family.md": f"{text.rstrip()}\n\n![Accuracy against time and size](family.svg)\n",
        "family.svg": plot(result),
        "family.json": json.dumps(result, indent=2, allow_nan=False) + "\n",
    }
    files.write_folder(out, {name: content.encode() for name, content in made.items()})
    console.say(f"{out}: {', '.join(made)}")


if __name__ == "__main__":
    cli.run_module(main)
