"""Goes from graph to plan: candidate orders, offsets by heuristics, offsets by CP-SAT where a gap is left, the
checker."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mcutrain.planner import rematerialise
from mcutrain.planner.check import check
from mcutrain.planner.errors import BudgetError
from mcutrain.planner.explain import over_budget
from mcutrain.planner.graph import dependencies, lifetimes, problem
from mcutrain.planner.model import Graph, Plan, Status
from mcutrain.planner.order.model import OrderModel, needed_anyway
from mcutrain.planner.order.schedule import Schedule, schedule
from mcutrain.planner.packing.bound import problem_bound
from mcutrain.planner.packing.heuristic import heuristic
from mcutrain.planner.packing.problem import Allocation, Problem
from mcutrain.planner.rematerialise import Rematerialisation, with_rematerialised
from mcutrain.planner.stream.check import check_streams
from mcutrain.planner.stream.choose import choose
from mcutrain.planner.stream.rewrite import eager, with_streams

Progress = Callable[[str], None]


def plan(
    graph: Graph,
    *,
    capacity: int | None = None,
    seconds: float = 20.0,
    seed: int = 0,
    workers: int = 2,
    stream: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Finds an order of `graph` and an offset for every tensor in the arena, as low as `seconds` allow.

    capacity: bytes of the arena that must suffice. seconds: work to spend where heuristics leave a gap, counted
    deterministically and about wall seconds of one core; small graphs need none of it. workers: threads; they
    change the speed, never the plan. stream: also choose runs of ops that run over rows or channels (Plan.streams; the
    rest of the plan speaks of planned_graph(graph, plan)). progress: called with one line of text now and then.

    Raises PlanError where the graph is malformed, BudgetError where no plan within the capacity was found."""
    search = _streamed if stream else _unstreamed
    found = search(graph, capacity, seconds=seconds, seed=seed, workers=workers, progress=progress)
    if capacity is not None and found.height > capacity:
        planned = planned_graph(graph, found)
        raise BudgetError(over_budget(planned, found, capacity, is_proof=not stream), found.height)
    return found


def plan_rematerialised(
    graph: Graph,
    capacity: int,
    *,
    seconds: float = 20.0,
    seed: int = 0,
    workers: int = 2,
    stream: bool = True,
    untouched: Container[str] = (),
    progress: Progress | None = None,
) -> tuple[tuple[Rematerialisation, ...], Plan]:
    """Plans as plan() does; where that does not fit `capacity` bytes, cheap results are computed twice instead of kept.

    untouched: names of ops that must go on reading what they read now. Returns the ops to rematerialise, and the plan
    of with_rematerialised(graph, ops). Raises as plan() does."""
    attempt = partial(plan, seed=seed, workers=workers, stream=stream)
    found = attempt(graph, seconds=seconds, progress=progress)
    replan = partial(attempt, seconds=seconds / 4)
    ops, best = rematerialise.choose(graph, found, capacity, replan, planned_graph, untouched, progress)
    if best.height > capacity:
        planned = planned_graph(with_rematerialised(graph, ops), best)
        raise BudgetError(over_budget(planned, best, capacity, is_proof=False), best.height)
    return ops, best


def planned_graph(graph: Graph, found: Plan) -> Graph:
    """Returns the graph that a plan's order, offsets and lifetimes speak of: `graph` with each stream as one op."""
    return with_streams(eager(graph), found.streams) if found.streams else graph


def _streamed(
    graph: Graph, capacity: int | None, *, seconds: float, seed: int, workers: int, progress: Progress | None
) -> Plan:
    """Returns the lowest of the plans with the streams worth trying, and without any."""
    model = OrderModel(graph, dependencies(graph))  # refuses a malformed graph
    ready = eager(graph)
    ways = choose(ready)
    share = seconds / (len(ways) + 1)
    alone = partial(_unstreamed, seconds=share, seed=seed, workers=workers, progress=progress)
    lower = partial(_lower, seconds=share, seed=seed, workers=workers, progress=progress)
    best: Plan | None = None
    for streams in ways:  # the one with the fewest streamed ops comes first and wins a draw
        changed = with_streams(ready, streams)
        found = alone(changed, None) if best is None else lower(changed, None, best)
        if found is not None:
            best = replace(found, streams=streams)
    if best is None:
        best = alone(graph, capacity)
    elif best.height > needed_anyway(graph, model) - model.padding:
        best = lower(graph, capacity, best) or best
    check_streams(ready, best)
    return best


