"""Searches over the sets of ops that have run: a greedy list schedule, and an exact search for the lowest peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from planner.order_model import OrderModel

Path = tuple["Path", int] | None  # the ops that ran, last one outermost


@dataclass
class Found:
    """The best order so far with its peak, and a proven lower bound on the peak of any order (bytes, with state)."""

    order: list[int]
    peak: int
    bound: int


def greedy(model: OrderModel) -> list[int]:
    """Runs, of all ready ops, the one that raises the peak least; then the one that leaves least; then the first."""
    order: list[int] = []
    done, live, peak = 0, model.start, 0
    while len(order) < len(model.names):
        choices = []
        for v in model.ready(done):
            during, after = model.run(done, live, v)
            choices.append((max(0, during - peak), after, v, during))
        _, live, v, during = min(choices)
        peak = max(peak, during)
        done |= 1 << v
        order.append(v)
    return order


def lowest_peak(model: OrderModel, start: Found, *, states: int) -> Found:
    """Lowers the peak and raises the bound, by bisection, until they meet or `states` sets of ops were visited."""
    order, peak, bound = start.order, start.peak, start.bound
    share = max(1, states // 8)  # bisection takes about this many searches until it is near the optimum
    low, budget = bound, bound  # budgets in [bound, low) were given up, not refuted
    while low < peak and states > 0:
        search = _Search(model, budget - model.base, min(share, states))
        path = search.run()
        states -= search.visited
        if path is not None:
            found = _unwind(path)
            if model.peak(found) < peak:
                order, peak = found, model.peak(found)
            if model.peak(found) > budget:
                break  # an input that nobody reads weighs on position 0, which the search leaves out
        elif search.exhausted:
            bound = min(search.next_budget + model.base, peak)
            low = max(low, bound)
        else:
            low = budget + 1
        budget = (low + peak - 1) // 2
    return Found(order, peak, bound)


class _Search:
    """Depth-first search for an order whose every step stays within a budget (bytes, without state).

    Two rules keep it small. A set of ops that led nowhere is not visited twice. And a chain of ready ops that fits
    the budget and ends with no more live bytes than before is run at once: memory as a function of the set of
    executed ops is submodular, so having run the chain never costs anything later. (An update behind its gradient
    is such a chain; this is why updates run the moment their gradient is complete.)"""

    def __init__(self, model: OrderModel, budget: int, states: int) -> None:
        self.model = model
        self.budget = budget
        self.states = states
        self.visited = 0
        self.exhausted = False
        self.next_budget = 1 << 62  # the least budget that would allow a step that this one refused

    def run(self) -> Path:
        """The path of a complete order, or None: then `exhausted` says whether there is proof that none exists."""
        seen: set[int] = set()
        stack: list[tuple[int, int, Path]] = [(0, self.model.start, None)]
        while stack:
            done, live, path = self._run_chains(*stack.pop())
            if done == self.model.all:
                return path
            if done in seen:
                continue
            seen.add(done)
            self.visited += 1
            if self.visited > self.states:
                return None
            children = []
            for v in self.model.ready(done):
                step = self._step(done, live, v)
                if step is not None:
                    children.append((step, v))
            for after, v in sorted(children, reverse=True):  # what leaves least is popped first
                stack.append((done | 1 << v, after, (path, v)))
        self.exhausted = True
        return None

    def _step(self, done: int, live: int, v: int) -> int | None:
        during, after = self.model.run(done, live, v)
        if during <= self.budget:
            return after
        self.next_budget = min(self.next_budget, during)
        return None

    def _run_chains(self, done: int, live: int, path: Path) -> tuple[int, int, Path]:
        ran = True
        while ran:
            ran = False
            for v in self.model.ready(done):
                if done >> v & 1:
                    continue
                chain = self._chain(done, live, v)
                if chain:
                    for op, after in chain:
                        done, live, path = done | 1 << op, after, (path, op)
                    ran = True
        return done, live, path

    def _chain(self, done: int, live: int, v: int) -> list[tuple[int, int]]:
        """(op, live bytes after it) of the shortest chain from v that costs nothing; empty where there is none.

        Each op of it becomes ready by the one before, so that no part of the chain can run without its beginning."""
        chain: list[tuple[int, int]] = []
        now, level = done, live
        while True:
            after = self._step(now, level, v)
            if after is None:
                return []
            now, level = now | 1 << v, after
            chain.append((v, level))
            if level <= live:
                return chain
            woken = [s for s in self.model.after[v] if self.model.before[s] & ~now == 0]
            if not woken:
                return []
            v = min(woken, key=lambda s: (self.model.leaves[s], s))


def _unwind(path: Path) -> list[int]:
    order: list[int] = []
    while path is not None:
        path, v = path
        order.append(v)
    return order[::-1]


def is_valid(model: OrderModel, order: Sequence[int]) -> bool:
    """Whether `order` holds every op once, behind all it waits for."""
    done = 0
    for v in order:
        if done >> v & 1 or model.before[v] & ~done:
            return False
        done |= 1 << v
    return done == model.all
