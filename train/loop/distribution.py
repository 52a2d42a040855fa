"""One training on several devices (mirrored) or machines (multi-worker), by tf.distribute.

The batch is the recipe's, cut into as many parts as there are replicas; together they see every picture once per epoch,
with the order and augmentation of one device. Every decision is made from numbers that all of them have: weights are
equal by all-reduce, BatchNormalization's statistics are levelled at the end of an epoch, and the validation part is
answered in shares that are put together on every machine. Only the chief writes RUN.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...edge_runtime.errors import DataError, UnknownNameError, UsageError
from ..pipeline.sampling import WHOLE, Shard
from ..recipes.recipe import Recipe

KINDS = ("mirrored", "multi-worker")

_EXAMPLE = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
_CHUNK = 1 << 20
_CONNECTION_ERRORS = ("UnavailableError", "AbortedError", "DeadlineExceededError", "CancelledError")


@dataclass(frozen=True)
class Place:
    """Where this process stands.

    Attributes:
        kind: Of KINDS, None alone.
        worker: Its number; 0 is the chief.
    """

    kind: str | None = None
    worker: int = 0
    workers: int = 1

    @property
    def chief(self) -> bool:
        return self.worker == 0


def place(kind: str | None, environment: Mapping[str, str] = os.environ) -> Place:
    """Reads TF_CONFIG, where `kind` is multi-worker. Raises UsageError for what is missing or wrong in it."""
    if kind is None:
        return Place()
    if kind not in KINDS:
        raise UnknownNameError("distribution", kind, KINDS)
    if kind == "mirrored":
        return Place(kind)
    written = environment.get("TF_CONFIG")
    if not written:
        raise UsageError(f"--distribute multi-worker: the variable TF_CONFIG is not set; example: {_EXAMPLE}")
    try:
        config = json.loads(written)
        cluster = {str(name): list(hosts) for name, hosts in config["cluster"].items() if not isinstance(hosts, str)}
        task, index = str(config["task"]["type"]), int(config["task"]["index"])
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(f"TF_CONFIG names no cluster and task; example: {_EXAMPLE}") from None
    if not set(cluster) <= {"chief", "worker"} or not 0 <= index < len(cluster.get(task, [])):
        raise UsageError(f"TF_CONFIG: task {task} {index} is not in a cluster of chief and worker, such as {_EXAMPLE}")
    if len(cluster.get("chief", [])) > 1:
        raise UsageError("TF_CONFIG names more than one chief: keep one, and call the others workers")
    hosts = [*cluster.get("chief", []), *cluster.get("worker", [])]
    for host in hosts:
        if not re.fullmatch(r"\S+:\d+", str(host)) or hosts.count(host) > 1:
            raise UsageError(f"TF_CONFIG: '{host}' is not a host:port of its own, such as in {_EXAMPLE}")
    return Place(kind, index + (len(cluster.get("chief", [])) if task == "worker" else 0), len(hosts))


class SingleDevice:
    """One process on one device: what all of this is without tf.distribute."""

    replicas = 1

    def scope(self) -> Any:
        """Variables are made in here."""
        return contextlib.nullcontext()

    def batches(self, make: Callable[[Shard], Any]) -> tuple[Any, int]:
        """Data that `model.fit` takes, and the steps of the epoch.

        Args:
            make: A shard's tf.data.Dataset, part by part.
        """
        made = make(WHOLE)
        return made, len(made)

    def level(self, model: Any) -> None:
        """Gives all replicas the same BatchNormalization statistics, their mean."""

    def predict(self, model: Any, recipe: Recipe, pictures: Any) -> npt.NDArray[np.float32]:
        """The model's answers, float32 [n, classes], equal everywhere."""
        from ..pipeline.batches import plain_batches

        return model.predict(plain_batches(pictures, recipe.input_spec), verbose=0)

    def assert_same_config(self, what: str) -> None:
        """Raises DataError where the processes do not train the same."""

    def broadcast(self, folder: Path) -> None:
        """Brings the chief's folder to all."""

    def wait(self) -> None:
        """For all others."""


SINGLE_DEVICE = SingleDevice()


