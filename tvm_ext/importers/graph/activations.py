"""Functions that act on each number alone, and those that a loss takes over at the network's end."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, Reader, number, per_channel, whole
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.qlinear import elementwise
from mcutrain.tvm_ext.importers.graph.reals import (
    INF,
    Known,
    Real,
    check_ratio,
    curved,
    int_range,
    narrowed,
    once,
    stored_real,
)
from mcutrain.tvm_ext.ops.activation import Float64

AT_THE_END = "it is supported as the network's last operator alone, where the loss takes it over"


def _relu(state: Import, node: Node) -> Real:
    return _clamped(state.real(node), 0.0, INF)


def _clip(state: Import, node: Node) -> Real:
    """Clip: its ends are attributes or operands, either may be left out."""
    ends = []
    for index, key, default in ((1, "min", -INF), (2, "max", INF)):
        operand = state.optional(node, index, key)
        end = number(node, key, default) if operand is None or operand.size != 1 else float(operand.reshape(-1)[0])
        if math.isnan(end):
            raise LayerError(node.name, f"{key} is no number", "export the model anew")
        ends.append(min(max(end, -INF), INF) if abs(end) < 3e38 else math.copysign(INF, end))
    if ends[0] > ends[1]:
        raise LayerError(node.name, f"clips to [{ends[0]:g}, {ends[1]:g}], which is empty", "export the model anew")
    return _clamped(state.real(node), *ends)


def _clamped(x: Real, lo: float, hi: float) -> Real:
    """x clamped: by whatever makes x."""

    def make(q: Quantisation | None, outer_lo: float, outer_hi: float, name: str) -> Value:
        return x.make(q, *narrowed(lo, hi, outer_lo, outer_hi), name)

    own = x.own if x.own is not None and _is_exact(x.own, lo, hi) else None
    return replace(x.bare, make=make, own=own, curves=tuple(curve.clipped(lo, hi) for curve in x.curves))


def _is_exact(q: Quantisation, lo: float, hi: float) -> bool:
    """Tell whether the ends are numbers of this quantisation, or outside its range."""
    ints = int_range(q, lo, hi)
    for end, steps in zip((lo, hi), ints, strict=True):
        real = (steps - q.zero) * q.scale
        is_outside = (end == lo and end <= (-128 - q.zero) * q.scale) or (end == hi and end >= (127 - q.zero) * q.scale)
        if not is_outside and abs(end - real) > 1e-4 * q.scale:
            return False
    return True


def _function(function: str, **defaults: float) -> Reader:
    """The reader of a function of each number, one of ops.activation.FUNCTIONS. defaults: of its parameters, which are
    attributes of the same names."""

    def read(state: Import, node: Node) -> Real:
        x = state.real(node)
        given = {key: number(node, key, default) for key, default in defaults.items()}
        if not all(map(math.isfinite, given.values())):
            raise LayerError(node.name, "a parameter that is not finite", "export the model anew")
        curves = tuple(curve.through(function, given) for curve in state.curves(x, node.name))

        def applied(q: Quantisation | None, lo: float, hi: float, reader: str) -> Value:
            value = state.network.activation(node.name, x.make(None, -INF, INF, node.name), function, **given)
            return stored_real(state.network, value, x.layout).make(q, lo, hi, reader)

        return curved(state.network, node.name, x, curves, None if x.is_quantised else applied)

    return read


def _erf(state: Import, node: Node) -> Real:
    """The error function: a part of GELU."""
    x = state.real(node)
    curves = tuple(
        curve.mapped(Float64().erf, lambda y: 2 / math.sqrt(math.pi) * np.exp(-y * y))
        for curve in state.curves(x, node.name)
    )
    return curved(state.network, node.name, x, curves, None)


def _power(state: Import, node: Node) -> Real:
    """A whole power: a part of GELU as it is approximated."""
    x, exponent = state.real(node), whole(state.constant(node, 1, "exponent"), node, "exponent")
    if len(exponent) != 1 or not 1 <= exponent[0] <= 8:
        raise LayerError(node.name, f"the power {exponent[:4]}; only one from 1 to 8", "train the model without it")
    (n,) = exponent
    curves = tuple(curve.mapped(lambda y: y**n, lambda y: n * y ** (n - 1)) for curve in state.curves(x, node.name))
    return curved(state.network, node.name, x, curves, None)


def _gelu(state: Import, node: Node) -> Known:
    return _function("gelu_tanh" if node.attrs.get("approximate") == "tanh" else "gelu")(state, node)


def _prelu(state: Import, node: Node) -> Real:
    """PRelu: a slope for all numbers, or one a channel."""
    x = state.real(node)
    slopes = per_channel(node, x, state.constant(node, 1, "slope")).astype(np.float32)
    if not np.all(np.isfinite(slopes)):
        raise LayerError(node.name, "a slope that is not finite", "train the model anew")
    if not x.is_quantised:
        value = state.network.prelu(node.name, x.make(None, -INF, INF, node.name), slopes)
        return state.stored(value, x.layout, node.name)

    def emit(q: Quantisation, lo: int, hi: int) -> Value:
        value = x.ints(node.name)
        for slope in (1.0, float(np.abs(slopes).max())):
            check_ratio(value.steps.scale * slope, q, node.name)
        return state.network.prelu(node.name, value, slopes, q, lo=lo, hi=hi)

    return Real(x.layout, x.shape, once(node.name, emit), True)


def _swish(state: Import, node: Node) -> Known:
    alpha = number(node, "alpha", 1.0)
    if alpha != 1:
        raise LayerError(node.name, f"alpha {alpha:.3g}", "use 1, the SiLU")
    return _function("silu")(state, node)


_FUNCTIONS = (
    GraphOperator("Relu", _relu),
    GraphOperator("Clip", _clip),
    GraphOperator("HardSwish", _function("hard_swish")),
    GraphOperator("HardSigmoid", _function("hard_sigmoid", alpha=0.2, beta=0.5)),
    GraphOperator("LeakyRelu", _function("leaky_relu", alpha=0.01)),
    GraphOperator("QLinearLeakyRelu", apart=elementwise("LeakyRelu", 1)),
    GraphOperator("Elu", _function("elu", alpha=1.0)),
    GraphOperator("Tanh", _function("tanh")),
    GraphOperator("Gelu", _gelu),
    GraphOperator("Sigmoid", _function("sigmoid"), is_final=True),
    GraphOperator("Swish", _swish),
    GraphOperator("PRelu", _prelu),
)
KNOWN = f"use one of {', '.join(record.name for record in _FUNCTIONS if record.read is not None)}"
OPERATORS = (
    *_FUNCTIONS,
    GraphOperator("Erf", _erf),
    GraphOperator("Pow", _power),
    *(GraphOperator(name, way_out=AT_THE_END, is_final=True) for name in ("Softmax", "LogSoftmax")),
    *(GraphOperator(name, way_out=KNOWN) for name in ("Selu", "Softplus", "Mish")),
)
