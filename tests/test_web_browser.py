"""The page in headless Chromium, with LiteRT.js and axe-core from npm."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skin_edge.apps.web import litert_js, site
from skin_edge.benchmarks.bundle import pictures
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.errors import ImageError
from skin_edge.edge_runtime.model_file import read_model_file

from . import miniatures
from .browsers import in_firefox, node_modules, visited
from .miniatures import packaged_size

pytestmark = pytest.mark.slow

FIT = "fit-22.jpg"  # which the packaged model refers, whatever its limits

SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    return node_modules(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="module")
def own(modules, tmp_path_factory):
    """A site that holds the runtime."""
    out = tmp_path_factory.mktemp("web") / "site"
    assert run(["web", "--out", str(out), "--runtime", str(modules)]) == 0
    return out


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A site that fetches the runtime from its public host."""
    out = tmp_path_factory.mktemp("web") / "hosted"
    assert run(["web", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """name -> file of a golden picture."""
    folder = tmp_path_factory.mktemp("samples")
    good = pictures.good(*packaged_size())
    limited = {**pictures.fit(), **pictures.unfit(*packaged_size())}
    for name, content in {**good, **limited, **pictures.broken(100_000_000)}.items():
        (folder / name).write_bytes(content)
    return {path.name: path for path in folder.iterdir()}


def same_answer(answer, prediction, codes):
    """Top class, decisions, probabilities and the headline that follows from the decisions; or why there are none."""
    assert answer.get("reasons", []) == [one.reason for one in prediction.reasons]
    if not prediction.assessable:
        assert (answer["event"], answer["error"]) == ("refused", prediction.refusal) and "label" not in answer
        return
    assert answer["event"] == "answered"
    assert answer["possible"] == (None if prediction.possible is None else list(prediction.possible))
    assert answer["label"] == prediction.label
    expected = [prediction.probabilities[code] for code in codes]
    assert answer["probabilities"] == pytest.approx(expected, abs=1e-5)
    for given, decision in zip(answer["decisions"], prediction.decisions, strict=True):
        assert (given["name"], given["decision"], given["borderline"]) == (
            decision.name,
            decision.decision,
            decision.borderline,
        )
    leading = [one for one in prediction.decisions if one.name.endswith("-0.95")]
    kinds = ["borderline" if one.borderline else one.decision for one in leading]
    assert answer["kind"] == next(kind for kind in ("refer", "borderline", "below") if kind in kinds)
    assert "Not a medical device" in answer["text"]


def codes_of(classifier):
    return [label.code for label in classifier.labels]


def test_photographs_are_answered_as_python_answers_them(own, modules, data_root, tmp_path):
    """53 of 53; and no request follows the first load."""
    photographs = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    assert len(photographs) == 53
    found = visited("answers", own, modules, tmp_path, pictures=photographs)
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        for path, answer in zip(photographs, found["answers"], strict=True):
            same_answer(answer, classifier.predict(path), codes_of(classifier))
    assert found["requests"] == [] and found["seen"] == [] and found["errors"] == []


def twelve_megapixels(folder: Path) -> Path:
    """4000x3000 with sensor noise, turned by EXIF."""
    rng = np.random.default_rng(12)
    lesion = Image.open(io.BytesIO(pictures.good(*packaged_size())["jpeg-444.jpg"])).resize((4000, 3000))
    noisy = np.clip(np.asarray(lesion, np.int16) + rng.normal(0, 6, (3000, 4000, 3)), 0, 255).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = folder / "twelve.jpg"
    Image.fromarray(noisy).save(path, quality=90, exif=exif)
    return path


def test_orientations_large_pictures_and_profiles(own, modules, samples, tmp_path):
    paths = [samples[f"exif-{i}.jpg"] for i in range(1, 9)]
    paths += [samples[name] for name in ("display-p3.jpg", "alpha.png", "cmyk.jpg", "grey-16.png", "12-megapixels.jpg")]
    paths.append(twelve_megapixels(tmp_path))
    found = visited("answers", own, modules, tmp_path, pictures=paths)
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        for path, answer in zip(paths, found["answers"], strict=True):
            same_answer(answer, classifier.predict(path), codes_of(classifier))
    assert len({json.dumps(answer.get("label")) for answer in found["answers"][:8]}) == 1
    assert found["errors"] == []


def test_what_is_no_whole_picture_gets_no_class(own, modules, samples, tmp_path):
    (tmp_path / "report.jpg").write_bytes(b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n")
    names = ("truncated.jpg", "truncated.png", "empty.jpg", "text.jpg", "over-the-limit.png", "no-pixels.png")
    paths = [tmp_path / "report.jpg", *(samples[name] for name in names)]
    found = visited("answers", own, modules, tmp_path, pictures=paths)
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        labels = [label.name for label in classifier.labels]
        for path, answer in zip(paths, found["answers"], strict=True):
            with pytest.raises(ImageError):
                classifier.predict(path)
            assert answer["event"] == "refused" and answer["title"] == "Cannot assess", path.name
            assert path.name in answer["text"] and "No class is given." in answer["text"]
            assert not [label for label in labels if label in answer["text"]]
    assert "neither a JPEG nor a PNG" in found["answers"][0]["text"]
    assert found["errors"] == []


LIMITS = (
    {"feature": "luma", "below": 8000, "reason": "too_dark", "text": "it is dark", "remedy": "more light"},
    {"feature": "contrast", "below": 8, "reason": "bland", "text": "all of one kind", "remedy": "another place"},
    {"feature": "clipped", "above": 3000, "reason": "too_bright", "text": "it is bright", "remedy": ""},
)


@pytest.fixture(scope="module")
def limited(modules, tmp_path_factory):
    """(a site whose model has limits and sets of possible classes, the model)."""
    folder = tmp_path_factory.mktemp("limited")
    model = miniatures.with_limits(folder / "limited.tflite", *LIMITS, possible=[0.05] * 7)
    site.write(folder / "site", site.files(model, runtime=modules))
    return folder / "site", model


def test_what_is_beyond_the_limits_gets_its_reasons_and_no_class(limited, modules, samples, tmp_path):
    """The page's own words by the code, the file's where it has none; the numbers behind their warning alone."""
    where, model = limited
    unfit = {name: samples[name] for name in ("unfit-black.png", "unfit-glare.jpg", "unfit-dark.jpg")}
    found = visited("answers", where, modules, tmp_path, pictures=[*unfit.values(), samples[FIT]], check=True)
    with SkinClassifier(model) as classifier:
        labels = [label.name for label in classifier.labels]
        for path, answer in zip(unfit.values(), found["answers"], strict=False):
            prediction = classifier.predict(path)
            assert answer["event"] == "refused" and answer["title"] == "Cannot assess"
            assert answer["error"] == prediction.refusal
            assert answer["reasons"] == [one.reason for one in prediction.reasons]
            assert not [label for label in labels if label in answer["text"]]
            assert answer["numbers"]["before"] is False and answer["numbers"]["bars"] == 7
            assert answer["numbers"]["warning"].startswith("Not an answer.")
        black, glare, _, good = found["answers"]
        assert "The photograph is too dark. Use more light." in black["text"]
        assert "All of one kind. Another place." in black["text"]
        assert "The photograph is too bright. Use less light" in glare["text"]
        prediction = classifier.predict(samples[FIT])
        same_answer(good, prediction, codes_of(classifier))
        names = {label.code: label.name for label in classifier.labels}
        assert good["possible"] == list(prediction.possible) and good["numbers"] is None
        assert f"It may well be: {', '.join(names[code] for code in prediction.possible)}." in good["text"]
    stages = found["check"]["result"]["check"]["stages"]
    assert (
        found["check"]["status"] == "Level A." and stages["assessment"]["level"] == stages["possible"]["level"] == "A"
    )
    assert run(["bundle", str(model), "--out", str(tmp_path / "bundle")]) == 0
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found["check"]["answers"]))
    assert run(["verify", str(tmp_path / "bundle"), str(tmp_path / "answers.jsonl")]) == 0
    assert found["errors"] == []


def test_the_check_finds_another_assessment(limited, modules, tmp_path):
    where, model = limited
    golden = json.loads((where / "golden.json").read_text())
    line = next(line for line in golden["lines"] if line.get("assessable") is False)
    line["reasons"] = ["too_bright" if line["reasons"] != ["too_bright"] else "too_dark"]
    wrong = dict(site.files(model, runtime=modules), **{"golden.json": json.dumps(golden).encode()})
    wrong["sw.js"] = b"throw new Error('none');"
    site.write(tmp_path / "site", wrong)
    found = visited("check", tmp_path / "site", modules, tmp_path, accelerator="wasm")
    assert found["status"] == "Level refused."
    assert found["result"]["check"]["stages"]["assessment"]["level"] == "refused"


def test_the_second_visit_needs_no_network(own, modules, samples, tmp_path):
    found = visited("offline", own, modules, tmp_path, pictures=[samples[FIT]])
    assert found["state"] == "ready"
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        same_answer(found["answers"][0], classifier.predict(samples[FIT]), codes_of(classifier))
    assert found["errors"] == []


def test_a_newer_version_is_offered_and_then_used(own, modules, tmp_path):
    newer = dict(site.files(runtime=modules))
    config = json.loads(newer["config.json"])
    newer["config.json"] = json.dumps({**config, "version": "0123456789abcdef"}).encode()
    newer["sw.js"] = (
        newer["sw.js"]
        .replace(config["version"].encode(), b"0123456789abcdef")
        .replace(
            litert_js.integrity((own / "config.json").read_bytes()).encode(),
            litert_js.integrity(newer["config.json"]).encode(),
        )
    )
    changed = {f"/{name}": newer[name].decode() for name in ("config.json", "sw.js")}
    found = visited("update", own, modules, tmp_path, newer=changed)
    assert config["version"] in found["old"] and "0123456789abcdef" in found["version"]


def test_the_runtime_of_the_public_host_runs_only_with_the_right_digests(hosted, modules, samples, tmp_path):
    files = {file.url: modules / file.package / file.path for file in litert_js.FILES.values()}
    found = visited("host", hosted, modules, tmp_path, runtime=files, pictures=[samples[FIT]])
    assert found["state"] == "ready" and found["errors"] == []
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        same_answer(found["answers"][0], classifier.predict(samples[FIT]), codes_of(classifier))
    assert set(found["fetched"]) < set(files) and set(found["fetched"]) == set(found["kept"])
    for name in ("core", "utils", "loader", "wasm"):
        file = litert_js.FILES[name]
        other = tmp_path / f"other{Path(file.path).suffix}"
        other.write_bytes((modules / file.package / file.path).read_bytes() + b"\n")
        changed = {**files, file.url: other}
        found = visited("host", hosted, modules, tmp_path, runtime=changed, pictures=[])
        assert found["state"] == "broken" and "LiteRT.js could not be loaded" in found["status"], name


def test_without_webassembly_the_server_answers_and_the_page_says_so(modules, samples, tmp_path):
    plain, served = tmp_path / "plain", tmp_path / "served"
    site.write(plain, site.files())
    site.write(served, site.files(server=True))
    picture = samples[FIT]
    found = visited("server", plain, modules, tmp_path, pictures=[picture], answer={})
    assert found["state"] == "broken" and "no WebAssembly" in found["status"]
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        from skin_edge.edge_runtime.answers import record

        prediction = classifier.predict(picture)
        buffer = io.BytesIO()
        Image.new("RGB", (4, 3), "orange").save(buffer, "PNG")
        dot = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
        answer = {"answers": [{**record("picture", prediction), "heatmap": dot}], "disclaimer": "none"}
        found = visited("server", served, modules, tmp_path, pictures=[picture], answer=answer)
        same_answer(found["answers"][0], prediction, codes_of(classifier))
    assert found["requests"] == ["POST /v1/predict?heatmap=1"] and found["heat"] == dot
    assert picture.name not in found["posted"][0] and 'name="picture"' in found["posted"][0]
    for text in (found["where"], found["remote"]):
        assert "leave" in text and "127.0.0.1" in text
    refused = {"answers": [{"file": "picture", "error": "picture: not an image"}], "disclaimer": "none"}
    found = visited("server", served, modules, tmp_path, pictures=[picture], answer=refused)
    assert found["answers"][0]["event"] == "refused" and found["answers"][0]["title"] == "Cannot assess"
    why = {"reason": "too_dark", "text": "too dark", "remedy": "more light"}
    unfit = {
        "answers": [{"file": "picture", "error": "cannot assess: too dark", "reasons": [why]}],
        "disclaimer": "none",
    }
    found = visited("server", served, modules, tmp_path, pictures=[picture], answer=unfit)
    (answer,) = found["answers"]
    assert (answer["event"], answer["title"], answer["reasons"]) == ("refused", "Cannot assess", ["too_dark"])
    assert "The photograph is too dark. Use more light." in answer["text"] and answer["numbers"] is None


def test_the_check_is_what_verify_and_bench_take(own, modules, samples, handover, tmp_path, capsys):
    """Level A in Chromium; 20 repetitions equal; nothing is fetched; `verify` finds the same level."""
    found = visited("answers", own, modules, tmp_path, pictures=[samples[FIT]], check=True)
    assert found["requests"] == [] and found["errors"] == []  # the golden pictures were kept at the first load
    assert {url.rpartition("/")[2] for url in found["seen"]} == {"golden.json", "golden.bin", "model.json"}
    check, result = found["check"], json.loads(found["check"]["json"])
    assert check["status"] == "Level A." and result["check"]["level"] == "A"
    assert {stage["level"] for stage in result["check"]["stages"].values()} == {"A"}
    repetitions = result["check"]["repetitions"]
    assert repetitions["times"] == 20 and repetitions["equal"] == repetitions["all"] == 8
    latency = result["latency"]
    assert latency["num_runs"] == len(latency["runs_ms"]) == 200
    assert 0 < latency["median_ms"] <= latency["p90_ms"] <= latency["p99_ms"] <= max(latency["runs_ms"])
    assert latency["p90_ms"] == pytest.approx(np.percentile(latency["runs_ms"], 90))
    assert result["engine"]["accelerator"] == "wasm" and result["engine"]["build"] == "relaxed SIMD"
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in check["answers"]))
    assert run(["verify", str(handover), str(tmp_path / "answers.jsonl")]) == 0  # level A
    (tmp_path / "phone.json").write_text(check["json"])
    assert run(["bench", "--num-runs", "5", "--result-json", str(tmp_path / "here.json")]) == 0
    capsys.readouterr()
    assert run(["bench", "--compare", str(tmp_path / "here.json"), str(tmp_path / "phone.json")]) == 2
    assert "--different-machines" in capsys.readouterr().err
    compared = ["bench", "--compare", str(tmp_path / "here.json"), str(tmp_path / "phone.json")]
    assert run([*compared, "--different-machines", "--json"]) == 0
    ratios = {row["name"].strip(): row for row in json.loads(capsys.readouterr().out)["ratios"]}
    assert ratios["median, ms"]["b"] == latency["median_ms"] and ratios["invoke, ms"]["ratio"] > 0
    assert latency["image"] == json.loads((tmp_path / "here.json").read_text())["latency"]["image"]
    assert ratios["file, bytes"]["ratio"] == 1 and ratios["peak memory, bytes"]["ratio"] is None


