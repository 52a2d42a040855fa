"""Peers side by side: the turns with made-up peers, and the scripts that can run in this environment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.errors import ModelFileError, UnknownNameError, UsageError
from studies import peers

from .miniatures import COLOURS

# fake.py NAME DIARY STEP [BEHAVIOUR]: its n-th answer takes n * STEP made-up milliseconds.
FAKE = """
import json, os, sys, time
name, diary, step, behaviour = (sys.argv[1:] + ["good"])[:4]
print("a library's banner", flush=True)
if behaviour == "no import":
    sys.exit("ModuleNotFoundError: No module named 'peer'")
for count, line in enumerate(sys.stdin, 1):
    if behaviour == "dies" and count == 3:
        os._exit(7)
    if behaviour == "hangs":
        time.sleep(60)
    with open(diary, "a") as file:
        file.write(f"{name} {os.getpid()} {line}")
    print(json.dumps({"ms": count * float(step), "label": name.upper(), "peak_bytes": int(float(step) * 1e6)}))
    sys.stdout.flush()
"""


@pytest.fixture
def fake(tmp_path):
    """fake(name, step, behaviour) -> a command."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)

    def make(name, step=1.0, behaviour="good"):
        return [sys.executable, str(script), name, str(tmp_path / "diary"), str(step), behaviour]

    return make


def diary(tmp_path) -> list[tuple[str, str, str]]:
    """(peer, process, image) per answer."""
    return [tuple(line.split()) for line in (tmp_path / "diary").read_text().splitlines()]


def test_the_peers_take_turns(fake, tmp_path):
    commands = {name: fake(name) for name in "abc"}
    peers.measure(commands, [Path("one"), Path("two")], 4, 2, logs=tmp_path / "logs")
    entries = diary(tmp_path)
    warm, cold = entries[: 2 * 6 * 3], entries[2 * 6 * 3 :]
    rounds = ["".join(name for name, _, _ in warm[start : start + 3]) for start in range(0, len(warm), 3)]
    assert rounds == ["abc", "bca", "cab"] * 4  # two warm-up rounds and four timed ones per image
    assert [image for _, _, image in warm] == ["one"] * 18 + ["two"] * 18
    assert len({(name, process) for name, process, _ in warm}) == 3
    assert [image for _, _, image in cold] == ["one"] * 6 + ["two"] * 6
    assert len({process for _, process, _ in cold}) == 12  # a process for each


def test_the_figures(fake, tmp_path):
    commands = {"bare_loop": fake("loop", 10), "other": fake("other", 25)}
    figures, failed = peers.measure(commands, [Path("one")], 5, 3, logs=tmp_path / "logs")
    assert failed == {}
    [loop], [other] = figures["bare_loop"], figures["other"]
    assert loop["runs_ms"] == [30, 40, 50, 60, 70]  # without two to warm up
    assert (loop["median_ms"], loop["p95_ms"]) == (50, pytest.approx(68))
    assert (loop["label"], loop["peak_bytes"], len(loop["cold_starts_ms"])) == ("LOOP", 10_000_000, 3)
    assert sorted(loop["cold_starts_ms"])[1] == loop["cold_start_ms"] > 1  # a process, not the 10 ms it tells
    assert set(loop["ratio"].values()) == {1}
    assert (other["ratio"]["median_ms"], other["ratio"]["peak_bytes"]) == (2.5, 2.5)
    assert other["ratio"]["cold_start_ms"] == pytest.approx(other["cold_start_ms"] / loop["cold_start_ms"])


def test_who_fails_is_reported_and_the_others_go_on(fake, tmp_path):
    commands = {
        "import": fake("import", behaviour="no import"),
        "good": fake("good"),
        "dies": fake("dies", behaviour="dies"),
        "hangs": fake("hangs", behaviour="hangs"),
        "missing": [str(tmp_path / "no-python"), "script.py"],
    }
    figures, failed = peers.measure(commands, [Path("one")], 3, 2, logs=tmp_path / "logs", timeout_s=2)
    assert list(figures) == ["good"] and len(figures["good"][0]["runs_ms"]) == 3
    assert set(figures["good"][0]["ratio"].values()) == {None}  # no loop by hand to compare with
    assert failed == {
        "import": "ModuleNotFoundError: No module named 'peer'",
        "dies": "it ended with exit code 7",
        "hangs": "no answer within 2 s",
        "missing": "it cannot be started: No such file or directory",
    }


