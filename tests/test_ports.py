"""The ports in ports/: each is asked the same questions, whose answers `port_vectors` computes from docs/contract.md.

A port's driver (tests/ports/driver.*) reads one question a line and prints one answer.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import math
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skin_edge.benchmarks.bundle import hand_over
from skin_edge.edge_runtime import assessment, model_file
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, Prediction, SkinClassifier
from skin_edge.edge_runtime.cli import run
from skin_edge.edge_runtime.preprocess import InputSpec, decode, to_pixels

from . import port_vectors as vectors
from .browsers import needs, node_modules
from .miniatures import packaged_size

ROOT = Path(__file__).parents[1]
PORTS = ROOT / "ports"
DRIVERS = Path(__file__).parent / "ports"
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


class Driver:
    """A port's process, which answers questions."""

    def __init__(self, command: list[str]):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *words: object) -> str:
        """One question -> its answer, the one line that is printed."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the driver died of {words[:3]} with {self.process.wait()}"
        return answer.rstrip("\n")

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(60) == 0  # with a sanitizer: no leaks


def _c(folder: Path) -> list[str]:
    program = folder / "driver"
    command = [needs("gcc"), *STRICT, *SANITIZED, f"-I{PORTS / 'c'}", str(DRIVERS / "driver.c"), "-o", str(program)]
    subprocess.run(command, check=True)
    return [str(program)]


def _js(folder: Path) -> list[str]:
    return [needs("node"), str(DRIVERS / "driver.mjs"), str(PORTS / "js")]


def _kotlin(folder: Path) -> list[str]:
    jar = folder / "driver.jar"
    sources = [PORTS / "kotlin" / f"{name}.kt" for name in ("SkinEdge", "Png", "Profile", "Jvm")]
    command = [needs("kotlinc"), *map(str, [*sources, DRIVERS / "Driver.kt"]), "-include-runtime", "-d", str(jar)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [needs("java"), "-Djava.awt.headless=true", "-cp", str(jar), "skinedge.DriverKt"]


MAKERS = {"c": _c, "js": _js, "kotlin": _kotlin}


KOTLIN = pytest.param("kotlin", marks=pytest.mark.slow)  # its compiler takes half a minute


@pytest.fixture(scope="module")
def command_of(tmp_path_factory):
    """A port's name -> the command of its driver, compiled once."""
    return functools.cache(lambda name: MAKERS[name](tmp_path_factory.mktemp(name)))


@pytest.fixture(scope="module", params=["c", "js", KOTLIN])
def port(request, command_of):
    driver = Driver(command_of(request.param))
    yield driver
    driver.close()


@pytest.fixture(scope="module")
def contract(tiny_int8):
    return vectors.contract_of(tiny_int8)


@pytest.fixture(scope="module")
def network(tiny_int8):
    return tiny_int8.read_bytes()[: model_file.network_length(tiny_int8.read_bytes())]


@pytest.fixture
def good(contract, network, tmp_path):
    path = tmp_path / "good.tflite"
    path.write_bytes(vectors.packed(contract, network))
    return path


def test_a_model_is_read(port, good):
    said = port.ask("open", good)
    assert said.startswith(
        "ok 32 32 7 3 akiec 1 actinic keratosis or intraepithelial carcinoma For research; \u201cnot\u201d"
    )
    assert said.endswith('a "medical device".')


def test_a_changed_malformed_or_unknown_model_is_refused(port, contract, network, tmp_path):
    path = tmp_path / "broken.tflite"
    for name, content in vectors.broken_models(contract, network).items():
        path.write_bytes(content)
        assert port.ask("open", path).startswith("cannot assess: "), name


def test_damage_anywhere_is_found_and_harms_nobody(port, contract, network, tmp_path):
    content = vectors.packed(contract, network)
    path, draw = tmp_path / "damaged.tflite", random.Random(1)
    for position in [*range(len(network), len(content), 37), *(draw.randrange(len(content)) for _ in range(40))]:
        damaged = bytearray(content)
        damaged[position] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        said = port.ask("open", path)
        # The archive's dates, attributes and checksums are nothing that a port reads.
        assert said.startswith("cannot assess: ") or position > len(network), position
    for length in range(len(content) - 200, len(content)):
        path.write_bytes(content[:length])
        assert port.ask("open", path).startswith("cannot assess: ")