def test_firefox_is_exact_too(own, modules, samples, tmp_path):
    """Debian's Firefox: level A, the same answers, and cut-off pictures refused, which its own decoder fills up."""
    names = (FIT, "exif-6.jpg", "display-p3.jpg", "truncated.jpg", "text.jpg")
    found = in_firefox(own, modules, tmp_path, [samples[name] for name in names])
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        for name, answer in list(zip(names, found["answers"], strict=True))[:3]:
            prediction = classifier.predict(samples[name])
            if not prediction.assessable:
                assert answer["event"] == "refused" and "label" not in answer, name
                continue
            assert answer["label"] == prediction.label, name
            expected = [prediction.probabilities[code] for code in codes_of(classifier)]
            assert answer["probabilities"] == pytest.approx(expected, abs=1e-5), name
    assert [answer["event"] for answer in found["answers"][3:]] == ["refused", "refused"]
    assert found["check"]["result"]["check"]["level"] == "A", found["check"]["result"]["check"]
    assert found["requests"] == [] and found["errors"] == []


def test_firefox_answers_photographs_as_python_does(own, modules, data_root, tmp_path):
    photographs = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    found = in_firefox(own, modules, tmp_path, photographs, check=False)
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        for path, answer in zip(photographs, found["answers"], strict=True):
            prediction = classifier.predict(path)
            if not prediction.assessable:
                assert answer["event"] == "refused" and "label" not in answer, path
                continue
            assert answer["label"] == prediction.label, path
            expected = [prediction.probabilities[code] for code in codes_of(classifier)]
            assert answer["probabilities"] == pytest.approx(expected, abs=1e-5), path
            given = [(one["name"], one["decision"], one["borderline"]) for one in answer["decisions"]]
            assert given == [(one.name, one.decision, one.borderline) for one in prediction.decisions]


