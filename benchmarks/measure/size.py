"""How large a model file is, on disk and at work, and what it computes with."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

from ...edge_runtime.model_file import network_length
from ...edge_runtime.network import GraphTensor, Network, Operator

# Of one element; 64 where the dtype is none of these.
_TYPES_OF_BITS = {
    2: ("int2",),
    4: ("int4", "uint4"),
    8: ("int8", "uint8", "bool"),
    16: ("int16", "uint16", "float16", "bfloat16"),
    32: ("int32", "uint32", "float32"),
}
_BITS: dict[str, int] = {name: bits for bits, names in _TYPES_OF_BITS.items() for name in names}


def measure_size(path: str | Path) -> dict[str, int]:
    """Bytes of the file, of the network in it, and of the archive (labels.txt, metadata.json) that follows it."""
    content = Path(path).read_bytes()
    network_bytes = network_length(content)
    return {
        "file_bytes": len(content),
        "network_bytes": network_bytes,
        "archive_bytes": len(content) - network_bytes,
    }


def measure_network(path: str | Path) -> dict[str, Any]:
    """{"operators": {name: count}, most frequent first, "computes_in": {"integer", "float", "boundary": count},
    "arena_bytes"}.

    arena_bytes: the estimate of `arena_bytes` for batch 1. Raises ModelFileError where the flatbuffer is damaged.
    """
    content = Path(path).read_bytes()
    operators = Network(memoryview(content)[: network_length(content)]).operators
    return {
        "operators": dict(Counter(operator.name for operator in operators).most_common()),
        "computes_in": dict(Counter(operator.computes_in for operator in operators).most_common()),
        "arena_bytes": arena_bytes(operators),
    }


def arena_bytes(operators: tuple[Operator, ...]) -> int:
    """Bytes of the activations that must be in memory at once: the largest sum over the operators in their order.

    An activation lives from the operator that makes it (an input of the network: from the first) to the last that reads
    it (an output of the network: to the end). That is what an interpreter's tensor arena cannot go below; scratch
    buffers, alignment and what a delegate such as XNNPACK packs come on top. Lifetimes as in Pisarchyk and Lee,
    "Efficient Memory Management for Deep Neural Net Inference", 2020, whose bound this is.
    """
    sizes: dict[int, int] = {}
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    made: set[int] = set()
    for position, operator in enumerate(operators):
        for tensor in operator.inputs:
            if not tensor.is_constant:
                sizes[id(tensor)] = _bytes(tensor)
                first.setdefault(id(tensor), 0)
                last[id(tensor)] = position
        for tensor in operator.outputs:
            sizes[id(tensor)] = _bytes(tensor)
            first[id(tensor)] = position
            made.add(id(tensor))
    end = len(operators) - 1
    for tensor in made - last.keys():
        last[tensor] = end
    return max(
        (sum(size for key, size in sizes.items() if first[key] <= now <= last[key]) for now in range(len(operators))),
        default=0,
    )


def _bytes(tensor: GraphTensor) -> int:
    elements = math.prod(max(1, extent) for extent in tensor.shape)  # -1: a batch of one
    return math.ceil(elements * _BITS.get(tensor.dtype, 64) / 8)
