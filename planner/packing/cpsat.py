"""Finds offsets by CP-SAT: tries to beat a given allocation, or proves that nothing is lower. Deterministic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ortools.sat.python import cp_model

from mcutrain.planner.model import Status
from mcutrain.planner.packing.bound import problem_bound
from mcutrain.planner.packing.heuristic import allocation, name_offsets, preorders, split
from mcutrain.planner.packing.problem import Allocation, Packing, Problem

# Preorders to branch in (None: the solver's own search), two slices at a time whatever the number of workers.
SEARCHES: tuple[tuple[int | None, int | None], ...] = ((0, None), (4, 5), (6, 1))
LARGEST = 200_000  # members of all sections together; beyond, building the model alone takes longer than it may
WEIGHT, MOST_SHARE = 1_500, 0.125  # a deterministic second takes about max(8, weight / 1500) seconds, measured
MOST_VALUES = 100_000  # of an aligned offset in a domain
FIRST_SLICE = 0.05  # deterministic seconds; every turn of all searches is twice as long


@dataclass(frozen=True)
class SliceAnswer:
    """Holds what one slice found: offsets in units (None: none), and a proven lower bound on the rest's height in
    bytes."""

    offsets: list[int] | None
    bound: int


def improve(
    problem: Problem,
    start: Allocation,
    *,
    capacity: int | None = None,
    seconds: float = 10.0,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
) -> Allocation:
    """Lowers `start` until it is proven optimal or `seconds` of one core are spent (counted as deterministic work).

    A problem that is too large for the solver comes back as it was. With a capacity, only allocations that fit it are
    looked for, and the status is INFEASIBLE where none can exist. Slices always run to their end, so that the number
    of workers changes the speed and not the plan."""
    parts = split(problem)
    packing = Packing(parts.rest)
    floor = max(start.bound, problem_bound(problem))
    best, rest_bound, turn = start, problem_bound(parts.rest), 0
    seconds = _solver_seconds(packing, seconds)
    sets = disjoint_sets(packing) if seconds > 0 else []
    while seconds > 0 and best.height > floor:
        goal = best.height - 1 if capacity is None else min(best.height - 1, capacity)
        limit = rest_limit(parts.joined_height, goal)
        duration = min(FIRST_SLICE * 2 ** (turn // len(SEARCHES)), max(seconds / 2, 0.01))
        pair = SEARCHES[turn % len(SEARCHES)]
        answers = _race(packing, sets, pair, limit, rest_bound, duration, seed, workers) if limit >= 0 else []
        rest_bound = max([rest_bound, *(a.bound for a in answers)])
        floor = max(floor, min(parts.joined_height(rest_bound), best.height))
        found = [a.offsets for a in answers if a.offsets is not None]
        if found:
            units = min(found, key=packing.height)
            best = allocation(problem, parts.join(name_offsets(parts.rest, packing, units)), floor)
        elif rest_bound > limit:
            break  # nothing fits under the goal
        seconds -= 2 * duration
        turn += 1
        if progress:
            progress(f"arena: {best.height} bytes, at least {floor}")
    return _verdict(best, floor, capacity)


def _solver_seconds(packing: Packing, seconds: float) -> float:
    """Returns deterministic seconds for about `seconds` of a core; 0 where the problem is too large.

    The solver's clock counts the propagation of large NoOverlaps, and of many disjunctions, only in part."""
    members = sum(map(len, packing.sections()))
    weight = members + 100 * len(packing.near)
    return 0.0 if members > LARGEST else seconds * min(MOST_SHARE, WEIGHT / max(1, weight))


def _verdict(best: Allocation, floor: int, capacity: int | None) -> Allocation:
    status: Status = "OPTIMAL" if best.height == floor else "FEASIBLE"
    if capacity is not None and floor > capacity:
        status = "INFEASIBLE"
    return Allocation(best.offsets, best.height, floor, status)


def rest_limit(joined_height: Callable[[int], int], goal: int) -> int:
    """Returns the greatest height of the rest, in bytes, with which the whole stays within `goal`; -1 where none
    does."""
    low, high = -1, goal
    while low < high:
        middle = (low + high + 1) // 2
        if joined_height(middle) <= goal:
            low = middle
        else:
            high = middle - 1
    return low


def _race(
    packing: Packing,
    sets: list[tuple[int, ...]],
    searches: Sequence[int | None],
    limit: int,
    bound: int,
    seconds: float,
    seed: int,
    workers: int,
) -> list[SliceAnswer]:
    """Runs one slice of each of the searches, at most `workers` at a time; the solver releases the interpreter's
    lock."""
    orders = preorders(packing)
    branching = [None if k is None else orders[k % len(orders)] for k in searches]
    with ThreadPoolExecutor(max(1, min(workers, len(branching)))) as pool:
        return list(pool.map(lambda order: _slice(packing, sets, limit, bound, seconds, seed, order), branching))


