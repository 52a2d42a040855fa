"""The error of an int8 .tflite against its float baseline, layer by layer: which layer hurts.

Both networks see the same pictures, and the outputs of matching layers are compared as the signal to quantization noise
ratio, SQNR = 10 log10(mean(float^2) / mean((float - dequantized)^2)) in dB: Lin, Talathi and Annapureddy, "Fixed Point
Quantization of Deep Convolutional Networks", ICML 2016. Eight bits over the range of a uniform signal give
about 48 dB; 6 dB are one bit.

Errors travel: a low SQNR late in the network may come from an early layer. What a layer loses between its input and its
output is told apart as `Row.loss_db`. It holds the rounding of the layer's weights and of its output and also how it
amplifies the error that it is fed; it is negative where a layer averages error away.

After quantization-aware training the weights are others than the float network's, and the SQNR counts that as error,
too: there it says where training moved the network, and only post-training quantization shows pure rounding.
"""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..benchmarks.inputs.cases import Case
from ..benchmarks.report.document import Document, Notes, Section, Table, number
from ..edge_runtime import csv_files
from ..edge_runtime.classifier import SkinClassifier
from ..edge_runtime.errors import ConversionError
from ..edge_runtime.model_file import network_length
from ..edge_runtime.network import BOUNDARIES
from ..edge_runtime.quantization import Quantization, dequantize
from ..edge_runtime.quiet import quiet
from ..train.reports import drawn
from .confidence import apply_temperature
from .tflite import flatbuffer

PICTURE = "PICTURE"  # operator of the first row, the network's input

_WORST = 5  # layers that stand out in the drawing


@dataclass(frozen=True)
class Row:
    """One layer. Errors are dequantized minus float, over all pictures, in the real units of the tensor.

    Attributes:
        position: In the order of execution; 0 is the picture, whose bytes may not be on the float values exactly.
        operator: TFLite's name.
        name: The layer's, from the float file.
        shape: Of the output, the batch first.
        sqnr_db: inf where there is no error at all.
        input_sqnr_db: The lowest among its inputs that are not constants; None for the picture.
        loss_db: input_sqnr_db - sqnr_db, None for the picture.
        mean_error: The bias.
        scale: One step of the quantized output, 0.0 where it is float.
        share_clipped: Of the float values, 0..1, those that are outside the range of the quantized tensor by more than
            half a step (less is rounding).
    """

    position: int
    operator: str
    name: str
    shape: tuple[int, ...]
    sqnr_db: float
    input_sqnr_db: float | None
    loss_db: float | None
    mean_error: float
    max_abs_error: float
    scale: float
    share_clipped: float


class Pair(NamedTuple):
    """A layer's output in both files.

    Attributes:
        int8_tensor, float_tensor: Indices.
        inputs: Positions of other pairs.
    """

    operator: str
    name: str
    shape: tuple[int, ...]
    int8_tensor: int
    float_tensor: int
    quantization: Quantization
    inputs: tuple[int, ...]


