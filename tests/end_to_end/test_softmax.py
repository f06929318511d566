"""Inference that keeps the softmax of a TFLite file, beside a training step that works on the logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import mcutrain
from mcutrain.verification import verify


@pytest.mark.parametrize("scheme", ["inference", "last_k=1"])
def test_probabilities(scheme: str, data: Path, tmp_path: Path) -> None:
    path = data / "mlperf_tiny/kws_ref_model.tflite"
    model = mcutrain.load(path, softmax=True)
    out = mcutrain.compile(model, scheme, "nrf52840", "128KB", tmp_path / "out", seconds=1).directory
    twin = mcutrain.host(out)
    interpreter = Interpreter(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    (place,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    for seed in range(20):
        image = np.random.default_rng(seed).integers(-128, 128, model.input_shape).astype(np.int8)
        interpreter.set_tensor(place["index"], image.reshape(place["shape"]))
        interpreter.invoke()
        expected = interpreter.get_tensor(output["index"])[0].astype(int)
        assert np.abs(twin.infer(image).astype(int) - expected).max() <= 1
    measured = verify(out, 2)
    assert measured.host_equals_device and measured.fits


def test_only_where_there_is_one(data: Path) -> None:
    with pytest.raises(mcutrain.ModelError, match="cannot end in a softmax"):
        mcutrain.load(data / "mlperf_tiny/ad01_int8.tflite", loss="autoencoder", softmax=True)
    with pytest.raises(mcutrain.ModelError, match="belongs to a TFLite file"):
        mcutrain.load(data / "mcunet/mcunet-5fps.pkl", softmax=True)
