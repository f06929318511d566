"""Goes from a problem to offsets: heuristics, searches within a capacity, CP-SAT for what is left, the checker."""

from __future__ import annotations

import math
from collections.abc import Callable

from mcutrain.planner.errors import BudgetError, PlanError
from mcutrain.planner.model import Status
from mcutrain.planner.packing.bound import too_many
from mcutrain.planner.packing.check import check_allocation
from mcutrain.planner.packing.heuristic import heuristic
from mcutrain.planner.packing.problem import Allocation, Problem

QUICK = 60  # passes of the heuristic before a search within a capacity; all of them take a second or two
SHARE = 0.75  # of the seconds, for searches within a capacity; the rest lowers the height step by step
SHOWN = 8  # buffers named in a message


def solve(
    problem: Problem,
    *,
    capacity: int | None = None,
    seconds: float = 20.0,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
) -> Allocation:
    """Returns the lowest allocation found, with a proven bound; checked by `check_allocation`.

    capacity: bytes that suffice; an allocation within it is looked for and taken as it is found. Where none was found,
    the lowest known comes back, higher than the capacity; its status is INFEASIBLE where none can exist.
    seconds: work to spend where a quick heuristic leaves a gap, counted deterministically, about seconds of one core.
    workers: threads; they change the speed, never the offsets. progress: called with one line of text now and then.

    Raises PlanError where an argument is malformed, BudgetError where one buffer alone is larger than the capacity."""
    _check_arguments(problem, capacity, seconds, workers)
    best = heuristic(problem, seed=seed, passes=QUICK)
    goal = best.bound if capacity is None else capacity
    if seconds > 0 and best.height > goal >= best.bound:
        best = _searched(problem, best, goal, capacity, seconds, seed, workers, progress)
    elif seconds > 0 and best.height > goal:
        best = min(best, heuristic(problem, seed=seed), key=lambda a: a.height)
    result = Allocation(best.offsets, best.height, best.bound, _status(best, capacity))
    check_allocation(problem, result)
    return result


def _searched(
    problem: Problem,
    best: Allocation,
    goal: int,
    capacity: int | None,
    seconds: float,
    seed: int,
    workers: int,
    progress: Callable[[str], None] | None,
) -> Allocation:
    """Searches for an allocation within `goal` bytes, then lowers what was found.

    Without a capacity the thorough heuristic comes first: it often meets the bound, which then is the goal."""
    from mcutrain.planner.packing.cpsat import improve  # imported late: ortools takes a second to load
    from mcutrain.planner.packing.fit import fit

    if progress:
        progress(f"arena: {best.height} bytes, at least {best.bound}")
    if capacity is None:
        best = min(best, heuristic(problem, seed=seed), key=lambda a: a.height)
    best = fit(problem, best, goal, seconds=SHARE * seconds, seed=seed, workers=workers, progress=progress)
    if best.height <= goal or (capacity is not None and best.bound > capacity):
        return best
    if capacity is not None:
        other = heuristic(problem, seed=seed)
        if other.height < best.height:
            best = Allocation(other.offsets, other.height, best.bound, other.status)
    return improve(problem, best, seconds=(1 - SHARE) * seconds, seed=seed, workers=workers, progress=progress)


def _check_arguments(problem: Problem, capacity: int | None, seconds: float, workers: int) -> None:
    if not math.isfinite(seconds) or seconds < 0:
        raise PlanError(f"seconds is {seconds}: give a finite number from 0 on")
    if workers < 1:
        raise PlanError(f"workers is {workers}: give 1 or more")
    if capacity is None:
        return
    if capacity < 0:
        raise PlanError(f"the capacity is {capacity} bytes: give 0 or more")
    largest = max(problem.buffers, key=lambda b: b.size, default=None)
    if largest is not None and largest.size > capacity:
        message = f"buffer {largest.id!r} alone has {largest.size} bytes, more than the capacity of {capacity}"
        raise BudgetError(f"{message}: raise the capacity or split the buffer")


def _status(best: Allocation, capacity: int | None) -> Status:
    if capacity is not None and best.bound > capacity:
        return "INFEASIBLE"
    return "OPTIMAL" if best.height == best.bound else "FEASIBLE"


def over_capacity(problem: Problem, found: Allocation, capacity: int) -> str:
    """Says in one line why `found` misses `capacity` bytes, proven or not, and the buffers that cannot be live
    together."""
    figures = f"the lowest height found is {found.height}, the proven bound {found.bound}"
    if found.bound <= capacity:
        return f"no allocation within {capacity} bytes was found in time: {figures}; give more seconds or bytes"
    verdict = f"no allocation can fit {capacity} bytes: {figures}"
    crowd = too_many(problem, capacity)
    if crowd is None:
        return f"{verdict} (by exhaustive search; the bytes live together would fit); raise the capacity"
    moment, buffers = crowd
    names = ", ".join(f"{b.id} ({b.size})" for b in buffers[:SHOWN])
    if len(buffers) > SHOWN:
        names += f" and {len(buffers) - SHOWN} more of {sum(b.size for b in buffers[SHOWN:])} bytes together"
    total = sum(b.size for b in buffers)
    return f"{verdict}; at {moment} these {len(buffers)} are live together and have {total} bytes: {names}"
