"""An independent checker: every rule of a plan, from the definitions alone. It imports nothing of the solvers."""

from __future__ import annotations

from planner.errors import PlanError
from planner.model import Graph, Op, Plan


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
    faults = [f"order: op {name!r} is missing" for name in known if name not in plan.order]
    faults += [f"order: op {name!r} is unknown" for name in plan.order if name not in known]
    faults += [f"order: op {name!r} runs more than once" for name in known if plan.order.count(name) > 1]
    if faults:
        return faults
    when = {name: position for position, name in enumerate(plan.order)}
    given = {name: position for position, name in enumerate(known)}
    writer = {tensor: op.name for op in graph.ops for tensor in op.outputs}
    for op in graph.ops:
        for tensor in op.inputs:
            if tensor in writer and when[writer[tensor]] >= when[op.name]:
                faults.append(f"order: op {op.name!r} reads {tensor!r} before op {writer[tensor]!r} writes it")
        for state in op.mutates:
            for other in graph.ops:
                if other.name == op.name or state not in other.inputs or when[other.name] < when[op.name]:
                    continue
                if state not in other.mutates:
                    faults.append(f"order: op {other.name!r} reads state {state!r} after op {op.name!r} overwrote it")
                elif given[other.name] < given[op.name]:
                    faults.append(f"order: ops {other.name!r} and {op.name!r} overwrite {state!r} in swapped order")
    return faults


def _lifetimes(graph: Graph, order: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    ops = {op.name: op for op in graph.ops}
    result = {}
    for tensor in graph.tensors:
        writes = [p for p, n in enumerate(order) if tensor.name in ops[n].outputs or tensor.name in ops[n].scratch]
        reads = [p for p, n in enumerate(order) if tensor.name in ops[n].inputs]
        match tensor.kind:
            case "constant":
                continue
            case "state":
                span = (0, len(order))
            case "input":
                span = (0, max(reads, default=0) + 1)
            case "output":
                span = (min(writes, default=0), len(order))
            case _:
                span = (min(writes, default=0), max(reads + writes, default=0) + 1)
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
    """Every two tensors that are live together and share bytes must be a permitted overlap."""
    placed = [t for t in graph.tensors if t.name in live and t.name in plan.offsets and t.nbytes > 0]
    producer = {tensor: op for op in graph.ops for tensor in op.outputs}
    faults = []
    for index, a in enumerate(placed):
        for b in placed[:index]:
            begin = max(live[a.name][0], live[b.name][0])
            if begin >= min(live[a.name][1], live[b.name][1]):
                continue
            x, y = plan.offsets[a.name], plan.offsets[b.name]
            if x + a.nbytes <= y or y + b.nbytes <= x:
                continue
            if any(
                _permitted(graph, plan, producer.get(out), out, into, live)
                for out, into in ((a.name, b.name), (b.name, a.name))
            ):
                continue
            faults.append(
                f"memory: {b.name!r} at [{y}, {y + b.nbytes}) and {a.name!r} at [{x}, {x + a.nbytes}) "
                f"share bytes while op {plan.order[begin]!r} runs"
            )
    return faults


def _permitted(graph: Graph, plan: Plan, op: Op | None, out: str, into: str, live: dict[str, tuple[int, int]]) -> bool:
    if op is None or into not in op.inputs or graph.by_name[into].kind not in ("activation", "gradient", "input"):
        return False
    distances = [o.distance for o in op.overlaps if (o.input, o.output) == (into, out)]
    dies = live[into][1] == plan.order.index(op.name) + 1
    return bool(distances) and dies and plan.offsets[into] - plan.offsets[out] >= max(distances)
