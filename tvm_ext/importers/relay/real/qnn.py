"""Relay's quantised operators (qnn.*) as exact integer arithmetic in Relax.

A real number is scale * (q - zero point). Products are summed in int32; a change of scale is a multiplication by a
31-bit fixed-point number in int64 with one rounding. Results saturate; where Relay's own lowering would wrap around,
they differ from it."""

from __future__ import annotations

import numpy as np
from tvm import relax
from tvm.relax import op

from mcutrain.tvm_ext.importers.relay.real.context import Context, Conversion
from mcutrain.tvm_ext.importers.relay.real.conv import conv2d, dense
from mcutrain.tvm_ext.importers.relay.real.elementwise import clip, round_half_away
from mcutrain.tvm_ext.importers.relay.real.values import Tensor, Value, constant, dtype_of, shape_of

INTEGERS = ("int8", "uint8", "int16", "int32")


def fixed_point(multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(m, shift), int64: multiplier = m / 2**31 * 2**shift with m in [2**30, 2**31), m rounded half away from zero."""
    significand, shift = np.frexp(np.asarray(multiplier, np.float64))
    m = np.floor(significand * 2.0**31 + 0.5).astype(np.int64)
    is_over = m == 1 << 31
    return np.where(is_over, m >> 1, m), (shift + is_over).astype(np.int64)


def multiply(c: Context, x: Tensor, m: np.ndarray, shift: np.ndarray, rounding: str) -> Tensor:
    """round(x * m / 2**31 * 2**shift) of an int32 tensor, int64. Halves go up ("UPWARD") or away from zero
    ("TONEAREST"). Products that int64 cannot hold are cut where the result is outside int32 anyway."""
    if np.any(shift > 31):
        raise c.fail("the scales are too far apart: their ratio is 2**31 or more")
    left, right = np.maximum(shift, 0), np.minimum(31 + np.maximum(-shift, 0), 63)  # 63 bits away, all round to 0
    half = np.int64(1) << (right - 1)
    factor = m.astype(object) << left.astype(object)
    most = np.asarray((2**63 - 1 - half.astype(object)) // np.maximum(factor, 1), object)
    y = c.cast(x, "int64")
    if np.any(most < 2**31):
        most = np.minimum(most, 2**31).astype(np.int64)
        y = c(op.maximum(c(op.minimum(y, constant(most))), constant(-most)))
        y = c(op.left_shift(y, constant(left, "int64")))
    elif np.any(left):
        y = c(op.left_shift(y, constant(left, "int64")))
    y = c(op.multiply(y, constant(m, "int64")))
    return c(op.right_shift(c(op.add(y, _rounder(c, y, half, rounding))), constant(right, "int64")))


def _rounder(c: Context, y: Tensor, half: np.ndarray, rounding: str) -> Tensor:
    """What to add before the shift to the right, which rounds down."""
    if rounding == "UPWARD":
        return constant(half, "int64")
    if rounding != "TONEAREST":
        raise c.fail(f"rounding {rounding[:20]!r}: expected UPWARD or TONEAREST")
    is_positive = c(op.greater_equal(y, constant(0, "int64")))
    return c(op.where(is_positive, constant(half, "int64"), constant(half - 1, "int64")))


def scales_of(c: Context, x: Value, what: str) -> np.ndarray:
    """A scale, or one a channel: constant, positive, finite, float32."""
    found = c.numbers(x, what)
    if found.dtype != np.float32 or not np.all(np.isfinite(found)) or np.any(found <= 0):
        raise c.fail(f"{what} must be positive finite float32")
    return found.reshape(()) if found.size == 1 else found


def zero_of(c: Context, x: Value, what: str = "the zero point") -> np.ndarray:
    found = c.numbers(x, what)
    if found.dtype.kind not in "iu" or np.any(np.abs(found.astype(np.int64)) >= 1 << 31):
        raise c.fail(f"{what} must be an int32")
    return found.reshape(()).astype(np.int32) if found.size == 1 else found.astype(np.int32)


def centred(c: Context, x: Tensor, zero: np.ndarray, axis: int = -1) -> Tensor:
    """x - zero point in int32."""
    x = c.cast(x, "int32")
    shifts = c.along(zero, c.axis(x, axis) if zero.ndim else 0, len(shape_of(x)))
    return c(op.subtract(x, constant(shifts, "int32"))) if np.any(zero) else x


def saturated(c: Context, x: Tensor, dtype: str) -> relax.Expr:
    """x clipped to the range of an integer dtype, and cast."""
    if dtype not in INTEGERS:
        raise c.fail(f"out_dtype {dtype}: expected one of {', '.join(INTEGERS)}")
    info = np.iinfo(dtype)
    is_float = dtype_of(x).startswith("float")
    high = float(np.nextafter(np.float32(2**31), np.float32(0))) if is_float and dtype == "int32" else float(info.max)
    return op.astype(c(clip(c, x, a_min=float(info.min), a_max=high)), dtype)


def rescaled(c: Context, x: Tensor, ratio: np.ndarray, zero: np.ndarray, axis: int, rounding: str) -> Tensor:
    """round(x * ratio) + zero of an int32 tensor, int64. ratio: float64, a scalar or one a channel along axis."""
    y = c.cast(x, "int64")
    if not (ratio.ndim == 0 and ratio == 1.0):
        rank = len(shape_of(x))
        m, shift = (c.along(v, c.axis(x, axis) if v.ndim else 0, rank) for v in fixed_point(ratio))
        y = multiply(c, x, m, shift, rounding)
    return c(op.add(y, constant(zero, "int64"))) if np.any(zero) else y


def requantize(
    c: Context, x: Tensor, s_in, z_in, s_out, z_out, *, axis, rounding, compute_dtype, out_dtype
) -> relax.Expr:
    if compute_dtype not in ("None", "int64"):
        raise c.fail(f"compute_dtype {compute_dtype[:20]!r}: expected int64, in which the integer result is exact")
    s_in, s_out = scales_of(c, s_in, "the input scale"), scales_of(c, s_out, "the output scale")
    if s_out.ndim:
        raise c.fail("the output scale must be a scalar")
    y = centred(c, x, zero_of(c, z_in), axis)
    rounding = "UPWARD" if rounding == "None" else rounding
    y = rescaled(c, y, s_in.astype(np.float64) / np.float64(s_out), zero_of(c, z_out), axis, rounding)
    return saturated(c, y, out_dtype)


def quantize(c: Context, x: Tensor, scale: Value, zero: Value, *, out_dtype: str, axis: int) -> relax.Expr:
    """saturate(round(x / scale) + zero), halves away from zero."""
    scale, zero, rank = scales_of(c, scale, "the scale"), zero_of(c, zero), len(shape_of(x))
    place = c.axis(x, axis) if scale.ndim or zero.ndim else 0
    y = c(round_half_away(c, c(op.divide(x, constant(c.along(scale, place, rank), "float32")))))
    return saturated(c, c(op.add(y, constant(c.along(zero, place, rank), "float32"))), out_dtype)


def dequantize(c: Context, x: Tensor, scale: Value, zero: Value, *, out_dtype: str | None, axis: int) -> relax.Expr:
    """(x - zero) * scale in float32."""
    scale = scales_of(c, scale, "the scale")
    y = c.cast(centred(c, x, zero_of(c, zero), axis), "float32")
    factor = constant(c.along(scale, c.axis(x, axis) if scale.ndim else 0, len(shape_of(x))), "float32")
    return op.astype(c(op.multiply(y, factor)), out_dtype or "float32")


def qnn_conv2d(c: Context, x: Tensor, w: Tensor, z_x, z_w, s_x, s_w, **a: object) -> relax.Expr:
    """The int32 sums; the scales only say what a unit of the result is."""
    place = a["kernel_layout"].find("O")
    x, w = centred(c, x, zero_of(c, z_x)), centred(c, w, zero_of(c, z_w), max(place, 0))
    return conv2d(c, x, w, **a | {"out_dtype": _sums(c, a["out_dtype"])})


def qnn_dense(c: Context, x: Tensor, w: Tensor, z_x, z_w, s_x, s_w, *, units, out_dtype) -> relax.Expr:
    x, w = centred(c, x, zero_of(c, z_x)), centred(c, w, zero_of(c, z_w), 0)
    return dense(c, x, w, units=units, out_dtype=_sums(c, out_dtype))


def _sums(c: Context, out_dtype: str | None) -> str:
    if out_dtype not in (None, "int32"):
        raise c.fail(f"out_dtype {out_dtype}: expected int32")
    return "int32"


def _scalars(c: Context, values: tuple) -> list[tuple[float, int]]:
    """(scale, zero point) pairs out of scale, zero, scale, zero, ..."""
    found = [(scales_of(c, s, "a scale"), zero_of(c, z)) for s, z in zip(values[::2], values[1::2], strict=True)]
    if any(v.ndim for pair in found for v in pair):
        raise c.fail("scales and zero points must be scalars; one a channel is not supported here")
    return found


def _at_output_scale(c: Context, x: Tensor, quantised: tuple, out: tuple) -> Tensor:
    """x requantised to the output's scale and zero point, int64 and not yet clipped."""
    if quantised == out:
        return c.cast(x, "int64")
    y = centred(c, x, quantised[1])
    return rescaled(c, y, np.float64(quantised[0]) / np.float64(out[0]), out[1], -1, "UPWARD")


def _sum_like(function: Conversion, sign: int) -> Conversion:
    def convert(c: Context, x: Tensor, y: Tensor, *q: Value, lhs_axis: int, rhs_axis: int) -> relax.Expr:
        left, right, out = _scalars(c, q)
        total = c(function(_at_output_scale(c, x, left, out), _at_output_scale(c, y, right, out)))
        if out[1]:
            total = c(op.subtract(total, constant(sign * out[1], "int64")))
        return saturated(c, total, dtype_of(x))

    return convert


def qnn_mul(c: Context, x: Tensor, y: Tensor, *q: Value, lhs_axis: int, rhs_axis: int) -> relax.Expr:
    (s_x, z_x), (s_y, z_y), (s_out, z_out) = _scalars(c, q)
    product = c(op.multiply(centred(c, x, z_x), centred(c, y, z_y)))
    ratio = np.float64(np.float32(s_x * s_y)) / np.float64(s_out)
    return saturated(c, rescaled(c, product, ratio, z_out, -1, "UPWARD"), dtype_of(x))


def qnn_concatenate(c: Context, x: Value, scales: Value, zeros: Value, s_out, z_out, *, axis: int) -> relax.Expr:
    """Each part requantised to the output's scale, then joined."""
    parts, s, z = c.tensors(x), c.tensors(scales, "the scales"), c.tensors(zeros, "the zero points")
    if not len(parts) == len(s) == len(z) or not parts:
        raise c.fail(f"{len(parts)} parts, {len(s)} scales and {len(z)} zero points")
    *each, out = _scalars(c, (*(v for pair in zip(s, z, strict=True) for v in pair), s_out, z_out))
    moved = [_at_output_scale(c, p, q, out) for p, q in zip(parts, each, strict=True)]
    return op.concat([c(saturated(c, m, dtype_of(parts[0]))) for m in moved], axis)


def fixed_point_multiply(c: Context, x: Tensor, *, multiplier: int, shift: int) -> relax.Expr:
    if dtype_of(x) != "int32" or not 0 <= multiplier < 1 << 31 or not -64 <= shift <= 31:
        raise c.fail(f"{dtype_of(x)} by {multiplier} shifted by {shift}: expected int32, a 31-bit number, -64 to 31")
    return saturated(c, multiply(c, x, np.array(multiplier, np.int64), np.array(shift, np.int64), "UPWARD"), "int32")


TABLE: dict[str, Conversion] = {
    "qnn.quantize": quantize,
    "qnn.dequantize": dequantize,
    "qnn.requantize": requantize,
    "qnn.conv2d": qnn_conv2d,
    "qnn.dense": qnn_dense,
    "qnn.add": _sum_like(op.add, 1),
    "qnn.subtract": _sum_like(op.subtract, -1),
    "qnn.mul": qnn_mul,
    "qnn.concatenate": qnn_concatenate,
    "fixed_point_multiply": fixed_point_multiply,
}
