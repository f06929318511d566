"""The operator graph while it is made of a Relax module: its variables, nodes and constants, and the record of an
operator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import SupportsInt

import numpy as np
from tvm import relax

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.operators import Operator
from mcutrain.tvm_ext.importers.graph.graph import Node


@dataclass(frozen=True)
class Given:
    """A tensor of the graph by name; a constant (its name, if it has one, and value); or the fields of a tuple.
    scale, zero, axis: of a constant that stands quantised, value holding its integers."""

    name: str | None
    value: np.ndarray | None = None
    fields: tuple[Given, ...] = ()
    scale: np.ndarray | None = None
    zero: np.ndarray | None = None
    axis: int = 0

    @property
    def array(self) -> np.ndarray:
        """The value of what is known to be a constant. Raises ModelError for an activation."""
        if self.value is None:
            raise ModelError("an operand is no constant", "bind the parameters")
        return self.value

    def transposed(self, axes: Sequence[int]) -> Given:
        """The constant with its axes in this order."""
        value = np.ascontiguousarray(self.array.transpose(axes))
        return replace(self, value=value, axis=list(axes).index(self.axis % len(axes)))


@dataclass(frozen=True)
class Nodes:
    """The nodes and constants made so far. is_nhwc: the layout of the module's tensors of four dimensions."""

    is_nhwc: bool
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def operand(self, given: Given, name: str) -> str:
        """The tensor's name in the graph; a constant gets one."""
        if given.value is None:
            return given.name or ""
        key = given.name or name
        while key in self.constants and self.constants[key] is not given.value:
            key += "_"
        self.constants[key] = given.value
        if given.scale is None:
            return key
        steps = [self.operand(Given(None, v), f"{key}.{n}") for n, v in (("s", given.scale), ("z", given.zero))]
        return self.add("DequantizeLinear", f"{name}.real", [key, *steps], {"axis": given.axis}).name or ""

    def add(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        attrs: Mapping[str, object] | None = None,
        layer: str | None = None,
    ) -> Given:
        """A node that makes the variable `name`. layer: what people call it, where that is something else."""
        self.nodes.append(Node(op, layer or name, tuple(inputs), (f"{name}:0",), attrs or {}))
        return Given(f"{name}:0")


# The nodes so far, the variable's name, the call and its operands -> what the variable is. Constants give a constant.
Rule = Callable[[Nodes, str, relax.Call, list[Given]], Given]


@dataclass(frozen=True)
class RelaxOperator(Operator[Rule]):
    """loss: the loss that it is, whose first operand are the logits."""

    loss: str = ""


def ints(values: Iterable[SupportsInt]) -> list[int]:
    """The integers of one of TVM's lists."""
    return [int(v) for v in values]


def same(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
    """The reader of what changes nothing."""
    return args[0]


def plain(op: str) -> Rule:
    """The reader of an operator that differs in its name alone."""

    def rule(nodes: Nodes, name: str, call: relax.Call, args: list[Given]) -> Given:
        return nodes.add(op, name, [nodes.operand(a, f"{name}.{i}") for i, a in enumerate(args)])

    return rule
