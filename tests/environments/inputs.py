"""Prints what this environment's skin-edge makes of pictures: {"versions", "inputs": {name: SHA-256 of the input}}.

Arguments: picture files. Pictures of many sizes are drawn beside them, tall ones too.
"""

import hashlib
import json
import random
import sys

import numpy
import PIL
from PIL import Image

from skin_edge.edge_runtime.preprocess import InputSpec, to_pixels

TARGETS = [(160, 160), (224, 224), (37, 61)]
SIZES = [(1, 1), (3, 900), (900, 3), (160, 160), (224, 224), (161, 159), (100, 75), (200, 150), (200, 300), (300, 450)]
SIZES += [(450, 600), (600, 450), (160, 1000), (1000, 160), (333, 2001), (40, 3000), (1023, 769), (2592, 1944)]


def digest(image, target):
    return hashlib.sha256(to_pixels(image, InputSpec(*target)).tobytes()).hexdigest()


inputs = {path: digest(path, TARGETS[0]) for path in sys.argv[1:]}
draw = random.Random(18)
sizes = SIZES + [(draw.randint(1, 700), draw.randint(1, 1100)) for _ in range(60)]
for number, (width, height) in enumerate(sizes):
    noise = Image.frombytes("RGB", (width, height), draw.randbytes(3 * width * height))
    small = Image.frombytes("RGB", (4, 4), draw.randbytes(48)).resize((width, height), Image.Resampling.NEAREST)
    for kind, picture in (("noise", noise), ("edges", small)):
        for target in TARGETS:
            inputs[f"{number} {kind} {width}x{height} to {target}"] = digest(picture, target)
print(json.dumps({"versions": {"pillow": PIL.__version__, "numpy": numpy.__version__}, "inputs": inputs}))