@pytest.fixture(scope="module")
def served(modules):
    """The address of `skin-edge serve`."""
    command = [sys.executable, "-m", "skin_edge.edge_runtime", "serve", "--port", "0", "--runtime", str(modules)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    found = next(match for line in process.stdout if (match := re.search(r"http://127\.0\.0\.1:\d+/", line)))
    yield found[0]
    process.terminate()
    assert process.wait(30) in (0, 143)


def test_the_server_gives_the_same_page_and_answers_where_wasm_does_not_run(served, modules, data_root, tmp_path):
    photographs = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        for scenario in ("answers", "server"):
            found = visited(scenario, None, modules, tmp_path, home=served, pictures=photographs)
            for path, answer in zip(photographs, found["answers"], strict=True):
                same_answer(answer, classifier.predict(path), codes_of(classifier))
            assert found["errors"] == []
            if scenario == "answers":
                assert found["seen"] == []  # nothing was sent
            else:
                assert "leave" in found["where"]
                last = classifier.predict(photographs[-1])
                assert (found["heat"] or "").startswith("data:image/png;base64," if last.assessable else "")


def test_the_server_makes_the_golden_pictures_when_the_check_asks(served, modules, tmp_path):
    found = visited("check", None, modules, tmp_path, home=served, accelerator="wasm")
    assert found["status"] == "Level A.", found


def test_the_check_refuses_answers_that_are_off(own, modules, tmp_path):
    """With another network's golden answers: the level says so, and the page's JSON too."""
    golden = json.loads((own / "golden.json").read_text())
    for line in golden["lines"]:
        if "probabilities" in line:
            line["probabilities"] = [p + 0.05 for p in line["probabilities"]]
    wrong = dict(site.files(runtime=modules), **{"golden.json": json.dumps(golden).encode()})
    wrong["sw.js"] = b"throw new Error('none');"
    site.write(tmp_path / "site", wrong)
    found = visited("check", tmp_path / "site", modules, tmp_path, accelerator="wasm")
    assert found["status"] == "Level refused."
    assert found["result"]["check"]["stages"]["engine"]["level"] == "refused"


def test_webgpu_is_checked_like_the_cpu(own, modules, tmp_path):
    """On a software GPU: its kernels differ, so not level A; the time says nothing."""
    found = visited("check", own, modules, tmp_path, accelerator="webgpu", arguments=SOFTWARE_GPU)
    assert found["status"] in ("Level C.", "Level refused."), found["status"]
    assert found["result"]["engine"]["accelerator"] == "webgpu"
    assert found["result"]["check"]["repetitions"]["all"] == 8


def test_axe_finds_nothing(own, modules, samples, tmp_path):
    shown = {"refer": samples[FIT], "below": samples["fit-7.jpg"], "cannot": samples["text.jpg"]}
    shown["unfit"] = samples["unfit-dark.jpg"]
    found = visited("accessibility", own, modules, tmp_path, widths=[360, 1280], pictures=shown, check=True)
    assert len(found["found"]) == 2 * 2 * 5 + 2
    for state in found["found"]:
        assert state["violations"] == [], state


def test_keyboard_and_camera(own, modules, samples, tmp_path):
    found = visited("keyboard", own, modules, tmp_path, pictures=[samples[FIT]], arguments=FAKE_CAMERA)
    assert (found["first"], found["second"], found["focused"]) == ("skip", "choose", "answer-title")
    assert found["opacity"] == "1"
    assert (
        found["camera"]["name"] in ("answered", "refused")
        and not found["camera"]["open"]
        and not found["camera"]["live"]
    )
    assert found["errors"] == []


def test_a_dropped_file_is_answered_and_its_name_is_text(own, modules, samples, tmp_path):
    found = visited("drop", own, modules, tmp_path, pictures=[samples[FIT]])
    assert found["name"] == "answered" and "<img src=x" in found["label"] and found["hacked"] is None


def test_the_thresholds_of_the_page_are_those_of_the_model():
    """The headline's rule of the tests above holds for the packaged model: one threshold of 0.95 for each target."""
    rows = read_model_file(DEFAULT_MODEL).contract["thresholds"]
    targets = {row["target"] for row in rows}
    assert sorted(row["name"] for row in rows if row["chosen_for_sensitivity"] == 0.95) == sorted(
        f"{target}-0.95" for target in targets
    )
