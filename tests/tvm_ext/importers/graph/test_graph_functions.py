"""Functions of each number alone, as ONNX writes them in one operator or in many, against onnxruntime."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.dialect import op_name
from mcutrain.tvm_ext.function import bindings_of
from mcutrain.tvm_ext.model import NETWORK, Model
from tests.tvm_ext.importers.graph.qdq_cases import begin, hidden
from tests.tvm_ext.importers.onnx.onnx_models import MIDDLE, Net, differences, imported, unrun

Between = Callable[[str, float], str]  # quantises a result that lies in [-range, range], or leaves it


def op(name: str, **attrs: object) -> Callable[[Net, str, Between], str]:
    return lambda net, x, _: net.op(name, x, **attrs)


def silu(net: Net, x: str, q: Between) -> str:
    return net.op("Mul", x, q(net.op("Sigmoid", x), 1))


def gated(net: Net, x: str, q: Between) -> str:
    return net.op("Mul", x, q(net.op("HardSigmoid", x, alpha=1 / 6, beta=0.5), 1))


def clipped(net: Net, x: str, q: Between) -> str:
    """Hard-swish as it is written where there is no operator for it."""
    y = net.op("Clip", q(net.op("Add", x, net.const(3.0)), 9), net.const(0.0), net.const(6.0))
    return net.op("Div", q(net.op("Mul", x, q(y, 6)), 40), net.const(6.0))


def with_erf(net: Net, x: str, q: Between) -> str:
    y = q(net.op("Erf", q(net.op("Div", x, net.const(math.sqrt(2))), 5)), 1)
    y = q(net.op("Mul", x, q(net.op("Add", y, net.const(1.0)), 2)), 14)
    return net.op("Mul", y, net.const(0.5))


def with_tanh(net: Net, x: str, q: Between) -> str:
    return approximated(net, x, q(net.op("Mul", q(net.op("Mul", x, x), 49), x), 343), q)


def with_power(net: Net, x: str, q: Between) -> str:
    return approximated(net, x, q(net.op("Pow", x, net.const(3.0)), 343), q)


def approximated(net: Net, x: str, cube: str, q: Between) -> str:
    y = q(net.op("Add", x, q(net.op("Mul", cube, net.const(0.044715)), 16)), 23)
    y = q(net.op("Tanh", q(net.op("Mul", y, net.const(math.sqrt(2 / math.pi))), 19)), 1)
    half = q(net.op("Mul", net.const(0.5), x), 4)
    return net.op("Mul", half, q(net.op("Add", y, net.const(1.0)), 2))


# the function's name where float32 networks have it
FUNCTIONS: dict[str, tuple[Callable[[Net, str, Between], str], str]] = {
    "HardSwish": (op("HardSwish"), "hard_swish"),
    "HardSigmoid": (op("HardSigmoid", alpha=0.15, beta=0.4), "hard_sigmoid"),
    "LeakyRelu": (op("LeakyRelu", alpha=0.2), "leaky_relu"),
    "Elu": (op("Elu", alpha=0.8), "elu"),
    "Tanh": (op("Tanh"), "tanh"),
    "Sigmoid": (op("Sigmoid"), "sigmoid"),
    "Gelu": (op("Gelu"), "gelu"),
    "Gelu tanh": (op("Gelu", approximate="tanh"), "gelu_tanh"),
    "silu": (silu, "silu"),
    "gated": (gated, "hard_swish"),
    "clipped": (clipped, "hard_swish"),
    "with erf": (with_erf, "gelu"),
    "with tanh": (with_tanh, "gelu_tanh"),
    "with power": (with_power, "gelu_tanh"),
}
GATE = (1 / 256, -128)
CHAINS = ("silu", "gated", "clipped", "with erf", "with tanh", "with power")


def ops_of(model: Model) -> list[str]:
    return [name for name in map(op_name, (c for _, c in bindings_of(model.module[NETWORK]))) if name]


def quantised(net: Net, function: str, between: Between) -> str:
    """A convolution whose result lies in about [-7, 7], and the function of it."""
    x = net.conv(begin(net), 4, 4, (1, 1), quantise=False)
    x = net.qdq(x, 0.055)
    return net.qdq(FUNCTIONS[function][0](net, x, between), 0.0313)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name != "Sigmoid"])
def test_between_quantisations_it_is_a_table(function: str, dtype: str, tmp_path: Path) -> None:
    net = Net((1, 4, 9, 8), dtype, seed=len(function))
    model = net.model(quantised(net, function, lambda y, _: y), "float32")
    ours = imported(model, tmp_path, loss="mse")
    assert ops_of(ours) == ["qconv2d", "lookup"]
    wrong = differences(model, ours, as_written=True)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.98


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("function", CHAINS)
def test_a_chain_with_quantisation_between_its_parts_is_one_table(function: str, dtype: str, tmp_path: Path) -> None:
    net = Net((1, 4, 9, 8), dtype, seed=len(function))

    def between(y: str, reach: float) -> str:
        """In scales that are no multiples of each other: at halves, float32 decides."""
        return net.qdq(y, float(np.float32(reach / 127 * net.rng.uniform(1, 1.1))), 0)

    model = net.model(quantised(net, function, between), "float32")
    ours = imported(model, tmp_path, loss="mse")
    assert ops_of(ours) == ["qconv2d", "lookup"]
    wrong = differences(model, ours, as_written=True)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.98


@pytest.mark.parametrize("function", FUNCTIONS)
def test_in_float32_it_is_one_of_the_builders_functions(function: str, tmp_path: Path) -> None:
    net = Net((1, 4, 9, 8), None, seed=len(function))
    y = FUNCTIONS[function][0](net, net.conv("x", 4, 6, (3, 3)), lambda y, _: y)
    model = net.model(net.conv(y, 6, 3, (1, 1)))
    ours = imported(model, tmp_path, loss="mse")
    assert ops_of(ours) == ["fconv2d", "factivation", "fconv2d"]
    (call,) = [c for _, c in bindings_of(ours.module[NETWORK]) if op_name(c) == "factivation"]
    assert call.attrs["function"] == FUNCTIONS[function][1]
    assert differences(model, ours).max() < 2e-6


def test_functions_behind_each_other(tmp_path: Path) -> None:
    """A clamp joins the table; what several read is there for all of them."""
    net = Net((1, 4, 9, 8), "int8", seed=5)
    x = hidden(net)
    y = net.qdq(net.op("Relu", net.op("Tanh", x)), 1 / 128, 0)
    y = net.qdq(net.op("Add", y, net.qdq(net.op("Elu", y), 1 / 128, 0)), 1 / 64)
    model = net.model(y, "float32")
    wrong = differences(model, imported(model, tmp_path, loss="mse"), as_written=True)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.999
    net = Net((1, 4, 9, 8), None)
    y = net.op("Clip", net.op("HardSwish", net.conv("x", 4, 6, (3, 3))), net.const(-0.2), net.const(1.5))
    y = net.op("Add", net.op("Mul", net.op("Tanh", y), net.const(2.0)), net.op("Sigmoid", y))
    model = net.model(net.conv(y, 6, 3, (1, 1)))
    assert differences(model, imported(model, tmp_path, loss="mse")).max() < 2e-6


def test_vectors(tmp_path: Path) -> None:
    for dtype in ("int8", None):
        net = Net((1, 4, 4, 4), dtype)
        y = hidden(net) if dtype else net.conv("x", 4, 4, (1, 1))
        y = net.op("Tanh", net.op("Flatten", y))
        y = net.qdq(y, 1 / 128, 0) if dtype else y
        if dtype:
            y = net.op("MatMul", y, net.weight((64, 5), 1))
            y = net.qdq(y, 0.05, 3)
        else:
            y = net.op("MatMul", y, net.const(net.rng.normal(size=(64, 5))))
        model = net.model(y, "float32")
        wrong = differences(model, imported(model, tmp_path), as_written=True)
        assert wrong.max() <= (1 if dtype else 1e-5) and np.mean(wrong == 0) >= (0.95 if dtype else 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_qlinear_operators(dtype: str, tmp_path: Path) -> None:
    """Before a convolution; behind it, a QLinearSigmoid ends the network and is taken off."""
    net = Net((1, 4, 8, 8), dtype, input_dtype=dtype)
    x, leaky, gate = ((net.const(s), net.const(z + MIDDLE[dtype], dtype)) for s, z in ((0.03, 3), (0.021, 11), GATE))
    y = net.op("QLinearLeakyRelu", "x", *x, *leaky, domain="com.microsoft", alpha=0.1)
    y = net.op("QLinearSigmoid", y, *leaky, *gate, domain="com.microsoft")
    weight = net.const(net.rng.randint(-63, 64, (6, 4, 3, 3)) + MIDDLE[dtype], dtype)
    steps = net.const(0.01), net.const(MIDDLE[dtype], dtype)
    y = net.op("QLinearConv", y, *gate, weight, *steps, *leaky)
    model = net.model(y)
    ours = imported(model, tmp_path, loss="mse")
    assert ops_of(ours) == ["lookup", "qconv2d"]
    wrong = differences(model, ours)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.99
    model = net.model(net.op("QLinearSigmoid", y, *leaky, *gate, domain="com.microsoft"))
    ours = imported(model, tmp_path)
    assert ops_of(ours) == ["lookup", "qconv2d"] and ours.loss == "binary_cross_entropy"


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1,)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", None])
def test_prelu(dtype: str | None, shape: tuple[int, ...], tmp_path: Path) -> None:
    net = Net((1, 4, 9, 8), dtype, seed=3)
    slopes = net.const(net.rng.uniform(-0.5, 1.5, shape))
    if dtype:
        model = net.model(net.qdq(net.op("PRelu", hidden(net), slopes), 0.61), "float32")
    else:
        model = net.model(net.conv(net.op("PRelu", net.conv("x", 4, 4, (1, 1)), slopes), 4, 3, (1, 1)))
    ours = imported(model, tmp_path, loss="mse")
    assert ops_of(ours)[:2] == (["qconv2d", "qprelu"] if dtype else ["fconv2d", "fprelu"])
    wrong = differences(model, ours, as_written=True)
    assert wrong.max() <= (1 if dtype else 2e-6) and np.mean(wrong == 0) >= (0.99 if dtype else 0)


def test_prelu_of_a_vector_and_with_quantised_slopes(tmp_path: Path) -> None:
    net = Net((1, 12), "int8")
    steps = net.const(0.01), net.const(0, "int8")
    y = net.qdq(net.op("MatMul", begin(net), net.weight((12, 20), 1)), 0.1)
    slopes = net.op("DequantizeLinear", net.const(net.rng.randint(-50, 100, 20), "int8"), *steps)
    y = net.qdq(net.op("PRelu", y, slopes), 0.0713)
    model = net.model(y, "float32")
    wrong = differences(model, imported(model, tmp_path), as_written=True)
    assert wrong.max() <= 1 and np.mean(wrong == 0) >= 0.95


def test_prelu_refusals(tmp_path: Path) -> None:
    for slopes, message in (
        (np.ones((4, 9, 8)), r"prelu: a constant of \(4, 9, 8\) on .* only one number a channel"),
        (np.full((4, 1, 1), np.nan), "prelu: a slope that is not finite; train the model anew"),
    ):
        net = Net((1, 4, 9, 8), None)
        y = net.op("PRelu", net.conv("x", 4, 4, (1, 1)), net.const(slopes))
        with pytest.raises(ModelError, match=message):
            imported(net.model(net.conv(y, 4, 3, (1, 1))), tmp_path, loss="mse")


def test_what_float32_has_no_function_for(tmp_path: Path) -> None:
    net = Net((1, 4, 8, 8), None)
    model = net.model(net.conv(net.op("Erf", net.conv("x", 4, 4, (1, 1))), 4, 3, (1, 1)))
    with pytest.raises(ModelError, match="erf: no function that is known in float32; use one of elu, gelu, "):
        imported(model, tmp_path, loss="mse")
    net = Net((1, 4, 8, 8), "int8")
    model = net.model(net.qdq(net.op("Tanh", net.conv(begin(net), 4, 4, (1, 1), quantise=False)), 1 / 128), "float32")
    with pytest.raises(ModelError, match="tanh: its input is not quantised; put a QuantizeLinear and"):
        imported(model, tmp_path, loss="mse")


def test_swish(tmp_path: Path) -> None:
    """An operator of opset 24; onnxruntime has none, and its chain with a Sigmoid is tested above."""
    for alpha in (1.0, 0.5):
        net = Net((1, 4, 8, 8), None)
        model = unrun(net, net.conv(net.op("Swish", net.conv("x", 4, 4, (1, 1)), alpha=alpha), 4, 3, (1, 1)))
        model.opset_import[0].version, model.ir_version = 24, 11
        if alpha != 1:
            with pytest.raises(ModelError, match=r"swish: alpha 0\.5; use 1, the SiLU"):
                imported(model, tmp_path, loss="mse")
            continue
        calls = [c for _, c in bindings_of(imported(model, tmp_path, loss="mse").module[NETWORK])]
        assert [c.attrs["function"] for c in calls if op_name(c) == "factivation"] == ["silu"]
