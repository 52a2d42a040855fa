"""Shift, temperature and frozen thresholds: by hand where that is possible, by brute force where not."""

from __future__ import annotations

import numpy as np
import pytest

from skin_edge.benchmarks.stats import metrics
from skin_edge.benchmarks.stats.calibration import choose_temperature
from skin_edge.convert import confidence
from skin_edge.convert.tflite import flatbuffer
from skin_edge.edge_runtime.errors import ConversionError, DataError
from skin_edge.edge_runtime.interpreter import Interpreter
from skin_edge.edge_runtime.labels import Label
from skin_edge.edge_runtime.quantization import dequantize


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_the_temperature_that_was_put_in_is_found():
    generator = np.random.default_rng(0)
    honest = generator.normal(0, 2, (4000, 5))
    truth = np.array([generator.choice(5, p=row) for row in softmax(honest)])
    for temperature in (0.5, 1.0, 2.5):
        assert choose_temperature(softmax(honest * temperature), truth) == pytest.approx(temperature, 0.08)


def test_pictures_that_are_all_right_teach_no_temperature():
    assert choose_temperature(np.array([[0.6, 0.4], [0.3, 0.7]]), np.array([0, 1])) == 1.0


def test_the_shift_lifts_the_rare_and_leaves_the_mean():
    counts = np.array([900, 90, 10])
    shift = confidence.shift_for(1.0, counts)
    assert shift.mean() == pytest.approx(0)
    assert np.diff(shift) == pytest.approx(np.log([10, 9]))
    assert not confidence.shift_for(0.0, counts).any()
    assert not confidence.shift_for(0.0, np.array([5, 0, 3])).any(), "a class without training images"
    with pytest.raises(DataError, match="no training images"):
        confidence.shift_for(0.5, np.array([5, 0, 3]))


def test_tau_is_the_best_on_the_pictures_given():
    generator = np.random.default_rng(1)
    prior = np.array([0.9, 0.1])
    truth = generator.choice(2, 3000, p=prior)
    evidence = generator.normal(np.where(truth == 1, 1.0, -1.0), 1.0)
    logits = np.stack([np.zeros(3000), 2 * evidence], axis=1) + np.log(prior)  # Bayes-optimal for accuracy
    rows = confidence.tradeoff(logits, truth, (prior * 1000).astype(int))
    tau = confidence.choose_tau(rows)
    assert 0.7 <= tau <= 1.3, "1 makes it Bayes-optimal for balanced accuracy"
    assert max(rows, key=lambda row: row["accuracy"])["tau"] <= 0.2
    unshifted, chosen = rows[0], rows[confidence.TAUS.index(tau)]
    assert unshifted["balanced_accuracy"] == pytest.approx(
        np.mean([(logits.argmax(axis=1) == truth)[truth == k].mean() for k in (0, 1)])
    )
    assert unshifted["accuracy"] == (logits.argmax(axis=1) == truth).mean() > chosen["accuracy"]
    assert all(0 <= row["ece"] < 0.1 for row in rows[:11])


@pytest.mark.parametrize("twin", ["tiny_int8", "tiny_float32"])
def test_a_temperature_divides_the_logits_exactly(twin, request):
    """The golden networks with their softmax cut off; of the int8 one, not an integer changes."""
    model = flatbuffer.read(request.getfixturevalue(twin).read_bytes())
    graph = model.subgraphs[0]
    graph.operators = [
        operator
        for operator in graph.operators
        if flatbuffer.OPERATOR_NAMES[model.operatorCodes[operator.opcodeIndex].builtinCode] != "SOFTMAX"
    ]
    if twin == "tiny_int8":
        graph.operators.pop()  # int8 -> uint8 behind the softmax
    graph.outputs = graph.operators[-1].outputs
    before = flatbuffer.write(model)
    networks = [Interpreter(content) for content in (before, confidence.apply_temperature(before, 3.7))]
    generator = np.random.default_rng(2)
    for _ in range(5):
        picture = generator.integers(0, 256, (1, 32, 32, 3), np.uint8)
        fed = picture if twin == "tiny_int8" else (picture.astype(np.float32) - 127.5) / 127.5
        raw = [network.invoke(fed)[0] for network in networks]
        if twin == "tiny_int8":
            assert np.array_equal(*raw)
            raw = [dequantize(a, n.outputs[0].quantization) for a, n in zip(raw, networks, strict=True)]
        assert raw[1] == pytest.approx(raw[0] / 3.7, rel=1e-5, abs=1e-6)


