"""Which mistake an app makes, from the bytes that it feeds or the probabilities that it gives.

Every mistake is made here on the golden pictures, and the app's answers are held against what comes out. One is named
only where it explains more than half of what is wrong; `EXPLAINED` says how that is counted, and confusion.py measures
how often the name is right.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...edge_runtime import preprocess
from ...edge_runtime.preprocess import InputSpec
from ..accuracy.preprocessing import bilinear

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

EXPLAINED = 0.5
"""A mistake is named where the distance to what it gives, over all pictures, is at most this share of the distance to
the golden answers."""

_ROUNDING = 1.0  # grey levels: a single mistake that leaves less is taken without a look at pairs
_FAR = 0.8  # what explains less is not even said to be the nearest
_MOST = 60.0  # grey levels per picture: one of full contrast may not outweigh all others
_SAME = 1e-3  # probabilities that are the same up to rounding


@dataclass(frozen=True)
class Mistake:
    """A known mistake of an app.

    Attributes:
        name: Shown to the user.
        remedy: One line.
        stage: "decode", "resize", "values" or "outputs".
    """

    name: str
    remedy: str
    stage: str


_STRETCH = "resize by the integers of CONTRACT.md, section 5, as the ports do; not by the platform's function"
_BYTES = "feed the bytes of the resized picture as they are: they are the tensor"
_TURN = "apply the EXIF orientation to the decoded picture, before it is resized"

IGNORED = "ignores the assessment"
"""The mistake of an app that answers a picture which the file's limits refuse as if there were none."""

MISTAKES = {
    one.name: one
    for one in (
        Mistake("swapped channels", "the channels are R, G, B: the app feeds B, G, R", "values"),
        Mistake("divided by 255 and fed as bytes", _BYTES, "values"),
        Mistake("second quantization", _BYTES, "values"),
        Mistake("wrong zero point", _BYTES + "; no 128 is added or taken off", "values"),
        Mistake("limited-range YUV", "convert YUV by the full-range JFIF equations: 0..255, not 16..235", "values"),
        Mistake("no antialiasing", _STRETCH + ", which has no antialiasing", "resize"),
        Mistake("nearest neighbour", _STRETCH, "resize"),
        Mistake("area averaging", _STRETCH, "resize"),
        Mistake("another filter (bicubic or Lanczos)", _STRETCH, "resize"),
        Mistake("centre crop", "stretch the whole picture to the input; nothing is cropped", "resize"),
        Mistake("letterbox", "stretch the whole picture to the input; no bars are added", "resize"),
        Mistake("EXIF orientation ignored", _TURN, "decode"),
        Mistake("EXIF orientation turned the wrong way", "6 is turned clockwise, 8 counter-clockwise", "decode"),
        Mistake("Display P3 taken as sRGB", "convert pictures with a profile to sRGB before the resize", "decode"),
        Mistake("inverted CMYK", "a CMYK JPEG stores 255 for no ink: see CONTRACT.md, section 2", "decode"),
        Mistake("alpha dropped", "lay transparent pictures over white", "decode"),
        Mistake("alpha over black", "lay transparent pictures over white", "decode"),
        Mistake("labels in another order", "probabilities are in the order of labels.txt", "outputs"),
        Mistake("softmax twice", "the network's output is final: no softmax behind it", "outputs"),
        Mistake("raw logits", "take the output named probabilities, behind the softmax", "outputs"),
        Mistake(
            IGNORED,
            'where a limit of the file is broken, show "cannot assess" with its reasons and no class: CONTRACT.md, '
            "section 12",
            "outputs",
        ),
    )
}


