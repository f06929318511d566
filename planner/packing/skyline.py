"""Searches over skylines by a beam: fills a fixed height from the bottom up. Integers only, so that all machines agree.

A state is the floor (the lowest free offset) of each section, a maximal set of buffers that are live together. The next
buffer always goes onto the lowest floor: every allocation that has been pushed down can be built in that order. A floor
rises at once to where the next buffer can lie at all, and a state in which what is still to come no longer fits
above a floor is dropped. This alone solves some problems; where it gets stuck, the order in which it has placed buffers
is a far better order to branch in than any sorted one."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mcutrain.planner.packing.problem import Packing

Ints = NDArray[np.int64]

FAR = 1 << 60  # above every offset
LEVELS = 1024  # of the space that a section has left, in the score
SCALE = 1 << 16  # of scores


@dataclass(frozen=True)
class Weights:
    """Says what makes a state good: sections that keep space to spare (`barrier` * -log(share left + `ease`)), and
    crowded or long-lived buffers placed early (`early` for each, by degree or by sections)."""

    barrier: float
    ease: float
    early: float
    by_degree: bool


@dataclass(frozen=True)
class Beam:
    """Holds what a beam found. units: offsets of a complete allocation, or None. orders: the buffers that the best
    states had placed, in order.

    steps: buffers placed by the longest."""

    units: list[int] | None
    orders: list[list[int]]
    steps: int


@dataclass(frozen=True)
class _States:
    """Holds states as rows. floor, rest: per section, the lowest free unit and the units still to be placed."""

    floor: Ints
    rest: Ints
    placed: NDArray[np.bool_]
    bonus: Ints
    code: Ints  # a hash of the set of placed buffers


@dataclass(frozen=True)
class _Steps:
    """Holds as rows states after one more buffer: from which state, which buffer, at which offset."""

    parent: Ints
    buffer: Ints
    offset: Ints


class Skyline:
    """Holds a packing without overlap pairs and with one alignment, as arrays. `sets`: its maximal sets of live
    buffers."""

    def __init__(self, packing: Packing, sets: Sequence[tuple[int, ...]], height: int) -> None:
        self.height = height  # units
        self.size = np.array(packing.size, np.int64)
        alone = set(range(len(packing.size))) - {i for members in sets for i in members}
        every = [*sets, *((i,) for i in alone)]
        every.sort(key=lambda members: max(packing.buffers[i].lower for i in members))  # the order of time
        self.live = np.zeros((len(packing.size), len(every)), bool)
        width = max(map(len, every))
        self.members = np.full((len(every), width), len(packing.size))  # the last index stands for nobody
        for t, members in enumerate(every):
            self.live[list(members), t] = True
            self.members[t, : len(members)] = members
        self.load = (self.live * self.size[:, None]).sum(0)
        self.first = self.live.argmax(1)
        self.spans = self.live.sum(1)
        self.degree = np.array([len(pairs) for pairs in packing.apart], np.int64)

    def lowest(self, floor: Ints) -> Ints:
        """Returns an array (states, buffers): the highest floor under each buffer, where it would lie now."""
        tables = [floor]  # of the maximum over 1, 2, 4, ... sections
        reach = 1
        while 2 * reach <= floor.shape[1]:
            table = tables[-1].copy()
            np.maximum(table[:, :-reach], table[:, reach:], out=table[:, :-reach])
            tables.append(table)
            reach *= 2
        level = np.array([int(span).bit_length() - 1 for span in self.spans])
        stack = np.stack(tables)
        last = self.first + self.spans - (1 << level)
        highest: Ints = np.maximum(stack[level, :, self.first], stack[level, :, last])
        return highest.T


def search(sky: Skyline, width: int, weights: Weights, source: random.Random) -> Beam:
    """Keeps the best `width` states at each step. The same `source` state gives the same answer."""
    noise = np.random.default_rng(source.getrandbits(62))
    count, sections = sky.live.shape
    codes = noise.integers(1, 1 << 62, size=count), noise.integers(1, 1 << 31, size=sections)
    table = np.array([round(-SCALE * weights.barrier * math.log(k + weights.ease)) for k in range(LEVELS + 1)])
    key = sky.degree if weights.by_degree else sky.spans
    early = (key * round(SCALE * weights.early)) // max(1, int(key.max()))
    zeros = np.zeros(1, np.int64)
    states = _States(np.zeros((1, sections), np.int64), sky.load[None].copy(), np.zeros((1, count), bool), zeros, zeros)
    history: list[_Steps] = []

    def rank(after: _States) -> Ints:
        left = (sky.height - after.floor - after.rest) * LEVELS // max(1, sky.height)
        jitter = noise.integers(0, SCALE // 50, size=len(left))
        scores: Ints = table[left.clip(0)].sum(1) - after.bonus + jitter
        return scores

    for _ in range(count):
        steps = _next_steps(sky, states)
        steps, after = _unique(sky, states, steps, codes, early, rank, 2 * width)
        after = _raised(sky, after)
        alive = np.flatnonzero((after.floor + after.rest <= sky.height).all(1))
        if not len(alive):
            break
        chosen = alive[np.argsort(rank(_rows(after, alive)), kind="stable")[:width]]
        history.append(_Steps(steps.parent[chosen], steps.buffer[chosen], steps.offset[chosen]))
        states = _rows(after, chosen)
    return _found(history, count)


def _next_steps(sky: Skyline, states: _States) -> _Steps:
    """Returns every buffer that may lie next on the lowest floor (of the tightest such section) of each state."""
    open_floor = np.where(states.rest > 0, states.floor, FAR)
    left = sky.height - states.floor - states.rest
    section = np.where(open_floor == open_floor.min(1, keepdims=True), left, FAR).argmin(1)
    candidates = sky.members[section]
    nobody = np.ones((len(section), 1), bool)
    free = ~np.take_along_axis(np.concatenate([states.placed, nobody], 1), candidates, 1)
    parent, column = np.nonzero(free)
    buffer = candidates[parent, column]
    offset = sky.lowest(states.floor)[parent, buffer]
    top = np.full(candidates.shape, FAR)
    top[parent, column] = offset + sky.size[buffer]
    good = offset < top.min(1)[parent]  # otherwise another buffer fits below this one
    return _Steps(parent[good], buffer[good], offset[good])


def _unique(
    sky: Skyline,
    states: _States,
    steps: _Steps,
    codes: tuple[Ints, Ints],
    early: Ints,
    rank: Callable[[_States], Ints],
    most: int,
) -> tuple[_Steps, _States]:
    """Returns the `most` best different states that fit, after each of the steps."""
    live = sky.live[steps.buffer]
    size = sky.size[steps.buffer]
    after = _States(
        floor=np.where(live, (steps.offset + size)[:, None], states.floor[steps.parent]),
        rest=states.rest[steps.parent] - np.where(live, size[:, None], 0),
        placed=states.placed[steps.parent],
        bonus=states.bonus[steps.parent] + early[steps.buffer],
        code=states.code[steps.parent] ^ codes[0][steps.buffer],
    )
    after.placed[np.arange(len(size)), steps.buffer] = True
    fits = np.flatnonzero((after.floor + after.rest <= sky.height).all(1))
    best = fits[np.argsort(rank(_rows(after, fits)), kind="stable")]
    same = after.code[best] ^ (after.floor[best] * codes[1]).sum(1)  # wraps, as a hash may
    chosen = best[np.sort(np.unique(same, return_index=True)[1])][:most]
    return _Steps(steps.parent[chosen], steps.buffer[chosen], steps.offset[chosen]), _rows(after, chosen)


def _raised(sky: Skyline, states: _States) -> _States:
    """Lifts each floor to the lowest offset that any buffer still to come can have there."""
    floor = states.floor
    for _ in range(2):  # further turns change little
        lowest = np.where(states.placed, FAR, sky.lowest(floor))
        lowest = np.concatenate([lowest, np.full((len(lowest), 1), FAR)], 1).T
        least = lowest[sky.members].min(1).T
        floor = np.where(states.rest > 0, np.maximum(floor, least), floor)
    return _States(floor, states.rest, states.placed, states.bonus, states.code)


def _rows(states: _States, rows: Ints) -> _States:
    return _States(states.floor[rows], states.rest[rows], states.placed[rows], states.bonus[rows], states.code[rows])


def _found(history: list[_Steps], count: int) -> Beam:
    """Returns the paths that lead to the best states of the last step."""
    orders = []
    units = [0] * count
    for state in range(min(2, len(history[-1].parent) if history else 0)):
        order, k = [], state
        for steps in reversed(history):
            order.append(int(steps.buffer[k]))
            if state == 0:
                units[order[-1]] = int(steps.offset[k])
            k = int(steps.parent[k])
        orders.append(order[::-1])
    return Beam(units if len(history) == count else None, orders, len(history))
