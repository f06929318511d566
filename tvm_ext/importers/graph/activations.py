"""Functions that act on each number alone, and those that a loss takes over at the network's end."""

from __future__ import annotations

import math
from dataclasses import replace

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.network import Quantisation, Value
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, number
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.reals import INF, Real, int_range, narrowed

AT_THE_END = "it is supported as the network's last operator alone, where the loss takes it over"
RELU = "use Relu or Relu6"


def _relu(state: Import, node: Node) -> Real:
    return _clamped(state.real(node), 0.0, INF)


def _clip(state: Import, node: Node) -> Real:
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
    return _clamped(state.real(node), *ends)


def _clamped(x: Real, lo: float, hi: float) -> Real:
    """x clamped: by whatever makes x."""

    def make(q: Quantisation | None, outer_lo: float, outer_hi: float, name: str) -> Value:
        return x.make(q, *narrowed(lo, hi, outer_lo, outer_hi), name)

    own = x.own if x.own is not None and _is_exact(x.own, lo, hi) else None
    return replace(x.bare, make=make, own=own, curves=tuple(curve.clipped(lo, hi) for curve in x.curves))


def _is_exact(q: Quantisation, lo: float, hi: float) -> bool:
    """Whether the ends are numbers of this quantisation, or outside its range."""
    ints = int_range(q, lo, hi)
    for end, steps in zip((lo, hi), ints, strict=True):
        real = (steps - q.zero) * q.scale
        is_outside = (end == lo and end <= (-128 - q.zero) * q.scale) or (end == hi and end >= (127 - q.zero) * q.scale)
        if not is_outside and abs(end - real) > 1e-4 * q.scale:
            return False
    return True


OPERATORS = (
    GraphOperator("Relu", _relu),
    GraphOperator("Clip", _clip),
    *(GraphOperator(name, way_out=AT_THE_END, is_final=True) for name in ("Softmax", "LogSoftmax", "Sigmoid")),
    *(
        GraphOperator(name, way_out=RELU)
        for name in ("LeakyRelu", "PRelu", "Elu", "HardSwish", "HardSigmoid", "Tanh", "Gelu", "QLinearLeakyRelu")
    ),
    *(GraphOperator(name, way_out=RELU) for name in ("Selu", "Swish", "Erf", "Softplus", "Mish")),
)
