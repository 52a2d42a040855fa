"""LiteRT by hand: Pillow decodes the whole picture, the network takes its bytes, nothing is checked."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import numpy as np
import protocol
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

given = protocol.settings()
labels = given["labels"]
interpreter = Interpreter(model_path=given["model"], num_threads=given["num_threads"])
interpreter.allocate_tensors()
source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
size = tuple(source["shape"][2:0:-1])  # (width, height)


def classify(path: str) -> str:
    image = Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    interpreter.set_tensor(source["index"], np.asarray(image, np.uint8)[None])
    interpreter.invoke()
    return labels[interpreter.get_tensor(target["index"])[0].argmax()]


protocol.serve(classify)
