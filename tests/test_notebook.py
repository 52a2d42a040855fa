"""notebooks/skin_edge.ipynb, from top to bottom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "skin_edge.ipynb"

# What makes minutes of it, and what stands there instead.
SHORTER = {"LESIONS = 70": "LESIONS = 20", "EPOCHS = 30": "EPOCHS = 3"}


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_its_cells_are_python_and_hold_no_output():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for number, source in enumerate(code_cells()):
        compile(source, f"cell {number}", "exec")
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    text = "\n".join(code_cells())
    assert all(text.count(name) == 1 for name in SHORTER)
    assert "HAM10000 = None" in text


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_on_synthetic_lesions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "notebook"}
    for number, source in enumerate(code_cells()):
        for long, short in SHORTER.items():
            source = source.replace(long, short)
        exec(compile(source, f"cell {number}", "exec"), names)
    written = tmp_path / "notebook"
    assert (written / "run" / "report.html").is_file()
    assert (written / "int8" / "model_int8.tflite").is_file()
    assert len(list((written / "heatmaps").iterdir())) == 1
    assert "balanced accuracy" in capsys.readouterr().out
