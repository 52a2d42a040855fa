"""An image -> what the network is fed. The one definition: training and the device both call it.

The contract, in this order:

1. decode; turn upright by the EXIF orientation;
2. to 8-bit sRGB: an embedded ICC profile is applied, 16-bit samples are scaled, alpha is laid over white,
   grey is repeated, CMYK is converted;
3. resize the whole image to height x width (the aspect ratio is not kept, nothing is cropped) with
   antialiased bilinear interpolation in integers (`resize.py`);
4. normalize: (pixel - mean) / std per channel, by default to [-1, 1].

docs/contract.md is the normative text, to the bit. `InputSpec.decoding` says whether a JPEG that is many times larger
than the network's picture is decoded at 1/2, 1/4 or 1/8 of its size, and whether an earlier format is followed.
"""

from __future__ import annotations

import importlib
import io
import math
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from .containers import open_member
from .errors import ImageError, ModelFileError
from .limits import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MAX_PIXELS_OTHER_MODES,
    MAX_PROFILE_BYTES,
    MEMORY,
    Demand,
    InMemory,
    OnDisk,
    Room,
    check_jpeg,
    needed,
    pixels_within,
)
from .pictures import BEGINNING, kind_of
from .resize import resize as resize_exactly

if TYPE_CHECKING:
    import numpy.typing as npt

# What `decode` takes. An array is uint8, RGB [height, width, 3] or grey [height, width].
# A file object is open for reading bytes, and is read to its end.
ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[np.uint8]"
)

# Kind (`pictures.kind_of`) -> Pillow's plugin. Not every format that Pillow knows: an EPS file, whatever its name,
# would be run by Ghostscript.
_PLUGINS = {
    "JPEG": "Jpeg",
    "PNG": "Png",
    "WEBP": "WebP",
    "TIFF": "Tiff",
    "BMP": "Bmp",
    "GIF": "Gif",
    "JPEG2000": "Jpeg2K",
}
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF", "HEIC")

# A JPEG is decoded to no less than this many times the network's picture. libjpeg's reduction is a mean over blocks;
# `resize` still averages 4x4 of those, so that the two filters together are nearly the one of the contract. Against
# full decoding (tests/test_preprocess.py: enlarged photographs, noise, edges of full contrast) the pixels then differ
# by at most 0.6 on average and 2 at the 99th percentile; at 3 it is 0.8 and 3, at 2 it is 2.6 and 6.
_KEPT = 4

# Of a JPEG's last block, decoded scaled, at most this many columns or rows may be padding: see `_scale_for`.
_MOST_PADDING = 1

# What the contract's step `decode` says where a JPEG may be scaled.
_SCALED = "JPEG at 1/8, 1/4 or 1/2"

# Key in an image's `info`: (its size, the part of it that is the picture, as `Image.resize` takes a box).
_BOX = "skin_edge_box"

_ORIENTATION_TAG = 0x0112

# EXIF orientation -> what undoes it.
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What each of them does to columns and rows.
_TURNS_COLUMNS = {2, 3, 7, 8}
_TURNS_ROWS = {3, 4, 6, 7}
_EXCHANGES = {5, 6, 7, 8}


FULL, SCALED, EARLIER = DECODINGS = ("full", "scaled", "earlier")
"""FULL: every picture at its size. SCALED: JPEGs at 1/2, 1/4 or 1/8 where that divides both sides and leaves at least
four times the network's picture. EARLIER, of contract formats 1 to 3: the same, also where up to one column or row of
the last block is padding, and resized as the installed Pillow does."""


