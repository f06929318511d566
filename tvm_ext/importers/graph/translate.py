"""Operator graph -> dialect: networks quantised with QuantizeLinear and DequantizeLinear (or QLinear operators), and
plain float32 ones.

An integer operator is DequantizeLinear -> operator [-> Relu, Clip] -> QuantizeLinear; rounding and clamping commute, so
that the clamp becomes the integer range of the operator. Requantisation is "even" (docs/DESIGN.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial

from mcutrain.planner.errors import LayerError, ModelError
from mcutrain.tvm_ext.importers.base.heads import Head, check_output, finish
from mcutrain.tvm_ext.importers.base.operators import handlers, ways_out
from mcutrain.tvm_ext.importers.base.values import Quantisation, Value
from mcutrain.tvm_ext.importers.base.walk import walk
from mcutrain.tvm_ext.importers.graph.constants import folded
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, Reader
from mcutrain.tvm_ext.importers.graph.ends import begin, without_final
from mcutrain.tvm_ext.importers.graph.graph import LARGEST_ACTIVATION, Node, OpGraph
from mcutrain.tvm_ext.importers.graph.operators import OPERATORS, taken_apart
from mcutrain.tvm_ext.importers.graph.qlinear import quantisation_at
from mcutrain.tvm_ext.importers.graph.reals import CANONICAL, INF, Known, Real, Stored
from mcutrain.tvm_ext.model import Model


def build(graph: OpGraph, name: str, where: object, head: Head | None = None, loss: str | None = None) -> Model:
    """Translate a graph. head.loss counts only where `loss` is None and no Sigmoid ends the network: then the loss is
    binary_cross_entropy. name: of the model. where: the file, for messages.

    Raises one ModelError that lists every operator that cannot be expressed, each with a way out."""
    head = head or Head()
    try:
        graph, final = without_final(taken_apart(graph))
        state, nodes = begin(graph)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
    foreign = {node.op: GraphOperator(node.op, _foreign) for node in nodes if "problem" in node.attrs}
    bound = handlers(OPERATORS | foreign, partial(_bound, state))
    walk(nodes, state.values, bound, where, ways_out(OPERATORS), partial(_stand_in, state, cache(graph.shapes)))
    loss = loss or ("binary_cross_entropy" if final is not None and final.op == "Sigmoid" else head.loss)
    try:
        _check_final(final, head, loss)
        value = _output(state, graph.outputs[0], head)
        head = replace(head, loss=loss)
        check_output(state.network, value, head, f"an image {value.shape[1:]}")
        return finish(state.network, name, value, head)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None


def _bound(state: Import, reader: Reader) -> Callable[[Node], list[Known]]:
    def run(node: Node) -> list[Known]:
        constant = folded(state, node, OPERATORS[node.op]) if node.op in OPERATORS else None
        result = reader(state, node) if constant is None else constant
        return [state.settled(result, node) if isinstance(result, Real) else result]

    return run


def _stand_in(state: Import, shapes: Callable[[], Mapping[str, tuple[int, ...]]], node: Node) -> list[Known]:
    """An activation in the shape of a refused operator's result, its axes in the order of the first operand's."""
    dims = shapes().get(node.outputs[0], ())
    if not 2 <= len(dims) <= 4 or dims[0] != 1 or min(dims) < 1 or math.prod(dims) > LARGEST_ACTIVATION:
        return []
    before = getattr(state.values.get(node.inputs[0]) if node.inputs else None, "layout", "")
    layout = before if len(before) == len(dims) else CANONICAL[len(dims)]
    sizes = dict(zip(layout, dims, strict=True))
    shape = 1, sizes.get("H", 1), sizes.get("W", 1), sizes.get("C", 1)
    if node.op == "QuantizeLinear":
        return [Stored(state.network.stand_in(shape, quantisation_at(state, node)), layout)]
    own = Quantisation(1.0, 0) if state.network.input.quantisation else None
    return [Real(layout, shape, lambda q, *_: state.network.stand_in(shape, q), own is not None, own)]


def _foreign(state: Import, node: Node) -> Known:
    """The reader of what whoever made the graph had no operator for; `problem` says why, and a way out."""
    problem = node.attrs["problem"]
    assert isinstance(problem, ModelError)
    raise LayerError(node.name, problem.why, problem.way_out)


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
    if head.kind == "float" and known.rescaled is not None:  # a fresh layer takes its place, whatever it was
        return known.make(Quantisation(1.0, 0), -INF, INF, "output")
    raise ModelError("its output is not quantised; quantise it, too, or use the float head")
