"""A lowered training step with the ops that a plan runs a second time: the same kernels on second copies of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mcutrain.planner.rematerialise import Rematerialisation, copies, second_op, with_rematerialised
from mcutrain.tvm_ext.lower.graph import Lowered

PHASE = "recompute"


def with_recomputed(lowered: Lowered, again: Sequence[Rematerialisation]) -> Lowered:
    """`lowered` whose training step (or inference, where there is no other) runs these ops again."""
    if not again:
        return lowered
    step = lowered.train_step or lowered.infer
    values, calls = dict(step.values), {call.op.name: call for call in step.calls}
    graph = with_rematerialised(step.graph, again)
    for one in again:
        first = calls[one.op]
        for name, copy in copies(first.op, one):
            values[copy] = replace(values[name], tensor=graph.by_name[copy])
        calls[one.name] = replace(first, op=second_op(first.op, one), phase=PHASE)
    extended = replace(
        step, graph=graph, calls=tuple(replace(calls[op.name], op=op) for op in graph.ops), values=values
    )
    return replace(lowered, train_step=extended) if lowered.train_step else replace(lowered, infer=extended)
