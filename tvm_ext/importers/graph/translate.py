"""Operator graph -> dialect: networks quantised with QuantizeLinear and DequantizeLinear (or QLinear operators), and
plain float32 ones.

An integer operator is DequantizeLinear -> operator [-> Relu, Clip] -> QuantizeLinear; rounding and clamping commute, so
that the clamp becomes the integer range of the operator. Requantisation is "even" (docs/DESIGN.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.heads import Head, finish
from mcutrain.tvm_ext.importers.base.network import Quantisation, Value
from mcutrain.tvm_ext.importers.base.walk import walk
from mcutrain.tvm_ext.importers.graph.constants import FOLDS, dequantised, folded, quantised
from mcutrain.tvm_ext.importers.graph.context import Import
from mcutrain.tvm_ext.importers.graph.ends import begin, without_final
from mcutrain.tvm_ext.importers.graph.graph import LARGEST_ACTIVATION, Node, OpGraph
from mcutrain.tvm_ext.importers.graph.linear import conv, dense
from mcutrain.tvm_ext.importers.graph.pointwise import add, arithmetic, batch_norm, cast, clip, relu
from mcutrain.tvm_ext.importers.graph.pools import average_pool, global_average_pool, max_pool, reduce_mean
from mcutrain.tvm_ext.importers.graph.qlinear import RESULT, without_qlinear
from mcutrain.tvm_ext.importers.graph.reals import (
    CANONICAL,
    INF,
    Known,
    Real,
    Stored,
    alike,
    quantisation_of,
    stored_real,
)
from mcutrain.tvm_ext.importers.graph.shapes import HANDLERS as MOVES
from mcutrain.tvm_ext.importers.graph.shapes import concat, moved, pad
from mcutrain.tvm_ext.model import Model

AT_THE_END = "it is supported as the network's last operator alone, where the loss takes it over"
STATIC = "quantise statically, with calibration data (QDQ format)"
WAYS_OUT = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "Sigmoid"), AT_THE_END),
    **dict.fromkeys(("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger"), STATIC),
    **dict.fromkeys(("LeakyRelu", "PRelu", "Elu", "HardSwish", "HardSigmoid", "Tanh", "Gelu"), "use Relu or Relu6"),
    **dict.fromkeys(("QLinearLeakyRelu", "Selu", "Swish", "Erf", "Softplus", "Mish"), "use Relu or Relu6"),
    **dict.fromkeys(("ArgMax", "TopK"), "end the network with its logits"),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "Loop", "If", "Scan"), "only feed-forward networks; unroll it, or use Conv"),
    **dict.fromkeys(("FusedConv", "NhwcMaxPool"), "give the file as it was before onnxruntime optimised it"),
    "GlobalMaxPool": "use MaxPool with the size of the image",
    "ReduceMax": "use MaxPool",
    "ReduceSum": "use ReduceMean",
    "ConvTranspose": "only Conv, at full or lower resolution",
    "Resize": "only layers that keep or lower the resolution",
    "LayerNormalization": "use BatchNormalization, which is folded",
    "InstanceNormalization": "use BatchNormalization, which is folded",
}


def build(graph: OpGraph, name: str, where: object, head: Head | None = None, loss: str | None = None) -> Model:
    """Translate a graph. head.loss counts only where `loss` is None and no Sigmoid ends the network: then the loss is
    binary_cross_entropy. name: of the model. where: the file, for messages.

    Raises one ModelError that lists every operator that cannot be expressed, each with a way out."""
    head = head or Head()
    try:
        graph, final = without_final(without_qlinear(graph))
        state, nodes = begin(graph)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    handlers = HANDLERS | {node.op: refused for node in nodes if "problem" in node.attrs}
    bound = {op: _bound(state, handler) for op, handler in handlers.items()}
    walk(nodes, state.values, bound, where, WAYS_OUT, partial(_stand_in, state, cache(graph.shapes)))
    loss = loss or ("binary_cross_entropy" if final is not None and final.op == "Sigmoid" else head.loss)
    try:
        _check_final(final, head, loss)
        value = _output(state, graph.outputs[0], head)
        _check_output(state, value, head, loss)
        return finish(state.network, name, value, Head(head.kind, head.classes, loss, head.raw_logits))
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def _bound(state: Import, handler: Callable[[Import, Node], Known]) -> Callable[[Node], list[Known]]:
    def run(node: Node) -> list[Known]:
        constant = folded(state, node)
        result = handler(state, node) if constant is None else constant
        return [state.settled(result, node) if isinstance(result, Real) else result]

    return run


def _stand_in(state: Import, shapes: Callable[[], Mapping[str, tuple[int, ...]]], node: Node) -> list[Known]:
    """An activation in the shape of a refused operator's result, its axes in the order of the first operand's."""
    dims = shapes().get(node.outputs[0].removesuffix(RESULT), ())
    if not 2 <= len(dims) <= 4 or dims[0] != 1 or min(dims) < 1 or math.prod(dims) > LARGEST_ACTIVATION:
        return []
    before = getattr(state.values.get(node.inputs[0]) if node.inputs else None, "layout", "")
    layout = before if len(before) == len(dims) else CANONICAL[len(dims)]
    sizes = dict(zip(layout, dims, strict=True))
    shape = (1, *(sizes.get(letter, 1) for letter in "HWC"))
    if node.op == "QuantizeLinear":
        return [Stored(state.network.stand_in(shape, _quantisation(state, node)), layout)]
    own = Quantisation(1.0, 0) if state.network.input.quantisation else None
    return [Real(layout, shape, lambda q, *_: state.network.stand_in(shape, q), own is not None, own)]


def quantize_linear(state: Import, node: Node) -> Known:
    known = state.known(node, 0)
    if isinstance(known, np.ndarray):
        return quantised(state, node, known)
    x = state.real(node)
    return Stored(x.make(_quantisation(state, node), -INF, INF, node.name), x.layout)


def dequantize_linear(state: Import, node: Node) -> Known:
    known = state.known(node, 0)
    if isinstance(known, np.ndarray):
        return dequantised(state, node, known)
    if not isinstance(known, Stored):
        raise ModelError(f"{node.name}: dequantises what is float32; export the model anew")
    q, own = _quantisation(state, node), known.value.quantisation
    if not alike(q, own):
        raise ModelError(
            f"{node.name}: reads scale {q.scale:.6g}, zero point {q.zero}; "
            f"what it reads was written with {own.scale:.6g}, {own.zero}; quantise the model anew"
        )
    return stored_real(state.network, known.value, known.layout)


def _quantisation(state: Import, node: Node) -> Quantisation:
    scale, zero = state.constant(node, 1, "scale"), state.optional(node, 2, "zero point")
    if zero is None and node.attrs.get("output_dtype") == 3:  # ONNX's number of int8
        zero = np.zeros(1, np.int8)
    q, _ = quantisation_of(scale, zero, node.name)
    return q


def shape(state: Import, node: Node) -> Known:
    known = state.known(node, 0)
    x = stored_real(state.network, known.value, known.layout) if isinstance(known, Stored) else state.real(node)
    return np.array(x.dims[node.attrs.get("start", 0) : node.attrs.get("end")], np.int64)


def refused(state: Import, node: Node) -> Known:
    """What whoever made the graph had no operator for; `problem` says why, and a way out."""
    raise ModelError(f"{node.name}: {node.attrs['problem']}")


def constants_alone(state: Import, node: Node) -> Known:
    raise ModelError(f"{node.name}: is computed from activations; only from constants")


HANDLERS: dict[str, Callable[[Import, Node], Known]] = {
    **dict.fromkeys(FOLDS, constants_alone),
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "Conv": conv,
    "Gemm": dense,
    "MatMul": dense,
    "Add": add,
    "Sub": arithmetic,
    "Mul": arithmetic,
    "Div": arithmetic,
    "BatchNormalization": batch_norm,
    "Relu": relu,
    "Clip": clip,
    "Cast": cast,
    "GlobalAveragePool": global_average_pool,
    "AveragePool": average_pool,
    "MaxPool": max_pool,
    "ReduceMean": reduce_mean,
    "Concat": concat,
    "Pad": pad,
    "Shape": shape,
    **dict.fromkeys(MOVES, moved),
}


def _check_final(final: Node | None, head: Head, loss: str) -> None:
    """A loss works on logits: behind a Softmax or Sigmoid only the loss that holds it."""
    if final is None or head.kind == "float" or loss not in ("mse", "autoencoder"):
        return
    raise ModelError(
        f"ends with a {final.op}, and the loss {loss} works on what stands before it; "
        f"use {'binary_cross_entropy' if final.op == 'Sigmoid' else 'cross_entropy'}, or export without it"
    )


def _output(state: Import, name: str, head: Head) -> Value:
    known = state.values.get(name)
    if isinstance(known, Stored):
        return known.value
    if not isinstance(known, Real):
        raise ModelError("nothing computes its output; export the model anew")
    if not known.is_quantised:
        return known.make(None, -INF, INF, "output")
    if known.own is not None:
        return known.ints("output")
    if head.kind == "float" and known.linear is not None:  # a fresh layer takes its place, whatever it was
        return known.make(Quantisation(1.0, 0), -INF, INF, "output")
    raise ModelError("its output is not quantised; quantise it, too, or use the float head")


def _check_output(state: Import, value: Value, head: Head, loss: str) -> None:
    if head.kind == "model":
        if not state.network.layers:
            raise ModelError("holds no layer that can train; use the float head")
        if head.classes not in (None, value.features):
            raise ModelError(f"has {value.features} outputs, not {head.classes}; the float head makes a new one")
        if loss == "cross_entropy" and value.order is None and value.shape[1] * value.shape[2] > 1:
            raise ModelError(f"its output is an image {value.shape[1:]}; use the loss mse or autoencoder")
    if loss == "autoencoder" and (head.kind == "float" or value.features != state.network.input.features):
        raise ModelError(f"no autoencoder: {state.network.input.features} inputs, {value.features} outputs")
