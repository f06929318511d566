"""Relay's operators that make a tensor of a given shape: filled, broadcast, counted, one-hot."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.ast import LARGEST_DIM
from mcutrain.tvm_ext.importers.relay.operators.base.context import LARGEST_CONSTANT, Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import (
    DTYPE,
    DTYPE_GIVEN,
    LIST_OR_NONE,
    integer,
    reference,
)
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Conversion, RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, constant, dtype_of, shape_of


def dimensions(c: Context, shape: list[int] | None) -> list[int]:
    if shape is None or not all(type(d) is int and 0 <= d <= LARGEST_DIM for d in shape):
        raise c.fail(f"shape is {str(shape)[:60]}, expected dimensions")
    return shape


def full(c: Context, value: Tensor, *, shape: list[int] | None, dtype: str | None) -> relax.Expr:
    return op.full(dimensions(c, shape), c.cast(value, dtype or dtype_of(value)), dtype or dtype_of(value))


def _filled(value: int) -> Conversion:
    def convert(c: Context, *, shape: list[int] | None, dtype: str | None) -> relax.Expr:
        return op.full(dimensions(c, shape), constant(value, dtype or "float32"), dtype or "float32")

    return convert


def broadcast_to(c: Context, x: Tensor, *, shape: list[int] | None, dtype: str | None) -> relax.Expr:
    return op.broadcast_to(x, dimensions(c, shape))


def broadcast_to_like(c: Context, x: Tensor, like: Tensor) -> relax.Expr:
    return op.broadcast_to(x, shape_of(like))


def arange(c: Context, start: Tensor, stop: Tensor, step: Tensor, /, *, dtype: str, **_: object) -> relax.Expr:
    """Count from start to stop; the attributes start, stop and step repeat the arguments."""
    low, high, by = (c.numbers(v, "start, stop and step").item() for v in (start, stop, step))
    if not by or not all(map(math.isfinite, (low, high, by))) or (high - low) / by > LARGEST_CONSTANT:
        raise c.fail(f"from {low} to {high} by {by} has no end or more than {LARGEST_CONSTANT} elements")
    return constant(np.arange(low, high, by), dtype)


def one_hot(
    c: Context, indices: Tensor, on: Tensor, off: Tensor, *, depth: int, axis: int, dtype: str | None
) -> relax.Expr:
    """Give `on` where the index equals the position along the new axis, else `off`."""
    if not 0 < depth <= 1 << 20:
        raise c.fail(f"depth is {depth}, expected 1 to {1 << 20}")
    axis = c.axis(indices, axis, extra=1)
    positions = np.arange(depth).astype(dtype_of(indices))
    classes = constant(c.along(positions, axis, len(shape_of(indices)) + 1))
    is_on = c(op.equal(c(op.expand_dims(indices, axis)), classes))
    return op.where(is_on, c.cast(on, dtype or dtype_of(on)), c.cast(off, dtype or dtype_of(on)))


INIT = {"shape": LIST_OR_NONE, "dtype": DTYPE}
_ANY = reference("any", None)
ARANGE = {"start": _ANY, "stop": _ANY, "step": _ANY, "dtype": DTYPE_GIVEN}
OPERATORS = (
    RelayOperator("full", to_relax=full, attributes=INIT),
    RelayOperator("zeros", to_relax=_filled(0), attributes=INIT),
    RelayOperator("ones", to_relax=_filled(1), attributes=INIT),
    RelayOperator("broadcast_to", to_relax=broadcast_to, attributes=INIT),
    RelayOperator("broadcast_to_like", to_relax=broadcast_to_like),
    RelayOperator("arange", to_relax=arange, attributes=ARANGE),
    RelayOperator("one_hot", to_relax=one_hot, attributes={"depth": integer(1), "axis": integer(-1), "dtype": DTYPE}),
)
