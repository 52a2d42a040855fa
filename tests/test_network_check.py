"""What a network must be before LiteRT sees it: every case here once ended, hung or filled the process."""

from __future__ import annotations

import numpy as np
import pytest

from skin_edge.convert.tflite import flatbuffer
from skin_edge.edge_runtime import ModelFileError
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.model_file import network_length
from skin_edge.edge_runtime.network import Network
from skin_edge.edge_runtime.network_check import MAX_MEMORY, check

schema = flatbuffer.schema


@pytest.fixture
def edited(tiny_int8):
    """The tiny network after `change(model, graph)`, as bytes."""

    def edit(change):
        content = tiny_int8.read_bytes()
        model = flatbuffer.read(content[: network_length(content)])
        change(model, model.subgraphs[0])
        return flatbuffer.write(model)

    return edit


def ints(*values):
    return np.array(values, np.int32)


def operator(model, graph, code, inputs, outputs, options=None, before=0):
    """Adds an operator; options: of the schema's, such as LocalResponseNormalizationOptionsT."""
    kind = schema.OperatorCodeT()
    kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), 1
    model.operatorCodes.append(kind)
    entry = schema.OperatorT()
    entry.opcodeIndex, entry.inputs, entry.outputs = len(model.operatorCodes) - 1, ints(*inputs), ints(*outputs)
    if options is not None:
        entry.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        entry.builtinOptions = options
    graph.operators.insert(before, entry)


def tensor(model, graph, shape, dtype="FLOAT32", values=None):
    """Adds a tensor and returns its position."""
    made = schema.TensorT()
    made.shape, made.type, made.name = ints(*shape), getattr(schema.TensorType, dtype), b"made"
    made.buffer = len(model.buffers)
    buffer = schema.BufferT()
    if values is not None:
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    graph.tensors.append(made)
    return len(graph.tensors) - 1


def with_options(**changes):
    def change(model, graph):
        for name, value in changes.items():
            found = [op.builtinOptions for op in graph.operators if hasattr(op.builtinOptions, name)]
            setattr(found[0], name, value)

    return change


def weights_left_out(model, graph):
    conv = graph.operators[1]
    conv.inputs = ints(conv.inputs[0], -1, conv.inputs[2])


def bias_left_out(model, graph):
    conv = graph.operators[1]
    conv.inputs = ints(*conv.inputs[:2], -1)


def input_that_is_not_there(model, graph):
    graph.operators[1].inputs = ints(len(graph.tensors), *graph.operators[1].inputs[1:])


def output_left_out(model, graph):
    graph.operators[1].outputs = ints(-1)


def answer_that_nobody_writes(model, graph):
    graph.operators.pop()


def wrong_order(model, graph):
    graph.operators[1], graph.operators[2] = graph.operators[2], graph.operators[1]


def written_twice(model, graph):
    graph.operators.insert(1, graph.operators[1])


def weights_written(model, graph):
    graph.operators[1].outputs = ints(graph.operators[1].inputs[1])


def other_shape(model, graph):
    answer = graph.tensors[graph.operators[1].outputs[0]]
    answer.shape, answer.shapeSignature = ints(1, 31, 32, 8), None


def below_zero(model, graph):
    graph.tensors[graph.operators[1].outputs[0]].shape = ints(1, -5, 32, 8)


def many_lengths(model, graph):
    graph.tensors[graph.inputs[0]].shapeSignature = np.ones(9, np.int32)


def two_shapes(model, graph):
    graph.tensors[graph.inputs[0]].shapeSignature = ints(1, 32, 33, 3)


def zero_point_outside(model, graph):
    graph.tensors[graph.operators[1].outputs[0]].quantization.zeroPoint = np.array([2**31 - 1], np.int64)


def scale_of_nothing(model, graph):
    graph.tensors[graph.operators[1].outputs[0]].quantization.scale = np.array([1e-44], np.float32)


def without_a_scale(model, graph):
    graph.tensors[graph.operators[1].outputs[0]].quantization = None


def no_subgraphs(model, graph):
    model.subgraphs = []


def two_subgraphs(model, graph):
    model.subgraphs.append(graph)


def calls_itself(model, graph):
    options = schema.WhileOptionsT()
    options.condSubgraphIndex = options.bodySubgraphIndex = 0
    out = tensor(model, graph, (1, 32, 32, 3), "UINT8")
    operator(model, graph, schema.BuiltinOperator.WHILE, graph.inputs, [out], options)


def radius_of_a_billion(model, graph):
    options = schema.LocalResponseNormalizationOptionsT()
    options.radius = 2**30
    source, target = tensor(model, graph, (1, 4), values=np.ones(4, np.float32)), tensor(model, graph, (1, 4))
    operator(model, graph, schema.BuiltinOperator.LOCAL_RESPONSE_NORMALIZATION, [source], [target], options)


