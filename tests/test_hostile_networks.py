"""Random networks and the fuzzing targets: what the whitelist lets through runs, and every target ends well."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from skin_edge.edge_runtime.errors import ModelFileError
from skin_edge.edge_runtime.model_file import read_model_file
from skin_edge.edge_runtime.network_check import check
from skin_edge.edge_runtime.operators import RULES
from studies.hostile import fuzz
from studies.hostile.networks import network_case, small_classifier
from studies.hostile.run import judge_network, measure


def test_a_network_can_be_made_again_and_most_are_let_through():
    assert network_case(1, 7) == network_case(1, 7) != network_case(2, 7)
    ends = Counter()
    for number in range(2 * len(RULES)):
        try:
            check(network_case(42, number)[1])
            ends["accepted"] += 1
        except ModelFileError as error:
            assert str(error).isprintable()
            ends["refused"] += 1
    assert ends["accepted"] > len(RULES) and ends["refused"] > 10


def test_sixty_random_networks_end_well():
    result = measure(0, 0, networks=60, time_limit_s=30)
    assert result["bad"] == [] and result["networks"]["outcomes"]["answered"] > 20


@pytest.mark.slow
def test_a_thousand_random_networks_end_well():
    assert measure(0, 0, 7, networks=1000)["bad"] == []


def test_a_network_that_is_refused_does_not_reach_the_interpreter():
    assert judge_network(b"\x1c\0\0\0TFL3" + bytes(40))[0] == "refused"


@pytest.mark.parametrize("name", fuzz.targets())
def test_every_target_takes_its_seeds_and_what_is_cut_of_them(name, tmp_path):
    make, seeds = fuzz.targets()[name]
    target = fuzz.judged(make(tmp_path))
    for seed in seeds()[:20]:
        for cut in (seed, seed[: len(seed) // 2], b"", seed[::-1]):
            target(cut)


def test_nothing_that_reads_is_loaded_before_it_is_instrumented():
    script = (
        "import sys\nfrom studies.hostile import fuzz\n"
        "loaded = {name for name in sys.modules if name.startswith('skin_edge.edge_runtime.')}\n"
        "assert {name.rpartition('.')[2] for name in loaded} <= fuzz.NO_READERS, loaded"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_what_is_a_finding():
    def raising(error):
        def target(data):
            raise error

        return fuzz.judged(target)

    raising(ModelFileError("one line"))(b"")
    for error in (ValueError("x"), MemoryError(), ModelFileError("two\nlines"), ModelFileError("")):
        with pytest.raises((ValueError, MemoryError, AssertionError)):
            raising(error)(b"")


def test_the_small_classifier_is_one(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(small_classifier())
    assert read_model_file(path).scores == "probabilities"