def test_a_sealed_contract_of_any_form_ends_in_an_answer(port, contract, network, tmp_path):
    """A driver dies of any error that is no "cannot assess", and in C of whatever the sanitizers find."""
    path, labels = tmp_path / "altered.tflite", "".join(f"{label['code']}\n" for label in contract["labels"])
    for what, altered in vectors.altered_contracts(contract):
        path.write_bytes(vectors.packed(altered, network, labels))
        said = port.ask("open", path)
        assert said.startswith(("ok ", "cannot assess: ")), what
    for content in vectors.altered_texts(contract, network):
        path.write_bytes(content)
        assert port.ask("open", path).startswith(("ok ", "cannot assess: "))


def resized(port, tmp_path, layout, orientation, size, target, seed=0):
    samples, rows = vectors.picture(layout, *size, seed)
    source, out = tmp_path / "pixels", tmp_path / "rgb"
    source.write_bytes(samples)
    assert port.ask("resize", list(vectors.LAYOUTS).index(layout), orientation, *size, *target, source, out) == "ok"
    expected = vectors.resize(vectors.upright(rows, orientation), *target)
    return out.read_bytes(), vectors.flat(expected)


@pytest.mark.parametrize(
    ("size", "target"),
    [
        ((7, 5), (7, 5)),
        ((9, 7), (3, 2)),
        ((2, 3), (7, 8)),
        ((1, 1), (4, 3)),
        ((40, 30), (16, 16)),
        ((30, 47), (16, 16)),
        ((16, 33), (16, 16)),
        ((33, 16), (16, 16)),
        ((600, 4), (160, 2)),
        ((3, 451), (2, 160)),
    ],
)
def test_resize_is_the_formula(port, tmp_path, size, target):
    given, expected = resized(port, tmp_path, "RGB", 1, size, target)
    assert given == expected


@pytest.mark.parametrize("orientation", range(10))
def test_orientation_comes_before_resize(port, tmp_path, orientation):
    given, expected = resized(port, tmp_path, "RGB", orientation, (13, 9), (8, 6), seed=orientation)
    assert given == expected


@pytest.mark.parametrize("layout", vectors.LAYOUTS)
def test_every_layout_becomes_rgb(port, tmp_path, layout):
    for target in ((31, 17), (8, 8)):
        given, expected = resized(port, tmp_path, layout, 6, (17, 31), target, seed=5)
        assert given == expected


def test_a_picture_over_the_limit_is_refused(port, tmp_path, good):
    (tmp_path / "pixels").write_bytes(b"\0" * 3 * 1_001_000)
    said = port.ask("resize", 2, 1, 1001, 1000, 4, 4, tmp_path / "pixels", tmp_path / "rgb")
    assert said.startswith("cannot assess: ")


def test_orientations_are_found_in_files(port, tmp_path):
    for position, (content, expected) in enumerate(vectors.orientations()):
        (tmp_path / "file").write_bytes(content)
        question = "orientation" if content[:1] in (b"\xff", b"\x89") else "exif"
        assert port.ask(question, tmp_path / "file") == str(expected), position


def test_profiles(port, tmp_path):
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = srgb.replace("sRGB".encode("utf-16-be"), "P3-D".encode("utf-16-be"))
    cases = [(srgb, 0, 1), (other, 0, 0), (other, 1, 1), (other[:100], 0, 1), (b"", 0, 1), (b"x" * 500, 0, 1)]
    cases.append((other[:16] + b"GRAY" + other[20:], 1, 0))
    for position, (profile, grey, expected) in enumerate(cases):
        (tmp_path / "icc").write_bytes(profile)
        assert port.ask("profile", grey, tmp_path / "icc") == str(expected), position


def test_decisions(port, good, contract):
    port.ask("open", good)
    draw = random.Random(3)
    drawn = [[draw.random() ** 4 for _ in range(7)] for _ in range(200)]
    drawn += [[1 / 7] * 7, [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0.5, 0, 0, 0.5], [0.04785569943487644] * 7]
    cases = [[vectors.float32(value / (sum(row) if sum(row) > 1 else 1)) for value in row] for row in drawn]
    for case in cases:
        label, decisions = vectors.decisions(case, contract)
        words = port.ask("decide", *map(repr, case)).split()
        assert words[0] == label
        for (name, score, decision, borderline), expected in zip(
            zip(*[iter(words[1:])] * 4, strict=True), decisions, strict=True
        ):
            assert [name, float(score), decision, borderline == "1"] == list(expected.values())


# ---- Version 6: whether a picture can be assessed ----


@pytest.fixture
def limited(contract, network, tmp_path):
    path = tmp_path / "limited.tflite"
    path.write_bytes(vectors.packed(vectors.contract_6(contract), network))
    return path


