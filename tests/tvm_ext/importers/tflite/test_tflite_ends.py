"""The two ends of a TFLite model: inputs of any rank and type, what is taken off behind the logits, heads, losses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.tflite.load import load
from tests.tvm_ext.importers.dialect_numpy import evaluate
from tests.tvm_ext.importers.tflite.test_tflite import assert_equal, everything, ops_of
from tests.tvm_ext.importers.tflite.tflite_models import Reference, TfliteModel, images


def classifier(m: TfliteModel, x: int | None = None) -> int:
    x = m.input((1, 6, 6, 2)) if x is None else x
    return m.dense(m.conv(x, 4, (3, 3), (2, 2), activation="RELU"), 12)


# --------------------------------------------------------------------------- the input
def test_vectors_and_series(tmp_path: Path) -> None:
    m = TfliteModel()
    path = m.save(tmp_path, m.dense(m.dense(m.input((1, 40)), 16, "RELU"), 12))
    model = load(path)
    assert model.input_shape == (1, 1, 1, 40)
    assert_equal(path, lambda x: evaluate(model, x), images(12, model.input_shape))
    m = TfliteModel()
    x = m.expand(m.input((1, 30, 4)), 1)
    y = m.squeeze(m.conv(x, 6, (1, 5), (1, 2), name="model/conv1d"), 1)
    path = m.save(tmp_path, m.dense(m.mean(y, (1,), keep=False), 12))
    model = load(path)
    assert model.input_shape == (1, 1, 30, 4)
    assert [name for _, name in ops_of(model)] == ["conv1d", "mean", "dense"]
    assert_equal(path, lambda x: evaluate(model, x), images(12, model.input_shape))


@pytest.mark.parametrize("shape", [(1, 96), (1, 8, 12)])
def test_a_series_that_is_reshaped_to_an_image_at_once(shape: tuple[int, ...], tmp_path: Path) -> None:
    m = TfliteModel()
    path = m.save(tmp_path, classifier(m, m.reshape(m.input(shape), [1, 8, 12, 1])))
    model = load(path)
    assert model.input_shape == (1, 8, 12, 1)
    assert_equal(path, lambda x: evaluate(model, x), images(12, model.input_shape))


def test_a_float_model_around_int8(tmp_path: Path) -> None:
    """QUANTIZE in front and DEQUANTIZE behind, as converters leave them by default."""
    m = TfliteModel()
    q = m.op("QUANTIZE", [m.input((1, 6, 6, 2), dtype="float32")], [1, 6, 6, 2], 0.25, 3)
    logits = classifier(m, q)
    path = m.save(tmp_path, m.unary("DEQUANTIZE", m.softmax(logits), dtype="float32"))
    model = load(path)
    assert (model.input_scale, model.input_zero, model.input_dtype) == (0.25, 3, "int8")
    reference = Reference(path)
    for x in images(6, model.input_shape):
        real = (x.astype(np.float32) - 3) * np.float32(0.25)
        np.testing.assert_array_equal(evaluate(model, x).reshape(-1), reference.run(real, logits).reshape(-1))


def test_a_uint8_input_in_front_of_int8(tmp_path: Path) -> None:
    m = TfliteModel()
    q = m.op("QUANTIZE", [m.input((1, 6, 6, 2), 0.02, 125, "uint8")], [1, 6, 6, 2], 0.02, -3)
    logits = classifier(m, q)
    path = m.save(tmp_path, logits)
    model, reference = load(path), Reference(path)
    for x in images(6, model.input_shape):
        pixels = (x.astype(np.int16) + 128).astype(np.uint8)
        np.testing.assert_array_equal(evaluate(model, x).reshape(-1), reference.run(pixels).reshape(-1))


# --------------------------------------------------------------------------- the output
def test_what_stands_behind_the_logits_is_taken_off(tmp_path: Path) -> None:
    m = TfliteModel()
    logits = classifier(m)
    endings: dict[str, Callable[[], int]] = {
        "alone": lambda: logits,
        "softmax": lambda: m.softmax(logits),
        "log": lambda: m.unary("LOG_SOFTMAX", logits, 16 / 256, 127),
        "reshaped": lambda: m.reshape(m.softmax(m.reshape(logits, [1, 1, 12])), [12]),
        "as uint8": lambda: m.unary("QUANTIZE", m.softmax(logits), dtype="uint8"),
        "as float": lambda: m.unary("DEQUANTIZE", logits, dtype="float32"),
    }
    for ending, build in endings.items():
        model = load(m.save(tmp_path, build()))
        assert [name for _, name in ops_of(model)] == ["conv2d", "dense"], ending
        assert (model.logits_scale, model.logits_zero) == m.quantised(logits), ending
        assert (model.classes, model.loss) == (12, "cross_entropy"), ending
    model = load(m.save(tmp_path, m.unary("LOGISTIC", logits, 1 / 256, -128)))
    assert model.loss == "binary_cross_entropy" and model.logits_scale == m.quantised(logits)[0]


def test_heads_and_losses(tmp_path: Path) -> None:
    m = TfliteModel(3)
    logits = everything(m)
    path = m.save(tmp_path, m.softmax(logits))
    raw = load(path, logits="raw")
    assert (raw.logits_scale, raw.logits_zero, raw.loss) == (1.0, 0, "cross_entropy")
    with pytest.raises(ModelError, match="ends with a SOFTMAX, and the loss mse works on what stands before it"):
        load(path, loss="mse")
    with pytest.raises(ModelError, match="raw logits have no meaning for the loss mse"):
        load(m.save(tmp_path, logits), logits="raw", loss="mse")
    m = TfliteModel()
    path = m.save(tmp_path, m.softmax(classifier(m)))
    fresh = load(path, 3, "float")
    assert ops_of(fresh) == [("qconv2d", "conv2d"), ("dense", "classifier")] and fresh.classes == 3
    assert [layer.name for layer in fresh.layers] == ["conv2d", "classifier"]
    assert fresh.params["classifier.weight"].shape == (3, 36) and not fresh.params["classifier.weight"].any()
    assert load(path, 12).classes == 12


def test_an_autoencoder(tmp_path: Path) -> None:
    m = TfliteModel()
    path = m.save(tmp_path, m.dense(m.dense(m.input((1, 40)), 16, "RELU"), 40))
    assert load(path, loss="autoencoder").loss == "autoencoder"
    for options in ({"head": "float", "classes": 40}, {}):
        m = TfliteModel()
        units = 40 if options else 39
        path = m.save(tmp_path, m.dense(m.input((1, 40)), units))
        with pytest.raises(ModelError, match=f"no autoencoder: 40 inputs, {units} outputs"):
            load(path, loss="autoencoder", **options)


def test_names_are_short_and_differ(tmp_path: Path) -> None:
    m = TfliteModel()
    x = m.conv(m.input((1, 6, 6, 2)), 4, name="net/stage/a/conv")
    x = m.conv(x, 4, name="net/stage/b/conv")
    x = m.conv(x, 4, name="net/stage/b/conv")
    x = m.conv(x, 4, name="net/classifier")
    x = m.conv(x, 4, name="net/" + "very" * 30 + "/long")
    x = m.conv(x, 4)
    m.tensors[x].name = b"StatefulPartitionedCall:0\x00\n"
    for tensor in (m.operators[-1].inputs[1], m.operators[-1].inputs[2]):
        m.tensors[tensor].name = b"arith.constant\xff"
    model = load(m.save(tmp_path, m.dense(x, 3, name="net/dense")), 5, "float")
    names = [name for _, name in ops_of(model)]
    assert names[:4] == ["stage.a.conv", "stage.b.conv", "stage.b.conv_1", "classifier"]
    assert names[4].endswith("very.long") and len(names[4]) <= 40
    assert names[5:] == ["conv2d", "classifier_2"]
