"""The order of the ops: candidates whose peak of live bytes is low, and a proven bound over every order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from planner.graph import dependencies
from planner.model import Graph, Status
from planner.order_model import OrderModel, needed_anyway
from planner.order_search import Found, greedy, lowest_peak

STEPS_PER_SECOND = 500_000  # ops that the exact search looks at in about a second
LARGEST_FOR_CPSAT = 400  # ops; beyond, building and presolving the model alone takes longer than it may
CPSAT_SHARE = 0.15  # deterministic seconds of CP-SAT on this model that take about as long as a second


@dataclass(frozen=True)
class Schedule:
    """Candidate orders, lowest peak first, and what is known of all orders.

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
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
) -> Schedule:
    """Orders for `graph`: the given one, a greedy list schedule and the best one found; `seconds` bounds the work.

    Raises PlanError where the graph is malformed."""
    model = OrderModel(graph, dependencies(graph))
    given, listed = list(range(len(graph.ops))), greedy(model)
    first = min(given, listed, key=model.peak)
    found = Found(first, model.peak(first), needed_anyway(graph, model))
    found = lowest_peak(model, found, states=int(seconds / 2 * STEPS_PER_SECOND) // len(graph.ops))
    if found.peak > found.bound and seconds > 0 and len(graph.ops) <= LARGEST_FOR_CPSAT:
        from planner import order_cpsat  # imported late: ortools takes a second to load and is rarely needed here

        slice_seconds = seconds * CPSAT_SHARE
        found = order_cpsat.lowest_peak(graph, model, found, seconds=slice_seconds, seed=seed, workers=workers)
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