def test_a_model_of_version_6_is_read(port, limited, contract, network, tmp_path):
    assert port.ask("open", limited).startswith("ok 32 32 7 3 akiec 1 ")
    path = tmp_path / "bare.tflite"
    path.write_bytes(vectors.packed(contract | {"format_version": 6}, network))
    assert port.ask("open", path).startswith("ok ")
    path.write_bytes(vectors.packed(contract | {"assessment": "information alone", "possible": 3}, network))
    assert port.ask("open", path).startswith("ok ")  # of version 4


def test_an_assessment_that_is_not_known_is_refused(port, contract, network, tmp_path):
    path = tmp_path / "broken.tflite"
    labels = "".join(f"{label['code']}\n" for label in contract["labels"])
    for name, altered in vectors.broken_assessments(contract).items():
        path.write_bytes(vectors.packed(altered, network, labels))
        assert port.ask("open", path).startswith("cannot assess: "), name


def test_a_sealed_assessment_of_any_form_ends_in_an_answer(port, contract, network, tmp_path):
    path = tmp_path / "altered.tflite"
    altered = vectors.altered_contracts(vectors.contract_6({"labels": [], "outputs": []}))
    for what, parts in altered:
        whole = contract | {name: parts[name] for name in ("assessment", "possible") if name in parts}
        whole |= {"format_version": 6, "outputs": vectors.contract_6(contract)["outputs"]}
        path.write_bytes(vectors.packed(whole, network))
        assert port.ask("open", path).startswith(("ok ", "cannot assess: ")), what


