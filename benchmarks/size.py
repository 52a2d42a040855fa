"""How large a model file is."""

from __future__ import annotations

from pathlib import Path

from ..edge_runtime.model_file import network_length


def measure_size(path: str | Path) -> dict[str, int]:
    """Bytes of the file, of the network in it, and of the archive (labels.txt, metadata.json) that follows it."""
    content = Path(path).read_bytes()
    network_bytes = network_length(content)
    return {
        "file_bytes": len(content),
        "network_bytes": network_bytes,
        "archive_bytes": len(content) - network_bytes,
    }
