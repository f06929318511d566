"""Rewrites a graph with each run of ops that executes row by row, or by blocks of channels, as one op.

Streaming costs no recomputation, only ring addressing: inside a run a tensor needs the rows that its readers still take
instead of all. Over channels it needs one block: there an op works channel by channel, or makes each channel of its
output from all of its input, or sums over the channels of its input."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

import networkx as nx

from mcutrain.planner.errors import PlanError
from mcutrain.planner.graph import order_edges
from mcutrain.planner.model import Graph, Op, Overlap, RowAccess, Stream, Tensor
from mcutrain.planner.stream.rows import driver, overlap_distance


def members(by_name: Mapping[str, Op], stream: Stream) -> list[Op]:
    """Returns the ops of a stream as they run in it: over channels, `rows` and `reads` speak of blocks of channels."""
    ops = [by_name[name] for name in stream.ops]
    return [by_channel(op, dict(stream.rings)) for op in ops] if stream.axis == "channels" else ops


def by_channel(op: Op, rings: Container[str]) -> Op:
    """Returns the op over blocks of channels: it makes its output block by block where that lies in a ring (or it has
    none), else the whole of it as a sum. Raises PlanError where the op has no such form."""
    accumulates = bool(op.outputs) and op.outputs[0] not in rings
    for form in op.by_channel:
        if form.accumulates == accumulates:
            reads = tuple(RowAccess(name, form.blocks) for name in form.reads)
            return replace(op, rows=form.blocks, reads=reads, accumulates=accumulates)
    way = "whole" if accumulates else "block by block"
    raise PlanError(f"op {op.name!r} cannot make its output {way} in a run over channels")


def with_streams(graph: Graph, streams: Sequence[Stream]) -> Graph:
    """Returns the graph with every stream as one op: rings and one shared scratch are its scratch."""
    by_name = {op.name: op for op in graph.ops}
    inside = {name: stream for stream in streams for name in stream.ops}
    tensors, gone, ops = [], set(), []
    for stream in streams:
        inner = members(by_name, stream)
        op, added = fused(graph, stream, inner)
        tensors += added
        gone |= {t for t, _ in stream.rings} | {s for m in inner for s in m.scratch}
        ops.append(op)
    whole = {op.name: op for op in ops}
    kept = [t for t in graph.tensors if t.name not in gone]
    order = []
    for op in graph.ops:
        if op.name not in inside:
            order.append(op)
        elif op.name == inside[op.name].ops[-1]:
            order.append(whole[inside[op.name].name])
    return eager(Graph((*kept, *tensors), tuple(order)))


def scratch_name(stream: Stream) -> str:
    """Names the one scratch tensor that the ops of a stream take in turn."""
    return f"{stream.name}:scratch"


def fused(graph: Graph, stream: Stream, inner: Sequence[Op]) -> tuple[Op, list[Tensor]]:
    """Returns the run `inner` as one op, and its scratch tensors."""
    rings = dict(stream.rings)
    added = []
    for member in inner:
        for name in member.outputs[:1]:
            if name in rings and name not in dict(stream.shared):
                whole = graph.by_name[name]
                added.append(replace(whole, nbytes=whole.nbytes // member.rows * rings[name], kind="scratch"))
    scratch = [t.name for t in added]
    shared = max((graph.by_name[s].nbytes for m in inner for s in m.scratch), default=0)
    if shared:
        added.append(Tensor(scratch_name(stream), shared, kind="scratch"))
        scratch.append(added[-1].name)
    inputs = dict.fromkeys(n for m in inner for n in m.inputs if n not in rings)
    outputs = tuple(o for m in inner for o in m.outputs if o not in rings)
    mutates = tuple(dict.fromkeys(n for m in inner for n in m.mutates))
    overlaps: tuple[Overlap, ...] = ()
    for output in driver(inner).outputs[:1]:
        if output not in rings:
            entire = {n for m in inner for n in m.inputs if n not in {a.tensor for a in m.reads}}
            read = dict.fromkeys(a.tensor for m in inner for a in m.reads if a.tensor in inputs)
            overlaps = tuple(Overlap(n, output, overlap_distance(graph, inner, n)) for n in read if n not in entire)
    return Op(stream.name, tuple(inputs), outputs, tuple(scratch), overlaps, mutates), added


def eager(graph: Graph) -> Graph:
    """Returns the same graph in an order in which sums over rows and updates stand as early as they can, others as
    given."""
    by_name = {op.name: op for op in graph.ops}
    late = {op.name: (bool(op.outputs) and not op.accumulates, i) for i, op in enumerate(graph.ops)}
    order = nx.lexicographical_topological_sort(order_edges(graph), key=late.__getitem__)
    return Graph(graph.tensors, tuple(by_name[name] for name in order))