def random_pictures(count: int) -> list[np.ndarray]:
    """Of odd sizes, of noise, smooth, lined, dark and bright."""
    draw = np.random.default_rng(12)
    made = []
    for number in range(count):
        height, width = (int(side) for side in draw.integers(1, 40 if number % 10 else 200, 2))
        low, high = sorted(int(level) for level in draw.integers(0, 257, 2))
        y, x = np.mgrid[:height, :width]
        plain = draw.integers(low, max(high, low + 1), (height, width, 3))
        smooth = np.stack([(y * a + x * b) // 3 + c for a, b, c in draw.integers(0, 9, (3, 3))], axis=-1)
        lines = np.where(((x + y * (number % 3)) % 7 == 0)[..., None], low, high) + draw.integers(
            -5, 6, (height, width, 3)
        )
        extremes = draw.choice([0, 23, 24, 249, 250, 253, 254, 255], (height, width, 3))
        made.append(np.clip((plain, smooth, lines, extremes)[number % 4], 0, 255).astype(np.uint8))
    return [*made, np.zeros((1, 1, 3), np.uint8), np.full((2, 9, 3), 255, np.uint8)]


def test_features_are_those_of_python(port, tmp_path):
    for pixels in random_pictures(400):
        (tmp_path / "rgb").write_bytes(pixels.tobytes())
        said = port.ask("measure", pixels.shape[1], pixels.shape[0], tmp_path / "rgb")
        assert list(map(int, said.split())) == list(assessment.measure(pixels).values()), pixels.shape


def test_features_of_the_largest_picture_do_not_overflow(port, tmp_path):
    """255 in 4,096 x 4,096 pixels, every other one in the green of the second."""
    pixels = np.full((4096, 4096, 3), 255, np.uint8)
    if "driver.mjs" in str(port.process.args) or "java" in str(port.process.args):
        pixels = pixels[:1024]  # they compute in 53 and 64 bits
    for _ in range(2):
        (tmp_path / "rgb").write_bytes(pixels.tobytes())
        said = port.ask("measure", pixels.shape[1], pixels.shape[0], tmp_path / "rgb")
        assert list(map(int, said.split())) == list(assessment.measure(pixels).values())
        pixels[:, ::2, 1] = 0


def test_reasons_and_possible_classes(port, limited):
    port.ask("open", limited)
    draw = random.Random(6)
    for number in range(300):
        row = [draw.random() ** 4 for _ in range(7)]
        row = [vectors.float32(value / sum(row)) for value in row]
        if number < 8:
            row = [0.1] * 7 if number % 2 else [vectors.float32(value) for value in (0.02, 0.5, 0.1, 0, 0.25, 0, 0)]
        luma = draw.choice((8999, 9000, 30000, 60000, 60001))
        features = [luma, draw.choice((7000, 7001)), 0, 0, draw.choice((-41, -40, 0, 300, 301)), 0, 9]
        features += [draw.choice((11, 12)), 0, draw.choice((1.25, 1.2500001, -3.5))]
        features[-1] = vectors.float32(features[-1])
        assert port.ask("answer", *row, *features) == vectors.assessed(row, features)


def test_limits_without_a_measured_picture_are_no_answer(port, limited):
    port.ask("open", limited)
    for features in ([], [30000, 0, 0, 0, 0, 0, 9, 20, 0]):  # without outlier_score
        said = port.ask("answer", *[0.1] * 7, *features)
        assert said == "cannot assess: the model has limits, and the picture was not measured"


def test_the_outlier_score_is_a_32_bit_float(port, limited, contract, network, tmp_path):
    port.ask("open", limited)
    assert vectors.float32(float(port.ask("score", "1.1"))) == vectors.float32(1.1)
    for bad in ("nan", "inf", "-inf"):
        assert port.ask("score", bad).startswith("cannot assess: ")
    path = tmp_path / "quantized.tflite"
    quantized = {"dtype": "int8", "scale": 0.1, "zero_point": -7}
    path.write_bytes(vectors.packed(vectors.contract_6(contract, score=quantized), network))
    port.ask("open", path)
    for value in (-128, -7, 30, 127):
        expected = np.float32(value + 7) * np.float32(0.1)
        assert np.float32(float(port.ask("score", value))) == expected


@pytest.mark.parametrize("bad", ["nan", "inf", "-inf", "-0.001", "1.001"])
def test_what_is_no_probability_is_no_answer(port, good, bad):
    port.ask("open", good)
    for position in range(7):
        values = ["0.1"] * 7
        values[position] = bad
        assert port.ask("decide", *values).startswith("cannot assess: ")


@pytest.mark.parametrize(
    ("type_", "scale", "zero_point"),
    [(0, 2 / 255, 128), (0, 0.007843137718737125, 127), (1, 2 / 255, -1), (1, 0.01, 3), (1, 0.0078, 0), (2, 0, 0)],
)
def test_the_input_tensor(port, good, tmp_path, type_, scale, zero_point):
    """As the contract says, over all bytes; int8 and floats are not in the packaged model."""
    port.ask("open", good)
    assert port.ask("tensor", type_, repr(scale), zero_point, tmp_path / "tensor") == "ok"
    real = ((np.arange(256.0) - 127.5) / 127.5).astype(np.float32).astype(np.float64)
    if type_ == 2:
        expected = real.astype(np.float32)
    else:
        least, dtype = (-128, np.int8) if type_ else (0, np.uint8)
        step = real / scale + zero_point
        own = np.arange(256) + least
        nearest = np.where(np.abs(step - own) <= 0.501, own, np.floor(step + 0.5))
        expected = np.clip(nearest, least, least + 255).astype(dtype)
    assert (tmp_path / "tensor").read_bytes() == np.repeat(expected, 3).tobytes()


def test_decimals_are_read_to_the_nearest_double(port):
    for text in vectors.numbers():
        said = float(port.ask("number", text))
        assert said == float(text) and math.copysign(1, said) == math.copysign(1, float(text)), text


def test_c_allocates_nothing_and_compiles_as_cpp(tmp_path):
    """No malloc, no library beyond memcpy and its like: fit for a microcontroller."""
    source = tmp_path / "port.c"
    source.write_text('#define SKIN_EDGE_IMPLEMENTATION\n#include "skin_edge.h"\n')
    target = tmp_path / "port.o"
    for compiler, flags in (("gcc", ["-std=c99"]), ("gcc", ["-std=c11", "-m32", "-ffreestanding"]), ("g++", ["-xc++"])):
        command = [needs(compiler), *flags, "-Wall", "-Wextra", "-Werror", "-O2", f"-I{PORTS / 'c'}", "-c"]
        done = subprocess.run([*command, str(source), "-o", str(target)], capture_output=True, text=True)
        if "-m32" in flags and done.returncode and "No such file" in done.stderr:
            continue  # no 32-bit headers here
        assert done.returncode == 0, done.stderr
        needed = subprocess.run([needs("nm"), "-u", str(target)], capture_output=True, text=True, check=True).stdout
        allowed = {"memcpy", "memcmp", "memset", "memmove", "memchr", "strlen", "strcmp", "strchr", "__stack_chk_fail"}
        allowed |= {"_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail_local"}
        assert set(needed.replace(" U ", " ").split()) <= allowed, needed


def answers_of(command: list[str], paths: list[Path]) -> list[dict]:
    """What a port's program says of pictures, one answer each."""
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["file"] for answer in answers] == list(map(str, paths))
    return answers


def compiled_sample(folder: Path, *flags: str) -> Path:
    program = folder / "sample"
    for header in ("jpeglib.h", "png.h", *(["lcms2.h"] if "-llcms2" in flags else [])):
        done = subprocess.run(
            [needs("gcc"), "-E", "-include", "stdio.h", "-include", header, "-xc", "/dev/null"], capture_output=True
        )
        if done.returncode:
            pytest.skip(f"{header} is not installed (Debian: libjpeg62-turbo-dev, libpng-dev, liblcms2-dev)")
    command = [
        needs("gcc"),
        *STRICT,
        *SANITIZED,
        str(PORTS / "c" / "sample.c"),
        "-o",
        str(program),
        "-ljpeg",
        "-lpng",
        "-ldl",
    ]
    subprocess.run([*command, *flags], check=True)
    return program


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return compiled_sample(tmp_path_factory.mktemp("sample"))


def stages(path: Path) -> tuple[dict, bytes]:
    """(upright, input of 32x32) as Python decodes a file at full size and the formula resizes it."""
    image = decode(os.fspath(path))
    width, height = image.size
    pixels = image.tobytes()
    rows = [[tuple(pixels[3 * (y * width + x) :][:3]) for x in range(width)] for y in range(height)]
    upright = {"width": width, "height": height, "sha256": hashlib.sha256(pixels).hexdigest()}
    return upright, vectors.flat(vectors.resize(rows, 32, 32))


def test_c_decodes_as_python_does(sample, good, tmp_path):
    paths = vectors.pictures(tmp_path)
    for (name, path), answer in zip(
        paths.items(), answers_of([str(sample), str(good)], list(paths.values())), strict=True
    ):
        if name in vectors.NEEDS_COLOUR:
            assert "colour profile" in answer["error"]
            continue
        upright, rgb = stages(path)
        assert answer["upright"] == upright, name
        assert base64.b64decode(answer["input"]["base64"]) == rgb, name
        assert answer["input"]["sha256"] == hashlib.sha256(rgb).hexdigest()


def test_c_with_little_cms_applies_profiles_as_python_does(good, tmp_path):
    sample = compiled_sample(tmp_path, "-DSKIN_EDGE_LCMS", "-llcms2")
    paths = [path for name, path in vectors.pictures(tmp_path).items() if name in vectors.NEEDS_COLOUR]
    for path, answer in zip(paths, answers_of([str(sample), str(good)], paths), strict=True):
        assert answer["upright"] == stages(path)[0], path


def test_c_refuses_broken_pictures(sample, good, tmp_path):
    paths = vectors.broken_pictures(tmp_path)
    for name, answer in zip(paths, answers_of([str(sample), str(good)], list(paths.values())), strict=True):
        assert answer.keys() == {"file", "error"} and answer["error"].startswith("cannot assess: "), name


@pytest.fixture(scope="module")
def library():
    """LiteRT's C library, of the wheel."""
    import ai_edge_litert

    path = Path(ai_edge_litert.__file__).with_name("libLiteRt.so")
    if not path.exists():
        pytest.skip("this ai-edge-litert has no libLiteRt.so")
    return path


@pytest.mark.slow
def check_assessed(answer: dict, given: Prediction) -> None:
    """What a file of version 6 says, if it is one."""
    assert answer.get("features", {}) == pytest.approx(dict(given.features), abs=1e-6)
    assert answer.get("reasons", []) == [reason.reason for reason in given.reasons]
    assert answer.get("assessable", True) == given.assessable
    assert answer.get("possible") == (None if given.possible is None else list(given.possible))


def test_c_gives_the_answers_of_python_with_litert(library, tmp_path):
    """LiteRT's library of the wheel, called from C. Without the sanitizers, which the library does not bear."""
    sample = compiled_sample(tmp_path, "-fno-sanitize=all")
    paths = [path for name, path in vectors.pictures(tmp_path).items() if name not in vectors.NEEDS_COLOUR]
    command = [str(sample), "--engine", str(library)]
    answers = answers_of([*command, "--assess-anything", str(DEFAULT_MODEL)], paths)
    plain = answers_of([*command, str(DEFAULT_MODEL)], paths)
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        for path, answer, refused in zip(paths, answers, plain, strict=True):
            given = classifier.predict(path)
            check_assessed(answer, given)
            assert answer.get("warning", "") == refused.get("error", "") == given.refusal
            assert given.assessable == ("label" in refused) == ("decisions" in refused) == ("probabilities" in refused)
            expected = [given.probabilities[label.code] for label in classifier.labels]
            assert answer["probabilities"] == pytest.approx(expected, abs=1e-6)
            label, decisions = vectors.decisions([*map(vectors.float32, answer["probabilities"])], classifier.contract)
            assert (answer["label"], answer["decisions"]) == (label, decisions)


@pytest.mark.slow
def test_c_on_photographs(data_root, tmp_path):
    """Byte-equal inputs on every photograph of data/fullsize."""
    sample = compiled_sample(tmp_path, "-fno-sanitize=all", "-O2")
    paths = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    answers = answers_of([str(sample), str(DEFAULT_MODEL)], paths)
    assert len(answers) >= 50
    for path, answer in zip(paths, answers, strict=True):
        assert base64.b64decode(answer["input"]["base64"]) == to_pixels(path, InputSpec(*packaged_size())).tobytes()


def level_of(given: bytes, expected: bytes) -> str:
    """A or B of section 9; else what is apart."""
    apart = np.abs(np.frombuffer(given, np.uint8).astype(int) - np.frombuffer(expected, np.uint8))
    if not apart.any():
        return "A"
    return "B" if apart.max() <= 1 and apart.mean() <= 0.05 else f"at most {apart.max()} apart, mean {apart.mean():.3f}"


@pytest.fixture(scope="module", params=["js", KOTLIN])
def decoder(request, command_of):
    """A port that decodes: JavaScript in Node, Kotlin with ImageIO."""
    driver = Driver(command_of(request.param))
    yield driver
    driver.close()


def test_a_port_decodes_as_python_does(decoder, good, tmp_path):
    decoder.ask("open", good)
    for name, path in vectors.pictures(tmp_path).items():
        path = path.rename(tmp_path / path.name.replace(" ", "-"))
        answer = json.loads(decoder.ask("picture", path))
        upright, rgb = stages(path)
        given = base64.b64decode(answer["input"]["base64"])
        if name in vectors.NEEDS_COLOUR:
            assert level_of(given, rgb) in "AB", name
        else:
            assert answer["upright"] == upright and given == rgb, name
        assert answer["input"]["sha256"] == hashlib.sha256(given).hexdigest()


def test_a_port_refuses_what_is_beyond_the_limits(decoder, contract, network, tmp_path):
    """By default with the reasons and without a class; by a switch with both."""
    path, black, good = (tmp_path / name for name in ("limited.tflite", "black.png", "good.png"))
    path.write_bytes(vectors.packed(vectors.contract_6(contract), network))
    Image.new("RGB", (50, 40)).save(black)
    Image.fromarray(np.random.default_rng(1).integers(60, 200, (40, 50, 3), np.uint8)).save(good)
    decoder.ask("open", path)
    probabilities = [0, 0.125, 0, 0, 0.75, 0.125, 0]
    said = "too_dark,blurred,no_lesion false cannot assess: too dark (more light); blurred (hold still); "
    assert decoder.ask("assess", black, 0, 1.5, *probabilities) == said + "no lesion (a lesion)"
    assert decoder.ask("assess", black, 1, 1.5, *probabilities) == "mel false too_dark,blurred,no_lesion"
    assert decoder.ask("assess", good, 0, 1.25, *probabilities).split() == ["mel", "true"]
    assert decoder.ask("assess", good, 0, "NaN", *probabilities).startswith(
        "cannot assess: the network's outlier_score"
    )


CURVES = {
    "type 3": None,  # as it is: sRGB's own
    "gamma": vectors.icc_table([round(2.2 * 256)]),
    "linear": vectors.icc_table([]),
    "1024 entries": vectors.icc_table([round(65535 * (i / 1023) ** 1.8) for i in range(1024)]),
    "2 entries": vectors.icc_table([0, 65535]),
    "type 0": vectors.icc_formula(0, [1.9]),
    "type 1": vectors.icc_formula(1, [2.2, 0.95, 0.05]),
    "type 2": vectors.icc_formula(2, [2.2, 0.95, 0.05, 0.01]),
    "type 4": vectors.icc_formula(4, [2.4, 0.94, 0.05, 0.07, 0.04, 0.005, 0.001]),
}


@pytest.mark.parametrize("curve", CURVES)
def test_javascript_applies_profiles_as_little_cms_does(curve, command_of, tmp_path):
    """Byte for byte, whatever the kind of curve."""
    profile = vectors.p3_profile_with(CURVES[curve])
    colours = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    (tmp_path / "profile.icc").write_bytes(profile)
    (tmp_path / "colours").write_bytes(colours.tobytes())
    driver = Driver(command_of("js"))
    assert driver.ask("srgb", *(tmp_path / name for name in ("profile.icc", "colours", "converted"))) == "ok"
    driver.close()
    expected = vectors.to_srgb(colours, profile)
    assert not np.array_equal(expected, colours)
    assert (tmp_path / "converted").read_bytes() == expected.tobytes()


def test_a_port_refuses_broken_pictures(decoder, good, tmp_path):
    decoder.ask("open", good)
    for name, path in vectors.broken_pictures(tmp_path).items():
        path = path.rename(tmp_path / name.replace(" ", "-"))
        assert decoder.ask("picture", path).startswith("cannot assess: "), name


@pytest.mark.slow
def test_a_port_on_photographs(decoder, data_root):
    """Byte-equal inputs on every photograph of data/fullsize."""
    decoder.ask("open", DEFAULT_MODEL)
    photographs = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    assert len(photographs) >= 50
    for photograph in photographs:
        answer = json.loads(decoder.ask("picture", photograph))
        assert (
            base64.b64decode(answer["input"]["base64"]) == to_pixels(photograph, InputSpec(*packaged_size())).tobytes()
        )


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """ports/js in headless Chromium with LiteRT.js, installed by npm for this test: paths -> answers."""
    browser, modules = needs("chromium"), node_modules(tmp_path_factory.mktemp("npm"))
    script = [needs("node"), str(DRIVERS / "chromium.mjs"), str(PORTS / "js"), str(modules)]
    return lambda paths, query="?": answers_of([*script, str(DEFAULT_MODEL), browser, query], paths)


@pytest.mark.slow
def test_chromium_decodes_and_answers_as_python_does(chromium, tmp_path):
    paths = vectors.pictures(tmp_path)
    with SkinClassifier(DEFAULT_MODEL) as classifier:
        answers = chromium(list(paths.values()), "?assess-anything")
        for (name, path), answer in zip(paths.items(), answers, strict=True):
            pixels = to_pixels(path, classifier.input_spec)
            assert "error" not in answer, (name, answer)
            level = level_of(base64.b64decode(answer["input"]["base64"]), pixels.tobytes())
            assert level == "A" or (name in vectors.NEEDS_COLOUR and level == "B"), (name, level)
            if level == "A":
                given = classifier.predict(path)
                expected = [given.probabilities[label.code] for label in classifier.labels]
                assert answer["probabilities"] == pytest.approx(expected, abs=1e-6)
                check_assessed(answer, given)
            assert (
                answer["label"],
                [{k: d[k] for k in ("name", "score", "decision", "borderline")} for d in answer["decisions"]],
            ) == vectors.decisions(answer["probabilities"], classifier.contract)


@pytest.mark.slow
def test_chromium_refuses_broken_pictures(chromium, tmp_path):
    for answer in chromium(list(vectors.broken_pictures(tmp_path).values())):
        assert answer.keys() == {"file", "error"} and answer["error"].startswith("cannot assess: "), answer["file"]


@pytest.mark.slow
def test_chromium_on_photographs(chromium, data_root):
    paths = sorted((data_root / "data" / "fullsize").glob("*.jpg"))
    for path, answer in zip(paths, chromium(paths), strict=True):
        assert base64.b64decode(answer["input"]["base64"]) == to_pixels(path, InputSpec(*packaged_size())).tobytes()


# ---- The golden pictures of the packaged model's bundle ----


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """(folder, lines of golden.jsonl), with the model in version 4 beside them."""
    _, made = hand_over.contents(DEFAULT_MODEL)
    folder = tmp_path_factory.mktemp("bundle")
    for name, content in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder, [json.loads(line) for line in made["golden/golden.jsonl"].splitlines()]


def check_golden(
    golden, answers: list[dict], *, levels: dict[str, str] | None = None, refused: tuple[str, ...] = ()
) -> None:
    """Level A on every golden picture, with the upright picture as well; levels: of those that may be below, by name.

    refused: pictures that a port says it does not do. Where it has an engine: probabilities and decisions too.
    """
    folder, lines = golden
    for line, answer in zip(lines, answers, strict=True):
        name = Path(line["file"]).name
        if "error" in line or name in refused:
            assert answer.keys() <= {"file", "error"} and answer["error"].startswith("cannot assess: "), name
            continue
        assert "error" not in answer or not line.get("assessable", True), (name, answer)
        expected = (folder / "golden" / line["input"]["file"]).read_bytes()
        level = level_of(base64.b64decode(answer["input"]["base64"]), expected)
        assert level == "A" or level == (levels or {}).get(name), (name, level)
        if level == "A":
            assert answer["upright"] == line["upright"] and answer["input"]["sha256"] == line["input"]["sha256"], name
        if level == "A" and "features" in answer:
            for feature, value in answer["features"].items():
                assert value == pytest.approx(line["features"][feature], abs=1e-6), (name, feature)
        if level == "A" and "reasons" in answer:
            assert (answer["assessable"], answer["reasons"]) == (line["assessable"], line["reasons"]), name
            assert ("error" in answer) != ("label" in answer) and ("error" in answer) != line["assessable"], name
            assert answer.get("possible") == (line.get("possible") if line["assessable"] else None), name
        if "probabilities" in answer and level == "A":
            assert answer["probabilities"] == pytest.approx(line["probabilities"], abs=1e-6), name
            assert answer["label"] == line["label"]
            for given, decision in zip(answer["decisions"], line["decisions"], strict=True):
                assert given["name"] == decision["name"] and given["score"] == pytest.approx(
                    decision["score"], abs=1e-6
                )
                assert (given["decision"], given["borderline"]) == (decision["decision"], decision["borderline"])


PROFILED = ("display-p3.jpg", "display-p3.png")


def test_c_on_golden_pictures(golden, sample):
    """With the sanitizers, without colour management."""
    folder, lines = golden
    paths = [folder / "golden" / line["file"] for line in lines]
    check_golden(golden, answers_of([str(sample), str(folder / "model.tflite")], paths), refused=PROFILED)


@pytest.mark.slow
def test_c_with_little_cms_and_litert_on_golden_pictures(golden, library, tmp_path):
    folder, lines = golden
    sample = compiled_sample(tmp_path, "-fno-sanitize=all", "-O2", "-DSKIN_EDGE_LCMS", "-llcms2")
    paths = [folder / "golden" / line["file"] for line in lines]
    answers = answers_of([str(sample), "--engine", str(library), str(folder / "model.tflite")], paths)
    check_golden(golden, answers)
    told = [answer | {"file": line["file"]} for answer, line in zip(answers, lines, strict=True)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in told))
    assert run(["verify", str(folder), str(tmp_path / "answers.jsonl")]) == 0  # level A


