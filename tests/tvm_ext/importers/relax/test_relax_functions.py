"""Arithmetic with constants, functions of each number, and PReLU of Relax modules, against TVM's own execution."""

from __future__ import annotations

import numpy as np
import pytest
from tvm import relax
from tvm.relax import op as R

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import op_name
from mcutrain.tvm_ext.function import bindings_of
from mcutrain.tvm_ext.importers.relax.load import load
from tests.tvm_ext.importers.dialect_eval import evaluate
from tests.tvm_ext.importers.relax.relax_modules import RNG, executed, module, values, var
from tests.tvm_ext.support.torch_dialect import outputs


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_arithmetic_with_a_constant_a_channel(layout: str) -> None:
    """Before a convolution, and behind it, where the layer takes it over."""
    (weight,), nhwc = values((4, 3, 1, 1)), layout == "NHWC"
    x, shift = var("image", [1, 5, 5, 3] if nhwc else [1, 3, 5, 5]), np.array([0.1, -0.2, 0.3, 0.4], np.float32)

    def build(b: relax.BlockBuilder) -> relax.Expr:
        y = b.emit(R.divide(b.emit(R.subtract(x, relax.const(0.5, "float32"))), relax.const(0.25, "float32")))
        kernel = relax.const(np.ascontiguousarray(weight.transpose(2, 3, 1, 0) if nhwc else weight))
        y = b.emit(R.nn.conv2d(y, kernel, data_layout=layout, kernel_layout="HWIO" if nhwc else "OIHW"))
        own = relax.const(shift if nhwc else shift.reshape(4, 1, 1))
        return b.emit(R.add(b.emit(R.multiply(b.emit(R.subtract(own, y)), own)), relax.const(1.5, "float32")))

    m, image = module([x], build), RNG.normal(size=(1, 5, 5, 3)).astype(np.float32)
    model = load(m, loss="mse")
    fed = image if nhwc else np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    expected = executed(m, fed) if nhwc else executed(m, fed).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(outputs(model, image).reshape(expected.shape), expected, atol=1e-5)


def scalar(value: float) -> relax.Expr:
    return relax.const(value, "float32")


FUNCTIONS = {
    "leaky_relu": lambda b, x: R.nn.leakyrelu(x, 0.2),
    "gelu": lambda b, x: R.nn.gelu(x),
    "gelu_tanh": lambda b, x: R.nn.gelu_tanh(x),
    "silu": lambda b, x: R.nn.silu(x),
    "tanh": lambda b, x: R.tanh(x),
    "sigmoid": lambda b, x: R.sigmoid(x),
    "hard_swish": lambda b, x: R.divide(
        b.emit(R.multiply(x, b.emit(R.clip(b.emit(R.add(x, scalar(3.0))), 0, 6)))), scalar(6.0)
    ),
    "hard_sigmoid": lambda b, x: R.clip(
        b.emit(R.add(b.emit(R.multiply(x, scalar(1 / 6))), scalar(0.5))), 0, 1
    ),
    "gelu with erf": lambda b, x: R.multiply(
        b.emit(R.multiply(x, scalar(0.5))),
        b.emit(R.add(b.emit(R.erf(b.emit(R.multiply(x, scalar(0.5**0.5))))), scalar(1.0))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_of_each_number(function: str, layout: str) -> None:
    (weight,), nhwc = values((4, 3, 3, 3)), layout == "NHWC"
    x = var("image", [1, 7, 7, 3] if nhwc else [1, 3, 7, 7])

    def build(b: relax.BlockBuilder) -> relax.Expr:
        kernel = relax.const(np.ascontiguousarray(4 * (weight.transpose(2, 3, 1, 0) if nhwc else weight)))
        y = b.emit(R.nn.conv2d(x, kernel, data_layout=layout, kernel_layout="HWIO" if nhwc else "OIHW"))
        return R.nn.max_pool2d(b.emit(FUNCTIONS[function](b, y)), pool_size=2, layout=layout)

    m, image = module([x], build), RNG.normal(size=(1, 7, 7, 3)).astype(np.float32)
    model = load(m, loss="mse")
    behind = [] if function == "hard_sigmoid" else ["factivation"]  # that is a clamp, which the convolution takes over
    assert [op_name(c) for _, c in bindings_of(model.module["main"])][:-1] == ["fconv2d", *behind, "max_pool"]
    fed = image if nhwc else np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    expected = executed(m, fed) if nhwc else executed(m, fed).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(evaluate(model, image).reshape(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_prelu(layout: str) -> None:
    (weight,), nhwc = values((4, 3, 3, 3)), layout == "NHWC"
    x, slopes = var("image", [1, 7, 7, 3] if nhwc else [1, 3, 7, 7]), np.array([0.1, -0.2, 1.5, 0], np.float32)

    def build(b: relax.BlockBuilder) -> relax.Expr:
        kernel = relax.const(np.ascontiguousarray(weight.transpose(2, 3, 1, 0) if nhwc else weight))
        y = b.emit(R.nn.conv2d(x, kernel, data_layout=layout, kernel_layout="HWIO" if nhwc else "OIHW"))
        return R.nn.prelu(y, relax.const(slopes), 3 if nhwc else 1)

    m, image = module([x], build), RNG.normal(size=(1, 7, 7, 3)).astype(np.float32)
    model = load(m, loss="mse")
    fed = image if nhwc else np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    expected = executed(m, fed) if nhwc else executed(m, fed).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(evaluate(model, image), expected, atol=1e-5)
    wrong = module([x], lambda b: R.nn.prelu(x, relax.const(np.ones(7, np.float32)), 2))
    with pytest.raises(ModelError, match="slopes along axis 2; only along the channels"):
        load(wrong, loss="mse")
