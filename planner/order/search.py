"""Searches over the sets of ops that have run: a greedy list schedule, and an exact search for the lowest peak."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mcutrain.planner.order.model import OrderModel

Path = tuple["Path", int] | None  # the ops that ran, last one outermost
FIRST_SHARE, GROWTH = 4, 4  # sets of ops for each op in a search of the first round; times as many in the next one
LONGEST_CHAIN = 100  # ops that are followed in the hope that they cost nothing together


@dataclass
class Incumbent:
    """Holds the best order so far with its peak, and a proven lower bound on the peak of any order (bytes, with
    state)."""

    order: list[int]
    peak: int
    bound: int


@dataclass(frozen=True)
class _State:
    """A state is a set of ops that ran, the bytes live after it (without state), the ops that may run next, and how it
    came."""

    done: int
    live: int
    ready: list[int]
    path: Path


def greedy(model: OrderModel) -> list[int]:
    """Runs, of all ready ops, the one that raises the peak least; then the one that leaves least; then the first."""
    order: list[int] = []
    done, live, peak, ready = 0, model.start, 0, model.ready(0)
    while ready:
        choices = []
        for v in ready:
            during, after = model.run(done, live, v)
            choices.append((max(0, during - peak), after, v, during))
        _, live, v, during = min(choices)
        peak = max(peak, during)
        done |= 1 << v
        order.append(v)
        ready = model.ready_after(ready, done, (v,))
    return order


def lowest_peak(model: OrderModel, start: Incumbent, *, states: int) -> Incumbent:
    """Lowers the peak and raises the bound, by bisection, until they meet or `states` sets of ops were visited.

    A search that takes too long is given up; once bisection has nothing left, it begins again with longer ones. What
    it does first does not depend on `states`, so that more of them never give a higher peak."""
    found, share = start, FIRST_SHARE * len(model.names)
    while found.bound < found.peak and states > 0:
        found, states, goes_on = _bisect(model, found, share, states)
        if not goes_on:
            break
        share *= GROWTH
    return found


def _bisect(model: OrderModel, start: Incumbent, share: int, states: int) -> tuple[Incumbent, int, bool]:
    """Does one round of searches, each of at most `share` sets: what is known then, the sets left, and whether another
    round may know more."""
    order, peak, bound = start.order, start.peak, start.bound
    low, budget = bound, bound  # budgets in [bound, low) were given up, not refuted
    while low < peak and states > 0:
        search = _Search(model, budget - model.base, min(share, states))
        path = search.run()
        states -= search.visited
        if path is not None:
            found = _unwind(path)
            if model.peak(found) < peak:
                order, peak = found, model.peak(found)
            if model.peak(found) > budget:  # an input that nobody reads weighs on position 0, which searches leave out
                return Incumbent(order, peak, bound), states, False
        elif search.exhausted:
            bound = min(search.next_budget + model.base, peak)
            low = max(low, bound)
        else:
            low = budget + 1
        budget = (low + peak - 1) // 2
    return Incumbent(order, peak, bound), states, True


class _Search:
    """Searches depth first for an order whose every step stays within a budget (bytes, without state).

    Two rules keep it small. A set of ops that led nowhere is not visited twice. And a chain of ready ops that fits
    the budget and ends with no more live bytes than before is run at once: memory as a function of the set of
    executed ops is submodular, so having run the chain never costs anything later. (An update behind its gradient
    is such a chain; this is why updates run the moment their gradient is complete.)"""

    def __init__(self, model: OrderModel, budget: int, states: int) -> None:
        self.model = model
        self.budget = budget
        self.states = states
        self.visited = 0  # sets of ops
        self.exhausted = False
        self.next_budget = 1 << 62  # the least budget that would allow a step that this one refused

    def run(self) -> Path:
        """Returns the path of a complete order, or None: then `exhausted` says whether there is proof that none
        exists."""
        seen: set[int] = set()
        stack = [_State(0, self.model.start, self.model.ready(0), None)]
        while stack:
            state = self._run_chains(stack.pop())
            if state.done == self.model.all:
                return state.path
            if state.done in seen:
                continue
            seen.add(state.done)
            if self.visited > self.states:
                return None
            children = []
            for v in state.ready:
                after = self._step(state.done, state.live, v)
                if after is not None:
                    children.append((after, v))
            for after, v in sorted(children, reverse=True):  # what leaves least is popped first
                stack.append(self._behind(state, [(v, after)]))
        self.exhausted = True
        return None

    def _step(self, done: int, live: int, v: int) -> int | None:
        during, after = self.model.run(done, live, v)
        if during <= self.budget:
            return after
        self.next_budget = min(self.next_budget, during)
        return None

    def _behind(self, state: _State, ran: Sequence[tuple[int, int]]) -> _State:
        """Returns the state after more ops, each with the live bytes after it."""
        done, live, path = state.done, state.live, state.path
        self.visited += len(ran)
        for v, after in ran:
            done, live, path = done | 1 << v, after, (path, v)
        return _State(done, live, self.model.ready_after(state.ready, done, [v for v, _ in ran]), path)

    def _run_chains(self, state: _State) -> _State:
        ran = True
        while ran:
            ran = False
            for v in state.ready:
                if state.done >> v & 1:
                    continue
                chain = self._chain(state, v)
                if chain:
                    state, ran = self._behind(state, chain), True
        return state

    def _chain(self, state: _State, v: int) -> list[tuple[int, int]]:
        """Returns (op, live bytes after it) for the shortest chain from v that costs nothing; empty where there is
        none.

        Each op of it becomes ready by the one before, so that no part of the chain can run without its beginning."""
        chain: list[tuple[int, int]] = []
        now, level = state.done, state.live
        while len(chain) < LONGEST_CHAIN:
            after = self._step(now, level, v)
            if after is None:
                return []
            now, level = now | 1 << v, after
            chain.append((v, level))
            if level <= state.live or len(state.ready) == len(chain) == 1:  # or no other op can run now
                return chain
            woken = [s for s in self.model.after[v] if not self.model.before[s] & ~now]
            if not woken:
                return []
            v = min(woken, key=lambda s: (self.model.leaves[s], s))
        return []


def _unwind(path: Path) -> list[int]:
    order: list[int] = []
    while path is not None:
        path, v = path
        order.append(v)
    return order[::-1]


def is_valid(model: OrderModel, order: Sequence[int]) -> bool:
    """Says whether `order` holds every op once, behind all it waits for."""
    done = 0
    for v in order:
        if done >> v & 1 or model.before[v] & ~done:
            return False
        done |= 1 << v
    return done == model.all
