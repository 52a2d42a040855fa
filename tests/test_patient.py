"""The patient's metadata as numbers: what a value becomes, what is refused, and that training encodes as the device."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from skin_edge.benchmarks.inputs import cases
from skin_edge.edge_runtime import patient
from skin_edge.edge_runtime.errors import DataError, MetadataError, ModelFileError, UnknownNameError, UsageError
from skin_edge.edge_runtime.patient import Category, Encoding, Number
from skin_edge.train.data import patients
from skin_edge.train.recipes import published
from skin_edge.train.recipes import recipe as recipes

ENCODING = Encoding(
    (
        Number("age", 50.0, 20.0),
        Category("sex", ("female", "male")),
        Category("site", ("back", "face", "lower extremity")),
    )
)


def test_each_field_becomes_what_is_said():
    found = ENCODING.encode({"age": 62, "sex": "male", "site": "Face "})
    assert found.dtype == np.float32
    # (62 - 50) / 20 = 0.6 deviations, of 3
    assert found == pytest.approx([0.2, 1, 0, 1, 0, 1, 0])
    assert ENCODING.encode({"age": 119})[0] == 1  # 3.45 deviations
    assert ENCODING.encode({"age": 50}).tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert ENCODING.encode({"age": "62.0", "sex": "male", "site": "face"}).tolist() == found.tolist()


def test_the_order_of_the_keys_does_not_matter():
    given = {"age": 33.5, "sex": "female", "site": "lower extremity"}
    vectors = {ENCODING.encode(dict(pairs)).tobytes() for pairs in itertools.permutations(given.items())}
    assert len(vectors) == 1


@pytest.mark.parametrize("blank", [None, "", " ", "unknown", "UNK", "NA", "nan"])
def test_a_blank_is_as_if_it_was_left_out(blank):
    known = {"age": 33.5, "sex": "female", "site": "back"}
    for name in known:
        without = {key: value for key, value in known.items() if key != name}
        assert np.array_equal(ENCODING.encode({**known, name: blank}), ENCODING.encode(without))
    nothing = ENCODING.encode(None)
    assert not nothing.any()
    assert np.array_equal(nothing, ENCODING.encode({}))
    assert np.array_equal(nothing, ENCODING.encode({"age": 0, "sex": blank}))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"agee": 45}, "unknown metadata 'agee'; this model knows: age, sex, site"),
        ({"sex": "f"}, "unsupported sex 'f'; expected one of female, male"),
        ({"site": 3}, "site '3' is not text"),
        ({"age": 200}, "age '200' is not a number from 0 to 120 years"),
        ({"age": -1}, "age '-1'"),
        ({"age": float("nan")}, "age 'nan'"),
        ({"age": "old"}, "age 'old'"),
        ({"age": True}, "age 'True'"),
        ({"age": [45]}, "age"),
        ({"site": "back\n" * 50 + "x"}, "site"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(given, said):
    with pytest.raises(MetadataError, match="cannot assess") as caught:
        ENCODING.encode(given)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_row_of_a_data_set_may_hold_other_words_and_columns():
    row = {"age": float("nan"), "sex": "male", "site": "palm", "label": "mel"}
    assert np.array_equal(ENCODING.of_row(row), ENCODING.encode({"sex": "male"}))
    with pytest.raises(MetadataError):
        ENCODING.of_row({"age": "850"})


def test_the_encoding_survives_being_written():
    assert patient.from_list(json.loads(json.dumps(ENCODING.to_list()))) == ENCODING


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields[0].update(clip=5.0),
        lambda fields: fields[0].update(std=0.0),
        lambda fields: fields[0].update(mean="50"),
        lambda fields: fields[0].update(log=True),
        lambda fields: fields[0].update(name="weight"),
        lambda fields: fields[1].update(kind="number"),
        lambda fields: fields[1].update(categories=[]),
        lambda fields: fields[1].update(categories=["male", "male"]),
        lambda fields: fields[1].update(categories=["Male"]),
        lambda fields: fields[1].update(categories=["unknown"]),
        lambda fields: fields.append(fields[0]),
        lambda fields: fields.clear(),
    ],
)
def test_another_encoding_is_refused(change):
    written = ENCODING.to_list()
    change(written)
    with pytest.raises(ModelFileError):
        patient.from_list(written)


def frame(**columns):
    rows = pd.DataFrame(columns)
    return rows.assign(image_id=[f"i{n}" for n in range(len(rows))])


def test_means_and_words_come_from_the_rows_that_are_given():
    training = frame(age=[40.0, 60.0, np.nan, 0.0], sex=["male", "", "unknown", "female"])
    encoding = patients.fitted(("age", "sex"), training)
    assert encoding.fields == (Number("age", 50.0, 10.0), Category("sex", ("female", "male")))
    assert patients.missing_counts(("age", "sex"), training) == {"age": 2, "sex": 2}
    with pytest.raises(DataError, match=r"i1: age '850\.0'"):
        patients.fitted(("age",), frame(age=[40.0, 850.0]))
    with pytest.raises(DataError, match="sex is blank for all training images"):
        patients.fitted(("sex",), frame(sex=["", "unknown"]))


def test_training_encodes_as_the_device_to_the_bit():
    rows = frame(age=["45.0", "", "80.0"], sex=["female", "male", "unknown"], site=["back", "palm", "face"])
    vectors = patients.encoded(ENCODING, rows, 0.1).vectors
    given = [{"age": 45, "sex": "female", "site": "back"}, {"sex": "male"}, {"age": 80, "site": "face"}]
    for vector, metadata in zip(vectors, given, strict=True):
        assert vector.tobytes() == ENCODING.encode(metadata).tobytes()


def test_dropout_blanks_whole_fields_of_some_pictures():
    known = np.tile(ENCODING.encode({"age": 62, "sex": "male", "site": "face"}), (4000, 1))
    of_all = patients.Patients(known, ENCODING.columns, 0.1)
    dropped = of_all.dropped(np.arange(4000), np.random.default_rng(0))
    kept = np.stack([(dropped[:, ENCODING.columns == field] != 0).any(axis=1) for field in range(3)], axis=1)
    assert np.array_equal(dropped, known * kept[:, ENCODING.columns])  # a field is there, or all of it is not
    # 0.9 * 0.9 of each field stay; all are gone in 0.1 + 0.9 * 0.001
    assert kept.mean(axis=0) == pytest.approx([0.81] * 3, abs=0.03)
    assert (~kept.any(axis=1)).mean() == pytest.approx(0.1009, abs=0.02)
    again = of_all.dropped(np.arange(4000), np.random.default_rng(0))
    assert np.array_equal(dropped, again)


def test_names_are_checked():
    assert patients.names_of("site, age,sex,age") == ("age", "sex", "site")
    assert patients.names_of("[age, sex]") == ("age", "sex")
    assert patients.names_of("none") == ()
    with pytest.raises(UsageError, match="dx_type leaks the label"):
        patients.names_of("age,dx_type")
    with pytest.raises(UnknownNameError, match="age, sex, site, diameter_mm, image_type"):
        patients.names_of("weight")


def test_names_are_found_in_the_data():
    data = frame(age=[40.0, 0.0], sex=["", "unknown"], site=["back", ""], diameter_mm=[np.nan, np.nan])
    assert patients.found_in(("all",), data, "DATA") == ("age", "site")
    assert patients.found_in((), data, "DATA") == ()
    with pytest.raises(UsageError, match="DATA does not say sex; it has: age, site"):
        patients.found_in(("age", "sex"), data, "DATA")
    with pytest.raises(UsageError, match="DATA has none of"):
        patients.found_in(("all",), frame(age=[0.0], sex=["unknown"]), "DATA")


def test_a_recipe_keeps_its_metadata():
    recipe = published.get("quickstart").with_settings({"metadata": "sex,age", "metadata_dropout": "0.2"})
    assert recipe.metadata == ("age", "sex")
    assert recipes.Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    old = {name: value for name, value in recipe.to_dict().items() if not name.startswith("metadata")}
    assert (recipes.Recipe.from_dict(old).metadata, recipes.Recipe.from_dict(old).metadata_units) == ((), 32)
    with pytest.raises(UsageError, match="leaks"):
        published.get("quickstart").with_settings({"metadata": "biopsed"})


def test_pairs_of_the_command_line():
    assert patient.parse_pairs(("age=45,sex=female", "site=lower extremity")) == {
        "age": "45", "sex": "female", "site": "lower extremity"
    }  # fmt: skip
    for wrong in ("age", "=45", "age=1,age=2"):
        with pytest.raises(MetadataError):
            patient.parse_pairs((wrong,))


def test_a_csv_of_cases_is_read_with_the_same_fields():
    assert cases.METADATA == patient.FIELDS
