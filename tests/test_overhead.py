"""The runtime adds nearly nothing to the interpreter. Slow: it measures time, so it wants the machine for itself."""

from __future__ import annotations

import pytest

from skin_edge.benchmarks import overhead
from skin_edge.benchmarks.picture import generated_picture
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("overhead") / "generated.jpg"
    path.write_bytes(generated_picture().content)
    return path


@pytest.mark.slow
def test_a_cold_start_costs_at_most_three_tenths_more_than_by_hand(image):
    assert min(overhead.cold_start(DEFAULT_MODEL, image)["ratio"] for _ in range(3)) <= 1.3


@pytest.mark.slow
def test_a_picture_costs_at_most_a_twentieth_more_than_by_hand(image):
    assert min(overhead.per_image(DEFAULT_MODEL, image)["ratio"] for _ in range(3)) <= 1.05


def test_both_sides_give_the_same_answer(tiny_int8, picture):
    """Else the comparison would compare different work."""
    import re
    import subprocess
    import sys

    from skin_edge.edge_runtime import SkinClassifier

    path = picture("mel")
    done = subprocess.run(
        [sys.executable, "-c", overhead.BY_HAND, str(tiny_int8), str(path)], capture_output=True, text=True, check=True
    )
    by_hand = [float(number) for number in re.findall(r"[-+.e\d]+", done.stdout.strip(" []\n"))]
    prediction = SkinClassifier(tiny_int8).predict(path)
    assert by_hand == pytest.approx([prediction.probabilities[code] for code in sorted(prediction.probabilities)])
