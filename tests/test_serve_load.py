"""`skin-edge serve` under load, by `python -m studies.serving` with fewer requests, and from its OpenAPI document."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from studies import serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return serving.drawn(tmp_path_factory.mktemp("pictures"))


def test_memory_and_open_files_do_not_grow(paths):
    result = serving.memory(DEFAULT_MODEL, paths, 4000)
    assert result["grown_bytes"][-1] < 5e6 and result["grown_files"] <= 0


def test_slow_clients_do_not_stop_a_healthy_one(paths):
    result = serving.slow(DEFAULT_MODEL, paths)
    assert result["slow_clients"] == 200 and result["p99_ratio"] < 5


def test_hostile_pictures_and_requests_are_refused_in_order():
    result = serving.hostile(DEFAULT_MODEL, cases=500, malformed=200)
    assert result["bad"] == [] and result["exit_code"] == 0
    assert sum(result["pictures"].values()) == 500 and sum(result["requests"].values()) == 200


def test_a_killed_server_starts_again_as_it_was(paths):
    result = serving.kill(DEFAULT_MODEL, paths)
    assert result["status"] == 200 and result["same_answer"]


def test_throughput_is_near_that_of_predict_many(paths):
    """The figure of docs/serve.md needs a quiet machine; here, that nothing is several times slower."""
    result = serving.throughput(DEFAULT_MODEL, paths, 160)
    assert result["server"]["cpu_ratio"] > 0.5 and result["server, 8 a request"]["cpu_ratio"] > 0.7


def test_schemathesis_finds_nothing(tmp_path):
    """Which asks what the OpenAPI document allows, and what it does not. Bytes that are no picture are allowed there,
    and answered 422: no schema can tell them."""
    command = shutil.which("schemathesis") or shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    if not command:
        pytest.skip("schemathesis is not installed: pip install schemathesis")
    config = tmp_path / "schemathesis.toml"  # by default it does not know 413 as a refusal
    config.write_text('[checks]\nnegative_data_rejection.expected-statuses = ["400", "403", "413", "415", "422"]\n')
    with serving.running() as server:
        url = f"http://127.0.0.1:{server.port}/v1/openapi.json"
        options = [
            "--max-examples",
            "50",
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance",
            "--no-color",
        ]
        whole = [command, "--config-file", str(config), "run", url, *options]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=1200, cwd=tmp_path)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
        assert not [line for line in server.said if "fault" in line or "Traceback" in line]
