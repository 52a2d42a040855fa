"""tflite_runtime_scores.py MODEL TENSOR...: the first output of tflite-runtime's interpreter for every input tensor
[1, height, width, 3] saved as .npy, as JSON lists. Runs without skin_edge."""

from __future__ import annotations

import json
import sys

import numpy as np
from tflite_runtime.interpreter import Interpreter


def main(model: str, tensors: list[str]) -> None:
    interpreter = Interpreter(model_path=model)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    scores = []
    for tensor in tensors:
        interpreter.set_tensor(source, np.load(tensor))
        interpreter.invoke()
        scores.append(interpreter.get_tensor(target)[0].tolist())
    json.dump(scores, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
