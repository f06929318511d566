"""The checker: it accepts sound plans and names each kind of corruption."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mcutrain import planner
from mcutrain.planner import Graph, Op, Overlap, Plan, PlanError, Tensor, check, plan

GRAPH = Graph(
    (
        Tensor("x", 8, 4, "input"),
        Tensor("y", 8, 4),
        Tensor("z", 8, 4),
        Tensor("g", 8, 4, "gradient"),
        Tensor("w", 4, 4, "state"),
        Tensor("k", 4, 4, "constant"),
        Tensor("s", 4, 4, "scratch"),
        Tensor("out", 4, 4, "output"),
    ),
    (
        Op("a", ("x", "w"), ("y",), ("s",)),
        Op("b", ("y", "x", "k"), ("z",), (), (Overlap("y", "z", 0),)),
        Op("c", ("z",), ("g", "out")),
        Op("u", ("g", "w"), (), (), (), ("w",)),
        Op("v", ("w",), (), (), (), ("w",)),
    ),
)
SOUND = plan(GRAPH)


def offset(name: str, value: int) -> Callable[[Plan], Plan]:
    return lambda p: replace(p, offsets={**p.offsets, name: value})


def order(*names: str) -> Callable[[Plan], Plan]:
    return lambda p: replace(p, order=names)


def without(name: str) -> Callable[[Plan], Plan]:
    return lambda p: replace(p, offsets={n: o for n, o in p.offsets.items() if n != name})


CORRUPTIONS: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "op missing": (order("a", "b", "c", "u"), "op 'v' is missing"),
    "op unknown": (order("a", "b", "c", "u", "v", "q"), "op 'q' is unknown"),
    "op twice": (order("a", "b", "c", "u", "v", "v"), "op 'v' runs more than once"),
    "read before written": (order("b", "a", "c", "u", "v"), "op 'b' reads 'y' before op 'a' writes it"),
    "update before reader": (order("u", "v", "a", "b", "c"), "op 'a' reads state 'w' after op 'u' overwrote it"),
    "updates swapped": (order("a", "b", "c", "v", "u"), "ops 'u' and 'v' overwrite 'w' in swapped order"),
    "lifetime wrong": (lambda p: replace(p, lifetimes={**p.lifetimes, "y": (0, 1)}), r"lifetime: 'y' .*\(0, 1\)"),
    "lifetime missing": (lambda p: replace(p, lifetimes={}), "lifetime: 'w' is given as none"),
    "offset missing": (without("z"), "offset: 'z' has none"),
    "offset of a constant": (offset("k", 0), "constant 'k' lies in flash"),
    "offset of nobody": (offset("nobody", 0), "'nobody' is no tensor"),
    "offset negative": (offset("x", -4), "'x' lies at -4, below"),
    "offset unaligned": (offset("s", SOUND.offsets["s"] + 1), "no multiple of 4"),
    "offset too high": (offset("g", SOUND.height - 4), f"'g' ends at {SOUND.height + 4}, above"),
    "height too large": (lambda p: replace(p, height=p.height + 4, status="FEASIBLE"), "highest tensor ends"),
    "height too small": (lambda p: replace(p, height=p.height - 1), "above"),
    "bound above height": (lambda p: replace(p, bound=p.height + 1), "order bound <= bound <= height"),
    "order bound above bound": (lambda p: replace(p, order_bound=p.bound + 1), "order bound <= bound"),
    "status too good": (lambda p: replace(p, bound=p.bound - 1, order_bound=0), "status: OPTIMAL does not fit"),
    "order status": (lambda p: replace(p, order_status="INFEASIBLE"), "INFEASIBLE is no status of an order"),
    "state shared": (offset("w", SOUND.offsets["x"]), "memory: .*'w'.* share bytes|memory: .*'x'.* share bytes"),
    "scratch shared": (offset("s", SOUND.offsets["y"]), "memory: .*'s'.*share bytes while op 'a' runs"),
    "overlap not declared": (offset("out", SOUND.offsets["z"]), "'out'.* share bytes while op 'c' runs"),
}


@pytest.mark.parametrize("case", CORRUPTIONS)
def test_every_corruption_is_named(case: str) -> None:
    corrupt, message = CORRUPTIONS[case]
    with pytest.raises(PlanError, match=message) as caught:
        check(GRAPH, corrupt(SOUND))
    assert "\n" not in str(caught.value)


def test_sound_plan_passes() -> None:
    check(GRAPH, SOUND)


def pair(distance: int, y: int, x: int = 4, *, reread: bool = False) -> tuple[Graph, Plan]:
    """Two tensors of 8 bytes at offsets x and y, with one declared overlap."""
    ops = [Op("a", ("x",), ("y",), (), (Overlap("x", "y", distance),))] + [Op("b", ("x",), ())] * reread
    graph = Graph((Tensor("x", 8, 1, "input"), Tensor("y", 8, 1)), tuple(ops))
    spans = {"x": (0, len(ops)), "y": (0, 1)}
    height = max(x, y) + 8
    return graph, Plan(tuple(o.name for o in ops), {"x": x, "y": y}, spans, height, 0, "FEASIBLE", 0, "FEASIBLE")


@pytest.mark.parametrize(("distance", "y"), [(0, 4), (0, 3), (2, 2), (-3, 7), (-3, 0)])
def test_overlap_at_its_distance_passes(distance: int, y: int) -> None:
    check(*pair(distance, y))


@pytest.mark.parametrize(("distance", "y"), [(0, 5), (2, 3), (-3, 8)])
def test_overlap_below_its_distance_is_refused(distance: int, y: int) -> None:
    with pytest.raises(PlanError, match=r"memory: 'x' .* and 'y' .* share bytes while op 'a' runs"):
        check(*pair(distance, y))


def test_overlap_of_an_input_that_is_read_later_is_refused() -> None:
    with pytest.raises(PlanError, match="share bytes"):
        check(*pair(0, 4, reread=True))


def test_all_violations_are_named_at_once() -> None:
    broken = replace(SOUND, offsets={**SOUND.offsets, "x": -4, "s": 1})
    with pytest.raises(PlanError) as caught:
        check(GRAPH, broken)
    assert "'x' lies at -4" in str(caught.value) and "'s' lies at 1" in str(caught.value)


def test_checker_shares_no_code_with_the_solvers() -> None:
    source = Path(planner.__file__).with_name("check.py").read_text(encoding="utf-8")
    modules = [node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    assert set(modules) == {"__future__", "mcutrain.planner.errors", "mcutrain.planner.model"}
