"""Packing: the solvers against exhaustive search, bounds, cliques, MiniMalloc's file format."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain.planner import Graph, Op, Overlap, PlanError, Tensor, plan
from mcutrain.planner.graph import live_bytes, problem
from mcutrain.planner.packing import csvfile
from mcutrain.planner.packing.bound import Pair, problem_bound, saving
from mcutrain.planner.packing.cpsat import disjoint_sets, improve
from mcutrain.planner.packing.heuristic import heuristic, place, split
from mcutrain.planner.packing.problem import Allocation, Buffer, Packing, Problem
from tests.planner.brute import lowest_height
from tests.planner.graphs import random_graph

# A chain of overlaps that slides down 2 bytes a step: 10 bytes are live at most, yet nothing fits below 14.
SLIDE = Problem(
    (Buffer("a", 0, 1, 8), Buffer("b", 0, 2, 8), Buffer("c", 1, 3, 8), Buffer("d", 2, 3, 8)),
    (Overlap("a", "b", 2), Overlap("b", "c", 2), Overlap("c", "d", 2)),
)
POOR = Allocation({"a": 0, "b": 8, "c": 0, "d": 8}, 16, 0, "FEASIBLE")


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_bound_and_solvers_bracket_the_true_optimum(seed: int) -> None:
    graph = random_graph(seed, most_ops=4, most_bytes=4)
    order = tuple(op.name for op in graph.ops)
    true = lowest_height(graph, order)
    packing = problem(graph, order)
    assert max(live_bytes(graph, order)) <= problem_bound(packing) <= true
    poor = heuristic(packing, passes=1)
    better = improve(packing, poor, seconds=1)
    assert better.bound <= true <= better.height <= poor.height
    assert better.status == "OPTIMAL" and better.height == true


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(-12, 12)), min_size=1, max_size=3), st.integers(1, 9))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_saving_is_never_below_what_any_placement_saves(inputs: list[tuple[int, int]], output: int) -> None:
    pairs = [Pair(f"i{k}", "o", size, output, distance) for k, (size, distance) in enumerate(inputs)]
    shared = 0
    if len(inputs) == 1:
        (size, distance), *_ = inputs
        shared = max(max(0, min(output, x + size) - max(0, x)) for x in range(max(distance, -size), 30))
        assert saving(pairs) == shared
    else:  # inputs side by side, at every start: what they share with the output at [0, output)
        for start in range(-30, 30):
            x, total = start, 0
            for size, distance in inputs:
                if x >= distance:
                    total += max(0, min(output, x + size) - max(0, x))
                x += size
            shared = max(shared, total)
        assert saving(pairs) >= shared


def test_solver_lowers_a_poor_start_and_proves_what_no_count_of_bytes_shows() -> None:
    assert problem_bound(SLIDE) == 10
    best = improve(SLIDE, POOR, seconds=8)
    assert (best.status, best.height, best.bound) == ("OPTIMAL", 14, 14)


def test_capacity_below_the_optimum_is_infeasible() -> None:
    assert improve(SLIDE, POOR, capacity=13, seconds=8).status == "INFEASIBLE"
    assert improve(SLIDE, POOR, capacity=14, seconds=8).height == 14


def test_no_time_leaves_the_start_as_it_was() -> None:
    assert improve(SLIDE, POOR, seconds=0) == Allocation(POOR.offsets, 16, 10, "FEASIBLE")


def test_disjoint_sets_hold_every_conflict_and_no_permitted_pair() -> None:
    for seed in range(60):
        graph = random_graph(seed, most_ops=8, most_bytes=9)
        packing = Packing(problem(graph, tuple(op.name for op in graph.ops)))
        together = {(i, j) for s in disjoint_sets(packing) for i in s for j in s}
        for i, pairs in enumerate(packing.apart):
            for j, _, _ in pairs:
                permitted = (i, j) in packing.near or (j, i) in packing.near
                assert ((i, j) in together) == (not permitted)


def test_state_is_taken_out_as_one_block_unless_alignments_forbid_it() -> None:
    state = tuple(Buffer(f"w{k}", 0, 3, 5, 4) for k in range(3))
    parts = split(Problem((*state, Buffer("a", 0, 2, 8, 4))))
    assert [b.id for b in parts.pinned] == ["w0", "w1", "w2"]
    assert not split(Problem((*state, Buffer("a", 0, 2, 8, 8)))).pinned


def test_padding_of_the_topmost_buffer_sticks_out() -> None:
    buffers = (Buffer("w", 0, 2, 5, 4), Buffer("a", 0, 1, 8, 4), Buffer("b", 1, 2, 8, 4))
    best = heuristic(Problem(buffers))
    assert (best.height, best.status) == (13, "OPTIMAL")  # the state's 3 bytes of padding lie above the arena


def test_unit_is_the_greatest_lossless_one() -> None:
    assert Packing(Problem((Buffer("a", 0, 1, 24, 4), Buffer("b", 0, 1, 36, 4)))).unit == 12
    assert Packing(Problem((Buffer("a", 0, 1, 24, 8), Buffer("b", 0, 1, 36, 4)))).unit == 4


def test_place_uses_the_lowest_gap_that_fits() -> None:
    packing = Packing(Problem(tuple(Buffer(n, 0, 1, s) for n, s in (("a", 3), ("b", 2), ("c", 1)))))
    assert place(packing, [2, 0, 1]) == [1, 4, 0]


@pytest.mark.parametrize(
    ("buffers", "overlaps", "message"),
    [
        ((Buffer("a", 0, 1, 1), Buffer("a", 0, 1, 1)), (), "two buffers are named 'a'"),
        ((Buffer("a", 1, 1, 1),), (), "buffer 'a' needs"),
        ((Buffer("a", 0, 1, -1),), (), "buffer 'a' needs"),
        ((Buffer("a", 0, 1, 1),), (Overlap("a", "b", 0),), "names a buffer that does not exist"),
        ((Buffer("a", 0, 3, 1), Buffer("b", 1, 3, 1)), (Overlap("a", "b", 0),), "no hand-over"),
    ],
)
def test_malformed_problems_are_refused(
    buffers: tuple[Buffer, ...], overlaps: tuple[Overlap, ...], message: str
) -> None:
    with pytest.raises(PlanError, match=message):
        Problem(buffers, overlaps)


def test_plan_is_written_in_the_minimalloc_format(tmp_path: Path) -> None:
    tensors = (Tensor("x,1", 8, 4, "input"), Tensor("y", 4, 4, "output"), Tensor("c", 4, 4, "constant"))
    graph = Graph(tensors, (Op("op", ("x,1", "c"), ("y",)),))
    result = plan(graph)
    csvfile.write(result, graph, tmp_path / "plan.csv")
    rows = list(csv.reader((tmp_path / "plan.csv").open()))
    assert rows[0] == ["id", "lower", "upper", "size", "offset"]
    assert rows[1] == ["x,1", "0", "1", "8", str(result.offsets["x,1"])] and len(rows) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["plan.csv"]
    again = csvfile.read(tmp_path / "plan.csv")
    assert again.buffers == (Buffer("x,1", 0, 1, 8), Buffer("y", 0, 1, 4))


@pytest.mark.parametrize(
    ("overlaps", "message"),
    [
        ((Overlap("a", "a", 0),), "with itself"),
        ((Overlap("a", "b", 0), Overlap("b", "a", 0)), "both ways"),
    ],
)
def test_pairs_that_have_no_order_are_refused(overlaps: tuple[Overlap, ...], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Problem((Buffer("a", 0, 1, 4), Buffer("b", 0, 1, 4)), overlaps)


def test_the_stricter_of_two_distances_of_a_pair_holds() -> None:
    overlaps = (Overlap("a", "b", 3), Overlap("a", "b", 0))
    packing = Packing(Problem((Buffer("a", 0, 1, 4), Buffer("b", 0, 1, 4)), overlaps))
    assert packing.near == {(1, 0): 3}
