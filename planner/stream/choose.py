"""Chooses which runs of ops stream, each over rows or over channels, whichever needs less.

Runs are chosen by dynamic programming over the chain of ops that can stream, so that the most memory that any of its
steps needs is least, with as few streamed ops as that allows. A run over channels that makes a weight's gradient ends
with the update of that weight, so that the gradient is never whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from mcutrain.planner.errors import PlanError
from mcutrain.planner.graph import MORTAL
from mcutrain.planner.model import Axis, Graph, Op, Stream, Tensor
from mcutrain.planner.packing.bound import live_bytes
from mcutrain.planner.stream.rewrite import apply, by_channel, fused
from mcutrain.planner.stream.rows import in_place, ring_rows, runs_whole

LONGEST = 16  # ops in a run: beyond, rings grow as fast as tensors shrink
WORTH_WAITING = 8  # a weight gradient that lies whole counts from this part of the peak on
NEVER = 1 << 60  # bytes of a run that cannot be

Streams = tuple[Stream, ...]
Run = tuple[int, Stream]  # bytes that its steps need at most, and the run


def choose(graph: Graph) -> list[Streams]:
    """Ways to stream the graph that are worth a plan. The graph stands in eager order.

    As few ops as the least peak allows, as tight as can be, and every step low. Empty where nothing helps."""
    ways = _ways(graph, _Costs(graph))
    rings = {name for way in ways for stream in way for name, _ in stream.rings}
    peak = max(live_bytes(graph, [op.name for op in graph.ops]), default=0)
    whole = [t.nbytes for t in _weight_gradients(graph) if t.name not in rings]
    if any(nbytes * WORTH_WAITING > peak for nbytes in whole):
        ways += _ways(graph, _Costs(graph, may_wait=True))
    return list(dict.fromkeys(ways))


def _weight_gradients(graph: Graph) -> list[Tensor]:
    """What an update could take block by block."""
    updates = [op for op in graph.ops if op.by_channel and not op.outputs]
    return [graph.by_name[a] for op in updates for a in op.by_channel[0].reads]


def _ways(graph: Graph, costs: _Costs) -> list[Streams]:
    least = _least_peak(costs)
    tightest = costs.streams(_fewest(costs, least))
    if not tightest:
        return []
    # what the other ops need once the runs are as tight as can be: below it nothing is to be gained
    fused_graph = apply(graph, tightest)
    known = {op.name for op in costs.ops} | {stream.name for stream in tightest}
    order = [op.name for op in fused_graph.ops]
    live = zip(order, live_bytes(fused_graph, order), strict=True)
    floor = max((nbytes for name, nbytes in live if name not in known), default=0)
    fewest = costs.streams(_fewest(costs, max(least, floor)))
    return [way for way in (fewest, tightest, costs.streams(_lightest(costs))) if way]


def _least_peak(costs: _Costs) -> int:
    """The least possible largest step over all ways to cut the ops into runs."""
    n = len(costs.ops)
    best = [0] + [0] * n
    for j in range(n):
        best[j + 1] = min(max(best[i], costs.peak(i, j)) for i in range(max(0, j + 1 - LONGEST), j + 1))
    return best[n]


def _fewest(costs: _Costs, target: int) -> list[tuple[int, int]]:
    """Runs (first, last) of which none needs more than `target` bytes, with the fewest ops in runs of two or more."""
    n = len(costs.ops)
    best: list[tuple[int, list[tuple[int, int]]] | None] = [(0, [])]
    for j in range(n):
        ways = []
        for i in range(max(0, j + 1 - LONGEST), j + 1):
            before = best[i]
            if before is not None and costs.peak(i, j) <= target:
                streamed = j - i + 1 if j > i else 0
                ways.append((before[0] + streamed, -i, [*before[1], (i, j)]))
        least = min(ways, default=None, key=lambda w: w[:2])
        best.append((least[0], least[2]) if least else None)
    return best[n][1]


def _lightest(costs: _Costs) -> list[tuple[int, int]]:
    """Runs with the least sum of squared peaks: every step as low as it can be, not the highest alone."""
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    for j in range(len(costs.ops)):
        starts = range(max(0, j + 1 - LONGEST), j + 1)
        weights = [(best[i][0] + costs.peak(i, j) ** 2 * (j + 1 - i), -i, i) for i in starts]
        weight, _, i = min(weights)
        best.append((weight, [*best[i][1], (i, j)]))
    return best[-1][1]


def _readers(graph: Graph) -> dict[str, set[str]]:
    readers: dict[str, set[str]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, set()).add(op.name)
    return readers


@dataclass(frozen=True)
class _Lives:
    """First and last position at which each tensor is there, in the graph's order, and sums of bytes over them."""

    born: dict[str, int]
    dies: dict[str, int]
    born_until: list[int]
    dead_before: list[int]

    def beside(self, first: int, last: int) -> int:
        """Bytes of all tensors that are there at some position of [first, last]."""
        return self.born_until[last] - self.dead_before[first]


