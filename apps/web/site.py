"""The site: every file of it, made in memory."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...benchmarks.bundle import hand_over
from ...benchmarks.measure.picture import generated_picture
from ...edge_runtime import __version__, assessment, info, packaged
from ...edge_runtime import files as disk
from ...edge_runtime.classifier import SkinClassifier
from ...edge_runtime.contract import LOGITS, possible_thresholds
from ...edge_runtime.errors import OutputExistsError, UsageError
from ...edge_runtime.model_file import ModelFile, read_model_file
from . import icons, litert_js

MARK = "sw.js"
"""The file by which a folder is known to be a site."""

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".tflite": "application/octet-stream",
    ".bin": "application/octet-stream",
}
"""Suffix of a site's file -> its media type, for a server of one's own."""

_PORT = ("skin-edge.js", "jpeg.js", "profile.js", "litert.js", "browser.js")
_SHOWN = ("name", "precision", "intended_use", "notice", "license", "labels", "thresholds", "limits", "quantization")


GOLDEN = ("golden.json", "golden.bin")
"""What "Check this device" needs, and nothing else."""


def files(model: Path | None = None, *, runtime: Path | None = None, server: bool = False) -> dict[str, bytes]:
    """Path within the site -> content, in a fixed order; the same input gives the same bytes.

    Args:
        model: A .tflite of contract format 4; None for the packaged one.
        runtime: A node_modules folder with LiteRT.js, which is copied into the site; None where the page
            fetches it from `litert_js.URL`.
        server: Whether the API `v1/predict` is beside the page, for browsers that cannot run the model.

    Raises:
        UsageError: For a model of another format or of others, and a runtime of another version.
        ModelFileError: Where the model cannot be read.
    """
    if server:
        return {**served(model, runtime=runtime), **golden(model)}
    file = _page_model(model)
    return _made(file, runtime, golden(file), server=False)


def served(model: Path | None = None, *, runtime: Path | None = None) -> dict[str, bytes]:
    """As `files` with `server`, but without GOLDEN, which takes seconds to make: the server makes them when they are
    asked for, and a browser does not keep them for offline use.

    Args:
        model: As `files` takes it.
        runtime: As `files` takes it.
    """
    return _made(_page_model(model), runtime, {}, server=True)


def golden(model: Path | ModelFile | None = None) -> dict[str, bytes]:
    """GOLDEN: the lines of golden.jsonl, and the picture that `bench` times, with where they lie in golden.bin.

    Args:
        model: As `files` takes it, or what was read of it.
    """
    with SkinClassifier(model) as classifier:
        found = hand_over.golden_pictures(classifier)
    contents, parts = found.files, list[bytes]()

    def put(content: bytes) -> list[int]:
        start = sum(map(len, parts))
        parts.append(content)
        return [start, start + len(content)]

    for line in found.lines:
        line.pop("outputs", None)
        line["bytes"] = put(contents[line["file"]])
        if "input" in line:
            line["input"]["bytes"] = put(contents[line["input"]["file"]])
    timed = generated_picture()
    document = {"lines": found.lines, "timed": {"image": timed.description, "bytes": put(timed.content)}}
    return dict(zip(GOLDEN, (json.dumps(document).encode() + b"\n", b"".join(parts)), strict=True))


def _page_model(model: Path | None) -> ModelFile:
    """Raises UsageError for one that the page cannot follow."""
    file = read_model_file(packaged.path_of(model))
    if file.contract.get("format_version", 0) < 4 or file.scores == LOGITS:
        raise UsageError(
            f"{file.path} has no contract of format 4 with probabilities, which the page can follow: convert its run "
            "again, or see python -m skin_edge.convert.renew --help"
        )
    if "metadata" in file.contract:
        raise UsageError(f"{file.path} asks for what is known of the patient, which the page does not: use 'predict'")
    return file


def _made(file: ModelFile, runtime: Path | None, golden: Mapping[str, bytes], *, server: bool) -> dict[str, bytes]:
    own = _own_runtime(runtime) if runtime else {}
    with SkinClassifier(file) as classifier:
        documents = hand_over.documents(file, info.describe(classifier, file))
    ports = hand_over.ports()
    texts = json.loads(_page("texts.json"))
    config = _config(own, server)
    made = {
        "style.css": _page("style.css"),
        **{path.name: path.read_bytes() for path in sorted(_folder().iterdir()) if _is_module(path.name)},
        **{f"port/{name}": ports[f"ports/js/{name}"] for name in _PORT},
        "texts.js": b"export default " + json.dumps(texts, indent=1, ensure_ascii=False).encode() + b";\n",
        "model.tflite": file.content,
        "model.json": _json(_facts(file)),
        **documents,
        **golden,
        **{f"runtime/{_own_name(name)}": content for name, content in own.items()},
        "icon.svg": icons.svg(),
        "icon-192.png": icons.png(192),
        "icon-512.png": icons.png(512),
        "icon-whole-512.png": icons.png(512, whole=True),
        "manifest.webmanifest": _json(_manifest(texts)),
        "index.html": _rendered(_page("index.html").decode(), {**texts, "csp": policy(own=bool(own))}).encode(),
    }
    version = _version({**made, "config.json": _json(config)})
    made["config.json"] = _json({**config, "version": version})
    made[MARK] = _service_worker(made, version)
    return made


def write(out: Path, made: Mapping[str, bytes], *, overwrite: bool = False) -> None:
    """Writes a site to the folder `out`; whole or not at all.

    Args:
        made: Path within the site -> content.
        overwrite: Whether an earlier site is replaced.

    Raises:
        OutputExistsError: Where something is there and may not be replaced, or is not a site.
        UnwritableError: Where it cannot be written.
    """
    if out.exists() and not (overwrite and (out / MARK).is_file()):
        raise OutputExistsError(out)
    disk.write_folder(out, made)


def policy(*, own: bool) -> str:
    """The page's Content-Security-Policy.

    Args:
        own: Whether the runtime lies in the site. Elsewhere it is fetched, compared with its digests and then run
            from memory, which is what blob: is for.
    """
    blob, host = ("", "") if own else (" blob:", f" {litert_js.URL}")
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'wasm-unsafe-eval'{blob}",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            f"connect-src 'self'{host}",
            "manifest-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types default",
        )
    )


def _folder() -> Path:
    return Path(__file__).with_name("page")


def _page(name: str) -> bytes:
    return (_folder() / name).read_bytes()


def _is_module(name: str) -> bool:
    return name.endswith(".js") and name != MARK


def _json(content: Any) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n"


def _facts(file: ModelFile) -> dict[str, Any]:
    """What the page says of the model; None where it is not known."""
    provenance: Mapping[str, Any] = file.contract.get("provenance") or {}
    data: Mapping[str, Any] = provenance.get("data") or {}
    return {
        "bytes": len(file.content),
        "sha256": hashlib.sha256(file.content).hexdigest(),
        "skin_edge": __version__,
        "input": [file.input_spec.height, file.input_spec.width],
        **{key: file.contract.get(key) for key in _SHOWN},
        "reasons": [vars(reason) for reason in _reasons(file)],
        "coverage": file.contract["possible"]["coverage"] if possible_thresholds(file.contract) else None,
        "data": {
            "layout": data.get("layout"),
            "images": data.get("images"),
            "split": provenance.get("split"),
            "seed": provenance.get("seed"),
        },
    }


def _reasons(file: ModelFile) -> list[assessment.Reason]:
    """Why a picture cannot be assessed by this model, each code once."""
    found = {check.reason.reason: check.reason for check in reversed(assessment.checks_of(file.contract))}
    return list(reversed(found.values()))


def _config(own: Mapping[str, bytes], server: bool) -> dict[str, Any]:
    located = {
        name: {"url": f"runtime/{_own_name(name)}", "integrity": litert_js.integrity(own[name])}
        if own
        else {"url": file.url, "integrity": file.integrity}
        for name, file in litert_js.FILES.items()
    }
    return {
        "server": "v1" if server else None,
        "skin_edge": __version__,
        "runtime": {"version": litert_js.VERSION, "own": bool(own), "files": located},
    }


def _own_name(name: str) -> str:
    return {"core": "core.js", "utils": "utils.js"}.get(name, litert_js.FILES[name].path.rpartition("/")[2])


def _own_runtime(folder: Path) -> dict[str, bytes]:
    """The runtime's files, unchanged but for the one name that a browser cannot resolve."""
    found = litert_js.read(folder)
    return {**found, "core": found["core"].replace(litert_js.IMPORT, b'"./utils.js"')}


