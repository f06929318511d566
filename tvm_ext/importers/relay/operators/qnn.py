"""Relay's quantised operators but its layers: changes of scale, sums, products, concatenation.

As ordinary Relax they are exact integer arithmetic. Results saturate; where Relay's own lowering would wrap around,
they differ from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.base.values import Quantisation
from mcutrain.tvm_ext.importers.base.values import Value as Activation
from mcutrain.tvm_ext.importers.graph.curves import Curve, itself
from mcutrain.tvm_ext.importers.relay.ast import Call, Expr, Tuple
from mcutrain.tvm_ext.importers.relay.operators.arithmetic import round_half_away
from mcutrain.tvm_ext.importers.relay.operators.base.context import Context
from mcutrain.tvm_ext.importers.relay.operators.base.fields import DTYPE_GIVEN, Field, integer, string
from mcutrain.tvm_ext.importers.relay.operators.base.integer_reader import (
    ROUNDING,
    Known,
    Reader,
    Reals,
    Sums,
    array,
    as_float32,
    expect_same,
    quantisation_at,
)
from mcutrain.tvm_ext.importers.relay.operators.base.operator import Conversion, RelayOperator
from mcutrain.tvm_ext.importers.relay.operators.base.values import Tensor, Value, constant, dtype_of, shape_of
from mcutrain.tvm_ext.importers.relay.operators.fixed_point import centred, rescaled, saturated, scales_of, zero_of

Scaled = tuple[np.ndarray, np.ndarray]  # scale and zero point, both scalars


# ---------------------------------------------------------------------- ordinary Relax
def requantize(
    c: Context,
    x: Tensor,
    s_in: Value,
    z_in: Value,
    s_out: Value,
    z_out: Value,
    *,
    axis: int,
    rounding: str,
    compute_dtype: str,
    out_dtype: str,
) -> relax.Expr:
    if compute_dtype not in ("None", "int64"):
        raise c.fail(f"compute_dtype {compute_dtype[:20]!r}: expected int64, in which the integer result is exact")
    scale, out = scales_of(c, s_in, "the input scale"), scales_of(c, s_out, "the output scale")
    if out.ndim:
        raise c.fail("the output scale must be a scalar")
    y = centred(c, x, zero_of(c, z_in), axis)
    rounding = "UPWARD" if rounding == "None" else rounding
    y = rescaled(c, y, _ratio(scale, out), zero_of(c, z_out), axis, rounding)
    return saturated(c, y, out_dtype)


def quantize(c: Context, x: Tensor, scale: Value, zero: Value, *, out_dtype: str, axis: int) -> relax.Expr:
    """Compute saturate(round(x / scale) + zero), halves away from zero."""
    scales, zeros, rank = scales_of(c, scale, "the scale"), zero_of(c, zero), len(shape_of(x))
    place = c.axis(x, axis) if scales.ndim or zeros.ndim else 0
    y = c(round_half_away(c, c(op.divide(x, constant(c.along(scales, place, rank), "float32")))))
    return saturated(c, c(op.add(y, constant(c.along(zeros, place, rank), "float32"))), out_dtype)


def dequantize(c: Context, x: Tensor, scale: Value, zero: Value, *, out_dtype: str | None, axis: int) -> relax.Expr:
    """Compute (x - zero) * scale in float32."""
    scales = scales_of(c, scale, "the scale")
    y = c.cast(centred(c, x, zero_of(c, zero), axis), "float32")
    factor = constant(c.along(scales, c.axis(x, axis) if scales.ndim else 0, len(shape_of(x))), "float32")
    return op.astype(c(op.multiply(y, factor)), out_dtype or "float32")


def _ratio(scale: np.ndarray, out: np.ndarray) -> np.ndarray:
    return np.asarray(scale.astype(np.float64) / np.float64(out))


def _scalars(c: Context, values: tuple[Value, ...]) -> list[Scaled]:
    """Read (scale, zero point) pairs out of scale, zero, scale, zero, ..."""
    found = [(scales_of(c, s, "a scale"), zero_of(c, z)) for s, z in zip(values[::2], values[1::2], strict=True)]
    if any(v.ndim for pair in found for v in pair):
        raise c.fail("scales and zero points must be scalars; one a channel is not supported here")
    return found


def _at_output_scale(c: Context, x: Tensor, quantised: Scaled, out: Scaled) -> Tensor:
    """Requantise x to the output's scale and zero point, int64 and not yet clipped."""
    if quantised == out:
        return c.cast(x, "int64")
    y = centred(c, x, quantised[1])
    return rescaled(c, y, _ratio(quantised[0], out[0]), out[1], -1, "UPWARD")


