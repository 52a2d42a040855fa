"""Random streams: one of its own for every use, and nobody draws beside them."""

from __future__ import annotations

import re
from pathlib import Path

from skin_edge.train.streams import Stream, generator, number

ROOT = Path(__file__).parents[1]

# They draw pictures and inputs for themselves, outside of any training.
NOT_OF_A_TRAINING = {
    "synthetic.py",
    "step_times.py",
    "throughput.py",
    "layer_errors.py",
    "degradation.py",
    "conditions.py",
}


def test_every_stream_draws_something_else():
    draws = {name: tuple(generator(42, stream).integers(0, 2**32, 4)) for name, stream in Stream.__members__.items()}
    assert len(set(draws.values())) == len(Stream)
    assert len({number(42, stream) for stream in Stream}) == len(Stream)


def test_a_stream_and_its_position_decide_the_draw():
    assert generator(1, Stream.ORDER, 3).integers(0, 2**32) == generator(1, Stream.ORDER, 3).integers(0, 2**32)
    drawn = {
        int(generator(1, Stream.ORDER, epoch, batch).integers(0, 2**62)) for epoch in range(9) for batch in range(9)
    }
    assert len(drawn) == 81
    assert 0 <= number(2**32 - 1, Stream.DROPOUT, 500, 90) < 2**63


def test_training_and_conversion_draw_from_streams_alone():
    found = [
        f"{path.name}: {line.strip()}"
        for folder in ("train", "convert")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name not in {*NOT_OF_A_TRAINING, "streams.py"}
        for line in path.read_text().splitlines()
        if re.search(r"default_rng|SeedSequence|np\.random\.(seed|RandomState|rand)", line)
    ]
    assert found == []