def _manifest(texts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": texts["title"],
        "short_name": texts["name"],
        "description": texts["description"],
        "lang": texts["language"],
        "id": "./",
        "start_url": "./",
        "scope": "./",
        "display": "standalone",
        "background_color": "#f4f7f8",
        "theme_color": "#0b5c73",
        "icons": [
            {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"},
            {"src": "icon-192.png", "sizes": "192x192", "type": "image/png"},
            {"src": "icon-512.png", "sizes": "512x512", "type": "image/png"},
            {"src": "icon-whole-512.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"},
        ],
    }


def _rendered(template: str, texts: Mapping[str, Any]) -> str:
    """{{key}} and {{key.key}} -> the text, escaped."""

    def text(match: re.Match[str]) -> str:
        value: Any = texts
        for key in match[1].split("."):
            value = value[key]
        return html.escape(value, quote=True)

    return re.sub(r"\{\{([a-z_.]+)\}\}", text, template)


def _version(made: Mapping[str, bytes]) -> str:
    """16 hexadecimal digits that change with any file."""
    lines = (f"{hashlib.sha256(content).hexdigest()} {path}\n" for path, content in sorted(made.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _service_worker(made: Mapping[str, bytes], version: str) -> bytes:
    """sw.js with the site's version and files. The runtime is not among them: the page keeps the part it uses."""
    kept = {path: litert_js.integrity(content) for path, content in made.items() if not path.startswith("runtime/")}
    head = f"const VERSION = {json.dumps(version)};\nconst FILES = {json.dumps(kept, indent=1)};\n"
    return head.encode() + _page(MARK)
