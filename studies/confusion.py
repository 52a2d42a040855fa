"""How often `skin-edge verify` names the mistake: every one is made, by other code where there is some, and looked for.

    python -m studies.confusion PHOTOGRAPHS [--draws 20]

PHOTOGRAPHS is a folder of pictures. Each becomes a PNG, every one with another EXIF orientation, every fifth with
Display P3's profile, every seventh with transparency; every ninth becomes a CMYK JPEG instead. An app's answers are
then drawn: twelve of these pictures, or all golden ones, told as bytes, as bytes with whether the upright picture is
right, or as probabilities alone. Needs opencv-python-headless (the train extra).
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from skin_edge.benchmarks.bundle import mistakes, pictures
from skin_edge.benchmarks.stats.borderline import moved
from skin_edge.edge_runtime import console, preprocess
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL, SkinClassifier
from skin_edge.edge_runtime.commands import ModelPath
from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.edge_runtime.quantization import Quantization, quantize

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Make = Callable[[bytes, Pixels], Pixels]
"""(a picture's file, the right input) -> the app's input."""

NONE = "none"
_PICTURES = 12  # of a drawn set of answers
_WAYS = {"bytes": "by bytes", "stages": "by bytes and upright pictures", "probabilities": "by probabilities"}


@dataclass(frozen=True)
class App:
    """A simulated app. mistake: what should be named. how: what it does, in words.
    outputs: golden probabilities -> its own, where the mistake is behind the network.
    """

    mistake: str
    how: str
    make: Make | None = None
    outputs: Callable[[Floats], Floats] | None = None


def apps(spec: InputSpec, scale: float, zero: int) -> list[App]:
    """Every simulated app, by the stage in which its mistake is made. scale, zero: of the input tensor."""
    return [
        *_feeding(Quantization(scale, zero)),
        *_resizing(spec),
        *_decoding(spec),
        *_behind_the_network(),
        *_right(spec),
    ]


def _feeding(tensor: Quantization) -> list[App]:
    def on_bytes(change: Callable[[Any], Any]) -> Make:
        return lambda _, right: _bytes(change(right.astype(np.float32)))

    def requantized(change: Callable[[Any], Any]) -> Make:
        return lambda _, right: quantize(change(right.astype(np.float64)), tensor, np.uint8)

    return [
        App("swapped channels", "BGR", lambda _, right: np.ascontiguousarray(right[..., ::-1])),
        App("divided by 255 and fed as bytes", "rounded", on_bytes(lambda p: np.rint(p / 255))),
        App("divided by 255 and fed as bytes", "cut off", on_bytes(lambda p: p / 255)),
        App("divided by 255 and fed as bytes", "to -1..1, cut off", on_bytes(lambda p: (p - 127.5) / 127.5)),
        App("second quantization", "of the real values", requantized(lambda p: (p - 127.5) / 127.5)),
        App("second quantization", "of 0..1", requantized(lambda p: p / 255)),
        App("second quantization", "of the bytes", requantized(lambda p: p)),
        App("wrong zero point", "int8 for uint8", lambda _, right: (right ^ 128).astype(np.uint8)),
        App("wrong zero point", "128 taken off", on_bytes(lambda p: p - 128)),
        App("wrong zero point", "128 added", on_bytes(lambda p: p + 128)),
    ]


def _resizing(spec: InputSpec) -> list[App]:
    import cv2

    size = (spec.width, spec.height)

    def by_cv2(kind: int) -> Make:
        def make(content: bytes, _: Pixels) -> Pixels:
            pixels = np.asarray(preprocess.decode(content))
            return np.asarray(cv2.resize(pixels, size, interpolation=kind), np.uint8)

        return make

    def filtered(kind: Image.Resampling) -> Make:
        return lambda content, _: np.asarray(preprocess.decode(content).resize(size, kind))

    def cropped(share: float) -> Make:
        def make(content: bytes, _: Pixels) -> Pixels:
            """The shorter side to the input's over the share, then the middle of that."""
            image = preprocess.decode(content)
            factor = spec.height / share / min(image.size)
            small = image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BILINEAR)
            left, top = (small.width - spec.width) // 2, (small.height - spec.height) // 2
            return np.asarray(small.crop((left, top, left + spec.width, top + spec.height)))

        return make

    def barred(grey: int) -> Make:
        def make(content: bytes, _: Pixels) -> Pixels:
            """Bars first, then the resize."""
            image = preprocess.decode(content)
            side = max(image.size)
            square = Image.new("RGB", (side, side), (grey, grey, grey))
            square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            return preprocess.resize(square, spec)

        return make

    linear, other = "no antialiasing", "another filter (bicubic or Lanczos)"
    return [
        App(linear, "OpenCV, INTER_LINEAR", by_cv2(cv2.INTER_LINEAR)),
        App(linear, "OpenCV, INTER_CUBIC", by_cv2(cv2.INTER_CUBIC)),
        App("nearest neighbour", "OpenCV, INTER_NEAREST", by_cv2(cv2.INTER_NEAREST)),
        App("nearest neighbour", "Pillow, NEAREST", filtered(Image.Resampling.NEAREST)),
        App("area averaging", "OpenCV, INTER_AREA", by_cv2(cv2.INTER_AREA)),
        App(other, "Pillow, LANCZOS", filtered(Image.Resampling.LANCZOS)),
        App(other, "Pillow, BICUBIC", filtered(Image.Resampling.BICUBIC)),
        App("centre crop", "shorter side to the input's", cropped(1.0)),
        App("centre crop", "7/8 of it", cropped(0.875)),
        App("letterbox", "black, before the resize", barred(0)),
        App("letterbox", "grey, before the resize", barred(128)),
        App("letterbox", "white, before the resize", barred(255)),
    ]


