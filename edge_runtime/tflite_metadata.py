"""The standard TFLite metadata of a file (buffer TFLITE_METADATA, identifier M001), as MediaPipe and others read it.

Field numbers follow metadata_schema.fbs 1.5 of TFLite Support.
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ModelFileError
from .flatbuffer import Table

BUFFER_NAME = "TFLITE_METADATA"

_IDENTIFIER = b"M001"
_NORMALIZATION, _IMAGE = 1, 2  # positions in the unions ProcessUnitOptions and ContentProperties
_AXIS_LABELS = 2  # AssociatedFileType TENSOR_AXIS_LABELS
_COLOURS = {0: "unknown", 1: "RGB", 2: "grey"}


@dataclass(frozen=True)
class TensorMetadata:
    """What the metadata says of one input or output. Empty where it says nothing.

    Attributes:
        mean, std: One number for all channels or one per channel, in units of the pixel before normalization.
        colour: "RGB", "grey" or "unknown"; None where it is not an image.
        label_files: Names of associated files that name the values along the last axis.
    """

    name: str
    description: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    colour: str | None
    label_files: tuple[str, ...]


@dataclass(frozen=True)
class TfliteMetadata:
    name: str
    description: str
    version: str
    author: str
    license: str
    min_parser_version: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    files: tuple[str, ...]  # every associated file, in the order of mention


def parse(raw: bytes) -> TfliteMetadata:
    """The buffer's content -> TfliteMetadata. Raises ModelFileError where it is malformed."""
    if raw[4:8] != _IDENTIFIER:
        raise ModelFileError("the file's TFLite metadata is damaged (no M001 at byte 4)")
    root = Table.root(raw)
    graphs = root.tables(3)
    sides = [graphs[0].tables(field) if graphs else [] for field in (2, 3)]
    inputs, outputs = (tuple(map(_tensor, side)) for side in sides)
    files = _file_names(root.tables(6))
    for graph in graphs:
        files += _file_names(graph.tables(4))
    for tensor in (*sides[0], *sides[1]):
        files += _file_names(tensor.tables(6))
    return TfliteMetadata(
        name=root.text(0),
        description=root.text(1),
        version=root.text(2),
        author=root.text(4),
        license=root.text(5),
        min_parser_version=root.text(7),
        inputs=inputs,
        outputs=outputs,
        files=tuple(dict.fromkeys(name for name in files if name)),
    )


def _tensor(table: Table) -> TensorMetadata:
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    for unit in table.tables(4):
        options = unit.table(1)
        if unit.number(0, "B") == _NORMALIZATION and options:
            mean, std = options.numbers(0, "f"), options.numbers(1, "f")
    colour = None
    content = table.table(3)
    if content and content.number(0, "B") == _IMAGE:
        properties = content.table(1)
        colour = _COLOURS.get(properties.number(0, "b") if properties else 0, "unknown")
    # A label file without locale is the one for programs; others are its translations.
    labels = [file for file in table.tables(6) if file.number(2, "b") == _AXIS_LABELS]
    labels.sort(key=lambda file: bool(file.text(3)))
    return TensorMetadata(table.text(0), table.text(1), mean, std, colour, tuple(_file_names(labels)))


def _file_names(files: list[Table]) -> list[str]:
    return [file.text(0) for file in files]
