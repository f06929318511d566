"""From graph to plan: candidate orders, offsets by heuristics, offsets by CP-SAT where a gap is left, the checker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from planner import recompute, stream_choice
from planner import stream as streaming
from planner.arena import heuristic
from planner.bound import problem_bound
from planner.check import check
from planner.check_streams import check_streams
from planner.errors import BudgetError
from planner.explain import over_budget
from planner.graph import dependencies, lifetimes, problem
from planner.model import Graph, Plan, Status
from planner.order_model import OrderModel, needed_anyway
from planner.problem import Allocation, Problem
from planner.recompute import Again
from planner.schedule import Schedule, schedule


@dataclass
class _Candidate:
    """One order with its packing problem and the best allocation known."""

    order: tuple[str, ...]
    peak: int
    problem: Problem
    allocation: Allocation


def plan(
    graph: Graph,
    *,
    capacity: int | None = None,
    seconds: float = 20.0,
    seed: int = 0,
    workers: int = 2,
    stream: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Plan:
    """The order of `graph` and an offset for every tensor that lies in the arena, as low as `seconds` allow.

    capacity: bytes of the arena that must suffice. seconds: work to spend where heuristics leave a gap, counted
    deterministically and about wall seconds of one core; small graphs need none of it. workers: threads; they
    change the speed, never the plan. stream: also choose runs of row-wise ops that run row by row (Plan.streams; the
    rest of the plan speaks of stream.apply(graph, streams)). progress: called with one line of text now and then.

    Raises PlanError where the graph is malformed, BudgetError where no plan within the capacity was found."""
    if stream:
        return _streamed(graph, capacity, seconds, seed, workers, progress)
    orders = schedule(graph, seconds=seconds / 2, seed=seed, workers=workers, progress=progress)
    candidates = _candidates(graph, orders, seed)
    _refine(candidates, orders.bound, capacity, seconds / 2, seed, workers, progress)
    best = min(candidates, key=lambda c: c.allocation.height)
    result = _assemble(graph, orders, best)
    check(graph, result)
    if capacity is not None and result.height > capacity:
        raise BudgetError(over_budget(graph, result, capacity, orders.bound), result.height)
    return result


def _streamed(
    graph: Graph,
    capacity: int | None,
    seconds: float,
    seed: int,
    workers: int,
    progress: Callable[[str], None] | None,
) -> Plan:
    """The plan with the streams that lower it, or without where they do not."""
    model = OrderModel(graph, dependencies(graph))  # refuses a malformed graph
    ready = streaming.eager(graph)
    ways = stream_choice.choose(ready)
    options = {"seconds": seconds / max(1, len(ways)), "seed": seed, "workers": workers, "progress": progress}
    plans = [replace(plan(streaming.apply(ready, streams), **options), streams=streams) for streams in ways]
    if not plans or min(p.height for p in plans) > needed_anyway(graph, model) - model.padding:
        plans.append(plan(graph, **options))
    best = min(plans, key=lambda p: (p.height, sum(len(s.ops) for s in p.streams)))
    check_streams(ready, best)
    if capacity is not None and best.height > capacity:
        raise BudgetError(over_budget(planned_graph(graph, best), best, capacity, best.order_bound), best.height)
    return best


def plan_recomputing(
    graph: Graph,
    capacity: int,
    *,
    seconds: float = 20.0,
    seed: int = 0,
    workers: int = 2,
    stream: bool = True,
    progress: Callable[[str], None] | None = None,
) -> tuple[tuple[Again, ...], Plan]:
    """As plan(); where that does not fit `capacity` bytes, with cheap ops run a second time instead of results kept.

    Returns these ops, and the plan of recompute.apply(graph, ops). Raises as plan() does."""
    options = {"seed": seed, "workers": workers, "stream": stream}
    found = plan(graph, seconds=seconds, progress=progress, **options)

    def replan(changed: Graph) -> Plan:
        return plan(changed, seconds=seconds / 4, **options)

    again, best = recompute.lower(graph, found, capacity, replan, planned_graph, progress)
    if best.height > capacity:
        changed = recompute.apply(graph, again)
        raise BudgetError(over_budget(planned_graph(changed, best), best, capacity, best.order_bound), best.height)
    return again, best


def planned_graph(graph: Graph, found: Plan) -> Graph:
    """The graph that a plan's order, offsets and lifetimes speak of: `graph` with each stream as one op."""
    return streaming.apply(streaming.eager(graph), found.streams) if found.streams else graph


def _candidates(graph: Graph, orders: Schedule, seed: int) -> list[_Candidate]:
    """The orders with heuristic allocations, but for those that cannot be lower than an allocation found before."""
    result: list[_Candidate] = []
    lowest = None
    for order, peak in zip(orders.orders, orders.peaks, strict=True):
        packing = problem(graph, order)
        if lowest is None or max(orders.bound, problem_bound(packing)) < lowest:
            result.append(_Candidate(order, peak, packing, heuristic(packing, seed=seed)))
            lowest = min(c.allocation.height for c in result)
    return result


def _refine(
    candidates: list[_Candidate],
    order_bound: int,
    capacity: int | None,
    seconds: float,
    seed: int,
    workers: int,
    progress: Callable[[str], None] | None,
) -> None:
    """Lets CP-SAT lower the allocations, most promising order first, until none can beat the best."""
    if capacity is not None and order_bound > capacity:
        return  # no plan can fit: nothing to look for
    for candidate in sorted(candidates, key=lambda c: c.allocation.bound):
        lowest = min(c.allocation.height for c in candidates)
        if progress:
            progress(f"arena: {candidate.allocation.height} bytes, at least {candidate.allocation.bound} in this order")
        if lowest <= max(order_bound, candidate.allocation.bound) or seconds <= 0:
            return
        from planner import arena_cpsat  # imported late: ortools takes a second to load, and heuristics often suffice

        candidate.allocation = arena_cpsat.improve(
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
