"""`skin-edge web`: the site's files, without a browser. In one: test_web_browser.py."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import subprocess

import pytest
from PIL import Image

from skin_edge.apps.web import litert_js, site
from skin_edge.benchmarks.bundle import hand_over, pictures
from skin_edge.benchmarks.measure.picture import generated_picture
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.model_file import network_length, read_model_file

from . import port_vectors as vectors
from .browsers import needs
from .miniatures import packaged_size
from .test_packaging import PAGE

OF_OTHERS = ("MODEL_CARD.md", "CONTRACT.md", "LICENSE.txt", "model.json")  # they may name where something is from


@pytest.fixture(scope="module")
def made():
    return site.files()


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The packaged network in a file that says something else: no thresholds."""
    path = tmp_path_factory.mktemp("other") / "other.tflite"
    content, contract = DEFAULT_MODEL.read_bytes(), read_model_file(DEFAULT_MODEL).contract
    path.write_bytes(vectors.packed({**contract, "thresholds": []}, content[: network_length(content)]))
    return path


@pytest.fixture(scope="module")
def others(other):
    return site.files(other)


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    out = tmp_path_factory.mktemp("web") / "site"
    site.write(out, made)
    return out


def texts_of(made):
    return {
        path: content.decode() for path, content in made.items() if path.endswith((".html", ".js", ".css", ".json"))
    }


def test_the_site_holds_these_files_and_no_others(made):
    modules = {name for name in PAGE.split() if name.endswith((".js", ".css", ".html"))}
    ports = {f"port/{name}.js" for name in ("skin-edge", "jpeg", "profile", "litert", "browser")}
    icons = {"icon.svg", "icon-192.png", "icon-512.png", "icon-whole-512.png", "manifest.webmanifest"}
    data = {"texts.js", "config.json", "model.tflite", "model.json", "golden.json", "golden.bin"}
    assert set(made) == modules | ports | icons | data | {"MODEL_CARD.md", "CONTRACT.md", "LICENSE.txt"}
    assert {f".{path.rpartition('.')[2]}" for path in made} <= set(site.TYPES)
    assert made["model.tflite"] == DEFAULT_MODEL.read_bytes()


def test_the_ports_are_unchanged(made):
    ports = hand_over.ports()
    for path, content in made.items():
        if path.startswith("port/"):
            assert content == ports[f"ports/js/{path.removeprefix('port/')}"], path


def test_the_golden_pictures_are_those_of_the_bundle(made):
    _, bundle = hand_over.contents(DEFAULT_MODEL)
    lines = [json.loads(line) for line in bundle["golden/golden.jsonl"].splitlines()]
    golden = json.loads(made["golden.json"])
    start, end = golden["timed"]["bytes"]
    assert made["golden.bin"][start:end] == generated_picture().content  # as `bench` times it
    for kept, line in zip(golden["lines"], lines, strict=True):
        start, end = kept["bytes"]
        assert made["golden.bin"][start:end] == bundle[f"golden/{line['file']}"]
        if "input" in line:
            start, end = kept["input"]["bytes"]
            assert made["golden.bin"][start:end] == bundle[f"golden/{line['input']['file']}"]
            assert kept["probabilities"] == line["probabilities"] and kept["decisions"] == line["decisions"]


