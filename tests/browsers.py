"""Headless browsers for the tests: what they need from Debian and from npm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

NPM_PACKAGES = ["@litertjs/core@2.5.3", "playwright-core@1.65.1", "axe-core@4.14.1", "puppeteer-core@24.43.1"]

_DRIVERS = Path(__file__).parent / "web"


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


def visited(scenario: str, site: Path | None, modules: Path, work: Path, **options: Any) -> Mapping[str, Any]:
    """What tests/web/browser.mjs finds with Chromium: the scenario's object, with "errors" of the page.

    Args:
        site: Folder of a site; None where `home` is the address of a server.
    """
    return _driven(
        "browser.mjs", work, scenario=scenario, site=site, modules=modules, chromium=needs("chromium"), **options
    )


def in_firefox(
    site: Path, modules: Path, work: Path, pictures: Sequence[Path], *, check: bool = True
) -> Mapping[str, Any]:
    """What tests/web/firefox.mjs finds in a site: answers, check, requests, errors, version."""
    job = {"site": site, "modules": modules, "pictures": pictures, "check": check}
    return _driven("firefox.mjs", work, firefox=needs("firefox-esr"), **job)


def _driven(script: str, work: Path, **job: Any) -> Mapping[str, Any]:
    (work / "job.json").write_text(json.dumps(job, default=str))
    command = [needs("node"), str(_DRIVERS / script), str(work / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
