"""Real numbers <-> the integers of a quantized tensor. Pure arithmetic on NumPy arrays.

real = scale * (integer - zero_point), as in Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, equation 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class Quantization(NamedTuple):
    """Per-tensor affine quantization. scale is 0.0 where the tensor is not quantized (float32)."""

    scale: float
    zero_point: int

    @property
    def is_quantized(self) -> bool:
        return self.scale != 0.0


def quantize(real: npt.ArrayLike, quantization: Quantization, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """real -> integers of `dtype`, rounded to the nearest (halves up) and clipped to the dtype's range."""
    info = np.iinfo(dtype)
    steps = np.asarray(real, np.float64) / quantization.scale + quantization.zero_point
    return np.maximum(np.minimum(np.floor(steps + 0.5), info.max), info.min).astype(dtype)


def dequantize(integers: npt.NDArray[Any], quantization: Quantization) -> npt.NDArray[np.float32]:
    """What a tensor holds -> real numbers of the same shape: float32, or as they are where it is not quantized."""
    if not quantization.is_quantized:
        return integers
    return (integers.astype(np.float32) - np.float32(quantization.zero_point)) * np.float32(quantization.scale)


def softmax_of(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities of the real logits [classes], computed in 64 bits: docs/contract.md, section 7."""
    values = logits.astype(np.float64)
    exponentials = np.exp(values - values.max())
    return (exponentials / sum(exponentials.tolist())).astype(np.float32)


def byte_table(
    real_table: npt.NDArray[np.float32], quantization: Quantization, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """What each pixel byte becomes in the input tensor.

    With [-1, 1] over 256 steps the zero point would be 127.5, so every byte is half-way between two integers. Where the
    byte itself (for int8: byte - 128) is one of the nearest integers, it is taken: the picture's bytes then go into the
    tensor unchanged, which is also what MediaPipe Tasks and most apps feed.

    Args:
        real_table: float32 [256, channels], the real input value of each byte.

    Returns:
        [256, channels] of `dtype` (the real values themselves for an input that is not quantized).
    """
    if not quantization.is_quantized:
        return real_table.astype(dtype)
    info = np.iinfo(dtype)
    steps = real_table.astype(np.float64) / quantization.scale + quantization.zero_point
    byte = (np.arange(256) + info.min)[:, None]
    nearest = np.where(np.abs(steps - byte) <= 0.5 + 1e-3, byte, np.floor(steps + 0.5))
    return np.maximum(np.minimum(nearest, info.max), info.min).astype(dtype)
