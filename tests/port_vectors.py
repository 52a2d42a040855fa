"""What a port has to give, straight from docs/contract.md in plain Python integers, without edge_runtime's arithmetic.

Models, pictures and decisions are small; the expected values are computed where they are used.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from skin_edge.benchmarks.bundle import pictures as golden_pictures
from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime.archive import Archive
from skin_edge.edge_runtime.model_file import with_archive

MAX_PIXELS = 100_000_000

LAYOUTS = {  # channels, bytes per sample
    "GREY": (1, 1),
    "GREY_ALPHA": (2, 1),
    "RGB": (3, 1),
    "RGBA": (4, 1),
    "BGR": (3, 1),
    "BGRA": (4, 1),
    "CMYK": (4, 1),
    "GREY16": (1, 2),
    "GREY_ALPHA16": (2, 2),
    "RGB16": (3, 2),
    "RGBA16": (4, 2),
}


def weights(n: int, target: int, i: int) -> list[tuple[int, int]]:
    """(x, k_x) of output i, of section 5."""
    most = 2 * max(n, target)
    first, last = max(0, (2 * i + 1) * n - most - target), (2 * i + 1) * n + most
    v = {
        x: most - abs((2 * x + 1) * target - (2 * i + 1) * n)
        for x in range(first // (2 * target), min(n, last // (2 * target) + 2))
    }
    v = {x: value for x, value in v.items() if value > 0}
    total = sum(v.values())
    return [(x, (value * 2**23 + total) // (2 * total)) for x, value in v.items()]


def resize(rows: list[list[tuple[int, ...]]], width: int, height: int) -> list[list[tuple[int, ...]]]:
    """Rows of RGB -> rows of RGB, the horizontal pass first."""
    across = [weights(len(rows[0]), width, i) for i in range(width)]
    down = [weights(len(rows), height, i) for i in range(height)]

    def mix(samples: list[tuple[int, tuple[int, ...]]]) -> tuple[int, ...]:
        return tuple(min(255, max(0, (2**21 + sum(k * p[c] for k, p in samples)) >> 22)) for c in range(3))

    rows = [[mix([(k, row[x]) for x, k in taps]) for taps in across] for row in rows]
    return [[mix([(k, rows[y][x]) for y, k in taps]) for x in range(width)] for taps in down]


def upright(rows: list[list[Any]], orientation: int) -> list[list[Any]]:
    """Section 3, by turning and mirroring whole pictures."""
    mirrored = [row[::-1] for row in rows]
    transposed = [list(column) for column in zip(*rows, strict=True)]
    return {
        2: mirrored,
        3: mirrored[::-1],
        4: rows[::-1],
        5: transposed,
        6: [row[::-1] for row in transposed],
        7: [row[::-1] for row in transposed[::-1]],
        8: transposed[::-1],
    }.get(orientation, rows)


def rgb(pixel: tuple[int, ...], layout: str) -> tuple[int, ...]:
    """Section 2: the samples of one pixel -> R, G, B."""

    def white(c: int, a: int) -> int:
        return (c * a + 255 * (255 - a) + 127) // 255

    if layout == "GREY16":
        return ((pixel[0] + 128) // 257,) * 3
    if layout.endswith("16"):
        pixel, layout = tuple(v >> 8 for v in pixel), layout[:-2]
    if layout == "CMYK":
        return tuple((c * pixel[3] + 127) // 255 for c in pixel[:3])
    if layout.startswith("GREY"):
        pixel = (pixel[0],) * 3 + pixel[1:]
    if layout.startswith("BGR"):
        pixel = pixel[2::-1] + pixel[3:]
    return tuple(white(c, pixel[3]) for c in pixel[:3]) if len(pixel) == 4 else pixel


def picture(layout: str, width: int, height: int, seed: int) -> tuple[bytes, list[list[tuple[int, ...]]]]:
    """(samples as they are in memory, rows of R, G, B) of noise with edges of full contrast."""
    draw = random.Random(seed)
    channels, size = LAYOUTS[layout]
    top = 256**size - 1
    values = [draw.choice((0, top, draw.randint(0, top))) for _ in range(width * height * channels)]
    pixels = [tuple(values[i : i + channels]) for i in range(0, len(values), channels)]
    rows = [[rgb(p, layout) for p in pixels[y * width : (y + 1) * width]] for y in range(height)]
    return struct.pack(f"={len(values)}{'H' if size == 2 else 'B'}", *values), rows


def flat(rows: list[list[tuple[int, ...]]]) -> bytes:
    return bytes(value for row in rows for pixel in row for value in pixel)


def steps(height: int, width: int, scaled: str = "none") -> list[dict[str, Any]]:
    """`preprocessing` of version 4, from the words of section 1."""
    return [
        {"step": "decode", "scaled": scaled},
        {"step": "orient", "by": "EXIF orientation", "to": "upright"},
        {
            "step": "colour",
            "space": "sRGB",
            "bits": 8,
            "channels": "RGB",
            "profile": "embedded ICC profile applied",
            "alpha": "laid over white",
        },
        {"step": "crop", "kind": "none"},
        {
            "step": "resize",
            "height": height,
            "width": width,
            "aspect": "stretched",
            "kernel": "bilinear",
            "antialias": True,
            "arithmetic": "integer",
            "passes": "horizontal, then vertical",
        },
        {"step": "normalize", "formula": "(pixel - mean) / std", "mean": [127.5] * 3, "std": [127.5] * 3},
    ]


THRESHOLDS = [
    {"name": "malignant-0.90", "classes": ["mel", "akiec", "bcc"], "threshold": 0.1609134903701488},
    {"name": "mel-0.95", "classes": ["mel"], "threshold": 0.04785569943487644},
    {"name": "half-0.50", "classes": ["nv", "df"], "threshold": 0.5},
]
BORDERLINE = 0.03
RULES = {
    "score": "sum of the probabilities of a threshold's classes, in the order of labels, float64",
    "refer": "score >= threshold",
    "below": "score < threshold",
    "borderline": "|score - threshold| < borderline_within",
    "ties": "the first label",
}


def contract_of(model: Path) -> dict[str, Any]:
    """The contract of `tests/golden`'s tiny model in version 4."""
    raw = Archive(model.read_bytes()).read(contracts.CONTRACT_FILE) or b""
    old = json.loads(raw)
    count = len(old["labels"])
    return old | {
        "format_version": 4,
        "notice": 'For research; \u201cnot\u201d a "medical\tdevice".',
        "preprocessing": steps(32, 32),
        "input": {
            "shape": [1, 32, 32, 3],
            "dtype": "uint8",
            "bytes": "unchanged",
            "scale": 0.007843137718737125,
            "zero_point": 128,
        },
        "outputs": [{"name": "probabilities", "shape": [1, count], "dtype": "float32"}],
        "thresholds": [
            row | {"chosen_for_sensitivity": 0.9, "borderline_within": BORDERLINE, "target": row["name"][:-5]}
            for row in THRESHOLDS
        ],
        "decisions": RULES,
        "limits": {"max_pixels": MAX_PIXELS},
    }