def test_a_port_on_golden_pictures(decoder, golden):
    folder, lines = golden
    decoder.ask("open", folder / "model.tflite")
    answers = []
    for line in lines:
        said = decoder.ask("picture", folder / "golden" / line["file"])
        answers.append(json.loads(said) if said.startswith("{") else {"error": said})
    is_exact = decoder.process.args[0].endswith("node")  # the Kotlin port computes profiles in floats
    check_golden(golden, answers, levels={} if is_exact else dict.fromkeys(PROFILED, "B"))


@pytest.mark.slow
def test_chromium_on_golden_pictures(chromium, golden):
    folder, lines = golden
    answers = chromium([folder / "golden" / line["file"] for line in lines])
    check_golden(golden, answers)


def test_what_can_be_assessed_from_golden_features(port, golden):
    """Each port's assessment and possible classes, where the packaged model has limits."""
    folder, lines = golden
    port.ask("open", folder / "model.tflite")
    lines = [line for line in lines if "features" in line]
    if not lines:
        pytest.skip("the packaged model has no limits")
    for line in lines:
        said = port.ask("answer", *map(repr, line["probabilities"]), *map(repr, line["features"].values()))
        label, assessable, possible, *rest = said.split()
        assert (label, assessable, possible) == (line["label"], str(int(line["assessable"])), "possible:")
        at = rest.index("reasons:")
        assert rest[:at] == line.get("possible", [])
        assert rest[at + 1 : at + 1 + len(line["reasons"])] == line["reasons"]
        assert (rest[at + 1 + len(line["reasons"]) :][:2] == ["cannot", "assess:"]) == (not line["assessable"])


def test_decisions_from_golden_outputs(port, golden):
    """Without an engine: each port's decisions from the golden probabilities."""
    folder, lines = golden
    port.ask("open", folder / "model.tflite")
    for line in lines:
        if "error" not in line:
            words = port.ask("decide", *map(repr, line["probabilities"])).split()
            given = [[n, float(s), d, b == "1"] for n, s, d, b in zip(*[iter(words[1:])] * 4, strict=True)]
            assert words[0] == line["label"]
            assert given == [[d[k] for k in ("name", "score", "decision", "borderline")] for d in line["decisions"]]
