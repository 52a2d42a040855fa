"""What is used of TensorFlow and its kin although they do not promise it: NAMES, which docs/architecture.md lists.

Private here: with a leading underscore, in a module that is not for users, or called experimental. Where a version has
lost one, the test says which, of what, and what then breaks.
"""

from __future__ import annotations

import ast
import configparser
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("edge_runtime", "benchmarks", "apps", "train", "convert", "studies")


@dataclass(frozen=True)
class Private:
    """A name that its makers may take away.

    package: as pip calls it. name: the module and what is in it. purpose: what would break, for the message and the
    table in docs/architecture.md. look: finds it, or raises AttributeError, ImportError or AssertionError. spelled: how
    the code names it, where that is not the last part of `name`.
    """

    package: str
    name: str
    purpose: str
    look: Callable[[], Any]
    spelled: tuple[str, ...] = ()

    @property
    def tokens(self) -> set[str]:
        return {self.name.rpartition(".")[2], *self.spelled}


def in_module(module: str, *path: str) -> Callable[[], Any]:
    def look() -> Any:
        found = import_module(module)
        for name in path:
            found = getattr(found, name)
        return found

    return look


def takes(look: Callable[[], Any], *parameters: str) -> Callable[[], None]:
    """Whether what `look` finds is a callable with these parameters."""

    def check() -> None:
        missing = set(parameters) - set(inspect.signature(look()).parameters)
        assert not missing, f"no parameter {', '.join(sorted(missing))}"

    return check


@cache
def keras() -> Any:
    from skin_edge.train.engine import keras

    return keras


@cache
def dense() -> Any:
    """A tiny network: an input, a dense layer that computes."""
    source = keras().Input((2,))
    return keras().Model(source, keras().layers.Dense(2)(source))


def generator() -> Any:
    made = keras().layers.Dropout(0.5)._random_generator
    made._maybe_init()
    return type(made)(rng_type="stateful")


def started_generator() -> Any:
    made = generator()
    made._maybe_init()
    return made._generator.reset_from_seed


def wrapped_weights() -> None:
    import tensorflow_model_optimization as tfmot

    network = keras().models.clone_model(dense(), clone_function=tfmot.quantization.keras.quantize_annotate_layer)
    layer = tfmot.quantization.keras.quantize_apply(network).layers[-1]
    ((_, quantizer, ranges),) = layer._weight_vars
    assert callable(quantizer) and {"min_var", "max_var"} <= set(ranges)


def calibrator() -> Any:
    from skin_edge.convert.tflite.to_tflite import float32_tflite

    return import_module("tensorflow.lite.python.optimize.calibrator").Calibrator(float32_tflite(dense()))._calibrator


def calibrate_only() -> None:
    from skin_edge.convert.tflite.to_tflite import converter_of

    # Setting an attribute that nobody reads would go unnoticed: the file would come out quantized, without the ranges.
    assert converter_of(dense())._experimental_calibrate_only is False


TF, KERAS, TFMOT, LITERT = "tensorflow", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert"
NO_OP = "tensorflow_model_optimization.python.core.quantization.keras.default_8bit.default_8bit_quantize_configs"
INTERPRETER = "ai_edge_litert.interpreter"

NAMES = (
    Private(
        TF,
        "tensorflow.lite.python.convert.mlir_quantize",
        "post-training quantization with ranges of our own",
        takes(
            in_module("tensorflow.lite.python.convert", "mlir_quantize"),
            *("input_data_type", "output_data_type", "denylisted_nodes"),
        ),
        ("tensorflow.lite.python",),
    ),
    Private(
        TF,
        "tensorflow.lite.python.optimize.calibrator.Calibrator._calibrator",
        "the same for int16 activations (w8a16)",
        lambda: calibrator().QuantizeModel,
        ("tensorflow.lite.python.optimize.calibrator",),
    ),
    Private(
        TF,
        "tensorflow.lite.TFLiteConverter._experimental_calibrate_only",
        "a float network that carries its ranges",
        calibrate_only,
    ),
    Private(
        TF,
        "tensorflow.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8",
        "w8a16",
        in_module("tensorflow", "lite", "OpsSet", "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"),
    ),
    Private(
        TF,
        "tensorflow.lite.python.interpreter.Interpreter",
        "the interpreter where neither ai-edge-litert nor tflite-runtime is there",
        in_module("tensorflow.lite.python.interpreter", "Interpreter"),
        ("tensorflow.lite.python.interpreter",),
    ),
    Private(
        TF,
        "tensorflow.config.experimental.enable_op_determinism",
        "a resumed training that repeats the one that was never killed",
        in_module("tensorflow", "config", "experimental", "enable_op_determinism"),
        ("experimental",),
    ),
    Private(
        TF,
        "tensorflow.distribute.Strategy.experimental_local_results",
        "training on several devices",
        in_module("tensorflow", "distribute", "Strategy", "experimental_local_results"),
    ),
    Private(
        KERAS,
        "tf_keras.layers.Dropout._random_generator",
        "dropout that follows from seed and epoch",
        generator,
    ),
    Private(
        KERAS,
        "tf_keras.backend.RandomGenerator._maybe_init",
        "the same, in networks that come with TensorFlow's global generator",
        lambda: generator()._maybe_init,
    ),
    Private(
        KERAS,
        "tf_keras.backend.RandomGenerator._generator",
        "the same: the seed is set before every epoch",
        started_generator,
    ),
    Private(
        KERAS,
        "tf_keras.layers.Layer._trainable_weights",
        "reading a run's model.keras without executing it",
        lambda: dense().layers[-1]._trainable_weights[1],
    ),
    Private(
        KERAS,
        "tf_keras.layers.Layer._non_trainable_weights",
        "the same",
        lambda: dense().layers[-1]._non_trainable_weights,
    ),
    Private(
        KERAS,
        "tf_keras.Model.output._keras_history",
        "folding the head, keeping layers in float, depthwise kernels in quantization-aware training",
        lambda: dense().output._keras_history.layer.name,
    ),
    Private(
        TFMOT,
        "tensorflow_model_optimization.quantization.keras.QuantizeWrapperV2._weight_vars",
        "channels without weights, and the class activation map in quantization-aware training",
        wrapped_weights,
    ),
    Private(
        TFMOT,
        f"{NO_OP}.NoOpQuantizeConfig",
        "BatchNormalization that is folded in quantization-aware training",
        in_module(NO_OP, "NoOpQuantizeConfig"),
        (NO_OP.rpartition(".")[0],),
    ),
    Private(
        LITERT,
        "ai_edge_litert.schema_py_generated.ModelT",
        "every edit of a .tflite",
        in_module("ai_edge_litert.schema_py_generated", "ModelT", "InitFromPackedBuf"),
        ("schema_py_generated",),
    ),
    *(
        Private(
            LITERT,
            f"{INTERPRETER}.Interpreter({name})",
            purpose,
            takes(in_module(INTERPRETER, "Interpreter"), name),
            (name,),
        )
        for name, purpose in (
            ("experimental_op_resolver_type", "`--delegate none`, and values between layers"),
            ("experimental_preserve_all_tensors", "percentiles, and the error layer by layer"),
            ("experimental_delegates", "`--delegate FILE`"),
        )
    ),
    Private(
        LITERT,
        f"{INTERPRETER}.Interpreter._get_ops_details",
        "which operators a delegate took (`bench --engine`)",
        in_module(INTERPRETER, "Interpreter", "_get_ops_details"),
    ),
    Private(
        "waitress",
        "waitress.create_server(_dispatcher)",
        "each classifier of `serve` has one thread, which takes its own next request",
        takes(in_module("waitress", "create_server"), "_dispatcher"),
        ("_dispatcher",),
    ),
)


