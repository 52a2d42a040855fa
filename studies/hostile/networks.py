"""Random networks of one or two operators: what the whitelist lets through must not end or hang LiteRT.

Types, shapes, options and scales are drawn so that about half of the networks are accepted; the rest deviates in one
place. Of an accepted one the outputs have the shapes that the whitelist infers.
"""

# The schema's generated classes have no types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import importlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from skin_edge.edge_runtime.flatbuffer import Table
from skin_edge.edge_runtime.operators import QUANTIZED, RULES, Step, Tensor, Unsupported

_SIDES = (1, 1, 1, 2, 2, 3, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65, 100, 224)
_LARGE = (1000, 1001, 4096, 4097, 65536, 2**20)
_STRANGE = (-1, 0, -128, 127, 255, 4096, 4097, 2**15, 2**16, 2**30, 2**31 - 1, -(2**31))
_MOST = 2**27  # values of a tensor that is drawn, but for a few


@dataclass
class Drawn:
    """A tensor as it is drawn. values: None where the network computes it or is fed it."""

    shape: tuple[int, ...]
    dtype: str
    values: npt.NDArray[Any] | None = None
    scales: list[float] = field(default_factory=list[float])
    zero_points: list[int] = field(default_factory=list[int])
    axis: int = 0

    def as_tensor(self) -> Tensor:
        tensor = Tensor(self.shape, self.dtype, None if self.values is None else memoryview(self.values.tobytes()))
        tensor.scales = np.array(self.scales, np.float32)
        tensor.zero_points = np.array(self.zero_points, np.int64)
        tensor.axis = self.axis
        return tensor


def network_case(seed: int, number: int) -> tuple[str, bytes]:
    """(the operators, a TFLite flatbuffer), from seed and number alone. Operators take turns as the first."""
    rng = random.Random(f"{seed} network {number}")
    names = sorted(RULES)
    drawing = _Drawing(rng)
    first = names[number % len(names)]
    last = drawing.operator(first, None)
    shown = first
    if rng.random() < 0.5 and last is not None and last.shape:
        fitting = [name for name in names if _takes(name, last.dtype)]
        if fitting:
            second = rng.choice(fitting)
            drawing.operator(second, last)
            shown += f" {second}"
    return shown, drawing.written()


def small_classifier() -> bytes:
    """uint8 [1, 8, 8, 3] -> the mean colour, one dense layer and a softmax, float32 [1, 7]: a kilobyte."""
    drawing = _Drawing(random.Random(1))
    drawing.is_odd = False
    image = Drawn((1, 8, 8, 3), "uint8", None, [1 / 128], [128])
    steps: list[tuple[str, dict[str, Any], list[Drawn | None], Drawn]] = []
    real = Drawn((1, 8, 8, 3), "float32")
    mean, dense, answer = Drawn((1, 3), "float32"), Drawn((1, 7), "float32"), Drawn((1, 7), "float32")
    steps.append(("DEQUANTIZE", {}, [image], real))
    steps.append(("MEAN", {}, [real, drawing.numbers(1, 2)], mean))
    weights = [drawing.constant((7, 3), "float32"), drawing.constant((7,), "float32")]
    steps.append(("FULLY_CONNECTED", {}, [mean, *weights], dense))
    steps.append(("SOFTMAX", {"beta": 1.0}, [dense], answer))
    for name, settings, inputs, result in steps:
        drawing.entries.append((name, _options(RULES[name].options[0], settings), inputs, [result]))
    return drawing.written()


def _takes(name: str, dtype: str) -> bool:
    """Whether the first input may have the type, as what another operator makes."""
    return name != "SPLIT" and any(types.split(" ")[0].rstrip("*") == dtype for types in RULES[name].types)