class Distributed(SingleDevice):
    """One of several replicas. Every method is to be called by all workers, in the same order."""

    def __init__(self, here: Place, strategy: Any):
        self.replicas: int = strategy.num_replicas_in_sync
        self._place, self._strategy = here, strategy
        self._local = self.replicas // here.workers
        self._twin: Any = None
        self._summing: Any = None

    def scope(self) -> Any:
        return self._strategy.scope()

    def batches(self, make: Callable[[Shard], Any]) -> tuple[Any, int]:
        made = make(Shard(self.replicas, self._place.worker * self._local, self._local))
        return self._strategy.distribute_datasets_from_function(lambda _: made), len(made) // self._local

    def level(self, model: Any) -> None:
        with self.scope():
            for variable in model.non_trainable_variables:
                variable.assign(variable.read_value())

    def predict(self, model: Any, recipe: Recipe, pictures: Any) -> npt.NDArray[np.float32]:
        # On a copy that is not distributed: Keras would give the answers back in another order.
        if self._twin is None:
            from ..models.heads import classifier

            length = pictures.patients.vectors.shape[1] if pictures.patients else 0
            self._twin = classifier(replace(recipe, weights="none"), model.output_shape[-1], length)
        copy_weights(model, self._twin)
        rows = np.arange(self._place.worker, len(pictures), self._place.workers)
        answers = np.zeros((len(pictures), model.output_shape[-1]), np.float32)
        if len(rows):
            answers[rows] = super().predict(self._twin, recipe, pictures.take(rows))
        return self._sum(answers)

    def assert_same_config(self, what: str) -> None:
        own = np.frombuffer(hashlib.sha256(what.encode()).digest(), np.uint8).astype(np.float32)
        chiefs = self._sum(own if self._place.chief else np.zeros_like(own))
        if self._sum(np.asarray([(own != chiefs).any()], np.float32))[0]:
            raise DataError(
                "the workers differ in their settings: give all the same data, flags and version of skin-edge"
            )

    def broadcast(self, folder: Path) -> None:
        if self._place.workers == 1:
            return
        content = np.zeros(0, np.uint8)
        if self._place.chief and folder.is_dir():
            packed = io.BytesIO()
            with tarfile.open(fileobj=packed, mode="w") as archive:
                for path in sorted(folder.glob("epoch-*")):
                    archive.add(path, path.name)
            content = np.frombuffer(packed.getvalue(), np.uint8)
        # Half of it at a time: float32 counts exactly to 2**24.
        length = self._sum(np.asarray([len(content) % 4096, len(content) // 4096], np.float32))
        whole = np.zeros(int(length[0]) + 4096 * int(length[1]), np.uint8)
        for start in range(0, len(whole), _CHUNK):
            part = np.zeros(_CHUNK, np.float32)
            mine = content[start : start + _CHUNK]
            part[: len(mine)] = mine
            whole[start : start + _CHUNK] = self._sum(part)[: len(whole) - start].astype(np.uint8)
        if not self._place.chief and len(whole):
            folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=io.BytesIO(whole.tobytes())) as archive:
                archive.extractall(folder, filter="data")

    def wait(self) -> None:
        self._sum(np.zeros(1, np.float32))

    def _sum(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Over the workers, in float32; exact where all but one are zero."""
        from ..engine import tf

        if self._place.workers == 1:
            return values
        if self._summing is None:

            def step(own: Any) -> Any:
                context = tf.distribute.get_replica_context()
                counts = context.replica_id_in_sync_group % self._local == 0  # once per worker
                return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(counts, own, tf.zeros_like(own)))

            self._summing = tf.function(lambda own: self._strategy.run(step, (own,)))
        total = self._summing(tf.constant(values))
        return self._strategy.experimental_local_results(total)[0].numpy()


def join(here: Place, batch_size: int) -> SingleDevice:
    """Meets the other workers. To be called before TensorFlow's first operation.

    Raises UsageError where they cannot be met, or the batch cannot be shared evenly.
    """
    from ..engine import tf

    if here.kind is None:
        return SINGLE_DEVICE
    if here.kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    else:
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.OpError as error:
            raise UsageError(
                f"the workers in TF_CONFIG cannot be met ({_first_line(error)}): start all of them, and see that this "
                "one's port is free and the others can be reached"
            ) from None
    if strategy.num_replicas_in_sync == 1:
        raise UsageError("--distribute: there is only one device; train without it")
    if batch_size % strategy.num_replicas_in_sync:
        raise UsageError(f"a batch of {batch_size} cannot be shared evenly by {strategy.num_replicas_in_sync} devices")
    return Distributed(here, strategy)


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """Errors of the connection, in the words of a user."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in _CONNECTION_ERRORS:  # by name: TensorFlow may not be loaded yet
            raise
        raise DataError(
            f"another worker has ended or cannot be reached: see its own messages ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    """Without the names of TensorFlow's functions, which stand before in double braces."""
    return (str(error).splitlines() or [type(error).__name__])[0].rpartition("}} ")[2].rstrip(":")


def copy_weights(source: Any, target: Any) -> None:
    """Gives `target` the weights and statistics of `source`. To be called by all workers: statistics are averaged."""
    for own, other in zip(target.weights, source.weights, strict=True):
        own.assign(other.read_value())


def weights_hash(model: Any) -> str:
    """SHA-256 over all weights and statistics, in the order of the layers."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(weight.read_value().numpy().tobytes())
    return digest.hexdigest()
