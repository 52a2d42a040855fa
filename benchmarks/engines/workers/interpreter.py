"""TFLite's interpreter, of ai-edge-litert or tflite-runtime: with XNNPACK, without, or with an external delegate.

options: kernels, "xnnpack" or "plain"; package, "ai_edge_litert" or "tflite_runtime"; of a delegate also delegate, the
path of its shared library, and delegate_options, text -> text.
"""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import importlib
import importlib.metadata
from collections import Counter
from pathlib import Path
from typing import Any

import protocol


def load(job: dict[str, Any]) -> protocol.Engine:
    options = job["options"]
    engine = importlib.import_module(f"{options['package']}.interpreter")
    keywords: dict[str, Any] = {}
    delegate = options.get("delegate")
    if options["kernels"] == "plain":
        keywords["experimental_op_resolver_type"] = engine.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    if delegate:
        keywords["experimental_delegates"] = [engine.load_delegate(delegate, options.get("delegate_options") or {})]
    interpreter = engine.Interpreter(model_path=job["model"], num_threads=job["num_threads"], **keywords)
    # The delegate that was asked for takes its operators here, TFLite's own default one what is left, afterwards.
    asked = census(interpreter)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def invoke(values: list[Any]) -> list[Any]:
        for source, value in zip(inputs, values):  # noqa: B905  # as many as there are, in Python 3.9 too
            interpreter.set_tensor(source["index"], value)
        interpreter.invoke()
        return [interpreter.get_tensor(target["index"]) for target in outputs]

    name = options["package"].replace("_", "-")
    return protocol.Engine(
        invoke,
        [protocol.output(one["name"], _Shaped(one), one["quantization"]) for one in outputs],
        f"{name} {importlib.metadata.version(name)}",
        executed(asked if delegate else census(interpreter), Path(delegate).name if delegate else "XNNPACK"),
    )


class _Shaped:
    def __init__(self, details: dict[str, Any]):
        self.dtype, self.shape = details["dtype"], details["shape"]


def census(interpreter: Any) -> list[dict[str, Any]] | None:
    """The interpreter's nodes; None where this version does not tell them."""
    try:
        return interpreter._get_ops_details()
    except AttributeError:
        return None


def executed(nodes: list[dict[str, Any]] | None, delegate: str) -> dict[str, Any] | None:
    """A delegate's node stands behind the network's own ones, which it replaces: all between its inputs and outputs."""
    if nodes is None:
        return None
    own = [node for node in nodes if node["op_name"] != "DELEGATE"]
    taken: set[int] = set()
    parts = [node for node in nodes if node["op_name"] == "DELEGATE"]
    makers = {int(tensor): i for i, node in enumerate(own) for tensor in node["outputs"]}
    for part in parts:
        given = {int(tensor) for tensor in part["inputs"]}
        wanted = [int(tensor) for tensor in part["outputs"]]
        while wanted:
            tensor = wanted.pop()
            i = makers.get(tensor)
            if i is None or i in taken or tensor in given:
                continue
            taken.add(i)
            wanted += [int(one) for one in own[i]["inputs"]]
    left = Counter(node["op_name"] for i, node in enumerate(own) if i not in taken)
    return protocol.executed(
        delegate if parts else None,
        "the interpreter's list of nodes",
        whole=len(taken) == len(own),
        operators=len(own),
        delegated=len(taken),
        partitions=len(parts),
        left=dict(left),
    )


if __name__ == "__main__":
    protocol.serve(load)
