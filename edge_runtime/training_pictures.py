"""Which pictures a model has learned from, as its file says it: 4 bytes of the SHA-256 of each picture's file.

They lie in the contract under provenance.training_pictures, so that whoever measures a file alone is told of pictures
that it has seen. The same bytes are found under any name; a copy that was saved anew is another file. Four bytes name
one of 4,294,967,296 values: nobody makes a picture of them, and of two different files one in so many pairs is alike.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .containers import open_member, split_path
from .errors import ImageError

HASH = "the first 4 bytes of the SHA-256 of each picture's file, in ascending order, base64"
MOST = 32_768
"""Pictures; their hashes are 175 kB. Of more there are none in the file, and what it has seen is not known."""

PARTS = ("train", "val")
"""train: what the weights were fitted to. val: what chose the epoch, the temperature and the thresholds."""

_BYTES = 4
_BLOCK = 1 << 20


def digest(path: str | os.PathLike[str]) -> bytes:
    """SHA-256 of a picture's bytes, those of its member where it lies in an HDF5 file; b"" where it cannot be read."""
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


def described(parts: Mapping[str, Collection[str]]) -> dict[str, Any] | None:
    """The field of the contract; None where there are more than MOST.

    parts: of PARTS -> the paths of its pictures. One that cannot be read has no hash, but counts among "pictures".
    """
    if sum(map(len, parts.values())) > MOST:
        return None
    found: dict[str, Any] = {"hash": HASH}
    for part in PARTS:
        paths = parts.get(part, ())
        hashes = sorted(one[:_BYTES] for one in map(digest, paths) if one)
        found[part] = {"pictures": len(paths), "hashes": base64.b64encode(b"".join(hashes)).decode()}
    return found


def count(field: Mapping[str, Any]) -> int:
    """How many hashes `described`'s field holds."""
    return sum(len(base64.b64decode(field[part]["hashes"])) // _BYTES for part in PARTS)


def hashes_of(contract: Mapping[str, Any]) -> dict[str, list[bytes]] | None:
    """Of PARTS -> the hashes of its pictures; None where the file does not say, or not as `described` does."""
    try:
        said: Any = contract["provenance"]["training_pictures"]
        raw = {part: base64.b64decode(said[part]["hashes"], validate=True) for part in PARTS}
        whole = all(len(raw[part]) % _BYTES == 0 and said[part]["pictures"] >= 0 for part in PARTS)
    except (KeyError, TypeError, ValueError):  # of an older file, of others'
        return None
    if not whole or said.get("hash") != HASH:
        return None
    return {part: [raw[part][at : at + _BYTES] for at in range(0, len(raw[part]), _BYTES)] for part in PARTS}


def seen(contract: Mapping[str, Any], digests: Iterable[bytes]) -> dict[str, Any] | None:
    """How many pictures are, byte for byte, some that the model has learned from; None where its file does not say.

    digests: of `digest`; b"" are passed over. JSON-ready: compared, the pictures with a digest; for each of PARTS
    {"pictures", "hashes", "found", "by_chance"}: how many there were, of how many of them the file has the hash, the
    compared ones whose hash is among those, and how many would be if none of them were one: n m / 2^32 for n pictures
    and m different hashes.
    """
    hashes = hashes_of(contract)
    if hashes is None:
        return None
    short = [one[:_BYTES] for one in digests if one]
    result: dict[str, Any] = {"compared": len(short)}
    for part, known in hashes.items():
        different = set(known)
        result[part] = {
            "pictures": int(contract["provenance"]["training_pictures"][part]["pictures"]),
            "hashes": len(known),
            "found": sum(one in different for one in short),
            "by_chance": len(short) * len(different) / 2 ** (8 * _BYTES),
        }
    return result


def is_seen(part: Mapping[str, Any]) -> bool:
    """Whether more were found than chance explains: over its expectation by three standard deviations of Poisson's law.

    part: one of `seen`'s. A single picture is more than chance as long as less than 0.09 would be found by chance.
    """
    chance = float(part["by_chance"])
    return bool(part["found"] > chance + 3 * math.sqrt(chance))
