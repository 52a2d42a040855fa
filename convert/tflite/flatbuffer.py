"""A .tflite network as objects and back: what a conversion changes after TensorFlow's converter is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated

_IDENTIFIER = b"TFL3"

schema: Any = schema_py_generated  # generated code, with wrong types

OPERATOR_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
TENSOR_TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)}


def read(network: bytes) -> Any:
    """The schema's ModelT."""
    return schema.ModelT.InitFromPackedBuf(network, 0)


def write(model: Any) -> bytes:
    """A ModelT -> the bytes of a .tflite."""
    builder = _Builder(1 << 20)
    builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


def operator_name(model: Any, operator: Any) -> str:
    code = model.operatorCodes[operator.opcodeIndex]
    return OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]  # older files have the latter


def name_ends(model: Any, sources: Sequence[str], targets: Sequence[str]) -> None:
    """Names the inputs and the outputs, as tensors and in the one signature, "serving_default"."""
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs = [_named(graph, index, name) for index, name in zip(graph.inputs, sources, strict=True)]
    signature.outputs = [_named(graph, index, name) for index, name in zip(graph.outputs, targets, strict=True)]
    model.signatureDefs = [signature]


def append_softmax(model: Any) -> None:
    """Puts a softmax behind the first output [1, classes]: in float32 behind a float32 output, in int8 behind an int8.

    The int8 output gets the scale 1/256 and the zero point -128, which TFLite prescribes for softmax.
    """
    graph = model.subgraphs[0]
    logits = graph.tensors[graph.outputs[0]]
    in_float = logits.type == schema.TensorType.FLOAT32
    probabilities = tensor(model, "probabilities", logits.shape, logits.type)
    graph.tensors[probabilities].shapeSignature = logits.shapeSignature
    if not in_float:
        quantize(model, probabilities, [1 / 256], -128)
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    append(model, "SOFTMAX", 1 if in_float else 2, [graph.outputs[0]], probabilities, "SoftmaxOptions", options)
    graph.outputs = np.array([probabilities, *graph.outputs[1:]], np.int32)


def tensor(model: Any, name: str, shape: Sequence[int], dtype: int) -> int:
    """Adds a tensor without content; returns its index.

    Args:
        model: A ModelT.
        name: Of the tensor.
        shape: Of the tensor.
        dtype: Of schema.TensorType.
    """
    graph, added = model.subgraphs[0], schema.TensorT()
    added.name, added.shape, added.type = name.encode(), np.array(shape, np.int32), dtype
    added.buffer = len(model.buffers)
    model.buffers.append(schema.BufferT())
    graph.tensors.append(added)
    return len(graph.tensors) - 1


def quantize(model: Any, position: int, scales: Sequence[float], zero_point: int = 0, axis: int = 0) -> None:
    """Says what a tensor's integers mean.

    Args:
        model: A ModelT.
        position: The tensor's index.
        scales: One, or one per channel.
        zero_point: Of all channels.
        axis: That of the channels.
    """
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.array(scales, np.float32)
    quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
    quantization.quantizedDimension = axis
    model.subgraphs[0].tensors[position].quantization = quantization


def constant(
    model: Any, name: str, content: npt.NDArray[Any], dtype: int, scales: Sequence[float] = (), axis: int = 0
) -> int:
    """Adds a tensor with content; returns its index.

    Args:
        model: A ModelT.
        name: Of the tensor.
        content: In its dtype.
        dtype: Of schema.TensorType.
        scales: As `quantize` takes them; none for what is not quantized.
        axis: As `quantize` takes it.
    """
    position = tensor(model, name, content.shape, dtype)
    model.buffers[-1].data = np.frombuffer(content.tobytes(), np.uint8)
    if scales:
        quantize(model, position, scales, axis=axis)
    return position


def operator(
    model: Any, name: str, version: int, inputs: Sequence[int], output: int, options_name: str, options: Any
) -> Any:
    """An operator for the graph, not in it yet.

    Args:
        model: A ModelT, whose operator codes get a new one where it is missing.
        name: Of schema.BuiltinOperator.
        version: Of the operator.
        inputs, output: Indices of tensors.
        options_name: Of schema.BuiltinOptions.
        options: The schema's object.
    """
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
    code.version = version
    same = [
        i
        for i, known in enumerate(model.operatorCodes)
        if (known.builtinCode, known.version) == (code.builtinCode, version)
    ]
    if not same:
        model.operatorCodes.append(code)
    made = schema.OperatorT()
    made.opcodeIndex = same[0] if same else len(model.operatorCodes) - 1
    made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
    made.builtinOptionsType = getattr(schema.BuiltinOptions, options_name)
    made.builtinOptions = options
    return made


def append(
    model: Any, name: str, version: int, inputs: Sequence[int], output: int, options_name: str, options: Any
) -> None:
    """As `operator`, at the end of the graph.

    Args:
        model, name, version, inputs, output, options_name, options: As `operator` takes them.
    """
    made = operator(model, name, version, inputs, output, options_name, options)
    model.subgraphs[0].operators.append(made)


def _named(graph: Any, index: int, name: str) -> Any:
    graph.tensors[index].name = name.encode()
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, int(index)
    return entry


class _Builder(flatbuffers.Builder):
    """Aligns every vector to 16 bytes, as the schema wants of weights (`force_align: 16`) and its base forgets.

    Equal vectors are written once: the zero points of a per-channel weight are a zero of eight bytes for every channel.
    """

    def __init__(self, initialSize: int) -> None:
        super().__init__(initialSize)
        self._written: dict[tuple[str, bytes], Any] = {}

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
        return super().StartVector(elemSize, numElems, max(16, alignment))

    def CreateNumpyVector(self, x: npt.NDArray[Any]) -> Any:
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]
