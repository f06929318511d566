"""The table of the graph's operators, and what it says of a graph as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mcutrain.tvm_ext.importers.base.operators import by_name
from mcutrain.tvm_ext.importers.graph import activations, constants, linear, pointwise, pools, qlinear, shapes
from mcutrain.tvm_ext.importers.graph.context import GraphOperator
from mcutrain.tvm_ext.importers.graph.graph import Node, OpGraph, layer_names

REFUSED = (
    *(GraphOperator(name, way_out="end the network with its logits") for name in ("ArgMax", "TopK")),
    *(
        GraphOperator(name, way_out="only feed-forward networks; unroll it, or use Conv")
        for name in ("LSTM", "GRU", "RNN", "Loop", "If", "Scan")
    ),
)
OPERATORS: dict[str, GraphOperator] = by_name(
    linear.OPERATORS,
    pointwise.OPERATORS,
    activations.OPERATORS,
    pools.OPERATORS,
    shapes.OPERATORS,
    qlinear.OPERATORS,
    constants.OPERATORS,
    REFUSED,
)
WEIGHTED = frozenset(name for name, record in OPERATORS.items() if record.has_weight)


def named(nodes: Sequence[Node], told: Sequence[Node] | None = None) -> tuple[Node, ...]:
    """The nodes under their layers' names. told: the same nodes with inputs that say more of their modules."""
    names = layer_names(told or nodes, WEIGHTED)
    return tuple(replace(node, name=name) for node, name in zip(nodes, names, strict=True))


def taken_apart(graph: OpGraph) -> OpGraph:
    """The same network without operators that compute on integers."""
    nodes: list[Node] = []
    constants = dict(graph.constants)
    before: dict[str, str] = {}  # a tensor: the same before it is quantised
    for node in graph.nodes:
        apart = OPERATORS[node.op].apart if node.op in OPERATORS else None
        if apart is None:
            nodes.append(node)
            continue
        made, more = apart(node, constants)
        nodes += made
        constants |= more
        before |= {n.outputs[0]: n.inputs[0] for n in made if n.op == "QuantizeLinear"}

    def shapes() -> Mapping[str, tuple[int, ...]]:
        known = graph.shapes()
        return {**known, **{before[name]: dims for name, dims in known.items() if name in before}}

    return replace(graph, nodes=tuple(nodes), constants=constants, shapes=shapes)
