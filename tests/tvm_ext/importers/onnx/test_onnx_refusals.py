"""ONNX files that are refused, each with its message, and mutants of ONNX files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.planner.errors import ModelError
from tests.tvm_ext.importers.graph.qdq_cases import begin, classifier
from tests.tvm_ext.importers.onnx.onnx_models import Net, imported, unrun


def flat(net: Net, *ops: tuple, **attrs: object) -> str:
    x = begin(net)
    for op, *inputs in ops:
        x = net.op(op, x, *inputs, **attrs)
    return net.qdq(x, 0.04)


def transposed(net: Net) -> str:
    return net.qdq(net.op("GlobalAveragePool", net.op("Transpose", begin(net), perm=[0, 2, 1, 3])), 0.04)


def padded(net: Net) -> str:
    return flat(net, ("Pad", net.const([0] * 3 + [1] * 5, "int64"), net.const(2.0)))


def grouped(net: Net) -> str:
    weight = net.weight((4, 2, 3, 3))
    return net.qdq(net.op("Conv", begin(net), weight, group=2), 0.04)


def asymmetric_weight(net: Net) -> str:
    x, ints = begin(net), net.const(np.ones((4, 4, 1, 1)), "int8")
    return net.qdq(net.op("Conv", x, net.op("DequantizeLinear", ints, net.const(0.1), net.const(5, "int8"))), 0.04)


def float_weight(net: Net) -> str:
    return net.qdq(net.op("Conv", begin(net), net.const(np.ones((4, 4, 1, 1)))), 0.04)


def unquantised_middle(net: Net) -> str:
    x = begin(net)
    y = net.conv(x, 4, 4, (1, 1), quantise=False)
    return net.qdq(net.op("Conv", y, net.weight((2, 4, 1, 1))), 0.04)


def quantised_late(net: Net) -> str:
    return net.qdq(net.op("Sub", "x", net.const(1.0)), 0.04)


def two_ways(net: Net) -> str:
    y = net.conv(begin(net), 4, 4, (1, 1), quantise=False)
    return net.qdq(net.op("Add", net.qdq(y, 0.1), net.qdq(y, 0.2)), 0.1)


def mismatched(net: Net) -> str:
    y = net.conv(begin(net), 4, 4, (1, 1))
    return net.op("DequantizeLinear", net.nodes[-2].output[0], net.const(9.0), net.const(0, "int8")) if y else ""


def scale_of(value: float) -> Callable[[Net], str]:
    return lambda net: net.qdq(net.conv(begin(net), 4, 4, (1, 1), quantise=False), value)


REFUSALS = {
    "groups": (grouped, "Conv conv: 2 groups of 4 channels and 4 filters; only groups == channels == filters"),
    "asymmetric": (asymmetric_weight, r"int8 weights with zero point \[5\]; quantise weights symmetrically"),
    "float_weight": (float_weight, "float32 weights on int8 activations; quantise the weights, too"),
    "middle": (
        unquantised_middle,
        "conv_1: its input is not quantised; put a QuantizeLinear and a Deq",
    ),
    "late": (quantised_late, "quantises what was computed in float32; quantise all operators, or none"),
    "two_ways": (two_ways, "the result of conv is quantised in two ways; quantise it once"),
    "mismatched": (mismatched, "reads scale 9, zero point 0; what it reads was written with"),
    "zero_scale": (scale_of(0.0), "the scale 0 is no positive finite number"),
    "nan_scale": (scale_of(np.nan), "the scale nan is no positive finite number"),
    "tiny_scale": (scale_of(1e-12), "do not fit each other; quantise anew"),
    "multiply": (
        lambda n: n.qdq(n.op("Mul", x := begin(n), n.conv(x, 4, 4, (1, 1))), 1),
        "Mul of two activations; only with a constant a ch",
    ),
    "batch": (lambda n: flat(n, ("Reshape", n.const([4, -1], "int64"))), r"reshapes \(1, 4, 8, 8\) to \(4, 64\)"),
    "transposed": (transposed, "its input has the axes NHCW"),
    "all_axes": (lambda n: flat(n, ("ReduceMean",)), "a mean over all axes; name the axes of the image"),
    "channels": (lambda n: flat(n, ("ReduceMean", n.const([1], "int64"))), "only over the image"),
    "pad": (padded, "pads by constant 2; only by constant 0"),
    "dilation": (lambda n: n.conv(begin(n), 4, 2, (3, 3), dilations=[2, 2]), r"dilation \[2, 2\]; train it without"),
    "softmax": (lambda n: n.conv(flat(n, ("Softmax",)), 4, 2, (1, 1)), "Softmax softmax: .*last operator alone"),
    "unquantised": (
        lambda n: classifier(n, quantise=False),
        "its output is not quantised; quantise it, too, or",
    ),
    "image": (lambda n: n.conv(begin(n), 4, 2, (1, 1)), r"its output is an image \[8, 8, 2\]; use the loss mse"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(case: str, tmp_path: Path) -> None:
    build, message = REFUSALS[case]
    net = Net((1, 4, 8, 8))
    loss = None if case in ("image", "unquantised") else "mse"
    with pytest.raises(ModelError, match=message):
        imported(unrun(net, build(net)), tmp_path, loss=loss)


def test_all_problems_at_once(tmp_path: Path) -> None:
    net = Net((1, 4, 8, 8), None)
    x = net.op("Mish", net.conv("x", 4, 4, (3, 3), name="/stem/Conv"), name="/stem/act/Mish")
    y = net.op("LSTM", net.conv("x", 4, 4, (3, 3), dilations=[2, 1]), x, x)
    with pytest.raises(ModelError) as caught:
        imported(unrun(net, net.op("Add", x, y)), tmp_path)
    message = str(caught.value)
    assert "net.onnx: 3 problems in the network" in message
    known = "use one of Relu, Clip, HardSwish, HardSigmoid, LeakyRelu, Elu, Tanh, Gelu, Sigmoid, Swish, PRelu"
    assert f"Mish stem.act.mish: the operator is not supported; {known}" in message
    assert "Conv conv: dilation [2, 1]; train it without dilation" in message
    assert "LSTM lstm: the operator is not supported; only feed-forward networks" in message  # behind both
    assert "Traceback" not in message


@pytest.mark.parametrize("dtype", [None, "int8"])
def test_a_chain_of_problems(dtype: str | None, tmp_path: Path) -> None:
    """Behind a refused operator the shapes that ONNX infers stand in, of a float32 network and of a quantised one; what
    is right there is not called a problem."""
    net = Net((1, 4, 8, 8), dtype)

    def quantised(x: str) -> str:
        return net.qdq(x, 0.04) if dtype else x

    weight = net.const(np.ones((4, 2, 3, 3)))
    x = quantised(net.op("Mish", quantised("x")))
    x = quantised(net.op("Conv", x, weight if dtype is None else net.weight((4, 2, 3, 3)), group=2))
    x = quantised(net.op("Softplus", net.conv(net.conv(x, 4, 6, (1, 1)), 6, 6, (3, 3), group=6)))
    out = net.conv(x, 6, 3, (3, 3), dilations=[2, 2])
    with pytest.raises(ModelError) as caught:
        imported(unrun(net, out), tmp_path)
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["Mish", "Conv", "Softplus", "Conv"]
    assert "2 groups of 4 channels" in lines[2] and "dilation [2, 2]" in lines[4]
