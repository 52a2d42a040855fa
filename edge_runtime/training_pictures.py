"""Which pictures a model has learned from, as its file says it: 4 bytes of the SHA-256 of each picture's file.

They are in the contract under provenance.training_pictures, so that whoever measures a file alone is told of pictures
that it has seen. The same bytes are found under any name; a copy that was saved again is another file. Such a copy of a
public picture keeps its id, so 4 bytes of the SHA-256 of each public id are beside them. Ids of own pictures may be
names of people, and short digests of names can be guessed: nothing is stored of them. Four bytes name one of
4,294,967,296 values: nobody makes a picture of them, and of two different files one in so many pairs is alike.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from .containers import open_member, split_path
from .errors import ImageError

HASH = "the first 4 bytes of the SHA-256 of each picture's file, in ascending order, base64"
ID = "the first 4 bytes of the SHA-256 of each public id, ISIC_ and 7 digits, in ascending order, base64"
MOST = 32_768
"""Pictures; their hashes are 175 kB, and those of their ids as much. Of more there are none in the file, and what it
has seen is not known."""

PARTS = ("train", "val")
"""train: what the weights were fitted to. val: what chose the epoch, the temperature and the thresholds."""

_BYTES = 4
_PUBLIC = re.compile(r"(?:^|[/\\:])(isic_[0-9]{7})(?![0-9a-z])[^/\\:]*$", re.IGNORECASE | re.ASCII)
_BLOCK = 1 << 20


def digest(path: str | os.PathLike[str]) -> bytes:
    """SHA-256 of a picture's bytes, those of its member where it is in an HDF5 file; b"" where it cannot be read."""
    path = os.fspath(path)
    try:
        if split_path(path)[1]:
            return hashlib.sha256(open_member(path) or b"").digest()
        if not os.path.isfile(path):  # noqa: PTH113 (thousands of them); a pipe would be waited for
            return b""
        found = hashlib.sha256()
        with open(path, "rb") as file:  # noqa: PTH123
            while block := file.read(_BLOCK):
                found.update(block)
        return found.digest()
    except (OSError, ImageError):
        return b""


def public_id(*names: str | os.PathLike[str]) -> str:
    """The id of the public ISIC archive that a picture goes by, "ISIC_0024306"; "" where no name holds one.

    Args:
        names: Ids and paths; the first that begins with such an id, or whose file does, says it
            ("ISIC_0024306_small.png").
    """
    for name in names:
        if found := _PUBLIC.search(os.fspath(name)):
            return found[1].upper()
    return ""


def described(parts: Mapping[str, Collection[tuple[str, str]]]) -> dict[str, Any] | None:
    """The field of the contract; None where there are more than MOST.

    Args:
        parts: Of PARTS -> (path, id) of its pictures. One that cannot be read has no hash, but counts among "pictures".
    """
    if sum(map(len, parts.values())) > MOST:
        return None
    found: dict[str, Any] = {"hash": HASH, "id": ID}
    for part in PARTS:
        pictures = parts.get(part, ())
        ids = (public_id(image_id, path) for path, image_id in pictures)
        found[part] = {
            "pictures": len(pictures),
            "hashes": _text(digest(path) for path, _ in pictures),
            "ids": _text(_digest_of_id(one) for one in ids),
        }
    return found


def _text(digests: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(sorted(one[:_BYTES] for one in digests if one))).decode()


def _digest_of_id(public: str) -> bytes:
    return hashlib.sha256(public.encode()).digest() if public else b""


