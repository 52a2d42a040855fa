"""docs/platforms.md against what pip finds: wheels of the device install for each system and Python."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "platforms.md"

# Row of the table -> pip's platform tags, newest first; `pip --platform` takes only those that are named.
SYSTEMS = {
    "Linux x86-64": [f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17)] + ["manylinux2014_x86_64"],
    "Linux Arm64": [f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 26, 24, 17)] + ["manylinux2014_aarch64"],
    "macOS 14 Arm64": [f"macosx_{major}_0_arm64" for major in (14, 13, 12, 11)],
    "Windows x86-64": ["win_amd64"],
}
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def table() -> dict[str, list[str]]:
    """Row -> its cells, of the one table of the page."""
    lines = [line.strip("| ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    rows = [re.split(r" *\| *", line) for line in lines]
    assert rows[0][:-1] == PYTHONS
    return {name: cells for name, *cells in rows[1:]}


def requirements() -> list[str]:
    """Those of the device install on 64 bit. pip would weigh the markers by this machine, not by the one asked for."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = [line.split(";") for line in config["options"]["install_requires"].split("\n") if line and line[0] != "#"]
    return [line[0].strip() for line in lines if len(line) == 1 or "!=" in line[1]]


def test_the_table_has_every_cell_and_the_devices_requirements_are_known():
    rows = table()
    assert list(rows) == list(SYSTEMS)
    assert all(len(cells) == len(PYTHONS) + 1 and set(cells[:-1]) <= {"yes", "no"} for cells in rows.values())
    names = {re.match(r"[\w-]+", line)[0] for line in requirements()}
    assert names == {"click", "pillow", "numpy", "ai-edge-litert"}


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_pip_finds_what_the_table_says(system, python, tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-"]
    command += ["--target", str(tmp_path), "--only-binary", ":all:", "--implementation", "cp"]
    command += ["--python-version", python, *(f"--platform={tag}" for tag in SYSTEMS[system]), *requirements()]
    if system.startswith("Windows"):
        command.append("colorama")  # click wants it there, by a marker that pip weighs by this machine
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = table()[system][PYTHONS.index(python)]
    if said == "no":
        assert done.returncode != 0, "it resolves by now: update the table"
        assert "No matching distribution" in done.stderr, done.stderr[-1000:]
        return
    assert done.returncode == 0, done.stderr[-1000:]
    found = {entry["metadata"]["name"].lower().replace("_", "-") for entry in json.loads(done.stdout)["install"]}
    assert {"click", "pillow", "numpy", "ai-edge-litert"} <= found
    assert list(tmp_path.iterdir()) == []