def match(int8_network: bytes, float_network: bytes) -> tuple[list[Pair], int]:
    """(the picture and the layers of both files that correspond, the number of operators in both without a partner).

    Operators correspond by kind and output shape, in order: both networks come from one Keras model. QUANTIZE and
    DEQUANTIZE only convert and are left out. Outputs that are not real numbers (of SHAPE, say) are not compared.

    Raises ConversionError where fewer than half of the operators match, or where the first file is not quantized or
    the second is.
    """
    ours, theirs = flatbuffer.read(int8_network), flatbuffer.read(float_network)
    int8_graph, float_graph = ours.subgraphs[0], theirs.subgraphs[0]
    int8_layers, float_layers = _layers(ours), _layers(theirs)
    matcher = difflib.SequenceMatcher(
        None, [layer[:2] for layer in int8_layers], [layer[:2] for layer in float_layers], autojunk=False
    )
    steps = [(a + i, b + i) for a, b, size in matcher.get_matching_blocks() for i in range(size)]
    if 2 * len(steps) < max(len(int8_layers), len(float_layers)):
        raise ConversionError(
            f"only {len(steps)} of {len(int8_layers)} operators of the int8 file match one of the {len(float_layers)} "
            "of the float file: they are not the same network"
        )
    source = int(int8_graph.inputs[0])
    # Behind the QUANTIZE that a float or uint8 input has: what the first layer sees.
    quantized = next(
        (
            int(op.outputs[0])
            for op in int8_graph.operators
            if flatbuffer.operator_name(ours, op) == "QUANTIZE" and op.inputs[0] == source
        ),
        source,
    )
    tensors = [(quantized, int(float_graph.inputs[0]), PICTURE, source)]
    for a, b in steps:
        outputs = int(int8_layers[a].operator.outputs[0]), int(float_layers[b].operator.outputs[0])
        tensors.append((*outputs, int8_layers[a].kind, outputs[0]))
    tensors = [
        entry
        for entry in tensors
        if flatbuffer.TENSOR_TYPES[float_graph.tensors[entry[1]].type] == "float32"
        and (_quantization(int8_graph.tensors[entry[0]]).is_quantized or _is_float(int8_graph.tensors[entry[0]]))
    ]
    if not any(_quantization(int8_graph.tensors[entry[0]]).is_quantized for entry in tensors):
        raise ConversionError("no layer is int8 in the first file and float32 in the second: are they swapped?")
    position_of = {entry[3]: position for position, entry in enumerate(tensors)}
    producer = {int(output): op for op in int8_graph.operators for output in op.outputs}
    pairs: list[Pair] = []
    for int8_tensor, float_tensor, kind, known_as in tensors:
        tensor = int8_graph.tensors[int8_tensor]
        name = float_graph.tensors[float_tensor].name.decode(errors="replace")
        pairs.append(
            Pair(
                operator=kind,
                name="picture" if kind == PICTURE else short_name(name),
                shape=tuple(int(n) for n in tensor.shape),
                int8_tensor=int8_tensor,
                float_tensor=float_tensor,
                quantization=_quantization(tensor),
                inputs=() if kind == PICTURE else _measured_inputs(known_as, producer, position_of),
            )
        )
    return pairs, len(int8_layers) + len(float_layers) - 2 * len(steps)


