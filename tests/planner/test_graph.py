"""Validation of graphs, dependencies and lifetimes: every malformed graph is one line that names tensor and op."""

from __future__ import annotations

import pytest

from mcutrain.planner import Graph, Op, Overlap, PlanError, Tensor, plan
from mcutrain.planner.graph import dependencies, lifetimes, problem

X, Y, Z = Tensor("x", 4, 4, "input"), Tensor("y", 4), Tensor("z", 4)
W, C, S = Tensor("w", 4, 4, "state"), Tensor("c", 4, 4, "constant"), Tensor("s", 4, 4, "scratch")

MALFORMED = {
    "no ops": ((X,), (), "no ops"),
    "cycle": (
        (Y, Z),
        (Op("a", ("z",), ("y",)), Op("b", ("y",), ("z",))),
        "cycle: .*'a'.*'b'.*'y'|cycle: .*'b'.*'a'.*'z'",
    ),
    "own output": ((Y,), (Op("a", ("y",), ("y",)),), "cycle: 'a' -> 'a'"),
    "unknown input": ((X, Y), (Op("a", ("nope",), ("y",)),), "op 'a' reads 'nope'"),
    "unknown output": ((X,), (Op("a", ("x",), ("nope",)),), "op 'a' writes 'nope'"),
    "unknown scratch": ((X, Y), (Op("a", ("x",), ("y",), ("nope",)),), "op 'a' uses the scratch 'nope'"),
    "duplicate op": ((X, Y, Z), (Op("a", ("x",), ("y",)), Op("a", ("x",), ("z",))), "two ops are named 'a'"),
    "negative size": ((X, Tensor("y", -1)), (Op("a", ("x",), ("y",)),), "tensor 'y' has -1 bytes"),
    "bad alignment": ((X, Tensor("y", 1, 0)), (Op("a", ("x",), ("y",)),), "tensor 'y' has alignment 0"),
    "bad kind": ((X, Tensor("y", 1, 1, "weird")), (Op("a", ("x",), ("y",)),), "tensor 'y' has kind 'weird'"),
    "read before written": (
        (X, Y, Z),
        (Op("a", ("y",), ("z",)), Op("b", ("x",), ("y",))),
        "op 'a' reads tensor 'y' before op 'b' writes it",
    ),
    "never written": ((Y, Z), (Op("a", ("y",), ("z",)),), "'y' .*written by no op, op 'a' reads it"),
    "never used": ((X, Y, Z), (Op("a", ("x",), ("y",)),), "'z' .*written by no op, nobody reads it"),
    "written twice": ((X, Y), (Op("a", ("x",), ("y",)), Op("b", ("x",), ("y",))), "'y' is written by 'a' and 'b'"),
    "input written": ((X, Y), (Op("a", ("y",), ("x",)),), "op 'a' writes 'x', whose kind is 'input'"),
    "state written": ((X, W), (Op("a", ("x",), ("w",)),), "op 'a' writes 'w', whose kind is 'state'"),
    "scratch of two": (
        (X, Y, Z, S),
        (Op("a", ("x",), ("y",), ("s",)), Op("b", ("y",), ("z",), ("s",))),
        "'s' is written by 'a' and 'b'",
    ),
    "scratch as input": ((X, Y, S), (Op("a", ("s",), ("y",)),), "op 'a' reads 's', which is scratch"),
    "mutates no input": ((X, Y, W), (Op("a", ("x",), ("y",), (), (), ("w",)),), "op 'a' mutates 'w'"),
    "mutates an activation": ((X, Y), (Op("a", ("x",), ("y",), (), (), ("x",)),), "op 'a' mutates 'x'"),
    "read after update": (
        (X, Y, W),
        (Op("a", ("w",), (), (), (), ("w",)), Op("b", ("x", "w"), ("y",))),
        "op 'b' reads state 'w' after op 'a' overwrote it",
    ),
    "foreign overlap": (
        (X, Y, Z),
        (Op("a", ("x",), ("y",), (), (Overlap("z", "y", 0),)), Op("b", ("y",), ("z",))),
        "op 'a' declares the overlap 'y' over 'z'",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_graphs_are_one_line_errors(case: str) -> None:
    tensors, ops, message = MALFORMED[case]
    with pytest.raises(PlanError, match=message) as caught:
        plan(Graph(tensors, ops))
    assert "\n" not in str(caught.value)


def test_duplicate_tensors_are_refused() -> None:
    with pytest.raises(PlanError, match="duplicate tensor"):
        Graph((X, X), ())


def test_updates_depend_on_every_reader_and_keep_their_order() -> None:
    ops = (
        Op("fwd", ("x", "w"), ("y",)),
        Op("bwd", ("y", "w"), ("z",)),
        Op("decay", ("w",), (), (), (), ("w",)),
        Op("step", ("w", "z"), (), (), (), ("w",)),
    )
    edges = set(dependencies(Graph((X, Y, Z, W), ops)).edges)
    assert {("fwd", "decay"), ("bwd", "decay"), ("fwd", "step"), ("bwd", "step"), ("decay", "step")} <= edges


def test_lifetimes_of_every_kind() -> None:
    out = Tensor("out", 4, 4, "output")
    unread = Tensor("unread", 4, 4, "input")
    ops = (Op("a", ("x", "c"), ("out",)), Op("b", ("x", "w"), ("y",), ("s",)), Op("d", ("y",), ("z",)))
    graph = Graph((X, Y, Z, W, C, S, out, unread), ops)
    assert lifetimes(graph, ("a", "b", "d")) == {
        "x": (0, 2), "y": (1, 3), "z": (2, 3), "w": (0, 3), "s": (1, 2), "out": (0, 3), "unread": (0, 1),
    }  # fmt: skip


def test_order_must_be_a_permutation() -> None:
    graph = Graph((X, Y), (Op("a", ("x",), ("y",)),))
    with pytest.raises(PlanError, match="'b'"):
        lifetimes(graph, ("b",))
    with pytest.raises(PlanError, match="'a'"):
        lifetimes(graph, ("a", "a"))


def test_only_overlaps_whose_input_dies_reach_the_packing_problem() -> None:
    ops = (
        Op("a", ("x",), ("y",), (), (Overlap("x", "y", 0),)),
        Op("b", ("x",), ("z",), (), (Overlap("x", "z", 0),)),
    )
    graph = Graph((X, Y, Z), ops)
    assert problem(graph, ("a", "b")).overlaps == (Overlap("x", "z", 0),)
    assert problem(graph, ("b", "a")).overlaps == (Overlap("x", "y", 0),)


@pytest.mark.parametrize("nbytes", [2**31, 2**70, 1.5])
def test_sizes_that_no_arena_has_are_refused(nbytes: int) -> None:
    graph = Graph((Tensor("x", 4, 4, "input"), Tensor("big", nbytes)), (Op("op", ("x",), ("big",)),))
    with pytest.raises(PlanError, match=r"tensor 'big' has .* bytes: give a whole number up to 2147483647"):
        dependencies(graph)
