"""A translation under way: the values of its tensors so far, how operators read their operands and attributes, and the
record of an operator."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.network import NetworkBuilder
from mcutrain.tvm_ext.importers.base.operators import Operator
from mcutrain.tvm_ext.importers.base.values import Value
from mcutrain.tvm_ext.importers.graph.curves import Curve, itself
from mcutrain.tvm_ext.importers.graph.graph import LARGEST_ACTIVATION, Node
from mcutrain.tvm_ext.importers.graph.reals import INF, Known, Real, Stored, Weight, as_array, stored_real

LARGEST_ATTRIBUTE = 1 << 16  # of strides, pads and windows


@dataclass(frozen=True)
class Import:
    """values: by tensor name, constants among them. readers: how often each tensor is read."""

    network: NetworkBuilder
    values: dict[str, Known]
    readers: Counter[str]

    # ------------------------------------------------------------------ operands
    def known(self, node: Node, index: int) -> Known | None:
        """Operand `index`; None where it is left out."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.values:
            raise LayerError(node.name, f"reads '{name[-60:]}', which nothing before it writes")
        return self.values[name]

    def real(self, node: Node, index: int = 0) -> Real:
        """The activation at operand `index`."""
        known = self.known(node, index)
        if isinstance(known, Real):
            return known
        if isinstance(known, Stored):
            raise LayerError(node.name, "reads int8", "put a DequantizeLinear before and a QuantizeLinear behind it")
        what = "is missing" if known is None else "is a constant, and must be an activation"
        raise LayerError(node.name, f"operand {index} {what}", "export the model anew")

    def image(self, node: Node, index: int = 0) -> Real:
        """An activation with its channels in front of its one or two spatial axes."""
        x = self.real(node, index)
        if len(x.layout) not in (3, 4) or not x.layout.startswith("NC"):
            raise LayerError(
                node.name,
                f"its input has the axes {x.layout}, must be (1, C, H, W) or (1, C, L)",
                "put reshapes and transposes at the ends of the network alone",
            )
        return x

    def constant(self, node: Node, index: int, what: str) -> np.ndarray:
        array = self.optional(node, index, what)
        if array is None:
            raise LayerError(node.name, f"its {what} is missing", "export the model anew")
        return array

    def optional(self, node: Node, index: int, what: str) -> np.ndarray | None:
        """A constant operand that may be left out."""
        known = self.known(node, index)
        array = None if known is None else as_array(known)
        if known is not None and array is None:
            raise LayerError(node.name, f"its {what} is computed, no constant", "export with fixed shapes and weights")
        return array

    def ints(self, node: Node, key: str, index: int, what: str) -> list[int] | None:
        """Integers that older operator sets have as an attribute and newer ones as an operand."""
        if key in node.attrs:
            return integers(node, key)
        array = self.optional(node, index, what)
        return None if array is None else whole(array, node, what)

    def is_only_reader(self, node: Node, index: int) -> bool:
        return self.readers[node.inputs[index]] == 1

    # ------------------------------------------------------------------ results
    def curves(self, x: Real, name: str) -> tuple[Curve, ...]:
        """The functions as which x is known, that of itself at least: for that it is made."""
        if x.curves:
            return x.curves
        return (itself(x.ints(name) if x.is_quantised else x.make(None, -INF, INF, name)),)

    def stored(self, value: Value, layout: str, name: str) -> Real:
        check_size(math.prod(value.shape), name)
        return stored_real(self.network, value, layout)

    def settled(self, x: Real, node: Node) -> Real:
        """The result of `node`, which can no more be folded where several operators read it; in float32 it is computed
        as it stands, for all."""
        check_size(math.prod(x.shape), node.name)
        if self.readers[node.outputs[0]] == 1:
            return x
        if x.is_quantised:
            return replace(x, rescaled=None)
        return self.stored(x.make(None, -INF, INF, node.name), x.layout, node.name)


Reader = Callable[[Import, Node], Known]
Arrays = Sequence[np.ndarray | None]  # operands that are constants; None for one that is left out


@dataclass(frozen=True)
class GraphOperator(Operator[Reader]):
    """fold: its result on constants alone, of the node and its operands. carry: the same of a weight that keeps its
    integers, of the node, the weight and all operands. apart: the nodes and constants that it is taken apart into,
    before the walk. has_weight: a layer, named after it. passes: behind the input, the input is still to be recognised;
    behind the logits, they are. is_final: a loss takes it over at the network's end."""

    fold: Callable[..., np.ndarray] | None = None
    carry: Callable[[Node, Weight, Arrays], Weight] | None = None
    apart: Callable[[Node, Mapping[str, np.ndarray]], tuple[list[Node], dict[str, np.ndarray]]] | None = None
    has_weight: bool = False
    passes: bool = False
    is_final: bool = False


def check_size(count: int, name: str) -> None:
    if count > LARGEST_ACTIVATION:
        raise LayerError(name, f"makes {count} numbers", f"more than {LARGEST_ACTIVATION} fit no microcontroller")


def integers(node: Node, key: str) -> list[int]:
    """The attribute `key`, which the node has: one integer or a list of them."""
    value = node.attrs[key]
    values: Sequence[object] = value if isinstance(value, list | tuple) else [value]
    found = [int(n) for n in values if isinstance(n, int | np.integer)]
    if len(found) < len(values):
        raise LayerError(node.name, f"{key} holds something else than integers", "export the model anew")
    return found


def whole(array: np.ndarray, node: Node, what: str) -> list[int]:
    """A short integer operand, as a list."""
    if array.size > 16 or not np.all(np.isfinite(array)) or np.any(array != np.rint(array)):
        raise LayerError(node.name, f"its {what} is no short list of integers", "export the model anew")
    return [int(n) for n in array.reshape(-1)]


def number(node: Node, key: str, default: float) -> float:
    """The attribute `key`, or the default where the node has none."""
    value = node.attrs.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer) or math.isnan(value):
        raise LayerError(node.name, f"{key} is no number", "export the model anew")
    return float(value)


def bounded(node: Node, key: str, values: Sequence[int], low: int) -> Sequence[int]:
    """The values of the attribute `key`, each of which must lie between `low` and a bound."""
    if not all(low <= n <= LARGEST_ATTRIBUTE for n in values):
        raise LayerError(node.name, f"{key} {list(values)}: from {low} to {LARGEST_ATTRIBUTE}")
    return values


def per_channel(node: Node, x: Real, constant: np.ndarray) -> np.ndarray:
    """float64 [C]: a constant that is broadcast over x."""
    channels, rank = x.shape[3], len(x.layout)
    if constant.size == 1:
        return np.full(channels, float(constant.reshape(-1)[0]))
    shape = (1,) * (rank - constant.ndim) + constant.shape
    where = x.layout.find("C")
    is_vector = rank <= 2 and x.dims[-1] != channels
    if is_vector or len(shape) != rank or shape != tuple(channels if i == where else 1 for i in range(rank)):
        raise LayerError(node.name, f"a constant of {constant.shape} on {x.dims}", "only one number a channel")
    return constant.astype(np.float64).reshape(-1)


def axis_of(node: Node, axis: int, rank: int) -> int:
    """An axis from the front."""
    if not -rank <= axis < rank:
        raise LayerError(node.name, f"axis {axis} of a tensor with {rank} axes", "export the model anew")
    return axis % rank