def _lives(graph: Graph) -> _Lives:
    position = {op.name: i for i, op in enumerate(graph.ops)}
    born = {o: position[op.name] for op in graph.ops for o in op.outputs}
    dies = {name: max(map(position.__getitem__, who)) for name, who in _readers(graph).items()}
    births, deaths = [0] * len(graph.ops), [0] * (len(graph.ops) + 1)
    for t in graph.tensors:
        if t.kind in ("state", "constant", "scratch"):
            continue
        start = born.setdefault(t.name, 0)
        end = len(graph.ops) - 1 if t.kind == "output" else dies.setdefault(t.name, start)
        births[start] += t.nbytes
        deaths[end + 1] += t.nbytes
    return _Lives(born, dies, list(accumulate(births)), list(accumulate(deaths)))


class _Costs:
    """Bytes that are live while a run of the ops that can stream executes, what lives beside it included."""

    def __init__(self, graph: Graph, may_wait: bool = False) -> None:
        """may_wait: a weight gradient alone, with its update, may run behind who still reads the weight."""
        self.graph, self.may_wait = graph, may_wait
        self.ops = [op for op in graph.ops if op.outputs and (op.rows or op.by_channel)]
        self.by_name = {op.name: op for op in graph.ops}
        self.position = {op.name: i for i, op in enumerate(graph.ops)}
        self.readers, self.lives = _readers(graph), _lives(graph)
        self.fixed = sum(t.nbytes for t in graph.tensors if t.kind == "state")
        self.alone = live_bytes(graph, [op.name for op in graph.ops])
        self.best = lru_cache(maxsize=None)(self._best)

    def peak(self, i: int, j: int) -> int:
        """Bytes of the run from op i to op j, over rows or over channels; NEVER where they make no stream."""
        return self.best(i, j)[0]

    def streams(self, runs: Sequence[tuple[int, int]]) -> Streams:
        found = (self.best(i, j)[1] for i, j in runs)
        return tuple(stream for stream in found if stream is not None)

    def _best(self, i: int, j: int) -> tuple[int, Stream | None]:
        alone = [(self.alone[self.position[self.ops[i].name]], None)] if i == j else []
        runs = [run for run in (self.over_rows(i, j), self.over_channels(i, j)) if run is not None]
        return min([*alone, *runs, (NEVER, None)], key=lambda way: way[0])

    def over_rows(self, i: int, j: int) -> Run | None:
        """The run over rows, if there is one."""
        run = self.ops[i : j + 1]
        if i == j or not all(op.rows for op in run):
            return None
        return self._run(i, j, run, self._inside(run, [op for op in run if not op.accumulates]), "rows")

    def over_channels(self, i: int, j: int) -> Run | None:
        """The run over channels, with the update of the weight whose gradient it makes, if there is one."""
        run = self.ops[i : j + 1]
        if not all(op.by_channel for op in run):
            return None
        run = [*run, *self._update(run)]
        inside = self._inside(run, run)
        try:
            return self._run(i, j, [by_channel(op, inside) for op in run], inside, "channels")
        except PlanError:  # some op has no form for its place in this run
            return None

    def _update(self, run: Sequence[Op]) -> list[Op]:
        """The update that takes the run's last weight gradient block by block, where nobody later reads the weight."""
        names, first = {op.name for op in run}, self.position[run[0].name]
        for op in reversed(run):
            readers = [self.by_name[name] for name in self.readers.get(op.outputs[0], ())]
            if len(readers) == 1 and readers[0].by_channel and not readers[0].outputs:
                update = readers[0]
                others = set().union(*(self.readers[state] for state in update.mutates)) - {update.name} - names
                fits = update.by_channel[0].blocks == op.by_channel[0].blocks
                later = {other for other in others if self.position[other] >= first}
                may_wait = self.may_wait and len(run) == 1 and later.isdisjoint(self._behind(names))
                return [update] if fits and (not later or may_wait) else []
        return []

    def _behind(self, names: set[str]) -> set[str]:
        """The ops that need what one of these makes, directly or through others."""
        made = {o for name in names for o in self.by_name[name].outputs}
        found = set()
        for op in self.graph.ops[min(self.position[name] for name in names) :]:
            if op.name not in names and not made.isdisjoint(op.inputs):
                found.add(op.name)
                made.update(op.outputs)
        return found

    def _inside(self, run: Sequence[Op], makers: Sequence[Op]) -> list[str]:
        """First outputs of the makers that nobody outside the run reads."""
        names = {op.name for op in run}
        made = [o for op in makers for o in op.outputs[:1]]
        return [o for o in made if self.graph.by_name[o].kind != "output" and self.readers.get(o, {""}) <= names]

    def _run(self, i: int, j: int, run: Sequence[Op], inside: Sequence[str], axis: Axis) -> Run | None:
        if not _connected(run, set(inside)) or self._waits_for_itself(run, inside, i, j) or not runs_whole(run):
            return None
        shared = in_place(self.graph, run, inside)
        rings = ring_rows(run, inside, shared)
        name = f"stream:{run[0].name}..{run[-1].name}"
        stream = Stream(name, tuple(o.name for o in run), tuple(rings.items()), tuple(shared.items()), axis)
        op, added = fused(self.graph, stream, run)
        first, last = self.position[self.ops[i].name], self.position[self.ops[j].name]
        whole = sum(self.graph.by_name[name].nbytes for name in inside)
        own = sum(t.nbytes for t in added) - whole
        return self.fixed + self.lives.beside(first, last) + own - self._saved(op, last), stream

    def _waits_for_itself(self, run: Sequence[Op], inside: Sequence[str], i: int, j: int) -> bool:
        """Whether a member needs what the run has made only when it is over, directly or through an op between."""
        names = {op.name for op in run}
        late = {o for op in run for o in op.outputs} - set(inside)
        first, last = self.position[self.ops[i].name], self.position[self.ops[j].name]
        for op in self.graph.ops[first : last + 1]:
            if not late.isdisjoint(op.inputs):
                if op.name in names:
                    return True
                late.update(op.outputs)
        return False

    def _saved(self, op: Op, last: int) -> int:
        """Bytes that the output may lie over an input that dies here (one input alone: a lower estimate)."""
        saved = 0
        for overlap in op.overlaps:
            if self.lives.dies[overlap.input] <= last and self.graph.by_name[overlap.input].kind in MORTAL:
                out, into = self.graph.by_name[overlap.output].nbytes, self.graph.by_name[overlap.input].nbytes
                union = max(out, into, max(0, overlap.distance) + into)
                saved = max(saved, out + into - min(out + into, union))
        return saved


def _connected(run: Sequence[Op], inside: set[str]) -> bool:
    """Whether every op but the driver feeds the run through a ring, every sum takes its rows from one, and nobody in
    the run needs the whole of a tensor of which it only has a part."""
    mains = [op for op in run if not op.accumulates]
    if not mains or any(op.outputs[0] not in inside for op in mains[:-1]):
        return False
    parts = inside.union(*(op.mutates for op in run))
    if any(parts & set(op.inputs) - {a.tensor for a in op.reads} - set(op.mutates) for op in run):
        return False
    # a sum runs with its producer's row: one ring, row for row
    sums = [[a for a in op.reads if a.tensor in inside] for op in run if op.accumulates]
    return all(len(s) == 1 and (s[0].stride, s[0].window, s[0].transposed) == (1, 1, False) for s in sums)
