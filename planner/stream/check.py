"""Replays every stream of a plan on a memory of bytes: each row that an op reads must still lie there whole. Shares no
code with the search that chose the streams, sized their rings and placed them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mcutrain.planner.errors import PlanError
from mcutrain.planner.model import Graph, Op, Plan, RowAccess, Stream


def check_streams(graph: Graph, plan: Plan) -> None:
    """Checks the streams of a plan for `graph`, which knows of none. Raises PlanError naming op, tensor and row."""
    ops = {op.name: op for op in graph.ops}
    readers: dict[str, list[str]] = {}
    for op in graph.ops:
        for name in op.inputs:
            readers.setdefault(name, []).append(op.name)
    taken = Counter(name for stream in plan.streams for name in stream.ops)
    for name, times in taken.items():
        if name not in ops or times > 1:
            raise PlanError(f"op {name!r} of a stream is {'in it more than once' if name in ops else 'unknown'}")
    for stream in plan.streams:
        members = [ops[name] for name in stream.ops]
        if stream.axis == "channels":
            members = [_over_channels(op, stream) for op in members]
        _check_private(graph, readers, stream, members)
        _check_shared(graph, stream, members)
        _Replay(graph, plan, stream, members).run()


def _over_channels(op: Op, stream: Stream) -> Op:
    """Returns the op with its rows being blocks of channels, in the form that its output's place asks for."""
    whole = any(output not in dict(stream.rings) for output in op.outputs[:1])
    forms = [form for form in op.by_channel if form.accumulates == whole]
    if not forms or len(op.outputs) > 1:
        raise PlanError(f"stream {stream.name!r}: op {op.name!r} cannot run over channels as it stands there")
    reads = tuple(RowAccess(name, forms[0].blocks) for name in forms[0].reads)
    return replace(op, rows=forms[0].blocks, reads=reads, accumulates=whole)


def _check_private(graph: Graph, readers: dict[str, list[str]], stream: Stream, members: list[Op]) -> None:
    """Checks rings, which forget rows: nobody outside may read the tensor, and nobody inside but row by row."""
    inside = {m.name for m in members}
    for tensor, rows in stream.rings:
        if rows < 1:
            raise PlanError(f"stream {stream.name!r}: the ring of {tensor!r} holds {rows} rows, it needs one or more")
        outside = [name for name in readers.get(tensor, []) if name not in inside]
        whole = [m.name for m in members if tensor in m.inputs and tensor not in {a.tensor for a in m.reads}]
        if outside or whole or graph.by_name[tensor].kind == "output":
            who = [*outside, *whole, "the caller"][0]
            raise PlanError(f"stream {stream.name!r}: tensor {tensor!r} lies in a ring, but {who!r} reads it whole")
    for op in members:
        for state in op.mutates:
            by_rows = {m.name for m in members if state in {a.tensor for a in m.reads}}
            others = [m.name for m in members if m is not op and state in m.inputs and m.name not in by_rows]
            if others:
                who = f"{op.name!r} changes {state!r}, but {others[0]!r} reads it whole"
                raise PlanError(f"stream {stream.name!r}: {who}")


def _check_shared(graph: Graph, stream: Stream, members: list[Op]) -> None:
    """Checks that a tensor lies in another one's ring only where its op works in place: row for row, in rows of one
    size."""
    rings, shared = dict(stream.rings), dict(stream.shared)
    for tensor, owner in stream.shared:
        there = {t for t in rings if shared.get(t, t) == owner}
        for op in (m for m in members if m.outputs[:1] == (tensor,)):
            declared = {o.input for o in op.overlaps if o.output == tensor and o.distance <= 0}
            reads = [a for a in op.reads if a.tensor in there & declared]
            plain = [a for a in reads if (a.stride, a.window, a.transposed) == (1, 1, False)]
            size = graph.by_name[tensor].nbytes
            same = [a for a in plain if size * a.rows == graph.by_name[a.tensor].nbytes * op.rows]
            if same and owner not in shared and rings.get(tensor) == rings.get(owner):
                break
        else:
            raise PlanError(f"stream {stream.name!r}: {tensor!r} may not lie in the ring of {owner!r}")


