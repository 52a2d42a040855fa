"""The float network in ONNX Runtime: Pillow decodes the whole picture, NumPy normalizes it."""

# pyright: basic, reportMissingImports=false
from __future__ import annotations

import numpy as np
import onnxruntime
import serving
from PIL import Image

given = serving.settings()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = given["num_threads"]
options.inter_op_num_threads = 1
# Else its threads go on working for a while after an answer, in the next peer's turn.
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = onnxruntime.InferenceSession(given["model"], options, providers=["CPUExecutionProvider"])
[source] = session.get_inputs()
height, width = source.shape[1:3]
mean, std = np.float32(given["mean"]), np.float32(given["std"])
labels = given["labels"]


def classify(path: str) -> str:
    image = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    tensor = (np.asarray(image, np.float32) - mean) / std
    return labels[session.run(None, {source.name: tensor[None]})[0][0].argmax()]


serving.serve(classify)
