"""Pictures that show no lesion, to learn from what "no such picture" looks like: drawn ones, and skin without a lesion.

Learning from drawn outliers follows "outlier exposure" (Hendrycks, Mazeika, Dietterich, "Deep Anomaly Detection with
Outlier Exposure", ICLR 2019), which takes photographs of anything; the user's machine has none, and
docs/experiments.md says what they would add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ...edge_runtime import preprocess
from ...edge_runtime.errors import ImageError
from ...edge_runtime.preprocess import InputSpec

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Draw = np.random.Generator

_SIDE = 160  # pixels at which they are drawn

# Colours of skin and of lesions: an orange is not told from a lesion by its colour alone.
_SKIN = np.array([[205, 160, 140], [190, 130, 110], [120, 75, 60], [90, 60, 50], [225, 185, 170], [160, 100, 80]])

_MARGIN = (0.22, 0.4)  # of the shorter side, of a corner without a lesion
_FLAT, _LIT = 45, 70  # levels: its range from the 3rd to the 97th percentile at most, its 3rd at least


def drawn(n: int, draw: Draw, spec: InputSpec) -> Pixels:
    """uint8 [n, height, width, 3]: textures, plain colours, stripes, shapes, text and mixtures of them, by turns.

    Args:
        n: How many.
        draw: In the same state it gives the same pictures.
        spec: The network's picture, for its size.
    """
    kinds = (_texture, _plain, _stripes, _shapes, _text, _mixture)
    pictures = [_bytes(kinds[position % len(kinds)](draw)) for position in range(n)]
    return np.stack([_sized(picture, spec) for picture in pictures]) if n else _none(spec)


def margins(paths: Sequence[str], n: int, draw: Draw, spec: InputSpec) -> Pixels:
    """uint8 [at most n, height, width, 3]: corners of pictures in which there is skin and no lesion, enlarged.

    Args:
        paths: The pictures, tried in a random order, each once.
        n: How many.
        draw: In the same state it gives the same corners.
        spec: How pictures are decoded, and the size.
    """
    found: list[Pixels] = []
    for position in draw.permutation(len(paths)):
        if len(found) >= n:
            break
        try:
            picture = np.asarray(preprocess.decode(paths[int(position)], spec))
        except ImageError:
            continue
        side = int(min(picture.shape[:2]) * draw.uniform(*_MARGIN))
        corners = [picture[y, x] for y in _ends(side) for x in _ends(side)] if side >= 8 else []
        empty = [corner for corner in corners if _without_lesion(corner)]
        if empty:
            found.append(_sized(np.ascontiguousarray(empty[int(draw.integers(len(empty)))]), spec))
    return np.stack(found) if found else _none(spec)


def _none(spec: InputSpec) -> Pixels:
    return np.empty((0, spec.height, spec.width, 3), np.uint8)


def _ends(side: int) -> tuple[slice, slice]:
    return slice(None, side), slice(-side, None)


def _without_lesion(corner: Pixels) -> bool:
    low, high = np.percentile(corner.mean(axis=2), [3, 97])
    return bool(low > _LIT and high - low < _FLAT)


def _sized(picture: Pixels, spec: InputSpec) -> Pixels:
    return preprocess.to_pixels(picture, spec)


def _bytes(picture: Floats) -> Pixels:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _colours(draw: Draw, n: int) -> Floats:
    if draw.random() < 0.35:
        return np.clip(_SKIN[draw.integers(0, len(_SKIN), n)] + draw.normal(0, 18, (n, 3)), 0, 255)
    return draw.uniform(0, 255, (n, 3))


def _between(share: Floats, colours: Floats) -> Floats:
    return colours[0] + (colours[1] - colours[0]) * share[..., None]


def _field(draw: Draw, exponent: float) -> Floats:
    """Noise with a spectrum of 1/f^exponent, 0..1: [side, side]."""
    along = np.fft.fftfreq(_SIDE)
    frequency = np.hypot(along[:, None], along[None])
    frequency[0, 0] = 1 / _SIDE
    spectrum = draw.normal(size=(_SIDE, _SIDE)) + 1j * draw.normal(size=(_SIDE, _SIDE))
    field = np.fft.ifft2(spectrum / frequency**exponent).real
    return (field - field.min()) / np.ptp(field)


def _texture(draw: Draw) -> Floats:
    exponent = draw.uniform(0, 2.5)
    if draw.random() < 0.5:
        return _between(_field(draw, exponent), _colours(draw, 2))
    return np.stack([_field(draw, exponent) for _ in range(3)], axis=-1) * 255 * draw.uniform(0.3, 1, 3)


def _plain(draw: Draw) -> Floats:
    picture = np.broadcast_to(_colours(draw, 1)[0], (_SIDE, _SIDE, 3))
    if draw.random() < 0.5:
        picture = picture + (_field(draw, 2)[..., None] - 0.5) * draw.uniform(0, 40)
    return picture + draw.normal(0, draw.uniform(0, 4), picture.shape)


def _stripes(draw: Draw) -> Floats:
    y, x = np.mgrid[:_SIDE, :_SIDE]
    angle = draw.uniform(0, np.pi)
    wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / draw.uniform(3, 50))
    if draw.random() < 0.5:
        wave = wave * np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / draw.uniform(3, 50))
    if draw.random() < 0.5:
        wave = np.sign(wave)
    return _between((wave + 1) / 2, _colours(draw, 2))


def _shapes(draw: Draw) -> Floats:
    side = 2 * _SIDE
    colours = [tuple(map(int, colour)) for colour in _colours(draw, int(draw.integers(3, 30)))]
    image = Image.new("RGB", (side, side), colours[0])
    pen = ImageDraw.Draw(image)
    for colour in colours[1:]:
        x, y, width, height = (*draw.uniform(-50, side, 2), *draw.uniform(8, 200, 2))
        points = [tuple(point) for point in draw.uniform(0, side, (int(draw.integers(3, 7)), 2))]
        kind = draw.integers(4)
        if kind == 0:
            pen.ellipse([x, y, x + width, y + height], fill=colour)
        elif kind == 1:
            pen.rectangle([x, y, x + width, y + height], fill=colour)
        elif kind == 2:
            pen.polygon(points, fill=colour)
        else:
            pen.line(points, fill=colour, width=int(draw.integers(1, 20)))
    return _halved(image)


def _text(draw: Draw) -> Floats:
    """A page, a screen or a sign."""
    side = 2 * _SIDE
    dark_on_light = np.stack([np.full(3, draw.uniform(0, 60)), np.full(3, draw.uniform(190, 255))])
    ink, paper = (tuple(map(int, colour)) for colour in (_colours(draw, 2) if draw.random() < 0.4 else dark_on_light))
    image = Image.new("RGB", (side, side), paper)
    pen, size = ImageDraw.Draw(image), int(draw.integers(9, 60))
    font, y = ImageFont.load_default(size), draw.uniform(-10, 20)
    while y < side:
        words = ["".join(map(chr, draw.integers(33, 123, int(draw.integers(1, 9))))) for _ in range(20)]
        if draw.random() < 0.9:
            pen.text((draw.uniform(-5, 30), y), " ".join(words)[: int(draw.integers(3, 90))], fill=ink, font=font)
        y += size * draw.uniform(1.1, 1.8)
    for _ in range(int(draw.integers(1, 6)) if draw.random() < 0.4 else 0):
        x, y = draw.uniform(0, side, 2)
        line, fill = (tuple(map(int, colour)) for colour in _colours(draw, 2))
        box = [x, y, x + draw.uniform(20, 200), y + draw.uniform(10, 100)]
        pen.rectangle(box, outline=line, fill=fill if draw.random() < 0.5 else None, width=3)
    if draw.random() < 0.3:
        image = image.rotate(draw.uniform(-40, 40), fillcolor=paper)
    return _halved(image)


def _halved(image: Image.Image) -> Floats:
    return np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64)


def _mixture(draw: Draw) -> Floats:
    """Three of the others, side by side in irregular regions."""
    kinds: tuple[Callable[[Draw], Floats], ...] = (_texture, _plain, _stripes, _shapes, _text)
    parts = [kinds[int(draw.integers(len(kinds)))](draw) for _ in range(3)]
    field = _field(draw, draw.uniform(1.5, 3))
    low, high = np.quantile(field, [1 / 3, 2 / 3])
    return np.where((field > high)[..., None], parts[2], np.where((field > low)[..., None], parts[1], parts[0]))