def policy_of(page: str) -> dict[str, list[str]]:
    (content,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = [rule.split() for rule in html.unescape(content).split(";")]
    return {rule[0]: rule[1:] for rule in rules}


def test_the_policy_allows_nothing_inline_and_no_other_host(made):
    policy = policy_of(made["index.html"].decode())
    assert policy["default-src"] == ["'none'"]
    assert policy["script-src"] == ["'self'", "'wasm-unsafe-eval'", "blob:"]
    assert policy["connect-src"] == ["'self'", litert_js.URL]
    assert policy["require-trusted-types-for"] == ["'script'"]
    assert not {word for rule in policy.values() for word in rule} & {"'unsafe-inline'", "'unsafe-eval'", "*", "https:"}
    own = site.policy(own=True)
    assert "http" not in own and "script-src 'self' 'wasm-unsafe-eval';" in own


def test_nothing_is_inline_and_no_text_becomes_html(made):
    page = made["index.html"].decode()
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="app.js">']
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", page)
    for path, text in texts_of(made).items():
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTML"
        assert not re.search(forbidden, text), path


def test_no_file_names_another_host_but_the_runtimes(made):
    for path, text in texts_of(made).items():
        if path in OF_OTHERS:
            continue
        found = {url for url in re.findall(r"https?://[^\s\"'`<>)]+", text) if not url.startswith(litert_js.URL)}
        assert not found, (path, found)


def test_every_digest_is_right(made):
    (files,) = re.findall(r"^const FILES = (\{.*?\});$", made["sw.js"].decode(), re.DOTALL | re.MULTILINE)
    kept = json.loads(files)
    assert set(kept) == set(made) - {"sw.js"}
    for path, integrity in kept.items():
        assert integrity == litert_js.integrity(made[path]), path
    config = json.loads(made["config.json"])
    assert f'const VERSION = "{config["version"]}";' in made["sw.js"].decode()
    assert config["server"] is None and config["runtime"]["version"] == "2.5.3"
    for file in config["runtime"]["files"].values():
        assert file["url"].startswith(f"{litert_js.URL}@litertjs/") and "@2.5.3/" in file["url"]
        assert re.fullmatch(r"sha384-[A-Za-z0-9+/]{64}", file["integrity"])


def test_another_model_or_a_server_makes_another_version(made, others, other):
    config = json.loads(others["config.json"])
    assert config["version"] != json.loads(made["config.json"])["version"]
    with_server = site.files(other, server=True)
    assert json.loads(with_server["config.json"])["server"] == "v1"
    assert json.loads(with_server["config.json"])["version"] != config["version"]
    assert {path for path in others if others[path] != with_server[path]} == {"config.json", "sw.js"}


def test_the_facts_are_those_of_the_model(made):
    facts, contract = json.loads(made["model.json"]), read_model_file(DEFAULT_MODEL).contract
    assert facts["sha256"] == hashlib.sha256(made["model.tflite"]).hexdigest()
    for key in ("name", "labels", "thresholds", "limits", "license", "intended_use", "notice"):
        assert facts[key] == contract[key]
    assert facts["data"]["images"] == contract["provenance"]["data"]["images"]


def test_all_texts_are_in_one_file(made):
    """The page has none of its own, and every text that is asked for is there."""
    from skin_edge.apps.web.site import __file__ as module

    template = (site.Path(module).with_name("page") / "index.html").read_text()
    between = re.sub(r"\{\{[a-z_.]+\}\}", "", re.sub(r"<[^>]*>", " ", template.replace("<!doctype html>", "")))
    assert not re.search(r"[A-Za-z]", between), between
    assert "{{" not in made["index.html"].decode()
    texts = json.loads(made["texts.js"].decode().removeprefix("export default ").rstrip(";\n"))
    for path, text in texts_of(made).items():
        for keys in re.findall(r"\btexts\.(?!js\b)([a-z_]+(?:\.[a-z_]+)*)", text):
            value = texts
            for key in keys.split("."):
                if not isinstance(value, dict) or key in ("replace", "length"):
                    break
                assert key in value, (path, keys)
                value = value[key]


def test_the_manifest_names_icons_that_are_there(made):
    manifest = json.loads(made["manifest.webmanifest"])
    assert manifest["start_url"] == "./" and manifest["display"] == "standalone"
    for icon in manifest["icons"]:
        if icon["type"] == "image/png":
            image = Image.open(io.BytesIO(made[icon["src"]]))
            assert icon["sizes"] == f"{image.width}x{image.height}"
        else:
            assert made[icon["src"]].startswith(b"<svg")
    assert [icon.get("purpose") for icon in manifest["icons"]].count("maskable") == 1


def test_the_command_writes_the_site_whole_or_not_at_all(tmp_path, capsys, other, others):
    out = tmp_path / "site"
    assert run(["web", str(other), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert f"{out}: {len(others)} files" in said and "python3 -m http.server --directory" in said
    written = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert written == others  # the same input gives the same bytes
    assert run(["web", str(other), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    (out / "note.txt").write_text("of mine")
    assert run(["web", str(other), "--out", str(out), "--overwrite"]) == 0
    assert not (out / "note.txt").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "photo.jpg").write_text("")
    assert run(["web", str(other), "--out", str(tmp_path / "other"), "--overwrite"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "site"]


def test_a_model_that_the_page_cannot_follow_is_refused_in_one_line(tmp_path, capsys, tiny_int8, tiny_int8_v1):
    contract = vectors.contract_of(tiny_int8)
    outputs = [{**output, "name": "logits"} for output in contract["outputs"]]
    network = tiny_int8.read_bytes()[: network_length(tiny_int8.read_bytes())]
    micro = tmp_path / "micro.tflite"
    micro.write_bytes(vectors.packed({**contract, "format_version": 5, "outputs": outputs}, network))
    (tmp_path / "text.tflite").write_text("no model")
    for model in (tiny_int8_v1, micro, tmp_path / "text.tflite", tmp_path / "missing.tflite"):
        assert run(["web", str(model), "--out", str(tmp_path / "site")]) != 0
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1, said
        assert not (tmp_path / "site").exists()


def test_a_runtime_of_another_version_is_refused(tmp_path, capsys):
    assert run(["web", "--out", str(tmp_path / "site"), "--runtime", str(tmp_path)]) == 2
    assert "npm install @litertjs/core@2.5.3" in capsys.readouterr().err
    for file in litert_js.FILES.values():
        path = tmp_path / file.package / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("of another version")
    with pytest.raises(UsageError, match=r"is not that of @litertjs/core 2\.5\.3"):
        litert_js.read(tmp_path)


VERDICTS = {
    "refer": (["refer", "below"], [False, False]),
    "borderline": (["below", "refer"], [False, True]),
    "below": (["below", "below"], [False, False]),
    "none": ([], []),
}


@pytest.mark.parametrize("kind", VERDICTS)
def test_one_threshold_is_enough_to_refer(kind, folder):
    """The most sensitive threshold of each target counts; the others are shown."""
    decisions, borderline = VERDICTS[kind]
    targets = ["mel", "malignant"][: len(decisions)]
    thresholds = [
        {"name": f"{target}-{sensitivity}", "target": target, "classes": [], "chosen_for_sensitivity": sensitivity}
        for target in targets
        for sensitivity in (0.9, 0.95)
    ]
    given = [
        {"name": f"{target}-{sensitivity}", "decision": one if sensitivity == 0.95 else "below", "borderline": near}
        for target, one, near in zip(targets, decisions, borderline, strict=True)
        for sensitivity in (0.9, 0.95)
    ]
    call = f"verdictOf({json.dumps(thresholds)}, {json.dumps(given)})"
    said = in_node(folder, "import {verdictOf} from './verdict.js';", call)
    assert said["kind"] == kind
    assert [row["threshold"]["name"] for row in said["rows"]] == [f"{target}-0.95" for target in targets]


def test_what_is_said_of_a_threshold_rounds_to_the_worse(folder):
    row = {"target": "mel", "classes": ["mel"], "sensitivity": 0.9599, "threshold": 0.1}
    labels = [{"code": "mel", "name": "melanoma", "malignant": True}]
    calls = (
        f"saidOf({json.dumps(row)}, 'below', {json.dumps(labels)})",
        "reasonOf('cannot assess: neither JPEG nor PNG')",
        "percent(0.0004)",
    )
    imports = "import {percent, reasonOf, saidOf} from './words.js';"
    said, reason, share = in_node(folder, imports, f"[{', '.join(calls)}]")
    assert said == "Below the threshold that finds 95 of 100 melanomas on validation: no all-clear. It misses 5 of 100."
    assert reason == "The file is neither a JPEG nor a PNG picture." and share == "under 0.1 %"


def test_a_jpeg_that_ends_too_early_is_noticed(folder, tmp_path):
    """Wherever it is cut: Firefox fills the missing rows up."""
    good = [content for name, content in pictures.good(*packaged_size()).items() if name.endswith(".jpg")]
    assert len(good) > 10
    for i, content in enumerate(good):
        (tmp_path / f"{i}.jpg").write_bytes(content)
    names = json.dumps([str(tmp_path / f"{i}.jpg") for i in range(len(good))])
    imports = "import {readFileSync} from 'node:fs';\nimport {jpegEnds} from './port/skin-edge.js';"
    cut = "(b) => [0.02, 0.3, 0.6, 0.99].some((part) => jpegEnds(b.subarray(0, part * b.length)))"
    read = f"{names}.map((name) => new Uint8Array(readFileSync(name)))"
    assert in_node(folder, imports, f"{read}.map(jpegEnds)") == [True] * len(good)
    assert in_node(folder, imports, f"{read}.map({cut})") == [False] * len(good)


def in_node(folder, imports: str, expression: str):
    """The expression's value, in a module beside the site's."""
    script = f"{imports}\nconsole.log(JSON.stringify({expression}));"
    command = [needs("node"), "--experimental-default-type=module", "--input-type=module", "-e", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
