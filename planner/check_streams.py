"""Replays every stream of a plan on tagged memory: each row that an op reads must still be there. Shares no code with
the search that chose the streams and sized their rings."""

from __future__ import annotations

from planner.errors import PlanError
from planner.model import Graph, Op, Plan, Stream


def check_streams(graph: Graph, plan: Plan) -> None:
    """graph: the one that was planned, before streams were put into it. Raises PlanError naming op, tensor and row."""
    ops = {op.name: op for op in graph.ops}
    for stream in plan.streams:
        members = [ops[name] for name in stream.ops]
        _check_private(graph, stream, members)
        _Replay(graph, stream, members).run()


def _check_private(graph: Graph, stream: Stream, members: list[Op]) -> None:
    """A ring forgets rows, so that nobody outside may read the tensor, and nobody after the step."""
    inside = {m.name for m in members}
    for tensor, _ in stream.rings:
        outside = [op.name for op in graph.ops if tensor in op.inputs and op.name not in inside]
        if outside or graph.by_name[tensor].kind == "output":
            who = outside[0] if outside else "the caller"
            raise PlanError(f"stream {stream.name!r}: tensor {tensor!r} lies in a ring, but {who!r} reads it whole")


class _Replay:
    """slots: (owner of the ring, slot) -> (tensor, row) written there last."""

    def __init__(self, graph: Graph, stream: Stream, members: list[Op]) -> None:
        self.stream, self.members = stream, members
        self.rings, self.shared = dict(stream.rings), dict(stream.shared)
        self.slots: dict[tuple[str, int], tuple[str, int]] = {}
        self.next_row = {m.name: 0 for m in members}
        self.maker = {m.outputs[0]: m for m in members if not m.accumulates}

    def run(self) -> None:
        last = [m for m in self.members if not m.accumulates][-1]
        while self.next_row[last.name] < last.rows:
            self.step(last)
        for member in self.members:
            ran = self.next_row[member.name]
            if ran > member.rows or (member.accumulates and ran < member.rows):
                raise PlanError(f"stream {self.stream.name!r}: op {member.name!r} ran {ran} of {member.rows} rows")

    def step(self, op: Op) -> None:
        row = self.next_row[op.name]
        for access in op.reads:
            maker = self.maker.get(access.tensor)
            while maker is not None and self.next_row[maker.name] < access.end(row):
                self.step(maker)
        self.execute(op, row)
        for other in self.members:
            if other.accumulates and op.outputs[0] in [a.tensor for a in other.reads]:
                self.execute(other, row)

    def execute(self, op: Op, row: int) -> None:
        for access in op.reads:
            if access.tensor in self.rings:
                for needed in range(access.first(row), access.end(row)):
                    self._expect(op, access.tensor, needed)
        written = op.outputs[0] if op.outputs else None
        if written in self.rings and not op.accumulates:
            self.slots[self._slot(written, row)] = (written, row)
        self.next_row[op.name] = row + 1

    def _slot(self, tensor: str, row: int) -> tuple[str, int]:
        return self.shared.get(tensor, tensor), row % self.rings[tensor]

    def _expect(self, op: Op, tensor: str, row: int) -> None:
        found = self.slots.get(self._slot(tensor, row))
        if found != (tensor, row):
            raise PlanError(
                f"stream {self.stream.name!r}: op {op.name!r} needs row {row} of {tensor!r}, but its ring holds {found}"
            )
