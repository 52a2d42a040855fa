"""The operators of a network as TensorFlow Lite Micro registers them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ...edge_runtime.network import Network

# Builtin operators that TFLite Micro's Python interpreter finds (0.dev20261023182759); tests/test_micro.py asks the
# installed one for each of the schema.
_KNOWN = """
    ABS ADD ADD_N ARG_MAX ARG_MIN ASSIGN_VARIABLE AVERAGE_POOL_2D BATCH_MATMUL BATCH_TO_SPACE_ND BROADCAST_ARGS
    BROADCAST_TO CALL_ONCE CAST CEIL CONCATENATION CONV_2D COS CUMSUM DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV
    DYNAMIC_UPDATE_SLICE ELU EMBEDDING_LOOKUP EQUAL EXP EXPAND_DIMS FILL FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED
    GATHER GATHER_ND GREATER GREATER_EQUAL HARD_SWISH IF L2_NORMALIZATION L2_POOL_2D LEAKY_RELU LESS LESS_EQUAL LOG
    LOGICAL_AND LOGICAL_NOT LOGICAL_OR LOGISTIC LOG_SOFTMAX MAXIMUM MAX_POOL_2D MEAN MINIMUM MIRROR_PAD MUL NEG
    NOT_EQUAL PACK PAD PADV2 PRELU QUANTIZE READ_VARIABLE REDUCE_ALL REDUCE_MAX REDUCE_MIN RELU RELU6 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REVERSE_V2 ROUND RSQRT SELECT_V2 SHAPE SIN SLICE SOFTMAX SPACE_TO_BATCH_ND
    SPACE_TO_DEPTH SPLIT SPLIT_V SQRT SQUARE SQUARED_DIFFERENCE SQUEEZE STRIDED_SLICE SUB SUM SVDF TANH TRANSPOSE
    TRANSPOSE_CONV UNIDIRECTIONAL_SEQUENCE_LSTM UNPACK VAR_HANDLE WHILE ZEROS_LIKE
"""
KNOWN = frozenset(_KNOWN.split())

# Methods of MicroMutableOpResolver that are not "Add" and the name with a capital at the start of each word.
_METHODS = {
    "BATCH_MATMUL": "AddBatchMatMul",
    "CUMSUM": "AddCumSum",
    "PADV2": "AddPadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
    "CUSTOM ethos-u": "AddEthosU",
    "CUSTOM TFLite_Detection_PostProcess": "AddDetectionPostprocess",
    "CUSTOM CIRCULAR_BUFFER": "AddCircularBuffer",
}


def method(name: str) -> str | None:
    """The method of MicroMutableOpResolver that registers an operator, None where TFLite Micro has none.

    name: as in `Operator.name`.
    """
    if name in _METHODS:
        return _METHODS[name]
    if name not in KNOWN:
        return None
    return "Add" + "".join(word if word == "2D" else word.capitalize() for word in name.split("_"))


def needed(network: Network) -> list[dict[str, Any]]:
    """JSON-ready, in the order of first use: {operator, version, types, count, computes_in, method}."""
    counted = Counter(
        (operator.name, operator.version, operator.types, operator.computes_in) for operator in network.operators
    )
    return [
        {
            "operator": name,
            "version": version,
            "types": types,
            "count": count,
            "computes_in": computes_in,
            "method": method(name),
        }
        for (name, version, types, computes_in), count in counted.items()
    ]


def lacking(operators: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of those that TFLite Micro has not, each once. operators: of `needed`."""
    return list(dict.fromkeys(row["operator"] for row in operators if row["method"] is None))


def resolver(operators: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines of C++ that register what the network needs, and no more. operators: of `needed`."""
    methods = list(dict.fromkeys(row["method"] for row in operators if row["method"]))
    return [
        f"tflite::MicroMutableOpResolver<{len(methods)}> resolver;",
        *(f"resolver.{name}();" for name in methods),
    ]
