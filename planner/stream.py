"""Chooses which runs of ops stream row by row, and rewrites the graph with each run as one op.

Streaming costs no recomputation, only ring addressing: inside a run a tensor needs the rows that its readers still take
instead of all. The runs are chosen by dynamic programming over the chain of row-wise ops, so that the most memory that
any of its steps needs is least, with as few streamed ops as that allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from planner.model import Graph, Op, Overlap, Stream, Tensor
from planner.rows import overlap_distance, ring_rows

LONGEST = 40  # ops in a run: beyond, rings grow as fast as tensors shrink


def apply(graph: Graph, streams: Sequence[Stream]) -> Graph:
    """The graph with every stream as one op: rings and one shared scratch are its scratch, masks its further outputs."""
    by_name = {op.name: op for op in graph.ops}
    inside = {name: stream for stream in streams for name in stream.ops}
    tensors, gone, ops = [], set(), []
    for stream in streams:
        members = [by_name[n] for n in stream.ops]
        op, added = _fused(graph, stream, members)
        tensors += added
        gone |= {t.name for t in added} | {s for m in members for s in m.scratch}
        ops.append(op)
    fused = {op.name: op for op in ops}
    kept = [t for t in graph.tensors if t.name not in gone]
    order = []
    for op in graph.ops:
        if op.name not in inside:
            order.append(op)
        elif op.name == inside[op.name].ops[-1]:
            order.append(fused[inside[op.name].name])
    return Graph((*kept, *tensors), tuple(order))


def scratch_name(stream: Stream) -> str:
    """The one scratch tensor that the ops of a stream take in turn."""
    return f"{stream.name}:scratch"


def _fused(graph: Graph, stream: Stream, members: Sequence[Op]) -> tuple[Op, list[Tensor]]:
    rings = dict(stream.rings)
    added = []
    for member in members[:-1]:
        whole = graph.by_name[member.outputs[0]]
        nbytes = whole.nbytes // member.rows * rings[whole.name]
        added.append(replace(whole, nbytes=nbytes, kind="scratch"))
    scratch = [t.name for t in added]
    shared = max((graph.by_name[s].nbytes for m in members for s in m.scratch), default=0)
    if shared:
        added.append(Tensor(scratch_name(stream), shared, kind="scratch"))
        scratch.append(added[-1].name)
    inputs = dict.fromkeys(n for m in members for n in m.inputs if n not in rings)
    outputs = (members[-1].outputs[0], *(o for m in members for o in m.outputs[1:]))
    read = dict.fromkeys(a.tensor for m in members for a in m.reads if a.tensor not in rings)
    overlaps = tuple(Overlap(n, outputs[0], overlap_distance(graph, members, n)) for n in read)
    return Op(stream.name, tuple(inputs), outputs, tuple(scratch), overlaps), added


def chain(graph: Graph) -> list[Op]:
    """The longest run of row-wise ops at the graph's beginning, in its order."""
    result = []
    for op in graph.ops:
        if not op.rows:
            break
        result.append(op)
    return result


def choose(graph: Graph, floor: int) -> tuple[Stream, ...]:
    """The runs that stream, () where none helps. floor: bytes that the rest of the graph needs in any case, below which
    there is nothing to gain."""
    ops = chain(graph)
    costs = _Costs(graph, ops)
    alone = max((costs.peak(i, i) for i in range(len(ops))), default=0)
    target = max(floor, _least_peak(len(ops), costs))
    if alone <= target:
        return ()
    return tuple(_stream(ops[i : j + 1]) for i, j in _fewest(len(ops), costs, target) if j > i)


def _stream(ops: Sequence[Op]) -> Stream:
    return Stream(f"stream:{ops[0].name}..{ops[-1].name}", tuple(o.name for o in ops), tuple(ring_rows(ops).items()))


def _least_peak(n: int, costs: _Costs) -> int:
    """The least possible largest step over all ways to cut the chain into runs."""
    best = [0] + [0] * n
    for j in range(n):
        best[j + 1] = min(max(best[i], costs.peak(i, j)) for i in range(max(0, j + 1 - LONGEST), j + 1))
    return best[n]


def _fewest(n: int, costs: _Costs, target: int) -> list[tuple[int, int]]:
    """Runs (first, last) of which none needs more than `target` bytes, with the fewest ops in runs of two or more."""
    best: list[tuple[int, list[tuple[int, int]]]] = [(0, [])]
    for j in range(n):
        ways = []
        for i in range(max(0, j + 1 - LONGEST), j + 1):
            if costs.peak(i, j) <= target and best[i] is not None:
                streamed = j - i + 1 if j > i else 0
                ways.append((best[i][0] + streamed, -i, [*best[i][1], (i, j)]))
        least = min(ways, default=None, key=lambda w: w[:2])
        best.append((least[0], least[2]) if least else None)
    return best[n][1]


class _Costs:
    """Bytes that are live while a run of the chain executes, what lives beside it included."""

    def __init__(self, graph: Graph, ops: Sequence[Op]) -> None:
        self.graph, self.ops = graph, ops
        self.position = {op.name: i for i, op in enumerate(graph.ops)}
        self.born = {o: self.position[op.name] for op in graph.ops for o in op.outputs}
        self.dies: dict[str, int] = {}
        for op in graph.ops:
            for name in op.inputs:
                self.dies[name] = self.position[op.name]
        self.fixed = sum(t.nbytes for t in graph.tensors if t.kind == "state")
        self.peak = lru_cache(maxsize=None)(self._peak)

    def _peak(self, i: int, j: int) -> int:
        """Infinite where a tensor inside the run is read outside it."""
        members = self.ops[i : j + 1]
        inside = {m.outputs[0] for m in members[:-1]}
        if any(self.dies.get(n, len(self.graph.ops)) > j or self.graph.by_name[n].kind == "output" for n in inside):
            return 1 << 60
        op, added = _fused(self.graph, _stream(members), members)
        own = sum(t.nbytes for t in added) + sum(self.graph.by_name[o].nbytes for o in op.outputs)
        beside = [t for t in self.graph.tensors if self._lives_beside(t, i, j, inside)]
        own += sum(t.nbytes for t in beside)
        return self.fixed + own - self._saved(op, j)

    def _lives_beside(self, tensor: Tensor, i: int, j: int, inside: set[str]) -> bool:
        if tensor.kind == "input":
            return self.dies.get(tensor.name, 0) >= i
        born = self.born.get(tensor.name)
        return born is not None and born < i and self.dies.get(tensor.name, born) >= i

    def _saved(self, op: Op, j: int) -> int:
        """Bytes that the output may lie over an input that dies here (one input alone: a lower estimate)."""
        saved = 0
        out = self.graph.by_name[op.outputs[0]].nbytes
        for overlap in op.overlaps:
            if self.dies[overlap.input] <= j:
                into = self.graph.by_name[overlap.input].nbytes
                union = max(out, into, max(0, overlap.distance) + into)
                saved = max(saved, out + into - min(out + into, union))
        return saved
