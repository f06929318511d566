"""Relax's operators that act on each number alone, and its losses, in the operator graph."""

from __future__ import annotations

import numpy as np
from tvm import relax

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.dialect import shape_of
from mcutrain.tvm_ext.importers.relax.nodes import Given, Nodes, RelaxOperator, Rule, plain, same


def _arithmetic(op: str) -> Rule:
    """The reader of arithmetic element by element; a constant is broadcast as in numpy."""

    def rule(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
        if nodes.is_nhwc:
            args = [_bias_outside(nodes, name, a, call) for a in args]
        return nodes.add(op, name, [nodes.operand(a, f"{name}.{i}") for i, a in enumerate(args)])

    return rule


def _bias_outside(nodes: Nodes, name: str, given: Given, call: relax.Call) -> Given:
    """A constant over channels that stand last, as one over channels that stand second."""
    if given.value is None or len(shape_of(call)) != 4 or given.value.ndim == 0:
        return given
    wide = given.value.reshape((1,) * (4 - given.value.ndim) + given.value.shape)
    return Given(given.name, np.ascontiguousarray(wide.transpose(0, 3, 1, 2)))


def _clip(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    low, high = (float(getattr(a.value, "value", a.value)) for a in call.args[1:3])
    return _clamped(nodes, name, args[0], low, high)


def _clamped(nodes: Nodes, name: str, x: Given, low: float, high: float) -> Given:
    bounds = [nodes.operand(Given(None, np.asarray(v, np.float32)), f"{name}.bound") for v in (low, high)]
    return nodes.add("Clip", name, [nodes.operand(x, name), *bounds])


def _quantise(op: str) -> Rule:
    def rule(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
        axis, rank = int(call.attrs.axis), len(shape_of(call.args[0]))
        axis = axis % rank if rank else 0
        if nodes.is_nhwc and rank == 4 and args[0].value is None:
            axis = (0, 2, 3, 1)[axis]
        x, scale, zero = args
        if op == "DequantizeLinear" and x.value is not None:
            return Given(x.name, x.value, scale=scale.value, zero=zero.value, axis=axis)
        inputs = [nodes.operand(a, f"{name}.{i}") for i, a in enumerate(args)]
        return nodes.add(op, name, inputs, {"axis": axis})

    return rule


def _astype(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    if args[0].value is None:
        raise LayerError(name, "casts an activation", "quantise it with R.quantize instead")
    return Given(args[0].name, args[0].value.astype(str(call.attrs.dtype)))


def _leaky_relu(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    return nodes.add("LeakyRelu", name, [nodes.operand(args[0], name)], {"alpha": float(call.attrs.alpha)})


def _gelu_tanh(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    return nodes.add("Gelu", name, [nodes.operand(args[0], name)], {"approximate": "tanh"})


def _silu(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    x = nodes.operand(args[0], name)
    gate = nodes.add("Sigmoid", f"{name}.gate", [x])
    return nodes.add("Mul", name, [x, nodes.operand(gate, name)])


def _prelu(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    rank, (x, slopes) = len(shape_of(call)), args
    if int(call.attrs.axis) % rank != (3 if nodes.is_nhwc and rank == 4 else 1):
        raise LayerError(name, f"slopes along axis {int(call.attrs.axis)}", "only along the channels")
    slopes = Given(slopes.name, slopes.array.reshape(-1, *[1] * (rank - 2)))
    return nodes.add("PRelu", name, [nodes.operand(x, name), nodes.operand(slopes, f"{name}.slopes")])


OPERATORS = (
    RelaxOperator("relax.add", _arithmetic("Add")),
    RelaxOperator("relax.subtract", _arithmetic("Sub")),
    RelaxOperator("relax.multiply", _arithmetic("Mul")),
    RelaxOperator("relax.divide", _arithmetic("Div")),
    RelaxOperator("relax.power", _arithmetic("Pow")),
    RelaxOperator("relax.nn.relu", plain("Relu")),
    RelaxOperator("relax.nn.relu6", lambda nodes, name, call, args: _clamped(nodes, name, args[0], 0, 6)),
    RelaxOperator("relax.clip", _clip),
    RelaxOperator("relax.nn.softmax", plain("Softmax")),
    RelaxOperator("relax.nn.log_softmax", plain("LogSoftmax")),
    RelaxOperator("relax.sigmoid", plain("Sigmoid")),
    RelaxOperator("relax.tanh", plain("Tanh")),
    RelaxOperator("relax.erf", plain("Erf")),
    RelaxOperator("relax.nn.leakyrelu", _leaky_relu),
    RelaxOperator("relax.nn.gelu", plain("Gelu")),
    RelaxOperator("relax.nn.gelu_tanh", _gelu_tanh),
    RelaxOperator("relax.nn.silu", _silu),
    RelaxOperator("relax.nn.prelu", _prelu),
    RelaxOperator("relax.nn.cross_entropy_with_logits", same, loss="cross_entropy"),
    RelaxOperator("relax.quantize", _quantise("QuantizeLinear")),
    RelaxOperator("relax.dequantize", _quantise("DequantizeLinear")),
    RelaxOperator("relax.astype", _astype),
)
