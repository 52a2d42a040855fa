"""Run folders from strangers: nothing in them is executed, and what they claim is bounded before it is believed."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest
import yaml

from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError

from . import miniatures
from .miniatures import one_line

FLAGS = [*miniatures.MOBILENET, "--epochs", "3"]


def archive_of(folder):
    with zipfile.ZipFile(folder / "model.keras") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewritten(folder, target, **members):
    """A copy of a run whose model.keras has other members: `config_json`, `model_weights_h5`; None leaves one out."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("int8*"))
    known = archive_of(folder)
    known |= {{"config_json": "config.json", "model_weights_h5": "model.weights.h5"}[k]: v for k, v in members.items()}
    with zipfile.ZipFile(target / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in known.items():
            if content is not None:
                archive.writestr(name, content)
    return target


def edited(folder, target, edit):
    """A copy of a run in which `edit` has changed the HDF5 file of the weights."""
    content = io.BytesIO(archive_of(folder)["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        edit(file)
    return rewritten(folder, target, model_weights_h5=content.getvalue())


def trap(marker):
    """A layer whose function is `posix.system`, called with a command: Keras' safe mode stops lambdas, not names."""
    return {
        "module": "keras.layers",
        "class_name": "Lambda",
        "registered_name": None,
        "name": "trap",
        "config": {
            "name": "trap",
            "trainable": True,
            "dtype": "float32",
            "function": {
                "module": "posix",
                "class_name": "function",
                "config": "system",
                "registered_name": "system",
            },
            "function_type": "function",
            "module": "posix",
            "output_shape": None,
            "output_shape_type": "raw",
            "output_shape_module": None,
            "arguments": {},
        },
        "inbound_nodes": [[["_CONSTANT_VALUE", -1, f"touch {marker}"]]],
    }


@pytest.fixture
def trapped(tiny_run, tmp_path):
    """(a run whose model.keras names a command, the file that the command would write)."""
    marker = tmp_path / "executed"
    config = json.loads(archive_of(tiny_run)["config.json"])
    config["config"]["layers"].append(trap(marker))
    return rewritten(tiny_run, tmp_path / "run", config_json=json.dumps(config)), marker


def test_the_trap_springs_where_keras_reads_the_description(trapped):
    """Else the tests below would show nothing."""
    from skin_edge.train.engine import keras

    folder, marker = trapped
    with contextlib.suppress(Exception):
        keras.models.load_model(folder / "model.keras", compile=False)
    assert marker.exists()


@pytest.mark.parametrize(
    "command",
    ["convert RUN --int8 --ptq --out OUT", "evaluate RUN RUN/split.csv", "train HAM --out OUT --start RUN SMALL",
     "train HAM --out OUT --teacher RUN SMALL", "train HAM --out RUN SMALL --resume"],
)  # fmt: skip
def test_no_command_runs_what_a_run_names(trapped, ham, tmp_path, capsys, command):
    folder, marker = trapped
    if "--resume" in command:
        (folder / "metrics.json").unlink()
    words = {"RUN": [str(folder)], "RUN/split.csv": [str(folder / "split.csv")], "OUT": [str(tmp_path / "out")],
             "HAM": [str(ham)], "SMALL": [*FLAGS, "--split", str(folder / "split.csv")]}  # fmt: skip
    if "--resume" in command:
        words["SMALL"] = FLAGS
    arguments = [word for one in command.split() for word in words.get(one, [one])]
    if "--start" in command:
        arguments = [word for word in arguments if word not in ("--weights", "none")]
    code = run(arguments)
    assert not marker.exists()
    if "--resume" in command:  # it makes model.keras again
        assert code == 0
    else:
        assert code == 1
        assert "it has 91 layers, the recipe in config.yaml makes 90" in one_line(capsys)


def test_bench_and_debug_quantization_do_not_open_the_network_of_a_run(trapped, tiny_int8, tiny_float32, capsys):
    folder, marker = trapped
    (folder / "int8").mkdir()
    shutil.copy(tiny_int8, folder / "int8" / "model_int8.tflite")
    shutil.copy(tiny_float32, folder / "int8" / "model_float32.tflite")
    model = str(folder / "int8" / "model_int8.tflite")
    assert run(["debug-quantization", model, "--limit", "4"]) == 0
    assert run(["bench", model, "--data", str(folder / "split.csv"), "--num-runs", "1", "--cold-starts", "0"]) == 0
    assert not marker.exists()


def damaged_h5(edit):
    return lambda folder, target: edited(folder, target, edit)


def other_shape(file):
    layer = file["layers/dense/vars"]
    del layer["1"]
    layer["1"] = np.zeros(8, np.float32)


def huge(file):
    layer = file["layers/dense/vars"]
    del layer["0"]
    layer.create_dataset("0", shape=(1 << 20, 1 << 20), dtype="f4")  # 4 TB that take no space


def soft_link(file):
    layer = file["layers/dense/vars"]
    del layer["1"]
    layer["1"] = h5py.SoftLink("/layers/dense/vars/0")


def external_link(file):
    layer = file["layers/dense/vars"]
    del layer["1"]
    layer["1"] = h5py.ExternalLink("/etc/hostname", "/")


def external_storage(file):
    layer = file["layers/dense/vars"]
    del layer["1"]
    layer.create_dataset("1", shape=(7,), dtype="f4", external=[("/etc/passwd", 0, 28)])


def virtual(file):
    layout = h5py.VirtualLayout(shape=(7,), dtype="f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", shape=(7,))
    layer = file["layers/dense/vars"]
    del layer["1"]
    layer.create_virtual_dataset("1", layout)


def large_chunk(file):
    layer = file["layers/dense/vars"]
    shape = layer["0"].shape
    del layer["0"]
    layer.create_dataset("0", shape=shape, dtype="f4", chunks=(1 << 15, 1 << 14), maxshape=(None, None))


def words(file):
    layer = file["layers/dense/vars"]
    del layer["1"]
    layer["1"] = np.array([b"a" * 8] * 7)


def not_finite(file):
    file["layers/dense/vars/1"][0] = np.nan


def missing(file):
    del file["layers/dense"]


def bomb(folder, target):
    return rewritten(folder, target, model_weights_h5=bytes(1 << 28))


def large_description(folder, target):
    return rewritten(folder, target, config_json=b" " * (33 << 20))


def deep_description(folder, target):
    return rewritten(folder, target, config_json=b"[" * 1_000_000)


def renamed_layer(folder, target):
    content = archive_of(folder)["config.json"].replace(b'"conv_dw_3"', b'"conv_dw_4x"')
    return rewritten(folder, target, config_json=content)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (damaged_h5(other_shape), "layer probabilities has an array of 8, the recipe makes 7"),
        (damaged_h5(huge), "has an array of 1048576x1048576, the recipe makes 256x7"),
        (damaged_h5(soft_link), "'1' in it is a link"),
        (damaged_h5(external_link), "'1' in it is a link"),
        (damaged_h5(external_storage), "refers to other files"),
        (damaged_h5(virtual), "refers to other files"),
        (damaged_h5(large_chunk), "takes more bytes than its numbers"),
        (damaged_h5(words), "something other than arrays of numbers"),
        (damaged_h5(not_finite), "layer probabilities has a weight that is not a finite number"),
        (damaged_h5(missing), "has no entry named 'dense'"),
        (bomb, "its model.weights.h5 is larger than the "),
        (large_description, "its config.json is larger than 32 MB"),
        (deep_description, "cannot be loaded: "),
        (renamed_layer, "'conv_dw_4x', the recipe in config.yaml makes DepthwiseConv2D 'conv_dw_3'"),
        (lambda f, t: rewritten(f, t, config_json=None), "cannot be loaded: "),
        (lambda f, t: rewritten(f, t, model_weights_h5=None), "cannot be loaded: "),
        (lambda f, t: rewritten(f, t, model_weights_h5=b"nothing"), "cannot be loaded: "),
        (lambda f, t: rewritten(f, t, config_json=b'{"config": []}'), "cannot be loaded: "),
    ],
)
def test_weights_that_are_not_of_the_recipe_are_refused_in_one_line(tiny_run, tmp_path, make, says):
    from skin_edge.train.runs import run_folder

    folder = make(tiny_run, tmp_path / "run")
    with pytest.raises(DataError) as error:
        run_folder.read(folder).model()
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_members_of_an_archive_are_written_nowhere(tiny_run, tmp_path):
    from skin_edge.train.runs import run_folder

    folder = rewritten(tiny_run, tmp_path / "run")
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr("../../outside", "x")
        archive.writestr("assets/../../outside", "x")
    run_folder.read(folder).model()
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"hidden": [1 << 40]}, "hidden"),
        ({"hidden": [65_536] * 16}, "the head would have"),
        ({"hidden": "many"}, "recipe.hidden must be a list of numbers"),
        ({"image_size": [1 << 20, 32]}, "image_size 1048576 is outside"),
        ({"image_size": [32]}, "recipe.image_size must be"),
        ({"width": 1e9}, "width"),
        ({"backbone": "Lambda"}, "unknown backbone 'Lambda'"),
        ({"backbone": ["x"]}, "recipe.backbone must be a text"),
        ({"dropout": "0.5"}, "recipe.dropout must be a number, not '0.5'"),
        ({"weights": "/etc/passwd"}, None),  # of the start of a training that has ended
        ({"weights": "imagenet"}, None),
    ],
)
def test_what_a_recipe_claims_is_bounded(tiny_run, tmp_path, change, says):
    from skin_edge.train.runs import run_folder

    folder = shutil.copytree(tiny_run, tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["recipe"] |= change
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if says is None:
        run_folder.read(folder).model()
        return
    with pytest.raises(DataError) as error:
        run_folder.read(folder).model()
    assert says in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["!!python/object/apply:os.system ['touch executed']", "a: &a [*a]", "[" * 10_000, "- 1", "", "labels: 3"],
)
def test_a_config_is_data(tiny_run, tmp_path, monkeypatch, content):
    from skin_edge.train.runs import run_folder

    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    (folder / "config.yaml").write_text(content)
    with pytest.raises(DataError, match=r"damaged|not YAML"):
        run_folder.read(folder)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "backbone",
    [
        *("mobilenet", "mobilenetv3small", "cnn4-batchnorm"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("efficientnetb0", "densenet121")),
    ],
)
def test_what_keras_saved_is_read_to_the_bit(tiny_run, tmp_path, backbone):
    """As every run before has been written: by model.save, after other networks of the same process."""
    from dataclasses import replace

    from skin_edge.train.engine import keras
    from skin_edge.train.models import heads
    from skin_edge.train.runs import run_folder

    folder = shutil.copytree(tiny_run, tmp_path / "run")
    begun = run_folder.read(folder)
    width = 0.25 if backbone == "mobilenet" else 1.0
    recipe = replace(begun.recipe, backbone=backbone, width=width, weights="none", hidden=(8,))
    config = replace(begun.config, recipe=recipe).to_dict()
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    heads.classifier(recipe, 7)  # Keras counts on from its names
    saved = heads.classifier(recipe, 7)
    generator = np.random.default_rng(1)
    saved.set_weights([(0.01 * generator.random(array.shape)).astype(array.dtype) for array in saved.get_weights()])
    saved.save(folder / "model.keras")
    before = keras.mixed_precision.global_policy().name
    read = run_folder.read(folder).model()
    assert keras.mixed_precision.global_policy().name == before
    assert [layer.name.rstrip("_0123456789") for layer in read.layers] == [
        layer.name.rstrip("_0123456789") for layer in saved.layers
    ]
    for one, other in zip(read.get_weights(), saved.get_weights(), strict=True):
        assert np.array_equal(one, other)
    pictures = generator.random((2, 32, 32, 3)).astype(np.float32)
    answers = read.predict(pictures, verbose=0)
    assert np.isfinite(answers).all()
    assert np.array_equal(answers, saved.predict(pictures, verbose=0))