class _Drawing:
    def __init__(self, rng: random.Random):
        self.rng = rng
        self.is_odd = rng.random() < 0.3  # one thing in it is strange
        self.tensors: list[Drawn] = []
        self.entries: list[tuple[str, Any, list[Drawn | None], list[Drawn]]] = []

    # Numbers.

    def side(self) -> int:
        return self.rng.choice(_LARGE) if self.rng.random() < 0.02 else self.rng.choice(_SIDES)

    def shape(self, rank: int) -> tuple[int, ...]:
        shape = tuple(self.side() for _ in range(rank))
        while math.prod(shape) > _MOST and self.rng.random() < 0.95:
            shape = tuple(self.side() for _ in range(rank))
        return shape

    def odd(self, value: int) -> int:
        """The value, or rarely a strange one."""
        if self.is_odd and self.rng.random() < 0.1:
            return self.rng.choice(_STRANGE)
        return value

    def small(self) -> int:
        return self.odd(self.rng.choice((1, 1, 1, 2, 2, 3, 4, 7, 31)))

    def scale(self) -> float:
        return 2.0 ** self.rng.choice((self.rng.uniform(-9, 2), self.rng.uniform(-9, 2), self.rng.uniform(-40, 20)))

    def quantized(self, tensor: Drawn, channels: int | None = None) -> Drawn:
        """With scales, where its type wants some."""
        if tensor.dtype not in QUANTIZED or (self.is_odd and self.rng.random() < 0.1):
            return tensor
        low, high = {"int8": (-128, 127), "uint8": (0, 255), "int16": (0, 0)}[tensor.dtype]
        tensor.scales = [self.scale() for _ in range(channels or 1)]
        tensor.zero_points = [self.rng.choice((low, high, self.rng.randint(low, high)))]
        if channels:
            tensor.zero_points = [0] * channels
        return tensor

    def new(self, shape: tuple[int, ...], dtype: str) -> Drawn:
        return self.quantized(Drawn(shape, dtype))

    def constant(self, shape: tuple[int, ...], dtype: str) -> Drawn:
        kind = np.dtype(dtype)
        count = min(math.prod(shape), 2**24)
        generator = np.random.default_rng(self.rng.randrange(2**32))
        if kind.kind == "f":
            values = generator.normal(size=count).astype(kind)
        else:
            values = generator.integers(-100 if kind.kind == "i" else 0, 100, count).astype(kind)
        return self.quantized(Drawn(shape, dtype, values))

    def numbers(self, *values: int) -> Drawn:
        array = np.array([self.odd(value) for value in values], np.int64).clip(-(2**31), 2**31 - 1).astype(np.int32)
        return Drawn((len(values),), "int32", array)

    def scalar(self, value: int) -> Drawn:
        return Drawn((), "int32", np.array(self.odd(value), np.int32))

    # Operators.

    def operator(self, name: str, x: Drawn | None) -> Drawn | None:
        """Adds an operator that takes `x`, or an input of the network; returns its first output."""
        rng, rule = self.rng, RULES[name]
        choices = [types for types in sorted(rule.types) if x is None or types.split(" ")[0].rstrip("*") == x.dtype]
        taken, given = (side.split(" ") for side in rng.choice(choices).split(" -> "))
        if taken[0].endswith("*"):
            taken = [taken[0][:-1]] * rng.choice((1, 2, 2, 3, 5, 6))
        inputs, settings, outputs = self._made(name, taken, x)
        if self.is_odd and rng.random() < 0.1:
            rng.choice((lambda: inputs.pop(), lambda: inputs.append(inputs[0]), lambda: inputs.reverse()))()
        options = _options(rule.options[0], settings)
        kinds = given * (outputs if given[0].endswith("*") else 1)
        results = [self.new((1,), kind.rstrip("*")) for kind in kinds]
        if name in ("SOFTMAX", "LOGISTIC", "TANH", "L2_NORMALIZATION") and rng.random() < 0.8:
            for result in results:
                if result.scales:
                    result.scales[0] = {"int16": 1 / 32768}.get(result.dtype, 1 / 128 if name == "TANH" else 1 / 256)
                    low = {"int8": -128, "uint8": 0, "int16": 0}[result.dtype]
                    result.zero_points = [low + 128 * (name == "TANH" and result.dtype != "int16")]
        elif rng.random() < 0.5 and inputs and inputs[0] and inputs[0].dtype == results[0].dtype and inputs[0].scales:
            for result in results:
                result.scales, result.zero_points = list(inputs[0].scales), list(inputs[0].zero_points)
        shapes = self._inferred(name, inputs, results, options)
        for result, shape in zip(results, shapes, strict=False):
            result.shape = shape
        if self.is_odd and rng.random() < 0.05:
            results[0].shape = self.shape(rng.randrange(1, 5))
        self.entries.append((name, options, inputs, results))
        return results[0] if results else None

    def _inferred(
        self, name: str, inputs: list[Drawn | None], results: list[Drawn], options: Any
    ) -> list[tuple[int, ...]]:
        taken = [None if tensor is None else tensor.as_tensor() for tensor in inputs]
        table = None if options is None else Table.root(_packed(options))
        step = Step(name, taken, [tensor.as_tensor() for tensor in results], table)
        try:
            return list(RULES[name].shapes(step))
        except (Unsupported, IndexError):
            return [self.shape(self.rng.randrange(5)) for _ in results]

    def _made(self, name: str, taken: list[str], x: Drawn | None) -> tuple[list[Drawn | None], dict[str, Any], int]:
        """(inputs, settings of the options, number of outputs)."""
        rng = self.rng
        pixels = ("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR")
        needs_four = name in (*pixels, "RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
        rank = 4 if needs_four else rng.choice((1, 2, 2, 3, 4, 4, 4, 5))
        maker: Callable[..., Any] = getattr(self, f"_{name.lower()}", self._plain)
        first = x or self.new(self.shape(rank), taken[1] if name == "SPLIT" else taken[0])
        return maker(name, taken, first)

    def _plain(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        rng = self.rng
        inputs: list[Drawn | None] = [x]
        for dtype in taken[1:]:
            shape = x.shape
            if name not in ("CONCATENATION", "PACK"):
                shape = tuple(n if rng.random() < 0.6 else 1 for n in x.shape[rng.randrange(len(x.shape) + 1) :])
            make = self.constant if rng.random() < 0.4 and math.prod(shape) < 2**22 else self.new
            inputs.append(make(shape, dtype))
        settings = {
            "fusedActivationFunction": self.odd(
                rng.choice((0, 0, 1, 2, 3)) if name in ("ADD", "SUB", "MUL", "DIV") else 0
            ),
            "alpha": rng.choice((0.1, 0.3, -1.0, 0.0, 100.0)),
            "beta": rng.choice((1.0, 1.0, 0.1, 10.0, 0.0, math.inf) if self.is_odd else (1.0, 1.0, 0.1, 10.0)),
            "axis": self.odd(rng.randrange(-len(x.shape), max(1, len(x.shape)))),
            "valuesCount": len(inputs),
            "blockSize": self.odd(rng.choice((1, 2, 2, 3))),
            "outType": 2,
            "potScaleInt16": rng.random() < 0.5,
            "adjX": rng.random() < 0.5,
            "adjY": rng.random() < 0.5,
            "approximate": rng.random() < 0.5,
        }
        if name in ("DEPTH_TO_SPACE", "SPACE_TO_DEPTH") and len(x.shape) == 4 and rng.random() < 0.8:
            side = rng.choice((1, 2, 3, 4))
            settings["blockSize"] = side
            if not self.entries:
                n, h, w, c = (min(n, 300) for n in x.shape)
                deep = name == "DEPTH_TO_SPACE"
                x.shape = (n, h, w, c * side**2) if deep else (n, h * side, w * side, c)
        return inputs, settings, 1

    def _windowed(self) -> dict[str, Any]:
        rng = self.rng
        return {
            "padding": self.odd(rng.choice((0, 0, 1))),
            "strideW": self.small(),
            "strideH": self.small(),
            "filterWidth": self.small(),
            "filterHeight": self.small(),
            "fusedActivationFunction": self.odd(rng.choice((0, 1, 2, 3))),
            "dilationWFactor": self.odd(rng.choice((1, 1, 1, 2, 9))),
            "dilationHFactor": self.odd(rng.choice((1, 1, 1, 2, 9))),
        }

    def _weights(self, taken: list[str], x: Drawn, shape: tuple[int, ...], axis: int) -> list[Drawn | None]:
        channels = shape[axis]
        weights = self.constant(shape, taken[1])
        per_channel = taken[1] == "int8" and self.rng.random() < 0.6
        weights.axis = axis
        weights = self.quantized(weights, channels if per_channel and channels < 100_000 else None)
        if taken[1] == "int8" and not per_channel and weights.zero_points:
            weights.zero_points = [self.odd(0)]
        inputs: list[Drawn | None] = [x, weights]
        if len(taken) > 2:
            inputs.append(None if taken[2] == "-" else self.constant((channels,), taken[2]))
        return inputs

    def _conv_2d(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        rng, depth = self.rng, x.shape[-1]
        groups = rng.choice([g for g in (1, 1, 1, 2, 3, 4) if depth % g == 0] or [1])
        filters = groups * rng.choice((1, 2, 3, 8, 33))
        side = rng.choice((1, 1, 3, 5)), rng.choice((1, 1, 3, 7))
        return self._weights(taken, x, (filters, *side, depth // groups), 0), self._windowed(), 1

    def _depthwise_conv_2d(
        self, name: str, taken: list[str], x: Drawn
    ) -> tuple[list[Drawn | None], dict[str, Any], int]:
        rng = self.rng
        multiplier = rng.choice((1, 1, 1, 2, 5))
        side = rng.choice((1, 3, 3, 5)), rng.choice((1, 3, 3, 7))
        settings = {**self._windowed(), "depthMultiplier": self.odd(multiplier)}
        return self._weights(taken, x, (1, *side, x.shape[-1] * multiplier), 3), settings, 1

    def _fully_connected(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        rng = self.rng
        length = x.shape[-1] if rng.random() < 0.7 and x.shape else math.prod(x.shape)
        units = rng.choice((1, 2, 7, 16, 33, 1000))
        if length * units > 2**24:
            units = 1
        settings = {
            "fusedActivationFunction": self.odd(rng.choice((0, 1, 2, 3))),
            "keepNumDims": rng.random() < 0.5,
            "weightsFormat": self.odd(0),
            "asymmetricQuantizeInputs": rng.random() < 0.5,
        }
        return self._weights(taken, x, (units, length), 0), settings, 1

    def _average_pool_2d(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        return [x], self._windowed(), 1

    _max_pool_2d = _average_pool_2d

    def _axes(self, x: Drawn) -> list[int]:
        axes = self.rng.sample(range(len(x.shape)), self.rng.randrange(len(x.shape)) + 1 if x.shape else 0)
        return [axis - len(x.shape) * self.rng.randrange(2) for axis in axes]

    def _mean(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        return [x, self.numbers(*self._axes(x))], {"keepDims": self.rng.random() < 0.5}, 1

    _sum = _reduce_max = _reduce_min = _mean

    def _reshape(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        shape, rng = list(x.shape), self.rng
        rng.shuffle(shape)
        if rng.random() < 0.5:
            shape = [rng.choice((1, 1, -1)), *shape[1:]] if rng.random() < 0.3 else [math.prod(shape)]
        if len(taken) > 1:
            return [x, self.numbers(*shape)], {"newShape": shape}, 1
        return [x], {"newShape": [self.odd(min(n, 2**31 - 1)) for n in shape]}, 1

    def _squeeze(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        ones = [i for i, n in enumerate(x.shape) if n == 1]
        return [x], {"squeezeDims": [self.odd(i) for i in ones[: self.rng.randrange(len(ones) + 1)]]}, 1

    def _expand_dims(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        return [x, self.scalar(self.rng.randrange(-len(x.shape) - 1, len(x.shape) + 1))], {}, 1

    def _transpose(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        order = list(range(len(x.shape)))
        self.rng.shuffle(order)
        return [x, self.numbers(*order)], {}, 1

    def _unpack(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        axis = self.rng.randrange(len(x.shape)) if x.shape else 0
        count = min(x.shape[axis] if x.shape else 1, 200)
        return [x], {"axis": self.odd(axis), "num": self.odd(count)}, count

    def _split(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        axis = self.rng.randrange(len(x.shape)) if x.shape else 0
        count = self.rng.choice([n for n in (1, 2, 3, 4, 7, 8) if x.shape and x.shape[axis] % n == 0] or [1])
        return [self.scalar(axis), x], {"numSplits": self.odd(count)}, count

    def _split_v(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        axis = self.rng.randrange(len(x.shape)) if x.shape else 0
        length = x.shape[axis] if x.shape else 1
        first = self.rng.randrange(1, length) if length > 1 else 1
        sizes = [first, length - first] if length > 1 else [1]
        return [x, self.numbers(*sizes), self.scalar(axis)], {"numSplits": self.odd(len(sizes))}, len(sizes)

    def _slice(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        begins = [self.rng.randrange(n) for n in x.shape]
        sizes = [self.rng.choice((-1, n - b)) for n, b in zip(x.shape, begins, strict=True)]
        return [x, self.numbers(*begins), self.numbers(*sizes)], {}, 1

    def _strided_slice(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        rng, axes = self.rng, range(self.rng.randrange(len(x.shape)) + 1 if x.shape else 0)
        begins = [rng.randrange(-x.shape[i], x.shape[i]) for i in axes]
        ends = [rng.choice((x.shape[i], -1, begins[i] + 1, 2**31 - 1, -(2**31))) for i in axes]
        strides = [rng.choice((1, 1, 1, 2, -1, 5)) for _ in axes]
        masks = {
            f"{what}Mask": self.odd(rng.choice((0, 0, rng.randrange(16)))) for what in ("begin", "end", "shrinkAxis")
        }
        return [x, self.numbers(*begins), self.numbers(*ends), self.numbers(*strides)], masks, 1

    def _gather(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        axis = self.rng.randrange(len(x.shape)) if x.shape else 0
        positions = [self.rng.randrange(x.shape[axis] if x.shape else 1) for _ in range(self.rng.choice((1, 1, 3, 40)))]
        return [x, self.numbers(*positions)], {"axis": self.odd(axis), "batchDims": self.odd(0)}, 1

    def _pad(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        pads = self.numbers(*(self.rng.choice((0, 0, 1, 2, 3, 100)) for _ in range(2 * len(x.shape))))
        pads.shape = (len(x.shape), 2)
        more = [self.constant((1,), dtype) for dtype in taken[2:]]
        return [x, pads, *more], {"mode": self.odd(self.rng.randrange(2))}, 1

    _padv2 = _mirror_pad = _pad

    def _resize_bilinear(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        flag = self.rng.randrange(3)
        sides = self.numbers(self.rng.choice(_SIDES), self.rng.choice(_SIDES))
        return [x, sides], {"alignCorners": flag == 1, "halfPixelCenters": flag == 2}, 1

    _resize_nearest_neighbor = _resize_bilinear

    def _batch_matmul(self, name: str, taken: list[str], x: Drawn) -> tuple[list[Drawn | None], dict[str, Any], int]:
        flags = {"adjX": self.rng.random() < 0.5, "adjY": self.rng.random() < 0.5}
        inner = (x.shape or (1,))[-2 if flags["adjX"] and len(x.shape) > 1 else -1]
        other = self.rng.choice(_SIDES)
        last = (other, inner) if flags["adjY"] else (inner, other)
        shape = (*(n if self.rng.random() < 0.7 else 1 for n in x.shape[:-2]), *last)
        make = self.constant if self.rng.random() < 0.4 and math.prod(shape) < 2**22 else self.new
        return [x, make(shape, "float32")], flags, 1

    def written(self) -> bytes:
        """The flatbuffer. What no operator writes and has no values is an input; what nobody takes is an output."""
        schema = _schema()
        model: Any = schema.ModelT()
        graph: Any = schema.SubGraphT()
        model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
        model.buffers, graph.tensors, graph.operators = [schema.BufferT()], [], []
        positions: dict[int, int] = {}

        def position(tensor: Drawn | None) -> int:
            if tensor is None:
                return -1
            if id(tensor) not in positions:
                positions[id(tensor)] = len(graph.tensors)
                graph.tensors.append(_tensor(schema, model, tensor, len(graph.tensors)))
            return positions[id(tensor)]

        written: list[int] = []
        taken: list[int] = []
        fed: list[int] = []
        for name, options, inputs, results in self.entries:
            code = schema.OperatorCodeT()
            code.builtinCode = getattr(schema.BuiltinOperator, name)
            code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), _VERSIONS.get(name, 1)
            entry = schema.OperatorT()
            entry.opcodeIndex = len(model.operatorCodes)
            model.operatorCodes.append(code)
            entry.inputs = np.array([position(tensor) for tensor in inputs], np.int32)
            entry.outputs = np.array([position(tensor) for tensor in results], np.int32)
            if options is not None:
                entry.builtinOptionsType, entry.builtinOptions = RULES[name].options[0], options
            graph.operators.append(entry)
            pairs = zip(inputs, entry.inputs.tolist(), strict=True)
            fed += [i for tensor, i in pairs if tensor is not None and tensor.values is None and i not in written]
            taken += entry.inputs.tolist()
            written += entry.outputs.tolist()
        graph.inputs = np.array(list(dict.fromkeys(fed)), np.int32)
        graph.outputs = np.array([i for i in written if i not in taken][:8], np.int32)
        return _packed(model, b"TFL3")


# Those of the newest kernels: LiteRT looks for (operator, version), and a lower one lacks types.
_VERSIONS = {
    **{"CONV_2D": 5, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9, "ADD": 4, "SUB": 4, "MUL": 4, "SOFTMAX": 3},
    **{"QUANTIZE": 3, "DEQUANTIZE": 5, "CONCATENATION": 3, "MEAN": 3, "SUM": 2, "PAD": 4, "PADV2": 4, "TRANSPOSE": 5},
    **{"STRIDED_SLICE": 7, "MAXIMUM": 4, "MINIMUM": 4, "RESIZE_BILINEAR": 4, "RESIZE_NEAREST_NEIGHBOR": 4, "CAST": 4},
    **{"AVERAGE_POOL_2D": 3, "MAX_POOL_2D": 3, "LOGISTIC": 3, "TANH": 3, "RELU": 3, "RELU6": 3, "LEAKY_RELU": 2},
    **{"REDUCE_MAX": 3, "REDUCE_MIN": 3, "SQUARED_DIFFERENCE": 2, "SPLIT": 4, "SPLIT_V": 2, "SLICE": 5, "GATHER": 5},
    **{"PACK": 3, "UNPACK": 4, "SQUEEZE": 2, "MIRROR_PAD": 3, "BATCH_MATMUL": 3, "GELU": 2, "RSQRT": 2},
}


def _schema() -> Any:
    return importlib.import_module("ai_edge_litert.schema_py_generated")  # not of the device's floors


def _tensor(schema: Any, model: Any, drawn: Drawn, position: int) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape = f"t{position}".encode(), np.array(drawn.shape, np.int64).astype(np.int32)
    tensor.type = getattr(schema.TensorType, drawn.dtype.upper())
    tensor.buffer = 0
    if drawn.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(drawn.values.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if drawn.scales:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array(drawn.scales, np.float32)
        tensor.quantization.zeroPoint = np.array(drawn.zero_points, np.int64)
        tensor.quantization.quantizedDimension = drawn.axis
    return tensor


def _options(code: int, settings: dict[str, Any]) -> Any:
    """An object of the schema with those of the settings that it has, None where the operator has no options."""
    if not code:
        return None
    schema = _schema()
    known: dict[str, Any] = vars(schema.BuiltinOptions)
    name = next(name for name, value in known.items() if value == code)
    options = getattr(schema, f"{name}T")()
    for key, value in settings.items():
        if hasattr(options, key):
            is_byte = key in ("padding", "fusedActivationFunction", "weightsFormat", "mode", "outType")
            setattr(options, key, max(-128, min(127, value)) if is_byte else value)
    return options


def _packed(table: Any, identifier: bytes | None = None) -> bytes:
    builder = _builder()(1024)
    builder.Finish(table.Pack(builder), file_identifier=identifier)
    return bytes(builder.Output())


@lru_cache(maxsize=1)
def _builder() -> Any:
    """Aligns vectors as the schema wants of weights, which the generated code forgets."""
    base: Any = importlib.import_module("flatbuffers").Builder

    class Aligned(base):
        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, max(16, alignment))

    return Aligned
