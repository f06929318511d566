"""Overlap distances in plans: a stream's is the least that its replay allows; chains and residuals keep theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mcutrain.planner import Graph, Op, Overlap, Plan, PlanError, RowAccess, Tensor, check, plan
from mcutrain.planner.model import Stream
from mcutrain.planner.stream.check import check_streams
from mcutrain.planner.stream.rows import overlap_distance, ring_rows
from tests.planner.brute import lowest_height

FEW = settings(max_examples=40, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Run:
    """A chain of row-wise ops from x to y, streamed whole: all between lies in rings."""

    graph: Graph
    stream: Stream

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of x and of y."""
        return self.graph.by_name["x"].nbytes, self.graph.by_name["y"].nbytes

    def holds_at(self, distance: int) -> bool:
        """Whether the replay passes with offset(x) - offset(y) == distance, everything else elsewhere."""
        free = sum(t.nbytes for t in self.graph.tensors)
        offsets = {"x": free, "y": free - distance}
        for number, tensor in enumerate(self.graph.tensors, start=4):
            offsets.setdefault(tensor.name, number * free)
        try:
            check_streams(self.graph, Plan((), offsets, {}, 0, 0, "OPTIMAL", 0, "OPTIMAL", (self.stream,)))
        except PlanError:
            return False
        return True

    def least(self, start: int) -> int:
        """The last distance, downwards from `start`, at which the replay passes: 1 byte nearer and it fails."""
        distance = start
        while distance > -self.sizes[0] and self.holds_at(distance - 1):
            distance -= 1
        return distance