def _unstreamed(
    graph: Graph, capacity: int | None, *, seconds: float, seed: int, workers: int, progress: Progress | None
) -> Plan:
    """Returns the best plan of the graph's ops as they are."""
    orders = schedule(graph, seconds=seconds / 2, seed=seed, progress=progress)
    candidates = _candidates(graph, orders, seed, None)
    return _packed(graph, orders, candidates, capacity, seconds / 2, seed, workers, progress)


def _lower(
    graph: Graph,
    capacity: int | None,
    best: Plan,
    *,
    seconds: float,
    seed: int,
    workers: int,
    progress: Progress | None,
) -> Plan | None:
    """Returns a plan of the graph's ops as they are that is lower than `best`; None where none was found."""
    orders = schedule(graph, seconds=seconds / 2, seed=seed, progress=progress)
    candidates = _candidates(graph, orders, seed, best.height) if orders.bound < best.height else []
    if not candidates:
        return None
    found = _packed(graph, orders, candidates, capacity, seconds / 2, seed, workers, progress)
    return found if found.height < best.height else None


@dataclass
class _Candidate:
    """Holds one order with its packing problem and the best allocation known."""

    order: tuple[str, ...]
    peak: int
    problem: Problem
    allocation: Allocation


def _candidates(graph: Graph, orders: Schedule, seed: int, below: int | None) -> list[_Candidate]:
    """Packs the orders by heuristics, but for those that cannot be lower than an allocation found before, or than
    `below`. Without `below` there is at least one."""
    result: list[_Candidate] = []
    lowest = below
    for order, peak in zip(orders.orders, orders.peaks, strict=True):
        packing = problem(graph, order)
        if lowest is None or max(orders.bound, problem_bound(packing)) < lowest:
            result.append(_Candidate(order, peak, packing, heuristic(packing, seed=seed)))
            lowest = min(lowest or result[-1].allocation.height, result[-1].allocation.height)
    return result


def _packed(
    graph: Graph,
    orders: Schedule,
    candidates: Sequence[_Candidate],
    capacity: int | None,
    seconds: float,
    seed: int,
    workers: int,
    progress: Progress | None,
) -> Plan:
    """Returns the lowest candidate's plan, checked, after CP-SAT had its time."""
    if capacity is None or orders.bound <= capacity:  # else no plan can fit: nothing to look for
        _refine(candidates, orders.bound, capacity, seconds, seed, workers, progress)
    result = _assemble(graph, orders, min(candidates, key=lambda c: c.allocation.height))
    check(graph, result)
    return result


def _refine(
    candidates: Sequence[_Candidate],
    order_bound: int,
    capacity: int | None,
    seconds: float,
    seed: int,
    workers: int,
    progress: Progress | None,
) -> None:
    """Lets CP-SAT lower the allocations, most promising order first, until none can beat the best."""
    for candidate in sorted(candidates, key=lambda c: c.allocation.bound):
        lowest = min(c.allocation.height for c in candidates)
        if progress:
            height, bound = candidate.allocation.height, candidate.allocation.bound
            progress(f"arena: {height} bytes, at least {bound} in this order")
        if lowest <= max(order_bound, candidate.allocation.bound) or seconds <= 0:
            return
        from mcutrain.planner.packing.cpsat import improve  # imported late: ortools takes a second, rarely needed

        candidate.allocation = improve(
            candidate.problem,
            candidate.allocation,
            capacity=capacity,
            seconds=seconds / len(candidates),
            seed=seed,
            workers=workers,
            progress=progress,
        )


def _assemble(graph: Graph, orders: Schedule, best: _Candidate) -> Plan:
    bound = max(best.allocation.bound, orders.bound)
    status: Status = "OPTIMAL" if best.allocation.height == bound else "FEASIBLE"
    # where the proof of the offsets raised the bound above the live bytes, another order might still be lower
    least = best.peak == orders.peaks[0] and bound <= best.peak
    return Plan(
        order=best.order,
        offsets=best.allocation.offsets,
        lifetimes=lifetimes(graph, best.order),
        height=best.allocation.height,
        bound=bound,
        status=status,
        order_bound=orders.bound,
        order_status=orders.status if least else "FEASIBLE",
    )
