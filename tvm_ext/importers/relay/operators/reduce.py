"""Relay's reductions and losses."""

from __future__ import annotations

import math

from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import LIST_OR_NONE, NO
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Conversion, RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, constant, dtype_of, is_integer, shape_of


def axes_of(c: Context, x: Tensor, axis: list[int] | None, exclude: bool) -> list[int]:
    """Return the axes that are reduced: those given, or all others with exclude; none given means all."""
    rank = len(shape_of(x))
    if axis is None or (not axis and not exclude):
        return list(range(rank))
    if not all(type(a) is int for a in axis):
        raise c.fail(f"axis is {str(axis)[:40]}, expected integers")
    given = {c.axis(x, a) for a in axis}
    return [a for a in range(rank) if (a not in given) == exclude]


def mean_over(c: Context, x: Tensor, axes: list[int], keepdims: bool) -> relax.Expr:
    """Average x; integers by their sum (in int64, so that it cannot wrap) divided with truncation, in their dtype."""
    if not is_integer(x):
        return op.mean(x, axes, keepdims)
    count = math.prod(shape_of(x)[a] for a in axes)
    total = c(op.sum(c.cast(x, "int64"), axes, keepdims))
    return op.astype(c(op.divide(total, constant(count, "int64"))), dtype_of(x))


def _reduction(function: Conversion) -> Conversion:
    def convert(c: Context, x: Tensor, *, axis: list[int] | None, keepdims: bool, exclude: bool) -> relax.Expr:
        axes = axes_of(c, x, axis, exclude)
        return function(x, axes, keepdims) if axes else x

    return convert


def mean(c: Context, x: Tensor, *, axis: list[int] | None, keepdims: bool, exclude: bool) -> relax.Expr:
    axes = axes_of(c, x, axis, exclude)
    return mean_over(c, x, axes, keepdims) if axes else x


def variance(
    c: Context, x: Tensor, center: Tensor, *, axis: list[int] | None, keepdims: bool, exclude: bool, unbiased: bool
) -> relax.Expr:
    """Average squared distances from `center`, which the file gives."""
    axes = axes_of(c, x, axis, exclude)
    count = math.prod(shape_of(x)[a] for a in axes) - unbiased
    if count < 1:
        raise c.fail("needs more elements than it has")
    distance = c(op.subtract(x, center))
    total = c(op.sum(c(op.multiply(distance, distance)), axes, keepdims))
    return op.divide(total, constant(count, dtype_of(x)))


def _arg(function: Conversion) -> Conversion:
    """Make the conversion that finds the first index of the extremum, int32."""

    def convert(
        c: Context, x: Tensor, *, axis: list[int] | None, keepdims: bool, exclude: bool, select_last_index: bool
    ) -> relax.Expr:
        axes = axes_of(c, x, axis, exclude)
        if select_last_index:
            raise c.fail("select_last_index is not supported; only the first index of equal ones is")
        if len(axes) not in (1, len(shape_of(x))):
            raise c.fail(f"over axes {axes}: supported are one axis and all axes")
        return op.astype(c(function(x, axes[0] if len(axes) == 1 else None, keepdims)), "int32")

    return convert


def _truth(function: Conversion) -> Conversion:
    def convert(c: Context, x: Tensor, *, axis: list[int] | None, keepdims: bool, exclude: bool) -> relax.Expr:
        flags = c.cast(c.cast(x, "bool"), "int8")
        return op.astype(c(function(flags, axes_of(c, x, axis, exclude), keepdims)), "bool")

    return convert


def cross_entropy_with_logits(c: Context, x: Tensor, y: Tensor) -> relax.Expr:
    """Compute -sum(x * y) / batch, x being log probabilities and y the wanted ones, both [batch, classes]."""
    if len(shape_of(x)) != 2 or shape_of(x) != shape_of(y) or shape_of(x)[0] < 1:
        raise c.fail(
            f"predictions {list(shape_of(x))} and labels {list(shape_of(y))}: expected two equal [batch, classes]"
        )
    total = c(op.sum(c(op.multiply(x, y))))
    return op.negative(c(op.divide(total, constant(shape_of(x)[0], dtype_of(x)))))


def cross_entropy(c: Context, x: Tensor, y: Tensor) -> relax.Expr:
    return cross_entropy_with_logits(c, c(op.log(x)), y)


REDUCE = {"axis": LIST_OR_NONE, "keepdims": NO, "exclude": NO}
ARG_REDUCE = REDUCE | {"select_last_index": NO}
OPERATORS = (
    RelayOperator("sum", to_relax=_reduction(op.sum), attributes=REDUCE),
    RelayOperator("max", to_relax=_reduction(op.max), attributes=REDUCE),
    RelayOperator("min", to_relax=_reduction(op.min), attributes=REDUCE),
    RelayOperator("prod", to_relax=_reduction(op.prod), attributes=REDUCE),
    RelayOperator("mean", to_relax=mean, attributes=REDUCE),
    RelayOperator("all", to_relax=_truth(op.min), attributes=REDUCE),
    RelayOperator("any", to_relax=_truth(op.max), attributes=REDUCE),
    RelayOperator("variance", to_relax=variance, attributes=REDUCE | {"unbiased": NO}),
    RelayOperator("argmax", to_relax=_arg(op.argmax), attributes=ARG_REDUCE),
    RelayOperator("argmin", to_relax=_arg(op.argmin), attributes=ARG_REDUCE),
    RelayOperator("nn.cross_entropy_with_logits", to_relax=cross_entropy_with_logits),
    RelayOperator("nn.cross_entropy", to_relax=cross_entropy),
)