def _sum_like(function: Callable[[Tensor, Tensor], relax.Expr], sign: int) -> Conversion:
    def convert(c: Context, x: Tensor, y: Tensor, *q: Value, lhs_axis: int, rhs_axis: int) -> relax.Expr:
        left, right, out = _scalars(c, q)
        total = c(function(_at_output_scale(c, x, left, out), _at_output_scale(c, y, right, out)))
        if out[1]:
            total = c(op.subtract(total, constant(sign * out[1], "int64")))
        return saturated(c, total, dtype_of(x))

    return convert


def multiply(c: Context, x: Tensor, y: Tensor, *q: Value, lhs_axis: int, rhs_axis: int) -> relax.Expr:
    (s_x, z_x), (s_y, z_y), (s_out, z_out) = _scalars(c, q)
    product = c(op.multiply(centred(c, x, z_x), centred(c, y, z_y)))
    ratio = _ratio(np.asarray(np.float32(s_x * s_y)), s_out)
    return saturated(c, rescaled(c, product, ratio, z_out, -1, "UPWARD"), dtype_of(x))


def concatenate(
    c: Context, x: Value, scales: Value, zeros: Value, s_out: Value, z_out: Value, *, axis: int
) -> relax.Expr:
    """Requantise each part to the output's scale, then join them."""
    parts, s, z = c.tensors(x), c.tensors(scales, "the scales"), c.tensors(zeros, "the zero points")
    if not len(parts) == len(s) == len(z) or not parts:
        raise c.fail(f"{len(parts)} parts, {len(s)} scales and {len(z)} zero points")
    *each, out = _scalars(c, (*(v for pair in zip(s, z, strict=True) for v in pair), s_out, z_out))
    moved = [_at_output_scale(c, p, q, out) for p, q in zip(parts, each, strict=True)]
    return op.concat([c(saturated(c, m, dtype_of(parts[0]))) for m in moved], axis)


# ---------------------------------------------------------------------- integer networks
def quantize_int8(reader: Reader, name: str, call: Call, *, out_dtype: str, axis: int) -> Known:
    """The input is quantised outside the network; a function of real numbers becomes a table."""
    q = quantisation_at(call, 1, 2)
    known = reader.known(call.args[0])
    if isinstance(known, Reals) and out_dtype != "int8":
        raise ModelError(f"quantises to {out_dtype}", "only int8")
    if isinstance(known, Reals):
        made = known.quantised
        return made(name, q) if made else _tabulated(reader, name, reader.curve(call.args[0]), q)
    value = reader.result(call.args[0])
    expect_same(value, q, name)
    return value


def _tabulated(reader: Reader, name: str, curve: Curve, out: Quantisation) -> Activation:
    """Make a table of a function, rounded as Relay's quantize rounds: halves away from zero."""
    with np.errstate(all="ignore"):
        steps = np.nan_to_num(curve.y.astype(np.float32) / np.float32(out.scale)).astype(np.float64)
    away = np.sign(steps) * np.floor(np.abs(steps) + 0.5)
    table = np.clip(away + out.zero, -128, 127).astype(np.int8)
    if curve.of.steps == out and np.array_equal(table, np.arange(-128, 128)):
        return curve.of
    return reader.network.lookup(name, curve.of, table, curve.table(out, -128, 127)[1], out)


def dequantize_int8(reader: Reader, name: str, call: Call, **_: object) -> Known:
    """The scale and the zero point must be those of the activation."""
    value = reader.result(call.args[0])
    expect_same(value, quantisation_at(call, 1, 2), name)
    return Reals(as_float32(itself(value)), value)


