from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from . import miniatures

GOLDEN = Path(__file__).parent / "golden"

# A shell starts its background jobs with Ctrl-C ignored, and what the tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root():
    """The folder of real images and weights that SKIN_EDGE_DATA names."""
    if not os.environ.get("SKIN_EDGE_DATA"):
        pytest.skip("SKIN_EDGE_DATA is not set: it names a folder with data/ham10000, data/fullsize and pretrained/")
    return Path(os.environ["SKIN_EDGE_DATA"]).resolve()


@pytest.fixture(scope="session")
def tiny_int8():
    """A valid int8 model file that tells the colours of `miniatures` apart; see golden/make_tiny_models.py."""
    return GOLDEN / "tiny_int8.tflite"


@pytest.fixture(scope="session")
def tiny_int8_v1():
    """The network of `tiny_int8` in a file of format_version 1."""
    return GOLDEN / "tiny_int8_v1.tflite"


@pytest.fixture(scope="session")
def tiny_float32():
    """The float baseline of `tiny_int8`."""
    return GOLDEN / "tiny_float32.tflite"


@pytest.fixture
def picture(tmp_path):
    """Makes a small JPEG of a class: picture("mel", seed=3, name="a/b.jpg") -> its path under tmp_path."""

    def make(code="nv", seed=0, name="picture.jpg", size=(60, 45)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        miniatures.picture(code, seed, size).save(path, "JPEG")
        return path

    return make


@pytest.fixture(scope="session")
def ham(tmp_path_factory):
    """63 small pictures in HAM10000's Kaggle layout."""
    return miniatures.ham10000(tmp_path_factory.mktemp("data") / "ham")


@pytest.fixture(scope="session")
def handover(tmp_path_factory):
    """The folder that `skin-edge bundle` makes of the packaged model."""
    from skin_edge.edge_runtime.cli import run

    folder = tmp_path_factory.mktemp("bundle") / "handover"
    assert run(["bundle", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="session")
def tiny_run(ham, tmp_path_factory):
    """A finished run of `skin-edge train` on `ham`: three epochs of the smallest MobileNet."""
    from skin_edge.edge_runtime.cli import run

    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run(["train", str(ham), "--out", str(folder), *miniatures.MOBILENET, "--epochs", "3"]) == 0
    return folder


@pytest.fixture(scope="session")
def learned_run(tmp_path_factory):
    """A finished run that has learned its colours: what is converted should not be noise."""
    from skin_edge.edge_runtime.cli import run

    folder = tmp_path_factory.mktemp("learned")
    data = miniatures.ham10000(folder / "ham", lesions=16)
    flags = ["--recipe", "quickstart", "--image-size", "32", "--batch-size", "8", "--epochs", "15"]
    assert run(["train", str(data), "--out", str(folder / "run"), *flags, "--learning-rate", "0.005"]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def measured_run(tmp_path_factory):
    """A run folder whose answers were drawn instead of trained: all that `train` writes but the model, in a second."""
    folder = tmp_path_factory.mktemp("measured")
    return miniatures.measured(folder / "run", miniatures.ham10000(folder / "ham", lesions=16))


@pytest.fixture(scope="session")
def ungrouped_run(tmp_path_factory):
    """The same of class folders, which name no lesions: near-duplicates joined two test pictures all the same."""
    folder = tmp_path_factory.mktemp("ungrouped")
    data = miniatures.class_folders(folder / "data", 24, tuple(miniatures.COLOURS))
    return miniatures.measured(folder / "run", data, near_duplicates=2)
