"""What convert/tflite/flatbuffer.py writes."""

from __future__ import annotations

import numpy as np

from skin_edge.convert.tflite import flatbuffer
from skin_edge.edge_runtime import network_check
from skin_edge.edge_runtime.model_file import read_model_file


def test_equal_vectors_are_written_once(tiny_int8):
    """A per-channel weight has a zero point of eight bytes for every channel, all of them zero."""
    file = read_model_file(tiny_int8)

    def written(*zeros: int) -> bytes:
        model = flatbuffer.read(bytes(file.content[: file.network_length]))
        for tensor, zero in zip(model.subgraphs[0].tensors, zeros, strict=False):
            tensor.quantization.zeroPoint = np.full(1000, zero, np.int64)
        network = flatbuffer.write(model)
        again = flatbuffer.read(network).subgraphs[0].tensors
        for tensor, zero in zip(again, zeros, strict=False):
            assert tensor.quantization.zeroPoint.tolist() == [zero] * 1000
        return network

    other, same = written(0, 1), written(0, 0)
    assert abs(len(other) - len(same) - 8000) <= 16
    plain = flatbuffer.write(flatbuffer.read(bytes(file.content[: file.network_length])))
    network_check.check(plain)  # readers take what is shared
    assert len(plain) <= file.network_length
