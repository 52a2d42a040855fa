"""What a person reads on the terminal after a conversion."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...edge_runtime import console
from ...edge_runtime.classifier import DISCLAIMER

if TYPE_CHECKING:
    from ..quickstart import Quickstart

_SHOWN_TAUS = (0, 0.3, 0.5, 0.7, 1)


def summary(result: Mapping[str, Any], run: Path, out: Path) -> console.Page:
    """The summary that `skin-edge convert` prints.

    Args:
        result: What `job.convert` returned. At most 80 columns but for long names of folders.
    """
    validation, sizes, quantization = result["validation"], result["bytes"], result["quantization"]
    precision, model, calibration = result["precision"], result["model"], result["calibration"]
    names = ("float32", precision)
    columns = [validation[name] for name in names]
    rows = [
        ("", *names),
        ("size", *(f"{sizes[f'model_{name}.tflite'] / 1e6:.2f} MB" for name in names)),
        ("balanced accuracy", *(f"{column['balanced_accuracy']:.3f}" for column in columns)),
        ("macro AUC", *(f"{column['macro_auc']:.3f}" for column in columns)),
        ("accuracy", *(f"{column['accuracy']:.3f}" for column in columns)),
        (
            f"  always '{columns[0]['majority_class']}'",
            *(f"{column['majority_class_baseline']:.3f}" for column in columns),
        ),
    ]
    lines = [f"{console.cell(name, 24)}{left:>12}{right:>12}" for name, left, right in rows]
    lines.append(f"on the {validation['n']} validation images; same top class: {validation['agreement']:.1%}")
    if len(result["tried"]) > 1 or len(quantization["kept_in_float"]):
        lines += [
            f"  {row['effort']}: {_lost(row['drop'])}{', kept' if row['kept'] else ''}" for row in result["tried"]
        ]
    front = result["front"]
    if front:
        height, width = front["input"]
        lines += [
            f"front end {height}x{width} inside, for MediaPipe and others that resize by methods of their own:",
            f"  {console.cell(front['model'], 40)} {sizes[front['model']] / 1e6:.2f} MB, balanced accuracy "
            f"{front['validation']['balanced_accuracy']:.3f}",
            f"  same top class as without: {front['agreement']:.1%}",
        ]
    candidates = result["logit_shift_candidates"]
    if candidates:
        lines.append("logit shift, from the float model's answers on the validation part:")
        lines += [
            f"  tau {row['tau']:<6g}balanced accuracy {row['balanced_accuracy']:.3f}, "
            f"accuracy {row['accuracy']:.3f}, ECE {row['ece']:.3f}"
            for row in candidates
            if row["tau"] in _SHOWN_TAUS or row["tau"] == calibration["logit_shift_tau"]
        ]
    floating = ", ".join(quantization["float_operators"]) or "none"
    folded = f"temperature {calibration['temperature']:.2f}"
    if calibration["logit_shift_tau"]:
        folded += f", logit shift {calibration['logit_shift_tau']:g} (in both columns)"
    lines += [
        f"quantized by {quantization['method']}",
        f"folded in: {folded}",
        f"operators that compute in float: {floating}",
        "",
        f"written to {out}; next, on the test part:",
        f"  {console.command_line('skin-edge', 'bench', out / model)} \\",
        f"    {console.command_line('--reference', out / 'model_float32.tflite', '--data', run / 'split.csv')}",
        DISCLAIMER,
    ]
    return console.page(lines)


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
