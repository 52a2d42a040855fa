"""What a person reads on the terminal when a training has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..edge_runtime.classifier import DISCLAIMER


def summary(metrics: Mapping[str, Any], out: Path) -> str:
    """metrics: what metrics.json holds. At most 80 columns."""
    lines = [f"{'':24}{'validation':>22}{'test':>24}"]
    parts = metrics["validation"], metrics["test"]
    lines.append(f"{'images':24}{parts[0]['n']:>22}{parts[1]['n']:>24}")
    for name, key in (
        ("balanced accuracy", "balanced_accuracy"),
        ("macro AUC", "macro_auc"),
        ("macro F1", "macro_f1"),
        ("accuracy", "accuracy"),
    ):
        cells = [_with_interval(part, key) for part in parts]
        lines.append(f"{name:24}{cells[0]:>22}{cells[1]:>24}")
    majority = [f"{part['majority_class_baseline']:.3f}" for part in parts]
    name = f"  always '{parts[1]['majority_class']}'"
    lines.append(f"{name:24}{majority[0]:>22}{majority[1]:>24}")
    lines.append("")
    lines.append(f"{'test, per class':24}{'images':>8}{'sensitivity':>13}{'specificity':>13}{'AUC':>8}")
    for code, row in metrics["test"]["per_class"].items():
        cells = [_number(row[key]) for key in ("sensitivity", "specificity", "auc")]
        lines.append(f"{code:24}{row['n']:>8}{cells[0]:>13}{cells[1]:>13}{cells[2]:>8}")
    lines += ["", f"written to {out}; next: skin-edge convert {out} --int8", DISCLAIMER]
    return "\n".join(lines)


def _with_interval(part: Mapping[str, Any], key: str) -> str:
    bounds = part["intervals"][key]
    return _number(part[key]) + ("" if bounds is None else f" ({bounds[0]:.3f}-{bounds[1]:.3f})")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
