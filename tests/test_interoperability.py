"""Other programs answer as skin-edge does from the same file: MediaPipe Tasks and tflite-runtime, each in a virtual
environment of its own, for neither installs beside the project."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skin_edge.convert.renew import renewed
from skin_edge.convert.tflite import flatbuffer
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.model_file import network_length
from skin_edge.edge_runtime.preprocess import to_pixels

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).parent / "interoperability"
MEDIAPIPE = "mediapipe==1.2.2"
TFLITE_RUNTIME = ("tflite-runtime==2.14.0", "numpy<2")


@pytest.fixture(scope="module")
def model():
    return DEFAULT_MODEL


@pytest.fixture(scope="module")
def classifier(model):
    return SkinClassifier(model)


@pytest.fixture(scope="module")
def mediapipe_python(tmp_path_factory):
    return installed(tmp_path_factory.mktemp("mediapipe"), MEDIAPIPE)


@pytest.fixture(scope="module")
def small(data_root, classifier, tmp_path_factory):
    """50 real images over all classes, at the model's size, as uint8 [height, width, 3] and as PNG."""
    folder = tmp_path_factory.mktemp("small")
    arrays, files = [], []
    for path in spread(data_root / "data" / "ham10000", 50):
        arrays.append(to_pixels(path, classifier.input_spec))
        files.append(folder / f"{path.stem}.png")
        Image.fromarray(arrays[-1]).save(files[-1])
    return arrays, files


def test_mediapipe_answers_the_same_for_pictures_of_the_models_size(model, classifier, mediapipe_python, small):
    """The model ends in a float softmax over int8 logits, and softmax knows nothing of what is added to all logits.

    So one quantization step is a step of the int8 logits. The logarithms of two answers differ by the difference of
    their logits plus a constant: half the spread of these differences over the classes is the least largest change of
    a logit that explains the answer. It may be two steps.
    """
    arrays, files = small
    answer = run_script(mediapipe_python, "mediapipe_scores.py", model, files)
    theirs = [[scores[label.code] for label in classifier.labels] for scores in answer["scores"]]
    ours = [classifier.invoke(classifier.to_tensor(array)) for array in arrays]
    difference = compared(ours, theirs, logit_scale(model))
    print(json.dumps({"mediapipe, model's size": difference}))
    assert difference["same_top_class"] == difference["images"] == 50
    assert difference["largest_in_logit_steps"] <= 2


def test_mediapipes_own_schema_reads_the_metadata(model, classifier, mediapipe_python):
    metadata = run_script(mediapipe_python, "mediapipe_scores.py", model, [])["metadata"]
    [subgraph] = metadata["subgraphMetadata"]
    [image] = subgraph["inputTensorMetadata"]
    spec = classifier.input_spec
    assert image["content"]["contentProperties"] == {
        "colorSpace": 1,  # RGB
        "defaultSize": {"width": spec.width, "height": spec.height},
    }
    [normalization] = image["processUnits"]
    assert normalization["options"] == {"mean": list(spec.mean), "std": list(spec.std)}
    assert (image["stats"]["min"], image["stats"]["max"]) == ([0], [255])
    outputs = subgraph["outputTensorMetadata"]
    assert len(outputs) == len(classifier.interpreter.outputs)
    [labels] = outputs[0]["associatedFiles"]
    assert (labels["name"], labels["type"]) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    assert metadata["minParserVersion"] == "1.0.0"
    names = {labels["name"], *(file["name"] for file in metadata["associatedFiles"])}
    assert names == set(zipfile.ZipFile(model).namelist())


def test_mediapipe_mostly_agrees_where_it_decodes_and_resizes_itself(model, classifier, mediapipe_python, data_root):
    """MediaPipe interpolates between the four pixels around each of the network's own and skips all others;
    skin-edge averages over them. The JPEG decoders differ as well, in single bytes."""
    files = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    assert files
    answer = run_script(mediapipe_python, "mediapipe_scores.py", model, files)
    theirs = [[scores[label.code] for label in classifier.labels] for scores in answer["scores"]]
    ours = [classifier.invoke(classifier.to_tensor(to_pixels(file, classifier.input_spec))) for file in files]
    difference = compared(ours, theirs, logit_scale(model))
    print(json.dumps({"mediapipe, full size": difference}))
    assert difference["same_top_class"] >= 0.8 * difference["images"]


