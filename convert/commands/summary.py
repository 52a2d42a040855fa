"""What a person reads on the terminal after a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...benchmarks.report.document import Block, Document, Notes, Section, Table, Text, number
from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER

if TYPE_CHECKING:
    from ..quickstart import Quickstart

_SHOWN_TAUS = (0, 0.3, 0.5, 0.7, 1)
_FIGURES = {"balanced_accuracy": "balanced accuracy", "macro_auc": "macro AUC", "accuracy": "accuracy"}


def document(result: Mapping[str, Any], run: Path, out: Path) -> Document:
    """The summary that `skin-edge convert` prints.

    Args:
        result: What `job.convert` returned.
        run: The run that was converted.
        out: The folder of the files.
    """
    data, reference = console.command_line(run / "split.csv"), console.command_line(out / "model_float32.tflite")
    after = [
        f"written to {out}; next, on the test part:",
        f"  {console.command_line('skin-edge', 'bench', out / result['model'])} \\",
        f"    --reference {reference} --data {data}",
    ]
    blocks = [*_both(result), *_front(result), *_shifts(result), Notes([*_how(result), *_assessment(result)])]
    return Document("", "", [Section("conversion", "", blocks)], "skin-edge convert", after)


def _both(result: Mapping[str, Any]) -> list[Block]:
    """The file beside its float baseline, and what else was tried."""
    validation, names = result["validation"], ("float32", result["precision"])
    columns = [validation[name] for name in names]
    rows = [
        ("size", *(_megabytes(result, f"model_{name}.tflite") for name in names)),
        *((title, *(number(one[key]) for one in columns)) for key, title in _FIGURES.items()),
        (f"always '{columns[0]['majority_class']}'", *(number(one["majority_class_baseline"]) for one in columns)),
    ]
    notes = [f"on the {validation['n']} validation images; same top class: {validation['agreement']:.1%}"]
    if len(result["tried"]) > 1 or len(result["quantization"]["kept_in_float"]):
        notes += [f"{row['effort']}: {_lost(row['drop'])}{', kept' if row['kept'] else ''}" for row in result["tried"]]
    return [Table(("", *names), rows), Notes(notes)]


def _front(result: Mapping[str, Any]) -> list[Block]:
    front = result["front"]
    if not front:
        return []
    height, width = front["input"]
    figures = number(front["validation"]["balanced_accuracy"]), number(front["agreement"], ".1%")
    rows = [(front["model"], _megabytes(result, front["model"]), *figures)]
    caption = f"front end {height}x{width} inside, for MediaPipe and others that resize by methods of their own"
    return [Table(("file", "size", "balanced accuracy", "same top class as without"), rows, caption)]


def _shifts(result: Mapping[str, Any]) -> list[Block]:
    shown = (*_SHOWN_TAUS, result["calibration"]["logit_shift_tau"])
    rows = [
        (f"tau {row['tau']:g}", *(number(row[key]) for key in ("balanced_accuracy", "accuracy", "ece")))
        for row in result["logit_shift_candidates"] or []
        if row["tau"] in shown
    ]
    caption = "logit shift, from the float model's answers on the validation part"
    return [Table(("", "balanced accuracy", "accuracy", "ECE"), rows, caption)] if rows else []


def _how(result: Mapping[str, Any]) -> list[Text]:
    quantization, calibration = result["quantization"], result["calibration"]
    shift = calibration["logit_shift_tau"]
    folded = f", logit shift {shift:g} (in both columns)" if shift else ""
    return [
        f"quantized by {quantization['method']}",
        f"folded in: temperature {calibration['temperature']:.2f}{folded}",
        f"operators that compute in float: {', '.join(quantization['float_operators']) or 'none'}",
    ]


def _assessment(result: Mapping[str, Any]) -> list[Text]:
    found = result["assessment"]
    if found is None:
        return ["no assessment: the file answers any picture"]
    said: list[Text] = [f"cannot assess: {found['refused']:.1%} of the {found['n']} validation images are refused"]
    unseen = found.get("refused_of_unseen", {}).get("drawn")
    return (
        said if unseen is None else [*said, f"drawn pictures without a lesion, not learned from: {unseen:.1%} refused"]
    )


def _megabytes(result: Mapping[str, Any], name: str) -> str:
    return f"{result['bytes'][name] / 1e6:.2f} MB"


def _lost(drop: float | None) -> str:
    return "failed" if drop is None else f"{-drop * 100:+.1f} points of balanced accuracy"


def story(done: Quickstart) -> console.Page:
    """What `skin-edge quickstart` made, in plain words. At most 80 columns for an `out` of ordinary length."""
    test, accuracy, ratios = done.metrics["test"], done.bench["accuracy"], done.bench["ratios"]
    sizes, latency, prediction = done.conversion["bytes"], done.bench["latency"], done.prediction
    int8, float32 = accuracy["model"], accuracy["reference"]
    top = ", ".join(f"{code} {value:.3f}" for code, value in list(prediction.probabilities.items())[:3])
    low, high = accuracy["difference"]["balanced_accuracy"]["interval"]
    return console.page(
        [
            f"Done in {done.seconds / 60:.1f} minutes. All images are synthetic: the results show that every",
            "step works on this computer, and say nothing about real skin.",
            "",
            f"1 drew      {done.images} images of {done.lesions} synthetic lesions in {len(test['per_class'])} classes",
            f"            {done.data}",
            f"2 trained   a small MobileNet; on {test['n']} test images, of lesions not in training:",
            f"            balanced accuracy {test['balanced_accuracy']:.3f}, accuracy {test['accuracy']:.3f} "
            f"(always '{test['majority_class']}': {test['majority_class_baseline']:.3f})",
            f"            {done.run}",
            f"3 converted to int8: {sizes['model_int8.tflite'] / 1e3:.0f} kB instead of "
            f"{sizes['model_float32.tflite'] / 1e3:.0f} kB in float32, for the device",
            f"            {done.model}",
            "4 measured  int8 against float32 on the same test images:",
            f"            balanced accuracy {int8['balanced_accuracy']:.3f} and {float32['balanced_accuracy']:.3f} "
            f"(difference {low:+.3f} to {high:+.3f}),",
            f"            same top class for {accuracy['agreement']:.1%}; {latency['median_ms']:.1f} ms per image, "
            f"{ratios['median_ms']:.2f} of float32's",
            f"5 predicted {done.image.name}, of class '{done.truth}':",
            f"            {top}",
            "",
            "Next, with real images (HAM10000, or a folder with one subfolder per class):",
            "  skin-edge train HAM10000 --out runs/first",
            "  skin-edge convert runs/first --int8",
            "  skin-edge bench runs/first/int8/model_int8.tflite \\",
            "    --reference runs/first/int8/model_float32.tflite --data runs/first/split.csv",
            DISCLAIMER,
        ]
    )
