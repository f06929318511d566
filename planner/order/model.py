"""Models the memory of a training step as ops run: the one cost model of all searches for an order. Bytes, bit
masks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import networkx as nx
import numpy as np

from mcutrain.planner.graph import MORTAL, declared_overlaps
from mcutrain.planner.model import Graph, Tensor
from mcutrain.planner.packing.bound import Pair, saving
from mcutrain.planner.packing.problem import round_up


class OrderModel:
    """Holds ops as indices in the graph's order, sets of ops as bit masks. All sizes are rounded up to the common
    alignment.

    before[v]: ops that must run before v, directly. after[v]: the indices that wait for v.
    base: bytes of state, which is always live. start: bytes of the inputs that somebody reads.
    padding: the most bytes that rounding added to one tensor, by which a true arena may be lower."""

    def __init__(self, graph: Graph, edges: nx.DiGraph) -> None:
        self.names = tuple(op.name for op in graph.ops)
        self.all = (1 << len(self.names)) - 1
        index = {name: v for v, name in enumerate(self.names)}
        placed = [t for t in graph.tensors if t.kind != "constant" and t.nbytes > 0]
        self.step = math.gcd(*(t.align for t in placed)) or 1
        self.padding = max((self._size(t) - t.nbytes for t in placed), default=0)
        self.users = {t.name: 0 for t in graph.tensors}
        for v, op in enumerate(graph.ops):
            for name in op.inputs:
                self.users[name] |= 1 << v
        self.base = sum(self._size(t) for t in placed if t.kind == "state")
        self.start = sum(self._size(t) for t in placed if t.kind == "input" and self.users[t.name])
        self.unread = sum(self._size(t) for t in placed if t.kind == "input" and not self.users[t.name])
        self.before = [sum(1 << index[p] for p in edges.predecessors(name)) for name in self.names]
        self.after = [tuple(sorted(index[s] for s in edges.successors(name))) for name in self.names]
        self._describe_ops(graph)

    def _size(self, tensor: Tensor) -> int:
        return round_up(tensor.nbytes, self.step)

    def _describe_ops(self, graph: Graph) -> None:
        """Notes per op the bytes it needs beside what is live, bytes it leaves, and the inputs that it may end."""
        self.needs: list[int] = []
        self.leaves: list[int] = []
        self.ends: list[tuple[tuple[int, int], ...]] = []  # (users, bytes) of each input that can die
        self.pairs: list[tuple[tuple[int, Pair], ...]] = []  # (users of the input, overlap)
        self._savings: dict[tuple[int, int], int] = {}
        for op in graph.ops:
            outputs = [graph.by_name[name] for name in op.outputs]
            scratch = [graph.by_name[name] for name in op.scratch]
            inputs = [graph.by_name[name] for name in dict.fromkeys(op.inputs)]
            self.needs.append(sum(self._size(t) for t in (*outputs, *scratch)))
            self.leaves.append(sum(self._size(t) for t in outputs if self.users[t.name] or t.kind == "output"))
            self.ends.append(tuple((self.users[t.name], self._size(t)) for t in inputs if t.kind in MORTAL))
            pairs = []
            for overlap in declared_overlaps(graph, op):
                i, o = graph.by_name[overlap.input], graph.by_name[overlap.output]
                distance = round_up(overlap.distance, self.step)
                pairs.append((self.users[i.name], Pair(i.name, o.name, self._size(i), self._size(o), distance)))
            self.pairs.append(tuple(pairs))

    def run(self, done: int, live: int, v: int) -> tuple[int, int]:
        """Returns (bytes while v runs, bytes after it) after the ops `done` with `live` bytes live; without state."""
        waiting = ~(done | 1 << v)
        after = live + self.leaves[v]
        for users, nbytes in self.ends[v]:
            if not users & waiting:
                after -= nbytes
        return live + self.needs[v] - self.saved(v, waiting), after

    def saved(self, v: int, waiting: int) -> int:
        """Counts the bytes that overlaps save at most at op v, when the ops `waiting` are still to run."""
        dying = 0
        for k, (users, _) in enumerate(self.pairs[v]):
            if not users & waiting:
                dying |= 1 << k
        if not dying:
            return 0
        if (v, dying) not in self._savings:
            self._savings[v, dying] = saving([p for k, (_, p) in enumerate(self.pairs[v]) if dying >> k & 1])
        return self._savings[v, dying]

    def peak(self, order: Sequence[int]) -> int:
        """Returns the most bytes live at a position of `order`, state included."""
        done, live, most = 0, self.start, 0
        for position, v in enumerate(order):
            during, live = self.run(done, live, v)
            most = max(most, during + (self.unread if position == 0 else 0))
            done |= 1 << v
        return most + self.base

    def ready(self, done: int) -> list[int]:
        """Lists the ops that may run next, ascending."""
        return [v for v, before in enumerate(self.before) if not done >> v & 1 and before & ~done == 0]

    def ready_after(self, ready: Sequence[int], done: int, ran: Sequence[int]) -> list[int]:
        """Lists the ops that may run next, ascending, where `ready` might before the ops `ran`; `done` holds them
        already."""
        waiting = ~done
        left = {v for v in ready if waiting >> v & 1}
        left.update(s for v in ran for s in self.after[v] if not self.before[s] & waiting and waiting >> s & 1)
        return sorted(left)

    def closures(self) -> tuple[list[int], list[int]]:
        """Returns for each op the ops that run before it, and after it, in every order."""
        ancestors, descendants = [0] * len(self.names), [0] * len(self.names)
        for v in range(len(self.names)):  # the given order is a valid one
            for s in self.after[v]:
                ancestors[s] |= ancestors[v] | 1 << v
        for v in reversed(range(len(self.names))):
            for s in self.after[v]:
                descendants[v] |= descendants[s] | 1 << s
        return ancestors, descendants


def needed_anyway(graph: Graph, model: OrderModel) -> int:
    """Counts the bytes, state included, below which the peak of no order can lie: while an op runs, everything is live
    that some ancestor wrote and that the op or a descendant reads."""
    ancestors, descendants = model.closures()
    writer = {name: v for v, op in enumerate(graph.ops) for name in op.outputs}
    live = np.zeros(len(graph.ops), np.int64)
    for tensor in graph.tensors:
        if tensor.kind not in ("input", "activation", "gradient", "output"):
            continue
        behind = model.all if tensor.kind == "input" else descendants[writer[tensor.name]]
        if tensor.kind != "output":
            before = 0
            for v in indices(model.users[tensor.name]):
                before |= ancestors[v] | 1 << v
            behind &= before
        live[indices(behind)] += round_up(tensor.nbytes, model.step)
    own = [model.needs[v] - model.saved(v, descendants[v]) for v in range(len(graph.ops))]
    return int((live + own).max()) + model.base


def indices(mask: int) -> list[int]:
    """Lists the ops of a set, ascending."""
    bits = np.frombuffer(mask.to_bytes(mask.bit_length() // 8 + 1, "little"), np.uint8)
    return np.flatnonzero(np.unpackbits(bits, bitorder="little")).tolist()
