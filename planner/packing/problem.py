"""Defines the packing problem behind a plan: buffers with lifetimes, and the pairs that may share memory. Sizes are
bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mcutrain.planner.errors import PlanError
from mcutrain.planner.model import Overlap, Status

LARGEST = 2**31 - 1  # of any number: an arena's addresses have 32 bits, and sums of sizes stay far from 64


@dataclass(frozen=True)
class Buffer:
    """A buffer is `size` bytes that live in the half-open section [lower, upper); the offset is a multiple of
    `align`."""

    id: str
    lower: int
    upper: int
    size: int
    align: int = 1


@dataclass(frozen=True)
class Problem:
    """A problem is buffers to place. Two that are live together are disjoint in memory; the pairs in `overlaps` are
    either disjoint or keep offset(input) - offset(output) >= distance, and they are live together in exactly one
    position."""

    buffers: tuple[Buffer, ...]
    overlaps: tuple[Overlap, ...] = ()

    def __post_init__(self) -> None:
        by_id: dict[str, Buffer] = {}
        for b in self.buffers:
            if b.id in by_id:
                raise PlanError(f"two buffers are named {b.id!r}: every buffer needs a name of its own")
            if not all(is_whole(n) and n <= LARGEST for n in (b.lower, b.upper, b.size, b.align)):
                raise PlanError(f"buffer {b.id!r} needs whole numbers up to {LARGEST}: {b}")
            if b.size < 0 or b.align < 1 or b.lower >= b.upper:
                raise PlanError(f"buffer {b.id!r} needs size >= 0, align >= 1 and lower < upper: {b}")
            by_id[b.id] = b
        pairs = {(pair.input, pair.output) for pair in self.overlaps}
        for pair in self.overlaps:
            if pair.input == pair.output:
                raise PlanError(f"the overlap {pair} is of a buffer with itself: name two buffers")
            if (pair.output, pair.input) in pairs:
                raise PlanError(f"the overlap {pair} is given both ways: only one of the two is the input")
            if pair.input not in by_id or pair.output not in by_id:
                raise PlanError(f"the overlap {pair} names a buffer that does not exist")
            if by_id[pair.input].upper != by_id[pair.output].lower + 1:
                raise PlanError(f"the overlap {pair} is no hand-over: its input must die where its output begins")


@dataclass(frozen=True)
class Allocation:
    """An allocation holds offsets in bytes, their height, a proven lower bound on any height, and what is known of the
    optimum.

    status: OPTIMAL where height == bound, INFEASIBLE where a capacity is proven too small, else FEASIBLE."""

    offsets: dict[str, int]
    height: int
    bound: int
    status: Status


def is_whole(value: object) -> bool:
    """Says whether `value` is an int: callers without a type checker also hand in floats."""
    return isinstance(value, int)


def round_up(value: int, step: int) -> int:
    """Returns the smallest multiple of `step` that is not below `value` (which may be negative)."""
    return -(-value // step) * step


class Packing:
    """A packing is a problem in index form, in units: two buffers i and j that constrain each other keep offset[i] +
    w_ij <= offset[j] or offset[j] + w_ji <= offset[i].

    For two disjoint buffers w is the size of the lower one. For an output o over an input i with distance d
    it is w_oi = min(size_o, d) and w_io = size_i, so that all solvers know one kind of constraint only.

    unit: bytes; every offset of some optimal solution is a multiple of it.
    size, step: size and alignment in units; nbytes: the true size in bytes.
    apart: per buffer, the triples (j, w_ij, w_ji)."""

    def __init__(self, problem: Problem) -> None:
        self.buffers = [b for b in problem.buffers if b.size > 0]  # an empty buffer constrains nobody
        index = {b.id: i for i, b in enumerate(self.buffers)}
        base = math.gcd(*(b.align for b in self.buffers)) or 1
        rounded = [round_up(b.size, base) for b in self.buffers]
        self.near: dict[tuple[int, int], int] = {}  # (output, input) -> w_oi, here still in bytes
        for pair in problem.overlaps:
            if pair.input in index and pair.output in index:
                o, i = index[pair.output], index[pair.input]
                least = max(-rounded[i], min(rounded[o], round_up(pair.distance, base)))
                self.near[o, i] = max(least, self.near.get((o, i), least))  # the stricter of two
        unit = math.gcd(*rounded, *self.near.values()) or 1
        # offsets are sums of sizes and distances, so their gcd is a lossless unit unless an alignment is coarser
        self.unit = unit if all(unit % b.align == 0 for b in self.buffers) else base
        self.near = {pair: least // self.unit for pair, least in self.near.items()}
        self.size = [nbytes // self.unit for nbytes in rounded]
        self.step = [max(1, b.align // self.unit) for b in self.buffers]
        self.nbytes = [b.size for b in self.buffers]
        self.apart: list[list[tuple[int, int, int]]] = [[] for _ in self.buffers]
        for i, a in enumerate(self.buffers):
            for j in range(i):
                b = self.buffers[j]
                if a.lower < b.upper and b.lower < a.upper:
                    self._separate(i, j)

    def _separate(self, i: int, j: int) -> None:
        w_ij = self.near.get((i, j), self.size[i])
        w_ji = self.near.get((j, i), self.size[j])
        if w_ij + w_ji > 0:  # otherwise every position is allowed
            self.apart[i].append((j, w_ij, w_ji))
            self.apart[j].append((i, w_ji, w_ij))

    def height(self, offsets: Sequence[int]) -> int:
        """Returns the height in bytes, from offsets in units."""
        return max((x * self.unit + n for x, n in zip(offsets, self.nbytes, strict=True)), default=0)

    def sections(self) -> list[list[int]]:
        """Returns the buffers that are live together, for each moment at which one is born."""
        moments = sorted({b.lower for b in self.buffers})
        return [[i for i, b in enumerate(self.buffers) if b.lower <= t < b.upper] for t in moments]
