"""Functions of each number alone against TFLite's reference kernels, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import OpResolverType

import mcutrain
from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.tflite.load import load
from tests.tvm_ext.importers.dialect_numpy import evaluate
from tests.tvm_ext.importers.tflite.test_tflite import assert_equal, fill, ops_of, scaled
from tests.tvm_ext.importers.tflite.tflite_models import TfliteModel, images


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
    path = m.save(tmp_path, m.dense(y, 10, name="model/last"))
    artifact = mcutrain.compile(load(path), "inference", budget="1MB", out=tmp_path / "out", seconds=1.0)
    twin = mcutrain.host(artifact.directory)
    assert_equal(path, twin.infer, images(12, (1, 7, 9, 4)))


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
