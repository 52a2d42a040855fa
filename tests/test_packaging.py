"""What a user's pip installs."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from skin_edge.benchmarks.bundle import hand_over, micro
from skin_edge.edge_runtime import packaged

ROOT = Path(__file__).parents[1]

# Of the wheel, without the .dist-info folder. Whoever adds a file adds it here, and so sees what ships.
CONTENTS = {
    "edge_runtime": """__init__ __main__ answers archive assessment classifier cli commands console containers contract
        csv_files errors files flatbuffer formats frames heatmap help info interpreter labels limits locks model_file
        named_pictures network network_check operator_names operators packaged patient pictures preprocess
        quantization quiet resize stopping tflite_metadata training_pictures wording""",
    "edge_runtime/bulk": "__init__ answering answers_file batch commands on_dask ordered processes sources watch",
    "benchmarks": "__init__ bench commands diff gate",
    "benchmarks/accuracy": "__init__ answered parity ports preprocessing",
    "benchmarks/bundle": """__init__ answers assessed commands golden hand_over integration micro mistakes pictures
        reading verify""",
    "benchmarks/engines": "__init__ catalogue limits measure options prepare process report verdict",
    "benchmarks/engines/workers": "compiled_model interpreter mediapipe_tasks protocol tflm",
    "benchmarks/inputs": "__init__ cases class_folders classes columns documents locate options",
    "benchmarks/measure": "__init__ caveats latency machine memory picture processes size sustained",
    "benchmarks/micro": "__init__ arena measure npu operators report",
    "benchmarks/report": """__init__ bench_report charts document escapes markdown page refusals_report
        robustness_report sheets terminal""",
    "benchmarks/robustness": "__init__ distortions drawn measure options sheet",
    "benchmarks/stats": """__init__ borderline calibration describe few group_kinds metrics operating_points refusals
        resamples subgroups""",
    "apps": "__init__",
    "apps/serve": "__init__ access answering app commands limits metrics openapi pool run server sign_in tls",
    "apps/web": "__init__ commands icons litert_js site",
    "train": """__init__ api compare cross_validation engine evaluate job plan prepare preflight request streams
        tune""",
    "train/commands": "__init__ data options recipes report train tune",
    "train/data": """__init__ clean contact_sheets duplicates further grouping inspection inventory layout_tables
        layouts leaks named_groups patients seen splits synthetic tables tasks""",
    "train/loop": "__init__ averaging checkpoints distribution fit losses statistics tensorboard",
    "train/models": "__init__ backbones efficientnet_lite heads networks weights",
    "train/pipeline": "__init__ augment batches cache conditions degradation sampling",
    "train/recipes": "__init__ kinds published recipe run_config schedules search_space settings",
    "train/reports": "__init__ compare_views drawn report run_report run_results tune_results",
    "train/runs": "__init__ distillation earlier_runs reading run_folder",
    "convert": """__init__ assessing checks confidence finish job layer_errors quickstart renew settings stage
        strategies""",
    "convert/assess": "__init__ fit head limits outliers",
    "convert/commands": "__init__ convert debug summary",
    "convert/quantize": "__init__ fold heatmap post_training qat representative",
    "convert/tflite": "__init__ answers census contract flatbuffer front tflite_metadata to_tflite",
}
PAGE = """answer.js app.js assessor.js camera.js check-view.js check.js dom.js heat.js index.html model-view.js
    offline.js result.js runtime.js style.css sw.js texts.json verdict.js words.js"""
MODELS = [
    "LICENSE.txt",
    *(path(name).name for name in packaged.there() for path in (packaged.file_of, packaged.card_of)),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_holds_the_list_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licenses = [name for name in archive.namelist() if ".dist-info/licenses/" in name]
    expected = {f"skin_edge/{room}/{name}.py" for room, names in CONTENTS.items() for name in names.split()}
    expected |= {f"skin_edge/edge_runtime/models/{name}" for name in MODELS}
    expected |= {f"skin_edge/{floor}/py.typed" for floor in ("edge_runtime", "benchmarks", "apps")}
    expected |= {"skin_edge/benchmarks/engines/workers/litertjs.mjs"}
    expected |= {f"skin_edge/benchmarks/report/{name}" for name in ("page.html.jinja", "page.css")}
    expected |= {f"skin_edge/apps/web/page/{name}" for name in PAGE.split()}
    expected |= {"skin_edge/docs/contract.md", "skin_edge/docs/contract.schema.json"}  # of `skin-edge bundle`
    expected |= {f"skin_edge/{name}" for name in hand_over.ports()}
    expected |= {f"skin_edge/ports/micro/{name}" for name in micro.sources() if name != "skin_edge.h"}
    unlisted, absent = sorted(names - expected), sorted(expected - names)
    assert not unlisted, "name it in CONTENTS (a module), PAGE or the test, if it is to ship"
    assert not absent, "listed but not in the wheel: a new room is named in setup.cfg, a deleted file nowhere"
    assert len(licenses) == 2


def test_studies_stay_in_the_checkout(wheel):
    """Nothing that is installed may need them either: the import contracts say so."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert (ROOT / "studies").is_dir()
    assert not [name for name in names if "studies" in name.split("/")]


def metadata(wheel):
    """The fields of METADATA, a line each; not the description below them."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return archive.read(path).decode().partition("\n\n")[0].splitlines()


def test_the_wheel_states_both_licenses_and_is_small(wheel):
    """The weights carry HAM10000's terms, the code its own: an SPDX expression that programs read."""
    assert "License-Expression: Apache-2.0 AND CC-BY-NC-4.0" in metadata(wheel)
    assert wheel.stat().st_size < 12e6


def test_the_device_install_is_light(wheel):
    lines = metadata(wheel)
    requirements = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    required = {re.match(r"[\w-]+", line)[0] for line in requirements if "extra ==" not in line}
    assert required == {"click", "pillow", "numpy", "ai-edge-litert", "tflite-runtime"}
    extras = {line.split()[1] for line in lines if line.startswith("Provides-Extra")}
    known = {"heic", "bench", "train", "train-gpu", "micro", "serve", "watch", "parquet", "dask", "fuzz", "dev"}
    assert extras == known


def test_the_version_has_one_source():
    from skin_edge.edge_runtime import __version__

    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["metadata"]["version"] == "attr: skin_edge.edge_runtime.__version__"
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
