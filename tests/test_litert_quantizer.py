"""Why post-training quantization is not by litert-quantizer: where this fails, decide again (docs/architecture.md)."""

from __future__ import annotations

import numpy as np
import pytest

from skin_edge.convert.quantize.post_training import Calibration

from .litert_quantizer_trial import quantize
from .test_post_training import BIAS, images, run, seen, without_weights


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # what the overflow is to NumPy
@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_the_library_loses_the_bias_of_a_channel_without_weights(precision):
    pytest.importorskip("litert_quantizer", reason="a trial: pip install litert-quantizer==0.11.0")
    network, samples = without_weights(), images()
    quantized = quantize(network, [samples], precision=precision, calibration=Calibration(), io="float32")
    errors = np.abs(run(quantized, samples)[0] - seen(network, samples)).max(axis=0)
    assert errors[1] == pytest.approx(BIAS, abs=0.01)
