"""The zip archive behind a network, which TFLite interpreters ignore.

Archives as skin-edge writes them, which is nearly every file that a device loads, are read here; any other one by
zipfile, which with what it imports would be the largest part of what a start takes beside LiteRT's own.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from .contract import CONTRACT_FILE, LABELS_FILE
from .errors import ModelFileError

if TYPE_CHECKING:
    from zipfile import ZipInfo

_MAX_FILE = 1_000_000  # bytes that a file in the archive may unpack to

# Of APPNOTE.TXT 6.3: local file header (4.3.7), central directory header (4.3.12), end of central directory (4.3.16).
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")

_STORED, _DEFLATED = 0, 8  # methods: what every zip tool writes, and the only ones that are unpacked
_MAX_DIRECTORY = 1_000_000  # bytes
_MAX_FILES = 1000
_MAX_NAME = 255


class Archive:
    """The archive of a .tflite file's content.

    start: the byte that it begins at; the length of the content where there is none. is_readable: whether there is one.
    """

    def __init__(self, content: bytes):
        self.start = len(content)
        self.is_readable = True
        self._files: dict[str, bytes] = {}
        self._content = content
        self._entries: dict[str, ZipInfo] = {}
        plain = _plain(content)
        if plain:
            self.start, self._files = plain
            return
        found = _entries(content)
        self.is_readable = found is not None
        self._entries = found or {}
        self.start = min((entry.header_offset for entry in self._entries.values()), default=self.start)

    def read(self, name: str, *, stored_only: bool = False) -> bytes | None:
        """A file's content, None where it is not there.

        A stranger's file: nothing encrypted, nothing that unpacks to more than a label list can be, nor to another size
        than it says.

        Args:
            stored_only: Nor anything compressed.

        Raises:
            ModelFileError: For those.
        """
        entry = self._entries.get(name)
        if entry is None:
            return self._files.get(name)
        if stored_only and entry.compress_type != _STORED:
            raise ModelFileError(f"its {name} is compressed")
        if entry.compress_type not in (_STORED, _DEFLATED):
            raise ModelFileError(f"its {name} is compressed by a method that is not supported: deflate it, or store it")
        if entry.flag_bits & 1 or entry.file_size > _MAX_FILE:
            raise ModelFileError(f"its {name} is encrypted or too large")
        file = _unpacked(self._content, entry)
        if file is None or len(file) != entry.file_size or zlib.crc32(file) != entry.CRC:
            raise ModelFileError(f"its {name} is damaged: it does not unpack to what the archive says")
        return file


def _entries(content: bytes) -> dict[str, ZipInfo] | None:
    """Name -> entry, as zipfile finds them; None where there is no archive.

    Raises ModelFileError for one that holds more, or other, than a model's archive does.
    """
    import io
    import zipfile

    end = content.rfind(b"PK\5\6", -_END.size - 0xFFFF)
    if end < 0 or end + _END.size > len(content):
        return None
    length = _END.unpack_from(content, end)[5]
    if length > _MAX_DIRECTORY or content[max(0, end - 20) : end].startswith(b"PK\6\7"):  # zip64
        raise ModelFileError("its archive is too large for labels and a description")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error):
        return None
    named = {entry.filename: entry for entry in entries}
    if len(entries) > _MAX_FILES or any(len(name) > _MAX_NAME or not name.isprintable() for name in named):
        raise ModelFileError("its archive holds files that have no place in a model")
    if len(named) < len(entries):
        twice = next(entry.filename for entry in entries if named[entry.filename] is not entry)
        raise ModelFileError(f"it holds {twice} twice")
    if len({entry.header_offset for entry in entries}) < len(entries):
        raise ModelFileError("files of its archive overlap")
    if not all(0 <= entry.header_offset < len(content) for entry in entries):
        raise ModelFileError("its archive is damaged: a file of it begins outside it")
    return named


def _unpacked(content: bytes, entry: ZipInfo) -> bytes | None:
    """The file behind its local header, at most one byte more than the directory says; None where there is none."""
    try:
        signature, *_, name_length, extra = _LOCAL.unpack_from(content, entry.header_offset)
    except struct.error:
        return None
    start = entry.header_offset + _LOCAL.size + name_length + extra
    packed = content[start : start + entry.compress_size]
    if signature != b"PK\3\4" or entry.header_offset < 0 or len(packed) != entry.compress_size:
        return None
    if entry.compress_type == _STORED:
        return packed
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        file = unpacker.decompress(packed, entry.file_size + 1)
    except zlib.error:
        return None
    return file if unpacker.eof else None


def _plain(content: bytes) -> tuple[int, dict[str, bytes]] | None:
    """(start, name -> content) of an archive of a contract and labels as skin-edge writes it, byte for byte.

    None for whatever deviates in any field: every archive that is read here, zipfile reads alike. The names are these
    two only, so that a name cannot pass for another structure (a zip64 locator, say).
    """
    end = len(content) - _END.size
    if end < 0:
        return None
    signature, *disks_and_counts, length, directory, comment = _END.unpack_from(content, end)
    count = disks_and_counts[-1]
    if signature != b"PK\5\6" or disks_and_counts != [0, 0, count, count] or comment or directory + length != end:
        return None
    files: dict[str, bytes] = {}
    start = expected = None
    position: int = directory
    for _ in range(count):
        if position + _CENTRAL.size > end:
            return None
        signature, _, *same, name_length, extra, comment, disk, _, _, offset = _CENTRAL.unpack_from(content, position)
        raw_name = content[position + _CENTRAL.size : position + _CENTRAL.size + name_length]
        position += _CENTRAL.size + name_length
        name = {LABELS_FILE.encode(): LABELS_FILE, CONTRACT_FILE.encode(): CONTRACT_FILE}.get(raw_name)
        version, flags, method, _, _, crc, packed, size = same
        if signature != b"PK\1\2" or name is None or name in files or (version, flags, method) != (20, 0, 0):
            return None
        if extra or comment or disk or packed != size or size > _MAX_FILE or offset != (expected or offset):
            return None
        start = offset if start is None else start
        data = offset + _LOCAL.size + name_length
        expected = data + size
        if expected > directory:
            return None
        local = (b"PK\3\4", *same, name_length, 0)
        file = content[data:expected]
        if _LOCAL.unpack_from(content, offset) != local or content[data - name_length : data] != raw_name:
            return None
        if zlib.crc32(file) != crc:
            return None
        files[name] = file
    if start is None or expected != directory or position != end:
        return None
    return start, files
