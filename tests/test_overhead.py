"""The runtime adds nearly nothing to the interpreter. Slow: it measures time, so it wants the machine for itself."""

from __future__ import annotations

import json
import sys
import time

import pytest

from skin_edge.benchmarks.measure.picture import generated_picture
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from studies import overhead, peers


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("overhead") / "generated.jpg"
    path.write_bytes(generated_picture().content)  # 600x450 pixels
    return path


@pytest.fixture(scope="module", params=[1, 2], ids=["1 thread", "2 threads"])
def ratio(request, image, tmp_path_factory):
    """(figure, number of the picture) -> times the bare loop's: the best of many turns that both sides took."""
    folder = tmp_path_factory.mktemp("peers")
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        given = {"model": str(DEFAULT_MODEL), **peers.settings_of(classifier, request.param)}
    argument = json.dumps(given)
    commands = {
        name: [sys.executable, str(peers.SCRIPTS / peers.PEERS[name].script), argument]
        for name in ("skin_edge", "bare_loop")
    }
    images = [image, overhead.enlarged(image, folder)]
    figures, failed = peers.measure(commands, images, num_runs=60, cold_starts=25, logs=folder)
    assert not failed

    def best(name, figure, number):
        found = figures[name][number][figure]
        return min(found) if isinstance(found, list) else found

    return lambda figure, number: best("skin_edge", figure, number) / best("bare_loop", figure, number)


@pytest.mark.slow
def test_a_cold_start_costs_at_most_15_percent_more_than_by_hand(ratio):
    assert ratio("cold_starts_ms", 0) <= 1.15


@pytest.mark.slow
def test_a_picture_costs_at_most_3_percent_more_than_by_hand(ratio):
    assert ratio("runs_ms", 0) <= 1.03


@pytest.mark.slow
def test_a_picture_of_12_megapixels_costs_no_more_than_by_hand(ratio):
    """Decoded in full, too: the resize takes less than Pillow's."""
    assert ratio("runs_ms", 1) <= 1.0


@pytest.mark.slow
def test_memory_is_at_most_10_percent_more_than_by_hand(ratio):
    assert ratio("peak_bytes", 0) <= 1.10
    assert ratio("peak_bytes", 1) <= 1.10


@pytest.mark.slow
def test_the_command_line_starts_with_at_most_15_percent_more_than_by_hand(image):
    assert min(overhead.cold_start(DEFAULT_MODEL, image)["cpu"]["ratio"] for _ in range(3)) <= 1.15


def test_wall_and_cpu_time_stand_side_by_side(tiny_int8, image, monkeypatch, capsys):
    arguments = ["overhead", str(tiny_int8), str(image), "--runs", "3", "--cold-starts", "1"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--json"])
    overhead.main()
    measured = json.loads(capsys.readouterr().out)
    for figure in ("cold_start", "per_image", "per_large_image"):
        assert all(measured[figure][clock][side] > 0 for clock in ("wall", "cpu") for side in measured[figure][clock])
    # Importing NumPy and LiteRT takes some of the processor's time; a process that waits takes none.
    assert measured["cold_start"]["cpu"]["by_hand_ms"] > 20
    waits = overhead._compared(
        {"skin_edge_ms": lambda: time.sleep(0.02), "by_hand_ms": lambda: sum(range(9999))}, 2, time.process_time
    )
    assert waits["wall"]["skin_edge_ms"] >= 20 > waits["cpu"]["skin_edge_ms"]
    lines = str(overhead.table(measured)).splitlines()
    assert len(lines) == 7 and max(map(len, lines)) <= 80 and lines[2].split()[0] == "CPU"


def test_both_sides_give_the_same_answer(tiny_int8, picture):
    """Else the comparison would compare different work."""
    import re
    import subprocess

    path = picture("mel")
    done = subprocess.run(
        [sys.executable, "-c", overhead.BY_HAND, str(tiny_int8), str(path)], capture_output=True, text=True, check=True
    )
    by_hand = [float(number) for number in re.findall(r"[-+.e\d]+", done.stdout.strip(" []\n"))]
    prediction = SkinClassifier(tiny_int8).predict(path)
    assert by_hand == pytest.approx([prediction.probabilities[code] for code in sorted(prediction.probabilities)])
