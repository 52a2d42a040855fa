"""A trial: litert-quantizer in the place of convert/quantize/post_training.py, with the same float network and ranges.

    pip install litert-quantizer==0.11.0
    python -m tests.litert_quantizer_trial RUN [FOLDER of its pictures]

prints for both, on the validation and the test part: the share of the float network's top classes, balanced accuracy,
macro AUC, the seconds of processor time, and for how many pictures the two give the same class. RUN takes images alone.
docs/architecture.md has what came out, and `test_litert_quantizer.py` what speaks against the library.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from skin_edge.convert.quantize import post_training
from skin_edge.convert.quantize.post_training import Calibration
from skin_edge.convert.tflite import flatbuffer
from skin_edge.convert.tflite.to_tflite import converter_of, order_ends
from skin_edge.edge_runtime.interpreter import Interpreter

ENDS = {"float32": (None, None), "uint8": ("UINT", None), "int8": ("INT", "INT")}


def quantize(
    model: Any,
    representative: Any,
    *,
    precision: str,
    calibration: Calibration,
    io: str,
    keep_float: Any = (),
    vectors: tuple[float, float] | None = None,
) -> bytes:
    """As `post_training.quantize`, for "int8" and "w8a16"."""
    from litert_quantizer import algorithm_manager, qtyping, quantizer, recipe

    network = flatbuffer.read(converter_of(model).convert())
    order_ends(network)
    graph = network.subgraphs[0]
    for index, tensor in enumerate(graph.tensors):  # the fields that TensorFlow's calibration makes
        if network.buffers[tensor.buffer].data is None and tensor.type == flatbuffer.schema.TensorType.FLOAT32:
            tensor.quantization = flatbuffer.schema.QuantizationParametersT()
            post_training._set_range(graph.tensors[index], 0, 0)
    post_training._clip_ranges(network, representative, calibration.percentile if calibration.kind != "minmax" else 100)
    ranges = {}
    for index, tensor in enumerate(graph.tensors):
        if tensor.quantization is not None and tensor.quantization.min is not None:
            low, high = tensor.quantization.min[0], tensor.quantization.max[0]
            if index in post_training._images(graph):
                low, high = -1.0, 1.0
            elif vectors and index in graph.inputs:
                low, high = vectors
            rank = (1,) * len(tensor.shape)
            ranges[tensor.name.decode()] = {
                "min": np.full(rank, low, np.float32),
                "max": np.full(rank, high, np.float32),
            }
        tensor.quantization = None
    kept = post_training._outputs_of_layers(network, model, keep_float)

    library = quantizer.Quantizer(flatbuffer.write(network))
    library.load_quantization_recipe(recipe.static_wi8_ai8() if precision == "int8" else recipe.static_wi8_ai16())
    operation, algorithm = qtyping.TFLOperationName, algorithm_manager.AlgorithmName
    for name in kept:
        pattern = f"(^|;){re.escape(name)}(;|$)"
        library.update_quantization_recipe(pattern, operation.ALL_SUPPORTED, algorithm_key=algorithm.NO_QUANTIZE)
    tensors = qtyping.TensorQuantizationConfig
    for end, kind in zip((operation.INPUT, operation.OUTPUT), ENDS[io], strict=True):
        if kind is None:
            library.update_quantization_recipe("(.*)", end, algorithm_key=algorithm.NO_QUANTIZE)
            continue
        activation = tensors(num_bits=8, symmetric=False, dtype=qtyping.TensorDataType[kind])
        config = qtyping.OpQuantizationConfig(
            activation_tensor_config=activation,
            weight_tensor_config=tensors(num_bits=8, granularity=qtyping.QuantGranularity.CHANNELWISE),
            compute_precision=qtyping.ComputePrecision.INTEGER,
        )
        library.update_quantization_recipe("(.*)", end, config)
    result = library.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    content = bytes(result.quantized_model)
    network = flatbuffer.read(content)
    for buffer in network.buffers:  # of a large network they are behind the flatbuffer
        if buffer.offset > 1:
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    order_ends(network)
    if io == "uint8":
        post_training.float_vectors(network)
    post_training._check_scale(network, io) if precision == "int8" else None
    return flatbuffer.write(network)


def compare(folder: Path, images: Path | None) -> None:
    from skin_edge.benchmarks.stats import metrics
    from skin_edge.benchmarks.stats.calibration import softmax
    from skin_edge.convert.quantize.fold import fold_head
    from skin_edge.convert.quantize.representative import choose_representative
    from skin_edge.convert.settings import ConvertSettings
    from skin_edge.convert.stage import spec_for
    from skin_edge.train.pipeline.batches import inputs_of, load, plain_batches
    from skin_edge.train.runs import run_folder

    run = run_folder.read(folder, images)
    spec = spec_for(run, ConvertSettings(folder, Path()))
    model, codes = run.model(), [label.code for label in run.labels]
    representative = inputs_of(load(list(choose_representative(run, 300)["path"]), spec)[0], spec)
    parts = {part: load(list(run.part(part)["path"]), spec)[0] for part in ("val", "test")}
    network = fold_head(model)
    for precision, calibration, io in (
        ("int8", Calibration(), "uint8"),
        ("int8", Calibration("percentile", 99.99), "uint8"),
        ("w8a16", Calibration(), "float32"),
    ):
        answers: dict[tuple[str, str], Any] = {}
        for name, function in (("TensorFlow", post_training.quantize), ("litert-quantizer", quantize)):
            start = process_time()
            content = function(network, representative, precision=precision, calibration=calibration, io=io)
            line = f"{precision} {calibration.kind} {name}: {process_time() - start:.1f} s, {len(content) / 1e3:.0f} kB"
            interpreter = Interpreter(content, num_threads=2)
            for part, pictures in parts.items():
                step = 1 if precision == "int8" or len(pictures) < 500 else 12  # int16 has slow kernels
                chosen = pictures.take(np.arange(0, len(pictures), step))
                batch = chosen.pixels if io == "uint8" else inputs_of(chosen, spec)[0]
                logits = np.concatenate([interpreter.invoke(one[None])[0] for one in batch])
                answers[name, part] = softmax(logits.astype(np.float64))
                float_answers = model.predict(plain_batches(chosen, spec), verbose=0)
                figures = metrics.evaluate(run.targets(run.part(part))[::step], answers[name, part], codes, bootstrap=0)
                line += (
                    f"; {part}: {metrics.agreement(float_answers, answers[name, part]):.4f} of float's classes, "
                    f"balanced accuracy {figures['balanced_accuracy']:.4f}, macro AUC {figures['macro_auc']:.5f}"
                )
            print(line, flush=True)
        for part in parts:
            theirs, ours = answers["litert-quantizer", part], answers["TensorFlow", part]
            print(
                f"  {part}: the same class for {(theirs.argmax(1) == ours.argmax(1)).sum()} of {len(ours)}", flush=True
            )


if __name__ == "__main__":
    compare(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