@dataclass(frozen=True)
class InputSpec:
    """How a network wants its picture.

    Attributes:
        height, width: Pixels.
        mean, std: Per channel R, G, B in units of 8-bit pixels (0..255); the network's real input is (pixel - mean) /
            std.
        decoding: Of DECODINGS.
    """

    height: int
    width: int
    mean: tuple[float, ...] = (127.5, 127.5, 127.5)
    std: tuple[float, ...] = (127.5, 127.5, 127.5)
    decoding: str = FULL

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise ModelFileError(f"an input of {self.height}x{self.width} pixels is outside 1..4096")
        numbers = (*self.mean, *self.std)
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, numbers)) or min(self.std) <= 0:
            raise ModelFileError("mean and std must be three finite numbers each, std above 0")

    @classmethod
    def from_steps(cls, steps: Any) -> InputSpec:
        """Reads what `to_steps` wrote, JSON-decoded.

        Raises ModelFileError where a step is malformed, or is not exactly one that this module does: a picture that
        is prepared otherwise than the network was trained for would be answered wrongly and confidently.
        """
        try:
            by_name = {step["step"]: step for step in steps}
            resize, normalization = by_name["resize"], by_name["normalize"]
            mean, std = (tuple(float(v) for v in normalization[name]) for name in ("mean", "std"))
            scaled = by_name["decode"]["scaled"] if "decode" in by_name else None
            decoding = EARLIER if scaled is None else SCALED if scaled == _SCALED else FULL
            spec = cls(int(resize["height"]), int(resize["width"]), mean, std, decoding)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFileError(f"its description of the preprocessing is not usable: {error!r}") from None
        ours = spec.to_steps()
        names = [step.get("step") for step in steps]
        for step, own in zip(steps, ours, strict=False):
            if any(step.get(key) != value for key, value in own.items()) or step.keys() - own.keys() - {"note"}:
                raise ModelFileError(
                    f"it asks for the preprocessing step {step}, which this version of skin-edge does not support: "
                    "update skin-edge"
                )
        if len(steps) != len(ours):
            raise ModelFileError(
                f"it asks for preprocessing steps that this version of skin-edge does not support: {names}"
            )
        return spec

    def to_steps(self) -> list[dict[str, Any]]:
        """The contract's `preprocessing`, JSON-ready: every step in its order, so that a port need not guess."""
        orient = {"step": "orient", "by": "EXIF orientation", "to": "upright"}
        colour = {
            "step": "colour",
            "space": "sRGB",
            "bits": 8,
            "channels": "RGB",
            "profile": "embedded ICC profile applied",
            "alpha": "laid over white",
        }
        crop = {"step": "crop", "kind": "none"}
        resize = {
            "step": "resize",
            "height": self.height,
            "width": self.width,
            "aspect": "stretched",
            "kernel": "bilinear",
            "antialias": True,
        }
        normalize = {
            "step": "normalize",
            "formula": "(pixel - mean) / std",
            "mean": list(self.mean),
            "std": list(self.std),
        }
        if self.decoding == EARLIER:
            return [orient, colour, crop, resize, normalize]
        decode = {"step": "decode", "scaled": _SCALED if self.decoding == SCALED else "none"}
        resize |= {"arithmetic": "integer", "passes": "horizontal, then vertical"}
        return [decode, orient, colour, crop, resize, normalize]

    @property
    def real_table(self) -> npt.NDArray[np.float32]:
        """float32 [256, 3]: the real input value of each byte of each channel."""
        byte = np.arange(256, dtype=np.float64)[:, None]
        return ((byte - np.asarray(self.mean)) / np.asarray(self.std)).astype(np.float32)


def decode(image: ImageLike, spec: InputSpec | None = None) -> Image.Image:
    """Steps 1 and 2: any supported image -> an upright Pillow image in mode RGB.

    Args:
        spec: The input that the image is then resized to, whose `decoding` may ask for less than the full size of a
            JPEG file. None: at full size, as are a Pillow image and an array in any case.

    Raises:
        ImageError: Where the file is missing, is not an image, is truncated, is larger than MAX_PIXELS, or where an
            array has another shape or dtype than uint8 [height, width, 3] or [height, width].
    """
    with Room() as room:
        return _decode(image, spec, room)


