"""What a network answers to pictures before there is a file around it, and what other implementations may answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ...benchmarks.stats.borderline import moved
from ...edge_runtime import preprocess
from ...edge_runtime.interpreter import Interpreter
from ...edge_runtime.preprocess import InputSpec
from ...edge_runtime.quantization import byte_table, dequantize, quantize, softmax_of

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

_MOST_OTHERS = 200  # pictures on which other implementations are imitated


class Pictures(Protocol):
    """Pictures of a network's size, uint8 [height, width, 3] each: an array of them all, or `Files`."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: Any, /) -> Any: ...


@dataclass(frozen=True)
class Files:
    """Pictures that are read when they are asked for: of a front end's size they would not all fit into memory."""

    paths: Sequence[str]
    spec: InputSpec

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: Any, /) -> Pixels:
        return preprocess.to_pixels(self.paths[int(position)], self.spec)


def answers(
    network: bytes,
    spec: InputSpec,
    pictures: Pictures,
    vectors: Floats | None,
    report: Callable[[str], None],
    *,
    delegate: str = "xnnpack",
    softmax: bool = False,
    output: int = 0,
) -> Floats:
    """An output for each picture, as real numbers: float32 [n, classes].

    Args:
        network: A .tflite whose inputs are in the model's order: the picture, then the metadata where it takes some.
        spec: How the images are prepared.
        pictures: uint8 [n, height, width, 3], RGB.
        vectors: What is known of the patients, [n, length], for a network that takes it.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
        delegate: "xnnpack" or "none".
        softmax: Whether the output is logits, and the probabilities that a port makes of them are wanted.
        output: Its position, from the end where it is below 0; the first one is the answer.
    """
    interpreter = Interpreter(network, delegate=delegate)
    source, target = interpreter.inputs[0], interpreter.outputs[output]
    table = byte_table(spec.real_table, source.quantization, source.dtype)[:, 0]  # one mean and std for all channels
    if vectors is not None and interpreter.inputs[1].quantization.is_quantized:
        vectors = quantize(vectors, interpreter.inputs[1].quantization, interpreter.inputs[1].dtype)
    rows: list[npt.NDArray[Any]] = []
    for position in range(len(pictures)):
        others = () if vectors is None else (vectors[position][None],)
        rows.append(interpreter.invoke(table[pictures[position]][None], *others)[output])
        if len(rows) % 50 == 0:  # w8a16 has reference kernels only, hundreds of times slower than int8's
            report(f"\rrunning the quantized network: {len(rows)}/{len(pictures)}")
    report("\r")
    real = dequantize(np.concatenate(rows), target.quantization)
    return np.stack([softmax_of(row) for row in real]) if softmax else real


def of_others(
    network: bytes,
    spec: InputSpec,
    pictures: Pictures,
    vectors: Floats | None,
    report: Callable[[str], None],
    *,
    softmax: bool = False,
) -> tuple[npt.NDArray[np.int64], list[Floats]]:
    """(positions of at most 200 pictures, what other implementations may answer for them: see `benchmarks.borderline`).

    Arguments as `answers` takes them.

    Args:
        network: A .tflite.
        spec: How the images are prepared.
        pictures: uint8 [n, height, width, 3], RGB.
        vectors: [n, length], what is known of the patients; None where the network takes none.
        report: Called with each line of progress; one that begins with a carriage return replaces the one before.
        softmax: As of `answers`.
    """
    some = some_of(len(pictures))
    known = None if vectors is None else vectors[some]
    taken = Some(pictures, some)
    return some, [
        answers(network, spec, _Moved(taken), known, report, softmax=softmax),
        answers(network, spec, taken, known, report, delegate="none", softmax=softmax),
    ]


def some_of(n: int) -> npt.NDArray[np.int64]:
    """Positions of at most 200 of n pictures, evenly among them: what is asked of other implementations."""
    return np.unique(np.linspace(0, n - 1, min(_MOST_OTHERS, n)).astype(np.int64))


@dataclass(frozen=True)
class Some:
    """Some of the pictures."""

    pictures: Pictures
    positions: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, position: Any, /) -> Pixels:
        return self.pictures[self.positions[position]]


@dataclass(frozen=True)
class _Moved:
    pictures: Pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, position: Any, /) -> Pixels:
        return moved(self.pictures[position], seed=int(position))
