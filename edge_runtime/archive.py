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
    import zipfile

_MAX_FILE = 1_000_000  # bytes that a file in the archive may unpack to

# Of APPNOTE.TXT 6.3: local file header (4.3.7), central directory header (4.3.12), end of central directory (4.3.16).
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")


class Archive:
    """The archive of a .tflite file's content.

    start: the byte that it begins at; the length of the content where there is none. is_readable: whether there is one.
    """

    def __init__(self, content: bytes):
        self.start = len(content)
        self.is_readable = True
        self._files: dict[str, bytes] = {}
        self._zip: zipfile.ZipFile | None = None
        plain = _plain(content)
        if plain:
            self.start, self._files = plain
            return
        import io
        import zipfile

        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
            self.start = min((entry.header_offset for entry in self._zip.infolist()), default=self.start)
        except (zipfile.BadZipFile, NotImplementedError, ValueError):
            self.is_readable = self._zip is not None

    def read(self, name: str, *, stored_only: bool = False) -> bytes | None:
        """A file's content, None where it is not there.

        A stranger's file: nothing encrypted, nothing that unpacks to more than a label list can be. stored_only: nor
        anything compressed. Raises ModelFileError for those.
        """
        if self._zip is None:
            return self._files.get(name)
        entries = [entry for entry in self._zip.infolist() if entry.filename == name]
        if not entries:
            return None
        if len(entries) > 1:
            raise ModelFileError(f"it holds {name} twice")
        entry = entries[0]
        if stored_only and entry.compress_type != 0:
            raise ModelFileError(f"its {name} is compressed")
        if entry.flag_bits & 1 or entry.file_size > _MAX_FILE:
            raise ModelFileError(f"its {name} is encrypted or too large")
        try:
            return self._zip.read(entry)
        except Exception as error:  # zlib.error, BadZipFile, EOFError, NotImplementedError: whatever unpacking meets
            raise ModelFileError(f"its {name} cannot be unpacked: {error}") from None


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