class Scene:
    """A golden picture and what mistakes in its decoding would make of it.

    Args:
        content: Of its file.
    """

    def __init__(self, content: bytes):
        self.upright = preprocess.decode(content)  # first: it refuses what would take too much memory
        opened: Any = Image.open(io.BytesIO(content))
        with opened as image:
            image.load()
            self.orientation = int(image.getexif().get(0x0112, 1))
            self.has_profile = "icc_profile" in image.info
            self.is_cmyk = image.mode == "CMYK"
            self.has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            self._stored: Any = image.copy()

    def without(self, *keys: str) -> Image.Image:
        """Decoded as if its file had no such block: "exif", "icc_profile"."""
        image = self._stored.copy()
        for key in keys:
            image.info.pop(key, None)
        if "exif" in keys:
            image.info.pop("xmp", None)
            image._exif = None  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
        return preprocess.decode(image)

    def inverted(self) -> Image.Image:
        """Decoded with no ink taken for all of it. Of a CMYK picture."""
        samples = 255 - np.asarray(self._stored)
        image: Any = Image.frombytes("CMYK", self._stored.size, samples.tobytes())
        image.info = dict(self._stored.info)
        return preprocess.decode(image)

    def over(self, colour: int | None) -> Image.Image:
        """Its alpha laid over a grey; None: dropped."""
        rgba = self._stored.convert("RGBA")
        flat: Any = rgba.convert("RGB")
        if colour is not None:
            flat = Image.new("RGB", rgba.size, (colour, colour, colour))
            flat.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
        flat.info = {key: value for key, value in self._stored.info.items() if key in ("exif", "icc_profile")}
        return preprocess.decode(flat)


_Made = Callable[[Scene, InputSpec], Pixels | None]


def _of(change: Callable[[Image.Image, InputSpec], Pixels]) -> _Made:
    return lambda scene, spec: change(scene.upright, spec)


def _filtered(kind: Image.Resampling, image: Image.Image, spec: InputSpec) -> Pixels:
    return np.asarray(image.resize((spec.width, spec.height), kind))


def _nearest(image: Image.Image, spec: InputSpec, *, centre: float) -> Pixels:
    pixels = np.asarray(image)
    rows: Any = ((np.arange(spec.height) + centre) * pixels.shape[0] / spec.height).astype(np.int64)
    columns: Any = ((np.arange(spec.width) + centre) * pixels.shape[1] / spec.width).astype(np.int64)
    return pixels[rows.clip(0, pixels.shape[0] - 1)][:, columns.clip(0, pixels.shape[1] - 1)]


def _aligned_corners(image: Image.Image, spec: InputSpec) -> Pixels:
    pixels: Any = np.asarray(image, np.float64)
    for axis, target in ((0, spec.height), (1, spec.width)):
        n = pixels.shape[axis]
        at = np.arange(target) * (n - 1) / max(target - 1, 1)
        low = at.astype(np.int64).clip(0, max(n - 2, 0))
        share = (at - low).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, n - 1)
        pixels = pixels.take(low, axis) * (1 - share) + pixels.take(high, axis) * share
    return np.floor(pixels + 0.5).astype(np.uint8)


def _averaged(image: Image.Image, spec: InputSpec) -> Pixels:
    """Means over areas, with the part of a pixel that is in them as its weight; bilinear where the picture grows."""
    if image.width < spec.width or image.height < spec.height:
        return bilinear(image, spec, half_pixel=True)
    pixels: Any = np.asarray(image, np.float64)
    for axis, target in ((0, spec.height), (1, spec.width)):
        n = pixels.shape[axis]
        sums = np.concatenate([np.zeros_like(pixels.take([0], axis)), pixels.cumsum(axis)], axis)
        edges = np.arange(target + 1) * n / target
        low = edges.astype(np.int64).clip(0, n - 1)
        share = (edges - low).reshape([-1 if a == axis else 1 for a in range(3)])
        at = sums.take(low, axis) * (1 - share) + sums.take(low + 1, axis) * share
        pixels = np.diff(at, axis=axis) * target / n
    return _bytes(np.rint(pixels))


def _cropped(image: Image.Image, spec: InputSpec, *, share: float) -> Pixels:
    side = max(1, round(min(image.size) * share))
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return preprocess.resize(image.crop((left, top, left + side, top + side)), spec)