def requantize_int8(
    reader: Reader, name: str, call: Call, *, rounding: str, out_dtype: str | None, **_: object
) -> Known:
    """The int32 sums of a layer become its result; an int8 activation changes its quantisation."""
    if rounding not in ("None", "UPWARD"):
        raise ModelError(f"rounding {rounding}", "only UPWARD, TVM's default")
    if out_dtype not in (None, "int8"):
        raise ModelError(f"requantises to {out_dtype}", "only int8")
    known, out = reader.known(call.args[0]), quantisation_at(call, 3, 4)
    if not isinstance(known, Sums) or known.is_requantised:
        value = reader.result(call.args[0])
        expect_same(value, quantisation_at(call, 1, 2), name)
        return reader.network.requantise(name, value, out, ROUNDING)
    if np.any(array(call, 2, "input zero point")):
        raise ModelError("the int32 sums have a zero point", "only 0")
    # the factor is what the operator says, in whose rounded scales the product of the layer's may differ a little
    scales = np.broadcast_to(array(call, 1, "input scale").astype(np.float64).reshape(-1), known.layer.bias.shape)
    layer = replace(known.layer, w_scales=scales / known.layer.x_scale, y_scale=out.scale, y_zero=out.zero,
                    rounding=ROUNDING)  # fmt: skip
    return replace(known, layer=layer, is_requantised=True)


def add_int8(reader: Reader, name: str, call: Call, **_: object) -> Known:
    a, b = (reader.result(operand) for operand in call.args[:2])
    for value, places in ((a, (2, 3)), (b, (4, 5))):
        expect_same(value, quantisation_at(call, *places), name)
    return reader.network.add(name, a, b, quantisation_at(call, 6, 7), ROUNDING)


def concatenate_int8(reader: Reader, name: str, call: Call, *, axis: int) -> Known:
    out = quantisation_at(call, 3, 4)
    parts, scales, zeros = (_fields(call, i) for i in range(3))
    values = [reader.result(part) for part in parts]
    for value, scale, zero in zip(values, scales, zeros, strict=True):
        expect_same(value, quantisation_at(replace(call, args=(scale, zero)), 0, 1), name)
    if axis not in ((3, -1) if reader.is_nhwc else (1,)) and not all(v.order for v in values):
        raise ModelError(f"joins along axis {axis}", "only along the channels")
    return reader.network.concat(name, [
        v if v.quantisation == out else reader.network.requantise(f"{name}.{i}", v, out, ROUNDING)
        for i, v in enumerate(values)
    ])  # fmt: skip


def _fields(call: Call, index: int) -> tuple[Expr, ...]:
    operand = call.args[index]
    if not isinstance(operand, Tuple):
        raise TypeError(f"operand {index} is no tuple")
    return operand.fields


_QUANTIZE = {"out_dtype": DTYPE_GIVEN, "axis": integer(-1)}
_DEQUANTIZE = {"out_dtype": Field("dtype", "float32"), "axis": integer(-1)}
_BINARY = {"lhs_axis": integer(-1), "rhs_axis": integer(-1)}
_REQUANTIZE = {
    "axis": integer(-1),
    "rounding": string("None"),
    "compute_dtype": string("None"),
    "out_dtype": DTYPE_GIVEN,
}
OPERATORS = (
    RelayOperator("qnn.quantize", quantize_int8, to_relax=quantize, attributes=_QUANTIZE, input_quantisation=(1, 2)),
    RelayOperator("qnn.dequantize", dequantize_int8, to_relax=dequantize, attributes=_DEQUANTIZE),
    RelayOperator(
        "qnn.requantize", requantize_int8, to_relax=requantize, attributes=_REQUANTIZE, input_quantisation=(1, 2)
    ),
    RelayOperator("qnn.add", add_int8, to_relax=_sum_like(op.add, 1), attributes=_BINARY),
    RelayOperator("qnn.subtract", to_relax=_sum_like(op.subtract, -1), attributes=_BINARY),
    RelayOperator("qnn.mul", to_relax=multiply, attributes=_BINARY),
    RelayOperator(
        "qnn.concatenate", concatenate_int8, to_relax=concatenate, attributes={"axis": integer(0)}, takes_tuples=True
    ),
)
