"""Finds offsets within a capacity: many short searches in varied orders, by beam search and CP-SAT. Deterministic.

The time that such a search takes has a heavy tail, so that many short tries beat one long one. Tries are numbered and
each depends on the seed and its number alone; the first in that order that succeeds gives the answer,
so that the number of workers changes the speed and not the offsets."""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count

from ortools.sat.python import cp_model

from mcutrain.planner.packing.bound import problem_bound
from mcutrain.planner.packing.cpsat import LARGEST, disjoint_sets, offset_variables, rest_limit, separate
from mcutrain.planner.packing.heuristic import allocation, name_offsets, split
from mcutrain.planner.packing.problem import Allocation, Packing, Problem
from mcutrain.planner.packing.skyline import Skyline, Weights, search

PLAIN = (("load", "span", "area"), ("span", "area", "load"), ("load", "area", "span"), ("sections", "degree", "size"))
LONG, SHORT = 0.03, 0.005  # deterministic seconds of one search; the long ones double now and then
EVERY = 8  # one try in so many is a long one
SHARES = (1.0, 0.6)  # of a beam's order, to go on from
WIDTHS = (10, 30, 100)  # states that a beam keeps
NOISE = 0.4  # a key is multiplied by 1 - NOISE to 1 + NOISE
MEMBERS_A_SECOND = 50  # a deterministic second takes about members / 50 seconds, measured
ROW_SECONDS, STEP_SECONDS = 1e-8, 1e-3  # of a beam: for each state, section and member, and for each step


@dataclass(frozen=True)
class Attempt:
    """An attempt is the answer of one try. units: offsets that fit, or None. refuted: proven that none exist. seconds:
    estimate of the work, repeatable."""

    units: list[int] | None
    refuted: bool
    seconds: float


@dataclass(frozen=True)
class _Task:
    """Holds what all tries share. limit: bytes; sky: None where a problem has overlap pairs or several alignments."""

    packing: Packing
    sets: list[tuple[int, ...]]
    columns: dict[str, list[int]]
    limit: int
    sky: Skyline | None
    seed: int
    done: threading.Event = field(default_factory=threading.Event)  # set when the answer is known
    solvers: list[cp_model.CpSolver] = field(default_factory=list)  # to be stopped then


def fit(
    problem: Problem,
    start: Allocation,
    capacity: int,
    *,
    seconds: float = 10.0,
    seed: int = 0,
    workers: int = 2,
    progress: Callable[[str], None] | None = None,
) -> Allocation:
    """Returns an allocation within `capacity` bytes, or `start` where `seconds` of one core (counted work) find none.

    Where none can exist, the bound of what is returned lies above the capacity."""
    parts = split(problem)
    packing = Packing(parts.rest)
    if start.height <= capacity or sum(map(len, packing.sections())) > LARGEST:
        return start
    limit = rest_limit(parts.joined_height, capacity)
    if limit < problem_bound(parts.rest) or any(limit < nbytes for nbytes in packing.nbytes):
        return _refuted(start, capacity)
    spent = 0.0
    with closing(_answers(_task(packing, limit, seed), workers)) as answers:
        for number, answer in enumerate(answers, start=1):
            if answer.units is not None:
                return allocation(problem, parts.join(name_offsets(parts.rest, packing, answer.units)), start.bound)
            if answer.refuted:
                return _refuted(start, capacity)
            spent += answer.seconds
            if progress and number % EVERY == 0:
                progress(f"arena: {number} tries for {capacity} bytes, {start.height} so far")
            if spent >= seconds:
                break
    return start


def _refuted(start: Allocation, capacity: int) -> Allocation:
    bound = max(start.bound, capacity + 1)
    return Allocation(start.offsets, start.height, bound, "OPTIMAL" if start.height == bound else "FEASIBLE")