def _boxed(image: Image.Image, spec: InputSpec, *, grey: int) -> Pixels:
    scale = min(spec.width / image.width, spec.height / image.height)
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    inner = preprocess.resize(image, InputSpec(height, width))
    pixels = np.full((spec.height, spec.width, 3), grey, np.uint8)
    top, left = (spec.height - height) // 2, (spec.width - width) // 2
    pixels[top : top + height, left : left + width] = inner
    return pixels


def _unturned(scene: Scene, spec: InputSpec, *, among: frozenset[int]) -> Pixels | None:
    if scene.orientation not in among:
        return None
    return preprocess.resize(scene.without("exif"), spec)


def _wrong_way(scene: Scene, spec: InputSpec) -> Pixels | None:
    if scene.orientation not in (6, 8):
        return None
    turn = Image.Transpose.ROTATE_90 if scene.orientation == 6 else Image.Transpose.ROTATE_270
    return preprocess.resize(scene.without("exif").transpose(turn), spec)


def _without_profile(scene: Scene, spec: InputSpec) -> Pixels | None:
    return preprocess.resize(scene.without("icc_profile"), spec) if scene.has_profile else None


def _inverted(scene: Scene, spec: InputSpec) -> Pixels | None:
    return preprocess.resize(scene.inverted(), spec) if scene.is_cmyk else None


def _on(scene: Scene, spec: InputSpec, *, colour: int | None) -> Pixels | None:
    return preprocess.resize(scene.over(colour), spec) if scene.has_alpha else None


# (name of the mistake, one way of making it); None where it does not touch the picture.
_MADE: tuple[tuple[str, _Made], ...] = (
    ("no antialiasing", _of(partial(bilinear, half_pixel=True))),
    ("no antialiasing", _of(partial(bilinear, half_pixel=False))),
    ("no antialiasing", _of(_aligned_corners)),
    ("nearest neighbour", _of(partial(_nearest, centre=0.5))),
    ("nearest neighbour", _of(partial(_nearest, centre=0.0))),
    ("area averaging", _of(_averaged)),
    ("area averaging", _of(partial(_filtered, Image.Resampling.BOX))),
    ("another filter (bicubic or Lanczos)", _of(partial(_filtered, Image.Resampling.BICUBIC))),
    ("another filter (bicubic or Lanczos)", _of(partial(_filtered, Image.Resampling.LANCZOS))),
    ("centre crop", _of(partial(_cropped, share=1.0))),
    ("centre crop", _of(partial(_cropped, share=0.875))),
    *(("letterbox", _of(partial(_boxed, grey=grey))) for grey in (0, 114, 128, 255)),
    ("EXIF orientation ignored", partial(_unturned, among=frozenset(range(2, 9)))),
    ("EXIF orientation ignored", partial(_unturned, among=frozenset((2, 4, 5, 7)))),
    ("EXIF orientation turned the wrong way", _wrong_way),
    ("Display P3 taken as sRGB", _without_profile),
    ("inverted CMYK", _inverted),
    ("alpha dropped", partial(_on, colour=None)),
    ("alpha over black", partial(_on, colour=0)),
)


def value_maps(spec: InputSpec, tensor: Mapping[str, Any]) -> list[tuple[str, Callable[[Pixels], Pixels]]]:
    """(name of the mistake, what it makes of the right bytes).

    Args:
        tensor: The contract's `input`.
    """
    byte = np.arange(256, dtype=np.float64)
    scale, zero = float(tensor.get("scale", 1 / 127.5)), float(tensor.get("zero_point", 128))
    real = (byte - spec.mean[0]) / spec.std[0]

    def table(values: npt.NDArray[Any]) -> Callable[[Pixels], Pixels]:
        mapped = _bytes(values)
        return lambda pixels: mapped[pixels]

    quantized = [np.rint(real / scale) + zero, np.floor(real / scale + 0.5) + zero, np.trunc(real / scale) + zero]
    quantized += [np.rint(byte / 255 / scale) + zero, np.rint(byte / scale) + zero]
    return [
        ("swapped channels", lambda pixels: pixels[..., ::-1]),
        ("divided by 255 and fed as bytes", table(np.rint(byte / 255))),
        ("divided by 255 and fed as bytes", table(np.floor(byte / 255))),
        ("divided by 255 and fed as bytes", table(np.trunc(real))),
        ("divided by 255 and fed as bytes", table(np.rint(real) % 256)),
        *(("second quantization", table(values)) for values in quantized),
        ("wrong zero point", table(byte.astype(np.uint8) ^ 128)),
        ("wrong zero point", table(byte - 128)),
        ("wrong zero point", table(byte + 128)),
        ("limited-range YUV", table(np.rint(byte * 219 / 255 + 16))),
        ("limited-range YUV", table(np.rint((byte - 16) * 255 / 219))),
        ("limited-range YUV", _expanded),
    ]


