"""Row streaming: rings hold what is read, sums see every row once, and the plan is lower where it claims to be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain import planner
from mcutrain.planner import Graph, Op, PlanError, RowAccess, Tensor
from mcutrain.planner.model import Stream
from mcutrain.planner.stream.check import check_streams
from mcutrain.planner.stream.rewrite import with_streams
from mcutrain.planner.stream.rows import in_place, ring_rows, row_steps

ROW = 64  # bytes a row


def conv_chain(windows: list[tuple[int, int]], height: int) -> Graph:
    """input -> one op per (window, stride) with padding (window - 1) / 2 -> output."""
    tensors, ops, before, rows = [Tensor("x", height * ROW, kind="input")], [], "x", height
    for i, (window, stride) in enumerate(windows):
        padding = (window - 1) // 2
        after = (rows + 2 * padding - window) // stride + 1
        kind = "output" if i == len(windows) - 1 else "activation"
        tensors.append(Tensor(f"t{i}", after * ROW, kind=kind))
        access = RowAccess(before, rows, stride, window, padding)
        ops.append(Op(f"op{i}", (before,), (f"t{i}",), rows=after, reads=(access,)))
        before, rows = f"t{i}", after
    return Graph(tuple(tensors), tuple(ops))


WINDOWS = st.lists(st.tuples(st.sampled_from([1, 3, 5, 7]), st.sampled_from([1, 2])), min_size=2, max_size=5)


def whole_run(graph: Graph) -> Stream:
    inside = [op.outputs[0] for op in graph.ops[:-1]]
    return Stream("run", tuple(op.name for op in graph.ops), tuple(ring_rows(graph.ops, inside, {}).items()))


def replay(graph: Graph, run: Stream) -> None:
    found = planner.plan(with_streams(graph, [run]))
    check_streams(graph, replace(found, streams=(run,)))


@given(WINDOWS, st.integers(9, 40))
@settings(max_examples=60, deadline=None)
def test_rings_hold_every_row_that_is_read_and_no_more(windows: list[tuple[int, int]], height: int) -> None:
    graph = conv_chain(windows, height)
    run = whole_run(graph)
    replay(graph, run)
    for tensor, rows in run.rings:
        if rows > 1:
            smaller = tuple((t, n - 1 if t == tensor else n) for t, n in run.rings)
            with pytest.raises(PlanError, match="which is overwritten"):
                replay(graph, replace(run, rings=smaller))


@given(WINDOWS, st.integers(9, 40))
@settings(max_examples=60, deadline=None)
def test_every_row_runs_once_and_in_order(windows: list[tuple[int, int]], height: int) -> None:
    ops = conv_chain(windows, height).ops
    steps = list(row_steps(ops))
    for op in ops:
        rows = [row for name, row in steps if name == op.name]
        assert rows == list(range(len(rows)))
    assert sum(name == ops[-1].name for name, _ in steps) == ops[-1].rows


def test_a_three_row_window_needs_a_ring_of_three() -> None:
    graph = conv_chain([(1, 1), (3, 1)], 16)
    assert dict(whole_run(graph).rings) == {"t0": 3}


@given(st.sampled_from([3, 5, 7]), st.sampled_from([1, 2]), st.integers(4, 20))
def test_a_transposed_window_reads_the_rows_whose_window_covers_it(window: int, stride: int, height: int) -> None:
    padding = (window - 1) // 2
    out_rows = (height + 2 * padding - window) // stride + 1
    access = RowAccess("g", out_rows, stride, window, padding, transposed=True)
    for row in range(height):
        covering = [o for o in range(out_rows) if o * stride - padding <= row < o * stride - padding + window]
        assert list(range(access.first(row), access.end(row))) == covering


def backward_chain() -> Graph:
    """g -> hidden (ring) -> g_x, and a sum over hidden that an update consumes."""
    rows = 8
    tensors = (
        Tensor("g", rows * ROW, kind="input"),
        Tensor("hidden", rows * ROW * 8, kind="gradient"),
        Tensor("scaled", rows * ROW * 8, kind="gradient"),
        Tensor("g_w", 256, kind="gradient"),
        Tensor("w", 64, kind="state"),
        Tensor("g_x", rows * ROW, kind="output"),
    )
    overlap = planner.Overlap("hidden", "scaled", 0)
    ops = (
        Op("expand", ("g",), ("hidden",), rows=rows, reads=(RowAccess("g", rows),)),
        Op("scale", ("hidden",), ("scaled",), (), (overlap,), rows=rows, reads=(RowAccess("hidden", rows),)),
        Op("sum", ("scaled",), ("g_w",), rows=rows, reads=(RowAccess("scaled", rows),), accumulates=True),
        Op("reduce", ("scaled", "w"), ("g_x",), rows=rows, reads=(RowAccess("scaled", rows),)),
        Op("update", ("w", "g_w"), (), mutates=("w",)),
    )
    return Graph(tensors, ops)


def test_a_backward_chain_with_a_sum_streams_in_one_shared_row() -> None:
    graph = backward_chain()
    found = planner.plan(graph, stream=True)
    (run,) = found.streams
    assert run.ops == ("expand", "scale", "sum", "reduce")
    assert dict(run.rings) == {"hidden": 1, "scaled": 1} and dict(run.shared) == {"scaled": "hidden"}
    assert found.height < planner.plan(graph).height
    assert found.order[-1] == "update"


def test_an_output_with_other_rows_than_its_input_never_shares_its_ring() -> None:
    """Slot r of a ring is other bytes for rows of another size: the ring would overwrite what is still to be read."""
    rows = 8
    tensors = (
        Tensor("x", rows * ROW, kind="input"),
        Tensor("wide", rows * ROW * 2),
        Tensor("narrow", rows * ROW),
        Tensor("y", rows * ROW, kind="output"),
    )
    overlap = planner.Overlap("wide", "narrow", -ROW)
    ops = (
        Op("widen", ("x",), ("wide",), rows=rows, reads=(RowAccess("x", rows),)),
        Op("narrow", ("wide",), ("narrow",), (), (overlap,), rows=rows, reads=(RowAccess("wide", rows),)),
        Op("conv", ("narrow",), ("y",), rows=rows, reads=(RowAccess("narrow", rows, 1, 3, 1),)),
    )
    graph = Graph(tensors, ops)
    inside = ["wide", "narrow"]
    assert in_place(graph, ops, inside) == {}
    names = tuple(op.name for op in ops)
    replay(graph, Stream("run", names, tuple(ring_rows(ops, inside, {}).items())))
    shared = {"narrow": "wide"}
    corrupt = Stream("run", names, tuple(ring_rows(ops, inside, shared).items()), tuple(shared.items()))
    found = planner.plan(with_streams(graph, [corrupt]))
    with pytest.raises(PlanError, match="may not lie in the ring of"):
        check_streams(graph, replace(found, streams=(corrupt,)))


def test_nothing_streams_where_nothing_is_gained() -> None:
    graph = conv_chain([(1, 1)], 16)
    assert planner.plan(graph, stream=True).streams == ()


def test_a_tensor_that_is_read_outside_the_run_cannot_lie_in_a_ring() -> None:
    graph = backward_chain()
    late = Op("late", ("hidden",), ())
    with_reader = Graph(graph.tensors, (*graph.ops, late))
    run = Stream("run", ("expand", "scale", "sum", "reduce"), (("hidden", 1), ("scaled", 1)))
    found = planner.plan(with_streams(graph, [run]))
    with pytest.raises(PlanError, match="lies in a ring, but 'late' reads it whole"):
        check_streams(with_reader, replace(found, streams=(run,)))


def test_residual_inputs_stay_in_their_ring_until_the_add() -> None:
    rows = 12
    names = ("x", "a", "b", "c", "y")
    kinds = {"x": "input", "y": "output"}
    tensors = tuple(Tensor(n, rows * ROW, kind=kinds.get(n, "activation")) for n in names)
    ops = (
        Op("make", ("x",), ("a",), rows=rows, reads=(RowAccess("x", rows),)),
        Op("widen", ("a",), ("b",), rows=rows, reads=(RowAccess("a", rows, 1, 5, 2),)),
        Op("narrow", ("b",), ("c",), rows=rows, reads=(RowAccess("b", rows),)),
        Op("add", ("a", "c"), ("y",), rows=rows, reads=(RowAccess("a", rows), RowAccess("c", rows))),
    )
    graph = Graph(tensors, ops)
    run = whole_run(graph)
    assert dict(run.rings) == {"a": 5, "b": 1, "c": 1}
    replay(graph, run)


def chain(*ops: Op, sizes: dict[str, int]) -> Graph:
    """Ops over tensors of so many bytes; "in" is the input, names with "state" are state."""
    kinds = {name: "input" if name == "in" else "state" if "state" in name else "activation" for name in sizes}
    return Graph(tuple(Tensor(name, n, kind=kinds[name]) for name, n in sizes.items()), ops)


def rowwise(name: str, read: str, made: str, window: int = 1, accumulates: bool = False, also: str = "") -> Op:
    inputs = (read, also) if also else (read,)
    access = RowAccess(read, 8, 1, window, window // 2)
    overlaps = (planner.Overlap(read, made, 0),) if window == 1 and not accumulates else ()
    return Op(name, inputs, (made,), (), overlaps, rows=8, reads=(access,), accumulates=accumulates)


def test_streams_are_not_worse_where_another_order_is_lower_without_them() -> None:
    """The order as given is worse than the best one; a stream must beat the best order of the whole ops."""
    ops = rowwise("a", "in", "small"), rowwise("b", "small", "left", window=3), rowwise("c", "in", "right")
    graph = chain(*ops, sizes={"in": 256, "small": 64, "left": 128, "right": 128})
    assert planner.plan(graph, stream=True).height <= planner.plan(graph).height


@pytest.mark.parametrize("between", [False, True])
def test_no_run_waits_for_itself(between: bool) -> None:
    """An op that takes the rows of a tensor and the finished sum over them cannot run with its maker."""
    ops = [rowwise("make", "in", "wide"), rowwise("sum", "wide", "total", accumulates=True)]
    ops += [Op("transform", ("total",), ("factor",))] * between
    ops.append(rowwise("scale", "wide", "out", also="factor" if between else "total"))
    sizes = {"in": 64, "wide": 4096, "total": 16, "factor": 16, "out": 64}
    if not between:
        del sizes["factor"]
    found = planner.plan(chain(*ops, sizes=sizes), stream=True)
    assert all(not {"make", "scale"} <= set(run.ops) for run in found.streams)


def test_a_state_may_have_two_updates() -> None:
    updates = [Op(name, ("state", "in"), (), mutates=("state",)) for name in ("first", "second")]
    graph = chain(*updates, sizes={"in": 8, "state": 8})
    assert planner.plan(graph, stream=True).order == planner.plan(graph).order == ("first", "second")
