"""Reads a graph: validation, dependencies between ops, lifetimes for an order, and the packing problem they make."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import networkx as nx

from mcutrain.planner.errors import PlanError
from mcutrain.planner.model import KINDS, Graph, Op, Overlap
from mcutrain.planner.packing.bound import section_bytes
from mcutrain.planner.packing.problem import LARGEST, Buffer, Problem, is_whole

WRITTEN = ("activation", "gradient", "output")  # kinds that exactly one op produces
MORTAL = ("activation", "gradient", "input")  # kinds that an output may overlap once they are dead


def dependencies(graph: Graph) -> nx.DiGraph:
    """Returns a graph of op names with an edge a -> b where b must run after a: b reads what a wrote, or b overwrites
    state that a reads.

    Nodes stand in the graph's order. Raises PlanError (naming tensor and op) where the graph is malformed."""
    result = order_edges(graph)
    _check_order(graph, result)
    return result


def order_edges(graph: Graph) -> nx.DiGraph:
    """Does what dependencies() does for a graph whose ops need not stand in a valid order yet. Raises PlanError as that
    does."""
    _check_tensors(graph)
    producer = _producers(graph)
    result = nx.DiGraph()
    result.add_nodes_from(op.name for op in graph.ops)
    for op in graph.ops:
        for name in op.inputs:
            if name in producer:
                result.add_edge(producer[name], op.name, tensor=name)
    for before, after, state in _overwrites(graph):
        result.add_edge(before, after, tensor=state)
    _check_cycles(result)
    return result


def check_permutation(graph: Graph, order: Sequence[str]) -> None:
    """Raises PlanError where `order` is not a permutation of the graph's ops."""
    expected = sorted(op.name for op in graph.ops)
    if sorted(order) != expected:
        odd = sorted(set(order) ^ set(expected)) or sorted(name for name in set(order) if list(order).count(name) > 1)
        raise PlanError(f"the order does not hold every op exactly once: look at {', '.join(map(repr, odd[:5]))}")


