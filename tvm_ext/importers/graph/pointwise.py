"""Sums of activations, and arithmetic with a constant a channel, which a layer takes over."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.graph import constants
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, Reader, number, per_channel
from mcutrain.tvm_ext.importers.graph.curves import Curve, pairs
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.linear import affine
from mcutrain.tvm_ext.importers.graph.reals import (
    INF,
    Known,
    Real,
    Stored,
    as_array,
    check_ratio,
    curved,
    once,
    stored_real,
)

Rescaling = tuple[np.ndarray, np.ndarray]  # factor and shift, float64 [C] each


def _added(c: np.ndarray, is_first: bool) -> Rescaling:
    return np.ones_like(c), c


def _subtracted(c: np.ndarray, is_first: bool) -> Rescaling:
    return (-np.ones_like(c), c) if is_first else (np.ones_like(c), -c)


def _multiplied(c: np.ndarray, is_first: bool) -> Rescaling:
    return c, np.zeros_like(c)


def _divided(c: np.ndarray, is_first: bool) -> Rescaling | None:
    return None if is_first or np.any(c == 0) else (1 / c, np.zeros_like(c))


def _arithmetic(
    rescaling: Callable[[np.ndarray, bool], Rescaling | None], joined: Callable[[Curve, Curve], Curve] | None = None
) -> Reader:
    """The reader of arithmetic with a constant a channel, which a layer before takes over. rescaling: factor and shift
    of a constant and of whether it stands before the activation. joined: the same arithmetic of two functions of one
    activation."""

    def read(state: Import, node: Node) -> Real:
        a, b = (state.known(node, i) for i in (0, 1))
        if a is None or b is None:
            raise LayerError(node.name, "an operand is missing", "export the model anew")
        index = 0 if as_array(a) is None else 1
        constant = as_array(a if index else b)
        if constant is None:
            return _of_two(state, node, joined)
        x = state.real(node, index)
        found = rescaling(per_channel(node, x, constant), index == 1)
        if found is None:
            raise LayerError(node.name, "divides by an activation or by 0", "train the model without it")
        return _rescaled(state, node, x, index, *found)

    return read


def _rescaled(state: Import, node: Node, x: Real, index: int, factor: np.ndarray, shift: np.ndarray) -> Real:
    """x * factor + shift, float64 [C] each; index: x among the node's operands."""
    made = affine(state, node, x, index, factor, shift)
    if not x.curves or np.any(factor != factor[0]) or np.any(shift != shift[0]):
        return made
    curves = tuple(curve.affine(factor[0], shift[0]) for curve in x.curves)
    if x.is_quantised and (x.own is None or len(curves) > 1):  # part of a chain, which is one table
        return curved(state.network, node.name, x, curves, None)
    return curved(state.network, node.name, made, curves, made.make)


def _of_two(state: Import, node: Node, joined: Callable[[Curve, Curve], Curve] | None) -> Real:
    """An operator on two activations, where both are functions of one."""
    x, y = state.real(node, 0), state.real(node, 1)
    shared = pairs(x.curves, y.curves) if x.layout == y.layout else []
    if joined is None or not shared:
        raise LayerError(node.name, f"{node.op} of two activations", "only with a constant a channel (Add: or two)")
    return curved(state.network, node.name, x, tuple(joined(a, b) for a, b in shared), None)


_add_constant = _arithmetic(_added)


def _add(state: Import, node: Node) -> Known:
    """Add: of two activations of one shape, or of a constant a channel (a bias)."""
    a, b = (state.known(node, i) for i in (0, 1))
    if any(k is not None and as_array(k) is not None for k in (a, b)):
        return _add_constant(state, node)
    x, y = state.real(node, 0), state.real(node, 1)
    if x.dims != y.dims or x.layout != y.layout or x.shape != y.shape:
        raise LayerError(node.name, f"adds {x.dims} and {y.dims}", "the shapes must be equal")
    if x.is_quantised != y.is_quantised:
        raise LayerError(node.name, "adds int8 and float32", "quantise both")
    curves = tuple(c.plus(d) for c, d in pairs(x.curves, y.curves))
    if not curves:
        return _sum(state, node, x, y)
    is_table = x.is_quantised and not (x.own and y.own)
    make = None if is_table else lambda q, lo, hi, reader: _sum(state, node, x, y).make(q, lo, hi, reader)
    return curved(state.network, node.name, x, curves, make)


def _sum(state: Import, node: Node, x: Real, y: Real) -> Real:
    if not x.is_quantised:
        left, right = (v.make(None, -INF, INF, node.name) for v in (x, y))
        return state.stored(state.network.add(node.name, left, right, None), x.layout, node.name)

    def emit(q: Quantisation, lo: int, hi: int) -> Value:
        left, right = (v.ints(node.name) for v in (x, y))
        for value in (left, right):
            check_ratio(value.steps.scale, q, node.name)
        return state.network.add(node.name, left, right, q, lo=lo, hi=hi)

    return Real(x.layout, x.shape, once(node.name, emit), True)


def _batch_norm(state: Import, node: Node) -> Real:
    """BatchNormalization with fixed statistics."""
    if node.attrs.get("training_mode", 0):
        raise LayerError(node.name, "in training mode", "export the model for inference")
    x = state.real(node)
    names = ("scale", "bias", "mean", "variance")
    gamma, beta, mean, variance = (
        state.constant(node, i, name).astype(np.float64).reshape(-1) for i, name in enumerate(names, 1)
    )
    channels = x.size("C") if len(x.layout) > 2 else x.dims[-1]
    is_image = len(x.layout) <= 2 and x.shape[3] != channels
    if is_image or any(a.size != channels for a in (gamma, beta, mean, variance)):
        raise LayerError(node.name, f"{gamma.size} scales for {channels} channels", "export the model anew")
    if len(x.layout) > 2 and x.layout[1] != "C":
        raise LayerError(node.name, f"normalises the axis {x.layout[1]}", "must be the channels, (1, C, H, W)")
    if np.any(variance < 0):
        raise LayerError(node.name, "a variance below 0", "train the model anew")
    with np.errstate(all="ignore"):  # affine refuses what is not finite
        factor = gamma / np.sqrt(variance + number(node, "epsilon", 1e-5))
        return affine(state, node, x, 0, factor, beta - mean * factor)


def _cast(state: Import, node: Node) -> Known:
    """An integer input read as numbers."""
    known = state.known(node, 0)
    if isinstance(known, Stored):
        if known.value is not state.network.input or known.value.steps.scale != 1:
            raise LayerError(node.name, "casts int8 in the middle of the network", "use DequantizeLinear")
        return stored_real(state.network, known.value, known.layout)
    if node.attrs.get("to", 1) != 1:
        raise LayerError(node.name, "casts activations", "use float32 throughout")
    return state.real(node)


FOLDED = "use BatchNormalization, which is folded"
OPERATORS = (
    GraphOperator("Add", _add, fold=constants.broadcast(np.add)),
    GraphOperator(
        "Sub",
        _arithmetic(_subtracted, lambda a, b: a.plus(b.affine(-1, 0))),
        fold=constants.broadcast(np.subtract),
    ),
    GraphOperator("Mul", _arithmetic(_multiplied, Curve.times), fold=constants.broadcast(np.multiply)),
    GraphOperator("Div", _arithmetic(_divided), fold=constants.broadcast(constants.divide)),
    GraphOperator("BatchNormalization", _batch_norm),
    GraphOperator("Cast", _cast, fold=constants.cast),
    GraphOperator("LayerNormalization", way_out=FOLDED),
    GraphOperator("InstanceNormalization", way_out=FOLDED),
)
