"""Operators that compute on integers (QLinearConv and its like), taken apart into DequantizeLinear, the operator and
QuantizeLinear, so that one translation serves both ways of writing a quantised network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mcutrain.tvm_ext.importers.graph.graph import Node, OpGraph

RESULT = "/result"  # behind a tensor's name: the same before it is quantised
Make = Callable[..., tuple[list[Node], dict[str, np.ndarray]]]


def without_qlinear(graph: OpGraph) -> OpGraph:
    """The same network without QLinear operators."""
    nodes: list[Node] = []
    constants = dict(graph.constants)
    for node in graph.nodes:
        if node.op in FORMS:
            made, more = FORMS[node.op](node, constants)
            nodes += made
            constants |= more
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), constants=constants)


def _operand(node: Node, index: int) -> str:
    return node.inputs[index] if index < len(node.inputs) else ""


def _real(node: Node, index: int, axis: int = 1) -> Node:
    """DequantizeLinear of operands index (tensor), index + 1 (scale), index + 2 (zero point)."""
    inputs = tuple(_operand(node, index + i) for i in range(3))
    return Node("DequantizeLinear", node.name, inputs, (f"{node.outputs[0]}/real{index}",), {"axis": axis})


def _taken_apart(op: str, node: Node, operands: list[Node], extra: tuple[str, ...], out: int,
                 attrs: Mapping[str, object]) -> list[Node]:  # fmt: skip
    """operands: what dequantises them. out: the operand that holds the scale of the result, its zero point behind."""
    inputs = (*(o.outputs[0] for o in operands), *extra)
    if not _operand(node, out):  # QGemm may give float32
        return [*operands, Node(op, node.name, inputs, node.outputs, attrs)]
    result = f"{node.outputs[0]}{RESULT}"
    steps = (result, _operand(node, out), _operand(node, out + 1))
    computed = Node(op, node.name, inputs, (result,), attrs)
    return [*operands, computed, Node("QuantizeLinear", node.name, steps, node.outputs)]


def _weighted(op: str, weight_axis: Callable[[Node], int], bias: int | None, out: int) -> Make:
    """Operands: x, its scale and zero point, w, its scale and zero point; bias and out: where bias and result's scale
    stand. A bias is int32 in units of s_x * s_w."""

    def make(node: Node, constants: Mapping[str, np.ndarray]) -> tuple[list[Node], dict[str, np.ndarray]]:
        operands, more = [_real(node, 0), _real(node, 3, weight_axis(node))], {}
        scales = [constants.get(_operand(node, i)) for i in (1, 4)]
        if bias is not None and _operand(node, bias) and all(s is not None and s.dtype.kind == "f" for s in scales):
            unit = f"{node.outputs[0]}/bias_scale"
            x_scale, w_scales = (s.astype(np.float64) for s in scales)
            more[unit] = (x_scale.reshape(-1)[:1] * w_scales).astype(np.float32)
            inputs = (_operand(node, bias), unit)
            operands.append(Node("DequantizeLinear", node.name, inputs, (f"{node.outputs[0]}/bias",), {"axis": 0}))
        attrs = {k: v for k, v in node.attrs.items() if k not in ("alpha", "beta") or v != 1}
        return _taken_apart(op, node, operands, (), out, attrs), more

    return make


def _elementwise(op: str, operands: int) -> Make:
    """Operands: each with scale and zero point, then the result's."""

    def make(node: Node, _: object) -> tuple[list[Node], dict[str, np.ndarray]]:
        reals = [_real(node, 3 * i) for i in range(operands)]
        return _taken_apart(op, node, reals, (), 3 * operands, node.attrs), {}

    return make


def _pool(op: str) -> Make:
    """An image may be channels-last."""

    def make(node: Node, _: object) -> tuple[list[Node], dict[str, np.ndarray]]:
        attrs = {k: v for k, v in node.attrs.items() if k != "channels_last"}
        if not node.attrs.get("channels_last", 0):
            return _taken_apart(op, node, [_real(node, 0)], (), 3, attrs), {}
        real, front = _real(node, 0), f"{node.outputs[0]}/channels_first"
        turned = Node("Transpose", node.name, real.outputs, (front,), {"perm": [0, 3, 1, 2]})
        pooled = Node(op, node.name, (front,), (f"{front}/pooled",), attrs)
        back = Node("Transpose", node.name, pooled.outputs, (f"{front}/back",), {"perm": [0, 2, 3, 1]})
        steps = (*back.outputs, _operand(node, 3), _operand(node, 4))
        return [real, turned, pooled, back, Node("QuantizeLinear", node.name, steps, node.outputs)], {}

    return make


def _concat(node: Node, _: object) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Operands: the result's scale and zero point, then each tensor with its own."""
    reals = [_real(node, i) for i in range(2, len(node.inputs), 3)]
    return _taken_apart("Concat", node, reals, (), 0, node.attrs), {}


FORMS: dict[str, Make] = {
    "QLinearConv": _weighted("Conv", lambda node: 0, 8, 6),
    "QLinearMatMul": _weighted("MatMul", lambda node: 1, None, 6),
    "QGemm": _weighted("Gemm", lambda node: 0 if node.attrs.get("transB", 0) else 1, 6, 7),
    "QLinearAdd": _elementwise("Add", 2),
    "QLinearMul": _elementwise("Mul", 2),
    "QLinearSigmoid": _elementwise("Sigmoid", 1),
    "QLinearSoftmax": _elementwise("Softmax", 1),
    "QLinearGlobalAveragePool": _pool("GlobalAveragePool"),
    "QLinearAveragePool": _pool("AveragePool"),
    "QLinearConcat": _concat,
}
