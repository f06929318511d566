"""Graphs of hundreds of ops: a plan in no time at all, more time never a higher one, the same one for all workers."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys

import pytest

from benchmarks.repeated_blocks import training_step
from mcutrain import planner
from mcutrain.planner import Graph, Op, Plan, Tensor, check
from mcutrain.planner.errors import PlanError
from mcutrain.planner.graph import dependencies
from mcutrain.planner.order.model import OrderModel, needed_anyway
from mcutrain.planner.order.schedule import schedule
from mcutrain.planner.order.search import Incumbent, greedy, lowest_peak
from mcutrain.planner.stream.check import check_streams
from mcutrain.planner.stream.rewrite import eager

BLOCKS_OF_500_OPS = 43


def checked(graph: Graph, plan: Plan) -> Plan:
    check(planner.planned_graph(graph, plan), plan)
    check_streams(eager(graph), plan)
    return plan


def test_repeated_blocks_have_the_structure_that_streams() -> None:
    graph = training_step(4)
    dependencies(graph)  # a valid graph
    plan = checked(graph, planner.plan(graph, stream=True))
    assert plan.streams and plan.height < planner.plan(graph).height
    assert {stream.axis for stream in plan.streams} <= {"rows", "channels"}


def test_no_seconds_still_give_a_plan_of_500_ops() -> None:
    graph = training_step(BLOCKS_OF_500_OPS)
    assert 450 <= len(graph.ops) <= 550
    plan = checked(graph, planner.plan(graph, stream=True, seconds=0))
    assert plan.height < 1.1 * plan.bound


def test_more_seconds_give_a_lower_plan_of_270_ops() -> None:
    graph = training_step(24)
    quick, slow = (checked(graph, planner.plan(graph, stream=True, seconds=seconds)) for seconds in (0, 0.5))
    assert slow.height < quick.height < 1.1 * quick.bound and slow.status == "OPTIMAL"


@pytest.mark.parametrize("seed", range(3))
def test_more_states_never_give_a_higher_peak_or_a_lower_bound(seed: int) -> None:
    graph = tangle(60, seed)
    model = OrderModel(graph, dependencies(graph))
    start = Incumbent(greedy(model), model.peak(greedy(model)), needed_anyway(graph, model))
    found = [lowest_peak(model, start, states=states) for states in (0, 100, 1_000, 5_000, 20_000)]
    assert [f.peak for f in found] == sorted((f.peak for f in found), reverse=True)
    assert [f.bound for f in found] == sorted(f.bound for f in found)
    assert found[-1].peak < found[0].peak and found[-1].bound <= found[-1].peak


def test_the_lowest_order_of_2000_ops_is_found_and_proven() -> None:
    graph = training_step(172)
    assert len(graph.ops) > 1900
    found = schedule(graph, seconds=1)
    assert found.status == "OPTIMAL" and found.peaks[0] == found.bound < found.peaks[1]


def test_workers_and_hash_seed_do_not_change_a_plan() -> None:
    """The first graph needs CP-SAT for its offsets, the second for its order (its search alone gives no proof)."""
    assert schedule(tangle(60, 3), seconds=0.25).status == "FEASIBLE"
    program = (
        "import sys; from dataclasses import asdict; from mcutrain.planner import plan\n"
        "from benchmarks.repeated_blocks import training_step\n"
        "from tests.planner.test_scaling import tangle\n"
        "print(asdict(plan(training_step(20), seconds=1, stream=True, workers=int(sys.argv[1]))))\n"
        "print(asdict(plan(tangle(60, 3), seconds=0.5, workers=int(sys.argv[1]))))"
    )
    texts = set()
    for hash_seed, workers in (("0", "1"), ("9", "3")):
        environment = {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": ":".join(sys.path)}
        command = [sys.executable, "-c", program, workers]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        texts.add(hashlib.sha256(done.stdout.encode()).hexdigest())
        assert done.stdout.count("'offsets': {") == 2
    assert len(texts) == 1


def test_eager_order_of_two_updates_of_one_state_and_of_a_ring() -> None:
    tensors = (Tensor("w", 4, 1, "state"), Tensor("x", 4, 1, "input"), Tensor("y", 4, 1), Tensor("z", 4, 1))
    updates = tuple(Op(name, ("w", "x"), (), mutates=("w",)) for name in ("first", "second"))
    graph = Graph(tensors[:2], updates)
    assert [op.name for op in eager(graph).ops] == ["first", "second"]
    ring = (Op("a", ("z",), ("y",)), Op("b", ("y",), ("z",)))
    with pytest.raises(PlanError, match=r"ops wait for each other in a cycle: 'a' -> 'b' -> 'a'"):
        eager(Graph(tensors[1:], ring))


def tangle(ops: int, seed: int) -> Graph:
    """Ops that read one or two of the last few tensors: no order is obvious."""
    source = random.Random(seed)
    tensors, made = [Tensor("x", 8, 1, "input")], []
    for k in range(ops):
        near = tensors[-6:]
        inputs = source.sample(near, min(len(near), source.choice((1, 1, 2))))
        tensors.append(Tensor(f"t{k}", source.randint(1, 4000), 1))
        made.append(Op(f"op{k}", tuple(t.name for t in inputs), (f"t{k}",)))
    return Graph(tuple(tensors), tuple(made))
