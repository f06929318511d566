"""Relay's normalisations."""

from __future__ import annotations

from typing import TypedDict, Unpack

from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import LIST_OR_NONE, YES, integer, real
from mcutrain.tvm_ext.importers.relay.operators.base.operator import RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, constant, dtype_of, shape_of
from mcutrain.tvm_ext.importers.relay.operators.reduce import axes_of

NORM = {"axis": integer(1), "epsilon": real(1e-5), "center": YES, "scale": YES}
LRN = {"size": integer(5), "axis": integer(1), "bias": real(2.0), "alpha": real(0.0001), "beta": real(0.75)}


class NormAttributes(TypedDict):
    """The attributes NORM have these types."""

    axis: int
    epsilon: float
    center: bool
    scale: bool


def batch_norm(
    c: Context, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, **a: Unpack[NormAttributes]
) -> relax.Expr:
    """Normalise as at inference: a tuple of the result and the two statistics as they were."""
    axis, rest = c.axis(x, a["axis"]), (a["epsilon"], a["center"], a["scale"])
    return op.nn.batch_norm(x, gamma, beta, mean, var, axis, *rest, 0.1, training=False)


def layer_norm(c: Context, x: Tensor, gamma: Tensor, beta: Tensor, **a: Unpack[NormAttributes]) -> relax.Expr:
    return op.nn.layer_norm(x, gamma, beta, c.axis(x, a["axis"]), a["epsilon"], a["center"], a["scale"])


def group_norm(
    c: Context, x: Tensor, gamma: Tensor, beta: Tensor, *, num_groups: int, **a: Unpack[NormAttributes]
) -> relax.Expr:
    axis = c.axis(x, a["axis"])
    if num_groups < 1 or shape_of(x)[axis] % num_groups:
        raise c.fail(f"num_groups={num_groups} does not divide {shape_of(x)[axis]} channels")
    rest = [n for n in range(1, len(shape_of(x))) if n != axis]
    return op.nn.group_norm(x, gamma, beta, num_groups, axis, rest, a["epsilon"], a["center"], a["scale"])


def instance_norm(c: Context, x: Tensor, gamma: Tensor, beta: Tensor, **a: Unpack[NormAttributes]) -> relax.Expr:
    """Normalise each channel of each sample on its own: a group norm with groups of one channel."""
    return group_norm(c, x, gamma, beta, num_groups=shape_of(x)[c.axis(x, a["axis"])], **a)


def l2_normalize(c: Context, x: Tensor, *, eps: float, axis: list[int] | None) -> relax.Expr:
    """Compute x / sqrt(max(sum of squares over the axes, eps))"""
    total = c(op.sum(c(op.multiply(x, x)), axes_of(c, x, axis, exclude=False), keepdims=True))
    return op.divide(x, c(op.sqrt(c(op.maximum(total, constant(eps, dtype_of(x)))))))


def lrn(c: Context, x: Tensor, *, size: int, axis: int, bias: float, alpha: float, beta: float) -> relax.Expr:
    """Compute x / (bias + alpha / size * sum of squares over `size` neighbours along the axis) ** beta"""
    axis, dtype = c.axis(x, axis), dtype_of(x)
    if not 1 <= size <= 255 or size % 2 == 0:
        raise c.fail(f"size is {size}, expected an odd number from 1 to 255")
    around = [0] * (2 * len(shape_of(x)))
    around[2 * axis] = around[2 * axis + 1] = size // 2
    squares = c(op.nn.pad(c(op.multiply(x, x)), around))
    n = shape_of(x)[axis]
    parts = [c(op.strided_slice(squares, [axis], [i], [i + n])) for i in range(size)]
    total = parts[0]
    for part in parts[1:]:
        total = c(op.add(total, part))
    scaled = c(op.divide(c(op.multiply(total, constant(alpha, dtype))), constant(size, dtype)))
    base = c(op.add(scaled, constant(bias, dtype)))
    return op.divide(x, c(op.power(base, constant(beta, dtype))))


OPERATORS = (
    RelayOperator("nn.batch_norm", to_relax=batch_norm, attributes=NORM),
    RelayOperator("nn.instance_norm", to_relax=instance_norm, attributes=NORM),
    RelayOperator("nn.layer_norm", to_relax=layer_norm, attributes=NORM | {"axis": integer(-1)}),
    RelayOperator("nn.group_norm", to_relax=group_norm, attributes=NORM | {"num_groups": integer(0)}),
    RelayOperator("nn.lrn", to_relax=lrn, attributes=LRN),
    RelayOperator("nn.l2_normalize", to_relax=l2_normalize, attributes={"eps": real(), "axis": LIST_OR_NONE}),
)
