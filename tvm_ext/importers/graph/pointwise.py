"""Sums of activations, and arithmetic with a constant a channel, which a layer takes over."""

from __future__ import annotations

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.network import Quantisation, Value
from mcutrain.tvm_ext.importers.graph import constants
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, number
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.linear import affine
from mcutrain.tvm_ext.importers.graph.reals import INF, Known, Real, Stored, as_array, check_ratio, once, stored_real


def _add(state: Import, node: Node) -> Real:
    """Add: of two activations of one shape, or of a constant a channel (a bias)."""
    a, b = (state.known(node, i) for i in (0, 1))
    if any(k is not None and as_array(k) is not None for k in (a, b)):
        return _arithmetic(state, node)
    x, y = state.real(node, 0), state.real(node, 1)
    if x.dims != y.dims or x.layout != y.layout or x.shape != y.shape:
        raise ModelError(f"{node.name}: adds {x.dims} and {y.dims}; the shapes must be equal")
    if x.is_quantised != y.is_quantised:
        raise ModelError(f"{node.name}: adds int8 and float32; quantise both")
    if not x.is_quantised:
        left, right = (v.make(None, -INF, INF, node.name) for v in (x, y))
        return state.stored(state.network.add(node.name, left, right, None), x.layout, node.name)

    def emit(q: Quantisation, lo: int, hi: int) -> Value:
        left, right = (v.ints(node.name) for v in (x, y))
        for value in (left, right):
            check_ratio(value.steps.scale, q, node.name)
        return state.network.add(node.name, left, right, q, lo=lo, hi=hi)

    return Real(x.layout, x.shape, once(node.name, emit), True)


def _arithmetic(state: Import, node: Node) -> Real:
    """Add, Sub, Mul, Div by a constant a channel: a layer before takes it over."""
    a, b = (state.known(node, i) for i in (0, 1))
    if a is None or b is None:
        raise ModelError(f"{node.name}: an operand is missing; export the model anew")
    index = 0 if as_array(a) is None else 1
    constant = as_array(a if index else b)
    if constant is None:
        raise ModelError(f"{node.name}: {node.op} of two activations; only with a constant a channel (Add: or two)")
    x = state.real(node, index)
    c = _per_channel(node, x, constant)
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


def _batch_norm(state: Import, node: Node) -> Real:
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


def _cast(state: Import, node: Node) -> Known:
    """An integer input read as numbers."""
    known = state.known(node, 0)
    if isinstance(known, Stored):
        if known.value is not state.network.input or known.value.steps.scale != 1:
            raise ModelError(f"{node.name}: casts int8 in the middle of the network; use DequantizeLinear")
        return stored_real(state.network, known.value, known.layout)
    if node.attrs.get("to", 1) != 1:
        raise ModelError(f"{node.name}: casts activations; use float32 throughout")
    return state.real(node)


def _per_channel(node: Node, x: Real, constant: np.ndarray) -> np.ndarray:
    """float64 [C]: a constant that is broadcast over x."""
    channels, rank = x.shape[3], len(x.layout)
    if constant.size == 1:
        return np.full(channels, float(constant.reshape(-1)[0]))
    shape = (1,) * (rank - constant.ndim) + constant.shape
    where = x.layout.find("C")
    is_vector = rank <= 2 and x.dims[-1] != channels
    if is_vector or len(shape) != rank or shape != tuple(channels if i == where else 1 for i in range(rank)):
        raise ModelError(f"{node.name}: a constant of {constant.shape} on {x.dims}; only one number a channel")
    return constant.astype(np.float64).reshape(-1)


FOLDED = "use BatchNormalization, which is folded"
OPERATORS = (
    GraphOperator("Add", _add, fold=constants.broadcast(np.add)),
    GraphOperator("Sub", _arithmetic, fold=constants.broadcast(np.subtract)),
    GraphOperator("Mul", _arithmetic, fold=constants.broadcast(np.multiply)),
    GraphOperator("Div", _arithmetic, fold=constants.broadcast(constants.divide)),
    GraphOperator("BatchNormalization", _batch_norm),
    GraphOperator("Cast", _cast, fold=constants.cast),
    GraphOperator("LayerNormalization", way_out=FOLDED),
    GraphOperator("InstanceNormalization", way_out=FOLDED),
)
