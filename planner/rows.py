"""Running a chain of ops row by row: the order of the row steps, and the rows that each ring must hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from planner.model import Graph, Op, RowAccess

Step = tuple[str, int]  # op, row


def row_steps(ops: Sequence[Op]) -> Iterator[Step]:
    """Every row of every op, each as late as its readers allow: the last op asks for its rows one by one, and an op that
    lacks an input row asks for that first. The emitted loop nest runs in this very order."""
    producer = {op.outputs[0]: op for op in ops}
    done = {op.name: 0 for op in ops}

    def rows_until(op: Op, stop: int) -> Iterator[Step]:
        while done[op.name] < stop:
            row = done[op.name]
            for access in op.reads:
                if access.tensor in producer:
                    yield from rows_until(producer[access.tensor], access.end(row))
            yield op.name, row
            done[op.name] += 1

    yield from rows_until(ops[-1], ops[-1].rows)


def ring_rows(ops: Sequence[Op]) -> dict[str, int]:
    """Tensor inside the run -> rows that its ring holds: the most that were ever written and not yet done with."""
    readers = _readers(ops)
    inside = {op.name: op.outputs[0] for op in ops[:-1]}
    done = {op.name: 0 for op in ops}
    rings = dict.fromkeys(inside.values(), 0)
    for name, row in row_steps(ops):
        if name in inside:
            tensor = inside[name]
            rings[tensor] = max(rings[tensor], row + 1 - _first_needed(readers[tensor], done))
        done[name] = row + 1
    return rings


def _readers(ops: Sequence[Op]) -> dict[str, list[tuple[Op, RowAccess]]]:
    readers: dict[str, list[tuple[Op, RowAccess]]] = {}
    for op in ops:
        for access in op.reads:
            readers.setdefault(access.tensor, []).append((op, access))
    return readers


def _first_needed(readers: Sequence[tuple[Op, RowAccess]], done: Mapping[str, int]) -> int:
    """The first row that a reader with rows left will still take (past the end where all are finished)."""
    needed = [access.first(done[op.name]) for op, access in readers if done[op.name] < op.rows]
    return min(needed, default=readers[0][1].rows)


def overlap_distance(graph: Graph, ops: Sequence[Op], tensor: str) -> int:
    """Least offset(tensor) - offset(output), in bytes, with which the run may write its output over its input `tensor`."""
    readers = _readers(ops)[tensor]
    last = ops[-1]
    in_row = graph.by_name[tensor].nbytes // readers[0][1].rows
    out_row = graph.by_name[last.outputs[0]].nbytes // last.rows
    done = {op.name: 0 for op in ops}
    distance = -graph.by_name[tensor].nbytes
    for name, row in row_steps(ops):
        if name == last.name:  # the last op may itself be reading this row's input while it writes
            distance = max(distance, (row + 1) * out_row - _first_needed(readers, done) * in_row)
        done[name] = row + 1
    return distance