def split_into_nothing(model, graph):
    axis = tensor(model, graph, (), "INT32", ints(3))
    options = schema.SplitOptionsT()
    options.numSplits = 0
    operator(model, graph, schema.BuiltinOperator.SPLIT, [axis, graph.inputs[0]], [], options)


def grows_while_it_runs(model, graph):
    times = tensor(model, graph, (4,), "INT32", ints(1, 1000, 1000, 1))
    target = tensor(model, graph, (1, 32, 32, 3), "UINT8")
    operator(model, graph, schema.BuiltinOperator.TILE, [graph.inputs[0], times], [target], schema.TileOptionsT())


def padded_to_gigabytes(model, graph):
    source = tensor(model, graph, (1, 1, 1, 3), values=np.ones(3, np.float32))
    sides = tensor(model, graph, (2,), "INT32", ints(4096, 4096))
    found = []
    for _ in range(5):
        found.append(tensor(model, graph, (1, 4096, 4096, 3)))
        options = schema.ResizeBilinearOptionsT()
        operator(model, graph, schema.BuiltinOperator.RESIZE_BILINEAR, [source, sides], [found[-1]], options)
    joined = tensor(model, graph, (1, 4096, 4096, 15))
    options = schema.ConcatenationOptionsT()
    options.axis = 3
    operator(model, graph, schema.BuiltinOperator.CONCATENATION, found, [joined], options, before=5)


def asked_of_a_window(model, graph):
    """49 billion multiply-accumulates in a file of kilobytes."""
    shape = (1, 1024, 1024, 3)
    source = tensor(model, graph, shape)
    options = schema.Pool2DOptionsT()
    options.padding, options.strideW, options.strideH, options.filterWidth, options.filterHeight = 0, 1, 1, 999, 999
    pixel = tensor(model, graph, (1, 1, 1, 3), values=np.ones(3, np.float32))
    sides = tensor(model, graph, (2,), "INT32", ints(1024, 1024))
    operator(
        model, graph, schema.BuiltinOperator.RESIZE_BILINEAR, [pixel, sides], [source], schema.ResizeBilinearOptionsT()
    )
    operator(
        model, graph, schema.BuiltinOperator.MAX_POOL_2D, [source], [tensor(model, graph, shape)], options, before=1
    )


def sparse(model, graph):
    graph.tensors[graph.operators[1].inputs[1]].sparsity = schema.SparsityParametersT()


def variable(model, graph):
    graph.tensors[graph.operators[1].outputs[0]].isVariable = True


def weights_elsewhere(model, graph):
    model.buffers[3].offset, model.buffers[3].size = 2**40, 2**40


def weights_cut(model, graph):
    buffer = model.buffers[graph.tensors[graph.operators[1].inputs[1]].buffer]
    buffer.data = buffer.data[:-1]


def controlled(model, graph):
    model.metadata[0].name = "model_control_dependencies"


def options_of_another(model, graph):
    graph.operators[1].builtinOptionsType = schema.BuiltinOptions.AddOptions
    graph.operators[1].builtinOptions = schema.AddOptionsT()