@st.composite
def runs(draw: st.DrawFn, strides: list[int], is_residual: bool) -> Run:
    """Windows and strides of every op, bytes a row of every tensor. is_residual: the last op reads x as well."""
    windows = draw(st.lists(st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from(strides)), min_size=2, max_size=4))
    names = ["x", *(f"t{i}" for i in range(len(windows) - 1)), "y"]
    row_bytes = [draw(st.integers(1, 8)) for _ in names]
    rows = height = draw(st.integers(4, 12))
    tensors, ops = [Tensor("x", height * row_bytes[0], 1, "input")], []
    for before, after, nbytes, (window, stride) in zip(names, names[1:], row_bytes[1:], windows, strict=False):
        reads = [RowAccess(before, rows, stride, window, (window - 1) // 2)]
        reads += [RowAccess("x", height)] if is_residual and after == "y" else []
        rows = (rows - 1) // stride + 1
        tensors.append(Tensor(after, rows * nbytes, 1, "output" if after == "y" else "activation"))
        ops.append(Op(f"to {after}", tuple(a.tensor for a in reads), (after,), rows=rows, reads=tuple(reads)))
    rings = ring_rows(ops, names[1:-1], {})
    return Run(Graph(tuple(tensors), tuple(ops)), Stream("run", tuple(op.name for op in ops), tuple(rings.items())))


def check_distance(run: Run, slack: int) -> None:
    """The declared distance passes, and so does every larger one. It exceeds the least by at most `slack` bytes, or it
    keeps y's end at or below x's, which costs no memory: the two then need max(x, y) bytes, the least there is.
    Where a stride skips rows for good, the declared distance keeps them all the same, and is only safe."""
    declared = overlap_distance(run.graph, run.graph.ops, "x")
    x, y = run.sizes
    assert all(run.holds_at(distance) for distance in range(declared, max(declared, y) + 1))
    if all(access.window >= access.stride for op in run.graph.ops for access in op.reads):
        assert declared <= max(run.least(declared) + slack, y - x)


@FEW
@given(runs([1, 2], is_residual=False))
def test_a_streams_distance_is_the_least_that_the_replay_allows(run: Run) -> None:
    check_distance(run, slack=0)


@FEW
@given(runs([1], is_residual=True))
def test_where_the_last_op_reads_the_input_too_a_row_is_kept_for_it(run: Run) -> None:
    """Its kernel may still be reading the row of x while it writes the row of y; the replay takes a row as one step."""
    rows = run.graph.ops[-1].rows
    check_distance(run, slack=max(run.sizes) // rows)


def test_a_window_of_three_rows_keeps_its_output_one_row_behind() -> None:
    """Row r of y is written when row r + 1 of x has been read; the next one takes rows r to r + 2 of x."""
    ops = (
        Op("widen", ("x",), ("t",), rows=9, reads=(RowAccess("x", 9, 1, 3, 1),)),
        Op("narrow", ("t",), ("y",), rows=9, reads=(RowAccess("t", 9),)),
    )
    graph = Graph((Tensor("x", 90, 1, "input"), Tensor("t", 900, 1), Tensor("y", 90, 1, "output")), ops)
    run = Run(graph, Stream("run", ("widen", "narrow"), (("t", 1),)))
    assert overlap_distance(graph, ops, "x") == 10 and run.holds_at(10) and not run.holds_at(9)


def chain(sizes: list[int], distances: list[int], align: int = 1) -> Graph:
    """x0 -> x1 -> ...: op i writes x(i + 1) and may lay it over x(i) at distances[i]."""
    tensors = [Tensor(f"x{i}", n, align, "activation" if i else "input") for i, n in enumerate(sizes)]
    ops = [
        Op(f"op{i}", (f"x{i}",), (f"x{i + 1}",), (), (Overlap(f"x{i}", f"x{i + 1}", distance),))
        for i, distance in enumerate(distances)
    ]
    return Graph(tuple(tensors), tuple(ops))


@pytest.mark.parametrize("align", [1, 4, 16])
def test_a_chain_of_three_in_place_ops_lies_at_one_address(align: int) -> None:
    result = plan(chain([64] * 4, [0] * 3, align))
    assert set(result.offsets.values()) == {0}
    assert result.height == result.bound == 64


SIZES, DISTANCES = st.lists(st.integers(1, 6), min_size=4, max_size=4), st.integers(-4, 6)


@FEW
@given(SIZES, st.tuples(DISTANCES, DISTANCES, DISTANCES), st.sampled_from([1, 2, 4]))
def test_a_chain_keeps_every_distance_and_is_as_low_as_any(sizes: list[int], distances: tuple, align: int) -> None:
    """Partial overlaps, forwards and backwards, also where the alignment does not divide the distance."""
    graph = chain(sizes, list(distances), align)
    result = plan(graph)
    check(graph, result)
    assert result.height == lowest_height(graph, result.order)
    for i, distance in enumerate(distances):
        below, above = result.offsets[f"x{i}"], result.offsets[f"x{i + 1}"]
        are_apart = below + sizes[i] <= above or above + sizes[i + 1] <= below
        assert are_apart or below - above >= distance


@FEW
@given(st.lists(st.integers(1, 6), min_size=4, max_size=6), st.data())
def test_a_residual_survives_until_its_last_reader(sizes: list[int], data: st.DataObject) -> None:
    """x(k) is read again at the end: nothing on the way may touch it, and the checker sees where something does."""
    distances = [data.draw(st.integers(-2, 3)) for _ in sizes[1:]]
    kept = data.draw(st.integers(0, len(sizes) - 3))
    path, last = chain(sizes, distances), f"x{len(sizes) - 1}"
    overlaps = (Overlap(last, "sum", 0), Overlap(f"x{kept}", "sum", 0))
    add = Op("add", (last, f"x{kept}"), ("sum",), (), overlaps)
    graph = Graph((*path.tensors, Tensor("sum", sizes[-1], 1, "output")), (*path.ops, add))
    result = plan(graph)
    first, end = result.offsets[f"x{kept}"], result.offsets[f"x{kept}"] + sizes[kept]
    for i in range(kept + 1, len(sizes)):
        offset = result.offsets[f"x{i}"]
        assert offset + sizes[i] <= first or end <= offset
        at = data.draw(st.integers(max(0, first - sizes[i] + 1), end - 1))
        assume(at + sizes[i] <= result.height)
        with pytest.raises(PlanError, match=f"'x{kept}' .*share bytes"):
            check(graph, replace(result, offsets={**result.offsets, f"x{i}": at}))