def measure(
    int8_path: str | Path,
    float_path: str | Path,
    pixels: npt.NDArray[np.uint8],
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Runs both files on uint8 [n, height, width, 3] and compares every layer; rows in the order of execution.

    A network with metadata is told nothing. LiteRT's own kernels run, without the XNNPACK delegate, which keeps no
    tensors: the device may round some values differently by one step.

    Args:
        int8_path: The quantized .tflite.
        float_path: Its float baseline.
        pixels: uint8 [n, height, width, 3], RGB.
        progress: Called with (pictures done, pictures in all).

    Raises:
        ModelFileError: Where a file cannot be used.
        ConversionError: As `match` and where the two want pictures of different sizes.
    """
    int8, floating = SkinClassifier(int8_path), SkinClassifier(float_path)
    sizes = [(spec.height, spec.width) for spec in (int8.input_spec, floating.input_spec)]
    if sizes[0] != sizes[1]:
        raise ConversionError(
            f"{int8.path} and {floating.path} want pictures of different sizes: they are not the same network"
        )
    contents = int8.path.read_bytes(), _calibrated_alike(int8, floating)
    pairs, _ = match(*contents)
    int8_network, float_network = map(_interpreter, contents)
    sums = [Sums() for _ in pairs]
    for done, picture in enumerate(pixels, 1):
        for network, classifier in ((int8_network, int8), (float_network, floating)):
            for details in network.get_input_details():
                vector = len(details["shape"]) == 2
                value = classifier.to_vector(None) if vector else classifier.to_tensor(picture)
                network.set_tensor(details["index"], value)
            network.invoke()
        for pair, total in zip(pairs, sums, strict=True):
            total.add(
                float_network.get_tensor(pair.float_tensor),
                int8_network.get_tensor(pair.int8_tensor),
                pair.quantization,
            )
        if progress:
            progress(done, len(pixels))
    return [_row(position, pair, sums) for position, pair in enumerate(pairs)]


def _calibrated_alike(int8: SkinClassifier, floating: SkinClassifier) -> bytes:
    """The float network with the shift and temperature of the int8 file's last layer: they are not error."""
    content, said = floating.path.read_bytes(), int8.contract.get("calibration")
    if not said or floating.contract.get("calibration") == said:
        return content
    network = content[: network_length(content)]
    return apply_temperature(network, said["temperature"], said["logit_shift"])


def by_loss(rows: Sequence[Row]) -> list[Row]:
    """The worst layer first; the picture, which has no loss, last."""
    return sorted(rows, key=lambda row: -math.inf if row.loss_db is None else row.loss_db, reverse=True)


def to_csv(rows: Sequence[Row]) -> str:
    """One line per row, in the order given; a shape as 1x80x80x32, None as nothing."""
    cells = (asdict(row) | {"shape": "x".join(map(str, row.shape))} for row in rows)
    return csv_files.text([entry.name for entry in fields(Row)], (list(row.values()) for row in cells))


def document(rows: Sequence[Row], said: str, most: int) -> Document:
    """said: which pictures they are of. most: layers on the terminal, the worst loss first."""
    cells = [
        (
            str(row.position),
            row.operator,
            row.name,
            "x".join(map(str, row.shape[1:])),
            number(row.sqnr_db, ".1f"),
            number(row.loss_db, ".1f", ""),
            # In steps of the tensor: what counts beside rounding, whose bias is 0.
            number(row.mean_error / row.scale if row.scale else None, "+.2f", ""),
            f"{row.share_clipped:.1%}",
        )
        for row in by_loss(rows)
    ]
    # A class activation map may come after the probabilities.
    last = next((row for row in reversed(rows) if row.operator == "SOFTMAX"), rows[-1])
    notes = [
        f"SQNR of the probabilities {last.sqnr_db:.1f} dB, over {said}.",
        "loss: dB between the layer's input and output, the worst first. bias: mean error in steps of the int8 tensor. "
        "clip: values outside its range.",
    ]
    columns = ("", "operator", "layer", "output", "SQNR", "loss", "bias", "clip")
    table = Table(columns, cells, most=most, more="layer_errors.csv has all")
    return Document("", "", [Section("layers", "", [table, Notes(notes)])], "skin-edge debug-quantization")


def draw(rows: Sequence[Row], path: str | Path) -> None:
    """A PNG, written in one step: the layers from top to bottom, the SQNR as a line and the loss as bars."""
    with drawn.picture(path, 9, 1.4 + 0.22 * len(rows)) as figure:
        ratio, loss = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        places = range(len(rows))
        worst = {row.position for row in by_loss(rows)[:_WORST] if row.loss_db is not None and row.loss_db > 0}
        ratio.plot([_drawable(row.sqnr_db) for row in rows], places, "o-", color="C0", markersize=4, linewidth=1.2)
        ratio.set(xlabel="SQNR (dB)", title="Signal to quantization noise")
        ratio.set_xlim(left=min(0, *(_drawable(row.sqnr_db) for row in rows)))
        ratio.set_yticks(places, [f"{drawn.name(row.name, 32)}  {row.position}" for row in rows], fontsize=7)
        ratio.set_ylim(len(rows) - 0.4, -0.6)
        heights = [_drawable(row.loss_db or 0.0) for row in rows]
        colours = ["C3" if row.position in worst else "0.65" for row in rows]
        loss.barh(places, heights, color=colours, height=0.7)
        for place, row in enumerate(rows):
            if row.position in worst:
                loss.annotate(
                    f"{row.loss_db:.1f}",
                    (max(heights[place], 0), place),
                    (3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7,
                )
        loss.axvline(0, color="black", linewidth=0.8)
        loss.margins(x=0.12)
        loss.tick_params(axis="y", left=False)
        loss.set(xlabel="dB, input minus output", title=f"Lost in the layer (red: worst {len(worst)})")
        for axis in (ratio, loss):
            axis.grid(alpha=0.3)
            axis.set_axisbelow(True)


def choose(cases: Sequence[Case], limit: int, seed: int = 42) -> list[Case]:
    """At most `limit` cases, seeded, as evenly over the classes as there are cases."""
    generator = np.random.default_rng(seed)
    of_class: dict[str, list[Case]] = defaultdict(list)
    for position in generator.permutation(len(cases)):
        of_class[cases[position].label].append(cases[position])
    # One of each class in turn.
    ranked = sorted((turn, label) for label, found in of_class.items() for turn in range(len(found)))
    return [of_class[label][turn] for turn, label in ranked[:limit]]


def short_name(tensor: str) -> str:
    """A layer's name from a tensor's: "net/conv1_relu/Relu6;net/conv1_bn/..." is "conv1_relu".

    The converter joins the names of fused operations by semicolons; each is network/layer/operation.
    """
    parts = tensor.split(";")[0].split("/")
    return "/".join(parts[1:-1]) or parts[-1]


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10(signal / noise) of two powers, at least 0; inf without noise, -inf with noise alone."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


@dataclass
class Sums:
    """What is kept of a tensor in both networks over all pictures: sums of squares and errors, no activations."""

    count: int = 0
    signal: float = 0.0
    noise: float = 0.0
    error: float = 0.0
    max_abs_error: float = 0.0
    clipped: int = 0

    def add(self, real: npt.NDArray[np.float32], stored: npt.NDArray[Any], quantization: Quantization) -> None:
        """Adds the errors of one image.

        Args:
            real: Of the float network.
            stored: The same shape, of the int8 network: integers, or float32 as they are.
        """
        self.count += real.size
        self.signal += float(np.square(real, dtype=np.float64).sum())
        restored = stored
        if quantization.is_quantized:
            restored = dequantize(stored, quantization)
            info = np.iinfo(stored.dtype)
            steps = real / np.float32(quantization.scale) + quantization.zero_point
            self.clipped += int(((steps < info.min - 0.5) | (steps > info.max + 0.5)).sum())
        error = restored.astype(np.float64) - real
        self.noise += float(np.square(error).sum())
        self.error += float(error.sum())
        self.max_abs_error = max(self.max_abs_error, float(np.abs(error).max()))


class _Layer(NamedTuple):
    kind: str
    shape: tuple[int, ...]
    operator: Any


def _layers(model: Any) -> list[_Layer]:
    graph = model.subgraphs[0]
    return [
        _Layer(flatbuffer.operator_name(model, operator), tuple(graph.tensors[operator.outputs[0]].shape), operator)
        for operator in graph.operators
        if flatbuffer.operator_name(model, operator) not in BOUNDARIES
    ]


def _is_float(tensor: Any) -> bool:
    return flatbuffer.TENSOR_TYPES[tensor.type] == "float32"


def _quantization(tensor: Any) -> Quantization:
    """Of an activation, which TFLite quantizes per tensor."""
    found = tensor.quantization
    if found is None or found.scale is None or len(found.scale) != 1:
        return Quantization(0.0, 0)
    return Quantization(float(found.scale[0]), int(found.zeroPoint[0]))


def _measured_inputs(tensor: int, producer: dict[int, Any], position_of: dict[int, int]) -> tuple[int, ...]:
    """Positions of the nearest compared tensors from which `tensor` is computed; constants have no producer."""
    found: set[int] = set()
    seen: set[int] = set()
    waiting = [int(i) for i in producer[tensor].inputs]
    while waiting:
        source = waiting.pop()
        if source in position_of:
            found.add(position_of[source])
        elif source in producer and source not in seen:
            waiting.extend(int(i) for i in producer[source].inputs)
        seen.add(source)
    return tuple(sorted(found))


def _interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet():
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


def _row(position: int, pair: Pair, sums: Sequence[Sums]) -> Row:
    total = sums[position]
    output = sqnr_db(total.signal, total.noise)
    source = min((sqnr_db(sums[i].signal, sums[i].noise) for i in pair.inputs), default=None)
    return Row(
        position=position,
        operator=pair.operator,
        name=pair.name,
        shape=pair.shape,
        sqnr_db=output,
        input_sqnr_db=source,
        loss_db=None if source is None else 0.0 if source == output else source - output,
        mean_error=total.error / total.count,
        max_abs_error=total.max_abs_error,
        scale=pair.quantization.scale,
        share_clipped=total.clipped / total.count,
    )


def _drawable(value: float) -> float:
    return value if math.isfinite(value) else math.nan
