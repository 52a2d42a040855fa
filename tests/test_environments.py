"""The same bytes with every Pillow and NumPy that the device install allows, each pair in an environment of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .test_interoperability import installed

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SCRIPT = Path(__file__).parent / "environments" / "inputs.py"

# What pip is asked for -> the versions that must come of it. Pillow 10.3 and NumPy 1.26 have wheels up to Python 3.12.
ENVIRONMENTS = {
    ("pillow==10.3.*", "numpy==1.26.*"): ("10.3.", "1.26."),
    ("pillow==11.3.*", "numpy==2.*"): ("11.3.", "2."),
    ("pillow", "numpy"): ("", "2."),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"the wheel cannot be built: {done.stderr.strip()[-200:]}")
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """What pip is asked for beside the wheel -> the interpreter; made once. Skips where pip cannot get it."""
    made: dict[tuple[str, ...], Path] = {}

    def make(packages):
        if packages not in made:
            made[packages] = installed(tmp_path_factory.mktemp("environment") / "venv", str(wheel), *packages)
        return made[packages]

    return make


def run_python(python: Path, *arguments: str) -> str:
    """In a folder without a package that could be imported instead of the environment's."""
    done = subprocess.run([str(python), *arguments], capture_output=True, text=True, timeout=600, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("packages", ENVIRONMENTS, ids=" ".join)
def test_inputs_are_the_same_bytes(packages, environment, handover):
    pictures = [str(path) for path in sorted((handover / "golden" / "pictures").iterdir())]
    told = json.loads(run_python(environment(packages), str(SCRIPT), *pictures))
    here = json.loads(run_python(Path(sys.executable), str(SCRIPT), *pictures))
    pillow, numpy = ENVIRONMENTS[packages]
    assert told["versions"]["pillow"].startswith(pillow) and told["versions"]["numpy"].startswith(numpy)
    assert len(told["inputs"]) > 400
    assert told["inputs"] == here["inputs"], told["versions"]


@pytest.mark.parametrize("packages", ENVIRONMENTS, ids=" ".join)
def test_the_bundle_is_answered_at_level_a(packages, environment, handover, tmp_path):
    python = environment(packages)
    answers = tmp_path / "answers.jsonl"
    answers.write_text(run_python(python, "-m", "skin_edge.benchmarks.bundle.answers", str(handover)))
    verdict = json.loads(
        run_python(python, "-m", "skin_edge.edge_runtime.cli", "verify", str(handover), str(answers), "--json")
    )
    assert verdict["level"] == "A" and not verdict["missing"] and not verdict["refused_though_good"]