def test_shift_and_temperature_through_a_softmax(tiny_float32):
    shift = np.linspace(-1, 1, 7)
    before = tiny_float32.read_bytes()
    networks = [Interpreter(content) for content in (before, confidence.apply_temperature(before, 2.0, shift))]
    picture = np.random.default_rng(3).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
    plain, changed = (network.invoke(picture)[0].astype(np.float64) for network in networks)
    assert changed == pytest.approx(softmax((np.log(plain) + shift) / 2), abs=1e-5)


def test_a_network_without_a_last_layer_is_refused(tiny_int8):
    def pooled(model):
        graph = model.subgraphs[0]
        names = [flatbuffer.OPERATOR_NAMES[model.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]
        graph.operators = graph.operators[: names.index("MEAN") + 1]
        graph.outputs = graph.operators[-1].outputs
        return flatbuffer.write(model)

    with pytest.raises(ConversionError, match="the last layer is MEAN"):
        confidence.apply_temperature(pooled(flatbuffer.read(tiny_int8.read_bytes())), 2.0)


def test_a_threshold_is_the_highest_that_finds_enough():
    generator = np.random.default_rng(4)
    for _ in range(50):
        scores = generator.integers(0, 12, 40) / 12  # with ties
        positive = generator.random(40) < 0.4
        wanted = generator.choice([0.5, 0.8, 0.9, 1.0])
        threshold = metrics.threshold_for_sensitivity(positive, scores, wanted)
        assert metrics.at_threshold(positive, scores, threshold)["sensitivity"] >= wanted
        # brute force: no threshold between two scores that is higher finds enough
        for higher in np.unique(scores)[np.unique(scores) > threshold] + 1e-9:
            assert (scores[positive] >= higher).mean() < wanted


def test_figures_at_a_threshold_with_intervals_over_groups():
    positive = np.array([True] * 4 + [False] * 6)
    scores = np.array([0.9, 0.8, 0.7, 0.1, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    figures = metrics.at_threshold(positive, scores, 0.5, bootstrap=400)
    assert figures["sensitivity"] == 0.75 and figures["specificity"] == pytest.approx(4 / 6)
    assert figures["n_positive"] == 4 and figures["n_negative"] == 6
    low, high = figures["intervals"]["sensitivity"]
    assert low < 0.75 < high
    one_group = metrics.at_threshold(positive, scores, 0.5, np.zeros(10), bootstrap=50)
    assert one_group["intervals"]["sensitivity"] == [0.75, 0.75], "one group is always drawn whole"


def test_thresholds_are_for_every_malignant_class_and_for_all():
    labels = (Label("bcc", "", True), Label("mel", "", True), Label("nv", "", False))
    truth = np.repeat([0, 1, 2], 20)
    generator = np.random.default_rng(6)
    probabilities = softmax(np.eye(3)[truth] * 2 + generator.normal(0, 1, (60, 3)))
    rows = confidence.thresholds(probabilities, truth, labels, "the pictures of a test")
    assert [(row["target"], row["chosen_for_sensitivity"]) for row in rows] == [
        (target, sensitivity) for target in ("malignant", "bcc", "mel") for sensitivity in (0.9, 0.95)
    ]
    for row in rows:
        positions = [[label.code for label in labels].index(code) for code in row["classes"]]
        found = probabilities[:, positions].sum(axis=1) >= row["threshold"]
        positive = np.isin(truth, positions)
        assert found[positive].mean() == row["sensitivity"] >= row["chosen_for_sensitivity"]
        assert (~found[~positive]).mean() == row["specificity"]
        assert row["on"] == "the pictures of a test"
    assert confidence.thresholds(probabilities, truth, labels[2:], "") == []
