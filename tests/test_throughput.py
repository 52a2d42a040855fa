"""The studies of the training's speed: what they count, and what they print of it."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

pytest.importorskip("tensorflow")

from skin_edge.train.recipes import published
from studies import step_times, throughput


def test_every_side_takes_its_turn(ham, monkeypatch):
    """On the smallest network; determinism stays on in a process, so only its child turns it on."""
    monkeypatch.setattr(published, "DEFAULT", "quickstart")
    monkeypatch.setattr(throughput, "_ROUNDS", 1)
    rates = throughput.measure(str(ham), 32, deterministic=False)
    assert list(rates) == list(throughput._NAMES)
    assert all(0 < rate < float("inf") for rate in rates.values())


def test_memory_reads_every_picture_and_sees_whole_batches():
    row = throughput.memory(70)
    assert row["images"] == 70
    assert 64 <= row["seen"] <= 70
    assert row["peak_mb"] > 50
    assert row["read_per_second"] > 0 and row["epoch_per_second"] > 0


@pytest.mark.parametrize("side", ["generator", "layers"])
def test_keras_sides_augment_every_whole_batch(side):
    """They are compared with our pipeline per picture: leaving some out would flatter them."""
    import numpy as np

    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    augmentation = published.get("quickstart").augmentation
    made = getattr(throughput, f"_{side}")(pixels, np.eye(20, dtype=np.float32), augmentation, 8)
    images, targets = zip(*((np.asarray(x), np.asarray(y)) for x, y in made), strict=True)
    assert [len(batch) for batch in images] == [8, 8]
    assert all(batch.min() >= -1.01 and batch.max() <= 1.01 for batch in images)
    assert len({int(row) for batch in targets for row in batch.argmax(axis=1)}) == 16


def run_main(monkeypatch, module, *arguments):
    monkeypatch.setattr(sys, "argv", ["study", *map(str, arguments)])
    module.main()


def test_the_table_sets_training_and_input_against_the_step(monkeypatch, capsys, tmp_path):
    calls = []

    def called(*arguments):
        calls.append(arguments)
        fast = 2.0 if "not deterministic" in arguments else 1.0
        return {name: 100 * fast * (1 + number) for number, name in enumerate(throughput._NAMES)}

    monkeypatch.setattr(throughput, "_called", called)
    monkeypatch.chdir(tmp_path)
    run_main(monkeypatch, throughput, "data", "--image-size", 96)
    assert {arguments[0] for arguments in calls} == {str(tmp_path / "data")}, "the child runs elsewhere"
    lines = capsys.readouterr().out.splitlines()
    assert "96 px" in lines[0]
    figures = {line[:36].strip(): line[36:].split() for line in lines[2:]}
    assert figures["training step, data ready in memory"] == ["200", "400"]
    assert figures["training / step"] == ["1.500", "1.500"]
    assert figures["input alone / step"] == ["2.0", "2.0"]


def test_memory_is_printed_of_each_count(monkeypatch, capsys):
    row = {"images": 0, "seen": 64, "peak_mb": 812.4, "read_per_second": 3000, "epoch_per_second": 9000}
    monkeypatch.setattr(throughput, "_called", lambda *arguments: row)
    run_main(monkeypatch, throughput, "--memory", 70, 140)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "70 images: peak 812 MB, reading 3000/s, an epoch 9000/s (64 images)"
    assert second.startswith("140 images")


def test_without_data_it_says_what_is_needed(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_main(monkeypatch, throughput)
    assert stopped.value.code == 2
    assert "DATA or --memory is needed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_child_finds_the_studies_and_answers(ham):
    """From wherever it is called."""
    assert throughput._called("--memory", "64", "--only", "memory")["images"] == 64
    rates = throughput._called(str(ham), "--only", "deterministic", "--image-size", "32")
    assert list(rates) == list(throughput._NAMES)


def test_the_hours_of_a_recipe_follow_from_its_step(monkeypatch, capsys):
    monkeypatch.setattr(step_times, "step_seconds", lambda name: 0.5)
    monkeypatch.setattr(step_times, "start", lambda *_, **__: None)
    run_main(monkeypatch, step_times, "quickstart")
    line = capsys.readouterr().out.splitlines()[1].split()
    batch = published.get("quickstart").batch_size
    rate = batch / 0.5
    assert line == ["quickstart", "0.500", f"{rate:.1f}", f"{30 * 6500 / rate / 3600:.2f}"]


def test_a_step_is_measured(monkeypatch):
    small = replace(published.get("quickstart"), image_size=(32, 32), batch_size=2)
    monkeypatch.setattr(published, "get", lambda name: small)
    assert 0 < step_times.step_seconds("quickstart") < 600
