"""`skin-edge train --distribute`: several replicas train what one would."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, UsageError
from skin_edge.train.loop import distribution
from skin_edge.train.pipeline.sampling import Shard

from .miniatures import one_line

SMALL = ("--recipe", "quickstart", "--image-size", "32", "--batch-size", "8", "--seed", "5")

# What a training has today, all at once; every one of them has to mean the same on several devices.
EVERYTHING = (*SMALL, "--epochs", "2", "--metadata", "--balance", "6", "--loss", "logit-adjusted",
              *("--set=" + text for text in ("ema=0.9", "mixup=0.2", "head_epochs=1", "schedule=cosine")))  # fmt: skip

# The same sum on one device and on two: no statistics of a batch, no dropout. Only the head is trained.
PLAIN = (*SMALL, "--epochs", "3", "--metadata", "age,sex", "--balance", "class-weight", "--loss", "focal",
         *("--set=" + text for text in ("batch_norm=frozen", "head_batch_norm=false", "dropout=0", "mixup=0.2",
                                        "weight_decay=1e-4")))  # fmt: skip

MIRRORED = """
import os, sys
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from skin_edge.edge_runtime.cli import run
sys.exit(run(sys.argv[1:]))
"""


def mirrored(*arguments):
    """`skin-edge train --distribute mirrored` on two logical devices of this CPU."""
    command = [sys.executable, "-c", MIRRORED, "train", *map(str, arguments), "--distribute", "mirrored"]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def free_hosts(sockets):
    for one in sockets:
        one.bind(("localhost", 0))
    return [f"localhost:{one.getsockname()[1]}" for one in sockets]


def start_worker(index, hosts, tmp_path, *arguments):
    config = json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}})
    command = [sys.executable, "-m", "skin_edge.edge_runtime.cli", "train", *map(str, arguments)]
    return subprocess.Popen(
        [*command, "--distribute", "multi-worker"],
        env={**os.environ, "TF_CONFIG": config, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def two_workers(tmp_path, *arguments, flags=((), ())):
    """Two processes on this machine; (exit code, stderr) of each."""
    with socket.socket() as one, socket.socket() as other:
        hosts = free_hosts([one, other])
    started = [start_worker(index, hosts, tmp_path, *arguments, *flags[index]) for index in range(2)]
    return [(process.communicate(timeout=600)[1], process.returncode) for process in started]


def hash_in(text):
    return re.search(r"weights ([0-9a-f]{64})", text)[1]


def figures(folder):
    """(history.csv, the kept weights) of a run."""
    from skin_edge.train.runs import run_folder

    return pd.read_csv(folder / "history.csv"), run_folder.read(folder).model().get_weights()


def as_if_killed_after_the_first_epoch(folder):
    (folder / "metrics.json").unlink()
    first, last = sorted((folder / "checkpoints").iterdir())  # the best one and the last
    assert (first.name, last.name) == ("epoch-0001", "epoch-0002")
    shutil.rmtree(last)


def assert_trained_alike(one, two):
    """Sums over parts are rounded otherwise; half the learning rate, or half the batch, would be far off."""
    (history, weights), (other_history, other_weights) = figures(one), figures(two)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(other_history[name], history[name], rtol=2e-3)
    for weight, other in zip(weights, other_weights, strict=True):
        np.testing.assert_allclose(other, weight, atol=2e-3)


@pytest.fixture(scope="module")
def plain_run(ham, tmp_path_factory):
    """PLAIN, trained on one device."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    assert run(["train", str(ham), "--out", str(folder), *PLAIN]) == 0
    return folder


