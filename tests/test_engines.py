"""`bench --engine`: whatever an engine does is a result, broken ones are caught and named, good ones are not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from skin_edge.benchmarks.engines import catalogue, limits, measure, process, verdict
from skin_edge.benchmarks.engines.measure import EngineSettings
from skin_edge.benchmarks.engines.prepare import prepare
from skin_edge.benchmarks.micro import measure as micro
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UnknownNameError, UsageError

from . import miniatures

ROOT = Path(__file__).parents[1]
SOURCE = Path(__file__).parent / "engines" / "broken_delegate.c"
CODES = tuple(miniatures.COLOURS)
GOOD = ("litert-xnnpack", "litert-plain", "litert-compiled-cpu")
BROKEN = {  # mode of the delegate -> what the verdict says of it
    "second": "every 2nd answer is wrong",
    "zero": "nothing but zeros",
    "refuse": "took none of the",
    "stuck": "it gives every picture the same answer",
    "drift": "get other answers when they are asked again",
    "crash": "crashed: SIGABRT after 39 of",
    "hang": "hung: nothing within",
}


@pytest.fixture(scope="session")
def delegate(tmp_path_factory):
    """Mode -> the engine's name, of the delegate that is broken in that way."""
    if shutil.which("gcc") is None or sys.platform != "linux":
        pytest.skip("gcc is not installed")
    library = tmp_path_factory.mktemp("delegate") / "libbroken.so"
    flags = ["-std=c99", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-fPIC", "-shared"]
    subprocess.run(["gcc", *flags, str(SOURCE), "-o", str(library), "-lm"], check=True)
    return lambda mode: f"delegate:{library}?mode={mode}"


@pytest.fixture(scope="session")
def asked(tiny_int8, tmp_path_factory):
    """(classifier, its golden questions): drawn and asked once."""
    classifier, plain = SkinClassifier(tiny_int8), SkinClassifier(tiny_int8, delegate="none")
    return classifier, prepare(classifier, plain, [], tmp_path_factory.mktemp("prepared"))


def entry(name, asked, timeout_s=60.0):
    classifier, prepared = asked
    [engine] = catalogue.named([name])
    settings = EngineSettings([name], timeout_s=timeout_s)
    return measure.measured(catalogue.find(engine), classifier, prepared, settings, None)


def reasons(one):
    return "; ".join(one["verdict"]["reasons"])


def test_every_engine_has_a_worker_and_a_line_in_the_guide():
    guide = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
    table = "".join(line.rpartition(" | ")[0] for line in guide.splitlines() if line.startswith("| `"))
    for engine in catalogue.ENGINES.values():
        assert (catalogue.WORKERS / engine.worker).is_file(), engine.name
        assert f"`{engine.name}`" in table, f"{engine.name} is not in the table of docs/engines.md"


@pytest.mark.parametrize("name", GOOD)
def test_a_good_engine_may_be_used(name, asked):
    one = entry(name, asked)
    assert one["status"] == "answered", one["detail"]
    assert one["verdict"]["use"] in (verdict.YES, verdict.MARGIN), one
    assert one["sound"]["answers"] == verdict.REPEATS * asked[1].golden
    assert one["repeats"]["changing"] == 0 and one["pattern"] is None
    assert one["load_ms"] > 0 and one["first_ms"] > 0 and one["steady"]["median_ms"] > 0
    assert one["peak_bytes"] > 10e6


def test_the_peak_of_memory_does_not_grow_with_the_pictures(tiny_int8, asked, tmp_path):
    """Inputs are read: pages of a mapped file would be the process's own."""
    rows, shape = 4000, asked[1].inputs[0]["shape"]
    described = {**asked[1].inputs[0], "file": str(tmp_path / "many.bin")}
    (tmp_path / "many.bin").write_bytes(bytes(rows * int(np.prod(shape))))
    assert (tmp_path / "many.bin").stat().st_size > 10e6
    job = {"model": str(tiny_int8), "num_threads": 1, "inputs": [described], "pixels": described}
    found = catalogue.find(catalogue.ENGINES["litert-plain"])
    peaks = []
    for name, sequence in (("few", [0, 1]), ("many", list(range(rows)))):
        (tmp_path / name).mkdir()
        job |= {"sequence": sequence, "options": dict(found.options)}
        peaks.append(process.run(found.command, job, tmp_path / name, timeout_s=60).peak_bytes)
    assert peaks[1] < peaks[0] + 5e6


def test_what_executed_is_known(asked):
    executed = {name: entry(name, asked)["executed"] for name in GOOD}
    fast, plain = executed["litert-xnnpack"], executed["litert-plain"]
    assert fast["delegate"] == "XNNPACK" and 0 < fast["delegated"] <= fast["operators"] and fast["partitions"] >= 1
    assert sum(fast["left"].values()) == fast["operators"] - fast["delegated"]
    assert plain["delegate"] is None and plain["delegated"] == 0 and plain["operators"] == fast["operators"]
    assert executed["litert-compiled-cpu"] is None  # it does not tell: not known, not zero


def test_a_delegate_that_is_right_is_not_called_broken(delegate, asked):
    one = entry(delegate("right"), asked)
    assert one["verdict"]["use"] in (verdict.YES, verdict.MARGIN), one
    assert one["executed"]["delegate"] == "libbroken.so" and one["executed"]["delegated"] == 1
    assert one["executed"]["whole"] is False and "libbroken.so took 1 of" in reasons(one)


@pytest.mark.parametrize("mode", BROKEN)
def test_a_broken_delegate_is_caught_and_named(mode, delegate, asked):
    one = entry(delegate(mode), asked, timeout_s=3.0 if mode == "hang" else 60.0)
    assert one["verdict"]["use"] == verdict.NO and one["verdict"]["margin"] is None
    assert BROKEN[mode] in reasons(one), one["verdict"]
    json.dumps(one, allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["second", "zero", "refuse"])
def test_broken_delegates_are_caught_in_100_of_100_runs(mode, delegate, asked):
    name = delegate(mode)
    found = [entry(name, asked) for _ in range(100)]
    assert sum(one["verdict"]["use"] == verdict.NO and BROKEN[mode] in reasons(one) for one in found) == 100


@pytest.mark.slow
@pytest.mark.parametrize("name", [*GOOD, "right"])
def test_good_engines_are_never_called_broken_in_100_runs(name, delegate, asked):
    name = delegate(name) if name == "right" else name
    assert sum(entry(name, asked)["verdict"]["use"] == verdict.NO for _ in range(100)) == 0


def test_every_golden_picture_is_asked_as_often_in_a_row_and_after_others(asked):
    _, prepared = asked
    assert (np.bincount(prepared.sequence(2)) == 2).all() and (np.bincount(prepared.sequence(5)) == 5).all()
    rows = np.array(prepared.sequence(verdict.REPEATS))
    counts = np.bincount(rows)
    assert (counts == verdict.REPEATS).all() and len(counts) == prepared.golden
    before = {(a, b) for a, b in pairwise(rows.tolist())}
    assert all((row, row) in before for row in range(prepared.golden))
    assert all(len({a for a, b in before if b == row}) > 3 for row in range(prepared.golden))


# The arithmetic.


def answers(probabilities, reference, rows=None, golden=None):
    reference = np.asarray(reference, float)
    rows = np.arange(len(reference)) if rows is None else np.asarray(rows)
    return verdict.Answers(
        rows, np.asarray(probabilities, float), reference, len(reference) if golden is None else golden
    )


def test_figures_by_hand():
    reference = [[0.6, 0.4], [0.30, 0.70], [0.9, 0.1]]
    ours = [[0.6, 0.4], [0.28, 0.72], [0.45, 0.55]]
    threshold = verdict.Threshold("a-0.90", (0,), 0.29, 0.02)
    found = verdict.agreement(answers(ours, reference), [threshold], np.ones(3, bool))
    assert found["pictures"] == 3 and found["same_top_class"] == 2
    assert found["largest_step"] == pytest.approx(0.45)
    assert found["mean_step"] == pytest.approx((0 + 0.02 + 0.45) / 3)
    assert found["decisions"] == {"a-0.90": {"flips": 1, "beyond_borderline": 0, "margin": pytest.approx(0.45)}}
    # The change of the two logits, log(.45/.9) and log(.55/.1), but for a constant: half of their distance.
    assert found["largest_logit_step"] == pytest.approx((np.log(5.5) - np.log(0.5)) / 2)


def test_a_picture_counts_once_however_often_it_was_asked():
    reference = [[0.6, 0.4], [0.2, 0.8]]
    ours = [[0.6, 0.4], [0.4, 0.6], [0.2, 0.8], [0.2, 0.8]]
    found = verdict.agreement(answers(ours, reference, [0, 0, 1, 1]), [], np.ones(4, bool))
    assert (found["pictures"], found["same_top_class"]) == (2, 1)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda i: i % 2 == 1, "every 2nd answer"),
        (lambda i: i % 3 == 2, "every 3rd answer"),
        (lambda i: i > 0, "all but the first"),
        (lambda i: i >= 300, "every answer from the 301st on"),
        (lambda i: True, "every answer"),
        (lambda i: False, None),
        (lambda i: i in (17, 44, 50), None),
    ],
)
def test_the_rule_by_which_answers_are_wrong(wrong, said):
    reference = np.tile([0.7, 0.3], (600, 1))
    ours = np.array([[0.3, 0.7] if wrong(i) else [0.7, 0.3] for i in range(600)])
    assert verdict.pattern(answers(ours, reference), 0.04) == said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_values_that_are_no_probabilities_are_counted_and_do_not_break_the_figures(value):
    reference = np.tile([0.7, 0.3], (4, 1))
    ours = reference.copy()
    ours[2, 0] = value
    of = answers(ours, reference)
    found = verdict.sound(of)
    assert (found["outside"] if value == 1e30 else found["not_finite"]) == 1
    json.dumps([verdict.repeats(of), verdict.agreement(of, [], np.ones(4, bool))], allow_nan=False)


