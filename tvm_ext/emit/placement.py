"""The places of each entry point's tensors, and the order of its calls, from the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mcutrain.planner.model import Plan, Stream
from mcutrain.planner.stream.rewrite import scratch_name
from mcutrain.tvm_ext.lower.graph import Call, Lowered, Step


@dataclass(frozen=True)
class Group:
    """One call, or the calls of a stream, which run together."""

    calls: tuple[Call, ...]
    stream: Stream | None


@dataclass(frozen=True)
class Placement:
    """The places of one entry point's tensors (byte offsets into the shared arena) and the order of its calls."""

    step: Step
    groups: tuple[Group, ...]
    offsets: Mapping[str, int]

    @property
    def loss_offset(self) -> int:
        """The place in which a training step leaves the loss."""
        assert self.step.loss is not None, "only a training step has a loss"
        return self.offsets[self.step.loss]

    @property
    def calls(self) -> list[Call]:
        return [call for group in self.groups for call in group.calls]


def placements(lowered: Lowered, plan: Plan) -> tuple[Placement, Placement | None]:
    """(infer, train_step). `infer` is the forward part of the training step: same order, same offsets, no masks, so
    that both share one arena and one input address; alone, it has the plan to itself."""
    planned = lowered.train_step or lowered.infer
    by_name, streams = {c.op.name: c for c in planned.calls}, {s.name: s for s in plan.streams}
    groups = []
    for name in plan.order:
        members = streams[name].ops if name in streams else (name,)
        groups.append(Group(tuple(by_name[m] for m in members), streams.get(name)))
    offsets = dict(plan.offsets)
    for stream in plan.streams:
        for name in (s for op in stream.ops for s in by_name[op].op.scratch):
            offsets[name] = plan.offsets[scratch_name(stream)]
        offsets |= {tensor: plan.offsets[owner] for tensor, owner in stream.shared}
    placed = Placement(planned, tuple(groups), offsets)
    if lowered.train_step is None:
        return placed, None
    forward = {c.layer: c for c in lowered.infer.calls}
    matched = [
        Group(tuple(forward[c.layer] for c in g.calls if c.layer in forward and c.phase == "forward"), g.stream)
        for g in groups
    ]
    known = {n: offsets[n] for n in lowered.infer.values if n in offsets}
    for call in lowered.infer.calls:
        if call.kind == "qsoftmax":  # it stands behind what a training step has, and overwrites the logits
            matched.append(Group((call,), None))
            known[call.op.outputs[0]] = known[call.op.inputs[0]]
    return Placement(lowered.infer, tuple(g for g in matched if g.calls), known), placed
