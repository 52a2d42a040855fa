"""Which pictures an epoch shows, and which of them here. Validation and test are never touched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...edge_runtime.errors import UnknownNameError

BALANCES = ("none", "class-weight", "oversample", "undersample")
"""Beside these, a number: so many pictures of each class in an epoch."""


@dataclass(frozen=True)
class Shard:
    """Which parts of each batch this process makes: `count` of `replicas`, from number `first` on."""

    replicas: int = 1
    first: int = 0
    count: int = 1


WHOLE = Shard()


def check_balance(balance: str) -> None:
    """Raises UnknownNameError where `balance` is neither one of BALANCES nor a whole number above 0."""
    if balance not in BALANCES and not (balance.isdigit() and int(balance) > 0):
        raise UnknownNameError("balance", balance, (*BALANCES, "N (pictures per class)"))


def epoch_rows(positions: npt.NDArray[np.int64], balance: str, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """The rows of one epoch in their shuffled order: int64 [m].

    Args:
        positions: int64 [n], each row's class. "none" and "class-weight" show every picture once; "oversample" as many
            of each class as the largest has, "undersample" as the smallest has, a number that many. Where a class has
            fewer, all of it is repeated as often as it fits, and the rest is drawn without replacement; where it has
            more, a new draw is made in every epoch.
    """
    if balance in ("none", "class-weight"):
        return generator.permutation(len(positions))
    classes = np.unique(positions)
    count = _of_each_class(positions, balance)
    rows: list[npt.NDArray[np.int64]] = []
    for one in classes:
        members = np.flatnonzero(positions == one)
        whole, rest = divmod(count, len(members))
        rows += [members] * whole + [generator.permutation(members)[:rest]]
    return generator.permutation(np.concatenate(rows))


def epoch_size(positions: npt.NDArray[np.int64], balance: str) -> int:
    """How many rows `epoch_rows` gives."""
    if balance in ("none", "class-weight"):
        return len(positions)
    return len(np.unique(positions)) * _of_each_class(positions, balance)


def _of_each_class(positions: npt.NDArray[np.int64], balance: str) -> int:
    sizes = np.unique(positions, return_counts=True)[1]
    return int({"oversample": sizes.max(), "undersample": sizes.min()}.get(balance, balance))


def shares(positions: npt.NDArray[np.int64], classes: int, balance: str) -> npt.NDArray[np.float64]:
    """The share of each class among the pictures that an epoch shows: float64 [classes], summing to 1."""
    counts = np.bincount(positions, minlength=classes).astype(np.float64)
    if balance not in ("none", "class-weight"):
        counts = (counts > 0).astype(np.float64)
    return counts / counts.sum()


def class_weights(positions: npt.NDArray[np.int64], classes: int, balance: str) -> npt.NDArray[np.float32]:
    """The weight of each class in the loss: float32 [classes].

    For "class-weight" scikit-learn's "balanced", n / (classes that occur * n of the class) (King and Zeng, "Logistic
    Regression in Rare Events Data", 2001); else, and for a class that does not occur, 1.
    """
    weights = np.ones(classes, np.float32)
    if balance == "class-weight":
        from sklearn.utils.class_weight import compute_class_weight

        there = np.unique(positions)
        weights[there] = compute_class_weight("balanced", classes=there, y=positions)
    return weights
