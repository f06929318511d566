"""The checker of allocations: it accepts sound ones and names each kind of corruption. The beam, too, against it."""

from __future__ import annotations

import ast
import random
from dataclasses import replace
from pathlib import Path

import pytest

from mcutrain import planner
from mcutrain.planner import Allocation, Buffer, Overlap, PlanError, Problem, check_allocation
from mcutrain.planner.packing.cpsat import disjoint_sets
from mcutrain.planner.packing.problem import Packing
from mcutrain.planner.packing.skyline import Skyline, Weights, search

PROBLEM = Problem(
    (Buffer("a", 0, 2, 8, 4), Buffer("b", 1, 3, 8, 4), Buffer("c", 2, 3, 4), Buffer("d", 0, 3, 4)),
    (Overlap("a", "b", 4),),
)
SOUND = Allocation({"a": 8, "b": 4, "c": 12, "d": 0}, 16, 16, "OPTIMAL")
CORRUPTIONS: dict[str, tuple[Allocation, str]] = {
    "missing": (replace(SOUND, offsets={"a": 8, "b": 4, "d": 0}), "offset: 'c' has none"),
    "unknown": (replace(SOUND, offsets={**SOUND.offsets, "q": 0}), "offset: 'q' is no buffer"),
    "no number": (replace(SOUND, offsets={**SOUND.offsets, "c": 12.0}), "'c' lies at 12.0, which is no whole number"),
    "negative": (replace(SOUND, offsets={**SOUND.offsets, "d": -4}), "'d' lies at -4, below"),
    "unaligned": (replace(SOUND, offsets={**SOUND.offsets, "a": 10}), "'a' lies at 10, which is no multiple of 4"),
    "height too small": (replace(SOUND, height=15), "height: 15 bytes, but the highest buffer ends at 16"),
    "height too large": (replace(SOUND, height=17), "height: 17 bytes"),
    "bound above height": (replace(SOUND, bound=17), "bound: 17 is not within 0 and the height 16"),
    "status too good": (replace(SOUND, bound=15), "status: OPTIMAL does not fit height 16 and bound 15"),
    "status too bad": (replace(SOUND, status="FEASIBLE"), "status: FEASIBLE does not fit"),
    "status unknown": (replace(SOUND, status="UNKNOWN"), "UNKNOWN is no status of an allocation"),
    "shared": (replace(SOUND, offsets={**SOUND.offsets, "c": 8}), r"'b' at \[4, 12\) and 'c' at \[8, 12\) share"),
    "too near": (replace(SOUND, offsets={**SOUND.offsets, "b": 8, "c": 4}), "'a' .* and 'b' .* share bytes at 1"),
}


def test_sound_allocation_passes() -> None:
    check_allocation(PROBLEM, SOUND)
    check_allocation(PROBLEM, replace(SOUND, status="INFEASIBLE"))  # within some capacity


@pytest.mark.parametrize("case", CORRUPTIONS)
def test_every_corruption_is_named(case: str) -> None:
    allocation, message = CORRUPTIONS[case]
    with pytest.raises(PlanError, match=message) as caught:
        check_allocation(PROBLEM, allocation)
    assert "\n" not in str(caught.value)


def test_beam_finds_what_the_checker_accepts() -> None:
    solved = 0
    for seed in range(40):
        source = random.Random(seed)
        spans = [sorted(source.sample(range(12), 2)) for _ in range(14)]
        problem = Problem(tuple(Buffer(f"b{k}", *span, source.randint(1, 9)) for k, span in enumerate(spans)))
        packing = Packing(problem)
        height = planner.bound.problem_bound(problem) + seed % 3
        sky = Skyline(packing, disjoint_sets(packing), height // packing.unit)
        found = search(sky, 8, Weights(1.0, 1.0, 1.0, seed % 2 == 0), source)
        assert all(len(set(order)) == len(order) == found.steps for order in found.orders)
        if found.units is not None:
            solved += 1
            offsets = {b.id: x * packing.unit for b, x in zip(packing.buffers, found.units, strict=True)}
            top = max(offsets[b.id] + b.size for b in problem.buffers)
            assert top <= height
            check_allocation(problem, Allocation(offsets, top, 0, "FEASIBLE"))
    assert solved >= 20


def test_checker_shares_no_code_with_the_solvers() -> None:
    source = (Path(planner.__file__).parent / "packing/check.py").read_text(encoding="utf-8")
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
    problem = {"mcutrain.planner.packing.problem.Allocation", "mcutrain.planner.packing.problem.Problem"}
    assert names == {"__future__.annotations", "mcutrain.planner.errors.PlanError", *problem}