def test_mediapipe_agrees_on_a_file_with_a_front_end(mediapipe_python, data_root, tmp_path):
    """MediaPipe's resize to about 480x640 skips nothing that matters, and the front end averages over the rest."""
    split, paths, truth = pd.read_csv(Path(__file__).parents[1] / "docs" / "experiments" / "split.csv"), [], []
    table = pd.read_csv(data_root / "data" / "ham10000" / "HAM10000_metadata.csv").set_index("image_id")
    for path in sorted((data_root / "data" / "ham10000").rglob("*.jpg")):
        if path.stem in set(split.loc[split["split"] == "val", "image_id"].head(150)):
            paths.append(str(path))
            truth.append(table.loc[path.stem, "dx"])
    model = tmp_path / "front.tflite"
    model.write_bytes(renewed(DEFAULT_MODEL, paths, truth, front="auto")[0])
    classifier = SkinClassifier(model)
    files = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    answer = run_script(mediapipe_python, "mediapipe_scores.py", model, files)
    ours = [classifier.predict(file).probabilities for file in files]
    pairs = list(zip(ours, answer["scores"], strict=True))
    same = sum(theirs[max(one, key=lambda code: one[code])] == max(theirs.values()) for one, theirs in pairs)
    changes = [max(abs(one[code] - theirs[code]) for code in one) for one, theirs in pairs]
    found = {"images": len(files), "same": same, "largest": max(changes), "mean": np.mean(changes)}
    print(json.dumps({"mediapipe, front end": found}))
    assert len(files) == 53 and same >= 52 and max(changes) <= 0.06


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="tflite-runtime 2.14.0 is tested with Python 3.11")
@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="tflite-runtime is tested on Linux x86-64"
)
def test_tflite_runtime_answers_the_same(model, classifier, small, tmp_path):
    """One quantization step as for MediaPipe.

    The wheel of tflite-runtime runs quantized networks with TFLite's built-in kernels, LiteRT with XNNPACK's, which
    round otherwise. With the same kernels the answers are the same; between the two kinds a logit moves by more than
    one step in single pictures.
    """
    python = installed(tmp_path / "environment", *TFLITE_RUNTIME)
    tensors = [classifier.to_tensor(array) for array in small[0]]
    files = [tmp_path / f"{number}.npy" for number in range(len(tensors))]
    for file, tensor in zip(files, tensors, strict=True):
        assert tensor.dtype == np.uint8
        np.save(file, tensor)
    theirs = run_script(python, "tflite_runtime_scores.py", model, files)
    scale = logit_scale(model)
    same_kernels = compared(with_builtin_kernels(model, tensors), theirs, scale)
    as_used = compared([classifier.invoke(tensor) for tensor in tensors], theirs, scale)
    print(json.dumps({"tflite-runtime, LiteRT's built-in kernels": same_kernels, "LiteRT as used": as_used}))
    assert same_kernels["same_top_class"] == as_used["same_top_class"] == same_kernels["images"] == 50
    assert same_kernels["largest_in_logit_steps"] <= 1
    assert as_used["largest_in_logit_steps"] <= 3


def with_builtin_kernels(model: Path, tensors) -> list:
    """LiteRT's answers without XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(model), experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    answers = []
    for tensor in tensors:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].copy())
    return answers


def spread(folder: Path, count: int) -> list[Path]:
    """count images of HAM10000: the first of every class by image id, then the second, and so on."""
    table = pd.read_csv(folder / "HAM10000_metadata.csv").sort_values("image_id")
    files = {path.stem: path for path in folder.rglob("*.jpg")}
    table = table[table["image_id"].isin(files)]
    table = table.assign(turn=table.groupby("dx").cumcount()).sort_values(["turn", "dx"]).head(count)
    assert len(table) == count and table["dx"].nunique() == 7
    return [files[image_id] for image_id in table["image_id"]]


def installed(folder: Path, *packages: str) -> Path:
    """The interpreter of a new virtual environment with these packages. Skips where pip cannot get them."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=300)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        pytest.skip(f"pip cannot install {' '.join(packages)}: {last}")
    return python


def run_script(python: Path, script: str, model: Path, files: list[Path]):
    """The JSON that a script of tests/interoperability prints."""
    command = [str(python), str(SCRIPTS / script), str(model), *map(str, files)]
    # In a folder without a package that could be imported instead of the environment's.
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=python.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def logit_scale(model: Path) -> float:
    """One step of the int8 logits, whose dequantized values the softmax takes, in units of the logits."""
    content = model.read_bytes()
    network = flatbuffer.read(content[: network_length(content)])
    graph = network.subgraphs[0]
    operators = {int(op.outputs[0]): op for op in graph.operators}
    names = {
        tensor: flatbuffer.OPERATOR_NAMES[network.operatorCodes[op.opcodeIndex].builtinCode]
        for tensor, op in operators.items()
    }
    [softmax] = [operators[tensor] for tensor, name in names.items() if name == "SOFTMAX"]
    logits = int(softmax.inputs[0])
    assert names[logits] == "DEQUANTIZE"
    return float(graph.tensors[int(operators[logits].inputs[0])].quantization.scale[0])


def compared(ours, theirs, scale: float) -> dict[str, float]:
    """Two lists of probabilities [images, classes] of a softmax over logits with this quantization step."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    logs = np.log(a) - np.log(b)
    steps = (logs.max(axis=1) - logs.min(axis=1)) / 2 / scale
    changes = np.abs(a - b).max(axis=1)
    return {
        "images": len(a),
        "same_top_class": int((a.argmax(axis=1) == b.argmax(axis=1)).sum()),
        "mean_of_largest_probability_difference": float(changes.mean()),
        "largest_probability_difference": float(changes.max()),
        "identical_answers": int((changes == 0).sum()),
        "largest_in_logit_steps": float(steps.max()),
    }