@pytest.mark.parametrize("mixup", [0.0, 0.4])
def test_the_parts_of_all_shards_are_the_batches_of_one_device(mixup):
    from skin_edge.edge_runtime.preprocess import InputSpec
    from skin_edge.train.data.patients import Patients
    from skin_edge.train.pipeline.augment import Augmentation
    from skin_edge.train.pipeline.batches import Pictures, SeenByTeachers, training_batches

    generator = np.random.default_rng(3)
    pixels, vectors = generator.integers(0, 256, (22, 32, 32, 3), np.uint8), generator.random((22, 3), np.float32)
    known = Patients(vectors, np.asarray([0, 1, 1]), 0.3)
    pictures = Pictures(pixels, np.arange(22), np.ones(22, np.float32), known)
    augmentation = Augmentation(rotation=90, shift=0.1, resolution=0.5, compression=0.5, noise=4)
    given = (pictures, np.eye(22, dtype=np.float32), InputSpec(32, 32), augmentation)
    drawn = {
        "batch_size": 8,
        "seed": 1,
        "epoch": 2,
        "mixup": mixup,
        "teachers": SeenByTeachers(pictures, InputSpec(32, 32)),
    }
    # Three processes: one with two replicas, two with one.
    shards = [Shard(4, 0, 2), Shard(4, 2, 1), Shard(4, 3, 1)]
    parts = [list(training_batches(*given, **drawn, shard=shard)) for shard in shards]
    for batch, ((images, patients), labels, seen) in enumerate(training_batches(*given, **drawn)):
        of_batch = parts[0][2 * batch : 2 * batch + 2] + parts[1][batch : batch + 1] + parts[2][batch : batch + 1]
        assert [len(part[1]) for part in of_batch] == [2, 2, 2, 2]
        assert np.array_equal(np.concatenate([part[1] for part in of_batch]), labels)
        assert np.array_equal(np.concatenate([part[0][1] for part in of_batch]), patients)
        assert np.array_equal(np.concatenate([part[0][0] for part in of_batch]), images)
        assert np.array_equal(np.concatenate([part[2] for part in of_batch]), seen) and not np.array_equal(seen, images)
    if not mixup:
        seen = np.concatenate([part[1].numpy().argmax(axis=1) for one in parts for part in one])
        assert len(seen) == 16 and len(set(seen)) == 16, "no picture twice in an epoch"
    with pytest.raises(DataError, match="lower --batch-size"):
        training_batches(*given, **{**drawn, "batch_size": 24}, shard=shards[0])


def placed(task, index, cluster):
    written = json.dumps({"cluster": cluster, "task": {"type": task, "index": index}})
    return distribution.place("multi-worker", {"TF_CONFIG": written})


def test_tf_config_tells_the_place():
    two = {"worker": ["a:1", "b:1"]}
    assert placed("worker", 0, two).chief and not placed("worker", 1, two).chief
    assert placed("worker", 1, two).workers == 2
    with_chief = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    assert placed("chief", 0, with_chief).chief
    assert [placed("worker", i, with_chief).worker for i in range(2)] == [1, 2]
    assert distribution.place(None) == distribution.Place()


@pytest.mark.parametrize(
    ("task", "index", "cluster", "says"),
    [
        ("worker", 2, {"worker": ["a:1", "b:1"]}, "task worker 2 is not in a cluster"),
        ("evaluator", 0, {"worker": ["a:1", "b:1"]}, "task evaluator 0 is not"),
        ("worker", 0, {"worker": ["a:1"], "ps": ["d:1"]}, "is not in a cluster of chief and worker"),
        ("worker", 0, {"worker": "a:1"}, "is not in a cluster"),
        ("worker", 0, {"worker": ["a", "b:1"]}, "'a' is not a host:port"),
        ("worker", 0, {"worker": ["a:1", "a:1"]}, "'a:1' is not a host:port of its own"),
        ("worker", "first", {"worker": ["a:1", "b:1"]}, "names no cluster and task"),
        ("chief", 1, {"chief": ["a:1", "b:1"]}, "more than one chief"),
    ],
)
def test_a_place_that_is_not_in_the_cluster(task, index, cluster, says):
    with pytest.raises(UsageError, match=says):
        placed(task, index, cluster)


