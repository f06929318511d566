"""Says in words why a plan is as high as it is: the worst op, the tensors that live together there, what would give."""

from __future__ import annotations

from mcutrain.planner.graph import live_bytes, problem
from mcutrain.planner.model import Graph, Plan, Tensor
from mcutrain.planner.packing.bound import too_many

SHOWN = 8  # tensors named in a message


def live_together(graph: Graph, plan: Plan, position: int) -> list[Tensor]:
    """Returns the tensors that lie in the arena while the op at `position` runs, largest first."""
    names = [name for name, (first, last) in plan.lifetimes.items() if first <= position < last]
    return sorted((graph.by_name[name] for name in names), key=lambda t: (-t.nbytes, t.name))


def over_budget(graph: Graph, plan: Plan, capacity: int, *, is_proof: bool) -> str:
    """Says why the plan does not fit an arena of `capacity` bytes, in lines: by how much, where, because of which
    tensors (a line each), and what would have to give. is_proof: the plan's order_bound is over every plan that was
    asked for, not for its streams alone."""
    live = live_bytes(graph, plan.order)
    position = live.index(max(live))
    tensors = live_together(graph, plan, position)
    place, culprits = too_many(problem(graph, plan.order), capacity) or (position, [])
    if is_proof and plan.order_bound > capacity:
        verdict = f"no plan can fit an arena of {capacity:,} B: every order needs at least {plan.order_bound:,} B"
    else:
        verdict = f"no plan for an arena of {capacity:,} B was found: the best"
        verdict += f", with {len(plan.streams)} streamed runs of ops, needs" if plan.streams else " needs"
        verdict += f" {plan.height:,} B" + (f", the proven bound is {plan.order_bound:,} B" if is_proof else "")
    where = f"at op {plan.order[position]!r} {live[position]:,} B are live together"
    named = tensors
    if culprits and (place, len(culprits)) != (position, len(tensors)):
        which = f"these {len(culprits)} tensors alone are" if len(culprits) > 1 else "this one alone is"
        there = ", of which" if place == position else f"\nat op {plan.order[place]!r}"
        where += f"{there} {which} too much"
        named = [graph.by_name[b.id] for b in culprits]
    return "\n".join([verdict, f"{where}:", *_listed(named), _advice(tensors, plan.height, capacity)])


def _listed(tensors: list[Tensor]) -> list[str]:
    """Returns a line for each tensor, the numbers below each other."""
    shown: list[tuple[str, int, str]] = [(t.name, t.nbytes, t.kind) for t in tensors[:SHOWN]]
    if len(tensors) > SHOWN:
        shown.append((f"and {len(tensors) - SHOWN} more", sum(t.nbytes for t in tensors[SHOWN:]), "together"))
    width = max(len(name) for name, _, _ in shown)
    return [f"  {name:<{width}}{nbytes:>12,} B  {kind}" for name, nbytes, kind in shown]


def _advice(tensors: list[Tensor], height: int, capacity: int) -> str:
    """Says which of the kinds at the worst op could give the missing bytes, heaviest first."""
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
    ways = "; ".join(f"{remedies[kind]} ({kind}: {totals[kind]:,} B)" for kind in heavy)
    return f"{height - capacity:,} B have to give: {ways}"
