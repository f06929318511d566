"""Rematerialisation on graphs: what may be computed twice, what may not, and that it is chosen only where it helps."""

from __future__ import annotations

import pytest

from mcutrain.planner import BudgetError, Graph, Op, Tensor, check, plan, plan_rematerialised, planned_graph
from mcutrain.planner.graph import dependencies
from mcutrain.planner.rematerialise import Rematerialisation, renamed, with_rematerialised


def step(*, updates_early: bool = False, macs: int = 10) -> Graph:
    """x -> wide -> hidden -> loss -> two large gradients; the mask of `hidden`'s op is needed again at the very end.

    updates_early: the weight that makes the mask changes before the mask is read."""
    tensors = [
        Tensor("x", 8, 4, "input"),
        Tensor("w", 8, 4, "state"),
        Tensor("y", 8),
        Tensor("mask", 64),
        Tensor("g1", 100, 4, "gradient"),
        Tensor("g2", 100, 4, "gradient"),
        Tensor("gw", 8, 4, "gradient"),
        Tensor("loss", 4, 4, "output"),
    ]
    ops = [
        Op("conv", ("x", "w"), ("y", "mask"), macs=macs),
        Op("head", ("y",), ("loss", "g1")),
        Op("back1", ("g1",), ("g2",)),
        Op("back2", ("g2", "mask", "x"), ("gw",)),
        Op("update", ("w", "gw"), (), mutates=("w",)),
    ]
    if updates_early:
        tensors.append(Tensor("gw0", 8, 4, "gradient"))
        ops[3:3] = [Op("early", ("g1",), ("gw0",)), Op("update0", ("w", "gw0"), (), mutates=("w",))]
    return Graph(tuple(tensors), tuple(ops))


def test_a_mask_is_rematerialised_behind_the_worst_op() -> None:
    graph = step()
    whole = plan(graph)
    chosen, found = plan_rematerialised(graph, whole.height - 60, stream=False)
    assert [one.op for one in chosen] == ["conv"] and found.height == whole.height - 64
    changed = with_rematerialised(graph, chosen)
    check(planned_graph(changed, found), found)
    reader = next(op for op in changed.ops if op.name == "back2")
    assert "mask" not in reader.inputs and "mask.again1" in reader.inputs
    assert found.order.index("conv.again1") > found.order.index("back1")


def test_nothing_changes_where_the_plan_fits() -> None:
    graph = step()
    chosen, found = plan_rematerialised(graph, plan(graph).height, stream=False)
    assert chosen == () and found == plan(graph)


def test_nothing_is_rematerialised_from_a_weight_that_has_changed() -> None:
    graph = step(updates_early=True)
    with pytest.raises(BudgetError):
        plan_rematerialised(graph, plan(graph).height - 60, stream=False)


def test_of_two_ways_the_cheaper_one_is_rematerialised() -> None:
    first, second = step(macs=1_000), step(macs=10)

    def primed(op: Op) -> Op:
        return renamed(op, {name: f"{name}'" for name in ("y", "mask", "w")})

    two = Graph(
        (*first.tensors, Tensor("mask'", 64), Tensor("y'", 8), Tensor("w'", 8, 4, "constant")),
        (
            first.ops[0],
            Op("conv'", primed(second.ops[0]).inputs, ("y'", "mask'"), macs=10),
            Op("head", ("y", "y'"), ("loss", "g1")),
            first.ops[2],
            Op("back2", ("g2", "mask", "mask'", "x"), ("gw",)),
            first.ops[4],
        ),
    )
    chosen, _ = plan_rematerialised(two, plan(two).height - 60, stream=False)
    assert [one.op for one in chosen] == ["conv'"]


def test_a_second_run_of_a_second_run_has_names_of_its_own() -> None:
    graph = step()
    chosen, _ = plan_rematerialised(graph, plan(graph).height - 60, stream=False)
    once = with_rematerialised(graph, chosen)
    one = Rematerialisation(
        "conv.again1", "conv.again1.again1", (("y.again1", "y2"), ("mask.again1", "mask2")), (), ("back2",), "back2"
    )
    twice = with_rematerialised(once, [one])
    dependencies(twice)  # every tensor is written once, before it is read
    assert "mask2" in next(op for op in twice.ops if op.name == "back2").inputs


def test_a_reader_that_must_stay_keeps_what_it_reads() -> None:
    graph = step()
    with pytest.raises(BudgetError, match=r"no plan for an arena of .* was found: the best needs"):
        plan_rematerialised(graph, plan(graph).height - 60, stream=False, untouched={"back2"})