def _decoding(spec: InputSpec) -> list[App]:
    def resized(image: Image.Image) -> Pixels:
        return preprocess.resize(image, spec)

    def plain(content: bytes, _: Pixels) -> Pixels:
        """As most programs read a picture: neither its orientation nor its profile."""
        turned = _opened(content).getexif().get(0x0112, 1) != 1
        return resized(mistakes.Scene(content).without("exif") if turned else preprocess.decode(content))

    def turned_back(content: bytes, _: Pixels) -> Pixels:
        orientation = _opened(content).getexif().get(0x0112, 1)
        upright = preprocess.decode(content)
        return resized(upright.transpose(Image.Transpose.ROTATE_180) if orientation in (6, 8) else upright)

    def as_srgb(content: bytes, _: Pixels) -> Pixels:
        return resized(mistakes.Scene(content).without("icc_profile"))

    def other_ink(content: bytes, right: Pixels) -> Pixels:
        """As a program does that knows nothing of the inversion: what is stored is less than it takes it for."""
        image = _opened(content)
        if image.mode != "CMYK":
            return right
        stored = 255 - np.asarray(image, np.float64)  # Pillow has undone the inversion
        colours = (255 - stored[..., :3]) * (255 - stored[..., 3:]) / 255
        return resized(_with_its_tags(colours, image, "exif"))

    def alpha(colour: int | None) -> Make:
        def make(content: bytes, right: Pixels) -> Pixels:
            image = _opened(content)
            if image.mode != "RGBA" and "transparency" not in image.info:
                return right
            samples = np.asarray(image.convert("RGBA"), np.float64)
            colours = samples[..., :3]
            if colour is not None:
                colours = colours * samples[..., 3:] / 255 + colour * (1 - samples[..., 3:] / 255)
            return resized(_with_its_tags(colours, image, "exif", "icc_profile"))

        return make

    return [
        App("EXIF orientation ignored", "stored as it is", plain),
        App("EXIF orientation turned the wrong way", "6 and 8 exchanged", turned_back),
        App("limited-range YUV", "full range read as limited", _yuv(limited=False)),
        App("limited-range YUV", "limited range read as full", _yuv(limited=True)),
        App("Display P3 taken as sRGB", "profile ignored", as_srgb),
        App("inverted CMYK", "no ink taken for all of it", other_ink),
        App("alpha dropped", "colours alone", alpha(None)),
        App("alpha over black", "premultiplied", alpha(0)),
    ]


def _behind_the_network() -> list[App]:
    return [
        App("labels in another order", "by frequency", outputs=_reordered),
        App("softmax twice", "softmax behind the output", outputs=_softmax),
        App("raw logits", "logits, a constant off", outputs=lambda p: np.log(np.maximum(p, 1e-12)) + 1.7),
    ]


def _right(spec: InputSpec) -> list[App]:
    def float_filter(content: bytes, _: Pixels) -> Pixels:
        """The contract's triangle in floating point, without rounding between the passes."""
        samples = np.asarray(preprocess.decode(content), np.float64)
        for axis, target in ((1, spec.width), (0, spec.height)):
            n = samples.shape[axis]
            wide = max(n / target, 1.0)
            centres = (np.arange(target) + 0.5) * n / target
            weights = np.maximum(0, 1 - np.abs(np.arange(n)[None] + 0.5 - centres[:, None]) / wide)
            weights /= weights.sum(axis=1, keepdims=True)
            samples = np.moveaxis(np.tensordot(weights, samples, (1, axis)), 0, axis)
        return _bytes(np.floor(samples + 0.5))

    return [
        App(NONE, "level A", lambda _, right: right),
        App(NONE, "level B: 4% of the bytes 1 off", lambda _, right: _sparsely(right)),
        App(NONE, "level C: filter in floating point", float_filter),
        App(NONE, "level C: a fifth of the bytes 1 off", lambda _, right: moved(right, 5)),
    ]


