from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root():
    """The folder of real images and weights that SKIN_EDGE_DATA names."""
    if not os.environ.get("SKIN_EDGE_DATA"):
        pytest.skip("SKIN_EDGE_DATA is not set: it names a folder with data/ham10000, data/fullsize and pretrained/")
    return Path(os.environ["SKIN_EDGE_DATA"]).resolve()