def _task(packing: Packing, limit: int, seed: int) -> _Task:
    sets = disjoint_sets(packing)
    simple = not packing.near and all(step == 1 for step in packing.step) and packing.buffers
    sky = Skyline(packing, sets, limit // packing.unit) if simple else None
    return _Task(packing, sets, _columns(packing), limit, sky, seed)


def _answers(task: _Task, workers: int) -> Generator[Attempt, None, None]:
    """Yields the answers of all tries in their order. Later ones are begun meanwhile; closing stops them."""
    numbers = count()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        ahead: deque[Future[Attempt]] = deque(pool.submit(_attempt, task, next(numbers)) for _ in range(2 * workers))
        try:
            while True:
                yield ahead.popleft().result()
                ahead.append(pool.submit(_attempt, task, next(numbers)))
        finally:
            task.done.set()
            for future in ahead:
                future.cancel()
            for solver in list(task.solvers):
                solver.stop_search()


def _attempt(task: _Task, number: int) -> Attempt:
    """Tries the plain orders first, then beams with their completions; now and then a long search in a noisy order."""
    source = random.Random(task.seed * 1_000_003 + number)
    if number < len(PLAIN):
        return _complete(task, _sorted(task.columns, PLAIN[number]), LONG)
    if number % EVERY == 0:
        duration = LONG * 2 ** ((number // EVERY) % 4)
        return _complete(task, _noisy(task, source.choice(("span", "degree", "area")), source), duration)
    if task.sky is None:
        return _complete(task, _noisy(task, source.choice(("span", "degree", "area")), source), 2 * SHORT)
    return _beam(task, task.sky, source)


def _beam(task: _Task, sky: Skyline, source: random.Random) -> Attempt:
    """Searches by a beam with random weights; where it gets stuck, CP-SAT goes on from its orders, whole or in part."""
    weights = Weights(
        10 ** source.uniform(-1.5, 0.5),
        source.choice((0.3, 1.0, 4.0, 16.0)),
        10 ** source.uniform(-1.0, 0.7),
        source.random() < 0.5,
    )
    width = source.choice(WIDTHS)
    found = search(sky, width, weights, source)
    seconds = (found.steps + 1) * (STEP_SECONDS + ROW_SECONDS * width * sky.members.size)
    if found.units is not None:
        return Attempt(found.units, False, seconds)
    for order in found.orders:
        for share in SHARES:
            head = order[: int(share * len(order))]
            placed = set(head)
            tail = [i for i in _noisy(task, "degree", source) if i not in placed]
            answer = _complete(task, head + tail, SHORT)
            seconds += answer.seconds
            if answer.units is not None or answer.refuted:
                return Attempt(answer.units, answer.refuted, seconds)
    return Attempt(None, False, seconds)


def _complete(task: _Task, order: list[int], duration: float) -> Attempt:
    """Runs CP-SAT without objective: it takes always the lowest possible offset, in `order` among equals, with
    learning."""
    if task.done.is_set():
        return Attempt(None, False, 0.0)  # nobody reads it
    model = cp_model.CpModel()
    offsets = offset_variables(model, task.packing, task.limit)
    separate(model, task.packing, task.sets, offsets)
    model.add_decision_strategy([offsets[i] for i in order], cp_model.CHOOSE_LOWEST_MIN, cp_model.SELECT_MIN_VALUE)
    solver = cp_model.CpSolver()
    solver.parameters.catch_sigint_signal = False
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = duration
    solver.parameters.search_branching = cp_model.FIXED_SEARCH
    solver.parameters.linearization_level = 0
    solver.parameters.cp_model_presolve = False  # takes longer than most searches
    task.solvers.append(solver)
    status = solver.solve(model)
    task.solvers.remove(solver)
    members = sum(map(len, task.sets)) + 100 * len(task.packing.near)
    seconds = 0.02 + solver.response_proto.deterministic_time * max(8.0, members / MEMBERS_A_SECOND)
    found = status in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    units = [solver.value(x) for x in offsets] if found else None
    return Attempt(units, status == cp_model.INFEASIBLE, seconds)


def _columns(packing: Packing) -> dict[str, list[int]]:
    """Returns, per buffer, what orders sort by: large means early."""
    size = packing.size
    load, sections = [0] * len(size), [0] * len(size)
    for section in packing.sections():
        total = sum(size[i] for i in section)
        for i in section:
            load[i] = max(load[i], total)
            sections[i] += 1
    span = [b.upper - b.lower for b in packing.buffers]
    area = [s * t for s, t in zip(size, span, strict=True)]
    degree = [len(pairs) for pairs in packing.apart]
    return {"load": load, "sections": sections, "span": span, "area": area, "degree": degree, "size": size}


def _sorted(columns: dict[str, list[int]], keys: Sequence[str]) -> list[int]:
    return sorted(range(len(columns["size"])), key=lambda i: (*(-columns[key][i] for key in keys), i))


def _noisy(task: _Task, key: str, source: random.Random) -> list[int]:
    column = task.columns[key]
    noisy = [value * source.uniform(1 - NOISE, 1 + NOISE) for value in column]
    return sorted(range(len(column)), key=lambda i: (-noisy[i], i))