def lifetimes(graph: Graph, order: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Maps each tensor that lies in the arena (constants do not) to [first, last) in positions of `order`."""
    check_permutation(graph, order)
    ops = {op.name: op for op in graph.ops}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for position, name in enumerate(order):
        for written in (*ops[name].outputs, *ops[name].scratch):
            first[written] = position
            last[written] = position + 1
        for read in ops[name].inputs:
            last[read] = position + 1
    result = {}
    for tensor in graph.tensors:
        if tensor.kind == "state":
            result[tensor.name] = (0, len(order))
        elif tensor.kind == "input":
            result[tensor.name] = (0, last.get(tensor.name, 1))
        elif tensor.kind == "output":
            result[tensor.name] = (first[tensor.name], len(order))
        elif tensor.kind != "constant":
            result[tensor.name] = (first[tensor.name], last[tensor.name])
    return result


def declared_overlaps(graph: Graph, op: Op) -> tuple[Overlap, ...]:
    """Returns the overlaps of `op` that some order could honour; of two for the same pair the stricter distance
    holds."""
    strictest: dict[tuple[str, str], int] = {}
    for overlap in op.overlaps:
        pair = (overlap.input, overlap.output)
        if graph.by_name[overlap.input].kind in MORTAL:
            strictest[pair] = max(overlap.distance, strictest.get(pair, overlap.distance))
    return tuple(Overlap(*pair, distance) for pair, distance in strictest.items())


def problem(graph: Graph, order: Sequence[str]) -> Problem:
    """Returns the packing problem of `graph` run in `order`: lifetimes, and the overlaps whose input dies at the op."""
    live = lifetimes(graph, order)
    position = {name: index for index, name in enumerate(order)}
    buffers = []
    for tensor in graph.tensors:
        if tensor.name in live:
            lower, upper = live[tensor.name]
            buffers.append(Buffer(tensor.name, lower, upper, tensor.nbytes, tensor.align))
    overlaps = [
        overlap
        for op in graph.ops
        for overlap in declared_overlaps(graph, op)
        if live[overlap.input][1] == position[op.name] + 1
    ]
    return Problem(tuple(buffers), tuple(overlaps))


def live_bytes(graph: Graph, order: Sequence[str]) -> list[int]:
    """Returns, for each position of `order`, a lower bound in bytes on the arena while that op runs."""
    return section_bytes(problem(graph, order), range(len(order)))


def _check_tensors(graph: Graph) -> None:
    if not graph.ops:
        raise PlanError("the graph has no ops: there is nothing to plan")
    seen: set[str] = set()
    for op in graph.ops:
        if op.name in seen:
            raise PlanError(f"two ops are named {op.name!r}: every op needs a name of its own")
        seen.add(op.name)
    for tensor in graph.tensors:
        if tensor.kind not in KINDS:
            raise PlanError(f"tensor {tensor.name!r} has kind {tensor.kind!r}: use one of {', '.join(KINDS)}")
        if not is_whole(tensor.nbytes) or tensor.nbytes > LARGEST:
            raise PlanError(f"tensor {tensor.name!r} has {tensor.nbytes} bytes: give a whole number up to {LARGEST}")
        if tensor.nbytes < 0:
            raise PlanError(f"tensor {tensor.name!r} has {tensor.nbytes} bytes: a size cannot be negative")
        if tensor.align < 1:
            raise PlanError(f"tensor {tensor.name!r} has alignment {tensor.align}: it must be at least 1 byte")
    for op in graph.ops:
        _check_op(graph, op)


def _check_op(graph: Graph, op: Op) -> None:
    for role, names in (("reads", op.inputs), ("writes", op.outputs), ("uses the scratch", op.scratch)):
        for name in names:
            if name not in graph.by_name:
                raise PlanError(f"op {op.name!r} {role} {name!r}, which is no tensor of the graph: add it")
    for name in op.inputs:
        if graph.by_name[name].kind == "scratch":
            raise PlanError(f"op {op.name!r} reads {name!r}, which is scratch: list it under the op's scratch")
    for name in op.mutates:
        if name not in op.inputs or graph.by_name[name].kind != "state":
            raise PlanError(f"op {op.name!r} mutates {name!r}, which must be a state tensor among its inputs")
    for overlap in op.overlaps:
        if overlap.input not in op.inputs or overlap.output not in op.outputs:
            where = f"{overlap.output!r} over {overlap.input!r}"
            raise PlanError(f"op {op.name!r} declares the overlap {where}: name an output and an input of the op")


def _producers(graph: Graph) -> dict[str, str]:
    """Maps each tensor to the one op that writes it (scratch included, so that each scratch belongs to one op)."""
    producer: dict[str, str] = {}
    for op in graph.ops:
        for name, kinds in [(n, WRITTEN) for n in op.outputs] + [(n, ("scratch",)) for n in op.scratch]:
            kind = graph.by_name[name].kind
            if kind not in kinds:
                raise PlanError(f"op {op.name!r} writes {name!r}, whose kind is {kind!r}: make it {' or '.join(kinds)}")
            if name in producer:
                raise PlanError(f"tensor {name!r} is written by {producer[name]!r} and {op.name!r}: split it in two")
            producer[name] = op.name
    for tensor in graph.tensors:
        if tensor.name not in producer and tensor.kind in (*WRITTEN, "scratch"):
            readers = [op.name for op in graph.ops if tensor.name in op.inputs]
            who = f"op {readers[0]!r} reads it" if readers else "nobody reads it"
            raise PlanError(f"tensor {tensor.name!r} ({tensor.kind}) is written by no op, {who}: add its writer")
    return producer


def _overwrites(graph: Graph) -> list[tuple[str, str, str]]:
    """Returns triples (before, after, state): `after` overwrites the state that `before` reads; two writers keep the
    given order."""
    readers: dict[str, list[str]] = {}
    writers: dict[str, list[str]] = {}
    for op in graph.ops:
        for name in dict.fromkeys(op.mutates):
            writers.setdefault(name, []).append(op.name)
        for name in dict.fromkeys(op.inputs):
            if name not in op.mutates and graph.by_name[name].kind == "state":
                readers.setdefault(name, []).append(op.name)
    edges = []
    for state, names in writers.items():
        edges += [(reader, writer, state) for writer in names for reader in readers.get(state, [])]
        edges += [(before, after, state) for before, after in pairwise(names)]
    return edges


def _check_cycles(edges: nx.DiGraph) -> None:
    """Raises PlanError where ops wait for each other."""
    if not nx.is_directed_acyclic_graph(edges):
        ring = nx.find_cycle(edges)
        path = " -> ".join([repr(edge[0]) for edge in ring] + [repr(ring[0][0])])
        tensors = ", ".join(repr(edges.edges[edge[:2]]["tensor"]) for edge in ring)
        raise PlanError(f"ops wait for each other in a cycle: {path} (through {tensors}); break it")


def _check_order(graph: Graph, edges: nx.DiGraph) -> None:
    """Raises PlanError where the order the ops stand in breaks a dependency."""
    index = {op.name: position for position, op in enumerate(graph.ops)}
    for before, after, tensor in edges.edges(data="tensor"):
        if index[before] > index[after]:
            if graph.by_name[tensor].kind == "state":
                raise PlanError(f"op {before!r} reads state {tensor!r} after op {after!r} overwrote it: put it before")
            raise PlanError(f"op {after!r} reads tensor {tensor!r} before op {before!r} writes it: swap them")