def count(field: Mapping[str, Any]) -> int:
    """How many hashes `described`'s field holds."""
    return sum(len(base64.b64decode(field[part]["hashes"])) // _BYTES for part in PARTS)


def hashes_of(contract: Mapping[str, Any]) -> dict[str, list[bytes]] | None:
    """Of PARTS -> the hashes of its pictures; None where the file does not say, or not as `described` does."""
    return _of(contract, "hash", HASH, "hashes")


def ids_of(contract: Mapping[str, Any]) -> dict[str, list[bytes]] | None:
    """Of PARTS -> the hashes of its public ids; None where the file does not say, or not as `described` does."""
    return _of(contract, "id", ID, "ids")


def _of(contract: Mapping[str, Any], says: str, how: str, name: str) -> dict[str, list[bytes]] | None:
    try:
        said: Any = contract["provenance"]["training_pictures"]
        raw = {part: base64.b64decode(said[part][name], validate=True) for part in PARTS}
        whole = all(len(raw[part]) % _BYTES == 0 and said[part]["pictures"] >= 0 for part in PARTS)
    except (KeyError, TypeError, ValueError):  # of an older file, of others'
        return None
    if not whole or said.get(says) != how:
        return None
    return {part: [raw[part][at : at + _BYTES] for at in range(0, len(raw[part]), _BYTES)] for part in PARTS}


def marks(
    contracts: Iterable[Mapping[str, Any]], pictures: Iterable[tuple[str | os.PathLike[str], str]]
) -> list[tuple[bytes, str]]:
    """What `seen` compares, of (path, id) of each picture; none, and no file is read, where no contract has hashes."""
    if all(hashes_of(contract) is None for contract in contracts):
        return []
    return [(digest(path), public_id(image_id, path)) for path, image_id in pictures]


def seen(contract: Mapping[str, Any], pictures: Iterable[tuple[bytes, str]]) -> dict[str, Any] | None:
    """How many pictures are some that the model has learned from; None where its file does not say.

    Args:
        pictures: (of `digest`, of `public_id`) of each, as `marks` gives them; those whose digest is b"" are passed
            over. JSON-ready: compared, the pictures with a digest; for each of PARTS {"pictures", "hashes", "found",
            "by_chance", "by_id"}: how many there were, of how many of them the file has the hash, the compared ones
            whose hash is among those, and how many would be if none of them were one: n m / 2^32 for n pictures and m
            different hashes.

    Returns:
        by_id: {"ids", "found", "by_chance"} in the same way for the public ids of those that are not found by their
        bytes; None where the file has none. not_known: how many of those that no part has may be copies that were saved
        again: all but those with a public id, where each picture of training has one.
    """
    hashes, ids = hashes_of(contract), ids_of(contract)
    if hashes is None:
        return None
    compared = [(one[:_BYTES], _digest_of_id(public)[:_BYTES]) for one, public in pictures if one]
    result: dict[str, Any] = {"compared": len(compared)}
    left, all_public = compared, True
    for part in PARTS:
        count = int(contract["provenance"]["training_pictures"][part]["pictures"])
        known = set(hashes[part])
        others = [(one, public) for one, public in compared if one not in known]
        result[part] = {
            "pictures": count,
            "hashes": len(hashes[part]),
            "found": len(compared) - len(others),
            "by_chance": _by_chance(compared, known),
            "by_id": None,
        }
        public_ids = set(ids[part]) if ids else set[bytes]()
        if ids:
            named = [public for _, public in others if public]
            found, chance = sum(public in public_ids for public in named), _by_chance(named, public_ids)
            result[part]["by_id"] = {"ids": len(ids[part]), "found": found, "by_chance": chance}
        all_public &= ids is not None and len(ids[part]) >= count
        left = [(one, public) for one, public in left if one not in known and public not in public_ids]
    return result | {"not_known": sum(not (all_public and public) for _, public in left)}


def _by_chance(compared: Sequence[object], hashes: Collection[bytes]) -> float:
    return len(compared) * len(hashes) / 2 ** (8 * _BYTES)


def seen_in(part: Mapping[str, Any]) -> tuple[int, int]:
    """(by the bytes of the files, by public ids): how many pictures were seen, 0 where chance explains them.

    Args:
        part: One of `seen`'s. Chance explains what is not over its expectation by three standard deviations of
            Poisson's law; a single picture is over it as long as less than 0.09 would be found by chance.
    """
    return _beyond_chance(part), _beyond_chance(part.get("by_id") or {"found": 0, "by_chance": 0.0})


def explained_by_chance(part: Mapping[str, Any]) -> int:
    """How many of those that were found are none in `seen_in`.

    Args:
        part: One of `seen`'s.
    """
    return int(part["found"] + (part.get("by_id") or {"found": 0})["found"] - sum(seen_in(part)))


def _beyond_chance(kind: Mapping[str, Any]) -> int:
    found, chance = int(kind["found"]), float(kind["by_chance"])
    return found if found > chance + 3 * math.sqrt(chance) else 0
