from __future__ import annotations

import copy
import io
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks.accuracy import parity
from skin_edge.benchmarks.bench import BenchSettings, run_bench
from skin_edge.benchmarks.inputs.cases import Case, read_cases
from skin_edge.benchmarks.measure import latency, machine, memory
from skin_edge.benchmarks.measure.picture import generated_picture, read_picture
from skin_edge.benchmarks.measure.size import measure_size
from skin_edge.benchmarks.report import bench_report
from skin_edge.benchmarks.report.markdown import markdown
from skin_edge.edge_runtime import model_file
from skin_edge.edge_runtime.classifier import DISCLAIMER, SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, ImageError

from . import miniatures

QUICK = ["--num-runs", "3", "--warmup-runs", "1", "--cold-starts", "0"]
CODES = tuple(miniatures.COLOURS)


def bench(*arguments):
    return run(["bench", *map(str, arguments)])


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Five pictures of every class."""
    return miniatures.class_folders(tmp_path_factory.mktemp("folders"), 5, CODES)


def relabelled(source, target, codes, precision="float32"):
    """A copy of a model file whose outputs carry other labels."""
    labels = [{"code": code, "name": code, "malignant": None} for code in codes]
    return miniatures.resealed(source, target, lambda contract: contract.update(labels=labels, precision=precision))


@pytest.fixture
def swapped(tiny_float32, tmp_path):
    """The float baseline with mel and nv exchanged."""
    exchange = {"mel": "nv", "nv": "mel"}
    return relabelled(tiny_float32, tmp_path / "swapped.tflite", [exchange.get(code, code) for code in CODES])


def test_the_table_without_data(tiny_int8, capsys):
    assert bench(tiny_int8, *QUICK) == 0
    out = capsys.readouterr().out
    assert "(no --data), so accuracy was not measured" in " ".join(out.split())
    assert "600x450 JPEG" in out and "generated" in out
    assert out.endswith(DISCLAIMER + "\n")
    assert max(map(len, out.splitlines())) <= 80


def test_the_json_without_data(tiny_int8, tiny_float32, tmp_path, capsys):
    written = tmp_path / "new" / "bench.json"
    arguments = [tiny_int8, "--reference", tiny_float32, *QUICK, "--num-threads", 2, "--json", "--result-json", written]
    assert bench(*arguments) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert json.loads(written.read_text()) == result
    assert captured.err.endswith(DISCLAIMER + "\n")
    wanted = {"init_ms", "warmup_first_ms", "avg_ms", "median_ms", "std_ms", "p5_ms", "p90_ms", "p95_ms", "p99_ms"}
    wanted |= {"stages", "num_runs", "warmup_runs", "num_threads", "image", "image_source", "runs_ms"}
    for measured in (result, result["reference"]):
        timings = measured["latency"]
        assert set(timings) == wanted
        assert timings["p99_ms"] is None
        assert (timings["num_runs"], timings["warmup_runs"], timings["num_threads"]) == (3, 1, 2)
        assert set(timings["stages"]) == {"decode", "preprocess", "invoke"}
        means = [stage["avg_ms"] for stage in timings["stages"].values()]
        assert timings["avg_ms"] == pytest.approx(sum(means)) and min(means) > 0
        assert measured["size"]["file_bytes"] == sum(
            measured["size"][key] for key in ("network_bytes", "archive_bytes")
        )
    assert result["size"]["file_bytes"] == tiny_int8.stat().st_size
    assert result["ratios"]["file_bytes"] == tiny_int8.stat().st_size / tiny_float32.stat().st_size
    assert result["model"]["precision"] == "int8" and result["reference"]["model"]["precision"] == "float32"
    assert result["memory"]["measured"] == "in a process of its own"
    assert 5e6 < result["memory"]["peak_bytes"] < 1e9
    assert result["accuracy"] is result["data"] is None


def test_size_tells_network_from_archive(tiny_int8, tmp_path):
    size = measure_size(tiny_int8)
    network = tiny_int8.read_bytes()[: size["network_bytes"]]
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(network)
    assert measure_size(bare) == {"file_bytes": len(network), "network_bytes": len(network), "archive_bytes": 0}
    files = dict.fromkeys(("labels.txt", "metadata.json"), "x" * 100)
    assert model_file.with_archive(network, files).startswith(network + b"PK")


def test_p99_needs_200_runs():
    assert latency.summarize(range(199))["p99_ms"] is None
    assert latency.summarize(range(201)) == pytest.approx(
        {
            "median_ms": 100,
            "avg_ms": 100,
            "std_ms": np.std(range(201), ddof=1),
            "p5_ms": 10,
            "p90_ms": 180,
            "p95_ms": 190,
            "p99_ms": 198,
        }
    )
    assert latency.summarize([4.0])["std_ms"] == 0


def test_warm_up_runs_are_not_among_the_timed_ones(tiny_int8, monkeypatch):
    ticks = iter(range(10_000))
    calls = []
    monkeypatch.setattr(latency, "perf_counter", lambda: next(ticks) ** 2 / 1000)  # every run takes longer
    classifier = SkinClassifier(tiny_int8)
    invoke = classifier.invoke
    monkeypatch.setattr(classifier, "invoke", lambda tensor: calls.append(1) or invoke(tensor))
    measured = latency.measure_latency(classifier, generated_picture().content, num_runs=2, warmup_runs=1)
    assert len(calls) == 3
    # Four ticks a run: 0, 1, 4, 9 then 16, 25, 36, 49 then 64, 81, 100, 121.
    assert measured["warmup_first_ms"] == pytest.approx(9)
    assert measured["median_ms"] == pytest.approx((33 + 57) / 2)
    assert measured["stages"]["decode"]["median_ms"] == pytest.approx((9 + 17) / 2)
    without = latency.measure_latency(classifier, generated_picture().content, num_runs=1, warmup_runs=0)
    assert without["warmup_first_ms"] is None


def test_the_image_that_is_timed(tiny_int8, folders, picture):
    given = picture(size=(80, 40))
    runs = {"num_runs": 1, "warmup_runs": 0, "cold_starts": 0}
    timings = run_bench(BenchSettings(tiny_int8, image=given, **runs))["latency"]
    assert timings["image"].startswith("80x40 JPEG, ") and timings["image_source"] == str(given)
    timings = run_bench(BenchSettings(tiny_int8, data=folders, **runs))["latency"]
    assert timings["image_source"] == str(folders / "akiec" / "0.png")
    assert generated_picture() == generated_picture()
    with Image.open(io.BytesIO(generated_picture().content)) as image:
        assert (image.size, image.format) == ((600, 450), "JPEG")
    with pytest.raises(ImageError, match="no such image"):
        read_picture(given.with_name("gone.jpg"))


@pytest.mark.parametrize(
    "failure",
    [OSError("Exec format error"), subprocess.CalledProcessError(1, "python"), subprocess.TimeoutExpired("python", 1)],
)
def test_memory_where_no_child_process_can_be_started(tiny_int8, monkeypatch, capsys, failure):
    def refuse(*_, **__):
        raise failure

    monkeypatch.setattr(subprocess, "run", refuse)
    measured = memory.measure_memory(tiny_int8, generated_picture().content)
    assert measured["peak_bytes"] > 5e6
    assert "in bench's own process" in measured["measured"] and type(failure).__name__ in measured["measured"]
    assert bench(tiny_int8, *QUICK) == 0
    assert "in bench's own process" in capsys.readouterr().out


def test_memory_of_a_larger_picture_is_larger(tiny_int8):
    small, large = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (100, 100)).save(small, "PNG")
    Image.new("RGB", (5000, 4000)).save(large, "PNG")
    peaks = [memory.measure_memory(tiny_int8, picture.getvalue())["peak_bytes"] for picture in (small, large)]
    assert peaks[1] - peaks[0] > 20_000_000  # 60 MB of pixels, whatever the parent had before


def test_the_peak_is_read_from_the_status_file_else_from_rusage(tmp_path):
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "status").write_text("Name:\tpython\nVmPeak:\t 9 kB\nVmHWM:\t   2048 kB\n")
    assert memory.peak_resident_bytes(tmp_path) == 2048 * 1024
    assert memory.peak_resident_bytes(tmp_path / "nowhere") > 5e6


@pytest.fixture
def pi(tmp_path):
    """What a Raspberry Pi 4 shows in /proc, /sys and /etc."""
    for name, text in {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/cpuinfo": "processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4\n",
        "proc/meminfo": "MemTotal:        3882376 kB\nMemFree:          100 kB\n",
        "proc/sys/kernel/osrelease": "6.6.20+rpt-rpi-v8\n",
        "sys/devices/system/cpu/online": "0-2,5\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
        "sys/class/thermal/thermal_zone0/temp": "20000\n",
        "sys/class/thermal/thermal_zone1/temp": "48312\n",
        "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
        "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_the_machine_is_read(pi):
    described = machine.describe_machine("ai-edge-litert", pi)
    expected = {
        "board": "Raspberry Pi 4 Model B Rev 1.4",
        "cpu": "Cortex-A72",
        "cores": 4,
        "memory_bytes": 3882376 * 1024,
        "governor": "ondemand",
        "temperature_c": 48.312,
        "throttled": "50005",
        "os": "Debian GNU/Linux 12 (bookworm)",
        "kernel": "6.6.20+rpt-rpi-v8",
    }
    assert {key: described[key] for key in expected} == expected
    assert described["versions"]["numpy"] == np.__version__


def test_a_machine_that_tells_nothing_or_nonsense(tmp_path, pi):
    nothing = machine.describe_machine(None, tmp_path / "empty")
    for key in ("board", "cpu", "memory_bytes", "governor", "temperature_c", "throttled", "os"):
        assert nothing[key] is None, key
    assert machine.describe_machine("no-such-engine", tmp_path / "empty")["versions"]["no-such-engine"] is None
    for path in pi.rglob("*"):
        if path.is_file():
            path.write_bytes(b"\xff\0:,--\n")
    nonsense = machine.describe_machine(None, pi)
    assert nonsense["temperature_c"] is nonsense["memory_bytes"] is nonsense["os"] is None
    json.dumps(nonsense)


def test_parity_of_a_model_with_itself(tiny_int8, folders):
    result = run_bench(BenchSettings(tiny_int8, reference=tiny_int8, data=folders, num_runs=1, cold_starts=0))[
        "accuracy"
    ]
    assert result["agreement"] == 1 and result["flipped"] == [] and result["failed"] == []
    assert all(row["difference"] == 0 and row["interval"] == [0, 0] for row in result["difference"].values())
    # The tiny model was made to tell these colours apart.
    assert result["model"]["accuracy"] == result["reference"]["accuracy"] == 1
    assert result["model"]["majority_class_baseline"] == pytest.approx(1 / 7)


def test_every_figure_of_the_json_is_in_the_report(tiny_int8, folders):
    result = run_bench(BenchSettings(tiny_int8, data=folders, num_runs=1, cold_starts=0))
    shown = markdown(bench_report.document(result))
    for name, value in result["accuracy"]["model"].items():
        if isinstance(value, float):
            changed = copy.deepcopy(result)
            changed["accuracy"]["model"][name] = 0.12345
            assert markdown(bench_report.document(changed)) != shown, f"show {name} in _accuracy of bench_report.py"


def test_labels_that_are_sides_of_a_model_of_diagnoses_are_refused_with_a_remedy(tiny_int8, tmp_path, capsys):
    for side in ("benign", "malignant"):
        (tmp_path / "photos" / side).mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "photos" / side / f"{side}.png")
    assert bench(tiny_int8, "--data", tmp_path / "photos", *QUICK) == 1
    assert "measure one that was trained on benign and malignant" in miniatures.one_line(capsys)


def test_a_twin_with_two_labels_exchanged_flips_them(tiny_int8, swapped, folders, capsys):
    arguments = [swapped, "--reference", tiny_int8, "--data", folders, *QUICK]
    assert bench(*arguments, "--json") == 0
    result = json.loads(capsys.readouterr().out)["accuracy"]
    assert result["agreement"] == pytest.approx(25 / 35)
    assert len(result["flipped"]) == 10
    first = result["flipped"][0]
    assert (first["image_id"], first["truth"]) == ("mel/0.png", "mel")
    assert (first["reference"]["label"], first["model"]["label"]) == ("mel", "nv")
    assert first["reference"]["probability"] > 0.5
    assert result["model"]["accuracy"] == pytest.approx(25 / 35) and result["reference"]["accuracy"] == 1
    assert result["difference"]["accuracy"]["difference"] == pytest.approx(-10 / 35)
    assert result["mcnemar"] == {"only_reference_right": 10, "only_model_right": 0, "p_value": 2 / 2**10}
    assert result["non_inferiority"]["shown"] is False and result["non_inferiority"]["margin"] == 0.03
    assert result["model"]["calibration"]["ece"] > 0.2 > result["reference"]["calibration"]["ece"]
    low, high = result["difference"]["accuracy"]["interval"]
    assert low < -10 / 35 < high < 0
    assert bench(*arguments) == 0
    out = capsys.readouterr().out
    assert "10 from right to wrong, 0 from wrong to right" in " ".join(out.split())
    assert "Non-inferiority is not shown" in out and "0.00195" in out and "ECE" in out and "Brier" in out
    assert "always 'akiec'" in out
    assert max(map(len, out.splitlines())) <= 80


class Reordered(SkinClassifier):
    """The same answers with the classes the other way round."""

    def __init__(self, model):
        super().__init__(model)
        self.labels = self.labels[::-1]

    def predict_pixels(self, pixels, vector=None):
        prediction, scores = super().predict_pixels(pixels, vector)
        return prediction, scores[::-1]


def test_classes_in_another_order_are_aligned_by_code(tiny_int8, folders):
    cases = read_cases(folders, known_labels=CODES)
    result = parity.compare(Reordered(tiny_int8), SkinClassifier(tiny_int8), cases, bootstrap=20)
    assert result["agreement"] == 1
    assert result["reference"] == result["model"]


def test_other_labels_are_refused(tiny_int8, tiny_float32, tmp_path, folders, capsys):
    other = relabelled(tiny_float32, tmp_path / "other.tflite", [*CODES[:-1], "wart"])
    assert bench(tiny_int8, "--reference", other, "--data", folders, *QUICK) == 1
    assert "knows other labels" in capsys.readouterr().err.splitlines()[-1]


def test_images_that_cannot_be_read_are_listed_and_left_out_of_both(tiny_int8, tiny_float32, tmp_path, capsys):
    root = miniatures.class_folders(tmp_path / "some", 3)
    (root / "mel" / "0.png").write_bytes(b"no image")
    written = tmp_path / "bench.json"
    assert bench(tiny_int8, "--reference", tiny_float32, "--data", root, *QUICK, "--result-json", written) == 1
    captured = capsys.readouterr()
    assert "Cannot assess 1 of 6 images" in captured.out
    result = json.loads(written.read_text())
    assert [failure["image_id"] for failure in result["accuracy"]["failed"]] == ["mel/0.png"]
    assert result["accuracy"]["model"]["n"] == result["accuracy"]["reference"]["n"] == 5
    assert result["latency"]["image_source"].endswith("1.png")
    assert "6/6 images" in captured.err and len(captured.err.splitlines()) < 12


def test_no_image_that_can_be_read(tiny_int8, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 1 images"):
        parity.compare(None, SkinClassifier(tiny_int8), [Case(tmp_path / "x.jpg", "x", "x", "mel", "")])


def test_groups_of_the_csv_make_the_intervals(tiny_int8, folders, tmp_path):
    table = tmp_path / "split.csv"
    rows = [(folders / code / f"{i}.png", f"{code}{i // 2}", code) for code in CODES for i in range(5)]
    table.write_text("path,group,label,split\n" + "".join(f"{p},{g},{label},test\n" for p, g, label in rows))
    result = run_bench(BenchSettings(tiny_int8, data=table, num_runs=1, cold_starts=0))
    assert result["data"] == {"path": str(table), "split": "test"}
    assert (result["accuracy"]["model"]["n_groups"], result["accuracy"]["model"]["intervals_over"]) == (21, "groups")
    ungrouped = run_bench(BenchSettings(tiny_int8, data=folders, num_runs=1, cold_starts=0))["accuracy"]["model"]
    assert (ungrouped["n_groups"], ungrouped["intervals_over"]) == (None, "images")


def test_long_names_do_not_widen_the_table(tiny_float32, tmp_path, capsys):
    codes = [f"{code}-{'with-a-very-long-name-' * 3}" for code in CODES]
    model = relabelled(tiny_float32, tmp_path / f"{'model' * 20}.tflite", codes)
    turned = relabelled(tiny_float32, tmp_path / "turned.tflite", [codes[1], codes[0], *codes[2:]])
    root = tmp_path / ("folder" * 20)
    for code, long in zip(CODES, codes, strict=True):
        (root / long).mkdir(parents=True)
        for number in range(8):
            miniatures.picture(code, number).save(root / long / f"{'picture' * 20}{number}.png")
    assert bench(model, "--reference", turned, "--data", root, *QUICK) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "and 6 more: --result-json FILE lists them all" in out
    rows = out[out.index("Flipped: ") :].splitlines()
    assert sum(bool(re.match(r"  \.\.\..*picture\d\.png", row)) for row in rows) == bench_report.MOST_FLIPPED


def test_the_device_install_measures_accuracy(tiny_int8, tiny_float32, folders, tmp_path, monkeypatch, capsys):
    """Every report of a benchmark with data, with none of the packages that only the extras bring."""
    for name in ("sklearn", "scipy", "pandas", "yaml", "tensorflow"):
        monkeypatch.setitem(sys.modules, name, None)
    page, notes = tmp_path / "page.html", tmp_path / "page.md"
    flags = ["--data", folders, "--gate", "default", "--preprocessing", "--html", page, "--markdown", notes]
    assert bench(tiny_int8, "--reference", tiny_float32, *flags, *QUICK) in (0, 3)
    captured = capsys.readouterr()
    assert "this needs" not in captured.out + captured.err
    for text in (captured.out, page.read_text(), notes.read_text()):
        assert "balanced accuracy" in text and "macro AUC" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["MODEL", "--split", "val"], 2, "--split, --images and the columns' names require --data"),
        (["MODEL", "--data", "nowhere"], 2, "no such file or folder: nowhere"),
        (["MODEL", "--data", "EMPTY"], 1, "holds no labelled images"),
        (["MODEL", "--data", "DATA", "--split", "val"], 1, "no case in split 'val'"),
        (["MODEL", "--image", "gone.jpg"], 1, "no such image: gone.jpg"),
        (["MODEL", "--reference", "gone.tflite"], 1, "no such model: gone.tflite"),
        (["gone.tflite"], 1, "no such model: gone.tflite"),
        (["EMPTY"], 1, "is a folder"),
        (["MODEL", "--num-runs", "0"], 2, "--num-runs"),
        (["MODEL", "--result-json", "EMPTY"], 2, "is a folder: name a file"),
        (["MODEL", "--result-json", "MODEL/below.json", "--num-runs", "1"], 2, "cannot be written"),
    ],
)
def test_an_error_is_one_line_with_its_exit_code(arguments, code, message, tiny_int8, folders, tmp_path, capfd):
    places = {"MODEL": str(tiny_int8), "DATA": str(folders), "EMPTY": str(tmp_path)}
    filled = [argument.replace("MODEL", places["MODEL"]) for argument in arguments]
    assert bench(*[places.get(argument, argument) for argument in filled]) == code
    errors = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("INFO: ")]
    assert len(errors) == 1 and errors[0].startswith("error: ") and message in errors[0]


def test_help_has_an_example(capsys):
    assert bench("--help") == 0
    assert "Example:\n    skin-edge bench" in capsys.readouterr().out


def test_thresholds_of_model_and_reference_are_paired_by_their_names(
    tiny_int8, tiny_float32, folders, tmp_path, capsys
):
    """The two files may know other targets, or the same in another order."""

    def with_thresholds(source, name, *targets):
        rows = [
            {"target": code, "classes": [code], "chosen_for_sensitivity": 0.9, "threshold": threshold}
            | {"sensitivity": 0.9, "specificity": 0.9, "n_positive": 5}
            for code, threshold in targets
        ]
        return miniatures.resealed(source, tmp_path / name, lambda contract: contract.update(thresholds=rows))

    model = with_thresholds(tiny_int8, "model.tflite", ("akiec", 0.0), ("mel", 1.1))
    reference = with_thresholds(tiny_float32, "reference.tflite", ("mel", 0.0), ("nv", 1.1))
    assert bench(model, "--reference", reference, "--data", folders, *QUICK) == 0
    lines = capsys.readouterr().out.splitlines()
    shares: dict[tuple[str, ...], list[str]] = {}  # of all blocks of columns
    for cells in (line.split() for line in lines if " for 0.90, " in line):
        found = [cell for cell in cells[4:] if re.fullmatch(r"[01]\.000", cell)]
        shares.setdefault((cells[0], cells[3]), []).extend(found)
    # found by the threshold 0: all; by 1.1: none
    assert shares == {
        ("akiec", "model"): ["1.000", "0.000"],
        ("mel", "model"): ["0.000", "1.000"],
        ("mel", "reference"): ["1.000", "0.000"],
        ("nv", "reference"): ["0.000", "1.000"],
    }
