"""Small networks of each operator family, for tests of importers: QDQ, QLinear operators, float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.tvm_ext.importers.onnx.onnx_models import MIDDLE, Net

STEP = 0.04  # of inputs: real numbers of standard deviation 1 over int8


def begin(net: Net) -> str:
    return net.qdq("x", STEP)


def hidden(net: Net) -> str:
    """Behind a layer of 4 channels."""
    return net.conv(begin(net), 4, 4, (1, 1))


def classifier(net: Net, end: str = "", quantise: bool = True) -> str:
    """A convolution, a pool, a fully connected layer of 5 outputs, and what stands behind."""
    x = net.conv(begin(net) if net.dtype else "x", 4, 6, (3, 3))
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x))
    if net.dtype:
        pooled = net.qdq(pooled, 0.3)
        y = net.op("Gemm", pooled, net.weight((5, 6)), net.bias(pooled, 5), transB=1)
        y = net.qdq(y, net.spread(pooled, 6), 3) if quantise else y
    else:
        y = net.op("Gemm", pooled, net.const(net.rng.normal(size=(6, 5))))
    y = net.op(end, y) if end else y
    return net.qdq(y, 1 / 256, -128) if end and net.dtype else y


def two_branches(net: Net) -> tuple[str, str]:
    """Two activations of 6 channels with scales of their own."""
    x = begin(net)
    return net.conv(x, 4, 6, (1, 1)), net.conv(x, 4, 6, (3, 3), pads=[1, 1, 1, 1])


def conv(**options: object) -> Callable[[Net], str]:
    return lambda net: net.conv(begin(net), 4, 6, options.pop("kernel", (3, 3)), **dict(options))


def conv_clip(net: Net) -> str:
    x = begin(net)
    y = net.conv(x, 4, 6, (3, 3), quantise=False)
    y = net.op("Clip", y, net.const(-3.1), net.const(4.7))
    return net.qdq(y, net.spread(x, 36))


def conv_relu_pool(net: Net) -> str:
    """The quantisation stands behind the pool, and belongs to the convolution all the same."""
    x = begin(net)
    y = net.op("Relu", net.conv(x, 4, 6, (3, 3), quantise=False))
    return net.qdq(net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), net.spread(x, 36))


def residual(net: Net) -> str:
    a, b = two_branches(net)
    return net.qdq(net.op("Relu", net.op("Add", a, b)), net.scales[b] * 1.3)


def concat(net: Net) -> str:
    a, b = two_branches(net)
    c = net.op("MaxPool", b, kernel_shape=[1, 1])
    return net.qdq(net.op("Concat", a, b, c, axis=1), net.scales[b] * 1.1)


def pool(op: str, **attrs: object) -> Callable[[Net], str]:
    return lambda net: net.qdq(net.op(op, hidden(net), **attrs), 0.7)


def mean(keepdims: int) -> Callable[[Net], str]:
    axes, scale = [2, 3], 0.2
    return lambda net: net.qdq(net.op("ReduceMean", hidden(net), net.const(axes, "int64"), keepdims=keepdims), scale)


def pool_unchanged(net: Net) -> str:
    """Behind the pool stands the quantisation before it."""
    x = hidden(net)
    return net.dq(net.op("QuantizeLinear", net.op("GlobalAveragePool", x), *net.steps), net.scales[x])


def pool_halves(net: Net) -> str:
    """Means that are halves (exactly, with a scale of a power of 2), and an odd zero point: they are rounded by their
    distance from it."""
    steps = net.const(1 / 32), net.const(MIDDLE[net.dtype] - 17, net.dtype)
    x = net.op("DequantizeLinear", net.op("QuantizeLinear", "x", *steps), *steps)
    weight = net.op("DequantizeLinear", net.const(np.eye(4).reshape(4, 4, 1, 1) + MIDDLE[net.dtype], net.dtype),
                    net.const(1.0), net.const(MIDDLE[net.dtype], net.dtype))  # fmt: skip
    x = net.op("DequantizeLinear", net.op("QuantizeLinear", net.op("Conv", x, weight), *steps), *steps)
    y = net.op("AveragePool", x, kernel_shape=[2, 1], strides=[2, 1])
    return net.op("DequantizeLinear", net.op("QuantizeLinear", y, *steps), *steps)


def concat_pool(net: Net) -> str:
    """Between the concatenation and the pool nothing is quantised."""
    a, b = two_branches(net)
    y = net.op("AveragePool", net.op("Concat", a, b, axis=1), kernel_shape=[2, 2])
    return net.qdq(y, net.scales[b] * 0.613)


def gemm(trans: int, per_channel: bool) -> Callable[[Net], str]:
    def build(net: Net) -> str:
        x = net.op("Flatten", begin(net))
        net.scales[x] = STEP
        weight = net.weight((5, 288) if trans else (288, 5), 1 - trans, per_channel)
        return net.qdq(net.op("Gemm", x, weight, net.bias(x, 5), transB=trans), net.spread(x, 288))

    return build


def matmul_add(net: Net) -> str:
    x = net.op("Reshape", begin(net), net.const([1, -1], "int64"))
    net.scales[x] = STEP
    y = net.op("MatMul", x, net.weight((288, 5), 1))
    return net.qdq(net.op("Add", y, net.const(net.rng.normal(size=5) * 30)), net.spread(x, 288))


def transposed_weight(net: Net) -> str:
    """A weight that is quantised and turned in the graph."""
    x = net.op("Flatten", begin(net))
    net.scales[x], net.w_scales = STEP, np.full(1, 0.01, np.float32)
    real = net.const(net.rng.uniform(-1, 1, (5, 288)))
    steps = net.const(0.01), net.const(MIDDLE[net.dtype], net.dtype)
    weight = net.op("DequantizeLinear", net.op("QuantizeLinear", real, *steps), *steps)
    return net.qdq(net.op("MatMul", x, net.op("Transpose", weight, perm=[1, 0])), net.spread(x, 288))


def channels_last_inside(net: Net) -> str:
    """Flattened channels-last."""
    x = net.op("Transpose", net.conv(begin(net), 4, 6, (3, 3)), perm=[0, 2, 3, 1])
    net.scales[x] = list(net.scales.values())[-1]
    x = net.qdq(net.op("Flatten", x), net.scales[x], 0)
    return net.qdq(net.op("Gemm", x, net.weight((5, 6 * 42), 0), transB=1), net.spread(x, 288))


def padded(net: Net) -> str:
    x = net.qdq(net.op("Pad", begin(net), net.const([0, 0, 1, 0, 0, 0, 2, 1], "int64")), STEP)
    return net.conv(x, 4, 6, (3, 3))


def batch_norm(net: Net) -> str:
    x = begin(net)
    y = net.conv(x, 4, 6, (3, 3), quantise=False)
    gamma = np.array([1.0, -0.5, 2, 0.3, -1.5, 1])
    numbers = (gamma, net.rng.normal(size=6), net.rng.normal(size=6), net.rng.uniform(0.5, 2, 6))
    return net.qdq(net.op("BatchNormalization", y, *(net.const(n) for n in numbers)), net.spread(x, 36) * 1.5)


def batch_norm_alone(net: Net) -> str:
    numbers = (net.rng.uniform(-2, 2, 4), net.rng.normal(size=4), net.rng.normal(size=4), net.rng.uniform(0.5, 2, 4))
    y = net.op("BatchNormalization", begin(net), *(net.const(n) for n in numbers))
    return net.qdq(net.op("Relu", y), STEP * 1.5)


def sequence(net: Net) -> str:
    """One axis, two convolutions, the image axis given back at the end."""
    x = net.conv(begin(net), 4, 6, (5,), pads=[2, 2], strides=[2])
    x = net.conv(x, 6, 6, (3,), group=6, after="Relu", auto_pad="SAME_LOWER")
    scale = net.scales[x]
    y = net.op("Unsqueeze", x, net.const([2], "int64"))
    net.scales[y] = scale
    return net.conv(y, 6, 3, (1, 2))


def relu_alone(net: Net) -> str:
    x = hidden(net)
    return net.qdq(net.op("Relu", x), net.scales[x] * 0.7)


def relu_unquantised(net: Net) -> str:
    """Behind the Relu stands no quantisation: its result has the one before it."""
    x = net.op("Relu", begin(net))
    net.scales[x] = STEP
    return net.conv(x, 4, 6, (3, 3))


def scaled(net: Net) -> str:
    factor, shift = (net.const(net.rng.uniform(0.5, 2, (1, 4, 1, 1))) for _ in range(2))
    y = net.op("Div", net.op("Sub", begin(net), shift), factor)
    return net.qdq(y, STEP)


QDQ = {
    "conv": conv(pads=[1, 1, 1, 1]),
    "conv_per_tensor": conv(per_channel=False, strides=[2, 1]),
    "conv_relu": conv(after="Relu", pads=[0, 1, 2, 1]),
    "conv_same_upper": conv(auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv_same_lower": conv(kernel=(2, 4), auto_pad="SAME_LOWER"),
    "conv_clip": conv_clip,
    "conv_relu_pool": conv_relu_pool,
    "depthwise": lambda net: net.conv(begin(net), 4, 4, (3, 3), group=4, strides=[2, 2], pads=[1, 1, 0, 0]),
    "residual": residual,
    "concat": concat,
    "average_pool": pool("AveragePool", kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1]),
    "average_pool_counts": pool("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "global_average_pool": pool("GlobalAveragePool"),
    "pool_unchanged": pool_unchanged,
    "pool_halves": pool_halves,
    "concat_pool": concat_pool,
    "max_pool": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "max_pool_ceil": pool("MaxPool", kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1),
    "mean": mean(0),
    "mean_keepdims": mean(1),
    "gemm": gemm(1, True),
    "gemm_plain": gemm(0, False),
    "matmul_add": matmul_add,
    "transposed_weight": transposed_weight,
    "channels_last_inside": channels_last_inside,
    "padded": padded,
    "batch_norm": batch_norm,
    "batch_norm_alone": batch_norm_alone,
    "relu_alone": relu_alone,
    "relu_unquantised": relu_unquantised,
    "scaled": scaled,
}


def float_net(net: Net) -> str:
    y = net.conv("x", 4, 8, (3, 3), pads=[1, 1, 1, 1])
    numbers = (net.rng.normal(size=8), net.rng.normal(size=8), net.rng.normal(size=8), net.rng.uniform(0.5, 2, 8))
    y = net.op("Relu", net.op("BatchNormalization", y, *(net.const(n) for n in numbers), epsilon=1e-3))
    z = net.op("Clip", net.conv(y, 8, 8, (3, 3), group=8, pads=[1, 1, 1, 1]), net.const(0.0), net.const(1.0))
    y = net.op("Concat", net.op("Add", y, z), net.op("Relu", z), axis=1)
    y = net.op("MaxPool", y, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    y = net.op("AveragePool", net.op("Relu", y), kernel_shape=[2, 2], pads=[1, 0, 0, 1])
    y = net.op("Mul", y, net.const(net.rng.normal(size=(16, 1, 1))))
    y = net.op("Flatten", net.op("Dropout", y))
    weight, bias = net.const(net.rng.normal(size=(16 * 16, 7)) / 20), net.const(net.rng.normal(size=(1, 7)))
    y = net.op("Add", net.op("MatMul", y, weight), bias)
    y = net.op("BatchNormalization", y, *(net.const(net.rng.uniform(0.5, 2, 7)) for _ in range(4)))
    weight, bias = net.const(net.rng.normal(size=(3, 7))), net.const(net.rng.normal(size=3))
    return net.op("Gemm", net.op("Relu", y), weight, bias, transB=1)
