"""Headless Chromium for the tests: what it needs from Debian and from npm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

NPM_PACKAGES = ["@litertjs/core@2.5.3", "playwright-core@1.65.1", "axe-core@4.14.1"]

_DRIVER = Path(__file__).parent / "web" / "browser.mjs"


def needs(tool: str) -> str:
    """A tool's path; skips where it is not there."""
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


def node_modules(folder: Path) -> Path:
    """NPM_PACKAGES, installed below `folder`; skips where npm cannot."""
    install = [needs("npm"), "install", "--prefix", str(folder), "--no-audit", "--no-fund", *NPM_PACKAGES]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot install {NPM_PACKAGES}: {done.stderr.strip()[-200:]}")
    return folder / "node_modules"


def visited(scenario: str, site: Path, modules: Path, work: Path, **options: Any) -> Mapping[str, Any]:
    """What tests/web/browser.mjs finds in a site: the scenario's object, with "errors" of the page."""
    job = {"scenario": scenario, "site": site, "modules": modules, "chromium": needs("chromium"), **options}
    (work / "job.json").write_text(json.dumps(job, default=str))
    command = [needs("node"), str(_DRIVER), str(work / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
