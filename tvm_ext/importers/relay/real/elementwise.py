"""Relay's elementwise operators in Relax: arithmetic, comparison, casts, activations."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.real.context import Context, Conversion
from mcutrain.tvm_ext.importers.relay.real.values import Tensor, constant, dtype_of, is_integer, shape_of


def clip(c: Context, x: Tensor, *, a_min: float, a_max: float) -> relax.Expr:
    """On integers the bounds lose their fraction, as a cast does, and saturate."""
    if math.isnan(a_min) or math.isnan(a_max):
        raise c.fail("a bound is not a number")
    if not is_integer(x):
        return op.clip(x, a_min, a_max)
    info = np.iinfo(dtype_of(x))
    low, high = (int(min(max(b, float(info.min)), float(info.max))) for b in (a_min, a_max))
    return op.clip(x, max(low, info.min), min(high, info.max))


def round_half_away(c: Context, x: Tensor) -> relax.Expr:
    """Relay rounds halves away from zero, Relax to even. Exact: what trunc leaves of a float is a float."""
    if not dtype_of(x).startswith("float"):
        raise c.fail(f"{dtype_of(x)} needs no rounding; remove it")
    whole = c(op.trunc(x))
    half = constant(0.5, dtype_of(x))
    is_up = c(op.greater_equal(c(op.abs(c(op.subtract(x, whole)))), half))
    return op.add(whole, op.where(is_up, op.sign(x), constant(0, dtype_of(x))))


def negative(c: Context, x: Tensor) -> relax.Expr:
    if dtype_of(x).startswith("uint"):
        return op.subtract(constant(0, dtype_of(x)), x)
    return op.negative(x)


def cast(c: Context, x: Tensor, *, dtype: str) -> relax.Expr:
    return op.astype(x, dtype)


def cast_like(c: Context, x: Tensor, like: Tensor) -> relax.Expr:
    return op.astype(x, dtype_of(like))


def where(c: Context, condition: Tensor, x: Tensor, y: Tensor) -> relax.Expr:
    return op.where(c.cast(condition, "bool"), x, y)


def leaky_relu(c: Context, x: Tensor, *, alpha: float) -> relax.Expr:
    return op.nn.leakyrelu(x, alpha)


def prelu(c: Context, x: Tensor, alpha: Tensor, *, axis: int) -> relax.Expr:
    return op.nn.prelu(x, alpha, c.axis(x, axis))


def dropout(c: Context, x: Tensor, *, rate: float) -> tuple[Tensor, Tensor]:
    """As at inference: nothing is dropped."""
    return x, c(op.ones_like(x))


def bias_add(c: Context, x: Tensor, bias: Tensor, *, axis: int) -> relax.Expr:
    axis, shape = c.axis(x, axis), shape_of(bias)
    if len(shape) != 1 or shape[0] != shape_of(x)[axis]:
        raise c.fail(f"a bias of shape {list(shape)} does not fit axis {axis} of {list(shape_of(x))}")
    behind = len(shape_of(x)) - 1 - axis
    return op.add(x, op.reshape(bias, [shape[0]] + [1] * behind) if behind else bias)


def identity(c: Context, x: Tensor) -> relax.Expr:
    return x


def _unary(function: Conversion) -> Conversion:
    def convert(c: Context, x: Tensor) -> relax.Expr:
        return function(x)

    return convert


def _binary(function: Conversion) -> Conversion:
    def convert(c: Context, x: Tensor, y: Tensor) -> relax.Expr:
        return function(x, y)

    return convert


_SAME_NAME = (
    "abs exp log sqrt rsqrt sigmoid tanh floor ceil trunc sign erf sin cos tan asin acos atan sinh cosh logical_not "
    "bitwise_not isnan isinf isfinite zeros_like ones_like"
)
# Integer division and mod truncate toward zero in Relay, and Relax's divide and mod do, too.
_SAME_NAME_BINARY = (
    "add subtract multiply divide power maximum minimum floor_divide floor_mod mod equal not_equal less less_equal "
    "greater greater_equal logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor left_shift "
    "right_shift full_like collapse_sum_like"
)
TABLE: dict[str, Conversion] = {name: _unary(getattr(op, name)) for name in _SAME_NAME.split()}
TABLE |= {name: _binary(getattr(op, name)) for name in _SAME_NAME_BINARY.split()}
TABLE |= {
    "negative": negative,
    "round": round_half_away,
    "clip": clip,
    "cast": cast,
    "cast_like": cast_like,
    "where": where,
    "copy": identity,
    "annotation.stop_fusion": identity,
    "nn.relu": _unary(op.nn.relu),
    "nn.leaky_relu": leaky_relu,
    "nn.prelu": prelu,
    "nn.dropout": dropout,
    "nn.bias_add": bias_add,
}