def _decode(image: ImageLike, spec: InputSpec | None, room: Room) -> Image.Image:
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        return _decoded(image, "the image", spec, Demand(), room, owned=False)
    if isinstance(image, (bytes, bytearray, memoryview)):
        content = bytes(image)
        return _open(InMemory(content, f"{len(content)} bytes"), spec, room)
    if isinstance(image, (str, os.PathLike)):
        return _open(_source(os.fspath(image)), spec, room)
    if hasattr(image, "read"):
        return _open(_read(image), spec, room)
    raise ImageError(
        f"{type(image).__name__} is not an image: pass a path, the bytes of a file, a file object, a Pillow image "
        "or an array"
    )


def resize(upright: Image.Image, spec: InputSpec) -> npt.NDArray[np.uint8]:
    """Step 3: an upright RGB image -> uint8 [height, width, 3]."""
    if spec.decoding != EARLIER:
        return resize_exactly(upright, spec.height, spec.width)
    size = (spec.width, spec.height)
    if upright.size != size:
        of_size, box = upright.info.get(_BOX, (None, None))
        upright = upright.resize(size, Image.Resampling.BILINEAR, box=box if of_size == upright.size else None)
    return np.asarray(upright)


def to_pixels(image: ImageLike, spec: InputSpec) -> npt.NDArray[np.uint8]:
    """Steps 1 to 3. Returns uint8 [height, width, 3]; raises ImageError as `decode` does."""
    with Room() as room:
        return resize(_decode(image, spec, room), spec)


def normalize(pixels: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.float32]:
    """Step 4: uint8 [..., 3] -> float32 of the same shape, in real input units."""
    table = spec.real_table
    if (table[:, 0] == table[:, 1]).all() and (table[:, 0] == table[:, 2]).all():
        return table[:, 0][pixels]
    return np.stack([table[:, channel][pixels[..., channel]] for channel in range(3)], axis=-1)


def _from_array(array: npt.NDArray[Any]) -> Image.Image:
    rgb = array.ndim == 3 and array.shape[2] == 3
    if array.dtype != np.uint8 or not (rgb or array.ndim == 2) or array.size == 0:
        raise ImageError(
            f"an array of {array.dtype} {list(array.shape)} is not an image: pass uint8 [height, width, 3] in RGB"
        )
    pixels_within(array.shape[1], array.shape[0], "the array", MAX_PIXELS)
    image = Image.fromarray(np.ascontiguousarray(array))
    return image if rgb else image.convert("RGB")  # `convert` would copy it once more


def _source(path: str) -> OnDisk | InMemory:
    """Opens the file of a path, or the member of a container that it names."""
    content = open_member(path)
    if content is not None:
        return InMemory(content, path)
    try:
        return OnDisk(path)
    except FileNotFoundError:
        raise ImageError(f"no such image: {path}") from None
    except PermissionError:
        raise ImageError(f"{path} cannot be read: permission denied") from None
    except OSError as error:
        raise ImageError(f"{path[:200]} cannot be opened: {error.strerror}") from None
    except ValueError as error:  # a zero byte in the name
        raise ImageError(f"{path!r:.200} cannot be opened: {error}") from None


def file_bytes(path: str | os.PathLike[str]) -> bytes:
    """All bytes of a picture's file, or of the member of a container that a path names.

    Raises ImageError where it cannot be read, is not a regular file, or is larger than MAX_FILE_BYTES.
    """
    source = _source(os.fspath(path))
    with source.file:
        if source.size > MAX_FILE_BYTES:
            raise ImageError(_too_long(source))
        try:
            return source.file.read()
        except OSError as error:
            raise ImageError(f"{source.name} cannot be read: {error.strerror}") from None


def _too_long(source: OnDisk | InMemory) -> str:
    return f"{source.name} has {source.size} bytes, over the limit of {MAX_FILE_BYTES}: reduce it first"


