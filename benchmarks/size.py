"""How large a model file is."""

from __future__ import annotations

import zipfile
from pathlib import Path


def measure_size(path: str | Path) -> dict[str, int]:
    """Bytes of the file, of the network in it, and of the archive (labels.txt, metadata.json) that follows it."""
    path = Path(path)
    file_bytes = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            network_bytes = min((entry.header_offset for entry in archive.infolist()), default=file_bytes)
    except zipfile.BadZipFile:
        network_bytes = file_bytes
    return {"file_bytes": file_bytes, "network_bytes": network_bytes, "archive_bytes": file_bytes - network_bytes}
