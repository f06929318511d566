"""plan(): from graph to a checked plan; semantics of overlaps, state and order; budgets; determinism."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcutrain.planner import BudgetError, Graph, Op, Overlap, Tensor, check, plan
from mcutrain.planner.graph import live_bytes
from tests.planner.brute import lowest_height, valid_orders
from tests.planner.graphs import random_graph, training_step


def chain(*sizes: int, distances: tuple[int, ...], last_kind: str = "activation") -> Graph:
    """x0 -> x1 -> ...: op k reads x(k-1), writes xk and may overlap them at distances[k-1]."""
    kinds = ["input"] + ["activation"] * (len(sizes) - 2) + [last_kind]
    tensors = tuple(Tensor(f"x{k}", size, 1, kinds[k]) for k, size in enumerate(sizes))
    ops = tuple(
        Op(f"op{k}", (f"x{k - 1}",), (f"x{k}",), (), (Overlap(f"x{k - 1}", f"x{k}", distances[k - 1]),))
        for k in range(1, len(sizes))
    )
    return Graph(tensors, ops)


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_plans_of_tiny_graphs_are_as_low_as_exhaustive_search(seed: int) -> None:
    graph = random_graph(seed, most_ops=3, most_bytes=4)
    result = plan(graph, seconds=2)
    check(graph, result)
    assert result.height == result.bound == lowest_height(graph, result.order)
    least = min(lowest_height(graph, order) for order in valid_orders(graph))
    assert result.order_bound <= least
    assert result.order in set(valid_orders(graph))


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_plans_of_larger_random_graphs_pass_the_checker(seed: int) -> None:
    graph = random_graph(seed, most_ops=14, most_bytes=40)
    result = plan(graph, seconds=0.5)
    check(graph, result)
    assert result.height >= result.bound >= max(live_bytes(graph, result.order))


def test_exact_in_place_op_shares_all_bytes() -> None:
    result = plan(chain(64, 64, distances=(0,)))
    assert result.height == 64 and result.offsets["x0"] == result.offsets["x1"] == 0
    assert result.status == result.order_status == "OPTIMAL"


def test_partial_overlap_needs_the_output_and_a_little() -> None:
    result = plan(chain(32768, 131072, distances=(98304 + 512,)))
    assert result.height == 131072 + 512
    assert result.offsets["x0"] - result.offsets["x1"] >= 98304 + 512


def test_negative_distance_lets_the_output_begin_above_the_input() -> None:
    assert plan(chain(10, 10, distances=(-4,))).height == 10
    graph = chain(10, 10, 10, distances=(-4, 0))
    held = Graph((*graph.tensors, Tensor("kept", 6, 1, "state")), graph.ops)
    assert plan(held).height == 16


def test_distance_as_large_as_the_output_is_no_overlap() -> None:
    assert plan(chain(8, 8, distances=(8,))).height == 16
    assert plan(chain(8, 8, distances=(100,))).height == 16


def test_chain_of_overlaps_pays_each_distance_only_while_its_pair_meets() -> None:
    slide = plan(chain(8, 8, 8, 8, distances=(2, 2, 2)))
    assert slide.height == 14  # each tensor lies 2 bytes below the one before it
    assert (slide.status, slide.order_bound, slide.order_status) == ("OPTIMAL", 10, "FEASIBLE")
    long = plan(chain(*[8] * 12, distances=(2,) * 11))
    assert long.height == 16  # at the bottom, one hop to the top is cheaper than a longer slide


def test_residual_that_is_read_later_survives() -> None:
    tensors = tuple(Tensor(n, 8, 1, "input" if n == "x" else "activation") for n in ("x", "y", "z"))
    first = Op("first", ("x",), ("y",), (), (Overlap("x", "y", 0),))
    add = Op("add", ("x", "y"), ("z",), (), (Overlap("x", "z", 0), Overlap("y", "z", 0)))
    result = plan(Graph(tensors, (first, add)))
    assert result.height == 16
    assert abs(result.offsets["x"] - result.offsets["y"]) >= 8


@pytest.mark.parametrize("kind", ["state", "output"])
def test_state_and_output_are_never_overlapped(kind: str) -> None:
    ops = (Op("make", (), ("r",)),) if kind == "output" else ()
    use = Op("use", ("r",), ("y",), (), (Overlap("r", "y", 0),))
    result = plan(Graph((Tensor("r", 8, 1, kind), Tensor("y", 8, 1)), (*ops, use)))
    assert result.height == 16


def test_output_may_overlap_two_inputs_each_under_its_own_condition() -> None:
    tensors = (Tensor("a", 4, 1, "input"), Tensor("b", 4, 1, "input"), Tensor("y", 8, 1))
    op = Op("concat", ("a", "b"), ("y",), (), (Overlap("a", "y", 0), Overlap("b", "y", 4)))
    assert plan(Graph(tensors, (op,))).height == 8
    strict = replace(op, overlaps=(Overlap("a", "y", 0), Overlap("b", "y", 6)))
    assert plan(Graph(tensors, (strict,))).height == 10


def test_of_two_distances_for_one_pair_the_stricter_holds() -> None:
    tensors = (Tensor("a", 8, 1, "input"), Tensor("y", 8, 1))
    op = Op("square", ("a", "a"), ("y",), (), (Overlap("a", "y", 0), Overlap("a", "y", 3)))
    assert plan(Graph(tensors, (op,))).height == 11


def test_scratch_is_disjoint_from_everything_at_its_op() -> None:
    graph = Graph(
        (Tensor("x", 8, 1, "input"), Tensor("y", 8, 1), Tensor("s", 5, 1, "scratch")),
        (Op("op", ("x",), ("y",), ("s",), (Overlap("x", "y", 0),)),),
    )
    assert plan(graph).height == 13


def test_constants_have_no_offset_and_empty_tensors_cost_nothing() -> None:
    tensors = (Tensor("x", 8, 4, "input"), Tensor("w", 999, 4, "constant"), Tensor("e", 0), Tensor("y", 3, 4, "output"))
    result = plan(Graph(tensors, (Op("op", ("x", "w"), ("y", "e")),)))
    assert "w" not in result.offsets and "w" not in result.lifetimes
    assert result.height == 11 and result.status == "OPTIMAL"


def test_mixed_alignments_are_kept() -> None:
    tensors = (Tensor("x", 5, 1, "input"), Tensor("w", 6, 2, "state"), Tensor("v", 16, 16, "state"), Tensor("y", 9, 8))
    result = plan(Graph(tensors, (Op("op", ("x", "w", "v"), ("y",)),)))
    assert all(result.offsets[t.name] % t.align == 0 for t in tensors)
    assert result.height == 36  # no byte of padding is needed: y ends at 25, x and w follow


def test_updates_run_after_all_readers_and_right_behind_their_gradient() -> None:
    graph = training_step(6, 2, 32)
    result = plan(graph)
    at = {name: position for position, name in enumerate(result.order)}
    updates = [op for op in graph.ops if op.mutates]
    assert len(updates) > 3
    for update in updates:
        for op in graph.ops:
            if op.name != update.name and update.mutates[0] in op.inputs:
                assert at[op.name] < at[update.name]
    given = live_bytes(graph, tuple(op.name for op in graph.ops))
    assert max(live_bytes(graph, result.order)) < max(given)


def test_realistic_graph_is_planned_to_the_proven_optimum() -> None:
    graph = training_step(22, 8, 96)
    assert len(graph.ops) >= 200 and len(graph.tensors) >= 300
    result = plan(graph)
    assert (result.status, result.order_status) == ("OPTIMAL", "OPTIMAL")
    assert result.height == result.bound == result.order_bound


def test_budget_that_no_plan_can_meet_is_explained() -> None:
    graph = chain(100, 300, 50, distances=(1000, 1000))
    with pytest.raises(BudgetError) as caught:
        plan(graph, capacity=399)
    message = str(caught.value)
    assert message.splitlines() == [
        "no plan can fit an arena of 399 B: every order needs at least 400 B",
        "at op 'op1' 400 B are live together:",
        "  x1         300 B  activation",
        "  x0         100 B  input",
        "1 B have to give: use a smaller input or a narrower layer there (activation: 300 B); "
        "use a smaller input (input: 100 B)",
    ]
    assert plan(graph, capacity=400).height == 400


def test_long_budget_message_names_the_largest_and_counts_the_rest() -> None:
    weights = [Tensor(f"w{k:02}", 10 + k, 1, "state") for k in range(20)]
    graph = Graph((*weights, Tensor("y", 1, 1)), (Op("op", tuple(w.name for w in weights), ("y",)),))
    with pytest.raises(BudgetError, match="train fewer layers") as caught:
        plan(graph, capacity=250)
    lines = str(caught.value).splitlines()
    assert lines[1].endswith("these 11 tensors alone are too much:")  # 29 + 28 + ... + 19 = 264, without 19 they fit
    assert lines[2].split() == ["w19", "29", "B", "state"]
    assert lines[10].split() == ["and", "3", "more", "60", "B", "together"] and len(lines) == 12
    assert caught.value.nbytes == 391


def test_progress_is_told() -> None:
    lines: list[str] = []
    plan(training_step(3, 1, 16), progress=lines.append)
    assert lines and lines[0].startswith("order: ")


def test_equal_inputs_give_equal_plans_whatever_the_hash_seed_and_the_workers() -> None:
    program = (
        "import sys; from dataclasses import asdict; from mcutrain.planner import plan\n"
        "from tests.planner.graphs import random_graph, training_step\n"
        "for graph in (training_step(4, 2, 16), random_graph(21, 14, 40), random_graph(8, 300, 4000)):\n"
        "    print(asdict(plan(graph, seconds=0.3, seed=3, workers=int(sys.argv[1]), progress=print)))"
    )
    texts = set()
    for hash_seed, workers in (("0", "1"), ("77", "2")):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", program, workers], env=environment, capture_output=True, text=True, check=True
        )
        texts.add(done.stdout)
    text = texts.pop()
    assert not texts and text.count("'offsets': {") == 3
    assert text.count("arena: ") > 1  # the last graph needs CP-SAT, whose threads must not decide either