def test_no_peer_at_all(fake, tmp_path):
    figures, failed = peers.measure(
        {"import": fake("import", behaviour="no import")}, [Path("one")], 2, 2, logs=tmp_path
    )
    assert figures == {} and list(failed) == ["import"]


@pytest.fixture
def this_environment(monkeypatch):
    """No downloads: skin_edge and the loop by hand run in the tests' environment, pip finds nothing else."""

    def make(folder, requirements, say=None, identity=""):
        if folder.name in ("skin_edge", "bare_loop"):
            return peers.Environment(Path(sys.executable), {"pillow": "1.2.3"})
        raise peers.PeerError(f"ERROR: No matching distribution found for {requirements[0]}")

    monkeypatch.setattr(peers, "make_environment", make)


def test_the_scripts_answer_as_the_classifier(this_environment, tiny_int8, picture, tmp_path, monkeypatch):
    """Else the comparison would compare different work."""
    monkeypatch.setattr(peers, "COLD_STARTS", 1)
    images = [picture(code, name=f"{code}.jpg", size=(64, 48)) for code in COLOURS]
    result = peers.run(tiny_int8, images, ["skin_edge", "bare_loop"], tmp_path / "work", num_runs=1)
    expected = [SkinClassifier(tiny_int8).predict(image).label for image in images]
    assert len(set(expected)) > 3
    for name in ("skin_edge", "bare_loop"):
        rows = result["peers"][name]["images"]
        assert [row["label"] for row in rows] == expected
        assert all(0 < row["median_ms"] < row["cold_start_ms"] for row in rows)
        assert all(5e6 < row["peak_bytes"] < 1e9 for row in rows)


def test_the_command_reports_who_is_not_there(this_environment, tiny_int8, tiny_float32, tmp_path, monkeypatch, capsys):
    work = tmp_path / "work"
    files = ["--model", str(tiny_int8), "--float", str(tiny_float32), "--work", str(work)]
    monkeypatch.setattr(peers, "COLD_STARTS", 1)
    monkeypatch.setattr(sys, "argv", ["peers", *files, "--num-runs", "2", "--json"])
    peers.main()
    result = json.loads(capsys.readouterr().out)
    assert [image["description"].split(",")[0] for image in result["images"]] == ["600x450 JPEG", "4000x3000 JPEG"]
    assert list(result["peers"]) == ["skin_edge", "bare_loop"]
    assert result["failed"] == {
        "mediapipe": "ERROR: No matching distribution found for mediapipe==1.2.2",
        "keras": "it needs the run's float network: --keras RUN/model.keras",
        "onnx": "ERROR: No matching distribution found for tf2onnx==1.17.0",
    }
    monkeypatch.setattr(sys, "argv", ["peers", *files, "--peers", "mediapipe"])
    with pytest.raises(SystemExit) as ended:
        peers.main()
    assert ended.value.code == 1
    assert "not measured" in capsys.readouterr().out


def test_wrong_usage(tiny_int8, tiny_float32, tmp_path):
    def run(model=tiny_int8, names=("bare_loop",), **files):
        peers.run(model, [], names, tmp_path / "work", **files)

    with pytest.raises(UnknownNameError, match="known: skin_edge, bare_loop, mediapipe, keras, onnx"):
        run(names=["torch"])
    with pytest.raises(UsageError, match="does not take the bytes"):
        run(tiny_float32)
    with pytest.raises(UsageError, match="choose its float baseline"):
        run(float_model=DEFAULT_MODEL)
    with pytest.raises(UsageError, match="no such file"):
        run(keras_model=tmp_path / "model.keras")
    with pytest.raises(ModelFileError):
        run(tmp_path / "nothing.tflite")
    (tmp_path / "work").write_text("a file")
    with pytest.raises(UsageError, match="--work"):
        run()


