"""QuantizeLinear and DequantizeLinear; and the operators that compute on integers (QLinearConv and its like), which are
taken apart into these and the operator on real numbers, so that one translation serves both ways of writing a quantised
network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.values import Quantisation
from mcutrain.tvm_ext.importers.graph.constants import dequantised, quantised
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.reals import INF, Known, Stored, alike, quantisation_of, stored_real

Apart = Callable[[Node, Mapping[str, np.ndarray]], tuple[list[Node], dict[str, np.ndarray]]]


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
    result = f"{node.outputs[0]}/result"
    steps = (result, _operand(node, out), _operand(node, out + 1))
    computed = Node(op, node.name, inputs, (result,), attrs)
    return [*operands, computed, Node("QuantizeLinear", node.name, steps, node.outputs)]


def _weighted(op: str, weight_axis: Callable[[Node], int], bias: int | None, out: int) -> Apart:
    """Operands: x, its scale and zero point, w, its scale and zero point; bias and out: where bias and result's scale
    stand. A bias is int32 in units of s_x * s_w."""

    def make(node: Node, constants: Mapping[str, np.ndarray]) -> tuple[list[Node], dict[str, np.ndarray]]:
        operands, more = [_real(node, 0), _real(node, 3, weight_axis(node))], {}
        given = [constants.get(_operand(node, i)) for i in (1, 4)]
        scales = [s.astype(np.float64) for s in given if s is not None and s.dtype.kind == "f"]
        if bias is not None and _operand(node, bias) and len(scales) == 2:
            unit = f"{node.outputs[0]}/bias_scale"
            more[unit] = (scales[0].reshape(-1)[:1] * scales[1]).astype(np.float32)
            inputs = (_operand(node, bias), unit)
            operands.append(Node("DequantizeLinear", node.name, inputs, (f"{node.outputs[0]}/bias",), {"axis": 0}))
        attrs = {k: v for k, v in node.attrs.items() if k not in ("alpha", "beta") or v != 1}
        return _taken_apart(op, node, operands, (), out, attrs), more

    return make


def elementwise(op: str, operands: int) -> Apart:
    """Operands: each with scale and zero point, then the result's."""

    def make(node: Node, _: Mapping[str, np.ndarray]) -> tuple[list[Node], dict[str, np.ndarray]]:
        reals = [_real(node, 3 * i) for i in range(operands)]
        return _taken_apart(op, node, reals, (), 3 * operands, node.attrs), {}

    return make


def _pool(op: str) -> Apart:
    """An image may be channels-last."""

    def make(node: Node, _: Mapping[str, np.ndarray]) -> tuple[list[Node], dict[str, np.ndarray]]:
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


def _concat(node: Node, _: Mapping[str, np.ndarray]) -> tuple[list[Node], dict[str, np.ndarray]]:
    """Operands: the result's scale and zero point, then each tensor with its own."""
    reals = [_real(node, i) for i in range(2, len(node.inputs), 3)]
    return _taken_apart("Concat", node, reals, (), 0, node.attrs), {}


def _quantize_linear(state: Import, node: Node) -> Known:
    known = state.known(node, 0)
    if isinstance(known, np.ndarray):
        return quantised(state, node, known)
    x, q = state.real(node), quantisation_at(state, node)
    return Stored(x.make(q, -INF, INF, node.name), x.layout, tuple(curve.quantised(q) for curve in x.curves))


def _dequantize_linear(state: Import, node: Node) -> Known:
    known = state.known(node, 0)
    if isinstance(known, np.ndarray):
        return dequantised(state, node, known)
    if not isinstance(known, Stored):
        raise LayerError(node.name, "dequantises what is float32", "export the model anew")
    q, own = quantisation_at(state, node), known.value.steps
    if not alike(q, own):
        raise LayerError(
            node.name,
            f"reads scale {q.scale:.6g}, zero point {q.zero}",
            f"what it reads was written with {own.scale:.6g}, {own.zero}; quantise the model anew",
        )
    return stored_real(state.network, known.value, known.layout, known.curves)


def quantisation_at(state: Import, node: Node) -> Quantisation:
    """The scale and the zero point of a QuantizeLinear or DequantizeLinear."""
    scale, zero = state.constant(node, 1, "scale"), state.optional(node, 2, "zero point")
    if zero is None and node.attrs.get("output_dtype") == 3:  # ONNX's number of int8
        zero = np.zeros(1, np.int8)
    q, _ = quantisation_of(scale, zero, node.name)
    return q


STATIC = "quantise statically, with calibration data (QDQ format)"
OPERATORS = (
    GraphOperator("QuantizeLinear", _quantize_linear, passes=True),
    GraphOperator("DequantizeLinear", _dequantize_linear, passes=True),
    GraphOperator("QLinearConv", apart=_weighted("Conv", lambda node: 0, 8, 6), has_weight=True),
    GraphOperator("QLinearMatMul", apart=_weighted("MatMul", lambda node: 1, None, 6), has_weight=True),
    GraphOperator(
        "QGemm",
        apart=_weighted("Gemm", lambda node: 0 if node.attrs.get("transB", 0) else 1, 6, 7),
        has_weight=True,
    ),
    GraphOperator("QLinearAdd", apart=elementwise("Add", 2)),
    GraphOperator("QLinearMul", apart=elementwise("Mul", 2)),
    GraphOperator("QLinearSigmoid", apart=elementwise("Sigmoid", 1)),
    GraphOperator("QLinearSoftmax", apart=elementwise("Softmax", 1)),
    GraphOperator("QLinearGlobalAveragePool", apart=_pool("GlobalAveragePool")),
    GraphOperator("QLinearAveragePool", apart=_pool("AveragePool")),
    GraphOperator("QLinearConcat", apart=_concat),
    *(GraphOperator(name, way_out=STATIC) for name in ("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")),
)
