from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from skin_edge.edge_runtime.errors import OutputExistsError
from skin_edge.train.data.layouts import read_dataset
from skin_edge.train.data.synthetic import draw_dataset


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return draw_dataset(tmp_path_factory.mktemp("drawn") / "data", lesions_per_class=6, size=(100, 75))


def test_it_is_a_ham10000_folder_that_says_it_is_synthetic(drawn):
    dataset = read_dataset(drawn)
    assert dataset.layout == "ham10000-kaggle" and dataset.has_groups
    assert len(dataset.labels) == 7
    table = pd.read_csv(drawn / "HAM10000_metadata.csv")
    assert (table["dx_type"] == "synthetic").all()
    assert table["image_id"].str.startswith("SYNTHETIC_").all()
    assert "not photographs" in (drawn / "README.txt").read_text()
    assert (table.groupby("lesion_id").size() > 1).sum() == 14, "every third lesion has two pictures"


def test_the_seed_decides_every_pixel(drawn, tmp_path):
    again = draw_dataset(tmp_path / "again", lesions_per_class=6, size=(100, 75))
    other = draw_dataset(tmp_path / "other", lesions_per_class=6, size=(100, 75), seed=7)
    name = "HAM10000_images/SYNTHETIC_00003.jpg"
    assert (drawn / name).read_bytes() == (again / name).read_bytes()
    assert (drawn / name).read_bytes() != (other / name).read_bytes()


def test_pictures_of_a_lesion_are_alike_but_not_the_same(drawn):
    table = pd.read_csv(drawn / "HAM10000_metadata.csv")
    first, second = table[table["lesion_id"] == "SYN_mel_000"]["image_id"]
    pixels = [np.asarray(Image.open(drawn / "HAM10000_images" / f"{name}.jpg"), float) for name in (first, second)]
    assert pixels[0].shape == (75, 100, 3)
    assert np.abs(pixels[0] - pixels[1]).mean() > 3
    assert np.abs(pixels[0].min(axis=(0, 1)) - pixels[1].min(axis=(0, 1))).max() < 60


def test_it_draws_over_nothing(drawn):
    with pytest.raises(OutputExistsError):
        draw_dataset(drawn)