def figures(**changes):
    """Of an engine that is perfect, but for `changes`."""
    row = {"flips": 0, "beyond_borderline": 0, "margin": 0.0}
    golden = {
        "pictures": 33,
        "same_top_class": 33,
        "largest_step": 0.0,
        "mean_step": 0.0,
        "largest_logit_step": 0.0,
        "decisions": {"mel-0.90": row},
    }
    return {
        "status": "answered",
        "detail": "",
        "executed": None,
        "sound": {"answers": 660, "not_finite": 0, "outside": 0, "zeros": 0, "constant": False},
        "repeats": {"inputs": 33, "answers": 660, "changing": 0, "largest_step": 0.0},
        "pattern": None,
        "golden": golden,
        "labelled": {**golden, "pictures": 1000, "same_top_class": 1000},
    } | changes


def test_the_three_verdicts():
    assert verdict.judge(figures(), None)["use"] == verdict.YES
    near = figures()["golden"] | {
        "largest_step": 0.03,
        "decisions": {"mel-0.90": {"flips": 1, "beyond_borderline": 1, "margin": 0.0125}},
    }
    found = verdict.judge(figures(golden=near), None)
    assert (found["use"], found["margin"]) == (verdict.MARGIN, 0.0125)
    assert (
        "changed: 0 top classes, 1 decision" in found["reasons"][0]
        and "does not call borderline" in found["reasons"][1]
    )
    far = figures()["golden"] | {"largest_step": verdict.OTHER_KERNELS + 0.001}
    assert verdict.judge(figures(golden=far), None)["use"] == verdict.NO