@pytest.mark.parametrize("private", NAMES, ids=lambda private: private.name)
def test_a_private_name_is_there(private):
    try:
        private.look()
    except (AttributeError, ImportError, AssertionError, TypeError, ValueError) as error:
        pytest.fail(
            f"{private.package} {version(private.package)} no longer has {private.name} as it was ({error}), which is "
            f"used for: {private.purpose}"
        )


def test_the_message_when_one_is_gone(monkeypatch):
    gone = Private(TF, "tensorflow.lite.python.convert.gone", "an example", in_module("tensorflow", "lite", "gone"))
    with pytest.raises(
        pytest.fail.Exception, match=r"tensorflow 2\.\d+\.\d+ no longer has .*gone.*used for: an example"
    ):
        test_a_private_name_is_there(gone)


_PRIVATE_TEXT = r"experimental_\w+|_\w+_vars|(tensorflow|tf_keras)(\.\w+)+"


def foreign_names(tree: ast.Module, own: set[str]) -> Iterator[tuple[int, str]]:
    """(line, name) of what is private and not in `own`: `x._name`, `import package.python.y`, `experimental_z`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = node.attr
            private = name.startswith("_") and not name.startswith("__") and name not in own
            of_itself = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if (private and not of_itself) or re.fullmatch("(?i)experimental(_.+)?", name):
                yield node.lineno, name
        elif isinstance(node, ast.keyword) and (node.arg or "").startswith(("_", "experimental")):
            yield node.value.lineno, str(node.arg)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            documented = node.module.split(".")[0] in ("mediapipe", "tflite_micro")  # their users import so
            if {"python", "src"} & set(node.module.split(".")) and not documented:
                yield node.lineno, node.module
            yield from ((node.lineno, one.name) for one in node.names if one.name in ("schema_py_generated",))
        elif isinstance(node, ast.Constant) and re.fullmatch(_PRIVATE_TEXT, str(node.value)):
            yield node.lineno, str(node.value)


def test_no_other_private_name_is_used():
    # Named tuples' methods; Pillow's and MediaPipe's are not about these packages.
    own = {"_asdict", "_replace", "_fields", "_exif"}
    files = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py") if "peer_scripts" not in path.parts]
    used = {
        name: f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line, name in foreign_names(ast.parse(path.read_text()), own)
    }
    listed = set().union(*(private.tokens for private in NAMES))
    assert {name: where for name, where in used.items() if name not in listed} == {}
    idle = [private.name for private in NAMES if not private.tokens & set(used)]
    assert idle == [], "in NAMES but used nowhere"


def test_architecture_lists_them_all():
    text = (ROOT / "docs" / "architecture.md").read_text()
    section = text.partition("## Private names")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([\w-]+) \| (.+) \|$", section, re.M)
    assert rows == [(private.name, private.package, private.purpose) for private in NAMES]


def test_packages_with_private_names_have_both_bounds():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lines = "\n".join(
        [config["options"]["install_requires"], extras["train"], extras["train-gpu"], extras["serve"]]
    ).splitlines()
    for package in {private.package for private in NAMES}:
        found = [line for line in lines if re.match(rf"{package}(\[[\w-]+\])?[<>=!~ ]", line)]
        assert found, package
        assert all(">=" in line and ",<" in line for line in found), found
