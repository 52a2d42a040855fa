from __future__ import annotations

import numpy as np
import pytest

from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.edge_runtime.quantization import Quantization, byte_table, dequantize, quantize

UINT8 = Quantization(1 / 255, 0)


def test_quantize_rounds_and_clips():
    """What a cast would truncate (0.999 -> 0) or wrap (300 -> 44)."""
    assert quantize([0.999 / 255, 1.5 / 255, -0.2, 1.2], UINT8, np.uint8).tolist() == [1, 2, 0, 255]
    assert quantize([-9.0, 9.0], Quantization(0.05, -3), np.int8).tolist() == [-128, 127]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_every_integer_comes_back(dtype):
    info = np.iinfo(dtype)
    integers = np.arange(info.min, info.max + 1).astype(dtype)
    scale = Quantization(0.0371, int(info.min) + 100)
    real = dequantize(integers, scale)
    assert real.dtype == np.float32
    assert np.array_equal(quantize(real, scale, dtype), integers)


@pytest.mark.parametrize(("dtype", "zero_points"), [(np.uint8, (127, 128)), (np.int8, (-1, 0))])
def test_the_bytes_go_in_unchanged_for_minus_one_to_one(dtype, zero_points):
    table = InputSpec(8, 8).real_table
    for zero_point in zero_points:
        bytes_in = byte_table(table, Quantization(2 / 255, zero_point), dtype)
        assert np.array_equal(bytes_in[:, 0], np.arange(256) + np.iinfo(dtype).min)


def test_another_scale_is_followed():
    table = byte_table(InputSpec(8, 8).real_table, Quantization(0.02, 100), np.uint8)
    expected = np.clip(np.round((np.arange(256) / 127.5 - 1) / 0.02 + 100), 0, 255)
    assert np.abs(table[:, 1].astype(float) - expected).max() <= 1
    assert table[0, 0] == 50 and table[255, 0] == 150


def test_a_float_input_gets_the_real_values():
    table = InputSpec(8, 8).real_table
    assert np.array_equal(byte_table(table, Quantization(0.0, 0), np.float32), table)