@pytest.mark.parametrize(("changed", "use"), [(20, verdict.MARGIN), (21, verdict.NO)])
def test_so_many_labelled_pictures_may_change(changed, use):
    labelled = figures()["labelled"]
    of_class = labelled | {"same_top_class": 1000 - changed, "largest_step": 0.03}
    assert verdict.judge(figures(labelled=of_class), None)["use"] == use
    of_decision = labelled | {
        "largest_step": 0.03,
        "decisions": {"mel-0.90": {"flips": changed, "beyond_borderline": 0, "margin": 0.02}},
    }
    assert verdict.judge(figures(labelled=of_decision), None)["use"] == use


def test_an_accelerator_that_took_nothing_is_said_where_that_is_known():
    idle = {
        "delegate": None,
        "whole": False,
        "operators": None,
        "delegated": 0,
        "partitions": None,
        "left": None,
        "source": "",
    }
    assert verdict.judge(figures(executed=idle), "webgpu")["use"] == verdict.NO
    assert verdict.judge(figures(executed=idle), None)["use"] == verdict.YES
    assert verdict.judge(figures(executed=None), "GPU")["use"] == verdict.YES  # not known is no proof


# The process.


def worker(tmp_path, body):
    path = tmp_path / "worker.py"
    path.write_text(
        "import json, os, sys, time\nfrom pathlib import Path\n"
        "job = json.loads(Path(sys.argv[1]).read_text()); out = Path(job['out'])\n"
        "facts = {'outputs': [{'name': 'p', 'dtype': 'float32', 'shape': [1, 2], 'scale': 0, 'zero_point': 0}]}\n"
        "def loaded(): (out / 'facts.json').write_text(json.dumps(facts))\n"
        "def answer(n, rest=b''):\n"
        "    (out / 'outputs.bin').write_bytes(bytes(8 * n) + rest)\n"
        "    (out / 'milliseconds.bin').write_bytes(bytes(8 * n))\n"
        "def error(stage, message):\n"
        "    (out / 'error.json').write_text(json.dumps({'stage': stage, 'message': message})); sys.exit(1)\n" + body
    )
    folder = tmp_path / "out"
    folder.mkdir()
    return process.run([sys.executable, str(path)], {"sequence": [0, 1, 2]}, folder, timeout_s=2.0)


