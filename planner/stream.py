"""Chooses which runs of ops stream row by row, and rewrites the graph with each run as one op.

Streaming costs no recomputation, only ring addressing: inside a run a tensor needs the rows that its readers still take
instead of all. The runs are chosen by dynamic programming over the chain of row-wise ops, so that the most memory that
any of its steps needs is least, with as few streamed ops as that allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from planner.bound import live_bytes
from planner.graph import MORTAL
from planner.model import Graph, Op, Overlap, Stream, Tensor
from planner.rows import driver, in_place, overlap_distance, ring_rows

LONGEST = 16  # ops in a run: beyond, rings grow as fast as tensors shrink


def apply(graph: Graph, streams: Sequence[Stream]) -> Graph:
    """The graph with every stream as one op: rings and one shared scratch are its scratch."""
    by_name = {op.name: op for op in graph.ops}
    inside = {name: stream for stream in streams for name in stream.ops}
    tensors, gone, ops = [], set(), []
    for stream in streams:
        members = [by_name[n] for n in stream.ops]
        op, added = _fused(graph, stream, members)
        tensors += added
        gone |= {t for t, _ in stream.rings} | {s for m in members for s in m.scratch}
        ops.append(op)
    fused = {op.name: op for op in ops}
    kept = [t for t in graph.tensors if t.name not in gone]
    order = []
    for op in graph.ops:
        if op.name not in inside:
            order.append(op)
        elif op.name == inside[op.name].ops[-1]:
            order.append(fused[inside[op.name].name])
    return eager(Graph((*kept, *tensors), tuple(order)))


def scratch_name(stream: Stream) -> str:
    """The one scratch tensor that the ops of a stream take in turn."""
    return f"{stream.name}:scratch"


def _fused(graph: Graph, stream: Stream, members: Sequence[Op]) -> tuple[Op, list[Tensor]]:
    rings = dict(stream.rings)
    added = []
    for member in members:
        if member.outputs[0] in rings and member.outputs[0] not in dict(stream.shared):
            whole = graph.by_name[member.outputs[0]]
            added.append(replace(whole, nbytes=whole.nbytes // member.rows * rings[whole.name], kind="scratch"))
    scratch = [t.name for t in added]
    shared = max((graph.by_name[s].nbytes for m in members for s in m.scratch), default=0)
    if shared:
        added.append(Tensor(scratch_name(stream), shared, kind="scratch"))
        scratch.append(added[-1].name)
    inputs = dict.fromkeys(n for m in members for n in m.inputs if n not in rings)
    outputs = tuple(o for m in members for o in m.outputs if o not in rings)
    overlaps: tuple[Overlap, ...] = ()
    whole = driver(members).outputs[0]
    if whole not in rings:
        read = dict.fromkeys(a.tensor for m in members for a in m.reads if a.tensor in inputs)
        overlaps = tuple(Overlap(n, whole, overlap_distance(graph, members, n)) for n in read)
    return Op(stream.name, tuple(inputs), outputs, tuple(scratch), overlaps), added


def eager(graph: Graph) -> Graph:
    """The same graph in an order in which sums over rows and updates stand as early as they can, others as given."""
    made = {o for op in graph.ops for o in op.outputs}
    readers: dict[str, set[str]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, set()).add(op.name)
    done: set[str] = set()
    there: set[str] = set()

    def is_ready(op: Op) -> bool:
        overwritten = set().union(*(readers[n] for n in op.mutates)) - {op.name}
        return all(n in there or n not in made for n in op.inputs) and overwritten <= done

    waiting, order = list(graph.ops), []
    while waiting:
        ready = [op for op in waiting if is_ready(op)]
        op = next((op for op in ready if op.accumulates or not op.outputs), ready[0])
        waiting.remove(op)
        order.append(op)
        done.add(op.name)
        there.update(op.outputs)
    return Graph(graph.tensors, tuple(order))


def choose(graph: Graph) -> tuple[int, list[tuple[Stream, ...]]]:
    """(least peak in bytes, ways to stream the graph that are worth a plan). The graph stands in eager order.

    The ways: as few ops as the least peak allows, as tight as can be, every step low. Empty where nothing helps."""
    ops = [op for op in graph.ops if op.rows]
    costs = _Costs(graph, ops)
    least = _least_peak(len(ops), costs)
    tightest = costs.streams(_fewest(len(ops), costs, least))
    if not tightest:
        return least, []
    # what the other ops need once the runs are as tight as can be: below it nothing is to be gained
    fused = apply(graph, tightest)
    known = {op.name for op in ops} | {stream.name for stream in tightest}
    order = [op.name for op in fused.ops]
    floor = max((n for name, n in zip(order, live_bytes(fused, order), strict=True) if name not in known), default=0)
    fewest = costs.streams(_fewest(len(ops), costs, max(least, floor)))
    ways = (fewest, tightest, costs.streams(_lightest(len(ops), costs)))
    return max(least, floor), list(dict.fromkeys(w for w in ways if w))


def _least_peak(n: int, costs: _Costs) -> int:
    """The least possible largest step over all ways to cut the ops into runs."""
    best = [0] + [0] * n
    for j in range(n):
        best[j + 1] = min(max(best[i], costs.peak(i, j)) for i in range(max(0, j + 1 - LONGEST), j + 1))
    return best[n]


def _fewest(n: int, costs: _Costs, target: int) -> list[tuple[int, int]]:
    """Runs (first, last) of which none needs more than `target` bytes, with the fewest ops in runs of two or more."""
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


def _lightest(n: int, costs: _Costs) -> list[tuple[int, int]]:
    """Runs with the least sum of squared peaks: every step as low as it can be, not the highest alone."""
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    for j in range(n):
        starts = range(max(0, j + 1 - LONGEST), j + 1)
        weights = [(best[i][0] + costs.peak(i, j) ** 2 * (j + 1 - i), -i, i) for i in starts]
        weight, _, i = min(weights)
        best.append((weight, [*best[i][1], (i, j)]))
    return best[n][1]


class _Costs:
    """Bytes that are live while a run of the row-wise ops executes, what lives beside it included."""

    def __init__(self, graph: Graph, ops: Sequence[Op]) -> None:
        self.graph, self.ops = graph, ops
        self.position = {op.name: i for i, op in enumerate(graph.ops)}
        self.born = {o: self.position[op.name] for op in graph.ops for o in op.outputs}
        self.readers: dict[str, set[str]] = {}
        for op in graph.ops:
            for name in op.inputs:
                self.readers.setdefault(name, set()).add(op.name)
        self.fixed = sum(t.nbytes for t in graph.tensors if t.kind == "state")
        self.alone = self._live()
        self.peak = lru_cache(maxsize=None)(self._peak)

    def dies(self, name: str) -> int:
        return max((self.position[r] for r in self.readers.get(name, ())), default=self.born.get(name, 0))

    def _live(self) -> list[int]:
        return live_bytes(self.graph, [op.name for op in self.graph.ops])

    def streams(self, runs: Sequence[tuple[int, int]]) -> tuple[Stream, ...]:
        return tuple(self.stream(i, j) for i, j in runs if j > i)

    def stream(self, i: int, j: int) -> Stream:
        members = self.ops[i : j + 1]
        inside = self._inside(members)
        shared = in_place(self.graph, members, inside)
        rings = ring_rows(members, inside, shared)
        name = f"stream:{members[0].name}..{members[-1].name}"
        return Stream(name, tuple(o.name for o in members), tuple(rings.items()), tuple(shared.items()))

    def _inside(self, members: Sequence[Op]) -> list[str]:
        """First outputs that nobody outside the run reads."""
        names = {m.name for m in members}
        made = [m.outputs[0] for m in members if not m.accumulates]
        return [o for o in made if self.graph.by_name[o].kind != "output" and self.readers.get(o, {""}) <= names]

    def _peak(self, i: int, j: int) -> int:
        """Infinite where the ops make no stream."""
        if i == j:
            return self._single(i)
        members = self.ops[i : j + 1]
        inside = set(self._inside(members))
        if not _connected(members, inside):
            return 1 << 60
        op, added = _fused(self.graph, self.stream(i, j), members)
        own = sum(t.nbytes for t in added) + sum(self.graph.by_name[o].nbytes for o in op.outputs)
        first, last = self.position[members[0].name], self.position[members[-1].name]
        own += sum(t.nbytes for t in self.graph.tensors if self._lives_beside(t, first, last, set(op.outputs) | inside))
        return self.fixed + own - self._saved(op, last)

    def _single(self, i: int) -> int:
        return self.alone[self.position[self.ops[i].name]]

    def _lives_beside(self, tensor: Tensor, first: int, last: int, own: set[str]) -> bool:
        if tensor.name in own or tensor.kind in ("state", "constant", "scratch"):
            return False
        if tensor.kind == "input":
            return self.dies(tensor.name) >= first
        return self.born[tensor.name] <= last and (self.dies(tensor.name) >= first or tensor.kind == "output")

    def _saved(self, op: Op, last: int) -> int:
        """Bytes that the output may lie over an input that dies here (one input alone: a lower estimate)."""
        saved = 0
        for overlap in op.overlaps:
            if self.dies(overlap.input) <= last and self.graph.by_name[overlap.input].kind in MORTAL:
                out, into = self.graph.by_name[overlap.output].nbytes, self.graph.by_name[overlap.input].nbytes
                union = max(out, into, max(0, overlap.distance) + into)
                saved = max(saved, out + into - min(out + into, union))
        return saved


def _connected(members: Sequence[Op], inside: set[str]) -> bool:
    """Whether every op but the driver feeds the run through a ring, and every sum takes its rows from one."""
    mains = [m for m in members if not m.accumulates]
    if not mains or any(m.outputs[0] not in inside for m in mains[:-1]):
        return False
    read = {a.tensor for m in members for a in m.reads}
    if any(m.outputs[0] not in read for m in mains[:-1]):
        return False
    # a sum runs with its producer's row: one ring, row for row
    sums = [[a for a in m.reads if a.tensor in inside] for m in members if m.accumulates]
    return all(len(s) == 1 and (s[0].stride, s[0].window, s[0].transposed) == (1, 1, False) for s in sums)
