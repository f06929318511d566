"""Says in words why a plan is as high as it is: the worst op, the tensors that live together there, what would give."""

from __future__ import annotations

from planner.bound import live_bytes, section_bytes
from planner.graph import problem
from planner.model import Graph, Plan, Tensor
from planner.problem import Problem

SHOWN = 8  # tensors named in a message


def live_together(graph: Graph, plan: Plan, position: int) -> list[Tensor]:
    """The tensors that lie in the arena while the op at `position` runs, largest first."""
    names = [name for name, (first, last) in plan.lifetimes.items() if first <= position < last]
    return sorted((graph.by_name[name] for name in names), key=lambda t: (-t.nbytes, t.name))


def worst_position(graph: Graph, plan: Plan) -> int:
    """The first position with the most live bytes."""
    live = live_bytes(graph, plan.order)
    return live.index(max(live))


def too_many(graph: Graph, plan: Plan, capacity: int) -> list[Tensor]:
    """The smallest set of tensors of the worst op that cannot live together in `capacity` bytes in this order, largest
    first; empty where they could, and only their packing fails."""
    position = worst_position(graph, plan)
    packing = problem(graph, plan.order)
    chosen: list[Tensor] = []
    for tensor in live_together(graph, plan, position):
        chosen.append(tensor)
        names = {t.name for t in chosen}
        buffers = tuple(b for b in packing.buffers if b.id in names)
        overlaps = tuple(o for o in packing.overlaps if {o.input, o.output} <= names)
        if section_bytes(Problem(buffers, overlaps), [position])[0] > capacity:
            return chosen
    return []


def over_budget(graph: Graph, plan: Plan, capacity: int, floor: int) -> str:
    """One line: by how much the plan misses `capacity` bytes, where, because of which tensors, and what would have to
    give. `floor`: proven lower bound in bytes over every order (of a plan without streams)."""
    position = worst_position(graph, plan)
    tensors = live_together(graph, plan, position)
    culprits = too_many(graph, plan, capacity)
    live = live_bytes(graph, plan.order)[position]
    if plan.streams:
        verdict = (
            f"no plan within {capacity} bytes was found: "
            f"the best, with {len(plan.streams)} streamed runs of ops, needs {plan.height}"
        )
    elif floor > capacity:
        verdict = f"no plan can fit {capacity} bytes: every order needs at least {floor}"
    else:
        verdict = (
            f"no plan within {capacity} bytes was found: the best needs {plan.height}, the proven bound is {floor}"
        )
    where = f"at op {plan.order[position]!r} {live} bytes are live together"
    if culprits and len(culprits) < len(tensors):
        where += f", of which these {len(culprits)} tensors alone are too much: {_listed(culprits)}"
    else:
        where += f": {_listed(tensors)}"
    return f"{verdict}; {where}; {_advice(tensors, plan.height, capacity)}"


def _listed(tensors: list[Tensor]) -> str:
    listed = ", ".join(f"{t.name} {t.nbytes} ({t.kind})" for t in tensors[:SHOWN])
    if len(tensors) > SHOWN:
        listed += f" and {len(tensors) - SHOWN} more of {sum(t.nbytes for t in tensors[SHOWN:])} bytes together"
    return listed


def _advice(tensors: list[Tensor], height: int, capacity: int) -> str:
    """Which of the kinds at the worst op could give the missing bytes, heaviest first."""
    remedies = {
        "state": "train fewer layers or channels",
        "activation": "use a smaller input or a narrower layer there",
        "gradient": "train fewer layers or channels, or stop the backward pass earlier",
        "scratch": "choose a kernel with less scratch",
        "input": "use a smaller input",
        "output": "return less",
    }
    totals: dict[str, int] = {}
    for tensor in tensors:
        totals[tensor.kind] = totals.get(tensor.kind, 0) + tensor.nbytes
    heavy = sorted(totals, key=lambda kind: (-totals[kind], kind))[:2]
    ways = "; ".join(f"{remedies[kind]} ({kind}: {totals[kind]} bytes)" for kind in heavy)
    return f"{height - capacity} bytes have to give: {ways}; or raise the budget to {height}"
