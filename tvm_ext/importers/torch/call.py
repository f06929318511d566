"""A call of a PyTorch operator with its arguments by name, the graph's nodes that calls become, and the record of an
operator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.operators import Operator
from mcutrain.tvm_ext.importers.graph.graph import Node


@dataclass(frozen=True)
class TorchCall:
    """A call of a PyTorch operator. op: `conv2d` for aten.conv2d.default. args: by the names of its schema; tensors
    are `Ref`s. shape: of its first tensor operand."""

    op: str
    name: str
    output: str
    args: dict[str, object]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Ref:
    """A tensor by its name; is_constant: a parameter or buffer, or made of them."""

    name: str
    is_constant: bool = False


@dataclass(frozen=True)
class Rows:
    """The nodes and constants made so far."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, call: TorchCall, op: str, inputs: list[str], step: str = "", /, **attrs: object) -> str:
        """A node; step: tells it from others of the same call, "" for the one that makes the call's result."""
        output = f"{call.output}/{step}" if step else call.output
        self.nodes.append(Node(op, call.name, tuple(inputs), (output,), attrs))
        return output

    def constant(self, call: TorchCall, name: str, value: object, dtype: str) -> str:
        key = f"{call.output}/{name}"
        self.constants[key] = np.asarray(value, dtype)
        return key


@dataclass(frozen=True)
class TorchOperator(Operator[Callable[[Rows, TorchCall], object]]):
    """name: `conv2d` for aten.conv2d.default. has_weight: a layer, named after the module that it stands in."""

    has_weight: bool = False


def tensor(call: TorchCall, key: str) -> str:
    """The name of a tensor operand, "" where it is left out."""
    value = call.args.get(key)
    if value is None:
        return ""
    if not isinstance(value, Ref):
        raise LayerError(call.name, f"its {key} is no tensor", "export the model anew")
    return value.name


def operand(rows: Rows, call: TorchCall, key: str) -> str:
    """A tensor, or a number as a constant."""
    value = call.args.get(key)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return rows.constant(call, key, value, "float32")
    return tensor(call, key)


def ints(call: TorchCall, key: str, count: int | None = None) -> list[int]:
    """A list of integers; one number stands for all."""
    value = call.args.get(key)
    given: list[object] = list(value) if isinstance(value, list | tuple) else [value]
    values = [n for n in given if isinstance(n, int)]
    if len(values) < len(given):
        raise LayerError(call.name, f"{key} is not known before it runs", "export with a fixed input size")
    return values * count if count is not None and len(values) == 1 else values


def whole(call: TorchCall, key: str, default: int | None = None) -> int:
    """One integer or flag; the default stands for an argument that the operator does not have."""
    (value,) = ints(call, key) if default is None or key in call.args else [default]
    return int(value)


def real(call: TorchCall, key: str) -> float:
    """One number."""
    value = call.args.get(key)
    if not isinstance(value, int | float):
        raise LayerError(call.name, f"{key} is no number that is known before it runs", "export the model anew")
    return float(value)


def plain(op: str, key: str = "self") -> Callable[[Rows, TorchCall], str]:
    """The reader of an operator that differs in its name alone. key: its operand."""
    return lambda rows, call: rows.add(call, op, [tensor(call, key)])


def spatial(call: TorchCall) -> int:
    """The number of its image's axes."""
    return max(len(call.shape) - 2, 1)
