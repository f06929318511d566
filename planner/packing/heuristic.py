"""Finds offsets by heuristics: greedy in many preorders, then a seeded local search, until the height meets the
bound."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mcutrain.planner.packing.bound import problem_bound
from mcutrain.planner.packing.problem import Allocation, Buffer, Packing, Problem, round_up

LEAST_PASSES, MOST_PASSES = 12, 2000
VISITS = 1_000_000  # visits of a neighbour in all passes together; about a second


@dataclass(frozen=True)
class Split:
    """Sets apart the buffers that live throughout and overlap nobody (trained weights): those form one block.

    They conflict with everything, so any allocation can be pushed together around them without getting higher:
    the block may lie below all others, or above them, without loss. Where alignments differ this holds only for buffers
    whose size is a multiple of all of them, and only those are taken out."""

    pinned: tuple[Buffer, ...]
    rest: Problem

    def block(self, offset: int, *, slack_on_top: bool) -> dict[str, int]:
        """Returns offsets of the pinned buffers stacked from `offset` on."""
        result = {}
        for buffer in sorted(self.pinned, key=lambda b: (_slack(b) if slack_on_top else 0, -b.align, -b.size, b.id)):
            result[buffer.id] = round_up(offset, buffer.align)
            offset = result[buffer.id] + buffer.size
        return result

    def join(self, offsets: dict[str, int]) -> dict[str, int]:
        """Returns the offsets of all buffers, from those of the rest: the block at the bottom unless the top is
        lower."""
        below = self.block(0, slack_on_top=False)
        base = round_up(_height(self.pinned, below), self._coarsest())
        shifted = {name: offset + base for name, offset in offsets.items()}
        first = below | shifted
        above = self.block(_height(self.rest.buffers, offsets), slack_on_top=True)
        second = above | offsets
        every = (*self.pinned, *self.rest.buffers)
        return second if _height(every, second) < _height(every, first) else first

    def _coarsest(self) -> int:
        return math.lcm(*(b.align for b in self.rest.buffers))

    def joined_height(self, rest_height: int) -> int:
        """Returns the bytes of the whole arena when the rest needs `rest_height` bytes (and no lower is possible)."""
        below = self.block(0, slack_on_top=False)
        base = round_up(_height(self.pinned, below), self._coarsest())
        above = self.block(rest_height, slack_on_top=True)
        tops = [base + rest_height] if self.rest.buffers else []
        return min([*tops, max(_height(self.pinned, above), rest_height)])


def split(problem: Problem) -> Split:
    """Takes the buffers that live throughout out of the problem."""
    begin = min((b.lower for b in problem.buffers), default=0)
    end = max((b.upper for b in problem.buffers), default=0)
    shared = {name for pair in problem.overlaps for name in (pair.input, pair.output)}
    aligns = {b.align for b in problem.buffers if b.size > 0}
    coarsest = math.lcm(*aligns)
    pinned = tuple(
        b
        for b in problem.buffers
        if (b.lower, b.upper) == (begin, end)
        and b.id not in shared
        and b.size > 0
        and (len(aligns) == 1 or b.size % coarsest == 0)
    )
    gone = {b.id for b in pinned}
    rest = Problem(tuple(b for b in problem.buffers if b.id not in gone), problem.overlaps)
    return Split(pinned, rest)


def heuristic(problem: Problem, *, seed: int = 0, passes: int | None = None) -> Allocation:
    """Places every buffer, with at most `passes` greedy passes (None: about a second of them).

    The same seed gives the same offsets: work is counted, not timed."""
    parts = split(problem)
    bound = problem_bound(problem)
    packing = Packing(parts.rest)
    if passes is None:
        visits = sum(map(len, packing.apart)) + len(packing.buffers) + 1
        passes = max(LEAST_PASSES, min(MOST_PASSES, VISITS // visits))

    def good_enough(units: Sequence[int]) -> bool:
        return parts.joined_height(packing.height(units)) <= bound

    offsets = parts.join(name_offsets(parts.rest, packing, _search(packing, good_enough, seed, passes)))
    return allocation(problem, offsets, bound)


def allocation(problem: Problem, offsets: dict[str, int], bound: int) -> Allocation:
    """Makes an allocation whose status follows from its height and the bound."""
    height = _height(problem.buffers, offsets)
    return Allocation(offsets, height, bound, "OPTIMAL" if height == bound else "FEASIBLE")


def name_offsets(problem: Problem, packing: Packing, units: Sequence[int]) -> dict[str, int]:
    """Turns units into bytes, by buffer id; empty buffers lie at 0."""
    placed = {b.id: x * packing.unit for b, x in zip(packing.buffers, units, strict=True)}
    return {b.id: placed.get(b.id, 0) for b in problem.buffers}


def place(packing: Packing, order: Sequence[int]) -> list[int]:
    """Puts one buffer after the other at the lowest offset that the ones placed before allow."""
    offsets = [-1] * len(order)
    for i in order:
        forbidden = sorted(  # open intervals in which i would be too close to j
            (offsets[j] - w_ij, offsets[j] + w_ji) for j, w_ij, w_ji in packing.apart[i] if offsets[j] >= 0
        )
        step, x = packing.step[i], 0
        for low, high in forbidden:
            if low >= x:
                break  # all that follow begin at or above x
            if high > x:
                x = round_up(high, step)
        offsets[i] = x
    return offsets


def preorders(packing: Packing) -> list[list[int]]:
    """Returns orders of the buffers worth trying: large, long-lived, or in a crowded section first (see MiniMalloc,
    TFLM)."""
    size, buffers = packing.size, packing.buffers
    load = [0] * len(size)
    for section in packing.sections():
        total = sum(size[i] for i in section)
        for i in section:
            load[i] = max(load[i], total)
    span = [b.upper - b.lower for b in buffers]
    area = [s * t for s, t in zip(size, span, strict=True)]
    degree = [len(pairs) for pairs in packing.apart]
    keys = [
        (load, span, area),
        (load, size, span),
        (size, span, load),
        (area, load, size),
        (span, area, load),
        (load, area, span),
        (span, degree, size),
        (degree, size, span),
        ([-b.lower for b in buffers], size, span),
        ([b.upper for b in buffers], size, span),
    ]
    result = []
    for key in keys:
        order = sorted(range(len(size)), key=lambda i: (*(-column[i] for column in key), i))
        if order not in result:
            result.append(order)
    return result


def _search(packing: Packing, good_enough: Callable[[Sequence[int]], bool], seed: int, passes: int) -> list[int]:
    """Returns the best of all preorders, then of a climb that moves what lies on top (and one other) to the front."""
    if not packing.buffers:
        return []
    best: list[int] = []
    best_order: list[int] = []
    tried = preorders(packing)
    for order in tried[:passes]:
        offsets = place(packing, order)
        if not best or packing.height(offsets) < packing.height(best):
            best, best_order = offsets, order
        if good_enough(best):
            return best
    source = random.Random(seed)
    current, height = best_order, packing.height(best)
    offsets = best
    for _ in range(passes - len(tried)):
        order = _moved(packing, current, offsets, source)
        attempt = place(packing, order)
        if packing.height(attempt) <= height + source.choice((0, 0, 0, height // 50)):
            current, offsets, height = order, attempt, packing.height(attempt)
            if height < packing.height(best):
                best = attempt
                if good_enough(best):
                    break
    return best


def _moved(packing: Packing, order: list[int], offsets: list[int], source: random.Random) -> list[int]:
    """Returns `order` with a buffer that makes the height, or one of its neighbours, moved to an earlier place."""
    ends = [offsets[i] * packing.unit + packing.nbytes[i] for i in range(len(order))]
    top = max(order, key=lambda i: (ends[i], i))
    chosen = top
    if packing.apart[top] and source.random() < 0.5:
        chosen = source.choice(packing.apart[top])[0]
    place_now = order.index(chosen)
    to = source.randrange(place_now + 1)
    moved = order[:place_now] + order[place_now + 1 :]
    moved.insert(to, chosen)
    if source.random() < 0.3 and len(order) > 1:
        a, b = source.randrange(len(order)), source.randrange(len(order))
        moved[a], moved[b] = moved[b], moved[a]
    return moved


def _slack(buffer: Buffer) -> int:
    return round_up(buffer.size, buffer.align) - buffer.size


def _height(buffers: Sequence[Buffer], offsets: dict[str, int]) -> int:
    return max((offsets[b.id] + b.size for b in buffers), default=0)
