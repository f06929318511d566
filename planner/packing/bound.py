"""Proves lower bounds: the bytes that must be live at a position, less what overlaps can save there at most."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mcutrain.planner.packing.problem import Buffer, Problem, round_up


@dataclass(frozen=True)
class Pair:
    """A pair is an output over a dying input: names, sizes and distance in bytes (all rounded to one alignment)."""

    input: str
    output: str
    input_size: int
    output_size: int
    distance: int

    def saving(self) -> int:
        """Returns the most bytes the two can share when offset(input) - offset(output) >= distance.

        At difference x they share min(output_size, x + input_size) - max(0, x) bytes: a trapezium whose plateau
        ends at x = max(0, output_size - input_size) and which is 0 from x = output_size on."""
        return max(0, min(self.output_size, self.input_size, self.output_size - self.distance))


def saving(pairs: Sequence[Pair]) -> int:
    """Returns an upper bound on the bytes that all overlaps of one op save together.

    Outputs are disjoint from each other and so are inputs, so no byte is shared twice; and no input reaches
    the first max(0, distance) bytes of its output."""
    if len(pairs) == 1:
        return pairs[0].saving()
    by_output: dict[str, list[Pair]] = {}
    by_input: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_output.setdefault(pair.output, []).append(pair)
        by_input.setdefault(pair.input, []).append(pair)
    over_outputs = sum(
        max(0, min(sum(p.saving() for p in group), group[0].output_size - max(0, min(p.distance for p in group))))
        for group in by_output.values()
    )
    over_inputs = sum(min(sum(p.saving() for p in group), group[0].input_size) for group in by_input.values())
    return min(over_outputs, over_inputs)


def section_bytes(problem: Problem, positions: Sequence[int]) -> list[int]:
    """Returns, for each position, the bytes below which no allocation of the problem can stay while that position
    runs."""
    by_id = {b.id: b for b in problem.buffers}
    meeting: dict[int, list[tuple[Buffer, Buffer, int]]] = {}
    for pair in problem.overlaps:
        output = by_id[pair.output]
        meeting.setdefault(output.lower, []).append((by_id[pair.input], output, pair.distance))
    births = sorted((b for b in problem.buffers if b.size > 0), key=lambda b: b.lower, reverse=True)
    deaths = sorted(births, key=lambda b: b.upper, reverse=True)
    live = _Live({b.align for b in births})
    result = {}
    for t in sorted(set(positions)):
        while births and births[-1].lower <= t:
            live.count(births.pop(), 1)
        while deaths and deaths[-1].upper <= t:
            live.count(deaths.pop(), -1)
        result[t] = live.least(meeting.get(t, []))
    return [result[t] for t in positions]


class _Live:
    """Keeps sums over the buffers that are live, kept up to date as they come and go.

    Offsets are multiples of the live buffers' common alignment, so every size and distance counts rounded up to it;
    only the padding of the topmost buffer may stick out of the arena."""

    def __init__(self, aligns: set[int]) -> None:
        steps: set[int] = set()  # every alignment that some of the buffers can have in common
        for align in aligns:
            steps |= {align} | {math.gcd(align, step) for step in steps}
        self.aligns: Counter[int] = Counter()
        self.total = dict.fromkeys(steps, 0)
        self.padding: dict[int, Counter[int]] = {step: Counter() for step in steps}

    def count(self, buffer: Buffer, times: int) -> None:
        """Counts one buffer more (times 1) or less (-1)."""
        _add(self.aligns, buffer.align, times)
        for step in self.total:
            rounded = round_up(buffer.size, step)
            self.total[step] += times * rounded
            _add(self.padding[step], rounded - buffer.size, times)

    def least(self, meeting: list[tuple[Buffer, Buffer, int]]) -> int:
        """Returns the bytes that the live buffers need, where those of `meeting` (input, output, distance) may
        overlap."""
        if not self.aligns:
            return 0
        step = math.gcd(*self.aligns)
        pairs = [
            Pair(i.id, o.id, round_up(i.size, step), round_up(o.size, step), round_up(d, step))
            for i, o, d in meeting
            if i.size > 0 and o.size > 0
        ]
        return self.total[step] - saving(pairs) - max(self.padding[step])


def _add(counter: Counter[int], key: int, times: int) -> None:
    counter[key] += times
    if not counter[key]:
        del counter[key]


def problem_bound(problem: Problem) -> int:
    """Returns a lower bound in bytes on the height of any allocation of the problem."""
    return max(section_bytes(problem, sorted({b.lower for b in problem.buffers})), default=0)


def too_many(problem: Problem, capacity: int) -> tuple[int, list[Buffer]] | None:
    """Returns (moment, the fewest buffers found that cannot be live together there within `capacity` bytes, largest
    first). None where every moment fits, and only the packing may fail."""
    moments = sorted({b.lower for b in problem.buffers})  # nothing is added between births
    crowded = [(n, t) for n, t in zip(section_bytes(problem, moments), moments, strict=True) if n > capacity]
    best: tuple[int, list[Buffer]] | None = None
    for _, moment in sorted(crowded, key=lambda pair: (-pair[0], pair[1])):
        live = [b for b in problem.buffers if b.lower <= moment < b.upper]
        chosen: list[Buffer] = []
        for buffer in sorted(live, key=lambda b: (-b.size, b.id)):
            chosen.append(buffer)
            if _bytes_of(problem, chosen, moment) > capacity:
                break
        for buffer in tuple(chosen):  # where overlaps save bytes, the largest need not all be in it
            rest = [b for b in chosen if b is not buffer]
            if _bytes_of(problem, rest, moment) > capacity:
                chosen = rest
        if best is None or len(chosen) < len(best[1]):
            best = moment, chosen
    return best


def _bytes_of(problem: Problem, buffers: Sequence[Buffer], moment: int) -> int:
    """Does what section_bytes() does for some of the buffers alone."""
    names = {b.id for b in buffers}
    overlaps = tuple(o for o in problem.overlaps if {o.input, o.output} <= names)
    return section_bytes(Problem(tuple(buffers), overlaps), [moment])[0]
