"""The Dockerfile and the systemd unit: built, started as they say, and asked."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from skin_edge.edge_runtime.cli import COMMANDS

from . import command_lines
from .test_serve import TOKEN, picture

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "deploy" / "skin-edge.service"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")

# Of `systemd-analyze security`, 0 to 10: below 2 is "OK". What is left is the network, which a server needs.
MOST_EXPOSED = 2.0


def run(*command, seconds=1200, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds, **options)


# ------------------------------------------------------------------------------------------------------- systemd


@pytest.fixture
def unit(tmp_path):
    """The unit with a command that is there: systemd looks for it."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = re.sub(r"ExecStart=\S+", f"ExecStart={sys.executable}", UNIT.read_text(encoding="utf-8"))
    path = tmp_path / UNIT.name
    path.write_text(text)
    return path


def test_systemd_understands_the_unit(unit):
    done = run("systemd-analyze", "verify", unit, seconds=60)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_the_unit_is_hardened(unit):
    done = run("systemd-analyze", "security", "--offline=true", unit, seconds=60)
    exposed = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if not exposed:
        pytest.skip(f"this systemd-analyze does not judge a file: {done.stderr.strip()[:200]}")
    assert float(exposed[1]) < MOST_EXPOSED, done.stdout


@pytest.mark.parametrize("line", [UNIT.read_text(encoding="utf-8"), DOCKERFILE])
def test_what_they_start_is_a_command_with_these_options(line):
    found = re.search(r"^ExecStart=/opt/skin-edge/bin/(.*)|^ENTRYPOINT (\[.*\])\nCMD (\[.*\])", line, re.MULTILINE)
    words = found[1].split() if found[1] else [*json.loads(found[2]), *json.loads(found[3])]
    assert words[1] in COMMANDS and command_lines.problem(tuple(words)) is None


def test_only_what_is_built_from_is_sent_to_the_build():
    """A copy of the checkout would hold whatever lies in it, data sets too."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines and all((ROOT / name).exists() for name in kept)
    floors = {line.split(" = ")[1] for line in (ROOT / "setup.cfg").read_text().splitlines() if " = " in line}
    assert {"apps", "benchmarks", "convert", "edge_runtime", "ports", "train"} <= kept & floors


# ------------------------------------------------------------------------------------------------------- container


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """(buildah with a storage of its own, name of the image)."""
    if os.name != "posix" or os.geteuid() or not sys.platform.startswith("linux"):
        pytest.skip("a build without a daemon needs root on Linux")
    for program in ("buildah", "debootstrap", "unshare", "chroot"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: apt-get install buildah debootstrap")
    folder = tmp_path_factory.mktemp("container")
    buildah = ("buildah", "--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs")
    base = _base(buildah, Path(os.environ.get("SKIN_EDGE_BASE") or _debian(folder / "base")))
    arguments = ("--isolation", "chroot", "--network", "host", "--build-arg", f"BASE={base}", "--format", "docker")
    done = run(*buildah, "bud", *arguments, "-t", "skin-edge", ".", cwd=ROOT)
    if done.returncode and re.search(r"No matching distribution|Temporary failure|Network is unreachable", done.stderr):
        pytest.skip(f"pip reaches no registry in the build: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    yield buildah, "skin-edge"
    run(*buildah, "rm", "--all")
    run(*buildah, "rmi", "--all", "--force")


def _debian(folder):
    """A root file system with Python, and this machine's certificates, which its registry's may need: minutes.

    SKIN_EDGE_BASE names one that was made before.
    """
    packages = "--include=python3,python3-venv,ca-certificates"
    done = run("debootstrap", "--variant=minbase", packages, "bookworm", folder)
    if done.returncode:
        pytest.skip(f"debootstrap makes no base here: {(done.stdout + done.stderr)[-300:]}")
    own = os.environ.get("SSL_CERT_FILE")
    if own:
        shutil.copyfile(own, folder / "etc/ssl/certs/ca-certificates.crt")
    return folder


def _base(buildah, folder):
    container = run(*buildah, "from", "scratch", check=True).stdout.strip()
    run(*buildah, "add", "-q", container, folder, "/", check=True)
    run(*buildah, "commit", "-q", container, "base", check=True)
    return "localhost/base"


@pytest.mark.slow
def test_the_image_says_how_it_runs(image):
    buildah, name = image
    config = json.loads(run(*buildah, "inspect", "--type", "image", name, check=True).stdout)["Docker"]["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["skin-edge", "serve"] and config["Healthcheck"]["Test"][0] == "CMD"
    assert "8000/tcp" in config["ExposedPorts"]


@pytest.mark.slow
def test_the_container_answers_not_as_root_and_from_a_read_only_root(image):
    buildah, name = image
    container = run(*buildah, "from", name, check=True).stdout.strip()
    root = run(*buildah, "mount", container, check=True).stdout.strip()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = json.loads(run(*buildah, "inspect", "--type", "image", name, check=True).stdout)["Docker"]["config"]
    environment = dict(one.split("=", 1) for one in config["Env"])
    script = f"""set -e
        mount --bind {root} {root}; mount -t proc proc {root}/proc; mount --bind /dev {root}/dev
        mount -o remount,ro,bind {root}
        exec chroot --userspec={config["User"]} {root} "$@" """
    words = [*config["Entrypoint"], *config["Cmd"], "--port", str(port)]
    words[words.index("0.0.0.0")] = "127.0.0.1"  # no test is reached from elsewhere
    started = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script, "sh", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "SKIN_EDGE_TOKEN": TOKEN},
    )
    try:
        line = started.stdout.readline()
        assert line.startswith("serving on http") and TOKEN not in line, started.communicate(timeout=30)
        status = Path(f"/proc/{started.pid}/status").read_text()
        assert re.search(r"^Uid:\t65532\t65532", status, re.MULTILINE)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/jpeg"}
        url = f"http://127.0.0.1:{port}"
        request = urllib.request.Request(f"{url}/v1/predict?heatmap=1&assess_anything=1", picture(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["answers"][0]["heatmap"]
        page = urllib.request.Request(f"{url}/", headers={"Authorization": headers["Authorization"]})
        for _ in range(60):  # a start makes it
            try:
                with urllib.request.urlopen(page, timeout=60) as answer:
                    assert b"<!doctype html>" in answer.read()
                break
            except urllib.error.HTTPError as error:
                assert error.code == 503
        else:
            raise AssertionError("no page after minutes")
        check = config["Healthcheck"]["Test"][1:]
        check[-1] = check[-1].replace("8000", str(port))
        assert run("chroot", root, *check, seconds=60, env=environment).returncode == 0
        started.terminate()
        until = time.monotonic() + 30
        while started.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        assert started.returncode == 0
    finally:
        started.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.communicate(timeout=10)
        run(*buildah, "umount", container)
