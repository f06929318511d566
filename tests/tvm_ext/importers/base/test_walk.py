"""The walk over an operator graph: values in order, every problem in one refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mcutrain.planner.errors import LayerError, ModelError, Unsupported, UnsupportedError
from mcutrain.tvm_ext.importers.base.walk import SHOWN, walk


@dataclass(frozen=True)
class Node:
    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def run(nodes: list[Node], stand_in: Callable[[Node], list[int]] | None = None, **ways_out: str) -> dict[str, int]:
    values = {"x": 1}

    def double(node: Node) -> list[int]:
        if values[node.inputs[0]] >= 8:
            raise ModelError("too much; far too much", "use less")
        return [2 * values[node.inputs[0]]] * 2

    walk(nodes, values, {"Double": double}, "a.model", ways_out, stand_in)
    return values


def chain(*ops: str) -> list[Node]:
    names = ["x", *(f"v{i}" for i in range(len(ops)))]
    return [Node(op, f"n{i}", (names[i], "constant"), (names[i + 1],)) for i, op in enumerate(ops)]


def test_values_reach_the_nodes_behind() -> None:
    assert run(chain("Double", "Double")) == {"x": 1, "v0": 2, "v1": 4}
    assert run([Node("Double", "n", ("x",), ("a", "b"))]) == {"x": 1, "a": 2, "b": 2}


def test_what_lies_behind_a_problem_is_judged_by_its_kind() -> None:
    nodes = [*chain("Double", "Magic", "Double", "Odd"), Node("Odd", "side", ("v0",), ("w",))]
    with pytest.raises(ModelError) as refused:
        run(nodes, Odd="use Double")
    assert str(refused.value).splitlines() == [
        "a.model: 3 problems in the network",
        "  Magic n1: the operator is not supported; build the model without it",
        "  Odd n3: the operator is not supported; use Double",
        "  Odd side: the operator is not supported; use Double",
        "supported operators: Double",
    ]


def test_what_lies_behind_a_stand_in_is_judged_on_it() -> None:
    """n1's is 4, so that n3 reads 8 and is refused; nothing stands in for n3, and n4 is passed over."""
    nodes = chain("Double", "Magic", "Double", "Double", "Double", "Odd")
    with pytest.raises(ModelError) as refused:
        run(nodes, lambda node: [4] if node.op == "Magic" else [])
    assert [line.split(":")[0] for line in str(refused.value).splitlines()[1:-1]] == [
        "  Magic n1",
        "  Double n3",
        "  Odd n5",
    ]


def test_a_stand_in_that_cannot_be_made_is_none() -> None:
    def fails(node: Node) -> list[int]:
        raise ModelError(f"{node.name}: no shape")

    with pytest.raises(ModelError) as refused:
        run(chain("Magic", "Double"), fails)
    assert str(refused.value).splitlines()[0] == "a.model: 1 problem in the network"


def test_a_message_without_the_layer_gets_it() -> None:
    with pytest.raises(ModelError) as refused:
        run(chain("Double", "Double", "Double", "Double"))
    assert str(refused.value) == "a.model: 1 problem in the network\n  Double n3: too much; far too much; use less"
    assert isinstance(refused.value, UnsupportedError)
    assert refused.value.problems == (Unsupported("Double", "n3", "too much; far too much", "use less"),)


def test_a_layer_is_named_once() -> None:
    def refuse(node: Node) -> list[int]:
        raise LayerError({"a": "a", "b": "another"}[node.name], "too much")

    nodes = [Node("Double", "a", ("x",), ("v",)), Node("Double", "b", ("x",), ("w",))]
    with pytest.raises(ModelError) as refused:
        walk(nodes, {"x": 1}, {"Double": refuse}, "a.model")
    assert str(refused.value).splitlines()[1:] == ["  Double a: too much", "  Double b: another: too much"]


def test_a_list_without_end_is_cut() -> None:
    nodes = [Node("Magic", f"n{i}", ("x",), (f"v{i}",)) for i in range(SHOWN + 5)]
    with pytest.raises(ModelError) as refused:
        run(nodes)
    lines = str(refused.value).splitlines()
    assert lines[0] == f"a.model: {SHOWN + 5} problems in the network" and lines[-2] == "  and 5 more"
    assert len(lines) == SHOWN + 3