def custom(model, graph):
    code = model.operatorCodes[graph.operators[1].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = "TFLite_Detection_PostProcess"


def million_classes(model, graph):
    """Of one pixel, in a few hundred bytes."""
    sides = tensor(model, graph, (2,), "INT32", ints(4096, 4096))
    pixel = tensor(model, graph, (1, 1, 1, 20), values=np.ones(20, np.float32))
    large = tensor(model, graph, (1, 4096, 4096, 20))
    operator(
        model, graph, schema.BuiltinOperator.RESIZE_BILINEAR, [pixel, sides], [large], schema.ResizeBilinearOptionsT()
    )


def many_small_matrices(model, graph):
    """65 MB of tensors, 2 GiB as a matrix product packs them."""
    found = []
    for shape in ((256, 1024, 1, 31), (256, 1024, 31, 1)):
        pixel = tensor(model, graph, (256, 1, 1, shape[3]), values=np.ones(256 * shape[3], np.float32))
        sides = tensor(model, graph, (2,), "INT32", ints(*shape[1:3]))
        found.append(tensor(model, graph, shape))
        options = schema.ResizeBilinearOptionsT()
        operator(model, graph, schema.BuiltinOperator.RESIZE_BILINEAR, [pixel, sides], [found[-1]], options)
    product = tensor(model, graph, (256, 1024, 1, 1))
    operator(
        model, graph, schema.BuiltinOperator.BATCH_MATMUL, found, [product], schema.BatchMatMulOptionsT(), before=2
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale_of_nothing, "scale"),
        (without_a_scale, "integers without a scale"),
        (weights_left_out, "CONV_2D, takes int8 - int32"),
        (input_that_is_not_there, "does not exist"),
        (output_left_out, "does not exist"),
        (answer_that_nobody_writes, "no operator"),
        (wrong_order, "does not exist"),
        (written_twice, "exists already"),
        (weights_written, "exists already"),
        (other_shape, r"makes \[.*\], but the file says \[1, 31, 32, 8\]"),
        (below_zero, "shape"),
        (many_lengths, "two shapes"),
        (two_shapes, "two shapes"),
        (zero_point_outside, "zero point"),
        (no_subgraphs, "0 subgraphs"),
        (two_subgraphs, "2 subgraphs"),
        (calls_itself, "WHILE, is not one that image classifiers need"),
        (radius_of_a_billion, "LOCAL_RESPONSE_NORMALIZATION, is not one"),
        (grows_while_it_runs, "TILE, is not one"),
        (split_into_nothing, "SPLIT, takes|outputs that do not fit"),
        (custom, "CUSTOM TFLite_Detection_PostProcess, is not one"),
        (padded_to_gigabytes, "MiB of memory, over the limit of 768 MiB"),
        (million_classes, "MiB of memory, over the limit"),
        (many_small_matrices, "MiB of memory, over the limit"),
        (asked_of_a_window, "multiply-accumulates, over the limit"),
        (sparse, "sparse"),
        (variable, "variables"),
        (weights_elsewhere, "outside of the flatbuffer"),
        (weights_cut, "not as many as its shape says"),
        (controlled, "control dependencies"),
        (options_of_another, "options of another kind"),
        (with_options(strideH=0), "a stride of 0"),
        (with_options(strideW=-1), "a stride of -1"),
        (with_options(dilationHFactor=0), "a dilation of 0"),
        (with_options(padding=7), "an unknown padding, 7"),
        (with_options(fusedActivationFunction=4), "an unknown activation, 4"),
        (with_options(weightsFormat=1), "shuffled"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_networks_that_litert_would_die_of_are_refused(change, message, edited):
    content = edited(change)
    with pytest.raises(ModelFileError, match=message) as caught:
        Network(content).check()
    assert "\n" not in str(caught.value)


def test_good_networks_pass(edited, tiny_int8, tiny_int8_v1, tiny_float32):
    for path in (tiny_int8, tiny_int8_v1, tiny_float32, DEFAULT_MODEL):
        content = path.read_bytes()
        Network(content[: network_length(content)]).check()
    Network(edited(bias_left_out)).check()


def test_a_name_that_is_no_utf8(edited):
    content = edited(lambda model, graph: setattr(graph.tensors[2], "name", b"na\xffme"))
    with pytest.raises(ModelFileError, match="not UTF-8"):
        check(content)


def test_a_depth_multiplier_of_nothing():
    content = DEFAULT_MODEL.read_bytes()
    model = flatbuffer.read(content[: network_length(content)])
    with_options(depthMultiplier=0)(model, model.subgraphs[0])
    with pytest.raises(ModelFileError, match="a depth multiplier of 0"):
        check(flatbuffer.write(model))


def test_tables_that_share_their_bytes():
    """A vector may refer to one tensor ten thousand times: a file of kilobytes, work for megabytes."""
    import flatbuffers

    builder = flatbuffers.Builder(0)
    shape = builder.CreateNumpyVector(ints(*[1] * 8))
    schema.TensorStart(builder)
    schema.TensorAddShape(builder, shape)
    aliased = schema.TensorEnd(builder)
    schema.SubGraphStartTensorsVector(builder, 10_000)
    for _ in range(10_000):
        builder.PrependUOffsetTRelative(aliased)
    tensors = builder.EndVector()
    schema.BufferStart(builder)
    buffer = schema.BufferEnd(builder)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    vectors = []
    for entry in (graph, buffer):
        builder.StartVector(4, 1, 4)
        builder.PrependUOffsetTRelative(entry)
        vectors.append(builder.EndVector())
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, vectors[0])
    schema.ModelAddBuffers(builder, vectors[1])
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    with pytest.raises(ModelFileError, match="overlap"):
        check(bytes(builder.Output()))


def test_what_is_understood_costs_milliseconds():
    from time import perf_counter

    content = DEFAULT_MODEL.read_bytes()
    network = memoryview(content)[: network_length(content)]
    times = []
    for _ in range(5):
        start = perf_counter()
        check(network)
        times.append(perf_counter() - start)
    assert min(times) < 0.02
    assert MAX_MEMORY == 768 * 2**20


def test_a_network_for_any_number_of_pictures():
    """Its converter leaves the shapes to the run: SHAPE, STRIDED_SLICE and PACK in front of RESHAPE."""
    from skin_edge.edge_runtime.quiet import quiet
    from skin_edge.train.engine import keras, tf

    image = keras.Input((16, 16, 3))
    x = keras.layers.Reshape((1, 1, 3))(keras.layers.GlobalAveragePooling2D()(image))
    x = keras.layers.Reshape((5,))(keras.layers.Conv2D(5, 1)(x))
    model = keras.Model(image, keras.layers.Softmax()(x))
    with quiet():
        content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    assert {"SHAPE", "PACK"} <= {operator.name for operator in Network(content).operators}
    check(content)
