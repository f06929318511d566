"""From graph to plan: candidate orders, offsets by heuristics, offsets by CP-SAT where a gap is left, the checker."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, replace

from mcutrain.planner import rematerialise as recompute
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
from mcutrain.planner.rematerialise import Again
from mcutrain.planner.stream import choose as stream_choice
from mcutrain.planner.stream import rewrite as streaming
from mcutrain.planner.stream.check import check_streams


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
    change the speed, never the plan. stream: also choose runs of ops that run over rows or channels (Plan.streams; the
    rest of the plan speaks of stream.apply(graph, streams)). progress: called with one line of text now and then.

    Raises PlanError where the graph is malformed, BudgetError where no plan within the capacity was found."""
    work = _Work(seconds, seed, workers, progress)
    found = _streamed(graph, capacity, work) if stream else _unstreamed(graph, capacity, work, None)
    if capacity is not None and found.height > capacity:
        planned = planned_graph(graph, found)
        raise BudgetError(over_budget(planned, found, capacity, is_proof=not stream), found.height)
    return found


@dataclass(frozen=True)
class _Work:
    """How much a plan may cost, and whom to tell: the arguments of plan()."""

    seconds: float
    seed: int
    workers: int
    progress: Callable[[str], None] | None


def _unstreamed(graph: Graph, capacity: int | None, work: _Work, below: int | None) -> Plan | None:
    """The best plan of the graph's ops as they are; None where it is proven not to be below `below` bytes."""
    orders = schedule(graph, seconds=work.seconds / 2, seed=work.seed, progress=work.progress)
    if below is not None and orders.bound >= below:
        return None
    candidates = _candidates(graph, orders, work.seed, below)
    _refine(candidates, orders.bound, capacity, replace(work, seconds=work.seconds / 2))
    if not candidates:
        return None
    result = _assemble(graph, orders, min(candidates, key=lambda c: c.allocation.height))
    check(graph, result)
    return result


def _streamed(graph: Graph, capacity: int | None, work: _Work) -> Plan:
    """The lowest of the plans with the streams worth trying, and without any."""
    model = OrderModel(graph, dependencies(graph))  # refuses a malformed graph
    ready = streaming.eager(graph)
    ways = stream_choice.choose(ready)
    share = replace(work, seconds=work.seconds / (len(ways) + 1))
    best: Plan | None = None
    for streams in ways:  # the one with the fewest streamed ops comes first and wins a draw
        found = _unstreamed(streaming.apply(ready, streams), None, share, best and best.height)
        if found is not None and (best is None or found.height < best.height):
            best = replace(found, streams=streams)
    if best is None or best.height > needed_anyway(graph, model) - model.padding:
        best = _lower(best, _unstreamed(graph, capacity, share, best and best.height))
    check_streams(ready, best)
    return best


def _lower(best: Plan | None, other: Plan | None) -> Plan:
    return min((p for p in (best, other) if p is not None), key=lambda p: p.height)


def plan_recomputing(
    graph: Graph,
    capacity: int,
    *,
    seconds: float = 20.0,
    seed: int = 0,
    workers: int = 2,
    stream: bool = True,
    untouched: Container[str] = (),
    progress: Callable[[str], None] | None = None,
) -> tuple[tuple[Again, ...], Plan]:
    """As plan(); where that does not fit `capacity` bytes, with cheap ops run a second time instead of results kept.

    untouched: names of ops that must go on reading what they read now. Returns the ops to run again, and the plan of
    recompute.apply(graph, ops). Raises as plan() does."""
    options = {"seed": seed, "workers": workers, "stream": stream}
    found = plan(graph, seconds=seconds, progress=progress, **options)

    def replan(changed: Graph) -> Plan:
        return plan(changed, seconds=seconds / 4, **options)

    again, best = recompute.lower(graph, found, capacity, replan, planned_graph, untouched, progress)
    if best.height > capacity:
        changed = recompute.apply(graph, again)
        raise BudgetError(over_budget(planned_graph(changed, best), best, capacity, is_proof=False), best.height)
    return again, best


def planned_graph(graph: Graph, found: Plan) -> Graph:
    """The graph that a plan's order, offsets and lifetimes speak of: `graph` with each stream as one op."""
    return streaming.apply(streaming.eager(graph), found.streams) if found.streams else graph


def _candidates(graph: Graph, orders: Schedule, seed: int, below: int | None) -> list[_Candidate]:
    """The orders with heuristic allocations, but for those that cannot be lower than an allocation found before,
    or than `below`."""
    result: list[_Candidate] = []
    lowest = below
    for order, peak in zip(orders.orders, orders.peaks, strict=True):
        packing = problem(graph, order)
        if lowest is None or max(orders.bound, problem_bound(packing)) < lowest:
            result.append(_Candidate(order, peak, packing, heuristic(packing, seed=seed)))
            lowest = min(lowest or result[-1].allocation.height, result[-1].allocation.height)
    return result


def _refine(candidates: list[_Candidate], order_bound: int, capacity: int | None, work: _Work) -> None:
    """Lets CP-SAT lower the allocations, most promising order first, until none can beat the best."""
    if capacity is not None and order_bound > capacity:
        return  # no plan can fit: nothing to look for
    for candidate in sorted(candidates, key=lambda c: c.allocation.bound):
        lowest = min(c.allocation.height for c in candidates)
        if work.progress:
            height, bound = candidate.allocation.height, candidate.allocation.bound
            work.progress(f"arena: {height} bytes, at least {bound} in this order")
        if lowest <= max(order_bound, candidate.allocation.bound) or work.seconds <= 0:
            return
        from mcutrain.planner.packing import (
            cpsat as arena_cpsat,  # imported late: ortools takes a second to load, and heuristics often suffice
        )

        candidate.allocation = arena_cpsat.improve(
            candidate.problem,
            candidate.allocation,
            capacity=capacity,
            seconds=work.seconds / len(candidates),
            seed=work.seed,
            workers=work.workers,
            progress=work.progress,
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
