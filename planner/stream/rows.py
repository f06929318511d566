"""Runs a chain of ops row by row: gives the order of the row steps, and the rows that each ring must hold."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence

from mcutrain.planner.model import Graph, Op, RowAccess

Step = tuple[str, int]  # op, row


def driver(ops: Sequence[Op]) -> Op:
    """Returns the op whose rows are asked for one by one: the last that does not accumulate."""
    return [op for op in ops if not op.accumulates][-1]


def row_steps(ops: Sequence[Op]) -> Iterator[Step]:
    """Yields every row of every op, each as late as its readers allow: the driver asks for its rows one by one, an op
    that lacks an input row asks for that first, and sums take a row as soon as it is there. The emitted loop nest runs
    in this very order."""
    return _walk(ops, set())


def demanded(ops: Sequence[Op]) -> set[tuple[str, str]]:
    """Returns (op, tensor) where the op ever has to ask for rows of the tensor; elsewhere an earlier operand brought
    them."""
    asked: set[tuple[str, str]] = set()
    deque(_walk(ops, asked), maxlen=0)
    return asked


def _walk(ops: Sequence[Op], asked: set[tuple[str, str]]) -> Iterator[Step]:
    producer = {op.outputs[0]: op for op in ops if op.outputs and not op.accumulates}
    done = {op.name: 0 for op in ops}
    sums = [op for op in ops if op.accumulates]

    def rows_until(op: Op, stop: int) -> Iterator[Step]:
        while done[op.name] < stop:
            row = done[op.name]
            for access in op.reads:
                maker = producer.get(access.tensor)
                if maker is not None and done[maker.name] < access.end(row):
                    asked.add((op.name, access.tensor))
                    yield from rows_until(maker, access.end(row))
            yield op.name, row
            done[op.name] += 1
            for total in sums:
                if any(a.tensor in op.outputs[:1] for a in total.reads):
                    yield total.name, row
                    done[total.name] += 1

    yield from rows_until(driver(ops), driver(ops).rows)


def runs_whole(ops: Sequence[Op]) -> bool:
    """Says whether the driver asks for every op of the run, and every sum and update takes all its rows: a driver may
    leave the last ones unasked."""
    done = Counter(name for name, _ in row_steps(ops))
    return all(done[op.name] >= (op.rows if op.accumulates or not op.outputs else 1) for op in ops)


def in_place(graph: Graph, ops: Sequence[Op], inside: Sequence[str]) -> dict[str, str]:
    """Maps output to input, both inside the run, for each op that may write a row over the row that it alone reads: row
    for row, and rows of one size, so that a slot of the ring is the same bytes for both."""
    readers = readers_of(ops)
    pairs: dict[str, str] = {}
    for op in ops:
        for overlap in op.overlaps:
            fits = overlap.input in inside and overlap.output in inside and overlap.distance <= 0
            if not fits or len(readers[overlap.input]) != 1:
                continue
            access = readers[overlap.input][0][1]
            in_row = graph.by_name[overlap.input].nbytes * op.rows
            same_rows = access.rows == op.rows and in_row == graph.by_name[overlap.output].nbytes * access.rows
            if same_rows and (access.stride, access.window, access.padding, access.transposed) == (1, 1, 0, False):
                pairs[overlap.output] = pairs.get(overlap.input, overlap.input)
                break
    return pairs


def ring_rows(ops: Sequence[Op], inside: Sequence[str], shared: Mapping[str, str]) -> dict[str, int]:
    """Maps each tensor inside the run to the rows that its ring holds: the most that were ever written and not yet done
    with. Tensors that share a ring have its one size: a row is done with when the last of them is."""
    readers = readers_of(ops)
    own = {t: [r for o in inside if shared.get(o, o) == t for r in readers.get(o, [])] for t in inside}
    made = {op.name: o for op in ops if not op.accumulates for o in op.outputs[:1] if o in inside}
    done = {op.name: 0 for op in ops}
    rings = {t: 0 for t in made.values() if t not in shared}
    for name, row in row_steps(ops):
        tensor = made.get(name)
        if tensor in rings:
            rings[tensor] = max(rings[tensor], row + 1 - _first_needed(own[tensor], done))
        done[name] = row + 1
    return {t: rings[shared.get(t, t)] for t in made.values()}


def readers_of(ops: Sequence[Op]) -> dict[str, list[tuple[Op, RowAccess]]]:
    """Maps each tensor to the ops that read it by rows, and how."""
    readers: dict[str, list[tuple[Op, RowAccess]]] = {}
    for op in ops:
        for access in op.reads:
            readers.setdefault(access.tensor, []).append((op, access))
    return readers


def _first_needed(readers: Sequence[tuple[Op, RowAccess]], done: Mapping[str, int]) -> int:
    """Returns the first row that a reader with rows left will still take (past the end where all are finished)."""
    needed = [access.first(done[op.name]) for op, access in readers if done[op.name] < op.rows]
    return min(needed, default=readers[0][1].rows)


def overlap_distance(graph: Graph, ops: Sequence[Op], tensor: str) -> int:
    """Returns the least offset(tensor) - offset(output), in bytes, at which the run may write its output over
    `tensor`."""
    reads = {op.name: [access for access in op.reads if access.tensor == tensor] for op in ops}
    last = driver(ops)
    in_row = graph.by_name[tensor].nbytes // readers_of(ops)[tensor][0][1].rows
    out_row = graph.by_name[last.outputs[0]].nbytes // last.rows
    distance = -graph.by_name[tensor].nbytes
    needed = None  # the first row that this step or one behind it takes
    for name, row in reversed(list(row_steps(ops))):
        for access in reads[name]:
            needed = access.first(row) if needed is None else min(needed, access.first(row))
        if name == last.name and needed is not None:  # it may itself be reading this row's input while it writes
            distance = max(distance, (row + 1) * out_row - needed * in_row)
    return distance
