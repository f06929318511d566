"""Functions of each number alone, and PReLU, against TFLite's reference kernels, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType

import mcutrain
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.tflite.load import load
from tests.tvm_ext.importers.dialect_numpy import evaluate
from tests.tvm_ext.importers.tflite.test_tflite import assert_equal, fill, ops_of, scaled
from tests.tvm_ext.importers.tflite.tflite_models import TfliteModel, images
from tests.tvm_ext.support.torch_dialect import gradients


def set_to(options: object, **values: object) -> object:
    vars(options).update(values)
    return options


def leaky(alpha: float) -> object:
    return set_to(schema.LeakyReluOptionsT(), alpha=alpha)


def gelu(approximate: bool) -> object:
    return set_to(schema.GeluOptionsT(), approximate=approximate)


FUNCTIONS: dict[str, Callable[[TfliteModel, int], int]] = {
    "hard swish": lambda m, x: m.unary("HARD_SWISH", x, scaled(m, x, 0.6), -110),
    "tanh": lambda m, x: m.unary("TANH", x, 1 / 128, 0),
    "logistic": lambda m, x: m.unary("LOGISTIC", x, 1 / 256, -128),
    "elu": lambda m, x: m.unary("ELU", x, scaled(m, x, 0.8), -90),
    "leaky": lambda m, x: m.unary("LEAKY_RELU", x, scaled(m, x, 0.7), -60, leaky(0.1)),
    "leaky down": lambda m, x: m.unary("LEAKY_RELU", x, scaled(m, x, 1.3), 17, leaky(-0.3)),
    "gelu": lambda m, x: m.unary("GELU", x, scaled(m, x, 0.5), -118, gelu(False)),
    "gelu tanh": lambda m, x: m.unary("GELU", x, scaled(m, x, 0.9), -70, gelu(True)),
}


def prelu(m: TfliteModel, x: int, slopes: np.ndarray, scale: float, zero: int, factor: float = 0.8) -> int:
    """slopes: int8, of one scale and zero point."""
    alpha = m.tensor(slopes.shape, "int8", [scale], [zero], slopes.astype(np.int8), name="model/prelu/alpha")
    return m.op("PRELU", [x, alpha], m.shape(x), scaled(m, x, factor), -13)


PRELUS: dict[str, Callable[[TfliteModel], int]] = {
    "a slope a channel": lambda m: prelu(m, fill(m), m.rng.integers(-127, 128, (1, 1, 6)), 0.004, 0),
    "with a zero point": lambda m: prelu(m, fill(m), m.rng.integers(-128, 128, (1, 1, 6)), 0.003, -100, 1.7),
    "one slope": lambda m: prelu(m, fill(m), np.full((1, 1, 1), 50), 0.005, 3),
    "of a vector": lambda m: prelu(m, m.dense(fill(m), 40), m.rng.integers(-127, 128, 40), 0.004, 0),
    "steep": lambda m: prelu(m, fill(m), np.array([[[127, -127, 1, 0, 90, -3]]]), 0.05, 0, 3.0),
}


@pytest.mark.parametrize("kind", PRELUS)
def test_prelu_computes_what_tflite_computes(kind: str, tmp_path: Path) -> None:
    m = TfliteModel(6)
    path = m.save(tmp_path, PRELUS[kind](m))
    model = load(path, loss="mse")
    assert ops_of(model)[-1][0] == "qprelu"
    assert_equal(path, lambda x: evaluate(model, x), images(12, model.input_shape))


def test_slopes_that_differ_by_place(tmp_path: Path) -> None:
    m = TfliteModel()
    path = m.save(tmp_path, prelu(m, fill(m), np.ones((7, 9, 6)), 0.01, 0))
    with pytest.raises(ModelError, match=r"PRELU prelu: slopes of shape \[7, 9, 6\] for 6 channels; share them over"):
        load(path, loss="mse")


def network(m: TfliteModel, function: str) -> int:
    """The function of an image, and of a vector behind a product."""
    y = FUNCTIONS[function](m, fill(m))
    y = m.dense(m.reshape(y, [1, 378]), 12, name="model/dense")
    return FUNCTIONS[function](m, y)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_computes_what_tflite_computes(function: str, tmp_path: Path) -> None:
    m = TfliteModel(5)
    y = network(m, function)
    path = m.save(tmp_path, m.dense(y, 10, name="model/last"))
    model = load(path, loss="mse")
    assert [op for op, _ in ops_of(model)] == ["qconv2d", "lookup", "qconv2d", "lookup", "qconv2d"]
    # the reference kernels have no int8 ELU; the ordinary one is all there is
    kernels = {"resolver": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES} if function == "elu" else {}
    assert_equal(path, lambda x: evaluate(model, x), images(12, model.input_shape), **kernels)


def test_in_emitted_c(tmp_path: Path) -> None:
    m = TfliteModel(5)
    y = fill(m)
    for function in FUNCTIONS:
        if function != "elu":
            y = m.conv(FUNCTIONS[function](m, y), 6, (1, 1), name=f"model/behind/{function.replace(' ', '_')}")
    y = prelu(m, y, m.rng.integers(-127, 128, (1, 1, 6)), 0.004, 0)
    path = m.save(tmp_path, m.dense(y, 10, name="model/last"))
    artifact = mcutrain.compile(load(path), "inference", budget="1MB", out=tmp_path / "out", seconds=1.0)
    twin = mcutrain.host(artifact.directory)
    assert_equal(path, twin.infer, images(12, (1, 7, 9, 4)))


def test_gradients_equal_pytorch(tmp_path: Path) -> None:
    """Through tables and PReLU: those of PyTorch with straight-through rounding and the functions' own derivatives."""
    m = TfliteModel(8)
    y = fill(m, (1, 4, 4, 4))
    for function in ("hard swish", "leaky", "gelu", "tanh"):
        y = m.conv(FUNCTIONS[function](m, y), 6, (1, 1), name=f"model/behind/{function.replace(' ', '_')}")
    y = prelu(m, y, m.rng.integers(-127, 128, (1, 1, 6)), 0.004, 0)
    model = load(m.save(tmp_path, m.dense(y, 5, name="model/last")))
    artifact = mcutrain.compile(model, "full", budget="1MB", out=tmp_path / "out", seconds=1.0)
    twin = mcutrain.host(artifact.directory)
    for label, x in enumerate(images(2, model.input_shape)):
        _, expected = gradients(model, x, label)
        found = twin.gradients(x, label)
        for name, theirs in expected.items():
            np.testing.assert_allclose(found[name], theirs, atol=1e-4 * np.abs(theirs).max(), err_msg=name)
        assert all(np.any(found[f"{layer.name}.weight"]) for layer in model.layers)


def test_a_logistic_is_taken_off_at_the_end_alone(tmp_path: Path) -> None:
    m = TfliteModel(5)
    gate = m.unary("LOGISTIC", m.dense(fill(m), 6), 1 / 256, -128)
    logits = m.dense(gate, 3, name="model/last")
    model = load(m.save(tmp_path, m.unary("LOGISTIC", logits, 1 / 256, -128)))
    assert [op for op, _ in ops_of(model)] == ["qconv2d", "qconv2d", "lookup", "qconv2d"]
    assert model.loss == "binary_cross_entropy"


def test_scales_that_tflite_refuses(tmp_path: Path) -> None:
    m = TfliteModel()
    x = fill(m)
    path = m.save(tmp_path, m.unary("HARD_SWISH", x, scaled(m, x, 0.001), 0))
    with pytest.raises(ModelError, match=r"HARD_SWISH hard_swish: the scales .* do not fit a HARD_SWISH; convert"):
        load(path, loss="mse")
    m = TfliteModel()
    path = m.save(tmp_path, m.unary("LEAKY_RELU", fill(m)))
    with pytest.raises(ModelError, match="LEAKY_RELU leaky_relu: its options are missing in the file"):
        load(path, loss="mse")