def test_the_table_fits_a_terminal():
    def row(factor):
        return {
            "median_ms": 1234.56 * factor,
            "p95_ms": 2345.67 * factor,
            "cold_start_ms": 12345.6 * factor,
            "peak_bytes": round(1.5e9 * factor),
            "label": "melanoma",
            "ratio": {"median_ms": factor, "cold_start_ms": factor, "peak_bytes": None},
        }

    table = peers.table(
        {
            "model": "a/" * 60,
            "num_runs": 50,
            "num_threads": 1,
            "cold_starts": 5,
            "baseline": "bare_loop",
            "machine": {"cpu": "a processor " * 9, "cores": 4, "architecture": "aarch64"},
            "images": [{"path": "/a/small.jpg", "description": "600x450 JPEG, 89.9 kB"}],
            "peers": {
                "skin_edge": {"about": peers.PEERS["skin_edge"].about, "images": [row(0.5)]},
                "bare_loop": {"about": "long " * 30, "images": [row(1)]},
            },
            "failed": {"onnx": "a reason that takes more than one line of a terminal, word by word " * 2},
        }
    )
    lines = table.splitlines()
    assert max(map(len, lines)) <= 80
    [line] = [line for line in lines if line.startswith("skin_edge") and " ms" in line]
    assert " ".join(line.split()) == "skin_edge 617.3 ms 1172.8 ms 0.50 6173 ms 0.50 750 MB - melano"
    assert "600x450 JPEG, 89.9 kB: small.jpg" in lines


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell another peak")
def test_the_peak_is_the_scripts_own(tmp_path):
    """Not the peak of the process that started it, which the child inherits in ru_maxrss."""
    script = tmp_path / "hungry.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(peers.SCRIPTS)!r}); import serving\n"
        "serving.serve(lambda line: 'fed' if bytearray(b'x' * 50_000_000) else '')"
    )
    held = np.ones(40_000_000)  # 320 MB
    done = subprocess.run([sys.executable, str(script)], input="once\n", capture_output=True, text=True, check=True)
    assert 50e6 < json.loads(done.stdout)["peak_bytes"] < 300e6 < held.nbytes


def test_an_environment_is_made_once(tmp_path, monkeypatch):
    python = tmp_path / "peer" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    called: list[str] = []

    def call(command, folder):
        called.append(" ".join(command[1:]))
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()
        return json.dumps([{"name": "pillow", "version": "13.0.0"}])

    monkeypatch.setattr(peers, "_called", call)
    first = peers.make_environment(tmp_path / "peer", ["pillow==13.0.0"])
    assert first == peers.Environment(python, {"pillow": "13.0.0"})
    assert len(called) == 3 and called[1].endswith("install --quiet pillow==13.0.0")
    assert peers.make_environment(tmp_path / "peer", ["pillow==13.0.0"]) == first
    assert len(called) == 3
    peers.make_environment(tmp_path / "peer", ["pillow==12.0.0"])
    assert len(called) == 6 and called[4].endswith("pillow==12.0.0")
    # A checkout's copy is elsewhere every time: what counts is what it holds.
    for number, (copy, content) in enumerate([("/tmp/a", "same"), ("/tmp/b", "same"), ("/tmp/b", "other")]):
        peers.make_environment(tmp_path / "peer", ["pillow==12.0.0", copy], identity=content)
        assert len(called) == [9, 9, 12][number]


def test_pips_last_word_is_the_reason(tmp_path):
    message = "import sys; print('long story', file=sys.stderr); sys.exit('ERROR: No matching distribution')"
    with pytest.raises(peers.PeerError, match=r"^ERROR: No matching distribution$"):
        peers._called([sys.executable, "-c", message], tmp_path)


@pytest.mark.slow
def test_in_environments_of_their_own(tiny_int8, picture, tmp_path):
    """With pip, and so with a network. The checkout is installed as it is now."""
    images = [picture(code, name=f"{code}.jpg") for code in ("mel", "nv")]
    names = ["skin_edge", "bare_loop", "mediapipe"]
    result = peers.run(tiny_int8, images, names, tmp_path / "work", num_runs=3)
    for name in ("bare_loop", "mediapipe"):
        if "distribution" in result["failed"].get(name, ""):
            pytest.skip(f"{name}: {result['failed'][name]}")
    assert result["failed"] == {}
    assert result["peers"]["mediapipe"]["versions"]["mediapipe"] == "1.2.2"
    assert "skin-edge" in result["peers"]["skin_edge"]["versions"]
    assert "skin-edge" not in result["peers"]["bare_loop"]["versions"]
    for name in names:
        assert [row["label"] for row in result["peers"][name]["images"]] == ["mel", "nv"]
