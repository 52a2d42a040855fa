"""A reader of flatbuffers for files of strangers: every read is checked against the ends of the data.

The device install has no library for it, and a library trusts what it reads.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ModelFileError

if TYPE_CHECKING:
    import numpy.typing as npt

_MAX_ITEMS = 1_000_000  # in one vector: no classifier comes near, and a damaged length ends here

_TABLE = struct.Struct("<i")
_OFFSET = struct.Struct("<I")
_VTABLE = struct.Struct("<HH")
_NUMBERS = {code: struct.Struct(f"<{code}") for code in "bBiIqQf"}


class Source:
    """The bytes of a flatbuffer.

    Args:
        budget: How many bytes may be read in all; None for any number. To read a sound file takes little more
            than its size, for it shares few vectors, while a few hundred bytes that refer to each other can stand for
            billions.
    """

    __slots__ = ("budget", "data", "size", "vtables")

    def __init__(self, data: bytes | memoryview[int], budget: int | None = None):
        self.data = data
        self.size = len(data)
        self.budget = budget
        self.vtables: dict[int, tuple[int, tuple[int, ...]]] = {}  # position -> size of the table, offsets of fields

    def charge(self, size: int) -> None:
        if self.budget is not None:
            self.budget -= size
            if self.budget < 0:
                raise ModelFileError("the network is damaged: parts of its flatbuffer overlap")

    def vtable(self, position: int) -> tuple[int, tuple[int, ...]]:
        found = self.vtables.get(position)
        if found is None:
            if position < 0:
                raise damaged()
            try:
                length, size = _VTABLE.unpack_from(self.data, position)
                offsets = struct.unpack_from(f"<{max(length - 4, 0) // 2}H", self.data, position + 4)
            except struct.error:
                raise damaged() from None
            if max(offsets, default=0) >= size:
                raise damaged()  # a reader would take a field from behind the table's end
            found = self.vtables[position] = size, offsets
        return found


class Table:
    """A flatbuffer table at `position` of the source.

    Raises ModelFileError, as every method does, where an offset leads out of the data or of the table.
    """

    __slots__ = ("_data", "_offsets", "_position", "_size", "_source")

    def __init__(self, source: Source, position: int):
        self._source = source
        self._data = source.data
        self._position = position
        try:
            vtable = position - _TABLE.unpack_from(source.data, position)[0]
        except struct.error:
            raise damaged() from None
        self._size, self._offsets = source.vtable(vtable)
        if position + self._size > source.size or position & 3:
            raise damaged()
        source.charge(self._size)

    @classmethod
    def root(cls, data: bytes | memoryview[int], budget: int | None = None) -> Table:
        """The root table of a flatbuffer.

        Args:
            budget: See `Source`.
        """
        try:
            (position,) = _OFFSET.unpack_from(data, 0)
        except struct.error:
            raise damaged() from None
        return cls(Source(data, budget), position)

    def has(self, field: int) -> bool:
        return field < len(self._offsets) and self._offsets[field] != 0

    def has_beyond(self, fields: int) -> bool:
        """Whether there is any field but the first `fields`."""
        return any(self._offsets[fields:])

    def number(self, field: int, code: str, default: int | float = 0) -> Any:
        """A number in a field; its default where the field is absent.

        Args:
            code: Of `struct` (b int8, B uint8, i int32, I uint32, q int64, Q uint64, f float32).
        """
        offset = self._offsets[field] if field < len(self._offsets) else 0
        if not offset:
            return default
        kind = _NUMBERS[code]
        if offset + kind.size > self._size:
            raise damaged()
        return kind.unpack_from(self._data, self._position + offset)[0]

    def text(self, field: int) -> str:
        return bytes(self.raw(field)).decode("utf-8", "replace")

    def string(self, field: int) -> str:
        """As `text`, and raises ModelFileError for what is not UTF-8 or is not ended by a zero, as C readers expect."""
        start, length = self._vector(field, 1)
        if not start:
            return ""
        content = bytes(memoryview(self._data)[start : start + length + 1])
        if len(content) != length + 1 or content[-1]:
            raise damaged()
        try:
            return content[:-1].decode()
        except UnicodeDecodeError:
            raise ModelFileError("the network is damaged: one of its names is not UTF-8") from None

    def raw(self, field: int) -> memoryview[int]:
        """The bytes of a string or of a vector of bytes; empty where it is absent."""
        start, length = self._vector(field, 1)
        return memoryview(self._data)[start : start + length]

    def numbers(self, field: int, code: str) -> tuple[Any, ...]:
        start, length = self._vector(field, _NUMBERS[code].size)
        return struct.unpack_from(f"<{length}{code}", self._data, start) if length else ()

    def array(self, field: int, dtype: str) -> npt.NDArray[Any]:
        """As `numbers`, for long vectors: not one Python object per number.

        Args:
            dtype: Of NumPy, such as "<f4".
        """
        start, length = self._vector(field, np.dtype(dtype).itemsize)
        return np.frombuffer(self._data, dtype, length, start)

    def table(self, field: int) -> Table | None:
        offset = self._offsets[field] if field < len(self._offsets) else 0
        return self._at_offset(self._position + offset) if offset else None

    def tables(self, field: int) -> list[Table]:
        start, length = self._vector(field, 4)
        source = self._source
        # An offset counts from where it stands.
        offsets = enumerate(struct.unpack_from(f"<{length}I", self._data, start) if length else ())
        return [Table(source, start + 4 * i + offset) for i, offset in offsets]

    def _vector(self, field: int, width: int) -> tuple[int, int]:
        """(where its first item stands, how many there are) of a vector with items of `width` bytes; (0, 0) without."""
        offset = self._offsets[field] if field < len(self._offsets) else 0
        if not offset:
            return 0, 0
        position = self._position + offset
        source = self._source
        try:
            start = position + _OFFSET.unpack_from(self._data, position)[0]
            (length,) = _OFFSET.unpack_from(self._data, start)
        except struct.error:
            raise damaged() from None
        start += 4
        size = length * width
        if start & 3 or start + size > source.size or (width > 1 and length > _MAX_ITEMS) or offset + 4 > self._size:
            raise damaged()
        source.charge(size)
        return start, length

    def _at_offset(self, position: int) -> Table:
        try:
            return Table(self._source, position + _OFFSET.unpack_from(self._data, position)[0])
        except struct.error:
            raise damaged() from None


def damaged() -> ModelFileError:
    return ModelFileError("the network is damaged or truncated: its flatbuffer points outside the file")