class _Replay:
    """Runs one stream step by step. held: (tensor, row) -> [first, end) of the bytes where that row lies; a write over
    any of them drops it."""

    def __init__(self, graph: Graph, plan: Plan, stream: Stream, members: list[Op]) -> None:
        self.graph, self.plan, self.stream, self.members = graph, plan, stream, members
        self.rings, self.shared = dict(stream.rings), dict(stream.shared)
        self.held: dict[tuple[str, int], tuple[int, int]] = {}
        self.next_row = {m.name: 0 for m in members}
        self.maker = {m.outputs[0]: m for m in members if m.outputs and not m.accumulates}
        self.changed: set[tuple[str, int]] = set()  # rows of state that an update of this run has overwritten
        self.rows = {a.tensor: a.rows for m in members for a in m.reads}
        self.rows |= {tensor: m.rows for tensor, m in self.maker.items()}

    def run(self) -> None:
        for tensor, rows in self.rows.items():
            if tensor not in self.maker:
                for row in range(rows):
                    self.held[tensor, row] = self._bytes(tensor, row) if tensor in self.plan.offsets else (0, 0)
        last = [m for m in self.members if not m.accumulates][-1]
        while self.next_row[last.name] < last.rows:
            self._step(last)
        for member in self.members:
            ran = self.next_row[member.name]
            if ran > member.rows or (ran < member.rows and (member.accumulates or not member.outputs)):
                raise PlanError(f"stream {self.stream.name!r}: op {member.name!r} ran {ran} of {member.rows} rows")
        for tensor in last.outputs[:1]:
            for row in range(last.rows if tensor not in self.rings else 0):
                self._expect("the stream's end", tensor, row)

    def _step(self, op: Op) -> None:
        row = self.next_row[op.name]
        for access in op.reads:
            maker = self.maker.get(access.tensor)
            while maker is not None and self.next_row[maker.name] < access.end(row):
                self._step(maker)
        self._execute(op, row)
        for other in self.members:
            if other.accumulates and {a.tensor for a in other.reads} & set(op.outputs[:1]):
                self._execute(other, row)

    def _execute(self, op: Op, row: int) -> None:
        for access in op.reads:
            for needed in range(access.first(row), access.end(row)):
                self._expect(op.name, access.tensor, needed)
        for tensor in set(op.inputs) & set(self.rows) - {a.tensor for a in op.reads} - set(op.mutates):
            for needed in range(self.rows[tensor]):  # what this op reads whole, another takes by rows
                self._expect(op.name, tensor, needed)
        self.changed |= {(state, row) for state in op.mutates}
        whole = op.outputs if op.accumulates else op.outputs[1:]
        for tensor in whole:
            first = self.plan.offsets[tensor]
            self._overwrite(first, first + self.graph.by_name[tensor].nbytes)
        if op.outputs and not op.accumulates:
            place = self._bytes(op.outputs[0], row)
            self._overwrite(*place)
            self.held[op.outputs[0], row] = place
        self.next_row[op.name] = row + 1

    def _bytes(self, tensor: str, row: int) -> tuple[int, int]:
        nbytes = self.graph.by_name[tensor].nbytes // self.rows[tensor]
        if self.stream.axis == "channels" and tensor not in self.rings:  # a block of channels lies all over the tensor
            return self.plan.offsets[tensor], self.plan.offsets[tensor] + self.graph.by_name[tensor].nbytes
        slot = row % self.rings[tensor] if tensor in self.rings else row
        first = self.plan.offsets[self.shared.get(tensor, tensor)] + slot * nbytes
        return first, first + nbytes

    def _overwrite(self, first: int, end: int) -> None:
        self.held = {key: (a, b) for key, (a, b) in self.held.items() if b <= first or end <= a}

    def _expect(self, who: str, tensor: str, row: int) -> None:
        if (tensor, row) in self.changed:
            raise PlanError(f"stream {self.stream.name!r}: {who!r} reads row {row} of {tensor!r} behind its update")
        if (tensor, row) not in self.held:
            raise PlanError(f"stream {self.stream.name!r}: {who!r} needs row {row} of {tensor!r}, which is overwritten")
