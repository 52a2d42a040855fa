"""A file of an earlier contract format in the present one."""

from __future__ import annotations

import numpy as np
import pytest

from skin_edge.convert.renew import main, renewed
from skin_edge.edge_runtime import SkinClassifier
from skin_edge.edge_runtime.errors import UsageError
from skin_edge.edge_runtime.model_file import read_model_file

from . import miniatures
from .test_decisions import row


@pytest.fixture
def old(tiny_int8, tmp_path):
    rows = [row("malignant", ["akiec", "bcc", "mel"], 0.5), row("mel", ["mel"], 0.2)]

    def change(described):
        described["thresholds"] = [
            {key: value for key, value in one.items() if key not in ("name", "borderline_within")}
            for one in [{**one, "chosen_for_sensitivity": s} for one in rows for s in (0.9, 0.95)]
        ]
        described["input"] = {"shape": [1, 32, 32, 3], "dtype": "uint8"}

    return miniatures.resealed(tiny_int8, tmp_path / "old.tflite", change)


def test_the_network_stays_and_the_thresholds_are_found_again(old, ham, tmp_path, capsys):
    frame_paths = sorted(ham.glob("HAM10000_images_part_*/*.jpg"))
    split = tmp_path / "split.csv"
    lines = [f"{path.stem},{('train', 'val', 'test')[i % 3]}" for i, path in enumerate(frame_paths)]
    split.write_text("image_id,split\n" + "\n".join(lines) + "\n")
    main([str(old), str(ham), "--split", str(split), "--out", str(tmp_path / "new.tflite")], standalone_mode=False)
    before, after = read_model_file(old), read_model_file(tmp_path / "new.tflite")
    assert before.content[: before.network_length] == after.content[: after.network_length]
    assert after.contract["format_version"] == 4 and after.input_spec.decoding == "full"
    assert after.contract["input"]["bytes"] == "unchanged"
    names = [one["name"] for one in after.contract["thresholds"]]
    assert "mel-0.90" in names and "malignant-0.95" in names
    assert all(0 <= one["borderline_within"] < 1 for one in after.contract["thresholds"])
    assert "mel-0.95" in capsys.readouterr().out
    picture = np.asarray(miniatures.picture("mel", 1))
    old_answer, new_answer = (SkinClassifier(path).predict(picture) for path in (old, tmp_path / "new.tflite"))
    assert old_answer.probabilities == new_answer.probabilities


def test_a_file_of_others_is_not_renewed(data_root):
    with pytest.raises(UsageError, match="of skin-edge"):
        renewed(data_root / "foreign" / "mobilenet_v1_0.25_128_quant.tflite", [], [])
