"""LiteRT by hand: Pillow decodes the whole picture, the network takes its bytes, nothing is checked."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import numpy as np
import serving
from PIL import Image

given = serving.settings()
engine = serving.engine("interpreter", {"package": "ai_edge_litert", "kernels": "xnnpack"})
labels, size = given["labels"], tuple(given["size"])


def classify(path: str) -> str:
    image = Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    return labels[engine.invoke([np.asarray(image, np.uint8)[None]])[0][0].argmax()]


serving.serve(classify)
