"""Knows the costs of runs of ops that stream: the bytes that are live while one executes, over rows or over
channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from mcutrain.planner.errors import PlanError
from mcutrain.planner.graph import MORTAL, live_bytes
from mcutrain.planner.model import Axis, Graph, Op, Stream
from mcutrain.planner.stream.rewrite import by_channel, fused
from mcutrain.planner.stream.rows import in_place, ring_rows, runs_whole

NEVER = 1 << 60  # bytes of a run that cannot be

Run = tuple[int, Stream]  # bytes that its steps need at most, and the run


def _readers(graph: Graph) -> dict[str, set[str]]:
    readers: dict[str, set[str]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, set()).add(op.name)
    return readers


@dataclass(frozen=True)
class _Lives:
    """Holds the first and last position at which each tensor is there, in the graph's order, and sums of bytes over
    them."""

    born: dict[str, int]
    dies: dict[str, int]
    born_until: list[int]
    dead_before: list[int]

    def beside(self, first: int, last: int) -> int:
        """Counts the bytes of all tensors that are there at some position of [first, last]."""
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


class RunCosts:
    """Knows the bytes that are live while a run of the ops that can stream executes, what lives beside it included."""

    def __init__(self, graph: Graph, may_wait: bool = False) -> None:
        """With `may_wait`, a weight gradient alone, with its update, may run behind who still reads the weight."""
        self.graph, self.may_wait = graph, may_wait
        self.ops = [op for op in graph.ops if op.outputs and (op.rows or op.by_channel)]
        self.by_name = {op.name: op for op in graph.ops}
        self.position = {op.name: i for i, op in enumerate(graph.ops)}
        self.readers, self.lives = _readers(graph), _lives(graph)
        self.fixed = sum(t.nbytes for t in graph.tensors if t.kind == "state")
        self.alone = live_bytes(graph, [op.name for op in graph.ops])
        self.best = lru_cache(maxsize=None)(self._best)

    def peak(self, i: int, j: int) -> int:
        """Returns the bytes of the run from op i to op j, over rows or over channels; NEVER where they make no
        stream."""
        return self.best(i, j)[0]

    def streams(self, runs: Sequence[tuple[int, int]]) -> tuple[Stream, ...]:
        found = (self.best(i, j)[1] for i, j in runs)
        return tuple(stream for stream in found if stream is not None)

    def _best(self, i: int, j: int) -> tuple[int, Stream | None]:
        alone = [(self.alone[self.position[self.ops[i].name]], None)] if i == j else []
        runs = [run for run in (self.over_rows(i, j), self.over_channels(i, j)) if run is not None]
        return min([*alone, *runs, (NEVER, None)], key=lambda way: way[0])

    def over_rows(self, i: int, j: int) -> Run | None:
        """Returns the run over rows, if there is one."""
        run = self.ops[i : j + 1]
        if i == j or not all(op.rows for op in run):
            return None
        return self._run(i, j, run, self._inside(run, [op for op in run if not op.accumulates]), "rows")

    def over_channels(self, i: int, j: int) -> Run | None:
        """Returns the run over channels, with the update of the weight whose gradient it makes, if there is one."""
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
        """Returns the update that takes the run's last weight gradient block by block, where nobody later reads the
        weight."""
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
        """Returns the ops that need what one of these makes, directly or through others."""
        made = {o for name in names for o in self.by_name[name].outputs}
        found = set()
        for op in self.graph.ops[min(self.position[name] for name in names) :]:
            if op.name not in names and not made.isdisjoint(op.inputs):
                found.add(op.name)
                made.update(op.outputs)
        return found

    def _inside(self, run: Sequence[Op], makers: Sequence[Op]) -> list[str]:
        """Returns first outputs of the makers that nobody outside the run reads."""
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
        """Says whether a member needs what the run has made only when it is over, directly or through an op between."""
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
        """Returns the bytes that the output may lie over an input that dies here (one input alone: a lower
        estimate)."""
        saved = 0
        for overlap in op.overlaps:
            if self.lives.dies[overlap.input] <= last and self.graph.by_name[overlap.input].kind in MORTAL:
                out, into = self.graph.by_name[overlap.output].nbytes, self.graph.by_name[overlap.input].nbytes
                union = max(out, into, max(0, overlap.distance) + into)
                saved = max(saved, out + into - min(out + into, union))
        return saved


def _connected(run: Sequence[Op], inside: set[str]) -> bool:
    """Says whether every op but the driver feeds the run through a ring, every sum takes its rows from one, and nobody
    in the run needs the whole of a tensor of which it only has a part."""
    mains = [op for op in run if not op.accumulates]
    if not mains or any(op.outputs[0] not in inside for op in mains[:-1]):
        return False
    parts = inside.union(*(op.mutates for op in run))
    if any(parts & set(op.inputs) - {a.tensor for a in op.reads} - set(op.mutates) for op in run):
        return False
    # a sum runs with its producer's row: one ring, row for row
    sums = [[a for a in op.reads if a.tensor in inside] for op in run if op.accumulates]
    return all(len(s) == 1 and (s[0].stride, s[0].window, s[0].transposed) == (1, 1, False) for s in sums)