def _expanded(pixels: Pixels) -> Pixels:
    """Full-range YCbCr read as limited: luma by 255/219, chroma by 255/224."""
    yuv = np.asarray(Image.fromarray(pixels).convert("YCbCr"), np.float64)
    y = (yuv[..., 0] - 16) * 255 / 219
    cb, cr = (yuv[..., 1] - 128) * 255 / 224, (yuv[..., 2] - 128) * 255 / 224
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return _bytes(np.rint(rgb))


def _bytes(values: npt.NDArray[Any]) -> Pixels:
    return np.minimum(np.maximum(values, 0), 255).astype(np.uint8)


@dataclass(frozen=True)
class Hypothesis:
    """What an app would feed if it made certain mistakes.

    Attributes:
        names: Of the mistakes together, at most one of geometry and one of values.
        made: Picture -> what geometry gives.
        change: What values then become.
    """

    names: tuple[str, ...]
    made: Mapping[str, Pixels]
    change: Callable[[Pixels], Pixels] | None = None

    def input(self, picture: str) -> Pixels:
        """What the mistakes make of a picture's input."""
        return self.change(self.made[picture]) if self.change else self.made[picture]


def hypotheses(
    scenes: Mapping[str, Scene], right: Mapping[str, Pixels], spec: InputSpec, tensor: Mapping[str, Any]
) -> list[Hypothesis]:
    """Every mistake by itself, then every one of geometry with every one of values.

    Args:
        scenes: Picture -> its scene.
        right: Picture -> its golden input.
        spec: How the contract prepares the images.
        tensor: The contract's `input`.
    """
    geometry: list[Hypothesis] = []
    for name, make in _MADE:
        made = {picture: make(scene, spec) for picture, scene in scenes.items()}
        if any(pixels is not None for pixels in made.values()):
            filled = {picture: right[picture] if pixels is None else pixels for picture, pixels in made.items()}
            geometry.append(Hypothesis((name,), filled))
    maps = value_maps(spec, tensor)
    values = [Hypothesis((name,), right, change) for name, change in maps]
    pairs = [Hypothesis((*one.names, name), one.made, change) for one in geometry for name, change in maps]
    return [*geometry, *values, *pairs]


_ENOUGH = 3  # pictures whose resize is right, to say that the resize is


def possible(known: Sequence[Hypothesis], upright: Mapping[str, bool], wrong: Collection[str]) -> list[Hypothesis]:
    """Those of `known` that an app can have made whose upright pictures are told.

    Args:
        upright: Picture -> whether the app's upright picture is the golden one.
        wrong: Pictures with another input.
    """
    out: set[str] = set()
    if wrong and all(upright.get(picture) for picture in wrong):
        out = {"decode"}
    elif wrong and not any(upright.get(picture, True) for picture in wrong):
        enough = sum(upright[picture] for picture in upright.keys() - set(wrong)) >= _ENOUGH
        out = {"resize"} if enough else set()
    return [one for one in known if not any(MISTAKES[name].stage in out for name in one.names)]


@dataclass(frozen=True)
class Named:
    """What was recognised.

    Attributes:
        explained: 0..1, the share of what is wrong that it explains.
        by: "bytes", "hashes" or "probabilities".
        nearest: Whether it is only the nearest of all that is known, and not named.
    """

    names: tuple[str, ...]
    explained: float
    by: str
    nearest: bool = False