def _opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def _with_its_tags(colours: Floats, image: Image.Image, *tags: str) -> Image.Image:
    """Of colours 0..255 the upright picture, by the tags that the original has of these."""
    flat = Image.fromarray(np.rint(colours).astype(np.uint8))
    flat.info = {tag: image.info[tag] for tag in tags if tag in image.info}
    return preprocess.decode(flat)


def _yuv(*, limited: bool) -> Make:
    import cv2

    def make(_: bytes, right: Pixels) -> Pixels:
        y, cr, cb = (np.asarray(cv2.cvtColor(right, cv2.COLOR_RGB2YCrCb), np.float64)[..., i] for i in range(3))
        if limited:  # written as limited, read as full
            y, cr, cb = 16 + y * 219 / 255, 128 + (cr - 128) * 224 / 255, 128 + (cb - 128) * 224 / 255
        else:
            y, cr, cb = (y - 16) * 255 / 219, 128 + (cr - 128) * 255 / 224, 128 + (cb - 128) * 255 / 224
        channels = (y + 1.402 * (cr - 128), y - 0.344 * (cb - 128) - 0.714 * (cr - 128), y + 1.772 * (cb - 128))
        return _bytes(np.rint(np.stack(channels, axis=-1)))

    return make


def held(folder: Path, most: int | None = None) -> dict[str, bytes]:
    """name -> file of every photograph of a folder, with orientations, profiles, transparency and CMYK dealt out.

    most: of them that are taken; None: all.
    """
    made: dict[str, bytes] = {}
    for number, path in enumerate(sorted(folder.glob("*.jpg"))[:most]):
        pixels = np.asarray(preprocess.decode(path))
        orientation = 1 + number % 8
        image = Image.fromarray(np.ascontiguousarray(pictures.stored(pixels, orientation)))
        if number % 7 == 0:
            fade = np.linspace(60, 255, image.width).astype(np.uint8)[None].repeat(image.height, axis=0)
            image.putalpha(Image.fromarray(fade))
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        if number % 9 == 4:
            image.convert("RGB").convert("CMYK").save(buffer, "JPEG", quality=95, exif=exif.tobytes())
            made[path.name] = buffer.getvalue()
            continue
        profile = {"icc_profile": pictures.display_p3()} if number % 5 == 0 else {}
        image.save(buffer, "PNG", exif=exif.tobytes(), **profile)
        made[path.name] = buffer.getvalue()
    return made


def measure(model: Path, sets: Mapping[str, Mapping[str, bytes]], draws: int) -> list[dict[str, Any]]:
    """Rows {mistake, how, pictures, by, named: {name: times}}. sets: name -> pictures; "golden" is told whole, others
    by draws."""
    rows: list[dict[str, Any]] = []
    with SkinClassifier(model) as classifier:
        spec, tensor = classifier.input_spec, classifier.contract["input"]
        simulated = apps(spec, float(tensor["scale"]), int(tensor["zero_point"]))

        def ask(pixels: Pixels) -> Floats:
            return classifier.invoke(classifier.to_tensor(np.ascontiguousarray(pixels))).astype(np.float64)

        for kind, files in sets.items():
            scenes = {name: mistakes.Scene(content) for name, content in files.items()}
            right = {name: preprocess.resize(scene.upright, spec) for name, scene in scenes.items()}
            golden = {name: ask(pixels) for name, pixels in right.items()}
            known = mistakes.hypotheses(scenes, right, spec, tensor)
            single = [one for one in known if len(one.names) == 1]
            answers = [(one.names, {name: ask(one.input(name)) for name in files}) for one in single]
            names = sorted(files)
            generator = np.random.default_rng(0)
            drawn = (
                [names]
                if kind == "golden"
                else [sorted(generator.choice(names, min(_PICTURES, len(names)), replace=False)) for _ in range(draws)]
            )
            for app in simulated:
                rows += _rows(app, kind, files, right, golden, known, answers, drawn, ask)
    return rows