@pytest.mark.parametrize(
    ("body", "status", "said", "count"),
    [
        ("loaded(); answer(3); (out / 'done.json').write_text('{\"peak_bytes\": 5}')", "answered", "", 3),
        ("loaded(); answer(2, b'abc'); os.kill(os.getpid(), 11)", "crashed", "SIGSEGV after 2 of 3 answers", 2),
        ("os.kill(os.getpid(), 9)", "crashed", "SIGKILL while it loaded", 0),
        ("loaded(); answer(1); time.sleep(60)", "hung", "nothing within 2 s after 1 of 3 answers", 1),
        ("time.sleep(60)", "hung", "nothing within 2 s while it loaded", 0),
        ("sys.exit('no such thing')", "does not load", "exit code 1 after 0 of 3 answers: no such thing", 0),
        ("loaded(); answer(1)", "fails", "exit code 0 after 1 of 3 answers", 1),
        ("error('load', 'no adapter')", "does not load", "no adapter", 0),
        ("loaded(); answer(2); error('answer', 'full')", "fails", "full, after 2 of 3 answers", 2),
        ("(out / 'facts.json').write_text('{\"outputs\": 7}'); answer(3)", "fails", "exit code 0 after 0 of 3", 0),
    ],
)  # fmt: skip
def test_whatever_a_worker_does_is_a_result(body, status, said, count, tmp_path):
    outcome = worker(tmp_path, body)
    assert outcome.status == status and said in outcome.detail
    assert len(outcome.milliseconds) == count
    assert [len(one) for one in outcome.outputs] in ([], [count])


def test_a_worker_that_hangs_is_ended_with_what_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "_END_S", 0.5)
    outcome = worker(
        tmp_path,
        "import subprocess; subprocess.Popen(['sleep', '4711.5'])\n"
        "import signal; signal.signal(15, signal.SIG_IGN)\ntime.sleep(60)",
    )
    assert outcome.status == "hung"
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 4711.5" not in listed


def test_an_error_of_litert_is_told_without_its_source_lines(tmp_path):
    outcome = worker(
        tmp_path,
        "print('INFO: [a.cc:1] x\\nERROR: [b.cc:2] No adapters found', file=sys.stderr)\n"
        "error('load', 'ERROR: [./c.h:3]\\n└ ERROR: [d.cc:4]')",
    )
    assert outcome.detail == "No adapters found"


# The command.