@pytest.mark.parametrize("written", [None, "", "{", "[]", '{"cluster": {}}', '{"cluster": 3, "task": 4}'])
def test_a_wrong_tf_config_is_said_in_one_line(ham, tmp_path, monkeypatch, capsys, written):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if written is not None:
        monkeypatch.setenv("TF_CONFIG", written)
    assert run(["train", str(ham), "--out", str(tmp_path / "run"), "--distribute", "multi-worker"]) == 2
    assert "TF_CONFIG" in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ((), "only one device"),
        (("--folds", "3"), "--folds cannot be combined with"),
        (("--xla",), "--xla cannot be combined with"),
    ],
)
def test_what_cannot_be_distributed_is_refused(ham, tmp_path, capsys, flag, says):
    arguments = [str(ham), "--out", str(tmp_path / "run"), *SMALL, "--distribute", "mirrored", *flag]
    assert run(["train", *arguments]) == 2
    assert says in one_line(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_workers_train_what_one_process_does(ham, plain_run, tmp_path):
    ended = two_workers(tmp_path, ham, "--out", tmp_path / "run", *PLAIN)
    assert [code for _, code in ended] == [0, 0], ended
    assert len({hash_in(text) for text, _ in ended}) == 1
    assert_trained_alike(plain_run, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["--no-mixed-precision", "--mixed-precision"])
def test_two_workers_end_with_equal_weights_and_resume(ham, tmp_path, precision):
    """Under mixed precision a CPU computes in bfloat16."""
    out, cache = tmp_path / "run", tmp_path / "cache"
    flags = [ham, "--out", out, *EVERYTHING, precision, "--cache", cache]
    (chief, code), (worker, other) = two_workers(tmp_path, *flags)
    assert (code, other) == (0, 0), chief + worker
    assert hash_in(chief) == hash_in(worker)
    assert [line for line in chief.splitlines() if "*" in line] and "evaluating" not in worker
    assert not list(tmp_path.glob("skin-edge-worker-*")), "what a worker wrote is gone"
    assert len(list(cache.glob("**/pixels.npy"))) == 2, "no two write the same file"
    history = (out / "history.csv").read_bytes()
    as_if_killed_after_the_first_epoch(out)
    again = two_workers(tmp_path, *flags, "--resume")  # the second worker has nothing of the run
    assert [code for _, code in again] == [0, 0], again
    assert {hash_in(text) for text, _ in again} == {hash_in(chief)}
    assert all("continuing after epoch 1" in text for text, _ in again)
    assert (out / "history.csv").read_bytes() == history


@pytest.mark.slow
def test_workers_that_do_not_train_the_same_say_so(ham, tmp_path):
    arguments = (ham, "--out", tmp_path / "run", *SMALL, "--epochs", 1)
    for text, code in two_workers(tmp_path, *arguments, flags=((), ("--learning-rate", "0.1"))):
        assert code == 1
        (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert "differ in their settings" in line and "Traceback" not in text


@pytest.mark.slow
def test_a_port_that_is_taken_is_said_in_one_line(ham, tmp_path):
    with socket.socket() as taken, socket.socket() as other:
        hosts = free_hosts([taken, other])
        taken.listen()
        worker = start_worker(0, hosts, tmp_path, ham, "--out", tmp_path / "run", *SMALL)
        text = worker.communicate(timeout=600)[1]
    assert worker.returncode == 2
    assert "error: the workers in TF_CONFIG cannot be met" in text and "Traceback" not in text


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_chief_in_one_line(ham, tmp_path):
    with socket.socket() as one, socket.socket() as other:
        hosts = free_hosts([one, other])
    arguments = (ham, "--out", tmp_path / "run", *PLAIN, "--epochs", 1000)
    chief, worker = (start_worker(index, hosts, tmp_path, *arguments) for index in range(2))
    deadline = time.monotonic() + 300
    while not (tmp_path / "run" / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    worker.kill()
    worker.communicate()
    text = chief.communicate(timeout=300)[1]
    assert chief.returncode == 1
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "another worker has ended" in line and "Traceback" not in text


@pytest.mark.slow
def test_two_mirrored_devices_train_what_one_does(ham, plain_run, tmp_path):
    done = mirrored(ham, "--out", tmp_path / "run", *PLAIN)
    assert done.returncode == 0, done.stderr
    assert "2 devices" in done.stderr
    assert_trained_alike(plain_run, tmp_path / "run")


@pytest.mark.slow
def test_two_mirrored_devices_in_mixed_precision_resume_to_the_same_history(ham, tmp_path):
    out = tmp_path / "run"
    flags = [ham, "--out", out, *EVERYTHING, "--mixed-precision"]
    done = mirrored(*flags)
    assert done.returncode == 0, done.stderr
    history = (out / "history.csv").read_bytes()
    as_if_killed_after_the_first_epoch(out)
    again = mirrored(*flags, "--resume")
    assert "continuing after epoch 1" in again.stderr
    assert again.returncode == 0 and hash_in(again.stderr) == hash_in(done.stderr), again.stderr
    assert (out / "history.csv").read_bytes() == history