def _slice(
    packing: Packing,
    sets: list[tuple[int, ...]],
    limit: int,
    bound: int,
    seconds: float,
    seed: int,
    order: list[int] | None,
) -> SliceAnswer:
    """Solves once: minimises the height within `limit` bytes, branching on the offsets in `order` (None: free
    search)."""
    if any(limit < nbytes for nbytes in packing.nbytes):
        return SliceAnswer(None, limit + 1)
    model = cp_model.CpModel()
    offsets = offset_variables(model, packing, limit)
    height = model.new_int_var(min(bound, limit), limit, "height")
    for x, nbytes in zip(offsets, packing.nbytes, strict=True):
        model.add(height >= x * packing.unit + nbytes)
    separate(model, packing, sets, offsets)
    model.minimize(height)
    solver = cp_model.CpSolver()
    solver.parameters.catch_sigint_signal = False  # the interpreter's handler stays: two solvers would take it in turn
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = seed
    solver.parameters.max_deterministic_time = seconds
    if order is not None:
        model.add_decision_strategy([offsets[i] for i in order], cp_model.CHOOSE_LOWEST_MIN, cp_model.SELECT_MIN_VALUE)
        solver.parameters.search_branching = cp_model.FIXED_SEARCH
        solver.parameters.linearization_level = 0
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return SliceAnswer(None, limit + 1)
    proven = max(bound, math.ceil(solver.best_objective_bound - 1e-6))
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return SliceAnswer([solver.value(x) for x in offsets], proven)
    return SliceAnswer(None, bound)


def offset_variables(model: cp_model.CpModel, packing: Packing, limit: int) -> list[cp_model.IntVar]:
    """Makes offsets in units that keep each buffer inside `limit` bytes, on its alignment."""
    result = []
    for i, nbytes in enumerate(packing.nbytes):
        last, step = (limit - nbytes) // packing.unit, packing.step[i]
        many = last // step > MOST_VALUES  # a list of them would take the memory
        listed = step > 1 and not many
        domain = cp_model.Domain.from_values(list(range(0, last + 1, step))) if listed else cp_model.Domain(0, last)
        result.append(model.new_int_var_from_domain(domain, f"x{i}"))
        if step > 1 and many:
            model.add(result[-1] == step * model.new_int_var(0, last // step, f"m{i}"))
    return result


def separate(
    model: cp_model.CpModel, packing: Packing, sets: list[tuple[int, ...]], offsets: list[cp_model.IntVar]
) -> None:
    """Adds one NoOverlap for each maximal set of buffers that are live together and all disjoint.

    The two members of an overlap pair stand in different copies of their set, and get a disjunction of their own."""
    intervals = [
        model.new_fixed_size_interval_var(x, size, f"i{i}")
        for i, (x, size) in enumerate(zip(offsets, packing.size, strict=True))
    ]
    for clique in sets:
        model.add_no_overlap([intervals[i] for i in clique])
    for (o, i), least in packing.near.items():
        if least + packing.size[i] > 0:
            below = model.new_bool_var(f"b{o}_{i}")
            model.add(offsets[o] + least <= offsets[i]).only_enforce_if(below)
            model.add(offsets[i] + packing.size[i] <= offsets[o]).only_enforce_if(~below)


def disjoint_sets(packing: Packing) -> list[tuple[int, ...]]:
    """Returns maximal sets of buffers that are pairwise disjoint in memory and together hold every such pair."""
    sets: set[tuple[int, ...]] = set()
    for section in packing.sections():
        live = set(section)
        pairs = [(o, i) for o, i in packing.near if o in live and i in live]
        over, under = {o for o, _ in pairs}, {i for _, i in pairs}
        sets.add(tuple(sorted(live - over)))
        sets.add(tuple(sorted(live - under)))
        loose = [(o, i) for o in over for i in under] + [(a, b) for a in over & under for b in live]
        sets |= {tuple(sorted((a, b))) for a, b in loose if a != b and not {(a, b), (b, a)} & packing.near.keys()}
    largest_first = sorted(sets, key=lambda s: (-len(s), s))
    kept: list[set[int]] = []
    for members in largest_first:
        if len(members) > 1 and not any(other.issuperset(members) for other in kept):
            kept.append(set(members))
    return [tuple(sorted(members)) for members in kept]
