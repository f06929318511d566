"""Networks of QLinear operators, for tests of importers."""

from __future__ import annotations

import numpy as np

from tests.tvm_ext.importers.graph.qdq_cases import STEP
from tests.tvm_ext.importers.onnx.onnx_models import MIDDLE, Net


def qlinear_conv(net: Net) -> str:
    """On the integers of the input itself."""
    scale, zero, weight = net.const(STEP), net.const(3 + MIDDLE[net.dtype], net.dtype), MIDDLE[net.dtype]
    ints = net.const(net.rng.randint(-63, 64, (6, 4, 3, 3)) + weight, net.dtype)
    w = ints, net.const(net.rng.uniform(0.004, 0.02, 6)), net.const(np.full(6, weight), net.dtype)
    net.y = net.const(1.5), net.const(-4 + MIDDLE[net.dtype], net.dtype)
    bias = net.const(net.rng.randint(-9999, 9999, 6), "int32")
    net.x = scale, zero
    return net.op("QLinearConv", "x", scale, zero, *w, *net.y, bias, pads=[1, 1, 1, 1], name="/stem/Conv_quant")


def qlinear_net(net: Net) -> str:
    """A residual block, a pool and a classifier, all of QLinear operators."""
    a = qlinear_conv(net)
    steps = net.const(1.1), net.const(7 + MIDDLE[net.dtype], net.dtype)
    y = net.op("QLinearAdd", a, *net.y, a, *net.y, *steps, domain="com.microsoft")
    joined = net.const(2.3), net.const(MIDDLE[net.dtype], net.dtype)
    y = net.op("QLinearConcat", *joined, y, *steps, a, *net.y, domain="com.microsoft", axis=1)
    local = net.const(1.9), net.const(2 + MIDDLE[net.dtype], net.dtype)
    attrs = {"domain": "com.microsoft", "kernel_shape": [2, 2], "strides": [2, 2]}
    y = net.op("QLinearAveragePool", y, *joined, *local, **attrs)
    pooled = net.const(0.21), net.const(5 + MIDDLE[net.dtype], net.dtype)
    y = net.op("QLinearGlobalAveragePool", y, *local, *pooled, domain="com.microsoft")
    y = net.op("Flatten", y)
    ints = net.const(net.rng.randint(-63, 64, (12, 5)) + MIDDLE[net.dtype], net.dtype)
    weight = ints, net.const(0.01), net.const(MIDDLE[net.dtype], net.dtype)
    hidden = net.const(0.5), net.const(MIDDLE[net.dtype], net.dtype)
    y = net.op("QLinearMatMul", y, *pooled, *weight, *hidden)
    ints = net.const(net.rng.randint(-63, 64, (3, 5)) + MIDDLE[net.dtype], net.dtype)
    weight = ints, net.const([0.01, 0.02, 0.03]), net.const(np.full(3, MIDDLE[net.dtype]), net.dtype)
    out = net.const(0.9), net.const(MIDDLE[net.dtype], net.dtype)
    bias = net.const([100, -50, 20], "int32")
    return net.op("QGemm", y, *hidden, *weight, bias, *out, domain="com.microsoft", transB=1)
