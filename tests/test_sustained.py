"""Cold starts, repeated processes, threads, the sustained run, the sensors behind it and what makes times doubtful."""

from __future__ import annotations

import json
import subprocess
from types import SimpleNamespace

import pytest

from skin_edge.benchmarks.measure import latency, machine, processes, size, sustained
from skin_edge.benchmarks.measure.caveats import caveats
from skin_edge.benchmarks.measure.picture import generated_picture
from skin_edge.edge_runtime.classifier import SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.network import GraphTensor, Operator

CONTENT = generated_picture().content


def test_everything_in_one_run(tiny_int8, capsys):
    arguments = ["--num-runs", "3", "--warmup-runs", "1", "--cold-starts", "2", "--processes", "2", "--sweep"]
    assert run(["bench", str(tiny_int8), *arguments, "--duration", "1", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    cold = result["cold_start"]
    assert len(cold["runs_ms"]) == 2 and min(cold["runs_ms"]) > 20  # Python alone takes as long
    assert cold["median_ms"] == pytest.approx(sum(cold["runs_ms"]) / 2)
    spread = result["processes"]
    assert len(spread["medians_ms"]) == len(spread["invoke_medians_ms"]) == 2
    assert spread["spread"] == pytest.approx(
        abs(spread["medians_ms"][0] - spread["medians_ms"][1]) / spread["median_ms"]
    )
    assert result["sweep"][0]["num_threads"] == 1 and result["sweep"][-1]["num_threads"] == result["machine"]["cores"]
    assert 0.7 < result["sustained"]["seconds"] < 3
    assert len(result["latency"]["runs_ms"]) == 3


def test_the_table_shows_it(tiny_int8, capsys):
    arguments = ["--num-runs", "3", "--cold-starts", "1", "--processes", "2", "--sweep", "--duration", "1"]
    assert run(["bench", str(tiny_int8), *arguments]) == 0
    out = capsys.readouterr().out
    for said in ("cold start", "processes", "threads", "Sustained run", "tensor arena", "CONV_2D", "spread"):
        assert said in out, said
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("failure", [OSError("no"), subprocess.TimeoutExpired("python", 1)])
def test_where_no_process_can_be_started_the_report_says_so_and_goes_on(failure, tiny_int8, monkeypatch, capsys):
    def refuse(*_, **__):
        raise failure

    monkeypatch.setattr(subprocess, "run", refuse)
    cold = processes.measure_cold_start(tiny_int8, CONTENT, 3)
    assert cold["median_ms"] is None and type(failure).__name__ in cold["measured"]
    spread = processes.measure_spread(tiny_int8, CONTENT, 3, 2, 1, 1)
    assert spread["median_ms"] is spread["spread"] is None and "not measured" in spread["measured"]
    assert run(["bench", str(tiny_int8), "--num-runs", "2", "--processes", "2"]) == 0
    assert " ".join(capsys.readouterr().out.split()).count("a process could not be started") == 2


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_the_threads_of_a_sweep(cores, counts, tiny_int8):
    rows = latency.sweep_threads(tiny_int8, CONTENT, cores, 2, 0)
    assert [row["num_threads"] for row in rows] == counts
    assert all(0 < row["invoke_median_ms"] < row["median_ms"] <= row["p95_ms"] for row in rows)


@pytest.fixture
def warm_pi(tmp_path):
    for name, text in {
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "80008\n",
        "sys/class/thermal/thermal_zone0/temp": "81234\n",
        "proc/loadavg": "1.25 0.80 0.40 2/300 4711\n",
        "proc/vmstat": "nr_free_pages 100\npswpin 30\npswpout 12\npswpfoo 7\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_sustained_run_samples_the_sensors(tiny_int8, warm_pi):
    measured = sustained.measure_sustained(SkinClassifier(tiny_int8), CONTENT, 1.0, root=warm_pi)
    assert len(measured["slices"]) == 2
    for row in measured["slices"]:
        assert (row["temperature_c"], row["frequency_mhz"], row["throttled"]) == (81.234, 1500.0, "80008")
        assert row["flags"] == ["soft temperature limit now", "soft temperature limit since boot"]
    assert measured["predictions"] == sum(row["predictions"] for row in measured["slices"]) > 4
    assert measured["sensors"] == ["temperature_c", "frequency_mhz", "throttled"]


def test_a_sustained_run_without_sensors_says_so(tiny_int8, tmp_path):
    measured = sustained.measure_sustained(SkinClassifier(tiny_int8), CONTENT, 0.5, root=tmp_path)
    assert measured["sensors"] == [] and measured["slices"][0]["temperature_c"] is None
    assert measured["slices"][0]["flags"] == []


def test_a_run_that_slows_down_shows_it(tiny_int8, tmp_path, monkeypatch):
    clock = [0.0]

    def heating(*_):
        took = 0.010 if clock[0] < 20 else 0.030  # seconds, from 20 s on three times as long
        clock[0] += took
        return (0.0, 0.0, took * 1000)

    monkeypatch.setattr(sustained, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(sustained, "timed_run", heating)
    measured = sustained.measure_sustained(SkinClassifier(tiny_int8), CONTENT, 40, root=tmp_path)
    assert len(measured["slices"]) == 20
    assert measured["slowdown"] == pytest.approx(3)
    assert [row["median_ms"] for row in measured["slices"]] == pytest.approx([10] * 10 + [30] * 10)
    assert [row["start_s"] for row in measured["slices"]] == pytest.approx([2 * i for i in range(20)], abs=0.5)
    assert sustained.slowdown([1, 9, 1, *[1] * 9]) == 1  # one disturbed slice
    assert sustained.slowdown([2.0]) == 1


def test_the_sensors(warm_pi, tmp_path):
    assert machine.frequency_mhz(warm_pi) == 1500
    assert machine.load_average(warm_pi) == 1.25
    assert machine.swapped_pages(warm_pi) == 42
    nowhere = tmp_path / "nowhere"
    for read in (machine.frequency_mhz, machine.load_average, machine.swapped_pages, machine.throttled):
        assert read(nowhere) is None


@pytest.mark.parametrize(
    ("word", "flags"),
    [
        ("0", []),
        (None, []),
        ("nonsense", []),
        ("1", ["undervoltage now"]),
        ("50005", ["undervoltage now", "throttled now", "undervoltage since boot", "throttled since boot"]),
        ("20002", ["frequency capped now", "frequency capped since boot"]),
    ],
)
def test_the_bits_of_the_firmware(word, flags):
    assert machine.throttling(word) == flags


def test_vcgencmd_where_sysfs_does_not_say(monkeypatch):
    monkeypatch.setattr(machine, "_first_text", lambda *_: None)
    answer = SimpleNamespace(stdout="throttled=0x50000\n")
    monkeypatch.setattr(machine, "subprocess", SimpleNamespace(run=lambda *_, **__: answer, SubprocessError=OSError))
    assert machine.throttled() == "50000"


def quiet_machine():
    state = {"governor": "performance", "load_average": 0.1, "throttled": "0", "throttled_after": "0"}
    return {"machine": state, "processes": None, "sustained": None}


def test_a_machine_at_rest_has_no_warning():
    assert caveats(quiet_machine(), 0) == []
    unknown = dict.fromkeys(("governor", "load_average", "throttled"))
    assert caveats({"machine": unknown, "processes": None, "sustained": None}, None) == []


@pytest.mark.parametrize(
    ("change", "swapped", "what", "remedy"),
    [
        ({"governor": "ondemand"}, 0, "governor is ondemand", "scaling_governor"),
        ({"load_average": 1.5}, 0, "load average was 1.50", "wait a minute"),
        ({}, 12, "swapped 12 pages", "more memory"),
        ({"throttled_after": "50005"}, 0, "throttled now, throttled since boot, undervoltage now", "power supply"),
    ],
)
def test_each_warning_has_its_remedy(change, swapped, what, remedy):
    result = quiet_machine()
    result["machine"].update(change)
    (warning,) = caveats(result, swapped)
    assert what in warning["what"] and remedy in warning["remedy"]


def test_warnings_from_the_run_itself():
    result = quiet_machine()
    result["sustained"] = {"slowdown": 1.5, "slices": [{"flags": ["throttled now"]}]}
    result["processes"] = {"spread": 0.4, "medians_ms": [1, 1.4]}
    said = [warning["what"] for warning in caveats(result, 0)]
    assert len(said) == 3 and "1.50 times" in said[0] and "throttled now" in said[1] and "40%" in said[2]


def tensor(name, elements, dtype="int8", constant=False):
    return GraphTensor(name, (-1, elements), dtype, (), (), constant)


def test_the_arena_of_a_graph_worked_by_hand():
    a, b, c, d = tensor("a", 100), tensor("b", 50), tensor("c", 10, "float32"), tensor("d", 8)
    weights = tensor("w", 100000, constant=True)
    operators = (
        Operator("CONV_2D", (a, weights), (b,)),  # a 100 + b 50
        Operator("CONV_2D", (b, weights), (c,)),  # a 100 (read again below) + b 50 + c 40
        Operator("ADD", (a, c), (d,)),  # a 100 + c 40 + d 8
    )
    assert size.arena_bytes(operators) == 190
    assert size.arena_bytes(operators[:1]) == 150
    # An output of the network that is made early stays: a 100 + b 50 + early 30, though only b is read last.
    early = Operator("SPLIT", (a,), (b, tensor("early", 30)))
    assert size.arena_bytes((early, Operator("CONV_2D", (b,), (tensor("wide", 90),)))) == 180
    assert size.arena_bytes((early, Operator("CONV_2D", (b,), (tensor("wider", 500),)))) == 50 + 30 + 500
    assert size.arena_bytes(()) == 0
    assert size.arena_bytes((Operator("X", (tensor("e", 3, "int4"),), (tensor("f", 1, "bool"),)),)) == 2 + 1


def test_operators_by_type(tiny_int8, tiny_float32):
    quantized, plain = size.measure_network(tiny_int8), size.measure_network(tiny_float32)
    assert quantized["operators"]["CONV_2D"] == plain["operators"]["CONV_2D"] > 0
    assert "QUANTIZE" in quantized["operators"] and "QUANTIZE" not in plain["operators"]
    assert sum(quantized["operators"].values()) == sum(quantized["computes_in"].values())
    assert set(plain["computes_in"]) == {"float"}
    assert 3 < plain["arena_bytes"] / quantized["arena_bytes"] <= 4
    assert quantized["arena_bytes"] >= 2 * 32 * 32 * 3  # the picture, and the same quantized
