"""Camera frames -> RGB, for pictures that never were files.

Colour: YCbCr as in ITU-R BT.601 with full-range samples (0..255), which is JFIF's, is the default, because that is what
cameras give for still and preview pictures: Android's NV21 and YUV_420_888, and libcamera's colour space "Sycc" of
picamera2's preview and still configurations. With full_range=False luma is 16..235 and chroma 16..240: video, such as
libcamera's "Smpte170m". picamera2's video configuration is BT.709 from 1280x720 on, which is not read here: ask the
camera for "Sycc" or for RGB.

picamera2's names are those of libcamera, which count from the highest byte of a little-endian word: its "RGB888"
gives arrays in the order blue, green, red, and its "BGR888" red, green, blue. The layouts here that are written in
capitals are picamera2's; those in small letters say the order in the array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .errors import ImageError, UnknownNameError, UsageError

_RGB, _BGR = slice(0, 3), slice(2, None, -1)

# Layout -> where red, green and blue stand in the last axis, and the length of that axis.
_PACKED = {
    "rgb": (_RGB, 3),
    "bgr": (_BGR, 3),
    "rgba": (_RGB, 4),
    "bgra": (_BGR, 4),
    "RGB888": (_BGR, 3),
    "BGR888": (_RGB, 3),
    "XRGB8888": (_BGR, 4),
    "XBGR8888": (_RGB, 4),
}

LAYOUTS = (*_PACKED, "grey", "yuv420", "nv12", "nv21", "YUV420")


def to_rgb(
    frame: npt.NDArray[np.uint8],
    layout: str,
    rotation: int = 0,
    *,
    width: int | None = None,
    full_range: bool = True,
) -> npt.NDArray[np.uint8]:
    """A camera's frame, uint8 -> uint8 [height, width, 3] in RGB, not sharing its memory.

    Args:
        frame: uint8, of the shape that `layout` has.
        layout: One of LAYOUTS. [height, width, 3]: "rgb", "bgr". [height, width, 4]: "rgba", "bgra"; the fourth byte is
            padding to a camera and is left out. [height, width]: "grey". [height * 3 / 2, width]: "yuv420" (I420: the
            planes Y, U, V one after the other), "nv12" (Y, then U and V in turn), "nv21" (Y, then V and U in turn).
        rotation: 0, 90, 180 or 270 degrees clockwise, which turn the picture upright.
        width: Of the picture, where the rows are padded to a longer stride (picamera2 leaves that in "YUV420").
        full_range: See above; of the YUV layouts only.

    Raises:
        ImageError: Where the array does not have the layout's shape or is not uint8.
        UnknownNameError or UsageError: For another layout or rotation.
    """
    if layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, LAYOUTS)
    if rotation not in (0, 90, 180, 270):
        raise UsageError(f"rotation must be 0, 90, 180 or 270 degrees clockwise, not {rotation}")
    dimensions = 3 if layout in _PACKED else 2
    if frame.dtype != np.uint8 or frame.ndim != dimensions or frame.size == 0:
        raise _unfit(frame, layout)
    if width is not None and not 1 <= width <= frame.shape[1]:
        raise ImageError(f"a frame with rows of {frame.shape[1]} pixels holds no picture {width} pixels wide")
    if layout in _PACKED:
        order, channels = _PACKED[layout]
        if frame.shape[2] != channels:
            raise _unfit(frame, layout)
        rgb = frame[..., order]
    elif layout == "grey":
        rgb = np.broadcast_to(frame[..., None], (*frame.shape, 3))
    else:
        rgb = _from_yuv(frame, layout.lower(), full_range)
    return np.array(np.rot90(rgb[:, :width], -rotation // 90), order="C")  # a copy: cameras reuse their buffers


def _from_yuv(frame: npt.NDArray[np.uint8], layout: str, full_range: bool) -> npt.NDArray[np.uint8]:
    rows, columns = frame.shape
    if rows % 3 or columns % 2:  # rows = 3/2 * an even height
        raise _unfit(frame, layout)
    height = rows * 2 // 3
    luma, chroma = frame[:height], frame[height:]
    if layout == "yuv420":
        planes = np.reshape(chroma, (2, height // 2, columns // 2))
        u, v = planes[0], planes[1]
    else:
        u, v = chroma[:, 0::2], chroma[:, 1::2]
        if layout == "nv21":
            u, v = v, u
    if not full_range:
        steps = np.arange(256)
        luma = _bytes((steps - 16) * 255 / 219)[luma]
        table = _bytes((steps - 128) * 255 / 224 + 128)
        u, v = table[u], table[v]
    # Pillow's YCbCr is JFIF's, in C, rounded down (at most 1 of 255). Each chroma sample counts for its 2x2 pixels: the
    # network's picture is smaller than that.
    y, cb, cr = (Image.fromarray(np.ascontiguousarray(plane)) for plane in (luma, u, v))
    cb, cr = (plane.resize(y.size, Image.Resampling.NEAREST) for plane in (cb, cr))
    return np.asarray(Image.merge("YCbCr", (y, cb, cr)).convert("RGB"))


def _bytes(values: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    return np.maximum(np.minimum(values + 0.5, 255), 0).astype(np.uint8)


def _unfit(frame: npt.NDArray[Any], layout: str) -> ImageError:
    if layout in _PACKED:
        wanted = f"[height, width, {_PACKED[layout][1]}]"
    elif layout == "grey":
        wanted = "[height, width]"
    else:
        wanted = "[height * 3 / 2, width] with even height and width"
    return ImageError(
        f"an array of {frame.dtype} {list(frame.shape)} is not a valid {layout} frame: pass uint8 {wanted}"
    )
