"""Rematerialises: computes cheap results a second time, so that they need not be kept in between.

The worst moment of a plan decides: what lies in the arena there, was made before and is read only later, may be
rematerialised right before that later reader. What it is made from must be there then: kept, or itself rematerialised.
The weights must be those of the first time, so nothing is rematerialised behind an update of what it reads. The search
is greedy; each choice counts only if the plan that follows from it is lower. (The problem in general: Jain et al.,
Checkmate, MLSys 2020; Bartan et al., MOCCASIN, ICML 2023.)"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mcutrain.planner.graph import live_bytes
from mcutrain.planner.model import Graph, Op, Plan

DEPTH = 4  # ops in a row that may be rematerialised for one tensor
TRIED = 5  # candidates that are planned in full before a moment is given up


@dataclass(frozen=True)
class Rematerialisation:
    """`op` runs a second time as op `name`: every tensor it writes has a second copy, which `readers` read instead.

    outputs: (first, second) names. inputs: (first, second) names where it reads copies itself. before: the op in front
    of which it stands."""

    op: str
    name: str
    outputs: tuple[tuple[str, str], ...]
    inputs: tuple[tuple[str, str], ...]
    readers: tuple[str, ...]
    before: str


def with_rematerialised(graph: Graph, chosen: Sequence[Rematerialisation]) -> Graph:
    """Returns the graph in which the chosen ops run a second time."""
    for one in chosen:
        first = next(op for op in graph.ops if op.name == one.op)
        second, reads = second_op(first, one), dict(one.outputs)
        ops: list[Op] = []
        for op in graph.ops:
            ops += [second] if op.name == one.before else []
            ops.append(renamed(op, reads) if op.name in one.readers else op)
        tensors = [replace(graph.by_name[name], name=copy) for name, copy in copies(first, one)]
        graph = Graph((*graph.tensors, *tensors), tuple(ops))
    return graph


def second_op(first: Op, one: Rematerialisation) -> Op:
    """Returns `first` as it runs the second time: over second copies, under a name of its own."""
    return replace(renamed(first, dict((*copies(first, one), *one.inputs))), name=one.name)


def copies(first: Op, one: Rematerialisation) -> list[tuple[str, str]]:
    """Returns (tensor, its second copy) for everything that the op writes, scratch included."""
    return [*one.outputs, *((name, f"{name}{one.name[len(one.op) :]}") for name in first.scratch)]


def renamed(op: Op, names: Mapping[str, str]) -> Op:
    """Returns the op over other tensors; `names` maps old names to new ones."""

    def new(name: str) -> str:
        return names.get(name, name)

    return replace(
        op,
        inputs=tuple(map(new, op.inputs)),
        outputs=tuple(map(new, op.outputs)),
        scratch=tuple(map(new, op.scratch)),
        overlaps=tuple(replace(o, input=new(o.input), output=new(o.output)) for o in op.overlaps),
        reads=tuple(replace(r, tensor=new(r.tensor)) for r in op.reads),
        by_channel=tuple(replace(f, reads=tuple(map(new, f.reads))) for f in op.by_channel),
    )


def choose(
    graph: Graph,
    found: Plan,
    capacity: int,
    replan: Callable[[Graph], Plan],
    planned_graph: Callable[[Graph, Plan], Graph],
    untouched: Container[str] = (),
    progress: Callable[[str], None] | None = None,
) -> tuple[tuple[Rematerialisation, ...], Plan]:
    """Chooses ops to rematerialise until the plan fits `capacity` bytes, or comes as near as the search gets.

    found: the plan of `graph` as it is. replan: plans a graph. planned_graph: plans.planned_graph. untouched: ops that
    must go on reading the first copies, since they also run in an entry point that rematerialises nothing. Returns the
    chosen ops and the plan with them."""
    chosen: tuple[Rematerialisation, ...] = ()
    best, current = found, graph
    while best.height > capacity:
        for step in _candidates(current, planned_graph(current, best), best, untouched)[:TRIED]:
            attempt = with_rematerialised(current, step)
            plan = replan(attempt)
            if plan.height < best.height:
                chosen, best, current = (*chosen, *step), plan, attempt
                break
        else:
            break
        if progress:
            progress(f"recompute: {len(chosen)} ops run again, arena {best.height} bytes")
    return chosen, best


def _candidates(
    graph: Graph, planned: Graph, found: Plan, untouched: Container[str]
) -> list[tuple[Rematerialisation, ...]]:
    """Returns chains of ops worth rematerialising, the most bytes at the worst moment for a MAC first."""
    moment = _Moment(graph, planned, found, untouched)
    ways: dict[tuple[Rematerialisation, ...], float] = {}
    for tensor in moment.crossing():
        for depth in range(DEPTH):
            step = moment.chain(tensor, depth)
            freed = moment.freed(step) if step else 0
            if freed > 0:
                cost = sum(moment.by_name[one.op].macs for one in step)
                ways[step] = freed / (1 + cost)
    return sorted(ways, key=lambda step: (-ways[step], len(step), step[0].name))


class _Moment:
    """Describes the worst moment of a plan, and who makes and reads what before and after it. Positions are those of
    the plan, in which a stream is one op."""

    def __init__(self, graph: Graph, planned: Graph, found: Plan, untouched: Container[str]) -> None:
        self.untouched = untouched
        self.graph, self.by_name = graph, {op.name: op for op in graph.ops}
        live = live_bytes(planned, found.order)
        self.worst = live.index(max(live))
        self.at = {name: i for i, name in enumerate(found.order)}
        self.at |= {name: self.at[stream.name] for stream in found.streams for name in stream.ops}
        self.rank = {op.name: i for i, op in enumerate(graph.ops)}
        self.run_start = {  # what is rematerialised stands in front of a run, not in its middle
            name: min(stream.ops, key=self.rank.__getitem__) for stream in found.streams for name in stream.ops
        }
        self.maker = {o: op for op in graph.ops for o in op.outputs}
        self.readers: dict[str, list[str]] = {}
        self.changes: dict[str, int] = {}  # state -> where in the graph it is first overwritten
        for op in graph.ops:
            for name in op.inputs:
                self.readers.setdefault(name, []).append(op.name)
            for name in op.mutates:
                self.changes.setdefault(name, self.rank[op.name])

    def crossing(self) -> Iterator[str]:
        """Yields what lies in the arena at the worst moment and is needed only before and after it, largest first."""
        for tensor in sorted(self.graph.tensors, key=lambda t: (-t.nbytes, t.name)):
            if tensor.kind == "activation" and tensor.name in self.maker and self._crosses(tensor.name):
                yield tensor.name

    def _crosses(self, name: str) -> bool:
        born = self.at[self.maker[name].name] if name in self.maker else -1
        users = [self.at[reader] for reader in self.readers.get(name, ())]
        return born < self.worst and self.worst not in users and max(users, default=-1) > self.worst

    def _late(self, name: str) -> list[str]:
        return [reader for reader in self.readers.get(name, ()) if self.at[reader] > self.worst]

    def chain(self, tensor: str, depth: int) -> tuple[Rematerialisation, ...]:
        """Returns the maker of `tensor` and up to `depth` makers before it as rematerialisations; empty where they
        cannot run a second time."""
        ops, wanted = [self.maker[tensor]], [self.maker[tensor]]
        for _ in range(depth):
            inputs = [i for op in wanted for i in op.inputs if self._gone(i)]
            wanted = [self.maker[i] for i in dict.fromkeys(inputs) if i in self.maker and self.maker[i] not in ops]
            ops += wanted
        late = {reader for op in ops for o in op.outputs for reader in self._late(o)} - {op.name for op in ops}
        if not late or any(name in self.untouched for name in late):
            return ()
        before = min((self.run_start.get(name, name) for name in late), key=self.rank.__getitem__)
        for op in ops:
            outdated = any(self.changes.get(name, len(self.rank)) < self.rank[before] for name in op.inputs)
            if op.mutates or outdated or any(self.graph.by_name[o].kind != "activation" for o in op.outputs):
                return ()
        return self._named(sorted(ops, key=lambda op: self.rank[op.name]), before)

    def _gone(self, name: str) -> bool:
        """Says whether the tensor does not lie in the arena at the worst moment anyway."""
        return self.graph.by_name[name].kind == "activation" and not self._late(name)

    def _named(self, ops: Sequence[Op], before: str) -> tuple[Rematerialisation, ...]:
        number = 1
        while any(f"{op.name}.again{number}" in self.by_name for op in ops):
            number += 1
        copies = {o: f"{o}.again{number}" for op in ops for o in op.outputs}
        return tuple(
            Rematerialisation(
                op.name,
                f"{op.name}.again{number}",
                tuple((o, copies[o]) for o in op.outputs),
                tuple((i, copies[i]) for i in op.inputs if i in copies),
                tuple(reader for o in op.outputs for reader in self._late(o)),
                before,
            )
            for op in ops
        )

    def freed(self, step: Sequence[Rematerialisation]) -> int:
        """Counts the bytes that the worst moment loses by `step`, less those kept over it for the second run."""
        gone = {first for one in step for first, _ in one.outputs if self._crosses(first)}
        inside = {first for one in step for first, _ in one.outputs}
        needed = {i for one in step for i in self.by_name[one.op].inputs} - inside
        kept = {
            i for i in needed
            if self.graph.by_name[i].kind in ("activation", "input") and not self._late(i) and not self._used_now(i)
        }  # fmt: skip
        return sum(self.graph.by_name[n].nbytes for n in gone) - sum(self.graph.by_name[n].nbytes for n in kept)

    def _used_now(self, name: str) -> bool:
        return any(self.at[reader] == self.worst for reader in self.readers.get(name, ()))
