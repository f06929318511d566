"""Orders the ops: finds candidates whose peak of live bytes is low, and a proven bound over every order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mcutrain.planner.graph import dependencies
from mcutrain.planner.model import Graph, Status
from mcutrain.planner.order.model import OrderModel, needed_anyway
from mcutrain.planner.order.search import Incumbent, greedy, lowest_peak

STATES_PER_SECOND = 25_000  # sets of ops that the exact search visits in about a second
LEAST_STATES = 8  # for each op, visited even in no time at all: often enough for the lowest peak
LARGEST_FOR_CPSAT = 100  # ops; beyond, the exact search finds lower peaks in the same time
CPSAT_SHARE = 0.4  # deterministic seconds of CP-SAT on this model that take about as long as a second


@dataclass(frozen=True)
class Schedule:
    """Holds candidate orders, lowest peak first, and what is known of all orders.

    peaks: bytes live at the worst position of each order, sizes rounded up to the common alignment.
    bound: proven lower bound in bytes on the arena over every order.
    status: OPTIMAL where no order has a lower peak than the first candidate, else FEASIBLE."""

    orders: tuple[tuple[str, ...], ...]
    peaks: tuple[int, ...]
    bound: int
    status: Status


def schedule(
    graph: Graph,
    *,
    seconds: float = 10.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Schedule:
    """Returns orders for `graph`: the given one, a greedy list schedule and the best one found; `seconds` bounds the
    work.

    All of it runs on one core. Raises PlanError where the graph is malformed."""
    model = OrderModel(graph, dependencies(graph))
    given, listed = list(range(len(graph.ops))), greedy(model)
    first = min(given, listed, key=model.peak)
    found = Incumbent(first, model.peak(first), needed_anyway(graph, model))
    share = seconds / 2 if len(graph.ops) <= LARGEST_FOR_CPSAT else seconds
    states = max(LEAST_STATES * len(graph.ops), int(share * STATES_PER_SECOND))
    found = lowest_peak(model, found, states=states)
    if found.peak > found.bound and share < seconds:
        from mcutrain.planner.order import cpsat  # imported late: ortools takes a second and is rarely needed here

        found = cpsat.lowest_peak(graph, model, found, seconds=(seconds - share) * CPSAT_SHARE, seed=seed)
    if progress:
        progress(f"order: {found.peak} bytes live at the worst op, at least {found.bound} in any order")
    candidates = sorted({tuple(found.order), tuple(listed), tuple(given)}, key=lambda o: (model.peak(o), o))
    candidates.sort(key=lambda o: (model.peak(o), o != tuple(found.order)))
    return Schedule(
        tuple(tuple(model.names[v] for v in order) for order in candidates),
        tuple(model.peak(order) for order in candidates),
        found.bound - model.padding,
        "OPTIMAL" if found.peak == found.bound else "FEASIBLE",
    )
