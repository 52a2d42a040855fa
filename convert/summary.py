"""What a person reads on the terminal when a conversion has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def summary(result: Mapping[str, Any], run: Path, out: Path) -> str:
    """result: what `job.convert` returned. At most 80 columns."""
    validation, sizes, quantization = result["validation"], result["bytes"], result["quantization"]
    twins = validation["float32"], validation["int8"]
    rows = [
        ("", "float32", "int8"),
        ("size", *(f"{sizes[f'model_{name}.tflite'] / 1e6:.2f} MB" for name in ("float32", "int8"))),
        ("balanced accuracy", *(f"{twin['balanced_accuracy']:.3f}" for twin in twins)),
        ("macro AUC", *(f"{twin['macro_auc']:.3f}" for twin in twins)),
        ("accuracy", *(f"{twin['accuracy']:.3f}" for twin in twins)),
        (f"  always '{twins[0]['majority_class']}'", *(f"{twin['majority_class_baseline']:.3f}" for twin in twins)),
    ]
    floating = ", ".join(quantization["float_operators"]) or "none"
    return "\n".join(
        [
            *(f"{name:24}{left:>12}{right:>12}" for name, left, right in rows),
            f"on the {validation['n']} validation images; same top class: {validation['agreement']:.1%}",
            f"quantized by {quantization['method']}; operators that compute in float: {floating}",
            "",
            f"written to {out}; next, on the test part:",
            f"  skin-edge bench {out / 'model_int8.tflite'} \\",
            f"    --reference {out / 'model_float32.tflite'} --data {run / 'split.csv'}",
        ]
    )
