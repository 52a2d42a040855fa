"""TFLite metadata: the standard description inside the network, by which MediaPipe Tasks, Android Studio and Netron
know an image classifier without metadata.json.

It is a flatbuffer of its own (metadata_schema.fbs of TFLite Support, version 1.5.0, identifier "M001") in the buffer
that the network's metadata entry "TFLITE_METADATA" names. The files it names are appended to the network as a zip
archive (`edge_runtime/model_file.with_archive`). The packages that write it, tflite-support and mediapipe, do not
install beside TensorFlow, so the tables are built here, child before parent as flatbuffers wants.

What readers make of the input:

- uint8: MediaPipe feeds the picture's bytes unchanged and reads neither mean nor std. TFLite's code generator
  normalizes first and then quantizes by the tensor's scale and zero point. So mean and std are those of the float
  network, as the schema asks ("quantized models share the same normalization parameters as their corresponding float
  models"), and not the identity.
- float32: MediaPipe feeds (byte - mean) / std and refuses a file without them or with different ones per channel.
- int8: MediaPipe refuses it ("Requested one of these types: uint8/float32"), as it does an int8 output, whichever. A
  second output in float32 it takes for one more classifier and leaves its classes without names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np

from . import flatbuffer
from .flatbuffer import schema

_ENTRY = b"TFLITE_METADATA"
_IDENTIFIER = b"M001"

# The newest schema version whose fields are used. All later additions (process units of a subgraph, tensor groups, a
# file's version, audio, custom metadata) are not, so the first parser understands everything.
_MIN_PARSER_VERSION = "1.0.0"

# Numbers of metadata_schema.fbs.
_DESCRIPTIONS, _TENSOR_AXIS_LABELS = 1, 2  # AssociatedFileType
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2  # ContentProperties
_NORMALIZATION_OPTIONS = 1  # ProcessUnitOptions
_RGB = 1  # ColorSpaceType


@dataclass(frozen=True)
class TensorText:
    """What is said of one output, or of an input that is not a picture."""

    name: str
    description: str


def attach(
    network: bytes,
    *,
    name: str,
    description: str,
    version: str,
    author: str,
    license: str,
    input_description: str,
    mean: Sequence[float],
    std: Sequence[float],
    outputs: Sequence[TensorText],
    labels_file: str,
    other_files: Mapping[str, str],
    others: Sequence[TensorText] = (),
) -> bytes:
    """The network with TFLite metadata; the same bytes for the same arguments. What was there before is replaced.

    Args:
        network: A .tflite without its archive, its first input [1, height, width, 3].
        name: Of the model.
        description: Of the model.
        version: Of the model.
        author: Of the model.
        license: Of the model.
        input_description: What the image input takes, in words.
        mean, std: Per channel R, G, B in units of 8-bit pixels; the network's real input is (pixel - mean) / std.
        outputs: One per output of the network, in its order, the first being the probabilities [1, classes].
        labels_file: Name of the file in the archive with one label a line.
        other_files: Name in the archive -> description of every other file.
        others: One per further input.

    Raises:
        ValueError: Where `outputs` or `others` does not fit the network.
    """
    model = flatbuffer.read(network)
    graph = model.subgraphs[0]
    if len(outputs) != len(graph.outputs):
        raise ValueError(f"{len(outputs)} descriptions for a network of {len(graph.outputs)} outputs")
    if len(others) != len(graph.inputs) - 1:
        raise ValueError(f"{len(others) + 1} descriptions for a network of {len(graph.inputs)} inputs")

    tables = _Tables()
    image = tables.image(graph.tensors[graph.inputs[0]], input_description, mean, std)
    labels = tables.file(labels_file, "One label per probability, one a line.", _TENSOR_AXIS_LABELS)
    probabilities = tables.feature(
        outputs[0], stats=tables.stats(*_probability_range(graph.tensors[graph.outputs[0]])), files=[labels]
    )
    vectors = [tables.feature(text) for text in others]
    maps = [tables.feature(text) for text in outputs[1:]]
    subgraph = tables.subgraph([image, *vectors], [probabilities, *maps])
    files = [tables.file(file, text, _DESCRIPTIONS) for file, text in other_files.items()]
    texts = {"name": name, "description": description, "version": version, "author": author, "license": license}
    _put(model, tables.finished(texts, subgraph, files))
    return flatbuffer.write(model)


def _put(model: Any, metadata: bytes) -> None:
    """Makes `metadata` the network's only TFLITE_METADATA; other entries stay."""
    entry = next((entry for entry in model.metadata or [] if entry.name == _ENTRY), None)
    if entry is None:
        entry = schema.MetadataT()
        entry.name, entry.buffer = _ENTRY, len(model.buffers)
        model.buffers.append(schema.BufferT())
        model.metadata = [*(model.metadata or []), entry]
    model.buffers[entry.buffer].data = np.frombuffer(metadata, np.uint8)