def test_the_command_writes_what_the_schema_describes(tiny_int8, delegate, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(catalogue, "_has", lambda module: module == "ai_edge_litert")
    schema = json.loads((ROOT / "docs" / "engines.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    data = miniatures.class_folders(tmp_path / "data", 2, CODES)
    gate = tmp_path / "gate.yaml"
    gate.write_text("max_refused: 0\nmax_margin: 0.5\nmin_agreement: 0.5\nmax_median_ms: 10000\nmax_peak_mb: 10000\n")
    names = ["litert-xnnpack", "litert-compiled-cpu", "tflm", "litertjs-wasm", delegate("zero")]
    flags = [flag for name in names for flag in ("--engine", name)]
    outputs = ["--result-json", tmp_path / "a.json", "--html", tmp_path / "a.html", "--markdown", tmp_path / "a.md"]
    where = ["--engines-dir", tmp_path / "none", "--data", data, "--gate", gate]
    assert run(["bench", str(tiny_int8), *flags, *map(str, [*where, *outputs])]) == 3
    out, err = capsys.readouterr()
    assert max(len(line) for line in out.splitlines() if " install " not in line) <= 80
    result = json.loads((tmp_path / "a.json").read_text())
    installs = [one["install"] for one in result["engines"] if one["install"]]  # each on one line, to be pasted
    assert len(installs) == 2 and all(f"  {line}\n" in out for line in installs)
    assert "must not be used" in out and "npm install --prefix" in out
    assert "error: gate: delegate:" in err and "error: gate: tflm: max_refused 0: not measured" in err
    jsonschema.validate(result, schema)
    first, cpu, portable, browser, zero = result["engines"]
    assert first["verdict"]["use"] == cpu["verdict"]["use"] == verdict.YES
    assert first["labelled"]["pictures"] == first["labelled"]["same_top_class"] == 2 * len(CODES)
    assert first["labelled"]["balanced_accuracy"] == cpu["labelled"]["balanced_accuracy"] > 0.5
    assert portable["status"] == browser["status"] == "not available" and portable["verdict"] is None
    assert "pip install tflite-micro" in portable["install"]
    assert zero["sound"]["zeros"] == zero["sound"]["answers"]
    for name in ("a.html", "a.md"):
        assert "must not be used" in (tmp_path / name).read_text()

    # Side by side with itself, as of another machine.
    result["machine"]["cpu"] = "Cortex-A76"
    (tmp_path / "b.json").write_text(json.dumps(result))
    assert run(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    out = capsys.readouterr().out
    assert "Cortex-A76" in out and max(map(len, out.splitlines())) <= 80
    assert run(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["engines"]) == 5

    # And beside a chip.
    chip = micro_result(result["model"]["sha256"])
    jsonschema.validate(chip, schema)
    (tmp_path / "chip.json").write_text(json.dumps(chip))
    assert run(["bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "chip.json")]) == 0
    out = capsys.readouterr().out
    assert "ethos-u55-128" in out and "4,096" in out and "1.25" in out and "cannot be compiled" in out
    assert max(map(len, out.splitlines())) <= 80


def micro_result(sha256):
    """As `bench --micro` writes it."""
    unknown = dict.fromkeys(("persistent_bytes", "parts", "less"))
    arena = {"version": "0", "runs": True, "why": None, "arena_bytes": 4096, "activations_bytes": 4000, **unknown}
    sizes = dict.fromkeys(
        ("sram_bytes", "dram_bytes", "on_chip_flash_bytes", "off_chip_flash_bytes", "compiled_bytes"), 7
    )
    counts = {"cycles": 1000, "estimated_ms": 1.25, "operators": 7, "operators_on_npu": 6, "operators_on_cpu": []}
    return {
        "format": micro.FORMAT,
        "format_version": micro.FORMAT_VERSION,
        "skin_edge": "0",
        "model": {"path": "m", "sha256": sha256, "bytes": 9000, "network_bytes": 8000, "inputs": [], "outputs": []},
        "verdict": "runs",
        "why": None,
        "tflite_micro": arena,
        "operators": [],
        "operators_lacking": [],
        "resolver": [],
        "npus": [
            {"npu": "ethos-u55-128", "vela": "5", "compiles": True, "why": None, **sizes, **counts},
            {"npu": "ethos-u65-256", "vela": "5", "compiles": False, "why": "too large"},
        ],
    }


def test_results_of_other_files_or_versions_are_not_compared(tmp_path, capsys):
    def write(name, version=1, sha256="a" * 64):
        model = {"sha256": sha256, "path": "m.tflite"}
        (tmp_path / name).write_text(
            json.dumps({"format": measure.FORMAT, "format_version": version, "model": model, "engines": []})
        )
        return str(tmp_path / name)

    a, other, newer = write("a.json"), write("b.json", sha256="b" * 64), write("c.json", version=2)
    for paths, said in (
        ((a, other), "different model files"),
        ((a, newer), "of version 2"),
        ((a,), "two or more"),
        ((a, str(tmp_path / "none.json")), "no such file"),
    ):
        assert run(["bench", "--compare", *paths]) == 2 or said != "different model files"
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "litert"], "litert-xnnpack"),
        (["--engine", "delegate:/no/such.so"], "no such file: /no/such.so"),
        (["--engine", "delegate:"], "PATH is missing"),
        (["--engine", "tflm", "--sweep"], "leave --sweep out"),
        (["--engine", "tflm", "a.tflite", "b.tflite"], "one MODEL"),
        (["--engines-dir", "x"], "goes with --engine"),
        (["--engine", "tflm", "--split", "val"], "--data"),
    ],
)
def test_a_wrong_command_line_is_one_clear_line(arguments, said, capsys):
    assert run(["bench", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_a_delegates_options_are_read():
    [engine] = catalogue.named([f"delegate:{__file__}?a=1&b=x=y"])
    assert engine.options["delegate_options"] == {"a": "1", "b": "x=y"}
    with pytest.raises(UsageError, match="key=value"):
        catalogue.named([f"delegate:{__file__}?a"])
    with pytest.raises(UnknownNameError):
        catalogue.named(["xnnpack"])
    assert [engine.name for engine in catalogue.named(["all"])] == list(catalogue.ENGINES)


def test_the_default_gate_lets_an_engine_pass_that_is_not_here_unless_it_was_named(tmp_path):
    one = {"name": "tflm", "verdict": None, "install": "pip", "detail": "gone", "status": "not available"}
    assert limits.judge({"engines": [one]}, limits.DEFAULT, "default", ["all"])["passed"]
    assert not limits.judge({"engines": [one]}, limits.DEFAULT, "default", ["tflm"])["passed"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tflite-runtime", "tflm", "mediapipe", "litertjs-wasm"])
def test_the_line_that_installs_an_engine_does(name, asked, tmp_path):
    """On the packaged model in LiteRT.js, which refuses the miniature: the batch size of its input is not fixed."""
    [engine] = catalogue.named([name])
    found = catalogue.find(engine, tmp_path)
    if found.command is None:
        program = found.install.split()[0]
        if shutil.which(program) is None or "sudo" in found.install:
            pytest.skip(f"it would need: {found.missing}")
        subprocess.run(found.install, shell=True, check=True)
        found = catalogue.find(engine, tmp_path)
    classifier, prepared = asked
    if name == "litertjs-wasm":
        one = measure.measured(found, classifier, prepared, EngineSettings([name]), None)
        assert one["verdict"]["use"] == verdict.NO and "litert_layout" in reasons(one)
        classifier, plain = SkinClassifier(DEFAULT_MODEL), SkinClassifier(DEFAULT_MODEL, delegate="none")
        (tmp_path / "prepared").mkdir()
        prepared = prepare(classifier, plain, [], tmp_path / "prepared")
    one = measure.measured(found, classifier, prepared, EngineSettings([name]), None)
    assert one["status"] == "answered", one["detail"]
    assert one["verdict"]["use"] in (verdict.YES, verdict.MARGIN), reasons(one)


def test_labels_of_data_need_data(tiny_int8, tmp_path, capsys):
    table = tmp_path / "labels.csv"
    table.write_text("code,name,malignant\nmel,Melanoma,1\n")
    assert run(["bench", str(tiny_int8), "--engine", "litert-xnnpack", "--labels", str(table)]) == 2
    assert "names the classes of --data, which is not given" in capsys.readouterr().err
