"""Checks a plan by every rule, from the definitions alone, and independently: it imports nothing of the solvers."""

from __future__ import annotations

from mcutrain.planner.errors import PlanError
from mcutrain.planner.model import Graph, Op, Plan


def check(graph: Graph, plan: Plan) -> None:
    """Raises PlanError, naming every violation in one line, where `plan` is not a sound plan for `graph`."""
    faults = _order_faults(graph, plan)
    if not faults:  # lifetimes have a meaning only where the order has one
        live = _lifetimes(graph, plan.order)
        faults = _lifetime_faults(plan, live) + _offset_faults(graph, plan) + _figure_faults(graph, plan)
        faults += _memory_faults(graph, plan, live)
    if faults:
        noun = "rule" if len(faults) == 1 else "rules"
        raise PlanError(f"the plan breaks {len(faults)} {noun}: {'; '.join(faults)}")


def _order_faults(graph: Graph, plan: Plan) -> list[str]:
    known = [op.name for op in graph.ops]
    given = {name: position for position, name in enumerate(known)}
    runs: dict[str, int] = {}
    for name in plan.order:
        runs[name] = runs.get(name, 0) + 1
    faults = [f"order: op {name!r} is missing" for name in known if name not in runs]
    faults += [f"order: op {name!r} is unknown" for name in plan.order if name not in given]
    faults += [f"order: op {name!r} runs more than once" for name in known if runs.get(name, 0) > 1]
    if faults:
        return faults
    when = {name: position for position, name in enumerate(plan.order)}
    writer = {tensor: op.name for op in graph.ops for tensor in op.outputs}
    readers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for read in dict.fromkeys(op.inputs):
            readers.setdefault(read, []).append(op)
            if read in writer and when[writer[read]] >= when[op.name]:
                faults.append(f"order: op {op.name!r} reads {read!r} before op {writer[read]!r} writes it")
    for op in graph.ops:
        for state in op.mutates:
            for other in readers.get(state, []):
                if when[other.name] <= when[op.name]:
                    continue
                if state not in other.mutates:
                    faults.append(f"order: op {other.name!r} reads state {state!r} after op {op.name!r} overwrote it")
                elif given[other.name] < given[op.name]:
                    faults.append(f"order: ops {other.name!r} and {op.name!r} overwrite {state!r} in swapped order")
    return faults


def _lifetimes(graph: Graph, order: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    ops = {op.name: op for op in graph.ops}
    writes: dict[str, list[int]] = {}
    reads: dict[str, list[int]] = {}
    for position, ran in enumerate(order):
        for name in (*ops[ran].outputs, *ops[ran].scratch):
            writes.setdefault(name, []).append(position)
        for name in ops[ran].inputs:
            reads.setdefault(name, []).append(position)
    result = {}
    for tensor in graph.tensors:
        written, read = writes.get(tensor.name, []), reads.get(tensor.name, [])
        match tensor.kind:
            case "constant":
                continue
            case "state":
                span = (0, len(order))
            case "input":
                span = (0, max(read, default=0) + 1)
            case "output":
                span = (min(written, default=0), len(order))
            case _:
                span = (min(written, default=0), max(read + written, default=0) + 1)
        result[tensor.name] = span
    return result


def _lifetime_faults(plan: Plan, live: dict[str, tuple[int, int]]) -> list[str]:
    faults = []
    for name in sorted(live.keys() | plan.lifetimes.keys()):
        if plan.lifetimes.get(name) != live.get(name):
            said, true = plan.lifetimes.get(name, "none"), live.get(name, "none")
            faults.append(f"lifetime: {name!r} is given as {said}, it is {true}")
    return faults


def _offset_faults(graph: Graph, plan: Plan) -> list[str]:
    faults = []
    for tensor in graph.tensors:
        if tensor.kind == "constant":
            if tensor.name in plan.offsets:
                faults.append(f"offset: constant {tensor.name!r} lies in flash, yet it has an offset")
        elif tensor.name not in plan.offsets:
            faults.append(f"offset: {tensor.name!r} has none")
        else:
            offset = plan.offsets[tensor.name]
            if offset < 0:
                faults.append(f"offset: {tensor.name!r} lies at {offset}, below the arena")
            if offset % tensor.align:
                faults.append(f"offset: {tensor.name!r} lies at {offset}, which is no multiple of {tensor.align}")
            if offset + tensor.nbytes > plan.height:
                faults.append(f"height: {tensor.name!r} ends at {offset + tensor.nbytes}, above {plan.height}")
    names = {tensor.name for tensor in graph.tensors}
    return faults + [f"offset: {name!r} is no tensor of the graph" for name in sorted(plan.offsets.keys() - names)]


def _figure_faults(graph: Graph, plan: Plan) -> list[str]:
    sizes = {tensor.name: tensor.nbytes for tensor in graph.tensors}
    top = max((offset + sizes.get(name, 0) for name, offset in plan.offsets.items()), default=0)
    faults = []
    if plan.height > top:
        faults.append(f"height: {plan.height} bytes, but the highest tensor ends at {top}")
    if not 0 <= plan.order_bound <= plan.bound <= plan.height:
        figures = f"{plan.order_bound}, {plan.bound} and {plan.height}"
        faults.append(f"bound: 0 <= order bound <= bound <= height does not hold for {figures}")
    if (plan.status == "OPTIMAL") != (plan.height == plan.bound) or plan.status not in ("OPTIMAL", "FEASIBLE"):
        faults.append(f"status: {plan.status} does not fit height {plan.height} and bound {plan.bound}")
    if plan.order_status not in ("OPTIMAL", "FEASIBLE"):
        faults.append(f"status: {plan.order_status} is no status of an order")
    return faults


def _memory_faults(graph: Graph, plan: Plan, live: dict[str, tuple[int, int]]) -> list[str]:
    """Finds pairs of tensors that are live together and share bytes, yet are no permitted overlap.

    Each tensor is compared, when its life begins, with those that live then: so each such pair is met once."""
    placed = [t for t in graph.tensors if t.name in live and t.name in plan.offsets and t.nbytes > 0]
    producer = {tensor: op for op in graph.ops for tensor in op.outputs}
    when = {name: position for position, name in enumerate(plan.order)}
    faults = []
    alive: list[tuple[int, int, int, str]] = []  # end of life, first byte, one past the last, name
    for tensor in sorted(placed, key=lambda t: live[t.name][0]):
        begin, end = live[tensor.name]
        x = plan.offsets[tensor.name]
        top = x + tensor.nbytes
        alive = [entry for entry in alive if entry[0] > begin]
        for _, y, end_y, name in alive:
            if top <= y or end_y <= x:
                continue
            ways = ((tensor.name, name), (name, tensor.name))
            if any(_permitted(graph, plan, producer.get(out), out, into, live, when) for out, into in ways):
                continue
            faults.append(
                f"memory: {name!r} at [{y}, {end_y}) and {tensor.name!r} at [{x}, {top}) "
                f"share bytes while op {plan.order[begin]!r} runs"
            )
        alive.append((end, x, top, tensor.name))
    return faults


def _permitted(
    graph: Graph,
    plan: Plan,
    op: Op | None,
    out: str,
    into: str,
    live: dict[str, tuple[int, int]],
    when: dict[str, int],
) -> bool:
    if op is None or into not in op.inputs or graph.by_name[into].kind not in ("activation", "gradient", "input"):
        return False
    distances = [o.distance for o in op.overlaps if (o.input, o.output) == (into, out)]
    dies = live[into][1] == when[op.name] + 1
    return bool(distances) and dies and plan.offsets[into] - plan.offsets[out] >= max(distances)