def _rows(
    app: App, kind: str, files: Any, right: Any, golden: Any, known: Any, answers: Any, drawn: Any, ask: Any
) -> list[dict[str, Any]]:
    inputs = {name: app.make(files[name], right[name]) if app.make else right[name] for name in files}
    told = {name: app.outputs(golden[name]) if app.outputs else ask(inputs[name]) for name in files}
    touched = {name for name in files if not np.array_equal(inputs[name], right[name])}
    counts: dict[str, Counter[str]] = {way: Counter() for way in _WAYS}
    decoding = app.mistake in mistakes.MISTAKES and mistakes.MISTAKES[app.mistake].stage == "decode"
    for some in drawn:
        if app.mistake != NONE and app.make and not touched & set(some):
            continue  # the mistake does not show in these pictures
        of_bytes = {name: inputs[name] for name in some}
        of_answers = {name: told[name] for name in some}
        if app.make:
            near, other = _near(of_bytes, right), touched & set(some)
            counts["bytes"][_said(mistakes.by_bytes(of_bytes, right, known), near)] += 1
            upright = {name: not (decoding and name in other) for name in some}
            possible = mistakes.possible(known, upright, other)
            counts["stages"][_said(mistakes.by_bytes(of_bytes, right, possible), near)] += 1
        found = mistakes.by_probabilities(of_answers, golden, answers)
        away = max(float(np.abs(of_answers[name] - golden[name]).max()) for name in some)
        counts["probabilities"][_said(found, away <= 0.14 if app.mistake == NONE else away <= 0.02)] += 1
    return [
        {"mistake": app.mistake, "how": app.how, "pictures": kind, "by": by, "named": dict(counted)}
        for by, counted in counts.items()
        if counted
    ]


def _near(found: Mapping[str, Pixels], right: Mapping[str, Pixels]) -> bool:
    """Whether all inputs are of level C or better, where `verify` looks for no mistake."""
    differences = [np.abs(pixels.astype(np.int16) - right[name]) for name, pixels in found.items()]
    return all(one.max() <= 2 and one.mean() <= 0.2 for one in differences)


def _said(named: mistakes.Named | None, accepted: bool) -> str:
    return NONE if accepted or named is None or named.nearest else " and ".join(named.names)


def _reordered(probabilities: Floats) -> Floats:
    order = np.argsort(np.sin(np.arange(len(probabilities))))
    return probabilities[order]


def _bytes(values: npt.NDArray[Any]) -> Pixels:
    return np.minimum(np.maximum(values, 0), 255).astype(np.uint8)


def _sparsely(right: Pixels) -> Pixels:
    generator = np.random.default_rng(3)
    steps = generator.choice(np.array([-1, 0, 1], np.int16), right.shape, p=[0.02, 0.96, 0.02])
    return _bytes(right + steps)


def _softmax(probabilities: Floats) -> Floats:
    exponentials = np.exp(probabilities)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@click.command()
@click.argument("photographs", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--model", type=ModelPath(), default=DEFAULT_MODEL, help="[default: the packaged one]")
@click.option("--draws", type=click.IntRange(min=1), default=20, show_default=True)
def main(photographs: Path, model: Path, draws: int) -> None:
    """Print, as Markdown, how often each mistake is named, and as what else.

    \b
    Example:
      python -m studies.confusion fullsize
    """
    with SkinClassifier(model) as classifier:
        size = classifier.input_spec.height, classifier.input_spec.width
    sets = {"golden": pictures.good(*size), "photographs": held(photographs)}
    rows = measure(model, sets, draws)
    console.say(console.page(table(rows).splitlines()))


def table(rows: list[dict[str, Any]]) -> str:
    """A row per simulated app: named rightly of how many, in each way of telling, and what else was said."""
    lines = [
        f"| the app's mistake | how it was made | {' | '.join(_WAYS.values())} | named otherwise |",
        f"| --- | --- | {'---: | ' * len(_WAYS)}--- |",
    ]
    total = {way: [0, 0] for way in _WAYS}
    keys = dict.fromkeys((row["mistake"], row["how"]) for row in rows)
    for mistake, how in keys:
        cells, others = list[str](), Counter[str]()
        for by in _WAYS:
            counted = Counter[str]()
            for row in rows:
                if (row["mistake"], row["how"], row["by"]) == (mistake, how, by):
                    counted.update(row["named"])
            n, good = sum(counted.values()), counted[mistake]
            cells.append(f"{good} of {n}" if n else "")
            total[by] = [total[by][0] + (good if mistake != NONE else 0), total[by][1] + (n if mistake != NONE else 0)]
            others.update({f"{name} ({by})": times for name, times in counted.items() if name != mistake})
        said = "; ".join(f"{name}: {times}" for name, times in others.most_common())
        lines.append(f"| {mistake} | {how} | {' | '.join(cells)} | {said} |")
    shares = [f"{good} of {n} ({good / n:.1%})" if n else "" for good, n in total.values()]
    lines.append(f"| **all mistakes** |  | {' | '.join(shares)} |  |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