def _input_range(tensor: Any, mean: Sequence[float], std: Sequence[float]) -> tuple[list[float], list[float]]:
    """(least, largest) value that a picture puts into the tensor: one for all channels, or one per channel."""
    if tensor.type != schema.TensorType.FLOAT32:
        return _integer_range(tensor)
    pairs = list(zip(mean, std, strict=True))
    return [(0 - m) / s for m, s in pairs], [(255 - m) / s for m, s in pairs]


def _probability_range(tensor: Any) -> tuple[list[float], list[float]]:
    return ([0.0], [1.0]) if tensor.type == schema.TensorType.FLOAT32 else _integer_range(tensor)


def _integer_range(tensor: Any) -> tuple[list[float], list[float]]:
    info = np.iinfo(flatbuffer.TENSOR_TYPES[tensor.type])
    return [float(info.min)], [float(info.max)]


class _Tables:
    """The tables of metadata_schema.fbs in one buffer. Every method writes one and returns its offset.

    The numbers in `_table` calls are the fields' places in the schema, from 0; a union takes two, type and value.
    """

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(4096)

    def image(self, tensor: Any, description: str, mean: Sequence[float], std: Sequence[float]) -> int:
        _, height, width, _ = (int(size) for size in tensor.shape)
        size = self._table(2, uints={0: width, 1: height})
        properties = self._table(2, offsets={1: size}, enums={0: _RGB})
        dimensions = self._table(2, uints={0: 1, 1: 3})  # all but the batch
        content = self._table(3, offsets={1: properties, 2: dimensions}, enums={0: _IMAGE_PROPERTIES})
        options = self._table(2, offsets={0: self._floats(mean), 1: self._floats(std)})
        normalization = self._table(2, offsets={1: options}, enums={0: _NORMALIZATION_OPTIONS})
        stats = self.stats(*_input_range(tensor, mean, std))
        return self._tensor("image", description, content, stats, process_units=[normalization])

    def feature(self, text: TensorText, stats: int | None = None, files: Sequence[int] = ()) -> int:
        content = self._table(3, offsets={1: self._table(0)}, enums={0: _FEATURE_PROPERTIES})
        return self._tensor(text.name, text.description, content, stats, files=files)

    def stats(self, least: Sequence[float], largest: Sequence[float]) -> int:
        return self._table(2, offsets={0: self._floats(largest), 1: self._floats(least)})

    def file(self, name: str, description: str, kind: int) -> int:
        return self._table(5, offsets={0: self._text(name), 1: self._text(description)}, enums={2: kind})

    def subgraph(self, inputs: Sequence[int], outputs: Sequence[int]) -> int:
        return self._table(10, offsets={2: self._vector(inputs), 3: self._vector(outputs)})

    def finished(self, texts: Mapping[str, str], subgraph: int, files: Sequence[int]) -> bytes:
        """The whole buffer. texts: the model's name, description, version, author and license."""
        offsets = {
            0: self._text(texts["name"]),
            1: self._text(texts["description"]),
            2: self._text(texts["version"]),
            3: self._vector([subgraph]),
            4: self._text(texts["author"]),
            5: self._text(texts["license"]),
            7: self._text(_MIN_PARSER_VERSION),
        }
        if files:
            offsets[6] = self._vector(files)
        self._builder.Finish(self._table(8, offsets), file_identifier=_IDENTIFIER)
        return bytes(self._builder.Output())

    def _tensor(
        self,
        name: str,
        description: str,
        content: int,
        stats: int | None,
        process_units: Sequence[int] = (),
        files: Sequence[int] = (),
    ) -> int:
        offsets = {0: self._text(name), 1: self._text(description), 3: content}
        if process_units:
            offsets[4] = self._vector(process_units)
        if stats is not None:
            offsets[5] = stats
        if files:
            offsets[6] = self._vector(files)
        return self._table(7, offsets)

    def _table(
        self,
        fields: int,
        offsets: Mapping[int, int] | None = None,
        enums: Mapping[int, int] | None = None,
        uints: Mapping[int, int] | None = None,
    ) -> int:
        """A table of so many fields. Each mapping: the field's place -> its value. An enum is one byte."""
        self._builder.StartObject(fields)
        for place, value in (offsets or {}).items():
            self._builder.PrependUOffsetTRelativeSlot(place, value, 0)
        for place, value in (uints or {}).items():
            self._builder.PrependUint32Slot(place, value, 0)
        for place, value in (enums or {}).items():
            self._builder.PrependUint8Slot(place, value, 0)
        return self._builder.EndObject()

    def _text(self, text: str) -> int:
        return self._builder.CreateString(text)

    def _floats(self, values: Sequence[float]) -> int:
        return self._builder.CreateNumpyVector(np.asarray(values, np.float32))

    def _vector(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):  # flatbuffers are written from the end
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()