def _read(file: BinaryIO) -> InMemory:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) and name else "the file object"
    parts, left = list[bytes](), MAX_FILE_BYTES + 1
    try:
        while left:  # a socket or pipe gives what it has, not all that was asked for
            part = file.read(left)
            if not isinstance(part, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise ImageError(f"{name} gives no bytes: open it in mode 'rb'")
            if not part:
                break
            parts.append(part)
            left -= len(part)
    except ImageError:
        raise
    except Exception as error:  # of whatever gives it: OSError, zipfile.BadZipFile, http.client.IncompleteRead, ...
        raise ImageError(f"{name} cannot be read: {_said(error)}") from None
    return InMemory(b"".join(parts), name)


def _open(source: OnDisk | InMemory, spec: InputSpec | None, room: Room) -> Image.Image:
    name = source.name
    with source.file:
        try:
            if source.size > MAX_FILE_BYTES:
                raise ImageError(_too_long(source))
            kind = _kind(source)
            if kind == "JPEG":
                demand = check_jpeg(source)
            else:
                from . import formats

                demand = formats.check(kind, source)
            image = _opened(source, kind)
            return _decoded(image, name, spec, demand, room, owned=True)
        except ImageError:
            raise
        except UnidentifiedImageError:
            raise ImageError(f"{name} is truncated or damaged: no decoder knows what is in it") from None
        except Image.DecompressionBombError:
            raise ImageError(f"{name} has more pixels than the limit of {MAX_PIXELS}") from None
        except MemoryError:
            raise ImageError(f"{name} does not fit into memory") from None
        # Pillow's plugins raise whatever their parsers meet: OSError, SyntaxError, ValueError, struct.error, ...
        except Exception as error:
            raise ImageError(f"{name} is truncated or damaged: {_said(error)}") from None


def _opened(source: OnDisk | InMemory, kind: str) -> Image.Image:
    """As Pillow's `open` for one format; without the name of a file that loads five plugins, 10 ms of a start."""
    make, accepts = Image.OPEN[kind]
    beginning = source.at(0, 16)
    source.file.seek(0)
    if accepts is not None and accepts(beginning) is not True:
        raise UnidentifiedImageError
    try:
        return make(source.file, "")
    except (SyntaxError, IndexError, TypeError, struct.error):
        raise UnidentifiedImageError from None


def _said(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return "".join(character if character.isprintable() else " " for character in text[:500])


# What Pillow takes as well: BigTIFF, TIFF with its magic number turned, and BMP with something in its reserved bytes.
_OTHER_BEGINNINGS = {b"II+\0": "TIFF", b"MM\0+": "TIFF", b"MM*\0": "TIFF", b"II\0*": "TIFF"}


def _kind(source: OnDisk | InMemory) -> str:
    """The format of a file, with what decodes it loaded."""
    beginning = source.at(0, BEGINNING)
    kind = kind_of(beginning) or _OTHER_BEGINNINGS.get(beginning[:4], "BMP" if beginning[:2] == b"BM" else "")
    if not kind:
        raise ImageError(f"{source.name} is not an image ({', '.join(_FORMATS)}), or is empty")
    if kind in ("AVIF", "HEIF"):
        load_decoder(kind, source.name)
    else:
        importlib.import_module(f"PIL.{_PLUGINS[kind]}ImagePlugin")
    return kind


def load_decoder(kind: str, name: str) -> None:
    """Makes Pillow open "AVIF" or "HEIF".

    Args:
        name: Of a picture, for the message of the ImageError where it cannot.
    """
    if kind == "AVIF":
        from PIL import features

        if not features.check("avif"):
            raise ImageError(f'{name} is AVIF, which this Pillow does not read: pip install --upgrade "pillow>=11.3"')
        importlib.import_module("PIL.AvifImagePlugin")
    else:
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise ImageError(
                f'{name} is HEIC, which needs pillow-heif: pip install "skin-edge[heic]", or export it as JPEG'
            ) from None


def _decoded(
    image: Image.Image, name: str, spec: InputSpec | None, demand: Demand, room: Room, *, owned: bool
) -> Image.Image:
    """owned: whether the image is ours, so that it may be changed and closed."""
    width, height = image.size
    alpha = "transparency" in image.info or image.mode in _ALPHA
    narrow = image.mode in ("RGB", "L", "P") and not alpha
    pixels_within(width, height, name, MAX_PIXELS if narrow else min(MAX_PIXELS, MAX_PIXELS_OTHER_MODES))
    if image.format == "EPS":
        raise ImageError(f"{name} is an EPS file, which is a program and not an image: save it as PNG or JPEG")
    try:
        scale = _scale_for(image, spec) if owned and spec and spec.decoding != FULL else 1
        size = (-(-width // scale), -(-height // scale))
        most = needed(size, image.mode, alpha, demand, _resizing(size, spec) if spec else 0)
        if most > MEMORY:
            raise ImageError(
                f"{name} of {width}x{height} pixels would take {most >> 20} MiB to decode, over the limit of "
                f"{MEMORY >> 20} MiB: reduce it first"
            )
        room.take(most)
        if scale > 1:
            image.draft(None, (width // scale, height // scale))
        depth = _grey_bits(image)
        image.load()
        if depth:
            _of_8_bits(image, depth)
        orientation = _orientation(image, name)
        stored = image.size
        upright = _instead(image, _upright(image, orientation), owned)
        upright = _to_srgb(upright, name, owned or upright is not image)
        if width % scale or height % scale:
            upright.info[_BOX] = upright.size, _box(stored, (width / scale, height / scale), orientation)
        return upright
    except ImageError:
        raise
    except MemoryError:
        raise ImageError(f"{name} does not fit into memory at {width}x{height} pixels") from None
    except Exception as error:
        raise ImageError(f"{name} is truncated or damaged: {_said(error)}") from None


# What Pillow calls grey samples of a PNG in its file -> their bits.
_GREY_BITS = {"1": 1, "L;2": 2, "L;4": 4}


def _grey_bits(image: Image.Image) -> int:
    """Bits, fewer than 8, of a grey PNG that is not loaded yet and has a transparent value; else 0."""
    tiles: Any = getattr(image, "tile", None) or [("", None, 0, "")]
    return _GREY_BITS.get(tiles[0][3], 0) if image.format == "PNG" and "transparency" in image.info else 0


def _of_8_bits(image: Image.Image, depth: int) -> None:
    """Pillow scales such samples to 0..255 and leaves the transparent value as it is in the file."""
    top = 2**depth - 1
    image.info["transparency"] = (image.info["transparency"] & top) * 255 // top


def _instead(old: Image.Image, new: Image.Image, owned: bool) -> Image.Image:
    """`new`, with the memory of `old` freed where it is ours."""
    if owned and new is not old:
        old.close()
    return new


def _resizing(size: tuple[int, int], spec: InputSpec) -> int:
    """Bytes that resizing takes on top of the picture: one pass's result, and NumPy's copies where it is not Pillow."""
    longer, pixels = max(size), size[0] * size[1]
    return 4 * spec.width * longer + (3 + 24 // min(spec.width, spec.height)) * pixels * (longer > 2**13)


def _scale_for(image: Image.Image, spec: InputSpec) -> int:
    """1, 2, 4 or 8: by how much a picture that is not loaded yet may be reduced while it is decoded.

    SCALED: where it divides both sides. EARLIER: where it does not divide a side, the last block is filled up with
    padding. `resize` ends where the picture does, but
    weighs the block's pixel as a whole one. With one column of padding the limits of _KEPT hold all the same; with two
    the 99th percentile is 3 at 1/4 and with more it is up to 9 at 1/8, all of it at the edge (tests/test_preprocess.py,
    edges of full contrast). Without regard to the padding the whole picture would be shifted: up to 10 on average.

    CMYK is excluded, whose way to RGB is not linear. Whether the picture is to be turned is not known yet, so the
    shorter side must do for the longer one of the network's.
    """
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):
        return 1
    least = _KEPT * max(spec.height, spec.width)
    most_padding = _MOST_PADDING if spec.decoding == EARLIER else 0
    width, height = image.size
    for scale in (8, 4, 2):
        if max(-width % scale, -height % scale) <= most_padding and min(width, height) // scale >= least:
            return scale
    return 1


def _orientation(image: Image.Image, name: str) -> int:
    if image.format == "JPEG" and not image.info.keys() & {"exif", "xmp"}:
        return 1  # nothing that could name an orientation; parsing nothing takes time as well
    block = image.info.get("exif")
    try:
        if block:
            from . import formats

            formats.check_exif(block, name)
        return image.getexif().get(_ORIENTATION_TAG, 1)
    except ImageError:
        raise
    except Exception:
        return 1  # a damaged EXIF block says nothing about orientation; the pixels are still good


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    undo = _UNDO.get(orientation)
    if undo is None:
        return image
    # Not ImageOps.exif_transpose: it writes the EXIF block again and fails where any other tag in it is odd.
    turned = image.transpose(undo)
    turned.info = image.info
    return turned


def _box(size: tuple[int, int], extent: tuple[float, float], orientation: int) -> tuple[float, float, float, float]:
    """Where the picture is after it was turned upright: stored at the left and the top of `size`, as far as `extent`.

    (left, top, right, bottom) in pixels.
    """
    (width, height), (right, bottom) = size, extent
    columns = (width - right, float(width)) if orientation in _TURNS_COLUMNS else (0.0, right)
    rows = (height - bottom, float(height)) if orientation in _TURNS_ROWS else (0.0, bottom)
    across, down = (rows, columns) if orientation in _EXCHANGES else (columns, rows)
    return across[0], down[0], across[1], down[1]


_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")


def _to_srgb(image: Image.Image, name: str, owned: bool) -> Image.Image:
    """owned: whether the image may be changed and closed; whatever is made of it may be."""
    profile = image.info.get("icc_profile")
    if profile and len(profile) > MAX_PROFILE_BYTES:
        raise ImageError(f"{name} has an ICC profile of {len(profile)} bytes, over the limit of {MAX_PROFILE_BYTES}")
    stored = image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _instead(image, _to_8_bit(image, name), owned)
    elif image.mode == "P" or "transparency" in image.info:
        image = _instead(image, image.convert("RGBA" if "transparency" in image.info else "RGB"), owned)
    elif image.mode in ("LA", "PA", "La", "RGBa"):
        image = _instead(image, image.convert("RGBA"), owned)
    if image.mode == "RGBA":
        # A canvas of its own keeps the colour channels, so that the profile still fits after the alpha is gone.
        canvas = Image.new("RGB", image.size, (255, 255, 255))
        canvas.paste(image, mask=image.getchannel("A"))
        image = _instead(image, canvas, owned or image is not stored)
    if profile:
        image = _apply_profile(image, profile, owned or image is not stored)
    if image.mode == "RGB":
        return image
    return _instead(image, image.convert("RGB"), owned or image is not stored)


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    samples = np.asarray(image)
    if image.mode == "F" or samples.min() < 0 or samples.max() > 65535:
        raise ImageError(f"{name} has samples of mode {image.mode} with no defined white: save it as 8 or 16 bit")
    narrow = np.empty(samples.shape, np.uint8)
    rows = max(1, 2**20 // image.width)
    for top in range(0, image.height, rows):  # a megapixel at a time: NumPy needs 12 bytes a pixel on the way
        # 65535 / 257 = 255: full white stays full white. Not by the image's own maximum, which would brighten it.
        narrow[top : top + rows] = (samples[top : top + rows].astype(np.uint32) + 128) // 257
    return Image.fromarray(narrow)


def _apply_profile(image: Image.Image, profile: bytes, owned: bool) -> Image.Image:
    from PIL import ImageCms  # rarely needed, and loads a library

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            inPlace=owned and image.mode == "RGB" and not image.readonly,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # a damaged profile, or one for another colour model: the samples count as sRGB
    return image if converted is None else _instead(image, converted, owned)
