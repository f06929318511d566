"""Operators that move values: reshapes and transposes as new names of the axes, concatenation, padding."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from mcutrain.planner.errors import LayerError
from mcutrain.tvm_ext.importers.base.values import Order, Quantisation, Value
from mcutrain.tvm_ext.importers.graph import constants
from mcutrain.tvm_ext.importers.graph.context import GraphOperator, Import, Reader, axis_of, bounded, integers, number
from mcutrain.tvm_ext.importers.graph.graph import Node
from mcutrain.tvm_ext.importers.graph.reals import INF, Real, Shape, Stored, commuting, stored_real

ENDS = "put reshapes and transposes at the ends of the network alone"


def _moved(move: Callable[[Import, Node, Real], Real]) -> Reader:
    """The reader of an operator that moves an activation, whether it stands between QuantizeLinear and DequantizeLinear
    or outside."""

    def read(state: Import, node: Node) -> Real | Stored:
        known = state.known(node, 0)
        if isinstance(known, Stored):
            x = move(state, node, stored_real(state.network, known.value, known.layout, known.curves))
            return Stored(x.ints(node.name), x.layout, x.curves[1:])
        return move(state, node, state.real(node))

    return read


def _reshape(state: Import, node: Node, x: Real) -> Real:
    wanted = state.ints(node, "shape", 1, "shape") or []
    return _reshaped(state, node, x, constants.target(node, x.dims, wanted))


def _flatten(state: Import, node: Node, x: Real) -> Real:
    axis = int(number(node, "axis", 1))
    if axis_of(node, axis, len(x.dims) + 1) != 1:
        raise LayerError(node.name, f"flattens from axis {axis}", "only from 1, behind the batch")
    return _reshaped(state, node, x, (1, math.prod(x.dims)))


def _squeeze(state: Import, node: Node, x: Real) -> Real:
    axes = state.ints(node, "axes", 1, "axes")
    rank = len(x.dims)
    gone = {axis_of(node, a, rank) for a in axes} if axes else {i for i, n in enumerate(x.dims) if n == 1 and i > 0}
    if any(x.dims[i] != 1 for i in gone):
        raise LayerError(node.name, f"removes axes of {x.dims} that are longer than 1", "export the model anew")
    return _reshaped(state, node, x, tuple(n for i, n in enumerate(x.dims) if i not in gone))


def _unsqueeze(state: Import, node: Node, x: Real) -> Real:
    axes = state.ints(node, "axes", 1, "axes") or []
    rank = len(x.dims) + len(axes)
    new, dims = {axis_of(node, a, rank) for a in axes}, iter(x.dims)
    if len(new) != len(axes) or rank > 6:
        raise LayerError(node.name, f"axes {axes} for a tensor {x.dims}", "export the model anew")
    return _reshaped(state, node, x, tuple(1 if i in new else next(dims) for i in range(rank)))


def _reshaped(state: Import, node: Node, x: Real, dims: tuple[int, ...]) -> Real:
    """x in other dimensions: the same axes with others of size 1 between them, or one vector."""
    if dims == x.dims:
        return x
    long = [letter for letter, n in zip(x.layout, x.dims, strict=True) if n > 1]
    is_vector = len(x.layout) <= 2
    if len(dims) <= 2 and math.prod(dims) == dims[-1]:
        layout = "NC"[-len(dims) :]
        if x.shape[1] * x.shape[2] == 1 or is_vector:
            return replace(x, layout=layout, parts=())
        return _renamed(state, x, layout, _order(node, long))
    if len(dims) > 4 or [n for n in dims if n > 1] != [n for n in x.dims if n > 1]:
        raise LayerError(node.name, f"reshapes {x.dims} to {dims}", f"only to (1, n), or by axes of size 1; {ENDS}")
    if is_vector and x.shape[1] * x.shape[2] > 1:
        raise LayerError(node.name, "a vector made of an image gets axes again", ENDS)
    spare = [letter for letter in "NCHW" if letter not in long]
    letters = "".join(long.pop(0) if n > 1 else spare.pop(0) for n in dims)
    return replace(x, layout=letters, parts=())


def _order(node: Node, long: Sequence[str]) -> Order:
    for order in ("CHW", "HWC"):
        if [letter for letter in order if letter in long] == list(long):
            return order
    raise LayerError(node.name, f"flattens the axes in the order {''.join(long)}", f"only CHW and HWC; {ENDS}")


def _renamed(state: Import, x: Real, layout: str, order: Order) -> Real:
    def make(q: Quantisation | None, lo: float, hi: float, name: str) -> Value:
        return state.network.flatten(x.make(q, lo, hi, name), order)

    return replace(x.bare, layout=layout, make=make)


def _transpose(state: Import, node: Node, x: Real) -> Real:
    perm = integers(node, "perm") if "perm" in node.attrs else list(range(len(x.dims)))[::-1]
    if sorted(perm) != list(range(len(x.dims))):
        raise LayerError(node.name, f"permutes a tensor {x.dims} by {perm}", "export the model anew")
    if len(x.layout) <= 2 and perm == sorted(perm):
        return x
    if len(x.layout) <= 2:
        raise LayerError(node.name, "transposes a vector", ENDS)
    return replace(x.bare, layout="".join(x.layout[i] for i in perm), curves=x.curves)


def _same(state: Import, node: Node, x: Real) -> Real:
    """Identity, and Dropout outside training."""
    if node.op == "Dropout" and len(node.inputs) > 2 and node.inputs[2]:
        mode = state.optional(node, 2, "training_mode")
        if mode is not None and mode.any():
            raise LayerError(node.name, "Dropout in training mode", "export the model for inference")
    return x


def _concat(state: Import, node: Node) -> Real:
    values = [state.real(node, i) for i in range(len(node.inputs))]
    if not values:
        raise LayerError(node.name, "joins nothing", "export the model anew")
    first = values[0]
    axis = axis_of(node, int(number(node, "axis", 1)), len(first.dims))
    image = first.shape[:3]
    if first.layout[axis] != "C" or any(v.layout != first.layout or v.shape[:3] != image for v in values):
        shapes = ", ".join(str(v.dims) for v in values)
        raise LayerError(node.name, f"joins {shapes} along axis {axis}", "only equal images along the channels")
    if len(first.layout) <= 2 and image != (1, 1, 1):
        raise LayerError(node.name, "joins flattened images", "flatten behind the concatenation")
    if len({v.is_quantised for v in values}) != 1:
        raise LayerError(node.name, "joins int8 and float32", "quantise both")
    return joined(state, node, values, first.layout, (*image, sum(v.shape[3] for v in values)))


def joined(state: Import, node: Node, values: Sequence[Real], layout: str, shape: Shape) -> Real:
    """The values side by side along the channels; int8 values are requantised to what the result has."""
    made: dict[object, Value] = {}

    def make(q: Quantisation | None, lo: float, hi: float, reader: str) -> Value:
        if (q, lo, hi) not in made:
            made[q, lo, hi] = state.network.concat(node.name, [v.make(q, lo, hi, node.name) for v in values])
        return made[q, lo, hi]

    first = values[0]
    if not first.is_quantised:
        return state.stored(make(None, -INF, INF, node.name), layout, node.name)
    own = first.own if all(v.own == first.own for v in values) else None
    return Real(layout, shape, make, True, own, parts=tuple(values))


def _shape(state: Import, node: Node) -> np.ndarray:
    known = state.known(node, 0)
    x = stored_real(state.network, known.value, known.layout) if isinstance(known, Stored) else state.real(node)
    start, end = int(number(node, "start", 0)), int(number(node, "end", len(x.dims)))
    return np.array(x.dims[start:end], np.int64)


def _pad(state: Import, node: Node) -> Real:
    x = state.real(node)
    mode = node.attrs.get("mode", "constant")
    value = state.optional(node, 2, "value")
    real = number(node, "value", 0.0) if value is None or value.size == 0 else float(value.reshape(-1)[0])
    if mode != "constant" or real != 0:
        raise LayerError(node.name, f"pads by {mode} {real:g}", "only by constant 0")
    pads = state.ints(node, "pads", 1, "pads") or []
    axes = state.ints(node, "axes", 3, "axes")
    where = list(range(len(x.dims))) if axes is None else [axis_of(node, a, len(x.dims)) for a in axes]
    if len(pads) != 2 * len(where):
        raise LayerError(node.name, f"{len(pads)} pads for {len(where)} axes", "export the model anew")
    bounded(node, "pads", pads, 0)
    border = {(x.layout[a], end): pads[i + end * len(where)] for i, a in enumerate(where) for end in (0, 1)}
    if any(n for (letter, _), n in border.items() if letter not in "HW") or (len(x.layout) <= 2 and any(pads)):
        raise LayerError(node.name, "pads the batch or the channels", "only the image")
    if not any(pads):
        return x
    top, left, bottom, right = (border.get((letter, end), 0) for end in (0, 1) for letter in "HW")
    shape = (1, x.shape[1] + top + bottom, x.shape[2] + left + right, x.shape[3])

    def padded(value: Value) -> Value:
        return state.network.pad(node.name, value, (top, left, bottom, right))

    if not x.is_quantised:
        return state.stored(padded(x.make(None, -INF, INF, node.name)), x.layout, node.name)
    whole = commuting(x, shape, x.layout, padded)

    def make(q: Quantisation | None, lo: float, hi: float, reader: str) -> Value:
        if not lo <= 0 <= hi:
            raise LayerError(reader, f"clamps to [{lo:g}, {hi:g}] behind padding by 0", "clamp before it")
        return whole.make(q, lo, hi, reader)

    return replace(whole.bare, make=make)


RESHAPES = (
    ("Reshape", _reshape, constants.reshape),
    ("Squeeze", _squeeze, constants.squeeze),
    ("Unsqueeze", _unsqueeze, constants.unsqueeze),
)
OPERATORS = (
    *(
        GraphOperator(name, _moved(move), fold=fold, carry=constants.reshaped(fold), passes=True)
        for name, move, fold in RESHAPES
    ),
    GraphOperator("Flatten", _moved(_flatten), fold=constants.flatten, passes=True),
    GraphOperator("Transpose", _moved(_transpose), fold=constants.transpose, carry=constants.transposed, passes=True),
    GraphOperator("Identity", _moved(_same), fold=constants.same, carry=constants.carried, passes=True),
    GraphOperator("Dropout", _moved(_same), fold=constants.same, passes=True),
    GraphOperator("Concat", _concat, fold=constants.concatenate),
    GraphOperator("Pad", _pad),
    GraphOperator("Shape", _shape, fold=constants.shape),
    GraphOperator("Resize", way_out="only layers that keep or lower the resolution"),
)
