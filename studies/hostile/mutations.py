"""Mutations of any bytes."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Hostile(NamedTuple):
    """A case as bytes. form: the image format, or how the model file is sealed. suffix: of the file's name."""

    form: str
    mutation: str
    suffix: str
    content: bytes


Field = tuple[int, str]  # where a number stands and its struct code, byte order included
_EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_REALS = (0.0, -1.0, 1e-45, 1e38, -1e38, math.inf, -math.inf, math.nan)


class Mutant:
    """Bytes that are changed in place. draw: gives a position worth changing."""

    def __init__(self, content: bytes, rng: random.Random, draw: Callable[[], int] | None = None):
        self.data = bytearray(content)
        self.rng = rng
        self.draw = draw or self._anywhere

    def _anywhere(self) -> int:
        """Half of the time among the first 300 bytes: headers stand there."""
        end = len(self.data)
        return self.rng.randrange(min(end, 300) if self.rng.random() < 0.5 else end)

    def bits(self) -> None:
        for _ in range(self.rng.choice((1, 1, 2, 4, 16))):
            self.data[self.draw()] ^= 1 << self.rng.randrange(8)

    def bytes(self) -> None:
        for _ in range(self.rng.choice((1, 2, 8, 32))):
            self.data[self.draw()] = self.rng.choice((0, 1, 0x7F, 0x80, 0xFF, self.rng.randrange(256)))

    def truncate(self) -> None:
        del self.data[self.draw() :]

    def insert(self) -> None:
        at, length = self.draw(), self.rng.choice((1, 2, 4, 16, 100))
        source = self.draw()
        piece = self.data[source : source + length] if self.rng.random() < 0.5 else self.rng.randbytes(length)
        self.data[at:at] = piece

    def delete(self) -> None:
        at = self.draw()
        del self.data[at : at + self.rng.choice((1, 2, 4, 16, 100))]

    def splice(self, other: bytes) -> None:
        self.data[self.draw() :] = other[self.rng.randrange(len(other)) :]

    def word(self) -> None:
        code = self.rng.choice("<>") + self.rng.choice("BHI")
        self.set_numbers([(self.draw(), code)])

    def set_numbers(self, fields: Sequence[Field]) -> None:
        """One to three of the fields, each to an extreme or to a value near its own."""
        for at, code in self.rng.sample(fields, min(len(fields), self.rng.choice((1, 1, 2, 3)))):
            size = struct.calcsize(code)
            if not 0 <= at <= len(self.data) - size:
                continue
            if code[-1] in "fd":
                struct.pack_into(code, self.data, at, self.rng.choice((*_REALS, self.rng.uniform(-1000, 1000))))
                continue
            (present,) = struct.unpack_from(code.upper(), self.data, at)
            near = present + self.rng.choice((-2, -1, 1, 2)), present * 2, self.rng.randrange(300)
            value = self.rng.choice((*_EXTREMES, *near)) & (1 << 8 * size) - 1
            struct.pack_into(code.upper(), self.data, at, value)
