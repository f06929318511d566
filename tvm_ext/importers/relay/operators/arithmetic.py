"""Relay's arithmetic, comparisons and casts, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.values import Value
from mcutrain.tvm_ext.importers.graph.curves import Curve, Elementwise
from mcutrain.tvm_ext.importers.relay.ast import Call, Constant, Expr
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import DTYPE_GIVEN, integer
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import Known, Reader, Reals, Sums, Wide, as_float32
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Conversion, RelayOperator, Rule
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, constant, dtype_of, shape_of


# ---------------------------------------------------------------------- ordinary Relax
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


def bias_add(c: Context, x: Tensor, bias: Tensor, *, axis: int) -> relax.Expr:
    axis, shape = c.axis(x, axis), shape_of(bias)
    if len(shape) != 1 or shape[0] != shape_of(x)[axis]:
        raise c.fail(f"a bias of shape {list(shape)} does not fit axis {axis} of {list(shape_of(x))}")
    behind = len(shape_of(x)) - 1 - axis
    return op.add(x, op.reshape(bias, [shape[0]] + [1] * behind) if behind else bias)


def identity(c: Context, x: Tensor) -> relax.Expr:
    return x


def unary(function: Callable[[Tensor], relax.Expr]) -> Conversion:
    """Make the conversion of an operator of one operand that Relax has, too."""

    def convert(c: Context, x: Tensor) -> relax.Expr:
        return function(x)

    return convert


def binary(function: Callable[[Tensor, Tensor], relax.Expr]) -> Conversion:
    """Make the conversion of an operator of two operands that Relax has, too."""

    def convert(c: Context, x: Tensor, y: Tensor) -> relax.Expr:
        return function(x, y)

    return convert


# ---------------------------------------------------------------------- integer networks
def add_bias(reader: Reader, name: str, call: Call, *, axis: int = 1) -> Known:
    """A constant joins the int32 sums of the layer before as its bias."""
    sums = next((k for k in map(reader.known, call.args) if isinstance(k, Sums)), None)
    value = next((a.value for a in call.args if isinstance(a, Constant)), None)
    if sums is None or sums.is_requantised or value is None or not reader.is_only_user(call.args[0]):
        raise ModelError("adds something else than a constant to the int32 sums of one layer", "use qnn.add")
    if value.size not in (1, len(sums.layer.bias)):
        raise ModelError(f"a bias of {value.shape} for {len(sums.layer.bias)} filters")
    return replace(sums, layer=replace(sums.layer, bias=sums.layer.bias + value.astype(np.int32).reshape(-1)))


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _erf_slope(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x) * (2 / math.sqrt(math.pi))


def function_of(value: Elementwise, derivative: Elementwise) -> Rule:
    """Make the reader of a function of each real number."""

    def read(reader: Reader, name: str, call: Call) -> Known:
        return Reals(as_float32(reader.curve(call.args[0]).mapped(value, derivative)))

    return read


def joined(function: Callable[[Curve, Curve], Curve]) -> Rule:
    """Make the reader of arithmetic with two functions of one activation, or with one and a number."""

    def read(reader: Reader, name: str, call: Call) -> Known:
        of = next((k.curve.of for k in map(reader.known, call.args) if isinstance(k, Reals) and k.curve), None)
        a, b = (_operand(reader, operand, of) for operand in call.args)
        if not a.of.var.same_as(b.of.var) or a.of.order != b.of.order:
            raise ModelError("joins two activations in real numbers", "use qnn.add")
        with np.errstate(all="ignore"):
            return Reals(as_float32(function(a, b)))

    return read


def _operand(reader: Reader, expr: Expr, of: Value | None) -> Curve:
    """Read an operand as a function; a number is one that is the same everywhere."""
    known = reader.known(expr)
    if of is None or not isinstance(known, np.ndarray):
        return reader.curve(expr)
    if known.size != 1:
        raise ModelError(f"a constant of shape {list(known.shape)} beside real numbers", "only one number")
    return Curve(of, np.full(256, known.item(), np.float64), np.zeros(256))


def _quotient(a: Curve, b: Curve) -> Curve:
    return Curve(a.of, a.y / b.y, (a.slope * b.y - a.y * b.slope) / (b.y * b.y))


def _power(a: Curve, b: Curve) -> Curve:
    if np.any(b.y != b.y[0]) or np.any(b.slope):
        raise ModelError("raises to a power that is no number; build the model without it")
    return Curve(a.of, a.y**b.y, b.y * a.y ** (b.y - 1) * a.slope)


_add_reals = joined(Curve.plus)


def add(reader: Reader, name: str, call: Call) -> Known:
    """Join real numbers; beside them, a constant joins int32 sums."""
    is_real = any(isinstance(k, Reals) for k in map(reader.known, call.args))
    return (_add_reals if is_real else add_bias)(reader, name, call)


def cast_int8(reader: Reader, name: str, call: Call, *, dtype: str) -> Known:
    if dtype not in ("int8", "int32"):
        raise ModelError(f"casts to {dtype}", "only int32 around an average pool, and back")
    value = reader.result(call.args[0])
    return value if dtype == "int8" else Wide(value)


def same(reader: Reader, name: str, call: Call, **_: object) -> Known:
    """The operator changes nothing."""
    return reader.known(call.args[0])


_UNARY = (
    "abs log sqrt rsqrt floor ceil trunc sign sin cos tan asin acos atan sinh cosh logical_not bitwise_not "
    "isnan isinf isfinite zeros_like ones_like"
)
_BINARY = (
    "maximum minimum equal not_equal less less_equal greater greater_equal logical_and "
    "logical_or logical_xor bitwise_and bitwise_or bitwise_xor left_shift right_shift full_like collapse_sum_like"
)
_DIVISIONS = "mod floor_divide floor_mod"
# Integer division and mod truncate toward zero in Relay, and Relax's divide and mod do, too.
OPERATORS = (
    *(RelayOperator(name, to_relax=unary(getattr(op, name))) for name in _UNARY.split()),
    *(RelayOperator(name, to_relax=binary(getattr(op, name))) for name in _BINARY.split()),
    *(RelayOperator(name, to_relax=binary(getattr(op, name)), divides=True) for name in _DIVISIONS.split()),
    RelayOperator("add", add, to_relax=binary(op.add)),
    RelayOperator("subtract", joined(lambda a, b: a.plus(b.affine(-1, 0))), to_relax=binary(op.subtract)),
    RelayOperator("multiply", joined(Curve.times), to_relax=binary(op.multiply)),
    RelayOperator("divide", joined(_quotient), to_relax=binary(op.divide), divides=True),
    RelayOperator("power", joined(_power), to_relax=binary(op.power)),
    RelayOperator("exp", function_of(np.exp, np.exp), to_relax=unary(op.exp)),
    RelayOperator("erf", function_of(_erf, _erf_slope), to_relax=unary(op.erf)),
    RelayOperator("nn.bias_add", add_bias, to_relax=bias_add, attributes={"axis": integer(1)}),
    RelayOperator("negative", to_relax=negative),
    RelayOperator("round", to_relax=round_half_away),
    RelayOperator("cast", cast_int8, to_relax=cast, attributes={"dtype": DTYPE_GIVEN}),
    RelayOperator("cast_like", to_relax=cast_like),
    RelayOperator("where", to_relax=where),
    RelayOperator("copy", to_relax=identity),
    RelayOperator("annotation.stop_fusion", same, to_relax=identity),
)
