"""The engines that are known, what each of them needs, and how its worker is started."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...edge_runtime.errors import UnknownNameError, UsageError

WORKERS = Path(__file__).with_name("workers")
FOLDER = Path.home() / ".cache" / "skin-edge" / "engines"
"""Where the engines' own environments are, unless the user says otherwise."""

ALL, DELEGATE = "all", "delegate:"

_LITERT = "ai_edge_litert"
_RUNTIME = "tflite_runtime"
_NPM = ("@litertjs/core@2.5.3", "playwright-core@1.65.1")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


@dataclass(frozen=True)
class Engine:
    """One way to run a .tflite.

    Attributes:
        worker: Its file in workers/.
        about: One line.
        options: What the worker is given (`protocol.py`).
        module: What its Python has to hold, "" for a worker in another language.
        requirements: What pip or npm installs for it, in the environment `environment` below the engines' folder.
        python: Of that environment, where only one will do.
        accelerator: What must run the operators; None where any kernels will do.
    """

    name: str
    worker: str
    about: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    module: str = ""
    requirements: Sequence[str] = ()
    environment: str = ""
    python: str = "python3"
    accelerator: str | None = None


def _interpreter(name: str, about: str, kernels: str) -> Engine:
    options = {"package": _LITERT, "kernels": kernels}
    return Engine(name, "interpreter.py", about, options, _LITERT, ("ai-edge-litert>=2.0.2,<2.4",), "litert")


def _compiled(name: str, about: str, accelerator: str) -> Engine:
    return Engine(
        name,
        "compiled_model.py",
        about,
        {"accelerators": [accelerator]},
        _LITERT,
        ("ai-edge-litert>=2.0.2,<2.4",),
        "litert",
        accelerator=None if accelerator == "CPU" else accelerator,
    )


def _browser(name: str, about: str, accelerator: str, arguments: Sequence[str] = ()) -> Engine:
    options = {"accelerator": accelerator, "arguments": list(arguments)}
    needed = None if accelerator == "wasm" else accelerator
    return Engine(name, "litertjs.mjs", about, options, "", _NPM, "litertjs", accelerator=needed)


ENGINES = {
    engine.name: engine
    for engine in (
        _interpreter("litert-xnnpack", "LiteRT's interpreter with XNNPACK, its default", "xnnpack"),
        _interpreter("litert-plain", "LiteRT's interpreter with its plain kernels, without XNNPACK", "plain"),
        _compiled("litert-compiled-cpu", "LiteRT's CompiledModel on the processor", "CPU"),
        _compiled("litert-compiled-gpu", "LiteRT's CompiledModel on the GPU, by WebGPU or OpenCL", "GPU"),
        Engine(
            "tflite-runtime",
            "interpreter.py",
            "tflite-runtime 2.14, the last one, with XNNPACK",
            {"package": _RUNTIME, "kernels": "xnnpack"},
            _RUNTIME,
            ("tflite-runtime==2.14.0", "numpy<2"),
            "tflite-runtime",
            "python3.11",
        ),
        Engine(
            "tflm",
            "tflm.py",
            "TFLite Micro's portable kernels, as on a microcontroller",
            module="tflite_micro",
            requirements=("tflite-micro", "numpy"),
            environment="tflm",
        ),
        Engine(
            "mediapipe",
            "mediapipe_tasks.py",
            "MediaPipe Tasks' ImageClassifier, given pictures of the input's size",
            module="mediapipe",
            requirements=("mediapipe==1.2.2",),
            environment="mediapipe",
        ),
        _browser("litertjs-wasm", "LiteRT.js in headless Chromium, one thread of WebAssembly", "wasm"),
        _browser("litertjs-webgpu", "LiteRT.js in headless Chromium, WebGPU in software", "webgpu", _SOFTWARE_GPU),
    )
}


@dataclass(frozen=True)
class Found:
    """An engine as it is here.

    Attributes:
        command: What starts its worker, before the job; None where it is not available, and `missing` says what is
            missing, `install` the line that installs it.
    """

    engine: Engine
    command: tuple[str, ...] | None
    options: Mapping[str, Any]
    missing: str = ""
    install: str = ""


def named(names: Sequence[str]) -> list[Engine]:
    """The engines of these names, each once, in the order given. "all" is all of ENGINES.

    A name may be "delegate:PATH" or "delegate:PATH?key=value&key=value", an external delegate and its options.
    Raises UnknownNameError for a name, UsageError where a delegate is no file.
    """
    found: dict[str, Engine] = {}
    for name in names:
        if name.startswith(DELEGATE):
            found[name] = _delegate(name)
        elif name == ALL:
            found |= ENGINES
        elif name in ENGINES:
            found[name] = ENGINES[name]
        else:
            raise UnknownNameError("engine", name, [*ENGINES, f"{DELEGATE}PATH", ALL])
    return list(found.values())


def _delegate(name: str) -> Engine:
    path, _, text = name.removeprefix(DELEGATE).partition("?")
    pairs = [pair.partition("=") for pair in text.split("&") if pair]
    if not Path(path).is_file():
        raise UsageError(f"--engine {name}: no such file: {path or 'PATH is missing'}")
    if not all(key and equals for key, equals, _ in pairs):
        raise UsageError(f"--engine {name}: write its options as ?key=value&key=value")
    package = _LITERT if _has(_LITERT) or not _has(_RUNTIME) else _RUNTIME
    return Engine(
        name,
        "interpreter.py",
        "an external delegate, XNNPACK for what it leaves",
        {
            "package": package,
            "kernels": "xnnpack",
            "delegate": str(Path(path).resolve()),
            "delegate_options": {key: value for key, _, value in pairs},
        },
        package,
        ("ai-edge-litert>=2.0.2,<2.4",),
        "litert",
        accelerator=Path(path).name,
    )


def find(engine: Engine, folder: Path = FOLDER) -> Found:
    """How the engine is started here.

    Args:
        folder: With the engines' own environments.
    """
    home = folder / engine.environment
    if engine.worker.endswith(".mjs"):
        return _find_browser(engine, home)
    own = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if own.is_file():
        python = str(own)
    elif _has(engine.module):
        python = sys.executable
    else:
        make = f"{engine.python} -m venv {shlex.quote(str(home))}"
        pip = shlex.join([str(own), "-m", "pip", "install", *engine.requirements])
        return Found(engine, None, engine.options, f"{engine.module} is not installed", f"{make} && {pip}")
    return Found(engine, (python, str(WORKERS / engine.worker)), engine.options)


def _find_browser(engine: Engine, home: Path) -> Found:
    node, browser = shutil.which("node"), next(filter(None, map(shutil.which, _BROWSERS)), None)
    modules = home / "node_modules"
    lines: list[str] = []
    programs = [
        name for name, path in (("nodejs", node), ("npm", shutil.which("npm")), ("chromium", browser)) if not path
    ]
    packages = all((modules / name.rpartition("@")[0]).is_dir() for name in engine.requirements)
    if packages and "npm" in programs:
        programs.remove("npm")
    if programs:
        lines.append(f"sudo apt install -y {' '.join(programs)}")
    if not packages:
        lines.append(shlex.join(["npm", "install", "--prefix", str(home), *engine.requirements]))
    if node is None or browser is None or lines:
        missing = ", ".join([*programs, *([] if packages else engine.requirements)])
        return Found(engine, None, engine.options, f"not installed: {missing}", " && ".join(lines))
    options = {**engine.options, "modules": str(modules.resolve()), "chromium": browser}
    return Found(engine, (node, str(WORKERS / engine.worker)), options)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
