"""Plans what training each layer would cost: one training graph of the whole network, cut to what some layers need.

Building and lowering a training graph for each choice of layers would take as long as planning it. All of them are
parts of the one in which everything trains, so that one is built, and the others are cut out of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mcutrain import planner
from mcutrain.planner.model import Graph, Op
from mcutrain.planner.policy import Policy, Update
from mcutrain.results import FIRMWARE_BYTES
from mcutrain.schema.inspection import Cost, LastK

if TYPE_CHECKING:
    from mcutrain.tvm_ext.lower.graph import Lowered, Step
    from mcutrain.tvm_ext.model import Model

Progress = Callable[[int, int], None]
SECONDS = 0.0  # of solver work for a plan: the heuristics alone come within a percent or two


@dataclass(frozen=True)
class LayerCost:
    """alone: this layer trains, weight and bias, and the head. last_k: so do all layers behind it; None where one of
    them cannot train."""

    alone: Cost
    last_k: LastK | None


def layer_costs(model: Model, names: Sequence[str], progress: Progress | None = None) -> dict[str, LayerCost]:
    """Find the cost of each layer of `names`: those that can train, in network order, the head included.

    Works from the end to the front. progress(done, total): called after each plan.
    Raises ModelError where an op of the backward pass has no kernel."""
    from mcutrain.tvm_ext.lower.graph import lower
    from mcutrain.tvm_ext.train.training import train

    body = [layer.name for layer in model.layers if not layer.is_head]
    heads = frozenset(layer.name for layer in model.layers if layer.is_head)
    whole = lower(train(model, Policy("all", tuple(Update(name, True, 1.0) for name in body if name in names))))
    behind = {name: [] if name in heads else body[body.index(name) :] for name in names}
    sets = (layers for name in reversed(names) for layers in ([name], behind[name]) if set(layers) <= set(names))
    wanted = list(dict.fromkeys(heads.union(layers) for layers in sets))
    costs: dict[frozenset[str], Cost] = {}
    for done, layers in enumerate(wanted, 1):
        graph = training_part(whole, layers)
        planned = planner.plan(graph, seconds=SECONDS, stream=True)
        nbytes = planned.height + FIRMWARE_BYTES
        costs[layers] = Cost(sram_bytes=nbytes, macs=sum(op.macs for op in graph.ops))
        if progress:
            progress(done, len(wanted))
    return {
        name: LayerCost(costs[heads | {name}], _last_k(costs.get(heads.union(behind[name])), len(behind[name])))
        for name in names
    }


def _last_k(cost: Cost | None, k: int) -> LastK | None:
    return None if cost is None else LastK(sram_bytes=cost.sram_bytes, macs=cost.macs, k=k)


def training_part(whole: Lowered, layers: Collection[str]) -> Graph:
    """Cut the graph of the training step in which `layers` train out of one in which they and others do: the same
    graph, name for name, as if it had been built for them.

    It holds what the loss, the logits and the updates of these layers need; a forward op that keeps a mask or indices
    which nobody reads any more becomes the one of the inference, which keeps none; weights that do not train are in
    flash."""
    step, inference = whole.train_step, whole.infer
    if step is None or step.loss is None:
        raise ValueError("a network of which nothing trains has no training step to cut")
    trains = {p.variable: p.layer in layers for p in whole.training.parameters}
    plain = {call.layer: call.op for call in inference.calls}
    tensors = dict(step.graph.by_name)
    needed = {step.logits, step.loss}
    ops: list[Op] = []
    for call in reversed(step.calls):
        op = call.op
        if call.phase == "update":  # of the counter in any case
            is_needed = trains.get(op.mutates[0], True)
        else:
            is_needed = not needed.isdisjoint(op.outputs)
        if not is_needed:
            continue
        if len(op.outputs) > 1 and op.outputs[1] not in needed:
            op = plain[call.layer]
            tensors |= {name: inference.graph.by_name[name] for name in op.scratch}
        ops.append(op)
        needed.update(op.inputs)
    used = needed.union(*((*op.outputs, *op.scratch) for op in ops))
    frozen = {name for name, is_trained in trains.items() if not is_trained}
    kept = (replace(t, kind="constant") if t.name in frozen else t for t in tensors.values() if t.name in used)
    return _renumbered(Graph(tuple(kept), tuple(reversed(ops))), (inference, step))


def _renumbered(graph: Graph, steps: Sequence[Step]) -> Graph:
    """Count anew the numbers in the graph that tell apart what has one name: among equals, the planner goes by
    names. steps: where its tensors and ops come from."""
    from mcutrain.tvm_ext.lower.graph import op_base

    bases = {name: value.base for step in steps for name, value in step.values.items()}
    op_bases = {call.op.name: op_base(call.layer, call.kind) for step in steps for call in step.calls}
    name = _numbering((t.name for t in graph.tensors), bases)
    op_name = _numbering((op.name for op in graph.ops), op_bases)

    def renamed(op: Op) -> Op:
        return replace(
            op,
            name=op_name[op.name],
            inputs=tuple(name[n] for n in op.inputs),
            outputs=tuple(name[n] for n in op.outputs),
            scratch=tuple(name[n] for n in op.scratch),
            overlaps=tuple(replace(o, input=name[o.input], output=name[o.output]) for o in op.overlaps),
            mutates=tuple(name[n] for n in op.mutates),
            reads=tuple(replace(access, tensor=name[access.tensor]) for access in op.reads),
            by_channel=tuple(replace(form, reads=tuple(name[n] for n in form.reads)) for form in op.by_channel),
        )

    return Graph(tuple(replace(t, name=name[t.name]) for t in graph.tensors), tuple(map(renamed, graph.ops)))


def _numbering(names: Iterable[str], bases: Mapping[str, str]) -> dict[str, str]:
    """Number names as `base`, `base.2`, ... in the order of `names`."""
    found: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for name in names:
        base = bases[name]
        seen[base] += 1
        found[name] = base if seen[base] == 1 else f"{base}.{seen[base]}"
    return found
