"""Operators that act on each number alone: sums, clamps, scalings a channel."""

from __future__ import annotations

import math

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.network import Quantisation, Value
from mcutrain.tvm_ext.importers.graph.context import Import, number
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.linear import affine
from mcutrain.tvm_ext.importers.graph.reals import (
    INF,
    Known,
    Real,
    Stored,
    as_array,
    check_ratio,
    int_range,
    lazy,
    narrowed,
    once,
    stored_real,
)


def relu(state: Import, node: Node) -> Real:
    return clamped(state.real(node), 0.0, INF)


def clip(state: Import, node: Node) -> Real:
    """Clip: its ends are attributes or operands, either may be left out."""
    ends = []
    for index, key, default in ((1, "min", -INF), (2, "max", INF)):
        operand = state.optional(node, index, key)
        end = number(node, key, default) if operand is None or operand.size != 1 else float(operand.reshape(-1)[0])
        if math.isnan(end):
            raise ModelError(f"{node.name}: {key} is no number; export the model anew")
        ends.append(min(max(end, -INF), INF) if abs(end) < 3e38 else math.copysign(INF, end))
    if ends[0] > ends[1]:
        raise ModelError(f"{node.name}: clips to [{ends[0]:g}, {ends[1]:g}], which is empty; export the model anew")
    return clamped(state.real(node), *ends)


def clamped(x: Real, lo: float, hi: float) -> Real:
    """x clamped: by whatever makes x."""

    def make(q: Quantisation | None, outer_lo: float, outer_hi: float, name: str) -> Value:
        return x.make(q, *narrowed(lo, hi, outer_lo, outer_hi), name)

    own = x.own if x.own is not None and _is_exact(x.own, lo, hi) else None
    return x.changed(make=make, own=own)


def _is_exact(q: Quantisation, lo: float, hi: float) -> bool:
    """Whether the ends are numbers of this quantisation, or outside its range."""
    ints = int_range(q, lo, hi)
    for end, steps in zip((lo, hi), ints, strict=True):
        real = (steps - q.zero) * q.scale
        is_outside = (end == lo and end <= (-128 - q.zero) * q.scale) or (end == hi and end >= (127 - q.zero) * q.scale)
        if not is_outside and abs(end - real) > 1e-4 * q.scale:
            return False
    return True


def add(state: Import, node: Node) -> Real:
    """Add: of two activations of one shape, or of a constant a channel (a bias)."""
    a, b = (state.known(node, i) for i in (0, 1))
    if any(k is not None and as_array(k) is not None for k in (a, b)):
        return arithmetic(state, node)
    x, y = state.real(node, 0), state.real(node, 1)
    if x.dims != y.dims or x.layout != y.layout or x.shape != y.shape:
        raise ModelError(f"{node.name}: adds {x.dims} and {y.dims}; the shapes must be equal")
    if x.is_quantised != y.is_quantised:
        raise ModelError(f"{node.name}: adds int8 and float32; quantise both")
    if not x.is_quantised:
        values = [v.make(None, -INF, INF, node.name) for v in (x, y)]
        return state.stored(state.network.add(node.name, *values, None), x.layout, node.name)

    def emit(q: Quantisation, lo: int, hi: int) -> Value:
        values = [v.ints(node.name) for v in (x, y)]
        for value in values:
            check_ratio(value.quantisation.scale, q, node.name)
        return state.network.add(node.name, *values, q, lo=lo, hi=hi)

    return lazy(x, x.shape, x.layout, node.name, once(node.name, emit))


def arithmetic(state: Import, node: Node) -> Real:
    """Add, Sub, Mul, Div by a constant a channel: a layer before takes it over."""
    operands = [state.known(node, i) for i in (0, 1)]
    if any(k is None for k in operands):
        raise ModelError(f"{node.name}: an operand is missing; export the model anew")
    constants = [as_array(k) for k in operands]
    index = 0 if constants[0] is None else 1
    if constants[1 - index] is None:
        raise ModelError(f"{node.name}: {node.op} of two activations; only with a constant a channel (Add: or two)")
    x = state.real(node, index)
    c = per_channel(node, x, constants[1 - index])
    one, zero = np.ones_like(c), np.zeros_like(c)
    if node.op == "Div" and (index == 1 or np.any(c == 0)):
        raise ModelError(f"{node.name}: divides by an activation or by 0; train the model without it")
    with np.errstate(divide="ignore"):
        factor, shift = {
            "Add": (one, c),
            "Sub": (one, -c) if index == 0 else (-one, c),
            "Mul": (c, zero),
            "Div": (1 / c, zero),
        }[node.op]
    return affine(state, node, x, index, factor, shift)


def batch_norm(state: Import, node: Node) -> Real:
    """BatchNormalization with fixed statistics."""
    if node.attrs.get("training_mode", 0):
        raise ModelError(f"{node.name}: in training mode; export the model for inference")
    x = state.real(node)
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        state.constant(node, i, name).astype(np.float64).reshape(-1) for i, name in enumerate(names, 1)
    )
    channels = x.size("C") if len(x.layout) > 2 else x.dims[-1]
    is_image = len(x.layout) <= 2 and x.shape[3] != channels
    if is_image or any(a.size != channels for a in (gamma, beta, mean, variance)):
        raise ModelError(f"{node.name}: {gamma.size} scales for {channels} channels; export the model anew")
    if len(x.layout) > 2 and x.layout[1] != "C":
        raise ModelError(f"{node.name}: normalises the axis {x.layout[1]}; must be the channels, (1, C, H, W)")
    if np.any(variance < 0):
        raise ModelError(f"{node.name}: a variance below 0; train the model anew")
    with np.errstate(all="ignore"):  # affine refuses what is not finite
        factor = gamma / np.sqrt(variance + number(node, "epsilon", 1e-5))
        return affine(state, node, x, 0, factor, beta - mean * factor)


def cast(state: Import, node: Node) -> Known:
    """An integer input read as numbers."""
    known = state.known(node, 0)
    if isinstance(known, Stored):
        if known.value is not state.network.input or known.value.quantisation.scale != 1:
            raise ModelError(f"{node.name}: casts int8 in the middle of the network; use DequantizeLinear")
        return stored_real(state.network, known.value, known.layout)
    if node.attrs.get("to", 1) != 1:
        raise ModelError(f"{node.name}: casts activations; use float32 throughout")
    return state.real(node)


def per_channel(node: Node, x: Real, constant: np.ndarray) -> np.ndarray:
    """float64 [C] of a constant that is broadcast over x."""
    channels, rank = x.shape[3], len(x.layout)
    if constant.size == 1:
        return np.full(channels, float(constant.reshape(-1)[0]))
    shape = (1,) * (rank - constant.ndim) + constant.shape
    where = x.layout.find("C")
    is_vector = rank <= 2 and x.dims[-1] != channels
    if is_vector or len(shape) != rank or shape != tuple(channels if i == where else 1 for i in range(rank)):
        raise ModelError(f"{node.name}: a constant of {constant.shape} on {x.dims}; only one number a channel")
    return constant.astype(np.float64).reshape(-1)
