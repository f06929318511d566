"""Relay's operators that join, cut, pick, repeat or pad elements."""

from __future__ import annotations

import math
from typing import Literal, cast

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.ast import LARGEST_DIM, Call
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import (
    INT_OR_NONE,
    LIST_OR_NONE,
    LISTED,
    integer,
    reference,
)
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known, Reader, scalar
from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, Value, constant, shape_of
from mcutrain.tvm_ext.importers.relay.operators.fill import dimensions


# ---------------------------------------------------------------------- ordinary Relax
def concatenate(c: Context, x: Value, *, axis: int) -> relax.Expr:
    return op.concat(c.tensors(x), axis)


def stack(c: Context, x: Value, *, axis: int) -> relax.Expr:
    return op.stack(c.tensors(x), axis)


def split(c: Context, x: Tensor, *, indices_or_sections: object, axis: int) -> relax.Expr:
    size = shape_of(x)[c.axis(x, axis)]
    parts = indices_or_sections
    if type(parts) is int and parts > 0 and size % parts == 0 and parts <= 4096:
        return op.split(x, parts, c.axis(x, axis))
    if isinstance(parts, list) and all(type(p) is int and 0 <= p <= size for p in parts) and parts == sorted(parts):
        return op.split(x, parts, c.axis(x, axis))
    raise c.fail(f"cannot split {size} at {str(parts)[:60]}: expected a divisor, or rising indices")


def strided_slice(
    c: Context,
    x: Tensor,
    *,
    begin: list[int] | None,
    end: list[int] | None,
    strides: list[int] | None,
    slice_mode: str,
    axes: list[int] | None,
) -> relax.Expr:
    """Cut along axes. Bounds are clipped to the tensor, as Python's slices are; in mode "size" end counts elements, -1
    all."""
    if begin is None or end is None:
        raise c.fail("begin and end must be given as attributes, not computed")
    places = [c.axis(x, a) for a in axes] if axes is not None else list(range(len(begin)))
    steps = strides if strides and slice_mode == "end" else [1] * len(begin)
    steps = steps * len(begin) if len(steps) == 1 else steps
    if not len(places) == len(begin) == len(end) == len(steps) <= len(shape_of(x)) or 0 in steps:
        raise c.fail("begin, end, strides and axes do not fit each other or the tensor")
    bounds = []
    for axis, low, high, step in zip(places, begin, end, steps, strict=True):
        size = shape_of(x)[axis]
        if slice_mode == "size":
            high = size if high == -1 else low + high
        low, high, step = slice(low, high, step).indices(size)
        # A falling slice that reaches index 0 ends at -1, which Relax would count from the back.
        bounds.append((low, -1 - size if high < 0 else high, step))
    return op.strided_slice(x, places, *(list(column) for column in zip(*bounds, strict=True)))


def take(c: Context, x: Tensor, indices: Tensor, *, batch_dims: int, axis: int | None, mode: str) -> relax.Expr:
    if batch_dims or mode not in ("clip", "wrap", "fast"):
        raise c.fail(f"batch_dims={batch_dims}, mode={mode}: supported are no batch dimensions and clip, wrap, fast")
    if axis is None:
        return op.take(c(op.reshape(x, (math.prod(shape_of(x)),))), indices, 0, mode=mode)
    return op.take(x, indices, c.axis(x, axis), mode=mode)


def tile(c: Context, x: Tensor, *, reps: list[int]) -> relax.Expr:
    return op.tile(x, dimensions(c, reps))


def repeat(c: Context, x: Tensor, *, repeats: int, axis: int | None) -> relax.Expr:
    if not 1 <= repeats <= LARGEST_DIM:
        raise c.fail(f"repeats is {repeats}, expected 1 or more")
    return op.repeat(x, repeats, axis)


def reverse(c: Context, x: Tensor, *, axis: int) -> relax.Expr:
    return op.flip(x, c.axis(x, axis))


def pad(c: Context, x: Tensor, value: Tensor, *, pad_width: list[list[int]], pad_mode: str) -> relax.Expr:
    """Pad x: the value fills in mode "constant"; "edge" and "reflect" repeat elements of x."""
    pairs = [c.pair(p, "pad_width", least=-(1 << 30)) for p in pad_width]
    if len(pairs) != len(shape_of(x)) or any(not 0 <= w < 1 << 16 for p in pairs for w in p):
        raise c.fail(
            f"pad_width {str(pad_width)[:60]} does not fit {list(shape_of(x))}; each is two numbers below 65536"
        )
    if pad_mode == "constant":
        fill = c.numbers(value, "the pad value").item()
        return op.nn.pad(x, [w for p in pairs for w in p], "constant", fill)
    if pad_mode not in ("edge", "reflect"):
        raise c.fail(f"pad_mode {pad_mode}: expected constant, edge or reflect")
    mode = cast(Literal["edge", "reflect"], pad_mode)
    for axis, (before, after) in enumerate(pairs):
        n = shape_of(x)[axis]
        if (before or after) and (n == 0 or (pad_mode == "reflect" and max(before, after) >= n)):
            raise c.fail(f"cannot {pad_mode} {max(before, after)} beyond {n}")
        if before or after:
            x = c(op.take(x, constant(np.pad(np.arange(n), (before, after), mode), "int32"), axis, mode="fast"))
    return x


# ---------------------------------------------------------------------- integer networks
def pad_int8(reader: Reader, name: str, call: Call, *, pad_width: list[list[int]], pad_mode: str) -> Known:
    value = reader.result(call.args[0])
    zero = value.steps.zero
    if scalar(call, 1) != zero or pad_mode != "constant":
        raise ModelError(f"pads with something else than its zero point {zero}")
    if any(any(pad_width[i]) for i in ((0, 3) if reader.is_nhwc else (0, 1))):
        raise ModelError("pads the batch or the channels", "only the image")
    rows, columns = (pad_width[1], pad_width[2]) if reader.is_nhwc else (pad_width[2], pad_width[3])
    return reader.network.pad(name, value, (rows[0], columns[0], rows[1], columns[1]))


STRIDED_SLICE = {
    "begin": LIST_OR_NONE,
    "end": LIST_OR_NONE,
    "strides": LIST_OR_NONE,
    "slice_mode": reference("string", "end"),
    "axes": LIST_OR_NONE,
}
TAKE = {"batch_dims": reference("int", 0), "axis": INT_OR_NONE, "mode": reference("string", "clip")}
OPERATORS = (
    RelayOperator("concatenate", to_relax=concatenate, attributes={"axis": integer(0)}, takes_tuples=True),
    RelayOperator("stack", to_relax=stack, attributes={"axis": reference("int", 0)}, takes_tuples=True),
    RelayOperator("split", to_relax=split, attributes={"indices_or_sections": reference("any"), "axis": integer(0)}),
    RelayOperator("strided_slice", to_relax=strided_slice, attributes=STRIDED_SLICE),
    RelayOperator("take", to_relax=take, attributes=TAKE),
    RelayOperator("tile", to_relax=tile, attributes={"reps": LISTED}),
    RelayOperator("repeat", to_relax=repeat, attributes={"repeats": reference("int"), "axis": INT_OR_NONE}),
    RelayOperator("reverse", to_relax=reverse, attributes={"axis": reference("int")}),
    RelayOperator(
        "nn.pad", pad_int8, to_relax=pad, attributes={"pad_width": LISTED, "pad_mode": reference("string", "constant")}
    ),
)
