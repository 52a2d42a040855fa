"""A few of the pairs and signals of `python -m tests.stress`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("part", ["pairs", "trainings", "evaluate", "tune", "convert", "data", "bundle", "quickstart"])
def test_outputs_are_whole_or_not_there(part, tmp_path):
    command = [sys.executable, "-m", "tests.stress", "--pairs", "3", "--kills", "4", "--only", part]
    done = subprocess.run(
        [*command, "--work", str(tmp_path)], cwd=Path(__file__).parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(tmp_path.iterdir()) == []
