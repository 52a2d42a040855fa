"""Whatever is changed in the files of a run ends in one line, quickly, and never in a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from time import perf_counter

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skin_edge.benchmarks import diff, gate
from skin_edge.benchmarks.inputs import documents
from skin_edge.benchmarks.report import terminal
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import DataError, SkinEdgeError, UsageError
from skin_edge.train import compare, cross_validation, evaluate
from skin_edge.train.data import tables
from skin_edge.train.reports import run_results
from skin_edge.train.runs import run_folder

from .miniatures import one_line

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["", "abc", "\x1b[2J\n", "9" * 5000, "x" * 200_000, [], {}, [[]], {"a": 1}, 2**70, -1, 0, 1.5, ["a"]]
    ),
)


def read_all(folder: Path) -> None:
    """Everything that later commands read of a run; the damage is an error of ours or nothing."""
    for read in (
        lambda: (run_folder.read(folder).encoding, run_folder.read(folder).seed),
        lambda: run_folder.learned_from(run_folder.read(folder)),
        lambda: evaluate._frozen(run_folder.read(folder)),
        lambda: compare.compare([compare.read(folder)] * 2),
    ):
        try:
            read()
        except SkinEdgeError as error:
            assert len(str(error)) < 500_000


def replaced(value, path, odd):
    """`value` with what is at `path` (numbers that choose a member) replaced, or removed for "gone"."""
    if not path or not isinstance(value, list | dict) or not value:
        return odd
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[path[0] % len(keys)]
    if odd == "gone" and (len(path) == 1 or not isinstance(value[key], list | dict)):
        return {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value[1:]
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[key] = replaced(value[key], path[1:], odd)
    return changed


@pytest.fixture(scope="module")
def copy(measured_run, tmp_path_factory):
    return shutil.copytree(measured_run, tmp_path_factory.mktemp("copy") / "run")


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(compare, "BOOTSTRAP", 2)


many = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@many
@given(
    st.sampled_from(["config.yaml", "metrics.json"]), st.lists(st.integers(0, 99), max_size=4), ODD | st.just("gone")
)
def test_a_changed_value(copy, measured_run, name, path, odd):
    text = (measured_run / name).read_text(encoding="utf-8")
    if name.endswith(".yaml"):
        changed = yaml.safe_dump(replaced(yaml.safe_load(text), path, odd))
    else:
        changed = json.dumps(replaced(json.loads(text), path, odd))
    try:
        (copy / name).write_text(changed, encoding="utf-8")
        read_all(copy)
    finally:
        shutil.copy(measured_run / name, copy / name)


@many
@given(
    st.sampled_from(["split.csv", "predictions.csv"]),
    st.sampled_from(["drop", "twice", "cell", "row", "cut", "byte"]),
    st.integers(0, 10**6),
    st.text(max_size=8) | st.sampled_from(["nan", "inf", "-1", "1e999", '"', "x" * 200_000]),
)
def test_a_changed_table(copy, measured_run, name, change, at, odd):
    content = (measured_run / name).read_bytes()
    lines = [line.split(",") for line in content.decode().splitlines()]
    column, row = at % len(lines[0]), at % len(lines)
    if change == "drop":
        lines = [line[:column] + line[column + 1 :] for line in lines]
    elif change == "twice":
        lines = [[*line, line[column]] for line in lines]
    elif change == "cell":
        lines[row][column % len(lines[row])] = odd
    elif change == "row":
        lines[row] = [odd] * (at % 30)
    changed = "\n".join(",".join(line) for line in lines).encode("utf-8", "surrogatepass")
    if change == "cut":
        changed = content[: at % len(content)]
    elif change == "byte":
        changed = content[: at % len(content)] + bytes([at % 256]) + content[at % len(content) + 1 :]
    try:
        (copy / name).write_bytes(changed)
        read_all(copy)
    finally:
        shutil.copy(measured_run / name, copy / name)


BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[" * 3000, "nest"),
        (BOMB, "anchors and aliases"),
        ("a: [", "line 2"),
        ("a: " + "x" * 2_000_000, "more than 1 MB"),
        ("!!python/object/apply:os.system [id]", "constructor"),
        ("\0", "not YAML"),
        ("", "no settings|names no limits"),
        ("a: 0001-00-00", "not YAML"),
    ],
)
def test_yaml_of_others(text, says, tmp_path, measured_run):
    folder = shutil.copytree(measured_run, tmp_path / "run")
    (folder / "config.yaml").write_text(text)
    (tmp_path / "gate.yaml").write_text(text)
    start = perf_counter()
    with pytest.raises(DataError, match=says):
        run_folder.read(folder)
    with pytest.raises(UsageError, match=says):
        gate.read_gate(str(tmp_path / "gate.yaml"))
    assert perf_counter() - start < 5


def test_json_that_is_nested_too_deep(tmp_path):
    (tmp_path / "metrics.json").write_text("[" * 200_000)
    with pytest.raises(DataError, match="nested too deep"):
        documents.read_json(tmp_path / "metrics.json")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("seed", "abc", "seed must be a whole number, not 'abc'"),
        ("seed", -1, "seed is outside"),
        ("recipe", {"epochs": "many"}, "recipe.summary is missing|recipe.name is missing"),
        ("labels", ["mel"], "labels must be named values"),
        ("labels", [], "two or more different codes"),
        ("split", None, "split must be a text, not None"),
        ("data", {}, "data.layout is missing"),
    ],
)
def test_the_field_is_named(field, value, says, tmp_path, measured_run):
    folder = shutil.copytree(measured_run, tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**config, field: value}))
    with pytest.raises(DataError, match=says):
        run_folder.read(folder)


def test_a_setting_of_another_type_is_named(tmp_path, measured_run, capsys):
    folder = shutil.copytree(measured_run, tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["recipe"]["augmentation"]["rotation"] = "a lot"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert run(["convert", str(folder), "--int8"]) == 1
    assert "recipe.augmentation.rotation must be a number, not 'a lot'" in one_line(capsys)


def test_fifty_thousand_columns_take_no_time(tmp_path):
    path, names = tmp_path / "wide.csv", [f"c{number}" for number in range(50_000)]
    path.write_text(",".join([*names, "image_id", "split"]) + "\n" + "1," * 50_000 + "a,train\n")
    start = perf_counter()
    assert tables.read(path, ("image_id", "split")).to_dict("list") == {"image_id": ["a"], "split": ["train"]}
    assert perf_counter() - start < 10
    path.write_text(",".join(f"p_{name}" for name in names) + "\n")
    with pytest.raises(DataError, match="more than 5000"):
        tables.read(path, ("label",), numbers="p_")


def test_a_column_twice_is_asked_about(tmp_path):
    (tmp_path / "split.csv").write_text("image_id,split,split\na,train,test\n")
    with pytest.raises(DataError, match="column split twice"):
        tables.read(tmp_path / "split.csv", ("image_id", "split"))


def test_names_that_are_no_text_come_back_as_they_were(tmp_path):
    import os

    import pandas as pd

    from skin_edge.edge_runtime import files

    name = os.fsdecode(b"caf\xe9\r.jpg")
    table = pd.DataFrame({"image_id": [name, "'=x"], "split": ["train", "test"]})
    files.write(tmp_path / "split.csv", tables.text(table))
    assert tables.read(tmp_path / "split.csv", ("image_id", "split"))["image_id"][0] == name
    files.write(tmp_path / "config.yaml", yaml.safe_dump({"folder": name}, allow_unicode=True))
    assert documents.read_yaml(tmp_path / "config.yaml") == {"folder": name}


ROW = dict(zip(tables.HISTORY_COLUMNS, (1, 0.001, 1.5, 0.4, 1.4, 0.5, 0.4, 0.7), strict=True))
STATE = {
    "epoch": 2, "learning_rate": 0.001, "best_epoch": 1, "best_score": 0.4, "plateau_loss": float("inf"),
    "plateau_wait": 0, "seconds": 3.5, "images": 64, "history": [ROW, {**ROW, "epoch": 2}],
}  # fmt: skip


def read_state(folder, content):
    from skin_edge.train.loop import checkpoints

    (folder / "state.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return checkpoints.read_state(folder / "state.json")


@many
@given(st.lists(st.integers(0, 99), max_size=3), ODD | st.just("gone"))
def test_a_changed_state_of_a_training(tmp_path, path, odd):
    assert read_state(tmp_path, STATE).history[1]["epoch"] == 2
    try:
        state = read_state(tmp_path, replaced(STATE, path, odd))
    except DataError as error:
        assert "state" in str(error) and "\n" not in str(error)[:200]
    else:  # another number that could be one
        assert state.best_epoch in (1, 2) and all(abs(value) <= 1e15 for row in state.history for value in row.values())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epoch": "2"}, "state.epoch must be a whole number"),
        ({"epoch": True}, "state.epoch must be a whole number"),
        ({"epoch": 3}, "do not agree"),
        ({"best_epoch": 3}, "do not agree"),
        ({"best_epoch": -(2**70)}, "state.best_epoch is out of range"),
        ({"learning_rate": float("nan")}, "state.learning_rate is out of range"),
        ({"seconds": 10**400}, "state.seconds is out of range"),
        ({"best_score": float("inf")}, "state.best_score is out of range"),
        ({"history": [ROW, ROW]}, "row 2 of state.history must be of epoch 2"),
        ({"history": [ROW, {**ROW, "epoch": 2, "val_loss": float("nan")}]}, "row 2 .* out of range"),
        ({"history": [ROW, {"epoch": 2}]}, "row 2 .* hold epoch, learning_rate"),
        ({"history": {}}, "state.history must be a list"),
        ({"more": 1}, "state.more is not a field"),
    ],
)
def test_what_is_wrong_with_a_state_is_named(change, says, tmp_path):
    with pytest.raises(DataError, match=says):
        read_state(tmp_path, {**STATE, **change})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"epoch": ' + "9" * 5000 + "}", "\udcff"])
def test_what_is_no_state(text, tmp_path):
    with pytest.raises(DataError):
        read_state(tmp_path, text.encode("utf-8", "surrogateescape").decode("latin-1"))
    from skin_edge.train.loop import checkpoints

    (tmp_path / "epoch-0001").mkdir()
    (tmp_path / "epoch-0001.old").mkdir()  # of a user
    (tmp_path / "epoch-x").mkdir()
    assert checkpoints.latest_epoch(tmp_path) == 1
    with pytest.raises(DataError, match="epoch-0001 cannot be restored: no such file"):
        checkpoints.restore_latest(tmp_path, None, None)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["epoch,loss", "1,2"], "no column learning_rate"),
        ([",".join(ROW), ",".join(["x"] * len(ROW))], "could not convert"),
        ([",".join(ROW), ",".join(["nan"] * len(ROW))], "what is not a number"),
        ([",".join(ROW), ",".join(["1e999"] * len(ROW))], "what is not a number"),
        ([",".join(ROW)], "holds no epoch"),
        ([",".join([*ROW, "loss"]), ",".join(["1"] * (len(ROW) + 1))], "column loss twice"),
        ([""], "no column epoch"),
    ],
)
def test_a_damaged_history(lines, says, tmp_path):
    (tmp_path / "history.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=says):
        run_results.read_history(tmp_path / "history.csv")


def test_a_history_of_fifty_thousand_columns(tmp_path):
    names = [*ROW, *(f"c{number}" for number in range(50_000))]
    (tmp_path / "history.csv").write_text(",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    start = perf_counter()
    assert list(run_results.read_history(tmp_path / "history.csv")) == list(ROW)
    assert perf_counter() - start < 10


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "must be named values"),
        ("folds: .inf\nnear_duplicates: {}", "folds.yaml.folds must be a whole number"),
        ("folds: '5'\nnear_duplicates: {}", "folds.yaml.folds must be a whole number"),
        ("folds: 5", "folds.yaml.near_duplicates is missing"),
    ],
)
def test_damaged_folds(text, says, tmp_path):
    (tmp_path / "folds.yaml").write_text(text)
    with pytest.raises(DataError, match=says):
        cross_validation.read(tmp_path)
    (tmp_path / "metrics.json").write_text('{"split": {"leaked_share_of_test": "x"}, "training": {}}')
    with pytest.raises(DataError, match=r"metrics\.split\.leaked_share_of_test must be a number"):
        cross_validation._figures(tmp_path / "metrics.json")


RESULT = {
    "measured_at": "now",
    "model": {"path": "a.tflite", "precision": "int8"},
    "machine": {"board": "x", "memory_bytes": 2**30, "versions": {"numpy": "1"}},
    "size": {"file_bytes": 10, "network_bytes": 9},
    "latency": {"median_ms": 1.5, "stages": {"decode": {"median_ms": 1}}, "num_threads": 1},
    "memory": {"peak_bytes": 100},
    "accuracy": {"agreement": 0.9, "model": {"n": 3, "accuracy": 0.5, "calibration": {"ece": 0.1}}},
    "data": {"path": "x", "split": None},
}


@many
@given(st.lists(st.integers(0, 99), max_size=4), ODD | st.just("gone"))
def test_a_changed_result_of_bench(tmp_path, path, odd):
    (tmp_path / "x.json").write_text(json.dumps(replaced(RESULT, path, odd)))
    try:
        changed = diff.read_result(tmp_path / "x.json")
    except DataError:
        return
    for pair in ((RESULT, changed), (changed, RESULT)):
        found = diff.compare(*pair, different_machines=True)
        assert all(len(line) <= 80 for line in terminal.text(diff.document(found)).splitlines())
