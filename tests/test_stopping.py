"""Ctrl-C and SIGTERM: one line, the exit code of the signal, nothing half written, whatever a library makes of them."""

from __future__ import annotations

import errno
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from skin_edge.edge_runtime import cli, files
from skin_edge.edge_runtime.errors import UnwritableError

from . import miniatures

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]

HOLDS = """
import os, signal, sys, time
from skin_edge.edge_runtime import cli, files, info
def waits(*_, **__):
    with files.replacing_folder("out") as new, files.alone_in("work", "skin-edge train", resume=RESUME):
        (new / "half").write_text("")
        print("begun", flush=True)
        try:
            time.sleep(60)
        except KeyboardInterrupt as error:
            CONVERT
info.read = waits
cli.main()
"""


def held(tmp_path, number, convert="raise", resume="None", arguments=("info", "a model.tflite")):
    """A command that is stopped while it holds a folder and has half written another: its exit code and stderr."""
    script = HOLDS.replace("CONVERT", convert).replace("RESUME", resume)
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    said = process.communicate(timeout=30)[1]
    assert list(tmp_path.iterdir()) == []
    return process.returncode, said.strip()


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("convert", ["raise", "raise RuntimeError('UnknownError: KeyboardInterrupt') from error"])
def test_a_stopped_command_is_one_line_and_leaves_nothing(tmp_path, number, code, convert):
    assert held(tmp_path, number, convert) == (code, "error: interrupted")


@pytest.mark.parametrize("convert", ["raise", "raise RuntimeError('UnknownError: KeyboardInterrupt') from error"])
@pytest.mark.parametrize("flags", [[], ["--overwrite"], ["--resume"]])
def test_what_can_go_on_says_the_line(tmp_path, convert, flags):
    words = ["info", "a model's.tflite"]  # stands for train, and knows none of its flags
    convert = f"cli.sys.argv[1:] = {[*words, *flags]!r}\n            {convert}"
    code, said = held(tmp_path, signal.SIGINT, convert, "False", words)
    assert code == 130
    assert shlex.split(said.removeprefix("error: interrupted; to continue: ")) == ["skin-edge", *words, "--resume"]


def test_an_interruption_that_python_would_forget_is_given_again(tmp_path):
    """As from a destructor, where an exception is printed and lost."""
    lost = """
            pass
        class Late:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(1)
        Late()
        time.sleep(30)
        print("went on", file=sys.stderr)"""
    script = HOLDS.replace("RESUME", "None").replace("            CONVERT", lost)
    script = script.replace("time.sleep(60)", "pass").replace('print("begun", flush=True)', "")
    done = subprocess.run([sys.executable, "-c", script, "info"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (130, "error: interrupted")
    assert list(tmp_path.iterdir()) == []


def test_what_an_inner_block_says_does_not_hold_outside(tmp_path):
    def within(error):
        with (
            files.alone_in(tmp_path / "out", "quickstart"),
            files.alone_in(tmp_path / "out" / "run", "train", resume=False),
        ):
            raise error

    with pytest.raises(KeyboardInterrupt) as stopped:
        within(KeyboardInterrupt())
    assert str(stopped.value) == ""
    with pytest.raises(UnwritableError) as full:
        within(OSError(errno.ENOSPC, "No space left on device"))
    assert "--resume" not in str(full.value)


GENTLY = """
import signal, sys, time
from skin_edge.edge_runtime import stopping
stopping.listen()
def more():
    for number in SIGNALS:
        signal.raise_signal(number)
with stopping.gently(lambda: print("stops")):
    signal.raise_signal(signal.SIGTERM)
    WITHIN
AFTER
"""


@pytest.mark.parametrize("where", ["WITHIN", "AFTER"])
def test_a_second_sigterm_changes_nothing_and_ctrl_c_still_stops(where):
    for signals, code in (("15, 15", 0), ("15, 2", 1)):
        script = GENTLY.replace(where, "more()").replace("WITHIN", "pass").replace("AFTER", "")
        script = script.replace("SIGNALS", f"({signals})")
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert (done.stdout, done.returncode == 0) == ("stops\n", code == 0), done.stderr
        assert ("KeyboardInterrupt" in done.stderr) == bool(code)


def test_a_signal_that_the_parent_had_ignored_stays_so():
    script = (
        "import signal; from skin_edge.edge_runtime import stopping\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN); stopping.listen()\n"
        "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
        "assert signal.getsignal(signal.SIGTERM) is stopping._stop"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_stopped_while_the_command_line_is_loading(tmp_path):
    (tmp_path / "click.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(30)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "skin_edge.edge_runtime", "info"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == -signal.SIGINT  # which a shell calls 130


def test_a_stopped_quickstart_leaves_nothing(tmp_path, monkeypatch, capsys):
    from skin_edge.convert import quickstart

    def stopped(settings, report):
        assert settings.data.is_dir()
        with files.alone_in(settings.out, "skin-edge train", resume=False):
            raise KeyboardInterrupt

    monkeypatch.setattr(quickstart, "draw_dataset", lambda folder, seed: folder.mkdir(parents=True))
    monkeypatch.setattr(quickstart, "train", stopped)
    assert cli.run(["quickstart", "--out", str(tmp_path / "out")]) == 130
    assert miniatures.one_line(capsys) == "error: interrupted"
    assert list(tmp_path.iterdir()) == []


COMMANDS = {
    "predict": ("predict MODEL DATA DATA DATA", 1),
    "bench": ("bench MODEL --data DATA --html OUT.html --processes 2", 4),
    "bundle": ("bundle --out OUT", 6),
    "data": ("data DATA --out OUT", 4),
    "evaluate": ("evaluate MODEL DATA --out OUT", 6),
    "train": ("train DATA --out OUT --recipe quickstart --set image_size=[32,32] --set epochs=60", 15),
    "tune": ("tune DATA --out OUT --recipe quickstart --set image_size=[32,32] --set epochs=60", 15),
    "quickstart": ("quickstart --out OUT", 15),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_stopped_at_any_moment(command, tiny_int8, tmp_path):
    """As a terminal does it: the signal goes to the processes that the command started as well."""
    import os

    data = miniatures.class_folders(tmp_path / "the data", images=20, codes=("mel", "nv", "bcc"))
    line, seconds = COMMANDS[command]
    (tmp_path / "here").mkdir()
    words = {"MODEL": str(tiny_int8), "DATA": str(data), "OUT": "out", "OUT.html": "out.html"}
    arguments = [words.get(word, word) for word in line.split()]
    for turn in range(6):
        number, code = SIGNALS[turn % 2]
        process = subprocess.Popen(
            [sys.executable, "-m", "skin_edge.edge_runtime", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path / "here",
            start_new_session=True,
        )
        time.sleep(random.Random(turn).uniform(0.3, seconds))
        os.killpg(process.pid, number)
        said = process.communicate(timeout=60)[1]
        if "Fatal Python error: init" in said:  # Python itself was starting
            continue
        # Before it listens, and when it exits, Python's own handlers or none are there.
        assert process.returncode in (0, code, -number), said
        assert "Traceback" not in said and "gnored" not in said
        if process.returncode == code:
            assert said.splitlines()[-1].startswith("error: interrupted")
        assert not list((tmp_path / "here").rglob(".*")) or process.returncode == -number
        if process.returncode == 0:  # it was done before the signal
            shutil.rmtree(tmp_path / "here")
            (tmp_path / "here").mkdir()
            arguments = [argument for argument in arguments if argument != "--resume"]
        elif command in ("train", "tune") and (tmp_path / "here" / "out").exists():
            arguments = [*arguments, "--resume"] if "--resume" not in arguments else arguments
