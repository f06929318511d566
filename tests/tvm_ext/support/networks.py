"""Small models around one op, whose gradients flow through it to layers that train."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mcutrain.tvm_ext.importers.base.conv_params import ConvParams, FloatConv
from mcutrain.tvm_ext.importers.base.heads import Head, finish
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value, Window
from mcutrain.tvm_ext.model import Model

SHAPE = (1, 6, 6, 4)
Q = Quantisation(0.05, -3)
WINDOW = Window((3, 2), (2, 1), (1, 1, 1, 0))
Layer = Callable[[NetworkBuilder, Value], Value]


def around(layer: Layer, quantised: bool, head: Head | None = None) -> Model:
    """A convolution, the layer under test, and a convolution of everything to four outputs."""
    builder = NetworkBuilder(SHAPE, Q if quantised else None)
    value = layer(builder, conv(builder, "first", builder.input, 4))
    last = conv(builder, "last", value, 4, (value.shape[1], value.shape[2]))
    return finish(builder, "around", last, head or Head(loss="mse"))


def conv(
    b: NetworkBuilder,
    name: str,
    x: Value,
    outputs: int,
    kernel: tuple[int, int] = (1, 1),
    depthwise: bool = False,
    **more: object,
) -> Value:
    """A random convolution, int8 or float32 as x is."""
    rng = np.random.default_rng(len(b.layers))
    inputs = 1 if depthwise else x.shape[3]
    shape, spread = (outputs, inputs, *kernel), 1 / np.sqrt(inputs * kernel[0] * kernel[1])
    if x.quantisation is None:
        weight, bias = rng.normal(0, spread, shape), rng.normal(0, 0.3, outputs)
        arrays = weight.astype(np.float32), bias.astype(np.float32)
        return b.float_conv2d(name, x, FloatConv(*arrays, depthwise=depthwise, **more))
    weight, bias = rng.integers(-127, 128, shape).astype(np.int8), rng.integers(-2000, 2000, outputs).astype(np.int32)
    scales, own = rng.uniform(0.005, 0.02, outputs).astype(np.float32) * np.float32(spread), x.quantisation
    params = ConvParams(weight, bias, scales, own.scale, own.zero, 0.04, 4, depthwise=depthwise, **more)
    return b.conv2d(name, x, params)


def quantised_conv() -> Model:
    """One behind another, with a clamp, a window and a stride; and a depthwise one."""

    def layers(b: NetworkBuilder, x: Value) -> Value:
        x = conv(b, "window", x, 8, (3, 3), stride=(2, 1), padding=(1, 1, 0, 1), lo=-60, hi=70)
        return conv(b, "depthwise", x, 8, (3, 3), depthwise=True, padding=(1, 1, 1, 1))

    return around(layers, True)


def float_conv() -> Model:
    def layers(b: NetworkBuilder, x: Value) -> Value:
        x = conv(b, "window", x, 8, (3, 3), stride=(2, 1), padding=(1, 1, 0, 1), lo=0.0)
        return conv(b, "depthwise", x, 8, (3, 3), depthwise=True, padding=(1, 1, 1, 1), lo=0.0, hi=6.0)

    return around(layers, False)


def quantised_sum() -> Model:
    """Of two convolutions with quantisations of their own."""

    def layers(b: NetworkBuilder, x: Value) -> Value:
        other = b.requantise("other", conv(b, "second", b.input, 4), Quantisation(0.07, 9))
        return b.add("sum", x, other, Quantisation(0.05, -20), lo=-70, hi=60)

    return around(layers, True)


def float_sum() -> Model:
    return around(lambda b, x: b.add("sum", x, conv(b, "second", b.input, 4), None), False)


def requantised() -> Model:
    return around(lambda b, x: b.requantise("op", x, Quantisation(0.07, 9), lo=-50, hi=40), True)


def clipped() -> Model:
    return around(lambda b, x: b.clip("op", x, -0.3, 0.8), False)


def quantised_mean() -> Model:
    return around(lambda b, x: b.mean("op", x), True)


def quantised_average() -> Model:
    return around(lambda b, x: b.avg_pool("op", x, WINDOW, Quantisation(0.03, 2), lo=-60, hi=50), True)


def float_average() -> Model:
    return around(lambda b, x: b.avg_pool("op", x, WINDOW, counts_padding=True), False)


def maximum() -> Model:
    return around(lambda b, x: b.max_pool("op", x, WINDOW), False)


def joined() -> Model:
    return around(lambda b, x: b.concat("op", [x, conv(b, "second", b.input, 3)]), True)


def bordered() -> Model:
    return around(lambda b, x: b.pad("op", x, (1, 0, 2, 1)), True)


def dense() -> Model:
    """The fresh classifier, with random numbers in the place of its zeros."""
    builder = NetworkBuilder(SHAPE, Q)
    value = builder.mean("mean", conv(builder, "first", builder.input, 4))
    model = finish(builder, "dense", value, Head("float", 3))
    rng = np.random.default_rng(0)
    fresh = {n: v for n, v in model.params.items() if n.startswith("classifier.")}
    drawn = {n: rng.normal(0, 0.5, v.shape).astype(np.float32) for n, v in fresh.items()}
    return replace(model, params={**model.params, **drawn})


def cross_entropy() -> Model:
    return around(lambda b, x: x, True, Head(loss="cross_entropy"))


def binary() -> Model:
    return around(lambda b, x: x, True, Head(loss="binary_cross_entropy"))


def mean_squared_error() -> Model:
    return around(lambda b, x: x, False)