def by_bytes(found: Mapping[str, Pixels], right: Mapping[str, Pixels], known: Sequence[Hypothesis]) -> Named | None:
    """The mistake in the app's inputs.

    Args:
        found: Picture -> its bytes, uint8 [height, width, 3].
    """
    wrong = sum(_apart(pixels, right[picture]) for picture, pixels in found.items())

    def distances(of: Sequence[Hypothesis]) -> list[float]:
        return [sum(_apart(pixels, one.input(picture)) for picture, pixels in found.items()) for one in of]

    single = [one for one in known if len(one.names) == 1]
    best = _chosen([one.names for one in single], distances(single), wrong, "bytes")
    if best and (1 - best.explained) * wrong <= _ROUNDING * len(found):
        return best
    both = [one for one in known if len(one.names) > 1]
    pair = _chosen([one.names for one in both], distances(both), wrong, "bytes")
    # Two mistakes at once have to leave half of what the better one alone leaves.
    if pair and (best is None or 1 - pair.explained < (1 - best.explained) / 2):
        return pair
    return best


def by_hashes(found: Mapping[str, str], right: Mapping[str, str], known: Sequence[Hypothesis]) -> Named | None:
    """As `by_bytes`, where the app tells SHA-256s alone: only what is the same to the bit is recognised."""
    from .golden import digest

    wrong = [picture for picture, sha in found.items() if sha != right[picture]]
    best: tuple[float, Hypothesis] | None = None
    for one in known:
        same = sum(digest(one.input(picture).tobytes()) == found[picture] for picture in wrong)
        if wrong and same / len(wrong) > (best[0] if best else EXPLAINED):
            best = same / len(wrong), one
    return Named(best[1].names, best[0], "hashes") if best else None


def by_probabilities(
    found: Mapping[str, Floats],
    right: Mapping[str, Floats],
    known: Sequence[tuple[tuple[str, ...], Mapping[str, Floats]]],
) -> Named | None:
    """The mistake in the app's probabilities.

    Args:
        known: (names, picture -> what the network answers to such an input).
    """
    after = _in_the_outputs(found, right)
    if after:
        return after
    wrong = sum(_away(values, right[picture]) for picture, values in found.items())
    sums = [sum(_away(values, answers[picture]) for picture, values in found.items()) for _, answers in known]
    return _chosen([names for names, _ in known], sums, wrong, "probabilities")


def _chosen(names: Sequence[tuple[str, ...]], sums: Sequence[float], wrong: float, by: str) -> Named | None:
    """The nearest of all. sums: of the distances to each. wrong: the sum of those to the golden answers."""
    if wrong == 0 or not names:
        return None
    best = int(np.argmin(sums))
    rest = sums[best] / wrong
    return Named(names[best], 1 - rest, by, nearest=rest > EXPLAINED) if rest < _FAR else None


def _apart(one: Pixels, other: Pixels) -> float:
    return min(_MOST, float(np.abs(one.astype(np.int16) - other).mean()))


def _away(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).mean())


def _in_the_outputs(found: Mapping[str, Floats], right: Mapping[str, Floats]) -> Named | None:
    """A mistake behind the network: all answers follow from the golden ones by it, up to rounding."""
    values = np.stack([found[picture] for picture in found])
    wanted = np.stack([right[picture] for picture in found])
    if not np.isfinite(values).all():
        return None
    if np.abs(values.sum(axis=1) - 1).max() > 0.01 and np.abs(_softmax(values) - wanted).max() < _SAME:
        return Named(("raw logits",), 1.0, "probabilities")
    if np.abs(values - _softmax(wanted)).max() < _SAME:
        return Named(("softmax twice",), 1.0, "probabilities")
    places = np.abs(values[:, :, None] - wanted[:, None, :]).max(axis=0)  # [of the app, of the contract]
    order = places.argmin(axis=1)
    is_order = len(set(order.tolist())) == len(order) and not (order == np.arange(len(order))).all()
    if is_order and places[np.arange(len(order)), order].max() < _SAME:
        return Named(("labels in another order",), 1.0, "probabilities")
    return None


def _softmax(values: Floats) -> Floats:
    exponentials = np.exp(values - values.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
