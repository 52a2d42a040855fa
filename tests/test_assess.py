"""Where an assessment comes from: the head in the network, the limits, the sets, and what is drawn to learn from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from skin_edge.convert import assessing
from skin_edge.convert.assess import fit, head, limits, outliers
from skin_edge.convert.tflite import flatbuffer
from skin_edge.edge_runtime import assessment
from skin_edge.edge_runtime import contract as contracts
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.edge_runtime.model_file import read_model_file, with_archive
from skin_edge.edge_runtime.network import Network
from skin_edge.edge_runtime.preprocess import InputSpec
from skin_edge.edge_runtime.quantization import byte_table, dequantize

from .miniatures import packaged_size

SPEC = InputSpec(32, 32, (127.5,) * 3, (127.5,) * 3)


def network_of(path):
    file = read_model_file(path)
    return bytes(file.content[: file.network_length])


def pictures(n, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def values_of(network, tensor, picture):
    interpreter = Interpreter(head.with_outputs(network, [tensor]))
    found = interpreter.invoke(picture[None])[-1]
    return dequantize(found, interpreter.outputs[-1].quantization)[0].astype(np.float64)


@pytest.mark.parametrize("name", ["tiny_int8", "tiny_float32"])
def test_a_head_gives_the_mean_over_the_positions_and_changes_nothing_else(request, name):
    path = request.getfixturevalue(name)
    network = network_of(path)
    table = byte_table(
        SPEC.real_table, Interpreter(network).inputs[0].quantization, Interpreter(network).inputs[0].dtype
    )
    some = table[:, 0][pictures(6)]
    tensor = head.layers(network)[-1]
    maps = [values_of(network, tensor, picture) for picture in some]
    generator = np.random.default_rng(1)
    weights, bias = generator.normal(size=maps[0].shape[-1]), 0.3
    each = np.stack([values @ weights + bias for values in maps])
    made = head.Head(tensor, weights, bias, float(each.min()), float(each.max()))
    names = [[one.name for one in ends] for ends in (Network(network).inputs, Network(network).outputs)]
    assessed = head.attach(network, made, *names)
    before, after = Interpreter(network), Interpreter(assessed)
    assert [one.name for one in Network(assessed).outputs] == [*names[1], "outlier_score"]
    # Half a step of the weights at every channel, one of the positions, half of one of the mean.
    step = float(np.ptp(each)) / 255
    allowed = (
        1e-4 if name == "tiny_float32" else 2 * step + np.abs(maps[0]).sum(axis=-1).max() * np.abs(weights).max() / 254
    )
    for picture, wanted in zip(some, each.mean(axis=(1, 2)), strict=True):
        answers = after.invoke(picture[None])
        for one, other in zip(before.invoke(picture[None]), answers, strict=False):
            assert np.array_equal(one, other)
        assert answers[-1].shape == (1, 1)
        assert answers[-1].dtype == np.float32
        assert abs(float(answers[-1][0, 0]) - wanted) <= allowed


def test_the_score_follows_its_layer_at_once(tiny_int8):
    """Behind the last operator, the layer would lie in memory until then."""
    network = network_of(tiny_int8)
    tensor = head.layers(network)[0]
    channels = values_of(network, tensor, pictures(1)[0]).shape[-1]
    made = head.Head(tensor, np.ones(channels), 0.0, -1.0, 1.0)
    operators = Network(head.attach(network, made, ["image"], ["probabilities"])).operators
    outputs = [operator.outputs[0].name for operator in operators]
    at = outputs.index("outlier/position")
    assert operators[at].inputs[0] == operators[at - 1].outputs[0]
    assert [operator.name for operator in operators[at : at + 3]] == ["CONV_2D", "MEAN", "DEQUANTIZE"]
    assert at < len(operators) - 5


def test_layers_are_few_and_large_enough():
    network = network_of(DEFAULT_MODEL)
    found = head.layers(network)
    assert 1 < len(found) <= 6
    for tensor in found:
        rows, columns, channels = values_of(network, tensor, pictures(1, packaged_size()[0])[0]).shape
        assert rows * columns >= 9
        assert channels >= 8


def test_drawn_outliers_are_the_same_for_a_seed_and_differ_among_each_other():
    first, again, other = (outliers.drawn(12, np.random.default_rng(seed), SPEC) for seed in (3, 3, 4))
    assert first.shape == (12, 32, 32, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({one.tobytes() for one in first}) == 12
    assert outliers.drawn(0, np.random.default_rng(3), SPEC).shape == (0, 32, 32, 3)


def test_margins_are_skin_without_the_lesion(picture, tmp_path):
    from PIL import Image

    paths = []
    for number in range(5):
        pixels = np.full((90, 120, 3), (200, 150, 130), np.uint8)
        pixels[30:60, 40:80] = (90, 60, 50)
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    found = outliers.margins([*paths, str(tmp_path / "gone.png")], 3, np.random.default_rng(0), SPEC)
    assert found.shape == (3, 32, 32, 3)
    assert (found.reshape(-1, 3) == (200, 150, 130)).all()
    Image.fromarray(pictures(1, 90)[0]).save(paths[0])
    assert len(outliers.margins(paths[:1], 3, np.random.default_rng(0), SPEC)) == 0  # every corner is full of something


def test_a_limit_is_where_the_answers_change_and_never_stricter_than_the_pictures_as_they_are():
    values = {name: np.linspace(100, 200, 1000) for name in assessment.FEATURES}
    nothing = {f"{rule.feature} {rule.side}": np.empty(0) for rule in limits.RULES}
    rows = limits.feature_checks(values, {**nothing, "luma below": np.array([50.0]), "detail below": np.array([150.0])})
    by = {(row["feature"], "below" if "below" in row else "above"): row for row in rows}
    assert by["luma", "below"]["below"] == 50  # the answers hold until there
    assert 100 <= by["detail", "below"]["below"] <= 102  # else one in three would be refused
    assert ("white", "above") not in by  # the model stands any glare
    assert ("contrast", "below") in by  # of which no degradation tells
    failing = np.zeros(1000, bool)
    for (feature, side), row in by.items():
        failing |= values[feature] < row[side] if side == "below" else values[feature] > row[side]
    assert failing.mean() <= limits.REFUSED_BY_FEATURES


def test_a_limit_is_interpolated_between_two_strengths():
    values = [np.full(5, 10.0), np.full(5, 20.0), np.full(5, 40.0)]
    assert limits.at_agreement([0, 1, 2], [1.0, 0.95, 0.85], values) == pytest.approx(30)
    assert limits.at_agreement([0, 1, 2], [1.0, 0.95, 0.91], values) is None


def test_sets_cover_each_class_of_other_pictures_like_these():
    generator = np.random.default_rng(5)

    def draw(n):
        truth = generator.choice(3, n, p=[0.8, 0.15, 0.05])
        logits = generator.normal(size=(n, 3)) + 1.5 * np.eye(3)[truth]
        scores = np.exp(logits)
        return scores / scores.sum(axis=1, keepdims=True), truth

    covered = np.zeros((200, 3))
    for trial in range(200):
        thresholds = np.array(limits.possible(*draw(400), "drawn")["thresholds"])
        scores, truth = draw(2000)
        sets = scores >= thresholds
        covered[trial] = [sets[truth == c, c].mean() for c in range(3)]
    assert (covered.mean(axis=0) >= 0.89).all()
    assert (covered.mean(axis=0) <= 0.96).all()  # of the rarest 20 pictures, so 1 in 21 beyond


def test_a_class_with_too_few_pictures_is_always_possible():
    scores = np.array([[0.9, 0.1]] * 20 + [[0.2, 0.8]] * 5)
    found = limits.possible(scores, np.repeat([0, 1], [20, 5]), "few")
    assert found["thresholds"] == [0.9, 0.0]


@pytest.mark.slow
def test_a_network_learns_what_is_no_lesion(tmp_path):
    """The packaged network and drawn lesions: other drawn pictures are refused, other drawn lesions are not."""
    from skin_edge.edge_runtime import preprocess
    from skin_edge.train.data.synthetic import draw_dataset

    draw_dataset(tmp_path / "data", lesions_per_class=35, size=(200, 150), seed=3)
    file = read_model_file(DEFAULT_MODEL)
    model = flatbuffer.read(network_of(DEFAULT_MODEL))
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[:1]  # it has a score already
    flatbuffer.name_ends(model, ["image"], ["probabilities"])
    spec, network = file.input_spec, flatbuffer.write(model)
    paths = [str(path) for path in sorted((tmp_path / "data").rglob("*.jpg"))]
    paths = [paths[position] for position in np.random.default_rng(0).permutation(len(paths))]
    pixels = np.stack([preprocess.to_pixels(path, spec) for path in paths])
    training, validation, test = pixels[:150], pixels[150:230], pixels[230:]
    material = fit.Material(network, spec, training, paths[:150], validation, (), 1, lambda line: None)
    found = assessing.found_in(material, with_head=True)
    described = assessing.described(found, found.network, spec, validation, None, "drawn", lambda line: None)
    json.dumps(described)
    assert described["refused"] <= 0.03
    checks = assessment.checks_of({"format_version": 6, "assessment": described})
    interpreter = Interpreter(found.network)

    def refused(some):
        rows = [
            assessment.failed(
                checks, {**assessment.measure(one), "outlier_score": float(interpreter.invoke(one[None])[-1][0, 0])}
            )
            for one in some
        ]
        return np.mean([bool(row) for row in rows])

    assert refused(test) <= 0.1
    assert refused(outliers.drawn(120, np.random.default_rng(99), spec)) >= 0.95
    assert refused(np.zeros((1, spec.height, spec.width, 3), np.uint8)) == 1


def of_format_4(target):
    """The packaged model as it would be without an assessment."""
    file, model = read_model_file(DEFAULT_MODEL), flatbuffer.read(network_of(DEFAULT_MODEL))
    model.subgraphs[0].outputs = model.subgraphs[0].outputs[:-1]  # all but the score
    contract = {name: value for name, value in file.contract.items() if name not in ("assessment", "possible")}
    contract |= {"format_version": 4, "outputs": file.contract["outputs"][:-1]}
    flatbuffer.name_ends(model, ["image"], [one["name"] for one in contract["outputs"]])
    network, labels = flatbuffer.write(model), contracts.labels_text(file.labels)
    text = contracts.sealed(contract, network, labels)
    target.write_bytes(with_archive(network, {"labels.txt": labels, "metadata.json": text}))
    return target


@pytest.mark.slow
def test_a_finished_file_gets_limits_and_answers_as_before(tmp_path):
    """python -m skin_edge.convert.renew --assess --also, on a file of an earlier format."""
    from skin_edge.convert.renew import main
    from skin_edge.edge_runtime.classifier import SkinClassifier
    from skin_edge.edge_runtime.errors import UsageError
    from skin_edge.train.data.synthetic import draw_dataset

    model = of_format_4(tmp_path / "before.tflite")
    data = draw_dataset(tmp_path / "data", lesions_per_class=25, size=(120, 90), seed=3)
    also = tmp_path / "crops"
    also.mkdir()
    paths = sorted((data / "HAM10000_images").glob("*.jpg"))
    for path in paths[::2]:
        with Image.open(path) as image:
            image.crop((15, 0, 105, 90)).save(also / path.name)
    rows = [f"{path.stem},{('train', 'train', 'val', 'val', 'test')[i % 5]}" for i, path in enumerate(paths)]
    (tmp_path / "split.csv").write_text("image_id,split\n" + "\n".join(rows) + "\n")
    out = tmp_path / "assessed.tflite"
    call = [str(one) for one in (model, data, "--split", tmp_path / "split.csv", "--out", out, "--assess")]
    main([*call, "--also", str(also)], standalone_mode=False)

    file = read_model_file(out)
    assert file.contract["format_version"] == 6
    assert (
        file.contract["assessment"]["refused"] <= 0.03
        and "other pictures of these" in file.contract["assessment"]["on"]
    )
    assert len(file.contract["possible"]["thresholds"]) == len(file.labels)
    with SkinClassifier(model) as before, SkinClassifier(out) as after:
        for path in paths[:20]:
            assert before.predict(path).probabilities == after.predict(path).probabilities
        assert not after.predict(Image.new("RGB", (120, 90))).assessable, "black"
    with pytest.raises(UsageError, match="no file of contract format 4 or 5"):
        main([str(out), *call[1:]], standalone_mode=False)