def packed(contract: dict[str, Any], network: bytes, labels: str | None = None) -> bytes:
    """A sealed .tflite file."""
    if labels is None:
        labels = "".join(f"{label['code']}\n" for label in contract["labels"])
    return with_archive(
        network, {contracts.LABELS_FILE: labels, contracts.CONTRACT_FILE: contracts.sealed(contract, network, labels)}
    )


def broken_models(contract: dict[str, Any], network: bytes) -> dict[str, bytes]:
    """name -> a file that must be refused."""
    good = packed(contract, network)

    def changed(**fields: Any) -> bytes:
        return packed(contract | fields, network)

    def step(position: int, **fields: Any) -> bytes:
        return changed(
            preprocessing=[s | fields if i == position else s for i, s in enumerate(contract["preprocessing"])]
        )

    flipped = bytearray(good)
    flipped[len(network) // 2] ^= 1
    rows = contract["thresholds"]
    return {
        "empty": b"",
        "text": b"not a model" * 20,
        "network alone": network,
        "truncated": good[:-1],
        "cut in the archive": good[: len(network) + 40],
        "a flipped weight": bytes(flipped),
        "another label": good.replace(b"vasc\n", b"vaso\n", 1),
        "another threshold": good.replace(b"0.16091", b"0.06091", 1),
        "another format": changed(format="other-model"),
        "version 3": changed(format_version=3),
        "version 5": changed(format_version=5),
        "an unknown step": changed(preprocessing=[*contract["preprocessing"], {"step": "sharpen"}]),
        "a missing step": changed(preprocessing=contract["preprocessing"][1:]),
        "an unknown field": step(3, margin=3),
        "another value": step(4, kernel="cubic"),
        "scaled decoding": changed(preprocessing=steps(32, 32, scaled="JPEG at 1/8, 1/4 or 1/2")),
        "a size of text": step(4, height="32"),
        "no std": step(5, std=[0, 1, 1]),
        "a second input": changed(metadata={"shape": [1, 2], "dtype": "float32", "fields": []}),
        "other labels": packed(contract, network, labels="a\nb\n"),
        "labels twice": changed(labels=contract["labels"] + contract["labels"][:1]),
        "no labels": changed(labels=[]),
        "an unknown class": changed(thresholds=[rows[0] | {"classes": ["melanoma"]}]),
        "a threshold of text": changed(thresholds=[rows[0] | {"threshold": "0.1"}]),
        "no borderline": changed(thresholds=[{k: v for k, v in rows[0].items() if k != "borderline_within"}]),
        "another rule": changed(decisions=contract["decisions"] | {"refer": "score > threshold"}),
        "no limits": changed(limits=None),
        "no outputs": changed(outputs=[]),
        "another input": changed(input=contract["input"] | {"shape": [1, 16, 16, 3]}),
        "unknown bytes": changed(input=contract["input"] | {"bytes": "halved"}),
        "no notice": changed(notice=None),
    }


def decisions(probabilities: list[float], contract: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """Section 8. probabilities: as float32 values."""
    codes = [label["code"] for label in contract["labels"]]
    answers = []
    for row in contract["thresholds"]:
        score = 0.0
        for code, probability in zip(codes, probabilities, strict=True):
            if code in row["classes"]:
                score += probability
        decision = "refer" if score >= row["threshold"] else "below"
        borderline = abs(score - row["threshold"]) < row["borderline_within"]
        answers.append({"name": row["name"], "score": score, "decision": decision, "borderline": borderline})
    return codes[probabilities.index(max(probabilities))], answers


def float32(value: float) -> float:
    return struct.unpack("f", struct.pack("f", value))[0]


def exif(value: int, order: str = "<", kind: str = "H", tag: int = 0x0112, entries: int = 2, count: int = 1) -> bytes:
    """An EXIF block: another tag, then the orientation."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HIH", 42, 8, entries)
    other = struct.pack(f"{order}HHI4s", 0x0103, 3, 1, b"\0\0\0\0")
    own = struct.pack(f"{order}HHI{kind}", tag, {"B": 1, "H": 3, "I": 4}[kind], count, value)
    return head + other + own.ljust(12, b"\0") + b"\0\0\0\0"


def in_jpeg(block: bytes | None) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 5), (10, 200, 30)).save(stream, "JPEG")
    data = stream.getvalue()
    if block is None:
        return data
    body = b"Exif\0\0" + block
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def in_png(block: bytes) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (9, 5), (10, 200, 30)).save(stream, "PNG")
    data = stream.getvalue()
    chunk = b"eXIf" + block
    return data[:33] + struct.pack(">I", len(block)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def orientations() -> list[tuple[bytes, int]]:
    """(a file or EXIF block, the orientation that it names)."""
    cases = [(exif(value, order), value) for value in range(1, 9) for order in "<>"]
    cases += [(b"Exif\0\0" + exif(6), 6), (exif(6, kind="I"), 6), (exif(6, ">", "I"), 6)]
    cases += [(exif(value), 1) for value in (0, 9, 65535)] + [(exif(6, kind="B"), 1), (exif(6, count=2), 1)]
    cases += [(exif(6, tag=0x0113), 1), (exif(6)[:20], 1), (exif(6, entries=1), 1), (exif(6)[:5], 1), (b"", 1)]
    cases += [(in_jpeg(exif(value)), value) for value in (3, 8)] + [(in_png(exif(value)), value) for value in (2, 5)]
    return [*cases, (in_jpeg(None), 1), (in_jpeg(exif(6))[:30], 1), (in_png(exif(6))[:50], 1)]


def numbers() -> list[str]:
    """Decimals whose nearest double a hasty reader misses."""
    draw = random.Random(4)
    texts = [repr(draw.random()) for _ in range(300)] + [
        repr(draw.random() * 10.0 ** draw.randint(-9, 9)) for _ in range(300)
    ]
    texts += [
        "0.1",
        "1e-7",
        "5E-1",
        "0",
        "-0.0",
        "1",
        "9007199254740993",
        "0.30000000000000004",
        "1e22",
        "1e23",
        "127.5",
    ]
    return [*texts, "9007199254740992.5", "9007199254740993.5", "0.007843137718737125", "1844674407370955161", "1e-30"]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(width: int, height: int, depth: int, colour: int, seed: int, chunks: bytes = b"", interlaced: int = 0) -> bytes:
    """A PNG of noise as Pillow does not write it: of any depth, interlaced, with chunks before the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    draw = random.Random(seed)
    data = b""
    for x, y, dx, dy in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // dx), -(-(height - y) // dy)
        size = (columns * channels * depth + 7) // 8
        data += b"".join(b"\0" + draw.randbytes(size) for _ in range(rows if columns > 0 else 0))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + head + chunks + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def icc_chunk(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))


def spoilt(content: bytes, name: bytes) -> bytes:
    """A PNG with a wrong checksum of its chunk of this name."""
    at = content.index(name)
    end = at + 4 + struct.unpack(">I", content[at - 4 : at])[0]
    return content[:end] + bytes([content[end] ^ 1]) + content[end + 1 :]


def p3_profile() -> bytes:
    """A profile with Display-P3's primaries: sRGB's with other colorants and another name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    colorants = {b"rXYZ": (0.51512, 0.2412, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189)}
    colorants[b"bXYZ"] = (0.1571, 0.06657, 0.78407)
    for position in range(struct.unpack(">I", data[128:132])[0]):
        name, at, _ = struct.unpack(">4sII", data[132 + 12 * position : 144 + 12 * position])
        if name in colorants:
            data[at + 8 : at + 20] = struct.pack(">3i", *(round(v * 65536) for v in colorants[name]))
    return bytes(data).replace("sRGB".encode("utf-16-be"), "P3-D".encode("utf-16-be"))


def pictures(folder: Path) -> dict[str, Path]:
    """Files of every kind that a port decodes, of noise over a gradient: name -> path. Those of "profile" need one."""
    draw = random.Random(9)
    width, height = 75, 53
    base = bytes(
        min(255, max(0, (x * 3 + y * 2 + c * 40) % 256 + draw.randint(-30, 30)))
        for y in range(height)
        for x in range(width)
        for c in range(4)
    )
    rgba = Image.frombytes("RGBA", (width, height), base)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    jpegs: dict[str, tuple[Any, dict[str, Any]]] = {
        "444": (rgb, {"subsampling": 0}),
        "420 odd": (rgb, {"subsampling": 2, "quality": 60}),
        "422 progressive": (rgb, {"subsampling": 1, "progressive": True}),
        "grey": (grey, {}),
        "cmyk": (Image.frombytes("CMYK", (width, height), base), {}),
        "exact": (rgb.resize((32, 32)), {}),
        "smaller": (rgb.resize((11, 9)), {}),
        "restarts": (rgb, {"subsampling": 2, "restart_marker_blocks": 3}),
        "restarts progressive": (rgb, {"subsampling": 2, "restart_marker_rows": 1, "progressive": True, "quality": 95}),
        "two wide": (rgb.resize((3, 5)), {"subsampling": 2}),  # too narrow for libjpeg's triangle filter
        "exif 6": (rgb, {"exif": b"Exif\0\0" + exif(6)}),
        "profile": (rgb, {"icc_profile": p3_profile()}),
        "profile of grey": (grey, {"icc_profile": p3_profile()}),
    }
    pngs: dict[str, tuple[Any, dict[str, Any]]] = {
        "rgb": (rgb, {}),
        "rgba": (rgba, {}),
        "grey alpha": (rgba.convert("LA"), {}),
        "one bit": (rgb.convert("1"), {}),
        "palette": (rgb.convert("P"), {}),
        "palette alpha": (rgb.convert("P"), {"transparency": bytes(range(256))}),
        "transparent colour": (rgb, {"transparency": rgb.getpixel((5, 5))}),
        "grey 16": (Image.frombytes("I;16", (width, height), draw.randbytes(2 * width * height)), {}),
        "exif 5": (rgb, {"exif": exif(5, ">")}),
        "srgb profile": (rgb, {"icc_profile": p3_profile().replace(b"P\x003\x00-\x00D", b"s\x00R\x00G\x00B")}),
        "profile in png": (rgba, {"icc_profile": p3_profile()}),
    }
    paths = {}
    for kind, files in (("jpg", jpegs), ("png", pngs)):
        for name, (image, options) in files.items():
            paths[name] = folder / f"{name}.{kind}"
            image.save(paths[name], **options)
    for name, content in odd_pngs(width, height).items():
        paths[name] = folder / f"{name}.png"
        paths[name].write_bytes(content)
    return paths


def odd_pngs(width: int, height: int) -> dict[str, bytes]:
    """name -> PNGs as Pillow does not write them."""
    values = random.Random(2).randbytes(6)
    made = {
        "rgb 16": png(width, height, 16, 2, 2),
        "grey alpha 16": png(width, height, 16, 4, 4),
        "rgba 16": png(width, height, 16, 6, 6),
        "transparent 16": png(width, height, 16, 2, 2, chunk(b"tRNS", values)),
        "transparent 8 with high bits": png(width, height, 8, 0, 3, chunk(b"tRNS", b"\1\x40")),
        "short palette": png(width, height, 4, 3, 5, chunk(b"PLTE", bytes(range(30)))),
        "profile behind sRGB": png(width, height, 8, 2, 6, chunk(b"sRGB", b"\0") + icc_chunk(p3_profile())),
        "profile of rgb 16": png(width, height, 16, 2, 7, icc_chunk(p3_profile())),
        "exif with its prefix": png(width, height, 8, 2, 8, chunk(b"eXIf", b"Exif\0\0" + exif(6))),
    }
    for depth in (1, 2, 4):
        grey = chunk(b"tRNS", struct.pack(">H", 1))
        made[f"transparent {depth}"] = png(width, height, depth, 0, depth, grey)
    for depth, colour in ((1, 0), (4, 0), (8, 2), (16, 6)):
        made[f"interlaced {depth} {colour}"] = png(width, height, depth, colour, depth, interlaced=1)
    return made


def icc_table(values: list[int]) -> bytes:
    """A curve as a table of 16-bit values; one value is a gamma in steps of 1/256, none the identity."""
    return b"curv\0\0\0\0" + struct.pack(f">I{len(values)}H", len(values), *values)


def icc_formula(kind: int, values: list[float]) -> bytes:
    """A parametric curve."""
    fixed = [round(value * 65536) for value in values]
    return b"para\0\0\0\0" + struct.pack(f">HH{len(values)}i", kind, 0, *fixed)


def p3_profile_with(curve: bytes | None) -> bytes:
    """Display P3 with another curve; None for its own."""
    profile = bytearray(golden_pictures.display_p3())
    if curve is None:
        return bytes(profile)
    at = len(profile)
    profile += curve + bytes(-len(curve) % 4)
    for entry in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        if profile[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into(">II", profile, entry + 4, at, len(curve))
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


def to_srgb(pixels: npt.NDArray[np.uint8], profile: bytes) -> npt.NDArray[np.uint8]:
    """By Little CMS, as skin-edge asks it."""
    converted = ImageCms.profileToProfile(
        Image.fromarray(pixels),
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
    )
    return np.asarray(converted)


NEEDS_COLOUR = ("profile", "profile in png", "profile behind sRGB", "profile of rgb 16")
"""Of `pictures`: what a port without colour management refuses, and one with its own reaches level B on."""


def broken_pictures(folder: Path) -> dict[str, Path]:
    """Files that must be refused: name -> path."""
    good = in_jpeg(None)
    whole = png(40, 30, 8, 2, 1)
    bomb = bytearray(whole)
    bomb[16:24] = struct.pack(">II", 65535, 65535)
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    contents = {
        "empty.jpg": b"",
        "text.jpg": b"no picture at all\n",
        "half.jpg": good[: len(good) * 3 // 4],
        "no end.jpg": good[:-20],
        "header alone.jpg": good[:200],
        "magic alone.jpg": good[:3],
        "half.png": whole[: len(whole) // 2],
        "no pixels.png": whole[:8] + whole[8:16] + struct.pack(">II", 0, 5) + whole[24:],
        "flipped.png": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        "bomb.png": bytes(bomb),
        "magic alone.png": whole[:8],
        "spoilt pixels.png": spoilt(whole, b"IDAT"),
        "spoilt transparency.png": spoilt(png(40, 30, 8, 0, 1, chunk(b"tRNS", b"\0\1")), b"tRNS"),
        "spoilt profile.png": spoilt(png(40, 30, 8, 2, 1, icc_chunk(p3_profile())), b"iCCP"),
        "spoilt orientation.png": spoilt(png(40, 30, 8, 2, 1, chunk(b"eXIf", exif(6))), b"eXIf"),
        "spoilt late orientation.png": spoilt(whole[:-12] + chunk(b"eXIf", exif(6)) + whole[-12:], b"eXIf"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def altered_contracts(contract: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(what was altered, a contract with one value of another kind or missing): each must be answered, whatever by."""
    others: list[Any] = [None, True, 0, -1, 0.5, 1e300, "", "x", [], [None], {}, {"a": 1}]
    paths: list[tuple[Any, ...]] = []

    def walk(value: Any, path: tuple[Any, ...]) -> None:
        paths.extend([path] if path and path[0] != "seal" else [])
        if isinstance(value, dict):
            for key, item in value.items():
                walk(item, (*path, key))
        elif isinstance(value, list):
            for position, item in enumerate(value[:2]):
                walk(item, (*path, position))

    walk({key: value for key, value in contract.items() if key != "provenance"}, ())
    altered = []
    for path in paths:
        for other in [*others, ...]:
            copy = json.loads(json.dumps(contract))
            holder = copy
            for key in path[:-1]:
                holder = holder[key]
            if other is ...:
                del holder[path[-1]]
            else:
                holder[path[-1]] = other
            altered.append((f"{path} = {other!r}", copy))
    return altered


def altered_texts(contract: dict[str, Any], network: bytes) -> list[bytes]:
    """Sealed files whose metadata.json is not JSON, or JSON of an odd form."""
    labels = "".join(f"{label['code']}\n" for label in contract["labels"])
    text = json.dumps(contract | {"seal": "0" * 64}, indent=1)
    draw = random.Random(2)
    texts = [text[:n] for n in range(0, len(text), 97)] + [text + "x", "[" * 5000, "{" * 50 + "}" * 50, "", " ", "\x00"]
    texts += [
        text.replace("0.5", number) for number in ("1e999", "-", "0x1", "NaN", "1.", "." * 9, "1" * 400, "1e-999")
    ]
    texts += [
        text.replace("For research", escape) for escape in ("\\u00", "\\", "\\ud800", "\\x", "\\u0000", "\\udc00x")
    ]
    for _ in range(300):
        position, byte = draw.randrange(len(text)), draw.choice('{}[]",:\\0a -')
        texts.append(text[:position] + byte + text[position + draw.randrange(3) :])
    files = []
    for altered in texts:
        digest = hashlib.sha256(network + labels.encode() + altered.encode()).hexdigest()
        files.append(with_archive(network, {"labels.txt": labels, "metadata.json": altered.replace("0" * 64, digest)}))
    return files


CHECKS = (
    {"feature": "luma", "below": 9000, "reason": "too_dark", "text": "too dark", "remedy": "more light"},
    {"feature": "luma", "above": 60000, "reason": "too_bright", "text": "too bright", "remedy": "less light"},
    {"feature": "black", "above": 7000, "reason": "too_dark", "text": "black", "remedy": "another picture"},
    {
        "feature": "red_green",
        "below": -40,
        "above": 300.5,
        "reason": "cast",
        "text": "a \u201ccolour\u201d cast",
        "remedy": "",
    },
    {
        "feature": "detail",
        "below": 12,
        "reason": "blurred",
        "text": "blurred",
        "remedy": "hold still",
        "borderline_within": 2,
    },
    {"feature": "outlier_score", "above": 1.25, "reason": "no_lesion", "text": "no lesion", "remedy": "a lesion"},
)
"""Limits as a file of version 6 may have them."""

POSSIBLE = [0.02, 0.5, 0.1, 1.5, 0.25, 0, -1]


def contract_6(contract: dict[str, Any], *, score: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """`contract_of`'s in version 6, with `CHECKS` and `POSSIBLE`.

    score: dtype and scale of the output outlier_score.
    """
    own = {"name": "outlier_score", "shape": [1, 1], "dtype": "float32"} | (score or {})
    return contract | {
        "format_version": 6,
        "outputs": [*contract["outputs"], own],
        "assessment": {"version": 1, "checks": list(CHECKS), "note": "ignored"},
        "possible": {"coverage": 0.9, "thresholds": POSSIBLE},
        **fields,
    }


def broken_assessments(contract: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """name -> a contract of version 6 that must be refused."""

    def check(**fields: Any) -> dict[str, Any]:
        return contract_6(contract, assessment={"version": 1, "checks": [CHECKS[0] | fields]})

    one = {key: value for key, value in CHECKS[0].items() if key != "below"}
    return {
        "another version": contract_6(contract, assessment={"version": 2, "checks": []}),
        "no version": contract_6(contract, assessment={"checks": []}),
        "no checks": contract_6(contract, assessment={"version": 1}),
        "checks of another kind": contract_6(contract, assessment={"version": 1, "checks": {}}),
        "an unknown feature": check(feature="sharpness"),
        "no feature": check(feature=None),
        "no limit": contract_6(contract, assessment={"version": 1, "checks": [one]}),
        "a limit of text": check(below="9000"),
        "no reason": check(reason=None),
        "no text": check(text=""),
        "no remedy": check(remedy=None),
        "a score that the network does not give": contract_6(contract, outputs=contract["outputs"]),
        "a score of another shape": contract_6(contract, score={"shape": [1, 2]}),
        "too few possible": contract_6(contract, possible={"coverage": 0.9, "thresholds": [0.1]}),
        "possible of text": contract_6(contract, possible={"coverage": 0.9, "thresholds": ["0.1"] * 7}),
        "no possible": contract_6(contract, possible={"coverage": 0.9}),
        "version 7": contract_6(contract, format_version=7),
        "version 6 of logits alone": contract_6(contract, outputs=[contract["outputs"][0] | {"name": "logits"}]),
    }


def assessed(probabilities: list[float], features: list[float]) -> str:
    """Section 12, as the drivers say it: class, assessable, possible classes, reasons, in words."""
    codes = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    best = probabilities.index(max(probabilities))
    possible = [code for i, code in enumerate(codes) if i == best or probabilities[i] >= POSSIBLE[i]]
    names = ("luma", "black", "white", "clipped", "red_green", "blue_green", "contrast", "detail", "ridges")
    values = dict(zip((*names, "outlier_score"), features, strict=True))
    failed: dict[str, str] = {}
    for check in CHECKS:
        value = values[check["feature"]]
        if value < check.get("below", value) or value > check.get("above", value):
            failed.setdefault(check["reason"], check["text"] + (f" ({check['remedy']})" if check["remedy"] else ""))
    said = f"cannot assess: {'; '.join(failed.values())}" if failed else ""
    return " ".join([codes[best], str(int(not failed)), "possible:", *possible, "reasons:", *failed, said])
